"""MRpro: its operators as ours, ours as its."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from bridge_laws import assert_example_runs, assert_is_solved, assert_is_sound, disc
from firenet import BadInput, MultiCoilFourier, SubsampledFourier, check_adjoint
from firenet.interop import from_mrpro, to_mrpro

mrpro: Any = pytest.importorskip("mrpro")

SIDE, COILS = 8, 3
IMAGE, DATA = (1, 1, 1, SIDE, SIDE), (1, COILS, 1, 10, SIDE)


def spokes(count: int = 10, side: int = SIDE) -> Any:
    """A radial trajectory of MRpro, (other, coils, k2, k1, k0)."""
    angle = torch.arange(count) * torch.pi / count
    radius = torch.arange(side) - side // 2
    kx, ky = ((f(angle)[:, None] * radius)[None, None, None] for f in (torch.cos, torch.sin))
    return mrpro.data.KTrajectory(kz=torch.zeros(1, 1, 1, 1, 1), ky=ky, kx=kx)


def fourier(side: int = SIDE, count: int = 10) -> Any:
    size = mrpro.data.SpatialDimension(1, side, side)
    return mrpro.operators.FourierOp(recon_matrix=size, encoding_matrix=size, traj=spokes(count, side))


def maps() -> torch.Tensor:
    return torch.randn(1, COILS, 1, SIDE, SIDE, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))


def test_radial_samples_of_coils() -> None:
    theirs = fourier() @ mrpro.operators.SensitivityOp(maps())
    operator = from_mrpro(theirs, IMAGE, DATA)
    assert operator.title == "mrpro.LinearOperatorComposition"
    assert_is_sound(operator, single=True)
    x = torch.randn(2, *IMAGE, dtype=torch.complex64, generator=torch.Generator().manual_seed(1))
    expected = torch.stack([theirs(image)[0] for image in x])
    assert torch.allclose(operator(x), expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))


def test_double_precision() -> None:
    operator = from_mrpro(mrpro.operators.FastFourierOp(dim=(-2, -1)), (SIDE, SIDE), (SIDE, SIDE))
    assert_is_sound(operator, SubsampledFourier(torch.ones(SIDE, SIDE), centred=True).as_matrix().numpy())


def test_a_certified_reconstruction() -> None:
    theirs = mrpro.operators.FastFourierOp(dim=(-2, -1))
    mask = torch.rand(16, 16, generator=torch.Generator().manual_seed(0)) < 0.6
    mask[6:11, 6:11] = True
    sampled = mrpro.operators.EinsumOp(mask.double(), "... i j, ... i j -> ... i j") @ theirs
    assert_is_solved(from_mrpro(sampled, (16, 16), (16, 16)), disc() + 0j, psnr=30)


def test_ours_are_theirs() -> None:
    own = MultiCoilFourier(torch.rand(SIDE, SIDE, generator=torch.Generator().manual_seed(0)) < 0.5, maps()[0, :, 0])
    theirs = to_mrpro(own)
    assert isinstance(theirs, mrpro.operators.LinearOperator)
    x = torch.randn(4, 2, SIDE, SIDE, dtype=torch.complex64, generator=torch.Generator().manual_seed(1))
    (y,) = theirs(x)
    assert torch.equal(y, own(x))
    assert torch.equal(theirs.H(y)[0], own.adjoint(y))
    assert torch.allclose((theirs.H @ theirs)(x)[0], own.adjoint(own(x)))
    norm = theirs.operator_norm(x[:1, :1], dim=None, max_iterations=100)
    # A power iteration is below the norm, but for its stopping rule and rounding.
    assert norm.item() <= own.norm_bound.value * (1 + 1e-4)
    assert check_adjoint(from_mrpro(theirs, own.in_shape, own.out_shape)).passed
    # Gradients pass through: that of half the squared norm of Ax is A*Ax.
    x.requires_grad_()
    theirs(x)[0].abs().square().sum().div(2).backward()
    assert x.grad is not None
    assert torch.allclose(x.grad, own.adjoint(own(x)), rtol=1e-4, atol=1e-4)


def test_their_solver_takes_ours() -> None:
    own = SubsampledFourier(torch.ones(SIDE, SIDE))
    x = torch.randn(SIDE, SIDE, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    theirs = to_mrpro(own)
    (found,) = mrpro.algorithms.optimizers.cg(theirs.H @ theirs, own.adjoint(own(x)), tolerance=1e-6)
    assert torch.allclose(found, x, atol=1e-5)


def test_what_is_refused() -> None:
    with pytest.raises(BadInput, match=r"mrpro\.operators"):
        from_mrpro(torch.nn.Identity(), IMAGE, DATA)
    with pytest.raises(BadInput, match=r"mrpro\.operators"):
        from_mrpro(mrpro.operators.MagnitudeOp(), IMAGE, DATA)
    with pytest.raises(BadInput, match="An operator of firenet"):
        to_mrpro(torch.eye(3))  # pyright: ignore[reportArgumentType]
    with pytest.raises(BadInput, match="result of shape"):
        from_mrpro(fourier(), IMAGE, (1, 1, 1, 9, SIDE))(torch.zeros(IMAGE, dtype=torch.complex64))


class Bare(mrpro.operators.LinearOperator):
    """An operator that returns a tensor, which those of the version in use do not."""

    def forward(self, x: torch.Tensor) -> Any:
        return x

    def adjoint(self, x: torch.Tensor) -> Any:
        return x


def test_another_version_is_told() -> None:
    with pytest.raises(BadInput, match="tuple of one tensor"):
        from_mrpro(Bare(), (2,), (2,))(torch.ones(2))


def test_the_example_runs() -> None:
    assert_example_runs("MRpro")
