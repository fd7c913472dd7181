"""A question about a problem: its numbers, exactly, and how well its matrix and measurements are known.

Everything is scaled by integers and powers of two, exactly: A and y become integers times a power of two with largest
entry in [1/2, 1), and parameter, weights and uncertainties are scaled with them, so that the minimisers are those of
the given problem times a number. A complex problem becomes a real one of twice the size,
:math:`\\begin{pmatrix}\\mathrm{Re}A&-\\mathrm{Im}A\\\\\\mathrm{Im}A&\\mathrm{Re}A\\end{pmatrix}`, in which entries i
and N + i form a group: the magnitude of a coefficient is the 2-norm of its group.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from math import lcm
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from firenet.digits.dyadic import Dyadic, integers
from firenet.errors import BadInput

if TYPE_CHECKING:
    from numpy.typing import NDArray

Kind = Literal["P1", "P2", "P3"]
KINDS: tuple[Kind, ...] = ("P1", "P2", "P3")
MOST_ENTRIES = 40_000  # of the matrix: a proof takes a minute then
MOST_BITS = 100_000
_LEAST = Fraction(1, 10**150)  # the search for a support is in double precision, and squares numbers


@dataclass(frozen=True, eq=False)
class Question:
    """A problem in exact numbers, and how well its matrix and measurements are known.

    The problem is to minimise :math:`\\sum_jl_j|x_j|+\\varphi(\\|Ax-y\\|)` where :math:`\\varphi(\\rho)=\\rho` for
    (P3), :math:`\\rho^2` for (P2), and for (P1) 0 for :math:`\\rho\\le\\varepsilon` and infinity beyond.

    Attributes:
        kind: ``P1``, ``P2`` or ``P3``.
        A: The matrix; for a complex problem the real matrix of twice the size that acts on real and imaginary parts.
        y: The measurements; for a complex problem all real parts, then all imaginary parts.
        group: 2 for a complex problem, 1 for a real one.
        penalties: The :math:`l_j`: for (P1) :math:`w_j`; else :math:`\\lambda w_j` with the given :math:`\\lambda`,
            divided for (P3) by ``matrix_unit``, and for (P2) by ``matrix_unit`` times ``data_unit``.
        epsilon: For (P1) :math:`\\varepsilon`, which is the given one divided by ``data_unit``; else 0.
        matrix_within: A number :math:`\\alpha\\ge\\|A'-A\\|_2` for all matrices A' that agree with what is known.
        data_within: A number :math:`\\beta\\ge\\|y'-y\\|_2`.
        matrix_unit: The given matrix is A times this.
        data_unit: The given measurements are y times this.
    """

    kind: Kind
    A: Dyadic
    y: Dyadic
    group: int
    penalties: tuple[Fraction, ...]
    epsilon: Fraction
    matrix_within: Fraction
    data_within: Fraction
    matrix_unit: Fraction
    data_unit: Fraction

    @classmethod
    def of(
        cls,
        matrix: Any,
        data: Any,
        parameter: Any,
        *,
        kind: Kind = "P3",
        weights: Any = None,
        matrix_within: Any = 0,
        data_within: Any = 0,
    ) -> Question:
        """Reads a problem of floating-point numbers, integers or fractions, each of them exactly.

        Raises:
            BadInput: For shapes that do not fit, numbers that are not finite, a parameter, weights or uncertainties out
                of range, and problems too large to be answered.
        """
        if kind not in KINDS:
            raise BadInput("A problem P1, P2 or P3", repr(kind), "See docs/digits.md for the three")
        A, y = (_planes(array, name) for array, name in ((matrix, "matrix"), (data, "measurements")))
        shape = np.shape(A[0])
        if len(shape) != 2 or np.shape(y[0]) != shape[:1] or not A[0].size:
            got = f"shapes {shape} and {np.shape(y[0])}"
            raise BadInput("A matrix of m rows and a vector of m measurements", got, "Reshape them")
        group = max(len(A), len(y))
        if A[0].size * group**2 > MOST_ENTRIES:
            needed = f"At most {MOST_ENTRIES // group**2} entries of the matrix, for an exact answer"
            do = "Take a smaller problem, or only columns near the support"
            raise BadInput(needed, f"{shape[0]} x {shape[1]}", do)
        value = _number(parameter, "epsilon" if kind == "P1" else "lambda")
        if value < 0 or (value == 0 and kind != "P1"):
            needed = "An epsilon of at least 0" if kind == "P1" else "A lambda above 0"
            raise BadInput(needed, str(parameter), "Give the parameter of the problem")
        given = [1] * shape[1] if weights is None else np.asarray(weights).tolist()
        w = [_number(v, "weights") for v in given]
        if len(w) != shape[1] or min(w) <= 0:
            got = f"{len(w)}, the smallest {min(w, default=None)}"
            raise BadInput(f"{shape[1]} positive weights", got, "Leave them out for weights of 1")
        within = [_number(v, "uncertainty") for v in (matrix_within, data_within)]
        if min(within) < 0:
            raise BadInput("Uncertainties of at least 0", f"{min(within)}", "Use 0 for numbers that are exact")
        return cls._scaled(kind, A, y, group, value, w, within)

    @classmethod
    def _scaled(
        cls,
        kind: Kind,
        A: list[NDArray[Any]],
        y: list[NDArray[Any]],
        group: int,
        parameter: Fraction,
        w: list[Fraction],
        within: list[Fraction],
    ) -> Question:
        c = lcm(*(v.denominator for plane in (*A, *y) for v in plane.ravel().tolist()))
        whole = [[_times(p, c) for p in planes] for planes in (A, y)]
        a, b = (max((abs(v).bit_length() for p in planes for v in p.ravel().tolist()), default=0) for planes in whole)
        bits = max(a, b, c.bit_length())
        if bits > MOST_BITS:
            needed = f"Numbers of at most {MOST_BITS} bits, as fractions of one common denominator"
            raise BadInput(needed, f"{bits} bits", "Round them, and state by how much (matrix_within, data_within)")
        A_, y_ = (embedded(planes, group) for planes in whole)
        units = Fraction(1 << a, c), Fraction(1 << b, c)
        scale = {"P1": Fraction(1), "P2": parameter / (units[0] * units[1]), "P3": parameter / units[0]}[kind]
        epsilon = parameter / units[1] if kind == "P1" else Fraction(0)
        alpha, beta = (v / unit for v, unit in zip(within, units, strict=True))
        penalties = tuple(v * scale for v in w)
        for value, name in (
            (units[1] / units[0], "The largest measurement over the largest matrix entry"),
            *((v, "The weights (for P2 and P3 times lambda, for A and y scaled to size 1)") for v in penalties),
        ):
            if not _LEAST < value < 1 / _LEAST:
                needed = f"{name} between 1e-150 and 1e150"
                raise BadInput(needed, f"about 2**{_exponent(value)}", "Choose other units")
        return cls(kind, Dyadic(A_, a), Dyadic(y_, b), group, penalties, epsilon, alpha, beta, *units)

    @property
    def columns(self) -> int:
        """The number N of coefficients."""
        return len(self.penalties)

    @property
    def exact(self) -> bool:
        """Whether matrix and measurements are known exactly."""
        return not self.matrix_within and not self.data_within

    @property
    def unit(self) -> Fraction:
        """The power of two by which the minimisers of this problem are multiplied to get those of the given one."""
        return self.data_unit / self.matrix_unit

    @cached_property
    def matrix(self) -> NDArray[np.float64]:
        """A in double precision."""
        return self.A.floats()

    @cached_property
    def data(self) -> NDArray[np.float64]:
        """The measurements in double precision."""
        return self.y.floats()

    @cached_property
    def sizes(self) -> NDArray[np.float64]:
        """The :math:`l_j` in double precision."""
        return np.array([float(v) for v in self.penalties])

    @cached_property
    def column_norms(self) -> list[Fraction]:
        """Numbers at or above the norms of the columns."""
        return [self.A[:, j].norm_above() for j in range(self.columns)]

    def spread(self, columns: Iterable[int]) -> list[int]:
        """Returns the indices of the columns of A that belong to these coefficients: first those of all real parts."""
        listed = list(columns)
        return [j + k * self.columns for k in range(self.group) for j in listed]

    def moved(self, matrix: Dyadic | None, data: Dyadic | None) -> Question:
        """Returns the question for exactly known A + E and y + e, for changes E and e that the uncertainties allow.

        Raises:
            ValueError: If they do not.
        """
        for change, within, times in ((matrix, self.matrix_within, self.group), (data, self.data_within, 1)):
            if change is not None and change.squares() > times * within * within:  # Frobenius bounds spectral norm
                raise ValueError("a change beyond the uncertainty")
        A = self.A if matrix is None else self.A + matrix
        y = self.y if data is None else self.y + data
        return replace(self, A=A, y=y, matrix_within=Fraction(0), data_within=Fraction(0))


def _planes(array: Any, name: str) -> list[NDArray[Any]]:
    """Returns real and, where there are any, imaginary parts, as fractions."""
    try:
        given: Any = np.asarray(array.detach().cpu().numpy() if hasattr(array, "detach") else array)
    except ValueError as error:
        raise BadInput(f"Numbers for {name}", f"no array ({error})", "Make all its lists equally long") from None
    if given.dtype.kind not in "biufcO" or given.dtype.itemsize > (16 if given.dtype.kind == "c" else 8):
        needed = f"The {name}: numbers of at most double precision, or fractions"
        raise BadInput(needed, str(given.dtype), "Convert them")
    parts = [given.real, given.imag] if given.dtype.kind == "c" else [given]
    exact = []
    for part in parts:
        plane = np.empty(part.size, dtype=object)
        plane[:] = [_number(v, name) for v in part.ravel().tolist()]
        exact.append(plane.reshape(part.shape))
    return exact if len(exact) == 1 or any(exact[1].ravel()) else exact[:1]


def _exponent(value: Fraction) -> int:
    return value.numerator.bit_length() - value.denominator.bit_length()


def _times(plane: NDArray[Any], c: int) -> NDArray[Any]:
    return integers(int(v * c) for v in plane.ravel().tolist()).reshape(plane.shape)


def _number(value: Any, name: str) -> Fraction:
    try:
        return Fraction(value)
    except (TypeError, ValueError, OverflowError, ZeroDivisionError):
        do = "Give a number or a fraction such as 1/10"
        raise BadInput(f"Finite numbers for {name}", f"{value!r:.60}", do) from None


def embedded(planes: list[NDArray[Any]], group: int) -> NDArray[Any]:
    """Returns the real matrix or vector of a complex one, given by its real and imaginary parts."""
    if group == 1:
        return planes[0]
    real, imaginary = planes if len(planes) == 2 else (planes[0], planes[0] * 0)
    if real.ndim == 1:
        return np.concatenate([real, imaginary])
    return np.block([[real, -imaginary], [imaginary, real]])
