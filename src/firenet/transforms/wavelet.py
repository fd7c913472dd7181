"""The orthonormal wavelet transform.

A transform maps an image to coefficients; its adjoint maps coefficients to an image. Both are linear, so autograd needs
no graph through them: the derivative of W is W and its vjp is W*.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pywt
import torch
from torch import Tensor

from firenet.numerics import compiling
from firenet.operators.norm_bound import NormBound
from firenet.transforms.analysis_operator import TightFrame, image_shape
from firenet.transforms.filters import (
    check_depth,
    filter_bank,
    haar_merge,
    haar_split,
    merge_along,
    merge_formula,
    split_along,
    split_formula,
    table_defect,
)


class Wavelet(TightFrame):
    """The orthonormal periodised discrete wavelet transform in 1-D, 2-D or 3-D.

    One level maps each axis to its low-pass and high-pass half, :math:`a_k=\\sum_jh_jx_{2k+L/2-j}`,
    :math:`d_k=\\sum_jg_jx_{2k+L/2-j}` (filters h and g of length L, indices modulo the side), and the next level
    transforms the low-pass corner. This is PyWavelets' ``mode="periodization"``; the coefficients are arranged as by
    ``pywt.coeffs_to_array``, the approximation in the first corner.

    A side that is not a multiple of 2**depth is zero-padded at its end, and the adjoint crops. Then W*W = I still
    holds, but WW* = I does not: ``is_orthonormal`` is false. The coefficients have the padded shape ``out_shape``.

    Args:
        shape: Sides of the image (1 to 3 of them).
        wavelet: ``haar``, ``db1``..``db10``, ``sym2``..``sym10``, ``coif1``..``coif5``.
        levels: Number of levels, the ``depth``; None is ``pywt.dwtn_max_level`` of the shape.

    Raises:
        BadInput: For a wavelet that is not orthonormal or not known, or more levels than log2 of the smallest side.

    >>> W = Wavelet((230, 180), "db4")
    >>> W.depth, W.in_shape, W.out_shape, W.is_orthonormal
    (4, (230, 180), (240, 192), False)
    """

    def __init__(self, shape: Sequence[int], wavelet: str = "db4", levels: int | None = None) -> None:
        shape, deepest = image_shape(shape, wavelet)
        depth = min(pywt.dwtn_max_level(shape, wavelet), deepest) if levels is None else int(levels)
        check_depth(depth, deepest, shape, levels)
        padded = tuple(-(-n // 2**depth) * 2**depth for n in shape)
        norm = (1 + table_defect(wavelet)) ** (0.5 * depth * len(shape))
        super().__init__(shape, padded, NormBound(norm, "exact", f"{wavelet} is orthonormal up to its filter table"))
        self.wavelet = wavelet
        self.depth = depth
        self.is_orthonormal = padded == shape
        self._taps: tuple[tuple[float, ...], ...] = tuple(tuple(taps.tolist()) for taps in filter_bank(wavelet))
        self._haar = wavelet in ("haar", "db1")
        # Haar takes sums and differences; the factor 1/sqrt 2 of each axis is multiplied once for a level.
        self._scale = 2 ** (-0.5 * len(shape)) if self._haar else 1.0

    @property
    def rounding(self) -> float:
        # Every axis of every level takes sums over the filter's taps, of norm at most sum |h|.
        taps, _ = filter_bank(self.wavelet)
        return self.depth * len(self.in_shape) * (len(taps) + 4) * float(np.abs(taps).sum()) + 4

    def levels(self) -> Tensor:
        """Returns the level of each coefficient: 0 the approximation, 1 the coarsest details, ``depth`` the finest."""
        level = torch.full(self.out_shape, self.depth)
        for k in range(1, self.depth + 1):
            level[tuple(slice(n >> k) for n in self.out_shape)] = self.depth - k
        return level

    def _analyse(self, x: Tensor) -> Tensor:
        pad = [p for n, m in zip(reversed(self.in_shape), reversed(self.out_shape), strict=True) for p in (0, m - n)]
        x = torch.nn.functional.pad(x, pad) if any(pad) else x
        if compiling():
            return self._analysed(x)
        if self.depth == 0 or x.numel() == 0:
            return x.clone()
        out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
        source, target = self._grid(x), self._grid(out)
        for k in range(1, self.depth + 1):
            bands = [source]
            for axis in reversed(range(1, source.ndim - 1)):
                bands = [half for band in bands for half in self._split(band, axis)]
            corners = self.corners(target, k, behind=1)
            for band, corner in zip(bands[1:], corners[1:], strict=True):
                torch.mul(band, self._scale**k, out=corner)
            source = bands[0]
        torch.mul(source, self._scale**self.depth, out=self.corners(target, self.depth, behind=1)[0])
        return out

    def _synthesise(self, c: Tensor) -> Tensor:
        if compiling():
            c = self._synthesised(c)
        elif self.depth and c.numel():
            source = self._grid(c)
            x = self.corners(source, self.depth, behind=1)[0]
            for k in range(self.depth, 0, -1):
                bands = [x, *self.corners(source, k, behind=1)[1:]]
                for axis in range(1, source.ndim - 1):
                    bands = [self._merge(*pair, axis) for pair in zip(bands[::2], bands[1::2], strict=True)]
                x = bands[0].mul_(self._scale) if self._scale != 1 else bands[0]
            c = (torch.view_as_complex(x) if c.is_complex() else x).view(c.shape)
        else:
            c = c.clone()
        return c if self.is_orthonormal else c[(..., *(slice(n) for n in self.in_shape))].contiguous()

    def _grid(self, x: Tensor) -> Tensor:
        """Returns the real view (batch, sides..., 1 or 2) on which the filters act; the last axis holds real and
        imaginary parts."""
        real = torch.view_as_real(x.resolve_conj()) if x.is_complex() else x.unsqueeze(-1)
        return real.reshape(-1, *x.shape[x.ndim - len(self.in_shape) :], real.shape[-1])

    def corners(self, c: Tensor, k: int, *, behind: int = 0) -> list[Tensor]:
        """Returns the 2^d bands of the k-th level as views of the coefficients: approximation first, the first axis
        changing fastest.

        Level 0 is the image itself. ``behind`` is the number of axes of c after those of the coefficients.
        """
        bands = [c]
        for axis, side in reversed(list(enumerate(self.out_shape))) if k else ():
            at, n = axis - len(self.out_shape) - behind, side >> k
            bands = [band.narrow(at, start, n) for band in bands for start in (0, n)]
        return bands

    def _analysed(self, x: Tensor) -> Tensor:
        """Computes :meth:`_analyse` by its formula, with new tensors, for a compiler."""
        for k in range(self.depth):
            corner = x[(..., *(slice(n >> k) for n in self.out_shape))]
            for axis in range(-len(self.in_shape), 0):
                low, high = split_formula(corner, axis, self._taps)
                corner = torch.cat([low, high], dim=axis)
            x = self._with_corner(x, corner, k)
        return x

    def _synthesised(self, c: Tensor) -> Tensor:
        """Computes :meth:`_synthesise` by its formula, before it crops."""
        for k in reversed(range(self.depth)):
            corner = c[(..., *(slice(n >> k) for n in self.out_shape))]
            for axis in range(-len(self.in_shape), 0):
                corner = merge_formula(*corner.chunk(2, dim=axis), axis, self._taps)
            c = self._with_corner(c, corner, k)
        return c

    def _with_corner(self, c: Tensor, corner: Tensor, k: int) -> Tensor:
        """Returns c with its corner of level k replaced."""
        d = len(self.out_shape)
        for axis in range(d) if k else ():
            # From the corner outwards, what lies beside it along one axis after the other.
            sides = [n >> k if after > axis else n for after, n in enumerate(self.out_shape)]
            sides[axis] = self.out_shape[axis]
            beside = c[(..., *(slice(n) for n in sides))]
            n = self.out_shape[axis]
            corner = torch.cat([corner, beside.narrow(axis - d, n >> k, n - (n >> k))], dim=axis - d)
        return corner

    def _split(self, x: Tensor, axis: int) -> tuple[Tensor, Tensor]:
        return haar_split(x, axis) if self._haar else split_along(x, axis, self.wavelet)

    def _merge(self, low: Tensor, high: Tensor, axis: int) -> Tensor:
        return haar_merge(low, high, axis) if self._haar else merge_along(low, high, axis, self.wavelet)
