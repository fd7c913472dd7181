"""Searching schedules: gaps that bound, layers that need no tuning, batches, frozen networks and their gradients."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from draws import normal
from firenet import BadInput, Firenet, Matrix, Solution, Status, SubsampledFourier, Wavelet
from firenet.operators import NormBound
from firenet.problems.gap import working_floor
from firenet.sensing.fourier import MultiCoilFourier
from firenet.sensing.walsh import SubsampledWalsh
from firenet.solver import FixedSteps
from firenet.solver.adaptive import AdaptiveRestarts
from firenet.solver.controller import Check, Controller
from firenet.solver.iteration import Iteration, Values
from firenet.solver.radial import RadialSearch
from firenet.solver.schedules import FrozenSteps, Run, Searched, searches
from oracles import Optimum, dual_bound, optimum
from test_network import PROBLEMS, Data, kinds, problem, relative
from test_sensing import coil_maps, some

Searching = AdaptiveRestarts | RadialSearch
ADAPTIVE, RADIAL, RADIAL_BETA = AdaptiveRestarts(), RadialSearch(), RadialSearch(beta=None)
SCHEDULES: list[Searching] = [ADAPTIVE, RADIAL, RADIAL_BETA]


def named(schedule: Any) -> str:
    return f"{type(schedule).__name__} {getattr(schedule, 'beta', '')}".strip()


schedules = pytest.mark.parametrize("schedule", SCHEDULES, ids=named)


def largest_lambda(data: Data) -> float:
    return float((np.abs(data.A.conj().T @ data.y) / data.w).max() / np.linalg.norm(data.y))


@dataclass
class Scaled(Data):
    """A and lambda times a, y times b: the same problem in other units."""

    unit: Data
    a: float
    b: float


def scaled(data: Data, a: float = 1.0, b: float = 1.0) -> Scaled:
    return Scaled(data.A * a, data.y * b, data.w, data.lam * a, data, a, b)


def noiseless(kind: str) -> Data:
    return problem(kind, 20, 40, noise=0, lam=1e-2, spread=0)


def lambda_times(factor: float) -> Callable[[str], Data]:
    def make(kind: str) -> Data:
        data = problem(kind)
        data.lam = factor * largest_lambda(data)
        return data

    return make


MORE: dict[str, Callable[[str], Data]] = {
    **PROBLEMS,
    "y = Ax": noiseless,
    "lambda above the largest": lambda_times(1.5),
    "lambda just below the largest": lambda_times(0.98),
    "weights 1e-6 to 1e6": lambda kind: problem(kind, 20, 24, spread=6, lam=0.1),
    "norm 1e-6": lambda kind: scaled(problem(kind), 1e-6),
    "norm 1e6": lambda kind: scaled(problem(kind), 1e6),
}
problems = pytest.mark.parametrize("name", MORE)


def truth(data: Data) -> Optimum:
    """The optimum by Clarabel, in the units that suit it.

    A column whose norm is below its weight times lambda has the coefficient 0 (q has norm 1 at most); it is left out.
    """
    if isinstance(data, Scaled):
        best = truth(data.unit)
        return Optimum(best.x * (data.b / data.a), best.value * data.b, best.lower * data.b)
    x, size = np.zeros_like(data.A[0]), float(np.linalg.norm(data.y))
    keep = np.linalg.norm(data.A, axis=0) >= data.lam * data.w
    if not keep.any():
        return Optimum(x, size, size)
    unit = np.clip(data.w[keep], 0.01, 1)
    best = optimum(data.A[:, keep] / unit, data.y, data.w[keep] / unit, data.lam)
    x[keep] = best.x / unit
    return Optimum(x, best.value, best.lower)


def assert_proves(data: Data, solution: Solution) -> float:
    """The numbers of a solution, computed again in float64 without the solver; returns F - min F in units of F."""
    best = truth(data)
    value, size = data.objective(solution.coefficients), float(np.linalg.norm(data.y))
    eps = torch.finfo(solution.dual.dtype).eps
    # What is proved is computed in double precision whatever the dtype; NumPy's sums here lose as much again.
    floor = solution.rounding.item() + 1e-14 * (value + size)
    assert abs(solution.objective.item() - value) <= floor
    # The gap bounds the distance to the true optimum, which lies between best.lower and best.value.
    assert solution.gap.item() >= value - best.value - floor
    # And it is the gap of this point and this dual, which is feasible.
    q = solution.dual.numpy()
    bound = dual_bound(data.A, data.y, data.w, data.lam, q)
    # Where lambda and a weight are small, the rounding of A*q is large beside the limit that it must meet.
    relative_rounding = 10 * eps * np.linalg.norm(data.A, 2) / (data.lam * data.w.min())
    assert abs(value - bound - solution.gap.item()) <= floor + relative_rounding * value
    limit = 1 + 100 * eps
    assert np.linalg.norm(q) <= limit
    assert (np.abs(data.A.conj().T @ q) <= data.lam * data.w * limit + 10 * eps * np.linalg.norm(data.A, 2)).all()
    return (value - best.lower) / value


# ----------------------------------------------------------------------------------------------------------- the proof


@kinds
@problems
def test_adaptive_restarts_stop_at_the_tolerance(name: str, kind: str):
    data = MORE[name](kind)
    solution = data.net(AdaptiveRestarts(1e-6, 4000)).solve(data.measured)
    assert solution.statuses == (Status.TOLERANCE_REACHED,)
    assert solution.relative_gap.item() <= 1e-6
    assert -1e-12 <= assert_proves(data, solution) <= 2.1e-6
    assert solution.image.any() == (name != "lambda above the largest")


class Watched:
    """Looks over the shoulder of the loop: at every check, its numbers again in NumPy, from the state as it is."""

    def __init__(self, data: Data) -> None:
        self.data, self.best = data, truth(data)
        self.checks, self.tightest = 0, -math.inf
        self.gaps: list[float] = []
        self._evaluate = Iteration.evaluate

    def __call__(self, layers: Iteration) -> Values:
        values, data = self._evaluate(layers), self.data
        self.checks += 1
        for k in range(len(layers.y)):
            lowest = math.inf
            for z, value in ((layers.last, values.last), (layers.average(), values.average)):
                true = data.objective(layers.operator.unpack(z)[k])
                assert value[k].item() == pytest.approx(true, rel=1e-10)
                lowest = min(lowest, true)
            for q, value in ((layers.q, values.dual_last), (layers.average_dual(), values.dual_average)):
                true = dual_bound(data.A, data.y, data.w, data.lam, layers.operator.unpack_measured(q)[k].numpy())
                assert value[k].item() == pytest.approx(true, rel=1e-9, abs=1e-9 * self.best.value)
                self.tightest = max(self.tightest, value[k].item())
            assert lowest - self.tightest >= lowest - self.best.value - 1e-10 * lowest
            self.gaps.append(lowest - self.tightest)
        return values


@kinds
@pytest.mark.parametrize("name", ["12 x 24", "zero residual", "weights 1e-6 to 1e6", "norm 1e6"])
@pytest.mark.parametrize("schedule", [AdaptiveRestarts(1e-6), replace(RADIAL, max_layers=120)], ids=named)
def test_gap_bounds_the_suboptimality_at_every_look(
    name: str, kind: str, schedule: Searching, monkeypatch: pytest.MonkeyPatch
):
    data = MORE[name](kind)
    watched = Watched(data)
    monkeypatch.setattr(Iteration, "evaluate", lambda layers: watched(layers))
    solution = data.net(schedule).solve(data.measured)
    assert watched.checks >= 10
    # The proof rounds down: an entry of A*q that is a small sum of large products is held to its limit with all of
    # their rounding, which counts where a weight is small.
    sums = np.abs(data.A).T @ np.abs(solution.dual.numpy()) / (data.lam * data.w)
    rounding = 1e-10 + 2 * (len(data.y) + 8) * 2.0**-53 * float(sums.max())
    proved = solution.gap.item() <= min(watched.gaps) + rounding * watched.best.value
    assert proved or isinstance(schedule, RadialSearch)


@kinds
@pytest.mark.parametrize("schedule", [replace(ADAPTIVE, tolerance=1e-9), RADIAL, RADIAL_BETA], ids=named)
def test_gap_bounds_the_suboptimality_wherever_it_stops(kind: str, schedule: Searching):
    """After 1, 2, 3, ... layers; the number of layers is that asked for, and the dual bound never gets worse."""
    data = problem(kind, 6, 10)
    before = -math.inf
    for k in [*range(1, 13), 20, 30, 50, 101]:
        solution = data.net(replace(schedule, max_layers=k)).solve(data.measured)
        if solution.statuses == (Status.LAYER_LIMIT,):
            assert solution.layers.item() == k
        assert solution.statuses[0] in (Status.LAYER_LIMIT, Status.TOLERANCE_REACHED)
        assert_proves(data, solution)
        bound = solution.objective.item() - solution.gap.item()
        assert k < 10 or bound >= before - 1e-12 * abs(bound) or k % 10
        before = bound if k % 10 == 0 else before


@schedules
@kinds
def test_the_looser_the_tolerance_the_fewer_layers(kind: str, schedule: Searching):
    data = problem(kind, 20, 40)
    layers = []
    for tolerance in (0.3, 0.1, 0.03):
        solution = data.net(replace(schedule, tolerance=tolerance)).solve(data.measured)
        assert solution.statuses == (Status.TOLERANCE_REACHED,)
        assert solution.relative_gap.item() <= tolerance
        assert_proves(data, solution)
        layers.append(solution.layers.item())
    assert layers == sorted(layers)
    assert layers[0] < layers[-1]


@schedules
@kinds
def test_zero_measurements(kind: str, schedule: Searching):
    data = problem(kind)
    y = torch.stack([torch.zeros_like(data.measured), data.measured])
    solution = data.net(replace(schedule, tolerance=0.1)).solve(y)
    assert not solution.image[0].any()
    assert solution.objective[0].item() == solution.gap[0].item() == solution.relative_gap[0].item() == 0
    assert solution.statuses[0] is Status.TOLERANCE_REACHED
    assert solution.layers[0].item() <= 15
    assert not data.net(schedule)(y[0].requires_grad_()).any()


@schedules
@pytest.mark.parametrize("factor", [1.001, 10.0, 1e6])
@kinds
def test_above_the_largest_lambda_the_solution_is_zero(kind: str, factor: float, schedule: Searching):
    data = lambda_times(factor)(kind)
    solution = data.net(schedule).solve(data.measured)
    assert solution.statuses == (Status.TOLERANCE_REACHED,)
    assert solution.objective.item() == pytest.approx(float(np.linalg.norm(data.y)), rel=2.1e-4)
    if isinstance(schedule, AdaptiveRestarts):
        assert not data.net(replace(schedule, tolerance=1e-9)).solve(data.measured).image.any()


@kinds
@pytest.mark.parametrize(
    ("norm", "size"),
    [(1e-6, 1.0), (1e-3, 1e8), (0.5, 1.0), (3.0, 1.0), (1e3, 1e-8), (1e6, 1.0), (1.0, 1e-8), (1.0, 1e8), (1e-6, 1e-8)],
)
def test_units_change_nothing(norm: float, size: float, kind: str):
    """A ladder of operator norms, and data of any size: the same layers, the same runs, the same image."""
    data = problem(kind, 20, 40)
    schedule = AdaptiveRestarts(1e-6)
    expected = data.net(schedule).solve(data.measured)
    other = scaled(data, norm, size)
    solution = other.net(schedule).solve(other.measured)
    assert solution.statuses == expected.statuses == (Status.TOLERANCE_REACHED,)
    assert solution.layers.item() == expected.layers.item()
    assert relative(solution.image * (norm / size), expected.image) <= 1e-8
    assert [r.layers for r in runs(solution)] == [r.layers for r in runs(expected)]
    for mine, theirs in zip(runs(solution), runs(expected), strict=True):
        assert mine.tau * norm**2 / size == pytest.approx(theirs.tau, rel=1e-6)
        assert mine.restart_point == theirs.restart_point
    assert_proves(other, solution)


@pytest.mark.parametrize("schedule", [replace(RADIAL, max_layers=150), replace(RADIAL_BETA, max_layers=150)], ids=named)
@pytest.mark.parametrize(("norm", "size"), [(1.0, 1e-8), (1.0, 1e8), (1e-6, 1.0), (1e6, 1.0)])
def test_units_change_nothing_in_a_radial_search(norm: float, size: float, schedule: Searching):
    data = problem("complex", 20, 40)
    expected = data.net(schedule).solve(data.measured)
    other = scaled(data, norm, size)
    solution = other.net(schedule).solve(other.measured)
    assert solution.status == expected.status
    assert solution.layers.item() == expected.layers.item()
    assert relative(solution.image * (norm / size), expected.image) <= 1e-8
    assert [r.layers for r in runs(solution)] == [r.layers for r in runs(expected)]


def test_units_change_nothing_in_single_precision():
    data = problem("complex", 20, 40)
    layers = []
    for size in (1e-8, 1.0, 1e8):
        net = Firenet(Matrix(torch.from_numpy(data.A).to(torch.complex64)), lam=data.lam, schedule=ADAPTIVE)
        solution = net.solve((data.measured * size).to(torch.complex64))
        assert solution.statuses == (Status.TOLERANCE_REACHED,)
        layers.append(solution.layers.item())
    assert max(layers) - min(layers) <= ADAPTIVE.check  # rounding may put one look on either side


def test_no_power_of_two_changes_a_single_bit():
    data = problem("complex")
    solution = data.net(ADAPTIVE).solve(data.measured)
    other = data.net(ADAPTIVE).solve(data.measured * 2.0**-20)
    assert (other.image * 2.0**20).equal(solution.image)
    assert (other.gap * 2.0**20).equal(solution.gap)


# ------------------------------------------------------------------------------------------------- the steps it takes


def runs(solution: Solution, item: int = 0) -> tuple[Run, ...]:
    assert isinstance(solution.schedule, Searched)
    return solution.schedule.runs[item]


def frozen(solution: Solution, item: int | None = None) -> FrozenSteps:
    assert isinstance(solution.schedule, Searched)
    return solution.schedule.frozen(item)


@problems
def test_steps_are_found_and_are_not_equal(name: str):
    """tau and sigma move apart as the problem asks for it; their product stays 1 / norm^2, once for every layer."""
    data = MORE[name]("complex")
    for schedule in (AdaptiveRestarts(1e-6, 4000), replace(RADIAL, max_layers=100, tolerance=1e-6)):
        net = data.net(schedule)
        solution = net.solve(data.measured)
        steps = frozen(solution).steps
        norm = net.operator.norm_bound.value
        assert len(steps) == frozen(solution).layers == sum(run.layers for run in runs(solution))
        assert all(tau * sigma * norm**2 <= 1 + 1e-9 for tau, sigma in steps)
        assert all(tau * sigma * norm**2 >= 1 - 1e-9 for tau, sigma in steps)
        if isinstance(schedule, AdaptiveRestarts):
            assert len(steps) == solution.layers.item()
            ratios = [tau / sigma for tau, sigma in steps]
            assert name == "lambda above the largest" or max(ratios) > 1.5 * min(ratios)
        else:
            assert len(steps) <= solution.layers.item()


def test_the_first_steps_are_those_of_the_docstring():
    data = problem("real")
    net = data.net(replace(ADAPTIVE, max_layers=7))
    norm, size = net.operator.norm_bound.value, float(np.linalg.norm(data.y))
    (run,) = runs(net.solve(data.measured))
    assert run.layers == 7
    assert run.relaxation == ADAPTIVE.relaxation
    assert run.tau == pytest.approx(size / norm**2, rel=1e-14)
    assert run.sigma == pytest.approx(1 / size, rel=1e-14)


@dataclass
class Fixed:
    """A test's own controller: keeps its steps, tau / sigma fixed, and restarts whenever it is told."""

    tau: float
    sigma: float
    until: int = 10
    relaxation: float = 1.8
    restart_point: Any = "last"
    keep_dual: bool = True
    checks: list[Check] = field(default_factory=list)
    tolerance: float = 1e-6
    limit: int = 4000

    def converged(self, objective: float, bound: float) -> bool:
        return objective - bound <= self.tolerance * bound

    def decide(self, check: Check) -> Any:
        self.checks.append(check)
        self.restart_point = check.better
        if self.converged(check.objective, check.dual):
            return "tolerance"
        if check.layers >= self.limit:
            return "layers"
        self.until = 10
        return "go on"

    def restarted(self, primal: float, dual: float) -> None:
        raise AssertionError("it never restarts")


