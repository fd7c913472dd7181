"""Fourier samples of a wavelet synthesis, as one operator.

The folded spectrum. A synthesis step inserts zeros into the low-pass half a and the high-pass half d of an axis and
filters them. If the result has n frequencies and each half n / 2, the spectra satisfy

.. math:: \\hat x_m=\\hat h_m\\hat a_{m\\bmod n/2}+\\hat g_m\\hat d_{m\\bmod n/2},\\qquad m=0,\\dots,n-1:

each half's spectrum is repeated once ("unfolded") and multiplied by the response of its filter. Hence a level needs no
FFT of its own. The bands are transformed by small FFTs, which together have the size of one image. Their spectra are
combined into that of the image level by level, from coarse to fine, and within each level one axis after the other:

1. pack: all coefficients lie along one axis, first those of the coarsest levels together (the corner), then the
   details from coarse to fine;
2. :meth:`_Folded._to_grid`: a dense matrix maps the corner to its spectrum, FFTs transform the details, and for each
   axis of each level the spectra are multiplied by two responses and summed; the last result is the spectrum on the
   whole grid, of which samples are taken;
3. :meth:`_Folded._from_grid`: the adjoint, in the opposite order: for each axis the spectrum is multiplied by the
   conjugate responses and the two repetitions are summed ("folded"); the inverse FFTs of the bands come last;
4. :class:`_Plan`: the buffers of both, with all views on them made in advance.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import product
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from firenet.engines import compiled_module, share
from firenet.errors import BadInput
from firenet.numerics import compiling, fft_rounding
from firenet.operators.compact import Compact
from firenet.operators.derivative import differentiable
from firenet.operators.norm_bound import NormBound
from firenet.sensing.masked import FourierSampling, Sampled, as_mask, complex_dtype, need_complex
from firenet.transforms.filters import filter_bank
from firenet.transforms.wavelet import Wavelet


class FourierOfWavelet(FourierSampling):
    """The operator :math:`P_\\Omega FW^*` for an orthonormal wavelet transform W, computed without forming the image.

    The spectrum of one synthesis step is, axis by axis,
    :math:`\\hat x(\\omega)=\\hat h(\\omega)\\hat a(2\\omega)+\\hat g(\\omega)\\hat d(2\\omega)`: the spectra of the
    halves are repeated once and multiplied by the filters' responses. So the bands are transformed by small FFTs, which
    together have the size of one image, and a level costs a few products, for filters of any length.
    ``SubsampledFourier(mask) @ W.H`` returns this operator; it equals the composition up to rounding.

    Args:
        mask: As for :class:`SubsampledFourier`.
        wavelet: An orthonormal transform of the mask's shape.
    """

    def __init__(self, mask: Tensor | ArrayLike, wavelet: Wavelet) -> None:
        mask = as_mask(mask)
        unitary = NormBound(1.0, "exact", "a unitary Fourier transform with a mask")
        if wavelet.out_shape != tuple(mask.shape) or not wavelet.is_orthonormal:
            needed = f"An orthonormal wavelet transform of the mask's shape {tuple(mask.shape)}"
            got = f"{wavelet.in_shape}, padded to {wavelet.out_shape}"
            raise BadInput(needed, got, "Use SubsampledFourier(mask) @ W.H, which takes every shape")
        super().__init__(mask, wavelet.out_shape, mask.shape, unitary * wavelet.norm_bound, False)
        self.wavelet = wavelet

    @property
    def is_coisometry(self) -> bool:
        return True

    def compact(self) -> Compact:
        return Compact(self) if compiling() else _Folded(self)

    @property
    def rounding(self) -> float:
        # The FFTs of the bands, products with responses that are summed in pairs for every axis of every level, and the
        # corner's dense matrix, which has at most 256 columns.
        return fft_rounding(self.in_shape) + self.wavelet.rounding + 2 * (_DENSE + 4)

    def _whole(self, x: Tensor) -> Tensor:
        x = x.to(complex_dtype(x.dtype))
        if compiling():  # no plan of buffers: a graph has no use for them
            return self._fft(self.wavelet.adjoint(x))
        return differentiable(x, self._spectrum, self._coefficients)

    def _whole_adjoint(self, y: Tensor) -> Tensor:
        y = need_complex(y, "measurements")
        return self.wavelet(self._ifft(y)) if compiling() else differentiable(y, self._coefficients, self._spectrum)

    def _spectrum(self, x: Tensor) -> Tensor:
        folded = _Folded(self)
        found = folded.spectrum(folded.pack(x.reshape(-1, *self.in_shape)))
        return found.view(*x.shape[: x.ndim - len(self.in_shape)], *self.out_shape)

    def _coefficients(self, y: Tensor) -> Tensor:
        folded = _Folded(self)
        found = folded.unpack(folded.coefficients(y.reshape(-1, *self.out_shape)))
        return found.view(*y.shape[: y.ndim - len(self.out_shape)], *self.in_shape)


# A corner of at most this many coefficients is transformed by one dense matrix: smaller FFTs and products cost mostly
# their overhead.
_DENSE = 256
_WORTH = 2**18  # coefficients, see compiled_module
# Bands that are together larger than this many bytes are transformed one by one.
_LARGE = 2**23


class _Folded(Sampled):
    """:class:`FourierOfWavelet` for an iteration.

    Packed coefficients are one axis: first the corner of the coarsest levels (at most ``_DENSE`` coefficients), which a
    dense matrix maps to the spectrum, then from coarse to fine the detail bands of each level, one after the other, so
    that one FFT call transforms them all. The type of a band is a binary number with one digit for each axis, the first
    axis first, 1 for high-pass; a level has the bands of types 1 to 2^d - 1, and type 0 is the next coarser level.
    """

    def __init__(self, operator: FourierOfWavelet) -> None:
        super().__init__(operator)
        wavelet, sides = operator.wavelet, operator.in_shape
        self._wavelet, self._shape = wavelet, sides
        self._fft, self._ifft = operator._fft, operator._ifft
        top = wavelet.depth
        while top and math.prod(n >> (top - 1) for n in sides) <= _DENSE:
            top -= 1
        self._top = top  # levels 1 (the finest) to top are folded; the coarser ones are in the dense corner
        self._corner = math.prod(n >> top for n in sides)
        self.in_shape = (math.prod(sides),)
        self._plans: dict[tuple[object, ...], _Plan] = {}

    def __getstate__(self) -> dict[str, Any]:
        # A copy makes its own plans: the views in a plan are of its own buffers.
        return {**vars(self), "_plans": {}}

    def _sides(self, level: int) -> tuple[int, ...]:
        return tuple(n >> level for n in self._shape)

    def _plan(self, like: Tensor) -> _Plan:
        key = (len(like), like.dtype, like.device)
        if key not in self._plans:
            # Only one is kept: a plan holds several images, and a proof in double precision needs its own only once.
            self._plans.clear()
            self._plans[key] = _Plan(self._wavelet.wavelet, self._sides, self._top, like)
        return self._plans[key]

    def forward(self, x: Tensor) -> Tensor:
        return differentiable(x, self._measure, self._backproject)

    def adjoint(self, y: Tensor, out: Tensor | None = None) -> Tensor:
        return differentiable(y, self._backproject, self._measure) if out is None else self._backproject(y, out)

    def _measure(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, *self.in_shape)
        return self._to_grid(flat).flatten(1).index_select(1, self._where).view(*x.shape[:-1], *self.out_shape)

    def _backproject(self, y: Tensor, out: Tensor | None = None) -> Tensor:
        flat = y.reshape(-1, *self.out_shape)
        self._plan(flat).grid.zero_().flatten(1).index_copy_(1, self._where, flat)
        return self._from_grid(flat, out).view(*y.shape[:-1], *self.in_shape)

    def spectrum(self, x: Tensor) -> Tensor:
        """Computes the unitary Fourier transform of W*x on the whole grid, as a new tensor."""
        return self._to_grid(x).clone()

    def coefficients(self, grid: Tensor) -> Tensor:
        """Computes W of the inverse unitary Fourier transform of a spectrum, as a new tensor."""
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
            if level.compiled is not None:
                level.compiled.unfold(bands)
                continue
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
            if level.compiled is not None:
                level.compiled.fold()
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
        """Transforms all bands of a level, together if they are small, else one by one into ``work``.

        A temporary result as large as all bands would fragment the memory: the free block that it leaves is soon too
        small for the next one.
        """
        if bands.numel() * bands.element_size() <= _LARGE:
            return transform(bands)
        for k, band in enumerate(bands.unbind(1)):
            work[:, k] = transform(band)
        return work

    def _dense(self, like: Tensor) -> tuple[Tensor, Tensor]:
        name, levels = self._wavelet.wavelet, self._wavelet.depth - self._top
        return _dense_corner(name, self._sides(self._top), levels, like.dtype, like.device)

    def spare(self, like: Tensor) -> Tensor | None:
        return self._plan(like).spare.view(like.shape)

    def pack(self, x: Tensor) -> Tensor:
        bands = [x[(slice(None), *(slice(n) for n in self._sides(self._top)))]]
        bands += [x[(slice(None), *band)] for level in range(self._top, 0, -1) for band in self._bands(level)]
        return torch.cat([band.flatten(1) for band in bands], dim=1)

    def unpack(self, x: Tensor) -> Tensor:
        out = x.new_empty((len(x), *self._sides(0)))
        at, sides = self._corner, self._sides(self._top)
        out[(slice(None), *(slice(n) for n in sides))] = x[:, :at].view(-1, *sides)
        for level in range(self._top, 0, -1):
            sides = self._sides(level)
            for band in self._bands(level):
                out[(slice(None), *band)] = x[:, at : at + math.prod(sides)].view(-1, *sides)
                at += math.prod(sides)
        return out

    def _bands(self, level: int) -> list[tuple[slice, ...]]:
        """Returns the slices of the detail bands of a level in the coefficients, in the order of their types."""
        types = list(product((0, 1), repeat=len(self._shape)))[1:]
        return [tuple(slice(t * n, (t + 1) * n) for t, n in zip(u, self._sides(level), strict=True)) for u in types]

    def scratch(self, batch: int) -> int:
        return batch * (2 * sum(math.prod(self._sides(k)) for k in range(self._top)) + math.prod(self.in_shape))


class _Plan:
    """The work buffers of :class:`_Folded` for one batch size, dtype and device, and all views of them.

    Making the views for every application would take as long as the arithmetic. Each level has two buffers of the size
    of its result; an axis reads one and writes the other, and the result of a level is in the buffers of the next finer
    level.
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
        low, compiled = self.grid, None
        if d == 2 and like.device.type == "cpu":
            compiled = compiled_module("firenet.sensing.compiled", math.prod(sides(0)), _WORTH)
        for k in range(1, top + 1):
            n, full, half = sides(k), sides(k - 1), 2 ** (d - 1)
            level = _Level((b, 2 * half - 1, *n), (2 * half - 1) * math.prod(n), half)
            self.levels.append(level)
            if compiled is not None:
                low, (details, grid) = from_below[top - k], buffers[k - 1]
                level.spectra = level.bands = details.flatten(1)[:, : level.size].view(level.shape)
                both = ([responses(k, axis, conjugate) for axis in range(d)] for conjugate in (False, True))
                level.compiled = _CompiledLevel(compiled, low, level.bands, grid, *both)
                continue
            # To the grid: the last axis must write into the second buffer, from which the next finer level reads. The
            # spectra of the bands use the buffer that the first axis does not write into.
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
            # From the grid: the axes in opposite order, the two repetitions of each frequency summed.
            now = low[:, None]
            for axis in reversed(range(d)):
                first, second = now.unflatten(2 + axis, (2, n[axis])).unbind(2 + axis)
                goal = buffers[k - 1][(d - 1 - axis) % 2].view(b, 2, *first.shape[1:])
                r = responses(k, axis, True).unflatten(2, (*(1,) * (1 + axis), -1))
                level.split.append((first[:, None], r[:, 0], second[:, None], r[:, 1], goal))
                now = goal.flatten(1, 2)
            level.bands, low = now[:, 1:], now[:, 0]
        self.low = low


