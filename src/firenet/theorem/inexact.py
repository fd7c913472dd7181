"""Networks of an approximate matrix: rational approximations with a proved distance, and what they cost.

A matrix of real numbers is known only through approximations. Lemma C (docs/network.md) says when the null space
property of A carries over to an approximation :math:`A_l`, with other constants; the network is then built from
:math:`A_l`.
"""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import count
from typing import Any

from firenet.errors import BadInput
from firenet.theorem.fixed_point import DyadicArray, exact_entries, nearest

Number = float | Fraction


def approximate(A: Any, bits: int) -> DyadicArray:
    """Computes a matrix of dyadic numbers :math:`A_l` with :math:`\\|A_l-A\\|_2\\le2^{-l}`, proved.

    All entries are rounded to nearest multiples of :math:`2^{-(l+j)}`. Each real and imaginary part is then off by at
    most :math:`2^{-(l+j+1)}`, and the Frobenius norm of the difference is at most :math:`2^{-l}` for the least
    :math:`j\\ge0` for which the number of parts is at most :math:`4^{j+1}`.

    Args:
        A: Matrix of shape (m, N): an array of floating-point numbers, each taken as the number that it is, or rows of
            numbers or fractions.
        bits: l, zero or more.

    Raises:
        BadInput: For anything else.
    """
    if bits < 0:
        raise BadInput("bits of zero or more", f"{bits}", "The distance is at most 2**-bits")
    planes, shape = exact_entries(A, "a matrix")
    if len(shape) != 2:
        raise BadInput("A matrix", f"shape {shape}", "Reshape it to (m, N)")
    parts = sum(map(len, planes))
    unit = bits + next(j for j in count() if parts <= 4 ** (j + 1))
    rounded = tuple(tuple(nearest(x.numerator << unit, x.denominator) for x in plane) for plane in planes)
    return DyadicArray(rounded, unit, shape)


def inexact_constants(rho: float, gamma: float, xi: float, min_weight: float, error: Number) -> tuple[float, float]:
    """Computes the constants of the weighted robust null space property of an approximate matrix (Lemma C).

    If A has the property with :math:`\\rho` and :math:`\\gamma`, and :math:`\\|A_l-A\\|\\le\\eta` with

    .. math::
        \\gamma\\eta\\le\\tfrac12,\\qquad
        \\gamma\\eta\\Big(\\frac{1+\\rho}2+\\frac{\\sqrt\\xi}{\\min_kw_{(k)}}\\Big)\\le\\frac{1-\\rho}2,

    then :math:`A_l` has it with :math:`\\frac{1+\\rho}2` and :math:`2\\gamma`. Both conditions are decided in rational
    numbers, for the numbers that the arguments are.

    Args:
        rho: :math:`0<\\rho<1`, of A.
        gamma: :math:`\\gamma>0`, of A.
        xi: :math:`\\xi=\\sum_kw_{(k)}^2s_k`.
        min_weight: The smallest weight.
        error: :math:`\\eta\\ge0`, for example ``Fraction(1, 2**l)``.

    Raises:
        BadInput: If an argument is out of range or a condition fails; the error then names the condition, and the least
            l for which :math:`\\eta=2^{-l}` meets both.
    """
    if not (0 < rho < 1 and all(0 < x < math.inf for x in (gamma, xi, min_weight)) and 0 <= error < math.inf):
        got = f"rho={rho}, gamma={gamma}, xi={xi}, min_weight={min_weight}, error={error}"
        raise BadInput("0 < rho < 1, gamma, xi and min_weight above 0, error of 0 or more", got, "Check the constants")
    failed = _failed(rho, gamma, xi, min_weight, error)
    if failed is not None:
        enough = next(k for k in count() if _failed(rho, gamma, xi, min_weight, Fraction(1, 2**k)) is None)
        do = f"Approximate A more closely: an error of 2**-{enough} is enough"
        raise BadInput(failed, f"error = {float(error):.4g}, gamma * error = {float(gamma * error):.4g}", do)
    return (1 + rho) / 2, 2 * gamma


def _failed(rho: float, gamma: float, xi: float, min_weight: float, error: Number) -> str | None:
    """Returns the condition of Lemma C that fails, None if both hold."""
    r, product = Fraction(rho), Fraction(gamma) * Fraction(error)
    if product > Fraction(1, 2):
        return "gamma * error <= 1/2"
    # The second condition, solved for sqrt(xi) / min_weight, which is compared by its square.
    if product:
        most = (1 - r) / (2 * product) - (1 + r) / 2
        if most < 0 or Fraction(xi) > (most * Fraction(min_weight)) ** 2:
            return "gamma * error * ((1 + rho)/2 + sqrt(xi)/min_weight) <= (1 - rho)/2"
    return None
