"""theorem.inexact: approximations checked in rational numbers, Lemma C on matrices with a known null space property,
and the network of an approximate matrix."""

from __future__ import annotations

import math
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from numpy.typing import NDArray

from firenet.errors import BadInput
from firenet.network import Firenet
from firenet.operators.matrix import Matrix
from firenet.solver.schedules import PaperSchedule
from firenet.theorem.inexact import approximate, inexact_constants
from laws import assert_refuses
from oracles import null_space_gamma

Array = NDArray[Any]

# --- approximations

fractions = st.fractions(min_value=-1000, max_value=1000, max_denominator=10**30)
matrices = st.integers(1, 5).flatmap(
    lambda n: st.lists(st.lists(fractions, min_size=n, max_size=n), min_size=1, max_size=5)
)


def distance_squared(found: Any, rows: list[list[Any]]) -> Fraction:
    """The squared Frobenius norm of the difference, exactly."""
    flat = [entry for row in rows for entry in row]
    planes = [[Fraction(e.real) for e in flat], [Fraction(e.imag) for e in flat]]
    close = [*found.fractions, *[(Fraction(0),) * len(flat)] * (2 - len(found.planes))]
    return sum(
        ((a - b) ** 2 for p, q in zip(planes, close, strict=True) for a, b in zip(p, q, strict=True)), Fraction(0)
    )


@given(matrices, st.integers(0, 120))
def test_an_approximation_is_within_its_distance(rows: list[list[Fraction]], bits: int):
    """The 2-norm is at most the Frobenius norm; a unit twice as large would not be proved."""
    found = approximate(rows, bits)
    assert found.shape == (len(rows), len(rows[0]))
    assert distance_squared(found, rows) <= Fraction(1, 4**bits)
    entries = len(rows) * len(rows[0])
    assert Fraction(entries, 4) / 4**found.bits <= Fraction(1, 4**bits)
    assert found.bits == bits or Fraction(entries, 4) / 4 ** (found.bits - 1) > Fraction(1, 4**bits)


@pytest.mark.parametrize("bits", [0, 3, 20, 60])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64, torch.complex128])
def test_arrays_are_taken_exactly(dtype: torch.dtype, bits: int):
    rng = np.random.default_rng(0)
    A = torch.from_numpy(rng.standard_normal((3, 4)) + 1j * rng.standard_normal((3, 4)))
    A = A.to(dtype) if dtype.is_complex else A.real.to(dtype)
    found = approximate(A, bits)
    assert found.tensor().is_complex() == dtype.is_complex
    assert distance_squared(found, A.tolist()) <= Fraction(1, 4**bits)
    assert found == approximate(A.numpy(), bits) == approximate(A.tolist(), bits)
    assert float(torch.linalg.matrix_norm(found.tensor() - A, 2)) <= 2.0**-bits * (1 + 1e-12)
    if bits == 60:  # doubles of this size have fewer bits, and are their own approximation
        assert bool((found.tensor(exact=True) == A).all())


def test_an_approximation_in_double_precision_is_exact_or_refused():
    third = [[Fraction(1, 3), 0.5j]]
    found = approximate(third, 20)
    assert found.bits == 20
    assert found.tensor(exact=True).tolist() == [[round(2**20 / 3) / 2**20 + 0j, 0.5j]]
    assert_refuses(lambda: approximate(third, 60).tensor(exact=True), "53 bits", "2**-60")
    assert approximate(third, 60).tensor().tolist() == [[1 / 3 + 0j, 0.5j]]


def test_what_is_no_matrix_is_refused():
    assert_refuses(lambda: approximate([[1.0]], -1), "-1")
    assert_refuses(lambda: approximate([1.0, 2.0], 3), "(2,)")
    for bad in ([[math.nan]], [[math.inf]], [["a"]], [[1, 2], [3]], [[1, 2], 3], None, [[[1]]], []):
        assert_refuses(lambda bad=bad: approximate(bad, 3))


# --- Lemma C


def conditions(rho: float, gamma: float, xi: float, w: float, error: float) -> tuple[float, float]:
    """Both conditions of Lemma C as differences that must not be negative, in floating-point numbers."""
    return 0.5 - gamma * error, (1 - rho) / 2 - gamma * error * ((1 + rho) / 2 + math.sqrt(xi) / w)


