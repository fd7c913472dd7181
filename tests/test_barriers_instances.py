"""The barriers' problems: well conditioned, with exact minimisers that solvers confirm."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy import optimize

from barrier_cases import HALF, conditions, fractions, kinds, problems
from firenet.barriers import Oracle, Problem
from firenet.barriers.classify import classify
from firenet.barriers.given import as_sample
from firenet.barriers.instances import BadProblem, Minimisers, decimal, minimisers, root, root_decimal
from oracles import solved


@problems
def test_the_family_is_what_the_theorem_needs(problem: Problem) -> None:
    """Well conditioned, and minimisers apart by more than 2e-K and less than e-(K-1)."""
    tiny = Fraction(1, 1 << 100)
    for instance in (problem.tied(), problem.strong(0, Fraction(1)), problem.strong(1, tiny), problem.weak(1, tiny)):
        numbers = conditions(instance)
        assert all(0 < c <= 1 for c in numbers.values())
        assert numbers["AA*"] == 1
    for instance, K in ((problem.strong(1, tiny), problem.digits), (problem.weak(0, tiny), problem.digits - 1)):
        for k in range(problem.samples):
            squared = 2 * instance.minimisers(k).value ** 2
            assert 4 * Fraction(1, 100**K) < squared < Fraction(1, 100 ** (K - 1))
        separation = 2 * instance.minimisers().value ** 2
        low, high = root(separation, 200)
        assert low**2 <= separation <= high**2
        assert high - low <= Fraction(1, 1 << 200)
    A = np.array([[float(e) for e in row] for row in as_sample(Oracle(problem.tied()).read(60), problem).A])
    gram = A @ A.T
    np.testing.assert_allclose(gram, gram[0, 0] * np.eye(len(A)), rtol=1e-12, atol=1e-12 * gram[0, 0])


def _objective(kind: str, parameter: float, A: np.ndarray, y: np.ndarray, z: np.ndarray) -> float:
    r = float(np.linalg.norm(A @ z - y))
    if kind == "P1":
        assert r <= parameter * (1 + 1e-12)
        return float(np.abs(z).sum())
    return parameter * float(np.abs(z).sum()) + (r if kind == "P3" else r * r)


@kinds
@pytest.mark.parametrize("row", [(5, 4), (5, 5), (4, 5, 5), (7, 3, 6, 7)])
def test_minimisers_against_a_solver(kind: Any, row: tuple[int, ...]) -> None:
    problem = Problem(kind, 1, HALF, len(row), 2)
    exact = tuple(Fraction(a) for a in row)
    found = minimisers(kind, HALF, exact, Fraction(5, 4), problem.shape[1])
    assert found.support == tuple(i for i, a in enumerate(row) if a == max(row))
    A = np.zeros(problem.shape)
    A[0, : len(row)] = row
    A[1:, len(row) :] = np.linalg.norm(row) * np.eye(2)
    y = np.array([1.25, 0, 0])
    value, z = solved(kind, 0.5, A, y)
    for j in found.support:
        vertex = np.array([float(e) for e in found.vertex(j)])
        assert _objective(kind, 0.5, A, y, vertex) == pytest.approx(value, rel=1e-7)
    nearest = math.sqrt(found.distance_squared(tuple(Fraction(e) for e in z)))
    assert nearest < 1e-5
    with pytest.raises(BadProblem, match="closed form"):
        minimisers("P3", Fraction(9), exact, Fraction(1), problem.shape[1])


@kinds
def test_condition_numbers_bound_what_any_small_change_does(kind: Any) -> None:
    """Also of entries that are zero in the family."""
    problem, random = Problem(kind, 1, HALF, 2, 2), np.random.default_rng(0)
    instance = problem.strong(1, HALF)
    A = np.zeros((3, 4))
    A[0, :2] = [float(a) for a in instance.row]
    A[1:, 2:] = math.sqrt(instance.tail_squared) * np.eye(2)
    y, z = np.array([1.0, 0, 0]), np.array([float(e) for e in instance.minimisers().vertex(1)])
    numbers, size = conditions(instance), 1e-3
    worst = 0.0
    for k in range(12):
        dA, dy = random.standard_normal(A.shape), random.standard_normal(3)
        dA *= size * (k % 3 != 1) / np.linalg.norm(dA, 2)
        dy *= size * (k % 3 != 0) / np.linalg.norm(dy)
        _, found = solved(kind, 0.5, A + dA, y + dy)
        bound = float(numbers["minimiser to A"]) * np.linalg.norm(dA, 2)
        bound += float(numbers["minimiser to y"]) * np.linalg.norm(dy)
        worst = max(worst, np.linalg.norm(found - z) / bound)
    assert worst <= 1.01
    dA = np.zeros_like(A)
    dA[0, 1] = size  # and they are attained
    _, found = solved(kind, 0.5, A + dA, y)
    assert np.linalg.norm(found - z) == pytest.approx(float(numbers["minimiser to A"]) * size, rel=1e-2)


@given(st.lists(fractions, min_size=3, max_size=5), st.fractions(min_value=0, max_value=2, max_denominator=20))
@settings(max_examples=60, deadline=None)
def test_the_distance_to_a_simplex_is_exact(x: list[Fraction], value: Fraction) -> None:
    support = tuple(range(len(x) - 1))
    found = Minimisers(value, support, len(x))
    squared = found.distance_squared(tuple(x))
    target = np.array([float(e) for e in x])

    def distance(p: np.ndarray) -> float:
        return float(np.sum((p - target[:-1]) ** 2) + target[-1] ** 2)

    total = {"type": "eq", "fun": lambda p: p.sum() - float(value)}
    start = np.full(len(support), float(value) / len(support))
    best = optimize.minimize(distance, start, bounds=[(0, None)] * len(support), constraints=[total], tol=1e-14)
    assert float(squared) == pytest.approx(best.fun, abs=1e-6)
    assert found.distance_squared(found.centre()) == 0
    assert all(found.distance_squared(found.vertex(j)) == 0 for j in support)


def test_numbers_for_people() -> None:
    assert decimal(Fraction(0)) == "0"
    assert decimal(Fraction(-1, 3), 3) == "-3.33e-01"
    assert decimal(Fraction(99999999, 10**8), 3) == "1.00e+00"
    assert root_decimal(Fraction(2), 10) == "1.414213562e+00"
    for exponent in range(-40, 40):
        assert float(decimal(Fraction(7) ** exponent, 12)) == pytest.approx(7.0**exponent, rel=1e-11)
    assert root(Fraction(9, 4), 5) == (Fraction(3, 2), Fraction(3, 2))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"digits": 0}, "digits"),
        ({"digits": True}, "digits"),
        ({"digits": 301}, "at most 300"),
        ({"columns": 1}, "N > m"),
        ({"tail": -1}, "tail"),
        ({"samples": 0}, "samples"),
        ({"samples": 101}, "at most"),
        ({"tail": 1999}, "at most"),
        ({"parameter": Fraction(1, 1 << 300)}, "bits"),
        ({"parameter": Fraction(0)}, "lambda"),
        ({"parameter": Fraction(3, 2)}, "lambda"),
        ({"parameter": 0.5}, "rational"),
        ({"kind": "P1", "parameter": Fraction(3, 4)}, "epsilon"),
        ({"kind": "P4"}, "P1, P2 or P3"),
    ],
)
def test_problems_outside_the_class_are_refused(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(BadProblem, match=said):
        Problem(**arguments)


def test_instances_outside_the_class_are_refused() -> None:
    problem = Problem("P3", 3)
    for column, bump in ((0, Fraction(0)), (2, HALF), (0, Fraction(2)), (None, HALF)):
        with pytest.raises(BadProblem):
            problem.strong(column, bump)  # type: ignore[arg-type]
    for row in ((HALF, Fraction(0)), (HALF, Fraction(-1))):
        with pytest.raises(BadProblem, match="a positive row"):
            minimisers("P2", HALF, row, Fraction(1), 2)
    with pytest.raises(BadProblem, match="weak family"):
        Problem("P3", 1).weak(0, HALF)
    assert Problem("P3", 2).weak(0, HALF).scale == 1
    for K in (1, 2):
        with pytest.raises(BadProblem, match="K > 2"):
            classify("P3", K)
