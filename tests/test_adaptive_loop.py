"""The loop of searching schedules: gaps that bound, layers that need no tuning, precision, batches."""

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

from cases import Data, kinds, problem, relative
from firenet import Firenet, Matrix, Status
from firenet.operators import NormBound
from firenet.problems.gap import working_floor
from firenet.solver.adaptive import AdaptiveRestarts
from firenet.solver.controller import Check, Controller
from firenet.solver.iteration import Iteration, Values
from firenet.solver.radial import RadialSearch
from firenet.solver.schedules import searches
from firenet.solver.solution import Solution
from laws import SINGLE
from oracles import dual_bound
from searching import (
    ADAPTIVE,
    MORE,
    RADIAL,
    RADIAL_BETA,
    Searching,
    assert_proves,
    easy_and_hard,
    frozen,
    imaging,
    lambda_times,
    named,
    problems,
    runs,
    scaled,
    schedules,
    truth,
)

# ----------------------------------------------------------------------------------------------------------- the proof


@kinds
@problems
def test_adaptive_restarts_stop_at_the_tolerance(name: str, kind: str):
    data = MORE[name](kind).asked()
    # Sums of up to 60 products, there and back, in single precision.
    tolerance = max(1e-6, 2 * sum(data.A.shape) * data.eps)
    solution = data.net(AdaptiveRestarts(tolerance, 4000)).solve(data.measured)
    beyond_tolerance = assert_proves(data, solution)
    if data.rounding(solution.dual.numpy(), solution.objective.item()) > tolerance * solution.objective.item():
        # With small weights single precision may not get there; then it says so.
        assert data.precision == torch.float32
        assert (solution.statuses[0] is Status.TOLERANCE_REACHED) == (solution.relative_gap.item() <= tolerance)
        return
    assert solution.statuses == (Status.TOLERANCE_REACHED,)
    assert solution.relative_gap.item() <= tolerance
    assert -1e-12 <= beyond_tolerance <= 2.1 * tolerance
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
            points = [(layers.last, values.last, 0.0), (layers.average(), values.average, 0.0)]
            duals = [(layers.q, values.dual_last, 0.0), (layers.average_dual(), values.dual_average, 0.0)]
            if layers.factors is not None and bool(layers.factors[k].isfinite().all()):
                of_points, of_duals = self.rounding(layers, layers.factors[k].numpy(), k)
                points.append((layers.combination(), values.combination, of_points))
                duals.append((layers.dual("combination"), values.dual_combination, of_duals))
            for z, value, rounding in points:
                true = data.objective(layers.operator.unpack(z)[k])
                assert value[k].item() == pytest.approx(true, rel=1e-10, abs=rounding)
                lowest = min(lowest, true)
            for q, value, rounding in duals:
                true = dual_bound(data.A, data.y, data.w, data.lam, layers.operator.unpack_measured(q)[k].numpy())
                off = 1e-9 + rounding
                assert value[k].item() == pytest.approx(true, rel=off, abs=off * self.best.value)
                self.tightest = max(self.tightest, value[k].item())
            assert lowest - self.tightest >= lowest - self.best.value - 1e-10 * lowest
            self.gaps.append(lowest - self.tightest)
        return values

    def rounding(self, layers: Iteration, factors: np.ndarray, k: int) -> tuple[float, float]:
        """Bounds how far A and A* of a combination may be from the combined A and A* of its points: absolute, in the
        residual, and relative to the limits of A*q.

        Each is a sum of as many products as the matrix has columns or rows. Ax of a state is relaxed: of the rounding
        of a layer the next one keeps 0.8, so it sums up to less than 1.8 / (1 - 0.8) = 9 times that of one product.
        """
        A, states = np.abs(self.data.A), layers._recent[-len(factors) :]
        unit = 2.0**-53 * (sum(A.shape) + 8)
        pairs = [
            (abs(f), layers.operator.unpack(s.x)[k], layers.operator.unpack_measured(s.q)[k])
            for f, s in zip(factors, states, strict=True)
        ]
        x = sum(f * np.abs(x.numpy()) for f, x, _ in pairs)
        q = sum(f * np.abs(q.numpy()) for f, _, q in pairs)
        return 9 * unit * float(np.linalg.norm(A @ x)), unit * float(np.max(A.T @ q / (self.data.lam * self.data.w)))


