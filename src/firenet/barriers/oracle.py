"""The inexact input: an algorithm never sees the matrix, only rational numbers within :math:`2^{-n}` of its entries.

An :class:`Oracle` answers reads about one instance. Many oracles are consistent with an instance, and the answers of
one oracle are consistent with many instances.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from random import Random

from firenet.barriers.instances import Instance, Vector, minimisers, root

MOST_ACCURATE = 4096


@dataclass(frozen=True)
class Read:
    """One answer of an oracle.

    Attributes:
        n: The accuracy asked for, :math:`2^{-n}`.
        k: The measurement asked for.
        row: The competing entries of :math:`A_n`.
        tail: The number on the diagonal of the lower block of :math:`A_n`.
        y: The first entry of :math:`y_{k,n}`.
        label: A minimiser of the problem with :math:`A_n` and :math:`y_{k,n}`.
    """

    n: int
    k: int
    row: Vector
    tail: Fraction
    y: Fraction
    label: Vector


class Oracle:
    """Dyadic rational numbers within :math:`2^{-n}` of an instance.

    Args:
        instance: The instance whose entries the answers approximate.
        seed: Seeds the errors, which are random within what is allowed; None rounds down.
        tied_until: The largest n at which the answers hide the bump: they are those about the tie. The bump must be at
            most :math:`2^{-n-1}`, since rounding takes the other half of the allowed error.

    >>> from firenet.barriers import Problem
    >>> oracle = Oracle(Problem("P3", 3).strong(1, Fraction(1, 2**20)), tied_until=9)
    >>> [a for a in oracle.read(9).row] == [500, 500]
    True
    """

    def __init__(self, instance: Instance, seed: int | None = None, *, tied_until: int = -1) -> None:
        if tied_until >= 0 and instance.bump > Fraction(1, 2 << tied_until):
            raise ValueError(f"a bump of {instance.bump} cannot be hidden within 2**-{tied_until}")
        self.instance, self.seed, self.tied_until = instance, seed, tied_until

    def read(self, n: int, k: int = 0) -> Read:
        """Returns the answer to one read, the same one each time."""
        known = self.instance.problem
        bits = n + 4 + known.columns.bit_length()
        step = Fraction(1, 1 << bits)
        # 16 * columns steps are at most 2**-n, so a row in which each entry is up to 15 steps off is within 2**-n.
        random = None if self.seed is None else Random(f"{self.seed}/{n}")

        def shown(value: Fraction) -> Fraction:
            down = Fraction((value * (1 << bits)).__floor__(), 1 << bits)
            return down if random is None else down + random.randrange(-14, 15) * step

        if n <= self.tied_until:
            base = known.base(self.instance.scale)
            row: Vector = (Fraction((base * (1 << bits)).__floor__(), 1 << bits),) * known.columns
            # The norm of the row without the bump: that with the bump would show that there is one.
            tail_squared = known.columns * base**2
        else:
            row, tail_squared = tuple(shown(a) for a in self.instance.row), self.instance.tail_squared
        tail = shown(root(tail_squared, bits)[0])
        y = max(shown(known.scales()[k]), Fraction(0))
        found = minimisers(known.kind, known.parameter, row, y, known.shape[1])
        return Read(n, k, row, tail, y, found.centre())


def consistent(read: Read, instance: Instance) -> bool:
    """Returns whether an oracle for the instance could have given this answer.

    That is, the data in the answer are dyadic and within :math:`2^{-n}` of the instance, and its label is within
    :math:`2^{-n}` of a minimiser of the problem that the answer shows.
    """
    known, within = instance.problem, Fraction(1, 1 << read.n)
    dyadic = all(x.denominator & (x.denominator - 1) == 0 for x in (*read.row, read.tail, read.y))
    error = sum(((a - b) ** 2 for a, b in zip(read.row, instance.row, strict=True)), Fraction(0))
    tail = max(read.tail - within, Fraction(0)) ** 2 <= instance.tail_squared <= (read.tail + within) ** 2
    y = abs(read.y - known.scales()[read.k]) <= within
    found = minimisers(known.kind, known.parameter, read.row, read.y, known.shape[1])
    return dyadic and error <= within**2 and tail and y and found.distance_squared(read.label) <= within**2
