"""guarantee: the constants of the theory, and whether what they promise is true.

The formulas are written here a second time, from the paper's SI Appendix as theory.md quotes it. The promises are tried
on matrices whose null space property is known with proof, and with signals, data and duals drawn at random.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from numpy.typing import NDArray

from firenet.errors import BadInput
from firenet.guarantee import Guarantee
from firenet.operators.matrix import Matrix
from firenet.operators.norm_bound import NormBound
from firenet.problems.synthesis import SynthesisProblem
from firenet.sparsity import SparsityLevels, defect
from laws import assert_refuses
from oracles import paper_network

HAAR8 = SparsityLevels((2,) * 8, (1,) * 8)  # eight levels, so kappa = 8
CODE = SparsityLevels((4, 12, 48, 192, 768, 3072), (4, 12, 48, 50, 100, 100))  # the sparsities of the paper's code

LEVELS = st.lists(st.tuples(st.integers(1, 30), st.integers(0, 30)), min_size=1, max_size=8).map(
    lambda pairs: SparsityLevels(tuple(s + more for s, more in pairs), tuple(s for s, _ in pairs))
)


@st.composite
def guarantees(draw: st.DrawFn, **fixed: Any) -> Guarantee:
    levels = draw(LEVELS)
    weights = draw(st.none() | st.lists(st.floats(0.1, 10), min_size=len(levels.sizes), max_size=len(levels.sizes)))
    arguments: dict[str, Any] = {
        "rho": draw(st.floats(0.01, 0.99)),
        "gamma": draw(st.floats(0.01, 100)),
        "norm": draw(st.floats(1e-3, 1e3)),
        "exact": draw(st.booleans()),
        "weights": weights,
    }
    return Guarantee(levels, **{**arguments, **fixed})


# --- the formulas of the paper and of theory.md, a second time


def paper_constants(rho: float, gamma: float, kappa: float) -> tuple[float, float]:
    """C1 and C2 of the SI Appendix (theory.md 3.1)."""
    root = kappa ** (1 / 4)
    c1 = ((1 + rho) / 2 + (3 + rho) * root / 4) * (3 + rho) / (1 - rho)
    c2 = 2 * ((3 + rho) / (1 - rho) + (7 + rho) / (1 - rho) * root / 2) * gamma
    return c1, c2


def base_constants(rho: float, gamma: float, kappa: float) -> tuple[float, float]:
    """The smaller ones for an exact A (theory.md 3.3, the corollary)."""
    root = kappa ** (1 / 4)
    c1 = (rho + (1 + rho) * root / 2) * (1 + rho) / (1 - rho)
    c2 = ((1 + rho) / (1 - rho) + (3 + rho) / (1 - rho) * root / 2) * gamma
    return c1, c2


def xi_zeta(g: Guarantee) -> tuple[float, float]:
    w = g.levels.weights() if g.weights is None else np.array(g.weights)
    terms = [wk**2 * sk for wk, sk in zip(w, g.levels.sparsities, strict=True)]
    return sum(terms), min(terms)


# --- constants


def test_numbers_of_theorem_4() -> None:
    paper, exact = Guarantee(HAAR8, exact=False), Guarantee(HAAR8)
    assert (round(paper.C1, 1), round(paper.C2, 1)) == (15.6, 55.5)
    assert (round(exact.C1, 1), round(exact.C2, 1)) == (5.3, 12.6)
    root = 8**0.25
    assert pytest.approx(7 * (3 / 4 + 7 / 8 * root), rel=1e-13) == paper.C1
    assert pytest.approx(2 * math.sqrt(2) * (7 + 15 / 2 * root), rel=1e-13) == paper.C2


def test_numbers_of_the_published_code() -> None:
    g = Guarantee(CODE, norm=1.0)
    assert (g.rho, g.gamma, g.norm) == (0.5, math.sqrt(2), 1.0)
    assert g.xi == pytest.approx(6 * 314)
    assert g.kappa == pytest.approx(6)
    assert round(g.C2, 1) == 12.0
    assert math.ceil(2 * math.e * g.C2) == g.inner() == 66
    assert 65 < 2 * math.e * g.C2 < 66  # "p about 65"
    assert g.lam == pytest.approx(0.01, rel=0.05)
    assert round(g.constants(2.5e-4)[1], -1) == 460  # what the coded lambda makes of C2


@given(guarantees())
def test_constants_are_those_of_the_theory(g: Guarantee) -> None:
    xi, zeta = xi_zeta(g)
    assert g.xi == pytest.approx(xi, rel=1e-12)
    assert g.zeta == pytest.approx(zeta, rel=1e-12)
    assert g.kappa == pytest.approx(xi / zeta, rel=1e-12)
    formula = base_constants if g.exact else paper_constants
    assert pytest.approx(formula(g.rho, g.gamma, xi / zeta), rel=1e-12) == (g.C1, g.C2)
    assert g.lam == pytest.approx(g.C1 / (g.C2 * math.sqrt(xi)), rel=1e-12)


@given(guarantees(exact=False))
def test_the_papers_constants_are_those_of_an_approximate_matrix(g: Guarantee) -> None:
    exact = dataclasses.replace(g, rho=(1 + g.rho) / 2, gamma=2 * g.gamma, exact=True)
    assert (g.C1, g.C2) == (exact.C1, exact.C2)
    assert g.constants(g.lam / 2) == exact.constants(g.lam / 2)
    worse = dataclasses.replace(g, exact=True)
    assert g.C1 > worse.C1
    assert g.C2 > worse.C2


@given(guarantees(weights=None))
def test_recommended_weights_make_kappa_the_number_of_levels(g: Guarantee) -> None:
    s = g.levels.total
    assert g.xi == pytest.approx(len(g.levels.sizes) * s, rel=1e-12)
    assert g.zeta == pytest.approx(s, rel=1e-12)
    assert g.kappa == pytest.approx(len(g.levels.sizes), rel=1e-12)


@given(guarantees(), st.floats(0.1, 10))
def test_a_unit_of_the_weights_changes_lambda_only(g: Guarantee, unit: float) -> None:
    w = g.levels.weights() if g.weights is None else g.weights
    other = dataclasses.replace(g, weights=[unit * v for v in w])
    assert pytest.approx((g.C1, g.C2), rel=1e-12) == (other.C1, other.C2)
    assert other.lam == pytest.approx(g.lam / unit, rel=1e-12)


@given(guarantees(), st.floats(1e-4, 0.9999))
def test_constants_for_another_lambda(g: Guarantee, part: float) -> None:
    """Lemma D: below the theorem's lambda, and between it and 1/(gamma sqrt xi)."""
    assert g.constants() == (g.C1, g.C2)
    root = math.sqrt(g.xi)
    gamma = g.gamma if g.exact else 2 * g.gamma
    c1, c2 = g.constants(part * g.lam)
    assert c1 == g.C1
    assert c2 == pytest.approx(g.C1 / (part * g.lam * root), rel=1e-12)
    assert c2 >= g.C2 * (1 - 1e-12)
    most = 1 / (gamma * root)
    assert g.lam < most
    lam = g.lam + part * (most - g.lam)
    if lam > g.lam:
        c1, c2 = g.constants(lam)
        expected = (g.C2 - gamma * g.C1) / (1 - gamma * lam * root)
        assert c2 == pytest.approx(expected, rel=1e-9)
        assert c1 == pytest.approx(lam * root * expected, rel=1e-9)
        assert c2 >= g.C2 * (1 - 1e-9)
    assert g.constants(g.lam) == pytest.approx((g.C1, g.C2), rel=1e-9)
    for outside in (most * (1 + 1e-9), 2 * most, 0.0, -g.lam, math.nan, math.inf):
        assert_refuses(lambda v=outside: g.constants(v), str(outside), "lambda")


