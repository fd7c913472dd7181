"""Checks a witness against the definitions, and imports nothing of this project: read it before you believe it.

    python witness.py FILE.json

A witness says: this algorithm, after these reads, returned these vectors, and here is a problem of the class that
agrees with all the reads and whose minimisers are further than 10**-digits from them. Whether the algorithm did return
them is for its owner to run again. Checked here, in exact rational arithmetic: that the instance and its rivals are
members of the class; that every answer is dyadic and within 2**-n of *all* of them, and its label optimal for what it
shows; that the instance's minimiser is one, by a dual point of equal value; the distances; and that two rivals are more
than 2 * 10**-digits apart, so that no answer to these reads would have been right for all.
"""

import json
import re
import sys
from fractions import Fraction
from math import isqrt

FORMAT, VERSION = "firenet-barrier-witness", 1
NUMBER = re.compile(r"-?[0-9]{1,4000}(/[0-9]{1,4000})?")


class Refuted(ValueError):
    """What is wrong with a witness."""


def need(condition, message):
    if not condition:
        raise Refuted(message)


def number(text):
    need(
        isinstance(text, str) and NUMBER.fullmatch(text),
        f"an integer or fraction in a string is needed; got {text!r:.80}",
    )
    need("/" not in text or int(text.split("/")[1]) > 0, "a denominator of zero")
    return Fraction(text)


def whole(text, least=0):
    value = number(text)
    need(value.denominator == 1 and value >= least, f"a whole number of at least {least} is needed; got {text:.80}")
    return int(value)


def numbers(values, length):
    need(isinstance(values, list) and len(values) == length, f"{length} numbers are needed")
    return [number(v) for v in values]


class Class:
    """The class of problems, written out again."""

    def __init__(self, data):
        self.kind = data["kind"]
        need(self.kind in ("P1", "P2", "P3"), "the problem is P1, P2 or P3")
        self.digits, self.columns = whole(data["digits"], 1), whole(data["columns"], 2)
        self.tail, self.samples = whole(data["tail"]), whole(data["samples"], 1)
        need(
            self.digits <= 300 and self.columns + self.tail <= 10000 and self.samples <= 10000,
            "sizes that are too large",
        )
        self.parameter = number(data["parameter"])
        need(0 < self.parameter <= (Fraction(1, 2) if self.kind == "P1" else 1), "a parameter outside its interval")
        self.size = self.columns + self.tail

    def s(self, k):
        return 1 + Fraction(k, 4 * self.samples)

    def value(self, a, s):
        """The minimiser's entry where a is the largest of the row and y = s e_1."""
        f = {"P1": s - self.parameter, "P2": s - self.parameter / (2 * a), "P3": s}[self.kind]
        return max(f, Fraction(0)) / a

    def prove(self, row, s, tail_squared):
        """That value(a, s) e_j is optimal where row[j] = a is the largest: a dual point of the same value.

        With A* q for q = (t, 0, ..., 0) being (t a_1, ..., t a_N1, 0, ...): feasible where |t| a_i <= penalty.
        """
        a, penalty = max(row), Fraction(1) if self.kind == "P1" else self.parameter
        need(min(row) > 0 and tail_squared > 0, "the row and the lower block are not positive")
        v = self.value(a, s)
        t = penalty / a  # |A* q|_i = penalty a_i / a <= penalty, with equality on the support alone
        if self.kind == "P3":  # max <y, q> over ||q|| <= 1
            need(t <= 1, "the dual point is too long")
            need(penalty * v + abs(a * v - s) == s * t, "the minimiser is not optimal")
        elif self.kind == "P1":  # max <y, q> - eps ||q||
            need(abs(a * v - s) <= self.parameter or s <= self.parameter, "the minimiser does not fit the data")
            need(penalty * v == max(s * t - self.parameter * t, 0), "the minimiser is not optimal")
        elif v:  # max <y, q> - ||q||^2 / 4
            need(penalty * v + (a * v - s) ** 2 == s * t - t * t / 4, "the minimiser is not optimal")
        return v


