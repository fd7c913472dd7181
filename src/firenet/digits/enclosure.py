"""Verified enclosures of the minimisers of all problems that agree with what is known of the data.

The theorems and their proofs are in docs/digits.md. Let B be columns with :math:`\\|A_B^+\\|\\le\\kappa`,
:math:`\\alpha\\kappa<1` and :math:`\\kappa'=\\kappa/(1-\\alpha\\kappa)`. For every problem with
:math:`\\|A'-A\\|\\le\\alpha`, :math:`\\|y'-y\\|\\le\\beta` the problem *restricted to B* has one minimiser where one of
the theorems applies, which bounds its distance to a given point and the distance of its dual vector p' to a given p. If
the dual vector then excludes every other column, :math:`|A_j'^*p'|<l_j` with the penalty :math:`l_j` of column j, all
minimisers of all these problems are in the ball around the given point. All numbers are rational and rounded to the
safe side.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from firenet.digits.dyadic import Dyadic, root_above, root_below
from firenet.digits.stationary import directions, refined

if TYPE_CHECKING:
    from collections.abc import Iterable

    from firenet.digits.question import Question
    from firenet.digits.stationary import Stationary

_BASIS_BITS = 60


def inverse_bound(A: Dyadic) -> Fraction | None:
    """Returns a number at or above :math:`\\|A^+\\|`, or None where A is not shown to be injective.

    For approximate eigenvectors V of the Gram matrix G, Gershgorin's discs, computed exactly, bound the eigenvalues of
    :math:`V^*GV` from below and those of :math:`V^*V` from above. The quotient of the two bounds is a lower bound of
    the eigenvalues of G.
    """
    if A.shape[1] == 0:
        return Fraction(0)
    numbers = A.floats()
    gram = A.T @ A
    V = Dyadic.of(np.linalg.eigh(numbers.T @ numbers)[1], _BASIS_BITS)
    least, most = _discs(V.T @ gram @ V)[0], _discs(V.T @ V)[1]
    return root_above(most / least) if least > 0 else None


def _discs(matrix: Dyadic) -> tuple[Fraction, Fraction]:
    """Returns a lower and an upper bound of the eigenvalues of a symmetric matrix."""
    rows = matrix.k.tolist()
    others = [sum(abs(v) for v in row) - abs(row[i]) for i, row in enumerate(rows)]
    unit = 1 << matrix.bits
    least = min(row[i] - o for i, (row, o) in enumerate(zip(rows, others, strict=True)))
    most = max(row[i] + o for i, (row, o) in enumerate(zip(rows, others, strict=True)))
    return Fraction(least, unit), Fraction(most, unit)


@dataclass(frozen=True, eq=False)
class Enclosure:
    """A ball that contains the minimisers of all problems restricted to B, and what is known of their dual vectors.

    Attributes:
        columns: B.
        x: The centre, the coefficients on B.
        radius: Its radius.
        p: A vector near the dual vectors p', which for (P1) include the multiplier :math:`\\nu`.
        change: A bound of :math:`\\|p'-p\\|`.
        size: A bound of :math:`\\|p'\\|`.
    """

    columns: tuple[int, ...]
    x: Dyadic
    radius: Fraction
    p: Dyadic
    change: Fraction
    size: Fraction


class Local:
    """The quantities of the theorems for a point and a basis.

    Args:
        question: The problem.
        point: A point that nearly satisfies the conditions on its columns.
        extra: Further columns of B, whose coefficients are zero in the point.
    """

    def __init__(self, question: Question, point: Stationary, extra: Iterable[int] = ()) -> None:
        self.question, self.point = question, point
        self.columns = [*point.columns, *extra]
        n, zeros = len(point.columns), len(self.columns) - len(point.columns)
        parts = [np.concatenate([point.x.k[k * n : (k + 1) * n], [0] * zeros]) for k in range(question.group)]
        self.x = Dyadic(np.concatenate(parts).astype(object), point.x.bits)
        self.A = question.A[:, question.spread(self.columns)]
        self.alpha, self.beta = question.matrix_within, question.data_within

    @cached_property
    def inverse(self) -> Fraction | None:
        """The bound :math:`\\kappa'` of :math:`\\|A_B'^+\\|`, None where no finite one is shown."""
        bound = inverse_bound(self.A)
        return None if bound is None or self.alpha * bound >= 1 else bound / (1 - self.alpha * bound)

    @cached_property
    def residual(self) -> Dyadic:
        """Ax - y."""
        return self.A @ self.x - self.question.y

    @cached_property
    def length(self) -> Fraction:
        """An upper bound of :math:`\\|x\\|`."""
        return self.x.norm_above()

    @property
    def delta(self) -> Fraction:
        """The bound :math:`\\delta=\\alpha\\|x\\|+\\beta` of the change of the residual of x."""
        return self.alpha * self.length + self.beta

    def unbalanced(self, p: Dyadic, error: Fraction) -> Fraction:
        """Returns a bound of the distance of :math:`-A_B^*p'` to the subgradients at x, for all p' within ``error`` of
        p."""
        back, total, n = self.A.T @ p, Fraction(0), len(self.columns)
        a, x = back.fractions(), self.x.fractions()
        for i, j in enumerate(self.columns):
            group, bound = range(i, len(a), n), self.question.penalties[j]
            size2 = sum((x[g] ** 2 for g in group), Fraction(0))
            if not size2:
                total += max(root_above(sum((a[g] ** 2 for g in group), Fraction(0))) - bound, Fraction(0)) ** 2
                continue
            low, high = root_below(size2), root_above(size2)
            apart = root_above(sum((a[g] + bound * x[g] / high) ** 2 for g in group) * Fraction(1))
            total += (apart + bound * (high - low) / high) ** 2
        return root_above(total) + (self.A.norm_above() * error if error else 0)

    def direction_error(self) -> Fraction:
        """Returns a bound of the distance of the given p to the direction of the residual, for (P1) and (P3)."""
        low, high = self.residual.norm_below(), self.residual.norm_above()
        scaled = Dyadic(self.point.p.k * high.numerator, self.point.p.bits)
        apart = scaled - Dyadic(self.residual.k * high.denominator, self.residual.bits)
        return apart.norm_above() / (high.denominator * high) + (high - low) / low

    def least_squares(self, bits: int) -> tuple[Dyadic, Fraction, Fraction]:
        """Returns coefficients on B near the least-squares solution, an upper bound of the norm of their residual, and
        a lower bound of the distance of y to the range of :math:`A_B`."""
        if not self.columns:
            return self.x, self.question.y.norm_above(), self.question.y.norm_below()
        z = refined(Dyadic.of(np.linalg.pinv(self.A.floats()), _BASIS_BITS), self.A, self.question.y, bits)
        r = self.A @ z - self.question.y
        bound = inverse_bound(self.A)
        slope = (self.A.T @ r).squares() * (bound or Fraction(0)) ** 2
        return z, r.norm_above(), root_below(max(r.squares() - slope, Fraction(0)))


def enclose(question: Question, point: Stationary, extra: Iterable[int] = ()) -> Enclosure | None:
    """Returns the enclosure of the restricted problems' minimisers, or None where no theorem applies."""
    local = Local(question, point, extra)
    if local.inverse is None:
        return None
    if point.fits:
        return _fit(local)
    return {"P1": _ball, "P2": _squared, "P3": _norm}[question.kind](local)


