"""Masks without bands, which are those of variable density and of whole lines; local coherences."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
import pywt
from scipy.linalg import hadamard
from torch import Tensor

from cases import TRANSFORMS, Shape
from firenet.sensing.masks import Mask, Transform, lines, local_coherences, variable_density
from laws import assert_refuses
from oracles import band_of, boxes

# --- variable density


@pytest.mark.parametrize("shape", [(1,), (7,), (64, 48), (5, 6, 7)])
@pytest.mark.parametrize("transform", ["fourier", "walsh"])
def test_variable_density_has_its_count_and_its_centre(shape: Shape, transform: Any) -> None:
    if transform == "walsh" and any(n & (n - 1) for n in shape):
        return
    size = math.prod(shape)
    for count in {1, math.ceil(size / 3), size}:
        mask = variable_density(shape, count=count, transform=transform, seed=3)
        assert mask.count == count
        radius = mask.recipe["radius"]
        grids = [np.arange(n) / 2 if transform == "walsh" else np.fft.fftfreq(n, 1 / n) for n in shape]
        stretched = [g * (max(shape) / n) for g, n in zip(grids, shape, strict=True)]
        distance = np.sqrt(sum(g**2 for g in np.meshgrid(*stretched, indexing="ij")))
        assert mask.samples.numpy()[distance <= radius].all()


def test_variable_density_falls_as_asked() -> None:
    # Of two frequencies one: |k|^-power is 1 at k = 1 and 2^-power at k = 2.
    n, power, hits = 2000, 1.5, 0
    for seed in range(n):
        samples = variable_density((4,), count=2, power=power, radius=0, seed=seed).samples
        hits += bool(samples[2])
    # Beside zero, one of 1, -1 (weight 1 each) and -2.
    expected = 2**-power / (2 + 2**-power)
    assert abs(hits / n - expected) < 4.5 * math.sqrt(expected * (1 - expected) / n)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"rate": 0.5, "power": math.nan}, "nan"),
        ({"rate": 0.5, "radius": -1.0}, "radius"),
        ({"rate": 0.5, "radius": math.nan}, "radius"),
        ({"rate": 0.1, "radius": 8.0}, "26 samples"),
        ({"rate": 1.5}, "1.5"),
        ({}, "rate"),
    ],
)
def test_variable_density_refuses(arguments: dict[str, Any], word: str) -> None:
    assert_refuses(lambda: variable_density((16, 16), **arguments), word)


# --- lines


def taken(mask: Mask, axis: int) -> Tensor:
    """Which lines a mask has; that it has whole lines only."""
    along = mask.samples.movedim(axis, 0).flatten(1)
    assert along.all(dim=1).equal(along.any(dim=1))
    return along[:, 0]


@pytest.mark.parametrize("acceleration", [1, 1.5, 2, 3, 4, 7.3, 1000])
@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("shape", [(64, 32), (33, 50), (7, 1), (1, 5), (12, 9, 10), (2, 3, 17)])
def test_lines_are_whole_and_as_many_as_asked_for(shape: Shape, axis: int, acceleration: float) -> None:
    n = shape[axis]
    wanted = max(1, round(n / acceleration))
    far = np.abs(np.fft.fftfreq(n, 1 / n))
    for centre in {None, 0, 1, wanted // 2, wanted}:
        mask = lines(shape, acceleration, axis=axis, centre=centre, seed=2)
        chosen = taken(mask, axis).numpy()
        assert chosen.sum() == wanted == mask.recipe["lines"]
        assert mask.count == wanted * math.prod(shape) // n
        assert mask.samples.shape == shape
        assert mask.bands == {}
        low = wanted // 3 if centre is None else centre
        assert sorted(far[chosen])[:low] == sorted(far)[:low]


def test_all_lines_without_acceleration() -> None:
    assert lines((16, 8), 1).samples.all()


@pytest.mark.parametrize("power", [0.0, 1.0, 2.5])
def test_one_line_is_drawn_with_the_density(power: float) -> None:
    n, draws = 8, 1500
    far = np.maximum(np.abs(np.fft.fftfreq(n, 1 / n)), 1)
    p = far**-power / (far**-power).sum()
    hits = np.zeros(n)
    for seed in range(draws):
        hits += lines((n, 1), n, centre=0, power=power, seed=seed).samples[:, 0].numpy()
    assert hits.sum() == draws
    assert (np.abs(hits - p * draws) <= 4.5 * np.sqrt(draws * p * (1 - p))).all()


def test_lines_beside_the_centre_are_drawn_without_replacement_by_density() -> None:
    # Of four equally likely lines two: each pair as often.
    pairs = Counter(tuple(taken(lines((4, 1), 2, centre=0, power=0.0, seed=s), 0).tolist()) for s in range(1200))
    assert len(pairs) == 6
    assert all(abs(n - 200) < 4.5 * math.sqrt(1200 * 5 / 36) for n in pairs.values())


# --- coherences


def ratios(transform: Transform) -> tuple[list[float], list[float]]:
    """Coherences over the factor of their box and scale at 32 x 32, and those that theory says vanish."""
    inside, outside = [], []
    for (k, j), value in local_coherences((32, 32), transform).items():
        top = max(k)
        factor = math.prod(2.0 ** -abs(ki - j) for ki in k)
        if transform == "fourier":
            inside.append(value / (factor * 2.0 ** (-2 * max(0, j - top))))
        elif j == top:
            inside.append(value / factor)
        else:
            outside.append(value)
    return inside, outside


def test_walsh_and_haar_are_block_diagonal() -> None:
    inside, outside = ratios("walsh")
    assert len(inside) == 25
    assert len(outside) == 100
    assert max(outside) < 1e-28
    assert min(inside) >= 1 - 1e-12
    assert max(inside) <= 4 + 1e-12


def test_fourier_and_haar_have_the_measured_coherences() -> None:
    inside, _ = ratios("fourier")
    assert len(inside) == 125
    assert round(min(inside), 2) == 0.17
    assert round(max(inside), 1) == 9.8


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("wavelet", ["haar", "db2"])
def test_coherences_in_one_dimension_by_hand(transform: Transform, wavelet: str) -> None:
    n = 16
    if transform == "fourier":
        sensing: Any = np.fft.fft(np.eye(n), axis=0, norm="ortho")
    else:
        rows = hadamard(n)
        sensing = rows[np.argsort((np.diff(rows, axis=1) != 0).sum(axis=1))] / np.sqrt(n)
    depth = pywt.dwt_max_level(n, wavelet)
    synthesis = []
    for unit in np.eye(n):
        start = np.cumsum([0, n >> depth, *(n >> k for k in range(depth, 0, -1))])
        bands = [unit[a:b] for a, b in itertools.pairwise(start)]
        synthesis.append(pywt.waverec(bands, wavelet, mode="periodization"))
    energy = np.abs(sensing @ np.array(synthesis).T) ** 2
    sizes = [n >> depth, *(n >> k for k in range(depth, 0, -1))]
    scale = [max(1, k) for k, size in enumerate(sizes) for _ in range(size)]
    found = local_coherences((n,), transform, wavelet)
    band = band_of(n, transform)
    assert set(found) == {((k,), j) for k in range(1, 5) for j in range(1, max(scale) + 1)}
    for ((k,), j), value in found.items():
        rows_k = [i for i in range(n) if band[i] == k]
        columns_j = [i for i in range(n) if scale[i] == j]
        expected = len(rows_k) * energy[np.ix_(rows_k, columns_j)].max()
        assert value == pytest.approx(expected, rel=1e-9, abs=1e-25)


def test_coherences_of_a_shape_that_is_padded() -> None:
    found = local_coherences((6, 5))
    assert set(found) == {(k, j) for k in boxes((6, 5), "fourier") for j in (1, 2)}
    assert all(math.isfinite(v) and v >= 0 for v in found.values())


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"acceleration": 0.5}, "0.5"),
        ({"acceleration": 0}, "acceleration"),
        ({"acceleration": math.nan}, "nan"),
        ({"acceleration": math.inf}, "inf"),
        ({"acceleration": 2, "axis": 2}, "2-D"),
        ({"acceleration": 2, "axis": -3}, "-3"),
        ({"acceleration": 4, "centre": 5}, "Between 0 and 4"),
        ({"acceleration": 4, "centre": -1}, "-1"),
        ({"acceleration": 4, "power": math.nan}, "nan"),
    ],
)
def test_lines_refuse(arguments: dict[str, Any], word: str) -> None:
    assert_refuses(lambda: lines((16, 16), **arguments), word)


def test_coherences_refuse_large_shapes() -> None:
    assert_refuses(lambda: local_coherences((128, 64)), "4096", "8192")
