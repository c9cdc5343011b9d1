"""Facts of a run turned into the model card of its pipeline."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jinja2
from huggingface_hub import EvalResult, ModelCardData

TASK = "unconditional-image-generation"
TAGS = ["echoform", "radar", "micro-doppler", "spectrogram", "gait", "latent-diffusion", "vq-vae", "data-augmentation"]

REQUIRED = ("name", "users")
OPTIONAL = ("repo", "license", "conditions", "sample_sheet", "scores", "stages")
GROUPS = {
    "image": ("height", "width", "channels", "colormap", "colormap_residual"),
    "axes": ("window_s", "hop_s", "doppler_min_hz", "doppler_max_hz", "db_min", "db_max", "carrier_hz"),
    "data": ("name", "hub_id", "people", "images", "split", "gap_windows"),
    "sampling": ("scheduler", "num_inference_steps", "guidance_scale"),
}
STAGE = ("name", "command", "commit", "versions", "machine", "seconds", "images_seen", "parameters")
PEOPLE = ("simulated", "recorded")
SCORE = ("mean", "low", "high", "n", "interval_over", "floor")


@dataclass(frozen=True)
class Metric:
    """How a score is printed."""

    label: str
    """Name in the table and in the Hub's metadata."""
    meaning: str
    """What the number says, and which direction is good."""
    share: bool = False
    """Printed in percent."""
    hub_type: str | None = None
    """Metric type in the Hub's `model-index`; None keeps it out, where it is no property of the model."""


METRICS = {
    "real_to_real": Metric(
        "Real to real accuracy", "a judge trained on real images names the person in held-out real images", share=True
    ),
    "gan_test": Metric(
        "GAN-test accuracy",
        "a judge trained on real images names the asked person in generated images",
        share=True,
        hub_type="accuracy",
    ),
    "gan_test_ratio": Metric("GAN-test ratio", "GAN-test over real to real; 1 is ideal", hub_type="gan_test_ratio"),
    "gan_train": Metric(
        "GAN-train accuracy",
        "a judge trained on generated images alone names the person in held-out real images",
        share=True,
        hub_type="accuracy",
    ),
    "gan_train_ratio": Metric("GAN-train ratio", "GAN-train over real to real; 1 is ideal", hub_type="gan_train_ratio"),
    "frechet": Metric(
        "Fréchet distance", "in the judge's features; lower is better", hub_type="frechet_distance_judge_features"
    ),
    "kid": Metric("Kernel distance", "in the judge's features; lower is better", hub_type="kid_judge_features"),
    "precision": Metric("Precision", "share of generated images that lie among real ones", True, "precision"),
    "recall": Metric("Recall", "share of real images that lie among generated ones", True, "recall"),
    "density": Metric("Density", "how densely generated images lie among real ones; 1 is ideal", hub_type="density"),
    "coverage": Metric("Coverage", "share of real images with a generated one near by", True, "coverage"),
    "memorised": Metric(
        "Memorised share",
        "share of images whose nearest training image is nearer than a third of the second nearest; lower is better",
        share=True,
        hub_type="memorised_share",
    ),
    "diversity_features": Metric(
        "Diversity, features", "mean distance between images of one person, the judge's features; the floor is ideal"
    ),
    "diversity_pixels": Metric(
        "Diversity, pixels", "mean distance between images of one person, pixels; the floor is ideal"
    ),
    "psnr_db": Metric("PSNR of the first stage", "decibels, on the validation part; higher is better"),
    "codebook_use": Metric("Codebook use", "share of the codes that held-out images use", share=True),
    "codebook_perplexity": Metric("Codebook perplexity", "codes in even use that would carry the same information"),
}


def render_model_card(facts: Mapping[str, Any]) -> str:
    """Markdown with a YAML block, as the README.md of an exported spectrogram pipeline.

    Args:
        facts: JSON-able. `name` and `users` must be there, everything else may be missing or None and is then not
            mentioned:

            - `name`: str, title of the model.
            - `users`: list of str, the labels of the people in the order of their class ids.
            - `conditions`: {name: list of its values}, in the order of their ids.
            - `repo`: str, the Hub id that the snippet loads; without it the snippet loads the folder of the card.
            - `license`: str, a licence identifier of the Hub, such as "cc-by-4.0".
            - `sample_sheet`: str, path inside the repository of a picture with one row of images a person.
            - `image`: `height`, `width` in pixels; `channels` that the model sees, 1 or 3; `colormap`, the name of the
              colour table that the pipeline paints with; `colormap_residual`, mean distance of the training images to
              that table, RGB units of 0..255.
            - `axes`: `window_s`, `hop_s`, `doppler_min_hz`, `doppler_max_hz`, `db_min`, `db_max`, `carrier_hz`, and
              any other number that came with the data.
            - `data`: `name`, str; `hub_id`, str; `people`, "simulated" or "recorded"; `images`, {part of the split:
              count}; `split`, str such as "by recording"; `gap_windows`, int, windows left out at each cut.
            - `stages`: list of trainings, each `name`, `command`, `commit`, `versions` {package: version}, `machine`,
              `seconds`, `images_seen` and `parameters` (a count).
            - `sampling`: `scheduler`, `num_inference_steps`, `guidance_scale` that the scores were measured with.
            - `scores`: {name of METRICS, or another: `mean`; `low` and `high`, ends of the 95 % interval; `n` of what
              it was taken over; `interval_over`, what that is, such as "seeds"; `floor`, the same number of real
              against real images}. Shares are in 0..1. An interval is printed where both of its ends are known.

    Returns:
        The card. Its metadata hold a `model-index` only where the facts hold scores and the data's name.

    Raises:
        ValueError: If `name` or `users` is missing or empty, a fact is unknown, `people` has another value, or a score
            is not finite.
    """
    facts = _complete(facts)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("echoform_cards"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # the output is Markdown
    )
    environment.filters.update(
        code=_code, fence=_fence, literal=_literal, bullets=_bullets, percent=_percent, duration=_duration
    )
    score_rows = [_score_row(name, score) for name, score in facts["scores"].items()]
    return environment.get_template("model_card.md.j2").render(
        facts,
        metadata=_metadata(facts).to_yaml(),
        score_rows=score_rows,
        other_axes={name: value for name, value in facts["axes"].items() if name not in GROUPS["axes"]},
    )


