"""Bounds of the distance between two reconstructions, z from y and z' from perturbed measurements y'.

They hold for every y' within the budget, :math:`\\|y'-y\\|_2\\le\\eta`, and for every z', computed by any method, that
keeps a promised gap of the square-root LASSO (P3), :math:`F_{y'}(z')-\\min F_{y'}\\le g'`. Distances are those of
coefficients; those of the images :math:`W^*z` are the same for an orthonormal W and at most as large for a tight frame.
The proofs are in ``docs/stability.md``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from firenet.errors import BadInput
from firenet.guarantees.constants import Constants
from firenet.guarantees.guarantee import Guarantee
from firenet.numerics import UNIT, doubled, full_precision, norms, real_inner, real_view, tensor_of
from firenet.operators.linear import LinearOperator

# Bounds are enlarged by this share, which outweighs the rounding of sums, roots and singular values in float64.
ROUNDING = 1e-9
# Supports are the coefficients whose dual entries are within these shares of their limits.
SHARES = (0.003, 0.01, 0.03, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9)
ENTRIES = 2**20  # the largest number of entries of the columns of a support


@dataclass(frozen=True)
class Bound:
    """A bound of a distance, and its assumptions as texts."""

    value: float
    assumptions: tuple[str, ...]


@dataclass(frozen=True)
class Stability:
    """Bounds of :math:`\\|z-z'\\|_2` for all perturbed measurements within a budget.

    Attributes:
        budget: The budget :math:`\\eta` of the perturbation, in the 2-norm and the unit of y.
        gap: The promised gap g' of the perturbed reconstruction.
        a_priori: The bound that holds for all signals of a class, known before the data; None without a class.
        from_reconstruction: The bound from z, its residual and the null space property.
        from_support: The bound from z and a dual point, without the null space property; None where it is not finite,
            or where the columns of every support are too many to compute it.
    """

    budget: float
    gap: float
    a_priori: Bound | None
    from_reconstruction: Bound
    from_support: Bound | None

    @property
    def smallest(self) -> Bound:
        """The smallest of the bounds, with its assumptions."""
        every = (self.a_priori, self.from_reconstruction, self.from_support)
        return min((bound for bound in every if bound is not None), key=lambda bound: bound.value)

    def record(self) -> dict[str, Any]:
        """Returns the bounds and their assumptions, for JSON."""
        bounds = {"a_priori": self.a_priori, "from_reconstruction": self.from_reconstruction}
        bounds |= {"from_support": self.from_support, "smallest": self.smallest}
        found = {
            name: None if bound is None else {"value": bound.value, "assumptions": list(bound.assumptions)}
            for name, bound in bounds.items()
        }
        return {"budget": self.budget, "gap": self.gap, **found}


@torch.no_grad()
@full_precision()
def stability(
    guarantee: Guarantee,
    z: Tensor | ArrayLike,
    y: Tensor | ArrayLike,
    *,
    lam: float,
    budget: float,
    gap: float,
    dual: Tensor | None = None,
    sparsity_defect: float | None = None,
    noise: float | None = None,
) -> Stability:
    """Bounds the distance from z to every reconstruction z' of measurements within a budget of y.

    With the constants of the guarantee, the sparsity defect :math:`\\sigma_{s,M}(z)_{l^1_w}`,
    :math:`r'=\\|Az-y\\|_2+\\eta` and :math:`\\lambda\\le C_1/(C_2\\sqrt\\xi)`,

    .. math:: \\|z-z'\\|_2\\le\\frac{C_1}{\\sqrt\\xi}\\Big(2\\sigma_{s,M}(z)_{l^1_w}+\\frac{r'+g'}\\lambda\\Big)+C_2r'.

    For larger lambda the bound is in ``docs/stability.md``. The same is tried for fewer non-zeros, with the constants
    of :meth:`.Constants.fewer`, and the smallest is returned. Where a dual point shows that z' is nearly supported on
    few columns of A, their smallest singular value gives another bound, for which no null space property is assumed.

    Args:
        guarantee: The guarantee of A, from coefficients to measurements.
        z: One point: coefficients, in the shape of ``guarantee.operator.in_shape``.
        y: Its measurements.
        lam: The lambda of the problem.
        budget: :math:`\\eta`, in the unit of y.
        gap: The promised gap g' of z', in the unit of y: an absolute one.
        dual: A dual point for y, shape of y, feasible or not; None is the residual over its norm.
        sparsity_defect: For the a priori bound: a bound of :math:`\\sigma_{s,M}(x)_{l^1_w}` for the signals x of the
            class.
        noise: For the a priori bound: a bound of :math:`\\|Ax-y\\|_2`.

    Raises:
        BadInput: For a budget or gap that is negative or not finite, wrong shapes, only one of ``sparsity_defect`` and
            ``noise``, and a lambda of at least :math:`1/(\\gamma\\sqrt\\xi)`, for which the theorem has no constants.

    >>> from firenet.sparsity import SparsityLevels
    >>> g = Guarantee([[1.0, 0.0], [0.0, 1.0]], Constants(SparsityLevels((2,), (1,)), rho=0.5, gamma=1.0))
    >>> found = stability(g, [0.6, 0.0], [1.0, 0.3], lam=0.8, budget=0.01, gap=0.0)
    >>> round(found.from_reconstruction.value, 2), round(found.from_support.value, 2)
    (14.03, 0.04)
    """
    if not (0 <= budget < math.inf and 0 <= gap < math.inf):
        needed = "A budget of the perturbation and a promised gap, finite and zero or more"
        raise BadInput(needed, f"{budget} and {gap}", "Both are absolute, in the unit of the measurements")
    if (sparsity_defect is None) != (noise is None):
        got = "sparsity_defect alone" if noise is None else "noise alone"
        raise BadInput("sparsity_defect and noise together, for the a priori bound", got, "Pass both or none")
    constants = guarantee.constants
    constants.at(lam)  # raises BadInput for a lambda out of range
    operator, (z, y, q) = guarantee.operator, _checked(guarantee.operator, z, y, dual)
    residual = operator(z) - y
    remains = norms(residual, residual.ndim).item() + _rounding(operator, z, y)
    promise = f"the perturbed reconstruction has a gap of at most {gap:g} for its own measurements"
    within = f"the measurements change by at most {budget:g} (l2)"
    value = min(
        _reach(c, sigma, remains + budget, gap, lam)
        for c, sigma in _orders(constants, z.abs().cpu().numpy(), guarantee)
    )
    if q is None:
        q = residual / remains if remains > 0 else residual
    support = min(_from_supports(guarantee, z, y, residual, q, lam, budget, gap), default=math.inf)
    return Stability(
        budget,
        gap,
        _a_priori(constants, lam, budget, gap, sparsity_defect, noise),
        Bound(value * (1 + ROUNDING), (constants.assumption, promise, within)),
        Bound(support * (1 + ROUNDING), (promise, within)) if support < math.inf else None,
    )


def _a_priori(
    constants: Constants, lam: float, budget: float, gap: float, sparsity_defect: float | None, noise: float | None
) -> Bound | None:
    """Returns the sum of the two bounds of the error, from x to z and from x to z'; None without a class."""
    if sparsity_defect is None or noise is None:
        return None
    if not (0 <= sparsity_defect < math.inf and 0 <= noise < math.inf):
        got = f"{sparsity_defect} and {noise}"
        raise BadInput("A sparsity defect and a noise level, finite and zero or more", got, "Check the bounds")
    value = sum(_reach(constants, sparsity_defect, e, gap, lam) for e in (noise, noise + budget))
    assumptions = (
        constants.assumption,
        f"the true coefficients are within {sparsity_defect:g} of sparse in levels (weighted l1)",
        f"they explain the measurements up to {noise:g} (l2)",
        f"both reconstructions have a gap of at most {gap:g} for their own measurements",
        f"the measurements change by at most {budget:g} (l2)",
    )
    return Bound(value * (1 + ROUNDING), assumptions)


