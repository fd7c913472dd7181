"""The entries of `format_features` for formats of scans, and for masks."""

from __future__ import annotations

import functools
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from extras import h5py, ismrmrd
from file_seeds import cfl, hdf5, mrd, mrd_header, mrd_line, noise, npy_header, save
from firenet.io.files import read_array, read_image, read_scan
from firenet.io.measured import Readouts, Sinogram, read_measured
from format_features import feature

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


@feature("npz", "`kspace`, `trajectory`, `shape`; `sinogram`, `theta`; `measurements`, `index`, `shape`")
def _(f: Path) -> Any:
    np.savez(f / "a.npz", kspace=noise(2, 3, 4), trajectory=np.zeros((3, 4, 2)), shape=np.array([8, 8]))
    found = read_measured(f / "a.npz", coils=True)
    assert isinstance(found, Readouts)
    return found.kspace, noise(2, 3, 4)[None]


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


@feature("HDF5", "Data Exchange: `exchange/data`, `theta`, `data_white`, `data_dark`; `sinogram` and others as in npz")
def _(f: Path) -> Any:
    with h5py.File(f / "a.h5", "w") as file:
        file["exchange/data"], file["exchange/theta"] = np.ones((3, 2, 4), np.float32), np.arange(3)
    found = read_measured(f / "a.h5")
    assert isinstance(found, Sinogram)
    return found.projections, np.ones((2, 3, 4), np.float32)


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


@feature("ISMRMRD", "radial, spiral and other readouts with the trajectory of each, in any of three units", "named")
def _(f: Path) -> Any:
    path = np.stack([np.linspace(-0.5, 0.5, 8, endpoint=False), np.zeros(8)], axis=-1).astype(np.float32)
    several = [ismrmrd.Acquisition.from_array(noise(2, 2, 8)[:, y].copy(), path) for y in range(2)]
    found = read_measured(mrd(f / "a.h5", mrd_header((1, 8, 8), kept=8, trajectory="radial"), several), coils=True)
    assert isinstance(found, Readouts)
    np.testing.assert_allclose(found.trajectory[0], np.stack([path[:, ::-1]] * 2))
    return found.notes


@feature("ISMRMRD", "such readouts without a trajectory", "refused")
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
    from firenet.mri.scan import binary_mask

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


# --- masks --------------------------------------------------------------------------------------


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
    from firenet.mri.scan import prepare_scan

    k = noise(2, 16, 16)
    k[..., :3] = 0
    return [w for w in prepare_scan(k, ("slice", "y", "x"), mask=np.ones((16, 16))).warnings if "outermost" in w]


@feature("masks", "other exact zeros among the samples of a mask", "named")
def _(f: Path) -> Any:
    from firenet.mri.scan import prepare_scan

    k = noise(16, 16)
    k[3, 5] = 0
    return [w for w in prepare_scan(k, ("y", "x"), mask=np.ones((16, 16))).warnings if "zero in all" in w]
