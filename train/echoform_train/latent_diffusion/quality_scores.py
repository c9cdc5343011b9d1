"""The scores of a first stage, as scores.json holds them, and their printed table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypedDict

from echoform_train.scoring.chance import chance_of
from echoform_train.scoring.scores import TEXTURE_LABELS

LATENT_NOISE = 0.1
"""Standard deviation of the noise in `noisy_latents_psnr_db`, as a share of the standard deviation of each latent
channel. The noise stands for the errors of the latents that a second stage generates."""


class MeanScore(TypedDict):
    """A mean and its 95 % interval; None at both ends if there is only one value."""

    mean: float
    low: float | None
    high: float | None


class AccuracyScores(TypedDict):
    """What judges recognise; intervals cover other judges and other images."""

    real: MeanScore
    """Share of the real images whose user the judges name right, 0..1."""
    kept: MeanScore
    """The same share for reconstructions, divided by that for real images."""


class CodebookScores(TypedDict):
    """How a codebook is used."""

    size: int
    """Number of codes."""
    use: float
    """Share of the codes that are used at least once, 0..1."""
    perplexity: float
    """Number of codes that would be as diverse if all were used equally often, 1..size."""


class _LatentStatistics(TypedDict):
    shape: list[int]
    """[D, h, w] of one image."""
    mean: list[float]
    deviation: list[float]
    """Standard deviation."""


class LatentScores(_LatentStatistics, total=False):
    """What the latents look like; lists are by channel."""

    posterior_deviation: list[float]
    """Only of an AutoencoderKL: root mean square of the standard deviations of its latent distributions, divided by
    `deviation`. Near 0 it is a plain autoencoder; at 1 and above the channel holds only noise."""


class TextureScore(MeanScore):
    """One score of texture; the interval is over seeds."""

    floor: float
    """The same score of real training images."""


class UserScores(TypedDict):
    """Scores over the images of one user."""

    images: int
    psnr_db: float
    ssim: float
    real_accuracy: float
    """Share of the real images that the judges name right, 0..1."""
    reconstruction_accuracy: float
    """Share of their reconstructions that the judges name right, 0..1."""


class QualityScores(TypedDict):
    """All scores of a first stage; JSON-able. Intervals are over images unless stated otherwise."""

    psnr_db: MeanScore
    ssim: MeanScore
    lpips: MeanScore | None
    """None where the weights that LPIPS needs are missing."""
    thumbnail_psnr_db: float
    """PSNR of images that are shrunk to the height and width of the latents and enlarged again."""
    noisy_latents_psnr_db: float
    """PSNR of images that are decoded from latents with noise of LATENT_NOISE."""
    accuracy: AccuracyScores
    texture: dict[str, TextureScore]
    """How well reconstructions are told from the real images by their texture, by the names of TEXTURE_LABELS."""
    codebook: CodebookScores | None
    """None for a model without quantisation."""
    latents: LatentScores
    users: dict[str, UserScores]
    """By name of the user."""
    error_spectrum: dict[str, dict[str, list[float]]]
    """By axis ("time", "doppler"), the fields of `AxisSpectrum`."""


class Check(TypedDict):
    """One condition of the verdict."""

    passed: bool
    says: str
    """The measured value and what was needed, as a clause of a sentence."""


class Verdict(TypedDict):
    """The verdict on a first stage."""

    good_enough: bool
    sentence: str
    """The verdict with its reasons."""
    checks: list[Check]


class FirstStageScores(QualityScores):
    """Content of scores.json: the scores, the verdict that follows from them, and the numbers of images."""

    verdict: Verdict
    images: dict[str, int]
    """Numbers of images ("train", "test") and of "users"."""


def score_table(scores: FirstStageScores) -> Iterator[str]:
    """Lines to print: a table of all scores, one of the users, and the verdict."""
    lpips, codebook, accuracy = scores["lpips"], scores["codebook"], scores["accuracy"]
    rows = [
        ("PSNR, dB", _cell(scores["psnr_db"], ".2f")),
        ("  of a thumbnail of the latents' size", f"{scores['thumbnail_psnr_db']:.2f}"),
        (f"  with noise of {LATENT_NOISE:g} deviations on the latents", f"{scores['noisy_latents_psnr_db']:.2f}"),
        ("SSIM", _cell(scores["ssim"], ".4f")),
        ("LPIPS", "torchvision's AlexNet weights are not at hand" if lpips is None else _cell(lpips, ".4f")),
        ("Accuracy of judges on real images", _cell(accuracy["real"], ".1%")),
        ("  of guessing at random (chance)", f"{chance_of(scores['images']['users']):.1%}"),
        ("Accuracy kept on reconstructions", _cell(accuracy["kept"], ".1%")),
    ]
    for name, label in TEXTURE_LABELS.items():
        score = scores["texture"][name]
        rows.append((label.format(kind="reconstructed"), f"{_cell(score, '.3f')}, floor {score['floor']:.3f}"))
    if codebook is not None:
        rows += [
            ("Codebook use", f"{codebook['use']:.1%}"),
            ("Codebook perplexity", f"{codebook['perplexity']:.1f} of {codebook['size']}"),
        ]
    width = max(len(label) for label, _ in rows)
    yield from (f"{label:<{width}}  {value}" for label, value in rows)
    yield ""
    yield f"{'user':<16}{'images':>8}{'PSNR, dB':>10}{'SSIM':>8}{'real':>8}{'kept':>8}"
    for user, row in scores["users"].items():
        yield (
            f"{user:<16}{row['images']:>8}{row['psnr_db']:>10.2f}{row['ssim']:>8.3f}{row['real_accuracy']:>8.1%}"
            f"{row['reconstruction_accuracy']:>8.1%}"
        )
    yield ""
    yield scores["verdict"]["sentence"]


def _cell(score: MeanScore, form: str) -> str:
    if score["low"] is None or score["high"] is None:
        return format(score["mean"], form)
    return f"{score['mean']:{form}} ({score['low']:{form}} .. {score['high']:{form}})"
