"""A posteriori certificates: an upper bound of the suboptimality of any point, computed by any method.

Weak duality depends on the problem alone: :math:`F(z)-\\min F\\le F(z)-d` for the value d of every feasible dual
point. To find a good dual point :func:`certify` runs the primal-dual iteration, which stops when no dual point can make
the gap much smaller. A network is not needed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from firenet.errors import BadInput, NumericalError
from firenet.guarantees.distance import Stability, stability
from firenet.guarantees.guarantee import Guarantee
from firenet.kinds import Kind
from firenet.numerics import full_precision, norms, real_view, tensor_of, unit_roundoff
from firenet.operators.check import conditions
from firenet.operators.linear import LinearOperator
from firenet.problems.analysis import AnalysisProblem
from firenet.problems.fidelity import Ball, Fidelity, Norm, Squared
from firenet.problems.gap import Proof
from firenet.problems.problem import Problem
from firenet.problems.synthesis import SynthesisProblem
from firenet.solver.adaptive import AdaptiveController, AdaptiveRestarts
from firenet.solver.adaptive_loop import run_adaptive
from firenet.solver.controller import Controller
from firenet.solver.iteration import Iteration, kernel_for
from firenet.solver.solution import Certified, Progress
from firenet.verified.maps import map_of
from firenet.verified.proof import Verified, verify

_Assumed = tuple[Guarantee | None, float | None, float | None]
# What a guarantee is for: a bound of the error, or of the distance to other reconstructions.
_PAIRS = (("sparsity_defect", "noise"), ("perturbation", "promised_gap"))
# The refinement stops when the gap is at most this many times the suboptimality of the point that is known.
_TIGHT = 1.05


@dataclass(frozen=True, eq=False, kw_only=True)
class Certificate(Certified):
    """The certificate of a point z, the numbers of :class:`.Certified`; one entry per batch item.

    Attributes:
        tightness: An upper bound of the ratio of the gap to F(z) - min F: the gap divided by F(z) - F(b), where b is
            the best point known. Infinite if no point better than z is known.
        error_bound: A bound of :math:`\\|z-x\\|_2` for the true coefficients x, or None without assumptions. A negative
            number refutes the assumptions.
        assumptions: The assumptions of the error bound, as texts.
        stability: Bounds of the distance from z to the reconstructions of perturbed measurements, one for each batch
            item in order; None without a guarantee and a perturbation.
        verified: The verified numbers, one for each batch item in order; None if they were not asked for. With them
            ``objective`` and ``violation`` are upper bounds in exact arithmetic, ``lower_bound``, ``gap`` and
            ``relative_gap`` bounds in exact arithmetic, and ``rounding`` is zero.
    """

    tightness: Tensor
    error_bound: Tensor | None
    assumptions: tuple[str, ...]
    stability: tuple[Stability, ...] | None = None
    verified: tuple[Verified, ...] | None = None

    @property
    def kind(self) -> Kind:
        """How sure the numbers are: ``verified`` if that was asked for, ``conditional`` if there are ``conditions`` or
        ``assumptions``, else ``proven``."""
        if self.verified is not None:
            return "verified"
        return "conditional" if self.conditions or self.assumptions else "proven"


class _Witness(AdaptiveController):
    """A step-size controller that has converged when the gap of a given objective can hardly become smaller."""

    def __init__(self, rules: AdaptiveRestarts, norm: float, size: float, value: float) -> None:
        super().__init__(rules, norm, size)
        self._value = value
        self.tolerance = math.inf  # the points need not fit the data, since only dual points are used

    def converged(self, objective: float, bound: float) -> bool:
        return self._value - bound <= _TIGHT * (self._value - objective)


@torch.no_grad()
@full_precision()
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
    perturbation: float | None = None,
    promised_gap: float | None = None,
    verified: bool = False,
    progress: Progress | None = None,
) -> Certificate:
    """Certifies a reconstruction by any method: computes an upper bound of its suboptimality.

    The dual point is the best of these: the given one; a multiple of the residual :math:`Az-y`, which in the synthesis
    form is optimal if z is, unless :math:`Az=y`; and those of a primal-dual iteration with :class:`AdaptiveRestarts`,
    started at z. The iteration also finds points b with a lower objective; it stops when
    :math:`F(z)-d\\le1.05\\,(F(z)-F(b))`, for then the gap is at most 1.05 times the suboptimality, or after ``budget``
    iterations.

    Args:
        problem: The problem with objective F.
        z: The variable of the problem (..., \\*in_shape): coefficients, or the image for an analysis problem.
        y: Measurements (..., \\*out_shape), with the batch axes of z.
        dual: A dual point to begin with, shape of y, feasible or not.
        dual_sparse: For an analysis problem, the part p of this dual point.
        budget: The largest number of iterations; 0 for none.
        guarantee: The guarantee of the problem's operator, for an error bound (with ``sparsity_defect`` and ``noise``),
            for bounds of the distance to other reconstructions (with ``perturbation`` and ``promised_gap``), or both.
        sparsity_defect: An assumed upper bound of :math:`\\sigma_{s,M}(x)_{l^1_w}` of the true coefficients.
        noise: An assumed upper bound of :math:`\\|Ax-y\\|_2`.
        perturbation: A bound of the 2-norm of the change of y, in the unit of y: the budget of
            :func:`.distance.stability`, whose bounds are for (P3) alone.
        promised_gap: The largest gap that a reconstruction of the changed measurements may have, in the unit of y.
        verified: Whether objective, lower bound and gap are to hold in exact arithmetic, for the problem as it is
            stored, with every rounding counted; see :func:`firenet.verified.verify`. A problem with a dense matrix
            needs the extra ``verified``.
        progress: Called from time to time with the number of iterations, the budget, and the largest relative gap of
            the iteration's own points.

    Raises:
        BadInput: For wrong shapes, NaN or infinity, a negative budget, some of the assumptions without the others, or a
            user-defined operator whose adjoint fails :func:`firenet.check_adjoint`; with ``verified`` for every
            user-defined operator, and for a guarantee.
        NumericalError: For a gap below minus its rounding: the operator's adjoint is wrong, or its rounding is larger
            than is assumed.
    """
    z, y, assumed = tensor_of(z, "the point"), tensor_of(y, "measurements"), (guarantee, sparsity_defect, noise)
    changed = (perturbation, promised_gap)
    operator = problem.operator
    assert isinstance(operator, LinearOperator)
    rests_on = conditions(operator, problem.sparsify if isinstance(problem, AnalysisProblem) else None)
    asked = z
    if verified:
        _check_verified(problem, guarantee)
    z, y, batch = _checked(operator, z, y)
    if budget < 0:
        raise BadInput("A budget of iterations, zero or more", f"{budget}", "500 is the default")
    _check_assumed(problem, guarantee, (sparsity_defect, noise), changed)
    packed: Problem = problem.compact()
    compact: Any = packed.operator
    y_ = compact.pack_measured(y.reshape(-1, *operator.out_shape))
    plain = z.reshape(-1, *operator.in_shape)
    z_ = compact.pack(plain)
    residual = compact(z_) - y_
    remains = norms(residual, y_.ndim - 1)
    best, start = packed.dual_of(_guess(packed.fidelity, residual, remains)), None
    candidates: list[Tensor] = []
    if dual is not None or dual_sparse is not None:
        candidates.append(_given_dual(problem, packed, z, y, dual, dual_sparse))
        start = packed.feasible(candidates[0], y_)
    proof = packed.proof(plain, best, y_)
    objective = proof.objective
    lowest, layers = objective, torch.zeros_like(objective, dtype=torch.int64)
    if budget and objective.numel():
        q, lowest, layers = _refined(packed, z_, y_, objective, start, budget, progress)
        candidates.append(q)
    for q in candidates:
        best, proof = _better(packed, plain, y_, best, proof, q)
    if bool(proof.contradiction.any()):
        got = "a smaller one: the adjoint is not the adjoint of A, or its rounding is underestimated"
        raise NumericalError("A gap of at least minus its rounding error", got, "Run firenet.check_adjoint(A)")
    best = packed.feasible(best, y_)
    # The objective of a point that does not fit the data may be below the minimum.
    known = torch.where(proof.relative_violation == 0, objective - torch.minimum(lowest, objective), 0.0)
    error, assumptions = _error_bound(packed, proof, remains, best, assumed)
    q, sparse = packed.duals(best, batch)
    found, numbers = None, proof.certified(batch)
    if verified:
        found = _verified(problem, asked, y, q, sparse)
        numbers |= _numbers_of(found, packed.fidelity, y_, batch)
    gap = numbers["gap"].reshape(known.shape)
    tightness = torch.where(known > 0, gap / known.where(known > 0, torch.ones_like(known)), torch.inf)
    return Certificate(
        tightness=tightness.view(batch),
        error_bound=None if error is None else error.view(batch),
        assumptions=assumptions,
        conditions=rests_on,
        dual=q,
        dual_sparse=sparse,
        layers=layers.view(batch),
        stability=_stability(problem, z, y, q, assumed, changed),
        verified=found,
        **numbers,
    )


def _check_verified(problem: SynthesisProblem | AnalysisProblem, guarantee: Guarantee | None) -> None:
    """Raises BadInput for what cannot be verified, before anything is computed."""
    if guarantee is not None:
        do = "Certify twice: bounds of errors and distances are computed without a bound of their rounding"
        raise BadInput("verified without a guarantee", "both", do)
    assert isinstance(problem.operator, LinearOperator)
    map_of(problem.operator)
    if isinstance(problem, AnalysisProblem):
        map_of(problem.sparsify)


def _verified(
    problem: SynthesisProblem | AnalysisProblem, z: Tensor, y: Tensor, q: Tensor, p: Tensor | None
) -> tuple[Verified, ...]:
    """Returns the verified numbers, one for each batch item in order."""
    operator = problem.operator
    points, data = z.reshape(-1, *operator.in_shape), y.reshape(-1, *operator.out_shape)
    duals = q.reshape(-1, *operator.out_shape)
    second = None
    if p is not None and isinstance(problem, AnalysisProblem):
        second = p.reshape(-1, *problem.sparsify.out_shape)
    return tuple(
        verify(problem, points[i], data[i], duals[i], None if second is None else second[i]) for i in range(len(data))
    )


def _numbers_of(found: tuple[Verified, ...], fidelity: Fidelity, y: Tensor, batch: torch.Size) -> dict[str, Tensor]:
    """Returns the numbers of a certificate by name, from verified ones; ``y`` are packed measurements."""
    names = ("objective", "lower_bound", "gap", "relative_gap", "violation", "least_violation")
    table = torch.tensor([[getattr(v, name) for name in names] for v in found], dtype=torch.float64)
    table = table.reshape(-1, len(names)).to(y.device)
    numbers = {name: table[:, i] for i, name in enumerate(names)}
    unit = fidelity.violation_unit(norms(y, y.ndim - 1), unit_roundoff(y.dtype))
    beyond = numbers.pop("least_violation") / unit
    numbers |= {"rounding": torch.zeros_like(beyond), "relative_violation": beyond}
    # A point that does not fit the data is not optimal, see `relative_gap` in firenet.problems.gap.
    numbers["relative_gap"] = torch.maximum(numbers["relative_gap"], beyond)
    return {name: value.view(batch) for name, value in numbers.items()}


def _check_assumed(
    problem: SynthesisProblem | AnalysisProblem, guarantee: Guarantee | None, *pairs: tuple[float | None, float | None]
) -> None:
    """Raises BadInput for a part of what a bound needs, and for problems of which nothing is proved."""
    asked = [pair for pair in pairs if pair != (None, None)]
    for names, pair in zip(_PAIRS, pairs, strict=True):
        needed = ("guarantee", *names)
        given = [name for name, value in zip(needed, (guarantee, *pair), strict=True) if value is not None]
        if len(given) < 3 and (pair in asked or (given and not asked)):
            raise BadInput(f"{needed[0]}, {needed[1]} and {needed[2]} together", f"only {', '.join(given)}", "Pass all")
    if guarantee is None:
        return
    if isinstance(problem, AnalysisProblem):
        do = "Certify without a guarantee, which the gap does not need"
        raise BadInput("A synthesis problem for a bound of errors or distances", "an analysis problem", do)
    if pairs[1] in asked and not isinstance(problem.fidelity, Norm):
        got = f"the fidelity {type(problem.fidelity).__name__}"
        raise BadInput("(P3), whose fidelity is the norm, for a bound of distances", got, "Leave perturbation out")
    assert isinstance(problem.operator, LinearOperator)
    guarantee.check(problem.operator, problem.weights)


def _stability(
    problem: SynthesisProblem | AnalysisProblem,
    z: Tensor,
    y: Tensor,
    dual: Tensor,
    assumed: _Assumed,
    changed: tuple[float | None, float | None],
) -> tuple[Stability, ...] | None:
    """Returns the bounds of distances, one for each batch item; None without a guarantee and a perturbation."""
    (guarantee, sparsity_defect, noise), (budget, gap) = assumed, changed
    if guarantee is None or budget is None or gap is None:
        return None
    known: dict[str, Any] = {"sparsity_defect": sparsity_defect, "noise": noise}
    known |= {"lam": problem.lam, "budget": budget, "gap": gap}
    operator = guarantee.operator
    duals = dual.reshape(-1, *operator.out_shape)
    pairs = zip(z.reshape(-1, *operator.in_shape), y.reshape(-1, *operator.out_shape), duals, strict=True)
    return tuple(stability(guarantee, point, data, dual=q, **known) for point, data, q in pairs)


def _given_dual(
    problem: SynthesisProblem | AnalysisProblem,
    packed: Problem,
    z: Tensor,
    y: Tensor,
    dual: Tensor | None,
    dual_sparse: Tensor | None,
) -> Tensor:
    """Returns the packed dual variable of a given dual point, after checks of its shape and numbers."""
    if dual is None:
        raise BadInput("dual beside dual_sparse", "dual_sparse alone", "Pass both: the pair is the dual point")
    bad = int((~torch.isfinite(real_view(dual))).sum())
    if dual.shape != y.shape or bad:
        got = f"shape {tuple(dual.shape)}, {bad} numbers not finite"
        raise BadInput(f"A finite dual point of shape {tuple(y.shape)}", got, "Take the dual of a solution for this y")
    p, batch = None, y.shape[: y.ndim - len(packed.measurement.out_shape)]
    if dual_sparse is not None:
        if not isinstance(problem, AnalysisProblem):
            raise BadInput("An analysis problem with dual_sparse", "a synthesis problem", "Leave dual_sparse out")
        coefficients = problem.sparsify.out_shape
        bad = int((~torch.isfinite(real_view(dual_sparse))).sum())
        if dual_sparse.shape != (*batch, *coefficients) or bad:
            got = f"shape {tuple(dual_sparse.shape)}, {bad} numbers not finite"
            do = "Take the dual_sparse of a solution for this y"
            raise BadInput(f"A finite dual_sparse of shape {(*batch, *coefficients)}", got, do)
        p = dual_sparse.to(z.dtype).reshape(-1, *coefficients)
    q = packed.operator.pack_measured(dual.to(y.dtype).reshape(-1, *packed.measurement.out_shape))
    return packed.dual_of(q, p)


def _error_bound(
    problem: Problem, proof: Proof, remains: Tensor, dual: Tensor, assumed: _Assumed
) -> tuple[Tensor | None, tuple[str, ...]]:
    """Returns a bound of the error of z, and its assumptions as a text; None without assumptions."""
    guarantee, sparsity_defect, noise = assumed
    if guarantee is None or sparsity_defect is None or noise is None:
        return None, ()
    slack = _slack(problem, proof, remains, dual, noise) / problem.lam
    pairs = zip(slack.tolist(), remains.tolist(), strict=True)
    errors = [guarantee.error_from(d, r, sparsity_defect=sparsity_defect, noise=noise) for d, r in pairs]
    assumptions = (
        guarantee.constants.assumption,
        f"the true coefficients are within {sparsity_defect:g} of sparse in levels (weighted l1)",
        f"they explain the measurements up to {noise:g} (l2)",
    )
    return torch.tensor(errors, dtype=torch.float64, device=proof.gap.device), assumptions


def _checked(operator: LinearOperator, z: Tensor, y: Tensor) -> tuple[Tensor, Tensor, torch.Size]:
    """Returns z and y in one dtype, zero in the entries that are not measured, and their batch axes."""
    batch = y.shape[: max(y.ndim - len(operator.out_shape), 0)]
    if y.shape != (*batch, *operator.out_shape) or z.shape != (*batch, *operator.in_shape):
        shapes = f"z of shape (..., {operator.in_shape}), y of shape (..., {operator.out_shape})"
        do = "For an analysis problem z is the image, otherwise its coefficients sparsify(image)"
        raise BadInput(f"{shapes}, with the same batch axes", f"{tuple(z.shape)} and {tuple(y.shape)}", do)
    if not (torch.isfinite(real_view(z)).all() and torch.isfinite(real_view(y)).all()):
        raise BadInput("A finite point and finite measurements", "NaN or infinity", "Check where they come from")
    given = torch.promote_types(y.dtype, torch.float32)
    dtype = operator.state_dtype(given)
    if z.is_complex() and not dtype.is_complex:
        raise BadInput("A real point for a real problem", f"{z.dtype}", "Pass its real part")
    return z.to(dtype), operator.restrict(y.to(operator.data_dtype(given))), batch


def _guess(fidelity: Fidelity, residual: Tensor, size: Tensor) -> Tensor:
    """Returns the dual point that is optimal if z is: the normalised residual, or for (P2) twice the residual."""
    if isinstance(fidelity, Squared):
        return 2 * residual
    size = size.clamp(min=torch.finfo(torch.float64).tiny).to(residual.real.dtype)
    return residual / size.view(-1, *(1,) * (residual.ndim - 1))


def _slack(problem: Problem, proof: Proof, remains: Tensor, dual: Tensor, noise: float) -> Tensor:
    """Computes lambda times the Delta of the error bound: an upper bound of :math:`\\lambda(\\|z\\|-\\|x\\|)` in the
    weighted l1 norms, for every x that explains the data up to ``noise``.

    By weak duality :math:`\\lambda\\|x\\|\\ge-\\mathrm{Re}\\langle y,q\\rangle-\\|q\\|\\,\\|Ax-y\\|`.
    """
    fidelity, objective, bound = problem.fidelity, proof.objective, proof.lower_bound - proof.rounding
    if isinstance(fidelity, Ball):
        size = problem.dual_size(dual)
        return objective - (bound + fidelity.noise * size) + noise * size
    e = torch.full_like(remains, noise)
    return objective - bound - fidelity.value(remains) + fidelity.value(e)


def _better(problem: Problem, z: Tensor, y: Tensor, best: Tensor, proof: Proof, q: Tensor) -> tuple[Tensor, Proof]:
    """Returns the dual point with the larger lower bound, and its proof."""
    other = problem.proof(z, q, y)
    higher = (other.lower_bound > proof.lower_bound) | other.contradiction
    return torch.where(higher.view(-1, *(1,) * (q.ndim - 1)), q, best), other.where(higher, proof)


def _refined(
    problem: Problem,
    z: Tensor,
    y: Tensor,
    objective: Tensor,
    start: Tensor | None,
    budget: int,
    progress: Progress | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Runs the iteration; returns its dual points, its lowest objectives, and its numbers of iterations."""
    layers = Iteration(kernel_for(problem), y, z, z.dtype, track=True)
    if start is not None:
        layers.place_dual(start)
    rules = AdaptiveRestarts(tolerance=1e-15, max_layers=budget)
    norm = layers.operator.norm_bound
    sizes = (problem.first_weight * norms(y, y.ndim - 1)).tolist()
    pairs = zip(sizes, objective.tolist(), strict=True)
    controllers: list[Controller] = [_Witness(rules, norm.value or 1.0, *pair) for pair in pairs]
    found = run_adaptive(layers, controllers, budget, progress)
    q = torch.stack([f.dual for f in found])
    # Only a point that fits the data, up to rounding, shows that the minimum is at most its objective.
    proofs = [f.proof for f in found]
    lowest = [p.objective.item() if p.relative_violation.item() == 0 else math.inf for p in proofs]
    lowest = torch.tensor(lowest, dtype=torch.float64, device=y.device)
    count = torch.tensor([f.layers for f in found], dtype=torch.int64, device=y.device)
    return q, lowest.nan_to_num(nan=torch.inf), count
