"""The vertical stack of operators: one input, several outputs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from firenet.errors import BadInput
from firenet.operators.linear import LinearOperator
from firenet.operators.norm_bound import NormBound, weakest


class VerticalStack(LinearOperator):
    """The stack :math:`x\\mapsto(A_1x,\\dots,A_kx)`, its outputs flattened and concatenated.

    Norm: :math:`\\|A\\|\\le(\\sum_i\\|A_i\\|^2)^{1/2}`. The largest of the norms is no bound: (I; I) has norm sqrt 2.
    """

    def __init__(self, operators: Sequence[LinearOperator]) -> None:
        operators = list(operators)
        shapes = {a.in_shape for a in operators}
        if len(shapes) != 1:
            got = f"shapes {sorted(shapes)}"
            raise BadInput("A stack of operators that take the same shape", got, "Check the operators")
        sizes = [math.prod(a.out_shape) for a in operators]
        super().__init__(shapes.pop(), (sum(sizes),), None)
        self._sizes = sizes
        self.operators = nn.ModuleList(operators)

    def _composed_bound(self) -> NormBound:
        bounds = [a.norm_bound for a in self._parts()]
        why = "root of the sum of squares of (" + "), (".join(b.why for b in bounds) + ")"
        return NormBound(math.hypot(*(b.value for b in bounds)) * (1 + 1e-15), weakest(*bounds), why)

    def _parts(self) -> list[LinearOperator]:
        return [a for a in self.operators if isinstance(a, LinearOperator)]

    @property
    def is_own(self) -> bool:
        return all(a.is_own for a in self._parts())

    @property
    def samples(self) -> int:
        return sum(a.samples for a in self._parts())

    def holdout_candidates(self) -> Tensor:
        return torch.cat([a.holdout_candidates().expand(a.out_shape).flatten() for a in self._parts()])

    @property
    def gain(self) -> float:
        energy = math.fsum(a.gain**2 * a.samples for a in self._parts())
        return math.sqrt(energy / max(self.samples, 1))

    @property
    def rounding(self) -> float:
        parts = self._parts()
        return math.hypot(*(a.rounding + len(parts) * a.norm_bound.value for a in parts))

    def split(self, y: Tensor) -> list[Tensor]:
        """Returns the parts of a stacked measurement, each in the shape of its operator's output."""
        pieces = y.split(self._sizes, dim=-1)
        return [p.reshape(*y.shape[:-1], *a.out_shape) for p, a in zip(pieces, self._parts(), strict=True)]

    def _join(self, parts: Sequence[Tensor], batch: torch.Size) -> Tensor:
        dtype = torch.float32
        for p in parts:
            dtype = torch.promote_types(dtype, p.dtype)
        return torch.cat([p.reshape(*batch, n).to(dtype) for p, n in zip(parts, self._sizes, strict=True)], dim=-1)

    def _forward(self, x: Tensor) -> Tensor:
        batch = x.shape[: x.ndim - len(self.in_shape)]
        return self._join([a(x) for a in self._parts()], batch)

    def _adjoint(self, y: Tensor) -> Tensor:
        terms = [a.adjoint(p) for a, p in zip(self._parts(), self.split(y), strict=True)]
        return sum(terms[1:], start=terms[0])

    def restrict(self, y: Tensor) -> Tensor:
        parts = [a.restrict(p) for a, p in zip(self._parts(), self.split(y), strict=True)]
        return self._join(parts, y.shape[:-1])

    def state_dtype(self, y: torch.dtype) -> torch.dtype:
        for a in self._parts():
            y = a.state_dtype(y)
        return y
