"""The inequalities of the recovery theorem, tried: for each problem what is promised and what is true.

Each trial draws a matrix whose null space property is known with proof (`known_matrices`), a signal, data and a
reconstruction, and yields pairs of a bound and the number that it bounds. The numbers are computed here in NumPy and
not by the library; a bound is violated where the truth exceeds it by more than their rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from firenet.operators.matrix import Matrix
from firenet.problems.synthesis import SynthesisProblem
from firenet.sparsity import defect
from known_matrices import Known, candidates, gaussian, signal, with_kernel, without_kernel
from oracles import paper_network

# Both sides are sums of some hundred products in double precision, of numbers up to this size.
ROUNDING = 1e-10


@dataclass(frozen=True)
class Pair:
    """A bound and what it bounds, in the same unit as ``size``, the largest number that went into the truth."""

    bound: float
    truth: float
    size: float

    @property
    def violated(self) -> bool:
        return not self.truth <= self.bound * (1 + ROUNDING) + ROUNDING * self.size

    @property
    def looseness(self) -> float:
        """The bound over the truth; NaN where the truth is rounding."""
        return self.bound / self.truth if self.truth > 1e-6 * self.size else math.nan


@dataclass(frozen=True)
class Data:
    """A matrix, the true signal, and measurements with noise."""

    known: Known
    x: Any
    y: Any
    sigma: float
    noise: float

    @classmethod
    def drawn(cls, random: np.random.Generator, known: Known) -> Data:
        x = signal(random, known, rest=float(random.choice([0, 1e-6, 1e-3, 1e-1])))
        e = float(random.choice([0, 1e-8, 1e-3, 1e-1])) * gaussian(random, len(known.matrix))
        constants = known.guarantee.constants
        sigma = defect(x, known.level, constants.levels, constants.weights)
        return cls(known, x, known.matrix @ x + e, sigma, float(np.linalg.norm(e)))


def after_each_restart(random: np.random.Generator) -> Iterator[Pair]:
    """The a priori bound of the error of the theorem's network, at every restart and for several lambda."""
    data = Data.drawn(random, with_kernel(random))
    g, size = data.known.guarantee, float(np.linalg.norm(data.y))
    lam = g.constants.lam * float(random.choice([1.0, 0.7, 1.3]))
    if lam * g.constants.gamma * math.sqrt(g.constants.xi) >= 1:
        lam = g.constants.lam
    delta = g.misfit(data.sigma, data.noise, lam=lam)
    for n in (1, 2, 4, 7):
        inner = g.inner(lam=lam)
        w = data.known.weights
        z = paper_network(data.known.matrix, data.y, w, lam, n, inner, delta, math.exp(-1), norm=g.norm)
        bound = g.error_bound(n, size=size, sparsity_defect=data.sigma, noise=data.noise, lam=lam)
        yield Pair(bound, float(np.linalg.norm(z - data.x)), float(np.linalg.norm(data.x)))


def from_the_gap(random: np.random.Generator) -> Iterator[Pair]:
    """The a posteriori bound from gap and residual, for reconstructions and dual points from anywhere."""
    data = Data.drawn(random, with_kernel(random) if random.random() < 0.5 else without_kernel(random))
    g, a = data.known.guarantee, data.known.matrix
    lam = float(random.choice([1e-2, g.constants.lam, 3 * g.constants.lam, 10.0]))
    problem = SynthesisProblem(Matrix(torch.from_numpy(a)), torch.from_numpy(data.known.weights), lam)
    for z in candidates(random, data.known, data.x, data.y):
        residual = a @ z - data.y
        r = float(np.linalg.norm(residual))
        for q in (10.0 ** random.uniform(-3, 3) * gaussian(random, len(data.y)), residual / (r or 1.0)):
            gap = problem.gap(*(torch.from_numpy(np.asarray(v)) for v in (z, q, data.y))).item()
            bound = g.error_from_gap(gap, r, sparsity_defect=data.sigma, noise=data.noise, lam=lam)
            size = float(np.linalg.norm(z) + np.linalg.norm(data.x)) * max(1, 1 / lam)
            yield Pair(bound, float(np.linalg.norm(z - data.x)), size)


INEQUALITIES: dict[str, Callable[[np.random.Generator], Iterator[Pair]]] = {
    "error after every restart": after_each_restart,
    "error from the gap": from_the_gap,
}


def tried(name: str, k: int, seed: int) -> list[Pair]:
    """Returns the pairs of the k-th problem for an inequality."""
    return list(INEQUALITIES[name](np.random.default_rng([seed, list(INEQUALITIES).index(name), k])))