def _squared(local: Local) -> Enclosure:
    inverse, p = local.inverse or Fraction(0), local.point.p
    e = local.unbalanced(p, Fraction(0))
    t = inverse * (local.alpha * p.norm_above() + e) / 2 + local.delta
    change = 2 * (t + local.delta) if local.columns else 2 * local.delta
    return Enclosure(tuple(local.columns), local.x, inverse * t, p, change, p.norm_above() + change)


def _norm(local: Local) -> Enclosure | None:
    inverse, delta, alpha = local.inverse or Fraction(0), local.delta, local.alpha
    low, high = local.residual.norm_below(), local.residual.norm_above()
    if 2 * low <= delta or low <= 0:
        return None
    error = local.direction_error()
    t = Fraction(0)
    if local.columns:
        h = local.least_squares(local.point.x.bits)[2] - delta - alpha * inverse * (high + delta)
        e = local.unbalanced(local.point.p, error)
        b = inverse * (alpha + e) + 2 * delta / (2 * low - delta)
        if h <= 0 or 27 * (high + delta) ** 2 * b >= 4 * h * h:
            return None
        for _ in range(60):
            wanted = _short(b * (high + delta + t) ** 3 / (h * h) * Fraction(1 << 20, (1 << 20) - 1))
            if wanted <= t:
                break
            t = wanted
        if b * (high + delta + t) ** 3 >= h * h * t > 0 or (b and not t):
            return None
    moved = t + delta
    if moved >= low:
        return None
    change = 2 * moved / (2 * low - moved) + error
    return Enclosure(tuple(local.columns), local.x, inverse * t, local.point.p, change, Fraction(1))


