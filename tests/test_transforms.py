"""transforms: tight frames by their laws, wavelets against PyWavelets, Walsh against scipy's Hadamard matrix."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import pywt
import torch
from hypothesis import given, strategies as st
from numpy.typing import NDArray
from torch import Tensor

from cases import WAVELETS, Shape
from firenet.operators.linear import LinearOperator
from firenet.transforms.analysis_operator import TightFrame
from firenet.transforms.undecimated import UndecimatedWavelet
from firenet.transforms.walsh import WalshHadamard
from firenet.transforms.wavelet import Wavelet
from laws import (
    DTYPES,
    LAWS,
    Case,
    Probe,
    any_probe,
    any_shape,
    assert_adjoint,
    assert_batch_is_loop,
    assert_isometry,
    assert_jvp_is_forward,
    assert_linear,
    assert_loads,
    assert_matches_dense,
    assert_moves,
    assert_near,
    assert_norm_bound,
    assert_pure,
    assert_refuses,
    assert_state_dtype,
    assert_survives,
    assert_vjp_is_adjoint,
    columns,
    kron,
    named,
    norm,
    probes,
)
from oracles import walsh

# --- references


def padded(shape: Shape, levels: int) -> Shape:
    return tuple(math.ceil(n / 2**levels) * 2**levels for n in shape)


def decomposed(image: NDArray[Any], wavelet: str, levels: int) -> tuple[NDArray[Any], list[Any]]:
    """PyWavelets' periodised transform of the zero-padded image as one array, and where its bands lie."""
    target = padded(image.shape, levels)
    image = np.pad(image, [(0, m - n) for n, m in zip(image.shape, target, strict=True)])
    with warnings.catch_warnings():  # it warns when the filter is longer than the side
        warnings.filterwarnings("ignore", message="Level value of")
        bands = pywt.wavedecn(image, wavelet, mode="periodization", level=levels)
    array, slices = pywt.coeffs_to_array(bands)
    assert array.shape == target
    return array, slices


def pywt_matrix(shape: Shape, wavelet: str, levels: int) -> Tensor:
    units = np.eye(math.prod(shape)).reshape(-1, *shape)
    return torch.from_numpy(np.stack([decomposed(u, wavelet, levels)[0].ravel() for u in units], axis=1))


def pywt_levels(shape: Shape, wavelet: str, levels: int) -> NDArray[np.int64]:
    """The scale of each coefficient, from the slices that PyWavelets gives: 0 the approximation."""
    array, slices = decomposed(np.zeros(shape), wavelet, levels)
    scale = np.full(array.shape, -1)
    scale[slices[0]] = 0
    for k, details in enumerate(slices[1:], start=1):
        for place in details.values():
            scale[place] = k
    assert scale.min() == 0
    return scale


def wavelet_case(shape: Shape, wavelet: str, levels: int) -> Case:
    return Case(
        f"{wavelet} {'x'.join(map(str, shape))} by {levels}",
        lambda _: Wavelet(shape, wavelet, levels),
        lambda _: pywt_matrix(shape, wavelet, levels),
    )


