"""An attack of your own: the power method, with the derivative of the reconstruction and its adjoint."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd import functional


def power_attack(reconstruct: Callable[[Tensor], Tensor], y: Tensor, budget: float, steps: int = 50) -> Tensor:
    """Returns a perturbation e of 2-norm ``budget`` times that of y which moves the reconstruction far.

    It is the direction that the power method on :math:`J^*J` finds, J the derivative of the reconstruction at y. For a
    linear reconstruction that is the worst one there is; for others it is what a linear model of them believes. What it
    finds is a lower bound of how bad it can get, never more.

    Args:
        reconstruct: R, differentiable.
        y: Real measurements.
        budget: Relative to the norm of y.
        steps: Of the power method.
    """
    size = budget * torch.linalg.vector_norm(y)
    e = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).reshape(y.shape)
    for _ in range(steps):
        _, change = functional.jvp(reconstruct, y, e)
        _, e = functional.vjp(reconstruct, y, change)
        e = e / torch.linalg.vector_norm(e)
    return size * e


def main() -> tuple[float, float]:
    """Returns how many times a linear map enlarges the perturbation that was found, and its norm."""
    J = torch.cos(torch.arange(12.0, dtype=torch.float64)[:, None] * torch.arange(20) * 0.9)
    y = torch.ones(20, dtype=torch.float64)
    e = power_attack(lambda data: J @ data, y, 0.01)
    return (torch.linalg.vector_norm(J @ e) / torch.linalg.vector_norm(e)).item(), torch.linalg.matrix_norm(J, 2).item()


if __name__ == "__main__":
    print(main())
