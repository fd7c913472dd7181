"""From k-space to images: conventions, preparation, and the whole reconstruction on real images."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from draws import normal, uniform
from firenet import BadInput, DoubtfulInput, Status, SubsampledFourier, UndecimatedWavelet, Wavelet
from firenet.metrics import psnr
from firenet.mri import reconstruct_kspace
from firenet.mri.coils import estimate_maps
from firenet.mri.evidence import calibration_width
from firenet.mri.kspace import mask_of, peak_is_central, prewhiten, remove_oversampling, to_centre, to_corner
from firenet.mri.scan import prepare, prepare_scan
from firenet.reconstruction import certify_image, default_network, default_schedule, paper_schedule
from firenet.scans.demo import load_raw, load_slice
from firenet.sensing import multilevel
from firenet.sensing.fourier import fourier_samples
from firenet.solver.schedules import Searched
from firenet.transforms.gradient import Gradient
from firenet.transforms.spec import describe, transform
from firenet.transforms.union import Union


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return normal(*shape, dtype=torch.complex128, seed=seed)


@pytest.mark.parametrize("shape", [(8,), (7,), (8, 6), (7, 5), (230, 180), (4, 6, 5)])
def test_corner_convention_keeps_the_centred_image(shape):
    axes = tuple(range(-len(shape), 0))
    image = noise(2, *shape)
    centred = torch.fft.fftshift(torch.fft.fftn(torch.fft.ifftshift(image, dim=axes), dim=axes, norm="ortho"), dim=axes)
    corner = to_corner(centred, len(shape))
    torch.testing.assert_close(torch.fft.ifftn(corner, dim=axes, norm="ortho"), image, rtol=0, atol=1e-12)
    torch.testing.assert_close(to_centre(corner, len(shape)), centred, rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", [(16, 16), (15, 18)])
def test_centred_data_and_the_centred_operator_agree(shape):
    mask = uniform(shape, seed=1) < 0.6
    operator = SubsampledFourier(mask, centred=True)
    image = noise(*shape)
    y, operator_ = prepare(operator(image), mask)
    m = operator_.mask
    torch.testing.assert_close(y, SubsampledFourier(m)(image), rtol=0, atol=1e-12)
    torch.testing.assert_close(SubsampledFourier(m).adjoint(y), operator.adjoint(operator(image)), rtol=0, atol=1e-12)


def test_psnr_is_of_magnitudes_with_the_reference_as_peak():
    reference = torch.tensor([[0.0, 2.0]])
    image = torch.tensor([[0.2, -2.0]])
    assert psnr(image, reference) == pytest.approx(10 * math.log10(4 / (0.04 / 2)))
    assert psnr(reference, reference) == math.inf
    with pytest.raises(BadInput, match="shape"):
        psnr(torch.zeros(2), reference)
    for nothing in (torch.zeros(2), torch.zeros(0)):
        with pytest.raises(BadInput, match="peak above 0"):
            psnr(nothing, nothing)
    for peak in (1e-100, 1e100):
        assert psnr(torch.zeros(2), np.array([peak, 0.0])) == pytest.approx(10 * math.log10(2))
    assert psnr(np.array([1e-20, 0.0]), np.array([1e-200, 0.0])) == pytest.approx(10 * math.log10(2) - 3600)
    assert psnr(torch.zeros(2), torch.tensor([math.inf, 0.0])) == -math.inf


@pytest.mark.parametrize("n", [16, 18, 15])
def test_remove_oversampling_crops_the_image(n):
    image = noise(3, n)
    k = torch.fft.fftshift(torch.fft.fft(torch.fft.ifftshift(image, dim=-1), norm="ortho"), dim=-1)
    kept = round(n / 2)
    start = n // 2 - kept // 2
    cropped = torch.fft.fftshift(
        torch.fft.ifft(torch.fft.ifftshift(remove_oversampling(k), dim=-1), norm="ortho"), dim=-1
    )
    torch.testing.assert_close(cropped, image[:, start : start + kept], rtol=0, atol=1e-12)
    for factor in (0.5, 0.999, 0, -2, math.nan, math.inf, n + 1):
        with pytest.raises(BadInput, match="oversampling factor"):
            remove_oversampling(k, factor)


def test_prewhitened_noise_has_the_identity_as_covariance():
    mixing = noise(3, 3, seed=2)
    samples = mixing @ noise(3, 4000, seed=3)
    (white,) = prewhiten([samples], samples.numpy(), coil_axis=-2)
    torch.testing.assert_close(torch.cov(white), torch.eye(3, dtype=torch.complex128), rtol=0, atol=1e-9)
    with pytest.raises(BadInput, match="Noise of shape"):
        prewhiten([samples], samples[:2].numpy(), coil_axis=-2)
    with pytest.raises(BadInput, match="independent"):
        prewhiten([samples], np.ones((3, 50)), coil_axis=-2)


def test_mask_is_found_where_any_coil_and_any_slice_has_a_sample():
    k = torch.zeros(2, 3, 4, 5, dtype=torch.complex64)
    k[0, 1, 2, 3] = 1
    k[1, 2, 0, 0] = torch.tensor(1j)
    expected = torch.zeros(4, 5, dtype=torch.bool)
    expected[2, 3] = expected[0, 0] = True
    assert torch.equal(mask_of(k, 2), expected)


@pytest.mark.parametrize("shape", [(32, 32), (31, 20)])
def test_energy_peak_tells_the_conventions_apart(shape):
    image = torch.ones(shape, dtype=torch.complex64)
    corner = torch.fft.fft2(image)
    assert not peak_is_central(corner, 2)
    assert peak_is_central(torch.fft.fftshift(corner), 2)


def test_calibration_width():
    mask = torch.zeros(32, 30, dtype=torch.bool)
    assert calibration_width(torch.fft.ifftshift(mask)) == 0
    mask[16 - 5 : 16 + 5, 15 - 5 : 15 + 5] = True
    assert calibration_width(torch.fft.ifftshift(mask)) == 10
    assert calibration_width(torch.ones(9, 12, dtype=torch.bool)) == 9


@pytest.mark.parametrize(("sparsify", "gain"), [(None, 10.5), ("undecimated:sym4:3", 9.0), ("orthonormal:db4", 4.5)])
def test_gain_on_a_real_slice(sparsify, gain):
    truth = load_slice()
    mask = multilevel(truth.shape, 0.25)
    assert mask.count == truth.numel() // 4
    y = SubsampledFourier(mask.samples)(truth)
    solution = default_network(fourier_samples(mask.samples), sparsify=sparsify, schedule=default_schedule(1e-3)).solve(
        y
    )
    assert psnr(solution.image, truth) >= psnr(SubsampledFourier(mask.samples).adjoint(y), truth) + gain
    assert 0 < solution.relative_gap.item() <= 1e-3
    assert solution.statuses == (Status.TOLERANCE_REACHED,)


def test_the_default_of_recon_is_the_undecimated_one():
    volume = default_network(fourier_samples(torch.ones(8, 8, 8, dtype=torch.bool)))
    assert isinstance(volume.sparsify, Wavelet)
    assert volume.form == "synthesis"
    net = default_network(fourier_samples(torch.ones(16, 12, dtype=torch.bool)))
    assert isinstance(net.sparsify, Union)
    assert net.sparsify.is_tight
    haar, sym4 = net.sparsify.parts.children()
    assert isinstance(haar, UndecimatedWavelet)
    assert isinstance(sym4, UndecimatedWavelet)
    assert (haar.wavelet, haar.depth, sym4.wavelet, sym4.depth) == ("haar", 1, "sym4", 3)
    assert net.form == "analysis"


@pytest.mark.parametrize("sparsify", ["undecimated:sym4:3", "orthonormal:db4"])
def test_printed_gap_is_true_on_a_real_slice(sparsify):
    """The gap bounds the distance to a far better point, found in double precision."""
    truth = load_slice()[::4, ::4].to(torch.float64)
    mask = multilevel(truth.shape, 0.25)
    y = SubsampledFourier(mask.samples)(truth)
    net = default_network(fourier_samples(mask.samples), sparsify=sparsify, schedule=default_schedule(1e-3))
    solution = net.solve(y)
    better = net.following(default_schedule(4e-6, 10000)).solve(y)
    assert better.relative_gap.item() < 4e-6
    true_distance = solution.objective - better.objective
    assert 0 < true_distance.item() <= solution.gap.item()
    # and the dual point is feasible, recomputed here
    q, p = solution.dual, solution.dual_sparse
    assert torch.linalg.vector_norm(q) <= 1 + 1e-9
    if p is None:
        assert net.operator.adjoint(q).abs().max() <= net.lam * (1 + 1e-9)
    else:
        assert net.problem.weights is not None
        assert (p.abs() <= net.lam * net.problem.weights * (1 + 1e-9)).all()
        assert isinstance(net.sparsify, UndecimatedWavelet)
        assert (net.sensing.adjoint(q) + net.sparsify.adjoint(p)).abs().max() <= 1e-12


def test_a_phase_changes_nothing_that_is_seen():
    """MRI images are complex: the magnitude's PSNR hardly depends on a smooth phase."""
    truth = load_slice().to(torch.complex64)
    mask = multilevel(truth.shape, 0.25)
    net = default_network(fourier_samples(mask.samples), schedule=default_schedule(3e-3))
    ramp = torch.linspace(-1, 1, 256)
    phase = torch.exp(1j * (2 * ramp[:, None] ** 2 + ramp[None, :] + 1.5 * ramp[:, None] * ramp[None, :]))
    plain, turned = (psnr(net.solve(net.sensing(x)).image, truth) for x in (truth, truth * phase))
    assert turned == pytest.approx(plain, abs=0.1)


