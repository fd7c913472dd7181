"""The analysis form: coordinates against dense matrices, minimisers against Clarabel, the gap at every point."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from draws import normal, uniform
from firenet import (
    AdaptiveRestarts,
    BadInput,
    Firenet,
    Gradient,
    LinearOperator,
    Matrix,
    MultiCoilFourier,
    PaperSchedule,
    Status,
    SubsampledFourier,
    SubsampledWalsh,
    UndecimatedWavelet,
    Wavelet,
)
from firenet.problems import AnalysisProblem
from firenet.problems.gap import within
from firenet.problems.pair import OperatorPair
from firenet.sensing.fourier import fourier_samples
from firenet.solver import FixedSteps, RadialSearch
from firenet.solver.analysis_kernel import AnalysisKernel
from firenet.solver.schedules import Schedule
from firenet.transforms import AnalysisOperator, TightFrame, Union, WalshHadamard
from laws import Probe, assert_near, assert_refuses, norm
from oracles import Recovery


def some(*shape: int) -> Tensor:
    mask = uniform(shape, seed=sum(shape)) < 0.6
    mask.view(-1)[0] = True
    return mask


def draw(shape: tuple[int, ...], dtype: torch.dtype, seed: int = 0) -> Tensor:
    return Probe(dtype, seed=seed).draw(shape)


@dataclass(frozen=True)
class Setup:
    """Sensing and frame, and the dtype of the measurements."""

    sensing: LinearOperator
    frame: AnalysisOperator
    dtype: torch.dtype = torch.complex128

    def dense(self) -> tuple[np.ndarray, np.ndarray]:
        """A and W; a row of A for each number of the measurements."""
        kind = self.dtype
        return self.sensing.as_matrix(kind).numpy(), self.frame.as_matrix(kind).numpy()

    def data(self, *batch: int, seed: int = 0) -> Tensor:
        """Measurements of something with jumps, with noise."""
        x = draw((*batch, *self.sensing.in_shape), self.dtype, seed)
        x = x.sign() if not x.is_complex() else x.real.sign() + 0.3j * x.imag.sign()
        y = self.sensing(x)
        return self.sensing.restrict(y + 0.05 * draw(tuple(y.shape), self.dtype, seed + 1))


COMPLEX, REAL = torch.complex128, torch.float64


def union(shape: tuple[int, ...], *parts: tuple[str, int]) -> Union:
    return Union([UndecimatedWavelet(shape, *part) for part in parts])


def no_mean(*shape: int) -> Tensor:
    mask = some(*shape)
    mask.view(-1)[0] = False
    return mask


SETUPS: dict[str, Callable[[], Setup]] = {
    "Fourier": lambda: Setup(SubsampledFourier(some(4, 5)), UndecimatedWavelet((4, 5), "haar", 2)),
    "Fourier, 1-D": lambda: Setup(SubsampledFourier(some(13)), UndecimatedWavelet((13,), "sym4", 2)),
    "Fourier, 3-D": lambda: Setup(SubsampledFourier(some(2, 3, 4)), UndecimatedWavelet((2, 3, 4), "db2", 1)),
    "centred": lambda: Setup(SubsampledFourier(some(4, 5), centred=True), UndecimatedWavelet((4, 5), "haar", 1)),
    "coils": lambda: Setup(
        MultiCoilFourier(some(4, 5), draw((2, 4, 5), COMPLEX, 3)), UndecimatedWavelet((4, 5), "db2", 1)
    ),
    "Walsh": lambda: Setup(SubsampledWalsh(some(4, 4)), UndecimatedWavelet((4, 4), "haar", 2), REAL),
    "Walsh, odd frame axis": lambda: Setup(SubsampledWalsh(some(8)), UndecimatedWavelet((8,), "db3", 3), REAL),
    "Walsh, short last side": lambda: Setup(SubsampledWalsh(some(4, 2)), UndecimatedWavelet((4, 2), "haar", 1), REAL),
    "Walsh, no last side": lambda: Setup(SubsampledWalsh(some(8, 1)), UndecimatedWavelet((8, 1), "haar", 0), REAL),
    "matrix": lambda: Setup(Matrix(draw((6, 9), REAL, 1) / 3), UndecimatedWavelet((9,), "haar", 3), REAL),
    "complex matrix": lambda: Setup(Matrix(draw((6, 9), COMPLEX, 1) / 3), UndecimatedWavelet((9,), "haar", 3)),
    "orthonormal": lambda: Setup(SubsampledFourier(some(4, 4)), Wavelet((4, 4), "haar", 2)),
    "padded": lambda: Setup(SubsampledFourier(some(5, 3)), Wavelet((5, 3), "haar", 1)),
    "Walsh frame": lambda: Setup(Matrix(draw((5, 8), REAL, 2)), WalshHadamard((8,)), REAL),
    "no level": lambda: Setup(SubsampledFourier(some(6)), UndecimatedWavelet((6,), "haar", 0)),
    "union": lambda: Setup(SubsampledFourier(some(4, 5)), union((4, 5), ("haar", 1), ("db2", 1))),
    "union, coils": lambda: Setup(
        MultiCoilFourier(some(4, 5), draw((2, 4, 5), COMPLEX, 3)), union((4, 5), ("haar", 1), ("db2", 1))
    ),
    "TV": lambda: Setup(SubsampledFourier(some(4, 5)), Gradient((4, 5))),
    "TV, 1-D": lambda: Setup(SubsampledFourier(some(13)), Gradient((13,))),
    "TV, 3-D": lambda: Setup(SubsampledFourier(some(2, 3, 4)), Gradient((2, 3, 4))),
    "TV, no zero frequency": lambda: Setup(SubsampledFourier(no_mean(4, 5)), Gradient((4, 5))),
    "TV, centred": lambda: Setup(SubsampledFourier(some(4, 5), centred=True), Gradient((4, 5))),
    "TV, coils": lambda: Setup(MultiCoilFourier(some(4, 5), draw((2, 4, 5), COMPLEX, 3)), Gradient((4, 5))),
    "TV, Walsh": lambda: Setup(SubsampledWalsh(some(4, 4)), Gradient((4, 4)), REAL),
    "TV, matrix": lambda: Setup(Matrix(draw((6, 9), REAL, 1) / 3), Gradient((9,)), REAL),
    "TV, scaled": lambda: Setup(Matrix(1e6 * draw((6, 9), REAL, 1)), Gradient((9,)), REAL),
    "Neumann": lambda: Setup(SubsampledFourier(some(4, 5)), Gradient((4, 5), "neumann")),
    "Neumann, Walsh": lambda: Setup(SubsampledWalsh(some(4, 4)), Gradient((4, 4), "neumann"), REAL),
    "Neumann, 3-D": lambda: Setup(SubsampledFourier(some(2, 3, 2)), Gradient((2, 3, 2), "neumann")),
    "wavelets and TV": lambda: Setup(
        SubsampledFourier(some(4, 5)), Union([UndecimatedWavelet((4, 5), "haar", 1), Gradient((4, 5))], [1.0, 0.5])
    ),
    "wavelets and TV, Walsh": lambda: Setup(
        SubsampledWalsh(some(4, 4)), Union([UndecimatedWavelet((4, 4), "haar", 1), Gradient((4, 4))], [1.0, 0.5]), REAL
    ),
    "scaled": lambda: Setup(Matrix(1e6 * draw((6, 9), REAL, 1)), UndecimatedWavelet((9,), "haar", 2), REAL),
}
setups = pytest.mark.parametrize("name", SETUPS)
SPECTRAL = [
    *("Fourier", "Fourier, 1-D", "Fourier, 3-D", "no level", "union", "TV", "TV, 1-D", "TV, 3-D"),
    *("TV, no zero frequency", "wavelets and TV"),
]


def recovery(
    setup: Setup, weights: Tensor | None, lam: float, y: Tensor, kind: str = "norm", noise: float = 0
) -> Recovery:
    A, W = setup.dense()
    frame = setup.frame
    w = torch.ones(frame.penalty_shape, dtype=REAL) if weights is None else weights.expand(frame.penalty_shape)
    groups = None
    if frame.penalty_shape != frame.out_shape:
        rows, at, found = torch.arange(len(W)).view(frame.out_shape), 0, []
        for size in frame.groups or (frame.out_shape[0],):
            found += rows[at : at + size].flatten(1).mT.tolist()
            at += size
        groups = tuple(map(tuple, found))
    return Recovery(A, W, y.numpy().ravel(), w.numpy().ravel(), lam, groups, kind, noise)


def weights_of(setup: Setup, kind: str) -> Tensor | None:
    """The usual ones, a number a band, or one for each coefficient."""
    shape = setup.frame.penalty_shape
    if kind == "none":
        return Firenet(setup.sensing, setup.frame, form="analysis").problem.weights
    full = 10 ** (2 * uniform(shape, dtype=REAL, seed=5) - 1)
    return full if kind == "each" else full[(slice(None), *(slice(0, 1),) * (len(shape) - 1))]


# -------------------------------------------------------------------------------------------------------- coordinates


def bands(stacked: OperatorPair, u: Tensor) -> Tensor:
    prepared = stacked.prepare(u)
    parts = [stacked.band(g, prepared) for g in stacked.groups]
    return torch.cat(parts, dim=1).reshape(len(u), *stacked.sparsify.out_shape)


@setups
def test_coordinates_are_those_of_the_dense_stack(name: str) -> None:
    setup = SETUPS[name]()
    sensing, frame = setup.sensing, setup.frame
    stacked = OperatorPair(sensing, frame)
    x = draw((2, *sensing.in_shape), setup.dtype)
    u = stacked.pack(x)
    assert_near(stacked.unpack(u), x, 1e-13 * norm(x))
    assert_near(stacked.unpack_measured(stacked(u)), sensing(x), 1e-12 * norm(sensing(x)))
    assert_near(bands(stacked, u), stacked.unit * frame(x), 1e-11 * stacked.unit * norm(x))
    balance = 1.0 if frame.is_tight else 1 / frame.norm_bound.value
    assert stacked.unit == pytest.approx(balance * (sensing.norm_bound.value or 1.0), rel=1e-15)
    # The adjoint is that of (A; W) in these coordinates: inner products agree.
    q, p = stacked.pack_measured(setup.data(2)), draw((2, *frame.out_shape), setup.dtype, 7)
    dual = torch.cat([q, p.flatten(1)], dim=1)
    first, second = stacked.split(dual)
    assert torch.equal(first, q)
    assert torch.equal(second.reshape(p.shape), p)
    back = stacked.adjoint(dual)
    v = draw(tuple(u.shape), setup.dtype, 8)
    left = (v.conj() * back).flatten(1).sum(dim=1)
    right = (stacked(v).conj() * q).sum(dim=1) + (bands(stacked, v).conj() * p).flatten(1).sum(dim=1)
    assert_near(left, right, 1e-11 * norm(dual) * norm(v) * max(1.0, stacked.norm_bound.value))
    out = torch.empty_like(back)
    assert_near(stacked.adjoint(dual, out), back, 1e-13 * norm(back))
    # W of A*q + W*p, as the repair of p needs it.
    image = sensing.adjoint(stacked.unpack_measured(q)) / stacked.unit + frame.adjoint(p)
    assert_near(bands(stacked, stacked.lifted(back)), frame(frame.apply_gram_inverse(image)), 1e-11 * norm(image))


@setups
def test_the_stack_has_norm_one(name: str) -> None:
    setup = SETUPS[name]()
    stacked = OperatorPair(setup.sensing, setup.frame)
    units = torch.eye(math.prod(stacked.in_shape), dtype=setup.dtype).view(-1, *stacked.in_shape)
    K = torch.cat([stacked(units), bands(stacked, units).flatten(1)], dim=1).mT
    largest = torch.linalg.matrix_norm(K, 2).item()
    assert largest <= stacked.norm_bound.value * (1 + 1e-12)
    assert stacked.norm_bound.value == pytest.approx(1, abs=1e-10)
    assert stacked.is_isometry == (name in SPECTRAL)
    if stacked.is_isometry:
        assert stacked.norm_bound.kind == "exact"
        eye = torch.eye(K.shape[1], dtype=COMPLEX)
        if name == "TV, no zero frequency":
            eye[0, 0] = 0  # a constant is neither measured nor penalised
        assert_near(K.mH @ K, eye, 1e-10)


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
    for schedule in (AdaptiveRestarts(1e-7, 30000), FixedSteps(300), AdaptiveRestarts(1e-1, 300), PaperSchedule(5, 20)):
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
    sensing = SubsampledFourier(some(*frame.in_shape))
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


# ------------------------------------------------------------------------------------------------------- the network


def network(setup: Setup, schedule: Schedule, weights: Tensor | None = None) -> Firenet:
    return Firenet(setup.sensing, setup.frame, weights=weights, lam=0.1, schedule=schedule, form="analysis")


@setups
@pytest.mark.parametrize("schedule", [FixedSteps(7), PaperSchedule(3, 4)], ids=["fixed", "paper"])
def test_with_gradients_it_gives_the_same_numbers(name: str, schedule: Schedule) -> None:
    setup = SETUPS[name]()
    net, y = network(setup, schedule, weights_of(setup, "band")), setup.data(2)
    plain = net.solve(y).image
    for checkpoint in (None, 3):
        asked = y.clone().requires_grad_()
        image = net(asked, checkpoint=checkpoint)
        assert_near(image.detach(), net(y), 1e-11 * norm(plain))
        assert_near(image.detach(), plain, 1e-11 * norm(plain))
        (gradient,) = torch.autograd.grad(image.abs().square().sum(), asked)
        assert torch.isfinite(torch.view_as_real(gradient) if gradient.is_complex() else gradient).all()


@pytest.mark.parametrize("name", ["Fourier, 1-D", "coils", "Walsh", "orthonormal"])
def test_the_derivative_is_that_of_finite_differences(name: str) -> None:
    setup = SETUPS[name]()
    net = network(setup, FixedSteps(5))
    y = setup.data().requires_grad_()
    restrict = setup.sensing.restrict
    assert torch.autograd.gradcheck(lambda y: net(restrict(y)), (y,), eps=1e-7, atol=1e-5, rtol=1e-4)


@setups
def test_a_batch_is_a_loop_and_frozen_is_the_same(name: str) -> None:
    setup = SETUPS[name]()
    net, y = network(setup, AdaptiveRestarts(1e-4, 500)), torch.stack([setup.data(), 1e-3 * setup.data(seed=4)])
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
    net, y = network(setup, AdaptiveRestarts(1e-4, 2000)), setup.data()
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
        solution = network(setup, schedule).solve(y)
        assert not solution.image.any()
        assert solution.gap.item() == 0


@pytest.mark.parametrize("name", ["Fourier", "coils", "Walsh", "matrix"])
def test_single_precision_says_what_it_reached(name: str) -> None:
    setup = SETUPS[name]()
    single = setup.data().to(torch.complex64 if setup.dtype is COMPLEX else torch.float32)
    sensing = setup.sensing.to(torch.float32)
    solution = network(Setup(sensing, setup.frame), AdaptiveRestarts(1e-9, 3000)).solve(single)
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
    net, y = network(setup, FixedSteps(4), weights_of(setup, kind)), setup.data().to(torch.complex64)
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
    sensing = SubsampledFourier(some(8, 8)) @ Wavelet((8, 8), "haar", 2).H
    frame = UndecimatedWavelet((8, 8), "haar", 1)
    setup = Setup(sensing, frame)
    y = setup.data()
    solution = network(setup, AdaptiveRestarts(1e-6, 20000)).solve(y)
    known = recovery(setup, None, 0.1, y)
    assert known.objective(solution.image.numpy().ravel()) <= known.optimum().value * (1 + 3e-6)


def test_a_radial_search_gets_there() -> None:
    setup = SETUPS["Fourier"]()
    solution = network(setup, RadialSearch(1e-2, 20000)).solve(setup.data())
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
    net = Firenet(sensing, frame, weights=weights, lam=1e-2, schedule=AdaptiveRestarts(1e-8, 20000))
    solution = net.solve(sensing(x.to(COMPLEX)))
    assert norm(solution.image - x) <= 1e-2 * norm(x)
    zero_filled = sensing.adjoint(sensing(x.to(COMPLEX)))
    assert norm(zero_filled - x) >= 0.1 * norm(x)


def test_layers_hold_what_they_should() -> None:
    setup = SETUPS["Fourier"]()
    layers, _ = network(setup, FixedSteps(3))._layers(setup.data(2), None, track=True)
    assert isinstance(layers.kernel, AnalysisKernel)
    assert not hasattr(layers, "_q_start")  # as large as ten images, and nobody would look at it
    assert layers.q.shape == (2, int(setup.sensing.restrict(torch.ones(4, 5)).sum()) + 7 * 20)


# ------------------------------------------------------------------------------------------------------------ refusals


def test_refusals() -> None:
    sensing, frame = SubsampledFourier(some(4, 4)), UndecimatedWavelet((4, 4), "haar", 1)
    assert_refuses(lambda: Firenet(sensing, form="analysis"), "analysis with a transform")
    assert_refuses(lambda: Firenet(sensing, frame, form="both"), "'both'")  # pyright: ignore[reportArgumentType]
    assert_refuses(lambda: Firenet(sensing, UndecimatedWavelet((8, 8)), form="analysis"), "(4, 4)", "(8, 8)")
    for bad in (torch.zeros(4, 1, 1), -torch.ones(4, 1, 1), torch.ones(3, 1, 1)):
        with pytest.raises(BadInput):
            Firenet(sensing, frame, weights=bad)
    assert Firenet(sensing, frame).form == "analysis"
    assert Firenet(sensing, Wavelet((4, 4), "haar")).form == "synthesis"


@pytest.mark.parametrize("spec", ["undecimated:haar:1+sym4:2", "tv", "undecimated:sym4:2+tv"])
@pytest.mark.parametrize("schedule", ["frozen", "relaxed", "paper", "fixed"])
@pytest.mark.parametrize("coils", [0, 2])
def test_the_derivative_written_out_is_that_of_autograd(
    spec: str, schedule: str, coils: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from firenet import PaperSchedule
    from firenet.reconstruction import default_network
    from firenet.solver import FixedSteps
    from firenet.solver.analysis_kernel import AnalysisKernel, _Sweep
    from firenet.solver.schedules import FrozenSteps, Run

    rng = np.random.default_rng(0)

    def draw(*shape: int) -> torch.Tensor:
        return normal(*shape, dtype=torch.complex128, seed=rng)

    mask = uniform(12, 14, seed=rng) < 0.5
    maps = draw(coils, 12, 14) if coils else None
    rho = 1.8 if schedule == "relaxed" else 1.0
    frozen = FrozenSteps((Run(0.7, 1.2, 7, rho, "average"), Run(0.5, 1.5, 5, rho, "last")))
    plans = {"paper": PaperSchedule(3, 4), "fixed": FixedSteps(9)}  # their steps depend on y
    net = default_network(fourier_samples(mask, maps), sparsify=spec, lam=0.2, schedule=plans.get(schedule, frozen))
    y, x0 = net.sensing(draw(2, 12, 14)), draw(12, 14)
    weight = uniform(12, 14, dtype=torch.float64, seed=rng)

    def derivatives(checkpoint: int | None) -> list[torch.Tensor]:
        at = [y.clone().requires_grad_(), x0.clone().requires_grad_()]
        image = net(*at, checkpoint=checkpoint)
        return [image.detach(), *torch.autograd.grad((image.abs().square() * weight).sum(), at)]

    swept, apply = [], _Sweep.apply
    monkeypatch.setattr(_Sweep, "apply", lambda *inputs: swept.append(1) or apply(*inputs))
    found, again = derivatives(None), derivatives(3)
    assert len(swept) >= 2 * net.schedule.layers
    monkeypatch.setattr(AnalysisKernel, "_swept", lambda self, *state: False)
    wanted = derivatives(None)
    for a, b, c in zip(found, again, wanted, strict=True):
        assert torch.allclose(a, c, rtol=1e-9, atol=1e-12)
        assert torch.allclose(b, c, rtol=1e-9, atol=1e-12)
    assert all(t.abs().max() > 1e-6 for t in wanted)


def test_a_second_derivative_is_refused_or_right() -> None:
    from firenet.reconstruction import default_network
    from firenet.solver import FixedSteps
    from firenet.solver.analysis_kernel import twice_differentiable

    rng = np.random.default_rng(0)
    mask = uniform(6, 8, seed=rng) < 0.7
    net = default_network(fourier_samples(mask), sparsify="tv", lam=0.2, schedule=FixedSteps(5, omega=1.0))
    y = net.sensing(normal(6, 8, dtype=torch.complex128, seed=rng))
    e = net.sensing(normal(6, 8, dtype=torch.complex128, seed=rng))

    def slope(at: torch.Tensor, create_graph: bool) -> torch.Tensor:
        value = net(at).abs().square().square().sum()
        return torch.autograd.grad(value, at, create_graph=create_graph)[0]

    with pytest.raises(BadInput, match="twice_differentiable"):
        slope(y.clone().requires_grad_(), True)
    with twice_differentiable():
        at = y.clone().requires_grad_()
        (product,) = torch.autograd.grad((slope(at, True).conj() * e).real.sum(), at)
    step = 1e-6
    ends = [slope((y + sign * step * e).requires_grad_(), False) for sign in (1, -1)]
    assert torch.allclose(product, (ends[0] - ends[1]) / (2 * step), rtol=1e-4, atol=1e-5)
