"""The data fidelity, a function of the residual Ax - y: its norm (P3), its squared norm (P2), or a ball (P1)."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from firenet.errors import BadInput

# --- fidelities: functions of the norm r of a residual, and of the norm s of a dual point ----------------------------


class Fidelity(ABC):
    """A convex function of the residual that depends on its 2-norm r alone."""

    @abstractmethod
    def value(self, r: Tensor) -> Tensor:
        """Returns the value at r; for a ball it is 0 for every r, and :meth:`violation` is the constraint violation."""

    @abstractmethod
    def conjugate(self, s: Tensor) -> Tensor:
        """Returns the convex conjugate at a dual point of norm s; for :class:`Norm` it is 0 also for s > 1, where the
        conjugate is infinite."""

    @abstractmethod
    def factor(self, s: Tensor, sigma: Tensor) -> Tensor:
        """Returns the factor by which the proximal map of sigma times the conjugate multiplies a point of norm s."""

    def violation(self, r: Tensor) -> Tensor:
        """Returns the constraint violation at r, zero without a constraint."""
        return torch.zeros_like(r)

    def error(self, r: Tensor, error: Tensor) -> Tensor:
        """Returns a bound of the error of :meth:`value` if r has an error of at most ``error``."""
        return error

    def violation_unit(self, size: Tensor, unit: float) -> Tensor:
        """Returns the number that a violation is divided by to make it relative, for data of norm ``size`` in
        arithmetic of unit roundoff ``unit``."""
        return torch.ones_like(size)

    def multiple(self, inner: Tensor, s: Tensor, most: Tensor) -> Tensor:
        """Returns the number t in [0, most] for which tq has the largest dual value, for a dual point q of norm s.

        If no tq has a positive dual value, the number is of no use.

        Args:
            inner: :math:`-\\mathrm{Re}\\langle y,q\\rangle`.
            s: The norm of q.
            most: The largest t, which may be above one.
        """
        return most

    def unit(self, objective: Any, size: Any) -> Any:
        """Returns the size that, beside the objective itself, determines the objective's rounding error, for data of
        norm ``size``."""
        return size


@dataclass(frozen=True)
class Norm(Fidelity):
    """The norm :math:`\\|Az-y\\|_2`: the square-root LASSO (P3). Lambda has no unit, and its best value
    hardly depends on the noise."""

    def value(self, r: Tensor) -> Tensor:
        return r

    def conjugate(self, s: Tensor) -> Tensor:
        return torch.zeros_like(s)

    def factor(self, s: Tensor, sigma: Tensor) -> Tensor:
        return s.clamp(min=1).reciprocal()

    def multiple(self, inner: Tensor, s: Tensor, most: Tensor) -> Tensor:
        return torch.minimum(most, s.reciprocal())


@dataclass(frozen=True)
class Squared(Fidelity):
    """The squared norm :math:`\\|Az-y\\|_2^2`: the LASSO (P2), without the factor 1/2. Lambda has the unit of y."""

    def value(self, r: Tensor) -> Tensor:
        return r * r

    def conjugate(self, s: Tensor) -> Tensor:
        return s * s / 4

    def factor(self, s: Tensor, sigma: Tensor) -> Tensor:
        return (1 + sigma / 2).reciprocal().expand(s.shape)

    def error(self, r: Tensor, error: Tensor) -> Tensor:
        return (2 * r + error) * error + 4 * torch.finfo(r.dtype).tiny  # squares may underflow

    def multiple(self, inner: Tensor, s: Tensor, most: Tensor) -> Tensor:
        # The dual value -Re<y, tq> - t^2 s^2 / 4 is largest at t = 2 inner / s^2.
        best = 2 * (inner.clamp(min=0) / s) / s
        return torch.where(s > 0, torch.minimum(most, best), torch.where(inner > 0, most, 0.0))

    def unit(self, objective: Any, size: Any) -> Any:
        return size * objective**0.5


@dataclass(frozen=True)
class Ball(Fidelity):
    """The constraint :math:`\\|Az-y\\|_2\\le\\varepsilon`: basis pursuit denoising, with known noise level (P1).

    Attributes:
        noise: :math:`\\varepsilon\\ge0`; zero asks for an exact fit.
    """

    noise: float

    def __post_init__(self) -> None:
        if not 0 <= self.noise < math.inf:
            raise BadInput("A noise level, finite and zero or more", f"{self.noise}", "It bounds the norm of Ax - y")

    def value(self, r: Tensor) -> Tensor:
        return torch.zeros_like(r)

    def conjugate(self, s: Tensor) -> Tensor:
        return self.noise * s

    def factor(self, s: Tensor, sigma: Tensor) -> Tensor:
        return (1 - self.noise * sigma / s.clamp(min=torch.finfo(s.dtype).tiny)).clamp(min=0)

    def violation(self, r: Tensor) -> Tensor:
        return (r - self.noise).clamp(min=0)

    def error(self, r: Tensor, error: Tensor) -> Tensor:
        return torch.zeros_like(error)

    def violation_unit(self, size: Tensor, unit: float) -> Tensor:
        return torch.clamp(unit * size, min=max(self.noise, torch.finfo(size.dtype).tiny))

    def unit(self, objective: Any, size: Any) -> Any:
        return objective
