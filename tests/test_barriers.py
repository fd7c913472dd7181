"""The barriers: exact problems against solvers, oracles against their definition, and an adversary nobody survives."""

from __future__ import annotations

import copy
import itertools
import json
import math
import subprocess
import sys
import time
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import Any

import cvxpy
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy import optimize, stats
from typer.testing import CliRunner

from firenet.barriers import Oracle, Problem, TrainingSet, algorithms, check, defeat, outread, trial
from firenet.barriers.adversary import lower_bound
from firenet.barriers.classify import breakdown, classify, classify_bound, digits_of
from firenet.barriers.given import BadRead, Coins, as_sample
from firenet.barriers.instances import BadProblem, Minimisers, decimal, minimisers, root, root_decimal
from firenet.barriers.oracle import consistent
from firenet.barriers.referee import Referee
from firenet.barriers.witness import Refuted, __file__ as CHECKER
from firenet.cli.app import app
from firenet.cli.console import INVALID, NO_VERDICT
from firenet.paper.contestants import CONTESTANTS

HALF = Fraction(1, 2)
PROBLEMS = {
    "P1": Problem("P1", 3, Fraction(1, 3)),
    "P1, largest epsilon, R = 3": Problem("P1", 4, HALF, 3, 0, 3),
    "P2": Problem("P2", 3, Fraction(1)),
    "P2, small lambda": Problem("P2", 3, Fraction(1, 10**9), 2, 5),
    "P3": Problem("P3", 3, HALF),
    "P3, four columns, no tail": Problem("P3", 5, Fraction(1), 4, 0),
    "P3, 12 digits": Problem("P3", 12, Fraction(1, 7), 2, 1, 2),
}
problems = pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
kinds = pytest.mark.parametrize("kind", ["P1", "P2", "P3"])


# --- the problems -----------------------------------------------------------------------------------------------------


@problems
def test_the_family_is_what_the_theorem_needs(problem: Problem) -> None:
    """Well conditioned, and minimisers apart by more than 2e-K and less than e-(K-1)."""
    tiny = Fraction(1, 1 << 100)
    for instance in (problem.tied(), problem.strong(0, Fraction(1)), problem.strong(1, tiny), problem.weak(1, tiny)):
        conditions = instance.conditions()
        assert all(0 < c <= 1 for c in conditions.values())
        assert conditions["AA*"] == 1
    for instance, K in ((problem.strong(1, tiny), problem.digits), (problem.weak(0, tiny), problem.digits - 1)):
        for k in range(problem.samples):
            squared = 2 * instance.minimisers(k).value ** 2
            assert 4 * Fraction(1, 100**K) < squared < Fraction(1, 100 ** (K - 1))
        low, high = root(instance.separation_squared(), 200)
        assert low**2 <= instance.separation_squared() <= high**2
        assert high - low <= Fraction(1, 1 << 200)
    A = np.array([[float(e) for e in row] for row in as_sample(Oracle(problem.tied()).read(60), problem).A])
    gram = A @ A.T
    np.testing.assert_allclose(gram, gram[0, 0] * np.eye(len(A)), rtol=1e-12, atol=1e-12 * gram[0, 0])


