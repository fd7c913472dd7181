"""Physics of deepinv as operators.

deepinv's images have a batch and a channel axis, (B, C, rows, columns). A complex image has two channels, its real and
imaginary part. Here that pair is one complex number, and an image that is real has no channel axis.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from firenet.errors import BadInput
from firenet.operators.linear import LinearOperator
from firenet.operators.norm_bound import NormBound
from firenet.optional import optional


def paired(x: Tensor) -> Tensor:
    """Returns complex numbers (B, ...) as pairs of channels (B, 2, ...); real ones have an imaginary part of zero."""
    return torch.view_as_real(x.to(x.dtype.to_complex()).resolve_conj()).movedim(-1, 1).contiguous()


def joined(pairs: Tensor) -> Tensor:
    """Returns pairs of channels (B, 2, ...) as complex numbers (B, ...)."""
    return torch.view_as_complex(pairs.movedim(1, -1).contiguous())


@dataclass
class _Packed:
    """A function of deepinv as one of a batch of complex numbers, or of real ones."""

    function: Callable[[Tensor], Tensor]
    takes: bool
    gives: bool
    shape: tuple[int, ...]

    def __call__(self, x: Tensor) -> Tensor:
        found = self.function(paired(x) if self.takes else x.reshape(len(x), *self.shape))
        return joined(found) if self.gives else found


def from_deepinv(
    physics: Any,
    img_size: Sequence[int] | None = None,
    *,
    complex_image: bool | None = None,
    complex_data: bool | None = None,
    norm: NormBound | float | None = None,
) -> LinearOperator:
    """Returns a ``deepinv.physics.LinearPhysics`` as an operator: its ``A`` and ``A_adjoint``, without its noise.

    Args:
        physics: The physics, with its parameters, such as the mask, as they are now.
        img_size: The shape of an image of deepinv, (C, \\*sides), without the batch axis; None is ``physics.img_size``.
        complex_image: Whether the two channels of an image are a real and an imaginary part; None says yes for the
            physics of MRI.
        complex_data: The same for the first axis of the measurements.
        norm: As in :meth:`.LinearOperator.from_functions`.

    Raises:
        BadInput: For other objects, without a shape, or for complex numbers without two channels.
    """
    if not isinstance(physics, physics_of_deepinv().LinearPhysics):
        raise BadInput("A deepinv LinearPhysics", type(physics).__name__, "Nonlinear physics have no adjoint")
    size = getattr(physics, "img_size", None) if img_size is None else img_size
    if size is None:
        raise BadInput("img_size, the shape (C, *sides) of an image", "none", "Pass img_size")
    size = tuple(int(n) for n in size)
    mri = is_mri(physics)
    if mri and len(size) < 3 + bool(getattr(physics, "three_d", False)):
        size = (2, *size)
    with torch.no_grad():
        data = tuple(physics.A(torch.zeros(1, *size)).shape[1:])
    pairs = [mri if given is None else given for given in (complex_image, complex_data)]
    for name, pair, shape in (("images", pairs[0], size), ("measurements", pairs[1], data)):
        if pair and shape[0] != 2:
            raise BadInput(f"Two channels for complex {name}", f"shape {shape}", "Pass complex_image, complex_data")
    shapes = [shape[1:] if pair else shape for pair, shape in zip(pairs, (size, data), strict=True)]
    forward = _Packed(physics.A, pairs[0], pairs[1], size)
    adjoint = _Packed(physics.A_adjoint, pairs[1], pairs[0], data)
    name = f"deepinv.physics.{type(physics).__name__}"
    how: dict[str, Any] = {"batched": True, "real": not any(pairs), "name": name}
    return LinearOperator.from_functions(forward, adjoint, *shapes, norm=norm, **how)


def is_mri(physics: Any) -> bool:
    """Returns whether a physics is one of the magnetic resonance of deepinv, whose images and data are complex."""
    return isinstance(physics, physics_of_deepinv().mri.MRIMixin)


def physics_of_deepinv() -> Any:
    """Returns ``deepinv.physics``.

    Raises:
        MissingExtra: If deepinv is missing.
    """
    return optional("deepinv", "deepinv", "A bridge to deepinv").physics
