"""The weights of a projection: which part of the strip of a detector cell lies in which pixel.

All lengths are in pixels. The pixel (i, j) of an image is the unit square around :math:`x=j-(n_x-1)/2`,
:math:`y=(n_y-1)/2-i`; the rotation axis is the origin. Cell k of the detector covers the coordinates
:math:`(k-c\\pm\\tfrac12)\\delta`.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Reals = NDArray[np.float64]
# Coordinates have rounding errors, so that a pixel seems to touch a cell at which it ends. Such areas, and true ones
# that are as small, are left out.
_LEAST = 1e-12
_NODE = 1 / math.sqrt(3)  # of the rule of Gauss and Legendre with two points, on [-1, 1]


@dataclass(frozen=True)
class Detector:
    """The detector, with lengths in pixels.

    Attributes:
        cells: The number of cells.
        spacing: :math:`\\delta`, the width of a cell.
        centre: c, the coordinate in cells onto which the rotation axis is projected.
    """

    cells: int
    spacing: float
    centre: float

    def cell(self, at: Reals) -> NDArray[np.int64]:
        """Returns the cells in which coordinates lie, -1 before the first cell, and ``cells`` behind the last one."""
        return np.clip(np.floor(at / self.spacing + (self.centre + 0.5)), -1, self.cells).astype(np.int64)

    def touched(self, longest: float) -> int:
        """Returns how many cells, one on each side of the detector included, a projection of this length touches at
        most."""
        return min(math.ceil(longest / self.spacing) + 1, self.cells + 2)

    def edge(self, cell: NDArray[np.int64]) -> Reals:
        """Returns the coordinates at which cells begin."""
        return (cell.astype(np.float64) - (self.centre + 0.5)) * self.spacing


@dataclass(frozen=True)
class View:
    """The weights of one view, ordered by cells and then by pixels.

    Attributes:
        counts: The number of weights of each cell.
        pixels: The pixel of each weight, counted row by row.
        weights: The weights.
    """

    counts: NDArray[np.int64]
    pixels: NDArray[np.int32]
    weights: Reals


def pixel_centres(shape: tuple[int, int], angle: float) -> tuple[Reals, Reals]:
    """Returns the coordinates of all pixels along the detector, :math:`x\\cos\\theta+y\\sin\\theta`, and towards it,
    :math:`-x\\sin\\theta+y\\cos\\theta`."""
    x = np.arange(shape[1]) - (shape[1] - 1) / 2
    y = (shape[0] - 1) / 2 - np.arange(shape[0])
    along = np.add.outer(y * math.sin(angle), x * math.cos(angle)).ravel()
    return along, np.add.outer(y * math.cos(angle), -x * math.sin(angle)).ravel()


def parallel_view(shape: tuple[int, int], angle: float, detector: Detector) -> View:
    """Computes the weights of a view with parallel rays: the area that a pixel and a strip have in common, divided by
    the width of the strip.

    The area of a pixel on one side of a line is the integral of a trapezoid, which is the convolution of two boxes of
    widths :math:`|\\cos\\theta|` and :math:`|\\sin\\theta|`; the weights are its differences.
    """
    along, _ = pixel_centres(shape, angle)
    low, high = sorted((abs(math.cos(angle)), abs(math.sin(angle))))
    reach = (high + low) / 2
    first = detector.cell(along - reach)
    count = detector.touched(2 * reach)
    areas = np.empty((len(along), count))
    before: Reals | float = 0.0
    for k in range(count):
        upto = _area_before(detector.edge(first + (k + 1)) - along, low, high)
        areas[:, k] = upto - before
        before = upto
    return _ordered(first, areas, detector)


def _area_before(t: Reals, low: float, high: float) -> Reals:
    """Computes the area of a unit square to the left of a line at distance t from its centre, for a square whose sides
    have projections of lengths ``low`` and ``high``."""
    size = np.abs(t)
    rest = np.maximum((high + low) / 2 - size, 0)  # what is beyond the line of the square's projection
    ramp = np.square(np.minimum(rest, low)) / (2 * max(high * low, 1e-300))
    beyond = ramp + np.maximum(rest - low, 0) / high
    return np.where(t < 0, beyond, 1 - beyond)


def fan_view(shape: tuple[int, int], angle: float, detector: Detector, source: float, behind: float) -> View:
    """Computes the weights of a view with rays from one point: the mean length, over the rays that end in a cell, of
    what lies in the pixel.

    As a function of the coordinate on the detector, this length is smooth between the projections of the corners of a
    pixel. There it is integrated by the rule of Gauss and Legendre with two points, whose relative error is of the
    order of :math:`d^{-4}/180` for pixels at a distance d from the source.

    Args:
        shape: The image.
        angle: The angle of the view.
        detector: The detector, orthogonal to the ray through the axis.
        source: The distance from the source to the rotation axis.
        behind: The distance from the rotation axis to the detector.
    """
    across, towards = pixel_centres(shape, angle)
    cos, sin, whole = math.cos(angle), math.sin(angle), source + behind
    depth = towards + source
    corners = [(cos * a + sin * b, -sin * a + cos * b) for a in (-0.5, 0.5) for b in (-0.5, 0.5)]
    kinks = np.sort([whole * (across + u) / (depth + w) for u, w in corners], axis=0)
    first = detector.cell(kinks[0])
    count = detector.touched(float((kinks[3] - kinks[0]).max()))
    edges = detector.edge(first + np.arange(1, count)[:, None])
    bounds = np.sort(np.concatenate([kinks, np.clip(edges, kinks[0], kinks[3])]), axis=0)

    def length(s: Reals) -> Reals:
        """Computes the length in the pixel of the ray to s: a trapezoid in the distance of ray and pixel."""
        one, two = np.abs(s * cos - whole * sin), np.abs(s * sin + whole * cos)
        low, high = np.minimum(one, two), np.maximum(one, two)
        rest = (high + low) / 2 - np.abs(across * whole - depth * s)
        return np.clip(rest / np.maximum(low, 1e-300), 0, 1) * np.sqrt(s * s + whole * whole) / high

    areas = np.zeros(len(across) * count)
    own = np.arange(len(across)) * count
    for start, end in itertools.pairwise(bounds):
        middle, half = (start + end) / 2, (end - start) / 2
        part = half * (length(middle - _NODE * half) + length(middle + _NODE * half))
        cell = np.clip(detector.cell(middle) - first, 0, count - 1)
        areas += np.bincount(own + cell, part, minlength=len(areas))
    return _ordered(first, areas.reshape(-1, count), detector)


def _ordered(first: NDArray[np.int64], areas: Reals, detector: Detector) -> View:
    """Returns the weights of a view in order, without those of cells that are not there and the smallest.

    Args:
        first: The first cell of each pixel.
        areas: The weights for the cells from there on, times the width of a cell; shape (pixels, cells).
        detector: The detector.
    """
    cells = first[:, None] + np.arange(areas.shape[1])
    kept = (cells >= 0) & (cells < detector.cells) & (areas > _LEAST)
    pixels = np.nonzero(kept)[0].astype(np.int32)
    cells, weights = cells[kept], areas[kept] / detector.spacing
    # Integers of 16 bits are sorted by their digits, in linear time.
    order = np.argsort(cells.astype(np.uint16 if detector.cells < 2**16 else np.int64), kind="stable")
    return View(np.bincount(cells, minlength=detector.cells), pixels[order], weights[order])
