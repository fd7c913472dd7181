"""HDF5: the arrays of fastMRI and others, MATLAB 7.3 files among them; the scans of ISMRMRD are read by `mrd`.

Only data inside the file are read: links to other files, external and virtual storage are refused, since a file from
outside must not choose which other files are opened. What a file claims is checked before memory is taken
(`stored.check_claim`), and libhdf5 runs in a process of its own (`apart`).
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from firenet.errors import BadInput, MissingExtra
from firenet.io import mrd
from firenet.io.apart import allow, read_apart
from firenet.io.stored import Stored, check_claim, choose, companions, positive, shown
from firenet.optional import optional

MAGIC = b"\x89HDF\r\n\x1a\n"


def read_hdf5(path: Path, key: str | None, preferred: str) -> Stored:
    """Reads one array and, for k-space, its ``mask``. K-space may also be the scan of an ISMRMRD group."""
    try:
        found = importlib.util.find_spec("h5py")
    except ValueError:
        found = None
    if found is None:
        raise MissingExtra("h5py", "mri", "Reading HDF5")
    return read_apart("hdf5", "HDF5", path, key, preferred)


def prepare() -> None:
    """Loads the library, before this process is limited (`apart.limit`)."""
    optional("h5py", "mri", "Reading HDF5")


@contextmanager
def opened(path: Path, key: str | None, preferred: str) -> Iterator[Stored]:
    """Yields what `read_hdf5` returns, but its arrays may still lie in the file: they are checked and not yet read."""
    h5py = optional("h5py", "mri", "Reading HDF5")
    with h5py.File(path, "r") as file:
        # Only hard links are followed: other links may lead to another file.
        inside = {name: file[name] for name in file if isinstance(file.get(name, getlink=True), h5py.HardLink)}
        arrays = [name for name, node in inside.items() if isinstance(node, h5py.Dataset)]
        top = [name for name, node in inside.items() if isinstance(node, h5py.Group)]
        groups = [name for name in [*top, *([key] if key and "/" in key else [])] if _is_scan(h5py, file, name)]
        if preferred == "kspace" and groups and (key in groups or (key is None and "kspace" not in arrays)):
            group = choose(path, key, "dataset", groups)
            lines, xml = (dataset(h5py, file, f"{group}/{name}") for name in ("data", "xml"))
            yield mrd.read_group(h5py, lines, xml, f"{path} [{shown(group)}]", path.stat().st_size)
            return
        if preferred == "kspace" and "exchange" in top and "kspace" not in arrays and key in (None, "exchange"):
            yield _exchange(h5py, file, path)
            return
        deep = [] if arrays else _deep(h5py, file)
        name = key if key and "/" in key else choose(path, key, preferred, arrays or deep)
        yield _plain(h5py, file, path, name, arrays, preferred)


def _plain(h5py: ModuleType, file: Any, path: Path, name: str, arrays: list[str], preferred: str) -> Stored:
    """Returns one array. For k-space, the file's mask and fastMRI header are used too, if it has them."""
    found = dataset(h5py, file, name)
    array, notes = _sound(h5py, found, path), ()
    if "MATLAB_class" in found.attrs:
        notes = ("MATLAB stores axes in reverse order: its first is the last here.",)
    measured, beside = companions(name, preferred, arrays)
    more = {one: _sound(h5py, dataset(h5py, file, one), path) for one in beside}
    mask = more.pop("mask", None)
    fastmri = {3: ("slice", "y", "x"), 4: ("slice", "coil", "y", "x")} if name == "kspace" else {}
    where = f"{path} [{shown(name)}]"
    fastmri = {} if "trajectory" in more else fastmri
    stored = Stored(array, where, fastmri.get(array.ndim), mask, readout="y" if fastmri else "x", notes=notes)
    stored = replace(stored, measured=measured, more=more)
    if stored.axes is None or "ismrmrd_header" not in arrays:
        return stored
    voxels, thickness = _voxels(h5py, file, path, array.shape[-2:])
    return replace(stored, voxel_size=voxels, slice_thickness=thickness)


