"""Networks with gradients: checkpoints change no gradient and save memory, without gradients nothing changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from cases import PRECISIONS, draw, kinds, with_zero
from draws import uniform
from firenet import BadInput, Firenet, LinearOperator, Matrix, PaperSchedule, SubsampledFourier, Wavelet
from firenet.solver import FixedSteps
from firenet.solver.schedules import FrozenSteps, Run
from laws import assert_each_near

FROZEN = FrozenSteps(
    (
        Run(0.3, 0.4, 5, 1.8, "average", True),
        Run(0.2, 0.7, 4, 1.8, "last", True),
        Run(0.5, 0.3, 6, 0.7, "average", False),
        Run(0.1, 0.9, 3, 1.0, "last", True),
    )
)
SCHEDULES = [PaperSchedule(3, 4), FixedSteps(11), FROZEN]


def unit_net(name: str, kind: str, schedule: Any) -> Firenet:
    """A network whose weights ask for gradients, its operator scaled to a norm of at most 1 (so that FROZEN fits)."""
    dtype = PRECISIONS[kind]
    operators: dict[str, Callable[[], tuple[LinearOperator, Wavelet | None]]] = {
        "matrix": lambda: (Matrix(draw((7, 12), dtype, 0) / 12), None),
        "folded": lambda: (SubsampledFourier(with_zero(32, 16)), Wavelet((32, 16), "haar", 2)),
        "padded": lambda: (SubsampledFourier(with_zero(5, 7)), Wavelet((5, 7), "haar", 1)),
    }
    sensing, frame = operators[name]()
    shape = sensing.in_shape if frame is None else frame.out_shape
    weights = uniform(shape, seed=0).to(dtype.to_real()) + 0.5
    net = Firenet(sensing, frame, weights=weights, lam=0.05, schedule=schedule)
    assert net.operator.norm_bound.value <= 1 + 1e-6
    return net


def gradients(net: Firenet, y: Tensor, x0: Tensor, checkpoint: int | None) -> list[Tensor]:
    y, x0 = y.clone().requires_grad_(), x0.clone().requires_grad_()
    assert isinstance(net.weights, Tensor)
    weights = net.weights.clone().requires_grad_()
    net.weights = weights
    image = net(y, x0, checkpoint=checkpoint)
    value = (image.abs() ** 2).sum() + image.real.sum()
    return [image.detach(), *torch.autograd.grad(value, [y, x0, weights])]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize(
    ("name", "kind"), [("matrix", "real"), ("matrix", "complex"), ("folded", "complex"), ("padded", "single")]
)
def test_checkpoints_change_no_gradient(name: str, kind: str, schedule: Any):
    net = unit_net(name, kind, schedule)
    y = draw((2, *net.sensing.out_shape), PRECISIONS[kind], 1)
    x0 = draw(net.sensing.in_shape, net.operator.state_dtype(PRECISIONS[kind]), 2)
    plain = gradients(net, y, x0, None)
    assert all(g.abs().any() for g in plain)
    for checkpoint in (1, 3, 100):
        for a, b in zip(gradients(net, y, x0, checkpoint), plain, strict=True):
            assert a.dtype == b.dtype
            torch.testing.assert_close(a, b, rtol=0, atol=100 * torch.finfo(b.dtype).eps * b.abs().max().item())


def kept_numbers(net: Firenet, y: Tensor, checkpoint: int | None) -> int:
    """How many numbers wait for the backward pass."""
    storages: dict[int, int] = {}

    def pack(t: Tensor) -> Tensor:
        storages[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        net(y.clone().requires_grad_(), checkpoint=checkpoint)
    return sum(storages.values())


@pytest.mark.parametrize("name", ["matrix", "folded"])
def test_checkpoints_save_memory(name: str):
    net = unit_net(name, "complex", FixedSteps(64))
    y = draw(net.sensing.out_shape, torch.complex128, 1)
    plain, checked = kept_numbers(net, y, None), kept_numbers(net, y, 8)
    assert checked < plain / 4
    # It grows with the number of checkpoints, not with that of the layers.
    longer = kept_numbers(net.following(FixedSteps(256)), y, 32)
    assert longer < 1.3 * checked


@pytest.mark.parametrize("checkpoint", [0, -1])
def test_checkpoints_of_no_layer_are_refused(checkpoint: int):
    net = unit_net("matrix", "real", FixedSteps(2))
    with pytest.raises(BadInput) as caught:
        net(torch.ones(7, dtype=torch.float64), checkpoint=checkpoint)
    assert "checkpoint" in caught.value.needed
    assert str(checkpoint) in caught.value.got


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
@kinds
def test_without_gradients_the_network_is_the_same(kind: str, schedule: Any):
    """The loop in place and the differentiable one, whole networks with their restarts."""
    net = unit_net("matrix", kind, schedule)
    y = draw((2, 7), PRECISIONS[kind], 1)
    with torch.no_grad():
        quiet = net(y)
    derived = net(y.requires_grad_())
    assert derived.requires_grad
    assert not quiet.requires_grad
    assert_each_near(quiet, derived)
    assert_each_near(net.solve(y).image, quiet)


def test_checkpoints_without_gradients_change_nothing():
    net = unit_net("matrix", "complex", FROZEN)
    y = draw((7,), torch.complex128, 1)
    assert net(y, checkpoint=2).equal(net(y))


@pytest.mark.parametrize("kind", PRECISIONS)
def test_a_frozen_network_whose_relaxation_changes(kind: str):
    frozen = FrozenSteps((Run(0.3, 0.4, 5, 1.0, "last", True), Run(0.2, 0.7, 4, 1.8, "last", True)))
    net, y = unit_net("matrix", kind, frozen), draw((2, 7), PRECISIONS[kind], 1)
    with torch.no_grad():
        quiet = net(y)
    assert_each_near(quiet, net(y.requires_grad_()).detach(), 1000)
