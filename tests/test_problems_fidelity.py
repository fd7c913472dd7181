"""(P1) and (P2) beside (P3): conjugates and proximal maps by their definitions, minimisers against Clarabel, the gap at
every point, and that the three have common minimisers."""

from __future__ import annotations

import itertools
import math
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor

from cases import COMPLEX, REAL, SETUPS, Setup, draw, recovery, weights_of, with_zero
from draws import uniform
from firenet import (
    AdaptiveRestarts,
    Firenet,
    Gradient,
    LinearOperator,
    Matrix,
    MultiCoilFourier,
    PaperSchedule,
    SparsityLevels,
    Status,
    SubsampledFourier,
    SubsampledWalsh,
    Wavelet,
    certify,
)
from firenet.guarantees import Constants, Guarantee
from firenet.problems import AnalysisProblem, Ball, Norm, Squared
from firenet.problems.fidelity import Fidelity
from firenet.solver import FixedSteps, RadialSearch
from firenet.transforms import WalshHadamard
from laws import Probe, assert_near, assert_refuses, norm
from oracles import Recovery, null_space_gamma

FIDELITIES: list[Fidelity] = [Norm(), Squared(), Ball(0.0), Ball(0.7)]
fidelities = pytest.mark.parametrize("fidelity", FIDELITIES, ids=str)
Kind = Literal["squared", "ball"]


def t(x: float) -> Tensor:
    return torch.tensor(x, dtype=REAL)


def value(fidelity: Fidelity, r: float) -> float:
    return math.inf if fidelity.violation(t(r)).item() > 0 else fidelity.value(t(r)).item()


@fidelities
def test_conjugates_are_suprema(fidelity: Fidelity) -> None:
    grid = [*np.linspace(0, 20, 2001), 0.7]
    for s in (0.0, 0.3, 0.99, 1.0, 3.0):
        found = fidelity.conjugate(t(s)).item()
        best = max(r * s - value(fidelity, float(r)) for r in grid)
        if isinstance(fidelity, Norm) and s > 1:
            continue  # infinite: `multiple` keeps to the unit ball
        assert found == pytest.approx(best, abs=2e-2)
        assert found >= best - 1e-12


@fidelities
@pytest.mark.parametrize("sigma", [1e-3, 1.0, 40.0])
@pytest.mark.parametrize("s", [0.0, 1e-9, 0.5, 2.0, 1e6])
def test_the_factor_is_the_proximal_map_of_the_conjugate(fidelity: Fidelity, sigma: float, s: float) -> None:
    """v minimises sigma phi*(v) + (v - s)^2 / 2 over v >= 0."""
    v = fidelity.factor(t(s), t(sigma)).item() * s

    def cost(v: float) -> float:
        if isinstance(fidelity, Norm) and v > 1 + 1e-12:
            return math.inf
        return sigma * fidelity.conjugate(t(v)).item() + (v - s) ** 2 / 2

    for other in (0.0, v * (1 + 1e-3), v * (1 - 1e-3), v + 1e-3, s, 1.0):
        assert cost(v) <= cost(other) * (1 + 1e-12) + 1e-15


@fidelities
def test_the_multiple_is_feasible_and_the_best_where_it_is_not_linear(fidelity: Fidelity) -> None:
    for inner, s, most in itertools.product((-1.0, 0.0, 0.4, 30.0), (0.0, 0.5, 2.0), (1.0, 0.1)):
        k = fidelity.multiple(t(inner), t(s), t(most)).item()
        assert 0 <= k <= most
        if isinstance(fidelity, Norm):
            assert k * s <= 1
        if isinstance(fidelity, Squared):
            worth = [j * inner - fidelity.conjugate(t(j * s)).item() for j in (k, 0.0, most, most / 2, 0.9 * k)]
            assert worth[0] >= max(worth) - 1e-12


# -------------------------------------------------------------------------------------------------- right inverses

