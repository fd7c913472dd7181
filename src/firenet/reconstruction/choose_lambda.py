"""The choice of lambda without ground truth: which one predicts measurements that it has not seen?"""

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
_RANGE = (1 / 8, 2.0)  # of the default lambda, beyond which images are over-smoothed
# The images need not be better than their prediction errors are told apart.
_TOLERANCE, _LAYERS = 3e-3, 250
# Errors that differ by no more are equal: where the curve is flat, chance must not send lambda to the end of the grid.
_EQUAL = 0.01


@dataclass(frozen=True)
class Sweep:
    """Prediction errors over a grid of lambdas.

    Attributes:
        lams: Rising.
        errors: Of each the relative l2 error on the samples held out: a measurement, with the noise of these samples in
            it.
        best: Of the lambdas whose errors are within 1 % of the smallest, the one nearest to the default.
        held_out: How many samples were held out.
        seed: Of their choice.
    """

    lams: tuple[float, ...]
    errors: tuple[float, ...]
    best: float
    held_out: int
    seed: int

    @property
    def at_the_edge(self) -> bool:
        """Whether the choice is an end of the grid: then the best may lie beyond."""
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
    """Chooses lambda by cross-validation: reconstructs without a few of the measurements, and compares them with what
    each image predicts.

    Those held out are drawn from :meth:`.LinearOperator.holdout_candidates`: of Fourier samples, from outside the fully
    sampled centre.

    Args:
        y: Measurements of one image, shape ``operator.out_shape``.
        operator: A.
        sparsify: As in :func:`.spec.transform`.
        lams: The grid; None is 8 values from an eighth of the default to twice it.
        fraction: Of the candidates, how many to hold out.
        seed: Of their choice.
        progress: Called with steps done and all.

    Raises:
        BadInput: Where there is nothing to hold out, or a lambda is none.
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
        raise BadInput("A fraction between 0 and 1, and one lambda at least", got, "0.05 is usual")
    if y.shape != operator.out_shape:
        got = f"shape {tuple(y.shape)}"
        raise BadInput(f"Measurements of one image, shape {operator.out_shape}", got, "One at a time")
    candidates = operator.holdout_candidates()
    # From NumPy, whose numbers are the same on every processor.
    chance = torch.from_numpy(np.random.default_rng(check_seed(seed)).random(tuple(candidates.shape)))
    held = candidates & (chance.to(candidates.device) < fraction)
    made = operator.restrict(torch.ones_like(y, dtype=y.real.dtype)) != 0
    if not held.any() or not (made & ~held).any():
        got = f"{int(held.sum())} of {int(candidates.sum())}"
        raise BadInput("Some measurements to hold out (of k-space, outside its centre)", got, "Give lambda a number")
    unseen, seen = operator.subset(held), operator.subset(~held)
    known, target = seen.restrict(y), unseen.restrict(y)
    size = torch.linalg.vector_norm(target).item()
    schedule, image = default_schedule(_TOLERANCE, _LAYERS), None
    errors: list[float] = []
    for k, lam in enumerate(reversed(lams)):  # from the smooth to the sharp, each from the one before
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
    """A picture of the sweep, PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.semilogx(sweep.lams, sweep.errors, marker="o", ms=4)
    axes.axvline(sweep.best, color="0.5", lw=0.8)
    axes.set_xlabel("lambda")
    axes.set_ylabel(f"relative error on {sweep.held_out} samples held out")
    axes.set_title(f"best: {sweep.best:.2g}", fontsize=10)
    axes.grid(alpha=0.3)
    with replacing(path) as (temporary,):
        said = {"Description": "firenet: the choice of lambda"}  # by which a later run knows it for its own
        figure.savefig(temporary, dpi=100, format="png", metadata=said)
