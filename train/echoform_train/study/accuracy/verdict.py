"""The verdict of a study: whether generated images help a classifier that has the best classical augmentation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from echoform_train.engine.errors import UserError
from echoform_train.scoring.chance import nothing_learned
from echoform_train.study.accuracy.comparisons import Difference, paired, recommends_generated
from echoform_train.study.accuracy.rows import BOTH, RECOMMENDED, RIVAL, Row, name_of_size
from echoform_train.study.accuracy.tables import Point

Word = Literal["helps", "no measurable effect", "hurts", "not recommended", "undecided", "nothing learned"]
"""The last two stand for no verdict: where only one choice of the real images was measured, and where classifiers are
no better than guessing."""

_OPENINGS: dict[Word, str] = {
    "helps": "Generated spectrograms help",
    "no measurable effect": "Generated spectrograms have no measurable effect",
    "hurts": "Generated spectrograms hurt",
    "not recommended": "Generated spectrograms are not recommended",
    "undecided": "Whether generated spectrograms help is not decided",
    "nothing learned": "The classifiers have learned nothing",
}


class SizeDifference(Difference):
    """The difference at one number of real images per user."""

    images_a_user: int | None
    """Real images per user; None for all."""


class Verdict(Difference):
    """What the recommended use of generated images adds to the best rival without them, averaged over all sizes."""

    word: Word
    sentence: str
    sizes: list[SizeDifference]
    """Each size alone; the intervals are not corrected for multiple comparisons."""


def verdict(rows: Sequence[Row]) -> Verdict:
    """Decide whether generated images help a classifier that already has the best classical augmentation.

    The verdict depends on one difference: the accuracy of "recommended" minus that of "best without generated images"
    (see rows.py), averaged over all sizes and both families. Validation images decide what is recommended at each size;
    without generated images the difference is 0 there. It is

    - "not recommended" if generated images are recommended at no size; the difference is then that of "best classical
      + generated", to tell what using them anyway would have done;
    - "undecided" if all classifiers had the same real images, because the interval then does not cover another choice;
    - "helps" if the 95 % interval of the difference lies above 0, "hurts" if it lies below 0, and "no measurable
      effect" otherwise.

    Single sizes do not change the verdict; its sentence names each size whose own interval lies below 0. See `paired`
    for what the intervals cover.

    Args:
        rows: All rows of a study; rows with a condition do not count.

    Raises:
        ValueError: If nothing was measured with generated images, or with fewer than two seeds.
    """
    measured = {row["n"] for row in rows if row["arm"] == BOTH and row["condition"] is None}
    sizes = sorted(measured, key=lambda size: float("inf") if size is None else size)
    if not sizes:
        raise UserError(f"a verdict needs rows of the arm {BOTH!r}, there are none")
    families = sorted({row["family"] for row in rows if row["arm"] == BOTH and row["condition"] is None})
    used = [size for size in sizes if any(recommends_generated(rows, size, family) for family in families)]
    arm = RECOMMENDED if used else BOTH
    pooled = paired(rows, arm, RIVAL, sizes)
    by_size: list[SizeDifference] = [{**paired(rows, arm, RIVAL, [size]), "images_a_user": size} for size in sizes]
    word = _word(pooled, bool(used))
    return {**pooled, "word": word, "sentence": _sentence(word, pooled, by_size, used), "sizes": by_size}


def _word(pooled: Difference, recommended: bool) -> Word:
    if not recommended:
        return "not recommended"
    if pooled["over"] == "seeds":
        return "undecided"
    return "helps" if pooled["low"] > 0 else "hurts" if pooled["high"] < 0 else "no measurable effect"


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


def _sentence(word: Word, pooled: Difference, by_size: Sequence[SizeDifference], used: Sequence[int | None]) -> str:
    names = _join([name_of_size(size["images_a_user"]) for size in by_size])
    where = f"{'mean over ' if len(by_size) > 1 else 'at '}{names} real images per user"
    change = f"{abs(100 * pooled['difference']):.1f} points {'more' if pooled['difference'] >= 0 else 'fewer'}"
    interval = f"95 % interval {100 * pooled['low']:+.1f} to {100 * pooled['high']:+.1f}"
    covered = "each with images of its own" if pooled["over"] == "draws" else "all on the same images"
    found = (
        f"they let classifiers name {change} of held-out spectrograms right ({interval}; {pooled['n']} "
        f"{pooled['over']}, {covered}; {where})."
    )
    if word == "not recommended":
        return (
            f"{_OPENINGS[word]}: on validation images no share of them beats the best classical augmentation, so use "
            f"that alone. Added anyway, {found}"
        )
    recommended = "" if len(used) == len(by_size) else f" where validation images recommend them ({_names(used)})"
    sentence = f"{_OPENINGS[word]}: added to the best classical augmentation{recommended} {found}"
    if word == "undecided":
        sentence += " Only one choice of the real images was measured; another one may give another result."
    # Sizes that get worse are named even if the mean gets better.
    worse = [size for size in by_size if size["high"] < 0]
    if worse and len(by_size) > 1:
        listed = [f"{name_of_size(size['images_a_user'])} ({100 * size['difference']:+.1f} points)" for size in worse]
        sentence += f" With so many real images per user they make it worse: {_join(listed)}."
    return sentence


def _names(sizes: Sequence[int | None]) -> str:
    return f"at {_join([name_of_size(size) for size in sizes])}"


def _join(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
