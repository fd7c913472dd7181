"""Classifies numbers of digits by whether they can be computed, with experiments as evidence.

:func:`classify` does so for a class of problems, by playing the games of the three regimes. :func:`classify_bound` does
so for a proven error bound of a network (:meth:`firenet.guarantees.Guarantee.error_bound`): the bound says how many
digits the network computes. For a single problem with given data see :func:`firenet.digits.determine`.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from random import Random
from typing import Any, Literal

from firenet.barriers import algorithms
from firenet.barriers.adversary import defeat, outread
from firenet.barriers.instances import BadProblem, Instance, Kind, Problem, root_decimal
from firenet.barriers.oracle import Oracle
from firenet.barriers.referee import Referee
from firenet.barriers.trials import Trial, trial
from firenet.barriers.verdicts import Verdict

Regime = Literal["impossible", "computable, unbounded data", "computable, few data", "computable, stated bound", "open"]


@dataclass(frozen=True)
class Point:
    """One experiment.

    Attributes:
        algorithm: The name of the algorithm.
        digits: How many digits were asked for.
        reads: How many data it read, or was granted.
        passed: Whether it reached the digits; None if the game decided nothing (out of time, or invalid).
        what: The result as text.
    """

    algorithm: str
    digits: int
    reads: int
    passed: bool | None
    what: str

    def as_json(self) -> dict[str, Any]:
        """Returns the experiment for JSON, with integers as strings."""
        return {**self.__dict__, "digits": str(self.digits), "reads": str(self.reads)}


@dataclass(frozen=True)
class Cell:
    """The classification of one number of digits.

    Attributes:
        digits: The number of digits.
        regime: Whether this number of digits can be computed, and from how many data.
        why: The reason, with its theorem.
        evidence: The experiments.
    """

    digits: int
    regime: Regime
    why: str
    evidence: tuple[Point, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Returns the cell for JSON, with integers as strings."""
        evidence = [p.as_json() for p in self.evidence]
        return {"digits": str(self.digits), "regime": self.regime, "why": self.why, "evidence": evidence}


_IMPOSSIBLE = (
    "No algorithm: the tie is a member of the class, and problems with their minimisers more than 2e-K apart come "
    "arbitrarily near to it (Theorem 2.1)."
)
_UNBOUNDED = "Read until the columns separate: it halts, but no number of reads is enough for all inputs (Theorem 2.2)."
_FEW = "Any column will do, and one read of each measurement gives the scale (Theorem 2.3)."


def classify(
    kind: Kind = "P3",
    digits: int = 4,
    *,
    parameter: Fraction = Fraction(1, 2),
    columns: int = 2,
    tail: int = 2,
    samples: int = 1,
    plays: int = 50,
    seed: int = 0,
) -> list[Cell]:
    """Plays the games of a class of problems and returns its cells for K+1, K, K-1, ..., 1 digits.

    Args:
        kind: ``P1``, ``P2`` or ``P3``.
        digits: K, above 2.
        parameter: As in :class:`Problem`.
        columns: As in :class:`Problem`.
        tail: As in :class:`Problem`.
        samples: As in :class:`Problem`.
        plays: The number of random inputs for the algorithms that succeed.
        seed: Seeds these inputs.

    Raises:
        BadProblem: If K is at most 2, where there are not three regimes, or a number is outside the class.
    """
    problem = Problem(kind, digits, parameter, columns, tail, samples)
    problem.three_regimes()
    deterministic = ("exact", "labels", "first", "centre", "separated", "one-digit-less")
    beaten = [(n, defeat(algorithms.SHIPPED[n], problem, name=n, reads=200)) for n in deterministic]
    at_k = tuple(_point(n, digits, v) for n, v in beaten)
    cells = [
        Cell(digits + 1, "impossible", _IMPOSSIBLE + " More digits are no easier."),
        Cell(digits, "impossible", _IMPOSSIBLE, at_k),
    ]
    patient, quick = algorithms.one_digit_less, algorithms.two_digits_less
    longer = [_point("one-digit-less", digits - 1, outread(patient, problem, m)) for m in (1, 10, 100, 1000)]
    hasty = [(n, outread(algorithms.SHIPPED[n], problem, 100, name=n)) for n in ("exact", "first", "centre")]
    does = _passed("one-digit-less", trial(patient, problem, digits - 1, plays=plays, seed=seed))
    misses = (_point(n, digits - 1, v) for n, v in hasty)
    cells.append(Cell(digits - 1, "computable, unbounded data", _UNBOUNDED, (does, *longer, *misses)))
    for fewer in range(digits - 2, 0, -1):
        done = _passed("two-digits-less", trial(quick, problem, fewer, plays=plays, seed=seed))
        cells.append(Cell(fewer, "computable, few data", _FEW, (done,)))
    for cell in cells[1:]:
        # Where the digits can be computed, the first experiment is that of the algorithm that computes them.
        reached = any(p.passed for p in cell.evidence) if cell.regime == "impossible" else cell.evidence[0].passed
        if reached is not None and reached == (cell.regime == "impossible"):
            raise RuntimeError(f"these games contradict the theorem, so firenet has an error: {cell}")
    return cells


