"""The choice of lambda without ground truth, by cross-validation on measurements that are held out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from firenet.errors import BadInput
from firenet.io.safely import replacing
from firenet.numerics import check_seed
from firenet.operators.linear import LinearOperator
from firenet.problems.penalty import check_lam
from firenet.reconstruction.defaults import default_network, default_schedule

_STEPS = 8
_RANGE = (1 / 8, 2.0)  # relative to the default lambda; above, images are over-smoothed
# The images need only be accurate enough to compare their prediction errors.
_TOLERANCE, _LAYERS = 3e-3, 250
# Errors within this share of the smallest count as equal: where the curve is flat, chance must not send lambda to an
# end of the grid.
_EQUAL = 0.01


@dataclass(frozen=True)
class Sweep:
    """The prediction errors over a grid of lambdas.

    Attributes:
        lams: The lambdas, in increasing order.
        errors: The relative l2 error of each lambda on the samples held out. It includes the noise of these samples.
        best: The lambda nearest to the default among those whose errors are within 1 % of the smallest.
        held_out: The number of samples that were held out.
        seed: The seed of the choice of these samples.
    """

    lams: tuple[float, ...]
    errors: tuple[float, ...]
    best: float
    held_out: int
    seed: int

    @property
    def at_the_edge(self) -> bool:
        """Whether the best lambda is an end of the grid: then a better one may lie outside."""
        return len(self.lams) > 1 and self.best in (self.lams[0], self.lams[-1])


@torch.no_grad()
def choose_lambda(
    y: Tensor,
    operator: LinearOperator,
    *,
    sparsify: str | None = None,
    lams: Sequence[float] | None = None,
    fraction: float = 0.05,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Sweep:
    """Chooses lambda by cross-validation: holds out a few measurements, and compares them with what the image of each
    lambda predicts.

    The measurements to hold out are drawn from :meth:`.LinearOperator.holdout_candidates`. For samples of a Fourier or
    Walsh transform these are the ones outside the fully sampled centre.

    Args:
        y: Measurements of one image, shape ``operator.out_shape``.
        operator: A, the measurement operator of one image.
        sparsify: The sparsifying transform, named as in :func:`.transform`.
        lams: The grid; None is 8 values from an eighth of the default to twice the default.
        fraction: The share of the candidates to hold out.
        seed: The seed of the choice of these measurements.
        progress: Called after each lambda with the number of lambdas done and the number of all lambdas.

    Raises:
        BadInput: If there is nothing to hold out or to keep, or if a lambda, the fraction or the measurements cannot be
            used.
    """
    usual = default_network(operator, sparsify=sparsify).lam
    if lams is None:
        low, high = (math.log(r * usual) for r in _RANGE)
        lams = [math.exp(low + (high - low) * k / (_STEPS - 1)) for k in range(_STEPS)]
    for lam in lams:
        check_lam(lam)
    lams = sorted(lams)
    if not 0 < fraction < 1 or not lams:
        got = f"fraction={fraction} and {len(lams)} lambdas"
        raise BadInput("A fraction between 0 and 1, and at least one lambda", got, "0.05 is usual")
    if y.shape != operator.out_shape:
        got = f"shape {tuple(y.shape)}"
        raise BadInput(f"Measurements of one image, shape {operator.out_shape}", got, "Choose lambda for one image")
    candidates = operator.holdout_candidates()
    # The random numbers are from NumPy, where they are the same on every processor.
    chance = torch.from_numpy(np.random.default_rng(check_seed(seed)).random(tuple(candidates.shape)))
    held = candidates & (chance.to(candidates.device) < fraction)
    made = operator.restrict(torch.ones_like(y, dtype=y.real.dtype)) != 0
    if not held.any() or not (made & ~held).any():
        got = f"{int(held.sum())} held out, of {int(candidates.sum())} that may be held out"
        needed = "Some measurements to hold out (of k-space, outside its centre) and others to keep"
        raise BadInput(needed, got, "Give lambda as a number")
    unseen, seen = operator.subset(held), operator.subset(~held)
    known, target = seen.restrict(y), unseen.restrict(y)
    size = torch.linalg.vector_norm(target).item()
    schedule, image = default_schedule(_TOLERANCE, _LAYERS), None
    errors: list[float] = []
    for k, lam in enumerate(reversed(lams)):  # from the smoothest image to the sharpest, each started at the one before
        net = default_network(seen, sparsify=sparsify, lam=lam, schedule=schedule).to(y.device)
        image = net.solve(known, x0=image).image
        errors.append(torch.linalg.vector_norm(unseen(image) - target).item() / (size or 1.0))
        if progress is not None:
            progress(k + 1, len(lams))
    errors.reverse()
    equal = [lam for lam, e in zip(lams, errors, strict=True) if e <= (1 + _EQUAL) * min(errors)]
    best = min(equal, key=lambda lam: abs(math.log(lam / usual)))
    return Sweep(tuple(lams), tuple(errors), best, int(held.sum()), seed)


def draw(sweep: Sweep, path: Path) -> None:
    """Draws the prediction errors over lambda, as a PNG picture."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3.4), layout="constrained")
    axes = figure.add_subplot()
    axes.semilogx(sweep.lams, sweep.errors, marker="o", ms=4)
    axes.axvline(sweep.best, color="0.5", lw=0.8)
    axes.set_xlabel("lambda")
    axes.set_ylabel(f"relative error on {sweep.held_out} samples held out")
    axes.set_title(f"best: {sweep.best:.2g}", fontsize=10)
    axes.grid(alpha=0.3)
    with replacing(path) as (temporary,):
        said = {"Description": "firenet: the choice of lambda"}  # a later run replaces only pictures with this text
        figure.savefig(temporary, dpi=100, format="png", metadata=said)
