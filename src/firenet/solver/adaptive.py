"""Adaptive restarts: a step-size controller that finds its own steps and stops when the gap is proved small enough."""

from __future__ import annotations

import math
from dataclasses import dataclass

from firenet.errors import BadInput
from firenet.operators.norm_bound import NormBound
from firenet.problems.gap import within
from firenet.solver.controller import (
    Check,
    Controller,
    Earlier,
    FirstPoint,
    RestartPoint,
    Verdict,
    check_search,
    ended,
    plain_numbers,
)

# In the analysis form the primal weight grows by its first value in as many iterations, and returns to it after some.
_GROWTH, _GROWS = 20, 300
_SHARE = 4  # the search has a turn of so small a part of the iterations in which the rules have stalled
_WORSE = 3.0  # a run is undone if the objective becomes so many times as large


@dataclass(frozen=True)
class AdaptiveRestarts:
    """Restarts that find their own steps and stop when the gap is proved small enough, without constants of the
    problem.

    The iteration starts at :math:`A^*y/\\|A\\|^2`, with the first primal weight of the problem (below). Every ``check``
    iterations the objective and the dual value of three points are computed: the last point, the average since the last
    restart, and that combination of the last points which one iteration changes least (:meth:`.Iteration.combine`). The
    iteration restarts from the point whose objective exceeds its dual value the least, if this gap is at most
    ``sufficient`` times the one at the last restart, or if the iterations since the last restart are at least
    ``longest`` times all iterations so far. At each restart the primal weight :math:`\\omega` of the steps
    :math:`(\\tau,\\sigma)=(\\omega,1/\\omega)/\\|A\\|` becomes the geometric mean of itself and of the distance moved
    by x over that moved by q, as in PDLP (Applegate et al., *Practical large-scale linear programming using primal-dual
    hybrid gradient*, 2021). Where q hardly moves for long, as in badly scaled problems, the weight becomes too large.
    So for (P2) and (P3) a run is undone as soon as the lowest objective of the three points is more than three times
    the lowest one at a restart so far. It is repeated with the geometric mean of its weight and of the one before, or a
    quarter of its weight if that is less. The repeated run is undone again only if its objective is then more than a
    tenth lower than the one at which it was undone before.

    In the analysis form the iteration always goes on from the last point, and no run is undone; a restart, which is due
    by the rule of ``longest`` alone, begins new averages and sets the weight. The average of the dual points is much
    nearer to the optimum than the last one; that of the images is not. For tight frames the weight after k iterations
    is :math:`\\min\\{8,\\max\\{1,k/20\\}\\}` times the first: a small one is best for the image, which converges
    first, and a larger one for the dual point. After 300 iterations, which only gaps below 1e-4 need, the weight is the
    first one again. These numbers are from experience.

    The first weight is :attr:`.Problem.first_weight` times :math:`\\|y\\|_2/\\|A\\|`, an estimate of the size of x over
    that of q: at the optimum A*q is at most :math:`\\lambda w` in every coefficient, so
    :math:`\\|A^*q\\|_2\\le\\lambda\\|w\\|_2`; for (P3) the norm of q is also at most 1. Where the first of these bounds
    is the stronger one, the first threshold :math:`\\tau\\lambda w` does not depend on :math:`\\lambda`: it is a small
    fraction of the coefficients' size. The start already fits the data if AA* is a multiple of the identity; from zero
    the first iterations would only rebuild it.

    The gap at which the iteration stops is proven whatever the steps were. For constant steps the relaxed iteration
    converges for every relaxation below 2 (Condat 2013), and its averages converge with O(1/iterations) (Chambolle and
    Pock 2016, who average the dual points before relaxation; here they are averaged after it).

    These rules are from experience, and problems can be built on which they stall. For (P3), whenever the gap has not
    fallen by the factor e within ``safeguard`` iterations, a :class:`RadialSearch` with a state of its own has a turn
    of a quarter as many iterations. It starts from the better of its own point and that of these rules, which then go
    on from where they were. The number of iterations to an objective within :math:`\\varepsilon` of a sharp minimum is
    therefore proved to be :math:`O(\\log(1/\\varepsilon))`; it is at most 1.25 times what the rules alone need, plus
    one run of the search (docs/theorem.md, "The default schedule"). The proof is for the objective; the gap also needs
    a dual point.

    Attributes:
        tolerance: Stop when the relative gap, the gap over the lower bound, is at most this. The objective is then
            proved to exceed the minimum by at most this fraction of the minimum.
        max_layers: The largest number of iterations.
        check: The number of iterations between two checks.
        relaxation: :math:`0<\\rho<2`. 1.8 needs some 40 % fewer iterations than 1.
        sufficient: See above.
        longest: See above.
        safeguard: See above; None leaves it out.
    """

    tolerance: float = 1e-4
    max_layers: int = 2000
    check: int = 10
    relaxation: float = 1.8
    sufficient: float = 0.8
    longest: float = 0.36
    safeguard: int | None = 1000

    def __post_init__(self) -> None:
        plain_numbers(self)
        check_search(self.tolerance, self.max_layers)
        if self.check < 1 or not 0 < self.relaxation < 2:
            got = f"check={self.check}, relaxation={self.relaxation}"
            raise BadInput("check >= 1 and a relaxation between 0 and 2", got, "The defaults are 10 and 1.8")
        if not (0 < self.sufficient < 1 and 0 < self.longest < 1):
            got = f"sufficient={self.sufficient}, longest={self.longest}"
            raise BadInput("0 < sufficient < 1 and 0 < longest < 1", got, "Leave them at their defaults")
        if self.safeguard is not None and self.safeguard < 1:
            raise BadInput("safeguard >= 1 or None", f"{self.safeguard}", "The default is 1000")

    @property
    def layers(self) -> int:
        """The largest number of iterations."""
        return self.max_layers

    @property
    def start(self) -> FirstPoint:
        """The name of the first point of the iteration: ``adjoint``, which is :math:`A^*y/\\|A\\|^2`."""
        return "adjoint"

    def controller(self, norm: NormBound, size: float) -> Controller:
        """Returns the controller of an image; ``size`` is the norm of its measurements times
        :attr:`.Problem.first_weight`."""
        return AdaptiveController(self, norm.value or 1.0, size)


