"""The redundant operators: dense matrices, norms, pseudo-inverses, tightness, refusals."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cases import COMPLEX, REAL, Shape
from firenet import Gradient, LinearOperator, UndecimatedWavelet, Wavelet
from firenet.transforms import AnalysisOperator, Union
from laws import LAWS, Probe, assert_near, assert_refuses, norm, probes

SHAPES: list[Shape] = [(1,), (2,), (7,), (16,), (1, 5), (4, 6), (7, 5), (2, 3, 4), (1, 1, 1)]


def both(shape: Shape, factors: Any = None) -> Union:
    return Union(
        [UndecimatedWavelet(shape, "haar", 0 if min(shape) < 2 else 1), UndecimatedWavelet(shape, "sym4", 0)], factors
    )


MAKE: dict[str, Any] = {
    "periodic": Gradient,
    "neumann": lambda shape: Gradient(shape, "neumann"),
    "union": both,
    "scaled union": lambda shape: both(shape, [2.0, 0.5]),
    "wavelets and TV": lambda shape: Union([both(shape), Gradient(shape)], [1.0, 0.3]),
}
ALL = [(kind, shape) for kind in MAKE for shape in SHAPES]
operators = pytest.mark.parametrize(("kind", "shape"), ALL, ids=[f"{k} {s}" for k, s in ALL])


def dense(W: AnalysisOperator, dtype: torch.dtype = COMPLEX) -> Tensor:
    return W.as_matrix(dtype)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("kind", MAKE)
@pytest.mark.parametrize("shape", [(7,), (4, 6), (2, 3, 4)])
def test_laws_of_linear_operators(law: Callable[[LinearOperator, Probe], None], kind: str, shape: Shape) -> None:
    for probe in probes():
        law(MAKE[kind](shape), probe)
        law(MAKE[kind](shape).H, Probe(probe.dtype, (2,)))


@pytest.mark.parametrize("kind", ["periodic", "neumann"])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_gradient_is_that_of_numpy(kind: str, shape: Shape) -> None:
    x = Probe(COMPLEX, seed=2).draw(shape)
    found = MAKE[kind](shape)(x).numpy()
    for axis, part in enumerate(found):
        expected = np.roll(x.numpy(), -1, axis) - x.numpy()
        if kind == "neumann":
            expected[(slice(None),) * axis + (-1,)] = 0
        np.testing.assert_allclose(part, expected, atol=1e-15)


@operators
def test_norms_grams_and_constants(kind: str, shape: Shape) -> None:
    W = MAKE[kind](shape)
    matrix = dense(W)
    gram = matrix.mH @ matrix
    largest = torch.linalg.matrix_norm(matrix, 2).item()
    assert largest <= W.norm_bound.value * (1 + 1e-13)
    if kind in ("periodic", "neumann"):
        assert W.norm_bound.value == pytest.approx(largest, rel=1e-12, abs=1e-13)
        assert W.norm_bound.kind == "exact"
    n = math.prod(shape)
    assert W.scale == pytest.approx(math.sqrt(gram.diagonal().real.mean().item()), rel=1e-11, abs=1e-14)
    assert W.is_tight == bool(torch.allclose(gram, torch.eye(n, dtype=COMPLEX), rtol=0, atol=1e-11)) or n == 1
    ones = W(torch.ones(shape, dtype=REAL))
    assert W.annihilates_constants == bool(norm(ones) <= 1e-13 * n)
    inverse = torch.linalg.pinv(gram, rtol=1e-10, hermitian=True)
    for dtype in (REAL, COMPLEX):
        x = Probe(dtype, seed=3).draw((2, *shape))
        expected = (x.flatten(1).to(COMPLEX) @ inverse.mT).view(x.shape)
        found = W.apply_gram_inverse(x)
        assert found.dtype == dtype
        assert_near(found.to(COMPLEX), expected, 1e-11 * norm(expected) + 1e-13 * norm(x))


@operators
def test_responses_moduli_and_levels(kind: str, shape: Shape) -> None:
    W = MAKE[kind](shape)
    x = Probe(COMPLEX, seed=4).draw((3, *shape))
    c = W(x)
    if W.convolves:
        axes = tuple(range(-len(shape), 0))
        spectrum = torch.fft.fftn(x, dim=axes).unsqueeze(1) * W.responses(COMPLEX, x.device)
        assert_near(torch.fft.ifftn(spectrum, dim=axes), c, 1e-12 * norm(c) + 1e-14 * norm(x))
        assert sum(W.groups) == W.out_shape[0]
        squares = W.responses(COMPLEX, x.device).abs().square().sum(dim=0)
        torch.testing.assert_close(W.gram(COMPLEX, x.device), squares, rtol=1e-11, atol=1e-11)
    sizes = W.magnitudes(c)
    assert sizes.shape == (3, *W.penalty_shape)
    assert not sizes.is_complex()
    assert_near(sizes.square().sum(), c.abs().square().sum(), 1e-12 * norm(c) ** 2 + 1e-30)
    groups = W.groups or (W.out_shape[0],)
    start = 0
    for k, size in enumerate(groups):
        expected = torch.linalg.vector_norm(c[:, start : start + size], dim=1)
        torch.testing.assert_close(sizes[:, k], expected)
        start += size
    levels = W.levels()
    assert levels.shape == W.penalty_shape
    assert levels.dtype == torch.int64
    assert levels.min() >= 0


def test_no_two_parts_share_a_level() -> None:
    W = Union([UndecimatedWavelet((8, 8), "haar", 1), UndecimatedWavelet((8, 8), "sym4", 2), Gradient((8, 8))])
    levels = W.levels()[:, 0, 0].tolist()
    assert levels == [1, 1, 1, 0, 3, 3, 3, 2, 2, 2, 0, 4]


def test_total_variation_of_a_square() -> None:
    x = torch.zeros(16, 16, dtype=REAL)
    x[4:8, 5:11] = 2.0
    for boundary in ("periodic", "neumann"):
        W = Gradient((16, 16), boundary)
        # Each side counts its length; at one corner the two differences meet in one pixel.
        assert W.magnitudes(W(x)).sum().item() == pytest.approx(2 * (4 + 4 + 6 + 6) - 2 * (2 - math.sqrt(2)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64], ids=str)
@pytest.mark.parametrize("shape", [(230, 180), (127, 64)])
def test_tight_in_single_precision(dtype: torch.dtype, shape: Shape) -> None:
    W = Union([UndecimatedWavelet(shape, "haar", 1), UndecimatedWavelet(shape, "sym4", 2)])
    x = Probe(dtype, seed=5).draw(shape)
    assert_near(W.adjoint(W(x)), x, 2e-6 * norm(x))
    assert W(x).dtype == dtype


def test_refusals() -> None:
    assert_refuses(lambda: Gradient((8, 8), "odd"), "'odd'")  # pyright: ignore[reportArgumentType]
    assert_refuses(lambda: Gradient(()), "()")
    assert_refuses(lambda: Union([]), "nothing")
    a, b = UndecimatedWavelet((8, 8), "haar", 1), UndecimatedWavelet((8, 4), "haar", 1)
    assert_refuses(lambda: Union([a, b]), "(8, 4)")
    assert_refuses(lambda: Union([a, Wavelet((8, 8), "haar")]), "Wavelet")
    assert_refuses(lambda: Union([a, Gradient((8, 8), "neumann")]), "Gradient")
    for factors in ([1.0], [1.0, 0.0], [1.0, math.nan], [1.0, -1.0]):
        assert_refuses(lambda factors=factors: Union([a, a], factors), "2 positive factors")