@dataclass
class Ratio:
    """A test's own searching schedule."""

    omega: float
    relaxation: float = 1.8
    controllers: list[Fixed] = field(default_factory=list)
    tolerance: float = 1e-6

    @property
    def layers(self) -> int:
        return 4000

    def controller(self, norm: NormBound, size: float) -> Controller:
        self.controllers.append(
            Fixed(self.omega / norm.value, 1 / (self.omega * norm.value), relaxation=self.relaxation)
        )
        return self.controllers[-1]


@kinds
@pytest.mark.parametrize(("omega", "relaxation"), [(0.25, 1.8), (4.0, 1.8), (4.0, 1.0), (1.0, 0.5)])
def test_unequal_steps_with_any_relaxation(kind: str, omega: float, relaxation: float):
    """tau != sigma, relaxed or not, without any restart: the optimum, and at every check a valid gap."""
    data = problem(kind, 20, 40)
    schedule = Ratio(omega, relaxation)
    solution = data.net(schedule).solve(data.measured)
    assert solution.statuses == (Status.TOLERANCE_REACHED,)
    assert assert_proves(data, solution) <= 2.1e-6
    best = truth(data)
    (controller,) = schedule.controllers
    for look in controller.checks:
        for value in (look.last, look.average):
            assert value >= best.lower - 1e-12 * best.value
        for bound in (look.dual, look.dual_last, look.dual_average):
            assert bound <= best.value + 1e-12 * best.value
        assert look.gap >= look.objective - best.value - 1e-12 * best.value
        floor = working_floor(2.0**-52, min(look.last, look.average), float(np.linalg.norm(data.y)))
        assert look.floor == pytest.approx(floor, rel=1e-12)
    assert [look.dual for look in controller.checks] == sorted(look.dual for look in controller.checks)
    assert searches(schedule)


