"""The entries of `format_features` for formats of images, and for files of other formats."""

from __future__ import annotations

import functools
import gzip
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

from extras import nibabel, pydicom
from file_seeds import dicom, nifti, noise, refusal
from firenet.io.files import read_array, read_image, read_scan
from format_features import feature

K = noise(3, 4)
GREY = np.arange(12, dtype=np.uint8).reshape(3, 4)


def call(read: Any, *args: Any, **kwargs: Any) -> Any:
    return functools.partial(read, *args, **kwargs)


# --- PNG -------------------------------------------------------------------------------------------------------------


def png(path: Path, size: tuple[int, int], bits: int, interlaced: int, rows: bytes) -> Path:
    """A grey PNG, chunk by chunk."""
    raw = b"\x89PNG\r\n\x1a\n"
    header = struct.pack(">IIBBBBB", *size, bits, 0, 0, 0, interlaced)
    for name, data in ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")):
        raw += struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    path.write_bytes(raw)
    return path


@feature("PNG", "grey in 1, 8, 16 bits")
def _(f: Path) -> Any:
    wanted = [GREY > 3, GREY, GREY * np.uint16(5000)]
    for array in wanted:
        Image.fromarray(array).save(f / f"{array.dtype}.png")
    return [read_array(f / f"{array.dtype}.png") for array in wanted], wanted


@feature("PNG", "grey in 2, 4 bits", detail="white as 255")
def _(f: Path) -> Any:
    return read_array(png(f / "a.png", (4, 1), 2, 0, bytes([0, 0b00011011]))), [[0, 85, 170, 255]]


@feature("PNG", "interlaced")
def _(f: Path) -> Any:
    return read_array(png(f / "a.png", (2, 2), 8, 1, bytes([0, 1, 0, 2, 0, 3, 4]))), [[1, 2], [3, 4]]


@feature("PNG", "gamma, profiles, text, size of pixels", detail="not applied, values are those of the pixels")
def _(f: Path) -> Any:
    info = PngImagePlugin.PngInfo()
    info.add(b"gAMA", struct.pack(">I", 45455))
    Image.fromarray(GREY).save(f / "a.png", pnginfo=info, dpi=(300, 300))
    return read_array(f / "a.png"), GREY


@feature("PNG", "colour, palettes, alpha", "refused")
def _(f: Path) -> Any:
    Image.fromarray(GREY).convert("LA").save(f / "a.png")
    return call(read_array, f / "a.png")


@feature("PNG", "transparent grey, several frames (APNG)", "refused")
def _(f: Path) -> Any:
    one = Image.fromarray(GREY)
    one.save(f / "b.png", transparency=0)
    refusal(read_array, f / "b.png")
    one.save(f / "a.png", save_all=True, append_images=[Image.fromarray(GREY + 1)])
    return call(read_array, f / "a.png")


# --- NIfTI -----------------------------------------------------------------------------------------------------------


@feature("NIfTI", "1 and 2, .nii, .nii.gz, pairs (.hdr, .img), either byte order")
def _(f: Path) -> Any:
    v = GREY.T.astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(v, np.eye(4)), f / "a.nii.gz")
    nibabel.save(nibabel.Nifti2Image(v, np.eye(4)), f / "b.nii")
    nibabel.save(nibabel.Nifti1Pair(v, np.eye(4)), f / "c.img")
    nibabel.save(nibabel.Nifti2Pair(v, np.eye(4)), f / "e.img")
    big = nibabel.Nifti1Image(v, np.eye(4), nibabel.Nifti1Header(endianness=">"))
    nibabel.save(big, f / "d.nii")
    names = ("a.nii.gz", "b.nii", "c.img", "c.hdr", "d.nii", "e.hdr")
    return [read_array(f / name) for name in names], [GREY] * 6


