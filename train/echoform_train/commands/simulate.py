"""`echoform simulate`: a folder of spectrograms of simulated walking people."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from echoform_train.radar.simulation import simulate
from echoform_train.radar.simulation_config import SimulationConfig


@dataclass(frozen=True, kw_only=True)
class Config(SimulationConfig):
    """Simulate walking people in front of a radar and write their spectrograms."""

    sheet: bool = False
    """Also write <output_dir>-sheet.png: spectrograms of some people and recordings, with axes."""
    push_to_hub: str | None = None
    """Id of a data set on the Hub, user/name, to push the result to."""
    hub_private: bool = False
    """Make that data set private if it is new."""

    @property
    def sheet_path(self) -> Path:
        """File of the sheet. It lies next to the folder, because every image inside it belongs to the data set."""
        folder = self.output_dir.resolve()
        return folder.with_name(f"{folder.name}-sheet.png")


def main(config: Config) -> Path:
    """Simulate, print where the images are, and return their folder.

    Raises:
        ValueError: If the folder is not empty, or the motion captures cannot be used.
        FileNotFoundError: If there is no folder of motion captures.
    """
    folder = simulate(config)
    print(f"wrote {folder}")
    if config.sheet:
        from echoform_train.radar.simulation_sheet import write_sheet  # matplotlib takes a moment to import

        write_sheet(folder, config.sheet_path)
        print(f"wrote {config.sheet_path}")
    if config.push_to_hub is not None:
        from echoform_train.data.publish import publish_dataset  # takes a second to import

        people = "simulated" if config.joints is None else "recorded"
        print(publish_dataset(config.output_dir, config.push_to_hub, private=config.hub_private or None, people=people))
    return folder
