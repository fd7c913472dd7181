"""Settings that every test shares."""

from __future__ import annotations

import contextlib
import os

import pytest
from hypothesis import settings

# Their assertions say what was compared, as those of the tests do.
pytest.register_assert_rewrite("laws", "oracles")

# The same examples at every run and no clock: a failure is a fault of the code, not of the day.
settings.register_profile("firenet", derandomize=True, deadline=None, max_examples=40, database=None)
settings.load_profile("firenet")

_jitter = contextlib.ExitStack()


def pytest_sessionstart() -> None:
    """With FIRENET_JITTER=<seed> everything, also what modules compute when they are imported, runs on an imitated
    processor whose sums come out in other last digits."""
    if seed := os.environ.get("FIRENET_JITTER"):
        from jitter import Jitter

        _jitter.enter_context(Jitter(int(seed)))


def pytest_sessionfinish() -> None:
    _jitter.close()
