"""The derivatives of linear maps, and the move and cast of modules with complex buffers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from firenet.numerics import compiling, derived


def keep_kind(fn: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Returns a function that moves or casts buffers as ``fn`` does, but leaves complex buffers complex and real ones
    real.

    ``module.to(torch.float64)`` would cast complex buffers to real ones and lose their imaginary parts, and
    ``module.to(torch.complex128)`` would make weights complex.
    """

    def move(t: Tensor) -> Tensor:
        if not t.is_complex():
            moved = fn(t)
            return moved.real.clone() if moved.is_complex() else moved
        moved = fn(torch.view_as_real(t.resolve_conj()))
        return fn(t) if moved.is_complex() else torch.view_as_complex(moved.contiguous())

    return move


class _Linear(torch.autograd.Function):
    """A linear map as one node of the autograd graph: its vjp is the adjoint, its jvp the map itself."""

    @staticmethod
    def forward(x: Tensor, apply: Callable[[Tensor], Tensor], adjoint: Callable[[Tensor], Tensor]) -> Tensor:
        return apply(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, ctx.map, ctx.map_adjoint = inputs
        ctx.real = not x.is_complex()

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None]:
        grad = differentiable(grad_outputs[0], ctx.map_adjoint, ctx.map)
        return grad.real if ctx.real and grad.is_complex() else grad, None, None

    @staticmethod
    def jvp(ctx: Any, *grad_inputs: Any) -> Tensor:
        return differentiable(grad_inputs[0], ctx.map, ctx.map_adjoint)

    @staticmethod
    def vmap(  # pyright: ignore[reportIncompatibleMethodOverride]
        info: Any,
        in_dims: tuple[int | None, ...],
        x: Tensor,
        apply: Callable[[Tensor], Tensor],
        adjoint: Callable[[Tensor], Tensor],
    ) -> tuple[Tensor, int | None]:
        at = in_dims[0]  # the map takes any number of batch axes, and this is one more
        return differentiable(x if at is None else x.movedim(at, 0), apply, adjoint), None if at is None else 0


def differentiable(x: Tensor, apply: Callable[[Tensor], Tensor], adjoint: Callable[[Tensor], Tensor]) -> Tensor:
    """Computes ``apply(x)`` for a linear map given with its adjoint, both for any number of batch axes.

    The result is differentiable, even if the map writes into work buffers or views, and under ``torch.func.vmap`` the
    map gets one batch axis more. For a compiler the map must be plain torch, without buffers.
    """
    if compiling() or not derived(x):  # a node of the graph costs more than a small map
        return apply(x)
    result = _Linear.apply(x, apply, adjoint)
    assert isinstance(result, Tensor)
    return result
