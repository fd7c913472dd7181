"""The dot test, which checks that the map given as the adjoint of an operator is the adjoint.

The duality gap depends on the adjoint. Weak duality says :math:`F(z)\\ge\\mathrm{Re}\\langle Az-y,q\\rangle+\\dots` and
moves A to the other side of the inner product; with any other map than A* the lower bound is invalid. No finite test
detects every defect, so a certificate for a user-defined operator is conditional, and states its conditions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from firenet.errors import BadInput
from firenet.numerics import blocked_norms, check_seed, doubled, full_precision
from firenet.operators.linear import LinearOperator

# Largest defect, for operators of every size: rounding is some 1e-16 and 1e-7, errors of discretisation are 1e-3 and
# more.
_DOUBLE, _SINGLE = 1e-12, 1e-5
_PAIRS = 3


@dataclass(frozen=True)
class AdjointCheck:
    """The result of the dot test.

    Attributes:
        defect: The largest :math:`|\\langle Ax,y\\rangle-\\langle x,By\\rangle|/(\\|Ax\\|\\|y\\|)` over the pairs, as
            measured, for the map B that is given as the adjoint; for B = A* it is only a rounding error.
        threshold: 1e-12 if the operator computes in double precision, else 1e-5.
        dtype: The dtype of the computation.
        pairs: The number of pairs (x, y).
    """

    defect: float
    threshold: float
    dtype: torch.dtype
    pairs: int

    @property
    def passed(self) -> bool:
        """Whether the defect is at most the threshold."""
        return self.defect <= self.threshold


def check_adjoint(operator: LinearOperator, *, seed: int = 0) -> AdjointCheck:
    """Measures by a dot test how far the map given as the adjoint of an operator is from the true adjoint.

    It takes three random pairs (x, y), and three pairs with y = Ax, because for random y the inner product is small, of
    size :math:`\\|Ax\\|\\|y\\|/\\sqrt m`, and a missing line of k-space or an adjoint that is 3 % too large hardly
    changes it.

    Args:
        operator: A, with the map B that is given as its adjoint.
        seed: Seed of the random numbers; torch's global state is left unchanged.

    Returns:
        The measured defect; ``passed`` says whether it is small enough to be a rounding error.

    Raises:
        BadInput: For an operator that fails on tensors of the shapes it states, or that returns NaN or other shapes.
    """
    dtype, device = operator.arithmetic, operator._device()
    rng = np.random.default_rng(check_seed(seed))

    def draw(shape: tuple[int, ...], kind: torch.dtype) -> Tensor:
        parts = rng.standard_normal((2, *shape))
        return torch.from_numpy(parts[0] + 1j * parts[1] if kind.is_complex else parts[0]).to(device, kind)

    worst = 0.0
    with torch.no_grad(), full_precision():
        for k in range(2 * _PAIRS):
            x = draw(operator.in_shape, operator.state_dtype(dtype))
            measured = operator(x)
            y = measured if k >= _PAIRS else operator.restrict(draw(operator.out_shape, measured.dtype))
            back = operator.adjoint(y)
            for name, found, shape in (("A", measured, operator.out_shape), ("its adjoint", back, operator.in_shape)):
                if tuple(found.shape) != shape:
                    got = f"{tuple(found.shape)} from {name}"
                    raise BadInput(f"A result of shape {shape}", got, "Check in_shape and out_shape")
            left = torch.vdot(doubled(y).flatten(), doubled(measured).to(doubled(y).dtype).flatten())
            right = torch.vdot(doubled(back).flatten(), doubled(x).to(doubled(back).dtype).flatten())
            size = (blocked_norms(measured, measured.ndim) * blocked_norms(y, y.ndim)).item()
            difference = abs(complex(left.item()) - complex(right.item()))
            if not math.isfinite(difference):
                got = f"NaN or infinity from {operator.title}"
                raise BadInput("Finite numbers from A and its adjoint", got, "Check the operator on finite numbers")
            zero = blocked_norms(back, back.ndim).item() == 0
            worst = max(worst, difference / size if size else 0.0 if zero else math.inf)
    single = torch.finfo(dtype).bits < 64
    return AdjointCheck(worst, _SINGLE if single else _DOUBLE, dtype, 2 * _PAIRS)


def trusted(operator: LinearOperator) -> AdjointCheck | None:
    """Checks the adjoint of a user-defined operator, only once while its buffers and parameters stay the same;
    operators of this library are not checked.

    Raises:
        BadInput: If the adjoint fails the dot test.
    """
    if operator.is_own:
        return None
    numbers = operator.numbers(recurse=True)
    known = operator._checked_adjoint
    if known is None or known[0] != numbers:
        known = (numbers, check_adjoint(operator))
        operator._checked_adjoint = known
    check: AdjointCheck = known[1]
    if not check.passed:
        needed = f"An adjoint B of {operator.title} with |<Ax, y> - <x, By>| <= {check.threshold:g} |Ax| |y|"
        do = "Correct the adjoint; firenet.check_adjoint(A) measures its defect. With a wrong adjoint no gap is proved"
        raise BadInput(needed, f"{check.defect:.2g}: the map given as the adjoint is not the adjoint of A", do)
    return check


def conditions(*operators: LinearOperator | None) -> tuple[str, ...]:
    """Returns as texts the conditions under which a gap computed with these operators holds.

    Operators of this library need no condition.
    """
    found: list[str] = []
    for operator in operators:
        check = None if operator is None else trusted(operator)
        if operator is not None and check is not None:
            name = operator.title
            found.append(
                f"the map given as the adjoint of {name} is its adjoint (a dot test on {check.pairs} pairs found a "
                f"defect of {check.defect:.1e}), and its rounding is no larger than estimated"
            )
    return tuple(found)
