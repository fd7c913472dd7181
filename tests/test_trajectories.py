"""Trajectories of non-Cartesian MRI: what is refused, density compensation, and a reconstruction."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import firenet
from draws import normal, uniform
from firenet import LinearOperator, check_adjoint
from firenet.images import load_slice, resampled
from firenet.operators import Weighted
from firenet.sensing import NonuniformFourier, density_compensation, radial, spiral
from laws import assert_refuses

# --- trajectories


@pytest.mark.parametrize("golden", [True, False])
@pytest.mark.parametrize("samples", [7, 8])
def test_spokes_are_diameters_with_a_sample_at_zero(golden: bool, samples: int) -> None:
    k = radial(5, samples, golden=golden)
    assert k.shape == (5, samples, 2)
    assert torch.equal(k[:, samples // 2], torch.zeros(5, 2, dtype=torch.float64))
    radius = torch.linalg.vector_norm(k, dim=-1)
    assert torch.allclose(radius[0], (torch.arange(samples) - samples // 2).abs() / samples + 0.0 * radius[0])
    y, x = k[:, -1].unbind(-1)
    angle = torch.atan2(y, x)
    step = math.pi * (math.sqrt(5) - 1) / 2 if golden else math.pi / 5
    assert torch.allclose(torch.exp(2j * (angle[1:] - angle[:-1])), torch.exp(torch.tensor(2j * step)).to(y + 0j))
    assert torch.equal(k[0, :, 0], torch.zeros(samples, dtype=torch.float64))  # the first is along the last axis, x


def test_spirals_begin_at_zero_and_end_at_the_edge() -> None:
    k = spiral(3, 100, turns=4)
    radius = torch.linalg.vector_norm(k, dim=-1)
    assert radius[:, 0].tolist() == [0, 0, 0]
    assert torch.allclose(radius[:, -1], torch.full((3,), 0.5, dtype=torch.float64))
    angle = np.unwrap(torch.atan2(k[..., 0], k[..., 1])[:, 1:].numpy(), axis=1)
    assert angle[0, -1] - angle[0, 0] == pytest.approx(2 * math.pi * 4 * 98 / 99, rel=1e-12)


def test_counts_that_are_refused() -> None:
    assert_refuses(lambda: radial(0, 8), "One or more spokes")
    assert_refuses(lambda: spiral(3, 1), "two or more samples")
    assert_refuses(lambda: spiral(3, 9, turns=math.inf), "finite number of turns")


# --- what is refused

K = radial(6, 20)
UNITS: list[tuple[str, Any, str]] = [
    ("radians", 2 * math.pi * K, "divide by 2 pi"),
    ("radians without the ends", 1.97 * math.pi * K, "divide by 2 pi"),
    ("cycles per field of view", 20 * K, "divide each axis by the side n"),
    ("whole cycles", torch.arange(-10, 10.0).repeat(2, 1).mT, "divide each axis by the side n"),
    ("from 0 to 1", K.remainder(1), "subtract 1"),
    ("1/mm of pixels of 0.7 mm", K / 0.7, "the size of a pixel in mm"),
    ("1/m", 1000 * K, "its size in m"),
    ("complex", torch.complex(K[..., 0], K[..., 1]), "torch.stack"),
    ("integers", torch.arange(-10, 10).repeat(2, 1).mT, "Divide frequencies that are whole numbers"),
    ("NaN", torch.where(K == 0, math.nan, K), "NaN or infinity"),
    ("infinity", torch.where(K == 0, math.inf, K), "NaN or infinity"),
    ("zeros", 0 * K, "zeros everywhere"),
    ("of another unit, far too small", 1e-30 * K, "leaves zero frequency"),
    ("coordinates first", K.movedim(-1, 0), "torch.movedim(trajectory, 0, -1)"),
    ("three coordinates", torch.zeros(4, 5, 3), "on the last axis"),
    ("no samples", torch.zeros(0, 2), "read correctly"),
    ("no axis of samples", torch.tensor([0.1, 0.2]), "(*samples, 2)"),
    ("text", "radial", "Numbers for a trajectory"),
]


@pytest.mark.parametrize(("given", "do"), [row[1:] for row in UNITS], ids=[row[0] for row in UNITS])
def test_trajectories_that_are_refused(given: Any, do: str) -> None:
    assert_refuses(lambda: NonuniformFourier(given, (20, 20)), do)
    assert_refuses(lambda: density_compensation(given, (20, 20)), do)


def test_rounding_at_the_edge_is_tolerated() -> None:
    k = torch.tensor([[0.5 + 9e-7, -0.5 - 9e-7], [0.1, 0.2]], dtype=torch.float64)
    a = NonuniformFourier(k, (6, 6))
    row = a(torch.ones(6, 6, dtype=torch.float64))[0]
    r = torch.arange(6, dtype=torch.float64) - 3
    exact = (torch.exp(-2j * math.pi * k[0, 0] * r).sum() * torch.exp(-2j * math.pi * k[0, 1] * r).sum()) / 6
    assert abs(row - exact) < 1e-10
    assert_refuses(lambda: NonuniformFourier(k * 1.00001, (6, 6)), "cycles per pixel")
    assert_refuses(lambda: NonuniformFourier(torch.zeros(5), (6,)), "Add the last axis")


@pytest.mark.parametrize("shape", [(), (6, 1), (4, 4, 4, 4), 16, (6.0, 6), (0, 6), (-6, 6)], ids=str)
def test_shapes_that_are_refused(shape: Any) -> None:
    assert_refuses(lambda: NonuniformFourier(K, shape), "one to three sides of at least 2")


def test_other_arguments_that_are_refused() -> None:
    maps = normal(2, 20, 20, dtype=torch.complex64)
    for given, needed in (
        (maps[0], "Coil maps of shape (coils, 20, 20)"),
        (maps[:0], "Coil maps"),
        (maps[:, 1:], "Coil maps"),
        (maps.real, "Complex coil maps"),
        (torch.where(maps.real > 2, math.nan, maps), "Finite coil maps"),
    ):
        assert_refuses(lambda given=given: NonuniformFourier(K, (20, 20), given), needed)
    for accuracy in (0.0, -1.0, 1.0, math.nan):
        assert_refuses(lambda accuracy=accuracy: NonuniformFourier(K, (20, 20), accuracy=accuracy), "An accuracy")
    a = NonuniformFourier(K, (20, 20))
    assert_refuses(lambda: a.adjoint(torch.ones(6, 20)), "Complex measurements")
    assert_refuses(lambda: a(torch.ones(20, 21)), "NonuniformFourier needs a tensor with trailing shape")
    assert_refuses(lambda: density_compensation(K, (20, 20), iterations=0), "iterations")


def test_a_density_inside_the_adjoint_is_refused() -> None:
    a = NonuniformFourier(K, (20, 20))
    w = density_compensation(K, (20, 20))
    wrong = LinearOperator.from_functions(a, lambda y: a.adjoint(w * y), a.in_shape, a.out_shape, norm=2.0)
    assert check_adjoint(wrong).defect > 1e-2
    y = a(torch.ones(20, 20, dtype=torch.complex128))
    assert_refuses(lambda: firenet.reconstruct(y, wrong), "is not the adjoint")
    assert check_adjoint(Weighted(a, w)).passed  # where it belongs


# --- density compensation


def gram(k: Tensor, shape: tuple[int, ...], weights: Tensor) -> Tensor:
    """A*MA by explicit exponentials."""
    places = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) - n // 2 for n in shape), indexing="ij")
    r = torch.stack([place.flatten() for place in places])
    matrix = torch.exp(-2j * math.pi * (k.flatten(0, -2) @ r)) / math.sqrt(math.prod(shape))
    return matrix.mH @ (weights.flatten()[:, None] * matrix)


def test_on_the_grid_all_weights_are_one_and_coincident_samples_share_it() -> None:
    axes = [(torch.arange(n, dtype=torch.float64) - n // 2) / n for n in (6, 7)]
    k = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    # Sums are accurate to about 1e-6.
    assert torch.allclose(density_compensation(k, (6, 7)), torch.ones(6, 7).double(), atol=1e-4)
    repeated = torch.cat([k, k[:1], k[:1]])
    expected = torch.ones(8, 7, dtype=torch.float64)
    expected[[0, 6, 7]] = 1 / 3
    assert torch.allclose(density_compensation(repeated, (6, 7)), expected, atol=1e-4)


HARD: list[tuple[str, Tensor]] = [
    ("radial", radial(12, 32)),
    ("few spokes", radial(2, 32, golden=False)),
    ("spiral", spiral(4, 150, turns=3)),
    ("random", uniform(200, 2, dtype=torch.float64) - 0.5),
    ("one place", torch.full((50, 2), 0.3, dtype=torch.float64)),
    ("nearly one place", 0.3 + 1e-9 * uniform(50, 2, dtype=torch.float64)),
    ("dense centre", torch.cat([torch.zeros(10_000, 2).double(), radial(8, 32).flatten(0, 1)])),
    ("one sample", torch.tensor([[0.25, 0.1]], dtype=torch.float64)),
]


@pytest.mark.parametrize("k", [row[1] for row in HARD], ids=[row[0] for row in HARD])
def test_weights_are_positive_and_as_near_to_the_identity_as_a_multiple_can_be(k: Tensor) -> None:
    w = density_compensation(k, (16, 16))
    assert w.shape == k.shape[:-1]
    assert w.dtype == torch.float64
    assert bool((w > 0).all())
    assert w.max() < 1.1
    g = gram(k, (16, 16), w)
    # At the best multiple |A*MA|_F^2 = tr(A*MA); sums are accurate to about 1e-6.
    assert g.abs().square().sum().item() == pytest.approx(g.trace().real.item(), rel=1e-4)
    size = torch.linalg.eigvalsh(g).max().item()
    assert 0.5 < size < 2
    bound = Weighted(NonuniformFourier(k, (16, 16)), w).norm_bound.value
    assert math.sqrt(size) <= bound * (1 + 1e-12)
    assert bound < 1.4 * math.sqrt(size)


def distance(k: Tensor, weights: Tensor) -> float:
    g = gram(k, (16, 16), weights)
    g = g * (g.trace().real / g.abs().square().sum())  # the best multiple
    return (g - torch.eye(256)).abs().square().sum().sqrt().item()


@pytest.mark.parametrize("k", [HARD[0][1], HARD[2][1], HARD[3][1]], ids=["radial", "spiral", "random"])
def test_every_step_comes_nearer_to_the_identity(k: Tensor) -> None:
    found = [distance(k, torch.ones(k.shape[:-1]).double())]
    found += [distance(k, density_compensation(k, (16, 16), iterations=i)) for i in (1, 2, 4, 8, 16, 32)]
    assert all(later < before + 1e-4 for before, later in itertools.pairwise(found))
    assert found[-1] < found[0]


def test_radial_weights_are_near_the_ramp_where_spokes_are_dense() -> None:
    n, spokes = 16, 40  # more than the pi n / 2 of a full sampling
    k = radial(spokes, 2 * n, golden=False)
    radius = torch.linalg.vector_norm(k, dim=-1)
    w = density_compensation(k, (n, n), iterations=100)
    middle = (radius > 0.1) & (radius < 0.4)
    share = w[middle] / radius[middle]
    # A sample has the area pi |k| / spokes / (2 n) of k-space, in units of 1 / n^2.
    assert share.mean().item() == pytest.approx(math.pi * n / (2 * spokes), rel=0.1)
    assert distance(k, w) < distance(k, radius.clamp(min=1 / (8 * n)))


# --- a reconstruction


@pytest.mark.parametrize("coils", [0, 3])
def test_a_certified_reconstruction(coils: int) -> None:
    image = resampled(load_slice(), 32).to(torch.complex64)
    k = radial(14, 64)
    maps = None
    if coils:
        r = torch.linspace(-1, 1, 32)
        places = [(math.cos(angle), math.sin(angle)) for angle in (0.0, 2.1, 4.2)]
        maps = torch.stack([torch.exp(-((r[:, None] - a) ** 2) - (r - b) ** 2) + 0j for a, b in places])
    plain = NonuniformFourier(k, (32, 32), maps)
    operator = Weighted(plain, density_compensation(k, (32, 32)))
    y = plain(image)
    noise = normal(*y.shape, dtype=torch.complex64, seed=1)
    data = operator.weigh(y + 0.03 * y.norm() / noise.norm() * noise)
    solution = firenet.reconstruct(data, operator, reweight=0)
    assert solution.status is firenet.Status.TOLERANCE_REACHED
    assert "dot test" in solution.conditions[0]
    gridded = operator.adjoint(data) if maps is None else operator.adjoint(data) / maps.abs().square().sum(0)
    assert firenet.psnr(solution.image.abs(), image.real) > firenet.psnr(gridded.abs(), image.real) + 1
