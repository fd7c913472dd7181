"""Adaptive restarts: the rules of restarts and of the primal weight, defaults, refusals."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from cases import problem
from firenet import BadInput, Firenet, Matrix, Status
from firenet.operators import NormBound
from firenet.solver import FixedSteps
from firenet.solver.adaptive import AdaptiveRestarts
from firenet.solver.controller import Check
from firenet.solver.radial import RadialSearch
from firenet.solver.schedules import searches
from searching import ADAPTIVE, SCHEDULES, Searching, runs, schedules


def test_the_first_steps_are_those_of_the_docstring():
    data = problem("real")
    net = data.net(replace(ADAPTIVE, max_layers=7))
    norm, size = net.operator.norm_bound.value, float(np.linalg.norm(data.y))
    (run,) = runs(net.solve(data.measured))
    assert run.layers == 7
    assert run.relaxation == ADAPTIVE.relaxation
    s = data.lam * float(np.linalg.norm(data.w)) / norm
    omega = 0.07 * max(1, 1 / s, s / 2) * size / norm
    assert run.tau == pytest.approx(omega / norm, rel=1e-13)
    assert run.sigma == pytest.approx(1 / (omega * norm), rel=1e-13)


@pytest.mark.parametrize(("fidelity", "noise"), [("squared", None), ("norm", 0.1)], ids=["P2", "P1"])
@pytest.mark.parametrize("lam", [1e-3, 30.0])
def test_the_first_steps_of_the_other_fidelities(fidelity: Any, noise: float | None, lam: float):
    """No bound of the dual point but that of the penalty: the weight is one over lambda, whatever lambda is."""
    data = problem("real")
    operator, w = Matrix(torch.from_numpy(data.A)), torch.from_numpy(data.w)
    schedule = replace(ADAPTIVE, max_layers=1)
    net = Firenet(operator, weights=w, lam=lam, fidelity=fidelity, noise=noise, schedule=schedule)
    norm, size = net.operator.norm_bound.value, float(np.linalg.norm(data.y))
    (run,) = runs(net.solve(torch.from_numpy(data.y)))
    omega = 0.07 * norm / (lam * float(np.linalg.norm(data.w))) * size / norm
    assert run.tau == pytest.approx(omega / norm, rel=1e-13)


# ----------------------------------------------------------------------------------------------- what it is and refuses


@pytest.mark.parametrize(
    ("make", "arguments"),
    [
        *(
            (make, {"tolerance": bad})
            for make in (AdaptiveRestarts, RadialSearch)
            for bad in (0.0, -1.0, 1.0, math.nan)
        ),
        *((make, {"max_layers": bad}) for make in (AdaptiveRestarts, RadialSearch) for bad in (0, -5)),
        (AdaptiveRestarts, {"check": 0}),
        (AdaptiveRestarts, {"check": -1}),
        *((AdaptiveRestarts, {"relaxation": bad}) for bad in (0.0, 2.0, -1.0, math.nan, math.inf)),
        *((AdaptiveRestarts, {"sufficient": bad}) for bad in (0.0, -0.1, 1.0, math.nan)),
        *((AdaptiveRestarts, {"longest": bad}) for bad in (0.0, 1.0, -1.0, math.nan)),
        *((RadialSearch, {"beta": bad}) for bad in (0.5, 0.0, -1.0, math.nan)),
        *((RadialSearch, {"factor": bad}) for bad in (0.0, 1.0, -0.5, math.nan)),
    ],
    ids=str,
)
def test_refusals_name_the_argument_and_its_value(make: Any, arguments: dict[str, Any]):
    with pytest.raises(BadInput) as caught:
        make(**arguments)
    ((name, value),) = arguments.items()
    assert f"{name}={value}" in caught.value.got
    assert caught.value.do


@schedules
def test_a_tolerance_beside_the_schedules_own_is_refused(schedule: Searching):
    data = problem("real")
    with pytest.raises(BadInput) as caught:
        data.net(schedule).solve(data.measured, tolerance=0.01)
    assert "0.01" in caught.value.got


def test_defaults():
    assert AdaptiveRestarts() == AdaptiveRestarts(1e-4, 2000, 10, 1.8, 0.8, 0.36)
    assert RadialSearch() == RadialSearch(1e-4, 10000, 1.0, math.exp(-1))
    assert AdaptiveRestarts(max_layers=7).layers == 7
    assert RadialSearch(max_layers=7).layers == 7
    assert all(searches(schedule) for schedule in SCHEDULES)
    assert not searches(FixedSteps())


# ---------------------------------------------------------------------------------------------------- adaptive restarts


def verdicts(rules: AdaptiveRestarts, *checks: tuple[int, float], floor: float = 1e-15) -> list[str]:
    """What a controller says at these layers to these gaps."""
    controller, said = rules.controller(NormBound(1.0, "exact", "a test"), 1.0), []
    for layers, gap in checks:
        said.append(controller.decide(Check(layers, 1 + gap, 9.0, 1.0, 1.0, -9.0, floor)))
        if said[-1] == "restart":
            controller.restarted(1.0, 1.0)
    return said


def test_restarts_follow_the_rules():
    """A sufficient fall, and the longest run: by the gaps a controller is shown."""
    rules = AdaptiveRestarts(1e-12, max_layers=10_000, sufficient=0.8, longest=0.36)
    # The first check restarts; the others are compared with its gap.
    start = ((1010, 1.0),)
    assert verdicts(rules, *start) == ["restart"]

    def after(*gaps: float, longest: float = 0.36) -> list[str]:
        checks = [(1020 + 10 * k, gap) for k, gap in enumerate(gaps)]
        return verdicts(replace(rules, longest=longest), *start, *checks)[1:]

    assert after(0.81, 0.79) == ["go on", "restart"]
    assert after(0.79, 0.7, 0.6) == ["restart", "go on", "restart"]  # 0.8 of 0.79 = 0.632
    assert after(0.9, 1.1, 0.81) == ["go on", "go on", "go on"]
    # A run of n layers after 1010 is too long when n >= longest (1010 + n).
    assert after(*[0.9] * 6, longest=0.05).index("restart") == 5
    assert "restart" not in after(*[0.9] * 5, longest=0.05)


def test_a_search_that_goes_round_in_its_rounding_ends():
    """Near the floor and no better for two hundred layers, or half of those it took to come here."""
    rules = AdaptiveRestarts(1e-12, max_layers=100_000)
    floor = 1e-9
    said = verdicts(rules, *((layers, 50 * floor) for layers in range(10, 400, 10)), floor=floor)
    assert said.index("precision") == 20
    said = verdicts(rules, (1000, 50 * floor), *((layers, 49 * floor) for layers in range(1010, 1600, 10)), floor=floor)
    assert said.index("precision") == 50
    # Far from the floor it goes on, however slow.
    assert "precision" not in verdicts(rules, *((layers, 200 * floor) for layers in range(10, 2000, 10)), floor=floor)
    # At the floor it ends at once, and a tolerance that is met comes first.
    assert verdicts(rules, (10, 0.9 * floor), floor=floor) == ["precision"]
    assert verdicts(AdaptiveRestarts(1e-8), (10, 0.9 * floor), floor=floor) == ["tolerance"]


@pytest.mark.parametrize(
    ("dtype", "scale"),
    [*((torch.float32, s) for s in (1e-30, 1e-10, 1e10, 1e30)), *((torch.float64, s) for s in (1e-200, 1e200))],
)
def test_operators_of_any_scale_have_a_first_point(dtype: torch.dtype, scale: float):
    """A*y has the square of the operator's scale, which may over- or underflow; the first point has no scale."""
    data = problem("real", 20, 40)
    y, layers, images = data.A @ np.eye(40)[3], [], []
    for factor in (1.0, scale):
        operator = Matrix(torch.from_numpy(factor * data.A).to(dtype))
        net = Firenet(operator, lam=0.05 * factor, schedule=AdaptiveRestarts(1e-3))
        solution = net.solve(torch.from_numpy(factor * y).to(dtype))
        assert solution.status is Status.TOLERANCE_REACHED
        layers.append(int(solution.layers))
        images.append(solution.image)
    torch.testing.assert_close(*images, rtol=0, atol=1e-2)
    assert abs(layers[0] - layers[1]) <= 20  # from zero it would take longer; rounding moves a check or two


