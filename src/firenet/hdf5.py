"""The reader of HDF5 files: the arrays of fastMRI and others, and the scans of ISMRMRD, line by line.

Only data inside the file are read: links to other files, external and virtual storage are refused, since a file from
outside must not choose which others are opened. The checks are those of `formats`, made before memory is taken. An
ISMRMRD scan is Cartesian, its lines are put where the header and their counters say, and what was not measured is zero.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from firenet.errors import BadInput
from firenet.formats import MAX_HEADER, SPATIAL, Stored, check_claim, choose, optional, positive

# --- HDF5 ------------------------------------------------------------------------------------------------------------


def read_hdf5(path: Path, key: str | None, preferred: str) -> Stored:
    """Read one array, with k-space its ``mask`` too; or the scan of an ISMRMRD group, where k-space is asked for."""
    h5py = optional("h5py", "mri", "Reading HDF5")
    with h5py.File(path, "r") as file:
        # Only hard links are followed: the others may lead to another file.
        inside = {name: file[name] for name in file if isinstance(file.get(name, getlink=True), h5py.HardLink)}
        arrays = [name for name, node in inside.items() if isinstance(node, h5py.Dataset)]
        groups = [name for name, node in inside.items() if isinstance(node, h5py.Group)]
        groups = [name for name in groups if {"xml", "data"} <= set(inside[name])]
        if preferred == "kspace" and groups and (key in groups or (key is None and "kspace" not in arrays)):
            return _read_ismrmrd(h5py, file, path, choose(path, key, "dataset", groups))
        name = key if key and "/" in key else choose(path, key, preferred, arrays)
        array = _read_dataset(_dataset(h5py, file, name), path)
        with_mask = preferred == "kspace" and name != "mask" and "mask" in arrays
        mask = _read_dataset(_dataset(h5py, file, "mask"), path) if with_mask else None
        fastmri = {3: ("slice", "y", "x"), 4: ("slice", "coil", "y", "x")} if name == "kspace" else {}
        stored = Stored(array, f"{path} [{name}]", fastmri.get(array.ndim), mask, readout="y" if fastmri else "x")
        if stored.axes is None or "ismrmrd_header" not in arrays:
            return stored
        voxels, thickness = _fastmri_voxels(h5py, file, path, array.shape[-2:])
        return replace(stored, voxel_size=voxels, slice_thickness=thickness)


def _fastmri_voxels(
    h5py: ModuleType, file: Any, path: Path, shape: tuple[int, ...]
) -> tuple[tuple[float, ...] | None, float | None]:
    """The voxels (y, x) and the thickness of the slices in mm, as far as the header can be read: the data do not need
    it, so one that is damaged, or of which nobody here can make sense, says nothing."""
    try:
        xml = _dataset(h5py, file, "ismrmrd_header")
        if xml.dtype.kind != "S" and h5py.check_string_dtype(xml.dtype) is None:
            return None, None
        space = _ismrmrd_encoding(xml, 0, f"{path} [ismrmrd_header]").encodedSpace
        view, size = space.fieldOfView_mm, space.matrixSize
        # The readout of these files is their first image axis. The samples of a field of view share it, also where
        # more or fewer are stored than the header says.
        return positive([view.x / shape[0], view.y / shape[1]]), _thickness(view.z, size.z)
    except Exception:  # parsers of foreign bytes raise anything
        return None, None


def _thickness(view: float, partitions: int) -> float | None:
    """That of the slices of a two-dimensional scan, whose field of view across is one slice."""
    found = positive([view]) if partitions == 1 else None
    return None if found is None else found[0]


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
    check_claim(dataset.shape, dataset.dtype, stored, where, unit=chunk)
    if not 0 < stored <= path.stat().st_size:
        raise BadInput(f"{where}: data", f"the shape {dataset.shape} and {stored} bytes stored", "Write the file again")
    return dataset[()]


# --- ISMRMRD ---------------------------------------------------------------------------------------------------------

# Bits of a line's flags, as ISMRMRD numbers them from 1.
_CALIBRATION, _CALIBRATION_AND_IMAGING, _REVERSE = 20, 21, 22
_NO_IMAGE = (19, 23, 24, 26, 27, 28, 29, 30, 31)  # noise, navigators, phase correction, feedback, dummies and the like
_SAME_IN_HEAD = ("number_of_samples", "center_sample", "discard_pre", "discard_post", "active_channels")
_SAME_IN_COUNTERS = ("contrast", "phase", "repetition", "set")


def _read_ismrmrd(h5py: ModuleType, file: Any, path: Path, group: str) -> Stored:
    """Assemble (slice, coil[, z], y, x) from the lines of a Cartesian scan."""
    where = f"{path} [{group}]"
    lines, xml = _dataset(h5py, file, f"{group}/data"), _dataset(h5py, file, f"{group}/xml")
    known = optional("ismrmrd.hdf5", "mri", "Reading ISMRMRD").acquisition_header_dtype
    kinds = [h5py.check_vlen_dtype(lines.dtype[name]) for name in ("traj", "data")]
    is_text = xml.dtype.kind == "S" or h5py.check_string_dtype(xml.dtype) is not None
    # A damaged description of records or of text with a variable length makes libhdf5 write where it must not.
    if lines.dtype["head"] != known or kinds != [np.float32] * 2 or not is_text:
        got = "records of another kind"
        raise BadInput(f"Lines and a header as ISMRMRD 1 defines them in {where}", got, "Convert the scan again")
    room, stored = lines.size * lines.dtype.itemsize, lines.id.get_storage_size()
    check_claim((room,), np.dtype(np.uint8), stored, f"{where}, the table of its lines")
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
    check_claim(shape, np.dtype(np.complex64), path.stat().st_size, where)
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
    with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is refused by `checked`
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
    ratio = view.x / wanted.x if positive([view.x, wanted.x]) else size.x / encoding.reconSpace.matrixSize.x
    return Stored(
        array=kspace[:, :, plane],
        name=where if count.max() == 1 else f"{where}, lines measured up to {count.max()} times averaged",
        axes=("slice", "coil", *spatial),
        mask=mask[plane] if same else None,
        voxel_size=positive([getattr(view, name) / getattr(size, name) for name in spatial]),
        oversampling=max(1.0, ratio),
        slice_thickness=_thickness(view.z, size.z),
    )


def _ismrmrd_encoding(dataset: Any, number: int, where: str) -> Any:
    """Parse the header: one of its encodings, if it is Cartesian with matrices of positive size."""
    xsd = optional("ismrmrd.xsd", "mri", "Reading ISMRMRD")
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
