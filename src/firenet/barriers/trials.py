"""Tests on random inputs whether an algorithm computes the digits asked for, as can be done for K-1 and K-2 digits."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from fractions import Fraction
from random import Random

from firenet.barriers.instances import BadProblem, Instance, Problem, root_decimal
from firenet.barriers.oracle import Oracle
from firenet.barriers.program import Program
from firenet.barriers.referee import Referee, Run
from firenet.barriers.runs import SECONDS, Player, run
from firenet.barriers.verdicts import TRUST, Verdict, distances, issue, name_of, without_answer
from firenet.barriers.witness import MOST_READS


@dataclass(frozen=True)
class Trial:
    """The result of an algorithm on random inputs of the strong and the weak family of a class of problems.

    Attributes:
        digits: The number of digits that were asked for.
        plays: The number of inputs.
        passed: Whether every output was within :math:`10^{-digits}` of the minimisers.
        worst_squared: The largest squared distance of an output to the minimisers.
        most_reads: The largest number of reads for one input.
        seed: The seed, with which the trial can be repeated.
        isolated: Whether the algorithm ran in a process of its own, where it cannot look at the input.
        failure: The verdict on the first input on which it failed.
    """

    digits: int
    plays: int
    passed: bool
    worst_squared: Fraction
    most_reads: int
    seed: int
    isolated: bool
    failure: Verdict | None = None

    @property
    def decided(self) -> bool:
        """Whether the algorithm passed or gave a wrong answer; a run that is out of time or invalid decides nothing."""
        return self.failure is None or self.failure.claim == "wrong"

    @property
    def trust(self) -> str:
        """A sentence: the assumption that the result rests on; empty if the algorithm ran in its own process."""
        return "" if self.isolated else TRUST


def trial(
    algorithm: Player,
    problem: Problem,
    digits: int,
    *,
    plays: int = 100,
    seed: int | None = None,
    seconds: int = SECONDS,
) -> Trial:
    """Runs an algorithm on random inputs of the strong and the weak family, each with an oracle of its own.

    For the families, bumps and ties see :class:`.Problem`; an oracle answers the reads (the calls of
    :meth:`.TrainingSet.sample`). The bumps have many sizes, and some inputs are ties.

    Args:
        algorithm: As for :func:`.defeat`.
        problem: The class of problems.
        digits: How many digits are asked for, 1 to K.
        plays: The number of inputs. The trial ends at the first input on which the algorithm fails.
        seed: Seeds inputs, oracles and coins, and so determines what the algorithm is shown. None draws a seed that
            nobody can foresee.
        seconds: As for :func:`.defeat`, for each input.

    Raises:
        BadProblem: If no digit or more than K are asked for, or less than one input.
        BadAlgorithm: As for :func:`.defeat`.
    """
    if not 1 <= digits <= problem.digits:
        raise BadProblem(f"from 1 to K = {problem.digits} digits can be asked for; got {digits}")
    if plays < 1:
        raise BadProblem(f"at least one input is needed; got plays = {plays}")
    if seed is None:
        seed = secrets.randbits(128)
    random, worst, most, isolated = Random(seed), Fraction(0), 0, isinstance(algorithm, Program)
    for play in range(plays):
        instance, error, hidden = _input(problem, random, play)
        oracle, again = (Oracle(instance, error, tied_until=hidden) for _ in range(2))
        done = run(algorithm, Referee(oracle, MOST_READS, None, f"{seed}/{play}"), seconds)
        most = max(most, len(done.reads))
        if done.how == "halted":
            worst = max(worst, *distances(instance, done))
        failure = _failure(name_of(algorithm), digits, done, instance, again)
        if failure:
            return Trial(digits, play + 1, False, worst, most, seed, isolated, replace(failure, isolated=isolated))
    return Trial(digits, plays, True, worst, most, seed, isolated)


def _input(problem: Problem, random: Random, play: int) -> tuple[Instance, int | None, int]:
    """Returns an instance, the seed of its oracle's errors, and the largest n at which that oracle hides the bump."""
    bump = Fraction(1, 1 << random.randrange(2, 200))
    column = random.randrange(problem.columns)
    family = random.randrange(5)
    if family == 0:
        instance = problem.tied()
    elif family < 3 or problem.digits < 2:
        instance = problem.strong(column, bump)
    else:
        instance = problem.weak(column, bump)
    hidden = bump.denominator.bit_length() - 2 if random.randrange(2) else -1
    return instance, None if play % 7 == 0 else random.randrange(1 << 30), hidden


def _failure(name: str, digits: int, done: Run, instance: Instance, oracle: Oracle) -> Verdict | None:
    """Returns the verdict on a run that did not reach the digits; None for one that did."""
    if done.how != "halted":
        statement = f"No answer ({done.how}): {done.note}"
        return without_answer(name, digits, done) or Verdict(name, digits, "invalid", statement, note=done.note)
    far = distances(instance, done)
    if max(far) <= Fraction(1, 100**digits):
        return None
    statement = f"Wrong: distance {root_decimal(max(far))} > 1e-{digits:02d} from the minimisers."
    return issue(Verdict(name, digits, "wrong", statement, far, note=done.note), "missed", done, instance, [], oracle)
