"""Checks a certificate about the null space property. This file imports nothing of the project: read it, then believe.

Usage: ``python checker.py FILE.json [--matrix-sha256]``. It prints what is proved and ends with exit code 0; with 1 and
the reason if the certificate proves nothing, with 2 if the file is no certificate. With ``--matrix-sha256`` it prints
the digest of the matrix first, which is to be compared with that of one's own matrix.

A certificate has a matrix A of m rows and N columns, sizes and sparsities s_k of levels, a weight w_k for each level,
rho and gamma. All are rational: A is integers times a power of two. With xi the sum of w_k^2 s_k the claim "holds" is

    ||x_D||_2 <= rho ||x_outside D||_1,w / sqrt(xi) + gamma ||Ax||_2        (0 < rho < 1, gamma > 0)

for every x and every set D of s_k indices in each level k. Its proof is N vectors h_i. Let R be the matrix with rows
(e_i - A* h_i)*, so that x_i = <Ax, h_i> + (Rx)_i, and let H_D have the columns h_i, i in D. Then

    ||x_D||_2 <= a ||x||_1,w + b ||Ax||_2,   a = max_j ||(R e_j)_D||_2 / w_j,   b = ||H_D||_2,

and since ||x_D||_1,w <= sqrt(xi) ||x_D||_2 the claim follows from a sqrt(xi) (1 + rho) <= rho, b (1 + rho) <= gamma.
For the worst D, ||(R e_j)_D||^2 is the sum of the s_k largest squares of each level k; b^2 is at most such a sum of
squares ||h_i||^2, and at most the largest such sum of |<h_i, h_j>| over j (row sums bound eigenvalues). The claim
"fails" is proved by an x that violates it; rho or gamma may be null: then every rho below 1, or every gamma, fails.
"""

import hashlib
import json
import os
import re
import sys
from decimal import Decimal
from fractions import Fraction
from math import isqrt
from operator import mul

FORMAT, VERSION = "firenet-null-space", 1
KEYS = {"format", "version", "claim", "matrix", "matrix_sha256", "levels", "rho", "gamma", "vectors", "sha256"}
RATIONAL = re.compile(r"[0-9]+(/0*[1-9][0-9]*)?", re.ASCII)
MOST_CHARACTERS, MOST_DIGITS, MOST_EXPONENT, MOST_SIDE, MOST_PRODUCTS = 200_000_000, 1300, 5000, 2048, 2**32
UNITS = 2**160  # squares of a sqrt(xi), which is below 1/2, are rounded up to such parts of 1


class Refused(ValueError):
    """Says why a certificate proves nothing."""


class NotACertificate(ValueError):
    """Says why a file is no certificate, or one that is too large."""


def need(condition, message, error: type[ValueError] = Refused):
    """Raises an error unless the condition holds."""
    if not condition:
        raise error(message)


def rational(text, name):
    """Reads a rational number that is not negative."""
    need(isinstance(text, str) and len(text) <= 2 * MOST_DIGITS, f"{name}: p/q in a string is needed", NotACertificate)
    need(RATIONAL.fullmatch(text) and all(len(t) <= MOST_DIGITS for t in text.split("/")), f"{name}: p/q is needed")
    return Fraction(text)


def whole(value, least, most, name):
    """Reads a whole number."""
    need(type(value) is int, f"{name}: a whole number is needed", NotACertificate)
    need(least <= value <= most, f"{name}: a number from {least} to {most} is needed")
    return value


def integers(values, length, name):
    """Reads a list of integers."""
    fits = isinstance(values, list) and len(values) == length and all(type(v) is int for v in values)
    need(fits, f"{name}: {length} integers are needed", NotACertificate)
    return values


