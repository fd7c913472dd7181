"""For tests/test_layer.py, once shrink_ is right (add `import itertools`)."""
import itertools
import pytest
import torch
from firenet import Matrix
from firenet.problems import SquareRootLasso
from test_layer import DTYPES, kinds, near, random


@kinds
@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("weighted", [False, True])
def test_shrink_in_place_for_every_length_and_ratio(kind: str, bits: int, weighted: bool):
    """Numbers far above the threshold, in vectors that fill no register: no rounding may turn a phase, no square
    overflow."""
    dtype = {("real", 32): torch.float32, ("complex", 32): torch.complex64}.get((kind, bits), DTYPES[kind])
    for n, exponent in itertools.product((1, 2, 3, 5, 6, 7, 15, 16, 20, 33), (0, 2, 4, 6, 8, 12, 15, 18, 22, 30)):
        weights = (torch.rand(n, generator=torch.Generator().manual_seed(1)) + 0.5).to(dtype.to_real())
        problem = SquareRootLasso(Matrix(torch.ones(1, n, dtype=dtype)), weights if weighted else None, 0.7)
        v = random((7, n), dtype, exponent)
        tau = torch.full((7, 1), 10.0**-exponent, dtype=dtype.to_real())
        near(problem.shrink_(v.clone(), problem.threshold(tau, v)), problem.shrink(v, tau), 4)


@kinds
def test_a_threshold_of_zero_is_no_division_by_zero(kind: str):
    dtype = DTYPES[kind].to_real()
    problem = SquareRootLasso(Matrix(torch.ones(1, 4, dtype=dtype)), None, 1e-300)
    v = random((1, 4), DTYPES[kind], 0)
    tau = torch.full((1, 1), 1e-300, dtype=dtype)
    near(problem.shrink_(v.clone(), problem.threshold(tau, v)), v)
    near(problem.shrink(v, tau), v)
