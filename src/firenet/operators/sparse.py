"""A sparse matrix as an operator."""

from __future__ import annotations

import math
from functools import partial
from importlib.util import find_spec
from typing import Any, Protocol, Self

import numpy as np
import torch
from torch import Tensor

from firenet.errors import BadInput
from firenet.numerics import compiling, doubled, norms, power_of_two, real_view, tensor_of
from firenet.operators.collatz import collatz_wielandt
from firenet.operators.derivative import differentiable
from firenet.operators.linear import LinearOperator
from firenet.operators.norm_bound import NormBound

# numbers that one item of the fallback without SciPy may take at a time
_PIECE = 2**22


class Sparse(Protocol):
    """A sparse matrix of SciPy."""

    def tocsr(self) -> Any: ...


def is_sparse(matrix: Any) -> bool:
    """Returns whether an object is a sparse matrix of SciPy or torch."""
    return matrix.layout != torch.strided if isinstance(matrix, Tensor) else hasattr(matrix, "tocsr")


class SparseMatrix(LinearOperator):
    """A sparse matrix, shape (m, n), acting on the last axis; its entries are stored by rows (CSR).

    On the CPU the products are SciPy's, if it is installed, otherwise torch's. Without negative entries the norm bound
    is that of Collatz and Wielandt (:func:`.collatz_wielandt`); otherwise it is the same bound for the moduli of the
    entries, whose norm is at least that of the matrix, or the Frobenius norm if that is smaller. Both are proven.

    Args:
        matrix: A sparse matrix or array of SciPy, or a sparse tensor; copied. Several entries at one place are summed.

    Raises:
        BadInput: For other objects, and for entries that are not finite or no floating-point numbers.
    """

    rows: Tensor
    columns: Tensor
    entries: Tensor

    def __init__(self, matrix: Tensor | Sparse) -> None:
        if not is_sparse(matrix):
            do = "A dense one goes to firenet.Matrix"
            raise BadInput("A sparse matrix of SciPy or torch", type(matrix).__name__, do)
        rows, columns, entries, shape = _parts(matrix)
        if len(shape) != 2 or 0 in shape:
            got = f"shape {tuple(shape)}"
            raise BadInput("A matrix with two axes, none of them empty", got, "Reshape it to (m, n)")
        if not (entries.is_floating_point() or entries.is_complex()):
            do = "Convert it, e.g. matrix.astype(float)"
            raise BadInput("A real or complex matrix", f"dtype {entries.dtype}", do)
        if not bool(torch.isfinite(real_view(entries)).all()):
            raise BadInput("A finite matrix", "NaN or infinity", "Remove the entries that are not finite")
        self._store(rows, columns, entries, shape)

    @classmethod
    def of_rows(
        cls, rows: Tensor, columns: Tensor, entries: Tensor, shape: tuple[int, int], *, follow: bool = False
    ) -> Self:
        """Returns the operator of the three arrays of a matrix that is stored by rows; they are neither checked nor
        copied.

        Args:
            rows: Where the entries of each row begin, and the number of all, shape (m + 1,).
            columns: The column of each entry, in ascending order within a row and each at most once.
            entries: Finite floating-point numbers.
            shape: (m, n).
            follow: Whether products are computed in the precision of the argument, with rounded entries, if that is
                lower than the precision of the entries.
        """
        found = cls.__new__(cls)
        found._store(rows, columns, entries, shape, follow=follow)
        return found

    def _store(
        self, rows: Tensor, columns: Tensor, entries: Tensor, shape: tuple[int, ...], *, follow: bool = False
    ) -> None:
        super().__init__((shape[1],), (shape[0],), None)
        self._follow = follow
        self.register_buffer("rows", rows)
        self.register_buffer("columns", columns)
        self.register_buffer("entries", entries)
        self.renew()

    def renew(self) -> None:
        self._tables: dict[torch.dtype, Any] = {}
        self._norm_bound = self._bound()
        self._seen = self.numbers()

    def _bound(self) -> NormBound:
        entries = doubled(self.entries.detach().cpu())
        if not len(entries):
            return NormBound(0.0, "exact", "a matrix of zeros")
        scale = power_of_two(real_view(entries).abs().max()).item()
        sizes = (entries / scale).abs()
        terms = int(self._counts().max()) + int(torch.bincount(self.columns.cpu()).max())
        table = self._table_of(sizes)
        first = partial(_product, table, transposed=False)
        value = collatz_wielandt(first, partial(_product, table, transposed=True), self.in_shape[0], terms)
        frobenius = norms(sizes, 1).item() * (1 + 4e-16 * math.sqrt(len(sizes)))
        negative = entries.is_complex() or bool((entries < 0).any())
        # A modulus of a complex number is rounded, by at most two units.
        value = min(value * (1 + 1e-15 * negative), frobenius) * scale
        what = "of the moduli of the entries, or Frobenius norm" if negative else "of entries that are not negative"
        return NormBound(value, "proven", f"bound of Collatz and Wielandt {what}")

    def _counts(self) -> Tensor:
        return self.rows[1:] - self.rows[:-1]

    def _table_of(self, entries: Tensor) -> Any:
        """Returns the matrix with these entries for :func:`_product`: of SciPy on the CPU, else index and entries."""
        shape = (self.out_shape[0], self.in_shape[0])
        if entries.device.type == "cpu" and find_spec("scipy") is not None:
            from scipy.sparse import csr_array

            parts = (entries.numpy(), self.columns.cpu().numpy(), self.rows.cpu().numpy())
            return csr_array(parts, shape=shape)
        rows = torch.repeat_interleave(torch.arange(shape[0], device=entries.device), self._counts().to(entries.device))
        return rows, self.columns.to(entries.device, torch.int64), entries, shape

    def _table(self, dtype: torch.dtype) -> Any:
        """Returns the matrix in the precision :meth:`_precision` for arguments of a dtype."""
        self.notice_changes()
        wanted = self._precision(dtype)
        if wanted not in self._tables:
            self._tables[wanted] = self._table_of(self.entries.detach().to(wanted))
        return self._tables[wanted]

    def _precision(self, dtype: torch.dtype) -> torch.dtype:
        """Returns the dtype of the entries for arguments of a dtype: that of the entries or, if the argument has a
        higher precision or the matrix follows it, that precision."""
        own, bits = self.entries.dtype, torch.finfo(dtype).bits
        if bits > torch.finfo(own).bits:
            return doubled(self.entries[:0]).dtype
        single = self._follow and bits == 32
        return (torch.complex64 if own.is_complex else torch.float32) if single else own

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_tables": {}}

    def _apply_to(self, x: Tensor, *, transposed: bool) -> Tensor:
        """Computes Sx or, transposed, S*x, without derivatives."""
        if compiling():
            return self._formula(x, transposed=transposed)
        x = x.detach().resolve_conj().resolve_neg()
        table, complex_ = self._table(x.dtype), self.entries.is_complex()
        x = x.to(self.state_dtype(x.dtype))
        if transposed and complex_:
            return _batched(table, x.conj().resolve_conj(), transposed=True).conj().resolve_conj()
        if x.is_complex() and not complex_:  # two real products
            both = _batched(table, torch.stack([x.real, x.imag]), transposed=transposed)
            return torch.complex(both[0], both[1])
        return _batched(table, x, transposed=transposed)

    def _formula(self, x: Tensor, *, transposed: bool) -> Tensor:
        """Computes the same in plain torch, for a compiler."""
        to = torch.arange(self.out_shape[0], device=x.device)
        to = torch.repeat_interleave(to, self._counts(), output_size=len(self.entries))
        of, side, entries = self.columns, self.out_shape[0], self.entries
        if transposed:
            to, of, side, entries = of, to, self.in_shape[0], entries.conj()
        x = x.to(torch.promote_types(x.dtype, entries.dtype))
        terms = x.index_select(-1, of) * entries.to(x.dtype)
        return terms.new_zeros((*x.shape[:-1], side)).index_add(-1, to, terms)

    def _forward(self, x: Tensor) -> Tensor:
        return differentiable(x, partial(self._apply_to, transposed=False), partial(self._apply_to, transposed=True))

    def _adjoint(self, y: Tensor) -> Tensor:
        return differentiable(y, partial(self._apply_to, transposed=True), partial(self._apply_to, transposed=False))

    def state_dtype(self, y: torch.dtype) -> torch.dtype:
        return torch.promote_types(y, self._precision(y))

    @property
    def frobenius(self) -> float:
        """The Frobenius norm of the matrix."""
        return norms(self.entries.detach(), 1).item() if len(self.entries) else 0.0

    @property
    def gain(self) -> float:
        return self.frobenius / math.sqrt(self.out_shape[0])

    @property
    def rounding(self) -> float:
        # As for a dense matrix, with the largest number of terms of a sum in place of the sides.
        if not len(self.entries):
            return 0.0
        # The bound of the norm is one for the moduli of the entries, too.
        terms = max(int(self._counts().max()), int(torch.bincount(self.columns).max()))
        return 2 * (terms + 4) * self.norm_bound.value


