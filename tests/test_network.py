"""The network: against Clarabel, against the paper's algorithm in NumPy, and its solution's every number."""

from __future__ import annotations

import copy
import io
import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import numpy as np
import pytest
import torch
from torch import Tensor

from draws import normal, uniform
from firenet import (
    AdaptiveRestarts,
    BadInput,
    Firenet,
    LinearOperator,
    Matrix,
    MultiCoilFourier,
    PaperSchedule,
    SparsityLevels,
    Status,
    SubsampledFourier,
    SubsampledWalsh,
    Wavelet,
)
from firenet.operators import NormBound, VerticalStack
from firenet.problems import SynthesisProblem
from firenet.solver import FixedSteps
from firenet.solver.schedules import FixedSchedule, Restart, Schedule
from firenet.transforms import TightFrame
from oracles import affine_layers, fourier_of_wavelet, objective, optimum, paper_network, soft

Iterate = Literal["average", "last", "best"]
ITERATES: tuple[Iterate, ...] = ("average", "last", "best")
iterates = pytest.mark.parametrize("iterate", ITERATES)
kinds = pytest.mark.parametrize("kind", ["real", "complex"])


EPS = torch.finfo(torch.float64).eps


def numbers(rng: np.random.Generator, kind: str, *shape: int) -> np.ndarray:
    x = rng.standard_normal(shape)
    return x if kind == "real" else (x + 1j * rng.standard_normal(shape)) / math.sqrt(2)


def relative(a: Any, b: Any) -> float:
    """The distance of a from b, as a part of b."""
    return float(np.linalg.norm(np.asarray(a) - np.asarray(b)) / np.linalg.norm(np.asarray(b)))


@dataclass
class Data:
    """One small problem, in NumPy."""

    A: np.ndarray
    y: np.ndarray
    w: np.ndarray
    lam: float

    def net(self, schedule: Schedule, iterate: Iterate = "average") -> Firenet:
        A, w = torch.from_numpy(self.A), torch.from_numpy(self.w)
        return Firenet(Matrix(A), weights=w, lam=self.lam, schedule=schedule, iterate=iterate)

    @property
    def measured(self) -> Tensor:
        return torch.from_numpy(self.y)

    def objective(self, z: Tensor) -> float:
        return objective(self.A, self.y, self.w, self.lam, z.detach().numpy())

    def infeasible(self, dual: np.ndarray) -> float:
        """How far above 1 a constraint of a feasible dual point may be computed: a sum of m products is off by m u of
        the magnitudes, there and here, and they may be far larger than a small lambda w. Eight for norm and scaling."""
        magnitudes = np.abs(self.A).T @ np.abs(dual) / (self.lam * self.w)
        return (len(self.A) + 8) * EPS * max(1.0, float(magnitudes.max()))

    def rounding(self, dual: np.ndarray, value: float) -> float:
        """How far a computed gap may be off: the sums of F, and the dual value with what its point is infeasible."""
        data = float(np.linalg.norm(self.y))
        return sum(self.A.shape) * EPS * (value + data) + self.infeasible(dual) * data


