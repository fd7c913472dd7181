"""The square-root LASSO: objective, proximal maps, and a gap that is an upper bound whatever it is given."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from draws import normal, uniform
from firenet import BadInput, Matrix, SparsityLevels, SubsampledFourier, Wavelet
from firenet.operators.linear import LinearOperator
from firenet.problems import SynthesisProblem
from firenet.problems.gap import prove, relative_gap
from laws import SINGLE
from oracles import dual_bound, objective, optimum, soft

DTYPES = [torch.float64, torch.complex128]
ASKED = [torch.float32, torch.complex64] if SINGLE else DTYPES  # see conftest.py
NAMES = ["real", "complex"]
both = pytest.mark.parametrize("dtype", DTYPES, ids=NAMES)


def draw(*shape: int, dtype: torch.dtype = torch.complex128, seed: int = 0) -> Tensor:
    rng = np.random.default_rng(seed + sum(shape))
    return normal(shape, dtype=dtype, seed=rng)


def array(x: Tensor) -> Any:
    """The same numbers in double precision."""
    return x.resolve_conj().to(torch.complex128 if x.is_complex() else torch.float64).numpy()


def step(tau: float) -> Tensor:
    return torch.tensor(tau, dtype=torch.float64)


def random_weights(n: int, spread: float = 1.0) -> Tensor:
    """Weights between 10^-spread and 10^spread."""
    rng = np.random.default_rng(n)
    return 10 ** (spread * (2 * uniform(n, dtype=torch.float64, seed=rng) - 1))


def lasso(m: int, n: int, dtype: torch.dtype, *, lam: float = 0.1, spread: float = 1.0, scale: float = 1.0):
    A = draw(m, n, dtype=dtype) * scale
    return A, SynthesisProblem(Matrix(A), random_weights(n, spread), lam)


# ----------------------------------------------------------------------------------------------------------- objective


@both
@pytest.mark.parametrize(
    ("m", "n", "scale"), [(3, 5, 1.0), (1, 1, 1.0), (7, 4, 1.0), (3, 5, 1e-12), (3, 5, 1e12)], ids=str
)
def test_objective_is_the_formula(dtype: torch.dtype, m: int, n: int, scale: float):
    A, problem = lasso(m, n, dtype, scale=scale)
    z, y = draw(n, dtype=dtype, seed=1), draw(m, dtype=dtype, seed=2) * scale
    assert problem.weights is not None
    expected = objective(array(A), array(y), array(problem.weights), problem.lam, array(z))
    assert problem.objective(z, y).item() == pytest.approx(expected, rel=1e-13)


@both
def test_objective_without_weights_is_that_with_ones(dtype: torch.dtype):
    A, _ = lasso(3, 5, dtype)
    z, y = draw(5, dtype=dtype, seed=1), draw(3, dtype=dtype, seed=2)
    plain, ones = (SynthesisProblem(Matrix(A), w, 0.3) for w in (None, torch.ones(5, dtype=torch.float64)))
    assert plain.objective(z, y).item() == pytest.approx(ones.objective(z, y).item(), rel=1e-15)
    assert plain.gap(z, y, y).item() == pytest.approx(ones.gap(z, y, y).item(), rel=1e-13)


def test_weights_broadcast_to_the_coefficients():
    operator = SubsampledFourier(torch.ones(4, 8))
    w = torch.linspace(1, 2, 8, dtype=torch.float64)
    row, full = (SynthesisProblem(operator, v, 0.3) for v in (w, w.expand(4, 8)))
    z, y = draw(4, 8), draw(4, 8, seed=3)
    assert row.objective(z, y) == full.objective(z, y)
    assert torch.equal(row.shrink(z, step(0.5)), full.shrink(z, step(0.5)))
    assert torch.equal(row.feasible(y), full.feasible(y))


def test_numbers_are_one_a_batch_item_and_summed_in_double():
    problem = SynthesisProblem(SubsampledFourier(torch.ones(4, 8)), None, 0.3)
    z, y = draw(2, 3, 4, 8, dtype=torch.complex64), draw(2, 3, 4, 8, dtype=torch.complex64, seed=4)
    for value in (problem.objective(z, y), problem.dual_value(y, y), problem.gap(z, y, y)):
        assert value.shape == (2, 3)
        assert value.dtype == torch.float64
    for i in range(2):
        for j in range(3):
            assert problem.gap(z, y, y)[i, j].item() == pytest.approx(
                problem.gap(z[i, j], y[i, j], y[i, j]).item(), rel=1e-6
            )
    # A sum of a million float32 numbers that single precision would get wrong in the third digit.
    long = SynthesisProblem(SubsampledFourier(torch.ones(2**20)), None, 1.0)
    z = torch.full((2**20,), 0.1, dtype=torch.complex64)
    zero = torch.zeros_like(z)
    assert (long.objective(z, zero) - long.objective(zero, -long.operator(z))).item() == pytest.approx(
        2**20 * float(np.float32(0.1)), rel=1e-12
    )
    # And squares that are no float32.
    y = torch.full((2, 4, 8), 1e30, dtype=torch.complex64)
    assert problem.objective(0 * y, y)[0].item() == pytest.approx(1e30 * math.sqrt(32), rel=1e-6)


# -------------------------------------------------------------------------------------------------------------- shrink

VALUES = {
    "generic": [3 - 4j, -0.2 + 0.1j, 1e-3j, -2],
    "on the threshold": [1, -1, 1j, -1j],
    "zeros": [0, 0, 0, 0],
    "tiny and huge": [1e-12, 1e12, 1e-12j, -1e12j],
}


def problem_for(n: int, lam: float = 1.0, weights: Tensor | None = None) -> SynthesisProblem:
    return SynthesisProblem(Matrix(torch.eye(n, dtype=torch.float64)), weights, lam)


@both
@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
@pytest.mark.parametrize("tau", [1e-6, 1.0, 1e6])
def test_shrink_meets_the_optimality_condition(dtype: torch.dtype, values: list[complex], tau: float):
    v = torch.tensor(values) if dtype.is_complex else torch.tensor(values).real
    v = v.to(dtype)
    w = torch.tensor([1.0, 0.5, 2.0, 1.0], dtype=torch.float64)
    p = problem_for(4, 0.7, w).shrink(v, step(tau))
    threshold = tau * 0.7 * w
    size = v.abs().clamp(min=1e-30)
    assert (((v - p).abs() - threshold) / size).max() <= 1e-15  # a subgradient at 0 everywhere
    direction = p / p.abs().where(p != 0, 1.0)
    off = ((v - p) - threshold * direction).abs().where(p != 0, 0.0)
    assert (off / size).max() <= 1e-15  # the gradient elsewhere


@both
def test_shrink_minimises_by_brute_force(dtype: torch.dtype):
    """tau lam w |x| + |x - v|^2 / 2 on a grid around the answer, on rays and at zero."""
    w = random_weights(6, 0.5)
    v = draw(6, dtype=dtype) * 2
    tau, lam = 0.8, 0.9
    p = problem_for(6, lam, w).shrink(v, step(tau))

    def cost(x: Tensor) -> Tensor:
        return tau * lam * w * x.abs() + (x - v).abs() ** 2 / 2

    line = torch.linspace(-3, 3, 121, dtype=torch.float64)
    grid = line[:, None] + 1j * line if dtype.is_complex else line
    points = grid.reshape(-1, 1).to(dtype)
    for candidates in (points, v + points * 0.1, p + points * 1e-3, p * points.real, torch.zeros(1, 6, dtype=dtype)):
        assert (cost(p) <= cost(candidates) + 1e-14).all()
    assert (p == 0).any()
    assert (p != 0).any()


@both
def test_shrink_is_that_of_numpy(dtype: torch.dtype):
    w = random_weights(50)
    v = draw(50, dtype=dtype)
    p = problem_for(50, 0.5, w).shrink(v, step(1.3))
    np.testing.assert_allclose(array(p), soft(array(v), 1.3 * 0.5 * array(w)), rtol=1e-14, atol=1e-15)


@both
def test_moreau_decomposition(dtype: torch.dtype):
    """v = prox of tau f at v + tau (projection of v / tau on the box |q_i| <= lam w_i)."""
    w, v, tau, lam = random_weights(40), draw(40, dtype=dtype), 0.7, 0.4
    u = v / tau
    projection = u * (lam * w / u.abs()).clamp(max=1)
    p = problem_for(40, lam, w).shrink(v, step(tau))
    torch.testing.assert_close(p + tau * projection, v, rtol=1e-14, atol=1e-15)


@both
@pytest.mark.parametrize("scale", [1e-8, 1e-2, 1.0, 1e2, 1e8])
def test_proximal_maps_do_not_expand(dtype: torch.dtype, scale: float):
    n = 30
    problem = SynthesisProblem(Matrix(torch.eye(n, dtype=dtype)), random_weights(n), 0.5)
    a, b = draw(200, n, dtype=dtype), draw(200, n, dtype=dtype, seed=9)
    b[::2] = a[::2] + scale * b[::2]  # near ones too
    distance = torch.linalg.vector_norm(a - b, dim=-1)
    for mapped in (problem.shrink(a, torch.tensor(1.0)) - problem.shrink(b, torch.tensor(1.0)),
                   problem.clip(a * 0.3) / 0.3 - problem.clip(b * 0.3) / 0.3):  # fmt: skip
        assert (torch.linalg.vector_norm(mapped, dim=-1) <= distance * (1 + 1e-7) + 1e-14).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128, torch.float32, torch.complex64], ids=str)
def test_shrink_gives_exact_zeros_up_to_the_threshold_and_keeps_the_phase(dtype: torch.dtype):
    angle = torch.linspace(0, 2 * math.pi, 64, dtype=torch.float64)
    unit = torch.polar(torch.ones_like(angle), angle)
    unit = unit.to(dtype) if dtype.is_complex else torch.sign(unit.real + 1e-9).to(dtype)
    problem = problem_for(64)
    for below in (0.0, 1e-30, 0.5, 1 - 1e-6):
        assert not problem.shrink(unit * below, torch.tensor(1.0)).abs().any()
    if not dtype.is_complex:
        assert not problem.shrink(unit, torch.tensor(1.0)).abs().any()
    p = problem.shrink(unit * 3, torch.tensor(1.0))
    torch.testing.assert_close(p, unit * 2)
    assert p.dtype == dtype


single = pytest.mark.parametrize("dtype", [torch.float32, torch.complex64], ids=str)
EXTREMES = [1e-30, 1e-15, 1.0, 1e15, 1e30]


def single_values(dtype: torch.dtype) -> Tensor:
    values = torch.tensor([3 + 4j, -1.5, 0.1 - 0.1j, 0])
    return values.to(dtype) if dtype.is_complex else values.real.to(dtype)


@single
@pytest.mark.parametrize("scale", EXTREMES)
def test_shrink_is_homogeneous_in_single_precision(dtype: torch.dtype, scale: float):
    v, problem = single_values(dtype), problem_for(4)
    p = problem.shrink(v * scale, torch.tensor(scale)) / scale
    torch.testing.assert_close(p, problem.shrink(v, torch.tensor(1.0)), rtol=1e-5, atol=1e-7)


@single
@pytest.mark.parametrize("scale", EXTREMES)
def test_clip_reaches_the_unit_ball_in_single_precision(dtype: torch.dtype, scale: float):
    v = single_values(dtype)
    clipped = problem_for(4).clip(v * scale).to(torch.complex128)
    expected = v.to(torch.complex128)
    expected *= min(scale, 1 / torch.linalg.vector_norm(expected).item())
    torch.testing.assert_close(clipped, expected, rtol=1e-5, atol=0)


# ---------------------------------------------------------------------------------------------------------------- clip


@both
@pytest.mark.parametrize("size", [0.0, 1e-12, 0.5, 1.0, 1.5, 1e12])
def test_clip_is_the_projection_on_the_unit_ball(dtype: torch.dtype, size: float):
    problem = SynthesisProblem(SubsampledFourier(torch.ones(4, 3)), None, 1.0)
    u = draw(5, 4, 3, dtype=dtype)
    u = size * u / torch.linalg.vector_norm(u, dim=(-2, -1), keepdim=True)
    p = problem.clip(u)
    assert (torch.linalg.vector_norm(p, dim=(-2, -1)) <= 1 + 1e-15).all()
    if size < 1:
        assert torch.equal(p, u)
    # The variational inequality Re<u - p, b - p> <= 0 for points b of the ball: nothing in it is nearer.
    b = draw(300, 5, 4, 3, dtype=dtype, seed=5)
    b = b / torch.linalg.vector_norm(b, dim=(-2, -1), keepdim=True)
    inner = ((u - p).conj() * (b - p)).real.sum(dim=(-2, -1))
    assert (inner <= 1e-14 * max(size, 1)).all()


# ----------------------------------------------------------------------------------------------------------- gradients


@both
def test_proximal_maps_pass_gradcheck_away_from_the_kink(dtype: torch.dtype):
    problem = SynthesisProblem(Matrix(torch.eye(6, dtype=dtype)), random_weights(6, 0.2), 0.5)
    v = draw(2, 6, dtype=dtype, seed=1) * 2
    v[:, ::3] *= 0.1
    threshold = 0.8 * 0.5 * random_weights(6, 0.2)
    assert ((v.abs() - threshold).abs() > 1e-3).all()
    assert (v.abs() < threshold).any()
    assert (v.abs() > threshold).any()
    v.requires_grad_()
    tau = torch.tensor([[0.8], [0.81]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(problem.shrink, (v, tau))
    for size in (0.5, 2.0):  # inside and outside the ball
        u = v.detach() / torch.linalg.vector_norm(v.detach(), dim=-1, keepdim=True) * size
        assert torch.autograd.gradcheck(problem.clip, (u.requires_grad_(),))


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128, torch.float32, torch.complex64], ids=str)
@pytest.mark.parametrize(
    ("value", "tau"), [(0.0, 1.0), (1.0, 1.0), (1e-30, 1.0), (0.0, 1e-30), (1e5, 1e-20), (1e15, 1.0)], ids=str
)
def test_gradients_are_never_nan(dtype: torch.dtype, value: float, tau: float):
    problem = problem_for(3)
    for mapping in (lambda v: problem.shrink(v, torch.tensor(tau, dtype=dtype).abs()), problem.clip):
        v = torch.full((3,), value, dtype=dtype, requires_grad=True)
        result = mapping(v)
        assert isinstance(result, Tensor)
        (torch.view_as_real(result) if dtype.is_complex else result).sum().backward()
        assert v.grad is not None
        assert torch.isfinite(v.grad.abs()).all()


# -------------------------------------------------------------------------------------------------------- weak duality

PROBLEMS = {
    "12 x 20": (12, 20, 0.1, 0.5),
    "ill-scaled weights": (10, 16, 0.1, 3.0),
    "more rows than columns": (16, 10, 0.1, 0.5),
    "one by one": (1, 1, 0.1, 0.0),
    "tiny lambda": (10, 16, 1e-4, 0.5),
    "zero solution": (10, 16, 1e3, 0.5),
}


@pytest.mark.parametrize("dtype", ASKED, ids=NAMES)
@pytest.mark.parametrize(("m", "n", "lam", "spread"), PROBLEMS.values(), ids=PROBLEMS)
def test_gap_bounds_the_suboptimality_of_anything(dtype: torch.dtype, m: int, n: int, lam: float, spread: float):
    A, problem = lasso(m, n, dtype, lam=lam, spread=spread)
    y = draw(m, dtype=dtype, seed=1)
    assert problem.weights is not None
    best = optimum(array(A), array(y), array(problem.weights), lam)
    x = torch.from_numpy(best.x).to(dtype)
    residual = A @ x - y
    for z_scale in (0.0, 1e-8, 1.0, 1e8):
        for q_scale in (0.0, 1e-8, 1e-2, 1.0, 1e2, 1e8, 1e200 if dtype in DTYPES else 1e30):
            z = x + z_scale * draw(10, n, dtype=dtype, seed=3)
            q = q_scale * draw(10, m, dtype=dtype, seed=4)
            q[:2] = q_scale * residual
            gap = problem.gap(z, q, y.expand(10, m))
            assert torch.isfinite(gap).all()
            value = np.array([objective(array(A), array(y), array(problem.weights), lam, array(v)) for v in z])
            assert (array(gap) >= value - best.value - 50 * torch.finfo(dtype).eps * value).all()
    # And not a lazy bound: with the best dual point it is what is left between the minimum and Clarabel's bound. Both
    # are sums of m + n products; dual point and data have norms of about 1 and |y|.
    dual = torch.from_numpy(best.dual).to(dtype)
    rounding = 4 * (m + n) * torch.finfo(dtype).eps * (best.value + torch.linalg.vector_norm(y).item())
    proof = problem.prove(x, dual, y)
    # The lower bound is rounded down: each entry of A*q may be a small sum of large products, and is held to its limit.
    sums = A.abs().mT @ dual.abs() / (lam * problem.weights)
    rounding += best.value * 2 * (m + 8) * torch.finfo(dtype).eps / 2 * sums.max().item()
    assert proof.gap.item() <= best.value - best.lower + rounding + proof.rounding.item()


@both
@pytest.mark.parametrize("scale", [0.0, 1e-300, 1e-8, 1.0, 1e8, 1e150, 1e300], ids=str)
def test_feasible_points_are_feasible(dtype: torch.dtype, scale: float):
    A, problem = lasso(8, 12, dtype, lam=0.3, spread=2.0)
    q = scale * draw(20, 8, dtype=dtype)
    f = problem.feasible(q)
    assert torch.isfinite(f.abs()).all()
    assert problem.weights is not None
    assert (torch.linalg.vector_norm(f, dim=-1) <= 1 + 1e-14).all()
    assert ((f @ A.conj()).abs() <= 0.3 * problem.weights * (1 + 1e-14)).all()
    if 0 < scale <= 1e-8:
        assert torch.equal(f, q), "what is feasible already stays"
    if scale == 1.0:
        # The smallest number that does it: one of the constraints is tight.
        tight = torch.maximum(
            torch.linalg.vector_norm(f, dim=-1), ((f @ A.conj()).abs() / (0.3 * problem.weights)).amax(dim=-1)
        )
        torch.testing.assert_close(tight, torch.ones(20, dtype=torch.float64), rtol=1e-13, atol=0)


@both
def test_gap_is_that_of_numpy(dtype: torch.dtype):
    A, problem = lasso(8, 12, dtype)
    z, q, y = draw(12, dtype=dtype), draw(8, dtype=dtype, seed=6), draw(8, dtype=dtype, seed=7)
    assert problem.weights is not None
    arguments = array(A), array(y), array(problem.weights), problem.lam
    expected = objective(*arguments, array(z)) - dual_bound(*arguments, array(q))
    assert problem.gap(z, q, y).item() == pytest.approx(expected, rel=1e-13)
    q = -q if (q.conj() @ y).real > 0 else q  # of the two the one that bounds something
    assert problem.gap(z, q, y).item() == pytest.approx(
        objective(*arguments, array(z)) - dual_bound(*arguments, array(q)), rel=1e-13
    )
    best = problem.dual_value(problem.feasible(q, y), y).item()
    assert best == pytest.approx(dual_bound(*arguments, array(q)), rel=1e-13)
    # without y it is only divided where it must be
    shrunk = problem.dual_value(problem.feasible(q), y).item()
    assert best >= shrunk * (1 - 1e-13)


def test_gap_for_real_measurements_with_a_complex_dual():
    _, problem = lasso(8, 12, torch.complex128)
    z, q, y = draw(12), draw(8, seed=6), draw(8, dtype=torch.float64, seed=7)
    expected = problem.gap(z, q, y.to(torch.complex128)).item()
    assert problem.gap(z, q, y).item() == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize(
    ("gap", "bound", "zero", "beyond", "expected"),
    [
        (0.0, 1.0, False, 0.0, 0.0),
        (0.5, 0.5, False, 0.0, 1.0),  # at most twice the minimum
        (0.001, 1.0, False, 0.0, 1e-3),
        (1.0, 0.0, False, 0.0, math.inf),  # nothing is known from below
        (1e-17, 0.0, True, 0.0, 0.0),  # zero to rounding
        (1e-300, 0.0, False, 0.0, math.inf),
        (math.nan, 0.0, False, 0.0, math.nan),
        (math.nan, 1.0, False, 0.0, math.nan),
        (math.inf, 0.0, False, 0.0, math.inf),
        (0.0, 0.0, False, 0.5, math.inf),  # zero does not fit the data
        (0.0, 1.0, False, 0.5, 0.5),  # what does not fit is never shown as optimal
    ],
)
def test_relative_gap(gap: float, bound: float, zero: bool, beyond: float, expected: float):
    gaps, bounds, violations = (
        torch.tensor(pair, dtype=torch.float64) for pair in ((gap, 0.5), (bound, 1.0), (beyond, 0.0))
    )
    relative = relative_gap(gaps, bounds, torch.tensor([zero, False]), violations)
    assert relative[0].item() == pytest.approx(expected, rel=1e-12, nan_ok=True)
    assert relative[1].item() == 0.5  # its neighbour in the batch


def test_what_rounding_hides_is_not_proved():
    """A gap of zero with a rounding as large as the lower bound proves nothing; a minimum of zero does."""
    one, no = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    hidden = prove(one, one, one, no, no, no, no, one * 1e-9)
    assert hidden.gap.item() == 0
    assert hidden.zero.item()  # for the objective is at most its own rounding
    hidden = prove(one, 0.5 * one, one, no, no, no, no, one * 1e-9)
    assert hidden.relative_gap.item() == 0
    assert not hidden.reached(1e-3).item()
    assert hidden.reached(0.5).item()
    false = prove(one, 1e-9 * one, 1.1 * one, no, no, no, no, one)
    assert false.contradiction.item()
    assert false.lower_bound.item() == 0
    assert not false.reached(0.9).item()


# ------------------------------------------------------------------------------------------------------------ refusals


def refusal(weights: Any = None, lam: float = 0.1, operator: LinearOperator | None = None) -> BadInput:
    with pytest.raises(BadInput) as caught:
        SynthesisProblem(operator or Matrix(torch.eye(3, dtype=torch.float64)), weights, lam)
    for part in (caught.value.needed, caught.value.got, caught.value.do):
        assert part
        assert not part.endswith(".")
    return caught.value


@pytest.mark.parametrize(
    ("weights", "got"),
    [
        ([1.0, 0.0, 1.0], "0"),
        ([1.0, -2.0, 1.0], "-2"),
        ([1.0, math.nan, 1.0], "nan"),
        ([1.0, math.inf, 1.0], "inf"),
        ([1.0, -math.inf, 1.0], "-inf"),
        ([1.0 + 0j, 1.0, 1.0], "complex"),
        ([1, 1, 1], "int"),
    ],
    ids=["zero", "negative", "nan", "inf", "minus inf", "complex", "integer"],
)
def test_bad_weights_are_refused_with_their_value_and_the_advice(weights: list[Any], got: str):
    error = refusal(torch.tensor(weights))
    assert got in error.got
    assert "small positive weight" in error.do


@pytest.mark.parametrize("shape", [(4,), (2,), (1, 3), (2, 3), (3, 1), (0,)], ids=str)
def test_weights_of_a_wrong_shape_are_refused(shape: tuple[int, ...]):
    error = refusal(torch.ones(shape))
    assert "(3,)" in error.needed
    assert str(shape) in error.got


@pytest.mark.parametrize("lam", [0.0, -1.0, math.nan, math.inf, -math.inf])
def test_bad_lambda_is_refused(lam: float):
    assert str(lam) in refusal(lam=lam).got


def test_weights_of_levels_need_no_second_look():
    frame = Wavelet((8, 8), "haar")
    sizes = tuple(torch.bincount(frame.levels().flatten()).tolist())
    levels = SparsityLevels(sizes, tuple(max(1, n // 4) for n in sizes))
    w = torch.from_numpy(levels.spread(levels.weights(), frame.levels().numpy()))
    SynthesisProblem(SubsampledFourier(torch.ones(8, 8)) @ frame.H, w, 0.1)
