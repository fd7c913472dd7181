"""The step-size controller of one image: at each check it decides whether to go on, to restart or to stop."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from torch import Tensor

from firenet.errors import BadInput
from firenet.operators.norm_bound import NormBound

RestartPoint = Literal["average", "last", "combination"]
Earlier = Literal["best", "start"]  # restart points from before the run, whose result is then discarded
FirstPoint = Literal["zero", "adjoint"]  # without a warm start: zero, or A*y over the square of the norm


@dataclass(frozen=True)
class Check:
    """The numbers of one image on which a controller decides.

    Attributes:
        layers: The number of iterations so far, over all runs.
        last: Objective at the last point.
        average: Objective at the average since the last restart.
        dual: The largest dual value so far: a lower bound of the minimum.
        dual_last: The dual value of the last dual point.
        dual_average: The dual value of the average dual point.
        floor: An estimate of the rounding error of a gap in the working precision; smaller gaps have no meaning.
        combination: Objective at the combination of the last points, see :class:`.Iteration`; infinite without one.
        dual_combination: The dual value of the combination of the last dual points; minus infinity without one.
        known: The lowest objective with which a run began after a restart; infinite before the first restart, and for
            (P1), where the objectives of points that are not feasible cannot be compared.
        jumps: Whether the iteration may restart from another point than the last.
        growth: If ``jumps`` is false, the largest factor by which the primal weight may exceed its first value.
    """

    layers: int
    last: float
    average: float
    dual: float
    dual_last: float
    dual_average: float
    floor: float
    combination: float = math.inf
    dual_combination: float = -math.inf
    known: float = math.inf
    jumps: bool = True
    growth: float = 1.0

    @property
    def objectives(self) -> dict[RestartPoint, float]:
        """The objective of each point (NaN counts as infinite)."""
        values: dict[RestartPoint, float] = {
            "last": self.last,
            "average": self.average,
            "combination": self.combination,
        }
        return {point: value if value == value else math.inf for point, value in values.items()}

    @property
    def objective(self) -> float:
        """The lowest objective."""
        return min(self.objectives.values())

    @property
    def better(self) -> RestartPoint:
        """The point with the lowest objective."""
        values = self.objectives
        return min(values, key=values.__getitem__)

    @property
    def gap(self) -> float:
        """The lowest objective minus the largest dual value."""
        return self.objective - self.dual

    @property
    def nearest(self) -> tuple[RestartPoint, float]:
        """The point from which to restart, and its gap: the point with the smallest gap to its own dual value, if the
        iteration may jump, else the last."""
        duals: dict[RestartPoint, float] = {
            "last": self.dual_last,
            "average": self.dual_average,
            "combination": self.dual_combination,
        }
        gaps: dict[RestartPoint, float] = {
            point: value - duals[point] for point, value in self.objectives.items() if self.jumps or point == "last"
        }
        gaps = {point: gap if gap == gap else math.inf for point, gap in gaps.items()}
        nearest = min(gaps, key=gaps.__getitem__)
        return nearest, gaps[nearest]


Verdict = Literal["go on", "restart", "tolerance", "precision", "layers", "not finite"]


class Controller(Protocol):
    """The step-size controller of one image.

    Attributes:
        tau: Primal step of the next iterations.
        sigma: Dual step of the next iterations.
        relaxation: Relaxation of the next iterations.
        until: The number of iterations until the next check.
        restart_point: After the verdict ``restart`` the point to start from, after a verdict to stop the point to
            return; ``best`` is the restart point with the lowest objective so far, ``start`` the start of the run that
            ends.
        keep_dual: Whether a restart keeps the dual point; else it starts from zero.
        tolerance: The relative gap at which a result counts as solved; for (P1) also the largest relative violation of
            the constraint at which it does.
        limit: The largest number of iterations.
        turn: The number of iterations of the turn that the safeguard of :class:`.AdaptiveRestarts` has after the last
            check; 0 is no turn.
    """

    tau: float
    sigma: float
    relaxation: float
    until: int
    restart_point: RestartPoint | Earlier
    keep_dual: bool
    tolerance: float
    limit: int
    turn: int

    def converged(self, objective: float, bound: float) -> bool:
        """Returns whether a point with this objective, and this lower bound of the minimum, is accurate enough."""
        ...

    def decide(self, check: Check) -> Verdict:
        """Returns whether to go on, to restart or to stop, and why."""
        ...

    def restarted(self, primal: float, dual: float) -> None:
        """Chooses the steps of the next run from the distances that x and q moved in the last one."""
        ...


@runtime_checkable
class SearchingSchedule(Protocol):
    """A schedule that gives each image a controller."""

    @property
    def layers(self) -> int:
        """The largest number of iterations."""
        ...

    def controller(self, norm: NormBound, size: float) -> Controller:
        """Returns the controller of an image with measurements of norm ``size``."""
        ...


def plain_numbers(schedule: object) -> None:
    """Raises BadInput if a number of a schedule is a tensor: steps are not learned, and gradients would be lost."""
    for name, value in vars(schedule).items():
        if isinstance(value, Tensor):
            do = f"Pass float({name}); steps are not learned"
            raise BadInput(f"A plain number for {name} of {type(schedule).__name__}", "a tensor", do)


def check_search(tolerance: float, max_layers: int) -> None:
    """Raises BadInput if the tolerance is not between 0 and 1, or no layer is allowed."""
    if not (0 < tolerance < 1 and max_layers >= 1):
        got = f"tolerance={tolerance}, max_layers={max_layers}"
        do = "1e-2 is enough for a preview, 1e-3 or 1e-4 is usual"
        raise BadInput("A tolerance between 0 and 1 and at least one layer", got, do)


def ended(controller: Controller, check: Check, max_layers: int) -> Verdict | None:
    """Returns the reason to stop by the rules that all controllers share, or None."""
    if check.objective == math.inf:
        return "not finite"
    if controller.converged(check.objective, check.dual):
        # A gap below the rounding of objective and bound is no smaller than that rounding.
        met = controller.converged(check.objective, min(check.dual, check.objective - check.floor))
        return "tolerance" if met or check.gap > check.floor else "precision"
    if check.gap <= check.floor:
        return "precision"
    return "layers" if check.layers >= max_layers else None
