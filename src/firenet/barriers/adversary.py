"""The adversary: for any algorithm an input on which it fails, and a witness that anybody can check.

It plays the proof. Every read is answered as if all columns were tied. An algorithm that halts has read to within some
:math:`2^{-n}`; a bump of half that on any column agrees with all it has seen, and with the bump on another column the
minimiser is :math:`2.8\\cdot10^{-K}` away: one output is not within :math:`10^{-K}` of both. An algorithm that does not
halt fails on the tie itself. Nothing is assumed of the algorithm, not even that it is computable, but that it depends
on nothing beside its reads and its coins; it is played twice to see that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from random import Random
from typing import Any, Literal

from firenet.barriers.algorithms import Algorithm, Coins
from firenet.barriers.instances import BadProblem, Instance, Problem, root_decimal
from firenet.barriers.oracle import MOST_ACCURATE, Oracle, TrainingSet, consistent
from firenet.barriers.runs import SECONDS, Run, run, takes_coins
from firenet.barriers.witness import FORMAT, VERSION

Claim = Literal["wrong", "did not halt", "out of time", "invalid", "randomised", "reads"]
READS, LEAVES, PLAYS, MOST_SLOW = 1000, 4096, 400, 3


# --- verdicts ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Verdict:
    """What came out of a game.

    Attributes:
        algorithm: Its name.
        digits: The number of digits that were asked for.
        claim: ``wrong`` (a witness shows an error above :math:`10^{-digits}`), ``did not halt`` (within the reads that
            were granted, on an input of the class), ``out of time`` (nothing is shown), ``reads`` (it needed more than
            so many reads), ``randomised`` (:attr:`failure` says how often it fails) or ``invalid`` (no answer at all,
            or not a function of its reads and coins).
        statement: In words.
        distances_squared: Of each output to the minimisers of the witness, exact.
        witness: The JSON record, for :func:`firenet.barriers.witness.check`.
        failure: For a randomised algorithm a lower bound of the probability that on one input it is wrong, or still
            reading after the reads that were granted.
        exact: Whether :attr:`failure` was counted over all that the coins can do; else it is a confidence bound.
        plays: How often it was run.
        note: Conversions, and why a run ended badly.
    """

    algorithm: str
    digits: int
    claim: Claim
    statement: str
    distances_squared: tuple[Fraction, ...] = ()
    witness: dict[str, Any] | None = None
    failure: Fraction | None = None
    exact: bool = True
    plays: int = 1
    note: str = ""

    @property
    def defeated(self) -> bool:
        """Whether the algorithm does not do what was asked, on an input that was shown."""
        return self.claim in ("wrong", "did not halt", "reads", "randomised")

    def as_json(self) -> dict[str, Any]:
        """For machines: integers and fractions as strings, distances also as decimals."""
        return {
            "algorithm": self.algorithm,
            "digits": str(self.digits),
            "claim": self.claim,
            "defeated": self.defeated,
            "statement": self.statement,
            "distances": [root_decimal(d, 20) for d in self.distances_squared],
            "failure": None if self.failure is None else str(self.failure),
            "exact": self.exact,
            "plays": str(self.plays),
            "note": self.note,
            "witness": self.witness,
        }


def _name(algorithm: Algorithm) -> str:
    return getattr(algorithm, "__name__", type(algorithm).__name__)


def record(name: str, claim: str, digits: int, done: Run, instance: Instance, rivals: list[Instance]) -> dict[str, Any]:
    """The witness as JSON: integers and fractions as strings. ``missed`` is an error without rivals."""
    known = instance.problem

    def of(i: Instance) -> dict[str, str | None]:
        column = None if i.column is None else str(i.column)
        return {"scale": str(i.scale), "column": column, "bump": str(i.bump)}

    return {
        "format": FORMAT,
        "version": VERSION,
        "claim": claim,
        "algorithm": name,
        "digits": str(digits),
        "problem": {
            "kind": known.kind,
            "digits": str(known.digits),
            "parameter": str(known.parameter),
            "columns": str(known.columns),
            "tail": str(known.tail),
            "samples": str(known.samples),
        },
        "instance": of(instance),
        "rivals": [of(r) for r in rivals],
        "reads": [
            {
                "n": str(r.n),
                "k": str(r.k),
                "row": [str(a) for a in r.row],
                "tail": str(r.tail),
                "y": str(r.y),
                "label": [str(x) for x in r.label],
            }
            for r in done.reads
        ],
        "outputs": [[str(e) for e in x] for x in done.outputs],
        "note": done.note,
    }


# --- the game of K digits ---------------------------------------------------------------------------------------------


class _Tied(Oracle):
    """Answers every read as if nothing stood out."""

    def __init__(self, problem: Problem, scale: int) -> None:
        # a stand-in whose bump is below everything that can be read
        super().__init__(
            problem.tied() if scale == problem.digits else problem.weak(0, Fraction(1, 2 << MOST_ACCURATE))
        )
        self.tied_until = MOST_ACCURATE


def _rivals(problem: Problem, scale: int, accuracy: int) -> list[Instance]:
    """The instances, a bump on each column, that agree with tied answers up to an accuracy."""
    bump = Fraction(1, 1 << (max(accuracy, 4 * scale + 8) + 1))
    make = problem.strong if scale == problem.digits else problem.weak
    return [make(j, bump) for j in range(problem.columns)]


def _distances(instance: Instance, done: Run) -> tuple[Fraction, ...]:
    return tuple(instance.minimisers(k).distance_squared(x) for k, x in enumerate(done.outputs))


def defeat(
    algorithm: Algorithm,
    problem: Problem | int,
    *,
    name: str | None = None,
    reads: int = READS,
    seconds: int = SECONDS,
    plays: int = PLAYS,
    seed: int = 0,
) -> Verdict:
    """Finds an input of the strong family on which an algorithm does not reach K digits.

    Args:
        algorithm: Takes a :class:`TrainingSet`, and if it is randomised :class:`Coins` as second argument.
        problem: The class; its ``digits`` are K. A number K stands for (P3) with the smallest matrix.
        name: What to call it.
        reads: How many reads it is granted.
        seconds: How long it may run, in seconds.
        plays: For coins that cannot be enumerated: how often it is run.
        seed: Of those coins.

    Returns:
        ``wrong`` with a witness; ``did not halt`` after the reads that were granted, on the tie; ``out of time``;
        ``invalid``; for a randomised algorithm ``randomised`` with a lower bound of its failure probability. An
        algorithm that halts is wrong: where R, the number of measurements, is less than the number of columns, with all
        outputs, and else with at least one (it may hedge, a column for each measurement).
    """
    name = _name(algorithm) if name is None else name
    problem = Problem("P3", problem) if isinstance(problem, int) else problem
    if takes_coins(algorithm):
        return _defeat_randomised(algorithm, problem, name, problem.digits, reads, seconds, plays, seed)

    def play() -> Run:
        return run(algorithm, TrainingSet(_Tied(problem, problem.digits), reads), Coins([]), seconds)

    done, unfit = _repeats(algorithm, play, problem.digits, name)
    if unfit:
        return unfit
    if done.how == "out of reads":
        return _did_not_halt(name, problem.digits, done, problem.tied())
    return _unfit(name, problem.digits, done) or _wrong(name, problem, problem.digits, done)


def _unfit(name: str, digits: int, done: Run) -> Verdict | None:
    """The verdict about a run that shows nothing."""
    if done.how == "out of time":
        statement = f"No verdict: {done.note}, after {len(done.reads)} reads."
        return Verdict(name, digits, "out of time", statement, note=done.note)
    if done.how != "halted":
        return Verdict(name, digits, "invalid", f"No answer ({done.how}): {done.note}", note=done.note)
    return None


def _did_not_halt(name: str, digits: int, done: Run, instance: Instance) -> Verdict:
    within = f"{len(done.reads)} reads to within 2**-{done.accuracy}"
    statement = f"Did not halt after {within}, on an input whose columns are tied as far as they were shown."
    rivals = _rivals(instance.problem, instance.scale, done.accuracy)
    witness = record(name, "did not halt", digits, done, instance, rivals)
    return Verdict(name, digits, "did not halt", statement, witness=witness, note=done.note)


def _repeats(algorithm: Algorithm, play: Callable[[], Run], digits: int, name: str) -> tuple[Run, Verdict | None]:
    """Plays twice. What reads or says something else the second time is no function of its reads and coins."""
    first, again = play(), play()
    if first.how in ("halted", "raised") or again.how != first.how:
        apart = [
            sum((a - b) ** 2 for a, b in zip(x, y, strict=True))
            for x, y in zip(first.outputs, again.outputs, strict=False)
        ]
        same = first.reads == again.reads and first.coins.drawn == again.coins.drawn and first.how == again.how
        # rounding may differ from run to run
        if not same or max(apart, default=0) > Fraction(1, 10**6 * 100**digits):
            statement = (
                "No verdict: not a function of its reads and coins, for it did something else the second time. "
                "Draw what is random from the coins (a second argument)."
            )
            return first, Verdict(name, digits, "invalid", statement)
    return first, None


def _wrong(name: str, problem: Problem, digits: int, done: Run) -> Verdict:
    """The rival that most outputs are furthest from."""
    rivals = _rivals(problem, digits, done.accuracy)
    limit = Fraction(1, 100**digits)
    found = max(rivals, key=lambda i: (sum(d > limit for d in _distances(i, done)), max(_distances(i, done))))
    distances = _distances(found, done)
    if max(distances) <= limit or not all(consistent(r, i) for r in done.reads for i in rivals):
        raise AssertionError("the proof has a hole")  # two rivals are more than 2 * 10**-digits apart
    missed = sum(d > limit for d in distances)
    far = root_decimal(max(distances))
    where = f"on {missed} of {len(distances)} measurements" if len(distances) > 1 else ""
    statement = (
        f"Wrong {where}".rstrip()
        + f": distance {far} > 1e-{digits:02d} from the minimiser, on an input that agrees with "
        + f"all {len(done.reads)} reads."
    )
    witness = record(name, "wrong", digits, done, found, rivals)
    return Verdict(name, digits, "wrong", statement, distances, witness, note=done.note)


# --- coins ------------------------------------------------------------------------------------------------------------


def _all_runs(play: Callable[[Coins], Run]) -> Iterator[tuple[Fraction, Run]]:
    """Every run that the coins can lead to, with its probability; stops early where they cannot be enumerated, or where
    running out of time is all that happens."""
    tape: list[tuple[int, int]] = []
    for _ in range(LEAVES):
        done = play(Coins(tape))
        if done.coins.sampled:
            return
        yield Fraction(1, math.prod(n for _, n in done.coins.drawn)), done
        drawn = list(done.coins.drawn)
        while drawn and drawn[-1][0] == drawn[-1][1] - 1:
            drawn.pop()
        if not drawn:
            return
        value, among = drawn.pop()
        tape = [*drawn, (value + 1, among)]


class _TooSlow(Exception):
    """Too many plays ran out of time to go on."""


def _defeat_randomised(
    algorithm: Algorithm, problem: Problem, name: str, scale: int, reads: int, seconds: int, plays: int, seed: int
) -> Verdict:
    """The two-point game: on tied answers the outputs do not depend on where the bump is, so that with probability
    :math:`(N_1-1)/N_1` times that of halting they are wrong for the bump that is placed worst."""
    strong, slow = scale == problem.digits, 0

    def play(coins: Coins) -> Run:
        nonlocal slow
        done = run(algorithm, TrainingSet(_Tied(problem, scale), reads), coins, seconds)
        slow += done.how == "out of time"
        if slow > MOST_SLOW:
            raise _TooSlow
        return done

    try:
        _, unfit = _repeats(algorithm, lambda: play(Coins([])), scale, name)
        if unfit:
            return unfit
        every = list(_all_runs(play))
        counted = sum((p for p, _ in every), Fraction(0)) == 1
        if not counted:
            every = [(Fraction(1, plays), play(Coins(None, seed=seed * 1_000_003 + i))) for i in range(plays)]
    except _TooSlow:
        statement = f"No verdict: {slow} plays were still running after {seconds} s."
        return Verdict(name, scale, "out of time", statement)
    invalid = [d for _, d in every if d.how not in ("halted", "out of reads", "out of time")]
    if len(invalid) == len(every):
        return Verdict(name, scale, "invalid", f"No answer ({invalid[0].how}): {invalid[0].note}", note=invalid[0].note)
    limit = Fraction(1, 100**scale)
    # other coins may read more accurately than those that were played
    rivals = _rivals(problem, scale, max(d.accuracy for _, d in every) if counted else MOST_ACCURATE)

    def fails(d: Run, instance: Instance) -> bool:
        if d.how == "halted":
            return max(_distances(instance, d)) > limit
        if d.how == "out of time":  # shows nothing
            return False
        # still reading, it may yet be right where there is a bump; but it has read more than so many
        return d.how != "out of reads" or instance.column is None or not strong

    inputs = [*rivals, *([problem.tied()] if strong else [])]
    chances = [sum((p for p, d in every if fails(d, i)), Fraction(0)) for i in inputs]
    failure = max(chances)
    instance = inputs[chances.index(failure)]
    failed = [d for _, d in every if fails(d, instance)]
    if not failed:
        return Verdict(name, scale, "out of time", f"No verdict: nothing halted within {seconds} s, or read too much.")
    culprit = next((d for d in failed if d.how == "halted"), failed[0])
    if not counted:
        # the worst of several inputs was chosen by the same plays
        failure = lower_bound(int(failure * plays), plays, Fraction(1, 1000 * len(inputs)))
    said = "exactly, over all that its coins can do" if counted else f"with confidence 99.9 %, from {plays} plays"
    where = "there is no bump" if instance.column is None else f"the bump is on column {instance.column + 1}"
    still = "is still reading after" if strong else "reads more than"
    what = f"Is wrong or {still} {reads} reads"
    statement = f"{what} with probability at least {failure} ({said}) where {where}."
    open_ = sum((p for p, d in every if d.how == "out of reads"), Fraction(0))
    if open_ and counted:
        statement += f" With probability {open_} it had not halted after {reads} reads."
    claim = {"halted": "wrong", "out of reads": "did not halt" if strong else "reads"}
    witness = None
    if culprit.how in claim:
        witness = record(name, claim[culprit.how], scale, culprit, instance, rivals)
    distances = _distances(instance, culprit)
    return Verdict(name, scale, "randomised", statement, distances, witness, failure, counted, len(every), culprit.note)


def lower_bound(failures: int, plays: int, doubt: Fraction = Fraction(1, 1000)) -> Fraction:
    """The exact (Clopper-Pearson) lower confidence bound of a probability, to a thousandth: the largest p on that grid
    for which as many failures or more have at most the probability ``doubt``."""

    def tail(p: int) -> Fraction:
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


# --- the game of K-1 digits -------------------------------------------------------------------------------------------


def outread(
    algorithm: Algorithm,
    problem: Problem | int,
    most: int,
    *,
    name: str | None = None,
    seconds: int = SECONDS,
    plays: int = PLAYS,
    seed: int = 0,
) -> Verdict:
    """Finds an input of the weak family on which an algorithm misses K-1 digits or needs more than so many reads.

    Args:
        algorithm: As for :func:`defeat`.
        problem: As for :func:`defeat`, K of at least 2.
        most: The number of reads, M.
        name: What to call it.
        seconds: As for :func:`defeat`.
        plays: As for :func:`defeat`.
        seed: As for :func:`defeat`.

    Returns:
        ``wrong``, ``reads`` (its witness is a member of the family, on which a patient algorithm comes to an end),
        ``out of time`` or ``invalid``; for a randomised algorithm ``randomised`` with a lower bound of the probability
        of missing or of reading more, at least :math:`(N_1-1)/N_1=(N-m)/(N+1-m)`.
    """
    problem = Problem("P3", problem) if isinstance(problem, int) else problem
    name, scale = _name(algorithm) if name is None else name, problem.digits - 1
    if scale < 1:
        problem.weak(0, Fraction(1))
    if takes_coins(algorithm):
        return _defeat_randomised(algorithm, problem, name, scale, most, seconds, plays, seed)

    def play() -> Run:
        return run(algorithm, TrainingSet(_Tied(problem, scale), most), Coins([]), seconds)

    done, unfit = _repeats(algorithm, play, scale, name)
    if unfit:
        return unfit
    if done.how == "out of reads":
        rivals = _rivals(problem, scale, done.accuracy)
        power = f"2**-{rivals[0].bump.denominator.bit_length() - 1}"
        statement = f"Needs more than {len(done.reads)} reads on an input of the family, whose bump is {power}."
        witness = record(name, "reads", scale, done, rivals[0], rivals)
        return Verdict(name, scale, "reads", statement, witness=witness, note=done.note)
    return _unfit(name, scale, done) or _wrong(name, problem, scale, done)


# --- the positive side ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Trial:
    """What an algorithm did on inputs of both families, with oracles that err at random.

    Attributes:
        digits: The digits that were asked for.
        plays: How many inputs.
        passed: Whether every output was within :math:`10^{-digits}`.
        worst_squared: The largest squared distance.
        most_reads: The most reads that one input took.
        failure: The verdict on the first input it failed on.
    """

    digits: int
    plays: int
    passed: bool
    worst_squared: Fraction
    most_reads: int
    failure: Verdict | None = None


def trial(
    algorithm: Algorithm, problem: Problem, digits: int, *, plays: int = 100, seed: int = 0, seconds: int = SECONDS
) -> Trial:
    """Runs an algorithm on inputs of both families, ties and bumps of many sizes, each with an oracle of its own.

    Args:
        algorithm: As for :func:`defeat`.
        problem: The class.
        digits: What is asked for, 1 to K.
        plays: How many inputs; it ends at the first on which the algorithm fails.
        seed: Of inputs, oracles and coins.
        seconds: As for :func:`defeat`, for each input.
    """
    if not 1 <= digits <= problem.digits:
        raise BadProblem(f"from 1 to K = {problem.digits} digits can be asked for; got {digits}")
    random, worst, most = Random(seed), Fraction(0), 0
    limit = Fraction(1, 100**digits)
    for play in range(plays):
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
        oracle = Oracle(instance, seed=None if play % 7 == 0 else random.randrange(1 << 30), tied_until=hidden)
        done = run(algorithm, TrainingSet(oracle, 100_000), Coins(None, seed=play), seconds)
        most = max(most, len(done.reads))
        name = _name(algorithm)
        if done.how != "halted":
            verdict = Verdict(name, digits, "invalid", f"No answer ({done.how}): {done.note}", note=done.note)
            return Trial(digits, play + 1, False, worst, most, verdict)
        distances = _distances(instance, done)
        worst = max(worst, *distances)
        if max(distances) > limit:
            witness = record(name, "missed", digits, done, instance, [])
            statement = f"Wrong: distance {root_decimal(max(distances))} > 1e-{digits:02d} from the minimisers."
            verdict = Verdict(name, digits, "wrong", statement, distances, witness, note=done.note)
            return Trial(digits, play + 1, False, worst, most, verdict)
    return Trial(digits, plays, True, worst, most)
