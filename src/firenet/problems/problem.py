"""The abstract optimisation problem, in the coordinates of an iteration: objective, dual, gap and proof."""

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
        operator: A, in the coordinates of an iteration.
        weights: Positive weights of the penalty; None is all ones.
        lam: :math:`\\lambda>0`.
        fidelity: :math:`\\varphi`.
    """

    operator: Any
    weights: Tensor | None
    lam: float
    fidelity: Fidelity = _NORM

    # Whether an iteration may restart from averages and combinations, and adapt its primal weight there.
    jumps: ClassVar[bool] = True

    @property
    def growth(self) -> float:
        """The largest factor by which the primal weight may exceed its first value in an iteration that restarts only
        from its last point."""
        return 1.0

    @property
    @abstractmethod
    def balance(self) -> float:
        """The factor of :attr:`first_weight`, from experience."""

    @property
    @abstractmethod
    def measurement(self) -> LinearOperator:
        """The measurement operator A in the user's coordinates."""

    @property
    @abstractmethod
    def weighted_shape(self) -> tuple[int, ...]:
        """The shape of the magnitudes that the weights multiply."""

    @property
    def first_weight(self) -> float:
        """The first primal weight of :class:`.AdaptiveRestarts`, relative to :math:`\\|y\\|_2/\\|A\\|`.

        For (P1) and (P2) it is :math:`c/s` with :math:`s=\\lambda\\|w\\|_2/\\|A\\|`, an estimate of the norm of the
        optimal q. For (P3), where :math:`\\|q\\|_2\\le1`, it is :math:`c\\max\\{1,1/s,s/2\\}`: a large :math:`\\lambda`
        moves the minimiser far from the first point. The factor c is :attr:`balance`.
        """
        s = self.lam * self.weight_norm() / (self.operator.norm_bound.value or 1.0)
        s = min(max(s, 1e-300), 1e300)  # a quotient of numbers of any size
        return self.balance * (max(1.0, 1 / s, s / 2) if isinstance(self.fidelity, Norm) else 1 / s)

    @property
    def dual_norm(self) -> float:
        """An upper bound of the 2-norm of every feasible dual point; infinite if none is known."""
        return 1.0 if isinstance(self.fidelity, Norm) else math.inf

    def weight_norm(self) -> float:
        """Returns the 2-norm of the weights of all magnitudes."""
        count = max(math.prod(self.weighted_shape), 1)
        if self.weights is None:
            return math.sqrt(count)
        weights = self.weights.detach().to(torch.float64)
        largest = float(weights.amax())
        return largest * math.sqrt((weights / largest).square().mean().item() * count)  # each weight is as frequent

    @abstractmethod
    def penalty(self, z: Tensor) -> Tensor:
        """Returns the penalty, one float64 number per batch item."""

    @abstractmethod
    def bound(self, q: Tensor, back: Tensor, y: Tensor, count: Tensor | float = 1.0) -> tuple[Tensor, Tensor]:
        """Returns a lower bound of min F from any dual point q, and the norm of the feasible dual point that gives it.

        The feasible point is the best multiple of q / count; in the analysis form the pair is repaired first. Bound and
        norm are float64, computed in the precision of q.

        Args:
            q: Dual points.
            back: A*q; in the analysis form the adjoint of the pair.
            y: Packed measurements.
            count: A number per batch item, by which q is divided.
        """

    @abstractmethod
    def feasible(self, q: Tensor, y: Tensor | None = None) -> Tensor:
        """Returns a feasible dual point made of q; if y is given, the feasible multiple with the largest dual value,
        if that is positive."""

    @abstractmethod
    def proof(self, z: Tensor, q: Tensor, y: Tensor) -> Proof:
        """Returns the proof from a pair of points, computed in double precision with a bound of the rounding."""

    @abstractmethod
    def dual_of(self, q: Tensor, p: Tensor | None = None) -> Tensor:
        """Returns the dual variable of an iteration from a packed q and, for an analysis problem, its part p."""

    @abstractmethod
    def duals(self, dual: Tensor, batch: torch.Size) -> tuple[Tensor, Tensor | None]:
        """Returns q, and p of an analysis problem, in the user's shapes, from the dual variable of an iteration."""

    @abstractmethod
    def dual_size(self, q: Tensor) -> Tensor:
        """Returns :math:`\\|q\\|_2` of the dual variable of an iteration."""

    @abstractmethod
    def _proved_penalty(self, z: Tensor, size: Tensor, u: float) -> tuple[Tensor, Tensor]:
        """Returns the penalty and a bound of its error, for points z of norm ``size`` in arithmetic of unit roundoff
        u."""

    def feasible_point(self, z: Tensor, residual: Tensor) -> Tensor:
        """Returns for (P1) a feasible point near z, if the minimum-norm solution :math:`A^+r` costs one adjoint.

        The point is :math:`z-A^+r\\max\\{0,1-\\varepsilon/\\|r\\|_2\\}` for the residual r = Az - y; if AA* is a
        multiple of the identity, it is the projection of z. For other operators, and for (P2) and (P3), the
        result is z.
        """
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
        """Returns F at :meth:`feasible_point`, plus ``dual_size`` times the violation if that point is not feasible.

        If ``dual_size`` is the norm of a feasible dual point, this is at least its dual value, by weak duality.
        """
        if not isinstance(self.fidelity, Ball):
            return self.penalty(z) + self.fidelity.value(norms(residual, residual.ndim - 1))
        if self.operator.has_minimum_norm:
            return self.penalty(self.feasible_point(z, residual))
        return self.penalty(z) + dual_size * self.fidelity.violation(norms(residual, residual.ndim - 1))

    def _multiple(self, size: Tensor, worst: Tensor, q: Tensor, y: Tensor | None) -> Tensor:
        """Returns the number by which :meth:`feasible` multiplies q, a dual point of norm ``size``."""
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
        """Returns the objective, a bound of its error, the violation, a bound of its error, and the unit of violations.

        Args:
            z: Packed points.
            size: Norms of the points in the user's coordinates.
            y: Packed measurements.
            u: The unit roundoff of this computation.
            unit: The unit roundoff of the data, which limits how well a point of their precision can fit them.
        """
        d, own = y.ndim - 1, self.measurement
        penalty, penalty_error = self._proved_penalty(z, size, u)
        measured = self.operator(z)
        r, data = blocked_norms(measured - y, d), blocked_norms(y, d)
        error = u * (own.rounding * size + 6 * (blocked_norms(measured, d) + data))
        error = error + (sum_rounding(2 * math.prod(y.shape[1:])) + 4) * UNIT * r
        value = self.fidelity.value(r)
        objective_error = penalty_error + self.fidelity.error(r, error) + 2 * UNIT * (penalty + value)
        # The rounding of z and y to the precision of the data is a part of the violation's error.
        fits = error + 4 * unit * (own.norm_bound.value * size + data)
        violation = self.fidelity.violation(r)
        return penalty + value, objective_error, violation, fits, self.fidelity.violation_unit(data, unit)


def inner_product(y: Tensor, q: Tensor, trailing: int) -> tuple[Tensor, Tensor]:
    """Computes :math:`-\\mathrm{Re}\\langle y,q\\rangle` in float64, and a bound of its error."""
    size = blocked_norms(y, trailing) * blocked_norms(q, trailing)
    return -blocked_inner(y, q, trailing), (sum_rounding(2 * math.prod(y.shape[1:])) + 8) * UNIT * size
