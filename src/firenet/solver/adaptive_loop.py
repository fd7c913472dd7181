"""The loop of a searching schedule: every image has its own controller, and leaves the batch when it is done."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor

from firenet.numerics import norms
from firenet.problems.fidelity import Ball
from firenet.problems.gap import Proof, working_floor
from firenet.solver.controller import Check, Controller, RestartPoint, Verdict
from firenet.solver.iteration import Iteration
from firenet.solver.schedules import Run
from firenet.solver.solution import Progress

# Iteration after which a gap is computed again that held in the working precision and not in the proof; twice as many
# each time.
_AGAIN = 5


@dataclass(eq=False)
class Found:
    """Where one image ended.

    Attributes:
        z: The point, as the user has it: not packed, with a batch axis of one.
        dual: The packed dual point, without batch axis.
        proof: What the two prove.
        layers: Iteration done.
        verdict: Why it ended.
        runs: What was done.
    """

    z: Tensor
    dual: Tensor
    proof: Proof
    layers: int
    verdict: Verdict
    runs: tuple[Run, ...]


@dataclass(eq=False)
class _Item:
    """An image that is still on its way."""

    item: int
    size: float
    controller: Controller
    best: float = float("inf")  # the lowest objective that was ever handed on
    runs: list[Run] = field(default_factory=list)
    layers: int = 0  # of the present run
    steps: tuple[float, float, float] = (0.0, 0.0, 0.0)
    again: int = _AGAIN

    def begin_run(self) -> None:
        """Begins a run with the steps that the controller wants."""
        self.layers, self.steps = 0, (self.controller.tau, self.controller.sigma, self.controller.relaxation)

    def end_run(self) -> None:
        """Writes the run down, unless nothing of it is left."""
        if self.controller.restart_point != "best":
            tau, sigma, relaxation = self.steps
            self.runs.append(
                Run(tau, sigma, self.layers, relaxation, self.controller.restart_point, self.controller.keep_dual)
            )


def run_adaptive(
    layers: Iteration, controllers: list[Controller], limit: int, progress: Progress | None = None
) -> list[Found]:
    """Runs the layers until every controller says stop.

    The host waits for the device once a check, nowhere else.

    Args:
        layers: The state of a batch.
        controllers: One for each of its items.
        limit: The most layers that any of them wants.
        progress: Called at each check with the layers done, the limit, and the largest relative gap, not proved yet.
    """
    if not controllers:
        return []
    size = norms(layers.y, layers.y.ndim - 1).tolist()
    group = [_Item(k, s, controller) for k, (s, controller) in enumerate(zip(size, controllers, strict=True))]
    found: dict[int, Found] = {}
    precision = torch.finfo(layers.y.dtype).eps
    remember = any(not t.controller.keep_dual for t in group)  # whether controllers may go back to the best point
    best = layers.x.clone() if remember else None
    dual = layers.q.clone()
    bound = [-math.inf] * len(size)
    done = 0
    for t in group:
        t.begin_run()
    _set_steps(layers, group)
    while group:
        ahead = min(t.controller.until for t in group)
        layers.run(ahead)
        done += ahead
        for t in group:
            t.controller.until -= ahead
            t.layers += ahead
        values = layers.evaluate()
        table = torch.stack([values.last, values.average, values.dual_last, values.dual_average])
        columns = table.mT.tolist()
        higher: dict[RestartPoint, list[int]] = {"last": [], "average": []}
        for k, (_, _, of_last, of_average) in enumerate(columns):
            if of_average > bound[k] and not of_last > of_average:
                higher["average"].append(k)
                bound[k] = of_average
            elif of_last > bound[k]:
                higher["last"].append(k)
                bound[k] = of_last
        if progress is not None:
            progress(done, limit, max(_shortfall(c[:2], bound[k]) for k, c in enumerate(columns)))
        for which, some in higher.items():
            if len(some) == len(group):
                _ = layers.average_dual(dual) if which == "average" else dual.copy_(layers.q)
            elif some:
                at = torch.tensor(some, device=dual.device)
                dual[at] = (layers.average_dual() if which == "average" else layers.q)[at]
        leaving: list[int] = []
        restarting: dict[RestartPoint | str, list[int]] = {"last": [], "average": [], "best": []}
        for k, t in enumerate(group):
            if t.controller.until:
                continue
            last, average, dual_last, dual_average = columns[k]
            lower = bound[k]
            lowest = min(last, average)
            unit = layers.problem.fidelity.unit(abs(lowest), t.size)
            floor = working_floor(precision, lowest, unit)
            verdict = t.controller.decide(Check(done, last, average, lower, dual_last, dual_average, floor))
            if verdict == "go on":
                continue
            here = t.controller.restart_point
            objective = {"last": last, "average": average, "best": t.best}[here]
            if verdict == "restart":
                t.end_run()
                restarting[here].append(k)
                t.best = objective
                continue
            z = (layers.average() if here == "average" else layers.last if here == "last" else cast(Tensor, best))[k]
            z, proof = prove_at(layers, z[None], dual[k : k + 1], layers.y[k : k + 1])
            # The proof counts, not what the layers carry along: that has gathered the rounding of its precision. And a
            # point that does not fit the data may have a small gap all the same.
            fits = proof.relative_violation.item() <= t.controller.tolerance
            if verdict == "tolerance" and not (
                fits and t.controller.converged(proof.objective.item(), proof.lower_bound.item())
            ):
                t.controller.until, t.again = min(t.again, limit - done), 2 * t.again
                if t.controller.until and here != "best":  # it held only up to rounding: a restart clears that away
                    t.end_run()
                    restarting[here].append(k)
                    continue
                verdict = "precision" if t.controller.until else "layers"
            t.end_run()
            leaving.append(k)
            # Nobody writes over what belongs to the last of the batch.
            z = z if len(group) == 1 else z.clone()
            found[t.item] = Found(z, dual[k].clone(), proof, done, verdict, tuple(t.runs))
        rows = sorted(k for some in restarting.values() for k in some)
        for where, some in restarting.items():
            if some and where == "best":
                assert best is not None
                layers.place(best, keep_dual=False, rows=some)
            elif some:
                layers.place(cast(RestartPoint, where), keep_dual=not remember, rows=some)
                if best is not None:
                    at = torch.tensor(some, device=best.device)
                    best = best.index_copy(0, at, layers.x[at])
        if rows:
            distances = [[0.0, 0.0]] * len(group)
            if layers.problem.rebalances:
                distances = torch.stack(layers.moved(rows)).mT.tolist()
            for k in rows:
                group[k].controller.restarted(*distances[k])
                group[k].begin_run()
            layers.forget(rows)
        if leaving:
            stay = [k for k in range(len(group)) if k not in leaving]
            group = [group[k] for k in stay]
            if not group:
                break
            layers.keep(stay)
            at = torch.tensor(stay, device=dual.device)
            dual, best = dual[at], None if best is None else best[at]
            bound = [bound[k] for k in stay]
        if leaving or rows:
            _set_steps(layers, group)
    return [found[k] for k in range(len(size))]


def _shortfall(objectives: Sequence[float], bound: float) -> float:
    """Returns the relative gap of the better of two objectives, as the loop knows it: it is not proved yet."""
    return max(min(objectives) - bound, 0.0) / bound if bound > 0 else math.inf


def prove_at(layers: Iteration, z: Tensor, dual: Tensor, y: Tensor) -> tuple[Tensor, Proof]:
    """Returns the points where runs end, for (P1) made to fit the data where that is cheap and not packed any more, and
    what they prove with these dual points."""
    if isinstance(layers.problem.fidelity, Ball):
        z = layers.problem.feasible_point(z, layers.operator(z) - y)
    z = layers.operator.unpack(z)
    return z, layers.problem.proof(z, dual, y)


def _set_steps(layers: Iteration, group: list[_Item]) -> None:
    tau, sigma, relaxation = torch.tensor([t.steps for t in group], dtype=torch.float64).mT
    layers.set_steps(tau, sigma, relaxation)
