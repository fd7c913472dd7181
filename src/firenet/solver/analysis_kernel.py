"""The layer of the analysis form: a second dual variable, clipped band by band.

.. math::
    \\tilde x=x-\\tau(A^*q+W^*p),\\qquad\\bar x=2\\tilde x-x,\\qquad
    \\tilde q=\\mathrm{prox}_{\\sigma\\varphi^*}\\big(q+\\sigma(A\\bar x-y)\\big),\\qquad
    \\tilde p=\\mathrm{clip}_{\\lambda w}(p+\\sigma W\\bar x).

The penalty is not on the image itself, so there is no threshold. In the iteration (q, p) is one flat tensor.

The dual step of the bands and its derivative are in :class:`_Sweep`. The step maps (p, x-bar, sigma) to :math:`p^+` and
:math:`t=W^*p^+` in one sweep over the bands; for the derivative it stores u. With :math:`u=p+\\sigma W\\bar x`,
:math:`p^+=(1-\\rho)p+\\rho\\,\\mathrm{clip}(u)` for the relaxation :math:`\\rho`, and the gradients :math:`g_p` of
:math:`p^+` and :math:`g_t` of t, the chain rule gives for each group of bands, with C the derivative of the clip at u,

.. math::
    v=g_p+Wg_t,\\qquad w=\\rho\\,C^*v,\\qquad
    \\partial p=(1-\\rho)v+w,\\qquad \\partial\\bar x=\\sigma W^*w,\\qquad
    \\partial\\sigma=\\mathrm{Re}\\langle w,W\\bar x\\rangle .

C is its own adjoint, so :meth:`AnalysisKernel.clip_slope`, which applies C, also applies C*. The backward pass takes
one W and one W*, as the forward pass does. This derivative is used only for complex images and convolutions, for first
derivatives in reverse mode, and for weights without derivatives; all other cases are left to autograd
(:meth:`AnalysisKernel._swept`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, final

import torch
from torch import Tensor

from firenet.errors import BadInput
from firenet.numerics import compiling, derived, norms, real_view, reverse_only
from firenet.problems.analysis import PairProblem
from firenet.problems.pair import OperatorPair
from firenet.solver.kernel import Kernel, Steps
from firenet.transforms.engine import Engine

_once: ContextVar[bool] = ContextVar("_once", default=True)


@contextmanager
def twice_differentiable() -> Iterator[None]:
    """Makes second derivatives (``create_graph=True``) of the analysis form possible inside this context.

    The derivative of the layers is left to autograd, which takes more time and memory.
    """
    token = _once.set(False)
    try:
        yield
    finally:
        _once.reset(token)


class _Sweep(torch.autograd.Function):
    """The dual step of all bands and W* of its result, with the derivative in the module's docstring.

    .. math:: p^+=(1-\\rho)p+\\rho\\,\\mathrm{clip}(p+\\sigma W\\bar x),\\qquad t=W^*p^+.

    The derivative of autograd would take more passes over memory. This class stores u, and also p if sigma has a
    derivative, as it has for steps that depend on y.
    """

    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, p: Tensor, prepared: Tensor, sigma: Tensor, rho: Tensor, kernel: AnalysisKernel
    ) -> tuple[Tensor, Tensor]:
        pair = kernel.operator
        total = pair.start(prepared, None)
        unclipped, after = torch.empty_like(p), torch.empty_like(p)
        for k, group in enumerate(pair.groups):
            old, u, new = p[:, group], unclipped[:, group], after[:, group]
            torch.add(pair.band(group, prepared).mul_(sigma), old, out=u)
            torch.add(kernel.clip_group(k, u).sub_(old).mul_(rho), old, out=new)
            total = pair.collect(group, new, total)
        ctx.kernel = kernel
        ctx.save_for_backward(unclipped, sigma, rho, p if ctx.needs_input_grad[2] else None)
        return after, total

    @staticmethod
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, ...]:
        _first_only()
        unclipped, sigma, rho, p = ctx.saved_tensors
        of_sigma = None if p is None else torch.zeros_like(sigma)
        kernel: AnalysisKernel = ctx.kernel
        pair = kernel.operator
        of_p, of_total = (g.resolve_conj() for g in grad_outputs)
        into_p, into_prepared = torch.empty_like(unclipped), pair.start(of_total, None)
        for k, group in enumerate(pair.groups):
            v = pair.band(group, of_total).add_(of_p[:, group])
            w = kernel.clip_slope(k, unclipped[:, group], v * rho)
            torch.add(v.mul_(1 - rho), w, out=into_p[:, group])
            if p is not None and of_sigma is not None:  # sigma W(x-bar) = u - p
                added = real_view(unclipped[:, group] - p[:, group])
                of_sigma += (added * real_view(w)).flatten(1).sum(1).view_as(sigma) / sigma
            into_prepared = pair.collect(group, w.mul_(sigma), into_prepared)
        return into_p, into_prepared, of_sigma, None, None


class _CompiledSweep(torch.autograd.Function):
    """The same with the compiled engine, for images in space; instead of u it stores p and the image."""

    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, p: Tensor, image: Tensor, sigma: Tensor, rho: Tensor, kernel: AnalysisKernel, engine: Engine
    ) -> tuple[Tensor, Tensor]:
        after = p.detach().clone(memory_format=torch.contiguous_format)
        back = engine.sweep_(after, image.detach(), kernel.engine_limits(p), sigma.detach(), rho.detach())
        ctx.kernel, ctx.engine = kernel, engine
        ctx.save_for_backward(p, image, sigma, rho)
        return after, back

    @staticmethod
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, ...]:
        _first_only()
        p, image, sigma, rho = (t.detach() for t in ctx.saved_tensors)
        of_p, of_back = (g.resolve_conj() for g in grad_outputs)
        limits = ctx.kernel.engine_limits(p)
        into_p, into_image, of_sigma = ctx.engine.slope(p.contiguous(), image, limits, sigma, rho, of_p, of_back)
        of_sigma = of_sigma.to(sigma.dtype).view_as(sigma) if ctx.needs_input_grad[2] else None
        return into_p, into_image, of_sigma, None, None, None


def _first_only() -> None:
    """Raises BadInput where a second derivative is wanted."""
    if torch.is_grad_enabled():
        do = "Compute it inside `with firenet.solver.analysis_kernel.twice_differentiable():`, which is slower"
        raise BadInput("A first derivative of a FIRENET in analysis form", "a second one", do)


@final
class AnalysisKernel(Kernel):
    """The layer for :class:`.PairProblem`."""

    problem: PairProblem
    operator: OperatorPair

    def zero_dual(self, y: Tensor, dtype: Any) -> Tensor:
        pair = self.operator
        size = pair.measured + pair.bands * math.prod(pair.band_shape)
        return torch.zeros(len(y), size, dtype=dtype, device=y.device)

    def primal(self, v: Tensor, tau: Tensor) -> Tensor:
        return v

    def dual(
        self, q: Tensor, y: Tensor, x: Tensor, new: Tensor, measured: Tensor, steps: Steps, parts: Any
    ) -> tuple[Tensor, Tensor | None, Any]:
        pair = self.operator
        if not self._swept(x, y, q, steps.sigma):
            prepared = pair.prepare(2 * new - x)
            bands = [pair.band(g, prepared).flatten(1) for g in pair.groups]
            u = self._clip(q + steps.sigma * torch.cat([measured - y, *bands], dim=1), steps.sigma)
            return u if steps.plain else q + steps.rho_y * (u - q), None, None
        first, p = pair.split(q) if parts is None else parts
        u = first + steps.sigma * (measured - y)
        factor = self.problem.fidelity.factor(norms(u, 1), steps.sigma.flatten().to(torch.float64))
        first = first + steps.rho_y * (u * factor.to(u.real.dtype).view(-1, 1) - first)
        wide, engine = (-1, *(1,) * (1 + len(pair.band_shape))), self.problem.engine(x, derivatives=True)
        sigma, rho, ahead = steps.sigma.view(wide), steps.rho_y.view(wide), 2 * new - x
        if engine is None:
            p, total = _Sweep.apply(p, pair.prepare(ahead), sigma, rho, self)
            back = pair.finish(total, first)
        else:
            p, image = _CompiledSweep.apply(p, pair.to_space(ahead), sigma, rho, self, engine)
            back = pair.from_space(image, first)
        # Each slice of the flat dual variable would have a gradient as large as all of it: the next layer takes the
        # parts.
        return torch.cat([first, p.flatten(1)], dim=1), back, (first, p)

    def engine_limits(self, p: Tensor) -> list[Tensor]:
        """Returns the limits of each group for the compiled engine, or for complex p their inverses."""
        return [self.problem.limits(k, p)[p.is_complex()] for k in range(len(self.operator.groups))]

    def _swept(self, x: Tensor, y: Tensor, q: Tensor, sigma: Tensor) -> bool:
        """Returns whether the derivative of :class:`_Sweep` suffices: it gives first derivatives in reverse mode only,
        and none with respect to the weights."""
        if compiling() or not (x.is_complex() and self.operator.convolves and _once.get()):
            return False
        weights = self.problem.weights
        return reverse_only(x, y, q, sigma) and (weights is None or not derived(weights))

    def _clip(self, u: Tensor, sigma: Tensor) -> Tensor:
        """Computes the proximal map of q, and the projection of p on :math:`|p_i|\\le\\lambda w_i`."""
        q, p = self.operator.split(u)
        size = norms(q, 1)
        q = q * self.problem.fidelity.factor(size, sigma.flatten().to(size.dtype)).to(q.real.dtype).view(-1, 1)
        return torch.cat([q, *(self.clip_group(k, p[:, g]).flatten(1) for k, g in enumerate(self.operator.groups))], 1)

    def clip_group(self, k: int, p: Tensor) -> Tensor:
        """Projects the bands of a group on magnitudes of at most :math:`\\lambda w`."""
        limit, _ = self.problem.limits(k, p)
        if not p.is_complex() and p.shape[1] == 1:
            return p.clamp(-limit, limit)
        u = real_view(p / limit)
        square = u.square().sum(dim=(1, -1) if p.is_complex() else 1, keepdim=True)
        square = square.squeeze(-1) if p.is_complex() else square
        return p * square.clamp(min=1).rsqrt()

    def clip_slope(self, k: int, u: Tensor, v: Tensor) -> Tensor:
        """Applies the derivative of :meth:`clip_group` at u, which is its own adjoint, to v.

        The result is v where the magnitude of u is at most :math:`\\lambda w`, else
        :math:`(v-u\\,\\mathrm{Re}\\langle u,v\\rangle/|u|^2)\\lambda w/|u|`.
        """
        limit, _ = self.problem.limits(k, u)
        axes = (1, -1)
        square = real_view(u).square().sum(dim=axes, keepdim=True).squeeze(-1)
        inner = (real_view(u) * real_view(v)).sum(dim=axes, keepdim=True).squeeze(-1)
        beyond = square > limit * limit
        factor = torch.where(beyond, limit * square.rsqrt(), 1.0)
        along = torch.where(beyond, -factor * inner / square, 0.0)
        return torch.addcmul(v * factor, u, along.to(u.dtype))

    def clip_group_(self, k: int, p: Tensor, work: Tensor) -> Tensor:
        """Computes :meth:`clip_group` without derivatives, in place for a group of one band; ``work`` is free memory as
        large as a band."""
        if p.shape[1] > 1:
            return self.clip_group(k, p)
        limit, inverse = self.problem.limits(k, p)
        if not p.is_complex():
            return p.clamp_(-limit, limit)
        p.mul_(inverse)
        factor = torch.view_as_real(torch.conj_physical(p, out=work).mul_(p))
        factor.clamp_(min=1).rsqrt_()
        factor[..., 1].fill_(0)
        return p.mul_(work).mul_(limit)

    def threshold(self, tau: Tensor, like: Tensor) -> Tensor:
        return tau

    def primal_(self, v: Tensor, threshold: Any, work: Tensor | None = None) -> Tensor:
        return v

    def overshoot(self, new: Tensor, x: Tensor) -> Tensor:
        ahead = (2 * new).sub_(x)
        return self.operator.prepare(ahead) if self.problem.engine(x) is None else self.operator.to_space(ahead)

    def dual_(
        self, q: Tensor, y: Tensor, ahead: Tensor | None, measured: Tensor, before: Tensor, steps: Steps, work: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Computes the dual step and W* of its result in one sweep over the bands, written over the flat q."""
        assert ahead is not None
        pair = self.operator
        first, p = pair.split(q)
        change = (2 * measured).sub_(before).sub_(y).mul_(steps.sigma).add_(first)
        factor = self.problem.fidelity.factor(norms(change, 1), steps.sigma.flatten().to(torch.float64))
        _relax(first, change.mul_(factor.to(change.real.dtype).view(-1, 1)), steps)
        engine = self.problem.engine(ahead)
        if engine is not None:
            back = engine.sweep_(p, ahead, self.engine_limits(p), steps.sigma, steps.rho_y)
            return q, pair.from_space(back, first)
        total = pair.start(q, work)
        sigma = steps.sigma.view(-1, *(1,) * (1 + len(pair.band_shape)))
        band = torch.empty(len(p), 1, *pair.band_shape, dtype=p.dtype, device=p.device)
        for k, group in enumerate(pair.groups):
            u = pair.band(group, ahead).mul_(sigma).add_(p[:, group])
            _relax(p[:, group], self.clip_group_(k, u, band), steps)
            total = pair.collect(group, p[:, group], total)
        return q, pair.finish(total, first)


def _relax(old: Tensor, new: Tensor, steps: Steps) -> None:
    if steps.plain:
        old.copy_(new)
    else:
        rho = steps.rho_y.view(-1, *(1,) * (old.ndim - 1 + old.is_complex()))
        real_view(old).lerp_(real_view(new), rho)
