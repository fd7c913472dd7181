"""The adversary: nobody reaches K digits, cheats get a verdict, coins are counted or bounded."""

from __future__ import annotations

import itertools
import json
import math
import sys
import time
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy import stats

from barrier_cases import fractions, problems
from firenet.barriers import Problem, TrainingSet, algorithms, check, defeat
from firenet.barriers.adversary import lower_bound
from firenet.barriers.given import Coins
from firenet.paper.contestants import CONTESTANTS

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
        (lambda t, coins: [coins.choose(0)], "invalid", "choose"),
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
