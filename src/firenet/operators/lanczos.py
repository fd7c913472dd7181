"""A bound of the norm of any operator that holds with a stated probability: Lanczos' method from a random start.

Let B = A*A have the largest eigenvalue :math:`\\lambda`, let b be uniform on the unit sphere of :math:`R^N`, and let
:math:`\\theta\\le\\lambda` be the largest Ritz value of B on the Krylov space of b of dimension k. For
:math:`0<\\epsilon<1`

.. math:: P\\big(\\theta<(1-\\epsilon)\\lambda\\big)\\le
    2\\sqrt{\\tfrac{2N}{\\pi}}\\,\\sqrt{\\tfrac{1-\\epsilon}{\\epsilon}}\\;e^{-2\\sqrt\\epsilon\\,(k-1)} .

Proof. Let T be the Chebyshev polynomial of degree k - 1, moved to :math:`[0,(1-\\epsilon)\\lambda]`, where
:math:`|T|\\le1`. With the parts :math:`b_i` of b along the eigenvectors, :math:`\\theta<(1-\\epsilon)\\lambda` says
:math:`\\sum_i(\\lambda_i-(1-\\epsilon)\\lambda)\\,T(\\lambda_i)^2b_i^2<0`; the negative terms are at least
:math:`-(1-\\epsilon)\\lambda b_i^2`, hence :math:`\\epsilon\\,T(\\lambda)^2b_1^2<1-\\epsilon`. Here
:math:`T(\\lambda)=T_{k-1}(\\tfrac{1+\\epsilon}{1-\\epsilon})\\ge\\tfrac12\\big(\\tfrac{1+\\sqrt\\epsilon}{1-\\sqrt
\\epsilon}\\big)^{k-1}\\ge\\tfrac12e^{2\\sqrt\\epsilon(k-1)}`, and :math:`P(|b_1|<s)\\le s\\sqrt{2N/\\pi}`. A complex
operator is a real one of twice the dimension. Kuczynski and Wozniakowski (SIAM J. Matrix Anal. Appl. 13, 1992) show a
slightly smaller probability.

The statement is one about exact arithmetic. All vectors are kept and made orthogonal to each other twice, so that the
Ritz value is that of an operator that differs from B by rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from firenet.errors import BadInput
from firenet.numerics import check_seed, norms
from firenet.operators.norm_bound import NormBound

STEPS, PROBABILITY = 60, 1e-10
# The vectors that are kept have at most this size in bytes together; of larger images there are fewer.
_MEMORY, _LEAST = 2**30, 20
_USELESS = 0.99  # then the bound is ten times the Ritz value


def excess(steps: int, dimension: int, probability: float) -> float:
    """Returns the smallest :math:`\\epsilon` for which the bound of the probability is at most the given one, rounded
    up; 1 if there is none.

    Args:
        steps: k.
        dimension: N, the number of real numbers in a vector.
        probability: The probability, above 0 and below 1.
    """

    def failure(root: float) -> float:  # the logarithm of the bound, which falls with the root of epsilon
        tail = 0.5 * math.log((1 - root) * (1 + root)) - math.log(root) - 2 * root * (steps - 1)
        return math.log(2) + 0.5 * math.log(2 * dimension / math.pi) + tail

    low, high, wanted = 1e-12, 1 - 1e-12, math.log(probability)
    if failure(high) > wanted:
        return 1.0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (low, middle) if failure(middle) <= wanted else (middle, high)
    return high * high


@dataclass(frozen=True)
class Ritz:
    """The result of Lanczos' method for A*A.

    Attributes:
        bound: The bound of the norm of A, which holds with the stated probability.
        at_least: The root of the largest Ritz value: the norm is at least this number, up to rounding.
        steps: The number of applications of A and of A*.
    """

    bound: NormBound
    at_least: float
    steps: int


def lanczos(
    forward: Callable[[Tensor], Tensor],
    adjoint: Callable[[Tensor], Tensor],
    shape: tuple[int, ...],
    dtype: torch.dtype,
    *,
    device: torch.device | None = None,
    steps: int = STEPS,
    probability: float = PROBABILITY,
    seed: int = 0,
    name: str = "A",
) -> Ritz:
    """Computes a bound of the norm of A that holds with probability at least 1 - ``probability`` over its random start.

    Args:
        forward: A.
        adjoint: A*.
        shape: The shape of the argument of A.
        dtype: The dtype of the computation; double precision where the operator has it.
        device: The device of the computation.
        steps: k, the number of applications of A and of A*; fewer if k vectors take more than 1 GiB.
        probability: The largest probability with which the bound may be wrong.
        seed: The seed of the start.
        name: The name of A in errors.

    Raises:
        BadInput: If the results are not finite, if :math:`\\|Av\\|^2` and :math:`\\langle A^*Av,v\\rangle` differ, so
            that the map given as the adjoint is not the adjoint, or if the probability is out of reach.
    """
    size = math.prod(shape)
    dimension = size * (2 if dtype.is_complex else 1)
    unit = torch.finfo(dtype).eps
    stored = size * torch.finfo(dtype).bits // 8 * (2 if dtype.is_complex else 1)
    count = min(steps, max(_MEMORY // max(stored, 1), _LEAST))
    rng = np.random.default_rng(check_seed(seed))
    parts = rng.standard_normal((2, *shape) if dtype.is_complex else shape)
    v = torch.from_numpy(parts[0] + 1j * parts[1] if dtype.is_complex else parts).to(device=device, dtype=dtype)
    v = v / norms(v, v.ndim).item()
    basis: list[Tensor] = []
    diagonal: list[float] = []
    beside: list[float] = []
    whole = False  # whether the Krylov space ended
    while len(basis) < count and not whole:
        basis.append(v)
        through = forward(v)
        length = norms(through, through.ndim).item()
        squared = length * length  # infinity where it overflows
        w = adjoint(through).to(dtype)
        rounding = unit * math.sqrt(max(size, through.numel()))
        diagonal.append(squared)
        _check(complex(torch.vdot(v.flatten(), w.flatten()).item()), squared, max(diagonal), rounding, name)
        for _ in range(2):
            for u in basis:
                w = w - torch.vdot(u.flatten(), w.flatten()) * u
        left = norms(w, w.ndim).item()
        # In an invariant space the largest Ritz value is the largest eigenvalue, with probability 1.
        whole = len(basis) == size or left <= 64 * rounding * max(diagonal + beside)
        if not whole:
            beside.append(left)
            v = w / left
    used = len(diagonal)
    matrix = np.diag(diagonal) + np.diag(beside[: used - 1], 1) + np.diag(beside[: used - 1], -1)
    top = max(float(np.linalg.eigvalsh(matrix)[-1]), 0.0)
    epsilon = 0.0 if whole else excess(used, dimension, probability)
    if epsilon > _USELESS:
        do = "Allow more steps or a larger probability, or give a bound of the norm"
        raise BadInput(f"Steps enough for a probability of {probability:g}", f"{used} steps", do)
    slack = 1 + 64 * unit * math.sqrt(dimension)  # Ritz values have rounding errors of this order
    why = f"{used} steps of Lanczos' method from a random start, wrong with probability at most {probability:g}"
    why = f"{why} (the whole Krylov space)" if whole else why
    return Ritz(NormBound(math.sqrt(top / (1 - epsilon)) * slack, "probable", why), math.sqrt(top), used)


def _check(inner: complex, squared: float, scale: float, rounding: float, name: str) -> None:
    """Raises BadInput if an inner product that the adjoint should make equal to a squared norm is not.

    Args:
        inner: The inner product.
        squared: The squared norm.
        scale: The largest squared norm so far, of whose size rounding errors are.
        rounding: The relative error of the operator.
        name: The name of the operator.
    """
    if not (math.isfinite(squared) and math.isfinite(abs(inner))):
        got = "NaN or infinity, or squares that overflow"
        raise BadInput(f"Finite numbers from {name} and its adjoint", got, "Check the operator, or scale it: c * A")
    if abs(inner - squared) > (1e-5 if rounding > 1e-9 else 1e-12) * squared + 64 * rounding * scale:
        got = f"{inner:.6g} for {squared:.6g}"
        do = "Correct the adjoint; firenet.check_adjoint(A) measures its defect"
        raise BadInput(f"An adjoint B of A = {name} with <BAv, v> = |Av|^2", got, do)
