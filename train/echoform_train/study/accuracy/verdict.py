"""The verdict of a study: whether generated images help a classifier that has the best classical augmentation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from echoform_train.engine.errors import UserError
from echoform_train.scoring.chance import nothing_learned
from echoform_train.study.accuracy.comparisons import Difference, paired
from echoform_train.study.accuracy.rows import BEST, BOTH, Row, name_of_size
from echoform_train.study.accuracy.tables import Point

Word = Literal["helps", "no measurable effect", "hurts", "nothing learned"]
"""The last one stands for no verdict, where classifiers are no better than guessing."""

_OPENINGS: dict[Word, str] = {
    "helps": "Generated spectrograms help",
    "no measurable effect": "Generated spectrograms have no measurable effect",
    "hurts": "Generated spectrograms hurt",
    "nothing learned": "The classifiers have learned nothing",
}


class SizeDifference(Difference):
    """The difference at one number of real images per user."""

    images_a_user: int | None
    """Real images per user; None for all."""


class Verdict(Difference):
    """What generated images add to the best classical augmentation, averaged over all sizes."""

    word: Word
    sentence: str
    sizes: list[SizeDifference]
    """Each size alone; the intervals are not corrected for multiple comparisons."""


def verdict(rows: Sequence[Row]) -> Verdict:
    """Decide whether generated images help a classifier that already has the best classical augmentation.

    The verdict depends on one difference: the accuracy with "best classical + generated" minus that with "best
    classical", averaged over all sizes and both families. It is "helps" if the 95 % interval of this difference lies
    above 0, "hurts" if it lies below 0, and "no measurable effect" otherwise. Single sizes do not change the verdict;
    its sentence names each size whose own interval lies below 0. See `paired` for what the intervals cover.

    Args:
        rows: All rows of a study; rows with a condition do not count.

    Raises:
        ValueError: If nothing was measured with generated images, or with fewer than two seeds.
    """
    measured = {row["n"] for row in rows if row["arm"] == BOTH and row["condition"] is None}
    sizes = sorted(measured, key=lambda size: float("inf") if size is None else size)
    if not sizes:
        raise UserError(f"a verdict needs rows of the arm {BOTH!r}, there are none")
    pooled = paired(rows, BOTH, BEST, sizes)
    by_size: list[SizeDifference] = [{**paired(rows, BOTH, BEST, [size]), "images_a_user": size} for size in sizes]
    word: Word = "helps" if pooled["low"] > 0 else "hurts" if pooled["high"] < 0 else "no measurable effect"
    return {**pooled, "word": word, "sentence": _sentence(word, pooled, by_size), "sizes": by_size}


def unless_guessing(decided: Verdict, accuracies: Sequence[Point], users: int) -> Verdict:
    """The verdict, or none where all these accuracies, with and without generated images, are those of guessing.

    Args:
        decided: What `verdict` returned.
        accuracies: Of the best classical augmentation, without and with generated images, at every size.
        users: Number of users that classifiers tell apart.
    """
    sentences = [nothing_learned(accuracy, users, who="classifiers") for accuracy in accuracies]
    if not sentences or None in sentences:
        return decided
    best = max(accuracies, key=lambda accuracy: accuracy["mean"])
    sentence = nothing_learned(best, users, who="classifiers")
    assert sentence is not None
    return {**decided, "word": "nothing learned", "sentence": sentence}


def _sentence(word: Word, pooled: Difference, by_size: Sequence[SizeDifference]) -> str:
    names = _join([name_of_size(size["images_a_user"]) for size in by_size])
    where = f"{'mean over ' if len(by_size) > 1 else 'at '}{names} real images per user"
    change = f"{abs(100 * pooled['difference']):.1f} points {'more' if pooled['difference'] >= 0 else 'fewer'}"
    interval = f"95 % interval {100 * pooled['low']:+.1f} to {100 * pooled['high']:+.1f}"
    covered = "each with images of its own" if pooled["over"] == "draws" else "all on the same images"
    sentence = (
        f"{_OPENINGS[word]}: added to the best classical augmentation they let classifiers name {change} of held-out "
        f"spectrograms right ({interval}; {pooled['n']} {pooled['over']}, {covered}; {where})."
    )
    # Sizes that get worse are named even if the mean gets better.
    worse = [size for size in by_size if size["high"] < 0]
    if worse and len(by_size) > 1:
        listed = [f"{name_of_size(size['images_a_user'])} ({100 * size['difference']:+.1f} points)" for size in worse]
        sentence += f" With so many real images per user they make it worse: {_join(listed)}."
    return sentence


def _join(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
