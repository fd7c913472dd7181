"""The entries of `format_features`, format by format."""

from __future__ import annotations

import functools
import gzip
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from file_seeds import cfl, dicom, hdf5, mrd, mrd_header, mrd_line, nifti, noise, npy_header, refusal, save
from firenet.files import read_array, read_image, read_scan
from format_features import feature

h5py = pytest.importorskip("h5py")
nibabel = pytest.importorskip("nibabel")
pydicom = pytest.importorskip("pydicom")

K = noise(3, 4)
GREY = np.arange(12, dtype=np.uint8).reshape(3, 4)


def call(read: Any, *args: Any, **kwargs: Any) -> Any:
    return functools.partial(read, *args, **kwargs)


# --- npy -------------------------------------------------------------------------------------------------------------


@feature("npy", "Fortran order, big endian")
def _(f: Path) -> Any:
    return read_scan(save(f / "a.npy", np.asfortranarray(K.astype(">c16")))).kspace, K


@feature("npy", "long double", detail="in double precision")
def _(f: Path) -> Any:
    return read_scan(save(f / "a.npy", K.astype(np.clongdouble))).kspace, K.astype(np.complex128)


@feature("npy", "bool, integers, half precision, of masks and images", detail="images in single or double precision")
def _(f: Path) -> Any:
    kinds = [bool, np.int8, np.uint16, np.int64, np.float16]
    return [read_image(save(f / "a.npy", GREY.astype(k)))[0] for k in kinds], [GREY.astype(k) for k in kinds]


@feature("npy", "records of a real and an imaginary part")
def _(f: Path) -> Any:
    return read_scan(save(f / "a.npy", K.view([("real", "f4"), ("imag", "f4")]))).kspace, K


@feature("npy", "other records", "refused")
def _(f: Path) -> Any:
    return call(read_array, save(f / "a.npy", np.zeros(3, "i4,f4")))


@feature("npy", "objects (pickles), text, dates", "refused")
def _(f: Path) -> Any:
    (f / "a.npy").write_bytes(npy_header("(3, 4)", "'|O'") + bytes(96))
    return call(read_array, f / "a.npy")


@feature("npy", "real and imaginary parts along a last axis of 2", "refused")
def _(f: Path) -> Any:
    return call(read_scan, save(f / "a.npy", np.zeros((3, 4, 2))))


@feature("npy", "version 2.0")
def _(f: Path) -> Any:
    with (f / "a.npy").open("wb") as file:
        np.lib.format.write_array(file, K, version=(2, 0))
    return read_scan(f / "a.npy").kspace, K


@feature("npy", "version 3.0, of records only", "refused")
def _(f: Path) -> Any:
    with (f / "a.npy").open("wb") as file:
        np.lib.format.write_array(file, K, version=(3, 0))
    return call(read_scan, f / "a.npy")


@feature("npy", "headers of more than 10,000 bytes", "refused")
def _(f: Path) -> Any:
    (f / "a.npy").write_bytes(b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**30))
    return call(read_array, f / "a.npy")


@feature("npy", "no axis (0-d), no numbers", "refused")
def _(f: Path) -> Any:
    return call(read_array, save(f / "a.npy", np.array(1.0)))


@feature("npy", "NaN, infinity", "refused")
def _(f: Path) -> Any:
    return call(read_array, save(f / "a.npy", np.array([1.0, np.nan])), purpose="mask")


@feature("npy", "more or less bytes than the header says", "refused")
def _(f: Path) -> Any:
    path = save(f / "a.npy", K)
    path.write_bytes(path.read_bytes() + b"more")
    return call(read_array, path)


# --- npz -------------------------------------------------------------------------------------------------------------


@feature("npz", "`kspace` among several arrays, or the only one; `mask` beside it; others by `--key`; deflated")
def _(f: Path) -> Any:
    np.savez_compressed(f / "a.npz", kspace=K, mask=GREY % 2, other=2 * K)
    scan = read_scan(f / "a.npz")
    assert scan.mask is not None
    return [scan.kspace, scan.mask, read_scan(f / "a.npz", key="other").kspace], [K, GREY % 2, 2 * K]


