"""The Walsh-Hadamard transform in sequency order, and the permutations from other orders of its patterns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from firenet.errors import BadInput
from firenet.numerics import compiling
from firenet.operators.norm_bound import NormBound
from firenet.transforms.analysis_operator import TightFrame

# Sequency: by sign changes (Walsh). Natural: Sylvester's construction (Hadamard). Dyadic: Paley's.
Order = Literal["sequency", "natural", "dyadic"]
ORDERS: tuple[Order, ...] = get_args(Order)

# With this many rows or more, the last axis is transformed across the rows of the transposed image, so that every stage
# adds long pieces of memory.
_ACROSS = 16


class WalshHadamard(TightFrame):
    """The orthonormal Walsh-Hadamard transform in sequency order in 1-D, 2-D or 3-D.

    Row k of the matrix has k sign changes; the matrix is symmetric and its own inverse. It is applied by butterflies in
    O(N log N).

    Args:
        shape: Sides of the image, powers of two.

    >>> WalshHadamard((4,))(torch.eye(4)).mul(2).int().tolist()
    [[1, 1, 1, 1], [1, 1, -1, -1], [1, -1, -1, 1], [1, -1, 1, -1]]
    """

    is_orthonormal = True

    def __init__(self, shape: Sequence[int]) -> None:
        shape = _sides(shape)
        super().__init__(shape, shape, NormBound(1.0, "exact", "the Walsh transform is orthonormal"))
        for axis, n in enumerate(shape):
            self.register_buffer(f"_order{axis}", sequency_order(n), persistent=False)

    @property
    def rounding(self) -> float:
        return math.log2(math.prod(self.in_shape)) + 4  # one rounding per stage of butterflies, and the scale

    def levels(self) -> Tensor:
        """Returns the dyadic band of each coefficient, by the largest of its sequencies along the axes: band 0 is
        {0, 1}, band j is {2**j .. 2**(j+1) - 1}."""
        level = torch.zeros(self.out_shape, dtype=torch.int64)
        for k in range(1, max(self.out_shape).bit_length() - 1):
            outside = torch.ones(self.out_shape, dtype=torch.bool)
            outside[tuple(slice(2**k) for _ in self.out_shape)] = False
            level[outside] = k
        return level

    def _analyse(self, x: Tensor) -> Tensor:
        d, shape = len(self.in_shape), x.shape
        for axis, n in enumerate(self.in_shape):
            if n == 1 or x.numel() == 0:
                continue
            outer, inner = math.prod(shape[: x.ndim - d + axis]), math.prod(self.in_shape[axis + 1 :])
            x, order = x.reshape(outer, n, inner), getattr(self, f"_order{axis}")
            if inner == 1 and outer >= _ACROSS:
                across = _butterfly(x.view(outer, n).mT.contiguous().unsqueeze(0)).index_select(1, order)
                x = across.squeeze(0).mT.contiguous().view(shape)
            else:
                x = _butterfly(x).index_select(1, order).view(shape)
        return x.mul(math.prod(self.in_shape) ** -0.5)

    def _synthesise(self, c: Tensor) -> Tensor:
        return self._analyse(c)


def sequency_order(n: int) -> Tensor:
    """Returns for each k < n the row of the Hadamard matrix (natural order) with k sign changes: the reversed bits of
    k's Gray code."""
    return natural_rows(n, "sequency")


