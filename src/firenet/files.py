"""Read scans and images, write images and records: whatever crosses the border of the library crosses it here.

Files are centred as in fastMRI, BART and SigPy (k-space, masks and images alike), and this module shifts nothing:
arrays come back as they are stored, with their axes put into one order, `AXES`.

A file comes from outside, so nothing in it is believed. The content decides the format, not the name. Nothing is ever
unpickled. What a header claims is compared with what the file holds before memory is taken. Data kept in other files
(HDF5 links, external and virtual storage) are refused. Whatever a parser then stumbles over ends as one `BadInput`.
Not checked: faults inside the parsers' own C code, libhdf5 above all; open a stranger's files in a container.

A file is written under a temporary name in its own folder and put in place when it is whole, so there is never half a
file, whatever interrupts the writing.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import math
import os
import secrets
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from firenet.errors import BadInput, FirenetError, MissingExtra

AnyPath = str | os.PathLike[str]

AXES = ("slice", "coil", "z", "y", "x")
SPATIAL = ("z", "y", "x")
IMAGE_SUFFIXES = (".npy", ".png", ".nii", ".nii.gz", ".cfl", ".hdr")

MAX_BYTES = 16 * 2**30  # the largest array read; less where the machine has less memory
MAX_EXPANSION = 100  # compressed data may grow by this much: k-space never does, a bomb grows 1000-fold
FREE_BYTES = 2**28  # below this size any growth is harmless, and an empty mask does compress that well
MAX_HEADER = 10 * 2**20  # text headers: cfl and ISMRMRD


@dataclass(frozen=True)
class Scan:
    """The raw data of one scan, as stored: nothing is shifted, scaled or cropped.

    Attributes:
        kspace: complex64 or complex128, finite, one axis for each name in `axes`.
        axes: names in the order of `AXES`, e.g. ("coil", "y", "x"). The last is the readout, except in fastMRI files,
            whose readout is y, and in what the caller named otherwise.
        mask: bool, the shape of the spatial axes of `kspace`, True where sampled; None where the file does not say.
        voxel_size: mm, one for each spatial axis in the order of `axes`; None where the file does not say.
        readout_oversampling: the field of view along x over the one to keep, at least 1; from an ISMRMRD header.
        source: the path and the array's name, for the record of a run.
    """

    kspace: np.ndarray
    axes: tuple[str, ...]
    mask: np.ndarray | None
    voxel_size: tuple[float, ...] | None
    readout_oversampling: float
    source: str


@dataclass(frozen=True)
class _Stored:
    """One array of a file and what the format says about it; the mask is raw, in the layout of the array."""

    array: np.ndarray
    name: str
    axes: tuple[str, ...] | None = None
    mask: np.ndarray | None = None
    voxel_size: tuple[float, ...] | None = None
    oversampling: float = 1.0


# --- the doors: reading ----------------------------------------------------------------------------------------------


def read_scan(path: AnyPath, *, axes: Sequence[str] | None = None, key: str | None = None, coils: bool = False) -> Scan:
    """Read k-space, its axes brought into the order of `AXES`.

    What the axes mean is never guessed. `axes` has one name from `AXES` for each stored axis, in the stored order, and
    always wins; where it contradicts a header, what that says about voxels and oversampling is dropped. Without it:

    * fastMRI HDF5, dataset ``kspace``: (slice, y, x) or (slice, coil, y, x); a 1-D ``mask`` runs along the last axis.
    * ISMRMRD: from the header and the counters of the lines. Cartesian scans only; repeated lines are averaged; DC is
      put at the middle, n // 2, of each encoded axis, and what was not measured is zero; `Scan.mask` says which lines
      were, if they are the same in all slices.
    * BART cfl: from the dimensions, singletons dropped: READ is x, PHS1 y, PHS2 z (if READ is 1: PHS1 x, PHS2 y).
    * npy, npz (array ``kspace``, or the only one; ``mask`` is taken along) and other HDF5 datasets: 1-D is (x,), 2-D is
      (y, x), with `coils` 3-D is (coil, y, x) and 4-D (slice, coil, y, x); anything else has to be said.

    Args:
        path: the file.
        axes: the meaning of each stored axis. A cfl file's stored axes are its dimensions other than 1, last first.
        key: the array in an npz or HDF5 file, or the group in an ISMRMRD file.
        coils: the caller knows that the data have several coils.

    Raises:
        BadInput: the file is missing, damaged, foreign or too large, or its array is not finite complex k-space.
        MissingExtra: the format needs a library that is not installed.
    """
    stored = _load(path, key, "kspace")
    array, where = stored.array, stored.name
    if not np.iscomplexobj(array):
        pairs = array.ndim > 1 and array.shape[-1] == 2
        raise BadInput(
            "Complex k-space",
            f"{array.dtype} of shape {array.shape} in {where}",
            "Join real and imaginary parts first: x[..., 0] + 1j * x[..., 1] in numpy, torch.view_as_complex in torch"
            if pairs
            else "Give raw, complex k-space; a magnitude image has lost its phase",
        )
    names = tuple(axes) if axes is not None else stored.axes or _unsaid(coils).get(array.ndim)
    if names is None:
        raise BadInput(
            f"The meaning of each axis of a {array.ndim}-D array",
            f"{where} of shape {array.shape} and no axes",
            "Pass axes, e.g. coil,y,x or slice,y,x or z,y,x (--axes coil,y,x)",
        )
    order = _order(names, array.shape)
    described = names == stored.axes
    return Scan(
        kspace=np.ascontiguousarray(array.transpose(order)),
        axes=tuple(names[axis] for axis in order),
        mask=None if stored.mask is None else _spatial_mask(stored.mask, names, array.shape, where),
        voxel_size=stored.voxel_size if described else None,
        readout_oversampling=stored.oversampling if described else 1.0,
        source=where,
    )


def read_array(path: AnyPath, *, key: str | None = None, purpose: str = "array") -> np.ndarray:
    """Read one finite array of numbers, values and dtype as stored: a mask, coil maps, a noise scan, an image.

    The axes are the stored ones, except that those of cfl and NIfTI, which count from the fastest, are reversed and
    lose their singletons (cfl) or leading singletons (NIfTI): (coil, z, y, x) as in `read_scan`. DICOM values are
    rescaled by the file's slope and intercept.

    Args:
        path: npy, npz, HDF5, cfl, PNG, NIfTI or DICOM.
        key: the array in an npz or HDF5 file; without it the one named as `purpose` says, or the only one.
        purpose: what the array is for, e.g. "mask".

    Raises:
        BadInput: the file is missing, damaged, foreign or too large, or holds NaN, infinity or no numbers.
        MissingExtra: the format needs a library that is not installed.
    """
    return _load(path, key, purpose).array


def read_image(path: AnyPath, *, key: str | None = None) -> tuple[np.ndarray, tuple[float, ...] | None]:
    """Read an image, (y, x) or (z, y, x), and its voxel size in mm, None where the file does not say.

    The file and the errors are those of `read_array`. Values are not normalised; integers become float32 (float64
    beyond 16 bits), floating and complex numbers stay as they are. The voxel size belongs to the trailing axes.
    """
    stored = _load(path, key, "image")
    return _as_float(stored.array), stored.voxel_size


def sha256(path: AnyPath) -> str:
    """Compute the SHA-256 of a file, in hexadecimal."""
    with _existing(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# --- the doors: writing ----------------------------------------------------------------------------------------------


def check_output(path: AnyPath, *, suffixes: Sequence[str] = IMAGE_SUFFIXES) -> Path:
    """Check that a file can be written here, before any work: known suffix, writable folder, library installed.

    Raises:
        BadInput: the suffix is not one of `suffixes`, the folder does not exist, or it cannot be written to.
        MissingExtra: the suffix needs a library that is not installed.
    """
    path = Path(path)
    if _suffix(path) not in suffixes:
        raise BadInput(f"An output file that ends in {', '.join(suffixes)}", str(path), "Rename the output")
    if not path.parent.is_dir() or path.is_dir():
        raise BadInput("A file in an existing folder", str(path), "Create the folder first, or name a file in another")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise BadInput("A folder that can be written to", str(path.parent), "Choose another folder")
    if _suffix(path) in (".nii", ".nii.gz"):
        _optional("nibabel", "images", "Writing NIfTI")
    return path


def write_image(
    path: AnyPath,
    image: np.ndarray,
    *,
    voxel_size: Sequence[float] | None = None,
    axes: Sequence[str] | None = None,
) -> None:
    """Write an image, whole or not at all, in the format of the suffix.

    * ``.npy``: the array itself, complex or not.
    * ``.png``: the magnitude, black at 0 and white at its 99.5th percentile, 8 bits; the slices of a stack become the
      tiles of one square grid, row by row.
    * ``.nii``, ``.nii.gz``: the magnitude, float32, stored x first; `voxel_size` goes into the affine, which says
      nothing else, the orientation in the scanner being unknown.
    * ``.cfl`` or ``.hdr``: the pair BART reads, complex64, each axis in BART's place for it.

    Args:
        path: the file.
        image: finite real or complex numbers, (y, x) or (z, y, x), or what `axes` says.
        voxel_size: mm, for the trailing axes of `image`, in their order; used by NIfTI.
        axes: names from `AXES`, for cfl; the trailing ones of (z, y, x) by default.

    Raises:
        BadInput: an image or a path that cannot be written.
        MissingExtra: the format needs a library that is not installed.
    """
    path = check_output(path)
    image = _checked(np.asarray(image), "The image to write")
    if _suffix(path) == ".npy":
        with _replacing(path) as (temporary,), temporary.open("wb") as file:
            np.save(file, image, allow_pickle=False)
    elif _suffix(path) == ".png":
        _write_png(path, image)
    elif _suffix(path) in (".cfl", ".hdr"):
        _write_cfl(path, image, SPATIAL[-image.ndim :] if axes is None else axes)
    else:
        _write_nifti(path, image, voxel_size)


def to_json(record: Mapping[str, Any]) -> str:
    """A record as JSON text; NaN and infinity become null, complex numbers [real, imaginary].

    Raises:
        TypeError: something in the record is neither a number, text, path, array, sequence nor mapping.
    """
    return json.dumps(_plain(record), indent=2, ensure_ascii=False, allow_nan=False)


def write_json(path: AnyPath, record: Mapping[str, Any]) -> None:
    """Write a record as JSON, whole or not at all, as `to_json` puts it.

    Raises:
        BadInput: a path that cannot be written.
        TypeError: something in the record is neither a number, text, path, array, sequence nor mapping.
    """
    path = check_output(path, suffixes=(".json",))
    text = to_json(record) + "\n"
    with _replacing(path) as (temporary,):
        temporary.write_text(text, encoding="utf-8")


# --- what every format shares ----------------------------------------------------------------------------------------


def _unsaid(coils: bool) -> dict[int, tuple[str, ...]]:
    """The axes of arrays whose file does not name them, by their number."""
    if coils:
        return {3: ("coil", "y", "x"), 4: ("slice", "coil", "y", "x")}
    return {1: ("x",), 2: ("y", "x")}


def _suffix(path: Path) -> str:
    return ".nii.gz" if path.name.lower().endswith(".nii.gz") else path.suffix.lower()


def _optional(module: str, extra: str, purpose: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtra(module.partition(".")[0], extra, purpose) from error


def _existing(path: AnyPath) -> Path:
    path = Path(path)
    if not path.is_file() or not os.access(path, os.R_OK):
        what = "a folder" if path.is_dir() else "which may not be read" if path.is_file() else "which does not exist"
        raise BadInput("A file to read", f"{path}, {what}", "Check the path and the rights")
    return path


def _load(path: AnyPath, key: str | None, preferred: str) -> _Stored:
    """Read one array of any format, finite numbers in native byte order; `preferred` is the key by default."""
    path = _existing(path)
    title, read = _format(path)
    if preferred == "kspace" and read in (_read_png, _read_nifti, _read_dicom):
        raise BadInput("A file of k-space", f"{path}, a {title} image", "Give raw k-space, or simulate it")
    try:
        stored = read(path, key, preferred)
    except FirenetError:
        raise
    except Exception as error:  # parsers of foreign bytes raise anything, struct.error and RecursionError included
        text = " ".join(str(error).split())[:200].rstrip(".")
        raise BadInput(
            f"A whole and sound {title} file",
            f"{path}, which could not be read ({type(error).__name__}: {text})",
            "Copy or export the file again: it is truncated, damaged or of another kind",
        ) from error
    return replace(stored, array=_checked(stored.array, stored.name))


def _format(path: Path) -> tuple[str, Callable[[Path, str | None, str], _Stored]]:
    """Tell the format from the first bytes; only cfl has none of its own and is told from the suffix."""
    if _suffix(path) in (".cfl", ".hdr"):
        return "cfl", _read_cfl
    with path.open("rb") as file:
        head = file.read(352)
    for title, offset, magic, read in (
        ("npy", 0, b"\x93NUMPY", _read_npy),
        ("npz", 0, b"PK", _read_npz),
        ("HDF5", 0, b"\x89HDF\r\n\x1a\n", _read_hdf5),
        ("PNG", 0, b"\x89PNG\r\n\x1a\n", _read_png),
        ("DICOM", 128, b"DICM", _read_dicom),
        ("NIfTI", 344, b"n+1\0", _read_nifti),
        ("NIfTI", 4, b"n+2\0", _read_nifti),
        ("NIfTI", 0 if _suffix(path) == ".nii.gz" else len(head), b"\x1f\x8b", _read_nifti),
    ):
        if head[offset:].startswith(magic):
            return title, read
    raise BadInput(
        "A file in a known format: npy, npz, HDF5 (fastMRI, ISMRMRD), cfl/hdr, PNG, NIfTI or DICOM",
        f"{path}, which begins with {head[:8]!r}" if head else f"{path}, which is empty",
        "Convert the file, or copy it again if it should be one of these",
    )


def _checked(array: np.ndarray, where: str) -> np.ndarray:
    """The array in native byte order and C order, if it holds finite numbers, at least one."""
    _check_claim(array.shape, array.dtype, array.nbytes, where)
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


def _check_claim(shape: Sequence[int], dtype: np.dtype[Any], stored: int, where: str, unit: int = 0) -> int:
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


def _choose(path: Path, key: str | None, preferred: str, names: Sequence[str]) -> str:
    if key is None:
        single = [name for name in names if name != "mask" or preferred != "kspace"]
        key = preferred if preferred in names else single[0] if len(single) == 1 else None
    if key is None or key not in names:
        got = f"{key or 'no name'} for a file with {', '.join(sorted(names)[:20]) or 'no arrays'}"
        raise BadInput(f"The name of one array in {path}", got, "Pass key with one of the names")
    return key


def _as_float(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind in "fc":
        return array
    return array.astype(np.float32 if array.dtype.itemsize <= 2 else np.float64)


def _order(axes: Sequence[str], shape: tuple[int, ...]) -> list[int]:
    """The permutation that brings axes of these names into the order of `AXES`."""
    spatial = tuple(name for name in SPATIAL if name in axes)
    fits = len(set(axes)) == len(axes) == len(shape) and set(axes) <= set(AXES)
    if not fits or not spatial or spatial != SPATIAL[-len(spatial) :]:
        raise BadInput(
            f"A name for each axis of the shape {shape}, each once, from {', '.join(AXES)}; x always, y if z",
            ",".join(axes) or "no names",
            "Name the axes in the order of the shape",
        )
    return sorted(range(len(axes)), key=lambda axis: AXES.index(axes[axis]))


def _spatial_mask(mask: np.ndarray, axes: tuple[str, ...], shape: tuple[int, ...], where: str) -> np.ndarray:
    """Bring a file's mask, aligned with the trailing stored axes, to bool of the scan's spatial shape."""
    if mask.dtype.kind not in "biuf" or not np.isin(mask, (0, 1)).all() or not mask.any():
        got = f"{mask.dtype} with other values, or no sample"
        raise BadInput(f"A mask of zeros and ones in {where}", got, "Save the mask as bool")
    spatial = [axis for axis, name in enumerate(axes) if name in SPATIAL]
    sizes = tuple(shape[axis] for axis in spatial)
    mask = mask.astype(bool)
    if mask.ndim == len(axes):
        others = tuple(axis for axis in range(len(axes)) if axis not in spatial)
        if not np.array_equal(mask.all(others), mask.any(others)):
            raise BadInput("One mask for all slices and coils", f"different ones in {where}", "Split the file")
        mask = np.any(mask, others)
    while mask.ndim > len(spatial) and mask.shape[0] == 1:
        mask = mask[0]
    try:
        mask = np.broadcast_to(mask, sizes)
    except ValueError as error:
        raise BadInput(f"A mask of shape {sizes} in {where}", str(mask.shape), "Save one that fits") from error
    return mask.transpose(_order([axes[axis] for axis in spatial], sizes)).copy()


@contextmanager
def _replacing(*paths: Path) -> Iterator[list[Path]]:
    """Yield a temporary name for each path and put the files in place together, or leave none of them."""
    temporaries = [path.with_name(f".{secrets.token_hex(4)}-{path.name}") for path in paths]
    placed: list[Path] = []
    try:
        yield temporaries
        for temporary, path in zip(temporaries, paths, strict=True):
            os.replace(temporary, path)
            placed.append(path)
    except BaseException as error:  # KeyboardInterrupt too
        for path in placed:
            path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            do = "Check the folder, its rights and the free space"
            raise BadInput("A file that can be written", f"{paths[0]}: {error}", do) from error
        raise
    finally:
        for temporary in temporaries:
            temporary.unlink(missing_ok=True)


def _plain(value: Any) -> Any:
    """A value as JSON knows it; what is not known is left for json to refuse."""
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, complex):
        return [_plain(value.real), _plain(value.imag)]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


# --- numpy -----------------------------------------------------------------------------------------------------------


def _read_npy(path: Path, key: str | None, preferred: str) -> _Stored:
    size = path.stat().st_size
    with path.open("rb") as file:
        return _Stored(_read_npy_stream(file, size, size, str(path)), str(path))


def _read_npz(path: Path, key: str | None, preferred: str) -> _Stored:
    with zipfile.ZipFile(path) as archive:
        members = {info.filename[:-4]: info for info in archive.infolist() if info.filename.endswith(".npy")}

        def read(name: str) -> np.ndarray:
            info = members[name]
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # all that numpy writes
                raise ValueError(f"compression method {info.compress_type} in {name}")
            with archive.open(info) as member:
                return _read_npy_stream(member, info.file_size, info.compress_size, f"{path} [{name}]")

        name = _choose(path, key, preferred, list(members))
        mask = read("mask") if preferred == "kspace" and name != "mask" and "mask" in members else None
        return _Stored(read(name), f"{path} [{name}]", mask=mask)


def _read_npy_stream(stream: Any, size: int, stored: int, where: str) -> np.ndarray:
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
    elif version == (2, 0):
        shape, _, dtype = np.lib.format.read_array_header_2_0(stream)
    else:  # 3.0 differs in the names of record fields only, and records are no numbers
        raise ValueError(f"npy version {version}")
    claimed, present = _check_claim(shape, dtype, stored, where), size - stream.tell()
    if claimed != present:
        raise BadInput(f"{where}: {claimed} bytes, as its header says", f"{present}", "Copy the file again")
    stream.seek(0)
    return np.lib.format.read_array(stream, allow_pickle=False)


# --- HDF5 and ISMRMRD ------------------------------------------------------------------------------------------------


def _read_hdf5(path: Path, key: str | None, preferred: str) -> _Stored:
    h5py = _optional("h5py", "mri", "Reading HDF5")
    with h5py.File(path, "r") as file:
        # Only hard links are followed: the others may lead to another file.
        inside = {name: file[name] for name in file if isinstance(file.get(name, getlink=True), h5py.HardLink)}
        arrays = [name for name, node in inside.items() if isinstance(node, h5py.Dataset)]
        groups = [name for name, node in inside.items() if isinstance(node, h5py.Group)]
        groups = [name for name in groups if {"xml", "data"} <= set(inside[name])]
        if preferred == "kspace" and groups and (key in groups or (key is None and "kspace" not in arrays)):
            return _read_ismrmrd(h5py, file, path, _choose(path, key, "dataset", groups))
        name = key if key and "/" in key else _choose(path, key, preferred, arrays)
        array = _read_dataset(_dataset(h5py, file, name), path)
        with_mask = preferred == "kspace" and name != "mask" and "mask" in arrays
        mask = _read_dataset(_dataset(h5py, file, "mask"), path) if with_mask else None
        fastmri = {3: ("slice", "y", "x"), 4: ("slice", "coil", "y", "x")} if name == "kspace" else {}
        return _Stored(array, f"{path} [{name}]", fastmri.get(array.ndim), mask)


def _dataset(h5py: ModuleType, file: Any, name: str) -> Any:
    """The dataset of that name, if it and all its data lie in this file."""
    node: Any = file
    for part in name.strip("/").split("/"):
        inside = isinstance(node, h5py.Group) and isinstance(node.get(part, getlink=True), h5py.HardLink)
        node = node[part] if inside else None
    if not isinstance(node, h5py.Dataset) or node.is_virtual or node.external:
        got = f"{name}, which is missing, a group, or stored elsewhere"
        raise BadInput(f"An array inside {file.filename}", got, "Pass key with its name, or copy its data in")
    return node


def _read_dataset(dataset: Any, path: Path) -> np.ndarray:
    where, stored = f"{path} [{dataset.name}]", dataset.id.get_storage_size()
    chunk = math.prod(dataset.chunks) * dataset.dtype.itemsize if dataset.chunks else 0
    _check_claim(dataset.shape, dataset.dtype, stored, where, unit=chunk)
    if not 0 < stored <= path.stat().st_size:
        raise BadInput(f"{where}: data", f"the shape {dataset.shape} and {stored} bytes stored", "Write the file again")
    return dataset[()]


# Bits of a line's flags, as ISMRMRD numbers them from 1.
_CALIBRATION, _CALIBRATION_AND_IMAGING, _REVERSE = 20, 21, 22
_NO_IMAGE = (19, 23, 24, 26, 27, 28, 29, 30, 31)  # noise, navigators, phase correction, feedback, dummies and the like
_SAME_IN_HEAD = ("number_of_samples", "center_sample", "discard_pre", "discard_post", "active_channels")
_SAME_IN_COUNTERS = ("contrast", "phase", "repetition", "set")


def _read_ismrmrd(h5py: ModuleType, file: Any, path: Path, group: str) -> _Stored:
    """Assemble (slice, coil[, z], y, x) from the lines of a Cartesian scan."""
    where = f"{path} [{group}]"
    lines, xml = _dataset(h5py, file, f"{group}/data"), _dataset(h5py, file, f"{group}/xml")
    known = _optional("ismrmrd.hdf5", "mri", "Reading ISMRMRD").acquisition_header_dtype
    kinds = [h5py.check_vlen_dtype(lines.dtype[name]) for name in ("traj", "data")]
    is_text = xml.dtype.kind == "S" or h5py.check_string_dtype(xml.dtype) is not None
    # A damaged description of records or of text with a variable length makes libhdf5 write where it must not.
    if lines.dtype["head"] != known or kinds != [np.float32] * 2 or not is_text:
        got = "records of another kind"
        raise BadInput(f"Lines and a header as ISMRMRD 1 defines them in {where}", got, "Convert the scan again")
    room, stored = lines.size * lines.dtype.itemsize, lines.id.get_storage_size()
    _check_claim((room,), np.dtype(np.uint8), stored, f"{where}, the table of its lines")
    heads = lines.fields("head")[()]

    def flagged(bit: int) -> np.ndarray:
        return (heads["flags"] >> np.uint64(bit - 1)) & np.uint64(1) == 1

    imaging = ~(flagged(_CALIBRATION) & ~flagged(_CALIBRATION_AND_IMAGING))
    for bit in _NO_IMAGE:
        imaging &= ~flagged(bit)
    if not imaging.any() or (imaging & flagged(_REVERSE)).any():
        got = "reversed (EPI) lines" if imaging.any() else "no imaging lines"
        raise BadInput(f"Imaging lines read in one direction in {where}", got, "Convert the scan again")
    heads, numbers = heads[imaging], np.flatnonzero(imaging)
    one = {}
    for name in (*_SAME_IN_HEAD, *_SAME_IN_COUNTERS, "encoding_space_ref"):
        found = np.unique(heads["idx"][name] if name in _SAME_IN_COUNTERS else heads[name])
        if len(found) > 1:
            got = f"{len(found)} different ones, {found[0]} to {found[-1]}"
            raise BadInput(f"The same {name} in all imaging lines of {where}", got, f"Split the file by {name}")
        one[name] = int(found[0])

    encoding = _ismrmrd_encoding(xml, one["encoding_space_ref"], where)
    size, limits = encoding.encodedSpace.matrixSize, encoding.encodingLimits
    samples, coils = one["number_of_samples"], one["active_channels"]
    kept = slice(one["discard_pre"], samples - one["discard_post"])
    start, stop = (size.x // 2 - one["center_sample"] + edge for edge in (kept.start, kept.stop))

    def position(step: int, side: int, limit: Any) -> np.ndarray:
        return heads["idx"][f"kspace_encode_step_{step}"].astype(int) + (side // 2 - limit.center if limit else 0)

    y = position(1, size.y, limits.kspace_encoding_step_1)
    z = position(2, size.z, limits.kspace_encoding_step_2 if size.z > 1 else None)  # in 2-D the limits are often wrong
    slices = heads["idx"]["slice"].astype(int)
    shape = (int(slices.max()) + 1, coils, size.z, size.y, size.x)
    _check_claim(shape, np.dtype(np.complex64), path.stat().st_size, where)
    fits = 0 <= start < stop <= size.x and min(y.min(), z.min()) >= 0 and y.max() < size.y and z.max() < size.z
    if not fits or len(np.unique(slices)) < shape[0]:
        raise BadInput(
            f"Lines within the encoded matrix (z {size.z}, y {size.y}, x {size.x}) and in every slice of {where}",
            f"x {start} to {stop - 1}, y {y.min()} to {y.max()}, z {z.min()} to {z.max()}, "
            f"{len(np.unique(slices))} of {shape[0]} slices",
            "Correct the header: matrix size and encoding limits",
        )

    kspace, count = np.zeros(shape, np.complex64), np.zeros((shape[0], size.z, size.y), int)
    data = lines.fields("data")
    with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is refused by `_checked`
        for number, s, k, j in zip(numbers, slices, z, y, strict=True):
            line = data[number]  # one by one: many lines may share one stored block
            if line.size != 2 * coils * samples:
                raise ValueError(f"line {number} has {line.size} numbers, not 2 x {coils} x {samples}")
            kspace[s, :, k, j, start:stop] += line.view(np.complex64).reshape(coils, samples)[:, kept]
            count[s, k, j] += 1
        kspace /= np.maximum(count, 1)[:, None, :, :, None].astype(np.float32)

    mask = np.zeros(shape[2:], bool)
    mask[..., start:stop] = count[0][..., None] > 0
    same = bool(((count > 0) == (count[0] > 0)).all())
    plane = slice(None) if size.z > 1 else 0
    spatial = SPATIAL[plane if size.z > 1 else slice(1, None)]
    # The image of the encoded matrix has the encoded voxels; reconSpace may be interpolated. So it is the ratio of the
    # fields of view, not of the matrices, that says how much of the readout is to be kept.
    view, wanted = encoding.encodedSpace.fieldOfView_mm, encoding.reconSpace.fieldOfView_mm
    ratio = view.x / wanted.x if _positive([view.x, wanted.x]) else size.x / encoding.reconSpace.matrixSize.x
    return _Stored(
        array=kspace[:, :, plane],
        name=where if count.max() == 1 else f"{where}, lines measured up to {count.max()} times averaged",
        axes=("slice", "coil", *spatial),
        mask=mask[plane] if same else None,
        voxel_size=_positive([getattr(view, name) / getattr(size, name) for name in spatial]),
        oversampling=max(1.0, ratio),
    )


def _ismrmrd_encoding(dataset: Any, number: int, where: str) -> Any:
    """Parse the header: one of its encodings, if it is Cartesian with matrices of positive size."""
    xsd = _optional("ismrmrd.xsd", "mri", "Reading ISMRMRD")
    small = dataset.size == 1 and dataset.dtype.itemsize < MAX_HEADER
    text = np.ravel(dataset[()])[0] if small else b""
    text = (text.decode("utf-8") if isinstance(text, bytes) else str(text)).lstrip()
    # Entities can expand without bound and name files; no ISMRMRD header needs them. A null character or an encoding
    # other than UTF-8 could hide them from this search, so nulls are refused and the declaration goes.
    if not 0 < len(text) < MAX_HEADER or any(sign in text.upper() for sign in ("<!DOCTYPE", "<!ENTITY", "\0")):
        got = "one that is empty, huge, or declares a DOCTYPE or an ENTITY"
        raise BadInput(f"A plain ISMRMRD header below {MAX_HEADER >> 20} MiB in {where}", got, "Convert the scan again")
    header = xsd.CreateFromDocument(text.partition("?>")[2] if text.startswith("<?xml") else text)
    encoding = header.encoding[number]
    if encoding.trajectory.value != "cartesian":
        raise BadInput(f"A Cartesian scan in {where}", f"a {encoding.trajectory.value} one", "Grid the scan first")
    for size in (encoding.encodedSpace.matrixSize, encoding.reconSpace.matrixSize):
        if min(size.x, size.y, size.z) < 1:
            raise BadInput(f"Matrices of positive size in the header of {where}", str(size), "Correct the header")
    return encoding


def _positive(values: Sequence[float]) -> tuple[float, ...] | None:
    sizes = tuple(float(value) for value in values)
    return sizes if all(0 < size < math.inf for size in sizes) else None


# --- BART ------------------------------------------------------------------------------------------------------------

_BART = (
    *("READ", "PHS1", "PHS2", "COIL", "MAPS", "TE", "COEFF", "COEFF2"),
    *("ITER", "CSHIFT", "TIME", "TIME2", "LEVEL", "SLICE", "AVG", "BATCH"),
)
_BART_PLACE = {"x": 0, "y": 1, "z": 2, "coil": 3, "slice": 13}


def _read_cfl(path: Path, key: str | None, preferred: str) -> _Stored:
    """Read a pair of files; BART's Fortran order is C order with the axes reversed, which is the order of `AXES`."""
    header, data = _existing(path.with_suffix(".hdr")), _existing(path.with_suffix(".cfl"))
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
    _check_claim(dims, np.dtype(np.complex64), size, str(data))
    spatial = SPATIAL[3 - sum(dim > 1 for dim in dims[:3]) :]
    others = tuple(name for name in ("slice", "coil") if dims[_BART_PLACE[name]] > 1)
    array = np.fromfile(data, "<c8").reshape([dim for dim in reversed(dims) if dim > 1])
    return _Stored(array, str(data), others + spatial)


