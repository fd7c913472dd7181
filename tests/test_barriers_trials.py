"""Fewer digits: what can be reached is reached, and costs what the theorem says."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from random import Random

import pytest

from barrier_cases import problems
from firenet.barriers import Oracle, Problem, TrainingSet, algorithms, check, defeat, outread, trial
from firenet.barriers.given import Coins
from firenet.barriers.instances import BadProblem
from firenet.barriers.referee import Referee
from firenet.barriers.runs import run
from firenet.barriers.verdicts import Verdict, issue


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
    for none in (0, -1):
        with pytest.raises(BadProblem, match="at least one input"):
            trial(algorithms.first, problem, 1, plays=none)


def test_without_an_answer_nothing_is_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither by an algorithm that reads for ever, nor by one that raises an error; the verdict says which."""

    def insatiable(training_set: TrainingSet) -> object:
        n = 0
        while True:
            training_set.sample(n := n + 1)

    def broken(training_set: TrainingSet) -> object:
        raise ValueError("no idea")

    monkeypatch.setattr("firenet.barriers.trials.MOST_READS", 20)
    for algorithm, said in ((insatiable, "No answer (out of reads)"), (broken, "No answer (raised)")):
        done = trial(algorithm, Problem("P3", 3), 1, plays=3, seed=0)
        assert (done.passed, done.plays, done.decided) == (False, 1, False)
        assert done.failure is not None
        assert (done.failure.claim, done.failure.digits) == ("invalid", 1)
        assert done.failure.statement.startswith(said)


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


def test_a_witness_that_is_not_issued_says_why() -> None:
    """The output, the rivals or the log do not show what is claimed."""
    problem, bump = Problem("P3", 3), Fraction(1, 1 << 20)
    instance, claimed = problem.strong(1, bump), Verdict("honest", 1, "wrong", "Wrong.")
    done = run(algorithms.two_digits_less, Referee(Oracle(instance), 100))
    far = problem.strong(0, Fraction(1, 2))
    for digits, rival, oracle, why in (
        (1, instance, Oracle(instance), "as accurate as was asked for"),
        (9, far, Oracle(instance), "do not agree with the instance and its rivals"),
        (9, instance, Oracle(far), "not what the oracle answered"),
    ):
        said = issue(replace(claimed, digits=digits), "missed", done, instance, [rival], oracle)
        assert (said.claim, said.witness) == ("invalid", None)
        assert said.note.endswith(why)


def test_seeds_leave_the_global_state_alone() -> None:
    import random

    random.seed(3)
    before = random.getstate()
    trial(algorithms.two_digits_less, Problem("P3", 3), 1, plays=5, seed=0)
    defeat(algorithms.random_column, Problem("P3", 3))
    assert random.getstate() == before
    assert Random(3).random() == random.random()
