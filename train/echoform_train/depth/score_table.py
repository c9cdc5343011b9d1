"""Scores of a depth pipeline as a table for the terminal, and as the scores of its model card."""

from __future__ import annotations

from collections.abc import Iterator

from echoform_cards.facts import Score
from echoform_train.depth.quality import DepthScores
from echoform_train.scoring.chance import chance_sentence, nothing_learned

METRIC_TITLES = {
    "psnr_db": "PSNR, dB",
    "rmse_mm": "RMSE, mm",
    "mae_mm": "MAE, mm",
    "abs_rel": "AbsRel",
    "delta_105": "delta < 1.05",
    "delta_125": "delta < 1.25",
    "edge_f1": "Depth-edge F1",
    "validity_iou": "Validity IoU",
    "knn": "k-NN accuracy",
    "linear_probe": "Linear probe accuracy",
}
METHOD_TITLES = {
    "model": "model",
    "pca": "PCA",
    "dct": "DCT",
    "pixels": "raw pixels",
    "untrained": "untrained",
}


def table_lines(scores: DepthScores) -> Iterator[str]:
    """Lines of a table: a row per score; columns for the model with its interval, then for each baseline."""
    width = max(map(len, METRIC_TITLES.values()))
    methods = [name for name in METHOD_TITLES if name in scores.methods]
    yield f"{'':<{width}}  {'model (95 % interval)':>30}" + "".join(
        f"{METHOD_TITLES[name]:>12}" for name in methods[1:]
    )
    for name, title in METRIC_TITLES.items():
        of_model = scores.methods["model"].get(name)
        if of_model is None:
            continue
        value = f"{of_model.mean:.4g} ({of_model.low:.4g} .. {of_model.high:.4g})"
        others = [scores.methods[method].get(name) for method in methods[1:]]
        yield f"{title:<{width}}  {value:>30}" + "".join(
            f"{'-' if other is None else format(other.mean, '.4g'):>12}" for other in others
        )
    settings = scores.settings
    yield (
        f"{settings['images']['test']} held-out images; peak of PSNR {settings['peak_mm']:g} mm; {settings['numbers']} "
        f"numbers per image, {settings['pca_components']} for PCA from {settings['images']['train']} training images; "
        "PCA and DCT predict no validity"
    )
    probe = scores.methods["model"].get("linear_probe")
    if probe is not None:
        told = nothing_learned(probe._asdict(), settings["classes"], who="linear probe", images="held-out images")
        yield told or chance_sentence(settings["classes"], "classes")


def card_scores(scores: DepthScores) -> dict[str, Score]:
    """Scores of the model in the form that `write_card` expects, each with those of the baselines."""
    settings = scores.settings
    titles = {
        "pca": f"PCA-{settings['pca_components']}",
        "dct": f"DCT-{settings['numbers']}",
        "pixels": "raw pixels",
        "untrained": "untrained encoder",
    }
    on_card: dict[str, Score] = {}
    for name, interval in scores.methods["model"].items():
        baselines = {
            title: scores.methods[method][name].mean
            for method, title in titles.items()
            if name in scores.methods.get(method, {})
        }
        on_card[name] = {
            "mean": interval.mean,
            "low": interval.low,
            "high": interval.high,
            "n": settings["groups"],
            "interval_over": settings["interval_over"],
            "baselines": baselines or None,
        }
    return on_card
