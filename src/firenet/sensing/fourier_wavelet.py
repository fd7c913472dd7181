"""Fourier samples of a wavelet synthesis, in one operator.

The spectrum of a wavelet synthesis is the spectra of the bands, repeated and multiplied by the filters' responses.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor

from firenet.errors import BadInput
from firenet.numerics import fft_rounding
from firenet.operators.compact import Compact
from firenet.operators.derivative import differentiable
from firenet.operators.norm_bound import NormBound
from firenet.sensing.masked import FourierSampling, Sampled, complex_dtype, need_complex
from firenet.transforms.filters import filter_bank
from firenet.transforms.wavelet import Wavelet


class FourierOfWavelet(FourierSampling):
    """:math:`P_\\Omega FW^*` for an orthonormal wavelet transform W, without going through the image.

    The spectrum of one synthesis step is, axis by axis,
    :math:`\\hat x(\\omega)=\\hat h(\\omega)\\hat a(2\\omega)+\\hat g(\\omega)\\hat d(2\\omega)`: the spectra of the
    halves are repeated once and multiplied by the filters' responses. So the bands are transformed where they are,
    small FFTs of together one image, and a level costs a few products whatever the length of the filter.
    ``SubsampledFourier(mask) @ W.H`` gives this operator; it equals the composition up to rounding.

    Args:
        mask: As for :class:`SubsampledFourier`.
        wavelet: An orthonormal transform of the mask's shape.
    """

    def __init__(self, mask: Tensor, wavelet: Wavelet) -> None:
        unitary = NormBound(1.0, "exact", "a unitary Fourier transform with a mask")
        if wavelet.out_shape != tuple(mask.shape) or not wavelet.is_orthonormal:
            raise BadInput(
                f"An orthonormal wavelet transform of the mask's shape {tuple(mask.shape)}",
                f"{wavelet.in_shape}, padded to {wavelet.out_shape}",
                "Use SubsampledFourier(mask) @ W.H, which takes every shape",
            )
        super().__init__(mask, wavelet.out_shape, mask.shape, unitary * wavelet.norm_bound, False)
        self.wavelet = wavelet

    @property
    def is_coisometry(self) -> bool:
        return True

    def compact(self) -> Compact:
        return _Folded(self)

    @property
    def rounding(self) -> float:
        # The bands' FFTs, and products with responses that are summed in pairs on every axis of every level. The
        # corner's dense matrix has at most 256 columns.
        return fft_rounding(self.in_shape) + self.wavelet.rounding + 2 * (_DENSE + 4)

    def _whole(self, x: Tensor) -> Tensor:
        folded = _Folded(self)
        batch = x.shape[: x.ndim - len(self.in_shape)]
        flat = folded.pack(x.reshape(-1, *self.in_shape).to(complex_dtype(x.dtype)))
        return differentiable(flat, folded.spectrum, folded.coefficients).view(*batch, *self.out_shape)

    def _whole_adjoint(self, y: Tensor) -> Tensor:
        folded = _Folded(self)
        batch = y.shape[: y.ndim - len(self.out_shape)]
        flat = need_complex(y, "measurements").reshape(-1, *self.out_shape)
        return folded.unpack(differentiable(flat, folded.coefficients, folded.spectrum)).view(*batch, *self.in_shape)


# Corners of at most so many coefficients are one dense matrix: below it, small FFTs and products cost their overhead.
_DENSE = 256
# Bands that are together larger than so many bytes are transformed one by one.
_LARGE = 2**23


class _Folded(Sampled):
    """:class:`FourierOfWavelet` for a loop.

    Packed coefficients are one axis: first the corner of the coarsest levels (``_DENSE`` of them at most), whose way
    to the spectrum is one dense matrix, then from coarse to fine the detail bands of each level, one after the other,
    so that one call transforms them all. In a level the type of a band counts its axes in binary, the first axis
    first, 1 for high-pass; the bands of a level are types 1 to 2^d - 1, and type 0 comes from the level below it.
    """

    def __init__(self, operator: FourierOfWavelet) -> None:
        super().__init__(operator)
        wavelet, sides = operator.wavelet, operator.in_shape
        self._wavelet, self._shape, self._axes = wavelet, sides, operator._axes
        top = wavelet.depth
        while top and math.prod(n >> (top - 1) for n in sides) <= _DENSE:
            top -= 1
        self._top = top  # levels 1 (the finest) to top are folded
        self._corner = math.prod(n >> top for n in sides)
        self.in_shape = (math.prod(sides),)
        self._plans: dict[tuple[object, ...], _Plan] = {}

    def _sides(self, level: int) -> tuple[int, ...]:
        return tuple(n >> level for n in self._shape)

    def _plan(self, like: Tensor) -> _Plan:
        key = (len(like), like.dtype, like.device)
        if key not in self._plans:
            # One at a time: they are several images each, and a proof in double precision needs its own only once.
            self._plans.clear()
            self._plans[key] = _Plan(self._wavelet.wavelet, self._sides, self._top, like)
        return self._plans[key]

    def forward(self, x: Tensor) -> Tensor:
        return differentiable(x, self._measure, self._backproject)

    def adjoint(self, y: Tensor, out: Tensor | None = None) -> Tensor:
        return differentiable(y, self._backproject, self._measure) if out is None else self._backproject(y, out)

    def _measure(self, x: Tensor) -> Tensor:
        return self._to_grid(x).flatten(1).index_select(1, self._where)

    def _backproject(self, y: Tensor, out: Tensor | None = None) -> Tensor:
        self._plan(y).grid.zero_().flatten(1).index_copy_(1, self._where, y)
        return self._from_grid(y, out)

    def spectrum(self, x: Tensor) -> Tensor:
        """The unitary Fourier transform of W*x on the whole grid; a new tensor."""
        return self._to_grid(x).clone()

    def coefficients(self, grid: Tensor) -> Tensor:
        """W of the inverse unitary Fourier transform of a spectrum; a new tensor."""
        self._plan(grid).grid.copy_(grid)
        return self._from_grid(grid)

    def _to_grid(self, x: Tensor) -> Tensor:
        plan = self._plan(x)
        if x.numel() == 0:
            return plan.grid
        if self._wavelet.depth == self._top:
            plan.corner.copy_(self._fft(x[:, : self._corner].view_as(plan.corner)))
        else:
            torch.mm(x[:, : self._corner], self._dense(x)[0].mT, out=plan.corner.view(len(x), -1))
        at = self._corner
        for level in reversed(plan.levels):
            bands = self._each(self._fft, x[:, at : at + level.size].view(level.shape), level.spectra)
            at += level.size
            lows, highs = bands[:, : level.half - 1].unsqueeze(2), bands[:, level.half - 1 :].unsqueeze(2)
            (low, r0, first), (r0, rest), (r1, goal) = level.join
            torch.mul(low, r0, out=first)
            if level.half > 1:
                torch.mul(lows, r0, out=rest)
            goal.addcmul_(highs, r1)
            for a, r0, b, r1, goal in level.merge:
                torch.mul(a, r0, out=goal)
                goal.addcmul_(b, r1)
        return plan.grid

    def _from_grid(self, like: Tensor, out: Tensor | None = None) -> Tensor:
        plan = self._plan(like)
        if out is None:
            out = torch.empty(len(like), *self.in_shape, dtype=like.dtype, device=like.device)
        if out.numel() == 0:
            return out
        end = out.shape[1]
        for level in plan.levels:
            for a, r0, b, r1, goal in level.split:
                torch.mul(a, r0, out=goal)
                goal.addcmul_(b, r1)
            goal = out[:, end - level.size : end].view(level.shape)
            found = self._each(self._ifft, level.bands, goal)
            if found is not goal:
                goal.copy_(found)
            end -= level.size
        if self._wavelet.depth == self._top:
            out[:, :end] = self._ifft(plan.low).flatten(1)
        else:
            out[:, :end] = plan.low.flatten(1) @ self._dense(like)[1]
        return out

    @staticmethod
    def _each(transform: Callable[[Tensor], Tensor], bands: Tensor, work: Tensor) -> Tensor:
        """The transform of all bands of a level, if they are large one by one, in ``work``: a result as large as all of
        them, gone at once, would leave a hole in the memory that is soon too small for the next."""
        if bands.numel() * bands.element_size() <= _LARGE:
            return transform(bands)
        for k, band in enumerate(bands.unbind(1)):
            work[:, k] = transform(band)
        return work

    def _dense(self, like: Tensor) -> tuple[Tensor, Tensor]:
        name, levels = self._wavelet.wavelet, self._wavelet.depth - self._top
        return _dense_corner(name, self._sides(self._top), levels, like.dtype, like.device)

    def _fft(self, x: Tensor) -> Tensor:
        return torch.fft.fftn(x, dim=self._axes, norm="ortho")

    def _ifft(self, x: Tensor) -> Tensor:
        return torch.fft.ifftn(x, dim=self._axes, norm="ortho")

    def spare(self, like: Tensor) -> Tensor | None:
        return self._plan(like).spare.view(like.shape)

    def pack(self, x: Tensor) -> Tensor:
        bands = [x[(slice(None), *(slice(n) for n in self._sides(self._top)))]]
        bands += [x[(slice(None), *band)] for level in range(self._top, 0, -1) for band in self._bands(level)]
        return torch.cat([band.flatten(1) for band in bands], dim=1)

    def unpack(self, x: Tensor) -> Tensor:
        out = torch.empty(len(x), *self._sides(0), dtype=x.dtype, device=x.device)
        at, sides = self._corner, self._sides(self._top)
        out[(slice(None), *(slice(n) for n in sides))] = x[:, :at].view(-1, *sides)
        for level in range(self._top, 0, -1):
            sides = self._sides(level)
            for band in self._bands(level):
                out[(slice(None), *band)] = x[:, at : at + math.prod(sides)].view(-1, *sides)
                at += math.prod(sides)
        return out

    def _bands(self, level: int) -> list[tuple[slice, ...]]:
        """Where the details of a level lie in the coefficients, in the order of their types."""
        types = list(product((0, 1), repeat=len(self._shape)))[1:]
        return [tuple(slice(t * n, (t + 1) * n) for t, n in zip(u, self._sides(level), strict=True)) for u in types]

    def scratch(self, batch: int) -> int:
        return batch * (2 * sum(math.prod(self._sides(k)) for k in range(self._top)) + math.prod(self.in_shape))


class _Plan:
    """Work buffers of :class:`_Folded` for one batch size, dtype and device, and every view of them that a level needs.

    Making the views anew would take as long as the arithmetic. Each level has two buffers as large as what it is made
    of; an axis reads one and writes the other, and what a level hands on lies in the buffers of the next.
    """

    def __init__(self, wavelet: str, sides: Callable[[int], tuple[int, ...]], top: int, like: Tensor) -> None:
        b, d = len(like), len(sides(0))

        def responses(level: int, axis: int, conjugate: bool) -> Tensor:
            return _responses(wavelet, sides(level - 1)[axis], d - 1 - axis, conjugate, like.dtype, like.device)

        buffers = [
            [torch.empty(b, *sides(k), dtype=like.dtype, device=like.device) for _ in "ab"] for k in range(max(top, 1))
        ]
        self.spare, self.grid = buffers[0]
        self.corner = torch.empty(b, *sides(top), dtype=like.dtype, device=like.device) if top else self.grid
        self.levels: list[_Level] = []
        from_below = [self.corner] + [buffers[k][1] for k in range(top - 1, 0, -1)]
        low = self.grid
        for k in range(1, top + 1):
            n, full, half = sides(k), sides(k - 1), 2 ** (d - 1)
            level = _Level((b, 2 * half - 1, *n), (2 * half - 1) * math.prod(n), half)
            # Forth: the last axis must write into the second buffer, where the next level looks for it. The bands'
            # spectra may lie in what the first axis does not write into.
            level.spectra = buffers[k - 1][(d + 1) % 2].flatten(1)[:, : level.size].view(level.shape)
            now = from_below[top - k]
            for axis in range(d):
                types = 2 ** (d - 1 - axis)
                goal = buffers[k - 1][(d - axis) % 2].view(b, types, *full[:axis], 2, *n[axis:])
                r = responses(k, axis, False)
                if axis == 0:
                    level.join = ((now[:, None, None], r[0], goal[:, :1]), (r[0], goal[:, 1:]), (r[1], goal))
                else:
                    a, c = (half_.unsqueeze(2 + axis) for half_ in (now[:, :types], now[:, types:]))
                    level.merge.append((a, r[0], c, r[1], goal))
                now = goal.flatten(2 + axis, 3 + axis)
            # Back.
            now = low[:, None]
            for axis in reversed(range(d)):
                first, second = now.unflatten(2 + axis, (2, n[axis])).unbind(2 + axis)
                goal = buffers[k - 1][(d - 1 - axis) % 2].view(b, 2, *first.shape[1:])
                r = responses(k, axis, True).unflatten(2, (*(1,) * (1 + axis), -1))
                level.split.append((first[:, None], r[:, 0], second[:, None], r[:, 1], goal))
                now = goal.flatten(1, 2)
            level.bands, low = now[:, 1:], now[:, 0]
            self.levels.append(level)
        self.low = low


_Product = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]  # a, r, b, s and where a r + b s goes


@dataclass(eq=False)
class _Level:
    shape: tuple[int, ...]
    size: int
    half: int
    spectra: Tensor = field(default_factory=torch.Tensor)
    join: Any = None
    merge: list[_Product] = field(default_factory=list)
    split: list[_Product] = field(default_factory=list)
    bands: Tensor = field(default_factory=torch.Tensor)


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def _dense_corner(
    wavelet: str, sides: tuple[int, ...], levels: int, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """The matrix of FW* for a few coefficients, from the operators it is made of, and its conjugate (a product with a
    conjugate view would copy the matrix each time)."""
    n = math.prod(sides)
    columns = Wavelet(sides, wavelet, levels).adjoint(torch.eye(n, dtype=torch.float64).view(n, *sides))
    spectra = torch.fft.fftn(columns, dim=tuple(range(1, 1 + len(sides))), norm="ortho")
    matrix = spectra.view(n, n).mT.contiguous().to(device=device, dtype=dtype)
    return matrix, matrix.conj_physical()


@lru_cache(maxsize=256)
@torch.inference_mode(False)
def _responses(wavelet: str, n: int, behind: int, conjugate: bool, dtype: torch.dtype, device: torch.device) -> Tensor:
    r"""The filters' responses at n frequencies, shape (2, 2, n / 2, 1, ..., 1): low- and high-pass, repetition,
    frequency, axes behind.

    :math:`\hat h_m=2^{-1/2}\sum_jh_je^{-2\pi im(L/2-j)/n}`, or the conjugate.
    """
    filters = filter_bank(wavelet)
    place = len(filters[0]) // 2 - np.arange(len(filters[0]))
    # Angles from integers modulo n, so that long filters and large n lose no digits.
    phase = np.exp((2j if conjugate else -2j) * np.pi * (np.outer(np.arange(n), place) % n) / n)
    pair = np.stack([phase @ taps / np.sqrt(2) for taps in filters])
    return torch.from_numpy(pair).to(device=device, dtype=dtype).view(2, 2, n // 2, *(1,) * behind)
