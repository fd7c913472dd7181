"""No false certificate: a part of the campaign of soundness.py, and the cases that people from outside found."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch

import firenet
import soundness
from firenet import (
    AdaptiveRestarts,
    BadInput,
    DoubtfulInput,
    Firenet,
    Gradient,
    LinearOperator,
    Matrix,
    MultiCoilFourier,
    NumericalError,
    Status,
    SubsampledFourier,
    UndecimatedWavelet,
    Wavelet,
    certify,
    check_adjoint,
)
from firenet.operators import NormBound
from firenet.problems import SynthesisProblem
from firenet.solver import FixedSteps, RadialSearch
from firenet.transforms import Union

PARTS = 8  # the campaign's problems are spread over so many tests, for as many processes


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
def test_no_claim_of_a_random_problem_is_false(part: int):
    tally: Counter[str] = Counter()
    false = []
    for k in range(part, 96, PARTS):
        case, tolerance = soundness.random_case(k, seed=1)
        false += [f"{k} ({case.name}): {claim}" for claim in soundness.check(case, tolerance, tally)]
    assert not false
    assert tally[Status.TOLERANCE_REACHED.value] > 0  # they are no problems that nothing is claimed of


def test_no_claim_of_a_built_problem_is_false():
    tally: Counter[str] = Counter()
    false = [f"{k}: {claim}" for k in range(24) for claim in soundness.built(k, 1, tally)]
    assert not false
    assert tally["refused at the door"] >= 2


INEQUALITIES = {
    "error after every restart": 36,
    "error from the gap": 30,
    "verified constants": 8,
    "exact network against the loop": 36,
    "distance under attack": 2,
    "what no method can tell apart": 3,
}


@pytest.mark.parametrize("name", INEQUALITIES)
def test_no_bound_of_the_theorem_is_below_the_truth(name: str):
    result = soundness.some(name, list(range(INEQUALITIES[name])), seed=1)
    assert not result.false
    # They are no bounds of nothing: most are compared with a truth that is more than rounding.
    assert len(result.looseness[name]) > 0.3 * sum(result.tally.values())
    assert set(INEQUALITIES) == set(soundness.COUNTS) - {"random", "built", "verified"}


# --- what the checks see: a planted fault is found --------------------------------------------------------------------


def test_the_campaign_finds_a_bound_below_the_truth(monkeypatch: pytest.MonkeyPatch):
    from firenet.guarantees import Constants

    honest = Constants.at
    monkeypatch.setattr(Constants, "at", lambda *given: tuple(c / 100 for c in honest(*given)))
    for name in ("error after every restart", "error from the gap"):
        assert soundness.some(name, list(range(6)), seed=1).false


def test_the_campaign_finds_a_false_bound(monkeypatch: pytest.MonkeyPatch):
    from firenet.problems import synthesis

    honest = synthesis.dual_bound

    def optimistic(*arguments: Any) -> tuple[torch.Tensor, ...]:
        bound, size, error = honest(*arguments)
        return 1.01 * bound, size, error

    monkeypatch.setattr(synthesis, "dual_bound", optimistic)
    tally: Counter[str] = Counter()
    false = [
        claim
        for case, tolerance in (soundness.random_case(k, seed=1) for k in (48, 72, 87, 90, 102))  # whose gap gets small
        for claim in soundness.check(case, tolerance, tally)
    ]
    assert any("lower bound" in claim or "minus its rounding" in claim for claim in false)


# --- sums of parts of very different scale ----------------------------------------------------------------------------


@pytest.mark.parametrize("factors", [(1.0, 1e-6), (1.0, 3e-8), (3e7, 1.0), (1.0, 1e-12), (1e12, 1.0)], ids=str)
@pytest.mark.parametrize("how", ["norm", "squared", "ball", "coils"])
def test_a_small_part_of_a_sum_is_not_taken_for_zero(factors: tuple[float, float], how: str):
    shape = (8, 8)
    ones = torch.ones(shape, dtype=torch.bool)
    maps = torch.ones(2, *shape, dtype=torch.complex128) / math.sqrt(2)
    sensing: LinearOperator = MultiCoilFourier(ones, maps) if how == "coils" else SubsampledFourier(ones)
    x = torch.full(shape, 5.0, dtype=torch.complex128)
    y = sensing(x)
    frame = Union([Gradient(shape), UndecimatedWavelet(shape, "haar", 1)], factors)
    keys: dict[str, Any] = {"squared": {"fidelity": "squared"}, "ball": {"noise": 0.1}}.get(how, {})
    weights = torch.ones(frame.penalty_shape, dtype=torch.float64)
    schedule = AdaptiveRestarts(tolerance=1e-6, max_layers=150)
    net = Firenet(sensing, frame, weights=weights, lam=0.01, schedule=schedule, **keys)
    true = net.problem.objective(x, y).item()  # at most so large is the minimum
    for solution in (net.solve(y), certify(net.problem, torch.zeros_like(x), y, budget=100)):
        assert solution.lower_bound.item() <= true * (1 + 1e-12)
        if solution.violation.item() == 0:
            assert (solution.gap + solution.rounding).item() >= solution.objective.item() - true * (1 + 1e-12)


# --- constants that A hardly sees -------------------------------------------------------------------------------------


@pytest.mark.parametrize("seen", [0.0, 1e-16, 2e-15, 1e-10, 1e-6, 1e-3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("boundary", ["neumann", "periodic"])
def test_total_variation_where_a_hardly_sees_constants(seen: float, dtype: torch.dtype, boundary: Any):
    row = torch.tensor([[1.0, seen - 1.0]], dtype=torch.float64).to(dtype)
    y = torch.tensor([1.0], dtype=dtype)
    net = Firenet(Matrix(row), Gradient((2,), boundary), lam=0.1, schedule=AdaptiveRestarts(1e-4, 200))
    solution = net.solve(y)
    total = row.to(torch.float64).sum().item()
    # A constant image of 1 / total fits exactly and has no variation: the minimum is zero, unless A1 is.
    for found in (solution, certify(net.problem, solution.image, y)):
        if total != 0:
            assert found.lower_bound.item() == 0
            assert found.gap.item() == found.objective.item()
        else:
            differences = 2 if boundary == "periodic" else 1  # between the two pixels
            assert found.lower_bound.item() == pytest.approx(0.1 * differences, rel=1e-3)
    if total == 0:
        assert solution.status is Status.TOLERANCE_REACHED


# --- operators from outside -------------------------------------------------------------------------------------------


class Own(LinearOperator):
    """A user's operator: a matrix and a backward map."""

    def __init__(self, matrix: torch.Tensor, back: torch.Tensor, bound: float | None = None) -> None:
        bound = float(torch.linalg.matrix_norm(matrix, 2)) * 1.01 if bound is None else bound
        super().__init__((matrix.shape[1],), (matrix.shape[0],), NormBound(bound, "proven", "svd"))
        self.forth, self.back = matrix, back

    def _forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.forth.mT

    def _adjoint(self, y: torch.Tensor) -> torch.Tensor:
        return y @ self.back.mT


