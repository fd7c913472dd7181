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
from firenet.sensing.fourier import SubsampledFourier


def is_deepinv(made: Any) -> bool:
    """Returns whether an object is a deepinv ``Reconstructor``, without importing deepinv."""
    module = sys.modules.get("deepinv.models")
    return module is not None and isinstance(made, getattr(module, "Reconstructor", ()))


def deepinv_reconstruct(reconstructor: Any, sensing: LinearOperator, physics: Any = None) -> Reconstruct:
    """Returns a deepinv ``Reconstructor`` as a function of the measurements of this library.

    deepinv takes the centred k-space of a centred image, of shape (1, 2, rows, columns), with real and imaginary part
    on the second axis. Those of an operator with ``centred=True`` are centred as they are.

    Args:
        reconstructor: Called as ``reconstructor(y, physics)``.
        sensing: The measurement operator, of one channel.
        physics: The physics of deepinv; None is ``deepinv.physics.MRI`` with the same mask.

    Raises:
        BadInput: If the operator has more than one channel or its images do not have two axes.
        MissingExtra: If deepinv is missing.
    """
    if not isinstance(sensing, SubsampledFourier) or len(sensing.in_shape) != 2:
        needed = "Fourier samples of one channel on two axes for deepinv"
        raise BadInput(needed, type(sensing).__name__, "Take one coil")
    if physics is None:
        deepinv = optional("deepinv", "deepinv", "A deepinv Reconstructor")
        mask = sensing.mask if sensing.centred else torch.fft.fftshift(sensing.mask)
        physics = deepinv.physics.MRI(mask=mask.float()[None, None], img_size=(1, 2, *sensing.in_shape))

    def reconstruct(y: Tensor) -> Tensor:
        k = sensing.restrict(y) if sensing.centred else to_centre(sensing.restrict(y), 2)
        pairs = torch.view_as_real(k).movedim(-1, 0)[None]
        return taken(reconstructor(pairs, physics), tuple(sensing.in_shape))

    return reconstruct
