"""The theorem's network in exact dyadic complex numbers, with a proved distance to the network in real numbers.

The state after every layer consists of the numbers :math:`2^{-l}(k+ik')`, k and k' integers. An affine map with
rational factors is computed exactly and rounded once, the square roots of the nonlinear maps are those of integers,
:math:`\\lfloor\\sqrt k\\rfloor`. No floating-point number is involved, so the integers are the same on every machine.

**Theorem.** Let :math:`L\\ge\\|A\\|` be the norm bound of the network, p, n and :math:`c_k` as in
:mod:`firenet.theorem.maps`, :math:`\\theta=2^{-l}` and :math:`m\\theta\\le3`. For every y, the outputs of the network
in dyadic numbers and of the same network in real numbers differ by at most

.. math::
    \\theta\\Big[\\Big(\\frac{p+1}2a+\\frac{p-1}2b\\Big)\\sum_{k=1}^nc_k+\\sqrt{N/2}\\Big]

in the 2-norm, with :math:`a=(1+\\sqrt2)\\|w\\|_2+\\sqrt{N/2}` and :math:`b=2a+\\sqrt{2m}+m+2+\\sqrt{m/2}`.

*Proof.* Rounding to nearest changes a complex number by at most :math:`\\theta/\\sqrt2`, and a vector of N of them by
at most :math:`\\theta\\sqrt{N/2}`.

1. *Threshold.* In the unit :math:`\\theta`, let :math:`\\sqrt k` be the modulus of an entry,
   :math:`r=\\lfloor\\sqrt k\\rfloor` its integer part, and s' the threshold. For :math:`r\\le s'` the result is 0, and
   the exact one has modulus below 1; for :math:`r>s'` the factor is :math:`1-s'/r` instead of
   :math:`1-s'/\\sqrt k`, and the result is off by :math:`s'(\\sqrt k-r)/r<1`. The threshold does not enlarge the
   rounding of its input, so an entry of z is off by at most :math:`(1/\\sqrt2+1+1/\\sqrt2)\\theta`, Dz by
   :math:`(1+\\sqrt2)\\|w\\|\\theta` and the rounded x by :math:`a\\theta`.
2. *Gate.* The squares are rounded down, so their sum t is at most m :math:`\\theta` below :math:`\\|u\\|^2`. Since
   :math:`f(t)=\\max\\{1,t\\}^{-1/2}` has slope at most :math:`\\frac12\\max\\{1,t\\}^{-3/2}`, this changes f(t) u by at
   most :math:`\\frac12m\\theta\\sqrt{1+m\\theta}\\le m\\theta`; the integer root by at most
   :math:`\\sqrt{1+m\\theta}\\,\\theta\\le2\\theta`; the rounding by :math:`\\theta\\sqrt{m/2}`.
3. *One iteration.* Let T be the exact one. By 1, 2, and the roundings of v and u, the computed iteration is
   :math:`T(x,q)+(e,e')` with :math:`\\|e\\|\\le a\\theta` and :math:`\\|e'\\|\\le b\\theta`: projections do not enlarge
   errors, and the error of Dz reaches u times :math:`2\\sigma\\|A\\|\\le2`.
4. *All iterations.* With :math:`\\tau=\\sigma=1/L` the form
   :math:`\\|(x,q)\\|_M^2=L\\|x\\|^2-2\\mathrm{Re}\\langle Ax,q\\rangle+L\\|q\\|^2` is nonnegative, T does not enlarge
   it (it is the proximal point method for a monotone operator in this form; at :math:`L=\\|A\\|` M is only
   semidefinite, which the proof survives), and :math:`\\|(e,e')\\|_M\\le\\sqrt L(\\|e\\|+\\|e'\\|)`. A difference d of
   two states in this form becomes one of at most :math:`d/\\sqrt L` in the next x, because x after the threshold
   depends on :math:`x-\\tau A^*q` only, and :math:`\\|x-\\tau A^*q\\|^2\\le\\|(x,q)\\|_M^2/L`. So if a restart begins
   with an error :math:`\\epsilon` of x, the j-th point is off by at most :math:`\\epsilon+(j-1)(a+b)\\theta+a\\theta`,
   its share of the rounded sum included, and the average by the mean of that over j,
   :math:`\\epsilon+\\big(\\frac{p+1}2a+\\frac{p-1}2b\\big)\\theta`.
5. *All restarts.* In the unit of x the error of a restart is c times that, and the next one begins with it, exactly
   rescaled. The last map rounds once more. ∎

The only assumption of the proof is :math:`\\|A\\|\\le L`; :attr:`DyadicNetwork.norm_is_proved` says whether it is
proved. Errors add up and are never multiplied.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from functools import cached_property
from math import isqrt, lcm
from operator import mul
from typing import Any, final

import torch

from firenet.errors import BadInput
from firenet.network import Firenet
from firenet.operators.matrix import Matrix
from firenet.theorem.fixed_point import (
    DyadicArray,
    Planes,
    at_scale,
    common_scale,
    exact_entries,
    nearest,
    positive_definite,
    root_above,
)
from firenet.theorem.maps import Layer, Recipe, Row, Term, recipe_of


@final
class DyadicNetwork:
    """A network in exact dyadic numbers, the same integers on every machine.

    Matrix, weights, lambda, norm bound and the numbers of the schedule are taken as the dyadic numbers that they are;
    all else is computed from them in rational numbers.

    Args:
        net: A network that :func:`firenet.theorem.layers` accepts, of a :class:`firenet.Matrix` without transform. Its
            norm bound must be exact or proven.
        digits: k, for a distance of at most :math:`10^{-k}` to the same network in real numbers.
        matrix: The exact matrix, if its entries are not floating-point numbers; see
            :func:`firenet.theorem.approximate`. The matrix of ``net`` must then be this one, rounded to double
            precision. The norm bound of ``net`` is one for the rounded matrix; only :attr:`norm_is_proved` says whether
            it also holds for the exact one.

    Attributes:
        bits: l: the numbers are multiples of :math:`2^{-l}`. It is the least one for which the bound holds.
        bound: The proved bound of the distance, at most :math:`10^{-k}`, for every y.
        digits: k.

    Raises:
        BadInput: For other networks.
    """

    def __init__(self, net: Firenet, digits: int = 12, *, matrix: DyadicArray | None = None) -> None:
        if not isinstance(net.operator, Matrix):
            do = "Make a matrix of it, equal to it up to rounding: firenet.Matrix(operator.as_matrix())"
            raise BadInput("A network of a firenet.Matrix, whose entries are numbers", type(net.operator).__name__, do)
        norm = net.operator.norm_bound
        if norm.kind == "estimate":
            raise BadInput("A norm bound that is exact or proven", f"an estimate ({norm.why})", "Set a proven one")
        if digits < 0:
            raise BadInput("digits of zero or more", f"{digits}", "12 is usual")
        self._recipe, self.digits = recipe_of(net), digits
        unit = error_per_unit(self._recipe)
        # The least l with unit / 2^l <= 10^-digits and m / 2^l <= 3.
        needed = max(unit * 10**digits, Fraction(len(self._recipe.matrix), 3))
        self.bits = (-(-needed.numerator // needed.denominator) - 1).bit_length()
        self.bound = unit / 2**self.bits
        if matrix is not None and not torch.equal(matrix.tensor(), self._recipe.matrix):
            do = "Make the network of the rounded matrix: Firenet(firenet.Matrix(matrix.tensor()), ...)"
            raise BadInput("A network of the matrix, rounded to double precision", "a network of another matrix", do)
        entries = exact_entries(self._recipe.matrix, "a matrix")[0] if matrix is None else matrix.fractions
        self._matrix_bits = common_scale(entries)
        n = len(self._recipe.weights)
        self._rows = [
            [plane[i : i + n] for i in range(0, len(plane), n)] for plane in at_scale(entries, self._matrix_bits)
        ]
        self._columns = [[list(column) for column in zip(*rows, strict=True)] for rows in self._rows]
        self._weight_bits = common_scale([self._recipe.weights])
        (self._weights,) = at_scale([self._recipe.weights], self._weight_bits)

    @cached_property
    def norm_is_proved(self) -> bool:
        """Whether :math:`\\|A\\|<L` is proved in integers: :math:`L^2I-AA^*` (or A*A, the smaller one) is positive
        definite. False means :math:`\\|A\\|\\ge L`; the theorem still holds if they are equal. For 32 x 64
        the proof takes a second for real numbers and half a minute for complex ones; for a matrix of twice the sides it
        takes at least sixteen times as long."""
        rows = min(self._rows, self._columns, key=lambda planes: len(planes[0]))
        if len(rows) == 2:  # the real matrix of twice the size that acts on real and imaginary parts
            pairs = list(zip(*rows, strict=True))
            rows = [[*([*a, *(-t for t in b)] for a, b in pairs), *([*b, *a] for a, b in pairs)]]
        norm = self._recipe.norm
        limit, unit = norm.numerator**2 << 2 * self._matrix_bits, norm.denominator**2
        return positive_definite(
            [
                [(limit if i == j else 0) - unit * sum(map(mul, a, b)) for j, b in enumerate(rows[0])]
                for i, a in enumerate(rows[0])
            ]
        )

    def __call__(self, y: Any) -> DyadicArray:
        """Computes coefficients, see :meth:`forward`."""
        return self.forward(y)

    def forward(self, y: Any) -> DyadicArray:
        """Computes coefficients, shape (N,), from measurements, shape (m,).

        Args:
            y: An array of floating-point numbers, or a list of numbers or fractions whose denominators are powers of
                two; they are taken exactly.

        Raises:
            BadInput: For measurements of another shape, or numbers that are not dyadic.
        """
        planes, shape = exact_entries(y, "measurements")
        m = len(self._recipe.matrix)
        if shape != (m,):
            raise BadInput(f"Measurements of shape ({m},), one vector", f"shape {shape}", "Pass them one by one")
        if len(self._rows) > len(planes):
            planes.append([Fraction(0)] * m)
        scale = common_scale(planes)
        measured = (at_scale(planes, scale), Fraction(1, 2**scale))
        unit = Fraction(1, 2**self.bits)
        state = {"y": measured}
        for layer in self._recipe.layers():
            after = {part: self._rounded(row, state, layer, part, measured) for part, row in layer.map.rows.items()}
            self._apply(layer, after)
            state = {part: (vector, unit) for part, vector in after.items()}
        (found,) = (vector for vector, _ in state.values())
        return DyadicArray(tuple(map(tuple, found)), self.bits, (len(self._recipe.weights),))

    def _rounded(
        self, row: Row, state: dict[str, tuple[Planes, Fraction]], layer: Layer, part: str, y: tuple[Planes, Fraction]
    ) -> Planes:
        """Computes a part of the output of an affine map, exactly and then rounded once."""
        found = [self._term(term, *state[term.source]) for term in row.terms]
        if part == "dual" and layer.skip:
            found.append((y[0], y[1] * layer.skip))
        units = [unit * 2**self.bits for _, unit in found]
        common = lcm(*(unit.denominator for unit in units))
        factors = [unit.numerator * (common // unit.denominator) for unit in units]
        width = layer.map.outputs[part]
        # Divided by the weights: every entry has its own denominator.
        up, down = (1 << self._weight_bits, self._weights) if row.divided else (1, [1] * width)
        planes = []
        for k in range(len(y[0])):
            total = [0] * width
            for factor, (vector, _) in zip(factors, found, strict=True):
                total = [t + factor * v for t, v in zip(total, vector[k], strict=True)]
            planes.append([nearest(up * t, common * d) for t, d in zip(total, down, strict=True)])
        return planes

    def _term(self, term: Term, vector: Planes, unit: Fraction) -> tuple[Planes, Fraction]:
        """Computes a term of an affine map: integers and their unit."""
        unit *= term.factor
        if term.weighted:
            vector = [list(map(mul, self._weights, plane)) for plane in vector]
            unit /= 2**self._weight_bits
        if term.operator == "sum":
            return [[sum(plane)] for plane in vector], unit
        if term.operator != "identity":
            sign, matrix = (1, self._rows) if term.operator == "forward" else (-1, self._columns)
            vector, unit = _product(matrix, vector, sign), unit / 2**self._matrix_bits
        return vector, unit

    def _apply(self, layer: Layer, state: dict[str, Planes]) -> None:
        """Applies the nonlinear map of a layer to its part of the state."""
        if layer.nonlinearity == "threshold":
            state["x"] = threshold(state["x"], self._recipe.threshold * 2**self.bits)
        elif layer.nonlinearity == "squares":
            state["copy"] = squares(state["copy"], self.bits)
        elif layer.nonlinearity == "gate":
            state["dual"] = gated(state["dual"], state["size"][0][0], self.bits)
            state["size"] = [[0] for _ in state["size"]]


def error_per_unit(recipe: Recipe) -> Fraction:
    """Computes the bound of the theorem divided by :math:`\\theta`, rounded up."""
    m, n = recipe.matrix.shape
    p, half, root2 = recipe.inner, root_above(Fraction(n, 2)), root_above(Fraction(2))
    a = (1 + root2) * root_above(sum((w * w for w in recipe.weights), Fraction(0))) + half
    b = 2 * a + root_above(Fraction(2 * m)) + m + 2 + root_above(Fraction(m, 2))
    return (Fraction(p + 1, 2) * a + Fraction(p - 1, 2) * b) * sum(recipe.scales) + half


def _product(matrix: list[list[list[int]]], vector: Planes, sign: int) -> Planes:
    """Computes a matrix times a vector; ``sign`` is that of the matrix's imaginary part."""
    planes = [[sum(map(mul, row, plane)) for row in matrix[0]] for plane in vector]
    if len(matrix) == 1:
        return planes
    across = [[sign * sum(map(mul, row, plane)) for row in matrix[1]] for plane in vector]
    real = [a - b for a, b in zip(planes[0], across[1], strict=True)]
    return [real, [a + b for a, b in zip(planes[1], across[0], strict=True)]]