def own(dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).standard_normal((40, 60)) / math.sqrt(40)).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_right_adjoint_is_a_condition_that_is_stated(dtype: torch.dtype):
    matrix = own(dtype)
    operator = Own(matrix, matrix.mT.clone())
    check = check_adjoint(operator)
    assert check.passed
    assert check.dtype == dtype
    assert check.defect <= 64 * torch.finfo(dtype).eps  # sums of 60 products
    net = Firenet(operator, lam=0.3, schedule=AdaptiveRestarts(1e-4))
    y = matrix[:, 0] - matrix[:, 7]
    solution = net.solve(y)
    assert solution.status is Status.TOLERANCE_REACHED
    (condition,) = solution.conditions
    assert f"{check.defect:.1e}" in condition
    certificate = certify(net.problem, solution.image, y)
    assert certificate.kind == "conditional"
    assert certificate.conditions == solution.conditions
    assert certify(Firenet(Matrix(matrix), lam=0.3).problem, solution.image, y).kind == "proven"


def test_measurements_are_never_rounded_to_the_precision_of_an_operator():
    """Above the largest lambda the minimum is the norm of y, which a bound from rounded measurements exceeds."""

    class Single(Own):
        def _forward(self, x: torch.Tensor) -> torch.Tensor:
            return super()._forward(x.to(torch.complex64 if x.is_complex() else torch.float32))

        def _adjoint(self, y: torch.Tensor) -> torch.Tensor:
            return super()._adjoint(y.to(torch.complex64 if y.is_complex() else torch.float32))

    eye = torch.eye(40)
    operator = Single(eye, eye)
    assert operator.arithmetic == torch.float32
    y = torch.full((40,), 1 - 2**-26, dtype=torch.float64)  # in single precision 1
    problem = SynthesisProblem(operator, None, 2.0)
    proof = problem.prove(torch.zeros(40), -y / torch.linalg.vector_norm(y), y)
    assert proof.lower_bound.item() <= math.sqrt(40) * (1 - 2**-26)
    assert proof.lower_bound.item() == pytest.approx(math.sqrt(40), rel=1e-5)