def _parts(matrix: Tensor | Sparse) -> tuple[Tensor, Tensor, Tensor, tuple[int, ...]]:
    """Returns the row pointers, columns and entries of a sparse matrix, as copies, and its shape."""
    if isinstance(matrix, Tensor):
        if matrix.ndim != 2:
            return torch.zeros(1), torch.zeros(0), torch.zeros(0), tuple(matrix.shape)
        whole = matrix.detach().to_sparse_coo().coalesce()
        place, entries = whole.indices(), whole.values().clone()
        counts = torch.bincount(place[0], minlength=matrix.shape[0])
        rows = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        return rows, place[1].clone(), entries, tuple(matrix.shape)
    whole = matrix.tocsr().copy()
    whole.sum_duplicates()
    rows, columns = (torch.from_numpy(np.array(a, dtype=np.int64)) for a in (whole.indptr, whole.indices))
    return rows, columns, tensor_of(np.array(whole.data), "the entries of a matrix"), tuple(whole.shape)


def _batched(table: Any, x: Tensor, *, transposed: bool) -> Tensor:
    batch = x.shape[:-1]
    flat = x.reshape(-1, x.shape[-1])
    if len(flat) == 1:
        return _product(table, flat[0], transposed=transposed).view(*batch, -1)
    if not isinstance(table, tuple):
        found = _product(table, flat.mT.contiguous(), transposed=transposed)
        return found.mT.reshape(*batch, len(found))
    side = table[3][1 if transposed else 0]
    found = [_product(table, one, transposed=transposed) for one in flat]
    return torch.stack(found).view(*batch, side) if found else flat.new_zeros((*batch, side))


def _product(table: Any, x: Tensor, *, transposed: bool) -> Tensor:
    """Computes Sx, or with ``transposed`` the product of the transpose, for a vector x; a matrix of SciPy also takes
    columns."""
    if not isinstance(table, tuple):
        return torch.from_numpy(np.ascontiguousarray((table.T if transposed else table) @ x.numpy()))
    to, of, entries, shape = (table[1], table[0], *table[2:]) if transposed else table
    found = x.new_zeros(shape[1] if transposed else shape[0])
    for piece in range(0, len(entries), _PIECE):
        here = slice(piece, piece + _PIECE)
        found.index_add_(0, to[here], entries[here] * x[of[here]])
    return found
