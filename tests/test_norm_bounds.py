"""Bounds of norms: Lanczos' method, Collatz and Wielandt, and operators composed at random against their SVD."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from torch import Tensor

import norms
from cases import entries
from firenet import BadInput, Firenet, LinearOperator, Matrix, SubsampledFourier, certify
from firenet.operators import NormBound
from firenet.operators.collatz import collatz_wielandt
from firenet.operators.lanczos import excess, lanczos
from laws import largest_singular_value


@pytest.mark.parametrize("start", range(0, 200, 20))
def test_bounds_of_random_operators_are_bounds(start: int) -> None:
    """``python tests/norms.py`` compares 10,000."""
    found = [norms.compared(seed) for seed in range(start, start + 20)]
    assert [pair for pair in found if pair[1] < norms.LEAST] == []
    assert len({kind for kind, _ in found}) > 1


# --- Lanczos


@given(steps=st.integers(40, 200), size=st.integers(1, 10**7), digits=st.floats(2, 12))
def test_the_excess_solves_the_inequality(steps: int, size: int, digits: float) -> None:
    probability = 10.0**-digits

    def failure(epsilon: float) -> float:
        chance = 2 * math.sqrt(2 * size / math.pi) * math.sqrt((1 - epsilon) / epsilon)
        return chance * math.exp(-2 * math.sqrt(epsilon) * (steps - 1))

    found = excess(steps, size, probability)
    assert 0 < found < 1
    assert failure(found) <= probability * (1 + 1e-9)
    assert failure(found * (1 - 1e-6)) > probability


def test_no_excess_where_steps_are_too_few() -> None:
    assert excess(10, 10**6, 1e-10) > 0.99
    assert excess(17, 10**6, 1e-10) < 0.9


def test_the_probability_is_a_bound_of_a_measured_frequency() -> None:
    """With few steps, so that failures are seen: the Ritz value of one step is |Bb| along b."""
    spectrum = np.array([1.0, *np.linspace(0, 0.7, 29)])
    rng = np.random.default_rng(0)
    steps, epsilon, failures, count = 4, 0.2, 0, 4000
    for _ in range(count):
        b = rng.standard_normal(30)
        krylov = np.linalg.qr(np.stack([spectrum**k * b for k in range(steps)], 1))[0]
        failures += np.linalg.eigvalsh(krylov.T @ (spectrum[:, None] * krylov))[-1] < 1 - epsilon
    allowed = 2 * math.sqrt(60 / math.pi) * math.sqrt((1 - epsilon) / epsilon)
    allowed *= math.exp(-2 * math.sqrt(epsilon) * (steps - 1))
    assert 0 < failures / count <= allowed


def lanczos_of(matrix: Tensor, **more: float) -> NormBound:
    def forward(x: Tensor) -> Tensor:
        return matrix @ x

    def adjoint(y: Tensor) -> Tensor:
        return matrix.mH @ y

    return lanczos(forward, adjoint, (matrix.shape[1],), matrix.dtype, **more).bound  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("complex_", [False, True])
def test_it_bounds_a_norm_of_clustered_singular_values(complex_: bool) -> None:
    rng = np.random.default_rng(1)
    basis = np.linalg.qr(rng.standard_normal((400, 400)) + 1j * complex_ * rng.standard_normal((400, 400)))[0]
    values = np.concatenate([[1.0], np.linspace(0, 0.999, 399)])
    whole = torch.from_numpy((basis * values) @ basis.conj().T)
    matrix = whole if complex_ else whole.real.contiguous()
    for seed in range(5):
        bound = lanczos_of(matrix, seed=seed)
        assert bound.kind == "probable"
        assert 1 <= bound.value <= 1.05


@pytest.mark.parametrize("rank", [0, 1, 3])
def test_a_krylov_space_that_ends_gives_the_norm(rank: int) -> None:
    matrix = entries(30, 20, rank=rank) if rank else torch.zeros(30, 20, dtype=torch.float64)
    bound = lanczos_of(matrix)
    assert bound.value == pytest.approx(largest_singular_value(matrix.to(torch.complex128)), rel=1e-11, abs=0)
    assert "whole Krylov space" in bound.why


@pytest.mark.parametrize("scale", [1e-120, 1e120])
def test_scales(scale: float) -> None:
    matrix = scale * entries(30, 20)
    assert lanczos_of(matrix).value >= largest_singular_value((matrix / scale).to(torch.complex128)) * scale


def test_what_it_refuses() -> None:
    matrix = entries(90, 80)
    with pytest.raises(BadInput, match="An adjoint B"):
        lanczos(lambda x: matrix @ x, lambda y: 1.0001 * matrix.mT @ y, (80,), torch.float64)
    with pytest.raises(BadInput, match="Finite numbers"):
        lanczos_of(1e200 * matrix)
    with pytest.raises(BadInput, match="Steps enough"):
        lanczos_of(matrix, steps=5, probability=1e-200)


# --- Collatz and Wielandt


@given(m=st.integers(1, 12), n=st.integers(1, 12), seed=st.integers(0, 99), share=st.floats(0.05, 1.0))
def test_it_bounds_matrices_without_negative_entries(m: int, n: int, seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    matrix = torch.from_numpy(rng.random((m, n)) * (rng.random((m, n)) < share))
    bound = collatz_wielandt(lambda x: matrix @ x, lambda y: matrix.mT @ y, n, m + n)
    assert bound >= largest_singular_value(matrix.to(torch.complex128)) * (1 - 1e-12)


def test_it_is_sharp_where_all_is_connected() -> None:
    matrix = entries(40, 30).abs()
    bound = collatz_wielandt(lambda x: matrix @ x, lambda y: matrix.mT @ y, 30, 70)
    assert bound == pytest.approx(largest_singular_value(matrix.to(torch.complex128)), rel=1e-10, abs=0)


def test_it_refuses_negative_entries() -> None:
    matrix = -torch.eye(3, dtype=torch.float64)
    with pytest.raises(BadInput, match="without negative entries"):
        collatz_wielandt(lambda x: matrix @ x, lambda y: y, 3, 2)


@pytest.mark.parametrize("scale", [1e-300, 1e-30, 1e150])
def test_sparse_matrices_of_every_scale(scale: float) -> None:
    matrix = scale * (entries(12, 9).abs() * (entries(12, 9, seed=1) > 0.3))
    operator = Matrix(matrix.to_sparse())
    norm = largest_singular_value((matrix / scale).to(torch.complex128)) * scale
    assert operator.norm_bound.kind == "proven"
    assert norm * (1 - 1e-12) <= operator.norm_bound.value <= 1.5 * norm


# --- bounds that are given


def test_a_number_is_an_estimate() -> None:
    def same(x: Tensor) -> Tensor:
        return x

    given_ = LinearOperator.from_functions(same, same, (4,), (4,), norm=1)
    assert given_.norm_bound == NormBound(1.0, "estimate", "a number that the caller gave")
    known = NormBound(1.0, "proven", "it is the identity")
    assert LinearOperator.from_functions(same, same, (4,), (4,), norm=known).norm_bound is known
    for norm in (math.nan, -1.0, "one"):
        with pytest.raises(BadInput):
            LinearOperator.from_functions(same, same, (4,), (4,), norm=norm)  # type: ignore[arg-type]


def test_the_bound_is_computed_once_and_when_it_is_needed() -> None:
    calls: list[int] = []

    def forward(x: Tensor) -> Tensor:
        calls.append(1)
        return 2 * x

    operator = LinearOperator.from_functions(forward, lambda y: 2 * y, (5,), (5,))
    assert calls == []
    first, count = operator.norm_bound, len(calls)
    assert first.value == pytest.approx(2, rel=1e-10)
    assert operator.norm_bound is first
    assert len(calls) == count


def test_a_solve_with_two_functions_says_what_it_rests_on() -> None:
    mask = torch.from_numpy(np.random.default_rng(0).random((16, 16)) < 0.6)
    own = SubsampledFourier(mask)
    foreign = LinearOperator.from_functions(own, own.adjoint, (16, 16), (16, 16), batched=True)
    truth = torch.zeros(16, 16, dtype=torch.complex128)
    truth[4:9, 3:12] = 1
    y = own(truth)
    net = Firenet(foreign, lam=0.02)
    solution = net.solve(y)
    assert solution.conditions
    assert "adjoint of Functions" in solution.conditions[0]
    expected = Firenet(own, lam=0.02).solve(y)
    # Both are within their gaps of the same minimum.
    least, most = expected.lower_bound.item(), expected.objective.item()
    assert least <= solution.objective.item() <= most * (1 + net.schedule.tolerance) ** 2  # type: ignore[union-attr]
    assert certify(net.problem, solution.coefficients, y).kind == "conditional"
