"""The optimisation problems whose solutions the network computes.

Each is a penalty plus a fidelity, how far Az may be from y: its norm (P3), its square (P2), or a ball it must lie in
(P1). In a layer the three differ in one factor of the dual, in the gap in one term.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from firenet.errors import BadInput
from firenet.gap import Proof, dual_bound, prove
from firenet.numerics import (
    UNIT,
    blocked_inner,
    blocked_norms,
    blocked_sum,
    derived,
    doubled,
    modulus,
    norms,
    per_item,
    pieces,
    real_inner,
    scaled,
    sum_rounding,
    tensor_of,
    total,
    unit_roundoff,
)
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
        """Returns the function of r; for a ball 0, what lies beyond it is :meth:`violation`."""

    @abstractmethod
    def conjugate(self, s: Tensor) -> Tensor:
        """Its conjugate, a function of the norm s of the dual point."""

    @abstractmethod
    def factor(self, s: Tensor, sigma: Tensor) -> Tensor:
        """The proximal map of sigma times the conjugate multiplies a point of norm s by this."""

    def violation(self, r: Tensor) -> Tensor:
        """Returns by how much r violates a constraint."""
        return torch.zeros_like(r)

    def error(self, r: Tensor, error: Tensor) -> Tensor:
        """Returns a bound of the error of :meth:`value` at a norm r that is off by at most ``error``."""
        return error

    def violation_unit(self, size: Tensor, unit: float) -> Tensor:
        """Returns what violations are measured in, for data of norm ``size`` in arithmetic of this unit roundoff."""
        return torch.ones_like(size)

    def multiple(self, inner: Tensor, s: Tensor, most: Tensor) -> Tensor:
        """Returns the multiple t of a dual point q of norm s with the largest dual value among those of at most
        ``most``, given inner = :math:`-\\mathrm{Re}\\langle y,q\\rangle`. It may be larger than one."""
        return most

    def unit(self, objective: Any, size: Any) -> Any:
        """Returns what the rounding errors of an objective are counted in, beside itself, for data of this norm."""
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
        return torch.minimum(most, s.reciprocal())


@dataclass(frozen=True)
class Squared(Fidelity):
    """:math:`\\|Az-y\\|_2^2`: the LASSO (P2), without the factor 1/2. Lambda has the unit of y."""

    def value(self, r: Tensor) -> Tensor:
        return r * r

    def conjugate(self, s: Tensor) -> Tensor:
        return s * s / 4

    def factor(self, s: Tensor, sigma: Tensor) -> Tensor:
        return (1 + sigma / 2).reciprocal().expand(s.shape)

    def error(self, r: Tensor, error: Tensor) -> Tensor:
        return (2 * r + error) * error + 4 * torch.finfo(r.dtype).tiny  # squares may underflow

    def multiple(self, inner: Tensor, s: Tensor, most: Tensor) -> Tensor:
        # The best of them: -Re<y, tq> - t^2 s^2 / 4 is largest at t = 2 inner / s^2.
        best = 2 * (inner.clamp(min=0) / s) / s
        return torch.where(s > 0, torch.minimum(most, best), torch.where(inner > 0, most, 0.0))

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

    def violation(self, r: Tensor) -> Tensor:
        return (r - self.noise).clamp(min=0)

    def error(self, r: Tensor, error: Tensor) -> Tensor:
        return torch.zeros_like(error)

    def violation_unit(self, size: Tensor, unit: float) -> Tensor:
        return torch.clamp(unit * size, min=max(self.noise, torch.finfo(size.dtype).tiny))

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
        if self.weights is not None:
            object.__setattr__(self, "weights", tensor_of(self.weights, "weights"))
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
        return scaled(u, self.fidelity.factor(size, per_item(sigma, size)).to(u.real.dtype), d)

    def objective(self, z: Tensor, y: Tensor) -> Tensor:
        """Returns F(z), one float64 number a batch item, computed in the precision of z. For (P1) the penalty alone:
        see :meth:`violation`."""
        return self.penalty(z) + self.fidelity.value(norms(self.operator(z) - y, len(self.operator.out_shape)))

    def violation(self, z: Tensor, y: Tensor) -> Tensor:
        """Returns for (P1) :math:`\\max\\{0,\\|Az-y\\|_2-\\varepsilon\\}`, else 0."""
        return self.fidelity.violation(norms(self.operator(z) - y, len(self.operator.out_shape)))

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
        correction = self.operator.right_inverse(scaled(residual, share.to(residual.real.dtype), d))
        return z if correction is None else z - correction

    def value_at(self, z: Tensor, residual: Tensor, dual_size: Tensor) -> Tensor:
        """Returns F at :meth:`admissible`; where that does not fit the data, plus ``dual_size`` times the violation:
        with the norm of a feasible dual point this is at least its dual value."""
        if not isinstance(self.fidelity, Ball):
            return self.penalty(z) + self.fidelity.value(norms(residual, residual.ndim - 1))
        if self.operator.has_right_inverse:
            return self.penalty(self.admissible(z, residual))
        return self.penalty(z) + dual_size * self.fidelity.violation(norms(residual, residual.ndim - 1))

    def penalty(self, z: Tensor) -> Tensor:
        """:math:`\\lambda\\|z\\|_{l^1_w}`, one float64 number a batch item."""
        parts = [size.sum(dim=-1, dtype=torch.float64) for size in self._sizes(z, divide=False)]
        return self.lam * total(parts)

    def worst(self, q: Tensor, back: Tensor) -> Tensor:
        """:math:`\\max_i|(A^*q)_i|/(\\lambda w_i)` (float64), given A*q: at most 1 where q is feasible."""
        parts = [size.amax(dim=-1).to(torch.float64) for size in self._sizes(back, divide=True)]
        return torch.stack(parts).amax(dim=0) / self.lam

    def _sizes(self, z: Tensor, *, divide: bool) -> Iterator[Tensor]:
        """|z| w or |z| / w in pieces, shape (..., piece)."""
        d = len(self.operator.in_shape)
        sizes = map(torch.abs if derived(z) else modulus, pieces(z, d))
        if self.weights is None:
            yield from sizes
            return
        for piece, w in zip(sizes, pieces(self.weights.expand(self.operator.in_shape), d), strict=True):
            yield piece / w if divide else piece * w

    def bound(self, q: Tensor, back: Tensor, y: Tensor, count: Tensor | float = 1.0) -> tuple[Tensor, Tensor]:
        """Returns a lower bound of min F from any q, given A*q: the dual value of q / count made feasible, and the norm
        of that (float64), in the precision of q."""
        inner = -real_inner(y, q, len(self.operator.out_shape)) / count
        size = norms(q, len(self.operator.out_shape)) / count
        return self._bound(inner, size, self.worst(q, back) / count)

    def _bound(self, inner: Tensor, size: Tensor, worst: Tensor) -> tuple[Tensor, Tensor]:
        return dual_bound(self.fidelity, inner, torch.zeros_like(inner), size, worst)[:2]

    def feasible(self, q: Tensor, y: Tensor | None = None) -> Tensor:
        """Returns q, multiplied so that it is feasible: divided by :math:`\\max\\{1,\\|q\\|_2,\\max_i|(A^*q)_i|/
        (\\lambda w_i)\\}`, without the norm for (P1) and (P2); if y is given, the best of all feasible multiples."""
        d = len(self.operator.out_shape)
        multiple = self._multiple(norms(q, d), self.worst(q, self.operator.adjoint(q)), q, y)
        return scaled(q, multiple.to(q.real.dtype), d)

    def _multiple(self, size: Tensor, worst: Tensor, q: Tensor, y: Tensor | None) -> Tensor:
        """Returns the multiple that :meth:`feasible` takes of a q with this norm."""
        if y is None:
            most = worst.clamp(min=1).reciprocal()
            return self.fidelity.multiple(torch.full_like(most, torch.inf), size.clamp(min=1), most)
        inner = -real_inner(y, q, q.ndim - size.ndim)
        multiple = self.fidelity.multiple(inner, size, worst.reciprocal())
        return torch.where(torch.isfinite(multiple), multiple, 1.0)

    def dual_value(self, q: Tensor, y: Tensor) -> Tensor:
        """Returns :math:`-\\mathrm{Re}\\langle y,q\\rangle-\\varphi^*(\\|q\\|_2)`, one float64 number a batch item: at
        most min F if q is feasible."""
        d = len(self.operator.out_shape)
        return -real_inner(y, q, d) - self.fidelity.conjugate(norms(q, d))

    def dual_size(self, q: Tensor) -> Tensor:
        """Returns :math:`\\|q\\|_2` of a dual point as the loop has it."""
        return norms(q, len(self.operator.out_shape))

    def gap(self, z: Tensor, q: Tensor, y: Tensor) -> Tensor:
        """Returns an upper bound of :math:`F(z)-\\min F`, finite for every z and every q, up to its rounding: see
        :meth:`prove`."""
        return self.prove(z, q, y).gap

    def prove(self, z: Tensor, q: Tensor, y: Tensor) -> Proof:
        """Returns what the pair (z, q) proves, computed in double precision: objective, lower bound, gap, rounding.

        Args:
            z: Any point (..., \\*in_shape).
            q: Any dual point (..., \\*out_shape): its best feasible multiple is taken.
            y: Measurements, shape of q.
        """
        operator = self._sensing
        z, q, y = (tensor_of(t) for t in (z, q, y))
        batch = y.shape[: y.ndim - len(operator.out_shape)]
        compact = operator.compact()
        y, q = (compact.pack_measured(t.reshape(-1, *operator.out_shape)) for t in (y, q))
        found = self.compact().proof(z.reshape(-1, *operator.in_shape), q, y)
        return Proof(**{name: value.view(batch) for name, value in vars(found).items()})

    @torch.no_grad()
    def proof(self, z: Tensor, q: Tensor, y: Tensor) -> Proof:
        """Returns what a pair proves, see :meth:`prove`, of a compact problem.

        Every sum is bounded by its length and the norms that go into it; A and A* by
        :attr:`LinearOperator.rounding` and :meth:`LinearOperator.adjoint_roundings`.

        Args:
            z: Points as the user has them, not packed, shape (batch, \\*in_shape) of the operator.
            q: Packed dual points (batch, \\*out_shape).
            y: Packed measurements.
        """
        compact, own = self.operator, self._sensing
        assert isinstance(compact, Compact)
        unit = unit_roundoff(y.dtype)
        z, y = own.precisely(z), own.precisely(y)
        u, d = unit_roundoff(z.dtype), len(compact.out_shape)
        size, packed = blocked_norms(z, z.ndim - 1), compact.pack(z)
        del z  # of a volume each of these is much
        objective = self._proved_objective(packed, size, y, u, unit)
        del packed
        q = own.precisely(q)
        size = blocked_norms(q, d) * (1 + (sum_rounding(2 * math.prod(q.shape[1:])) + 4) * UNIT)
        slack = own.adjoint_roundings(compact.unpack_measured(q)).to(torch.float64) * u
        ratio = doubled(compact.adjoint(q)).abs().mul_(1 + 4 * UNIT)
        if slack.ndim > 1:
            slack = compact.pack(slack.to(own.precisely(q[:0]).dtype)).real
        ratio.add_(slack if slack.ndim > 1 else slack.view(-1, *(1,) * (ratio.ndim - 1)))
        if self.weights is not None:
            ratio.div_(self.weights)
        worst = ratio.flatten(1).amax(dim=1) / self.lam * (1 + 4 * UNIT)
        del ratio
        bound, dual_norm, error = dual_bound(self.fidelity, *inner_product(y, q, d), size, worst)
        return prove(*objective[:2], bound, error, dual_norm, *objective[2:])

    def _proved_objective(
        self, z: Tensor, size: Tensor, y: Tensor, u: float, unit: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Returns objective, a bound of its error, violation, what of it is rounding, and the unit of violations.

        Args:
            z: Packed points.
            size: Their norms, not packed.
            y: Packed measurements.
            u: The unit roundoff in which this is computed.
            unit: That of the data: a point of that precision can fit no better than to it.
        """
        d, own = y.ndim - 1, self._sensing
        penalty, penalty_error = self._proved_penalty(z, size, u)
        measured = self.operator(z)
        r, data = blocked_norms(measured - y, d), blocked_norms(y, d)
        error = u * (own.rounding * size + 6 * (blocked_norms(measured, d) + data))
        error = error + (sum_rounding(2 * math.prod(y.shape[1:])) + 4) * UNIT * r
        value = self.fidelity.value(r)
        objective_error = penalty_error + self.fidelity.error(r, error) + 2 * UNIT * (penalty + value)
        # What storing z and y in their precision costs already.
        fits = error + 4 * unit * (own.norm_bound.value * size + data)
        violation = self.fidelity.violation(r)
        return penalty + value, objective_error, violation, fits, self.fidelity.violation_unit(data, unit)

    def _proved_penalty(self, z: Tensor, size: Tensor, u: float) -> tuple[Tensor, Tensor]:
        """Returns the penalty and a bound of its error; z is exact here."""
        sizes = doubled(z).abs()
        sizes = (sizes if self.weights is None else sizes.mul_(self.weights)).flatten(1)
        penalty = self.lam * blocked_sum(sizes)
        return penalty, (sum_rounding(sizes.shape[1]) + 6) * UNIT * penalty

    def dual_of(self, q: Tensor, p: Tensor | None = None) -> Tensor:
        """A dual point as the loop has it, from a packed q."""
        return q

    def compact(self) -> SparseProblem:
        """Returns the same problem in the coordinates of :class:`firenet.operators.Compact`, for a loop."""
        if isinstance(self.operator, Compact):
            return self
        compact = self.operator.compact()
        if self.weights is None:
            return SparseProblem(compact, None, self.lam, self.fidelity)
        shape = self.operator.in_shape
        weights = compact.pack(self.weights.expand(shape)[None])[0]
        return SparseProblem(compact, weights, self.lam, self.fidelity)


def _soft_threshold(v: Tensor, threshold: Tensor) -> Tensor:
    """:math:`\\max(0,1-t/|v|)\\,v`, with derivative 0 (not NaN) where the result is 0."""
    if not v.is_complex():
        return v - torch.clamp(v, -threshold, threshold)
    # In units of the threshold, so that no scale of the data over- or underflows. max(|u|^2, 1) instead of |u|^2 gives
    # an exact zero below the threshold and a finite derivative at 0.
    inverse = threshold.clamp(min=torch.finfo(threshold.dtype).tiny).reciprocal()
    re, im = (torch.view_as_real(v.resolve_conj()) * inverse[..., None]).unbind(-1)
    return v * (1 - (re * re).addcmul(im, im).clamp(min=1).rsqrt())


def inner_product(y: Tensor, q: Tensor, trailing: int) -> tuple[Tensor, Tensor]:
    """Returns :math:`-\\mathrm{Re}\\langle y,q\\rangle` in float64, and a bound of its error."""
    size = blocked_norms(y, trailing) * blocked_norms(q, trailing)
    return -blocked_inner(y, q, trailing), (sum_rounding(2 * math.prod(y.shape[1:])) + 8) * UNIT * size
