"""The analysis form: minimisers against Clarabel, the gap at every point, batches, scales, refusals."""

from __future__ import annotations

import math

import pytest
import torch

from cases import COMPLEX, REAL, SETUPS, Setup, analysed, draw, recovery, setups, weights_of, with_zero
from draws import uniform
from firenet import (
    AdaptiveRestarts,
    BadInput,
    Firenet,
    Matrix,
    PaperSchedule,
    Status,
    SubsampledFourier,
    UndecimatedWavelet,
    Wavelet,
)
from firenet.problems import AnalysisProblem
from firenet.problems.gap import within
from firenet.solver import FixedSteps, RadialSearch
from firenet.solver.schedules import Schedule
from firenet.transforms import TightFrame, WalshHadamard
from laws import assert_near, assert_refuses, norm

# ----------------------------------------------------------------------------------------------------- the problem


CASES = [
    (name, kind)
    for name in SETUPS
    for kind in ("none", "band", "each")
    if kind == "none" or name in ("Fourier", "Walsh", "coils", "padded", "TV", "Neumann", "union", "wavelets and TV")
]


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_reaches_the_optimum_and_every_gap_is_valid(name: str, kind: str) -> None:
    setup = SETUPS[name]()
    weights, y = weights_of(setup, kind), setup.data()
    lam = 0.1 * (setup.sensing.norm_bound.value if "scaled" in name else 1.0)
    known = recovery(setup, weights, lam, y)
    best = known.optimum()
    for schedule in (AdaptiveRestarts(1e-7, 30000), FixedSteps(100), AdaptiveRestarts(1e-1, 300), PaperSchedule(4, 10)):
        net = Firenet(setup.sensing, setup.frame, weights=weights, lam=lam, schedule=schedule, form="analysis")
        solution = net.solve(y)
        value = known.objective(solution.image.numpy().ravel())
        assert solution.dual_sparse is not None
        assert solution.objective.item() == pytest.approx(value, rel=1e-9)
        assert torch.equal(solution.image, solution.coefficients)
        bound = known.bound(solution.dual.numpy().ravel(), solution.dual_sparse.numpy().ravel())
        assert bound <= best.value * (1 + 1e-7)
        assert value - bound <= solution.gap.item() + 1e-9 * value
        assert solution.gap.item() >= value - best.value - 1e-7 * value
        problem = net.problem
        assert isinstance(problem, AnalysisProblem)
        again = problem.gap(solution.image, solution.dual, solution.dual_sparse, y).item()
        assert again == pytest.approx(solution.gap.item(), rel=1e-6, abs=1e-9 * value)
        if schedule == AdaptiveRestarts(1e-7, 30000):
            assert solution.statuses == (Status.TOLERANCE_REACHED,)
            assert value <= best.value * (1 + 3e-7)


@setups
def test_every_pair_becomes_feasible_and_bounds_the_minimum(name: str) -> None:
    setup = SETUPS[name]()
    weights, y, lam = weights_of(setup, "each"), setup.data(), 0.2
    problem = AnalysisProblem(setup.sensing, setup.frame, weights, lam)
    assert weights is not None
    known = recovery(setup, weights, lam, y)
    best = known.optimum()
    for k in range(4):
        scale = 10.0 ** (3 * k - 5)
        q = setup.sensing.restrict(scale * draw(setup.sensing.out_shape, setup.dtype, k))
        p = scale * draw(setup.frame.out_shape, setup.dtype, k + 9)
        x = draw(setup.frame.in_shape, setup.dtype, k + 20)
        a, b = problem.feasible(q, p)
        assert norm(a) <= 1 + 1e-12
        assert (setup.frame.magnitudes(b) <= lam * weights * (1 + 1e-12)).all()
        residual = setup.sensing.adjoint(a) + setup.frame.adjoint(b)
        assert norm(residual) <= 1e-9 * (norm(setup.sensing.adjoint(a)) + norm(b) + 1e-12)
        gap = problem.gap(x, q, p, y).item()
        assert math.isfinite(gap)
        value = known.objective(x.numpy().ravel())
        assert gap >= value - best.value - 1e-9 * value


