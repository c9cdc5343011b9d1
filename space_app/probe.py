"""Depth images as HTML in which pointing at a pixel shows its depth in mm, without a request to the server."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Iterable
from io import BytesIO

import numpy as np
from plots import depth_bar, paint

LONGEST_PX = 256
"""Longest side; of a larger image only every n-th pixel is kept, since all values are part of the page."""
HINT = "Point at a pixel to read its depth."
# gradio names the component `element`; one listener serves all images that are shown in it later.
READ_PIXELS = """
function read(event) {
  const image = event.target.closest('img[data-before]');
  if (!image) return;
  const {rows, columns, stride, before, after} = image.dataset;
  const box = image.getBoundingClientRect();
  const index = (share, count) => Math.max(0, Math.min(count - 1, Math.floor(share * count)));
  const row = index((event.clientY - box.top) / box.height, +rows);
  const column = index((event.clientX - box.left) / box.width, +columns);
  const at = 2 * (row * columns + column);
  const value = (text) => { const bytes = atob(text); return bytes.charCodeAt(at) + 256 * bytes.charCodeAt(at + 1); };
  const label = (mm) => mm ? mm + ' mm' : 'no reading';
  const [was, is] = [value(before), value(after)];
  const error = was && is ? ', error ' + (is - was) + ' mm' : '';
  image.parentElement.querySelector('span').textContent =
    'row ' + row * stride + ', column ' + column * stride + ': ' + label(was) + ', reconstruction ' + label(is) + error;
}
element.addEventListener('pointermove', read);
element.addEventListener('pointerdown', read);
"""


def probes(images: Iterable[tuple[str, np.ndarray, np.ndarray]]) -> str:
    """Several images, each as `probe` makes it, side by side."""
    return f'<div class="readable">{"".join(probe(*image) for image in images)}</div>'


def probe(name: str, before_mm: np.ndarray, after_mm: np.ndarray) -> str:
    """HTML of one depth image [H, W] in mm (0 is no reading) that also holds the values of its reconstruction."""
    stride = math.ceil(max(before_mm.shape) / LONGEST_PX)
    before, after = (one[::stride, ::stride].round().clip(0, 65535).astype("<u2") for one in (before_mm, after_mm))
    known = before > 0
    low = float(before[known].min())
    png = BytesIO()
    paint(before.astype(float), depth_bar(low, max(float(before.max()), low + 1)), known).save(png, "PNG")
    values = {"before": before, "after": after}
    data = " ".join(f'data-{key}="{_base64(one.tobytes())}"' for key, one in values.items())
    return (
        '<figure style="margin: 0">'
        f'<img alt="{html.escape(name)}" src="data:image/png;base64,{_base64(png.getvalue())}" {data} '
        f'data-rows="{before.shape[0]}" data-columns="{before.shape[1]}" data-stride="{stride}" '
        'style="width: 100%; image-rendering: pixelated; cursor: crosshair; touch-action: none">'
        f"<figcaption><b>{html.escape(name)}</b><br><span>{HINT}</span></figcaption></figure>"
    )


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
