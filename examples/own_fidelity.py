"""A fidelity of your own: Huber's function of the residual's norm."""

from dataclasses import dataclass

import torch
from torch import Tensor

import firenet
from firenet.problems import Fidelity


@dataclass(frozen=True)
class Huber(Fidelity):
    """:math:`\\varphi(r)=r^2/(2\\delta)` up to :math:`\\delta` and :math:`r-\\delta/2` beyond.

    Its conjugate is :math:`\\varphi^*(s)=\\delta s^2/2` for :math:`s\\le1`, infinite beyond (the Moreau envelope of the
    norm). Like the norm it has slope one far away, so that lambda has no unit there.

    Attributes:
        delta: :math:`\\delta>0`, in the unit of the data.
    """

    delta: float

    def value(self, r: Tensor) -> Tensor:
        """Returns the function at the norm r of a residual."""
        return torch.where(r <= self.delta, r * r / (2 * self.delta), r - self.delta / 2)

    def conjugate(self, s: Tensor) -> Tensor:
        """Returns the conjugate at the norm s <= 1 of a dual point."""
        return self.delta * s * s / 2

    def factor(self, s: Tensor, sigma: Tensor) -> Tensor:
        """Returns what the proximal map of sigma times the conjugate multiplies a point of norm s by."""
        return torch.minimum((1 + sigma * self.delta).reciprocal(), s.reciprocal())

    def multiple(self, inner: Tensor, s: Tensor, most: Tensor) -> Tensor:
        """Returns the best t <= ``most`` with ts <= 1: the dual value is largest at inner / (delta s^2)."""
        best = inner.clamp(min=0) / s / s / self.delta
        feasible = torch.minimum(most, s.reciprocal())
        return torch.where(s > 0, torch.minimum(feasible, best), feasible)


def main() -> firenet.Solution:
    """Solves a small problem with it."""
    angles = torch.arange(24, dtype=torch.float64)[:, None] * torch.arange(64) * 0.7
    A = firenet.Matrix(torch.cos(angles) / 24**0.5)
    x = torch.zeros(64, dtype=torch.float64)
    x[torch.tensor([3, 30, 47])] = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    return firenet.Firenet(A, lam=0.05, fidelity=Huber(0.1)).solve(A(x))


if __name__ == "__main__":
    print(main())
