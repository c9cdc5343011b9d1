from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io

from echoform_train.engine.array_files import read_array

IQ = (np.arange(24) - 1j * np.arange(24)[::-1]).astype(np.complex64).reshape(24, 1)


def v73_struct(path: Path, **fields: np.ndarray) -> None:
    """What MATLAB's `save -v7.3` makes of a variable `radar` with fields."""
    with h5py.File(path, "w", userblock_size=512) as file:
        group = file.create_group("radar")
        group.attrs["MATLAB_class"] = np.bytes_("struct")
        for name, array in fields.items():
            stored = array.T
            if np.iscomplexobj(stored):
                pairs = np.empty(stored.shape, [("real", "<f4"), ("imag", "<f4")])
                pairs["real"], pairs["imag"] = stored.real, stored.imag
                stored = pairs
            group[name] = stored
            group[name].attrs["MATLAB_class"] = np.bytes_("single")


def v5_struct(path: Path, **fields: np.ndarray) -> None:
    scipy.io.savemat(path, {"radar": fields}, do_compression=True)


def v5_struct_plain(path: Path, **fields: np.ndarray) -> None:
    scipy.io.savemat(path, {"radar": fields}, do_compression=False)


STRUCTS = [v5_struct, v5_struct_plain, v73_struct]


@pytest.mark.parametrize("write", STRUCTS)
def test_the_only_array_in_a_structure_needs_no_name(tmp_path, write):
    write(tmp_path / "x.mat", iq=IQ, rate=np.array([[8192.0]]))
    for name in (None, "radar", "radar.iq"):
        np.testing.assert_array_equal(read_array(tmp_path / "x.mat", name), IQ)


@pytest.mark.parametrize("write", STRUCTS)
@pytest.mark.parametrize(("first", "second"), [("real", "imag"), ("I", "Q"), ("re", "im"), ("iq_i", "iq_q")])
def test_two_fields_whose_names_say_so_are_the_parts_of_complex_numbers(tmp_path, write, first, second):
    write(tmp_path / "x.mat", **{second: IQ.imag, first: IQ.real, "rate": np.array([[1.0]])})
    np.testing.assert_array_equal(read_array(tmp_path / "x.mat"), IQ)
    named = (f"radar.{second}", f"radar.{first}")
    np.testing.assert_array_equal(read_array(tmp_path / "x.mat", named), IQ.imag + 1j * IQ.real)


@pytest.mark.parametrize("write", STRUCTS)
def test_the_message_lists_what_a_structure_holds(tmp_path, write):
    write(tmp_path / "x.mat", iq=IQ, t=np.arange(24.0)[:, None])
    with pytest.raises(ValueError, match=r"--mat-variable must name .* radar\.iq \[24 x 1, .*\], radar\.t \[24 x 1, "):
        read_array(tmp_path / "x.mat")
    with pytest.raises(ValueError, match=r"got radar\.x; the file holds radar\.iq"):
        read_array(tmp_path / "x.mat", "radar.x")


def test_structures_in_structures_and_rows_of_structures_are_found(tmp_path):
    rows = np.zeros((1, 2), dtype=[("iq", object), ("note", object)])
    rows["iq"][0] = [IQ, 2 * IQ]
    rows["note"][0] = ["a", "b"]
    scipy.io.savemat(tmp_path / "x.mat", {"radar": {"scan": rows, "inner": {"t": np.arange(5.0)}}})
    np.testing.assert_array_equal(read_array(tmp_path / "x.mat", "radar.scan(2).iq"), 2 * IQ)
    np.testing.assert_array_equal(read_array(tmp_path / "x.mat", "radar.inner"), np.arange(5.0)[None])


def test_what_is_no_array_is_listed_by_its_class(tmp_path):
    scipy.io.savemat(tmp_path / "x.mat", {"note": "walk", "cells": np.array([[1, "a"]], object)})
    with pytest.raises(ValueError, match=r"the file holds note \(char\), cells \(cell\)"):
        read_array(tmp_path / "x.mat")


def test_npz_and_h5_keep_the_order_of_numpy(tmp_path):
    cube = np.tile(IQ.reshape(2, 3, 4), 2)
    np.savez(tmp_path / "a.npz", cube=cube, rate=8192.0, note=np.array("walk"))
    np.savez_compressed(tmp_path / "b.npz", I=cube.real, Q=cube.imag)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["radar/cube"], file["rate"], file["note"] = cube, 8192.0, "walk"
    with h5py.File(tmp_path / "b.hdf5", "w") as file:
        file["scan/I"], file["scan/Q"] = cube.real.astype(np.int16), cube.imag.astype(np.int16)
    pairs = np.empty(cube.shape, [("re", "<f4"), ("im", "<f4")])
    pairs["re"], pairs["im"] = cube.real, cube.imag
    with h5py.File(tmp_path / "c.h5", "w") as file:
        file["cube"] = pairs
    for name in ("a.npz", "b.npz", "a.h5", "b.hdf5", "c.h5"):
        np.testing.assert_array_equal(read_array(tmp_path / name), cube, err_msg=name)
    np.testing.assert_array_equal(read_array(tmp_path / "a.h5", "radar/cube"), cube)


def test_two_arrays_that_are_no_parts_need_a_name(tmp_path):
    np.savez(tmp_path / "a.npz", i=IQ.real, t=IQ.real)
    with pytest.raises(ValueError, match=r"--mat-variable must name .* i \[24 x 1, float32\], t \[24 x 1, float32\]"):
        read_array(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", i=IQ.real, q=IQ.imag[:5])
    with pytest.raises(ValueError, match="--mat-variable must name"):
        read_array(tmp_path / "b.npz")
    with pytest.raises(ValueError, match="I and Q must be real arrays of one shape, they are 24 x 1 float32 and 5 x 1"):
        read_array(tmp_path / "b.npz", ("i", "q"))


def test_broken_archives_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", cube=np.tile(IQ, 100))
    (tmp_path / "a.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:3000])
    (tmp_path / "b.npz").write_bytes(b"no archive")
    (tmp_path / "c.h5").write_bytes(b"no HDF5" * 100)
    for name in ("a.npz", "b.npz", "c.h5"):
        with pytest.raises(ValueError, match="cannot be read as"):
            read_array(tmp_path / name)
    np.savez(tmp_path / "d.npz", cube=np.array([{}, {}], object))
    with pytest.raises(ValueError, match=r"the file holds cube \(objects\)"):
        read_array(tmp_path / "d.npz")
