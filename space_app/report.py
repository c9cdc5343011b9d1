"""The tab "Did it help?" or "How good is it?": measured results of the loaded model, from its model card."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from functools import cache
from typing import Any

import gradio as gr
from loading import Kind, facts, repository_file, source

SECTIONS = ("Did it help?", "Numbers", "Memorisation", "Gait is biometric data")
CURVES = {
    "real": ("real images only", "#6b7280"),
    "classical": ("best classical augmentation", "#2563eb"),
    "generated": ("real + generated", "#d97706"),
    "both": ("classical + generated", "#059669"),
}
_WIDTH, _HEIGHT, _LEFT, _TOP, _RIGHT, _BOTTOM = 440, 320, 56, 14, 14, 44


def sections(card: str, wanted: Sequence[str] = SECTIONS) -> str:
    """The wanted sections of a Markdown card, in the order of `wanted`; empty if the card has none of them."""
    parts = re.split(r"^## +(.+?) *$", card, flags=re.MULTILINE)
    found = dict(zip(parts[1::2], parts[2::2], strict=True))
    return "\n\n".join(f"## {name}\n\n{found[name].strip()}" for name in wanted if name in found)


def augmentation_curve(rows: Sequence[dict[str, Any]]) -> str:
    """SVG of accuracy over the number of real images per user, one line per kind of training data; "" if unmeasured."""
    # Sizes are drawn at equal distances; a line has no point at a size that was not measured.
    lines = {
        name: [(index, row[name]) for index, row in enumerate(rows) if row.get(name) is not None] for name in CURVES
    }
    lines = {name: points for name, points in lines.items() if points}
    if not lines:
        return ""

    def x(index: int) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * (index + 0.5) / len(rows)

    def y(share: float) -> float:
        return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (1 - share)

    # Grid and labels first, so that the curves are drawn on top.
    parts = [
        f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(share)}" y2="{y(share)}" stroke="currentColor" '
        f'stroke-opacity="0.2"/><text x="{_LEFT - 8}" y="{y(share) + 4}" text-anchor="end">{100 * share:.0f} %</text>'
        for share in (0, 0.25, 0.5, 0.75, 1)
    ]
    for index, row in enumerate(rows):
        size = html.escape(str(row["images_a_user"]))
        parts.append(f'<text x="{x(index)}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle">{size}</text>')
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{_HEIGHT - 6}" text-anchor="middle">real images per user</text>')
    for name, points in lines.items():
        path = " ".join(f"{x(index):.1f},{y(share):.1f}" for index, share in points)
        color = CURVES[name][1]
        parts.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2.5"/>')
        parts += [f'<circle cx="{x(p):.1f}" cy="{y(s):.1f}" r="4" fill="{color}"/>' for p, s in points]
    legend = " &ensp; ".join(
        f'<span style="color: {CURVES[name][1]}">●</span> {html.escape(CURVES[name][0])}' for name in lines
    )
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="Accuracy on held-out recordings" '
        f'style="width: 100%; max-width: 36rem; font-size: 13px" fill="currentColor">{"".join(parts)}</svg>'
        f"<p>{legend}</p>"
    )


@cache
def measured_results(kind: Kind) -> tuple[str, str]:
    """The accuracy curve of a model as SVG and its report as Markdown, both from files in its repository, read once."""
    origin = source(kind)
    assert origin is not None  # the tab exists only for a loaded pipeline
    card, found = repository_file(kind, "README.md"), facts(kind).get("card", {}).get("augmentation") or {}
    words = sections(card) if card else ""
    if not words:
        words = f"The model card of `{origin.repo}` has no measured results."
    elif not found:
        words = f"It was not measured whether images of `{origin.repo}` help to train a classifier.\n\n{words}"
    return augmentation_curve(found.get("rows") or []), words


def title(kind: Kind) -> str:
    """Name of the tab: "Did it help?" where that was studied, else "How good is it?"."""
    curve, words = measured_results(kind)
    return "Did it help?" if curve or f"## {SECTIONS[0]}" in words else "How good is it?"


def report() -> str:
    """Measured results of the loaded spectrogram model: gain by augmentation, scores with floors, memorisation.

    Returns:
        Markdown, from the model's own card.
    """
    return measured_results("doppler")[1]


def tab() -> None:
    """Build the tab: the curve, then the report; both are made once, because they are the same for every visitor."""
    curve, words = measured_results("doppler")
    gr.HTML(curve, visible=bool(curve), padding=True)
    shown = gr.Markdown(words, elem_classes="report", label="Report")
    # Nobody presses it on the page: it gives programs the endpoint.
    gr.Button(visible=False).click(report, outputs=shown, api_name="report", queue=False)