def _reach(constants: Constants, sigma: float, misfit: float, gap: float, lam: float) -> float:
    """Bounds :math:`\\|z'-x\\|_2` for all z' with :math:`F(z')\\le F(x)+g'`; infinity where nothing is proved.

    .. math:: \\max_{t\\ge0}\\ \\frac{C_1}{\\sqrt\\xi}\\Big(2\\sigma+\\frac{r-t+g'}\\lambda\\Big)+C_2(r+t),

    where t is the residual of z' and r (``misfit``) that of x. The slope in t has the sign of
    :math:`\\lambda-C_1/(C_2\\sqrt\\xi)`. Where it is positive, the null space property bounds t.
    """
    first, second, (_, gamma), root = constants.C1, constants.C2, constants.null_space, math.sqrt(constants.xi)
    if lam <= constants.lam:
        return first / root * (2 * sigma + (misfit + gap) / lam) + second * misfit
    if lam * gamma * root >= 1:
        return math.inf
    return (second - gamma * first) / (1 - gamma * lam * root) * (2 * lam * sigma + 2 * misfit + gap)


def _orders(constants: Constants, size: NDArray[Any], guarantee: Guarantee) -> Iterator[tuple[Constants, float]]:
    """Yields constants of the null space property for at most the given sparsities, each with the defect of z.

    The smaller orders are those of the coefficients above a threshold; they have smaller constants.
    """
    levels, index = constants.levels, np.asarray(guarantee.level)
    parts = [-np.sort(-size[index == k]) for k in range(len(levels.sizes))]
    largest = max(part[0] for part in parts)
    counts = {levels.sparsities}
    for j in range(60):
        above = [int((part > largest * 2.0**-j).sum()) for part in parts]
        counts.add(tuple(min(max(n, 1), s) for n, s in zip(above, levels.sparsities, strict=True)))
    for count in counts:
        weighted = zip(constants.level_weights, parts, count, strict=True)
        yield constants.fewer(count), math.fsum(w * math.fsum(part[s:].tolist()) for w, part, s in weighted)


