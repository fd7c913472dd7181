"""Verified numbers against balls of 320 bits, 200 digits, dense matrices in 80 bits, and points that are known."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from itertools import product
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import pytest
import pywt
import torch
from torch import Tensor

import firenet.verified.proof
from draws import normal
from firenet import (
    AdaptiveRestarts,
    BadInput,
    Firenet,
    Gradient,
    LinearOperator,
    Matrix,
    MultiCoilFourier,
    SubsampledFourier,
    SubsampledWalsh,
    UndecimatedWavelet,
    Wavelet,
    certify,
)
from firenet.guarantees import Constants, Guarantee
from firenet.kinds import LADDER
from firenet.operators import NormBound, VerticalStack
from firenet.sparsity import SparsityLevels
from firenet.transforms import Union, WalshHadamard
from firenet.verified import verify
from firenet.verified.balls import BallSpace
from firenet.verified.directed import above, below, root
from firenet.verified.doubles import DoubleSpace
from firenet.verified.filterbanks import decimated_defect, undecimated_defect
from firenet.verified.losses import Loss
from firenet.verified.maps import map_of
from firenet.verified.proof import least_singular_value
from firenet.verified.roots import roots_of_unity
from firenet.verified.space import Unbounded
from soundness import verified_claims
from soundness_cases import CL, LOSS, gradient, random_case, undecimated, walsh

U = 2.0**-53
RNG = np.random.default_rng


def drawn(shape: tuple[int, ...]) -> Any:
    keep = RNG(1).random(shape) < 0.6
    keep.flat[0] = True
    return keep


def maps(shape: tuple[int, ...], scale: float = 1.0) -> Any:
    parts = RNG(2).standard_normal((2, 3, *shape))
    return scale * (parts[0] + 1j * parts[1])


SHAPES = [(8,), (7,), (22,), (4, 4), (3, 10), (4, 2, 3)]
OPERATORS: list[LinearOperator] = [
    *(SubsampledFourier(drawn(s), centred=c) for s, c in product(SHAPES, (False, True))),
    MultiCoilFourier(drawn((4, 6)), maps((4, 6), 1e-200)),
    MultiCoilFourier(drawn((5, 3)), maps((5, 3)).astype(np.complex64), centred=True),
    *(SubsampledWalsh(drawn(s)) for s in ((8,), (4, 4), (1, 2, 8))),
    WalshHadamard((16,)),
    *(Wavelet(s, w, 1) for s, w in product(((8,), (7,), (4, 6)), ("haar", "sym4"))),
    Wavelet((8, 8), "db3", 3),
    *(UndecimatedWavelet(s, w, 1) for s, w in product(((8,), (5,), (3, 4), (2, 2, 3)), ("haar", "sym4"))),
    UndecimatedWavelet((9, 8), "db2", 3),
    *(Gradient(s, b) for s, b in product(((8,), (3, 5), (2, 3, 2)), ("periodic", "neumann"))),
    Union([Gradient((4, 6)), UndecimatedWavelet((4, 6), "haar", 1)], [1e-30, 1e60]),
    Matrix(RNG(3).standard_normal((5, 9)) * 1e300),
    Matrix((RNG(3).standard_normal((5, 9)) * (1 + 1j)).astype(np.complex64)),
    SubsampledFourier(drawn((8, 8))) @ Wavelet((8, 8), "db2").H,
    SubsampledFourier(drawn((5, 7))) @ Wavelet((5, 7), "haar", 1).H,
    VerticalStack([Matrix(RNG(4).standard_normal((3, 8)) * 1e9), SubsampledFourier(drawn((8,)))]),
    SubsampledFourier(drawn((8,))).subset(torch.arange(8) < 5),
]


def argument(operator: LinearOperator, adjoint: bool, seed: int) -> Any:
    shape = operator.out_shape if adjoint else operator.in_shape
    parts = RNG(seed).standard_normal((2, *shape))
    return parts[0] + 1j * parts[1]


# --- maps -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operator", OPERATORS, ids=lambda a: f"{type(a).__name__} {a.in_shape}")
def test_the_radius_holds_the_error(operator: LinearOperator):
    balls, doubles, of = BallSpace(), DoubleSpace(), map_of(operator)
    with balls.precisely():
        for adjoint, scale in product((False, True), (1.0, 1e-300, 1e-150)):
            x = argument(operator, adjoint, 5) * scale * 10.0 ** RNG(6).uniform(-8, 0, 1)
            found = doubles.mapped(of, doubles.vector(x), adjoint=adjoint)
            exact = balls.mapped(of, balls.vector(x), adjoint=adjoint)
            off = balls.norm(balls.sum(balls.vector(found.centre), exact, -1))
            assert off.high <= found.radius
            # What torch computes is the same map, or the two would prove something of another problem.
            t = operator.restrict(torch.from_numpy(x)) if adjoint else torch.from_numpy(x)
            plain = (operator.adjoint(t) if adjoint else operator(t)).numpy()
            size = balls.norm(exact).high
            if size > 1e-250:
                assert balls.norm(balls.sum(balls.vector(plain), exact, -1)).high <= 1e-11 * size
                # And it is not absurdly large: a thousand roundings.
                assert found.radius <= 2000 * U * operator.norm_bound.value * (1 + 1e-9) * doubles.norm(
                    doubles.vector(x)
                ).high * (3 if isinstance(operator, Matrix | MultiCoilFourier | VerticalStack) else 1)


def test_losses_of_zero_are_noticed(monkeypatch: pytest.MonkeyPatch):
    """The test above can fail: nearly every map rounds."""
    balls, doubles, missed = BallSpace(), DoubleSpace(), 0
    with balls.precisely():
        for operator in OPERATORS[::3]:
            of = map_of(operator)
            of.loss = Loss(of.loss.norm, 0.0, 0.0)
            x = argument(operator, False, 5)
            found, exact = doubles.mapped(of, doubles.vector(x)), balls.mapped(of, balls.vector(x))
            missed += balls.norm(balls.sum(balls.vector(found.centre), exact, -1)).high > found.radius
    assert missed >= 0.8 * len(OPERATORS[::3])


def along(x: Any, matrices: list[Any]) -> Any:
    """Applies a matrix of mpmath numbers along each axis."""
    for axis, m in enumerate(matrices):
        x = np.moveaxis(np.tensordot(m, x, axes=(1, axis)), 0, axis)
    return x


def digits_of(operator: LinearOperator) -> Callable[[Any], Any]:
    """The map in 200 digits, from its definition."""
    shape = operator.in_shape
    if isinstance(operator, SubsampledFourier):
        each = [
            np.array([[mpmath.expjpi(mpmath.mpf(-2 * j * k) / n) / mpmath.sqrt(n) for k in range(n)] for j in range(n)])
            for n in shape
        ]
        return lambda x: np.where(operator.mask.numpy(), along(x, each), 0)
    if isinstance(operator, WalshHadamard):
        each = [np.vectorize(lambda v: mpmath.mpf(int(v)))(np.sign(walsh((n,)))) / mpmath.sqrt(n) for n in shape]
        return lambda x: along(x, each)
    assert isinstance(operator, UndecimatedWavelet)
    bank = pywt.Wavelet(operator.wavelet)  # pyright: ignore[reportAttributeAccessIssue]
    (n,) = shape

    def step(x: Any, taps: Any, stretch: int) -> Any:
        places = [(mpmath.mpf(t) / mpmath.sqrt(2), (j - len(taps) // 2) * stretch) for j, t in enumerate(taps)]
        return np.array([sum(t * x[(i - at) % n] for t, at in places) for i in range(n)])

    def bands(x: Any) -> Any:
        low, found = x, []
        for level in range(operator.depth):
            found.append(step(low, bank.dec_hi, 2**level))
            low = step(low, bank.dec_lo, 2**level)
        return np.array([*found, low])

    return bands


@pytest.mark.parametrize("scale", [1e-300, 1.0, 1e300])
@pytest.mark.parametrize(
    "operator",
    [
        SubsampledFourier(drawn((15,))),
        SubsampledFourier(drawn((3, 4))),
        SubsampledFourier(drawn((11,))),
        WalshHadamard((8, 2)),
        UndecimatedWavelet((9,), "sym4", 2),
    ],
    ids=lambda a: f"{type(a).__name__} {a.in_shape}",
)
def test_two_hundred_digits(operator: LinearOperator, scale: float):
    with mpmath.workdps(200):
        x = argument(operator, False, 7) * scale
        x.flat[-1] = 0
        found = DoubleSpace().mapped(map_of(operator), DoubleSpace().vector(x))
        exact = digits_of(operator)(np.vectorize(mpmath.mpc, otypes=[object])(x))
        off = mpmath.sqrt(sum(abs(mpmath.mpc(c) - e) ** 2 for c, e in zip(found.centre.flat, exact.flat, strict=True)))
        assert off <= mpmath.mpf(found.radius.numerator) / found.radius.denominator


@pytest.mark.parametrize("n", [1, 2, 3, 8, 23, 60, 256])
def test_roots_of_unity(n: int):
    with mpmath.workdps(200):
        for k, w in enumerate(roots_of_unity(n).tolist()):
            assert abs(mpmath.mpc(w) - mpmath.expjpi(mpmath.mpf(-2 * k) / n)) <= 1.01 * U
            if 4 * k % n == 0:
                assert w == (1, -1j, -1, 1j)[4 * k // n]


def test_scalars_are_rounded_in_their_direction():
    numbers = [Fraction(n, d) * Fraction(10) ** e for n, d, e in product((1, 2, 7), (1, 3), (-330, -310, 0, 300, 308))]
    for x in [*numbers, Fraction(0), Fraction(10) ** 400]:
        up, down = above(x), below(x)
        assert down <= x <= up
        assert up == down or (up == math.nextafter(down, math.inf))
        r = root(x)
        assert r.low**2 <= x <= r.high**2
        assert r.high - r.low <= r.high / 2**120


@pytest.mark.parametrize("name", ["haar", "db4", "sym4", "sym10", "coif5"])
def test_defects_and_singular_values_of_the_filter_tables(name: str):
    n = 64
    for W in (Wavelet((n,), name, 3), UndecimatedWavelet((n,), name, 3)):
        dense = W.as_matrix(torch.float64).numpy()
        values = np.linalg.svd(dense, compute_uv=False)
        of = map_of(W)
        assert float(least_singular_value(W)) <= values.min() * (1 + 1e-13)
        assert values.max() * (1 - 1e-13) <= of.loss.norm <= 1 + 1e-7  # 1e-9 a step
    assert 0 <= max(decimated_defect(name), undecimated_defect(name)) < 1e-9


@pytest.mark.parametrize("W", [Gradient((6, 9)), Gradient((5, 4), "neumann"), Gradient((1, 2))], ids=str)
def test_the_smallest_singular_value_of_differences(W: Gradient):
    values = np.linalg.svd(W.as_matrix(torch.float64).numpy(), compute_uv=False)
    least = values[values > 1e-9].min()
    assert 0.6 * least <= float(least_singular_value(W)) <= least


def test_the_maps_are_those_of_the_campaign():
    """Balls against the dense matrices that the campaign writes in 80 bits."""
    balls, shape = BallSpace(), (4, 3)
    dense = {
        UndecimatedWavelet(shape, "sym4", 1): np.concatenate(undecimated(shape, "sym4", 1)),
        Gradient(shape, "neumann"): gradient(shape, "neumann"),
    }
    with balls.precisely():
        for operator, matrix in dense.items():
            x = argument(operator, False, 8)
            found = balls.mapped(map_of(operator), balls.vector(x)).centre.reshape(-1)
            expected = matrix.astype(CL) @ x.reshape(-1).astype(CL)
            assert all(
                abs(complex(a) - complex(b)) <= LOSS + 4 * U * abs(b) for a, b in zip(found, expected, strict=True)
            )


# --- proofs -----------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # some problems are about overflow
def test_random_problems_have_no_false_claim():
    tally: Any = {}
    false = []
    for k in range(24):
        case, _ = random_case(k, 7)
        false += verified_claims(case, tally)
    assert not false
    # They are of both arithmetics, most are bounded from below, and some points fit and others do not.
    assert tally["balls"] >= 8
    assert tally["doubles"] >= 8
    assert tally["positive lower bounds"] >= 16


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_constraint_that_is_too_wide_is_noticed(monkeypatch: pytest.MonkeyPatch):
    """With limits 30 % too large, some lower bound is above the minimum."""
    kept: Any = firenet.verified.proof.best_multiple

    def wider(*a: Any) -> Any:
        return kept(*a[:-1], a[-1] * Fraction(7, 10))

    monkeypatch.setattr(firenet.verified.proof, "best_multiple", wider)
    assert any(verified_claims(random_case(k, 7)[0], {}) for k in range(24))


SHAPE = (16, 12)


def posed(form: str, dtype: torch.dtype = torch.complex128, **keys: Any) -> tuple[Firenet, Tensor, Tensor]:
    """A network, its data, and the image."""
    x = normal(*SHAPE, dtype=torch.complex128, seed=3).cumsum(0).cumsum(1) / 30
    sensing = SubsampledFourier(drawn(SHAPE))
    frame: Any = {
        "synthesis": Wavelet(SHAPE, "db2", 2),
        "analysis": Union([UndecimatedWavelet(SHAPE, "haar", 1), UndecimatedWavelet(SHAPE, "sym4", 2)]),
        "tv": Gradient(SHAPE),
    }[form]
    y = (sensing(x) + sensing.restrict(normal(*SHAPE, dtype=torch.complex128, seed=4)) / 100).to(dtype)
    keys = {"lam": 0.01} | keys if "noise" not in keys else keys
    return Firenet(sensing, frame, schedule=AdaptiveRestarts(1e-2, 60), **keys), y, x


FIDELITIES: list[dict[str, Any]] = [{}, {"fidelity": "squared"}, {"noise": 0.1}]


@pytest.mark.parametrize("keys", FIDELITIES, ids=["norm", "squared", "ball"])
@pytest.mark.parametrize("form", ["synthesis", "analysis", "tv"])
def test_verified_numbers_are_near_the_plain_ones(form: str, keys: dict[str, Any]):
    net, y, _ = posed(form, **keys)
    s = net.solve(y)
    v = verify(net.problem, s.coefficients, net.operator.restrict(y), s.dual, s.dual_sparse)
    allowed = 10 * s.rounding.item()
    assert v.least_objective <= s.objective.item() + allowed
    assert abs(v.objective - s.objective.item()) <= allowed
    assert v.objective - v.least_objective <= allowed
    assert v.lower_bound >= s.lower_bound.item() - allowed
    assert 0 <= v.gap <= s.gap.item() + 3 * allowed
    assert v.arithmetic == "doubles"
    if "noise" in keys:
        assert v.violation <= 1e-12
        assert v.least_violation <= s.violation.item()


def test_a_dense_problem_loses_nothing():
    A = RNG(0).standard_normal((12, 20))
    net = Firenet(Matrix(A), lam=0.3, schedule=AdaptiveRestarts(1e-6, 500))
    y = torch.from_numpy(A[:, 3] + 0.1 * RNG(1).standard_normal(12))
    s = net.solve(y)
    v = verify(net.problem, s.coefficients, y, s.dual)
    assert v.arithmetic == "balls"
    assert v.objective == math.nextafter(v.least_objective, math.inf)
    assert abs(v.objective - s.objective.item()) <= s.rounding.item() + 1e-15
    assert v.lower_bound >= s.lower_bound.item()


@pytest.mark.parametrize("keys", FIDELITIES[:2], ids=["norm", "squared"])
def test_certify_returns_them(keys: dict[str, Any]):
    net, y, x = posed("analysis", **keys)
    batch = torch.stack([y, 2 * y])
    points = torch.stack([x, torch.zeros_like(x)])
    plain = certify(net.problem, points, batch, budget=60)
    c = certify(net.problem, points, batch, budget=60, verified=True)
    assert (plain.kind, c.kind) == ("proven", "verified")
    assert c.verified is not None
    assert [v.objective for v in c.verified] == c.objective.tolist()
    assert (c.rounding == 0).all()
    assert c.dual.shape == batch.shape
    assert ((c.objective - plain.objective).abs() <= 10 * plain.rounding).all()
    assert ((plain.lower_bound - c.lower_bound) <= 10 * plain.rounding).all()
    assert (c.gap >= c.objective - c.lower_bound).all()
    assert (c.relative_gap * c.lower_bound >= c.gap * (1 - 4 * U)).all()
    assert plain.verified is None


def test_single_precision_data_are_verified_in_double():
    net, y, x = posed("analysis", torch.complex64)
    c = certify(net.problem, x, y, budget=60, verified=True)  # the point keeps its digits
    exact = certify(net.problem, x, y.to(torch.complex128), budget=60, verified=True)
    assert c.objective == exact.objective
    assert (c.lower_bound - exact.lower_bound).abs() <= 1e-4 * exact.lower_bound


def test_every_dual_point_is_valid():
    net, y, x = posed("tv")
    s = net.solve(y)
    best = s.objective.item()
    for seed in range(5):
        q = normal(*SHAPE, dtype=torch.complex128, seed=seed) * 10.0 ** (3 * seed - 6)
        p = None if seed % 2 else normal(2, *SHAPE, dtype=torch.complex128, seed=seed)
        assert 0 <= verify(net.problem, x, y, q, p).lower_bound <= best
    nothing = verify(net.problem, x, y, torch.full_like(y, math.nan))
    assert nothing.lower_bound == 0
    assert nothing.gap == nothing.objective


def test_forged_points():
    net, y, _ = posed("synthesis")
    z = torch.zeros(net.operator.in_shape, dtype=torch.complex128)
    for wrong in (math.nan, math.inf):
        z[0, 0] = wrong
        v = verify(net.problem, z, y, y)
        assert (v.objective, v.gap, v.relative_gap) == (math.inf, math.inf, math.inf)
        with pytest.raises(BadInput, match="A finite point"):
            certify(net.problem, z, y, verified=True)


@pytest.mark.parametrize("scale", [1e-300, 1e-30, 1e30, 1e290])
@pytest.mark.parametrize("form", ["synthesis", "analysis"])
def test_scale_does_not_matter(form: str, scale: float):
    """(P3) is homogeneous, but for what becomes denormal."""
    net, y, x = posed(form)
    z = x if form == "analysis" else net.sparsify(x)  # pyright: ignore[reportOptionalCall]
    unit = 2.0 ** round(math.log2(scale))
    plain = certify(net.problem, z, y, budget=100)
    one = verify(net.problem, z, y, plain.dual, plain.dual_sparse)
    many = verify(net.problem, z * unit, y * unit, plain.dual, plain.dual_sparse)
    assert many.objective == pytest.approx(one.objective * unit, rel=1e-13)
    assert many.lower_bound == pytest.approx(one.lower_bound * unit, rel=1e-11)


def test_overflow_and_zeros():
    net, y, x = posed("analysis")
    v = verify(net.problem, x * 1e308, y, y)
    assert v.objective == math.inf or v.objective > 1e300
    nothing = torch.zeros_like(y)
    v = verify(net.problem, torch.zeros_like(x), nothing, nothing)
    assert (v.objective, v.lower_bound, v.gap, v.relative_gap) == (0, 0, 0, 0)
    tiny = Firenet(Matrix(torch.full((2, 3), 1e-310, dtype=torch.float64)), lam=5e-324)
    ones = torch.ones(3, dtype=torch.float64)
    v = verify(tiny.problem, ones, torch.zeros(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64))
    exact = 3 * Fraction(5e-324) + Fraction(3 * 1e-310) * Fraction(2**0.5)
    assert Fraction(v.least_objective) <= exact * (1 + Fraction(1, 10**9))
    assert Fraction(v.objective) >= exact * (1 - Fraction(1, 10**9))


def test_constants_that_the_operator_does_not_see():
    """A1 = 0 exactly: then every q is orthogonal to it. A1 = rounding: then nothing is proved."""
    for edge, positive in ((0.0, True), (1e-40, None)):
        row = np.array([[1.0, -2.0, 1.0 + 0.0, edge], [3.0, 0.0, -3.0, 0.0]])
        net = Firenet(Matrix(row), Gradient((4,)), lam=0.05, schedule=AdaptiveRestarts(1e-4, 300))
        y = torch.tensor([1.0, 2.0], dtype=torch.float64)
        s = net.solve(y)
        v = verify(net.problem, s.coefficients, y, s.dual, s.dual_sparse)
        assert v.lower_bound <= v.objective
        if positive:
            assert v.lower_bound > 0.5 * v.objective
    hidden = drawn((4, 4))
    hidden[0, 0] = False
    net = Firenet(SubsampledFourier(hidden), Gradient((4, 4)), lam=0.05, schedule=AdaptiveRestarts(1e-4, 300))
    y = net.operator.restrict(normal(4, 4, dtype=torch.complex128, seed=1))
    s = net.solve(y)
    assert verify(net.problem, s.coefficients, y, s.dual, s.dual_sparse).lower_bound >= 0.99 * s.lower_bound.item()


# --- what is refused, and what is said ----------------------------------------------------------------------------


class Own(SubsampledFourier):
    """Somebody's operator, a subclass of one of this library's."""


class Doubled(LinearOperator):
    """Somebody's operator."""

    def __init__(self) -> None:
        super().__init__((4,), (4,), NormBound(2.0, "exact", "twice the identity"))

    def _forward(self, x: Tensor) -> Tensor:
        return 2 * x

    def _adjoint(self, y: Tensor) -> Tensor:
        return 2 * y


