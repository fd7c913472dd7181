"""An interior-point method for small cone programs, in double precision: its results are candidates, never proofs.

The problem: to minimise :math:`\\langle c,\\xi\\rangle` where
:math:`\\|G_k\\xi+h_k\\|_2\\le\\langle s_k,\\xi\\rangle+t_k` for all k. The method: Newton steps for
:math:`t\\langle c,\\xi\\rangle-\\sum_k\\log(\\sigma_k^2-\\|\\gamma_k\\|^2)` with growing t, where
:math:`\\gamma_k=G_k\\xi+h_k` and :math:`\\sigma_k=\\langle s_k,\\xi\\rangle+t_k`
(Boyd and Vandenberghe, Convex Optimization, chapter 11).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

_GROWTH, _NEWTON, _STAGES = 12.0, 60, 40


@dataclass(frozen=True, eq=False)
class Cones:
    """Constraints :math:`\\|G_k\\xi+h_k\\|_2\\le\\langle s_k,\\xi\\rangle+t_k` of one size d.

    Attributes:
        G: Shape (K, d, n).
        h: Shape (K, d).
        s: Shape (K, n).
        t: Shape (K,).
    """

    G: Array
    h: Array
    s: Array
    t: Array

    def at(self, x: Array) -> tuple[Array, Array, Array]:
        """Returns :math:`\\gamma_k`, :math:`\\sigma_k` and :math:`\\sigma_k^2-\\|\\gamma_k\\|^2`, the last of them -inf
        where :math:`\\sigma_k\\le0`."""
        gamma, sigma = self.G @ x + self.h, self.s @ x + self.t
        inside = sigma**2 - (gamma**2).sum(axis=1)
        return gamma, sigma, np.where(sigma > 0, inside, -np.inf)

    def derivatives(self, x: Array) -> tuple[Array, Array]:
        """Returns gradient and Hessian of the barrier."""
        gamma, sigma, inside = self.at(x)
        v = 2 * (sigma[:, None] * self.s - np.einsum("kdn,kd->kn", self.G, gamma)) / inside[:, None]
        rows = (self.G * np.sqrt(2 / inside)[:, None, None]).reshape(-1, self.G.shape[2])
        s = self.s * np.sqrt(2 / inside)[:, None]
        return -v.sum(axis=0), v.T @ v + rows.T @ rows - s.T @ s

    def multipliers(self, x: Array, weight: float) -> Array:
        """Returns the dual vectors :math:`2\\gamma_k/(t(\\sigma_k^2-\\|\\gamma_k\\|^2))`, shape (K, d)."""
        gamma, _, inside = self.at(x)
        return 2 * gamma / (weight * inside[:, None])


def minimise(cost: Array, cones: Sequence[Cones], start: Array, accuracy: float = 1e-13) -> tuple[Array, float]:
    """Minimises a linear function over cones.

    Args:
        cost: The vector c.
        cones: The constraints.
        start: A point strictly inside all of them.
        accuracy: The duality gap to reach, relative to ``max(1, |value|)``.

    Returns:
        The last point, strictly inside, and the factor t that belongs to it. Where rounding ends progress, the
        point is less accurate than asked for.
    """
    count = 2.0 * sum(len(c.t) for c in cones)
    x, weight = start, count / max(abs(float(cost @ start)), 1e-3)
    for _ in range(_STAGES):
        moved = _centred(cost, cones, x, weight)
        if moved is None:
            return x, weight
        x = moved
        if count <= accuracy * weight * max(1.0, abs(float(cost @ x))):
            break
        weight *= _GROWTH
    return x, weight


def _value(cost: Array, cones: Sequence[Cones], x: Array, weight: float) -> float:
    inside = [c.at(x)[2] for c in cones]
    if not all((part > 0).all() for part in inside):
        return math.inf
    return weight * float(cost @ x) - float(sum(np.log(part).sum() for part in inside))


def _centred(cost: Array, cones: Sequence[Cones], x: Array, weight: float) -> Array | None:
    """Returns the minimiser for one factor, or None where no step makes progress although one should."""
    moved = None
    for _ in range(_NEWTON):
        if not math.isfinite(_value(cost, cones, x, weight)):  # rounding has put it on the boundary
            return moved
        pairs = [c.derivatives(x) for c in cones]
        gradient, hessian = weight * cost + sum(p[0] for p in pairs), sum(p[1] for p in pairs)
        scale = 1 / np.sqrt(np.maximum(np.diag(hessian), 1e-300))
        try:
            step = -scale * np.linalg.solve(hessian * scale * scale[:, None], scale * gradient)
        except np.linalg.LinAlgError:
            return moved
        decrement, value = -float(gradient @ step), _value(cost, cones, x, weight)
        if not math.isfinite(decrement) or decrement < 0:
            return moved
        rounding = 1e-15 * abs(value)
        if decrement < 1e-10 + 10 * rounding:  # less than what a step would gain cannot be seen
            return x
        first = length = 1.0 if decrement < 0.25 else 1 / (1 + math.sqrt(decrement))
        while (
            length > 1e-4 * first
            and not _value(cost, cones, x + length * step, weight) <= value - 0.1 * length * decrement
        ):
            length *= 0.5
        if length <= 1e-4 * first:
            return moved if moved is not None else (x if decrement < 1e-3 else None)
        x = moved = x + length * step
    return x
