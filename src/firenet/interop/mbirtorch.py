"""Projections of mbirtorch: parallel and cone beams in three dimensions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firenet.interop.instances import need_instance
from firenet.operators.linear import LinearOperator
from firenet.operators.norm_bound import NormBound


@dataclass
class _Single:
    """A function of mbirtorch, which computes in single precision."""

    function: Callable[[NDArray[np.float32]], Any]

    def __call__(self, x: NDArray[Any]) -> Any:
        return self.function(x.astype(np.float32))


def from_mbirtorch(model: Any, *, norm: NormBound | float | None = None) -> LinearOperator:
    """Returns the projection of an mbirtorch model as an operator, in single precision.

    Images have the model's ``recon_shape``, (rows, columns, slices), and measurements its ``sinogram_shape``, (views,
    detector rows, detector channels).

    Args:
        model: An ``mbirtorch.TomographyModel``, such as ``ConeBeamModel``, with its geometry as it is now.
        norm: As in :meth:`.LinearOperator.from_functions`.

    Raises:
        BadInput: For other objects.
    """
    needed = "A TomographyModel of mbirtorch"
    names = ("forward_project", "back_project", "get_params")
    need_instance(model, "mbirtorch", "TomographyModel", needed, "Make one, e.g. mbirtorch.ConeBeamModel", *names)
    shapes = [tuple(int(n) for n in model.get_params(name)) for name in ("recon_shape", "sinogram_shape")]
    forward, adjoint = _Single(model.forward_project), _Single(model.back_project)
    how: dict[str, Any] = {"numpy": True, "real": True, "name": f"mbirtorch.{type(model).__name__}"}
    return LinearOperator.from_functions(forward, adjoint, *shapes, norm=norm, **how)
