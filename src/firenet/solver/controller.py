"""The step-size controller of one image: at each check it decides whether to go on, to restart or to stop."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from torch import Tensor

from firenet.errors import BadInput
from firenet.operators.norm_bound import NormBound

RestartPoint = Literal["average", "last"]


@dataclass(frozen=True)
class Check:
    """What a controller is shown, for one image.

    Attributes:
        layers: Iteration done since the beginning.
        last: Objective at the last point.
        average: Objective at the average since the last restart.
        dual: The largest dual value seen: a lower bound of the minimum.
        dual_last: The dual value of the last dual point.
        dual_average: That of the average.
        floor: The rounding error that a gap in this precision carries; below it a gap says nothing.
    """

    layers: int
    last: float
    average: float
    dual: float
    dual_last: float
    dual_average: float
    floor: float

    @property
    def objective(self) -> float:
        """The lower of the two objectives (a number that is none counts as infinite)."""
        return min(v if v == v else math.inf for v in (self.last, self.average))

    @property
    def better(self) -> RestartPoint:
        """Which of the two it is."""
        return "last" if self.last == self.objective else "average"

    @property
    def gap(self) -> float:
        return self.objective - self.dual


Verdict = Literal["go on", "restart", "tolerance", "precision", "layers", "not finite"]


class Controller(Protocol):
    """Steers the layers of one image.

    Attributes:
        tau: Primal step of the layers to come.
        sigma: Dual step.
        relaxation: Their relaxation.
        until: Iteration until it wants to check.
        restart_point: After the verdict ``restart``: what to start from; ``best`` is the best point that was ever
            handed on.
        keep_dual: And whether the dual is kept.
        tolerance: For (P1): the largest relative violation of the constraint that a point may end with.
    """

    tau: float
    sigma: float
    relaxation: float
    until: int
    restart_point: Literal["average", "last", "best"]
    keep_dual: bool
    tolerance: float

    def converged(self, objective: float, bound: float) -> bool:
        """Whether a point with this objective, and this lower bound of the minimum, is good enough."""
        ...

    def decide(self, check: Check) -> Verdict:
        """What to do now."""
        ...

    def restarted(self, primal: float, dual: float) -> None:
        """Chooses the steps of the next run, told how far x and q have come in the last one."""
        ...


@runtime_checkable
class SearchingSchedule(Protocol):
    """What gives each image a controller."""

    @property
    def layers(self) -> int:
        """Iteration at the most."""
        ...

    def controller(self, norm: NormBound, size: float) -> Controller:
        """The controller of an image with measurements of norm ``size``."""
        ...


def plain_numbers(schedule: object) -> None:
    """Refuses a number of a schedule that asks to be learned: steps are computed, and gradients would be lost."""
    for name, value in vars(schedule).items():
        if isinstance(value, Tensor):
            do = f"Pass float({name}); steps are not learned"
            raise BadInput(f"A plain number for {name} of {type(schedule).__name__}", "a tensor", do)


def check_search(tolerance: float, max_layers: int) -> None:
    if not (0 < tolerance < 1 and max_layers >= 1):
        got = f"tolerance={tolerance}, max_layers={max_layers}"
        raise BadInput("A tolerance between 0 and 1 and at least one layer", got, "1e-2 is a picture, 1e-4 a proof")


def ended(controller: Controller, check: Check, max_layers: int) -> Verdict | None:
    """Whether to stop, the same for all controllers."""
    if check.objective == math.inf:
        return "not finite"
    if controller.converged(check.objective, check.dual):
        # A gap below the rounding of the numbers it is made of proves no more than that rounding.
        met = controller.converged(check.objective, min(check.dual, check.objective - check.floor))
        return "tolerance" if met or check.gap > check.floor else "precision"
    if check.gap <= check.floor:
        return "precision"
    return "layers" if check.layers >= max_layers else None
