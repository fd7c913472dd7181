"""The two arithmetics in which a map is evaluated: IEEE doubles, and balls of python-flint.

A ball is a midpoint of many digits with a radius, and contains the exact number. Both arithmetics work on NumPy arrays
by elementwise additions and products, shifts and reshapes: doubles on arrays of float64 and complex128, balls on arrays
of objects. :class:`Arithmetic` has what differs: the constants of a map, and a few operations.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from fractions import Fraction
from typing import Any

import numpy as np

from firenet.optional import optional
from firenet.verified.losses import PRODUCT, UNIT
from firenet.verified.roots import roots_of_unity

Array = Any  # an array of float64, of complex128, or of balls
# The precision of balls, in bits: far beyond cancellation between numbers of one problem.
BALL_BITS = 320


class Arithmetic(ABC):
    """The constants of maps, and the operations that differ, in one arithmetic."""

    @abstractmethod
    def constants(self, array: Array, unit: float = 1.0) -> Array:
        """Returns stored numbers divided by a power of two."""

    @abstractmethod
    def roots(self, n: int) -> Array:
        """Returns :math:`e^{-2\\pi ik/n}` for k = 0, ..., n - 1."""

    @abstractmethod
    def inverse_root(self, n: int) -> Any:
        """Returns :math:`n^{-1/2}` for a positive integer."""

    @abstractmethod
    def conjugate(self, x: Array) -> Array:
        """Returns the complex conjugate."""

    @abstractmethod
    def turned(self, x: Array) -> Array:
        """Returns x times -i."""

    @abstractmethod
    def zeros(self, shape: tuple[int, ...], like: Array) -> Array:
        """Returns zeros that can hold numbers of the kind of ``like``."""


class Doubles(Arithmetic):
    """Floats: a product with a root of unity has a relative error of at most :data:`TWIDDLE`, one with
    :math:`n^{-1/2}` of at most :func:`inverse_root_loss`."""

    def constants(self, array: Array, unit: float = 1.0) -> Array:
        return array * (1 / unit)  # not a quotient of complex numbers

    def roots(self, n: int) -> Array:
        return roots_of_unity(n)

    def inverse_root(self, n: int) -> float:
        return 1 / math.sqrt(n)

    def conjugate(self, x: Array) -> Array:
        return np.conj(x)

    def turned(self, x: Array) -> Array:
        found = np.empty(x.shape, np.complex128)
        found.real, found.imag = x.imag, -x.real
        return found

    def zeros(self, shape: tuple[int, ...], like: Array) -> Array:
        return np.zeros(shape, like.dtype)


# The error of a root of unity times a number, over its modulus.
TWIDDLE = (1.01 * UNIT + PRODUCT) * (1 + 1e-9)


def inverse_root_loss(n: int) -> float:
    """Returns a bound of the relative error of multiplying by the computed :math:`n^{-1/2}`: zero for powers of
    four."""
    return 0.0 if n & (n - 1) == 0 and n.bit_length() % 2 else 3 * UNIT * (1 + 1e-9)


class Balls(Arithmetic):
    """Balls: midpoints of :data:`BALL_BITS` bits with radii, from python-flint."""

    def __init__(self) -> None:
        self.flint: Any = optional("flint", "verified", "A verified certificate of a dense problem")

    def constants(self, array: Array, unit: float = 1.0) -> Array:
        flint, scale = self.flint, self.exact(1 / Fraction(unit))
        found = np.empty(array.shape, object)
        numbers = np.ascontiguousarray(array).reshape(-1)
        one = (lambda v: flint.acb(v.real, v.imag)) if np.iscomplexobj(numbers) else flint.acb
        found.reshape(-1)[:] = [one(v) * scale for v in numbers.tolist()]
        return found

    def exact(self, x: Fraction) -> Any:
        """Returns a ball around a fraction."""
        return self.flint.arb(self.flint.fmpq(x.numerator, x.denominator))

    def roots(self, n: int) -> Array:
        flint, found = self.flint, np.empty(n, object)
        for k in range(n):
            angle = flint.fmpq(-2 * k, n)
            found[k] = flint.acb(flint.arb.cos_pi_fmpq(angle), flint.arb.sin_pi_fmpq(angle))
        return found

    def inverse_root(self, n: int) -> Any:
        return 1 / self.flint.arb(n).sqrt()

    def conjugate(self, x: Array) -> Array:
        found = np.empty(x.shape, object)
        found.reshape(-1)[:] = [self.flint.acb(v).conjugate() for v in x.reshape(-1)]
        return found

    def turned(self, x: Array) -> Array:
        return x * self.flint.acb(0, -1)

    def zeros(self, shape: tuple[int, ...], like: Array) -> Array:
        found = np.empty(shape, object)
        found.reshape(-1)[:] = [self.flint.acb(0)] * found.size
        return found
