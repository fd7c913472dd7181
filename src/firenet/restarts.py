"""Schedules: which steps each layer takes, and when to start anew. The only place where step sizes are made.

One layer is one step of the primal-dual iteration with steps :math:`(\\tau,\\sigma)`, which must satisfy
:math:`\\tau\\sigma\\|A\\|^2\\le1`; a run is a number of layers with one pair, after which something is handed on: the
average or the last point. The paper rescales the data at each restart instead; by homogeneity of the objective that is
a choice of :math:`(\\tau,\\sigma)`, and data are never rescaled here.

There are two kinds of schedule. A fixed one (:class:`PaperSchedule`, :class:`FixedSteps`, :class:`FrozenSteps`) lists
its runs beforehand: the network is feed-forward. A searching one (:class:`AdaptiveRestarts`, :class:`RadialSearch`)
gives each image a :class:`Pilot` that looks at the gap every few layers and decides; what it did can be frozen.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from firenet.errors import BadInput
from firenet.gap import within
from firenet.operators import NormBound

HandOn = Literal["average", "last"]


@dataclass(frozen=True, eq=False)
class Restart:
    """A run of layers with one pair of steps.

    Attributes:
        tau: Primal step, one float64 number a batch item. With unit of x over unit of y.
        sigma: Dual step.
        layers: How many layers.
        relaxation: :math:`0<\\rho<2`, one number a batch item or one for all.
        hand_on: What the next run starts from.
        keep_dual: The next run starts from the dual of the same kind, and not from zero.
    """

    tau: Tensor
    sigma: Tensor
    layers: int
    relaxation: float = 1.0
    hand_on: HandOn = "average"
    keep_dual: bool = False


class FixedSchedule(Protocol):
    """What lists its runs beforehand."""

    @property
    def layers(self) -> int:
        """Layers in all."""
        ...

    def restarts(self, norm: NormBound, size: Tensor) -> Iterator[Restart]:
        """The restarts for an operator whose norm is bounded by ``norm`` and measurements of norm ``size`` (a
        batch)."""
        ...


@dataclass(frozen=True)
class Look:
    """What a pilot is shown, for one image.

    Attributes:
        layers: Layers done since the beginning.
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
    def better(self) -> HandOn:
        """Which of the two it is."""
        return "last" if self.last == self.objective else "average"

    @property
    def gap(self) -> float:
        return self.objective - self.dual


Verdict = Literal["go on", "restart", "tolerance", "precision", "layers", "not finite"]


class Pilot(Protocol):
    """Steers the layers of one image.

    Attributes:
        tau: Primal step of the layers to come.
        sigma: Dual step.
        relaxation: Their relaxation.
        until: Layers until it wants to look.
        hand_on: After the verdict ``restart``: what to start from; ``best`` is the best point that was ever handed on.
        keep_dual: And whether the dual is kept.
        tolerance: For (P1): the largest relative violation of the constraint that a point may end with.
    """

    tau: float
    sigma: float
    relaxation: float
    until: int
    hand_on: Literal["average", "last", "best"]
    keep_dual: bool
    tolerance: float

    def content(self, objective: float, bound: float) -> bool:
        """Whether a point with this objective, and this lower bound of the minimum, is good enough."""
        ...

    def look(self, look: Look) -> Verdict:
        """What to do now."""
        ...

    def restarted(self, primal: float, dual: float) -> None:
        """Chooses the steps of the next run, told how far x and q have come in the last one."""
        ...


class SearchingSchedule(Protocol):
    """What gives each image a pilot."""

    @property
    def layers(self) -> int:
        """Layers at the most."""
        ...

    def pilot(self, norm: NormBound, size: float) -> Pilot:
        """The pilot of an image with measurements of norm ``size``."""
        ...


Schedule = FixedSchedule | SearchingSchedule


