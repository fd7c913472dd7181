"""The file formats: a reader for each, a writer for those of images, and what they share.

A reader takes a path, the key of an array or None, and the key to prefer, and returns one `Stored` array: not yet
checked for finite numbers. What it refuses is a `BadInput`; whatever else a parser raises, `files` turns into one. A
writer takes a path that `files.check_output` has passed. The reader of HDF5, and so of ISMRMRD, is in `hdf5`.

What a header claims is compared with what the file holds before memory is taken (`check_claim`), nothing is ever
unpickled, and a file is written under a temporary name and put in place when it is whole (`replacing`). The libraries
that are extras are imported where they are used (`optional`).
"""

from __future__ import annotations

import importlib
import math
import os
import sys
import warnings
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from firenet.errors import BadInput, MissingExtra
from firenet.safely import AnyPath as AnyPath
from firenet.safely import check_room as check_room
from firenet.safely import existing as existing
from firenet.safely import replacing as replacing
from firenet.safely import together as together

AXES = ("slice", "coil", "z", "y", "x")
SPATIAL = ("z", "y", "x")

MAX_BYTES = 16 * 2**30  # the largest array read; less where the machine has less memory
MAX_EXPANSION = 100  # compressed data may grow by this much: k-space never does, a bomb grows 1000-fold
FREE_BYTES = 2**28  # below this size any growth is harmless, and an empty mask does compress that well
MAX_HEADER = 10 * 2**20  # text headers: cfl and ISMRMRD


@dataclass(frozen=True)
class Stored:
    """One array of a file and what the format says about it; the mask is raw, in the layout of the array."""

    array: np.ndarray
    name: str
    axes: tuple[str, ...] | None = None
    mask: np.ndarray | None = None
    voxel_size: tuple[float, ...] | None = None
    oversampling: float | None = None
    readout: str = "x"
    slice_thickness: float | None = None


# --- what every format shares ----------------------------------------------------------------------------------------


def suffix(path: Path) -> str:
    """The suffix in lower case, ``.nii.gz`` being one."""
    return ".nii.gz" if path.name.lower().endswith(".nii.gz") else path.suffix.lower()