def digits_of(error_bound: Fraction) -> int:
    """Returns the largest d with :math:`10^{-d}` at least the bound; it is negative if the bound exceeds 1."""
    if isinstance(error_bound, float) or error_bound <= 0:
        raise BadProblem(f"a positive rational number is needed; got {error_bound!r}: use Fraction(...)")
    d = 0
    while Fraction(1, 10 ** (d + 1)) >= error_bound:
        d += 1
    while d <= 0 and Fraction(10) ** -d < error_bound:
        d -= 1
    return d


def classify_bound(error_bound: Fraction, *, layers: int, upto: int | None = None) -> list[Cell]:
    """Returns the cells for a network with a proven error bound, which computes the digits that the bound guarantees.

    Args:
        error_bound: The bound of the network's errors for all signals of the guarantee, as a fraction, so that the
            comparison with powers of ten is exact.
        layers: The number of layers that the network needs for this accuracy.
        upto: The largest number of digits in the result; None is one more than the bound gives.
    """
    reached = max(digits_of(error_bound), 0)
    most = reached + 1 if upto is None else upto
    why = f"A network of {layers} layers has the error bound {root_decimal(error_bound**2, 4)} (Theorem 3)."
    return [
        Cell(d, "computable, stated bound", why)
        if d <= reached
        else Cell(d, "open", "Nothing is claimed: the given error bound is too large for so many digits.")
        for d in range(most, 0, -1)
    ]


def _point(name: str, digits: int, verdict: Verdict) -> Point:
    reads = len(verdict.witness["reads"]) if verdict.witness else 0
    decided = verdict.claim not in ("out of time", "invalid")
    return Point(name, digits, reads, not verdict.defeated if decided else None, verdict.statement)


def _passed(name: str, done: Trial) -> Point:
    what = f"{done.plays} random inputs: worst distance {root_decimal(done.worst_squared, 4)}, {done.most_reads} reads"
    if done.failure:
        what += f". {done.failure.statement}"
    return Point(name, done.digits, done.most_reads, done.passed if done.decided else None, what)


def breakdown(problem: Problem, *, plays: int = 100, seed: int = 0) -> dict[str, Any]:
    """Bounds the breakdown epsilons from below and estimates them from above, by experiments.

    The breakdown epsilon of a family is the error that no algorithm can get below on all of its inputs (on the weak
    family: no algorithm with a bounded number of reads). ``below`` is the radius of the smallest ball around the
    minimisers of the instances that agreed with all reads of a game: no answer is nearer to all of these minimisers.
    ``above`` is the largest distance of ``centre`` to the minimiser on random inputs: a measurement, not a proof. Both
    tend to ``limit``, :math:`v\\sqrt{(N_1-1)/N_1}` with v the entry of the minimiser, as the bump goes to zero.
    ``probabilistic`` has the proven failure probabilities, and those of two algorithms that attain them.
    """
    found: dict[str, Any] = {}
    families = {"strong": (problem.digits, defeat), "weak": (problem.digits - 1, lambda a, p: outread(a, p, 100))}
    for name, (scale, game) in families.items():
        if scale < 1:
            continue
        verdict = game(algorithms.centre, problem)
        if verdict.witness is None:
            raise BadProblem(f"fewer columns or digits are needed: {verdict.note or verdict.statement}")
        bump = Fraction(verdict.witness["instance"]["bump"])
        v = Instance(problem, scale, 0, bump).minimisers(problem.samples - 1).value
        below = v * v * Fraction(problem.columns - 1, problem.columns)
        above = _worst_of_centre(problem, scale, plays, seed)
        limit = problem.breakdown_squared(scale)
        found[name] = {"below": root_decimal(below), "above": root_decimal(above), "limit": root_decimal(limit)}
    coin, three = (defeat(a, problem, reads=200) for a in (algorithms.random_column, algorithms.three_way))
    n = problem.columns
    found["probabilistic"] = {
        "halting": {"proven": str(Fraction(n - 1, n)), "attained": str(coin.failure), "by": "random-column"},
        "may not halt": {"proven": str(Fraction(n - 1, 2 * n - 1)), "attained": str(three.failure), "by": "three-way"},
    }
    return found


def _worst_of_centre(problem: Problem, scale: int, plays: int, seed: int) -> Fraction:
    random, worst = Random(seed), Fraction(0)
    for play in range(plays):
        column, bump = random.randrange(problem.columns), Fraction(1, 1 << random.randrange(4 * scale + 8, 200))
        instance = problem.strong(column, bump) if scale == problem.digits else problem.weak(column, bump)
        outputs = algorithms.centre(Referee(Oracle(instance, seed=play)).training_set())
        worst = max(worst, *(instance.minimisers(k).distance_squared(x) for k, x in enumerate(outputs)))
    return worst
