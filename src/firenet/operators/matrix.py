"""A matrix as an operator."""

from __future__ import annotations

import math
from typing import Any, Literal, Self, cast

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from firenet.errors import BadInput
from firenet.numerics import UNIT, compiling, derived, doubled, norms, power_of_two, real_view, tensor_of
from firenet.operators.linear import LinearOperator
from firenet.operators.norm_bound import NormBound
from firenet.operators.sparse import Sparse, SparseMatrix, is_sparse


class Matrix(LinearOperator):
    """A dense matrix, shape (m, n), acting on the last axis; of a sparse one, :class:`.SparseMatrix`.

    If the smaller side is at most 2048, the norm bound is the largest singular value in float64, times
    :math:`1+4\\max(m,n)\\,u` (u = 2.3e-16) for the rounding of the SVD. For larger matrices it is the smaller of the
    Frobenius norm and :math:`\\sqrt{\\|A\\|_1\\|A\\|_\\infty}`, times the same factor: it is proven, but may be several
    times too large.
    """

    SVD_LIMIT = 2048

    matrix: Tensor

    def __new__(cls, matrix: Any = None) -> Self:
        """Returns a :class:`.SparseMatrix` for a sparse matrix of SciPy or torch."""
        if cls is Matrix and is_sparse(matrix):
            return SparseMatrix(matrix)  # pyright: ignore[reportReturnType]
        return super().__new__(cls)

    def __init__(self, matrix: Tensor | ArrayLike | Sparse) -> None:
        # A copy: later changes of the caller's matrix must not reach the operator, whose norm bound would be wrong.
        matrix = tensor_of(cast("ArrayLike", matrix), "a matrix").clone()
        if matrix.ndim != 2 or 0 in matrix.shape:
            got = f"shape {tuple(matrix.shape)}"
            raise BadInput("A matrix with two axes, none of them empty", got, "Reshape it to (m, n)")
        if not (matrix.is_floating_point() or matrix.is_complex()):
            do = "Convert it, e.g. matrix.to(torch.float64)"
            raise BadInput("A real or complex matrix", f"dtype {matrix.dtype}", do)
        if not torch.isfinite(matrix).all():
            raise BadInput("A finite matrix", "NaN or infinity", "Remove the entries that are not finite")
        m, n = matrix.shape
        super().__init__((n,), (m,), _matrix_norm(matrix.detach()))
        self.register_buffer("matrix", matrix)
        self._forget()

    def _forget(self) -> None:
        self._diagonal: Tensor | Literal["unknown"] | None = "unknown"
        self._double: Tensor | None = None
        self._frobenius: float | None = None

    def renew(self) -> None:
        self._norm_bound = _matrix_norm(self.matrix.detach())
        self._forget()

    @property
    def frobenius(self) -> float:
        """The Frobenius norm of the matrix."""
        self.notice_changes()
        if self._frobenius is None:
            self._frobenius = norms(self.matrix.detach(), 2).item()
        return self._frobenius

    @property
    def gain(self) -> float:
        return self.frobenius / len(self.matrix) ** 0.5

    @property
    def rounding(self) -> float:
        # |fl(Ax) - Ax| <= gamma_{n+2} |A| |x| entrywise, complex products included; || |A| || <= ||A||_F.
        return 2 * (max(self.matrix.shape) + 4) * self.frobenius

    def adjoint_roundings(self, y: Tensor) -> Tensor:
        modulus = self.matrix.detach().abs().to(torch.float64)
        return 2 * (len(self.matrix) + 4) * (doubled(y).abs() @ modulus)

    def constant_response(self) -> tuple[Tensor, float]:
        # math.fsum rounds each sum correctly, so it decides exactly whether a row sums to zero.
        double = doubled(self.matrix.detach()).cpu()
        rows = torch.view_as_real(double).numpy() if double.is_complex() else double.unsqueeze(-1).numpy()
        sums = np.array([[math.fsum(row[:, k]) for k in range(rows.shape[-1])] for row in rows])
        exact = torch.from_numpy(sums[:, 0] + 1j * sums[:, 1] if self.matrix.is_complex() else sums[:, 0])
        return exact.to(self.matrix.device), 2 * UNIT * norms(exact, 1).item()

    @property
    def has_minimum_norm(self) -> bool:
        return self._inverse_gram is not None

    def minimum_norm(self, y: Tensor) -> Tensor | None:
        inverse = self._inverse_gram
        return None if inverse is None else self.adjoint(y * inverse.to(y.real.dtype))

    @property
    def _inverse_gram(self) -> Tensor | None:
        """The diagonal of :math:`(AA^*)^{-1}` if AA* is diagonal, else None."""
        if compiling() and self._diagonal == "unknown":
            do = "Read sensing.has_minimum_norm once before the network is compiled or exported"
            raise BadInput(
                "A matrix of which it is known whether AA* is diagonal", "one that was changed or copied", do
            )
        if not compiling():
            self.notice_changes()
        if self._diagonal == "unknown":
            self._diagonal = _inverse_diagonal(self.matrix.detach())
        assert not isinstance(self._diagonal, str)
        return self._diagonal

    def _in(self, dtype: torch.dtype) -> Tensor:
        """Returns the matrix in the precision of x, or in its own if that is higher; a copy in double precision is
        kept."""
        if torch.finfo(dtype).bits <= torch.finfo(self.matrix.dtype).bits:
            return self.matrix
        if compiling():
            return doubled(self.matrix)
        self.notice_changes()
        if self._double is None or derived(self.matrix):
            self._double = doubled(self.matrix)
        return self._double

    @staticmethod
    def _times(matrix: Tensor, x: Tensor) -> Tensor:
        if torch.finfo(x.dtype).bits < torch.finfo(matrix.dtype).bits:
            x = doubled(x)
        if matrix.is_complex() and not x.is_complex():
            x = x.to(matrix.dtype)
        elif x.is_complex() and not matrix.is_complex():
            # Two real products instead of a complex copy of the matrix.
            return torch.view_as_complex((matrix @ torch.view_as_real(x.resolve_conj())).contiguous())
        return x @ matrix.mT

    def _forward(self, x: Tensor) -> Tensor:
        return self._times(self._in(x.dtype), x)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self._times(self._in(y.dtype).mH, y)

    def state_dtype(self, y: torch.dtype) -> torch.dtype:
        return torch.promote_types(y, self.matrix.dtype)


