"""The result of a game, and the witness that proves it.

A witness is issued only after three checks: against the log, which a second oracle must reproduce answer by answer;
against the definitions of this package; and by :mod:`firenet.barriers.witness`, which imports nothing of it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Literal

from firenet.barriers.instances import Instance, root_decimal
from firenet.barriers.oracle import Oracle, Read, consistent
from firenet.barriers.program import Program
from firenet.barriers.referee import Run
from firenet.barriers.runs import Player
from firenet.barriers.witness import FORMAT, MOST_CHARACTERS, MOST_WORK, VERSION, Refuted, TooLong, check

Claim = Literal["wrong", "did not halt", "out of time", "invalid", "randomised", "reads"]
MOST_RIVALS = 16  # two are enough; a witness with all of a thousand columns takes an hour to check
TRUST = "Played in this process, whose memory it shares: this holds for an algorithm that does not look there."


@dataclass(frozen=True)
class Verdict:
    """The result of a game: of :func:`.defeat` or :func:`.outread`.

    Attributes:
        algorithm: Its name.
        digits: The number of digits that were asked for.
        claim: ``wrong`` (an error above :math:`10^{-digits}`), ``did not halt`` (within the granted reads, on an input
            of the class), ``out of time`` (nothing is proved), ``reads`` (it needed more than the granted reads),
            ``randomised`` (:attr:`failure` says how often it fails) or ``invalid`` (it gave no answer, or is not a
            function of its reads and coins).
        statement: The result as a sentence.
        distances_squared: The exact squared distance of each output to the minimisers of the witness's instance.
        witness: The JSON record, for :func:`.check`.
        checked: The result of :func:`.check` for the witness.
        failure: For a randomised algorithm a lower bound of the probability that on one input it is wrong, gives no
            answer, or is still reading after the granted reads.
        exact: Whether :attr:`failure` was counted over all outcomes of the coins; otherwise it is a confidence bound.
        plays: The number of runs that :attr:`failure` counts; 1 without :attr:`failure`.
        note: Conversions of the output, why a run ended badly, and why there is no witness.
        isolated: Whether the algorithm ran in a process of its own.
        seed: The seed of coins that could not be enumerated, to play the same game again.
    """

    algorithm: str
    digits: int
    claim: Claim
    statement: str
    distances_squared: tuple[Fraction, ...] = ()
    witness: dict[str, Any] | None = None
    checked: str = ""
    failure: Fraction | None = None
    exact: bool = True
    plays: int = 1
    note: str = ""
    isolated: bool = False
    seed: int | None = None

    @property
    def defeated(self) -> bool:
        """Whether the game found an input on which the algorithm fails."""
        return self.claim in ("wrong", "did not halt", "reads", "randomised")

    @property
    def trust(self) -> str:
        """A sentence: the assumption that the verdict rests on; empty if the algorithm ran in its own process."""
        return "" if self.isolated else TRUST

    def as_json(self) -> dict[str, Any]:
        """Returns the verdict for JSON: integers and fractions as strings, distances as decimals."""
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
            "seed": None if self.seed is None else str(self.seed),
            "isolated": self.isolated,
            "trust": self.trust,
            "witness": self.witness,
            "checked": self.checked or None,
        }


def name_of(player: Player) -> str:
    """Returns the name of an algorithm."""
    return player.name if isinstance(player, Program) else getattr(player, "__name__", type(player).__name__)


def distances(instance: Instance, done: Run) -> tuple[Fraction, ...]:
    """Returns the squared distances of the outputs to the minimisers of an instance."""
    return tuple(instance.minimisers(k).distance_squared(x) for k, x in enumerate(done.outputs))


def without_answer(name: str, digits: int, done: Run) -> Verdict | None:
    """Returns the verdict on a run that ended without a usable answer (out of time or invalid); None for others."""
    if done.how == "out of time":
        statement = f"No verdict: {done.note}, after {len(done.reads)} reads."
        return Verdict(name, digits, "out of time", statement, note=done.note)
    if done.how not in ("halted", "out of reads"):
        return Verdict(name, digits, "invalid", f"No answer ({done.how}): {done.note}", note=done.note)
    return None


def issue(
    verdict: Verdict, claim: str, done: Run, instance: Instance, rivals: Sequence[Instance], oracle: Oracle
) -> Verdict:
    """Returns a verdict with its checked witness.

    If the witness would be too long, the verdict has none; if a check fails, the verdict is ``invalid``.

    Args:
        verdict: The verdict.
        claim: The claim of the witness: ``wrong``, ``did not halt``, ``reads``, or ``missed``; the last is an error on
            this instance and needs no rivals.
        done: The run that shows it.
        instance: The problem on which it failed.
        rivals: Instances that agree with all reads as well; those that a witness cannot hold are left out.
        oracle: A second oracle like the one that answered, which the algorithm had no access to.
    """
    room = MOST_WORK // (max(len(done.reads), 1) * instance.problem.columns) - 1
    kept = sorted(rivals, key=lambda r: r != instance)[: max(min(room, MOST_RIVALS), 2)]  # the instance comes first
    limit = Fraction(1, 100**verdict.digits)
    try:
        if not all(oracle.read(r.n, r.k) == r for r in done.reads):
            raise Refuted("the log is not what the oracle answered")
        if not all(consistent(r, i) for r in done.reads for i in (instance, *kept)):
            raise Refuted("its reads do not agree with the instance and its rivals")
        if claim in ("wrong", "missed") and max(distances(instance, done), default=Fraction(0)) <= limit:
            raise Refuted("its output is as accurate as was asked for")
        witness = record(verdict, claim, done, instance, kept)
        if len(json.dumps(witness, indent=1)) >= MOST_CHARACTERS:
            raise TooLong("more characters than a witness may have")
        return replace(verdict, witness=witness, checked=check(witness))
    except TooLong as error:  # the verdict is true all the same, since the definitions were checked before
        return replace(verdict, note="; ".join(filter(None, (verdict.note, f"no witness was made: {error}"))))
    except Refuted as error:
        statement = f"No verdict: what it did does not stand up to its log ({error})."
        return Verdict(verdict.algorithm, verdict.digits, "invalid", statement, note=str(error))


def _text(value: Fraction) -> str:
    # The witness's checker refuses numbers of more than 4200 digits, and str() those of more than 4300.
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > 14_000:
        raise TooLong("numbers of more than 4200 digits")
    return str(value)


def record(
    verdict: Verdict, claim: str, done: Run, instance: Instance, rivals: Sequence[Instance]
) -> dict[str, Any] | None:
    """Returns the witness for JSON, with integers and fractions as strings."""
    known = instance.problem

    def of(i: Instance) -> dict[str, str | None]:
        column = None if i.column is None else str(i.column)
        return {"scale": str(i.scale), "column": column, "bump": _text(i.bump)}

    def shown(r: Read) -> dict[str, Any]:
        vectors = {"row": [_text(a) for a in r.row], "label": [_text(x) for x in r.label]}
        return {"n": str(r.n), "k": str(r.k), "tail": _text(r.tail), "y": _text(r.y), **vectors}

    return {
        "format": FORMAT,
        "version": VERSION,
        "claim": claim,
        "algorithm": verdict.algorithm,
        "digits": str(verdict.digits),
        "problem": {name: str(value) for name, value in vars(known).items()},
        "instance": of(instance),
        "rivals": [of(r) for r in rivals],
        "reads": [shown(r) for r in done.reads],
        "outputs": [[_text(e) for e in x] for x in done.outputs],
        "note": done.note,
    }
