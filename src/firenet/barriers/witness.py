"""Checks a witness against the definitions. This file imports nothing of the project: read it before you believe it.

Usage: ``python witness.py FILE.json``, or - for the standard input. A witness says that an algorithm, after its reads,
had not halted, or returned a vector further than 10**-digits from the minimisers of an instance: run the algorithm to
see this. Rational arithmetic checks that the instance and its rivals are in the class; that every answer to a read is
dyadic, within 2**-n of *all* of them, and its label minimises the problem in the answer; that dual points prove the
minimisers optimal; that the distance is that large; that rivals have minimisers 2*10**-digits apart, unless "missed".
"""

import json
import os
import re
import sys
from fractions import Fraction
from math import isqrt

FORMAT, VERSION = "firenet-barrier-witness", 1
NUMBER = re.compile(r"-?[0-9]+(/0*[1-9][0-9]*)?", re.ASCII)
MOST_READS, MOST_WORK, MOST_DIGITS, MOST_CHARACTERS = 20_000, 10**7, 4200, 50_000_000


class Refuted(ValueError):
    """Says what is wrong with a witness."""


class TooLong(Refuted):
    """Says that a witness takes too long to check; it may be true."""


def need(condition, message, error=Refuted):
    """Raises an error unless the condition holds."""
    if not condition:
        raise error(message)


def number(text):
    """Reads an integer or a fraction."""
    need(isinstance(text, str) and NUMBER.fullmatch(text), "an integer or a fraction in a string is needed")
    need(all(len(t) <= MOST_DIGITS for t in text.lstrip("-").split("/")), "a number that is too long", TooLong)
    return Fraction(text)


def whole(text, least, most):
    """Reads a whole number."""
    value = number(text)
    need(value.denominator == 1 and least <= value <= most, f"a whole number from {least} to {most} is needed")
    return int(value)


def numbers(values, length):
    """Reads a list of numbers."""
    need(isinstance(values, list) and len(values) == length, f"{length} numbers are needed")
    need(sum(len(v) for v in values if isinstance(v, str)) < 200_000, "numbers that are too long", TooLong)
    return [number(v) for v in values]


class Class:
    """The class of problems, implemented independently."""

    def __init__(self, data):
        self.kind, self.parameter = data["kind"], number(data["parameter"])
        need(self.kind in ("P1", "P2", "P3"), "the problem is P1, P2 or P3")
        self.digits, self.samples = whole(data["digits"], 1, 300), whole(data["samples"], 1, 100)
        self.columns, self.tail = whole(data["columns"], 2, 2000), whole(data["tail"], 0, 2000)
        need(0 < self.parameter <= (Fraction(1, 2) if self.kind == "P1" else 1), "a parameter outside its interval")
        self.size = self.columns + self.tail

    def s(self, k):
        return 1 + Fraction(k, 4 * self.samples)

    def prove(self, a, s):
        """Returns v: v e_j is a minimiser if row[j] = a is largest, which the dual point (t, 0, ..., 0) proves."""
        penalty = Fraction(1) if self.kind == "P1" else self.parameter
        need(a > 0, "a row that is not positive")
        f = {"P1": s - self.parameter, "P2": s - self.parameter / (2 * a), "P3": s}[self.kind]
        v, t = max(f, Fraction(0)) / a, min(penalty / a, 2 * s) if self.kind == "P2" else penalty / a
        if self.kind == "P3":  # max <y, q> over ||q|| <= 1; below 1 the residual is zero for every minimiser
            need(t < 1, "the dual point is too long")
            need(penalty * v + abs(a * v - s) == s * t, "the minimiser is not optimal")
        elif self.kind == "P1":  # max <y, q> - eps ||q||
            need(abs(a * v - s) <= self.parameter or s <= self.parameter, "the minimiser does not fit the data")
            need(penalty * v == max(s * t - self.parameter * t, 0), "the minimiser is not optimal")
        else:  # max <y, q> - ||q||^2 / 4; where v = 0 it is attained at q = 2y
            need(penalty * v + (a * v - s) ** 2 == s * t - t * t / 4, "the minimiser is not optimal")
        return v


class Member:
    """A problem of the class."""

    def __init__(self, of, data):
        self.of, self.scale, self.bump = of, whole(data["scale"], 1, of.digits), number(data["bump"])
        self.column = None if data["column"] is None else whole(data["column"], 0, of.columns - 1)
        need(self.scale >= of.digits - 1, "the scale is neither K nor K - 1")
        self.base = Fraction(10**self.scale, 2) * (1 - of.parameter if of.kind == "P1" else 1)
        if self.column is None:
            need(self.bump == 0 and self.scale == of.digits, "the tie is of scale K and has no bump")
        else:
            need(0 < self.bump <= 1, "a bump outside of (0, 1]")
        self.largest = self.base + self.bump
        self.tail_squared = (of.columns - 1) * self.base**2 + self.largest**2

    def distance_squared(self, x, k):
        """Returns the squared distance to v e_j, or for the tie to the simplex of all v e_j, by sorting."""
        v = self.of.prove(self.largest, self.of.s(k))
        if self.column is not None:
            return sum((e - (v if i == self.column else 0)) ** 2 for i, e in enumerate(x))
        total, shift = Fraction(0), Fraction(0)
        for count, entry in enumerate(sorted(x[: self.of.columns], reverse=True), 1):
            total += entry
            shift = (total - v) / count if entry >= (total - v) / count else shift
        nearest = [max(e - shift, 0) for e in x[: self.of.columns]]
        need(sum(nearest) == v, "a projection outside of the simplex")
        return sum((e - (nearest[i] if i < self.of.columns else 0)) ** 2 for i, e in enumerate(x))

    def agrees(self, n, k, row, tail, y):
        """Raises an error unless an oracle for this problem may give this answer."""
        within, high = Fraction(1, 2**n), tail + Fraction(1, 2**n)
        error = sum((a - self.base - (self.bump if i == self.column else 0)) ** 2 for i, a in enumerate(row))
        need(error <= within**2, f"a row further than 2**-{n}")
        need(abs(y - self.of.s(k)) <= within, f"a measurement further than 2**-{n}")
        need(high >= 0 and max(tail - within, 0) ** 2 <= self.tail_squared <= high**2, f"a block further than 2**-{n}")


