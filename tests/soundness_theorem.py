"""The inequalities of the recovery theorem, tried: for each problem what is promised and what is true.

Each trial draws a matrix whose null space property is known with proof (`known_matrices`) or verified on the spot, a
signal, data and a reconstruction, and yields pairs of a bound and the number that it bounds. Where it can be, the truth
is computed in NumPy and not by the library; a bound is violated where the truth exceeds it by more than their rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

import distances
from firenet.guarantees.confusion import confuse
from firenet.guarantees.null_space import NullSpaceProof, prove_null_space
from firenet.guarantees.violation import refute_null_space
from firenet.network import Firenet
from firenet.operators.matrix import Matrix
from firenet.problems.synthesis import SynthesisProblem
from firenet.solver.schedules import PaperSchedule
from firenet.sparsity import SparsityLevels, defect
from firenet.theorem.dyadic import DyadicNetwork
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
    for k, z in enumerate(candidates(random, data.known, data.x, data.y)):
        residual = a @ z - data.y
        r = float(np.linalg.norm(residual))
        q = 10.0 ** random.uniform(-3, 3) * gaussian(random, len(data.y)) if k % 2 else residual / (r or 1.0)
        gap = problem.gap(*(torch.from_numpy(np.asarray(v)) for v in (z, q, data.y))).item()
        bound = g.error_from_gap(gap, r, sparsity_defect=data.sigma, noise=data.noise, lam=lam)
        size = float(np.linalg.norm(z) + np.linalg.norm(data.x)) * max(1, 1 / lam)
        yield Pair(bound, float(np.linalg.norm(z - data.x)), size)


def verified_constants(random: np.random.Generator) -> Iterator[Pair]:
    """The null space property with constants that were verified for a matrix, at every sort of vector."""
    n, real = int(random.integers(10, 18)), bool(random.integers(2))
    first = int(random.integers(3, 7))
    levels = random.choice([0, 1])
    s = SparsityLevels((first, n - first), (1, int(random.integers(1, 3)))) if levels else SparsityLevels((n,), (1,))
    m = n - int(random.integers(1, 4))
    a = gaussian(random, m, n, real=real) * 10.0 ** random.integers(-20, 20) / math.sqrt(m)
    proof = prove_null_space(a, s)
    if not isinstance(proof, NullSpaceProof):
        return  # nothing is claimed
    rho, gamma, xi = float(proof.rho), float(proof.gamma), float(proof.problem.xi)
    w = s.spread([float(v) for v in proof.problem.weights], np.repeat(np.arange(len(s.sizes)), s.sizes))
    kernel = np.linalg.svd(a)[2][m:].conj()
    for k in range(24):
        x = gaussian(random, n, real=real) * 10.0 ** random.uniform(-6, 0)
        x[random.integers(n)] += 1
        if k % 3:  # near the kernel, where the property is decided
            x = x @ kernel.conj().T @ kernel + (0 if k % 3 == 1 else 1e-3 * gaussian(random, n, real=real))
        inside = np.zeros(n, dtype=bool)
        for start, size, count in zip(np.cumsum((0, *s.sizes)), s.sizes, s.sparsities, strict=False):
            inside[start + np.argsort(-np.abs(x[start : start + size]))[:count]] = True
        bound = rho * (w * np.abs(x))[~inside].sum() / math.sqrt(xi) + gamma * float(np.linalg.norm(a @ x))
        yield Pair(bound, float(np.linalg.norm(x[inside])), float(np.linalg.norm(x)))
    if random.random() < 0.2:  # a search by ascent finds no violation of what was verified
        violation = refute_null_space(a, s, proof.rho, proof.gamma)
        yield Pair(1.0, 1.0 if violation is None else math.inf, 1.0)


def exact_and_loop(random: np.random.Generator) -> Iterator[Pair]:
    """The network in exact dyadic numbers, and the loop in floating point."""
    m, n, real = int(random.integers(2, 6)), int(random.integers(3, 8)), bool(random.integers(2))
    a, y = gaussian(random, m, n, real=real), gaussian(random, m, real=real)
    digits = int(random.integers(3, 8))
    schedule = PaperSchedule(
        int(random.integers(1, 4)), int(random.integers(2, 8)), 1e-3, size=4 * float(np.abs(y).sum())
    )
    w, lam = random.uniform(0.5, 2, n), float(10.0 ** random.uniform(-2, 0))
    net = Firenet(Matrix(torch.from_numpy(a)), weights=torch.from_numpy(w), lam=lam, schedule=schedule)
    exact = DyadicNetwork(net, digits)
    z = net(torch.from_numpy(y))
    distance = torch.linalg.vector_norm(exact(y).tensor() - z).item()
    # Some dozens of layers in double precision: less than a thousand roundings, not what others here are compared to.
    yield Pair(float(exact.bound), distance, 1e-3 * max(1.0, float(torch.linalg.vector_norm(z))))


def distances_of_attacks(random: np.random.Generator) -> Iterator[Pair]:
    """The bounds of the distance to reconstructions of perturbed measurements, and what six attacks find."""
    kind = str(random.choice(list(distances.KINDS)))
    attacked = distances.attack(kind, int(random.integers(10**6)), count=6, steps=4)
    assert not attacked.false, attacked.false
    yield Pair(attacked.smallest, attacked.found, attacked.found)


def no_method(random: np.random.Generator) -> Iterator[Pair]:
    """Half the distance of a pair that the data cannot tell apart, and the worst error of several methods on the pair.

    Each method gets the same data for both signals, halfway between theirs; the truth is what it bounds from above, so
    the pair of numbers is the other way round.
    """
    n, real = int(random.integers(8, 20)), bool(random.integers(2))
    m = int(random.integers(2, n))
    a = gaussian(random, m, n, real=real) / math.sqrt(m)
    levels = SparsityLevels((n,), (int(random.integers(1, 4)),))
    noise = float(random.choice([0, 1e-3, 1e-1, 1.0]))
    found = confuse(Matrix(a), levels, noise=noise, bound=1.0, real=real, iterations=40, seed=int(random.integers(99)))
    first, second = found.first.numpy(), found.second.numpy()
    size = float(np.linalg.norm(first) + np.linalg.norm(second))
    yield Pair(2 * found.noise, float(np.linalg.norm(a @ (first - second))), size)
    y = a @ (first + second) / 2
    ridge = a.conj().T @ np.linalg.solve(a @ a.conj().T + 1e-3 * np.eye(m), y)
    truncated = np.where(np.abs(ridge) >= np.sort(np.abs(ridge))[-levels.total], ridge, 0)
    for z in (first, second, (first + second) / 2, ridge, truncated, 0 * first, gaussian(random, n, real=real)):
        worst = max(float(np.linalg.norm(z - x)) for x in (first, second))
        yield Pair(worst, found.lower_bound, size)


INEQUALITIES: dict[str, Callable[[np.random.Generator], Iterator[Pair]]] = {
    "error after every restart": after_each_restart,
    "error from the gap": from_the_gap,
    "verified constants": verified_constants,
    "exact network against the loop": exact_and_loop,
    "distance under attack": distances_of_attacks,
    "what no method can tell apart": no_method,
}


def tried(name: str, k: int, seed: int) -> list[Pair]:
    """Returns the pairs of the k-th problem for an inequality."""
    return list(INEQUALITIES[name](np.random.default_rng([seed, list(INEQUALITIES).index(name), k])))
