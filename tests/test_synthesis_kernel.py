"""The primal step in place is the proximal map, at every length and scale."""

from __future__ import annotations

import itertools

import pytest
import torch

from cases import BATCH, PRECISIONS, draw, kinds
from draws import uniform
from extras import needs
from firenet import Matrix, engines
from firenet.problems.synthesis import SynthesisProblem
from firenet.solver.kernel import Steps
from firenet.solver.synthesis_kernel import SynthesisKernel
from laws import assert_each_near


@kinds
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
@pytest.mark.parametrize("bits", [32, 64])
def test_shrink_in_place_is_shrink(kind: str, scale: float, bits: int):
    dtype = {("real", 32): torch.float32, ("complex", 32): torch.complex64}.get((kind, bits), PRECISIONS[kind])
    operator = Matrix(torch.ones(1, 50, dtype=dtype))
    weights = (uniform(50, seed=1) + 0.5).to(dtype.to_real())
    v = draw((BATCH, 50), dtype, 0) * scale
    v[:, 0] = 0
    tau = torch.tensor([1.0, 0.3, 2.0], dtype=dtype.to_real()).view(-1, 1) * scale
    for w in (None, weights):
        problem = SynthesisProblem(operator, w, 0.7)
        kernel = SynthesisKernel(problem)
        expected, kept = kernel.primal(v, tau), v.clone()
        result = kernel.primal_(kept, kernel.threshold(tau, v))
        assert result.data_ptr() == kept.data_ptr()  # it is the argument, written over
        assert_each_near(result, expected, 4)
        assert result.eq(0).equal(expected.eq(0))
        assert result[:, 0].eq(0).all()
        assert 0.1 < result.ne(0).double().mean().item() < 0.95


@kinds
@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("weighted", [False, True])
def test_shrink_in_place_for_every_length_and_ratio(kind: str, bits: int, weighted: bool):
    """Numbers far above the threshold, in vectors that fill no register: no rounding may turn a phase, no square
    overflow."""
    dtype = {("real", 32): torch.float32, ("complex", 32): torch.complex64}.get((kind, bits), PRECISIONS[kind])
    for n, exponent in itertools.product((1, 2, 3, 5, 6, 7, 15, 16, 20, 33), (0, 2, 4, 6, 8, 12, 15, 18, 22, 30)):
        weights = (uniform(n, seed=1) + 0.5).to(dtype.to_real())
        problem = SynthesisProblem(Matrix(torch.ones(1, n, dtype=dtype)), weights if weighted else None, 0.7)
        v = draw((7, n), dtype, exponent)
        tau = torch.full((7, 1), 10.0**-exponent, dtype=dtype.to_real())
        kernel = SynthesisKernel(problem)
        assert_each_near(kernel.primal_(v.clone(), kernel.threshold(tau, v)), kernel.primal(v, tau), 4)


@kinds
@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("change", "plain"), [(False, False), (True, False), (True, True)])
def test_the_compiled_step_is_what_it_stands_for(
    kind: str, bits: int, weighted: bool, change: bool, plain: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For every length, for all threads, with zeros below the threshold and with what is not finite."""
    needs("numba")
    monkeypatch.setenv("FIRENET_ENGINE", "compiled")
    monkeypatch.setattr(engines, "_SHARE", 1)
    dtype = {("real", 32): torch.float32, ("complex", 32): torch.complex64}.get((kind, bits), PRECISIONS[kind])
    real, before = dtype.to_real(), torch.get_num_threads()
    tau, rho = (torch.tensor(numbers, dtype=real).view(-1, 1) for numbers in ([1.0, 0.3, 2.0], [1.8, 0.4, 1.3]))
    steps = Steps(tau, tau, rho, rho, plain)
    for n in (1, 7, 33, 1024, 1025, 5000):
        weights = (uniform(n, seed=1) + 0.5).to(real) if weighted else None
        kernel = SynthesisKernel(SynthesisProblem(Matrix(torch.ones(1, n, dtype=dtype)), weights, 0.7))
        x, back, last, total = (draw((BATCH, n), dtype, seed) for seed in range(4))
        back[0, n // 2] = torch.nan
        new = kernel.primal(x - tau * back, tau)
        expected = [new, x if plain else x + rho * (new - x), new - last if change else last, total + new]
        found = []
        try:
            for threads in (1, 2, 3):
                torch.set_num_threads(threads)
                mine = [t.clone() for t in (back, x, last, total)]
                threshold = kernel.threshold(tau, x)
                assert kernel.advance_(mine[0], mine[1], mine[0], mine[2], mine[3], threshold, steps, change)
                found.append(mine)
        finally:
            torch.set_num_threads(before)
        for mine, right in zip(found[0], expected, strict=True):
            assert mine.isnan().equal(right.isnan())
            assert_each_near(mine.nan_to_num(), right.nan_to_num(), 16)
        assert found[0][0].eq(0).equal(new.eq(0))
        for other in found[1:]:
            assert all(map(same_bits, found[0], other))
        elsewhere = [t.clone() for t in (back, x, last, total)]
        place = torch.full_like(back, 7)
        kernel.advance_(place, elsewhere[1], back, elsewhere[2], None, threshold, steps, change)
        assert same_bits(place, found[0][0])
        assert elsewhere[3].equal(total)


@kinds
@pytest.mark.parametrize("bits", [32, 64])
def test_the_compiled_step_for_every_ratio(kind: str, bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers so far above the threshold that their squares overflow, and an x that is no plain array."""
    needs("numba")
    monkeypatch.setenv("FIRENET_ENGINE", "compiled")
    dtype = {("real", 32): torch.float32, ("complex", 32): torch.complex64}.get((kind, bits), PRECISIONS[kind])
    kernel = SynthesisKernel(SynthesisProblem(Matrix(torch.ones(1, 50, dtype=dtype)), None, 1.0))
    one = torch.ones(BATCH, 1, dtype=dtype.to_real())
    steps = Steps(one, one, one, one, False)
    for ratio in (1e15, 1e19, 1e25, 1e30):
        x, nothing = draw((BATCH, 50), dtype, 0) * ratio, torch.zeros(BATCH, 50, dtype=dtype)
        new, last, moved = nothing.clone(), nothing.clone(), x.clone()
        assert kernel.advance_(new, moved, new, last, None, kernel.threshold(one, x), steps, True)
        assert_each_near(new, kernel.primal(x, one), 4)
        assert moved.equal(new)  # the relaxation is one
        assert last.equal(new)
    turned = draw((50, BATCH), dtype, 0).T
    assert not kernel.advance_(turned, turned, turned, turned, None, kernel.threshold(one, turned), steps, True)


def same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.isnan().equal(b.isnan()) and a.nan_to_num().equal(b.nan_to_num())


@kinds
def test_a_threshold_of_zero_is_no_division_by_zero(kind: str):
    dtype = PRECISIONS[kind].to_real()
    problem = SynthesisProblem(Matrix(torch.ones(1, 4, dtype=dtype)), None, 1e-300)
    v = draw((1, 4), PRECISIONS[kind], 0)
    tau = torch.full((1, 1), 1e-300, dtype=dtype)
    kernel = SynthesisKernel(problem)
    assert_each_near(kernel.primal_(v.clone(), kernel.threshold(tau, v)), v)
    assert_each_near(kernel.primal(v, tau), v)
