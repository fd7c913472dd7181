"""Attacks are calibrated on maps whose worst case is known, and never weaker than noise."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from scipy import stats

from draws import normal
from firenet import Firenet, Matrix, SubsampledFourier, UndecimatedWavelet
from firenet.audit.ascent import Search
from firenet.audit.attack import antun, attack, transferred
from firenet.audit.differences import INCOMPARABLE, Effort, chi_squared_above, sketch
from firenet.audit.survey import survey
from firenet.errors import BadInput
from firenet.sensing import multilevel
from firenet.solver import FixedSteps
from laws import assert_near, norm

ASCENTS = ("gradient", "momentum", "adam", "spsa")
ascents = pytest.mark.parametrize("ascent", ASCENTS)


def draw(*shape: int, complex_: bool = False, seed: int = 0) -> torch.Tensor:
    dtype = torch.complex128 if complex_ else torch.float64
    return normal(*shape, dtype=dtype, seed=seed)


@ascents
@pytest.mark.parametrize("complex_", [False, True])
def test_a_linear_map_is_amplified_by_its_largest_singular_value(ascent: Any, complex_: bool) -> None:
    sensing = Matrix(draw(8, 10, complex_=complex_))
    R = draw(10, 8, complex_=complex_, seed=1)
    y = sensing(draw(10, complex_=complex_, seed=2))
    worst = torch.linalg.matrix_norm(R, 2).item()
    steps = 300 if ascent == "spsa" else 60
    for found in attack(lambda m: R @ m, sensing, y, [0.1, 0.01, 1.0], ascent=ascent, steps=steps):
        assert found.amplification <= worst * (1 + 1e-9)
        assert found.amplification >= (0.9 if ascent == "spsa" else 0.99) * worst
        assert found.size == pytest.approx(found.budget, rel=1e-5)
        assert found.size <= found.budget
        assert found.error >= found.noise > 0
        assert found.by in (ascent, "differences")
        assert found.error == pytest.approx(torch.linalg.vector_norm(R @ found.e).item(), rel=1e-9)


@ascents
def test_what_a_change_of_the_object_can_do_is_the_singular_value_of_R_on_the_range_of_A(ascent: Any) -> None:
    tall = Matrix(draw(12, 5))
    R = draw(5, 12, seed=1)
    left = torch.linalg.svd(tall.matrix, full_matrices=False)[0]
    worst = torch.linalg.matrix_norm(R @ left, 2).item()
    y = tall(draw(5, seed=2))
    (found,) = attack(lambda m: R @ m, tall, y, 0.05, ascent=ascent, domain="image", steps=400)
    assert 0.9 * worst <= found.amplification <= worst * (1 + 1e-9)
    assert torch.linalg.vector_norm(found.e - left @ (left.T @ found.e)) < 1e-10


@ascents
def test_a_constant_map_is_not_amplified(ascent: Any) -> None:
    sensing = Matrix(draw(4, 6))
    constant = torch.ones(6, dtype=torch.float64)
    (found,) = attack(lambda m: constant + 0 * m.sum(), sensing, draw(4), 0.1, ascent=ascent)
    assert (found.error, found.amplification, found.noise) == (0, 0, 0)


def test_a_window_is_attacked_by_its_largest_entry() -> None:
    sensing, R = Matrix(draw(8, 10)), draw(10, 8, seed=1)
    window = (slice(2, 5),)
    (found,) = attack(lambda m: R @ m, sensing, draw(8), 0.1, window=window, steps=100)
    worst = torch.linalg.vector_norm(R[window], dim=1).max().item()
    assert 0.99 * worst <= found.amplification <= worst * (1 + 1e-9)


def test_a_network_is_attacked_through_its_gradient_and_nothing_unmeasured_is_touched() -> None:
    mask = multilevel((16, 16), 0.5).samples
    sensing = SubsampledFourier(mask)
    net = Firenet(sensing, UndecimatedWavelet((16, 16), "haar", 2), lam=0.02, schedule=FixedSteps(4))
    y = sensing(draw(16, 16, complex_=True))
    told: list[tuple[int, int]] = []
    small, large = attack(net, sensing, y, [0.01, 0.1], steps=4, progress=lambda d, m: told.append((d, m)))
    for found in (small, large):
        assert found.error > found.noise
        assert (found.e[~mask] == 0).all()
        assert math.isfinite(found.amplification)
        assert torch.equal(found.image, net(y + found.e).detach())
    assert large.error > small.error
    assert told[-1][0] <= told[-1][1]
    again = attack(net, sensing, y, [0.01, 0.1], steps=4)
    assert [a.error for a in again] == [small.error, large.error]
    (blind,) = attack(lambda m: net(m).detach(), sensing, y, 0.1, ascent="spsa", steps=4, calls=0)
    assert blind.error >= blind.noise


def test_bad_input() -> None:
    sensing, y = Matrix(draw(4, 6)), draw(4)
    R = draw(6, 4)
    for budgets in (0.0, [-1.0], [], math.nan):
        with pytest.raises(BadInput, match="Budgets"):
            attack(lambda m: R @ m, sensing, y, budgets)
    with pytest.raises(BadInput, match="shape"):
        attack(lambda m: R @ m, sensing, draw(5), 0.1)
    with pytest.raises(BadInput, match="At least one"):
        attack(lambda m: R @ m, sensing, y, 0.1, steps=0)
    with pytest.raises(BadInput, match="spsa"):
        attack(lambda m: (R @ m).detach(), sensing, y, 0.1)
    with pytest.raises(BadInput, match="finite"):
        attack(lambda m: R @ m * math.nan, sensing, y, 0.1)
    # one that breaks under perturbation is as bad as can be, and said to be; so is what it makes of noise
    (found,) = attack(lambda m: R @ m if torch.equal(m, y) else R @ m * math.nan, sensing, y, 0.1, steps=2)
    assert math.isnan(found.error)
    assert math.isnan(found.noise)
    assert found.effort is not None
    assert found.effort.gradient == INCOMPARABLE
    assert not found.effort.jacobian
    assert "differences of that size, which are not finite" in found.effort.doubt
    assert found.effort.concentration == 1


class Told(Matrix):
    """A matrix that keeps what it was applied to."""

    def __init__(self, matrix: torch.Tensor) -> None:
        super().__init__(matrix)
        self.asked: list[torch.Tensor] = []

    def _forward(self, x: torch.Tensor) -> torch.Tensor:
        self.asked.append(x.detach().clone())
        return super()._forward(x)


def test_the_ascent_of_antun_follows_its_formula() -> None:
    """Of a linear R the gradient is known: the steps of the paper, written out."""
    sensing, rate = Told(draw(8, 10)), 0.001
    R, x = draw(10, 8, seed=1), draw(10, seed=2)
    found = antun(lambda m: R @ m, sensing, x, snapshots=(1, 3), seed=4)
    M = R @ sensing.matrix
    first, r = sensing.asked[:2]
    assert first.equal(x)
    assert 0 <= r.min() < 0.5e-5 < r.max() <= 1e-5
    v, seen = torch.zeros(10, dtype=torch.float64), []
    for _ in range(3):
        v = 0.9 * v + rate * (M.T @ (M @ (x + r) - x) - 0.1 * r)
        r = r + v
        seen.append(r)
    # A gradient is two products, each rounded to 8 + 10 units of what is added (two more for norms and steps), in both
    # ways of writing it; the velocity sums at most three, and a step stretches what came before by 1 + rate |M|^2.
    size = torch.linalg.matrix_norm(M, 2).item()
    terms = size * (size + 1) * (torch.linalg.vector_norm(x) + torch.linalg.vector_norm(r)).item()
    stretch = (1 + rate * size**2) ** 3 * sensing.norm_bound.value
    allowed = 2 * 20 * torch.finfo(torch.float64).eps * 3 * 3 * rate * terms * stretch
    for p, wanted in zip(found, (seen[0], seen[2]), strict=True):
        assert_near(p.e, sensing(wanted), allowed)
        assert allowed <= 1e-9 * norm(p.e)
        part = torch.linalg.vector_norm(sensing(wanted)) / torch.linalg.vector_norm(sensing(x))
        assert p.size == pytest.approx(part.item(), rel=1e-9)
        assert p.by == "antun"
    assert [p.size for p in antun(lambda m: R @ m, sensing, x)] == sorted(
        p.size for p in antun(lambda m: R @ m, sensing, x)
    )
    with pytest.raises(BadInput, match="Snapshots"):
        antun(lambda m: R @ m, sensing, x, snapshots=())
    with pytest.raises(BadInput, match="gradient"):
        antun(lambda m: (R @ m).detach(), sensing, x)
    with pytest.raises(BadInput, match="finite"):
        antun(lambda m: torch.sqrt((R @ m).clamp(max=0)), sensing, x)


def test_transfer_is_judged_anew_within_its_budget() -> None:
    sensing, R, y = Matrix(draw(8, 10)), draw(10, 8, seed=1), draw(8, seed=2)
    (found,) = attack(lambda m: R @ m, sensing, y, 0.1)
    (same,) = transferred(lambda m: R @ m, sensing, y, [found])
    assert same.error == pytest.approx(found.error, rel=1e-5)
    (scaled,) = transferred(lambda m: (3 * R @ m).detach(), sensing, y, [found])  # a black box will do
    assert scaled.amplification == pytest.approx(3 * found.amplification, rel=1e-5)
    assert scaled.by == "transfer"
    too_large = replace(found, e=100 * found.e)
    (cut,) = transferred(lambda m: R @ m, sensing, y, [too_large])
    assert cut.size <= 0.1
    assert cut.error == pytest.approx(found.error, rel=1e-5)


@pytest.mark.parametrize("ascent", ["gradient", "momentum", "adam"])
def test_also_where_the_leading_singular_values_are_close(ascent: Any) -> None:
    sensing, R, y = Matrix(draw(80, 100)), draw(100, 80, seed=1), draw(80, seed=2)
    values = torch.linalg.svdvals(R)
    assert values[1] > 0.95 * values[0]
    (found,) = attack(lambda m: R @ m, sensing, y, 0.01, ascent=ascent, steps=100)
    assert 0.99 * values[0] <= found.amplification <= values[0] * (1 + 1e-9)


def test_a_larger_budget_is_never_weaker() -> None:
    """All the harm is done by one small perturbation; larger ones on the sphere do none."""
    sensing, y = Matrix(torch.eye(6, dtype=torch.float64)), draw(6)
    size = torch.linalg.vector_norm(y)

    def shy(m: torch.Tensor) -> torch.Tensor:
        e = torch.linalg.vector_norm(m - y) / size
        return y + 100 * (m - y) * torch.where(e <= 0.0101, 1.0, 0.0)

    small, large = attack(shy, sensing, y, [0.01, 0.05], steps=5)
    assert small.error > 0
    assert large.error >= small.error * (1 - 1e-6)


def test_what_is_no_number_is_worse_than_every_number() -> None:
    sensing, y = Matrix(torch.eye(4, dtype=torch.float64)), torch.ones(4, dtype=torch.float64)
    first: list[torch.Tensor] = []

    def broken_in_one_place(m: torch.Tensor) -> torch.Tensor:
        if torch.equal(m, y):
            return m
        if not first:
            first.append(m.detach().clone())
        near = torch.linalg.vector_norm(m - first[0]) < 1e-6
        return m * (math.nan if near else 1.0)

    (found,) = attack(broken_in_one_place, sensing, y, 0.1, steps=5)
    assert math.isnan(found.error)


def test_a_buffer_that_is_written_over_does_not_hide_a_change() -> None:
    sensing, y, buffer = Matrix(draw(4, 6)), draw(4), torch.zeros(6, dtype=torch.float64)
    R = draw(6, 4, seed=1)

    def reconstruct(m: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            buffer.copy_(R @ m)
        return buffer

    (found,) = attack(reconstruct, sensing, y, 0.1, ascent="spsa", steps=5)
    assert found.error > 0


def test_what_found_a_perturbation_is_said() -> None:
    """An effect at one place, which only a hint or the smaller budget shows, and one that noise alone finds."""
    sensing, y = Matrix(torch.eye(40, dtype=torch.float64)), draw(40)
    e = 0.01 * norm(y) * draw(40, seed=1) / norm(draw(40, seed=1))

    aside = draw(40, seed=2)
    aside = aside - e * (aside @ e) / norm(e) ** 2

    def shy(m: torch.Tensor) -> torch.Tensor:
        """Large near e, and falling off where the slope at e leads: no ascent finds more, and there are no ties."""
        off = (m - y - e) / norm(e)
        there = norm(off) < 0.1 and off @ aside < 1e-6
        return y + (m - y) * (1 + 50 * (1 + off @ aside) if there else 1.0)

    small, large = attack(shy, sensing, y, [0.01, 0.05], steps=3, starts=1, hints=[e])
    assert (small.by, large.by) == ("hint", "hint")
    first: list[torch.Tensor] = []

    def unlucky(m: torch.Tensor) -> torch.Tensor:
        """Bad where it is first asked off y, which without differences and hints is random."""
        if not first and not torch.equal(m, y):
            first.append(m.detach().clone())
        return y + (m - y) * (1.0 + 50 * (bool(first) and torch.equal(m, first[0])))

    small, large = attack(unlucky, sensing, y, [0.01, 0.05], steps=3, starts=1, differences=False)
    assert (small.by, large.by) == ("noise", "noise")


@pytest.mark.parametrize("wrong", [{"ascent": "luck"}, {"domain": "dreams"}])
def test_words_that_mean_nothing_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match="Choose"):
        attack(lambda m: m, Matrix(torch.eye(3)), torch.ones(3), 0.1, **wrong)


# --- maps whose worst amplification is known in closed form -----------------------------------------------------------

SIDE = 24
FOURIER = SubsampledFourier(multilevel((SIDE, SIDE), 0.5).samples)
Y = FOURIER(normal(SIDE, SIDE, dtype=torch.float64, seed=5))
D = FOURIER(FOURIER.adjoint(normal(SIDE, SIDE, dtype=torch.complex128, seed=6)))
D = D / torch.linalg.vector_norm(D)
PATTERN = normal(SIDE, SIDE, dtype=torch.float64, seed=7)
PATTERN = PATTERN / torch.linalg.vector_norm(PATTERN)
NORM = torch.linalg.vector_norm(Y)
BUDGET = 0.01


def component(y: torch.Tensor) -> torch.Tensor:
    """Of the perturbation along D, relative to the norm of the data."""
    return ((y - Y) * D.conj()).real.sum() / NORM


def along(y: torch.Tensor, phi: Any) -> torch.Tensor:
    """A*y plus a function of the component along one direction: within t it changes the image by at most t + phi.

    A random perturbation has a component of some twentieth of its size along it.
    """
    return FOURIER.adjoint(y).real + NORM * phi(component(y)) * PATTERN


class Straight(torch.autograd.Function):
    """60 t forward, nothing backward."""

    @staticmethod
    def forward(ctx: Any, t: torch.Tensor) -> torch.Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return 60 * t

    @staticmethod
    def backward(ctx: Any, *slopes: torch.Tensor) -> torch.Tensor:
        return 0 * slopes[0]


# Name: the function, and its largest value within the budget over the budget.
SHAPES = {
    "saturated": (lambda t: 0.6 * torch.tanh(t / 0.004), 0.6 * math.tanh(2.5) / BUDGET),
    "hinge": (lambda t: 120 * torch.relu(t - 0.004), 72.0),
    "even": (lambda t: 6000 * t**2, 60.0),
    "wave": (lambda t: 0.3 * torch.sin(t * math.pi / 0.005), 30.0),
    "late step": (lambda t: 0.6 * torch.sigmoid((t / 0.006 - 1) * 60), 60.0),
}
HIDING = {
    "plain": lambda phi: phi,
    "detached": lambda phi: lambda t: phi(t.detach()),
    "tiny slope": lambda phi: lambda t: phi(t.detach()) + 1e-12 * t,
}


@pytest.mark.parametrize("hiding", HIDING)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_worst_of_a_nonlinear_map_is_found_or_doubted(shape: str, hiding: str) -> None:
    phi, worst = SHAPES[shape]
    hidden = HIDING[hiding](phi)
    (found,) = attack(lambda y: along(y, hidden), FOURIER, Y, BUDGET, starts=2)
    # The adjoint adds at most the perturbation itself.
    assert found.amplification <= worst + 1 + 1e-6
    assert found.effort is not None
    if hiding == "plain":
        assert found.amplification >= 0.98 * worst - 1
    else:
        assert found.amplification > 5 or found.effort.doubt


@pytest.mark.parametrize(
    "name", ["quantised", "custom derivative", "no gradient", "not a number", "quantised data", "randomly exploding"]
)
def test_a_hidden_slope_is_convicted_or_doubted(name: str) -> None:
    """Sixty times the component, its slope hidden in ways that a network may have by chance or by intent."""

    def reconstruct(y: torch.Tensor) -> torch.Tensor:
        if name == "quantised":
            return along(y, lambda t: 60 * torch.round(t / 0.002) * 0.002)
        if name == "custom derivative":
            return along(y, Straight.apply)
        if name == "no gradient":
            return along(y, lambda t: 60 * t).detach()
        if name == "not a number":
            image = along(y, lambda t: 60 * t)
            return torch.sqrt((image * (PATTERN > 0)) ** 2)
        if name == "quantised data":
            return along(y, lambda t: 60 * torch.round(t * 1e6) / 1e6)
        return along(y, lambda t: 60 * t.detach() + 1e-7 * torch.sin(1e9 * t))

    blind = name in ("no gradient", "not a number")
    (found,) = attack(reconstruct, FOURIER, Y, BUDGET, ascent="spsa" if blind else "gradient", starts=1)
    assert found.effort is not None
    assert found.amplification > 30 or found.effort.doubt
    # Had the differences not been looked at, this one would have been taken for the adjoint, of norm 1.
    if name == "custom derivative":
        assert found.effort.gradient == "disagrees"


def test_an_honest_map_is_not_doubted() -> None:
    for reconstruct in (FOURIER.adjoint, lambda y: FOURIER.adjoint(y).abs(), lambda y: along(y, lambda t: 60 * t)):
        (found,) = attack(reconstruct, FOURIER, Y, BUDGET, starts=1)
        assert found.effort is not None
        assert found.effort.doubt == ""
        assert found.effort.gradient == "agrees"
        assert "agrees with 12 differences" in found.effort.text


def test_a_constant_has_no_slope_to_believe() -> None:
    constant = normal(SIDE, SIDE, dtype=torch.float64)
    (found,) = attack(lambda y: constant + 0 * y.abs().sum(), FOURIER, Y, BUDGET, calls=0)
    assert found.error == 0
    assert found.effort is not None
    assert "vanishes" in found.effort.doubt
    (found,) = attack(lambda y: constant + 0 * y.abs().sum(), FOURIER, Y, BUDGET)
    assert found.effort is not None
    assert found.effort.doubt == ""  # the whole Jacobian was taken


def test_a_black_box_is_decided_where_its_whole_jacobian_can_be_seen() -> None:
    """One singular value of 30 among ones of 1, in 4096 dimensions and in one more."""
    for side, calls, decided in ((4096, 4096, True), (4097, 4096, False)):
        y = normal(side, dtype=torch.float64, seed=1)
        d = normal(side, dtype=torch.float64, seed=2)
        d = d / torch.linalg.vector_norm(d)
        image = torch.zeros(8, dtype=torch.float64)
        image[0] = 30.0

        def reconstruct(m: torch.Tensor, d: torch.Tensor = d, image: torch.Tensor = image) -> torch.Tensor:
            return (image * (d @ m) + torch.cat([0 * m[:1], m[:7]])).detach()

        sensing = Identity(side)
        (found,) = attack(reconstruct, sensing, y, BUDGET, ascent="spsa", steps=3, starts=1, calls=calls)
        assert found.effort is not None
        assert found.effort.dimension == side
        assert found.effort.jacobian is decided
        if decided:
            assert found.amplification >= 0.99 * 30
        else:
            assert f"singular value of up to {found.effort.missed:.3g}" in found.effort.doubt
            assert 30 < found.effort.missed < math.inf


class Identity(Matrix):
    """The identity, without its matrix."""

    def __init__(self, side: int) -> None:
        super().__init__(torch.ones(1, 1, dtype=torch.float64))
        self.in_shape = self.out_shape = (side,)

    def _forward(self, x: torch.Tensor) -> torch.Tensor:
        return x

    def _adjoint(self, y: torch.Tensor) -> torch.Tensor:
        return y


def test_what_would_have_been_missed_is_a_bound() -> None:
    """Random maps with one large singular value: it is above what is said to have been missed once in a thousand."""
    beyond = 0
    for seed in range(200):
        m = normal(40, 60, dtype=torch.float64, seed=seed) / 10
        directions = [normal(60, dtype=torch.float64, seed=100 * seed + k + 1) for k in range(6)]
        lengths = [torch.linalg.vector_norm(v).item() for v in directions]
        units = [v / n for v, n in zip(directions, lengths, strict=True)]
        made = sketch(lambda e, m=m: m @ e, units, lengths, 0.1)
        beyond += torch.linalg.matrix_norm(m, 2).item() > made.missed()
    assert beyond <= 3  # more than three in 200 at 0.1 %: once in 50000
    for freedom in (1, 2, 12, 64, 1000):
        bound = chi_squared_above(freedom, 0.999)
        assert stats.chi2.sf(bound, freedom) >= 0.999
        assert bound > 0


@pytest.mark.parametrize("domain", ["measurement", "image"])
@pytest.mark.parametrize("complex_", [False, True])
@pytest.mark.parametrize("shape", [(8, 12), (12, 8)])
def test_what_a_survey_would_have_missed_is_a_bound(domain: Any, complex_: bool, shape: tuple[int, int]) -> None:
    """A map of rank one, for which the bound is the tightest, along the direction on which A is smallest."""
    sensing = Matrix(draw(*shape, complex_=complex_, seed=1))
    d = torch.linalg.svd(sensing.matrix, full_matrices=False)[0][:, -1]
    image = torch.eye(5, dtype=torch.float64)[0]
    y = draw(shape[0], complex_=complex_, seed=4)
    below = 0
    for seed in range(20):
        search = Search(lambda m: 7 * (m * d.conj()).real.sum() * image, sensing, y, "spsa", domain, None, None)
        below += survey(search, 0.5, 0, torch.Generator().manual_seed(seed)).missed < 7
    assert below <= 1  # more than one in 20 at 0.1 %: once in 5000


def test_a_doubt_says_its_reason() -> None:
    sure = Effort(10, 1, 5, 64, 8, "agrees", 0.1, False, 1.0, 2.0)
    assert sure.doubt == ""
    assert replace(sure, concentration=1.25).doubt == ""
    said = "larger random perturbations move the image mostly in one way, "
    said += "1.3 times as much as perturbations of this size do"
    assert replace(sure, concentration=1.26, jacobian=True).doubt == said
    missed = "64 numbers can be perturbed; 16 calls would have missed a singular value of up to 2"
    for gradient, said in (
        ("disagrees", "its gradient does not agree with differences of that size (10% off)"),
        ("vanishes", "its gradient vanishes"),
        ("none", "it has no gradient"),
    ):
        assert replace(sure, gradient=gradient).doubt == f"{said}; {missed}"
        assert replace(sure, gradient=gradient, jacobian=True).doubt == ""