def _solve(kind: str, parameter: float, A: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    z = cvxpy.Variable(A.shape[1])
    if kind == "P1":
        task = cvxpy.Problem(cvxpy.Minimize(cvxpy.norm1(z)), [cvxpy.norm(A @ z - y) <= parameter])
    elif kind == "P2":
        task = cvxpy.Problem(cvxpy.Minimize(parameter * cvxpy.norm1(z) + cvxpy.sum_squares(A @ z - y)))
    else:
        task = cvxpy.Problem(cvxpy.Minimize(parameter * cvxpy.norm1(z) + cvxpy.norm(A @ z - y)))
    tight = {"tol_gap_abs": 1e-13, "tol_gap_rel": 1e-13, "tol_feas": 1e-13}
    task.solve(solver="CLARABEL", **tight)
    assert isinstance(task.value, float)
    assert z.value is not None
    return task.value, z.value


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
    value, z = _solve(kind, 0.5, A, y)
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
    conditions, size = instance.conditions(), 1e-3
    worst = 0.0
    for k in range(12):
        dA, dy = random.standard_normal(A.shape), random.standard_normal(3)
        dA *= size * (k % 3 != 1) / np.linalg.norm(dA, 2)
        dy *= size * (k % 3 != 0) / np.linalg.norm(dy)
        _, found = _solve(kind, 0.5, A + dA, y + dy)
        bound = float(conditions["minimiser to A"]) * np.linalg.norm(dA, 2)
        bound += float(conditions["minimiser to y"]) * np.linalg.norm(dy)
        worst = max(worst, np.linalg.norm(found - z) / bound)
    assert worst <= 1.01
    dA = np.zeros_like(A)
    dA[0, 1] = size  # and they are attained
    _, found = _solve(kind, 0.5, A + dA, y)
    assert np.linalg.norm(found - z) == pytest.approx(float(conditions["minimiser to A"]) * size, rel=1e-2)


fractions = st.fractions(min_value=-3, max_value=3, max_denominator=50)


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
    with pytest.raises(BadProblem, match="weak family"):
        Problem("P3", 1).weak(0, HALF)
    for K in (1, 2):
        with pytest.raises(BadProblem, match="K > 2"):
            classify("P3", K)


# --- oracles ----------------------------------------------------------------------------------------------------------


@problems
def test_oracles_answer_within_what_was_asked(problem: Problem) -> None:
    bump = Fraction(1, 1 << 40)
    for instance in (problem.tied(), problem.strong(1, bump), problem.weak(0, bump)):
        for seed in (None, 0, 1, 2):
            for hidden in (-1, 39):
                oracle = Oracle(instance, seed, tied_until=hidden)
                for n in (0, 1, 2, 5, 39, 40, 41, 42, 80, 300, 4096):
                    for k in range(problem.samples):
                        read = oracle.read(n, k)
                        assert consistent(read, instance)
                        assert read == oracle.read(n, k)
                        A = as_sample(read, problem).A
                        assert all(len(row) == problem.shape[1] for row in A)
                        assert len(A) == problem.shape[0]
    shown = Oracle(problem.strong(1, bump)).read(60)
    assert not consistent(shown, problem.strong(0, bump))
    assert not consistent(shown, problem.tied())
    early = Oracle(problem.strong(1, bump), tied_until=39).read(39)
    assert all(consistent(early, i) for i in (problem.strong(0, bump), problem.tied()))
    with pytest.raises(ValueError, match="hidden"):
        Oracle(problem.strong(1, bump), tied_until=40)


def test_every_read_counts_and_bad_ones_are_refused() -> None:
    referee = Referee(Oracle(Problem("P3", 3, samples=2).tied()), 3)
    training_set = referee.training_set()
    assert (len(training_set), training_set.shape) == (2, (3, 4))
    pairs: list[Any] = [(4, 0), (np.int64(4), 1)]
    for n, k in pairs:
        y, A, x = training_set.sample(n, k)
        assert all(isinstance(e, Fraction) for e in (*y, *A[0], *x))
    assert len(referee.run("halted").reads) == 2
    referee.ended = None
    for n, k in ((-1, 0), (1.5, 0), (True, 0), ("3", 0), (1, 2), (1, -1), (1, None)):
        with pytest.raises(BadRead):
            training_set.sample(n, k)  # type: ignore[arg-type]
    assert len(referee.run("halted").reads) == 2


# --- the adversary ----------------------------------------------------------------------------------------------------


@problems
@pytest.mark.parametrize("name", algorithms.SHIPPED)
def test_nobody_reaches_k_digits(problem: Problem, name: str) -> None:
    verdict = defeat(algorithms.SHIPPED[name], problem, name=name, reads=40)
    assert verdict.defeated
    assert verdict.witness is not None
    said = check(json.loads(json.dumps(verdict.witness)))
    if verdict.claim == "wrong":
        limit = Fraction(1, 100**problem.digits)
        missed = sum(d > limit for d in verdict.distances_squared)
        assert missed == problem.samples if problem.samples < problem.columns else missed >= 1
        assert "away from the instance's minimisers" in said
    n = problem.columns
    if name == "random-column":
        assert verdict.failure == Fraction(n - 1, n)
    if name == "three-way":
        assert verdict.failure == Fraction(n - 1, 2 * n - 1)
    if name == "separated":
        assert verdict.claim == "did not halt"
        assert "40 reads" in verdict.statement
    if verdict.claim == "randomised":
        assert verdict.exact


@given(st.lists(st.integers(0, 300), max_size=6), st.lists(fractions, min_size=4, max_size=4), st.booleans())
@settings(max_examples=60, deadline=None)
def test_nor_does_anything_else(reads: list[int], output: list[Fraction], answer: bool) -> None:
    """Whatever is read and whatever is said after it."""

    def algorithm(training_set: TrainingSet) -> object:
        labels = [training_set.sample(n).x for n in reads]
        return labels[-1] if answer and reads else [x / 500 for x in output]

    verdict = defeat(algorithm, Problem("P3", 3))
    assert verdict.claim == "wrong"
    assert verdict.witness is not None
    assert max(verdict.distances_squared) > Fraction(1, 10**6)
    check(verdict.witness)


@pytest.mark.parametrize("name", [n for n in CONTESTANTS if n not in algorithms.SHIPPED])
def test_real_solvers_reach_one_digit_less_and_no_more(name: str) -> None:
    entry = CONTESTANTS[name]
    assert not entry.missing
    for problem in (Problem("P3", 8), Problem("P1", 3, Fraction(1, 3), samples=1), Problem("P2", 2, Fraction(1))):
        verdict = defeat(entry.algorithm, problem, name=name)
        assert verdict.claim == "wrong", verdict
        assert verdict.note == "floating-point numbers were converted exactly"
        assert max(verdict.distances_squared) <= Fraction(1, 100 ** (problem.digits - 1))
        assert verdict.witness is not None
        check(verdict.witness)


def test_a_hedge_saves_one_of_two_measurements_and_no_more() -> None:
    def hedge(training_set: TrainingSet) -> object:
        return [algorithms.guess(training_set, k)[k] for k in range(2)]

    verdict = defeat(hedge, Problem("P3", 3, samples=2))
    near = [d <= Fraction(1, 10**6) for d in verdict.distances_squared]
    assert sorted(near) == [False, True]
    assert "on 1 of 2 measurements" in verdict.statement
    assert verdict.witness is not None
    check(verdict.witness)


def test_a_network_is_applied_to_the_measurement() -> None:
    seen = []

    def trained(training_set: TrainingSet) -> object:
        return lambda y: seen.append(y) or np.zeros(4)

    verdict = defeat(trained, Problem("P3", 3, samples=3))
    assert verdict.claim == "wrong"
    assert [y[0] for y in seen] == [1, Fraction(13, 12), Fraction(7, 6)] * 2  # it is played twice


def _endless(training_set: TrainingSet) -> object:
    while True:
        time.sleep(0.001)


def _catches(training_set: TrainingSet) -> object:
    """Right on every input with a bump, and never done on the tie: it must not be called wrong."""
    try:
        return algorithms.separated(training_set)
    except BaseException:
        return [Fraction(1, 500), 0, 0, 0]


_COUNTER = itertools.count()


def _stubborn(training_set: TrainingSet) -> object:
    end = time.monotonic() + 4
    while time.monotonic() < end:
        try:
            training_set.sample(3)
            time.sleep(0.001)
        except BaseException:
            time.sleep(0.001)
    return None


@pytest.mark.parametrize(
    ("algorithm", "claim", "said"),
    [
        (lambda t: 1 / 0, "invalid", "ZeroDivisionError"),
        (lambda t: sys.exit(3), "invalid", "SystemExit"),
        (lambda t: None, "invalid", "NoneType"),
        (lambda t: "1234", "invalid", "str"),
        (lambda t: [1, 2, 3], "invalid", "4 numbers"),
        (lambda t: [[1, 2, 3, 4], [1, 2, 3, 4]], "invalid", "rows"),
        (lambda t: np.zeros((4, 4)), "invalid", "rows"),
        (lambda t: [math.nan] * 4, "invalid", "nan"),
        (lambda t: [0, 0, 0, math.inf], "invalid", "inf"),
        (lambda t: [0, 0, 0, "x"], "invalid", "got str"),
        (lambda t: t.sample(-1), "invalid", "accuracy"),
        (lambda t: t.sample(2.5), "invalid", "accuracy"),
        (lambda t: t.sample(10**9), "invalid", "2**-4096"),
        (lambda t: lambda y: [math.nan] * 4, "invalid", "nan"),
        (lambda t: [0.25, 0, 0, 0], "wrong", "converted exactly"),
        (lambda t: [0.25 + 1j, 0, 0, 0], "wrong", "imaginary"),
        (lambda t: [[0, 0, 0, 0]], "wrong", ""),
        (lambda t: ["1/500", 0, 0, 0], "invalid", "str"),
        (lambda t: [Decimal("1e30000000"), 0, 0, 0], "invalid", "bits"),
        (lambda t: [Decimal("0.002"), 0, 0, 0], "wrong", "converted exactly"),
        (lambda t: [np.longdouble(0.002), np.float32(0), np.int64(0), 0], "wrong", "converted exactly"),
        (lambda t: [Fraction(1, 3**10000), 0, 0, 0], "invalid", "bits"),
        (lambda t: t.sample(4096).x, "wrong", ""),
        (lambda t: t.sample(4097), "invalid", "2**-4096"),
        (lambda t: algorithms.guess(t, next(_COUNTER) % 2), "invalid", "second time"),
        (lambda t, coins: algorithms.guess(t, next(_COUNTER) % 2), "invalid", "second time"),
        (_catches, "did not halt", "1000 reads"),
        (_endless, "out of time", "1 s"),
        (_stubborn, "out of time", "1 s"),
        (lambda t, coins: [coins.choose(0)], "invalid", "choice"),
        (lambda t, coins: algorithms.separated(t), "did not halt", "1000 reads"),
        (lambda t, coins: _endless(t) if coins.choose(9) else [0] * 4, "out of time", "1 s"),
        (lambda t, coins: _endless(t), "out of time", "1 s"),
        (lambda t, coins: 1 / coins.choose(2) and [0] * 4, "randomised", "probability at least 1 "),
        (lambda t, coins: [coins.choose(2) for _ in range(10**4)], "invalid", "4 numbers"),
    ],
)
def test_bad_algorithms_get_a_verdict(algorithm: Any, claim: str, said: str) -> None:
    verdict = defeat(algorithm, Problem("P3", 3), seconds=1, plays=3)
    assert verdict.claim == claim, verdict
    assert said in verdict.statement + verdict.note
    assert verdict.defeated == (claim not in ("invalid", "out of time"))
    if verdict.witness:
        check(json.loads(json.dumps(verdict.witness)))
    json.dumps(verdict.as_json())


# --- coins ------------------------------------------------------------------------------------------------------------


def test_coins_that_can_be_counted_are() -> None:
    def uneven(training_set: TrainingSet, coins: Coins) -> object:
        column = 0 if coins.choose(3) == 0 and coins.choose(2) == 0 else 1  # 1/6 and 5/6
        return algorithms.guess(training_set, column)

    verdict = defeat(uneven, Problem("P3", 3))
    assert (verdict.failure, verdict.exact, verdict.plays) == (Fraction(5, 6), True, 4)


def test_where_the_tie_is_worst_its_witness_holds_too() -> None:
    def mixed(training_set: TrainingSet, coins: Coins) -> object:
        return [0] * 4 if coins.choose(2) else algorithms.separated(training_set)

    verdict = defeat(mixed, Problem("P3", 3), reads=30)
    assert (verdict.failure, verdict.exact) == (1, True)
    assert verdict.witness is not None
    assert verdict.witness["instance"]["column"] is None
    check(verdict.witness)
    other = defeat(lambda t, coins: [coins.choose(2 + coins.choose(2)), 0, 0, 0], Problem("P3", 3))
    assert (other.failure, other.plays) == (1, 5)


def test_other_coins_get_a_confidence_bound() -> None:
    def fair(training_set: TrainingSet, coins: Coins) -> object:
        return algorithms.guess(training_set, int(coins.generator.random() < 0.5))

    def biased(training_set: TrainingSet, coins: Coins) -> object:
        return algorithms.guess(training_set, int(coins.generator.random() < 0.9))

    for algorithm, truth in ((fair, 0.5), (biased, 0.9)):
        verdict = defeat(algorithm, Problem("P3", 3), plays=300, seed=0)
        assert not verdict.exact
        assert verdict.failure is not None
        assert truth - 0.15 < float(verdict.failure) < truth
        assert "99.9 %" in verdict.statement
        assert verdict == defeat(algorithm, Problem("P3", 3), plays=300, seed=0)
    drawn = defeat(fair, Problem("P3", 3), plays=50)
    assert drawn == defeat(fair, Problem("P3", 3), plays=50, seed=drawn.seed)
    assert drawn.seed != defeat(fair, Problem("P3", 3), plays=50).seed


@pytest.mark.parametrize(("failures", "plays"), [(0, 10), (1, 10), (7, 10), (10, 10), (150, 300), (299, 300)])
def test_the_confidence_bound_is_clopper_and_pearsons(failures: int, plays: int) -> None:
    expected = stats.beta.ppf(1e-3, failures, plays - failures + 1) if failures else 0.0
    assert float(lower_bound(failures, plays)) == pytest.approx(math.floor(expected * 1000) / 1000, abs=1e-9)


# --- fewer digits -----------------------------------------------------------------------------------------------------


@problems
def test_one_digit_less_is_reached_and_costs_any_number_of_reads(problem: Problem) -> None:
    done = trial(algorithms.one_digit_less, problem, problem.digits - 1, plays=150, seed=0)
    assert done.passed
    assert done.worst_squared <= Fraction(1, 100 ** (problem.digits - 1))
    assert not trial(algorithms.one_digit_less, problem, problem.digits, plays=150, seed=0).passed
    for most in (1, 7, 60):
        verdict = outread(algorithms.one_digit_less, problem, most)
        assert verdict.claim == "reads"
        assert verdict.witness is not None
        check(verdict.witness)
        # with more patience it comes to an end, at the right column, on that very input
        found = verdict.witness["instance"]
        bump = Fraction(found["bump"])
        instance = problem.weak(int(found["column"]), bump)
        hidden = max(int(r["n"]) for r in verdict.witness["reads"])
        referee = Referee(Oracle(instance, tied_until=hidden))
        outputs = algorithms.one_digit_less(referee.training_set())
        assert len(referee.run("halted").reads) > most
        assert max(instance.minimisers(k).distance_squared(x) for k, x in enumerate(outputs)) <= Fraction(
            1, 100 ** (problem.digits - 1)
        )


def test_one_digit_less_on_thousands_of_oracles() -> None:
    done = trial(algorithms.one_digit_less, Problem("P3", 3), 2, plays=2000, seed=1)
    assert (done.passed, done.plays) == (True, 2000)


@problems
def test_two_digits_less_from_one_read(problem: Problem) -> None:
    done = trial(algorithms.two_digits_less, problem, problem.digits - 2, plays=300, seed=0)
    assert done.passed
    assert done.most_reads == problem.samples
    failed = trial(algorithms.two_digits_less, problem, problem.digits - 1, plays=300, seed=0)
    assert not failed.passed
    assert failed.failure is not None
    assert failed.failure.witness is not None
    assert "reads agree with the instance. The output" in check(failed.failure.witness)
    on_ties = trial(
        lambda t: [0] * t.shape[1] if len(t) == 1 else [[0] * t.shape[1]] * len(t), problem, problem.digits, seed=0
    )
    assert on_ties.failure is not None
    check(on_ties.failure.witness)
    with pytest.raises(BadProblem, match="digits"):
        trial(algorithms.first, problem, 0)


@pytest.mark.parametrize("columns", [2, 3, 5])
def test_with_few_reads_a_guess_is_as_good_as_anything(columns: int) -> None:
    problem = Problem("P3", 4, columns=columns)

    def patient_or_not(training_set: TrainingSet, coins: Coins) -> object:
        if coins.choose(2):
            return algorithms.random_column(training_set, coins)
        return algorithms.separated(training_set)

    for algorithm in (algorithms.random_column, patient_or_not):
        verdict = outread(algorithm, problem, 30)
        assert verdict.exact
        assert verdict.failure is not None
        assert verdict.failure >= Fraction(columns - 1, columns)
        if algorithm is algorithms.random_column:
            assert verdict.failure == Fraction(columns - 1, columns)
        assert verdict.witness is not None
        check(verdict.witness)
    always = outread(lambda t, coins: algorithms.separated(t), problem, 30)  # reads more, whatever the coins
    assert always.claim == "reads"
    for name in ("exact", "first", "centre"):
        assert outread(algorithms.SHIPPED[name], problem, 30).claim == "wrong"
    assert defeat(algorithms.first, 5).witness == defeat(algorithms.first, Problem("P3", 5)).witness


def test_breakdown_epsilons_from_both_sides() -> None:
    found = breakdown(Problem("P3", 4))
    three = breakdown(Problem("P3", 4, samples=3))["strong"]
    assert float(three["below"]) <= float(three["limit"]) == pytest.approx(float(three["above"]), rel=1e-4)
    for name, size in (("strong", 1e-4), ("weak", 1e-3)):
        below, above, limit = (float(found[name][k]) for k in ("below", "above", "limit"))
        assert size < below <= limit * (1 + 1e-4)
        assert above == pytest.approx(limit, rel=1e-4)
        assert below == pytest.approx(above, rel=1e-4)
    both = found["probabilistic"]
    assert both["halting"]["proven"] == both["halting"]["attained"] == "1/2"
    assert both["may not halt"]["proven"] == both["may not halt"]["attained"] == "1/3"


@kinds
def test_three_regimes(kind: Any) -> None:
    cells = classify(kind, 3, plays=20)
    assert [(c.digits, c.regime.split(", ")[-1]) for c in cells] == [
        (4, "impossible"),
        (3, "impossible"),
        (2, "unbounded data"),
        (1, "few data"),
    ]
    for cell in cells[1:]:
        assert cell.evidence
        assert any(p.passed for p in cell.evidence) == (cell.regime != "impossible")
    json.dumps([c.as_json() for c in cells])


def test_a_proven_bound_is_counted_in_digits() -> None:
    assert [
        digits_of(b) for b in (Fraction(1, 100), Fraction(1, 99), Fraction(1), Fraction(11), Fraction(1, 10**40))
    ] == [
        2,
        1,
        0,
        -2,
        40,
    ]
    assert [(c.digits, c.regime) for c in classify_bound(Fraction(1, 350), layers=300)] == [
        (3, "open"),
        (2, "computable, stated bound"),
        (1, "computable, stated bound"),
    ]
    for bad in (0.1, Fraction(0)):
        with pytest.raises(BadProblem):
            digits_of(bad)  # type: ignore[arg-type]


# --- witnesses --------------------------------------------------------------------------------------------------------


def _edited(witness: dict[str, Any], *path: Any, to: Any) -> dict[str, Any]:
    changed = copy.deepcopy(witness)
    at = changed
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = to(at[path[-1]]) if callable(to) else to
    return changed


@kinds
def test_witnesses_that_were_touched_are_refuted(kind: Any) -> None:
    verdict = defeat(algorithms.exact, Problem(kind, 3))
    witness = verdict.witness
    assert witness is not None
    check(witness)

    def more(text: str) -> str:
        return str(Fraction(text) + Fraction(1, 1 << 60))

    read = ("reads", 0)
    moved = {"scale": "3", "column": "1", "bump": witness["instance"]["bump"]}
    right = ["0"] * 4
    right[int(witness["instance"]["column"])] = witness["outputs"][0][1 - int(witness["instance"]["column"])]
    deep: Any = "1"
    for _ in range(5000):
        deep = [deep]
    for changed in (
        _edited(witness, "outputs", 0, 0, to=deep),
        _edited(witness, "format", to="x"),
        _edited(witness, "version", to=2),
        _edited(witness, "claim", to="right"),
        _edited(witness, "version", to=True),
        _edited(witness, "digits", to="100000000"),
        _edited(witness, "digits", to="9" * 25),
        _edited(witness, "reads", to={}),
        _edited(witness, "rivals", to=[]),
        _edited(witness, "rivals", to=witness["rivals"] * 2000),
        _edited(witness, "rivals", 0, "bump", to="1/1048576"),
        _edited(witness, "problem", "columns", to="9998"),
        _edited(witness, "problem", "samples", to="10000"),
        _edited(witness, "outputs", 0, to=["1/" + "7" * 4100] * 4000),
        _edited(witness, "digits", to="2"),
        _edited(witness, "problem", "kind", to="P9"),
        _edited(witness, "problem", "parameter", to="2"),
        _edited(witness, "instance", "bump", to="1"),
        _edited(witness, "instance", "bump", to="0"),
        _edited(witness, "instance", "column", to=None),
        _edited(witness, "instance", "column", to="7"),
        _edited(witness, "instance", "scale", to="1"),
        _edited(witness, "rivals", to=[moved, moved]),
        _edited(witness, *read, "row", 0, to=lambda t: str(Fraction(t) + 1)),
        _edited(witness, *read, "row", 0, to="1/3"),
        _edited(witness, *read, "tail", to=lambda t: str(Fraction(t) + 1)),
        _edited(witness, *read, "y", to="2"),
        _edited(witness, *read, "label", 0, to=more),
        _edited(witness, *read, "label", to=[]),
        _edited(witness, *read, "n", to="9999"),
        _edited(witness, *read, "k", to="1"),
        _edited(witness, "outputs", to=[]),
        _edited(witness, "outputs", 0, to=right),
        _edited(witness, "outputs", 0, 0, to="1e9999999999"),
        _edited(witness, "outputs", 0, 0, to="1/0"),
        _edited(witness, "outputs", 0, 0, to=0.5),
        {k: v for k, v in witness.items() if k != "reads"},
        [witness],
        None,
    ):
        with pytest.raises(Refuted):
            check(changed)


def test_the_checker_stands_alone(tmp_path: Path) -> None:
    verdict = defeat(algorithms.exact, Problem("P3", 8))
    good, bad, nonsense = (tmp_path / f"{n}.json" for n in ("good", "bad", "nonsense"))
    assert verdict.witness is not None
    good.write_text(json.dumps(verdict.witness))
    bad.write_text(json.dumps(_edited(verdict.witness, "digits", to="7")))
    nonsense.write_text("[" * 100_000)
    script = Path(CHECKER)
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe")
    files = [[str(p)] for p in (good, bad, nonsense, binary, tmp_path / "none")] + [[]]
    runs = [
        subprocess.run([sys.executable, "-I", "-S", str(script), *f], capture_output=True, text=True, check=False)
        for f in files
    ]
    assert [r.returncode for r in runs] == [0, 1, 1, 1, 1, 1]
    assert "2.8284e-8 away" in runs[0].stdout
    assert all(r.stderr.startswith("refuted: ") for r in runs[1:])


# --- the command line -------------------------------------------------------------------------------------------------


def _firenet(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["barriers", *arguments])


def test_play_and_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "w.json"
    run = _firenet("play", "-k", "8", "-a", "exact", "-o", str(file))
    assert run.exit_code == 0, run.output
    assert "2.828427e-08 > 1e-08" in run.stdout
    run = _firenet("check", str(file))
    assert (run.exit_code, "holds" in run.stdout) == (0, True)
    file.write_text(file.read_text().replace('"digits": "8"', '"digits": "7"', 1))
    assert _firenet("check", str(file)).exit_code == 2
    assert _firenet("check", str(tmp_path / "none.json")).exit_code == 2

    (tmp_path / "mine.py").write_text("def guess(training_set):\n    return [0, 0.002, 0, 0]\nnumber = 3\n")
    monkeypatch.chdir(tmp_path)
    run = _firenet("play", "-k", "3", "-a", "mine:guess", "--json")
    assert run.exit_code == 0, run.output
    found = json.loads(run.stdout)
    assert (found["claim"], found["defeated"], found["algorithm"]) == ("wrong", True, "mine:guess")
    run = _firenet("play", "-k", "4", "-a", "one-digit-less", "--fewer", "--reads", "25")
    assert "Needs more than 25 reads" in run.stdout
    for bad in (
        ("-a", "nobody"),
        ("-a", "mine:none"),
        ("-a", "mine:number"),
        ("-a", "no_such_module:f"),
        ("-a", "exact", "-k", "0"),
        ("-a", "exact", "--parameter", "2"),
        ("-a", "exact", "--parameter", "x"),
        ("-a", "exact", "--columns", "1"),
        ("-a", "exact", "--problem", "P7"),
        ("-a", "exact", "-k", "1", "--fewer"),
    ):
        run = _firenet("play", *bad)
        assert run.exit_code == 2, bad
        assert run.stderr.startswith("needed: ")


@pytest.mark.parametrize(
    ("kind", "body", "said", "code"),
    [
        ("raises", "raise RuntimeError('no luck')", "RuntimeError: no luck (mine_that_raises.py, line 2)", INVALID),
        ("answers", "return 'an answer'", "got str", INVALID),
        ("crashes", "import os; os._exit(0)", "ended with exit code 0 without an answer", INVALID),
        ("asks", "return training_set.sample(5000).x", "2**-5000", INVALID),
        ("hangs", "while True: pass", "still running after 1 s", NO_VERDICT),
    ],
)
def test_play_without_a_verdict_has_its_own_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, body: str, said: str, code: int
) -> None:
    name = f"mine_that_{kind}"
    limit = ("--seconds", "1") if kind == "hangs" else ()  # the others end by themselves, however slow the machine
    (tmp_path / f"{name}.py").write_text(f"def bad(training_set):\n    {body}\n")
    monkeypatch.chdir(tmp_path)
    for options in ((), ("--json",)):
        run = _firenet("play", "-k", "3", "-a", f"{name}:bad", *limit, *options)
        assert run.exit_code == code, run.output
        assert f"no verdict about {name}:bad: " in run.stderr
        assert said in run.stderr
    assert json.loads(run.stdout)["defeated"] is False


