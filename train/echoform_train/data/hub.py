"""Find the images of a data set on the Hub, or of a local folder in the Hub's parquet format."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any, Literal

from datasets import ClassLabel, Dataset, DatasetDict, Image, load_dataset
from datasets.exceptions import DatasetNotFoundError
from huggingface_hub import _CACHED_NO_EXIST, hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

from echoform_train.data.image_check import BadFile
from echoform_train.data.layout import ImageFile, SourceFiles, natural_key, recording_of, split_name
from echoform_train.data.metadata import check_start, read_axes
from echoform_train.engine.errors import MissingFileError, UserError
from echoform_train.engine.files import AXES, SPLIT
from echoform_train.engine.names import check_label, check_name, check_relative_path, composed, composed_values
from echoform_train.engine.sources import DatasetInMemory, is_hub_id, parse_hub_id, resolve_source

_KNOWN_COLUMNS = ("file", "file_name", "recording", "start_s", "split")


def folder_of_files(source: str | Path) -> Path | None:
    """The local folder of image files that a source names; None if it is a data set for `find_in_dataset`.

    Raises:
        FileNotFoundError: If there is no such folder and the source does not read like a Hub id.
        ValueError: If the source is a file.
    """
    if isinstance(source, DatasetInMemory):
        return None
    location = resolve_source(source)
    return location if isinstance(location, Path) and not is_dataset_folder(location) else None


def is_dataset_folder(folder: Path) -> bool:
    """Whether a local folder is a data set in the Hub's parquet format."""
    return any(folder.glob("*.parquet")) or any(folder.glob("*/*.parquet"))


def published_split(source: str | Path) -> Path | None:
    """The split.json of a data set that `publish_dataset` wrote; None for a folder of images or another data set.

    Args:
        source: Folder, or Hub id that was loaded before.
    """
    if Path(source).is_dir():
        return _file_in(Path(source), SPLIT) if is_dataset_folder(Path(source)) else None
    return download_file(*parse_hub_id(str(source)), SPLIT, repo_type="dataset") if is_hub_id(str(source)) else None


def find_in_dataset(
    source: str | Path, *, need_users: bool = False, image_column: str | None = None, one_image_column: bool = False
) -> SourceFiles:
    """Find every image of a data set that `datasets.load_dataset` opens.

    Columns: one image column and, optionally, `user` or `label`, `file` or `file_name`, `recording`, `start_s` (or
    `frame`), and others as in a metadata.jsonl. Class ids are turned into their labels. A data set that
    `publish_dataset` wrote also has a split.json and an axes.json, and its images come in the order of the folder that
    it was made from.

    Args:
        source: `user/name` or `user/name@revision` on the Hub, a local folder in the same format, or a data set in
            memory.
        need_users: Whether to refuse a data set without `user` and `label`; otherwise the user of its images is "".
        image_column: Column that holds the images; None: the first image column.
        one_image_column: Whether to refuse a data set with several image columns of which none is named.

    Raises:
        FileNotFoundError: If there is no such data set, or the Hub cannot be reached.
        ValueError: If it has no image column, no user column although one is needed, or splits with other names.
    """
    loaded, (split_file, axes_file) = _load(source)
    # The split.json of a published data set is used in place of the splits of the Hub.
    published = split_file is not None
    parts = {str(name): part for name, part in loaded.items()} if published else _name_splits(source, loaded)
    # Without a split.json, file names get the name of their split in front, so that they stay unique.
    images: list[ImageFile] = []
    bad_files: list[BadFile] = []
    for split, part in parts.items():
        column = _image_column(source, part, image_column, one_image_column)
        found = _find_in_part(source, split if len(parts) > 1 and not published else None, part, need_users, column)
        images += found.images
        bad_files += found.bad_files
    if not images:
        raise UserError(f"a source must hold images, {source} holds none")
    if published:
        images.sort(key=lambda image: [natural_key(name) for name in PurePosixPath(image.file).parts])
    axes = read_axes(axes_file) if axes_file is not None else None
    return SourceFiles(tuple(images), tuple(bad_files), axes=axes, split_file=split_file)


def _load(source: str | Path) -> tuple[DatasetDict, tuple[Path | None, Path | None]]:
    """The splits of a data set, and its split.json and axes.json, where it has them."""
    if isinstance(source, DatasetInMemory):
        given = source.dataset
        # Columns are read as they are stored, whatever format they are shown in.
        parts = given if isinstance(given, DatasetDict) else {"train": given}
        return DatasetDict({name: part.with_format(None) for name, part in parts.items()}), (None, None)
    local = Path(source).is_dir()
    repo, revision = (str(source), None) if local else parse_hub_id(str(source))
    try:
        loaded = load_dataset(repo, revision=revision)
    except (DatasetNotFoundError, ConnectionError) as error:
        raise MissingFileError(
            f"{source} is no folder on this machine, and as a data set of the Hub it cannot be loaded: {error}"
        ) from error
    assert isinstance(loaded, DatasetDict)
    if local:
        return loaded, (_file_in(Path(source), SPLIT), _file_in(Path(source), AXES))
    split_file, axes_file = (download_file(repo, revision, name, repo_type="dataset") for name in (SPLIT, AXES))
    return loaded, (split_file, axes_file)


