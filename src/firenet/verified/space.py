"""What a verified proof computes with vectors, in any arithmetic: enclosures of maps, norms, penalties."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from firenet.verified.arithmetic import Array
from firenet.verified.directed import Interval
from firenet.verified.maps import Map


class Unbounded(ArithmeticError):
    """A number that is above all floats, or of which no bound was found."""


@dataclass(frozen=True)
class Enclosure:
    """A vector that is known up to an error.

    Attributes:
        centre: An array of floats, or of balls.
        radius: A bound of the 2-norm of the difference between the vector and the floats; zero for balls, which have
            their own.
    """

    centre: Array
    radius: Fraction = Fraction(0)


class Space(ABC):
    """Vectors of one arithmetic.

    All results are enclosures of what exact arithmetic gives. ``groups`` are the numbers of consecutive bands, along
    the first axis, whose modulus is taken together; empty if each number counts alone.
    """

    def __init__(self, groups: Sequence[int] = ()) -> None:
        self.groups = tuple(groups)

    @abstractmethod
    def vector(self, array: Array) -> Enclosure:
        """Returns stored numbers as a vector, exactly.

        Raises:
            Unbounded: For NaN or infinity.
        """

    @abstractmethod
    def mapped(self, of: Map, x: Enclosure, *, adjoint: bool = False) -> Enclosure:
        """Applies a map, or its adjoint, to a vector."""

    @abstractmethod
    def sum(self, a: Enclosure, b: Enclosure, sign: int = 1) -> Enclosure:
        """Returns a + b, or a - b for sign -1."""

    @abstractmethod
    def norm(self, a: Enclosure) -> Interval:
        """Returns the 2-norm."""

    @abstractmethod
    def inner(self, a: Enclosure, b: Enclosure) -> tuple[Interval, Interval]:
        """Returns real and imaginary part of :math:`\\langle a,b\\rangle=\\sum_ia_i\\bar b_i`."""

    @abstractmethod
    def penalty(self, a: Enclosure, weights: Array) -> Interval:
        """Returns the sum of the weighted moduli of the groups."""

    @abstractmethod
    def worst(self, a: Enclosure, weights: Array, more: Fraction) -> Fraction:
        """Returns an upper bound of the largest (modulus + ``more``) / weight of all groups."""

    @abstractmethod
    def scaled(self, a: Enclosure, unit: Fraction) -> Enclosure:
        """Returns a vector times a power of two."""
