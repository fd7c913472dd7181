"""Minimisers of small problems in exact numbers, written without the library: the reference for its digits.

Given a support and signs, the conditions of optimality are a closed form, x = u - tau v with rational u, v and with tau
rational or the root of a rational number; whether the form is the only minimiser is then decided exactly. Complex
problems are solved to 200 digits by Newton's method.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, combinations, product
from typing import Any

import mpmath
import numpy as np

Row = list[Fraction]


def solved(matrix: list[Row], right: list[Row]) -> list[Row] | None:
    """Solves a square system for some right sides by elimination, or returns None for a singular one."""
    n = len(matrix)
    rows = [list(a) + list(b) for a, b in zip(matrix, right, strict=True)]
    for k in range(n):
        pivot = next((i for i in range(k, n) if rows[i][k]), None)
        if pivot is None:
            return None
        rows[k], rows[pivot] = rows[pivot], rows[k]
        rows[k] = [v / rows[k][k] for v in rows[k]]
        for i in range(n):
            if i != k and rows[i][k]:
                factor = rows[i][k]
                rows[i] = [a - factor * b for a, b in zip(rows[i], rows[k], strict=True)]
    return [row[n:] for row in rows]


def dot(a: Row, b: Row) -> Fraction:
    return sum((x * y for x, y in zip(a, b, strict=True)), Fraction(0))


def sign_of(p: Fraction, q: Fraction, square: Fraction) -> int:
    """Returns the sign of p + q sqrt(square)."""
    first, second = (p > 0) - (p < 0), ((q > 0) - (q < 0)) * (square > 0)
    if first * second >= 0:
        return first or second
    left, right = p * p, q * q * square
    return first if left > right else second if right > left else 0


@dataclass(frozen=True)
class Exact:
    """The point u - tau v, with tau the root of a rational number."""

    u: Row
    v: Row
    square: Fraction

    def within(self, centre: Row, radius: Fraction) -> bool:
        """Whether the point is this close to another one, exactly."""
        d = [a - c for a, c in zip(self.u, centre, strict=True)]
        rational = dot(d, d) + self.square * dot(self.v, self.v) - radius * radius
        return sign_of(rational, -2 * dot(d, self.v), self.square) <= 0

    def floats(self) -> np.ndarray[Any, Any]:
        root = mpmath.sqrt(mpmath.mpf(self.square.numerator) / self.square.denominator)
        return np.array([float(a) - float(root) * float(b) for a, b in zip(self.u, self.v, strict=True)])


def on_support(kind: str, A: list[Row], y: Row, parameter: Fraction, w: Row, signs: list[int]) -> Exact | None:
    """Returns the point with these signs if it is the only minimiser of a real problem, else None."""
    m, n = len(A), len(A[0])
    S = [j for j, s in enumerate(signs) if s]
    columns = [[row[j] for row in A] for j in range(n)]
    a = [columns[j] for j in S]
    wanted = [w[j] * signs[j] for j in S]
    gram = [[dot(p, q) for q in a] for p in a]
    both = solved(gram, [[dot(p, y), t] for p, t in zip(a, wanted, strict=True)]) if S else []
    if both is None:
        return None
    x0, x1 = [r[0] for r in both], [r[1] for r in both]
    r0 = [sum((p[i] * v for p, v in zip(a, x0, strict=True)), Fraction(0)) - y[i] for i in range(m)]
    r1 = [sum((p[i] * v for p, v in zip(a, x1, strict=True)), Fraction(0)) for i in range(m)]
    h, c = dot(r0, r0), dot(r1, r1)  # r = r0 - tau r1, and r0 is orthogonal to r1
    fits = False
    if kind == "P2":
        square = (parameter / 2) ** 2
    elif kind == "P3" and h:
        if parameter**2 * c >= 1:
            return None
        square = parameter**2 * h / (1 - parameter**2 * c)  # (lambda rho)^2
    elif kind == "P3" or not parameter:  # the data are fitted
        if h or len(S) != m or (kind == "P3" and parameter**2 * c >= 1):
            return None
        fits, square = True, Fraction(0)
    elif not S or not c or parameter**2 <= h:
        return None
    else:
        square = (parameter**2 - h) / c
    inside = dict(zip(S, zip(x0, x1, strict=True), strict=True))
    for j in range(n):
        if j in inside:
            if sign_of(inside[j][0], -inside[j][1], square) != signs[j]:
                return None
            continue
        # |A_j^T r| < tau w_j; where the data are fitted r1 stands for -q / lambda
        p, q = (Fraction(0), dot(columns[j], r1)) if fits else (dot(columns[j], r0), -dot(columns[j], r1))
        base = Fraction(1) if fits else square
        if any(sign_of(s * p, s * q - w[j], base) >= 0 for s in (1, -1)):
            return None
    u, v = ([inside[j][k] if j in inside else Fraction(0) for j in range(n)] for k in (0, 1))
    return Exact(u, v, square)


def minimiser(
    kind: str, A: list[Row], y: Row, parameter: Fraction, w: Row, guesses: Iterable[list[int]] = (), most: int = 8
) -> Exact | None:
    """Returns the only minimiser of a small real problem: tries guesses of the signs, then all, of few columns.

    None where no signs satisfy the strict conditions: a tie, or coefficients on the boundary of their condition.
    """
    n = len(A[0])
    supports = (S for size in range(min(n, len(A)) + 1) for S in combinations(range(n), size) if n <= most)
    signed = ((S, some) for S in supports for some in product((1, -1), repeat=len(S)))
    for signs in chain(guesses, ([dict(zip(*pair, strict=True)).get(j, 0) for j in range(n)] for pair in signed)):
        if (found := on_support(kind, A, y, parameter, w, signs)) is not None:
            return found
    return None


def complex_minimiser(
    kind: str, A: Any, y: Any, parameter: Fraction, w: list[Fraction], start: Any, digits: int = 200
) -> list[Any] | None:
    """Returns the minimiser of a complex problem (P2), (P3) or (P1) with a residual, near a point, to 200 digits.

    None where Newton's method does not reach the conditions, or a column outside the support violates its own.
    """
    with mpmath.workdps(digits + 20):
        m, n = np.shape(A)
        S = [j for j in range(n) if abs(start[j]) > 1e-12 * (1 + np.abs(start).max())]
        if not S:
            return None
        matrix = mpmath.matrix([[A[i, j] for j in range(n)] for i in range(m)])
        real = [
            [f(matrix[i, j]) for j in S for f in ((lambda z: z.real), (lambda z: -z.imag))]
            if k == 0
            else [f(matrix[i, j]) for j in S for f in ((lambda z: z.imag), (lambda z: z.real))]
            for i in range(m)
            for k in range(2)
        ]
        right = [part for z in y for part in (z.real, z.imag)]
        prices = [mpmath.mpf(v.numerator) / v.denominator for v in w]
        lam = mpmath.mpf(parameter.numerator) / parameter.denominator
        x = [mpmath.mpf(part) for j in S for part in (complex(start[j]).real, complex(start[j]).imag)]
        R, b = mpmath.matrix(real), mpmath.matrix(right)
        nu = mpmath.mpf(1)
        if kind == "P1":
            r = R * mpmath.matrix(x) - b
            back = R.T * r / mpmath.norm(r)
            nu = prices[S[0]] / mpmath.hypot(back[0], back[1])
        for _ in range(60):
            residual, jacobian = _conditions(kind, R, b, x, nu, [prices[j] for j in S], lam)
            size = mpmath.norm(residual)
            if size < mpmath.mpf(10) ** (-digits):
                break
            if not mpmath.isfinite(size):  # Newton's method has left the support
                return None
            try:
                step = mpmath.lu_solve(jacobian, residual)
            except (ZeroDivisionError, TypeError):  # mpmath's words for a singular matrix
                return None
            x = [v - step[i] for i, v in enumerate(x)]
            if kind == "P1":
                nu -= step[len(x)]
        else:
            return None
        if nu <= 0:  # a stationary point of another kind
            return None
        r = R * mpmath.matrix(x) - b
        p = 2 * r if kind == "P2" else r / mpmath.norm(r)
        z = [mpmath.mpc(p[2 * i], p[2 * i + 1]) for i in range(m)]
        factor = nu if kind == "P1" else mpmath.mpf(1)
        for j in range(n):
            bound = prices[j] * (1 if kind == "P1" else lam)
            back = abs(sum(mpmath.conj(matrix[i, j]) * z[i] for i in range(m))) * factor
            if j not in S and not back < bound:
                return None
        found = [mpmath.mpc(0)] * n
        for k, j in enumerate(S):
            found[j] = mpmath.mpc(x[2 * k], x[2 * k + 1])
        return found


def _conditions(kind: str, R: Any, b: Any, x: Any, nu: Any, prices: list[Any], lam: Any) -> tuple[Any, Any]:
    n = len(x)
    r = R * mpmath.matrix(x) - b
    rho = mpmath.norm(r)
    first, more = kind == "P1", int(kind == "P1")
    p = 2 * r if kind == "P2" else r / rho
    back = R.T * p
    gram = R.T * R
    F, J = mpmath.zeros(n + more, 1), mpmath.zeros(n + more, n + more)
    for i in range(n):
        for k in range(n):
            J[i, k] = 2 * gram[i, k] if kind == "P2" else (gram[i, k] - back[i] * back[k]) / rho * nu
    for k in range(n // 2):
        a, c = x[2 * k], x[2 * k + 1]
        size, price = mpmath.hypot(a, c), prices[k] * (1 if first else lam)
        F[2 * k], F[2 * k + 1] = nu * back[2 * k] + price * a / size, nu * back[2 * k + 1] + price * c / size
        J[2 * k, 2 * k] += price * c * c / size**3
        J[2 * k + 1, 2 * k + 1] += price * a * a / size**3
        J[2 * k, 2 * k + 1] -= price * a * c / size**3
        J[2 * k + 1, 2 * k] -= price * a * c / size**3
    if first:
        F[n] = rho - lam
        for i in range(n):
            J[i, n], J[n, i] = back[i], back[i]
    return F, J
