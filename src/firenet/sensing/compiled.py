"""Compiled functions of the folded spectrum in two dimensions, see :mod:`firenet.sensing.fourier_wavelet`.

A level has a grid of frequencies (2 n, 2 m), the spectrum of its low-pass band (n, m), and those of its three detail
bands (3, n, m), in the order of their types. ``rows`` (4, n) has the responses along the first axis: low-pass for the
first and the second repetition of each frequency, then high-pass; ``columns`` (4, m) along the second. Both axes are
combined row by row, so that what lies between them stays in the cache. The number of threads changes no bit.
"""

from __future__ import annotations

import numpy as np

from firenet.compiling import inner, stored

_U = np.uint64


@inner
def _combined(out, a, b, r, s):
    """Computes a r + b s for rows of responses r and s."""
    for j in range(_U(len(out))):
        out[j] = a[j] * r[j] + b[j] * s[j]


@inner
def _combined_twice(first, second, a, b, r, s, t, u):
    """Computes a r + b s and a t + b u for single responses."""
    for j in range(_U(len(first))):
        x, y = a[j], b[j]
        first[j] = x * r + y * s
        second[j] = x * t + y * u


@stored
def unfold(low, details, grid, rows, columns, start, stop):
    """Computes the rows ``start`` to ``stop - 1`` of the grid, and those n rows later, from the bands."""
    n, m = low.shape
    work = np.empty((2, 2 * m), grid.dtype)
    for i in range(start, stop):
        for half in range(2):  # of the columns: the two repetitions
            r, s = columns[half], columns[2 + half]
            part = slice(half * m, (half + 1) * m)
            _combined(work[0, part], low[i], details[0, i], r, s)
            _combined(work[1, part], details[1, i], details[2, i], r, s)
        h, k, g, e = rows[0, i], rows[1, i], rows[2, i], rows[3, i]
        _combined_twice(grid[i], grid[n + i], work[0], work[1], h, g, k, e)


@stored
def fold(low, details, grid, rows, columns, start, stop):
    """Computes the rows ``start`` to ``stop - 1`` of the bands from the grid; ``rows`` and ``columns`` are the
    conjugate responses, so that this is the adjoint of :func:`unfold`."""
    n, m = low.shape
    work = np.empty((2, 2 * m), grid.dtype)
    for i in range(start, stop):
        h, k, g, e = rows[0, i], rows[1, i], rows[2, i], rows[3, i]
        _combined_twice(work[0], work[1], grid[i], grid[n + i], h, k, g, e)
        _combined(low[i], work[0, :m], work[0, m:], columns[0], columns[1])
        _combined(details[0, i], work[0, :m], work[0, m:], columns[2], columns[3])
        _combined(details[1, i], work[1, :m], work[1, m:], columns[0], columns[1])
        _combined(details[2, i], work[1, :m], work[1, m:], columns[2], columns[3])
