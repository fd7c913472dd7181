"""PyLops, whose operators are SciPy's with the shapes of images."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from bridge_laws import assert_example_runs

from firenet import SubsampledFourier, check_adjoint
from firenet.interop import from_scipy, to_scipy

pylops: Any = pytest.importorskip("pylops")


@pytest.mark.parametrize("make", ["Gradient", "FFT2D", "Convolve2D"])
def test_from_pylops(make: str) -> None:
    theirs = {
        "Gradient": lambda: pylops.Gradient((12, 10)),
        "FFT2D": lambda: pylops.signalprocessing.FFT2D((8, 8)),
        "Convolve2D": lambda: pylops.signalprocessing.Convolve2D((8, 8), h=np.ones((3, 3)), offset=(1, 1)),
    }[make]()
    operator = from_scipy(theirs)
    assert operator.in_shape == tuple(theirs.dims)
    assert operator.out_shape == tuple(theirs.dimsd)
    assert check_adjoint(operator).defect < 1e-13
    assert operator.norm_bound.value >= np.linalg.norm(theirs.todense(), 2) * (1 - 1e-12)


def test_to_pylops() -> None:
    own = SubsampledFourier(torch.from_numpy(np.random.default_rng(0).random((6, 6)) < 0.5))
    theirs = pylops.LinearOperator(to_scipy(own))
    assert pylops.utils.dottest(theirs, complexflag=3, rtol=1e-12)


def test_the_example_runs() -> None:
    assert_example_runs("PyLops")