def answer(of, read, members):
    """Checks that one read agrees with all given members of the class, and that its label is a minimiser."""
    n, k = whole(read["n"], 0, 4096), whole(read["k"], 0, of.samples - 1)
    row, tail, y = numbers(read["row"], of.columns), number(read["tail"]), number(read["y"])
    need(all(x.denominator & (x.denominator - 1) == 0 for x in (*row, tail, y)), "an answer that is not dyadic")
    for member in members:
        member.agrees(n, k, row, tail, y)
    need(y >= 0 and tail > 0 and min(row) > 0, "an answer outside the closed form")
    label, a, full = numbers(read["label"], of.size), max(row), [*row, *[0] * of.tail]
    on = [e for e, b in zip(label, full, strict=True) if b == a]
    off = [e for e, b in zip(label, full, strict=True) if b != a]
    optimal = all(e >= 0 for e in on) and sum(on) == of.prove(a, y) and not any(off)
    need(optimal, "a label that is not a minimiser of the problem that is shown")


def check(witness):
    """Returns what the witness shows, as a sentence; raises :class:`Refuted` with the reason if it shows nothing."""
    try:
        return _check(witness)
    except Refuted:
        raise
    except (LookupError, TypeError, AttributeError, ArithmeticError, ValueError, RecursionError) as error:
        raise Refuted(f"not a witness: {type(error).__name__}") from None


def _check(witness):
    need(isinstance(witness, dict) and witness.get("format") == FORMAT, f"the format is not {FORMAT}")
    need(witness["version"] == VERSION and witness["version"] is not True, f"version {VERSION} is needed")
    of, claim = Class(witness["problem"]), witness["claim"]
    need(claim in ("wrong", "missed", "did not halt", "reads"), "an unknown claim")
    digits, reads, rivals = whole(witness["digits"], 1, of.digits), witness["reads"], witness["rivals"]
    need(isinstance(reads, list) and isinstance(rivals, list), "lists of reads and rivals are needed")
    need(len(rivals) <= of.columns and len(reads) <= MOST_READS, "too many reads or rivals", TooLong)
    need(len(reads) * of.columns * (len(rivals) + 1) <= MOST_WORK, "too many reads of too many columns", TooLong)
    instance, rivals = Member(of, witness["instance"]), [Member(of, r) for r in rivals]
    for read in reads:
        answer(of, read, [instance, *rivals])
    limit, told = Fraction(1, 100**digits), f"{len(reads)} reads agree with the instance"
    if claim != "missed":  # no answer to these reads would have been right for two of the rivals
        shape = {(r.scale, r.bump) for r in rivals}
        need(len(rivals) >= 2 and len({r.column for r in rivals} - {None}) == len(rivals), "two rivals are needed")
        need(len(shape) == 1 and digits == instance.scale == rivals[0].scale, "rivals of one bump and scale are needed")
        among = instance.column is None or (instance.column, instance.bump) in {(r.column, r.bump) for r in rivals}
        need(among, "an instance that is neither a rival nor the tie")
        for k in range(of.samples):  # the distance is the root of 2 v^2
            need(2 * of.prove(rivals[0].largest, of.s(k)) ** 2 > 4 * limit, "rivals that one answer may satisfy")
        told = f"{len(reads)} reads agree with {len(rivals)} problems of the class, whose minimisers are more than "
        told += f"2e-{digits} apart: no answer would have been right for two of them"
    if claim in ("did not halt", "reads"):
        return f"{told}. After them the algorithm had not halted: run it again to see that."
    need(isinstance(witness["outputs"], list) and len(witness["outputs"]) == of.samples, "too few or too many outputs")
    distances = [instance.distance_squared(numbers(x, of.size), k) for k, x in enumerate(witness["outputs"])]
    need(max(distances) > limit, f"the outputs are within 1e-{digits} of the minimisers")
    shown = isqrt(int(min(max(distances) * 100 ** (digits + 4), 10**40)))
    return f"{told}. The output is {shown // 10**4}.{shown % 10**4:04d}e-{digits} away from the instance's minimisers."


def main(path):
    """Checks the witness in a file and returns what it shows."""
    need(path == "-" or os.path.isfile(path), "a regular file, or -, is needed: python witness.py FILE.json")
    with sys.stdin if path == "-" else open(path, encoding="utf-8") as file:
        text = file.read(MOST_CHARACTERS + 1)
    need(len(text) <= MOST_CHARACTERS, "a file of more than 50 MB", TooLong)
    try:
        witness = json.loads(text, parse_float=str, parse_constant=str)
    except (ValueError, RecursionError) as error:
        raise Refuted(f"not JSON: {error}") from None
    return check(witness)


if __name__ == "__main__":
    try:
        print(main(sys.argv[1] if sys.argv[1:] else ""))
    except (Refuted, OSError, UnicodeDecodeError) as error:
        sys.exit(f"refuted: {error}")
