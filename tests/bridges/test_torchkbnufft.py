"""torchkbnufft."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from bridge_laws import assert_example_runs, assert_is_solved, assert_is_sound, disc

from firenet import BadInput, check_adjoint
from firenet.interop import from_torchkbnufft

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # torch.jit.script, when it is imported
    tkbn: Any = pytest.importorskip("torchkbnufft")

SHAPE = (8, 10)


def omega(samples: int = 150) -> torch.Tensor:
    points = np.random.default_rng(0).uniform(-np.pi, np.pi, (2, samples))
    return torch.from_numpy(points)


def pair(shape: tuple[int, ...] = SHAPE, dtype: torch.dtype = torch.float64, **more: Any) -> tuple[Any, Any]:
    return tkbn.KbNufft(shape, dtype=dtype, **more), tkbn.KbNufftAdjoint(shape, dtype=dtype, **more)


def test_it_is_the_sum_but_for_interpolation() -> None:
    points = omega()
    theirs = pair()
    operator = from_torchkbnufft(*theirs, points)
    assert (operator.in_shape, operator.out_shape) == (SHAPE, (150,))
    assert_is_sound(operator)
    x = torch.randn(2, *SHAPE, dtype=torch.complex128, generator=torch.Generator().manual_seed(0))
    assert torch.equal(operator(x), theirs[0](x[:, None], points, norm="ortho")[:, 0])
    grid = np.stack([i.ravel() - n // 2 for i, n in zip(np.indices(SHAPE), SHAPE, strict=True)])
    exact = np.exp(-1j * points.numpy().T @ grid) / np.sqrt(np.prod([2 * n for n in SHAPE]))
    found = operator.as_matrix(torch.complex128).numpy()
    # A table of 1024 entries for each grid point, without interpolation between them: errors of about pi / 1024.
    assert np.abs(found - exact).max() < np.pi / 1024 * np.abs(exact).max() * 2


def test_coils_and_single_precision() -> None:
    maps = torch.randn(3, *SHAPE, dtype=torch.complex128, generator=torch.Generator().manual_seed(0))
    operator = from_torchkbnufft(*pair(), omega(), maps)
    alone = from_torchkbnufft(*pair(), omega())
    assert operator.out_shape == (3, 150)
    assert_is_sound(operator)
    x = torch.ones(SHAPE, dtype=torch.complex128)
    assert torch.allclose(operator(x), alone(maps * x), rtol=1e-12)
    assert_is_sound(from_torchkbnufft(*pair(dtype=torch.float32), omega(), maps), single=True)
    assert operator(torch.ones(SHAPE)).dtype == torch.complex64


def test_a_certified_reconstruction() -> None:
    assert_is_solved(from_torchkbnufft(*pair((16, 16)), omega(300)), disc() + 0j, psnr=40)


def test_an_adjoint_with_other_settings_is_noticed() -> None:
    assert not check_adjoint(from_torchkbnufft(pair()[0], pair(numpoints=4)[1], omega())).passed


def test_what_is_refused() -> None:
    forward, adjoint = pair()
    with pytest.raises(BadInput, match="KbNufftAdjoint"):
        from_torchkbnufft(forward, forward, omega())
    with pytest.raises(BadInput, match="A KbNufft of torchkbnufft"):
        from_torchkbnufft(None, adjoint, omega())
    for points in (omega().T, omega()[:1], omega().to(torch.int64), omega()[:, :0]):
        with pytest.raises(BadInput, match="trajectory of real numbers"):
            from_torchkbnufft(forward, adjoint, points)
    with pytest.raises(BadInput, match="finite trajectory"):
        from_torchkbnufft(forward, adjoint, omega() * torch.nan)
    for maps in (torch.ones(3, *SHAPE), torch.ones(3, 8, 8) + 0j, torch.ones(SHAPE) + 0j):
        with pytest.raises(BadInput, match="coil maps"):
            from_torchkbnufft(forward, adjoint, omega(), maps)


def test_the_example_runs() -> None:
    assert_example_runs("torchkbnufft")
