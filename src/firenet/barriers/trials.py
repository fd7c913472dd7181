"""The positive side: algorithms that reach K-1 and K-2 digits, on inputs of both families."""

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
    """What an algorithm did on inputs of both families, with oracles that err at random.

    Attributes:
        digits: The digits that were asked for.
        plays: How many inputs.
        passed: Whether every output was within :math:`10^{-digits}`.
        worst_squared: The largest squared distance.
        most_reads: The most reads that one input took.
        seed: With which it can be repeated.
        isolated: Whether the algorithm was played in a process of its own, where it cannot look at the input.
        failure: The verdict on the first input it failed on.
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
    def trust(self) -> str:
        """What the outcome takes on trust, in words; nothing where the algorithm had a process of its own."""
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
    """Runs an algorithm on inputs of both families, ties and bumps of many sizes, each with an oracle of its own.

    Args:
        algorithm: As for :func:`.defeat`.
        problem: The class.
        digits: What is asked for, 1 to K.
        plays: How many inputs; it ends at the first on which the algorithm fails.
        seed: Of inputs, oracles and coins. Whoever knows it knows the answers: None draws one that nobody can foresee.
        seconds: As for :func:`.defeat`, for each input.
    """
    if not 1 <= digits <= problem.digits:
        raise BadProblem(f"from 1 to K = {problem.digits} digits can be asked for; got {digits}")
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
    """An instance, the seed of its oracle's errors, and up to which accuracy that hides the bump."""
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
    """The verdict on a run that did not reach the digits."""
    if done.how != "halted":
        statement = f"No answer ({done.how}): {done.note}"
        return without_answer(name, digits, done) or Verdict(name, digits, "invalid", statement, note=done.note)
    far = distances(instance, done)
    if max(far) <= Fraction(1, 100**digits):
        return None
    statement = f"Wrong: distance {root_decimal(max(far))} > 1e-{digits:02d} from the minimisers."
    return issue(Verdict(name, digits, "wrong", statement, far, note=done.note), "missed", done, instance, [], oracle)