def _write_cfl(path: Path, image: np.ndarray, axes: Sequence[str]) -> None:
    order = _order(axes, image.shape)
    with np.errstate(over="ignore"):
        data = _checked(image.transpose(order).astype("<c8"), "The image in single precision")
    dims = [1] * len(_BART)
    for name, side in zip(axes, image.shape, strict=True):
        dims[_BART_PLACE[name]] = side
    with _replacing(path.with_suffix(".cfl"), path.with_suffix(".hdr")) as (cfl, hdr):
        data.tofile(cfl)
        hdr.write_text(f"# Dimensions\n{' '.join(map(str, dims))}\n", encoding="ascii")


# --- images ----------------------------------------------------------------------------------------------------------


def _magnitude(image: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return _checked(np.abs(_as_float(image)).astype(np.float32), "The magnitude in single precision")


def _read_png(path: Path, key: str | None, preferred: str) -> _Stored:
    from PIL import Image  # no extra: matplotlib brings it

    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(path, formats=["PNG"]) as image:
            image.verify()  # the checksums, which loading passes over
        with Image.open(path, formats=["PNG"]) as image:
            if image.mode not in ("1", "L", "I;16", "I"):
                raise BadInput(f"A grey PNG image in {path}", f"the mode {image.mode}", "Convert it to grey")
            return _Stored(np.asarray(image), str(path))


def _write_png(path: Path, image: np.ndarray) -> None:
    from PIL import Image

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
    with _replacing(path) as (temporary,):
        Image.fromarray(picture).save(temporary, format="PNG")


def _read_nifti(path: Path, key: str | None, preferred: str) -> _Stored:
    nibabel = _optional("nibabel", "images", "Reading NIfTI")
    image = nibabel.load(path, mmap=False)
    _check_claim(image.shape, image.get_data_dtype(), path.stat().st_size, str(path))
    array = np.asarray(image.dataobj).T
    while array.ndim > 2 and array.shape[0] == 1:
        array = array[0]
    unit = image.header.get_xyzt_units()[0]
    zooms = [float(zoom) for zoom in reversed(image.header.get_zooms()[: min(array.ndim, 3)])]
    # Many files leave the unit out and mean mm; but then ones are nibabel's filling and no knowledge.
    known = unit != "unknown" or set(zooms) != {1.0}
    scale = {"meter": 1e3, "micron": 1e-3}.get(unit, 1.0)
    return _Stored(array, str(path), voxel_size=_positive([scale * zoom for zoom in zooms]) if known else None)


def _write_nifti(path: Path, image: np.ndarray, voxel_size: Sequence[float] | None) -> None:
    nibabel = _optional("nibabel", "images", "Writing NIfTI")
    sizes = _positive([1.0] if voxel_size is None else voxel_size)
    if not sizes or len(sizes) > min(3, image.ndim) or image.ndim > 7:
        raise BadInput(
            "An image of at most 7 axes and one positive voxel size in mm for each of its last axes, at most 3",
            f"the voxel size {voxel_size} for the shape {image.shape}",
            "Pass voxel_size in the order of the axes, e.g. (dz, dy, dx)",
        )
    affine = np.diag([*reversed(sizes), *[1.0] * (4 - len(sizes))])
    nifti = nibabel.Nifti1Image(_magnitude(image).T, affine)
    nifti.header.set_xyzt_units("unknown" if voxel_size is None else "mm")
    with _replacing(path) as (temporary,):
        nibabel.save(nifti, temporary)


def _read_dicom(path: Path, key: str | None, preferred: str) -> _Stored:
    pydicom = _optional("pydicom", "images", "Reading DICOM")
    # A deflated file is inflated whole before a single claim in it can be checked.
    syntax = pydicom.filereader.read_file_meta_info(path).TransferSyntaxUID
    data: Any = {} if syntax == pydicom.uid.DeflatedExplicitVRLittleEndian else pydicom.dcmread(path)
    grey = "PixelData" in data and data.PhotometricInterpretation.startswith("MONOCHROME")
    if not grey or "PerFrameFunctionalGroupsSequence" in data:
        got = "a deflated, colour, enhanced multi-frame or pixel-free one"
        raise BadInput(f"One grey DICOM image in {path}", got, "Convert it to NIfTI, e.g. with dcm2niix")
    shape = (int(data.get("NumberOfFrames", 1) or 1), data.Rows, data.Columns)
    _check_claim(shape, np.dtype(f"u{max(1, data.BitsAllocated // 8)}"), len(data.PixelData), str(path))
    array = data.pixel_array
    slope, intercept = float(data.get("RescaleSlope", 1)), float(data.get("RescaleIntercept", 0))
    if (slope, intercept) != (1.0, 0.0):
        array = _as_float(array) * slope + intercept
    spacing = data.get("PixelSpacing")
    return _Stored(array, str(path), voxel_size=_positive(spacing) if spacing else None)