# --- layers


@given(guarantees(), st.floats(0.05, 0.95), st.floats(1e-9, 1e3), st.floats(0, 1e6), st.none() | st.floats(0.01, 1))
def test_layers_are_enough_and_no_more(g: Guarantee, nu: float, accuracy: float, size: float, part: Any) -> None:
    lam = None if part is None else part * g.lam
    c2 = g.constants(lam)[1]
    p, n = g.inner(nu, lam=lam), g.outer(accuracy, size, nu, lam=lam)
    assert p - 1 < 2 * c2 * g.norm / nu * (1 + 1e-12)
    assert p >= 2 * c2 * g.norm / nu * (1 - 1e-12)
    assert c2 * nu**n * size <= accuracy
    assert n == 1 or c2 * nu ** (n - 1) * size > accuracy * (1 - 1e-9)
    assert n >= 1
    assert g.layers(accuracy, size, nu, lam=lam) == n * p


def test_restarts_are_enough_where_logarithms_round() -> None:
    g = Guarantee(CODE, norm=1.0)
    for k in range(1, 40):
        for nu in (0.5, 0.3, math.exp(-1)):
            at = g.C2 * nu**k * 3.0
            for accuracy in (at, math.nextafter(at, 0), math.nextafter(at, 1)):
                n = g.outer(accuracy, 3.0, nu)
                assert g.C2 * nu**n * 3.0 <= accuracy
                assert n <= k + 1


