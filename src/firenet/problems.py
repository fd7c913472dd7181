"""The optimisation problem whose solution the network computes.

Inner products are :math:`\\langle a,b\\rangle=\\sum_ia_i\\bar b_i`; norms and inner products run over the trailing
axes, one value a batch item, and are summed in float64.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.autograd import forward_ad

from firenet.errors import BadInput
from firenet.operators import Compact, LinearOperator


def check_lam(lam: float) -> None:
    """Refuses a regularisation parameter that is none."""
    if not (math.isfinite(lam) and lam > 0):
        raise BadInput("A regularisation parameter lam > 0", f"{lam}", "1e-3 is usual for images")


def check_weights(w: Tensor | None, shape: tuple[int, ...]) -> None:
    """Refuses weights that are not positive or do not broadcast to the coefficients."""
    if w is None:
        return
    if not w.is_floating_point() or not torch.isfinite(w).all() or (w <= 0).any():
        bad = w[~(torch.isfinite(w) & (w > 0))] if w.is_floating_point() else w[:0]
        got = f"{w.dtype}" if not w.is_floating_point() else f"{bad.numel()} others, e.g. {bad.flatten()[0].item():g}"
        do = "For a coefficient without penalty use a small positive weight, e.g. 1e-3: the dual needs it"
        raise BadInput("Real, finite and positive weights", got, do)
    try:
        fits = torch.broadcast_shapes(tuple(w.shape), shape) == shape
    except RuntimeError:
        fits = False
    if not fits:
        needed = f"Weights that broadcast to the coefficients' shape {shape}"
        raise BadInput(needed, f"shape {tuple(w.shape)}", "Check the transform they were made for")


@dataclass(frozen=True, eq=False)
class SquareRootLasso:
    """The weighted square-root LASSO (P3)

    .. math:: \\min_z F(z),\\qquad F(z)=\\lambda\\sum_iw_i|z_i|+\\|Az-y\\|_2,

    with its dual :math:`\\max\\{-\\mathrm{Re}\\langle y,q\\rangle:\\ \\|q\\|_2\\le1,\\ |(A^*q)_i|\\le\\lambda w_i\\}`.

    Attributes:
        operator: A.
        weights: Positive weights that broadcast to the shape of z; None is all ones.
        lam: :math:`\\lambda>0`. It has no unit: scaling y scales the solution and leaves lambda.
    """

    operator: LinearOperator | Compact
    weights: Tensor | None
    lam: float

    def __post_init__(self) -> None:
        check_lam(self.lam)
        check_weights(self.weights, self.operator.in_shape)

    # What a searching schedule starts from, in units of the plain guess; and whether it may balance the weights anew.
    first_weight: ClassVar[float] = 1.0
    rebalances: ClassVar[bool] = True

    def shrink(self, v: Tensor, tau: Tensor) -> Tensor:
        """The proximal map of :math:`\\tau\\lambda\\|\\cdot\\|_{l^1_w}`: soft threshold of the modulus, the phase kept.

        Args:
            v: Shape (..., \\*in_shape).
            tau: Step, shape that broadcasts to v.
        """
        threshold = tau * self.lam if self.weights is None else tau * self.lam * self.weights
        return _soft_threshold(v, threshold.to(v.real.dtype))

    def threshold(self, tau: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """What :meth:`shrink_` needs of its step: the threshold and its inverse, ready to meet the real view of v."""
        t = tau * self.lam if self.weights is None else tau * self.lam * self.weights
        t = t.to(tau.dtype).clamp(min=torch.finfo(tau.dtype).tiny)
        if like.is_complex():
            # A number a pair where it is the same for all, else as many as there are reals: what broadcasts along the
            # last axis is slow.
            t = t[..., None] if self.weights is None else torch.stack([t, t], dim=-1)
        return t, t.reciprocal()

    def shrink_(self, v: Tensor, threshold: tuple[Tensor, Tensor], work: Tensor | None = None) -> Tensor:
        """:meth:`shrink` for a v that may be overwritten, without gradients; ``work`` is memory as large, if there is.

        For complex numbers the modulus is computed as complex numbers of imaginary part zero: on the CPU torch has no
        fast way from pairs to single numbers and back.
        """
        t, inverse = threshold
        if not v.is_complex():
            return v.sub_(torch.maximum(torch.minimum(v, t), -t))
        v = torch.view_as_complex(torch.view_as_real(v).mul_(inverse))
        work = torch.empty_like(v) if work is None else work
        factor = torch.view_as_real(torch.conj_physical(v, out=work).mul_(v))  # |v|^2 in units of the threshold
        # Its imaginary part is zero but for fused roundings, and no number at all where |v|^2 overflows.
        factor[..., 1].fill_(1)
        # 1 - 1/max(|v|, 1), exactly zero below the threshold and in the imaginary part, times the threshold
        factor.clamp_(min=1).rsqrt_()
        if self.weights is None:
            factor.sub_(1).mul_(-t)
        else:
            torch.addcmul(t, factor, t, value=-1, out=factor)
        return v.mul_(torch.view_as_complex(factor))

    def clip(self, u: Tensor) -> Tensor:
        """The proximal map of the dual: the projection of each batch item on the unit ball,
        :math:`u/\\max(1,\\|u\\|_2)`."""
        d = len(self.operator.out_shape)
        return _scaled(u, norms(u, d).clamp(min=1).reciprocal().to(u.real.dtype), d)

    def objective(self, z: Tensor, y: Tensor) -> Tensor:
        """F(z), one float64 number a batch item."""
        return self.penalty(z) + norms(self.operator(z) - y, len(self.operator.out_shape))

    def penalty(self, z: Tensor) -> Tensor:
        """:math:`\\lambda\\|z\\|_{l^1_w}`, one float64 number a batch item."""
        parts = [size.sum(dim=-1, dtype=torch.float64) for size in self._sizes(z, divide=False)]
        return self.lam * _total(parts)

    def infeasibility(self, q: Tensor, back: Tensor) -> Tensor:
        """The smallest number that q must be divided by to be feasible:
        :math:`\\max\\{1,\\|q\\|_2,\\max_i|(A^*q)_i|/(\\lambda w_i)\\}` (float64), given A*q."""
        parts = [size.amax(dim=-1).to(torch.float64) for size in self._sizes(back, divide=True)]
        largest = torch.stack(parts).amax(dim=0) / self.lam
        return torch.maximum(norms(q, len(self.operator.out_shape)), largest).clamp(min=1)

    def _sizes(self, z: Tensor, *, divide: bool) -> Iterator[Tensor]:
        """|z| w or |z| / w in pieces, shape (..., piece)."""
        d = len(self.operator.in_shape)
        pieces = map(torch.abs if derived(z) else modulus, _pieces(z, d))
        if self.weights is None:
            yield from pieces
            return
        for piece, w in zip(pieces, _pieces(self.weights.expand(self.operator.in_shape), d), strict=True):
            yield piece / w if divide else piece * w

    def feasible(self, q: Tensor) -> Tensor:
        """q divided by its :meth:`infeasibility`."""
        scale = self.infeasibility(q, self.operator.adjoint(q))
        return _scaled(q, scale.reciprocal().to(q.real.dtype), len(self.operator.out_shape))

    def dual_value(self, q: Tensor, y: Tensor) -> Tensor:
        """:math:`-\\mathrm{Re}\\langle y,q\\rangle`, one float64 number a batch item: at most min F if q is
        feasible."""
        return -real_inner(y, q, len(self.operator.out_shape))

    def gap(self, z: Tensor, q: Tensor, y: Tensor) -> Tensor:
        """An upper bound of :math:`F(z)-\\min F`, finite for every z and every q: the duality gap with q made feasible.

        Exact arithmetic; in floating point it carries the rounding of the norms and of A.
        """
        return self.objective(z, y) - self.dual_value(self.feasible(q), y)

    def dual_of(self, q: Tensor, p: Tensor | None = None) -> Tensor:
        """A dual point as the loop has it, from a packed q."""
        return q

    def compact(self) -> SquareRootLasso:
        """The same problem in the coordinates of :class:`firenet.operators.Compact`, for a loop."""
        assert isinstance(self.operator, LinearOperator)
        compact = self.operator.compact()
        if self.weights is None:
            return SquareRootLasso(compact, None, self.lam)
        shape = self.operator.in_shape
        return SquareRootLasso(compact, compact.pack(self.weights.expand(shape)[None])[0], self.lam)


def relative_gap(objective: Tensor, gap: Tensor) -> Tensor:
    """:math:`(p-d)/(|p|+|d|)` for objective p and dual value d = p - gap, and 0 where both vanish."""
    size = objective.abs() + (objective - gap).abs()
    return torch.where(size > 0, gap / size.where(size > 0, torch.ones_like(size)), torch.zeros_like(gap))


def rounding(precision: float, objective: Any, size: Any) -> Any:
    """The rounding error that a gap carries, an estimate: residual, inner product and scaling of the dual are each a
    few roundings of numbers as large as :math:`\\|y\\|_2` and F.

    Args:
        precision: The machine epsilon of the data's dtype.
        objective: F.
        size: :math:`\\|y\\|_2`.
    """
    return 8 * precision * (2 * objective + size)


def derived(x: Tensor) -> bool:
    """Whether derivatives are asked for with respect to x, backward or forward."""
    if torch.is_grad_enabled() and x.requires_grad:
        return True
    if torch._C._functorch.is_functorch_wrapped_tensor(x):  # pyright: ignore[reportAttributeAccessIssue]
        return True
    level = forward_ad._current_level
    return level >= 0 and forward_ad.unpack_dual(x, level=level).tangent is not None


def real_view(x: Tensor) -> Tensor:
    """Complex numbers as pairs of reals: on the CPU their norms and sums are many times faster than complex ones."""
    return torch.view_as_real(x.resolve_conj()) if x.is_complex() else x


# Sums in float64 are made in pieces of so many numbers: the converted copies stay small, and in the cache.
_PIECE = 2**17


def _pieces(x: Tensor, trailing: int) -> tuple[Tensor, ...]:
    """The trailing axes as one, in pieces."""
    return x.flatten(-trailing).split(_PIECE, dim=-1)


def modulus(z: Tensor) -> Tensor:
    """|z|; of complex numbers in single precision in float64, where no square over- or underflows: on the CPU several
    times faster than ``abs``."""
    if z.dtype != torch.complex64:
        return z.abs()
    re, im = (part.to(torch.float64) for part in torch.view_as_real(z.resolve_conj()).unbind(-1))
    return re.mul_(re).addcmul_(im, im).sqrt_()


def _total(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.stack(parts).sum(dim=0)


def norms(x: Tensor, trailing: int) -> Tensor:
    """The 2-norm over the trailing axes, summed in float64."""
    # Converted first: torch's reduction that converts as it goes is several times slower.
    pieces = _pieces(real_view(x), trailing + x.is_complex())
    parts = [torch.linalg.vector_norm(piece.to(torch.float64), dim=-1) for piece in pieces]
    return parts[0] if len(parts) == 1 else torch.linalg.vector_norm(torch.stack(parts), dim=0)


def real_inner(x: Tensor, y: Tensor, trailing: int) -> Tensor:
    """:math:`\\mathrm{Re}\\langle x,y\\rangle` over the trailing axes, summed in float64."""
    if x.is_complex() != y.is_complex():  # the imaginary part of one meets nothing
        x, y = (x.real, y) if x.is_complex() else (x, y.real)
    a, b = (_pieces(real_view(t), trailing + t.is_complex()) for t in (x, y))
    return _total([(p.to(torch.float64) * q).sum(dim=-1) for p, q in zip(a, b, strict=True)])


def _scaled(x: Tensor, factor: Tensor, trailing: int) -> Tensor:
    """Each batch item times its own real factor."""
    real = real_view(x) * factor.reshape(*factor.shape, *(1,) * (trailing + x.is_complex()))
    return torch.view_as_complex(real) if x.is_complex() else real


def _soft_threshold(v: Tensor, threshold: Tensor) -> Tensor:
    """:math:`\\max(0,1-t/|v|)\\,v`, with derivative 0 (not NaN) where the result is 0."""
    if not v.is_complex():
        return v - torch.clamp(v, -threshold, threshold)
    # In units of the threshold, so that no scale of the data over- or underflows. max(|u|^2, 1) instead of |u|^2 gives
    # an exact zero below the threshold and a finite derivative at 0.
    inverse = threshold.clamp(min=torch.finfo(threshold.dtype).tiny).reciprocal()
    re, im = (torch.view_as_real(v.resolve_conj()) * inverse[..., None]).unbind(-1)
    return v * (1 - (re * re).addcmul(im, im).clamp(min=1).rsqrt())