@kinds
def test_relaxed_layers_are_fewer(kind: str):
    data = problem(kind, 20, 40)
    counts = [
        data.net(replace(ADAPTIVE, tolerance=1e-6, relaxation=rho)).solve(data.measured).layers.item()
        for rho in (0.5, 1.0, 1.8)
    ]
    assert counts[0] > counts[1] > counts[2]


# ------------------------------------------------------------------------------------------------------ its precision


@pytest.mark.parametrize("name", ["12 x 24", "zero residual", "rank one"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64, torch.complex128], ids=str)
def test_below_the_rounding_nothing_is_claimed(name: str, dtype: torch.dtype):
    """A tolerance that no precision can certify: an end, the advice, and a gap that holds up to the stated floor."""
    single = torch.finfo(dtype).bits == 32
    data = MORE[name]("complex" if dtype.is_complex else "real")
    A, y = (torch.from_numpy(t).to(dtype) for t in (data.A, data.y))
    # What the solver sees, in double precision.
    seen = Data(A.numpy().astype(data.A.dtype), y.numpy().astype(data.y.dtype), np.ones_like(data.w), data.lam)
    tolerance = 1e-12 if single else 1e-16
    solution = Firenet(Matrix(A), lam=data.lam, schedule=AdaptiveRestarts(tolerance, 100_000)).solve(y)
    assert solution.statuses == (Status.PRECISION_LIMIT,)
    assert "Double precision" in solution.statuses[0].advice
    assert solution.layers.item() <= 6000
    assert_proves(seen, solution)
    # It went as far as it could: near the floor, not just anywhere.
    assert solution.relative_gap.item() <= 1000 * torch.finfo(dtype).eps