def test_more_is_asked_for_more() -> None:
    g = Guarantee(CODE, norm=1.0)
    outer = [g.outer(10.0**-k, 100) for k in range(10)]
    assert outer == sorted(outer)
    assert len(set(outer)) == 10
    assert [g.outer(1e-3, 10.0**k) for k in range(9)] == sorted({g.outer(1e-3, 10.0**k) for k in range(9)})
    assert g.outer(1e9, 1) == g.outer(1, 0) == 1
    norms = [dataclasses.replace(g, norm=norm).inner() for norm in (0.1, 0.5, 1, 2, 10)]
    assert norms == sorted(set(norms))
    assert g.inner(0.1) > g.inner(0.5) > g.inner(0.9)
    # e^-1 needs the fewest layers, but for rounding up.
    best = g.layers(1e-12, 1.0)
    assert all(g.layers(1e-12, 1.0, nu) >= 0.97 * best for nu in (0.05, 0.1, 0.2, 0.3, 0.5, 0.6, 0.8, 0.95))
    assert g.layers(1e-12, 1.0) == pytest.approx(2 * math.e * g.C2 * math.log(g.C2 * 1e12), rel=0.05)


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
    lam = None if part is None else part * g.lam
    used = g.lam if lam is None else lam
    c = 2 * used * sigma + 2 * noise + 2 * model
    delta = None if more is None else more * c
    assert g.misfit(sigma, noise, lam=lam, model_error=model) == pytest.approx(c, rel=1e-12)
    found = g.error_bound(
        n, size=size, sparsity_defect=sigma, noise=noise, delta=delta, nu=nu, lam=lam, model_error=model
    )
    # 2 C1 sigma / sqrt(xi) + 2 C2 (noise + model) + C2 (nu / (1 - nu) delta + nu^n eps0), C2 = C1 / (lambda sqrt(xi)).
    root = math.sqrt(g.xi)
    c2 = g.C2 if lam is None else g.C1 / (lam * root)
    theorem = 2 * g.C1 * sigma / root + 2 * c2 * (noise + model)
    theorem += c2 * (nu / (1 - nu) * (c if delta is None else delta) + nu**n * size)
    assert found == pytest.approx(theorem, rel=1e-9)


def test_error_bound_with_a_larger_lambda() -> None:
    g = Guarantee(CODE, norm=1.0)
    root = math.sqrt(g.xi)
    lam = (g.lam + 1 / (g.gamma * root)) / 2
    c2 = (g.C2 - g.gamma * g.C1) / (1 - g.gamma * lam * root)
    found = g.error_bound(3, size=7, sparsity_defect=2, noise=0.1, lam=lam, nu=0.5)
    c = 2 * lam * 2 + 2 * 0.1
    assert found == pytest.approx(c2 * (c + 0.5 / 0.5 * c + 0.5**3 * 7), rel=1e-12)


def test_error_bound_falls_and_rises_as_it_should() -> None:
    g = Guarantee(CODE, norm=1.0)

    def bound(n: int = 5, **changes: float) -> float:
        return g.error_bound(n, **{"size": 10.0, "sparsity_defect": 0.1, "noise": 0.1, **changes})

    assert all(bound(n + 1) < bound(n) for n in range(20))
    for name in ("size", "sparsity_defect", "noise", "model_error"):
        assert bound(5, **{name: 0.3}) < bound(5, **{name: 0.4})
    assert bound(n=200) == pytest.approx(g.C2 * g.misfit(0.1, 0.1) / (1 - math.exp(-1)))
    assert bound(n=50, size=100, sparsity_defect=0, noise=0) < 1e-15


def test_layers_reach_the_accuracy_that_the_bound_states() -> None:
    g = Guarantee(CODE, norm=1.0)
    n = g.outer(1e-6, 150.0)
    assert g.error_bound(n, size=150.0, sparsity_defect=0, noise=0) <= 1e-6