def root(value):
    """Returns a rational number at or just above the square root of a rational one."""
    shift = max(0, 256 - value.numerator.bit_length() + value.denominator.bit_length()) // 2 + 1
    scaled = -(-(value.numerator << 2 * shift) // value.denominator)
    return Fraction(isqrt(scaled - 1) + 1 if scaled else 0, 1 << shift)


def shown(value):
    """Returns a number with six digits, for the eye."""
    return f"{Decimal(value.numerator) / Decimal(value.denominator):.6g}"


class Vector:
    """A vector of integers times a power of two: real parts, imaginary parts (none if it is real), exponent."""

    def __init__(self, data, length, is_complex, name):
        keys = {"exponent", "real", "imaginary"} if is_complex else {"exponent", "real"}
        need(isinstance(data, dict) and set(data) == keys, f"{name}: {sorted(keys)} are needed", NotACertificate)
        self.exponent = whole(data["exponent"], -MOST_EXPONENT, MOST_EXPONENT, f"{name}: exponent")
        self.real = integers(data["real"], length, name)
        self.imaginary = integers(data["imaginary"], length, name) if is_complex else []
        # <v, u> = conj(v).u has the real part joined.joined and the imaginary part joined.turned of the other vector
        self.joined, self.turned = self.real + self.imaginary, self.imaginary + [-v for v in self.real]

    def squares(self):
        """Returns the squared moduli, in units of 4**exponent."""
        return [a * a + b * b for a, b in zip(self.real, self.imaginary or [0] * len(self.real), strict=True)]


def inner(v, u):
    """Returns real and imaginary part of conj(v).u."""
    return sum(map(mul, v.joined, u.joined)), sum(map(mul, v.joined, u.turned)) if v.imaginary else 0


def power(exponent):
    """Returns 2**exponent."""
    return Fraction(1 << exponent) if exponent >= 0 else Fraction(1, 1 << -exponent)


class Certificate:
    """Reads a certificate: every number of it, and checks every hypothesis of the claim."""

    def __init__(self, data):
        need(isinstance(data, dict) and data.get("format") == FORMAT, f"not of the format {FORMAT}", NotACertificate)
        need(type(data.get("version")) is int and data["version"] == VERSION, "another version", NotACertificate)
        need(set(data) == KEYS, f"the entries {sorted(KEYS)} are needed", NotACertificate)
        matrix, self.claim = data["matrix"], data["claim"]
        keys = {"rows", "columns", "exponent", "real", "imaginary"}
        need(isinstance(matrix, dict) and set(matrix) == keys, f"matrix: {sorted(keys)} are needed", NotACertificate)
        self.m, self.n = (whole(matrix[k], 1, MOST_SIDE, f"matrix: {k}") for k in ("rows", "columns"))
        self.complex = matrix["imaginary"] is not None
        products = self.m * self.n * self.n * (4 if self.complex else 1)
        need(products <= MOST_PRODUCTS, "a matrix that takes too long to check", NotACertificate)
        for part in ("real", "imaginary") if self.complex else ("real",):
            need(isinstance(matrix[part], list) and len(matrix[part]) == self.m, "matrix: m rows", NotACertificate)
            for row in matrix[part]:
                integers(row, self.n, "a row of the matrix")
        names = ("real", "imaginary") if self.complex else ("real",)
        turned = zip(*(zip(*matrix[part], strict=True) for part in names), strict=True)
        columns = ({"exponent": matrix["exponent"]} | dict(zip(names, map(list, c), strict=True)) for c in turned)
        self.columns = [Vector(c, self.m, self.complex, "a column of the matrix") for c in columns]
        self.read_levels(data["levels"])
        self.matrix, self.digest = matrix, sha256(matrix)
        need(self.digest == data["matrix_sha256"], "the matrix is not the one of matrix_sha256")
        need(sha256({k: v for k, v in data.items() if k != "sha256"}) == data["sha256"], "the file was changed")
        self.rho = Fraction(1) if data["rho"] is None else rational(data["rho"], "rho")
        self.gamma = Fraction(0) if data["gamma"] is None else rational(data["gamma"], "gamma")
        need(data["rho"] is None or 0 < self.rho < 1, "rho: 0 < rho < 1 is needed")
        need(data["gamma"] is None or self.gamma > 0, "gamma: gamma > 0 is needed")
        self.read_vectors(data["vectors"])

    def read_levels(self, levels):
        """Reads sizes, sparsities and weights, which must be those of N columns."""
        keys = {"sizes", "sparsities", "weights"}
        lists = isinstance(levels, dict) and set(levels) == keys and all(isinstance(v, list) for v in levels.values())
        need(lists and {len(v) for v in levels.values()} == {len(levels["sizes"])}, "levels: lists", NotACertificate)
        self.sizes = [whole(v, 1, self.n, "the size of a level") for v in levels["sizes"]]
        need(sum(self.sizes) == self.n, f"sizes: levels of together {self.n} columns are needed")
        self.sparsities = [
            whole(s, 1, n, "a sparsity, at most the size of its level")
            for s, n in zip(levels["sparsities"], self.sizes, strict=True)
        ]
        self.order = f"order {self.sparsities} in levels of {self.sizes} columns"
        self.weights = [rational(v, "a weight") for v in levels["weights"]]
        need(all(w > 0 for w in self.weights), "weights: positive ones are needed")
        self.xi = sum(w * w * s for w, s in zip(self.weights, self.sparsities, strict=True))

    def read_vectors(self, vectors):
        """Reads the h_i of a claim that holds, or the x of one that fails."""
        need(self.claim in ("holds", "fails"), "the claim: holds or fails is needed", NotACertificate)
        holds = self.claim == "holds"
        count, length = (self.n, self.m) if holds else (1, self.n)
        need(isinstance(vectors, list) and len(vectors) == count, f"{count} vectors are needed", NotACertificate)
        need(not holds or (0 < self.rho < 1 and self.gamma > 0), "a claim that holds has rho and gamma")
        self.vectors = [Vector(v, length, self.complex, "a vector") for v in vectors]

    def largest(self, values):
        """Returns the sum of the s_k largest values of each level k."""
        total, start = 0, 0
        for size, s in zip(self.sizes, self.sparsities, strict=True):
            total += sum(sorted(values[start : start + size], reverse=True)[:s])
            start += size
        return total

    def bounds(self):
        """Returns upper bounds of (a sqrt(xi))^2 and b^2 for the vectors h_i."""
        each = [w for w, size in zip(self.weights, self.sizes, strict=True) for _ in range(size)]
        squares = [[0] * self.n for _ in range(self.n)]  # [j][i]: |R_ij|^2 xi / w_j^2 in units, at most 1
        for i, h in enumerate(self.vectors):
            exponent = h.exponent + self.columns[0].exponent
            scales = {w: self.xi / (w * w) * power(2 * min(exponent, 0)) * UNITS for w in self.weights}
            for j, column in enumerate(self.columns):
                real, imaginary = (part << max(exponent, 0) for part in inner(column, h))
                real -= (1 << max(-exponent, 0)) if i == j else 0
                square, scale = real * real + imaginary * imaginary, scales[each[j]]
                squares[j][i] = min(-(-square * scale.numerator // scale.denominator), UNITS)
        return Fraction(max(map(self.largest, squares)), UNITS), self.gram_bound()

    def gram_bound(self):
        """Returns an upper bound of the largest eigenvalue of all Gram matrices of s_k vectors in each level."""
        lengths = [sum(h.squares()) * power(2 * h.exponent) for h in self.vectors]
        unit = max(lengths) / 2**64 or Fraction(1)
        sizes = [[0] * self.n for _ in range(self.n)]  # |<h_i, h_j>| in this unit, rounded up
        for i, h in enumerate(self.vectors):
            for j in range(i + 1):
                real, imaginary = inner(h, self.vectors[j])
                size = abs(real) if not imaginary else isqrt(real * real + imaginary * imaginary) + 1
                scale = power(h.exponent + self.vectors[j].exponent) / unit
                sizes[i][j] = sizes[j][i] = -(-size * scale.numerator // scale.denominator)
        return min(self.largest(lengths), max(map(self.largest, sizes)) * unit)

    def holds(self):
        """Returns what is proved if the claim holds."""
        product, b = self.bounds()
        need(product * (1 + self.rho) ** 2 <= self.rho**2, f"rho: a sqrt(xi) is {shown(root(product))}, too large")
        need(b * (1 + self.rho) ** 2 <= self.gamma**2, f"gamma: b is {shown(root(b))}, too large")
        constants = f"rho = {shown(self.rho)} and gamma = {shown(self.gamma)}"
        return f"the matrix has the weighted null space property of {self.order} with {constants}"

    def fails(self):
        """Returns what is refuted if the vector violates the claim."""
        (x,) = self.vectors
        squares, unit = x.squares(), power(x.exponent)
        need(any(squares), "x is zero")
        start, tail = 0, Fraction(0)
        for size, s, w in zip(self.sizes, self.sparsities, self.weights, strict=True):
            outside = sorted(squares[start : start + size])[: size - s]
            tail += sum((root(Fraction(v)) if isqrt(v) ** 2 != v else isqrt(v) for v in outside), 0) * unit * w
            start += size
        head, misfit = self.largest(squares) * unit**2, self.image(x)
        failed = f"the matrix has no weighted null space property of {self.order} with"
        gamma = "any gamma" if misfit == 0 else f"gamma = {shown(self.gamma)}"
        need(self.gamma > 0 or misfit == 0, "gamma: Ax is not zero, so that a large gamma may do")
        if misfit == 0 and head * self.xi >= tail**2:
            return f"{failed} any rho and any gamma"
        right = root(self.rho**2 * tail**2 / self.xi) + root(self.gamma**2 * misfit)
        need(right**2 < head, f"x violates nothing: {shown(root(head))} is at most {shown(right)}")
        rho = f"rho = {shown(self.rho)}" if self.rho < 1 else "any rho"
        return f"{failed} {rho} and {gamma}"

    def image(self, x):
        """Returns ||Ax||^2: a row of A times x is an inner product with its conjugate."""
        squares = 0
        for k, row in enumerate(self.matrix["real"]):
            conjugate = {"imaginary": [-v for v in self.matrix["imaginary"][k]]} if self.complex else {}
            part = {"exponent": self.matrix["exponent"], "real": row} | conjugate
            real, imaginary = inner(Vector(part, self.n, self.complex, "a row of the matrix"), x)
            squares += real * real + imaginary * imaginary
        return squares * power(2 * (self.matrix["exponent"] + x.exponent))


def sha256(part):
    """Returns the digest of a part of a certificate."""
    return hashlib.sha256(json.dumps(part, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def parse(text):
    """Reads JSON, and refuses floats, long numbers and names that occur twice."""

    def integer(digits):
        need(len(digits) <= MOST_DIGITS, "a number that is too long", NotACertificate)
        return int(digits)

    def other(token):
        raise NotACertificate(f"{token[:20]} is no integer")

    def names(pairs):
        need(len({k for k, _ in pairs}) == len(pairs), "a name that occurs twice", NotACertificate)
        return dict(pairs)

    need(len(text) <= MOST_CHARACTERS, "a file of more than 200 MB", NotACertificate)
    try:
        return json.loads(text, parse_int=integer, parse_float=other, parse_constant=other, object_pairs_hook=names)
    except RecursionError:
        raise NotACertificate("JSON that is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise NotACertificate(f"not JSON: {error}") from None


def check(data):
    """Returns the digest of the matrix and what is proved; raises :class:`Refused` or :class:`NotACertificate`."""
    certificate = Certificate(data)
    return certificate.digest, certificate.holds() if certificate.claim == "holds" else certificate.fails()


def main(path, *options):
    """Checks the certificate in a file and returns what it proves."""
    need(set(options) <= {"--matrix-sha256"}, "only --matrix-sha256 is an option", NotACertificate)
    need(os.path.isfile(path), "a regular file is needed", NotACertificate)
    with open(path, encoding="utf-8") as file:
        digest, proved = check(parse(file.read(MOST_CHARACTERS + 1)))
    return f"{digest}\n{proved}" if options else proved


if __name__ == "__main__":
    try:
        need(len(sys.argv) > 1, "usage: python checker.py FILE.json [--matrix-sha256]", NotACertificate)
        print("accepted:", main(*sys.argv[1:]))
    except Refused as error:
        sys.exit(f"refused: {error}")
    except (NotACertificate, OSError, UnicodeDecodeError, TypeError, RecursionError) as error:
        print(f"not a certificate: {error}", file=sys.stderr)
        sys.exit(2)