@pytest.mark.parametrize("tolerance", [1e-12, 1e-7, 1e-6, 3e-6])
def test_single_precision_ends_at_any_tolerance(tolerance: float):
    """Near the floor a gap may seem met, and be none when it is measured anew."""
    for seed in range(3):
        data = problem("real", 20, 32, seed=seed)
        net = Firenet(Matrix(torch.from_numpy(data.A).float()), lam=0.1, schedule=AdaptiveRestarts(tolerance, 50_000))
        solution = net.solve(data.measured.float())
        assert solution.layers.item() < 10_000
        assert solution.statuses[0] in (Status.PRECISION_LIMIT, Status.TOLERANCE_REACHED)
        if solution.statuses[0] is Status.TOLERANCE_REACHED:
            assert solution.relative_gap.item() <= tolerance


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
def test_double_precision_reaches_1e_12(dtype: torch.dtype):
    data = problem("complex" if dtype.is_complex else "real", 20, 40)
    solution = data.net(AdaptiveRestarts(1e-12, 10_000)).solve(data.measured)
    assert solution.statuses == (Status.TOLERANCE_REACHED,)
    assert assert_proves(data, solution) <= 1e-8  # as far as Clarabel knows


@schedules
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64, torch.complex128], ids=str)
def test_the_precision_is_that_of_the_measurements(schedule: Searching, dtype: torch.dtype):
    data = problem("complex" if dtype.is_complex else "real", 20, 40)
    net = data.net(replace(schedule, tolerance=1e-2, max_layers=80)).to(dtype.to_real())
    solution = net.solve(data.measured.to(dtype))
    assert {solution.image.dtype, solution.coefficients.dtype, solution.dual.dtype} == {dtype}
    assert {solution.objective.dtype, solution.gap.dtype} == {torch.float64}
    assert solution.layers.dtype == torch.int64


@pytest.mark.parametrize("size", [1e300, 1e-300, 5e-324])
def test_data_at_the_ends_of_the_range(size: float):
    data = problem("real")
    data = scaled(data, b=size)
    solution = data.net(ADAPTIVE).solve(data.measured)
    assert solution.statuses[0] in (Status.NUMERICAL_ERROR, Status.TOLERANCE_REACHED, Status.LAYER_LIMIT)
    assert (solution.statuses[0] is Status.NUMERICAL_ERROR) == (not math.isfinite(solution.gap.item()))


# -------------------------------------------------------------------------------------------------------------- batches


def easy_and_hard(kind: str) -> tuple[Data, Tensor]:
    """One item that is above the largest lambda's reach of a signal (noise only), one that is a sparse signal."""
    data = problem(kind, 20, 40)
    easy = torch.from_numpy(data.A[:, 0] + 0)
    return data, torch.stack([data.measured, easy, 1e-3 * data.measured.flip(0), 0 * easy])


@pytest.mark.parametrize("schedule", [replace(ADAPTIVE, tolerance=1e-6), replace(RADIAL, tolerance=3e-2)], ids=named)
@kinds
def test_batch_is_loop(kind: str, schedule: Searching):
    data, y = easy_and_hard(kind)
    net = data.net(schedule)
    together = net.solve(y.view(2, 2, -1))
    assert together.statuses == (Status.TOLERANCE_REACHED,) * 4
    counts = together.layers.flatten().tolist()
    assert len(set(counts)) >= 3
    for k, item in enumerate(y):
        alone = net.solve(item)
        assert alone.layers.item() == counts[k]
        # A radial search may at the end take either of two points whose objectives differ by rounding only.
        by_number = isinstance(schedule, AdaptiveRestarts)
        # So may the dual point.
        for name in ("image", "coefficients"):
            mine = getattr(together, name).flatten(0, 1)[k]
            torch.testing.assert_close(mine, getattr(alone, name), rtol=0, atol=1e-9 * float(y[0].abs().max()))
        torch.testing.assert_close(together.objective.flatten()[k], alone.objective, rtol=1e-10, atol=0)
        if not by_number:
            continue
        size = 1e-10 * alone.objective.item()
        torch.testing.assert_close(together.gap.flatten()[k], alone.gap, rtol=0, atol=size)
        mine, theirs = runs(together, k), runs(alone)
        assert [(r.layers, r.restart_point, r.keep_dual) for r in mine] == [
            (r.layers, r.restart_point, r.keep_dual) for r in theirs
        ]
        for a, b in zip(mine, theirs, strict=True):
            assert a.tau == pytest.approx(b.tau, rel=1e-5)


@dataclass
class InTurn:
    """A test's own searching schedule: the items of a batch have different rules, looked at after different layers."""

    rules: list[AdaptiveRestarts]
    given: int = 0

    @property
    def layers(self) -> int:
        return max(rules.max_layers for rules in self.rules)

    def controller(self, norm: NormBound, size: float) -> Controller:
        self.given += 1
        return self.rules[self.given - 1].controller(norm, size)


def test_items_are_looked_at_in_their_own_time():
    data, y = easy_and_hard("real")
    rules = [AdaptiveRestarts(10.0**-k, max_layers=999, check=check) for k, check in ((5, 7), (4, 10), (3, 4), (6, 3))]
    y = torch.stack([y[0], y[1], y[0], y[0]])
    together = data.net(InTurn(rules)).solve(y)
    assert together.statuses == (Status.TOLERANCE_REACHED,) * 4
    for k, (item, own) in enumerate(zip(y, rules, strict=True)):
        alone = data.net(own).solve(item)
        assert together.layers[k].item() == alone.layers.item()
        assert [run.layers for run in runs(together, k)] == [run.layers for run in runs(alone)]
        torch.testing.assert_close(together.image[k], alone.image, rtol=0, atol=1e-9)


def test_order_in_the_batch_does_not_matter():
    data, y = easy_and_hard("complex")
    net = data.net(replace(ADAPTIVE, tolerance=1e-5))
    there, back = net.solve(y), net.solve(y.flip(0))
    assert there.layers.equal(back.layers.flip(0))
    torch.testing.assert_close(there.image, back.image.flip(0), rtol=0, atol=1e-9)


class Counting(Matrix):
    """A matrix that writes down how many items it was given each time."""

    def __init__(self, matrix: Tensor) -> None:
        super().__init__(matrix)
        self.forth: list[int] = []
        self.back: list[int] = []

    def _forward(self, x: Tensor) -> Tensor:
        self.forth.append(x[..., 0].numel())
        return super()._forward(x)

    def _adjoint(self, y: Tensor) -> Tensor:
        self.back.append(y[..., 0].numel())
        return super()._adjoint(y)


