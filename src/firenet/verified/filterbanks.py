"""Wavelets and differences as sums of shifted arrays, with bounds of their rounding.

The operator is that of the stored filter taps, which are floats; how far they are from orthonormal is bounded in
rational numbers. The Haar filter of :class:`.Wavelet` is exact, :math:`2^{-1/2}(1,\\pm1)`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from fractions import Fraction
from functools import lru_cache

import numpy as np

from firenet.transforms.filters import filter_bank
from firenet.verified.arithmetic import Arithmetic, Array, inverse_root_loss
from firenet.verified.directed import above
from firenet.verified.losses import UNIT, Loss, gamma


@lru_cache(maxsize=64)
def _taps(wavelet: str) -> tuple[tuple[Fraction, ...], tuple[Fraction, ...]]:
    low, high = filter_bank(wavelet)
    return tuple(map(Fraction, low.tolist())), tuple(map(Fraction, high.tolist()))


def _overlap(a: tuple[Fraction, ...], b: tuple[Fraction, ...], lag: int) -> Fraction:
    """Returns the sum of a[i + lag] b[i]."""
    return sum((a[i + lag] * b[i] for i in range(len(b)) if 0 <= i + lag < len(a)), Fraction(0))


@lru_cache(maxsize=64)
def decimated_defect(wavelet: str) -> Fraction:
    """Returns a bound of :math:`\\|MM^*-I\\|` for one level M of the filter bank along one axis: the largest sum of the
    moduli of a row, by Gershgorin's theorem."""
    pair, rows = _taps(wavelet), []
    lags = range(-2 * len(pair[0]), 2 * len(pair[0]) + 1, 2)
    for one in range(2):
        row = [abs(_overlap(pair[one], pair[two], lag) - (lag == 0) * (one == two)) for two in range(2) for lag in lags]
        rows.append(sum(row, Fraction(0)))
    return max(rows)


@lru_cache(maxsize=64)
def undecimated_defect(wavelet: str) -> Fraction:
    """Returns a bound of :math:`|(|\\hat h|^2+|\\hat g|^2)/2-1|` at every frequency: the sum of the moduli of its
    Fourier coefficients."""
    low, high = _taps(wavelet)
    lags = range(-len(low), len(low) + 1)
    each = [abs(_overlap(low, low, k) + _overlap(high, high, k) - 2 * (k == 0)) for k in lags]
    return sum(each, Fraction(0)) / 2


def _sizes(wavelet: str) -> tuple[int, float]:
    """Returns the number of taps, and the root of the sum of the squares of the filters' 1-norms."""
    low, high = _taps(wavelet)
    return len(low), math.hypot(above(sum(map(abs, low), Fraction(0))), above(sum(map(abs, high), Fraction(0))))


# --- decimated ------------------------------------------------------------------------------------------------------


def decimated_loss(wavelet: str, dimensions: int, depth: int, *, haar: bool) -> Loss:
    """Returns the loss of the orthonormal wavelet transform."""
    if haar:
        step = Loss(math.sqrt(2), math.sqrt(2) * UNIT, math.sqrt(2) * UNIT)
    else:
        taps, size = _sizes(wavelet)
        step = Loss(above(1 + decimated_defect(wavelet) / 2), gamma(taps) * size, gamma(2 * taps) * size)
    level = Loss()
    for _ in range(dimensions):
        level = level.then(step.times(1 + 1e-12))
    if haar:
        level = level.times(2.0 ** (-dimensions / 2), inverse_root_loss(2**dimensions))
    return _repeated(level, depth)


def _repeated(level: Loss, depth: int) -> Loss:
    """Returns the loss of levels that act on a part of what the level before gave."""
    whole = Loss()
    for _ in range(depth):
        whole = whole.then(level.beside())
    return whole


def decimated(x: Array, padded: tuple[int, ...], wavelet: str, depth: int, k: Arithmetic, *, haar: bool) -> Array:
    """Computes the wavelet coefficients of an image, zero-padded to the padded shape."""
    out = k.zeros(padded, x)
    out[tuple(slice(n) for n in x.shape)] = x
    for level in range(depth):
        corner = tuple(slice(n >> level) for n in padded)
        part = out[corner]
        for axis in range(len(padded)):
            part = np.concatenate(_halves(part, axis, wavelet, k, haar), axis)
        out[corner] = part * k.inverse_root(2 ** len(padded)) if haar else part
    return out