# --- a posteriori bound


@given(guarantees(), st.tuples(*[st.floats(0, 10)] * 4), st.floats(1e-3, 1e3))
def test_error_from_gap_is_that_of_the_theory(g: Guarantee, sizes: tuple[float, ...], lam: float) -> None:
    gap, residual, sigma, noise = sizes
    expected = g.C1 / math.sqrt(g.xi) * (2 * sigma + (gap - residual + noise) / lam) + g.C2 * (residual + noise)
    found = g.error_from_gap(gap, residual, sparsity_defect=sigma, noise=noise, lam=lam)
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-9 * g.C1 * 20 / lam)


def random_complex(random: np.random.Generator, *shape: int) -> NDArray[np.complex128]:
    return random.standard_normal(shape) + 1j * random.standard_normal(shape)


def unitary(random: np.random.Generator, n: int) -> NDArray[np.complex128]:
    return np.linalg.qr(random_complex(random, n, n))[0]


@dataclass(frozen=True)
class Known:
    """A matrix with the constants of its weighted robust null space property, and the level of each index."""

    matrix: NDArray[np.complex128]
    guarantee: Guarantee
    level: NDArray[np.int64]

    @property
    def weights(self) -> NDArray[np.float64]:
        g = self.guarantee
        return g.levels.spread(g.levels.weights() if g.weights is None else g.weights, self.level)


def without_kernel(random: np.random.Generator) -> Known:
    """A unitary matrix: ||x_Delta|| <= ||x|| = ||Ax||, so gamma = 1 with any rho (the term with rho is not needed)."""
    sizes = (2, 4, 6)
    levels = SparsityLevels(sizes, tuple(int(random.integers(1, n + 1)) for n in sizes))
    weights = None if random.random() < 0.5 else random.uniform(0.3, 3, 3).tolist()
    g = Guarantee(levels, rho=float(random.uniform(0.01, 0.95)), gamma=1.0, weights=weights, norm=1.0)
    return Known(unitary(random, 12), g, random.permutation(np.repeat(np.arange(3), sizes)))


def with_kernel(random: np.random.Generator) -> Known:
    """A matrix with orthonormal rows whose kernel is spanned by a vector v with entries of modulus 1.

    Write x = t v + u with u orthogonal to v, so ||u|| = ||Ax||. For a set Delta of s_k indices in each level
    ||x_Delta|| <= |t| sqrt(s) + ||u||, and for its complement, by Cauchy and Schwarz,
    ||x_Delta^c||_w >= |t| S - Q ||u||, S = sum_k w_k (n_k - s_k), Q^2 = sum_k w_k^2 (n_k - s_k). Eliminating |t|:
    rho = sqrt(s xi) / S and gamma = 1 + Q sqrt(s) / S. The data do not see v at all: here the term with the gap works.
    """
    sizes = (3, 12, 30)
    s = (1, 1, int(random.integers(1, 3)))
    levels = SparsityLevels(sizes, s)
    w = levels.weights() if random.random() < 0.5 else random.uniform(0.8, 1.25, 3)
    xi = sum(wk**2 * sk for wk, sk in zip(w, s, strict=True))
    rest = [n - sk for n, sk in zip(sizes, s, strict=True)]
    total = sum(wk * m for wk, m in zip(w, rest, strict=True))
    q = math.sqrt(sum(wk**2 * m for wk, m in zip(w, rest, strict=True)))
    rho, gamma = math.sqrt(sum(s) * xi) / total, 1 + q * math.sqrt(sum(s)) / total
    n = sum(sizes)
    v = np.exp(2j * np.pi * random.random(n))
    rows = np.linalg.qr(np.column_stack([v, random_complex(random, n, n - 1)]))[0][:, 1:].conj().T
    assert np.abs(rows @ v).max() < 1e-12
    g = Guarantee(levels, rho=rho, gamma=gamma, weights=w.tolist(), norm=float(np.linalg.norm(rows, 2)))
    return Known(rows, g, random.permutation(np.repeat(np.arange(3), sizes)))


def signal(random: np.random.Generator, known: Known, rest: float) -> NDArray[np.complex128]:
    """Sparse in levels, with a rest of this size."""
    x = rest * random_complex(random, len(known.level))
    for k, sk in enumerate(known.guarantee.levels.sparsities):
        places = random.permutation(np.flatnonzero(known.level == k))[:sk]
        x[places] = random_complex(random, len(places))
    return x


