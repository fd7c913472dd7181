"""stability: the formulas once more, pairs of points drawn at random, and attacks; no bound is ever beaten."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

import distances
from firenet import certify
from firenet.guarantees.constants import Constants
from firenet.guarantees.distance import ROUNDING, Stability, _seen, stability
from firenet.guarantees.guarantee import Guarantee
from firenet.operators.matrix import Matrix
from firenet.problems.synthesis import SynthesisProblem
from firenet.scans.reconstruct import certify_scan
from firenet.sparsity import SparsityLevels, defect
from firenet.transforms.wavelet import Wavelet
from known_matrices import Known, gaussian, of_image, signal, with_kernel, without_kernel
from laws import assert_refuses

# One non-zero a level, so that there are no fewer to try.
FEW = Guarantee(np.eye(5), Constants(SparsityLevels((2, 3), (1, 1)), rho=0.4, gamma=1.0))
Z, Y = [1.0, 0.2, -2.0, 0.0, 0.1], [1.1, 0.0, -2.2, 0.0, 0.3]
# sigma: in each level all but the largest entry, times the weight sqrt(2) of both.
SIGMA, R = math.sqrt(2) * 0.3, math.sqrt(0.01 + 0.04 + 0.04 + 0.04)


def bounds(g: Guarantee, z: Any = Z, y: Any = Y, **options: Any) -> Stability:
    return stability(g, z, y, **{"lam": g.constants.lam, "budget": 0.01, "gap": 0.002, **options})


# --- the formulas


def test_at_the_theorems_lambda_it_is_the_theorem() -> None:
    c = FEW.constants
    found = bounds(FEW).from_reconstruction
    expected = 2 * c.C1 / math.sqrt(c.xi) * SIGMA + c.C2 * (2 * (R + 0.01) + 0.002)
    assert expected <= found.value == pytest.approx(expected, rel=2 * ROUNDING)
    assert c.assumption in found.assumptions
    assert any("0.002" in text for text in found.assumptions)


def test_below_it_the_residual_counts_once_with_each_constant() -> None:
    c = FEW.constants
    lam, r = 0.3 * c.lam, R + 0.01
    expected = c.C1 / math.sqrt(c.xi) * (2 * SIGMA + (r + 0.002) / lam) + c.C2 * r
    assert bounds(FEW, lam=lam).from_reconstruction.value == pytest.approx(expected, rel=2 * ROUNDING)
    # The pair that Constants.at has for this lambda is never smaller.
    first, second = c.at(lam)
    assert expected <= 2 * first / math.sqrt(c.xi) * SIGMA + second * (2 * r + 0.002)


def test_above_it_the_pair_of_that_lambda_counts() -> None:
    c = FEW.constants
    lam = (c.lam + 1 / (c.gamma * math.sqrt(c.xi))) / 2
    first, second = c.at(lam)
    expected = 2 * first / math.sqrt(c.xi) * SIGMA + second * (2 * (R + 0.01) + 0.002)
    assert bounds(FEW, lam=lam).from_reconstruction.value == pytest.approx(expected, rel=2 * ROUNDING)


def test_a_priori_is_the_sum_of_two_errors() -> None:
    c = FEW.constants
    found = bounds(FEW, sparsity_defect=0.05, noise=0.2).a_priori
    assert found is not None
    expected = 4 * c.C1 / math.sqrt(c.xi) * 0.05 + c.C2 * (4 * 0.2 + 2 * 0.01 + 2 * 0.002)
    assert found.value == pytest.approx(expected, rel=2 * ROUNDING)
    assert bounds(FEW).a_priori is None


def test_nothing_moves_where_nothing_may() -> None:
    """Exact data of a sparse point, budget and gap zero: z' = z is all that is left."""
    x = [1.0, 0.0, 0.0, -2.0, 0.0]
    found = bounds(FEW, x, x, budget=0.0, gap=0.0)
    assert found.from_reconstruction.value < 1e-12
    zero = bounds(FEW, [0.0] * 5, [0.0] * 5, budget=0.0, gap=0.0)
    assert zero.smallest.value < 1e-300
    assert zero.from_support is not None  # no residual, so no direction of one: the dual point is zero
    assert zero.from_support.value == 0


