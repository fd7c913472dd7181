"""Conjugate gradients for the least-squares problem."""

from __future__ import annotations

import torch
from torch import Tensor

from firenet.numerics import norms
from firenet.operators.compact import Compact


@torch.no_grad()
def least_squares(operator: Compact, y: Tensor, steps: int = 300) -> tuple[Tensor, Tensor]:
    """Computes an approximate minimiser x of the norm of Ax - y, by conjugate gradients on the normal equations
    (Hestenes and Stiefel 1952), started at zero.

    Args:
        operator: A, in packed coordinates.
        y: Packed measurements, a batch.
        steps: The largest number of steps; it stops earlier if A* of the residual is of the size of rounding.

    Returns:
        x and Ax - y.
    """
    n, m = len(operator.in_shape), len(operator.out_shape)
    residual = y.clone()
    gradient = operator.adjoint(residual)
    x = torch.zeros_like(gradient)
    direction, energy = gradient, norms(gradient, n).square()
    first = energy.clone()
    for _ in range(steps):
        if not bool((energy > 1e-28 * first).any()):
            break
        image = operator(direction)
        curvature = norms(image, m).square()
        step = torch.where(curvature > 0, energy / curvature, 0.0).to(y.real.dtype)
        x = x + step.view(-1, *(1,) * n) * direction
        residual = residual - step.view(-1, *(1,) * m) * image
        gradient = operator.adjoint(residual)
        before, energy = energy, norms(gradient, n).square()
        share = torch.where(before > 0, energy / before, 0.0).to(y.real.dtype)
        direction = gradient + share.view(-1, *(1,) * n) * direction
    return x, -residual