@kinds
@pytest.mark.parametrize("name", ["12 x 24", "zero residual", "weights 1e-6 to 1e6", "norm 2^20"])
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
    data = problem(kind, 6, 10).asked()
    before = -math.inf
    ends = (Status.LAYER_LIMIT, Status.TOLERANCE_REACHED, *([Status.PRECISION_LIMIT] if SINGLE else []))
    for k in [*range(1, 13), 20, 30, 50, 101]:
        solution = data.net(replace(schedule, max_layers=k)).solve(data.measured)
        if solution.statuses == (Status.LAYER_LIMIT,):
            assert solution.layers.item() == k
        assert solution.statuses[0] in ends
        assert_proves(data, solution)
        bound = solution.objective.item() - solution.gap.item()
        # Which dual point is the best is decided in the precision of the layers.
        rounding = 2 * data.rounding(solution.dual.numpy(), solution.objective.item())
        assert k < 10 or bound >= before - rounding or k % 10
        before = bound if k % 10 == 0 else before


@schedules
@kinds
def test_the_looser_the_tolerance_the_fewer_layers(kind: str, schedule: Searching):
    data = problem(kind, 20, 40).asked()
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


# --------------------------------------------------------------------------------------------------- the steps it takes


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
            assert name in ("lambda above the largest", "one by one") or max(ratios) > 1.5 * min(ratios)
        else:
            assert len(steps) <= solution.layers.item()


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
    turn: int = 0

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
    assert counts[0] > max(counts[1:])  # combinations of points make up for a part of it


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
    first_weight: float  # what a problem gives to AdaptiveRestarts alone
    given: int = 0
    start = "adjoint"

    @property
    def layers(self) -> int:
        return max(rules.max_layers for rules in self.rules)

    def controller(self, norm: NormBound, size: float) -> Controller:
        self.given += 1
        return self.rules[self.given - 1].controller(norm, self.first_weight * size)


def test_items_are_looked_at_in_their_own_time():
    data, y = easy_and_hard("real")
    rules = [AdaptiveRestarts(10.0**-k, max_layers=999, check=check) for k, check in ((5, 7), (4, 10), (3, 4), (6, 3))]
    y = torch.stack([y[0], y[1], y[0], y[0]])
    first_weight = data.net(rules[0]).problem.compact().first_weight
    together = data.net(InTurn(rules, first_weight)).solve(y)
    assert together.statuses == (Status.TOLERANCE_REACHED,) * 4
    for k, (item, own) in enumerate(zip(y, rules, strict=True)):
        alone = data.net(own).solve(item)
        assert together.layers[k].item() == alone.layers.item()
        assert [run.layers for run in runs(together, k)] == [run.layers for run in runs(alone)]
        # The factors of a combination magnify rounding up to the inverse of its regularisation, 1e7.
        torch.testing.assert_close(together.image[k], alone.image, rtol=0, atol=1e-6)


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
    solution = net.solve(y)
    counts = sorted(solution.layers.tolist())
    assert counts[0] < counts[-1] / 2
    assert sum(operator.forth) < 0.9 * len(y) * counts[-1]
    if isinstance(schedule, AdaptiveRestarts):
        # As many items in each layer as are still on their way. For each that leaves one A and one A* more, to prove
        # its gap; one A* at the end, one of each for the first point, and one A for each restart from a combination.
        assert sum(operator.back) == sum(counts) + 3 * len(y)
        assert sum(operator.forth) == sum(counts) + 2 * len(y) + combinations(solution)
    else:
        assert set(operator.back[counts[-2] + 9 : -1]) == {1}
        assert set(operator.forth[-50:]) == {1}


def combinations(solution: Solution) -> int:
    """Counts the restarts from a combination."""
    items = range(solution.layers.numel())
    return sum(run.restart_point == "combination" for item in items for run in runs(solution, item)[:-1])


def test_a_layer_is_one_application_each_way():
    """Checks and restarts are free but for those from a combination: nothing but a layer's A and A*, and a few at the
    end.
    """
    data = problem("real", 20, 40)
    operator = Counting(torch.from_numpy(data.A))
    net = Firenet(operator, weights=torch.from_numpy(data.w), lam=data.lam, schedule=replace(ADAPTIVE, tolerance=1e-8))
    operator.forth.clear()  # of the check at the door
    operator.back.clear()
    solution = net.solve(data.measured)
    layers = solution.layers.item()
    assert layers >= 100
    assert layers <= len(operator.forth) - combinations(solution) <= layers + 4
    assert layers <= len(operator.back) <= layers + 4


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
        # The present gap: a restart may raise it for a while.
        assert solution.relative_gap.item() == pytest.approx(gaps[-1], rel=1e-3)
        assert gaps[0] > gaps[-1] > 0


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


# ------------------------------------------------------------------------------------------- what is asked and answered


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
