"""Filtered back-projection for parallel rays."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from firenet.ct.ramp import padded_length, ramp_response
from firenet.errors import BadInput
from firenet.numerics import tensor_of
from firenet.sensing.projection import Projection


def filtered_backprojection(sinogram: Tensor | ArrayLike, operator: Projection) -> Tensor:
    """Computes the filtered back-projection of a sinogram with parallel rays.

    .. math:: x(r)=\\sum_\\theta\\Delta_\\theta\\,(h*p_\\theta)(x\\cos\\theta+y\\sin\\theta)

    with the band-limited ramp filter h of Kak and Slaney (*Principles of Computerized Tomographic Imaging*, 1988,
    chapter 3), linear interpolation between the cells, and for :math:`\\Delta_\\theta` half the angle between the
    neighbours of a view modulo 180 degrees, so that uneven angles and whole turns are weighted correctly. A Projection
    of a part of the views is the geometry of that part.

    Args:
        sinogram: Real line integrals, shape (..., \\*operator.out_shape).
        operator: The geometry.

    Returns:
        Images, shape (..., \\*operator.in_shape), in the precision of the sinogram.

    Raises:
        BadInput: For fan beams, and sinograms that are complex, not finite or of another shape.
    """
    if not isinstance(operator, Projection) or operator.geometry != "parallel":
        got = "a fan beam" if isinstance(operator, Projection) else type(operator).__name__
        raise BadInput("A Projection with parallel rays", got, "Reconstruct it with firenet.reconstruct")
    given = tensor_of(sinogram, "a sinogram").detach()
    if given.is_complex() or tuple(given.shape[-2:]) != operator.out_shape:
        got = f"dtype {given.dtype} and shape {tuple(given.shape)}"
        raise BadInput(f"A real sinogram of trailing shape {operator.out_shape}", got, "Check the order of the axes")
    if not bool(torch.isfinite(given).all()):
        raise BadInput("A finite sinogram", "NaN or infinity", "Repair the line integrals first")
    views = given.to(torch.float64)
    cells, length = operator.out_shape[1], padded_length(operator.out_shape[1])
    response = torch.from_numpy(ramp_response(length) / operator.spacing).to(views.device)
    filtered = torch.fft.irfft(torch.fft.rfft(views, length) * response, length)[..., :cells]
    filtered = torch.nn.functional.pad(filtered, (1, 1))  # zero outside of the detector
    image = views.new_zeros(*views.shape[:-2], math.prod(operator.in_shape))
    for k, (angle, share) in enumerate(zip(operator.angles, angular_shares(operator.angles), strict=True)):
        at = torch.from_numpy(_coordinates(operator, float(angle))).to(views.device)
        cell = at.floor().clamp(0, cells)
        part = (at - cell).clamp(0, 1)
        index = cell.long()
        view = filtered[..., k, :]
        image += float(share) * ((1 - part) * view[..., index] + part * view[..., index + 1])
    return image.unflatten(-1, operator.in_shape).to(given.dtype if given.is_floating_point() else torch.float64)


def angular_shares(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the weights :math:`\\Delta_\\theta` of the views, whose sum is :math:`\\pi`."""
    turned = np.mod(angles, math.pi)
    order = np.argsort(turned, kind="stable")
    gaps = np.diff(turned[order], append=turned[order[0]] + math.pi)
    shares = np.empty(len(angles))
    shares[order] = (gaps + np.roll(gaps, 1)) / 2
    return shares


def _coordinates(operator: Projection, angle: float) -> NDArray[np.float64]:
    """Returns the detector coordinates of the middles of all pixels in cells, plus one for the padding."""
    rows, columns = operator.in_shape
    x = (np.arange(columns) - (columns - 1) / 2) * (operator.pixel / operator.spacing)
    y = ((rows - 1) / 2 - np.arange(rows)) * (operator.pixel / operator.spacing)
    return np.add.outer(y * math.sin(angle), x * math.cos(angle)).ravel() + (operator.centre + 1)