@pytest.mark.parametrize(
    ("word", "kind", "name", "depth"),
    [
        ("db2", Wavelet, "db2", 4),
        ("orthonormal:db2:2", Wavelet, "db2", 2),
        ("undecimated:haar", UndecimatedWavelet, "haar", 5),
        ("undecimated:sym4:3", UndecimatedWavelet, "sym4", 3),
        ("undecimated:sym4:6", UndecimatedWavelet, "sym4", 6),
    ],
)
def test_words_for_transforms(word, kind, name, depth):
    frame = transform(word, (64, 70))
    assert isinstance(frame, kind)
    assert (frame.wavelet, frame.depth, frame.in_shape) == (name, depth, (64, 70))
    again = transform(describe(frame).partition(",")[0], (64, 70))
    assert type(again) is type(frame)
    assert again.out_shape == frame.out_shape


def test_words_for_total_variation_and_sums():
    for word, boundary in (("tv", "periodic"), ("tv:periodic", "periodic"), ("tv:neumann", "neumann")):
        frame = transform(word, (16, 12))
        assert isinstance(frame, Gradient)
        assert frame.boundary == boundary
        assert describe(frame).startswith(f"tv:{boundary},")
    for word, bands in (
        ("undecimated:haar:1+sym4:2", 11),
        ("undecimated:sym4:1+tv", 6),
        ("undecimated:haar:1+db2:1+tv", 10),
    ):
        frame = transform(word, (16, 12))
        assert isinstance(frame, Union)
        assert frame.out_shape == (bands, 16, 12)
        assert frame.is_tight == ("tv" not in word)
        assert describe(frame).startswith(f"{word},")
    # Unions that no name gives get none.
    haar, tv = transform("undecimated:haar:1", (16, 12)), transform("tv", (16, 12))
    for frame in (Union([tv, tv]), Union([haar, tv]), Union([haar, tv], (1, 0.5)), Union([Union([haar, haar]), tv])):
        assert describe(frame).startswith("union ")
    assert describe(Union([haar, tv], (1, 0.25))).startswith("undecimated:haar:1+tv,")
    # The wavelets of a sum are as one tight frame, beside total variation too.
    x = normal(16, 12, dtype=torch.float64, seed=0)
    wavelets = transform("undecimated:haar:1+db2:1+tv", (16, 12))(x)[:8]
    torch.testing.assert_close(torch.linalg.vector_norm(wavelets), torch.linalg.vector_norm(x))


