"""Random questions about digits, and whether an exact solution of problems that agree contradicts the answer.

``python tests/digits_cases.py`` asks 10,000 of them, prints what came out and every contradiction.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from fractions import Fraction
from multiprocessing import get_context
from typing import Any

import mpmath
import numpy as np

from exact_solutions import complex_minimiser, minimiser
from firenet.digits.determined import Digits, determine
from firenet.digits.question import Question
from firenet.digits.support import approximate, guess
from firenet.errors import BadInput

KINDS = ("P1", "P2", "P3")


def drawn(random: np.random.Generator) -> dict[str, Any]:
    """Draws a question: dyadic numbers of few bits or all, ties, near ties, zero rows and columns, uncertainties."""
    m, n = int(random.integers(1, 6)), int(random.integers(1, 8))
    cplx = random.random() < 0.25
    kind = str(random.choice(KINDS))

    def numbers(*shape: int) -> Any:
        x = random.standard_normal(shape)
        return np.rint(4 * x) / 4 if coarse else x

    coarse = random.random() < 0.4
    A = numbers(m, n) + (1j * numbers(m, n) if cplx else 0)
    how = int(random.integers(6))
    if how == 0 and n > 1:  # a tie: a column twice
        A[:, n - 1] = A[:, 0]
    if how == 1 and n > 1:  # nearly
        A[:, n - 1] = A[:, 0] * (1 + 2.0 ** -int(random.integers(3, 50)))
    if how == 2 and m > 1:
        A[m - 1] = 0
    if how == 3 and n > 1:
        A[:, 1] = 0
    x = numbers(n) * (random.random(n) < 0.5)
    y = A @ x + float(random.choice([0, 0.125, 1])) * numbers(m)
    A, y = (v * 2.0 ** int(random.choice([0, 0, 10, -40])) for v in (A, y))
    size = Fraction(float(np.abs(A).max()) or 1.0)
    lam = Fraction(int(random.integers(1, 9)), 8) * Fraction(2) ** -int(random.integers(0, 8))
    parameter = {"P1": lam * Fraction(float(np.linalg.norm(y))) / 2, "P2": lam * size**2, "P3": lam * size}[kind]
    if kind == "P1" and random.random() < 0.2:
        parameter = Fraction(0)
    w = [Fraction(int(v), 4) for v in random.integers(1, 9, n)] if random.random() < 0.3 else [Fraction(1)] * n
    given: dict[str, Any] = {"matrix": A, "data": y, "parameter": parameter, "kind": kind, "weights": w}
    if random.random() < 0.8:
        bits = int(random.integers(3, 50))
        given["matrix_within"] = size * Fraction(2) ** -bits * int(random.random() < 0.8)
        given["data_within"] = Fraction(float(np.linalg.norm(y)) or 1.0) * Fraction(2) ** -bits
    return given


def agreeing(random: np.random.Generator, given: dict[str, Any], answer: Digits, count: int) -> list[tuple[Any, Any]]:
    """Returns problems that agree with the data: the given one, those of the witness, random ones on the boundary."""
    A, y = given["matrix"], given["data"]
    found = [(A, y)]
    if answer.witness is not None:
        for E, e in zip(answer.witness.matrices, answer.witness.data, strict=True):
            found.append((A if E is None else exact_sum(A, E), y if e is None else exact_sum(y, e)))
    alpha, beta = (float(given.get(name, 0)) * (1 - 1e-9) for name in ("matrix_within", "data_within"))
    for _ in range(count if alpha or beta else 0):
        E, e = random.standard_normal(A.shape), random.standard_normal(y.shape)
        if np.iscomplexobj(A):
            E, e = E + 1j * random.standard_normal(A.shape), e + 1j * random.standard_normal(y.shape)
        if random.random() < 0.5:  # concentrated on some columns
            E = E * (random.random(A.shape[1]) < 0.4)
        E, e = (v / (np.linalg.norm(v) or 1.0) * s for v, s in ((E, alpha), (e, beta)))
        found.append((exact_sum(A, E), exact_sum(y, e)))
    return found


def exact_sum(a: Any, b: Any) -> Any:
    """Returns the sum of two arrays as fractions, complex ones as (real, imaginary) arrays in a list."""
    exact = [np.vectorize(Fraction, otypes=[object])(part) for v in (a, b) for part in (np.real(v), np.imag(v))]
    return [exact[0] + exact[2], exact[1] + exact[3]]


def parts(v: Any) -> list[Any]:
    """Returns real and imaginary part as fractions."""
    if isinstance(v, list):
        return v
    return [np.vectorize(Fraction, otypes=[object])(part) for part in (np.real(v), np.imag(v))]


def contradictions(k: int, seed: int, tally: Counter[str], count: int = 3, digits: int = 200) -> list[str]:
    """Asks the k-th question and solves problems that agree exactly; returns what contradicts the answer."""
    random = np.random.default_rng([seed, 77, k])
    given = drawn(random)
    try:
        answer = determine(**given)
    except BadInput as error:
        tally["refused: no x fits"] += 1
        best = np.linalg.lstsq(given["matrix"], given["data"], rcond=None)[0]
        apart = float(np.linalg.norm(given["matrix"] @ best - given["data"]))
        return [] if "some Ax" in str(error) and apart > float(given["parameter"]) else [f"refused: {error}"]
    tally[_kind_of(answer)] += 1
    false, solutions = [], []
    centre, radius = answer.centre, answer.radius
    problems = agreeing(random, given, answer, count)
    for A, y in problems:
        x = exact_minimiser(given, A, y, centre, digits)
        solutions.append(x)
        if x is None:
            tally["not solved exactly"] += 1
            continue
        tally["solved exactly"] += 1
        if math.isfinite(radius) and not _within(x, centre, radius):
            false.append(f"a minimiser outside of the enclosure of radius {radius}")
    if answer.witness is not None:
        false += _check_witness(given, answer, solutions[1:3], tally)
    if answer.at_least == math.inf and given.get("data_within") and answer.radius:
        false.append("every digit, from data that are not exact")
    return [f"{claim} ({given['kind']}, {answer.method})" for claim in false]


def _kind_of(answer: Digits) -> str:
    if answer.at_least == math.inf:
        return "every digit"
    return "decided" if answer.decided else "bounded on both sides" if answer.at_most < math.inf else "from below only"


def exact_minimiser(given: dict[str, Any], A: Any, y: Any, centre: Any, digits: int) -> Any:
    (Ar, Ai), (yr, yi) = parts(A), parts(y)
    w, kind = list(given["weights"]), given["kind"]
    if any(Ai.ravel()) or any(yi):
        matrix, data = (_mp(a, b) for a, b in ((Ar, Ai), (yr, yi)))
        if kind == "P1" and not given["parameter"]:
            return None
        try:
            return complex_minimiser(kind, matrix, data, given["parameter"], w, np.asarray(centre), digits)
        except ZeroDivisionError:
            return None

    def guesses() -> Iterator[list[int]]:
        yield [int(np.sign(v)) for v in np.real(centre)]
        # Only where that one is wrong, another guess; what decides is exact.
        question = Question.of(Ar.astype(float), yr.astype(float), given["parameter"], kind=kind, weights=w)
        near = guess(question, *approximate(question)).values
        yield [int(np.sign(near[j][0])) if j in near else 0 for j in range(len(w))]

    return minimiser(kind, [list(row) for row in Ar], list(yr), given["parameter"], w, guesses(), most=4)


def _mp(real: Any, imaginary: Any) -> Any:
    with mpmath.workdps(400):
        number = np.vectorize(
            lambda a, b: mpmath.mpc(*(mpmath.mpf(v.numerator) / v.denominator for v in (a, b))), otypes=[object]
        )
        return number(real, imaginary)


def _within(x: Any, centre: Any, radius: float) -> bool:
    if hasattr(x, "within"):
        return x.within([Fraction(float(v)) for v in np.real(centre)], Fraction(radius))
    with mpmath.workdps(220):
        apart = mpmath.sqrt(sum(abs(a - mpmath.mpc(complex(b))) ** 2 for a, b in zip(x, centre, strict=True)))
        return apart <= mpmath.mpf(radius) * (1 + mpmath.mpf(10) ** -30)


def _check_witness(given: dict[str, Any], answer: Digits, solutions: list[Any], tally: Counter[str]) -> list[str]:
    witness, false = answer.witness, []
    assert witness is not None
    for E, e in zip(witness.matrices, witness.data, strict=True):
        for change, name in ((E, "matrix_within"), (e, "data_within")):
            if change is not None:
                squares = sum(Fraction(float(v)) ** 2 for p in (np.real(change), np.imag(change)) for v in p.ravel())
                if squares > Fraction(given[name]) ** 2:
                    false.append(f"a change of more than {name}")
    for x, shown, radius in zip(solutions, witness.minimisers, witness.radii, strict=True):
        if x is not None and not _within(x, shown, radius):
            false.append("a minimiser of the witness outside of its ball")
    apart = float(np.linalg.norm(witness.minimisers[0] - witness.minimisers[1]))
    if witness.distance > apart * (1 + 1e-12) + sum(witness.radii) + 1e-300:
        false.append("a distance of the witness that its minimisers do not have")
    tally["witnesses checked"] += 1
    return false


def some(numbers: list[int], seed: int) -> tuple[Counter[str], list[str]]:
    tally: Counter[str] = Counter()
    false: list[str] = []
    for k in numbers:
        try:
            false += [f"{k}: {claim}" for claim in contradictions(k, seed, tally)]
        except Exception as error:  # is shown with its number, and does not end the campaign
            false.append(f"{k}: no answer, {type(error).__name__}: {error}")
    return tally, false


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problems", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args()
    parts = [list(range(k, given.problems, 100)) for k in range(min(100, given.problems))]
    tally: Counter[str] = Counter()
    false: list[str] = []
    began = time.monotonic()
    with ProcessPoolExecutor(given.jobs, mp_context=get_context("spawn")) as pool:
        for k, part in enumerate(as_completed([pool.submit(some, numbers, given.seed) for numbers in parts])):
            found, wrong = part.result()
            tally, false = tally + found, false + wrong
            print(*wrong, sep="\n", end="\n" if wrong else "", file=sys.stderr)
            told = f"{k + 1} of {len(parts)} parts, {len(false)} contradictions, {time.monotonic() - began:.0f} s"
            print(told, file=sys.stderr)
    for name, count in sorted(tally.items()):
        print(f"{count:6d}  {name}")
    print(f"{given.problems} questions about digits, seed {given.seed}: {len(false)} contradictions")
    print(*false, sep="\n")
    sys.exit(bool(false))


if __name__ == "__main__":
    main()
