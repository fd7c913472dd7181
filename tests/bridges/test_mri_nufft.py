"""mri-nufft: its non-uniform Fourier operators."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from bridge_laws import assert_example_runs, assert_is_solved, assert_is_sound, disc
from firenet import BadInput, check_adjoint
from firenet.interop import from_mri_nufft
from firenet.operators import Weighted

mrinufft: Any = pytest.importorskip("mrinufft")
# The library says so of every trajectory in cycles, which is what its documentation asks for.
pytestmark = pytest.mark.filterwarnings("ignore:Samples will be rescaled:UserWarning")

SHAPE = (8, 10)


def trajectory(samples: int = 150, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, (samples, 2))


def maps() -> np.ndarray:
    rng = np.random.default_rng(1)
    return rng.standard_normal((3, *SHAPE)) + 1j * rng.standard_normal((3, *SHAPE))


def make(points: np.ndarray, shape: tuple[int, ...] = SHAPE, **more: Any) -> Any:
    return mrinufft.get_operator("finufft")(points, shape, **more)


def exact(points: np.ndarray) -> np.ndarray:
    """The matrix of the sum, with the library's scale: (samples, pixels)."""
    grid = np.stack([i.ravel() - n // 2 for i, n in zip(np.indices(SHAPE), SHAPE, strict=True)])
    return np.exp(-2j * np.pi * points @ grid) / np.sqrt(np.prod([2 * n for n in SHAPE]))


def test_it_is_the_sum() -> None:
    points = trajectory()
    operator = from_mri_nufft(make(points))
    assert operator.title == "mrinufft.MRIfinufft"
    assert (operator.in_shape, operator.out_shape) == (SHAPE, (150,))
    assert_is_sound(operator)
    found = operator.as_matrix(torch.complex128).numpy()
    # The library asks its backend for 1e-6, whatever the precision is, in the norm of sums of 80 terms.
    assert np.abs(found - exact(points)).max() < 2e-5 * np.abs(found).max()


@pytest.mark.parametrize("squeeze", [True, False])
def test_coils(squeeze: bool) -> None:
    points, sensitivities = trajectory(), maps()
    theirs = make(points, n_coils=3, smaps=sensitivities, squeeze_dims=squeeze)
    operator = from_mri_nufft(theirs)
    assert (operator.in_shape, operator.out_shape) == (SHAPE, (3, 150))
    assert_is_sound(operator)
    x = np.random.default_rng(2).standard_normal((2, *SHAPE)) + 0j
    for image, found in zip(x, operator(torch.from_numpy(x)), strict=True):
        assert np.array_equal(found.numpy(), np.asarray(theirs.op(image)).reshape(3, 150))
    each = from_mri_nufft(make(points, n_coils=3, squeeze_dims=squeeze))
    assert (each.in_shape, each.out_shape) == ((3, *SHAPE), (3, 150))
    assert torch.allclose(each(torch.from_numpy(sensitivities * x[0])), operator(torch.from_numpy(x[0])))


def test_single_precision_stays_single() -> None:
    operator = from_mri_nufft(make(trajectory().astype(np.float32)))
    assert_is_sound(operator, single=True)
    assert operator(torch.zeros(SHAPE)).dtype == torch.complex64


def test_three_axes() -> None:
    points = np.random.default_rng(0).uniform(-0.5, 0.5, (40, 3))
    operator = from_mri_nufft(make(points, (4, 5, 6)))
    assert (operator.in_shape, operator.out_shape) == ((4, 5, 6), (40,))
    assert_is_sound(operator)


def test_a_certified_reconstruction() -> None:
    assert_is_solved(from_mri_nufft(make(trajectory(300), (16, 16))), disc() + 0j, psnr=40)


def test_a_density_compensation_is_refused_and_belongs_in_weights() -> None:
    points = trajectory()
    density = np.linspace(0.5, 2.0, len(points))
    theirs = make(points, density=density)
    with pytest.raises(BadInput, match=r"adj_op.*Weighted"):
        from_mri_nufft(theirs)
    later = make(points)
    operator = from_mri_nufft(later)
    later.density = density
    with pytest.raises(BadInput, match="density compensation"):
        operator.adjoint(torch.zeros(150).to(torch.complex128))
    weighted = Weighted(from_mri_nufft(make(points)), density)
    assert check_adjoint(weighted).defect < 1e-13


def test_what_is_refused() -> None:
    with pytest.raises(BadInput, match="mri-nufft"):
        from_mri_nufft(np.eye(3))
    with pytest.raises(BadInput, match="n_batchs=2"):
        from_mri_nufft(make(trajectory(), n_batchs=2))


def test_the_example_runs() -> None:
    assert_example_runs("mri-nufft")
