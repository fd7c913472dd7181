"""Compares bounds of norms with singular values: ``python tests/norms.py [--count 10000] [--seed 0]``, two minutes.

Operators are drawn at random: dense and sparse matrices, real and complex, of rank deficiency, with zeros, of scales
from 1e-9 to 1e9, pairs of functions, and adjoints, multiples, sums, products, stacks and subsets of these, up to three
deep. No bound that is called exact or proven may be below the norm, and no probable one either, whose probability to be
wrong is 1e-10.
"""

from __future__ import annotations

import argparse
from collections import Counter

import numpy as np
import torch
from torch import Tensor

from firenet import LinearOperator, Matrix
from firenet.operators import SparseMatrix, VerticalStack


def leaf(rng: np.random.Generator, m: int, n: int) -> tuple[LinearOperator, Tensor]:
    """Returns a matrix as an operator of a random kind, and its entries."""
    entries = rng.standard_normal((m, n))
    if rng.random() < 0.4:
        entries = entries + 1j * rng.standard_normal((m, n))
    elif rng.random() < 0.5:
        entries = np.abs(entries)
    if rng.random() < 0.2:
        entries = entries[:, :1] * np.ones((1, n))
    entries = entries * (rng.random((m, n)) < rng.choice([0.2, 0.6, 1.0])) * 10.0 ** rng.integers(-9, 10)
    matrix = torch.from_numpy(entries)
    kind = rng.choice(["dense", "sparse", "functions"])
    if kind == "dense":
        return Matrix(matrix), matrix
    if kind == "sparse":
        return SparseMatrix(matrix.to_sparse()), matrix

    def times(factor: Tensor, x: Tensor) -> Tensor:
        dtype = torch.promote_types(x.dtype, factor.dtype)
        return factor.to(dtype) @ x.to(dtype)

    return LinearOperator.from_functions(
        lambda x: times(matrix, x), lambda y: times(matrix.mH, y), (n,), (m,), seed=int(rng.integers(1000))
    ), matrix


def operator(rng: np.random.Generator, m: int, n: int, depth: int = 3) -> tuple[LinearOperator, Tensor]:
    """Returns an operator of shape (m, n) that is composed at random, and its matrix, computed beside it."""
    make = rng.choice(["leaf", "adjoint", "multiple", "sum", "product", "stack", "subset"]) if depth else "leaf"
    if make == "adjoint":
        a, dense = operator(rng, n, m, depth - 1)
        return a.H, dense.mH
    if make == "multiple":
        a, dense = operator(rng, m, n, depth - 1)
        factor = complex(*rng.standard_normal(2)) if rng.random() < 0.5 else float(rng.standard_normal())
        return factor * a, factor * dense
    if make == "sum":
        (a, first), (b, second) = (operator(rng, m, n, depth - 1) for _ in range(2))
        return a + b, first + second
    if make == "product":
        inner = int(rng.integers(1, 10))
        (a, first), (b, second) = operator(rng, m, inner, depth - 1), operator(rng, inner, n, depth - 1)
        return a @ b, first.to(torch.complex128) @ second.to(torch.complex128)
    if make == "stack" and m > 1:
        upper = int(rng.integers(1, m))
        (a, first), (b, second) = operator(rng, upper, n, depth - 1), operator(rng, m - upper, n, depth - 1)
        return VerticalStack([a, b]), torch.cat([first.to(torch.complex128), second.to(torch.complex128)])
    if make == "subset":
        a, dense = operator(rng, m, n, depth - 1)
        keep = torch.from_numpy(rng.random(m) < 0.6)
        return a.subset(keep), dense * keep[:, None]
    return leaf(rng, m, n)


def compared(seed: int) -> tuple[str, float]:
    """Returns the kind of the bound of one random operator, and the bound over the norm; 1 for zero operators."""
    rng = np.random.default_rng(seed)
    a, dense = operator(rng, *(int(k) for k in rng.integers(1, 10, 2)))
    bound, norm = a.norm_bound, torch.linalg.matrix_norm(dense.to(torch.complex128), 2).item()
    assert norm > 0 or bound.value >= 0
    return bound.kind, bound.value / norm if norm else 1.0


# The singular values themselves are rounded; nothing else is allowed.
LEAST = 1 - 1e-12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    kinds, wrong = Counter[str](), 0
    ratios: dict[str, list[float]] = {}
    for seed in range(arguments.seed, arguments.seed + arguments.count):
        kind, ratio = compared(seed)
        kinds[kind] += 1
        ratios.setdefault(kind, []).append(ratio)
        if ratio < LEAST:
            wrong += 1
            print(f"seed {seed}: the {kind} bound is {ratio!r} of the norm")
    for kind, count in kinds.items():
        print(
            f"{kind}: {count} operators, bound / norm {np.median(ratios[kind]):.4f} (median), {max(ratios[kind]):.3g}"
        )
    print(f"{wrong} of {arguments.count} bounds are below the norm")
    raise SystemExit(wrong > 0)


if __name__ == "__main__":
    main()
