"""Non-uniform Fourier transforms of torchkbnufft."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from firenet.errors import BadInput
from firenet.interop.instances import need_instance
from firenet.numerics import tensor_of
from firenet.operators.linear import LinearOperator
from firenet.operators.norm_bound import NormBound


def from_torchkbnufft(
    nufft: Any,
    adjoint: Any,
    omega: Tensor | ArrayLike,
    maps: Tensor | ArrayLike | None = None,
    *,
    norm: NormBound | float | None = None,
) -> LinearOperator:
    """Returns the pair ``KbNufft`` and ``KbNufftAdjoint`` of torchkbnufft, with a trajectory, as an operator.

    Both are called with ``norm="ortho"``: :math:`y_k=(2^dn)^{-1/2}\\sum_rx_re^{-i\\langle\\omega_k,r\\rangle}` for an
    image with n pixels and d axes and the default grid of twice its size, up to the error of the interpolation.

    Args:
        nufft: A ``KbNufft``.
        adjoint: A ``KbNufftAdjoint`` with the same settings.
        omega: The trajectory in radians per pixel, shape (axes of an image, samples); copied.
        maps: Complex coil maps, shape (coils, \\*im_size); measurements then have shape (coils, samples). Copied.
        norm: As in :meth:`.LinearOperator.from_functions`.

    Raises:
        BadInput: For other objects, and for trajectories and maps of other shapes.
    """
    do = "Call from_torchkbnufft(KbNufft(n), KbNufftAdjoint(n), omega)"
    for module, name in ((nufft, "KbNufft"), (adjoint, "KbNufftAdjoint")):
        need_instance(module, "torchkbnufft", name, f"A {name} of torchkbnufft", do, "im_size", "scaling_coef")
    shape = tuple(int(n) for n in nufft.im_size)
    points = tensor_of(omega, "a trajectory").detach().clone()
    if points.ndim != 2 or len(points) != len(shape) or 0 in points.shape or not points.is_floating_point():
        got = f"shape {tuple(points.shape)} and dtype {points.dtype}"
        raise BadInput(f"A trajectory of real numbers, shape ({len(shape)}, samples)", got, "Check the axes")
    if not bool(torch.isfinite(points).all()):
        raise BadInput("A finite trajectory", "NaN or infinity", "Remove these samples")
    smaps = None if maps is None else tensor_of(maps, "coil maps").detach().clone()
    if smaps is not None and not (smaps.is_complex() and smaps.ndim == len(shape) + 1 and smaps.shape[1:] == shape):
        got = f"shape {tuple(smaps.shape)} and dtype {smaps.dtype}"
        raise BadInput(f"Complex coil maps of shape (coils, {', '.join(map(str, shape))})", got, "Check the axes")
    single = smaps is None
    # Its tables have one precision, and it computes in that alone.
    own = nufft.scaling_coef.dtype.to_complex()
    points = points.to(own.to_real())
    smaps = None if smaps is None else smaps.to(own)[None]

    def measured(items: Tensor) -> Tensor:
        found = nufft(items.to(own)[:, None], points, smaps=smaps, norm="ortho")
        return found[:, 0] if single else found

    def back(items: Tensor) -> Tensor:
        data = items.to(own)
        return adjoint(data[:, None] if single else data, points, smaps=smaps, norm="ortho")[:, 0]

    out_shape = (points.shape[1],) if smaps is None else (smaps.shape[1], points.shape[1])
    how: dict[str, Any] = {"batched": True, "name": "torchkbnufft.KbNufft"}
    return LinearOperator.from_functions(measured, back, shape, out_shape, norm=norm, **how)
