"""Reweighting: rounds of solving, each with weights computed from the image of the round before.

At the true image a weighted l1 norm with :math:`w_i\\approx1/|(Wx)_i|` counts the nonzero coefficients, which the plain
norm only approximates: small coefficients become zero, and large ones are no longer shrunk. The true image is unknown,
so the image of the round before replaces it. The first round alone decides how well the data are fitted: with other
weights the same lambda would give another residual. The later rounds are therefore problems (P1). They keep the
residual of the first round, or a fraction of it, since weights that do not shrink large coefficients need a smaller
residual. Every round is a convex problem, with a duality gap for its own weights.

If samples are missing, the images improve from round to round; this is experience, not a theorem. If there are many
more samples than coefficients above the noise, noise is the only error, and reweighting enhances it as it enhances
edges (:func:`standing_out`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

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

# A large floor is close to the plain norm. Smaller floors take more layers for little, and are worse with noise.
FLOOR = 2.0
# The tolerance of rounds whose image only gives weights.
_DRAFT = 3e-2


class Reason(StrEnum):
    """A reason why there were fewer rounds than requested, as a text."""

    BROKE_OFF = (
        "reweighting broke off: its numbers are not finite. Check the scale of data and operator, or use double "
        "precision"
    )
    WRONG_ADJOINT = "reweighting broke off: the adjoint is not the adjoint of A. Call firenet.check_adjoint(A)"
    ZERO = "no reweighting: the residual to keep is as large as the data, so every later round would give zero"
    NOISE = "no reweighting: too few coefficients are above the noise"


_BROKEN = {Status.NUMERICAL_ERROR: Reason.BROKE_OFF, Status.WRONG_ADJOINT: Reason.WRONG_ADJOINT}


@dataclass(frozen=True, eq=False)
class Round:
    """One round of reweighting of one image.

    Attributes:
        net: The network of the round, whose problem has the weights and the noise level.
        weights: The weights of its problem; None is all ones.
        solution: Image and gap, for the problem with these weights.
        ended: Why fewer rounds were computed than requested; otherwise None.
    """

    net: Firenet
    weights: Tensor | None
    solution: Solution
    ended: Reason | None = None


def reweighted(
    net: Firenet,
    y: Tensor,
    rounds: int = 1,
    *,
    floor: float = FLOOR,
    keep: float = 1.0,
    enough: float | None = None,
    tolerance: float | None = None,
    x0: Tensor | None = None,
    before: Sequence[Round] = (),
    prove: bool = True,
    progress: Progress | None = None,
) -> list[Round]:
    """Solves once with the weights of the network and then ``rounds`` times with weights from the image before.

    Args:
        net: A network with a sparsifying transform. Its own weights multiply those of every round. The layers of its
            schedule are shared by all rounds: every round may use an equal part of the layers that are left. Only
            :class:`FrozenSteps` cannot be shortened; they are run completely in every round.
        y: Measurements of one image, shape ``net.sensing.out_shape``.
        rounds: The number of times to reweight; 0 is a plain solve.
        floor: As in :func:`weights_from`.
        keep: The fraction of the first round's residual that the later rounds keep. A given noise level is kept.
        enough: If the number of coefficients above the noise is less than this fraction of the number of samples, there
            is no further round.
        tolerance: As in :meth:`Firenet.solve`, for each round.
        x0: A first image, for the first round.
        before: Rounds of the same network that were computed before; they are not computed again.
        prove: As in :meth:`Firenet.solve`, for the last round; the others are never proved with a searching schedule.
        progress: Called from time to time with the number of layers so far, the largest number, both over all rounds,
            and the relative gap, which is not yet proved (None for a fixed schedule).

    Returns:
        All rounds, the plain one first. Each starts at the image of the round before. With a searching schedule all
        rounds but the last one stop at a relative gap of 3e-2, or at the schedule's tolerance if that is larger, since
        they only give weights; they are drafts, whose gap is not proved (``prove=False`` of :meth:`.Firenet.solve`).
        There is no further round if the first shows a numerical error, or if the residual that the later rounds would
        keep is as large as the data, so that they would give zero. A later round that shows a numerical error or a
        wrong adjoint is left out. :attr:`Round.ended` of the last round then says why.

    Raises:
        BadInput: Without a transform, for a batch, for ``rounds``, ``keep`` or ``floor`` out of range, or for fewer
            layers than rounds, the first one among them.
    """
    if net.sparsify is None:
        raise BadInput("A network with a sparsifying transform", "sparsify=None", "Give the network a transform")
    if y.shape != net.sensing.out_shape:
        got = f"shape {tuple(y.shape)}"
        raise BadInput(f"Measurements of one image, shape {net.sensing.out_shape}", got, "Loop over the batch")
    if not 0 < keep <= 1:
        raise BadInput("A fraction of the residual to keep, above 0 and at most 1", f"{keep}", "1 keeps all of it")
    check_floor(floor)
    if rounds < 0:
        raise BadInput("A number of rounds, zero or more", f"{rounds}", "1 or 2 are usual")
    most = net.schedule.layers
    if most <= rounds:
        got = f"{most} layers for {rounds + 1} rounds, the first one among them"
        raise BadInput("At least one layer for every round", got, "Allow more layers, or fewer rounds of reweighting")
    own = net.problem.weights
    draft, held = _draft(net) if rounds else net, None
    found, reason = list(before), None
    done = sum(int(r.solution.layers) for r in found)
    for k in range(len(found), rounds + 1):
        if found and held is None:
            held, reason = _held(net, y, found[0], keep, enough)
            if reason is not None:
                break
        weights, first = own, found[-1].solution.image if found else x0
        if found and first is not None:
            weights = weights_from(first, net.sparsify, floor=floor)
            weights = weights if own is None else weights * own
        this = _shortened(draft if k < rounds else net, (most - done) // (rounds + 1 - k))
        this = this if k == 0 else this.reweighted(weights, held)
        shifted = _shifted(progress, done, most)
        dual, proved = _dual(found, this), prove and k == rounds
        solution = this.solve(y, x0=first, dual0=dual, tolerance=tolerance, prove=proved, progress=shifted)
        done += int(solution.layers)
        broken = _BROKEN.get(solution.statuses[0])
        if broken and found:
            reason = broken
            break
        found.append(Round(this, weights, solution, broken if rounds else None))
        if broken:
            break
    if reason is None:
        return found
    if not prove:
        return [*found[:-1], replace(found[-1], ended=reason)]
    return _ended(net, y, found, held, max(most - done, 1), reason, tolerance, _shifted(progress, done, most))


def _held(net: Firenet, y: Tensor, first: Round, keep: float, enough: float | None) -> tuple[float, Reason | None]:
    """Returns the residual that the rounds after the first one keep, and a reason if there should be none."""
    solution, size = first.solution, norms(net.sensing.restrict(y), y.ndim).item()
    residual = first.net.problem.operator(solution.coefficients) - net.sensing.restrict(y)
    fidelity = first.net.fidelity
    held = fidelity.noise if isinstance(fidelity, Ball) else keep * norms(residual, y.ndim).item()
    if held >= size:
        return held, Reason.ZERO
    few = enough is not None and standing_out(net, solution.image, y) < enough
    return held, Reason.NOISE if few else None


def _ended(
    net: Firenet,
    y: Tensor,
    found: list[Round],
    held: float | None,
    layers: int,
    reason: Reason,
    tolerance: float | None,
    progress: Progress | None,
) -> list[Round]:
    """Returns all rounds, with the last one continued to the requested tolerance: so far it was solved only accurately
    enough to compute weights."""
    *before, last = found
    if reason is Reason.ZERO and last.solution.status not in (Status.TOLERANCE_REACHED, Status.DRAFT):
        return [*before, replace(last, ended=reason)]  # more layers would not change it
    rest = _shortened(net, layers)
    rest = rest.reweighted(last.weights, held) if before else rest
    drafted = last.solution
    duals = (drafted.dual, drafted.dual_sparse)
    final = rest.solve(y, x0=drafted.image, dual0=duals, tolerance=tolerance, progress=progress)
    return [*before, Round(rest, last.weights, replace(final, layers=final.layers + drafted.layers), reason)]


@torch.no_grad()
def standing_out(net: Firenet, image: Tensor, y: Tensor) -> float:
    """Estimates the number of coefficients of an image above three noise standard deviations of their band, divided by
    the number of samples.

    A coefficient of a redundant transform counts as a fraction, so that these fractions sum to the number of pixels.
    The noise of a sample is the given noise level over the root of the number of samples; without a noise level it is
    estimated from the median of the residual, which is insensitive to the few large samples whose residual is due to
    the penalty. The estimate is for operators with AA* = I.

    Args:
        net: A network with the operator, the transform and the noise level.
        image: One image that fits the data.
        y: Its measurements.
    """
    assert net.sparsify is not None
    # The data are scaled, since squares and sums of large numbers may overflow; the result has no unit.
    unit = y.abs().max().item()
    if not unit > 0:
        return 0.0
    image, y = image / unit, y / unit
    taken = net.sensing.restrict(torch.ones_like(y)) != 0
    samples = int(taken.sum())
    if isinstance(net.fidelity, Ball):
        noise = net.fidelity.noise / unit / math.sqrt(samples)
    else:
        # The median over the root mean square of the modulus of a complex or a real normal random number.
        ratio = math.sqrt(math.log(2)) if y.is_complex() else 0.6745
        noise = (net.sensing(image) - y)[taken].abs().median().item() / ratio
    sparsify = net.sparsify
    sizes = sparsify.band_noise() if isinstance(sparsify, Convolutions) else torch.ones((), dtype=torch.float64)
    sizes = sizes.to(device=y.device, dtype=y.real.dtype)
    out = sparsify.magnitudes(sparsify(image)) > 3 * noise * sizes
    return ((out * sizes.square()).sum() / sparsify.scale**2).item() / samples


def _dual(found: list[Round], net: Firenet) -> tuple[Tensor, Tensor | None] | None:
    """Returns the dual point of the round before, scaled to the lambda of this round."""
    if not found:
        return None
    before, unit = found[-1].solution, net.lam / found[-1].net.lam
    return unit * before.dual, None if before.dual_sparse is None else unit * before.dual_sparse


def _draft(net: Firenet) -> Firenet:
    """Returns the network for rounds that only give weights: a searching schedule stops early."""
    schedule = net.schedule
    if isinstance(schedule, AdaptiveRestarts | RadialSearch):
        return net.following(replace(schedule, tolerance=max(schedule.tolerance, _DRAFT)))
    return net


def _shortened(net: Firenet, layers: int) -> Firenet:
    """Returns the network with at most this number of layers."""
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
    return net  # frozen steps were chosen for all their layers


def weights_from(image: Tensor, sparsify: AnalysisOperator, *, floor: float = FLOOR) -> Tensor:
    """Computes weights :math:`w_i\\propto1/(|(Wx)_i|+f\\,m_l)`, where :math:`m_l` is the mean of :math:`|(Wx)_j|`
    over the level l to which the coefficient belongs; the mean of the weights in each level is 1.

    Since that mean is 1, the balance of the levels and the meaning of lambda stay the same. The approximation
    (level 0), which is not sparse, keeps the weight 1.

    Args:
        image: Shape ``sparsify.in_shape``.
        sparsify: W.
        floor: f. With a small floor, the rounds together come closer to a penalty on the number of nonzero
            coefficients, which is not convex, although the problem of each round is.
    """
    check_floor(floor)
    if image.shape != sparsify.in_shape:
        raise BadInput(f"One image of shape {sparsify.in_shape}", f"shape {tuple(image.shape)}", "Loop over the batch")
    # The scale of the image does not matter, and the squares of very large or small numbers over- or underflow.
    unit = image.abs().max().item()
    size = sparsify.magnitudes(sparsify(image / unit if 0 < unit < math.inf else image)).to(torch.float64)
    levels = sparsify.levels().to(size.device)
    weights = torch.ones_like(size)
    for level in range(1, int(levels.max()) + 1):
        here = levels == level
        mean = size[here].mean()
        if mean > 0:
            inverse = 1 / (size[here] + floor * mean)
            weights[here] = inverse / inverse.mean()
    return weights.to(image.real.dtype)


def check_floor(floor: float) -> None:
    """Raises BadInput for a floor of weights that is not positive and finite."""
    if not 0 < floor < math.inf:
        raise BadInput("A finite floor above 0", f"{floor}", "2 is the default")


def _shifted(progress: Progress | None, before: int, most: int) -> Progress | None:
    return None if progress is None else lambda done, _, gap: progress(before + done, most, gap)
