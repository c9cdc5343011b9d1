"""Colour maps: detect which one painted an image, turn colours into indices, and paint indices."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import scipy
from PIL import Image

from echoform_train.engine.errors import UserError

COLORMAPS = ("jet", "parula", "viridis", "turbo", "magma", "inferno", "plasma", "cividis", "hot", "gray")
FigureColormap = Literal["jet", "parula", "viridis", "turbo", "magma", "inferno", "plasma", "cividis", "hot", "gray"]
"""The same names, as a setting of figures."""

MAX_RESIDUAL = 20.0
"""Largest mean distance to the nearest entry of a colour map, RGB units, at which an image counts as painted with it.
Images in jet reach 18 as JPEG of the worst quality; other maps and photographs are at 40 and more."""
MAX_GRAY_RESIDUAL = 1.0
"""The same for gray: a grey image stored as RGB has equal channels, also as JPEG, but a pale photograph reaches 6."""
FAR = 60.0
"""Distance to a colour map, RGB units, beyond which a pixel is not painted with it (text, axes, white rims)."""

# JPEG halves the resolution of colours, which mixes the colours of neighbours in small images. What a painted image
# looks like after that is known, so that such an image is compared with it.
_MAX_HALVED_RESIDUAL = 25.0
_HALVED_EXPLAINS = 0.8
# Most of a spectrogram is floor, in one colour that several maps share: the rest must fit the map too.
_MAX_REST_RESIDUAL = 40.0
_FLOOR_UNITS = 24
# Without JPEG an image has the colours of its map and no others, so that these must be nearer; jet of MATLAB is at 8.
_MOST_EXACT_COLORS = 256
_MAX_EXACT_RESIDUAL = 12.0
# Maps between which JPEG hides the difference; a painted image is nearer than the first to its own.
_EXACT = 3.0
_SIMILAR = 1.5
_LEAST_REST = 0.01

_DETECTION_PIXELS = 2**14
_RANKING_COLORS = 2**10
_RANKED = 3
_BLOCK_PIXELS = 2**20

# MATLAB's parula since R2017a, 256 x RRGGBB: round(255 x) of the published four-digit values.
_PARULA_HEX = (
    "3e26a83e27ac3f28af3f29b2402ab4402bb7412cba412dbd422ebf422fc24330c54331c84332ca4433cd4434d04535d2"
    "4537d54538d74639d9463adc463bde463de0473ee1473fe34741e54742e64744e84745e94746eb4848ec4849ed484bee"
    "484cf0484ef1484ff24850f34852f44853f54854f64756f74757f74759f8475af9475bfa475dfa465efb4660fb4661fc"
    "4562fc4564fd4465fd4367fd4368fe426afe416bfe406dfe3f6eff3e70ff3c71ff3b73ff3974ff3876fe3677fe3579fd"
    "337afd327cfc317dfc307ffb2f80fa2f82fa2e83f92e84f82e86f82e87f72d88f62d8af52d8bf42d8cf32d8ef22c8ff1"
    "2c90f02b91ef2a93ee2994ed2895ec2797eb2798ea2699e9269ae8259be8259ce7249ee6249fe523a0e523a1e422a2e4"
    "21a3e320a5e31fa6e21ea7e11da8e11da9e01caadf1babde1aacdd19addc17aeda16afd914b0d812b1d610b2d50eb3d4"
    "0bb3d208b4d106b5cf04b6ce02b7cc01b7ca00b8c900b9c700bac601bac402bbc204bbc106bcbf09bdbd0dbdbc10beba"
    "14beb817bfb61ac0b51dc0b320c1b123c1af25c2ae27c2ac29c3aa2bc3a82cc4a62ec4a52fc5a331c5a132c69f33c79d"
    "35c79b36c89938c89639c9943bc9923dca9040ca8d42ca8b45cb8948cb864bcb844ecc8151cc7f54cc7c57cc7a5acc77"
    "5ecd7461cd7264cd6f67cd6c6bcd696ecd6672cd6476cc6179cc5e7dcc5b81cc5984cc5688cb538bcb518fcb4e93ca4b"
    "96ca489ac9469dc943a1c840a4c83ea7c73babc739aec637b2c635b5c533b8c431bbc42fbec32dc2c32cc5c22ac8c129"
    "cbc128cec027d0bf27d3bf27d6be27d9be28dbbd28debc29e1bc2ae3bc2be6bb2de8bb2eeaba30ecba32efba35f1ba37"
    "f3ba39f5ba3bf7ba3df9ba3efbbb3efcbc3efebd3dfebe3cfec03bfec13afec239fec438fec537fec735fec834feca33"
    "fdcb32fdcd31fdce31fcd030fbd22ffbd32efad52ef9d62df9d82cf8d92bf7db2af7dd2af6de29f6e028f5e128f5e327"
    "f5e526f5e626f5e825f5e924f5eb23f5ec22f5ee21f6ef20f6f11ff6f21ef7f41cf7f51bf8f71af8f818f9f916f9fb15"
)


@dataclass(frozen=True)
class ColormapMatch:
    """The known colour map that is nearest to the colours of an image."""

    name: str | None
    """One of COLORMAPS; None if none of them is near enough."""
    residual: float
    """Mean Euclidean distance of the colours to the nearest entry of the nearest map, RGB units, 0..441."""
    nearest: str
    """The nearest map, also where it is not near enough."""


def lookup_table(name: str) -> np.ndarray:
    """Colours of a map, uint8 [256, 3]; entry 0 is the lowest value.

    Entries are rounded, as in MATLAB and OpenCV; matplotlib's own `bytes=True` truncates them, one unit lower.

    Raises:
        ValueError: If the name is none of COLORMAPS.
    """
    return _lookup_table(name).copy()


def paint(index: np.ndarray, name: str) -> np.ndarray:
    """Colours of an image of indices: uint8 [..., H, W] to uint8 [..., H, W, 3].

    Raises:
        ValueError: If the image is not uint8 or the name is none of COLORMAPS.
    """
    if index.dtype != np.uint8:
        raise UserError(f"an image of indices must be uint8, got {index.dtype}")
    return _lookup_table(name)[index]


def to_index(rgb: np.ndarray, name: str) -> np.ndarray:
    """Index of the entry that is nearest (Euclidean in RGB) to every pixel.

    For a painted image, painting the result gives the image back exactly. Of several entries with the same colour
    (28 to 32 of jet are all pure blue) the middle one is taken.

    Args:
        rgb: uint8 [..., H, W, 3].
        name: One of COLORMAPS.

    Returns:
        uint8 [..., H, W].

    Raises:
        ValueError: If rgb is not uint8 with three channels last, or the name is none of COLORMAPS.
    """
    _check_rgb(rgb)
    index = np.empty(rgb.shape[:-1], dtype=np.uint8)
    flat_rgb, flat_index = rgb.reshape(-1, 3), index.reshape(-1)
    # In blocks, because packed colours take many times the memory of an image.
    for start in range(0, len(flat_rgb), _BLOCK_PIXELS):
        block = slice(start, start + _BLOCK_PIXELS)
        flat_index[block] = _known_index(_pack(flat_rgb[block]), name)
    return index


def residual(rgb: np.ndarray, index: np.ndarray, name: str) -> float:
    """Mean Euclidean distance, RGB units, between an image uint8 [..., 3] and its painted indices uint8 [...]."""
    painted = _lookup_table(name)[index].astype(np.float32)
    return float(np.linalg.norm(rgb.astype(np.float32) - painted, axis=-1).mean())


def detect(rgb: np.ndarray) -> ColormapMatch:
    """Find the colour map that painted an image or a stack of images, from some 16,000 of its pixels.

    An image fits a map if its colours are near it, those that differ from the most common one too; or, as a small JPEG,
    if they are what JPEG makes of painted colours when it halves the resolution of their hue.

    Args:
        rgb: uint8 [..., H, W, 3]; colours without a shape, [N, 3], are not compared with those of a JPEG.

    Returns:
        The nearest map; its name is None if the image does not fit it.

    Raises:
        ValueError: If rgb is not uint8 with three channels last, or empty.
    """
    _check_rgb(rgb)
    if rgb.size == 0:
        raise UserError(f"an image must hold pixels, got shape {rgb.shape}")
    flat = rgb.reshape(-1, 3)
    stride = max(1, len(flat) // _DETECTION_PIXELS) | 1  # odd, because an even stride would stay in one column
    packed, counts = np.unique(_pack(flat[::stride]), return_counts=True)
    colors = _unpack(packed)
    means = _mean_distances(colors, counts)
    best, *others = sorted(means, key=lambda name: means[name])
    # Of similar maps, that one is right which explains what JPEG made of it.
    similar = [best, *(name for name in others if means[name] <= _SIMILAR * means[best])]
    if len(similar) > 1 and rgb.ndim > 2 and means[best] > (MAX_GRAY_RESIDUAL if best == "gray" else _EXACT):
        best = min(similar, key=lambda name: _residuals_as_jpeg(rgb, name)[1])
    mean, distance = means[best], _nearest(colors, best)[0]
    if best == "gray":
        return ColormapMatch(best if mean <= MAX_GRAY_RESIDUAL else None, mean, best)
    rest = _rest_residual(colors, counts, distance)
    fits = mean <= MAX_RESIDUAL and rest <= _MAX_REST_RESIDUAL
    if len(colors) <= min(_MOST_EXACT_COLORS, counts.sum() // 16):
        fits = fits and float(distance.mean()) <= _MAX_EXACT_RESIDUAL
    elif not fits and rgb.ndim > 2:
        halved_mean, halved_rest = _residuals_as_jpeg(rgb, best)
        explained = halved_rest <= min(_MAX_REST_RESIDUAL, _HALVED_EXPLAINS * rest)
        fits = halved_mean <= _MAX_HALVED_RESIDUAL and explained
    return ColormapMatch(best if fits else None, mean, best)


def far_pixels(rgb: np.ndarray, name: str) -> np.ndarray:
    """Whether each pixel is farther than FAR from a colour map: uint8 [..., 3] to bool [...]."""
    painted = _lookup_table(name)[to_index(rgb, name)].astype(np.int32)
    return ((rgb - painted) ** 2).sum(axis=-1) > FAR**2


def _mean_distances(colors: np.ndarray, counts: np.ndarray) -> dict[str, float]:
    """Mean distance of the pixels to each of the nearest maps."""
    names: tuple[str, ...] = COLORMAPS
    # Most maps are far from all colours, which a few of them show.
    if len(colors) > _RANKING_COLORS:
        few = slice(None, None, len(colors) // _RANKING_COLORS)
        means = {name: np.average(_nearest(colors[few], name)[0], weights=counts[few]) for name in COLORMAPS}
        names = tuple(sorted(COLORMAPS, key=lambda name: means[name])[:_RANKED])
    return {name: float(np.average(_nearest(colors, name)[0], weights=counts)) for name in names}


def _rest_residual(colors: np.ndarray, counts: np.ndarray, distance: np.ndarray) -> float:
    """Mean distance of the pixels that differ from the most common colour; 0 if nearly none do."""
    coarse, group = np.unique(_pack(colors // 16), return_inverse=True)
    floor = coarse[np.bincount(group.ravel(), weights=counts).argmax()]
    middle = 16 * _unpack(np.asarray([floor])).astype(np.int32) + 8
    rest = np.abs(colors.astype(np.int32) - middle).max(axis=-1) > _FLOOR_UNITS
    if counts[rest].sum() < _LEAST_REST * counts.sum():
        return 0.0
    return float(np.average(distance[rest], weights=counts[rest]))


def _residuals_as_jpeg(rgb: np.ndarray, name: str) -> tuple[float, float]:
    """Distance of an image to what JPEG makes of its painted indices: mean of all pixels, and of those off the floor.

    Indices are chosen by brightness more than by hue, of which JPEG keeps a quarter of the values.
    """
    image = rgb.reshape(-1, *rgb.shape[-2:])  # [rows of all images, W, 3]
    tree = scipy.spatial.KDTree(_ycbcr(_lookup_table(name)[None])[0])
    packed, inverse = np.unique(_pack(image), return_inverse=True)
    index = tree.query(_ycbcr(_unpack(packed)[None])[0])[1][inverse.reshape(image.shape[:2])]
    with io.BytesIO() as file:
        Image.fromarray(_lookup_table(name)[index]).save(file, "JPEG", quality=95, subsampling="4:2:0")
        halved = np.asarray(Image.open(file).convert("RGB"))
    distance = np.linalg.norm(image.astype(np.float32) - halved, axis=-1).ravel()
    counts = np.ones(len(distance), dtype=np.int64)
    return float(distance.mean()), _rest_residual(image.reshape(-1, 3), counts, distance)


def _ycbcr(rgb: np.ndarray) -> np.ndarray:
    """Brightness and weighted hue, float [H, W, 3], of uint8 [H, W, 3]."""
    return np.asarray(Image.fromarray(rgb).convert("YCbCr")) * np.array([1.0, 0.4, 0.4])


def _check_rgb(rgb: np.ndarray) -> None:
    if rgb.dtype != np.uint8 or rgb.ndim == 0 or rgb.shape[-1] != 3:
        raise UserError(f"a colour image must be uint8 [..., 3], got {rgb.dtype} {list(rgb.shape)}")


@lru_cache(maxsize=len(COLORMAPS))
def _lookup_table(name: str) -> np.ndarray:
    if name == "parula":
        table = np.frombuffer(bytes.fromhex("".join(_PARULA_HEX)), dtype=np.uint8).reshape(256, 3)
    elif name in COLORMAPS:
        import matplotlib  # takes a quarter of a second

        table = np.round(matplotlib.colormaps[name](np.arange(256))[:, :3] * 255).astype(np.uint8)
    else:
        raise UserError(f"a colour map must be one of {', '.join(COLORMAPS)}, got {name!r}")
    table.setflags(write=False)
    return table


@lru_cache(maxsize=len(COLORMAPS))
def _tree(name: str) -> tuple[scipy.spatial.KDTree, np.ndarray]:
    table = _lookup_table(name)
    packed, first, counts = np.unique(_pack(table), return_index=True, return_counts=True)
    return scipy.spatial.KDTree(_unpack(packed)), first + (counts - 1) // 2  # equal colours are neighbours in every map


@lru_cache(maxsize=len(COLORMAPS))
def _known_colors(name: str) -> np.ndarray:
    """Cache of the nearest index of every 24-bit colour, int16 [2**24]; -1 if not computed yet (32 MB)."""
    _lookup_table(name)
    return np.full(2**24, -1, dtype=np.int16)


def _known_index(packed: np.ndarray, name: str) -> np.ndarray:
    """Nearest index of packed colours [K], int16; those that are met for the first time are searched and kept."""
    known = _known_colors(name)
    index = known[packed]
    unknown = index < 0
    if unknown.any():
        colors = np.unique(packed[unknown])
        known[colors] = _nearest(_unpack(colors), name)[1]
        index = known[packed]
    return index


def _nearest(colors: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
    tree, representative = _tree(name)
    distance, position = tree.query(colors)
    return distance, representative[position]


def _pack(rgb: np.ndarray) -> np.ndarray:
    wide = rgb.astype(np.int32)
    return wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]


def _unpack(packed: np.ndarray) -> np.ndarray:
    return np.stack([packed >> 16, packed >> 8 & 255, packed & 255], axis=-1).astype(np.uint8)
