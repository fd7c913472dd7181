"""Refutations: vectors that violate a claimed null space property, found in floating point, checked in integers.

For a vector x the worst set :math:`\\Delta` has the :math:`s_k` largest entries of each level k. The search maximises

.. math:: \\frac{\\|x_\\Delta\\|_2}{\\rho\\|x_{\\Delta^c}\\|_{l^1_w}/\\sqrt\\xi+\\gamma\\|Ax\\|_2},

and the claim is refuted where that is above 1. The denominator is a sum of terms :math:`p_j`; its square is the
smallest of the quadratic forms :math:`\\sum_jp_j^2/\\lambda_j` over :math:`\\lambda_j>0` of sum 1. For given
:math:`\\lambda` and set the best x is an eigenvector of a small matrix: iteratively reweighted least squares, which
never decreases the quotient as long as the set stays. It starts at vectors near the kernel that have one large entry
(the multipliers of :mod:`firenet.guarantees.linear_estimates`), at vectors of the kernel, and at combinations of two
nearly parallel columns that nearly cancel.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from firenet.guarantees import checker
from firenet.guarantees.concrete import ConcreteMatrix, NullSpaceProblem, rounded
from firenet.guarantees.linear_estimates import LinearEstimates
from firenet.guarantees.null_space import check_claim
from firenet.sparsity import SparsityLevels

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

_MOST_EXACT = 40  # columns from which an exact vector of the kernel is computed: the time grows with their cube
_ITERATIONS = 40


@dataclass(frozen=True)
class Violation:
    """A vector that violates a claimed null space property, checked in exact arithmetic.

    Attributes:
        problem: Matrix, levels and weights.
        rho: The claimed :math:`\\rho`; None: every :math:`\\rho<1` is refuted.
        gamma: The claimed :math:`\\gamma`; None: every :math:`\\gamma` is refuted, because Ax = 0.
        vector: x as integers times a power of two.
        statement: What the checker says.
    """

    problem: NullSpaceProblem
    rho: Fraction | None
    gamma: Fraction | None
    vector: dict[str, Any]
    statement: str

    @property
    def x(self) -> list[Fraction] | list[tuple[Fraction, Fraction]]:
        """The vector; a complex one as pairs of real and imaginary part."""
        unit = checker.power(self.vector["exponent"])
        real = [v * unit for v in self.vector["real"]]
        if "imaginary" not in self.vector:
            return real
        return list(zip(real, (v * unit for v in self.vector["imaginary"]), strict=True))

    def certificate(self) -> dict[str, Any]:
        """Returns the certificate, which :mod:`firenet.guarantees.checker` accepts."""
        return self.problem.certificate("fails", self.rho, self.gamma, [self.vector])

    def to_json(self) -> str:
        """Returns the certificate as text, for a file."""
        return json.dumps(self.certificate(), separators=(",", ":"))


def refute_null_space(
    matrix: ArrayLike | ConcreteMatrix,
    levels: SparsityLevels,
    rho: float | Fraction | None = None,
    gamma: float | Fraction | None = None,
    *,
    weights: Iterable[float | Fraction] | None = None,
    seed: int = 0,
    starts: int = 40,
) -> Violation | None:
    """Looks for a vector that violates a claimed weighted robust null space property in levels.

    Args:
        matrix: A real or complex matrix, taken exactly as it is.
        levels: The levels, which are consecutive blocks of the columns.
        rho: The claimed :math:`\\rho`; None looks for a vector that refutes every :math:`\\rho<1`.
        gamma: The claimed :math:`\\gamma`; None looks for a vector of the kernel, which refutes every :math:`\\gamma`.
        weights: One for each level, or one for each column, equal within a level; None is ``levels.weights()``.
        seed: The seed of the random starts.
        starts: The largest number of vectors at which the search starts.

    Returns:
        The violation, or None if none was found, which proves nothing.

    Raises:
        BadInput: As :func:`.prove_null_space`.

    >>> found = refute_null_space([[2.0, 1.0]], SparsityLevels((2,), (1,)))
    >>> [int(v) for v in found.x]
    [-1, 2]
    """
    check_claim(0.5 if rho is None else rho, 1 if gamma is None else gamma)
    problem = NullSpaceProblem.of(matrix, levels, weights)
    claimed = tuple(None if v is None else Fraction(v) for v in (rho, gamma))
    for x, quotient in _Ascent(problem, rho, gamma).vectors(seed, starts):
        if quotient > 1 - 1e-6:
            violation = _verified(problem, claimed[0], claimed[1], x)
            if violation is not None:
                return violation
    return None


def largest_refuted_rho(
    problem: NullSpaceProblem, gamma: float | Fraction, *, seed: int = 0, starts: int = 40
) -> Violation | None:
    """Returns the violation with the largest :math:`\\rho` that a search finds for a given :math:`\\gamma`.

    Whatever proves the property with this :math:`\\gamma` needs a larger :math:`\\rho`.
    """
    best: Violation | None = None
    for guess in (0.9, 0.3):
        ascent = _Ascent(problem, guess, gamma)
        for x, _ in ascent.vectors(seed, starts):
            head, tail, misfit, _ = ascent.parts(x)
            rho = min((head - ascent.gamma * misfit) / max(tail, 1e-300), 1) * (1 - 1e-6)
            digits = Fraction(math.floor(rho * 10**6), 10**6)
            if digits > (0 if best is None or best.rho is None else best.rho):
                best = _verified(problem, digits, Fraction(gamma), x) or best
    return best


class _Ascent:
    """The search in floating point, for the matrix that is scaled to entries below 1."""

    def __init__(self, problem: NullSpaceProblem, rho: float | Fraction | None, gamma: float | Fraction | None) -> None:
        self.problem, self.A, self.v = problem, problem.matrix.scaled, problem.relative_weights
        self.blocks, self.size = problem.blocks(), max(float(np.linalg.norm(self.A, 2)), 1e-300)
        self.rho = 1.0 if rho is None else float(rho)
        scale = problem.matrix.scale
        most = 1e9 / self.size  # beyond, rounding hides the misfit of a vector of the kernel
        self.gamma = most if gamma is None else min(math.ldexp(float(gamma), scale), most)

    def vectors(self, seed: int, starts: int) -> Iterator[tuple[NDArray[Any], float]]:
        """Yields vectors at which the ascent ends, and their quotients."""
        for start in self._starts(np.random.default_rng(seed), starts):
            x, best = start, self._quotient(start)
            for _ in range(_ITERATIONS):
                moved = self._improved(x)
                reached = self._quotient(moved) if np.isfinite(moved).all() else 0.0
                if not reached > best * (1 + 1e-6):
                    break
                x, best = moved, reached
            yield x, best

    def parts(self, x: NDArray[Any]) -> tuple[float, float, float, NDArray[np.bool_]]:
        """Returns :math:`\\|x_\\Delta\\|_2`, :math:`\\|x_{\\Delta^c}\\|_{l^1_w}/\\sqrt\\xi`, :math:`\\|Ax\\|_2` and the
        set."""
        moduli, inside = np.abs(x), np.zeros(len(x), dtype=bool)
        for columns, s in self.blocks:
            inside[columns.start + np.argpartition(moduli[columns], -s)[-s:]] = True
        head, misfit = np.linalg.norm(moduli[inside]), np.linalg.norm(self.A @ x)
        return float(head), float(self.v[~inside] @ moduli[~inside]), float(misfit), inside

    def _quotient(self, x: NDArray[Any]) -> float:
        head, tail, misfit, _ = self.parts(x)
        return head / max(self.rho * tail + self.gamma * misfit, 1e-300)

    def _improved(self, x: NDArray[Any]) -> NDArray[Any]:
        """Returns the best vector for the weights and the set of x."""
        head, _, misfit, inside = self.parts(x)
        terms, last = np.where(inside, 0, self.rho * self.v * np.abs(x)), self.gamma * misfit
        total = max(float(terms.sum()) + last, 1e-300)
        shares, share = np.maximum(terms / total, 1e-10), max(last / total, 1e-10)
        # A multiple of ||x_D||^2 in the denominator does not change where the quotient is largest: it makes the form
        # definite.
        inverse = np.where(inside, (head / total) ** 2, shares / (self.rho * self.v) ** 2)
        scaled = self.A * inverse
        normal = scaled @ self.A.conj().T + share / self.gamma**2 * np.eye(len(self.A))
        normal += 1e-15 * np.trace(normal).real * np.eye(len(self.A))
        columns = -scaled.conj().T @ np.linalg.solve(normal, scaled[:, inside])
        columns[inside] += np.diag(inverse[inside])
        small = columns[inside]
        moved = columns @ np.linalg.eigh((small + small.conj().T) / 2)[1][:, -1]
        return moved / max(float(np.abs(moved).max()), 1e-300)

    def _starts(self, random: np.random.Generator, count: int) -> Iterator[NDArray[Any]]:
        """Yields at most this many vectors."""
        estimates = LinearEstimates(self.A, self.v)
        for _ in range(6):
            estimates.improve(0.02 * estimates.size, 25)
        near = estimates.U / np.maximum(np.abs(estimates.U).max(0), 1e-300)
        kernel = np.linalg.svd(self.A)[2][np.linalg.matrix_rank(self.A) :].conj().T
        pool = np.concatenate([near, self._pairs(), kernel], axis=1)
        quotients = np.array([self._quotient(x) for x in pool.T])
        # The best by the quotient, the best without the misfit, and random vectors of the kernel.
        sharp = np.array([head / max(tail, 1e-300) for head, tail, _, _ in map(self.parts, pool.T)])
        order = np.stack([np.argsort(-quotients), np.argsort(-sharp)], axis=1).ravel()
        chosen = list(dict.fromkeys(order.tolist()))[: max(count - count // 8, 1)]
        yield from pool.T[chosen]
        for _ in range(count // 8 if kernel.size else 0):
            yield kernel @ random.standard_normal(kernel.shape[1])

    def _pairs(self) -> NDArray[Any]:
        """Returns combinations of nearly parallel columns that nearly cancel, and columns that are nearly zero."""
        lengths = np.maximum(np.linalg.norm(self.A, axis=0), 1e-300)
        gram = (self.A / lengths).conj().T @ (self.A / lengths)
        n = len(lengths)
        found = [np.eye(n, dtype=gram.dtype)[int(np.argmin(lengths))]]
        parallel = np.argsort(-np.abs(np.triu(gram, 1)), axis=None)[: min(8, n * (n - 1) // 2)]
        for flat in parallel:
            i, j = divmod(int(flat), n)
            x = np.zeros(n, dtype=gram.dtype)
            x[i], x[j] = gram[i, j] / lengths[i], -1 / lengths[j]
            found.append(x / np.abs(x).max())
        return np.stack(found, axis=1)


def _verified(
    problem: NullSpaceProblem, rho: Fraction | None, gamma: Fraction | None, x: NDArray[Any]
) -> Violation | None:
    """Returns the violation by x, or by a vector of the kernel on its large entries, if the checker accepts it."""
    for vector in _variants(problem.matrix, x):
        try:
            said = checker.check(problem.certificate("fails", rho, gamma, [vector]))[1]
        except checker.Refused:
            continue
        return Violation(problem, rho, gamma, vector, said)
    return None


def _variants(matrix: ConcreteMatrix, x: NDArray[Any]) -> Iterator[dict[str, Any]]:
    """Yields exact vectors near x: of the kernel on its large entries, those entries alone, and x itself."""
    moduli = np.abs(x)
    support = np.flatnonzero(moduli > 1e-5 * moduli.max())
    if len(support) <= _MOST_EXACT:
        exact = exact_kernel(matrix, support.tolist())
        if exact is not None:
            yield exact
        part = np.zeros_like(x)
        part[support] = np.linalg.svd(matrix.scaled[:, support])[2][-1].conj()
        yield rounded(part, bits=60)
    yield rounded(x, bits=60)


def exact_kernel(matrix: ConcreteMatrix, columns: list[int]) -> dict[str, Any] | None:
    """Returns a vector of integers with Ax = 0 that is zero outside these columns; None if there is none.

    Gaussian elimination in fractions; a complex number is a pair of them.
    """
    parts = [matrix.real] if matrix.imaginary is None else [matrix.real, matrix.imaginary]
    rows = [[_Number(*(part[r][c] for part in parts)) for c in columns] for r in range(matrix.shape[0])]
    pivots: list[int] = []
    for c in range(len(columns)):
        at = next((r for r in range(len(pivots), len(rows)) if rows[r][c]), None)
        if at is None:  # column c is a combination of the pivots' columns
            break
        done = len(pivots)
        rows[done], rows[at] = rows[at], rows[done]
        inverse = rows[done][c].inverse()
        rows[done] = [v * inverse for v in rows[done]]
        for r in range(len(rows)):
            if r != done and rows[r][c]:
                factor = rows[r][c]
                rows[r] = [a - factor * b for a, b in zip(rows[r], rows[done], strict=True)]
        pivots.append(c)
    else:
        return None
    free = len(pivots)
    entries = {columns[free]: _Number(1)} | {columns[k]: _Number(-1) * rows[k][free] for k in range(free)}
    common = math.lcm(*(v.denominator for e in entries.values() for v in (e.real, e.imaginary)))
    real, imaginary = [0] * matrix.shape[1], [0] * matrix.shape[1]
    for c, entry in entries.items():
        real[c], imaginary[c] = int(entry.real * common), int(entry.imaginary * common)
    found: dict[str, Any] = {"exponent": 0, "real": real}
    return found if matrix.imaginary is None else found | {"imaginary": imaginary}


class _Number:
    """A complex number of two fractions."""

    def __init__(self, real: Fraction | int, imaginary: Fraction | int = 0) -> None:
        self.real, self.imaginary = Fraction(real), Fraction(imaginary)

    def __bool__(self) -> bool:
        return bool(self.real or self.imaginary)

    def __sub__(self, other: _Number) -> _Number:
        return _Number(self.real - other.real, self.imaginary - other.imaginary)

    def __mul__(self, other: _Number) -> _Number:
        real = self.real * other.real - self.imaginary * other.imaginary
        return _Number(real, self.real * other.imaginary + self.imaginary * other.real)

    def inverse(self) -> _Number:
        """Returns the reciprocal."""
        size = self.real**2 + self.imaginary**2
        return _Number(self.real / size, -self.imaginary / size)
