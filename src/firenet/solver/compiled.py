"""The primal half of a layer of the synthesis form in one pass over memory, compiled.

With v = x - tau A*q it computes :math:`\\tilde x=\\mathrm{shrink}_t(v)` and adds it to the sum of the run, replaces
``last`` by :math:`\\tilde x` minus it, and moves x by the relaxation times :math:`\\tilde x-x`.
"""

from __future__ import annotations

import numpy as np

from firenet.compiling import factor_of, inner, stored

_U = np.uint64
# So many numbers are taken through all steps at once, so that they stay in the cache. Blocks begin at the same numbers
# for every number of threads, which hence changes no bit.
BLOCK = 1024


@inner
def _descend(new, x, tau):
    """Replaces A*q by x - tau A*q."""
    for j in range(_U(len(new))):
        new[j] = x[j] - tau * new[j]


@inner
def _shrink(v, t):
    """Replaces complex numbers by their soft threshold: exactly zero up to the threshold, and NaN stays NaN."""
    one, most = t.dtype.type(1), np.finfo(t.dtype).max
    for j in range(_U(len(v))):
        limit = t[j]
        a, b = v[j].real / limit, v[j].imag / limit
        square = a * a + b * b
        factor = one - one if square <= one else one - factor_of(square, one, most)
        v[j] = complex(v[j].real * factor, v[j].imag * factor)


@inner
def _shrink_real(v, t):
    """Does the same for real numbers."""
    for j in range(_U(len(v))):
        a, limit = v[j], t[j]
        a = limit if a > limit else a
        v[j] -= -limit if a < -limit else a


@inner
def _follow(x, new, last, total, rest, change, add, relax):
    """Computes what comes after the threshold; see :func:`advance` for the arguments."""
    if change:
        for j in range(_U(len(new))):
            last[j] = new[j] - last[j]
    if add:
        for j in range(_U(len(new))):
            total[j] += new[j]
    if relax:
        for j in range(_U(len(new))):
            x[j] = new[j] - rest * (new[j] - x[j])  # exactly new for rho = 1


@stored
def advance(new, x, last, total, t, tau, rho, change, add, relax, start, stop):
    """Computes the blocks ``start`` to ``stop - 1`` for complex numbers.

    Args:
        new: A*q, overwritten by the new point.
        x: The point before the layer, which moves towards the new one if ``relax``.
        last: The new point of the layer before, overwritten by the change from it if ``change``. It may be x if not
            ``relax``.
        total: The sum of the new points, to which this one is added if ``add``.
        t: The thresholds: one for each number, or ``BLOCK`` times the same.
        tau: The primal step.
        rho: The relaxation.
        change: See ``last``.
        add: See ``total``.
        relax: See ``x``.
        start: The first block.
        stop: The block after the last one.
    """
    for i in range(start, stop):
        part = slice(i * BLOCK, min((i + 1) * BLOCK, len(new)))
        _descend(new[part], x[part], tau)
        _shrink(new[part], t[part] if len(t) == len(new) else t)
        _follow(x[part], new[part], last[part], total[part], t.dtype.type(1) - rho, change, add, relax)


@stored
def advance_real(new, x, last, total, t, tau, rho, change, add, relax, start, stop):
    """Does the same as :func:`advance` for real numbers."""
    for i in range(start, stop):
        part = slice(i * BLOCK, min((i + 1) * BLOCK, len(new)))
        _descend(new[part], x[part], tau)
        _shrink_real(new[part], t[part] if len(t) == len(new) else t)
        _follow(x[part], new[part], last[part], total[part], t.dtype.type(1) - rho, change, add, relax)
