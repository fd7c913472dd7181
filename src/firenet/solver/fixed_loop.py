"""The loop of a fixed schedule: its runs, and the point and the dual point that it returns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

from firenet.numerics import norms, readable
from firenet.problems.gap import within
from firenet.solver.adaptive_loop import prove_at
from firenet.solver.controller import RestartPoint
from firenet.solver.ending import Ended
from firenet.solver.iteration import Iteration, Values
from firenet.solver.schedules import FixedSchedule, FrozenSteps, Restart
from firenet.solver.solution import Progress, Status

Iterate = Literal["average", "last", "best"]


def runs_of(schedule: FixedSchedule, layers: Iteration) -> Iterator[Restart]:
    """Yields the runs of a schedule, with restart point and steps set for each; the caller runs its layers."""
    size = norms(layers.y, layers.y.ndim - 1).cpu()
    if isinstance(schedule, FrozenSteps) and not readable(layers.y):  # these steps are plain numbers
        bound = layers.operator.norm_bound.value
        layers.check_product(max((run.tau * bound) * (run.sigma * bound) for run in schedule.runs))
    before: Restart | None = None
    for restart in schedule.restarts(layers.operator.norm_bound, size):
        if before is not None:
            layers.place(before.restart_point, keep_dual=before.keep_dual)
            layers.forget()
        layers.set_steps(restart.tau, restart.sigma, restart.relaxation)
        yield restart
        before = restart


def run_layers(layers: Iteration, restart: Restart, checkpoint: int | None = None) -> None:
    """Runs the layers of a run, and combines its last states if it ends in their combination."""
    layers.run(restart.layers, checkpoint, recent=len(restart.combination))
    if restart.combination:
        factors = torch.tensor(restart.combination, dtype=torch.float64, device=layers.y.device)
        layers.combine(factors.expand(len(layers.y), -1))


def returned_point(schedule: FixedSchedule, restart: Restart, iterate: Iterate) -> Iterate | RestartPoint:
    """Returns the kind of point that a network returns after a run: the recorded one for frozen steps, ``iterate`` for
    others."""
    return restart.restart_point if isinstance(schedule, FrozenSteps) else iterate


def run_fixed(
    layers: Iteration, schedule: FixedSchedule, iterate: Iterate, tolerance: float | None, progress: Progress | None
) -> Ended:
    """Runs a fixed schedule and proves its result.

    Args:
        layers: The state of a batch.
        schedule: The schedule.
        iterate: The point to return.
        tolerance: Stop at this relative gap, each batch item on its own; None runs the whole schedule.
        progress: Called after each run with the number of layers so far, the number in all runs, and None.
    """
    best, done = BestSoFar(layers), 0
    for restart in runs_of(schedule, layers):
        run_layers(layers, restart)
        done += restart.layers
        if progress is not None:
            progress(done, schedule.layers, None)
        if best.update(layers, returned_point(schedule, restart, iterate), done, tolerance):
            break
    z, proof = prove_at(layers, best.z, best.dual, layers.y)
    finite = torch.isfinite(best.objective).tolist()
    verdicts = [Status.LAYER_LIMIT if is_finite else Status.NUMERICAL_ERROR for is_finite in finite]
    return Ended(z, best.dual, proof, best.layers, verdicts, schedule)


class BestSoFar:
    """The best dual point of a fixed schedule so far, and for each batch item the point to return."""

    def __init__(self, layers: Iteration) -> None:
        like = torch.zeros(len(layers.y), dtype=torch.float64, device=layers.y.device)
        self.z, self.dual = layers.x, layers.q
        self.lowest, self.objective, self.bound = like + torch.inf, like + torch.inf, like - torch.inf
        self.layers = like.to(torch.int64)
        self.done = like > 0

    def improve(self, layers: Iteration) -> Values:
        """Stores for each batch item the average or the last point, if its objective is the lowest so far."""
        with torch.no_grad():
            values = layers.evaluate()
        for objective, z in ((values.average, layers.average()), (values.last, layers.last)):
            lower = (objective < self.lowest) & ~self.done
            self.lowest = torch.where(lower, objective, self.lowest)
            self.z = torch.where(_over(lower, z), z, self.z)
        return values

    def update(self, layers: Iteration, which: Iterate | RestartPoint, done: int, tolerance: float | None) -> bool:
        """Updates the batch items that are not done, after a run; returns whether all are done."""
        goes_on = ~self.done
        if which == "best":
            values = self.improve(layers)
            objective = self.lowest
        else:
            values = layers.evaluate()
            z, objective = layers.point(which), getattr(values, which)
            self.z = torch.where(_over(goes_on, z), z, self.z)
        for which in ("last", "average", "combination") if layers.factors is not None else ("last", "average"):
            bound, q = getattr(values, f"dual_{which}"), layers.dual(which)
            higher = (bound > self.bound) & goes_on
            self.bound = torch.where(higher, bound, self.bound)
            self.dual = torch.where(_over(higher, q), q, self.dual)
        self.objective = torch.where(goes_on, objective, self.objective)
        self.layers = torch.where(goes_on, done, self.layers)
        if tolerance is not None:
            held = [within(tolerance, *pair) for pair in zip(objective.tolist(), self.bound.tolist(), strict=True)]
            if any(held):  # the gap in the working precision is no proof
                _, proof = prove_at(layers, self.z, self.dual, layers.y)
                self.done = self.done | (proof.reached(tolerance) & self.done.new_tensor(held))
        return bool(self.done.all())


def _over(flags: Tensor, x: Tensor) -> Tensor:
    """Returns flags of batch items in a shape that broadcasts to x."""
    return flags.reshape(*flags.shape, *(1,) * (x.ndim - flags.ndim))
