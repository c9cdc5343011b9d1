"""The tab "Who walks?": a classifier names the user in spectrograms, or says that it is nobody whom it knows."""

from __future__ import annotations

import base64
import html
from io import BytesIO
from typing import Any, TypeGuard

import gradio as gr
import torch
from hardware import model_queue, on_gpu
from loading import Classifier, facts, pipeline, source
from PIL import Image
from visitors import download_path, open_uploads, refusal, several_files

FORMATS = ("PNG", "JPEG")
SUFFIXES = [".png", ".jpg", ".jpeg"]
TOP = 5
"""Number of labels with a bar; the others are summed up."""
THUMBNAIL_PX = 256
NOBODY = "nobody"
"""Label of a picture that shows none of the users."""
CSS = """
.who { display: grid; grid-template-columns: 9rem minmax(0, 1fr); gap: 0.25rem 1rem; margin: 0 0 1.5rem }
.who img { width: 100%; image-rendering: pixelated }
.who figcaption { grid-column: 1 / -1; overflow-wrap: anywhere; opacity: 0.8 }
.who .answer { font-size: 1.25rem; font-weight: 600; margin: 0 0 0.25rem; overflow-wrap: anywhere }
.who ul { list-style: none; margin: 0; padding: 0 }
.who li { display: grid; grid-template-columns: minmax(0, 8rem) minmax(0, 1fr) 4rem; gap: 0.5rem; align-items: center;
  margin: 0 }
.who li span { overflow-wrap: anywhere; line-height: 1.2 }
.who li i { display: block; height: 0.6rem; background: var(--border-color-primary) }
.who li i b { display: block; height: 100%; background: var(--color-accent) }
.who li em { font-style: normal; text-align: right; font-variant-numeric: tabular-nums }
@media (max-width: 640px) {
  .who { grid-template-columns: 5.5rem minmax(0, 1fr) }
  .who li { grid-template-columns: minmax(0, 1fr) 3.75rem; gap: 0 0.5rem }
  .who li i { grid-area: 2 / 1 / 3 / -1 }
}
"""


@on_gpu
def classify(files: list[str]) -> tuple[str, list[dict[str, Any]]]:
    """Tell who walks in spectrograms, or that it is nobody whom the classifier knows.

    Args:
        files: PNG or JPEG as the radar software writes them, in the colours of the training pictures; at most 16.

    Returns:
        The answers as HTML; and as a list of objects: file, user ("nobody" for other people), probability 0..1, and
        the five most probable labels.
    """
    return tell(pipeline("classifier"), open_uploads(files, FORMATS))


def tell(classifier: Classifier, pictures: list[tuple[str, Image.Image]]) -> tuple[str, list[dict[str, Any]]]:
    """Results of `classify` for opened pictures with their names."""
    prepared = [prepare(classifier, name, picture) for name, picture in pictures]
    with torch.inference_mode():
        logits = classifier.model(torch.cat(prepared).to(classifier.model.device)).logits
    shares, ids = logits.float().softmax(1).cpu().topk(min(TOP, logits.shape[1]))
    answers, cards = [], []
    for (name, picture), row, order in zip(pictures, shares.tolist(), ids.tolist(), strict=True):
        labels = [classifier.model.config.id2label[index] for index in order]
        top = [{"user": label, "probability": round(share, 6)} for label, share in zip(labels, row, strict=True)]
        answers.append({"file": name, **top[0], "top": top})
        cards.append(card(name, picture, top))
    return "".join(cards), answers


def prepare(classifier: Classifier, name: str, picture: Image.Image) -> torch.Tensor:
    """`pixel_values` of one picture, float32 [1, C, H, W].

    Raises:
        gradio.Error: If it is no picture like those of the training.
    """
    try:
        return classifier.processor.preprocess([picture], return_tensors="pt")["pixel_values"]
    except ValueError as error:
        raise refusal(f"{name}: {error}") from error


def card(name: str, picture: Image.Image, top: list[dict[str, Any]]) -> str:
    """HTML of one answer: the picture, the name, and a bar for each probability."""
    bars = [bar(shown_name(one["user"]), one["probability"]) for one in top]
    rest = 1 - sum(one["probability"] for one in top)
    if rest >= 0.0005:
        bars.append(bar("all others", rest))
    small = picture.convert("RGB")
    small.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    png = BytesIO()
    small.save(png, "PNG")
    source_of = f"data:image/png;base64,{base64.b64encode(png.getvalue()).decode()}"
    first = shown_name(top[0]["user"])
    return (
        f'<figure class="who"><figcaption>{html.escape(name)}</figcaption>'
        f'<img alt="{html.escape(name)}" src="{source_of}"><div><p class="answer">{html.escape(first)}</p>'
        f"<ul>{''.join(bars)}</ul></div></figure>"
    )


