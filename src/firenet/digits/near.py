"""Boxes around all points whose objective is near the minimum, by weak duality.

All minimisers of all problems that agree with what is known satisfy :math:`F(x)\\le M` for some M (docs/digits.md),
for (P1) :math:`\\|x\\|_w\\le M` and :math:`\\|Ax-y\\|\\le\\varepsilon'`. For every v and every c, all these x satisfy

.. math:: \\langle c,x\\rangle\\le\\mu M+\\langle v,y\\rangle+\\pi,\\qquad\\mu\\ge\\max_j|(c-A^*v)_j|/l_j,

where :math:`\\pi=0` and :math:`\\mu\\ge\\|v\\|` for (P3), :math:`\\pi=\\|v\\|^2/4\\mu` for (P2), and
:math:`\\pi=\\varepsilon'\\|v\\|` for (P1). An interior-point method finds v; the bound is evaluated in integers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from firenet.digits.dyadic import Dyadic, root_above
from firenet.digits.interior import Cones, minimise
from firenet.digits.support import objective_above

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from firenet.digits.question import Question

    Array = NDArray[np.float64]

_DUAL_BITS = 70  # significant bits of a dual vector


@dataclass(frozen=True, eq=False)
class Level:
    """A set that contains all minimisers: where the objective, or for (P1) the penalty, is at most M.

    Attributes:
        most: M.
        epsilon: For (P1) the bound :math:`\\varepsilon'` of the residual; else 0.
    """

    most: Fraction
    epsilon: Fraction


def level(question: Question, x: Dyadic) -> Level | None:
    """Returns the set for a point with a small objective; None for (P1) if it is not shown that the point fits all data
    that agree with what is known."""
    residual = (question.A @ x - question.y).norm_above()
    alpha, beta, least = question.matrix_within, question.data_within, min(question.penalties)
    delta = alpha * x.norm_above() + beta
    if question.kind == "P1":
        if residual + delta > question.epsilon:
            return None
        most = objective_above(question, x.fractions(), Fraction(0))
        return Level(most, question.epsilon + alpha * most / least + beta)
    value = objective_above(question, x.fractions(), residual + delta)
    moved = alpha * value / least + beta
    if question.kind == "P3":
        return Level(value + moved, Fraction(0))
    return Level(value + 2 * root_above(value) * moved + moved * moved, Fraction(0))


def box(
    question: Question,
    within: Level,
    q: Array,
    columns: Iterable[int],
    progress: Callable[[int, int], None] | None = None,
) -> tuple[list[Fraction], list[Fraction]]:
    """Returns lower and upper bounds of all real and imaginary parts of the points of the set.

    Args:
        question: The problem.
        within: The set.
        q: A dual vector, which bounds the coefficients of the columns that it excludes.
        columns: The columns that get two cone programs for each part; the others only the bound from q.
        progress: Called with the number of parts for which both programs are done, and their total.
    """
    magnitudes = _from_one_dual(question, within, q)
    wanted = question.spread(columns)
    low, high = [-b for b in magnitudes * question.group], magnitudes * question.group
    for count, i in enumerate(wanted):
        high[i] = min(high[i], _bound(question, within, i, 1))
        low[i] = max(low[i], -_bound(question, within, i, -1))
        if progress:
            progress(count + 1, len(wanted))
    return low, high


def _from_one_dual(question: Question, within: Level, q: Array) -> list[Fraction]:
    """Returns bounds of all magnitudes: :math:`|x_j|\\le(M-D(q))/(l_j-|A_j^*q|)`, q scaled to feasibility."""
    p = Dyadic.of(q, _DUAL_BITS)
    sizes = [root_above(v) for v in (question.A.T @ p).magnitudes(question.group)]
    scale = max(v / bound for v, bound in zip(sizes, question.penalties, strict=True))
    length = p.norm_above()
    scale = max(scale, length if question.kind == "P3" else Fraction(0))
    shrink = min(Fraction(1), (1 - Fraction(1, 1 << 60)) / scale if scale else Fraction(1))
    inner = Fraction(int((p.k * question.y.k).sum()), 1 << (p.bits + question.y.bits))
    tail = {"P1": within.epsilon * length * shrink, "P2": (length * shrink) ** 2 / 4, "P3": Fraction(0)}[question.kind]
    slack = within.most + inner * shrink + tail
    gaps = [bound - v * shrink for v, bound in zip(sizes, question.penalties, strict=True)]
    most = within.most
    pairs = zip(gaps, question.penalties, strict=True)
    return [min(most / b, slack / g) if g > 0 else most / b for g, b in pairs]


def _bound(question: Question, within: Level, index: int, sign: int) -> Fraction:
    """Returns an upper bound of a coordinate, or of its negative."""
    v = _dual_vector(question, within, index, sign)
    exponent = int(np.frexp(np.abs(v).max())[1]) if v.any() else 0
    exact = Dyadic.of(v, max(_DUAL_BITS - exponent, 0))
    rest = -(question.A.T @ exact)
    k = rest.k.copy()
    k[index] += sign << rest.bits
    sizes = [root_above(s) for s in Dyadic(k, rest.bits).magnitudes(question.group)]
    mu = max(s / bound for s, bound in zip(sizes, question.penalties, strict=True))
    inner = Fraction(int((exact.k * question.y.k).sum()), 1 << (exact.bits + question.y.bits))
    length = exact.norm_above()
    if question.kind == "P3":
        return max(mu, length) * within.most + inner
    if question.kind == "P1":
        return mu * within.most + inner + within.epsilon * length
    if within.most:
        mu = max(mu, length / (2 * root_above(within.most)))
    return mu * within.most + inner + (length * length / (4 * mu) if length else 0)


def _dual_vector(question: Question, within: Level, index: int, sign: int) -> Array:
    """Returns a vector v with a small bound, in double precision."""
    m, n, d = question.A.shape[0], question.columns, question.group
    kind, epsilon = question.kind, float(within.epsilon)
    more = kind == "P2" or (kind == "P1" and epsilon > 0)
    width = m + 1 + more
    G, s, h = np.zeros((n, d, width)), np.zeros((n, width)), np.zeros((n, d))
    G[:, :, :m] = -question.matrix.T.reshape(d, n, m).transpose(1, 0, 2)
    s[:, m], h[index % n, index // n] = question.sizes, sign
    cones = [Cones(G, h, s, np.zeros(n))]
    cost = np.concatenate([question.data, [float(within.most)], [1.0 if kind == "P2" else epsilon] * more])
    size = 2 / question.sizes[index % n]
    start = np.concatenate([np.zeros(m), [size], [1.0] * more])
    if kind != "P1" or more:
        body, last = np.eye(m + (kind == "P2"), width), np.zeros((1, width))
        if kind == "P3":
            last[0, m] = 1
        elif kind == "P1":
            last[0, m + 1] = 1
        else:  # ||v||^2 <= 4 mu tau, as ||(v, mu - tau)|| <= mu + tau
            body[m, m:], last[0, m:] = (1, -1), 1
        cones.append(Cones(body[None], np.zeros((1, len(body))), last, np.zeros(1)))
    return minimise(cost, cones, start, 1e-9)[0][:m]