INVERTIBLE: dict[str, LinearOperator] = {
    "Fourier": SubsampledFourier(with_zero(4, 5)),
    "centred": SubsampledFourier(with_zero(4, 5), centred=True),
    "Walsh": SubsampledWalsh(with_zero(4, 4)),
    "Fourier of wavelets": SubsampledFourier(with_zero(8, 8)) @ Wavelet((8, 8), "db2", 2).H,
    "Fourier of padded wavelets": SubsampledFourier(with_zero(5, 3)) @ Wavelet((5, 3), "haar", 1).H,
    "Walsh of Walsh": SubsampledWalsh(with_zero(8)) @ WalshHadamard((8,)).H,
    "diagonal": Matrix(torch.diag(torch.tensor([3.0, 0.2, 5.0], dtype=COMPLEX))[:2]),
    "orthogonal rows": Matrix(torch.linalg.qr(draw((9, 4), REAL, 3))[0].mT * torch.tensor([[2.0], [1], [0.5], [3]])),
}


@pytest.mark.parametrize("name", INVERTIBLE)
def test_right_inverses(name: str) -> None:
    A = INVERTIBLE[name]
    dtype = REAL if name in ("Walsh", "Walsh of Walsh", "orthogonal rows") else COMPLEX
    y = A.restrict(draw((3, *A.out_shape), dtype))
    assert A.has_minimum_norm
    x = A.minimum_norm(y)
    assert x is not None
    assert_near(A(x), y, 1e-11 * norm(y))
    # of least norm: orthogonal to what A does not see
    null = draw((3, *A.in_shape), dtype, 5)
    null = null - _must(A.minimum_norm(A(null)))
    assert abs((null.conj() * x).sum()) <= 1e-11 * norm(x) * norm(null)
    packed = A.compact()
    assert packed.has_minimum_norm
    y_ = packed.pack_measured(y)
    assert_near(packed(_must(packed.minimum_norm(y_))), y_, 1e-11 * norm(y))


def _must(x: Tensor | None) -> Tensor:
    assert x is not None
    return x


@pytest.mark.parametrize(
    "A",
    [
        MultiCoilFourier(with_zero(4, 5), draw((2, 4, 5), COMPLEX, 3)),
        Matrix(draw((4, 9), REAL, 1)),
        Matrix(torch.ones(5, 3, dtype=REAL)),
        Matrix(torch.zeros(2, 3, dtype=REAL)),
        Matrix(torch.eye(4, dtype=REAL)) @ Matrix(draw((4, 9), REAL, 1)),
    ],
    ids=["coils", "matrix", "tall", "zero", "product"],
)
def test_where_there_is_no_cheap_right_inverse(A: LinearOperator) -> None:
    assert not A.has_minimum_norm
    assert A.minimum_norm(torch.zeros(A.out_shape, dtype=COMPLEX)) is None
    assert not A.compact().has_minimum_norm


def test_a_matrix_that_has_moved_is_looked_at_again() -> None:
    A = Matrix(torch.eye(3, dtype=REAL))
    assert A.has_minimum_norm
    A.load_state_dict({"matrix": torch.ones(3, 3, dtype=REAL)})
    assert not A.has_minimum_norm


# -------------------------------------------------------------------------------------------------------- minimisers

SCHEDULES = (AdaptiveRestarts(1e-6, 40000), FixedSteps(100), AdaptiveRestarts(1e-1, 300), PaperSchedule(4, 10))
ANALYSED = [
    "Fourier",
    "Fourier, 3-D",
    "coils",
    "Walsh",
    "matrix",
    "complex matrix",
    "union",
    "TV",
    "TV, coils",
    "Neumann",
]
SYNTHESISED = ["orthonormal", "padded", "Walsh frame"]


def posed(setup: Setup, form: str, kind: Kind, y: Tensor, weights: Tensor | None) -> tuple[dict[str, Any], Recovery]:
    """Arguments for the network, and the problem for Clarabel in the network's own variable."""
    A, W = setup.dense()
    lam, noise = (1.0, 0.4 * norm(y)) if kind == "ball" else (0.05 * norm(y), 0.0)
    arguments: dict[str, Any] = {"noise": noise} if kind == "ball" else {"fidelity": kind, "lam": lam}
    if form == "analysis":
        return arguments, recovery(setup, weights, lam, y, kind, noise)
    w = np.ones(len(W)) if weights is None else weights.expand(setup.frame.out_shape).numpy().ravel()
    eye = np.eye(len(W), dtype=W.dtype)
    return arguments, Recovery(A @ W.conj().T, eye, y.numpy().ravel(), w, lam, None, kind, noise)


