"""The adversary: for any algorithm an input on which it fails, and a witness that anybody can check.

It follows the proof of Theorem 2 of Colbrook, Antun, Hansen (PNAS 2022). Every read is answered as if all columns were
tied. An algorithm that halts has read to within some :math:`2^{-n}`. All its reads also agree with a matrix in which
any one column is larger than the others by a bump of half that size. The minimisers for bumps on two different columns
are :math:`2.8\\cdot10^{-K}` apart, so that no output is within :math:`10^{-K}` of both. An algorithm that does not halt
fails on the tie itself. The only assumption about the algorithm, which need not even be computable, is that it depends
on nothing but its reads and its coins. This is tested by running the algorithm again.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from random import SystemRandom

from firenet.barriers.instances import BadProblem, Instance, Problem, root_decimal
from firenet.barriers.oracle import MOST_ACCURATE, Oracle
from firenet.barriers.program import Program
from firenet.barriers.referee import Referee, Run, Tape
from firenet.barriers.runs import SECONDS, Player, run
from firenet.barriers.verdicts import Claim, Verdict, distances, issue, name_of, without_answer
from firenet.barriers.witness import MOST_READS, MOST_WORK

READS, LEAVES, PLAYS, MOST_SLOW, REPLAYS = 1000, 4096, 400, 3, 12


# --- the game of K digits, and that of K-1 ----------------------------------------------------------------------------


def defeat(
    algorithm: Player,
    problem: Problem | int,
    *,
    name: str | None = None,
    reads: int = READS,
    seconds: int = SECONDS,
    plays: int = PLAYS,
    seed: int | None = None,
) -> Verdict:
    """Finds an input of the strong family (see :class:`.Problem`) on which an algorithm does not reach K digits.

    Args:
        algorithm: A :class:`Program`, which runs in a process of its own; or a callable that takes a
            :class:`TrainingSet`, and if it is randomised :class:`Coins` as second argument. A callable runs in this
            process and has to be honest: the verdict says so.
        problem: The class of problems; its ``digits`` are K. A number K stands for ``Problem("P3", K)``.
        name: The algorithm's name in the verdict; None takes its own.
        reads: How many reads (calls of :meth:`.TrainingSet.sample`) it is granted.
        seconds: How long it may run, in seconds.
        plays: The number of runs if its coins cannot be enumerated.
        seed: Seeds coins that cannot be enumerated. None draws a seed that nobody can foresee.

    Returns:
        ``wrong`` with a witness; ``did not halt`` after the granted reads, on the tie (the instance without a bump);
        ``out of time``; ``invalid``; for a randomised algorithm ``randomised`` with a lower bound of its failure
        probability. An algorithm that halts is wrong. If R, the number of measurements, is less than the number of
        columns, all its outputs are wrong; otherwise at least one is, since it may guess a different column for each
        measurement.

    Raises:
        BadProblem: If more reads are granted than a witness can hold.
        BadAlgorithm: If there is no such program.
    """
    problem = Problem("P3", problem) if isinstance(problem, int) else problem
    return _Game(algorithm, problem, problem.digits, reads, name, seconds, plays, seed).verdict()


def outread(
    algorithm: Player,
    problem: Problem | int,
    most: int,
    *,
    name: str | None = None,
    seconds: int = SECONDS,
    plays: int = PLAYS,
    seed: int | None = None,
) -> Verdict:
    """Finds an input of the weak family on which an algorithm misses K-1 digits or needs more than ``most`` reads.

    For the family see :class:`.Problem`; a read is a call of :meth:`.TrainingSet.sample`.

    Args:
        algorithm: As for :func:`defeat`.
        problem: As for :func:`defeat`, K of at least 2.
        most: The number of reads, M.
        name: As for :func:`defeat`.
        seconds: As for :func:`defeat`.
        plays: As for :func:`defeat`.
        seed: As for :func:`defeat`.

    Returns:
        ``wrong``; ``reads`` if it needs more than ``most`` (the witness is a member of the family, which has no tie: an
        algorithm that reads until the columns separate does halt on it); ``out of time`` or ``invalid``; for a
        randomised algorithm ``randomised`` with a lower bound of the probability that it misses the digits or reads
        more. By the theorem this probability is at least :math:`(N_1-1)/N_1=(N-m)/(N+1-m)`.

    Raises:
        BadProblem: If K is 1, or more reads are granted than a witness can hold.
        BadAlgorithm: As for :func:`defeat`.
    """
    problem = Problem("P3", problem) if isinstance(problem, int) else problem
    if problem.digits < 2:
        problem.weak(0, Fraction(1))  # raises BadProblem
    return _Game(algorithm, problem, problem.digits - 1, most, name, seconds, plays, seed).verdict()


class _Tied(Oracle):
    """An oracle that answers every read as if all columns were tied."""

    def __init__(self, problem: Problem, scale: int) -> None:
        # In the weak family, which has no tie, a bump below everything that can be read takes its place.
        super().__init__(
            problem.tied() if scale == problem.digits else problem.weak(0, Fraction(1, 2 << MOST_ACCURATE))
        )
        self.tied_until = MOST_ACCURATE


class _TooSlow(Exception):
    """Says that too many runs were out of time."""


class _Game:
    """The game with one algorithm, for one class of problems and one scale."""

    def __init__(
        self,
        player: Player,
        problem: Problem,
        scale: int,
        most: int,
        name: str | None,
        seconds: int,
        plays: int,
        seed: int | None,
    ) -> None:
        if not 1 <= most <= MOST_READS or most * problem.columns * 3 > MOST_WORK:
            fits = min(MOST_READS, MOST_WORK // (3 * problem.columns))
            raise BadProblem(f"from 1 to {fits} reads, which a witness can hold, can be granted; got {most}")
        self.player, self.problem, self.scale, self.most = player, problem, scale, most
        self.name = name_of(player) if name is None else name
        self.seconds, self.plays, self.slow = seconds, plays, 0
        # The seed is random, because an algorithm that knew the coins of all runs could behave differently in them.
        self.seed = secrets.randbits(128) if seed is None else seed

    @property
    def strong(self) -> bool:
        """Whether K digits are asked for, on the family that contains the tie."""
        return self.scale == self.problem.digits

    def verdict(self) -> Verdict:
        """Plays the game and returns the verdict."""
        try:
            first = self.play()
            found = self.randomised(first) if first.drawn or first.sampled else self.deterministic(first)
        except _TooSlow:
            statement = f"No verdict: {self.slow} plays were still running after {self.seconds} s."
            found = Verdict(self.name, self.scale, "out of time", statement)
        return replace(found, isolated=isinstance(self.player, Program), seed=None if found.exact else self.seed)

    def play(self, tape: Tape | None = (), number: int = 0) -> Run:
        """Runs the algorithm once; ``number`` selects the random coins of the run."""
        oracle = _Tied(self.problem, self.scale)
        done = run(self.player, Referee(oracle, self.most, tape, f"{self.seed}/{number}"), self.seconds)
        self.slow += done.how == "out of time"
        if self.slow > MOST_SLOW:
            raise _TooSlow
        return done

    def rivals(self, accuracy: int) -> list[Instance]:
        """Returns for each column the instance with its bump there. All agree with tied answers of this accuracy."""
        bump = Fraction(1, 1 << (max(accuracy, 4 * self.scale + 8) + 1))
        make = self.problem.strong if self.strong else self.problem.weak
        return [make(j, bump) for j in range(self.problem.columns)]

    def same(self, first: Run, again: Run) -> bool:
        """Returns whether two runs with the same coins agree, outputs up to rounding; True if one is out of time."""
        if "out of time" in (first.how, again.how):
            return True
        if (first.reads, first.drawn, first.how) != (again.reads, again.drawn, again.how):
            return False
        pairs = zip(first.outputs, again.outputs, strict=True)
        apart = [sum((a - b) ** 2 for a, b in zip(x, y, strict=True)) for x, y in pairs]
        return max(apart, default=0) <= Fraction(1, 10**6 * 100**self.scale)

    def unsteady(self) -> Verdict:
        """Returns the verdict on an algorithm that reads or answers differently when it is run again."""
        statement = (
            "No verdict: not a function of its reads and coins, for it did something else the second time. "
            "Draw what is random from the coins (a second argument)."
        )
        return Verdict(self.name, self.scale, "invalid", statement, note="it did something else the second time")

    def issue(self, verdict: Verdict, claim: Claim, done: Run, instance: Instance, rivals: list[Instance]) -> Verdict:
        """Returns the verdict with its witness."""
        return issue(verdict, claim, done, instance, rivals, _Tied(self.problem, self.scale))

    # --- without coins ------------------------------------------------------------------------------------------------

    def deterministic(self, done: Run) -> Verdict:
        """Returns the verdict on an algorithm that used no coins, from its first run."""
        unfit = without_answer(self.name, self.scale, done)
        if unfit:
            return unfit
        again = self.play()
        if not self.same(done, again):
            return self.unsteady()
        unfit = without_answer(self.name, self.scale, again)  # the second run may be out of time
        return unfit or (self.wrong(done) if done.how == "halted" else self.still_reading(done))

    def still_reading(self, done: Run) -> Verdict:
        """Returns the verdict on an algorithm that has not halted after the granted reads."""
        rivals = self.rivals(done.accuracy)
        if self.strong:
            within = f"{len(done.reads)} reads to within 2**-{done.accuracy}"
            statement = f"Did not halt after {within}, on an input whose columns are tied as far as they were shown."
            verdict = Verdict(self.name, self.scale, "did not halt", statement, note=done.note)
            return self.issue(verdict, "did not halt", done, self.problem.tied(), rivals)
        power = f"2**-{rivals[0].bump.denominator.bit_length() - 1}"
        statement = f"Needs more than {len(done.reads)} reads on an input of the family, whose bump is {power}."
        verdict = Verdict(self.name, self.scale, "reads", statement, note=done.note)
        return self.issue(verdict, "reads", done, rivals[0], rivals)

    def wrong(self, done: Run) -> Verdict:
        """Returns the verdict on an algorithm that has halted.

        Its witness is the rival for which most outputs are wrong.
        """
        rivals = self.rivals(done.accuracy)
        limit = Fraction(1, 100**self.scale)
        far = {i: distances(i, done) for i in rivals}
        found = max(rivals, key=lambda i: (sum(d > limit for d in far[i]), max(far[i])))
        missed = sum(d > limit for d in far[found])
        where = f" on {missed} of {len(far[found])} measurements" if len(far[found]) > 1 else ""
        statement = (
            f"Wrong{where}: distance {root_decimal(max(far[found]))} > 1e-{self.scale:02d} from the minimiser, "
            f"on an input that agrees with all {len(done.reads)} reads."
        )
        verdict = Verdict(self.name, self.scale, "wrong", statement, far[found], note=done.note)
        return self.issue(verdict, "wrong", done, found, rivals)

    # --- with coins ---------------------------------------------------------------------------------------------------

    def all_runs(self) -> Iterator[_Play]:
        """Yields every run that the coins can lead to, with its probability.

        Stops early if the coins cannot be enumerated.
        """
        tape: list[tuple[int, int]] = []
        for _ in range(LEAVES):
            done = self.play(tape)
            if done.sampled:
                return
            yield _Play(Fraction(1, math.prod(n for _, n in done.drawn)), done, done.drawn, 0)
            if done.how == "bad coins":
                return
            # The next tape in lexicographic order: the last coin that can be raised is raised; those after it are 0.
            drawn = list(done.drawn)
            while drawn and drawn[-1][0] == drawn[-1][1] - 1:
                drawn.pop()
            if not drawn:
                return
            value, among = drawn.pop()
            tape = [*drawn, (value + 1, among)]

    def repeated(self, every: list[_Play]) -> bool:
        """Repeats runs, in an order that the algorithm cannot know, and returns whether the results are the same.

        If not, the algorithm depends on something other than its reads and its coins.
        """
        fit = [p for p in every if p.done.how != "out of time"]
        chosen = SystemRandom().choices(fit, k=REPLAYS) if fit else []
        return all(self.same(p.done, self.play(p.tape, p.number)) for p in chosen)

    def randomised(self, first: Run) -> Verdict:
        """Plays the two-point game.

        If all answers are tied, the outputs do not depend on the column of the bump, and each output is right for at
        most one column. So for some column the output is wrong with at least :math:`(N_1-1)/N_1` times the probability
        of halting.
        """
        every = list(self.all_runs())
        if every and not self.same(first, every[0].done):
            return self.unsteady()
        counted = sum((p.chance for p in every), Fraction(0)) == 1
        if not counted and not any(p.done.how == "bad coins" for p in every):
            part = Fraction(1, self.plays)
            every = [_Play(part, self.play(None, i), None, i) for i in range(1, self.plays + 1)]
        for done in (p.done for p in every):
            if done.how in ("bad coins", "forged log"):
                return Verdict(self.name, self.scale, "invalid", f"No answer ({done.how}): {done.note}", note=done.note)
        if not self.repeated(every):
            return self.unsteady()
        found = self.failing(every, counted)
        if found is None:
            seen = next((p.done for p in every if p.done.how != "out of time"), every[0].done)
            unfit = without_answer(self.name, self.scale, seen)
            statement = f"No verdict: nothing halted within {self.seconds} s, or read too much."
            return unfit or Verdict(self.name, self.scale, "out of time", statement)
        return found

    def failing(self, every: list[_Play], counted: bool) -> Verdict | None:
        """Returns the verdict with the failure probability on the worst input; None if it never fails."""
        limit = Fraction(1, 100**self.scale)
        # Unless all outcomes of the coins were enumerated, other coins may read more accurately than those of the runs.
        rivals = self.rivals(max(p.done.accuracy for p in every) if counted else MOST_ACCURATE)

        def fails(d: Run, instance: Instance) -> bool:
            if d.how == "halted":
                return max(distances(instance, d)) > limit
            if d.how == "out of reads":
                # At K digits an algorithm that is still reading may yet be right if there is a bump, not at the tie.
                # At K-1 digits it has failed: it needs more than the granted reads.
                return instance.column is None or not self.strong
            return d.how in ("raised", "bad output")  # the other ends of a run show nothing

        inputs = [*rivals, *([self.problem.tied()] if self.strong else [])]
        failed = [[p for p in every if fails(p.done, i)] for i in inputs]
        chances = [sum((p.chance for p in plays), Fraction(0)) for plays in failed]
        failure = max(chances)
        worst = chances.index(failure)
        instance = inputs[worst]
        culprits = [p.done for p in failed[worst] if p.done.how in ("halted", "out of reads")]
        if not culprits:  # it never answered, or never failed
            return None
        culprit = next((d for d in culprits if d.how == "halted"), culprits[0])
        if not counted:
            # The worst input was chosen by the same runs: the confidence is divided by the number of inputs.
            failure = lower_bound(len(failed[worst]), self.plays, Fraction(1, 1000 * len(inputs)))
        count = f"with confidence 99.9 %, from {self.plays} plays"
        said = "exactly, over all that its coins can do" if counted else count
        where = "there is no bump" if instance.column is None else f"the bump is on column {instance.column + 1}"
        none = any(p.done.how in ("raised", "bad output") for p in failed[worst])
        what = "Is wrong" + (", gives no answer" if none else "")
        what += f" or {'is still reading after' if self.strong else 'reads more than'} {self.most} reads"
        statement = f"{what} with probability at least {failure} ({said}) where {where}."
        open_ = sum((p.chance for p in every if p.done.how == "out of reads"), Fraction(0))
        if open_ and counted:
            statement += f" With probability {open_} it had not halted after {self.most} reads."
        far = distances(instance, culprit)
        verdict = Verdict(self.name, self.scale, "randomised", statement, far, note=culprit.note)
        verdict = replace(verdict, failure=failure, exact=counted, plays=len(every))
        claim: Claim = "wrong" if culprit.how == "halted" else "did not halt" if self.strong else "reads"
        return self.issue(verdict, claim, culprit, instance, rivals)


@dataclass(frozen=True)
class _Play:
    """A run of a randomised algorithm, its probability, and the coins that repeat it."""

    chance: Fraction
    done: Run
    tape: Tape | None
    number: int


def lower_bound(failures: int, plays: int, doubt: Fraction = Fraction(1, 1000)) -> Fraction:
    """Returns the exact (Clopper-Pearson) lower confidence bound of a probability, to a thousandth.

    It is the largest multiple p of 1/1000 for which ``failures`` or more failures have probability at most ``doubt``.
    """

    def tail(p: int) -> Fraction:
        # The terms of the binomial distribution times 1000**plays, which are integers.
        term, rest = math.comb(plays, failures) * p**failures * (1000 - p) ** (plays - failures), 1000 - p
        total = term
        for k in range(failures, plays):
            term = term * (plays - k) * p // ((k + 1) * rest)  # without a remainder
            total += term
        return Fraction(total, 1000**plays)

    low, high = 0, 1000
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if tail(middle) <= doubt else (low, middle)
    return Fraction(low, 1000)