@pytest.mark.parametrize(
    "word",
    [
        "",
        "tv:odd",
        "tv+tv",
        "orthonormal:tv",
        "undecimated:sym4+",
        "undecimated",
        "undecimated:",
        "decimated:db4",
        "undecimated:db4:x",
        "a:b:1:2",
    ],
)
def test_other_words_are_refused(word):
    with pytest.raises(BadInput) as caught:
        transform(word, (64, 64))
    assert "undecimated" in caught.value.needed


def test_too_many_levels_are_refused_and_the_default_has_fewer():
    for word in ("undecimated:sym4:7", "undecimated:haar:1+sym4:99", "orthonormal:db4:9"):
        with pytest.raises(BadInput, match="level"):
            transform(word, (64, 70))
    assert describe(transform(None, (5, 4))).startswith("undecimated:haar:1+sym4:2,")


def test_an_unknown_wavelet_is_named():
    for word in ("undecimated:haar:1+bior2.2", "orthonormal:dmey", "undecimated:x"):
        with pytest.raises(BadInput, match="An orthonormal wavelet"):
            transform(word, (64, 64))


def test_centred_and_corner_k_space_give_the_same_image():
    truth = load_slice()[::4, ::4].to(torch.complex128)
    mask = multilevel(truth.shape, 0.4)
    y = SubsampledFourier(mask.samples)(truth)
    corner = reconstruct_kspace(y, mask.samples, centred=False, schedule=paper_schedule(40))
    centred = reconstruct_kspace(to_centre(y, 2), schedule=paper_schedule(40))
    torch.testing.assert_close(corner.image, centred.image, rtol=0, atol=1e-10)


