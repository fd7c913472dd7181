"""deepinv: its physics as operators, operators as its physics, FIRENETs as its reconstructors."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from bridge_laws import assert_example_runs, disc

import firenet
from firenet import BadInput, Matrix, MultiCoilFourier, SubsampledFourier, check_adjoint
from firenet.audit import Model, Settings, audit
from firenet.models import deepinv_reconstruct
from firenet.operators import norm_report
from firenet.operators.linear import LinearOperator

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


def coils(shape: tuple[int, ...], *, centred: bool) -> MultiCoilFourier:
    """Three coils with random maps; the zero frequency is measured, in the corner or in the middle."""
    random = torch.Generator().manual_seed(0)
    mask = torch.rand(shape, generator=random) < 0.5
    maps = torch.randn(3, *shape, dtype=torch.complex64, generator=random)
    return MultiCoilFourier(torch.fft.fftshift(mask) if centred else mask, maps, centred=centred)


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("shape", [(12, 10), (9, 8), (4, 6, 5)])
@pytest.mark.parametrize("several", [False, True])
def test_a_reconstructor_gets_the_same_measurements(shape: tuple[int, ...], centred: bool, several: bool) -> None:
    """The physics that a network is given explains the data that it is given, for one coil and for several."""
    multi = coils(shape, centred=centred)
    sensing: LinearOperator = multi if several else SubsampledFourier(multi.mask, centred=centred)
    x = torch.randn(shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(1))
    seen: list[torch.Tensor] = []

    def adjoint(y: torch.Tensor, physics: Any) -> torch.Tensor:
        assert isinstance(physics, deepinv.physics.MultiCoilMRI if several else deepinv.physics.MRI)
        assert torch.allclose(physics.A(torch.view_as_real(x).movedim(-1, 0)[None]), y, atol=1e-5)
        seen.append(y)
        return physics.A_adjoint(y)

    image = deepinv_reconstruct(adjoint, sensing)(sensing(x))
    assert torch.allclose(image, sensing.adjoint(sensing(x)), atol=1e-5)
    assert seen[0].shape == (1, 2, *((3,) if several else ()), *shape)


def network(mode: str) -> Any:
    """A network of deepinv for several coils, with two cascades and random weights."""
    torch.manual_seed(0)
    denoiser = deepinv.models.DnCNN(in_channels=2, out_channels=2, pretrained=None, depth=3, nf=8)
    return deepinv.models.VarNet(denoiser, num_cascades=2, mode=mode).eval().requires_grad_(False)


@pytest.mark.parametrize("mode", ["varnet", "e2e-varnet"])
def test_a_network_for_several_coils_is_audited(mode: str) -> None:
    with torch.random.fork_rng():
        net = network(mode)
    sensing = coils((16, 16), centred=False)
    settings = Settings(budgets=(0.01,), steps=2, starts=1, noise=(0.02,), tests=("accuracy", "worst", "noise"))
    model = Model(mode, lambda operator: deepinv_reconstruct(net, operator))
    record = audit([model], sensing, {"disc": torch.from_numpy(disc()).float()}, settings=settings)
    assert [row.test for row in record.rows] == ["accuracy", "worst", "noise"]
    assert all(row.failed is None for row in record.rows)
    # The same numbers without the audit: the image of the network, called as deepinv calls it.
    y = sensing(torch.from_numpy(disc()).to(torch.complex64))
    reconstruct = deepinv_reconstruct(net, sensing)
    assert torch.equal(reconstruct(y), reconstruct(y))
    mask = torch.fft.fftshift(sensing.mask).float()[None, None]
    theirs = deepinv.physics.MultiCoilMRI(mask=mask, coil_maps=sensing.maps[None], img_size=(1, 2, 16, 16))
    packed = theirs.A(torch.stack([torch.from_numpy(disc()).float(), torch.zeros(16, 16)])[None])
    expected = torch.view_as_complex(net(packed, theirs)[0].movedim(0, -1).contiguous())
    assert torch.allclose(reconstruct(y), expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


def test_a_network_that_changes_its_physics_and_fails_leaves_nothing_behind() -> None:
    sensing = coils((8, 8), centred=False)
    calls: list[int] = []

    def careless(y: torch.Tensor, physics: Any) -> torch.Tensor:
        calls.append(int(physics.mask.sum()))
        physics.update(mask=torch.ones(8, 8))
        return physics.A_adjoint(y)

    reconstruct = deepinv_reconstruct(careless, sensing)
    for _ in range(2):
        reconstruct(sensing(torch.ones(8, 8, dtype=torch.complex64)))
    assert calls == [2 * int(sensing.mask.sum())] * 2


def test_other_operators_have_no_physics() -> None:
    line = SubsampledFourier(torch.ones(8))
    for sensing in (line, Matrix(torch.eye(4)), 2 * SubsampledFourier(samples())):
        with pytest.raises(BadInput, match="two or three axes for deepinv"):
            deepinv_reconstruct(lambda y, physics: y, sensing)


def test_the_example_runs() -> None:
    assert_example_runs("deepinv")
