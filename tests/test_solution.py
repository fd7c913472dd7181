"""What a solution says of itself: statuses, advice, and numbers that overflow."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from cases import Iterate, iterates, kinds, problem, relative
from firenet import Firenet, Matrix, PaperSchedule, Status
from firenet.solver import FixedSteps
from firenet.solver.schedules import Schedule
from searching import ADAPTIVE, easy_and_hard


def test_every_status_has_advice():
    advice = [status.advice for status in Status]
    assert len(set(advice)) == len(Status) == 8
    assert "More layers" in Status.LAYER_LIMIT.advice
    assert "ouble precision" in Status.PRECISION_LIMIT.advice
    assert "scale" in Status.NUMERICAL_ERROR.advice
    assert "tolerance" in Status.TOLERANCE_REACHED.advice
    assert "not decided" in Status.DOES_NOT_FIT.advice
    assert "noise level" in Status.NO_IMAGE_FITS.advice
    assert "check_adjoint" in Status.WRONG_ADJOINT.advice


@iterates
def test_tolerance_reached_and_layer_limit(iterate: Iterate):
    data = problem("complex")
    net = data.net(PaperSchedule(10, 30), iterate)
    reached = net.solve(data.measured, tolerance=0.05)
    assert reached.statuses == (Status.TOLERANCE_REACHED,)
    assert reached.relative_gap.item() <= 0.05
    assert int(reached.layers) < 300
    for tolerance in (None, 1e-12):
        limit = net.solve(data.measured, tolerance=tolerance)
        assert limit.statuses == (Status.LAYER_LIMIT,)
        assert int(limit.layers) == 300
        assert limit.relative_gap.item() > 1e-12


@kinds
@iterates
def test_precision_limit(kind: str, iterate: Iterate):
    data = problem(kind)
    data.A, data.y = (v.astype(np.complex64 if kind == "complex" else np.float32) for v in (data.A, data.y))
    data.precision = torch.float32
    data.w = data.w.astype(np.float32)
    net = data.net(PaperSchedule(8, 400, 1e-6, 0.3) if iterate == "average" else FixedSteps(1500), iterate)
    solution = net.solve(data.measured, tolerance=1e-9)
    assert solution.statuses == (Status.PRECISION_LIMIT,)
    assert solution.relative_gap.item() <= 16 * 2**-23 * 3
    # A tolerance that the precision can meet is met.
    assert net.solve(data.measured, tolerance=1e-3).statuses == (Status.TOLERANCE_REACHED,)


OVERFLOW = {
    "float32": torch.full((3,), 1e38),
    "complex64": torch.full((3,), 1e38 + 1e38j, dtype=torch.complex64),
    "float64": torch.full((3,), 1e300, dtype=torch.float64),
    "complex128": torch.full((3,), 1e200j, dtype=torch.complex128),
}


@iterates
@pytest.mark.parametrize("schedule", [PaperSchedule(), FixedSteps()], ids=str)
@pytest.mark.parametrize("y", OVERFLOW.values(), ids=OVERFLOW)
def test_overflow_is_a_numerical_error_or_no_error_at_all(y: Tensor, schedule: Schedule, iterate: Iterate):
    """Never a wrong image without a word. The other items of the batch are none the worse."""
    matrix = torch.eye(4, dtype=y.dtype)[:3]
    net = Firenet(Matrix(matrix), lam=0.1, schedule=schedule, iterate=iterate)
    s = net.solve(torch.stack([y, y / y.abs().max()]), tolerance=2e-2)
    if s.statuses[0] != Status.NUMERICAL_ERROR:
        size = y.abs().to(torch.float64).max()
        assert relative((s.image[0, :3] / size).numpy(), (y / size.to(y.real.dtype)).numpy()) <= 0.1
        assert s.relative_gap[0] <= 2e-2 or s.statuses[0] == Status.LAYER_LIMIT
    assert s.statuses[1] == Status.TOLERANCE_REACHED
    assert torch.isfinite(s.image[1].abs()).all()


@iterates
def test_numerical_error(iterate: Iterate):
    matrix = torch.eye(4)[:3]
    net = Firenet(Matrix(matrix), lam=0.1, iterate=iterate)
    s = net.solve(torch.full((3,), 3e38))
    assert s.statuses == (Status.NUMERICAL_ERROR,)


def test_best_is_the_last_point_where_the_average_overflows():
    """The sum of fifty points of size 3e37 is not a float32; the fiftieth is."""
    y = torch.full((3,), 3e37)
    last, best = (
        Firenet(Matrix(torch.eye(4)[:3]), lam=0.1, schedule=FixedSteps(50), iterate=i).solve(y)
        for i in ("last", "best")
    )
    assert torch.isfinite(last.image).all()
    assert torch.equal(best.image, last.image)
    assert best.statuses == last.statuses != (Status.NUMERICAL_ERROR,)


def test_relative_gap_is_that_of_the_solution():
    data, y = easy_and_hard("real")
    solution = data.net(replace(ADAPTIVE, tolerance=1e-3)).solve(y)
    ratio = torch.where(solution.objective > 0, solution.gap / solution.lower_bound, 0.0)  # one item is zero
    torch.testing.assert_close(solution.relative_gap, ratio, rtol=1e-15, atol=0)
    torch.testing.assert_close(solution.gap, solution.objective - solution.lower_bound, rtol=1e-15, atol=0)
    assert solution.gap.shape == solution.objective.shape == solution.layers.shape == (4,)
