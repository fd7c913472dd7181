"""The rotation axis of a sinogram with parallel rays, from the sinogram alone."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from firenet.errors import BadInput
from firenet.numerics import tensor_of

Reals = NDArray[np.float64]
# The series of a frequency has its terms up to that of the radius of the object and some more, beyond which they vanish
# quickly. It has at most this share of as many coefficients as there are views, so that a remainder is left.
_MORE, _SHARE = 2, 0.5
# The largest angle between neighbouring views, modulo 180 degrees.
_GAP = math.pi / 6
_FEWEST = 8


def rotation_centre(sinogram: Tensor | ArrayLike, angles: Tensor | ArrayLike) -> float:
    """Returns the detector coordinate, in cells, onto which the rotation axis is projected.

    Let :math:`P(\\theta,\\omega)` be the Fourier transform of a view around the axis. It is that of the image on a
    circle of radius :math:`\\omega`, so for an object within the radius R

    .. math:: P(\\theta,\\omega)=\\sum_{|k|\\lesssim R\\omega}c_k(\\omega)e^{ik\\theta},\\qquad
        P(\\theta+\\pi,\\omega)=\\overline{P(\\theta,\\omega)},

    since Bessel functions :math:`J_k(r\\omega)` are negligible for k above :math:`r\\omega`. Hence the real part has
    even terms only, and the imaginary part odd ones. The axis is where the views, shifted, fit such series best, in the
    sum of squares over the low frequencies. At the lowest one it is where the centre of mass moves on a sinusoid; the
    others make it insensitive to a background. The angles may be any that cover half a turn.

    Args:
        sinogram: Line integrals of parallel rays, shape (views, cells), of an object that the detector sees as a whole.
        angles: The angles of the views in radians; 8 or more that leave, modulo 180 degrees, no gap above 30 degrees.

    Raises:
        BadInput: For arrays that do not fit, complex or not finite ones, too few angles, and sinograms without
            structure.
    """
    views, turned = tensor_of(sinogram, "a sinogram").detach().cpu(), tensor_of(angles, "angles").detach().cpu()
    if views.ndim != 2 or turned.shape != views.shape[:1] or 0 in views.shape or views.shape[1] < 4:
        got = f"shapes {tuple(views.shape)} and {tuple(turned.shape)}"
        raise BadInput("A sinogram (views, cells), and an angle for each view", got, "Choose one detector row")
    if views.is_complex() or turned.is_complex():
        raise BadInput("A real sinogram and real angles", "complex numbers", "Take the real parts")
    p, theta = views.to(torch.float64).numpy(), turned.to(torch.float64).numpy()
    if not (np.isfinite(p).all() and np.isfinite(theta).all()):
        raise BadInput("Finite line integrals and angles", "NaN or infinity", "Remove the views that have them")
    around = np.sort(np.mod(theta, math.pi))
    gap = float(np.diff(around, append=around[0] + math.pi).max())
    if len(theta) < _FEWEST or gap > _GAP:
        got = f"{len(theta)} views with a gap of {math.degrees(gap):.0f} degrees"
        do = "Pass angles in radians, or give the centre yourself"
        raise BadInput("8 views or more, without gaps above 30 degrees over half a turn", got, do)
    largest = float(np.abs(p).max())
    terms = _remainders(p / largest, theta) if largest > 0 else []
    size = sum(float(np.trace(even + odd)) for _, even, odd in terms)
    if not size > 1e-20 * p.size:
        raise BadInput("A sinogram with structure", "views without any", "Check the data")
    return _least(terms, p.shape[1])


def _remainders(p: Reals, theta: Reals) -> list[tuple[float, Reals, Reals]]:
    """Returns for each low frequency the frequency and two matrices: the products of real and imaginary part of the
    transforms of the views, without what even and what odd series fit."""
    count, cells = p.shape
    padded = 2 * cells
    found = []
    transforms = np.fft.rfft(p, padded, axis=1)
    for j in range(1, transforms.shape[1]):
        omega = 2 * math.pi * j / padded
        most = math.ceil(cells / 2 * omega) + _MORE
        if most + 1 > max(_SHARE * count, _MORE + 2):
            break
        parts = np.stack([transforms[:, j].real, transforms[:, j].imag], axis=1)
        rests = []
        for parity in (0, 1):
            phases = np.outer(theta, np.arange(parity, most + 1, 2))
            basis = np.concatenate([np.cos(phases), np.sin(phases)], axis=1)
            rest = parts - basis @ np.linalg.lstsq(basis, parts, rcond=1e-6)[0]
            rests.append(rest.T @ rest)
        found.append((omega, rests[0], rests[1]))
    return found


def _least(terms: list[tuple[float, Reals, Reals]], cells: int) -> float:
    """Returns the coordinate between the first and the last cell at which the remainder is smallest."""

    def remainder(at: Reals) -> Reals:
        total = np.zeros(len(at))
        for omega, even, odd in terms:
            c, s = np.cos(omega * at), np.sin(omega * at)
            real, imaginary = np.stack([c, -s]), np.stack([s, c])
            total += (real * (even @ real)).sum(axis=0) + (imaginary * (odd @ imaginary)).sum(axis=0)
        return total

    step = 0.25
    best = _lowest(remainder, np.arange(0.0, cells - 0.9, step))
    while step > 1e-6:
        step /= 8
        best = _lowest(remainder, best + step * np.arange(-16.0, 17.0))
    return best


def _lowest(function: Callable[[Reals], Reals], at: Reals) -> float:
    return float(at[function(at).argmin()])
