"""The measurement operator of computed tomography: integrals of an image over strips, for parallel and fan beams."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from firenet.errors import BadInput
from firenet.numerics import tensor_of
from firenet.operators.linear import LinearOperator
from firenet.operators.norm_bound import NormBound
from firenet.operators.sparse import SparseMatrix
from firenet.sensing.strips import Detector, View, fan_view, parallel_view

Geometry = Literal["parallel", "fan"]
# A matrix with more weights takes more than 12 GiB.
_MOST = 2**30
# The narrowest and the widest cell, in pixels; in narrower ones the weights would have large rounding errors.
_RATIO = (1e-3, 1e6)
# Larger angles are taken for degrees.
_LARGEST = 4 * math.pi


class Projection(LinearOperator):
    """Projections of an image: the means of its line integrals over the cells of a detector, view by view.

    **Coordinates.** An image has the axes (y, x), as it is displayed: row 0 is at the top, x points to the right and y
    upwards. The pixel (i, j) is the square of side ``pixel`` around :math:`x=(j-(n_x-1)/2)\\,\\text{pixel}`,
    :math:`y=((n_y-1)/2-i)\\,\\text{pixel}`, and the rotation axis is the middle of the image. At the angle
    :math:`\\theta` the detector coordinate grows along :math:`(\\cos\\theta,\\sin\\theta)`: the parallel ray to s is
    the line :math:`x\\cos\\theta+y\\sin\\theta=s`. So at angle 0 the rays are vertical and cell 0 is on the left; with
    growing angles the detector turns counter-clockwise around the image. Cell k covers
    :math:`s=(k-\\text{centre}\\pm\\tfrac12)\\,\\text{spacing}`.

    **Fan beam.** The source is at :math:`\\text{source\\_distance}\\cdot(\\sin\\theta,-\\cos\\theta)`, the axis is
    projected onto the coordinate 0 of a flat detector orthogonal to that ray, at :math:`\\text{detector\\_distance}`
    behind the axis; 0 is a detector through the axis.

    **Weights.** An entry of A is the mean, over the rays that end in the cell, of the length of ray inside the pixel.
    For parallel rays it is the area that pixel and strip have in common, divided by the width of the strip, computed
    exactly up to rounding. For a fan the rays are uniform in the detector coordinate, and the mean is a quadrature with
    a relative error of about :math:`d^{-4}/180` for pixels at d pixels from the source. Areas below 1e-12 of
    a pixel's are left out. For images in units of 1/length, measurements are line integrals without unit. If the
    detector sees all of an image x, each parallel view has the sum
    :math:`\\text{spacing}\\sum_k(Ax)_k=\\text{pixel}^2\\sum_{ij}x_{ij}`.

    The matrix is sparse and has no negative entries, so the norm bound is that of Collatz and Wielandt
    (:func:`.collatz_wielandt`): proven, and nearly equal to the norm. Numbers in single precision are computed in
    single precision, with rounded weights. Cells that no pixel reaches are not measured. Single cells may be held out
    from a choice of settings.

    Args:
        angles: The angles of the views in radians, one axis.
        detector: The number of cells.
        shape: The shape of the image, (y, x).
        geometry: ``parallel`` or ``fan``.
        centre: The detector coordinate, in cells, onto which the rotation axis is projected; 0 is the middle of the
            first cell. None is the middle of the detector, (detector - 1)/2.
        pixel: The side of a pixel.
        spacing: The width of a cell.
        source_distance: For a fan beam: the distance from the source to the rotation axis.
        detector_distance: For a fan beam: the distance from the rotation axis to the detector.

    Raises:
        BadInput: For arguments that are no such numbers, angles that look like degrees, a source that comes nearer to
            the image than one pixel, a detector that does not see the image, an axis that is projected far outside the
            detector, and for matrices with more than 2^30 entries.
    """

    seen: Tensor

    def __init__(
        self,
        angles: Tensor | ArrayLike,
        detector: int,
        shape: Sequence[int],
        *,
        geometry: Geometry = "parallel",
        centre: float | None = None,
        pixel: float = 1.0,
        spacing: float = 1.0,
        source_distance: float | None = None,
        detector_distance: float | None = None,
    ) -> None:
        turned = _angles(angles)
        cells = _count(detector, "A detector of one cell or more")
        if not isinstance(shape, Sequence) or len(shape) != 2:
            raise BadInput("The shape of an image, (y, x)", f"{shape}", "For example (256, 256)")
        sides = (_count(shape[0], "A side of the image"), _count(shape[1], "A side of the image"))
        pixel, spacing = _length(pixel, "The side of a pixel"), _length(spacing, "The width of a cell")
        if not _RATIO[0] <= spacing / pixel <= _RATIO[1]:
            do = "Give both in the same unit"
            raise BadInput("A pixel and a cell of similar size", f"pixel {pixel:g} and spacing {spacing:g}", do)
        centre = _centre(centre, cells)
        distances = _distances(geometry, source_distance, detector_distance)
        super().__init__(sides, (len(turned), cells), None)
        self.angles = turned
        self.geometry, self.centre, self.pixel, self.spacing = geometry, centre, pixel, spacing
        self.source_distance, self.detector_distance = distances if distances else (None, None)
        self.matrix = _matrix(self._views(distances), self.in_shape, self.out_shape, pixel)
        self.register_buffer("seen", (self.matrix.rows.diff() > 0).view(self.out_shape))

    def _views(self, distances: tuple[float, float] | None) -> list[View]:
        """Returns the weights of all views for pixels of side 1."""
        shape = (self.in_shape[0], self.in_shape[1])
        units = Detector(self.out_shape[1], self.spacing / self.pixel, self.centre)
        largest = 1.0
        away = [d / self.pixel for d in distances or ()]
        if distances is not None:
            nearest = min(_nearest(shape, float(angle), away[0]) for angle in self.angles)
            if not nearest >= 1:
                got = f"a source that is {distances[0]:g} from the axis"
                do = "Check source_distance and pixel, which have the same unit"
                raise BadInput("A source outside the image, at least a pixel in front of it", got, do)
            largest = (away[0] + away[1]) / nearest
        reached = min(math.sqrt(2) * largest / units.spacing + 2, self.out_shape[1])
        entries = len(self.angles) * math.prod(shape) * reached
        if entries > _MOST:
            do = "Take fewer views or pixels, means of neighbouring cells, or LinearOperator.from_functions"
            raise BadInput("A matrix of at most 2^30 weights", f"up to {entries:.2g}", do)
        if not away:
            return [parallel_view(shape, float(angle), units) for angle in self.angles]
        return [fan_view(shape, float(angle), units, away[0], away[1]) for angle in self.angles]

    def _composed_bound(self) -> NormBound:
        return self.matrix.norm_bound

    def _forward(self, x: Tensor) -> Tensor:
        return self.matrix(x.flatten(-2)).unflatten(-1, self.out_shape)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self.matrix.adjoint(y.flatten(-2)).unflatten(-1, self.in_shape)

    def restrict(self, y: Tensor) -> Tensor:
        return torch.where(self.seen, y, 0.0)

    @property
    def samples(self) -> int:
        return int(self.seen.sum())

    def state_dtype(self, y: torch.dtype) -> torch.dtype:
        return self.matrix.state_dtype(y)

    @property
    def gain(self) -> float:
        return self.matrix.frobenius / math.sqrt(self.samples)

    @property
    def rounding(self) -> float:
        return self.matrix.rounding


def _angles(angles: Tensor | ArrayLike) -> NDArray[np.float64]:
    """Returns angles in radians, if they can be such."""
    given = tensor_of(angles, "angles")
    if given.is_complex() or given.dtype == torch.bool or given.ndim != 1 or len(given) == 0:
        got = f"shape {tuple(given.shape)} and dtype {given.dtype}"
        raise BadInput("Angles: real numbers along one axis, at least one", got, "For example one angle for each view")
    found = given.detach().cpu().to(torch.float64).numpy().copy()
    if not np.isfinite(found).all():
        raise BadInput("Finite angles", "NaN or infinity", "Leave out the views whose angle is unknown")
    largest = float(np.abs(found).max())
    if largest > _LARGEST:
        got = f"{largest:g}: these look like degrees"
        raise BadInput("Angles in radians, at most 4 pi", got, "Convert them with numpy.deg2rad")
    return found


def _count(number: int, needed: str) -> int:
    """Returns a number of cells or pixels, 1 or more."""
    if isinstance(number, bool) or not isinstance(number, int | np.integer) or number < 1:
        raise BadInput(f"{needed}, an integer", f"{number!r}", "Pass a positive integer")
    return int(number)


def _length(number: float, needed: str, *, zero: bool = False) -> float:
    """Returns a length, which must be finite and positive or, with ``zero``, not negative."""
    try:
        found = float(number)
    except (TypeError, ValueError):
        raise BadInput(f"{needed}, a number", type(number).__name__, "Pass one positive number") from None
    if not (0 < found < math.inf or (zero and found == 0)):
        raise BadInput(f"{needed}, positive and finite", f"{found}", "All lengths have the same unit")
    return found


def _centre(centre: float | None, cells: int) -> float:
    """Returns the coordinate of the axis on the detector, in cells."""
    if centre is None:
        return (cells - 1) / 2
    try:
        found = float(centre)
    except (TypeError, ValueError):
        raise BadInput(
            "The axis on the detector, a number of cells", type(centre).__name__, "Pass one number"
        ) from None
    if not -0.5 - cells / 2 <= found <= 1.5 * cells - 0.5:
        needed = f"An axis that is projected onto a detector of {cells} cells, or beside it by at most half its width"
        do = "Count it in cells from the first one, for data with fewer or wider cells in those"
        raise BadInput(needed, f"centre {found:g}", do)
    return found


def _distances(geometry: str, source: float | None, detector: float | None) -> tuple[float, float] | None:
    """Returns the distances of source and detector of a fan beam, or None for parallel rays."""
    if geometry == "parallel":
        if source is not None or detector is not None:
            do = "Leave the distances out, or pass geometry='fan'"
            raise BadInput("Parallel rays, which have no source", "source_distance or detector_distance", do)
        return None
    if geometry != "fan":
        raise BadInput("A geometry: parallel or fan", f"{geometry!r}", "A cone beam is not supported")
    if source is None or detector is None:
        do = "Give source_distance and detector_distance, from the rotation axis"
        raise BadInput("The distances of source and detector of a fan beam", "None", do)
    return _length(source, "The distance of the source"), _length(detector, "The distance of the detector", zero=True)


def _nearest(shape: tuple[int, int], angle: float, source: float) -> float:
    """Returns how far in front of the source the image begins, in the direction of the central ray."""
    ends = [abs(n * f) / 2 for n, f in ((shape[1], math.sin(angle)), (shape[0], math.cos(angle)))]
    return source - sum(ends)


def _matrix(views: list[View], image: tuple[int, ...], measured: tuple[int, ...], pixel: float) -> SparseMatrix:
    """Returns the matrix of the weights of all views."""
    counts = np.concatenate([view.counts for view in views])
    if not counts.any():
        do = "Check centre, and that pixel and spacing have the same unit"
        raise BadInput("A detector that sees the image", "rays that all miss it", do)
    rows = torch.from_numpy(np.concatenate([[0], np.cumsum(counts)]).astype(np.int32))
    columns = torch.from_numpy(np.concatenate([view.pixels for view in views]))
    entries = torch.from_numpy(np.concatenate([view.weights for view in views])).mul_(pixel)
    shape = (math.prod(measured), math.prod(image))
    return SparseMatrix.of_rows(rows, columns, entries, shape, follow=True)
