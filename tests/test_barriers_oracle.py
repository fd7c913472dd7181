"""Oracles answer within what was asked, and count every read."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from barrier_cases import problems
from firenet.barriers import Oracle, Problem
from firenet.barriers.given import BadRead, as_sample
from firenet.barriers.oracle import consistent
from firenet.barriers.referee import Referee


@problems
def test_oracles_answer_within_what_was_asked(problem: Problem) -> None:
    bump = Fraction(1, 1 << 40)
    for instance in (problem.tied(), problem.strong(1, bump), problem.weak(0, bump)):
        for seed in (None, 0, 1, 2):
            for hidden in (-1, 39):
                oracle = Oracle(instance, seed, tied_until=hidden)
                for n in (0, 1, 2, 5, 39, 40, 41, 42, 80, 300, 4096):
                    for k in range(problem.samples):
                        read = oracle.read(n, k)
                        assert consistent(read, instance)
                        assert read == oracle.read(n, k)
                        A = as_sample(read, problem).A
                        assert all(len(row) == problem.shape[1] for row in A)
                        assert len(A) == problem.shape[0]
    shown = Oracle(problem.strong(1, bump)).read(60)
    assert not consistent(shown, problem.strong(0, bump))
    assert not consistent(shown, problem.tied())
    early = Oracle(problem.strong(1, bump), tied_until=39).read(39)
    assert all(consistent(early, i) for i in (problem.strong(0, bump), problem.tied()))
    for make in (problem.strong, problem.weak):
        for seed in (None, 0, 1):  # what is hidden shows nothing, neither which column it is on nor that it is there
            hidden = [Oracle(make(j, size), seed, tied_until=39).read(39) for j, size in ((1, bump), (0, bump / 1000))]
            assert hidden[0] == hidden[1]
    with pytest.raises(ValueError, match="hidden"):
        Oracle(problem.strong(1, bump), tied_until=40)


def test_every_read_counts_and_bad_ones_are_refused() -> None:
    referee = Referee(Oracle(Problem("P3", 3, samples=2).tied()), 3)
    training_set = referee.training_set()
    assert (len(training_set), training_set.shape) == (2, (3, 4))
    pairs: list[Any] = [(4, 0), (np.int64(4), 1)]
    for n, k in pairs:
        y, A, x = training_set.sample(n, k)
        assert all(isinstance(e, Fraction) for e in (*y, *A[0], *x))
    assert len(referee.run("halted").reads) == 2
    referee.ended = None
    for n, k in ((-1, 0), (1.5, 0), (True, 0), ("3", 0), (1, 2), (1, -1), (1, None)):
        with pytest.raises(BadRead):
            training_set.sample(n, k)  # type: ignore[arg-type]
    assert len(referee.run("halted").reads) == 2
