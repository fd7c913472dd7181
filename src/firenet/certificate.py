"""A posteriori: how far any point is from optimal, whoever computed it.

Weak duality needs nothing but the problem: :math:`F(z)-\\min F\\le F(z)-d` for the value d of every feasible dual
point. What costs something is to find a good dual point; :func:`certify` runs the primal-dual iteration for it, and
stops when no dual point whatever could make the gap much smaller. It has never seen a network.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from firenet.errors import BadInput, NumericalError
from firenet.guarantee import Guarantee
from firenet.numerics import full_precision, norms, real_view, tensor_of
from firenet.operators.check import conditions
from firenet.operators.linear import LinearOperator
from firenet.problems.analysis import AnalysisProblem
from firenet.problems.fidelity import Ball, Fidelity, Squared
from firenet.problems.gap import Proof
from firenet.problems.problem import Problem
from firenet.problems.synthesis import SynthesisProblem
from firenet.solver.adaptive import AdaptiveController, AdaptiveRestarts
from firenet.solver.adaptive_loop import run_adaptive
from firenet.solver.iteration import Iteration, kernel_for
from firenet.solver.solution import Progress

# The refinement stops when the gap is at most so many times what is known to be suboptimal about the point.
_TIGHT = 1.05


@dataclass(frozen=True, eq=False)
class Certificate:
    """What is proved about a point z; float64 tensors, one number a batch item.

    Attributes:
        objective: F(z), computed in double precision.
        lower_bound: At most min F.
        gap: The objective minus the lower bound, for (P1) plus :math:`\\|q\\|_2` times the violation: an upper bound of
            F(z) - min F up to ``rounding``.
        rounding: A bound of the rounding error in the gap.
        relative_gap: The gap over the lower bound: 1e-3 says that F(z) is at most 0.1 % above the minimum. Infinite
            where the lower bound is zero; zero where F(z) is at most its own rounding.
        violation: For (P1) how far z is from fitting the data. Else zero.
        relative_violation: What of it exceeds rounding, over :math:`\\max(\\varepsilon,u\\|y\\|_2)`.
        tightness: The gap is at most so many times F(z) - min F: a better point is known. Infinite where none is.
        error_bound: A bound of :math:`\\|z-x\\|_2` for the true coefficients x, or None where nothing was assumed. A
            negative number refutes the assumptions.
        assumptions: What the error bound rests on, in words.
        conditions: What the gap rests on beside arithmetic: empty for operators of this library, for others the adjoint
            and the rounding of theirs, with the measured defect.
        dual: The feasible dual point with this value, shape of y, up to the rounding of its dtype.
        layers: Iteration that were run to find it, int64.
        dual_sparse: Of an analysis problem, the part p of the dual point; else None.
    """

    objective: Tensor
    lower_bound: Tensor
    gap: Tensor
    rounding: Tensor
    relative_gap: Tensor
    violation: Tensor
    relative_violation: Tensor
    tightness: Tensor
    error_bound: Tensor | None
    assumptions: tuple[str, ...]
    conditions: tuple[str, ...]
    dual: Tensor
    layers: Tensor
    dual_sparse: Tensor | None = None

    @property
    def kind(self) -> Literal["unconditional", "conditional"]:
        """``unconditional``, or ``conditional`` on what ``conditions`` and ``assumptions`` say."""
        return "conditional" if self.conditions or self.assumptions else "unconditional"


class _Witness(AdaptiveController):
    """Is content when the gap of a given value can hardly become smaller."""

    def __init__(self, rules: AdaptiveRestarts, norm: float, size: float, value: float) -> None:
        super().__init__(rules, norm, size)
        self._value = value
        self.tolerance = math.inf  # only dual points are looked for

    def converged(self, objective: float, bound: float) -> bool:
        return self._value - bound <= _TIGHT * (self._value - objective)


def certify(
    problem: SynthesisProblem | AnalysisProblem,
    z: Tensor | ArrayLike,
    y: Tensor | ArrayLike,
    *,
    dual: Tensor | None = None,
    dual_sparse: Tensor | None = None,
    budget: int = 500,
    guarantee: Guarantee | None = None,
    sparsity_defect: float | None = None,
    noise: float | None = None,
    progress: Progress | None = None,
) -> Certificate:
    """Certifies any reconstruction from any source.

    The dual point is the best of: the given one; the scaled residual :math:`(Az-y)/\\|Az-y\\|_2`, for (P3) optimal at
    the optimum; and those of a primal-dual iteration with :class:`AdaptiveRestarts`, started at z. The iteration also
    finds points with a lower objective p; it stops when :math:`F(z)-d\\le1.05\\,(F(z)-p)`, for then the gap is at most
    1.05 times the suboptimality, or after ``budget`` layers.

    Args:
        problem: F.
        z: The problem's own variable (..., \\*in_shape): coefficients, or of an analysis problem the image.
        y: Measurements (..., \\*out_shape), with the batch axes of z.
        dual: A dual point to begin with, shape of y, feasible or not.
        dual_sparse: Of an analysis problem, its part p.
        budget: The most layers; 0 refines nothing.
        guarantee: The constants of the null space property, for an error bound with both of the following.
        sparsity_defect: Assumed at least :math:`\\sigma_{s,M}(x)_{l^1_w}` of the true coefficients.
        noise: Assumed at least :math:`\\|Ax-y\\|_2`.
        progress: Called now and then with the layers done and the budget.

    Raises:
        BadInput: For shapes that do not fit, NaN or infinity, a negative budget, half of the assumptions, or an
            operator from outside whose adjoint fails :func:`firenet.check_adjoint`.
        NumericalError: For a gap below minus its rounding, which proves that the adjoint is not the adjoint.
    """
    with torch.no_grad(), full_precision():
        return _certified(
            problem,
            tensor_of(z, "the point"),
            tensor_of(y, "measurements"),
            dual,
            dual_sparse,
            budget,
            guarantee,
            sparsity_defect,
            noise,
            progress,
        )


def _certified(
    problem: SynthesisProblem | AnalysisProblem,
    z: Tensor,
    y: Tensor,
    dual: Tensor | None,
    dual_sparse: Tensor | None,
    budget: int,
    guarantee: Guarantee | None,
    sparsity_defect: float | None,
    noise: float | None,
    progress: Progress | None,
) -> Certificate:
    operator = problem.operator
    assert isinstance(operator, LinearOperator)
    rests_on = conditions(operator, problem.sparsify if isinstance(problem, AnalysisProblem) else None)
    z, y, batch = _checked(operator, z, y)
    if budget < 0:
        raise BadInput("A budget of layers, zero or more", f"{budget}", "500 is the default")
    if (guarantee is None, sparsity_defect is None, noise is None) not in ((True,) * 3, (False,) * 3):
        given = [
            n
            for n, v in (("guarantee", guarantee), ("sparsity_defect", sparsity_defect), ("noise", noise))
            if v is not None
        ]
        raise BadInput("guarantee, sparsity_defect and noise together", f"only {', '.join(given)}", "Pass all or none")
    if guarantee is not None and isinstance(problem, AnalysisProblem):
        do = "Certify without a guarantee: the gap needs none"
        raise BadInput("A synthesis problem for an error bound", "an analysis problem", do)
    packed: Problem = problem.compact()
    compact: Any = packed.operator
    y_ = compact.pack_measured(y.reshape(-1, *operator.out_shape))
    z_ = compact.pack(z.reshape(-1, *operator.in_shape))
    residual = compact(z_) - y_
    remains = norms(residual, y_.ndim - 1)
    plain = z.reshape(-1, *operator.in_shape)
    candidates = [packed.dual_of(_guess(packed.fidelity, residual, remains))]
    start = None
    if dual_sparse is not None and dual is None:
        raise BadInput("dual beside dual_sparse", "dual_sparse alone", "A dual point is the pair of them")
    if dual is not None:
        if dual.shape != y.shape or not torch.isfinite(real_view(dual)).all():
            raise BadInput(f"A finite dual point of shape {tuple(y.shape)}", f"shape {tuple(dual.shape)}", "That of y")
        p = None
        if dual_sparse is not None:
            if not isinstance(problem, AnalysisProblem):
                raise BadInput("An analysis problem with dual_sparse", "a synthesis problem", "Leave dual_sparse out")
            coefficients = problem.sparsify.out_shape
            if dual_sparse.shape != (*batch, *coefficients) or not torch.isfinite(real_view(dual_sparse)).all():
                needed, got = f"A finite dual_sparse of shape {(*batch, *coefficients)}", f"{tuple(dual_sparse.shape)}"
                raise BadInput(needed, got, "That of the sparsify's coefficients")
            p = dual_sparse.to(z.dtype).reshape(-1, *coefficients)
        q = compact.pack_measured(dual.to(y.dtype).reshape(-1, *operator.out_shape))
        candidates.append(packed.dual_of(q, p))
        start = packed.feasible(candidates[-1], y_)
    proof = packed.proof(plain, candidates[0], y_)
    best = candidates[0]
    objective = proof.objective
    lowest, layers = objective, torch.zeros_like(objective, dtype=torch.int64)
    if budget and objective.numel():
        q, lowest, layers = _refined(packed, z_, y_, objective, start, budget, progress)
        candidates.append(q)
    for q in candidates[1:]:
        best, proof = _better(packed, plain, y_, best, proof, q)
    if bool(proof.contradiction.any()):
        least = (objective - proof.lower_bound).min().item()
        got = f"one {abs(least):.3g} below it: the adjoint is not the adjoint of A, or its rounding is underestimated"
        raise NumericalError("A gap that is not negative beyond its rounding", got, "Run firenet.check_adjoint(A)")
    best = packed.feasible(best, y_)
    flat, (best, sparse) = best, packed.duals(best, batch)
    # The objective of what does not fit may be below the minimum.
    known = torch.where(proof.relative_violation == 0, objective - torch.minimum(lowest, objective), 0.0)
    tightness = torch.where(known > 0, proof.gap / known.where(known > 0, torch.ones_like(known)), torch.inf)
    error, assumptions = None, ()
    if guarantee is not None and sparsity_defect is not None and noise is not None:
        slack = _slack(packed, proof, remains, flat, noise) / packed.lam
        pairs = zip(slack.tolist(), remains.tolist(), strict=True)
        errors = [guarantee.error_from(d, r, sparsity_defect=sparsity_defect, noise=noise) for d, r in pairs]
        error = torch.tensor(errors, dtype=torch.float64, device=proof.gap.device).view(batch)
        assumptions = (
            f"the sensing matrix has the weighted robust null space property in levels, rho = {guarantee.rho:g}, "
            f"gamma = {guarantee.gamma:g}",
            f"the true coefficients are within {sparsity_defect:g} of sparse in levels (weighted l1)",
            f"they explain the measurements up to {noise:g} (l2)",
        )
    return Certificate(
        objective=proof.objective.view(batch),
        lower_bound=proof.lower_bound.view(batch),
        gap=proof.gap.view(batch),
        rounding=proof.rounding.view(batch),
        relative_gap=proof.relative_gap.view(batch),
        violation=proof.violation.view(batch),
        relative_violation=proof.relative_violation.view(batch),
        tightness=tightness.view(batch),
        error_bound=error,
        assumptions=assumptions,
        conditions=rests_on,
        dual=best,
        layers=layers.view(batch),
        dual_sparse=sparse,
    )


def _checked(operator: LinearOperator, z: Tensor, y: Tensor) -> tuple[Tensor, Tensor, torch.Size]:
    """Z and y in one dtype, what was not measured set to zero, and their batch axes."""
    batch = y.shape[: max(y.ndim - len(operator.out_shape), 0)]
    if y.shape != (*batch, *operator.out_shape) or z.shape != (*batch, *operator.in_shape):
        needed = (
            f"z of shape (..., {operator.in_shape}) and y of shape (..., {operator.out_shape}), the same batch axes"
        )
        do = "The variable is the coefficients, sparsify(image) for an image; of an analysis problem the image"
        raise BadInput(needed, f"{tuple(z.shape)} and {tuple(y.shape)}", do)
    if not (torch.isfinite(real_view(z)).all() and torch.isfinite(real_view(y)).all()):
        raise BadInput("A finite point and finite measurements", "NaN or infinity", "Check where they come from")
    dtype = operator.state_dtype(torch.promote_types(y.dtype, torch.float32))
    if z.is_complex() and not dtype.is_complex:
        raise BadInput("A real point for a real problem", f"{z.dtype}", "Pass its real part")
    return z.to(dtype), operator.restrict(y.to(torch.promote_types(y.dtype, dtype))), batch


def _guess(fidelity: Fidelity, residual: Tensor, size: Tensor) -> Tensor:
    """The dual point that belongs to a residual: its direction, or for (P2) twice itself."""
    if isinstance(fidelity, Squared):
        return 2 * residual
    size = size.clamp(min=torch.finfo(torch.float64).tiny).to(residual.real.dtype)
    return residual / size.view(-1, *(1,) * (residual.ndim - 1))


def _slack(problem: Problem, proof: Proof, remains: Tensor, dual: Tensor, noise: float) -> Tensor:
    """Lambda times the Delta of the error bound: at least :math:`\\lambda(\\|z\\|-\\|x\\|)` in the weighted l1 norms,
    for every x that explains the data up to ``noise``. By weak duality
    :math:`\\lambda\\|x\\|\\ge-\\mathrm{Re}\\langle y,q\\rangle-\\|q\\|\\,\\|Ax-y\\|`."""
    fidelity, objective, bound = problem.fidelity, proof.objective, proof.lower_bound - proof.rounding
    if isinstance(fidelity, Ball):
        size = problem.dual_size(dual)
        return objective - (bound + fidelity.noise * size) + noise * size
    e = torch.full_like(remains, noise)
    return objective - bound - fidelity.value(remains) + fidelity.value(e)


def _better(problem: Problem, z: Tensor, y: Tensor, best: Tensor, proof: Proof, q: Tensor) -> tuple[Tensor, Proof]:
    """The dual point with the higher lower bound, and what it proves."""
    other = problem.proof(z, q, y)
    higher = (other.lower_bound > proof.lower_bound) | other.contradiction
    parts = {name: torch.where(higher, getattr(other, name), value) for name, value in vars(proof).items()}
    return torch.where(higher.view(-1, *(1,) * (q.ndim - 1)), q, best), Proof(**parts)


def _refined(
    problem: Problem,
    z: Tensor,
    y: Tensor,
    objective: Tensor,
    dual: Tensor | None,
    budget: int,
    progress: Progress | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Dual points from the iteration, the lowest objectives it met, and its layers."""
    layers = Iteration(kernel_for(problem), y, z, z.dtype, track=True)
    if dual is not None:
        layers.place_dual(dual)
    rules = AdaptiveRestarts(tolerance=1e-15, max_layers=budget)
    norm = layers.operator.norm_bound
    sizes = (problem.first_weight * norms(y, y.ndim - 1)).tolist()
    controllers = [
        _Witness(rules, norm.value or 1.0, size, value) for size, value in zip(sizes, objective.tolist(), strict=True)
    ]
    found = run_adaptive(layers, list(controllers), budget, progress)
    q = torch.stack([f.dual for f in found])
    # Only what fits the data, up to rounding, says how low an objective can be.
    proofs = [f.proof for f in found]
    lowest = [p.objective.item() if p.relative_violation.item() == 0 else math.inf for p in proofs]
    lowest = torch.tensor(lowest, dtype=torch.float64, device=y.device)
    count = torch.tensor([f.layers for f in found], dtype=torch.int64, device=y.device)
    return q, lowest.nan_to_num(nan=torch.inf), count
