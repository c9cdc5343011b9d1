"""Scores of a convolutional autoencoder as a table for the terminal, and as the scores of its model card."""

from __future__ import annotations

from collections.abc import Iterator

from echoform_cards.facts import Score
from echoform_train.conv.quality import ConvScores

METRIC_TITLES = {
    "psnr_db": "PSNR, dB",
    "ssim": "SSIM",
    "brightness_shift": "Brightness, 1/255",
    "detail_kept": "Detail kept",
}
METHOD_TITLES = {
    "model": "model",
    "alone": "latents alone",
    "mean": "mean image",
    "resized": "resized",
}


def table_lines(scores: ConvScores) -> Iterator[str]:
    """Lines of a table: a row per score; columns for the model with its interval, then for each simpler method."""
    width = max(map(len, METRIC_TITLES.values()))
    methods = [name for name in METHOD_TITLES if name in scores.methods]
    yield f"{'':<{width}}  {'model (95 % interval)':>30}" + "".join(
        f"{METHOD_TITLES[name]:>15}" for name in methods[1:]
    )
    for name, title in METRIC_TITLES.items():
        mean, low, high = scores.methods["model"][name]
        others = "".join(f"{scores.methods[method][name].mean:>15.4g}" for method in methods[1:])
        yield f"{title:<{width}}  {f'{mean:.4g} ({low:.4g} .. {high:.4g})':>30}" + others
    settings = scores.settings
    bits = settings["bits_around_the_latents"]
    yield (
        f"{settings['images']} held-out images of {settings['values_of_an_image']} values; {settings['numbers']} "
        "numbers in the latents" + (f", and {bits} bits of pooling indices that bypass them" if bits else "")
    )


def card_scores(scores: ConvScores) -> dict[str, Score]:
    """Scores of the model in the form that `write_card` expects, each with those of the simpler methods."""
    baselines = {METHOD_TITLES[name]: values for name, values in scores.methods.items() if name != "model"}
    return {
        name: {
            "mean": interval.mean,
            "low": interval.low,
            "high": interval.high,
            "n": scores.settings["images"],
            "interval_over": scores.settings["interval_over"],
            "baselines": {title: values[name].mean for title, values in baselines.items()},
        }
        for name, interval in scores.methods["model"].items()
    }
