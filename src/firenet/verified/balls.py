"""Vectors of balls: the arithmetic of python-flint, for dense problems."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np

from firenet.verified.arithmetic import BALL_BITS, Array, Balls
from firenet.verified.directed import Interval
from firenet.verified.maps import Map
from firenet.verified.space import Enclosure, Space, Unbounded


class BallSpace(Space):
    """Vectors of balls. Use it inside :meth:`precisely`, which sets the precision."""

    def __init__(self, groups: Sequence[int] = ()) -> None:
        super().__init__(groups)
        self._balls = Balls()
        self._flint: Any = self._balls.flint

    def precisely(self) -> Any:
        """Returns a context in which balls have :data:`.BALL_BITS` bits."""
        return self._flint.ctx.workprec(BALL_BITS)

    def vector(self, array: Array) -> Enclosure:
        if not np.isfinite(array).all():
            raise Unbounded
        return Enclosure(self._balls.constants(array.astype(np.complex128)))

    def mapped(self, of: Map, x: Enclosure, *, adjoint: bool = False) -> Enclosure:
        found = (of.adjoint if adjoint else of.apply)(x.centre, self._balls)
        return Enclosure(found * self._balls.exact(of.unit))

    def sum(self, a: Enclosure, b: Enclosure, sign: int = 1) -> Enclosure:
        return Enclosure(a.centre + b.centre if sign > 0 else a.centre - b.centre)

    def scaled(self, a: Enclosure, unit: Fraction) -> Enclosure:
        return Enclosure(a.centre * self._balls.exact(unit))

    def norm(self, a: Enclosure) -> Interval:
        return self._interval(self._square_sum(a.centre.reshape(-1)).sqrt())

    def inner(self, a: Enclosure, b: Enclosure) -> tuple[Interval, Interval]:
        products = (a.centre * self._balls.conjugate(b.centre)).reshape(-1)
        total = sum(products.tolist(), self._flint.acb(0))
        return self._interval(total.real), self._interval(total.imag)

    def penalty(self, a: Enclosure, weights: Array) -> Interval:
        terms = [m * w for m, w in self._moduli(a, weights)]
        return self._interval(sum(terms, self._flint.arb(0))).positive()

    def worst(self, a: Enclosure, weights: Array, more: Fraction) -> Fraction:
        extra = self._balls.exact(more)
        ratios = [self._interval((m + extra) / w).high for m, w in self._moduli(a, weights)]
        return max(ratios, default=Fraction(0))

    def _square_sum(self, numbers: Array) -> Any:
        flint, total = self._flint, self._flint.arb(0)
        for v in map(flint.acb, numbers.tolist()):
            total += v.real * v.real + v.imag * v.imag
        return total.nonnegative_part()

    def _moduli(self, a: Enclosure, weights: Array) -> list[tuple[Any, Any]]:
        """Returns the modulus of each group with its weight."""
        centre, arb = a.centre, self._flint.arb
        if not self.groups:
            w = np.broadcast_to(weights, centre.shape).reshape(-1).tolist()
            return [(self._square_sum(centre.reshape(-1)[i : i + 1]).sqrt(), arb(v)) for i, v in enumerate(w)]
        edges = [0, *np.cumsum(self.groups).tolist()]
        w = np.broadcast_to(weights, (len(self.groups), *centre.shape[1:])).reshape(len(self.groups), -1)
        bands = centre.reshape(len(centre), -1)
        found = []
        for row, (first, last) in zip(w.tolist(), pairwise(edges), strict=True):
            each = zip(bands[first:last].T, row, strict=True)
            found += [(self._square_sum(column).sqrt(), arb(v)) for column, v in each]
        return found

    def _interval(self, ball: Any) -> Interval:
        if not ball.is_finite():
            raise Unbounded
        return Interval(_fraction(ball.lower()), _fraction(ball.upper()))


def _fraction(exact: Any) -> Fraction:
    mantissa, exponent = exact.man_exp()
    return Fraction(int(mantissa)) * Fraction(2) ** int(exponent)