@pytest.mark.parametrize(
    "fault", ["3 % noise", "1e-9 longer", "a row forgotten", "conjugate forgotten", "NaN", "shape"]
)
def test_a_wrong_adjoint_is_refused_by_name(fault: str):
    matrix = own()
    back = matrix.mT.clone()
    if fault == "3 % noise":
        noise = torch.from_numpy(np.random.default_rng(1).standard_normal((60, 40)))
        back = back + 0.03 * noise * torch.linalg.matrix_norm(matrix, 2) / torch.linalg.matrix_norm(noise, 2)
    elif fault == "1e-9 longer":
        back = back * (1 + 1e-9)
    elif fault == "a row forgotten":
        back[:, 3] = 0
    elif fault == "conjugate forgotten":
        matrix = matrix * (1 + 1j)
        back = matrix.mT.clone()
    elif fault == "NaN":
        back[0, 0] = math.nan
    else:
        back = back[:59]
    operator = Own(matrix, back)
    messages = {"NaN": "Finite numbers", "shape": "fails on zeros of all of these"}
    message = messages.get(fault, "the adjoint is not the adjoint of A")
    with pytest.raises(BadInput, match=message):
        Firenet(operator, lam=0.3)
    with pytest.raises(BadInput, match=message):
        certify(
            SynthesisProblem(operator, None, 0.3), torch.zeros(60).to(matrix.dtype), torch.ones(40).to(matrix.dtype)
        )


def test_an_adjoint_that_goes_wrong_later_is_a_numerical_error():
    """A gap below minus its rounding is a proof: where no test saw the fault, it says so."""
    matrix = own()
    operator = Own(matrix, matrix.mT.clone())
    net = Firenet(operator, lam=0.3, schedule=AdaptiveRestarts(1e-6, 400))
    y = matrix[:, 0] + torch.from_numpy(np.random.default_rng(2).standard_normal(40)) * 0.05
    operator.back = operator.back * 0.5  # the lower bound is now up to twice the minimum
    solution = net.solve(y)
    assert solution.status is Status.WRONG_ADJOINT
    assert "check_adjoint" in Status.WRONG_ADJOINT.advice
    assert solution.lower_bound.item() == 0
    good = Firenet(Matrix(matrix), lam=0.3, schedule=AdaptiveRestarts(1e-8)).solve(y)
    with pytest.raises(NumericalError, match="the adjoint is not the adjoint of A"):
        certify(net.problem, good.image, y, dual=2 * good.dual)


def test_the_default_lambda_depends_on_the_gain_and_not_on_the_bound():
    matrix = own()
    shape = (60,)
    lams = {Firenet(Own(matrix, matrix.mT, bound), UndecimatedWavelet(shape, "haar", 2)).lam for bound in (5.0, 50.0)}
    assert len(lams) == 1
    # Hutchinson's estimate from 8 draws in 40 dimensions: a relative deviation of (2 / (8 * 40))^(1/2) for equal rows.
    assert Own(matrix, matrix.mT).gain == pytest.approx(Matrix(matrix).gain, rel=0.25)
    scaled = Firenet(Matrix(1e6 * matrix)).lam / Firenet(Matrix(matrix)).lam
    assert scaled == pytest.approx(1e6, rel=1e-12)


# --- what changes arithmetic behind our back --------------------------------------------------------------------------


