"""How far Ax may be from y: its norm (P3), the square of it (P2), or a ball that it must lie in (P1)."""

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
        """Returns the function of r; for a ball 0, what lies beyond it is :meth:`violation`."""

    @abstractmethod
    def conjugate(self, s: Tensor) -> Tensor:
        """Its conjugate, a function of the norm s of the dual point."""

    @abstractmethod
    def factor(self, s: Tensor, sigma: Tensor) -> Tensor:
        """The proximal map of sigma times the conjugate multiplies a point of norm s by this."""

    def violation(self, r: Tensor) -> Tensor:
        """Returns by how much r violates a constraint."""
        return torch.zeros_like(r)

    def error(self, r: Tensor, error: Tensor) -> Tensor:
        """Returns a bound of the error of :meth:`value` at a norm r that is off by at most ``error``."""
        return error

    def violation_unit(self, size: Tensor, unit: float) -> Tensor:
        """Returns what violations are measured in, for data of norm ``size`` in arithmetic of this unit roundoff."""
        return torch.ones_like(size)

    def multiple(self, inner: Tensor, s: Tensor, most: Tensor) -> Tensor:
        """Returns the multiple t of a dual point q of norm s with the largest dual value among those of at most
        ``most``, given inner = :math:`-\\mathrm{Re}\\langle y,q\\rangle`. It may be larger than one."""
        return most

    def unit(self, objective: Any, size: Any) -> Any:
        """Returns what the rounding errors of an objective are counted in, beside itself, for data of this norm."""
        return size


@dataclass(frozen=True)
class Norm(Fidelity):
    """:math:`\\|Az-y\\|_2`: the square-root LASSO (P3). Lambda has no unit and hardly depends on the noise."""

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
    """:math:`\\|Az-y\\|_2^2`: the LASSO (P2), without the factor 1/2. Lambda has the unit of y."""

    def value(self, r: Tensor) -> Tensor:
        return r * r

    def conjugate(self, s: Tensor) -> Tensor:
        return s * s / 4

    def factor(self, s: Tensor, sigma: Tensor) -> Tensor:
        return (1 + sigma / 2).reciprocal().expand(s.shape)

    def error(self, r: Tensor, error: Tensor) -> Tensor:
        return (2 * r + error) * error + 4 * torch.finfo(r.dtype).tiny  # squares may underflow

    def multiple(self, inner: Tensor, s: Tensor, most: Tensor) -> Tensor:
        # The best of them: -Re<y, tq> - t^2 s^2 / 4 is largest at t = 2 inner / s^2.
        best = 2 * (inner.clamp(min=0) / s) / s
        return torch.where(s > 0, torch.minimum(most, best), torch.where(inner > 0, most, 0.0))

    def unit(self, objective: Any, size: Any) -> Any:
        return size * objective**0.5


@dataclass(frozen=True)
class Ball(Fidelity):
    """:math:`\\|Az-y\\|_2\\le\\varepsilon`: basis pursuit with known noise (P1).

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
