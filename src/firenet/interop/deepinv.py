"""Operators as physics of deepinv, and FIRENETs as its reconstructors."""

from __future__ import annotations

from typing import Any

from firenet.interop.deepinv_physics import physics_of_deepinv
from firenet.operators.linear import LinearOperator


def to_deepinv(operator: LinearOperator, **more: Any) -> Any:
    """Returns an operator as a ``deepinv.physics.LinearPhysics``.

    Images and measurements have two channels, real and imaginary part, if A* of real measurements is complex, and
    otherwise one.

    Args:
        operator: A.
        more: Passed on to ``LinearPhysics``, for example ``noise_model``.

    Raises:
        MissingExtra: If deepinv is missing.
    """
    physics_of_deepinv()
    from firenet.interop.deepinv_classes import Physics

    return Physics(operator, **more)


def FirenetReconstructor(**settings: Any) -> Any:
    """Returns a FIRENET as a ``deepinv.models.Reconstructor``; ``model(y, physics)`` reconstructs a batch of images.

    Args:
        settings: Passed on to :func:`firenet.reconstruct`, for example ``tolerance`` and ``lam``.

    Raises:
        MissingExtra: If deepinv is missing.
    """
    physics_of_deepinv()
    from firenet.interop.deepinv_classes import Reconstructor

    return Reconstructor(**settings)