def _from_supports(
    guarantee: Guarantee,
    z: Tensor,
    y: Tensor,
    residual: Tensor,
    q: Tensor,
    lam: float,
    budget: float,
    gap: float,
) -> Iterator[float]:
    """Yields bounds of :math:`\\|z-z'\\|_2` from the columns of A on several supports."""
    operator = guarantee.operator
    limits = lam * torch.from_numpy(guarantee.weights).to(z.device)
    back = operator.adjoint(q).abs() + _adjoint_rounding(operator, q)
    size, d = norms(q, q.ndim).item(), q.ndim
    scale = max(1.0, size, float((back / limits).max())) * (1 + 4 * UNIT)
    q, size, slack = q / scale, size / scale, limits - back / scale
    remains = norms(residual, d).item()
    error = 4 * _rounding(operator, z, y)
    penalty = math.fsum((limits * z.abs()).flatten().tolist())
    own = max(penalty + remains + real_inner(y, q, d).item(), 0.0)  # the gap of z for y, a difference of large numbers
    own += error + 1e-13 * (penalty + remains + size * norms(y, d).item())
    curved = math.inf
    if remains > error:
        curved = budget * (norms(q - residual / remains, d).item() + error / remains)
        curved += budget**2 / (2 * (remains - error))
    height = own + gap + min(curved, (1 + size) * budget)
    share = (1 - slack / limits).flatten()
    m = int(math.prod(operator.out_shape))
    for chosen in {int((share > 1 - x).sum()): share > 1 - x for x in (0.0, *SHARES)}.values():
        if int(chosen.sum()) * m <= ENTRIES:
            yield _from_support(operator, z, residual, q, slack, chosen, budget, height, error)