def _file_in(folder: Path, name: str) -> Path | None:
    return folder / name if (folder / name).is_file() else None


def download_file(repo: str, revision: str | None, name: str, *, repo_type: Literal["dataset", "model"]) -> Path | None:
    """Download a file of a repository on the Hub to the cache; None if the repository holds no such file.

    Raises:
        FileNotFoundError: If the Hub cannot be reached, and the cache does not tell.
    """
    try:
        return Path(hf_hub_download(repo, name, repo_type=repo_type, revision=revision))
    except LocalEntryNotFoundError as error:
        if try_to_load_from_cache(repo, name, repo_type=repo_type, revision=revision) is _CACHED_NO_EXIST:
            return None
        raise MissingFileError(
            f"the Hub cannot be reached, and it is unknown from the cache whether {repo} holds a {name}: {error}"
        ) from error
    except EntryNotFoundError:
        return None


def _name_splits(source: str | Path, loaded: DatasetDict) -> dict[str, Dataset]:
    if len(loaded) == 1:
        return {"train": next(iter(loaded.values()))}
    parts = {split_name(str(name)): part for name, part in loaded.items()}
    if None in parts or len(parts) < len(loaded) or "train" not in parts:
        raise UserError(f"splits must be train, validation and test, {source} has {', '.join(map(str, loaded))}")
    return {str(name): part for name, part in parts.items()}


def _image_column(source: str | Path, part: Dataset, wanted: str | None, only: bool) -> str | None:
    """Name of the column that holds the images; None if there is none."""
    columns = [name for name, feature in part.features.items() if isinstance(feature, Image)]
    if (wanted is not None and wanted not in columns) or (wanted is None and only and len(columns) > 1):
        got = "" if wanted is None else f", got {wanted}"
        raise UserError(
            f"--image-column must name one of the image columns of {source}: {', '.join(columns) or 'none'}{got}"
        )
    return wanted or next(iter(columns), None)


def _find_in_part(
    source: str | Path, split: str | None, part: Dataset, need_users: bool, image_column: str | None
) -> SourceFiles:
    """Images of one split of a data set, and the rows without image or user."""
    user_column = next((name for name in ("user", "label") if name in part.features), None)
    if image_column is None or (need_users and user_column is None):
        raise UserError(
            f"a data set must have an image column and a user (or label) column, {source} has "
            f"{', '.join(part.column_names)}"
        )
    names = {name: feature.names for name, feature in part.features.items() if isinstance(feature, ClassLabel)}
    others = [name for name, feature in part.features.items() if isinstance(feature, Image) and name != image_column]
    encoded = part.remove_columns(others).cast_column(image_column, Image(decode=False))
    rows = [_name_labels(encoded[number], names) for number in range(len(encoded))]
    files = [composed(check_relative_path(name, "file", source)) for name in _file_names(rows, image_column, split)]
    images, bad_files = [], []
    for file, row in zip(files, rows, strict=True):
        image, user = row.pop(image_column), row.pop(user_column) if user_column else ""
        if user is None or image is None:
            bad_files.append(BadFile(file, f"every row must have an image and a {user_column}, it lacks one"))
        else:
            user = check_name(str(user), str(user_column), f"{source}, {file}") if user_column else ""
            images.append(_describe_row(source, file, image, user, split, row))
    return SourceFiles(tuple(images), tuple(bad_files))


def _describe_row(
    source: str | Path, file: str, image: dict[str, Any], user: str, split: str | None, row: dict[str, Any]
) -> ImageFile:
    # The start in the file name belongs to the recording in the file name, not to one that the row names.
    recording_in_name, start_in_name_s = recording_of(image["path"] or file)
    recording, start_s = row.get("recording"), row.get("start_s", row.get("frame"))
    where = f"{source}, {file}"
    if start_s is not None:
        start_s = check_start(start_s, where)
    return ImageFile(
        file=file,
        data=image["bytes"] if image["bytes"] is not None else Path(image["path"]),
        user=user,
        recording=recording_in_name if recording is None else check_label(str(recording), "recording", where),
        start_s=start_in_name_s if start_s is None and recording is None else start_s,
        split=split,
        columns=composed_values(
            {name: value for name, value in row.items() if value is not None and name not in _KNOWN_COLUMNS}
        ),
    )


def _name_labels(row: dict[str, Any], names: dict[str, list[str]]) -> dict[str, Any]:
    def name_of(column: str, value: Any) -> Any:
        if column not in names or value is None:
            return value
        return names[column][value] if value >= 0 else None  # -1: unknown label

    return {column: name_of(column, value) for column, value in row.items()}


def _file_names(rows: list[dict[str, Any]], image_column: str, split: str | None) -> list[str]:
    """Names of the images in the rows; their numbers if the names are missing or not unique."""
    prefix = f"{split}/" if split else ""
    given = [row.get("file") or row.get("file_name") or (row[image_column] or {}).get("path") or "" for row in rows]
    names = [composed(Path(name).name if Path(name).is_absolute() else Path(name).as_posix()) for name in given]
    if all(given) and len(set(names)) == len(names):
        return [prefix + name for name in names]
    return [f"{prefix}{number:06d}" for number in range(len(rows))]