class AdaptiveController:
    """The controller of :class:`AdaptiveRestarts`."""

    restart_point: RestartPoint | Earlier = "last"
    keep_dual = True
    turn = 0

    def __init__(self, rules: AdaptiveRestarts, norm: float, size: float) -> None:
        self._rules, self._norm = rules, norm
        self.tolerance, self.limit = rules.tolerance, rules.max_layers
        self.relaxation = rules.relaxation
        self.until = min(rules.check, rules.max_layers)
        self._omega = size / norm if 0 < size / norm < math.inf else 1.0
        self._set()
        self._first = self._before = self._omega  # and that of the run before
        self._began = 0  # the iteration at which this run began
        self._at_restart = math.inf  # the gap at that iteration
        self._best, self._best_at = math.inf, 0
        self._marked, self._marked_at = math.inf, 0  # the gap at the last mark, see turn
        self._undone = math.inf  # the objective of the last run, if it was undone

    def _set(self) -> None:
        # In a range in which the steps and their products are finite.
        self._omega = min(max(self._omega, 1e-305), 1e305)
        self.tau, self.sigma = self._omega / self._norm, 1 / (self._omega * self._norm)

    def converged(self, objective: float, bound: float) -> bool:
        """Returns whether the relative gap is at most the tolerance."""
        return within(self._rules.tolerance, objective, bound)

    def decide(self, check: Check) -> Verdict:
        """Returns whether to go on, to restart or to stop."""
        rules = self._rules
        verdict = ended(self, check, self.limit)
        if verdict is not None:
            self.restart_point = check.better
            return verdict
        stalled = rules.safeguard is not None and check.layers - self._marked_at >= rules.safeguard
        self.turn = math.ceil(rules.safeguard / _SHARE) if stalled and rules.safeguard else 0
        if stalled or check.gap <= self._marked / math.e:
            self._marked, self._marked_at = min(self._marked, check.gap), check.layers
        self.until = min(rules.check, self.limit - check.layers)
        if check.gap < 0.9 * self._best:
            self._best, self._best_at = check.gap, check.layers
        elif check.gap < 100 * check.floor and check.layers - self._best_at >= max(200, self._best_at // 2):
            self.restart_point = check.better
            return "precision"  # no progress for long, at a gap of the size of rounding errors
        # Smaller steps must have made it less bad than the last time; else the start itself is bad.
        if check.jumps and _WORSE * check.known < check.objective < 0.9 * self._undone:
            self.restart_point, self._began, self._undone = "start", check.layers, check.objective
            return "restart"
        self.restart_point, gap = check.nearest
        fell = check.jumps and gap <= rules.sufficient * self._at_restart
        if not (fell or check.layers - self._began >= rules.longest * check.layers):
            return "go on"
        self._at_restart, self._began, self._undone = gap, check.layers, math.inf
        if not check.jumps:
            grown = check.layers / _GROWTH if check.layers <= _GROWS else 1.0
            self._omega = self._first * min(check.growth, max(1.0, grown))
            self._set()
        return "restart"

    def restarted(self, primal: float, dual: float) -> None:
        """Sets the steps of the next run from the distances that x and q moved in the last one."""
        ratio = primal / dual if dual > 0 else 0.0
        if self.restart_point == "start":
            self._omega = min(math.sqrt(self._omega) * math.sqrt(self._before), self._omega / 4)
            self._set()
        elif 0 < ratio < math.inf:
            self._before, self._omega = self._omega, math.sqrt(self._omega) * math.sqrt(ratio)
            self._set()