def natural_rows(n: int, order: Order) -> Tensor:
    """Returns for each number k < n of a pattern the row of the Hadamard matrix in natural order that is this pattern.

    The Hadamard matrix in natural order (Sylvester's) has the entries :math:`(-1)^{\\langle a,x\\rangle}`, with the
    bits of the row a and of the pixel x. Row k in dyadic order (Paley's) is the natural row of k's reversed bits, and
    row k in sequency order (Walsh's), which has k sign changes, that of the reversed bits of k's Gray code.

    Args:
        n: The number of patterns, a power of two.
        order: The order of the numbers k.

    Raises:
        BadInput: For another order.

    >>> natural_rows(8, "dyadic").tolist(), natural_rows(8, "sequency").tolist()
    ([0, 4, 2, 6, 1, 5, 3, 7], [0, 4, 6, 2, 3, 7, 5, 1])
    """
    if order not in ORDERS:
        do = "natural is Sylvester's (scipy.linalg.hadamard), dyadic is Paley's, sequency counts sign changes"
        raise BadInput(f"An order of Walsh patterns: {', '.join(ORDERS)}", repr(order), do)
    k, bits = torch.arange(n), n.bit_length() - 1
    if order == "natural":
        return k
    return _reversed_bits(k if order == "dyadic" else k ^ (k >> 1), bits)


def sequency_positions(shape: Sequence[int], order: Order, *, flattened: bool = False) -> Tensor:
    """Returns for each number k < N of a pattern its place in the grid of :class:`WalshHadamard`, counted row by row.

    A pattern of an image is separable in all three orders: it is a product of a pattern for each axis. The numbers k
    count either the products of the patterns of the axes, row by row (the last axis fastest), each axis in the given
    order, or the rows of the N x N matrix over the flattened image, in the given order. For the natural order the two
    are the same, since the matrix of the flattened image is the Kronecker product of those of the axes. In the
    flattened dyadic order the first axis is the fastest one. The flattened sequency order counts the sign changes along
    the flattened image.

    Args:
        shape: The sides of the image, powers of two; the image is flattened row by row.
        order: The order of the numbers k.
        flattened: Whether the order is that of the flattened image.

    Returns:
        Shape (N,), a permutation of 0 .. N-1.

    Raises:
        BadInput: For another order, or sides that are not powers of two.

    >>> sequency_positions((2, 4), "natural").tolist()
    [0, 3, 1, 2, 4, 7, 5, 6]
    """
    shape = _sides(shape)
    size = math.prod(shape)
    if flattened:
        along = list(torch.unravel_index(natural_rows(size, order), shape))
    else:
        numbers = torch.unravel_index(torch.arange(size), shape)
        along = [natural_rows(n, order)[k] for n, k in zip(shape, numbers, strict=True)]
    place = torch.zeros(size, dtype=torch.int64)
    for n, rows in zip(shape, along, strict=True):
        place = place * n + torch.argsort(natural_rows(n, "sequency"))[rows]
    return place


def _reversed_bits(k: Tensor, bits: int) -> Tensor:
    """Returns the numbers whose lowest bits are those of k in reversed order."""
    found = torch.zeros_like(k)
    for bit in range(bits):
        found = (found << 1) | ((k >> bit) & 1)
    return found


def _sides(shape: Sequence[int]) -> tuple[int, ...]:
    """Returns the sides of an image after a check that they are one to three powers of two."""
    shape = tuple(int(n) for n in shape)
    if any(n < 1 or n & (n - 1) for n in shape) or not 1 <= len(shape) <= 3:
        to = [1 << (max(n, 1) - 1).bit_length() for n in shape]
        needed = "A Walsh transform needs one to three sides that are powers of two"
        raise BadInput(needed, f"{shape}", f"Crop the image, or pad it to {tuple(to)}")
    return shape


def _butterfly(x: Tensor) -> Tensor:
    """Computes the Hadamard transform (natural order, no scaling) along the middle axis of (outer, n, inner)."""
    n, inner = x.shape[1:]
    half = n // 2
    if compiling():
        while half:
            pairs = x.reshape(-1, 2, half * inner)
            x = torch.stack([pairs[:, 0] + pairs[:, 1], pairs[:, 0] - pairs[:, 1]], dim=1).view(x.shape)
            half //= 2
        return x
    result, work = (torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(2))
    while half:
        pairs, written = (t.reshape(-1, 2, half * inner) for t in (x, result))
        torch.add(pairs[:, 0], pairs[:, 1], out=written[:, 0])
        torch.sub(pairs[:, 0], pairs[:, 1], out=written[:, 1])
        x, result, work = result, work, result
        half //= 2
    return x
