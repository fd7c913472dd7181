"""Schedules: their formulas, and what is proved about them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from firenet import BadInput, Firenet, Matrix, PaperSchedule, SparsityLevels
from firenet.guarantees import Constants, Guarantee
from firenet.operators import NormBound
from firenet.solver import FixedSteps
from firenet.solver.schedules import FixedSchedule
from firenet.sparsity import defect
from oracles import null_space_gamma, objective, optimum


def bound(value: float) -> NormBound:
    return NormBound(value, "proven", "a test")


SIZES = {
    "one item": torch.tensor(3.0, dtype=torch.float64),
    "a batch with zero, tiny and huge": torch.tensor([[0.0, 1e-30], [1e30, 2.0]], dtype=torch.float64),
    "an empty batch": torch.zeros(0, 2, dtype=torch.float64),
}
NORMS = [0.0, 1e-6, 1.0, 2.5, 1e6]
sizes = pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
norms = pytest.mark.parametrize("norm", NORMS)


@sizes
@norms
@pytest.mark.parametrize(
    ("outer", "inner", "delta", "nu"), [(1, 1, 1e-9, 0.5), (7, 5, 0.1, math.exp(-1)), (3, 40, 1e3, 0.999)], ids=str
)
def test_paper_schedule_is_the_formula(
    size: torch.Tensor, norm: float, outer: int, inner: int, delta: float, nu: float
):
    schedule = PaperSchedule(outer, inner, delta, nu)
    steps = list(schedule.restarts(bound(norm), size))
    assert schedule.layers == sum(s.layers for s in steps) == outer * inner
    length = norm if norm > 0 else 1.0
    for j, first in enumerate(size.flatten().tolist()):
        epsilon = first
        for s in steps:
            epsilon = nu * (delta + epsilon)
            tau, sigma = s.tau.flatten()[j].item(), s.sigma.flatten()[j].item()
            assert tau == pytest.approx(inner * epsilon / (2 * length**2), rel=1e-14)
            assert sigma == pytest.approx(2 / (inner * epsilon), rel=1e-14)
            assert tau * sigma * length**2 == pytest.approx(1, rel=1e-14)
        # The recursion in closed form, and its bound in theory.md 3.4.
        closed = nu * delta * (1 - nu**outer) / (1 - nu) + nu**outer * first
        assert epsilon == pytest.approx(closed, rel=1e-12)
        assert epsilon <= nu / (1 - nu) * delta + nu**outer * first + 1e-12 * epsilon


def test_one_network_for_all_measurements_within_a_bound():
    """The steps are those of measurements of the norm b2, whatever the norm is; beyond b2 nothing is promised."""
    one = torch.tensor([0.0, 1e-30, 2.5], dtype=torch.float64)
    fixed = PaperSchedule(3, 4, 1e-5, 0.5, size=2.5).restarts(bound(2.0), one)
    for step, scaled in zip(fixed, PaperSchedule(3, 4, 1e-5, 0.5).restarts(bound(2.0), one[2:]), strict=True):
        assert step.tau.tolist() == scaled.tau.tolist() * 3
        assert step.sigma.tolist() == scaled.sigma.tolist() * 3
    net = Firenet(Matrix(np.eye(2, 3)), lam=0.1, schedule=PaperSchedule(3, 4, size=2.5))
    y = torch.tensor([[1.5, 2.0], [0.0, 0.5], [0.0, 0.0]], dtype=torch.float64)  # norms 2.5, 0.5 and 0
    torch.testing.assert_close(net(y), torch.stack([net(item) for item in y]), rtol=1e-13, atol=1e-13)
    with pytest.raises(BadInput, match=r"norm at most 2\.5\. Got 2\.75"):
        net(1.1 * y)


@sizes
@norms
@pytest.mark.parametrize("omega", [None, 1e-6, 1.0, 1e6])
def test_fixed_steps_are_the_formula(size: torch.Tensor, norm: float, omega: float | None):
    (only,) = FixedSteps(12, omega).restarts(bound(norm), size)
    assert only.layers == FixedSteps(12, omega).layers == 12
    length = norm if norm > 0 else 1.0
    for y, tau, sigma in zip(*(t.flatten().tolist() for t in (size, only.tau, only.sigma)), strict=True):
        expected = omega if omega is not None else (y / length if y > 0 else 1.0)
        assert tau == pytest.approx(expected / length, rel=1e-14)
        assert sigma == pytest.approx(1 / (expected * length), rel=1e-14)
        assert tau * sigma * length**2 == pytest.approx(1, rel=1e-14)


@sizes
@norms
@pytest.mark.parametrize("schedule", [PaperSchedule(3, 4), FixedSteps(5), FixedSteps(5, 2.0)], ids=str)
def test_steps_are_float64_and_one_a_batch_item(schedule: FixedSchedule, size: torch.Tensor, norm: float):
    for s in schedule.restarts(bound(norm), size):
        for step in (s.tau, s.sigma):
            assert step.dtype == torch.float64
            assert step.shape == size.shape
            assert torch.isfinite(step).all()
            assert (step > 0).all()


def test_defaults():
    assert PaperSchedule() == PaperSchedule(outer=10, inner=10, delta=1e-9, nu=math.exp(-1))
    assert PaperSchedule().layers == 100
    assert FixedSteps() == FixedSteps(count=300, omega=None)


@pytest.mark.parametrize(
    ("schedule", "arguments"),
    [
        (PaperSchedule, {"outer": 0}),
        (PaperSchedule, {"inner": 0}),
        (PaperSchedule, {"outer": -1}),
        (PaperSchedule, {"delta": 0.0}),
        (PaperSchedule, {"delta": -1e-9}),
        (PaperSchedule, {"delta": math.nan}),
        (PaperSchedule, {"delta": math.inf}),
        (PaperSchedule, {"nu": 0.0}),
        (PaperSchedule, {"nu": 1.0}),
        (PaperSchedule, {"nu": math.nan}),
        (PaperSchedule, {"size": 0.0}),
        (PaperSchedule, {"size": math.inf}),
        (FixedSteps, {"count": 0}),
        (FixedSteps, {"omega": 0.0}),
        (FixedSteps, {"omega": -1.0}),
        (FixedSteps, {"omega": math.nan}),
        (FixedSteps, {"omega": math.inf}),
    ],
    ids=str,
)
def test_refusals_name_the_argument_and_its_value(schedule: Any, arguments: dict[str, Any]):
    with pytest.raises(BadInput) as caught:
        schedule(**arguments)
    ((name, value),) = arguments.items()
    assert f"{name}={value}" in caught.value.got


# ------------------------------------------------------------------------------------------------------ what is proved


def unitary(n: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.linalg.qr(rng.standard_normal((n, n)) + 1j * rng.standard_normal((n, n)))[0]


def gaussian(m: int, n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((m, n)) / np.sqrt(m)


# A, levels, rho; gamma = 1 for a unitary matrix (whatever rho), else by null_space_gamma.
KNOWN = {
    "unitary, two levels": (unitary(12, 0), SparsityLevels((4, 8), (2, 1)), 0.5),
    "unitary, rho 0.1": (unitary(12, 1), SparsityLevels((12,), (3,)), 0.1),
    "Gaussian 14 x 20": (gaussian(14, 20, 0), SparsityLevels((20,), (1,)), 0.5),
    "Gaussian 20 x 30": (gaussian(20, 30, 2), SparsityLevels((30,), (1,)), 0.6),
}


@pytest.mark.parametrize(
    ("noise", "tail"), [(0.0, 0.0), (1e-3, 0.0), (0.0, 1e-3), (0.1, 0.01)], ids=["exact", "noise", "tail", "both"]
)
@pytest.mark.parametrize(("A", "levels", "rho"), KNOWN.values(), ids=KNOWN)
def test_theorem_3(A: np.ndarray, levels: SparsityLevels, rho: float, noise: float, tail: float):
    """Both inequalities of theory.md 3.4 at every restart, against a true signal and not the minimiser."""
    m, n = A.shape
    gamma = 1.0 if m == n else null_space_gamma(A, rho)
    g = Guarantee(A, Constants(levels, rho=rho, gamma=gamma))
    known, net_norm = g.constants, g.norm
    rng = np.random.default_rng(7)
    level = np.repeat(np.arange(len(levels.sizes)), levels.sizes)
    x = tail * rng.standard_normal(n) / n
    for k, s in enumerate(levels.sparsities):
        x[rng.choice(np.flatnonzero(level == k), s, replace=False)] = rng.choice([-1, 1], s) * rng.uniform(1, 3, s)
    error = rng.standard_normal(m)
    y = A @ x + noise * error / np.linalg.norm(error)
    sigma = defect(x, level, levels)
    assert (sigma == 0) == (tail == 0)
    w = levels.spread(levels.weights(), level)
    size, nu = float(np.linalg.norm(y)), math.exp(-1)
    delta = max(g.misfit(sigma, noise), 1e-9)
    inner, outer = g.inner(nu), g.outer(1e-3, size, nu)
    assert inner >= 2 * known.C2 * net_norm / nu

    image, epsilon = None, size
    value_of_truth = objective(A, y, w, known.lam, x)
    for k in range(1, outer + 1):
        epsilon = nu * (delta + epsilon)
        # The k-th restart alone, from where the one before ended: PaperSchedule(1) with ||y|| replaced.
        net = Firenet(
            Matrix(torch.from_numpy(A)),
            weights=torch.from_numpy(w),
            lam=known.lam,
            schedule=FixedSteps(inner, inner * epsilon / (2 * net_norm)),
        )
        image = net(torch.from_numpy(y), x0=image)
        z = image.numpy()
        assert objective(A, y, w, known.lam, z) - value_of_truth <= epsilon * (1 + 1e-9)
        distance = float(np.linalg.norm(z - x))
        limit = 2 * known.C1 / math.sqrt(known.xi) * sigma + 2 * known.C2 * noise
        limit += known.C2 * (nu / (1 - nu) * delta + nu**k * size)
        assert distance <= limit * (1 + 1e-9)
        if delta == g.misfit(sigma, noise):
            assert g.error_bound(k, size=size, sparsity_defect=sigma, noise=noise) == pytest.approx(limit, rel=1e-12)
    assert image is not None
    if noise == tail == 0:
        assert np.linalg.norm(image.numpy() - x) <= 1e-3 * (1 + 1e-4)  # the accuracy asked for
    # All of it is what PaperSchedule does in one go.
    whole = Firenet(
        Matrix(torch.from_numpy(A)),
        weights=torch.from_numpy(w),
        lam=known.lam,
        schedule=PaperSchedule(outer, inner, delta, nu),
    )
    torch.testing.assert_close(whole(torch.from_numpy(y)), image, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("omega", [None, 0.1, 1.0, 10.0])
@pytest.mark.parametrize("dtype", [np.float64, np.complex128], ids=["real", "complex"])
def test_fixed_steps_keep_the_promise_of_their_docstring(omega: float | None, dtype: type):
    """F(average after k layers) - min F <= (||A|| / k) (||x* - x0||^2 / omega + omega)."""
    rng = np.random.default_rng(3)
    A = gaussian(10, 16, 4) + (1j * gaussian(10, 16, 5) if dtype is np.complex128 else 0)
    y, w, lam = A @ rng.standard_normal(16), rng.uniform(0.5, 2, 16), 0.1
    best = optimum(A, y, w, lam)
    operator = Matrix(torch.from_numpy(A))
    norm = operator.norm_bound.value
    value = omega or float(np.linalg.norm(y)) / norm
    for start in (np.zeros(16, dtype), best.x + rng.standard_normal(16)):
        for k in (1, 2, 5, 20, 100):
            net = Firenet(operator, weights=torch.from_numpy(w), lam=lam, schedule=FixedSteps(k, omega))
            z = net(torch.from_numpy(y), x0=torch.from_numpy(start)).numpy()
            promised = norm / k * (float(np.linalg.norm(best.x - start)) ** 2 / value + value)
            assert objective(A, y, w, lam, z) - best.lower <= promised
