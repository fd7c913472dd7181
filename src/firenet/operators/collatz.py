"""A proven bound of the norm of a matrix without negative entries, such as a projector of tomography."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from firenet.errors import BadInput
from firenet.numerics import UNIT

_ROUNDS = 10


def collatz_wielandt(
    forward: Callable[[Tensor], Tensor], adjoint: Callable[[Tensor], Tensor], columns: int, terms: int
) -> float:
    """Computes a bound of the norm of a matrix A with :math:`a_{ij}\\ge0` from a few applications.

    For every positive vector v, Collatz (1942) and Wielandt (1950) show

    .. math:: \\|A\\|^2=\\varrho(A^TA)\\le\\max_i\\frac{(A^TAv)_i}{v_i},

    with equality for the Perron vector, to which :math:`v\\leftarrow A^TAv` converges. Columns of zeros, where the
    numerator is zero, do not matter. All numbers are sums of terms that are not negative, so the relative rounding
    errors are at most ``terms`` + 8 unit roundoffs, by which the result is increased.

    Args:
        forward: A in double precision, for vectors of shape (columns,). Entries should be of moderate size.
        adjoint: Its transpose.
        columns: n.
        terms: The largest number of nonzero entries of a row plus that of a column.

    Raises:
        BadInput: If A shows a negative entry, or numbers are not finite.
    """
    v = torch.ones(columns, dtype=torch.float64)
    least = math.inf
    for _ in range(_ROUNDS):
        w = adjoint(forward(v))
        if not bool(torch.isfinite(w).all()) or bool((w < 0).any()):
            got = "negative numbers, NaN or infinity"
            raise BadInput("A finite matrix without negative entries", got, "Check its entries")
        least = min(least, (w / v).max().item())
        largest = w.max().item()
        if largest == 0:
            return 0.0
        # Not smaller than 1e-100, so that underflow has no part in the next quotients.
        v = (w / largest).clamp(min=1e-100)
    # Sums of n terms are exact to n - 1 roundings in any order; the factor 2 covers the products of such bounds.
    return math.sqrt(least) * (1 + 2 * (terms + 8) * UNIT)
