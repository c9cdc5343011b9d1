"""What the names of files tell by a pattern of the user, such as "{user}_{condition}_{recording}_Doppler{index}"."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from echoform_train.engine.errors import UserError
from echoform_train.engine.names import check_name

_FIELD = re.compile(r"\{([^{}]*)\}")
_OWN = ("user", "recording", "index")
_REFUSED = ("file", "file_name", "image", "split", "start_s", "label")
_SEPARATORS = "_- ."
_MOST_CHARACTERS = 200


@dataclass(frozen=True)
class NamedFile:
    """What the name of one file tells."""

    user: str | None
    recording: str | None
    """The recording, with the conditions in front, because numbers of recordings often begin again in each."""
    index: int | None
    columns: dict[str, str]
    """Conditions by name."""


class NamePattern:
    """Reads names of files by a pattern.

    `{user}`, `{recording}` and `{index}` (a number that counts windows) stand for a part of the name, every other
    `{name}` for a condition; everything else stands for itself. A pattern with / is compared with the path inside the
    source (inside the split folder, if there is one), another one with the name of the file; neither has the suffix.
    The first field takes what the others leave: no other field holds a character of `_- .` that separates fields.

    Args:
        text: The pattern.

    Raises:
        ValueError: If it has no field, one field twice, two fields side by side, or a field with an unusable name.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        fields = _FIELD.findall(text)
        if not 0 < len(text) <= _MOST_CHARACTERS or not fields:
            raise UserError(
                "--name-pattern must name parts of a file name in braces, such as "
                f"{{user}}_{{condition}}_{{recording}}_{{index}}, got {text[:_MOST_CHARACTERS]!r}"
            )
        for name in fields:
            if not re.fullmatch(r"[a-z][a-z0-9_]{0,30}", name) or name in _REFUSED:
                raise UserError(
                    f"--name-pattern may hold {{user}}, {{recording}}, {{index}} and names of conditions in small "
                    f"letters, got {{{name[:40]}}}"
                )
        if twice := [name for name, count in Counter(fields).items() if count > 1]:
            raise UserError(f"--name-pattern must hold each field once, {{{twice[0]}}} stands twice in {text!r}")
        literals = _FIELD.split(text)[::2]
        if any(not literal for literal in literals[1:-1]):
            raise UserError(f"--name-pattern must have a text between two fields, got {text!r}")
        if "{" in "".join(literals) or "}" in "".join(literals):
            raise UserError(f"--name-pattern must close each brace, got {text!r}")
        self._fields = tuple(fields)
        self._separators = "".join(sorted({mark for mark in "".join(literals[1:-1]) if mark in _SEPARATORS}))
        self._regex = re.compile(self._expression(literals))

    def read(self, file: str, inside: str | None = None) -> NamedFile:
        """What the name of a file tells.

        Args:
            file: Path inside the source, for messages.
            inside: The path that is compared, if another one.

        Raises:
            ValueError: If the name does not fit the pattern, or a user or condition is no usable name.
        """
        match = self._regex.fullmatch(self._compared(inside or file))
        if match is None:
            raise UserError(f"its name does not fit --name-pattern {self.text}")
        found = match.groupdict()
        where = "its name"
        columns = {name: check_name(found[name], name, where) for name in self._fields if name not in _OWN}
        recording = None
        if "recording" in found:
            recording = "_".join([*columns.values(), check_name(found["recording"], "recording", where)])
        return NamedFile(
            user=check_name(found["user"], "user", where) if "user" in found else None,
            recording=recording,
            index=int(found["index"]) if "index" in found else None,
            columns=columns,
        )

    def check_readings(self, files: Sequence[str]) -> None:
        """Refuse names that could be read in two ways, because some have more separators than others.

        Raises:
            ValueError: It names two such files.
        """
        counts: dict[int, str] = {}
        for file in files:
            compared = self._compared(file).rpartition("/")[2]
            counts.setdefault(sum(compared.count(mark) for mark in self._separators), file)
        if len(counts) > 1 and len(self._fields) > 1:
            few, many = counts[min(counts)], counts[max(counts)]
            raise UserError(
                f"--name-pattern {self.text} can be read in two ways: {many} has more of {self._separators!r} "
                f"than {few}; what all names have in common must stand in the pattern, such as ID_{{user}}_..., or a "
                "metadata.jsonl must tell user, recording and condition"
            )

    def _compared(self, file: str) -> str:
        stem = PurePosixPath(file).with_suffix("").as_posix()
        return stem if "/" in self.text else PurePosixPath(stem).name

    def _expression(self, literals: Sequence[str]) -> str:
        parts = [re.escape(literals[0])]
        for number, (name, literal) in enumerate(zip(self._fields, literals[1:], strict=True)):
            shut_out = "/" if number == 0 else "/" + re.escape(self._separators)
            parts.append(rf"(?P<{name}>\d{{1,15}})" if name == "index" else f"(?P<{name}>[^{shut_out}]+)")
            parts.append(re.escape(literal))
        return "".join(parts)
