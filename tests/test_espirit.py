"""Coil maps: exact where the theory is, close to known maps elsewhere, and as close to BART's."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from cases import complex_normal, phantom, spectrum
from commands import SHARED
from firenet import BadInput
from firenet.mri.espirit import NARROWEST, centre_of, espirit, kernel_for
from firenet.mri.kspace import to_corner
from firenet.scans.demo import load_raw


def trigonometric_maps(coils: int, shape: tuple[int, ...], seed: int = 1) -> Tensor:
    """Maps of the frequencies -1, 0 and 1 on each axis, which never vanish together."""
    maps = torch.zeros(coils, *shape, dtype=torch.complex128)
    coefficients = 0.2 * complex_normal(coils, *(3,) * len(shape), seed=seed) / 3 ** (len(shape) / 2)
    coefficients[(slice(None), *(1,) * len(shape))] = complex_normal(coils, seed=seed + 1)
    index = torch.meshgrid(*(torch.tensor([n - 1, 0, 1]) for n in shape), indexing="ij")
    maps[(slice(None), *index)] = coefficients
    return torch.fft.ifftn(maps, dim=tuple(range(1, len(shape) + 1)), norm="forward")


def aligned(maps: Tensor, reference: Tensor) -> Tensor:
    """Maps with the common phase of the coils at each pixel, which is a convention, that fits the reference best."""
    along = (maps.conj() * reference).sum(dim=0)
    return maps * torch.where(along.abs() > 0, along / along.abs().clamp(min=1e-30), 1)


def distance(maps: Tensor, reference: Tensor, where: Tensor) -> float:
    """Relative l2 distance over some pixels, after the phases are aligned."""
    difference = (aligned(maps, reference) - reference)[:, where]
    return (torch.linalg.vector_norm(difference) / torch.linalg.vector_norm(reference[:, where])).item()


@pytest.mark.parametrize("shape", [(40,), (31,), (26, 30), (27, 25), (18, 20, 21)])
def test_maps_of_few_frequencies_are_found_exactly(shape):
    """White k-space fills the space of all patches, and G(r) s(r) = s(r) holds for every r."""
    maps = trigonometric_maps(4, shape)
    k = spectrum(maps * complex_normal(*shape), len(shape))
    everywhere = torch.ones(shape, dtype=torch.bool)
    maps = maps / torch.linalg.vector_norm(maps, dim=0)
    # No noise, so nothing but rounding is to be dropped.
    assert distance(espirit(k, dims=len(shape), width=16, threshold=1e-13), maps, everywhere) < 1e-9
    # What the threshold drops by default, singular values below 3 %, costs no more than that.
    assert distance(espirit(k, dims=len(shape), width=16), maps, everywhere) < 0.03


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_maps_that_do_not_vary_are_found_exactly(dims):
    """One number a coil: the maps are these numbers divided by their norm, up to a common phase."""
    numbers = complex_normal(5, seed=3)
    maps = espirit(numbers.view(5, *(1,) * dims) * complex_normal(*(20,) * dims), dims=dims, width=14)
    expected = (numbers / torch.linalg.vector_norm(numbers)).view(5, *(1,) * dims).expand(maps.shape)
    assert (aligned(maps, expected) - expected).abs().max() < 1e-10


@pytest.mark.parametrize("kernel", [1, 2, 8])
def test_kernels_of_one_sample_and_of_the_whole_centre_are_taken(kernel: int) -> None:
    """They suffice for maps that do not vary."""
    numbers = complex_normal(5, seed=3)
    maps = espirit(numbers.view(5, 1, 1) * complex_normal(12, 8), width=9, kernel=kernel)  # no wider than the image
    expected = (numbers / torch.linalg.vector_norm(numbers)).view(5, 1, 1).expand(maps.shape)
    shown = maps.abs().sum(dim=0) > 0  # a single patch explains only where its own image is bright
    assert shown.all() or kernel == 8
    assert ((aligned(maps, expected) - expected).abs() * shown).max() < 1e-10


@pytest.mark.parametrize("width", [NARROWEST, 9, 10, 12, 16, 24])
@pytest.mark.parametrize(("coils", "shape"), [(2, (64, 60)), (4, (64, 64)), (8, (47, 52)), (4, (30, 32, 28))])
def test_error_inside_an_object(coils, shape, width):
    """At every width that is taken the maps are good to a few per cent, and no pixel of the object is lost."""
    k, true, inside = phantom(coils, shape)
    maps = espirit(k, dims=len(shape), width=width)
    assert (torch.linalg.vector_norm(maps, dim=0)[inside] - 1).abs().max() < 1e-12
    # Kernels of side k resolve maps as polynomials of about k terms do: 5 % for side 3, less for more.
    assert distance(maps, true, inside) < {3: 0.05, 4: 0.03}.get(kernel_for(width, len(shape)), 0.02)


def test_noise_in_all_dimensions_is_told_from_signal():
    """Noise above the threshold leaves nothing to drop; the smallest singular values say how large it is."""
    k, true, inside = phantom(2, (64, 60), noise=0.15)
    centre = centre_of(k, 24, 2)
    patches = centre.unfold(1, 6, 1).unfold(2, 6, 1).permute(0, 3, 4, 1, 2).reshape(72, -1)
    values = torch.linalg.svdvals(patches).square()
    assert values[-1] > 1e-3 * values[0]
    maps = espirit(k)
    assert (maps.abs().sum(dim=0)[inside] > 0).float().mean() > 0.95
    assert distance(maps, true, inside & (maps.abs().sum(dim=0) > 0)) < 0.06


def test_phase_is_that_of_the_first_principal_coil():
    k, _, inside = phantom(4, (48, 40))
    maps = espirit(k)
    centre = centre_of(k, 24, 2).flatten(1)
    first = torch.linalg.eigh(centre @ centre.mH)[1][:, -1]
    first = first * (first[first.abs().argmax()].conj() / first.abs().max())
    along = (first.conj()[:, None, None] * maps).sum(dim=0)[inside]
    assert along.imag.abs().max() < 1e-12
    assert along.real.min() > 0


def test_a_batch_is_its_items_and_nothing_random_is_drawn():
    k = torch.stack([phantom(3, (40, 36), noise)[0] for noise in (0.0, 0.01, 0.03)])
    state = torch.get_rng_state()
    maps = espirit(k[None])
    assert torch.equal(torch.get_rng_state(), state)
    assert maps.shape == (1, *k.shape)
    for item, own in zip(k, maps[0], strict=True):
        assert torch.equal(espirit(item), own)


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
@pytest.mark.parametrize("unit", [1e-30, 1e30])
def test_the_unit_of_the_data_does_not_matter(unit, dtype):
    k = phantom(4, (40, 36))[0]
    eps = torch.finfo(dtype).eps
    maps = espirit((k * unit).to(dtype))
    assert maps.dtype == dtype
    # Rounding the data is a noise of eps, amplified by at most the threshold's inverse, twice.
    assert (maps - espirit(k).to(dtype)).abs().max() < 1e4 * eps


def test_coils_of_different_scale():
    """Coils in other units have maps in other units."""
    scale = torch.tensor([1.0, 1e-3, 10.0, 0.1], dtype=torch.float64)[:, None, None]
    maps = trigonometric_maps(4, (32, 30))
    k = spectrum(scale * maps * complex_normal(32, 30), 2)
    expected = scale * maps / torch.linalg.vector_norm(scale * maps, dim=0)
    # Singular values go down with the weakest coil, 1e-4 of the strongest; without noise all can be kept.
    difference = aligned(espirit(k, threshold=1e-14), expected) - expected
    assert (difference.abs().amax(dim=(1, 2)) / expected.abs().amax(dim=(1, 2))).max() < 1e-3


def test_a_coil_without_signal_has_the_map_zero():
    k = phantom(4, (40, 36))[0]
    k[2] = 0
    maps = espirit(k)
    assert torch.equal(maps[2], torch.zeros_like(maps[2]))
    without = espirit(k[[0, 1, 3]])
    torch.testing.assert_close(maps[[0, 1, 3]], without, rtol=0, atol=1e-9)


def test_the_largest_eigenvector_also_where_two_are_close():
    from firenet.mri.espirit import _largest

    vectors = torch.linalg.qr(complex_normal(50, 6, 6))[0]
    second = torch.from_numpy(1 - np.logspace(-12, -0.3, 50))
    values = torch.stack([0.3 * second] * 4 + [second, torch.ones(50, dtype=torch.float64)], dim=-1)
    matrices = (vectors * values[:, None]) @ vectors.mH
    largest, found = _largest(matrices)
    torch.testing.assert_close(largest, values[:, -1], rtol=0, atol=1e-12)
    rest = matrices @ found[..., None] - largest[:, None, None] * found[..., None]
    assert torch.linalg.vector_norm(rest, dim=(-2, -1)).max() < 1e-11


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_two_patches_a_side_of_the_kernel(dims):
    sides = [kernel_for(width, dims) for width in range(NARROWEST, 40)]
    assert all(width - side + 1 >= 2 * side >= 6 for width, side in zip(range(NARROWEST, 40), sides, strict=True))
    assert sides[-1] == (5 if dims == 3 else 6)


@pytest.mark.parametrize(
    ("arguments", "needed"),
    [
        ({"kspace": torch.zeros(2, 16, 16)}, "Complex k-space"),
        ({"kspace": complex_normal(16, 16)}, "Complex k-space"),
        ({"kspace": complex_normal(2, 16, 16), "dims": 4}, "Complex k-space"),
        ({"kspace": complex_normal(2, 16, 16), "kernel": 17}, "A kernel between"),
        ({"kspace": complex_normal(2, 16, 16), "kernel": 0}, "A kernel between"),
        ({"kspace": complex_normal(2, 12, 16), "kernel": 13}, "A kernel between"),
        ({"kspace": complex_normal(2, 16, 16), "kernel": 9, "width": 8}, "A kernel between"),
        ({"kspace": complex_normal(2, 16, 16), "dims": 0}, "Complex k-space"),
        ({"kspace": complex_normal(2, 8, 8, 8, 8), "dims": 4}, "Complex k-space"),
        ({"kspace": torch.zeros(2, 16, 16, dtype=torch.complex64)}, "finite calibration centre"),
        ({"kspace": torch.full((2, 16, 16), complex(np.nan, 0))}, "finite calibration centre"),
        # Independent noise in both coils: no patch is impossible.
        ({"kspace": complex_normal(2, 24, 24), "kernel": 2}, "A calibration matrix"),
    ],
)
def test_refusals(arguments, needed):
    with pytest.raises(BadInput, match=needed):
        espirit(**arguments)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_same_maps_on_a_gpu():
    k, _, inside = phantom(4, (48, 40))
    maps = espirit(k.to("cuda"))
    assert maps.device.type == "cuda"
    torch.testing.assert_close(maps.cpu()[:, inside], espirit(k)[:, inside], rtol=0, atol=1e-8)


def brain() -> Tensor:
    path = SHARED / "brain_8ch_poisson.npz"
    if not path.exists():
        pytest.skip(f"{path.name} is not there; set FIRENET_DATA to its folder")
    with np.load(path, allow_pickle=False) as file:
        return torch.from_numpy(file["kspace"])


def bart_maps(kspace: Tensor, folder: Path) -> Tensor:
    """Maps by ``bart ecalib``, whose files are column-major with the coils on axis 3."""
    stored = kspace.numpy().transpose(1, 2, 0)[:, :, None, :]
    (folder / "k.hdr").write_text("# Dimensions\n" + " ".join(map(str, [*stored.shape, *[1] * 12])) + "\n")
    stored.astype("<c8").ravel(order="F").tofile(folder / "k.cfl")
    subprocess.run(["bart", "ecalib", "-m1", "-r24", "k", "maps"], cwd=folder, check=True, capture_output=True)
    values = np.fromfile(folder / "maps.cfl", "<c8").reshape(stored.shape, order="F")
    return torch.from_numpy(np.ascontiguousarray(values[:, :, 0].transpose(2, 0, 1)))


@pytest.mark.skipif(shutil.which("bart") is None, reason="needs BART")
@pytest.mark.parametrize("data", [brain, load_raw])
def test_within_one_per_cent_of_bart(data, tmp_path):
    """Inside the common support, the phase of each pixel taken out.

    BART stops after 30 power iterations. Where two eigenvalues are close that is not yet the eigenvector, which is all
    of the difference of the brain; in the brain itself, where there is signal, none is left.
    """
    kspace = data()
    y = to_corner(kspace, 2)
    maps, theirs = espirit(y), bart_maps(kspace, tmp_path)
    ours, other = (m.abs().sum(dim=0) > 0 for m in (maps, theirs))
    assert (ours != other).float().mean() < 0.005
    assert distance(maps, theirs, ours & other) < 0.01
    rss = torch.linalg.vector_norm(torch.fft.ifft2(y), dim=0)
    assert distance(maps, theirs, ours & other & (rss > 0.2 * rss.max())) < 0.003
