"""The referee of one run: it answers reads, tosses coins and keeps the log, and only its log counts.

::

    algorithm --- sample(n, k) ---> TrainingSet --- read(n, k) ---> Referee ---> Oracle      every answer is logged
              --- choose(n) ------> Coins --------- toss(n) ------> Referee                  every draw is logged
              --- generator ------> Coins --------- seed() -------> Referee                  the run is marked "sampled"

For a callable (:mod:`firenet.barriers.runs`) the arrows are calls in one process: the algorithm shares the referee's
memory and is assumed not to look there. For a program (:mod:`firenet.barriers.program`) they are lines of the protocol
(:mod:`firenet.barriers.wire`), and no other way leads to the referee. A question that the rules forbid ends the run
(:meth:`Referee.end`). The first end counts: :meth:`Referee.run` then ignores what the algorithm returned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from random import Random
from typing import Literal, NoReturn

from firenet.barriers.given import Coins, Over, TrainingSet
from firenet.barriers.instances import Vector
from firenet.barriers.oracle import MOST_ACCURATE, Oracle, Read

# How a run ends. "halted" and "out of reads" say something about the algorithm. "raised" and "bad output" are not an
# answer, which counts as a failure of a randomised algorithm. Nothing follows from the others.
Halt = Literal[
    "halted", "out of reads", "raised", "bad output", "bad read", "bad coins", "out of coins", "out of time", "died",
    "garbage", "forged log",
]  # fmt: skip
Tape = Sequence[tuple[int, int]]
MOST_TOSSES = 64


@dataclass(frozen=True)
class Run:
    """The record of one run of an algorithm, on one training set.

    Attributes:
        how: How the run ended.
        reads: All answers that the algorithm got.
        outputs: One vector for each measurement.
        note: Why the run ended badly, or how the output was converted.
        drawn: The coins that were drawn: each value, and the number of values that it was drawn from.
        sampled: Whether the algorithm used more randomness than can be enumerated.
    """

    how: Halt
    reads: tuple[Read, ...] = ()
    outputs: tuple[Vector, ...] = ()
    note: str = ""
    drawn: tuple[tuple[int, int], ...] = ()
    sampled: bool = False

    @property
    def accuracy(self) -> int:
        """The largest n that was read."""
        return max((r.n for r in self.reads), default=0)


class Referee:
    """Answers an algorithm and keeps the log.

    Args:
        oracle: Answers the reads.
        most: How many reads are granted; None is any number. No read is granted beyond 2**-4096.
        tape: The first values of the coins, each with the number of values that it is drawn from; after them every coin
            shows 0. None draws all coins at random.
        seed: Seeds the coins that are drawn at random. The seed is hashed, so that an algorithm cannot infer the coins
            of another run from its own.
    """

    def __init__(self, oracle: Oracle, most: int | None = None, tape: Tape | None = (), seed: str = "0") -> None:
        self.problem = oracle.instance.problem
        self.ended: tuple[Halt, str] | None = None
        self._oracle, self._most, self._tape = oracle, most, tape
        self._random = Random(int.from_bytes(sha256(seed.encode()).digest(), "big"))
        self._log: list[Read] = []
        self._drawn: list[tuple[int, int]] = []
        self._sampled = False

    def training_set(self) -> TrainingSet:
        """Returns the training set for an algorithm in this process."""
        return TrainingSet(self.problem, self.read)

    def coins(self) -> Coins:
        """Returns the coins for an algorithm in this process."""
        return Coins(self.toss, self.seed)

    def end(self, how: Halt, note: str) -> NoReturn:
        """Ends the run: there are no more answers, and nothing that the algorithm returns later counts."""
        if self.ended is None:
            self.ended = (how, note)
        raise Over

    def read(self, n: int, k: int = 0) -> Read:
        """Answers one read and logs it."""
        if self.ended is None and n > MOST_ACCURATE:
            shown = f"2**-{n}" if n.bit_length() <= 64 else "a number of more than 64 bits"
            self.end("bad read", f"it asked for {shown}, and no read is granted beyond 2**-{MOST_ACCURATE}")
        if self.ended is None and not (n >= 0 and 0 <= k < self.problem.samples):
            self.end("bad read", f"it asked for 2**-{n} of measurement {k}, and there is no such read")
        if self.ended is not None or (self._most is not None and len(self._log) >= self._most):
            self.end("out of reads", f"it asked for more than {len(self._log)} reads")
        read = self._oracle.read(n, k)
        self._log.append(read)
        return read

    def toss(self, n: int) -> int:
        """Tosses a coin with n sides and logs the result."""
        at = len(self._drawn)
        spent = at >= MOST_TOSSES and self._tape is not None
        if self.ended is not None or spent:
            self._sampled = self._sampled or self.ended is None
            self.end("out of coins", f"it drew more than {at} times")
        if n < 1:
            self.end("bad coins", f"it chose among {n}")
        if self._tape is None:
            value = self._random.randrange(n)
        else:
            value, among = self._tape[at] if at < len(self._tape) else (0, n)
            if among != n:
                self.end("bad coins", f"not a function of its reads and coins: it chose among {among}, later among {n}")
        self._drawn.append((value, n))
        return value

    def seed(self) -> int:
        """Returns the seed of a generator, and marks the run as one whose randomness cannot be enumerated."""
        if self.ended is not None:
            self.end("out of coins", "")
        self._sampled = True
        return self._random.getrandbits(256)

    def run(self, how: Halt, outputs: tuple[Vector, ...] = (), note: str = "") -> Run:
        """Returns the record of the run. If the referee ended the run before, the arguments are ignored."""
        how, note = (how, note) if self.ended is None else self.ended
        self.ended = self.ended or (how, note)
        reads = tuple(self._log)
        if any(type(r) is not Read for r in reads):
            how, reads, note = "forged log", (), "the log holds what no oracle answered"
        return Run(how, reads, outputs if how == "halted" else (), note, tuple(self._drawn), self._sampled)
