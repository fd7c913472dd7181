"""Bounds of the largest eigenvalue of A*MA for non-uniform Fourier sums A, from its Toeplitz kernel.

For weights :math:`w_j\\ge0`, entry (r, s) of :math:`\\sum_jw_ja_ja_j^*` with :math:`a_j(r)=e^{2\\pi ik_j\\cdot r}` is
q(r - s),

.. math:: q(d)=\\sum_jw_je^{2\\pi ik_j\\cdot d},\\qquad|d_a|<n_a .

*Any* circulant matrix C on a grid of :math:`P_a\\ge2n_a-1` points, whose kernel is q(d) for :math:`|d_a|<n_a` and
arbitrary but Hermitian elsewhere, gives a bound: the differences of pixels are different modulo P, so the matrix is the
part of C with the rows and columns of the pixels, and thus its largest eigenvalue is at most that of C, the largest
value of the Fourier transform f of the kernel.

Zeros elsewhere give a bound that is some 1.5 times too large, as a norm. The free entries are therefore chosen so that
the largest value of f is small: it is convex in them. By the Fejér-Riesz theorem, in one dimension the least of these
bounds over all entries and all P is the eigenvalue itself. Here the distance of f to the functions of at most a level
is made smaller by accelerated projections: cut f off at the level, and set the entries q(d) again. The bound holds
after any number of steps.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch
from torch import Tensor

from firenet.numerics import UNIT, fft_rounding
from firenet.sensing.plans import Sums, entry_error

# The accuracy of the kernel. Finer ones are lost in the rounding of the frequencies.
_ACCURACY = 1e-13
# Grids of 4 n are used up to this number of points, then grids of 3 n; larger images have no entries chosen. A step
# takes two real Fourier transforms.
_LARGEST_GRIDS = {4: 2**19, 3: 2**22}
_POWERS, _STEPS, _LEVEL, _NEAR = 15, 40, 1.1, 1.02


def largest_eigenvalue(points: Tensor, weights: Tensor, shape: tuple[int, ...]) -> float:
    """Computes a bound of the largest eigenvalue of :math:`\\sum_jw_ja_ja_j^*` over images of a shape.

    The errors of the kernel and the rounding of the Fourier transform are added.

    Args:
        points: k, shape (m, d), in cycles per pixel.
        weights: w, shape (m,), zero or more, at most 1.
        shape: n.
    """
    kernel, error = _kernel(points, weights, shape)
    slack = kernel.numel() * error  # of a Fourier transform of these entries; all others are free
    small = torch.fft.fftn(kernel).real
    best = _above(small, kernel.norm().item()) + slack
    grids = (tuple(_smooth(finer * n) for n in shape) for finer in _LARGEST_GRIDS)
    sides = next((g for g, most in zip(grids, _LARGEST_GRIDS.values(), strict=True) if math.prod(g) <= most), None)
    if sides is not None:
        best = min(best, _extended(kernel, sides, _LEVEL * _power_steps(small, shape)) + slack)
    return max(best, 0.0)


def _kernel(points: Tensor, weights: Tensor, shape: tuple[int, ...]) -> tuple[Tensor, float]:
    """Computes q on a grid of 2n, with d = 0 at its corner and zeros at d = n, and a bound of the error of its entries.

    It takes one sum over the samples for each of the :math:`2^d` boxes of n modes, with strengths that shift the modes,
    and so no larger grid than the operator.
    """
    k = points.detach().cpu().double().numpy()
    w = weights.detach().cpu().double().numpy()
    sums = Sums(points, shape, torch.complex128, _ACCURACY)
    kernel = np.zeros([2 * n for n in shape], np.complex128)
    for upper in itertools.product((True, False), repeat=len(shape)):
        first = np.array([0 if up else -n for up, n in zip(upper, shape, strict=True)])
        shift = first + np.array([n // 2 for n in shape])
        angle = (k * shift).sum(axis=1)
        strengths = w * np.exp(2j * np.pi * (angle - np.round(angle)))
        box = tuple(slice(None, n) if up else slice(n, None) for up, n in zip(upper, shape, strict=True))
        kernel[box] = sums.over_samples(strengths[None, None])[0, 0]
    for axis, n in enumerate(shape):
        np.moveaxis(kernel, axis, 0)[n] = 0
    twice = tuple(2 * n for n in shape)  # the strengths have rounded angles, too
    return torch.from_numpy(kernel), entry_error(twice, torch.complex128, _ACCURACY) * float(w.sum()) * (
        1 + len(w) * UNIT
    )


def _above(f: Tensor, norm: float) -> float:
    """Returns a bound of the largest value of f, the computed Fourier transform of a kernel of this norm."""
    places = f.numel()
    rounding = fft_rounding(tuple(f.shape)) * UNIT * math.sqrt(places) * norm * (1 + places * UNIT)
    return f.max().item() + rounding


def _extended(kernel: Tensor, sides: tuple[int, ...], level: float) -> float:
    """Computes the bound on a grid of these sides, with free entries for which f is hardly above a level.

    f is real, so half of the kernel is stored, and f is reflected, which has no part in its largest value.
    """
    shape = tuple(n // 2 for n in kernel.shape)
    places = [torch.arange(1 - n, n) for n in shape[:-1]] + [torch.arange(shape[-1])]
    here = torch.meshgrid(*(place % side for place, side in zip(places, sides, strict=True)), indexing="ij")
    known = kernel[torch.meshgrid(*(p % n for p, n in zip(places, kernel.shape, strict=True)), indexing="ij")]
    half = torch.zeros(*sides[:-1], sides[-1] // 2 + 1, dtype=torch.complex128)

    def transformed() -> Tensor:
        half[here] = known
        return torch.fft.irfftn(half, sides, norm="forward")

    f = ahead = transformed()
    best, momentum = math.inf, 1.0
    for _ in range(_STEPS):
        half = torch.fft.rfftn(ahead.clamp(max=level), norm="forward")
        before, f = f, transformed()
        best = min(best, _above(f, 2 * half.norm().item()))
        if best <= level * _NEAR:
            break
        following = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
        ahead = f + (momentum - 1) / following * (f - before)
        momentum = following
    return best


def _power_steps(f: Tensor, shape: tuple[int, ...]) -> float:
    """Estimates the largest eigenvalue from below, by power steps with the circulant matrix on a grid of 2n."""
    box = tuple(slice(n) for n in shape)
    parts = np.random.default_rng(0).standard_normal((2, *shape))
    x = torch.from_numpy(parts[0] + 1j * parts[1])
    size = x.norm().item()
    for _ in range(_POWERS):
        if size:
            x = torch.fft.ifftn(f * torch.fft.fftn(x / size, tuple(f.shape)))[box]
            size = x.norm().item()
    return size


def _smooth(least: int) -> int:
    """Returns the smallest even number from ``least`` on with no prime factor above 5."""
    n = least + least % 2
    while True:
        rest = n
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return n
        n += 2
