"""Tests of meaning, on reconstructions of which it is known what they lose and invent."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch

from cases import small_mask
from draws import normal
from firenet import Matrix, SubsampledFourier
from firenet.audit.detail import ROSE, Pair, detect, halfway, kernel, scaled, undecidable
from firenet.errors import BadInput
from firenet.images import DETAILS, detail, ellipses

SIDE = 64
MASK = small_mask(SIDE, 0.3)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return normal(*shape, seed=seed)


@pytest.fixture(scope="module")
def x() -> torch.Tensor:
    return ellipses(SIDE, torch.Generator().manual_seed(1))


everything = SubsampledFourier(torch.ones(SIDE, SIDE, dtype=torch.bool))
kinds = pytest.mark.parametrize("kind", DETAILS)


@kinds
def test_who_shows_everything_loses_and_invents_nothing(kind: str, x: torch.Tensor) -> None:
    found, images = detect(lambda y: everything.adjoint(y).real, everything, x, detail(kind, SIDE, 1.0), [0.5, 0.01])
    for d, image in zip(found, images, strict=True):
        assert d.recovered == pytest.approx(1, abs=1e-3)
        assert d.index > 100
        assert d.index >= ROSE
        assert d.empty < ROSE
        assert image.shape == x.shape


@kinds
def test_who_shows_always_the_same_loses_everything(kind: str, x: torch.Tensor) -> None:
    found, _ = detect(lambda y: x, everything, x, detail(kind, SIDE, 1.0), [0.5])
    assert found[0].recovered == pytest.approx(0, abs=1e-12)
    assert found[0].index < ROSE
    assert found[0].empty < ROSE


@kinds
def test_who_puts_the_detail_everywhere_invents_it(kind: str, x: torch.Tensor) -> None:
    shape = detail(kind, SIDE, 1.0)
    noise = 0.02 * draw(SIDE, SIDE)
    found, _ = detect(lambda y: everything.adjoint(y).real + 0.3 * shape + noise, everything, x, shape, [0.5])
    assert found[0].empty > ROSE


@kinds
def test_the_index_falls_with_the_contrast_and_with_noise(kind: str, x: torch.Tensor) -> None:
    shape, quiet, loud = detail(kind, SIDE, 1.0), 0.01 * draw(SIDE, SIDE), 0.1 * draw(SIDE, SIDE)
    contrasts = [0.5, 0.1, 0.001]
    found, _ = detect(lambda y: everything.adjoint(y).real + quiet, everything, x, shape, contrasts)
    assert found[0].index > found[1].index > found[2].index
    assert found[2].index < ROSE <= found[0].index
    (noisier,), _ = detect(lambda y: everything.adjoint(y).real + loud, everything, x, shape, [0.5])
    assert noisier.index == pytest.approx(found[0].index / 10, rel=0.6)
    # a change of brightness is no detail
    (brighter,), _ = detect(lambda y: everything.adjoint(y).real + 0.3, everything, x, shape, [0.5])
    assert brighter.recovered == pytest.approx(1, abs=1e-3)


@kinds
def test_an_error_that_is_always_there_is_not_the_detail(kind: str, x: torch.Tensor) -> None:
    """A constant image that happens to resemble the detail recovers none of it."""
    shape = detail(kind, SIDE, 1.0)
    always = x + 0.02 * shape + 0.005 * draw(SIDE, SIDE)
    (found,), _ = detect(lambda y: always, everything, x, shape, [0.02])
    assert found.recovered == pytest.approx(0, abs=1e-12)
    assert found.index < ROSE <= found.empty


def matched(x: Any, shape: Any, error: Any) -> tuple[float, float]:
    """The response of the filter at the detail and the deviation of the others, by sums over all shifts."""
    x, shape, error = (t.numpy() for t in (x, shape, error))
    n, (rows, columns) = len(x), (np.flatnonzero(shape.any(axis)).tolist() for axis in (1, 0))
    inner = [range(max(k[0] - 2, 0), min(k[-1] + 2, n - 1) + 1) for k in (rows, columns)]
    near = [(i, j) for i in inner[0] for j in inner[1]]
    mean = sum(shape[at] for at in near) / len(near)
    template = {at: shape[at] - mean for at in near}
    energy = sum(v * shape[at] for at, v in template.items())
    here = sum(v * error[at] for at, v in template.items()) / energy
    rest, size = error - here * shape, np.abs(x).max()
    responses, inside = [], []
    for a, b in itertools.product(range(n), repeat=2):
        apart = [min(k, n - k) > (side[-1] - side[0]) // 2 + 3 for k, side in ((a, rows), (b, columns))]
        if any(apart):
            found = sum(v * rest[(i + a) % n, (j + b) % n] for (i, j), v in template.items()) / energy
            responses.append(found)
            middle = (rows[0] + rows[-1]) // 2 + a, (columns[0] + columns[-1]) // 2 + b
            inside += [found] if abs(x[middle[0] % n, middle[1] % n]) > 0.05 * size else []
    chosen = inside if len(inside) >= 50 else responses
    return here, math.sqrt(sum(v * v for v in chosen) / len(chosen))


@pytest.mark.parametrize(("row", "column"), [(1, 0), (6, 5), (12, 9)])
@pytest.mark.parametrize("filled", [True, False])
def test_the_filter_is_the_one_that_is_described(row: int, column: int, filled: bool) -> None:
    """At the corners, too, of an object that fills most of the image or next to nothing of it."""
    side, contrast = 16, 0.5
    sensing, shape = SubsampledFourier(torch.ones(side, side, dtype=torch.bool)), torch.zeros(side, side).double()
    shape[row : row + 3, column : column + 7] = draw(3, 7).abs().double() + 0.1
    x = torch.zeros(side, side).double()
    x[slice(3, side) if filled else slice(2), 2:15] = 1.0
    errors = [0.1 * draw(side, side, seed=seed).double() for seed in (1, 2)]
    errors[1] += 0.7 * contrast * shape
    images = [x + e for e in errors]
    images[1] = images[1] + 0j
    (found,), _ = detect(lambda y: images.pop(0), sensing, x, shape, [contrast])
    (empty, quiet), (here, deviation) = (matched(x, shape, e) for e in errors)
    wanted = ((here - empty) / contrast, (here - empty) / deviation, empty / quiet)
    assert (found.recovered, found.index, found.empty) == pytest.approx(wanted, rel=1e-10)


def test_noise_alone_is_hardly_ever_seen_as_a_detail(x: torch.Tensor) -> None:
    shape = detail("disc", SIDE, 1.0)
    invented = 0
    for seed in range(40):
        noise = 0.05 * draw(SIDE, SIDE, seed=seed)
        (found,), _ = detect(lambda y, e=noise: everything.adjoint(y).real + e, everything, x, shape, [0.5])
        invented += found.empty >= ROSE
    assert invented <= 2  # 0.13 % of a Gaussian lies above 3


def test_the_bound_of_the_kernel_holds_and_is_sharp_for_who_shows_both(x: torch.Tensor) -> None:
    sensing = SubsampledFourier(MASK)
    shape = detail("text", SIDE, 0.5)
    pair: list[torch.Tensor] = []

    def knows(y: torch.Tensor) -> torch.Tensor:
        """Right on both: whichever of the two has these measurements."""
        if not pair:
            return x
        return min(pair, key=lambda point: torch.linalg.vector_norm(sensing(point) - y).item())

    _, other, _ = kernel(lambda y: x, sensing, x, shape, 0.01)
    pair += [x, other]
    found, _, _ = kernel(knows, sensing, x, shape, 0.01)
    size = torch.linalg.vector_norm(sensing(x)).item()
    assert found.difference == pytest.approx(0.01 * size, rel=1e-3)
    assert found.accuracy < 1e-5
    assert found.lipschitz == pytest.approx(found.distance / found.difference, rel=1e-3)
    assert found.measured == pytest.approx(found.lipschitz, rel=1e-3)
    assert found.lipschitz > 5
    # who is blind to it says nothing
    blind, _, _ = kernel(lambda y: x, sensing, x, shape, 0.01)
    assert blind.lipschitz == 0
    assert blind.measured == 0


@pytest.mark.parametrize("budget", [1e-4, 0.01, 10.0])
def test_a_linear_reconstruction_never_beats_its_norm(budget: float) -> None:
    sensing = Matrix(draw(12, 20).double())
    R = torch.linalg.pinv(sensing.matrix)
    x, shape = draw(20, seed=1).double(), draw(20, seed=2).double()
    found, other, _ = kernel(lambda y: R @ y, sensing, x, shape, budget)
    norm = torch.linalg.matrix_norm(R, 2).item()
    assert found.lipschitz <= found.measured * (1 + 1e-9) <= norm * (1 + 1e-6)
    size = torch.linalg.vector_norm(sensing(x)).item()
    assert torch.linalg.vector_norm(sensing(other - x)).item() <= budget * size * (1 + 1e-6)


def test_scaling_is_zero_for_homogeneous_maps_and_not_for_others() -> None:
    y = draw(10)
    assert scaled(lambda v: v.abs(), y, [0.1, 10]) == pytest.approx([0, 0], abs=1e-6)
    assert scaled(lambda v: v + 1, y, [0.5])[0] > 0.1
    assert scaled(torch.zeros_like, y, [2.0]) == [0]
    assert scaled(lambda v: torch.zeros_like(v) if v.abs().max() < 100 else v, y, [1e3]) == [math.inf]


def test_a_detail_of_another_shape_is_refused(x: torch.Tensor) -> None:
    for wrong, got in ((torch.ones(3, 3), r"\(3, 3\)"), (torch.zeros_like(x), "zeros alone")):
        with pytest.raises(BadInput, match=f"detail.*Got {got}"):
            detect(lambda y: x, everything, x, wrong, [0.5])


def test_on_the_data_of_two_images_every_method_misses_one(x: torch.Tensor) -> None:
    """Ones in the middle of k-space are measured: a difference outside is invisible, one pixel is not."""
    mask = torch.zeros(x.shape, dtype=torch.bool)
    mask[0] = True
    sensing = SubsampledFourier(mask)
    d = torch.zeros_like(x)
    d[5, 5], d[6, 5] = 0.5, -0.5  # no zero frequency in the first axis: it is in the kernel
    distance = torch.linalg.vector_norm(d).item()
    pair = Pair(d, 0.0, distance * (1 - 1e-6))
    pair.check(SubsampledFourier(mask))
    data = halfway(sensing, x, pair)
    assert torch.allclose(data, sensing(x), atol=1e-6)
    for image, sure in ((x, True), (x + d, True), (x + d / 2, False), (torch.zeros_like(x), False)):
        told, other, seen = undecidable(lambda y, image=image: image, sensing, x, pair, claimed=0.1)
        assert max(told.first, told.second) >= told.floor
        assert told.sure is sure
        assert (told.claimed, told.noise) == (0.1, 0.0)
        assert torch.equal(other, x + d)
        assert torch.equal(seen, image)
    for wrong, got in (
        (Pair(d.to(torch.complex64), 0.0, distance), r"complex64 of shape \(64, 64\)\."),
        (Pair(d[1:], 0.0, distance), r"shape \(63, 64\)\."),
        (Pair(d * math.nan, 0.0, distance), "with NaN"),
        (Pair(d, 0.0, 2 * distance), "a bound of 1.41421 for a pair 0.707107 apart"),
        (Pair(d, 0.0, 0.0), "a bound of 0"),
    ):
        with pytest.raises(BadInput, match=f"Got .*{got}.* pair"):
            wrong.check(sensing)
    with pytest.raises(BadInput, match="cannot tell apart"):
        pair.check(SubsampledFourier(~mask))
