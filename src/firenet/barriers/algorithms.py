"""Algorithms in exact arithmetic: those that must fail at K digits, and those that reach K-1 and K-2.

An algorithm is a callable that takes a :class:`TrainingSet`. It returns one vector for each measurement (for a
single measurement it may return the vector itself), or a network: a callable from measurements to a vector. A
randomised algorithm takes :class:`Coins` as second argument.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import count

from firenet.barriers.given import Coins, Sample, TrainingSet
from firenet.barriers.instances import Minimisers, Problem, Vector, minimisers


def _solved(sample: Sample, problem: Problem) -> Minimisers:
    """Returns the exact minimisers of the problem that a sample shows."""
    row = sample.A[0][: problem.columns]
    return minimisers(problem.kind, problem.parameter, row, sample.y[0], problem.shape[1])


def exact(training_set: TrainingSet) -> list[Vector]:
    """Reads the problem to within 2**-64, and solves exactly the problem that it read, by comparing all columns."""
    return [
        found.vertex(found.support[0])
        for k in range(len(training_set))
        for found in [_solved(training_set.sample(64, k), training_set.problem)]
    ]


def labels(training_set: TrainingSet) -> list[Vector]:
    """Returns the labels of the training set: minimisers of the problem as it was read to within 2**-64."""
    return [training_set.sample(64, k).x for k in range(len(training_set))]


def first(training_set: TrainingSet) -> list[Vector]:
    """Guesses the first column, and reads only to compute the value of the minimiser."""
    return guess(training_set, 0)


def centre(training_set: TrainingSet) -> list[Vector]:
    """Returns the point equally far from the candidates, one for each column: the best answer without a decision."""
    columns, size = tuple(range(training_set.problem.columns)), training_set.shape[1]
    return [Minimisers(_value(training_set, k), columns, size).centre() for k in range(len(training_set))]


def guess(training_set: TrainingSet, column: int) -> list[Vector]:
    """Returns the minimisers of the instance that has its bump on the given column, to within 10**-K / 16."""
    size = training_set.shape[1]
    return [Minimisers(_value(training_set, k), (column,), size).vertex(column) for k in range(len(training_set))]


def _value(training_set: TrainingSet, k: int) -> Fraction:
    """Returns the value of the minimiser to within 10**-K / 16.

    With condition numbers of at most 1, errors of 2**-n in matrix and measurement cause an error of at most 2**(1-n) in
    the minimiser.
    """
    n = (16 * 10**training_set.problem.digits).bit_length() + 1
    return _solved(training_set.sample(n, k), training_set.problem).value


def separated(training_set: TrainingSet) -> list[Vector]:
    """Reads more and more accurately until one column is certainly the largest: never, if they are tied.

    The order of two numbers that are known to within :math:`2^{-n}` is certain if they differ by more than
    :math:`2\\cdot2^{-n}`.
    """
    for n in count(1):
        row = training_set.sample(n).A[0][: training_set.problem.columns]
        order = sorted(range(len(row)), key=lambda i: row[i], reverse=True)
        if row[order[0]] - row[order[1]] > Fraction(2, 1 << n):
            return guess(training_set, order[0])
    raise AssertionError


def one_digit_less(training_set: TrainingSet) -> list[Vector]:
    """Computes K-1 digits on both families.

    At scale K every column is accurate enough. At scale K-1, where there is no tie, the algorithm reads until the
    columns separate: it always halts, but nothing bounds the number of reads (here a training set answers to within
    2**-4096, and the bump must be larger than that).

    Proof: at scale K the error of a wrong column is :math:`\\sqrt2f/a<4.3\\cdot10^{-K}`, and the error of the value is
    at most :math:`10^{-K}/8`; their sum is less than :math:`10^{-(K-1)}`. At scale K-1 the column is right.
    """
    return first(training_set) if _scale(training_set) else separated(training_set)


def two_digits_less(training_set: TrainingSet) -> list[Vector]:
    """Computes K-2 digits on both families from one read of each measurement: even the answer on a wrong column is
    accurate enough.

    Proof: one read to within :math:`2^{-n}<10^{-K}/16` gives the value of the minimiser; the error of a wrong column is
    less than :math:`4.3\\cdot10^{-(K-1)}` at scale K-1, and smaller at scale K.
    """
    return first(training_set)


def _scale(training_set: TrainingSet) -> bool:
    """Returns whether the scale is K: K and K-1 differ by a factor of ten, which one read to within 1/2 tells apart."""
    problem = training_set.problem
    middle = (problem.base(problem.digits) + problem.base(problem.digits - 1)) / 2
    return training_set.sample(1).A[0][0] > middle


def random_column(training_set: TrainingSet, coins: Coins) -> list[Vector]:
    """Guesses a random column."""
    return guess(training_set, coins.choose(training_set.problem.columns))


def three_way(training_set: TrainingSet, coins: Coins) -> list[Vector]:
    """Guesses each of N_1 columns with probability :math:`1/(2N_1-1)`; otherwise reads until the columns separate.

    The answer is right with probability :math:`N_1/(2N_1-1)` on every input. If there is a bump, it is right if the
    column of the bump is guessed or if the algorithm reads; if there is none, every guess is right, but reading never
    ends. For two columns the probability is 2/3, which no algorithm exceeds.
    """
    columns = training_set.problem.columns
    choice = coins.choose(2 * columns - 1)
    return guess(training_set, choice) if choice < columns else separated(training_set)


Algorithm = Callable[..., object]
SHIPPED: dict[str, Algorithm] = {
    "exact": exact,
    "labels": labels,
    "first": first,
    "centre": centre,
    "separated": separated,
    "one-digit-less": one_digit_less,
    "two-digits-less": two_digits_less,
    "random-column": random_column,
    "three-way": three_way,
}
