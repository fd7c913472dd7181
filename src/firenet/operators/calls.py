"""Functions of one item, from any library, as maps of batches of tensors."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from firenet.errors import BadInput
from firenet.numerics import tensor_of


class Calls:
    """A linear function of one item, as a map from tensors (..., \\*in_shape) to tensors (..., \\*out_shape).

    Args:
        function: Takes an item of shape ``in_shape``, or with ``batched`` some at once, shape (n, \\*in_shape), and
            returns an array of any library of the corresponding shape.
        in_shape: The shape of one argument.
        out_shape: The shape of one result.
        batched: Whether the function takes several items at once.
        numpy: Whether it takes NumPy arrays instead of tensors.
        real: Whether it takes real numbers only; complex ones are then two items.
        name: What it is, in errors.
    """

    def __init__(
        self,
        function: Callable[[Any], Any],
        in_shape: tuple[int, ...],
        out_shape: tuple[int, ...],
        *,
        batched: bool,
        numpy: bool,
        real: bool,
        name: str,
    ) -> None:
        if not callable(function):
            raise BadInput(f"A function for {name}", type(function).__name__, "Pass a function of one argument")
        self.function, self.in_shape, self.out_shape = function, in_shape, out_shape
        self.batched, self.numpy, self.real, self.name = batched, numpy, real, name

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        """Applies the function to all items."""
        batch = x.shape[: x.ndim - len(self.in_shape)]
        items = x.detach().resolve_conj().resolve_neg().reshape(math.prod(batch), *self.in_shape)
        if not self.real or not x.is_complex():
            return self._applied(items, x.dtype).reshape(*batch, *self.out_shape)
        parts = self._applied(torch.cat([items.real, items.imag]), x.real.dtype)
        if parts.is_complex():
            do = "Leave out real=True if it is not a function of real numbers"
            raise BadInput(f"Real numbers from {self.name}", "complex ones", do)
        return torch.complex(*parts.chunk(2)).reshape(*batch, *self.out_shape)

    def _applied(self, items: Tensor, dtype: torch.dtype) -> Tensor:
        if self.batched:
            found = self._result(items, (len(items), *self.out_shape))
        elif len(items):
            found = torch.stack([self._result(item, self.out_shape) for item in items])
        else:  # its result shows the dtype
            one = self._result(items.new_zeros(self.in_shape), self.out_shape)
            found = one.new_zeros((0, *self.out_shape))
        # A library that computes in double precision whatever it gets must not make double measurements of single ones.
        if torch.finfo(found.dtype).bits > torch.finfo(dtype).bits:
            found = found.to(dtype.to_complex() if found.is_complex() else dtype.to_real())
        return found.to(items.device)

    def _result(self, item: Tensor, shape: tuple[int, ...]) -> Tensor:
        # A copy: what the function does to its argument must not reach the caller's tensor.
        item = item.contiguous().clone()
        found = tensor_of(self.function(item.cpu().numpy() if self.numpy else item), f"the result of {self.name}")
        if tuple(found.shape) != shape:
            got = f"shape {tuple(found.shape)} from an argument of shape {tuple(item.shape)}"
            do = "Check in_shape and out_shape, and whether the function takes a batch"
            raise BadInput(f"A result of shape {shape} from {self.name}", got, do)
        if not (found.is_floating_point() or found.is_complex()):
            do = "Return floating-point or complex numbers"
            raise BadInput(f"Floating-point or complex numbers from {self.name}", f"{found.dtype}", do)
        return found.detach()
