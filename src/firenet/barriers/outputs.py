"""Converts the output of an algorithm to vectors of rational numbers, one for each measurement."""

from __future__ import annotations

import inspect
from decimal import Decimal
from fractions import Fraction
from math import lcm
from numbers import Rational
from operator import index
from typing import Any

from firenet.barriers.algorithms import Algorithm
from firenet.barriers.instances import Problem, Vector

MOST_BITS = 12_000
NOTES = {
    "floats": "floating-point numbers were converted exactly",
    "imaginary": "imaginary parts were discarded, to the algorithm's advantage",
}


class BadOutput(ValueError):
    """Says that what an algorithm returned is not an answer."""


def takes_coins(algorithm: Algorithm) -> bool:
    """Returns whether an algorithm has a second positional argument without default."""
    try:
        parameters = list(inspect.signature(algorithm).parameters.values())
    except (TypeError, ValueError):
        return False
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return len(positional) >= 2 and positional[1].default is inspect.Parameter.empty


def outputs(result: object, problem: Problem) -> tuple[tuple[Vector, ...], list[str]]:
    """Returns one vector of rational numbers for each measurement, and which :data:`NOTES` apply.

    If the result is a network, that is a callable, it is applied to the exact measurements, which every algorithm may
    know.

    Raises:
        BadOutput: If what was returned is not an answer.
    """
    size, notes = problem.shape[1], set[str]()
    if callable(result):
        zero = (Fraction(0),) * (problem.shape[0] - 1)
        found = [result((s, *zero)) for s in problem.scales()]
    else:
        found = _listed(result)
        if problem.samples == 1 and not (len(found) == 1 and _is_list(found[0])):
            found = [found]
    if len(found) != problem.samples:
        raise BadOutput(f"{problem.samples} vectors are needed, one for each measurement; got {len(found)}")
    vectors = []
    for vector in found:
        entries = _listed(vector)
        if len(entries) != size or any(_is_list(e) for e in entries):
            shape = f"{len(entries)}" + (" rows" if any(_is_list(e) for e in entries) else "")
            raise BadOutput(f"a vector of {size} numbers is needed; got {shape}")
        vectors.append(tuple(_fraction(e, notes) for e in entries))
        check_size(vectors[-1])
    return tuple(vectors), sorted(notes)


def check_size(vector: Vector) -> None:
    """Raises :class:`BadOutput` for numbers that cannot be added in reasonable time.

    These are numbers whose common denominator has more than ``MOST_BITS`` bits.
    """
    common = 1
    for entry in vector:
        common = lcm(common, entry.denominator)
        if common.bit_length() > MOST_BITS:
            raise BadOutput(f"numbers with a common denominator of at most {MOST_BITS} bits are needed")


def _is_list(value: object) -> bool:
    return isinstance(value, list | tuple) or (hasattr(value, "tolist") and isinstance(_plain(value), list))


def _plain(value: Any) -> object:
    """Returns a tensor or an array as lists of numbers, without importing the library that made it."""
    value = value.detach() if hasattr(value, "detach") else value
    return value.tolist() if hasattr(value, "tolist") else value


def _listed(value: object) -> list[Any]:
    value = _plain(value)
    if not isinstance(value, list | tuple):
        raise BadOutput(f"a list, tuple or array is needed, or a network; got {type(value).__name__}")
    return list(value)


def _fraction(entry: object, notes: set[str]) -> Fraction:
    entry = _plain(entry)
    if isinstance(entry, complex):
        # The minimisers are real, so an output without its imaginary part is nearer to all of them.
        notes.add("imaginary")
        entry = entry.real
    ratio: Any = getattr(entry, "as_integer_ratio", None)
    if isinstance(entry, Rational):
        exact = _ratio(entry.numerator, entry.denominator)
    elif isinstance(entry, Decimal) and entry.is_finite() and not -4000 < entry.adjusted() < 4000:
        raise BadOutput(f"numbers of at most {MOST_BITS} bits are needed; got {entry:.10E}")
    elif ratio is None:
        raise BadOutput(f"finite numbers are needed; got {type(entry).__name__}")
    else:
        try:
            exact = _ratio(*ratio())
        except (TypeError, ValueError, OverflowError, ZeroDivisionError):
            raise BadOutput(f"finite numbers are needed; got {entry!r:.80}") from None
        notes.add("floats")
    if max(exact.numerator.bit_length(), exact.denominator.bit_length()) > MOST_BITS:
        raise BadOutput(f"numbers of at most {MOST_BITS} bits are needed")
    return exact


def _ratio(numerator: Any, denominator: Any) -> Fraction:
    """Returns a fraction of two plain integers: a subclass of int may misreport its size."""
    return Fraction(index(numerator), index(denominator))


def described(error: BaseException) -> str:
    """Returns the class of an exception and its message."""
    return printable(f"{type(error).__name__}: {message(error)}")


def message(error: BaseException) -> str:
    """Returns the message of an exception in printable characters, or a remark if its ``__str__`` raises."""
    try:
        return printable(str(error))
    except BaseException:
        return "(it does not say what)"


def printable(text: str) -> str:
    """Returns the first 500 characters of a text, with escapes for those that are not printable, such as newlines."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[:500])
