"""Makes a problem from options and saves records as JSON, for all commands of ``firenet barriers``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from firenet.cli import console
from firenet.errors import BadInput
from firenet.io.safely import replacing

if TYPE_CHECKING:
    from firenet.barriers import Problem

KINDS: tuple[Literal["P1", "P2", "P3"], ...] = ("P1", "P2", "P3")
INSTALL = "pip install 'firenet[barriers]'"
# The exit codes of games that show nothing about the algorithm.
WITHOUT = {"invalid": console.INVALID, "out of time": console.NO_VERDICT}


def problem_of(kind: str, digits: int, parameter: str, columns: int, tail: int, samples: int = 1) -> Problem:
    """Returns the problem that the options describe.

    Raises:
        BadInput: For a parameter that is not a fraction, and for a problem outside the class.
    """
    from fractions import Fraction

    from firenet.barriers import Problem
    from firenet.barriers.instances import BadProblem

    try:
        value = Fraction(parameter)
    except (ValueError, ZeroDivisionError):
        raise BadInput("A fraction for --parameter, such as 1/2", repr(parameter), "Write it with integers") from None
    try:
        return Problem(cast("Any", kind.upper()), digits, value, columns, tail, samples)
    except BadProblem as error:
        do = "See firenet barriers play --help"
        raise BadInput("A problem for which the barriers are proven", str(error), do) from None


def save(record: Any, path: Path) -> None:
    """Writes a record as JSON, whole or not at all."""
    with replacing(path) as (temporary,):
        temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
