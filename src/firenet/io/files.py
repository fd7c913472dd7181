"""Reading of scans and images, writing of images and records: the functions that the rest of the library uses.

This module chooses the format and says what axes and masks mean; each format has a module in `io`, and `docs/files.md`
says what is read of each and what is refused.

Files are centred as in fastMRI, BART and SigPy (k-space, masks and images alike), and this module shifts nothing:
arrays are returned as they are stored, with their axes put into one order, `AXES`.

A file comes from outside, so nothing in it is trusted. The content decides the format, not the name, except for cfl
and .nii.gz. Nothing is ever unpickled. What a header claims is compared with what the file holds before memory is
taken. Data kept in other files (HDF5 links, external and virtual storage) are refused. Every other error of a parser
becomes a `BadInput`. libhdf5, which hangs and crashes on damaged files, runs in a process of its own. Files are never
mapped into memory, so that a file which shrinks meanwhile does no harm. Text from a file is escaped before an error
shows it. One risk remains: a file may make a parser in C run code. Open files of unknown origin in a container.

A file is written under a temporary name in its own folder and put in place when it is whole, so there is never half a
file, whatever interrupts the writing.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from firenet.errors import BadInput, FirenetError, plain
from firenet.io.bart import read_cfl, write_cfl
from firenet.io.dicom import read_dicom
from firenet.io.foreign import foreign
from firenet.io.hdf5 import MAGIC, read_hdf5
from firenet.io.nifti import is_pair_header, read_nifti, write_nifti
from firenet.io.numpy_files import read_npy, read_npz, write_npy
from firenet.io.png import read_png, write_png
from firenet.io.safely import AnyPath, check_room, existing, replacing, suffix
from firenet.io.stored import AXES, SPATIAL, Stored, as_float, checked, shown, unreadable
from firenet.optional import optional

_UNUSUAL = re.compile(r"[^\n -~]")  # outside of its strings, JSON has only newlines and ASCII
WITNESSES = "firenet_witnesses"  # the name of the array of names in a file of witnesses
_RECORD = b'{\n  "firenet": "'
# The axes of arrays whose file does not name them: by whether there are coils, and the number of axes.
_DEFAULT_AXES: dict[tuple[bool, int], tuple[str, ...]] = {
    **{(False, 1): ("x",), (False, 2): ("y", "x")},
    **{(True, 3): ("coil", "y", "x"), (True, 4): ("slice", "coil", "y", "x")},
}
IMAGE_SUFFIXES = (".npy", ".png", ".nii", ".nii.gz", ".cfl", ".hdr")


@dataclass(frozen=True)
class Scan:
    """The raw data of one scan, as stored: nothing is shifted, scaled or cropped.

    Attributes:
        kspace: complex64 or complex128, finite, one axis for each name in `axes`.
        axes: Names in the order of `AXES`, which is slice, coil, z, y, x, e.g. ("coil", "y", "x"). The last one is the
            readout, except in fastMRI files, whose readout is y, and where the caller named the axes otherwise.
        mask: bool, the shape of the spatial axes of `kspace`, True where sampled; None if the file has none,
            or if the slices of an ISMRMRD file were sampled differently.
        voxel_size: In mm, one for each spatial axis in the order of `axes`; None if the file does not state it.
        readout_oversampling: The ratio of the measured field of view along x to the field of view that is kept, at
            least 1, from an ISMRMRD header; None if no header states it.
        source: The path and the array's name, for the record of a run.
        readout: The name of the readout axis: y in fastMRI files, x in all others and where the caller named the axes
            otherwise.
        slice_thickness: The thickness of the slices of two-dimensional images, in mm; None if no header states it.
        notes: Sentences about what the reader left out, averaged or corrected.
    """

    kspace: np.ndarray
    axes: tuple[str, ...]
    mask: np.ndarray | None
    voxel_size: tuple[float, ...] | None
    readout_oversampling: float | None
    source: str
    readout: str = "x"
    slice_thickness: float | None = None
    notes: tuple[str, ...] = ()


# --- reading ----------------------------------------------------------------------------------------------------------


def read_scan(path: AnyPath, *, axes: Sequence[str] | None = None, key: str | None = None, coils: bool = False) -> Scan:
    """Reads k-space and brings its axes into the order of `AXES`: slice, coil, z, y, x.

    What the axes mean is never guessed. `axes` has one name from `AXES` for each stored axis, in the stored order, and
    has precedence; where it contradicts a header, what the header says about voxels and oversampling is dropped.
    Without `axes`:

    * fastMRI HDF5, dataset ``kspace``: (slice, y, x) or (slice, coil, y, x); a 1-D ``mask`` runs along the last axis;
      voxels are those of ``ismrmrd_header``, where it can be read.
    * ISMRMRD: from the header and the counters of the lines; repeated lines are averaged; DC is
      put at the middle, n // 2, of each encoded axis, and what was not measured is zero. `Scan.mask` says which lines
      were measured, if they are the same in all slices, and `Scan.notes` what was left out.
    * BART cfl: from the dimensions, singletons dropped: READ is x, PHS1 y, PHS2 z (if READ is 1: PHS1 x, PHS2 y). A
      file whose PHS1 is 1 and whose PHS2 is not needs `axes`.
    * npy, npz (array ``kspace``, or the only one; ``mask`` is read, too) and other HDF5 datasets: without `coils`
      1-D is (x,) and 2-D (y, x), with `coils` 3-D is (coil, y, x) and 4-D (slice, coil, y, x); all else needs `axes`.

    Args:
        path: The file.
        axes: The meaning of each stored axis. A cfl file's stored axes are its dimensions other than 1, last first.
        key: The array in an npz or HDF5 file, or the group in an ISMRMRD file.
        coils: Whether the caller knows that the data have several coils.

    Raises:
        BadInput: If the file is missing, damaged, of another format or too large, or its array is not finite complex
            k-space on a grid; `measured.read_measured` reads what else there is.
        MissingExtra: If the format needs a library that is not installed.
    """
    return cartesian(load(path, key, "kspace"), axes, coils=coils)


def cartesian(stored: Stored, axes: Sequence[str] | None, *, coils: bool) -> Scan:
    """Returns k-space on a grid with its axes in the order of `AXES`, as `read_scan` does.

    Raises:
        BadInput: If it is not complex k-space on a grid, or its axes are not known.
    """
    array, where = stored.array, stored.name
    if stored.measured != "kspace" or "trajectory" in stored.more:
        got = f"{'a trajectory beside it' if stored.measured == 'kspace' else stored.measured} in {where}"
        do = "reconstruct_scan and `firenet recon` take what else can be measured"
        raise BadInput("k-space on a Cartesian grid", got, do)
    if not np.iscomplexobj(array):
        do = "Give raw, complex k-space; a magnitude image has lost its phase"
        if array.ndim > 1 and array.shape[-1] == 2:
            join = "x[..., 0] + 1j * x[..., 1] in numpy, torch.view_as_complex in torch"
            do = f"Join real and imaginary parts first: {join}"
        raise BadInput("Complex k-space", f"{array.dtype} of shape {array.shape} in {where}", do)
    names = tuple(axes) if axes is not None else stored.axes or _DEFAULT_AXES.get((coils, array.ndim))
    if names is None:
        needed, got = f"The meaning of each axis of a {array.ndim}-D array", f"{where} of shape {array.shape}, no axes"
        do = "Pass axes, e.g. coil,y,x or slice,y,x or z,y,x (--axes coil,y,x)"
        if array.ndim > len(AXES):
            do = "Average or split the axes of repetitions, contrasts or phases first"
        raise BadInput(needed, got, do)
    order = _order(names, array.shape)
    described = names == stored.axes
    return Scan(
        kspace=np.ascontiguousarray(array.transpose(order)),
        axes=tuple(names[axis] for axis in order),
        mask=None if stored.mask is None else _spatial_mask(stored.mask, names, array.shape, where),
        voxel_size=stored.voxel_size if described else None,
        readout_oversampling=stored.oversampling if described else None,
        readout=stored.readout if described else "x",
        slice_thickness=stored.slice_thickness if described else None,
        notes=stored.notes,
        source=where,
    )


def read_array(path: AnyPath, *, key: str | None = None, purpose: str = "array") -> np.ndarray:
    """Reads one finite array of numbers, values and dtype as stored: a mask, coil maps, a noise scan, an image.

    The axes are the stored ones, with two exceptions. The axes of cfl and NIfTI, which these formats list from the
    fastest to the slowest, are reversed, and axes of length 1 are dropped: all of them (cfl; a mask keeps x and y) or
    the leading ones (NIfTI, down to two axes). The order is then slice, coil, z, y, x, as in `read_scan`. DICOM values
    are rescaled by the file's slope and intercept.

    Args:
        path: A file in npy, npz, HDF5, cfl, PNG, NIfTI (one file or a pair) or DICOM.
        key: The array in an npz or HDF5 file; None takes the array named `purpose`, or the only one.
        purpose: What the array is for, e.g. "mask".

    Raises:
        BadInput: If the file is missing, damaged, of another format or too large, or holds NaN, infinity or no numbers.
        MissingExtra: If the format needs a library that is not installed.
    """
    return load(path, key, purpose).array


def read_image(path: AnyPath, *, key: str | None = None) -> tuple[np.ndarray, tuple[float, ...] | None]:
    """Reads an image, (y, x) or (z, y, x), and its voxel size in mm, None where the file does not say.

    Files and errors are those of `read_array`. Values are not normalised; bool, half precision and integers of up to 16
    bits become float32, longer integers float64, other numbers stay as they are. The voxel size belongs to the trailing
    axes.
    """
    stored = load(path, key, "image")
    return as_float(stored.array), stored.voxel_size


def sha256(path: AnyPath) -> str:
    """Returns the SHA-256 of a file, in hexadecimal."""
    with existing(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# --- writing ----------------------------------------------------------------------------------------------------------


def check_output(path: AnyPath, *, suffixes: Sequence[str] = IMAGE_SUFFIXES) -> Path:
    """Checks before any work that a file can be written here: known suffix, writable folder, library installed.

    Raises:
        BadInput: If the suffix is not one of `suffixes`, or the folder does not exist or cannot be written to.
        MissingExtra: If the suffix needs a library that is not installed.
    """
    path = Path(path)
    if suffix(path) not in suffixes:
        raise BadInput(f"An output file that ends in {', '.join(suffixes)}", str(path), "Rename the output")
    check_room(path)
    if suffix(path) in (".nii", ".nii.gz"):
        optional("nibabel", "images", "Writing NIfTI")
    return path


def write_image(
    path: AnyPath,
    image: np.ndarray,
    *,
    voxel_size: Sequence[float] | None = None,
    axes: Sequence[str] | None = None,
    description: str = "",
) -> None:
    """Writes an image, whole or not at all, in the format of the suffix.

    * ``.npy``: the array itself, complex or not.
    * ``.png``: the magnitude, black at 0 and white at its 99.5th percentile, 8 bits; the slices of a stack become the
      tiles of one grid, row by row, with about as many rows as columns.
    * ``.nii``, ``.nii.gz``: the magnitude, float32, stored x first; the affine holds `voxel_size` and nothing else, as
      the orientation in the scanner is unknown.
    * ``.cfl`` or ``.hdr``: the pair of files that BART reads, complex64, each axis in BART's place for it.

    Args:
        path: The file.
        image: Finite real or complex numbers, (y, x) or (z, y, x), or what `axes` says.
        voxel_size: In mm, for the trailing axes of `image`, in their order; used by NIfTI.
        axes: Names from slice, coil, z, y, x, for cfl; the trailing ones of (z, y, x) by default.
        description: Where the image comes from, kept by PNG (a text chunk), NIfTI (79 characters; a longer text loses
            its middle) and cfl (a section of the header); npy has no room for it.

    Raises:
        BadInput: For an image or a path that cannot be written.
        MissingExtra: If the format needs a library that is not installed.
    """
    path = check_output(path)
    image = checked(np.asarray(image), "The image to write")
    if suffix(path) == ".npy":
        write_npy(path, image)
    elif suffix(path) == ".png":
        write_png(path, image, description)
    elif suffix(path) in (".cfl", ".hdr"):
        axes = SPATIAL[-image.ndim :] if axes is None else axes
        order = _order(axes, image.shape)
        write_cfl(path, image.transpose(order), [axes[axis] for axis in order], description)
    else:
        write_nifti(path, image, voxel_size, description)


def check_beside(path: AnyPath, *, overwrite: bool = False) -> Path:
    """Checks that a file beside an output can be written.

    The user did not name this file, so only a file that firenet wrote is replaced.

    Args:
        path: A JSON, PNG or npz file.
        overwrite: Allow any file to be replaced.

    Raises:
        BadInput: If there is a file that firenet did not write, or the file cannot be written.
    """
    path = Path(path)
    check_room(path)
    if not overwrite and os.path.lexists(path) and not ours(path):
        do = "Rename it, name another output, or pass --overwrite"
        raise BadInput(
            "Only files that firenet wrote are replaced beside the output", f"{path}, which is something else", do
        )
    return path


def ours(path: AnyPath) -> bool:
    """Returns whether firenet wrote a file, by its first bytes.

    Such files are records (JSON), PNG files whose description names firenet, and the witnesses of an audit (npz, whose
    first array is named after them).
    """
    try:
        with Path(path).open("rb") as file:
            head = file.read(1024)
    except (OSError, ValueError):
        return False
    if head.startswith(b"PK"):
        return WITNESSES.encode() in head[:100]
    return head.startswith(_RECORD) or (head.startswith(b"\x89PNG") and b"Description\0firenet" in head)


def to_json(record: Mapping[str, Any], *, ascii: bool = False) -> str:
    """Returns a record as JSON text; NaN and infinity become null, complex numbers [real, imaginary].

    Characters that are not printable are escaped; with `ascii`, so are all characters outside ASCII.

    Raises:
        TypeError: If something in the record is neither a number, text, path, array, sequence nor mapping.
    """
    text = json.dumps(_plain(record), indent=2, ensure_ascii=ascii, allow_nan=False)
    return _UNUSUAL.sub(lambda found: found[0] if found[0].isprintable() else json.dumps(found[0])[1:-1], text)


def write_json(path: AnyPath, record: Mapping[str, Any]) -> None:
    """Writes a record as JSON (`to_json`), whole or not at all; its first field names firenet and its version.

    Raises:
        BadInput: For a path that cannot be written.
        TypeError: As `to_json`.
    """
    from firenet import __version__

    path = check_output(path, suffixes=(".json",))
    text = to_json({"firenet": __version__, **record}) + "\n"
    with replacing(path) as (temporary,):
        temporary.write_text(text, encoding="utf-8")


# --- the choice of the format ----------------------------------------------------------------------------------------


def load(path: AnyPath, key: str | None, preferred: str) -> Stored:
    """Reads one array of any format, finite numbers in native byte order; `preferred` is the default key."""
    path = existing(path)
    title, read = _format(path)
    if preferred == "kspace" and title in ("PNG", "NIfTI", "DICOM"):
        raise BadInput("A file of k-space", f"{path}, a {title} image", "Give raw k-space, or simulate it")
    try:
        stored = read(path, key, preferred)
    except FirenetError:
        raise
    except Exception as error:  # parsers of foreign bytes raise anything, struct.error and RecursionError included
        raise unreadable(title, path, error) from error
    more = {name: checked(one, f"{stored.name}, {name}") for name, one in stored.more.items()}
    return replace(stored, array=checked(stored.array, stored.name), more=more)


def _format(path: Path) -> tuple[str, Callable[[Path, str | None, str], Stored]]:
    """Returns the title and the reader of a file's format, found from its first bytes (cfl: from the suffix)."""
    ending = suffix(path)
    if ending == ".img" and path.with_suffix(".hdr").is_file():
        path = path.with_suffix(".hdr")
    with path.open("rb") as file:
        head = file.read(2048 + 8)
    if ending in (".hdr", ".img") and is_pair_header(head):
        return "NIfTI", lambda _, key, preferred: read_nifti(path, key, preferred)
    if ending in (".cfl", ".hdr"):
        return "cfl", read_cfl
    for title, offset, magic, read in (
        ("npy", 0, b"\x93NUMPY", read_npy),
        ("npz", 0, b"PK", read_npz),
        # MATLAB puts a block of its own in front.
        *(("HDF5", offset, MAGIC, read_hdf5) for offset in (0, 512, 1024, 2048)),
        ("PNG", 0, b"\x89PNG\r\n\x1a\n", read_png),
        ("DICOM", 128, b"DICM", read_dicom),
        ("NIfTI", 344, b"n+1\0", read_nifti),
        ("NIfTI", 4, b"n+2\0", read_nifti),
        ("NIfTI", 0 if ending == ".nii.gz" else len(head), b"\x1f\x8b", read_nifti),
    ):
        if head[offset:].startswith(magic):
            return title, read
    raise foreign(path, head)


