"""Projections of tomography: the laws, exact areas and lengths, mass, conventions, ASTRA, and refusals."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from draws import normal, uniform
from firenet import BadInput, LinearOperator
from firenet.ct import RampWeighted
from firenet.sensing import Projection
from laws import LAWS, Probe, assert_matches_dense, assert_moves, assert_near, assert_norm_bound, named, probes

Array = NDArray[np.float64]
ANGLES = np.array([0.0, 0.3, math.pi / 4, 1.2, math.pi / 2, 2.5, -0.7, 4.0])
FAN: dict[str, Any] = {"geometry": "fan", "source_distance": 11.0, "detector_distance": 7.0}
CASES: dict[str, Callable[[], Projection]] = {
    "parallel": lambda: Projection(ANGLES, 15, (8, 10)),
    "parallel, own axis and units": lambda: Projection(ANGLES, 9, (9, 7), centre=2.3, pixel=0.7, spacing=1.1),
    "parallel, narrow cells": lambda: Projection(ANGLES[1:4], 40, (5, 6), spacing=0.23),
    "parallel, one cell": lambda: Projection([0.4], 1, (6, 5), spacing=2.0),
    "parallel, one pixel": lambda: Projection(ANGLES, 3, (1, 1)),
    "fan": lambda: Projection(ANGLES, 21, (8, 10), spacing=1.6, **FAN),
    "fan, own axis, cut off": lambda: Projection(ANGLES, 9, (7, 8), centre=1.7, spacing=0.9, **FAN),
    "fan, detector through the axis": lambda: Projection(
        ANGLES, 12, (6, 6), geometry="fan", source_distance=9, detector_distance=0
    ),
}
cases = pytest.mark.parametrize("name", list(CASES))


def corners(a: Projection, i: int, j: int) -> list[tuple[float, float]]:
    """The corners of a pixel, counter-clockwise."""
    rows, columns = a.in_shape
    x, y = (j - (columns - 1) / 2) * a.pixel, ((rows - 1) / 2 - i) * a.pixel
    return [(x + u * a.pixel / 2, y + v * a.pixel / 2) for u, v in ((-1, -1), (1, -1), (1, 1), (-1, 1))]


def clipped(polygon: list[tuple[float, float]], c: float, s: float, most: float) -> list[tuple[float, float]]:
    """The part of a polygon where cx + sy <= most, by Sutherland and Hodgman."""
    kept = []
    for (x, y), (u, v) in itertools.pairwise([*polygon, polygon[0]] if polygon else []):
        here, there = c * x + s * y - most, c * u + s * v - most
        if here <= 0:
            kept.append((x, y))
        if here * there < 0:
            t = here / (here - there)
            kept.append((x + t * (u - x), y + t * (v - y)))
    return kept


def area(polygon: list[tuple[float, float]]) -> float:
    pairs = itertools.pairwise([*polygon, polygon[0]] if polygon else [])
    return math.fsum(x * v - u * y for (x, y), (u, v) in pairs) / 2


def edges(a: Projection, cell: int) -> tuple[float, float]:
    return tuple((cell + side - a.centre) * a.spacing for side in (-0.5, 0.5))  # pyright: ignore[reportReturnType]


def strip_weight(a: Projection, angle: float, cell: int, pixel: tuple[int, int]) -> float:
    """The area of pixel and strip by clipping, over the width of the strip."""
    low, high = edges(a, cell)
    c, s = math.cos(angle), math.sin(angle)
    return area(clipped(clipped(corners(a, *pixel), c, s, high), -c, -s, -low)) / a.spacing


def ray_lengths(a: Projection, angle: float, at: Array, pixel: tuple[int, int]) -> Array:
    """The lengths in a pixel of the rays of a fan to these coordinates, as intersections of two slabs."""
    assert a.source_distance is not None
    assert a.detector_distance is not None
    c, s = math.cos(angle), math.sin(angle)
    source = np.array([s, -c]) * a.source_distance
    ends = np.outer(at, [c, s]) + np.array([-s, c]) * a.detector_distance
    way = ends - source
    square = np.array(corners(a, *pixel))
    with np.errstate(divide="ignore", invalid="ignore"):
        meets = np.stack([(square[0] - source) / way, (square[2] - source) / way])
    enter, leave = meets.min(axis=0).max(axis=1), meets.max(axis=0).min(axis=1)
    return np.maximum(leave - enter, 0) * np.hypot(way[:, 0], way[:, 1])


def areas(a: Projection) -> Array:
    """The matrix for parallel rays, entry by entry."""
    found = np.zeros((*a.out_shape, *a.in_shape))
    for v, k, i, j in np.ndindex(found.shape):
        found[v, k, i, j] = strip_weight(a, float(a.angles[v]), k, (i, j))
    return found


def mean_lengths(a: Projection, rays: int) -> Array:
    """The matrix of a fan, by the midpoint rule with this number of rays a cell."""
    found = np.zeros((*a.out_shape, *a.in_shape))
    cells = a.out_shape[1]
    at = ((np.arange(cells * rays) + 0.5) / rays - 0.5 - a.centre) * a.spacing
    for v, i, j in np.ndindex(found.shape[0], *a.in_shape):
        found[v, :, i, j] = ray_lengths(a, float(a.angles[v]), at, (i, j)).reshape(cells, rays).mean(axis=1)
    return found


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith("parallel")])
def test_weights_of_parallel_rays_are_areas(name: str) -> None:
    a = CASES[name]()
    found = a.as_matrix(torch.float64).view(*a.out_shape, *a.in_shape).numpy()
    # Coordinates below 16 with errors of a few units of 2^-52, in a difference over the width of a cell; areas below
    # 1e-12 are left out.
    assert np.abs(found - areas(a)).max() <= 1e-12 * a.pixel / min(a.spacing, 1)


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith("fan")])
def test_weights_of_a_fan_are_mean_lengths(name: str) -> None:
    a = CASES[name]()
    found = a.as_matrix(torch.float64).view(*a.out_shape, *a.in_shape).numpy()
    # Midpoints miss a jump of the length, at most sqrt(2), by half a step; the nearest pixels are at a distance of 4,
    # where the quadrature is off by some 4^-4/180.
    assert np.abs(found - mean_lengths(a, 1000)).max() <= math.sqrt(2) / 2000 + 3e-5


def test_random_pixels_of_a_large_image() -> None:
    rng = np.random.default_rng(0)
    angles = rng.uniform(-math.pi, math.pi, 5)
    a = Projection(angles, 300, (200, 180), centre=140.2, spacing=0.8)
    for _ in range(60):
        v, i, j = int(rng.integers(5)), int(rng.integers(200)), int(rng.integers(180))
        image = torch.zeros(a.in_shape, dtype=torch.float64)
        image[i, j] = 1.0
        view = a(image)[v].numpy()
        middle = np.mean(corners(a, i, j), axis=0) @ [math.cos(angles[v]), math.sin(angles[v])]
        near = range(max(int(middle / 0.8 + 140.2) - 2, 0), min(int(middle / 0.8 + 140.2) + 4, 300))
        expected = np.zeros(300)
        expected[list(near)] = [strip_weight(a, float(angles[v]), k, (i, j)) for k in near]
        assert np.abs(view - expected).max() <= 1e-11


@pytest.mark.parametrize("spacing", [0.3, 1.0, 2.7])
@pytest.mark.parametrize("pixel", [0.5, 1.0])
def test_parallel_views_keep_the_mass(spacing: float, pixel: float) -> None:
    shape, cells = (13, 18), math.ceil(24 * pixel / spacing) + 2
    a = Projection(np.linspace(0, 6, 11), cells, shape, spacing=spacing, pixel=pixel)
    image = uniform(shape, dtype=torch.float64)
    sums = a(image).sum(dim=-1) * spacing
    # Up to 2 * 18 * 13 areas of 1e-12 may be left out.
    assert torch.allclose(sums, (image.sum() * pixel**2).expand(11), rtol=0, atol=1e-9 * pixel**2)


def test_a_disc() -> None:
    """Projection and mean are contractions in L1, so the error is at most what the image is off in L1."""
    pixel, side, radius, middle = 0.125, 240, 9.0, (2.5, -3.25)
    fine = (np.arange(side * 8) - (side * 8 - 1) / 2) * pixel / 8
    inside = np.hypot(*np.meshgrid(fine - middle[0], -fine - middle[1])) <= radius
    share = inside.reshape(side, 8, side, 8).mean(axis=(1, 3))
    a = Projection(np.linspace(0, 3.1, 7), 31, (side, side), pixel=pixel)
    off = float((2 * share * (1 - share)).sum()) * pixel**2 * 1.5  # 1.5 for the error of the shares themselves
    for angle, view in zip(a.angles, a(share).numpy(), strict=True):
        at = np.linspace(-15.5, 15.5, 31 * 200 + 1)[:-1] + 0.5 / 200
        shift = middle[0] * math.cos(angle) + middle[1] * math.sin(angle)
        chord = 2 * np.sqrt(np.maximum(radius**2 - (at - shift) ** 2, 0))
        assert np.abs(view - chord.reshape(31, 200).mean(axis=1)).sum() <= off
        assert off < 0.02 * math.pi * radius**2


def test_the_first_angles() -> None:
    image = normal(6, 6, dtype=torch.float64)
    a = Projection([0, math.pi / 2, math.pi], 6, (6, 6))
    expected = torch.stack([image.sum(0), image.sum(1).flip(0), image.sum(0).flip(0)])
    assert torch.allclose(a(image), expected, rtol=0, atol=1e-10)


def test_a_far_source_gives_parallel_rays() -> None:
    away = 1e5
    fan = Projection(ANGLES, 15, (8, 10), geometry="fan", source_distance=away, detector_distance=0)
    parallel = Projection(ANGLES, 15, (8, 10))
    # Rays are turned and moved by at most 8 / away each; a length jumps by at most sqrt(2) over a cell.
    difference = fan.as_matrix(torch.float64) - parallel.as_matrix(torch.float64)
    assert difference.abs().max().item() <= 10 * 8 / away


@cases
@pytest.mark.parametrize("law", LAWS, ids=named)
def test_law(name: str, law: Callable[[LinearOperator, Probe], None]) -> None:
    for probe in probes():
        law(CASES[name](), probe)


@cases
def test_norm_gain_and_matrix(name: str) -> None:
    a = CASES[name]()
    matrix = a.as_matrix(torch.float64)
    assert_norm_bound(a, matrix)
    assert a.norm_bound.kind == "proven"
    assert a.is_own
    size = torch.linalg.matrix_norm(matrix, 2).item()
    assert a.norm_bound.value <= 1.02 * size
    seen = int((matrix != 0).any(dim=1).sum())
    assert a.samples == seen
    assert a.gain == pytest.approx(torch.linalg.matrix_norm(matrix).item() / math.sqrt(seen), rel=1e-13)
    assert bool((matrix >= 0).all())
    for probe in probes():
        assert_matches_dense(a, matrix, probe)
    assert_moves(a, matrix, Probe())


def test_single_precision_stays() -> None:
    a = CASES["fan"]()
    x = normal(3, *a.in_shape)
    assert a(x).dtype == torch.float32
    assert a.adjoint(a(x)).dtype == torch.float32
    assert a.state_dtype(torch.complex64) == torch.complex64
    error = torch.linalg.vector_norm(a(x).double() - a(x.double())).item()
    assert 0 < error <= a.rounding * 2**-24 * torch.linalg.vector_norm(x).item()


def test_without_scipy(monkeypatch: pytest.MonkeyPatch) -> None:
    a = CASES["parallel"]()
    x, y = normal(2, *a.in_shape, dtype=torch.float64), normal(2, *a.out_shape, dtype=torch.complex64)
    forth, back = a(x), a.adjoint(y)
    monkeypatch.setattr("firenet.operators.sparse.find_spec", lambda name: None)
    other = CASES["parallel"]()
    assert isinstance(other.matrix._table(torch.float64), tuple)
    assert_near(other(x), forth, 1e-14 * a.rounding)
    assert_near(other.adjoint(y), back, 1e-5 * a.norm_bound.value)
    assert other.norm_bound.value == pytest.approx(a.norm_bound.value, rel=1e-13)


@pytest.mark.parametrize("unit", [1e-30, 1e30])
def test_units(unit: float) -> None:
    small = Projection(ANGLES, 9, (6, 6), spacing=1.3)
    large = Projection(ANGLES, 9, (6, 6), spacing=1.3 * unit, pixel=unit)
    assert torch.allclose(large.as_matrix(torch.float64) / unit, small.as_matrix(torch.float64), rtol=1e-12, atol=1e-12)
    assert large.norm_bound.value == pytest.approx(unit * small.norm_bound.value, rel=1e-11)


def test_astra() -> None:
    """Its strip weights in parallel beams, and the mean of its line weights over many rays in fans."""
    astra = pytest.importorskip("astra")

    def matrix(geometry: Any, kind: str) -> Array:
        projector = astra.create_projector(kind, geometry, astra.create_vol_geom(12, 16))
        return astra.matrix.get(astra.projector.matrix(projector)).toarray()

    angles, finer = np.linspace(0.03, 3, 7), 500
    ours = Projection(angles, 24, (12, 16), spacing=1.3).as_matrix(torch.float64).numpy()
    theirs = matrix(astra.create_proj_geom("parallel", 1.3, 24, angles), "strip")
    assert np.abs(ours - theirs).max() <= 1e-4  # it computes in single precision, with coordinates of up to 16
    fan = Projection(angles, 24, (12, 16), spacing=1.6, geometry="fan", source_distance=50, detector_distance=30)
    rays = astra.create_proj_geom("fanflat", 1.6 / finer, 24 * finer, angles, 50.0, 30.0)
    lines = matrix(rays, "line_fanflat").reshape(7, 24, finer, -1).mean(axis=2).reshape(7 * 24, -1)
    assert np.abs(fan.as_matrix(torch.float64).numpy() - lines).max() <= math.sqrt(2) / finer


def refused(**change: Any) -> Callable[[], Projection]:
    given = {"angles": [0.0, 1.0], "detector": 8, "shape": (6, 6)} | change
    return lambda: Projection(given.pop("angles"), given.pop("detector"), given.pop("shape"), **given)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"angles": [0.0, math.nan]}, "Finite angles"),
        ({"angles": [0.0, 1j]}, "Angles: real numbers"),
        ({"angles": []}, "at least one"),
        ({"angles": 1.0}, "along one axis"),
        ({"angles": [[0.0, 1.0]]}, "along one axis"),
        ({"angles": [0.0, 90.0, 179.0]}, "these look like degrees"),
        ({"angles": ["a"]}, "angles"),
        ({"detector": 0}, "one cell or more"),
        ({"detector": 2.5}, "one cell or more"),
        ({"detector": True}, "one cell or more"),
        ({"shape": (6,)}, "shape of an image"),
        ({"shape": 6}, "shape of an image"),
        ({"shape": (6, 0)}, "A side of the image"),
        ({"shape": (6, 6, 6)}, "shape of an image"),
        ({"pixel": 0.0}, "side of a pixel"),
        ({"pixel": math.nan}, "side of a pixel"),
        ({"spacing": -1.0}, "width of a cell"),
        ({"spacing": math.inf}, "width of a cell"),
        ({"spacing": "a"}, "width of a cell"),
        ({"spacing": 1e-4}, "similar size"),
        ({"spacing": 1e30}, "similar size"),
        ({"centre": 296.0}, "beside it by at most half its width"),
        ({"centre": math.nan}, "beside it by at most half its width"),
        ({"centre": "a"}, "The axis on the detector"),
        ({"detector": 3, "centre": 4.0, "shape": (1, 1)}, "A detector that sees the image"),
        ({"geometry": "cone"}, "A geometry"),
        ({"geometry": "fan"}, "The distances of source and detector"),
        ({"source_distance": 100.0}, "Parallel rays"),
        ({"geometry": "fan", "source_distance": 3.0, "detector_distance": 5.0}, "A source outside the image"),
        ({"geometry": "fan", "source_distance": 30.0, "detector_distance": -5.0}, "distance of the detector"),
        ({"geometry": "fan", "source_distance": math.nan, "detector_distance": 5.0}, "distance of the source"),
        ({"angles": [0.0] * 1000, "shape": (2000, 2000), "detector": 2000}, "at most 2^30 weights"),
    ],
)
def test_refusals(change: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput) as caught:
        refused(**change)()
    assert words in str(caught.value)


@pytest.mark.parametrize("how", [{}, FAN], ids=["parallel", "fan"])
def test_ramp_weighted_projections(how: dict[str, Any]) -> None:
    a = Projection([0.1, 1.3, 2.2], 6, (4, 5), **how)
    weighted = RampWeighted(a)
    matrix = weighted.as_matrix(torch.float64)
    cells = a.out_shape[1]
    root = weighted._filtered(torch.eye(cells, dtype=torch.float64))
    assert torch.allclose(root, root.mT, rtol=0, atol=1e-15)
    values = torch.linalg.eigvalsh(root)
    assert 0 < values.min() <= values.max() <= 1 + 1e-14
    expected = torch.einsum("kl,vln->vkn", root, a.as_matrix(torch.float64).view(*a.out_shape, -1)).flatten(0, 1)
    assert_near(matrix, expected, 1e-13 * a.norm_bound.value)
    assert_norm_bound(weighted, matrix)
    assert weighted.norm_bound.value <= 1.2 * torch.linalg.matrix_norm(matrix, 2).item()
    for law in LAWS:
        for probe in probes():
            law(weighted, probe)
    x = normal(*a.in_shape, dtype=torch.float64)
    assert_near(weighted.weigh(a(x)), weighted(x), 1e-14 * a.rounding)
    with pytest.raises(BadInput, match="trailing shape"):
        weighted.weigh(torch.ones(3))
    with pytest.raises(BadInput, match="A Projection to weigh"):
        RampWeighted(a.H)  # pyright: ignore[reportArgumentType]
