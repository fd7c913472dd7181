"""theorem.dyadic: the network in integers against the loop in 80 decimal digits, its proved bounds, golden integers."""

from __future__ import annotations

import decimal
import math
from decimal import Decimal
from fractions import Fraction
from math import isqrt
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from numpy.typing import NDArray

from firenet.network import Firenet
from firenet.operators.matrix import Matrix
from firenet.operators.norm_bound import NormBound
from firenet.sensing.walsh import SubsampledWalsh
from firenet.solver.schedules import FixedSteps, PaperSchedule
from firenet.theorem.dyadic import DyadicNetwork, gated, squares, threshold
from firenet.theorem.inexact import approximate
from laws import assert_refuses

Array = NDArray[Any]
Numbers = list[tuple[Decimal, Decimal]]  # complex numbers
DIGITS = 80


def given_net(A: Any, norm: float, weights: Any = None, lam: float = 0.125, **schedule: Any) -> Firenet:
    """A network whose norm bound does not come from a floating-point routine."""
    operator = Matrix(A)
    operator.norm_bound = NormBound(norm, "proven", "by hand")
    arguments = {"outer": 3, "inner": 5, "delta": 2.0**-20, "nu": 0.375, "size": 2.0, **schedule}
    return Firenet(operator, weights=weights, lam=lam, schedule=PaperSchedule(**arguments))


def decimal_loop(net: Firenet, y: Array) -> Numbers:
    """The paper's algorithm in 80 digits, not rescaled: steps (c, 1/c)/||A|| in each restart, dual reset to zero."""
    operator, schedule = net.operator, net.schedule
    assert isinstance(operator, Matrix)
    assert isinstance(schedule, PaperSchedule)
    assert schedule.size is not None
    A = [[pair(z) for z in row] for row in operator.matrix.tolist()]
    data = [pair(z) for z in y.tolist()]
    n, L, p = len(A[0]), Decimal(operator.norm_bound.value), schedule.inner
    w = [Decimal(1)] * n if net.weights is None else list(map(Decimal, net.weights.tolist()))
    x, epsilon = [pair(0)] * n, Decimal(schedule.size)
    for _ in range(schedule.outer):
        epsilon = Decimal(schedule.nu) * (Decimal(schedule.delta) + epsilon)
        c = p * epsilon / (2 * L)
        tau, sigma, q, total = c / L, 1 / (c * L), [pair(0)] * len(A), [pair(0)] * n
        for _ in range(p):
            back = [plus(*(times(A[i][j], q[i], -1) for i in range(len(A)))) for j in range(n)]
            new = [
                soft(plus(z, scaled(-tau, b)), tau * Decimal(net.lam) * v) for z, b, v in zip(x, back, w, strict=True)
            ]
            ahead = [plus(scaled(Decimal(2), a), scaled(Decimal(-1), b)) for a, b in zip(new, x, strict=True)]
            image = [plus(*(times(a, b) for a, b in zip(row, ahead, strict=True))) for row in A]
            u = [plus(d, scaled(sigma, a), scaled(-sigma, b)) for d, a, b in zip(q, image, data, strict=True)]
            size = sum((a * a + b * b for a, b in u), Decimal(0)).sqrt()
            q, x = [scaled(1 / max(size, Decimal(1)), d) for d in u], new
            total = [plus(s, a) for s, a in zip(total, new, strict=True)]
        x = [scaled(1 / Decimal(p), s) for s in total]
    return x


def pair(z: Any) -> tuple[Decimal, Decimal]:
    return Decimal(complex(z).real), Decimal(complex(z).imag)


def plus(*terms: tuple[Decimal, Decimal]) -> tuple[Decimal, Decimal]:
    return sum((a for a, _ in terms), Decimal(0)), sum((b for _, b in terms), Decimal(0))


def scaled(factor: Decimal, z: tuple[Decimal, Decimal]) -> tuple[Decimal, Decimal]:
    return factor * z[0], factor * z[1]


def times(z: tuple[Decimal, Decimal], v: tuple[Decimal, Decimal], sign: int = 1) -> tuple[Decimal, Decimal]:
    """z v, or with sign -1 the conjugate of z times v."""
    b = sign * z[1]
    return z[0] * v[0] - b * v[1], z[0] * v[1] + b * v[0]