@feature("NIfTI", "slope and intercept; integers, floating point, long double, complex numbers; four and more axes")
def _(f: Path) -> Any:
    nibabel.save(nibabel.Nifti1Image(noise(2, 3, 4, 5), np.eye(4)), f / "a.nii")
    path = nifti(f / "b.nii", GREY.T.astype(np.int16))
    raw = bytearray(path.read_bytes())
    raw[112:120] = struct.pack("<ff", 0.5, 10)
    path.write_bytes(raw)
    np.testing.assert_array_equal(read_array(path), 0.5 * GREY + 10)
    return read_array(f / "a.nii"), noise(2, 3, 4, 5).T


@feature("NIfTI", "voxel sizes in m, mm, µm; orientation and extensions", detail="but for orientation and extensions")
def _(f: Path) -> Any:
    image = nibabel.Nifti1Image(GREY.T, np.diag([-2, -3, 1, 1]))
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"words"))
    image.header.set_xyzt_units("meter")
    nibabel.save(image, f / "a.nii")
    got, voxels = read_image(f / "a.nii")
    assert voxels == (3000, 2000)
    return got, GREY


@feature("NIfTI", "more than 10 MiB before the data", "refused")
def _(f: Path) -> Any:
    raw = bytearray(nifti(f / "b.nii", GREY).read_bytes())
    raw[108:112] = struct.pack("<f", 2e9)
    (f / "a.nii.gz").write_bytes(gzip.compress(bytes(raw)))
    return call(read_array, f / "a.nii.gz")


