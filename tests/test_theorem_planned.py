"""planned: the network of a plan is one map for all y, and keeps what the plan promises."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from firenet.guarantees import Constants, Guarantee, Plan, plan
from firenet.network import Firenet
from firenet.operators.linear import LinearOperator
from firenet.operators.matrix import Matrix
from firenet.operators.norm_bound import NormBound
from firenet.problems.fidelity import Norm
from firenet.sensing.fourier import SubsampledFourier
from firenet.sensing.masks import multilevel
from firenet.solver.schedules import PaperSchedule
from firenet.sparsity import SparsityLevels, defect
from firenet.theorem import network, schedule, steps
from firenet.transforms.wavelet import Wavelet
from laws import assert_refuses
from oracles import null_space_gamma, paper_network

LEVELS = SparsityLevels((16,), (1,))
RHO = 0.5


@pytest.fixture(scope="module")
def known() -> Guarantee:
    """A Gaussian matrix with a gamma that is proved for it."""
    A = np.random.default_rng(5).standard_normal((12, 16)) / math.sqrt(12)
    constants = Constants(LEVELS, rho=RHO, gamma=null_space_gamma(A, RHO), source="verified")
    return Guarantee(A, constants)


def planned(g: Guarantee, accuracy: float = 0.1, **changes: Any) -> Plan:
    return plan(g, **{"accuracy": accuracy, "noise": 0.0, "sparsity_defect": 0.0, "signal": 2.0, **changes})


@pytest.mark.parametrize("rest", [0.0, 1e-3])
@pytest.mark.parametrize("accuracy", [1.0, 1e-3, 1e-6])
def test_errors_are_below_the_promise(known: Guarantee, accuracy: float, rest: float) -> None:
    """One network, many signals: sparse and compressible, without and with noise, small and as large as allowed."""
    random = np.random.default_rng(7)
    assert isinstance(known.sensing, Matrix)
    A = known.sensing.matrix.numpy()
    x = rest * random.standard_normal((12, 16))
    x[np.arange(12), random.integers(16, size=12)] = np.linspace(0.01, 1.9, 12) * random.choice([-1, 1], 12)
    e = random.standard_normal((12, 12))
    e *= rest / np.linalg.norm(e, axis=1, keepdims=True)
    worst = max(defect(row, np.zeros(16, int), LEVELS) for row in x)
    p = planned(known, accuracy, noise=rest, sparsity_defect=worst)
    assert np.linalg.norm(x, axis=1).max() <= p.signal
    found = network(p)(x @ A.T + e).numpy()
    errors = np.linalg.norm(found - x, axis=1)
    # Rounding is not counted by the bound: the state has entries below 2 and some thousand layers.
    assert errors.max() <= p.bound + 1e-12
    assert p.conditions == ()
    if rest == 0:
        assert p.bound <= accuracy
        # The promise is no formality: a network a third as deep does not keep it.
        shallow = network(p).following(PaperSchedule(max(1, p.outer // 3), 1, p.delta, p.nu, p.size))
        assert np.linalg.norm(shallow(x @ A.T).numpy() - x, axis=1).max() > accuracy


def test_it_is_the_paper_s_network(known: Guarantee) -> None:
    p = planned(known, sparsity_defect=0.01, noise=0.01)
    net, y = network(p), np.random.default_rng(0).standard_normal(12) * 0.3
    assert isinstance(known.sensing, Matrix)
    # The paper's algorithm starts at the norm of y; from y of norm b2 it is this network.
    y *= p.size / np.linalg.norm(y)
    found = paper_network(
        known.sensing.matrix.numpy(),
        y,
        known.weights,
        p.lam,
        p.outer,
        p.inner,
        p.delta,
        p.nu,
        norm=known.norm,
    )
    np.testing.assert_allclose(net(y).numpy(), found, atol=1e-9 * p.size)


def test_all_measurements_go_through_the_same_steps(known: Guarantee) -> None:
    p = planned(known, 1.0)
    net = network(p)
    assert net.schedule == schedule(p) == PaperSchedule(p.outer, p.inner, p.delta, p.nu, p.size)
    bound = net.operator.norm_bound
    runs = [
        [(r.tau.item(), r.sigma.item()) for r in schedule(p).restarts(bound, torch.tensor([size]).double())]
        for size in (1e-3, 0.5 * p.size, p.size)
    ]
    tau, sigma = steps(p)
    assert runs == [list(zip(tau.tolist(), sigma.tolist(), strict=True))] * 3
    np.testing.assert_allclose(tau * sigma * bound.value**2, 1, rtol=1e-12)
    # Not the network of y / |y|: with steps of its own for each y it would be homogeneous.
    y = torch.full((12,), 0.1, dtype=torch.float64)
    assert (net(2 * y) - 2 * net(y)).norm() > 1e-6 * net(2 * y).norm()
    one = torch.zeros(12, dtype=torch.float64)
    one[0] = p.size
    net(one)
    assert_refuses(lambda: net(1.001 * one), "norm at most", f"{p.size:.6g}")


def test_the_problem_is_the_theorem_s(known: Guarantee) -> None:
    p = planned(known, lam=0.7 * known.constants.lam)
    net = network(p)
    assert (net.lam, net.form, net.iterate, type(net.fidelity)) == (p.lam, "synthesis", "average", Norm)
    assert net.weights is not None
    np.testing.assert_array_equal(net.weights.numpy(), known.weights)


def test_of_a_mask() -> None:
    sensing, frame = SubsampledFourier(multilevel((8, 8), 0.6).samples), Wavelet((8, 8), "haar")
    levels = SparsityLevels((4, 12, 48), (4, 4, 8))
    p = planned(Guarantee(sensing, Constants(levels), frame), accuracy=5.0)
    net = network(p)
    assert isinstance(net, Firenet)
    image = torch.randn(8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    image *= 1.9 / image.norm()
    again = network(p, SubsampledFourier(sensing.mask), Wavelet((8, 8), "haar"))
    assert torch.equal(net(sensing(image)), again(sensing(image)))
    assert net.weights is not None
    assert net.weights.shape == frame.out_shape
    other = SubsampledFourier(multilevel((8, 8), 0.6, seed=1).samples)
    assert_refuses(lambda: network(p, other, frame), "operator of the guarantee")
    assert_refuses(lambda: network(p, sensing, Wavelet((8, 8), "db2")), "operator of the guarantee")
    assert_refuses(lambda: network(p, sensing), "operator of the guarantee")
    assert_refuses(lambda: network(p, sparsify=frame), "sensing together with sparsify")


class WithBound(LinearOperator):
    """The same matrix with another statement about its norm."""

    def __init__(self, matrix: torch.Tensor, norm: float, kind: Any) -> None:
        super().__init__((matrix.shape[1],), (matrix.shape[0],), NormBound(norm, kind, "stated"))
        self.matrix_ = matrix

    def _forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.matrix_.to(x.dtype).mT

    def _adjoint(self, y: torch.Tensor) -> torch.Tensor:
        return y @ self.matrix_.to(y.dtype)


def test_another_object_must_be_the_same_map_with_a_bound_that_suffices(known: Guarantee) -> None:
    p = planned(known)
    assert isinstance(known.sensing, Matrix)
    A = known.sensing.matrix
    y = torch.ones(12, dtype=torch.float64) * 0.1
    assert torch.equal(network(p, A.numpy())(y), network(p)(y))
    assert_refuses(lambda: network(p, 1.01 * A.numpy()), "operator of the guarantee")
    assert_refuses(lambda: network(p, A.numpy()[:, :15]), "operator of the guarantee")
    network(p, WithBound(A, known.norm, "proven"))
    assert_refuses(lambda: network(p, WithBound(A, known.norm, "estimate")), "proven norm bound", "estimate")
    assert_refuses(lambda: network(p, WithBound(A, 1.1 * known.norm, "proven")), "norm bound", "stated")
