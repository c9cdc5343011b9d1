"""Find the release of echoform that the code files of a repository come from.

released_code.json holds the code files of earlier releases as {version: {file: sha256}}; the files of the installed
release are hashed when needed, each with the content that it is saved with. Before the version is raised for a new
release, `python -m echoform_train.publishing.released` adds the installed files to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path, PurePosixPath

import echoform
from echoform.code_files import content_in_one, plain_stem
from echoform_train.engine.errors import UserError
from echoform_train.engine.json_files import read_json_object, write_json

TABLE = Path(__file__).with_name("released_code.json")

Releases = Mapping[str, Mapping[str, str]]
"""By version, newest first: sha256 of each code file by its name."""


def known_releases() -> dict[str, dict[str, str]]:
    """Code files of the installed echoform and of the releases before it."""
    return {echoform.__version__: _installed(), **read_json_object(TABLE)}


def release_of(code: Mapping[str, str], releases: Releases) -> str:
    """Find the newest release that all code files come from.

    Args:
        code: sha256 of each file by its path in the repository; the name of a file may end in the first 8 digits of
            its sha256.
        releases: The known releases, newest first.

    Raises:
        ValueError: If a file belongs to no release, has the hash of another version in its name, or the files belong to
            different releases.
    """
    origins = {}
    for path, digest in code.items():
        stem = PurePosixPath(path).stem
        plain = plain_stem(stem)
        origins[path] = [version for version, files in releases.items() if files.get(f"{plain}.py") == digest]
        if not origins[path]:
            raise UserError(
                f"{path} is not the code of a released echoform (known: {', '.join(releases)}); it was changed, or "
                "is newer than this echoform"
            )
        if stem not in (plain, named := f"{plain}_{digest[:8]}"):
            raise UserError(f"{path} must be named {named}.py, after its sha256")
    for version in releases:
        if all(version in versions for versions in origins.values()):
            return version
    found = ", ".join(f"{path} of {' or '.join(versions)}" for path, versions in origins.items())
    raise UserError(f"the code files must be of one release of echoform, got {found}")


def _installed() -> dict[str, str]:
    package = Path(str(echoform.__file__)).parent
    files = [path for path in sorted(package.glob("*.py")) if path.name != "__init__.py"]
    return {path.name: sha256(content_in_one(path)).hexdigest() for path in files}


def _main() -> None:
    table = {echoform.__version__: _installed()} | read_json_object(TABLE)
    write_json(TABLE, table)
    print(f"{TABLE.name} holds {', '.join(table)}")


if __name__ == "__main__":
    _main()
