"""The hard problems in exact arithmetic, their minimisers, and the distances of points to these.

The matrix has one row in which several columns compete, and a diagonal block below it that is easily solved,

.. math:: A=\\begin{pmatrix}a_1\\dots a_{N_1}&0\\\\0&\\|a\\|_2I\\end{pmatrix},\\qquad y_k=s_ke_1,

so that :math:`AA^*=\\|a\\|_2^2I`. The column with the largest :math:`a_j` is the support: the minimiser is
:math:`v\\,e_j` with :math:`v=f/a_j` and :math:`f=s` for (P3), :math:`s-\\lambda/(2a_j)` for (P2),
:math:`s-\\varepsilon` for (P1). Where several :math:`a_j` are largest (a tie), the minimisers are the simplex spanned
by these points. All :math:`a_j` are equal to :math:`10^K/2` (for (P1) times :math:`1-\\varepsilon`), except that one
of them may be larger by a *bump*. The place of the bump decides between points that are
:math:`\\sqrt2f/a\\approx2.8\\cdot10^{-K}` apart, and the bump can be smaller than any accuracy to which A is known.

Every number is a :class:`fractions.Fraction`. Only :math:`\\|a\\|_2` is irrational; it enters by its square, and by
rational numbers near it. The problems and their theorem are from Colbrook, Antun, Hansen (PNAS 2022), Theorem 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import isqrt
from typing import Literal

Kind = Literal["P1", "P2", "P3"]
Vector = tuple[Fraction, ...]
KINDS: tuple[Kind, ...] = ("P1", "P2", "P3")
MOST_DIGITS, MOST_COLUMNS, MOST_SAMPLES, MOST_BITS = 300, 2000, 100, 256


class BadProblem(ValueError):
    """A problem outside the classes of the theorem."""


def root(square: Fraction, bits: int) -> tuple[Fraction, Fraction]:
    """Returns rational numbers at most :math:`2^{-bits}` apart that enclose the root of a non-negative number."""
    below = isqrt((square.numerator << 2 * bits) // square.denominator)
    exact = Fraction(below, 1 << bits)
    return exact, exact if exact * exact == square else Fraction(below + 1, 1 << bits)


def decimal(value: Fraction, digits: int = 7) -> str:
    """Returns a number in scientific notation, correctly rounded: for display, never for a comparison."""
    if value == 0:
        return "0"
    sign, size = "-" if value < 0 else "", abs(value)
    # The exponent is estimated from the number of bits, since str() refuses long integers.
    exponent = (size.numerator.bit_length() - size.denominator.bit_length()) * 30103 // 100000 + 1
    while size < Fraction(10) ** exponent:
        exponent -= 1
    shown = size / Fraction(10) ** (exponent - digits + 1)
    whole = (2 * shown.numerator + shown.denominator) // (2 * shown.denominator)
    if whole == 10**digits:
        whole, exponent = whole // 10, exponent + 1
    text = str(whole)
    return f"{sign}{text[0]}.{text[1:]}e{exponent:+03d}" if digits > 1 else f"{sign}{text}e{exponent:+03d}"


def root_decimal(square: Fraction, digits: int = 7) -> str:
    """Returns the square root of a number in scientific notation, to ``digits`` digits."""
    return decimal(root(square, 8 * digits + max(square.denominator.bit_length(), 8))[0], digits)


@dataclass(frozen=True)
class Minimisers:
    """The set :math:`\\{v\\,p:p\\text{ in the simplex of the support}\\}`: a single point if the support is one index.

    Attributes:
        value: v, not negative.
        support: The indices.
        size: N.
    """

    value: Fraction
    support: tuple[int, ...]
    size: int

    def vertex(self, j: int) -> Vector:
        """Returns the vertex :math:`v\\,e_j`."""
        return tuple(self.value if i == j else Fraction(0) for i in range(self.size))

    def centre(self) -> Vector:
        """Returns the point with equal entries on the support."""
        part, zero, support = self.value / len(self.support), Fraction(0), set(self.support)
        return tuple(part if i in support else zero for i in range(self.size))

    def distance_squared(self, x: Vector) -> Fraction:
        """Returns the squared distance of a point to the set.

        The projection of x onto the simplex is exact, because it is found by sorting (Held, Wolfe, Crowder 1974).
        """
        inside = sorted((x[i] for i in self.support), reverse=True)
        total, shift = Fraction(0), Fraction(0)
        for count, entry in enumerate(inside, 1):
            total += entry
            candidate = (total - self.value) / count
            if entry >= candidate:
                shift = candidate
        squared = sum(((e - max(e - shift, Fraction(0))) ** 2 for e in inside), Fraction(0))
        support = set(self.support)
        return squared + sum((x[i] ** 2 for i in range(self.size) if i not in support), Fraction(0))


def minimisers(kind: Kind, parameter: Fraction, row: Vector, s: Fraction, size: int) -> Minimisers:
    """Returns the exact minimisers for a first row of positive numbers and :math:`y=se_1`, :math:`s\\ge0`.

    A dual point proves that they minimise. With :math:`a=\\max_ia_i` it is :math:`q=-(\\lambda/a)e_1` for (P3), where
    :math:`\\lambda<a` makes its norm less than 1; :math:`|A^Tq|_i=\\lambda a_i/a\\le\\lambda`, with a strict inequality
    off the support, and 0 for the columns of the lower block. Likewise :math:`q\\propto e_1` for (P2), (P1).

    Args:
        kind: ``P1``, ``P2`` or ``P3``.
        parameter: :math:`\\lambda`, for (P1) :math:`\\varepsilon`.
        row: The :math:`a_i`.
        s: The first entry of y.
        size: N.
    """
    a = max(row)
    if min(row) <= 0 or s < 0 or (kind == "P3" and parameter >= a):
        got = f"entries from {min(row)} to {a}, s = {s}, parameter {parameter}"
        raise BadProblem(f"the closed form needs a positive row, s >= 0 and for P3 lambda < {a}; got {got}")
    f = {"P1": s - parameter, "P2": s - parameter / (2 * a), "P3": s}[kind]
    return Minimisers(max(f, Fraction(0)) / a, tuple(i for i, entry in enumerate(row) if entry == a), size)


@dataclass(frozen=True)
class Problem:
    """A class of problems for K digits: one of (P1), (P2), (P3), sizes, and the number of measurements.

    In the first row of the matrix :math:`N_1` entries compete. They are equal, :math:`10^K/2` in the strong family
    (scale K) and :math:`10^{K-1}/2` in the weak family (scale K-1), for (P1) times :math:`1-\\varepsilon`, except that
    one of them is larger by a bump. The strong family also contains the tie, which has no bump.

    Attributes:
        kind: ``P1``, ``P2`` or ``P3``.
        digits: K, 1 or more. The regimes of K-1 and K-2 digits need K > 2.
        parameter: :math:`\\lambda\\in(0,1]`, for (P1) :math:`\\varepsilon\\in(0,1/2]`.
        columns: :math:`N_1=N-m+1\\ge2`, the columns that compete.
        tail: :math:`N_2=m-1\\ge0`, the size of the diagonal block below the first row.
        samples: R, the number of measurement vectors, :math:`y_k=(1+k/4R)e_1`.

    >>> p = Problem("P3", 3)
    >>> p.shape, decimal(p.base(3)), p.tied().minimisers().support
    ((3, 4), '5.000000e+02', (0, 1))
    """

    kind: Kind = "P3"
    digits: int = 3
    parameter: Fraction = Fraction(1, 2)
    columns: int = 2
    tail: int = 2
    samples: int = 1

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise BadProblem(f"a problem P1, P2 or P3 is needed; got {self.kind!r}")
        for name, least in (("digits", 1), ("columns", 2), ("tail", 0), ("samples", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                hint = " (N > m: with one column nothing competes)" if name == "columns" else ""
                raise BadProblem(f"{name} must be a whole number of at least {least}{hint}; got {value!r}")
        if self.digits > MOST_DIGITS:
            raise BadProblem(f"at most {MOST_DIGITS} digits; got {self.digits}")
        if self.columns + self.tail > MOST_COLUMNS or self.samples > MOST_SAMPLES:
            raise BadProblem(f"at most {MOST_COLUMNS} columns in all and {MOST_SAMPLES} samples; got {self}")
        most = Fraction(1, 2) if self.kind == "P1" else Fraction(1)
        if isinstance(self.parameter, float) or not 0 < Fraction(self.parameter) <= most:
            name = "epsilon" if self.kind == "P1" else "lambda"
            raise BadProblem(f"{name} must be a rational number above 0 and at most {most}; got {self.parameter!r}")
        object.__setattr__(self, "parameter", Fraction(self.parameter))
        if self.parameter.denominator.bit_length() > MOST_BITS:
            raise BadProblem(f"lambda or epsilon with a denominator of at most {MOST_BITS} bits is needed")

    @property
    def shape(self) -> tuple[int, int]:
        """The shape (m, N) of the matrix."""
        return self.tail + 1, self.tail + self.columns

    def base(self, scale: int) -> Fraction:
        """Returns a, the common entry of all competing columns without a bump.

        It is :math:`10^{scale}/2`, for (P1) times :math:`1-\\varepsilon`.
        """
        return (1 - self.parameter if self.kind == "P1" else Fraction(1)) * Fraction(10**scale, 2)

    def scales(self) -> Vector:
        """Returns the factors :math:`s_k` of the measurements :math:`y_k=s_ke_1`."""
        return tuple(1 + Fraction(k, 4 * self.samples) for k in range(self.samples))

    def tied(self) -> Instance:
        """Returns the instance of the strong family without a bump.

        Reads that are too inaccurate to show a bump agree with this instance.
        """
        return Instance(self, self.digits, None, Fraction(0))

    def strong(self, column: int, bump: Fraction) -> Instance:
        """Returns a member of the strong family: scale K, and a bump on one column (without one see :meth:`tied`)."""
        return Instance(self, self.digits, column, bump)

    def weak(self, column: int, bump: Fraction) -> Instance:
        """Returns a member of the weak family: scale K-1, and a bump on one column that may be small but never zero."""
        if self.digits < 2:
            raise BadProblem(f"the weak family is of scale K - 1 and needs K of at least 2; got {self.digits}")
        return Instance(self, self.digits - 1, column, bump)

    def three_regimes(self) -> None:
        """Raises :class:`BadProblem` for K at most 2, where K-2 is not positive."""
        if self.digits <= 2:
            raise BadProblem(f"the three regimes (K, K-1, K-2 digits) need K > 2; got K = {self.digits}")

    def breakdown_squared(self, scale: int) -> Fraction:
        """Returns the squared radius of the smallest ball that contains the minimisers of all instances with a bump
        on one column, in the limit of a vanishing bump.

        It is :math:`v^2(N_1-1)/N_1` with v the entry of the minimiser: no single answer is closer to all of them, and
        their centre is exactly that close.
        """
        v = minimisers(self.kind, self.parameter, (self.base(scale),), self.scales()[-1], 1).value
        return v * v * Fraction(self.columns - 1, self.columns)


@dataclass(frozen=True)
class Instance:
    """One problem of a class.

    Attributes:
        problem: The class of problems.
        scale: K for the strong family, K-1 for the weak one.
        column: The column that has the bump; None for the tie.
        bump: The amount by which the entry of this column in the first row is larger than the others.
    """

    problem: Problem
    scale: int
    column: int | None
    bump: Fraction

    def __post_init__(self) -> None:
        known = self.problem
        if self.scale not in (known.digits, known.digits - 1) or self.scale < 1:
            raise BadProblem(f"a scale of K or K - 1 = {known.digits - 1}, at least 1; got {self.scale}")
        if self.column is None:
            if self.bump != 0 or self.scale != known.digits:
                raise BadProblem("the tie has no bump, and is of scale K: the weak family has no tie")
        elif not 0 <= self.column < known.columns or not 0 < self.bump <= 1:
            raise BadProblem(f"a bump above 0 and at most 1 on a column below {known.columns}; got {self}")

    @property
    def row(self) -> Vector:
        """The competing entries of the first row."""
        a = self.problem.base(self.scale)
        return tuple(a + (self.bump if i == self.column else 0) for i in range(self.problem.columns))

    @property
    def tail_squared(self) -> Fraction:
        """The number :math:`\\|a\\|_2^2`: the diagonal of AA*, and the squared diagonal of the lower block."""
        return sum((a * a for a in self.row), Fraction(0))

    def minimisers(self, k: int = 0) -> Minimisers:
        """Returns the exact minimisers for :math:`y_k`."""
        known = self.problem
        return minimisers(known.kind, known.parameter, self.row, known.scales()[k], known.shape[1])
