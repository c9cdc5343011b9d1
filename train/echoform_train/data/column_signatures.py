"""Small signatures of images, column by column, and how well one image continues another at each shift in time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
import scipy.fft
from PIL import Image
from scipy.ndimage import uniform_filter1d

_ROWS, _COLUMNS = 64, 128  # of a signature, at least, where the image has as many
# Slow changes along time and broad shapes along Doppler look alike in all walks of a person; what is finer does not.
_SMOOTH_TIME, _SMOOTH_DOPPLER = 17 / 128, 9 / 64
_LEAST_OVERLAP = 1 / 8
_FLOOR = 0.02  # of the energy of a usual image: an overlap without any texture correlates with nothing
_LEAST_ENERGY = 1.0  # of images that are all the same, whose texture is rounding
_RANDOM_PAIRS = 200
_CHUNK = 256
_MOST_PAIRS = 2**13
_FEW_IMAGES = 500


def signature_of(image: np.ndarray) -> np.ndarray:
    """The image with fewer rows and columns, by means over areas.

    Args:
        image: uint8 [H, W] or [H, W, 3].

    Returns:
        uint8 [h, w]; 64 to 127 rows and 128 to 255 columns, or as many as the image has if these are fewer.
    """
    height, width = image.shape[:2]
    gray = Image.fromarray(image).convert("L")
    return np.asarray(gray.reduce((max(1, width // _COLUMNS), max(1, height // _ROWS))))


class ColumnSignatures:
    """Texture of images along time, for correlations of pairs at shifts of whole columns of the signatures.

    What all images share (axes, frames, static lines), what changes slowly, and what is constant along time is removed.

    Args:
        signatures: uint8 [N, h, w], of `signature_of`.
    """

    def __init__(self, signatures: np.ndarray) -> None:
        self.width = signatures.shape[2]
        self.reach = self.width - max(2, round(self.width * _LEAST_OVERLAP))
        """Largest shift in columns at which two images are compared."""
        texture = np.concatenate([_texture(part) for part in _parts(signatures)])
        self._texture = texture - texture.mean(axis=0)
        energy = (self._texture**2).sum(axis=1)
        self._until = np.pad(energy.cumsum(axis=1), ((0, 0), (1, 0)))  # energy of the first columns, [N, w + 1]
        self._floor = _FLOOR * float(self._until[:, -1].mean()) + _LEAST_ENERGY
        self._length = _fast_length(2 * self.width)

    @property
    def shifts(self) -> np.ndarray:
        """int64 [2 * reach + 1]: the shifts that `correlate` compares, in columns."""
        return np.arange(-self.reach, self.reach + 1)

    @cached_property
    def chance(self) -> float:
        """Standard deviation of the correlation of images drawn at random; large for smooth or small images."""
        draw = np.random.default_rng(0)
        first, second = draw.integers(0, len(self._texture), (2, _RANDOM_PAIRS))
        apart = first != second
        if not apart.any():
            return 1.0
        return float(self.correlate(first[apart].tolist(), second[apart].tolist()).std())

    def correlate(self, first: Sequence[int], second: Sequence[int]) -> np.ndarray:
        """Correlation of pairs of images over the columns that both show, if the second starts some columns later.

        Args:
            first: Indices of the first image of each pair.
            second: Indices of the second image of each pair.

        Returns:
            float32 [P, S] in [-1, 1], at `shifts`.
        """
        pairs = list(zip(first, second, strict=True))
        curves = np.empty((len(pairs), 2 * self.reach + 1), dtype=np.float32)
        for start in range(0, len(pairs), _CHUNK):
            one, other = np.array(pairs[start : start + _CHUNK]).T
            used, place = np.unique(np.concatenate([one, other]), return_inverse=True)
            spectra = _rfft(self._texture[used], self._length)
            a, b = spectra[place[: len(one)]], spectra[place[len(one) :]]
            products = _irfft((a * b.conj()).sum(axis=1), self._length)
            curves[start : start + len(one)] = self._normalise(products, self._until[one], self._until[other])
        return curves

    def likely_pairs(self, members: Sequence[int], least: float, most_per_image: int) -> list[tuple[int, int]]:
        """The pairs of images that correlate best at some shift, found at a lower resolution in time.

        Args:
            members: Indices of images, of which each pair is compared.
            least: Correlation that a pair must reach.
            most_per_image: Largest number of pairs per image.

        Returns:
            Indices of the first and the second image of each pair, in the order of `members`.
        """
        chosen = np.asarray(members)
        coarse = _Correlator(_thinned(self._texture[chosen], len(chosen)), self._floor)
        pairs: list[tuple[int, int]] = []
        for start, best in coarse.best_of_later():
            for row, values in enumerate(best):
                later = np.flatnonzero(values[row + 1 :] >= least) + row + 1
                later = later[np.argsort(-values[later], kind="stable")[:most_per_image]]
                pairs += [(members[start + row], members[start + other]) for other in later.tolist()]
        return pairs

    def _normalise(self, products: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Divide sums over the common columns by the energies of both images in these columns."""
        shifts = np.arange(self.reach + 1)
        tail, head = self.width - shifts, shifts
        # A shift of s columns compares columns s.. of the first with columns ..w-s of the second.
        later = products[:, : self.reach + 1] / np.sqrt(
            (first[:, -1:] - first[:, head] + self._floor) * (second[:, tail] + self._floor)
        )
        earlier = products[:, (-shifts) % self._length] / np.sqrt(
            (first[:, tail] + self._floor) * (second[:, -1:] - second[:, head] + self._floor)
        )
        return np.concatenate([earlier[:, :0:-1], later], axis=1).astype(np.float32)