@pytest.mark.parametrize("schedule", [replace(ADAPTIVE, tolerance=1e-6), replace(RADIAL, tolerance=3e-3)], ids=named)
def test_finished_items_cost_nothing_more(schedule: Searching):
    data, y = easy_and_hard("real")
    operator = Counting(torch.from_numpy(data.A))
    net = Firenet(operator, weights=torch.from_numpy(data.w), lam=data.lam, schedule=schedule)
    operator.forth.clear()  # of the check at the door
    operator.back.clear()
    counts = sorted(net.solve(y).layers.tolist())
    assert counts[0] < counts[-1] / 2
    assert sum(operator.forth) < 0.9 * len(y) * counts[-1]
    if isinstance(schedule, AdaptiveRestarts):
        # As many items in each layer as are still on their way. For each that leaves one A and one A* more, to prove
        # its gap; one A* at the end.
        assert sum(operator.back) == sum(counts) + 2 * len(y)
        assert sum(operator.forth) == sum(counts) + len(y)
    else:
        assert set(operator.back[counts[-2] + 9 : -1]) == {1}
        assert set(operator.forth[-50:]) == {1}


def test_a_layer_is_one_application_each_way():
    """Looks and restarts are free: nothing but a layer's A and A*, and a few at the end."""
    data = problem("real", 20, 40)
    operator = Counting(torch.from_numpy(data.A))
    net = Firenet(operator, weights=torch.from_numpy(data.w), lam=data.lam, schedule=replace(ADAPTIVE, tolerance=1e-8))
    operator.forth.clear()  # of the check at the door
    operator.back.clear()
    layers = net.solve(data.measured).layers.item()
    assert layers >= 200
    assert layers <= len(operator.forth) <= layers + 3
    assert layers <= len(operator.back) <= layers + 3


def test_progress_is_told():
    data = problem("real")
    for schedule in (replace(ADAPTIVE, max_layers=73, tolerance=1e-12), replace(RADIAL, max_layers=73)):
        done: list[int] = []
        limits: list[int] = []

        gaps: list[float] = []

        def tell(layers: int, limit: int, gap: float | None, to: Any = (done, limits, gaps)) -> None:
            for numbers, number in zip(to, (layers, limit, gap), strict=True):
                numbers.append(number)

        solution = data.net(schedule).solve(data.measured, progress=tell)
        assert set(limits) == {73}
        assert done == sorted(set(done))
        assert done[-1] == solution.layers.item() == 73
        assert len(done) >= 5
        assert solution.relative_gap.item() == pytest.approx(min(gaps), rel=1e-3)
        assert gaps[0] > 10 * gaps[-1] > 0


# --------------------------------------------------------------------------------------------------------------- frozen


def imaging(kind: str) -> tuple[Firenet, Tensor]:
    rng = np.random.default_rng(1)
    mask = some((16, 16), share=0.5)
    image = torch.from_numpy(np.kron(rng.integers(0, 3, (4, 4)), np.ones((4, 4)))).to(torch.complex128)
    nets = {
        "Fourier": lambda: Firenet(SubsampledFourier(mask), Wavelet((16, 16), "haar", 2), lam=0.02),
        "padded": lambda: Firenet(SubsampledFourier(mask[:, :13]), Wavelet((16, 13), "db2", 2), lam=0.02),
        "coils": lambda: Firenet(
            MultiCoilFourier(mask, coil_maps(2, (16, 16))), Wavelet((16, 16), "haar", 2), lam=0.02
        ),
        "Walsh": lambda: Firenet(SubsampledWalsh(mask), Wavelet((16, 16), "haar", 2), lam=0.02),
    }
    net = nets[kind]()
    y = net.sensing(image[:, : net.sensing.in_shape[1]] if kind != "Walsh" else image.real)
    return net, y + 0.01 * net.sensing.restrict(normal(y.shape, dtype=y.dtype, seed=0))


def assert_freezes(net: Firenet, y: Tensor, solution: Solution, x0: Tensor | None = None) -> None:
    for k, item in enumerate(y.reshape(-1, *net.sensing.out_shape)):
        schedule = frozen(solution, k)
        image = solution.image.reshape(-1, *net.sensing.in_shape)[k]
        still = net.following(schedule)
        assert still.sensing is net.sensing
        size = image.abs().max().item() or 1.0
        assert (still(item, x0) - image).abs().max().item() <= 1e-6 * size
        again = still.solve(item, x0=x0)
        assert (again.image - image).abs().max().item() <= 1e-6 * size
        assert again.objective.item() == pytest.approx(solution.objective.flatten()[k].item(), rel=1e-6)
        assert again.layers.item() == schedule.layers <= solution.layers.flatten()[k].item()
        if k:
            continue
        with torch.enable_grad():
            derived = still(item.clone().requires_grad_(), x0).detach()
        assert (derived - image).abs().max().item() <= 1e-6 * size


@pytest.mark.parametrize(
    "schedule",
    [
        replace(ADAPTIVE, tolerance=1e-3),
        replace(ADAPTIVE, max_layers=47, relaxation=1.0, check=7),
        replace(ADAPTIVE, max_layers=33, tolerance=1e-9),
        replace(RADIAL, max_layers=60),
        replace(RADIAL_BETA, max_layers=60),
    ],
    ids=str,
)
@kinds
def test_frozen_is_adaptive(kind: str, schedule: Searching):
    data, y = easy_and_hard(kind)
    net = data.net(schedule)
    assert_freezes(net, y[:1], net.solve(y[0]))
    assert_freezes(net, y, net.solve(y))
    x0 = torch.ones(40, dtype=y.dtype)
    assert_freezes(net, y[:2], net.solve(y[:2], x0=x0), x0)


FEW = replace(ADAPTIVE, max_layers=60)


@pytest.mark.parametrize(
    ("kind", "schedule"),
    [*((kind, FEW) for kind in ("Fourier", "padded", "coils", "Walsh")), ("padded", replace(RADIAL, max_layers=60))],
    ids=lambda case: case if isinstance(case, str) else named(case),
)
def test_frozen_is_adaptive_for_images(kind: str, schedule: Searching):
    net, y = imaging(kind)
    net = net.following(schedule)
    y = torch.stack([y, net.sensing.restrict(y.flip(-1))])
    solution = net.solve(y)
    assert_freezes(net, y, solution)
    with torch.no_grad():
        assert net(y).equal(solution.image)


def test_frozen_in_single_precision():
    net, y = imaging("Fourier")
    net = net.following(ADAPTIVE).to(torch.float32)
    y = y.to(torch.complex64)
    solution = net.solve(y)
    image = net.following(frozen(solution))(y)
    assert relative(image, solution.image) <= 1e-4


def test_frozen_steps_serve_other_measurements():
    """They are a plain network: the same layers for every y, in batches too."""
    data, y = easy_and_hard("complex")
    still = data.net(frozen(data.net(ADAPTIVE).solve(y[0])))
    together = still.solve(y)
    assert together.layers.tolist() == [still.schedule.layers] * len(y)
    for k, item in enumerate(y):
        torch.testing.assert_close(together.image[k], still(item), rtol=1e-9, atol=1e-12)
    assert not searches(still.schedule)


