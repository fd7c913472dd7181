"""The duality gap, assembled from objective, dual value, dual norm and constraint violation.

Weak duality says :math:`\\min F\\ge d` for the value d of every feasible dual point, so
:math:`F(z)-\\min F\\le F(z)-d`. Everything here is float64, one number per batch item. Every gap that is proved in
double precision is assembled here; the iteration computes its own to control itself, and :mod:`firenet.verified` the
verified ones.

A proof accounts for rounding errors. The objective comes with a bound of its rounding error; the lower bound is rounded
down (:func:`dual_bound`), so that it is a lower bound in exact arithmetic.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from firenet.numerics import UNIT
from firenet.problems.fidelity import Fidelity

# Data are reported as infeasible if it is proved that every image that fits them has a penalty this many times larger.
INFEASIBLE = 1e6


def duality_gap(objective: Tensor, dual_value: Tensor, dual_norm: Tensor, violation: Tensor) -> Tensor:
    """Returns :math:`F(z)-d+\\|q\\|_2v`, an upper bound of :math:`F(z)-\\min F`.

    For (P1) v is the constraint violation of z; with this term the gap is zero or more for points that violate the
    constraint, too: by weak duality :math:`d\\le F(z)+\\|q\\|_2v`. For (P2) and (P3) v is zero.
    """
    missing = torch.where(violation > 0, dual_norm * violation, 0.0)
    return objective - dual_value + missing


def within(tolerance: float, objective: float, bound: float) -> bool:
    """Returns whether the relative gap, gap over lower bound, is at most the tolerance, without regard to rounding."""
    return 0 <= bound < math.inf and objective - bound <= tolerance * bound


def working_floor(precision: float, objective: float, size: float) -> float:
    """Returns an estimate of the rounding error of a gap that the iteration computes in its working precision.

    It controls the iteration only; certified gaps are computed in double precision, with a bound of their rounding.

    Args:
        precision: The machine epsilon of the data's dtype.
        objective: F.
        size: The result of :meth:`.fidelity.Fidelity.unit` for this objective.
    """
    return precision * (2 * objective + size)


def dual_bound(
    fidelity: Fidelity, inner: Tensor, inner_error: Tensor, size: Tensor, worst: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the best lower bound of min F from the multiples tq of a dual point q, the norm of the best multiple, and
    the amount by which the bound was rounded down.

    The bound is :math:`ti-\\varphi^*(ts)` for the best t for which tq is feasible, rounded down. If that is not
    positive, the bound is zero, which is the value of the dual point zero.

    Args:
        fidelity: :math:`\\varphi`.
        inner: i, the computed :math:`-\\mathrm{Re}\\langle y,q\\rangle`.
        inner_error: A bound of its error.
        size: s, an upper bound of :math:`\\|q\\|_2`.
        worst: An upper bound of the largest ratio of an entry of the dual constraint to its limit.
    """
    t = fidelity.multiple(inner, size, worst.reciprocal()) * (1 - 4 * UNIT)
    conjugate = fidelity.conjugate(t * size)
    error = t * inner_error + 8 * UNIT * (t * inner.abs() + conjugate)
    value = t * inner - conjugate - error
    good = value > 0  # false for NaN
    return torch.where(good, value, 0.0), torch.where(good, t * size, 0.0), torch.where(good, error, 0.0)


_CERTIFIED = ("objective", "lower_bound", "gap", "rounding", "relative_gap", "violation", "relative_violation")


