"""What every bridge is tried with: the laws of an operator that came from another library, and the page's examples."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import torch

import firenet
from firenet import check_adjoint
from firenet.operators.linear import LinearOperator

PAGE = Path(__file__).parents[2] / "docs" / "operators.md"


def assert_is_sound(operator: LinearOperator, dense: np.ndarray | None = None, *, single: bool = False) -> None:
    """The adjoint passes the dot test of its precision, the norm bound is not below the largest singular value of the
    operator's matrix, and a matrix from elsewhere is that of the operator.

    In double precision a defect is a rounding error of sums of a few hundred terms, some 1e-15, and in single precision
    some 1e-7; an adjoint of another discretisation is off by 1e-3.
    """
    check = check_adjoint(operator)
    assert check.defect < (1e-6 if single else 1e-13)
    assert torch.finfo(check.dtype).bits == (32 if single else 64)
    dtype = operator.state_dtype(operator.arithmetic)
    own = operator.as_matrix(dtype).numpy()
    units = 1e-5 if single else 1e-12
    assert operator.norm_bound.value >= np.linalg.norm(own.astype(np.complex128), 2) * (1 - units)
    if dense is not None:
        assert np.allclose(own, dense, rtol=0, atol=units * np.abs(dense).max())


def assert_is_solved(
    operator: LinearOperator, truth: np.ndarray, *, psnr: float, noise: float = 0.0, single: bool = False
) -> None:
    """A reconstruction reaches its tolerance with a certificate, and resembles the truth.

    The measurements are in double precision, also for operators that compute in single precision, whose gap ends
    somewhat below 1 % of the objective. They are exact, or have Gaussian noise of a relative norm.
    """
    y = operator(torch.from_numpy(truth))
    y = y.to(torch.promote_types(y.dtype, torch.float64))
    e = torch.randn(y.shape, dtype=y.dtype, generator=torch.Generator().manual_seed(0))
    y = y + e * (noise * torch.linalg.vector_norm(y) / torch.linalg.vector_norm(e))
    solution = firenet.reconstruct(y, operator, sparsify="tv", tolerance=1e-2 if single else 1e-3, reweight=0)
    assert solution.status is firenet.Status.TOLERANCE_REACHED
    assert firenet.psnr(solution.image, truth) > psnr
    assert bool(solution.conditions) != operator.is_own  # what is not this library's own is trusted on a condition


def disc(rows: int = 16, columns: int = 16) -> np.ndarray:
    """An image of two regions, from 0 to 1."""
    y, x = np.indices((rows, columns))
    inside = ((y - rows / 2) / rows) ** 2 + ((x - columns / 2) / columns) ** 2 < 0.15
    return inside * (1 - 0.5 * (x > columns / 2))


def assert_example_runs(library: str) -> None:
    """The examples of the page that need a library run, in order."""
    text = PAGE.read_text(encoding="utf-8")
    found = list(re.finditer(rf"<!-- not run: needs {library}[;,].*?-->\n+```python\n(.*?)^```", text, re.S | re.M))
    assert found, f"no example of {library} in {PAGE.name}"
    namespace: dict[str, Any] = {"__name__": library}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for block in found:
            line = text.count("\n", 0, block.start(1))
            exec(compile("\n" * line + block[1], str(PAGE), "exec"), namespace)