@pytest.mark.parametrize("frame", [Wavelet((8, 8), "db2", 2), Wavelet((6, 10), "haar", 1), WalshHadamard((8, 8))])
def test_for_an_orthonormal_frame_the_two_forms_are_one_problem(frame: TightFrame) -> None:
    sensing = SubsampledFourier(with_zero(*frame.in_shape))
    y = Setup(sensing, frame).data()
    images, objectives = [], []
    for form in ("synthesis", "analysis"):
        net = Firenet(sensing, frame, lam=0.1, schedule=AdaptiveRestarts(1e-9, 20000), form=form)
        solution = net.solve(y)
        assert solution.statuses == (Status.TOLERANCE_REACHED,)
        images.append(solution.image)
        objectives.append(solution.objective.item())
        assert (solution.dual_sparse is None) == (form == "synthesis")
    # The minimum is one, and each is within 1e-9 (|p| + |d|) of it; in either form both images attain it.
    assert objectives[1] == pytest.approx(objectives[0], rel=2e-9)
    known = recovery(Setup(sensing, frame), None, 0.1, y)
    for image, objective in zip(images, objectives, strict=True):
        assert known.objective(image.numpy().ravel()) == pytest.approx(objective, rel=1e-12)
    if isinstance(frame, Wavelet):  # Fourier samples leave several minimisers in the Walsh-Hadamard basis
        assert_near(images[1], images[0], 1e-4 * norm(images[0]))


@setups
def test_a_batch_is_a_loop_and_frozen_is_the_same(name: str) -> None:
    setup = SETUPS[name]()
    net, y = analysed(setup, AdaptiveRestarts(1e-4, 120)), torch.stack([setup.data(), 1e-3 * setup.data(seed=4)])
    together = net.solve(y)
    for k, item in enumerate(y):
        alone = net.solve(item)
        assert together.layers[k] == alone.layers
        assert_near(together.image[k], alone.image, 1e-8 * norm(alone.image))
        frozen = net.following(alone.schedule.frozen())  # pyright: ignore[reportAttributeAccessIssue]
        assert_near(frozen(item), alone.image, 1e-8 * norm(alone.image))
        assert_near(frozen.solve(item).image, alone.image, 1e-8 * norm(alone.image))


@pytest.mark.parametrize("name", ["Fourier", "coils", "Walsh"])
def test_the_scale_of_the_data_changes_nothing(name: str) -> None:
    setup = SETUPS[name]()
    net, y = analysed(setup, AdaptiveRestarts(1e-4, 2000)), setup.data()
    usual = net.solve(y)
    for scale in (1e-8, 1e8):
        other = net.solve(scale * y)
        assert other.layers == usual.layers
        assert_near(other.image / scale, usual.image, 1e-6 * norm(usual.image))


@setups
def test_nothing_measured_gives_nothing(name: str) -> None:
    setup = SETUPS[name]()
    y = torch.zeros_like(setup.data())
    for schedule in (AdaptiveRestarts(1e-4), FixedSteps(3), RadialSearch()):
        solution = analysed(setup, schedule).solve(y)
        assert not solution.image.any()
        assert solution.gap.item() == 0


@pytest.mark.parametrize("name", ["Fourier", "coils", "Walsh", "matrix"])
def test_single_precision_says_what_it_reached(name: str) -> None:
    setup = SETUPS[name]()
    single = setup.data().to(torch.complex64 if setup.dtype is COMPLEX else torch.float32)
    sensing = setup.sensing.to(torch.float32)
    solution = analysed(Setup(sensing, setup.frame), AdaptiveRestarts(1e-9, 3000)).solve(single)
    assert solution.statuses == (Status.PRECISION_LIMIT,)
    assert solution.relative_gap.item() < 1e-4


@pytest.mark.parametrize("scale", [1e-25, 1e-20, 1e20, 1e25])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_operators_of_any_scale(dtype: torch.dtype, scale: float) -> None:
    frame = UndecimatedWavelet((4,), "haar", 1)
    y = torch.tensor([3.0, 1.0, 1.0, -2.0], dtype=dtype)
    usual = Firenet(Matrix(torch.eye(4, dtype=dtype)), frame, lam=0.1, schedule=AdaptiveRestarts(1e-3)).solve(y)
    sensing = Matrix(scale * torch.eye(4, dtype=dtype))
    solution = Firenet(sensing, frame, lam=0.1 * scale, schedule=AdaptiveRestarts(1e-3)).solve(y)
    assert solution.statuses == usual.statuses == (Status.TOLERANCE_REACHED,)
    assert solution.layers == usual.layers
    assert math.isfinite(solution.gap.item())
    assert_near(scale * solution.image, usual.image, 1e-5 * norm(usual.image))


