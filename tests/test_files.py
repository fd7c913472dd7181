"""files: every format there and back, and every way in which a file from outside can be wrong."""

from __future__ import annotations

import ast
import hashlib
import io
import itertools
import json
import os
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import firenet.hdf5
from firenet import files, formats
from firenet.errors import BadInput, MissingExtra
from firenet.files import AXES, check_output, read_array, read_image, read_scan, sha256, write_image, write_json

h5py = pytest.importorskip("h5py")
ismrmrd = pytest.importorskip("ismrmrd")
nibabel = pytest.importorskip("nibabel")
pydicom = pytest.importorskip("pydicom")
Image = pytest.importorskip("PIL.Image")


def noise(*shape: int, dtype: Any = np.complex64) -> np.ndarray:
    r = np.random.default_rng(sum(shape))
    return (r.standard_normal(shape) + 1j * r.standard_normal(shape)).astype(dtype)


def refusal(call: Callable[..., Any], *args: Any, **kwargs: Any) -> BadInput:
    """The error of a call that has to be refused, its three parts being phrases without a full stop."""
    with pytest.raises(BadInput) as caught:
        call(*args, **kwargs)
    for part in (caught.value.needed, caught.value.got, caught.value.do):
        assert part
        assert not part.endswith(".")
    return caught.value


def save(path: Path, array: np.ndarray) -> Path:
    np.save(path, array)
    return path


def hdf5(path: Path, **arrays: Any) -> Path:
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array
    return path


def cfl(path: Path, dims: str, numbers: int) -> Path:
    np.arange(1, numbers + 1).astype("<c8").tofile(path.with_suffix(".cfl"))
    path.with_suffix(".hdr").write_text(f"# Dimensions\n{dims}\n# Command\nphantom\n")
    return path.with_suffix(".cfl")


def nifti(path: Path, array: np.ndarray, zooms: tuple[float, ...] = (), unit: str = "mm") -> Path:
    image = nibabel.Nifti1Image(array, np.eye(4))
    if zooms:
        image.header.set_zooms(zooms)
    image.header.set_xyzt_units(unit)
    nibabel.save(image, path)
    return path


def dicom(path: Path, pixels: np.ndarray, **tags: Any) -> Path:
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    data.SOPClassUID, data.SOPInstanceUID = pydicom.uid.MRImageStorage, "1.2.3"
    data.Rows, data.Columns = pixels.shape[-2:]
    data.BitsAllocated = data.BitsStored = 16
    data.HighBit, data.PixelRepresentation, data.SamplesPerPixel = 15, 0, 1
    data.PhotometricInterpretation = "MONOCHROME2"
    data.PixelData = pixels.astype("<u2").tobytes()
    for name, value in tags.items():
        setattr(data, name, value)
    data.save_as(path, enforce_file_format=True)
    return path


# --- which axis is which ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "axes",
    [
        names
        for wanted in (("x",), ("y", "x"), ("coil", "x"), ("coil", "y", "x"), ("slice", "z", "y", "x"))
        for names in itertools.permutations(wanted)
    ],
)
def test_explicit_axes_are_put_into_order(tmp_path: Path, axes: tuple[str, ...]) -> None:
    stored = noise(*range(3, 3 + len(axes)))
    scan = read_scan(save(tmp_path / "k.npy", stored), axes=axes)
    assert scan.axes == tuple(sorted(axes, key=AXES.index))
    letters = {"slice": "s", "coil": "c", "z": "z", "y": "y", "x": "x"}
    formula = "".join(letters[a] for a in axes) + "->" + "".join(letters[a] for a in AXES if a in axes)
    np.testing.assert_array_equal(scan.kspace, np.einsum(formula, stored))
    assert scan.kspace.flags.c_contiguous


@pytest.mark.parametrize(
    "axes",
    [("y", "x"), ("coil", "coil", "x"), ("coil", "q", "x"), ("coil", "z", "x"), ("slice", "coil", "y"), ()],
)
def test_axes_that_do_not_fit_are_refused(tmp_path: Path, axes: tuple[str, ...]) -> None:
    error = refusal(read_scan, save(tmp_path / "k.npy", noise(2, 3, 4)), axes=axes)
    assert "(2, 3, 4)" in error.needed
    assert "slice, coil, z, y, x" in error.needed


def test_the_meaning_of_three_axes_is_not_guessed(tmp_path: Path) -> None:
    error = refusal(read_scan, save(tmp_path / "k.npy", noise(2, 3, 4)))
    assert "3-D" in error.needed
    assert "(2, 3, 4)" in error.got
    assert "--axes coil,y,x" in error.do


def test_plain_arrays_of_one_and_two_axes_need_no_names(tmp_path: Path) -> None:
    scan = read_scan(save(tmp_path / "k.npy", noise(3, 4)))
    assert (scan.axes, scan.mask, scan.voxel_size, scan.readout_oversampling) == (("y", "x"), None, None, None)
    assert scan.source == str(tmp_path / "k.npy")
    assert read_scan(save(tmp_path / "k.npy", noise(4))).axes == ("x",)


@pytest.mark.parametrize("stored", [">c8", "<c16", "c8"])
def test_byte_and_memory_order_are_made_native(tmp_path: Path, stored: str) -> None:
    wanted = noise(3, 4).astype(stored)
    got = read_scan(save(tmp_path / "k.npy", np.asfortranarray(wanted))).kspace
    assert got.dtype.isnative
    assert got.dtype.itemsize == wanted.dtype.itemsize
    np.testing.assert_array_equal(got, wanted)
    assert read_array(tmp_path / "k.npy").flags.c_contiguous


# --- npy and npz -----------------------------------------------------------------------------------------------------


def test_npz_takes_kspace_the_key_or_the_only_array(tmp_path: Path) -> None:
    path, one, two = tmp_path / "k.npz", noise(3, 4), noise(3, 4) * 2
    np.savez(path, kspace=one, other=two)
    np.testing.assert_array_equal(read_scan(path).kspace, one)
    np.testing.assert_array_equal(read_scan(path, key="other").kspace, two)
    assert read_scan(path, key="other").source.endswith("[other]")
    np.savez_compressed(path, data=two, mask=np.ones((3, 4)))
    np.testing.assert_array_equal(read_scan(path).kspace, two)


def test_npz_names_are_listed_where_one_has_to_be_chosen(tmp_path: Path) -> None:
    path = tmp_path / "k.npz"
    np.savez(path, first=noise(3, 4), second=noise(3, 4))
    for key in (None, "third"):
        error = refusal(read_scan, path, key=key)
        assert "first, second" in error.got
        assert "key" in error.do
    np.savez(path)
    assert "no arrays" in refusal(read_scan, path).got


def test_the_array_named_as_its_purpose_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "all.npz"
    np.savez(path, mask=np.array([[True, False]]), maps=noise(2, 3))
    assert read_array(path, purpose="mask").dtype == bool
    assert read_array(path, purpose="maps").shape == (2, 3)
    refusal(read_array, path, purpose="noise")


def test_the_scan_in_the_package_is_read() -> None:
    path = Path(files.__file__).parent / "data" / "twix_gre_phantom_2ch.npz"
    scan = read_scan(path, axes=("coil", "y", "x"))
    assert scan.kspace.shape == (2, 160, 320)
    assert np.unravel_index(np.abs(scan.kspace[0]).argmax(), (160, 320)) == (80, 160)  # centred, and not shifted


