"""The front matter that a Space's README begins with, held to the Hub's rules before the Hub sees it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from huggingface_hub import SpaceCard, SpaceCardData

from echoform_cards.facts import complete
from echoform_cards.rendering import front_matter

COLORS = ("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray")
LONGEST_DESCRIPTION = 60

REQUIRED = ("title", "emoji", "sdk_version", "app_file")
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


def render_space_readme(facts: Mapping[str, Any], body: str) -> str:
    """The README.md of a Gradio Space: front matter, an empty line, and the text.

    Args:
        facts: Names and values of the Hub's reference for Spaces, those in ORDER; `title`, `emoji`, `sdk_version` and
            `app_file` must be there, `sdk` is gradio.
        body: Markdown.

    Raises:
        ValueError: If a fact that must be there is missing, one is unknown, or one breaks a rule of the Hub: a colour
            outside COLORS, an `sdk` other than gradio, a version that is none, an emoji with letters, a description of
            more than 60 characters, or a model or data set that is no id.
    """
    complete("a Space's README", facts, required=REQUIRED, optional=ORDER, groups={})
    facts = {"sdk": "gradio", **facts}
    for name in ("colorFrom", "colorTo"):
        _check(name, facts.get(name), facts.get(name) in (None, *COLORS), f"one of {', '.join(COLORS)}")
    _check("sdk", facts["sdk"], facts["sdk"] == "gradio", "gradio")
    _check("emoji", facts["emoji"], re.search(r"\w|\s", facts["emoji"]) is None, "one emoji")
    for name in ("sdk_version", "python_version"):
        version = facts.get(name)
        _check(name, version, version is None or re.fullmatch(r"\d+(\.\d+){1,2}", str(version)), "a version, as 6.31.0")
    description = facts.get("short_description") or ""
    rule = f"at most {LONGEST_DESCRIPTION} characters"
    _check("short_description", description, len(description) <= LONGEST_DESCRIPTION, rule)
    for name in ("models", "datasets"):
        for repo in facts.get(name) or []:
            _check(name, repo, re.fullmatch(r"[\w.-]+/[\w.-]+", repo), "ids of the Hub, as user/name")
    metadata = SpaceCardData(**{name: value for name, value in facts.items() if value is not None})
    return f"{front_matter(metadata, ORDER)}\n{body}"


def update_space_readme(readme: str, *, models: Sequence[str], datasets: Sequence[str] = ()) -> str:
    """A Space's README with the models and data sets that it shows in its front matter; all else stays.

    Args:
        readme: Markdown with a YAML block, as `render_space_readme` makes it.
        models: Hub ids; none takes the entry away.
        datasets: The same of data sets.

    Raises:
        ValueError: As of `render_space_readme`.
    """
    card = SpaceCard(readme)
    facts = card.data.to_dict() | {"models": list(models) or None, "datasets": list(datasets) or None}
    return render_space_readme(facts, card.text.lstrip("\n"))


def _check(name: str, value: Any, holds: Any, rule: str) -> None:
    if not holds:
        raise ValueError(f"{name} of a Space must be {rule}, got {value!r}")
