"""The verdict on whether a first stage is good enough to train a second stage on."""

from __future__ import annotations

from echoform_train.latent_diffusion.quality_scores import Check, CodebookScores, QualityScores, Verdict
from echoform_train.scoring.chance import nothing_learned

MIN_ACCURACY_KEPT = 0.95
"""Share of their accuracy that judges must keep on reconstructions; no second stage can restore lost details."""
MIN_PERPLEXITY_SHARE = 0.1
"""Smallest perplexity of a codebook, as a share of its size; below it, most codes are unused."""


def verdict(scores: QualityScores, num_users: int) -> Verdict:
    """Decide whether a first stage is good enough to train a second stage on.

    Its PSNR must be above that of a thumbnail of its latents' size. Judges must name at least twice as many real images
    right as by guessing, and keep MIN_ACCURACY_KEPT of that accuracy on reconstructions. The perplexity of a codebook
    must reach MIN_PERPLEXITY_SHARE of its size. Where the judges are no better than guessing, there is no verdict, and
    the sentence says so.

    Args:
        scores: What `measure_quality` returned.
        num_users: Number of users that the judges tell apart.
    """
    accuracy = scores["accuracy"]
    checks = [
        _check_psnr(scores["psnr_db"]["mean"] - scores["thumbnail_psnr_db"]),
        _check_judges(accuracy["real"]["mean"], min(1.0, 2 / num_users)),
        _check_accuracy_kept(accuracy["kept"]["mean"]),
    ]
    if scores["codebook"] is not None:
        checks.append(_check_codebook(scores["codebook"]))
    good = all(check["passed"] for check in checks)
    # A good verdict names what passed, a bad one only what did not.
    reasons = "; ".join(check["says"] for check in checks if check["passed"] == good)
    sentence = f"{'Good' if good else 'Not good'} enough to train a second stage on: {reasons}."
    if undecided := nothing_learned(accuracy["real"], num_users, who="judges"):
        sentence = f"{undecided} Whether the first stage is good enough is open (--judge-train-images)."
    return Verdict(good_enough=good, sentence=sentence, checks=checks)


def _check_psnr(above_db: float) -> Check:
    side = "above" if above_db > 0 else "below"
    return Check(passed=above_db > 0, says=f"PSNR is {abs(above_db):.1f} dB {side} a thumbnail of the latents' size")


def _check_judges(accuracy: float, needed: float) -> Check:
    says = f"judges name {accuracy:.1%} of real images right, {needed:.0%} are needed for a verdict"
    return Check(passed=accuracy >= needed, says=says)


def _check_accuracy_kept(kept: float) -> Check:
    says = f"judges keep {kept:.1%} of their accuracy, {MIN_ACCURACY_KEPT:.0%} are needed"
    return Check(passed=kept >= MIN_ACCURACY_KEPT, says=says)


def _check_codebook(codebook: CodebookScores) -> Check:
    needed = MIN_PERPLEXITY_SHARE * codebook["size"]
    says = f"perplexity is {codebook['perplexity']:.0f} of {codebook['size']} codes, {needed:.0f} are needed"
    return Check(passed=codebook["perplexity"] >= needed, says=says)
