"""The filters of the orthonormal wavelets, and one step of the filter bank along an axis."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import pywt
import torch
from numpy.typing import NDArray
from torch import Tensor

from firenet.errors import BadInput

WAVELETS = (
    "haar",
    *(f"db{i}" for i in range(1, 11)),
    *(f"sym{i}" for i in range(2, 11)),
    *(f"coif{i}" for i in range(1, 6)),
)


@lru_cache(maxsize=64)
def filter_bank(wavelet: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns the decomposition filters h (low-pass) and g (high-pass) of an orthonormal wavelet, from PyWavelets'
    table."""
    filters = pywt.Wavelet(wavelet)  # pyright: ignore[reportAttributeAccessIssue]  (compiled, without stubs)
    return np.array(filters.dec_lo), np.array(filters.dec_hi)


def check_depth(depth: int, deepest: int, shape: tuple[int, ...], asked: int | None) -> None:
    """Raises BadInput if a number of wavelet levels is not between 0 and the largest number."""
    if not 0 <= depth <= deepest:
        needed = f"Between 0 and {deepest} levels for an image of shape {shape}"
        raise BadInput(needed, f"{asked}", "Ask for fewer levels, or leave levels out")


def table_defect(wavelet: str) -> float:
    """Computes how far the filter table is from orthonormal (1e-15 for Daubechies and coiflets, up to 5e-11 for
    symlets).

    By Gershgorin's theorem the largest singular value of one level along one axis is at most sqrt(1 + defect).
    """
    low, high = filter_bank(wavelet)
    pairs, shifts = [(low, low, 1.0), (high, high, 1.0), (low, high, 0.0)], range(-len(low) // 2, len(low) // 2)
    return sum(2 * abs(_overlap(a, b, k) - (k == 0) * unit) for a, b, unit in pairs for k in shifts)


def _overlap(a: np.ndarray, b: np.ndarray, k: int) -> float:
    """Computes the inner product of a with b shifted by 2k."""
    shift = abs(2 * k)
    first, second = (a, b) if k >= 0 else (b, a)
    return float(first[shift:] @ second[: len(second) - shift])


def haar_split(x: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Computes sums and differences of neighbours along an axis (without the factor 1/sqrt 2)."""
    even, odd = x.unflatten(axis, (-1, 2)).unbind(axis + 1)
    return even + odd, even - odd


def haar_merge(low: Tensor, high: Tensor, axis: int) -> Tensor:
    """Applies the transpose of ``haar_split``."""
    shape = (*low.shape[:axis], low.shape[axis], 2, *low.shape[axis + 1 :])
    out = torch.empty(shape, dtype=low.dtype, device=low.device)
    even, odd = out.unbind(axis + 1)
    torch.add(low, high, out=even)
    torch.sub(low, high, out=odd)
    return out.flatten(axis, axis + 1)


# A filter bank along one axis is a banded circulant matrix. It is applied block by block: a block of outputs is a small
# dense matrix times the window of inputs that it depends on, which is what the hardware does fastest (conv1d with
# stride 2 was measured and is slower). A short axis is one block, in which filters longer than the axis wrap around.
_BLOCK = 16
_SHORT = 64


def split_along(x: Tensor, axis: int, wavelet: str) -> tuple[Tensor, Tensor]:
    """Computes the low-pass and the high-pass half of a real tensor along an axis."""
    n = x.shape[axis]
    block = n if n <= _SHORT else math.gcd(n, _BLOCK)
    reach = 0 if block == n else len(filter_bank(wavelet)[0]) // 2 - 1
    windows, inner = _windows(x, axis, block, reach)
    shape = (*x.shape[:axis], n // 2, *x.shape[axis + 1 :])
    low, high = filter_kernels(wavelet, block, reach, False, 1 if inner >= _WIDE else inner, x.dtype, x.device)
    if inner >= _WIDE:
        low, high = (kernel.expand(len(windows), *kernel.shape).bmm(windows) for kernel in (low, high))
        return low.view(shape), high.view(shape)
    return (windows @ low.mT).view(shape), (windows @ high.mT).view(shape)


def merge_along(low: Tensor, high: Tensor, axis: int, wavelet: str) -> Tensor:
    """Applies the transpose of ``split_along``, which is also its inverse."""
    n = 2 * low.shape[axis]
    block = n if n <= _SHORT else math.gcd(n, _BLOCK)
    reach = 0 if block == n else len(filter_bank(wavelet)[0]) // 4
    first, inner = _windows(low, axis, block // 2, reach)
    second, _ = _windows(high, axis, block // 2, reach)
    shape = (*low.shape[:axis], n, *low.shape[axis + 1 :])
    k, h = filter_kernels(wavelet, block, reach, True, 1 if inner >= _WIDE else inner, low.dtype, low.device)
    if inner >= _WIDE:
        return k.expand(len(first), *k.shape).bmm(first).baddbmm_(h.expand(len(first), *h.shape), second).view(shape)
    return (first @ k.mT).addmm_(second, h.mT).view(shape)


# If the axes after the filtered one hold at least this many numbers, a block is a product of two matrices, and the
# overlapping windows are views; else the windows are copied, and the block is a Kronecker product with the identity.
_WIDE = 16


def _windows(x: Tensor, axis: int, step: int, reach: int) -> tuple[Tensor, int]:
    """Returns the periodic windows of ``step + 2 reach`` entries at every ``step`` along an axis, and the number
    ``inner`` of entries of the axes after it.

    The windows have shape (windows, width, inner), or (windows, width * inner) if inner is small.
    """
    n, before, behind = x.shape[axis], x.shape[:axis], x.shape[axis + 1 :]
    outer, inner = math.prod(before), math.prod(behind)
    count, width = n // step, step + 2 * reach
    if reach:
        wide = torch.empty(*before, n + 2 * reach, *behind, dtype=x.dtype, device=x.device)
        wide.narrow(axis, reach, n).copy_(x)
        wide.narrow(axis, 0, reach).copy_(x.narrow(axis, n - reach, reach))
        wide.narrow(axis, reach + n, reach).copy_(x.narrow(axis, 0, reach))
        windows = wide.as_strided((outer, count, width, inner), ((n + 2 * reach) * inner, step * inner, inner, 1))
    else:
        windows = x
    return windows.reshape((outer * count, width, inner) if inner >= _WIDE else (outer * count, width * inner)), inner


@lru_cache(maxsize=512)
@torch.inference_mode(False)
def filter_kernels(
    wavelet: str, block: int, reach: int, inverse: bool, inner: int, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Returns the dense blocks of the low-pass and of the high-pass filter, each a Kronecker product with the identity
    of size ``inner``.

    The block of the analysis has shape (block/2, block + 2 reach) and maps samples to coefficients; that of the
    synthesis has shape (block, block/2 + 2 reach) and maps coefficients to samples.
    """
    pair = []
    for taps in filter_bank(wavelet):
        half = len(taps) // 2
        samples = block if inverse else block + 2 * reach
        coefficients = block // 2 + (2 * reach if inverse else 0)
        kernel = np.zeros((samples, coefficients))
        for k in range(coefficients):
            for j, tap in enumerate(taps):
                # The sample that tap j of the k-th coefficient multiplies, counted from the start of the block.
                place = 2 * (k - reach) + half - j if inverse else 2 * k + half - j + reach
                place = place % block if reach == 0 else place
                if 0 <= place < samples:
                    kernel[place, k] += tap
        pair.append(torch.from_numpy(np.kron(kernel if inverse else kernel.T, np.eye(inner))).to(device, dtype))
    return pair[0], pair[1]


# --- the same step by its formula, for a compiler, which has no use for blocks and kept kernels -----------------------


def split_formula(x: Tensor, axis: int, taps: tuple[tuple[float, ...], ...]) -> tuple[Tensor, Tensor]:
    """Computes :func:`split_along` by its formula, for real or complex x: :math:`a_k=\\sum_jh_jx_{2k+L/2-j}`, and the
    same with g, for taps h and g of length L and indices modulo the side."""
    n, length = x.shape[axis], len(taps[0])
    place = torch.arange(0, n, 2, device=x.device).unsqueeze(1) + length // 2 - torch.arange(length, device=x.device)
    windows = _gathered(x.movedim(axis, -1), place % n)
    low, high = (windows @ torch.tensor(taps, dtype=x.dtype, device=x.device).mT).unbind(-1)
    return low.movedim(-1, axis), high.movedim(-1, axis)


def merge_formula(low: Tensor, high: Tensor, axis: int, taps: tuple[tuple[float, ...], ...]) -> Tensor:
    """Applies the transpose of :func:`split_formula`."""
    half, shift = low.shape[axis], len(taps[0]) // 2
    place = torch.arange(half, device=low.device).unsqueeze(1)
    low, high = low.movedim(axis, -1), high.movedim(axis, -1)
    both = []
    for parity in range(2):
        # Sample 2 m + p is reached by the taps j for which p - L/2 + j is even, from the coefficient m + (p - L/2 + j)
        # / 2; the first of them is j = 0 or 1.
        first = (parity + shift) % 2
        count = len(taps[0][first::2])
        at = (place + (parity - shift + first) // 2 + torch.arange(count, device=low.device)) % half
        h, g = (torch.tensor(t[first::2], dtype=low.dtype, device=low.device) for t in taps)
        both.append(_gathered(low, at) @ h + _gathered(high, at) @ g)
    return torch.stack(both, dim=-1).flatten(-2).movedim(-1, axis)


def _gathered(x: Tensor, place: Tensor) -> Tensor:
    """Returns the entries of the last axis at these places (rows, taps), as two axes."""
    return x.index_select(-1, place.flatten()).unflatten(-1, tuple(place.shape))
