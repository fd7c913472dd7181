"""files: what axes and masks mean, every way in which a file from outside can be wrong, and writing."""

from __future__ import annotations

import ast
import hashlib
import itertools
import json
import os
import sys
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import firenet
from file_seeds import cfl, dicom, hdf5, noise, npy_header, refusal, sample, save
from firenet.errors import BadInput
from firenet.io import apart, files, numpy_files, stored
from firenet.io.files import AXES, check_output, read_array, read_image, read_scan, sha256, write_image, write_json

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
    path = Path(files.__file__).parents[1] / "data" / "twix_gre_phantom_2ch.npz"
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
        (np.array([[[[[1, 0, 0, 1, 1]]]]]), ("coil", "y", "x")),
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
        (np.ones((1, 3, 1, 1)), "(4, 5)"),
        (np.ones((2, 1, 1, 5)), "(4, 5)"),
        (np.arange(60).reshape(3, 4, 5) // 30, "all slices and coils"),
    ],
)
def test_a_mask_that_is_none_is_refused(tmp_path: Path, mask: np.ndarray, word: str) -> None:
    np.savez(tmp_path / "k.npz", kspace=noise(3, 4, 5), mask=mask)
    assert word in refusal(read_scan, tmp_path / "k.npz", axes=("coil", "y", "x")).needed


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
        (npy_header("(3, 4)" + " " * 20000), "a claim of 20060 bytes"),
        (npy_header("(3, 4"), "could not be read"),
        (npy_header("__import__('os')"), "could not be read"),
        (npy_header("(3, 4)").replace(b"\x01\x00", b"\x09\x00", 1), "version 9.0"),
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
    monkeypatch.setattr(stored, "FREE_BYTES", 2**20)
    assert "100-fold" in refusal(read_array, path).needed
    monkeypatch.setattr(stored, "MAX_BYTES", 2**20)
    assert "at most" in refusal(read_array, path).needed
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("kspace.npy", npy_header("(3, 4)") + bytes(96))
    assert "compression method" in refusal(read_array, path).got


def test_npz_lists_of_very_many_members_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.comment = b"words" * 1000
        for number in range(100):
            archive.writestr(f"{number}.npy", npy_header("(3, 4)") + bytes(96))
    assert read_array(path, key="7").shape == (3, 4)
    monkeypatch.setattr(numpy_files, "MAX_HEADER", 2**12)
    assert "a list of" in refusal(read_array, path, key="7").got
    with zipfile.ZipFile(path, "w") as archive:
        monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 10)  # beyond which an archive is one of 64 bits
        for number in range(100):
            archive.writestr(f"{number}.npy", b"")
    assert b"PK\6\6" in path.read_bytes()
    assert "a list of" in refusal(read_array, path, key="7").got


def test_a_damaged_member_of_an_npz_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, kspace=np.ones((3, 4), np.complex64))
    raw = bytearray(path.read_bytes())
    raw[raw.index(b"\x93NUMPY") + 140] ^= 1
    path.write_bytes(raw)
    assert "BadZipFile" in refusal(read_scan, path).got


@pytest.mark.parametrize("kind", ["npy", "npz", "hdf5", "png", "nifti", "nifti.gz", "dicom"])
def test_truncated_files_are_refused(tmp_path: Path, kind: str) -> None:
    path = sample(tmp_path, kind)
    read_array(path)
    whole = path.read_bytes()
    # A gzip file ends in 8 bytes of a checksum that nobody waits for.
    for part in (0, 1, 7, 20, len(whole) // 2, len(whole) - 20):
        path.write_bytes(whole[:part])
        error = refusal(read_array, path)
        assert str(path) in error.needed + error.got


@pytest.mark.parametrize("kind", ["npy", "npz", "png", "nifti", "nifti.gz", "dicom"])
def test_damaged_files_are_read_or_refused(tmp_path: Path, kind: str) -> None:
    path, r = sample(tmp_path, kind), np.random.default_rng(0)
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
    assert "no regular file" in refusal(read_array, tmp_path / "pipe.npy").got
    path = save(tmp_path / "a.npy", noise(3, 4))
    monkeypatch.setattr(os, "access", lambda *args: False)
    assert "may not be read" in refusal(read_array, path).got


@pytest.mark.parametrize("path", sorted(Path(apart.__file__).parent.glob("*.py")), ids=lambda path: path.name)
def test_optional_libraries_are_imported_only_where_they_are_used(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    roots = set()
    for node in ast.walk(ast.Module([n for n in tree.body if not isinstance(n, ast.FunctionDef)], [])):
        if isinstance(node, ast.Import):
            roots |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            roots.add(str(node.module).partition(".")[0])
    allowed = {"numpy", "firenet"} | ({"torch"} if path.name == "tensors.py" else set())  # weights are tensors
    assert roots - set(sys.stdlib_module_names) <= allowed


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
        (".npy", "numpy.save"),
        (".png", "PIL.Image.Image.save"),
        (".nii", "nibabel.save"),
        (".cfl", "pathlib.Path.write_text"),
        (".json", "pathlib.Path.write_text"),
    ],
)
def test_a_write_that_fails_halfway_keeps_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, writer: str
) -> None:
    path = tmp_path / f"out{suffix}"
    write_any(path)
    before = {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)}

    def interrupted(*args: Any, **kwargs: Any) -> None:
        for target in args:  # some bytes are out when the key is pressed
            if isinstance(target, Path):
                target.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(writer, interrupted)
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