def test_where_the_dual_point_is_strictly_inside_the_tail_is_small() -> None:
    """The minimiser for y = (1, 0.3), A = I, lambda = 0.8 is (0.6, 0), with q = (-0.8, -0.6) and slack 0.2 outside.

    With h = eta^2 / (2 r), r = 0.5, the second coefficient of z' is at most h / 0.2, and so are both where the other
    parts of the bound vanish with eta.
    """
    g = Guarantee(np.eye(2), Constants(SparsityLevels((2,), (1,)), rho=0.5, gamma=1.0))
    for budget in (1e-2, 1e-3, 1e-4):
        found = bounds(g, [0.6, 0.0], [1.0, 0.3], lam=0.8, budget=budget, gap=0.0)
        assert found.from_support is not None
        assert budget < found.from_support.value < 5 * budget
        assert found.smallest is found.from_support
        assert not any("null space" in text for text in found.from_support.assumptions)
        assert found.from_reconstruction.value > 10


@pytest.mark.parametrize("budget", [0.0, 0.07])
@pytest.mark.parametrize("angle", [0.2, 0.9, 1.5])
def test_the_bound_of_the_measurements_is_attained(angle: float, budget: float) -> None:
    """In the plane of u and w, with the range of the columns orthogonal to f = m u + n w: the worst residual
    R' = a u - B(a) w of the proof, with the largest a for which f hardly sees the change from R = c u + d w."""
    m, n, c, d, leak, height = math.sin(angle), math.cos(angle), 0.4, 0.15, 0.02, 0.03

    def beside(a: float) -> float:
        return math.sqrt(height**2 + 2 * height * max(a, 0))

    low, high = c, 1e4
    for _ in range(200):
        middle = (low + high) / 2
        far = m * (middle - c) > leak + budget + n * (beside(middle) + d)
        low, high = (low, middle) if far else (middle, high)
    worst, given, q, normal = (
        torch.tensor(v, dtype=torch.float64) for v in ([low, -beside(low)], [c, d], [0.7, 0.0], [m, n])
    )
    assert torch.linalg.vector_norm(worst).item() - low == pytest.approx(height)
    if not budget:
        assert (normal @ (worst - given)).abs().item() == pytest.approx(leak)
    found = _seen(given, q, torch.tensor([[-n], [m]], dtype=torch.float64), leak, budget, height)
    assert found == pytest.approx(torch.linalg.vector_norm(worst - given).item() + budget, rel=1e-6)


# --- laws


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.floats(-30, 30), st.floats(0, 1), st.floats(0, 1))
def test_units_do_not_matter_and_more_is_bounded_by_more(seed: int, power: float, budget: float, gap: float) -> None:
    random = np.random.default_rng(seed)
    z, y, scale = random.standard_normal(5), random.standard_normal(5), 10.0**power
    known = {"sparsity_defect": 0.1, "noise": 0.2}
    plain = bounds(FEW, z, y, budget=budget, gap=gap, **known)
    scaled = bounds(
        FEW, scale * z, scale * y, budget=scale * budget, gap=scale * gap, **{k: scale * v for k, v in known.items()}
    )
    more = bounds(FEW, z, y, budget=1.5 * budget + 0.01, gap=gap + 0.01, **known)
    for name in ("a_priori", "from_reconstruction", "from_support"):
        first, other, larger = (getattr(s, name) for s in (plain, scaled, more))
        if first is not None:
            assert other.value == pytest.approx(scale * first.value, rel=1e-6)
        if first is not None and larger is not None:
            assert larger.value >= first.value * (1 - 1e-9)


def test_fewer_non_zeros_have_the_constants_that_follow() -> None:
    c = Constants(SparsityLevels((4, 6), (2, 3)), rho=0.7, gamma=1.3)
    one = c.fewer([1, 1])
    xi = sum(w * w for w in c.level_weights)
    assert one.xi == pytest.approx(xi)
    assert one.rho == pytest.approx(c.rho * math.sqrt(xi / c.xi))
    assert (one.gamma, one.level_weights) == (c.gamma, c.level_weights)
    assert pytest.approx(c.C2) == c.fewer(c.levels.sparsities).C2
    assert_refuses(lambda: c.fewer([2, 4]), "non-zeros per level", "(2, 4)")


