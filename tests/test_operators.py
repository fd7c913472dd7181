"""operators: the laws for matrices and for what is built of operators, bounds of norms, refusals."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, strategies as st
from torch import Tensor

from algebra_cases import MORE
from cases import (
    EYE,
    MATRICES,
    OPERATORS,
    TALL,
    TINY,
    WIDE,
    ZERO,
    Sound,
    adjoint_case,
    dense_case,
    entries,
    product_case,
    stack_case,
    wide,
)
from firenet.operators.algebra import Adjoint, Composition
from firenet.operators.linear import LinearOperator
from firenet.operators.matrix import Matrix
from firenet.operators.norm_bound import Kind, NormBound
from firenet.operators.stack import VerticalStack
from firenet.sensing.fourier import MultiCoilFourier, SubsampledFourier
from firenet.transforms.wavelet import Wavelet
from laws import (
    DTYPES,
    LAWS,
    ROUNDINGS,
    Case,
    Probe,
    any_probe,
    assert_adjoint,
    assert_batch_is_loop,
    assert_linear,
    assert_loads,
    assert_matches_dense,
    assert_moves,
    assert_near,
    assert_norm_bound,
    assert_refuses,
    assert_state_dtype,
    assert_vjp_is_adjoint,
    largest_singular_value,
    named,
    probes,
    units,
)

KINDS: tuple[Kind, ...] = ("exact", "proven", "estimate")
SCALES = (1e-6, 1e-3, 0.1, 0.5, 1.0, 3.0, 1e3, 1e6)


@pytest.mark.parametrize("law", LAWS, ids=named)
@pytest.mark.parametrize("case", [*OPERATORS, *MORE], ids=named)
def test_law(case: Case, law: Callable[[LinearOperator, Probe], None]) -> None:
    for probe in probes(case.dtypes):
        law(case.make(probe.dtype), probe)


@pytest.mark.parametrize("case", [*OPERATORS, *MORE], ids=named)
def test_is_its_matrix(case: Case) -> None:
    for probe in probes(case.dtypes):
        assert_matches_dense(case.make(probe.dtype), case.dense(probe.dtype), probe)
    operator, dense = case.make(torch.float64), wide(case, torch.float64)
    assert_near(operator.as_matrix(), dense, 1e-14 * dense.numel() * operator.norm_bound.value)


@pytest.mark.parametrize("case", [*OPERATORS, *MORE], ids=named)
def test_norm_is_bounded(case: Case) -> None:
    for dtype in (torch.float32, torch.float64):
        assert_norm_bound(case.make(dtype), wide(case, dtype))


@pytest.mark.parametrize("case", [*OPERATORS, *MORE], ids=named)
def test_moves(case: Case) -> None:
    for dtype in (torch.float32, torch.float64):
        assert_moves(case.make(dtype), wide(case, dtype), Probe(batch=(2,)))


@pytest.mark.parametrize("other", [TINY, ZERO, dense_case("5 x 4", entries(5, 4, seed=6))], ids=named)
def test_matrix_loads_a_state_dict(other: Case) -> None:
    bigger = dense_case("bigger", entries(*other.make(torch.float64).as_matrix().shape, seed=7))
    assert_loads(bigger.make(torch.float64), other.make(torch.float64), Probe(torch.float64))


def test_a_buffer_with_a_pending_conjugation_moves() -> None:
    operator = Sound()
    expected = operator.matrix.conj().resolve_conj()
    operator.matrix = operator.matrix.conj()
    assert operator.to(torch.float32).matrix.equal(expected.to(torch.complex64))


def test_composition_loads_a_state_dict() -> None:
    make = [product_case(a, TALL).make(torch.float64) for a in (WIDE, dense_case("small", 1e-3 * entries(4, 7)))]
    assert_loads(make[0], make[1], Probe(torch.float64))


@given(
    m=st.integers(1, 11),
    n=st.integers(1, 11),
    complex_=st.booleans(),
    rank=st.one_of(st.none(), st.integers(0, 3)),
    exponent=st.integers(-6, 6),
    probe=any_probe(),
)
def test_matrices_of_any_kind(m: int, n: int, complex_: bool, rank: int | None, exponent: int, probe: Probe) -> None:
    case = dense_case("any", 10.0**exponent * entries(m, n, complex_=complex_, seed=probe.seed, rank=rank))
    gram = product_case(adjoint_case(case), case)
    for any_ in (case, adjoint_case(case), gram, stack_case(case, gram, case)):
        operator, dense = any_.make(probe.dtype), wide(any_, probe.dtype)
        assert_norm_bound(operator, dense)
        assert_matches_dense(operator, dense, probe)
        for law in (assert_adjoint, assert_linear, assert_batch_is_loop, assert_vjp_is_adjoint, assert_state_dtype):
            law(operator, probe)


# --- bounds of norms


@pytest.mark.parametrize("scale", SCALES)
def test_norms_on_a_ladder_of_scales(scale: float) -> None:
    a, b = dense_case("a", scale * entries(5, 4)), dense_case("b", scale * entries(4, 5, complex_=True))
    for case in (
        a,
        b,
        adjoint_case(b),
        product_case(a, b),
        product_case(product_case(a, b), product_case(a, b)),
        stack_case(a, a),
        stack_case(a, TALL, adjoint_case(b), a),
        stack_case(stack_case(a, a), a),
        product_case(adjoint_case(stack_case(a, EYE)), stack_case(a, EYE)),
    ):
        assert_norm_bound(case.make(torch.float64), wide(case, torch.float64))


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_norms_far_from_one(scale: float) -> None:
    case = dense_case("a", scale * entries(3, 3))
    for built in (case, stack_case(case, case)):
        operator, size = built.make(torch.float64), largest_singular_value(wide(built, torch.float64))
        assert operator.norm_bound.value >= size * (1 - 1e-12)
        assert math.isfinite(operator.norm_bound.value)


def test_stack_of_identities_has_norm_root_two() -> None:
    stack = stack_case(EYE, EYE).make(torch.float64)
    assert math.sqrt(2) <= stack.norm_bound.value <= math.sqrt(2) * (1 + 1e-14)
    three = stack_case(EYE, EYE, EYE).make(torch.float64)
    assert math.sqrt(3) <= three.norm_bound.value <= math.sqrt(3) * (1 + 1e-14)


def test_norm_of_matrix_is_exact() -> None:
    for case in MATRICES:
        bound = case.make(torch.float64).norm_bound
        assert bound.kind == "exact"
        assert bound.value == pytest.approx(largest_singular_value(wide(case, torch.float64)), rel=1e-12, abs=0)


def test_a_caller_who_changes_the_matrix_does_not_break_the_bound() -> None:
    matrix = entries(3, 3)
    operator = Matrix(matrix)
    matrix.mul_(100)
    assert_norm_bound(operator, operator.as_matrix())


def test_zero_operator_has_norm_zero() -> None:
    assert ZERO.make(torch.float64).norm_bound.value == 0
    assert product_case(ZERO, EYE).make(torch.float64).norm_bound.value == 0
    assert stack_case(ZERO, ZERO).make(torch.float64).norm_bound.value == 0


@pytest.mark.parametrize("case", MATRICES, ids=named)
def test_norm_of_a_matrix_too_large_for_the_svd(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Matrix, "SVD_LIMIT", 0)
    dense = wide(case, torch.float64)
    operator = case.make(torch.float64)
    assert operator.norm_bound.kind == "proven"
    assert_norm_bound(operator, dense)
    size = dense.abs()
    proven = min(
        size.square().sum().sqrt().item(),
        math.sqrt(size.sum(dim=0).max().item() * size.sum(dim=1).max().item()),
    )
    assert operator.norm_bound.value == pytest.approx(proven, rel=1e-12)


def test_bound_of_a_large_matrix_uses_the_better_of_two() -> None:
    # Frobenius wins for one entry in each row of a column, the 1- and inf-norms for a diagonal.
    limit = Matrix.SVD_LIMIT
    n = limit + 1
    operator = Matrix(torch.eye(n, dtype=torch.float32))
    assert operator.norm_bound.kind == "proven"
    assert 1 <= operator.norm_bound.value < 1.001  # sqrt(n) by Frobenius


class Scaled(LinearOperator):
    """A multiple of the identity with a bound of any kind."""

    def __init__(self, factor: float, bound: NormBound, n: int = 4) -> None:
        super().__init__((n,), (n,), bound)
        self.factor = factor

    def _forward(self, x: Tensor) -> Tensor:
        return self.factor * x

    def _adjoint(self, y: Tensor) -> Tensor:
        return self.factor * y


@pytest.mark.parametrize(("first", "second"), list(itertools.product(KINDS, KINDS)))
def test_kinds_of_bounds_compose(first: Kind, second: Kind) -> None:
    a, b = (Scaled(2.0, NormBound(2.0, kind, f"said to be {kind}")) for kind in (first, second))
    expected = "estimate" if "estimate" in (first, second) else "proven"  # never exact
    product = a.norm_bound * b.norm_bound
    assert (product.value, product.kind) == (4.0, expected)
    assert f"said to be {first}" in product.why
    assert f"said to be {second}" in product.why
    assert (a @ b).norm_bound == product
    assert (a.H @ b @ a).norm_bound.kind == expected
    assert VerticalStack([a, b]).norm_bound.kind == expected
    assert VerticalStack([VerticalStack([a]), a @ b]).norm_bound.kind == expected
    assert a.H.norm_bound == a.norm_bound


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1.0, -1e-300])
def test_a_bound_is_a_finite_number(value: float) -> None:
    assert_refuses(lambda: NormBound(value, "proven", "a wrong sum"), "norm bound", repr(value))


def test_a_bound_may_be_zero() -> None:
    assert NormBound(0.0, "exact", "nothing").value == 0


# --- structure


def test_adjoint_of_adjoint_is_the_operator() -> None:
    operator = TALL.make(torch.float64)
    assert isinstance(operator.H, Adjoint)
    assert operator.H.H is operator
    assert (operator.H.in_shape, operator.H.out_shape) == (operator.out_shape, operator.in_shape)


def test_composition_is_first_the_right_then_the_left() -> None:
    a, b = TALL.make(torch.float64), WIDE.make(torch.float64)
    product = a @ b
    assert isinstance(product, Composition)
    x = Probe(torch.float64).x(product)
    assert product(x).equal(a(b(x)))
    assert (product.in_shape, product.out_shape) == ((7,), (7,))


def many_shapes() -> VerticalStack:
    """A stack whose parts give one, two and three axes."""
    mask = torch.zeros(4, 6)
    mask[::2, ::3] = 1
    maps = Probe(torch.complex128, (3,)).draw((4, 6))
    return VerticalStack([Wavelet((4, 6), "haar", 1), SubsampledFourier(mask), MultiCoilFourier(mask, maps)])


@pytest.mark.parametrize("law", LAWS, ids=named)
def test_stack_of_different_shapes(law: Callable[[LinearOperator, Probe], None]) -> None:
    stack = many_shapes()
    assert stack.out_shape == (24 + 24 + 3 * 24,)
    for probe in probes((torch.float64, torch.complex128)):
        law(stack, probe)


def test_stack_of_different_shapes_is_its_parts() -> None:
    stack = many_shapes()
    rows = [a.as_matrix() for a in stack.operators if isinstance(a, LinearOperator)]
    assert_matches_dense(stack, torch.cat(rows), Probe(batch=(2,)))
    assert_norm_bound(stack, torch.cat(rows))
    y = Probe(batch=(5,)).x(stack.H)
    pieces = stack.split(y)
    assert [p.shape for p in pieces] == [(5, 4, 6), (5, 4, 6), (5, 3, 4, 6)]
    assert torch.cat([p.flatten(1) for p in pieces], dim=-1).equal(y)


def test_stack_restricts_each_part() -> None:
    stack = many_shapes()
    measured = stack.as_matrix().abs().sum(dim=1).ne(0)
    assert 0 < measured.sum() < len(measured)
    y = Probe(batch=(5,)).x(stack.H)
    assert stack.restrict(y).equal(y * measured)
    frame = Wavelet((4, 6), "haar", 1)
    assert (stack @ frame.H).restrict(y).equal(y * measured)


def test_stack_in_single_precision_stays_there() -> None:
    stack = VerticalStack([Matrix(torch.eye(3)), Matrix(2 * torch.eye(3))])
    # One product each, and zeros.
    assert_near(stack(torch.ones(3)), torch.tensor([1.0, 1, 1, 2, 2, 2]), ROUNDINGS * units(stack, torch.float32))
    assert stack(torch.ones(3, dtype=torch.complex64)).dtype == torch.complex64


@pytest.mark.parametrize("dtype", DTYPES)
def test_as_matrix_needs_no_dtype(dtype: torch.dtype) -> None:
    matrix = entries(3, 2, complex_=dtype.is_complex).to(dtype)
    operator = Matrix(matrix)
    allowed = ROUNDINGS * units(operator, dtype) * math.sqrt(matrix.shape[1])  # one product each, and zeros
    assert_near(operator.as_matrix().to(torch.complex128), matrix.to(torch.complex128), allowed)


# --- refusals


def test_refuses_other_shapes() -> None:
    operator = TALL.make(torch.float64)
    for shape in ((), (7,), (4, 7), (4, 1), (0,)):
        assert_refuses(lambda s=shape: operator(torch.zeros(s, dtype=torch.float64)), "Matrix", "(4,)", str(shape))
    for shape in ((), (4,), (7, 4)):
        assert_refuses(lambda s=shape: operator.adjoint(torch.zeros(s, dtype=torch.float64)), "(7,)", str(shape))
    frame = Wavelet((4, 6), "haar")
    for shape in ((), (6,), (6, 4), (24,), (4, 6, 1)):
        assert_refuses(lambda s=shape: frame(torch.zeros(s)), "(4, 6)", str(shape))


def test_says_how_to_pack_complex_numbers() -> None:
    frame = Wavelet((4, 6), "haar")
    error = assert_refuses(lambda: frame(torch.zeros(4, 6, 2)), "view_as_complex")
    assert "(4, 6, 2)" in error.got
    assert_refuses(lambda: frame(torch.zeros(3, 4, 6, 2)), "view_as_complex")


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.uint8])
def test_refuses_numbers_that_are_not_floating(dtype: torch.dtype) -> None:
    for operator in (EYE.make(torch.float32), EYE.make(torch.float32).H, many_shapes()):
        assert_refuses(lambda a=operator: a(torch.zeros(a.in_shape, dtype=dtype)), str(dtype))


@pytest.mark.parametrize(
    ("matrix", "word"),
    [
        (torch.ones(3), "(3,)"),
        (torch.ones(2, 3, 4), "(2, 3, 4)"),
        (torch.ones(0, 3), "(0, 3)"),
        (torch.ones(3, 0), "(3, 0)"),
        (torch.ones(()), "()"),
        (torch.ones(2, 2, dtype=torch.int64), "int64"),
        (torch.ones(2, 2, dtype=torch.bool), "bool"),
        (torch.tensor([[1.0, math.nan]]), "NaN"),
        (torch.tensor([[1.0], [-math.inf]]), "infinity"),
        (torch.tensor([[complex(0, math.nan)]]), "NaN"),
    ],
)
def test_refuses_what_is_no_matrix(matrix: Tensor, word: str) -> None:
    assert_refuses(lambda: Matrix(matrix), word)


@pytest.mark.parametrize("complex_", [False, True])
def test_two_precisions_meet_in_the_higher(complex_: bool) -> None:
    matrix = entries(2, 2, complex_=complex_)
    for dtype in (torch.float32, torch.complex64):
        x = torch.tensor([1.0, -3.0], dtype=dtype)
        kind = torch.promote_types(dtype, matrix.dtype)
        # Each side is a sum of two products, complex ones of at most six roundings.
        allowed = 2 * 8 * 2.0**-52 * (matrix.abs() @ x.abs().to(torch.float64)).max().item()
        found = Matrix(matrix)(x)
        assert found.dtype == kind
        assert (found - matrix.to(kind) @ x.to(kind)).abs().max().item() <= allowed
        assert Matrix(matrix).adjoint(x).dtype == kind
    single = matrix.to(torch.complex64)
    x = torch.tensor([1.0, 1 / 3], dtype=torch.float64)
    found = Matrix(single)(x)
    assert found.dtype == torch.complex128
    allowed = 2 * 8 * 2.0**-52 * (single.abs().to(torch.float64) @ x.abs()).max().item()
    assert (found - single.to(torch.complex128) @ x.to(torch.complex128)).abs().max().item() <= allowed


def test_refuses_operators_that_do_not_fit() -> None:
    tall, wide_ = TALL.make(torch.float64), WIDE.make(torch.float64)
    assert_refuses(lambda: tall @ tall, "A @ B", "(7,)", "(4,)")
    assert_refuses(lambda: VerticalStack([tall, wide_]), "(4,)", "(7,)")
    assert_refuses(lambda: VerticalStack([]))
    operators: tuple[Any, Any] = tall, 3.0
    with pytest.raises(TypeError):
        _ = operators[0] @ operators[1]
