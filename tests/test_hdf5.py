"""HDF5: fastMRI, ISMRMRD, and the process in which they are read."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from extras import h5py, ismrmrd
from file_seeds import hdf5, mrd, mrd_header, mrd_line, noise, read_here, refusal
from firenet.io import apart, hdf5 as hdf5_reader, stored
from firenet.io.files import read_array, read_image, read_scan

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
    np.testing.assert_array_equal(read_scan(path).kspace, noise(3, 4))  # the only one
    with h5py.File(path, "a") as file:
        file["scans/more/second"] = noise(3, 4)
        file["scans/more/circle"] = file["scans"]
    assert "scans/first, scans/more/" in refusal(read_scan, path).got
    assert "no arrays" in refusal(read_scan, hdf5(path)).got


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
    monkeypatch.setattr(stored, "FREE_BYTES", 2**20)
    for key in ("bomb", "chunk"):
        assert "100-fold" in refusal(read_here, path, key, "array").needed


@pytest.mark.parametrize("chunks", [None, (1, 2, 3), (3, 4, 5), (5, 4, 5)])
def test_hdf5_pieces_make_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunks: tuple[int, ...]) -> None:
    kspace, sent = noise(7, 4, 5).astype(">c16"), io.BytesIO()
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("kspace", data=kspace, chunks=chunks)
    np.testing.assert_array_equal(read_scan(tmp_path / "a.h5").kspace, kspace)
    monkeypatch.setattr(apart, "PIECE", 700)  # two slices and a bit
    with hdf5_reader.opened(tmp_path / "a.h5", None, "kspace") as stored:
        apart._answer(sent, stored)
    rows = 2 if chunks is None or chunks[0] == 1 else chunks[0]
    assert sent.getvalue().count(b'{"bytes": ') == -(-7 // rows)
    sent.seek(0)
    np.testing.assert_array_equal(apart._received(sent).array, kspace)


def test_hdf5_damage_in_a_late_piece_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        kspace = file.create_dataset("kspace", data=noise(9, 64, 64), chunks=(1, 64, 64), fletcher32=True)
        place = kspace.id.get_chunk_info(8).byte_offset
    raw = bytearray(path.read_bytes())
    raw[place + 100] ^= 1
    path.write_bytes(raw)
    assert "filter returned failure during read" in refusal(read_scan, path).got


# --- ISMRMRD ---------------------------------------------------------------------------------------------------------


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
    assert scan.notes == ("Lines that were measured up to 3 times are averaged.",)


@pytest.mark.parametrize(
    "kind", ["NOISE_MEASUREMENT", "NAVIGATION_DATA", "PHASECORR_DATA", "PARALLEL_CALIBRATION", "DUMMYSCAN_DATA"]
)
def test_ismrmrd_skips_lines_that_are_no_image(tmp_path: Path, kind: str) -> None:
    kspace, flag = noise(2, 2, 8), getattr(ismrmrd, f"ACQ_IS_{kind}")
    lines = [mrd_line(noise(2, 20), flag=flag, repetition=3), *(mrd_line(kspace[:, y], y=y) for y in range(2))]
    path = mrd(tmp_path / "scan.h5", mrd_header((1, 2, 8), kept=8), lines)
    np.testing.assert_array_equal(read_scan(path).kspace[0], kspace)
    (tmp_path / "scan.h5").unlink()
    assert "no imaging lines" in refusal(read_scan, mrd(path, mrd_header((1, 2, 8), kept=8), lines[:1])).got


def test_ismrmrd_lines_are_read_in_blocks_wherever_they_stand(tmp_path: Path) -> None:
    """70 imaging lines: the first 64 follow each other, between the others are 30 lines of noise each."""
    kspace = noise(1, 70, 4)
    other = mrd_line(noise(1, 4), flag=ismrmrd.ACQ_IS_NOISE_MEASUREMENT)
    lines = [other, *(mrd_line(kspace[:, y], y=y) for y in range(64))]
    for y in range(64, 70):
        lines += [mrd_line(kspace[:, y], y=y), *[other] * 30]
    scan = read_scan(mrd(tmp_path / "scan.h5", mrd_header((1, 70, 4), kept=4), lines))
    np.testing.assert_array_equal(scan.kspace[0], kspace)
    assert scan.notes == ("Lines that are not part of the image were left out: 181 of noise.",)


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
        (mrd_header((2, 4, 8), kept=8), {"z": 3}, "x 0 to 7, y 0 to 0, z 3 to 3"),
        (mrd_header((1, 4, 8), kept=8), {"slice": 2}, "1 of 3 slices"),
        (mrd_header((1, 4, 8), kept=8), {"center_sample": 7}, "x -3 to 4"),
        (mrd_header((1, 4, 8), kept=8), {"flag": 22}, "reversed"),  # ismrmrd.ACQ_IS_REVERSE
        (mrd_header((1, 4, 8), kept=8).replace("<x>8</x>", "<x>0</x>"), {}, "x=0"),
        (mrd_header((1, 4, 8), kept=8).replace("<x>8</x>", "<x>99999999999</x>"), {}, "GiB"),
        ("", {}, "empty"),
        (mrd_header((1, 4, 8), kept=8)[:200], {}, "line 1, column 171"),
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