def problem(
    kind: str,
    m: int = 12,
    n: int = 24,
    *,
    lam: float = 0.3,
    spread: float = 0.3,
    noise: float = 0.1,
    scale: float = 1.0,
    seed: int = 0,
) -> Data:
    """A sparse signal measured by a Gaussian matrix. Weights between 10^-spread and 10^spread."""
    rng = np.random.default_rng(seed)
    A = numbers(rng, kind, m, n) / math.sqrt(m)
    x = np.zeros(n, A.dtype)
    s = max(n // 8, 1)
    x[rng.choice(n, s, replace=False)] = 1 + numbers(rng, kind, s)
    y = A @ x + noise * numbers(rng, kind, m) / math.sqrt(m)
    w = 10 ** rng.uniform(-spread, spread, n)
    w[0], w[-1] = 10**spread, 10**-spread
    return Data(A * scale, y * scale, w, lam * scale)


def rows_twice(kind: str) -> Data:
    data = problem(kind, 8, 20)
    return Data(np.vstack([data.A, data.A]), np.concatenate([data.y, data.y]), data.w, data.lam)


def columns_twice(kind: str) -> Data:
    data = problem(kind, 12, 10)
    return Data(np.hstack([data.A, data.A]), data.y, np.concatenate([data.w, data.w]), data.lam)


def rank_one(kind: str) -> Data:
    data = problem(kind, 12, 24)
    return Data(data.A[:, :1] @ data.A[:1], data.y, data.w, 0.03)


PROBLEMS: dict[str, Callable[[str], Data]] = {
    "12 x 24": problem,
    "20 x 40": lambda kind: problem(kind, 20, 40),
    "zero residual": lambda kind: problem(kind, 20, 40, noise=0, lam=1e-2, spread=0),
    "weights 1e-3 to 1e3": lambda kind: problem(kind, 20, 24, spread=3, lam=0.1),
    "more rows than columns": lambda kind: problem(kind, 30, 20),
    "rows twice": rows_twice,
    "columns twice": columns_twice,
    "rank one": rank_one,
    "one by one": lambda kind: problem(kind, 1, 1, lam=0.03),
}


# ---------------------------------------------------------------------------------------------------- against Clarabel


@kinds
@pytest.mark.parametrize("name", PROBLEMS)
def test_reaches_the_optimum(name: str, kind: str):
    data = PROBLEMS[name](kind)
    best = optimum(data.A, data.y, data.w, data.lam)
    solution = data.net(FixedSteps(2500), "last").solve(data.measured)
    value = data.objective(solution.coefficients)
    assert solution.objective.item() == pytest.approx(value, rel=1e-12)
    assert abs(value - best.value) <= 1e-6 * best.value
    assert -1e-12 * value <= solution.gap.item() - (value - best.value) <= 1e-5 * best.value
    assert np.count_nonzero(best.x)
    if name == "zero residual":
        assert np.linalg.norm(data.A @ best.x - data.y) <= 1e-6 * np.linalg.norm(data.y)


@kinds
@iterates
def test_zero_measurements_give_zero(kind: str, iterate: Iterate):
    data = problem(kind)
    for schedule in (PaperSchedule(3, 4), FixedSteps(12)):
        solution = data.net(schedule, iterate).solve(torch.zeros_like(data.measured), tolerance=1e-12)
        assert not solution.image.abs().any()
        assert solution.objective.item() == solution.gap.item() == solution.relative_gap.item() == 0
        assert solution.statuses == (Status.TOLERANCE_REACHED,)


@kinds
@pytest.mark.parametrize("factor", [1.001, 10.0, 1e6])
def test_above_the_largest_lambda_the_solution_is_zero(kind: str, factor: float):
    data = problem(kind)
    largest = float((np.abs(data.A.conj().T @ data.y) / data.w).max() / np.linalg.norm(data.y))
    data.lam = factor * largest
    solution = data.net(FixedSteps(1000), "last").solve(data.measured)
    assert not solution.image.abs().any()
    assert solution.objective.item() == pytest.approx(float(np.linalg.norm(data.y)), rel=1e-14)
    assert solution.gap.item() <= 1e-14 * solution.objective.item()
    data.lam = 0.9 * largest
    assert data.net(FixedSteps(1000), "last").solve(data.measured).image.abs().any()


@kinds
def test_zero_residual_with_tiny_lambda_keeps_a_valid_gap(kind: str):
    """The imaging regime: the residual's own dual is useless, the iteration's is not."""
    data = problem(kind, 20, 40, noise=0, lam=1e-6, spread=0)
    best = optimum(data.A, data.y, data.w, data.lam)
    solution = data.net(PaperSchedule(12, 100), "best").solve(data.measured)
    off = data.objective(solution.coefficients) - best.lower
    size = float(np.linalg.norm(data.y))
    assert -1e-15 * size <= off <= solution.gap.item() + 1e-12 * size
    assert solution.gap.item() <= 1e-5 * size


@pytest.mark.parametrize("schedule", [FixedSteps(200), PaperSchedule(5, 20, 1e-3)], ids=str)
@pytest.mark.parametrize("data_scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("norm_scale", [1e-6, 0.1, 0.5, 1.0, 3.0, 1e6])
def test_every_rung_of_the_norm_ladder_gives_the_same(
    norm_scale: float, data_scale: float, schedule: FixedSteps | PaperSchedule
):
    """A, lambda times s and y times c: the problem is the same, and the solution c / s times it."""
    data = problem("complex")
    expected = data.net(schedule).solve(data.measured)
    scaled = Data(data.A * norm_scale, data.y * data_scale, data.w, data.lam * norm_scale)
    if isinstance(schedule, PaperSchedule):
        schedule = replace(schedule, delta=schedule.delta * data_scale)
    solution = scaled.net(schedule).solve(scaled.measured)
    assert relative(solution.image * (norm_scale / data_scale), expected.image) <= 1e-10
    assert solution.relative_gap.item() == pytest.approx(expected.relative_gap.item(), rel=1e-8)
    assert solution.status == expected.status
    best = optimum(data.A, data.y, data.w, data.lam)
    assert solution.objective.item() / data_scale == pytest.approx(best.value, rel=0.05)  # and it is near the optimum


@pytest.mark.parametrize(("wavelet", "levels"), [("haar", 4), ("db2", 2)])
def test_images_against_the_dense_problem(wavelet: str, levels: int):
    rng = np.random.default_rng(0)
    mask = rng.random((16, 16)) < 0.4
    mask[0, 0] = True
    dense = fourier_of_wavelet(mask, wavelet, levels)
    image = np.kron(rng.integers(0, 3, (4, 4)), np.ones((4, 4))) * np.exp(1j * np.linspace(0, 1, 16))
    k = np.fft.fft2(image, norm="ortho") * mask + 0.05 * mask * numbers(rng, "complex", 16, 16)
    w = 10 ** rng.uniform(-0.3, 0.3, (16, 16))
    best = optimum(dense, k[mask], w.ravel(), 0.05)
    net = Firenet(
        SubsampledFourier(torch.from_numpy(mask)),
        Wavelet((16, 16), wavelet, levels),
        weights=torch.from_numpy(w),
        lam=0.05,
        schedule=FixedSteps(1500),
        iterate="last",
    )
    solution = net.solve(torch.from_numpy(k))
    value = objective(dense, k[mask], w.ravel(), 0.05, solution.coefficients.numpy().ravel())
    assert abs(value - best.value) <= 1e-6 * best.value
    assert value - best.value <= solution.gap.item() <= 1e-4 * best.value
    # The image is the synthesis of the coefficients: its spectrum is what the dense matrix gives.
    spectrum = np.fft.fft2(solution.image.numpy(), norm="ortho")[mask]
    np.testing.assert_allclose(spectrum, dense @ solution.coefficients.numpy().ravel(), atol=1e-11)


def random_mask(*shape: int) -> Tensor:
    return uniform(shape, seed=sum(shape)) < 0.6


OPERATORS: dict[str, Callable[[], tuple[LinearOperator, TightFrame | None]]] = {
    "Fourier, odd sides": lambda: (SubsampledFourier(random_mask(10, 7)), Wavelet((10, 7), "haar", 2)),
    "Fourier, centred, no transform": lambda: (SubsampledFourier(random_mask(31), centred=True), None),
    "Walsh": lambda: (SubsampledWalsh(random_mask(8, 8)), Wavelet((8, 8), "db2", 1)),
    "coils": lambda: coils(torch.complex128),
    "stack": lambda: (
        VerticalStack([SubsampledFourier(random_mask(4, 8)), SubsampledFourier(random_mask(4, 8).flip(0))]),
        Wavelet((4, 8), "haar"),
    ),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_other_operators_against_the_dense_problem(name: str):
    """Their matrices come from the operators themselves; that these are right, test_operators.py says."""
    sensing, frame = OPERATORS[name]()
    rng = np.random.default_rng(6)
    dtype = torch.float64 if name == "Walsh" else torch.complex128
    y = sensing.restrict(normal(sensing.out_shape, dtype=dtype, seed=rng))
    net = Firenet(sensing, frame, lam=0.2, schedule=FixedSteps(800), iterate="last")
    dense = net.operator.as_matrix().numpy()
    dense = dense if dtype.is_complex else np.real(dense)
    ones = np.ones(dense.shape[1])
    rows = np.abs(dense).sum(axis=1) > 0
    best = optimum(dense[rows], y.flatten().numpy()[rows], ones, 0.2)
    solution = net.solve(y)
    value = objective(dense, y.flatten().numpy(), ones, 0.2, solution.coefficients.flatten().numpy())
    assert np.count_nonzero(best.x)
    assert abs(value - best.value) <= 1e-6 * best.value
    assert -1e-12 * value <= solution.gap.item() - (value - best.value) <= 1e-5 * best.value
    assert solution.image.shape == sensing.in_shape


# -------------------------------------------------------------------------------------------------------- tau != sigma


@dataclass(frozen=True)
class Unequal:
    """A test's own schedule: the steps (ratio tau_k, sigma_k / ratio) of another."""

    schedule: FixedSchedule
    ratio: float
    product: float = 1.0

    @property
    def layers(self) -> int:
        return self.schedule.layers

    def restarts(self, norm: NormBound, size: Tensor) -> Iterator[Restart]:
        for r in self.schedule.restarts(norm, size):
            yield Restart(r.tau * self.ratio * self.product, r.sigma / self.ratio, r.layers)


@kinds
@pytest.mark.parametrize("ratio", [4.0, 0.25])
def test_unequal_steps_reach_the_optimum(kind: str, ratio: float):
    """tau = 4/L, sigma = 1/(4L), and the reverse."""
    data = problem(kind)
    best = optimum(data.A, data.y, data.w, data.lam)
    schedule = Unequal(FixedSteps(1500, omega=1.0), ratio)
    norm = data.net(schedule).operator.norm_bound
    (steps,) = schedule.restarts(norm, torch.ones((), dtype=torch.float64))
    assert steps.tau.item() == pytest.approx(ratio / norm.value)
    assert steps.sigma.item() == pytest.approx(1 / (ratio * norm.value))
    solution = data.net(schedule, "last").solve(data.measured)
    assert abs(data.objective(solution.coefficients) - best.value) <= 1e-6 * best.value


@kinds
@pytest.mark.parametrize("ratio", [4.0, 0.25])
def test_roles_of_unequal_steps_are_not_swapped(kind: str, ratio: float):
    """The reference code swaps them, invisibly while they are equal (peers.md, A.4)."""
    data = problem(kind, noise=0)
    schedule = PaperSchedule(6, 15, delta=1e-6, nu=0.5)
    net = data.net(Unequal(schedule, ratio))
    norm = net.operator.norm_bound.value
    right, swapped = (
        paper_network(data.A, data.y, data.w, data.lam, 6, 15, 1e-6, 0.5, norm=norm, steps=steps)
        for steps in ((ratio / norm, 1 / (ratio * norm)), (1 / (ratio * norm), ratio / norm))
    )
    assert relative(net(data.measured), right) <= 1e-10
    assert relative(net(data.measured), swapped) > 0.05


def test_swapped_roles_would_not_recover_the_signal():
    """What the swap costs: at tau = 4/L the signal is there after 20 restarts of 20 layers; swapped, 39 % are not."""
    rng = np.random.default_rng(0)
    A = rng.standard_normal((20, 30)) / math.sqrt(20)
    x = np.zeros(30)
    x[[3, 11, 20]] = 1, -2, 1.5
    data = Data(A, A @ x, np.ones(30), 0.1)
    net = data.net(Unequal(PaperSchedule(20, 20), 4.0))
    norm = net.operator.norm_bound.value
    assert relative(net(data.measured), x) <= 1e-8
    swapped = paper_network(
        A, data.y, data.w, 0.1, 20, 20, 1e-9, math.exp(-1), norm=norm, steps=(0.25 / norm, 4 / norm)
    )
    assert relative(swapped, x) > 0.3


@pytest.mark.parametrize("product", [1.0001, 1.25, 1e6, math.nan, math.inf], ids=str)
def test_steps_that_are_too_long_are_refused_with_the_numbers(product: float):
    data = problem("complex")
    net = data.net(Unequal(FixedSteps(5), 4.0, product))
    y = data.measured
    for run in (net, net.solve, lambda y: net(torch.stack([0 * y, y]))):
        with pytest.raises(BadInput) as caught:
            run(y)
        assert "tau * sigma * norm^2 <= 1" in caught.value.needed
        assert f"{product:.6g}" in caught.value.got
        assert f"{net.operator.norm_bound.value:.6g}" in caught.value.got


@pytest.mark.parametrize("product", [1.0, 0.5, 1e-6], ids=str)
def test_steps_up_to_the_limit_are_taken(product: float):
    data = problem("complex")
    assert data.net(Unequal(FixedSteps(5), 4.0, product))(data.measured).isfinite().all()


@pytest.mark.parametrize("other", [1.0, 0.0, 1e300], ids=["plain", "zero", "norm overflows"])
def test_one_item_with_steps_that_are_too_long_is_enough(other: float):
    """Whatever the others of the batch are."""

    @dataclass(frozen=True)
    class OneBad:
        layers: int = 2

        def restarts(self, norm: NormBound, size: Tensor) -> Iterator[Restart]:
            tau = torch.full_like(size, 1 / norm.value)
            sigma = tau.clone()
            sigma[1] *= 2
            yield Restart(tau, sigma, 2)

    data = problem("real")
    y = torch.stack([data.measured] * 3)
    y[2] = other
    with pytest.raises(BadInput, match="Got 2 "):
        data.net(OneBad())(y)


# ----------------------------------------------------------------------------------------------- the paper's algorithm


@kinds
@pytest.mark.parametrize("scale", [1e-2, 0.3, 1.0, 30.0, 1e3])
@pytest.mark.parametrize(
    ("outer", "inner", "delta", "nu"),
    [(1, 6, 1e-9, 0.5), (8, 12, 1e-9, math.exp(-1)), (5, 30, 0.1, 0.7), (30, 3, 1e-4, 0.9)],
    ids=str,
)
def test_golden(kind: str, scale: float, outer: int, inner: int, delta: float, nu: float):
    """The network with data never rescaled is the paper's algorithm, which rescales them at each restart."""
    rng = np.random.default_rng(outer)
    A = numbers(rng, kind, 14, 25)
    A *= scale / np.linalg.norm(A, 2)
    data = Data(A, numbers(rng, kind, 14), 10 ** rng.uniform(-1, 1, 25), 0.05 * scale)
    net = data.net(PaperSchedule(outer, inner, delta, nu))
    norm = net.operator.norm_bound.value
    assert norm == pytest.approx(scale, rel=1e-12)
    expected = paper_network(A, data.y, data.w, data.lam, outer, inner, delta, nu, norm=norm)
    assert np.count_nonzero(expected)
    assert relative(net(data.measured), expected) <= 1e-10


@kinds
def test_a_layer_is_three_affine_maps_and_three_scalar_nonlinearities(kind: str):
    """theory.md, section 2: the network is in the paper's class of networks, widths 2N+m, 2(N+m), 2N+m+1."""
    data = problem(kind, 6, 9, scale=3.0, lam=0.05)
    x0 = numbers(np.random.default_rng(5), kind, 9)
    ratio, norm = 1.7, data.net(FixedSteps(1)).operator.norm_bound.value
    tau, sigma = ratio / norm, 1 / (ratio * norm)
    blocks = affine_layers(data.A, data.y, data.w, data.lam, tau, sigma, x0, 8)
    for k, (last, average) in enumerate(blocks, start=1):
        for iterate, expected in (("last", last), ("average", average)):
            z = data.net(FixedSteps(k, ratio), cast(Iterate, iterate))(data.measured, x0=torch.from_numpy(x0))
            assert np.count_nonzero(last)
            assert relative(z, expected) <= 1e-12


# ------------------------------------------------------------------------------------------------------------- the gap


@kinds
@iterates
@pytest.mark.parametrize("name", ["12 x 24", "zero residual", "weights 1e-3 to 1e3", "more rows than columns"])
def test_gap_bounds_the_suboptimality_at_every_restart(name: str, kind: str, iterate: Iterate):
    data = PROBLEMS[name](kind)
    best = optimum(data.A, data.y, data.w, data.lam)
    schedules: list[Schedule] = [PaperSchedule(k, 7) for k in range(1, 9)]
    schedules += [FixedSteps(k) for k in (1, 2, 3, 10, 30, 100)]
    for schedule in schedules:
        net = data.net(schedule, iterate)
        s = net.solve(data.measured)
        value = data.objective(s.coefficients)
        dual = s.dual.numpy()
        rounding = data.rounding(dual, value)
        assert s.gap.item() >= value - best.value - rounding
        assert s.objective.item() == pytest.approx(value, rel=1e-13)
        # What the solution holds fits together: a feasible dual, and the gap that it gives.
        assert isinstance(net.problem, SynthesisProblem)
        assert net.problem.gap(s.coefficients, s.dual, data.measured).item() == pytest.approx(
            s.gap.item(), rel=1e-9, abs=rounding
        )
        assert np.linalg.norm(dual) <= 1 + (len(dual) + 8) * EPS
        assert (np.abs(data.A.conj().T @ dual) / (data.lam * data.w)).max() <= 1 + data.infeasible(dual)
        assert int(s.layers) == schedule.layers


@kinds
@pytest.mark.parametrize("name", ["12 x 24", "zero residual", "weights 1e-3 to 1e3"])
def test_best_is_never_worse(name: str, kind: str):
    """Than the average and the last point, and than the best of a shorter run."""
    data = PROBLEMS[name](kind)
    previous = math.inf
    for k in range(1, 9):
        average, last, best = (data.net(PaperSchedule(k, 5), i).solve(data.measured).objective.item() for i in ITERATES)
        previous = min(previous, average, last)
        assert best == previous


@kinds
def test_single_precision_claims_nothing_below_its_rounding(kind: str):
    """The suboptimality in exact data of what float32 returns is within the gap plus its stated rounding floor."""
    data = problem(kind, 20, 40)
    data.A, data.y = (v.astype(np.complex64 if kind == "complex" else np.float32) for v in (data.A, data.y))
    data.w = data.w.astype(np.float32)
    exact = Data(data.A.astype(np.complex128), data.y.astype(np.complex128), data.w.astype(np.float64), data.lam)
    best = optimum(exact.A, exact.y, exact.w, exact.lam)
    for schedule in (FixedSteps(50), FixedSteps(1200), PaperSchedule()):
        for iterate in ITERATES:
            s = data.net(schedule, iterate).solve(data.measured, tolerance=1e-9)
            value = exact.objective(s.coefficients)
            floor = 16 * 2**-23 * (2 * value + float(np.linalg.norm(data.y)))
            assert s.gap.item() >= value - best.value - floor
            assert s.image.dtype == s.dual.dtype == data.measured.dtype
            assert s.statuses[0] in (Status.LAYER_LIMIT, Status.PRECISION_LIMIT)
            if schedule == FixedSteps(1200) and iterate != "average":
                assert s.gap.item() <= 1e-5 * value


# -------------------------------------------------------------------------------------------------------- batch = loop


def batch(data: Data, *shape: int) -> Tensor:
    """Different measurements: sizes from 1e-2 to 1e2, one item zero."""
    rng = np.random.default_rng(11)
    y = numbers(rng, "complex" if np.iscomplexobj(data.A) else "real", *shape, len(data.y))
    y *= 10 ** rng.uniform(-2, 2, (*shape, 1))
    y.reshape(-1, len(data.y))[0] = 0
    return torch.from_numpy(y)


@kinds
@iterates
@pytest.mark.parametrize("shape", [(1,), (5,), (2, 3), (2, 1, 2)], ids=str)
@pytest.mark.parametrize("tolerance", [None, 1e-3])
def test_batch_is_loop(kind: str, iterate: Iterate, shape: tuple[int, ...], tolerance: float | None):
    data = problem(kind, lam=0.2)
    net = data.net(PaperSchedule(6, 15, 1e-3), iterate)
    y = batch(data, *shape)
    together = net.solve(y, tolerance=tolerance)
    assert together.image.shape == (*shape, 24)
    assert together.dual.shape == y.shape
    assert together.gap.shape == together.objective.shape == together.layers.shape == shape
    assert together.relative_gap.shape == shape
    assert len(together.statuses) == math.prod(shape)
    images = net(y)
    for i, at in enumerate(np.ndindex(*shape)):
        alone = net.solve(y[at], tolerance=tolerance)
        for name in ("image", "coefficients", "dual", "objective", "gap"):
            torch.testing.assert_close(getattr(together, name)[at], getattr(alone, name), rtol=1e-9, atol=1e-11)
        assert together.layers[at] == alone.layers
        assert together.statuses[i] == alone.status
        torch.testing.assert_close(images[at], net(y[at]), rtol=1e-9, atol=1e-11)


def test_each_item_stops_on_its_own_and_stays_as_it_was():
    data = problem("complex")
    outer, inner, tolerance = 12, 40, 2e-3
    net = data.net(PaperSchedule(outer, inner), "average")
    y = torch.stack([data.measured, 0 * data.measured, batch(data, 2)[1]])
    calls: list[tuple[int, int]] = []
    s = net.solve(y, tolerance=tolerance, progress=lambda done, of, gap: calls.append((done, of)))
    layers = s.layers.tolist()
    assert layers[1] == inner
    assert len(set(layers)) == 3, "an easy, a middling and a hard item"
    assert s.statuses == (Status.TOLERANCE_REACHED,) * 3
    assert s.relative_gap.max() <= tolerance
    # It stopped when the last one was done.
    assert calls == [(inner * k, outer * inner) for k in range(1, max(layers) // inner + 1)]
    assert max(layers) < outer * inner
    # Each item is what a network of just its own layers gives, untouched by the later restarts.
    for i, count in enumerate(layers):
        short = data.net(PaperSchedule(count // inner, inner), "average").solve(y[i])
        torch.testing.assert_close(s.image[i], short.image, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(s.dual[i], short.dual, rtol=1e-8, atol=1e-10)
        torch.testing.assert_close(s.gap[i], short.gap, rtol=1e-8, atol=1e-13)
        for earlier in range(1, count // inner):  # and it was not done before
            assert data.net(PaperSchedule(earlier, inner), "average").solve(y[i]).relative_gap.item() > tolerance


@dataclass(frozen=True)
class Repeated:
    """A test's own schedule: restarts with the same steps, under which the dual goes on improving."""

    steps: FixedSteps
    times: int

    @property
    def layers(self) -> int:
        return self.steps.layers * self.times

    def restarts(self, norm: NormBound, size: Tensor) -> Iterator[Restart]:
        for _ in range(self.times):
            yield from self.steps.restarts(norm, size)


@iterates
def test_what_a_stopped_item_holds_fits_together(iterate: Iterate):
    data = problem("complex")
    y = batch(data, 6)
    net = data.net(Repeated(FixedSteps(60), 12), iterate)
    s = net.solve(y, tolerance=1e-3)
    assert s.statuses.count(Status.TOLERANCE_REACHED) > 2
    assert len(set(s.layers.tolist())) > 2
    assert isinstance(net.problem, SynthesisProblem)
    torch.testing.assert_close(net.problem.gap(s.coefficients, s.dual, y), s.gap, rtol=1e-9, atol=1e-13)
    torch.testing.assert_close(net.problem.objective(s.coefficients, y), s.objective, rtol=1e-13, atol=0)
    stopped = (s.layers < net.schedule.layers) & (s.gap > 0)
    assert (net.solve(y).gap[stopped] < 0.9 * s.gap[stopped]).any(), "going on finds a better dual"


@iterates
def test_a_batch_of_no_items(iterate: Iterate):
    sensing, frame = SubsampledFourier(torch.ones(8, 8)), Wavelet((8, 8), "haar")
    net = Firenet(sensing, frame, schedule=PaperSchedule(), iterate=iterate)
    for shape in ((0,), (2, 0), (0, 3)):
        y = torch.zeros(*shape, 8, 8, dtype=torch.complex128)
        s = net.solve(y, tolerance=1e-3)
        assert s.image.shape == s.coefficients.shape == s.dual.shape == y.shape
        assert s.gap.shape == s.objective.shape == s.layers.shape == s.relative_gap.shape == shape
        assert s.statuses == ()
        assert net(y).shape == y.shape


@iterates
def test_unbatched(iterate: Iterate):
    data = problem("complex")
    s = data.net(PaperSchedule(2, 3), iterate).solve(data.measured)
    assert s.image.shape == (24,)
    assert s.gap.shape == s.objective.shape == s.layers.shape == ()
    assert s.layers.dtype == torch.int64
    assert s.gap.dtype == s.objective.dtype == torch.float64
    assert len(s.statuses) == 1


# --------------------------------------------------------------------------------------------------- what goes in, out


def imaging(iterate: Iterate = "average", schedule: Schedule | None = None) -> tuple[Firenet, Tensor, Tensor]:
    """A network for 16 x 16 images, an image with 16 coefficients that are not zero, and its measurements."""
    rng = np.random.default_rng(1)
    mask = uniform(16, 16, seed=rng) < 0.5
    net = Firenet(SubsampledFourier(mask), Wavelet((16, 16), "haar", 2), lam=0.02, schedule=schedule, iterate=iterate)
    image = torch.kron(normal(4, 4, dtype=torch.complex128, seed=rng), torch.ones(4, 4))
    return net, image, net.sensing(image)


@iterates
@pytest.mark.parametrize("schedule", [PaperSchedule(4, 5), FixedSteps(12)], ids=str)
def test_forward_is_the_image_of_solve(iterate: Iterate, schedule: Schedule):
    net, _, y = imaging(iterate, schedule)
    y = torch.stack([y, 3 * y.conj(), 0 * y])
    solution = net.solve(y)
    assert torch.equal(net(y), solution.image)
    assert net.sparsify is not None
    assert torch.equal(net.sparsify.adjoint(solution.coefficients), solution.image)


@iterates
def test_gradient_mode_changes_no_number(iterate: Iterate):
    net, _, y = imaging(iterate, PaperSchedule(4, 5))
    with torch.no_grad():
        expected = net(y)
    y = y.clone().requires_grad_()
    image = net(y)
    assert image.requires_grad
    assert relative(image.detach(), expected) <= 1e-12
    solution = net.solve(y)
    assert not solution.image.requires_grad
    assert relative(solution.image, expected) <= 1e-12


def test_what_lies_off_the_mask_changes_nothing():
    net, _, y = imaging(schedule=PaperSchedule(3, 5))
    mask = cast(SubsampledFourier, net.sensing).mask
    garbage = torch.where(mask, y, 1e3 * normal(16, 16, dtype=y.dtype, seed=2))
    assert not torch.equal(garbage, y)
    clean, dirty = net.solve(y), net.solve(garbage)
    for name in ("image", "dual", "objective", "gap"):
        assert torch.equal(getattr(clean, name), getattr(dirty, name))
    assert torch.equal(net(garbage), clean.image)
    assert not dirty.dual[~mask].abs().any()


def test_arguments_and_the_global_generator_stay_as_they_are():
    net, image, y = imaging(schedule=PaperSchedule(2, 3))
    kept = y.clone(), image.clone(), torch.get_rng_state()
    first = net.solve(y, x0=image)
    second = net.solve(y, x0=image)
    assert torch.equal(first.image, second.image)
    assert torch.equal(y, kept[0])
    assert torch.equal(image, kept[1])
    assert torch.equal(torch.get_rng_state(), kept[2])


def test_strided_and_conjugated_measurements():
    net, _, y = imaging(schedule=PaperSchedule(2, 3))
    views = {"conjugate": y.conj(), "transposed": y.mT.contiguous().mT, "every other": torch.stack([y, y], -1)[..., 0]}
    for view in views.values():
        plain = view.resolve_conj().clone(memory_format=torch.contiguous_format)
        assert relative(net(view), net(plain)) <= 1e-13
        assert relative(net.solve(view).image, net(plain)) <= 1e-13


# ---------------------------------------------------------------------------------------------------------- warm start


def test_a_first_image_is_an_image():
    """The first layer shrinks the coefficients of x0 (its dual is 0)."""
    net, image, y = imaging("last", FixedSteps(1))
    assert net.sparsify is not None
    assert isinstance(net.schedule, FixedSteps)
    (step,) = net.schedule.restarts(net.operator.norm_bound, torch.linalg.vector_norm(y))
    z = soft(net.sparsify(image).numpy(), np.asarray(step.tau.item() * net.lam))
    assert relative(net.solve(y, x0=image).coefficients, z) <= 1e-13
    assert relative(net(y, x0=image), net.sparsify.adjoint(torch.from_numpy(z))) <= 1e-13


@kinds
def test_a_warm_start_from_the_solution_is_soon_there(kind: str):
    data = problem(kind)
    found = data.net(FixedSteps(2000), "last").solve(data.measured)
    net = data.net(FixedSteps(60, omega=0.1), "best")
    cold, warm = net.solve(data.measured), net.solve(data.measured, x0=found.image)
    assert warm.relative_gap <= 4e-3
    assert warm.gap <= 0.02 * cold.gap


def test_a_warm_start_from_the_exact_image():
    """Lemma E against the start itself, at distance 0: F(average of k) - F(x0) <= omega ||A|| / k."""
    net, image, y = imaging()
    assert net.sparsify is not None
    start = net.problem.objective(net.sparsify(image), y).item()
    for k in (1, 3, 10, 30):
        for omega in (0.1, 1.0, 10.0):
            warm, _, _ = imaging("average", FixedSteps(k, omega))
            assert warm.solve(y, x0=image).objective.item() <= start + omega * warm.operator.norm_bound.value / k
    short, _, _ = imaging("average", FixedSteps(30, 1.0))
    assert relative(short(y, x0=image), image) <= 0.2 * relative(short(y), image)


def test_one_first_image_serves_the_whole_batch():
    net, image, y = imaging(schedule=PaperSchedule(2, 4))
    several = torch.stack([y, 2 * y, 0 * y]).reshape(3, 1, 16, 16)
    together = net.solve(several, x0=image)
    each = net.solve(several, x0=image.expand(3, 1, 16, 16))
    assert relative(together.image, each.image) <= 1e-13
    assert relative(net(several, x0=image), each.image) <= 1e-13
    assert relative(together.image[1, 0], net(2 * y, x0=image)) <= 1e-12
    per_item = torch.stack([image, 0 * image, image]).reshape(3, 1, 16, 16)
    assert relative(net(several, x0=per_item)[1, 0], net(2 * y)) <= 1e-12


def test_first_image_of_another_precision():
    net, image, y = imaging(schedule=PaperSchedule(2, 4))
    single = net(y.to(torch.complex64), x0=image)
    assert single.dtype == torch.complex64
    torch.testing.assert_close(single, net(y, x0=image).to(torch.complex64), rtol=1e-4, atol=1e-5)
    assert net(y, x0=image.real).dtype == torch.complex128


@pytest.mark.parametrize("name", ["matrix", "image"])
@pytest.mark.parametrize("wrong", ["shape", "batch", "extra axis"])
def test_a_first_image_that_does_not_fit_is_refused(name: str, wrong: str):
    if name == "image":
        net, image, y = imaging(schedule=FixedSteps(2))
    else:
        data = problem("real")
        net, image, y = data.net(FixedSteps(2)), torch.zeros(24, dtype=torch.float64), data.measured
    if wrong == "shape":
        x0 = image[1:]
    elif wrong == "batch":
        x0, y = torch.stack([image] * 2), torch.stack([y] * 3)
    else:
        x0 = torch.stack([image] * 2)
    for run in (net, net.solve):
        with pytest.raises(BadInput):
            run(y, x0=x0)


def test_a_complex_first_image_for_a_real_problem_is_refused():
    data = problem("real")
    with pytest.raises(BadInput):
        data.net(FixedSteps(2)).solve(data.measured, x0=torch.ones(24, dtype=torch.complex128))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_first_image_that_is_not_finite_is_refused(bad: float):
    data = problem("real")
    with pytest.raises(BadInput):
        data.net(FixedSteps(2)).solve(data.measured, x0=torch.full((24,), bad, dtype=torch.float64))


# ----------------------------------------------------------------------------------------------------------- gradients


@kinds
@pytest.mark.parametrize("iterate", ["average", "last"])
@pytest.mark.parametrize(
    "schedule", [FixedSteps(8, omega=1.0), FixedSteps(8), PaperSchedule(3, 4), PaperSchedule(2, 3, 0.1, 0.6)], ids=str
)
def test_gradcheck(kind: str, iterate: Iterate, schedule: Schedule):
    """The derivative of the map y -> image, the steps' dependence on ||y|| included."""
    data = problem(kind, 4, 6, lam=0.3)
    net = data.net(schedule, iterate)
    y = torch.stack([data.measured, 0.3 * data.measured.flip(0)]).requires_grad_()
    assert torch.autograd.gradcheck(net, (y,), atol=1e-6)


def test_gradcheck_of_an_imaging_network():
    rng = np.random.default_rng(0)
    mask = uniform(4, 4, seed=rng) < 0.7
    y = normal(4, 4, dtype=torch.complex128, seed=rng).requires_grad_()
    net = Firenet(SubsampledFourier(mask), Wavelet((4, 4), "haar"), lam=0.1, schedule=FixedSteps(4, 1.0))
    assert torch.autograd.gradcheck(net, (y,), atol=1e-6)
    x0 = normal(4, 4, dtype=torch.complex128, seed=rng).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: net(y.detach(), x0=x), (x0,), atol=1e-6)


@iterates
@pytest.mark.parametrize("schedule", [FixedSteps(6), PaperSchedule(2, 3)], ids=str)
def test_gradient_at_zero_is_finite(iterate: Iterate, schedule: Schedule):
    net, _, y = imaging(iterate, schedule)
    y = torch.stack([0 * y, y]).requires_grad_()
    net(y).abs().square().sum().backward()
    assert y.grad is not None
    assert torch.isfinite(torch.view_as_real(y.grad)).all()


# ------------------------------------------------------------------------------------------------------------- choices


def test_defaults():
    net, _, y = imaging()
    plain = Firenet(net.sensing, net.sparsify)
    assert plain.lam == 1e-3
    assert plain.schedule == AdaptiveRestarts(tolerance=1e-4)  # the one that proves
    assert plain.iterate == "average"
    assert plain.problem.weights is None
    said = Firenet(
        net.sensing,
        net.sparsify,
        weights=torch.ones(16, 16, dtype=torch.float64),
        lam=1e-3,
        schedule=AdaptiveRestarts(1e-4, 2000),
        iterate="average",
    )
    assert relative(plain(y), said(y)) <= 1e-12
    assert plain.solve(y).status is Status.TOLERANCE_REACHED


@pytest.mark.parametrize("iterate", ["Average", "", "first", None])
def test_another_iterate_is_refused(iterate: Any):
    with pytest.raises(BadInput, match="average, last or best"):
        Firenet(Matrix(torch.eye(3)), iterate=iterate)


def wavelet_levels(frame: Wavelet) -> SparsityLevels:
    sizes = torch.bincount(frame.levels().flatten()).tolist()
    return SparsityLevels(tuple(sizes), tuple(max(1, n // 5 + k) for k, n in enumerate(sizes)))


def test_weights_of_levels_are_the_recommended_ones():
    net, _, y = imaging(schedule=PaperSchedule(3, 5))
    frame = cast(Wavelet, net.sparsify)
    levels = wavelet_levels(frame)
    expected = torch.zeros(16, 16, dtype=torch.float64)
    for k, s in enumerate(levels.sparsities):
        expected[frame.levels() == k] = math.sqrt(sum(levels.sparsities) / s)
    by_levels, by_tensor = (
        Firenet(net.sensing, frame, weights=w, lam=0.02, schedule=net.schedule) for w in (levels, expected)
    )
    assert by_levels.problem.weights is not None
    torch.testing.assert_close(by_levels.problem.weights.to(torch.float64), expected)
    assert relative(by_levels(y), by_tensor(y)) <= 1e-12
    assert relative(by_levels(y), net(y)) > 1e-3  # weights matter
    with pytest.raises(BadInput, match="sparsify=None"):
        Firenet(net.sensing, weights=levels)


@iterates
@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128], ids=str)
@pytest.mark.parametrize("weights", ["none", "float32", "float64", "levels"])
@pytest.mark.parametrize("sensing", ["Fourier", "Walsh", "coils"])
def test_the_precision_is_that_of_the_measurements(sensing: str, weights: str, dtype: torch.dtype, iterate: Iterate):
    """Whatever the weights' own: not an error, not a silent change to double."""
    frame = Wavelet((8, 8), "haar")
    mask = uniform(8, 8, seed=3) < 0.6
    if sensing == "coils":
        maps = normal(2, 8, 8, dtype=dtype, seed=4)
        operator = MultiCoilFourier(mask, maps)
    else:
        operator = SubsampledFourier(mask) if sensing == "Fourier" else SubsampledWalsh(mask)
    w = {
        "none": None,
        "float32": torch.full((8, 8), 1.5),
        "float64": torch.full((8, 8), 1.5, dtype=torch.float64),
        "levels": wavelet_levels(frame),
    }[weights]
    net = Firenet(operator, frame, weights=w, schedule=PaperSchedule(2, 3), iterate=iterate)
    y = normal(*operator.out_shape, dtype=dtype, seed=5)
    if sensing == "Walsh":
        y = y.real.clone()
    s = net.solve(y)
    assert s.image.dtype == s.coefficients.dtype == s.dual.dtype == net(y).dtype == y.dtype


@pytest.mark.parametrize("weights", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_matrix_and_weights_of_different_precision(dtype: torch.dtype, weights: torch.dtype):
    matrix = normal(4, 6, dtype=dtype, seed=0)
    net = Firenet(Matrix(matrix), weights=torch.full((6,), 2.0, dtype=weights), schedule=PaperSchedule(2, 3))
    assert net.solve(torch.ones(4, dtype=dtype)).image.dtype == dtype


# ------------------------------------------------------------------------------------------------------------ statuses


def test_every_status_has_advice():
    advice = [status.advice for status in Status]
    assert len(set(advice)) == len(Status) == 7
    assert "More layers" in Status.LAYER_LIMIT.advice
    assert "ouble precision" in Status.PRECISION_LIMIT.advice
    assert "scale" in Status.NUMERICAL_ERROR.advice
    assert "tolerance" in Status.TOLERANCE_REACHED.advice
    assert "not decided" in Status.DOES_NOT_FIT.advice
    assert "noise level" in Status.NO_IMAGE_FITS.advice
    assert "check_adjoint" in Status.WRONG_ADJOINT.advice


@iterates
def test_tolerance_reached_and_layer_limit(iterate: Iterate):
    data = problem("complex")
    net = data.net(PaperSchedule(10, 30), iterate)
    reached = net.solve(data.measured, tolerance=0.05)
    assert reached.statuses == (Status.TOLERANCE_REACHED,)
    assert reached.relative_gap.item() <= 0.05
    assert int(reached.layers) < 300
    for tolerance in (None, 1e-12):
        limit = net.solve(data.measured, tolerance=tolerance)
        assert limit.statuses == (Status.LAYER_LIMIT,)
        assert int(limit.layers) == 300
        assert limit.relative_gap.item() > 1e-12


@kinds
@iterates
def test_precision_limit(kind: str, iterate: Iterate):
    data = problem(kind)
    data.A, data.y = (v.astype(np.complex64 if kind == "complex" else np.float32) for v in (data.A, data.y))
    data.w = data.w.astype(np.float32)
    net = data.net(PaperSchedule(8, 400, 1e-6, 0.3) if iterate == "average" else FixedSteps(1500), iterate)
    solution = net.solve(data.measured, tolerance=1e-9)
    assert solution.statuses == (Status.PRECISION_LIMIT,)
    assert solution.relative_gap.item() <= 16 * 2**-23 * 3
    # A tolerance that the precision can meet is met.
    assert net.solve(data.measured, tolerance=1e-3).statuses == (Status.TOLERANCE_REACHED,)


OVERFLOW = {
    "float32": torch.full((3,), 1e38),
    "complex64": torch.full((3,), 1e38 + 1e38j, dtype=torch.complex64),
    "float64": torch.full((3,), 1e300, dtype=torch.float64),
    "complex128": torch.full((3,), 1e200j, dtype=torch.complex128),
}


@iterates
@pytest.mark.parametrize("schedule", [PaperSchedule(), FixedSteps()], ids=str)
@pytest.mark.parametrize("y", OVERFLOW.values(), ids=OVERFLOW)
def test_overflow_is_a_numerical_error_or_no_error_at_all(y: Tensor, schedule: Schedule, iterate: Iterate):
    """Never a wrong image without a word. The other items of the batch are none the worse."""
    matrix = torch.eye(4, dtype=y.dtype)[:3]
    net = Firenet(Matrix(matrix), lam=0.1, schedule=schedule, iterate=iterate)
    s = net.solve(torch.stack([y, y / y.abs().max()]), tolerance=2e-2)
    if s.statuses[0] != Status.NUMERICAL_ERROR:
        size = y.abs().to(torch.float64).max()
        assert relative((s.image[0, :3] / size).numpy(), (y / size.to(y.real.dtype)).numpy()) <= 0.1
        assert s.relative_gap[0] <= 2e-2 or s.statuses[0] == Status.LAYER_LIMIT
    assert s.statuses[1] == Status.TOLERANCE_REACHED
    assert torch.isfinite(s.image[1].abs()).all()


@iterates
def test_numerical_error(iterate: Iterate):
    matrix = torch.eye(4)[:3]
    net = Firenet(Matrix(matrix), lam=0.1, iterate=iterate)
    s = net.solve(torch.full((3,), 3e38))
    assert s.statuses == (Status.NUMERICAL_ERROR,)


def test_best_is_the_last_point_where_the_average_overflows():
    """The sum of fifty points of size 3e37 is not a float32; the fiftieth is."""
    y = torch.full((3,), 3e37)
    last, best = (
        Firenet(Matrix(torch.eye(4)[:3]), lam=0.1, schedule=FixedSteps(50), iterate=i).solve(y)
        for i in ("last", "best")
    )
    assert torch.isfinite(last.image).all()
    assert torch.equal(best.image, last.image)
    assert best.statuses == last.statuses != (Status.NUMERICAL_ERROR,)


# ------------------------------------------------------------------------------------------------------------ refusals


def refused(run: Callable[[], object]) -> BadInput:
    with pytest.raises(BadInput) as caught:
        run()
    for part in (caught.value.needed, caught.value.got, caught.value.do):
        assert part
        assert not part.endswith(".")
    return caught.value


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, complex(0, math.nan), complex(math.inf, 0)], ids=str)
def test_measurements_that_are_not_finite_are_refused(value: complex):
    net, _, y = imaging()
    on = cast(SubsampledFourier, net.sensing).mask.nonzero()[3].tolist()
    y[tuple(on)] = torch.tensor(value, dtype=y.dtype)
    assert "NaN or infinity" in refused(lambda: net.solve(torch.stack([0 * y.nan_to_num(), y]))).got


@pytest.mark.parametrize("shape", [(), (16,), (16, 15), (15, 16), (16, 16, 1), (256,)], ids=str)
def test_measurements_of_another_shape_are_refused(shape: tuple[int, ...]):
    net, _, _ = imaging()
    for run in (net, net.solve):
        error = refused(lambda run=run: run(torch.zeros(shape, dtype=torch.complex128)))
        assert "(16, 16)" in error.needed
        assert str(shape) in error.got


@pytest.mark.parametrize("shape", [(2, 16, 16), (5, 2, 16, 16), (16, 16)], ids=str)
def test_real_measurements_of_a_fourier_operator_are_refused(shape: tuple[int, ...]):
    net, _, _ = imaging()
    for run in (net, net.solve):
        error = refused(lambda run=run: run(torch.ones(shape)))
        assert "omplex" in error.needed
        assert "float32" in error.got
        assert "complex" in error.do
        if 2 in shape:
            assert "view_as_complex" in error.do


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", ["Fourier", "Walsh", "matrix"])
def test_other_dtypes_are_taken_in_one_that_has_their_numbers(name: str, dtype: torch.dtype):
    operator = {
        "Fourier": SubsampledFourier(torch.ones(4, 4)),
        "Walsh": SubsampledWalsh(torch.ones(4, 4)),
        "matrix": Matrix(torch.eye(4)),
    }[name]
    net = Firenet(operator)
    y = torch.ones(operator.out_shape, dtype=dtype)
    for run in (net, net.solve):
        if name == "Fourier":  # the phase must be somewhere
            assert "Complex" in refused(lambda run=run: run(y)).needed
        else:
            image = net(y) if run is net else net.solve(y).image
            assert image.dtype == (torch.float64 if not dtype.is_floating_point else torch.float32)
            assert torch.isfinite(image).all()


def test_real_measurements_of_a_complex_matrix():
    """A real vector is a complex one: the same result, from both entrances."""
    data = problem("complex")
    y = data.measured.real.clone()
    net = data.net(PaperSchedule(2, 3))
    expected = net(y.to(torch.complex128))
    assert relative(net(y), expected) <= 1e-13
    assert relative(net.solve(y).image, expected) <= 1e-13


def test_complex_measurements_of_a_real_matrix():
    data = problem("real")
    complex_too = Data(data.A.astype(np.complex128), data.y * (1 + 2j), data.w, data.lam)
    net = data.net(PaperSchedule(3, 5))
    assert relative(net(complex_too.measured), complex_too.net(net.schedule)(complex_too.measured)) <= 1e-12


@pytest.mark.parametrize("lam", [0.0, -1.0, math.nan, math.inf])
def test_bad_lambda_is_refused_at_once(lam: float):
    assert str(lam) in refused(lambda: Firenet(Matrix(torch.eye(3)), lam=lam)).got


def test_bad_weights_are_refused_at_once():
    assert "small positive" in refused(lambda: Firenet(Matrix(torch.eye(3)), weights=torch.zeros(3))).do
    assert "(4,)" in refused(lambda: Firenet(Matrix(torch.eye(3)), weights=torch.ones(4))).got


# -------------------------------------------------------------------------------------------- the zero operator, moves


@iterates
@pytest.mark.parametrize("schedule", [PaperSchedule(2, 5), FixedSteps(10), FixedSteps(10, 1.0)], ids=str)
def test_the_zero_operator(schedule: Schedule, iterate: Iterate):
    net = Firenet(Matrix(torch.zeros(3, 4, dtype=torch.float64)), schedule=schedule, iterate=iterate)
    assert net.operator.norm_bound.value == 0
    for y in (torch.tensor([3.0, 0.0, 4.0], dtype=torch.float64), torch.zeros(3, dtype=torch.float64)):
        s = net.solve(y)
        assert not s.image.any()
        # Norms of three numbers, of which each of several sums is rounded in its own way.
        assert s.objective.item() == pytest.approx(torch.linalg.vector_norm(y).item(), rel=10 * EPS)
        assert s.gap.item() <= 20 * EPS * torch.linalg.vector_norm(y).item()
        assert not net(y, x0=torch.ones(4, dtype=torch.float64)).isnan().any()


def coils(dtype: torch.dtype) -> tuple[MultiCoilFourier, Wavelet]:
    rng = np.random.default_rng(8)
    mask = uniform(8, 8, seed=rng) < 0.6
    return MultiCoilFourier(mask, normal(3, 8, 8, dtype=dtype, seed=rng)), Wavelet((8, 8), "haar")


def coil_net(dtype: torch.dtype) -> Firenet:
    operator, frame = coils(torch.complex64)
    operator = MultiCoilFourier(operator.mask, operator.maps.to(dtype))
    weights = torch.linspace(1, 2, 8).to(torch.float64)
    return Firenet(operator, frame, weights=weights, lam=0.02, schedule=PaperSchedule(3, 5))


def coil_data(dtype: torch.dtype) -> Tensor:
    return normal(2, 3, 8, 8, dtype=torch.complex128, seed=9).to(dtype)


def test_a_network_moved_to_double_reconstructs_in_double():
    expected = coil_net(torch.complex128)(coil_data(torch.complex128))
    moved = coil_net(torch.complex64).to(torch.float64)
    assert cast(MultiCoilFourier, moved.sensing).maps.dtype == torch.complex128
    assert moved.problem.weights is not None
    assert moved.problem.weights.dtype == torch.float64
    image = moved(coil_data(torch.complex128))
    assert image.dtype == torch.complex128
    assert relative(image, expected) <= 1e-13
    back = moved.to(torch.float32)(coil_data(torch.complex64))
    assert back.dtype == torch.complex64
    assert relative(back, expected) <= 1e-5


def test_a_network_moved_to_a_complex_dtype_keeps_its_real_weights():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Complex modules are a new feature")
        moved = coil_net(torch.complex64).to(torch.complex128)
    image = moved(coil_data(torch.complex128))
    assert image.dtype == torch.complex128
    assert relative(image, coil_net(torch.complex128)(coil_data(torch.complex128))) <= 1e-13


def test_copies_and_pickles_give_the_same():
    net = coil_net(torch.complex128)
    y = coil_data(torch.complex128)
    expected, called = net.solve(y), net(y)
    buffer = io.BytesIO()
    torch.save(net, buffer)
    buffer.seek(0)
    for other in (copy.deepcopy(net), torch.load(buffer, weights_only=False)):
        assert torch.equal(other.solve(y).image, expected.image)
        assert other.schedule == net.schedule
    # A copy is a copy: changing it leaves the first alone.
    other = copy.deepcopy(net)
    cast(MultiCoilFourier, other.sensing).maps.mul_(0.5)
    assert torch.equal(net(y), called)
    assert relative(other(y), called) > 1e-3


@pytest.mark.parametrize("used", [False, True], ids=["new", "used"])
@pytest.mark.parametrize("name", ["coils", "Fourier of wavelet", "Walsh", "matrix"])
def test_a_loaded_state_is_the_state(name: str, used: bool):
    """Also where a mask was put away in the dtype of the measurements, and where the norm is another."""

    def make(seed: int) -> Firenet:
        rng = np.random.default_rng(seed)
        mask = uniform(8, 8, seed=rng) < 0.5
        maps = (3 - 2 * seed) * normal(3, 8, 8, dtype=torch.complex128, seed=rng)
        sensing = {
            "coils": lambda: MultiCoilFourier(mask, maps),
            "Fourier of wavelet": lambda: SubsampledFourier(mask),
            "Walsh": lambda: SubsampledWalsh(mask),
            "matrix": lambda: Matrix(maps[0]),
        }[name]()
        weights = 1 + uniform(8, dtype=torch.float64, seed=rng)
        frame = None if name == "matrix" else Wavelet((8, 8), "haar")
        return Firenet(sensing, frame, weights=weights, schedule=PaperSchedule(2, 3))

    source, target = make(0), make(1)
    shape = source.sensing.out_shape
    y = normal(*shape, dtype=torch.complex128, seed=2)
    y = y.real.clone() if name == "Walsh" else y
    if used:
        target.solve(y)
    target.load_state_dict(source.state_dict())
    assert target.operator.norm_bound == source.operator.norm_bound
    assert relative(target(y), source(y)) <= 1e-13


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_network_moved_to_a_gpu_gives_the_same():
    best, _, measured = imaging("best")
    for net, y in ((coil_net(torch.complex128), coil_data(torch.complex128)), (best, measured)):
        expected = net.solve(y, tolerance=1e-3)
        net = net.to("cuda")
        moved = net.solve(y.to("cuda"), tolerance=1e-3)
        assert moved.image.is_cuda
        assert relative(moved.image.cpu(), expected.image) <= 1e-10
        assert moved.status == expected.status
        assert torch.equal(moved.layers.cpu(), expected.layers)
        y = y.to("cuda").requires_grad_()
        net(y).abs().sum().backward()
        assert y.grad is not None
