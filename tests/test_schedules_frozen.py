"""Steps that a search has found, frozen: the same image without a search, other measurements, gradients."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from cases import kinds, problem, relative
from draws import normal
from firenet import BadInput
from firenet.operators import NormBound
from firenet.solver.schedules import FrozenSteps, Run, Searched, searches
from searching import (
    ADAPTIVE,
    RADIAL,
    RADIAL_BETA,
    Searching,
    assert_freezes,
    easy_and_hard,
    frozen,
    imaging,
    named,
    scaled,
)


@pytest.mark.parametrize(
    "schedule",
    [
        replace(ADAPTIVE, tolerance=1e-3),
        replace(ADAPTIVE, max_layers=47, relaxation=1.0, check=7),
        replace(ADAPTIVE, max_layers=33, tolerance=1e-9),
        replace(RADIAL, max_layers=60),
        replace(RADIAL_BETA, max_layers=60),
    ],
    ids=str,
)
@kinds
def test_frozen_is_adaptive(kind: str, schedule: Searching):
    data, y = easy_and_hard(kind)
    net = data.net(schedule)
    assert_freezes(net, y[:1], net.solve(y[0]))
    assert_freezes(net, y, net.solve(y))
    x0 = torch.ones(40, dtype=y.dtype)
    assert_freezes(net, y[:2], net.solve(y[:2], x0=x0), x0)


FEW = replace(ADAPTIVE, max_layers=60)


@pytest.mark.parametrize(
    ("kind", "schedule"),
    [*((kind, FEW) for kind in ("Fourier", "padded", "coils", "Walsh")), ("padded", replace(RADIAL, max_layers=60))],
    ids=lambda case: case if isinstance(case, str) else named(case),
)
def test_frozen_is_adaptive_for_images(kind: str, schedule: Searching):
    net, y = imaging(kind)
    net = net.following(schedule)
    y = torch.stack([y, net.sensing.restrict(y.flip(-1))])
    solution = net.solve(y)
    assert_freezes(net, y, solution)
    with torch.no_grad():
        assert net(y).equal(solution.image)


def test_frozen_in_single_precision():
    net, y = imaging("Fourier")
    net = net.following(ADAPTIVE).to(torch.float32)
    y = y.to(torch.complex64)
    solution = net.solve(y)
    image = net.following(frozen(solution))(y)
    assert relative(image, solution.image) <= 1e-4


def test_frozen_steps_serve_other_measurements():
    """They are a plain network: the same layers for every y, in batches too."""
    data, y = easy_and_hard("complex")
    still = data.net(frozen(data.net(ADAPTIVE).solve(y[0])))
    together = still.solve(y)
    assert together.layers.tolist() == [still.schedule.layers] * len(y)
    for k, item in enumerate(y):
        torch.testing.assert_close(together.image[k], still(item), rtol=1e-9, atol=1e-12)
    assert not searches(still.schedule)


def test_which_item_to_freeze_must_be_said():
    data, y = easy_and_hard("real")
    did = data.net(replace(ADAPTIVE, tolerance=0.1)).solve(y[:2]).schedule
    assert isinstance(did, Searched)
    with pytest.raises(BadInput) as caught:
        did.frozen()
    assert "2 items" in caught.value.got
    assert did.frozen(0).runs == did.runs[0]
    assert did.frozen(1).runs == did.runs[1]
    assert Searched(did.runs[:1], did.start).frozen() == did.frozen(0)
    assert did.frozen(0).start == "adjoint"


def test_frozen_steps_list_each_layer():
    first, second = Run(0.5, 2.0, 3), Run(0.25, 4.0, 2, 1.8, "last", False)
    schedule = FrozenSteps((first, second))
    assert schedule.layers == 5
    assert schedule.steps == [(0.5, 2.0)] * 3 + [(0.25, 4.0)] * 2
    size = torch.tensor([[0.0, 1.0], [2.0, 1e30]], dtype=torch.float64)
    made = list(schedule.restarts(NormBound(1.0, "exact", "a test"), size))
    for restart, run in zip(made, schedule.runs, strict=True):
        assert restart.tau.equal(torch.full_like(size, run.tau))
        assert restart.sigma.equal(torch.full_like(size, run.sigma))
        assert restart.layers == run.layers
        assert (restart.relaxation, restart.restart_point, restart.keep_dual) == (
            run.relaxation,
            run.restart_point,
            run.keep_dual,
        )


@pytest.mark.parametrize("bad", [(), (Run(1.0, 1.0, 0),), (Run(1.0, 1.0, 3), Run(1.0, 1.0, -1))], ids=len)
def test_frozen_steps_without_layers_are_refused(bad: tuple[Run, ...]):
    with pytest.raises(BadInput) as caught:
        FrozenSteps(bad)
    assert f"{len(bad)} runs" in caught.value.got


def test_frozen_steps_are_checked_against_the_norm():
    """A network frozen for one operator is no network for a larger one."""
    data = problem("real")
    schedule = frozen(data.net(ADAPTIVE).solve(data.measured))
    larger = scaled(data, 1.1)
    with pytest.raises(BadInput, match=r"tau \* sigma \* norm\^2 <= 1"):
        larger.net(schedule)(data.measured)


# ------------------------------------------------------------------------------------------------------------ gradients


@kinds
@pytest.mark.parametrize(
    "schedule", [replace(ADAPTIVE, max_layers=12, check=3), replace(RADIAL, max_layers=16)], ids=named
)
def test_gradcheck_of_a_frozen_network(kind: str, schedule: Searching):
    data = problem(kind, 3, 4)
    # At the measurements it was found for, the first layer's dual has norm 1, where its gate has a kink.
    still = data.net(frozen(data.net(schedule).solve(0.9 * data.measured)))
    assert len(still.schedule.runs) >= 2  # type: ignore[union-attr]
    y = data.measured.clone().requires_grad_()
    assert torch.autograd.gradcheck(still, (y,), fast_mode=False)
    x0 = torch.ones(4, dtype=y.dtype, requires_grad=True)
    assert torch.autograd.gradcheck(still, (y, x0), fast_mode=True)
    assert torch.autograd.gradcheck(lambda v: still(v, checkpoint=7), (y,), fast_mode=True)


@pytest.mark.parametrize("checkpoint", [None, 10])
@pytest.mark.parametrize("schedule", [ADAPTIVE, replace(RADIAL, max_layers=60)], ids=named)
def test_gradient_of_a_search_is_that_of_the_frozen_network(schedule: Searching, checkpoint: int | None):
    data, y = easy_and_hard("complex")
    net, y = data.net(schedule), y[:3]
    solution = net.solve(y)
    y.requires_grad_()
    direction = normal(3, 40, dtype=y.dtype, seed=0)
    image = net(y, checkpoint=checkpoint)
    torch.testing.assert_close(image.detach(), solution.image, rtol=0, atol=1e-9)
    (gradient,) = torch.autograd.grad(image, y, direction)
    assert gradient.abs().flatten(1).max(1).values.all()
    for k in range(3):
        item = y[k].detach().requires_grad_()
        (expected,) = torch.autograd.grad(net.following(frozen(solution, k))(item), item, direction[k])
        torch.testing.assert_close(gradient[k], expected, rtol=1e-7, atol=1e-12)


def test_gradient_of_an_image_with_a_first_image():
    net, y = imaging("Fourier")
    net = net.following(replace(ADAPTIVE, tolerance=1e-3))
    x0 = torch.ones(16, 16, dtype=y.dtype, requires_grad=True)
    solution = net.solve(y, x0=x0.detach())
    y = y.requires_grad_()
    gradients = torch.autograd.grad(net(y, x0).abs().sum(), [y, x0])
    expected = torch.autograd.grad(net.following(frozen(solution))(y, x0).abs().sum(), [y, x0])
    for a, b in zip(gradients, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-10)
