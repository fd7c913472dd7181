"""Vectors in doubles, each with one radius that bounds its error, as `docs/rounding.md` proves.

Elementwise operations are NumPy's, whose additions, products, quotients and square roots are those of IEEE 754. Sums of
many numbers are `math.fsum`, which rounds the exact sum once. Every vector is divided by a power of two before its
squares or a map are computed.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np

from firenet.verified.arithmetic import Array, Doubles
from firenet.verified.directed import Interval, above, root, root_above
from firenet.verified.losses import UNIT
from firenet.verified.maps import Map
from firenet.verified.space import Enclosure, Space, Unbounded

_U = Fraction(1, 2**53)
# What one number of the size of one can lose by underflow, in all operations of a proof together.
_TINY = Fraction(1, 2**900)
# The modulus of a number whose square underflows; and the smallest float, for what becomes denormal at the end.
_SQUARE = 2.0**-500
_DENORMAL = Fraction(1, 2**1074)


class DoubleSpace(Space):
    """Vectors of float64 or complex128 with a radius."""

    _arithmetic = Doubles()

    def vector(self, array: Array) -> Enclosure:
        array = array.astype(np.complex128 if np.iscomplexobj(array) else np.float64)
        if not np.isfinite(array).all():
            raise Unbounded
        return Enclosure(array)

    def mapped(self, of: Map, x: Enclosure, *, adjoint: bool = False) -> Enclosure:
        if not x.centre.any() and not x.radius:  # exactly zero
            return Enclosure(np.zeros(of.in_shape if adjoint else of.out_shape, x.centre.dtype))
        exponent = _exponent(x.centre)
        small = _shifted(x.centre, -exponent)
        with np.errstate(all="ignore"):
            found = (of.adjoint if adjoint else of.apply)(small, self._arithmetic)
        loss = of.loss.backward if adjoint else of.loss.forward
        size = self.norm(x).high
        error = of.unit * (Fraction(of.loss.norm) * x.radius + (Fraction(loss) + _TINY) * size)
        return self._moved(found, exponent + _log2(of.unit), error)

    def _moved(self, array: Array, exponent: int, error: Fraction) -> Enclosure:
        """Returns an array times a power of two, with the error of the result."""
        with np.errstate(all="ignore"):
            found = _shifted(array, exponent)
        if not np.isfinite(found).all():
            raise Unbounded
        # Only numbers that become denormal are rounded, each by half of the smallest float.
        return Enclosure(found, _simple(error + root_above(Fraction(2 * max(found.size, 1))) * _DENORMAL))

    def sum(self, a: Enclosure, b: Enclosure, sign: int = 1) -> Enclosure:
        with np.errstate(all="ignore"):
            centre = a.centre + b.centre if sign > 0 else a.centre - b.centre
        found = self.vector(centre)
        rounding = self.norm(found).high * _U * (1 + 4 * _U)
        return Enclosure(found.centre, _simple(a.radius + b.radius + rounding))

    def scaled(self, a: Enclosure, unit: Fraction) -> Enclosure:
        return self._moved(a.centre, _log2(unit), a.radius * unit)

    def norm(self, a: Enclosure) -> Interval:
        if not a.centre.any():
            return Interval(Fraction(0), a.radius)
        exponent, parts = _exponent(a.centre), _parts(a.centre)
        square = _sum(np.square(_shifted(parts, -exponent)), parts.size)
        low, high = root(max(square.low, Fraction(0))).low, root_above(square.high)
        unit = Fraction(2) ** exponent
        return Interval(max(low * unit - a.radius, Fraction(0)), high * unit + a.radius)

    def inner(self, a: Enclosure, b: Enclosure) -> tuple[Interval, Interval]:
        left, right = (_shifted(t.centre, -_exponent(t.centre)).reshape(-1) for t in (a, b))
        unit = Fraction(2) ** (_exponent(a.centre) + _exponent(b.centre))
        real = [left.real * right.real, left.imag * right.imag]
        imaginary = [left.imag * right.real, -(left.real * right.imag)]
        more = a.radius * self.norm(Enclosure(b.centre)).high + b.radius * self.norm(Enclosure(a.centre)).high
        more += a.radius * b.radius
        first, second = (_sum(np.concatenate(t), 2 * left.size).times(unit).widened(more) for t in (real, imaginary))
        return first, second

    def penalty(self, a: Enclosure, weights: Array) -> Interval:
        moduli, exponent, share = self._moduli(a.centre)
        w, unit = _weights(weights, moduli.shape)
        found = _sum(moduli * w, moduli.size)
        # Each modulus has a relative error, and one that underflows an absolute one; the sum has its own.
        slack = found.high * share + moduli.size * Fraction(_SQUARE)
        if not a.centre.any():
            found, slack = Interval(Fraction(0), Fraction(0)), Fraction(0)
        scale = Fraction(2) ** exponent * unit
        width = root_above(_sum(np.square(w), w.size).high) * unit
        return found.widened(slack).times(scale).widened(width * a.radius).positive()

    def worst(self, a: Enclosure, weights: Array, more: Fraction) -> Fraction:
        moduli, exponent, share = self._moduli(a.centre)
        w, unit = _weights(weights, moduli.shape)
        scale = Fraction(2) ** exponent
        extra = above((a.radius + more) / scale)
        with np.errstate(all="ignore"):
            largest = float(((moduli + (_SQUARE + extra) * (1 + 4 * UNIT)) / w).max(initial=0.0))
        if not largest < math.inf:
            raise Unbounded
        return Fraction(largest) * (1 + share + 8 * _U) * scale / unit

    def _moduli(self, array: Array) -> tuple[Array, int, Fraction]:
        """Returns the moduli of the groups over a power of two, its exponent, and a bound of their relative error."""
        exponent = _exponent(array)
        small = _shifted(array, -exponent)
        squares = small.real * small.real + small.imag * small.imag if np.iscomplexobj(small) else small * small
        most = 1
        if self.groups:
            starts, most = np.cumsum((0, *self.groups[:-1])), max(self.groups)
            squares = np.add.reduceat(squares, starts, axis=0)
        return np.sqrt(squares), exponent, (most + 8) * _U


def _parts(array: Array) -> Array:
    """Returns the real and imaginary parts as one axis of reals."""
    flat = np.ascontiguousarray(array).reshape(-1)
    return flat.view(np.float64) if np.iscomplexobj(flat) else flat


def _exponent(array: Array) -> int:
    """Returns e such that no part of the numbers is above 2^e, and the largest above 2^(e-2); 0 for zeros."""
    size = float(np.abs(_parts(array)).max(initial=0.0))
    return math.frexp(size)[1] if size else 0


def _shifted(array: Array, exponent: int) -> Array:
    """Returns numbers times a power of two, which is exact unless they become denormal or infinite."""
    found = np.ldexp(_parts(array), exponent)
    return (found.view(np.complex128) if np.iscomplexobj(array) else found).reshape(array.shape)


def _sum(array: Array, terms: int) -> Interval:
    """Returns the sum of numbers, each of which is a product of two floats of at most 1, rounded once."""
    numbers = array.reshape(-1)
    found = Fraction(math.fsum(numbers.tolist()))
    sizes = found if (numbers >= 0).all() else Fraction(math.fsum(np.abs(numbers).tolist()))
    return Interval(found, found).widened(3 * _U * sizes * (1 + 4 * _U) + terms * _TINY)


def _weights(weights: Array, shape: tuple[int, ...]) -> tuple[Array, Fraction]:
    """Returns weights over a power of two, in a shape, and the power.

    Raises:
        Unbounded: If the smallest is so much smaller than the largest that the quotient is not exact.
    """
    exponent = _exponent(weights)
    w = np.broadcast_to(_shifted(weights.astype(np.float64), -exponent), shape)
    if float(w.min(initial=1.0)) < 2.0**-900:
        raise Unbounded
    return w, Fraction(2) ** exponent


def _log2(unit: Fraction) -> int:
    return unit.numerator.bit_length() - unit.denominator.bit_length()


def _simple(x: Fraction) -> Fraction:
    """Returns a fraction with few digits that is at least x."""
    found: Any = above(x)
    if found == math.inf:
        raise Unbounded
    return Fraction(found)
