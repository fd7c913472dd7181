"""Functions that the readers and writers of all formats share.

What a header claims is compared with what the file holds before memory is taken (`check_claim`). Words that come from a
file are escaped before they are shown (`shown`).
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from firenet.errors import BadInput

AXES = ("slice", "coil", "z", "y", "x")
SPATIAL = ("z", "y", "x")

MAX_BYTES = 16 * 2**30  # the largest array read; less where the machine has less memory
MAX_EXPANSION = 100  # compressed data may grow by this factor: k-space never does, a zip bomb grows 1000-fold
FREE_BYTES = 2**26  # below this size any growth is harmless; an empty mask can compress that well
MAX_HEADER = 10 * 2**20  # bytes of text headers: cfl and ISMRMRD
MAX_WORDS = 200  # characters of a text from a file that are shown


# The arrays that files have beside the one that was measured. What was measured decides which reconstruction it is:
# k-space (with a trajectory it is not Cartesian), a sinogram, or coefficients of Walsh-Hadamard patterns.
COMPANIONS = {
    "kspace": ("mask", "trajectory", "shape"),
    "sinogram": ("theta", "white", "dark"),
    "measurements": ("index", "shape"),
}


@dataclass(frozen=True)
class Stored:
    """One array of a file with its description, as in :class:`.Scan`; the mask has the layout in which it is stored.

    ``measured`` is a name of :data:`COMPANIONS`, and ``more`` has those arrays beside the mask that the file has.
    """

    array: np.ndarray
    name: str
    axes: tuple[str, ...] | None = None
    mask: np.ndarray | None = None
    voxel_size: tuple[float, ...] | None = None
    oversampling: float | None = None
    readout: str = "x"
    slice_thickness: float | None = None
    notes: tuple[str, ...] = ()
    measured: str = "kspace"
    more: dict[str, np.ndarray] = field(default_factory=dict)


def shown(text: object) -> str:
    r"""Returns words from a file as one line that a terminal can show: escaped where not printable, cut where long.

    >>> print(shown("k\x1b[2Jspace\ndo: trust me"))
    k\x1b[2Jspace\ndo: trust me
    """
    words = str(text)
    words = words if len(words) <= MAX_WORDS else f"{words[:MAX_WORDS]}..."
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in words)


def unreadable(title: str, path: object, error: BaseException, do: str = "") -> BadInput:
    """Returns the error for a file on which a parser failed.

    Args:
        title: The name of the format.
        path: The file.
        error: What the parser raised.
        do: What to do; by default to copy or export the file again.
    """
    text = shown(" ".join(str(error).split())).rstrip(".")
    got = f"{path}, which could not be read ({type(error).__name__}: {text})"
    do = do or "Copy or export the file again: it is truncated, damaged or of another kind"
    return BadInput(f"A whole and sound {title} file", got, do)


def native(array: np.ndarray) -> np.ndarray:
    """Returns an array of numbers in native byte order and C order; pairs (real, imaginary) become complex."""
    if array.dtype.names:
        parts = [array[name] for name in array.dtype.names]
        array = np.empty(array.shape, np.result_type(parts[0].dtype, np.complex64))
        array.real, array.imag = parts
    # Long doubles differ between platforms, and the rest of the library does not take them.
    kind, size = array.dtype.kind, min(array.dtype.itemsize, 16 if array.dtype.kind == "c" else 8)
    with np.errstate(over="ignore"):  # what overflows becomes infinite, and is refused as such
        return array.astype(f"={kind}{size}", order="C", copy=False)


def checked(array: np.ndarray, where: str) -> np.ndarray:
    """Returns the array in native byte order and C order.

    Raises:
        BadInput: If it is empty, or not of finite numbers.
    """
    check_claim(array.shape, array.dtype, array.nbytes, where)
    array = native(array)
    bad = array.size - np.count_nonzero(np.isfinite(array))
    if bad:
        raise BadInput(f"{where}: finite numbers", f"{bad} NaN or infinite values", "Find and repair them")
    return array


def check_claim(shape: Sequence[int], dtype: np.dtype[Any], stored: int, where: str, unit: int = 0) -> int:
    """Checks what a header claims before memory is taken, and returns the number of bytes that it claims.

    Structured types are refused, except for the pairs (real, imaginary) that stand for complex numbers.

    Args:
        shape: The shape that the header claims.
        dtype: The type that the header claims.
        stored: The size of the stored data in bytes, compressed or not.
        where: The name of the array, for errors.
        unit: The size in bytes of the smallest piece that can be read, such as an HDF5 chunk.

    Raises:
        BadInput: If the array is empty, not of numbers, too large, or would grow too much when it is read.
    """
    fields = [dtype[name] for name in dtype.names or ()]
    pair = [name[:1] for name in dtype.names or ()] == ["r", "i"] and fields[0] == fields[1] and fields[0].kind == "f"
    if dtype.kind not in "biufc" and not pair:
        got = "objects (pickled, or text), which are never loaded" if dtype.hasobject else f"the type {shown(dtype)}"
        raise BadInput(f"{where}: an array of numbers", got, "Save it again as real or complex numbers")
    if min(shape, default=0) < 1:
        do = "Check how the file was written"
        raise BadInput(f"{where}: an array with at least one axis and one number", f"the shape {tuple(shape)}", do)
    claimed = math.prod(int(side) for side in shape) * dtype.itemsize
    needed, limit = max(claimed, unit), min(MAX_BYTES, memory_bytes() or MAX_BYTES)
    if needed > limit:
        got = f"the shape {tuple(shape)} of {dtype}, {needed / 2**30:.3g} GiB"
        raise BadInput(f"{where}: at most {limit / 2**30:.3g} GiB", got, "Split the file if the size is real")
    if needed > FREE_BYTES and needed > MAX_EXPANSION * stored:
        got = f"{stored} bytes for the shape {tuple(shape)}, {needed / 2**30:.3g} GiB"
        do = "Save it uncompressed if you know where it comes from, else do not open it"
        raise BadInput(f"{where}: data that grow at most {MAX_EXPANSION}-fold when read", got, do)
    return claimed


def memory_bytes() -> int | None:
    """Returns the size of the machine's memory; None if the system does not report it."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def choose(path: Path, key: str | None, preferred: str, names: Sequence[str]) -> str:
    """Returns the name of the array to read: the key, else the preferred name, else the name of the only array.

    If k-space is wanted, a sinogram or measurements may be in its place, and the arrays beside them are not counted.

    Raises:
        BadInput: If no array has the name, or if there is no key and the choice is not unique.
    """
    if key is None:
        beside = {name for some in COMPANIONS.values() for name in some} if preferred == "kspace" else set[str]()
        single = [name for name in names if name not in beside]
        wanted = COMPANIONS if preferred == "kspace" else (preferred,)
        key = next((name for name in wanted if name in names), single[0] if len(single) == 1 else None)
    if key is None or key not in names:
        listed = ", ".join(shown(name) for name in sorted(names)[:20])
        got = f"{key or 'no name'} for a file with {listed or 'no arrays'}"
        raise BadInput(f"The name of one array in {path}", got, "Pass key with one of the names")
    return key


def companions(name: str, preferred: str, names: Sequence[str]) -> tuple[str, list[str]]:
    """Returns what was measured, and which of the arrays of a file belong to it.

    Args:
        name: The array that is read.
        preferred: The default key; only with k-space there are others.
        names: The arrays of the file.
    """
    measured = name if name in COMPANIONS else "kspace"
    return measured, [n for n in COMPANIONS[measured] if preferred == "kspace" and n != name and n in names]


def as_float(array: np.ndarray) -> np.ndarray:
    """Returns floating and complex numbers as they are, half precision and integers of up to 16 bits as float32, longer
    integers as float64."""
    if array.dtype.kind in "fc" and array.dtype.itemsize > 2:
        return array
    return array.astype(np.float32 if array.dtype.itemsize <= 2 else np.float64)


def positive(values: Sequence[float]) -> tuple[float, ...] | None:
    """Returns the numbers as floats if all are positive and finite, as sizes must be; otherwise None."""
    sizes = tuple(float(value) for value in values)
    return sizes if all(0 < size < math.inf for size in sizes) else None


def one_line(text: str) -> str:
    """Returns a text for the headers of files: one line of ASCII."""
    return " ".join(text.split()).encode("ascii", "replace").decode("ascii")


def magnitude(image: np.ndarray) -> np.ndarray:
    """Returns the modulus in single precision, from which PNG and NIfTI files are made."""
    with np.errstate(over="ignore"):
        return checked(np.abs(as_float(image)).astype(np.float32), "The magnitude in single precision")
