"""What a fixed schedule has found so far."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from firenet.problems.gap import within
from firenet.solver.adaptive_loop import prove_at
from firenet.solver.iteration import Iteration, Values

Iterate = Literal["average", "last", "best"]


class BestSoFar:
    """What a fixed schedule has found so far: the best dual, and for each batch item the point it ended with."""

    def __init__(self, layers: Iteration) -> None:
        like = torch.zeros(len(layers.y), dtype=torch.float64, device=layers.y.device)
        self.z, self.dual = layers.x, layers.q
        self.lowest, self.objective, self.bound = like + torch.inf, like + torch.inf, like - torch.inf
        self.layers = like.to(torch.int64)
        self.done = like > 0

    def improve(self, layers: Iteration) -> Values:
        """Takes the last point or the average where its objective is the lowest so far."""
        with torch.no_grad():
            values = layers.evaluate()
        for objective, z in ((values.average, layers.average()), (values.last, layers.last)):
            lower = (objective < self.lowest) & ~self.done
            self.lowest = torch.where(lower, objective, self.lowest)
            self.z = torch.where(_over(lower, z), z, self.z)
        return values

    def update(self, layers: Iteration, which: Iterate, done: int, tolerance: float | None) -> bool:
        """Looks at the state after a restart; whether all items are done. Those that are stay as they are."""
        goes_on = ~self.done
        if which == "best":
            values = self.improve(layers)
            objective = self.lowest
        else:
            values = layers.evaluate()
            z = layers.last if which == "last" else layers.average()
            objective = values.last if which == "last" else values.average
            self.z = torch.where(_over(goes_on, z), z, self.z)
        for bound, q in ((values.dual_last, layers.q), (values.dual_average, layers.average_dual())):
            higher = (bound > self.bound) & goes_on
            self.bound = torch.where(higher, bound, self.bound)
            self.dual = torch.where(_over(higher, q), q, self.dual)
        self.objective = torch.where(goes_on, objective, self.objective)
        self.layers = torch.where(goes_on, done, self.layers)
        if tolerance is not None:
            pairs = zip(objective.tolist(), self.bound.tolist(), strict=True)
            held = [within(tolerance, value, bound) for value, bound in pairs]
            if any(held):  # the proof counts
                _, proof = prove_at(layers, self.z, self.dual, layers.y)
                self.done = self.done | (proof.reached(tolerance) & self.done.new_tensor(held))
        return bool(self.done.all())


def _over(flags: Tensor, x: Tensor) -> Tensor:
    return flags.reshape(*flags.shape, *(1,) * (x.ndim - flags.ndim))
