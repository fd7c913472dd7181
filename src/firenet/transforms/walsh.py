"""The Walsh-Hadamard transform in sequency order."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from firenet.errors import BadInput
from firenet.numerics import compiling
from firenet.operators.norm_bound import NormBound
from firenet.transforms.analysis_operator import TightFrame


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
        shape = tuple(int(n) for n in shape)
        bad = [n for n in shape if n < 1 or n & (n - 1)]
        if bad or not 1 <= len(shape) <= 3:
            to = [1 << (max(n, 1) - 1).bit_length() for n in shape]
            needed = "A Walsh transform needs one to three sides that are powers of two"
            raise BadInput(needed, f"{shape}", f"Crop the image, or pad it to {tuple(to)}")
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
            x = _butterfly(x.reshape(outer, n, inner)).index_select(1, getattr(self, f"_order{axis}")).view(shape)
        return x.mul(math.prod(self.in_shape) ** -0.5)

    def _synthesise(self, c: Tensor) -> Tensor:
        return self._analyse(c)


def sequency_order(n: int) -> Tensor:
    """Returns for each k < n the row of the Hadamard matrix (natural order) with k sign changes: the reversed bits of
    k's Gray code."""
    bits = n.bit_length() - 1
    return torch.tensor([int(f"{k ^ (k >> 1):0{bits}b}"[::-1], 2) if bits else 0 for k in range(n)])


def _butterfly(x: Tensor) -> Tensor:
    """Computes the Hadamard transform (natural order, no scaling) along the middle axis of (outer, n, inner)."""
    outer, n, inner = x.shape
    for _ in range(n.bit_length() - 1):
        # Every stage reads halves and writes neighbours. After log2 n stages the order is the natural one again.
        first, second = x.narrow(1, 0, n // 2), x.narrow(1, n // 2, n // 2)
        if compiling():
            x = torch.stack([first + second, first - second], dim=2).view(outer, n, inner)
            continue
        out = torch.empty(outer, n // 2, 2, inner, dtype=x.dtype, device=x.device)
        torch.add(first, second, out=out.select(2, 0))
        torch.sub(first, second, out=out.select(2, 1))
        x = out.view(outer, n, inner)
    return x