def _sizes(vector: Planes) -> Iterator[int]:
    """Yields the squared modulus of every entry."""
    return (sum(t * t for t in entry) for entry in zip(*vector, strict=True))


# The nonlinear maps, of integers in the unit 2**-bits.


def threshold(vector: Planes, limit: Fraction) -> Planes:
    """Computes the soft threshold with the integer part r of the modulus, max(0, 1 - s/r) v, rounded: each entry is off
    by at most :math:`1+1/\\sqrt2` units. The limit s is in the same unit."""
    s, d = limit.numerator, limit.denominator
    roots = list(map(isqrt, _sizes(vector)))
    return [
        [nearest(t * (r * d - s), r * d) if r * d > s else 0 for t, r in zip(plane, roots, strict=True)]
        for plane in vector
    ]


def squares(vector: Planes, bits: int) -> Planes:
    """Computes the squared modulus of each entry, rounded down: off by less than one unit."""
    found = [size >> bits for size in _sizes(vector)]
    return [found, *([0] * len(found) for _ in vector[1:])]


def gated(vector: Planes, size: int, bits: int) -> Planes:
    """Computes the vector divided by the root of ``size`` where that is above 1, rounded."""
    if size <= 1 << bits:
        return vector
    root = isqrt(size << bits)
    return [[nearest(t << bits, root) for t in plane] for plane in vector]
