"""`echoform simulate`: a folder of spectrograms of simulated walking people."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from echoform_train.data.colormap import FigureColormap
from echoform_train.engine.errors import UserError
from echoform_train.radar.population import Population
from echoform_train.radar.receiver import Receiver
from echoform_train.radar.scatterers import Surface
from echoform_train.radar.simulation_config import SimulationConfig
from echoform_train.radar.view import View

FITTED = {
    "body": SimulationConfig.body,
    "receiver": Receiver(),
    "surface": Surface(),
    "view": View(),
    "population": Population(),
}
"""Settings that --like finds, and their defaults."""


@dataclass(frozen=True, kw_only=True)
class Config(SimulationConfig):
    """Simulate walking people in front of a radar and write their spectrograms."""

    like: str | None = None
    """Folder of measured spectrograms to look like (or the id of a data set on the Hub): their grid, axes, levels,
    texture and speeds are measured, and the settings of body, receiver and people are fitted to them, in some minutes.
    They are written to <output_dir>-like.json, which --like takes as well, and shown in <output_dir>-like.png."""
    sheet: bool = False
    """Also write <output_dir>-sheet.png: spectrograms of some people and recordings, with axes."""
    figure_format: Literal["png", "svg", "pdf"] = "png"
    """File format of the sheet; svg and pdf are for papers."""
    figure_colormap: FigureColormap | None = None
    """Colour map of the sheet only, such as viridis. Default: jet, as the images."""
    push_to_hub: str | None = None
    """Id of a data set on the Hub, user/name, to push the result to."""
    private: bool = False
    """Make that data set private if it is new."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.sheet and (self.figure_format != "png" or self.figure_colormap is not None):
            raise UserError("--figure-format and --figure-colormap are for the figure of --sheet, which is missing")
        if self.like is None:
            return
        given = [name for name, usual in FITTED.items() if getattr(self, name) != usual]
        if given:
            raise UserError(f"--like finds body, receiver, view and people itself; leave out settings of {given[0]}")
        if self.joints is not None or self.mode != "cw" or self.route != "straight":
            raise UserError("--like must go without --joints, --mode and --route: it simulates straight walks")

    @property
    def sheet_path(self) -> Path:
        """File of the sheet. It lies next to the folder, because every image inside it belongs to the data set."""
        folder = self.output_dir.resolve()
        return folder.with_name(f"{folder.name}-sheet.{self.figure_format}")


def main(config: Config) -> Path:
    """Simulate, print where the images are, and return their folder.

    Raises:
        ValueError: If the folder is not empty, or the motion captures cannot be used.
        FileNotFoundError: If there is no folder of motion captures.
    """
    from echoform_train.radar.simulate_like import simulation_like
    from echoform_train.radar.simulation import simulate

    settings = config if config.like is None else simulation_like(replace(config, like=None), config.like)
    folder = simulate(settings)
    print(f"wrote {folder}")
    if config.sheet:
        from echoform_train.radar.simulation_sheet import write_sheet  # matplotlib takes a moment to import

        write_sheet(
            folder,
            config.sheet_path,
            figure_colormap=config.figure_colormap,
            relative_to_body=settings.grid.centre_hz is None,
        )
        print(f"wrote {config.sheet_path}")
    if config.push_to_hub is not None:
        from echoform_train.data.publish import publish_dataset  # takes a second to import

        people = "simulated" if config.joints is None else "recorded"
        print(publish_dataset(config.output_dir, config.push_to_hub, private=config.private or None, people=people))
    return folder
