"""Files of a source as arrays: pictures of 8 bits or numbers, cut to the box of the data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from echoform_train.data.figure_frame import Box, Frame, crop_text, cropped, parse_crop
from echoform_train.data.image_check import BadFile, BadFileError, decode_image
from echoform_train.data.layout import ImageFile
from echoform_train.data.loading import ContentHashes
from echoform_train.data.number_files import ARRAY_SUFFIXES, NumberScale, checked_numbers, read_numbers
from echoform_train.data.reading import ReadingConfig
from echoform_train.engine.errors import UserError
from echoform_train.engine.resolution import shown_size


class Decoder:
    """Decodes the files of one source, all in the same way."""

    def __init__(self, hashes: ContentHashes, reading: ReadingConfig) -> None:
        self.reading = reading
        self._hashes = hashes
        self._box: Box | None = parse_crop(reading.crop or "none")
        self._size: tuple[int, ...] | None = None

    def __call__(self, image: ImageFile) -> np.ndarray:
        """Pixels uint8 [H, W] or [H, W, 3], or numbers [H, W], of the box of the data.

        Raises:
            BadFileError: If the file cannot be used.
        """
        content = self._hashes.read(image)
        if isinstance(image.data, Path) and image.data.suffix.lower() in ARRAY_SUFFIXES:
            decoded = read_numbers(image.data, image.file, self.reading.variable)
        else:
            decoded = decode_image(content, image.file, numbers=True)
            if decoded.dtype != np.uint8:
                decoded = checked_numbers(decoded, image.file)
        if self._box is not None:
            size = decoded.shape[:2]
            self._size = self._size or size
            if size != self._size:
                reason = f"--crop needs pictures of one size, it is {shown_size(*size)}, not {shown_size(*self._size)}"
                raise BadFileError(BadFile(image.file, reason))
            try:
                decoded = cropped(decoded, self._box)
            except UserError as error:
                raise BadFileError(BadFile(image.file, str(error))) from error
        if decoded.dtype == np.uint8 and self.reading.first_row == "lowest":
            decoded = decoded[::-1]
        return np.ascontiguousarray(decoded)

    def check_of_pictures(self) -> list[str]:
        """Refuse flags for numbers, where files are pictures of 8 bits.

        Returns:
            What is done to them, as lines of text.

        Raises:
            UserError: If such a flag is given.
        """
        values, variable = self.reading.values != "auto", self.reading.variable is not None
        if values or variable or self.reading.first_row == "zero":
            flag = "--values" if values else "--variable" if variable else "--first-row zero"
            raise UserError(f"{flag} is for arrays and pictures of 16 bits, the files are pictures of 8 bits")
        return (
            ["First row: lowest Doppler; images are turned upside down"] if self.reading.first_row == "lowest" else []
        )

    def take_frame(self, frame: Frame, size: tuple[int, ...]) -> str:
        """Cut later pictures to the box that was found, if the flags say so.

        Args:
            frame: What was found.
            size: Height and width of the pictures in which it was found.

        Returns:
            What was found and is done, as a line of text.

        Raises:
            UserError: If no flag says what to do.
        """
        box = crop_text(frame.box)
        if self.reading.crop is None:
            raise UserError(
                f"pictures must hold the data alone, these have {frame.found} (in {frame.pictures} pictures that were "
                f"looked at): --crop {box} or --crop auto reads the data, --crop none takes the pictures as they are"
            )
        if self.reading.crop != "auto":
            return f"Crop {self.reading.crop}: inside of it there is still {frame.found}"
        self._box, self._size = frame.box, size
        return f"Crop {box}: {frame.found}"

    def axes(self, axes: Mapping[str, float] | None, scale: NumberScale | None) -> dict[str, float] | None:
        """Content of axes.json with the decibels of the lowest and the highest index."""
        if scale is not None:
            known = {name: value for name, value in (axes or {}).items() if name not in ("db_min", "db_max")}
            merged = known | dict(scale.axes)
        else:
            low, high = self.reading.levels_db() or (None, None)
            merged = dict(axes or {})
            if low is not None and high is not None:
                merged |= {"db_min": low, "db_max": high}
        return merged or (None if axes is None else {})

    def described(self, scale: NumberScale | None) -> str:
        """How files are read, if not as they are; equal texts give equal pixels of equal files."""
        parts = [] if self._box is None else [f"crop {crop_text(self._box)}"]
        if scale is not None:
            parts.append(scale.described)
        elif self.reading.first_row == "lowest":
            parts.append("first row lowest")
        return "; ".join(parts)
