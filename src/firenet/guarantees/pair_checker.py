"""Checks in integers that a measurement cannot tell two sparse signals apart. Standard library only.

Run ``python -m firenet.guarantees.pair_checker pair.json``; firenet.guarantees.confusion writes such files. Checked are

* the class: in level k each vector has at most s_k non-zeros, none of modulus above b_k;
* a lower bound D of the distance |u|, u = W*(x - x'), W* the wavelet synthesis (the identity if there is none);
* an upper bound of |Au|, A a matrix, or samples of the unitary Fourier or Walsh transform, also with coil maps.

If |Au| <= 2 noise, the data halfway between those of the two images are within the noise of both. What a method makes
of these data is not nearer than D/2 to both images: every method errs by at least D/2 on one of them.

All entries are integers times a power of two. Matrices, coil maps, Walsh transforms and, in even dimensions, Haar
synthesis are exact. The roundings of the rest are counted in ``error``, a bound for each real and imaginary part in the
unit of the integers. An output of a wavelet filter is rounded once: error <= S error + 1, S the sum of the moduli of
the taps. A stage of the Fourier transform, which splits off a prime factor p of the length, adds p products with
twiddle factors that are off by 2^-P in both parts: error <= p (2 error + 2 B / 2^P + 1), B a bound of the parts of all
partial sums: the sum of all moduli of the input.
"""

import os
import sys
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from fractions import Fraction
from itertools import product
from math import isqrt, prod

from firenet.guarantees.checker import (
    NotACertificate,
    Refused,
    integers,
    need,
    parse,
    power,
    rational,
    root,
    sha256,
    whole,
)

FORMAT, VERSION = "firenet-confusion", 1
KEYS = {"format", "version", "operator", "wavelet", "levels", "first", "second", "noise", "distance", "sha256"}
GUARD = 64  # bits of the fixed point below those of the entries
MOST_ENTRIES, MOST_EXPONENT, MOST_COILS, MOST_PRODUCTS = 2**22, 2000, 64, 2**28