# --- masks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mask", "axes"),
    [
        (np.array([1, 0, 0, 1, 1]), ("coil", "y", "x")),
        (np.array([[1.0, 0, 0, 1, 1]]), ("coil", "y", "x")),
        (np.ones((4, 5)) * [True, False, False, True, True], ("coil", "y", "x")),
        (np.ones((3, 4, 5)) * [1, 0, 0, 1, 1], ("coil", "y", "x")),
        (np.array([[[1, 0, 0, 1, 1]]]), ("coil", "y", "x")),
    ],
)
def test_a_mask_becomes_bool_of_the_spatial_shape(tmp_path: Path, mask: np.ndarray, axes: tuple[str, ...]) -> None:
    np.savez(tmp_path / "k.npz", kspace=noise(3, 4, 5), mask=mask)
    got = read_scan(tmp_path / "k.npz", axes=axes).mask
    assert got is not None
    assert got.dtype == bool
    np.testing.assert_array_equal(got, np.broadcast_to([True, False, False, True, True], (4, 5)))


def test_a_mask_turns_with_its_axes(tmp_path: Path) -> None:
    kspace, mask = noise(5, 4, 3), np.random.default_rng(0).random((5, 4)) < 0.5
    np.savez(tmp_path / "k.npz", kspace=kspace, mask=mask)
    got = read_scan(tmp_path / "k.npz", axes=("x", "y", "coil")).mask
    np.testing.assert_array_equal(np.asarray(got), mask.T)


