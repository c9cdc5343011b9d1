"""The README of a Space: its front matter is checked against the Hub's rules before it is pushed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, TypedDict, cast

from huggingface_hub import SpaceCard, SpaceCardData

from echoform_cards.facts import People, complete
from echoform_cards.rendering import front_matter

COLORS = ("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray")
LONGEST_DESCRIPTION = 60

ORDER = (
    "title",
    "emoji",
    "colorFrom",
    "colorTo",
    "sdk",
    "sdk_version",
    "python_version",
    "app_file",
    "suggested_hardware",
    "pinned",
    "license",
    "short_description",
    "models",
    "datasets",
    "tags",
)
"""Order of the names in the front matter."""


class _TitleAndApp(TypedDict):
    title: str
    emoji: str
    sdk_version: str
    app_file: str


class SpaceFacts(_TitleAndApp, total=False):
    """Front matter of a Space; names and meanings are those of the Hub's reference for Spaces."""

    colorFrom: str
    """One of COLORS."""
    colorTo: str
    """One of COLORS."""
    sdk: str
    """Must be gradio."""
    python_version: str
    suggested_hardware: str
    pinned: bool
    license: str
    short_description: str
    """At most LONGEST_DESCRIPTION characters."""
    models: list[str] | None
    """Hub ids."""
    datasets: list[str] | None
    tags: list[str]


def render_space_readme(facts: SpaceFacts, body: str) -> str:
    """Write the README.md of a Gradio Space: front matter, an empty line, and the text.

    Args:
        facts: The front matter.
        body: Markdown.

    Raises:
        ValueError: If a required fact is missing, a fact is unknown, or one breaks a rule of the Hub: a colour
            outside COLORS, an `sdk` other than gradio, a malformed version, an emoji with letters, a description that
            is too long, or a model or data set that is no Hub id.
    """
    complete("a Space's README", SpaceFacts, facts)
    # The Hub refuses a Space whose front matter breaks these rules, after everything is uploaded.
    given: dict[str, Any] = {"sdk": "gradio", **facts}
    for name in ("colorFrom", "colorTo"):
        _check(name, given.get(name), given.get(name) in (None, *COLORS), f"one of {', '.join(COLORS)}")
    _check("sdk", given["sdk"], given["sdk"] == "gradio", "gradio")
    _check("emoji", given["emoji"], re.search(r"\w|\s", given["emoji"]) is None, "one emoji")
    for name in ("sdk_version", "python_version"):
        version = given.get(name)
        _check(
            name,
            version,
            version is None or re.fullmatch(r"\d+(\.\d+){1,2}", str(version)),
            "a version like 6.31.0",
        )
    description = given.get("short_description") or ""
    rule = f"at most {LONGEST_DESCRIPTION} characters"
    _check("short_description", description, len(description) <= LONGEST_DESCRIPTION, rule)
    for name in ("models", "datasets"):
        for repo in given.get(name) or []:
            _check(name, repo, re.fullmatch(r"[\w.-]+/[\w.-]+", repo), "Hub ids like user/name")
    metadata = SpaceCardData(**{name: value for name, value in given.items() if value is not None})
    return f"{front_matter(metadata, ORDER)}\n{body}"


_PEOPLE: dict[People, str] = {
    "simulated": "The people whom its models know are simulated: no real person's gait is in them.",
    "recorded": "Its models know real people, whose gait identifies them: use it only within what they agreed to.",
}
_PEOPLE_TITLE = "## People"


def update_space_readme(
    readme: str,
    *,
    models: Sequence[str],
    datasets: Sequence[str] = (),
    license: str | None = None,
    people: People | None = None,
) -> str:
    """Name models, data sets and licence in the front matter of a Space's README, and say whose gait the models know.

    Args:
        readme: Markdown with a YAML block.
        models: Hub ids of the models that the Space shows; the entry is removed if there are none.
        datasets: Hub ids of their data sets; the entry is removed if there are none.
        license: Licence identifier of the Hub; None keeps the one that is there.
        people: Whether the people whom the models know are simulated or recorded; None says nothing of them.

    Raises:
        ValueError: See `render_space_readme`.
    """
    card = SpaceCard(readme)
    facts = card.data.to_dict() | {"models": list(models) or None, "datasets": list(datasets) or None}
    if license is not None:
        facts["license"] = license
    text = card.text.lstrip("\n")
    if people is not None:
        # An earlier push may have said something else.
        text = f"{text.partition(_PEOPLE_TITLE)[0].rstrip()}\n\n{_PEOPLE_TITLE}\n\n{_PEOPLE[people]}\n"
    return render_space_readme(cast(SpaceFacts, facts), text)


def _check(name: str, value: Any, holds: Any, rule: str) -> None:
    if not holds:
        raise ValueError(f"{name} of a Space must be {rule}, got {value!r}")
