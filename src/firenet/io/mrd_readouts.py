"""ISMRMRD scans whose lines carry a trajectory: radial, spiral and other non-Cartesian readouts.

The format does not say in which unit a trajectory is stored. Converters write cycles per pixel (from -1/2 to 1/2),
cycles per field of view (from -n/2 to n/2) or radians per pixel (from -pi to pi); the largest number tells them apart.
The coordinates are stored as x, y, z; here they are in the order of the image axes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from firenet.errors import BadInput
from firenet.io.apart import allow
from firenet.io.stored import Stored, check_claim, positive, shown

# The number of lines that are read at once, and the number that is read in a second of computing, at the least.
BLOCK, PACE = 64, 2000
# Coordinates are stored in single precision, and the largest one of a spiral is rarely exactly at the edge.
_ROUNDED = 1e-4


@dataclass(frozen=True)
class Space:
    """A matrix and its field of view in mm, both (z, y, x)."""

    size: tuple[int, int, int]
    view: tuple[float, float, float]

    @property
    def thickness(self) -> float | None:
        """The thickness in mm of the slices of a two-dimensional scan, whose field of view along z is one slice."""
        found = positive([self.view[0]]) if self.size[0] == 1 else None
        return None if found is None else found[0]


@dataclass(frozen=True)
class Readouts:
    """The imaging lines of a non-Cartesian scan.

    Attributes:
        lines: The dataset ``data`` of the group.
        heads: The headers of the imaging lines.
        numbers: Their positions in the dataset.
        one: What is the same in all of them.
        space: The encoded matrix.
        centre: The partition of zero frequency, or None where the header does not say.
        trajectory: The kind of trajectory, from the header.
        where: The name of the group, for errors.
    """

    lines: Any
    heads: np.ndarray
    numbers: np.ndarray
    one: dict[str, int]
    space: Space
    centre: int | None
    trajectory: str
    where: str

    def read(self, notes: list[str], file_size: int) -> Stored:
        """Returns the samples, shape (slice, coil, line, sample), and their trajectory in cycles per pixel, shape
        (slice, line, sample, 2 or 3), its last axis in the order of the image axes.

        Raises:
            BadInput: If the lines carry no trajectory, one without a known unit, or if the slices have different
                numbers of lines.
        """
        dims = self._dimensions()
        slices = self.heads["idx"]["slice"].astype(int)
        counts = np.bincount(slices)
        if counts.min() != counts.max():
            got = f"{counts.min()} to {counts.max()}"
            do = "Split the file by slices, or leave out the incomplete ones"
            raise BadInput(f"The same number of lines in every slice of {self.where}", got, do)
        kept = slice(self.one["discard_pre"], self.one["number_of_samples"] - self.one["discard_post"])
        samples = len(range(*kept.indices(self.one["number_of_samples"])))
        shape = (len(counts), self.one["active_channels"], int(counts[0]), samples)
        claimed = check_claim(shape, np.dtype(np.complex64), file_size, self.where)
        points = (len(counts), int(counts[0]), samples, dims)
        claimed += check_claim(points, np.dtype(np.float64), 4 * file_size, self.where)
        allow(claimed, len(self.heads) / PACE)
        kspace, trajectory = np.zeros(shape, np.complex64), np.zeros(points)
        order = np.argsort(slices, kind="stable")
        place = np.empty(len(order), int)
        place[order] = np.arange(len(order)) % shape[2]
        for s, j, (line, path) in zip(slices, place, self._each(dims), strict=True):
            kspace[s, :, j] = line[:, kept]
            trajectory[s, j] = path[kept]
        trajectory = trajectory[..., ::-1].copy()  # x, y, z are stored in this order
        size, view = self.space.size, self.space.view
        if dims == 3 and size[0] == 1 and not trajectory[..., 0].any():
            trajectory = trajectory[..., 1:]
        size, view = size[3 - trajectory.shape[-1] :], view[3 - trajectory.shape[-1] :]
        trajectory = self._scaled(trajectory, size, notes)
        if self.space.size[0] > 1 and trajectory.shape[-1] == 2:
            trajectory = self._stacked(trajectory, order, notes)
            size, view = self.space.size, self.space.view
        notes.append(f"The scan is {shown(self.trajectory)}: {shape[2]} readouts of {samples} samples.")
        return Stored(
            array=kspace,
            name=self.where,
            axes=("slice", "coil", "y", "x"),
            voxel_size=positive([v / n for v, n in zip(view, size, strict=True)]),
            slice_thickness=self.space.thickness,
            notes=tuple(notes),
            more={"trajectory": trajectory, "shape": np.array(size)},
        )

    def _dimensions(self) -> int:
        """Returns the number of coordinates of the trajectory that the lines carry."""
        names = self.heads.dtype.names or ()
        found = np.unique(self.heads["trajectory_dimensions"]) if "trajectory_dimensions" in names else np.zeros(1, int)
        if len(found) != 1 or found[0] not in (2, 3) or "traj" not in (self.lines.dtype.names or ()):
            got = f"{', '.join(map(str, found))} coordinates, and the trajectory {shown(self.trajectory)} in the header"
            do = "Convert the scan with its trajectory, or write it into the field traj of each line"
            raise BadInput(f"Lines with a trajectory of 2 or 3 coordinates in {self.where}", got, do)
        return int(found[0])

    def _each(self, dims: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields the lines, (coil, sample), with their trajectories, (sample, coordinate)."""
        coils, samples = self.one["active_channels"], self.one["number_of_samples"]
        both = self.lines.fields(["data", "traj"])
        for first in range(0, len(self.numbers), BLOCK):
            wanted = self.numbers[first : first + BLOCK]
            block = both[int(wanted[0]) : int(wanted[-1]) + 1] if wanted[-1] - wanted[0] < 2 * BLOCK else None
            for number in wanted:
                record = both[int(number)] if block is None else block[number - wanted[0]]
                line, path = record["data"], record["traj"]
                if line.size != 2 * coils * samples or path.size != dims * samples:
                    got = f"{line.size} numbers and {path.size} coordinates in line {number}"
                    needed = f"Lines of {coils} x {samples} samples, with {dims} coordinates each, in {self.where}"
                    raise BadInput(needed, got, "Copy the file again")
                yield line.view(np.complex64).reshape(coils, samples), path.reshape(samples, dims)

    def _scaled(self, trajectory: np.ndarray, size: tuple[int, ...], notes: list[str]) -> np.ndarray:
        """Returns a trajectory in cycles per pixel."""
        if not np.isfinite(trajectory).all():
            got = "NaN or infinity"
            raise BadInput(f"A finite trajectory in {self.where}", got, "Convert the scan with its trajectory")
        largest = np.abs(trajectory).max(axis=tuple(range(trajectory.ndim - 1)))
        if (largest <= 0.5 * (1 + _ROUNDED)).all():
            return trajectory
        half = np.array(size) / 2
        if (largest <= math.pi * (1 + _ROUNDED)).all() and (half > math.pi).all():
            notes.append("The trajectory is taken to be in radians per pixel, as its largest number suggests.")
            return trajectory / (2 * math.pi)
        if (largest <= half * (1 + _ROUNDED)).all():
            notes.append("The trajectory is taken to be in cycles per field of view, as its largest number suggests.")
            return trajectory / np.array(size)
        got = f"numbers of up to {largest.max():.4g}, and the matrix {' x '.join(map(str, size))}"
        do = "Write it in cycles per pixel, from -1/2 to 1/2"
        needed = f"A trajectory in cycles per pixel, cycles per field of view or radians per pixel in {self.where}"
        raise BadInput(needed, got, do)

    def _stacked(self, trajectory: np.ndarray, order: np.ndarray, notes: list[str]) -> np.ndarray:
        """Returns a plane trajectory with a third coordinate, that of the lines' partitions (a stack of stars)."""
        side = self.space.size[0]
        partitions = self.heads["idx"]["kspace_encode_step_2"].astype(int)
        centre = side // 2 if self.centre is None else self.centre
        along = (partitions - centre) / side
        if np.abs(along).max() > 0.5:
            got = f"{partitions.min()} to {partitions.max()}, the middle {centre}"
            do = "Correct the header (matrix size, encoding limits)"
            raise BadInput(f"Partitions within the {side} of the encoded matrix of {self.where}", got, do)
        along = along[order].reshape(trajectory.shape[:2])
        notes.append("The partitions of the lines are the third coordinate of their trajectory.")
        whole = np.broadcast_to(along[..., None, None], (*trajectory.shape[:-1], 1))
        return np.concatenate([whole, trajectory], axis=-1)
