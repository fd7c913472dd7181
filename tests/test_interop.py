"""The bridge to SciPy. The others, to libraries that ``make test`` does not install, have tests/bridges/."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import sparse
from scipy.sparse.linalg import LinearOperator as Theirs, aslinearoperator, lsqr, svds

import firenet
from cases import entries, some
from firenet import Matrix, SubsampledFourier, check_adjoint
from firenet.interop import from_scipy, to_scipy
from laws import assert_refuses


@pytest.mark.parametrize("complex_", [False, True])
def test_from_scipy_is_the_matrix(complex_: bool) -> None:
    matrix = entries(6, 12, complex_=complex_)
    operator = from_scipy(aslinearoperator(matrix.numpy()), (3, 4), (2, 3))
    for dtype in (torch.float64, torch.complex128):
        x = torch.from_numpy(np.random.default_rng(0).standard_normal((5, 3, 4))).to(dtype)
        expected = (x.flatten(1).to(torch.complex128) @ matrix.to(torch.complex128).mT).view(5, 2, 3)
        assert torch.allclose(operator(x).to(torch.complex128), expected, rtol=1e-12)
        assert operator(x).is_complex() == (complex_ or dtype.is_complex)
    assert check_adjoint(operator).defect < 1e-14
    assert operator.norm_bound.value >= np.linalg.norm(matrix.numpy(), 2) * (1 - 1e-12)


def test_there_and_back() -> None:
    own = SubsampledFourier(some((6, 8)))
    theirs = to_scipy(own)
    assert theirs.shape == (48, 48)
    assert theirs.dtype == np.complex128
    dense = own.as_matrix(torch.complex128).numpy()
    x = np.random.default_rng(0).standard_normal((48, 2)) + 1j
    assert np.allclose(theirs @ x, dense @ x, rtol=1e-12)
    assert np.allclose(theirs.H @ x[:, 0], dense.conj().T @ x[:, 0], rtol=1e-12)
    again = from_scipy(theirs, (6, 8), (6, 8))
    assert torch.allclose(again.as_matrix(torch.complex128), torch.from_numpy(dense), rtol=1e-12)


def test_scipy_solves_with_ours() -> None:
    matrix = entries(9, 5)
    theirs = to_scipy(Matrix(matrix))
    assert theirs.dtype == np.float64
    y = matrix.numpy() @ np.arange(5.0)
    assert np.allclose(lsqr(theirs, y, atol=1e-14, btol=1e-14)[0], np.arange(5.0), atol=1e-10)
    top = svds(theirs, k=1, v0=np.ones(5))[1][0]
    assert Matrix(matrix).norm_bound.value == pytest.approx(top, rel=1e-10)


def test_a_certified_reconstruction() -> None:
    random = np.random.default_rng(0)
    matrix = sparse.coo_matrix(random.standard_normal((160, 256)) * (random.random((160, 256)) < 0.2))
    operator = from_scipy(matrix, (16, 16))
    truth = np.zeros((16, 16))
    truth[4:11, 5:13] = 1
    y = torch.from_numpy(matrix @ truth.ravel())
    solution = firenet.reconstruct(y, operator, sparsify="tv", tolerance=1e-3)
    assert solution.status is firenet.Status.TOLERANCE_REACHED
    assert firenet.psnr(solution.image, truth) > 40
    assert "adjoint of coo_" in solution.conditions[0]


def test_an_adjoint_that_is_none_is_refused_by_name() -> None:
    class Wrong(Theirs):
        def __init__(self) -> None:
            super().__init__(np.float64, (4, 4))

        def _matvec(self, x: np.ndarray) -> np.ndarray:
            return np.cumsum(x)

        def _rmatvec(self, x: np.ndarray) -> np.ndarray:
            return np.cumsum(x)

    assert_refuses(lambda: firenet.reconstruct(torch.ones(4).double(), from_scipy(Wrong()), sparsify="tv"), "Wrong")


def test_shapes_of_other_sizes_are_refused() -> None:
    assert_refuses(lambda: from_scipy(np.ones((3, 4)), (2, 3)), "in_shape of 4 numbers")
    assert_refuses(lambda: from_scipy(np.ones((3, 4)), (2, 2), (2,)), "out_shape of 3 numbers")
