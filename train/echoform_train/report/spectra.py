"""Mean spectra of real and of generated spectrograms: charts of a page, and the picture of a card."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from echoform_train.engine.atomic_files import atomic_write
from echoform_train.engine.files import SPECTRA
from echoform_train.report.svg import COLORS, LINE_COLORS, new_chart, to_svg
from echoform_train.scoring.scores import ComparedSpectrum, Scores

LINES = ("held-out real", "generated")
TITLES = {"time": "Spectrum along time", "doppler": "Spectrum along Doppler"}
_X, _Y = "cycles per pixel", "energy (dB of all real energy)"


def spectrum_charts(spectra: Mapping[str, ComparedSpectrum]) -> Iterator[tuple[str, Markup]]:
    """Title and chart of each axis, with one line each for the sets of LINES."""
    for axis, spectrum in spectra.items():
        figure, axes = new_chart(_X, _Y)
        _draw(axes, spectrum)
        yield TITLES[axis], to_svg(figure, f"{TITLES[axis]}: {', '.join(LINES)}")


def write_spectra(scores: Scores, folder: Path) -> str | None:
    """Write both charts side by side into the folder of a pipeline.

    Returns:
        Name of the file; None if an earlier version measured the scores, without spectra.
    """
    if (spectra := scores.get("spectra")) is None:
        return None
    figure = Figure(figsize=(8.4, 3), layout="constrained")
    for axes, (axis, spectrum) in zip(figure.subplots(1, len(spectra), squeeze=False)[0], spectra.items(), strict=True):
        _draw(axes, spectrum)
        axes.set(title=TITLES[axis], xlabel=_X, ylabel=_Y)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color=COLORS["rule"])
        axes.legend(LINES, frameon=False)
    with atomic_write(folder / SPECTRA) as partial:
        FigureCanvasAgg(figure).print_png(partial, metadata={"Software": None})
    return SPECTRA


def _draw(axes: Axes, spectrum: ComparedSpectrum) -> None:
    for number, line in enumerate((spectrum["real_db"], spectrum["generated_db"])):
        axes.plot(
            spectrum["cycles_per_pixel"], line, color=LINE_COLORS[number], linewidth=2, gid=f"line-{number}",
            linestyle="--" if number else "-",
        )  # fmt: skip
    axes.set_xlim(0, 0.5)
