"""The tab "Did it help?": what was measured of the loaded model, from its model card."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Sequence
from typing import Any

import gradio as gr
from loading import Kind, companion, source

SECTIONS = ("Did it help?", "Numbers", "Memorisation", "Gait is biometric data")
CURVES = {
    "real": ("real images only", "#6b7280"),
    "classical": ("best classical augmentation", "#2563eb"),
    "generated": ("real + generated", "#d97706"),
    "both": ("classical + generated", "#059669"),
}
_WIDTH, _HEIGHT, _LEFT, _TOP, _RIGHT, _BOTTOM = 440, 320, 56, 14, 14, 44


def sections(card: str, wanted: Sequence[str] = SECTIONS) -> str:
    """The wanted sections of a Markdown card, in the given order; empty where it has none of them."""
    parts = re.split(r"^## +(.+?) *$", card, flags=re.MULTILINE)
    found = dict(zip(parts[1::2], parts[2::2], strict=True))
    return "\n\n".join(f"## {name}\n\n{found[name].strip()}" for name in wanted if name in found)


def augmentation_curve(rows: Sequence[dict[str, Any]]) -> str:
    """SVG of accuracy over the number of real images per person, a line per way to augment; empty if not measured."""
    # Sizes stand equally far apart; a way that was not measured at a size has no point there.
    lines = {
        name: [(place, row[name]) for place, row in enumerate(rows) if row.get(name) is not None] for name in CURVES
    }
    lines = {name: points for name, points in lines.items() if points}
    if not lines:
        return ""

    def x(place: int) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * (place + 0.5) / len(rows)

    def y(share: float) -> float:
        return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (1 - share)

    # Grid and labels first, so that the curves are drawn on top.
    parts = [
        f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(share)}" y2="{y(share)}" stroke="currentColor" '
        f'stroke-opacity="0.2"/><text x="{_LEFT - 8}" y="{y(share) + 4}" text-anchor="end">{100 * share:.0f} %</text>'
        for share in (0, 0.25, 0.5, 0.75, 1)
    ]
    for place, row in enumerate(rows):
        size = html.escape(str(row["images_a_user"]))
        parts.append(f'<text x="{x(place)}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle">{size}</text>')
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{_HEIGHT - 6}" text-anchor="middle">real images of each person</text>')
    for name, points in lines.items():
        path = " ".join(f"{x(place):.1f},{y(share):.1f}" for place, share in points)
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


def measured(kind: Kind) -> tuple[str, str]:
    """The accuracy curve of a model as SVG and its report as Markdown, both from files in its repository."""
    place = source(kind)
    assert place is not None  # the tab exists only for a loaded pipeline
    facts, card = companion(kind, "facts.json"), companion(kind, "README.md")
    found = (json.loads(facts).get("card", {}) if facts else {}).get("augmentation") or {}
    words = sections(card) if card else ""
    if not words:
        words = f"The card of `{place.repo}` tells of no measurement."
    elif not found:
        words = f"Whether its pictures help a classifier was not measured for `{place.repo}`.\n\n{words}"
    return augmentation_curve(found.get("rows") or []), words


def report() -> str:
    """What was measured of the loaded spectrogram model: whether augmentation helped, scores with floors, memorisation.

    Returns:
        Markdown, from the model's own card.
    """
    return measured("doppler")[1]


def tab() -> None:
    """Build the tab: the curve, then the report; they are the same for every visitor, so they are made once."""
    curve, words = measured("doppler")
    gr.HTML(curve, visible=bool(curve), padding=True)
    gr.Markdown(words, elem_classes="report")
    gr.api(report, api_name="report", queue=False)
