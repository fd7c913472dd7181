"""theorem.depth: the layers that are promised, those that were enough, and the errors, measured a second time."""

from __future__ import annotations

import math

import numpy as np
import pytest

from firenet.guarantees import Constants, Guarantee
from firenet.sparsity import SparsityLevels
from firenet.theorem.depth import Line, measured_depth
from known_matrices import signal, with_kernel
from laws import assert_refuses
from oracles import paper_network

ACCURACIES = (1.0, 1e-2, 1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_layers_and_errors_are_those_of_the_paper(seed: int) -> None:
    random = np.random.default_rng(seed)
    known = with_kernel(random)
    g, x = known.guarantee, signal(random, known, rest=0.0)
    told: list[tuple[int, int]] = []
    found = measured_depth(g, x, accuracies=ACCURACIES, progress=lambda done, total: told.append((done, total)))
    assert found.slope == pytest.approx(2 * math.e * g.constants.C2 * g.norm, rel=1e-12)
    y, p = known.matrix @ x, g.inner()
    delta = 1e-3 * ACCURACIES[-1] / g.constants.C2
    for line in found.lines:
        n = line.layers // p
        assert n * p == line.layers
        assert n >= g.outer(line.accuracy, float(np.linalg.norm(y)))
        assert line.error <= line.accuracy  # the theorem
        assert line.enough <= line.layers
        assert line.enough % p == 0
        z = paper_network(known.matrix, y, known.weights, g.constants.lam, n, p, delta, math.exp(-1), norm=g.norm)
        assert line.error == pytest.approx(float(np.linalg.norm(z - x)), rel=1e-6, abs=1e-9)
        assert line.adaptive is not None
        assert line.adaptive < line.layers  # the price of the proof
    assert told[-1][0] == told[-1][1] == found.lines[-1].layers // p
    # A line through a few points of a staircase: at most one step off at either end.
    most = p * 2 / math.log(ACCURACIES[0] / ACCURACIES[-1])
    assert abs(found.measured_slope() - found.slope) <= most + p - found.slope


@pytest.mark.parametrize("above", [1e-6, 1e-4, 1e-2])
def test_layers_are_proved_with_the_part_of_delta(above: float) -> None:
    """Just above the error after two restarts, those are enough only if delta leaves room."""
    random = np.random.default_rng(0)
    known = with_kernel(random)
    g, x = known.guarantee, signal(random, known, rest=0.0)
    size = float(np.linalg.norm(known.matrix @ x))
    accuracy = g.constants.C2 * math.exp(-2) * size * (1 + above)
    (line,) = measured_depth(g, x, accuracies=(accuracy,)).lines
    n, given = line.layers // g.inner(), {"size": size, "sparsity_defect": 0.0, "noise": 0.0}
    delta = 1e-3 * accuracy / g.constants.C2
    assert g.error_bound(n, delta=delta, **given) <= accuracy
    assert g.error_bound(n - 1, delta=delta, **given) > accuracy


def test_no_accuracy_below_rounding() -> None:
    random = np.random.default_rng(0)
    known = with_kernel(random)
    x = signal(random, known, rest=0.0)
    assert_refuses(lambda: measured_depth(known.guarantee, x, accuracies=(1e-30,)), "1e-30", "rounding")


def test_no_line_through_one_number() -> None:
    from firenet.theorem.depth import Depth

    line = Line(1e-3, 100, 1e-5, 50, None)
    assert math.isnan(Depth(3.0, (line,)).measured_slope())
    two = Depth(3.0, (line, Line(1e-3 / math.e, 103, 1e-6, 60, 7)))
    assert two.measured_slope() == pytest.approx(3.0)
    assert math.isnan(two.measured_slope(lambda found: found.adaptive))


def test_only_signals_that_are_sparse_in_levels() -> None:
    g = Guarantee(np.eye(4), Constants(SparsityLevels((4,), (1,)), gamma=1.0))
    assert_refuses(lambda: measured_depth(g, [1.0, 0.0, 1e-9, 0.0]), "sparse in levels", "1e-09")
