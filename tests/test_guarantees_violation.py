"""Violations of a claimed null space property: planted ones are found, and what is found is one."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from firenet import BadInput
from firenet.barriers import Problem
from firenet.barriers.instances import root
from firenet.guarantees import NotDecided, checker, prove_null_space, refute_null_space
from firenet.guarantees.concrete import ConcreteMatrix, NullSpaceProblem
from firenet.guarantees.violation import _Ascent, exact_kernel, largest_refuted_rho
from firenet.sparsity import SparsityLevels
from null_space_cases import CASES, campaign, gaussian, supports


def test_planted_violations_are_found() -> None:
    assert campaign(5) == []


@pytest.mark.parametrize("kind", ["P1", "P2", "P3"])
@pytest.mark.parametrize("columns", [2, 3])
def test_no_matrix_of_the_hard_family_has_the_null_space_property(kind: Any, columns: int) -> None:
    """Theorem 3 never applies where Theorem 2 does: e_1/a_1 - e_2/a_2 is in the kernel."""
    problem = Problem(kind, 3, columns=columns)
    for instance in (problem.tied(), problem.strong(1, Fraction(1, 2**20)), problem.weak(0, Fraction(1, 2**30))):
        m, n = problem.shape
        a = np.full((m, n), Fraction(0), dtype=object)
        a[0, :columns] = instance.row
        for k in range(1, m):  # ||a||_2 is irrational: a number near it
            a[k, columns + k - 1] = root(instance.tail_squared, 20)[0]
        levels = SparsityLevels((n,), (1,))
        assert isinstance(prove_null_space(a, levels), NotDecided)
        found = refute_null_space(a, levels)
        assert found is not None
        assert (found.rho, found.gamma) == (None, None)
        x = [v for v in found.x if isinstance(v, Fraction)]
        i, j = (k for k, v in enumerate(x) if v)
        assert max(i, j) < columns
        assert x[i] / x[j] == -instance.row[j] / instance.row[i]
        assert checker.check(found.certificate())[1].endswith("any rho and any gamma")


@pytest.mark.parametrize(("rho", "gamma"), [(0.5, 1.0), (0.9, 1e6), (None, 3.0), (0.8, None)])
@pytest.mark.parametrize("is_complex", [False, True])
def test_a_violation_violates(rho: float | None, gamma: float | None, is_complex: bool) -> None:
    a, levels = gaussian(0, 5, 14, is_complex=is_complex), SparsityLevels((4, 10), (2, 1))
    found = refute_null_space(a, levels, rho, gamma)
    assert found is not None
    pairs = [(v, Fraction(0)) if isinstance(v, Fraction) else v for v in found.x]
    largest = max(abs(part) for pair in pairs for part in pair)  # integers of the kernel may be beyond any float
    x = np.array([complex(real / largest, imaginary / largest) for real, imaginary in pairs])
    w = np.repeat(levels.weights(), levels.sizes)
    xi = sum(v**2 * s for v, s in zip(levels.weights(), levels.sparsities, strict=True))
    misfit = float(np.linalg.norm(a @ x))
    assert gamma is not None or misfit < 1e-13 * np.linalg.norm(x)
    excess = []
    for support in supports(levels):
        outside = np.delete(np.arange(14), support)
        right = (1 if rho is None else rho) * (w[outside] @ np.abs(x[outside])) / xi**0.5 + (gamma or 0) * misfit
        excess.append(float(np.linalg.norm(x[support])) - right)
    assert max(excess) > 0
    assert "no weighted null space property" in checker.check(checker.parse(found.to_json()))[1]


def test_a_search_with_the_same_seed_finds_the_same() -> None:
    a, levels = gaussian(3, 5, 14), SparsityLevels((14,), (2,))
    first, second = (refute_null_space(a, levels, 0.5, 2.0, seed=4) for _ in range(2))
    assert first is not None
    assert second is not None
    assert first.to_json() == second.to_json()


@pytest.mark.parametrize("name", ["real", "levels"])
def test_what_is_proved_is_not_refuted(name: str) -> None:
    a, levels, weights = CASES[name]
    proof = prove_null_space(a, levels, weights=weights)
    assert not isinstance(proof, NotDecided)
    assert refute_null_space(a, levels, proof.rho, proof.gamma, weights=weights, starts=10) is None


def test_the_largest_rho_for_two_columns_is_the_one_in_closed_form() -> None:
    """A = (1 c), s = 1: the kernel has (c, -1), so that every rho up to c < 1 fails, and for large gamma no other."""
    problem = NullSpaceProblem.of(np.array([[0.5, 1.0]]), SparsityLevels((2,), (1,)), None)
    found = largest_refuted_rho(problem, 2**40)
    assert found is not None
    assert found.rho is not None
    assert 0.999 < found.rho < 1  # (1, -1/2) is twice as large on the first column


def ascent(is_complex: bool) -> _Ascent:
    """Columns of different lengths, of which the second and third are nearly parallel."""
    a = gaussian(5, 4, 9, is_complex=is_complex) * np.linspace(0.3, 2, 9)
    a[:, 2] = (2 - 1j if is_complex else 2) * a[:, 1] + 0.02 * gaussian(6, 4, 1)[:, 0]
    return _Ascent(NullSpaceProblem.of(a, SparsityLevels((3, 6), (1, 2)), [1.0, 1.5]), 0.6, 1.7)


@pytest.mark.parametrize("is_complex", [False, True])
def test_a_step_of_the_search_maximises_the_quadratic_form(is_complex: bool) -> None:
    """By the inverse of the dense matrix of the form with weights that are those of the denominator's terms."""
    search, random = ascent(is_complex), np.random.default_rng(1)
    x = random.standard_normal(9) + (1j * random.standard_normal(9) if is_complex else 0)
    head, tail, misfit, inside = search.parts(x)
    assert inside.sum() == 3
    terms, total = 0.6 * search.v * np.abs(x), 0.6 * tail + search.gamma * misfit
    form = np.diag(np.where(inside, (total / head) ** 2, (0.6 * search.v) ** 2 * total / terms)).astype(x.dtype)
    form += search.gamma**2 * total / (search.gamma * misfit) * search.A.conj().T @ search.A
    assert (x.conj() @ form @ x).real == pytest.approx(2 * total**2)  # the denominator's square, and once more for x_D
    columns = np.linalg.inv(form)[:, inside]
    best = columns @ np.linalg.eigh(columns[inside])[1][:, -1]
    moved = search._improved(x)
    assert np.abs(moved).max() == pytest.approx(1)
    assert abs(best.conj() @ moved) == pytest.approx(np.linalg.norm(best) * np.linalg.norm(moved), rel=1e-9)


