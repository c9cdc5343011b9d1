"""How the files of a source become one scalar or colour image each: the box of the data, and what numbers mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from echoform_train.data.figure_frame import parse_crop
from echoform_train.engine.errors import UserError

Values = Literal["auto", "db", "power", "amplitude", "scalar"]
FirstRow = Literal["auto", "highest", "lowest", "zero"]


@dataclass(frozen=True, kw_only=True)
class ReadingConfig:
    """How the files of spectrograms are read."""

    crop: str | None = None
    """Part of each picture that holds the data: auto finds it; LEFT,TOP,RIGHT,BOTTOM names it in pixels, where RIGHT
    and BOTTOM are the first column and row outside; none takes pictures as they are. Default: pictures with axes,
    labels, a colour bar or a rim are refused, and the message names the box that was found."""
    read: Literal["auto", "pictures", "arrays"] = "auto"
    """pictures: image files; arrays: spectrograms as numbers in `.npy`, `.npz`, `.mat` or `.h5`, one [Doppler, time]
    per file, in the layouts of pictures. auto: pictures, if there are any."""
    values: Values = "auto"
    """What the numbers of arrays and of 16-bit pictures are: db, power, amplitude, or scalar (of unknown unit). auto
    takes numbers that can only be decibels as such, and asks otherwise."""
    db_range: str | None = None
    """MIN,MAX: decibels of the lowest and the highest of the 256 levels that models see; for 16-bit pictures, of 0 and
    65535. Default: db_min and db_max of axes.json, else 1 and 99.9 % of the values, at most 80 dB."""
    first_row: FirstRow = "auto"
    """Doppler of the first row: highest; lowest; or zero, for arrays in the order of a Fourier transform. auto: highest
    for pictures, lowest for arrays, as scipy, MATLAB and --save-db write them."""
    variable: str | None = None
    """Name of the array in files that may hold several, such as `S` or `radar.S` in a .mat. Default: the only one."""

    def check(self) -> None:
        """Check the flags.

        Raises:
            UserError: If one is malformed.
        """
        parse_crop(self.crop or "none")
        self.levels_db()

    def levels_db(self) -> tuple[float, float] | None:
        """The decibels of `--db-range`; None if it is not given.

        Raises:
            UserError: If it is no pair of rising numbers.
        """
        if self.db_range is None:
            return None
        try:
            low, high = map(float, self.db_range.split(","))
        except ValueError as error:
            raise UserError(f"--db-range must be MIN,MAX such as -60,0, got {self.db_range[:40]!r}") from error
        if not -1e4 <= low < high <= 1e4:
            raise UserError(f"--db-range must be MIN,MAX with MIN below MAX, in decibels, got {self.db_range[:40]}")
        return low, high

    def only_pictures(self, what: str) -> None:
        """Refuse flags that say how files are read, where the command writes the pictures itself.

        Raises:
            UserError: If one is given.
        """
        for name, value in vars(self).items():
            if value != getattr(ReadingConfig(), name):
                raise UserError(f"--{name.replace('_', '-')} is for files that are read as they are, not for {what}")