def _inverse_diagonal(matrix: Tensor) -> Tensor | None:
    if len(matrix) > matrix.shape[1]:
        return None
    gram = matrix @ matrix.mH
    diagonal = gram.diagonal().real.clone()
    gram.diagonal().zero_()
    slack = 4 * matrix.shape[1] * torch.finfo(matrix.dtype).eps
    scale = diagonal.sqrt()
    if not bool((diagonal > 0).all()) or bool((gram.abs() > slack * scale[:, None] * scale).any()):
        return None
    return diagonal.reciprocal()


def _matrix_norm(matrix: Tensor) -> NormBound:
    m, n = matrix.shape
    double = doubled(matrix.cpu())  # not every device has float64
    # Scaled so that the largest entry is about one: then no square under- or overflows.
    scale = power_of_two(real_view(double).abs().max()).item()
    double = double / scale
    slack = (1 + 4 * max(m, n) * 2.3e-16) * scale
    if min(m, n) <= Matrix.SVD_LIMIT:
        return NormBound(torch.linalg.matrix_norm(double, 2).item() * slack, "exact", "largest singular value, float64")
    frobenius = torch.linalg.matrix_norm(double).item()
    mixed = math.sqrt(torch.linalg.matrix_norm(double, 1).item() * torch.linalg.matrix_norm(double, math.inf).item())
    why = "Frobenius norm or root of the product of the 1- and inf-norm"
    return NormBound(min(frobenius, mixed) * slack, "proven", why)
