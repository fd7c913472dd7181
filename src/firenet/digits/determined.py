"""How many digits of a minimiser the data determine: a verified lower bound, and two problems that bound it above.

k digits are determined if one point is within :math:`10^{-k}`, in the 2-norm, of every minimiser of every problem that
agrees with the data. An enclosure of all these minimisers proves digits; two problems that agree with the data and
whose minimisers are more than :math:`2\\cdot10^{-k}` apart refute them. In between nothing is decided.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from firenet.barriers.classify import digits_of
from firenet.digits.dyadic import Dyadic, integers, root_above
from firenet.digits.enclosure import Local
from firenet.digits.near import box, level
from firenet.digits.question import Kind, Question
from firenet.digits.rivals import Pair, far_apart, full, segment, spanning
from firenet.digits.stationary import Stationary
from firenet.digits.support import Guess, Settled, approximate, guess, settle
from firenet.errors import BadInput
from firenet.versions import versions

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MOST_BITS = 4096
_MOST_PROGRAMS = 400  # cone programs for a box: some tenths of a second each


@dataclass(frozen=True, eq=False)
class Witness:
    """Two problems that agree with the data, and their minimisers.

    Attributes:
        matrices: The changes E of the matrix; None where it is unchanged.
        data: The changes e of the measurements; None where they are unchanged.
        minimisers: Their minimisers, each to within :attr:`radii`.
        radii: Upper bounds of the distance of every minimiser to the one shown.
        distance: A lower bound of the distance between any minimisers of the first and of the second problem.
    """

    matrices: tuple[NDArray[Any] | None, NDArray[Any] | None]
    data: tuple[NDArray[Any] | None, NDArray[Any] | None]
    minimisers: tuple[NDArray[Any], NDArray[Any]]
    radii: tuple[float, float]
    distance: float


@dataclass(frozen=True, eq=False)
class Digits:
    """How many digits of the minimiser are determined, as :func:`determine` defines it.

    Attributes:
        kind: ``P1``, ``P2`` or ``P3``.
        at_least: A verified lower bound of the number of digits; infinity where the data are exact and the minimiser is
            unique, or where zero is the only minimiser of every problem that agrees; -inf without an enclosure.
        at_most: A verified upper bound of the number of digits, from the witness; infinity without one.
        centre: The point to which the digits belong, rounded to double precision.
        radius: An upper bound of the distance between the rounded centre and every minimiser of every problem that
            agrees with the data; infinity where nothing is shown.
        witness: The two problems; None where none were found.
        method: What the lower bound rests on.
        note: Why something is not decided; empty if everything is.
    """

    kind: Kind
    at_least: float
    at_most: float
    centre: NDArray[Any]
    radius: float
    witness: Witness | None
    method: str
    note: str

    @property
    def decided(self) -> bool:
        """Whether the number of digits is known exactly."""
        return self.at_least == self.at_most

    @property
    def statement(self) -> str:
        """The result as a sentence."""
        if self.at_least == math.inf:
            unique = "the minimiser is unique, and the data are exact" if self.radius else "the minimiser is exact"
            return f"Every digit is determined: {unique}."
        if self.at_least == -math.inf:
            if self.at_most == math.inf:
                return "Nothing is shown: see the note."
            return f"{self.at_most + 1} digits are not determined. Whether any are is not shown: see the note."
        close = f"a point within 1e{-self.at_least:+03d} of every minimiser is known"
        if self.decided:
            return f"Exactly {self.at_least} digits of the minimiser are determined: {close}, and no more."
        least = f"{self.at_least} digits of the minimiser are determined: {close}"
        if self.at_most == math.inf:
            return f"{least}. Whether more are is not decided."
        return f"{least}. {self.at_most + 1} digits are not. In between nothing is decided."

    def record(self) -> dict[str, Any]:
        """Returns the result for JSON, with None for what is infinite."""
        finite = {k: None if math.isinf(v) else v for k, v in (("at_least", self.at_least), ("at_most", self.at_most))}
        every = self.at_least == math.inf
        return {
            "kind": self.kind,
            **finite,
            "every_digit": every,
            "decided": self.decided,
            "radius": self.radius if math.isfinite(self.radius) else None,
            "distance": None if self.witness is None else self.witness.distance,
            "method": self.method,
            "note": self.note,
            "statement": self.statement,
            "versions": versions(),
        }


def determine(
    matrix: Any,
    data: Any,
    parameter: Any,
    *,
    kind: Kind = "P3",
    weights: Any = None,
    bits: int | None = None,
    matrix_within: Any = None,
    data_within: Any = None,
    progress: Callable[[int, int], None] | None = None,
) -> Digits:
    """Finds how many digits of the minimiser of a small problem its data determine.

    k digits are determined if one point is within :math:`10^{-k}`, in the 2-norm, of every minimiser of every problem
    that agrees with the data. The problem is to minimise :math:`\\lambda\\|x\\|_{l^1_w}+\\|Ax-y\\|_2` (P3) or
    :math:`\\lambda\\|x\\|_{l^1_w}+\\|Ax-y\\|_2^2` (P2), or :math:`\\|x\\|_{l^1_w}` subject to
    :math:`\\|Ax-y\\|_2\\le\\varepsilon` (P1). Problems agree with the data if their matrix is within
    :math:`\\alpha` in the spectral norm and their measurements within :math:`\\beta` in the 2-norm.

    Args:
        matrix: A, real or complex: an array, or lists of numbers or fractions, taken exactly.
        data: y.
        parameter: :math:`\\lambda`, for (P1) :math:`\\varepsilon`; a number, a fraction or a string such as "1/10".
        kind: ``P1``, ``P2`` or ``P3``.
        weights: w, positive; None is 1.
        bits: n, if matrix and measurements are known within :math:`2^{-n}`; None if they are exact.
        matrix_within: :math:`\\alpha`; None is :math:`2^{-n}`, or 0 without ``bits``.
        data_within: :math:`\\beta`; None is :math:`2^{-n}`, or 0 without ``bits``.
        progress: Called with the number of real and imaginary parts that are bounded by two cone programs each, and
            their total, where this is necessary.

    Raises:
        BadInput: For shapes that do not fit, numbers that are not finite, parameters out of range, measurements that no
            x fits (P1), and problems that are too large.

    >>> determine([[2, 1]], [1], "1/2").statement
    'Every digit is determined: the minimiser is exact.'
    >>> determine([[2, 2]], [1], "1/2").statement
    'Exactly 0 digits of the minimiser are determined: a point within 1e+00 of every minimiser is known, and no more.'
    """
    known = Fraction(0) if bits is None else Fraction(1, 1 << bits) if bits >= 0 else Fraction(1 << -bits)
    within = [known if v is None else v for v in (matrix_within, data_within)]
    question = Question.of(
        matrix, data, parameter, kind=kind, weights=weights, matrix_within=within[0], data_within=within[1]
    )
    return answer(question, progress)


def answer(question: Question, progress: Callable[[int, int], None] | None = None) -> Digits:
    """Answers a question, as :func:`determine` does."""
    if _zero(question):
        x = Dyadic(integers([0] * (question.columns * question.group)), 0)
        return _digits(question, x, Fraction(0), None, "the zero vector fits the data and costs nothing", "")
    _check_fit(question)
    x, q = approximate(question)
    first = guess(question, x, q)
    bits, settled = _settled(question, first)
    pair = segment(question, settled)
    if settled.proved and settled.ball is not None:
        ball = settled.ball
        pair = far_apart(question, settled, first, bits)
        method = "the support and the conditions of optimality, perturbed"
        return _digits(question, full(question, ball.columns, ball.x), ball.radius, pair, method, "")
    pair = pair or far_apart(question, settled, first, bits)
    point = Dyadic.of(x, 80)
    if settled.ball is not None:
        point = full(question, settled.ball.columns, settled.ball.x)
    return _boxed(question, settled, point, q, pair, progress)


def _settled(question: Question, first: Guess) -> tuple[int, Settled]:
    """Returns the bits that were used, and the best that is proved; exact data get more bits until it is decided."""
    within = [v for v in (question.matrix_within, question.data_within) if v]
    bits = 256 + max((2 * max(v.denominator.bit_length() - v.numerator.bit_length(), 0) for v in within), default=0)
    settled = settle(question, first, bits)
    while question.exact and not settled.proved and bits < _MOST_BITS and segment(question, settled) is None:
        if settled.ball is None:
            break
        bits *= 4
        settled = settle(question, first, bits)
    return bits, settled


def _boxed(
    question: Question,
    settled: Settled,
    point: Dyadic,
    q: NDArray[np.float64],
    pair: Pair | None,
    progress: Callable[[int, int], None] | None,
) -> Digits:
    """Returns what a box around all points that are nearly optimal shows."""
    within = level(question, point)
    if within is None:
        for share in (1e-12, 1e-9, 1e-6, 1e-4, 1e-2, 0.5, 1.0):
            within = level(question, _towards_fit(question, point, share))
            if within is not None:
                break
    if within is None:
        note = "no point is shown to fit the data of all problems that agree with what is known"
        return _digits(question, point, None, pair, "nothing", note)
    used = settled.point.columns if settled.point is not None else ()
    columns = sorted({*used, *settled.left}) or list(range(question.columns))
    if settled.ball is None:
        columns = list(range(question.columns))
    note = "columns that may be in the support are not excluded, or no theorem for one support applies"
    if 2 * len(columns) * question.group > _MOST_PROGRAMS:
        columns, note = [], f"{note}; for a sharper box at most {_MOST_PROGRAMS} cone programs are solved"
    low, high = box(question, within, q, columns, progress)
    centre = Dyadic.of(np.array([(a + b) / 2 for a, b in zip(low, high, strict=True)], dtype=object), 200)
    ends = zip(low, high, centre.fractions(), strict=True)
    radius = root_above(sum((max(b - c, c - a) ** 2 for a, b, c in ends), Fraction(0)))
    method = "a box around all points whose objective is near the minimum"
    return _digits(question, centre, radius, pair, method, note)


def _zero(question: Question) -> bool:
    """Whether every problem that agrees with the data has the zero vector as its only minimiser."""
    length = question.y.norm_above() + question.data_within
    return length <= question.epsilon if question.kind == "P1" else not length


def _check_fit(question: Question) -> None:
    """Raises an error if no x fits the data of (P1), for any of the problems that agree with what is known."""
    if question.kind != "P1":
        return
    columns = spanning(question)
    x = Dyadic(integers([0] * (len(columns) * question.group)), 64)
    local = Local(question, Stationary(tuple(columns), False, x, question.y, Fraction(1)))
    exactly = len(columns) == question.columns or not question.matrix_within
    if local.inverse is None or not exactly:
        return
    least, length = local.least_squares(256)[2], question.y.norm_above() + question.data_within
    if least > question.epsilon + question.data_within + question.matrix_within * local.inverse * length:
        unit = float(question.data_unit)
        needed = f"Measurements within epsilon = {float(question.epsilon) * unit:.3g} of some Ax"
        raise BadInput(needed, f"at least {float(least) * unit:.3g} from every Ax", "Give a larger epsilon")


def _towards_fit(question: Question, point: Dyadic, share: float) -> Dyadic:
    x = point.floats()
    best = np.linalg.lstsq(question.matrix, question.data, rcond=None)[0]
    return Dyadic.of(x + share * (best - x), 80)


def _digits(
    question: Question, x: Dyadic, radius: Fraction | None, pair: Pair | None, method: str, note: str
) -> Digits:
    unit = question.unit
    size = None if radius is None else radius * unit
    unique = question.exact and not note
    at_least = math.inf if size == 0 or unique else -math.inf if size is None else digits_of(size)
    at_most = math.inf if pair is None else digits_of(pair.distance * unit / 2)
    if at_least > at_most:
        raise RuntimeError(f"{at_least} digits are proved and {at_most + 1} refuted, so firenet has an error")
    witness = None if pair is None else _witness(question, pair)
    if at_least == at_most or unique:
        note = ""
    elif not note:
        note = "the worst pair of problems that was found is nearer than the enclosure is wide"
    shown = _natural(question, x.floats() * float(unit))
    if size is not None:
        size += _rounding(x, unit)
    return Digits(
        question.kind, at_least, at_most, shown, math.inf if size is None else _up(size), witness, method, note
    )


def _witness(question: Question, pair: Pair) -> Witness:
    rivals = (pair.first, pair.second)
    m, n, unit = question.A.shape[0] // question.group, question.columns, question.unit
    matrices = [None if r.matrix is None else r.matrix.floats() * float(question.matrix_unit) for r in rivals]
    data = [None if r.data is None else r.data.floats() * float(question.data_unit) for r in rivals]
    parts = [None if E is None else np.concatenate([E[:m, :n], E[m:, :n]]).reshape(-1, n) for E in matrices]
    shown = [None if E is None else E if question.group == 1 else E[:m] + 1j * E[m:] for E in parts]
    radii = [_up(r.radius * unit + _rounding(r.x, unit)) for r in rivals]
    return Witness(
        (shown[0], shown[1]),
        (_natural(question, data[0]), _natural(question, data[1])),
        (_whole(question, rivals[0].x), _whole(question, rivals[1].x)),
        (radii[0], radii[1]),
        math.nextafter(float(pair.distance * unit), 0),
    )


def _whole(question: Question, x: Dyadic) -> NDArray[Any]:
    return _natural(question, x.floats() * float(question.unit))


@overload
def _natural(question: Question, x: None) -> None: ...
@overload
def _natural(question: Question, x: NDArray[np.float64]) -> NDArray[Any]: ...
def _natural(question: Question, x: NDArray[np.float64] | None) -> NDArray[Any] | None:
    """Returns a vector without embedding."""
    if x is None or question.group == 1:
        return x
    groups = x.reshape(2, -1)
    return groups[0] + 1j * groups[1]


def _rounding(x: Dyadic, unit: Fraction) -> Fraction:
    """Returns a bound of the distance of a point, times the unit, to the double-precision numbers that are shown."""
    shown = [Fraction(v) for v in (x.floats() * float(unit)).tolist()]
    apart = (a * unit - b for a, b in zip(x.fractions(), shown, strict=True))
    return root_above(sum((v * v for v in apart), Fraction(0)))


def _up(value: Fraction) -> float:
    return math.nextafter(float(value), math.inf) if value else 0.0
