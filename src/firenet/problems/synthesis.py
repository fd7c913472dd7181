"""The optimisation problem in synthesis form.

The objective is a penalty of the coefficients plus a fidelity, a function of the residual Az - y: its norm (P3), its
squared norm (P2), or a ball (P1). The three differ in one factor of the dual step and in one term of the gap.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from firenet.numerics import (
    UNIT,
    blocked_norms,
    blocked_sum,
    derived,
    doubled,
    modulus,
    norms,
    per_item,
    pieces,
    real_inner,
    scaled,
    sum_rounding,
    tensor_of,
    total,
    unit_roundoff,
)
from firenet.operators.compact import Compact
from firenet.operators.linear import LinearOperator
from firenet.problems.gap import Proof, dual_bound, prove
from firenet.problems.penalty import check_lam, check_weights, soft_threshold
from firenet.problems.problem import Problem, inner_product


@dataclass(frozen=True, eq=False)
class SynthesisProblem(Problem):
    """The minimisation of a weighted l1 norm plus a fidelity.

    .. math:: \\min_z F(z),\\qquad F(z)=\\lambda\\sum_iw_i|z_i|+\\varphi(\\|Az-y\\|_2).

    Its dual is :math:`\\max\\{-\\mathrm{Re}\\langle y,q\\rangle-\\varphi^*(\\|q\\|_2):\\
    |(A^*q)_i|\\le\\lambda w_i\\}`; for (P3) the conjugate adds the constraint :math:`\\|q\\|_2\\le1`.

    Attributes:
        operator: A, which maps the coefficients z to measurements.
        weights: Positive weights that broadcast to the shape of z; None is all ones.
        lam: :math:`\\lambda>0`. In (P3) it has no unit: if y is scaled, so is the solution, for the same lambda. In
            (P1) it only scales the objective.
        fidelity: :math:`\\varphi`: :class:`Norm` (P3), :class:`Squared` (P2) or :class:`Ball` (P1).
    """

    operator: LinearOperator | Compact

    def __post_init__(self) -> None:
        check_lam(self.lam)
        if self.weights is not None:
            object.__setattr__(self, "weights", tensor_of(self.weights, "weights"))
        check_weights(self.weights, self.operator.in_shape)

    @property
    def weighted_shape(self) -> tuple[int, ...]:
        return self.operator.in_shape

    @property
    def balance(self) -> float:
        return 0.07  # 0.05 to 0.15 are as good

    @property
    def measurement(self) -> LinearOperator:
        return self.operator.operator if isinstance(self.operator, Compact) else self.operator

    def shrink(self, v: Tensor, tau: Tensor) -> Tensor:
        """Computes the proximal map of :math:`\\tau\\lambda\\|\\cdot\\|_{l^1_w}`: the soft threshold, which keeps the
        phase.

        Args:
            v: Points, shape (..., \\*in_shape).
            tau: Step, in a shape that broadcasts to v.
        """
        threshold = tau * self.lam if self.weights is None else tau * self.lam * self.weights
        return soft_threshold(v, threshold.to(v.real.dtype))

    def clip(self, u: Tensor, sigma: Tensor | float = 1.0) -> Tensor:
        """Computes the proximal map of the conjugate fidelity, which multiplies each batch item by a number.

        For (P3) it is the projection on the unit ball, :math:`u/\\max(1,\\|u\\|_2)`.

        Args:
            u: Dual points, shape (..., \\*out_shape).
            sigma: Step, one number or one per batch item in any shape. The projection of (P3) does not depend on it.
        """
        d = len(self.operator.out_shape)
        size = norms(u, d)
        return scaled(u, self.fidelity.factor(size, per_item(sigma, size)).to(u.real.dtype), d)

    def objective(self, z: Tensor, y: Tensor) -> Tensor:
        """Computes F(z), one float64 number per batch item, in the precision of z; for (P1) the penalty alone, see
        :meth:`violation`."""
        return self.penalty(z) + self.fidelity.value(norms(self.operator(z) - y, len(self.operator.out_shape)))

    def violation(self, z: Tensor, y: Tensor) -> Tensor:
        """Computes for (P1) the constraint violation :math:`\\max\\{0,\\|Az-y\\|_2-\\varepsilon\\}`; for (P2) and (P3)
        returns 0."""
        return self.fidelity.violation(norms(self.operator(z) - y, len(self.operator.out_shape)))

    def penalty(self, z: Tensor) -> Tensor:
        """Computes :math:`\\lambda\\|z\\|_{l^1_w}`, one float64 number per batch item."""
        return self.lam * total([size.sum(dim=-1, dtype=torch.float64) for size in self._sizes(z, divide=False)])

    def worst(self, q: Tensor, back: Tensor) -> Tensor:
        """Computes :math:`\\max_i|(A^*q)_i|/(\\lambda w_i)` (float64), given A*q; it is at most 1 for a feasible q."""
        parts = [size.amax(dim=-1).to(torch.float64) for size in self._sizes(back, divide=True)]
        return torch.stack(parts).amax(dim=0) / self.lam

    def _sizes(self, z: Tensor, *, divide: bool) -> Iterator[Tensor]:
        """Yields |z| w or |z| / w in pieces, shape (..., piece)."""
        d = len(self.operator.in_shape)
        sizes = map(torch.abs if derived(z) else modulus, pieces(z, d))
        if self.weights is None:
            yield from sizes
            return
        for piece, w in zip(sizes, pieces(self.weights.expand(self.operator.in_shape), d), strict=True):
            yield piece / w if divide else piece * w

    def bound(self, q: Tensor, back: Tensor, y: Tensor, count: Tensor | float = 1.0) -> tuple[Tensor, Tensor]:
        inner = -real_inner(y, q, len(self.operator.out_shape)) / count
        return self._bound(inner, self.dual_size(q) / count, self.worst(q, back) / count)

    def feasible(self, q: Tensor, y: Tensor | None = None) -> Tensor:
        """Returns a feasible multiple of q: q over :math:`\\max\\{1,\\|q\\|_2,\\max_i|(A^*q)_i|/(\\lambda w_i)\\}`,
        where (P1) and (P2) omit :math:`\\|q\\|_2`; if y is given, the feasible multiple with the largest dual value,
        if that is positive."""
        multiple = self._multiple(self.dual_size(q), self.worst(q, self.operator.adjoint(q)), q, y)
        return scaled(q, multiple.to(q.real.dtype), len(self.operator.out_shape))

    def dual_value(self, q: Tensor, y: Tensor) -> Tensor:
        """Computes :math:`-\\mathrm{Re}\\langle y,q\\rangle-\\varphi^*(\\|q\\|_2)`, one float64 number per batch item:
        a lower bound of min F if q is feasible."""
        return -real_inner(y, q, len(self.operator.out_shape)) - self.fidelity.conjugate(self.dual_size(q))

    def dual_size(self, q: Tensor) -> Tensor:
        return norms(q, len(self.operator.out_shape))

    def gap(self, z: Tensor, q: Tensor, y: Tensor) -> Tensor:
        """Computes an upper bound of :math:`F(z)-\\min F` up to rounding, finite for every z and every q: see
        :meth:`prove`."""
        return self.prove(z, q, y).gap

    def prove(self, z: Tensor, q: Tensor, y: Tensor) -> Proof:
        """Computes in double precision objective, lower bound, gap and rounding of the pair (z, q).

        Args:
            z: Any point (..., \\*in_shape).
            q: Any dual point (..., \\*out_shape), which is replaced by its best feasible multiple.
            y: Measurements, shape of q.
        """
        operator = self.measurement
        z, q, y = (tensor_of(t) for t in (z, q, y))
        batch = y.shape[: y.ndim - len(operator.out_shape)]
        compact = operator.compact()
        y, q = (compact.pack_measured(t.reshape(-1, *operator.out_shape)) for t in (y, q))
        return Proof(**self.compact().proof(z.reshape(-1, *operator.in_shape), q, y).shaped(batch))

    @torch.no_grad()
    def proof(self, z: Tensor, q: Tensor, y: Tensor) -> Proof:
        """Computes the proof from a pair, see :meth:`prove`, for a problem in packed coordinates.

        The rounding of a sum is bounded by its length and the norms of its terms, that of A and A* by
        :attr:`LinearOperator.rounding` and :meth:`LinearOperator.adjoint_roundings`.

        Args:
            z: Points in the user's coordinates, not packed, shape (batch, \\*in_shape) of the operator.
            q: Packed dual points (batch, \\*out_shape).
            y: Packed measurements.
        """
        compact, own = self.operator, self.measurement
        assert isinstance(compact, Compact)
        unit = unit_roundoff(y.dtype)
        z, y = own.precisely(z), doubled(y)
        u, d = unit_roundoff(z.dtype), len(compact.out_shape)
        size, packed = blocked_norms(z, z.ndim - 1), compact.pack(z)
        del z  # for volumes every tensor of this size counts
        objective = self._proved_objective(packed, size, y, u, unit)
        del packed
        q = own.precisely(q)
        size = blocked_norms(q, d) * (1 + (sum_rounding(2 * math.prod(q.shape[1:])) + 4) * UNIT)
        slack = own.adjoint_roundings(compact.unpack_measured(q)).to(torch.float64) * u
        ratio = doubled(compact.adjoint(q)).abs().mul_(1 + 4 * UNIT)
        if slack.ndim > 1:
            slack = compact.pack(slack.to(own.precisely(q[:0]).dtype)).real
        ratio.add_(slack if slack.ndim > 1 else slack.view(-1, *(1,) * (ratio.ndim - 1)))
        if self.weights is not None:
            ratio.div_(self.weights)
        worst = ratio.flatten(1).amax(dim=1) / self.lam * (1 + 4 * UNIT)
        del ratio
        bound, dual_norm, error = dual_bound(self.fidelity, *inner_product(y, q, d), size, worst)
        return prove(*objective[:2], bound, error, dual_norm, *objective[2:])

    def _proved_penalty(self, z: Tensor, size: Tensor, u: float) -> tuple[Tensor, Tensor]:
        sizes = doubled(z).abs()
        sizes = (sizes if self.weights is None else sizes.mul_(self.weights)).flatten(1)
        penalty = self.lam * blocked_sum(sizes)
        return penalty, (sum_rounding(sizes.shape[1]) + 6) * UNIT * penalty

    def dual_of(self, q: Tensor, p: Tensor | None = None) -> Tensor:
        return q

    def duals(self, dual: Tensor, batch: torch.Size) -> tuple[Tensor, None]:
        assert isinstance(self.operator, Compact)
        return self.operator.unpack_measured(dual).view(*batch, *self.measurement.out_shape), None

    def compact(self) -> SynthesisProblem:
        """Returns the same problem in the coordinates of :class:`.compact.Compact`, for an iteration."""
        if isinstance(self.operator, Compact):
            return self
        compact, weights = self.operator.compact(), self.weights
        if weights is not None:
            weights = compact.pack(weights.expand(self.operator.in_shape)[None])[0]
        return SynthesisProblem(compact, weights, self.lam, self.fidelity)