def _complete(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts with every missing one as None, an empty list or an empty dict."""
    _refuse_unknown("facts", facts, (*REQUIRED, *OPTIONAL, *GROUPS))
    for name in REQUIRED:
        if not facts.get(name):
            raise ValueError(f"a model card needs {' and '.join(REQUIRED)}, got {name}={facts.get(name)!r}")
    complete: dict[str, Any] = dict.fromkeys(OPTIONAL) | dict(facts)
    for group, members in GROUPS.items():
        values = facts.get(group) or {}
        if group != "axes":  # these travel with the data, whose owner may have written more
            _refuse_unknown(group, values, members)
        complete[group] = dict.fromkeys(members) | dict(values)
    if complete["data"]["people"] not in (None, *PEOPLE):
        raise ValueError(f"people of the data must be {' or '.join(PEOPLE)}, got {complete['data']['people']!r}")
    complete["conditions"] = facts.get("conditions") or {}
    complete["stages"] = [_complete_record("stages", stage, STAGE) for stage in facts.get("stages") or []]
    scores = facts.get("scores") or {}
    complete["scores"] = {name: _complete_record(name, score, SCORE) for name, score in scores.items()}
    for name, score in complete["scores"].items():
        for key in ("mean", "low", "high", "floor"):
            value = score[key]
            if (value is None and key == "mean") or (value is not None and not math.isfinite(value)):
                raise ValueError(f"a score must be finite, got {name} {key}={value}")
    return complete


def _complete_record(where: str, record: Mapping[str, Any], members: Sequence[str]) -> dict[str, Any]:
    _refuse_unknown(where, record, members)
    return dict.fromkeys(members) | dict(record)


def _refuse_unknown(where: str, given: Mapping[str, Any], known: Sequence[str]) -> None:
    unknown = sorted(given.keys() - set(known))
    if unknown:
        raise ValueError(f"{where} of a model card may hold {', '.join(known)}, got {', '.join(unknown)}")


def _metadata(facts: Mapping[str, Any]) -> ModelCardData:
    data = facts["data"]
    results = []
    for name, score in facts["scores"].items():
        metric = METRICS.get(name)
        if data["name"] and metric is not None and metric.hub_type is not None:
            results.append(
                EvalResult(
                    task_type=TASK,
                    dataset_type=data["hub_id"] or re.sub(r"[^a-z0-9]+", "-", data["name"].lower()).strip("-"),
                    dataset_name=data["name"],
                    dataset_split="test",
                    metric_type=metric.hub_type,
                    metric_name=metric.label,
                    metric_value=round(score["mean"], 6),
                )
            )
    return ModelCardData(
        library_name="diffusers",
        pipeline_tag=TASK,
        license=facts["license"],
        tags=TAGS,
        datasets=[data["hub_id"]] if data["hub_id"] else None,
        model_name=facts["name"] if results else None,
        eval_results=results or None,
    )


def _score_row(name: str, score: Mapping[str, Any]) -> dict[str, str]:
    metric = METRICS.get(name, Metric(name, ""))
    shown = _percent if metric.share else _number
    value = shown(score["mean"])
    if score["low"] is not None and score["high"] is not None:
        value += f" ({shown(score['low'])} to {shown(score['high'])})"
    return {
        "label": metric.label,
        "meaning": metric.meaning,
        "value": value,
        "floor": "" if score["floor"] is None else shown(score["floor"]),
        "over": " ".join(str(score[key]) for key in ("n", "interval_over") if score[key] is not None),
    }


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _number(value: float) -> str:
    """Three significant digits, and never an exponent: 0.0123, 12.3, 28,100."""
    digits = 0 if value == 0 else max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{digits}f}"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _literal(value: Any) -> str:
    """A Python literal; strings in double quotes."""
    return json.dumps(value, ensure_ascii=False)


def _code(text: str) -> str:
    """A code span that no character of `text` can end."""
    ticks = "`" * (_longest_ticks(text) + 1)
    pad = " " if "`" in text else ""
    return f"{ticks}{pad}{text}{pad}{ticks}"


def _fence(text: str, language: str) -> str:
    """A code block that no line of `text` can end."""
    ticks = "`" * max(3, _longest_ticks(text) + 1)
    return f"{ticks}{language}\n{text}\n{ticks}"


def _bullets(lines: Sequence[str | None]) -> str:
    """A list of those lines that there is something to say in."""
    return "\n".join(f"- {line}" for line in lines if line)


def _longest_ticks(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)
