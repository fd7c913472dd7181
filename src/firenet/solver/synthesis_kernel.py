"""The layer of the synthesis form: a soft threshold of the coefficients, and the proximal map of the fidelity."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

import torch
from numpy.typing import NDArray
from torch import Tensor

from firenet.engines import compiled_module, share
from firenet.numerics import norms, real_view
from firenet.problems.synthesis import SynthesisProblem
from firenet.solver.kernel import Kernel, Steps

_WORTH = 2**18  # coefficients, see compiled_module


@dataclass(frozen=True, eq=False)
class Threshold:
    """The thresholds of the next layers.

    Attributes:
        each: Thresholds, in a shape that broadcasts to x.
        like: A tensor of the dtype of x.
        advance: The compiled function, if it is used.
        limits: For that function, the thresholds of each batch item.
        block: The size of its blocks.
    """

    each: Tensor
    like: Tensor
    advance: Callable[..., None] | None
    limits: list[NDArray[Any]]
    block: int

    @cached_property
    def pairs(self) -> tuple[Tensor, Tensor]:
        """The thresholds and their inverses, in a shape that broadcasts to ``real_view(x)``."""
        t = self.each
        if self.like.is_complex():
            # One number per complex number if it is the same for all, else one per real: broadcasting along the last
            # axis is slow.
            t = t[..., None] if t.shape[1:].numel() == 1 else torch.stack([t, t], dim=-1)
        return t, t.reciprocal()


@final
class SynthesisKernel(Kernel):
    """The layer for :class:`.SynthesisProblem`."""

    problem: SynthesisProblem

    def zero_dual(self, y: Tensor, dtype: Any) -> Tensor:
        return torch.zeros_like(y)

    def primal(self, v: Tensor, tau: Tensor) -> Tensor:
        return self.problem.shrink(v, tau)

    def dual(
        self, q: Tensor, y: Tensor, x: Tensor, new: Tensor, measured: Tensor, steps: Steps, parts: Any
    ) -> tuple[Tensor, None, None]:
        u = self.problem.clip(q + steps.sigma * (measured - y), steps.sigma)
        return u if steps.plain else q + steps.rho_y * (u - q), None, None

    def threshold(self, tau: Tensor, like: Tensor) -> Threshold:
        weights, size = self.problem.weights, math.prod(like.shape[1:])
        t = tau * self.problem.lam if weights is None else tau * self.problem.lam * weights
        t = t.to(tau.dtype).clamp(min=torch.finfo(tau.dtype).tiny)
        compiled = compiled_module("firenet.solver.compiled", size, _WORTH) if like.device.type == "cpu" else None
        advance, limits, block = None, [], 0
        if compiled is not None:
            advance, block = (compiled.advance if like.is_complex() else compiled.advance_real), compiled.BLOCK
            each = t.expand(len(like), *t.shape[1:]).flatten(1)
            limits = list(each.expand(-1, block if each.shape[1] == 1 else size).contiguous().numpy())
        return Threshold(t, like[:0], advance, limits, block)

    def advance_(
        self,
        new: Tensor,
        x: Tensor,
        back: Tensor,
        last: Tensor,
        total: Tensor | None,
        threshold: Threshold,
        steps: Steps,
        change: bool,
    ) -> bool:
        tensors = new, x, last, last if total is None else total
        if threshold.advance is None or not all(t.is_contiguous() for t in tensors):
            return False
        if back is not new:
            new.copy_(back)
        blocks = -(-math.prod(x.shape[1:]) // threshold.block)
        numbers = steps.tau.flatten().numpy(), steps.rho_x.flatten().numpy()
        rows = zip(*(t.flatten(1).numpy() for t in tensors), threshold.limits, *numbers, strict=True)
        for arguments in rows:
            share(threshold.advance, blocks, threshold.block, *arguments, change, total is not None, not steps.plain)
        return True

    def primal_(self, v: Tensor, threshold: Threshold, work: Tensor | None = None) -> Tensor:
        """Computes the soft threshold in place: :math:`v\\,(1-1/\\max(|v/t|,1))`.

        The factor is kept as complex numbers with imaginary part zero, since on the CPU torch is slow at reducing pairs
        of reals to single numbers and expanding them again.
        """
        t, inverse = threshold.pairs
        if not v.is_complex():
            return v.sub_(torch.maximum(torch.minimum(v, t), -t))
        v = torch.view_as_complex(torch.view_as_real(v).mul_(inverse))
        work = torch.empty_like(v) if work is None else work
        factor = torch.view_as_real(torch.conj_physical(v, out=work).mul_(v))  # |v|^2 in units of the threshold
        # The imaginary part is zero except for the rounding of fused operations, and NaN where |v|^2 overflows. Set to
        # 1, it becomes exactly zero below.
        factor[..., 1].fill_(1)
        # 1 - 1/max(|v|, 1), exactly zero below the threshold and in the imaginary part, times the threshold
        factor.clamp_(min=1).rsqrt_()
        if self.problem.weights is None:
            factor.sub_(1).mul_(-t)
        else:
            torch.addcmul(t, factor, t, value=-1, out=factor)
        return v.mul_(torch.view_as_complex(factor))

    def dual_(
        self, q: Tensor, y: Tensor, ahead: Tensor | None, measured: Tensor, before: Tensor, steps: Steps, work: Tensor
    ) -> tuple[Tensor, None]:
        u = real_view(measured).mul(2).sub_(real_view(before)).sub_(real_view(y))
        u = torch.addcmul(real_view(q), pairs(steps.sigma, y), u)
        factor = self.problem.fidelity.factor(norms(u, u.ndim - 1), steps.sigma.flatten().to(torch.float64))
        u.mul_(pairs(factor.to(u.dtype).view_as(steps.sigma), y))
        if not steps.plain:
            u = torch.lerp(real_view(q), u, pairs(steps.rho_y, y))
        return torch.view_as_complex(u) if y.is_complex() else u, None


def pairs(number: Tensor, like: Tensor) -> Tensor:
    """Returns a real factor in a shape that broadcasts to ``real_view(like)``."""
    return number.unsqueeze(-1) if like.is_complex() else number
