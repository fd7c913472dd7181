"""The rate, proven and measured: how many layers the theorem's network has for an accuracy, and how many are enough.

A layer is one iteration here. For signals that are sparse in levels and measurements without noise, the theorem's
network of n restarts with :math:`p=\\lceil2C_2\\|A\\|/\\nu\\rceil` layers each has an error of at most
:math:`C_2(\\frac\\nu{1-\\nu}\\delta+\\nu^n\\varepsilon_0)`, with :math:`\\nu,\\delta,\\varepsilon_0` of
:class:`firenet.PaperSchedule` and :math:`C_2` of :class:`firenet.guarantees.Constants`: for :math:`\\nu=e^{-1}`,
about :math:`2eC_2\\|A\\|` layers for each factor e of accuracy. Beside this promise stand the layers after which the
error of the same iteration was measured to be small enough, and those of the searching schedule
:class:`firenet.AdaptiveRestarts`, for which no rate is proved.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from firenet.errors import BadInput
from firenet.guarantees.guarantee import Guarantee
from firenet.network import Firenet
from firenet.numerics import norms, tensor_of
from firenet.solver.adaptive import AdaptiveRestarts
from firenet.solver.schedules import FrozenSteps, PaperSchedule, Run
from firenet.sparsity import defect

ACCURACIES = tuple(10.0**-k for k in range(9))
_MOST = 20_000  # layers of the searching schedule


@dataclass(frozen=True)
class Line:
    """The layers for one accuracy.

    Attributes:
        accuracy: The error that is asked for: the largest one allowed, of the coefficients in the 2-norm.
        layers: Proven: the layers (iterations) of the theorem's network.
        error: Measured: its error for this signal.
        enough: Measured: the layers, in whole restarts, after which the error was first at most the accuracy.
        adaptive: Measured: the layers after which :class:`firenet.AdaptiveRestarts` reached it; None if it did not.
    """

    accuracy: float
    layers: int
    error: float
    enough: int
    adaptive: int | None


@dataclass(frozen=True)
class Depth:
    """Layers against accuracy for one operator and one signal.

    Attributes:
        slope: Proven: :math:`2eC_2\\|A\\|`, layers for a factor e of accuracy, before rounding up to whole layers;
            :math:`C_2` is :attr:`firenet.guarantees.Constants.C2`.
        lines: For each accuracy the layers, proven and measured.
    """

    slope: float
    lines: tuple[Line, ...]

    def measured_slope(self, of: Callable[[Line], int | None] = lambda line: line.layers) -> float:
        """Returns the slope of the least-squares line of layers over :math:`\\log(1/\\epsilon)`; NaN for fewer than two
        numbers."""
        points = [(-math.log(line.accuracy), n) for line in self.lines if (n := of(line)) is not None]
        if len(points) < 2:
            return math.nan
        t, n = np.array(points, dtype=float).T
        return float(np.polyfit(t, n, 1)[0])


@torch.no_grad()
def measured_depth(
    guarantee: Guarantee,
    coefficients: ArrayLike | Tensor,
    *,
    accuracies: Sequence[float] = ACCURACIES,
    progress: Callable[[int, int], None] | None = None,
) -> Depth:
    """Counts the layers that the theorem's network (:func:`firenet.theorem.network`) and
    :class:`firenet.AdaptiveRestarts` need for each accuracy, by running both on the measurements of a signal.

    Args:
        guarantee: The operator and its constants.
        coefficients: The signal's coefficients, sparse in the guarantee's levels, shape ``operator.in_shape``.
        accuracies: The errors to reach, in the unit of the coefficients.
        progress: Called with the number of restarts done and the number of all.

    Raises:
        BadInput: For a signal that is not sparse in levels, and an accuracy below the rounding of double precision.
    """
    operator, constants = guarantee.operator, guarantee.constants
    x = tensor_of(coefficients, "coefficients").to(torch.promote_types(torch.float64, tensor_of(coefficients).dtype))
    assert guarantee.level is not None
    off = defect(x.numpy(), guarantee.level, constants.levels, constants.level_weights)
    if off > 0:
        raise BadInput("Coefficients that are sparse in levels", f"a defect of {off:.3g}", "Keep the largest ones")
    y = operator(x)
    size = norms(y, y.ndim).item()
    delta = 1e-3 * min(accuracies) / constants.C2
    inner = guarantee.inner()
    # The delta of the schedule has its part of the error, too.
    least = guarantee.error_bound(0, size=0.0, sparsity_defect=0.0, noise=0.0, delta=delta)
    outer = [guarantee.outer(accuracy - least, size) for accuracy in accuracies]
    network = Firenet(operator, weights=torch.from_numpy(guarantee.weights), lam=constants.lam)
    errors = _errors(network, y, x, PaperSchedule(max(outer), inner, delta, size=size), progress)
    if not min(errors) <= min(accuracies):
        got = f"{min(accuracies):.3g}, where rounding leaves an error of {min(errors):.3g}"
        raise BadInput("Accuracies that double precision reaches", got, "Ask for larger ones")
    searched = _searched(network, y, x, min(accuracies))
    lines = [
        Line(
            accuracy,
            n * inner,
            errors[n - 1],
            inner * next(k for k, error in enumerate(errors, 1) if error <= accuracy),
            min((layers for layers, error in searched if error <= accuracy), default=None),
        )
        for accuracy, n in zip(accuracies, outer, strict=True)
    ]
    return Depth(2 * math.e * constants.C2 * guarantee.norm, tuple(lines))


def _errors(
    network: Firenet, y: Tensor, x: Tensor, schedule: PaperSchedule, progress: Callable[[int, int], None] | None
) -> list[float]:
    """Returns the error after each restart of the schedule."""
    found, z = [], None
    size = norms(y, y.ndim)
    for k, run in enumerate(schedule.restarts(network.operator.norm_bound, size)):
        steps = Run(run.tau.item(), run.sigma.item(), run.layers, keep_dual=False)
        z = network.following(FrozenSteps((steps,)))(y, x0=z)
        found.append(norms(z - x, x.ndim).item())
        if progress is not None:
            progress(k + 1, schedule.outer)
    return found


def _searched(network: Firenet, y: Tensor, x: Tensor, accuracy: float) -> list[tuple[int, float]]:
    """Returns layers and error of the searching schedule for ever smaller gaps, until the error is small enough."""
    found: list[tuple[int, float]] = []
    for k in range(1, 27):
        solution = network.following(AdaptiveRestarts(10 ** (-k / 2), _MOST)).solve(y)
        found.append((int(solution.layers), norms(solution.coefficients - x, x.ndim).item()))
        if found[-1][1] <= accuracy or found[-1][0] >= _MOST:
            break
    return found
