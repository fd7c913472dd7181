"""The loop of fixed schedules: against Clarabel, against the paper's algorithm in NumPy, its gaps, batches."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import pytest
import torch
from torch import Tensor

from cases import (
    EPS,
    ITERATES,
    PROBLEMS,
    Data,
    Iterate,
    iterates,
    kinds,
    numbers,
    problem,
    random_mask,
    relative,
    three_coils,
)
from draws import normal
from firenet import (
    BadInput,
    Firenet,
    LinearOperator,
    PaperSchedule,
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
from oracles import affine_layers, fourier_of_wavelet, objective, optimum, paper_network

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


OPERATORS: dict[str, Callable[[], tuple[LinearOperator, TightFrame | None]]] = {
    "Fourier, odd sides": lambda: (SubsampledFourier(random_mask(10, 7)), Wavelet((10, 7), "haar", 2)),
    "Fourier, centred, no transform": lambda: (SubsampledFourier(random_mask(31), centred=True), None),
    "Walsh": lambda: (SubsampledWalsh(random_mask(8, 8)), Wavelet((8, 8), "db2", 1)),
    "coils": lambda: three_coils(torch.complex128),
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
    data.precision = torch.float32
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


@pytest.mark.parametrize(
    ("shape", "kind", "iterate"),
    [
        *(((2, 1, 2), kind, iterate) for kind in ("real", "complex") for iterate in ITERATES),
        *((shape, "complex", "best") for shape in ((1,), (5,), (2, 3))),
    ],
    ids=str,
)
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
    longer = net.solve(y)
    assert (longer.gap[stopped] < 0.9 * s.gap[stopped]).any(), "going on finds a better dual"
    # An item that stopped holds what its network of just so many layers returns, whatever the others do afterwards.
    for i in stopped.nonzero().flatten().tolist():
        short = data.net(Repeated(FixedSteps(60), int(s.layers[i]) // 60), iterate).solve(y[i])
        torch.testing.assert_close(s.coefficients[i], short.coefficients, rtol=1e-9, atol=1e-11)
        torch.testing.assert_close(s.dual[i], short.dual, rtol=1e-9, atol=1e-11)


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