@dataclass(frozen=True, eq=False)
class Proof:
    """The numbers that are proved about a point z; float64, one per batch item.

    Attributes:
        objective: F(z), computed in double precision.
        lower_bound: A lower bound of min F.
        gap: ``objective - lower_bound``, for (P1) plus the norm of the dual point times the violation; at least 0.
        rounding: A bound of the rounding error of the gap: F(z) - min F is at most ``gap + rounding``.
        relative_gap: The gap over the lower bound, see :func:`relative_gap`.
        violation: For (P1) the constraint violation :math:`\\max\\{0,\\|Az-y\\|_2-\\varepsilon\\}`, else zero.
        relative_violation: The part of the violation that exceeds rounding, over
            :math:`\\max(\\varepsilon,u\\|y\\|_2)` with u the unit roundoff of the data's dtype.
        contradiction: Whether the computed gap was below minus its rounding, which contradicts weak duality and shows
            that the operator's adjoint is wrong. Then the lower bound is replaced by zero, and the gap by the
            objective.
        zero: Whether F(z) is at most its own rounding and z fits the data: then the minimum is zero up to rounding.
        infeasible: For (P1), whether z does not fit the data, and it is proved that every image that fits them has a
            penalty above 1e6 times that of z.
    """

    objective: Tensor
    lower_bound: Tensor
    gap: Tensor
    rounding: Tensor
    relative_gap: Tensor
    violation: Tensor
    relative_violation: Tensor
    contradiction: Tensor
    zero: Tensor
    infeasible: Tensor

    @staticmethod
    def none(like: Tensor) -> Proof:
        """Returns what holds of any one point without a computation: the minimum is at least zero."""
        infinite = torch.full((1,), torch.inf, dtype=torch.float64, device=like.device)
        zero, no = torch.zeros_like(infinite), torch.zeros_like(infinite, dtype=torch.bool)
        return Proof(infinite, zero, infinite, zero, infinite, infinite, infinite, no, no, no)

    def shaped(self, batch: torch.Size) -> dict[str, Tensor]:
        """Returns the numbers by name, in the shape of the batch."""
        return {name: value.view(batch) for name, value in vars(self).items()}

    def certified(self, batch: torch.Size) -> dict[str, Tensor]:
        """Returns the numbers of a certificate by name, in the shape of the batch."""
        return {name: getattr(self, name).view(batch) for name in _CERTIFIED}

    def where(self, condition: Tensor, other: Proof) -> Proof:
        """Returns this proof for the batch items with a true condition, and another proof for the others."""
        return Proof(**{name: torch.where(condition, a, getattr(other, name)) for name, a in vars(self).items()})

    def reached(self, tolerance: float | Tensor) -> Tensor:
        """Returns whether it is proved that F(z) exceeds min F by at most the tolerance times min F, rounding included.

        z must also fit the data to the tolerance. The result is true, too, where the minimum is zero up to rounding.
        """
        proved = self.gap + self.rounding <= tolerance * self.lower_bound
        return (proved | self.zero) & (self.relative_violation <= tolerance) & ~self.contradiction


def prove(
    objective: Tensor,
    objective_error: Tensor,
    bound: Tensor,
    bound_error: Tensor,
    dual_norm: Tensor,
    violation: Tensor,
    violation_error: Tensor,
    violation_unit: Tensor,
) -> Proof:
    """Assembles a proof.

    Args:
        objective: F(z) as computed.
        objective_error: A bound of its error.
        bound: A lower bound of min F, rounded down.
        bound_error: The amount by which it was rounded down.
        dual_norm: An upper bound of the norm of the dual point whose value is ``bound``.
        violation: The computed constraint violation.
        violation_error: A bound of its rounding error.
        violation_unit: The unit of relative violations, :math:`\\max(\\varepsilon,u\\|y\\|_2)`.
    """
    raw = duality_gap(objective, bound, dual_norm, violation)
    rounding = objective_error + bound_error + torch.where(violation > 0, dual_norm * violation_error, 0.0)
    contradiction = raw < -rounding
    # A bound that contradicts weak duality is discarded.
    bound = torch.where(contradiction, 0.0, bound)
    gap = torch.where(contradiction, objective, torch.where(raw < 0, 0.0, raw))
    beyond = (violation - violation_error).clamp(min=0) / violation_unit
    infeasible = (beyond > 0) & (bound > INFEASIBLE * objective) & (objective > objective_error)
    zero = (objective <= objective_error) & (objective < math.inf) & ~(beyond > 0)
    relative = relative_gap(gap, bound, zero, beyond)
    return Proof(objective, bound, gap, rounding, relative, violation, beyond, contradiction, zero, infeasible)


def relative_gap(gap: Tensor, bound: Tensor, zero: Tensor, beyond: Tensor) -> Tensor:
    """Returns the gap over the lower bound of the minimum: 1e-3 says "at most 0.1 % above the minimum".

    It is infinite if the lower bound is zero; but zero if the objective is at most its own rounding, for then the
    minimum is zero up to rounding; NaN if the gap is NaN. For (P1) it is at least the relative violation of the
    constraint, since a point that does not fit the data is not optimal.

    Args:
        gap: The gap.
        bound: The lower bound.
        zero: Whether the objective is at most its own rounding and the point fits the data.
        beyond: The relative violation.
    """
    ratio = torch.where(bound > 0, gap / bound.where(bound > 0, torch.ones_like(bound)), math.inf)
    ratio = torch.where(zero, 0.0, ratio)
    ratio = torch.where(gap < math.inf, ratio, gap)  # infinite or NaN, like the gap
    return torch.where(beyond > ratio, beyond, ratio)
