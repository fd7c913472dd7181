"""The loop of a searching schedule: every image has its own step-size controller.

One pass of the loop (:class:`_Loop`), for the images that are still in the batch:

1. ``advance``: run all images to the next check of any of them, and compute objectives and dual values. Until an image
   restarts or stops, this is the only place where the host waits for the device.
2. ``keep_best_duals``: store the dual point with the largest dual value of each image. Its value is the lower bound.
3. ``decide``: ask the controllers whose check is due. Their verdict is to go on, to restart or to stop.
4. ``finish``: when an image stops, compute its gap again in double precision (its proof). If this gap misses the
   tolerance that the gap in the working precision had met, the image restarts, which removes accumulated rounding, and
   is checked again soon.
5. ``restart`` and ``remove``: set the restart points, and take finished images out of the batch.

An image whose controller says that it has stalled also has a turn in a loop of its own, with a radial search
(:class:`_Safeguard`). Unless that finishes the image, it goes on here.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Literal, cast, final

import torch
from torch import Tensor

from firenet.numerics import norms
from firenet.problems.fidelity import Ball
from firenet.problems.gap import Proof, working_floor
from firenet.problems.problem import Problem
from firenet.solver.controller import Check, Controller, FirstPoint, RestartPoint, Verdict
from firenet.solver.ending import Ended
from firenet.solver.iteration import Iteration
from firenet.solver.memory import recent_states
from firenet.solver.radial import RadialController, RadialSearch
from firenet.solver.schedules import Run, Searched
from firenet.solver.solution import Progress, Status

# The number of iterations until the next check if a gap met the tolerance in the working precision and not in the
# proof; doubled each time, until the working precision counts as the reason.
_AGAIN, _TOO_OFTEN = 5, 640

_STATUS: dict[str, Status] = {
    "tolerance": Status.TOLERANCE_REACHED,
    "precision": Status.PRECISION_LIMIT,
    "layers": Status.LAYER_LIMIT,
    "not finite": Status.NUMERICAL_ERROR,
}
_Restarting = dict[RestartPoint | str, list[int]]  # for each kind of restart point, rows of the batch


@dataclass(eq=False)
class Found:
    """The result of the loop for one image.

    Attributes:
        z: The point in the user's coordinates, with a batch axis of one.
        dual: The packed dual variable, without batch axis.
        proof: The proof of the gap, from ``z`` and ``dual``.
        layers: The number of iterations.
        verdict: Why the iteration of this image ended.
        runs: The runs of this image.
    """

    z: Tensor
    dual: Tensor
    proof: Proof
    layers: int
    verdict: Verdict
    runs: tuple[Run, ...]


@dataclass(eq=False)
class _Item:
    """An image that is not finished."""

    item: int
    size: float
    controller: Controller
    lowest: float = math.inf  # the lowest objective at which a run began
    runs: list[Run] = field(default_factory=list)
    layers: int = 0  # of the present run
    steps: tuple[float, float, float] = (0.0, 0.0, 0.0)
    combination: tuple[float, ...] = ()  # the factors of the last states at the last check
    again: int = _AGAIN
    safeguard: _Safeguard | None = None
    turns: int = 0  # the layers of its turns

    def begin_run(self) -> None:
        """Begins a run with the steps of the controller."""
        self.layers, self.steps = 0, (self.controller.tau, self.controller.sigma, self.controller.relaxation)

    def end_run(self) -> None:
        """Records the run, unless its result is discarded."""
        if self.controller.restart_point not in ("best", "start"):
            self.runs.append(self.run(self.controller.restart_point, keep_dual=self.controller.keep_dual))

    def run(self, point: RestartPoint, *, keep_dual: bool) -> Run:
        """Returns the present run if it ends here."""
        tau, sigma, relaxation = self.steps
        combination = self.combination[-self.layers :] if point == "combination" else ()
        return Run(tau, sigma, self.layers, relaxation, point, keep_dual, combination)

    def way(self, point: RestartPoint) -> list[Run]:
        """Returns runs that end at a present point, with the dual point zero."""
        run = self.run(point, keep_dual=False)
        if point != "last":
            return [*self.runs, run]
        # The last point is the one before relaxation; a last layer without relaxation ends there.
        most = [replace(run, layers=run.layers - 1, keep_dual=True)] if run.layers > 1 else []
        return [*self.runs, *most, replace(run, layers=1, relaxation=1.0)]


def run_adaptive(
    layers: Iteration,
    controllers: list[Controller],
    limit: int,
    progress: Progress | None = None,
    *,
    prove: bool = True,
) -> list[Found]:
    """Runs the iteration until every controller stops.

    Args:
        layers: The state of a batch.
        controllers: One for each batch item.
        limit: The largest number of iterations of any image.
        progress: Called at each check with the number of iterations, the limit, and the largest relative gap, not yet
            proved.
        prove: Whether to prove the gap at the end (step 4); without it the proofs are :meth:`.Proof.none`.
    """
    if not controllers:
        return []
    loop = _Loop(layers, controllers, limit, progress, prove=prove)
    while loop.group:
        loop.step()
    return [loop.found[k] for k in range(len(controllers))]


@final
class _Loop:
    """The state of :func:`run_adaptive`: the images that are not finished, their best dual points and lower bounds."""

    def __init__(
        self,
        layers: Iteration,
        controllers: list[Controller],
        limit: int,
        progress: Progress | None = None,
        *,
        prove: bool = True,
    ) -> None:
        sizes = norms(layers.y, layers.y.ndim - 1).tolist()
        self.layers, self.limit, self.progress, self.done, self.prove = layers, limit, progress, 0, prove
        self.group = [_Item(k, *pair) for k, pair in enumerate(zip(sizes, controllers, strict=True))]
        self.found: dict[int, Found] = {}
        self.precision = torch.finfo(layers.y.dtype).eps
        # Controllers that do not keep the dual point may go back to the best restart point, which is then stored.
        self.best = layers.x.clone() if any(not t.controller.keep_dual for t in self.group) else None
        self.dual = layers.q.clone()
        self.bound = [-math.inf] * len(sizes)
        for t in self.group:
            t.begin_run()
        self.set_steps()

    def step(self) -> None:
        """Does one pass of the loop."""
        values = self.advance()
        self.keep_best_duals(values)
        if self.progress is not None:
            gaps = (_relative_gap(row[:3], bound) for row, bound in zip(values, self.bound, strict=True))
            self.progress(self.done + max(t.turns for t in self.group), self.limit, max(gaps))
        leaving, restarting = self.decide(values)
        self.restart(restarting)
        self.remove(leaving)
        if self.group and (leaving or any(restarting.values())):
            self.set_steps()

    def set_steps(self) -> None:
        """Sets the steps of the present runs."""
        self.layers.set_steps(*torch.tensor([t.steps for t in self.group], dtype=torch.float64).mT)

    def advance(self) -> list[list[float]]:
        """Runs to the next check; returns for each image the :class:`.Values` of its points."""
        ahead = min(t.controller.until for t in self.group)
        combines = self.layers.problem.jumps and self.best is None
        self.layers.run(ahead, recent=recent_states(self.layers.x[0].numel()) if combines else 0)
        self.done += ahead
        for t in self.group:
            t.controller.until -= ahead
            t.layers += ahead
        values = self.layers.evaluate()
        numbers = torch.stack([getattr(values, f.name) for f in fields(values)], dim=1)
        if self.layers.factors is not None:
            numbers = torch.cat([numbers, self.layers.factors], dim=1)
        rows = numbers.tolist()
        for t, row in zip(self.group, rows, strict=True):
            t.combination = tuple(row[6:])
        return rows

    def keep_best_duals(self, values: list[list[float]]) -> None:
        """Stores the dual point with the largest dual value of each image, if that is the largest so far."""
        higher: dict[RestartPoint, list[int]] = {"last": [], "average": [], "combination": []}
        for k, row in enumerate(values):
            duals = dict(zip(higher, (v if v == v else -math.inf for v in row[3:6]), strict=True))
            best = max(duals, key=duals.__getitem__)
            if duals[best] > self.bound[k]:
                self.bound[k] = duals[best]
                higher[best].append(k)
        for which, some in higher.items():
            if len(some) == len(self.group) and which == "average":
                _ = self.layers.average_dual(self.dual)
            elif len(some) == len(self.group):
                _ = self.dual.copy_(self.layers.dual(which))
            elif some:
                at = torch.tensor(some, device=self.dual.device)
                self.dual[at] = self.layers.dual(which)[at]

    def decide(self, values: list[list[float]]) -> tuple[list[int], _Restarting]:
        """Asks the controllers whose check is due; returns the rows that are finished and those that restart."""
        leaving: list[int] = []
        restarting: _Restarting = {"last": [], "average": [], "combination": [], "best": [], "start": []}
        for k, t in enumerate(self.group):
            if t.controller.until:
                continue
            last, average, combination, dual_last, dual_average, dual_combination = values[k][:6]
            lowest = min(last, average, combination)
            floor = working_floor(self.precision, lowest, self.layers.problem.fidelity.unit(abs(lowest), t.size))
            check = Check(
                self.done,
                last,
                average,
                self.bound[k],
                dual_last,
                dual_average,
                floor,
                combination,
                dual_combination,
                t.lowest,
                self.layers.problem.jumps,
                self.layers.problem.growth,
            )
            verdict = t.controller.decide(check)
            if verdict in ("go on", "restart"):
                if t.controller.turn and self.call_safeguard(k, check):
                    leaving.append(k)
                    continue
                if verdict == "go on":
                    continue
            elif self.finish(k, verdict, check.objective):
                leaving.append(k)
                continue
            elif self.best is not None:
                continue  # its runs have planned lengths
            else:
                t.controller.restart_point = "last"  # its sums have accumulated rounding, which a restart removes
            t.end_run()
            here = t.controller.restart_point
            if not isinstance(self.layers.problem.fidelity, Ball):
                t.lowest = min(t.lowest, {**check.objectives, "start": math.inf, "best": math.inf}[here])
            restarting[here].append(k)
        return leaving, restarting

    def call_safeguard(self, k: int, check: Check) -> bool:
        """Gives the safeguard of a stalled image its turn; returns whether that finished the image."""
        t, ahead = self.group[k], self.group[k].controller.until
        left = t.controller.limit - self.done - ahead
        if not (self.layers.problem.dual_norm < math.inf and check.floor < check.gap < math.inf and left >= ahead):
            return False
        if t.safeguard is None:
            t.safeguard = _Safeguard(self, k, check)
        return t.safeguard.turn(self, k, check, left)

    def finish(self, k: int, verdict: Verdict, objective: float) -> bool:
        """Proves the point of an image in double precision, and stores it; returns False if the image must go on.

        Args:
            k: The row of the image.
            verdict: Why it ends.
            objective: The lowest objective of its points.
        """
        t, layers, here = self.group[k], self.layers, self.group[k].controller.restart_point
        better = t.safeguard if t.safeguard is not None and t.safeguard.objective < objective else None
        best = self.best if better is None else better.point
        z = cast(Tensor, best) if better or here == "best" else layers.point(cast(RestartPoint, here))
        z = z[k if better is None else 0]
        z, proof = prove_at(layers, z[None], self.dual[k : k + 1] if self.prove else None, layers.y[k : k + 1])
        # The proof decides, not the numbers of the iteration, which have accumulated rounding of the working precision.
        # And a point that does not fit the data may have a small gap.
        fits = proof.relative_violation.item() <= t.controller.tolerance
        converged = fits and t.controller.converged(proof.objective.item(), proof.lower_bound.item())
        if verdict == "tolerance" and self.prove and not converged:
            t.controller.until, t.again = min(t.again, t.controller.limit - self.done), 2 * t.again
            if t.controller.until and here != "best" and (t.again <= _TOO_OFTEN or not fits):
                self.bound[k] = proof.lower_bound.item()
                return False
            verdict = "precision" if t.controller.until else "layers"
        t.end_run()
        runs = t.runs if better is None else better.runs
        # The tensors of the last image are not overwritten any more, so they need no copy.
        z = z if len(self.group) == 1 else z.clone()
        self.found[t.item] = Found(z, self.dual[k].clone(), proof, self.done + t.turns, verdict, tuple(runs))
        return True

    def restart(self, restarting: _Restarting) -> None:
        """Sets the restart points, and begins the next runs of these rows."""
        layers, rows = self.layers, sorted(k for some in restarting.values() for k in some)
        for where, some in restarting.items():
            if some and where == "best":
                layers.place(cast(Tensor, self.best), keep_dual=False, rows=some)
            elif some:
                layers.place(cast(RestartPoint | Literal["start"], where), keep_dual=self.best is None, rows=some)
                if self.best is not None:
                    at = torch.tensor(some, device=self.best.device)
                    self.best = self.best.index_copy(0, at, layers.x[at])
        if rows:
            distances = [[0.0, 0.0]] * len(self.group)
            if layers.problem.jumps:
                distances = torch.stack(layers.moved(rows)).mT.tolist()
            for k in rows:
                self.group[k].controller.restarted(*distances[k])
                self.group[k].begin_run()
            layers.forget(rows)

    def remove(self, leaving: list[int]) -> None:
        """Takes these rows out of the batch."""
        stay = [k for k in range(len(self.group)) if k not in leaving]
        self.group = [self.group[k] for k in stay]
        if leaving and stay:
            self.layers.keep(stay)
            at = torch.tensor(stay, device=self.dual.device)
            self.dual, self.best = self.dual[at], None if self.best is None else self.best[at]
            self.bound = [self.bound[k] for k in stay]


@final
class _Safeguard:
    """The radial search of one image, which has a turn whenever the adaptive restarts have stalled.

    It has a state of its own, and leaves theirs as it is. Shared are the better dual point and, when a turn begins, the
    better point.
    """

    def __init__(self, main: _Loop, k: int, check: Check) -> None:
        layers, problem, t = copy.copy(main.layers), main.layers.problem, main.group[k]
        layers.keep([k])
        rules = RadialSearch(t.controller.tolerance, max_layers=main.limit)
        norm = layers.operator.norm_bound.value or 1.0
        self._search = RadialController(rules, norm, check.gap, check.floor, problem.dual_norm)
        self._loop = _Loop(layers, [self._search], main.limit, prove=main.prove)
        self._item, self._due = self._loop.group[0], 0

    @property
    def objective(self) -> float:
        """The lowest objective."""
        return self._search.incumbent

    @property
    def point(self) -> Tensor:
        """The packed point with this objective, with a batch axis of one."""
        return cast(Tensor, self._loop.best)

    @property
    def runs(self) -> list[Run]:
        """The runs from the first point to this one."""
        return self._item.runs

    def turn(self, main: _Loop, k: int, check: Check, left: int) -> bool:
        """Runs the search for a turn; returns whether it has reached the tolerance.

        Args:
            main: The loop of the adaptive restarts.
            k: The row of the image in it.
            check: The numbers of its present points.
            left: The number of layers that may still be used: half of them, if that is less than a turn.
        """
        loop, t = self._loop, main.group[k]
        if not loop.group:
            return False
        if check.objective < self.objective:
            self._search.incumbent = check.objective
            loop.best = main.layers.point(check.better)[k : k + 1].clone()
            self._item.runs = t.way(check.better)
            loop.layers.place(loop.best, keep_dual=False)
            loop.layers.forget()
        if main.bound[k] > loop.bound[0]:
            loop.bound[0], loop.dual = main.bound[k], main.dual[k : k + 1].clone()
        before, self._search.limit = loop.done, loop.done + left
        if main.progress is not None:
            others, tell = main.done + t.turns - before, main.progress
            loop.progress = lambda done, _, gap: tell(others + done, main.limit, gap)
        self._due += min(t.controller.turn, left // 2)
        while loop.group and loop.done < self._due:  # a run may have lasted longer than the last turn
            loop.step()
        t.turns += loop.done - before
        t.controller.limit -= loop.done - before
        if loop.bound[0] > main.bound[k]:
            main.bound[k], main.dual[k] = loop.bound[0], loop.dual[0]
        if loop.group or loop.found[0].verdict != "tolerance":
            return False
        main.found[t.item] = replace(loop.found[0], layers=main.done + t.turns)
        return True


def _relative_gap(objectives: Sequence[float], bound: float) -> float:
    """Returns the relative gap of the better of two objectives in the working precision, which is not a proof."""
    return max(min(objectives) - bound, 0.0) / bound if bound > 0 else math.inf


def prove_at(layers: Iteration, z: Tensor, dual: Tensor | None, y: Tensor) -> tuple[Tensor, Proof]:
    """Returns points in the user's coordinates and their proof; for (P1) the points are first made feasible if AA* is
    known to be diagonal.

    Args:
        layers: The state of the iteration, of which only the problem and the operator are used.
        z: Packed points.
        dual: Packed dual variables; None leaves the proof of a single point out (:meth:`.Proof.none`).
        y: Packed measurements.
    """
    if isinstance(layers.problem.fidelity, Ball):
        z = layers.problem.feasible_point(z, layers.operator(z) - y)
    z = layers.operator.unpack(z)
    return z, Proof.none(z) if dual is None else layers.problem.proof(z, dual, y)


def joined(found: list[Found], problem: Problem, y: Tensor, start: FirstPoint) -> Ended:
    """Returns the results of all images as one batch.

    Args:
        found: The results.
        problem: The problem in packed coordinates.
        y: Packed measurements.
        start: The first point of the schedule.
    """
    if found:
        z, dual = torch.cat([f.z for f in found]), [f.dual for f in found]
        dual = dual[0][None] if len(dual) == 1 else torch.stack(dual)  # a single volume is not copied
        parts = [vars(f.proof) for f in found]
        proof = Proof(**{name: torch.cat([part[name] for part in parts]) for name in parts[0]})
    else:
        dtype = problem.measurement.state_dtype(y.dtype)
        dual = problem.dual_of(torch.zeros_like(y, dtype=dtype))
        z = y.new_zeros((0, *problem.measurement.in_shape), dtype=dtype)
        none, no = y.new_zeros(0, dtype=torch.float64), y.new_zeros(0, dtype=torch.bool)
        proof = Proof(none, none, none, none, none, none, none, no, no, no)
    count = torch.tensor([f.layers for f in found], dtype=torch.int64, device=z.device)
    did = Searched(tuple(f.runs for f in found), start)
    return Ended(z, dual, proof, count, [_STATUS[f.verdict] for f in found], did)
