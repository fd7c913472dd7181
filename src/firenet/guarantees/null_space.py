"""Proofs of the null space property of a concrete matrix: verified rho and gamma, and a certificate of them.

Let :math:`h_i` be any vectors, R the matrix with rows :math:`(e_i-A^*h_i)^*`, and H the one with columns :math:`h_i`.
Then :math:`x_i=\\langle Ax,h_i\\rangle+(Rx)_i`, so that for every set :math:`\\Delta` of :math:`s_k` indices in each
level k

.. math:: \\|x_\\Delta\\|_2\\le a\\|x\\|_{l^1_w}+b\\|Ax\\|_2,\\qquad
    a=\\max_{\\Delta,j}\\|(Re_j)_\\Delta\\|_2/w_j,\\quad b=\\max_\\Delta\\|H_\\Delta\\|_2 .

With :math:`\\|x_\\Delta\\|_{l^1_w}\\le\\sqrt\\xi\\|x_\\Delta\\|_2` the matrix has the weighted robust null space
property in levels with

.. math:: \\rho=\\frac{a\\sqrt\\xi}{1-a\\sqrt\\xi},\\qquad\\gamma=\\frac b{1-a\\sqrt\\xi}
    \\qquad\\text{where }a\\sqrt\\xi<\\tfrac12 .

The vectors come from :mod:`firenet.guarantees.linear_estimates`; a search over their factor :math:`\\mu` minimises
:math:`C_2`. They are rounded to integers times powers of two, and :mod:`firenet.guarantees.checker` recomputes in
integers what they prove: no floating-point result is trusted.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from firenet.errors import BadInput
from firenet.guarantees import checker
from firenet.guarantees.concrete import ConcreteMatrix, NullSpaceProblem, decimal_above, rounded
from firenet.guarantees.constants import Constants
from firenet.guarantees.linear_estimates import LinearEstimates
from firenet.sparsity import SparsityLevels

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Score = tuple[bool, float]

_LEAST_RHO = Fraction(1, 10**12)  # the definition asks for rho > 0, and orthonormal columns prove rho = 0
_STEPS, _ROUNDS = 25, 20
_FACTORS = 14


@dataclass(frozen=True)
class NullSpaceProof:
    """Constants of the null space property of a matrix, proved in exact arithmetic.

    The proof is N vectors :math:`h_i`, which estimate :math:`x_i` by :math:`\\langle Ax,h_i\\rangle` with the error
    :math:`(Rx)_i`: the rows of R are :math:`(e_i-A^*h_i)^*`.

    Attributes:
        problem: Matrix, levels and weights.
        rho: The proved :math:`\\rho`, below 1, rounded up to six significant digits.
        gamma: The proved :math:`\\gamma`, in the unit of 1/A, rounded up to six significant digits.
        vectors: The :math:`h_i` as integers times powers of two.
        errors: For each level the largest :math:`\\max_j|R_{ij}|\\sqrt\\xi/w_j`, rounded.
        gains: For each level the largest :math:`\\|h_i\\|_2`, rounded.
    """

    problem: NullSpaceProblem
    rho: Fraction
    gamma: Fraction
    vectors: tuple[dict[str, Any], ...]
    errors: tuple[float, ...]
    gains: tuple[float, ...]

    @property
    def constants(self) -> Constants:
        """The constants of the recovery theorem for a network that is built from this matrix."""
        rho, gamma = (math.nextafter(float(v), math.inf) for v in (self.rho, self.gamma))
        weights = [float(w) for w in self.problem.weights]
        return Constants(self.problem.levels, rho, gamma, weights, source="verified")

    def certificate(self) -> dict[str, Any]:
        """Returns the certificate, which :mod:`firenet.guarantees.checker` accepts."""
        return self.problem.certificate("holds", self.rho, self.gamma, self.vectors)

    def to_json(self) -> str:
        """Returns the certificate as text, for a file."""
        return json.dumps(self.certificate(), separators=(",", ":"))


@dataclass(frozen=True)
class NotDecided:
    """The answer where no proof was found; it does not say that the property fails.

    Attributes:
        product: The :math:`a\\sqrt\\xi` of the best vectors that were found, rounded; they prove
            :math:`\\rho=a\\sqrt\\xi/(1-a\\sqrt\\xi)` if that number is below 1/2.
        proof: What was proved instead of a claim that was not reached; None if nothing was.
    """

    product: float
    proof: NullSpaceProof | None


def prove_null_space(
    matrix: ArrayLike | ConcreteMatrix,
    levels: SparsityLevels,
    *,
    weights: Iterable[float | Fraction] | None = None,
    claim: tuple[float | Fraction, float | Fraction] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> NullSpaceProof | NotDecided:
    """Looks for a proof that a matrix has the weighted robust null space property in levels.

    Args:
        matrix: A real or complex matrix of m rows and N columns, taken exactly as it is. At most 2048 rows and columns,
            and :math:`mN^2` at most :math:`2^{32}`, or :math:`2^{30}` for a complex matrix.
        levels: The levels, which are consecutive blocks of the columns.
        weights: One for each level, or one for each column, equal within a level; None is ``levels.weights()``. Floats
            are taken exactly as they are.
        claim: A pair (rho, gamma) to prove. None looks for the pair with the smallest :math:`C_2`.
        progress: Called with the number of steps of the search that were begun, and the most that there may be.

    Raises:
        BadInput: For a matrix that is too large, levels that do not fit it, weights that are not positive or vary
            within a level, numbers that are not finite, and a claim outside 0 < rho < 1, gamma > 0.

    >>> proof = prove_null_space(np.eye(4), SparsityLevels((4,), (2,)))
    >>> float(proof.gamma)
    1.00001
    """
    problem = NullSpaceProblem.of(matrix, levels, weights)
    if claim is not None:
        check_claim(*claim)
    found = _Search(problem, claim).run(progress or (lambda done, total: None))
    proof = _verified(problem, *found)
    if isinstance(proof, NotDecided):
        return proof
    if claim is not None and not (proof.rho <= Fraction(claim[0]) and proof.gamma <= Fraction(claim[1])):
        return NotDecided(float(proof.rho / (1 + proof.rho)), proof)
    return proof


def check_claim(rho: float | Fraction, gamma: float | Fraction) -> None:
    """Checks a claimed pair.

    Raises:
        BadInput: Unless 0 < rho < 1 and 0 < gamma < infinity.
    """
    if not 0 < rho < 1:
        raise BadInput("0 < rho < 1, which the null space property assumes", f"rho = {rho}", "Claim a rho in between")
    if not 0 < gamma < math.inf:
        raise BadInput("A finite gamma > 0 in the null space property", f"gamma = {gamma}", "Claim another gamma")


class _Search:
    """The search for the vectors with the best constants, in floating point."""

    def __init__(self, problem: NullSpaceProblem, claim: tuple[float | Fraction, float | Fraction] | None) -> None:
        self.problem, self.blocks, self.v = problem, problem.blocks(), problem.relative_weights
        self.estimates = LinearEstimates(problem.matrix.scaled, self.v)
        self.claim = None
        if claim is not None:  # gamma for the scaled matrix
            self.claim = float(claim[0]), math.ldexp(float(claim[1]), problem.matrix.scale)
        self.best: tuple[Score, NDArray[Any], NDArray[Any]] | None = None

    def run(self, progress: Callable[[int, int], None]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Returns the best vectors, and their errors."""
        for share in (0, 1e-4, 1e-2):
            self._try(*self.estimates.ridge(share))
        assert self.best is not None
        lengths = np.linalg.norm(self.problem.matrix.scaled, axis=0)
        if lengths.min() > 0 and self.claim is None:
            # gamma is at least 1 / ||A e_i||, so that C2 cannot be smaller: for orthogonal columns it is attained.
            least = self._second(0, 1 / lengths.min())
            if self.best[0] <= (False, 1.001 * least):
                return self.best[1:]
        if self.claim is not None and self.best[0] < (False, 0.99):
            return self.best[1:]
        self._search_factor(progress)
        return self.best[1:]

    def _search_factor(self, progress: Callable[[int, int], None]) -> None:
        """Halves or doubles the factor while that helps, then tries its neighbours, then takes more steps."""
        done = 0

        def score(exponent: float, accuracy: float = 1e-3) -> Score:
            nonlocal done
            done += 1
            progress(min(done, _FACTORS), _FACTORS)
            return self._at(0.2 * self.estimates.size * 2**exponent, accuracy)

        at, here, there = 0.0, score(0), score(-1)
        direction = -1 if there < here else 1
        if there < here:
            at, here = -1.0, there
        while done < _FACTORS - 4:
            there = score(at + direction)
            if not there < here:
                break
            at, here = at + direction, there
        for half in (-0.5, 0.5):
            there = score(at + half)
            if there < here:
                at, here = at + half, there
                break
        score(at, 1e-5)
        progress(_FACTORS, _FACTORS)

    def _at(self, factor: float, accuracy: float) -> Score:
        previous = math.inf
        for _ in range(_ROUNDS):
            reached = self.estimates.improve(factor, _STEPS)
            if abs(previous - reached) <= accuracy * reached:
                break
            previous = reached
        return self._try(self.estimates.vectors, self.estimates.errors)

    def _try(self, vectors: NDArray[Any], errors: NDArray[Any]) -> Score:
        """Returns the score of vectors, smaller is better, and remembers the best."""
        product, b = self._bounds(vectors, errors)
        if product >= 0.5:  # these prove nothing
            score = True, product
        elif self.claim is not None:
            rho, gamma = self.claim
            score = False, max(product * (1 + rho) / rho, b * (1 + rho) / gamma)
        else:
            score = False, self._second(product, b)
        if self.best is None or score < self.best[0]:
            self.best = score, vectors.copy(), errors.copy()
        return score

    def _second(self, product: float, b: float) -> float:
        """Returns the constant :math:`C_2` for the scaled matrix."""
        rho, gamma = max(product / (1 - product), float(_LEAST_RHO)), b / (1 - product)
        return Constants(self.problem.levels, rho, gamma, [float(w) for w in self.problem.weights]).C2

    def _bounds(self, vectors: NDArray[Any], errors: NDArray[Any]) -> tuple[float, float]:
        """Returns :math:`a\\sqrt\\xi` and b, as the checker computes them."""
        gram = np.abs(vectors.conj().T @ vectors)
        columns = self._largest(np.abs(errors.T) ** 2) / self.v**2
        b = min(float(self._largest(np.diag(gram)[:, None])[0]), float(self._largest(gram).max()))
        return math.sqrt(float(columns.max())), math.sqrt(b)

    def _largest(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns for each column the sum of the s_k largest values of each level k."""
        parts = [np.partition(values[rows], -s, axis=0)[-s:].sum(0) for rows, s in self.blocks]
        return np.sum(parts, axis=0)


def _verified(problem: NullSpaceProblem, vectors: NDArray[Any], errors: NDArray[Any]) -> NullSpaceProof | NotDecided:
    """Rounds the vectors and returns what the checker computes that they prove."""
    exact = tuple(rounded(h, -problem.matrix.scale) for h in vectors.T)
    claim = problem.certificate("holds", Fraction(1, 2), Fraction(1), exact)
    product, b = (checker.root(square) for square in checker.Certificate(claim).bounds())
    rho = max(decimal_above(product / (1 - product)), _LEAST_RHO) if product < 1 else Fraction(1)
    if rho >= 1:
        return NotDecided(float(product), None)
    gamma = decimal_above(b * (1 + rho))
    sizes = np.abs(errors.T) / problem.relative_weights
    gains = np.ldexp(np.linalg.norm(vectors, axis=0), -problem.matrix.scale)
    each = [rows for rows, _ in problem.blocks()]
    largest = tuple(float(sizes[rows].max()) for rows in each), tuple(float(gains[rows].max()) for rows in each)
    return NullSpaceProof(problem, rho, gamma, exact, *largest)
