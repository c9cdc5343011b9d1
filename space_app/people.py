"""The people whom spectrograms can be generated of: those of the model's training, and those that were added to it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download
from loading import (
    MAX_JSON_BYTES,
    PINNED,
    CannotBeShownError,
    Source,
    damage_as_sentence,
    facts,
    load,
    read_json,
    repository_text,
    source,
)

VARIABLE = "ECHOFORM_USER_FILES"
"""Environment variable that names added users: a JSON list of folders, user/name or user/name@revision."""
FILES = ("config.json", "user.safetensors")
"""What `echoform add-user` writes for a user, beside facts.json and a card."""
MAX_ADDED = 64
MAX_WEIGHT_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Added:
    """A user that was added to the spectrogram model."""

    origin: Source
    num_images: int | None
    """Real images that the user was learned from; None if its facts.json does not tell."""

    @property
    def reference(self) -> str:
        """What `echoform generate --user-file` takes."""
        return self.origin.repo + (f"@{self.origin.revision}" if self.origin.revision else "")


def labels(names: dict[str, str]) -> list[str]:
    """Labels in the order of their class ids, which are the keys, as text."""
    return [names[index] for index in sorted(names, key=int)]


def sources() -> list[Source]:
    """Where to load added users from: the environment variable, else models.json.

    Raises:
        CannotBeShownError: If they are not a list of texts.
    """
    if given := os.environ.get(VARIABLE):
        try:
            named = json.loads(given)
        except (ValueError, RecursionError):
            named = None
        if not isinstance(named, list) or not all(isinstance(one, str) and one for one in named):
            raise CannotBeShownError(
                f'{VARIABLE} must be a JSON list of folders or ids of the Hub, such as ["user/name"], got {given:.200}'
            )
        found = [_source(one) for one in named]
    else:
        pinned = json.loads(PINNED.read_text()).get("users", []) if PINNED.is_file() else []
        found = [Source(one["repo"], one.get("revision")) for one in pinned]
    if len(found) > MAX_ADDED:
        raise CannotBeShownError(f"at most {MAX_ADDED} users can be added, got {len(found)}")
    return found


def _source(named: str) -> Source:
    if Path(named).is_dir():
        return Source(named, None)
    if not (parts := re.fullmatch(r"([\w-][\w.-]*/[\w.-]+)(?:@([\w./-]+))?", named)):
        raise CannotBeShownError(f"there is no folder {named:.200}, and an id of the Hub reads user/name")
    return Source(parts[1], parts[2])


@cache
def added() -> dict[str, Added]:
    """Load the added users into the spectrogram pipeline, once per process; each by its name.

    Raises:
        CannotBeShownError: If one is missing or damaged, or was learned for another pipeline.
    """
    pipe, found = load("doppler"), {}
    if not (wanted := sources()):
        return found
    if pipe is None:
        raise CannotBeShownError(f"{VARIABLE} adds users to a spectrogram pipeline, and none is shown")
    if not hasattr(type(pipe), "load_user"):
        origin = source("doppler")
        assert origin is not None  # the pipeline was loaded from it
        raise CannotBeShownError(f"the code in {origin.repo} cannot load users; `echoform push` it again")
    for origin in wanted:
        _check_user(origin)
        with damage_as_sentence(origin.repo, "an added user"):
            name = pipe.load_user(origin.repo, revision=origin.revision)
            found[name] = Added(origin, _num_images(origin, name))
    return found


def _check_user(origin: Source) -> None:
    """Check the files of an added user before torch sees them.

    Raises:
        CannotBeShownError: If one is missing, no ordinary file or too large, or the config is no JSON object.
    """
    for name, most in zip(FILES, (MAX_JSON_BYTES, MAX_WEIGHT_BYTES), strict=True):
        path = Path(origin.repo) / name
        if not Path(origin.repo).is_dir():
            with damage_as_sentence(origin.repo, "an added user"):
                path = Path(hf_hub_download(origin.repo, name, revision=origin.revision))
        if not path.is_file():
            raise CannotBeShownError(f"{origin.repo} holds no {name}; is it a user that `echoform add-user` learned?")
        if path.stat().st_size > most:
            raise CannotBeShownError(f"{path} may have at most {most >> 20} MB, got {path.stat().st_size >> 20}")
        try:
            is_object = path.suffix != ".json" or isinstance(read_json(path), dict)
        except (ValueError, RecursionError):
            is_object = False
        if not is_object:
            raise CannotBeShownError(f"{path} must hold one JSON object without NaN")


def _num_images(origin: Source, name: str) -> int | None:
    """Real images that an added user was learned from, by its facts.json."""
    text = repository_text(origin, "facts.json")
    try:
        count = None if text is None else json.loads(text)["data"]["images_per_user"][name]
    except (ValueError, RecursionError, LookupError, TypeError):
        count = None
    return count if type(count) is int and count >= 0 else None


def trained(pipe: Any) -> list[str]:
    """Labels of the users that a pipeline was trained on."""
    return labels(pipe.config["id2label"])


def names(pipe: Any) -> list[str]:
    """Labels of all users of a pipeline: those of its training, then those that were added."""
    return [*trained(pipe), *added()]


def menu(pipe: Any) -> list[tuple[str, str]]:
    """Choices of a menu of users, (what is shown, label): added users with the real images they were learned from."""
    shown = {
        name: f"{name} (added, {'unknown' if one.num_images is None else one.num_images} real images)"
        for name, one in added().items()
    }
    return [(shown.get(name, name), name) for name in names(pipe)]


def first_users(pipe: Any) -> list[str]:
    """The users of the examples: the first two of the training, and the first that was added, if there is one."""
    return [*trained(pipe)[:2], *list(added())[:1]]


def seen_images() -> dict[str, int]:
    """Real images of each user that the model saw in its training, or was taught later, by label; {} if unknown."""
    recorded = (facts("doppler").get("data") or {}).get("images_per_user") or {}
    counts = {name: count for name, count in recorded.items() if type(count) is int and count >= 0}
    return counts | {name: one.num_images for name, one in added().items() if one.num_images is not None}


def seen_in_training(users: list[str]) -> str:
    """Sentence that tells how many real images of each of these users the model saw in its training."""
    seen, later = seen_images(), added()
    known = [f"{user} {seen.get(user, 'unknown')}" for user in dict.fromkeys(users) if user not in later]
    new = [f"{user} {seen.get(user, 'unknown')}" for user in dict.fromkeys(users) if user in later]
    parts = [f"Real images that the model saw in its training: {', '.join(known)}."] if known else []
    return " ".join(parts + ([f"Real images that added users were learned from: {', '.join(new)}."] if new else []))


def adding_lines(users: Iterable[str]) -> str:
    """Python lines that load those of the users that were added, to be shown to visitors."""
    lines, later = "", added()
    for user in dict.fromkeys(users):
        if user in later:
            origin = later[user].origin
            revision = f", revision={json.dumps(origin.revision)}" if origin.revision else ""
            lines += f"pipe.load_user({json.dumps(origin.repo, ensure_ascii=False)}{revision})\n"
    return lines