class _CompiledLevel:
    """A level of two axes, computed by the functions of :mod:`firenet.sensing.compiled`.

    Args:
        compiled: That module.
        low: The spectrum of the low-pass band for each batch item, read by :meth:`unfold` and written by :meth:`fold`.
        details: The spectra of the details, written by :meth:`fold`.
        grid: The spectrum of both, written by :meth:`unfold` and read by :meth:`fold`.
        responses: The responses along each axis.
        conjugates: Their conjugates.
    """

    def __init__(
        self,
        compiled: ModuleType,
        low: Tensor,
        details: Tensor,
        grid: Tensor,
        responses: list[Tensor],
        conjugates: list[Tensor],
    ) -> None:
        self._unfold, self._fold = compiled.unfold, compiled.fold
        self._low, self._details, self._grid = (t.numpy() for t in (low, details, grid))
        self._responses, self._conjugates = ([r.reshape(4, -1).numpy() for r in rs] for rs in (responses, conjugates))

    def unfold(self, details: Tensor) -> None:
        """Computes the grid from the low-pass band and the given details."""
        for item in zip(self._low, details.numpy(), self._grid, strict=True):
            share(self._unfold, len(item[0]), self._grid.shape[2], *item, *self._responses)

    def fold(self) -> None:
        """Computes the low-pass band and the details from the grid."""
        for item in zip(self._low, self._details, self._grid, strict=True):
            share(self._fold, len(item[0]), self._grid.shape[2], *item, *self._conjugates)


