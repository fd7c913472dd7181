"""Compiled functions of the gradient: its differences with the dual step of both, and the adjoint.

The numbers are as in :mod:`firenet.transforms.compiled`. The first band has the differences down the columns, the
second those along the rows; the dual step limits their common magnitude.
"""

from __future__ import annotations

import numpy as np

from firenet.compiling import factor_of, inner, stored
from firenet.transforms.compiled import largest_of, subtract_from, sum_of

_U = np.uint64


@inner
def _differences(down, right, image, i, scale, pixel):
    """Computes row i of the scaled differences along the two axes."""
    row, after = image[i], image[(i + 1) % len(image)]
    last = len(down) - pixel
    for j in range(_U(len(down))):
        down[j] = scale * (after[j] - row[j])
    for j in range(_U(last)):
        right[j] = scale * (row[j + _U(pixel)] - row[j])
    for j in range(pixel):
        right[last + j] = scale * (row[j] - row[last + j])


@inner
def _joint_step(p, r, v, w, bound, sigma, rho, complex_):
    """Does the same as :func:`.compiled._step` for two rows p and r of dual variables with one limit in common."""
    one, most = bound.dtype.type(1), np.finfo(bound.dtype).max
    if complex_:
        for j in range(len(bound)):
            k, n = 2 * j, 2 * j + 1
            a, b, c, d = p[k] + sigma * v[k], p[n] + sigma * v[n], r[k] + sigma * w[k], r[n] + sigma * w[n]
            s, t, x, y = a * bound[j], b * bound[j], c * bound[j], d * bound[j]
            factor = factor_of(s * s + t * t + x * x + y * y, one, most)
            a, b, c, d = a * factor, b * factor, c * factor, d * factor
            p[k], p[n] = a + rho * (a - p[k]), b + rho * (b - p[n])
            r[k], r[n] = c + rho * (c - r[k]), d + rho * (d - r[n])
    else:
        for j in range(len(bound)):
            a, b = p[j] + sigma * v[j], r[j] + sigma * w[j]
            s, t = a / bound[j], b / bound[j]
            factor = factor_of(s * s + t * t, one, most)
            a, b = a * factor, b * factor
            p[j], r[j] = a + rho * (a - p[j]), b + rho * (b - r[j])


@inner
def _joint_slope(into, work, p, w, of_p, v, bound, sigma, rho):
    """Does the same for :func:`_joint_step`: every argument but the last three has two rows, in a tuple."""
    zero, one, most = bound.dtype.type(0), bound.dtype.type(1), np.finfo(bound.dtype).max
    total = zero
    for j in range(_U(2 * len(bound))):
        i = j >> _U(1) << _U(1)  # of the real part
        limit = bound[j >> _U(1)]
        square = along = zero
        for r in range(2):
            for k in range(_U(2)):
                a = (p[r][i + k] + sigma * w[r][i + k]) * limit
                square += a * a
                along += a * (v[r][i + k] + of_p[r][i + k])
        factor = factor_of(square, one, most)
        along = zero if square <= one or square > most else along / square
        for r in range(2):
            x = v[r][j] + of_p[r][j]
            c = rho * factor * (x - along * (p[r][j] + sigma * w[r][j]) * limit)
            total += c * w[r][j]
            work[r][j] = c
            into[r][j] = (one - rho) * x + c
    return total


@inner
def _joint_sizes(out, v, w, limit, complex_):
    """Computes the common magnitudes of two rows times the limits, in double precision, for numbers of any size."""
    each = 2 if complex_ else 1
    for j in range(len(out)):
        large = 0.0
        for k in range(each * j, each * j + each):
            for size in (abs(np.float64(v[k])), abs(np.float64(w[k]))):
                large = large if large >= size else size  # NaN stays NaN
        total = 0.0
        for k in range(each * j, each * j + each):
            a, b = np.float64(v[k]) / large, np.float64(w[k]) / large
            total += a * a + b * b
        out[j] = (large * np.sqrt(total) if large > 0 else large) * limit[j]


@inner
def _squares(row):
    for j in range(len(row)):
        row[j] *= row[j]


@stored
def dual_step(image, p, band, bound, scale, sigma, rho, start, stop):
    """Computes the gradient and the dual step of its bands, ``band`` and the next one.

    Args:
        image: The image.
        p: As in :func:`.compiled.dual_step`.
        band: The first band in p.
        bound: The limits of both bands together, as there.
        scale: The scale of the gradient.
        sigma: As there.
        rho: As there.
        start: As there.
        stop: As there.
    """
    width, pixels = p.shape[2], bound.shape[1]
    t = np.empty((2, width), image.dtype)
    for i in range(start, stop):
        _differences(t[0], t[1], image, i, scale, width // pixels)
        _joint_step(p[band, i], p[band + 1, i], t[0], t[1], bound[i % len(bound)], sigma, rho, width > pixels)


@stored
def measure(image, p, band, limit, scale, results, largest, start, stop):
    """Does the same as :func:`.compiled.measure` for the gradient; the numbers are written into row ``band`` of the
    results.

    Args:
        image: The image.
        p: As in :func:`.compiled.measure`.
        band: The first band in p.
        limit: The limits of both bands together, as there.
        scale: The scale of the gradient.
        results: As there.
        largest: As there.
        start: As there.
        stop: As there.
    """
    width, pixels = p.shape[2], limit.shape[1]
    t, sizes, bits = np.empty((2, width), image.dtype), np.empty(pixels, np.float64), results.view(np.int64)
    for i in range(start, stop):
        _differences(t[0], t[1], image, i, scale, width // pixels)
        if p.shape[1]:
            subtract_from(t[0], p[band, i])
            subtract_from(t[1], p[band + 1, i])
        _joint_sizes(sizes, t[0], t[1], limit[i % len(limit)], width > pixels)
        if largest:
            _squares(sizes)
            bits[band, i] = largest_of(sizes)
        else:
            results[band, i] = sum_of(sizes)


@stored
def dual_slope(image, p, band, bound, scale, sigma, rho, of, of_p, into, work, sums, start, stop):
    """Computes the derivative of :func:`dual_step` as :func:`.compiled.dual_slope` does; the inner products are written
    into row ``band`` of ``sums``."""
    width, pixels = p.shape[2], bound.shape[1]
    t = np.empty((2, 2, width), image.dtype)
    for i in range(start, stop):
        _differences(t[0, 0], t[0, 1], image, i, scale, width // pixels)
        _differences(t[1, 0], t[1, 1], of, i, scale, width // pixels)
        places = (into[band, i], into[band + 1, i]), (work[band, i], work[band + 1, i])
        given = (p[band, i], p[band + 1, i]), (t[0, 0], t[0, 1])
        gradients = (of_p[band, i], of_p[band + 1, i]), (t[1, 0], t[1, 1])
        sums[band, i] = _joint_slope(*places, *given, *gradients, bound[i % len(bound)], sigma, rho)


@stored
def adjoint(out, p, band, scale, pixel, add, start, stop):
    """Applies the adjoint of the gradient to the bands ``band`` and the next one of p; the result is added to ``out``
    if ``add``."""
    width = p.shape[2]
    zero, last = out.dtype.type(0), width - pixel
    for i in range(start, stop):
        total, before, here, right = out[i], p[band, i - 1 if i else len(out) - 1], p[band, i], p[band + 1, i]
        for j in range(_U(width)):
            total[j] = (total[j] if add else zero) + scale * (before[j] - here[j] - right[j])
        for j in range(_U(last)):
            total[j + _U(pixel)] += scale * right[j]
        for j in range(pixel):
            total[j] += scale * right[last + j]
