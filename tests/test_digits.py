"""How many digits the data determine: never contradicted by an exact solution, and exact for the hard family."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from itertools import product
from typing import Any

import cvxpy as cp
import numpy as np
import pytest

import digits_cases
from exact_solutions import on_support
from firenet import BadInput
from firenet.barriers.instances import Problem, root
from firenet.digits import determine
from firenet.digits.dyadic import Dyadic, root_above, root_below
from firenet.digits.enclosure import Enclosure, enclose, inverse_bound
from firenet.digits.interior import Cones, minimise
from firenet.digits.near import level
from firenet.digits.question import Kind, Question
from firenet.digits.rivals import spanning
from firenet.digits.stationary import Stationary, _derivative, stationary
from firenet.digits.support import approximate, guess

KINDS: tuple[Kind, ...] = ("P1", "P2", "P3")
HALF = Fraction(1, 2)
PARTS = 4

# --- against exact solutions ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", range(PARTS))
def test_no_exact_solution_contradicts_an_answer(part: int) -> None:
    tally: Counter[str] = Counter()
    false = [(k, c) for k in range(part, 60, PARTS) for c in digits_cases.contradictions(k, 1, tally, 2, digits=60)]
    assert not false
    assert tally["solved exactly"] > tally["not solved exactly"]
    assert tally["witnesses checked"] > 3


def drawn_question(kind: Kind, imaginary: bool) -> Question:
    rng = np.random.default_rng(3)

    def draw(*shape: int) -> Any:
        return rng.standard_normal(shape) + (1j * rng.standard_normal(shape) if imaginary else 0)

    A, y = draw(4, 6), draw(4)
    return Question.of(A, y, 0.3 * np.linalg.norm(y) if kind == "P1" else 0.2, kind=kind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("imaginary", [False, True])
def test_the_derivative_of_the_conditions_is_that_of_finite_differences(kind: Kind, imaginary: bool) -> None:
    question, columns = drawn_question(kind, imaginary), [0, 2, 5]
    A, sizes = question.matrix[:, question.spread(columns)], question.sizes[columns]
    state = np.random.default_rng(4).standard_normal(A.shape[1] + (kind == "P1")) + 0.1

    def conditions(at: Any) -> Any:
        return _derivative(question, A, question.data, sizes, at)[0]

    step = 1e-6
    found = _derivative(question, A, question.data, sizes, state)[1]
    for k, e in enumerate(np.eye(len(state))):
        wanted = (conditions(state + step * e) - conditions(state - step * e)) / (2 * step)
        assert np.allclose(found[:, k], wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("imaginary", [False, True])
def test_the_first_approximation_is_near_the_optimum(kind: Kind, imaginary: bool) -> None:
    """The dual vector is feasible and its value is the minimum, by Clarabel; the point is near it."""
    question = drawn_question(kind, imaginary)
    x, q = approximate(question)
    A, y, sizes, epsilon = question.matrix, question.data, question.sizes, float(question.epsilon)
    groups = (question.group, len(sizes))
    assert (np.linalg.norm((A.T @ q).reshape(groups), axis=0) <= sizes).all()
    size = float(np.linalg.norm(q))
    assert size <= 1 or kind != "P3"
    value = -float(y @ q) - {"P1": epsilon * size, "P2": size**2 / 4, "P3": 0.0}[kind]
    v = cp.Variable(A.shape[1])
    penalty, rest = sizes @ cp.norm(cp.reshape(v, groups, order="C"), axis=0), A @ v - y
    fidelity = {"P1": 0, "P2": cp.sum_squares(rest), "P3": cp.norm(rest)}[kind]
    problem = cp.Problem(cp.Minimize(penalty + fidelity), [cp.norm(rest) <= epsilon] if kind == "P1" else [])
    minimum = problem.solve(solver=cp.CLARABEL)
    assert value == pytest.approx(minimum, rel=1e-6)
    rho = float(np.linalg.norm(A @ x - y))
    objective = float(sizes @ np.linalg.norm(x.reshape(groups), axis=0)) + {"P1": 0, "P2": rho**2, "P3": rho}[kind]
    assert objective == pytest.approx(minimum, rel=0.05)


@pytest.mark.parametrize("kind", KINDS)
def test_the_set_that_contains_all_minimisers(kind: Kind) -> None:
    """In closed form: A = I, x = (3, 4), y = 0, so the residual is 5 and the penalty of x is 7 times its price."""
    alpha, beta, price = Fraction(1, 8), Fraction(1, 16), Fraction(1, 4)
    exact = Question.of(np.eye(2), np.zeros(2), 1, kind=kind)
    known = {"A": Dyadic.of(np.eye(2), 1), "matrix_within": alpha, "data_within": beta, "penalties": (price, price)}
    question = replace(exact, **known, epsilon=Fraction(6 if kind == "P1" else 0))
    found = level(question, Dyadic.of(np.array([3.0, 4.0]), 10))
    assert found is not None
    rho = 5 + 5 * alpha + beta
    value = 7 * price + {"P1": 0, "P2": rho**2, "P3": rho}[kind]
    moved = alpha * value / price + beta  # how far A'x' - y' of another minimiser can be from Ax' - y
    root_of = math.sqrt(float(value))
    most = {"P1": float(value), "P2": (root_of + float(moved)) ** 2, "P3": float(value + moved)}[kind]
    assert most <= float(found.most) * (1 + 1e-15)
    assert float(found.most) == pytest.approx(most, rel=1e-12)
    assert found.epsilon == (question.epsilon + moved if kind == "P1" else 0)
    if kind == "P1":  # the point must fit all data that agree: 5.6875 is the limit
        for epsilon, fits in ((Fraction(91, 16), True), (Fraction(91, 16) - Fraction(1, 1000), False)):
            tight = replace(question, epsilon=epsilon)
            assert (level(tight, Dyadic.of(np.array([3.0, 4.0]), 10)) is not None) is fits


def test_an_enclosure_that_is_too_small_is_contradicted(monkeypatch: pytest.MonkeyPatch) -> None:
    from firenet.digits import support

    honest = support.enclose

    def hasty(*given: Any) -> Enclosure | None:
        ball = honest(*given)
        if ball is None:
            return None
        return Enclosure(ball.columns, ball.x, ball.radius / 100, ball.p, ball.change, ball.size)

    monkeypatch.setattr(support, "enclose", hasty)
    false: list[str] = []
    for k in range(20):
        try:
            false += digits_cases.contradictions(k, 1, Counter(), 2, digits=60)
        except RuntimeError as error:  # the library itself notices that both bounds cannot be true
            false.append(str(error))
        if false:
            return
    pytest.fail("enclosures a hundred times too small, and nobody noticed")


@pytest.mark.parametrize("kind", ["P2", "P3"])
def test_all_small_matrices(kind: Kind) -> None:
    """Every digit wherever a support satisfies the strict conditions; never where two points are minimisers."""
    w, y = [Fraction(1)] * 2, [Fraction(1), Fraction(1, 2)]
    unique = 0
    for entries in product((-1, 0, 1), repeat=4):
        A = [[Fraction(v) for v in entries[:2]], [Fraction(v) for v in entries[2:]]]
        signs = product((-1, 0, 1), repeat=2)
        strict = [x for s in signs if (x := on_support(kind, A, y, HALF, w, list(s))) is not None]
        found = determine(entries_of(A), y, HALF, kind=kind)
        assert len(strict) <= 1
        if strict:
            unique += 1
            assert found.at_least == math.inf
            assert strict[0].floats() == pytest.approx(found.centre, abs=1e-14)
        if found.at_most < math.inf:
            assert not strict
            assert found.witness is not None
            values = [objective(kind, entries, y, x) for x in found.witness.minimisers]
            assert values[0] == pytest.approx(values[1], abs=1e-14)
    assert unique > 40


def entries_of(A: list[list[Fraction]]) -> Any:
    return np.array(A, dtype=object)


def objective(kind: Kind, entries: tuple[int, ...], y: list[Fraction], x: Any) -> float:
    r = float(np.linalg.norm(np.array(entries).reshape(2, 2) @ x - np.array(y, dtype=float)))
    return float(np.abs(x).sum()) / 2 + (r * r if kind == "P2" else r)


# --- the hard family --------------------------------------------------------------------------------------------------


def family(kind: Kind, digits: int, columns: int, tail: int, bump: Fraction) -> tuple[Any, list[Fraction]]:
    problem = Problem(kind, digits, HALF, columns, tail)
    instance = problem.strong(0, bump) if bump else problem.tied()
    A = np.full((tail + 1, tail + columns), Fraction(0), dtype=object)
    A[0, :columns] = instance.row
    for i in range(tail):
        A[1 + i, columns + i] = root(instance.tail_squared, 80)[0]
    return A, [Fraction(1), *[Fraction(0)] * tail]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("digits", "columns", "tail"), [(3, 2, 2), (4, 3, 0), (6, 2, 4)])
def test_the_hard_family_has_one_digit_less(kind: Kind, digits: int, columns: int, tail: int) -> None:
    bump = Fraction(1, 1 << 40)
    for size, bits in ((Fraction(0), 36), (bump, 30), (bump, 40)):
        A, y = family(kind, digits, columns, tail, size)
        found = determine(A, y, HALF, kind=kind, bits=bits)
        assert (found.at_least, found.at_most) == (digits - 1, digits - 1), (size, bits, found.statement)
        assert found.witness is not None
        apart = math.sqrt(2) * (1 - HALF if kind == "P1" else 1) / float(A[0, 0])
        assert found.witness.distance == pytest.approx(apart, rel=0.01)
    A, y = family(kind, digits, columns, tail, bump)
    assert determine(A, y, HALF, kind=kind, bits=40 + 4).at_least > digits  # where the bump cannot be moved
    assert determine(A, y, HALF, kind=kind).at_least == math.inf


@pytest.mark.parametrize("kind", KINDS)
def test_a_tie_in_exact_data(kind: Kind) -> None:
    found = determine(*family(kind, 3, 2, 2, Fraction(0)), HALF, kind=kind)
    assert (found.at_least, found.at_most) == (2, 2)
    assert found.witness is not None
    assert found.witness.matrices == (None, None)
    tiny = determine(*family(kind, 3, 2, 2, Fraction(1, 1 << 200)), HALF, kind=kind)
    assert tiny.at_least == math.inf


# --- what solvers get wrong -------------------------------------------------------------------------------------------


def test_a_solver_is_optimal_and_has_no_digit() -> None:
    from sklearn.linear_model import Lasso

    A, y = np.array([[1, 1 + 2.0**-40]]), np.array([1.0])
    found = determine(A, y, HALF, kind="P2")
    assert found.at_least == math.inf
    assert found.centre == pytest.approx([0, 0.75], abs=1e-12)
    x = cp.Variable(2)
    problem = cp.Problem(cp.Minimize(0.5 * cp.norm1(x) + cp.sum_squares(A @ x - y)))
    problem.solve(solver=cp.CLARABEL)
    assert problem.status == "optimal"
    assert np.linalg.norm(np.asarray(x.value) - found.centre) > 0.1
    lasso = Lasso(alpha=0.25, fit_intercept=False, tol=1e-9).fit(A, y).coef_  # alpha = lambda / 2 m
    assert np.linalg.norm(lasso - found.centre) > 0.1
    assert determine(A, y, HALF, kind="P2", bits=38).at_most == 0


# --- the parts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("square", [Fraction(2), Fraction(9, 16), Fraction(1, 3**400), Fraction(7**300), Fraction(0)])
def test_roots_enclose(square: Fraction) -> None:
    low, high = root_below(square), root_above(square)
    assert low * low <= square <= high * high
    assert high - low <= high / 2**69
    if square == Fraction(9, 16):
        assert low == high == Fraction(3, 4)


@pytest.mark.parametrize("shape", [(1, 1), (6, 3), (9, 9), (30, 20)])
def test_the_inverse_is_bounded(shape: tuple[int, int]) -> None:
    A = np.random.default_rng(0).standard_normal(shape)
    bound = inverse_bound(Dyadic.of(A, 60))
    assert bound is not None
    exact = 1 / np.linalg.svd(A, compute_uv=False).min()
    assert exact * (1 - 1e-12) <= float(bound) <= exact * (1 + 1e-6)
    assert inverse_bound(Dyadic.of(np.concatenate([A, A[:, :1]], axis=1), 60)) is None


def test_the_interior_point_method_is_as_good_as_clarabel() -> None:
    random = np.random.default_rng(1)
    G, h, c = random.standard_normal((7, 2, 4)), random.standard_normal((7, 2)), random.standard_normal(4)
    bound = np.sqrt((h**2).sum(axis=1)) + 1
    ball = Cones(np.eye(4)[None], np.zeros((1, 4)), np.zeros((1, 4)), np.full(1, 3.0))
    x, _ = minimise(c, [Cones(G, h, np.zeros((7, 4)), bound), ball], np.zeros(4), 1e-9)
    v = cp.Variable(4)
    limits = [cp.norm(G[k] @ v + h[k]) <= bound[k] for k in range(7)]
    problem = cp.Problem(cp.Minimize(c @ v), [*limits, cp.norm(v) <= 3])
    problem.solve(solver=cp.CLARABEL)
    assert float(c @ x) == pytest.approx(problem.value, abs=1e-6)
    assert ball.at(x)[2].min() > 0


def theorem(question: Question, point: Stationary) -> tuple[float, float] | None:
    """The bounds of the minimiser's and the dual vector's change by theorems 1 to 3, written again in floating point
    from docs/digits.md."""
    A, y = question.matrix[:, question.spread(point.columns)], question.data
    alpha, beta, epsilon = (float(v) for v in (question.matrix_within, question.data_within, question.epsilon))
    x, p, nu = point.x.floats(), point.p.floats(), float(point.nu)
    sizes, groups = question.sizes[list(point.columns)], x.reshape(question.group, -1)
    singular, r = np.linalg.svd(A, compute_uv=False), A @ x - y
    if alpha >= singular[-1]:
        return None
    kappa = 1 / (singular[-1] - alpha)
    rho, length, magnitudes = float(np.linalg.norm(r)), float(np.linalg.norm(x)), np.linalg.norm(groups, axis=0)
    delta = alpha * length + beta
    u = (sizes * groups / magnitudes).ravel()
    if question.kind == "P2":
        e = float(np.linalg.norm(A.T @ p + u))
        t = kappa / 2 * (alpha * float(np.linalg.norm(p)) + e) + delta
        return kappa * t, 2 * (t + delta)
    turned = float(np.linalg.norm(p - r / rho))
    e = float(np.linalg.norm(nu * A.T @ p + u) + np.linalg.norm(A) * nu * turned)
    apart = float(np.linalg.norm(y - A @ np.linalg.pinv(A) @ y))
    if question.kind == "P3":
        h = apart - delta - alpha * kappa * (rho + delta)
        b = kappa * (alpha + e) + 2 * delta / (2 * rho - delta)
        R = rho + delta
        roots = np.roots([b, 3 * b * R, 3 * b * R * R - h * h, b * R**3])
        found = sorted(v.real for v in roots if abs(v.imag) < 1e-9 and v.real > 0)
        if delta >= 2 * rho or h <= 0 or not found or found[0] + delta >= rho:
            return None
        t = found[0]
        return kappa * t, 2 * (t + delta) / (2 * rho - t - delta) + turned
    off = abs(rho - epsilon)
    long, wide = float(np.linalg.norm(y)) + off, beta + off
    z = np.linalg.pinv(A) @ y
    if long - off - wide <= epsilon or apart + alpha * np.linalg.norm(z) + wide >= epsilon:
        return None
    delta, T = alpha * length + wide, (float(sizes @ magnitudes) - e * length) / nu
    t = 0.0
    for _ in range(40):
        below = T - long * t - wide
        above = (np.linalg.norm(sizes) + e) * kappa * (epsilon * t + delta) + length * e + nu * (long * t + wide)
        if below <= 0 or above >= nu * below:
            return None
        N = float(above / below)
        a, b = epsilon * (nu - N / 2), delta * (nu + N) + kappa * epsilon * (nu * alpha + e)
        gamma = (b + math.sqrt(b * b + 4 * a * (delta * N + kappa * delta * (nu * alpha + e)))) / (2 * a)
        if gamma < t:
            return kappa * (epsilon * gamma + delta), (nu + N) * gamma + N + nu * turned
        t = 2 * gamma
    return None


@pytest.mark.parametrize("bits", [16, 120])
@pytest.mark.parametrize("imaginary", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_enclosures_are_those_of_the_theorems(kind: Kind, imaginary: bool, bits: int) -> None:
    """With 16 bits the point is no exact minimiser, and its distance from the conditions counts."""
    rng = np.random.default_rng(5)
    A = rng.standard_normal((6, 3)) + (1j * rng.standard_normal((6, 3)) if imaginary else 0)
    y = A @ np.array([1.0, -2.0, 1.5]) + 0.2 * rng.standard_normal(6)
    question = Question.of(
        A, y, np.linalg.norm(y) / 4 if kind == "P1" else 0.1, kind=kind, weights=[1, 1, Fraction(3, 2)]
    )
    first = guess(question, *approximate(question))
    start = np.array([first.values[j] for j in (0, 1, 2)]).T.ravel()
    point = stationary(question, [0, 1, 2], start, first.nu, bits)
    assert point is not None
    proved = []
    for k in range(1, 14, 2):
        for alpha, beta in ((1, 1), (0, 1), (1, 0)):
            known = {"matrix_within": Fraction(alpha, 1 << k), "data_within": Fraction(beta, 1 << k)}
            given = replace(question, **known)
            wanted, ball = theorem(given, point), enclose(given, point)
            assert (wanted is None) == (ball is None), known
            proved.append(ball is not None)
            if wanted is not None and ball is not None:
                # The bound of the inverse is 1e-6 too large at most, and near the end of (P3) a root that is steep.
                assert (float(ball.radius), float(ball.change)) == pytest.approx(
                    wanted, rel=1e-3 if kind == "P3" else 1e-5
                )
                assert float(ball.radius) >= wanted[0] * (1 - 1e-9)  # roundings of what is written here
                length = float(ball.p.norm_above()) if kind == "P2" else float(point.nu) if kind == "P1" else 1.0
                assert ball.size >= length * (1 - 1e-12)
    assert proved[-1]
    assert kind == "P2" or not proved[0]


# --- two problems far apart -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sign", [1, -1])
def test_the_farthest_problems_of_one_number(kind: Kind, sign: int) -> None:
    """A = 3/4, y = 7/8: x is (y - epsilon) / a, y / a - lambda / 2 a^2 or y / a, and moves most with both ends."""
    a, y, alpha, beta, given = 0.75, 0.875, 2.0**-6, 2.0**-5, 0.125

    def x(a: float, y: float) -> float:
        return {"P1": (y - given) / a, "P2": y / a - given / (2 * a * a), "P3": y / a}[kind]

    found = determine([[a]], [sign * y], given, kind=kind, matrix_within=alpha, data_within=beta)
    assert found.witness is not None
    ends = x(a - alpha, y + beta), x(a + alpha, y - beta)
    assert found.witness.distance == pytest.approx(ends[0] - ends[1], rel=1e-8)
    assert sorted(abs(v[0]) for v in found.witness.minimisers) == pytest.approx(sorted(ends), rel=1e-8)
    assert sorted(E[0, 0] for E in found.witness.matrices if E is not None) == pytest.approx([-alpha, alpha], rel=1e-8)
    assert sorted(e[0] for e in found.witness.data if e is not None) == pytest.approx([-beta, beta], rel=1e-8)


@pytest.mark.parametrize("imaginary", [False, True])
def test_the_farthest_measurements_are_along_the_smallest_singular_value(imaginary: bool) -> None:
    """The minimiser of (P2) with real coefficients is affine in y: it moves by twice the uncertainty over that value;
    a complex one by a little less, as the penalty bends."""
    rng = np.random.default_rng(2)
    A = rng.standard_normal((5, 3)) + (1j * rng.standard_normal((5, 3)) if imaginary else 0)
    y = A @ np.array([3.0, -2.0, 4.0])
    found = determine(A, y, 0.01, kind="P2", data_within=2.0**-12)
    assert found.witness is not None
    most = 2 * 2.0**-12 / np.linalg.svd(A, compute_uv=False)[-1]
    assert found.witness.distance == pytest.approx(most, rel=1e-2 if imaginary else 1e-8)
    assert found.witness.distance <= most
    assert found.witness.matrices == (None, None)


def test_the_ends_of_a_segment() -> None:
    """Columns 1, 1/2 and -1 at the prices 1, 1/2 and 1 cost the same for the same product: 3/4 of (P2)."""
    weights = [1, Fraction(1, 2), 1, 2]
    found = determine([[1, Fraction(1, 2), -1, 1]], [1], HALF, kind="P2", weights=weights)
    assert found.witness is not None
    assert found.witness.distance == pytest.approx(0.75 * math.sqrt(5), rel=1e-12)
    ends = {(0.75, 0.0, 0.0, 0.0), (0.0, 1.5, 0.0, 0.0), (0.0, 0.0, -0.75, 0.0)}
    shown = [tuple(float(round(v, 12)) for v in x) for x in found.witness.minimisers]
    assert set(shown) <= ends
    assert (0.0, 1.5, 0.0, 0.0) in shown


@pytest.mark.parametrize("sign", [1, -1])
def test_a_segment_ends_where_the_first_coefficient_vanishes(sign: int) -> None:
    """(P2) of A = (e1, e2, e1/2 - e2/4), y = (1, -1): x = (3/4 - t/2, t/4 - 3/4, t) up to t = 3/2."""
    A = [[1, 0, HALF], [0, 1, Fraction(-1, 4)]]
    found = determine(A, [sign, -sign], HALF, kind="P2", weights=[1, 1, Fraction(3, 4)])
    assert found.witness is not None
    ends = sorted((sign * x).tolist() for x in found.witness.minimisers)
    assert np.allclose(ends, [[0, -0.375, 1.5], [0.75, -0.75, 0]], rtol=0, atol=1e-12)
    assert found.witness.distance == pytest.approx(1.5 * math.sqrt(21 / 16), rel=1e-12)


def test_columns_that_span_all() -> None:
    rows = [[1, 2, 0, 1, 0, 0], [0, 0, 3, 1, 0, 0], [0, 0, 0, 0, 0, 5]]
    assert spanning(Question.of(rows, [1, 1, 1], 1)) == [0, 2, 5]
    near = [[1, 1, 3], [0, 2.0**-40, 1]]  # nearly a multiple is none
    assert spanning(Question.of(near, [1, 1], 1)) == [0, 1]
    assert spanning(Question.of(1j * np.array([[1, 2]]), [1], 1)) == [0, 1]  # of complex columns all are taken


def test_a_change_that_is_allowed_exactly_and_one_beyond_it() -> None:
    question = Question.of(np.eye(2), [1, 0], 1, kind="P2", data_within=Fraction(5, 8))
    beta = question.data_within
    inside = Dyadic.of(np.array([0.6 * float(beta), 0.8 * float(beta)]), 40)
    assert question.moved(None, inside).data_within == 0
    with pytest.raises(ValueError, match="beyond the uncertainty"):
        question.moved(None, Dyadic(inside.k * 2, inside.bits))
    with pytest.raises(ValueError, match="beyond the uncertainty"):
        question.moved(Dyadic.of(np.eye(2) * 1e-9, 60), None)


# --- doors ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (([[Fraction(1, 1 << 100_000)]], [0], 1), "100001 bits"),
        (([[1, 2], [3]], [1, 1], 1), "Numbers for matrix"),
        (([[1, 2]], [math.nan], 1), "Finite numbers for measurements"),
        (([[1, 2]], [1, 2], 1), "A matrix of m rows"),
        (([[1, 2]], [1], 0), "A lambda above 0"),
        (([[1, 2]], [1], "one"), "Finite numbers for lambda"),
        ((np.ones((300, 300)), np.ones(300), 1), "At most 40000 entries"),
        (([[1e300, 1]], [1e-300], 1e300), "over the largest matrix entry"),
        (([[1, 2]], [1], 1, {"weights": [1, 0]}), "2 positive weights"),
        (([[1, 2]], [1], 1, {"kind": "P4"}), "A problem P1, P2 or P3"),
        (([[1, 2]], [1], 1, {"data_within": -1}), "Uncertainties of at least 0"),
        (([[1, 0], [1, 0]], [0, 1], "1/10", {"kind": "P1"}), "of some Ax"),
        (([[1, 2], [0, 0]], [1, 1], "1/10", {"kind": "P1", "data_within": 0.1}), "of some Ax"),
    ],
)
def test_the_door_says_what_is_wrong(given: tuple[Any, ...], said: str) -> None:
    keywords = given[3] if len(given) > 3 else {}
    with pytest.raises(BadInput, match=said):
        determine(*given[:3], **keywords)


def test_units_and_scales_do_not_matter() -> None:
    random = np.random.default_rng(3)
    A, y = random.standard_normal((4, 7)), random.standard_normal(4)
    plain = determine(A, y, 0.3, bits=30)
    small = determine(A * 2.0**-200, y * 2.0**-200, 0.3 * 2.0**-200, bits=230)
    assert (plain.at_least, plain.at_most, plain.radius) == (small.at_least, small.at_most, small.radius)
    assert plain.centre.tolist() == small.centre.tolist()


def test_a_zero_row_a_zero_column_a_kink() -> None:
    assert determine([[1, 2, 0], [0, 0, 0]], [1, 1], "1/4").at_least == math.inf
    assert determine(np.eye(2), [1, 0.5], 1, kind="P2").at_least == math.inf  # |A_j^T y| is exactly lambda / 2
    assert determine(np.eye(2), [1, 0.5], 1, kind="P2", bits=20).at_least == 5
    assert determine([[1, 2]], [0], 1).at_least == math.inf
    assert determine([[1, 2]], [Fraction(1, 3)], "1/2", kind="P1").centre.tolist() == [0, 0]


def test_without_an_enclosure_the_statement_is_that_of_the_witness() -> None:
    found = determine([[2, 2]], [1], "1/2")
    assert found.at_most == 0
    nothing = replace(found, at_least=-math.inf, radius=math.inf, note="too large")
    assert nothing.statement.startswith("1 digits are not determined.")
    assert replace(nothing, at_most=math.inf, witness=None).statement == "Nothing is shown: see the note."


def test_the_record_is_plain() -> None:
    for bits in (None, 20):
        record = json.loads(json.dumps(determine([[2, 1]], [1], "1/2", bits=bits).record(), allow_nan=False))
        assert record["every_digit"] == (bits is None)
        assert record["statement"]
    assert not isinstance(Question.of([[1, 2]], [1], 1).A.k[0, 0], float)
