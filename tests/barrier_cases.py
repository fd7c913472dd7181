"""The problems on which the barriers are tried."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import strategies as st

from firenet.barriers import Problem

HALF = Fraction(1, 2)
PROBLEMS = {
    "P1": Problem("P1", 3, Fraction(1, 3)),
    "P1, largest epsilon, R = 3": Problem("P1", 4, HALF, 3, 0, 3),
    "P2": Problem("P2", 3, Fraction(1)),
    "P2, small lambda": Problem("P2", 3, Fraction(1, 10**9), 2, 5),
    "P3": Problem("P3", 3, HALF),
    "P3, four columns, no tail": Problem("P3", 5, Fraction(1), 4, 0),
    "P3, 12 digits": Problem("P3", 12, Fraction(1, 7), 2, 1, 2),
}
problems = pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
kinds = pytest.mark.parametrize("kind", ["P1", "P2", "P3"])


fractions = st.fractions(min_value=-3, max_value=3, max_denominator=50)
