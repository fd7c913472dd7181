"""The optimisation problem in analysis form.

.. math:: \\min_x\\ \\lambda\\sum_iw_i|(Wx)_i|+\\varphi(\\|Ax-y\\|_2)

The variable is the image x, and W is an analysis operator with more coefficients than pixels: undecimated wavelets, the
gradient, unions of them (:mod:`firenet.transforms`). The magnitudes are those of single coefficients; for a gradient
they are the norms of the gradient vectors. The dual is

.. math:: \\max\\{-\\mathrm{Re}\\langle y,q\\rangle-\\varphi^*(\\|q\\|_2):\\ |p_i|\\le\\lambda w_i,\\ A^*q+W^*p=0\\}.

The repair of a dual pair (:meth:`PairProblem._repaired`), which the iteration, the dual point that is returned, and the
proof use:

1. If W annihilates constants (total variation), remove from q its component along A1: the equation implies
   :math:`\\langle A1,q\\rangle=-\\langle W1,p\\rangle=0`.
2. Replace p by :math:`p-W(W^*W)^\\dagger b` with :math:`b=A^*q+W^*p`. Then the equation holds, since b is now
   orthogonal to the kernel of W, so :math:`W^*W(W^*W)^\\dagger b=b`.
3. Multiply (q, p) by a number, so that the bounds hold. The best such number maximises the dual value.

So every pair gives a feasible one, and the duality gap is finite at every point, as in the synthesis form.

The proof (:meth:`PairProblem.proof`) accounts for rounding. It computes the remainder :math:`s=A^*q+W^*p` after the
repair and a bound of the rounding error of s, and repairs again, up to three times in all, while the norm of s exceeds
twice that bound. An exact repair would change p once more by :math:`W(W^*W)^\\dagger s`, and each entry of this change
is at most the norm of a row of :math:`W(W^*W)^\\dagger` times the norm of s. That product is added to every
:math:`|p_i|` before step 3. No number is set to zero because it is small.

The iteration does not threshold the image; it has a second dual variable instead, see
:mod:`firenet.solver.analysis_kernel`. There (q, p) is one flat tensor.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from firenet.errors import BadInput
from firenet.numerics import (
    UNIT,
    blocked_norms,
    blocked_sum,
    derived,
    doubled,
    modulus,
    norms,
    real_inner,
    sum_rounding,
    tensor_of,
    unit_roundoff,
)
from firenet.operators.linear import LinearOperator
from firenet.problems.fidelity import Ball, Fidelity, Norm
from firenet.problems.gap import Proof, dual_bound, prove
from firenet.problems.pair import OperatorPair
from firenet.problems.penalty import check_lam, check_weights
from firenet.problems.problem import Problem, inner_product
from firenet.transforms.analysis_operator import AnalysisOperator
from firenet.transforms.engine import Engine


@dataclass(frozen=True, eq=False)
class PairProblem(Problem):
    """The analysis problem in the coordinates of :class:`.OperatorPair`, with flat dual variables."""

    operator: OperatorPair
    jumps: ClassVar[bool] = False
    _made: dict[tuple[int, torch.dtype, torch.device], tuple[Tensor, Tensor]] = field(default_factory=dict, repr=False)

    @property
    def dual_norm(self) -> float:
        # Of (q, p), where p is at most lambda w.
        return math.hypot(super().dual_norm, self.lam * self.weight_norm())

    @property
    def weighted_shape(self) -> tuple[int, ...]:
        return self.operator.sparsify.penalty_shape

    @property
    def balance(self) -> float:
        # The weight is not balanced by the distances that were moved: it would decrease further and further, since q
        # and p have different scales.
        return 0.04 if self.operator.is_isometry or isinstance(self.fidelity, Ball) else 0.3

    @property
    def growth(self) -> float:
        return 8.0 if self.operator.sparsify.is_tight else 1.0

    @property
    def measurement(self) -> LinearOperator:
        return self.operator.operator

    def engine(self, *tensors: Tensor, derivatives: bool = False) -> Engine | None:
        """Returns the compiled engine if it takes these tensors and the weights, see :meth:`.OperatorPair.engine`."""
        weights = [] if self.weights is None else [self.weights]
        return self.operator.engine(*tensors, *weights, derivatives=derivatives)

    def _limit(self, k: int) -> Tensor | float:
        """Returns :math:`\\lambda w` of a group, in a shape that broadcasts to its magnitudes (batch, 1,
        \\*band_shape).

        It is in double precision: weights rounded to single precision would define another problem.
        """
        w, pair = self.weights, self.operator
        if w is None:
            return self.lam
        if len(pair.groups) > 1 and w.ndim == len(pair.band_shape) + 1:
            w = w[k if len(w) > 1 else 0]
        elif w.ndim > len(pair.band_shape):
            w = w[0]
        return self.lam * w.to(torch.float64)

    def limits(self, k: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the limits :math:`\\lambda w` of a group and their inverses in the precision of ``like``; they are
        kept for later calls."""
        key = (k, like.dtype, like.device)
        found = self._made.get(key)
        if found is None:
            limit = torch.as_tensor(self._limit(k), dtype=torch.float64, device=like.device).to(like.real.dtype)
            found = limit, limit.reciprocal()
            if self.weights is None or not derived(self.weights):
                self._made[key] = found
        return found

    def every_limit(self) -> list[Tensor]:
        """Returns the limits of all groups in double precision."""
        return [torch.as_tensor(self._limit(k), dtype=torch.float64) for k in range(len(self.operator.groups))]

    def penalty(self, z: Tensor) -> Tensor:
        pair, total = self.operator, torch.zeros(len(z), dtype=torch.float64, device=z.device)
        engine = self.engine(z)
        if engine is not None:
            return engine.penalty(pair.to_space(z.clone()), self.every_limit())
        prepared = pair.prepare(z)
        for k, group in enumerate(pair.groups):
            limit = self._limit(k)
            sizes = _group_magnitudes(pair.band(group, prepared))
            part = (sizes * limit if isinstance(limit, Tensor) else sizes).flatten(1).sum(dim=1, dtype=torch.float64)
            total = total + (part if isinstance(limit, Tensor) else limit * part)
        return total

    def _repaired(self, p: Tensor, lifted: Tensor | None) -> Iterator[tuple[int, slice, Tensor]]:
        """Yields :math:`p-W'(W'^*W')^\\dagger b` group by group, with W' the W of these coordinates.

        Args:
            p: The second part of the dual points.
            lifted: :math:`(W'^*W')^\\dagger b`, from :meth:`.OperatorPair.lifted`; the result has its precision. None
                leaves p unchanged.
        """
        pair = self.operator
        prepared = None if lifted is None else pair.prepare(lifted)
        for k, group in enumerate(pair.groups):
            part = p[:, group]
            if prepared is not None:
                band = pair.band(group, prepared)
                part = part.to(band.dtype) - band
            yield k, group, part

    def _worst(self, p: Tensor, back: Tensor) -> Tensor:
        """Computes the largest :math:`|p_i|/(\\lambda w_i)` of the repaired p, given A*q + W*p."""
        p, back = self._precisely(p, back)
        engine = self.engine(p, back)
        if engine is not None:
            image = self.operator.to_space(self.operator.lifted(back))
            return engine.worst(p, image, [limit.reciprocal() for limit in self.every_limit()])
        largest = torch.zeros(len(p), dtype=torch.float64, device=p.device)
        for k, _, part in self._repaired(p, self.operator.lifted(back)):
            sizes = _group_magnitudes(part) / self._limit(k)
            largest = torch.maximum(largest, sizes.flatten(1).amax(dim=1).to(torch.float64))
        return largest

    def bound(self, q: Tensor, back: Tensor, y: Tensor, count: Tensor | float = 1.0) -> tuple[Tensor, Tensor]:
        first, p = self.operator.split(q)
        first, back = self.operator.without_constant(first, back)
        inner = -real_inner(y, first, 1) / count
        return self._bound(inner, norms(first, 1) / count, self._worst(p, back) / count)

    def feasible(self, q: Tensor, y: Tensor | None = None) -> Tensor:
        pair = self.operator
        back = pair.adjoint(q)
        first, p = pair.split(q)
        first, back = pair.without_constant(first, back)
        scale = self._multiple(norms(first, 1), self._worst(p, back), first, y).to(q.real.dtype)
        p, back = self._precisely(p, back)
        repaired = [part.flatten(1).to(q.dtype) for _, _, part in self._repaired(p, pair.lifted(back))]
        return torch.cat([first, *repaired], dim=1) * scale.view(-1, 1)

    @torch.no_grad()
    def proof(self, z: Tensor, q: Tensor, y: Tensor) -> Proof:
        """Computes the proof as :meth:`SynthesisProblem.proof` does, for images z and flat dual variables.

        The docstring of :mod:`firenet.problems.analysis` describes the proof. If a component of q along A1 remains, a
        bound of its norm is added to the remainder of the equation, and its product with :math:`\\|y\\|_2` to the error
        of the dual value.
        """
        pair, own = self.operator, self.measurement
        unit = unit_roundoff(y.dtype)
        first, p = pair.split(q)
        x, first, y = own.precisely(z), own.precisely(first), doubled(y)
        u, double = unit_roundoff(x.dtype), own.precisely(p[:, :0]).dtype
        parts = self._proved_objective(pair.pack(x), blocked_norms(x, x.ndim - 1), y, u, unit)
        first, off = pair.orthogonalised(first)
        worst, cost, left = self._remainder(first, p, u, double)
        left = left + off  # A has at most norm one in these coordinates
        worst = (worst + cost * left) * (1 + 4 * UNIT)
        inner, inner_error = inner_product(y, first, 1)
        inner_error = inner_error + torch.where(off > 0, blocked_norms(y, 1) * off, 0.0)
        size = blocked_norms(first, 1) * (1 + (sum_rounding(2 * first.shape[1]) + 4) * UNIT) + off
        bound, dual_norm, error = dual_bound(self.fidelity, inner, inner_error, size, worst)
        return prove(*parts[:2], bound, error, dual_norm, *parts[2:])

    def _remainder(self, q: Tensor, p: Tensor, u: float, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
        """Repairs a pair, in at most three sweeps, and measures the remainder of the equation.

        Returns:
            Three numbers, in arithmetic of unit roundoff u: the largest ratio :math:`|p_i|/(\\lambda w_i)` of the
            repaired pair, a bound of what a remainder of norm one adds to this ratio, and a bound of the remainder's
            norm.
        """
        pair = self.operator
        of_q, of_p = pair.adjoint_roundings()
        size = blocked_norms(q, 1)
        lifted: Tensor | None = None
        sweep = 0
        while True:
            total = pair.start(q.new_zeros(len(q), 1), None)
            error, worst, cost = of_q * u * size, torch.zeros_like(size), torch.zeros_like(size)
            for k, group, part in self._repaired(p, lifted):
                part = part.to(dtype)
                total = pair.collect(group, part, total)
                error = error + float(of_p[k]) * u * blocked_norms(part, part.ndim - 1)
                if lifted is not None:
                    limit = torch.as_tensor(self._limit(k), dtype=torch.float64, device=part.device)
                    ratio = (_group_magnitudes(part).to(torch.float64) / limit).flatten(1).amax(dim=1)
                    worst = torch.maximum(worst, ratio * (1 + 8 * UNIT))
                    cost = torch.maximum(cost, float(pair.rows()[k]) / limit.min())
            back = pair.finish(total, q)
            left = blocked_norms(back, back.ndim - 1)
            if sweep == 3 or (sweep and bool((left <= 2 * error).all())):
                return worst, cost, (left + error) * (1 + 1e-9)
            more = pair.lifted(doubled(back) if torch.finfo(dtype).bits == 64 else back)
            lifted, sweep = more if lifted is None else lifted + more, sweep + 1

    def _precisely(self, p: Tensor, back: Tensor) -> tuple[Tensor, Tensor]:
        """Converts to double precision if W*W is not the identity: the condition of a Laplacian grows with the
        image."""
        return (p, back) if self.operator.sparsify.is_tight else (doubled(p), doubled(back))

    def _proved_penalty(self, z: Tensor, size: Tensor, u: float) -> tuple[Tensor, Tensor]:
        pair = self.operator
        penalty = error = torch.zeros(len(z), dtype=torch.float64, device=z.device)
        prepared, roundings = pair.prepare(z), pair.forward_roundings()
        for k, group in enumerate(pair.groups):
            limit = torch.as_tensor(self._limit(k), dtype=torch.float64, device=z.device)
            sizes = _group_magnitudes(pair.band(group, prepared)).to(torch.float64)
            part = blocked_sum((sizes * limit).flatten(1))
            penalty = penalty + part
            weight = torch.linalg.vector_norm(limit.expand(sizes.shape[1:])) * (1 + 1e-9)
            error = error + weight * float(roundings[k]) * u * size
            error = error + (sum_rounding(math.prod(sizes.shape[1:])) + 16 + len(pair.groups)) * UNIT * part
        return penalty, error

    def dual_of(self, q: Tensor, p: Tensor | None = None) -> Tensor:
        pair = self.operator
        if p is None:
            return torch.cat([q, q.new_zeros(len(q), pair.bands * math.prod(pair.band_shape))], dim=1)
        return torch.cat([q, p.flatten(1) / pair.unit], dim=1)

    def dual_size(self, q: Tensor) -> Tensor:
        return norms(q[:, : self.operator.measured], 1)

    def duals(self, dual: Tensor, batch: torch.Size) -> tuple[Tensor, Tensor]:
        pair = self.operator
        q, p = pair.split(dual)
        q = pair.unpack_measured(q).view(*batch, *self.measurement.out_shape)
        return q, pair.unit * p.reshape(*batch, *pair.sparsify.out_shape)


def _group_magnitudes(p: Tensor) -> Tensor:
    """Computes the 2-norm over the bands of a group (axis 1), which is kept with length 1."""
    sizes = modulus(p)
    return sizes if p.shape[1] == 1 else torch.linalg.vector_norm(sizes, dim=1, keepdim=True)


@dataclass(frozen=True, eq=False)
class AnalysisProblem:
    """The problem in analysis form; :mod:`firenet.problems.analysis` has its dual.

    .. math:: \\min_x F(x),\\qquad F(x)=\\lambda\\sum_iw_i|(Wx)_i|+\\varphi(\\|Ax-y\\|_2).

    Attributes:
        operator: A.
        sparsify: W.
        weights: Positive weights that broadcast to ``sparsify.penalty_shape``; None is all ones. The weight of the
            approximation, the low-pass band, must be positive, too: dual points could not be made feasible without it.
        lam: :math:`\\lambda>0`. For (P1) it only scales the objective.
        fidelity: As in :class:`.synthesis.SynthesisProblem`.
    """

    operator: LinearOperator
    sparsify: AnalysisOperator
    weights: Tensor | None
    lam: float
    fidelity: Fidelity = Norm()  # noqa: RUF009  (it has no state)

    def __post_init__(self) -> None:
        if self.operator.in_shape != self.sparsify.in_shape:
            needed = f"An operator sparsify for images of shape {self.operator.in_shape}"
            raise BadInput(needed, f"one for {self.sparsify.in_shape}", "Make both for the same image shape")
        check_lam(self.lam)
        if self.weights is not None:
            object.__setattr__(self, "weights", tensor_of(self.weights, "weights"))
        check_weights(self.weights, self.sparsify.penalty_shape)

    def compact(self) -> PairProblem:
        """Returns the same problem in the coordinates of an iteration."""
        pair = OperatorPair(self.operator, self.sparsify)
        return PairProblem(pair, self.weights, self.lam / pair.unit, self.fidelity)

    def _penalty(self, x: Tensor) -> Tensor:
        sizes = self.sparsify.magnitudes(self.sparsify(x)).to(torch.float64)
        sizes = sizes if self.weights is None else sizes * self.weights
        return self.lam * sizes.flatten(-len(self.sparsify.penalty_shape)).sum(dim=-1)

    def objective(self, x: Tensor, y: Tensor) -> Tensor:
        """Computes F(x) for images (..., \\*in_shape), one float64 number per batch item, in the precision of x; for
        (P1) the penalty alone."""
        return self._penalty(x) + self.fidelity.value(norms(self.operator(x) - y, len(self.operator.out_shape)))

    def violation(self, x: Tensor, y: Tensor) -> Tensor:
        """Computes for (P1) the constraint violation :math:`\\max\\{0,\\|Ax-y\\|_2-\\varepsilon\\}`; for (P2) and (P3)
        returns 0."""
        return self.fidelity.violation(norms(self.operator(x) - y, len(self.operator.out_shape)))

    def feasible(self, q: Tensor, p: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Returns a feasible pair: the repaired pair divided by the smallest number, at least 1, that makes it
        feasible, or, if y is given, its feasible multiple with the largest dual value, if that is positive. The
        docstring of :mod:`firenet.problems.analysis` describes the repair."""
        packed = self.compact()
        batch = q.shape[: q.ndim - len(self.operator.out_shape)]
        return packed.duals(packed.feasible(self._flat(packed, q, p), self._packed(packed, y)), batch)

    def gap(self, x: Tensor, q: Tensor, p: Tensor, y: Tensor) -> Tensor:
        """Computes an upper bound of :math:`F(x)-\\min F` up to rounding, finite for every x and every pair (q, p): see
        :meth:`prove`."""
        return self.prove(x, q, p, y).gap

    def prove(self, x: Tensor, q: Tensor, p: Tensor, y: Tensor) -> Proof:
        """Computes the objective, lower bound, gap and rounding error of (x, q, p) in double precision.

        Args:
            x: Any image (..., \\*in_shape).
            q: Any dual point (..., \\*out_shape).
            p: Its second part (..., \\*coefficients); the pair is replaced by a feasible one.
            y: Measurements, shape of q.
        """
        packed, d = self.compact(), len(self.operator.out_shape)
        x, q, p, y = (tensor_of(t) for t in (x, q, p, y))
        flat = self._flat(packed, q, p)
        found = packed.proof(x.reshape(-1, *self.operator.in_shape), flat, self._packed(packed, y))
        return Proof(**found.shaped(y.shape[: y.ndim - d]))

    def _flat(self, packed: PairProblem, q: Tensor, p: Tensor) -> Tensor:
        dtype = torch.promote_types(q.dtype, p.dtype)
        q = packed.operator.pack_measured(q.to(dtype).reshape(-1, *self.operator.out_shape))
        return packed.dual_of(q, p.to(dtype).reshape(-1, *self.sparsify.out_shape))

    def _packed(self, packed: PairProblem, y: Tensor | None) -> Any:
        return None if y is None else packed.operator.pack_measured(y.reshape(-1, *self.operator.out_shape))