@pytest.mark.parametrize("kind", ["squared", "ball"])
@pytest.mark.parametrize(
    ("name", "form"),
    [*((n, "analysis") for n in ANALYSED), *((n, f) for n in SYNTHESISED for f in ("synthesis", "analysis"))],
)
@pytest.mark.parametrize("weighted", [False, True])
def test_reaches_the_optimum_and_every_gap_is_valid(name: str, form: Any, kind: Kind, weighted: bool) -> None:
    setup = SETUPS[name]()
    y, weights = setup.data(), weights_of(setup, "each" if weighted else "none")
    arguments, known = posed(setup, form, kind, y, weights)
    best = known.optimum()
    for schedule in SCHEDULES:
        net = Firenet(setup.sensing, setup.frame, weights=weights, schedule=schedule, form=form, **arguments)
        s = net.solve(y)
        z = s.coefficients.numpy().ravel()
        found, excess = known.objective(z), known.violation(z)
        assert s.violation is not None
        assert s.objective.item() == pytest.approx(found, rel=1e-9)
        assert s.violation.item() == pytest.approx(excess, rel=1e-6, abs=1e-12 * norm(y))
        if setup.sensing.has_minimum_norm:
            assert s.violation.item() <= 1e-12 * norm(y)
        q = s.dual.numpy().ravel()
        p = -(known.A.conj().T @ q) if s.dual_sparse is None else s.dual_sparse.numpy().ravel()
        bound = known.bound(q, p)
        assert bound <= best.value * (1 + 1e-6)
        # The gap bounds the suboptimality, and the excess is in it.
        size = found + norm(y)
        assert s.gap.item() >= found - best.value - 1e-7 * size
        assert s.gap.item() >= float(np.linalg.norm(q)) * excess * 0.999 + min(found - best.value, 0) - 1e-7 * size
        assert found - bound <= s.gap.item() + 1e-8 * size
        if schedule == SCHEDULES[0]:
            assert s.statuses == (Status.TOLERANCE_REACHED,)
            assert abs(found - best.value) <= 1e-5 * best.value
            assert excess <= 1e-5 * norm(y)
        # with derivatives the same numbers
        if isinstance(schedule, FixedSteps | PaperSchedule):
            image = net(y.clone().requires_grad_())
            assert_near(image.detach(), s.image, 1e-11 * norm(s.image))


@pytest.mark.parametrize(("name", "lam"), [("Fourier", 0.1), ("coils", 0.15), ("orthonormal", 0.3), ("TV", 0.11)])
def test_the_three_problems_have_common_minimisers(name: str, lam: float) -> None:
    """theory: a minimiser of (P3) with residual r > 0 solves (P1) with noise r and (P2) with 2 lambda r."""
    setup = SETUPS[name]()
    y, schedule = setup.data(), AdaptiveRestarts(1e-7, 60000)
    first = Firenet(setup.sensing, setup.frame, lam=lam, schedule=schedule).solve(y)
    r = norm(setup.sensing(first.image) - y)
    assert 0.05 * norm(y) < r < 0.95 * norm(y)
    for arguments in ({"noise": r}, {"fidelity": "squared", "lam": 2 * lam * r}):
        other = Firenet(setup.sensing, setup.frame, schedule=schedule, **arguments).solve(y)  # pyright: ignore[reportArgumentType]
        assert_near(other.image, first.image, 1e-4 * norm(first.image))


@pytest.mark.parametrize("form", ["analysis", "synthesis"])
def test_nothing_is_left_where_the_noise_is_larger_than_the_data(form: Any) -> None:
    setup = SETUPS["orthonormal"]()
    y = setup.data()
    net = Firenet(setup.sensing, setup.frame, noise=1.01 * norm(y), form=form, schedule=AdaptiveRestarts(1e-6))
    with pytest.warns(UserWarning, match="the image is zero"):
        s = net.solve(y)
    assert s.statuses == (Status.TOLERANCE_REACHED,)
    assert norm(s.image) <= 1e-5 * norm(y)


