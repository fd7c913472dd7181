"""Reports the norm of an operator: the bound that it states, and two numbers that are computed beside it."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

from firenet.numerics import check_seed
from firenet.operators.check import AdjointCheck, check_adjoint
from firenet.operators.lanczos import PROBABILITY, STEPS, lanczos
from firenet.operators.linear import LinearOperator
from firenet.operators.norm_bound import NormBound

# A stated bound is contradicted if the norm is at least this multiple of it, beyond all rounding in its precision.
_BELOW = 1 + 1e-6


@dataclass(frozen=True)
class NormReport:
    """What is known about the norm of an operator A.

    Attributes:
        operator: Its name.
        in_shape: The shape of an image.
        out_shape: The shape of its measurements.
        bound: The bound that the operator states.
        at_least: A number that the norm is at least, up to rounding.
        probable: A bound that is wrong with a stated probability.
        adjoint: The result of the dot test.
        steps: The number of applications of A and of A* that ``at_least`` and ``probable`` took.
        seconds: The time of all.
    """

    operator: str
    in_shape: tuple[int, ...]
    out_shape: tuple[int, ...]
    bound: NormBound
    at_least: float
    probable: NormBound
    adjoint: AdjointCheck
    steps: int
    seconds: float

    @property
    def contradicted(self) -> bool:
        """Whether the norm is larger than the bound that the operator states."""
        return self.at_least > self.bound.value * _BELOW

    def record(self) -> dict[str, Any]:
        """Returns the report for JSON."""
        adjoint = {"defect": self.adjoint.defect, "threshold": self.adjoint.threshold, "passed": self.adjoint.passed}
        return asdict(self) | {"adjoint": adjoint, "contradicted": self.contradicted}


def norm_report(
    operator: LinearOperator, *, steps: int = STEPS, probability: float = PROBABILITY, seed: int = 0
) -> NormReport:
    """Reports what is known about the norm of an operator, by some applications of it and of its adjoint.

    Args:
        operator: A.
        steps: The largest number of applications of A and of A*.
        probability: The largest probability with which ``probable`` may be wrong.
        seed: The seed of all that is random.

    Raises:
        BadInput: If the adjoint is not the adjoint, or numbers are not finite (:func:`.lanczos`).
    """
    begin, adjoint = time.perf_counter(), check_adjoint(operator, seed=check_seed(seed))
    dtype, device = operator.state_dtype(operator.arithmetic), operator._device()
    how: dict[str, Any] = {"device": device, "steps": steps, "probability": probability, "seed": seed}
    how["name"] = operator.title
    found = lanczos(operator, operator.adjoint, operator.in_shape, dtype, **how)
    bound = operator.norm_bound
    seconds = time.perf_counter() - begin
    shapes, name = (operator.in_shape, operator.out_shape), operator.title
    return NormReport(name, *shapes, bound, found.at_least, found.bound, adjoint, found.steps, seconds)
