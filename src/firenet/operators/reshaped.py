"""An operator between arrays of other shapes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from firenet.errors import BadInput
from firenet.operators.linear import LinearOperator
from firenet.operators.norm_bound import NormBound


class Reshaped(LinearOperator):
    """An operator whose images and measurements have other shapes, with their entries in the order of C.

    A matrix acts on vectors. As an operator of images, which a wavelet transform or the gradient needs, it is
    ``Reshaped(Matrix(a), (rows, columns))``. All that is known about the operator stays known, for example that its
    norm bound is proven.

    Args:
        operator: A.
        in_shape: The shape of an image; None is ``operator.in_shape``.
        out_shape: The shape of its measurements; None is ``operator.out_shape``.

    Raises:
        BadInput: For a shape with another number of entries.
    """

    def __init__(
        self,
        operator: LinearOperator,
        in_shape: Sequence[int] | None = None,
        out_shape: Sequence[int] | None = None,
    ) -> None:
        shapes: list[tuple[int, ...]] = []
        for name, given, own in (
            ("in_shape", in_shape, operator.in_shape),
            ("out_shape", out_shape, operator.out_shape),
        ):
            shape = own if given is None else tuple(int(n) for n in given)
            if min(shape, default=1) < 1 or math.prod(shape) != math.prod(own):
                got, do = f"{shape}", "Check the axes, and which shape is which"
                raise BadInput(f"{name} of {math.prod(own)} numbers", got, do)
            shapes.append(shape)
        super().__init__(shapes[0], shapes[1], None)
        self.operator = operator

    def _of(self, x: Tensor, before: tuple[int, ...], after: tuple[int, ...]) -> Tensor:
        return x.reshape(*x.shape[: x.ndim - len(before)], *after)

    def _inner(self, y: Tensor) -> Tensor:
        return self._of(y, self.out_shape, self.operator.out_shape)

    def _composed_bound(self) -> NormBound:
        return self.operator.norm_bound

    def _forward(self, x: Tensor) -> Tensor:
        measured = self.operator(self._of(x, self.in_shape, self.operator.in_shape))
        return self._of(measured, self.operator.out_shape, self.out_shape)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self._of(self.operator.adjoint(self._inner(y)), self.operator.in_shape, self.in_shape)

    def restrict(self, y: Tensor) -> Tensor:
        return self._of(self.operator.restrict(self._inner(y)), self.operator.out_shape, self.out_shape)

    def holdout_candidates(self) -> Tensor:
        return self.operator.holdout_candidates().expand(self.operator.out_shape).reshape(self.out_shape)

    def state_dtype(self, y: torch.dtype) -> torch.dtype:
        return self.operator.state_dtype(y)

    @property
    def is_own(self) -> bool:
        return self.operator.is_own

    @property
    def rounding(self) -> float:
        return self.operator.rounding

    @property
    def title(self) -> str:
        return self.operator.title

    @property
    def samples(self) -> int:
        return self.operator.samples

    @property
    def gain(self) -> float:
        return self.operator.gain

    def adjoint_roundings(self, y: Tensor) -> Tensor:
        found = self.operator.adjoint_roundings(self._inner(y))
        return found if found.ndim <= 1 else found.reshape(len(found), *self.in_shape)

    def constant_response(self) -> tuple[Tensor, float]:
        measured, error = self.operator.constant_response()
        return measured.reshape(self.out_shape), error

    @property
    def is_coisometry(self) -> bool:
        return self.operator.is_coisometry

    @property
    def is_isometry(self) -> bool:
        return self.operator.is_isometry

    @property
    def has_minimum_norm(self) -> bool:
        return self.operator.has_minimum_norm

    def minimum_norm(self, y: Tensor) -> Tensor | None:
        found = self.operator.minimum_norm(self._inner(y))
        return None if found is None else self._of(found, self.operator.in_shape, self.in_shape)
