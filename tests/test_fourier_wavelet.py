"""Fourier samples of wavelet coefficients: the folded operator is the composition, in every shape that folds."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, strategies as st

from cases import WAVELETS, Shape, coil_maps, dense_fourier, some
from firenet.operators.algebra import Composition
from firenet.sensing.fourier import MultiCoilFourier, SubsampledFourier
from firenet.sensing.fourier_wavelet import FourierOfWavelet
from firenet.sensing.walsh import SubsampledWalsh
from firenet.transforms.walsh import WalshHadamard
from firenet.transforms.wavelet import Wavelet
from laws import (
    CHEAP_LAWS,
    Probe,
    any_probe,
    any_shape,
    assert_adjoint,
    assert_matches_dense,
    assert_near,
    assert_refuses,
    norm,
)

# --- Fourier of wavelet


FOLDED_SHAPES: list[Shape] = [(2,), (48,), (130,), (4, 6), (32, 16), (2, 4, 6), (8, 8, 4)]


@pytest.mark.parametrize("wavelet", WAVELETS)
def test_fourier_of_wavelet_is_the_composition(wavelet: str, engine: str) -> None:
    for shape in FOLDED_SHAPES:
        deepest = max(k for k in range(8) if all(n % 2**k == 0 for n in shape))
        for levels in {1, deepest}:
            sensing, frame = SubsampledFourier(some(shape)), Wavelet(shape, wavelet, levels)
            folded, plain = sensing @ frame.H, Composition(sensing, frame.H)
            assert isinstance(folded, FourierOfWavelet)
            assert (folded.in_shape, folded.out_shape) == (plain.in_shape, plain.out_shape)
            assert (folded.norm_bound.value, folded.norm_bound.kind) == (plain.norm_bound.value, "proven")
            for dtype in (torch.float64, torch.complex128):
                c, y = Probe(dtype, (2,)).x(plain), Probe(dtype, (2,)).y(plain)
                assert_near(folded(c), plain(c), 1e-12 * norm(plain(c)))
                assert_near(folded.adjoint(y), plain.adjoint(y), 1e-12 * norm(y))
            assert folded.restrict(y).equal(sensing.restrict(y))


@pytest.mark.parametrize("wavelet", ["haar", "db4", "sym8", "coif5"])
def test_fourier_of_wavelet_in_single_precision(wavelet: str, engine: str) -> None:
    for shape in FOLDED_SHAPES:
        sensing, frame = SubsampledFourier(some(shape)), Wavelet(shape, wavelet, 1)
        for dtype in (torch.float32, torch.complex64):
            probe = Probe(dtype, (2,))
            folded, plain = sensing @ frame.H, Composition(sensing, frame.H)
            assert_near(folded(probe.x(plain)), plain(probe.x(plain)), 1e-6 * norm(probe.x(plain)))
            assert_near(folded.adjoint(probe.y(plain)), plain.adjoint(probe.y(plain)), 1e-6 * norm(probe.y(plain)))


def test_fourier_of_wavelet_for_an_odd_shape_without_levels() -> None:
    sensing, frame = SubsampledFourier(some((7, 9))), Wavelet((7, 9), "haar", 0)
    assert isinstance(sensing @ frame.H, FourierOfWavelet)
    assert_matches_dense(sensing @ frame.H, dense_fourier(some((7, 9))), Probe())


@pytest.mark.parametrize("shape", [(13,), (6, 7), (230, 180), (4, 5, 4)])
@pytest.mark.parametrize("wavelet", ["haar", "db2"])
def test_padded_wavelets_are_composed_plainly(shape: Shape, wavelet: str) -> None:
    frame = Wavelet(shape, wavelet, 2)
    assert not frame.is_orthonormal
    sensing = SubsampledFourier(some(shape))
    product = sensing @ frame.H
    assert type(product) is Composition
    assert (product.in_shape, product.out_shape) == (frame.out_shape, shape)
    c = Probe().x(product)
    assert_near(product(c), sensing(frame.adjoint(c)), 1e-13 * norm(c))
    assert_adjoint(product, Probe())


def test_fourier_of_wavelet_refuses_a_padded_one() -> None:
    frame = Wavelet((13,), "haar", 2)
    for n in (13, 16):
        mask = torch.ones(n, dtype=torch.bool)
        assert_refuses(lambda m=mask: FourierOfWavelet(m, frame), "orthonormal", "(13,)")


def test_the_mask_is_copied_and_may_be_of_numbers() -> None:
    frame, booleans = Wavelet((8, 8), "db2", 2), some((8, 8))
    mask = booleans.float()
    operator = FourierOfWavelet(mask, frame)
    mask.zero_()
    assert torch.equal(operator.mask, booleans)
    assert_refuses(lambda: FourierOfWavelet(0.5 * booleans, frame), "zeros and ones", "float32")


def test_only_the_plain_pair_is_folded() -> None:
    mask, frame = some((8, 8)), Wavelet((8, 8), "db2", 2)
    sensing, centred = SubsampledFourier(mask), SubsampledFourier(mask, centred=True)
    maps = MultiCoilFourier(mask, coil_maps(2, (8, 8)))
    for product in (
        centred @ frame.H,
        sensing @ frame,
        sensing @ frame.H.H,
        sensing @ WalshHadamard((8, 8)).H,
        sensing @ Composition(frame.H, frame),
        maps @ frame.H,
        SubsampledWalsh(mask) @ frame.H,
    ):
        assert type(product) is Composition
        c = Probe().x(product)
        assert_near(product(c), product.outer(product.inner(c)), 1e-14 * norm(c))
    folded = sensing @ frame.H
    assert isinstance(folded, FourierOfWavelet)
    assert_adjoint(folded @ frame, Probe())
    assert_matches_dense(folded @ frame, dense_fourier(mask), Probe())


@pytest.mark.parametrize(
    ("mask", "image"),
    [((8, 8), (16, 16)), ((1, 1), (8, 8)), ((1, 8), (8, 8)), ((8,), (4, 8)), ((4, 8), (8,)), ((2, 4, 8), (4, 8))],
)
def test_refuses_a_wavelet_of_another_shape(mask: Shape, image: Shape) -> None:
    sensing = SubsampledFourier(torch.ones(mask))
    assert_refuses(lambda: sensing @ Wavelet(image, "haar", 1).H, str(mask), str(image))


@given(
    shape=any_shape(side=5, size=30),
    wavelet=st.sampled_from(WAVELETS),
    depth=st.integers(0, 2),
    probe=any_probe(),
)
def test_fourier_of_wavelets_of_any_shape(shape: Shape, wavelet: str, depth: int, probe: Probe) -> None:
    sides = tuple(n * 2**depth for n in shape)
    operator = SubsampledFourier(some(sides, probe.seed)) @ Wavelet(sides, wavelet, depth).H
    assert isinstance(operator, FourierOfWavelet)
    for law in CHEAP_LAWS:
        law(operator, probe)
    c = probe.x(operator)
    plain = SubsampledFourier(some(sides, probe.seed))(Wavelet(sides, wavelet, depth).adjoint(c))
    assert_near(operator(c), plain, 100 * torch.finfo(probe.dtype).eps * norm(c))
