"""The defaults: schedules, the network, the rounds of reweighting."""

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
# Reweighting is left out if fewer coefficients than this share of the number of samples stand out of the noise.
ENOUGH = 0.5
# The share of the residual that reweighting keeps where AA* = I. With coil maps, which are never exact, it keeps all.
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
    """Returns the network of ``firenet recon`` for a measurement operator of images.

    By default it has adaptive restarts, and for images of one or two dimensions undecimated wavelets in the analysis
    form; for volumes orthonormal wavelets in the synthesis form.

    Args:
        operator: A, the measurement operator of one image.
        sparsify: As in :func:`.transform`.
        weights: As in :class:`.Firenet`.
        lam: As in :class:`.Firenet`.
        noise: As in :class:`.Firenet`.
        schedule: None is :func:`default_schedule`.
    """
    if not isinstance(operator, LinearOperator):
        do = "Pass SubsampledFourier(mask) for samples of k-space; arrays of k-space go to reconstruct_kspace"
        raise BadInput("A measurement operator, a LinearOperator", type(operator).__name__, do)
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
        reweight: Rounds of reweighting. None is one round in the analysis form with a schedule that searches for its
            steps, and otherwise no round. That round sharpens the image and takes once or twice the time of the first
            solve; if AA* = I, it is left out if the number of coefficients above the noise is less than half the number
            of samples. All later rounds keep a given noise level; without one they keep a fifth of the first residual
            if AA* = I, and else all of it. All rounds share the layers of the schedule (:func:`.reweighted`).
        tolerance: As in :meth:`.Firenet.solve`.
        progress: As in :func:`.reweighted`.
    """
    keep, enough = (KEEP, ENOUGH) if net.sensing.is_coisometry else (1.0, None)
    if reweight is not None:
        return reweighted(net, y, reweight, keep=keep, tolerance=tolerance, progress=progress)
    usual = int(net.form == "analysis" and searches(net.schedule) and net.schedule.layers > 1)
    return reweighted(net, y, usual, keep=keep, enough=enough, tolerance=tolerance, progress=progress)


def default_schedule(tolerance: float | None = None, layers: int | None = None) -> AdaptiveRestarts:
    """Returns adaptive restarts.

    Args:
        tolerance: The relative gap to stop at. None is 1e-3; with smaller gaps the image changes by some 0.05 dB.
        layers: The largest number of layers; None is 2000.
    """
    schedule = AdaptiveRestarts(tolerance=TOLERANCE if tolerance is None else tolerance)
    return schedule if layers is None else replace(schedule, max_layers=layers)


def paper_schedule(layers: int, y: Tensor | None = None) -> PaperSchedule:
    """Returns the paper's schedule with at most this number of layers, in 10 restarts of equal length.

    For example, of 25 layers 20 are used. With fewer than 10 layers, each layer is a restart.

    Args:
        layers: The number of layers, 1 or more.
        y: The measurements. If they are given, the schedule's delta is 1e-9 times the smallest nonzero norm among their
            slices or coils (the last two axes), or the norm of a profile, so that their unit does not matter.

    Raises:
        BadInput: For fewer than one layer.
    """
    if layers < 1:
        raise BadInput("At least one layer", f"{layers}", "300 is usual")
    outer = min(RESTARTS, layers)
    schedule = PaperSchedule(outer=outer, inner=layers // outer)
    if y is None:
        return schedule
    sizes = norms(y, min(y.ndim, 2))  # a profile has one axis, an image two
    smallest = sizes[sizes > 0].min().item() if bool((sizes > 0).any()) else 1.0
    return replace(schedule, delta=schedule.delta * smallest)


def schedule_named(name: str, layers: int | None, tolerance: float | None, y: Tensor) -> Schedule:
    """Returns the schedule of this name, for these measurements.

    Args:
        name: ``adaptive``, ``radial``, ``paper`` or ``fixed``.
        layers: The largest number of layers (for ``fixed`` the exact number); None is 2000.
        tolerance: The relative gap to stop at, for ``adaptive`` and ``radial``.
        y: The measurements, whose size sets the delta of ``paper``, as in :func:`paper_schedule`.

    Raises:
        BadInput: If no schedule has this name.
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
