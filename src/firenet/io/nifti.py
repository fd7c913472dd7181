"""NIfTI 1 and 2: volumes with their voxel size, as one file, gzipped or not, or as a pair (.hdr, .img).

Of the header only the voxel size and how the numbers are stored are read: not the orientation, not the extensions.
"""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from firenet.errors import BadInput
from firenet.io.safely import existing, replacing
from firenet.io.stored import MAX_HEADER, Stored, check_claim, magnitude, one_line, positive
from firenet.optional import optional

_LENGTHS = (348, 540)  # of the headers of NIfTI 1 and 2


def is_pair_header(head: bytes) -> bool:
    """Returns whether these first bytes are those of the header of a pair, of NIfTI or of Analyze, its predecessor."""
    size = {int.from_bytes(head[:4], order) for order in ("little", "big")}
    return bool(size & set(_LENGTHS)) and not head[344:].startswith(b"n+1") and not head[4:].startswith(b"n+2")


def read_nifti(path: Path, key: str | None, preferred: str) -> Stored:
    """Reads a NIfTI image, its axes reversed and leading singletons dropped, and its voxel size in mm."""
    nibabel = optional("nibabel", "images", "Reading NIfTI")
    with gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb") as file:
        head = file.read(max(_LENGTHS))
    pair = is_pair_header(head)
    data = existing(path.with_suffix(".img")) if pair else path
    size = next((n for n in _LENGTHS if n in [int.from_bytes(head[:4], order) for order in ("little", "big")]), 0)
    magic = head[344:347] if size == _LENGTHS[0] else head[4:7]
    if pair and magic not in (b"ni1", b"ni2"):
        do = "Convert it: nibabel.save(nibabel.load(path), 'image.nii.gz'), and check left and right"
        raise BadInput(f"A NIfTI header in {path}", "one of Analyze 7.5, which leaves the orientation open", do)
    # nibabel would read extensions into memory, of whatever size they claim. The first bytes are the header.
    module = nibabel.nifti1 if size == _LENGTHS[0] else nibabel.nifti2
    header = getattr(module, f"Nifti{_LENGTHS.index(size) + 1}{'Pair' if pair else ''}Header")(head[:size])
    offset, stored = header.get_data_offset(), data.stat().st_size
    if offset > MAX_HEADER:
        do = "Save it without extensions: nibabel.Nifti1Image(image.dataobj, image.affine)"
        raise BadInput(f"{path}: extensions of at most {MAX_HEADER >> 20} MiB", f"{offset} bytes before the data", do)
    check_claim(header.get_data_shape(), header.get_data_dtype(), stored, str(data))
    array = np.asarray(nibabel.arrayproxy.ArrayProxy(str(data), header, mmap=False)).T
    while array.ndim > 2 and array.shape[0] == 1:
        array = array[0]
    return Stored(array, str(data), voxel_size=_voxels(header, array.ndim))


def _voxels(header: Any, dims: int) -> tuple[float, ...] | None:
    """Returns the voxel size in mm in the order of the array's axes, None where it is not known."""
    unit = header.get_xyzt_units()[0]
    zooms = [float(zoom) for zoom in reversed(header.get_zooms()[: min(dims, 3)])]
    # Many files leave the unit out and mean mm; but then sizes of 1 are nibabel's default and say nothing.
    known = unit != "unknown" or set(zooms) != {1.0}
    scale = {"meter": 1e3, "micron": 1e-3}.get(unit, 1.0)
    return positive([scale * zoom for zoom in zooms]) if known else None


def write_nifti(path: Path, image: np.ndarray, voxel_size: Sequence[float] | None, description: str = "") -> None:
    """Writes the magnitude, float32, x first; the affine holds the voxel size and nothing else."""
    nibabel = optional("nibabel", "images", "Writing NIfTI")
    sizes = positive([1.0] if voxel_size is None else voxel_size)
    if not sizes or len(sizes) > min(3, image.ndim) or image.ndim > 7:
        needed = "An image of at most 7 axes and one positive voxel size in mm for each of its last axes, at most 3"
        do = "Pass voxel_size in the order of the axes, e.g. (dz, dy, dx)"
        raise BadInput(needed, f"the voxel size {voxel_size} for the shape {image.shape}", do)
    affine = np.diag([*reversed(sizes), *[1.0] * (4 - len(sizes))])
    nifti = nibabel.Nifti1Image(magnitude(image).T, affine)
    nifti.header.set_xyzt_units("unknown" if voxel_size is None else "mm")
    said = one_line(description)
    # The field has 80 bytes, the last of them zero. The middle is cut out, since the number of the slice comes last.
    nifti.header["descrip"] = (said if len(said) < 80 else f"{said[:36]}...{said[-40:]}").encode("ascii")
    with replacing(path) as (temporary,):
        nibabel.save(nifti, temporary)