def test_the_null_space_property_of_the_matrices_used_here() -> None:
    for seed, make in [(seed, make) for seed in range(5) for make in (without_kernel, with_kernel)]:
        random = np.random.default_rng(seed)
        known = make(random)
        g, a = known.guarantee, known.matrix
        assert 0 < g.rho < 1
        null = np.linalg.svd(a)[2][len(a) :].conj()
        for _ in range(200):
            x = random_complex(random, a.shape[1]) * 10.0 ** random.uniform(-4, 0)
            x = x + sum((random.standard_normal() * v for v in null), start=0 * x)
            inside = np.zeros(a.shape[1], dtype=bool)
            for k, sk in enumerate(g.levels.sparsities):  # the set for which it is hardest
                places = np.flatnonzero(known.level == k)
                inside[places[np.argsort(-np.abs(x[places]))[:sk]]] = True
            rest = (known.weights * np.abs(x))[~inside].sum()
            right = g.rho * rest / math.sqrt(g.xi) + g.gamma * np.linalg.norm(a @ x)
            assert np.linalg.norm(x[inside]) <= right * (1 + 1e-12)


def candidates(random: np.random.Generator, known: Known, x: Any, y: Any) -> Iterator[NDArray[np.complex128]]:
    """Reconstructions of every sort: of no, of some and of much use, and wrong where the data are blind."""
    n = len(x)
    yield np.zeros(n, dtype=complex)
    yield x
    yield known.matrix.conj().T @ y
    blind = np.linalg.svd(known.matrix)[2][-1].conj()
    for size in (1e-6, 1e-2, 1.0, 30.0):
        yield x + size * random_complex(random, n)
        yield x + size * blind
    yield 5 * random_complex(random, n)