@pytest.mark.parametrize(
    ("mask", "word"),
    [
        (np.array([0.5, 1, 1, 1, 1]), "zeros and ones"),
        (np.array([np.nan, 1, 1, 1, 1]), "zeros and ones"),
        (np.zeros(5), "zeros and ones"),
        (noise(5), "zeros and ones"),
        (np.ones(4), "(4, 5)"),
        (np.arange(60).reshape(3, 4, 5) // 30, "all slices and coils"),
    ],
)
def test_a_mask_that_is_none_is_refused(tmp_path: Path, mask: np.ndarray, word: str) -> None:
    np.savez(tmp_path / "k.npz", kspace=noise(3, 4, 5), mask=mask)
    assert word in refusal(read_scan, tmp_path / "k.npz", axes=("coil", "y", "x")).needed


# --- fastMRI HDF5 ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shape", "axes"), [((2, 4, 5), "slice y x"), ((2, 3, 4, 5), "slice coil y x")])
def test_fastmri(tmp_path: Path, shape: tuple[int, ...], axes: str) -> None:
    kspace, mask = noise(*shape), np.array([1, 0, 0, 1, 1], np.float32)
    path = hdf5(tmp_path / "file.h5", kspace=kspace, mask=mask, reconstruction_rss=np.ones((2, 4, 4)))
    scan = read_scan(path)
    assert scan.axes == tuple(axes.split())
    assert scan.source == f"{path} [kspace]"
    np.testing.assert_array_equal(scan.kspace, kspace)
    np.testing.assert_array_equal(np.asarray(scan.mask), np.broadcast_to(mask.astype(bool), (4, 5)))
    np.testing.assert_array_equal(read_array(path, purpose="mask"), mask)
    np.testing.assert_array_equal(read_image(path, key="reconstruction_rss")[0], np.ones((2, 4, 4)))


def test_hdf5_under_another_name_is_not_taken_for_fastmri(tmp_path: Path) -> None:
    path = hdf5(tmp_path / "file.h5", data=noise(2, 3, 4))
    assert "3-D" in refusal(read_scan, path).needed
    assert read_scan(path, axes=("coil", "y", "x")).axes == ("coil", "y", "x")
    assert read_scan(hdf5(path, data=noise(3, 4))).axes == ("y", "x")


@pytest.mark.parametrize("names", [("real", "imag"), ("r", "i")])
def test_hdf5_pairs_are_complex_numbers(tmp_path: Path, names: tuple[str, str]) -> None:
    kspace = noise(3, 4)
    pairs = np.empty((3, 4), [(names[0], "f4"), (names[1], "f4")])
    pairs[names[0]], pairs[names[1]] = np.real(kspace), np.imag(kspace)
    scan = read_scan(hdf5(tmp_path / "file.h5", kspace=pairs))
    assert scan.kspace.dtype == np.complex64
    np.testing.assert_array_equal(scan.kspace, kspace)


def test_hdf5_inside_a_group(tmp_path: Path) -> None:
    path = hdf5(tmp_path / "file.h5", **{"scans/first": noise(3, 4)})
    np.testing.assert_array_equal(read_scan(path, key="scans/first").kspace, noise(3, 4))
    for key in ("scans/second", "scans/first/deeper", "/scans/"):
        assert key.strip("/") in refusal(read_scan, path, key=key).got
    assert "no arrays" in refusal(read_scan, path).got


@pytest.mark.parametrize("kind", ["soft link", "external link", "external storage", "virtual"])
def test_hdf5_data_outside_the_file_are_refused(tmp_path: Path, kind: str) -> None:
    path, other = tmp_path / "file.h5", hdf5(tmp_path / "other.h5", kspace=noise(3, 4))
    (tmp_path / "raw.bin").write_bytes(bytes(96))
    with h5py.File(path, "w") as file:
        group = file.create_group("g")
        if kind == "soft link":
            group["kspace"] = h5py.SoftLink("/elsewhere")
        elif kind == "external link":
            group["kspace"] = h5py.ExternalLink(str(other), "/kspace")
        elif kind == "external storage":
            group.create_dataset("kspace", (3, 4), "c8", external=[(str(tmp_path / "raw.bin"), 0, 96)])
        else:
            layout = h5py.VirtualLayout((3, 4), "c8")
            layout[...] = h5py.VirtualSource(str(other), "kspace", (3, 4))
            group.create_virtual_dataset("kspace", layout)
    assert "stored elsewhere" in refusal(read_scan, path, key="g/kspace").got


def test_hdf5_claims_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("huge", (10**6, 10**6), "c8", chunks=(64, 64))
        file.create_dataset("unwritten", (8, 8), "c8", chunks=(8, 8))
        file.create_dataset("bomb", data=np.zeros((512, 512), "c8"), chunks=(512, 512), compression="gzip")
        file.create_dataset("text", data="words")
        file.create_dataset(
            "chunk", data=np.ones((2, 2), "c8"), chunks=(512, 512), maxshape=(None, None), compression=9
        )
    assert "16 GiB" in refusal(read_array, path, key="huge").needed
    assert "0 bytes stored" in refusal(read_array, path, key="unwritten").got
    assert "numbers" in refusal(read_array, path, key="text").needed
    assert read_array(path, key="bomb").shape == (512, 512)
    monkeypatch.setattr(formats, "FREE_BYTES", 2**20)
    for key in ("bomb", "chunk"):
        assert "100-fold" in refusal(read_array, path, key=key).needed


# --- ISMRMRD ---------------------------------------------------------------------------------------------------------


def mrd_header(
    encoded: tuple[int, int, int], kept: int, trajectory: str = "cartesian", centre: int | None = None
) -> str:
    """The XML header of a scan, encoded (z, y, x) with voxels of 3, 2 and 1 mm, of which `kept` along x are wanted."""
    z, y, x = encoded
    middle = y // 2 if centre is None else centre
    spaces = "".join(
        f"<{name}><matrixSize><x>{n}</x><y>{y}</y><z>{z}</z></matrixSize>"
        f"<fieldOfView_mm><x>{n}</x><y>{2 * y}</y><z>{3 * z}</z></fieldOfView_mm></{name}>"
        for name, n in (("encodedSpace", x), ("reconSpace", kept))
    )
    limits = "".join(
        f"<kspace_encoding_step_{step}><minimum>0</minimum><maximum>{n - 1}</maximum><center>{c}</center>"
        f"</kspace_encoding_step_{step}>"
        for step, n, c in ((1, y, middle), (2, z, z // 2))
    )
    return (
        '<?xml version="1.0"?><ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD"><experimentalConditions>'
        "<H1resonanceFrequency_Hz>128000000</H1resonanceFrequency_Hz></experimentalConditions><encoding>"
        f"{spaces}<encodingLimits>{limits}</encodingLimits><trajectory>{trajectory}</trajectory></encoding>"
        "</ismrmrdHeader>"
    )


def mrd_line(data: np.ndarray, flag: int = 0, **head: int) -> Any:
    """One line (coil, x); `head` fills its header or its counters (y and z for the encoding steps)."""
    line = ismrmrd.Acquisition.from_array(np.ascontiguousarray(data), center_sample=data.shape[1] // 2)
    for name, value in head.items():
        name = {"y": "kspace_encode_step_1", "z": "kspace_encode_step_2"}.get(name, name)
        setattr(line.idx if hasattr(line.idx, name) else line, name, value)
    if flag:
        line.set_flag(flag)
    return line


def mrd(path: Path, header: str, lines: list[Any], group: str = "dataset") -> Path:
    dataset = ismrmrd.Dataset(path, group)
    dataset.write_xml_header(header)
    for line in lines:
        dataset.append_acquisition(line)
    dataset.close()
    return path


def test_ismrmrd_slices(tmp_path: Path) -> None:
    kspace = noise(2, 3, 6, 8)  # slice, coil, y, x
    lines = [mrd_line(kspace[s, :, y], slice=s, y=y) for y in range(6) for s in (1, 0)]
    scan = read_scan(mrd(tmp_path / "scan.h5", mrd_header((1, 6, 8), kept=4), lines))
    np.testing.assert_array_equal(scan.kspace, kspace)
    assert scan.axes == ("slice", "coil", "y", "x")
    assert scan.voxel_size == (2.0, 1.0)
    assert scan.readout_oversampling == 2.0
    assert np.asarray(scan.mask).shape == (6, 8)
    assert np.all(np.asarray(scan.mask))
    assert scan.source == f"{tmp_path / 'scan.h5'} [dataset]"


def test_ismrmrd_volume(tmp_path: Path) -> None:
    kspace = noise(3, 4, 6, 8)  # coil, z, y, x
    lines = [mrd_line(kspace[:, z, y], z=z, y=y) for z in range(4) for y in range(6) if (y, z) != (5, 3)]
    scan = read_scan(mrd(tmp_path / "scan.h5", mrd_header((4, 6, 8), kept=8), lines))
    kspace[:, 3, 5] = 0
    np.testing.assert_array_equal(scan.kspace[0], kspace)
    assert scan.axes == ("slice", "coil", "z", "y", "x")
    assert scan.voxel_size == (3.0, 2.0, 1.0)
    assert scan.readout_oversampling == 1.0
    np.testing.assert_array_equal(np.asarray(scan.mask), kspace[0] != 0)


def test_ismrmrd_puts_a_partial_matrix_around_dc(tmp_path: Path) -> None:
    # 5 of 8 samples, DC the second of them, the last discarded; 3 of 6 lines, DC the first of them.
    data = noise(2, 3, 5)
    lines = [mrd_line(data[:, y], y=y, center_sample=1, discard_post=1) for y in range(3)]
    scan = read_scan(mrd(tmp_path / "scan.h5", mrd_header((1, 6, 8), kept=8, centre=0), lines))
    wanted = np.zeros((2, 6, 8), np.complex64)
    wanted[:, 3:6, 3:7] = data[:, :, :4]
    np.testing.assert_array_equal(scan.kspace[0], wanted)
    np.testing.assert_array_equal(np.asarray(scan.mask), wanted[0] != 0)


def test_ismrmrd_limits_of_partitions_mean_nothing_in_two_dimensions(tmp_path: Path) -> None:
    header = mrd_header((1, 2, 8), kept=8).replace(
        "<center>0</center></kspace_encoding_step_2>", "</kspace_encoding_step_2>"
    )
    wrong = mrd_header((1, 2, 8), kept=8).replace("<center>0</center>", "<center>7</center>")
    assert wrong != mrd_header((1, 2, 8), kept=8) != header
    for number, text in enumerate((header, wrong)):
        path = mrd(tmp_path / f"scan{number}.h5", text, [mrd_line(noise(2, 8), y=y) for y in range(2)])
        np.testing.assert_array_equal(read_scan(path).kspace[0, :, 1], noise(2, 8))


def test_ismrmrd_averages_repeated_lines_and_says_so(tmp_path: Path) -> None:
    data = noise(3, 2, 8)
    lines = [mrd_line(data[a], y=0, average=a) for a in range(3)] + [mrd_line(data[0], y=1)]
    scan = read_scan(mrd(tmp_path / "scan.h5", mrd_header((1, 2, 8), kept=8), lines))
    np.testing.assert_allclose(scan.kspace[0, :, 0], data.mean(0), rtol=1e-6)
    np.testing.assert_array_equal(scan.kspace[0, :, 1], data[0])
    assert "up to 3 times averaged" in scan.source


@pytest.mark.parametrize(
    "flag",
    [
        ismrmrd.ACQ_IS_NOISE_MEASUREMENT,
        ismrmrd.ACQ_IS_NAVIGATION_DATA,
        ismrmrd.ACQ_IS_PHASECORR_DATA,
        ismrmrd.ACQ_IS_PARALLEL_CALIBRATION,
        ismrmrd.ACQ_IS_DUMMYSCAN_DATA,
    ],
)
def test_ismrmrd_skips_lines_that_are_no_image(tmp_path: Path, flag: int) -> None:
    kspace = noise(2, 2, 8)
    lines = [mrd_line(noise(2, 20), flag=flag, repetition=3), *(mrd_line(kspace[:, y], y=y) for y in range(2))]
    path = mrd(tmp_path / "scan.h5", mrd_header((1, 2, 8), kept=8), lines)
    np.testing.assert_array_equal(read_scan(path).kspace[0], kspace)
    (tmp_path / "scan.h5").unlink()
    assert "no imaging lines" in refusal(read_scan, mrd(path, mrd_header((1, 2, 8), kept=8), lines[:1])).got


def test_ismrmrd_keeps_calibration_that_is_also_imaging(tmp_path: Path) -> None:
    line = mrd_line(noise(2, 8), flag=ismrmrd.ACQ_IS_PARALLEL_CALIBRATION)
    line.set_flag(ismrmrd.ACQ_IS_PARALLEL_CALIBRATION_AND_IMAGING)
    scan = read_scan(mrd(tmp_path / "scan.h5", mrd_header((1, 1, 8), kept=8), [line]))
    np.testing.assert_array_equal(scan.kspace[0, :, 0], noise(2, 8))


def test_ismrmrd_slices_with_different_masks_have_none(tmp_path: Path) -> None:
    lines = [mrd_line(noise(1, 8), slice=0, y=0), mrd_line(noise(1, 8), slice=1, y=1)]
    assert read_scan(mrd(tmp_path / "scan.h5", mrd_header((1, 2, 8), kept=8), lines)).mask is None


def test_ismrmrd_axes_against_the_header_drop_what_it_says(tmp_path: Path) -> None:
    lines = [mrd_line(noise(2, 8), slice=s) for s in range(3)]
    scan = read_scan(mrd(tmp_path / "scan.h5", mrd_header((1, 1, 8), kept=4), lines), axes=("z", "coil", "y", "x"))
    assert (scan.axes, scan.kspace.shape) == (("coil", "z", "y", "x"), (2, 3, 1, 8))
    assert (scan.voxel_size, scan.readout_oversampling) == (None, None)


def test_ismrmrd_is_told_from_fastmri_by_its_content(tmp_path: Path) -> None:
    path = mrd(tmp_path / "scan.h5", mrd_header((1, 1, 8), kept=8), [mrd_line(noise(2, 8))], group="other")
    assert read_scan(path).kspace.shape == (1, 2, 1, 8)
    mrd(path, mrd_header((1, 1, 8), kept=8), [mrd_line(noise(3, 8))], group="third")
    assert "other, third" in refusal(read_scan, path).got
    assert read_scan(path, key="third").kspace.shape == (1, 3, 1, 8)
    with h5py.File(path, "a") as file:
        file["kspace"] = noise(2, 4, 5)
    assert read_scan(path).kspace.shape == (2, 4, 5)


@pytest.mark.parametrize("name", ["repetition", "contrast", "phase", "set", "encoding_space_ref", "discard_pre"])
def test_ismrmrd_of_several_images_is_refused(tmp_path: Path, name: str) -> None:
    lines = [mrd_line(noise(2, 8), **{name: n}) for n in range(2)]
    error = refusal(read_scan, mrd(tmp_path / "scan.h5", mrd_header((1, 1, 8), kept=8), lines))
    assert f"same {name}" in error.needed
    assert "2 different" in error.got


@pytest.mark.parametrize(
    ("header", "head", "word"),
    [
        (mrd_header((1, 4, 8), kept=8, trajectory="radial"), {}, "radial"),
        (mrd_header((1, 4, 8), kept=8), {"y": 4}, "y 4 to 4"),
        (mrd_header((1, 4, 8), kept=8), {"z": 1}, "z 1 to 1"),
        (mrd_header((1, 4, 8), kept=8), {"slice": 2}, "1 of 3 slices"),
        (mrd_header((1, 4, 8), kept=8), {"center_sample": 7}, "x -3 to 4"),
        (mrd_header((1, 4, 8), kept=8), {"flag": ismrmrd.ACQ_IS_REVERSE}, "reversed"),
        (mrd_header((1, 4, 8), kept=8).replace("<x>8</x>", "<x>0</x>"), {}, "x=0"),
        (mrd_header((1, 4, 8), kept=8).replace("<x>8</x>", "<x>99999999999</x>"), {}, "GiB"),
        (mrd_header((1, 4, 8), kept=8).replace("encodingLimits", "enLimits"), {}, "ParserError"),
        ("", {}, "empty"),
        (mrd_header((1, 4, 8), kept=8)[:200], {}, "could not be read"),
        (mrd_header((1, 4, 8), kept=8) + " " * 2**24, {}, "huge"),
        ("<!DOCTYPE a SYSTEM 'file:///nowhere'>" + mrd_header((1, 4, 8), kept=8), {}, "DOCTYPE"),
        ("<!DOCTYPE a [<!ENTITY b 'c'>]>" + mrd_header((1, 4, 8), kept=8), {}, "ENTITY"),
    ],
)
def test_ismrmrd_that_does_not_fit_is_refused(tmp_path: Path, header: str, head: dict[str, int], word: str) -> None:
    error = refusal(read_scan, mrd(tmp_path / "scan.h5", header, [mrd_line(noise(2, 8), **head)]))
    assert word in error.got


def test_ismrmrd_entities_are_refused_before_they_are_expanded(tmp_path: Path) -> None:
    levels = "".join(f"<!ENTITY l{n + 1} '{f'&l{n};' * 10}'>" for n in range(9))
    bomb = f"<!DOCTYPE x [<!ENTITY l0 'lol'>{levels}]><x>&l9;</x>"
    for header in (bomb, bomb.replace("<!", "<\0!"), '<?xml version="1.0" encoding="utf-16"?>' + bomb):
        path = tmp_path / "scan.h5"
        path.unlink(missing_ok=True)
        mrd(path, "<x/>", [mrd_line(noise(2, 8))])
        with h5py.File(path, "a") as file:
            del file["dataset/xml"]
            file["dataset/xml"] = np.bytes_(header.encode())
        assert "DOCTYPE" in refusal(read_scan, path).got


def test_ismrmrd_records_of_another_kind_are_refused(tmp_path: Path) -> None:
    path = mrd(tmp_path / "scan.h5", mrd_header((1, 1, 8), kept=8), [mrd_line(noise(2, 8))])
    with h5py.File(path, "a") as file:
        table = file["dataset/data"]
        kind = np.dtype([(name, "f8" if name == "head" else table.dtype[name]) for name in table.dtype.names])
        del file["dataset/data"]
        file.create_dataset("dataset/data", (1,), kind)
    assert "as ISMRMRD 1 defines them" in refusal(read_scan, path).needed


def test_ismrmrd_of_two_headers_is_refused(tmp_path: Path) -> None:
    path = mrd(tmp_path / "scan.h5", mrd_header((1, 1, 8), kept=8), [mrd_line(noise(2, 8))])
    with h5py.File(path, "a") as file:
        header = file["dataset/xml"][0]
        del file["dataset/xml"]
        file["dataset"].create_dataset("xml", data=[header, header])
    assert "huge" in refusal(read_scan, path).got


def test_ismrmrd_lines_with_nan_are_refused(tmp_path: Path) -> None:
    data = noise(2, 8)
    data[0, 3] = np.nan
    lines = [mrd_line(data), mrd_line(np.full((2, 8), np.inf, np.complex64)), mrd_line(-data)]
    assert "finite" in refusal(read_scan, mrd(tmp_path / "scan.h5", mrd_header((1, 1, 8), kept=8), lines)).needed


def test_ismrmrd_lines_that_contradict_their_headers_are_refused(tmp_path: Path) -> None:
    path = mrd(tmp_path / "scan.h5", mrd_header((1, 1, 8), kept=8), [mrd_line(noise(2, 8))])
    with h5py.File(path, "a") as file:
        line = file["dataset/data"][0]
        line["data"] = line["data"][:-2]
        file["dataset/data"][0] = line
    assert "not 2 x 2 x 8" in refusal(read_scan, path).got


def test_ismrmrd_claims_of_many_lines_are_checked(tmp_path: Path) -> None:
    path = mrd(tmp_path / "scan.h5", mrd_header((1, 1, 8), kept=8), [mrd_line(noise(2, 8))])
    with h5py.File(path, "a") as file:
        file["dataset/data"].resize(10**7, axis=0)
    assert "table of its lines" in refusal(read_scan, path).needed


# --- BART ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dims", "shape", "axes"),
    [
        ("4 3 1 1", (3, 4), "y x"),
        ("4 3 1 2 1 1 1 1 1 1 1 1 1 1 1 1", (2, 3, 4), "coil y x"),
        ("4 3 5 2", (2, 5, 3, 4), "coil z y x"),
        ("1 3 5 2", (2, 5, 3), "coil y x"),
        ("4 3 1 2 1 1 1 1 1 1 1 1 1 6", (6, 2, 3, 4), "slice coil y x"),
        ("4", (4,), "x"),
    ],
)
def test_cfl_axes(tmp_path: Path, dims: str, shape: tuple[int, ...], axes: str) -> None:
    path = cfl(tmp_path / "k", dims, int(np.prod(shape)))
    scan = read_scan(path)
    assert scan.axes == tuple(axes.split())
    # BART counts the first dimension fastest, and so does C order the last axis.
    np.testing.assert_array_equal(scan.kspace, np.arange(1, 1 + np.prod(shape)).reshape(shape))
    np.testing.assert_array_equal(read_array(path.with_suffix(".hdr")), scan.kspace)


@pytest.mark.parametrize(
    ("axes", "shape"),
    [("y x", (3, 4)), ("z y x", (2, 3, 4)), ("coil y x", (5, 3, 4)), ("x y coil slice", (4, 3, 5, 2))],
)
def test_cfl_there_and_back(tmp_path: Path, axes: str, shape: tuple[int, ...]) -> None:
    image, names = noise(*shape), tuple(axes.split())
    write_image(tmp_path / "image.cfl", image, axes=names)
    header = (tmp_path / "image.hdr").read_text().split("\n")
    assert header[0] == "# Dimensions"
    dims = [int(word) for word in header[1].split()]
    assert len(dims) == 16
    assert [dims[place] for place in (0, 1)] == [shape[names.index("x")], shape[names.index("y")]]
    scan = read_scan(tmp_path / "image.cfl")
    np.testing.assert_array_equal(scan.kspace, image.transpose([names.index(name) for name in scan.axes]))
    assert sorted(os.listdir(tmp_path)) == ["image.cfl", "image.hdr"]


@pytest.mark.parametrize(
    ("dims", "word"),
    [
        ("4 3 1 2 2", "MAPS of size 2"),
        ("4 3 1 1 1 1 1 1 1 1 2", "TIME of size 2"),
        ("4 3 1 3", "192"),
        ("4 -3", "4 -3"),
        ("4 3.0", "4 3.0"),
        ("4 0", "4 0"),
        ("four", "four"),
        ("4 " * 17, "4 4"),
        ("9" * 5000, "999"),
        ("", "Dimensions"),
    ],
)
def test_cfl_headers_that_do_not_fit_are_refused(tmp_path: Path, dims: str, word: str) -> None:
    assert word in refusal(read_scan, cfl(tmp_path / "k", dims, 24)).got


def test_cfl_needs_both_files_whole(tmp_path: Path) -> None:
    path = cfl(tmp_path / "k", "4 3", 12)
    path.write_bytes(path.read_bytes()[:-1])
    error = refusal(read_scan, path)
    assert ("96 bytes" in error.needed, error.got) == (True, "95")
    path.with_suffix(".hdr").unlink()
    assert "k.hdr, which does not exist" in refusal(read_scan, path).got


def test_cfl_without_any_spatial_axis_is_refused(tmp_path: Path) -> None:
    assert "x always" in refusal(read_scan, cfl(tmp_path / "k", "1 1 1 2", 2)).needed


# --- images ----------------------------------------------------------------------------------------------------------


def test_npy_keeps_the_complex_image(tmp_path: Path) -> None:
    for dtype in (np.complex64, np.complex128, np.float32):
        image = np.real(noise(3, 4)) if dtype == np.float32 else noise(3, 4, dtype=dtype)
        write_image(tmp_path / "image.npy", image)
        got, voxel_size = read_image(tmp_path / "image.npy")
        assert (got.dtype, voxel_size) == (dtype, None)
        np.testing.assert_array_equal(got, image)


def test_png_shows_the_magnitude_up_to_its_percentile(tmp_path: Path) -> None:
    image = np.arange(400).reshape(20, 20) * np.exp(0.3j)
    write_image(tmp_path / "image.png", image)
    got, voxel_size = read_image(tmp_path / "image.png")
    assert (got.dtype, voxel_size) == (np.float32, None)
    white = np.percentile(np.abs(image), 99.5)
    np.testing.assert_allclose(got, 255 * np.minimum(np.abs(image) / white, 1), atol=0.51)
    assert got.max() == 255


def test_png_tiles_a_stack(tmp_path: Path) -> None:
    stack = np.stack([np.full((2, 3), value) for value in (10, 20, 30)])
    write_image(tmp_path / "image.png", stack)
    got, _ = read_image(tmp_path / "image.png")
    np.testing.assert_array_equal(got[::2, ::3], [[85, 170], [255, 0]])
    assert got.shape == (4, 6)


def test_png_of_nothing_and_of_a_point(tmp_path: Path) -> None:
    write_image(tmp_path / "image.png", np.zeros((4, 4)))
    assert read_image(tmp_path / "image.png")[0].max() == 0
    point = np.zeros((40, 40))
    point[3, 3] = 1e-9
    write_image(tmp_path / "image.png", point)
    assert read_image(tmp_path / "image.png")[0].max() == 255


def test_png_of_small_integers_does_not_overflow(tmp_path: Path) -> None:
    write_image(tmp_path / "image.png", np.full((2, 2), -128, np.int8))
    assert read_image(tmp_path / "image.png")[0].min() == 255


def test_png_values_are_read_as_stored(tmp_path: Path) -> None:
    deep = np.array([[0, 300], [65535, 7]], np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    np.testing.assert_array_equal(read_image(tmp_path / "deep.png")[0], deep)
    np.testing.assert_array_equal(read_array(tmp_path / "deep.png"), deep)
    Image.fromarray(np.array([[True, False]])).save(tmp_path / "mask.png")
    assert read_array(tmp_path / "mask.png").dtype == bool


def test_png_in_colour_and_too_large_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "colour.png")
    error = refusal(read_image, tmp_path / "colour.png")
    assert "RGB" in error.got
    assert "grey" in error.do
    write_image(tmp_path / "image.png", np.ones((10, 10)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 90)
    assert "DecompressionBomb" in refusal(read_image, tmp_path / "image.png").got


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize(
    ("shape", "voxel_size"), [((3, 4), (2.0, 1.5)), ((2, 3, 4), (3.0, 2.0, 1.5)), ((2, 3, 4), None)]
)
def test_nifti_there_and_back(
    tmp_path: Path, suffix: str, shape: tuple[int, ...], voxel_size: tuple[float, ...] | None
) -> None:
    path, image = tmp_path / f"image{suffix}", noise(*shape)
    write_image(path, image, voxel_size=voxel_size)
    got, size = read_image(path)
    assert (got.dtype, size) == (np.float32, voxel_size)
    np.testing.assert_allclose(got, np.abs(image), rtol=1e-6)
    stored = nibabel.load(path)
    np.testing.assert_allclose(np.asarray(stored.dataobj), np.abs(image).T, rtol=1e-6)
    if voxel_size:
        assert stored.header.get_zooms() == voxel_size[::-1]
        assert stored.header.get_xyzt_units()[0] == "mm"
        np.testing.assert_array_equal(np.diag(stored.affine)[: len(shape)], voxel_size[::-1])


def test_nifti_scaling_units_and_singletons(tmp_path: Path) -> None:
    image = np.arange(24, dtype=np.int16).reshape(4, 3, 2, 1)
    got, size = read_image(nifti(tmp_path / "a.nii", image, (1000, 2000, 3000, 1), "micron"))
    np.testing.assert_array_equal(got, image[..., 0].T)
    assert size == pytest.approx((3, 2, 1))
    assert got.dtype == np.float32
    assert read_array(tmp_path / "a.nii").dtype == np.int16
    got, size = read_image(nifti(tmp_path / "a.nii", image[:, :, :1], (0.5, 2, 4, 1), "unknown"))
    assert (got.shape, size) == ((3, 4), (2.0, 0.5))
    assert read_image(nifti(tmp_path / "a.nii", image, (1, 1, 1, 1), "unknown"))[1] is None
    scaled = nibabel.Nifti1Image(image, np.eye(4))
    scaled.header.set_slope_inter(0.5, 10)
    raw = io.BytesIO()
    scaled.to_file_map({"image": nibabel.FileHolder(fileobj=raw), "header": nibabel.FileHolder(fileobj=raw)})
    header = bytearray(raw.getvalue())
    header[112:120] = struct.pack("<ff", 0.5, 10)
    header[352:] = image.tobytes(order="F")
    (tmp_path / "b.nii").write_bytes(header)
    np.testing.assert_allclose(read_image(tmp_path / "b.nii")[0], 0.5 * image[..., 0].T + 10)


@pytest.mark.parametrize("voxel_size", [(1.0,) * 3, (1.0, 0.0), (1.0, -1.0), (np.nan, 1.0), ()])
def test_nifti_voxel_sizes_that_do_not_fit_are_refused(tmp_path: Path, voxel_size: tuple[float, ...]) -> None:
    assert "voxel size" in refusal(write_image, tmp_path / "a.nii", noise(3, 4), voxel_size=voxel_size).needed
    assert os.listdir(tmp_path) == []


def test_nifti_claims_are_checked(tmp_path: Path) -> None:
    path = nifti(tmp_path / "a.nii", np.zeros((4, 4), np.float32))
    whole = path.read_bytes()
    for sides, word in (((30000,) * 3, "GiB"), ((500,) * 3, "bytes for the shape"), ((8, 8, 1), "could not be read")):
        path.write_bytes(whole[:40] + struct.pack("<8h", 3, *sides, 1, 1, 1, 1) + whole[56:])
        assert word in refusal(read_image, path).got


def test_dicom_is_rescaled(tmp_path: Path) -> None:
    pixels = np.arange(12).reshape(3, 4)
    tags = {"RescaleSlope": 2, "RescaleIntercept": -5, "PixelSpacing": [0.5, 0.25]}
    got, size = read_image(dicom(tmp_path / "a.dcm", pixels, **tags))
    np.testing.assert_array_equal(got, 2 * pixels - 5)
    assert (got.dtype, size) == (np.float32, (0.5, 0.25))
    assert read_array(dicom(tmp_path / "b.dcm", pixels)).dtype == np.uint16
    frames = dicom(tmp_path / "c.dcm", np.arange(24).reshape(2, 3, 4), NumberOfFrames=2)
    assert read_image(frames)[0].shape == (2, 3, 4)


@pytest.mark.parametrize(("name", "rescaled"), [("MR_small.dcm", False), ("CT_small.dcm", True)])
def test_dicom_of_a_scanner(name: str, rescaled: bool) -> None:
    path = pydicom.data.get_testdata_file(name, download=False)
    if path is None:
        pytest.skip("pydicom comes without its test files")
    got, size = read_image(path)
    stored = pydicom.dcmread(path)
    assert size == tuple(stored.PixelSpacing)
    shift = -1024 if rescaled else 0
    np.testing.assert_array_equal(got, stored.pixel_array.astype(float) + shift)


@pytest.mark.parametrize(
    "tags",
    [
        {"PhotometricInterpretation": "PALETTE COLOR"},
        {"PhotometricInterpretation": "RGB"},
        {"PerFrameFunctionalGroupsSequence": []},
    ],
)
def test_dicom_that_is_not_grey_is_refused(tmp_path: Path, tags: dict[str, Any]) -> None:
    assert "dcm2niix" in refusal(read_image, dicom(tmp_path / "a.dcm", np.ones((3, 4)), **tags)).do


def test_dicom_claims_and_deflated_files_are_refused(tmp_path: Path) -> None:
    path = dicom(tmp_path / "a.dcm", np.ones((3, 4)), Rows=60000, Columns=60000)
    assert "bytes for the shape" in refusal(read_image, path).got
    assert "bytes" in refusal(read_image, dicom(tmp_path / "a.dcm", np.ones((3, 4)), Rows=4)).got
    data = pydicom.dcmread(dicom(tmp_path / "a.dcm", np.ones((3, 4))))
    data.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    data.save_as(tmp_path / "b.dcm")
    assert "deflated" in refusal(read_image, tmp_path / "b.dcm").got


# --- bad content, whatever the format --------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [np.nan, np.inf, complex(0, np.nan), complex(np.inf, np.nan)])
def test_nan_and_infinity_are_refused(tmp_path: Path, bad: complex) -> None:
    kspace = noise(3, 4)
    kspace[1, 2] = bad
    write = cfl(tmp_path / "k", "4 3", 12)
    kspace.tofile(write)
    np.savez(tmp_path / "k.npz", kspace=kspace)
    for path in (save(tmp_path / "k.npy", kspace), tmp_path / "k.npz", hdf5(tmp_path / "k.h5", kspace=kspace), write):
        for read in (read_scan, read_array):
            error = refusal(read, path)
            assert "finite" in error.needed
            assert "1 NaN or infinite" in error.got
    for suffix in files.IMAGE_SUFFIXES:
        assert "finite" in refusal(write_image, tmp_path / f"out{suffix}", kspace).needed
    assert not list(tmp_path.glob("*out*"))


@pytest.mark.parametrize("dtype", [np.float32, np.int16, bool])
def test_real_numbers_are_no_kspace(tmp_path: Path, dtype: type) -> None:
    for shape, advice in (((3, 4, 2), "view_as_complex"), ((3, 4), "magnitude")):
        array = np.ones(shape, dtype)
        for path in (save(tmp_path / "k.npy", array), hdf5(tmp_path / "k.h5", kspace=array)):
            error = refusal(read_scan, path, axes=("coil", "y", "x")[: len(shape)])
            assert error.needed == "Complex k-space"
            assert f"{np.dtype(dtype)} of shape {shape}" in error.got
            assert advice in error.do


def test_an_image_file_is_no_kspace(tmp_path: Path) -> None:
    for suffix in (".png", ".nii"):
        write_image(tmp_path / f"image{suffix}", np.ones((3, 4)))
        assert "image" in refusal(read_scan, tmp_path / f"image{suffix}").got
    assert "DICOM image" in refusal(read_scan, dicom(tmp_path / "a.dcm", np.ones((3, 4)))).got


@pytest.mark.parametrize("array", [np.array(["a", "b"]), np.zeros(3, "M8[s]"), np.zeros((0, 4)), np.zeros(2, "i4,f4")])
def test_arrays_without_numbers_are_refused(tmp_path: Path, array: np.ndarray) -> None:
    assert "number" in refusal(read_array, save(tmp_path / "a.npy", array)).needed


class Trap:
    """An object that creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_pickles_are_never_opened(tmp_path: Path) -> None:
    sprung, trap = tmp_path / "sprung", np.empty(1, object)
    trap[0] = Trap(sprung)
    np.save(tmp_path / "a.npy", trap, allow_pickle=True)
    np.savez(tmp_path / "a.npz", kspace=trap, mask=trap)
    (tmp_path / "bare.npy").write_bytes(trap.dumps())
    for path in (tmp_path / "a.npy", tmp_path / "a.npz"):
        for read in (read_scan, read_array):
            assert "pickled" in refusal(read, path, **({"key": "mask"} if path.suffix == ".npz" else {})).got
    assert "known format" in refusal(read_array, tmp_path / "bare.npy").needed
    assert not sprung.exists()
    np.load(tmp_path / "a.npy", allow_pickle=True)
    assert sprung.exists()  # the trap does work


def npy_header(shape: str, descr: str = "'<c8'") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


@pytest.mark.parametrize(
    ("header", "word"),
    [
        (npy_header("(10000000, 10000000)"), "GiB"),
        (npy_header("(100000, 1000)"), "bytes for the shape"),
        (npy_header("(3, 5)"), "96"),
        (npy_header("(3, 3)"), "96"),
        (npy_header("(-3, -4)"), "(-3, -4)"),
        (npy_header("(0, 10000000000000000000000)"), "(0, "),
        (npy_header("(3, 4)", "'|V0'"), "V0"),
        (npy_header("(3, 4)" + " " * 20000), "max_header_size"),
        (npy_header("(3, 4"), "could not be read"),
        (npy_header("__import__('os')"), "could not be read"),
        (npy_header("(3, 4)").replace(b"\x01\x00", b"\x09\x00", 1), "could not be read"),
    ],
)
def test_npy_headers_that_lie_are_refused(tmp_path: Path, header: bytes, word: str) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(header + noise(3, 4).tobytes())
    assert word in refusal(read_array, path).got
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("kspace.npy", path.read_bytes())
    assert word in refusal(read_array, tmp_path / "a.npz").got


def test_zip_bombs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, kspace=np.zeros((512, 512), np.complex64))
    assert read_array(path).shape == (512, 512)  # small ones do no harm
    monkeypatch.setattr(formats, "FREE_BYTES", 2**20)
    assert "100-fold" in refusal(read_array, path).needed
    monkeypatch.setattr(formats, "MAX_BYTES", 2**20)
    assert "at most" in refusal(read_array, path).needed
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("kspace.npy", npy_header("(3, 4)") + bytes(96))
    assert "compression method" in refusal(read_array, path).got


def test_a_damaged_member_of_an_npz_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, kspace=np.ones((3, 4), np.complex64))
    raw = bytearray(path.read_bytes())
    raw[raw.index(b"\x93NUMPY") + 140] ^= 1
    path.write_bytes(raw)
    assert "BadZipFile" in refusal(read_scan, path).got


def samples(folder: Path) -> dict[str, Path]:
    """One small sound file of each format."""
    np.savez_compressed(folder / "a.npz", kspace=noise(3, 4))
    write_image(folder / "a.png", np.arange(120.0).reshape(10, 12))
    write_image(folder / "a.nii.gz", np.abs(noise(5, 6)))
    return {
        "npy": save(folder / "a.npy", noise(3, 4)),
        "npz": folder / "a.npz",
        "hdf5": hdf5(folder / "a.h5", kspace=noise(3, 4)),
        "png": folder / "a.png",
        "nifti": nifti(folder / "a.nii", np.ones((3, 4), np.float32)),
        "nifti.gz": folder / "a.nii.gz",
        "dicom": dicom(folder / "a.dcm", np.ones((3, 4))),
    }


@pytest.mark.parametrize("kind", ["npy", "npz", "hdf5", "png", "nifti", "nifti.gz", "dicom"])
def test_truncated_files_are_refused(tmp_path: Path, kind: str) -> None:
    path = samples(tmp_path)[kind]
    read_array(path)
    whole = path.read_bytes()
    # A gzip file ends in 8 bytes of a checksum that nobody waits for.
    for part in (0, 1, 7, 20, len(whole) // 2, len(whole) - 20):
        path.write_bytes(whole[:part])
        error = refusal(read_array, path)
        assert str(path) in error.needed + error.got


@pytest.mark.parametrize("kind", ["npy", "npz", "png", "nifti", "nifti.gz", "dicom"])
def test_damaged_files_are_read_or_refused(tmp_path: Path, kind: str) -> None:
    path, r = samples(tmp_path)[kind], np.random.default_rng(0)
    whole, refused = path.read_bytes(), 0
    for _ in range(60):
        raw = bytearray(whole)
        for place in r.integers(len(raw), size=3):
            raw[place] = r.integers(256)
        path.write_bytes(raw)
        try:
            read_array(path)
        except BadInput:
            refused += 1
    assert refused > 0


@pytest.mark.parametrize("suffix", [".h5", ".npy", ".npz", ".png", ".dcm", ".nii", ".nii.gz", ".dat", ""])
def test_foreign_files_are_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"foreign{suffix}"
    path.write_bytes(np.random.default_rng(1).bytes(4000))
    for read in (read_scan, read_array, read_image):
        error = refusal(read, path)
        assert "NIfTI or DICOM" in error.needed
        assert "begins with" in error.got
    path.write_bytes(b"")
    assert "empty" in refusal(read_array, path).got


def test_the_content_decides_and_not_the_name(tmp_path: Path) -> None:
    save(tmp_path / "a.npy", noise(3, 4)).rename(tmp_path / "a.h5")
    np.testing.assert_array_equal(read_scan(tmp_path / "a.h5").kspace, noise(3, 4))


def test_gzip_is_opened_only_as_nifti(tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(zlib.compress(bytes(1000), wbits=31))
    assert "known format" in refusal(read_array, tmp_path / "a.gz").needed
    (tmp_path / "a.nii.gz").write_bytes(zlib.compress(bytes(1000), wbits=31))
    assert "NIfTI" in refusal(read_array, tmp_path / "a.nii.gz").needed


def test_paths_that_are_no_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "a folder" in refusal(read_array, tmp_path).got
    assert "does not exist" in refusal(read_scan, tmp_path / "none.h5").got
    assert "does not exist" in refusal(sha256, tmp_path / "none.h5").got
    assert "does not exist" in refusal(read_array, tmp_path / "nu\0l").got
    os.mkfifo(tmp_path / "pipe.npy")
    refusal(read_array, tmp_path / "pipe.npy")
    path = save(tmp_path / "a.npy", noise(3, 4))
    monkeypatch.setattr(os, "access", lambda *args: False)
    assert "may not be read" in refusal(read_array, path).got


@pytest.mark.parametrize(
    ("library", "kind", "extra"),
    [("h5py", "hdf5", "mri"), ("nibabel", "nifti", "images"), ("pydicom", "dicom", "images")],
)
def test_a_missing_library_says_which_extra_brings_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str, kind: str, extra: str
) -> None:
    path = samples(tmp_path)[kind]
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingExtra) as caught:
        read_array(path)
    assert library in caught.value.needed
    assert f"firenet[{extra}]" in caught.value.do


def test_missing_ismrmrd_and_nibabel_for_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = mrd(tmp_path / "scan.h5", mrd_header((1, 1, 8), kept=8), [mrd_line(noise(2, 8))])
    monkeypatch.setitem(sys.modules, "ismrmrd.xsd", None)
    with pytest.raises(MissingExtra, match=r"library ismrmrd.*firenet\[mri\]"):
        read_scan(path)
    monkeypatch.setitem(sys.modules, "nibabel", None)
    for write in (check_output, lambda path: write_image(path, noise(3, 4))):
        with pytest.raises(MissingExtra, match="nibabel"):
            write(tmp_path / "image.nii")


@pytest.mark.parametrize(
    ("module", "below"),
    [
        (formats, {"firenet.safely"}),
        (firenet.hdf5, {"firenet.formats"}),
        (files, {"firenet.formats", "firenet.hdf5"}),
    ],
)
def test_optional_libraries_are_imported_only_where_they_are_used(module: Any, below: set[str]) -> None:
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    roots = set()
    for node in tree.body:
        if isinstance(node, ast.Import):
            roots |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            roots.add(str(node.module))
    assert {root for root in roots if root.partition(".")[0] not in sys.stdlib_module_names} == {
        "numpy",
        "firenet.errors",
        *below,
    }


# --- writing ---------------------------------------------------------------------------------------------------------


def write_any(path: Path) -> None:
    if path.suffix == ".json":
        write_json(path, {"a": 1})
    else:
        write_image(path, noise(4, 4))


SUFFIXES = [".npy", ".png", ".nii", ".nii.gz", ".cfl", ".hdr", ".json"]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("failing", [1, 2])
@pytest.mark.parametrize("kind", [OSError, KeyboardInterrupt])
def test_a_write_that_fails_at_the_end_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, failing: int, kind: type[BaseException]
) -> None:
    calls, original = [], os.replace

    def replace(source: Path, target: Path) -> None:
        calls.append(target)
        if len(calls) == failing:
            raise kind("the disk is full")
        original(source, target)

    monkeypatch.setattr(os, "replace", replace)
    if failing > 1 and suffix not in (".cfl", ".hdr"):
        write_any(tmp_path / f"out{suffix}")  # one file, so no second call
        assert os.listdir(tmp_path) == [f"out{suffix}"]
        return
    with pytest.raises(BadInput if kind is OSError else kind, match="the disk is full"):
        write_any(tmp_path / f"out{suffix}")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("suffix", "writer"),
    [
        (".npy", (np, "save")),
        (".png", (Image.Image, "save")),
        (".nii", (nibabel, "save")),
        (".cfl", (Path, "write_text")),
        (".json", (Path, "write_text")),
    ],
)
def test_a_write_that_fails_halfway_keeps_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, writer: tuple[Any, str]
) -> None:
    path = tmp_path / f"out{suffix}"
    write_any(path)
    before = {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)}

    def interrupted(*args: Any, **kwargs: Any) -> None:
        for target in args:  # some bytes are out when the key is pressed
            if isinstance(target, Path):
                target.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(*writer, interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_any(path)
    assert {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)} == before


def test_outputs_are_checked_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for suffix in files.IMAGE_SUFFIXES:
        assert check_output(tmp_path / f"out{suffix.upper()}") == tmp_path / f"out{suffix.upper()}"
    error = refusal(check_output, tmp_path / "out.tiff")
    assert ".npy, .png, .nii, .nii.gz, .cfl, .hdr" in error.needed
    assert "out.tiff" in refusal(write_image, tmp_path / "out.tiff", noise(3, 4)).got
    assert "existing folder" in refusal(check_output, tmp_path / "none" / "out.png").needed
    (tmp_path / "folder.png").mkdir()
    assert "existing folder" in refusal(check_output, tmp_path / "folder.png").needed
    assert ".json" in refusal(write_json, tmp_path / "out.txt", {}).needed
    too_long = tmp_path / f"{'n' * 300}.png"
    assert "a name that it takes" in refusal(check_output, too_long).needed

    def read_only(*args: object, **kwargs: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("tempfile.NamedTemporaryFile", read_only)  # root may write everywhere else
    error = refusal(check_output, tmp_path / "out.png")
    assert "written to" in error.needed
    assert "Read-only file system" in error.got


def test_images_that_a_format_cannot_hold_are_refused(tmp_path: Path) -> None:
    assert "two or more axes" in refusal(write_image, tmp_path / "a.png", noise(4)).needed
    assert "at most 7 axes" in refusal(write_image, tmp_path / "a.nii", noise(*(1,) * 8)).needed
    assert "each axis" in refusal(write_image, tmp_path / "a.cfl", noise(2, 2, 3, 4)).needed
    assert "each axis" in refusal(write_image, tmp_path / "a.cfl", noise(3, 4), axes=("coil", "y")).needed
    assert "single precision" in refusal(write_image, tmp_path / "a.cfl", np.full((2, 2), 1e300)).needed
    assert "single precision" in refusal(write_image, tmp_path / "a.nii", np.full((2, 2), 1e300)).needed
    assert "numbers" in refusal(write_image, tmp_path / "a.npy", np.array(["text"])).needed
    assert os.listdir(tmp_path) == []


def test_written_files_have_ordinary_rights(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    write_image(tmp_path / "a.png", np.ones((3, 4)))
    assert (tmp_path / "a.png").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_json_records(tmp_path: Path) -> None:
    record = {
        "number": np.float32(0.5),
        "count": np.int64(3),
        "flag": np.bool_(True),
        "array": np.array([[1.0, np.nan], [np.inf, 2.0]]),
        "complex": 1 - 2j,
        "missing": -np.inf,
        "path": tmp_path / "é",
        7: (1, [None, {"deep": np.nan}]),
    }
    write_json(tmp_path / "a.json", record)
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert "é" in text
    assert json.loads(text, parse_constant=pytest.fail) == {
        "firenet": firenet.__version__,
        "number": 0.5,
        "count": 3,
        "flag": True,
        "array": [[1.0, None], [None, 2.0]],
        "complex": [1.0, -2.0],
        "missing": None,
        "path": str(tmp_path / "é"),
        "7": [1, [None, {"deep": None}]],
    }
    with pytest.raises(TypeError):
        write_json(tmp_path / "b.json", {"a": object()})
    assert os.listdir(tmp_path) == ["a.json"]


def test_sha256(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc" * 10**5)
    assert sha256(tmp_path / "a") == hashlib.sha256(b"abc" * 10**5).hexdigest()
