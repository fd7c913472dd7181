"""Linear operators of SciPy, and of PyLops, whose operators are SciPy's with the shapes of images."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from firenet.errors import BadInput
from firenet.operators.linear import LinearOperator
from firenet.operators.norm_bound import NormBound
from firenet.optional import optional


@dataclass
class _Flat:
    """A function of columns as one of a batch of images."""

    function: Callable[[NDArray[Any]], NDArray[Any]]
    shape: tuple[int, ...]

    def __call__(self, items: NDArray[Any]) -> NDArray[Any]:
        columns = np.ascontiguousarray(items.reshape(len(items), -1).T)
        return np.asarray(self.function(columns)).T.reshape(len(items), *self.shape)


def from_scipy(
    operator: Any,
    in_shape: Sequence[int] | None = None,
    out_shape: Sequence[int] | None = None,
    *,
    norm: NormBound | float | None = None,
) -> LinearOperator:
    """Returns a ``scipy.sparse.linalg.LinearOperator`` as an operator of this library; also one of PyLops.

    A real operator is applied to the real and the imaginary part of complex images.

    Args:
        operator: The operator, or a matrix or array that SciPy takes as one; with ``rmatvec``, which is the adjoint.
        in_shape: The shape of an image, whose entries in the order of C are the vector that the operator takes. None is
            ``dims`` of an operator of PyLops, else a vector.
        out_shape: The shape of its measurements; None is ``dimsd`` of PyLops, else a vector.
        norm: As in :meth:`.LinearOperator.from_functions`.

    Raises:
        BadInput: For shapes of other sizes.
        MissingExtra: If SciPy is missing.
    """
    linalg = optional("scipy.sparse.linalg", "scipy", "A linear operator of SciPy")
    theirs = linalg.aslinearoperator(operator)
    shapes = []
    for name, given, known, size in (
        ("in_shape", in_shape, getattr(operator, "dims", None), theirs.shape[1]),
        ("out_shape", out_shape, getattr(operator, "dimsd", None), theirs.shape[0]),
    ):
        shape = tuple(int(n) for n in (given if given is not None else (size,) if known is None else known))
        if math.prod(shape) != size:
            raise BadInput(f"{name} of {size} numbers", f"{shape}", "Check the axes, and which shape is which")
        shapes.append(shape)
    real = not np.issubdtype(np.dtype(theirs.dtype), np.complexfloating)
    forward, adjoint = _Flat(theirs.matmat, shapes[1]), _Flat(theirs.rmatmat, shapes[0])
    how: dict[str, Any] = {"batched": True, "numpy": True, "real": real, "name": type(operator).__name__}
    return LinearOperator.from_functions(forward, adjoint, *shapes, norm=norm, **how)


def to_scipy(operator: LinearOperator) -> Any:
    """Returns an operator of this library as a ``scipy.sparse.linalg.LinearOperator`` in double precision, on the CPU.

    It acts on vectors, the images and measurements in the order of C, and is complex where A* of real measurements is.
    ``pylops.LinearOperator`` takes it, too.

    Args:
        operator: A.

    Raises:
        MissingExtra: If SciPy is missing.
    """
    linalg = optional("scipy.sparse.linalg", "scipy", "A linear operator of SciPy")
    dtype = operator.state_dtype(torch.float64)

    def applied(function: Callable[[torch.Tensor], torch.Tensor], shape: tuple[int, ...]) -> Callable[..., Any]:
        def columns(x: NDArray[Any]) -> NDArray[Any]:
            items = torch.from_numpy(np.ascontiguousarray(x.T)).to(dtype).reshape(-1, *shape)
            with torch.no_grad():
                found = function(items).resolve_conj().numpy()
            return found.reshape(len(items), -1).T.reshape(-1, *x.shape[1:])

        return columns

    forward, adjoint = applied(operator, operator.in_shape), applied(operator.adjoint, operator.out_shape)
    size = (math.prod(operator.out_shape), math.prod(operator.in_shape))
    kind = np.complex128 if dtype.is_complex else np.float64
    return linalg.LinearOperator(size, forward, adjoint, matmat=forward, rmatmat=adjoint, dtype=kind)
