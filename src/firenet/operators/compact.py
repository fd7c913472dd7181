"""An operator in the coordinates in which an iteration applies it again and again."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from torch import Tensor

from firenet.operators.norm_bound import NormBound

if TYPE_CHECKING:
    from firenet.operators.algebra import Composition
    from firenet.operators.linear import LinearOperator


class Compact:
    """An operator in the coordinates that are best for applying it again and again.

    For example, packed measurements are the measured entries alone, and packed coefficients have another order.
    ``pack`` and ``unpack`` convert to these coordinates and back, preserve norms and inner products, and are applied
    once before and once after an iteration. Tensors have exactly one batch axis in front. A subclass may write into its
    own buffers, never into tensors that it returned; an object with such buffers must not be shared between threads.

    Attributes:
        in_shape: Shape of packed coefficients.
        out_shape: Shape of packed measurements.
    """

    def __init__(self, operator: LinearOperator) -> None:
        self.operator = operator
        self.in_shape, self.out_shape = operator.in_shape, operator.out_shape

    @property
    def norm_bound(self) -> NormBound:
        """The upper bound of the norm of the map in these coordinates."""
        return self.operator.norm_bound

    def __call__(self, x: Tensor) -> Tensor:
        """Computes Ax, as :meth:`forward`."""
        return self.forward(x)

    def forward(self, x: Tensor) -> Tensor:
        """Computes Ax for packed coefficients x, as a new tensor."""
        return self.operator(x)

    def adjoint(self, y: Tensor, out: Tensor | None = None) -> Tensor:
        """Computes A*y for packed measurements y, as a new tensor, or written into ``out`` (then without derivatives)
        if that saves memory."""
        return self.operator.adjoint(y)

    def pack(self, x: Tensor) -> Tensor:
        """Converts coefficients to packed coefficients."""
        return x

    def unpack(self, x: Tensor) -> Tensor:
        """Converts packed coefficients to coefficients."""
        return x

    def pack_measured(self, y: Tensor) -> Tensor:
        """Converts measurements to packed measurements; entries that are not measured are ignored."""
        return self.operator.restrict(y)

    def unpack_measured(self, y: Tensor) -> Tensor:
        """Converts packed measurements to measurements, zero in the entries that are not measured."""
        return y

    @property
    def has_minimum_norm(self) -> bool:
        """Whether :meth:`minimum_norm` gives the minimum-norm solution."""
        return self.operator.has_minimum_norm

    def minimum_norm(self, y: Tensor) -> Tensor | None:
        """Computes :meth:`LinearOperator.minimum_norm` in these coordinates."""
        return self.adjoint(y) if self.operator.is_coisometry else self.operator.minimum_norm(y)

    def spare(self, like: Tensor) -> Tensor | None:
        """Returns a buffer as large as the packed coefficients ``like``, unused between two applications, or None."""
        return None

    def scratch(self, batch: int) -> int:
        """Returns how many numbers the operator stores while it is applied, beside its argument and its result."""
        return 2 * batch * max(math.prod(self.operator.in_shape), math.prod(self.operator.out_shape))


class CompactComposition(Compact):
    """A composition whose outer factor is applied in its compact coordinates."""

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
