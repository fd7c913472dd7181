"""The radial search: restarts for objectives whose constants of approximate sharpness are not known."""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, replace

from firenet.errors import BadInput
from firenet.operators.norm_bound import NormBound
from firenet.problems.gap import within
from firenet.solver.controller import Check, Earlier, RestartPoint, Verdict, check_search, ended, plain_numbers


@dataclass(frozen=True)
class RadialSearch:
    """Restarts by a search for the constants of approximate sharpness; it has no parameters to choose.

    Assume :math:`\\mathrm{dist}(x,\\hat X)\\le((F(x)-\\hat F+\\eta)/\\alpha)^{1/\\beta}`, where :math:`\\hat F` is the
    minimum and :math:`\\hat X` the set of minimisers, with unknown :math:`\\alpha>0,\\beta\\ge1,\\eta\\ge0`. Guesses
    :math:`\\beta_j=e^{j}` (a given ``beta`` is the only one, with j = 0) and
    :math:`\\alpha_{ij}=e^{i}\\|y\\|(\\|A\\|/\\|y\\|)^{\\beta_j}`, which is :math:`\\|A\\|e^{i}` for
    :math:`\\beta_j=1`, share one incumbent x. A guess that has been tried U times reduces the accuracy from
    :math:`\\varepsilon=r^U\\|y\\|` to :math:`r\\varepsilon` by :math:`\\lceil2\\|A\\|\\delta/(r\\varepsilon)\\rceil`
    iterations with :math:`\\delta=(2\\varepsilon/\\alpha_{ij})^{1/\\beta_j}` and
    :math:`(\\tau,\\sigma)=(\\delta,1/\\delta)/\\|A\\|`, the dual point starting at zero; the result is kept if its
    objective is lower. Guesses are run in the order of a clock, on which (i, j) has had k iterations at the time
    :math:`(|i|+1)^2(j+1)^2k`.

    Proven (Adcock, Colbrook, Neyra-Nesterenko, *Restarts subject to approximate sharpness*, arXiv 2301.02268): the
    number of iterations for an accuracy above :math:`\\eta` is that of the best guess up to a constant factor; for
    :math:`\\beta=1` it is :math:`O(|\\log\\varepsilon|)`. The gap at which it stops is also proven.

    Attributes:
        tolerance: Stop at this relative gap.
        max_layers: The largest number of iterations.
        beta: The exponent :math:`\\beta`: 1 for a linear growth of the objective (which the theory of FIRENETs gives);
            None searches for it, too.
        factor: The factor r, between 0 and 1, by which a run reduces the accuracy; the default is :math:`e^{-1}`.
    """

    tolerance: float = 1e-4
    max_layers: int = 10000
    beta: float | None = 1.0
    factor: float = math.exp(-1)

    def __post_init__(self) -> None:
        plain_numbers(self)
        check_search(self.tolerance, self.max_layers)
        if not (self.beta is None or self.beta >= 1) or not 0 < self.factor < 1:
            got = f"beta={self.beta}, factor={self.factor}"
            raise BadInput("beta >= 1 or None, and a factor between 0 and 1", got, "The defaults are 1 and exp(-1)")

    @property
    def layers(self) -> int:
        """The largest number of iterations."""
        return self.max_layers

    def controller(self, norm: NormBound, size: float) -> RadialController:
        """Returns the controller of an image, see :class:`.SearchingSchedule`."""
        return RadialController(self, norm.value or 1.0, size)


class RadialController:
    """The controller of :class:`RadialSearch`.

    Args:
        rules: The schedule.
        norm: :math:`\\|A\\|`.
        accuracy: A bound of the first objective minus the minimum.
        smallest: Accuracies below this one are not asked for.
        dual: The largest norm D of a dual point: a run has D times the iterations that D = 1 would need, with the steps
            :math:`(\\delta/D,D/\\delta)/\\|A\\|`.
    """

    relaxation = 1.0
    keep_dual = False
    turn = 0

    def __init__(
        self, rules: RadialSearch, norm: float, accuracy: float, smallest: float | None = None, dual: float = 1.0
    ) -> None:
        self._rules, self._norm, self._dual = rules, norm, dual
        self.tolerance, self.limit = rules.tolerance, rules.max_layers
        self._accuracy = accuracy if 0 < accuracy < math.inf else 1.0
        self._smallest = 1e-15 if smallest is None else smallest / self._accuracy
        self._done: dict[tuple[int, int], tuple[int, int]] = {}  # (i, j): its tries U and iterations V
        self._queue: list[tuple[float, int, int]] = []
        self._edge_i = self._edge_j = -1
        self.incumbent = math.inf
        self.restart_point: RestartPoint | Earlier = "best"
        self._next(self.limit)

    def _guess(self, i: int, j: int) -> tuple[float, int]:
        """Returns the radius and the number of iterations of the next run of a guess."""
        tries, _ = self._done.get((i, j), (0, 0))
        r = self._rules.factor
        # Relative to the first accuracy for the objective, and to this over ||A|| for x, so that the scale of the data
        # has no effect.
        accuracy = max(r**tries, self._smallest)
        beta = math.exp(j) if self._rules.beta is None else self._rules.beta
        delta = (2 * accuracy * math.exp(-i)) ** (1 / beta)
        return delta, max(1, math.ceil(min(2 * self._dual * delta / max(r * accuracy, self._smallest), 1e9)))

    def _due(self, i: int, j: int) -> float:
        return (abs(i) + 1) ** 2 * (j + 1) ** 2 * (self._done.get((i, j), (0, 0))[1] + self._guess(i, j)[1])

    def _next(self, remaining: int) -> None:
        # Every guess is due at (|i| + 1)^2 (j + 1)^2 at the earliest, so the queue lacks no guess due before the next
        # i.
        while not self._queue or self._queue[0][0] >= (self._edge_i + 2) ** 2:
            self._edge_i += 1
            columns = range(self._edge_j + 1) if self._rules.beta is None else range(1)
            for i in {self._edge_i, -self._edge_i}:
                for j in columns:
                    heapq.heappush(self._queue, (self._due(i, j), i, j))
            if self._rules.beta is None:
                self._edge_j += 1
                for i in range(-self._edge_i, self._edge_i + 1):
                    heapq.heappush(self._queue, (self._due(i, self._edge_j), i, self._edge_j))
        _, i, j = heapq.heappop(self._queue)
        delta, layers = self._guess(i, j)
        tries, spent = self._done.get((i, j), (0, 0))
        self._done[i, j] = (tries + 1, spent + layers)
        heapq.heappush(self._queue, (self._due(i, j), i, j))
        # In a range in which the steps and their products are finite.
        radius = min(max(delta * self._accuracy / self._norm / self._dual, 1e-305), 1e305)
        self.tau, self.sigma = radius / self._norm, 1 / (radius * self._norm)
        self.until = min(layers, remaining)

    def converged(self, objective: float, bound: float) -> bool:
        return within(self._rules.tolerance, objective, bound)

    def decide(self, check: Check) -> Verdict:
        check = replace(check, combination=math.inf)
        if check.objective < self.incumbent:
            self.incumbent, self.restart_point = check.objective, check.better
        else:
            self.restart_point = "best"
        kept = replace(check, last=self.incumbent, average=math.inf)
        verdict = ended(self, kept, self.limit)
        if verdict is None:
            self._next(self.limit - check.layers)
        return verdict or "restart"

    def restarted(self, primal: float, dual: float) -> None:
        pass
