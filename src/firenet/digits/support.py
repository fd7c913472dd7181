"""The support of a minimiser: from an interior-point solution, and exchanges of columns until the conditions hold.

Nothing here is trusted: what is returned is a point for which :mod:`firenet.digits.enclosure` proves what it can.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from firenet.digits.dyadic import root_above
from firenet.digits.enclosure import Enclosure, enclose, not_excluded
from firenet.digits.interior import Cones, minimise
from firenet.digits.stationary import Stationary, fitting, stationary

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from firenet.digits.question import Question

    Array = NDArray[np.float64]

_EXCHANGES = 60


@dataclass(frozen=True, eq=False)
class Guess:
    """A support in double precision.

    Attributes:
        values: For each column of the support its coefficient, as a group: the start of Newton's method.
        nu: An approximation of the multiplier of (P1); not used for (P2) and (P3).
        fits: Whether the data are fitted exactly.
    """

    values: dict[int, Array]
    nu: float
    fits: bool


@dataclass(frozen=True, eq=False)
class Settled:
    """A point, an enclosure of the minimisers of the restricted problems, and the columns that are not excluded.

    Attributes:
        point: The point; None where none was found.
        ball: The enclosure; None where no theorem applies.
        left: The columns outside of B that are not excluded; without any, the enclosure holds all minimisers.
    """

    point: Stationary | None = None
    ball: Enclosure | None = None
    left: list[int] = field(default_factory=list)

    @property
    def proved(self) -> bool:
        """Whether the enclosure holds all minimisers of all problems that agree with what is known."""
        return self.ball is not None and not self.left


def approximate(question: Question) -> tuple[Array, Array]:
    """Returns approximations of a minimiser and of a dual vector in double precision, to a duality gap of some 1e-9."""
    m, d = question.matrix.shape[0], question.group
    columns = question.matrix.T.reshape(d, question.columns, m).transpose(1, 0, 2)
    more = question.kind == "P2" or (question.kind == "P1" and question.epsilon > 0)
    width = m + more
    G = np.zeros((question.columns, d, width))
    G[:, :, :m] = columns
    cones = [Cones(G, np.zeros((question.columns, d)), np.zeros((question.columns, width)), question.sizes)]
    cost = np.append(question.data, [1.0 if question.kind == "P2" else float(question.epsilon)] * more)
    start = np.append(np.zeros(m), [1.0] * more)
    if question.kind == "P3":
        cones.append(Cones(np.eye(m)[None], np.zeros((1, m)), np.zeros((1, m)), np.ones(1)))
    elif more:
        squared = question.kind == "P2"
        body = np.eye(width)[None] if squared else np.eye(m, width)[None]
        last = np.zeros((1, width))
        last[0, m] = 1
        shift = np.zeros((1, len(body[0])))
        if squared:
            shift[0, m] = -1
        cones.append(Cones(body, shift, last, np.full(1, 1.0 if squared else 0.0)))
    q, weight = minimise(cost, cones, start, 1e-9)
    return -cones[0].multipliers(q, weight).T.ravel(), q[:m]


def guess(question: Question, x: Array, q: Array) -> Guess:
    """Returns the support that strict complementarity suggests."""
    groups, back = x.reshape(question.group, -1), (question.matrix.T @ q).reshape(question.group, -1)
    size, slack = (np.sqrt((v**2).sum(axis=0)) for v in (groups, back))
    slack = 1 - slack / question.sizes
    largest = size.max(initial=0)
    on = np.flatnonzero(size > np.maximum(slack, 1e-12) * largest) if largest else []
    rest = float(np.linalg.norm(question.matrix @ x - question.data))
    total = float(np.linalg.norm(question.data))
    fits = question.kind == "P3" and rest < (1 - float(np.linalg.norm(q))) * total
    fits = fits or (question.kind == "P1" and not question.epsilon)
    return Guess({int(j): groups[:, j] for j in on}, float(np.linalg.norm(q)) or 1.0, fits and total > 0)


def settle(question: Question, first: Guess, bits: int) -> Settled:
    """Exchanges columns of a support until the conditions hold, and returns the last point and what is proved of it."""
    values, seen = dict(first.values), set()
    settled = Settled()
    for _ in range(_EXCHANGES):
        key = tuple(sorted((j, *np.sign(v)) for j, v in values.items()))
        if key in seen:
            break
        seen.add(key)
        point = _point(question, Guess(values, first.nu, first.fits), bits)
        if point is None:
            if not values or not _drop(values):
                break
            continue
        found = point.x.floats().reshape(question.group, -1)
        new = {j: found[:, i] for i, j in enumerate(point.columns)}
        flipped = [j for j, v in values.items() if j in new and float(v @ new[j]) <= 0]
        if flipped and question.group == 1:
            for j in flipped:
                values.pop(j)
            continue
        values = {j: v for j, v in new.items() if not point.fits or j in values or np.abs(v).max() > 1e-12}
        ball = enclose(question, point)
        settled = Settled(point, ball, [] if ball is None else not_excluded(question, ball))
        if ball is None or not settled.left:
            break
        worst = _worst(question, point, settled.left, bits)
        if worst is None:
            return _extended(question, settled)
        _exchange(question, point, values, worst)
    return settled


def _point(question: Question, given: Guess, bits: int) -> Stationary | None:
    columns = sorted(given.values)
    if not given.fits:
        start = np.array([given.values[j] for j in columns]).T.ravel()
        return stationary(question, columns, start, given.nu, bits)
    rows = question.matrix.shape[0]
    chosen = columns[: rows // question.group]
    while len(chosen) * question.group < rows:
        # The column furthest from the range of those chosen, per unit of its penalty: then its coefficients in the
        # basis are small where little is known of its sign.
        basis = np.linalg.qr(question.matrix[:, question.spread(chosen)])[0] if chosen else np.zeros((rows, 0))
        rest = question.matrix - basis @ (basis.T @ question.matrix)
        norms = np.sqrt((rest**2).sum(axis=0))[: question.columns] / question.sizes
        norms[chosen] = -1
        chosen.append(int(norms.argmax()))
    return fitting(question, chosen, set(columns), bits)


def _drop(values: dict[int, Array]) -> bool:
    """Removes the smallest coefficient."""
    values.pop(min(values, key=lambda j: float(np.abs(values[j]).max())))
    return True


def _worst(question: Question, point: Stationary, columns: list[int], bits: int) -> int | None:
    """Returns the column that violates its condition most, by more than rounding can."""
    worst, most = None, Fraction(1) + Fraction(1, 1 << bits // 2)
    for j in columns:
        back = (question.A[:, question.spread([j])].T @ point.p).norm_above() * point.nu
        if back > most * question.penalties[j]:
            worst, most = j, back / question.penalties[j]
    return worst


def _exchange(question: Question, point: Stationary, values: dict[int, Array], j: int) -> None:
    """Lets a column in; where the others span it, the one that reaches zero first leaves."""
    group = question.spread([j])
    back = question.matrix[:, group].T @ point.p.floats()
    direction = -back / np.linalg.norm(back)
    columns = list(point.columns)
    A, a = question.matrix[:, question.spread(columns)], question.matrix[:, group] @ direction
    c = np.linalg.lstsq(A, a, rcond=None)[0] if columns else np.zeros(0)
    spanned = bool(columns) and np.linalg.norm(A @ c - a) <= 1e-9 * np.linalg.norm(a)
    scale = max((float(np.abs(v).max()) for v in values.values()), default=float(np.linalg.norm(question.data)) or 1.0)
    if spanned:
        moves = c.reshape(question.group, -1)
        falls = {}
        for i, k in enumerate(columns):
            v = values.get(k, np.zeros(question.group))
            size = float(np.linalg.norm(v))
            rate = float(moves[:, i] @ v) / size if size else float(np.linalg.norm(moves[:, i]))
            if rate > 1e-12:
                falls[k] = size / rate
        if falls:
            values.pop(min(falls, key=lambda k: falls[k]), None)
    values[j] = direction * scale * 1e-3


def _extended(question: Question, settled: Settled) -> Settled:
    """Takes columns that are neither used nor excluded into the basis, where it stays injective."""
    point, best, extra = settled.point, settled, []
    while point is not None and best.left:
        extra = [*extra, *best.left]
        if (len(extra) + len(point.columns)) * question.group > question.A.shape[0] or point.fits:
            break
        ball = enclose(question, point, extra)
        if ball is None:
            break
        best = Settled(point, ball, not_excluded(question, ball))
    return best if best.proved else settled


def objective_above(question: Question, x: list[Fraction], residual: Fraction) -> Fraction:
    """Returns an upper bound of the objective of a point, from an upper bound of its residual's norm."""
    n = question.columns
    total = Fraction(0)
    for j, bound in enumerate(question.penalties):
        squared = sum((x[j + k * n] ** 2 for k in range(question.group)), Fraction(0))
        total += bound * root_above(squared) if squared else 0
    return total + {"P1": Fraction(0), "P2": residual * residual, "P3": residual}[question.kind]
