"""Arrays of the numbers :math:`2^{-b}k` with integers k: their sums and products are exact.

Square roots are bounded from above and from below.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import isqrt
from typing import TYPE_CHECKING, Any, final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

_ROOT_BITS = 72  # significant bits of a root: its rounding is far below every other loss of a bound


def root_above(square: Fraction) -> Fraction:
    """Returns a number at or above the root of a non-negative number: the root itself where it is rational, else
    relatively at most :math:`2^{-70}` more."""
    low, unit = _root(square)
    return low + unit


def root_below(square: Fraction) -> Fraction:
    """Returns a number at or below the root of a non-negative number: the root itself where it is rational, else
    relatively at most :math:`2^{-70}` less."""
    return _root(square)[0]


def _root(square: Fraction) -> tuple[Fraction, Fraction]:
    """Returns the root and 0, or a number just below it and one that leads above it."""
    above, below = isqrt(square.numerator), isqrt(square.denominator)
    if above * above == square.numerator and below * below == square.denominator:
        return Fraction(above, below), Fraction(0)
    size = square.numerator.bit_length() - square.denominator.bit_length()
    shift = max(_ROOT_BITS - size // 2, 0)
    return Fraction(isqrt((square.numerator << 2 * shift) // square.denominator), 1 << shift), Fraction(1, 1 << shift)


@final
@dataclass(frozen=True, eq=False)
class Dyadic:
    """An array of the numbers :math:`2^{-b}k`.

    Attributes:
        k: The integers, as Python objects.
        bits: b.
    """

    k: NDArray[Any]
    bits: int

    @classmethod
    def of(cls, values: NDArray[Any], bits: int) -> Dyadic:
        """Rounds floating-point numbers or fractions down to multiples of :math:`2^{-b}`."""
        ratios = (v.as_integer_ratio() for v in values.ravel().tolist())
        return cls(integers((x << bits) // y for x, y in ratios).reshape(values.shape), bits)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape."""
        return self.k.shape

    @property
    def T(self) -> Dyadic:
        """The transpose."""
        return Dyadic(self.k.T, self.bits)

    def __getitem__(self, index: Any) -> Dyadic:
        return Dyadic(self.k[index], self.bits)

    def __matmul__(self, other: Dyadic) -> Dyadic:
        return Dyadic(self.k @ other.k, self.bits + other.bits)

    def __neg__(self) -> Dyadic:
        return Dyadic(-self.k, self.bits)

    def __add__(self, other: Dyadic) -> Dyadic:
        bits = max(self.bits, other.bits)
        return Dyadic((self.k << (bits - self.bits)) + (other.k << (bits - other.bits)), bits)

    def __sub__(self, other: Dyadic) -> Dyadic:
        return self + -other

    def rounded(self, bits: int) -> Dyadic:
        """Returns the numbers rounded down to multiples of :math:`2^{-b}`."""
        return Dyadic(self.k >> (self.bits - bits) if bits <= self.bits else self.k << (bits - self.bits), bits)

    def fractions(self) -> list[Fraction]:
        """Returns the numbers of a vector."""
        unit = 1 << self.bits
        return [Fraction(x, unit) for x in self.k.tolist()]

    def floats(self) -> NDArray[np.float64]:
        """Returns the nearest numbers in double precision."""
        unit = 1 << self.bits
        return np.array([x / unit for x in self.k.ravel().tolist()], dtype=np.float64).reshape(self.shape)

    def squares(self) -> Fraction:
        """Returns the sum of all squares."""
        return Fraction(sum(x * x for x in self.k.ravel().tolist()), 1 << 2 * self.bits)

    def norm_above(self) -> Fraction:
        """Returns a number at or above the 2-norm of all entries together."""
        return root_above(self.squares())

    def norm_below(self) -> Fraction:
        """Returns a number at or below the 2-norm of all entries together."""
        return root_below(self.squares())

    def magnitudes(self, group: int) -> list[Fraction]:
        """Returns the squared magnitude of each entry of a vector; for groups of 2, of each pair of i and n + i."""
        k = self.k * self.k
        if group == 2:
            k = k[: len(k) // 2] + k[len(k) // 2 :]
        return [Fraction(x, 1 << 2 * self.bits) for x in k.tolist()]


def integers(values: Iterable[int]) -> NDArray[Any]:
    """Returns a vector of Python integers, since NumPy's own would overflow."""
    listed = list(values)
    array = np.empty(len(listed), dtype=object)
    array[:] = listed
    return array
