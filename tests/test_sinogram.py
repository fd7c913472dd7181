"""Sinograms: counts to line integrals, means of cells, the rotation axis, the ramp filter, filtered back-projection."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import firenet
from draws import uniform
from firenet import BadInput
from firenet.ct import RampWeighted, binned, filtered_backprojection, line_integrals, rotation_centre
from firenet.ct.backprojection import angular_shares
from firenet.ct.ramp import padded_length, ramp_response
from firenet.sensing import Projection

Array = NDArray[np.float64]
# Discs: x and y of the middle, radius, value.
DISCS = ((4.0, 9.0, 12.0, 1.0), (-13.0, -6.0, 5.0, 2.0), (10.0, -14.0, 3.0, -0.5))


def discs(angles: Array, cells: int, centre: float) -> Array:
    """Line integrals of discs through the middles of the cells."""
    at = np.arange(cells) - centre
    shifts = [np.outer(np.cos(angles), [x]) + np.outer(np.sin(angles), [y]) for x, y, _, _ in DISCS]
    views = [
        value * 2 * np.sqrt(np.maximum(radius**2 - (at - shift) ** 2, 0))
        for shift, (_, _, radius, value) in zip(shifts, DISCS, strict=True)
    ]
    return np.sum(views, axis=0)


# --- line integrals


def counts(dtype: Any = np.float64) -> tuple[Array, Array, Array, Array]:
    """Line integrals, and counts that have them."""
    rng = np.random.default_rng(0)
    p, white, dark = rng.uniform(0, 3, (6, 2, 50)), rng.uniform(2e4, 4e4, (2, 50)), rng.uniform(50, 150, (2, 50))
    flats, blacks = np.stack([white * 1.1, white * 0.9]), np.stack([dark - 9, dark + 9])
    return p, (dark + (white - dark) * np.exp(-p)).astype(dtype), flats.astype(dtype), blacks.astype(dtype)


def test_line_integrals_are_those_of_the_counts() -> None:
    p, data, white, dark = counts()
    found, notes = line_integrals(data, white, dark)
    assert found.dtype == torch.float64
    assert notes == ()
    # The logarithm turns relative errors of counts, a few units of 2^-53 over a transmission above e^-3, into absolute.
    assert np.abs(found.numpy() - p).max() <= 1e-13
    one_frame, _ = line_integrals(data, white.mean(axis=0), dark.mean(axis=0))
    assert torch.allclose(found, one_frame, rtol=0, atol=1e-13)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_counts_of_detectors(dtype: Any) -> None:
    p, data, white, dark = counts(dtype)
    found, notes = line_integrals(data, white, dark)
    assert found.dtype == torch.float32
    assert notes == ()
    # Counts of some 1000 and more, each rounded by at most one, as are fields.
    assert np.abs(found.numpy() - p).max() <= 3e-3


def test_no_dark_field() -> None:
    found, _ = line_integrals(np.full((2, 3), 50.0), np.full((4, 3), 100.0))
    assert torch.allclose(found, torch.full((2, 3), math.log(2), dtype=torch.float64), rtol=0, atol=1e-15)


def test_counts_without_light() -> None:
    p, data, white, dark = counts()
    data[1, 0, 7], data[2, 1, 9] = 0.0, dark.mean(axis=0)[1, 9]
    found, notes = line_integrals(data, white, dark)
    p[1, 0, 7] = p[2, 1, 9] = 0.0
    least = math.exp(-float(p.max()))
    assert notes == (f"2 counts at or below the dark field were set to a transmission of {least:.3g}",)
    assert found[1, 0, 7].item() == pytest.approx(-math.log(least), abs=1e-12)
    assert torch.isfinite(found).all()


def test_the_smallest_transmission_has_a_floor() -> None:
    data = np.full((30, 40), 1e4)
    data[0, 0], data[1, 1] = 1e-300, -5.0
    found, _ = line_integrals(data, np.full((1, 40), 1e4))
    assert found[1, 1].item() == pytest.approx(16 * math.log(2), abs=1e-12)


def test_defective_cells_are_interpolated() -> None:
    p, data, white, dark = counts()
    p[:, 0, 20] = (p[:, 0, 19] + p[:, 0, 21]) / 2
    p[:, 1, 0] = p[:, 1, 1]
    white[:, 0, 20], white[:, 1, 0] = dark[:, 0, 20], 0.0
    found, notes = line_integrals(data, white, dark)
    assert notes == ("2 defective cells were interpolated from their neighbours",)
    assert np.abs(found.numpy() - p).max() <= 1e-12


def test_a_note_of_another_exposure() -> None:
    _, data, white, dark = counts()
    assert "another exposure" in line_integrals(data, white / 40, dark)[1][0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"white": np.full((10, 2, 50), 20.0)}, "White fields that are brighter"),
        ({"projections": np.zeros((6, 2, 50))}, "Counts above the dark field"),
        ({"projections": np.zeros(5)}, "shape (views, ..., cells)"),
        ({"projections": np.zeros((0, 2, 50))}, "shape (views, ..., cells)"),
        ({"projections": np.full((6, 2, 50), np.nan)}, "Finite numbers for projections"),
        ({"projections": np.full((6, 2, 50), 1j)}, "Real numbers for projections"),
        ({"white": np.ones((10, 3, 50))}, "Frames of white fields"),
        ({"white": np.ones((0, 2, 50))}, "Frames of white fields"),
        ({"dark": np.ones((2, 49))}, "Frames of dark fields"),
        ({"dark": np.full((2, 50), np.inf)}, "Finite numbers for dark fields"),
    ],
)
def test_counts_that_are_refused(change: dict[str, Any], words: str) -> None:
    _, data, white, dark = counts()
    given = {"projections": data, "white": white, "dark": dark} | change
    with pytest.raises(BadInput) as caught:
        line_integrals(**given)
    assert words in str(caught.value)


# --- means of cells


def test_means_of_cells() -> None:
    given = uniform(3, 2, 11, dtype=torch.float32)
    found = binned(given, 4)
    assert found.dtype == torch.float32
    assert torch.allclose(found, given[..., :8].reshape(3, 2, 2, 4).mean(-1), rtol=0, atol=1e-7)
    assert binned(given, 1).equal(given)
    assert binned(np.arange(6), 3).tolist() == [1.0, 4.0]


def test_means_of_cells_are_wider_cells() -> None:
    """A Projection onto cells of four times the width is the mean of that onto four cells."""
    image = uniform(12, 12, dtype=torch.float64)
    fine = Projection([0.3, 1.9], 24, (12, 12), centre=10.3, spacing=0.5)
    wide = Projection([0.3, 1.9], 6, (12, 12), centre=(10.3 - 1.5) / 4, spacing=2.0)
    assert torch.allclose(binned(fine(image), 4), wide(image), rtol=0, atol=1e-10)


@pytest.mark.parametrize("factor", [0, -1, 9, 2.0, True])
def test_factors_that_are_refused(factor: Any) -> None:
    with pytest.raises(BadInput, match="A number of cells in a group"):
        binned(torch.ones(2, 8), factor)


# --- the axis


@pytest.mark.parametrize("views", [12, 37, 90])
@pytest.mark.parametrize("centre", [31.5, 33.3, 24.75, 39.9])
def test_the_axis_of_half_a_turn(views: int, centre: float) -> None:
    angles = np.arange(views) * math.pi / views
    assert rotation_centre(discs(angles, 64, centre), angles) == pytest.approx(centre, abs=0.05)


def test_the_axis_of_any_angles() -> None:
    rng = np.random.default_rng(0)
    angles = rng.permutation(np.arange(40)) * (2 * math.pi / 40) + rng.uniform(-0.05, 0.05, 40) - 3
    p = discs(angles, 64, 29.4)
    assert rotation_centre(p, angles) == pytest.approx(29.4, abs=0.05)
    assert rotation_centre(1e-30 * p, angles) == pytest.approx(29.4, abs=0.05)
    noisy = p + 0.3 + rng.normal(size=p.shape)
    assert rotation_centre(noisy, angles) == pytest.approx(29.4, abs=0.25)


def test_the_axis_of_a_measured_scan() -> None:
    """Its distributors state the cell 296."""
    with np.load(Path(firenet.__file__).parent / "data" / "tooth_37_views.npz") as file:
        data, white, dark = (file[name] for name in ("sinogram", "white", "dark"))
        angles = np.deg2rad(file["theta"])
    p, notes = line_integrals(data, white, dark)
    assert p.shape == (37, 1, 640)
    assert notes == ()
    assert rotation_centre(p[:, 0], angles) == pytest.approx(296, abs=0.3)
    assert 4 * rotation_centre(binned(p[:, 0], 4), angles) + 1.5 == pytest.approx(296, abs=0.3)


@pytest.mark.parametrize(
    ("sinogram", "angles", "words"),
    [
        (np.ones((20, 2, 30)), np.arange(20) * 0.16, "A sinogram (views, cells)"),
        (np.ones((20, 30)), np.arange(19) * 0.16, "an angle for each view"),
        (np.ones((20, 30)) * 1j, np.arange(20) * 0.16, "A real sinogram"),
        (np.full((20, 30), np.nan), np.arange(20) * 0.16, "Finite line integrals"),
        (np.ones((20, 30)), np.arange(20) * 0.1, "8 views or more"),
        (np.ones((7, 30)), np.arange(7) * math.pi / 7, "8 views or more"),
        (np.zeros((20, 30)), np.arange(20) * 0.16, "A sinogram with structure"),
    ],
)
def test_sinograms_without_an_axis(sinogram: Array, angles: Array, words: str) -> None:
    with pytest.raises(BadInput) as caught:
        rotation_centre(sinogram, angles)
    assert words in str(caught.value)


# --- filtered back-projection


@pytest.mark.parametrize("length", [4, 8, 64, 1024])
def test_the_ramp(length: int) -> None:
    response = ramp_response(length)
    assert response.shape == (length // 2 + 1,)
    assert response.min() > 0
    # The tail of the sum of 2/(pi k)^2 over odd k is 1/(pi^2 K) between neighbours, and at most that much elsewhere.
    frequency = np.arange(length // 2 + 1) / length
    assert np.abs(response - frequency).max() <= 2.1 / (math.pi**2 * length)
    assert padded_length(length) == 2 * length


def test_filtered_backprojection_of_discs() -> None:
    angles = np.arange(180) * math.pi / 180
    geometry = Projection(angles, 64, (64, 64), centre=30.2)
    image = filtered_backprojection(discs(angles, 64, 30.2), geometry).numpy()
    y, x = np.mgrid[31.5:-32.5:-1, -31.5:32.5:1]
    for a, b, radius, value in DISCS:
        inside = np.hypot(x - a, y - b) < radius - 2
        assert image[inside].mean() == pytest.approx(value, abs=0.02)
    outside = np.all([np.hypot(x - a, y - b) > radius + 3 for a, b, radius, _ in DISCS], axis=0)
    assert abs(image[outside & (np.hypot(x, y) < 28)].mean()) < 0.02


def test_units_and_turns() -> None:
    half = np.arange(24) * math.pi / 24
    whole = np.concatenate([half, half + math.pi])
    image = uniform(16, 16, dtype=torch.float64)
    one, two = Projection(half, 26, (16, 16)), Projection(whole, 26, (16, 16))
    found = filtered_backprojection(one(image), one)
    assert torch.allclose(filtered_backprojection(two(image), two), found, rtol=0, atol=1e-12)
    finer = Projection(half, 26, (16, 16), pixel=0.01, spacing=0.01)
    assert torch.allclose(filtered_backprojection(finer(image), finer), found, rtol=0, atol=1e-11)
    batch = torch.stack([one(image), 2 * one(image)]).float()
    both = filtered_backprojection(batch, one)
    assert both.dtype == torch.float32
    assert torch.allclose(both[1], 2 * found.float(), rtol=0, atol=1e-5)


def test_shares_of_views() -> None:
    assert np.allclose(angular_shares(np.array([0.0, 0.1, 0.2, 1.0])), [1.12079633, 0.1, 0.45, 1.47079633])
    assert angular_shares(np.array([1.0])).tolist() == [math.pi]
    assert angular_shares(np.random.default_rng(0).uniform(-9, 9, 20)).sum() == pytest.approx(math.pi, abs=1e-13)


def test_sinograms_that_are_refused() -> None:
    a = Projection([0.0, 1.0], 8, (6, 6))
    fan = Projection([0.0], 8, (6, 6), geometry="fan", source_distance=20, detector_distance=5)
    for call, words in (
        (lambda: filtered_backprojection(torch.ones(1, 8), fan), "parallel rays"),
        (lambda: filtered_backprojection(torch.ones(2, 7), a), "trailing shape \\(2, 8\\)"),
        (lambda: filtered_backprojection(torch.ones(2, 8) * 1j, a), "A real sinogram"),
        (lambda: filtered_backprojection(torch.full((2, 8), math.nan), a), "A finite sinogram"),
    ):
        with pytest.raises(BadInput, match=words):
            call()


def test_weights_take_fewer_layers() -> None:
    """Both problems are solved to their gap; the weights take fewer layers, and the image is better than one that is
    only filtered."""
    angles = np.arange(12) * math.pi / 12
    a, all_angles = Projection(angles, 40, (40, 40)), np.arange(180) * math.pi / 180
    y, weighted = torch.from_numpy(discs(angles, 40, 19.5)), RampWeighted(a)
    settings: dict[str, Any] = {"sparsify": "undecimated:haar:2", "reweight": 0, "tolerance": 3e-2}
    plain = firenet.reconstruct(y, a, **settings)
    ramp = firenet.reconstruct(weighted.weigh(y), weighted, **settings)
    assert float(ramp.relative_gap) <= 3e-2
    assert int(ramp.layers) < int(plain.layers)
    whole = Projection(all_angles, 40, (40, 40))
    reference = filtered_backprojection(discs(all_angles, 40, 19.5), whole)
    inside = torch.from_numpy(np.hypot(*np.mgrid[-19.5:20.5:1, -19.5:20.5:1]) < 19)
    errors = [float((x - reference)[inside].norm()) for x in (ramp.image, filtered_backprojection(y, a))]
    assert errors[0] < errors[1]
