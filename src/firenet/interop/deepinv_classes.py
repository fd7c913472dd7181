"""The classes of deepinv's kind, which can only be defined where deepinv is installed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from firenet.interop.deepinv_physics import from_deepinv, is_mri, joined, paired
from firenet.operators.linear import LinearOperator
from firenet.optional import optional
from firenet.reconstruction.reconstruct import reconstruct

_deepinv: Any = optional("deepinv", "deepinv", "A bridge to deepinv")


class Physics(_deepinv.physics.LinearPhysics):
    """An operator as a physics of deepinv (:func:`.to_deepinv`)."""

    def __init__(self, operator: LinearOperator, **more: Any) -> None:
        is_complex = operator.state_dtype(torch.float32).is_complex
        super().__init__(img_size=(2 if is_complex else 1, *operator.in_shape), **more)
        self.is_complex = is_complex
        self.operator = operator

    def _applied(self, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        return paired(function(joined(x))) if self.is_complex else function(x[:, 0]).unsqueeze(1)

    def A(self, x: Tensor, **_: Any) -> Tensor:
        """Applies the operator to images of deepinv."""
        return self._applied(self.operator, x)

    def A_adjoint(self, y: Tensor, **_: Any) -> Tensor:
        """Applies its adjoint to measurements of deepinv."""
        return self._applied(self.operator.adjoint, y)


class Reconstructor(_deepinv.models.Reconstructor):
    """A FIRENET as a reconstructor of deepinv (:func:`.FirenetReconstructor`)."""

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        self.settings = settings

    @torch.no_grad()
    def forward(self, y: Tensor, physics: Any, **_: Any) -> Tensor:
        """Returns images in deepinv's layout from measurements in deepinv's layout."""
        ours = isinstance(physics, Physics)
        operator = physics.operator if ours else from_deepinv(physics)
        if is_mri(physics) or (ours and physics.is_complex):
            images = [reconstruct(item, operator, **self.settings).image for item in joined(y)]
            return paired(torch.stack(images))
        items = y[:, 0] if ours else y
        images = torch.stack([reconstruct(item, operator, **self.settings).image for item in items])
        return images.unsqueeze(1) if ours else images
