"""A simulation in the manner of a user's own spectrograms: measure, fit, report."""

from __future__ import annotations

from pathlib import Path

from echoform_train.radar.likeness import known_settings, read_likeness
from echoform_train.radar.likeness_fit import fit_likeness
from echoform_train.radar.likeness_report import draw_likeness, likeness_lines, read_likeness_file, write_likeness
from echoform_train.radar.likeness_source import measure_source
from echoform_train.radar.simulation_config import SimulationConfig


def simulation_like(config: SimulationConfig, like: str) -> SimulationConfig:
    """The same simulation with settings fitted to pictures, which are written next to its folder.

    Args:
        config: Number of people, seed, resolution and so on.
        like: Folder or Hub id of spectrograms, or a JSON file that an earlier call wrote.

    Raises:
        FileNotFoundError: If there is no such source.
        ValueError: If the pictures cannot be used, or the file holds no settings.
    """
    if like.endswith(".json"):
        return read_likeness_file(Path(like)).applied_to(config)
    measured = measure_source(like)
    first, found = read_likeness(measured)
    print(f"Fitting a simulation to {len(measured.level)} spectrograms of {like}", flush=True)
    fit = fit_likeness(first, found, config, known=known_settings(measured))
    for line in likeness_lines(fit):
        print(line)
    folder = config.output_dir.resolve()
    settings, picture = (folder.with_name(f"{folder.name}-like.{kind}") for kind in ("json", "png"))
    folder.parent.mkdir(parents=True, exist_ok=True)
    write_likeness(settings, measured, fit)
    draw_likeness(picture, measured, fit)
    print(f"Settings are in {settings}, measured and simulated pictures side by side in {picture}")
    return fit.likeness.applied_to(config)