def soft(z: tuple[Decimal, Decimal], limit: Decimal) -> tuple[Decimal, Decimal]:
    size = (z[0] * z[0] + z[1] * z[1]).sqrt()
    return scaled(1 - limit / size, z) if size > limit else (Decimal(0), Decimal(0))


def numbers(count: int, seed: int) -> Array:
    """Some multiples of 1/64 between -1 and 1, the same with every version of every library."""
    k = np.arange(1, count + 1)
    return ((37 * k**3 + (11 + seed) * k**2 + 5 * seed) % 127 - 63) / 64


def matrix(m: int, n: int, complex_too: bool = False) -> tuple[Array, Array]:
    """A matrix and measurements of norm at most 2."""
    A, y = numbers(m * n, 1).reshape(m, n), numbers(m, 2) / 2
    if complex_too:
        A, y = A + 1j * numbers(m * n, 3).reshape(m, n), y + 1j * numbers(m, 4) / 2
    return A, y


# The norm bounds are Frobenius norms, rounded up to integers.
WEIGHTS = [0.25, 3.0, 1.0, 7.125, 0.5, 2.0]
CASES: dict[str, tuple[Array, Array, dict[str, Any]]] = {
    "real": (*matrix(4, 6), {}),
    "complex": (*matrix(4, 6, True), {}),
    "weighted": (*matrix(4, 6, True), {"weights": WEIGHTS}),
    "real data": (matrix(4, 6, True)[0], matrix(4, 6)[1], {}),
    "complex data": (matrix(4, 6)[0], matrix(4, 6, True)[1], {}),
    "many restarts": (*matrix(4, 6), {"outer": 12, "inner": 2}),
    "a restart": (*matrix(4, 6), {"outer": 1, "inner": 25}),
    "a large bound": (*matrix(4, 6), {"size": 64.0, "outer": 8}),
    "a small lambda": (*matrix(4, 6), {"lam": 2.0**-12}),
}
cases = pytest.mark.parametrize(("A", "y", "arguments"), CASES.values(), ids=CASES)


def bounded(A: Array) -> float:
    return float(math.ceil(np.linalg.norm(A)))


@cases
def test_within_the_proved_distance_of_the_network_in_real_numbers(A: Array, y: Array, arguments: dict[str, Any]):
    net = given_net(A, bounded(A), **arguments)
    with decimal.localcontext() as context:
        context.prec = DIGITS  # the errors of the reference are some 1e-75
        expected = decimal_loop(net, y)
        assert max(abs(a) + abs(b) for a, b in expected) > Decimal("1e-3")
        for digits in (3, 12, 40):
            network = DyadicNetwork(net, digits)
            found = network(y)
            # The least number of bits: one less would break the promise.
            assert network.bound <= Fraction(1, 10**digits) < 2 * network.bound
            planes = [*found.fractions, *[(Fraction(0),) * 6] * (2 - len(found.planes))]
            difference = [
                (a - Fraction(c)) ** 2 + (b - Fraction(d)) ** 2 for a, b, (c, d) in zip(*planes, expected, strict=True)
            ]
            assert sum(difference) <= network.bound**2
            assert all(Fraction(a.denominator) <= 2**network.bits for plane in planes for a in plane)


@cases
def test_the_bound_is_that_of_the_theorem(A: Array, y: Array, arguments: dict[str, Any]):
    """The formula of docs/network.md in floating-point numbers."""
    net = given_net(A, bounded(A), **arguments)
    schedule, (m, n) = net.schedule, A.shape
    assert isinstance(schedule, PaperSchedule)
    assert schedule.size is not None
    p, epsilon, scales = schedule.inner, schedule.size, 0.0
    for _ in range(schedule.outer):
        epsilon = schedule.nu * (schedule.delta + epsilon)
        scales += p * epsilon / (2 * bounded(A))
    a = (1 + math.sqrt(2)) * math.hypot(*arguments.get("weights", [1.0] * n)) + math.sqrt(n / 2)
    b = 2 * a + math.sqrt(2 * m) + m + 2 + math.sqrt(m / 2)
    network = DyadicNetwork(net, 9)
    expected = ((p + 1) / 2 * a + (p - 1) / 2 * b) * scales + math.sqrt(n / 2)
    assert float(network.bound * 2**network.bits) == pytest.approx(expected, rel=1e-8)


