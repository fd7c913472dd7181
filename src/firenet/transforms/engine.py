"""The compiled engine of the analysis form, for 2-D images on the CPU: W, its adjoint and the dual step.

Wavelets and gradients have few taps, so in the spatial domain a sweep over all bands takes less time than two FFTs for
each band. The results are those of the FFTs, up to rounding, and do not depend on the number of threads.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import ModuleType
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from firenet.engines import asked_for, compiled_module, share
from firenet.transforms.analysis_operator import AnalysisOperator
from firenet.transforms.filters import filter_bank
from firenet.transforms.gradient import Gradient
from firenet.transforms.undecimated import UndecimatedWavelet
from firenet.transforms.union import Union

Array = NDArray[Any]
# Coefficients, see compiled_module. A choice of a setting takes some 600 layers, attacks and training thousands.
_WORTH = 2**13


@dataclass(frozen=True, eq=False)
class _Level:
    """A level of an undecimated wavelet: its taps (low-pass and high-pass), scaled along the rows by ``scale``; the
    distance of its taps; the first of its bands, and the approximation, which is -1 if it is not the coarsest."""

    taps: Array
    scale: float
    stretch: int
    band: int
    approximation: int


@dataclass(frozen=True)
class _Differences:
    """A periodic gradient, times ``scale``; ``band`` is the first of its two bands."""

    scale: float
    band: int


_Part = list[_Level] | _Differences


def engine_for(sparsify: AnalysisOperator, scale: float) -> Engine | None:
    """Returns the compiled engine for ``scale`` times an operator, or None if the operator is left to torch.

    Undecimated wavelets and periodic gradients of 2-D images and unions of them have an engine; other operators are
    left to torch. See :func:`.compiled_module`, which also says which errors are raised.
    """
    asked_for()  # refuses other values of the variable, whatever the operator
    parts = None if len(sparsify.in_shape) != 2 else _parts(sparsify, scale, 0)
    if not parts:
        return None
    size = math.prod(sparsify.out_shape)
    names = "firenet.transforms.compiled", "firenet.transforms.compiled_gradient"
    compiled, gradient = (compiled_module(name, size, _WORTH) for name in names)
    return None if compiled is None or gradient is None else Engine(sparsify, parts, compiled, gradient)


def _parts(sparsify: AnalysisOperator, scale: float, band: int) -> list[_Part] | None:
    """Returns the parts of an operator, or None if it has others than undecimated wavelets and periodic gradients."""
    if isinstance(sparsify, Union):
        found: list[_Part] = []
        for factor, part in zip(sparsify.factors, sparsify.operators(), strict=True):
            parts = _parts(part, factor * scale, band)
            if parts is None:
                return None
            found, band = found + parts, band + part.out_shape[0]
        return found
    if type(sparsify) is Gradient and sparsify.boundary == "periodic":
        return [_Differences(scale, band)]
    if type(sparsify) is not UndecimatedWavelet or sparsify.depth == 0:
        return None
    taps, depth = np.stack(filter_bank(sparsify.wavelet)) / math.sqrt(2), sparsify.depth
    return [
        [
            _Level(taps, 1.0 if j else scale, 2**j, band + 3 * j, band + 3 * depth if j == depth - 1 else -1)
            for j in range(depth)
        ]
    ]


@final
class Engine:
    """W and W* of undecimated wavelets and gradients, compiled, for tensors on the CPU without derivatives.

    Images have shape (batch, \\*image) and dual variables (batch, bands, \\*image); both are real or complex,
    in single or double precision.

    Args:
        sparsify: The operator, whose shape and groups are used.
        parts: Its wavelets and gradients.
        compiled: The module :mod:`firenet.transforms.compiled`.
        gradient: The module :mod:`firenet.transforms.compiled_gradient`.
    """

    def __init__(
        self, sparsify: AnalysisOperator, parts: list[_Part], compiled: ModuleType, gradient: ModuleType
    ) -> None:
        self._compiled, self._gradient, self._parts = compiled, gradient, parts
        self._group = [k for k, size in enumerate(sparsify.groups) for _ in range(size)]  # of each band
        self._bands, self._rows, self._columns = sparsify.out_shape
        self._filters: dict[tuple[Any, ...], tuple[Any, ...]] = {}
        self._limits: dict[int, tuple[Tensor, Array]] = {}
        self._lows: Array | None = None

    def sweep_(self, p: Tensor, image: Tensor, limits: list[Tensor], sigma: Tensor, rho: Tensor) -> Tensor:
        """Computes the dual step :math:`p\\leftarrow(1-\\rho)p+\\rho\\,\\mathrm{clip}(p+\\sigma Wx)` in place.

        Args:
            p: The dual variables, overwritten.
            image: x.
            limits: For each group of bands the limits of real dual variables, or the inverse limits of complex ones, as
                a number or in a shape that broadcasts to the image.
            sigma: The step for each batch item.
            rho: The relaxation for each batch item.

        Returns:
            W*p.
        """
        out = torch.empty_like(image, memory_format=torch.contiguous_format)
        images, lows = self._images(image)
        spread = [self._spread(k, limit) for k, limit in enumerate(limits)]
        bounds = [spread[k] for k in self._group]
        each = zip(images, _reals(p), _reals(out), sigma.flatten().numpy(), rho.flatten().numpy() - 1, strict=True)
        for x, dual, back, step, relaxation in each:
            for part in self._parts:
                self._forward(False, part, x, lows, dual, bounds, step, relaxation)
                self._adjoint(part, dual, lows, back, add=part is not self._parts[0])
        return out

    def slope(
        self,
        p: Tensor,
        image: Tensor,
        limits: list[Tensor],
        sigma: Tensor,
        rho: Tensor,
        of_p: Tensor,
        of_back: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Computes the derivative of the step :meth:`sweep_`, for complex tensors.

        Args:
            p: The dual variables before the step.
            image: x.
            limits: The inverse limits.
            sigma: The step for each batch item.
            rho: The relaxation for each batch item.
            of_p: The gradient of the new dual variables.
            of_back: The gradient of W*p.

        Returns:
            The gradients of p and of x, and that of sigma in double precision, one number per batch item.
        """
        into, work, into_image = (torch.empty_like(t, memory_format=torch.contiguous_format) for t in (p, p, image))
        sums = torch.zeros(len(p), self._bands, self._rows, dtype=torch.float64)
        images, lows = self._images(image)
        of_images, of_lows = _reals(of_back.contiguous()), np.empty_like(lows)
        spread = [self._spread(k, limit) for k, limit in enumerate(limits)]
        bounds = [spread[k] for k in self._group]
        tensors = (images, _reals(p), of_images, _reals(of_p.contiguous()), _reals(into), _reals(work))
        each = zip(
            *tensors, sums.numpy(), _reals(into_image), sigma.flatten().numpy(), rho.flatten().numpy(), strict=True
        )
        for x, dual, of, of_dual, place, scratch, products, back, step, relaxation in each:
            for part in self._parts:
                rest = of_dual, place, scratch, products
                self._slope(part, x, lows, dual, bounds, (step, relaxation), of, of_lows, rest)
                self._adjoint(part, scratch, lows, back, add=part is not self._parts[0])
            back *= step
        return into, into_image, sums.sum(dim=(1, 2))

    def penalty(self, image: Tensor, limits: list[Tensor]) -> Tensor:
        """Computes :math:`\\sum_i\\lambda w_i|(Wx)_i|`, one float64 number per batch item, from limits in float64."""
        nothing = image.new_zeros(len(image), self._bands, 0, self._columns)
        return self._measured(image, nothing, limits, False).sum(dim=(1, 2))

    def worst(self, p: Tensor, image: Tensor, inverses: list[Tensor]) -> Tensor:
        """Computes the largest :math:`|(p-Wx)_i|/(\\lambda w_i)`, one float64 number per batch item, from the
        inverses :math:`1/(\\lambda w_i)` in float64."""
        return self._measured(image, p, inverses, True).amax(dim=(1, 2)).sqrt()

    def _measured(self, image: Tensor, p: Tensor, limits: list[Tensor], largest: bool) -> Tensor:
        """Computes for each row of each band the sum of the magnitudes of p - Wx times the limits, or the largest
        of their squares. Those of a gradient are in the row of its first band."""
        found = torch.zeros(len(image), self._bands, self._rows, dtype=torch.float64)
        images, lows = self._images(image)
        spread = [_spread(limit, self._rows, self._columns) for limit in limits]
        rows = [spread[k] for k in self._group]
        for x, dual, results in zip(images, _reals(p), found.numpy(), strict=True):
            for part in self._parts:
                self._forward(True, part, x, lows, dual, rows, results, largest)
        return found

    def _forward(
        self, measure: bool, part: _Part, x: Array, lows: Array, dual: Array, limits: list[Array], *rest: Any
    ) -> None:
        """Measures the bands of a part, or computes their dual step, from the finest level to the coarsest."""
        module, width = self._compiled, dual.shape[-1]
        if isinstance(part, _Differences):
            function = self._gradient.measure if measure else self._gradient.dual_step
            scale = x.dtype.type(part.scale)
            share(function, self._rows, width, x, dual, part.band, limits[part.band], scale, *rest)
            return
        function = module.measure if measure else module.dual_step
        for j, level in enumerate(part):
            bands = (*range(level.band, level.band + 3), level.approximation)
            low = lows[j] if level.approximation < 0 else lows[0, :0]
            filters = self._taps(level, x, width, adjoint=False, padded=measure)
            each = tuple(limits[k] for k in bands)
            share(function, self._rows, width, x, low, dual, bands, each, *filters, *rest)
            x = low

    def _slope(
        self,
        part: _Part,
        x: Array,
        lows: Array,
        dual: Array,
        limits: list[Array],
        steps: tuple[Any, Any],
        of: Array,
        of_lows: Array,
        rest: tuple[Array, ...],
    ) -> None:
        """Computes the derivative of the dual step of a part."""
        module, width = self._compiled, dual.shape[-1]
        if isinstance(part, _Differences):
            scale, bound = x.dtype.type(part.scale), limits[part.band]
            share(self._gradient.dual_slope, self._rows, width, x, dual, part.band, bound, scale, *steps, of, *rest)
            return
        for j, level in enumerate(part):
            bands = (*range(level.band, level.band + 3), level.approximation)
            low, of_low = (k[j] if level.approximation < 0 else k[0, :0] for k in (lows, of_lows))
            filters, each = self._taps(level, x, width, adjoint=False), tuple(limits[k] for k in bands)
            given = x, low, dual, bands, each, *filters, *steps, of, of_low
            share(module.dual_slope, self._rows, width, *given, *rest)
            x, of = low, of_low

    def _adjoint(self, part: _Part, dual: Array, lows: Array, out: Array, *, add: bool) -> None:
        """Applies the adjoint of a part; the result is added to ``out`` if ``add``."""
        module, width = self._compiled, dual.shape[-1]
        pixel = width // self._columns
        if isinstance(part, _Differences):
            scale = out.dtype.type(part.scale)
            share(self._gradient.adjoint, self._rows, width, out, dual, part.band, scale, pixel, add)
            return
        for j, level in reversed(list(enumerate(part))):
            low = lows[j] if level.approximation < 0 else dual[level.approximation]
            filters, after = self._taps(level, out, width, adjoint=True), lows[j - 1] if j else out
            share(module.adjoint, self._rows, width, after, low, dual, level.band, *filters, pixel, add and j == 0)

    def _taps(self, level: _Level, like: Array, width: int, *, adjoint: bool, padded: bool = False) -> tuple[Any, ...]:
        """Returns places and taps along and across the rows, the reach and the width, as the compiled functions take
        them. ``padded`` makes filters of every length one type, for which a function is compiled only once."""
        key = (level, like.dtype, width, adjoint, padded)
        if key not in self._filters:
            count = level.taps.shape[1]
            reach = level.stretch * (count // 2)
            places = level.stretch * (np.arange(count) - count // 2) * (1 if adjoint else -1)
            period, pixel = self._rows if adjoint else 2 * reach, width // self._columns
            along = self._chunks(pixel * (reach + places), (level.scale * level.taps).astype(like.dtype), padded)
            across = self._chunks(places % period, level.taps.astype(like.dtype), padded)
            self._filters[key] = along, across, reach, width
        return self._filters[key]

    def _chunks(self, places: Array, taps: Array, padded: bool) -> tuple[Any, ...]:
        """Returns places and taps as tuples of tuples, which are as long as the filter, or have eight numbers."""
        most = self._compiled.TAPS
        more = -len(places) % most if padded or len(places) > most else 0
        columns = np.pad(places, (0, more)), *np.pad(taps, ((0, 0), (0, more)))  # of taps that are zero
        return tuple(tuple(map(tuple, c.reshape(-1, min(len(c), most)))) for c in columns)

    def _images(self, image: Tensor) -> tuple[Array, Array]:
        """Returns images as arrays, and memory for the low-pass bands."""
        images = _reals(image.contiguous())
        count = max([1, *(len(part) - 1 for part in self._parts if not isinstance(part, _Differences))])
        shape = count, self._rows, images.shape[-1] + self._compiled.SLACK
        if self._lows is None or (self._lows.shape, self._lows.dtype) != (shape, images.dtype):
            self._lows = np.empty(shape, images.dtype)
        return images, self._lows

    def _spread(self, k: int, limit: Tensor) -> Array:
        """Returns :func:`_spread` of the limits of a band, which is kept for the next call with the same tensor."""
        if k not in self._limits or self._limits[k][0] is not limit:
            self._limits[k] = limit, _spread(limit, self._rows, self._columns)
        return self._limits[k][1]


def _reals(x: Tensor) -> Array:
    """Returns a tensor as an array of reals, a complex number as two neighbours; both have the same memory."""
    # A view, where flatten would copy what is not contiguous.
    return (torch.view_as_real(x).view(*x.shape[:-1], 2 * x.shape[-1]) if x.is_complex() else x).numpy()


def _spread(limit: Tensor, rows: int, columns: int) -> Array:
    """Returns limits as one row if they are one number, else with all rows."""
    return limit.expand(1 if limit.numel() == 1 else rows, columns).contiguous().numpy()
