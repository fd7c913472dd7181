"""constants: the formulas of the theory, written a second time from the paper's SI Appendix as theory.md quotes it."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

from firenet.guarantees.constants import Constants
from firenet.sparsity import SparsityLevels
from laws import assert_refuses

HAAR8 = SparsityLevels((2,) * 8, (1,) * 8)  # eight levels, so kappa = 8
CODE = SparsityLevels((4, 12, 48, 192, 768, 3072), (4, 12, 48, 50, 100, 100))  # the sparsities of the paper's code

LEVELS = st.lists(st.tuples(st.integers(1, 30), st.integers(0, 30)), min_size=1, max_size=8).map(
    lambda pairs: SparsityLevels(tuple(s + more for s, more in pairs), tuple(s for s, _ in pairs))
)


@st.composite
def constants(draw: st.DrawFn, **fixed: Any) -> Constants:
    levels = draw(LEVELS)
    weights = draw(st.none() | st.lists(st.floats(0.1, 10), min_size=len(levels.sizes), max_size=len(levels.sizes)))
    arguments: dict[str, Any] = {
        "rho": draw(st.floats(0.01, 0.99)),
        "gamma": draw(st.floats(0.01, 100)),
        "exact": draw(st.booleans()),
        "weights": weights,
    }
    return Constants(levels, **{**arguments, **fixed})


# --- the formulas of the paper and of theory.md, a second time


def paper_constants(rho: float, gamma: float, kappa: float) -> tuple[float, float]:
    """C1 and C2 of the SI Appendix (theory.md 3.1)."""
    root = kappa ** (1 / 4)
    c1 = ((1 + rho) / 2 + (3 + rho) * root / 4) * (3 + rho) / (1 - rho)
    c2 = 2 * ((3 + rho) / (1 - rho) + (7 + rho) / (1 - rho) * root / 2) * gamma
    return c1, c2


def base_constants(rho: float, gamma: float, kappa: float) -> tuple[float, float]:
    """The smaller ones for an exact A (theory.md 3.3, the corollary)."""
    root = kappa ** (1 / 4)
    c1 = (rho + (1 + rho) * root / 2) * (1 + rho) / (1 - rho)
    c2 = ((1 + rho) / (1 - rho) + (3 + rho) / (1 - rho) * root / 2) * gamma
    return c1, c2


def xi_zeta(g: Constants) -> tuple[float, float]:
    w = g.levels.weights() if g.weights is None else np.array(g.weights)
    terms = [wk**2 * sk for wk, sk in zip(w, g.levels.sparsities, strict=True)]
    return sum(terms), min(terms)


# --- constants


def test_numbers_of_theorem_4() -> None:
    paper, exact = Constants(HAAR8, exact=False), Constants(HAAR8)
    assert (round(paper.C1, 1), round(paper.C2, 1)) == (15.6, 55.5)
    assert (round(exact.C1, 1), round(exact.C2, 1)) == (5.3, 12.6)
    root = 8**0.25
    assert pytest.approx(7 * (3 / 4 + 7 / 8 * root), rel=1e-13) == paper.C1
    assert pytest.approx(2 * math.sqrt(2) * (7 + 15 / 2 * root), rel=1e-13) == paper.C2


def test_numbers_of_the_published_code() -> None:
    g = Constants(CODE)
    assert (g.rho, g.gamma) == (0.5, math.sqrt(2))
    assert g.xi == pytest.approx(6 * 314)
    assert g.kappa == pytest.approx(6)
    assert round(g.C2, 1) == 12.0
    assert 65 < 2 * math.e * g.C2 < 66  # "p about 65"
    assert g.lam == pytest.approx(0.01, rel=0.05)
    assert round(g.at(2.5e-4)[1], -1) == 460  # what the coded lambda makes of C2


@given(constants())
def test_constants_are_those_of_the_theory(g: Constants) -> None:
    xi, zeta = xi_zeta(g)
    assert g.xi == pytest.approx(xi, rel=1e-12)
    assert g.zeta == pytest.approx(zeta, rel=1e-12)
    assert g.kappa == pytest.approx(xi / zeta, rel=1e-12)
    formula = base_constants if g.exact else paper_constants
    assert pytest.approx(formula(g.rho, g.gamma, xi / zeta), rel=1e-12) == (g.C1, g.C2)
    assert g.lam == pytest.approx(g.C1 / (g.C2 * math.sqrt(xi)), rel=1e-12)


@given(constants(exact=False))
def test_the_papers_constants_are_those_of_an_approximate_matrix(g: Constants) -> None:
    exact = dataclasses.replace(g, rho=(1 + g.rho) / 2, gamma=2 * g.gamma, exact=True)
    assert (g.C1, g.C2) == (exact.C1, exact.C2)
    assert g.at(g.lam / 2) == exact.at(g.lam / 2)
    worse = dataclasses.replace(g, exact=True)
    assert g.C1 > worse.C1
    assert g.C2 > worse.C2


@given(constants(weights=None))
def test_recommended_weights_make_kappa_the_number_of_levels(g: Constants) -> None:
    s = g.levels.total
    assert g.xi == pytest.approx(len(g.levels.sizes) * s, rel=1e-12)
    assert g.zeta == pytest.approx(s, rel=1e-12)
    assert g.kappa == pytest.approx(len(g.levels.sizes), rel=1e-12)


@given(constants(), st.floats(0.1, 10))
def test_a_unit_of_the_weights_changes_lambda_only(g: Constants, unit: float) -> None:
    w = g.levels.weights() if g.weights is None else g.weights
    other = dataclasses.replace(g, weights=[unit * v for v in w])
    assert pytest.approx((g.C1, g.C2), rel=1e-12) == (other.C1, other.C2)
    assert other.lam == pytest.approx(g.lam / unit, rel=1e-12)


@given(constants(), st.floats(1e-4, 0.9999))
def test_constants_for_another_lambda(g: Constants, part: float) -> None:
    """Lemma D: below the theorem's lambda, and between it and 1/(gamma sqrt xi)."""
    assert g.at() == (g.C1, g.C2)
    root = math.sqrt(g.xi)
    gamma = g.gamma if g.exact else 2 * g.gamma
    c1, c2 = g.at(part * g.lam)
    assert c1 == g.C1
    assert c2 == pytest.approx(g.C1 / (part * g.lam * root), rel=1e-12)
    assert c2 >= g.C2 * (1 - 1e-12)
    most = 1 / (gamma * root)
    assert g.lam < most
    lam = g.lam + part * (most - g.lam)
    if lam > g.lam:
        c1, c2 = g.at(lam)
        expected = (g.C2 - gamma * g.C1) / (1 - gamma * lam * root)
        assert c2 == pytest.approx(expected, rel=1e-9)
        assert c1 == pytest.approx(lam * root * expected, rel=1e-9)
        assert c2 >= g.C2 * (1 - 1e-9)
    assert g.at(g.lam) == pytest.approx((g.C1, g.C2), rel=1e-9)
    for outside in (most * (1 + 1e-9), 2 * most, 0.0, -g.lam, math.nan, math.inf):
        assert_refuses(lambda v=outside: g.at(v), str(outside), "lambda")


# --- refusals


@pytest.mark.parametrize(
    "arguments",
    [
        {"rho": 0.0},
        {"rho": 1.0},
        {"rho": -0.5},
        {"rho": math.nan},
        {"gamma": 0.0},
        {"gamma": -1.0},
        {"gamma": math.inf},
        {"gamma": math.nan},
        {"weights": []},
        {"weights": [1.0]},
        {"weights": [1.0, 0.0]},
        {"weights": [1.0, -1.0]},
        {"weights": [1.0, math.nan]},
        {"weights": [1.0, math.inf]},
        {"weights": [1.0, 1.0, 1.0]},
    ],
)
def test_refuses_constants(arguments: dict[str, Any]) -> None:
    (name,) = arguments
    assert_refuses(lambda: Constants(SparsityLevels((2, 4), (1, 1)), **arguments), name.removesuffix("s"))


def test_the_property_in_words() -> None:
    levels = SparsityLevels((2, 4), (1, 1))
    assert Constants(levels).assumption.startswith("the sensing matrix has the weighted robust null space property")
    assert "is verified to have" in Constants(levels, source="verified").assumption
    assert "approximates" in Constants(levels, exact=False).assumption