@cases
def test_close_to_the_network_in_floating_point_numbers(A: Array, y: Array, arguments: dict[str, Any]):
    """The 25 iterations at most add up some 100 roundings each of numbers of size 1 to 1e-12, far below 1e-10."""
    net = given_net(A, bounded(A), **arguments)
    found = DyadicNetwork(net, 12)(y).tensor()
    assert (found - net(y)).norm() <= 1e-10
    assert found.is_complex() == net(y).is_complex()


GOLDEN = {
    "real": "a80ef38b4b077a06ad690f2adefeb43cac88a57a63c74b21b2f82aea4d09212c",
    "complex": "ffe588a68db8592e1bf4509f06424252ae63d555691f3c780cda4cc5fb2e7d4e",
    "weighted": "4ef11a2a2d1f07e567d5109ebd17ee5fa3d6f2abb84568d6b6c70615b92d4623",
    "many restarts": "027bad9d1014a18daf9c03223e12f1fbaf08de124ac63bb5fd2211ac1c2f878e",
}


@pytest.mark.parametrize("name", GOLDEN)
def test_the_same_integers_on_every_machine(name: str):
    A, y, arguments = CASES[name]
    assert DyadicNetwork(given_net(A, bounded(A), **arguments), 20)(y).digest == GOLDEN[name]


def test_inputs_of_every_kind_are_taken_exactly():
    A, y = matrix(4, 6)
    network = DyadicNetwork(given_net(A, bounded(A)), 9)
    found = network(y)
    same = ([Fraction(v) for v in y.tolist()], y.tolist(), torch.from_numpy(y), torch.from_numpy(y).float())
    assert all(network(other) == found for other in same)
    assert network(y.astype(complex)).planes == (*found.planes, (0,) * 6)
    double = DyadicNetwork(given_net(A.astype(np.float32), bounded(A)), 9)
    assert double(y) == found
    # 1 + 2^-200 is not a double, and another number.
    more = [Fraction(y.tolist()[0]) + Fraction(1, 2**200), *y.tolist()[1:]]
    assert DyadicNetwork(given_net(A, bounded(A)), 70)(more) != DyadicNetwork(given_net(A, bounded(A)), 70)(y)


def test_a_matrix_of_more_bits_than_doubles_have():
    """Thirds within 2^-100 and within 2^-120 have the same network up to 10^-25 for each; thirds in doubles another."""
    A, y = matrix(4, 6)
    thirds = [[Fraction(v) / 3 for v in row] for row in A.tolist()]
    close, closer = approximate(thirds, 100), approximate(thirds, 120)
    assert torch.equal(close.tensor(), closer.tensor())
    net = given_net(close.tensor(), 1.0)
    plain, *networks = (DyadicNetwork(net, 25, matrix=exact) for exact in (None, close, closer))
    assert all(network.norm_is_proved for network in networks)
    first, second, rounded = (network(y).fractions[0] for network in (*networks, plain))
    assert max(abs(a - b) for a, b in zip(first, second, strict=True)) <= Fraction(3, 10**25)
    assert max(abs(a - b) for a, b in zip(first, rounded, strict=True)) > Fraction(1, 10**19)
    assert_refuses(lambda: DyadicNetwork(net, matrix=approximate(A, 60)), "another matrix")


def test_a_single_run_and_zero():
    A, y = matrix(4, 6)
    operator = Matrix(A)
    operator.norm_bound = NormBound(bounded(A), "proven", "by hand")
    net = Firenet(operator, lam=0.125, schedule=FixedSteps(30, 0.5))
    network = DyadicNetwork(net, 12)
    assert (network(y).tensor() - net(y)).norm() <= 1e-10
    assert network([0] * 4).planes == ((0,) * 6,)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("complex_too", [False, True])