# --- axes and masks --------------------------------------------------------------------------------------------------


def _order(axes: Sequence[str], shape: tuple[int, ...]) -> list[int]:
    """Returns the permutation that brings axes of these names into the order of `AXES`."""
    spatial = tuple(name for name in SPATIAL if name in axes)
    fits = len(set(axes)) == len(axes) == len(shape) and set(axes) <= set(AXES)
    if not fits or not spatial or spatial != SPATIAL[-len(spatial) :]:
        needed = f"A name for each axis of the shape {shape}, each once, from {', '.join(AXES)}; x always, and y with z"
        raise BadInput(needed, ",".join(axes) or "no names", "Name the axes in the order of the shape")
    return sorted(range(len(axes)), key=lambda axis: AXES.index(axes[axis]))


def _spatial_mask(mask: np.ndarray, axes: tuple[str, ...], shape: tuple[int, ...], where: str) -> np.ndarray:
    """Returns a file's mask, aligned with the trailing stored axes, as bool of the scan's spatial shape.

    The mask has zeros and one other number, of any type: 1, or 255 in a picture.
    """
    numbers = mask.dtype.kind in "biufc"
    values = np.unique(mask[mask != 0]) if numbers else np.empty(0)  # with NaN, which is not equal to 0
    if len(values) != 1 or not np.isfinite(values).all():
        got = f"{shown(mask.dtype)} with other values, or no sample"
        raise BadInput(f"A mask of zeros and ones in {where}", got, "Save mask != 0, without NaN")
    spatial = [axis for axis, name in enumerate(axes) if name in SPATIAL]
    sizes = tuple(shape[axis] for axis in spatial)
    mask = mask.astype(bool)
    if mask.ndim == len(axes):
        others = tuple(axis for axis in range(len(axes)) if axis not in spatial)
        if not np.array_equal(mask.all(others), mask.any(others)):
            do = "Split the file: one for each mask"
            raise BadInput("One mask for all slices and coils", f"different ones in {where}", do)
        mask = np.any(mask, others)
    while mask.ndim > len(spatial) and mask.shape[0] == 1:
        mask = mask[0]
    try:
        mask = np.broadcast_to(mask, sizes)
    except ValueError as error:
        raise BadInput(f"A mask of shape {sizes} in {where}", str(mask.shape), "Save one that fits") from error
    return mask.transpose(_order([axes[axis] for axis in spatial], sizes)).copy()


# --- records ---------------------------------------------------------------------------------------------------------


def _plain(value: Any) -> Any:
    """Returns a value in the types of JSON; other types are left for json to refuse."""
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
    # A path may have bytes that are not text.
    return plain(value) if isinstance(value, Path) else value