@pytest.mark.parametrize("operator", [Own(np.ones(4, bool)), Doubled()], ids=lambda a: type(a).__name__)
def test_operators_from_outside_are_refused(operator: LinearOperator):
    net = Firenet(operator, lam=0.1)
    y = torch.ones(4, dtype=torch.complex128)
    with pytest.raises(BadInput, match="An operator of this library, whose every rounding is bounded"):
        certify(net.problem, y, y, verified=True)


def test_a_guarantee_is_refused():
    A = np.linalg.qr(RNG(0).standard_normal((6, 6)))[0]
    guarantee = Guarantee(A, Constants(SparsityLevels((6,), (1,)), rho=0.5, gamma=1.0))
    net = Firenet(Matrix(A), lam=0.1)
    y = torch.ones(6, dtype=torch.float64)
    with pytest.raises(BadInput, match="verified without a guarantee"):
        certify(net.problem, y, y, verified=True, guarantee=guarantee, sparsity_defect=0.1, noise=0.1)


def test_weights_over_too_many_scales_prove_nothing():
    space = DoubleSpace()
    with pytest.raises(Unbounded):
        space.worst(space.vector(np.ones(2)), np.array([1e-300, 1e10]), Fraction(0))


def test_the_ladder_is_that_of_the_documents():
    page = Path(__file__).parent.parent / "docs" / "notation.md"
    if not page.exists():
        pytest.skip("an installed package has no docs")
    text = page.read_text(encoding="utf-8").split("## How sure a number is")[1]
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    assert {row[0]: row[1] for row in rows if row[0] in LADDER} == LADDER
    named = [row[1] for row in rows if len(row) == 3 and row[0] != "number"]
    assert named
    assert all(any(word in kind for word in LADDER) for kind in named)
