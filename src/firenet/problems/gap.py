"""The duality gap: from objective, dual value, dual norm and constraint violation to what is proved.

Weak duality says :math:`\\min F\\ge d` for the value d of every feasible dual point, so
:math:`F(z)-\\min F\\le F(z)-d`. Everything here is float64, one number a batch item, and everybody who states a gap
assembles it here: the loop to steer, the certificate to prove.

A proof counts its rounding. The objective comes with a bound of its error; the lower bound is rounded down by those who
compute it (:func:`dual_bound`), so it is one in exact arithmetic.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from firenet.numerics import UNIT

# Data that no image fits are proved to be such where every image that fits has a penalty this many times larger.
INFEASIBLE = 1e6


class Conjugate(Protocol):
    """The part of a fidelity that a dual value needs."""

    def multiple(self, inner: Tensor, s: Tensor, most: Tensor) -> Tensor:
        """Returns the best multiple of a dual point of norm s that is at most ``most``."""
        ...

    def conjugate(self, s: Tensor) -> Tensor:
        """Returns the conjugate at the norm s of a dual point."""
        ...


def duality_gap(objective: Tensor, dual_value: Tensor, dual_norm: Tensor, violation: Tensor) -> Tensor:
    """Returns :math:`F(z)-d+\\|q\\|_2v`, an upper bound of :math:`F(z)-\\min F`.

    For (P1) v is how far z violates the constraint; the term makes the gap zero or more also there: by weak duality
    :math:`d\\le F(z)+\\|q\\|_2v`. Elsewhere v is zero.
    """
    missing = torch.where(violation > 0, dual_norm * violation, 0.0)
    return objective - dual_value + missing


def within(tolerance: float, objective: float, bound: float) -> bool:
    """Returns whether the relative gap, gap over lower bound, is at most the tolerance, for numbers without errors."""
    return 0 <= bound < math.inf and objective - bound <= tolerance * bound


def working_floor(precision: float, objective: float, size: float) -> float:
    """Returns an estimate of the rounding error of a gap that is computed along the way in the working precision.

    It steers the loop, which proves nothing: what is proved is computed in double precision with a bound.

    Args:
        precision: The machine epsilon of the data's dtype.
        objective: F.
        size: What rounding errors are counted in beside F, :meth:`.fidelity.Fidelity.unit`.
    """
    return precision * (2 * objective + size)


def dual_bound(
    fidelity: Conjugate, inner: Tensor, inner_error: Tensor, size: Tensor, worst: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the best lower bound of min F from the multiples of a dual point q, the norm of that multiple, and the
    bound's error.

    The bound is :math:`ti-\\varphi^*(ts)` for the best t that keeps tq feasible, rounded down; where that is not
    positive, zero with the dual point zero, since F is never below. The error is by how much it was rounded down.

    Args:
        fidelity: :math:`\\varphi`.
        inner: i, the computed :math:`-\\mathrm{Re}\\langle y,q\\rangle`.
        inner_error: A bound of its error.
        size: s, at least :math:`\\|q\\|_2`.
        worst: At least the largest ratio of an entry of the dual constraint to its limit.
    """
    t = fidelity.multiple(inner, size, worst.reciprocal()) * (1 - 4 * UNIT)
    conjugate = fidelity.conjugate(t * size)
    error = t * inner_error + 8 * UNIT * (t * inner.abs() + conjugate)
    value = t * inner - conjugate - error
    good = value > 0  # false for NaN
    return torch.where(good, value, 0.0), torch.where(good, t * size, 0.0), torch.where(good, error, 0.0)


@dataclass(frozen=True, eq=False)
class Proof:
    """The numbers that are proved about a point z; float64, one a batch item.

    Attributes:
        objective: F(z), computed in double precision.
        lower_bound: At most min F.
        gap: ``objective - lower_bound``, for (P1) plus the norm of the dual point times the violation.
        rounding: A bound of the rounding error in the gap: F(z) - min F is at most ``gap + rounding``.
        relative_gap: The gap over the lower bound, as :func:`relative_gap` says.
        violation: For (P1) :math:`\\max\\{0,\\|Az-y\\|_2-\\varepsilon\\}`, else zero.
        relative_violation: What of it is more than rounding, over :math:`\\max(\\varepsilon,u\\|y\\|_2)`.
        contradiction: Whether the gap is below minus its rounding, which weak duality forbids: then the adjoint is not
            the adjoint.
        zero: Whether F(z) is at most its own rounding, and z fits the data: the minimum is zero up to that.
        infeasible: For (P1), whether every image that fits the data is proved to have a penalty above 1e6 times that
            of z, which does not fit.
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

    def reached(self, tolerance: float | Tensor) -> Tensor:
        """Returns whether F(z) exceeds min F by at most this share of it, rounding included, and z fits the data as
        well; or whether the minimum is zero to rounding."""
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
        bound_error: By how much it was rounded down.
        dual_norm: At least the norm of the dual point with this value.
        violation: The computed constraint violation.
        violation_error: What of a violation is rounding.
        violation_unit: What violations are measured in, :math:`\\max(\\varepsilon,u\\|y\\|_2)`.
    """
    raw = duality_gap(objective, bound, dual_norm, violation)
    rounding = objective_error + bound_error + torch.where(violation > 0, dual_norm * violation_error, 0.0)
    contradiction = raw < -rounding
    # A false bound is none.
    bound = torch.where(contradiction, 0.0, bound)
    gap = torch.where(contradiction, objective, torch.where(raw < 0, 0.0, raw))
    beyond = (violation - violation_error).clamp(min=0) / violation_unit
    infeasible = (beyond > 0) & (bound > INFEASIBLE * objective) & (objective > objective_error)
    zero = (objective <= objective_error) & (objective < math.inf) & ~(beyond > 0)
    relative = relative_gap(gap, bound, zero, beyond)
    return Proof(objective, bound, gap, rounding, relative, violation, beyond, contradiction, zero, infeasible)


def relative_gap(gap: Tensor, bound: Tensor, zero: Tensor, beyond: Tensor) -> Tensor:
    """Returns the gap over the lower bound of the minimum: 1e-3 says "at most 0.1 % above the minimum".

    It is infinite where the lower bound is zero and the gap is not; zero where the objective is at most its own
    rounding, for then the minimum is zero up to that; NaN where the gap is. For (P1) it is at least the relative
    violation of the constraint: nothing is optimal that does not fit.

    Args:
        gap: The gap.
        bound: The lower bound.
        zero: Whether the objective is at most its own rounding.
        beyond: The relative violation.
    """
    ratio = torch.where(bound > 0, gap / bound.where(bound > 0, torch.ones_like(bound)), math.inf)
    ratio = torch.where(zero, 0.0, ratio)
    ratio = torch.where(gap < math.inf, ratio, gap)  # also where it is NaN
    return torch.where(beyond > ratio, beyond, ratio)