def _halves(x: Array, axis: int, wavelet: str, k: Arithmetic, haar: bool) -> list[Array]:
    every = [slice(None)] * x.ndim
    every[axis] = slice(0, None, 2)
    if haar:
        even, odd = x[tuple(every)], np.roll(x, -1, axis)[tuple(every)]
        return [even + odd, even - odd]
    found = []
    for taps in filter_bank(wavelet):
        # Coefficient i sums tap j times sample 2i + half - j.
        shifted = (np.roll(x, j - len(taps) // 2, axis)[tuple(every)] for j in range(len(taps)))
        found.append(_weighted(shifted, k.constants(taps)))
    return found


def decimated_adjoint(
    c: Array, shape: tuple[int, ...], wavelet: str, depth: int, k: Arithmetic, *, haar: bool
) -> Array:
    """Computes the image of wavelet coefficients, cropped to its shape."""
    out = c.copy()
    for level in reversed(range(depth)):
        corner = tuple(slice(n >> level) for n in c.shape)
        part = out[corner]
        for axis in range(c.ndim):
            low, high = np.split(part, 2, axis)
            part = _merged(low, high, axis, wavelet, k, haar)
        out[corner] = part * k.inverse_root(2**c.ndim) if haar else part
    return out[tuple(slice(n) for n in shape)]


def _merged(low: Array, high: Array, axis: int, wavelet: str, k: Arithmetic, haar: bool) -> Array:
    shape = list(low.shape)
    shape[axis] *= 2
    every = [slice(None)] * low.ndim
    every[axis] = slice(0, None, 2)
    if haar:
        out, odd = k.zeros(tuple(shape), low), list(every)
        odd[axis] = slice(1, None, 2)
        out[tuple(every)], out[tuple(odd)] = low + high, low - high
        return out
    total: Array | None = None
    for half, taps in zip((low, high), filter_bank(wavelet), strict=True):
        wide = k.zeros(tuple(shape), half)
        wide[tuple(every)] = half
        shifted = (np.roll(wide, len(taps) // 2 - j, axis) for j in range(len(taps)))
        total = _weighted(shifted, k.constants(taps), total)
    assert total is not None
    return total


def _weighted(terms: Iterable[Array], taps: Array, total: Array | None = None) -> Array:
    """Computes the sum of the terms times the taps, one after the other, added to a total."""
    for term, tap in zip(terms, taps, strict=True):
        total = term * tap if total is None else total + term * tap
    assert total is not None
    return total


# --- undecimated ----------------------------------------------------------------------------------------------------


def undecimated_loss(wavelet: str, dimensions: int, depth: int) -> Loss:
    """Returns the loss of the undecimated transform."""
    taps, size = _sizes(wavelet)
    norm = math.sqrt(2) * above(1 + undecimated_defect(wavelet) / 2)
    level = Loss()
    for _ in range(dimensions):
        level = level.then(Loss(norm * (1 + 1e-12), gamma(taps) * size, gamma(2 * taps) * size))
    return _repeated(level.times(2.0 ** (-dimensions / 2), inverse_root_loss(2**dimensions)), depth)


def undecimated(x: Array, wavelet: str, depth: int, k: Arithmetic) -> Array:
    """Computes the bands of an image: details from the finest level to the coarsest, the approximation last."""
    low, details = x, []
    for level in range(depth):
        bands = [low]
        for axis in range(x.ndim):
            bands = [half for band in bands for half in _filtered(band, axis, 2**level, wavelet, k)]
        bands = [band * k.inverse_root(2**x.ndim) for band in bands]
        low, details = bands[0], details + bands[1:]
    return np.stack([*details, low])


def _filtered(x: Array, axis: int, stretch: int, wavelet: str, k: Arithmetic) -> list[Array]:
    # Sample i sums tap j times sample i - (j - middle) * stretch.
    return [
        _weighted((np.roll(x, (j - len(t) // 2) * stretch, axis) for j in range(len(t))), k.constants(t))
        for t in filter_bank(wavelet)
    ]


def undecimated_adjoint(c: Array, wavelet: str, depth: int, k: Arithmetic) -> Array:
    """Computes the adjoint of :func:`undecimated`."""
    d = c.ndim - 1
    low, each = c[-1], 2**d - 1
    for level in reversed(range(depth)):
        bands = [low, *c[level * each : (level + 1) * each]]
        bands = [band * k.inverse_root(2**d) for band in bands]
        for axis in reversed(range(d)):
            pairs = zip(bands[::2], bands[1::2], strict=True)
            bands = [_unfiltered(*pair, axis, 2**level, wavelet, k) for pair in pairs]
        low = bands[0]
    return low


def _unfiltered(low: Array, high: Array, axis: int, stretch: int, wavelet: str, k: Arithmetic) -> Array:
    total: Array | None = None
    for half, t in zip((low, high), filter_bank(wavelet), strict=True):
        shifted = (np.roll(half, (len(t) // 2 - j) * stretch, axis) for j in range(len(t)))
        total = _weighted(shifted, k.constants(t), total)
    assert total is not None
    return total


# --- differences ----------------------------------------------------------------------------------------------------


def gradient_loss(dimensions: int) -> Loss:
    """Returns the loss of the differences along all axes, whose norm is at most 2 along each."""
    norm = 2 * math.sqrt(dimensions)
    return Loss(norm * (1 + 1e-12), norm * gamma(1), norm * gamma(2 * dimensions))


def gradient(x: Array, boundary: str, k: Arithmetic) -> Array:
    """Computes the differences along each axis."""
    bands = []
    for axis in range(x.ndim):
        d = np.roll(x, -1, axis) - x
        if boundary == "neumann":
            d[(slice(None),) * axis + (slice(-1, None),)] = 0
        bands.append(d)
    return np.stack(bands)


def gradient_adjoint(c: Array, boundary: str, k: Arithmetic) -> Array:
    """Computes the adjoint of :func:`gradient`."""
    total = k.zeros(c.shape[1:], c)
    for axis, band in enumerate(c):
        d = band
        if boundary == "neumann":
            d = d.copy()
            d[(slice(None),) * axis + (slice(-1, None),)] = 0
        total = total + np.roll(d, 1, axis) - d
    return total
