from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io

from echoform_train.engine.array_files import read_array

CUBE = (np.arange(24) + 1j * np.arange(24)[::-1]).reshape(2, 3, 4).astype(np.complex64)


def write_v73(path: Path, **arrays: np.ndarray) -> None:
    """What MATLAB's `save -v7.3` writes: a 512 byte head, axes reversed, complex numbers as pairs."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, array in arrays.items():
            stored = array.T
            if np.iscomplexobj(stored):
                pairs = np.empty(stored.shape, [("real", stored.real.dtype), ("imag", stored.real.dtype)])
                pairs["real"], pairs["imag"] = stored.real, stored.imag
                stored = pairs
            file[name] = stored
            file[name].attrs["MATLAB_class"] = np.bytes_("single")
        file["note"] = np.frombuffer("walk".encode("utf-16-le"), np.uint16)
        file["note"].attrs["MATLAB_class"] = np.bytes_("char")
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")


def test_every_kind_of_file_gives_the_same_array_in_the_order_of_its_axes(tmp_path):
    np.save(tmp_path / "cube.npy", CUBE)
    scipy.io.savemat(tmp_path / "v5.mat", {"cube": CUBE, "note": "walk"})
    scipy.io.savemat(tmp_path / "v5_small.mat", {"cube": CUBE}, do_compression=True)
    write_v73(tmp_path / "v73.mat", cube=CUBE)
    for name in ("cube.npy", "v5.mat", "v5_small.mat", "v73.mat"):
        array = read_array(tmp_path / name)
        assert array.dtype == np.complex64, name
        np.testing.assert_array_equal(array, CUBE, err_msg=name)


def test_integers_and_big_endian_numbers_keep_their_values(tmp_path):
    np.save(tmp_path / "i16.npy", np.array([[1, -2], [32767, -32768]], ">i2"))
    assert read_array(tmp_path / "i16.npy").tolist() == [[1, -2], [32767, -32768]]
    write_v73(tmp_path / "i16.mat", adc=np.array([[1, -2, 3]], np.int16))
    assert read_array(tmp_path / "i16.mat").tolist() == [[1, -2, 3]]


@pytest.mark.parametrize("write", [lambda path, **arrays: scipy.io.savemat(path, arrays), write_v73])
def test_an_ambiguous_mat_file_lists_what_it_holds(tmp_path, write):
    path = tmp_path / "two.mat"
    write(path, cube=CUBE, t=np.arange(5.0)[:, None], rate=np.array([[8192.0]]))
    with pytest.raises(
        ValueError, match=r"--mat-variable must name the array .* cube \[2 x 3 x 4, .*\], .*t \[5 x 1, "
    ):
        read_array(path)
    np.testing.assert_array_equal(read_array(path, "cube"), CUBE)
    with pytest.raises(ValueError, match=r"--mat-variable must name an array of numbers, got iq; the file holds cube"):
        read_array(path, "iq")


def test_a_single_large_array_needs_no_name(tmp_path):
    scipy.io.savemat(tmp_path / "one.mat", {"iq": CUBE, "rate": 8192.0})
    np.testing.assert_array_equal(read_array(tmp_path / "one.mat"), CUBE)


@pytest.mark.parametrize(
    ("name", "content", "rule"),
    [
        ("x.npy", b"", r"cannot be read as \.npy"),
        ("x.npy", b"\x93NUMPY\x01\x00", r"cannot be read as \.npy"),
        ("x.mat", b"", r"cannot be read as \.mat"),
        ("x.mat", b"text, not numbers " * 50, r"cannot be read as \.mat"),
        ("x.mat", bytes(512) + b"\x89HDF\r\n\x1a\n" + bytes(10), r"cannot be read as \.mat"),
    ],
)
def test_broken_files_are_refused(tmp_path, name, content, rule):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=rule):
        read_array(tmp_path / name)


def test_truncated_files_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", CUBE)
    scipy.io.savemat(tmp_path / "a.mat", {"cube": np.tile(CUBE, (10, 10, 10))}, do_compression=True)
    scipy.io.savemat(tmp_path / "b.mat", {"cube": np.tile(CUBE, (10, 10, 10))})
    write_v73(tmp_path / "c.mat", cube=np.tile(CUBE, (10, 10, 10)))
    for name in ("a.npy", "a.mat", "b.mat", "c.mat"):
        path = tmp_path / name
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
        with pytest.raises(ValueError, match="cannot be read as"):
            read_array(path)


def test_arrays_of_anything_but_numbers_are_refused(tmp_path):
    np.save(tmp_path / "text.npy", np.array(["a", "b"]))
    with pytest.raises(ValueError, match="a file must hold an array of numbers, its dtype is <U1"):
        read_array(tmp_path / "text.npy")
    np.save(tmp_path / "objects.npy", np.array([{}, {}]), allow_pickle=True)
    with pytest.raises(ValueError, match=r"cannot be read as \.npy"):
        read_array(tmp_path / "objects.npy")
