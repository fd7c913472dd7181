"""Scalars of a verified proof: exact fractions, intervals of them, and floats rounded up or down.

The scalars of a proof are few, so they are computed exactly. Floats are fractions; only square roots and the numbers
that are handed out are rounded, in a stated direction.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True)
class Interval:
    """A number that is only known to lie between two fractions."""

    low: Fraction
    high: Fraction

    def __neg__(self) -> Interval:
        return Interval(-self.high, -self.low)

    def __add__(self, other: Interval) -> Interval:
        return Interval(self.low + other.low, self.high + other.high)

    def widened(self, by: Fraction) -> Interval:
        """Returns the interval that is larger by this amount at both ends."""
        return Interval(self.low - by, self.high + by)

    def positive(self) -> Interval:
        """Returns the interval of max(0, x)."""
        return Interval(max(self.low, Fraction(0)), max(self.high, Fraction(0)))

    def times(self, factor: Fraction) -> Interval:
        """Returns the interval of the number times a factor that is zero or more."""
        return Interval(self.low * factor, self.high * factor)

    def square(self) -> Interval:
        """Returns the interval of the square of a number that is zero or more."""
        low = max(self.low, Fraction(0))
        return Interval(low * low, self.high * self.high)

    @property
    def magnitude(self) -> Fraction:
        """The largest absolute value."""
        return max(abs(self.low), abs(self.high))


def above(x: Fraction) -> float:
    """Returns the smallest float that is at least x; infinity if x is above all finite floats."""
    found = _nearest(x)
    return (
        found if found == math.inf or (found > -math.inf and Fraction(found) >= x) else math.nextafter(found, math.inf)
    )


def below(x: Fraction) -> float:
    """Returns the largest float that is at most x; minus infinity if x is below all finite floats."""
    return -above(-x)


def _nearest(x: Fraction) -> float:
    try:
        return x.numerator / x.denominator  # the quotient of two integers is correctly rounded
    except OverflowError:
        return math.inf if x > 0 else -math.inf


# The number of bits of a square root.
_BITS = 128


def root(x: Fraction) -> Interval:
    """Returns an interval of relative width below 2^-127 around the square root of a number that is zero or more."""
    if x <= 0:
        return Interval(Fraction(0), Fraction(0))
    shift = max(0, 2 * _BITS - (x.numerator.bit_length() - x.denominator.bit_length()) + 2)
    shift += shift % 2
    whole = (x.numerator << shift) // x.denominator
    found, unit = math.isqrt(whole), Fraction(1, 1 << (shift // 2))
    return Interval(found * unit, (found + 1) * unit)


def root_above(x: Fraction) -> Fraction:
    """Returns a fraction that is at least the square root of x: the upper end of :func:`root`."""
    return root(x).high
