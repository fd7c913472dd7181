"""Roots of unity from integer arithmetic alone, each part within (1 + 2^-50) / 2 units of its last place."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

# Numbers are integers in units of 2^-_BITS. Every division truncates by less than one unit, and fewer than 200 of them
# contribute to a number, so that it is off by less than 2^-140.
_BITS = 160


def _arctan_inverse(n: int) -> int:
    """Returns arctan(1/n) in units of 2^-_BITS, by its series."""
    term, total, k = (1 << _BITS) // n, 0, 0
    while term:
        total += (-1) ** k * (term // (2 * k + 1))
        term //= n * n
        k += 1
    return total


@lru_cache(maxsize=1)
def _pi() -> int:
    """Returns pi in units of 2^-_BITS, by Machin's formula."""
    return 16 * _arctan_inverse(5) - 4 * _arctan_inverse(239)


def _cos_sin(angle: int) -> tuple[int, int]:
    """Returns cosine and sine of an angle between 0 and pi/4, by their series."""
    one = 1 << _BITS
    parts, term, k = [0, 0], one, 0
    while term:
        parts[k % 2] += term if k % 4 < 2 else -term
        k += 1
        term = term * angle // (k << _BITS)
    return parts[0], parts[1]


@lru_cache(maxsize=64)
def roots_of_unity(n: int) -> NDArray[np.complex128]:
    """Returns :math:`e^{-2\\pi ik/n}` for k = 0, ..., n - 1, each with an error of at most :math:`1.01\\cdot2^{-53}`.

    Real and imaginary part are fractions with the denominator 2^160, off by less than 2^-140 and rounded to the nearest
    float. Multiples of a quarter turn are exact.
    """
    one, found = 1 << _BITS, np.empty(n, np.complex128)
    known: dict[tuple[int, int], tuple[float, float]] = {}
    for k in range(n):
        # The angle is (quarter + eighth / n) of a right angle, in the first half of which the series are summed.
        quarter, rest = divmod(4 * k, n)
        mirrored = 2 * rest > n
        rest = n - rest if mirrored else rest
        if (rest, n) not in known:
            cos, sin = _cos_sin(_pi() * rest // (2 * n)) if rest else (one, 0)
            known[rest, n] = cos / one, sin / one
        cos, sin = known[rest, n]
        if mirrored:
            cos, sin = sin, cos
        re, im = ((cos, sin), (-sin, cos), (-cos, -sin), (sin, -cos))[quarter]
        found[k] = complex(re, -im)
    found.flags.writeable = False
    return found
