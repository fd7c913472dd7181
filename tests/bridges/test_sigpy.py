"""SigPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from bridge_laws import assert_example_runs

import firenet
from firenet import check_adjoint
from firenet.interop import from_sigpy

sigpy: Any = pytest.importorskip("sigpy")
linop: Any = pytest.importorskip("sigpy.mri.linop")


def test_sense_is_coils_times_samples() -> None:
    random = np.random.default_rng(0)
    maps = random.standard_normal((3, 16, 16)) + 1j * random.standard_normal((3, 16, 16))
    mask = random.random((16, 16)) < 0.5
    operator = from_sigpy(linop.Sense(maps, weights=mask.astype(float)))
    assert operator.title == "sigpy.Compose"
    assert check_adjoint(operator).defect < 1e-13
    own = firenet.MultiCoilFourier(torch.from_numpy(mask), torch.from_numpy(maps), centred=True)
    x = torch.from_numpy(random.standard_normal((2, 16, 16)) + 0j)
    assert torch.allclose(operator(x), own(x), rtol=1e-12)
    assert operator.norm_bound.value <= 1.1 * own.norm_bound.value


def test_non_uniform_samples() -> None:
    points = np.random.default_rng(0).uniform(-8, 8, (200, 2))
    operator = from_sigpy(sigpy.linop.NUFFT((16, 16), points))
    assert check_adjoint(operator).passed
    dense = operator.as_matrix(torch.complex128)
    assert operator.norm_bound.value >= torch.linalg.matrix_norm(dense, 2).item() * (1 - 1e-9)


def test_the_example_runs() -> None:
    assert_example_runs("SigPy")
