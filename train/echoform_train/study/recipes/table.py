"""What each recipe gains over the best of its rivals, for the report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from echoform_train.study.accuracy.comparisons import accuracy_interval, paired_interval, with_aliases
from echoform_train.study.accuracy.rows import RIVAL, Row, name_of_size
from echoform_train.study.accuracy.tables import Point
from echoform_train.study.recipes.arms import COPIES, ENSEMBLE, NAMES, RECIPES, RIVALS, TEACHERS, TWICE, Recipe

_SAME_IDEA: dict[Recipe, str] = {"teachers": COPIES, "pretrain": TWICE}
_OWN_RIVAL = "best rival of the recipe"  # an alias, of this module alone


class RecipeAccuracies(TypedDict):
    """One recipe at one number of real images per user; means over both families."""

    recipe: str
    """In words."""
    size: str
    accuracy: Point
    classical: Point
    """Of the best training without generated images."""
    same_idea: Point
    """Of the same idea with real images alone."""
    ensemble: Point | None
    """Of the teachers themselves; None without teachers."""
    gain: Point
    """`accuracy` minus that of the best of these rivals on validation images."""
    rivals: dict[str, str]
    """By family: the rival that was best on validation images."""
    chosen: dict[str, str]
    """By family: the variant that was best on validation images; empty if there is one only."""


def recipe_accuracies(
    rows: Sequence[Row], recipe_rows: Sequence[Row], sizes: Sequence[int | None]
) -> list[RecipeAccuracies]:
    """The table of the recipes.

    Args:
        rows: Rows of the study without those of the recipes.
        recipe_rows: Those of `measure_recipes`.
        sizes: Images per user, in the order of the table; None for all.
    """
    found: list[RecipeAccuracies] = []
    for size in sizes:
        ours = [row for row in (*rows, *recipe_rows) if row["n"] == size and row["condition"] is None]
        for recipe, arm in RECIPES.items():
            measured = [row for row in ours if row["arm"] == arm]
            if measured:
                found.append(_of(recipe, arm, ours, size))
    return found


def _of(recipe: Recipe, arm: str, rows: list[Row], size: int | None) -> RecipeAccuracies:
    families = sorted({row["family"] for row in rows if row["arm"] == arm})
    rivals = {family: _best_rival(recipe, arm, rows, size, family) for family in families}
    named: list[Row] = [
        {**row, "arm": _OWN_RIVAL}
        for family in families
        for row in with_aliases(rows, [size], family, None)
        if row["arm"] == rivals[family]
    ]
    # A pair needs both families.
    kept = [row for row in (*rows, *named) if row["family"] in families]
    chosen = {row["family"]: row["note"] for row in rows if row["arm"] == arm and row["note"] is not None}

    def point(name: str) -> Point:
        return Point(**accuracy_interval(kept, name, size)._asdict())

    return {
        "recipe": NAMES[recipe],
        "size": name_of_size(size),
        "accuracy": point(arm),
        "classical": point(RIVAL),
        "same_idea": point(_SAME_IDEA[recipe]),
        "ensemble": point(ENSEMBLE) if arm == TEACHERS else None,
        "gain": Point(**paired_interval(kept, arm, _OWN_RIVAL, size)._asdict()),
        "rivals": rivals,
        "chosen": chosen,
    }


def _best_rival(recipe: Recipe, arm: str, rows: Sequence[Row], size: int | None, family: str) -> str:
    """The rival that is best on validation images, over the seeds that the recipe was measured with."""
    cell = with_aliases(rows, [size], family, None)
    seeds = {row["seed"] for row in cell if row["arm"] == arm}

    def score(name: str) -> float:
        return sum(row["validation"] for row in cell if row["arm"] == name and row["seed"] in seeds)

    return max(RIVALS[recipe], key=score)
