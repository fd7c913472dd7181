"""An operator in the coordinates of a loop, which applies it again and again."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from torch import Tensor

from firenet.operators.norm_bound import NormBound

if TYPE_CHECKING:
    from firenet.operators.linear import Composition, LinearOperator


class Compact:
    """An operator in the coordinates that are best for applying it again and again.

    Measurements without what was not measured, coefficients in another order: ``pack`` and ``unpack`` go there and
    back, keep norms and inner products, and are applied once before and once after a loop. Tensors have exactly one
    batch axis in front. A subclass may write into buffers of its own, never into what it returned, and is then not to
    be shared between threads.

    Attributes:
        in_shape: Shape of packed coefficients.
        out_shape: Shape of packed measurements.
    """

    def __init__(self, operator: LinearOperator) -> None:
        self.operator = operator
        self.in_shape, self.out_shape = operator.in_shape, operator.out_shape

    @property
    def norm_bound(self) -> NormBound:
        """At least the norm of the map in these coordinates."""
        return self.operator.norm_bound

    def __call__(self, x: Tensor) -> Tensor:
        """Ax for a packed x; a new tensor."""
        return self.forward(x)

    def forward(self, x: Tensor) -> Tensor:
        """Ax for a packed x; a new tensor."""
        return self.operator(x)

    def adjoint(self, y: Tensor, out: Tensor | None = None) -> Tensor:
        """A*y for a packed y; a new tensor, or written into ``out`` (then without derivatives) where that saves
        memory."""
        return self.operator.adjoint(y)

    def pack(self, x: Tensor) -> Tensor:
        """Coefficients to packed ones."""
        return x

    def unpack(self, x: Tensor) -> Tensor:
        """Packed coefficients to coefficients."""
        return x

    def pack_measured(self, y: Tensor) -> Tensor:
        """Measurements to packed ones; what was not measured is ignored."""
        return self.operator.restrict(y)

    def unpack_measured(self, y: Tensor) -> Tensor:
        """Packed measurements to measurements, zero where nothing was measured."""
        return y

    @property
    def has_minimum_norm(self) -> bool:
        return self.operator.has_minimum_norm

    def minimum_norm(self, y: Tensor) -> Tensor | None:
        """As that of the operator, in these coordinates."""
        return self.adjoint(y) if self.operator.is_coisometry else self.operator.minimum_norm(y)

    def spare(self, like: Tensor) -> Tensor | None:
        """Memory as large as these packed coefficients that is free between two applications, if there is some."""
        return None

    def scratch(self, batch: int) -> int:
        """How many numbers the operator holds beside its argument and its result while it is applied."""
        return 2 * batch * max(math.prod(self.operator.in_shape), math.prod(self.operator.out_shape))


class CompactComposition(Compact):
    """A composition whose outer factor is compact."""

    def __init__(self, composition: Composition) -> None:
        super().__init__(composition)
        self._outer = composition.outer.compact()
        self._inner = composition.inner
        self.out_shape = self._outer.out_shape

    def forward(self, x: Tensor) -> Tensor:
        return self._outer.forward(self._outer.pack(self._inner(x)))

    def adjoint(self, y: Tensor, out: Tensor | None = None) -> Tensor:
        return self._inner.adjoint(self._outer.unpack(self._outer.adjoint(y)))

    def pack_measured(self, y: Tensor) -> Tensor:
        return self._outer.pack_measured(y)

    def unpack_measured(self, y: Tensor) -> Tensor:
        return self._outer.unpack_measured(y)

    def scratch(self, batch: int) -> int:
        return self._outer.scratch(batch) + 2 * batch * math.prod(self._inner.in_shape)
