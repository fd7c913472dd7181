"""operators: the laws for matrices and for what is built of operators, bounds of norms, refusals.

Whether the laws can be trusted is tested here too: each has an operator that breaks it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from torch import Tensor, nn

from draws import normal
from firenet.operators.derivative import differentiable
from firenet.operators.linear import Adjoint, Composition, LinearOperator
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
    assert_isometry,
    assert_jvp_is_forward,
    assert_linear,
    assert_loads,
    assert_matches_dense,
    assert_modes,
    assert_moves,
    assert_near,
    assert_norm_bound,
    assert_pure,
    assert_refuses,
    assert_restricts,
    assert_state_dtype,
    assert_survives,
    assert_vjp_is_adjoint,
    largest_singular_value,
    named,
    probes,
    units,
)

KINDS: tuple[Kind, ...] = ("exact", "proven", "estimate")
SCALES = (1e-6, 1e-3, 0.1, 0.5, 1.0, 3.0, 1e3, 1e6)


def entries(m: int, n: int, *, complex_: bool = False, seed: int = 0, rank: int | None = None) -> Tensor:
    """Normal numbers in double precision, if wanted of a lower rank."""
    rng = np.random.default_rng(seed)
    dtype = torch.complex128 if complex_ else torch.float64
    if rank is None:
        return normal(m, n, dtype=dtype, seed=rng)
    left = normal(m, rank, dtype=dtype, seed=rng)
    return left @ normal(rank, n, dtype=dtype, seed=rng)


def rounded(matrix: Tensor, dtype: torch.dtype) -> Tensor:
    """The matrix in the precision of a dtype, real or complex as it was."""
    return matrix.to(dtype.to_complex() if matrix.is_complex() else dtype.to_real())


def dense_case(name: str, matrix: Tensor) -> Case:
    return Case(name, lambda dtype: Matrix(rounded(matrix, dtype)), lambda dtype: rounded(matrix, dtype))


def wide(case: Case, dtype: torch.dtype) -> Tensor:
    return case.dense(dtype).to(torch.complex128)


def adjoint_case(a: Case) -> Case:
    return Case(f"({a.name})*", lambda dtype: a.make(dtype).H, lambda dtype: wide(a, dtype).mH)


def product_case(a: Case, b: Case) -> Case:
    return Case(
        f"{a.name} @ {b.name}",
        lambda dtype: a.make(dtype) @ b.make(dtype),
        lambda dtype: wide(a, dtype) @ wide(b, dtype),
    )


def stack_case(*parts: Case) -> Case:
    return Case(
        f"({'; '.join(part.name for part in parts)})",
        lambda dtype: VerticalStack([part.make(dtype) for part in parts]),
        lambda dtype: torch.cat([wide(part, dtype) for part in parts]),
    )


TALL, WIDE = dense_case("tall", entries(7, 4)), dense_case("wide", entries(4, 7, seed=1))
C_TALL = dense_case("complex tall", entries(7, 4, complex_=True, seed=2))
C_WIDE = dense_case("complex wide", entries(4, 7, complex_=True, seed=3))
EYE = dense_case("I", torch.eye(4, dtype=torch.float64))
TINY, HUGE = dense_case("1e-6", 1e-6 * entries(5, 4, seed=4)), dense_case("1e6", 1e6 * entries(4, 5, seed=5))
ZERO = dense_case("zero", torch.zeros(3, 4, dtype=torch.float64))
MATRICES = [
    TALL,
    WIDE,
    C_TALL,
    C_WIDE,
    EYE,
    TINY,
    HUGE,
    ZERO,
    dense_case("complex zero", torch.zeros(4, 3, dtype=torch.complex128)),
    dense_case("1 x 1", entries(1, 1)),
    dense_case("complex 1 x 1", entries(1, 1, complex_=True)),
    dense_case("row", entries(1, 6)),
    dense_case("complex column", entries(6, 1, complex_=True)),
    dense_case("primes", entries(11, 13, complex_=True)),
    dense_case("rank 1", entries(6, 5, rank=1)),
    dense_case("duplicate rows", entries(3, 5).repeat(3, 1)),
    dense_case("duplicate columns", entries(5, 2, complex_=True).repeat(1, 3)),
    dense_case("graded", torch.diag(10.0 ** torch.linspace(-6, 6, 5, dtype=torch.float64))),
    dense_case("transposed view", entries(4, 6).mT),
    dense_case("strided view", entries(8, 6, complex_=True)[::2, 1::2]),
    dense_case("conjugated view", entries(4, 6, complex_=True, seed=9).mH),
    # Three singular values, the largest one belongs to a vector with a zero where power iterations like to start.
    dense_case("top vector hidden", torch.diag(torch.tensor([1.0, 1.0, 1.01, 0.0], dtype=torch.float64))),
]
BUILT = [
    adjoint_case(TALL),
    adjoint_case(C_WIDE),
    product_case(TALL, WIDE),
    product_case(C_TALL, WIDE),
    product_case(WIDE, C_TALL),
    product_case(adjoint_case(C_TALL), TALL),
    product_case(HUGE, TINY),
    product_case(product_case(C_TALL, WIDE), product_case(TALL, EYE)),
    product_case(ZERO, adjoint_case(TINY)),
    stack_case(EYE, EYE),
    stack_case(TALL),
    stack_case(TALL, C_TALL, ZERO),
    stack_case(TINY, EYE, adjoint_case(HUGE), adjoint_case(WIDE)),
    stack_case(stack_case(TALL, EYE), ZERO),
    product_case(stack_case(EYE, C_TALL), WIDE),
    adjoint_case(stack_case(TALL, C_TALL)),
    adjoint_case(product_case(C_TALL, WIDE)),
    product_case(adjoint_case(stack_case(TALL, EYE)), stack_case(TALL, EYE)),
    stack_case(product_case(WIDE, TALL), EYE),
]
CASES = [*MATRICES, *BUILT]


@pytest.mark.parametrize("law", LAWS, ids=named)
@pytest.mark.parametrize("case", CASES, ids=named)
def test_law(case: Case, law: Callable[[LinearOperator, Probe], None]) -> None:
    for probe in probes(case.dtypes):
        law(case.make(probe.dtype), probe)


@pytest.mark.parametrize("case", CASES, ids=named)
def test_is_its_matrix(case: Case) -> None:
    for probe in probes(case.dtypes):
        assert_matches_dense(case.make(probe.dtype), case.dense(probe.dtype), probe)
    operator, dense = case.make(torch.float64), wide(case, torch.float64)
    assert_near(operator.as_matrix(), dense, 1e-14 * dense.numel() * operator.norm_bound.value)


@pytest.mark.parametrize("case", CASES, ids=named)
def test_norm_is_bounded(case: Case) -> None:
    for dtype in (torch.float32, torch.float64):
        assert_norm_bound(case.make(dtype), wide(case, dtype))


@pytest.mark.parametrize("case", CASES, ids=named)
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


# --- operators that break a law, one or more for each: a law that they pass is no law


class Sound(Matrix):
    """What the broken ones are made of: a complex matrix that is not Hermitian, in double precision."""

    def __init__(self) -> None:
        super().__init__(entries(4, 4, complex_=True, seed=8))


class NoConjugate(Sound):
    def _adjoint(self, y: Tensor) -> Tensor:
        return y @ self.matrix


class AdjointSlightlyOff(Sound):
    def _adjoint(self, y: Tensor) -> Tensor:
        return super()._adjoint(y) * (1 + 1e-11)


class Offset(Sound):
    def _forward(self, x: Tensor) -> Tensor:
        return super()._forward(x) + 1e-9


class OnlyHomogeneous(Sound):
    def _forward(self, x: Tensor) -> Tensor:
        return super()._forward(x) * (x.abs().sum(-1, keepdim=True) / x.abs().amax(-1, keepdim=True))


class Antilinear(Sound):
    def _forward(self, x: Tensor) -> Tensor:
        return super()._forward(x.conj())


class HalfDetached(Sound):
    def _forward(self, x: Tensor) -> Tensor:
        y = super()._forward(x)
        return (y + y.detach()) / 2


class WrongBackward(Sound):
    def _forward(self, x: Tensor) -> Tensor:
        return differentiable(x, super()._forward, lambda y: y @ self.matrix)


class InPlace(Sound):
    def _forward(self, x: Tensor) -> Tensor:
        return super()._forward(x.mul_(2)) / 2


class InPlaceAndBack(Sound):
    def _forward(self, x: Tensor) -> Tensor:
        return super()._forward(x.mul_(1))


class GivesItsInput(Sound):
    def _forward(self, x: Tensor) -> Tensor:
        return x


class RollsTheDice(Sound):
    def _forward(self, x: Tensor) -> Tensor:
        torch.rand(1)
        return super()._forward(x)


class Noisy(Sound):
    def _adjoint(self, y: Tensor) -> Tensor:
        self.generator = getattr(self, "generator", torch.Generator())
        return super()._adjoint(y) * (1 + 1e-15 * torch.rand(4, generator=self.generator, dtype=torch.float64))


class MixesTheBatch(Sound):
    def _forward(self, x: Tensor) -> Tensor:
        return super()._forward(x) + (1e-9 * x.sum(0) if x.ndim > 1 else 0)


class FlattensTheBatch(Sound):
    def _forward(self, x: Tensor) -> Tensor:
        return super()._forward(x.reshape(-1, 4)).squeeze(0)


class RestrictsTooMuch(Sound):
    def restrict(self, y: Tensor) -> Tensor:
        return y * torch.tensor([1, 1, 1, 0])


class WrongState(Sound):
    def state_dtype(self, y: torch.dtype) -> torch.dtype:
        return torch.float32


class Forgets(Sound):
    def __init__(self) -> None:
        super().__init__()
        self.factor = 2.0

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "factor": 1.0}

    def _forward(self, x: Tensor) -> Tensor:
        return super()._forward(x) * self.factor


class CachesTensors(Sound):
    def _forward(self, x: Tensor) -> Tensor:
        if not hasattr(self, "cache"):
            self.cache = torch.ones(4, dtype=x.dtype)
        return super()._forward(x * self.cache)


class CachesTheMatrix(Sound):
    def _forward(self, x: Tensor) -> Tensor:
        if not hasattr(self, "cache"):
            self.cache = self.matrix.clone()
        return x @ self.cache.mT


class LosesImaginaryParts(Sound):
    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> LosesImaginaryParts:
        nn.Module._apply(self, fn, recurse)
        return self


class PowerIteration(Sound):
    """The norm 0.5 % low: what 30 steps of a power iteration give on a bad day."""

    def __init__(self) -> None:
        super().__init__()
        self.estimate()

    def estimate(self) -> None:
        size = largest_singular_value(self.matrix)
        self.norm_bound = NormBound(0.995 * size, "proven", "a power iteration")

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> PowerIteration:
        super()._apply(fn, recurse)
        self.estimate()
        return self


class NotExact(Sound):
    def __init__(self) -> None:
        super().__init__()
        self.norm_bound = NormBound(1.001 * self.norm_bound.value, "exact", "a guess")


def matches_dense(operator: LinearOperator, probe: Probe) -> None:
    assert_matches_dense(operator, entries(4, 4, complex_=True, seed=8), probe)


def bounds_norm(operator: LinearOperator, probe: Probe) -> None:
    assert_norm_bound(operator, entries(4, 4, complex_=True, seed=8))


def moves(operator: LinearOperator, probe: Probe) -> None:
    assert_moves(operator, entries(4, 4, complex_=True, seed=8), probe)


def loads(operator: LinearOperator, probe: Probe) -> None:
    assert isinstance(operator, Sound)
    other = type(operator)()
    other.matrix.mul_(0.5)
    assert_loads(other, operator, probe)


def is_isometry(operator: LinearOperator, probe: Probe) -> None:
    assert_isometry(operator, probe)


BROKEN: list[tuple[Callable[[LinearOperator, Probe], None], type[Sound]]] = [
    (assert_adjoint, NoConjugate),
    (assert_adjoint, AdjointSlightlyOff),
    (assert_adjoint, Antilinear),
    (assert_linear, Offset),
    (assert_linear, OnlyHomogeneous),
    (assert_linear, Antilinear),
    (matches_dense, AdjointSlightlyOff),
    (matches_dense, Antilinear),
    (bounds_norm, PowerIteration),
    (bounds_norm, NotExact),
    (assert_vjp_is_adjoint, HalfDetached),
    (assert_vjp_is_adjoint, WrongBackward),
    (assert_jvp_is_forward, HalfDetached),
    (assert_pure, InPlace),
    (assert_pure, InPlaceAndBack),
    (assert_pure, GivesItsInput),
    (assert_pure, RollsTheDice),
    (assert_pure, Noisy),
    (assert_batch_is_loop, MixesTheBatch),
    (assert_batch_is_loop, FlattensTheBatch),
    (assert_restricts, RestrictsTooMuch),
    (assert_state_dtype, WrongState),
    (assert_survives, Forgets),
    (assert_modes, CachesTensors),
    (loads, CachesTheMatrix),
    (moves, LosesImaginaryParts),
    (moves, PowerIteration),
    (is_isometry, Sound),
]


@pytest.mark.parametrize(("law", "broken"), BROKEN, ids=named)
def test_law_bites(law: Callable[[LinearOperator, Probe], None], broken: type[Sound]) -> None:
    def everywhere(make: type[Sound]) -> None:
        for i, batch in enumerate([(), (1,), (3,)]):
            law(make(), Probe(torch.complex128, batch, seed=i))

    with pytest.raises((AssertionError, RuntimeError, UserWarning)):
        everywhere(broken)
    if broken is not Sound:  # and it is not the law that is broken
        everywhere(Sound)


def test_every_law_has_an_operator_that_breaks_it() -> None:
    assert set(LAWS) <= {law for law, _ in BROKEN}
