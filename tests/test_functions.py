"""Operators of two functions and of sparse matrices, and the algebra: what the laws do not say, and refusals."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any, cast

import numpy as np
import pytest
import torch
from scipy import sparse
from torch import Tensor

from cases import entries
from firenet import BadInput, LinearOperator, Matrix, Status, SubsampledFourier, certify, check_adjoint, reconstruct
from firenet.operators import SparseMatrix, Weighted
from firenet.reconstruction.defaults import default_network
from laws import assert_refuses


def same(x: Any) -> Any:
    return x


def test_functions_of_libraries_that_return_what_they_like() -> None:
    matrix = entries(6, 5)
    results = {
        "an array": lambda x: matrix.numpy() @ x,
        "a list": lambda x: (matrix.numpy() @ x).tolist(),
        "a tensor": lambda x: matrix @ torch.from_numpy(x).double(),
        "fortran": lambda x: np.asfortranarray(matrix.numpy() @ x),
    }
    for name, forward in results.items():
        a = LinearOperator.from_functions(forward, lambda y: matrix.numpy().T @ y, (5,), (6,), numpy=True)
        x = torch.arange(5, dtype=torch.float64)
        assert torch.allclose(a(x), matrix @ x, rtol=1e-14), name
        assert a(x.float()).dtype == torch.float32, name
        assert check_adjoint(a).passed


def test_what_a_function_does_to_its_argument_stays_there() -> None:
    def spoils(x: Tensor) -> Tensor:
        return x.mul_(2)

    a = LinearOperator.from_functions(spoils, spoils, (3,), (3,))
    x = torch.ones(3)
    assert a(x).tolist() == [2, 2, 2]
    assert x.tolist() == [1, 1, 1]


def test_second_derivatives_and_batches_of_none() -> None:
    matrix = entries(4, 3)
    a = LinearOperator.from_functions(lambda x: matrix @ x, lambda y: matrix.mT @ y, (3,), (4,))
    x = torch.ones(2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda v: a(v).pow(3).sum(), (x,))
    assert a(torch.zeros(0, 3, dtype=torch.float64)).shape == (0, 4)


@pytest.mark.parametrize(
    ("change", "needed"),
    [
        ({"forward": 3}, "A function for the forward function"),
        ({"in_shape": 4}, "in_shape: a tuple of positive sides"),
        ({"out_shape": (4, 0)}, "out_shape: a tuple of positive sides"),
        ({"gain": -1.0}, "noise gain"),
        ({"seed": -1}, "A seed"),
    ],
)
def test_arguments_that_are_refused(change: dict[str, Any], needed: str) -> None:
    given = {"forward": same, "adjoint": same, "in_shape": (4,), "out_shape": (4,)} | change
    assert_refuses(lambda: LinearOperator.from_functions(**given), needed)


@pytest.mark.parametrize(
    ("forward", "how", "needed"),
    [
        (lambda x: x[:2], {}, "A result of shape \\(4,\\) from the forward function"),
        (lambda x: x > 0, {}, "Floating-point or complex"),
        (lambda x: ["a"] * 4, {}, "Numbers for the result"),
        (lambda x: x + 1j, {"real": True}, "Real numbers from the forward function"),
        (lambda x: x[0], {"batched": True}, "A result of shape \\(1, 4\\)"),
    ],
)
def test_results_that_are_refused(forward: Any, how: dict[str, Any], needed: str) -> None:
    a = LinearOperator.from_functions(forward, same, (4,), (4,), **how)
    with pytest.raises(BadInput, match=needed):
        a(torch.ones(4, dtype=torch.complex64 if "real" in how else torch.float32))


# --- sparse matrices


@pytest.mark.parametrize("complex_", [False, True])
@pytest.mark.parametrize("make", [sparse.csr_array, sparse.csc_matrix, sparse.coo_array, sparse.bsr_array])
def test_sparse_matrices_of_scipy(make: Any, complex_: bool) -> None:
    dense = entries(9, 7, complex_=complex_) * (entries(9, 7, seed=1) > 0.2)
    operator = Matrix(make(dense.numpy()))
    assert isinstance(operator, SparseMatrix)
    assert operator.entries.numel() == int((dense != 0).sum())
    assert torch.equal(operator.as_matrix(torch.complex128), dense.to(torch.complex128))
    assert operator.gain == pytest.approx(dense.abs().square().sum().sqrt().item() / 3, rel=1e-14)


@pytest.mark.parametrize("layout", ["to_sparse_csr", "to_sparse_csc", "to_sparse_coo"])
@pytest.mark.filterwarnings("ignore:Sparse")  # a notice of torch, of the caller's matrix
def test_sparse_matrices_of_torch(layout: str) -> None:
    dense = entries(4, 6) * (entries(4, 6, seed=1) > 0)
    assert torch.equal(Matrix(getattr(dense, layout)()).as_matrix(torch.float64), dense)


def test_entries_at_one_place_are_summed() -> None:
    twice = sparse.coo_array(([1.0, 2.0], ([0, 0], [1, 1])), shape=(2, 3))
    assert Matrix(twice).as_matrix(torch.float64).tolist() == [[0, 3, 0], [0, 0, 0]]


def test_the_products_of_torch_are_those_of_scipy(monkeypatch: pytest.MonkeyPatch) -> None:
    dense = entries(30, 20, complex_=True) * (entries(30, 20, seed=1) > 0.5)
    with_scipy = SparseMatrix(dense.to_sparse())
    x = entries(3, 20, complex_=True, seed=2)
    expected, back = with_scipy(x), with_scipy.adjoint(with_scipy(x))
    monkeypatch.setattr("firenet.operators.sparse.find_spec", lambda _: None)
    monkeypatch.setattr("firenet.operators.sparse._PIECE", 7)
    without = SparseMatrix(dense.to_sparse())
    assert isinstance(without._table(torch.float64), tuple)
    assert torch.allclose(without(x), expected, rtol=1e-13)
    assert torch.allclose(without.adjoint(without(x)), back, rtol=1e-13)
    assert without.norm_bound.value == pytest.approx(with_scipy.norm_bound.value, rel=1e-13)
    assert without(x[:0]).shape == (0, 30)


def test_sparse_matrices_that_are_refused() -> None:
    for matrix, needed in (
        (cast(Any, np.ones((2, 2))), "A sparse matrix"),
        (sparse.csr_array((0, 3)), "two axes, none of them empty"),
        (sparse.csr_array(np.array([[1, 2]])), "A real or complex matrix"),
        (sparse.csr_array(np.array([[1.0, math.nan]])), "A finite matrix"),
        (torch.ones(2, 2, 2).to_sparse(), "two axes"),
    ):
        assert_refuses(lambda matrix=matrix: SparseMatrix(matrix), needed)


def test_a_matrix_that_changes_is_noticed() -> None:
    operator = SparseMatrix(sparse.csr_array(np.eye(3)))
    operator.entries.mul_(5)
    assert operator.norm_bound.value == pytest.approx(5, rel=1e-10)
    assert operator(torch.ones(3, dtype=torch.float64)).tolist() == [5, 5, 5]


# --- the algebra


@pytest.mark.parametrize("factor", [2, 2.0, np.float32(2), np.array(2.0), torch.tensor(2.0), Fraction(2), 2 + 0j])
def test_numbers_of_every_kind(factor: Any) -> None:
    a = Matrix(entries(3, 4))
    x = torch.ones(4, dtype=torch.float64)
    for product in (factor * a, a * factor):
        assert isinstance(product, LinearOperator)
        assert torch.equal(product(x), 2 * a(x))
        assert product.gain == pytest.approx(2 * a.gain, rel=1e-14)


def test_minus() -> None:
    a, b = Matrix(entries(3, 4)), Matrix(entries(3, 4, seed=1))
    x = torch.ones(4, dtype=torch.float64)
    assert torch.equal((a - b)(x), a(x) - b(x))
    assert torch.equal((-a)(x), -a(x))
    assert (-SubsampledFourier(torch.ones(4, 4))).is_coisometry
    assert not (2 * SubsampledFourier(torch.ones(4, 4))).is_coisometry


def test_a_sum_measures_what_either_measures() -> None:
    one = torch.tensor([True, False, False, True])
    a, b = SubsampledFourier(one), SubsampledFourier(~one & torch.tensor([True, True, False, True]))
    y = torch.tensor([1.0, 2.0, math.nan, 4.0], dtype=torch.complex128)
    assert (a + b).restrict(y).real.tolist() == [1, 2, 0, 4]
    assert (a + b).samples == 3
    assert not bool((a + b).holdout_candidates()[2])


@pytest.mark.parametrize("factor", ["2", math.inf, math.nan, np.ones(3), torch.ones(2), None])
def test_factors_that_are_refused(factor: Any) -> None:
    assert_refuses(lambda: Matrix(entries(2, 2)) * factor, "number")
    learned: Any = torch.tensor(2.0, requires_grad=True)
    assert_refuses(lambda: learned * Matrix(entries(2, 2)), "requires gradients")


def test_sums_that_are_refused() -> None:
    assert_refuses(lambda: Matrix(entries(2, 3)) + Matrix(entries(3, 2)), "the same shapes")
    with pytest.raises(TypeError):
        Matrix(entries(2, 3)) + 1  # type: ignore[operator]


def test_arrays_that_come_by_dlpack() -> None:
    class Foreign:
        def __init__(self, data: Tensor) -> None:
            self.data = data

        def __dlpack__(self, **how: Any) -> Any:
            return self.data.__dlpack__(**how)

        def __dlpack_device__(self) -> Any:
            return self.data.__dlpack_device__()

    a = Matrix(entries(3, 4))
    x = torch.ones(4, dtype=torch.float64)
    assert torch.equal(a(Foreign(x)), a(x))  # type: ignore[arg-type]


def test_weights_of_measurements() -> None:
    a = Matrix(entries(3, 4))
    weighted = Weighted(a, [4.0, 0.0, 0.25])
    x = torch.ones(4, dtype=torch.float64)
    assert torch.equal(weighted(x), weighted.weigh(a(x)))
    assert weighted.weigh([1.0, math.nan, 1.0]).tolist() == [2, 0, 0.5]
    assert weighted.samples == 2
    assert weighted.holdout_candidates().tolist() == [True, False, True]
    for weights, needed in (([-1.0, 1, 1], "zero or more"), ([1j, 1, 1], "Real"), ([1.0, 2.0], "broadcast")):
        assert_refuses(lambda weights=weights: Weighted(a, weights), needed)


def test_a_matrix_of_images() -> None:
    """A sparse matrix acts on vectors; as an operator of images it keeps what is known about it."""
    matrix = sparse.csr_array(np.abs(entries(40, 64).numpy()) * (entries(40, 64, seed=1).numpy() > 0))
    operator = Matrix(matrix).reshaped((8, 8), (5, 8))
    assert operator.norm_bound == Matrix(matrix).norm_bound
    assert operator.is_own
    assert operator.gain == Matrix(matrix).gain
    truth = torch.zeros(8, 8, dtype=torch.float64)
    truth[2:5, 2:6] = 1
    y = (matrix @ truth.flatten().numpy()).reshape(5, 8)
    solution = reconstruct(y, operator, sparsify="tv", reweight=0)
    assert solution.status is Status.TOLERANCE_REACHED
    assert solution.conditions == ()
    subset = SubsampledFourier(torch.eye(4)).reshaped((16,), (2, 8))
    assert subset.samples == 4
    assert torch.equal(subset.restrict(torch.ones(2, 8)).flatten(), torch.eye(4).flatten())
    assert subset.is_coisometry
    data = subset(torch.arange(16).to(torch.complex128))
    least = subset.minimum_norm(data)
    assert least is not None
    assert torch.allclose(subset(least), data, rtol=1e-13)
    for shape in ((3, 3), (), (8, -8), (0,)):
        assert_refuses(lambda shape=shape: Matrix(matrix).reshaped(shape), "in_shape of 64 numbers")
    assert_refuses(lambda: Matrix(matrix).reshaped((64,), (8, 8)), "out_shape of 40 numbers")


@pytest.mark.parametrize("complex_", [False, True])
def test_double_measurements_of_an_operator_in_single_precision(complex_: bool) -> None:
    """Its images are in single precision, and double measurements are solved and certified as their rounded ones."""
    matrix = entries(40, 64, complex_=complex_).to(torch.complex64 if complex_ else torch.float32)
    a = LinearOperator.from_functions(
        lambda x: matrix @ x.to(matrix.dtype).flatten(),
        lambda y: (matrix.mH @ y.to(matrix.dtype)).view(8, 8),
        (8, 8),
        (40,),
        real=not complex_,
    )
    truth = torch.zeros(8, 8, dtype=torch.float64)
    truth[2:5, 2:6] = 1
    double = entries(40, 64, complex_=complex_)
    y = double @ truth.flatten().to(double.dtype)
    net = default_network(a, sparsify="tv")
    solution, rounded = net.solve(y), net.solve(y.to(matrix.dtype))
    assert solution.image.dtype == matrix.dtype
    assert torch.equal(solution.image, rounded.image)
    for point in (solution.image, solution.image.to(y.dtype)):
        found = certify(net.problem, point, y)
        assert found.relative_gap.item() < 0.01
        assert found.gap.item() == certify(net.problem, point, y.to(matrix.dtype)).gap.item()