def _numbers(schedule: object) -> None:
    """Refuses a number of a schedule that asks to be learned: steps are computed, and gradients would be lost."""
    for name, value in vars(schedule).items():
        if isinstance(value, Tensor):
            do = f"Pass float({name}); steps are not learned"
            raise BadInput(f"A plain number for {name} of {type(schedule).__name__}", "a tensor", do)


def searches(schedule: Schedule) -> bool:
    """Whether the schedule looks before it decides."""
    return hasattr(schedule, "pilot")


@dataclass(frozen=True)
class PaperSchedule:
    """The schedule of the paper: geometrically falling accuracies, each bought with the same number of layers.

    .. math::
        \\varepsilon_0=\\|y\\|_2,\\quad\\varepsilon_k=\\nu(\\delta+\\varepsilon_{k-1}),\\quad\\beta_k=\\varepsilon_k/(2\\|A\\|),
        \\quad\\tau_k=p\\beta_k/\\|A\\|,\\quad\\sigma_k=1/(p\\beta_k\\|A\\|).

    Proven: if A has the weighted robust null space property in levels and ``inner`` is at least
    :math:`2C_2\\|A\\|/\\nu`, ``lam`` is :math:`C_1/(C_2\\sqrt\\xi)` and ``delta`` at least the model's misfit, then
    after k restarts the objective exceeds that of the true signal by at most :math:`\\varepsilon_k`;
    :class:`firenet.Guarantee` has the constants. The default ``inner=10`` is far below what those constants ask for:
    with it the schedule is a good heuristic, and what holds is the duality gap that comes with the result.

    Attributes:
        outer: Number of restarts, n.
        inner: Layers in each, p.
        delta: The accuracy :math:`\\delta>0` below which nothing is aimed at, in the unit of :math:`\\|y\\|`.
        nu: Factor :math:`0<\\nu<1` by which the accuracy falls; :math:`e^{-1}` needs the fewest layers.
    """

    outer: int = 10
    inner: int = 10
    delta: float = 1e-9
    nu: float = math.exp(-1)

    def __post_init__(self) -> None:
        _numbers(self)
        if self.outer < 1 or self.inner < 1:
            raise BadInput(
                "At least one restart and one layer in each",
                f"outer={self.outer}, inner={self.inner}",
                "Use positive numbers",
            )
        if not (self.delta > 0 and math.isfinite(self.delta)) or not 0 < self.nu < 1:
            raise BadInput(
                "delta > 0 and nu between 0 and 1",
                f"delta={self.delta}, nu={self.nu}",
                "The defaults are 1e-9 and exp(-1)",
            )

    @property
    def layers(self) -> int:
        return self.outer * self.inner

    def restarts(self, norm: NormBound, size: Tensor) -> Iterator[Restart]:
        length = norm.value or 1.0  # the zero operator takes any steps
        epsilon = size
        for _ in range(self.outer):
            epsilon = self.nu * (self.delta + epsilon)
            scale = self.inner * epsilon / (2 * length)  # p beta
            yield Restart(scale / length, 1 / (scale * length), self.inner)


@dataclass(frozen=True)
class FixedSteps:
    """No restart: ``count`` layers with the steps :math:`(\\tau,\\sigma)=(\\omega,1/\\omega)/\\|A\\|`.

    Proven for (P3) in synthesis form: the objective at the average exceeds the optimum by at most
    :math:`\\frac{\\|A\\|}{k}\\big(\\frac{\\|x^*-x^0\\|^2}{\\omega}+\\omega\\big)` after k layers (Chambolle and Pock).

    Attributes:
        count: Number of layers.
        omega: Primal weight :math:`\\omega>0`, in the unit of x; None is :math:`\\|y\\|_2/\\|A\\|`, the size of x.
    """

    count: int = 300
    omega: float | None = None

    def __post_init__(self) -> None:
        _numbers(self)
        if self.count < 1 or not (self.omega is None or (self.omega > 0 and math.isfinite(self.omega))):
            raise BadInput(
                "count >= 1 and omega > 0",
                f"count={self.count}, omega={self.omega}",
                "Leave omega out to have it set by the data",
            )

    @property
    def layers(self) -> int:
        return self.count

    def restarts(self, norm: NormBound, size: Tensor) -> Iterator[Restart]:
        length = norm.value or 1.0
        own = torch.where(size > 0, (size / length).clamp(1e-305, 1e305), 1.0)
        omega = own if self.omega is None else torch.full_like(size, self.omega)
        yield Restart(omega / length, 1 / (omega * length), self.count)


