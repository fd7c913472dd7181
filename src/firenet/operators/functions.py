"""An operator of two functions, which may belong to any library."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from firenet.errors import BadInput
from firenet.numerics import check_seed
from firenet.operators.calls import Calls
from firenet.operators.derivative import differentiable
from firenet.operators.lanczos import lanczos
from firenet.operators.linear import LinearOperator
from firenet.operators.norm_bound import NormBound


class Functions(LinearOperator):
    """The operator of :meth:`.LinearOperator.from_functions`, which describes the arguments."""

    def __init__(
        self,
        forward: Callable[[Any], Any],
        adjoint: Callable[[Any], Any],
        in_shape: Sequence[int],
        out_shape: Sequence[int],
        *,
        norm: NormBound | float | None = None,
        gain: float | None = None,
        batched: bool = False,
        numpy: bool = False,
        real: bool = False,
        seed: int = 0,
        name: str | None = None,
    ) -> None:
        for what, shape in (("in_shape", in_shape), ("out_shape", out_shape)):
            if isinstance(shape, int) or not all(isinstance(n, int) and n > 0 for n in shape):
                raise BadInput(f"{what}: a tuple of positive sides", f"{shape}", "For example (256, 256)")
        if gain is not None and not (math.isfinite(gain) and gain >= 0):
            raise BadInput("A finite noise gain, zero or more", f"{gain}", "Leave it out: it is estimated")
        bound = norm if norm is None or isinstance(norm, NormBound) else _claimed(norm)
        super().__init__(in_shape, out_shape, bound)
        how: dict[str, Any] = {"batched": batched, "numpy": numpy, "real": real}
        self._apply_forward = Calls(forward, self.in_shape, self.out_shape, name="the forward function", **how)
        self._apply_adjoint = Calls(adjoint, self.out_shape, self.in_shape, name="the adjoint function", **how)
        self._gain, self._seed, self._name = gain, check_seed(seed), name
        self._dtypes: dict[torch.dtype, torch.dtype] = {}

    def _composed_bound(self) -> NormBound:
        dtype = self.state_dtype(self.arithmetic)
        how: dict[str, Any] = {"device": self._device(), "seed": self._seed, "name": self.title}
        found = lanczos(self, self.adjoint, self.in_shape, dtype, **how)
        self._norm_bound = found.bound
        return self._norm_bound

    def _forward(self, x: Tensor) -> Tensor:
        return differentiable(x, self._apply_forward, self._apply_adjoint)

    def _adjoint(self, y: Tensor) -> Tensor:
        return differentiable(y, self._apply_adjoint, self._apply_forward)

    def state_dtype(self, y: torch.dtype) -> torch.dtype:
        if y not in self._dtypes:
            self._dtypes[y] = self._apply_adjoint(torch.zeros(self.out_shape, dtype=y)).dtype
        return self._dtypes[y]

    @property
    def title(self) -> str:
        return self._name or type(self).__name__

    @property
    def is_own(self) -> bool:
        return False

    @property
    def gain(self) -> float:
        if self._gain is None:
            self._gain = super().gain
        return self._gain


def _claimed(norm: float) -> NormBound:
    try:
        value = float(norm)
    except (TypeError, ValueError):
        needed = "A bound of the norm, a NormBound or a number"
        raise BadInput(needed, type(norm).__name__, "Leave it out: it is computed") from None
    return NormBound(value, "estimate", "a number that the caller gave")