def _ball(local: Local) -> Enclosure | None:
    question, point, inverse = local.question, local.point, local.inverse or Fraction(0)
    epsilon, nu, size = question.epsilon, point.nu, question.y.norm_above()
    low, high = local.residual.norm_below(), local.residual.norm_above()
    if low <= 0:
        return None
    off = max(high - epsilon, epsilon - low)
    beta, y = local.beta + off, size + off
    z, least, _ = local.least_squares(point.x.bits)
    if question.y.norm_below() - beta <= epsilon or least + local.alpha * z.norm_above() + beta >= epsilon:
        return None
    delta, error = local.alpha * local.length + beta, local.direction_error()
    scaled = Dyadic(point.p.k * nu.numerator, point.p.bits + nu.denominator.bit_length() - 1)
    e = local.unbalanced(scaled, nu * error)
    bounds = [question.penalties[j] for j in local.columns]
    sizes = zip(local.x.magnitudes(question.group), bounds, strict=True)
    penalty = sum((root_below(v) * price for v, price in sizes), Fraction(0))
    T = (penalty - local.length * e) / nu
    weights = root_above(sum((v * v for v in bounds), Fraction(0))) + e

    def factor(t: Fraction) -> Fraction | None:
        """Returns a bound of the change of nu while the direction of the residual changes by at most t."""
        denominator = T - y * t - beta
        if denominator <= 0:
            return None
        return (weights * inverse * (epsilon * t + delta) + local.length * e + nu * (y * t + beta)) / denominator

    if e >= min(bounds):
        return None
    t = Fraction(0)
    for _ in range(40):
        n = factor(t)
        if n is None or n >= nu:
            return None
        slack = nu * local.alpha + e
        a, b = epsilon * (nu - n / 2), delta * (nu + n) + inverse * epsilon * slack
        c = delta * n + inverse * delta * slack
        reached = _short((b + root_above(b * b + 4 * a * c)) / (2 * a))
        if reached < t or not (reached or t):
            change = (nu + n) * reached + n + nu * error
            radius = inverse * (epsilon * reached + delta)
            return Enclosure(tuple(local.columns), local.x, radius, scaled, change, nu + n)
        t = 2 * reached
    return None


