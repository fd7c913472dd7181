"""Matrices whose null space property is known with proof, signals for them, and reconstructions of every sort."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firenet.guarantees.constants import Constants
from firenet.guarantees.guarantee import Guarantee
from firenet.sparsity import SparsityLevels


def random_complex(random: np.random.Generator, *shape: int) -> NDArray[np.complex128]:
    return random.standard_normal(shape) + 1j * random.standard_normal(shape)


def unitary(random: np.random.Generator, n: int) -> NDArray[np.complex128]:
    return np.linalg.qr(random_complex(random, n, n))[0]


@dataclass(frozen=True)
class Known:
    """A matrix with the constants of its weighted robust null space property, and the level of each index."""

    matrix: NDArray[np.complex128]
    guarantee: Guarantee
    level: NDArray[np.int64]

    @property
    def weights(self) -> NDArray[np.float64]:
        return self.guarantee.weights


def without_kernel(random: np.random.Generator) -> Known:
    """A unitary matrix: ||x_Delta|| <= ||x|| = ||Ax||, so gamma = 1 with any rho (the term with rho is not needed)."""
    sizes = (2, 4, 6)
    levels = SparsityLevels(sizes, tuple(int(random.integers(1, n + 1)) for n in sizes))
    weights = None if random.random() < 0.5 else random.uniform(0.3, 3, 3).tolist()
    constants = Constants(levels, rho=float(random.uniform(0.01, 0.95)), gamma=1.0, weights=weights)
    a, level = unitary(random, 12), random.permutation(np.repeat(np.arange(3), sizes))
    return Known(a, Guarantee(a, constants, level=level), level)


def with_kernel(random: np.random.Generator) -> Known:
    """A matrix with orthonormal rows whose kernel is spanned by a vector v with entries of modulus 1.

    Write x = t v + u with u orthogonal to v, so ||u|| = ||Ax||. For a set Delta of s_k indices in each level
    ||x_Delta|| <= |t| sqrt(s) + ||u||, and for its complement, by Cauchy and Schwarz,
    ||x_Delta^c||_w >= |t| S - Q ||u||, S = sum_k w_k (n_k - s_k), Q^2 = sum_k w_k^2 (n_k - s_k). Eliminating |t|:
    rho = sqrt(s xi) / S and gamma = 1 + Q sqrt(s) / S. The data do not see v at all: here the term with the gap works.
    """
    sizes = (3, 12, 30)
    s = (1, 1, int(random.integers(1, 3)))
    levels = SparsityLevels(sizes, s)
    w = levels.weights() if random.random() < 0.5 else random.uniform(0.8, 1.25, 3)
    xi = sum(wk**2 * sk for wk, sk in zip(w, s, strict=True))
    rest = [n - sk for n, sk in zip(sizes, s, strict=True)]
    total = sum(wk * m for wk, m in zip(w, rest, strict=True))
    q = math.sqrt(sum(wk**2 * m for wk, m in zip(w, rest, strict=True)))
    rho, gamma = math.sqrt(sum(s) * xi) / total, 1 + q * math.sqrt(sum(s)) / total
    n = sum(sizes)
    v = np.exp(2j * np.pi * random.random(n))
    rows = np.linalg.qr(np.column_stack([v, random_complex(random, n, n - 1)]))[0][:, 1:].conj().T
    assert np.abs(rows @ v).max() < 1e-12
    level = random.permutation(np.repeat(np.arange(3), sizes))
    constants = Constants(levels, rho=rho, gamma=gamma, weights=w.tolist())
    return Known(rows, Guarantee(rows, constants, level=level), level)


def signal(random: np.random.Generator, known: Known, rest: float) -> NDArray[np.complex128]:
    """Sparse in levels, with a rest of this size."""
    x = rest * random_complex(random, len(known.level))
    for k, sk in enumerate(known.guarantee.constants.levels.sparsities):
        places = random.permutation(np.flatnonzero(known.level == k))[:sk]
        x[places] = random_complex(random, len(places))
    return x


def candidates(random: np.random.Generator, known: Known, x: Any, y: Any) -> Iterator[NDArray[np.complex128]]:
    """Reconstructions of every sort: of no, of some and of much use, and wrong where the data are blind."""
    n = len(x)
    yield np.zeros(n, dtype=complex)
    yield x
    yield known.matrix.conj().T @ y
    blind = np.linalg.svd(known.matrix)[2][-1].conj()
    for size in (1e-6, 1e-2, 1.0, 30.0):
        yield x + size * random_complex(random, n)
        yield x + size * blind
    yield 5 * random_complex(random, n)