def test_which_item_to_freeze_must_be_said():
    data, y = easy_and_hard("real")
    did = data.net(replace(ADAPTIVE, tolerance=0.1)).solve(y[:2]).schedule
    assert isinstance(did, Searched)
    with pytest.raises(BadInput) as caught:
        did.frozen()
    assert "2 items" in caught.value.got
    assert did.frozen(0).runs == did.runs[0]
    assert did.frozen(1).runs == did.runs[1]
    assert Searched(did.runs[:1]).frozen() == did.frozen(0)


def test_frozen_steps_list_each_layer():
    first, second = Run(0.5, 2.0, 3), Run(0.25, 4.0, 2, 1.8, "last", False)
    schedule = FrozenSteps((first, second))
    assert schedule.layers == 5
    assert schedule.steps == [(0.5, 2.0)] * 3 + [(0.25, 4.0)] * 2
    size = torch.tensor([[0.0, 1.0], [2.0, 1e30]], dtype=torch.float64)
    made = list(schedule.restarts(NormBound(1.0, "exact", "a test"), size))
    for restart, run in zip(made, schedule.runs, strict=True):
        assert restart.tau.equal(torch.full_like(size, run.tau))
        assert restart.sigma.equal(torch.full_like(size, run.sigma))
        assert restart.layers == run.layers
        assert (restart.relaxation, restart.restart_point, restart.keep_dual) == (
            run.relaxation,
            run.restart_point,
            run.keep_dual,
        )


@pytest.mark.parametrize("bad", [(), (Run(1.0, 1.0, 0),), (Run(1.0, 1.0, 3), Run(1.0, 1.0, -1))], ids=len)
def test_frozen_steps_without_layers_are_refused(bad: tuple[Run, ...]):
    with pytest.raises(BadInput) as caught:
        FrozenSteps(bad)
    assert f"{len(bad)} runs" in caught.value.got


def test_frozen_steps_are_checked_against_the_norm():
    """A network frozen for one operator is no network for a larger one."""
    data = problem("real")
    schedule = frozen(data.net(ADAPTIVE).solve(data.measured))
    larger = scaled(data, 1.1)
    with pytest.raises(BadInput, match=r"tau \* sigma \* norm\^2 <= 1"):
        larger.net(schedule)(data.measured)


# ------------------------------------------------------------------------------------------------------------ gradients


@kinds
@pytest.mark.parametrize(
    "schedule", [replace(ADAPTIVE, max_layers=12, check=3), replace(RADIAL, max_layers=16)], ids=named
)
def test_gradcheck_of_a_frozen_network(kind: str, schedule: Searching):
    data = problem(kind, 3, 4)
    # At the measurements it was found for, the first layer's dual has norm 1, where its gate has a kink.
    still = data.net(frozen(data.net(schedule).solve(0.9 * data.measured)))
    assert len(still.schedule.runs) >= 2  # type: ignore[union-attr]
    y = data.measured.clone().requires_grad_()
    assert torch.autograd.gradcheck(still, (y,), fast_mode=False)
    x0 = torch.ones(4, dtype=y.dtype, requires_grad=True)
    assert torch.autograd.gradcheck(still, (y, x0), fast_mode=True)
    assert torch.autograd.gradcheck(lambda v: still(v, checkpoint=7), (y,), fast_mode=True)


@pytest.mark.parametrize("checkpoint", [None, 10])
@pytest.mark.parametrize("schedule", [ADAPTIVE, replace(RADIAL, max_layers=60)], ids=named)
def test_gradient_of_a_search_is_that_of_the_frozen_network(schedule: Searching, checkpoint: int | None):
    data, y = easy_and_hard("complex")
    net, y = data.net(schedule), y[:3]
    solution = net.solve(y)
    y.requires_grad_()
    direction = normal(3, 40, dtype=y.dtype, seed=0)
    image = net(y, checkpoint=checkpoint)
    torch.testing.assert_close(image.detach(), solution.image, rtol=0, atol=1e-9)
    (gradient,) = torch.autograd.grad(image, y, direction)
    assert gradient.abs().flatten(1).max(1).values.all()
    for k in range(3):
        item = y[k].detach().requires_grad_()
        (expected,) = torch.autograd.grad(net.following(frozen(solution, k))(item), item, direction[k])
        torch.testing.assert_close(gradient[k], expected, rtol=1e-7, atol=1e-12)


def test_gradient_of_an_image_with_a_first_image():
    net, y = imaging("Fourier")
    net = net.following(replace(ADAPTIVE, tolerance=1e-3))
    x0 = torch.ones(16, 16, dtype=y.dtype, requires_grad=True)
    solution = net.solve(y, x0=x0.detach())
    y = y.requires_grad_()
    gradients = torch.autograd.grad(net(y, x0).abs().sum(), [y, x0])
    expected = torch.autograd.grad(net.following(frozen(solution))(y, x0).abs().sum(), [y, x0])
    for a, b in zip(gradients, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-10)


# ------------------------------------------------------------------------------------------------------ how many layers


def layers_by_decade(net: Callable[[AdaptiveRestarts], Firenet], y: Tensor, decades: int) -> list[int]:
    """How many layers each decade of the tolerance costs, 1e-1 first."""
    counts = [0]
    for k in range(1, decades + 1):
        solution = net(AdaptiveRestarts(10.0**-k, 20_000)).solve(y)
        assert solution.statuses == (Status.TOLERANCE_REACHED,)
        counts.append(int(solution.layers.item()))
    return [after - before for before, after in itertools.pairwise(counts)]


@pytest.mark.parametrize("name", ["Gaussian", "Fourier"])
def test_depth_grows_linearly_in_the_digits(name: str):
    """Each digit costs about as much as the others: the last no more than three times the median."""
    if name == "Gaussian":
        data = problem("real", 60, 120, noise=1e-3, lam=0.05, spread=0)
        costs = layers_by_decade(data.net, data.measured, 8)
    else:
        net, y = imaging("Fourier")
        costs = layers_by_decade(net.following, y, 8)
    assert costs[-1] <= 3 * float(np.median(costs))
    assert sum(costs) <= 12 * 3 * float(np.median(costs))


# ----------------------------------------------------------------------------------------------- what it is and refuses


