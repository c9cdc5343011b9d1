"""Depth images beside their reconstructions as HTML; pointing at a pixel shows its depth, without asking the server."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Iterable
from io import BytesIO

import numpy as np
from PIL import Image
from plots import Bar, depth_bar, paint, signed_bar

LONGEST_PX = 256
"""Longest side; of a larger image only every n-th pixel is kept, since all values are part of the page."""
HINT = "Point at a pixel to read its depth."
# gradio names the component `element`; one listener serves all images that are shown in it later.
READ_PIXELS = """
function read(event) {
  const image = event.target.closest('figure[data-before] img');
  if (!image) return;
  const figure = image.closest('figure');
  const {rows, columns, stride, before, after} = figure.dataset;
  const box = image.getBoundingClientRect();
  const index = (share, count) => Math.max(0, Math.min(count - 1, Math.floor(share * count)));
  const row = index((event.clientY - box.top) / box.height, +rows);
  const column = index((event.clientX - box.left) / box.width, +columns);
  const at = 2 * (row * columns + column);
  const value = (text) => { const bytes = atob(text); return bytes.charCodeAt(at) + 256 * bytes.charCodeAt(at + 1); };
  const label = (mm) => mm ? mm + ' mm' : 'no reading';
  const [was, is] = [value(before), value(after)];
  const error = was && is ? ', error ' + (is - was) + ' mm' : '';
  figure.querySelector('.value').textContent =
    'row ' + row * stride + ', column ' + column * stride + ': ' + label(was) + ', reconstruction ' + label(is) + error;
}
element.addEventListener('pointermove', read);
element.addEventListener('pointerdown', read);
"""
CSS = """
.compared { margin: 0 0 1rem }
.compared figcaption { margin-bottom: 0.25rem; overflow-wrap: anywhere }
.compared .pictures { display: grid; grid-template-columns: repeat(3, minmax(0, 1fr)); gap: 0.25rem 0.75rem;
  grid-template-areas: "input after error" "depth depth signed" "value value value" }
.compared img { width: 100%; image-rendering: pixelated; cursor: crosshair; touch-action: none; display: block }
.compared .scale i { display: block; height: 0.75rem }
.compared .scale p { display: flex; justify-content: space-between; margin: 0; font-variant-numeric: tabular-nums }
@media (max-width: 640px) {
  .compared .pictures { grid-template-columns: repeat(2, minmax(0, 1fr));
    grid-template-areas: "input after" "depth depth" "error value" "signed value" }
}
"""


def depth_scale(*images_mm: np.ndarray) -> Bar:
    """Colour scale that spans all readings of depth images in mm (0 is no reading)."""
    readings = np.concatenate([one[one > 0] for one in images_mm])
    low, high = (float(readings.min()), float(readings.max())) if readings.size else (0.0, 1.0)
    return depth_bar(low, max(high, low + 1))


def error_scale(before_mm: np.ndarray, after_mm: np.ndarray) -> tuple[Bar, np.ndarray, np.ndarray]:
    """Colour scale of the error; the error in mm; and where both images have a reading, bool [H, W]."""
    error_mm, both = after_mm - before_mm, (before_mm > 0) & (after_mm > 0)
    reach = float(np.quantile(np.abs(error_mm[both]), 0.99)) if both.any() else 1.0
    return signed_bar(max(1.0, math.ceil(reach)), "error, mm"), error_mm, both


def probes(images: Iterable[tuple[str, np.ndarray, np.ndarray, str]]) -> str:
    """Several images, each as `probe` makes it, one below the other."""
    return f'<div class="readable">{"".join(probe(*image) for image in images)}</div>'


def probe(name: str, before_mm: np.ndarray, after_mm: np.ndarray, numbers: str = "") -> str:
    """HTML of a depth image, its reconstruction and the error, with scales, and the values of all pixels.

    Args:
        name: Name of the file.
        before_mm: Depth [H, W] in mm; 0 is no reading.
        after_mm: The same of the reconstruction; it has the colours of `before_mm`.
        numbers: Errors, in words.
    """
    stride = math.ceil(max(before_mm.shape) / LONGEST_PX)
    before, after = (one[::stride, ::stride].round().clip(0, 65535).astype("<u2") for one in (before_mm, after_mm))
    bar = depth_scale(before.astype(float))
    difference, error_mm, both = error_scale(before.astype(float), after.astype(float))
    pictures = (
        ("input", "input", paint(before.astype(float), bar, before > 0)),
        ("after", "reconstruction", paint(after.astype(float), bar, after > 0)),
        ("error", "error", paint(error_mm, difference, both)),
    )
    cells = [
        f'<div style="grid-area: {area}">{title}<img alt="{html.escape(name)}, {title}" src="{_url(picture)}"></div>'
        for area, title, picture in pictures
    ]
    values = {"before": _base64(before.tobytes()), "after": _base64(after.tobytes())}
    values |= {"rows": before.shape[0], "columns": before.shape[1], "stride": stride}
    data = " ".join(f'data-{key}="{value}"' for key, value in values.items())
    return (
        f'<figure class="compared" {data}><figcaption><b>{html.escape(name)}</b> {html.escape(numbers)}</figcaption>'
        f'<div class="pictures">{"".join(cells)}{_scale("depth", bar)}{_scale("signed", difference)}'
        f'<span class="value" style="grid-area: value">{HINT}</span></div></figure>'
    )


def _scale(area: str, bar: Bar) -> str:
    """A horizontal colour bar with numbers at its ends and in the middle."""
    colors = ", ".join("#" + bytes(color).hex() for color in bar.colors[::15])
    middle = (bar.axis.low + bar.axis.high) / 2
    low, between, high = (f"{one:.0f}" for one in (bar.axis.low, middle, bar.axis.high))
    return (
        f'<div class="scale" style="grid-area: {area}"><i style="background: linear-gradient(to right, {colors})"></i>'
        f"<p><span>{low}</span><span>{between}</span><span>{high} mm</span></p></div>"
    )


def _url(image: Image.Image) -> str:
    png = BytesIO()
    image.save(png, "PNG")
    return f"data:image/png;base64,{_base64(png.getvalue())}"


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
