"""The scores of generated spectrograms, as scores.json holds them: their names, labels and printed table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, TypedDict

from echoform_train.scoring.chance import chance_sentence, nothing_learned

SHARES = ("real_to_real", "gan_test", "gan_train", "precision", "recall", "coverage", "memorised")
"""Scores that are shares of images, 0..1."""
BOUNDED = (*SHARES, "two_sample_auc")
"""Scores that cannot be above 1."""

TEXTURE_LABELS = {
    "two_sample_auc": "Two-sample AUC: a network tells {kind} from held-out real (0.5: it cannot)",
    "fine_energy_ratio": "Fine detail, {kind} / held-out real",
    "log_spectral_distance": "Log-spectral distance to held-out real, dB",
}
"""Label of each score of texture, see texture_scores.py; {kind} is what is compared with real images."""

LABELS = {
    "real_to_real": "Real to real: judge trained on real, tested on held-out real",
    "gan_test": "GAN-test: judge trained on real, tested on generated",
    "gan_test_ratio": "GAN-test / real to real",
    "gan_train": "GAN-train: judge trained on generated, tested on held-out real",
    "gan_train_ratio": "GAN-train / real to real",
    "frechet": "Fréchet distance in the judge's features",
    "kid": "Kernel distance (KID) in the judge's features",
    "precision": "Precision",
    "recall": "Recall",
    "density": "Density",
    "coverage": "Coverage",
    "memorised": "Memorised share (nearest training image < 1/3 of the second)",
    "diversity_features": "Diversity inside a user, the judge's features",
    "diversity_pixels": "Diversity inside a user, pixels",
    **{name: label.format(kind="generated") for name, label in TEXTURE_LABELS.items()},
}
"""Label of each score, in the order of every table."""


class ScoreEntry(TypedDict):
    """One score with its interval and its floor."""

    mean: float
    low: float | None
    """Lower end of the 95 % interval; None where there is only one value."""
    high: float | None
    n: int
    """Number of values or images behind the interval."""
    interval_over: Literal["seeds", "images"] | None
    floor: float | None
    """The same score of other held-out real images; None for scores that have no floor."""


class UserShares(TypedDict):
    """Share of one user's images that the judges name right, 0..1; None where there are no images."""

    real: float | None
    generated: float | None


class ScoreSettings(TypedDict):
    """Numbers of images and seeds that the scores were measured with."""

    judge_train_images: int
    judge_seeds: list[int]
    samples: int
    generated_images: list[int]
    """Images in each sample."""
    train_images: int
    test_images: int
    users: int


class ComparedSpectrum(TypedDict):
    """Mean energy of real and of generated images by spatial frequency along one axis, decibels of that of the real
    images at all frequencies together; both have a value per frequency."""

    cycles_per_pixel: list[float]
    """Frequencies above 0, up to 0.5."""
    real_db: list[float]
    generated_db: list[float]


class _Scores(TypedDict):
    scores: dict[str, ScoreEntry]
    """By the names of LABELS."""
    users: dict[str, UserShares]
    """By the user's label."""
    settings: ScoreSettings


class Scores(_Scores, total=False):
    """Everything that scoring a generator measures."""

    spectra: dict[str, ComparedSpectrum]
    """Of all held-out real and all generated images, along "time" and "doppler"; earlier versions measured none."""


def verdict(scores: Scores) -> str:
    """The main result in one sentence: how often a judge names the user of generated and of real images right.

    Where the judge is no better than guessing, the sentence says that instead.
    """
    generated, real = scores["scores"]["gan_test"], scores["scores"]["real_to_real"]
    return nothing_learned(real, scores["settings"]["users"]) or (
        f"A judge trained only on real spectrograms names the right user for {_percent(generated['mean'])} of "
        f"generated spectrograms and for {_percent(real['mean'])} of held-out real ones."
    )


def score_table(scores: Scores) -> Iterator[str]:
    """Lines of a table to print: label, value, interval and floor of each score; then what guessing reaches."""
    width = max(map(len, LABELS.values()))
    yield f"{'':<{width}}  {'value':>8}  {'95 % interval':>18}  {'floor':>8}"
    for name, label in LABELS.items():
        entry = scores["scores"][name]
        interval = "" if entry["low"] is None else f"{entry['low']:.3f} .. {entry['high']:.3f}"
        floor = "" if entry["floor"] is None else f"{entry['floor']:.3f}"
        yield f"{label:<{width}}  {entry['mean']:>8.3f}  {interval:>18}  {floor:>8}"
    yield chance_sentence(scores["settings"]["users"])


def _percent(share: float) -> str:
    return f"{100 * share:.1f}\N{NO-BREAK SPACE}%"
