"""guarantee: depth, error bounds, and whether what they promise is true.

The formulas are written here a second time, as theory.md quotes them. The promises are tried on matrices
whose null space property is known with proof, and with signals, data and duals drawn at random.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

from firenet.guarantees.constants import Constants
from firenet.guarantees.guarantee import Guarantee
from firenet.operators.matrix import Matrix
from firenet.operators.norm_bound import NormBound
from firenet.problems.synthesis import SynthesisProblem
from firenet.sensing.fourier import SubsampledFourier
from firenet.sparsity import SparsityLevels, defect
from firenet.transforms.wavelet import Wavelet
from known_matrices import candidates, gaussian, signal, with_kernel, without_kernel
from laws import assert_refuses
from oracles import paper_network

CODE = SparsityLevels((4, 12, 48, 192, 768, 3072), (4, 12, 48, 50, 100, 100))  # the sparsities of the paper's code

LEVELS = st.lists(st.tuples(st.integers(1, 30), st.integers(0, 30)), min_size=1, max_size=8).map(
    lambda pairs: SparsityLevels(tuple(s + more for s, more in pairs), tuple(s for s, _ in pairs))
)


def of_norm(levels: SparsityLevels, norm: float = 1.0, **constants: Any) -> Guarantee:
    """The guarantee of an operator with this norm: nothing else of the operator counts before there are data."""
    row = norm * np.eye(1, sum(levels.sizes))
    return Guarantee(row, Constants(levels, **constants))


@st.composite
def guarantees(draw: st.DrawFn, **fixed: Any) -> Guarantee:
    levels = draw(LEVELS)
    r = len(levels.sizes)
    weights = draw(st.none() | st.lists(st.floats(0.1, 10), min_size=r, max_size=r))
    arguments: dict[str, Any] = {
        "rho": draw(st.floats(0.01, 0.99)),
        "gamma": draw(st.floats(0.01, 100)),
        "exact": draw(st.booleans()),
        "weights": weights,
    }
    return of_norm(levels, draw(st.floats(1e-3, 1e3)), **{**arguments, **fixed})


# --- layers


@given(guarantees(), st.floats(0.05, 0.95), st.floats(1e-9, 1e3), st.floats(0, 1e6), st.none() | st.floats(0.01, 1))
def test_layers_are_enough_and_no_more(g: Guarantee, nu: float, accuracy: float, size: float, part: Any) -> None:
    lam = None if part is None else part * g.constants.lam
    c2 = g.constants.at(lam)[1]
    p, n = g.inner(nu, lam=lam), g.outer(accuracy, size, nu, lam=lam)
    assert p - 1 < 2 * c2 * g.norm / nu * (1 + 1e-12)
    assert p >= 2 * c2 * g.norm / nu * (1 - 1e-12)
    assert c2 * nu**n * size <= accuracy
    assert n == 1 or c2 * nu ** (n - 1) * size > accuracy * (1 - 1e-9)
    assert n >= 1
    assert g.layers(accuracy, size, nu, lam=lam) == n * p


def test_restarts_are_enough_where_logarithms_round() -> None:
    g = of_norm(CODE)
    for k in range(1, 40):
        for nu in (0.5, 0.3, math.exp(-1)):
            at = g.constants.C2 * nu**k * 3.0
            for accuracy in (at, math.nextafter(at, 0), math.nextafter(at, 1)):
                n = g.outer(accuracy, 3.0, nu)
                assert g.constants.C2 * nu**n * 3.0 <= accuracy
                assert n <= k + 1


def test_more_is_asked_for_more() -> None:
    g = of_norm(CODE)
    outer = [g.outer(10.0**-k, 100) for k in range(10)]
    assert outer == sorted(outer)
    assert len(set(outer)) == 10
    assert [g.outer(1e-3, 10.0**k) for k in range(9)] == sorted({g.outer(1e-3, 10.0**k) for k in range(9)})
    assert g.outer(1e9, 1) == g.outer(1, 0) == 1
    norms = [of_norm(CODE, norm).inner() for norm in (0.1, 0.5, 1, 2, 10)]
    assert norms == sorted(set(norms))
    assert g.inner(0.1) > g.inner(0.5) > g.inner(0.9)
    # e^-1 needs the fewest layers, but for rounding up.
    best = g.layers(1e-12, 1.0)
    assert all(g.layers(1e-12, 1.0, nu) >= 0.97 * best for nu in (0.05, 0.1, 0.2, 0.3, 0.5, 0.6, 0.8, 0.95))
    assert g.layers(1e-12, 1.0) == pytest.approx(
        2 * math.e * g.constants.C2 * math.log(g.constants.C2 * 1e12), rel=0.05
    )


# --- a priori bound


@given(
    guarantees(),
    st.integers(0, 40),
    st.floats(0.05, 0.95),
    st.tuples(*[st.floats(0, 10)] * 4),
    st.none() | st.floats(0.01, 1),
    st.none() | st.floats(1, 3),
)
def test_error_bound_is_that_of_the_theory(
    g: Guarantee, n: int, nu: float, sizes: tuple[float, ...], part: float | None, more: float | None
) -> None:
    sigma, noise, size, model = sizes
    lam = None if part is None else part * g.constants.lam
    used = g.constants.lam if lam is None else lam
    c = 2 * used * sigma + 2 * noise + 2 * model
    delta = None if more is None else more * c
    assert g.misfit(sigma, noise, lam=lam, model_error=model) == pytest.approx(c, rel=1e-12)
    found = g.error_bound(
        n, size=size, sparsity_defect=sigma, noise=noise, delta=delta, nu=nu, lam=lam, model_error=model
    )
    # 2 C1 sigma / sqrt(xi) + 2 C2 (noise + model) + C2 (nu / (1 - nu) delta + nu^n eps0), C2 = C1 / (lambda sqrt(xi)).
    root = math.sqrt(g.constants.xi)
    c2 = g.constants.C2 if lam is None else g.constants.C1 / (lam * root)
    theorem = 2 * g.constants.C1 * sigma / root + 2 * c2 * (noise + model)
    theorem += c2 * (nu / (1 - nu) * (c if delta is None else delta) + nu**n * size)
    assert found == pytest.approx(theorem, rel=1e-9)


def test_error_bound_with_a_larger_lambda() -> None:
    g = of_norm(CODE)
    root = math.sqrt(g.constants.xi)
    lam = (g.constants.lam + 1 / (g.constants.gamma * root)) / 2
    c2 = (g.constants.C2 - g.constants.gamma * g.constants.C1) / (1 - g.constants.gamma * lam * root)
    found = g.error_bound(3, size=7, sparsity_defect=2, noise=0.1, lam=lam, nu=0.5)
    c = 2 * lam * 2 + 2 * 0.1
    assert found == pytest.approx(c2 * (c + 0.5 / 0.5 * c + 0.5**3 * 7), rel=1e-12)


def test_error_bound_falls_and_rises_as_it_should() -> None:
    g = of_norm(CODE)

    def bound(n: int = 5, **changes: float) -> float:
        return g.error_bound(n, **{"size": 10.0, "sparsity_defect": 0.1, "noise": 0.1, **changes})

    assert all(bound(n + 1) < bound(n) for n in range(20))
    for name in ("size", "sparsity_defect", "noise", "model_error"):
        assert bound(5, **{name: 0.3}) < bound(5, **{name: 0.4})
    assert bound(n=200) == pytest.approx(g.constants.C2 * g.misfit(0.1, 0.1) / (1 - math.exp(-1)))
    assert bound(n=50, size=100, sparsity_defect=0, noise=0) < 1e-15


def test_layers_reach_the_accuracy_that_the_bound_states() -> None:
    g = of_norm(CODE)
    n = g.outer(1e-6, 150.0)
    assert g.error_bound(n, size=150.0, sparsity_defect=0, noise=0) <= 1e-6


# --- a posteriori bound


@given(guarantees(), st.tuples(*[st.floats(0, 10)] * 4), st.floats(1e-3, 1e3))
def test_error_from_gap_is_that_of_the_theory(g: Guarantee, sizes: tuple[float, ...], lam: float) -> None:
    gap, residual, sigma, noise = sizes
    expected = g.constants.C1 / math.sqrt(g.constants.xi) * (
        2 * sigma + (gap - residual + noise) / lam
    ) + g.constants.C2 * (residual + noise)
    found = g.error_from_gap(gap, residual, sparsity_defect=sigma, noise=noise, lam=lam)
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-9 * g.constants.C1 * 20 / lam)


def test_the_null_space_property_of_the_matrices_used_here() -> None:
    for seed, make in [(seed, make) for seed in range(5) for make in (without_kernel, with_kernel)]:
        random = np.random.default_rng(seed)
        known = make(random)
        g, a = known.guarantee, known.matrix
        assert 0 < g.constants.rho < 1
        null = np.linalg.svd(a)[2][len(a) :].conj()
        for _ in range(200):
            x = gaussian(random, a.shape[1]) * 10.0 ** random.uniform(-4, 0)
            x = x + sum((random.standard_normal() * v for v in null), start=0 * x)
            inside = np.zeros(a.shape[1], dtype=bool)
            for k, sk in enumerate(g.constants.levels.sparsities):  # the set for which it is hardest
                places = np.flatnonzero(known.level == k)
                inside[places[np.argsort(-np.abs(x[places]))[:sk]]] = True
            rest = (known.weights * np.abs(x))[~inside].sum()
            right = g.constants.rho * rest / math.sqrt(g.constants.xi) + g.constants.gamma * np.linalg.norm(a @ x)
            assert np.linalg.norm(x[inside]) <= right * (1 + 1e-12)


@pytest.mark.parametrize("make", [without_kernel, with_kernel])
@pytest.mark.parametrize("seed", range(12))
def test_error_from_gap_bounds_the_true_error(make: Any, seed: int) -> None:
    random = np.random.default_rng(seed)
    known = make(random)
    g, a = known.guarantee, known.matrix
    x = signal(random, known, rest=[0, 1e-6, 1e-2, 0.3][seed % 4])
    e = [0, 1e-8, 1e-3, 0.3][seed // 4 % 4] * gaussian(random, len(a))
    y = a @ x + e
    sigma, noise = defect(x, known.level, g.constants.levels, g.constants.weights), float(np.linalg.norm(e))
    operator = Matrix(torch.from_numpy(a))
    best = math.inf
    for lam in (
        1e-2,
        g.constants.lam,
        3 * g.constants.lam,
        10.0,
    ):  # any lambda, also far beyond the theorem's
        problem = SynthesisProblem(operator, torch.from_numpy(known.weights), lam)
        for z in candidates(random, known, x, y):
            residual = a @ z - y
            duals = [10.0 ** random.uniform(-3, 3) * gaussian(random, len(y)), 0 * y]
            duals += [residual / np.linalg.norm(residual)] if np.linalg.norm(residual) > 0 else []
            for q in duals:
                gap = problem.gap(*(torch.from_numpy(v) for v in (z, q, y))).item()
                r = float(np.linalg.norm(residual))
                bound = g.error_from_gap(gap, r, sparsity_defect=sigma, noise=noise, lam=lam)
                error = float(np.linalg.norm(z - x))
                assert error <= bound * (1 + 1e-10) + 1e-12
                best = min(best, bound / error if error > 1e-3 else math.inf)
    assert best < 40  # the bound says something: it is not far above the error it bounds


def test_a_bound_on_wrong_assumptions_can_be_negative() -> None:
    # y has nothing to do with a sparse signal: r is large, and x = 0, noise = 0 are refuted.
    g = Guarantee(np.eye(4), Constants(SparsityLevels((4,), (1,)), rho=0.5, gamma=1.0))
    y = torch.full((4,), 10.0, dtype=torch.float64)
    problem = SynthesisProblem(Matrix(torch.eye(4, dtype=torch.float64)), None, 1e-3)
    z = torch.zeros(4, dtype=torch.float64)
    residual = torch.linalg.vector_norm(y).item()
    gap = problem.gap(z, -y / residual, y).item()
    assert gap > 0
    assert g.error_from_gap(0.0, residual, sparsity_defect=0, noise=0, lam=1e-3) < 0


# --- the theorem itself, for the algorithm as the paper writes it


@pytest.mark.parametrize("seed", range(4))
def test_error_bound_holds_after_any_number_of_restarts(seed: int) -> None:
    random = np.random.default_rng(seed)
    known = with_kernel(random)
    g, a = known.guarantee, known.matrix
    x = signal(random, known, rest=[0, 1e-4][seed % 2])
    e = [0, 1e-3][seed // 2] * gaussian(random, len(a))
    y = a @ x + e
    sigma, noise, size = (
        defect(x, known.level, g.constants.levels, g.constants.weights),
        float(np.linalg.norm(e)),
        np.linalg.norm(y),
    )
    for lam in (g.constants.lam, 0.7 * g.constants.lam):
        delta = g.misfit(sigma, noise, lam=lam)
        for n in (1, 2, 3, 5, 8, 12):
            psi = paper_network(a, y, known.weights, lam, n, g.inner(lam=lam), delta, math.exp(-1), norm=1.0)
            bound = g.error_bound(n, size=float(size), sparsity_defect=sigma, noise=noise, lam=lam)
            assert np.linalg.norm(psi - x) <= bound * (1 + 1e-9)


# --- refusals


@pytest.mark.parametrize("nu", [0.0, 1.0, -0.1, 1.5, math.nan])
def test_refuses_nu(nu: float) -> None:
    g = of_norm(CODE)
    for call in (
        lambda: g.inner(nu),
        lambda: g.outer(1e-3, 1.0, nu),
        lambda: g.layers(1e-3, 1.0, nu),
        lambda: g.error_bound(3, size=1, sparsity_defect=0, noise=0, nu=nu),
    ):
        assert_refuses(call, "nu", str(nu))


def test_refuses_accuracies_and_sizes() -> None:
    g = of_norm(CODE)
    wrong = ((0.0, 1.0), (-1.0, 1.0), (math.nan, 1.0), (1.0, -1.0), (1.0, math.nan), (1.0, math.inf), (1e-300, 1e300))
    for accuracy, size in wrong:
        assert_refuses(lambda a=accuracy, b=size: g.outer(a, b), str(accuracy), str(size))
    assert_refuses(lambda: g.inner(5e-324), "5e-324")


@pytest.mark.parametrize("bad", [-1e-9, math.nan, math.inf])
def test_refuses_what_bounds_no_norm(bad: float) -> None:
    g = of_norm(CODE)
    for name in ("sparsity_defect", "noise", "model_error"):
        arguments = {"sparsity_defect": 0.1, "noise": 0.1, name: bad}
        assert_refuses(lambda a=arguments: g.misfit(**a), str(bad))
        assert_refuses(lambda a=arguments: g.error_bound(3, size=1.0, **a), str(bad))
        if name != "model_error":
            assert_refuses(lambda a=arguments: g.error_from_gap(1.0, 1.0, lam=0.1, **a), str(bad))
    assert_refuses(lambda: g.error_bound(3, size=bad, sparsity_defect=0.1, noise=0.1), str(bad))
    assert_refuses(lambda: g.error_from_gap(1.0, bad, sparsity_defect=0.1, noise=0.1, lam=0.1), str(bad))


@pytest.mark.parametrize("lam", [0.0, -1.0, math.nan])
def test_refuses_lambda(lam: float) -> None:
    g = of_norm(CODE)
    assert_refuses(lambda: g.error_from_gap(1.0, 1.0, sparsity_defect=0, noise=0, lam=lam), str(lam))
    assert_refuses(lambda: g.misfit(0.1, 0.1, lam=lam), str(lam))
    assert_refuses(lambda: g.inner(lam=lam), str(lam))
    assert_refuses(lambda: g.error_bound(3, size=1.0, sparsity_defect=0, noise=0, lam=lam), str(lam))


def test_refuses_a_delta_below_the_misfit() -> None:
    g = of_norm(CODE)
    c = g.misfit(0.1, 0.1)
    for delta in (0.99 * c, math.nan, math.inf):
        assert_refuses(lambda d=delta: g.error_bound(3, size=1, sparsity_defect=0.1, noise=0.1, delta=d), "delta")
    assert_refuses(lambda: g.error_bound(-1, size=1, sparsity_defect=0.1, noise=0.1), "restarts", "-1")
    assert_refuses(lambda: g.error_from_gap(math.nan, 1, sparsity_defect=0.1, noise=0.1, lam=0.1), "gap", "NaN")
    g.error_bound(3, size=1, sparsity_defect=0.1, noise=0.1, delta=c)


def test_a_guarantee_is_one_of_an_operator() -> None:
    levels = SparsityLevels((2, 4), (1, 1))
    constants = Constants(levels)
    g = Guarantee(2 * np.eye(3, 6), constants)
    assert g.norm == g.operator.norm_bound.value == pytest.approx(2, rel=1e-13)
    assert g.inner() == Guarantee(Matrix(2 * np.eye(3, 6)), constants).inner()
    np.testing.assert_array_equal(g.weights, np.repeat(levels.weights(), (2, 4)))
    mixed = Guarantee(np.eye(3, 6), constants, level=[1, 0, 1, 1, 0, 1])
    np.testing.assert_array_equal(mixed.weights, levels.weights()[[1, 0, 1, 1, 0, 1]])
    assert_refuses(lambda: Guarantee(np.eye(3, 5), constants), "5 coefficients", "(2, 4)")
    assert_refuses(lambda: Guarantee(np.eye(3, 6), constants, level=[0, 1, 1, 1, 1, 1]), "sizes (2, 4)")
    assert_refuses(lambda: Guarantee(np.eye(3, 5), constants, level=[1, 0, 1, 1, 0, 1]), "levels of 5", "6")
    assert_refuses(lambda: Guarantee(np.zeros((3, 6)), constants), "norm above 0")
    operator = Matrix(np.eye(3, 6))
    operator.norm_bound = NormBound(2.0, "estimate", "a power iteration")
    assert_refuses(lambda: Guarantee(operator, constants), "exact or proven", "a power iteration")


def test_of_wavelet_coefficients() -> None:
    """The levels are those of the transform, merged or separate; the operator is composed."""
    sensing, frame = SubsampledFourier(torch.ones(8, 8, dtype=torch.bool)), Wavelet((8, 8), "haar")
    for sizes in ((1, 3, 12, 48), (4, 12, 48)):
        g = Guarantee(sensing, Constants(SparsityLevels(sizes, (1,) * len(sizes))), frame)
        assert g.operator.in_shape == frame.out_shape
        assert g.weights.shape == frame.out_shape
    assert_refuses(lambda: Guarantee(sensing, Constants(SparsityLevels((16, 48), (1, 1))), frame), "sizes")


def test_the_problem_must_be_that_of_the_guarantee() -> None:
    g = Guarantee(np.diag([1.0, 2.0, 3.0]), Constants(SparsityLevels((1, 2), (1, 1))))
    w = torch.from_numpy(g.weights)
    g.check(g.operator, w)
    g.check(Matrix(np.diag([1.0, 2.0, 3.0])), w.to(torch.float32))
    one = Guarantee(np.eye(3), Constants(SparsityLevels((3,), (1,)), weights=[1.0]))
    one.check(one.operator, None)
    assert_refuses(lambda: g.check(Matrix(np.diag([1.0, 2.0, 3.0 + 1e-9])), w), "another map")
    assert_refuses(lambda: g.check(Matrix(np.eye(2, 3)), w), "(2,)")
    assert_refuses(lambda: g.check(g.operator, None), "weights of the guarantee")
    assert_refuses(
        lambda: g.check(g.operator, w * torch.tensor([1.0, 1.0, 1.0 + 1e-9], dtype=w.dtype)), "the same on a level"
    )