class Member:
    """A problem of the class."""

    def __init__(self, of, data):
        self.of, self.scale, self.bump = of, whole(data["scale"], 1), number(data["bump"])
        self.column = None if data["column"] is None else whole(data["column"])
        need(self.scale in (of.digits, of.digits - 1), "the scale is neither K nor K - 1")
        base = Fraction(10**self.scale, 2) * (1 - of.parameter if of.kind == "P1" else 1)
        self.row = [base] * of.columns
        if self.column is None:
            need(self.bump == 0 and self.scale == of.digits, "the tie is of scale K and has no bump")
        else:
            need(self.column < of.columns and 0 < self.bump <= 1, "a bump that is none")
            self.row[self.column] += self.bump
        self.tail_squared = sum(a * a for a in self.row)

    def distance_squared(self, x, k):
        """To the minimisers for measurement k; below the distance to the simplex where all are tied."""
        v = self.of.prove(self.row, self.of.s(k), self.tail_squared)
        need(self.column is not None, "distances are to a problem with a bump")
        return sum((e - (v if i == self.column else 0)) ** 2 for i, e in enumerate(x))

    def agrees(self, read):
        """Whether an oracle for this problem may give this answer."""
        n, k = whole(read["n"]), whole(read["k"])
        need(n <= 4096 and k < self.of.samples, "a read of something that there is not")
        row, tail, y = numbers(read["row"], self.of.columns), number(read["tail"]), number(read["y"])
        for x in (*row, tail, y):
            need(x.denominator & (x.denominator - 1) == 0, "an answer that is not dyadic")
        within = Fraction(1, 2**n)
        need(sum((a - b) ** 2 for a, b in zip(row, self.row, strict=True)) <= within**2, f"a row further than 2**-{n}")
        need(abs(y - self.of.s(k)) <= within, f"a measurement further than 2**-{n}")
        low, high = max(tail - within, 0), tail + within
        need(high >= 0 and low**2 <= self.tail_squared <= high**2, f"a lower block further than 2**-{n}")
        need(y >= 0 and tail > 0, "an answer outside the closed form")
        label = numbers(read["label"], self.of.size)
        v, a = self.of.prove(row, y, tail * tail), max(row)
        on = [e for e, b in zip(label, row, strict=False) if b == a]
        off = [e for e, b in zip(label, [*row, *[0] * self.of.tail], strict=True) if b != a]
        need(all(e >= 0 for e in on) and sum(on) == v and not any(off), "a label that is no minimiser of what is shown")


def check(witness):
    """What the witness shows, in words; :class:`Refuted` with the reason where it shows nothing."""
    try:
        return _check(witness)
    except (KeyError, TypeError, AttributeError, IndexError, ZeroDivisionError) as error:
        raise Refuted(f"not a witness: {type(error).__name__} {error}") from None


def _check(witness):
    need(isinstance(witness, dict) and witness.get("format") == FORMAT, f"the format is not {FORMAT}")
    need(witness["version"] == VERSION, f"version {VERSION} is needed")
    claim, digits = witness["claim"], whole(witness["digits"], 1)
    need(claim in ("wrong", "did not halt", "reads"), f"an unknown claim {claim!r:.40}")
    of = Class(witness["problem"])
    instance, rivals = Member(of, witness["instance"]), [Member(of, r) for r in witness["rivals"]]
    need(len(witness["reads"]) <= 100_000, "too many reads")
    for read in witness["reads"]:
        for member in (instance, *rivals):
            member.agrees(read)
    limit = Fraction(1, 100**digits)
    told = f"{len(witness['reads'])} reads agree with {max(len(rivals), 1)} problems of the class"
    if len(rivals) > 1:
        need(len({r.column for r in rivals} - {None}) == len(rivals), "rivals with their bump on the same column")
        for k in range(of.samples):  # any two minimisers are v_i e_i and v_j e_j
            sizes = sorted(of.prove(r.row, of.s(k), r.tail_squared) ** 2 for r in rivals)
            need(sizes[0] + sizes[1] > 4 * limit, "rivals that one answer may satisfy")
        told += f", whose minimisers are more than 2e-{digits} apart: no answer would have been right for all"
    if claim != "wrong":
        return f"{told}. After them the algorithm had not halted: run it again to see that."
    outputs = [numbers(x, of.size) for x in witness["outputs"]]
    need(len(outputs) == of.samples, "an output for every measurement is needed")
    distances = [instance.distance_squared(x, k) for k, x in enumerate(outputs)]
    need(max(distances) > limit, f"the outputs are within 1e-{digits} of the minimisers")
    q = max(distances) * 10 ** (2 * digits + 8)
    shown = isqrt(q.numerator // q.denominator)
    return (
        f"{told}. The output is {shown // 10**4}.{shown % 10**4:04d}e-{digits} away from the minimiser of the instance."
    )


def main(path):
    with open(path, encoding="utf-8") as file:
        text = file.read(50_000_001)
    need(len(text) <= 50_000_000, "a file of more than 50 MB")
    try:
        witness = json.loads(text, parse_float=str, parse_constant=str)
    except (ValueError, RecursionError) as error:
        raise Refuted(f"not JSON: {error}") from None
    return check(witness)


if __name__ == "__main__":
    try:
        print(main(sys.argv[1]))
    except Refuted as error:
        sys.exit(f"refuted: {error}")
