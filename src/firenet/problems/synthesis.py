"""The optimisation problems whose solutions the network computes.

Each is a penalty plus a fidelity, how far Az may be from y: its norm (P3), its square (P2), or a ball it must lie in
(P1). In a layer the three differ in one factor of the dual, in the gap in one term.
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
from firenet.problems.fidelity import Norm
from firenet.problems.gap import Proof, dual_bound, prove
from firenet.problems.penalty import check_lam, check_weights, default_lam, soft_threshold
from firenet.problems.problem import Problem, inner_product

# --- the problem in synthesis form ------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class SynthesisProblem(Problem):
    """A weighted l1 norm and a fidelity,

    .. math:: \\min_z F(z),\\qquad F(z)=\\lambda\\sum_iw_i|z_i|+\\varphi(\\|Az-y\\|_2),

    with its dual :math:`\\max\\{-\\mathrm{Re}\\langle y,q\\rangle-\\varphi^*(\\|q\\|_2):\\
    |(A^*q)_i|\\le\\lambda w_i\\}`; for (P3) the conjugate says :math:`\\|q\\|_2\\le1`.

    Attributes:
        operator: A.
        weights: Positive weights that broadcast to the shape of z; None is all ones.
        lam: :math:`\\lambda>0`. In (P3) it has no unit: scaling y scales the solution and leaves lambda. In (P1) it
            only scales the objective.
        fidelity: :math:`\\varphi`: :class:`Norm` (P3), :class:`Squared` (P2) or :class:`Ball` (P1).
    """

    operator: LinearOperator | Compact

    def __post_init__(self) -> None:
        check_lam(self.lam)
        if self.weights is not None:
            object.__setattr__(self, "weights", tensor_of(self.weights, "weights"))
        check_weights(self.weights, self.operator.in_shape)

    @property
    def first_weight(self) -> float:
        """What a searching schedule starts from, in units of :math:`\\|y\\|_2`."""
        return self._dual_unit

    @property
    def _dual_unit(self) -> float:
        """One over the size of the dual, an estimate: 1 for (P3); else what lambda is in units of the one that (P3)
        would want."""
        if isinstance(self.fidelity, Norm):
            return 1.0
        return default_lam(self.measurement, math.prod(self.operator.in_shape)) / self.lam

    @property
    def measurement(self) -> LinearOperator:
        return self.operator.operator if isinstance(self.operator, Compact) else self.operator

    def shrink(self, v: Tensor, tau: Tensor) -> Tensor:
        """The proximal map of :math:`\\tau\\lambda\\|\\cdot\\|_{l^1_w}`: soft threshold of the modulus, the phase kept.

        Args:
            v: Shape (..., \\*in_shape).
            tau: Step, shape that broadcasts to v.
        """
        threshold = tau * self.lam if self.weights is None else tau * self.lam * self.weights
        return soft_threshold(v, threshold.to(v.real.dtype))

    def clip(self, u: Tensor, sigma: Tensor | float = 1.0) -> Tensor:
        """The proximal map of the dual: of each batch item a multiple. For (P3) the projection on the unit ball,
        :math:`u/\\max(1,\\|u\\|_2)`.

        Args:
            u: Shape (..., \\*out_shape).
            sigma: Step, one or one a batch item in any shape. For (P3) it does not matter.
        """
        d = len(self.operator.out_shape)
        size = norms(u, d)
        return scaled(u, self.fidelity.factor(size, per_item(sigma, size)).to(u.real.dtype), d)

    def objective(self, z: Tensor, y: Tensor) -> Tensor:
        """Returns F(z), one float64 number a batch item, computed in the precision of z. For (P1) the penalty alone:
        see :meth:`violation`."""
        return self.penalty(z) + self.fidelity.value(norms(self.operator(z) - y, len(self.operator.out_shape)))

    def violation(self, z: Tensor, y: Tensor) -> Tensor:
        """Returns for (P1) :math:`\\max\\{0,\\|Az-y\\|_2-\\varepsilon\\}`, else 0."""
        return self.fidelity.violation(norms(self.operator(z) - y, len(self.operator.out_shape)))

    def penalty(self, z: Tensor) -> Tensor:
        """:math:`\\lambda\\|z\\|_{l^1_w}`, one float64 number a batch item."""
        parts = [size.sum(dim=-1, dtype=torch.float64) for size in self._sizes(z, divide=False)]
        return self.lam * total(parts)

    def worst(self, q: Tensor, back: Tensor) -> Tensor:
        """:math:`\\max_i|(A^*q)_i|/(\\lambda w_i)` (float64), given A*q: at most 1 where q is feasible."""
        parts = [size.amax(dim=-1).to(torch.float64) for size in self._sizes(back, divide=True)]
        return torch.stack(parts).amax(dim=0) / self.lam

    def _sizes(self, z: Tensor, *, divide: bool) -> Iterator[Tensor]:
        """|z| w or |z| / w in pieces, shape (..., piece)."""
        d = len(self.operator.in_shape)
        sizes = map(torch.abs if derived(z) else modulus, pieces(z, d))
        if self.weights is None:
            yield from sizes
            return
        for piece, w in zip(sizes, pieces(self.weights.expand(self.operator.in_shape), d), strict=True):
            yield piece / w if divide else piece * w

    def bound(self, q: Tensor, back: Tensor, y: Tensor, count: Tensor | float = 1.0) -> tuple[Tensor, Tensor]:
        """Returns a lower bound of min F from any q, given A*q: the dual value of q / count made feasible, and the norm
        of that (float64), in the precision of q."""
        inner = -real_inner(y, q, len(self.operator.out_shape)) / count
        size = norms(q, len(self.operator.out_shape)) / count
        return self._bound(inner, size, self.worst(q, back) / count)

    def feasible(self, q: Tensor, y: Tensor | None = None) -> Tensor:
        """Returns q, multiplied so that it is feasible: divided by :math:`\\max\\{1,\\|q\\|_2,\\max_i|(A^*q)_i|/
        (\\lambda w_i)\\}`, without the norm for (P1) and (P2); if y is given, the best of all feasible multiples."""
        d = len(self.operator.out_shape)
        multiple = self._multiple(norms(q, d), self.worst(q, self.operator.adjoint(q)), q, y)
        return scaled(q, multiple.to(q.real.dtype), d)

    def dual_value(self, q: Tensor, y: Tensor) -> Tensor:
        """Returns :math:`-\\mathrm{Re}\\langle y,q\\rangle-\\varphi^*(\\|q\\|_2)`, one float64 number a batch item: at
        most min F if q is feasible."""
        d = len(self.operator.out_shape)
        return -real_inner(y, q, d) - self.fidelity.conjugate(norms(q, d))

    def dual_size(self, q: Tensor) -> Tensor:
        """Returns :math:`\\|q\\|_2` of a dual point as the loop has it."""
        return norms(q, len(self.operator.out_shape))

    def gap(self, z: Tensor, q: Tensor, y: Tensor) -> Tensor:
        """Returns an upper bound of :math:`F(z)-\\min F`, finite for every z and every q, up to its rounding: see
        :meth:`prove`."""
        return self.prove(z, q, y).gap

    def prove(self, z: Tensor, q: Tensor, y: Tensor) -> Proof:
        """Returns what the pair (z, q) proves, computed in double precision: objective, lower bound, gap, rounding.

        Args:
            z: Any point (..., \\*in_shape).
            q: Any dual point (..., \\*out_shape): its best feasible multiple is taken.
            y: Measurements, shape of q.
        """
        operator = self.measurement
        z, q, y = (tensor_of(t) for t in (z, q, y))
        batch = y.shape[: y.ndim - len(operator.out_shape)]
        compact = operator.compact()
        y, q = (compact.pack_measured(t.reshape(-1, *operator.out_shape)) for t in (y, q))
        found = self.compact().proof(z.reshape(-1, *operator.in_shape), q, y)
        return Proof(**{name: value.view(batch) for name, value in vars(found).items()})

    @torch.no_grad()
    def proof(self, z: Tensor, q: Tensor, y: Tensor) -> Proof:
        """Returns what a pair proves, see :meth:`prove`, of a compact problem.

        Every sum is bounded by its length and the norms that go into it; A and A* by
        :attr:`LinearOperator.rounding` and :meth:`LinearOperator.adjoint_roundings`.

        Args:
            z: Points as the user has them, not packed, shape (batch, \\*in_shape) of the operator.
            q: Packed dual points (batch, \\*out_shape).
            y: Packed measurements.
        """
        compact, own = self.operator, self.measurement
        assert isinstance(compact, Compact)
        unit = unit_roundoff(y.dtype)
        z, y = own.precisely(z), own.precisely(y)
        u, d = unit_roundoff(z.dtype), len(compact.out_shape)
        size, packed = blocked_norms(z, z.ndim - 1), compact.pack(z)
        del z  # of a volume each of these is much
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
        """Returns the penalty and a bound of its error; z is exact here."""
        sizes = doubled(z).abs()
        sizes = (sizes if self.weights is None else sizes.mul_(self.weights)).flatten(1)
        penalty = self.lam * blocked_sum(sizes)
        return penalty, (sum_rounding(sizes.shape[1]) + 6) * UNIT * penalty

    def dual_of(self, q: Tensor, p: Tensor | None = None) -> Tensor:
        """A dual point as the loop has it, from a packed q."""
        return q

    def duals(self, dual: Tensor, batch: torch.Size) -> tuple[Tensor, None]:
        assert isinstance(self.operator, Compact)
        return self.operator.unpack_measured(dual).view(*batch, *self.measurement.out_shape), None

    def compact(self) -> SynthesisProblem:
        """Returns the same problem in the coordinates of :class:`.compact.Compact`, for a loop."""
        if isinstance(self.operator, Compact):
            return self
        compact = self.operator.compact()
        if self.weights is None:
            return SynthesisProblem(compact, None, self.lam, self.fidelity)
        shape = self.operator.in_shape
        weights = compact.pack(self.weights.expand(shape)[None])[0]
        return SynthesisProblem(compact, weights, self.lam, self.fidelity)
