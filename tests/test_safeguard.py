"""The safeguards of the adaptive restarts: runs that are undone, and the radial search beside them."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from cases import Data, kinds, problem
from firenet import AdaptiveRestarts, Firenet, Gradient, Matrix, Status
from firenet.operators import NormBound
from firenet.solver.controller import Check
from firenet.solver.radial import RadialController, RadialSearch
from oracles import optimum
from searching import MORE, assert_freezes, assert_proves, easy_and_hard, imaging, problems, runs

EAGER = AdaptiveRestarts(tolerance=1e-6, max_layers=4000, safeguard=20)
ALONE = replace(EAGER, safeguard=None)


def longest_run(layers: int) -> int:
    """The longest run of a radial search that begins within so many layers."""
    search, done, longest = RadialController(RadialSearch(max_layers=10 * layers + 1000), 1.0, 1.0), 0, 0
    while done < layers:
        longest, done = max(longest, search.until), done + search.until
        search._next(10**9)
    return longest


@kinds
@problems
def test_beside_the_rules_a_quarter_of_their_layers(name: str, kind: str) -> None:
    data = MORE[name](kind).asked()
    schedule = replace(EAGER, tolerance=max(1e-6, 2 * sum(data.A.shape) * data.eps))
    alone = data.net(replace(schedule, safeguard=None)).solve(data.measured)
    both = data.net(schedule).solve(data.measured)
    assert_proves(data, both)
    if alone.status is Status.TOLERANCE_REACHED:
        assert both.status is Status.TOLERANCE_REACHED
        most = int(alone.layers)
        assert both.layers.item() <= 1.25 * most + longest_run(most)
        # Shared is the dual point only: if the rules end it, they had the same runs as alone, or fewer.
        if runs(both)[-1].keep_dual:
            assert runs(both)[:-1] == runs(alone)[: len(runs(both)) - 1]


@pytest.mark.parametrize("form", [{"fidelity": "squared"}, {"noise": 0.3}], ids=["P2", "P1"])
def test_without_a_theorem_there_is_no_search_beside(form: dict[str, Any]) -> None:
    data = problem("real")
    A, y = torch.from_numpy(data.A), data.measured
    if "noise" not in form:
        form = {**form, "lam": data.lam}
    alone, both = (Firenet(Matrix(A), schedule=schedule, **form).solve(y) for schedule in (ALONE, EAGER))
    assert torch.equal(alone.image, both.image)
    assert runs(alone) == runs(both)


@pytest.mark.parametrize("form", ["padded", "TV"])
def test_images_in_both_forms(form: str) -> None:
    net, y = imaging("padded")
    if form == "TV":
        net = Firenet(net.sensing, Gradient(tuple(net.sensing.in_shape)), lam=0.02)
    schedule = replace(EAGER, tolerance=1e-4, max_layers=3000)
    solution = net.following(schedule).solve(y)
    alone = net.following(replace(schedule, safeguard=None)).solve(y)
    assert solution.status is alone.status is Status.TOLERANCE_REACHED
    assert solution.layers.item() <= 1.25 * alone.layers.item() + longest_run(int(alone.layers))
    assert abs(solution.objective.item() - alone.objective.item()) <= 2e-4 * alone.objective.item()


@kinds
def test_frozen_and_in_a_batch(kind: str) -> None:
    """The search ends for some, the rules for others; each is as it is alone, and its runs give its image again."""
    data, y = easy_and_hard(kind)
    for schedule in (EAGER, replace(EAGER, max_layers=150, tolerance=1e-12), replace(EAGER, max_layers=37)):
        net = data.net(schedule)
        solution = net.solve(y)
        assert solution.layers.max().item() <= schedule.max_layers
        assert_freezes(net, y, solution)
        for k in range(len(y)):
            assert net.solve(y[k]).layers.item() == solution.layers[k].item()


def test_what_the_search_found_is_frozen() -> None:
    """Also where it began at the last point, which relaxation had already left behind."""
    data, began = badly_scaled(), set()
    for most in range(30, 200, 7):
        net = data.net(replace(EAGER, max_layers=most, safeguard=10))
        solution = net.solve(data.measured)
        assert_freezes(net, data.measured[None], solution)
        switch = [k for k, run in enumerate(runs(solution)) if not run.keep_dual]
        if switch:
            began.add(runs(solution)[switch[0]].restart_point)
    assert "last" in began


def test_never_more_layers_than_allowed() -> None:
    data = problem("real")
    for most in (1, 9, 20, 21, 35, 40, 41, 77, 100):
        told: list[int] = []
        net = data.net(replace(EAGER, tolerance=1e-13, max_layers=most))
        solution = net.solve(data.measured, progress=lambda done, limit, gap, told=told: told.append(done))
        assert solution.layers.item() == most
        assert told == sorted(told)
        assert told[-1] == most
        assert solution.status is Status.LAYER_LIMIT


def test_the_returned_point_is_the_better_one() -> None:
    """At the limit of layers the search may be ahead."""
    data = badly_scaled()
    alone = data.net(replace(ALONE, max_layers=400)).solve(data.measured)
    both = data.net(replace(EAGER, max_layers=800)).solve(data.measured)
    radial = data.net(RadialSearch(1e-6, 400)).solve(data.measured)
    assert both.objective.item() <= 1.01 * min(alone.objective.item(), 3 * radial.objective.item())


# --- runs that are undone ---------------------------------------------------------------------------------------------


def badly_scaled() -> Data:
    """The second coefficient is ten; its column is so short that q hardly moves on the way."""
    return Data(np.diag([1.0, 1e-3]), np.array([1.0, 1e-2]), np.array([1.0, 0.1]), 1e-3)


def test_the_objective_stays_near_the_lowest() -> None:
    """Without it the objective becomes 100,000 times as large within 1,000 layers."""
    data = badly_scaled()
    best = optimum(data.A, data.y, data.w, data.lam).value
    found = [
        data.net(AdaptiveRestarts(1e-9, most)).solve(data.measured).objective.item() / best
        for most in range(50, 1000, 50)
    ]
    # A run that ends at the limit of layers, before its next check, is not undone.
    assert np.median(found) <= 3 * found[0]
    longer = data.net(AdaptiveRestarts(1e-9, 10_000)).solve(data.measured).objective.item()
    assert longer <= 3 * found[0] * best


@pytest.mark.parametrize("scale", [2.0**-900, 2.0**-60, 2.0**60, 2.0**900])
def test_undoing_has_no_unit(scale: float) -> None:
    data = badly_scaled()
    net = data.net(AdaptiveRestarts(1e-9, 300))
    solution, other = net.solve(data.measured), net.solve(data.measured * scale)
    assert [r.layers for r in runs(solution)] == [r.layers for r in runs(other)]
    assert math.isclose(other.objective.item(), scale * solution.objective.item(), rel_tol=1e-9)


def test_a_start_that_is_bad_itself_is_not_undone_for_ever() -> None:
    """Undone again only if smaller steps made it less bad; the weight does not vanish."""
    controller = AdaptiveRestarts(1e-6, 10_000, safeguard=None).controller(NormBound(1.0, "exact", "a test"), 1.0)
    points, known = [], 1.0
    for layers in range(10, 2000, 10):
        check = Check(layers, 10.0, 10.0, 0.1, 0.1, 0.1, 1e-12, known=known)
        if controller.decide(check) == "restart":
            points.append(controller.restart_point)
            known = known if points[-1] == "start" else 10.0
            controller.restarted(0.0, 0.0)
    assert points[0] == "start"
    assert points.count("start") == 1
    assert len(points) > 2
    assert controller.tau / controller.sigma > 1e-40