def test_the_whole_gallery(tmp_path: Path) -> None:
    run = _firenet("all", "-k", "3", "-o", str(tmp_path), "--reads", "60")
    assert run.exit_code == 0, run.output
    rows = [line.split("│") for line in run.stdout.splitlines() if "│" in line]  # 80 characters wide
    assert [row[1].strip() for row in rows] == list(CONTESTANTS)
    assert {cell.strip() for cell in rows[0][2:5]} == {"2.828427e-03", "2.827013e-03"}  # times 1 - 1/2000 for (P2)
    found = json.loads((tmp_path / "barriers.json").read_text())
    assert len(found["defeats"]) == 3 * len(CONTESTANTS)
    assert all(p["defeated"] for p in found["defeats"])
    for p in found["defeats"]:
        check(json.loads((tmp_path / p["witness"]).read_text()))
    assert all(p["passed"] for p in found["positive"] if "passed" in p)
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")
    assert _firenet("all", "-k", "2", "-o", str(tmp_path)).exit_code == 2


def test_the_map(tmp_path: Path) -> None:
    picture = tmp_path / "map.png"
    run = _firenet("map", "-k", "3", "-o", str(picture))
    assert run.exit_code == 0, run.output
    assert "3 digits: impossible" in run.stdout
    assert picture.stat().st_size > 10_000
    assert _firenet("map", "-k", "2", "-o", str(picture)).exit_code == 2


def test_seeds_leave_the_global_state_alone() -> None:
    import random

    random.seed(3)
    before = random.getstate()
    trial(algorithms.two_digits_less, Problem("P3", 3), 1, plays=5, seed=0)
    defeat(algorithms.random_column, Problem("P3", 3))
    assert random.getstate() == before
    assert Random(3).random() == random.random()
