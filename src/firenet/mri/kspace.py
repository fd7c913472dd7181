"""Arrays of k-space: the place of zero frequency and of the origin of the image, oversampling, prewhitening."""

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
# A gap beside an object has less energy than the mean divided by this.
SPLIT = 10.0
# A coil axis that is longer than this, next to a shorter image axis, is more likely another axis.
MOST_COILS = 64


def to_corner(kspace: Tensor, dims: int) -> Tensor:
    """Moves zero frequency from the middle of k-space to the corner; the image stays centred.

    ``ifftn(to_corner(k, d))`` is the centred image, without a shift or a flip. The inverse is :func:`to_centre`.
    """
    axes = tuple(range(-dims, 0))
    return torch.fft.ifftshift(kspace, dim=axes) * _ramp(kspace, dims)


def to_centre(kspace: Tensor, dims: int) -> Tensor:
    """Returns centred k-space from k-space with zero frequency in the corner: the inverse of :func:`to_corner`."""
    return torch.fft.fftshift(kspace * _ramp(kspace, dims).conj(), dim=tuple(range(-dims, 0)))


def _ramp(kspace: Tensor, dims: int) -> Tensor:
    """Returns :math:`e^{-2\\pi ikc/n}` with c = n // 2 on each axis: plus and minus ones where n is even."""
    ramp = torch.ones((), dtype=torch.complex128)
    for n in kspace.shape[kspace.ndim - dims :]:
        k = torch.arange(n)
        # k c mod n is computed in integers, so that the phase is exact at 0 and at half a turn.
        turns = (k * (n // 2) % n).to(torch.float64) / n
        exact = torch.where(turns == 0.5, -1.0, torch.polar(torch.ones(n, dtype=torch.float64), -2 * math.pi * turns))
        ramp = ramp[..., None] * torch.where(turns == 0, 1.0, exact)
    return ramp.to(device=kspace.device, dtype=kspace.dtype)


def to_usual_origin(kspace: Tensor, dims: int, *, centred: bool, origin: Origin | None) -> Tensor:
    """Returns k-space with the origin of its images moved to the usual pixel, if they have the other one.

    The origin of an image is the pixel that has phase zero at every frequency. If zero frequency lies in the middle of
    k-space, the origin usually is the middle pixel, ``fftshift(fftn(ifftshift(image)))``; if zero frequency lies in the
    corner, the origin usually is the corner pixel, ``fftn(image)``. If only k-space was shifted after the transform,
    the data have the other origin.

    Args:
        kspace: Complex; the trailing axes are those of the image.
        dims: Number of image axes.
        centred: Whether zero frequency lies in the middle.
        origin: The origin that the data have, ``middle`` or ``corner``; None is the usual one.

    Raises:
        BadInput: For any other value of ``origin``.
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
    """Returns the sampling mask of zero-filled data: where any image of the batch and any coil has a sample."""
    return (kspace != 0).flatten(0, kspace.ndim - dims - 1).any(dim=0) if kspace.ndim > dims else kspace != 0


def peak_is_central(kspace: Tensor, dims: int) -> bool:
    """Returns whether the energy of k-space peaks nearer to the middle than to the corner."""
    energy = kspace.abs().square().flatten(0, -dims - 1).sum(dim=0) if kspace.ndim > dims else kspace.abs().square()
    peak = np.unravel_index(int(energy.argmax()), tuple(energy.shape))
    to_middle = sum(((i - n // 2) / n) ** 2 for i, n in zip(peak, energy.shape, strict=True))
    to_corner_ = sum((min(i, n - i) / n) ** 2 for i, n in zip(peak, energy.shape, strict=True))
    return bool(to_middle <= to_corner_)


def is_split(images: Sequence[Tensor], dims: int) -> bool:
    """Returns whether the object lies around the corners of the images: k-space was shifted, and its image was not.

    All images are added, at low resolution. Along each of the last two axes a gap is sought: a sixteenth of the field
    of view with less than a tenth of the mean energy. An object in one piece leaves a gap at the border. A split object
    leaves a gap in the middle half, and is bright on both sides of the border. An object that fills the field of view
    leaves no gap. The images count as split if at least one axis has a gap only in the middle, and no axis has a gap
    only at the border.

    Args:
        images: k-space with zero frequency in the corner, zero where not sampled; the trailing axes are those of the
            image.
        dims: Number of image axes.
    """
    axes = tuple(range(-dims, 0))
    energy: Tensor | None = None
    for k in images:
        for axis in axes:
            n = k.shape[axis]
            # Low frequencies are sampled best: the others would add aliasing and noise.
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
    """Returns where an object leaves a gap along one axis: only in the middle, only at the border, or neither."""
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
    """Returns a sentence if another axis looks more like the coil axis than the one named ``coil``; otherwise None.

    Coils are few. The axes were probably stored as (y, x, coil) if one of x and y is at most half as long as the other,
    and either at most 64 long with more than 64 coils, or at most 32 long with at least twice as many coils. The axis z
    is not compared, since volumes of few partitions are common.

    Args:
        axes: Names in the order of the shape.
        shape: The shape of k-space.
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
    return f"The coil axis is {coils} long and the {short} axis {few}"


def remove_oversampling(kspace: Tensor, factor: float = 2.0, *, axis: int = -1, centred: bool = True) -> Tensor:
    """Returns the k-space of the image cropped along the readout to the middle 1/factor of its field of view.

    Args:
        kspace: Complex k-space.
        factor: The oversampling, 1 or more.
        axis: The readout axis.
        centred: As in :func:`.reconstruct_kspace`.

    Raises:
        BadInput: For a factor below 1 or above the length of the axis.
    """
    n = kspace.shape[axis]
    if not 1 <= factor <= n:
        raise BadInput(f"An oversampling factor between 1 and {n}", f"{factor}", "2 is usual")
    kept = round(n / factor)
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
        arrays: Arrays with a coil axis that must be mixed alike: k-space, and coil maps that are known.
        noise: Noise samples without signal, shape (coils, ...); each coil has more samples than there are coils.
        coil_axis: The axis of the coils, counted from the end.

    Raises:
        BadInput: If the noise has another shape, or the coils' noise samples are linearly dependent.
    """
    samples = np.asarray(noise, dtype=np.complex128)
    coils = arrays[0].shape[coil_axis]
    samples = samples.reshape(samples.shape[0], -1) if samples.ndim > 1 else samples[None]
    if samples.shape[0] != coils or samples.shape[1] <= coils:
        needed = f"Noise of shape ({coils}, more than {coils} samples)"
        raise BadInput(needed, f"{np.shape(noise)}", "Put the coils first")
    samples = samples - samples.mean(axis=1, keepdims=True)
    covariance = samples @ samples.conj().T / (samples.shape[1] - 1)
    try:
        whitener = torch.from_numpy(np.linalg.inv(np.linalg.cholesky(covariance)))
    except np.linalg.LinAlgError:
        do = "Leave out dead or duplicate coils"
        raise BadInput("Linearly independent noise samples of the coils", "a singular covariance", do) from None
    return [(a.movedim(coil_axis, -1) @ whitener.to(a).mT).movedim(-1, coil_axis) for a in arrays]