@feature("NIfTI", "colours (RGB, RGBA)", "refused")
def _(f: Path) -> Any:
    nibabel.save(nibabel.Nifti1Image(np.zeros((3, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")]), np.eye(4)), f / "a.nii")
    return call(read_array, f / "a.nii")


@feature("NIfTI", "Analyze 7.5, its forerunner", "refused")
def _(f: Path) -> Any:
    nibabel.save(nibabel.AnalyzeImage(GREY.astype(np.int16), np.eye(4)), f / "a.img")
    return call(read_array, f / "a.img")


@feature("NIfTI", "k-space in it, also in DICOM and PNG", "refused")
def _(f: Path) -> Any:
    nibabel.save(nibabel.Nifti1Pair(K, np.eye(4)), f / "a.img")
    refusal(read_scan, f / "a.img")
    nibabel.save(nibabel.Nifti1Image(K, np.eye(4)), f / "a.nii")
    return call(read_scan, f / "a.nii")


# --- DICOM -----------------------------------------------------------------------------------------------------------


def packed(path: Path, syntax: str) -> Path:
    data = pydicom.dcmread(dicom(path, GREY))
    data.compress(syntax)
    data.save_as(path, enforce_file_format=True)
    return path


@feature("DICOM", "implicit and explicit, big endian, RLE, lossless JPEG 2000")
def _(f: Path) -> Any:
    names = ["MR_small", "MR_small_implicit", "MR_small_bigendian", "MR_small_RLE", "MR_small_jp2klossless"]
    folder = Path(pydicom.__file__).parent / "data" / "test_files"
    first, *others = [read_array(folder / f"{name}.dcm") for name in names]
    return others, [first] * 4


@feature("DICOM", "8, 16, 32 bits, signed, fewer bits stored")
def _(f: Path) -> Any:
    signed = dicom(f / "b.dcm", -GREY.astype(np.int16), PixelRepresentation=1)
    twelve = dicom(f / "c.dcm", -GREY.astype(np.int16) & 0xFFF, PixelRepresentation=1, BitsStored=12, HighBit=11)
    byte = dicom(f / "d.dcm", GREY, BitsAllocated=8, BitsStored=8, HighBit=7, PixelData=GREY.tobytes())
    long = dicom(f / "e.dcm", GREY, BitsAllocated=32, BitsStored=32, HighBit=31, PixelData=GREY.astype("<u4").tobytes())
    return [-read_array(signed), -read_array(twelve), read_array(byte), read_array(long)], [GREY] * 4


@feature(
    "DICOM", "slope and intercept, of doses too; spacing of pixels; windows and overlays", detail="but for the last two"
)
def _(f: Path) -> Any:
    tags = {"RescaleSlope": 2, "RescaleIntercept": -5, "PixelSpacing": [3, 2], "WindowCenter": 3, "WindowWidth": 1}
    got, voxels = read_image(dicom(f / "a.dcm", GREY, **tags))
    assert voxels == (3, 2)
    np.testing.assert_array_equal(read_image(dicom(f / "b.dcm", GREY, DoseGridScaling=0.5))[0], GREY / 2)
    return got, 2.0 * GREY - 5


@feature("DICOM", "padding around the image", detail="with the smallest value of the others")
def _(f: Path) -> Any:
    padded = np.where(GREY < 3, 2000, GREY.astype(int))
    upside_down = read_image(dicom(f / "b.dcm", padded, PixelPaddingValue=2000, RescaleSlope=-1))[0]
    np.testing.assert_array_equal(upside_down, np.where(GREY < 3, -float(GREY.max()), -1.0 * GREY))
    return read_image(dicom(f / "a.dcm", padded, PixelPaddingValue=2000))[0], np.maximum(GREY, 3)


@feature("DICOM", "several frames of equal scale")
def _(f: Path) -> Any:
    return read_array(dicom(f / "a.dcm", np.stack([GREY, 2 * GREY]), NumberOfFrames=2)), [GREY, 2 * GREY]


@feature("DICOM", "enhanced multi-frame, colour, no pixels (reports, DICOMDIR)", "refused")
def _(f: Path) -> Any:
    return call(read_image, dicom(f / "a.dcm", GREY, PerFrameFunctionalGroupsSequence=[]))


@feature("DICOM", "zero as white (MONOCHROME1)", "refused")
def _(f: Path) -> Any:
    return call(read_image, dicom(f / "a.dcm", GREY, PhotometricInterpretation="MONOCHROME1"))


@feature("DICOM", "values in a table (Modality LUT)", "refused")
def _(f: Path) -> Any:
    return call(read_image, dicom(f / "a.dcm", GREY, ModalityLUTSequence=[pydicom.Dataset()]))


@feature("DICOM", "JPEG-LS, JPEG lossless and what else has no decoder here", "refused")
def _(f: Path) -> Any:
    path = packed(f / "a.dcm", pydicom.uid.RLELossless)
    data = pydicom.dcmread(path)
    data.file_meta.TransferSyntaxUID = pydicom.uid.HTJ2KLossless
    data.save_as(path, enforce_file_format=True)
    return call(read_image, path)


@feature("DICOM", "deflated", "refused")
def _(f: Path) -> Any:
    data = pydicom.dcmread(dicom(f / "a.dcm", GREY))
    data.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    data.save_as(f / "a.dcm")
    return call(read_image, f / "a.dcm")


@feature("DICOM", "no preamble", "refused")
def _(f: Path) -> Any:
    path = dicom(f / "a.dcm", GREY)
    path.write_bytes(path.read_bytes()[132:])
    return call(read_image, path)


# --- files of other formats -------------------------------------------------------------------------------------------

FOREIGN = {
    "MATLAB 5 (.mat)": ("a.mat", b"MATLAB 5.0 MAT-file"),
    "TIFF": ("a.tif", b"II*\0"),
    "JPEG": ("a.jpg", b"\xff\xd8\xff\xe0"),
    "NRRD, MetaImage": ("a.nrrd", b"NRRD0004\n"),
    "raw data of Siemens (.dat), GE (.7), Philips (.lab, .raw, .sin), Bruker (fid)": ("a.dat", b"\0\0\0\0\2\0\0\0"),
    "FreeSurfer (.mgh, .mgz)": ("a.mgz", b"\x1f\x8b"),
    "pickles": ("a.pkl", b"\x80\4\x95"),
    "an .img without its .hdr": ("a.img", b"\0\1\0\2"),
    "RA": ("a.ra", b"rawarray"),
    "gzipped files other than .nii.gz": ("a.npy.gz", b"\x1f\x8b"),
    "anything else": ("a.bin", b"anything"),
}


def _foreign(name: str, head: bytes, f: Path) -> Any:
    (f / name).write_bytes(head + bytes(400))
    return call(read_array, f / name)


for _text, (_name, _head) in FOREIGN.items():
    feature("others", _text, "refused")(functools.partial(_foreign, _name, _head))
