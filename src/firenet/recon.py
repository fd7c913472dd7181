"""From k-space to an image with a certificate: what ``firenet recon`` calls.

Arrays as they come from files and scanners go in. Centred k-space is brought to the library's convention once, before
the network: shifted to put zero frequency in the corner and multiplied by the phase ramp that keeps the image centred,
so that no layer shifts anything and an object in the middle of the picture stays in one piece.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from firenet.certificate import Certificate, certify
from firenet.errors import BadInput, DoubtfulInput
from firenet.espirit import NARROWEST, WIDEST, espirit
from firenet.evidence import MaskFindings, calibration_width, judge_inferred, judge_maps, judge_mask, without_padding
from firenet.frames import Gradient, UndecimatedWavelet, Union
from firenet.levels import SparsityLevels
from firenet.network import Firenet, Solution
from firenet.numerics import norms, tensor_of
from firenet.operators import LinearOperator
from firenet.restarts import AdaptiveRestarts, PaperSchedule, Schedule, Searched, searches
from firenet.reweighting import Round, reweighted
from firenet.sensing import MultiCoilFourier, SubsampledFourier
from firenet.transforms import WAVELETS, AnalysisOperator, Wavelet

Origin = Literal["middle", "corner"]

# Undecimated Haar of one level beside three of sym4: fourteen bands, more accurate than sym4 alone on all images tried.
# A volume has 30 bands, and 5 duals of 30 volumes are too much to take without being asked.
DEFAULT_SPARSIFY, DEFAULT_SPARSIFY_VOLUME = "undecimated:haar:1+sym4:3", "orthonormal:db4"
RESTARTS = 10
TOLERANCE = 1e-3
# Where fewer coefficients than this share of the samples stand out of the noise, reweighting is left out.
ENOUGH = 0.5
# The share of the residual that reweighting keeps where AA* = I. Coil maps are never exact: they keep all.
KEEP = 0.2
# Receive arrays have up to 128 channels; more "coils" are an axis of the image.
LARGEST_ARRAY = 128
# A gap beside an object has so many times less energy than the mean.
SPLIT = 10.0
# A coil axis that is longer than half of that, beside a short axis, is more likely another one.
MOST_COILS = 64
# How much total variation is added to wavelets.
TV_SHARE = 0.25


def psnr(image: Tensor | ArrayLike, reference: Tensor | ArrayLike) -> float:
    """Peak signal-to-noise ratio of magnitudes in dB; the peak is the maximum of the reference."""
    a = tensor_of(image, "an image").detach().abs().to("cpu", torch.float64)
    b = tensor_of(reference, "a reference").detach().abs().to("cpu", torch.float64)
    if a.shape != b.shape:
        raise BadInput(
            f"An image of the reference's shape {tuple(b.shape)}", f"{tuple(a.shape)}", "Crop or pad one of them"
        )
    error = (a - b).square().mean().item()
    if error in (0, math.inf):
        return math.inf if error == 0 else -math.inf
    return 10 * math.log10(b.max().item() ** 2 / error)


def to_corner(kspace: Tensor, dims: int) -> Tensor:
    """Centred k-space of a centred image to k-space with zero frequency in the corner, of the *same* image.

    ``ifftn(to_corner(k, d))`` is the centred image, picture upright and in one piece. The inverse is :func:`to_centre`.
    """
    axes = tuple(range(-dims, 0))
    return torch.fft.ifftshift(kspace, dim=axes) * _ramp(kspace, dims)


def to_centre(kspace: Tensor, dims: int) -> Tensor:
    """The inverse of :func:`to_corner`."""
    return torch.fft.fftshift(kspace * _ramp(kspace, dims).conj(), dim=tuple(range(-dims, 0)))


def _ramp(kspace: Tensor, dims: int) -> Tensor:
    """:math:`e^{-2\\pi ikc/n}` with c = n // 2 on each axis: plus and minus ones where n is even."""
    ramp = torch.ones((), dtype=torch.complex128)
    for n in kspace.shape[kspace.ndim - dims :]:
        k = torch.arange(n)
        # k c mod n in integers: the phase is then exact at 0 and at half a turn.
        turns = (k * (n // 2) % n).to(torch.float64) / n
        exact = torch.where(turns == 0.5, -1.0, torch.polar(torch.ones(n, dtype=torch.float64), -2 * math.pi * turns))
        ramp = ramp[..., None] * torch.where(turns == 0, 1.0, exact)
    return ramp.to(device=kspace.device, dtype=kspace.dtype)


def to_usual_origin(kspace: Tensor, dims: int, *, centred: bool, origin: Origin | None) -> Tensor:
    """Returns k-space as if its images had their origin where k-space of this kind usually has it.

    The origin of an image is the pixel that has phase zero at every frequency. Where zero frequency lies in the middle
    it usually is the middle pixel, ``fftshift(fftn(ifftshift(image)))``, and where it lies in the corner the corner
    pixel, ``fftn(image)``. Data that were only shifted afterwards have the other one.

    Args:
        kspace: Complex, trailing axes those of the image.
        dims: Number of image axes.
        centred: Zero frequency lies in the middle.
        origin: ``middle`` or ``corner``; None is the usual one.

    Raises:
        BadInput: For another word.
    """
    if origin not in (None, "middle", "corner"):
        raise BadInput("An origin of the image: middle or corner", repr(origin), "Leave it out for the usual one")
    if origin is None or (origin == "middle") == centred or not kspace.is_complex():  # real k-space is refused later
        return kspace
    if not centred:
        return kspace * _ramp(kspace, dims)
    axes = tuple(range(-dims, 0))
    return kspace * torch.fft.fftshift(_ramp(kspace, dims), dim=axes).conj()


def mask_of(kspace: Tensor, dims: int) -> Tensor:
    """Where any image of the batch and any coil has a sample: the sampling mask that zero-filled data carry in
    themselves."""
    return (kspace != 0).flatten(0, kspace.ndim - dims - 1).any(dim=0) if kspace.ndim > dims else kspace != 0


def peak_is_central(kspace: Tensor, dims: int) -> bool:
    """Whether the energy of k-space peaks nearer to the middle than to the corner."""
    energy = kspace.abs().square().flatten(0, -dims - 1).sum(dim=0) if kspace.ndim > dims else kspace.abs().square()
    peak = np.unravel_index(int(energy.argmax()), tuple(energy.shape))
    to_middle = sum(((i - n // 2) / n) ** 2 for i, n in zip(peak, energy.shape, strict=True))
    to_corner_ = sum((min(i, n - i) / n) ** 2 for i, n in zip(peak, energy.shape, strict=True))
    return bool(to_middle <= to_corner_)


def is_split(images: Sequence[Tensor], dims: int) -> bool:
    """Returns whether objects lie around the corners of their images and not in the middle: k-space was shifted as its
    image was not.

    Of all images together, at low resolution. Along each of the last two axes a gap is sought: a sixteenth of the field
    of view with less than a tenth of the mean energy. An object in one piece leaves one at the border, one that is
    split leaves one in the middle half, and is bright on both sides of the border; one that fills the field of view
    leaves none. Split are those with a gap in the middle alone along one axis or both, and along none at the border
    alone.

    Args:
        images: k-space with zero frequency in the corner, trailing axes those of the image, zero where not sampled.
        dims: Number of image axes.
    """
    axes = tuple(range(-dims, 0))
    energy: Tensor | None = None
    for k in images:
        for axis in axes:
            n = k.shape[axis]
            # Low frequencies are sampled best: the others would add what aliases, and noise.
            low = min(n, max(n // 4, 8)) // 2 * 2 if n > 1 else 1
            ends = (k.narrow(axis, 0, low - low // 2), k.narrow(axis, n - low // 2, low // 2))
            k = torch.cat(ends, dim=axis)
        found = torch.fft.ifftn(k, dim=axes).abs().square().double()
        found = found.reshape(-1, *k.shape[k.ndim - dims :]).sum(dim=0)
        energy = found if energy is None else energy + found
    if energy is None:
        return False
    gaps = [_gap(energy.sum(dim=[a for a in axes if a != axis]) if dims > 1 else energy) for axis in axes[-2:]]
    return "middle" in gaps and "border" not in gaps


def _gap(profile: Tensor) -> str:
    """Where along one axis an object leaves a gap: in the middle, at the border, or neither of them alone."""
    n = len(profile)
    if n < 8:
        return "neither"
    windows = profile.unfold(0, max(1, n // 16), 1).mean(dim=1)
    mean = profile.mean()
    inside = bool(windows[n // 4 : n - n // 4].min() < mean / SPLIT)
    outside = torch.minimum(windows[0], windows[-1])
    if inside and outside > mean / 2:
        return "middle"
    return "border" if not inside and outside < mean / SPLIT else "neither"


def coil_axis_is_elsewhere(axes: Sequence[str], shape: Sequence[int]) -> str | None:
    """Returns in words which axis looks like that of the coils where the one of this name does not, else None.

    Coils are few. Of more than 64, or of twice as many as an image axis of at most 32 is long, it is more likely that
    the axes were stored as (y, x, coil). Only x and y are looked at: volumes of few partitions are common.

    Args:
        axes: Names in the order of the shape.
        shape: Of k-space.
    """
    sizes = dict(zip(axes, shape, strict=True))
    inside = {name: sizes[name] for name in ("y", "x") if name in sizes}
    if "coil" not in sizes or len(inside) < 2:
        return None
    short, long = sorted(inside, key=lambda name: inside[name])
    coils, few = sizes["coil"], inside[short]
    crowded = coils > MOST_COILS >= few or (coils >= 2 * few and few <= MOST_COILS // 2)
    if not crowded or inside[long] < 2 * few:
        return None
    return f"The axis of the coils is {coils} long and {short} {few}"


def noise_estimate(y: Tensor, mask: Tensor) -> float:
    """Returns an estimate of the 2-norm of the noise: the samples farthest out are taken to be noise alone.

    Of a tenth of the samples, those of the highest frequencies, the median of the modulus is over :math:`\\sqrt{\\log
    2}` the root mean square of complex normal numbers. An image that reaches that far makes the estimate too large.

    Args:
        y: Measurements of one image, zero frequency in the corner, leading axes coils.
        mask: Zero frequency in the corner.
    """
    far = torch.zeros((), dtype=torch.float64)
    for n in mask.shape:
        k = torch.fft.fftfreq(n, dtype=torch.float64)
        far = far[..., None] + k.square()
    taken = far.to(mask.device)[mask]
    outermost = taken >= torch.quantile(taken[:: max(1, len(taken) >> 20)], 0.9)
    values = y[..., mask]
    sigma = values[..., outermost].abs().double().median().item() / math.sqrt(math.log(2))
    return sigma * math.sqrt(values.numel())


def remove_oversampling(kspace: Tensor, factor: float = 2.0, *, axis: int = -1, centred: bool = True) -> Tensor:
    """Crops the image along the readout to the middle 1/factor of its field of view.

    Args:
        kspace: Complex k-space.
        factor: The oversampling, 1 or more.
        axis: The readout axis.
        centred: As in :func:`reconstruct`.
    """
    n = kspace.shape[axis]
    kept = round(n / factor)
    if not 1 <= kept <= n:
        raise BadInput(f"An oversampling factor between 1 and {n}", f"{factor}", "2 is usual")
    if centred:
        kspace = torch.fft.ifftshift(kspace, dim=axis)
    line = torch.fft.ifft(kspace, dim=axis, norm="ortho")
    line = torch.fft.fftshift(line, dim=axis) if centred else line
    line = line.narrow(axis, n // 2 - kept // 2, kept)
    line = torch.fft.ifftshift(line, dim=axis) if centred else line
    cropped = torch.fft.fft(line, dim=axis, norm="ortho")
    return torch.fft.fftshift(cropped, dim=axis) if centred else cropped


def prewhiten(arrays: Sequence[Tensor], noise: ArrayLike, *, coil_axis: int) -> list[Tensor]:
    """Mixes the coils so that their noise is uncorrelated and of variance one.

    Args:
        arrays: What has a coil axis and must be mixed alike: k-space, and coil maps that are known.
        noise: Noise samples without signal, shape (coils, ...), more a coil than there are coils.
        coil_axis: The axis of the coils, counted from the end.
    """
    samples = np.asarray(noise, dtype=np.complex128)
    coils = arrays[0].shape[coil_axis]
    samples = samples.reshape(samples.shape[0], -1) if samples.ndim > 1 else samples[None]
    if samples.shape[0] != coils or samples.shape[1] <= coils:
        raise BadInput(
            f"Noise of shape ({coils}, more than {coils} samples)", f"{np.shape(noise)}", "Put the coils first"
        )
    samples = samples - samples.mean(axis=1, keepdims=True)
    covariance = samples @ samples.conj().T / (samples.shape[1] - 1)
    try:
        whitener = torch.from_numpy(np.linalg.inv(np.linalg.cholesky(covariance)))
    except np.linalg.LinAlgError:
        do = "Leave out dead or duplicate coils"
        raise BadInput("Noise samples that are independent between coils", "a singular covariance", do) from None
    return [(a.movedim(coil_axis, -1) @ whitener.to(a).mT).movedim(-1, coil_axis) for a in arrays]


@dataclass(frozen=True, eq=False)
class CoilMaps:
    """Coil sensitivities and how they were found.

    Attributes:
        maps: Complex, shape (coils, \\*image).
        method: In words, for the record.
    """

    maps: Tensor
    method: str


def estimate_maps(kspace: Tensor, mask: Tensor) -> CoilMaps:
    r"""Estimates coil maps from the fully sampled centre of k-space by :func:`firenet.espirit.espirit`.

    Args:
        kspace: Shape (coils, \*image), zero frequency in the corner, as :func:`to_corner` gives it.
        mask: Shape of the image, zero frequency in the corner.

    Raises:
        BadInput: Where the calibration centre is narrower than 8, or the coil axis is another.
    """
    coils, width = len(kspace), calibration_width(mask)
    if coils > LARGEST_ARRAY:
        do = "If the coils are on another axis, name the axes (--axes)"
        raise BadInput(f"At most {LARGEST_ARRAY} coils", f"{coils}, image {_by(mask.shape)}", do)
    if width < NARROWEST:
        elsewhere = calibration_width(torch.fft.fftshift(mask))
        if elsewhere >= NARROWEST:
            do = (
                f"A region {elsewhere} wide is fully sampled half an image away: if zero frequency lies in the corner "
                "add --corner-dc (centred=False), if it lies in the middle leave it out"
            )
        elif min(mask.shape) < NARROWEST:
            do = "If the axes are others, name them (--axes), or pass maps from a calibration scan (--maps FILE)"
        else:
            do = "Pass maps from a calibration scan (--maps FILE); if the axes are others, name them (--axes)"
        got = f"{width}, with {coils} coils and an image of {_by(mask.shape)}"
        needed = f"A fully sampled centre of k-space at least {NARROWEST} wide to estimate coil maps"
        raise BadInput(needed, got, do)
    width = min(width, WIDEST)
    return CoilMaps(espirit(kspace, dims=mask.ndim, width=width), f"ESPIRiT, calibration width {width}")


def _by(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def transform(spec: str | None, shape: Sequence[int]) -> AnalysisOperator:
    """The sparsifying transform that a word stands for.

    ``undecimated:sym4`` or ``orthonormal:db4``, with a number of levels ``undecimated:sym4:3``; ``tv``, total
    variation, with a boundary ``tv:neumann`` (default periodic); a sum of undecimated wavelets, and of them and tv,
    ``undecimated:haar:1+sym4:2`` and ``undecimated:sym4:3+tv``. A wavelet alone is orthonormal. None is
    ``undecimated:haar:1+sym4:3`` for images and ``orthonormal:db4`` for volumes, where undecimated takes some 220 times
    the memory of the volume (``--dry-run``).

    Raises:
        BadInput: For another word, an unknown wavelet or too many levels; the default takes fewer for a small image.
    """
    most = int(math.log2(max(min(shape), 1))) if spec is None else None
    if spec is None:
        spec = DEFAULT_SPARSIFY_VOLUME if len(shape) == 3 else DEFAULT_SPARSIFY
    shape = tuple(shape)
    kind, _, rest = f"orthonormal:{spec}".partition(":") if spec in WAVELETS else spec.partition(":")
    parts = [part.split(":") for part in rest.split("+")]
    if kind == "tv" and rest in ("", "periodic", "neumann"):
        return Gradient(shape, "neumann" if rest == "neumann" else "periodic")
    if kind == "orthonormal" and len(parts) == 1 and _is_wavelet(parts[0]):
        return Wavelet(shape, *_wavelet(parts[0], None))
    wavelets = sum(part != ["tv"] for part in parts)
    if kind == "undecimated" and wavelets and all(part == ["tv"] or _is_wavelet(part) for part in parts):
        made: list[AnalysisOperator] = []
        for part in parts:
            if part == ["tv"]:
                made.append(Gradient(shape))
            else:
                made.append(UndecimatedWavelet(shape, *_wavelet(part, most)))
        if len(made) == 1:
            return made[0]
        # The wavelets share one unit, so that lambda keeps its meaning; total variation comes on top.
        return Union(made, [TV_SHARE if part == ["tv"] else wavelets**-0.5 for part in parts])
    needed = (
        "A transform: undecimated:WAVELET or orthonormal:WAVELET, with a number of levels behind if you like; tv; "
        "undecimated ones and tv joined by +"
    )
    raise BadInput(needed, repr(spec), "For example undecimated:haar:1+sym4:2, orthonormal:db4 or undecimated:sym4+tv")


def _is_wavelet(part: list[str]) -> bool:
    return part[0] not in ("", "tv") and (len(part) == 1 or (len(part) == 2 and part[1].isdecimal()))


def _wavelet(part: list[str], most: int | None) -> tuple[str, int | None]:
    """Name and number of levels."""
    if len(part) == 1:
        return part[0], None
    return part[0], int(part[1]) if most is None else min(int(part[1]), most)


def describe(frame: AnalysisOperator) -> str:
    """A transform in words; :func:`transform` understands what stands before the comma."""
    if isinstance(frame, Wavelet):
        kind = "orthonormal" if frame.is_orthonormal else "zero-padded, W*W = I"
        return f"orthonormal:{frame.wavelet}:{frame.depth}, wavelets, {kind}"
    if isinstance(frame, UndecimatedWavelet):
        return f"undecimated:{frame.wavelet}:{frame.depth}, undecimated wavelets, a tight frame"
    if isinstance(frame, Gradient):
        return f"tv:{frame.boundary}, isotropic total variation"
    if isinstance(frame, Union):
        parts = [p for p in frame.parts if isinstance(p, AnalysisOperator)]
        words = ["tv" if isinstance(p, Gradient) else describe(p).partition(",")[0].partition(":")[2] for p in parts]
        kind = "a tight frame" if frame.is_tight else "and total variation" if "tv" in words else "scaled"
        return f"undecimated:{'+'.join(words)}, undecimated wavelets, {kind}"
    return type(frame).__name__


def network(
    mask: Tensor,
    maps: Tensor | None = None,
    *,
    sparsify: str | None = None,
    weights: Tensor | SparsityLevels | None = None,
    lam: float | None = None,
    noise: float | None = None,
    schedule: Schedule | None = None,
) -> Firenet:
    """The network of ``firenet recon``: Fourier sensing with or without coils, for images an undecimated wavelet in the
    analysis form, adaptive restarts.

    Args:
        mask: Zero frequency in the corner.
        maps: Coil maps, or None for one channel without a map.
        sparsify: As in :func:`transform`.
        weights: As in :class:`Firenet`.
        lam: As in :class:`Firenet`.
        noise: As in :class:`Firenet`.
        schedule: None is :func:`default_schedule`.
    """
    sensing: LinearOperator = SubsampledFourier(mask) if maps is None else MultiCoilFourier(mask, maps)
    schedule = default_schedule() if schedule is None else schedule
    frame = transform(sparsify, mask.shape)
    return Firenet(sensing, frame, weights=weights, lam=lam, noise=noise, schedule=schedule)


def rounds(
    net: Firenet,
    y: Tensor,
    reweight: int | None = None,
    *,
    tolerance: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Round]:
    """Solves and reweights one image as ``firenet recon`` does.

    Args:
        net: The network.
        y: Measurements of one image.
        reweight: Rounds of reweighting. None is one in the analysis form with a searching schedule, where it sharpens
            for as much time again or twice that, keeping a fifth of the first residual where AA* = I; left out there
            where less than half as many coefficients as samples stand out of the noise. Else none. The layers of the
            schedule are those of all rounds together (:func:`firenet.reweighted`).
        tolerance: As in :meth:`Firenet.solve`.
        progress: As in :func:`firenet.reweighted`.
    """
    keep, enough = (KEEP, ENOUGH) if net.sensing.is_coisometry else (1.0, None)
    if reweight is not None:
        return reweighted(net, y, reweight, keep=keep, tolerance=tolerance, progress=progress)
    usual = int(net.form == "analysis" and searches(net.schedule) and net.schedule.layers > 1)
    return reweighted(net, y, usual, keep=keep, enough=enough, tolerance=tolerance, progress=progress)


def default_schedule(tolerance: float | None = None, layers: int | None = None) -> AdaptiveRestarts:
    """Adaptive restarts.

    Args:
        tolerance: The relative gap to stop at; None is 1e-3, from where on the image changes by some 0.05 dB.
        layers: The most layers; None is 2000.
    """
    plain = AdaptiveRestarts()
    return replace(
        plain,
        tolerance=TOLERANCE if tolerance is None else tolerance,
        max_layers=plain.max_layers if layers is None else layers,
    )


def paper_schedule(layers: int, y: Tensor | None = None) -> PaperSchedule:
    """Returns the paper's schedule of at most so many layers, in 10 restarts of equally many: of 25 layers 20 are used
    (fewer than 10 layers: one restart of each).

    Args:
        layers: 1 or more.
        y: The measurements: the schedule's delta is then 1e-9 of the smallest image's norm, whatever their unit.
    """
    if layers < 1:
        raise BadInput("At least one layer", f"{layers}", "300 is usual")
    outer = min(RESTARTS, layers)
    schedule = PaperSchedule(outer=outer, inner=layers // outer)
    if y is None:
        return schedule
    sizes = norms(y, min(y.ndim, 2))  # of a profile, of images
    smallest = sizes[sizes > 0].min().item() if bool((sizes > 0).any()) else 1.0
    return replace(schedule, delta=schedule.delta * smallest)


def reconstruct(
    kspace: Tensor | NDArray[Any],
    mask: Tensor | NDArray[Any] | None = None,
    maps: Tensor | NDArray[Any] | None = None,
    *,
    dims: int = 2,
    centred: bool = True,
    origin: Origin | None = None,
    sparsify: str | None = None,
    weights: Tensor | SparsityLevels | None = None,
    lam: float | None = None,
    noise: float | None = None,
    schedule: Schedule | None = None,
    tolerance: float | None = None,
    reweight: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Solution:
    """Reconstructs images from undersampled k-space, each with a duality gap.

    Args:
        kspace: Complex, shape (..., \\*image) or with maps (..., coils, \\*image); leading axes are batch.
        mask: Shape of the image; None finds it from the data (where any sample is not zero).
        maps: Coil maps, shape (coils, \\*image), centred like the image; None is one channel.
        dims: Number of image axes, 1 to 3.
        centred: k-space, mask and image have their origin in the middle, as files have them. False: k-space and mask
            have zero frequency in the corner and the image is ``ifftn`` of k-space.
        origin: The pixel of the image that has phase zero, ``middle`` or ``corner``, where it is not the one that
            ``centred`` says: k-space that was only moved to the corner, ``ifftshift(kspace)``, keeps the ``middle``.
        sparsify: As in :func:`transform`.
        weights: As in :class:`Firenet`.
        lam: As in :class:`Firenet`.
        noise: As in :class:`Firenet`: a bound of the noise's 2-norm over all samples of an image.
        schedule: None is :func:`default_schedule`, which finds its own steps.
        tolerance: Stop once the relative gap is at most this; None is 1e-3, and with a fixed schedule its end.
        reweight: Rounds of reweighting (:func:`firenet.reweighted`); objective and gap are those of the last round's
            problem. None is what :func:`rounds` does for one image, and 0 for a batch.
        progress: Called with layers done and the most there can be.

    Returns:
        The solution; ``image`` is upright if ``centred``, ``dual`` has zero frequency in the corner.
    """
    if origin is not None:
        kspace = to_usual_origin(tensor_of(kspace, "k-space"), dims, centred=centred, origin=origin)
    if schedule is None:
        schedule, tolerance = default_schedule(tolerance), None

    def solve(y: Tensor, m: Tensor, s: Tensor | None, progress: Callable[[int, int], None] | None) -> Solution:
        net = network(m, s, sparsify=sparsify, weights=weights, lam=lam, noise=noise, schedule=schedule).to(y.device)
        again = 0 if reweight is None and y.shape != net.sensing.out_shape else reweight
        if again != 0:
            return rounds(net, y, again, tolerance=tolerance, progress=progress)[-1].solution
        return net.solve(y, tolerance=tolerance, progress=progress)

    groups = _groups(kspace, mask, dims, dims + (maps is not None))
    if groups is None:
        y, m, s = prepare(kspace, mask, maps, dims=dims, centred=centred)
        _check_maps(y, m, s)
        return solve(y, m, s, progress)
    data = tensor_of(kspace, "k-space")
    axes = dims + (maps is not None)
    batch, items = data.shape[: data.ndim - axes], data.flatten(0, data.ndim - axes - 1)
    found = []
    for number, (own, which) in enumerate(groups):
        y, m, s = prepare(items[which], own, maps, dims=dims, centred=centred)
        _check_maps(y, m, s)
        found.append(solve(y, m, s, _shifted(progress, number, len(groups))))
    return _together(found, [which for _, which in groups], batch)


def _shifted(progress: Callable[[int, int], None] | None, number: int, count: int) -> Callable[[int, int], None] | None:
    """The progress of one of several equal parts."""
    return None if progress is None else lambda done, most: progress(number * most + done, count * most)


def _groups(
    kspace: Tensor | NDArray[Any], mask: Tensor | NDArray[Any] | None, dims: int, axes: int
) -> list[tuple[Tensor, list[int]]] | None:
    """The different masks of a batch with the items that have them; None where all have the same, or something is wrong
    that :func:`prepare` refuses."""
    y = tensor_of(kspace, "k-space")
    if not 1 <= dims <= 3 or y.ndim <= axes or 0 in y.shape:
        return None
    if mask is None:
        own = (y != 0).flatten(0, y.ndim - axes - 1)
        own = own.any(dim=1) if axes > dims else own
        # An item without any sample has the mask of the others: its image is zero.
        own = torch.where(own.flatten(1).any(dim=1).view(-1, *(1,) * dims), own, own.any(dim=0))
    else:
        given = binary_mask(mask)
        batch = y.shape[: y.ndim - axes]
        if tuple(given.shape) != (*batch, *y.shape[y.ndim - dims :]):
            return None
        own = given.to(y.device).flatten(0, len(batch) - 1)
    groups: dict[bytes, list[int]] = {}
    for number, one in enumerate(own.cpu()):
        groups.setdefault(np.packbits(one.numpy()).tobytes(), []).append(number)
    if len(groups) == 1 and mask is None:
        return None
    return [(own[which[0]], which) for which in groups.values()]


def _check_maps(y: Tensor, mask: Tensor, maps: Tensor | None) -> None:
    """Warns where coil maps explain the data badly, and refuses those that explain nothing."""
    if maps is None:
        return
    _, doubt = judge_maps(y, mask, maps, "given")
    if doubt is not None:
        warnings.warn(doubt, DoubtfulInput, stacklevel=3)


def _together(parts: list[Solution], items: list[list[int]], batch: torch.Size) -> Solution:
    """One solution of a batch from those of parts of it, whose items have these numbers in the flattened batch."""
    order = np.argsort(np.concatenate([np.asarray(which) for which in items]))

    def joined(values: list[Any]) -> Any:
        first = values[0]
        if isinstance(first, Tensor):
            together = torch.cat(values)
            return together[torch.from_numpy(order).to(together.device)].view(*batch, *together.shape[1:])
        if isinstance(first, Searched):
            return Searched(joined([v.runs for v in values]))
        if isinstance(first, tuple):
            every = [entry for value in values for entry in value]
            # One entry an item, or what holds for all of them.
            return tuple(every[k] for k in order) if len(every) == len(order) else first
        return first  # a fixed schedule, or None

    return replace(parts[0], **{f.name: joined([getattr(p, f.name) for p in parts]) for f in fields(Solution)})


def prepare(
    kspace: Tensor | NDArray[Any],
    mask: Tensor | NDArray[Any] | None = None,
    maps: Tensor | NDArray[Any] | None = None,
    *,
    dims: int = 2,
    centred: bool = True,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """k-space, mask and maps in the library's convention: zero frequency in the corner, the image as it looks.

    Arguments as in :func:`reconstruct`; one mask for all items.

    Raises:
        BadInput: For arrays that do not fit together, or a mask that contradicts the data
            (:func:`firenet.evidence.judge_mask`).

    Warns:
        DoubtfulInput: Where much of what the mask calls measured is zero.
    """
    y = tensor_of(kspace, "k-space")
    if not y.is_complex():
        raise BadInput(
            "Complex k-space",
            f"{y.dtype} of shape {tuple(y.shape)}",
            "If the last axis holds real and imaginary parts, use torch.view_as_complex",
        )
    if not 1 <= dims <= 3 or y.ndim < dims + (maps is not None):
        raise BadInput(
            f"k-space with {dims + (maps is not None)} axes or more",
            f"shape {tuple(y.shape)}",
            "Check dims and the coil axis",
        )
    if not torch.isfinite(torch.view_as_real(y.resolve_conj())).all():
        raise BadInput("Finite k-space", "NaN or infinity", "Set missing samples to zero and give the mask")
    shape = tuple(y.shape[y.ndim - dims :])
    m = mask_of(y, dims) if mask is None else binary_mask(mask).to(y.device)
    if tuple(m.shape) != shape:
        raise BadInput(
            f"A mask of the image's shape {shape}", f"{tuple(m.shape)}", "Broadcast line masks to the full shape"
        )
    if not m.any():
        raise BadInput("At least one sample", "a mask that is zero everywhere", "Check that k-space was read correctly")
    if mask is not None:
        for doubt in judge_mask(y, m).doubts:
            warnings.warn(doubt, DoubtfulInput, stacklevel=2)
    s = None if maps is None else tensor_of(maps, "coil maps").to(y.device)
    if s is not None and (s.ndim != dims + 1 or tuple(s.shape) != tuple(y.shape[y.ndim - dims - 1 :])):
        raise BadInput(
            f"Coil maps of shape {tuple(y.shape[y.ndim - dims - 1 :])}",
            f"{tuple(s.shape)}",
            "Give one map a coil, on the grid of the image",
        )
    if s is not None and not torch.isfinite(s).all():
        raise BadInput("Finite coil maps", "NaN or infinity", "Set the maps to zero where they are not known")
    if centred:
        y, m = to_corner(y, dims), torch.fft.ifftshift(m)
    return y, m, None if s is None else s.to(y.dtype)


def binary_mask(mask: Tensor | ArrayLike) -> Tensor:
    """A boolean mask from zeros and one other number (1, or 255 in a picture) of any dtype, complex ones too.

    Raises:
        BadInput: For other numbers, NaN among them.
    """
    values = tensor_of(mask, "a mask")
    if values.dtype == torch.bool:
        return values
    measured = values != 0  # NaN too, which equals nothing, itself neither
    ones = values[measured]
    if len(ones) and not bool((ones == ones[0]).all()):
        finite = torch.isfinite(ones)
        got = "NaN or infinity" if not bool(finite.all()) else f"{values.dtype} with other numbers"
        raise BadInput("A mask of zeros and ones", got, "Save mask != 0")
    if len(ones) and not bool(torch.isfinite(ones[0])):
        raise BadInput("A mask of zeros and ones", "NaN or infinity", "Save mask != 0")
    return measured


def zero_filled(y: Tensor, mask: Tensor, maps: Tensor | None = None) -> Tensor:
    """The image of A*y: what the data give without any prior. Arguments as :func:`prepare` returns them."""
    sensing: LinearOperator = SubsampledFourier(mask) if maps is None else MultiCoilFourier(mask, maps)
    return sensing.adjoint(y)


def certify_image(
    image: Tensor,
    net: Firenet,
    y: Tensor,
    *,
    budget: int = 500,
    progress: Callable[[int, int], None] | None = None,
) -> Certificate:
    """The certificate of any image against given data: of the image in the analysis form, of
    :math:`z=W\\,\\text{image}` in the synthesis form.

    Args:
        image: Shape (..., \\*image), on the grid and in the convention of ``net``.
        net: Gives the problem: sensing, transform, weights, lambda. Its schedule is not used.
        y: Measurements.
        budget: As in :func:`firenet.certificate.certify`.
        progress: Likewise.
    """
    if not torch.isfinite(torch.view_as_real(image) if image.is_complex() else image).all():
        raise BadInput("A finite image", "NaN or infinity", "Check the file")
    with torch.no_grad():
        z = image if net.sparsify is None or net.form == "analysis" else net.sparsify(image)
    return certify(net.problem, z, y, budget=budget, progress=progress)


@dataclass(frozen=True, eq=False)
class Prepared:
    r"""One image of a scan, ready for the network.

    Attributes:
        y: Measurements, zero frequency in the corner, shape (\*image) or (coils, \*image).
        mask: Zero frequency in the corner.
        maps: Coil maps or None.
        maps_method: Where the maps come from, in words.
        undetermined: Pixels where every map is zero.
        unexplained: The share of the energy that no image explains through the maps
            (:func:`firenet.evidence.unexplained`), or None without maps.
        notes: What is good to know about the mask.
        doubts: What says that mask or maps may be wrong.
        number: Of the slice in its file, counted from 0; None where the data have no axis of slices.
        empty: Every sample is zero, so the image is: there is nothing to solve, and maps are None.
    """

    y: Tensor
    mask: Tensor
    maps: Tensor | None
    maps_method: str
    undetermined: Tensor
    unexplained: float | None = None
    notes: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    number: int | None = None
    empty: bool = False


@dataclass(frozen=True, eq=False)
class ScanData:
    """The images of a scan, one :class:`Prepared` each, and what the user should know about the data.

    Attributes:
        images: In the order of the slices.
        warnings: All that there is to say, in sentences, doubts included.
        doubts: Those of the warnings for which the result should not be trusted unseen: the commands end with exit
            code 3.
    """

    images: list[Prepared]
    warnings: list[str]
    doubts: list[str] = field(default_factory=list)


def prepare_scan(
    kspace: NDArray[Any],
    axes: Sequence[str],
    *,
    mask: NDArray[Any] | None = None,
    maps: NDArray[Any] | str | None = None,
    only: int | None = None,
    oversampling: float = 1.0,
    readout: str = "x",
    noise: NDArray[Any] | None = None,
    centred: bool = True,
    origin: Origin | None = None,
    device: str = "cpu",
    dtype: torch.dtype = torch.complex64,
) -> ScanData:
    r"""Makes the images of a scan ready: choice of slices, oversampling, whitening, masks, coil maps.

    A slice without any sample that is not zero stays, marked as empty, and a warning names it.

    Args:
        kspace: Complex k-space.
        axes: What its axes are, names from slice, coil, z, y, x in this order.
        mask: Shape of the image axes, or of trailing ones of them; None finds it from the data.
        maps: Array (coils, \*image), the word ``auto`` (estimate them), or None for data without coils.
        only: The slice to take; None takes all.
        oversampling: Crop the image along the readout by this factor.
        readout: Which axis the readout is, x or y.
        noise: Noise samples (coils, ...), to whiten the coils.
        centred: As in :func:`reconstruct`.
        origin: As in :func:`reconstruct`.
        device: Where to compute.
        dtype: complex64 or complex128.

    Raises:
        BadInput: For what does not fit together, and where all samples are zero.
    """
    data = tensor_of(kspace, "k-space").to(device=device, dtype=dtype)
    dims = sum(a in ("z", "y", "x") for a in axes)
    notes = []
    elsewhere = coil_axis_is_elsewhere(axes, np.shape(kspace))
    if elsewhere is not None:
        notes.append(f"{elsewhere}; if the axes are stored in another order, name them: --axes y,x,coil.")
    numbers: list[int | None] = [None] if "slice" not in axes else list(range(len(data)) if only is None else [only])
    if "slice" not in axes:
        if only is not None:
            raise BadInput("A file with several slices for --slice", f"axes {', '.join(axes)}", "Leave --slice out")
        data = data[None]
    elif only is not None:
        if not 0 <= only < data.shape[0]:
            raise BadInput(f"A slice between 0 and {data.shape[0] - 1}", f"{only}", "Slices are counted from 0")
        data = data[only : only + 1]
    has_coils = "coil" in axes
    if has_coils and maps is None:
        raise BadInput(
            "Coil maps for multi-coil data", "none", "Estimate them from the data with --maps auto, or pass a file"
        )
    if not has_coils and (maps is not None or noise is not None):
        raise BadInput(
            "Multi-coil data for coil maps or noise",
            f"axes {', '.join(axes)}",
            "Leave --maps and --noise out, or name the coil axis with --axes",
        )
    if peak_is_central(data, dims) != centred:
        where, option = ("corner", "add --corner-dc") if centred else ("middle", "leave out --corner-dc")
        notes.append(f"The energy of k-space peaks in the {where}; if that is where zero frequency lies, {option}.")
    data = to_usual_origin(data, dims, centred=centred, origin=origin)
    grid = tuple(data.shape[data.ndim - dims :])
    given = None if mask is None else _given_mask(mask, grid)
    stored = given
    if given is not None:
        # Whoever removes oversampling needs whole readout lines.
        along = [axis for axis in axes[-dims:] if oversampling == 1.0 or axis != readout]
        given, padding = without_padding(data, given, axes[-dims:], along, centred=centred)
        notes += [] if padding is None else [padding]
    known = None
    if isinstance(maps, np.ndarray):
        if not np.any(maps):
            raise BadInput("Coil maps that are not zero everywhere", "zeros", "Check that the maps were read correctly")
        known = tensor_of(maps, "coil maps").to(device=device, dtype=dtype)
    if noise is not None:
        arrays = [data] if known is None else [data, known]
        data, *mixed = prewhiten(arrays, noise, coil_axis=-dims - 1)
        known = mixed[0] if mixed else None
    filled: list[Prepared | None] = []
    for number, k in zip(numbers, data, strict=True):
        if not bool((k != 0).any()):
            filled.append(None)
            continue
        # Before the readout is cropped, which spreads rounding over what was zero.
        findings = MaskFindings() if given is None else judge_mask(k, given, stored)
        lines = given
        if oversampling != 1.0:
            k, lines = _crop_readout(k, given, oversampling, -1 if readout == "x" else -2, dims, centred)
        if known is not None and known.shape != k.shape:
            do = "Give one map a coil on the grid of the image (after --remove-oversampling)"
            raise BadInput(f"Coil maps of shape {tuple(k.shape)}", f"{tuple(known.shape)}", do)
        try:
            image = _prepare_image(k, lines, known if known is not None else maps, dims, centred, given is None)
        except BadInput as error:
            # What is odd about the whole scan is the likelier reason, and so the better advice.
            raise BadInput(error.needed, error.got, " ".join([*notes, error.do])) from error
        found = findings.notes + image.notes, findings.doubts + image.doubts
        filled.append(replace(image, number=number, notes=found[0], doubts=found[1]))
    images = _with_empty(filled, numbers, notes)
    # Where zero frequency is not where it is said to be, the image is nothing to judge by.
    if peak_is_central(data, dims) == centred and is_split([i.y * i.mask for i in images], dims):
        usual = "middle" if centred else "corner"
        other = "corner" if (origin or usual) == "middle" else "middle"
        option = f"add --image-origin {other}" if other != usual else f"leave out --image-origin {origin}"
        notes.append(
            f"The object lies around the borders of the image, as if cut in four; to put it together, {option}."
        )
    doubts = _once(images, lambda image: image.doubts)
    return ScanData(images, notes + _once(images, lambda image: image.notes) + doubts, doubts)


def _once(images: list[Prepared], of: Callable[[Prepared], tuple[str, ...]]) -> list[str]:
    """Each sentence once, with the number of slices that it holds for where there are several."""
    found: dict[str, int] = {}
    for image in images:
        for sentence in of(image):
            found[sentence] = found.get(sentence, 0) + 1
    every = len(images)
    return [s if n == every else f"{s} ({n} of {every} slices)" for s, n in found.items()]


def _with_empty(filled: Sequence[Prepared | None], numbers: Sequence[int | None], notes: list[str]) -> list[Prepared]:
    """The images of a scan, an empty one for each None; the notes name those."""
    full = [image for image in filled if image is not None]
    if not full:
        one = "zeros alone" if numbers == [None] else f"zeros alone in slice {numbers[0]}"
        got = one if len(numbers) == 1 else f"zeros alone in all {len(numbers)} slices"
        raise BadInput("At least one sample that is not zero", got, "Check that k-space was read correctly")
    like = full[0]
    sampled = torch.stack([image.mask for image in full]).any(dim=0)
    nowhere = torch.zeros(sampled.shape, dtype=torch.bool)
    images = []
    for number, image in zip(numbers, filled, strict=True):
        if image is None:
            notes.append(f"Slice {number} holds nothing but zeros, and so does its image.")
            image = Prepared(torch.zeros_like(like.y), sampled, None, "none", nowhere, number=number, empty=True)
        images.append(image)
    return images


def _given_mask(mask: NDArray[Any], grid: tuple[int, ...]) -> Tensor:
    """A mask from a file: zeros and one other value (1, or 255 in a picture), on the grid or on trailing axes of it.

    Singletons beyond the grid's axes are dropped, first those in front and then those behind, as patterns of BART have.
    """
    found = binary_mask(mask)
    while found.ndim > len(grid) and 1 in (found.shape[0], found.shape[-1]):
        found = found[0] if found.shape[0] == 1 else found[..., 0]
    try:
        return found.expand(grid)
    except RuntimeError:
        do = "The mask lies on the grid of k-space"
        raise BadInput(f"A mask of shape {grid}", f"{np.shape(mask)}", do) from None


def _crop_readout(
    k: Tensor, mask: Tensor | None, factor: float, axis: int, dims: int, centred: bool
) -> tuple[Tensor, Tensor]:
    """Removes oversampling from one image's data, whose readout lines are fully sampled or not sampled at all."""
    sampled = mask_of(k, dims) if mask is None else mask.to(k.device)
    lines = sampled.any(dim=axis, keepdim=True)
    if not bool((sampled == lines).all()):
        do = "Leave --remove-oversampling out, or say with --axes which axis is x, the readout"
        raise BadInput("Whole readout lines to remove oversampling", "a mask with gaps along the readout", do)
    cropped = remove_oversampling(k, factor, axis=axis, centred=centred)
    new = lines.expand(cropped.shape[cropped.ndim - dims :])
    return cropped * new, new


def _prepare_image(
    k: Tensor,
    mask: Tensor | None,
    maps: Tensor | NDArray[Any] | str | None,
    dims: int,
    centred: bool,
    inferred: bool,
) -> Prepared:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DoubtfulInput)  # they are among the findings
        y, m, _ = prepare(k, mask, dims=dims, centred=centred)
    notes = judge_inferred(y, m, maps is not None).notes if inferred else ()
    if maps is None:
        return Prepared(y, m, None, "none", torch.zeros(m.shape, dtype=torch.bool), notes=notes)
    found = CoilMaps(maps, "from a file") if isinstance(maps, Tensor) else estimate_maps(y * m, m)
    share, doubt = judge_maps(y, m, found.maps, found.method)
    nowhere = (found.maps == 0).all(dim=0).cpu()
    return Prepared(y, m, found.maps, found.method, nowhere, share, notes, () if doubt is None else (doubt,))