def test_autocast_and_reduced_precision_change_nothing():
    matrix = own(torch.float32)
    y = matrix[:, 0] - 2 * matrix[:, 1]
    makers = {
        "matrix": lambda: Firenet(Matrix(matrix), lam=0.1, schedule=FixedSteps(50)).solve(y),
        "adaptive": lambda: Firenet(Matrix(matrix), lam=0.1, schedule=AdaptiveRestarts(1e-3)).solve(y),
        "call": lambda: Firenet(Matrix(matrix), lam=0.1, schedule=FixedSteps(20))(y),
        "operator": lambda: Matrix(matrix)(matrix[0]),
        "wavelets": lambda: Firenet(
            SubsampledFourier(torch.ones(16, 16)), Wavelet((16, 16), "db2"), schedule=FixedSteps(5)
        ).solve(torch.ones(16, 16) + 0j),
    }

    def image(made: Any) -> torch.Tensor:
        return made if isinstance(made, torch.Tensor) else made.image

    before = torch.get_float32_matmul_precision()
    for make in makers.values():
        plain = image(make())
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(image(make()), plain)
            assert torch.is_autocast_enabled("cpu")
        torch.set_float32_matmul_precision("medium")
        try:
            assert torch.equal(image(make()), plain)
            assert torch.get_float32_matmul_precision() == "medium"
        finally:
            torch.set_float32_matmul_precision(before)


# --- numbers that are not finite, and those beyond the range ----------------------------------------------------------


def test_nan_is_never_a_small_gap():
    sensing = SubsampledFourier(torch.ones(16, 16))
    net = Firenet(sensing, Wavelet((16, 16), "db2"))
    c = certify(net.problem, torch.full((16, 16), 3e38), sensing(torch.ones(16, 16)))
    assert not c.relative_gap.item() < 1e30
    matrix = own(torch.float32)
    solution = Firenet(Matrix(matrix * 1e-20), lam=1e-21, schedule=AdaptiveRestarts(1e-3)).solve(matrix[:, 0])
    assert solution.status is not Status.TOLERANCE_REACHED or math.isfinite(solution.objective.item())
    assert not (math.isnan(solution.gap.item()) and solution.relative_gap.item() <= 1)


@pytest.mark.parametrize("scale", [1e-300, 1e-200, 1e-30, 1.0, 1e30, 1e140])
def test_a_certificate_at_any_scale(scale: float):
    """(P3) is homogeneous in y: nothing but the unit changes."""
    matrix = own()
    y = matrix[:, 0] - 2 * matrix[:, 1] + 0.1 * matrix[:, 5]
    problem = Firenet(Matrix(matrix), lam=0.1).problem
    z = torch.zeros(60, dtype=torch.float64)
    z[0], z[1] = 1, -2
    plain = certify(problem, z, y, budget=0)
    scaled = certify(problem, z * scale, y * scale, budget=0)
    assert scaled.objective.item() / scale == pytest.approx(plain.objective.item(), rel=1e-12)
    assert scaled.gap.item() / scale == pytest.approx(plain.gap.item(), rel=1e-9)


# --- (P1) -------------------------------------------------------------------------------------------------------------


def test_points_that_do_not_fit_the_data_are_said_to():
    for seed in range(6):
        rng = np.random.default_rng(seed)
        A = rng.standard_normal((5, 9))
        x = np.zeros(9)
        x[2] = 1
        y = A @ x
        e = rng.standard_normal(5)
        y = y + 0.05 * np.linalg.norm(y) * e / np.linalg.norm(e)
        noise = 0.05 * float(np.linalg.norm(y))
        s = Firenet(Matrix(A), noise=noise, schedule=RadialSearch(1e-6, 300)).solve(y)
        assert (s.relative_violation > 1e-6) == (s.violation.item() > noise * 1e-6 + s.rounding.item())
        if s.relative_violation > 1e-6:
            assert s.status is Status.DOES_NOT_FIT
            assert s.relative_gap >= s.relative_violation
        else:
            assert s.status in (Status.TOLERANCE_REACHED, Status.LAYER_LIMIT, Status.PRECISION_LIMIT)


def test_zero_is_not_optimal_where_it_does_not_fit():
    A = torch.tensor([[1, 0.5, 0], [0.2, 1, 1]], dtype=torch.float64)
    y = torch.tensor([1.0, 2.0], dtype=torch.float64)
    c = certify(Firenet(Matrix(A), noise=0.1).problem, torch.zeros(3, dtype=torch.float64), y)
    assert c.violation.item() == pytest.approx(math.sqrt(5) - 0.1, rel=1e-12)
    assert c.relative_gap.item() >= c.relative_violation.item() == pytest.approx((math.sqrt(5) - 0.1) / 0.1, rel=1e-9)


