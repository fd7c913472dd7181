"""Undecimated wavelets: a tight frame of convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from firenet.numerics import compiling
from firenet.operators.norm_bound import NormBound
from firenet.transforms.analysis_operator import TightFrame, image_shape
from firenet.transforms.convolutions import Convolutions
from firenet.transforms.filters import check_depth, filter_bank, table_defect


class UndecimatedWavelet(Convolutions, TightFrame):
    """The undecimated (stationary, a trous) wavelet transform in 1-D, 2-D or 3-D, periodic, for any image size.

    Step j = 0, ..., J-1 filters the low-pass band of the previous step with the low-pass and the high-pass filter along
    every axis, divided by :math:`\\sqrt2` and with :math:`2^j-1` zeros between their taps, and keeps all samples. Each
    band is a convolution,

    .. math:: Wx=\\big(\\mathcal F^{-1}(\\hat g_b\\cdot\\mathcal Fx)\\big)_b,\\qquad\\sum_b|\\hat g_b|^2=1,

    so W*W = I. The responses are evaluated at the frequencies :math:`2^j\\omega_k`: filters longer than the side wrap
    around, and the frame stays tight. A shift of the image shifts its coefficients, so there are no block artefacts;
    the price is :math:`(2^d-1)J+1` coefficients per pixel in d dimensions.

    Coefficients have shape (bands, \\*shape): details from the finest level to the coarsest, the approximation last.

    Args:
        shape: Sides of the image (1 to 3 of them).
        wavelet: ``haar``, ``db1``..``db10``, ``sym2``..``sym10``, ``coif1``..``coif5``.
        levels: Number of levels J, the ``depth``; None is 5, or the number of times the smallest side can be halved if
            that is smaller.

    Raises:
        BadInput: For a wavelet that is not orthonormal or not known, or more levels than log2 of the smallest side.

    >>> W = UndecimatedWavelet((230, 180))
    >>> W.wavelet, W.depth, W.out_shape, W.is_orthonormal
    ('sym4', 5, (16, 230, 180), False)
    """

    def __init__(self, shape: Sequence[int], wavelet: str = "sym4", levels: int | None = None) -> None:
        shape, deepest = image_shape(shape, wavelet)
        depth = min(5, deepest) if levels is None else int(levels)
        check_depth(depth, deepest, shape, levels)
        bands = (2 ** len(shape) - 1) * depth + 1
        why = f"undecimated {wavelet} is tight up to its filter table"
        norm = (1 + table_defect(wavelet)) ** (0.5 * depth * len(shape))
        super().__init__(shape, (bands, *shape), NormBound(norm, "exact", why))
        self.wavelet = wavelet
        self.depth = depth
        self.is_orthonormal = depth == 0
        self.groups = (1,) * bands
        self._made: Tensor | None = None
        # The responses along each axis, of which those of the bands are products.
        self._axes_responses = [torch.from_numpy(_along(wavelet, depth, n)) for n in self.in_shape]

    def levels(self) -> Tensor:
        """Returns the level of each coefficient: 0 the approximation, 1 the coarsest details, ``depth`` the finest."""
        each = 2 ** len(self.in_shape) - 1
        level = torch.cat([torch.arange(self.depth, 0, -1).repeat_interleave(each), torch.zeros(1, dtype=torch.int64)])
        return level.view(-1, *(1,) * len(self.in_shape)).expand(self.out_shape).clone()

    def band_noise(self) -> Tensor:
        # The atoms of level j are those of the orthonormal transform, divided by the root of the number of their
        # shifts.
        d = len(self.in_shape)
        sizes = [2.0 ** (-0.5 * d * j) for j in range(1, self.depth + 1) for _ in range(2**d - 1)]
        return torch.tensor([*sizes, 2.0 ** (-0.5 * d * self.depth)], dtype=torch.float64).view(-1, *(1,) * d)

    def response(self, band: int, dtype: torch.dtype, device: torch.device) -> Tensor:
        d = len(self.in_shape)
        each = 2**d - 1
        level, kind = (self.depth - 1, 0) if band == each * self.depth else (band // each, band % each + 1)
        product = torch.ones((), dtype=torch.complex128)
        for axis in range(d):
            product = product[..., None] * self._axes_responses[axis][level, kind >> (d - 1 - axis) & 1]
        # Products of many small numbers become denormal, and arithmetic with denormals is many times slower. Numbers
        # below the square of the rounding are negligible.
        product = torch.where(product.abs() < torch.finfo(dtype).eps ** 2, 0, product)
        return product.to(device=device, dtype=dtype)

    def responses(self, dtype: torch.dtype, device: torch.device) -> Tensor:
        return super().responses(dtype, device) if compiling() else self._kept_responses(dtype, device)

    @torch.inference_mode(False)
    def _kept_responses(self, dtype: torch.dtype, device: torch.device) -> Tensor:
        if self._made is None or self._made.dtype != dtype or self._made.device != device:
            self._made = super().responses(dtype, device)
        return self._made

    def band_norms(self) -> Tensor:
        # In a tight frame no response exceeds one, except by the defect of the filter table.
        return torch.full((self.out_shape[0],), self.norm_bound.value, dtype=torch.float64)

    def response_roundings(self) -> Tensor:
        # Sums over the taps, divided by sqrt 2, and a product for each axis and each level before.
        taps = filter_bank(self.wavelet)[0]
        each = (2 * len(taps) + 8) * float(np.abs(taps).sum())
        return torch.full((self.out_shape[0],), each * max(self.depth, 1) * len(self.in_shape), dtype=torch.float64)


@lru_cache(maxsize=32)
def _along(wavelet: str, depth: int, n: int) -> NDArray[np.complex128]:
    """Computes the low-pass and high-pass response of each level along one axis, times the low-pass responses of all
    levels before: shape (depth, 2, n), and ones of shape (1, 2, n) for depth 0."""
    low = np.ones(n, dtype=np.complex128)
    found = np.ones((max(depth, 1), 2, n), dtype=np.complex128)
    for j in range(depth):
        found[j] = low * _response(wavelet, n, 2**j)
        low = found[j, 0]
    return found


def _response(wavelet: str, n: int, stretch: int) -> NDArray[np.complex128]:
    """Computes the responses of the low-pass and the high-pass filter over sqrt 2, at ``stretch`` times the n
    frequencies.

    The middle of the filter is at 0, so that a band is shifted against the image by at most half a tap.
    """
    filters = filter_bank(wavelet)
    place = np.arange(len(filters[0])) - len(filters[0]) // 2
    # Angles from integers modulo n, so that coarse levels lose no digits.
    phase = np.exp(-2j * np.pi * (np.outer(np.arange(n) * stretch, place) % n) / n)
    return np.stack([phase @ taps / np.sqrt(2) for taps in filters])