def test_fewer_of_inexact_constants_are_those_of_the_networks_matrix() -> None:
    c = Constants(SparsityLevels((4, 8), (2, 3)), exact=False)
    assert c.fewer((2, 3)).null_space == pytest.approx(c.null_space)
    assert pytest.approx(c.C1) == c.fewer((2, 3)).C1


def test_a_sparser_point_has_a_smaller_bound() -> None:
    g = Guarantee(np.eye(8), Constants(SparsityLevels((8,), (4,)), rho=0.8, gamma=1.0))
    sparse = np.eye(8)[0]
    found = bounds(g, sparse, sparse, lam=0.5 * g.constants.lam)
    full = g.constants
    lam = 0.5 * full.lam
    assert found.from_reconstruction.value < 0.5 * (full.C1 / math.sqrt(full.xi) * 0.012 / lam + full.C2 * 0.01)


# --- no pair of points beats a bound


@pytest.mark.parametrize("make", [with_kernel, without_kernel])
@pytest.mark.parametrize("real", [True, False])
def test_no_pair_of_points_beats_a_bound(make: Any, real: bool) -> None:
    """240 pairs in all: any two points, with the gaps that they have."""
    for seed in range(6):
        random = np.random.default_rng(seed)
        known: Known = make(random, (3, 9), real=real)
        g, a = known.guarantee, known.matrix
        x = signal(random, known, rest=[0, 1e-3][seed % 2])
        y = a @ x + [0, 1e-2, 0.3][seed % 3] * gaussian(random, len(a), real=real)
        kernel = np.linalg.svd(a)[2][-1].conj()
        for k in range(10):
            lam = g.constants.lam * [1.0, 0.2, 1.1][k % 3]
            if lam * g.constants.gamma * math.sqrt(g.constants.xi) >= 1:
                lam = g.constants.lam
            problem = SynthesisProblem(Matrix(torch.from_numpy(a)), torch.from_numpy(known.weights), lam)
            e = 10.0 ** random.uniform(-3, 0) * gaussian(random, len(a), real=real)
            z = x + 10.0 ** random.uniform(-4, 0) * gaussian(random, len(x), real=real)
            other = z + 10.0 ** random.uniform(-4, 1) * [gaussian(random, len(x), real=real), kernel][k % 2]
            gaps = [least_gap(problem, point, data) for point, data in ((z, y), (other, y + e))]
            said = stability(
                g,
                z,
                y,
                lam=lam,
                budget=float(np.linalg.norm(e)),
                gap=max(gaps),
                sparsity_defect=defect(x, known.level, g.constants.levels, g.constants.level_weights),
                noise=float(np.linalg.norm(a @ x - y)),
            )
            moved = float(np.linalg.norm(other - z))
            for bound in (said.a_priori, said.from_reconstruction, said.from_support):
                assert bound is None or moved <= bound.value


def least_gap(problem: SynthesisProblem, z: Any, y: Any) -> float:
    """A bound of the gap of z, from its residual and from zero as dual points."""
    z, y = torch.from_numpy(z), torch.from_numpy(y)
    residual = problem.operator(z) - y
    proofs = [problem.prove(z, q, y) for q in (residual, -y)]
    return min((p.gap + p.rounding).item() for p in proofs)


@pytest.mark.parametrize("kind", distances.KINDS)
def test_no_attack_beats_a_bound(kind: str) -> None:
    """A part of the campaign of distances.py."""
    result = distances.attack(kind, seed=1, count=6, steps=3)
    assert not result.false
    assert result.found > 0.5
    assert result.smallest >= result.found


# --- refusals


@pytest.mark.parametrize("bad", [-1e-9, math.nan, math.inf])
def test_refuses_what_bounds_nothing(bad: float) -> None:
    assert_refuses(lambda: bounds(FEW, budget=bad), "budget", str(bad))
    assert_refuses(lambda: bounds(FEW, gap=bad), "promised gap", str(bad))
    assert_refuses(lambda: bounds(FEW, sparsity_defect=bad, noise=0.1), "sparsity defect", str(bad))


