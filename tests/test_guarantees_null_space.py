"""Proofs of the null space property: what they claim holds, whatever it is compared with."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import cvxpy as cp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray

from firenet import BadInput
from firenet.guarantees import (
    NotDecided,
    NullSpaceProof,
    checker,
    prove_null_space,
)
from firenet.guarantees.concrete import decimal_above, matrix_sha256
from firenet.guarantees.linear_estimates import LinearEstimates
from firenet.guarantees.null_space import _Search
from firenet.guarantees.violation import largest_refuted_rho
from firenet.sparsity import SparsityLevels
from null_space_cases import CASES, Case, gaussian, proved, supports
from oracles import null_space_gamma

PROOFS: dict[str, NullSpaceProof] = {}
each = pytest.mark.parametrize("name", CASES)


def proof_of(name: str) -> NullSpaceProof:
    if name not in PROOFS:
        a, levels, weights = CASES[name]
        found = prove_null_space(a, levels, weights=weights)
        assert isinstance(found, NullSpaceProof), found
        PROOFS[name] = found
    return PROOFS[name]


def violated(case: Case, rho: float, gamma: float, x: NDArray[Any]) -> float:
    """The worst quotient of the two sides of the inequality over all supports."""
    a, levels, weights = case
    w = np.repeat(levels.weights() if weights is None else weights, levels.sizes)
    xi = sum(v**2 for support in [next(supports(levels))] for v in w[support])
    worst = 0.0
    for support in supports(levels):
        outside = np.delete(np.arange(len(x)), support)
        tail, misfit = float(np.dot(w[outside], np.abs(x[outside]))), float(np.linalg.norm(a @ x))
        right = rho * tail / math.sqrt(float(xi)) + gamma * misfit
        worst = max(worst, float(np.linalg.norm(x[support])) / right)
    return worst


@each
def test_the_inequality_holds_for_vectors_of_every_sort(name: str) -> None:
    case, proof = CASES[name], proof_of(name)
    rho, gamma, a = float(proof.rho), float(proof.gamma), case[0]
    random, n = np.random.default_rng(0), a.shape[1]
    low = np.linalg.svd(a)[2].conj()
    vectors = [*np.eye(n), *low, *(low[-3:].T @ random.standard_normal((3, 4))).T]
    for _ in range(30):
        x = random.standard_normal(n) * (random.random(n) < random.random()) + low[-1] * random.random()
        vectors.append(x)
    assert max(violated(case, rho, gamma, x) for x in vectors if x.any()) <= 1 + 1e-12


@settings(max_examples=60)
@given(st.lists(st.floats(-1, 1, width=32), min_size=14, max_size=14), st.sampled_from(["real", "levels", "weights"]))
def test_the_inequality_holds_for_any_vector(entries: list[float], name: str) -> None:
    x, proof = np.array(entries), proof_of(name)
    if x.any():
        assert violated(CASES[name], float(proof.rho), float(proof.gamma), x) <= 1 + 1e-12


@each
def test_constants_are_what_the_vectors_prove_by_brute_force(name: str) -> None:
    """rho follows from the exact a; gamma from a bound of b that fractions and every support confirm."""
    proof = proof_of(name)
    product, b, bound = proved(proof.certificate())
    assert max(product / (1 - product), 1e-12) <= proof.rho * (1 + 1e-12)
    assert proof.rho <= max(product / (1 - product) * (1 + 1.1e-5), 1e-12)
    assert b * (1 + product / (1 - product)) <= float(proof.gamma) * (1 + 1e-12)
    assert float(proof.gamma) <= bound * (1 + float(proof.rho)) * (1 + 1.1e-5)


@each
def test_the_checker_accepts_what_is_proved(name: str) -> None:
    proof = proof_of(name)
    digest, said = checker.check(checker.parse(proof.to_json()))
    assert digest == matrix_sha256(CASES[name][0])
    assert f"rho = {checker.shown(proof.rho)} and gamma = {checker.shown(proof.gamma)}" in said


@each
def test_no_search_refutes_what_is_proved(name: str) -> None:
    proof = proof_of(name)
    found = largest_refuted_rho(proof.problem, proof.gamma, starts=10)
    assert found is None or (found.rho is not None and found.rho < proof.rho)


def test_both_bounds_are_near_each_other() -> None:
    proof = proof_of("real")
    found = largest_refuted_rho(proof.problem, proof.gamma)
    assert found is not None
    assert found.rho is not None
    assert 0.5 * proof.rho < found.rho < proof.rho


@pytest.mark.parametrize("seed", [0, 1])
def test_gamma_is_at_least_the_best_one_and_near_it(seed: int) -> None:
    """For s = 1 Clarabel finds the smallest gamma for this rho."""
    a = gaussian(seed, 10, 14)
    proof = prove_null_space(a, SparsityLevels((14,), (1,)))
    assert isinstance(proof, NullSpaceProof)
    best = null_space_gamma(a, float(proof.rho))  # its own margin of 1e-6 makes it slightly too large
    assert best * (1 - 1e-4) <= float(proof.gamma) <= 1.1 * best


@pytest.mark.parametrize("is_complex", [False, True])
def test_linear_estimates_are_nearly_optimal(is_complex: bool) -> None:
    a, v, factor = gaussian(3, 8, 12, is_complex=is_complex), np.linspace(0.5, 1, 12), 0.1
    estimates, reached = LinearEstimates(a, v), math.inf
    for _ in range(20):
        reached = estimates.improve(factor, 25)
    h, best = cp.Variable(8, complex=is_complex), 0.0
    for i in range(12):
        errors = cp.multiply(1 / v, cp.abs(np.eye(12)[i] - a.conj().T @ h))
        problem = cp.Problem(cp.Minimize(cp.max(errors) + factor * cp.norm(h)))
        best += float(problem.solve(solver=cp.CLARABEL))  # pyright: ignore[reportArgumentType]
    assert best * (1 - 1e-6) <= reached <= best * (1 + 1e-3)


@pytest.mark.parametrize("s", [1, 3])
def test_orthonormal_columns_have_gamma_one_and_no_rho(s: int) -> None:
    unitary = np.linalg.qr(gaussian(0, 12, 12, is_complex=True))[0]
    for a in (unitary, np.eye(12), unitary[:, :7]):
        proof = prove_null_space(a, SparsityLevels((a.shape[1],), (s,)))
        assert isinstance(proof, NullSpaceProof)
        assert proof.rho < 1e-10
        assert 1 <= float(proof.gamma) < 1.0001
    assert proof_of("no kernel").rho < 0.2


def test_constants_do_not_depend_on_units() -> None:
    """The unit of A is that of 1/gamma; powers of two change no digit of a computation."""
    a, levels = gaussian(2, 10, 14), SparsityLevels((14,), (1,))
    proofs = [prove_null_space(a * 2.0**k, levels, weights=[2.0**k]) for k in (0, 80, -90)]
    assert all(isinstance(p, NullSpaceProof) for p in proofs)
    first = proofs[0]
    assert isinstance(first, NullSpaceProof)
    for k, other in zip((0, 80, -90), proofs, strict=True):
        assert isinstance(other, NullSpaceProof)
        assert other.rho == first.rho
        assert float(other.gamma) == pytest.approx(float(first.gamma) * 2.0**-k, rel=1.1e-5)  # it has six digits


def test_a_claim_is_proved_or_not_decided() -> None:
    a, levels, _ = CASES["real"]
    best = proof_of("real")
    loose = prove_null_space(a, levels, claim=(0.6, 1.2 * float(best.gamma)))
    assert isinstance(loose, NullSpaceProof)
    assert (loose.rho <= 0.6, float(loose.gamma) <= 1.2 * float(best.gamma)) == (True, True)
    # Vectors with a small gamma prove nothing: those that do are kept, however far from the claim.
    for claim in ((0.01, 0.5), (0.9, 0.01)):
        tight = prove_null_space(a, levels, claim=claim)
        assert isinstance(tight, NotDecided)
        assert tight.proof is not None
        assert tight.product < 0.5


def test_a_claim_that_least_squares_miss_is_searched_for() -> None:
    a, levels = np.linalg.qr(gaussian(5, 8, 8))[0][:, :7].T + 0.05 * gaussian(105, 7, 8), SparsityLevels((8,), (1,))
    best = prove_null_space(a, levels)
    assert isinstance(best, NullSpaceProof)
    claim = 1.01 * float(best.rho), 1.01 * float(best.gamma)
    ridge = _Search(best.problem, claim)
    assert all(ridge._try(*ridge.estimates.ridge(share)) > (False, 1.0) for share in (0.0, 1e-4, 1e-2))
    assert isinstance(prove_null_space(a, levels, claim=claim), NullSpaceProof)


def test_what_has_a_large_kernel_is_not_decided() -> None:
    found = prove_null_space(gaussian(0, 4, 14), SparsityLevels((14,), (3,)))
    assert isinstance(found, NotDecided)
    assert (found.product > 0.5, found.proof) == (True, None)
    zero = prove_null_space(np.zeros((2, 3)), SparsityLevels((3,), (1,)))
    assert isinstance(zero, NotDecided)


def test_progress_counts_to_its_end() -> None:
    told: list[tuple[int, int]] = []
    prove_null_space(*CASES["real"][:2], progress=lambda done, total: told.append((done, total)))
    assert told == sorted(told)
    assert told[-1][0] == told[-1][1]


def test_the_digest_is_one_of_numbers_and_not_of_their_form() -> None:
    a = np.array([[1.0, 2.0], [4.0, 0.5]])
    exact = np.array([[Fraction(1), Fraction(2)], [Fraction(4), Fraction(1, 2)]], dtype=object)
    assert matrix_sha256(a) == matrix_sha256(a.astype(np.float32)) == matrix_sha256(exact)
    assert matrix_sha256(a) != matrix_sha256(np.nextafter(a, 9))
    assert matrix_sha256(a) != matrix_sha256(a * 2)


@given(st.fractions(min_value=0, max_value=10**40), st.integers(1, 12))
def test_a_number_above_has_few_digits(value: Fraction, digits: int) -> None:
    above = decimal_above(value, digits)
    assert value <= above <= value * (1 + Fraction(10, 10**digits))


ONE = SparsityLevels((4,), (1,))


@pytest.mark.parametrize(
    ("a", "levels", "more", "named"),
    [
        (np.ones(4), ONE, {}, "A matrix"),
        (np.ones((0, 4)), ONE, {}, "A matrix"),
        (np.ones((1, 2049)), ONE, {}, "At most 2048"),
        (np.ones((1024, 2048), dtype=complex), ONE, {}, "At most 2048"),
        (np.full((2, 4), np.nan), ONE, {}, "Finite"),
        (np.full((2, 4), np.inf), ONE, {}, "Finite"),
        (np.array([["a"] * 4]), ONE, {}, "double precision"),
        (np.ones((2, 4), dtype=np.longdouble), ONE, {}, "double precision"),
        (np.full((2, 4), Fraction(1, 3), dtype=object), ONE, {}, "powers of two"),
        (np.eye(4), SparsityLevels((3,), (1,)), {}, "add up to the 4 columns"),
        (np.eye(4), ONE, {"weights": [1.0, 2.0]}, "One positive weight"),
        (np.eye(4), ONE, {"weights": [0.0]}, "One positive weight"),
        (np.eye(4), ONE, {"weights": [math.inf]}, "Finite"),
        (np.eye(4), ONE, {"weights": [1.0, 1.0, 1.0, 2.0]}, "constant on each level"),
        (np.eye(4), ONE, {"claim": (1.0, 1.0)}, "0 < rho < 1"),
        (np.eye(4), ONE, {"claim": (0.0, 1.0)}, "0 < rho < 1"),
        (np.eye(4), ONE, {"claim": (math.nan, 1.0)}, "0 < rho < 1"),
        (np.eye(4), ONE, {"claim": (0.5, 0.0)}, "gamma > 0"),
        (np.eye(4), ONE, {"claim": (0.5, math.inf)}, "gamma > 0"),
    ],
)
def test_an_error_names_the_hypothesis_that_fails(
    a: Any, levels: SparsityLevels, more: dict[str, Any], named: str
) -> None:
    with pytest.raises(BadInput, match=named):
        prove_null_space(a, levels, **more)


def test_sparsities_are_at_most_the_sizes() -> None:
    with pytest.raises(BadInput, match="between 1 and its size 3"):
        SparsityLevels((3,), (4,))


def test_weights_of_columns_that_are_constant_on_levels_are_those_of_the_levels() -> None:
    levels, a = SparsityLevels((2, 4), (1, 1)), np.eye(6)
    proofs = [prove_null_space(a, levels, weights=w) for w in ([1.0, 2.0], [1.0] * 2 + [2.0] * 4)]
    assert isinstance(proofs[0], NullSpaceProof)
    assert isinstance(proofs[1], NullSpaceProof)
    assert proofs[0].to_json() == proofs[1].to_json()


def test_ridge_is_regularised_least_squares() -> None:
    """Also of a matrix without full rank, and of zero."""
    rng = np.random.default_rng(0)
    full = rng.standard_normal((4, 6)) + 1j * rng.standard_normal((4, 6))
    poor = full[:, :2] @ rng.standard_normal((2, 6))
    for A in (full, poor, 0 * full):
        estimates = LinearEstimates(A, np.ones(6))
        found, errors = estimates.ridge(0.0)
        assert np.allclose(found, np.linalg.pinv(A.conj().T, rcond=1e-12), atol=1e-12)
        assert np.allclose(errors, np.eye(6) - A.conj().T @ found, atol=1e-12)
        found, _ = estimates.ridge(0.1)
        t = 0.1 * np.linalg.norm(A, 2) ** 2
        assert np.allclose((A @ A.conj().T + t * np.eye(4)) @ found, A, atol=1e-12)
