"""Certificates: for any point from any source, against Clarabel, and how tight they are."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cases import PROBLEMS, Data, kinds, problem
from draws import normal
from firenet import (
    AdaptiveRestarts,
    BadInput,
    Firenet,
    Matrix,
    Solution,
    SparsityLevels,
    SubsampledFourier,
    UndecimatedWavelet,
    Wavelet,
    certify,
)
from firenet.guarantees import Constants, Guarantee
from firenet.problems import SynthesisProblem
from firenet.scans.demo import load_slice
from firenet.sensing import multilevel
from firenet.transforms import TightFrame
from oracles import optimum

DEFECTS = [1e-1, 1e-2, 1e-3, 1e-4]


def posed(data: Data) -> SynthesisProblem:
    return SynthesisProblem(Matrix(data.tensor(data.A)), torch.from_numpy(data.w), data.lam)


def moved(data: Data, x: np.ndarray, least: float, defect: float, seed: int = 0) -> np.ndarray:
    """A point whose objective is (1 + defect) times the least, on a random ray from the minimiser."""
    rng = np.random.default_rng(seed)
    ray = rng.standard_normal(x.shape) + (1j * rng.standard_normal(x.shape) if np.iscomplexobj(x) else 0)
    low, high = 0.0, 1.0
    while data.objective(torch.from_numpy(x + high * ray)) < (1 + defect) * least:
        high *= 2
    for _ in range(200):
        middle = (low + high) / 2
        below = data.objective(torch.from_numpy(x + middle * ray)) < (1 + defect) * least
        low, high = (middle, high) if below else (low, middle)
    return x + low * ray


@kinds
@pytest.mark.parametrize("defect", DEFECTS)
@pytest.mark.parametrize("name", ["12 x 24", "20 x 40", "zero residual", "more rows than columns", "rows twice"])
def test_the_gap_is_at_least_the_suboptimality_and_at_most_twice(name: str, kind: str, defect: float):
    data = PROBLEMS[name](kind).asked()
    best = optimum(data.A, data.y, data.w, data.lam)
    z = data.tensor(moved(data, best.x, best.value, defect))
    value = data.objective(z)
    c = certify(posed(data), z, data.measured, budget=2000)
    assert c.objective.item() == pytest.approx(value, rel=1e-12)
    assert c.gap.item() >= value - best.value - 1e-12 * value
    assert c.gap.item() <= 2 * (value - best.value)
    # What it says about its own tightness holds too: the bracket of Clarabel is that narrow.
    assert c.gap.item() <= c.tightness.item() * (value - best.lower) * (1 + 1e-9)
    assert c.tightness.item() <= 2
    assert c.kind == "proven"
    assert c.error_bound is None
    assert c.assumptions == ()


@cache
def minimised(frame: TightFrame) -> tuple[Firenet, Tensor, Solution]:
    """Data of an image, and their minimiser, computed once."""
    truth = load_slice()[::8, ::8].to(torch.complex128)
    sensing = SubsampledFourier(multilevel((32, 32), 0.4).samples)
    y = sensing(truth)
    net = Firenet(sensing, frame, lam=6e-4, schedule=AdaptiveRestarts(1e-8, 5000))
    return net, y, net.solve(y)


FRAMES = [Wavelet((32, 32), "db4"), UndecimatedWavelet((32, 32), "sym4", 2)]


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("defect", DEFECTS)
def test_an_image(defect: float, frame: TightFrame):
    net, y, least = minimised(frame)
    ray = normal(32, 32, dtype=y.dtype, seed=0)
    ray = ray if net.form == "analysis" else frame(ray)
    low, high = 0.0, 10.0
    for _ in range(80):
        middle = (low + high) / 2
        value = net.problem.objective(least.coefficients + middle * ray, y)
        low, high = (middle, high) if value < (1 + defect) * least.objective else (low, middle)
    z = least.coefficients + low * ray
    true = (net.problem.objective(z, y) - least.objective).item()
    for precision in (torch.complex128, torch.complex64):
        c = certify(net.problem, z.to(precision), y.to(precision))
        assert true - c.rounding.item() <= c.gap.item() <= 2 * true + least.gap.item()
        assert int(c.layers) <= 500


@pytest.mark.parametrize("frame", FRAMES)
def test_the_optimum_of_an_image(frame: TightFrame):
    """A better point is not to be had: its own gap is what is left."""
    net, y, least = minimised(frame)
    assert certify(net.problem, least.coefficients, y).relative_gap.item() <= 1e-6


def test_a_dual_pair_is_taken_as_it_is():
    sensing, frame = SubsampledFourier(multilevel((32, 32), 0.5).samples), UndecimatedWavelet((32, 32), "haar", 2)
    y = sensing(normal(2, 32, 32, dtype=torch.complex128, seed=0))
    net = Firenet(sensing, frame, lam=1e-2, schedule=AdaptiveRestarts(1e-5))
    s = net.solve(y)
    c = certify(net.problem, s.image, y, dual=s.dual, dual_sparse=s.dual_sparse, budget=0)
    torch.testing.assert_close(c.gap, s.gap, rtol=1e-6, atol=0)
    assert c.dual_sparse is not None
    assert s.dual_sparse is not None
    torch.testing.assert_close(c.dual_sparse, s.dual_sparse, rtol=0, atol=1e-12)
    # Without p it is worth less, and refined it is worth as much again.
    worse = certify(net.problem, s.image, y, dual=s.dual, budget=0)
    assert (worse.gap > 2 * s.gap).all()
    assert (certify(net.problem, s.image, y, budget=500).relative_gap < 1e-4).all()
    for wrong in (s.dual_sparse[0], s.dual_sparse * math.nan):
        with pytest.raises(BadInput, match="dual_sparse"):
            certify(net.problem, s.image, y, dual=s.dual, dual_sparse=wrong)
    # A bad point, for which the iteration finds nothing better: the dual that comes back is the good one, untouched.
    for point in (torch.zeros_like(s.image), 3 * s.image):
        kept = certify(net.problem, point, y, dual=s.dual, dual_sparse=s.dual_sparse, budget=10)
        assert kept.dual_sparse is not None
        assert net.problem.weights is not None
        assert (kept.dual_sparse.abs() <= 1e-2 * net.problem.weights * (1 + 1e-12)).all()
        assert (sensing.adjoint(kept.dual) + frame.adjoint(kept.dual_sparse)).abs().max() < 1e-12
        values = -(kept.dual.conj() * y).real.sum(dim=(1, 2))
        torch.testing.assert_close(values, kept.lower_bound, rtol=1e-9, atol=0)
    with pytest.raises(BadInput, match="dual_sparse alone"):
        certify(net.problem, s.image, y, dual_sparse=s.dual_sparse)
    plain = Firenet(sensing, Wavelet((32, 32), "haar"))
    with pytest.raises(BadInput, match="analysis problem"):
        certify(plain.problem, s.image, y, dual=s.dual, dual_sparse=s.dual_sparse)
    known = Guarantee(sensing, Constants(SparsityLevels((1024,), (5,)), rho=0.5, gamma=1.0), level=np.zeros(1024, int))
    with pytest.raises(BadInput, match="synthesis problem"):
        certify(net.problem, s.image, y, guarantee=known, sparsity_defect=0.1, noise=0.1)


@kinds
def test_the_parts_fit_together(kind: str):
    data = problem(kind)
    rng = np.random.default_rng(1)
    z = torch.from_numpy(rng.standard_normal((2, 3, 24)).astype(data.A.dtype))
    y = torch.from_numpy(rng.standard_normal((2, 3, 12)).astype(data.A.dtype))
    c = certify(posed(data), z, y, budget=60)
    assert c.objective.shape == c.gap.shape == c.lower_bound.shape == c.layers.shape == (2, 3)
    assert c.dual.shape == y.shape
    torch.testing.assert_close(c.gap, (c.objective - c.lower_bound).clamp(min=0), rtol=0, atol=0)
    torch.testing.assert_close(posed(data).gap(z, c.dual, y), c.gap, rtol=1e-9, atol=1e-12)
    relative = (c.objective - c.lower_bound) / c.lower_bound
    torch.testing.assert_close(c.relative_gap, relative, rtol=1e-12, atol=0)
    dual = c.dual.reshape(6, 12).numpy()
    assert np.linalg.norm(dual, axis=1).max() <= 1 + 1e-14
    assert (np.abs(dual @ data.A.conj()) / (data.lam * data.w)).max() <= 1 + 1e-13
    for at in np.ndindex(2, 3):  # a batch is a loop
        alone = certify(posed(data), z[at], y[at], budget=60)
        torch.testing.assert_close(alone.gap, c.gap[at], rtol=1e-8, atol=1e-11)
        assert alone.layers == c.layers[at]


def test_more_budget_and_a_given_dual_never_hurt():
    data = problem("complex")
    z = torch.from_numpy(np.random.default_rng(2).standard_normal(24).astype(complex))
    bounds = [certify(posed(data), z, data.measured, budget=n).lower_bound.item() for n in (0, 10, 40, 400)]
    assert bounds == sorted(bounds)
    good = certify(posed(data), z, data.measured, budget=400)
    with_dual = certify(posed(data), z, data.measured, budget=0, dual=2 * good.dual)  # is made feasible again
    assert with_dual.lower_bound.item() == pytest.approx(good.lower_bound.item(), rel=1e-12)
    assert int(with_dual.layers) == 0
    again = certify(posed(data), z, data.measured, budget=10, dual=good.dual)
    assert again.lower_bound.item() >= good.lower_bound.item() * (1 - 1e-12)


def test_the_residual_is_the_dual_above_the_largest_lambda():
    data = problem("real")
    data.lam = 1e3
    c = certify(posed(data), torch.zeros(24, dtype=torch.float64), data.measured, budget=0)
    assert c.gap.item() <= 1e-14 * c.objective.item()
    assert math.isinf(c.tightness.item())


@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
def test_units_do_not_matter(scale: float):
    data = problem("complex")
    z = np.random.default_rng(3).standard_normal(24).astype(complex)
    plain = certify(posed(data), torch.from_numpy(z), data.measured)
    scaled = certify(posed(data), torch.from_numpy(scale * z), scale * data.measured)
    assert scaled.relative_gap.item() == pytest.approx(plain.relative_gap.item(), rel=1e-6)


def test_the_error_bound_holds_under_its_assumptions():
    """A unitary matrix has the property with gamma = 1 and every rho; the true signal is known."""
    rng = np.random.default_rng(4)
    A = np.linalg.qr(rng.standard_normal((12, 12)) + 1j * rng.standard_normal((12, 12)))[0]
    levels = SparsityLevels((4, 8), (2, 1))
    guarantee = Guarantee(A, Constants(levels, rho=0.5, gamma=1.0))
    level = np.repeat([0, 1], [4, 8])
    x = np.zeros(12, complex)
    x[[0, 2, 7]] = [1, -2, 1j]
    error = rng.standard_normal(12) + 1j * rng.standard_normal(12)
    error *= 0.01 / np.linalg.norm(error)
    y = A @ x + error
    w = levels.spread(levels.weights(), level)
    for lam in (guarantee.constants.lam, 0.1 * guarantee.constants.lam):
        posed = SynthesisProblem(Matrix(torch.from_numpy(A)), torch.from_numpy(w), lam)
        for z in (x, 0 * x, x + 0.1 * rng.standard_normal(12), 3 * rng.standard_normal(12)):
            c = certify(
                posed,
                torch.from_numpy(z + 0j),
                torch.from_numpy(y),
                guarantee=guarantee,
                sparsity_defect=0.0,
                noise=0.01,
            )
            assert c.error_bound is not None
            assert np.linalg.norm(z - x) <= c.error_bound.item()
            assert c.kind == "conditional"
            assert len(c.assumptions) == 3


def test_foreign_points_and_the_arguments_stay_as_they_are():
    data = problem("complex")
    z, y = torch.full((24,), 100 + 0j, dtype=torch.complex128), data.measured
    kept = z.clone(), y.clone(), torch.get_rng_state()
    c = certify(posed(data), z, y)
    assert c.relative_gap.item() > 0.9
    assert c.tightness.item() <= 1.06
    assert torch.equal(z, kept[0])
    assert torch.equal(y, kept[1])
    assert torch.equal(torch.get_rng_state(), kept[2])


ZEROS: dict[str, Tensor] = {"z": torch.zeros(24, dtype=torch.float64), "y": torch.zeros(12, dtype=torch.float64)}


@pytest.mark.parametrize(
    ("arguments", "needed"),
    [
        ({"z": torch.zeros(23, dtype=torch.float64)}, "z of shape"),
        ({"y": torch.zeros(2, 12, dtype=torch.float64)}, "the same batch axes"),
        ({"z": torch.full((24,), math.nan, dtype=torch.float64)}, "A finite point"),
        ({"y": torch.full((12,), math.inf, dtype=torch.float64)}, "A finite point"),
        ({"z": torch.zeros(24, dtype=torch.complex128)}, "A real point"),
        ({"budget": -1}, "A budget"),
        ({"dual": torch.zeros(11, dtype=torch.float64)}, "A finite dual point"),
        ({"noise": 0.1}, "guarantee, sparsity_defect and noise together"),
    ],
    ids=str,
)
def test_refusals(arguments: dict[str, Any], needed: str):
    with pytest.raises(BadInput, match=needed):
        certify(posed(problem("real")), **{**ZEROS, **arguments})
