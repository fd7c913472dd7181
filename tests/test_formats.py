"""The formats of BART and of images, there and back."""

from __future__ import annotations

import gzip
import io
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from extras import nibabel, pydicom
from file_seeds import cfl, dicom, nifti, noise, refusal
from firenet.io import stored
from firenet.io.dicom import _refuse
from firenet.io.files import read_array, read_image, read_scan, write_image

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
        ("4 3" + " 1" * 15, "4 3 1"),
        ("9" * 5000, "999"),
        ("", "''"),
    ],
)
def test_cfl_headers_that_do_not_fit_are_refused(tmp_path: Path, dims: str, word: str) -> None:
    assert word in refusal(read_scan, cfl(tmp_path / "k", dims, 24)).got


@pytest.mark.parametrize("dims", ["24", "4 3 1 2" + " 1" * 12])
def test_cfl_headers_of_one_number_and_of_sixteen_are_read(tmp_path: Path, dims: str) -> None:
    assert read_array(cfl(tmp_path / "k", dims, 24)).size == 24


def test_cfl_headers_have_one_section_of_dimensions(tmp_path: Path) -> None:
    """It may stand anywhere; the numbers are those of the line after it."""
    path = cfl(tmp_path / "k", "4 3", 12)
    path.with_suffix(".hdr").write_text("# Command\n# Dimensions\n2 6 \n4 3\n# Files\n")
    assert read_array(path).shape == (6, 2)
    path.with_suffix(".hdr").write_text("# Dimensions\n4 3\n# Dimensions\n4 3\n")
    assert refusal(read_array, path).got == "2 such sections"
    path.with_suffix(".hdr").write_text("4 3\n# Command\nphantom\n")
    assert refusal(read_array, path).got == "'4 3 # Command'"
    path.with_suffix(".hdr").write_text("# Dimensions\n")
    assert refusal(read_array, path).got == "'# Dimensions'"


def test_cfl_needs_both_files_whole(tmp_path: Path) -> None:
    path = cfl(tmp_path / "k", "4 3", 12)
    path.write_bytes(path.read_bytes()[:-1])
    error = refusal(read_scan, path)
    assert ("96 bytes" in error.needed, error.got) == (True, "95")
    path.with_suffix(".hdr").unlink()
    assert "k.hdr, which does not exist" in refusal(read_scan, path).got


@pytest.mark.parametrize(
    ("dims", "named", "axes"), [("4 1 3 2", "coil,z,x", ("coil", "y", "x")), ("1 1 12 2", "coil,y", ("coil", "x"))]
)
def test_cfl_of_phs2_without_phs1_needs_names(tmp_path: Path, dims: str, named: str, axes: tuple[str, ...]) -> None:
    path = cfl(tmp_path / "k", dims, 24)
    assert refusal(read_scan, path).got == named
    assert read_scan(path, axes=axes).axes == axes


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
    Image.fromarray(np.zeros((1000, 1000), np.uint8)).save(tmp_path / "bomb.png")
    assert read_image(tmp_path / "bomb.png")[0].shape == (1000, 1000)  # small ones do no harm
    monkeypatch.setattr(stored, "FREE_BYTES", 2**18)
    assert "100-fold" in refusal(read_image, tmp_path / "bomb.png").needed
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


def test_nifti_extensions_are_not_read(tmp_path: Path) -> None:
    """One that claims 2 GB in a small gzipped file was read into memory before anything else."""
    image = np.arange(12, dtype=np.float32).reshape(3, 4)
    raw = bytearray(nifti(tmp_path / "a.nii", image.T).read_bytes())
    raw[348] = 1
    raw[352:352] = struct.pack("<ii", 2_000_000_000, 6) + bytes(8)
    raw[108:112] = struct.pack("<f", 368)
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(bytes(raw)))
    np.testing.assert_array_equal(read_array(tmp_path / "a.nii.gz"), image)
    # Nor is what lies between header and data, however well it packs.
    raw[108:112] = struct.pack("<f", 2**28)
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(bytes(raw) + bytes(2**24)))
    assert "10 MiB" in refusal(read_array, tmp_path / "b.nii.gz").needed


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
        {"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3},
        {"SamplesPerPixel": 3, "PlanarConfiguration": 0},
        {"SamplesPerPixel": 2},
        {"PerFrameFunctionalGroupsSequence": []},
    ],
)
def test_dicom_that_is_not_grey_is_refused(tmp_path: Path, tags: dict[str, Any]) -> None:
    assert "dcm2niix" in refusal(read_image, dicom(tmp_path / "a.dcm", np.ones((3, 4)), **tags)).do


def test_dicom_without_the_number_of_samples_is_grey() -> None:
    """The field may be left out; what stands in it otherwise has to be 1."""
    data = pydicom.Dataset()
    data.PixelData, data.PhotometricInterpretation = b"", "MONOCHROME2"
    _refuse(pydicom, data, pydicom.uid.ExplicitVRLittleEndian, Path("a.dcm"))
    data.SamplesPerPixel = 2
    assert "in colour" in refusal(_refuse, pydicom, data, pydicom.uid.ExplicitVRLittleEndian, Path("a.dcm")).got


def test_dicom_claims_and_deflated_files_are_refused(tmp_path: Path) -> None:
    path = dicom(tmp_path / "a.dcm", np.ones((3, 4)), Rows=60000, Columns=60000)
    assert "bytes for the shape" in refusal(read_image, path).got
    assert "bytes" in refusal(read_image, dicom(tmp_path / "a.dcm", np.ones((3, 4)), Rows=4)).got
    data = pydicom.dcmread(dicom(tmp_path / "a.dcm", np.ones((3, 4))))
    data.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    data.save_as(tmp_path / "b.dcm")
    assert "deflated" in refusal(read_image, tmp_path / "b.dcm").got