@pytest.mark.parametrize("make", [without_kernel, with_kernel])
@pytest.mark.parametrize("seed", range(12))
def test_error_from_gap_bounds_the_true_error(make: Any, seed: int) -> None:
    random = np.random.default_rng(seed)
    known = make(random)
    g, a = known.guarantee, known.matrix
    x = signal(random, known, rest=[0, 1e-6, 1e-2, 0.3][seed % 4])
    e = [0, 1e-8, 1e-3, 0.3][seed // 4 % 4] * random_complex(random, len(a))
    y = a @ x + e
    sigma, noise = defect(x, known.level, g.levels, g.weights), float(np.linalg.norm(e))
    operator = Matrix(torch.from_numpy(a))
    best = math.inf
    for lam in (1e-2, g.lam, 3 * g.lam, 10.0):  # any lambda, also far beyond what constants(lam) takes
        problem = SynthesisProblem(operator, torch.from_numpy(known.weights), lam)
        for z in candidates(random, known, x, y):
            residual = a @ z - y
            duals = [10.0 ** random.uniform(-3, 3) * random_complex(random, len(y)), 0 * y]
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
    g = Guarantee(SparsityLevels((4,), (1,)), rho=0.5, gamma=1.0)
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
    e = [0, 1e-3][seed // 2] * random_complex(random, len(a))
    y = a @ x + e
    sigma, noise, size = defect(x, known.level, g.levels, g.weights), float(np.linalg.norm(e)), np.linalg.norm(y)
    for lam in (g.lam, 0.7 * g.lam):
        delta = g.misfit(sigma, noise, lam=lam)
        for n in (1, 2, 3, 5, 8, 12):
            psi = paper_network(a, y, known.weights, lam, n, g.inner(lam=lam), delta, math.exp(-1), norm=1.0)
            bound = g.error_bound(n, size=float(size), sparsity_defect=sigma, noise=noise, lam=lam)
            assert np.linalg.norm(psi - x) <= bound * (1 + 1e-9)


# --- refusals


@pytest.mark.parametrize(
    "arguments",
    [
        {"rho": 0.0},
        {"rho": 1.0},
        {"rho": -0.5},
        {"rho": math.nan},
        {"gamma": 0.0},
        {"gamma": -1.0},
        {"gamma": math.inf},
        {"gamma": math.nan},
        {"norm": 0.0},
        {"norm": math.inf},
        {"norm": math.nan},
        {"weights": []},
        {"weights": [1.0]},
        {"weights": [1.0, 0.0]},
        {"weights": [1.0, -1.0]},
        {"weights": [1.0, math.nan]},
        {"weights": [1.0, math.inf]},
        {"weights": [1.0, 1.0, 1.0]},
    ],
)
def test_refuses_constants(arguments: dict[str, Any]) -> None:
    (name,) = arguments
    assert_refuses(lambda: Guarantee(SparsityLevels((2, 4), (1, 1)), **arguments), name.removesuffix("s"))


@pytest.mark.parametrize("nu", [0.0, 1.0, -0.1, 1.5, math.nan])
def test_refuses_nu(nu: float) -> None:
    g = Guarantee(CODE, norm=1.0)
    for call in (
        lambda: g.inner(nu),
        lambda: g.outer(1e-3, 1.0, nu),
        lambda: g.layers(1e-3, 1.0, nu),
        lambda: g.error_bound(3, size=1, sparsity_defect=0, noise=0, nu=nu),
    ):
        assert_refuses(call, "nu", str(nu))


def test_refuses_accuracies_and_sizes() -> None:
    g = Guarantee(CODE, norm=1.0)
    for accuracy, size in ((0.0, 1.0), (-1.0, 1.0), (math.nan, 1.0), (1.0, -1.0), (1.0, math.nan)):
        assert_refuses(lambda a=accuracy, b=size: g.outer(a, b), str(accuracy), str(size))


@pytest.mark.parametrize("bad", [-1e-9, math.nan, math.inf])
def test_refuses_what_bounds_no_norm(bad: float) -> None:
    g = Guarantee(CODE, norm=1.0)
    for name in ("sparsity_defect", "noise", "model_error"):
        arguments = {"sparsity_defect": 0.1, "noise": 0.1, name: bad}
        assert_refuses(lambda a=arguments: g.misfit(**a), str(bad))
        assert_refuses(lambda a=arguments: g.error_bound(3, size=1.0, **a), str(bad))
        if name != "model_error":
            assert_refuses(lambda a=arguments: g.error_from_gap(1.0, 1.0, lam=0.1, **a), str(bad))
    assert_refuses(lambda: g.error_from_gap(1.0, bad, sparsity_defect=0.1, noise=0.1, lam=0.1), str(bad))


@pytest.mark.parametrize("lam", [0.0, -1.0, math.nan])
def test_refuses_lambda(lam: float) -> None:
    g = Guarantee(CODE, norm=1.0)
    assert_refuses(lambda: g.error_from_gap(1.0, 1.0, sparsity_defect=0, noise=0, lam=lam), str(lam))
    assert_refuses(lambda: g.misfit(0.1, 0.1, lam=lam), str(lam))
    assert_refuses(lambda: g.inner(lam=lam), str(lam))
    assert_refuses(lambda: g.error_bound(3, size=1.0, sparsity_defect=0, noise=0, lam=lam), str(lam))


def test_refuses_a_delta_below_the_misfit() -> None:
    g = Guarantee(CODE, norm=1.0)
    c = g.misfit(0.1, 0.1)
    assert_refuses(lambda: g.error_bound(3, size=1, sparsity_defect=0.1, noise=0.1, delta=0.99 * c), "delta")
    g.error_bound(3, size=1, sparsity_defect=0.1, noise=0.1, delta=c)


def test_what_depends_on_the_norm_refuses_without_it() -> None:
    g = Guarantee(CODE)
    assert g.C1 > 0  # the constants do not
    assert g.C2 > 0
    promises: list[Callable[[], Any]] = [
        g.inner,
        lambda: g.layers(1e-3, 1.0),
        lambda: g.error_bound(3, size=1.0, sparsity_defect=0.0, noise=0.0),
    ]
    for promise in promises:
        with pytest.raises(BadInput, match="The operator's norm"):
            promise()
    matrix = 20 * np.eye(3)[:2]
    assert Guarantee(CODE, norm=Matrix(matrix)).inner() == Guarantee(CODE, norm=20.0 * (1 + 1e-14)).inner()
    assert Guarantee(CODE, norm=NormBound(2.0, "proven", "a test")).inner() == Guarantee(CODE, norm=2.0).inner()
    with pytest.raises(BadInput, match="an estimate"):
        Guarantee(CODE, norm=NormBound(2.0, "estimate", "a power iteration"))