@given(
    st.floats(0.01, 0.99), st.floats(0.01, 100), st.floats(0.01, 100), st.floats(0.01, 100), st.floats(-9, 2)
)  # fmt: skip
def test_the_conditions_of_lemma_c(rho: float, gamma: float, xi: float, w: float, digits: float):
    error = 10**digits
    differences = conditions(rho, gamma, xi, w, error)
    if min(map(abs, differences)) < 1e-9:
        return  # floating-point numbers do not decide
    if min(differences) > 0:
        assert inexact_constants(rho, gamma, xi, w, error) == ((1 + rho) / 2, 2 * gamma)
        return
    with pytest.raises(BadInput) as caught:
        inexact_constants(rho, gamma, xi, w, error)
    assert caught.value.needed.startswith("gamma * error <=" if differences[0] < 0 else "gamma * error * ((1 + rho)/2")
    enough = int(caught.value.do.removeprefix("Approximate A more closely: an error of 2**-").partition(" ")[0])
    assert inexact_constants(rho, gamma, xi, w, Fraction(1, 2**enough)) == ((1 + rho) / 2, 2 * gamma)
    if enough:
        with pytest.raises(BadInput):
            inexact_constants(rho, gamma, xi, w, Fraction(2, 2**enough))


def test_the_conditions_are_decided_exactly():
    # gamma error = 1/2 and 1/16 (3/4 + 13/4) = 1/4 are allowed, and nothing above
    assert inexact_constants(0.5, 1.0, 169 / 16, 1.0, Fraction(1, 16)) == (0.75, 2.0)
    assert_refuses(lambda: inexact_constants(0.5, 1.0, 169 / 16, 1.0, Fraction(1, 16) + Fraction(1, 10**40)), "2**-4")
    assert inexact_constants(2.0**-10, 1.0, 2.0**-30, 1.0, 0.5) == (0.5 + 2.0**-11, 2.0)
    assert_refuses(lambda: inexact_constants(2.0**-10, 1.0, 2.0**-30, 1.0, Fraction(1, 2) + Fraction(1, 10**40)), "1/2")
    assert inexact_constants(0.5, 1e9, 1e9, 1e-9, 0.0) == (0.75, 2e9)


@pytest.mark.parametrize("position", range(5))
@pytest.mark.parametrize("bad", [math.nan, -1.0, math.inf])
def test_numbers_that_are_no_constants_are_refused(position: int, bad: float):
    numbers = [0.5, 1.0, 1.0, 1.0, 0.01]
    numbers[position] = bad
    assert_refuses(lambda: inexact_constants(*numbers), "0 < rho < 1")


@cache
def known(m: int, n: int, seed: int) -> tuple[Array, float, float]:
    """A matrix with rho = 1/2 and a proved gamma, order s = 1, one level, weights 1."""
    A = np.random.default_rng(seed).standard_normal((m, n)) / math.sqrt(m)
    return A, 0.5, null_space_gamma(A, 0.5)


@pytest.mark.parametrize("shape", [(14, 20, 0), (14, 16, 1)])
def test_lemma_c_is_true(shape: tuple[int, int, int]):
    """The approximation has the null space property with the new constants, by another proof: its best gamma."""
    A, rho, gamma = known(*shape)
    bits = next(k for k in range(99) if min(conditions(rho, gamma, 1.0, 1.0, 2.0**-k)) > 0)
    close = approximate(A, bits).tensor(exact=True)
    rho_l, gamma_l = inexact_constants(rho, gamma, 1.0, 1.0, Fraction(1, 2**bits))
    assert np.abs(close.numpy() - A).max() > 0
    assert null_space_gamma(close.numpy(), rho_l) <= gamma_l


def test_the_network_of_an_approximation_keeps_its_bound():
    """theorem 3 with ||A_l|| and with 2 eta b1 beside 2 ||Ax - y||; C1 and C2 from the constants of Lemma C."""
    A, rho, gamma = known(14, 20, 0)
    nu, restarts, b2 = math.exp(-1), 3, 1.5
    x = np.zeros(20)
    x[4] = 1.0
    y = A @ x
    distances = []
    for bits in (5, 12):
        rho_l, gamma_l = inexact_constants(rho, gamma, 1.0, 1.0, Fraction(1, 2**bits))
        # kappa = xi = 1: one level, one coefficient, weight 1
        C1 = (rho_l + (1 + rho_l) / 2) * (1 + rho_l) / (1 - rho_l)
        C2 = ((1 + rho_l) + (3 + rho_l) / 2) / (1 - rho_l) * gamma_l
        operator = Matrix(approximate(A, bits).tensor(exact=True))
        misfit = 2 * 2.0**-bits * float(np.linalg.norm(x))
        inner = math.ceil(2 * C2 * operator.norm_bound.value / nu)
        schedule = PaperSchedule(restarts, inner, misfit, nu, size=b2)
        net = Firenet(operator, lam=C1 / C2, schedule=schedule)
        distances.append(float(np.linalg.norm(net(y).numpy() - x)))
        assert distances[-1] <= C2 * misfit + C2 * (nu / (1 - nu) * misfit + nu**restarts * b2)
    assert 0 < distances[1] < distances[0]
