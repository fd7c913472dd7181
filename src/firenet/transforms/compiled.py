"""Compiled filters of undecimated wavelets: a level of W with the dual step of its bands, and a level of W*.

An image is an array (rows, pitch) of reals; the first ``width`` numbers of each row are its pixels, and a complex pixel
is two neighbours. Along an axis, with taps :math:`c_k` at places :math:`m_k` that are as far apart as the level
stretches the filter,

.. math:: y_i=\\sum_kc_kx_{i-m_k},\\qquad x_i=\\sum_kc_ky_{i+m_k}\\ \\text{for the adjoint,}

with periodic indices. Taps and places are tuples of tuples of at most :data:`TAPS` numbers: a loop over one of them is
unrolled, and the compiler makes vector instructions of it.

The functions compute the rows ``start`` to ``stop - 1`` of their results, and the numbers in a row do not depend on the
two: threads share the rows, and their number has no effect on the result. A row of W needs filtered rows around it;
they are kept in a ring buffer, so that they stay in the cache.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from firenet.compiling import factor_of, inner, stored
from firenet.optional import optional

_tuples: Any = optional("numba.cpython.unsafe.tuple", "fast", "The compiled engine")
_replaced = _tuples.tuple_setitem

TAPS = 8
# The rows of work arrays are this much longer than those of the image: rows at distances of 4096 bytes hinder each
# other.
SLACK = 32

_U = np.uint64


# --- inner loops ------------------------------------------------------------------------------------------------------


@inner
def _continued(padded, before, width):
    """Continues the numbers from ``before``, ``width`` of them, periodically to both sides."""
    for j in range(before + width, 2 * before + width):
        padded[j] = padded[j - width]
    periods = width * ((before + width - 1) // width)
    for j in range(before):
        padded[j] = padded[j + periods]


@inner
def _shifted(start, places, period):
    """Returns the places counted from a start, periodically; start and places are in the first period."""
    for k in range(len(places)):
        at = start + places[k]
        places = _replaced(places, k, at - period if at >= period else at)
    return places


@inner
def _split_along(low, high, row, places, h, g, width, fresh):
    """Adds a row filtered with the taps h to ``low``, and with g to ``high``, which are zero before if ``fresh``."""
    zero = low.dtype.type(0)
    for j in range(_U(width)):
        a, b = (zero, zero) if fresh else (low[j], high[j])
        for k in range(len(places)):
            x = row[_U(places[k]) + j]
            a += h[k] * x
            b += g[k] * x
        low[j], high[j] = a, b


@inner
def _split_across(low, high, image, places, h, g, width, fresh):
    """Does the same across the rows of an image."""
    zero = low.dtype.type(0)
    for j in range(_U(width)):
        a, b = (zero, zero) if fresh else (low[j], high[j])
        for k in range(len(places)):
            x = image[_U(places[k]), j]
            a += h[k] * x
            b += g[k] * x
        low[j], high[j] = a, b


@inner
def _merge_along(out, low, high, places, h, g, width, fresh):
    """Adds to ``out``, zero before if ``fresh``, the row ``low`` filtered with h and ``high`` filtered with g."""
    zero = out.dtype.type(0)
    for j in range(_U(width)):
        a = zero if fresh else out[j]
        for k in range(len(places)):
            a += h[k] * low[_U(places[k]) + j] + g[k] * high[_U(places[k]) + j]
        out[j] = a


@inner
def _merge_across(out, low, high, places, h, g, width, fresh):
    """Does the same across the rows of two images."""
    zero = out.dtype.type(0)
    for j in range(_U(width)):
        a = zero if fresh else out[j]
        for k in range(len(places)):
            a += h[k] * low[_U(places[k]), j] + g[k] * high[_U(places[k]), j]
        out[j] = a


@inner
def _step(p, w, bound, sigma, rho, complex_):
    """Replaces the dual variables p of a row by :math:`u+(\\rho-1)(u-p)`, where u is the projection of p + sigma w.

    ``bound`` has the limits of real dual variables, and the inverse limits of complex ones.
    """
    one, most = bound.dtype.type(1), np.finfo(bound.dtype).max
    if complex_:
        for j in range(len(bound)):
            x, y = p[2 * j], p[2 * j + 1]
            a, b = x + sigma * w[2 * j], y + sigma * w[2 * j + 1]
            s, t = a * bound[j], b * bound[j]
            factor = factor_of(s * s + t * t, one, most)
            a, b = a * factor, b * factor
            p[2 * j], p[2 * j + 1] = a + rho * (a - x), b + rho * (b - y)
    else:
        for j in range(len(bound)):
            x = p[j]
            a = x + sigma * w[j]
            a = bound[j] if a > bound[j] else a
            a = -bound[j] if a < -bound[j] else a
            p[j] = a + rho * (a - x)


@inner
def _slope(into, work, p, w, of_p, v, bound, sigma, rho):
    """Computes the derivative of :func:`_step` for a row of complex dual variables.

    With u = p + sigma w, and the gradient v + ``of_p`` of the new dual variables, it writes rho times the derivative of
    the clip into ``work``, and the gradient of p into ``into``; rho is the relaxation. ``v`` has the bands of the
    gradient of W*p. Returns the inner product of ``work`` and w.
    """
    zero, one, most = bound.dtype.type(0), bound.dtype.type(1), np.finfo(bound.dtype).max
    total = zero
    for j in range(_U(len(bound))):
        k = _U(2) * j
        n = k + _U(1)
        a, b = (p[k] + sigma * w[k]) * bound[j], (p[n] + sigma * w[n]) * bound[j]
        x, y = v[k] + of_p[k], v[n] + of_p[n]
        square = a * a + b * b
        factor = factor_of(square, one, most)
        along = zero if square <= one or square > most else (a * x + b * y) / square
        c, d = rho * factor * (x - along * a), rho * factor * (y - along * b)
        total += c * w[k] + d * w[n]
        work[k], work[n] = c, d
        into[k], into[n] = (one - rho) * x + c, (one - rho) * y + d
    return total


@inner
def subtract_from(b, a):
    """Computes a - b, written over b."""
    for j in range(len(a)):
        b[j] = a[j] - b[j]


@inner
def _sizes(out, w, limit, complex_):
    """Computes the magnitudes of a row times its limits, in double precision."""
    if complex_:
        for j in range(len(out)):
            a, b = abs(np.float64(w[2 * j])), abs(np.float64(w[2 * j + 1]))
            large, small = (a, b) if a > b else (b, a)
            ratio = small / large if large > 0 else large  # no square under- or overflows
            out[j] = large * np.sqrt(1 + ratio * ratio) * limit[j]
    else:
        for j in range(len(out)):
            out[j] = abs(w[j]) * limit[j]


@inner
def _squares(out, w, limit, complex_):
    """Computes the squares of the same; they cost no root."""
    if complex_:
        for j in range(len(out)):
            a, b = w[2 * j] * limit[j], w[2 * j + 1] * limit[j]
            out[j] = a * a + b * b
    else:
        for j in range(len(out)):
            a = w[j] * limit[j]
            out[j] = a * a


@inner
def sum_of(row):
    """Returns the sum of a row."""
    total = row.dtype.type(0)
    for j in range(len(row)):
        total += row[j]
    return total


@inner
def largest_of(row):
    """Returns the largest of numbers that are not negative, or NaN if one is: compared as integers, they have the same
    order, and NaN is the largest."""
    bits, found = row.view(np.int64), np.int64(0)
    for j in range(len(bits)):
        found = max(found, bits[j] & 0x7FFFFFFFFFFFFFFF)
    return found


# --- a level of W and of its adjoint ----------------------------------------------------------------------------------


@inner
def _bands(t, low, image, i, done, ring, padded, along, across, reach, width):
    """Computes row i of a level: the low-pass band, and the three details in the order of the coefficients.

    ``ring`` has the filtered rows before ``done``; this function adds what is missing, and returns the new ``done``.
    """
    places, h, g = along
    before = (len(padded) - width) // 2
    while done <= i + reach:
        row, at = image[done % len(image)], done % ring.shape[1]
        for j in range(width):
            padded[before + j] = row[j]
        _continued(padded, before, width)
        for c in range(len(h)):
            _split_along(ring[0, at], ring[1, at], padded, places[c], h[c], g[c], width, c == 0)
        done += 1
    places, h, g = across
    for b in range(2):
        first, second = (low, t[1]) if b == 0 else (t[0], t[2])
        for c in range(len(h)):
            rows = _shifted(i % ring.shape[1], places[c], ring.shape[1])
            _split_across(first, second, ring[b], rows, h[c], g[c], width, c == 0)
    return done


@stored
def dual_step(image, low, p, bands, bounds, along, across, reach, width, sigma, rho, start, stop):
    """Computes a level of W and the dual step of its bands.

    Args:
        image: The low-pass band of the level before; for the finest level the image.
        low: The place for the low-pass band of this level, or no rows for the coarsest level.
        p: The dual variables of all bands (bands, rows, width), overwritten.
        bands: The indices in p of the three detail bands and of the approximation (-1 except at the coarsest level).
        bounds: For each of these bands the limits of real dual variables, or the inverse limits of complex ones: one
            row for all rows, or one for each.
        along: For the filters along the rows the places of the taps, counted from the beginning of the padded row, and
            the low-pass and high-pass taps.
        across: For the filters across the rows the places of the taps, counted from the row of the result, modulo the
            period of the ring or of the image, and the taps.
        reach: The largest distance of a tap from the middle, in rows.
        width: The width of a row.
        sigma: The step.
        rho: The relaxation minus one.
        start: The first row.
        stop: The row after the last one.
    """
    pitch, pixels = width + SLACK, bounds[0].shape[1]
    ring, t = np.empty((2, 2 * reach, pitch), image.dtype), np.empty((4, pitch), image.dtype)
    padded = np.empty(width + 2 * reach * (width // pixels), image.dtype)
    done = start - reach + 1
    for i in range(start, stop):
        row = low[i] if len(low) else t[3]
        done = _bands(t, row, image, i, done, ring, padded, along, across, reach, width)
        for b in range(4):
            if bands[b] >= 0:
                dual, bound = p[bands[b], i], bounds[b]
                _step(dual, t[b] if b < 3 else row, bound[i % len(bound)], sigma, rho, width > pixels)


@stored
def measure(image, low, p, bands, limits, along, across, reach, width, results, largest, start, stop):
    """Computes for each row of each band of a level of W the sum of the magnitudes times the limits, or the square of
    the largest of them, in double precision.

    Args:
        image: As in :func:`dual_step`.
        low: As there.
        p: Dual variables from which the bands are subtracted, or no rows.
        bands: As there.
        limits: As ``bounds`` there, in double precision.
        along: As there.
        across: As there.
        reach: As there.
        width: As there.
        results: The place (bands, rows) for these numbers.
        largest: Whether to compute the squares of the largest, and not the sums.
        start: As there.
        stop: As there.
    """
    pitch, pixels = width + SLACK, limits[0].shape[1]
    ring, t = np.empty((2, 2 * reach, pitch), image.dtype), np.empty((4, pitch), image.dtype)
    padded = np.empty(width + 2 * reach * (width // pixels), image.dtype)
    sizes, bits = np.empty(pixels, np.float64), results.view(np.int64)
    done = start - reach + 1
    for i in range(start, stop):
        row = low[i] if len(low) else t[3]
        done = _bands(t, row, image, i, done, ring, padded, along, across, reach, width)
        for b in range(4):
            if bands[b] >= 0:
                w, limit = t[b] if b < 3 else row, limits[b]
                if p.shape[1]:
                    subtract_from(w, p[bands[b], i])
                if largest:
                    _squares(sizes, w, limit[i % len(limit)], width > pixels)
                    bits[bands[b], i] = largest_of(sizes)
                else:
                    _sizes(sizes, w, limit[i % len(limit)], width > pixels)
                    results[bands[b], i] = sum_of(sizes)


@stored
def dual_slope(
    image,
    low,
    p,
    bands,
    bounds,
    along,
    across,
    reach,
    width,
    sigma,
    rho,
    of,
    of_low,
    of_p,
    into,
    work,
    sums,
    start,
    stop,
):
    """Computes the derivative of the dual step of a level, for complex dual variables.

    Args:
        image: As in :func:`dual_step`.
        low: As there.
        p: The dual variables before the step.
        bands: As there.
        bounds: As there.
        along: As there.
        across: As there.
        reach: As there.
        width: As there.
        sigma: As there.
        rho: The relaxation.
        of: As ``image``, for the gradient of W*p instead of the image.
        of_low: As ``low``, for the same.
        of_p: The gradient of the new dual variables.
        into: The place for the gradient of p.
        work: The place for rho times the derivative of the clip.
        sums: The place (bands, rows) for the inner products of this and the bands of the image, in double precision.
        start: As there.
        stop: As there.
    """
    pitch, pixels = width + SLACK, bounds[0].shape[1]
    rings, t = np.empty((2, 2, 2 * reach, pitch), image.dtype), np.empty((2, 4, pitch), image.dtype)
    padded = np.empty(width + 2 * reach * (width // pixels), image.dtype)
    done, of_done = start - reach + 1, start - reach + 1
    for i in range(start, stop):
        row, of_row = (low[i], of_low[i]) if len(low) else (t[0, 3], t[1, 3])
        done = _bands(t[0], row, image, i, done, rings[0], padded, along, across, reach, width)
        of_done = _bands(t[1], of_row, of, i, of_done, rings[1], padded, along, across, reach, width)
        for b in range(4):
            if bands[b] >= 0:
                w, v = (t[0, b], t[1, b]) if b < 3 else (row, of_row)
                k, bound = bands[b], bounds[b]
                places = into[k, i], work[k, i], p[k, i], w, of_p[k, i], v
                sums[k, i] = _slope(*places, bound[i % len(bound)], sigma, rho)


@stored
def adjoint(out, low, p, band, along, across, reach, width, pixel, add, start, stop):
    """Applies the adjoint of a level of W to the low-pass band ``low`` and to three detail bands of p, of which
    ``band`` is the first; the result is added to ``out`` if ``add``."""
    before = reach * pixel
    padded = np.empty((2, width + 2 * before), out.dtype)
    places, h, g = across
    starts, u, v = along
    for i in range(start, stop):
        for b in range(2):
            first, second = (low, p[band + 1]) if b == 0 else (p[band], p[band + 2])
            inner = padded[b, before:]
            for c in range(len(h)):
                rows = _shifted(i, places[c], len(out))
                _merge_across(inner, first, second, rows, h[c], g[c], width, c == 0)
            _continued(padded[b], before, width)
        for c in range(len(u)):
            _merge_along(out[i], padded[0], padded[1], starts[c], u[c], v[c], width, c == 0 and not add)
