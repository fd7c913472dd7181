"""What the data say about mask and coil maps: closed forms, and the cases that happen."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from cases import complex_normal, phantom, spectrum
from firenet import BadInput
from firenet.mri.espirit import espirit
from firenet.mri.evidence import calibration_width, judge_inferred, judge_maps, judge_mask, unexplained, without_padding
from firenet.mri.scan import prepare_scan


def smooth(*shape: int, seed: int = 0) -> Tensor:
    """Random images without the highest frequencies, from which the noise is estimated."""
    k = spectrum(complex_normal(*shape, seed=seed), 2)
    for axis in (-2, -1):
        k = k * (torch.fft.fftfreq(shape[axis]).abs() < 0.4).view(-1, *(1,) * (-axis - 1))
    return torch.fft.ifft2(k, norm="ortho")


LINES = torch.arange(24) % 3 == 0  # no two neighbours: there is no centre


@pytest.mark.parametrize("mask", [torch.ones(16, 12, dtype=torch.bool), LINES[:, None].expand(24, 20)])
@pytest.mark.parametrize("angle", [0.0, 0.3, 1.0, math.pi / 2])
@pytest.mark.parametrize("unit", [1.0, 1e-30])
def test_maps_that_are_turned_by_an_angle_leave_its_squared_sine(mask, angle, unit):
    """Maps (1, 0) and data of (cos, sin): in every pixel, and at every frequency, the share is the same."""
    image = smooth(*mask.shape)
    coils = torch.tensor([math.cos(angle), math.sin(angle) * 1j], dtype=torch.complex128)[:, None, None]
    maps = torch.zeros(2, *mask.shape, dtype=torch.complex128)
    maps[0] = 5.0  # their unit is free
    share = unexplained(unit * spectrum(coils * image, 2) * mask, mask, maps)
    assert share == pytest.approx(math.sin(angle) ** 2, abs=1e-12)


def test_pixels_without_maps_count_with_the_energy_they_have():
    image = smooth(16, 16)
    maps = torch.ones(3, 16, 16, dtype=torch.complex128)
    maps[:, :, :5] = 0
    share = unexplained(spectrum(maps.new_ones(3, 1, 1) * image, 2), torch.ones(16, 16, dtype=torch.bool), maps)
    energy = image.abs().square()
    assert share == pytest.approx((energy[:, :5].sum() / energy.sum()).item(), rel=1e-12)


def test_a_batch_adds_its_energies_and_no_signal_leaves_nothing():
    maps = complex_normal(3, 18, 18)
    k, other = spectrum(smooth(3, 18, 18), 2), 2 * spectrum(smooth(3, 18, 18, seed=1), 2)
    mask = torch.ones(18, 18, dtype=torch.bool)
    one, two = unexplained(k, mask, maps), unexplained(other, mask, maps)
    first, second = (x.abs().square().sum().item() for x in (k, other))
    both = unexplained(torch.stack([k, other]), mask, maps)
    assert both == pytest.approx((one * first + two * second) / (first + second), rel=1e-9)
    assert unexplained(torch.zeros_like(k), mask, maps) == 0


@pytest.mark.parametrize("width", [8, 12, 24, 48])
@pytest.mark.parametrize(("coils", "shape"), [(2, (56, 52)), (4, (56, 52)), (8, (56, 52)), (4, (28, 26, 24))])
def test_right_maps_pass_at_all_widths_and_wrong_ones_do_not(coils, shape, width):
    k, maps, _ = phantom(coils, shape)
    mask = torch.zeros(shape, dtype=torch.bool)
    centre = tuple(slice(n // 2 - min(width, n) // 2, n // 2 - min(width, n) // 2 + min(width, n)) for n in shape)
    mask[centre] = True
    mask = torch.fft.ifftshift(mask)
    mask[::3] = True
    k = k * mask
    assert judge_maps(k, mask, maps, "known")[1] is None
    estimated = espirit(k, dims=len(shape), width=min(width, 24, *shape))
    assert judge_maps(k, mask, estimated, "estimated")[1] is None
    wrong = [maps.roll(1, 0), maps.flip(-1).conj(), torch.ones_like(maps), torch.fft.ifftshift(maps, dim=(-2, -1))]
    for other in wrong:
        try:
            doubt = judge_maps(k, mask, other, "wrong")[1]
        except BadInput:
            continue
        assert doubt is not None
        assert "not explained by any image" in doubt


@pytest.mark.parametrize("coils", [2, 4, 8])
def test_noise_is_no_doubt(coils):
    """With as much noise as signal in a pixel right maps pass, and wrong ones do not."""
    k, maps, inside = phantom(coils, (56, 52), noise=0.3)
    clean = torch.fft.ifftn(phantom(coils, (56, 52), noise=0.0)[0], dim=(-2, -1), norm="ortho")[:, inside]
    assert clean.abs().square().mean() < 4 * (2 * 0.3**2)
    mask = torch.ones(56, 52, dtype=torch.bool)
    share, doubt = judge_maps(k, mask, maps, "known")
    assert doubt is None
    assert share < 0.02
    with pytest.raises(BadInput):
        judge_maps(k, mask, complex_normal(*maps.shape, seed=5), "wrong")


def test_maps_that_explain_no_more_than_chance_are_an_error():
    k, maps, _ = phantom(4, (40, 36))
    mask = torch.ones(40, 36, dtype=torch.bool)
    with pytest.raises(BadInput, match=r"not explained by any image through the coil maps \(from a file\)"):
        judge_maps(k, mask, complex_normal(4, 40, 36), "from a file")
    mostly = maps.clone()
    mostly[:, :, :30] = 0
    with pytest.raises(BadInput, match="Coil maps that explain the data"):
        judge_maps(k, mask, mostly, "from a file")


@pytest.mark.parametrize("shape", [(9,), (8, 9), (7, 6, 8)])
def test_calibration_width_by_trying_all(shape):
    rng = np.random.default_rng(0)
    for rate in (0.5, 0.9, 0.97, 1.0):
        for _ in range(20):
            mask = torch.from_numpy(rng.random(shape) < rate)
            mask[(0,) * len(shape)] |= rng.random() < 0.8
            centred = torch.fft.fftshift(mask)
            widths = [
                w
                for w in range(min(shape) + 1)
                if bool(centred[tuple(slice(n // 2 - w // 2, n // 2 - w // 2 + w) for n in shape)].all())
            ]
            assert calibration_width(mask) == max(widths)


def lines(n: int = 24, m: int = 24, *, centre: int = 6) -> Tensor:
    """A centred mask of lines that is different when it is shifted, transposed or flipped."""
    mask = torch.zeros(n, m, dtype=torch.bool)
    mask[::4] = mask[1] = True
    mask[n // 2 - centre // 2 : n // 2 - centre // 2 + centre] = True
    return mask


def test_a_mask_that_fits_says_nothing():
    found = judge_mask(complex_normal(3, 24, 24) * lines(), lines())
    assert (found.notes, found.doubts) == ((), ())


def test_a_full_scan_is_undersampled_with_a_note():
    k, mask = complex_normal(2, 24, 24), lines()
    found = judge_mask(k, mask)
    left = int((~mask).sum())
    energy = (k.abs().amax(dim=0).square() * ~mask).sum() / k.abs().amax(dim=0).square().sum()
    assert found.notes == (
        f"The mask leaves out {left} of 576 samples that are not zero ({energy.item():.2g} of the energy).",
    )
    assert found.doubts == ()


@pytest.mark.parametrize(
    ("turn", "how"),
    [
        (lambda m: torch.fft.ifftshift(m), "shifted by half its sides"),
        (lambda m: torch.fft.fftshift(m), "shifted by half its sides"),
        (lambda m: m.T, "with axes 0 and 1 swapped"),
        (lambda m: m.flip(0), "flipped along axis 0"),
        (lambda m: m.flip(0).roll(1, 0), "flipped about zero frequency along axis 0"),
    ],
)
def test_a_turned_mask_is_named(turn, how):
    mask = lines()
    with pytest.raises(BadInput, match=f"samples that are not zero .* The mask {how}") as caught:
        judge_mask(complex_normal(2, 24, 24) * mask, turn(mask))
    outside = int((mask & ~turn(mask)).sum())
    assert caught.value.got.startswith(f"{outside} of {int(mask.sum())} samples")


def test_the_mask_of_another_scan_is_refused_with_both_contradictions():
    k = complex_normal(2, 24, 24) * lines()
    other = torch.from_numpy(np.random.default_rng(1).random((24, 24)) < 0.4)
    with pytest.raises(BadInput, match=r"where the mask has none, and .* that the mask calls measured are zero"):
        judge_mask(k, other)


def test_zeros_among_what_the_mask_has():
    full = torch.ones(24, 24, dtype=torch.bool)
    k = complex_normal(2, 24, 24)
    k[:, 0, :3] = 0
    assert judge_mask(k, full).notes == ("3 of 576 samples that the mask calls measured are zero in all coils.",)
    (doubt,) = judge_mask(k * lines(), full).doubts
    assert "is it the mask of this scan?" in doubt


def test_rounding_is_no_sample():
    """Data that went through a Fourier transform and back are 1e-8 where they were zero."""
    k = (complex_normal(2, 24, 24) * lines()).to(torch.complex64)
    k = torch.fft.fft2(torch.fft.ifft2(k))
    assert bool((k != 0).all(dim=0).any())
    assert judge_mask(k, lines()).notes == ()


def test_what_is_odd_about_an_inferred_mask_is_noted():
    k = complex_normal(3, 24, 24)
    full = (k != 0).any(dim=0)
    assert judge_inferred(k, full, True).notes == ()
    k[0, 3, 4:9] = 0
    assert judge_inferred(k, full, True).notes == (
        "5 samples are zero in some coils and not in others; they count as measured.",
    )
    k[0] = 0
    assert judge_inferred(k, full, True).notes == ("Coils without any signal: 0.",)
    k[:, 2, -3] = 0
    notes = judge_inferred(k, (k != 0).any(dim=0), True).notes
    assert notes[-1].startswith("1 samples within the central 16 x 16 are zero and count as not measured")


def test_lines_that_were_filled_up_are_no_samples() -> None:
    full, k = torch.ones(6, 24, dtype=torch.bool), complex_normal(3, 2, 6, 24)
    k[..., :5] = k[..., 22:] = 0
    kept, said = without_padding(k, full, ("y", "x"), ("y", "x"))
    assert torch.equal(kept, full & (torch.arange(24) >= 5) & (torch.arange(24) < 22))
    assert said is not None
    assert "5 below and 2 above along x, are zero in all slices and coils" in said
    corner, _ = without_padding(torch.fft.ifftshift(k, (-2, -1)), full, ("y", "x"), ("y", "x"), centred=False)
    assert torch.equal(corner, torch.fft.ifftshift(kept))
    # Nothing is said where the mask knows, where one coil has a sample there, or where nobody looks.
    assert without_padding(k, kept, ("y", "x"), ("y", "x")) == (kept, None)
    assert without_padding(k, full, ("y", "x"), ("y",)) == (full, None)
    assert without_padding(torch.zeros_like(k), full, ("y", "x"), ("y", "x")) == (full, None)
    k[0, 1, 3, 0] = k[2, 0, 3, 23] = 1
    assert without_padding(k, full, ("y", "x"), ("y", "x")) == (full, None)


def test_padding_of_a_scan_is_taken_out_of_its_mask_and_said() -> None:
    k = complex_normal(3, 24, 24).numpy()
    k[..., :4] = 0
    mask = np.ones((24, 24), dtype=bool)
    for mask_, axes, readout, oversampling, taken in (
        (mask, ("slice", "y", "x"), "y", 1.0, True),
        (mask, ("slice", "y", "x"), "x", 1.0, True),
        (mask, ("slice", "y", "x"), "x", 2.0, False),  # whole readout lines are needed there
    ):
        scan = prepare_scan(k, axes, mask=mask_, readout=readout, oversampling=oversampling)
        assert any("4 below and 0 above along x" in warning for warning in scan.warnings) is taken
        if oversampling == 1.0:
            measured = scan.images[0].mask
            assert measured is not None
            assert int(measured.sum()) == 24 * 20
            assert scan.doubts == []


@pytest.mark.parametrize(
    ("shape", "means"),
    [
        ((24,), (1, 24)),
        ((1, 24), (1, 24)),
        ((24, 1), (24, 1)),
        ((1, 24, 24), (24, 24)),
        ((24, 24, 1), (24, 24)),
        ((1, 1, 24, 1), (24, 1)),
    ],
)
def test_singletons_of_a_mask_stand_for_whole_axes_or_for_none(shape: tuple[int, ...], means: tuple[int, ...]) -> None:
    mask = np.random.default_rng(0).random(shape) < 0.5
    found = prepare_scan(complex_normal(2, 24, 24).numpy(), ("slice", "y", "x"), mask=mask).images[0].mask
    assert found is not None
    np.testing.assert_array_equal(found.numpy(), np.fft.ifftshift(np.broadcast_to(mask.reshape(means), (24, 24))))
