"""Assemble report.json from the plan of a study and the results of its stages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean

from echoform_train.data.spectrograms import SpectrogramData
from echoform_train.engine.files import CLASSIFIER
from echoform_train.engine.provenance import provenance
from echoform_train.scoring.chance import nothing_learned
from echoform_train.scoring.intervals import Interval
from echoform_train.scoring.metrics import Nearest
from echoform_train.study.accuracy.exchange import ExchangePoint, exchange_rates, exchange_sentence
from echoform_train.study.accuracy.rows import name_of_size
from echoform_train.study.accuracy.tables import Points, arm_accuracies, condition_accuracies, size_accuracies
from echoform_train.study.accuracy.verdict import Verdict, unless_guessing, verdict
from echoform_train.study.gait.findings import UnreadableGait
from echoform_train.study.images.nearest_training import copied_share, most_suspicious, nearest_training
from echoform_train.study.images.selection import count_reasons
from echoform_train.study.images.subsets import first_of_each_user
from echoform_train.study.plan import Study, describe_images_per_user
from echoform_train.study.recipes.table import recipe_accuracies
from echoform_train.study.report_types import ClassifierReport, Cost, ExchangeReport, Report, SizeReport
from echoform_train.study.run import StudyResults
from echoform_train.study.stage_cache import codes_of, note_on_codes


def assemble_report(study: Study, results: StudyResults) -> Report:
    """Content of report.json, JSON-able."""
    data, gait = study.data, results.gait
    sizes = [_size_report(study, results, size) for size in study.sizes]
    compared = [each["all"] for size in sizes for each in (size["classical"], size["both"]) if each is not None]
    decided = unless_guessing(verdict(results.rows), compared, len(data.id2label))
    # Copies are searched for among the kept images, because these may go into the data set.
    pixels, users = results.images[study.largest.name].sample
    nearest = nearest_training(pixels, data.train.pixels) if len(users) else None
    confusion_size = describe_images_per_user(study.of_size(results.confusion["n"]))
    return {
        "title": f"Did it help? {_name_of(data)}",
        "subject": _subject(data),
        "notes": [*study.notes, *_notes(results, len(data.id2label))],
        "verdict": decided,
        "exchange": _exchange(study, results, sizes, decided),
        "over": _over(decided),
        "chance": 1 / len(data.id2label),
        "sizes": sizes,
        "arms": arm_accuracies(results.rows, study.sizes),
        "recipes": recipe_accuracies(results.rows, results.recipe_rows, study.sizes),
        "conditions": condition_accuracies(results.rows),
        "confusion": {**results.confusion, "size": confusion_size},
        "suspicious": most_suspicious(nearest, users, data.train, data.id2label) if nearest else [],
        "memorised": {
            "generated": copied_share(nearest) if nearest else 0.0,
            "real": copied_share(_nearest_of_test(data)),
        },
        "physics": None if isinstance(gait, UnreadableGait) else gait,
        "scores": results.scores,
        "axes": data.axes,
        "dataset": _dataset_sentence(study, results),
        "classifier": _classifier(results),
        "cost": _cost(study, results),
        "rows": [*results.rows, *results.recipe_rows],
        "provenance": provenance(),
    }


def _notes(results: StudyResults, users: int) -> list[str]:
    """What did not go as the settings say, what cannot be told, and which numbers other code has measured."""
    notes = []
    # The scores of a generator are worth as much as the judge that measured them.
    for scores in results.scores.values():
        if said := nothing_learned(scores["scores"]["real_to_real"], users):
            notes.append(f"{said} The scores of the generator below tell nothing (--judge-train-images).")
            break
    # Images that were selected by other rules than the settings name must not pass for the others.
    reasons: dict[str, list[str]] = {}
    for name, images in results.images.items():
        if images.without_limits is not None:
            reasons.setdefault(images.without_limits, []).append(name)
    for reason, names in reasons.items():
        notes.append(
            f"Generated images were selected without gait limits, although --only-walks asks for them, for "
            f"{', '.join(names)}: {reason}."
        )
    # Unreadable gait is a note, not an error, because all other results are valid.
    if isinstance(results.gait, UnreadableGait):
        notes.append(f"Gait was not compared: {results.gait.reason}.")
    codes = note_on_codes(results.stages)
    return notes if codes is None else [*notes, codes]


def _size_report(study: Study, results: StudyResults, per_user: int | None) -> SizeReport:
    subsets = study.of_size(per_user)
    selected = [results.images[subset.name] for subset in subsets if subset.name in results.images]
    # Reasons are summed over all draws, each of which has its own generator.
    reasons: Counter[str] = Counter()
    for images in selected:
        reasons.update(count_reasons(images))
    accuracies = size_accuracies(results.rows, per_user)
    return {
        "size": name_of_size(per_user),
        "images_a_user": describe_images_per_user(subsets),
        "images": max(len(subset.indices) for subset in subsets),
        "draws": len(subsets),
        "best_classical": _of_families(accuracies["best_classical"]),
        "drawn": sum(len(images.rows) for images in selected),
        "kept": sum(len(images.kept) for images in selected),
        "reasons": dict(reasons),
        "real": accuracies["real"],
        "classical": accuracies["classical"],
        "generated": accuracies["generated"],
        "both": accuracies["both"],
        "difference": accuracies["difference"],
        "recommended": _of_families(accuracies["recommended"]),
    }


def _of_families(values: Mapping[str, str]) -> str:
    """What holds for all families of classifiers, or for each if they differ."""
    if len(set(values.values())) == 1:
        return next(iter(values.values()))
    return ", ".join(f"{value} ({family})" for family, value in values.items())


def _exchange(study: Study, results: StudyResults, sizes: Sequence[SizeReport], decided: Verdict) -> ExchangeReport:
    """What generated images are worth in real ones, read off the curve without generated images."""
    points: list[ExchangePoint] = []
    for per_user, size in zip(study.sizes, sizes, strict=True):
        if size["classical"] is not None:
            images = mean(len(subset.indices) for subset in study.of_size(per_user))
            points.append(
                {
                    "real": images / len(study.data.id2label),
                    "accuracy": size["classical"]["all"]["mean"],
                    "gain": _interval(size["difference"]),
                }
            )
    # Where classifiers only guess, there is no curve to read anything off.
    rates = [] if decided["word"] == "nothing learned" else exchange_rates(points, 1 / len(study.data.id2label))
    # Where too few images were kept, classifiers see fewer than were asked for.
    used = [len(first_of_each_user(each.sample[1], study.images_to_measure)) for each in results.images.values()]
    generated = round(mean(used) / len(study.data.id2label))
    return {"generated_per_user": generated, "sentence": exchange_sentence(rates, generated), "rates": rates}


def _interval(points: Points | None) -> Interval | None:
    """The mean over families with its interval; None if there is none."""
    found = points["all"] if points else None
    if found is None or found["low"] is None or found["high"] is None:
        return None
    return Interval(found["mean"], found["low"], found["high"])


def _nearest_of_test(data: SpectrogramData) -> Nearest:
    return nearest_training(data.test.pixels, data.train.pixels)


def _name_of(data: SpectrogramData) -> str:
    return Path(data.source).name if Path(data.source).exists() else data.source


def _subject(data: SpectrogramData) -> str:
    height, width = data.train.pixels.shape[-2:]
    return (
        f"Generated spectrograms as training data for classifiers that tell {len(data.id2label)} people apart: "
        f"{len(data.train)} real ones for training, {len(data.test)} held out, {width}x{height} pixels, "
        f"split {data.split.method}."
    )


def _over(decided: Verdict) -> str:
    if decided["over"] == "draws":
        return f"{decided['n']} draws of images, each with its own generator"
    return f"{decided['n']} seeds of the classifiers, all on the same images and the same generator"


def _dataset_sentence(study: Study, results: StudyResults) -> str:
    counts = results.dataset
    generated = counts["train"]["generated"]
    sentence = (
        f"The data set holds {counts['train']['real']:,} real and {generated:,} generated images for training, and the "
        f"{counts['validation']['real']:,} validation and {counts['test']['real']:,} test images, all real."
    )
    missing = sum(study.to_add.values()) - generated
    if missing == 0:
        return sentence
    return f"{sentence} These are {missing:,} generated images fewer than requested, because too few were kept."


def _classifier(results: StudyResults) -> ClassifierReport | None:
    if results.classifier is None:
        return None
    facts = results.classifier.facts
    scores = facts["scores"]
    accuracy, strangers = scores["accuracy"], scores.get("false_accept_rate")
    sentence = (
        f"The folder {CLASSIFIER}/ holds a classifier that was trained on all {facts['images']:,} training images in "
        f"the recommended way ({facts['way']}). It names {100 * accuracy['mean']:.1f} % of held-out spectrograms right "
        f"({100 * accuracy['low']:.1f} to {100 * accuracy['high']:.1f}); calibration error "
        f"{100 * scores['ece']['mean']:.1f} %."
    )
    if strangers is not None:
        sentence += (
            f' It answers "nobody" to {100 * (1 - strangers["mean"]):.1f} % of images of people whom it does not know, '
            f"and to {100 * scores['false_reject_rate']['mean']:.1f} % of those of its users."
        )
    return {"way": facts["way"], "scores": scores, "sentence": sentence}


def _cost(study: Study, results: StudyResults) -> Cost:
    return {
        "seconds": sum(stage.seconds for stage in results.stages),
        "cpu_seconds": sum(stage.cpu_seconds for stage in results.stages),
        "workers": study.workers,
        "stages": [
            {
                "name": stage.name,
                "seconds": stage.seconds,
                "cpu_seconds": stage.cpu_seconds,
                "summary": stage.facts["summary"],
                "code": ", ".join(codes_of([stage])),
            }
            for stage in results.stages
        ],
    }