def _exchange(h5py: ModuleType, file: Any, path: Path) -> Stored:
    """Returns the projections of a tomogram in the Data Exchange layout: angle, row, column; with the angles in degrees
    and the images without the object (white) and without the beam (dark), where the file has them."""
    names = {"data": "array", "theta": "theta", "data_white": "white", "data_dark": "dark"}
    group = file["exchange"]
    there = [name for name in names if isinstance(group.get(name, getlink=True), h5py.HardLink)]
    if "data" not in there:
        got, do = "a group exchange without it", "Write the projections to exchange/data"
        raise BadInput(f"The projections exchange/data in {path}", got, do)
    arrays = {names[name]: _sound(h5py, dataset(h5py, file, f"exchange/{name}"), path) for name in there}
    array = arrays.pop("array")
    return Stored(array, f"{path} [exchange/data]", measured="sinogram", more=arrays)


def _voxels(
    h5py: ModuleType, file: Any, path: Path, shape: tuple[int, ...]
) -> tuple[tuple[float, ...] | None, float | None]:
    """Returns the voxel size (y, x) and the thickness of the slices in mm; None where the header cannot be read.

    A damaged header is no error, since the data do not need it.
    """
    try:
        text = mrd.header_text(h5py, dataset(h5py, file, "ismrmrd_header"), f"{path} [ismrmrd_header]")
        space = mrd.encoding(text, 0, str(path)).encoded
        # The readout of these files is their first image axis. The field of view is divided by the samples that are
        # stored, even if the header says another number.
        return positive([space.view[2] / shape[0], space.view[1] / shape[1]]), space.thickness
    except Exception:  # parsers of foreign bytes raise anything
        return None, None


def _node(h5py: ModuleType, file: Any, name: str) -> Any:
    """Returns the group or dataset of that name inside this file, or None."""
    node: Any = file
    for part in name.strip("/").split("/"):
        inside = isinstance(node, h5py.Group) and isinstance(node.get(part, getlink=True), h5py.HardLink)
        node = node[part] if inside else None
    return node


def _deep(h5py: ModuleType, group: Any, depth: int = 4) -> list[str]:
    """Returns the names of the datasets in a group and in its subgroups, each of which can be passed as a key."""
    found = []
    for name in group:
        node = group[name] if isinstance(group.get(name, getlink=True), h5py.HardLink) else None
        if isinstance(node, h5py.Dataset):
            found.append(name)
        elif isinstance(node, h5py.Group) and depth:  # links may form cycles
            found += [f"{name}/{inner}" for inner in _deep(h5py, node, depth - 1)]
    return found


def _is_scan(h5py: ModuleType, file: Any, name: str) -> bool:
    """Returns whether a group is one of ISMRMRD."""
    group = _node(h5py, file, name)
    return isinstance(group, h5py.Group) and {"xml", "data"} <= set(group)


def dataset(h5py: ModuleType, file: Any, name: str) -> Any:
    """Returns the dataset of that name, if it and all its data lie in this file.

    Raises:
        BadInput: If it is missing, a group, or stored elsewhere.
    """
    node = _node(h5py, file, name)
    if not isinstance(node, h5py.Dataset) or node.is_virtual or node.external:
        got = f"{shown(name)}, which is missing, a group, or stored elsewhere"
        raise BadInput(f"An array inside {file.filename}", got, "Pass key with its name, or copy its data in")
    return node


def _sound(h5py: ModuleType, data: Any, path: Path) -> Any:
    """Returns the dataset if it can be read: its data are in the file, and it needs only HDF5's own filters."""
    where, stored = f"{path} [{shown(data.name)}]", data.id.get_storage_size()
    chunk = math.prod(data.chunks) * data.dtype.itemsize if data.chunks else 0
    claimed = check_claim(data.shape, data.dtype, stored, where, unit=chunk)
    if not 0 < stored <= path.stat().st_size:
        raise BadInput(f"{where}: data", f"the shape {data.shape} and {stored} bytes stored", "Write the file again")
    creation = data.id.get_create_plist()
    for number in range(creation.get_nfilters()):
        code, _, _, name = creation.get_filter(number)
        if not h5py.h5z.filter_avail(code):
            got = f"the filter {code} ({shown(name.decode('ascii', 'replace'))})"
            raise BadInput(f"{where}: a filter of HDF5 itself", got, "Rewrite it: h5repack -f GZIP=1 IN OUT")
    allow(max(claimed, chunk))
    return data
