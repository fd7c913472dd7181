"""Linear operators of MRpro."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from torch import Tensor

from firenet.errors import BadInput
from firenet.interop.instances import need_instance, version_of
from firenet.operators.linear import LinearOperator
from firenet.operators.norm_bound import NormBound
from firenet.optional import optional


@dataclass
class _Only:
    """A function of MRpro, which returns a tuple of one tensor, as one that returns the tensor."""

    function: Callable[[Tensor], Any]

    def __call__(self, x: Tensor) -> Tensor:
        found = self.function(x)
        if not (isinstance(found, tuple) and len(found) == 1):
            got = f"{type(found).__name__} from MRpro {version_of('mrpro')}"
            do = "Install a version whose operators return tuples"
            raise BadInput("A tuple of one tensor from an operator of MRpro", got, do)
        return found[0]


def from_mrpro(
    operator: Any, in_shape: Sequence[int], out_shape: Sequence[int], *, norm: NormBound | float | None = None
) -> LinearOperator:
    """Returns an ``mrpro.operators.LinearOperator`` as an operator of this library.

    Args:
        operator: The operator, as it is now. It is called with one image at a time.
        in_shape: The shape of an image in MRpro's layout, for example (1, 1, 1, 256, 256): other, coils, z, y and x.
        out_shape: The shape of its measurements, for example (1, 8, 1, 32, 256): other, coils, k2, k1 and k0.
        norm: As in :meth:`.LinearOperator.from_functions`.

    Raises:
        BadInput: For other objects; when the operator is used, for other shapes.
    """
    needed = "A LinearOperator of mrpro.operators"
    do = "Nonlinear operators have no adjoint"
    need_instance(operator, "mrpro.operators.LinearOperator", "LinearOperator", needed, do, "adjoint")
    how: dict[str, Any] = {"name": f"mrpro.{type(operator).__name__}"}
    forward, adjoint = _Only(operator), _Only(operator.adjoint)
    return LinearOperator.from_functions(forward, adjoint, in_shape, out_shape, norm=norm, **how)


def to_mrpro(operator: LinearOperator) -> Any:
    """Returns an operator of this library as an ``mrpro.operators.LinearOperator``, for any leading axes.

    Args:
        operator: A.

    Raises:
        BadInput: For other objects.
        MissingExtra: If MRpro is missing.
    """
    if not isinstance(operator, LinearOperator):
        raise BadInput("An operator of firenet", type(operator).__name__, "Make one: LinearOperator.from_functions")
    return _class()(operator)


@cache
def _class() -> type[Any]:
    """Returns the class of :func:`to_mrpro`, which can only be defined where MRpro is installed."""
    theirs = optional("mrpro.operators", "mrpro", "A bridge to MRpro")

    class Operator(theirs.LinearOperator):
        """An operator of firenet as one of MRpro."""

        def __init__(self, operator: LinearOperator) -> None:
            super().__init__()
            self.operator = operator

        def forward(self, x: Tensor) -> tuple[Tensor]:
            return (self.operator(x),)

        def adjoint(self, x: Tensor) -> tuple[Tensor]:
            return (self.operator.adjoint(x),)

    return Operator