def _from_support(
    operator: LinearOperator,
    z: Tensor,
    residual: Tensor,
    q: Tensor,
    slack: Tensor,
    chosen: Tensor,
    budget: float,
    height: float,
    error: float,
) -> float:
    """Computes the bound for one support S (``chosen``); the letters are those of docs/stability.md.

    Args:
        operator: A.
        z: The point.
        residual: R = Az - y.
        q: A feasible dual point.
        slack: :math:`\\lambda w_i-|(A^*q)_i|`.
        chosen: Whether a coefficient is in S, flat.
        budget: :math:`\\eta`.
        height: h, a bound of the sum of ``slack`` times :math:`|z'_i|`, and of
            :math:`t-\\mathrm{Re}\\langle R',q\\rangle`.
        error: A bound of the rounding of the residual.
    """
    outside = ~chosen
    away = norms(z.flatten()[outside], 1).item()
    steepness = 0.0
    if bool(outside.any()):
        smallest = slack.flatten()[outside].min().item()
        if smallest <= ROUNDING * (q.abs().max().item() or 1.0):
            return math.inf
        steepness = 1 / smallest
    if not bool(chosen.any()):
        return away + height * steepness
    places = torch.nonzero(chosen).flatten()
    units = torch.zeros(len(places), len(chosen), dtype=z.dtype, device=z.device)
    units[torch.arange(len(places)), places] = 1
    columns = doubled(operator(units.view(-1, *operator.in_shape))).flatten(1).mT
    basis, values, _ = torch.linalg.svd(columns, full_matrices=False)
    least = values[-1].item() - ROUNDING * values[0].item()
    if least <= 0 or len(places) > len(columns):
        return math.inf

    def total(seen: float, share: float) -> float:
        rest = away + share * height * steepness
        return math.hypot((seen + operator.norm_bound.value * rest + error) / least, rest)

    size, remains = norms(q, q.ndim).item(), norms(residual, residual.ndim).item()
    inside = math.inf
    if size < 1:
        # The residual of z' and the sum share h: the largest of a convex function is at an end.
        inside = max(total((1 - k) * height / (1 - size) + remains + budget, k) for k in (0, 1))
    leak = operator.norm_bound.value * (away + height * steepness) + error
    return min(inside, total(_seen(residual.flatten(), q.flatten(), basis, leak, budget, height), 1))


def _seen(residual: Tensor, q: Tensor, basis: Tensor, leak: float, budget: float, height: float) -> float:
    """Bounds :math:`\\|A(z'-z)\\|_2` by the part of q outside the range of the columns; infinity if there is none."""
    size = norms(q, 1).item()
    if size == 0:
        return math.inf
    unit = (q / size).to(torch.promote_types(basis.dtype, q.dtype))
    inside = basis.to(unit.dtype) @ (basis.mH.to(unit.dtype) @ unit)
    n, m = norms(inside, 1).item() + ROUNDING, norms(unit - inside, 1).item() - ROUNDING
    if m <= 1e-6:
        return math.inf
    c = real_inner(residual, unit, 1).item()
    d = norms(residual - c * unit, 1).item()
    k = max(m * c + leak + budget + n * d, 0.0)
    a = (m * k + n * n * height + n * math.sqrt(height * (2 * m * k + (n * n + m * m) * height))) / m**2
    b = math.sqrt(height**2 + 2 * height * a)
    along = (leak + budget + n * (b + d)) / m
    return math.hypot(along, b + d) + budget


def _rounding(operator: LinearOperator, z: Tensor, y: Tensor) -> float:
    """Bounds the rounding error of the norm of Az - y."""
    size, measured = norms(z, z.ndim).item(), norms(y, y.ndim).item()
    return UNIT * ((operator.rounding + 6 * operator.norm_bound.value) * size + 12 * measured)


def _adjoint_rounding(operator: LinearOperator, q: Tensor) -> Tensor:
    """Bounds the rounding error of every entry of A*q."""
    found = operator.adjoint_roundings(q[None]).to(torch.float64) * UNIT
    return found[0] if found.ndim > 1 else found


def _checked(
    operator: LinearOperator, z: Tensor | ArrayLike, y: Tensor | ArrayLike, dual: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Returns z, y and the dual point in double precision."""
    z, y = tensor_of(z, "the point"), tensor_of(y, "measurements")
    q = None if dual is None else tensor_of(dual, "a dual point")
    shapes = [tuple(t.shape) for t in (z, y, q) if t is not None]
    if shapes != [operator.in_shape, operator.out_shape, operator.out_shape][: len(shapes)]:
        needed = f"One point of shape {operator.in_shape}, measurements and dual point of shape {operator.out_shape}"
        do = "The point is the coefficients, sparsify(image) for an image"
        raise BadInput(needed, " and ".join(map(str, shapes)), do)
    if not all(torch.isfinite(real_view(t)).all() for t in (z, y)):
        raise BadInput("A finite point and finite measurements", "NaN or infinity", "Check where they come from")
    dtype = operator.state_dtype(torch.promote_types(y.dtype, torch.float64))
    z, y = z.to(dtype if not z.is_complex() else torch.complex128), operator.restrict(doubled(y))
    return z, y, None if q is None else operator.restrict(doubled(q))
