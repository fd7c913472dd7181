"""The radial search: its guesses are those of the docstring, and it never gets worse."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from cases import kinds, problem
from firenet.operators import NormBound
from firenet.solver.controller import Check
from firenet.solver.radial import RadialSearch
from searching import Searching, schedules


def guesses(schedule: RadialSearch, layers: int, norm: float = 1.0, size: float = 1.0) -> list[tuple[float, int]]:
    """What a controller tries when nothing ever gets better: the radius omega of each run and its layers."""
    controller = schedule.controller(NormBound(norm, "exact", "a test"), size)
    tried, done = [], 0
    while True:
        tried.append((math.sqrt(controller.tau / controller.sigma), controller.until))
        assert controller.tau * controller.sigma * norm**2 == pytest.approx(1, rel=1e-12)
        done += controller.until
        verdict = controller.decide(Check(done, 1.0, 1.0, -1.0, -1.0, -1.0, 0.0))
        if done >= layers:
            assert verdict == "layers"
            return tried
        assert verdict == "restart"
        controller.restarted(1.0, 1.0)


@pytest.mark.parametrize("factor", [math.exp(-1), 0.5])
def test_guesses_are_those_of_the_docstring(factor: float):
    """With beta = 1, in units of the size: run U of guess i has the radius 2 r^U e^-i and ceil(4 e^-i / r) layers."""
    tried = guesses(RadialSearch(max_layers=600, factor=factor), 600)[:-1]  # the last run may have been cut
    cost = {i: math.ceil(4 * math.exp(-i) / factor) for i in range(-2, 3)}  # more than one layer: it tells i
    assert min(cost.values()) > 1
    for i, layers in cost.items():
        radii = [omega for omega, n in tried if n == layers]
        assert radii == pytest.approx([2 * factor**u * math.exp(-i) for u in range(len(radii))], rel=1e-9)
        # Guess i is given k layers by the time (|i| + 1)^2 k.
        spent = (abs(i) + 1) ** 2 * layers * len(radii)
        others = [(abs(j) + 1) ** 2 * cost[j] * (sum(n == cost[j] for _, n in tried) - 1) for j in cost if j != i]
        assert spent + (abs(i) + 1) ** 2 * layers >= max(others)


def test_a_free_beta_tries_other_exponents():
    fixed, free = guesses(RadialSearch(max_layers=2000), 2000), guesses(RadialSearch(max_layers=2000, beta=None), 2000)
    assert sum(layers for _, layers in fixed) == sum(layers for _, layers in free) == 2000
    # Radii (2 e^-i)^(1 / e) belong to beta = e only.
    radii = [(2 * math.exp(-i)) ** (1 / math.e) for i in (-1, 0, 1)]
    assert all(any(omega == pytest.approx(r, rel=1e-9) for omega, _ in free) for r in radii)
    assert not any(any(omega == pytest.approx(r, rel=1e-9) for omega, _ in fixed) for r in radii)


@pytest.mark.parametrize(("norm", "size"), [(1e-6, 1.0), (1e6, 1.0), (1.0, 1e-8), (3.0, 1e8)])
def test_guesses_scale_with_norm_and_size(norm: float, size: float):
    for schedule in (RadialSearch(max_layers=500), RadialSearch(max_layers=500, beta=None)):
        for (a, n), (b, m) in zip(guesses(schedule, 500, norm, size), guesses(schedule, 500), strict=True):
            assert n == m
            assert a * norm / size == pytest.approx(b, rel=1e-9)


@kinds
def test_a_radial_search_never_gets_worse(kind: str):
    """All guesses share one incumbent: more layers never have a higher objective; those that failed leave no trace."""
    data = problem(kind, 6, 10)
    values = [
        data.net(RadialSearch(1e-9, max_layers=k)).solve(data.measured).objective.item() for k in (11, 22, 60, 150, 400)
    ]
    assert values == sorted(values, reverse=True)
    assert values[0] > values[-1]


@schedules
def test_an_unlucky_pilot_says_layers_at_the_limit(schedule: Searching):
    controller = replace(schedule, max_layers=30).controller(NormBound(1.0, "exact", "a test"), 1.0)
    done, verdict = 0, ""
    while done < 30:
        done += controller.until
        verdict = controller.decide(Check(done, 2.0, 3.0, -1.0, -1.0, -1.0, 0.0))
        assert verdict in (("go on", "restart") if done < 30 else ("layers",))
        if verdict == "restart":
            controller.restarted(1.0, 1.0)
    assert done == 30
    assert verdict == "layers"


@schedules
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_ends_at_once(schedule: Searching, value: float):
    controller = schedule.controller(NormBound(1.0, "exact", "a test"), 1.0)
    assert controller.decide(Check(controller.until, value, value, -1.0, -1.0, -1.0, 0.0)) == "not finite"


@schedules
def test_a_gap_of_less_than_nothing_proves_no_more_than_the_floor(schedule: Searching):
    """Objective and bound agree to all digits: with a floor above the tolerance that is the limit of the precision."""
    for floor, expected in ((1e-3, "precision"), (1e-9, "tolerance")):
        controller = schedule.controller(NormBound(1.0, "exact", "a test"), 1.0)
        assert controller.decide(Check(controller.until, 1.0, 1.0, 1.0 + 1e-12, 1.0, 1.0, floor)) == expected