def optional(module: str, extra: str, purpose: str) -> ModuleType:
    """Import a library of an extra; `MissingExtra` says for what `purpose` it is needed."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtra(module.partition(".")[0], extra, purpose) from error


def named(text: str, kind: str) -> Any:
    """What ``module:name`` stands for, a thing of this `kind`; the module is imported from the current folder or from
    what is installed.

    Raises:
        BadInput: there is no such module, or no such name in it.
    """
    module, _, name = text.partition(":")
    here = os.getcwd()
    sys.path.insert(0, here)
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, SyntaxError, ValueError) as error:
        do = "It is imported from the current folder or from what is installed"
        raise BadInput(f"module:{kind}", f"{text!r}: {error}", do) from None
    finally:
        sys.path.remove(here)


def checked(array: np.ndarray, where: str) -> np.ndarray:
    """The array in native byte order and C order, if it holds finite numbers, at least one."""
    check_claim(array.shape, array.dtype, array.nbytes, where)
    if array.dtype.names:
        parts = [array[name] for name in array.dtype.names]
        array = np.empty(array.shape, np.result_type(parts[0].dtype, np.complex64))
        array.real, array.imag = parts
    # Long doubles mean another number on every platform, and nothing above this module takes them.
    kind, size = array.dtype.kind, min(array.dtype.itemsize, 16 if array.dtype.kind == "c" else 8)
    array = array.astype(f"={kind}{size}", order="C", copy=False)
    bad = array.size - np.count_nonzero(np.isfinite(array))
    if bad:
        raise BadInput(f"{where}: finite numbers", f"{bad} NaN or infinite values", "Find and repair them")
    return array


def check_claim(shape: Sequence[int], dtype: np.dtype[Any], stored: int, where: str, unit: int = 0) -> int:
    """Check what a header claims before memory is taken; return the bytes it claims.

    `stored` is the size in bytes of what there is, compressed or not, and `unit` that of the smallest piece which can
    be read, such as an HDF5 chunk. Records are refused, but for the pairs (real, imaginary) that stand for complex.
    """
    fields = [dtype[name] for name in dtype.names or ()]
    pair = [name[:1] for name in dtype.names or ()] == ["r", "i"] and fields[0] == fields[1] and fields[0].kind == "f"
    if dtype.kind not in "biufc" and not pair:
        got = "objects (pickled, or text), which are never loaded" if dtype.hasobject else f"the type {dtype}"
        raise BadInput(f"{where}: an array of numbers", got, "Save it again as real or complex numbers")
    if min(shape, default=1) < 1:
        raise BadInput(f"{where}: at least one number", f"the shape {tuple(shape)}", "Check how the file was written")
    claimed = math.prod(int(side) for side in shape) * dtype.itemsize
    needed, limit = max(claimed, unit), _limit()
    if needed > limit:
        got = f"the shape {tuple(shape)} of {dtype}, {needed / 2**30:.3g} GiB"
        raise BadInput(f"{where}: at most {limit / 2**30:.3g} GiB", got, "Split the file if the size is real")
    if needed > FREE_BYTES and needed > MAX_EXPANSION * stored:
        got = f"{stored} bytes for the shape {tuple(shape)}, {needed / 2**30:.3g} GiB"
        do = "Save it uncompressed if you know where it comes from, else do not open it"
        raise BadInput(f"{where}: data that grow at most {MAX_EXPANSION}-fold when read", got, do)
    return claimed


def _limit() -> int:
    try:
        return min(MAX_BYTES, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, OSError, ValueError):  # where the system does not say
        return MAX_BYTES


def choose(path: Path, key: str | None, preferred: str, names: Sequence[str]) -> str:
    """The name of the array to read: the key, else the preferred one, else the only one, for k-space a mask aside."""
    if key is None:
        single = [name for name in names if name != "mask" or preferred != "kspace"]
        key = preferred if preferred in names else single[0] if len(single) == 1 else None
    if key is None or key not in names:
        got = f"{key or 'no name'} for a file with {', '.join(sorted(names)[:20]) or 'no arrays'}"
        raise BadInput(f"The name of one array in {path}", got, "Pass key with one of the names")
    return key


def as_float(array: np.ndarray) -> np.ndarray:
    """Floating and complex numbers as they are, integers as float32, beyond 16 bits as float64."""
    if array.dtype.kind in "fc":
        return array
    return array.astype(np.float32 if array.dtype.itemsize <= 2 else np.float64)


def positive(values: Sequence[float]) -> tuple[float, ...] | None:
    """The numbers as floats, if all are positive and finite, as sizes are; else None."""
    sizes = tuple(float(value) for value in values)
    return sizes if all(0 < size < math.inf for size in sizes) else None


# --- numpy -----------------------------------------------------------------------------------------------------------


def read_npy(path: Path, key: str | None, preferred: str) -> Stored:
    """Read the array of an npy file."""
    size = path.stat().st_size
    with path.open("rb") as file:
        return Stored(_read_npy_stream(file, size, size, str(path)), str(path))


def read_npz(path: Path, key: str | None, preferred: str) -> Stored:
    """Read one array of an npz file, with k-space its ``mask`` too."""
    with zipfile.ZipFile(path) as archive:
        members = {info.filename[:-4]: info for info in archive.infolist() if info.filename.endswith(".npy")}

        def read(name: str) -> np.ndarray:
            info = members[name]
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # all that numpy writes
                raise ValueError(f"compression method {info.compress_type} in {name}")
            with archive.open(info) as member:
                return _read_npy_stream(member, info.file_size, info.compress_size, f"{path} [{name}]")

        name = choose(path, key, preferred, list(members))
        mask = read("mask") if preferred == "kspace" and name != "mask" and "mask" in members else None
        return Stored(read(name), f"{path} [{name}]", mask=mask)


def _read_npy_stream(stream: Any, size: int, stored: int, where: str) -> np.ndarray:
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
    elif version == (2, 0):
        shape, _, dtype = np.lib.format.read_array_header_2_0(stream)
    else:  # 3.0 differs in the names of record fields only, and records are no numbers
        raise ValueError(f"npy version {version}")
    claimed, present = check_claim(shape, dtype, stored, where), size - stream.tell()
    if claimed != present:
        raise BadInput(f"{where}: {claimed} bytes, as its header says", f"{present}", "Copy the file again")
    stream.seek(0)
    return np.lib.format.read_array(stream, allow_pickle=False)


def write_npy(path: Path, image: np.ndarray) -> None:
    """Write the array itself."""
    with replacing(path) as (temporary,), temporary.open("wb") as file:
        np.save(file, image, allow_pickle=False)


# --- BART ------------------------------------------------------------------------------------------------------------

_BART = (
    *("READ", "PHS1", "PHS2", "COIL", "MAPS", "TE", "COEFF", "COEFF2"),
    *("ITER", "CSHIFT", "TIME", "TIME2", "LEVEL", "SLICE", "AVG", "BATCH"),
)
_BART_PLACE = {"x": 0, "y": 1, "z": 2, "coil": 3, "slice": 13}


def read_cfl(path: Path, key: str | None, preferred: str) -> Stored:
    """Read a pair of files; BART's Fortran order is C order with the axes reversed, which is the order of `AXES`."""
    header, data = existing(path.with_suffix(".hdr")), existing(path.with_suffix(".cfl"))
    with header.open("rb") as file:
        text = file.read(MAX_HEADER).decode("ascii", "replace").splitlines()
    words = text[1].split() if len(text) > 1 and text[0].strip() == "# Dimensions" else []
    if not 0 < len(words) <= len(_BART) or not all(w.isdigit() and len(w) < 19 and int(w) > 0 for w in words):
        needed = f"'# Dimensions' and then 1 to {len(_BART)} positive integers in {header}"
        raise BadInput(needed, repr(" ".join(text[:2])[:80]), "Write the pair again with BART")
    dims = [int(word) for word in words] + [1] * (len(_BART) - len(words))
    for place, (dim, name) in enumerate(zip(dims, _BART, strict=True)):
        if dim > 1 and place not in _BART_PLACE.values():
            needed = f"A cfl file of {', '.join(_BART[known] for known in _BART_PLACE.values())} only"
            raise BadInput(needed, f"{name} of size {dim} in {header}", f"Take one of them: bart slice {place} 0")
    claimed, size = 8 * math.prod(dims), data.stat().st_size
    if claimed != size:
        raise BadInput(f"{claimed} bytes in {data}, as {header.name} says", f"{size}", "Copy both files again")
    check_claim(dims, np.dtype(np.complex64), size, str(data))
    spatial = SPATIAL[3 - sum(dim > 1 for dim in dims[:3]) :]
    others = tuple(name for name in ("slice", "coil") if dims[_BART_PLACE[name]] > 1)
    array = np.fromfile(data, "<c8").reshape([dim for dim in reversed(dims) if dim > 1])
    return Stored(array, str(data), others + spatial)