class _Correlator:
    """Largest correlation over all shifts of every image with every later one.

    Args:
        texture: float32 [N, h, w].
        floor: Added to the energies.
    """

    def __init__(self, texture: np.ndarray, floor: float) -> None:
        width = texture.shape[2]
        shifts = np.arange(width - max(2, round(width * _LEAST_OVERLAP)) + 1)
        until = np.pad((texture**2).sum(axis=1).cumsum(axis=1), ((0, 0), (1, 0)))
        self._head = 1 / np.sqrt(until[:, width - shifts] + floor)
        self._tail = 1 / np.sqrt(until[:, -1:] - until[:, shifts] + floor)
        self._length = _fast_length(2 * width)
        self._spectra = np.ascontiguousarray(_rfft(texture, self._length).transpose(2, 0, 1))  # [F, N, h]

    def best_of_later(self) -> Iterator[tuple[int, np.ndarray]]:
        """The first of some r images, and the correlation of each with it and all later ones, [r, N - first]."""
        count, shifts = self._spectra.shape[1], self._head.shape[1]
        conjugate = np.ascontiguousarray(self._spectra.conj().transpose(0, 2, 1))
        rows = max(1, _MOST_PAIRS // count)
        for start in range(0, count, rows):
            end = min(start + rows, count)
            products = np.matmul(self._spectra[:, start:end], conjugate[:, :, start:])
            sums = _irfft(products, self._length, axis=0)  # [L, r, N - first]
            best = np.full(sums.shape[1:], -1.0, dtype=np.float32)
            for shift in range(shifts):
                later = sums[shift] * self._tail[start:end, shift, None] * self._head[None, start:, shift]
                earlier = sums[-shift] * self._head[start:end, shift, None] * self._tail[None, start:, shift]
                np.maximum(best, np.maximum(later, earlier), out=best)
            yield start, best


def _thinned(texture: np.ndarray, images: int) -> np.ndarray:
    """[N, h, w] with neighbouring columns summed, more of them where there are many images to compare."""
    group = 1 if texture.shape[2] < _COLUMNS else 2 if images <= _FEW_IMAGES else 4
    width = texture.shape[2] // group
    return texture[:, :, : width * group].reshape(*texture.shape[:2], width, group).sum(axis=3)


def _fast_length(least: int) -> int:
    length = scipy.fft.next_fast_len(least, real=True)
    assert length is not None
    return length


def _rfft(values: np.ndarray, length: int) -> np.ndarray:
    """Like that of numpy, but float32 stays single precision."""
    return np.asarray(scipy.fft.rfft(values, length))


def _irfft(values: np.ndarray, length: int, axis: int = -1) -> np.ndarray:
    return np.asarray(scipy.fft.irfft(values, length, axis=axis))


def _texture(signatures: np.ndarray) -> np.ndarray:
    """float32 [n, h, w]: what is finer than the smooth background along time and Doppler."""
    values = signatures.astype(np.float32)
    values -= uniform_filter1d(values, _odd(_SMOOTH_TIME * values.shape[2]), axis=2, mode="nearest")
    return values - uniform_filter1d(values, _odd(_SMOOTH_DOPPLER * values.shape[1]), axis=1, mode="nearest")


def _odd(length: float) -> int:
    return max(3, 2 * round((length - 1) / 2) + 1)


def _parts(signatures: np.ndarray) -> Iterator[np.ndarray]:
    yield from (signatures[start : start + _CHUNK] for start in range(0, max(1, len(signatures)), _CHUNK))
