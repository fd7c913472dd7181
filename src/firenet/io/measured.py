"""Files of measurements of any kind: what a file has decides what was measured.

* A trajectory beside k-space, in an ISMRMRD file or as the array ``trajectory``: non-Cartesian k-space.
* The group ``exchange`` of the Data Exchange layout (synchrotrons), or an array ``sinogram``: projections.
* An array ``measurements``: coefficients of Walsh-Hadamard patterns, with the numbers of the patterns in ``index``.
* Anything else is k-space on a Cartesian grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from firenet.errors import BadInput
from firenet.io.files import Scan, cartesian, load
from firenet.io.safely import AnyPath
from firenet.io.stored import Stored, as_float


@dataclass(frozen=True)
class Readouts:
    """Samples of k-space along a trajectory.

    Attributes:
        kspace: Complex, shape (slice, coil, *samples).
        trajectory: In the file's unit, in ISMRMRD files in cycles per pixel; shape (slice, *samples, 2 or 3) or
            (*samples, 2 or 3), its last axis in the order of the image axes.
        shape: The shape of an image, (y, x) or (z, y, x); None if the file does not say.
        axes: The names of the axes of k-space.
        voxel_size: In mm, for each image axis; None if the file does not say.
        slice_thickness: In mm, or None.
        source: The path and the array's name.
        notes: Sentences about what the reader left out or assumed.
    """

    kspace: np.ndarray
    trajectory: np.ndarray
    shape: tuple[int, ...] | None
    axes: tuple[str, ...]
    voxel_size: tuple[float, ...] | None
    slice_thickness: float | None
    source: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sinogram:
    """Projections of a tomogram.

    Attributes:
        projections: Intensities, or line integrals if ``white`` is None; shape (slice, angle, cell).
        theta: The angles in degrees.
        white: Intensities without the object, shape (frame, slice, cell), or None.
        dark: Intensities without the beam, of the same shape, or None.
        axes: The names of the axes of the projections.
        source: The path and the array's name.
        notes: Sentences about what the reader assumed.
        voxel_size: Not known: None.
        slice_thickness: Not known: None.
    """

    projections: np.ndarray
    theta: np.ndarray
    white: np.ndarray | None
    dark: np.ndarray | None
    axes: tuple[str, ...]
    source: str
    notes: tuple[str, ...] = ()
    voxel_size: tuple[float, ...] | None = None
    slice_thickness: float | None = None


@dataclass(frozen=True)
class Patterns:
    """Measurements of a single-pixel camera.

    Attributes:
        values: Real, one for each pattern, or a grid of them.
        index: The numbers of the patterns, or None for a grid or all patterns in their order.
        shape: The shape of the image, or None if the file does not say.
        axes: The names of the axes of the values.
        source: The path and the array's name.
        notes: Sentences about what the reader assumed.
        voxel_size: Not known: None.
        slice_thickness: Not known: None.
    """

    values: np.ndarray
    index: np.ndarray | None
    shape: tuple[int, ...] | None
    axes: tuple[str, ...]
    source: str
    notes: tuple[str, ...] = ()
    voxel_size: tuple[float, ...] | None = None
    slice_thickness: float | None = None


def read_measured(
    path: AnyPath, *, axes: Sequence[str] | None = None, key: str | None = None, coils: bool = False
) -> Scan | Readouts | Sinogram | Patterns:
    """Reads a file of measurements of any kind.

    Args:
        path: The file.
        axes: The meaning of the stored axes of k-space on a grid, as in `read_scan`.
        key: As in `read_scan`.
        coils: As in `read_scan`.

    Raises:
        BadInput: As `read_scan`, and for arrays that do not belong together.
        MissingExtra: If the format needs a library that is not installed.
    """
    stored = load(path, key, "kspace")
    named = axes is not None and (stored.measured != "kspace" or "trajectory" in stored.more)
    if named:
        got = f"{stored.name}, which is of another kind"
        raise BadInput("k-space on a grid, whose axes can be named", got, "Leave --axes out")
    if stored.measured == "sinogram":
        return _sinogram(stored)
    if stored.measured == "measurements":
        return _patterns(stored)
    if "trajectory" in stored.more:
        return _readouts(stored, coils)
    return cartesian(stored, axes, coils=coils)


def _readouts(stored: Stored, coils: bool) -> Readouts:
    k, trajectory = stored.array, stored.more["trajectory"]
    if not np.iscomplexobj(k):
        do = "Give raw, complex k-space; a magnitude has lost its phase"
        raise BadInput("Complex k-space", f"{k.dtype} of shape {k.shape} in {stored.name}", do)
    if stored.axes is None:  # npz and other HDF5 files: the shape of the samples is that of the trajectory
        samples = trajectory.shape[:-1]
        extra = k.ndim - len(samples)
        if not samples or k.shape[extra:] != samples or not 0 <= extra <= 2:
            got = f"k-space of shape {k.shape} and a trajectory of shape {trajectory.shape} in {stored.name}"
            do = "Save kspace as ([slice,] coil, *samples) and trajectory as (*samples, 2 or 3)"
            raise BadInput("A trajectory with the coordinates of each sample in its last axis", got, do)
        if extra == 1 and not coils:
            do = "With several coils, add --maps auto; for slices save (slice, 1, *samples)"
            raise BadInput("Coil maps for k-space of several coils", f"shape {k.shape} and no maps", do)
        k = k.reshape((1,) * (2 - extra) + k.shape)
    shape = stored.more.get("shape")
    return Readouts(
        kspace=k,
        trajectory=as_float(trajectory),
        shape=None if shape is None else _shape(shape, stored.name),
        axes=("slice", "coil", *("readout", "sample")[2 - min(k.ndim - 2, 2) :]),
        voxel_size=stored.voxel_size,
        slice_thickness=stored.slice_thickness,
        source=stored.name,
        notes=stored.notes,
    )


def _shape(given: np.ndarray, where: str) -> tuple[int, ...]:
    """Returns the shape of an image from the array ``shape`` of a file."""
    flat = np.ravel(given)
    if not 1 <= len(flat) <= 3 or flat.dtype.kind not in "iuf" or (flat != np.round(flat)).any() or flat.min() < 1:
        got = f"an array of shape {given.shape}, dtype {given.dtype}"
        raise BadInput(f"One to three whole sides of the image in the array shape of {where}", got, "Correct it")
    return tuple(int(n) for n in flat)


def _sinogram(stored: Stored) -> Sinogram:
    array, theta = as_float(stored.array), stored.more.get("theta")
    if theta is None:
        do = "Save them in degrees as theta, or exchange/theta in the Data Exchange layout"
        raise BadInput(f"The angles of the projections in {stored.name}", "no array theta", do)
    if np.iscomplexobj(array):
        do = "Save real intensities or line integrals"
        raise BadInput("Real projections", f"{array.dtype} in {stored.name}", do)
    theta = np.ravel(as_float(theta)).astype(np.float64)
    notes = list(stored.notes)
    if array.ndim == 2:
        array = array[:, None]
    if array.ndim != 3 or len(array) != len(theta):
        got = f"shape {stored.array.shape} and {len(theta)} angles in {stored.name}"
        do = "Save (angle, cell) or (angle, row, cell), and one angle for each"
        raise BadInput("Projections whose first axis is that of the angles", got, do)
    frames = {}
    for name in ("white", "dark"):
        frame = stored.more.get(name)
        if frame is None:
            continue
        frame = as_float(frame)
        frame = frame[None] if frame.ndim == stored.array.ndim - 1 else frame
        frame = frame[:, None] if frame.ndim == stored.array.ndim == 2 else frame
        if frame.ndim != 3 or frame.shape[1:] != array.shape[1:]:
            got = f"{name} of shape {frame.shape}, projections of shape {stored.array.shape}"
            raise BadInput(f"{name.capitalize()} frames of the projections' rows and cells", got, "Check the file")
        frames[name] = frame
    return Sinogram(
        projections=np.ascontiguousarray(array.transpose(1, 0, 2)),
        theta=theta,
        white=frames.get("white"),
        dark=frames.get("dark"),
        axes=("slice", "angle", "cell"),
        source=stored.name,
        notes=tuple(notes),
    )


def _patterns(stored: Stored) -> Patterns:
    values, index, shape = stored.array, stored.more.get("index"), stored.more.get("shape")
    return Patterns(
        values=as_float(values),
        index=None if index is None else np.ravel(index),
        shape=None if shape is None else _shape(shape, stored.name),
        axes=("pattern",) if values.ndim == 1 else ("y", "x")[-values.ndim :],
        source=stored.name,
        notes=stored.notes,
    )


def without_numbers(read: Scan | Readouts | Sinogram | Patterns) -> Scan | Readouts | Sinogram | Patterns:
    """Returns what a file says in addition to its measurements, for the record: the measurements are left out."""
    if isinstance(read, Scan):
        return replace(read, kspace=read.kspace[:0].copy())
    if isinstance(read, Readouts):
        return replace(read, kspace=read.kspace[:0].copy())
    if isinstance(read, Sinogram):
        return replace(read, projections=read.projections[:0].copy())
    return replace(read, values=read.values[:0].copy())