def test_an_infinite_gap_is_not_a_small_one() -> None:
    assert not within(1e-3, 1.0, -math.inf)
    assert not within(1e-3, 1.0, math.nan)
    assert not within(1e-3, math.nan, 1.0)
    assert not within(1e-3, math.inf, math.inf)
    assert within(1e-3, 1.0, 1.0)
    assert within(1e-3, 1.0009, 1.0)
    assert not within(1e-3, 1.0011, 1.0)  # at most 0.1 % above the minimum


@pytest.mark.parametrize("kind", ["band", "each"])
def test_weights_do_not_change_the_precision(kind: str) -> None:
    setup = SETUPS["Fourier"]()
    net, y = analysed(setup, FixedSteps(4), weights_of(setup, kind)), setup.data().to(torch.complex64)
    image = net(y.clone().requires_grad_())
    assert image.dtype == net(y).dtype == net.solve(y).image.dtype == torch.complex64
    assert_near(image.detach(), net(y), 1e-5 * norm(net(y)))


@pytest.mark.parametrize("name", ["Fourier", "coils", "Walsh", "matrix", "orthonormal"])
@pytest.mark.parametrize("schedule", [FixedSteps(3), AdaptiveRestarts(1e-3), RadialSearch()], ids=type)
def test_a_batch_of_nothing(name: str, schedule: Schedule) -> None:
    setup = SETUPS[name]()
    y = setup.data()[None][:0]
    for form in ("analysis", "synthesis"):
        net = Firenet(setup.sensing, setup.frame, lam=0.1, schedule=schedule, form=form)
        solution = net.solve(y)
        assert solution.image.shape == net(y).shape == (0, *setup.sensing.in_shape)
        assert solution.dual.shape == y.shape
        assert solution.statuses == ()
        if form == "analysis":
            assert solution.dual_sparse is not None
            assert solution.dual_sparse.shape == (0, *setup.frame.out_shape)


def test_sensing_that_is_itself_folded() -> None:
    sensing = SubsampledFourier(with_zero(8, 8)) @ Wavelet((8, 8), "haar", 2).H
    frame = UndecimatedWavelet((8, 8), "haar", 1)
    setup = Setup(sensing, frame)
    y = setup.data()
    solution = analysed(setup, AdaptiveRestarts(1e-6, 20000)).solve(y)
    known = recovery(setup, None, 0.1, y)
    assert known.objective(solution.image.numpy().ravel()) <= known.optimum().value * (1 + 3e-6)


def test_a_radial_search_gets_there() -> None:
    setup = SETUPS["Fourier"]()
    solution = analysed(setup, RadialSearch(1e-2, 20000)).solve(setup.data())
    assert solution.statuses == (Status.TOLERANCE_REACHED,)


@pytest.mark.parametrize("dtype", [REAL, COMPLEX])
def test_jumps_are_recovered_exactly(dtype: torch.dtype) -> None:
    """Undecimated Haar of depth one counts jumps; a signal with four of them and half of its frequencies."""
    n = 64
    heights = draw((4,), dtype, 3)
    x = torch.cat([heights[k].expand(16) for k in range(4)])
    mask = uniform(n, seed=1) < 0.5
    mask[0] = True
    sensing, frame = SubsampledFourier(mask), UndecimatedWavelet((n,), "haar", 1)
    weights = torch.tensor([[1.0], [1e-3]], dtype=REAL)
    net = Firenet(sensing, frame, weights=weights, lam=1e-2, schedule=AdaptiveRestarts(1e-8, 2000))
    solution = net.solve(sensing(x.to(COMPLEX)))
    assert norm(solution.image - x) <= 2e-3 * norm(x)
    zero_filled = sensing.adjoint(sensing(x.to(COMPLEX)))
    assert norm(zero_filled - x) >= 0.1 * norm(x)


# ------------------------------------------------------------------------------------------------------------ refusals


def test_refusals() -> None:
    sensing, frame = SubsampledFourier(with_zero(4, 4)), UndecimatedWavelet((4, 4), "haar", 1)
    assert_refuses(lambda: Firenet(sensing, form="analysis"), "analysis with a transform")
    assert_refuses(lambda: Firenet(sensing, frame, form="both"), "'both'")  # pyright: ignore[reportArgumentType]
    assert_refuses(lambda: Firenet(sensing, UndecimatedWavelet((8, 8)), form="analysis"), "(4, 4)", "(8, 8)")
    for bad in (torch.zeros(4, 1, 1), -torch.ones(4, 1, 1), torch.ones(3, 1, 1)):
        with pytest.raises(BadInput):
            Firenet(sensing, frame, weights=bad)
    assert Firenet(sensing, frame).form == "analysis"
    assert Firenet(sensing, Wavelet((4, 4), "haar")).form == "synthesis"
