"""The network: what goes in and out, first images, gradients, choices, refusals, copies and moves."""

from __future__ import annotations

import copy
import io
import math
import warnings
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor

from cases import EPS, Data, Iterate, iterates, kinds, problem, relative, three_coils
from draws import normal, uniform
from firenet import (
    AdaptiveRestarts,
    BadInput,
    Firenet,
    Matrix,
    MultiCoilFourier,
    PaperSchedule,
    SparsityLevels,
    Status,
    SubsampledFourier,
    SubsampledWalsh,
    Wavelet,
)
from firenet.solver import FixedSteps
from firenet.solver.schedules import Schedule
from oracles import soft

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


def coil_net(dtype: torch.dtype) -> Firenet:
    operator, frame = three_coils(torch.complex64)
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