# --- schedules that search --------------------------------------------------------------------------------------------


def _check_search(tolerance: float, max_layers: int) -> None:
    if not (0 < tolerance < 1 and max_layers >= 1):
        got = f"tolerance={tolerance}, max_layers={max_layers}"
        raise BadInput("A tolerance between 0 and 1 and at least one layer", got, "1e-2 is a picture, 1e-4 a proof")


def _ended(pilot: Pilot, look: Look, max_layers: int) -> Verdict | None:
    """Whether to stop, the same for all pilots."""
    if look.objective == math.inf:
        return "not finite"
    if pilot.content(look.objective, look.dual):
        # A gap below the rounding of the numbers it is made of proves no more than that rounding.
        met = pilot.content(look.objective, min(look.dual, look.objective - look.floor))
        return "tolerance" if met or look.gap > look.floor else "precision"
    if look.gap <= look.floor:
        return "precision"
    return "layers" if look.layers >= max_layers else None


@dataclass(frozen=True)
class AdaptiveRestarts:
    """Restarts that find their own steps and stop on a proof. No constant of the problem is asked for.

    Every ``check`` layers the duality gap of the last point and of the average since the last restart is computed. The
    iteration starts anew from the better of the two when its gap has fallen to ``sufficient`` times that of the last
    restart; when it has fallen to ``necessary`` times and grows again; or when a run is ``longest`` times as long as
    all layers so far (the rules of PDLP: Applegate et al., *Practical large-scale linear programming using primal-dual
    hybrid gradient*, 2021, here with the gap). At each restart the primal weight :math:`\\omega` of the steps
    :math:`(\\tau,\\sigma)=(\\omega,1/\\omega)/\\|A\\|` becomes the geometric mean of itself and of (distance moved by
    x) / (distance moved by q); it begins at :math:`\\|y\\|_2/\\|A\\|`. The analysis form keeps the weight it begins
    with, a share of that; (P1) and (P2) divide it by an estimate of the size of their dual.

    Proven: the gap at which it stops, whatever the steps were. For steps that stay as they are, the relaxed iteration
    converges for every relaxation below 2 (Condat 2013), its averages with O(1/layers) (Chambolle and Pock 2016, whose
    averages leave the relaxation out of the dual). Not proven: how many layers the search for the steps takes.

    Attributes:
        tolerance: Stop when the objective is proved to exceed the minimum by at most this share of it: at this relative
            gap, the gap over the lower bound.
        max_layers: Stop after so many layers.
        check: Layers between two looks.
        relaxation: :math:`0<\\rho<2`. 1.8 needs some 40 % fewer layers than 1.
        sufficient: See above.
        necessary: See above.
        longest: See above.
    """

    tolerance: float = 1e-4
    max_layers: int = 2000
    check: int = 10
    relaxation: float = 1.8
    sufficient: float = 0.2
    necessary: float = 0.8
    longest: float = 0.36

    def __post_init__(self) -> None:
        _numbers(self)
        _check_search(self.tolerance, self.max_layers)
        if self.check < 1 or not 0 < self.relaxation < 2:
            got = f"check={self.check}, relaxation={self.relaxation}"
            raise BadInput("check >= 1 and a relaxation between 0 and 2", got, "The defaults are 10 and 1.8")
        if not (0 < self.sufficient <= self.necessary < 1 and 0 < self.longest < 1):
            got = f"sufficient={self.sufficient}, necessary={self.necessary}, longest={self.longest}"
            raise BadInput("0 < sufficient <= necessary < 1 and 0 < longest < 1", got, "Leave them at their defaults")

    @property
    def layers(self) -> int:
        return self.max_layers

    def pilot(self, norm: NormBound, size: float) -> Pilot:
        return AdaptivePilot(self, norm.value or 1.0, size)


