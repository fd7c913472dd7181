"""For tests/test_layer.py."""
from test_layer import *  # noqa: F403
from test_layer import DTYPES, STATE, Run, FrozenSteps, near, random, setup, setups, unit_net
import pytest, torch


@setups
@pytest.mark.parametrize("rhos", [(1.0, 1.8, 1.0, 0.5), (1.8, 1.0, 1.8)], ids=str)
def test_the_relaxation_may_change_from_run_to_run(name: str, kind: str, rhos: tuple[float, ...]):
    """In the plain iteration the last point and the state are the same tensor; in the relaxed one they are not."""
    s = setup(name, kind)
    quiet, derived = s.layers(), s.layers(gradients=True)
    for rho in rhos:
        for layers in (quiet, derived):
            layers.set_steps(s.tau, s.sigma, torch.full_like(s.rho, rho))
            layers.run(3)
        for field in STATE:
            near(getattr(quiet, field), getattr(derived, field), 1e4)


@pytest.mark.parametrize("kind", DTYPES)
def test_a_frozen_network_whose_relaxation_changes(kind: str):
    frozen = FrozenSteps((Run(0.3, 0.4, 5, 1.0, "last", True), Run(0.2, 0.7, 4, 1.8, "last", True)))
    net, y = unit_net("matrix", kind, frozen), random((2, 7), DTYPES[kind], 1)
    with torch.no_grad():
        quiet = net(y)
    near(quiet, net(y.requires_grad_()).detach(), 1000)


def test_points_that_are_given_are_not_written_into():
    """place(points) with all rows, then relaxed layers."""
    s = setup("matrix", "complex")
    layers = s.layers()
    layers.run(2)
    points = random(tuple(layers.x.shape), layers.x.dtype, 9)
    kept = points.clone()
    layers.place(points, keep_dual=False)
    layers.run(4)
    assert points.equal(kept)
