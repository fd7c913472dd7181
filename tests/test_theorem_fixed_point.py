"""theorem.fixed_point: integers and rational numbers against the definitions of what they compute."""

from __future__ import annotations

import hashlib
from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, strategies as st

from firenet.theorem.fixed_point import (
    DyadicArray,
    at_scale,
    common_scale,
    exact_entries,
    nearest,
    positive_definite,
    root_above,
)
from laws import assert_refuses

whole = st.integers(-(10**40), 10**40)


@given(whole, st.integers(1, 10**30))
def test_nearest(numerator: int, denominator: int):
    error = nearest(numerator, denominator) - Fraction(numerator, denominator)
    assert -Fraction(1, 2) < error <= Fraction(1, 2)


@given(st.fractions(min_value=0, max_value=10**30))
def test_root_above(x: Fraction):
    root = root_above(x)
    assert root > 0
    assert max(root - Fraction(1, 2**32), Fraction(0)) ** 2 <= x <= root**2


@given(st.lists(st.tuples(whole, st.integers(0, 200)), min_size=1, max_size=5))
def test_a_common_scale(pairs: list[tuple[int, int]]):
    numbers = [Fraction(k, 2**bits) for k, bits in pairs]
    scale = common_scale([numbers])
    (integers,) = at_scale([numbers], scale)
    assert [Fraction(k, 2**scale) for k in integers] == numbers
    assert scale == 0 or any(k % 2 for k in integers)
    assert_refuses(lambda: common_scale([[*numbers, Fraction(1, 6)]]), "denominator")


def squares_of(n: int) -> st.SearchStrategy[list[list[int]]]:
    row = st.lists(st.integers(-9, 9), min_size=n, max_size=n)
    return st.lists(row, min_size=n, max_size=n)


@given(st.integers(1, 4).flatmap(squares_of))
def test_positive_definite(rows: list[list[int]]):
    """Against Sylvester's criterion for all principal minors of the Gram matrix minus a multiple of the identity, each
    expanded by its first row."""
    n = len(rows)
    gram = [[sum(a * b for a, b in zip(r, s, strict=True)) for s in rows] for r in rows]
    for shift in (0, 1, 20):
        shifted = [[gram[i][j] - shift * (i == j) for j in range(n)] for i in range(n)]
        every = [minor(shifted, list(some)) > 0 for k in range(1, n + 1) for some in combinations(range(n), k)]
        assert positive_definite(shifted) == all(every)


def minor(matrix: list[list[int]], some: list[int]) -> int:
    return determinant([[matrix[i][j] for j in some] for i in some])


def determinant(rows: list[list[int]]) -> int:
    if not rows:
        return 1
    return sum(
        (-1) ** j * entry * determinant([row[:j] + row[j + 1 :] for row in rows[1:]]) for j, entry in enumerate(rows[0])
    )


def test_a_dyadic_array():
    array = DyadicArray(((3, -1), (0, 1)), 2, (2,))
    assert array.fractions == ((Fraction(3, 4), Fraction(-1, 4)), (Fraction(0), Fraction(1, 4)))
    assert array.tensor(exact=True).tolist() == [0.75, -0.25 + 0.25j]
    assert array.digest == hashlib.sha256(b"2 (2,) 3,-1;0,1").hexdigest()
    assert DyadicArray(((5,),), 1, (1, 1)).tensor().tolist() == [[2.5]]


@pytest.mark.parametrize("array", [np.array([[1.5, 2], [3, 4]]), [[1.5, 2], (3, Fraction(4))]])
def test_exact_entries(array: object):
    assert exact_entries(array, "numbers") == ([[Fraction(3, 2), 2, 3, 4]], (2, 2))
    for bad in ([[1, 2], [3]], [[1, 2], 3], [[1, 2], [3], [4, 5, 6]], ["1"], [None], []):
        assert_refuses(lambda bad=bad: exact_entries(bad, "numbers"), "numbers")