def bar(label: str, share: float) -> str:
    """A list item with a label, a bar, and its share in per cent."""
    text = html.escape(label)
    return (
        f'<li><span title="{text}">{text}</span><i><b style="width: {100 * share:.2f}%"></b></i>'
        f"<em>{100 * share:.1f} %</em></li>"
    )


def shown_name(label: str) -> str:
    """A label as the page shows it."""
    return "nobody I know" if label == NOBODY else label


def stated_scores() -> str:
    """What the classifier's card states about its accuracy and calibration, as one sentence."""
    scores = facts("classifier").get("card", {}).get("scores")
    stated = []
    for name, words in (
        ("accuracy", "accuracy"),
        ("ece", "calibration error (ECE)"),
        ("false_accept_rate", "unknown people taken for a user"),
        ("false_reject_rate", 'users called "nobody"'),
    ):
        score = scores.get(name) if isinstance(scores, dict) else None
        mean, low, high = (score.get(part) if isinstance(score, dict) else None for part in ("mean", "low", "high"))
        if not is_share(mean):
            stated += [f"no {words}"] if name in ("accuracy", "ece") else []
            continue
        interval = f" ({100 * low:.1f} to {100 * high:.1f})" if is_share(low) and is_share(high) else ""
        stated.append(f"{words} {100 * mean:.1f} %{interval}")
    return f"Its card states, for test images: {', '.join(stated)}."


def is_share(value: Any) -> TypeGuard[float]:
    """Whether a value is a number in 0..1."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def limits(classifier: Classifier) -> str:
    """Plain sentences about what the classifier cannot do."""
    config = classifier.model.config
    knows_nobody = config.nobody_threshold is not None
    people = len(config.id2label) - knows_nobody
    stranger = (
        "Somebody else is mostly, but not always, told apart as nobody I know."
        if knows_nobody
        else f"It always names one of its {people} people, also where somebody else walks."
    )
    return (
        f"It knows {people} people as one radar recorded them, at one place and on some days: with another radar, "
        "place or clothing it errs more often, and its probabilities say too much. "
        f"{stranger} It is no proof of who somebody is."
    )


def accepted(classifier: Classifier, pictures: list[tuple[str, Image.Image]]) -> list[tuple[str, Image.Image]]:
    """Those of some pictures that the classifier can read."""
    found = []
    for name, picture in pictures:
        try:
            prepare(classifier, name, picture)
        except gr.Error:
            continue
        found.append((name, picture))
    return found


def tab(classifier: Classifier, examples: list[tuple[str, Image.Image]]) -> None:
    """Build the tab: pictures on the left, answers on the right.

    Args:
        classifier: The loaded classifier.
        examples: Generated pictures with their names; those that the classifier cannot read are left out.
    """
    origin = source("classifier")
    assert origin is not None  # the classifier was loaded from it
    drawn = accepted(classifier, examples)
    paths = [str(download_path(name)) for name, _ in drawn]
    for path, (_, picture) in zip(paths, drawn, strict=True):
        picture.save(path)
    answer, rows = tell(classifier, drawn) if drawn else ("<p>Drop in spectrograms to see who walks.</p>", [])
    note = " The examples are not recorded: the first tab generated them." if drawn else ""
    gr.Markdown(f"Classifier `{origin.repo}`. {stated_scores()} {limits(classifier)}{note}")
    with gr.Row():
        with gr.Column(scale=1, min_width=300):
            files = several_files(paths, SUFFIXES, "Spectrograms (PNG or JPEG)")
            button = gr.Button("Who walks?", variant="primary")
        with gr.Column(scale=2, min_width=300):
            shown = gr.HTML(answer, label="Who walks", padding=False)
            with gr.Accordion("The answers as JSON", open=False):
                table = gr.JSON(rows, label="Answers")
    queue = model_queue()
    button.click(classify, files, [shown, table], api_name="classify", show_progress_on=shown, **queue)
    files.upload(classify, files, [shown, table], api_visibility="private", show_progress_on=shown, **queue)