@pytest.mark.parametrize(
    ("make", "arguments"),
    [
        *(
            (make, {"tolerance": bad})
            for make in (AdaptiveRestarts, RadialSearch)
            for bad in (0.0, -1.0, 1.0, math.nan)
        ),
        *((make, {"max_layers": bad}) for make in (AdaptiveRestarts, RadialSearch) for bad in (0, -5)),
        (AdaptiveRestarts, {"check": 0}),
        (AdaptiveRestarts, {"check": -1}),
        *((AdaptiveRestarts, {"relaxation": bad}) for bad in (0.0, 2.0, -1.0, math.nan, math.inf)),
        *((AdaptiveRestarts, {"sufficient": bad}) for bad in (0.0, -0.1, 0.9, 1.0, math.nan)),
        *((AdaptiveRestarts, {"necessary": bad}) for bad in (0.1, 1.0, math.nan)),
        *((AdaptiveRestarts, {"longest": bad}) for bad in (0.0, 1.0, -1.0, math.nan)),
        *((RadialSearch, {"beta": bad}) for bad in (0.5, 0.0, -1.0, math.nan)),
        *((RadialSearch, {"factor": bad}) for bad in (0.0, 1.0, -0.5, math.nan)),
    ],
    ids=str,
)
def test_refusals_name_the_argument_and_its_value(make: Any, arguments: dict[str, Any]):
    with pytest.raises(BadInput) as caught:
        make(**arguments)
    ((name, value),) = arguments.items()
    assert f"{name}={value}" in caught.value.got
    assert caught.value.do


@schedules
def test_a_tolerance_beside_the_schedules_own_is_refused(schedule: Searching):
    data = problem("real")
    with pytest.raises(BadInput) as caught:
        data.net(schedule).solve(data.measured, tolerance=0.01)
    assert "0.01" in caught.value.got


def test_defaults():
    assert AdaptiveRestarts() == AdaptiveRestarts(1e-4, 2000, 10, 1.8, 0.2, 0.8, 0.36)
    assert RadialSearch() == RadialSearch(1e-4, 10000, 1.0, math.exp(-1))
    assert AdaptiveRestarts(max_layers=7).layers == 7
    assert RadialSearch(max_layers=7).layers == 7
    assert all(searches(schedule) for schedule in SCHEDULES)
    assert not searches(FixedSteps())


@schedules
@kinds
def test_the_same_question_has_the_same_answer(kind: str, schedule: Searching):
    """To the bit, from fresh and from used networks and schedules; nothing is drawn."""
    data = problem(kind)
    schedule = replace(schedule, max_layers=200)
    net, state = data.net(schedule), torch.get_rng_state()
    first = net.solve(data.measured)
    for other in (net, copy.deepcopy(net), data.net(replace(schedule))):
        again = other.solve(data.measured.clone())
        assert again.image.equal(first.image)
        assert again.gap.equal(first.gap)
        assert again.dual.equal(first.dual)
        assert again.layers.equal(first.layers)
        assert again.schedule == first.schedule
    assert torch.get_rng_state().equal(state)


@schedules
def test_arguments_stay_as_they_are(schedule: Searching):
    data, y = easy_and_hard("complex")
    net = data.net(replace(schedule, max_layers=60))
    x0 = torch.ones(40, dtype=y.dtype)
    kept = y.clone(), x0.clone()
    net.solve(y, x0=x0)
    net(y, x0)
    assert y.equal(kept[0])
    assert x0.equal(kept[1])


def test_a_warm_start_is_soon_there():
    data = problem("complex", 20, 40)
    cold = data.net(ADAPTIVE).solve(data.measured)
    closer = data.net(replace(ADAPTIVE, tolerance=1e-9)).solve(data.measured)
    warm = data.net(ADAPTIVE).solve(data.measured, x0=closer.image)
    assert warm.statuses == (Status.TOLERANCE_REACHED,)
    assert warm.layers.item() < cold.layers.item()


def test_relative_gap_is_that_of_the_solution():
    data, y = easy_and_hard("real")
    solution = data.net(replace(ADAPTIVE, tolerance=1e-3)).solve(y)
    ratio = torch.where(solution.objective > 0, solution.gap / solution.lower_bound, 0.0)  # one item is zero
    torch.testing.assert_close(solution.relative_gap, ratio, rtol=1e-15, atol=0)
    torch.testing.assert_close(solution.gap, solution.objective - solution.lower_bound, rtol=1e-15, atol=0)
    assert solution.gap.shape == solution.objective.shape == solution.layers.shape == (4,)


# ------------------------------------------------------------------------------------------------------- radial search


def guesses(schedule: RadialSearch, layers: int, norm: float = 1.0, size: float = 1.0) -> list[tuple[float, int]]:
    """What a controller tries when nothing ever gets better: the radius omega of each run and its layers."""
    controller = schedule.controller(NormBound(norm, "exact", "a test"), size)
    tried, done = [], 0
    while True:
        tried.append((math.sqrt(controller.tau / controller.sigma), controller.until))
        assert controller.tau * controller.sigma * norm**2 == pytest.approx(1, rel=1e-12)
        done += controller.until
        verdict = controller.decide(Check(done, 1.0, 1.0, -1.0, -1.0, -1.0, 0.0))
        if done >= layers:
            assert verdict == "layers"
            return tried
        assert verdict == "restart"
        controller.restarted(1.0, 1.0)


@pytest.mark.parametrize("factor", [math.exp(-1), 0.5])
def test_guesses_are_those_of_the_docstring(factor: float):
    """With beta = 1, in units of the size: run U of guess i has the radius 2 r^U e^-i and ceil(4 e^-i / r) layers."""
    tried = guesses(RadialSearch(max_layers=600, factor=factor), 600)[:-1]  # the last run may have been cut
    cost = {i: math.ceil(4 * math.exp(-i) / factor) for i in range(-2, 3)}  # more than one layer: it tells i
    assert min(cost.values()) > 1
    for i, layers in cost.items():
        radii = [omega for omega, n in tried if n == layers]
        assert radii == pytest.approx([2 * factor**u * math.exp(-i) for u in range(len(radii))], rel=1e-9)
        # Guess i is given k layers by the time (|i| + 1)^2 k.
        spent = (abs(i) + 1) ** 2 * layers * len(radii)
        others = [(abs(j) + 1) ** 2 * cost[j] * (sum(n == cost[j] for _, n in tried) - 1) for j in cost if j != i]
        assert spent + (abs(i) + 1) ** 2 * layers >= max(others)


def test_a_free_beta_tries_other_exponents():
    fixed, free = guesses(RadialSearch(max_layers=2000), 2000), guesses(RadialSearch(max_layers=2000, beta=None), 2000)
    assert sum(layers for _, layers in fixed) == sum(layers for _, layers in free) == 2000
    # Radii (2 e^-i)^(1 / e) belong to beta = e only.
    radii = [(2 * math.exp(-i)) ** (1 / math.e) for i in (-1, 0, 1)]
    assert all(any(omega == pytest.approx(r, rel=1e-9) for omega, _ in free) for r in radii)
    assert not any(any(omega == pytest.approx(r, rel=1e-9) for omega, _ in fixed) for r in radii)