@pytest.mark.parametrize("is_complex", [False, True])
def test_pairs_of_columns_that_nearly_cancel(is_complex: bool) -> None:
    """Each is a multiple of one column less its projection onto another; the parallel columns come first."""
    search = ascent(is_complex)
    lengths = np.linalg.norm(search.A, axis=0)
    pairs = search._pairs().T
    assert np.flatnonzero(pairs[0]).tolist() == [int(lengths.argmin())]
    supports = [tuple(np.flatnonzero(x).tolist()) for x in pairs[1:]]
    assert supports[0] == (1, 2)
    assert len(set(supports)) == len(supports) == 8
    cosines = []
    for x, (i, j) in zip(pairs[1:], supports, strict=True):
        assert np.abs(x).max() == pytest.approx(1)
        assert abs(search.A[:, i].conj() @ search.A @ x) < 1e-14
        cosines.append(abs(search.A[:, i].conj() @ search.A[:, j]) / (lengths[i] * lengths[j]))
    assert cosines == sorted(cosines, reverse=True)


def test_kernel_vectors_are_exact() -> None:
    random = np.random.default_rng(0)
    a = random.integers(-5, 6, (4, 6)) + 1j * random.integers(-5, 6, (4, 6))
    a[:, 3] = a[:, 0] * (1 + 2j) - a[:, 1]
    exact = exact_kernel(ConcreteMatrix.of(a.astype(complex)), [0, 1, 3])
    assert exact is not None
    x = np.array(exact["real"]) + 1j * np.array(exact["imaginary"])
    assert np.count_nonzero(x) == 3
    assert not (a @ x).any()
    assert exact_kernel(ConcreteMatrix.of(a.astype(complex)), [0, 1, 2]) is None


def test_bad_claims_are_refused() -> None:
    for rho, gamma, named in ((1.5, 1.0, "0 < rho < 1"), (0.5, -1.0, "gamma > 0")):
        with pytest.raises(BadInput, match=named):
            refute_null_space(np.eye(3), SparsityLevels((3,), (1,)), rho, gamma)
