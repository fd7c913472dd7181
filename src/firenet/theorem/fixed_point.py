"""Exact numbers: dyadic arrays, rational entries of arrays of any kind, and integer arithmetic with stated errors."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import isqrt, lcm
from typing import Any, final

import torch
from torch import Tensor

from firenet.errors import BadInput
from firenet.numerics import doubled

# A vector is a list of planes of integers at one scale: the real parts and, for complex vectors, the imaginary parts.
Planes = list[list[int]]


@final
@dataclass(frozen=True)
class DyadicArray:
    """An array of the numbers :math:`2^{-b}(k+ik')` with integers k and k'.

    Attributes:
        planes: The integers k in the order of the entries, and k' where the array is complex.
        bits: b.
        shape: The shape.
    """

    planes: tuple[tuple[int, ...], ...]
    bits: int
    shape: tuple[int, ...]

    @property
    def fractions(self) -> tuple[tuple[Fraction, ...], ...]:
        """The real parts as rational numbers, and the imaginary parts where the array is complex."""
        return tuple(tuple(Fraction(k, 2**self.bits) for k in plane) for plane in self.planes)

    @property
    def digest(self) -> str:
        """The SHA-256 of the integers, the bits and the shape, the same on every machine."""
        text = f"{self.bits} {self.shape} " + ";".join(",".join(map(str, plane)) for plane in self.planes)
        return hashlib.sha256(text.encode()).hexdigest()

    def tensor(self, *, exact: bool = False) -> Tensor:
        """Returns the numbers in double precision, rounded to nearest.

        Raises:
            BadInput: With ``exact``, if a number would be rounded.
        """
        numbers = [[float(x) for x in plane] for plane in self.fractions]
        if exact and any(
            Fraction(x) != y
            for xs, ys in zip(numbers, self.fractions, strict=True)
            for x, y in zip(xs, ys, strict=True)
        ):
            do = "Use fewer bits, or the fractions"
            raise BadInput("Numbers of at most 53 bits, for double precision", f"2**-{self.bits} as unit", do)
        planes = [torch.tensor(plane, dtype=torch.float64).view(self.shape) for plane in numbers]
        return torch.complex(*planes) if len(planes) == 2 else planes[0]


def exact_entries(array: Any, what: str) -> tuple[list[list[Fraction]], tuple[int, ...]]:
    """Returns the entries of an array as rational numbers, planes as in :class:`DyadicArray`, and its shape.

    Args:
        array: A tensor or an array of floating-point numbers, which are taken exactly, or nested sequences, which may
            have fractions.
        what: Its name in errors.

    Raises:
        BadInput: For entries that are not finite numbers, or rows of different lengths.
    """
    if isinstance(array, Tensor):
        array = doubled(array.detach()).cpu().resolve_conj()
    listed = array.tolist() if hasattr(array, "tolist") else array
    try:
        shape = _shape(listed)
        flat = _flat(listed, shape)
        real = [Fraction(x.real) for x in flat]
        imaginary = [Fraction(x.imag) for x in flat]
    except (AttributeError, TypeError, ValueError, OverflowError) as error:
        do = "Pass an array, or lists of numbers or fractions"
        raise BadInput(f"{what}: finite numbers in an array", f"{type(array).__name__}: {error}", do) from None
    complex_too = any(imaginary) or any(isinstance(x, complex) for x in flat)
    return [real, imaginary] if complex_too else [real], shape


def _shape(listed: Any) -> tuple[int, ...]:
    return (len(listed), *_shape(listed[0])) if isinstance(listed, list | tuple) and listed else ()


def _flat(listed: Any, shape: tuple[int, ...]) -> list[Any]:
    if not shape:
        return [listed]
    if len(listed) != shape[0]:
        raise ValueError("rows of different lengths")
    return [entry for part in listed for entry in _flat(part, shape[1:])]


def common_scale(planes: Iterable[Sequence[Fraction]]) -> int:
    """Returns the least b for which all numbers are multiples of :math:`2^{-b}`.

    Raises:
        BadInput: For numbers that are not dyadic.
    """
    common = lcm(*(x.denominator for plane in planes for x in plane))
    if common & (common - 1):
        do = "Round them: firenet.theorem.approximate"
        raise BadInput("Dyadic numbers, integers divided by powers of two", f"denominator {common}", do)
    return common.bit_length() - 1


def at_scale(planes: Iterable[Sequence[Fraction]], bits: int) -> Planes:
    """Returns numbers as integers in the unit :math:`2^{-b}`, of which they must be multiples."""
    return [[x.numerator * ((1 << bits) // x.denominator) for x in plane] for plane in planes]


def nearest(numerator: int, denominator: int) -> int:
    """Returns the integer nearest to a quotient with positive denominator, within 1/2 of it; if two are equally near,
    the larger one."""
    return (2 * numerator + denominator) // (2 * denominator)


def root_above(x: Fraction) -> Fraction:
    """Returns a rational number at or above the square root of x, by at most :math:`2^{-32}`."""
    return Fraction(isqrt((x.numerator << 64) // x.denominator) + 1, 1 << 32)


def positive_definite(matrix: list[list[int]]) -> bool:
    """Returns whether a symmetric matrix of integers is positive definite: whether all its leading minors are positive.

    The elimination divides without remainder (Bareiss), and its pivots are the minors.
    """
    rows, before = [list(row) for row in matrix], 1
    for k, pivot in enumerate(rows):
        if pivot[k] <= 0:
            return False
        for i in range(k + 1, len(rows)):
            for j in range(i, len(rows)):
                rows[i][j] = (rows[i][j] * pivot[k] - pivot[i] * pivot[j]) // before
        before = pivot[k]
    return True
