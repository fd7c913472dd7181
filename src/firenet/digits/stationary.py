"""Points that satisfy the optimality conditions on a support, to as many bits as asked for: candidates, never proofs.

On a support S the conditions are :math:`A_S^*p+u=0` with :math:`u_i=l_ix_i/|x_i|` and p the derivative of
:math:`\\varphi(\\|r\\|)` by the residual r = Ax - y: 2r for (P2), :math:`r/\\|r\\|` for (P3), and for (P1)
:math:`\\nu r/\\|r\\|` where :math:`\\|r\\|=\\varepsilon`. Where the data are fitted exactly, by as many columns as
there are measurements, Ax = y gives x and :math:`A_S^*p=-u` gives p. Newton's method in double precision is followed by
steps with the same inverse derivative for residuals computed in integers, each of which adds some ten digits.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import isqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from firenet.digits.dyadic import Dyadic, integers

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from firenet.digits.question import Question

    Array = NDArray[np.float64]

_NEWTON, _REFINEMENTS = 30, 400
_INVERSE_BITS = 60


@dataclass(frozen=True, eq=False)
class Stationary:
    """A point that nearly satisfies the conditions on some columns.

    Attributes:
        columns: The columns B of the basis, whose coefficients are unknowns.
        fits: Whether it is the point with Ax = y.
        x: The coefficients on B, real parts before imaginary parts.
        p: The dual vector, for (P1) without the factor :math:`\\nu`. For (P1) and (P3) its length is near 1, unless
            ``fits`` is true.
        nu: The factor :math:`\\nu` for (P1), else 1.
    """

    columns: tuple[int, ...]
    fits: bool
    x: Dyadic
    p: Dyadic
    nu: Fraction


def stationary(question: Question, columns: list[int], start: Array, nu: float, bits: int) -> Stationary | None:
    """Returns the stationary point of a support whose residual is not zero, or None where the iteration does not
    converge.

    Args:
        question: The problem; its uncertainties are ignored.
        columns: The support S; it may be empty.
        start: The first values of the coefficients on S, none of them zero.
        nu: For (P1) the first value of :math:`\\nu`.
        bits: The bits of the result after the binary point.
    """
    A, y = question.A[:, question.spread(columns)], question.y
    if not columns:
        p = _dual(question, -y, bits)
        return (
            None
            if p is None or question.kind == "P1"
            else Stationary((), False, Dyadic(integers([]), bits), p, Fraction(1))
        )
    found = _newton(question, columns, start, nu)
    if found is None:
        return None
    inverse = Dyadic.of(found[1], _INVERSE_BITS)
    state, last = Dyadic.of(found[0], bits), None
    for _ in range(_REFINEMENTS):
        residual = _conditions(question, columns, A, y, state, bits)
        if residual is None:
            return None
        size = max(abs(v) for v in residual.k.tolist())
        if last is not None and 2 * size > last:
            break
        last = size
        state = state - (inverse @ residual).rounded(bits)
    x, value = (state[:-1], state.fractions()[-1]) if question.kind == "P1" else (state, Fraction(1))
    p = _dual(question, A @ x - y, bits)
    return None if p is None or value <= 0 else Stationary(tuple(columns), False, x, p, value)


def fitting(question: Question, columns: list[int], used: set[int], bits: int) -> Stationary | None:
    """Returns the point that fits the data by as many columns as there are measurements, or None.

    Args:
        question: The problem.
        columns: The basis B.
        used: The columns of the basis whose coefficients are not zero; the dual vector is the one for u = 0 elsewhere.
        bits: The bits of the result after the binary point.
    """
    A = question.A[:, question.spread(columns)]
    numbers = A.floats()
    if A.shape[0] != A.shape[1] or np.linalg.cond(numbers) > 1e14:
        return None
    inverse = Dyadic.of(np.linalg.inv(numbers), _INVERSE_BITS)
    x = refined(inverse, A, question.y, bits)
    u = -directions(question, columns, x, bits, used)
    return Stationary(tuple(columns), True, x, refined(inverse.T, A.T, u, bits), Fraction(1))


def refined(inverse: Dyadic, A: Dyadic, right: Dyadic, bits: int) -> Dyadic:
    """Returns the solution of AX = ``right`` to ``bits`` bits, by refinement with an approximate inverse of A; with an
    approximate pseudoinverse, nearly the least-squares solution."""
    x, last = (inverse @ right).rounded(bits), None
    for _ in range(_REFINEMENTS):
        step = inverse @ (A @ x - right).rounded(bits + 64)
        size = max((abs(v) for v in step.k.ravel().tolist()), default=0) >> (step.bits - bits)
        if not size or (last is not None and 2 * size > last):
            break
        last, x = size, x - step.rounded(bits)
    return x


def directions(question: Question, columns: list[int], x: Dyadic, bits: int, used: set[int] | None = None) -> Dyadic:
    """Returns :math:`l_ix_i/|x_i|` to ``bits`` bits; zero where x is zero, and outside of ``used``."""
    n, k = len(columns), x.k
    found = integers([0] * len(k))
    for i, j in enumerate(columns):
        group, price = range(i, len(k), n), question.penalties[j]
        size = isqrt(sum(k[g] ** 2 for g in group) << 2 * bits)
        if size and (used is None or j in used):
            for g in group:
                found[g] = ((price.numerator * k[g]) << 2 * bits) // (price.denominator * size)
    return Dyadic(found, bits)


def _dual(question: Question, residual: Dyadic, bits: int) -> Dyadic | None:
    """Returns p for a residual, None for a residual of zero that has no direction."""
    if question.kind == "P2":
        return Dyadic(2 * residual.k, residual.bits)
    size = isqrt(sum(v * v for v in residual.k.tolist()) << 2 * bits)
    if size == 0:
        return None
    return Dyadic(integers((v << 2 * bits) // size for v in residual.k.tolist()), bits)


def _conditions(
    question: Question, columns: list[int], A: Dyadic, y: Dyadic, state: Dyadic, bits: int
) -> Dyadic | None:
    """Returns the left side of the conditions, for (P1) with :math:`\\|r\\|-\\varepsilon` below."""
    x = state[:-1] if question.kind == "P1" else state
    residual = (A @ x - y).rounded(bits + 64)
    p = _dual(question, residual, bits)
    if p is None:
        return None
    u = directions(question, columns, x, bits)
    if question.kind != "P1":
        return (A.T @ p + u).rounded(bits)
    nu = Dyadic(state.k[-1:], bits)
    first = (A.T @ Dyadic(p.k * nu.k[0], p.bits + bits) + u).rounded(bits)
    size = isqrt(sum(v * v for v in residual.k.tolist()))
    last = (size >> (residual.bits - bits)) - int(question.epsilon * (1 << bits))
    return Dyadic(np.concatenate([first.k, integers([last])]), bits)


def _newton(question: Question, columns: list[int], start: Array, nu: float) -> tuple[Array, Array] | None:
    """Returns the state in double precision and the inverse of the derivative of the conditions there."""
    A, y = question.matrix[:, question.spread(columns)], question.data
    sizes, state = question.sizes[columns], np.append(start, nu) if question.kind == "P1" else start.copy()
    inverse = None
    for _ in range(_NEWTON):
        conditions, derivative = _derivative(question, A, y, sizes, state)
        if not np.isfinite(derivative).all() or np.linalg.cond(derivative) > 1e14:
            return None
        inverse = np.linalg.inv(derivative)
        step = inverse @ conditions
        state = state - step
        if not np.isfinite(state).all() or np.abs(state).max() > 1e100:
            return None
        if np.abs(step).max() <= 1e-14 * np.abs(state).max():
            break
    return None if inverse is None or not np.isfinite(state).all() else (state, inverse)


def _derivative(question: Question, A: Array, y: Array, sizes: Array, state: Array) -> tuple[Array, Any]:
    """Returns the conditions and their derivative."""
    first = question.kind == "P1"
    x, nu = (state[:-1], state[-1]) if first else (state, 1.0)
    groups = x.reshape(question.group, -1)
    size = np.sqrt((groups**2).sum(axis=0))
    with np.errstate(divide="ignore", invalid="ignore"):
        unit = groups / size
        u = (sizes * unit).ravel()
        bent = np.zeros((len(x), len(x)))
        if question.group == 2:
            n = len(sizes)
            for k in range(2):
                for m in range(2):
                    entry = sizes / size * ((k == m) - unit[k] * unit[m])
                    bent[k * n + np.arange(n), m * n + np.arange(n)] = entry
        r = A @ x - y
        rho = np.linalg.norm(r)
        if question.kind == "P2":
            return A.T @ (2 * r) + u, 2 * A.T @ A + bent
        p = r / rho
        back = A.T @ p
        inner = bent + nu * (A.T @ A - np.outer(back, back)) / rho
        if not first:
            return back + u, inner
        whole = np.block([[inner, back[:, None]], [back[None, :], np.zeros((1, 1))]])
        return np.append(nu * back + u, rho - float(question.epsilon)), whole


def derivative_by_data(
    question: Question, columns: list[int], x: Array, nu: float, fits: bool
) -> tuple[Any, Any] | None:
    """Returns the derivatives of the coefficients with respect to the measurements, and to a vector that is added to
    :math:`A_S^*p`."""
    A = question.matrix[:, question.spread(columns)]
    if not columns:
        return None
    if fits:
        inverse = np.linalg.inv(A)
        return inverse, np.zeros((len(x), len(x)))
    state = np.append(x, nu) if question.kind == "P1" else x
    _, derivative = _derivative(question, A, question.data, question.sizes[columns], state)
    if not np.isfinite(derivative).all() or np.linalg.cond(derivative) > 1e14:
        return None
    inverse = np.linalg.inv(derivative)
    r = A @ x - question.data
    rho = float(np.linalg.norm(r))
    if question.kind == "P2":
        return inverse @ (2 * A.T), -inverse
    p = r / rho
    by = A.T @ (np.eye(len(p)) - np.outer(p, p)) * nu / rho
    if question.kind == "P1":
        by = np.vstack([by, p[None, :]])
    return (inverse @ by)[: len(x)], -inverse[: len(x), : len(x)]