def below(value):
    """Returns the square root of a rational number, rounded down to a rational one."""
    shift = max(0, 256 - value.numerator.bit_length() + value.denominator.bit_length()) // 2 + 1
    return Fraction(isqrt((value.numerator << 2 * shift) // value.denominator), 1 << shift)


def under(value, digits=4):
    """Returns a value as a short decimal text, rounded down."""
    return _shown(value, digits, ROUND_FLOOR)


def above(value, digits=4):
    """Returns a value as a short decimal text, rounded up."""
    return _shown(value, digits, ROUND_CEILING)


def _shown(value, digits, rounding):
    value = Fraction(value)
    return f"{Context(digits, rounding).divide(Decimal(value.numerator), Decimal(value.denominator)).normalize():g}"


def listed(data, keys, name):
    """Checks that an entry of the file is a mapping with exactly these names, and returns it."""
    need(isinstance(data, dict) and set(data) == set(keys), f"{name}: {sorted(keys)} are needed", NotACertificate)
    return data


def changed(flat, shape, axis, change):
    """Replaces every line along an axis of a flat array."""
    n, stride = shape[axis], prod(shape[axis + 1 :])
    for start in range(0, len(flat), n * stride):
        for at in range(start, start + stride):
            line = slice(at, start + n * stride, stride)
            flat[line] = change(flat[line])


def places(shape, corner):
    """Returns the indices, in a flat array with axes of the sizes ``shape``, of its first block of sizes ``corner``."""
    strides = [prod(shape[k + 1 :]) for k in range(len(shape))]
    rows = product(*(range(0, n * s, s) for n, s in zip(corner[:-1], strides[:-1], strict=True)))
    return [at + k for at in map(sum, rows) for k in range(corner[-1])]


# --- the wavelet ------------------------------------------------------------------------------------------------------


def haar(line):
    """Merges the halves of a line by sums and differences, without the factor 1/sqrt 2."""
    half = len(line) // 2
    return [v for a, d in zip(line[:half], line[half:], strict=True) for v in (a + d, a - d)]


class Filters:
    """The taps of a wavelet, integers times a power of two."""

    def __init__(self, data):
        listed(data, {"exponent", "low", "high"}, "taps")
        self.shift = -whole(data["exponent"], -MOST_EXPONENT, 0, "the exponent of the taps")
        need(isinstance(data["low"], list) and 2 <= len(data["low"]) <= 128, "taps: a list", NotACertificate)
        count = len(data["low"])
        self.pairs = list(zip(integers(data["low"], count, "taps"), integers(data["high"], count, "taps"), strict=True))
        self.growth = (sum(abs(a) + abs(b) for a, b in self.pairs) >> self.shift) + 1

    def merge(self, line):
        """Merges the halves a and d of a line by the L taps h and g: x[2k + L/2 - j], with the index modulo the length,
        is the sum of h[j] a[k] + g[j] d[k], rounded."""
        n, reach = len(line), len(self.pairs) // 2
        out = [0] * n
        for k, (a, d) in enumerate(zip(line[: n // 2], line[n // 2 :], strict=True)):
            if a or d:
                for j, (low, high) in enumerate(self.pairs):
                    out[(2 * k + reach - j) % n] += low * a + high * d
        return [v >> self.shift for v in out]


class Wavelet:
    """The synthesis of an orthonormal wavelet in the arrangement with the approximation in the first corner."""

    def __init__(self, data, shape):
        listed(data, {"depth", "taps"}, "wavelet")
        self.shape, self.depth = shape, whole(data["depth"], 0, 30, "depth")
        need(all(n % (1 << self.depth) == 0 for n in shape), "depth: sides that are multiples of 2^depth are needed")
        self.filters = None if data["taps"] is None else Filters(data["taps"])

    def levels(self):
        """Returns the level of each coefficient: 0 the approximation, then from coarse to fine."""
        found = [self.depth] * prod(self.shape)
        for k in range(1, self.depth + 1):
            for at in places(self.shape, [n >> k for n in self.shape]):
                found[at] = self.depth - k
        return found

    def synthesise(self, c):
        """Returns the image, the bound of its error, and the exponent e of its factor 2^(e/2)."""
        error, axes = 0, len(self.shape)
        if self.filters is None:  # sums and differences; the factors of the levels come first, relative to the last
            for at, level in enumerate(self.levels()):
                half = max(level - 1, 0) * axes if c[at] else 0
                value = c[at] << half // 2
                c[at] = value if half % 2 == 0 else (isqrt(2 * value * value) * (1 if value > 0 else -1))
                error = max(error, half % 2)
        for k in range(self.depth, 0, -1):
            corner = [n >> (k - 1) for n in self.shape]
            at = places(self.shape, corner)
            part = [c[i] for i in at]
            for axis in range(axes):
                changed(part, corner, axis, haar if self.filters is None else self.filters.merge)
                error = 2 * error if self.filters is None else self.filters.growth * error + 1
            for i, value in zip(at, part, strict=True):
                c[i] = value
        return c, error, -self.depth * axes if self.filters is None else 0


# --- the transforms ---------------------------------------------------------------------------------------------------


def hadamard(line):
    """Returns the Walsh transform in sequency order, without its factor: row k has k sign changes."""
    n, half, line = len(line), 1, list(line)
    while half < n:
        for start in range(0, n, 2 * half):
            a, b = line[start : start + half], line[start + half : start + 2 * half]
            line[start : start + half] = [u + v for u, v in zip(a, b, strict=True)]
            line[start + half : start + 2 * half] = [u - v for u, v in zip(a, b, strict=True)]
        half *= 2
    bits = n.bit_length() - 1
    return [line[int(f"{k ^ (k >> 1):0{bits}b}"[::-1], 2)] for k in range(n)] if bits else line


def twiddles(n, bits):
    """Returns the real and imaginary parts of exp(-2 pi i k / n) times 2^bits, each off by at most 1.

    Machin's formula for pi and Taylor series for k = 1 are off by less than 2^12 units of 2^-(bits + 64), the k-th
    power of that number by less than 2^13 k of these units.
    """
    more = bits + 64

    def arctan(m):  # of 1 / m
        total, term, k = 0, (1 << more) // m, 1
        while term:
            total, term, k = total + (term // k if k % 4 == 1 else -(term // k)), term // (m * m), k + 2
        return total

    angle = 8 * (4 * arctan(5) - arctan(239)) // n
    parts, term, k = [0, 0, 0, 0], 1 << more, 0
    while term:
        parts[k % 4] += term
        k += 1
        term = (term * angle >> more) // k
    first = (parts[0] - parts[2], parts[3] - parts[1])
    powers = [(1 << more, 0)]
    for _ in range(n - 1):
        c, s = powers[-1]
        powers.append(((c * first[0] - s * first[1]) >> more, (c * first[1] + s * first[0]) >> more))
    half = 1 << 63
    return [((c + half) >> 64, (s + half) >> 64) for c, s in powers]


def fourier(re, im, table, bits):
    """Returns the discrete Fourier transform of a line, by splitting off the prime factors of its length one by one."""
    n = len(re)
    if n == 1:
        return re, im
    p = next((q for q in range(2, isqrt(n) + 1) if n % q == 0), n)
    m, step = n // p, len(table) // n
    parts = [fourier(re[q::p], im[q::p], table, bits) for q in range(p)]
    if p == 2:
        (a, b), (u, v) = parts
        w = table[: m * step : step]
        x = [(c * f - s * g) >> bits for (c, s), f, g in zip(w, u, v, strict=True)]
        y = [(c * g + s * f) >> bits for (c, s), f, g in zip(w, u, v, strict=True)]
        left = [f + g for f, g in zip(a, x, strict=True)], [f + g for f, g in zip(b, y, strict=True)]
        right = [f - g for f, g in zip(a, x, strict=True)], [f - g for f, g in zip(b, y, strict=True)]
        return left[0] + right[0], left[1] + right[1]
    out = [0] * n, [0] * n
    for k in range(n):
        for q, (u, v) in enumerate(parts):
            (c, s), f, g = table[q * k * step % len(table)], u[k % m], v[k % m]
            out[0][k] += (c * f - s * g) >> bits
            out[1][k] += (c * g + s * f) >> bits
    return out


def fourier_grid(re, im, shape, error):
    """Returns the unnormalised transform over all axes and the bound of its error."""
    most = sum(map(abs, re)) + sum(map(abs, im)) + 2 * len(re) * error + 1
    bits = most.bit_length() + 8
    for axis, n in enumerate(shape):
        table, rest = twiddles(n, bits), n
        joined = list(zip(re, im, strict=True))
        changed(
            joined,
            shape,
            axis,
            lambda line, table=table: zip(
                *fourier([a for a, _ in line], [b for _, b in line], table, bits), strict=True
            ),
        )
        re, im = [a for a, _ in joined], [b for _, b in joined]
        while rest > 1:
            p = next((q for q in range(2, isqrt(rest) + 1) if rest % q == 0), rest)
            error, rest = p * (2 * error + 2), rest // p  # 2 B / 2^P is below 1 for B <= 2 most
    need(error <= most, "entries too small for the check")  # so that B <= 2 most was true
    return re, im, error


def turned(flat, shape):
    """Moves the middle n // 2 of every axis to the corner."""
    out = list(flat)
    for axis, n in enumerate(shape):
        changed(out, shape, axis, lambda line, n=n: line[n // 2 :] + line[: n // 2])
    return out


# --- the certificate --------------------------------------------------------------------------------------------------


class Certificate:
    """Reads a certificate and checks the class of both vectors."""

    def __init__(self, data):
        need(isinstance(data, dict) and data.get("format") == FORMAT, f"not of the format {FORMAT}", NotACertificate)
        need(type(data.get("version")) is int and data["version"] == VERSION, "another version", NotACertificate)
        listed(data, KEYS, "the file")
        need(sha256({k: v for k, v in data.items() if k != "sha256"}) == data["sha256"], "the file was changed")
        self.operator = listed(data["operator"], {"kind", "shape", "centred", "mask", "maps", "matrix"}, "operator")
        kind, shape = self.operator["kind"], self.operator["shape"]
        need(kind in ("matrix", "fourier", "walsh"), "operator: matrix, fourier or walsh", NotACertificate)
        need(isinstance(shape, list) and 1 <= len(shape) <= 3, "shape: one to three sides", NotACertificate)
        self.kind, self.shape = kind, [whole(n, 1, MOST_ENTRIES, "a side") for n in shape]
        self.size = prod(self.shape)
        need(self.size <= MOST_ENTRIES, "an image that takes too long to check", NotACertificate)
        self.wavelet = None if data["wavelet"] is None else Wavelet(data["wavelet"], self.shape)
        self.read_levels(data["levels"])
        self.noise, self.distance = rational(data["noise"], "noise"), rational(data["distance"], "distance")
        first, second = (self.member(data[name], name) for name in ("first", "second"))
        need(data["first"]["exponent"] == data["second"]["exponent"], "first, second: of one exponent")
        self.exponent = data["first"]["exponent"]
        self.difference = [[0] * self.size, [0] * self.size]
        for sign, vector in ((1, first), (-1, second)):
            for at, parts in vector.items():
                for part, value in zip(self.difference, parts, strict=True):
                    part[at] += sign * value

    def read_levels(self, levels):
        """Reads sizes, sparsities and bounds, and the level of each coefficient."""
        listed(levels, {"sizes", "sparsities", "bounds"}, "levels")
        need(all(isinstance(v, list) for v in levels.values()), "levels: lists", NotACertificate)
        self.sizes = [whole(v, 1, self.size, "the size of a level") for v in levels["sizes"]]
        need(sum(self.sizes) == self.size, f"sizes: levels of together {self.size} coefficients are needed")
        need({len(v) for v in levels.values()} == {len(self.sizes)}, "levels: lists of one length", NotACertificate)
        self.sparsities = [
            whole(s, 1, n, "a sparsity, at most the size of its level")
            for s, n in zip(levels["sparsities"], self.sizes, strict=True)
        ]
        self.bounds = [rational(v, "a bound") for v in levels["bounds"]]
        if self.wavelet is None:
            self.level = [k for k, n in enumerate(self.sizes) for _ in range(n)]
            return
        self.level = self.wavelet.levels()
        if len(self.sizes) == self.wavelet.depth:  # the approximation is merged with the first details
            self.level = [max(k - 1, 0) for k in self.level]
        found = [0] * (max(self.level) + 1)
        for k in self.level:
            found[k] += 1
        need(found == self.sizes, f"sizes: those of the wavelet, {found}, are needed")

    def member(self, data, name):
        """Reads a vector and checks that it is in the class."""
        listed(data, {"exponent", "indices", "real", "imaginary"}, name)
        unit = power(whole(data["exponent"], -MOST_EXPONENT, MOST_EXPONENT, f"{name}: exponent"))
        need(isinstance(data["indices"], list), f"{name}: indices", NotACertificate)
        count = len(data["indices"])
        indices = [whole(v, 0, self.size - 1, f"{name}: an index") for v in data["indices"]]
        need(len(set(indices)) == count, f"{name}: an index that occurs twice")
        parts = [integers(data[part], count, name) for part in ("real", "imaginary")]
        most, used = [b * b / (unit * unit) for b in self.bounds], [0] * len(self.sizes)
        for at, a, b in zip(indices, *parts, strict=True):
            used[self.level[at]] += 1
            need(a * a + b * b <= most[self.level[at]], f"{name}: entry {at} is above the bound of its level")
        for k, (found, s) in enumerate(zip(used, self.sparsities, strict=True)):
            need(found <= s, f"{name}: {found} entries in level {k}, where {s} are allowed")
        return dict(zip(indices, zip(*parts, strict=True), strict=True))

    def images(self):
        """Returns the real and the imaginary part of the difference of the images, the bound of their error, and the
        exponent e of their factor 2^(e/2)."""
        guard = 0 if self.kind == "matrix" else GUARD
        parts = [[v << guard for v in part] for part in self.difference]
        unit = 2 * (self.exponent - guard)
        if self.wavelet is None:
            return parts, 0, unit
        found = [self.wavelet.synthesise(part) for part in parts]
        return [part for part, _, _ in found], max(error for _, error, _ in found), unit + found[0][2]

    def verified(self):
        """Returns a lower bound of the distance of the images and an upper bound of that of their measurements."""
        parts, error, half = self.images()
        scale = power(half)
        length = below(Fraction(sum(v * v for part in parts for v in part))) - error * (isqrt(2 * self.size) + 1)
        distance = below(max(length, Fraction(0)) ** 2 * scale)
        if self.kind == "matrix":
            return distance, self.by_matrix(parts[0], parts[1], error, scale)
        return distance, self.by_samples(parts, error, scale)

    def by_matrix(self, re, im, error, scale):
        """Returns the norm of the matrix times the difference, exact but for the root, which is rounded upwards."""
        keys = {"rows", "columns", "exponent", "real", "imaginary"}
        matrix = listed(self.operator["matrix"], keys, "matrix")
        need(self.wavelet is None and self.operator["mask"] is None, "a matrix has neither wavelet nor mask")
        n, m = whole(matrix["columns"], 1, self.size, "columns"), whole(matrix["rows"], 1, MOST_ENTRIES, "rows")
        need([n] == self.shape, "shape: the number of columns is needed")
        need(m * n <= MOST_PRODUCTS, "a matrix that takes too long to check", NotACertificate)
        need(isinstance(matrix["real"], list) and len(matrix["real"]) == m, "matrix: m rows", NotACertificate)
        other = [[0] * n] * m if matrix["imaginary"] is None else matrix["imaginary"]
        need(isinstance(other, list) and len(other) == m, "matrix: m rows", NotACertificate)
        at, total = [k for k in range(n) if re[k] or im[k]], 0
        for real, imaginary in zip(matrix["real"], other, strict=True):
            a, b = integers(real, n, "a row"), integers(imaginary, n, "a row")
            total += sum(a[k] * re[k] - b[k] * im[k] for k in at) ** 2
            total += sum(a[k] * im[k] + b[k] * re[k] for k in at) ** 2
        return root(total * scale * power(2 * whole(matrix["exponent"], -MOST_EXPONENT, MOST_EXPONENT, "exponent")))

    def by_samples(self, parts, error, scale):
        """Returns the norm of the samples of the difference, rounded upwards."""
        mask = self.operator["mask"]
        need(isinstance(mask, str) and set(mask) <= {"0", "1"}, "mask: zeros and ones", NotACertificate)
        need(len(mask) == self.size and self.operator["matrix"] is None, f"mask: {self.size} places are needed")
        need(type(self.operator["centred"]) is bool, "centred: true or false", NotACertificate)
        keep, centred = [k == "1" for k in mask], self.operator["centred"]
        keep = turned(keep, self.shape) if centred else keep
        total, most, count = 0, 0, 0
        for re, im, factor in self.channels(parts, error):
            count += 1
            if self.kind == "walsh":
                need(all(n & (n - 1) == 0 for n in self.shape) and not centred, "Walsh: sides 2^k, not centred")
                found = [list(re), list(im)]
                for part in found:
                    for axis in range(len(self.shape)):
                        changed(part, self.shape, axis, hadamard)
                re, im, bound = *found, self.size * factor
            else:
                grids = [turned(part, self.shape) if centred else part for part in (re, im)]
                re, im, bound = fourier_grid(*grids, self.shape, factor)
            total += sum(a * a + b * b for a, b, k in zip(re, im, keep, strict=True) if k)
            most = max(most, bound)
        unit = 0 if self.operator["maps"] is None else self.operator["maps"]["exponent"]
        slack = most * (isqrt(2 * count * sum(keep)) + 1)
        return root((root(Fraction(total)) + slack) ** 2 * scale * power(2 * unit) / self.size)

    def channels(self, parts, error):
        """Yields the real and imaginary part of what each coil sees, in the unit of the maps, and the bound of their
        error."""
        maps = self.operator["maps"]
        if maps is None:
            yield *parts, error
            return
        need(self.kind == "fourier", "maps: only for Fourier samples")
        listed(maps, {"exponent", "real", "imaginary"}, "maps")
        whole(maps["exponent"], -MOST_EXPONENT, MOST_EXPONENT, "exponent")
        fits = isinstance(maps["real"], list) and isinstance(maps["imaginary"], list)
        need(fits and 1 <= len(maps["real"]) == len(maps["imaginary"]) <= MOST_COILS, "maps: lists", NotACertificate)
        for pair in zip(maps["real"], maps["imaginary"], strict=True):
            c, s = (integers(values, self.size, "a coil map") for values in pair)
            re = [a * f - b * g for a, b, f, g in zip(*parts, c, s, strict=True)]
            im = [a * g + b * f for a, b, f, g in zip(*parts, c, s, strict=True)]
            yield re, im, error * (max(map(abs, c)) + max(map(abs, s)))


def check(data):
    """Returns what is proved; raises Refused or NotACertificate."""
    certificate = Certificate(data)
    distance, misfit = certificate.verified()
    need(certificate.distance <= distance, f"distance: the images are at a distance of {under(distance)}")
    least = above(misfit / 2)
    need(misfit <= 2 * certificate.noise, f"noise: only noise of {least} makes the measurements indistinguishable")
    need(certificate.distance > 0, "distance: one above 0 is needed")
    return (
        f"no method can tell the two images apart from measurements with noise of 2-norm {above(certificate.noise)}: "
        f"every method errs by at least {under(certificate.distance / 2)} on one of them"
    )


def main(path):
    """Checks the certificate in a file and returns what it proves."""
    need(os.path.isfile(path), "a regular file is needed", NotACertificate)
    with open(path, encoding="utf-8") as file:
        return check(parse(file.read(200_000_001)))


if __name__ == "__main__":
    try:
        need(len(sys.argv) == 2, "usage: python -m firenet.guarantees.pair_checker PAIR.json", NotACertificate)
        print("accepted:", main(sys.argv[1]))
    except Refused as error:
        sys.exit(f"refused: {error}")
    except (NotACertificate, OSError, UnicodeDecodeError, TypeError, RecursionError, IndexError) as error:
        print(f"not a certificate: {error}", file=sys.stderr)
        sys.exit(2)