def test_that_no_image_fits_is_proved():
    """Two rows that contradict each other: every x has a residual of at least |y_1 - y_2| / sqrt 2."""
    A = np.array([[1.0, 0.5, 0.0], [1.0, 0.5, 0.0], [0.0, 1.0, 1.0]])
    y = np.array([1.0, 2.0, 0.5])
    nearest = 1 / math.sqrt(2)
    for noise, expected in ((0.5 * nearest, Status.NO_IMAGE_FITS), (1.01 * nearest, Status.TOLERANCE_REACHED)):
        s = Firenet(Matrix(A), noise=noise, schedule=AdaptiveRestarts(1e-4, 500)).solve(y)
        assert s.status is expected
    s = Firenet(Matrix(A), Gradient((3,)), noise=0.5 * nearest, schedule=AdaptiveRestarts(1e-4, 500)).solve(y)
    assert s.status is Status.NO_IMAGE_FITS
    stack = firenet.operators.VerticalStack([Matrix(A), Matrix(A)])  # an operator without a right inverse
    s = Firenet(stack, noise=0.1, schedule=AdaptiveRestarts(1e-4, 300)).solve(np.concatenate([y, y]))
    assert s.status is Status.NO_IMAGE_FITS


def test_a_noise_level_above_the_data_is_answered_at_the_door():
    matrix = own()
    net = Firenet(Matrix(matrix), noise=100.0)
    with pytest.warns(DoubtfulInput, match="the image is zero"):
        s = net.solve(matrix[:, 0])
    assert not s.image.any()
    assert s.status is Status.TOLERANCE_REACHED
    assert s.objective.item() == s.gap.item() == s.relative_gap.item() == 0


# --- norm bounds ------------------------------------------------------------------------------------------------------


def test_norm_bounds_survive_underflow_and_changes_in_place():
    tiny = Matrix(torch.full((2100, 2100), 1e-200, dtype=torch.float64)).norm_bound
    assert tiny.value == pytest.approx(2.1e-197, rel=1e-10)
    assert tiny.value >= 2.1e-197
    coils = MultiCoilFourier(torch.ones(4), torch.full((2, 4), 1e-200 + 0j, dtype=torch.complex128))
    assert coils.norm_bound.value == pytest.approx(math.sqrt(2) * 1e-200, rel=1e-12)
    A = Matrix(torch.eye(3, dtype=torch.float64))
    A.matrix.mul_(100)
    assert A.norm_bound.value == pytest.approx(100, rel=1e-12)
    assert A.gain == pytest.approx(100, rel=1e-12)
    A.matrix = torch.eye(3, dtype=torch.float64) * 7
    assert A.norm_bound.value == pytest.approx(7, rel=1e-12)


def test_a_bound_of_somebody_elses_that_may_be_stale_is_refused():
    class Weighted(LinearOperator):
        weight: torch.Tensor

        def __init__(self) -> None:
            super().__init__((3,), (3,), NormBound(1.0, "exact", "ones"))
            self.register_buffer("weight", torch.ones(3, dtype=torch.float64))

        def _forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * self.weight

        def _adjoint(self, y: torch.Tensor) -> torch.Tensor:
            return y * self.weight

    A = Weighted()
    assert A.norm_bound.value == 1
    assert A.double().norm_bound.kind == "exact"
    assert A.float().norm_bound == NormBound(1.0, "estimate", "ones, before a cast to fewer digits")
    A.weight.mul_(5)
    with pytest.raises(BadInput, match="changed after"):
        _ = A.norm_bound
    A.norm_bound = NormBound(5.0, "exact", "five")
    assert A.norm_bound.value == 5


# --- warm starts far away ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_warm_start_of_1e8_has_a_rounding_that_holds(dtype: torch.dtype):
    matrix = own(dtype)
    y = matrix[:, 0] - 2 * matrix[:, 1]
    solution = Firenet(Matrix(matrix), lam=0.1, schedule=FixedSteps(3)).solve(y, x0=torch.full((60,), 1e8, dtype=dtype))
    z = solution.image.numpy().astype(np.longdouble)
    residual = matrix.numpy().astype(np.longdouble) @ z - y.numpy().astype(np.longdouble)
    exact = np.longdouble(0.1) * np.abs(z).sum() + np.sqrt((residual**2).sum())
    assert abs(np.longdouble(solution.objective.item()) - exact) <= solution.rounding.item()
    assert solution.rounding.item() <= 1e-12 * exact