_Product = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]  # a, r, b, s and the tensor into which a r + b s is written


@dataclass(eq=False)
class _Level:
    """The views of one level: its detail bands have shape ``shape`` (batch, types, \\*sides) and ``size``
    coefficients."""

    shape: tuple[int, ...]
    size: int
    half: int  # 2^(d - 1), the number of types that are low-pass along the first axis
    spectra: Tensor = field(default_factory=torch.Tensor)
    compiled: _CompiledLevel | None = None  # None if torch computes the level, with the views below
    join: Any = None
    merge: list[_Product] = field(default_factory=list)
    split: list[_Product] = field(default_factory=list)
    bands: Tensor = field(default_factory=torch.Tensor)


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def _dense_corner(
    wavelet: str, sides: tuple[int, ...], levels: int, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Returns the matrix of FW* for a small corner, computed from W and the FFT, and its conjugate (a product with a
    conjugate view would copy the matrix each time)."""
    n = math.prod(sides)
    columns = Wavelet(sides, wavelet, levels).adjoint(torch.eye(n, dtype=torch.float64).view(n, *sides))
    spectra = torch.fft.fftn(columns, dim=tuple(range(1, 1 + len(sides))), norm="ortho")
    matrix = spectra.view(n, n).mT.contiguous().to(device=device, dtype=dtype)
    return matrix, matrix.conj_physical()


@lru_cache(maxsize=256)
@torch.inference_mode(False)
def _responses(wavelet: str, n: int, behind: int, conjugate: bool, dtype: torch.dtype, device: torch.device) -> Tensor:
    r"""Computes the filters' responses :math:`\hat h_m=2^{-1/2}\sum_jh_je^{-2\pi im(L/2-j)/n}` at n frequencies, or
    their conjugates.

    The shape is (2, 2, n / 2, 1, ..., 1): low- and high-pass, repetition, frequency, and the axes behind.
    """
    filters = filter_bank(wavelet)
    place = len(filters[0]) // 2 - np.arange(len(filters[0]))
    # Angles from integers modulo n, so that long filters and large n lose no digits.
    phase = np.exp((2j if conjugate else -2j) * np.pi * (np.outer(np.arange(n), place) % n) / n)
    pair = np.stack([phase @ taps / np.sqrt(2) for taps in filters])
    return torch.from_numpy(pair).to(device=device, dtype=dtype).view(2, 2, n // 2, *(1,) * behind)
