"""The two arguments of an algorithm: a training set that it reads from, and coins.

Both only pass questions on. A referee answers the questions (:mod:`firenet.barriers.referee`) and keeps the log, in
this process or at the other end of a pipe.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from operator import index
from random import Random
from typing import TYPE_CHECKING, NamedTuple

from firenet.barriers.instances import Problem, Vector

if TYPE_CHECKING:
    from firenet.barriers.oracle import Read

MOST_SIDES = 1 << 64


class BadRead(ValueError):
    """A read to within 2**-n with an n that is negative or not whole, or of a measurement that does not exist."""


class Over(BaseException):
    """Ends a run. It does not derive from Exception, so that an algorithm does not catch it by accident."""


class Sample(NamedTuple):
    """Measurements :math:`y_{k,n}`, matrix :math:`A_n` and label :math:`x_{k,n}`, a minimiser for these two."""

    y: Vector
    A: tuple[Vector, ...]
    x: Vector


class TrainingSet:
    """Measurements and matrix to within any :math:`2^{-n}` that is asked for, with labels, and the class of problems.

    The label :math:`x_{k,n}` is a minimiser of the problem with the inexact :math:`y_{k,n}` and :math:`A_n`. It may be
    further than :math:`10^{-K}` from every minimiser of the exact problem.

    Args:
        problem: The class of problems: (P1), (P2) or (P3), K, :math:`\\lambda` or :math:`\\varepsilon`, and the sizes.
        read: Answers one read, from n and k.
    """

    def __init__(self, problem: Problem, read: Callable[[int, int], Read]) -> None:
        self.problem = problem
        self._read = read

    def __len__(self) -> int:
        """Returns R, the number of measurements."""
        return self.problem.samples

    @property
    def shape(self) -> tuple[int, int]:
        """The shape (m, N) of the matrix."""
        return self.problem.shape

    def sample(self, n: int, k: int = 0) -> Sample:
        """Reads measurement k and the matrix to within :math:`2^{-n}`, and a minimiser of the problem with these.

        Every call counts as a read.

        Raises:
            BadRead: If n is not a whole number of at least 0, or there is no measurement k.
            Over: If more reads are asked for than are granted, or a read beyond 2**-4096.
        """
        accuracy, which = _whole(n), _whole(k)
        if accuracy is None or accuracy < 0:
            raise BadRead(f"an accuracy is a whole number n of at least 0, for 2**-n; got {n!r:.80}")
        if which is None or not 0 <= which < len(self):
            raise BadRead(f"a measurement is a whole number k, 0 <= k < {len(self)}; got {k!r:.80}")
        return as_sample(self._read(accuracy, which), self.problem)


def _whole(value: object) -> int | None:
    """Returns a whole number as a plain int, never a subclass of it; None for anything else."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        return None
    return index(value)  # pyright: ignore[reportArgumentType]


def as_sample(read: Read, problem: Problem) -> Sample:
    """Returns the vectors and the matrix of an answer."""
    m, size = problem.shape
    zero = Fraction(0)
    top = (*read.row, *(zero,) * problem.tail)
    lower = (tuple(read.tail if j == problem.columns + i else zero for j in range(size)) for i in range(problem.tail))
    return Sample((read.y, *(zero,) * (m - 1)), (top, *lower), read.label)


class Coins:
    """Randomness for an algorithm, of two kinds.

    ``choose`` draws one of n equally likely numbers. If an algorithm uses nothing else, and its coins have at most 4096
    outcomes from at most 64 draws, all outcomes are tried and its failure probability is exact. Otherwise there is only
    a confidence bound. ``generator`` gives unlimited randomness.

    Args:
        toss: Answers ``choose``.
        seed: Returns the seed of the generator.
    """

    def __init__(self, toss: Callable[[int], int], seed: Callable[[], int]) -> None:
        self._toss, self._seed = toss, seed
        self._generator: Random | None = None

    def choose(self, n: int) -> int:
        """Draws a whole number from 0 to n - 1, all equally likely."""
        sides = _whole(n)
        if sides is None or not 1 <= sides <= MOST_SIDES:
            raise ValueError(f"choose(n) needs a whole number n from 1 to 2**64; got {n!r:.80}")
        return self._toss(sides)

    @property
    def generator(self) -> Random:
        """The generator of this run, seeded when it is first used."""
        if self._generator is None:
            self._generator = Random(self._seed())
        return self._generator