@pytest.mark.parametrize(("norm", "size"), [(1e-6, 1.0), (1e6, 1.0), (1.0, 1e-8), (3.0, 1e8)])
def test_guesses_scale_with_norm_and_size(norm: float, size: float):
    for schedule in (RadialSearch(max_layers=500), RadialSearch(max_layers=500, beta=None)):
        for (a, n), (b, m) in zip(guesses(schedule, 500, norm, size), guesses(schedule, 500), strict=True):
            assert n == m
            assert a * norm / size == pytest.approx(b, rel=1e-9)


@kinds
def test_a_radial_search_never_gets_worse(kind: str):
    """All guesses share one incumbent: more layers never have a higher objective; those that failed leave no trace."""
    data = problem(kind, 6, 10)
    values = [
        data.net(RadialSearch(1e-9, max_layers=k)).solve(data.measured).objective.item() for k in (11, 22, 60, 150, 400)
    ]
    assert values == sorted(values, reverse=True)
    assert values[0] > values[-1]


@schedules
def test_an_unlucky_pilot_says_layers_at_the_limit(schedule: Searching):
    controller = replace(schedule, max_layers=30).controller(NormBound(1.0, "exact", "a test"), 1.0)
    done, verdict = 0, ""
    while done < 30:
        done += controller.until
        verdict = controller.decide(Check(done, 2.0, 3.0, -1.0, -1.0, -1.0, 0.0))
        assert verdict in (("go on", "restart") if done < 30 else ("layers",))
        if verdict == "restart":
            controller.restarted(1.0, 1.0)
    assert done == 30
    assert verdict == "layers"


@schedules
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_ends_at_once(schedule: Searching, value: float):
    controller = schedule.controller(NormBound(1.0, "exact", "a test"), 1.0)
    assert controller.decide(Check(controller.until, value, value, -1.0, -1.0, -1.0, 0.0)) == "not finite"


@schedules
def test_a_gap_of_less_than_nothing_proves_no_more_than_the_floor(schedule: Searching):
    """Objective and bound agree to all digits: with a floor above the tolerance that is the limit of the precision."""
    for floor, expected in ((1e-3, "precision"), (1e-9, "tolerance")):
        controller = schedule.controller(NormBound(1.0, "exact", "a test"), 1.0)
        assert controller.decide(Check(controller.until, 1.0, 1.0, 1.0 + 1e-12, 1.0, 1.0, floor)) == expected


# ---------------------------------------------------------------------------------------------------- adaptive restarts


def verdicts(rules: AdaptiveRestarts, *checks: tuple[int, float], floor: float = 1e-15) -> list[str]:
    """What a controller says at these layers to these gaps."""
    controller, said = rules.controller(NormBound(1.0, "exact", "a test"), 1.0), []
    for layers, gap in checks:
        said.append(controller.decide(Check(layers, 1 + gap, 9.0, 1.0, 1.0, -9.0, floor)))
        if said[-1] == "restart":
            controller.restarted(1.0, 1.0)
    return said


def test_restarts_follow_the_rules():
    """Sufficient fall, necessary fall with a rise, and the longest run: by the gaps a controller is shown."""
    rules = AdaptiveRestarts(1e-12, max_layers=10_000, sufficient=0.2, necessary=0.8, longest=0.36)
    # One run of 1010 layers is too long: a restart, by which the others are measured.
    start = ((1000, 1.0), (1010, 1.0))
    assert verdicts(rules, *start) == ["go on", "restart"]

    def after(*gaps: float, longest: float = 0.36) -> list[str]:
        checks = [(1020 + 10 * k, gap) for k, gap in enumerate(gaps)]
        return verdicts(replace(rules, longest=longest), *start, *checks)[2:]

    assert after(0.21, 0.19) == ["go on", "restart"]
    assert after(0.19) == ["restart"]
    assert after(0.7, 0.6, 0.61) == ["go on", "go on", "restart"]
    assert after(0.9, 0.81, 0.82) == ["go on", "go on", "go on"]  # not the necessary fall
    assert after(0.5, 0.51, 0.4, 0.103, 0.5) == ["go on", "restart", "go on", "go on", "go on"]  # 0.2 of 0.51 = 0.102
    assert after(0.5, 0.51, 0.4, 0.101) == ["go on", "restart", "go on", "restart"]
    # A run of n layers after 1010 is too long when n >= longest (1010 + n).
    assert after(*[0.9] * 6, longest=0.05).index("restart") == 5
    assert "restart" not in after(*[0.9] * 5, longest=0.05)


def test_a_search_that_goes_round_in_its_rounding_ends():
    """Near the floor and no better for two hundred layers, or half of those it took to come here."""
    rules = AdaptiveRestarts(1e-12, max_layers=100_000)
    floor = 1e-9
    said = verdicts(rules, *((layers, 50 * floor) for layers in range(10, 400, 10)), floor=floor)
    assert said.index("precision") == 20
    said = verdicts(rules, (1000, 50 * floor), *((layers, 49 * floor) for layers in range(1010, 1600, 10)), floor=floor)
    assert said.index("precision") == 50
    # Far from the floor it goes on, however slow.
    assert "precision" not in verdicts(rules, *((layers, 200 * floor) for layers in range(10, 2000, 10)), floor=floor)
    # At the floor it ends at once, and a tolerance that is met comes first.
    assert verdicts(rules, (10, 0.9 * floor), floor=floor) == ["precision"]
    assert verdicts(AdaptiveRestarts(1e-8), (10, 0.9 * floor), floor=floor) == ["tolerance"]


def test_restarts_take_the_better_of_the_two():
    rules = AdaptiveRestarts(1e-9)
    for last, average, expected in ((2.0, 3.0, "last"), (3.0, 2.0, "average")):
        controller = rules.controller(NormBound(1.0, "exact", "a test"), 1.0)
        controller.decide(Check(10, 9.0, 9.0, 1.0, 1.0, 1.0, 1e-15))
        assert controller.decide(Check(20, last, average, 1.0, 1.0, 1.0, 1e-15)) == "restart"
        assert controller.restart_point == expected
        # And at the end the point with the lower objective, whatever its own dual.
        assert controller.decide(Check(2000, last, average, 1.0, 1.0, 1.0, 1e-15)) == "layers"
        assert controller.restart_point == expected


@pytest.mark.parametrize(
    ("primal", "dual", "factor"), [(4.0, 1.0, 2.0), (1.0, 4.0, 0.5), (1.0, 0.0, 1.0), (0.0, 1.0, 1.0)]
)
def test_the_primal_weight_is_the_geometric_mean(primal: float, dual: float, factor: float):
    controller = ADAPTIVE.controller(NormBound(2.0, "exact", "a test"), 2.0)  # omega = 1
    assert (controller.tau, controller.sigma) == (0.5, 0.5)
    controller.restarted(primal, dual)
    assert controller.tau == pytest.approx(factor / 2, rel=1e-14)
    assert controller.sigma == pytest.approx(1 / (2 * factor), rel=1e-14)