@pytest.mark.parametrize("dtype", [REAL, COMPLEX], ids=str)
def test_basis_pursuit_finds_a_sparse_signal(dtype: torch.dtype) -> None:
    A = Matrix(draw((24, 48), dtype, 2) / 24**0.5)
    x = torch.zeros(48, dtype=dtype)
    x[[3, 17, 40]] = torch.tensor([1.0, -2.0, 0.5], dtype=dtype)
    s = Firenet(A, noise=0.0, schedule=AdaptiveRestarts(1e-8, 20000)).solve(A(x))
    assert s.violation is not None
    assert norm(s.image - x) <= 1e-5 * norm(x)
    assert s.violation.item() <= 1e-5 * norm(A(x))
    assert s.objective.item() == pytest.approx(3.5, rel=1e-5)


@pytest.mark.parametrize("kind", ["squared", "ball"])
@pytest.mark.parametrize("name", ["Fourier", "coils", "orthonormal"])
@pytest.mark.parametrize("schedule", [AdaptiveRestarts(1e-4, 120), RadialSearch(1e-2, 150)], ids=type)
def test_a_batch_is_a_loop_and_frozen_is_the_same(name: str, kind: Kind, schedule: Any) -> None:
    setup = SETUPS[name]()
    y = torch.stack([setup.data(), setup.data(seed=4)])
    arguments, _ = posed(setup, "analysis", kind, y[0], None)
    net = Firenet(setup.sensing, setup.frame, schedule=schedule, **arguments)
    together = net.solve(y)
    assert together.violation is not None
    for k, item in enumerate(y):
        alone = net.solve(item)
        assert together.layers[k] == alone.layers
        assert_near(together.image[k], alone.image, 1e-8 * norm(alone.image))
        frozen = net.following(alone.schedule.frozen())  # pyright: ignore[reportAttributeAccessIssue]
        assert frozen.fidelity == net.fidelity
        assert_near(frozen(item), alone.image, 1e-8 * norm(alone.image))
        assert_near(frozen.solve(item).image, alone.image, 1e-8 * norm(alone.image))


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_scales(scale: float) -> None:
    """(P1) scales with its noise, (P2) with its lambda; in (P1) lambda only scales the objective."""
    setup = SETUPS["Fourier"]()
    y, schedule = setup.data(), AdaptiveRestarts(1e-5, 5000)
    for arguments, scaled in (
        ({"noise": 0.5}, {"noise": 0.5 * scale}),
        ({"fidelity": "squared", "lam": 0.3}, {"fidelity": "squared", "lam": 0.3 * scale}),
    ):
        usual = Firenet(setup.sensing, setup.frame, schedule=schedule, **arguments).solve(y)  # pyright: ignore[reportArgumentType]
        other = Firenet(setup.sensing, setup.frame, schedule=schedule, **scaled).solve(scale * y)  # pyright: ignore[reportArgumentType]
        assert other.layers == usual.layers
        assert_near(other.image / scale, usual.image, 1e-6 * norm(usual.image))
    usual = Firenet(setup.sensing, setup.frame, schedule=schedule, noise=0.5).solve(y)
    other = Firenet(setup.sensing, setup.frame, schedule=schedule, noise=0.5, lam=7.0).solve(y)
    assert_near(other.image, usual.image, 1e-8 * norm(usual.image))
    assert other.objective.item() == pytest.approx(7 * usual.objective.item(), rel=1e-8)


@pytest.mark.parametrize("kind", ["squared", "ball"])
@pytest.mark.parametrize("name", ["Fourier", "coils"])
def test_single_precision(name: str, kind: Kind) -> None:
    setup = SETUPS[name]()
    y = setup.data()
    arguments, _ = posed(setup, "analysis", kind, y, weights_of(setup, "none"))
    sensing = setup.sensing.to(torch.float32)
    net = Firenet(sensing, setup.frame, schedule=AdaptiveRestarts(1e-3, 3000), **arguments)
    s = net.solve(y.to(torch.complex64))
    assert s.statuses == (Status.TOLERANCE_REACHED,)
    assert s.image.dtype == torch.complex64
    assert s.violation is not None
    assert s.violation.item() <= (1e-6 if name == "Fourier" else 1e-2) * norm(y)


