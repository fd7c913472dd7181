"""The optimisation problems whose solutions the network computes.

Each is a penalty plus a fidelity, how far Az may be from y: its norm (P3), its square (P2), or a ball it must lie in
(P1). In a layer the three differ in one factor of the dual, in the gap in one term.

Inner products are :math:`\\langle a,b\\rangle=\\sum_ia_i\\bar b_i`; norms and inner products run over the trailing
axes, one value a batch item, and are summed in float64.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
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


def usual_lam(operator: LinearOperator, coefficients: int) -> float:
    """:math:`1.45\\,g/\\sqrt n` for n coefficients of a tight frame with weights of mean square 1, g the
    :attr:`LinearOperator.gain`; half of that where AA* is not the identity.

    With AA* = I, so g = 1, and W*W = I, a residual that is not zero needs :math:`\\lambda\\ge n^{-1/2}`: its dual point
    has :math:`1=\\|q\\|=\\|A^*q\\|=\\|W^*p\\|\\le\\|p\\|\\le\\lambda\\|w\\|=\\lambda\\sqrt n`. Below that all noise is
    fitted. The factor 1.45 is from experience with redundant frames, the half from raw scans: maps are never exact.
    """
    factor = 1.45 if operator.is_coisometry else 0.725
    return factor * (operator.gain or 1.0) / math.sqrt(max(coefficients, 1))


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


# --- fidelities: functions of the norm r of a residual, and of the norm s of a dual point ----------------------------


class Fidelity(ABC):
    """A convex function of the residual that depends on its 2-norm r alone."""

    @abstractmethod
    def value(self, r: Tensor) -> Tensor:
        """The function of r; for a ball 0, what lies beyond it is :meth:`excess`."""

    @abstractmethod
    def conjugate(self, s: Tensor) -> Tensor:
        """Its conjugate, a function of the norm s of the dual point."""

    @abstractmethod
    def factor(self, s: Tensor, sigma: Tensor) -> Tensor:
        """The proximal map of sigma times the conjugate multiplies a point of norm s by this."""

    def excess(self, r: Tensor) -> Tensor:
        """How far r is from what is allowed."""
        return torch.zeros_like(r)

    def multiple(self, inner: Tensor, s: Tensor, most: Tensor) -> Tensor:
        """What multiple of a dual point of norm s, at most ``most``, with :math:`-\\mathrm{Re}\\langle
        y,q\\rangle` = inner, to take."""
        return most

    def unit(self, objective: Any, size: Any) -> Any:
        """What the rounding errors of an objective are counted in, beside itself, for data of this norm."""
        return size


@dataclass(frozen=True)
class Norm(Fidelity):
    """:math:`\\|Az-y\\|_2`: the square-root LASSO (P3). Lambda has no unit and hardly depends on the noise."""

    def value(self, r: Tensor) -> Tensor:
        return r

    def conjugate(self, s: Tensor) -> Tensor:
        return torch.zeros_like(s)

    def factor(self, s: Tensor, sigma: Tensor) -> Tensor:
        return s.clamp(min=1).reciprocal()

    def multiple(self, inner: Tensor, s: Tensor, most: Tensor) -> Tensor:
        return torch.minimum(most, s.clamp(min=1).reciprocal())


@dataclass(frozen=True)
class Squared(Fidelity):
    """:math:`\\|Az-y\\|_2^2`: the LASSO (P2), without the factor 1/2. Lambda has the unit of y."""

    def value(self, r: Tensor) -> Tensor:
        return r * r

    def conjugate(self, s: Tensor) -> Tensor:
        return s * s / 4

    def factor(self, s: Tensor, sigma: Tensor) -> Tensor:
        return (1 + sigma / 2).reciprocal().expand(s.shape)

    def multiple(self, inner: Tensor, s: Tensor, most: Tensor) -> Tensor:
        # The best of them: -Re<y, tq> - t^2 s^2 / 4 is largest at t = 2 inner / s^2.
        best = 2 * inner.clamp(min=0) / (s * s).clamp(min=torch.finfo(s.dtype).tiny)
        return torch.minimum(most, best)

    def unit(self, objective: Any, size: Any) -> Any:
        return size * objective**0.5


@dataclass(frozen=True)
class Ball(Fidelity):
    """:math:`\\|Az-y\\|_2\\le\\varepsilon`: basis pursuit with known noise (P1).

    Attributes:
        noise: :math:`\\varepsilon\\ge0`; zero asks for an exact fit.
    """

    noise: float

    def __post_init__(self) -> None:
        if not 0 <= self.noise < math.inf:
            raise BadInput("A noise level, finite and zero or more", f"{self.noise}", "It bounds the norm of Ax - y")

    def value(self, r: Tensor) -> Tensor:
        return torch.zeros_like(r)

    def conjugate(self, s: Tensor) -> Tensor:
        return self.noise * s

    def factor(self, s: Tensor, sigma: Tensor) -> Tensor:
        return (1 - self.noise * sigma / s.clamp(min=torch.finfo(s.dtype).tiny)).clamp(min=0)

    def excess(self, r: Tensor) -> Tensor:
        return (r - self.noise).clamp(min=0)

    def unit(self, objective: Any, size: Any) -> Any:
        return objective


# --- the problem in synthesis form ------------------------------------------------------------------------------------

_NORM = Norm()


@dataclass(frozen=True, eq=False)
class SparseProblem:
    """A weighted l1 norm and a fidelity,

    .. math:: \\min_z F(z),\\qquad F(z)=\\lambda\\sum_iw_i|z_i|+\\varphi(\\|Az-y\\|_2),

    with its dual :math:`\\max\\{-\\mathrm{Re}\\langle y,q\\rangle-\\varphi^*(\\|q\\|_2):\\
    |(A^*q)_i|\\le\\lambda w_i\\}`; for (P3) the conjugate says :math:`\\|q\\|_2\\le1`.

    Attributes:
        operator: A.
        weights: Positive weights that broadcast to the shape of z; None is all ones.
        lam: :math:`\\lambda>0`. In (P3) it has no unit: scaling y scales the solution and leaves lambda. In (P1) it
            only scales the objective.
        fidelity: :math:`\\varphi`: :class:`Norm` (P3), :class:`Squared` (P2) or :class:`Ball` (P1).
    """

    operator: LinearOperator | Compact
    weights: Tensor | None
    lam: float
    fidelity: Fidelity = _NORM

    def __post_init__(self) -> None:
        check_lam(self.lam)
        check_weights(self.weights, self.operator.in_shape)

    # Whether a searching schedule may balance the primal weight anew.
    rebalances: ClassVar[bool] = True

    @property
    def first_weight(self) -> float:
        """What a searching schedule starts from, in units of :math:`\\|y\\|_2`."""
        return self._dual_unit

    @property
    def _dual_unit(self) -> float:
        """One over the size of the dual, an estimate: 1 for (P3); else what lambda is in units of the one that (P3)
        would want."""
        if isinstance(self.fidelity, Norm):
            return 1.0
        return usual_lam(self._sensing, math.prod(self.operator.in_shape)) / self.lam

    @property
    def _sensing(self) -> LinearOperator:
        return self.operator.operator if isinstance(self.operator, Compact) else self.operator

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

    def clip(self, u: Tensor, sigma: Tensor | float = 1.0) -> Tensor:
        """The proximal map of the dual: of each batch item a multiple. For (P3) the projection on the unit ball,
        :math:`u/\\max(1,\\|u\\|_2)`.

        Args:
            u: Shape (..., \\*out_shape).
            sigma: Step, one or one a batch item in any shape. For (P3) it does not matter.
        """
        d = len(self.operator.out_shape)
        size = norms(u, d)
        return _scaled(u, self.fidelity.factor(size, per_item(sigma, size)).to(u.real.dtype), d)

    def objective(self, z: Tensor, y: Tensor) -> Tensor:
        """F(z), one float64 number a batch item. For (P1) the penalty alone: see :meth:`excess`."""
        return self.penalty(z) + self.fidelity.value(norms(self.operator(z) - y, len(self.operator.out_shape)))

    def excess(self, z: Tensor, y: Tensor) -> Tensor:
        """For (P1) :math:`\\max\\{0,\\|Az-y\\|_2-\\varepsilon\\}`, else 0."""
        return self.fidelity.excess(norms(self.operator(z) - y, len(self.operator.out_shape)))

    def admissible(self, z: Tensor, residual: Tensor) -> Tensor:
        """For (P1) a point that fits the data, where A has a cheap right inverse
        :math:`A^+`: :math:`z-A^+r\\max\\{0,1-\\varepsilon/\\|r\\|_2\\}` for the residual r = Az - y, its projection
        where AA* is a multiple of the identity. Else z itself."""
        if not isinstance(self.fidelity, Ball):
            return z
        d = len(self.operator.out_shape)
        size = norms(residual, d)
        share = (1 - self.fidelity.noise / size.clamp(min=torch.finfo(size.dtype).tiny)).clamp(min=0)
        if not derived(share) and not (share > 0).any():
            return z
        correction = self.operator.right_inverse(_scaled(residual, share.to(residual.real.dtype), d))
        return z if correction is None else z - correction

    def value_at(self, z: Tensor, residual: Tensor, dual_size: Tensor) -> Tensor:
        """F at :meth:`admissible`; where that does not fit the data, plus ``dual_size`` times the excess: with the norm
        of a feasible dual point this is at least its dual value."""
        if not isinstance(self.fidelity, Ball):
            return self.penalty(z) + self.fidelity.value(norms(residual, residual.ndim - 1))
        if self.operator.has_right_inverse:
            return self.penalty(self.admissible(z, residual))
        return self.penalty(z) + dual_size * self.fidelity.excess(norms(residual, residual.ndim - 1))

    def penalty(self, z: Tensor) -> Tensor:
        """:math:`\\lambda\\|z\\|_{l^1_w}`, one float64 number a batch item."""
        parts = [size.sum(dim=-1, dtype=torch.float64) for size in self._sizes(z, divide=False)]
        return self.lam * _total(parts)

    def worst(self, q: Tensor, back: Tensor) -> Tensor:
        """:math:`\\max_i|(A^*q)_i|/(\\lambda w_i)` (float64), given A*q: at most 1 where q is feasible."""
        parts = [size.amax(dim=-1).to(torch.float64) for size in self._sizes(back, divide=True)]
        return torch.stack(parts).amax(dim=0) / self.lam

    def _sizes(self, z: Tensor, *, divide: bool) -> Iterator[Tensor]:
        """|z| w or |z| / w in pieces, shape (..., piece)."""
        d = len(self.operator.in_shape)
        pieces = map(torch.abs if derived(z) else modulus, _pieces(z, d))
        if self.weights is None:
            yield from pieces
            return
        for piece, w in zip(pieces, _pieces(self.weights.expand(self.operator.in_shape), d), strict=True):
            yield piece / w if divide else piece * w

    def bound(self, q: Tensor, back: Tensor, y: Tensor, count: Tensor | float = 1.0) -> tuple[Tensor, Tensor]:
        """A lower bound of min F from any q, given A*q: the dual value of q / count made feasible, and the norm of that
        (float64)."""
        inner = -real_inner(y, q, len(self.operator.out_shape)) / count
        size = norms(q, len(self.operator.out_shape)) / count
        return self._bound(inner, size, self.worst(q, back) / count)

    def _bound(self, inner: Tensor, size: Tensor, worst: Tensor) -> tuple[Tensor, Tensor]:
        t = self.fidelity.multiple(inner, size, worst.clamp(min=1).reciprocal())
        return t * inner - self.fidelity.conjugate(t * size), t * size

    def feasible(self, q: Tensor, y: Tensor | None = None) -> Tensor:
        """q, multiplied so that it is feasible: divided by :math:`\\max\\{1,\\|q\\|_2,\\max_i|(A^*q)_i|/(\\lambda
        w_i)\\}`, without the norm for (P1) and (P2); for (P2) the best of the multiples if y is given."""
        d = len(self.operator.out_shape)
        most = self.worst(q, self.operator.adjoint(q)).clamp(min=1).reciprocal()
        return _scaled(q, self._multiple(q, most, y).to(q.real.dtype), d)

    def _multiple(self, q: Tensor, most: Tensor, y: Tensor | None) -> Tensor:
        d = len(self.operator.out_shape)
        inner = torch.full_like(most, torch.inf) if y is None else -real_inner(y, q, d)
        return self.fidelity.multiple(inner, norms(q, d), most)

    def dual_value(self, q: Tensor, y: Tensor) -> Tensor:
        """:math:`-\\mathrm{Re}\\langle y,q\\rangle-\\varphi^*(\\|q\\|_2)`, one float64 number a batch item: at most min
        F if q is feasible."""
        d = len(self.operator.out_shape)
        return -real_inner(y, q, d) - self.fidelity.conjugate(norms(q, d))

    def dual_size(self, q: Tensor) -> Tensor:
        """:math:`\\|q\\|_2` of a dual point as the loop has it."""
        return norms(q, len(self.operator.out_shape))

    def gap(self, z: Tensor, q: Tensor, y: Tensor) -> Tensor:
        """An upper bound of :math:`F(z)-\\min F`, finite for every z and every q: the duality gap with q made feasible,
        for (P1) plus :math:`\\|q\\|_2` times the excess, which makes it zero or more also where z does not fit the
        data.

        Exact arithmetic; in floating point it carries the rounding of the norms and of A.
        """
        q = self.feasible(q, y)
        missing = norms(q, len(self.operator.out_shape)) * self.excess(z, y)
        return self.objective(z, y) - self.dual_value(q, y) + missing

    def dual_of(self, q: Tensor, p: Tensor | None = None) -> Tensor:
        """A dual point as the loop has it, from a packed q."""
        return q

    def compact(self) -> SparseProblem:
        """The same problem in the coordinates of :class:`firenet.operators.Compact`, for a loop."""
        assert isinstance(self.operator, LinearOperator)
        compact = self.operator.compact()
        if self.weights is None:
            return SparseProblem(compact, None, self.lam, self.fidelity)
        shape = self.operator.in_shape
        weights = compact.pack(self.weights.expand(shape)[None])[0]
        return SparseProblem(compact, weights, self.lam, self.fidelity)


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


def reverse_only(*tensors: Tensor) -> bool:
    """Whether derivatives with respect to these are asked for backward alone: no forward mode, no functorch."""
    for x in tensors:
        if torch._C._functorch.is_functorch_wrapped_tensor(x):  # pyright: ignore[reportAttributeAccessIssue]
            return False
        level = forward_ad._current_level
        if level >= 0 and forward_ad.unpack_dual(x, level=level).tangent is not None:
            return False
    return True


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


def per_item(number: Tensor | float, like: Tensor) -> Tensor:
    """A step as float64 in the shape of one number a batch item."""
    number = torch.as_tensor(number, dtype=torch.float64, device=like.device)
    return number.reshape(like.shape) if number.numel() == like.numel() else number.expand(like.shape)


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
