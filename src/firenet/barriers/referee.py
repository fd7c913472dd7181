"""The referee of one run: it answers reads and tosses coins, and what it wrote down is what happened.

An algorithm that is played in a process of its own (:mod:`firenet.barriers.program`) has no way to the referee but the
questions of its protocol. One that is played in this process shares its memory, and is believed not to look there.
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

# How a run ends. The first two say something about the algorithm. The next two are no answer, for its coins. From the
# others nothing follows.
Halt = Literal[
    "halted", "out of reads", "raised", "bad output", "bad read", "bad coins", "out of coins", "out of time", "died",
    "garbage", "forged log",
]  # fmt: skip
Tape = Sequence[tuple[int, int]]
MOST_TOSSES = 64


@dataclass(frozen=True)
class Run:
    """What an algorithm did with one training set.

    Attributes:
        how: How it ended.
        reads: All answers it got.
        outputs: A vector a measurement.
        note: Why it ended badly, or what was done to its output.
        drawn: What it drew from its coins, and among how many.
        sampled: Whether it used more randomness than can be counted.
    """

    how: Halt
    reads: tuple[Read, ...] = ()
    outputs: tuple[Vector, ...] = ()
    note: str = ""
    drawn: tuple[tuple[int, int], ...] = ()
    sampled: bool = False

    @property
    def accuracy(self) -> int:
        """The largest n it read."""
        return max((r.n for r in self.reads), default=0)


class Referee:
    """Answers an algorithm and keeps the log.

    Args:
        oracle: What answers the reads.
        most: How many reads are granted; None is any number. No read is granted beyond 2**-4096.
        tape: What the coins show first, each among how many, and then 0. None tosses them all.
        seed: Of those that are tossed. It is hashed: from its coins an algorithm cannot find those of another run.
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
        """Returns what an algorithm in this process reads from."""
        return TrainingSet(self.problem, self.read)

    def coins(self) -> Coins:
        """Returns what an algorithm in this process tosses."""
        return Coins(self.toss, self.seed)

    def end(self, how: Halt, note: str) -> NoReturn:
        """Ends the run, once: no more answers, and what the algorithm says from now on counts for nothing."""
        if self.ended is None:
            self.ended = (how, note)
        raise Over

    def read(self, n: int, k: int = 0) -> Read:
        """Answers one read, and writes it down."""
        if self.ended is None and n > MOST_ACCURATE:
            shown = f"2**-{n}" if n.bit_length() <= 64 else "a number of more than 64 bits"
            self.end("bad read", f"it asked for {shown}, and no read is granted beyond 2**-{MOST_ACCURATE}")
        if self.ended is None and not (n >= 0 and 0 <= k < self.problem.samples):
            self.end("bad read", f"it asked for 2**-{n} of measurement {k}, which is none")
        if self.ended is not None or (self._most is not None and len(self._log) >= self._most):
            self.end("out of reads", f"it asked for more than {len(self._log)} reads")
        read = self._oracle.read(n, k)
        self._log.append(read)
        return read

    def toss(self, n: int) -> int:
        """Tosses a coin with n sides, and writes it down."""
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
        """Returns the seed of a generator."""
        if self.ended is not None:
            self.end("out of coins", "")
        self._sampled = True
        return self._random.getrandbits(256)

    def run(self, how: Halt, outputs: tuple[Vector, ...] = (), note: str = "") -> Run:
        """Returns what happened: where the referee ended the run, that, whatever the algorithm said later."""
        how, note = (how, note) if self.ended is None else self.ended
        self.ended = self.ended or (how, note)
        reads = tuple(self._log)
        if any(type(r) is not Read for r in reads):
            how, reads, note = "forged log", (), "the log holds what no oracle answered"
        return Run(how, reads, outputs if how == "halted" else (), note, tuple(self._drawn), self._sampled)
