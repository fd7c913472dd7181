"""Reweighting: solve, weigh each coefficient by how small it came out, solve again.

A weighted l1 norm with :math:`w_i\\approx1/|(Wx)_i|` at the true image counts its coefficients, which a plain one only
approximates: small ones are pressed to zero and large ones no longer shrunk. The true image is not known; the one of
the round before stands in for it. Every round is a convex problem of its own, with a duality gap for its own weights.
That the images get better from round to round is experience, not a theorem.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from firenet.errors import BadInput
from firenet.network import Firenet, Solution, Status
from firenet.transforms import AnalysisOperator


@dataclass(frozen=True, eq=False)
class Round:
    """One round on one image.

    Attributes:
        weights: Those of its problem; None is all ones.
        solution: Image and gap; the gap is that of the problem with these weights.
    """

    weights: Tensor | None
    solution: Solution


def reweighted(
    net: Firenet,
    y: Tensor,
    rounds: int = 1,
    *,
    floor: float = 0.5,
    tolerance: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Round]:
    """Solves once with the weights of the network and then ``rounds`` times with weights from the image before.

    Args:
        net: With a sparsifying transform. Its own weights multiply those of every round.
        y: Measurements of one image, shape ``net.sensing.out_shape``.
        rounds: How many times to reweight; 0 is a plain solve.
        floor: As in :func:`weights_from`.
        tolerance: As in :meth:`Firenet.solve`, for each round.
        progress: Called now and then with layers done and the most there can be, over all rounds.

    Returns:
        All rounds, the plain one first. Each starts at the image of the one before. A round that ends in a numerical
        error is the last.

    Raises:
        BadInput: Without a transform, for a batch, or for a negative number of rounds.
    """
    if net.sparsify is None:
        raise BadInput("A network with a sparsifying transform", "sparsify=None", "Weights are those of coefficients")
    if y.shape != net.sensing.out_shape:
        got = f"shape {tuple(y.shape)}"
        raise BadInput(f"Measurements of one image, shape {net.sensing.out_shape}", got, "Loop over the batch")
    if rounds < 0:
        raise BadInput("A number of rounds, zero or more", f"{rounds}", "1 or 2 are usual")
    own = net.problem.weights
    most = (rounds + 1) * net.schedule.layers
    found = [Round(own, net.solve(y, tolerance=tolerance, progress=_shifted(progress, 0, most)))]
    for k in range(rounds):
        if found[-1].solution.status[0] is Status.NUMERICAL_ERROR:
            break
        image = found[-1].solution.image
        weights = weights_from(image, net.sparsify, floor=floor)
        weights = weights if own is None else weights * own
        again = net.reweighted(weights)
        shifted = _shifted(progress, (k + 1) * net.schedule.layers, most)
        found.append(Round(weights, again.solve(y, x0=image, tolerance=tolerance, progress=shifted)))
    return found


def weights_from(image: Tensor, frame: AnalysisOperator, *, floor: float = 0.5) -> Tensor:
    """:math:`w_i\\propto1/(|(Wx)_i|+f\\,m_l)`, with m the mean modulus in the coefficient's level and mean 1 there.

    The means keep the balance between the levels, so that lambda keeps its meaning. The approximation (level 0) keeps
    the weight 1: it is not sparse.

    Args:
        image: Shape ``frame.in_shape``.
        frame: W.
        floor: f. Small is closer to counting, and further from convex.
    """
    if not 0 < floor < math.inf:
        raise BadInput("A finite floor above 0", f"{floor}", "0.5 is the default")
    if image.shape != frame.in_shape:
        raise BadInput(f"One image of shape {frame.in_shape}", f"shape {tuple(image.shape)}", "Loop over the batch")
    size = frame.moduli(frame(image)).to(torch.float64)
    levels = frame.levels().to(size.device)
    weights = torch.ones_like(size)
    for level in range(1, int(levels.max()) + 1):
        here = levels == level
        mean = size[here].mean()
        if mean > 0:
            inverse = 1 / (size[here] + floor * mean)
            weights[here] = inverse / inverse.mean()
    return weights


def _shifted(progress: Callable[[int, int], None] | None, before: int, most: int) -> Callable[[int, int], None] | None:
    return None if progress is None else lambda done, _: progress(before + done, most)