# ------------------------------------------------------------------------------------------------------- certificates


@pytest.mark.parametrize("kind", ["squared", "ball"])
@pytest.mark.parametrize("name", ["Fourier", "coils", "orthonormal", "TV"])
def test_any_point_is_certified(name: str, kind: Kind) -> None:
    setup = SETUPS[name]()
    y = setup.data()
    arguments, known = posed(setup, "analysis", kind, y, weights_of(setup, "none"))
    best = known.optimum()
    net = Firenet(setup.sensing, setup.frame, form="analysis", **arguments)
    for x in (
        torch.zeros(setup.sensing.in_shape, dtype=COMPLEX),
        setup.sensing.adjoint(y),
        draw(setup.sensing.in_shape, COMPLEX),
    ):
        for budget in (0, 400):
            c = certify(net.problem, x, y, budget=budget)
            z = x.numpy().ravel()
            assert c.violation is not None
            assert c.objective.item() == pytest.approx(known.objective(z), rel=1e-9, abs=1e-12)
            assert c.violation.item() == pytest.approx(known.violation(z), rel=1e-9, abs=1e-12)
            assert c.gap.item() >= known.objective(z) - best.value - 1e-7 * norm(y)
            assert c.gap.item() >= 0
            assert math.isfinite(c.gap.item())
        # refined it is nearly tight
        q = c.dual.numpy().ravel()
        exact = known.objective(z) - best.value + float(np.linalg.norm(q)) * known.violation(z)
        assert c.gap.item() <= 1.2 * exact + 1e-2 * norm(y)


@pytest.mark.parametrize("kind", ["norm", "squared", "ball"])
def test_error_bounds_hold(kind: str) -> None:
    """The bound of the distance to the true coefficients, for points from anywhere."""
    rho, m, n = 0.5, 16, 20
    A = draw((m, n), REAL, 1) / m**0.5
    gamma = null_space_gamma(A.numpy(), rho)
    guarantee = Guarantee(A, Constants(SparsityLevels((n,), (1,)), rho=rho, gamma=gamma))
    for seed in range(6):
        x = 0.01 * draw((n,), REAL, seed)
        x[seed] = 2.0
        e = 0.05 * Probe(REAL, seed=seed).draw((m,))
        y = A @ x + e
        arguments: dict[str, Any] = {
            "norm": {"lam": 0.1},
            "squared": {"lam": 0.1, "fidelity": "squared"},
            "ball": {"noise": 0.2},
        }[kind]
        net = Firenet(Matrix(A), schedule=AdaptiveRestarts(1e-4), **arguments)
        defect = (x.abs().sum() - x.abs().max()).item()
        for z in (net.solve(y).image, x, torch.zeros(n, dtype=REAL), draw((n,), REAL, 50 + seed)):
            c = certify(net.problem, z, y, guarantee=guarantee, sparsity_defect=defect, noise=norm(e))
            assert c.error_bound is not None
            assert c.error_bound.item() >= norm(z - x) - 1e-9


# ----------------------------------------------------------------------------------------------------------- refusals


