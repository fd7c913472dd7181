"""Two problems that agree with what is known, with minimisers far apart: a proof that no more digits are determined.

Candidates are changes of matrix and measurements in the direction in which the minimiser moves fastest, and exchanges:
one column is made a little more attractive, another one a little less. Both changed problems are then taken as exactly
known, and their minimisers enclosed; only what these enclosures prove is used. Where the data are exact, both problems
are the given one: if a column is exactly a linear combination of columns of the support, and to exchange it for them
does not change the penalty, then all points of a segment are minimisers, and its ends are the two that are returned.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from firenet.digits.dyadic import Dyadic, integers, root_below
from firenet.digits.question import embedded
from firenet.digits.stationary import derivative_by_data, refined
from firenet.digits.support import Guess, settle

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from firenet.digits.question import Question
    from firenet.digits.support import Settled

_EXCHANGES = 8
_SHRINK = 1 - 2.0**-30  # so that rounding leaves a change within the uncertainty


@dataclass(frozen=True, eq=False)
class Rival:
    """A problem that agrees with what is known, and a ball that contains all its minimisers.

    Attributes:
        matrix: The change E of the matrix, as the real matrix of :class:`.Question`; None for no change.
        data: The change e of the measurements; None for no change.
        x: The centre of the ball: N coefficients, as groups.
        radius: Its radius.
    """

    matrix: Dyadic | None
    data: Dyadic | None
    x: Dyadic
    radius: Fraction


@dataclass(frozen=True, eq=False)
class Pair:
    """Two problems that agree with what is known.

    Attributes:
        first: The one.
        second: The other.
        distance: A lower bound of the distance of every minimiser of the one from every minimiser of the other.
    """

    first: Rival
    second: Rival
    distance: Fraction


def full(question: Question, columns: tuple[int, ...], x: Dyadic) -> Dyadic:
    """Returns all N coefficients from those on some columns; the others are zero."""
    k = integers([0] * (question.columns * question.group))
    k[question.spread(columns)] = x.k
    return Dyadic(k, x.bits)


def far_apart(question: Question, settled: Settled, first: Guess, bits: int) -> Pair | None:
    """Returns the pair with the largest distance that was found, or None."""
    best: Pair | None = None
    for pair in _candidates(question, settled):
        rivals = [_rival(question, *change, first, bits) for change in pair]
        if rivals[0] is None or rivals[1] is None:
            continue
        apart = (rivals[0].x - rivals[1].x).norm_below() - rivals[0].radius - rivals[1].radius
        if best is None or apart > best.distance:
            best = Pair(rivals[0], rivals[1], apart)
    return best if best is not None and best.distance > 0 else None


def _rival(question: Question, matrix: Dyadic | None, data: Dyadic | None, first: Guess, bits: int) -> Rival | None:
    settled = settle(question.moved(matrix, data), first, bits)
    if not settled.proved or settled.ball is None:
        return None
    ball = settled.ball
    return Rival(matrix, data, full(question, ball.columns, ball.x), ball.radius)


def _candidates(question: Question, settled: Settled) -> Iterator[list[tuple[Dyadic | None, Dyadic | None]]]:
    """Yields pairs of changes of matrix and measurements."""
    point = settled.point
    if point is None or question.exact:
        return
    p, x = _complex(question, point.p.floats()), point.x.floats()
    length = float(np.linalg.norm(p)) or 1.0
    found = derivative_by_data(question, list(point.columns), x, float(point.nu), point.fits)
    if found is not None:
        v, w = (_complex(question, np.linalg.svd(by)[2][0]) for by in found)
        c = _complex(question, x)
        for E in (-np.outer(v, c.conj() / np.linalg.norm(c)), np.outer(p / length, w.conj())):
            yield _both(question, _columns(question, point.columns, E), v)
    A = _complex_matrix(question)
    for pair in _exchanges(question, settled):
        E, pull = np.zeros_like(A), np.zeros_like(p)
        for k, sign in zip(pair, (1, -1), strict=True):
            back = A[:, k].conj() @ p
            phase = back / abs(back) if back else 1.0
            E[:, k] = sign * p * np.conj(phase)
            pull += sign * A[:, k] * phase / question.sizes[k]
        if question.kind != "P2":  # only what is orthogonal to the residual turns it
            pull -= p * (p.conj() @ pull) / length**2
        yield _both(question, E, pull)


def _exchanges(question: Question, settled: Settled) -> list[tuple[int, int]]:
    """Returns pairs of a used column and one that is not excluded."""
    point = settled.point
    if point is None:
        return []
    used = [j for j, v in zip(point.columns, point.x.magnitudes(question.group), strict=True) if v]
    A, inside = question.matrix, set(used)
    back = np.abs(_complex_matrix(question).conj().T @ _complex(question, point.p.floats())) * float(point.nu)
    close = [j for j in settled.left if j not in inside]
    close = sorted(close, key=lambda j: -back[j] / question.sizes[j])[:_EXCHANGES]
    pairs = []
    for j in close:
        c = np.linalg.lstsq(A[:, question.spread(used)], A[:, j], rcond=None)[0] if used else np.zeros(0)
        order = np.argsort(-np.abs(c.reshape(question.group, -1)).sum(axis=0)) if used else []
        pairs += [(used[i], j) for i in order[:2]]
    return pairs[:_EXCHANGES]


def _both(question: Question, E: NDArray[Any], e: NDArray[Any]) -> list[tuple[Dyadic | None, Dyadic | None]]:
    """Returns the changes in these directions of the size that is allowed, and their negatives."""
    found = []
    for change, within in ((E, question.matrix_within), (e, question.data_within)):
        size, allowed = float(np.linalg.norm(change)), float(within) * _SHRINK
        possible = allowed > 0 and 0 < size < np.inf
        found.append(_exact(question, change * (allowed / size), allowed) if possible else None)
    return [(found[0], found[1]), (None if found[0] is None else -found[0], None if found[1] is None else -found[1])]


def _exact(question: Question, array: NDArray[Any], size: float) -> Dyadic:
    """Rounds a change, and embeds it after that: the rounded matrix must be one of a complex problem."""
    bits = 50 - int(np.frexp(size)[1])
    parts = [np.real(array), np.imag(array)][: question.group]
    planes = [Dyadic.of(part, bits).k for part in parts]
    return Dyadic(embedded(planes, question.group), bits)


def _columns(question: Question, columns: tuple[int, ...], E: NDArray[Any]) -> NDArray[Any]:
    """Returns a matrix of all columns from some."""
    whole = np.zeros((len(E), question.columns), dtype=E.dtype)
    whole[:, list(columns)] = E
    return whole


def _complex(question: Question, v: NDArray[np.float64]) -> NDArray[Any]:
    return v if question.group == 1 else v[: len(v) // 2] + 1j * v[len(v) // 2 :]


def _complex_matrix(question: Question) -> NDArray[Any]:
    m, n = question.A.shape[0] // question.group, question.columns
    A = question.matrix
    return A if question.group == 1 else A[:m, :n] + 1j * A[m:, :n]


def segment(question: Question, settled: Settled) -> Pair | None:
    """Returns two minimisers of one real problem of exactly known data, the ends of a segment of them, or None.

    If :math:`A_j=A_Bc` exactly, and the price :math:`l_j` is exactly that of c, :math:`|c^*u|=l_j` for the subgradient
    u at the minimiser on B, then going from there along :math:`\\pm(e_j-c)` changes neither residual nor penalty, as
    long as no coefficient changes its sign. The other columns must be excluded or satisfy the same equation.
    """
    ball, point = settled.ball, settled.point
    if not question.exact or question.group != 1 or ball is None or point is None or not settled.left:
        return None
    x = ball.x.fractions()
    signs = [0 if abs(v) <= ball.radius else 1 if v > 0 else -1 for v in x]
    u = [question.penalties[j] * s for j, s in zip(ball.columns, signs, strict=True)]
    A, best = question.A[:, list(ball.columns)], None
    for j in settled.left:
        c = _combination(question, A, j, ball.x.bits)
        price = None if c is None else sum((a * b for a, b in zip(c, u, strict=True)), Fraction(0))
        if c is None or price is None or abs(price) != question.penalties[j]:
            return None
        if any(a and not s for a, s in zip(c, signs, strict=True)):  # a coefficient whose sign is not known
            return None
        sign = 1 if price > 0 else -1
        falls = [(abs(v) - ball.radius) / abs(a) for a, v in zip(c, x, strict=True) if a * v * sign > 0]
        length = sum((a * a for a in c), Fraction(1))
        if falls and (best is None or min(falls) ** 2 * length > best[0]):
            best = (min(falls) ** 2 * length, j, sign * min(falls), c)
    if best is None:
        return None
    start, bits = full(question, ball.columns, ball.x), ball.x.bits
    end = start.k.copy()
    for i, a in zip(ball.columns, best[3], strict=True):
        end[i] -= int(best[2] * a * (1 << bits))
    end[best[1]] = int(best[2] * (1 << bits))
    other = Rival(None, None, Dyadic(end, bits), ball.radius + Fraction(len(end) + 1, 1 << bits))
    return Pair(Rival(None, None, start, ball.radius), other, root_below(best[0]))


def _combination(question: Question, A: Dyadic, j: int, bits: int) -> list[Fraction] | None:
    """Returns the rational c with :math:`A_Bc=A_j`, or None."""
    c = refined(Dyadic.of(np.linalg.pinv(A.floats()), 60), A, question.A[:, [j]], bits)[:, 0]
    found = [v.limit_denominator(1 << bits // 3) for v in c.fractions()]
    rows, column = A.k.tolist(), question.A[:, j]
    scale = Fraction(1 << A.bits, 1 << column.bits)
    exact = all(
        sum((a * v for a, v in zip(row, found, strict=True)), Fraction(0)) == b * scale
        for row, b in zip(rows, column.k.tolist(), strict=True)
    )
    return found if exact else None


def spanning(question: Question) -> list[int]:
    """Returns columns of which all others are exact combinations, as few as are found."""
    chosen: list[int] = []
    basis = np.zeros((question.A.shape[0], 0))
    for j in range(question.columns):
        a = question.matrix[:, question.spread([j])]
        rest = a - basis @ (basis.T @ a)
        A = question.A[:, question.spread(chosen)]
        near = np.linalg.norm(rest) <= 1e-6 * np.linalg.norm(a)
        if near and question.group == 1 and (not a.any() or _combination(question, A, j, 256) is not None):
            continue
        chosen.append(j)
        basis = np.linalg.qr(question.matrix[:, question.spread(chosen)])[0]
    return chosen