def a_trous(image: NDArray[Any], wavelet: str, levels: int) -> NDArray[Any]:
    """The undecimated transform by its definition: sums of shifted images, axis by axis, level by level."""
    filters = pywt.Wavelet(wavelet)  # pyright: ignore[reportAttributeAccessIssue]  (compiled, without stubs)
    low, details = image, []
    for level in range(levels):
        bands = [low]
        for axis in range(image.ndim):
            bands = [
                sum(
                    tap / math.sqrt(2) * np.roll(band, 2**level * (k - len(taps) // 2), axis)
                    for k, tap in enumerate(taps)
                )
                for band in bands
                for taps in (filters.dec_lo, filters.dec_hi)
            ]
        low, details = bands[0], [*details, *bands[1:]]
    return np.stack([*details, low])


def undecimated_case(shape: Shape, wavelet: str, levels: int) -> Case:
    units = np.eye(math.prod(shape)).reshape(-1, *shape)
    return Case(
        f"undecimated {wavelet} {'x'.join(map(str, shape))} by {levels}",
        lambda _: UndecimatedWavelet(shape, wavelet, levels),
        lambda _: torch.from_numpy(np.stack([a_trous(u, wavelet, levels).ravel() for u in units], axis=1)),
    )


def walsh_case(*shape: int) -> Case:
    return Case(
        f"Walsh {'x'.join(map(str, shape))}",
        lambda _: WalshHadamard(shape),
        lambda _: torch.from_numpy(kron(*map(walsh, shape))),
    )


CASES = [
    wavelet_case((1,), "haar", 0),
    wavelet_case((2,), "haar", 1),
    wavelet_case((13,), "db2", 0),
    wavelet_case((16,), "haar", 4),
    wavelet_case((8,), "db10", 3),  # the filter goes twice around
    wavelet_case((13,), "db2", 3),  # padded
    wavelet_case((66,), "sym3", 1),  # blocks of 2
    wavelet_case((80,), "coif1", 2),  # blocks of 16, then one block
    wavelet_case((8, 12), "haar", 2),
    wavelet_case((12, 8), "db4", 2),
    wavelet_case((5, 7), "haar", 2),
    wavelet_case((7, 4), "db2", 1),
    wavelet_case((4, 66), "db3", 1),
    wavelet_case((66, 4), "db3", 1),
    wavelet_case((1, 6), "haar", 0),
    wavelet_case((4, 6, 8), "haar", 1),
    wavelet_case((4, 4, 4), "sym4", 2),
    wavelet_case((3, 5, 2), "db2", 1),
    undecimated_case((1,), "haar", 0),
    undecimated_case((13,), "haar", 3),
    undecimated_case((8,), "db10", 3),  # the filter goes many times around
    undecimated_case((17,), "sym4", 2),
    undecimated_case((5, 7), "db2", 2),
    undecimated_case((6, 4), "coif1", 2),
    undecimated_case((1, 6), "haar", 0),
    undecimated_case((3, 5, 2), "haar", 1),
    undecimated_case((4, 3, 4), "db3", 1),
    walsh_case(1),
    walsh_case(2),
    walsh_case(32),
    walsh_case(8, 4),
    walsh_case(1, 16),
    walsh_case(2, 1, 8),
    walsh_case(4, 4, 4),
]


@pytest.mark.parametrize("law", [*LAWS, assert_isometry], ids=named)
@pytest.mark.parametrize("case", CASES, ids=named)
def test_law(case: Case, law: Callable[[LinearOperator, Probe], None]) -> None:
    for probe in probes():
        law(case.make(probe.dtype), probe)


@pytest.mark.parametrize("case", CASES, ids=named)
def test_adjoint_obeys_the_laws_too(case: Case) -> None:
    for dtype in DTYPES:
        operator, probe = case.make(dtype).H, Probe(dtype, (2,))
        for law in (assert_adjoint, assert_linear, assert_vjp_is_adjoint, assert_jvp_is_forward, assert_state_dtype):
            law(operator, probe)


@pytest.mark.parametrize("case", CASES, ids=named)
def test_is_its_matrix(case: Case) -> None:
    dense = case.dense(torch.float64)
    for probe in probes():
        assert_matches_dense(case.make(probe.dtype), dense, probe)
    frame = case.make(torch.float64)
    assert_norm_bound(frame, columns(frame, torch.float64))
    assert_norm_bound(frame, dense)
    assert frame.norm_bound.kind == "exact"
    assert_near(columns(frame, torch.float64), dense, 1e-12 * math.sqrt(len(dense)))
    assert_moves(frame, dense, Probe(batch=(2,)))


@pytest.mark.parametrize("case", CASES, ids=named)
def test_is_orthonormal_says_whether_the_frame_is(case: Case) -> None:
    frame, dense = case.make(torch.float64), case.dense(torch.float64)
    assert isinstance(frame, TightFrame)
    m, n = dense.shape
    assert torch.allclose(dense.mT @ dense, torch.eye(n, dtype=torch.float64), rtol=0, atol=1e-10)
    assert frame.is_orthonormal == (m == n)
    away = norm(dense @ dense.mT - torch.eye(m, dtype=torch.float64))  # a projection: root of what is missing
    assert away == pytest.approx(math.sqrt(m - n), abs=1e-9)
    c = Probe(torch.float64).draw(frame.out_shape)
    assert (norm(frame(frame.adjoint(c)) - c) < 1e-9 * norm(c)) == frame.is_orthonormal


# --- wavelets


SHAPES_1D: list[Shape] = [(2,), (6,), (32,), (48,), (66,), (72,), (104,), (130,), (160,), (512,)]
SHAPES_2D: list[Shape] = [(2, 2), (4, 10), (16, 48), (80, 12), (12, 80), (130, 20), (33, 7)]
SHAPES_3D: list[Shape] = [(2, 4, 6), (8, 8, 8), (4, 5, 3), (2, 2, 68), (68, 2, 2)]


@pytest.mark.parametrize("shapes", [SHAPES_1D, SHAPES_2D, SHAPES_3D], ids=["1-D", "2-D", "3-D"])
@pytest.mark.parametrize("wavelet", WAVELETS)
def test_wavelet_is_that_of_pywavelets(wavelet: str, shapes: list[Shape]) -> None:
    for i, shape in enumerate(shapes):
        deepest = int(math.log2(min(shape)))
        for levels in {1, deepest}:
            frame = Wavelet(shape, wavelet, levels)
            for dtype in (torch.float64, torch.complex128):
                image = Probe(dtype, seed=i).draw(shape)
                expected = torch.from_numpy(decomposed(image.numpy(), wavelet, levels)[0])
                assert_near(frame(image), expected, 1e-12 * norm(image))
                coefficients = Probe(dtype, seed=i).draw(frame.out_shape)
                back = frame.adjoint(coefficients)
                # W is real and its adjoint is the transpose: checked against the inverse, where there is one.
                assert norm(frame(back) - coefficients) < 1e-10 * norm(coefficients) or not frame.is_orthonormal
                assert_near(frame.adjoint(frame(image)), image, 1e-10 * norm(image))


@pytest.mark.parametrize("wavelet", WAVELETS)
def test_wavelet_in_single_precision(wavelet: str) -> None:
    for shape, dtype in itertools.product([(160,), (16, 48), (8, 8, 8)], (torch.float32, torch.complex64)):
        image = Probe(dtype).draw(shape)
        frame = Wavelet(shape, wavelet)
        wide = frame(image.to(torch.promote_types(dtype, torch.float64)))
        assert_near(frame(image), wide.to(dtype), 1e-6 * norm(image))
        assert_near(frame.adjoint(frame(image)), image, 1e-6 * norm(image))


@pytest.mark.parametrize("wavelet", WAVELETS)
def test_norm_bound_of_a_wavelet_covers_its_filter_table(wavelet: str) -> None:
    # Symlets of PyWavelets are orthonormal to 5e-12 only: the bound must not be a plain 1.
    for shape, levels in [((16,), 3), ((64,), 6), ((4, 8), 2), ((2, 2, 4), 1), ((7,), 2)]:
        frame = Wavelet(shape, wavelet, levels)
        dense = columns(frame, torch.float64)
        assert frame.norm_bound.value >= torch.linalg.svdvals(dense).max().item() * (1 - 2e-15 * len(dense))
        assert 1 <= frame.norm_bound.value < 1 + 1e-9
        assert frame.norm_bound.kind == "exact"


@pytest.mark.parametrize("shape", [(230, 180), (97,), (101, 3), (7, 11, 13), (1,), (1, 1), (1, 1, 1), (1, 97), (257,)])
@pytest.mark.parametrize("wavelet", ["haar", "db4", "sym8", "coif3"])
def test_adjoint_undoes_any_shape(wavelet: str, shape: Shape) -> None:
    for levels in {None, 0, int(math.log2(min(shape)))}:
        frame = Wavelet(shape, wavelet, levels)
        assert frame.in_shape == shape
        assert frame.out_shape == padded(shape, frame.depth)
        assert frame.is_orthonormal == all(n % 2**frame.depth == 0 for n in shape)
        for dtype in (torch.float64, torch.complex128):
            assert_isometry(frame, Probe(dtype, (2,)))


@pytest.mark.parametrize("wavelet", WAVELETS)
def test_default_depth_is_that_of_pywavelets(wavelet: str) -> None:
    for shape in [(1,), (2,), (7,), (8,), (64,), (100,), (256, 256), (230, 180), (512, 30), (32, 64, 64), (1, 64)]:
        assert Wavelet(shape, wavelet).depth == pywt.dwtn_max_level(shape, wavelet)


def test_depth_may_exceed_the_default() -> None:
    assert Wavelet((8,), "db10").depth == 0
    assert Wavelet((8,), "db10", 3).depth == 3


@pytest.mark.parametrize("shape", [(1,), (16,), (13,), (8, 12), (5, 7), (1, 6), (4, 6, 8), (3, 5, 2), (230, 180)])
def test_levels_are_where_pywavelets_puts_the_bands(shape: Shape) -> None:
    for levels in range(int(math.log2(min(shape))) + 1):
        frame = Wavelet(shape, "haar", levels)
        found = frame.levels()
        assert found.dtype == torch.int64
        assert found.shape == frame.out_shape
        assert np.array_equal(found.numpy(), pywt_levels(shape, "haar", levels))


def test_levels_sizes_are_those_of_the_scales() -> None:
    assert torch.bincount(Wavelet((64, 64), "haar").levels().flatten()).tolist() == [1, 3, 12, 48, 192, 768, 3072]
    assert torch.bincount(Wavelet((64, 64), "db2", 2).levels().flatten()).tolist() == [256, 768, 3072]


def test_approximation_lies_in_the_first_corner() -> None:
    frame = Wavelet((16, 8), "db2", 1)
    c = frame(torch.ones(16, 8, dtype=torch.float64))
    assert_near(c[:8, :4], torch.full((8, 4), 2.0, dtype=torch.float64), 1e-10)
    c[:8, :4] = 0
    assert norm(c) < 1e-10


def test_corners_are_views_of_the_bands() -> None:
    frame = Wavelet((8, 4), "haar", 2)
    scale = frame.levels()
    for k in range(3):
        bands = frame.corners(scale, k)
        assert len(bands) == (4 if k else 1)
        assert all(band.shape == (8 >> k, 4 >> k) for band in bands)
        if k:
            assert (bands[0] < 3 - k).all()
            assert all((band == 3 - k).all() for band in bands[1:])
    array = torch.arange(32).reshape(8, 4)
    starts = [band[0, 0].item() for band in frame.corners(array, 1)]
    assert starts == [0, 16, 2, 18]  # the first axis changes fastest
    frame.corners(array, 1)[3].zero_()
    assert array[4:, 2:].eq(0).all()
    assert [b.shape for b in frame.corners(torch.zeros(5, 8, 4, 2), 1, behind=1)] == [(5, 4, 2, 2)] * 4


@pytest.mark.parametrize("wavelet", WAVELETS)
def test_undecimated_is_tight_in_any_shape(wavelet: str) -> None:
    for shape in [(257,), (230, 180), (31, 97), (9, 7, 11)]:
        frame = UndecimatedWavelet(shape, wavelet)
        assert frame.depth == min(5, int(math.log2(min(shape))))
        assert frame.out_shape == ((2 ** len(shape) - 1) * frame.depth + 1, *shape)
        total = frame.responses(torch.complex128, torch.device("cpu")).abs().square().sum(dim=0)
        assert (total.sqrt() <= frame.norm_bound.value + 1e-14).all()
        assert_near(total, torch.ones_like(total), 1e-10 * math.sqrt(total.numel()))
        for dtype in (torch.float64, torch.complex128, torch.complex64):
            assert_isometry(frame, Probe(dtype, (2,)))


@pytest.mark.parametrize("wavelet", ["haar", "db4", "sym5", "coif2"])
def test_undecimated_is_that_of_pywavelets_up_to_shifts(wavelet: str) -> None:
    """Each band of PyWavelets' stationary transform (its energy normalised) is one of ours, moved along the axis."""
    x = Probe(torch.float64).draw((64,))
    ours = UndecimatedWavelet((64,), wavelet, 3)(x).numpy()
    bands = pywt.swt(x.numpy(), wavelet, 3, trim_approx=True, norm=True)  # approximation, then coarse to fine
    for mine, theirs in zip(ours, [*bands[:0:-1], bands[0]], strict=True):
        assert min(np.abs(np.roll(mine, k) - theirs).max() for k in range(64)) < 1e-10


@pytest.mark.parametrize("shape", [(12,), (7, 9), (4, 6, 5)])
def test_a_shift_of_the_image_shifts_the_undecimated_coefficients(shape: Shape) -> None:
    frame = UndecimatedWavelet(shape, "db2")
    x = Probe(torch.complex128).draw(shape)
    shifts, axes = tuple(range(1, len(shape) + 1)), tuple(range(-len(shape), 0))
    assert_near(frame(x.roll(shifts, axes)), frame(x).roll(shifts, axes), 1e-13 * norm(x))


def test_undecimated_levels_are_those_of_the_bands() -> None:
    frame = UndecimatedWavelet((8, 16), "haar", 2)
    assert frame.levels().shape == frame.out_shape
    assert frame.levels()[:, 0, 0].tolist() == [2, 2, 2, 1, 1, 1, 0]
    # Details of a constant are zero, and its approximation is itself.
    ones = torch.ones(8, 16, dtype=torch.float64)
    coefficients = frame(ones)
    assert_near(coefficients[:-1], torch.zeros(6, 8, 16, dtype=torch.float64), 1e-14)
    assert_near(coefficients[-1], ones, 1e-13)


def test_integers_of_numpy_make_a_shape() -> None:
    sides: Any = np.array([8, 4])
    frame = Wavelet(sides, "haar", sides[1] // 4)
    assert (frame.in_shape, frame.depth) == ((8, 4), 1)
    assert all(type(n) is int for n in (*frame.in_shape, *frame.out_shape, frame.depth))


@pytest.mark.parametrize(
    "wavelet", ["bior2.2", "rbio1.3", "dmey", "db11", "db38", "sym11", "sym1", "coif6", "db0", "Haar", "", "morl", "db"]
)
def test_refuses_wavelets_that_are_not_orthonormal_or_not_known(wavelet: str) -> None:
    for frame in (Wavelet, UndecimatedWavelet):
        assert_refuses(lambda frame=frame: frame((16, 16), wavelet), repr(wavelet), "db4")


@pytest.mark.parametrize(("shape", "levels", "most"), [((16,), 5, 4), ((16, 8), 4, 3), ((1,), 1, 0), ((64,), -1, 6)])
def test_refuses_too_many_levels(shape: Shape, levels: int, most: int) -> None:
    for frame in (Wavelet, UndecimatedWavelet):
        assert_refuses(lambda frame=frame: frame(shape, "haar", levels), f"0 and {most} levels", str(levels))
        assert frame(shape, "haar", most).depth == most


@pytest.mark.parametrize("shape", [(), (2, 2, 2, 2), (0,), (8, 0), (-8,)])
def test_wavelet_refuses_shapes(shape: Shape) -> None:
    for frame in (Wavelet, UndecimatedWavelet):
        assert_refuses(lambda frame=frame: frame(shape, "haar"), str(shape))


def test_loading_a_state_dict_changes_nothing() -> None:
    assert_loads(Wavelet((8,), "db2", 1), Wavelet((8,), "db2", 1), Probe())
    assert_loads(WalshHadamard((8,)), WalshHadamard((8,)), Probe())
    assert not Wavelet((8,), "db2").state_dict()  # nothing in it depends on the data


# --- Walsh


@pytest.mark.parametrize("n", [1, 2, 4, 8, 16, 64, 128])
def test_walsh_is_hadamard_in_sequency_order(n: int) -> None:
    matrix = columns(WalshHadamard((n,)), torch.float64)
    assert_near(matrix, torch.from_numpy(walsh(n)), 1e-14 * n)
    assert matrix.equal(matrix.mT)
    assert_near(matrix @ matrix, torch.eye(n, dtype=torch.float64), 1e-14 * n)
    changes = (matrix.sign().diff(dim=1) != 0).sum(dim=1)
    assert changes.tolist() == list(range(n))


@pytest.mark.parametrize("shape", [(64,), (16, 32), (8, 4, 16)])
def test_walsh_is_its_own_inverse(shape: Shape) -> None:
    frame = WalshHadamard(shape)
    for dtype in DTYPES:
        x = Probe(dtype, (2,)).draw(shape)
        assert frame.adjoint(x).equal(frame(x))
        assert_near(frame(frame(x)), x, 20 * torch.finfo(dtype).eps * norm(x))
    assert frame.norm_bound.value == 1.0
    assert frame.norm_bound.kind == "exact"


@pytest.mark.parametrize("shape", [(1,), (2,), (32,), (8, 16), (1, 8), (4, 8, 2)])
def test_walsh_levels_are_the_dyadic_bands_of_the_largest_sequency(shape: Shape) -> None:
    found = WalshHadamard(shape).levels()
    assert found.shape == shape
    assert found.dtype == torch.int64
    for index in itertools.product(*map(range, shape)):
        top, band = max(index), 0
        while top >= 2 ** (band + 1):
            band += 1
        assert found[index].item() == band


@pytest.mark.parametrize("shape", [(), (3,), (8, 6), (0,), (-2,), (2, 2, 2, 2), (8, 8, 100)])
def test_walsh_refuses_shapes(shape: Shape) -> None:
    assert_refuses(lambda: WalshHadamard(shape), "powers of two", str(shape))


def test_walsh_says_to_what_to_pad() -> None:
    assert "(128, 64)" in assert_refuses(lambda: WalshHadamard((100, 64))).do


# --- any frame


FRAME_LAWS = (
    assert_adjoint,
    assert_linear,
    assert_isometry,
    assert_batch_is_loop,
    assert_pure,
    assert_survives,
    assert_vjp_is_adjoint,
)


@pytest.mark.parametrize(
    ("kind", "reference", "accuracy"),
    [
        (Wavelet, lambda image, wavelet, levels: decomposed(image, wavelet, levels)[0], 1e-12),
        (UndecimatedWavelet, a_trous, 1e-11),
    ],
)
@given(shape=any_shape(), wavelet=st.sampled_from(WAVELETS), depth=st.integers(0, 3), probe=any_probe())
def test_wavelets_of_any_shape(
    kind: Callable[..., TightFrame],
    reference: Callable[[NDArray[Any], str, int], NDArray[Any]],
    accuracy: float,
    shape: Shape,
    wavelet: str,
    depth: int,
    probe: Probe,
) -> None:
    levels = min(depth, int(math.log2(min(shape))))
    frame = kind(shape, wavelet, levels)
    for law in FRAME_LAWS:
        law(frame, probe)
    image = Probe(torch.complex128, seed=probe.seed).draw(shape)
    assert_near(frame(image), torch.from_numpy(reference(image.numpy(), wavelet, levels)), accuracy * norm(image))


@given(
    bits=st.lists(st.integers(0, 4), min_size=1, max_size=3).filter(lambda b: sum(b) <= 7),
    probe=any_probe(),
)
def test_walsh_of_any_shape(bits: list[int], probe: Probe) -> None:
    shape = tuple(2**b for b in bits)
    frame = WalshHadamard(shape)
    for law in (assert_adjoint, assert_linear, assert_isometry, assert_batch_is_loop, assert_pure, assert_survives):
        law(frame, probe)
    assert_matches_dense(frame, torch.from_numpy(kron(*map(walsh, shape))), probe)