class AdaptivePilot:
    """The pilot of :class:`AdaptiveRestarts`."""

    hand_on: Literal["average", "last", "best"] = "last"
    keep_dual = True

    def __init__(self, rules: AdaptiveRestarts, norm: float, size: float) -> None:
        self._rules, self._norm = rules, norm
        self.tolerance = rules.tolerance
        self.relaxation = rules.relaxation
        self.until = min(rules.check, rules.max_layers)
        # Within a range in which steps and their products are numbers.
        self._omega = min(max(size / norm, 1e-305), 1e305) if 0 < size / norm < math.inf else 1.0
        self._set()
        self._began = 0  # the layer at which this run began
        self._at_restart: float | None = None  # the gap then
        self._before = math.inf  # the gap at the last look
        self._best, self._best_at = math.inf, 0
        self._last_try = False

    def _set(self) -> None:
        self.tau, self.sigma = self._omega / self._norm, 1 / (self._omega * self._norm)

    def content(self, objective: float, bound: float) -> bool:
        return within(self._rules.tolerance, objective, bound)

    def look(self, look: Look) -> Verdict:
        rules = self._rules
        verdict = _ended(self, look, rules.max_layers)
        if verdict is not None:
            self.hand_on = look.better
            return verdict
        self.until = min(rules.check, rules.max_layers - look.layers)
        if look.gap < 0.9 * self._best:
            self._best, self._best_at = look.gap, look.layers
        elif look.gap < 100 * look.floor and look.layers - self._best_at >= max(200, self._best_at // 2):
            self.hand_on = look.better
            return "precision"  # it goes round in its rounding errors
        gaps: dict[HandOn, float] = {"last": look.last - look.dual_last, "average": look.average - look.dual_average}
        self.hand_on = "average" if gaps["average"] < gaps["last"] else "last"
        gap, run = gaps[self.hand_on], look.layers - self._began
        if self._at_restart is None:
            self._at_restart = gap  # the first look is what the first run is measured by
            return "go on"
        fell = gap <= rules.sufficient * self._at_restart
        fell |= self._before < gap <= rules.necessary * self._at_restart
        self._before = gap
        if not (fell or run >= rules.longest * look.layers):
            return "go on"
        self._at_restart, self._began, self._before = gap, look.layers, math.inf
        return "restart"

    def restarted(self, primal: float, dual: float) -> None:
        ratio = primal / dual if dual > 0 else 0.0
        if 0 < ratio < math.inf:
            self._omega = math.sqrt(self._omega) * math.sqrt(ratio)
            self._set()


@dataclass(frozen=True)
class RadialSearch:
    """Restarts by a search for the constants of approximate sharpness: free of parameters, with a proof.

    Assume :math:`\\mathrm{dist}(x,\\hat X)\\le((F(x)-\\hat F+\\eta)/\\alpha)^{1/\\beta}` with unknown
    :math:`\\alpha>0,\\beta\\ge1,\\eta\\ge0`. Guesses :math:`\\alpha_i=\\|A\\|e^{i}` and :math:`\\beta_j=e^{j}` (with
    ``beta=1`` only j = 0) share one incumbent x. A guess that has been tried U times goes from
    :math:`\\varepsilon=r^U\\|y\\|` to :math:`r\\varepsilon` by :math:`\\lceil2\\|A\\|\\delta/(r\\varepsilon)\\rceil`
    layers with :math:`\\delta=(2\\varepsilon/\\alpha_i)^{1/\\beta_j}` and
    :math:`(\\tau,\\sigma)=(\\delta,1/\\delta)/\\|A\\|`, the dual starting at zero; the result is kept if its objective
    is lower. Guesses take turns such that (i, j) is given k layers by the time :math:`(|i|+1)^2(j+1)^2k`.

    Proven (Adcock, Colbrook, Neyra-Nesterenko, *Restarts subject to approximate sharpness*, arXiv 2301.02268): the
    layers for an accuracy above :math:`\\eta` are those of the best guess up to a constant factor; for
    :math:`\\beta=1` that is :math:`O(|\\log\\varepsilon|)`. And the gap at which it stops, as always.

    Attributes:
        tolerance: Stop at this relative gap.
        max_layers: Stop after so many layers.
        beta: 1 for a linear growth of the objective (what the theory of FIRENETs gives); None searches it too.
        factor: :math:`r=e^{-1}`.
    """

    tolerance: float = 1e-4
    max_layers: int = 10000
    beta: float | None = 1.0
    factor: float = math.exp(-1)

    def __post_init__(self) -> None:
        _numbers(self)
        _check_search(self.tolerance, self.max_layers)
        if not (self.beta is None or self.beta >= 1) or not 0 < self.factor < 1:
            got = f"beta={self.beta}, factor={self.factor}"
            raise BadInput("beta >= 1 or None, and a factor between 0 and 1", got, "The defaults are 1 and exp(-1)")

    @property
    def layers(self) -> int:
        return self.max_layers

    def pilot(self, norm: NormBound, size: float) -> Pilot:
        return _RadialPilot(self, norm.value or 1.0, size)


class _RadialPilot:
    relaxation = 1.0
    keep_dual = False

    def __init__(self, rules: RadialSearch, norm: float, size: float) -> None:
        self._rules, self._norm = rules, norm
        self.tolerance = rules.tolerance
        self._size = size if 0 < size < math.inf else 1.0
        self._done: dict[tuple[int, int], tuple[int, int]] = {}  # (i, j): halvings U, layers V
        self._queue: list[tuple[float, int, int]] = []
        self._edge_i = self._edge_j = -1
        self._incumbent = math.inf
        self.hand_on: Literal["average", "last", "best"] = "best"
        self._next(rules.max_layers)

    def _guess(self, i: int, j: int) -> tuple[float, int]:
        """The radius and the layers of the next run of a guess."""
        halvings, _ = self._done.get((i, j), (0, 0))
        r = self._rules.factor
        # In units of ||y|| for the objective and ||y|| / ||A|| for x, so that no scale of the data matters.
        accuracy = max(r**halvings, 1e-15)
        beta = math.exp(j) if self._rules.beta is None else self._rules.beta
        delta = (2 * accuracy * math.exp(-i)) ** (1 / beta)
        return delta, max(1, math.ceil(min(2 * delta / max(r * accuracy, 1e-15), 1e9)))

    def _due(self, i: int, j: int) -> float:
        return (abs(i) + 1) ** 2 * (j + 1) ** 2 * (self._done.get((i, j), (0, 0))[1] + self._guess(i, j)[1])

    def _next(self, remaining: int) -> None:
        # Every guess is due at (|i| + 1)^2 (j + 1)^2 at the earliest: the queue is complete up to the next ring.
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
        halvings, spent = self._done.get((i, j), (0, 0))
        self._done[i, j] = (halvings + 1, spent + layers)
        heapq.heappush(self._queue, (self._due(i, j), i, j))
        radius = delta * self._size / self._norm
        self.tau, self.sigma = radius / self._norm, 1 / (radius * self._norm)
        self.until = min(layers, remaining)

    def content(self, objective: float, bound: float) -> bool:
        return within(self._rules.tolerance, objective, bound)

    def look(self, look: Look) -> Verdict:
        if look.objective < self._incumbent:
            self._incumbent, self.hand_on = look.objective, look.better
        else:
            self.hand_on = "best"
        kept = replace(look, last=self._incumbent, average=math.inf)
        verdict = _ended(self, kept, self._rules.max_layers)
        if verdict is None:
            self._next(self._rules.max_layers - look.layers)
        return verdict or "restart"

    def restarted(self, primal: float, dual: float) -> None:
        pass


# --- what a search did ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """Layers with one pair of steps, as numbers.

    Attributes:
        tau: Primal step.
        sigma: Dual step.
        layers: How many.
        relaxation: Their relaxation.
        hand_on: What is handed on, or after the last run returned.
        keep_dual: Whether the dual is handed on too.
    """

    tau: float
    sigma: float
    layers: int
    relaxation: float = 1.0
    hand_on: HandOn = "average"
    keep_dual: bool = True


@dataclass(frozen=True)
class FrozenSteps:
    """The steps that a search found, as a fixed schedule: a feed-forward network, the same for every y.

    Proven: nothing about other measurements than those it was found for; there it gives what the search gave.

    Attributes:
        runs: The runs, one after the other.
    """

    runs: tuple[Run, ...]

    def __post_init__(self) -> None:
        if not self.runs or any(r.layers < 1 for r in self.runs):
            raise BadInput("At least one run of at least one layer", f"{len(self.runs)} runs", "Freeze a solution")

    @property
    def layers(self) -> int:
        return sum(run.layers for run in self.runs)

    @property
    def steps(self) -> list[tuple[float, float]]:
        """The pair :math:`(\\tau,\\sigma)` of each layer."""
        return [(run.tau, run.sigma) for run in self.runs for _ in range(run.layers)]

    def restarts(self, norm: NormBound, size: Tensor) -> Iterator[Restart]:
        for run in self.runs:
            tau, sigma = (torch.full_like(size, step) for step in (run.tau, run.sigma))
            yield Restart(tau, sigma, run.layers, run.relaxation, run.hand_on, run.keep_dual)


@dataclass(frozen=True)
class Searched:
    """What a search did, image by image.

    Attributes:
        runs: For each batch item (flattened) its runs; those of a radial search that were not kept are left out.
    """

    runs: tuple[tuple[Run, ...], ...]

    def frozen(self, item: int | None = None) -> FrozenSteps:
        """The runs of one batch item as a schedule.

        Args:
            item: Which, in the order of the flattened batch; may be left out where there is only one.
        """
        if item is None and len(self.runs) != 1:
            raise BadInput("The number of a batch item", f"none, of {len(self.runs)} items", "Call frozen(item)")
        return FrozenSteps(self.runs[item or 0])


# --- schedules as plain data ------------------------------------------------------------------------------------------


def schedule_state(schedule: Schedule) -> dict[str, Any]:
    """Returns the class and the numbers of a schedule of this library as plain data; of another its name alone."""
    name = type(schedule).__name__
    if isinstance(schedule, FrozenSteps):
        return {"name": name, "runs": [asdict(run) for run in schedule.runs]}
    return {"name": name, **(asdict(schedule) if isinstance(schedule, _PLAIN) else {})}


def schedule_from(state: dict[str, Any]) -> Schedule:
    """Returns the schedule of a :func:`schedule_state`.

    Raises:
        BadInput: For a schedule that is not of this library, or other numbers than it has.
    """
    known = {made.__name__: made for made in _PLAIN}
    numbers = dict(state)
    name = numbers.pop("name", None)
    try:
        if name == FrozenSteps.__name__:
            return FrozenSteps(tuple(Run(**run) for run in numbers["runs"]))
        return known[name](**numbers)
    except (KeyError, TypeError) as error:
        needed = f"A schedule of this library: {', '.join(known)} or {FrozenSteps.__name__}"
        raise BadInput(needed, f"{name!r} ({error})", "Set the schedule by net.following(schedule)") from None


_PLAIN = (PaperSchedule, FixedSteps, AdaptiveRestarts, RadialSearch)