def test_refuses_other_shapes_lambdas_and_halves_of_a_class() -> None:
    limit = 1 / (FEW.constants.gamma * math.sqrt(FEW.constants.xi))
    for lam in (0.0, -1.0, math.nan, limit, 2 * limit):
        assert_refuses(lambda lam=lam: bounds(FEW, lam=lam), "1/(gamma sqrt(xi))", str(lam))
    assert_refuses(lambda: bounds(FEW, [1.0]), "One point of shape (5,)", "(1,)")
    assert_refuses(lambda: bounds(FEW, Z, dual=[1.0]), "dual point of shape", "(1,)")
    assert_refuses(lambda: bounds(FEW, y=[[1.0] * 5]), "(1, 5)")
    assert_refuses(lambda: bounds(FEW, dual=torch.zeros(4)), "dual point")
    assert_refuses(lambda: bounds(FEW, [math.nan] * 5), "finite")
    assert_refuses(lambda: bounds(FEW, noise=0.1), "noise alone")
    assert_refuses(lambda: bounds(FEW, sparsity_defect=0.1), "sparsity_defect alone")


# --- in certificates


def test_a_certificate_has_a_bound_for_every_item() -> None:
    known = of_image(8, missing=False)
    g = known.guarantee
    random = np.random.default_rng(0)
    x = torch.from_numpy(np.stack([signal(random, known, 0.0) for _ in range(2)])).view(2, *g.operator.in_shape)
    y = g.operator(x)
    problem = SynthesisProblem(g.operator, torch.from_numpy(g.weights), g.constants.lam)
    found = certify(problem, x, y, budget=20, guarantee=g, perturbation=0.1, promised_gap=1e-3)
    assert found.stability is not None
    assert found.error_bound is None
    alone = stability(g, x[1], y[1], lam=problem.lam, budget=0.1, gap=1e-3, dual=found.dual[1])
    assert found.stability[1] == alone
    assert alone.record()["smallest"]["value"] == alone.smallest.value
    both = certify(
        problem, x, y, budget=0, guarantee=g, perturbation=0.1, promised_gap=1e-3, sparsity_defect=0.0, noise=0.0
    )
    assert both.stability is not None
    assert both.error_bound is not None
    assert both.stability[0].a_priori is not None
    assert certify(problem, x, y, budget=0).stability is None


def test_a_certificate_refuses_what_is_not_proved() -> None:
    from firenet.problems import Squared

    g = FEW
    z, y = (torch.tensor(t, dtype=torch.float64) for t in (Z, Y))
    weights = torch.from_numpy(g.weights)
    both: Any = {"perturbation": 0.1, "promised_gap": 0.1}
    problem = SynthesisProblem(g.operator, weights, 0.1)
    assert_refuses(lambda: certify(problem, z, y, budget=0, **both), "guarantee, perturbation and promised_gap")
    assert_refuses(lambda: certify(problem, z, y, budget=0, guarantee=g, perturbation=0.1), "promised_gap together")
    assert_refuses(lambda: certify(problem, z, y, budget=0, guarantee=g), "together", "only guarantee")
    squared = SynthesisProblem(g.operator, weights, 0.1, Squared())
    assert_refuses(lambda: certify(squared, z, y, budget=0, guarantee=g, **both), "(P3)", "Squared")
    other = SynthesisProblem(g.operator, None, 0.1)
    assert_refuses(lambda: certify(other, z, y, budget=0, guarantee=g, **both), "weights of the guarantee")


def test_the_record_of_a_scan_has_the_bounds(scan: Path) -> None:
    """An image of zeros, with constants that are assumed."""
    frame = Wavelet((64, 64), "haar", 2)
    sizes = tuple(np.bincount(frame.levels().numpy().ravel()).tolist())
    constants = Constants(SparsityLevels(sizes, (1, 1, 1)), weights=[1.0] * 3)
    known: dict[str, Any] = {"constants": constants, "perturbation": 0.5, "promised_gap": 0.1}
    image = np.zeros((64, 64), np.complex64)
    (one,) = certify_scan(scan, image, sparsify="orthonormal:haar:2", lam=0.01, layers=5, **known)
    record = one.record()["stability"]
    assert (record["budget"], record["gap"]) == (0.5, 0.1)
    assert record["smallest"]["value"] > 0
    assert constants.assumption in record["from_reconstruction"]["assumptions"]
    assert record["a_priori"] is None
    (plain,) = certify_scan(scan, image, sparsify="orthonormal:haar:2", lam=0.01, layers=5)
    assert "stability" not in plain.record()