def test_the_norm_bound_is_proved_in_integers(complex_too: bool, transposed: bool):
    """The singular value in double precision is off by some 1e-15 of itself."""
    A, _ = matrix(4, 6, complex_too)
    A = A.T if transposed else A
    largest = float(np.linalg.norm(A, 2))
    assert DyadicNetwork(given_net(A, largest * (1 + 1e-12))).norm_is_proved
    assert not DyadicNetwork(given_net(A, largest * (1 - 1e-12))).norm_is_proved
    assert DyadicNetwork(Firenet(Matrix(A), lam=0.1, schedule=PaperSchedule(2, 3, size=1.0))).norm_is_proved
    assert not DyadicNetwork(given_net([[3.0, 4.0]], 5.0)).norm_is_proved  # equality is not proved
    assert DyadicNetwork(given_net([[3.0, 4.0]], 5.0 + 2.0**-50)).norm_is_proved


# --- the nonlinear maps in integers: their errors in units

integers = st.integers(-(2**40), 2**40)
vectors = st.lists(st.tuples(integers, integers), min_size=1, max_size=4)


@given(vectors, st.fractions(min_value=Fraction(1, 100), max_value=2**41))
def test_the_error_of_the_threshold(entries: list[tuple[int, int]], limit: Fraction):
    real, imaginary = (list(plane) for plane in zip(*entries, strict=True))
    found = threshold([real, imaginary], limit)
    with decimal.localcontext() as context:
        context.prec = DIGITS
        s = Decimal(limit.numerator) / limit.denominator
        for (a, b), c, d in zip(entries, *found, strict=True):
            x, z = soft((Decimal(a), Decimal(b)), s)
            assert ((x - c) ** 2 + (z - d) ** 2).sqrt() <= Decimal("1.70711")


@given(vectors, st.integers(4, 45))
def test_the_error_of_the_gate(entries: list[tuple[int, int]], bits: int):
    """At most (m + 2 + sqrt(m/2)) units in the 2-norm, for m 2^-bits <= 3."""
    planes = [list(plane) for plane in zip(*entries, strict=True)]
    m = len(entries)
    found = squares(planes, bits)
    exact = sum(a * a + b * b for a, b in entries)  # in the unit 4^-bits
    assert found[1] == [0] * m
    assert 0 <= exact - (sum(found[0]) << bits) < m << bits
    with decimal.localcontext() as context:
        context.prec = DIGITS
        size = Decimal(exact).sqrt() / 2**bits
        factor = 1 / max(size, Decimal(1))
        error = sum(
            ((factor * t - k) ** 2 for p, q in zip(planes, gated(planes, sum(found[0]), bits), strict=True)
             for t, k in zip(p, q, strict=True)),
            Decimal(0),
        )  # fmt: skip
        assert error.sqrt() <= m + 2 + (Decimal(m) / 2).sqrt()


def test_the_integer_root_is_rounded_down():
    assert threshold([[3], [3]], Fraction(4)) == [[0], [0]]  # |3 + 3i| = 4.24, its integer part 4
    assert isqrt(18) == 4


# --- refusals


def test_what_is_refused():
    A, y = matrix(4, 6)
    net = given_net(A, bounded(A))
    walsh = Firenet(SubsampledWalsh(torch.ones(4, dtype=torch.bool)), lam=0.1, schedule=net.schedule)
    assert_refuses(lambda: DyadicNetwork(walsh), "SubsampledWalsh", "Matrix")
    guessed = given_net(A, bounded(A))
    guessed.operator.norm_bound = NormBound(3.0, "estimate", "a guess")
    assert_refuses(lambda: DyadicNetwork(guessed), "a guess")
    assert_refuses(lambda: DyadicNetwork(net, -1), "-1")
    assert_refuses(lambda: DyadicNetwork(net.following(PaperSchedule(2, 3))), "norm of y")
    network = DyadicNetwork(net)
    assert_refuses(lambda: network(y[:3]), "(3,)")
    assert_refuses(lambda: network(y[None]), "(1, 4)")
    assert_refuses(lambda: network([Fraction(1, 3)] * 4), "denominator 3")
    for bad in (math.nan, math.inf):
        assert_refuses(lambda bad=bad: network([bad, 0, 0, 0]), "finite")
