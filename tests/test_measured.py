"""Files of measurements of any kind: trajectories, projections and patterns, read from the file or refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from extras import h5py, ismrmrd
from file_seeds import mrd, mrd_header
from firenet.errors import BadInput
from firenet.io.files import Scan, read_scan
from firenet.io.measured import Patterns, Readouts, Sinogram, read_measured

SPOKES, SAMPLES, COILS, SIDE = 5, 12, 2, 6


def spokes() -> np.ndarray:
    """Radial readouts (spoke, sample, (x, y)) in cycles per pixel."""
    angles = np.pi * np.arange(SPOKES) / SPOKES
    r = (np.arange(SAMPLES) - SAMPLES // 2) / SAMPLES
    return np.stack([np.outer(np.cos(angles), r), np.outer(np.sin(angles), r)], axis=-1)


def samples(*shape: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


def line(data: np.ndarray, path: np.ndarray | None, flag: int = 0, **counters: int) -> Any:
    given = () if path is None else (path.astype(np.float32),)
    one: Any = ismrmrd.Acquisition.from_array(np.ascontiguousarray(data), *given)
    for name, value in counters.items():
        setattr(one.idx if hasattr(one.idx, name) else one, name, value)
    if flag:
        one.set_flag(flag)
    return one


def header(z: int = 1, trajectory: str = "radial") -> str:
    return mrd_header((z, SIDE, SIDE), kept=SIDE, trajectory=trajectory)


@pytest.mark.parametrize(
    ("unit", "said"),
    [(1.0, None), (SIDE, "in cycles per field of view"), (2 * np.pi, None)],
    ids=["cycles per pixel", "cycles per field of view", "radians"],
)
@pytest.mark.parametrize("third", [False, True])
def test_radial_scans_are_read_in_any_unit(tmp_path: Path, unit: float, said: str | None, third: bool) -> None:
    # In radians the largest number is pi, which on this grid of 6 is below the 3 cycles of half a field of view only on
    # larger grids: the unit is then found for 16 x 16.
    side = 16 if unit == 2 * np.pi else SIDE
    text = mrd_header((1, side, side), kept=side, trajectory="radial")
    k, path = samples(2, COILS, SPOKES, SAMPLES), unit * spokes()
    path = np.concatenate([path, np.zeros((SPOKES, SAMPLES, 1))], axis=-1) if third else path
    lines = [line(k[s, :, j], path[j], slice=s, kspace_encode_step_1=j) for j in range(SPOKES) for s in range(2)]
    found = read_measured(mrd(tmp_path / "a.h5", text, lines), coils=True)
    assert isinstance(found, Readouts)
    np.testing.assert_array_equal(found.kspace, k)
    np.testing.assert_allclose(found.trajectory, np.stack([spokes()[..., ::-1]] * 2), atol=1e-6)
    assert found.shape == (side, side)
    assert found.voxel_size == (2.0, 1.0)
    assert any("radial: 5 readouts of 12 samples" in note for note in found.notes)
    said = "in radians" if unit == 2 * np.pi else said
    assert any("taken to be" in note for note in found.notes) is (said is not None)
    assert said is None or any(said in note for note in found.notes)


def test_partitions_are_the_third_coordinate_of_a_stack_of_stars(tmp_path: Path) -> None:
    k, partitions = samples(COILS, 4, SPOKES, SAMPLES), 4
    lines = [
        line(k[:, z, j], spokes()[j], kspace_encode_step_1=j, kspace_encode_step_2=z)
        for z in range(partitions)
        for j in range(SPOKES)
    ]
    found = read_measured(mrd(tmp_path / "a.h5", header(partitions), lines), coils=True)
    assert isinstance(found, Readouts)
    assert found.shape == (partitions, SIDE, SIDE)
    assert found.voxel_size == (3.0, 2.0, 1.0)
    np.testing.assert_array_equal(found.kspace[0], k.reshape(COILS, -1, SAMPLES))
    path = found.trajectory[0].reshape(partitions, SPOKES, SAMPLES, 3)
    np.testing.assert_allclose(path[..., 1:], np.stack([spokes()[..., ::-1]] * partitions), atol=1e-6)
    np.testing.assert_allclose(path[..., 0], np.broadcast_to((np.arange(4) - 2)[:, None, None] / 4, path.shape[:3]))


def test_navigators_and_discarded_samples_are_left_out(tmp_path: Path) -> None:
    k = samples(COILS, SPOKES, SAMPLES)
    lines = [line(k[:, j], spokes()[j], discard_pre=2, discard_post=1) for j in range(SPOKES)]
    lines.insert(2, line(k[:, 0], spokes()[0], flag=ismrmrd.ACQ_IS_NAVIGATION_DATA, discard_pre=2, discard_post=1))
    found = read_measured(mrd(tmp_path / "a.h5", header(), lines), coils=True)
    assert isinstance(found, Readouts)
    np.testing.assert_array_equal(found.kspace[0], k[..., 2:-1])
    assert found.trajectory.shape == (1, SPOKES, SAMPLES - 3, 2)
    assert any("1 of navigator" in note for note in found.notes)


NAN = np.where(np.arange(SAMPLES)[:, None] == 3, np.nan, spokes()[1])


@pytest.mark.parametrize(
    ("lines", "needed"),
    [
        (lambda k: [line(k[:, j], None) for j in range(SPOKES)], "a trajectory of 2 or 3 coordinates"),
        (lambda k: [line(k[:, j], 1000 * spokes()[j]) for j in range(SPOKES)], "cycles per pixel, cycles per field"),
        (lambda k: [line(k[:, j], NAN) for j in range(SPOKES)], "finite trajectory"),
        (lambda k: [line(k[:, j], spokes()[j], slice=j // 3) for j in range(SPOKES)], "same number of lines in every"),
        (
            lambda k: [line(k[:, j], spokes()[j] if j else np.ones((SAMPLES, 3))) for j in range(SPOKES)],
            "a trajectory of 2 or 3 coordinates",
        ),
    ],
    ids=["none", "a unknown unit", "NaN", "incomplete slices", "coordinates that differ"],
)
def test_other_trajectories_are_refused(tmp_path: Path, lines: Callable[[np.ndarray], list[Any]], needed: str) -> None:
    path = mrd(tmp_path / "a.h5", header(), lines(samples(COILS, SPOKES, SAMPLES)))
    with pytest.raises(BadInput, match=needed):
        read_measured(path, coils=True)


def test_echo_planar_scans_are_refused(tmp_path: Path) -> None:
    path = mrd(tmp_path / "a.h5", header(trajectory="epi"), [line(samples(COILS, SAMPLES), spokes()[0])])
    with pytest.raises(BadInput, match="read in one direction"):
        read_measured(path, coils=True)


@pytest.mark.parametrize("suffix", ["npz", "h5"])
def test_arrays_beside_each_other_say_what_was_measured(tmp_path: Path, suffix: str) -> None:
    def saved(name: str, **arrays: np.ndarray) -> Path:
        path = tmp_path / f"{name}.{suffix}"
        if suffix == "npz":
            np.savez(path, **arrays)  # pyright: ignore[reportArgumentType]
        else:
            with h5py.File(path, "w") as file:
                for key, array in arrays.items():
                    file[key] = array
        return path

    k = samples(COILS, SPOKES, SAMPLES)
    radial = saved("radial", kspace=k, trajectory=spokes(), shape=np.array([8, 8]))
    found = read_measured(radial, coils=True)
    assert isinstance(found, Readouts)
    assert found.shape == (8, 8)
    np.testing.assert_array_equal(found.kspace, k[None])
    np.testing.assert_array_equal(found.trajectory, spokes())
    with pytest.raises(BadInput, match="Coil maps for k-space of several coils"):
        read_measured(radial)
    with pytest.raises(BadInput, match="k-space on a Cartesian grid"):
        read_scan(radial)

    rng = np.random.default_rng(0)
    projections = rng.random((4, 10)).astype(np.float32)
    found = read_measured(saved("ct", sinogram=projections, theta=np.arange(4) * 45))
    assert isinstance(found, Sinogram)
    np.testing.assert_array_equal(found.projections, projections[None])
    np.testing.assert_array_equal(found.theta, [0, 45, 90, 135])
    assert found.white is None
    for white in (np.ones((3, 10)), np.ones(10)):
        found = read_measured(saved("counts", sinogram=projections, theta=np.arange(4) * 45, white=white))
        assert isinstance(found, Sinogram)
        assert found.white is not None
        np.testing.assert_array_equal(found.white, white.reshape(-1, 1, 10))

    found = read_measured(saved("camera", measurements=rng.random(7), index=np.arange(7)))
    assert isinstance(found, Patterns)
    assert found.shape is None
    assert found.index is not None
    np.testing.assert_array_equal(found.index, np.arange(7))

    found = read_measured(saved("grid", kspace=k[0], mask=np.ones((SPOKES, SAMPLES), np.uint8)))
    assert isinstance(found, Scan)


def test_the_data_exchange_layout_is_read(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    data, white, dark = rng.random((4, 2, 10)), 1 + rng.random((3, 2, 10)), 0.1 * rng.random((2, 2, 10))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, array in {"data": data, "data_white": white, "data_dark": dark, "theta": np.arange(4) * 45}.items():
            file[f"exchange/{name}"] = array
    found = read_measured(tmp_path / "a.h5")
    assert isinstance(found, Sinogram)
    np.testing.assert_array_equal(found.projections, data.transpose(1, 0, 2))
    assert found.white is not None
    assert found.dark is not None
    np.testing.assert_array_equal(found.white, white)
    np.testing.assert_array_equal(found.dark, dark)
    with pytest.raises(BadInput, match="whose axes can be named"):
        read_measured(tmp_path / "a.h5", axes=("y", "x"))


@pytest.mark.parametrize(
    ("arrays", "needed"),
    [
        ({"sinogram": np.ones((4, 10))}, "The angles of the projections"),
        ({"sinogram": np.ones((4, 10)), "theta": np.arange(5)}, "first axis is that of the angles"),
        ({"sinogram": np.ones((4, 10), complex), "theta": np.arange(4)}, "Real projections"),
        ({"sinogram": np.ones((4, 10)), "theta": np.arange(4), "white": np.ones((3, 9))}, "White frames"),
        ({"sinogram": np.ones((4, 10)), "theta": np.array([0, 1, np.nan, 3])}, "finite numbers"),
        ({"kspace": samples(5, 12), "trajectory": np.zeros((5, 11, 2))}, "coordinates of each sample"),
        ({"kspace": np.ones((5, 12)), "trajectory": spokes()}, "Complex k-space"),
        ({"kspace": samples(5, 12), "trajectory": spokes(), "shape": np.array([8.5, 8])}, "whole sides"),
        ({"measurements": np.ones(3), "shape": np.array([0, 8])}, "whole sides"),
    ],
)
def test_arrays_that_do_not_belong_together_are_refused(
    tmp_path: Path, arrays: dict[str, np.ndarray], needed: str
) -> None:
    np.savez(tmp_path / "a.npz", **arrays)  # pyright: ignore[reportArgumentType]
    with pytest.raises(BadInput, match=needed):
        read_measured(tmp_path / "a.npz")
