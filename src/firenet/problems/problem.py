"""What the iteration, the gap and the proof need of a problem, in the coordinates of a loop."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from firenet.numerics import UNIT, blocked_inner, blocked_norms, derived, norms, real_inner, scaled, sum_rounding
from firenet.operators.linear import LinearOperator
from firenet.problems.fidelity import Ball, Fidelity, Norm
from firenet.problems.gap import Proof, dual_bound

_NORM = Norm()


@dataclass(frozen=True, eq=False)
class Problem(ABC):
    """A penalty and a fidelity, :math:`F(x)=\\mathrm{penalty}(x)+\\varphi(\\|Ax-y\\|_2)`, with its dual.

    Attributes:
        operator: A, or what stands for it in the coordinates of a loop.
        weights: Positive weights of the penalty; None is all ones.
        lam: :math:`\\lambda>0`.
        fidelity: :math:`\\varphi`.
    """

    operator: Any
    weights: Tensor | None
    lam: float
    fidelity: Fidelity = _NORM

    # Whether a searching schedule may balance the primal weight anew.
    rebalances: ClassVar[bool] = True

    @property
    @abstractmethod
    def measurement(self) -> LinearOperator:
        """A as the user has it."""

    @property
    @abstractmethod
    def first_weight(self) -> float:
        """What a searching schedule starts from, in units of :math:`\\|y\\|_2`."""

    @abstractmethod
    def penalty(self, z: Tensor) -> Tensor:
        """Returns the penalty, one float64 number a batch item."""

    @abstractmethod
    def bound(self, q: Tensor, back: Tensor, y: Tensor, count: Tensor | float = 1.0) -> tuple[Tensor, Tensor]:
        """Returns a lower bound of min F from any dual point q, given A*q: the dual value of q / count made feasible,
        and the norm of that (float64), in the precision of q."""

    @abstractmethod
    def feasible(self, q: Tensor, y: Tensor | None = None) -> Tensor:
        """Returns the dual point made feasible; if y is given the best of all feasible multiples."""

    @abstractmethod
    def proof(self, z: Tensor, q: Tensor, y: Tensor) -> Proof:
        """Returns what a pair of points proves, computed in double precision with a bound of the rounding."""

    @abstractmethod
    def dual_of(self, q: Tensor, p: Tensor | None = None) -> Tensor:
        """Returns a dual point as the loop has it, from a packed q and the part p of an analysis problem."""

    @abstractmethod
    def duals(self, dual: Tensor, batch: torch.Size) -> tuple[Tensor, Tensor | None]:
        """Returns from the dual of a loop q, and p where there is one, in their own shapes."""

    @abstractmethod
    def dual_value(self, q: Tensor, y: Tensor) -> Tensor:
        """Returns :math:`-\\mathrm{Re}\\langle y,q\\rangle-\\varphi^*(\\|q\\|_2)`, one float64 number a batch item: at
        most min F if q is feasible."""

    @abstractmethod
    def dual_size(self, q: Tensor) -> Tensor:
        """Returns :math:`\\|q\\|_2` of a dual point as the loop has it."""

    @abstractmethod
    def _proved_penalty(self, z: Tensor, size: Tensor, u: float) -> tuple[Tensor, Tensor]:
        """Returns the penalty and a bound of its error, for points z of these norms in arithmetic of unit roundoff
        u."""

    def feasible_point(self, z: Tensor, residual: Tensor) -> Tensor:
        """For (P1) a point that fits the data, where A has a cheap right inverse
        :math:`A^+`: :math:`z-A^+r\\max\\{0,1-\\varepsilon/\\|r\\|_2\\}` for the residual r = Az - y, its projection
        where AA* is a multiple of the identity. Else z itself."""
        if not isinstance(self.fidelity, Ball):
            return z
        d = len(self.operator.out_shape)
        size = norms(residual, d)
        share = (1 - self.fidelity.noise / size.clamp(min=torch.finfo(size.dtype).tiny)).clamp(min=0)
        if not derived(share) and not (share > 0).any():
            return z
        correction = self.operator.minimum_norm(scaled(residual, share.to(residual.real.dtype), d))
        return z if correction is None else z - correction

    def value_at(self, z: Tensor, residual: Tensor, dual_size: Tensor) -> Tensor:
        """Returns F at :meth:`feasible_point`; where that does not fit the data, plus ``dual_size`` times the
        violation: with the norm of a feasible dual point this is at least its dual value."""
        if not isinstance(self.fidelity, Ball):
            return self.penalty(z) + self.fidelity.value(norms(residual, residual.ndim - 1))
        if self.operator.has_minimum_norm:
            return self.penalty(self.feasible_point(z, residual))
        return self.penalty(z) + dual_size * self.fidelity.violation(norms(residual, residual.ndim - 1))

    def _multiple(self, size: Tensor, worst: Tensor, q: Tensor, y: Tensor | None) -> Tensor:
        """Returns the multiple that :meth:`feasible` takes of a q with this norm."""
        if y is None:
            most = worst.clamp(min=1).reciprocal()
            return self.fidelity.multiple(torch.full_like(most, torch.inf), size.clamp(min=1), most)
        inner = -real_inner(y, q, q.ndim - size.ndim)
        multiple = self.fidelity.multiple(inner, size, worst.reciprocal())
        return torch.where(torch.isfinite(multiple), multiple, 1.0)

    def _bound(self, inner: Tensor, size: Tensor, worst: Tensor) -> tuple[Tensor, Tensor]:
        return dual_bound(self.fidelity, inner, torch.zeros_like(inner), size, worst)[:2]

    def _proved_objective(
        self, z: Tensor, size: Tensor, y: Tensor, u: float, unit: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Returns objective, a bound of its error, violation, what of it is rounding, and the unit of violations.

        Args:
            z: Packed points.
            size: Their norms, not packed.
            y: Packed measurements.
            u: The unit roundoff in which this is computed.
            unit: That of the data: a point of that precision can fit no better than to it.
        """
        d, own = y.ndim - 1, self.measurement
        penalty, penalty_error = self._proved_penalty(z, size, u)
        measured = self.operator(z)
        r, data = blocked_norms(measured - y, d), blocked_norms(y, d)
        error = u * (own.rounding * size + 6 * (blocked_norms(measured, d) + data))
        error = error + (sum_rounding(2 * math.prod(y.shape[1:])) + 4) * UNIT * r
        value = self.fidelity.value(r)
        objective_error = penalty_error + self.fidelity.error(r, error) + 2 * UNIT * (penalty + value)
        # What storing z and y in their precision costs already.
        fits = error + 4 * unit * (own.norm_bound.value * size + data)
        violation = self.fidelity.violation(r)
        return penalty + value, objective_error, violation, fits, self.fidelity.violation_unit(data, unit)


def inner_product(y: Tensor, q: Tensor, trailing: int) -> tuple[Tensor, Tensor]:
    """Returns :math:`-\\mathrm{Re}\\langle y,q\\rangle` in float64, and a bound of its error."""
    size = blocked_norms(y, trailing) * blocked_norms(q, trailing)
    return -blocked_inner(y, q, trailing), (sum_rounding(2 * math.prod(y.shape[1:])) + 8) * UNIT * size
