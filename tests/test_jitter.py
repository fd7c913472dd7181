"""What stands for another processor: small, the same for the same call, and everywhere where something is summed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import jitter as imitated
from jitter import Jitter

JITTERS = [Jitter(seed) for seed in range(8)]

SUMS: dict[str, Callable[[Tensor], Any]] = {
    "fftn": lambda x: torch.fft.fftn(x, norm="ortho"),
    "ifft2": torch.fft.ifft2,
    "at": lambda x: x @ x.mH,
    "einsum": lambda x: torch.einsum("ij,kj->ik", x, x),
    "batched": lambda x: x.expand(3, *x.shape) @ x,
    "vector": lambda x: x @ x[0],
    "dot": lambda x: torch.dot(x[0], x[1]),
    "vdot": lambda x: torch.vdot(x[0], x[1]),
    "sum": lambda x: x.sum(),
    "sum of an axis": lambda x: x.sum(0),
    "mean": torch.mean,
    "norm": torch.norm,
    "vector norm": lambda x: torch.linalg.vector_norm(x, dim=-1),
    "matrix norm": lambda x: torch.linalg.matrix_norm(x, 2),
    "svdvals": torch.linalg.svdvals,
    "into": lambda x: torch.mm(x, x, out=torch.empty_like(x)),
    "backward": lambda x: torch.func.grad(lambda u: (u @ u).abs().square().sum())(x),
    "batch of functions": lambda x: torch.func.vmap(lambda u: (u * u.conj()).sum())(x),
    "tangent": lambda x: torch.func.jvp(torch.fft.fft, (x,), (x,))[1],
}


@pytest.fixture(autouse=True)
def _this_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sets the noise of the whole session aside: these tests compare with and without."""
    monkeypatch.setattr(imitated, "_active", [])


@pytest.mark.filterwarnings("ignore:.*jit.script.*")  # torch's own, at the first use of its forward mode
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64, torch.complex128])
@pytest.mark.parametrize("name", SUMS)
def test_a_sum_is_off_by_a_rounding_or_two_and_the_same_again(name: str, dtype: torch.dtype) -> None:
    apply, eps = SUMS[name], torch.finfo(dtype).eps
    rng = np.random.default_rng(3)
    x = torch.from_numpy(rng.normal(size=(12, 12)) + 1j * rng.normal(size=(12, 12)))
    x = (x if dtype.is_complex else x.real).to(dtype)
    # One sum, and half a unit for the product with 1 + 2u xi. A backward pass sums three times in a row. For an SVD
    # torch takes another algorithm where a mode looks on, and two of them agree to the side times u of the largest.
    units = {"backward": 7.5, "svdvals": 2.5 + len(x), "matrix norm": 2.5 + len(x)}.get(name, 2.5)
    modes = [torch.enable_grad, torch.no_grad] + [torch.inference_mode] * (name not in ("backward", "tangent"))
    for quiet in modes:
        with quiet():
            plain, moved = apply(x), 0
            for jitter in JITTERS:
                with jitter:
                    here, again = apply(x), apply(x)
                assert here.equal(again)
                size = plain.abs() if units == 2.5 else plain.abs().max()
                assert ((here - plain).abs() <= units * eps * size).all()
                moved += not here.equal(plain)
        assert moved >= 3  # a single number stays what it is where |xi| < 1/4


def test_what_is_not_rounded_stays() -> None:
    counts, truth, nothing = torch.arange(12).view(3, 4), torch.tensor([True, False, True]), torch.zeros(4, 4)
    with Jitter(1):
        assert counts.sum().item() == 66
        assert truth.sum().item() == 2
        assert not torch.fft.fft2(nothing).abs().any()
        assert torch.tensor([1.0, 3.0]).max().item() == 3
        assert (torch.tensor([1.5]) * 2).item() == 3
        assert torch.zeros(0, 3).sum().item() == 0


def test_twice_the_numbers_are_twice_the_result() -> None:
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(8, 8)))
    with Jitter(1):
        assert (torch.fft.fft2(x) * 1024).equal(torch.fft.fft2(1024 * x))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype: torch.dtype) -> None:
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(8, 8))).to(dtype)
    with Jitter(1):
        assert not (x @ x).equal(torch.zeros_like(x))


def test_a_batch_is_not_its_items() -> None:
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(3, 8, 8)))
    with Jitter(1):
        assert not torch.fft.fft2(x)[1].equal(torch.fft.fft2(x[1]))


def test_more_numbers_than_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Jitter, "POOL", 7)
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(5, 8)))
    with Jitter(1):
        for _ in range(20):
            x = x / 3 + torch.fft.ifft(torch.fft.fft(x)).real
    assert x.isfinite().all()
