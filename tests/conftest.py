"""Settings that every test shares."""

from __future__ import annotations

import pytest
from hypothesis import settings

# Their assertions say what was compared, as those of the tests do.
pytest.register_assert_rewrite("laws", "oracles")

# The same examples at every run and no clock: a failure is a fault of the code, not of the day.
settings.register_profile("firenet", derandomize=True, deadline=None, max_examples=40, database=None)
settings.load_profile("firenet")
