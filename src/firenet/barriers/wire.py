"""The protocol between the referee and an algorithm in a process of its own: lines of printable ASCII.

=========  ==================================================  =======================================
 who        line                                                answer
=========  ==================================================  =======================================
 referee    ``game`` kind K parameter columns tail samples      ``ready``, or ``missing`` and a reason
 algorithm  ``read`` n k                                        ``sample`` y tail row label
 algorithm  ``choose`` n                                        ``chose`` value
 algorithm  ``seed``                                            ``seed`` value
 algorithm  ``vector`` and its entries, for each measurement    none
 algorithm  ``done`` and notes                                  none: the run has ended
 algorithm  ``raised``, ``refused`` or ``misread``, and why     none: the run has ended without an answer
=========  ==================================================  =======================================

``refused`` means that the algorithm returned something that is not an answer, ``misread`` that it asked for a read that
does not exist. Fractions and seeds travel in hexadecimal, which is parsed in time proportional to its length; the other
numbers are decimal. Nothing is unpickled or evaluated, and any other line ends the run (:class:`Garbage`).
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import cache
from typing import Any, cast

from firenet.barriers.instances import Problem
from firenet.barriers.oracle import Read

WHOLE = re.compile(r"[0-9]{1,20}", re.ASCII)
NUMBER = re.compile(r"(-?[0-9a-f]+)(?:/([0-9a-f]+))?", re.ASCII)
MOST_SAID = 3000


class Garbage(ValueError):
    """A line that does not belong to the protocol."""


def written(value: Fraction) -> str:
    """Returns a number as text of the protocol."""
    return f"{value.numerator:x}" + (f"/{value.denominator:x}" if value.denominator != 1 else "")


def number(text: str, bits: int | None = None) -> Fraction:
    """Reads a number.

    Raises:
        Garbage: If it is malformed, or its numerator or denominator has more than ``bits`` bits.
    """
    found = NUMBER.fullmatch(text)
    if found is None:
        raise Garbage(f"a number is needed; got {text:.40}")
    above, below = int(found[1], 16), int(found[2] or "1", 16)
    if below == 0:
        raise Garbage("a number with a denominator of zero")
    if bits is not None and max(above.bit_length(), below.bit_length()) > bits:
        raise Garbage(f"a number of more than {bits} bits")
    return Fraction(above, below)


def whole(text: str) -> int:
    """Reads a whole number that is not negative."""
    if not WHOLE.fullmatch(text):
        raise Garbage(f"a whole number of at most 20 digits is needed; got {text:.40}")
    return int(text)


def game(problem: Problem) -> str:
    """Returns the line that opens a game: the class of problems, which is public."""
    p = problem
    return f"game {p.kind} {p.digits} {written(p.parameter)} {p.columns} {p.tail} {p.samples}"


def problem(line: str) -> Problem:
    """Reads the line that opens a game."""
    _, kind, digits, parameter, columns, tail, samples = line.split(" ")
    sizes = (whole(columns), whole(tail), whole(samples))
    return Problem(cast("Any", kind), whole(digits), number(parameter), *sizes)


def sample(read: Read) -> str:
    """Returns the line that answers a read."""
    last: tuple[Fraction, str] = (Fraction(0), "0")
    words = ["sample"]
    for value in (read.y, read.tail, *read.row, *read.label):
        if value is not last[0]:  # most are the same object as the one before
            last = (value, written(value))
        words.append(last[1])
    return " ".join(words)


def read(line: str, n: int, k: int, problem: Problem) -> Read:
    """Reads the line that answers a read."""
    y, tail, *rest = map(cache(number), line.split(" ")[1:])  # most words are the same
    return Read(n, k, tuple(rest[: problem.columns]), tail, y, tuple(rest[problem.columns :]))


def ascii_of(text: str) -> str:
    """Returns a text as ASCII of bounded length."""
    return text.encode("ascii", "backslashreplace").decode("ascii")[:MOST_SAID]
