"""A schedule of your own: the primal step is halved at each restart."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

import firenet
from firenet.operators import NormBound
from firenet.solver.schedules import Restart


@dataclass(frozen=True)
class Halving:
    """Steps :math:`(\\tau,\\sigma)=(\\omega,1/\\omega)/\\|A\\|`, with :math:`\\omega` halved at each restart.

    Proven: :math:`\\tau\\sigma\\|A\\|^2=1`, so each run converges, its average like one over the number of its layers.
    Not proven: that halving is a good choice. The certificate of the result says how good it was.

    Attributes:
        times: Number of restarts.
        count: Layers in each.
    """

    times: int = 6
    count: int = 40

    @property
    def layers(self) -> int:
        """The number of layers."""
        return self.times * self.count

    def restarts(self, norm: NormBound, size: Tensor) -> Iterator[Restart]:
        """Yields the runs for an operator of this norm and data of this size, one number for each batch item."""
        length = norm.value or 1.0
        omega = size / length
        for _ in range(self.times):
            yield Restart(omega / length, 1 / (omega * length), self.count, restart_point="average", keep_dual=True)
            omega = omega / 2


def main() -> firenet.Solution:
    """Solves a small problem with it."""
    x = torch.zeros(64, dtype=torch.float64)
    x[torch.tensor([3, 30, 47])] = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    angles = torch.arange(24, dtype=torch.float64)[:, None] * torch.arange(64) * 0.7
    A = firenet.Matrix(torch.cos(angles) / 24**0.5)
    return firenet.Firenet(A, lam=0.05, schedule=Halving()).solve(A(x))


if __name__ == "__main__":
    print(main())