def _fit(local: Local) -> Enclosure | None:
    question, inverse = local.question, local.inverse or Fraction(0)
    D = inverse * (local.residual.norm_above() + local.delta)
    bits, n = local.x.bits, len(local.columns)
    stable = _stable(local, D)
    u = directions(question, local.columns, local.x, bits, stable)
    apart = Fraction(0)
    for i, j in enumerate(local.columns):
        bound = question.penalties[j]
        if j not in stable:
            apart += bound**2
        elif question.group == 2:
            apart += (2 * bound * D / root_below(local.x.magnitudes(2)[i])) ** 2
    slop = _direction_slop(question, local.columns, bits) * n * question.group
    off = (local.A.T @ local.point.p + u).norm_above() + slop
    change = inverse * (root_above(apart) + off + local.alpha * local.point.p.norm_above())
    size = local.point.p.norm_above() + change
    if question.kind == "P2" or (question.kind == "P3" and size >= 1) or (question.kind == "P1" and question.epsilon):
        return None
    return Enclosure(tuple(local.columns), local.x, D, local.point.p, change, size)


def _stable(local: Local, radius: Fraction) -> set[int]:
    """Returns the columns of B whose coefficients are not zero for any of the problems."""
    sizes = local.x.magnitudes(local.question.group)
    return {j for j, v in zip(local.columns, sizes, strict=True) if v > radius * radius}


def _direction_slop(question: Question, columns: Iterable[int], bits: int) -> Fraction:
    """Returns a bound of the rounding of one number of :func:`firenet.digits.stationary.directions`."""
    return (1 + max((question.penalties[j] for j in columns), default=Fraction(0))) * Fraction(2, 1 << bits)


def _short(value: Fraction) -> Fraction:
    """Returns a number at or above a positive one with a short denominator, relatively by at most 2**-60."""
    shift = max(64 - (value.numerator.bit_length() - value.denominator.bit_length()), 0)
    return Fraction(-(-(value.numerator << shift) // value.denominator), 1 << shift)


def not_excluded(question: Question, ball: Enclosure) -> list[int]:
    """Returns the columns outside of B that are not proven to be outside the support of every minimiser.

    With approximations :math:`c_j` of :math:`A_B^+A_j` and :math:`f_j=A_j-A_Bc_j`, for every problem
    :math:`|A_j'^*p'|\\le|c_j^*u'|+\\alpha\\sqrt{1+\\|c_j\\|^2}\\|p'\\|+|f_j^*p|+\\|f_j\\|\\|p'-p\\|`, where the
    subgradient :math:`u'=-A_B'^*p'` is known where coefficients keep their sign.
    """
    inside, left = set(ball.columns), []
    for j in (k for k in range(question.columns) if k not in inside):
        group = question.spread([j])
        along = (question.A[:, group].T @ ball.p).norm_above()
        norm = question.column_norms[j] + question.matrix_within
        if along + question.matrix_within * ball.size + norm * ball.change >= question.penalties[j]:
            left.append(j)
    return _sharper(question, ball, left) if left and ball.columns else left


def _sharper(question: Question, ball: Enclosure, columns: list[int]) -> list[int]:
    basis = list(ball.columns)
    A, bits = question.A[:, question.spread(basis)], ball.x.bits
    inverse = Dyadic.of(np.linalg.pinv(A.floats()), _BASIS_BITS)
    sizes = [root_below(v) for v in ball.x.magnitudes(question.group)]
    known = {j for j, v in zip(basis, sizes, strict=True) if v > ball.radius}
    u, slop = directions(question, basis, ball.x, bits, known), _direction_slop(question, basis, bits)
    left = []
    for j in columns:
        group = question.spread([j])
        c = refined(inverse, A, question.A[:, group], bits)
        f = question.A[:, group] - A @ c
        moduli = [root_above(v) for v in c[:, 0].magnitudes(question.group)]
        along = (c.T @ u).norm_above() + slop * sum(moduli, Fraction(0)) * 2
        for i, k in enumerate(basis):
            if k not in known:
                along += moduli[i] * question.penalties[k]
            elif question.group == 2:
                along += moduli[i] * 2 * question.penalties[k] * ball.radius / sizes[i]
        moved = question.matrix_within * root_above(1 + sum((v * v for v in moduli), Fraction(0))) * ball.size
        own = (f.T @ ball.p).norm_above() + f[:, 0].norm_above() * ball.change
        if along + moved + own >= question.penalties[j]:
            left.append(j)
    return left
