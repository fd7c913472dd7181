"""Schedules: the steps of each layer and the restarts. Step sizes are chosen only here and by the controllers.

One layer is one iteration of the primal-dual method with steps :math:`(\\tau,\\sigma)`, which must satisfy
:math:`\\tau\\sigma\\|A\\|^2\\le1`; a run is a number of layers with one pair of steps, and the next run restarts from
its average, its last point, or a combination of its last points. The paper rescales the data at each restart instead;
by homogeneity of the objective that is equivalent to a choice of :math:`(\\tau,\\sigma)`, and data are never rescaled
here.

There are two kinds of schedule. A fixed schedule (:class:`PaperSchedule`, :class:`FixedSteps`, :class:`FrozenSteps`)
lists its runs in advance: the network is feed-forward. A searching schedule (:class:`AdaptiveRestarts`,
:class:`RadialSearch`) gives each image a step-size controller (:class:`.Controller`) that checks the gap every few
iterations and decides; the steps that it chose can be frozen into a fixed schedule.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from firenet.errors import BadInput
from firenet.numerics import readable
from firenet.operators.norm_bound import NormBound
from firenet.solver.controller import FirstPoint, RestartPoint, SearchingSchedule, plain_numbers

if TYPE_CHECKING:
    from typing_extensions import TypeIs


@dataclass(frozen=True, eq=False)
class Restart:
    """A run of layers with one pair of steps.

    Attributes:
        tau: Primal step, one float64 number per batch item, in the unit of x over the unit of A*q.
        sigma: Dual step.
        layers: The number of layers.
        relaxation: :math:`0<\\rho<2`, the same for all batch items.
        restart_point: The point from which the next run starts.
        keep_dual: Whether the next run starts from the dual point of the same kind; if not, its dual point is zero.
        combination: If the restart point is a combination, the factors of the last points, see
            :meth:`.Iteration.combine`.
    """

    tau: Tensor
    sigma: Tensor
    layers: int
    relaxation: float = 1.0
    restart_point: RestartPoint = "average"
    keep_dual: bool = False
    combination: tuple[float, ...] = ()


class FixedSchedule(Protocol):
    """A schedule that lists its runs in advance."""

    @property
    def layers(self) -> int:
        """The number of layers of all runs."""
        ...

    def restarts(self, norm: NormBound, size: Tensor) -> Iterator[Restart]:
        """Yields the runs for an operator whose norm is bounded by ``norm`` and measurements of norm ``size`` (a
        batch)."""
        ...


Schedule = FixedSchedule | SearchingSchedule


def first_point(schedule: Schedule) -> FirstPoint:
    """Returns the point from which a schedule starts without a warm start: its attribute ``start``, or zero."""
    return getattr(schedule, "start", "zero")


def searches(schedule: Schedule) -> TypeIs[SearchingSchedule]:
    """Returns whether a schedule searches for its steps."""
    return isinstance(schedule, SearchingSchedule)


@dataclass(frozen=True)
class PaperSchedule:
    """The schedule of the paper: accuracies that decrease geometrically, each reached by the same number of layers.

    .. math::
        \\varepsilon_k=\\nu(\\delta+\\varepsilon_{k-1}),\\quad\\beta_k=\\varepsilon_k/(2\\|A\\|),
        \\quad\\tau_k=p\\beta_k/\\|A\\|,\\quad\\sigma_k=1/(p\\beta_k\\|A\\|).

    The first accuracy :math:`\\varepsilon_0` is ``size``, a bound :math:`b_2` of the norms of all measurements: then
    the network has the same steps for all of them, as in the theorem. If ``size`` is None, it is :math:`\\|y\\|_2`
    itself: then for c > 0 the image for :math:`cy` is c times that for y, if :math:`\\delta` is multiplied by c, too.

    Proven: if A has the weighted robust null space property in levels and ``inner`` is at least
    :math:`2C_2\\|A\\|/\\nu`, ``lam`` is :math:`C_1/(C_2\\sqrt\\xi)` and ``delta`` at least :meth:`.Guarantee.misfit`,
    then after k restarts the objective exceeds that of the true signal by at most :math:`\\varepsilon_k`.
    :math:`C_1`, :math:`C_2` and :math:`\\xi` are those of :class:`firenet.guarantees.Constants`, and
    :class:`firenet.guarantees.Guarantee` has the numbers for an operator. The default ``inner=10`` is far below that
    number: with it the schedule is a good heuristic, and the guarantee is the duality gap that comes with the result.

    Attributes:
        outer: Number of restarts, n.
        inner: Number of layers of each restart, p.
        delta: The smallest accuracy :math:`\\delta>0` to aim at, in the unit of :math:`\\|y\\|`.
        nu: Factor :math:`0<\\nu<1` by which the accuracy decreases; :math:`e^{-1}` needs the fewest layers.
        size: The bound :math:`b_2` of the measurements' norms; None is the norm of each.
    """

    outer: int = 10
    inner: int = 10
    delta: float = 1e-9
    nu: float = math.exp(-1)
    size: float | None = None

    def __post_init__(self) -> None:
        plain_numbers(self)
        if self.outer < 1 or self.inner < 1:
            got = f"outer={self.outer}, inner={self.inner}"
            raise BadInput("At least one restart and one layer in each", got, "Use positive numbers")
        if not (self.delta > 0 and math.isfinite(self.delta)) or not 0 < self.nu < 1:
            got = f"delta={self.delta}, nu={self.nu}"
            raise BadInput("delta > 0 and nu between 0 and 1", got, "The defaults are 1e-9 and exp(-1)")
        if self.size is not None and not 0 < self.size < math.inf:
            raise BadInput("size > 0, finite", f"size={self.size}", "Give a bound of the norms of all measurements")

    @property
    def layers(self) -> int:
        """The number of layers of all runs."""
        return self.outer * self.inner

    def restarts(self, norm: NormBound, size: Tensor) -> Iterator[Restart]:
        """Yields the runs, see :meth:`FixedSchedule.restarts`.

        Raises:
            BadInput: For measurements whose norm is above ``size``, if numbers can be read (:func:`.readable`).
        """
        length = norm.value or 1.0  # for the zero operator all steps are valid
        if self.size is not None:
            if readable(size) and bool((size > self.size * (1 + 1e-12)).any()):  # the norms are rounded
                do = "Make the network for a larger size, or divide the measurements and multiply the image by a number"
                raise BadInput(f"Measurements of norm at most {self.size:.6g}", f"{float(size.max()):.6g}", do)
            size = torch.full_like(size, self.size)
        epsilon = size
        for _ in range(self.outer):
            epsilon = self.nu * (self.delta + epsilon)
            scale = self.inner * epsilon / (2 * length)  # p beta
            yield Restart(scale / length, 1 / (scale * length), self.inner)


@dataclass(frozen=True)
class FixedSteps:
    """A single run: ``count`` layers with the steps :math:`(\\tau,\\sigma)=(\\omega,1/\\omega)/\\|A\\|`.

    Proven for (P3) in synthesis form: the objective at the average exceeds the optimum by at most
    :math:`\\frac{\\|A\\|}{k}\\big(\\frac{\\|x^*-x^0\\|^2}{\\omega}+\\omega\\big)` after k layers, for the first point
    :math:`x^0` and a minimiser :math:`x^*` (Chambolle and Pock).

    Attributes:
        count: Number of layers.
        omega: Primal weight :math:`\\omega>0`, in the unit of x; None is :math:`\\|y\\|_2/\\|A\\|`, the size of x.
    """

    count: int = 300
    omega: float | None = None

    def __post_init__(self) -> None:
        plain_numbers(self)
        if self.count < 1 or not (self.omega is None or (self.omega > 0 and math.isfinite(self.omega))):
            got = f"count={self.count}, omega={self.omega}"
            raise BadInput("count >= 1 and omega > 0", got, "Leave omega out to have it set by the data")

    @property
    def layers(self) -> int:
        """The number of layers."""
        return self.count

    def restarts(self, norm: NormBound, size: Tensor) -> Iterator[Restart]:
        """Yields the run, see :meth:`FixedSchedule.restarts`."""
        length = norm.value or 1.0
        own = torch.where(size > 0, (size / length).clamp(1e-305, 1e305), 1.0)
        omega = own if self.omega is None else torch.full_like(size, self.omega)
        yield Restart(omega / length, 1 / (omega * length), self.count)


# --- the steps that a searching schedule chose ------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """A run of layers with one pair of steps, as plain numbers.

    Attributes:
        tau: Primal step.
        sigma: Dual step.
        layers: The number of layers.
        relaxation: The relaxation factor of these layers.
        restart_point: The point from which the next run starts, or after the last run the point that is returned.
        keep_dual: Whether the next run starts from the dual point of the same kind; if not, its dual point is zero.
        combination: If the restart point is a combination, the factors of the last points of the run, whose sum is one.
    """

    tau: float
    sigma: float
    layers: int
    relaxation: float = 1.0
    restart_point: RestartPoint = "average"
    keep_dual: bool = True
    combination: tuple[float, ...] = ()


@dataclass(frozen=True)
class FrozenSteps:
    """The steps that a searching schedule chose, as a fixed schedule: a feed-forward network, the same for every y.

    For the measurements that they were chosen for, the network gives the same image; for others nothing is proven
    in advance.

    Attributes:
        runs: The runs, one after the other.
        start: The first point, if none is given: zero, or :math:`A^*y/\\|A\\|^2` (``adjoint``).
    """

    runs: tuple[Run, ...]
    start: FirstPoint = "zero"

    def __post_init__(self) -> None:
        if not self.runs or any(r.layers < 1 for r in self.runs):
            do = "Take solution.schedule.frozen()"
            raise BadInput("At least one run of at least one layer", f"{len(self.runs)} runs", do)
        if any((r.restart_point == "combination") != (0 < len(r.combination) <= r.layers) for r in self.runs):
            do = "Take solution.schedule.frozen()"
            raise BadInput("Factors for the points of each combination, at most one for each layer", "other counts", do)
        if self.start not in ("zero", "adjoint"):
            raise BadInput("start: zero or adjoint", repr(self.start), "Choose one")

    @property
    def layers(self) -> int:
        """The number of layers of all runs."""
        return sum(run.layers for run in self.runs)

    @property
    def steps(self) -> list[tuple[float, float]]:
        """The pair :math:`(\\tau,\\sigma)` of each layer."""
        return [(run.tau, run.sigma) for run in self.runs for _ in range(run.layers)]

    def restarts(self, norm: NormBound, size: Tensor) -> Iterator[Restart]:
        """Yields the runs, the same for every operator and all measurements."""
        for run in self.runs:
            tau, sigma = (torch.full_like(size, step) for step in (run.tau, run.sigma))
            yield Restart(tau, sigma, run.layers, run.relaxation, run.restart_point, run.keep_dual, run.combination)


@dataclass(frozen=True)
class Searched:
    """The runs of a searching schedule, for each image.

    Attributes:
        runs: For each batch item (flattened) its runs; those whose result was discarded are left out.
        start: The first point, see :class:`FrozenSteps`.
    """

    runs: tuple[tuple[Run, ...], ...]
    start: FirstPoint = "zero"

    def frozen(self, item: int | None = None) -> FrozenSteps:
        """Returns the runs of one batch item as a fixed schedule.

        Args:
            item: The index in the flattened batch; may be left out for a batch of one.
        """
        if item is None and len(self.runs) != 1:
            raise BadInput("The index of a batch item", f"no index for {len(self.runs)} items", "Call frozen(item)")
        return FrozenSteps(self.runs[item or 0], self.start)
