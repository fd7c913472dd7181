"""Linear operators of SigPy."""

from __future__ import annotations

from typing import Any

from firenet.operators.linear import LinearOperator
from firenet.operators.norm_bound import NormBound


def from_sigpy(operator: Any, *, norm: NormBound | float | None = None) -> LinearOperator:
    """Returns a ``sigpy.linop.Linop`` as an operator of this library, for images and measurements of its shapes.

    SigPy is not imported. Some of its operators compute in single precision whatever they get, which the test of the
    adjoint notices.

    Args:
        operator: The operator.
        norm: As in :meth:`.LinearOperator.from_functions`.
    """
    shapes = [tuple(int(n) for n in shape) for shape in (operator.ishape, operator.oshape)]
    how: dict[str, Any] = {"numpy": True, "name": f"sigpy.{type(operator).__name__}"}
    return LinearOperator.from_functions(operator, operator.H, *shapes, norm=norm, **how)