def write_cfl(path: Path, image: np.ndarray, axes: Sequence[str], description: str = "") -> None:
    """Write the pair of an image whose axes are in the order of `AXES`, complex64."""
    with np.errstate(over="ignore"):
        data = checked(image.astype("<c8"), "The image in single precision")
    dims = [1] * len(_BART)
    for name, side in zip(axes, image.shape, strict=True):
        dims[_BART_PLACE[name]] = side
    with replacing(path.with_suffix(".cfl"), path.with_suffix(".hdr")) as (cfl, hdr):
        data.tofile(cfl)
        said = (
            f"# Description\n{_plain(description)}\n" if description else ""
        )  # BART passes over what it does not know
        hdr.write_text(f"# Dimensions\n{' '.join(map(str, dims))}\n{said}", encoding="ascii")


def _plain(text: str) -> str:
    """A text for the headers of files: one line of ASCII."""
    return " ".join(text.split()).encode("ascii", "replace").decode("ascii")


# --- images ----------------------------------------------------------------------------------------------------------


def _magnitude(image: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return checked(np.abs(as_float(image)).astype(np.float32), "The magnitude in single precision")


def read_png(path: Path, key: str | None, preferred: str) -> Stored:
    """Read a grey PNG image."""
    from PIL import Image  # no extra: matplotlib brings it

    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(path, formats=["PNG"]) as image:
            image.verify()  # the checksums, which loading passes over
        with Image.open(path, formats=["PNG"]) as image:
            if image.mode not in ("1", "L", "I;16", "I"):
                raise BadInput(f"A grey PNG image in {path}", f"the mode {image.mode}", "Convert it to grey")
            return Stored(np.asarray(image), str(path))


def write_png(path: Path, image: np.ndarray, description: str = "") -> None:
    """Write the magnitude in 8 bits, white at its 99.5th percentile; a stack becomes one square grid."""
    from PIL import Image, PngImagePlugin

    if image.ndim < 2:
        raise BadInput("An image of two or more axes for PNG", f"the shape {image.shape}", "Write it as .npy")
    tiles = _magnitude(image).reshape(-1, *image.shape[-2:])
    white = float(np.percentile(tiles, 99.5)) or float(tiles.max()) or 1.0
    columns = math.isqrt(len(tiles) - 1) + 1
    rows = -(-len(tiles) // columns)
    height, width = image.shape[-2:]
    grid = np.zeros((rows * columns, height, width), np.uint8)
    grid[: len(tiles)] = np.round(255 * np.clip(tiles / white, 0, 1))
    picture = grid.reshape(rows, columns, height, width).swapaxes(1, 2).reshape(rows * height, columns * width)
    with replacing(path) as (temporary,):
        said = PngImagePlugin.PngInfo()
        if description:
            said.add_text("Description", _plain(description))
        Image.fromarray(picture).save(temporary, format="PNG", pnginfo=said)


def read_nifti(path: Path, key: str | None, preferred: str) -> Stored:
    """Read a NIfTI image, its axes reversed and leading singletons dropped, and its voxels in mm."""
    nibabel = optional("nibabel", "images", "Reading NIfTI")
    image = nibabel.load(path, mmap=False)
    check_claim(image.shape, image.get_data_dtype(), path.stat().st_size, str(path))
    array = np.asarray(image.dataobj).T
    while array.ndim > 2 and array.shape[0] == 1:
        array = array[0]
    unit = image.header.get_xyzt_units()[0]
    zooms = [float(zoom) for zoom in reversed(image.header.get_zooms()[: min(array.ndim, 3)])]
    # Many files leave the unit out and mean mm; but then ones are nibabel's filling and no knowledge.
    known = unit != "unknown" or set(zooms) != {1.0}
    scale = {"meter": 1e3, "micron": 1e-3}.get(unit, 1.0)
    return Stored(array, str(path), voxel_size=positive([scale * zoom for zoom in zooms]) if known else None)


def write_nifti(path: Path, image: np.ndarray, voxel_size: Sequence[float] | None, description: str = "") -> None:
    """Write the magnitude, float32, x first; the affine says the voxel size and nothing else."""
    nibabel = optional("nibabel", "images", "Writing NIfTI")
    sizes = positive([1.0] if voxel_size is None else voxel_size)
    if not sizes or len(sizes) > min(3, image.ndim) or image.ndim > 7:
        raise BadInput(
            "An image of at most 7 axes and one positive voxel size in mm for each of its last axes, at most 3",
            f"the voxel size {voxel_size} for the shape {image.shape}",
            "Pass voxel_size in the order of the axes, e.g. (dz, dy, dx)",
        )
    affine = np.diag([*reversed(sizes), *[1.0] * (4 - len(sizes))])
    nifti = nibabel.Nifti1Image(_magnitude(image).T, affine)
    nifti.header.set_xyzt_units("unknown" if voxel_size is None else "mm")
    said = _plain(description)
    # The field has 80 bytes, the last of them zero. What is cut out is the middle: the number of the slice comes last.
    nifti.header["descrip"] = (said if len(said) < 80 else f"{said[:36]}...{said[-40:]}").encode("ascii")
    with replacing(path) as (temporary,):
        nibabel.save(nifti, temporary)


def read_dicom(path: Path, key: str | None, preferred: str) -> Stored:
    """Read a grey DICOM image, rescaled by its slope and intercept."""
    pydicom = optional("pydicom", "images", "Reading DICOM")
    # A deflated file is inflated whole before a single claim in it can be checked.
    syntax = pydicom.filereader.read_file_meta_info(path).TransferSyntaxUID
    data: Any = {} if syntax == pydicom.uid.DeflatedExplicitVRLittleEndian else pydicom.dcmread(path)
    grey = "PixelData" in data and data.PhotometricInterpretation.startswith("MONOCHROME")
    if not grey or "PerFrameFunctionalGroupsSequence" in data:
        got = "a deflated, colour, enhanced multi-frame or pixel-free one"
        raise BadInput(f"One grey DICOM image in {path}", got, "Convert it to NIfTI, e.g. with dcm2niix")
    shape = (int(data.get("NumberOfFrames", 1) or 1), data.Rows, data.Columns)
    check_claim(shape, np.dtype(f"u{max(1, data.BitsAllocated // 8)}"), len(data.PixelData), str(path))
    array = data.pixel_array
    slope, intercept = float(data.get("RescaleSlope", 1)), float(data.get("RescaleIntercept", 0))
    if (slope, intercept) != (1.0, 0.0):
        array = as_float(array) * slope + intercept
    spacing = data.get("PixelSpacing")
    return Stored(array, str(path), voxel_size=positive(spacing) if spacing else None)
