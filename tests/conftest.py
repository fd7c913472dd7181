"""Settings that every test shares."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest
from hypothesis import settings

# Their assertions say what was compared, as those of the tests do.
pytest.register_assert_rewrite("laws", "oracles", "cases", "searching", "audits")

# The same examples at every run and no clock: a failure is a fault of the code, not of the day.
settings.register_profile("firenet", derandomize=True, deadline=None, max_examples=40, database=None)
settings.load_profile("firenet")

_jitter = contextlib.ExitStack()


def pytest_sessionstart() -> None:
    """Reads what is asked for in the environment.

    With FIRENET_DTYPE=float32 the laws of operators are tried in single precision alone, in every layout, with
    tolerances from its unit roundoff. With FIRENET_JITTER=<seed> everything, also what modules compute when they are
    imported, runs on an imitated processor whose sums come out in other last digits.
    """
    if os.environ.get("FIRENET_DTYPE", "float32") != "float32":
        pytest.exit(f"FIRENET_DTYPE is float32 or absent, not {os.environ['FIRENET_DTYPE']!r}", 4)
    if seed := os.environ.get("FIRENET_JITTER"):
        from jitter import Jitter

        _jitter.enter_context(Jitter(int(seed)))


def pytest_sessionfinish() -> None:
    _jitter.close()


@pytest.fixture(scope="session")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Centred k-space of a real slice, 64 x 64, 40 % sampled."""
    # Imported here: a session with another processor begins before the library is loaded.
    import numpy as np
    import torch

    from firenet import SubsampledFourier
    from firenet.images import load_slice
    from firenet.mri.kspace import to_centre
    from firenet.sensing import multilevel

    truth = load_slice()[::4, ::4].to(torch.complex64)
    y = SubsampledFourier(multilevel(truth.shape, 0.4).samples)(truth)
    path = tmp_path_factory.mktemp("scan") / "scan.npz"
    np.savez(path, kspace=to_centre(y, 2).numpy())
    return path
