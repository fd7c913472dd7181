"""Reweighting: solve, weigh each coefficient by how small it came out, solve again.

A weighted l1 norm with :math:`w_i\\approx1/|(Wx)_i|` at the true image counts its coefficients, which a plain one only
approximates: small ones are pressed to zero and large ones no longer shrunk. The true image is not known; the one of
the round before stands in for it. How well the data are fitted is decided once: with other weights the same lambda
would mean another residual, so the later rounds are problems (P1) that keep the residual of the first, or a share of
it: weights that spare large coefficients need less slack. Every round is a convex problem of its own, with a duality
gap for its own weights.

That the images get better from round to round is experience, not a theorem, and holds where samples are missing. Where
there are more samples than coefficients that stand out of the noise, noise is all that is wrong, and reweighting makes
of it what it makes of edges (:func:`standing_out`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from firenet.errors import BadInput
from firenet.network import Firenet
from firenet.numerics import norms
from firenet.problems.fidelity import Ball
from firenet.solver.adaptive import AdaptiveRestarts
from firenet.solver.radial import RadialSearch
from firenet.solver.schedules import FixedSteps, PaperSchedule
from firenet.solver.solution import Progress, Solution, Status
from firenet.transforms.analysis_operator import AnalysisOperator
from firenet.transforms.convolutions import Convolutions

# Large: close to the plain norm. Smaller floors take more layers for little, and lose with noise.
FLOOR = 2.0
_DRAFT = 3e-3


@dataclass(frozen=True, eq=False)
class Round:
    """One round on one image.

    Attributes:
        net: The network of the round: its problem has the weights and the noise level.
        weights: Those of its problem; None is all ones.
        solution: Image and gap; the gap is that of the problem with these weights.
        ended: Why no further round followed although more were asked for, in words; else None.
    """

    net: Firenet
    weights: Tensor | None
    solution: Solution
    ended: str | None = None


_BROKE_OFF = (
    "reweighting broke off: its numbers are not finite. Check the scale of data and operator, or use double precision"
)
_ZERO = "no reweighting: the residual is all of the data, so zero is the answer of every later round"
_NOISE = "no reweighting: too few coefficients stand out of the noise"


def reweighted(
    net: Firenet,
    y: Tensor,
    rounds: int = 1,
    *,
    floor: float = FLOOR,
    keep: float = 1.0,
    enough: float | None = None,
    tolerance: float | None = None,
    progress: Progress | None = None,
) -> list[Round]:
    """Solves once with the weights of the network and then ``rounds`` times with weights from the image before.

    Args:
        net: With a sparsifying transform. Its own weights multiply those of every round. The layers of its schedule
            are those of all rounds together: every round may use an equal share of what is left. Only
            :class:`FrozenSteps` cannot be shortened, and are run whole in every round.
        y: Measurements of one image, shape ``net.sensing.out_shape``.
        rounds: How many times to reweight; 0 is a plain solve.
        floor: As in :func:`weights_from`.
        keep: The share of the first round's residual that the later ones keep. A noise level that was given is kept.
        enough: Where fewer coefficients than this share of the number of samples stand out of the noise, the first
            round is all.
        tolerance: As in :meth:`Firenet.solve`, for each round.
        progress: Called now and then with layers done and the most there can be, over all rounds.

    Returns:
        All rounds, the plain one first. Each starts at the image of the one before. The first round is the last where
        it ends in a numerical error, or the residual is all of the data. A later round that ends in a numerical error
        is left out. :attr:`Round.ended` of the last one then says why.

    Raises:
        BadInput: Without a transform, for a batch, for a negative number of rounds, or for more rounds than layers.
    """
    if net.sparsify is None:
        raise BadInput("A network with a sparsifying transform", "sparsify=None", "Weights are those of coefficients")
    if y.shape != net.sensing.out_shape:
        got = f"shape {tuple(y.shape)}"
        raise BadInput(f"Measurements of one image, shape {net.sensing.out_shape}", got, "Loop over the batch")
    if not 0 < keep <= 1:
        raise BadInput("A share of the residual to keep, above 0 and at most 1", f"{keep}", "1 keeps it")
    if rounds < 0:
        raise BadInput("A number of rounds, zero or more", f"{rounds}", "1 or 2 are usual")
    most = net.schedule.layers
    if most <= rounds:
        got = f"{most} layers for {rounds + 1} rounds, the first one among them"
        raise BadInput("At least one layer for every round", got, "Allow more layers, or fewer rounds of reweighting")
    own = net.problem.weights
    draft, held = _draft(net) if rounds else net, None
    found: list[Round] = []
    done = 0
    for k in range(rounds + 1):
        weights, first = own, None
        if found:
            first = found[-1].solution.image
            weights = weights_from(first, net.sparsify, floor=floor)
            weights = weights if own is None else weights * own
        this = _shortened(draft if k < rounds else net, (most - done) // (rounds + 1 - k))
        this = this if k == 0 else this.reweighted(weights, held)
        shifted = _shifted(progress, done, most)
        solution = this.solve(y, x0=first, dual0=_dual(found, this), tolerance=tolerance, progress=shifted)
        done += int(solution.layers)
        broken = solution.status in (Status.NUMERICAL_ERROR, Status.WRONG_ADJOINT)
        if broken and found:
            return _ended(net, y, found, held, max(most - done, 1), _BROKE_OFF, tolerance)
        found.append(Round(this, weights, solution, _BROKE_OFF if broken and rounds else None))
        if broken:
            break
        if held is None and rounds:
            problem = this.problem
            fitted = norms(problem.operator(solution.coefficients) - net.sensing.restrict(y), y.ndim).item()
            held = this.fidelity.noise if isinstance(this.fidelity, Ball) else keep * fitted
            if held >= norms(net.sensing.restrict(y), y.ndim).item():
                return _ended(net, y, found, held, max(most - done, 1), _ZERO, tolerance)
            if enough is not None and standing_out(net, solution.image, y) < enough:
                return _ended(net, y, found, held, max(most - done, 1), _NOISE, tolerance)
    return found


def _ended(
    net: Firenet, y: Tensor, found: list[Round], held: float | None, layers: int, reason: str, tolerance: float | None
) -> list[Round]:
    """The rounds where no further one follows: the last was to make weights only, and goes on to the tolerance that
    was asked for."""
    *before, last = found
    if reason == _ZERO and last.solution.status is not Status.TOLERANCE_REACHED:
        return [*before, replace(last, ended=reason)]  # more layers would not be more of the same
    rest = _shortened(net, layers)
    rest = rest.reweighted(last.weights, held) if before else rest
    drafted = last.solution
    final = rest.solve(y, x0=drafted.image, dual0=(drafted.dual, drafted.dual_sparse), tolerance=tolerance)
    return [*before, Round(rest, last.weights, replace(final, layers=final.layers + drafted.layers), reason)]


@torch.no_grad()
def standing_out(net: Firenet, image: Tensor, y: Tensor) -> float:
    """How many coefficients of an image stand out of the noise by three band_noise, in parts of the number of samples.

    Of a redundant transform each counts as a part of one, so that all together are the number of pixels. The noise
    of a sample is estimated from the median of the residual, which leaves out the few large samples whose residual is
    the penalty's; with a noise level it is that. An estimate, and for operators with AA* = I.

    Args:
        net: Operator, transform and noise level.
        image: One image that fits the data as far as they go.
        y: Its data.
    """
    assert net.sparsify is not None
    # Squares and sums of what is as large as the data may be infinite; the share has no unit.
    unit = y.abs().max().item()
    if not unit > 0:
        return 0.0
    image, y = image / unit, y / unit
    taken = net.sensing.restrict(torch.ones_like(y)) != 0
    samples = int(taken.sum())
    if isinstance(net.fidelity, Ball):
        noise = net.fidelity.noise / unit / math.sqrt(samples)
    else:
        # median over root of mean square, of the modulus of a complex or a real normal number
        ratio = math.sqrt(math.log(2)) if y.is_complex() else 0.6745
        noise = (net.sensing(image) - y)[taken].abs().median().item() / ratio
    sparsify = net.sparsify
    sizes = sparsify.band_noise() if isinstance(sparsify, Convolutions) else torch.ones((), dtype=torch.float64)
    sizes = sizes.to(device=y.device, dtype=y.real.dtype)
    out = sparsify.magnitudes(sparsify(image)) > 3 * noise * sizes
    return ((out * sizes.square()).sum() / sparsify.scale**2).item() / samples


def _dual(found: list[Round], net: Firenet) -> tuple[Tensor, Tensor | None] | None:
    """The dual of the round before, in the unit of this one."""
    if not found:
        return None
    before, unit = found[-1].solution, net.lam / found[-1].net.lam
    return unit * before.dual, None if before.dual_sparse is None else unit * before.dual_sparse


def _draft(net: Firenet) -> Firenet:
    """For the rounds that only make weights: stops at a gap of 3e-3, where a searching schedule would go on."""
    schedule = net.schedule
    if isinstance(schedule, AdaptiveRestarts | RadialSearch):
        return net.following(replace(schedule, tolerance=max(schedule.tolerance, _DRAFT)))
    return net


def _shortened(net: Firenet, layers: int) -> Firenet:
    """The network with at most so many layers."""
    schedule = net.schedule
    if schedule.layers <= layers:
        return net
    if isinstance(schedule, AdaptiveRestarts | RadialSearch):
        return net.following(replace(schedule, max_layers=layers))
    if isinstance(schedule, FixedSteps):
        return net.following(replace(schedule, count=layers))
    if isinstance(schedule, PaperSchedule):
        outer = min(schedule.outer, layers)
        return net.following(replace(schedule, outer=outer, inner=layers // outer))
    return net  # frozen steps were found for the whole of them


def weights_from(image: Tensor, sparsify: AnalysisOperator, *, floor: float = FLOOR) -> Tensor:
    """:math:`w_i\\propto1/(|(Wx)_i|+f\\,m_l)`, with m the mean modulus in the coefficient's level and mean 1 there.

    The means keep the balance between the levels, so that lambda keeps its meaning. The approximation (level 0) keeps
    the weight 1: it is not sparse.

    Args:
        image: Shape ``sparsify.in_shape``.
        sparsify: W.
        floor: f. Small is closer to counting, and further from convex.
    """
    if not 0 < floor < math.inf:
        raise BadInput("A finite floor above 0", f"{floor}", "2 is the default")
    if image.shape != sparsify.in_shape:
        raise BadInput(f"One image of shape {sparsify.in_shape}", f"shape {tuple(image.shape)}", "Loop over the batch")
    size = sparsify.magnitudes(sparsify(image)).to(torch.float64)
    levels = sparsify.levels().to(size.device)
    weights = torch.ones_like(size)
    for level in range(1, int(levels.max()) + 1):
        here = levels == level
        mean = size[here].mean()
        if mean > 0:
            inverse = 1 / (size[here] + floor * mean)
            weights[here] = inverse / inverse.mean()
    return weights.to(image.real.dtype)


def _shifted(progress: Progress | None, before: int, most: int) -> Progress | None:
    return None if progress is None else lambda done, _, gap: progress(before + done, most, gap)
