"""Arrays of k-space: where zero frequency and the origin of the image lie, oversampling, whitening, noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from firenet.errors import BadInput

Origin = Literal["middle", "corner"]
# A gap beside an object has so many times less energy than the mean.
SPLIT = 10.0
# A coil axis that is longer than half of that, beside a short axis, is more likely another one.
MOST_COILS = 64


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
