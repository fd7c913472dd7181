"""Matrices for proofs of the null space property, planted violations, and what a certificate proves, by brute force.

``python tests/null_space_cases.py --planted 50`` says how many of the planted violations were found.
"""

from __future__ import annotations

import argparse
import itertools
import math
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firenet.guarantees import Violation, refute_null_space
from firenet.sparsity import SparsityLevels

Case = tuple[NDArray[Any], SparsityLevels, list[float] | None]


def gaussian(seed: int, m: int, n: int, *, is_complex: bool = False) -> NDArray[Any]:
    random = np.random.default_rng(seed)
    a = random.standard_normal((m, n))
    return (a + 1j * random.standard_normal((m, n)) if is_complex else a) / math.sqrt(m)


def cases() -> dict[str, Case]:
    one, two = SparsityLevels((14,), (1,)), SparsityLevels((4, 10), (2, 1))
    tall = SparsityLevels((14,), (3,))
    spread = gaussian(4, 24, 14) * np.logspace(-3, 3, 14)
    return {
        "real": (gaussian(0, 10, 14), one, None),
        "complex": (gaussian(1, 10, 14, is_complex=True), one, None),
        "levels": (gaussian(2, 12, 14, is_complex=True), two, None),
        "weights": (gaussian(3, 13, 14), two, [1.0, 1.5]),
        "columns of all sizes": (spread, one, None),
        "tiny": (gaussian(5, 12, 14) * 1e-30, two, None),
        "huge": (gaussian(6, 12, 14, is_complex=True) * 1e30, two, None),
        "small weights": (gaussian(7, 13, 14), two, [1e-20, 1.5e-20]),
        "no kernel": (gaussian(8, 30, 14), tall, None),
        "float32": (gaussian(9, 10, 14).astype(np.float32), one, None),
        "integers": (np.random.default_rng(10).integers(-9, 10, (12, 14)), one, None),
    }


CASES = cases()


def supports(levels: SparsityLevels) -> Iterator[list[int]]:
    """All sets of s_k indices in each level."""
    ends = np.cumsum(levels.sizes).tolist()
    blocks = [range(end - size, end) for end, size in zip(ends, levels.sizes, strict=True)]
    choices = [itertools.combinations(block, s) for block, s in zip(blocks, levels.sparsities, strict=True)]
    for chosen in itertools.product(*choices):
        yield [i for part in chosen for i in part]


def numbers(part: dict[str, Any]) -> list[tuple[Fraction, Fraction]]:
    """A vector of a certificate as pairs of real and imaginary part."""
    unit = Fraction(2) ** part["exponent"]
    imaginary = part.get("imaginary") or [0] * len(part["real"])
    return [(a * unit, b * unit) for a, b in zip(part["real"], imaginary, strict=True)]


def proved(data: dict[str, Any]) -> tuple[float, float, float]:
    """What the vectors of a certificate prove, written again with fractions and every support.

    Returns:
        The exact a sqrt(xi), the exact b, and the bound of b by sums of squares and by row sums, all rounded.
    """
    matrix, levels = data["matrix"], SparsityLevels(data["levels"]["sizes"], data["levels"]["sparsities"])
    w = [Fraction(v) for v, size in zip(data["levels"]["weights"], levels.sizes, strict=True) for _ in range(size)]
    xi = sum(Fraction(v) ** 2 * s for v, s in zip(data["levels"]["weights"], levels.sparsities, strict=True))
    rows = [
        numbers(
            {"exponent": matrix["exponent"], "real": r, "imaginary": matrix["imaginary"] and matrix["imaginary"][k]}
        )
        for k, r in enumerate(matrix["real"])
    ]
    n, h = len(w), [numbers(v) for v in data["vectors"]]
    squares = [[Fraction(0)] * n for _ in range(n)]
    for i, j in itertools.product(range(n), repeat=2):
        pairs = [(row[j], v) for row, v in zip(rows, h[i], strict=True)]
        real = (i == j) - sum(a[0] * b[0] + a[1] * b[1] for a, b in pairs)
        imaginary = -sum(a[0] * b[1] - a[1] * b[0] for a, b in pairs)
        squares[i][j] = (real**2 + imaginary**2) / w[j] ** 2
    every = list(supports(levels))
    worst = max(sum(squares[i][j] for i in chosen) for chosen in every for j in range(n))
    # The largest singular values in double precision, of vectors of moderate size.
    size = max(max(abs(a), abs(b)) for v in h for a, b in v)
    H = np.array([[complex(a / size, b / size) for a, b in v] for v in h]).T
    gram = np.abs(H.conj().T @ H)
    b = max(float(np.linalg.norm(H[:, chosen], 2)) for chosen in every)
    long = max(math.sqrt(sum(gram[i, i] for i in chosen)) for chosen in every)
    wide = max(math.sqrt(gram[i, chosen].sum()) for chosen in every for i in range(n))
    return math.sqrt(worst * xi), b * float(size), min(long, wide) * float(size)


def planted(seed: int) -> tuple[NDArray[Any], SparsityLevels, float, float]:
    """A matrix with a sparse vector in its kernel or near it, and a pair (rho, gamma) that this vector violates.

    Without it the matrix would be far from violating the pair: gamma = 50 is 20 times what Gaussian columns need.
    """
    random = np.random.default_rng(seed)
    m, n, s = 24, 40, 1 + seed % 3
    a = gaussian(seed, m, n, is_complex=seed % 2 == 1)
    places = random.permutation(n)[: 2 * s]
    x = random.choice([-1, 1], 2 * s) * np.r_[1 + random.random(s), 0.3 + 0.3 * random.random(s)]
    near = 1e-4 * random.standard_normal(m) if seed % 5 == 0 else 0
    a[:, places[-1]] = (near - a[:, places[:-1]] @ x[:-1]) / x[-1]
    return a, SparsityLevels((n,), (s,)), 0.9, 50.0


def campaign(count: int) -> list[int]:
    """The seeds of planted violations that are not found."""

    def found(seed: int) -> Violation | None:
        a, levels, rho, gamma = planted(seed)
        return refute_null_space(a, levels, rho, gamma, seed=seed)

    return [seed for seed in range(count) if found(seed) is None]


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--planted", type=int, default=50)
    wanted = parser.parse_args().planted
    missed = campaign(wanted)
    print(f"{wanted - len(missed)} of {wanted} planted violations were found; seeds that were missed: {missed}")
