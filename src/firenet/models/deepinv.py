"""Reconstructors of the library deepinv as functions of measurements."""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import Tensor

from firenet.audit.model import Reconstruct
from firenet.errors import BadInput
from firenet.models.onnx_files import taken
from firenet.mri.kspace import to_centre
from firenet.operators.linear import LinearOperator
from firenet.optional import optional
from firenet.sensing.fourier import MultiCoilFourier, SubsampledFourier


def is_deepinv(made: Any) -> bool:
    """Returns whether an object is a deepinv ``Reconstructor``, without importing deepinv."""
    module = sys.modules.get("deepinv.models")
    return module is not None and isinstance(made, getattr(module, "Reconstructor", ()))


def deepinv_reconstruct(reconstructor: Any, sensing: LinearOperator, physics: Any = None) -> Reconstruct:
    """Returns a deepinv ``Reconstructor`` as a function of the measurements of this library.

    deepinv takes the centred k-space of a centred image, with real and imaginary part on the second axis: shape (1, 2,
    \\*image) for one channel, and (1, 2, coils, \\*image) for several coils. Those of an operator with ``centred=True``
    are centred as they are.

    Args:
        reconstructor: Called as ``reconstructor(y, physics)``.
        sensing: The measurement operator, Fourier samples of images with two or three axes.
        physics: The physics of deepinv; None is ``deepinv.physics.MRI`` with the same mask, or
            ``deepinv.physics.MultiCoilMRI`` with the same mask and coil maps. It is made anew for each image, since
            some networks of deepinv change its mask while they run.

    Raises:
        BadInput: If the operator is no sampled Fourier transform of images with two or three axes.
        MissingExtra: If deepinv is missing.
    """
    axes = len(sensing.in_shape)
    if not isinstance(sensing, SubsampledFourier | MultiCoilFourier) or axes not in (2, 3):
        needed = "Fourier samples of images with two or three axes for deepinv"
        got = f"{type(sensing).__name__} of images with {axes} axes"
        raise BadInput(needed, got, "Use SubsampledFourier or MultiCoilFourier")
    theirs = optional("deepinv", "deepinv", "A deepinv Reconstructor").physics if physics is None else None

    def reconstruct(y: Tensor) -> Tensor:
        k = sensing.restrict(y) if sensing.centred else to_centre(sensing.restrict(y), axes)
        pairs = torch.view_as_real(k).movedim(-1, 0)[None]
        used = _physics(theirs, sensing) if physics is None else physics
        return taken(reconstructor(pairs, used), tuple(sensing.in_shape))

    return reconstruct


def _physics(theirs: Any, sensing: SubsampledFourier | MultiCoilFourier) -> Any:
    """Returns the physics of deepinv for a measurement operator, with copies of its mask and maps.

    Args:
        theirs: ``deepinv.physics``.
        sensing: The operator.
    """
    shape = tuple(sensing.in_shape)
    mask = sensing.mask if sensing.centred else torch.fft.fftshift(sensing.mask)
    how = {"mask": mask.float()[None, None], "img_size": (1, 2, *shape), "three_d": len(shape) == 3}
    if isinstance(sensing, SubsampledFourier):
        return theirs.MRI(**how, device=mask.device)
    return theirs.MultiCoilMRI(**how, coil_maps=sensing.maps.detach().clone()[None], device=mask.device)