def test_the_weight_of_the_analysis_form_grows():
    """A new weight with new averages: a twentieth of the iterations times the first one, at least once and at most 8
    times; after 300 the first one."""
    controller = AdaptiveRestarts(1e-9).controller(NormBound(2.0, "exact", "a test"), 6.0)
    frame = {"jumps": False, "growth": 8.0}
    first, product, restarts = controller.tau, controller.tau * controller.sigma, 0
    for layers in range(10, 600, 10):
        verdict = controller.decide(Check(layers, 9.0, 9.0, 1.0, 1.0, 1.0, 1e-15, **frame))
        if verdict == "restart":
            restarts += 1
            controller.restarted(0.0, 0.0)
            assert controller.restart_point == "last"
            grown = min(8, max(1, layers / 20)) if layers <= 300 else 1
            assert controller.tau == pytest.approx(first * grown, rel=1e-14)
            assert controller.tau * controller.sigma == pytest.approx(product, rel=1e-14)
    assert 5 < restarts < 20


def test_restarts_take_the_best_of_the_three():
    rules = AdaptiveRestarts(1e-9)
    points = ("last", "average", "combination")
    for least in range(3):
        last, average, combination = (2.0 if k == least else 3.0 for k in range(3))
        for jumps in (True, False):
            controller = rules.controller(NormBound(1.0, "exact", "a test"), 1.0)
            rest = {"combination": combination, "dual_combination": 1.0, "jumps": jumps}
            assert controller.decide(Check(20, last, average, 1.0, 1.0, 1.0, 1e-15, **rest)) == "restart"
            assert controller.restart_point == (points[least] if jumps else "last")
            # And at the end the point with the lower objective, whatever its own dual.
            assert controller.decide(Check(2000, last, average, 1.0, 1.0, 1.0, 1e-15, **rest)) == "layers"
            assert controller.restart_point == points[least]
    # Its own dual value counts, and NaN never wins.
    controller = rules.controller(NormBound(1.0, "exact", "a test"), 1.0)
    check = Check(20, 2.0, 3.0, 1.9, 0.5, 1.9, 1e-15, combination=math.nan, dual_combination=math.nan)
    assert controller.decide(check) == "restart"
    assert controller.restart_point == "average"


@pytest.mark.parametrize(
    ("primal", "dual", "factor"), [(4.0, 1.0, 2.0), (1.0, 4.0, 0.5), (1.0, 0.0, 1.0), (0.0, 1.0, 1.0)]
)
def test_the_primal_weight_is_the_geometric_mean(primal: float, dual: float, factor: float):
    controller = ADAPTIVE.controller(NormBound(2.0, "exact", "a test"), 2.0)  # omega = 1
    assert (controller.tau, controller.sigma) == (0.5, 0.5)
    controller.restarted(primal, dual)
    assert controller.tau == pytest.approx(factor / 2, rel=1e-14)
    assert controller.sigma == pytest.approx(1 / (2 * factor), rel=1e-14)