def test_refusals() -> None:
    A = Matrix(torch.eye(3, dtype=REAL))
    assert_refuses(lambda: Firenet(A, fidelity="squared"), "lam")
    assert_refuses(lambda: Firenet(A, fidelity="cubed"), "'cubed'")  # pyright: ignore[reportArgumentType]
    assert_refuses(lambda: Firenet(A, fidelity="squared", lam=1.0, noise=1.0), "noise=1.0")
    assert_refuses(lambda: Firenet(A, noise="5%"), "'5%'")  # pyright: ignore[reportArgumentType]
    assert Firenet(A, fidelity=Squared(), lam=1.0).fidelity == Squared()
    for noise in (-1.0, math.nan, math.inf):
        assert_refuses(lambda noise=noise: Firenet(A, noise=noise), "noise")
    setup = SETUPS["TV"]()
    assert_refuses(lambda: Firenet(setup.sensing, setup.frame, form="synthesis"), "tight frame")
    net = Firenet(setup.sensing, setup.frame, schedule=AdaptiveRestarts(1e-1, 20))
    s = net.solve(setup.data())
    assert_refuses(lambda: net.solve(setup.data(), dual0=(s.dual, None)), "p in the analysis form")
    assert_refuses(lambda: net.solve(setup.data(), dual0=(s.dual[:2], s.dual_sparse)), "(4, 5)")


def test_a_warm_dual_is_soon_there() -> None:
    setup = SETUPS["union"]()
    y = setup.data()
    net = Firenet(setup.sensing, setup.frame, noise=0.5, schedule=AdaptiveRestarts(1e-5, 5000))
    cold = net.solve(y)
    warm = net.solve(y, x0=cold.image, dual0=(cold.dual, cold.dual_sparse))
    assert warm.layers.item() < cold.layers.item()


# ------------------------------------------------------------------------------------------- at every look of the loop


@pytest.mark.parametrize("kind", ["norm", "squared", "ball"])
@pytest.mark.parametrize(
    ("name", "form"),
    [
        *((n, "analysis") for n in ("Fourier", "coils", "Walsh", "TV", "Neumann", "wavelets and TV")),
        ("orthonormal", "synthesis"),
    ],
)
def test_values_enclose_the_minimum_at_every_look(name: str, form: Any, kind: Any) -> None:
    """Whatever the steps do: both objectives are at least the minimum, both dual values at most."""
    setup = SETUPS[name]()
    y = setup.data()
    if kind == "norm":
        arguments: dict[str, Any] = {"lam": 0.1}
        A, W = setup.dense()
        synthesis = Recovery(A @ W.conj().T, np.eye(len(W), dtype=W.dtype), y.numpy().ravel(), np.ones(len(W)), 0.1)
        known = recovery(setup, weights_of(setup, "none"), 0.1, y) if form == "analysis" else synthesis
    else:
        arguments, known = posed(setup, form, kind, y, weights_of(setup, "none") if form == "analysis" else None)
    least = known.optimum().value
    net = Firenet(setup.sensing, setup.frame, form=form, **arguments)
    layers, _ = net._layers(y, None, track=True)
    unit = layers.problem.first_weight * norm(y)
    bound = layers.operator.norm_bound.value
    slack = 1e-7 * (least + norm(y))
    for k, weight in enumerate((unit, 10 * unit, 0.1 * unit, unit)):
        tau, sigma = (torch.tensor([w / bound], dtype=REAL) for w in (weight, 1 / weight))
        layers.set_steps(tau, sigma, torch.tensor([1.0 if k % 2 else 1.7], dtype=REAL))
        for _ in range(6):
            layers.run(3)
            values = layers.evaluate()
            for lower in (values.dual_last, values.dual_average):
                assert lower.item() <= least + slack
            for upper in (values.last, values.average):
                # where the point does not fit the data, what is missing is made up for by a dual point's norm
                dual = min(values.dual_last.item(), values.dual_average.item())
                assert (
                    upper.item() >= (dual if kind == "ball" and not setup.sensing.has_minimum_norm else least) - slack
                )
        layers.place("average", keep_dual=True)
        layers.forget()


@pytest.mark.parametrize("dtype", [REAL, COMPLEX], ids=str)
def test_total_variation_recovers_jumps(dtype: torch.dtype) -> None:
    heights = draw((4,), dtype, 3)
    x = torch.cat([heights[k].expand(16) for k in range(4)]).to(COMPLEX)
    mask = uniform(64, seed=1) < 0.5
    mask[0] = True
    sensing = SubsampledFourier(mask)
    net = Firenet(sensing, Gradient((64,)), noise=0.0, schedule=AdaptiveRestarts(1e-9, 40000))
    s = net.solve(sensing(x))
    assert norm(s.image - x) <= 1e-5 * norm(x)
    assert s.violation is not None
    assert s.violation.item() <= 1e-12 * norm(x)
    assert norm(sensing.adjoint(sensing(x)) - x) >= 0.1 * norm(x)


