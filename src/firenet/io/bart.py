"""BART's cfl: a pair of files, complex64 numbers in Fortran order and a header in text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from firenet.errors import BadInput
from firenet.io.safely import existing, replacing
from firenet.io.stored import MAX_HEADER, Stored, check_claim, checked, one_line, shown

_BART = (
    *("READ", "PHS1", "PHS2", "COIL", "MAPS", "TE", "COEFF", "COEFF2"),
    *("ITER", "CSHIFT", "TIME", "TIME2", "LEVEL", "SLICE", "AVG", "BATCH"),
)
_BART_PLACE = {"x": 0, "y": 1, "z": 2, "coil": 3, "slice": 13}


def read_cfl(path: Path, key: str | None, preferred: str) -> Stored:
    """Reads a pair of files. BART's Fortran order is C order with the axes reversed, which is the order of `AXES`.

    Singletons are dropped; a mask without coil and slice axes keeps those along READ and PHS1, so that a pattern with
    one sample along READ stands for whole lines.
    """
    header, data = existing(path.with_suffix(".hdr")), existing(path.with_suffix(".cfl"))
    dims = _dimensions(header)
    for place, (dim, name) in enumerate(zip(dims, _BART, strict=True)):
        if dim > 1 and place not in _BART_PLACE.values():
            needed = f"A cfl file of {', '.join(_BART[known] for known in _BART_PLACE.values())} only"
            raise BadInput(needed, f"{name} of size {dim} in {header}", f"Take one of them: bart slice {place} 0")
    claimed, size = 8 * math.prod(dims), data.stat().st_size
    needed, do = f"{claimed} bytes in {data}, as {header.name} says", "Copy both files again"
    if claimed != size:
        raise BadInput(needed, f"{size}", do)
    check_claim(dims, np.dtype(np.complex64), size, str(data))
    array = np.fromfile(data, "<c8", count=math.prod(dims))
    if array.nbytes != claimed:  # the file has shrunk meanwhile
        raise BadInput(needed, f"{array.nbytes}", do)
    names = "xyz" if dims[0] > 1 else " xy"
    spatial = tuple(names[place] for place in (2, 1, 0) if dims[place] > 1)
    others = tuple(name for name in ("slice", "coil") if dims[_BART_PLACE[name]] > 1)
    kept = [dim for dim in reversed(dims) if dim > 1]
    if preferred == "mask" and not others:
        kept = [dim for place, dim in reversed(list(enumerate(dims[:3]))) if place < 2 or dim > 1]
    return Stored(array.reshape(kept or [1]), str(data), others + spatial)


def _dimensions(header: Path) -> list[int]:
    """Returns the 16 dimensions of a header, whose sections may come in any order."""
    with header.open("rb") as file:
        text = file.read(MAX_HEADER).decode("ascii", "replace").splitlines()
    lines = [line.strip() for line in text]
    if "# Data" in lines:
        got = f"a section '# Data' in {header}, which names another file"
        raise BadInput("A cfl file whose data lie beside its header", got, "Write the pair again: bart copy")
    count = lines.count("# Dimensions")
    words = lines[lines.index("# Dimensions") + 1 :][:1] if count == 1 else []
    dims = words[0].split() if words else []
    if not 0 < len(dims) <= len(_BART) or not all(w.isdigit() and len(w) < 19 and int(w) > 0 for w in dims):
        needed = f"'# Dimensions' and then 1 to {len(_BART)} positive integers in {header}"
        got = f"'{shown(' '.join(words or lines[:2])[:80])}'"
        raise BadInput(needed, got if count < 2 else f"{count} such sections", "Write the pair again with BART")
    return [int(dim) for dim in dims] + [1] * (len(_BART) - len(dims))


def write_cfl(path: Path, image: np.ndarray, axes: Sequence[str], description: str = "") -> None:
    """Writes the pair of files of an image, complex64, whose axes are in the order of `AXES`."""
    with np.errstate(over="ignore"):
        data = checked(image.astype("<c8"), "The image in single precision")
    dims = [1] * len(_BART)
    for name, side in zip(axes, image.shape, strict=True):
        dims[_BART_PLACE[name]] = side
    # BART ignores sections that it does not know.
    said = f"# Description\n{one_line(description)}\n" if description else ""
    with replacing(path.with_suffix(".cfl"), path.with_suffix(".hdr")) as (cfl, hdr):
        data.tofile(cfl)
        hdr.write_text(f"# Dimensions\n{' '.join(map(str, dims))}\n{said}", encoding="ascii")