@pytest.mark.parametrize("sparsify", ["undecimated:sym4:3", "orthonormal:db4"])
def test_certificate_of_a_foreign_image(sparsify):
    truth = load_slice()[::8, ::8].to(torch.complex128)
    mask = multilevel(truth.shape, 0.4)
    net = default_network(fourier_samples(mask.samples), sparsify=sparsify)
    y = net.sensing(truth)
    best = net.following(default_schedule(4e-6, 20000)).solve(y)
    for image in (truth, torch.zeros_like(truth), net.solve(y).image):
        certified = certify_image(image, net, y, budget=200)
        assert net.sparsify is not None
        own = net.problem.objective(image if net.form == "analysis" else net.sparsify(image), y)
        assert certified.objective.item() == pytest.approx(own.item(), rel=1e-12)
        true = (own - best.objective).item()
        assert certified.gap.item() >= true - 1e-9
        if true > 1e-3 * own.item():
            most = true + best.gap.item()  # the minimum lies at most that much below the best
            assert certified.gap.item() <= 2 * most
            assert certified.gap.item() <= certified.tightness.item() * most
    with pytest.raises(BadInput, match="finite image"):
        certify_image(torch.full_like(truth, math.nan), net, y)


def test_coil_maps_of_the_raw_scan():
    full = load_raw()
    assert full.shape == (2, 160, 160)
    y, operator_ = prepare(full)
    m = operator_.mask
    found = estimate_maps(y, m)
    assert "ESPIRiT" in found.method
    rss = found.maps.abs().square().sum(dim=0).sqrt()
    assert torch.all((rss == 0) | ((rss - 1).abs() < 1e-6))
    coils = torch.fft.ifft2(y, norm="ortho")
    combined = (found.maps.conj() * coils).sum(dim=0)
    explained = torch.linalg.vector_norm(found.maps * combined) / torch.linalg.vector_norm(coils)
    assert explained > 0.97
    with pytest.raises(BadInput, match="at least 8 wide") as caught:
        estimate_maps(y, torch.from_numpy(np.random.default_rng(0).random((160, 160)) < 0.1))
    assert "--maps FILE" in caught.value.do


