"""deepinv: its physics as operators, operators as its physics, FIRENETs as its reconstructors."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import firenet
from firenet import BadInput, Matrix, SubsampledFourier, check_adjoint
from firenet.operators import norm_report

deepinv: Any = pytest.importorskip("deepinv")
from firenet.interop import FirenetReconstructor, from_deepinv, to_deepinv  # noqa: E402

SIDE = 32


def samples() -> torch.Tensor:
    return firenet.sensing.multilevel((SIDE, SIDE), 0.5).samples


def physics(name: str) -> tuple[Any, tuple[int, ...] | None]:
    """Returns a physics, and the shape of its image where it does not know it."""
    mask = torch.fft.fftshift(samples()).float()[None, None]
    random = torch.Generator().manual_seed(0)
    if name == "MRI":
        return deepinv.physics.MRI(mask=mask, img_size=(2, SIDE, SIDE)), None
    if name == "MultiCoilMRI":
        maps = torch.randn(1, 4, SIDE, SIDE, dtype=torch.complex64, generator=random)
        return deepinv.physics.MultiCoilMRI(mask=mask, coil_maps=maps, img_size=(2, SIDE, SIDE)), None
    if name == "Blur":
        kernel = deepinv.physics.blur.gaussian_blur(1.0)
        return deepinv.physics.Blur(filter=kernel, padding="circular"), (1, SIDE, SIDE)
    if name == "Tomography":
        return deepinv.physics.Tomography(angles=20, img_width=SIDE, adjoint_via_backprop=True), (1, SIDE, SIDE)
    return deepinv.physics.Inpainting((1, SIDE, SIDE), mask=0.5, rng=random), (1, SIDE, SIDE)


@pytest.mark.parametrize("name", ["MRI", "MultiCoilMRI", "Blur", "Tomography", "Inpainting"])
def test_physics_are_operators(name: str) -> None:
    theirs, shape = physics(name)
    operator = from_deepinv(theirs, shape)
    assert check_adjoint(operator).passed
    assert not norm_report(operator).contradicted
    assert operator.title == f"deepinv.physics.{name}"
    x = torch.randn(2, *operator.in_shape, dtype=torch.complex64 if "MRI" in name else torch.float32)
    packed = torch.view_as_real(x).movedim(-1, 1) if x.is_complex() else x
    expected = theirs.A(packed)
    got = operator(x)
    got = torch.view_as_real(got).movedim(-1, 1) if got.is_complex() else got
    assert torch.allclose(got, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))


def test_an_adjoint_that_is_none_is_refused_by_name() -> None:
    theirs = deepinv.physics.Tomography(angles=20, img_width=SIDE, adjoint_via_backprop=False)
    with pytest.raises(BadInput, match=r"deepinv\.physics\.Tomography"):
        _ = from_deepinv(theirs, (1, SIDE, SIDE)).norm_bound


def test_operators_are_physics() -> None:
    theirs = to_deepinv(SubsampledFourier(samples()))
    x = torch.randn(3, 2, SIDE, SIDE)
    assert abs(float(theirs.adjointness_test(x))) < 1e-4
    assert float(theirs.compute_sqnorm(x[:1])) == pytest.approx(1, rel=1e-4)
    assert theirs.A_dagger(theirs.A(x)).shape == x.shape
    real = to_deepinv(Matrix(torch.eye(4)))
    assert real.A(torch.ones(2, 1, 4)).shape == (2, 1, 4)


@pytest.mark.parametrize("make", [lambda: physics("MRI")[0], lambda: to_deepinv(SubsampledFourier(samples()))])
def test_a_firenet_is_a_reconstructor(make: Any) -> None:
    theirs = make()
    truth = torch.zeros(2, 2, SIDE, SIDE)
    truth[0, 0, 8:20, 10:24] = 1
    truth[1, 0, 4:12, 4:30] = 2
    found = FirenetReconstructor(tolerance=1e-3)(theirs.A(truth), theirs)
    assert found.shape == truth.shape
    for image, expected in zip(found, truth, strict=True):
        assert firenet.psnr(torch.view_as_complex(image.movedim(0, -1).contiguous()), expected[0]) > 30
    metric = deepinv.loss.metric.PSNR(max_pixel=1.0)
    assert float(metric(found[:1, :1], truth[:1, :1])) > 30


def test_what_is_refused() -> None:
    with pytest.raises(BadInput, match="LinearPhysics"):
        from_deepinv(deepinv.physics.PhaseRetrieval)
    with pytest.raises(BadInput, match="Two channels"):
        from_deepinv(*physics("Blur"), complex_image=True)
