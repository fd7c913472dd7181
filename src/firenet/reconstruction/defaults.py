"""What is used where nothing else is asked for: schedules, the network, the rounds of reweighting."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from torch import Tensor

from firenet.errors import BadInput
from firenet.network import Firenet
from firenet.numerics import norms
from firenet.operators.linear import LinearOperator
from firenet.reweighting import Round, reweighted
from firenet.solver.adaptive import AdaptiveRestarts
from firenet.solver.radial import RadialSearch
from firenet.solver.schedules import FixedSteps, PaperSchedule, Schedule, searches
from firenet.solver.solution import Progress
from firenet.sparsity import SparsityLevels
from firenet.transforms.spec import transform

RESTARTS = 10
TOLERANCE = 1e-3
# Where fewer coefficients than this share of the samples stand out of the noise, reweighting is left out.
ENOUGH = 0.5
# The share of the residual that reweighting keeps where AA* = I. Coil maps are never exact: they keep all.
KEEP = 0.2


def default_network(
    operator: LinearOperator,
    *,
    sparsify: str | None = None,
    weights: Tensor | SparsityLevels | None = None,
    lam: float | None = None,
    noise: float | None = None,
    schedule: Schedule | None = None,
) -> Firenet:
    """Returns the network of ``firenet recon`` for a measurement operator of images: for pictures an undecimated
    wavelet in the analysis form, adaptive restarts.

    Args:
        operator: A.
        sparsify: As in :func:`.transform`.
        weights: As in :class:`.Firenet`.
        lam: As in :class:`.Firenet`.
        noise: As in :class:`.Firenet`.
        schedule: None is :func:`default_schedule`.
    """
    schedule = default_schedule() if schedule is None else schedule
    frame = transform(sparsify, operator.in_shape)
    return Firenet(operator, frame, weights=weights, lam=lam, noise=noise, schedule=schedule)


def rounds(
    net: Firenet,
    y: Tensor,
    reweight: int | None = None,
    *,
    tolerance: float | None = None,
    progress: Progress | None = None,
) -> list[Round]:
    """Solves and reweights one image as ``firenet recon`` does.

    Args:
        net: The network.
        y: Measurements of one image.
        reweight: Rounds of reweighting. None is one in the analysis form with a searching schedule, where it sharpens
            for as much time again or twice that, keeping a fifth of the first residual where AA* = I; left out there
            where less than half as many coefficients as samples stand out of the noise. Else none. The layers of the
            schedule are those of all rounds together (:func:`firenet.reweighted`).
        tolerance: As in :meth:`Firenet.solve`.
        progress: As in :func:`firenet.reweighted`.
    """
    keep, enough = (KEEP, ENOUGH) if net.sensing.is_coisometry else (1.0, None)
    if reweight is not None:
        return reweighted(net, y, reweight, keep=keep, tolerance=tolerance, progress=progress)
    usual = int(net.form == "analysis" and searches(net.schedule) and net.schedule.layers > 1)
    return reweighted(net, y, usual, keep=keep, enough=enough, tolerance=tolerance, progress=progress)


def default_schedule(tolerance: float | None = None, layers: int | None = None) -> AdaptiveRestarts:
    """Adaptive restarts.

    Args:
        tolerance: The relative gap to stop at; None is 1e-3, from where on the image changes by some 0.05 dB.
        layers: The most layers; None is 2000.
    """
    plain = AdaptiveRestarts()
    return replace(
        plain,
        tolerance=TOLERANCE if tolerance is None else tolerance,
        max_layers=plain.max_layers if layers is None else layers,
    )


def paper_schedule(layers: int, y: Tensor | None = None) -> PaperSchedule:
    """Returns the paper's schedule of at most so many layers, in 10 restarts of equally many: of 25 layers 20 are used
    (fewer than 10 layers: one restart of each).

    Args:
        layers: 1 or more.
        y: The measurements: the schedule's delta is then 1e-9 of the smallest image's norm, whatever their unit.
    """
    if layers < 1:
        raise BadInput("At least one layer", f"{layers}", "300 is usual")
    outer = min(RESTARTS, layers)
    schedule = PaperSchedule(outer=outer, inner=layers // outer)
    if y is None:
        return schedule
    sizes = norms(y, min(y.ndim, 2))  # of a profile, of images
    smallest = sizes[sizes > 0].min().item() if bool((sizes > 0).any()) else 1.0
    return replace(schedule, delta=schedule.delta * smallest)


def schedule_named(name: str, layers: int | None, tolerance: float | None, y: Tensor) -> Schedule:
    """Returns the schedule that a word stands for, for these measurements.

    Args:
        name: ``adaptive``, ``radial``, ``paper`` or ``fixed``.
        layers: The most layers, or for ``fixed`` how many; None is 2000.
        tolerance: The relative gap to stop at, where it searches.
        y: The measurements, whose unit the steps of ``paper`` are in.

    Raises:
        BadInput: For another word.
    """
    adaptive = default_schedule(tolerance, layers)
    most = adaptive.max_layers
    made: dict[str, Callable[[], Schedule]] = {
        "adaptive": lambda: adaptive,
        "radial": lambda: RadialSearch(adaptive.tolerance, most),
        "paper": lambda: paper_schedule(most, y),
        "fixed": lambda: FixedSteps(most),
    }
    if name not in made:
        raise BadInput(f"A schedule: {', '.join(made)}", name, "adaptive needs no choice of steps")
    return made[name]()
