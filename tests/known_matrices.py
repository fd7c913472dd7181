"""Matrices and operators whose weighted robust null space property is known with proof, signals for them,
and reconstructions of every sort.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from firenet.guarantees.constants import Constants
from firenet.guarantees.guarantee import Guarantee
from firenet.sensing.fourier import SubsampledFourier
from firenet.sparsity import SparsityLevels
from firenet.transforms.wavelet import Wavelet

Array = NDArray[Any]


@dataclass(frozen=True)
class Known:
    """A matrix with the constants of its weighted robust null space property, and the level of each index."""

    matrix: Array
    guarantee: Guarantee
    level: NDArray[np.int64]

    @property
    def weights(self) -> NDArray[np.float64]:
        return self.guarantee.weights


def gaussian(random: np.random.Generator, *shape: int, real: bool = False) -> Array:
    x = random.standard_normal(shape)
    return x if real else x + 1j * random.standard_normal(shape)


def unitary(random: np.random.Generator, n: int, *, real: bool = False) -> Array:
    return np.linalg.qr(gaussian(random, n, n, real=real))[0]


def without_kernel(random: np.random.Generator, sizes: Sequence[int] = (2, 4, 6), *, real: bool = False) -> Known:
    """A unitary matrix: ||x_Delta|| <= ||x|| = ||Ax||, so gamma = 1 with any rho (the term with rho is not needed)."""
    levels = SparsityLevels(tuple(sizes), tuple(int(random.integers(1, n + 1)) for n in sizes))
    weights = None if random.random() < 0.5 else random.uniform(0.3, 3, len(sizes)).tolist()
    constants = Constants(levels, rho=float(random.uniform(0.01, 0.95)), gamma=1.0, weights=weights)
    a, level = unitary(random, sum(sizes), real=real), random.permutation(np.repeat(np.arange(len(sizes)), sizes))
    return Known(a, Guarantee(a, constants, level=level), level)


def of_kernel(v: Array, level: Array, levels: SparsityLevels, weights: Sequence[float]) -> tuple[float, float]:
    """The constants rho and gamma of an operator with AA* = I whose kernel is spanned by v.

    Write x = t v + u with u orthogonal to v, so ||u|| = ||Ax||. For a set Delta of s_k indices in each level
    ||x_Delta|| <= |t| N + ||u||, N = max ||v_Delta||, and for its complement, by Cauchy and Schwarz,
    ||x_Delta^c||_w >= |t| S - Q ||u||, S = min ||v_Delta^c||_w, Q^2 = sum_k w_k^2 (n_k - s_k). Eliminating |t|:
    rho = N sqrt(xi) / S and gamma = 1 + N Q / S. The data do not see v at all: here the term with the gap works.
    """
    parts = [-np.sort(-np.abs(v[level == k])) for k in range(len(levels.sizes))]
    rows = list(zip(parts, weights, levels.sparsities, strict=True))
    largest = math.sqrt(sum(float((part[:s] ** 2).sum()) for part, _, s in rows))
    rest = sum(w * float(part[s:].sum()) for part, w, s in rows)
    q = math.sqrt(sum(w * w * (len(part) - s) for part, w, s in rows))
    xi = sum(w * w * s for _, w, s in rows)
    return largest * math.sqrt(xi) / rest, 1 + q * largest / rest


def with_kernel(random: np.random.Generator, sizes: Sequence[int] = (3, 12, 30), *, real: bool = False) -> Known:
    """A matrix with orthonormal rows whose kernel is spanned by a vector with entries of modulus 1."""
    s = (*(1 for _ in sizes[1:]), int(random.integers(1, 3)))
    levels = SparsityLevels(tuple(sizes), s)
    w = levels.weights() if random.random() < 0.5 else random.uniform(0.8, 1.25, len(sizes))
    n = sum(sizes)
    v = random.choice([-1.0, 1.0], n) if real else np.exp(2j * np.pi * random.random(n))
    rows = np.linalg.qr(np.column_stack([v, gaussian(random, n, n - 1, real=real)]))[0][:, 1:].conj().T
    assert np.abs(rows @ v).max() < 1e-12
    level = random.permutation(np.repeat(np.arange(len(sizes)), sizes))
    rho, gamma = of_kernel(v, level, levels, w.tolist())
    constants = Constants(levels, rho=rho, gamma=gamma, weights=w.tolist())
    return Known(rows, Guarantee(rows, constants, level=level), level)


def of_image(side: int = 16, *, missing: bool) -> Known:
    """Fourier samples of Haar coefficients: all samples, or all but one of the highest frequency."""
    frame = Wavelet((side, side), "haar", levels=2)
    mask = torch.ones(side, side, dtype=torch.bool)
    level = frame.levels().numpy()
    sizes = tuple(np.bincount(level.ravel()).tolist())
    levels = SparsityLevels(sizes, (sizes[0] // 2, *(max(n // 8, 1) for n in sizes[1:])))
    weights = [1.0] * len(sizes)
    rho, gamma = 0.5, 1.0
    if missing:
        mask[side // 2, side // 2] = False
        spectrum = torch.zeros(side, side, dtype=torch.complex128)
        spectrum[side // 2, side // 2] = 1
        v = frame(torch.fft.ifft2(spectrum, norm="ortho")).numpy()
        rho, gamma = of_kernel(v, level, levels, weights)
    guarantee = Guarantee(SubsampledFourier(mask), Constants(levels, rho, gamma, weights), frame)
    return Known(guarantee.operator.as_matrix(torch.complex128).numpy(), guarantee, level.ravel())


def signal(random: np.random.Generator, known: Known, rest: float) -> Array:
    """Sparse in levels, with a rest of this size."""
    real = not np.iscomplexobj(known.matrix)
    x = rest * gaussian(random, len(known.level), real=real)
    for k, sk in enumerate(known.guarantee.constants.levels.sparsities):
        places = random.permutation(np.flatnonzero(known.level == k))[:sk]
        x[places] = gaussian(random, len(places), real=real)
    return x


def candidates(random: np.random.Generator, known: Known, x: Any, y: Any) -> Iterator[NDArray[np.complex128]]:
    """Reconstructions of every sort: of no, of some and of much use, and wrong where the data are blind."""
    n = len(x)
    yield np.zeros(n, dtype=complex)
    yield x
    yield known.matrix.conj().T @ y
    blind = np.linalg.svd(known.matrix)[2][-1].conj()
    for size in (1e-6, 1e-2, 1.0, 30.0):
        yield x + size * gaussian(random, n)
        yield x + size * blind
    yield 5 * gaussian(random, n)
