from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from echoform_train.engine.mat5_files import find_arrays, read_array


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("kind", ["f8", "f4", "c16", "c8", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"])
def test_numbers_are_those_that_scipy_reads(tmp_path: Path, kind: str, compress: bool):
    rng = np.random.default_rng(0)
    real = rng.integers(0, 100, (3, 4, 5))
    cube = (real + 1j * rng.integers(0, 100, real.shape)).astype(kind) if kind[0] == "c" else real.astype(kind)
    path = tmp_path / "x.mat"
    scipy.io.savemat(path, {"note": "walk", "x": cube, "cell": np.array([1, "a"], object)}, do_compression=compress)
    arrays = find_arrays(path)
    assert list(arrays) == ["x"]
    read = read_array(path, arrays["x"])
    assert read.dtype == np.dtype(kind)
    np.testing.assert_array_equal(read, scipy.io.loadmat(path)["x"])


def test_a_single_number_and_an_empty_array_keep_their_shape(tmp_path: Path):
    scipy.io.savemat(tmp_path / "x.mat", {"rate": 8192.0, "nothing": np.zeros((0, 3))})
    arrays = find_arrays(tmp_path / "x.mat")
    assert read_array(tmp_path / "x.mat", arrays["rate"]).tolist() == [[8192.0]]
    assert read_array(tmp_path / "x.mat", arrays["nothing"]).shape == (0, 3)


def test_damaged_files_raise_and_never_end_the_process(tmp_path: Path):
    scipy.io.savemat(tmp_path / "x.mat", {"x": np.ones((5, 7))})
    good = (tmp_path / "x.mat").read_bytes()
    for place in range(128, 200):
        (tmp_path / "bad.mat").write_bytes(good[:place] + b"\x55" + good[place + 1 :])
        try:
            for array in find_arrays(tmp_path / "bad.mat").values():
                read_array(tmp_path / "bad.mat", array)
        except (ValueError, struct.error):
            continue