def test_the_advice_where_there_is_no_calibration_centre():
    """Zero frequency in the corner, and axes in another order, are named."""
    k = noise(4, 32, 30)
    mask = torch.zeros(32, 30, dtype=torch.bool)
    mask[::3] = True
    centre = mask.clone()
    centre[11:21] = True
    with pytest.raises(BadInput, match="--corner-dc") as caught:
        prepare_scan((k * torch.fft.ifftshift(centre)).numpy(), ("coil", "y", "x"), maps="auto")
    assert "A region 11 wide is fully sampled half an image away" in caught.value.do
    assert prepare_scan((k * centre).numpy(), ("coil", "y", "x"), maps="auto", dtype=torch.complex128).images
    with pytest.raises(BadInput, match="--axes"):  # (y, x, coil), read as (coil, y, x)
        prepare_scan(k.movedim(0, -1).numpy(), ("coil", "y", "x"), maps="auto")
    with pytest.raises(BadInput, match="At most 128 coils") as caught:
        prepare_scan(noise(160, 12, 16).numpy(), ("coil", "y", "x"), maps="auto")
    assert "--axes" in caught.value.do


def coils(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Centred k-space of an ellipse before four coils, and their maps."""
    rows, columns = torch.meshgrid(torch.arange(-24, 24) / 48, torch.arange(-20, 20) / 40, indexing="ij")
    image = ((rows / 0.4) ** 2 + (columns / 0.38) ** 2 < 1).to(torch.complex128)
    turns = torch.arange(4)[:, None, None] * math.pi / 2
    maps = torch.exp(-((rows - 0.6 * turns.sin()) ** 2 + (columns - 0.6 * turns.cos()) ** 2) / 0.5 + 1j * turns)
    k = to_centre(torch.fft.fft2(maps * image, norm="ortho"), 2)
    return k + 0.002 * noise(4, 48, 40, seed=seed), maps / torch.linalg.vector_norm(maps, dim=0)


def test_maps_that_do_not_explain_the_data_are_doubted_or_refused():
    k, maps = coils()
    mask = torch.zeros(48, 40, dtype=torch.bool)
    mask[::2] = mask[18:30] = True
    k = k * mask
    axes = ("coil", "y", "x")
    for good in (maps.numpy(), "auto"):
        data = prepare_scan(k.numpy(), axes, maps=good)
        assert data.doubts == []
        share = data.images[0].unexplained
        assert share is not None
        assert share < 0.01
    reconstruct_kspace(k, maps=maps, schedule=paper_schedule(10))  # no warning
    flipped = maps.flip(-2)
    data = prepare_scan(k.numpy(), axes, maps=flipped.numpy())
    (doubt,) = data.doubts
    assert doubt in data.warnings
    assert f"{data.images[0].unexplained:.1%} of the energy" in doubt
    with pytest.warns(DoubtfulInput, match="not explained by any image"):
        reconstruct_kspace(k, maps=flipped, schedule=paper_schedule(10))
    wrong = (
        maps.conj().resolve_conj()
    )  # phases of quarter turns: orthogonal to the right ones where the coils are as strong
    with pytest.raises(BadInput, match="Coil maps that explain the data"):
        reconstruct_kspace(k, maps=wrong)
    with pytest.raises(BadInput, match="Coil maps that explain the data"):
        prepare_scan(k.numpy(), axes, maps=wrong.numpy())


@pytest.mark.parametrize("width", [8, 9, 10, 11, 12, 16])
def test_narrow_calibration_centres_give_the_image(width):
    k, _ = coils()
    mask = torch.zeros(48, 40, dtype=torch.bool)
    mask[::3] = mask[24 - width // 2 : 24 - width // 2 + width] = True
    (image,) = prepare_scan((k * mask).numpy(), ("coil", "y", "x"), maps="auto").images
    assert image.maps is not None
    net = default_network(image.operator, schedule=default_schedule(1e-2))
    found = net.solve(image.y).image.abs()
    full = torch.linalg.vector_norm(torch.fft.ifft2(to_corner(k, 2), norm="ortho"), dim=0)
    inside = full > 0.2 * full.max()
    assert not bool(image.undetermined[inside].any())
    error = torch.linalg.vector_norm((found - full)[inside]) / torch.linalg.vector_norm(full[inside])
    assert error < 0.1  # 77 % where the maps were zero on most of the object


def test_masks_of_files_and_arrays():
    """Zeros and one other number of any dtype are a mask; NaN is none."""
    k = noise(8, 8)
    ones = np.zeros((8, 8), dtype=bool)
    ones[::2] = True
    k = k * torch.from_numpy(ones)
    expected = prepare(k)[1].mask
    for mask in (ones, ones * 255, ones.astype(np.complex64), ones.astype(">f4"), ones.astype(np.longdouble)):
        assert torch.equal(prepare(k, mask)[1].mask, expected)
        found = prepare_scan(k.numpy(), ("y", "x"), mask=mask).images[0].mask
        assert found is not None
        assert torch.equal(found, expected)
    for mask in (np.where(ones, 1.0, np.nan), np.where(ones, np.nan, 0.0), np.where(ones, np.inf, 0), ones * k.numpy()):
        with pytest.raises(BadInput, match="A mask of zeros and ones"):
            prepare(k, mask)
        with pytest.raises(BadInput, match="A mask of zeros and ones"):
            prepare_scan(k.numpy(), ("y", "x"), mask=mask)


def test_masks_that_contradict_the_data():
    k = noise(12, 12)
    mask = torch.zeros(12, 12, dtype=torch.bool)
    mask[::3] = mask[5:8] = True
    with pytest.raises(BadInput, match="shifted by half its sides"):
        prepare(k * mask, torch.fft.ifftshift(mask))
    with pytest.raises(BadInput, match="shifted by half its sides"):
        prepare_scan((k * mask).numpy(), ("y", "x"), mask=torch.fft.ifftshift(mask).numpy())
    assert torch.equal(prepare(k, mask)[1].mask, torch.fft.ifftshift(mask))  # a full scan, undersampled: no warning
    data = prepare_scan(k.numpy(), ("y", "x"), mask=mask.numpy())
    assert data.doubts == []
    assert any(f"leaves out {int((~mask).sum())} of 144 samples" in warning for warning in data.warnings)
    with pytest.warns(DoubtfulInput, match="zero in all coils"):
        prepare(k * mask, torch.ones_like(mask))
    data = prepare_scan((k * mask).numpy(), ("y", "x"), mask=np.ones((12, 12)))
    (doubt,) = data.doubts
    assert doubt in data.warnings


def stack(masks: torch.Tensor) -> torch.Tensor:
    """Centred k-space of two different images, each with its own samples."""
    images = torch.zeros(2, 24, 20, dtype=torch.complex128)
    images[:, 5:17, 4:15] = 1
    images[0, 8:12, 6:12] = 2
    images[1, 13:15, 5:14] = 1.5
    images = images + 0.02 * noise(2, 24, 20)  # boxes have samples that are exactly zero
    return to_centre(torch.fft.fft2(images, norm="ortho"), 2) * masks


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("schedule", [default_schedule(1e-2), paper_schedule(20)])
@pytest.mark.parametrize("with_maps", [False, True])
def test_items_with_different_samples_have_their_own_masks(given, schedule, with_maps):
    masks = torch.zeros(2, 24, 20, dtype=torch.bool)
    masks[0, :, ::2] = masks[1, :, 1::2] = masks[:, :, 8:12] = True
    y, masks = stack(masks)[[0, 1, 0]], masks[[0, 1, 0]]
    maps = None
    if with_maps:
        maps = torch.tensor([0.6, 0.8j], dtype=torch.complex128)[:, None, None].expand(2, 24, 20)
        y = y[:, None] * maps[:, 0, 0][:, None, None]
    batch = reconstruct_kspace(y, masks if given else None, maps, schedule=schedule)
    assert batch.gap.shape == (3,)
    for k in range(3):
        one = reconstruct_kspace(y[k], masks[k] if given else None, maps, schedule=schedule, reweight=0)
        for name in ("image", "coefficients", "dual", "objective", "gap", "layers", "dual_sparse", "violation"):
            torch.testing.assert_close(getattr(batch, name)[k], getattr(one, name), rtol=1e-9, atol=1e-12)
        if isinstance(batch.schedule, Searched) and isinstance(one.schedule, Searched):
            assert [r.layers for r in batch.schedule.runs[k]] == [r.layers for r in one.schedule.runs[0]]
    assert len(batch.statuses) == 3
    axes = reconstruct_kspace(y[None], masks[None] if given else None, maps, schedule=schedule)
    assert axes.image.shape == (1, 3, 24, 20)
    torch.testing.assert_close(axes.image[0], batch.image)


def test_an_empty_item_of_a_batch_has_the_image_zero():
    masks = torch.zeros(2, 24, 20, dtype=torch.bool)
    masks[:, ::2] = True
    y = stack(masks)
    y[1] = 0
    found = reconstruct_kspace(y, schedule=default_schedule(1e-2))
    assert torch.equal(found.image[1], torch.zeros_like(found.image[1]))
    torch.testing.assert_close(
        found.image[0], reconstruct_kspace(y[0], schedule=default_schedule(1e-2), reweight=0).image
    )


def test_arrays_that_only_numpy_has():
    """Flipped, big-endian, long double and read-only arrays are taken as the numbers they hold."""
    k, maps = (x.numpy() for x in coils())
    locked = k.copy()
    locked.setflags(write=False)
    expected = prepare(k, np.ones((48, 40)), maps)
    for other in (k[::-1][::-1], k.astype(">c16"), k.astype(np.clongdouble), locked, np.asfortranarray(k)):
        y, operator = prepare(other, np.ones((48, 40))[::-1], maps.astype(">c16"))
        assert torch.equal(y, expected[0])
        for (name, got), (_, wanted) in zip(operator.named_buffers(), expected[1].named_buffers(), strict=True):
            assert torch.equal(got, wanted), name
        assert psnr(other, k[::-1][::-1]) == math.inf
    flipped = prepare(k[:, ::-1], None, maps[:, ::-1])[0]
    torch.testing.assert_close(flipped, prepare(k[:, ::-1].copy())[0], rtol=0, atol=0)
    assert prepare_scan(k[:, ::-1], ("coil", "y", "x"), maps="auto").images


@pytest.mark.parametrize(
    ("arguments", "needed"),
    [
        ({"kspace": torch.zeros(8, 8)}, "Complex k-space"),
        ({"kspace": torch.zeros(8, 8, 2)}, "Complex k-space"),
        ({"kspace": torch.full((8, 8), complex(math.nan, 0))}, "Finite k-space"),
        ({"kspace": torch.zeros(8, 8, dtype=torch.complex64)}, "At least one sample"),
        ({"kspace": noise(8, 8), "mask": torch.ones(8, 9)}, "A mask of the image's shape"),
        ({"kspace": noise(8, 8), "maps": noise(2, 8, 8)}, "k-space with 3 axes"),
        ({"kspace": noise(3, 8, 8), "maps": noise(2, 8, 8)}, "Coil maps of shape"),
        ({"kspace": noise(8, 8), "dims": 4}, "k-space with 4 axes"),
        ({"kspace": noise(8, 8), "lam": -1.0}, "A regularisation parameter"),
    ],
)
def test_refusals(arguments, needed):
    with pytest.raises(BadInput, match=needed):
        reconstruct_kspace(**arguments)


def test_scan_needs_maps_for_coils_and_coils_for_maps():
    k = noise(2, 8, 8).numpy()
    with pytest.raises(BadInput, match="Coil maps for multi-coil"):
        prepare_scan(k, ("coil", "y", "x"))
    with pytest.raises(BadInput, match="Multi-coil data"):
        prepare_scan(k, ("slice", "y", "x"), maps="auto")
    with pytest.raises(BadInput, match="slice between 0 and 1"):
        prepare_scan(k, ("slice", "y", "x"), only=2)
    data = prepare_scan(k, ("slice", "y", "x"), only=1)
    assert len(data.images) == 1
    assert data.images[0].y.dtype == torch.complex64
