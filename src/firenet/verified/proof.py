"""The verified numbers of a point: what `docs/rounding.md` proves, for both forms and the three fidelities.

Operators are evaluated once more, by elementwise operations with a bound of every rounding (:mod:`.maps`): in doubles,
or in balls if the problem has a dense matrix and is not too large. What torch computes is only a proposal: the point,
and a dual point.
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from firenet.errors import BadInput
from firenet.numerics import doubled, unit_roundoff
from firenet.operators.algebra import Composition
from firenet.operators.linear import LinearOperator
from firenet.operators.matrix import Matrix
from firenet.operators.stack import VerticalStack
from firenet.problems.analysis import AnalysisProblem
from firenet.problems.fidelity import Ball, Fidelity, Norm, Squared
from firenet.problems.synthesis import SynthesisProblem
from firenet.transforms.analysis_operator import AnalysisOperator
from firenet.transforms.gradient import Gradient
from firenet.transforms.undecimated import UndecimatedWavelet
from firenet.transforms.union import Union
from firenet.transforms.walsh import WalshHadamard
from firenet.transforms.wavelet import Wavelet
from firenet.verified.arithmetic import Array
from firenet.verified.balls import BallSpace
from firenet.verified.directed import Interval, above, below, root
from firenet.verified.doubles import DoubleSpace
from firenet.verified.filterbanks import decimated_defect, undecimated_defect
from firenet.verified.maps import map_of
from firenet.verified.space import Enclosure, Space, Unbounded

# Dense problems with more numbers than this are verified in doubles, where balls would take minutes.
_DENSE = 2**20
_ZERO = Fraction(0)
# A multiple of a dual point whose constraints allow every multiple: the lower bound is then large, and true.
_MOST = Fraction(2) ** 1000


@dataclass(frozen=True)
class Verified:
    """What holds in exact arithmetic of a point z, for the problem as it is stored.

    Attributes:
        objective: An upper bound of F(z); for (P1) of the penalty.
        least_objective: A lower bound of F(z).
        lower_bound: A lower bound of :math:`\\min F`, zero or more.
        gap: An upper bound of F(z) - min F; for (P1) :math:`\\|q\\|_2` times the violation is added to it.
        relative_gap: An upper bound of the gap over the lower bound; infinite if that is zero, unless F(z) is zero.
        violation: For (P1) an upper bound of :math:`\\max\\{0,\\|Az-y\\|_2-\\varepsilon\\}`; zero says that z fits.
        least_violation: A lower bound of it; a positive number says that z does not fit.
        arithmetic: How it was proved: in ``doubles`` with bounds of their rounding, or in ``balls`` (320-bit midpoints
            with radii, for dense problems).
    """

    objective: float
    least_objective: float
    lower_bound: float
    gap: float
    relative_gap: float
    violation: float
    least_violation: float
    arithmetic: str


@torch.no_grad()
def verify(
    problem: SynthesisProblem | AnalysisProblem, z: Tensor, y: Tensor, q: Tensor, p: Tensor | None = None
) -> Verified:
    """Returns the verified numbers of one point.

    Args:
        problem: The problem, with operators of this library.
        z: A point of shape ``in_shape``.
        y: Measurements, zero in the entries that are not measured.
        q: A dual point, shape of y. Any point is valid; a good one gives a large lower bound.
        p: For an analysis problem its second part, the shape of the coefficients.

    Raises:
        BadInput: For an operator or a fidelity that is not of this library.
        MissingExtra: For a problem with a dense matrix that is not too large for balls, without python-flint.
    """
    operator = problem.operator
    assert isinstance(operator, LinearOperator)
    sparsify, groups = None, ()
    if isinstance(problem, AnalysisProblem):
        sparsify = problem.sparsify
        groups = sparsify.groups if sparsify.convolves else ()
        groups = groups or ((sparsify.out_shape[0],) if isinstance(sparsify, Gradient) else ())
        q, p = repaired(problem, q, torch.zeros(sparsify.out_shape, dtype=q.dtype, device=q.device) if p is None else p)
    space: Space = BallSpace(groups) if _dense(operator, sparsify) else DoubleSpace(groups)
    with space.precisely() if isinstance(space, BallSpace) else nullcontext():
        return _Proof(problem, space, sparsify, y).of(z, q, p)


class _Proof:
    """The enclosures of one problem.

    Args:
        problem: The problem.
        space: The arithmetic.
        sparsify: W, or None for the synthesis form.
        y: Measurements.
    """

    def __init__(
        self,
        problem: SynthesisProblem | AnalysisProblem,
        space: Space,
        sparsify: AnalysisOperator | None,
        y: Tensor,
    ) -> None:
        assert isinstance(problem.operator, LinearOperator)
        self._fidelity, self._lam, self._space = problem.fidelity, Fraction(float(problem.lam)), space
        self._sparsify, self._map = sparsify, map_of(problem.operator)
        self._analysis = None if sparsify is None else map_of(sparsify)
        shape = self._map.in_shape if sparsify is None else sparsify.penalty_shape
        w = np.ones(1) if problem.weights is None else _array(problem.weights).astype(np.float64)
        self._weights = np.broadcast_to(w, shape)
        self._y, self._unit = _array(y), unit_roundoff(y.dtype)

    def of(self, z: Tensor, q: Tensor, p: Tensor | None) -> Verified:
        """Returns the numbers; those for which no finite bound is found are infinite or zero."""
        try:
            objective, violation = self._objective(_array(z))
        except Unbounded:
            objective = violation = None
        try:
            bound, size = self._lower_bound(_array(q), None if p is None else _array(p))
        except (Unbounded, ZeroDivisionError):
            bound, size = _ZERO, _ZERO
        name = "balls" if isinstance(self._space, BallSpace) else "doubles"
        # A lower bound above all floats is the largest float.
        lower = min(below(bound), math.ldexp(2 - 2.0**-52, 1023))
        if objective is None or violation is None:
            return Verified(math.inf, 0.0, lower, math.inf, math.inf, math.inf, 0.0, name)
        limits = above(objective.high), max(below(objective.low), 0.0)
        if limits[0] == math.inf:
            return Verified(math.inf, limits[1], lower, math.inf, math.inf, above(violation.high), 0.0, name)
        exact = max(Fraction(limits[0]) - Fraction(lower), _ZERO) + size * violation.high
        relative = exact / Fraction(lower) if lower > 0 else None if objective.high > 0 else _ZERO
        ratio = math.inf if relative is None else above(relative)
        return Verified(*limits, lower, above(exact), ratio, above(violation.high), below(violation.low), name)

    def _objective(self, z: Array) -> tuple[Interval, Interval]:
        space, point = self._space, self._space.vector(z)
        residual = space.norm(space.sum(space.mapped(self._map, point), space.vector(self._y), -1))
        coefficients = point if self._analysis is None else space.mapped(self._analysis, point)
        penalty = space.penalty(coefficients, self._weights).times(self._lam)
        nothing = Interval(_ZERO, _ZERO)
        if isinstance(self._fidelity, Ball):
            return penalty, (residual + -_exactly(self._fidelity.noise)).positive()
        return penalty + (residual.square() if isinstance(self._fidelity, Squared) else residual), nothing

    def _lower_bound(self, q: Array, p: Array | None) -> tuple[Fraction, Fraction]:
        """Returns a lower bound of min F, and the norm of the dual point that gives it."""
        space, dual, y = self._space, self._space.vector(q), self._space.vector(self._y)
        back = space.mapped(self._map, dual, adjoint=True)
        inner, size = -space.inner(y, dual)[0], space.norm(dual).high
        if p is None or self._analysis is None:
            return best_multiple(self._fidelity, inner.low, size, space.worst(back, self._weights, _ZERO) / self._lam)
        off, norm = self._off(dual), Fraction(self._map.loss.norm) * self._map.unit
        second = space.vector(p)
        left = space.norm(space.sum(back, space.mapped(self._analysis, second, adjoint=True))).high + norm * off
        assert self._sparsify is not None
        change = left / least_singular_value(self._sparsify)
        worst = space.worst(second, self._weights, change) / self._lam
        return best_multiple(self._fidelity, inner.low - space.norm(y).high * off, size + off, worst)

    def _off(self, dual: Enclosure) -> Fraction:
        """Returns a bound of the distance from q to the points that are orthogonal to A1, if W annihilates constants.

        Raises:
            Unbounded: If A1 cannot be distinguished from zero.
        """
        if self._sparsify is None or not self._sparsify.annihilates_constants:
            return _ZERO
        a = self._constant()
        if a is None:
            return _ZERO
        size = self._space.norm(a).low
        if size <= 0:
            raise Unbounded
        real, imaginary = self._space.inner(dual, a)
        return root(real.magnitude**2 + imaginary.magnitude**2).high / size

    def _constant(self) -> Enclosure | None:
        """Returns A1, or None if it is zero."""
        space, known = self._space, self._map.constant()
        if known is None or isinstance(space, BallSpace):
            ones = space.mapped(self._map, space.vector(np.ones(self._map.in_shape)))
            if known is not None and not known[0].any():
                return None
            return ones
        if not known[0].any():
            return None
        a = space.vector(known[0])
        a = Enclosure(a.centre, space.norm(a).high * Fraction(known[1]))
        return space.scaled(a, self._map.unit)


def best_multiple(fidelity: Fidelity, inner: Fraction, size: Fraction, worst: Fraction) -> tuple[Fraction, Fraction]:
    """Returns the largest dual value of a multiple tq of a dual point, and a bound of the norm of tq.

    Args:
        fidelity: :math:`\\varphi`.
        inner: A lower bound of :math:`-\\mathrm{Re}\\langle y,q\\rangle`.
        size: An upper bound of :math:`\\|q\\|_2`.
        worst: An upper bound of the largest ratio of an entry of the dual constraint to its limit.
    """
    most = min(1 / worst, _MOST) if worst > 0 else _MOST
    if isinstance(fidelity, Norm):
        t = min(most, 1 / size) if size > 0 else most
        value = t * inner
    elif isinstance(fidelity, Squared):
        t = min(most, 2 * max(inner, _ZERO) / size**2) if size > 0 else most
        value = t * inner - (t * size) ** 2 / 4
    elif isinstance(fidelity, Ball):
        t, value = most, most * (inner - Fraction(fidelity.noise) * size)
    else:
        raise BadInput("The fidelity of (P1), (P2) or (P3)", type(fidelity).__name__, "Certify without verified")
    return (value, t * size) if value > 0 else (_ZERO, _ZERO)


def least_singular_value(sparsify: AnalysisOperator) -> Fraction:
    """Returns a lower bound of the smallest nonzero singular value of W.

    Raises:
        Unbounded: If the filter table is so far from orthonormal that there is none.
    """
    return root(_least_square(sparsify)).low or _refuse()


def _least_square(sparsify: AnalysisOperator) -> Fraction:
    kind, d = type(sparsify), len(sparsify.in_shape)
    if isinstance(sparsify, WalshHadamard) and kind is WalshHadamard:
        return Fraction(1)
    if isinstance(sparsify, Wavelet) and kind is Wavelet:
        defect = _ZERO if sparsify.wavelet in ("haar", "db1") else decimated_defect(sparsify.wavelet)
        return max(1 - defect, _ZERO) ** (d * sparsify.depth)
    if isinstance(sparsify, UndecimatedWavelet) and kind is UndecimatedWavelet:
        return max(1 - undecimated_defect(sparsify.wavelet), _ZERO) ** (d * sparsify.depth)
    if isinstance(sparsify, Gradient) and kind is Gradient:
        # The eigenvalue 4 sin^2(pi / n), or 4 sin^2(pi / 2n), and sin t is at least 2t / pi up to pi / 2.
        n = max(sparsify.in_shape)
        return Fraction(16 if sparsify.boundary == "periodic" else 4, n * n)
    if isinstance(sparsify, Union) and kind is Union:
        parts = [p for p in sparsify.parts if isinstance(p, AnalysisOperator)]
        each = [(Fraction(f) ** 2 * _least_square(p), p) for f, p in zip(sparsify.factors, parts, strict=True)]
        whole = [square for square, p in each if not p.annihilates_constants]
        return sum(whole or [square for square, _ in each], _ZERO)
    return _ZERO


def _refuse() -> Fraction:
    raise Unbounded


def repaired(problem: AnalysisProblem, q: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
    """Returns a pair for which :math:`A^*q+W^*p` is small, computed in double precision; nothing is proved of it."""
    operator, sparsify = problem.operator, problem.sparsify
    q = operator.restrict(doubled(q))
    if sparsify.annihilates_constants:
        a = operator.constant_response()[0]
        size = float(a.abs().square().sum())
        for _ in range(2 if 0 < size < math.inf else 0):
            share = (q * a.conj()).sum() / size
            q = q - (share * a).to(q.dtype) if q.is_complex() else q - (share * a).real
    p = doubled(p).to(operator.adjoint(q).dtype)
    for _ in range(3):
        rest = operator.adjoint(q) + sparsify.adjoint(p)
        p = p - sparsify(sparsify.apply_gram_inverse(rest))
    return q, p


def _dense(operator: LinearOperator, sparsify: LinearOperator | None) -> bool:
    """Returns whether a problem has a dense matrix and is small enough for balls."""
    numbers = 0 if sparsify is None else 64 * math.prod(sparsify.out_shape)
    found, todo = False, [operator]
    while todo:
        one = todo.pop()
        if isinstance(one, Composition):
            todo += [one.outer, one.inner]
        elif isinstance(one, VerticalStack):
            todo += [a for a in one.operators if isinstance(a, LinearOperator)]
        elif isinstance(getattr(one, "operator", None), LinearOperator):
            todo.append(one.operator)  # pyright: ignore[reportArgumentType]
        found = found or isinstance(one, Matrix)
        numbers += one.matrix.numel() if isinstance(one, Matrix) else 64 * math.prod(one.out_shape)
    return found and numbers <= _DENSE


def _exactly(x: float) -> Interval:
    return Interval(Fraction(x), Fraction(x))


def _array(t: Tensor) -> Array:
    return t.detach().cpu().resolve_conj().resolve_neg().numpy()
