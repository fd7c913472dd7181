"""Where an error comes from: information, inexact input, computation, and the model, each as far as it can be said.

For a reconstruction z of a known truth x from measurements y, let :math:`x^*` be the minimiser of the problem for y,
and :math:`x^\\circ` the one for the true matrix and measurements, within :math:`2^{-n}` of the given ones. Then

.. math:: \\|z-x\\|\\le\\|z-x^*\\|+\\|x^*-x^\\circ\\|+\\|x^\\circ-x\\|:

what was not computed (or not learned by a trained network), how far the inexact input moves the minimiser, and what the
model leaves: noise, missing samples, lambda. Beside them stands what no method can avoid for some signal of a class
(:mod:`firenet.guarantees.confusion`). For small dense problems all parts have verified lower and upper bounds; at the
size of images they are measured with a reference point.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from firenet.digits import Digits, determine
from firenet.digits.dyadic import root_above, root_below
from firenet.digits.question import Kind
from firenet.errors import BadInput
from firenet.network import Firenet
from firenet.solver.adaptive import AdaptiveRestarts
from firenet.versions import versions

if TYPE_CHECKING:
    from firenet.solver.solution import Progress

_REFERENCE = 1e-6  # the relative gap of the reference point


@dataclass(frozen=True)
class Part:
    """One part of an error.

    Attributes:
        name: What it is.
        lower: A lower bound, 0 where none is known.
        upper: An upper bound; infinity where none is known.
        kind: ``verified``, ``measured``, or ``in model`` if it is not known alone, but contained in the model's part.
        why: What the bounds rest on.
    """

    name: str
    lower: float
    upper: float
    kind: str
    why: str


@dataclass(frozen=True)
class Budget:
    """The parts of an error.

    Attributes:
        error: The distance :math:`\\|z-x\\|_2` of the reconstruction z to the truth x.
        parts: Computation, inexact input and model. Their upper bounds add up to at least the error.
        information: What no method can avoid for some signal of a class; None where it was not given.
    """

    error: float
    parts: tuple[Part, ...]
    information: Part | None

    @property
    def total(self) -> float:
        """The sum of the upper bounds, at least the error."""
        return math.fsum(p.upper for p in self.parts)

    @property
    def statement(self) -> str:
        """The result as a sentence."""
        largest = max(self.parts, key=lambda p: p.upper)
        if not self.error:
            return "There is no error."
        if not math.isfinite(largest.upper):
            return f"Of the error {self.error:.4g}, the part of {largest.name} is not bounded."
        return (
            f"Of the error {self.error:.4g}, the part with the largest bound is {largest.name}: "
            f"{largest.lower:.4g} to {largest.upper:.4g}."
        )

    def record(self) -> dict[str, Any]:
        """Returns the numbers for JSON, with None for infinity."""

        def plain(part: Part | None) -> dict[str, Any] | None:
            finite = None if part is None or math.isinf(part.upper) else part.upper
            return None if part is None else vars(part) | {"upper": finite}

        return {
            "error": self.error,
            "parts": [plain(p) for p in self.parts],
            "total": self.total if math.isfinite(self.total) else None,
            "information": plain(self.information),
            "statement": self.statement,
            "versions": versions(),
        }


def unavoidable(distance: float, noise: float) -> Part:
    """Returns the part that no method can avoid, from the distance of two signals that are alike within the noise."""
    why = f"no method tells two signals of the class apart within noise {noise:.4g}: one gets this error or more"
    return Part("information", distance / 2, math.inf, "verified", why)


def dense_budget(
    matrix: Any,
    data: Any,
    parameter: Any,
    truth: Any,
    reconstruction: Any,
    *,
    kind: Kind = "P3",
    weights: Any = None,
    bits: int | None = None,
    matrix_within: Any = None,
    data_within: Any = None,
    true: tuple[Any, Any] | None = None,
    information: Part | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Budget:
    """Divides the error of a reconstruction of a small dense problem into parts with verified lower and upper bounds.

    Args:
        matrix: A, as for :func:`firenet.digits.determine`.
        data: y.
        parameter: :math:`\\lambda`, for (P1) :math:`\\varepsilon`.
        truth: x, shape (N,).
        reconstruction: z, shape (N,), from any method.
        kind: ``P1``, ``P2`` or ``P3``.
        weights: w; None is 1.
        bits: n, for A (spectral norm) and y (2-norm) known within :math:`2^{-n}`; None for exact ones.
        matrix_within: As for :func:`firenet.digits.determine`.
        data_within: As for :func:`firenet.digits.determine`.
        true: The true matrix and measurements, where an experiment knows them. With None, the bounds of the parts of
            inexact input and model hold for every matrix and measurements that agree with the given ones, except the
            lower bound of inexact input, which holds for some of them.
        information: From :func:`unavoidable`.
        progress: As for :func:`firenet.digits.determine`.

    Raises:
        BadInput: As :func:`firenet.digits.determine` does, and for a truth or reconstruction of another shape, or
            not finite.
    """
    try:
        points, shape = [np.asarray(v) for v in (truth, reconstruction)], np.shape(matrix)
    except ValueError:
        do = "Give every row of the matrix the same length"
        raise BadInput("A matrix of m rows and N columns, and two vectors", "lists of unequal lengths", do) from None
    if len(shape) != 2:
        raise BadInput("A matrix of m rows and N columns", f"shape {shape}", "Reshape it")
    if any(p.shape != shape[1:] for p in points):
        got = f"{points[0].shape} and {points[1].shape}"
        raise BadInput(f"Truth and reconstruction of shape ({shape[1]},)", got, "Pass the coefficients")
    if not all(np.isfinite(p).all() for p in points):
        raise BadInput("A finite truth and reconstruction", "NaN or infinity", "Check them")
    within = {"bits": bits, "matrix_within": matrix_within, "data_within": data_within}
    common: dict[str, Any] = {"kind": kind, "weights": weights, "progress": progress}
    known = given = determine(matrix, data, parameter, **common)
    if true is not None:
        known = determine(*true, parameter, **common)
    elif any(v is not None for v in within.values()):
        known = determine(matrix, data, parameter, **common, **within)
    x, z = points
    parts = (
        _between(z, given, "computation", "the reconstruction to the minimisers for the given data"),
        _moved(given, known, true is not None),
        _between(x, known, "model", "the truth to the minimisers for the true data, or all data that agree"),
    )
    low, high = distance(z, x)
    return Budget(math.nextafter(float(high), math.inf) if low != high else float(high), parts, information)


def distance(a: Any, b: Any) -> tuple[Fraction, Fraction]:
    """Returns two numbers, almost the same, that enclose the 2-norm of the difference of two vectors."""
    pairs = zip(np.asarray(a).ravel().tolist(), np.asarray(b).ravel().tolist(), strict=True)
    parts = ((Fraction(v.real) - Fraction(w.real), Fraction(v.imag) - Fraction(w.imag)) for v, w in pairs)
    square = sum((p * p + q * q for p, q in parts), Fraction(0))
    return root_below(square), root_above(square)


def _between(point: Any, ball: Digits, name: str, what: str) -> Part:
    """Returns the distance of a point to the minimisers in a ball."""
    low, high = distance(point, ball.centre)
    least = max(float(low) - ball.radius, 0.0) if math.isfinite(ball.radius) else 0.0
    return Part(name, _down(least), _up(float(high) + ball.radius), "verified", f"from {what}, by {ball.method}")


def _moved(given: Digits, known: Digits, true: bool) -> Part:
    """Returns how far the inexact input moves the minimisers."""
    name = "inexact input"
    if given is known:
        return Part(name, 0.0, 0.0, "verified", "matrix and measurements are taken as exact")
    low, high = (float(v) for v in distance(given.centre, known.centre))
    reach = given.radius + known.radius
    if true:
        why = "from the minimisers for the given data to those for the true data"
        return Part(name, _down(max(low - reach, 0.0)), _up(high + reach), "verified", why)
    least = 0.0 if known.witness is None else known.witness.distance / 2
    why = "over all problems that agree; two of them have minimisers at least twice the lower bound apart"
    return Part(name, _down(least), _up(high + reach), "verified", why)


def _down(value: float) -> float:
    return math.nextafter(value, 0.0) if value else 0.0


def _up(value: float) -> float:
    return math.nextafter(value, math.inf) if value else 0.0


def image_budget(
    net: Firenet,
    y: Tensor,
    truth: Tensor,
    reconstruction: Tensor,
    *,
    layers: int = 5000,
    information: Part | None = None,
    progress: Progress | None = None,
) -> Budget:
    """Divides the error of an image, with a reference point near the minimiser.

    The problem is solved to a relative gap of 1e-6, or as far as ``layers`` layers come. Distances to that point are
    measured and add up to at least the error, whatever the point is; that it is near the minimiser is supported by its
    gap, not proved.

    Args:
        net: A network of the problem: its operator, transform, lambda and weights count, not its schedule.
        y: Measurements of one image.
        truth: The true image, or a reference that is taken for it.
        reconstruction: An image from any method.
        layers: The largest number of layers for the reference point.
        information: From :func:`unavoidable`.
        progress: Called as for :meth:`.Firenet.solve`.

    Raises:
        BadInput: For images of another shape than the operator's, or not finite.
    """
    shape = tuple(net.sensing.in_shape)
    for image in (truth, reconstruction):
        if tuple(image.shape) != shape or not torch.isfinite(torch.view_as_real(image + 0j)).all():
            raise BadInput(f"A finite image of shape {shape}", f"shape {tuple(image.shape)}", "Pass one image")
    found = net.following(AdaptiveRestarts(_REFERENCE, layers)).solve(y, progress=progress)
    near = found.image
    gap = found.relative_gap.item()
    why = f"to a point whose objective is within {gap:.1e} of the minimum, relatively"
    sizes = [torch.linalg.vector_norm(v).item() for v in (reconstruction - near, truth - near, reconstruction - truth)]
    unknown = "contained in the model's part: at this size nothing is enclosed"
    parts = (
        Part("computation", sizes[0], sizes[0], "measured", f"distance of the reconstruction {why}"),
        Part("inexact input", 0.0, 0.0, "in model", unknown),
        Part("model", sizes[1], sizes[1], "measured", f"distance of the truth {why}"),
    )
    return Budget(sizes[2], parts, information)
