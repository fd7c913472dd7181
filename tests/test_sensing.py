"""sensing: Fourier and Walsh measurements by their laws and against dense matrices, and what is refused."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from torch import Tensor

from cases import COILS, FOLDED, FOURIER, SENSING, WALSH, Shape, coil_case, coil_maps, fourier_case, some, walsh_case
from firenet.operators.linear import LinearOperator
from firenet.operators.stack import VerticalStack
from firenet.sensing.fourier import MultiCoilFourier, SubsampledFourier
from firenet.sensing.walsh import SubsampledWalsh
from firenet.transforms.wavelet import Wavelet
from laws import (
    CHEAP_LAWS,
    COMPLEX,
    DTYPES,
    LAWS,
    REAL,
    Case,
    Probe,
    any_probe,
    any_shape,
    assert_adjoint,
    assert_isometry,
    assert_jvp_is_forward,
    assert_linear,
    assert_loads,
    assert_matches_dense,
    assert_moves,
    assert_near,
    assert_norm_bound,
    assert_refuses,
    assert_state_dtype,
    assert_survives,
    assert_vjp_is_adjoint,
    largest_singular_value,
    named,
    norm,
    probes,
)


@pytest.mark.parametrize("law", LAWS, ids=named)
@pytest.mark.parametrize("case", SENSING, ids=named)
def test_law(case: Case, law: Callable[[LinearOperator, Probe], None]) -> None:
    for probe in probes(case.dtypes):
        law(case.make(probe.dtype), probe)


@pytest.mark.parametrize("case", SENSING, ids=named)
def test_adjoint_obeys_the_laws_too(case: Case) -> None:
    for dtype in COMPLEX:
        operator, probe = case.make(dtype).H, Probe(dtype, (2,))
        for law in (assert_adjoint, assert_linear, assert_vjp_is_adjoint, assert_jvp_is_forward, assert_state_dtype):
            law(operator, probe)


@pytest.mark.parametrize("case", SENSING, ids=named)
def test_is_its_matrix(case: Case) -> None:
    for probe in probes(case.dtypes):
        assert_matches_dense(case.make(probe.dtype), case.dense(probe.dtype), probe)
    operator, dense = case.make(torch.float64), case.dense(torch.float64).to(torch.complex128)
    assert_near(operator.as_matrix(), dense, 1e-12 * math.sqrt(len(dense)) * operator.norm_bound.value)


@pytest.mark.parametrize("case", SENSING, ids=named)
def test_norm_is_bounded(case: Case) -> None:
    for dtype in REAL:
        assert_norm_bound(case.make(dtype), case.dense(dtype))
        assert_moves(case.make(dtype), case.dense(dtype), Probe(batch=(2,)))


@pytest.mark.parametrize("case", [case for case in SENSING if "times 0" not in case.name], ids=named)
def test_restrict_keeps_what_is_measured_and_nothing_else(case: Case) -> None:
    operator, dense = case.make(torch.float64), case.dense(torch.float64)
    measured = dense.abs().sum(dim=1).ne(0).reshape(operator.out_shape)
    for dtype in DTYPES:
        y = Probe(dtype, (3,)).draw(operator.out_shape)
        assert operator.restrict(y).equal(torch.where(measured, y, torch.zeros_like(y)))


# --- Fourier


@pytest.mark.parametrize("shape", [(1,), (6,), (7,), (4, 9), (5, 6), (2, 3, 5)])
def test_centred_is_numpy_with_shifts_before_and_after(shape: Shape) -> None:
    mask = some(shape, share=0.7)
    x = Probe(torch.complex128, (2,)).draw(shape)
    axes = tuple(range(1, len(shape) + 1))
    shifted = np.fft.ifftshift(x.numpy(), axes=axes)
    k = np.fft.fftshift(np.fft.fftn(shifted, axes=axes, norm="ortho"), axes=axes) * mask.numpy()
    operator = SubsampledFourier(mask, centred=True)
    assert_near(operator(x), torch.from_numpy(k), 1e-14 * norm(x) * math.prod(shape))
    shifted = np.fft.ifftshift(x.numpy() * mask.numpy(), axes=axes)
    back = np.fft.fftshift(np.fft.ifftn(shifted, axes=axes, norm="ortho"), axes=axes)
    assert_near(operator.adjoint(x), torch.from_numpy(back), 1e-14 * norm(x) * math.prod(shape))


@pytest.mark.parametrize("shape", [(6,), (7,), (4, 9), (2, 3, 5)])
def test_centred_is_the_other_between_shifts(shape: Shape) -> None:
    mask = some(shape)
    axes = tuple(range(-len(shape), 0))
    corner, centred = SubsampledFourier(torch.fft.ifftshift(mask)), SubsampledFourier(mask, centred=True)
    x = Probe(torch.complex128, (2,)).draw(shape)
    there = torch.fft.fftshift(corner(torch.fft.ifftshift(x, dim=axes)), dim=axes)
    assert_near(centred(x), there, 1e-14 * norm(x))


def test_origin_of_k_space() -> None:
    flat = torch.ones(6, 5, dtype=torch.complex128)
    corner = SubsampledFourier(torch.ones(6, 5))(flat)
    centred = SubsampledFourier(torch.ones(6, 5), centred=True)(flat)
    for k, place in ((corner, (0, 0)), (centred, (3, 2))):
        assert k[place].item() == pytest.approx(math.sqrt(30))
        assert k.abs().gt(1e-12).sum() == 1


@pytest.mark.parametrize("shape", [(8,), (5, 7), (2, 3, 4)])
@pytest.mark.parametrize("centred", [False, True])
def test_full_mask_is_unitary(shape: Shape, centred: bool) -> None:
    operator = SubsampledFourier(torch.ones(shape), centred=centred)
    for dtype in COMPLEX:
        assert_isometry(operator, Probe(dtype, (2,)))
        assert_isometry(operator.H, Probe(dtype, (2,)))


@pytest.mark.parametrize("shape", [(1,), (64,), (5, 7), (4, 4, 4)])
def test_norm_of_a_mask_is_exactly_one(shape: Shape) -> None:
    for mask in (torch.ones(shape), some(shape, share=0.01)):
        for centred in (False, True):
            bound = SubsampledFourier(mask, centred=centred).norm_bound
            assert (bound.value, bound.kind) == (1.0, "exact")
        if all(n & (n - 1) == 0 for n in shape):
            bound = SubsampledWalsh(mask).norm_bound
            assert (bound.value, bound.kind) == (1.0, "exact")


@pytest.mark.parametrize(
    "mask",
    [
        torch.tensor([[True, False], [False, True]]),
        torch.eye(2),
        torch.eye(2, dtype=torch.int64),
        torch.eye(2, dtype=torch.uint8),
        np.eye(2),
        np.eye(2, dtype=bool),
        np.eye(2, dtype=np.uint16),
        np.asfortranarray(np.eye(2)),
        np.eye(4)[::2, ::2],
        np.fft.fftshift(np.eye(2)[:, ::-1].copy()),
        [[1, 0], [0, 1]],
        np.eye(2, dtype=">f4"),
        np.eye(2)[::-1, ::-1],
        np.broadcast_to(np.eye(2), (1, 2, 2))[0],
    ],
    ids=[
        "bool",
        "float",
        "int",
        "uint8",
        "numpy",
        "numpy bool",
        "numpy uint16",
        "fortran",
        "strided",
        "shifted",
        "lists",
        "big-endian",
        "reversed",
        "read-only",
    ],
)
def test_masks_of_every_sort(mask: Any) -> None:
    for operator in (SubsampledFourier(mask), SubsampledWalsh(mask)):
        assert operator.mask.dtype == torch.bool
        assert operator.mask.sum() == 2
        assert operator.mask.diagonal().sum() in (0, 2)
        assert operator.in_shape == (2, 2)


def test_a_mask_is_not_shared_with_the_caller() -> None:
    array, tensor = np.ones(4, dtype=bool), torch.ones(4, dtype=torch.bool)
    operators = SubsampledFourier(array), SubsampledFourier(tensor)
    array[:], tensor[:] = False, False
    assert all(operator.mask.all() for operator in operators)


def test_real_images_give_the_dtype_of_their_precision() -> None:
    operator = SubsampledFourier(torch.ones(4))
    for real, complex_ in zip(REAL, COMPLEX, strict=True):
        for dtype in (real, complex_):
            assert operator(torch.ones(4, dtype=dtype)).dtype == complex_
            assert operator(torch.ones(0, 4, dtype=dtype)).dtype == complex_
            assert operator.state_dtype(dtype) == complex_


# --- coils


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 0.1, 0.5, 1.0, 3.0, 1e3, 1e6])
def test_norm_of_coils_on_a_ladder_of_scales(scale: float) -> None:
    shape = (3, 4)
    maps = coil_maps(3, shape, scale=scale)
    largest = maps.abs().square().sum(dim=0).sqrt().max().item()
    for centred in (False, True):
        full = MultiCoilFourier(torch.ones(shape), maps, centred=centred)
        # With all frequencies A*A is the sum of squares of the maps, so the bound is the norm.
        dense = full.as_matrix()
        assert_norm_bound(full, dense)
        assert full.norm_bound.kind == "proven"
        assert largest <= full.norm_bound.value * (1 + 1e-15)
        assert full.norm_bound.value == pytest.approx(largest_singular_value(dense), rel=1e-12)
        masked = MultiCoilFourier(some(shape), maps, centred=centred)
        assert_norm_bound(masked, masked.as_matrix())
        frame = Wavelet(shape, "haar")
        built = VerticalStack([masked @ frame.H, (full @ frame.H).H @ masked @ frame.H])
        assert_norm_bound(built, built.as_matrix())


def test_one_flat_coil_is_the_plain_transform() -> None:
    mask = some((4, 5))
    coils = MultiCoilFourier(mask, torch.ones(1, 4, 5, dtype=torch.complex128))
    plain = SubsampledFourier(mask)
    x = Probe(torch.complex128, (2,)).x(plain)
    assert_near(coils(x), plain(x).unsqueeze(1), 1e-14 * norm(x))
    assert coils.norm_bound.value == pytest.approx(1, rel=1e-13)


def test_two_orthogonal_coils_do_not_add_up() -> None:
    maps = torch.zeros(2, 6, dtype=torch.complex128)
    maps[0, :3], maps[1, 3:] = torch.tensor(1j), -1
    operator = MultiCoilFourier(torch.ones(6), maps)
    assert operator.norm_bound.value == pytest.approx(1, rel=1e-13)
    assert_isometry(operator, Probe())


def test_maps_from_numpy() -> None:
    maps = coil_maps(2, (3, 4)).numpy()
    frozen = np.broadcast_to(maps[:1], maps.shape)
    for array in (maps, np.asfortranarray(maps), maps[::-1], frozen, maps.tolist()):
        operator = MultiCoilFourier(np.ones((3, 4)), array)
        assert operator.maps.shape == (2, 3, 4)
        assert np.allclose(operator.maps.numpy(), np.asarray(array))


def test_maps_that_are_views() -> None:
    mask, maps = some((3, 4)), coil_maps(2, (3, 4))
    plain = MultiCoilFourier(mask, maps.conj().resolve_conj())
    x = Probe().x(plain)
    around = torch.full((4, 6, 8), math.nan, dtype=maps.dtype)
    around[::2, ::2, ::2] = maps.conj()
    for view in (maps.conj(), maps.mH.mT, around[::2, ::2, ::2]):
        operator = MultiCoilFourier(mask, view)
        assert operator(x).equal(plain(x))
        assert operator.norm_bound.value == pytest.approx(plain.norm_bound.value, rel=1e-15)
        assert_survives(operator, Probe())
        assert_moves(operator, plain.as_matrix(), Probe())


def test_a_caller_who_changes_the_maps_does_not_break_the_bound() -> None:
    array = np.full((1, 4), 0.1 + 0j)
    operator = MultiCoilFourier(np.ones(4), array)
    array[:] = 5
    assert_norm_bound(operator, operator.as_matrix())


# --- state


def test_loading_a_state_dict_brings_the_mask() -> None:
    one, two = some((4, 8), 1), some((4, 8), 2)
    frame = Wavelet((4, 8), "haar")
    assert not one.equal(two)
    for make in (
        SubsampledFourier,
        SubsampledWalsh,
        lambda mask: SubsampledFourier(mask, centred=True),
        lambda mask: SubsampledFourier(mask) @ frame.H,
        lambda mask: SubsampledWalsh(mask) @ frame.H,
        lambda mask: VerticalStack([SubsampledFourier(mask), frame]),
    ):
        assert_loads(make(one), make(two), Probe())


def test_loading_a_state_dict_brings_the_maps_and_their_norm() -> None:
    frame = Wavelet((4, 8), "haar")
    small = MultiCoilFourier(some((4, 8), 1), coil_maps(2, (4, 8), scale=0.1))
    large = MultiCoilFourier(some((4, 8), 2), coil_maps(2, (4, 8), scale=10))
    assert_loads(large, small, Probe())
    assert_loads(large @ frame.H, small @ frame.H, Probe())
    assert_loads(large.H, small.H, Probe())


def test_a_precision_is_not_remembered() -> None:
    # The mask is kept in each dtype it was used with: the order of use must not matter.
    mask = some((4, 8))
    for order in itertools.permutations((torch.complex64, torch.complex128, torch.float64)):
        operator = SubsampledFourier(mask)
        for dtype in order:
            y = operator(torch.ones(4, 8, dtype=dtype))
            assert y.dtype == dtype.to_complex()
            assert operator.restrict(torch.ones(4, 8, dtype=dtype)).dtype == dtype


# --- refusals


@pytest.mark.parametrize(
    ("mask", "word"),
    [
        (torch.zeros(4, 4), "zero everywhere"),
        (torch.ones(0), "(0,)"),
        (torch.ones(4, 0), "(4, 0)"),
        (torch.ones(()), "()"),
        (torch.ones(1, 2, 2, 2), "(1, 2, 2, 2)"),
        (torch.tensor([0.0, 0.5]), "float32"),
        (torch.tensor([0, 2]), "int64"),
        (torch.tensor([-1, 1]), "int64"),
        (torch.tensor([0.0, math.nan]), "float32"),
        (torch.tensor([1.0, math.inf]), "float32"),
        (torch.tensor([1, 1j], dtype=torch.complex64), "complex64"),
    ],
)
def test_refuses_what_is_no_mask(mask: Tensor, word: str) -> None:
    maps = torch.ones(1, *mask.shape, dtype=torch.complex64)
    for make in (SubsampledFourier, SubsampledWalsh, lambda m: MultiCoilFourier(m, maps)):
        assert_refuses(lambda m=make: m(mask), "mask", word)


def test_complex_zeros_and_ones_are_a_mask() -> None:
    """Files of BART hold nothing but complex numbers."""
    mask = torch.tensor([1, 0, 1, 1])
    assert torch.equal(SubsampledFourier(mask.to(torch.complex64)).mask, mask != 0)


def test_walsh_mask_needs_powers_of_two() -> None:
    assert_refuses(lambda: SubsampledWalsh(torch.ones(4, 6)), "powers of two", "(4, 6)")


@pytest.mark.parametrize("shape", [(4, 5), (5, 4, 5), (2, 5, 4), (0, 4, 5), (2, 4, 5, 1), (5,), ()])
def test_refuses_maps_of_other_shapes(shape: Shape) -> None:
    if shape == (5, 4, 5):
        MultiCoilFourier(torch.ones(4, 5), torch.ones(shape, dtype=torch.complex64))
        return
    assert_refuses(
        lambda: MultiCoilFourier(torch.ones(4, 5), torch.ones(shape, dtype=torch.complex64)),
        "(coils, 4, 5)",
        str(shape),
    )


@pytest.mark.parametrize("bad", [math.nan, math.inf, complex(0, math.nan)])
def test_refuses_maps_that_are_not_finite(bad: complex) -> None:
    maps = torch.ones(2, 4, dtype=torch.complex64)
    maps[1, 2] = torch.tensor(bad)
    assert_refuses(lambda: MultiCoilFourier(torch.ones(4), maps), "coil maps", "NaN")


def test_refuses_real_maps() -> None:
    assert_refuses(lambda: MultiCoilFourier(torch.ones(4), torch.ones(3, 4)), "coil maps", "float32")


@pytest.mark.parametrize("case", [FOURIER[4], FOURIER[12], COILS[1], FOLDED[2]], ids=named)
def test_refuses_real_measurements(case: Case) -> None:
    operator = case.make(torch.float64)
    assert_refuses(lambda: operator.adjoint(torch.ones(operator.out_shape)), "Complex", "float32")
    packed = torch.ones(2, *operator.out_shape)
    assert_refuses(lambda: operator.adjoint(packed), "view_as_complex", str(tuple(packed.shape)))
    last = torch.ones(*operator.out_shape, 2)
    assert_refuses(lambda: operator.adjoint(last), "view_as_complex", str(tuple(last.shape)))


@pytest.mark.parametrize("case", [FOURIER[4], COILS[1], WALSH[3], FOLDED[2]], ids=named)
def test_refuses_other_shapes_and_integers(case: Case) -> None:
    operator = case.make(torch.float64)
    for shape in ((), operator.in_shape[1:], operator.in_shape[::-1], (*operator.in_shape, 3)):
        assert_refuses(lambda s=shape: operator(torch.ones(s)), str(operator.in_shape), str(shape))
    assert_refuses(lambda: operator(torch.ones(operator.in_shape, dtype=torch.int64)), "int64")
    assert_refuses(lambda: operator.adjoint(torch.ones(operator.out_shape, dtype=torch.int64)), "int64")


@given(shape=any_shape(size=60), centred=st.booleans(), coils=st.integers(0, 3), probe=any_probe())
def test_fourier_of_any_shape(shape: Shape, centred: bool, coils: int, probe: Probe) -> None:
    case = coil_case(coils, shape, centred) if coils else fourier_case(shape, centred, probe.seed)
    operator = case.make(probe.dtype)
    for law in CHEAP_LAWS:
        law(operator, probe)
    assert_matches_dense(operator, case.dense(probe.dtype), probe)
    assert_norm_bound(operator, case.dense(probe.dtype))


@given(bits=st.lists(st.integers(0, 3), min_size=1, max_size=3).filter(lambda b: sum(b) <= 6), probe=any_probe())
def test_walsh_of_any_shape(bits: list[int], probe: Probe) -> None:
    case = walsh_case(tuple(2**b for b in bits))
    operator = case.make(probe.dtype)
    for law in CHEAP_LAWS:
        law(operator, probe)
    assert_matches_dense(operator, case.dense(probe.dtype), probe)
    assert operator(Probe(torch.float64).x(operator)).dtype == torch.float64  # real images stay real
