"""separation: gamma, depth and digits of two columns at an angle, against closed forms."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from firenet.paper.separation import draw, matrix, separated


def test_constants_depth_and_digits_change_together(tmp_path: Path) -> None:
    angles = (1.0, 1e-2, 1e-4, 1e-6, 1e-9)
    found = separated(3, 40, angles)
    *some, zero = found
    assert [f.angle for f in found] == [*angles, 0.0]
    for f in some:
        assert f.gamma is not None
        assert f.layers is not None
        # ||x_D|| <= ||A^-1 Ax||: the smallest possible gamma is the largest row of the inverse, 1/(a sin(angle)).
        least = 1 / (500 * math.sin(f.angle))
        assert least * (1 - 1e-9) <= f.gamma <= 1.01 * max(least, np.linalg.norm(np.linalg.inv(matrix(f.angle, 3)), 2))
    gammas, layers, digits = ([getattr(f, name) for f in some] for name in ("gamma", "layers", "digits"))
    assert gammas == sorted(gammas)
    assert layers == sorted(layers)
    assert digits == sorted(digits, reverse=True)
    # Ten times smaller an angle: ten times the depth, and a digit less.
    assert layers[2] / layers[1] == pytest.approx(100, rel=0.15)
    assert digits[1] - digits[2] == pytest.approx(2, abs=0.01)
    # At the angle 0 the property is refuted, with a vector that was checked exactly.
    assert (zero.rho, zero.gamma, zero.layers, zero.digits) == (None, None, None, 0.0)
    draw(found, 3, 40, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 10_000


def test_data_that_are_too_inexact_for_the_theorem() -> None:
    """Lemma C: gamma times the inexactness must be small. At an angle of 1e-4, gamma is 20."""
    (found, _) = separated(3, 3, [1e-4])
    assert found.gamma == pytest.approx(20, rel=1e-4)
    assert found.layers is None
    assert found.digits == 0
