"""What the readers and writers of all formats share; each format has a file in `io`, and the doors are in `files`.

What a header claims is compared with what the file holds before memory is taken (`check_claim`), nothing is ever
unpickled, and a file is written under a temporary name and put in place when it is whole (`replacing`). Words that
come from a file are escaped before anybody reads them (`shown`). The libraries that are extras are imported where they
are used (`optional`).
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from firenet.errors import BadInput

AXES = ("slice", "coil", "z", "y", "x")
SPATIAL = ("z", "y", "x")

MAX_BYTES = 16 * 2**30  # the largest array read; less where the machine has less memory
MAX_EXPANSION = 100  # compressed data may grow by this much: k-space never does, a bomb grows 1000-fold
FREE_BYTES = 2**26  # below this size any growth is harmless, and an empty mask does compress that well
MAX_HEADER = 10 * 2**20  # text headers: cfl and ISMRMRD
MAX_WORDS = 200  # characters of a file's own words in a sentence of ours


@dataclass(frozen=True)
class Stored:
    """One array of a file and what the format says about it; the mask is raw, in the layout of the array. The notes
    are sentences about what was left out, put together or put right."""

    array: np.ndarray
    name: str
    axes: tuple[str, ...] | None = None
    mask: np.ndarray | None = None
    voxel_size: tuple[float, ...] | None = None
    oversampling: float | None = None
    readout: str = "x"
    slice_thickness: float | None = None
    notes: tuple[str, ...] = ()


# --- what every format shares ----------------------------------------------------------------------------------------


def suffix(path: Path) -> str:
    """The suffix in lower case, ``.nii.gz`` being one."""
    return ".nii.gz" if path.name.lower().endswith(".nii.gz") else path.suffix.lower()


def shown(text: object) -> str:
    r"""Words from a file as one line that a terminal can show: what is not printable is escaped, what is long is cut.

    >>> print(shown("k\x1b[2Jspace\ndo: trust me"))
    k\x1b[2Jspace\ndo: trust me
    """
    words = str(text)
    words = words if len(words) <= MAX_WORDS else f"{words[:MAX_WORDS]}..."
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in words)


def unreadable(title: str, path: Path, error: BaseException) -> BadInput:
    """What a parser of foreign bytes stumbled over, as an error that everybody can read."""
    text = shown(" ".join(str(error).split())).rstrip(".")
    return BadInput(
        f"A whole and sound {title} file",
        f"{path}, which could not be read ({type(error).__name__}: {text})",
        "Copy or export the file again: it is truncated, damaged or of another kind",
    )


def native(array: np.ndarray) -> np.ndarray:
    """The array of numbers in native byte order and C order; pairs of real and imaginary parts become complex."""
    if array.dtype.names:
        parts = [array[name] for name in array.dtype.names]
        array = np.empty(array.shape, np.result_type(parts[0].dtype, np.complex64))
        array.real, array.imag = parts
    # Long doubles mean another number on every platform, and nothing above this module takes them.
    kind, size = array.dtype.kind, min(array.dtype.itemsize, 16 if array.dtype.kind == "c" else 8)
    with np.errstate(over="ignore"):  # what overflows is infinite, and refused as that
        return array.astype(f"={kind}{size}", order="C", copy=False)


def checked(array: np.ndarray, where: str) -> np.ndarray:
    """The array in native byte order and C order, if it holds finite numbers, at least one."""
    check_claim(array.shape, array.dtype, array.nbytes, where)
    array = native(array)
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
        got = "objects (pickled, or text), which are never loaded" if dtype.hasobject else f"the type {shown(dtype)}"
        raise BadInput(f"{where}: an array of numbers", got, "Save it again as real or complex numbers")
    if min(shape, default=0) < 1:
        raise BadInput(
            f"{where}: an array of at least one axis and number",
            f"the shape {tuple(shape)}",
            "Check how the file was written",
        )
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
        listed = ", ".join(shown(name) for name in sorted(names)[:20])
        got = f"{key or 'no name'} for a file with {listed or 'no arrays'}"
        raise BadInput(f"The name of one array in {path}", got, "Pass key with one of the names")
    return key


def as_float(array: np.ndarray) -> np.ndarray:
    """Floating and complex numbers as they are, half precision and integers as float32, beyond 16 bits as float64."""
    if array.dtype.kind in "fc" and array.dtype.itemsize > 2:
        return array
    return array.astype(np.float32 if array.dtype.itemsize <= 2 else np.float64)


def positive(values: Sequence[float]) -> tuple[float, ...] | None:
    """The numbers as floats, if all are positive and finite, as sizes are; else None."""
    sizes = tuple(float(value) for value in values)
    return sizes if all(0 < size < math.inf for size in sizes) else None


def one_line(text: str) -> str:
    """A text for the headers of files: one line of ASCII."""
    return " ".join(text.split()).encode("ascii", "replace").decode("ascii")


def magnitude(image: np.ndarray) -> np.ndarray:
    """The modulus in single precision, as pictures and volumes hold it."""
    with np.errstate(over="ignore"):
        return checked(np.abs(as_float(image)).astype(np.float32), "The magnitude in single precision")