@feature("npz", "several arrays of other names", "refused")
def _(f: Path) -> Any:
    np.savez(f / "a.npz", a=K, b=K)
    return call(read_scan, f / "a.npz")


@feature("npz", "one name twice", "refused")
def _(f: Path) -> Any:
    np.savez(f / "a.npz", kspace=K, kspacf=K)
    (f / "a.npz").write_bytes((f / "a.npz").read_bytes().replace(b"kspacf", b"kspace"))
    return call(read_scan, f / "a.npz")


@feature("npz", "bzip2, lzma", "refused")
def _(f: Path) -> Any:
    with zipfile.ZipFile(f / "a.npz", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("kspace.npy", save(f / "k.npy", K).read_bytes())
    return call(read_scan, f / "a.npz")


@feature("npz", "encrypted", "refused")
def _(f: Path) -> Any:
    np.savez(f / "a.npz", kspace=K)
    raw = bytearray((f / "a.npz").read_bytes())
    raw[6] |= 1
    raw[raw.index(b"PK\x01\x02") + 8] |= 1
    (f / "a.npz").write_bytes(raw)
    return call(read_scan, f / "a.npz")


@feature("npz", "other archives: .pt, .docx", "refused")
def _(f: Path) -> Any:
    with zipfile.ZipFile(f / "a.pt", "w") as archive:
        archive.writestr("archive/data.pkl", b"pickle")
    return call(read_scan, f / "a.pt")


# --- HDF5 ------------------------------------------------------------------------------------------------------------


@feature("HDF5", "fastMRI: `kspace` (slice, y, x) or (slice, coil, y, x), `mask` of one axis or more")
def _(f: Path) -> Any:
    k, mask = noise(2, 3, 4, 5), np.array([1, 0, 0, 1, 1.0], np.float32)
    scan = read_scan(hdf5(f / "a.h5", kspace=k, mask=mask))
    assert (scan.axes, scan.readout) == (("slice", "coil", "y", "x"), "y")
    assert scan.mask is not None
    np.testing.assert_array_equal(scan.mask, np.broadcast_to(mask, (4, 5)))
    return scan.kspace, k


@feature("HDF5", "fastMRI: voxels and thickness of `ismrmrd_header`; `reconstruction_rss` by `--key`")
def _(f: Path) -> Any:
    path = hdf5(
        f / "a.h5", kspace=noise(2, 6, 8), ismrmrd_header=mrd_header((1, 8, 6), kept=3), reconstruction_rss=GREY
    )
    np.testing.assert_array_equal(read_array(path, key="reconstruction_rss"), GREY)
    return [*(read_scan(path).voxel_size or ()), read_scan(path).slice_thickness], [1, 2, 3]


@feature("HDF5", "more axes than have names: averages of fastMRI, with slices, coils, z, y and x", "refused")
def _(f: Path) -> Any:
    return call(read_scan, hdf5(f / "a.h5", kspace=noise(2, 2, 1, 2, 3, 4)))


@feature("HDF5", "complex numbers, pairs (real, imag) or (r, i), any byte order, half precision")
def _(f: Path) -> Any:
    pairs = np.empty(K.shape, [("real", ">f2"), ("imag", ">f2")])
    pairs["real"], pairs["imag"] = np.real(K), np.imag(K)
    return read_scan(hdf5(f / "a.h5", kspace=pairs)).kspace, np.real(K).astype("f2") + 1j * np.imag(K).astype("f2")


@feature("HDF5", "chunks; gzip, lzf, shuffle, checksums; datasets in groups by `--key g/name`")
def _(f: Path) -> Any:
    with h5py.File(f / "a.h5", "w") as file:
        file.create_dataset("g/a", data=K, chunks=(2, 2), compression="gzip", shuffle=True, fletcher32=True)
        file.create_dataset("g/b", data=K, chunks=(2, 2), compression="lzf")
    return [read_scan(f / "a.h5", key=key).kspace for key in ("g/a", "g/b")], [K, K]


@feature("HDF5", "filters that are plugins (blosc, bitshuffle, zstd)", "refused")
def _(f: Path) -> Any:
    with h5py.File(f / "a.h5", "w") as file:
        creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        creation.set_chunk((3, 4))
        creation.set_filter(32001, h5py.h5z.FLAG_OPTIONAL, ())
        kind = h5py.h5t.py_create(K.dtype, logical=True)
        h5py.h5d.create(file.id, b"kspace", kind, h5py.h5s.create_simple((3, 4)), creation)
        file["kspace"][...] = K
    return call(read_scan, f / "a.h5")


@feature("HDF5", "links to other files, external and virtual storage", "refused")
def _(f: Path) -> Any:
    with h5py.File(f / "a.h5", "w") as file:
        file["g/k"] = h5py.ExternalLink(str(hdf5(f / "b.h5", kspace=K)), "/kspace")
    return call(read_scan, f / "a.h5", key="g/k")


@feature("HDF5", "text, references, data that were never written", "refused")
def _(f: Path) -> Any:
    return call(read_array, hdf5(f / "a.h5", words="text"))


@feature("HDF5", "MATLAB 7.3 (.mat)", "named")
def _(f: Path) -> Any:
    with h5py.File(f / "a.mat", "w", userblock_size=512) as file:
        file["kspace"] = K.T
        file["kspace"].attrs["MATLAB_class"] = b"single"
    scan = read_scan(f / "a.mat", axes=("x", "y"))
    np.testing.assert_array_equal(scan.kspace, K)
    return scan.notes


# --- ISMRMRD ---------------------------------------------------------------------------------------------------------


def scanned(f: Path, lines: list[Any], header: str = "", **kwargs: Any) -> Any:
    return read_scan(mrd(f / "a.h5", header or mrd_header((1, 2, 8), kept=8), lines), **kwargs)


def lines(**head: int) -> list[Any]:
    k = noise(2, 2, 8)
    return [mrd_line(k[:, y], y=y, **head) for y in range(2)]


@feature("ISMRMRD", "slices, coils, partitions (step 2), oversampled readouts (encoded and reconstructed space)")
def _(f: Path) -> Any:
    k = noise(3, 4, 2, 8)
    several = [mrd_line(k[:, z, y], z=z, y=y) for z in range(4) for y in range(2)]
    scan = scanned(f, several, mrd_header((4, 2, 8), kept=4))
    assert (scan.axes, scan.readout_oversampling, scan.voxel_size) == (("slice", "coil", "z", "y", "x"), 2, (3, 2, 1))
    return scan.kspace[0], k


@feature("ISMRMRD", "partial Fourier (limits), asymmetric echoes (center_sample), discard_pre, discard_post")
def _(f: Path) -> Any:
    k = noise(2, 3, 5)
    several = [mrd_line(k[:, y], y=y, center_sample=1, discard_post=1) for y in range(3)]
    wanted = np.zeros((2, 6, 8), np.complex64)
    wanted[:, 3:6, 3:7] = k[:, :, :4]
    return scanned(f, several, mrd_header((1, 6, 8), kept=8, centre=0)).kspace[0], wanted


@feature("ISMRMRD", "lines measured several times (averages, segments)", "named")
def _(f: Path) -> Any:
    return scanned(f, lines(average=0) + lines(average=1, segment=3)).notes


@feature("ISMRMRD", "noise, calibration, navigator, phase correction, feedback, dummy lines", "named")
def _(f: Path) -> Any:
    k = noise(2, 2, 8)
    other = [mrd_line(noise(2, 20), flag=flag) for flag in (19, 19, 20, 23, 24, 26, 27, 28, 29, 30, 31)]
    scan = scanned(f, other + lines())
    np.testing.assert_array_equal(scan.kspace[0], k)
    return scan.notes


@feature("ISMRMRD", "calibration lines that are also imaging lines")
def _(f: Path) -> Any:
    several = lines(flag=20)
    for line in several:
        line.set_flag(21)
    return scanned(f, several).kspace[0], noise(2, 2, 8)


@feature("ISMRMRD", "contrasts, phases, repetitions, sets, several encodings", "refused")
def _(f: Path) -> Any:
    return call(scanned, f, lines(contrast=0) + lines(contrast=1))


@feature("ISMRMRD", "reversed lines, trajectory `epi`", "refused")
def _(f: Path) -> Any:
    return call(scanned, f, lines(flag=22))


@feature("ISMRMRD", "other trajectories: radial, spiral", "refused")
def _(f: Path) -> Any:
    return call(scanned, f, lines(), mrd_header((1, 2, 8), kept=8, trajectory="spiral"))


@feature("ISMRMRD", "Cartesian lines with a trajectory of their own", "named")
def _(f: Path) -> Any:
    several = []
    for y in range(2):
        line = mrd_line(noise(2, 2, 8)[:, y])
        line.resize(8, 2, 1)
        line.data[:], line.idx.kspace_encode_step_1, line.center_sample = noise(2, 2, 8)[:, y], y, 4
        several.append(line)
    scan = scanned(f, several)
    np.testing.assert_array_equal(scan.kspace[0], noise(2, 2, 8))
    return scan.notes


@feature("ISMRMRD", "compressed lines", "refused")
def _(f: Path) -> Any:
    return call(scanned, f, lines(flag=53))


@feature("ISMRMRD", "lines without center_sample", "named")
def _(f: Path) -> Any:
    scan = scanned(f, lines(center_sample=0))
    np.testing.assert_array_equal(scan.kspace[0], noise(2, 2, 8))
    return scan.notes


@feature("ISMRMRD", "slices as a matrix of several partitions", "named")
def _(f: Path) -> Any:
    scan = scanned(f, lines(slice=0) + lines(slice=1), mrd_header((2, 2, 8), kept=8))
    np.testing.assert_array_equal(scan.kspace[1], noise(2, 2, 8))
    return scan.notes


@feature("ISMRMRD", "headers without encodingLimits", "named")
def _(f: Path) -> Any:
    header = mrd_header((1, 4, 8), kept=8).replace("encodingLimits", "limits")
    scan = scanned(f, lines(), header)
    np.testing.assert_array_equal(scan.kspace[0, :, :2], noise(2, 2, 8))
    return scan.notes


@feature("ISMRMRD", "headers of other versions: other namespaces, missing or unknown elements, `Cartesian`, 8.0")
def _(f: Path) -> Any:
    header = mrd_header((1, 2, 8), kept=8, trajectory="Cartesian").replace(">8<", ">8.0<")
    header = header.replace("www.ismrm.org/ISMRMRD", "else").replace("experimentalConditions", "unknown")
    start, end = header.index("<reconSpace>"), header.index("<encodingLimits>")
    scan = scanned(f, lines(), header[:start] + header[end:])
    assert scan.readout_oversampling is None
    return scan.kspace[0], noise(2, 2, 8)


@feature("ISMRMRD", "headers with a DOCTYPE or entities", "refused")
def _(f: Path) -> Any:
    return call(scanned, f, lines(), "<!DOCTYPE a [<!ENTITY b 'c'>]>" + mrd_header((1, 2, 8), kept=8))


@feature("ISMRMRD", "tables of lines with other fields, in another order")
def _(f: Path) -> Any:
    path = mrd(f / "a.h5", mrd_header((1, 2, 8), kept=8), lines())
    with h5py.File(path, "a") as file:
        old = file["dataset/data"][()]
        whole = old.dtype["head"]
        head = np.dtype([("extra", "f8"), *((n, whole[n]) for n in reversed(whole.names) if n != "version")])
        kind = np.dtype([("data", old.dtype["data"]), ("head", head)])
        new = np.zeros(len(old), kind)
        new["data"] = old["data"]
        for name in whole.names:
            if name != "version":
                new["head"][name] = old["head"][name]
        del file["dataset/data"]
        file.create_dataset("dataset/data", data=new, dtype=kind)
    return read_scan(path).kspace[0], noise(2, 2, 8)


@feature("ISMRMRD", "several groups: `dataset`, the only one, or by `--key`, in groups too")
def _(f: Path) -> Any:
    header = mrd_header((1, 2, 8), kept=8)
    mrd(f / "a.h5", header, lines(), group="other")
    with h5py.File(f / "a.h5", "a") as file:
        file.copy("other", "deep/one")
    return [read_scan(f / "a.h5", key=key).kspace[0] for key in (None, "deep/one")], [noise(2, 2, 8)] * 2


@feature("ISMRMRD", "images and waveforms beside the lines", detail="not read")
def _(f: Path) -> Any:
    path = mrd(f / "a.h5", mrd_header((1, 2, 8), kept=8), lines())
    with h5py.File(path, "a") as file:
        file["dataset/waveforms"] = GREY
    return read_scan(path).kspace[0], noise(2, 2, 8)


# --- cfl -------------------------------------------------------------------------------------------------------------


@feature("cfl", "READ, PHS1, PHS2, COIL, SLICE; sections in any order, comments")
def _(f: Path) -> Any:
    path = cfl(f / "a", "4 3 1 2 1 1 1 1 1 1 1 1 1 5", 120)
    header = path.with_suffix(".hdr").read_text()
    path.with_suffix(".hdr").write_text(f"# Creator\nBART 0.8\n\n{header}")
    return read_scan(path).kspace, np.arange(1, 121).reshape(5, 2, 3, 4)


@feature("cfl", "MAPS, TE, TIME and other dimensions above 1", "refused")
def _(f: Path) -> Any:
    return call(read_scan, cfl(f / "a", "4 3 1 1 1 2", 24))


@feature("cfl", "masks in complex numbers; patterns with one sample along READ stand for whole lines")
def _(f: Path) -> Any:
    from firenet.recon import binary_mask

    path = cfl(f / "a", "1 4", 4)
    np.array([1, 0, 0, 1], "<c8").tofile(path)
    return binary_mask(read_array(path, purpose="mask")).numpy(), np.array([[True], [False], [False], [True]])


@feature("cfl", "a section that names another data file", "refused")
def _(f: Path) -> Any:
    path = cfl(f / "a", "4 3", 12)
    with path.with_suffix(".hdr").open("a") as file:
        file.write("# Data\nother.cfl\n")
    return call(read_scan, path)


@feature("cfl", "more or less bytes than the header says, one file of the two", "refused")
def _(f: Path) -> Any:
    return call(read_scan, cfl(f / "a", "4 3", 13))


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


# --- masks, and everything else --------------------------------------------------------------------------------------


@feature("masks", "zeros and one other number, of any type: 1, 255, 1+0j; on the grid or its last axes")
def _(f: Path) -> Any:
    np.savez(f / "a.npz", kspace=K, mask=(GREY % 2 * 255).astype(np.complex64))
    return read_scan(f / "a.npz").mask, GREY % 2 == 1


@feature("masks", "other numbers, NaN, no sample at all", "refused")
def _(f: Path) -> Any:
    np.savez(f / "a.npz", kspace=K, mask=np.where(GREY > 3, np.nan, 1))
    return call(read_scan, f / "a.npz")


@feature("masks", "different ones for slices and coils in one file", "refused")
def _(f: Path) -> Any:
    np.savez(f / "a.npz", kspace=noise(2, 3, 4), mask=np.stack([GREY % 2, GREY % 3 == 0]))
    return call(read_scan, f / "a.npz", axes=("slice", "y", "x"))


@feature("masks", "samples in the outermost lines where k-space is zero: padding, partial Fourier", "named")
def _(f: Path) -> Any:
    from firenet.recon import prepare_scan

    k = noise(2, 16, 16)
    k[..., :3] = 0
    return [w for w in prepare_scan(k, ("slice", "y", "x"), mask=np.ones((16, 16))).warnings if "outermost" in w]


@feature("masks", "other exact zeros among the samples of a mask", "named")
def _(f: Path) -> Any:
    from firenet.recon import prepare_scan

    k = noise(16, 16)
    k[3, 5] = 0
    return [w for w in prepare_scan(k, ("y", "x"), mask=np.ones((16, 16))).warnings if "zero in all" in w]


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
