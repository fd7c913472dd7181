"""Operators of the algebra, of sparse matrices and of two functions, as cases of the laws."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cases import (
    C_TALL,
    C_WIDE,
    EYE,
    TALL,
    WIDE,
    adjoint_case,
    entries,
    product_case,
    rounded,
    stack_case,
    wide,
)
from draws import uniform
from firenet import LinearOperator, Matrix
from firenet.operators import Weighted
from laws import Case


def scaled_case(factor: complex, a: Case) -> Case:
    return Case(
        f"{factor} * {a.name}",
        lambda dtype: factor * a.make(dtype),
        lambda dtype: factor * wide(a, dtype),
    )


def sum_case(a: Case, b: Case) -> Case:
    return Case(
        f"{a.name} + {b.name}",
        lambda dtype: a.make(dtype) + b.make(dtype),
        lambda dtype: wide(a, dtype) + wide(b, dtype),
    )


def sparse_case(name: str, matrix: Tensor, share: float = 0.4) -> Case:
    matrix = matrix * (uniform(matrix.shape, seed=matrix.numel()) < share)

    def make(dtype: torch.dtype) -> LinearOperator:
        return Matrix(rounded(matrix, dtype).to_sparse())

    return Case(f"sparse {name}", make, lambda dtype: rounded(matrix, dtype))


@dataclass
class Times:
    """Multiplies by the transpose of a matrix of NumPy or torch, in double precision whatever it gets."""

    matrix: Any

    def __call__(self, x: Any) -> Any:
        if isinstance(x, np.ndarray):
            return x @ self.matrix.T
        dtype = torch.promote_types(x.dtype, self.matrix.dtype)
        return x.to(dtype) @ self.matrix.to(dtype).mT


def functions_case(name: str, matrix: Tensor, **how: Any) -> Case:
    """Two functions of NumPy or torch."""
    m: Any = matrix.numpy() if how.get("numpy") else matrix
    back = Times(m.conj().T if how.get("numpy") else m.mH)

    def make(_: torch.dtype) -> LinearOperator:
        return LinearOperator.from_functions(Times(m), back, (m.shape[1],), (m.shape[0],), **how)

    return Case(f"functions {name}", make, lambda _: matrix)


def weighted_case(a: Case, *weights: float) -> Case:
    m = torch.tensor(weights, dtype=torch.float64)
    return Case(
        f"weighted {a.name}",
        lambda dtype: Weighted(a.make(dtype), m),
        lambda dtype: m.sqrt().unsqueeze(-1) * wide(a, dtype),
    )


def reshaped_case(a: Case, in_shape: tuple[int, ...], out_shape: tuple[int, ...]) -> Case:
    return Case(f"reshaped {a.name}", lambda dtype: a.make(dtype).reshaped(in_shape, out_shape), a.dense)


SPARSE = [
    sparse_case("tall", entries(9, 4)),
    sparse_case("complex wide", entries(5, 11, complex_=True, seed=3)),
    sparse_case("no negative entries", entries(8, 6, seed=4).abs()),
    sparse_case("zero", torch.zeros(3, 4, dtype=torch.float64)),
    sparse_case("one entry", torch.eye(1, 5, dtype=torch.float64), share=1.0),
    sparse_case("tiny", 1e-6 * entries(6, 7, seed=5)),
]
ALGEBRA = [
    scaled_case(-2.5, TALL),
    scaled_case(0.5 + 1j, C_WIDE),
    scaled_case(0.0, TALL),
    scaled_case(-1.0, scaled_case(2j, WIDE)),
    sum_case(TALL, C_TALL),
    sum_case(EYE, scaled_case(-1.0, EYE)),
    sum_case(product_case(WIDE, TALL), EYE),
    adjoint_case(sum_case(C_TALL, scaled_case(1j, TALL))),
    product_case(scaled_case(3.0, WIDE), TALL),
    stack_case(sum_case(TALL, TALL), EYE),
    weighted_case(C_WIDE, 0.5, 2.0, 3.0, 1.0),
    adjoint_case(weighted_case(WIDE, 9.0)),
    product_case(adjoint_case(SPARSE[1]), SPARSE[1]),
    reshaped_case(SPARSE[2], (2, 3), (4, 2)),
    adjoint_case(reshaped_case(C_WIDE, (7,), (1, 2, 2))),
    reshaped_case(scaled_case(1j, EYE), (2, 2), (2, 2)),
]
FUNCTIONS = [
    functions_case("tall", entries(7, 4), numpy=True),
    functions_case("complex wide", entries(4, 7, complex_=True, seed=3)),
    functions_case("of several at once", entries(5, 3, complex_=True, seed=6), batched=True),
    functions_case("of real numbers", entries(5, 3, seed=7), numpy=True, real=True),
]
MORE = [*SPARSE, *ALGEBRA, *FUNCTIONS]