# ------------------------------------------------------------------------------- where no point is easily made to fit


@pytest.mark.parametrize("share", [0.0, 0.5, 0.95])
def test_a_noise_level_that_cannot_be_met_is_never_called_reached(share: float) -> None:
    A = Matrix(draw((12, 5), REAL, 1))
    y = draw((12,), REAL, 2)
    least = norm(y - A.matrix @ torch.linalg.pinv(A.matrix) @ y)
    for schedule in (AdaptiveRestarts(1e-3, 1000), RadialSearch(1e-3, 1000)):
        s = Firenet(A, noise=share * least, schedule=schedule).solve(y)
        assert s.violation is not None
        assert s.statuses != (Status.TOLERANCE_REACHED,) or s.violation.item() <= 1e-3 * norm(y)
        assert s.violation.item() >= (1 - share) * least * (1 - 1e-9)
    s = Firenet(A, noise=share * least, schedule=PaperSchedule(5, 20)).solve(y, tolerance=1e-1)
    assert s.violation is not None
    assert s.statuses != (Status.TOLERANCE_REACHED,) or s.violation.item() <= 1e-1 * norm(y)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("check", [1, 10])
def test_what_is_called_reached_fits_the_data(share: float, check: int) -> None:
    for seed in range(4):
        A, y = Matrix(draw((8, 20), REAL, seed)), draw((8,), REAL, 50 + seed)
        s = Firenet(A, noise=share * norm(y), schedule=AdaptiveRestarts(1e-3, 20000, check=check)).solve(y)
        assert s.statuses == (Status.TOLERANCE_REACHED,)
        assert s.violation is not None
        assert s.violation.item() <= 1e-3 * norm(y)
        assert s.relative_gap.item() <= 1e-3
        known = Recovery(A.matrix.numpy(), np.eye(20), y.numpy(), np.ones(20), 1.0, None, "ball", share * norm(y))
        assert s.objective.item() == pytest.approx(known.optimum().value, rel=1e-2)


def test_tightness_of_a_certificate_is_true() -> None:
    A, y = Matrix(draw((8, 20), REAL, 0)), draw((8,), REAL, 50)
    known = Recovery(A.matrix.numpy(), np.eye(20), y.numpy(), np.ones(20), 1.0, None, "ball", 0.3 * norm(y))
    best = known.optimum()
    net = Firenet(A, noise=0.3 * norm(y))
    for z in (torch.from_numpy(best.x) * 1.02, torch.from_numpy(best.x) * 0.9, torch.zeros(20, dtype=REAL)):
        true = known.objective(z.numpy()) - best.value
        for budget in (3, 10, 20, 300):
            c = certify(net.problem, z, y, budget=budget)
            if c.violation is not None and c.violation.item() > 1e-9:
                assert c.tightness.item() == math.inf
            elif math.isfinite(c.tightness.item()):
                assert c.gap.item() <= c.tightness.item() * true * (1 + 1e-6) + 1e-9


@pytest.mark.parametrize("boundary", ["periodic", "neumann"])
def test_long_images_in_single_precision(boundary: Any) -> None:
    """The lowest eigenvalue of the Laplacian is below the rounding of its highest."""
    n = 16384
    A = SubsampledWalsh(torch.ones(n, dtype=torch.bool))
    x = torch.cos(2 * math.pi * torch.arange(n) / n)
    y = A(x)
    problem = AnalysisProblem(A, Gradient((n,), boundary), None, 1e-3)
    gap = problem.gap(x, -y / torch.linalg.vector_norm(y), torch.zeros(1, n), y).item()
    assert gap >= 0
    q, p = problem.feasible(-y / torch.linalg.vector_norm(y), torch.zeros(1, n))
    off = torch.linalg.vector_norm(A.adjoint(q) + problem.sparsify.adjoint(p))
    assert off <= 1e-2 * torch.linalg.vector_norm(q)
