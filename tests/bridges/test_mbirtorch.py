"""mbirtorch: projections in three dimensions, in single precision."""

from __future__ import annotations

import os
import warnings
from typing import Any

# Compiling its projectors takes minutes on a CPU.
os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")

import numpy as np
import pytest
import torch

from bridge_laws import assert_example_runs, assert_is_solved, assert_is_sound
from firenet import BadInput
from firenet.interop import from_mbirtorch

with warnings.catch_warnings():
    warnings.simplefilter("ignore", RuntimeWarning)  # that torch has one thread
    mbirtorch: Any = pytest.importorskip("mbirtorch")

VIEWS, ROWS, CHANNELS = 6, 4, 7


def angles(views: int = VIEWS) -> np.ndarray:
    return np.linspace(0, np.pi, views, endpoint=False).astype(np.float32)


def model(name: str, shape: tuple[int, int, int] = (VIEWS, ROWS, CHANNELS)) -> Any:
    if name == "parallel":
        return mbirtorch.ParallelBeamModel(shape, angles(shape[0]))
    return mbirtorch.ConeBeamModel(shape, 2 * angles(shape[0]), source_detector_dist=40.0, source_iso_dist=30.0)


@pytest.mark.parametrize("name", ["parallel", "cone"])
def test_it_is_the_projection(name: str) -> None:
    theirs = model(name)
    operator = from_mbirtorch(theirs)
    assert operator.title == f"mbirtorch.{type(theirs).__name__}"
    assert operator.in_shape == tuple(theirs.get_params("recon_shape"))
    assert operator.out_shape == (VIEWS, ROWS, CHANNELS)
    assert_is_sound(operator, single=True)
    x = np.random.default_rng(0).random((2, *operator.in_shape)).astype(np.float32)
    found = operator(torch.from_numpy(x))
    assert found.dtype == torch.float32
    for item, measured in zip(x, found, strict=True):
        assert np.array_equal(measured.numpy(), np.asarray(theirs.forward_project(item)))


def test_a_certified_reconstruction_of_a_cone_beam() -> None:
    operator = from_mbirtorch(model("cone", (12, 6, 8)))
    truth = np.zeros(operator.in_shape)
    truth[2:6, 3:7, 1:4] = 1
    assert_is_solved(operator, truth, psnr=30, noise=0.01, single=True)


def test_what_is_refused() -> None:
    with pytest.raises(BadInput, match="TomographyModel"):
        from_mbirtorch(np.eye(3))


def test_the_example_runs() -> None:
    assert_example_runs("mbirtorch")
