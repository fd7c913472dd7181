"""Reduced rank extrapolation: that combination of the last states of an iteration which one more layer changes least.

With states :math:`z_j=(x_j,q_j)` the combination is :math:`\\sum_j\\gamma_jz_j` with :math:`\\sum_j\\gamma_j=1`. If the
iteration is affine, it maps :math:`\\sum_j\\gamma_jz_{j-1}` to this point, and the factors minimise this change:

.. math::
    \\min_\\gamma\\ \\|\\textstyle\\sum_j\\gamma_jd_j\\|,\\quad d_j=z_j-z_{j-1},
    \\quad\\|(x,q)\\|^2=\\|x\\|_2^2/\\tau+\\|q\\|_2^2/\\sigma

(Sidi, *Vector extrapolation methods with applications*, 2017). Near a solution the iteration is nearly affine as
soon as the set of nonzero coefficients is found.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import torch
from torch import Tensor

from firenet.numerics import real_view
from firenet.solver.kernel import Steps


class State(NamedTuple):
    """The parts of a state that are combined: x, Ax, q and A*q."""

    x: Tensor
    measured: Tensor
    q: Tensor
    back: Tensor

    def copied(self) -> State:
        """Returns a copy, which later layers do not overwrite."""
        return State(*(part.clone() for part in self))


def combined(states: list[State], factors: Tensor) -> State:
    """Returns the sum of states times factors (batch, number)."""
    sums = []
    for parts in zip(*states, strict=True):
        each = factors.to(parts[0].real.dtype).view(*factors.shape, *(1,) * (parts[0].ndim - 1)).unbind(1)
        sums.append(sum(factor * part for factor, part in zip(each, parts, strict=True)))
    return State(*sums)


def smallest_change(states: list[State], layers: Tensor, steps: Steps) -> Tensor:
    """Computes the factors :math:`\\gamma_j` of all states but the first: (batch, number), float64.

    Args:
        states: The last states of a run, at least two.
        layers: The number of layers since the restart of each batch item. Older states have the factor zero; without
            two states since then the factors are NaN.
        steps: The steps of the run.
    """
    count = len(states) - 1
    since = torch.arange(count, 0, -1, device=layers.device)
    ours = (since < layers.view(-1, 1)).to(torch.float64).unsqueeze(-1)
    grams, scales = [], []
    for name, step in (("x", steps.tau), ("q", steps.sigma)):
        points = [real_view(getattr(state, name)).flatten(1) for state in states]
        changes = points[0].new_empty(len(layers), count, points[0].shape[1])
        for change, (before, after) in zip(changes.unbind(1), itertools.pairwise(points), strict=True):
            torch.sub(after, before, out=change)
        changes.mul_(ours.to(changes.dtype))
        # Squares of tiny or huge numbers are not representable.
        scale = changes.abs().amax(dim=(1, 2)).clamp(min=torch.finfo(changes.dtype).tiny)
        changes.div_(scale.view(-1, 1, 1))
        grams.append((changes @ changes.mT).to(torch.float64))
        scales.append(scale.to(torch.float64) / step.to(torch.float64).flatten().sqrt())
    larger = torch.maximum(*scales)
    first, second = ((scale / larger).square().view(-1, 1, 1) * gram for gram, scale in zip(grams, scales, strict=True))
    gram = first + second
    unit = torch.eye(count, dtype=gram.dtype, device=gram.device)
    # Factors far above one would magnify rounding.
    small = max(1e-7, 8 * torch.finfo(states[0].q.dtype).eps)
    gram = gram / gram.diagonal(dim1=1, dim2=2).sum(dim=1).view(-1, 1, 1) + small * unit
    found = torch.linalg.solve_ex(gram * ours * ours.mT + unit * (1 - ours), ours)[0].squeeze(-1)
    return found / found.sum(dim=1, keepdim=True)
