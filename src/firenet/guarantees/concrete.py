"""A matrix, levels and weights in exact numbers: the object of a proof about the null space property.

Every float64 number is an integer times a power of two, so that a matrix of them is known exactly. The weights of the
problem are rational, too: where the recommended :math:`\\sqrt{s/s_k}` are irrational, the weights *are* the float64
numbers that are computed for them, as they are for the network.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from firenet.errors import BadInput
from firenet.guarantees import checker
from firenet.sparsity import SparsityLevels

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class ConcreteMatrix:
    """A real or complex matrix, exactly: integers times a power of two that leaves at least one integer odd.

    Attributes:
        exponent: The exponent of the power of two.
        real: The integers of the real parts, as rows.
        imaginary: Those of the imaginary parts; None for a real matrix.
    """

    exponent: int
    real: tuple[tuple[int, ...], ...]
    imaginary: tuple[tuple[int, ...], ...] | None

    @classmethod
    def of(cls, matrix: ArrayLike) -> ConcreteMatrix:
        """Reads a matrix of floating-point numbers, integers or fractions whose denominators are powers of two.

        Raises:
            BadInput: Unless there are two axes and at least one entry; for numbers that are not finite or not of these
                kinds; for a matrix too large to check.
        """
        array = np.asarray(matrix)
        if array.ndim != 2 or not array.size:
            raise BadInput("A matrix: two axes, at least one entry", f"shape {array.shape}", "Reshape it")
        products = array.size * array.shape[1] * (4 if array.dtype.kind == "c" else 1)
        if max(array.shape) > checker.MOST_SIDE or products > checker.MOST_PRODUCTS:
            needed = f"At most {checker.MOST_SIDE} rows and columns, and so few that a check takes only minutes"
            do = "A proof needs one vector for each column: use the sampling theorems for large operators"
            raise BadInput(needed, f"shape {array.shape} of {array.dtype}", do)
        if array.dtype.kind not in "biufcO" or array.dtype.itemsize > (16 if array.dtype.kind == "c" else 8):
            raise BadInput("Numbers of at most double precision", f"{array.dtype}", "Convert the matrix to float64")
        parts = [np.real(array), np.imag(array)] if array.dtype.kind == "c" else [array]
        exact = [[_fraction(v) for v in part.ravel().tolist()] for part in parts]
        exponent = min((_lowest_bit(v) for part in exact for v in part if v), default=0)
        width = array.shape[1]
        rows = [
            tuple(tuple(_integer(v, exponent) for v in part[at : at + width]) for at in range(0, len(part), width))
            for part in exact
        ]
        return cls(exponent, rows[0], rows[1] if len(rows) == 2 else None)

    @property
    def shape(self) -> tuple[int, int]:
        """The shape (m, N)."""
        return len(self.real), len(self.real[0])

    @cached_property
    def scale(self) -> int:
        """The exponent e for which :math:`2^{-e}A` has its largest real or imaginary part in [1/2, 1)."""
        parts = [self.real] if self.imaginary is None else [self.real, self.imaginary]
        return self.exponent + max(abs(v).bit_length() for part in parts for row in part for v in row)

    @cached_property
    def scaled(self) -> NDArray[Any]:
        """The matrix :math:`2^{-e}A` in double precision."""
        return self._numbers(self.exponent - self.scale)

    @property
    def numbers(self) -> NDArray[Any]:
        """The matrix in double precision."""
        return self._numbers(self.exponent)

    @property
    def size(self) -> float:
        """The power of two just above the largest real or imaginary part."""
        return math.ldexp(1.0, self.scale)

    def _numbers(self, exponent: int) -> NDArray[Any]:
        unit = checker.power(exponent)
        real = np.array([[float(v * unit) for v in row] for row in self.real])
        if self.imaginary is None:
            return real
        return real + 1j * np.array([[float(v * unit) for v in row] for row in self.imaginary])

    def as_json(self) -> dict[str, Any]:
        """Returns the matrix as certificates have it."""
        m, n = self.shape
        imaginary = None if self.imaginary is None else [list(row) for row in self.imaginary]
        real = [list(row) for row in self.real]
        return {"rows": m, "columns": n, "exponent": self.exponent, "real": real, "imaginary": imaginary}


@dataclass(frozen=True)
class NullSpaceProblem:
    """A matrix, levels and rational weights: the question is for which rho and gamma the null space property holds.

    Attributes:
        matrix: The matrix.
        levels: Sizes and sparsities of the levels, whose columns lie side by side in the matrix.
        weights: One for each level.
    """

    matrix: ConcreteMatrix
    levels: SparsityLevels
    weights: tuple[Fraction, ...]

    @classmethod
    def of(
        cls, matrix: ArrayLike | ConcreteMatrix, levels: SparsityLevels, weights: Iterable[float | Fraction] | None
    ) -> NullSpaceProblem:
        """Checks that matrix, levels and weights belong together.

        Args:
            matrix: What :meth:`ConcreteMatrix.of` reads.
            levels: Levels whose sizes add up to the number of columns.
            weights: One for each level, or one for each column, equal within a level; None is ``levels.weights()``.

        Raises:
            BadInput: For levels of another number of columns, and weights that are not positive or vary on a level.
        """
        exact = matrix if isinstance(matrix, ConcreteMatrix) else ConcreteMatrix.of(matrix)
        if sum(levels.sizes) != exact.shape[1]:
            needed = f"Levels whose sizes add up to the {exact.shape[1]} columns of the matrix"
            raise BadInput(needed, f"levels of {levels.sizes}", "Give the sizes of this matrix's levels")
        given = levels.weights().tolist() if weights is None else list(weights)
        exact_weights = [_fraction(w if isinstance(w, int | Fraction) else float(w)) for w in given]
        if len(given) == exact.shape[1]:
            exact_weights = _constant(exact_weights, levels.sizes)
        if len(exact_weights) != len(levels.sizes) or min(exact_weights) <= 0:
            got = f"{len(given)}, the smallest of them {min(given, default=None)}"
            raise BadInput("One positive weight for each level", got, "Leave weights out for the recommended ones")
        return cls(exact, levels, tuple(exact_weights))

    @property
    def xi(self) -> Fraction:
        """The constant :math:`\\xi=\\sum_kw_{(k)}^2s_k`."""
        return sum((w * w * s for w, s in zip(self.weights, self.levels.sparsities, strict=True)), Fraction(0))

    @property
    def kappa(self) -> Fraction:
        """The constant :math:`\\kappa=\\xi/\\min_kw_{(k)}^2s_k`."""
        return self.xi / min(w * w * s for w, s in zip(self.weights, self.levels.sparsities, strict=True))

    @cached_property
    def relative_weights(self) -> NDArray[np.float64]:
        """For each column :math:`w_i/\\sqrt\\xi`, in double precision."""
        ratios = [math.sqrt(w * w / self.xi) for w in self.weights]
        return np.repeat(np.array(ratios), self.levels.sizes)

    def blocks(self) -> list[tuple[slice, int]]:
        """Returns the columns of each level, and its sparsity."""
        ends = np.cumsum(self.levels.sizes).tolist()
        columns = [slice(end - size, end) for end, size in zip(ends, self.levels.sizes, strict=True)]
        return list(zip(columns, self.levels.sparsities, strict=True))

    def certificate(
        self, claim: str, rho: Fraction | None, gamma: Fraction | None, vectors: Sequence[dict[str, Any]]
    ) -> dict[str, Any]:
        """Returns a certificate in the format of :mod:`firenet.guarantees.checker`."""
        matrix, sizes = self.matrix.as_json(), self.levels
        data = {
            "format": checker.FORMAT,
            "version": checker.VERSION,
            "claim": claim,
            "matrix": matrix,
            "matrix_sha256": checker.sha256(matrix),
            "levels": {
                "sizes": list(sizes.sizes),
                "sparsities": list(sizes.sparsities),
                "weights": [str(w) for w in self.weights],
            },
            "rho": None if rho is None else str(rho),
            "gamma": None if gamma is None else str(gamma),
            "vectors": list(vectors),
        }
        return data | {"sha256": checker.sha256(data)}


def matrix_sha256(matrix: ArrayLike) -> str:
    """Returns the SHA-256 of the numbers of a matrix, as its certificates have it and the checker prints it."""
    return checker.sha256(ConcreteMatrix.of(matrix).as_json())


def rounded(vector: NDArray[Any], scale: int = 0, *, bits: int = 40) -> dict[str, Any]:
    """Returns :math:`2^{scale}` times a vector, rounded to integers times a power of two.

    The largest integer has ``bits`` bits. With 40, rounding is far below the accuracy of any search.
    """
    parts = [np.real(vector), np.imag(vector)] if np.iscomplexobj(vector) else [vector]
    exponent = max(math.frexp(float(np.abs(part).max()))[1] for part in parts) - bits
    integers = [[int(v) for v in np.rint(np.ldexp(part, -exponent))] for part in parts]
    return dict(zip(("exponent", "real", "imaginary"), (exponent + scale, *integers), strict=False))


def decimal_above(value: Fraction, digits: int = 6) -> Fraction:
    """Returns the next larger number of this many significant decimal digits, or the number itself.

    >>> decimal_above(Fraction(1, 3))
    Fraction(166667, 500000)
    """
    if value <= 0:
        return Fraction(0)
    size = (value.numerator.bit_length() - value.denominator.bit_length()) * 30103 // 100000
    unit = Fraction(10) ** (size - digits)
    while value > unit * 10**digits:
        unit *= 10
    return unit * math.ceil(value / unit)


def _fraction(value: Any) -> Fraction:
    try:
        return Fraction(value)
    except (TypeError, ValueError, OverflowError, ZeroDivisionError):
        raise BadInput("Finite numbers", f"{value!r}", "Check the matrix and the weights") from None


def _lowest_bit(value: Fraction) -> int:
    """Returns the largest e for which the number is an integer times :math:`2^e`."""
    if value.denominator & (value.denominator - 1):
        do = "Round it to float64: the proof is then about the rounded matrix"
        raise BadInput("Entries whose denominators are powers of two", f"{value}", do)
    return (value.numerator & -value.numerator).bit_length() - value.denominator.bit_length()


def _integer(value: Fraction, exponent: int) -> int:
    shifted = value * checker.power(-exponent)
    return shifted.numerator


def _constant(weights: list[Fraction], sizes: tuple[int, ...]) -> list[Fraction]:
    """Returns one weight for each level from one for each column.

    Raises:
        BadInput: If they vary on a level.
    """
    found, start = [], 0
    for k, size in enumerate(sizes):
        if len(set(weights[start : start + size])) > 1:
            needed = "Weights that are constant on each level, which the null space property in levels assumes"
            raise BadInput(needed, f"weights that vary on level {k}", "Give one weight for each level")
        found.append(weights[start])
        start += size
    return found
