r"""Checks of a mask and of coil maps against the data that come with them.

Masks and maps are often from other files, or inferred. The data can contradict both, and this module finds such
contradictions. Zero frequency lies in the corner, unless a function says otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from firenet.errors import BadInput
from firenet.mri.espirit import NARROWEST, WIDEST, centre_of
from firenet.mri.kspace import mask_of
from firenet.sensing.fourier import MultiCoilFourier
from firenet.sensing.masked import calibration_width
from firenet.solver.least_squares import least_squares

# Measured on a brain (8 coils), a raw phantom (2 coils) and computed phantoms (2, 4, 8 coils): correct maps leave up to
# 0.9 % of the energy unexplained, at all widths from 8 on and with as much noise as signal in the image. Maps of
# permuted or conjugate coils, rotated maps, maps of other data and maps of ones leave 2.6 % to 98 %; the smallest share
# is that of two coils that are almost equal.
DOUBTFUL = 0.02
# Without a fully sampled centre the noise of all samples counts as unexplained: correct maps left up to 0.2 % with the
# lowest frequencies among the samples and 5 % without, wrong maps 3 % to 95 %.
DOUBTFUL_WITHOUT_CENTRE = 0.1
# Maps drawn at random explain one part in the number of coils. Maps that leave more than nine tenths of what random
# maps leave are an error.
HOPELESS = 0.9
# This share of the samples that a mask calls measured may be zero in all coils before that is doubtful.
ZEROS = 0.1
# Iterations of conjugate gradients where there is no fully sampled centre.
_ITERATIONS = 20


@torch.no_grad()
def unexplained(kspace: Tensor, mask: Tensor, maps: Tensor) -> float:
    r"""Returns the share of the energy of the data that no image explains through the coil maps, between 0 and 1.

    If the centre of k-space is fully sampled and at least 8 wide, it gives low-resolution coil images :math:`v_c(r)`,
    and the share is :math:`\sum_r\|v-s(s^*v)/\|s\|^2\|^2/\sum_r\|v\|^2`; where every map is zero, all of v is
    unexplained. The part of the noise in both sums is subtracted; its level is estimated from the outermost samples. At
    low resolution even correct maps leave a little unexplained, see :data:`DOUBTFUL`. Without such a centre the share
    is :math:`\min_x\|Ax-y\|^2/\|y\|^2`, from 20 iterations of conjugate gradients; with fewer measurements than pixels
    wrong maps may explain much.

    Args:
        kspace: Shape (..., coils, \*image); the energies of a batch are added.
        mask: Shape of the image.
        maps: Shape (coils, \*image).
    """
    dims = mask.ndim
    y = kspace * mask
    largest = y.abs().amax()
    if largest == 0:
        return 0.0
    y = y / largest  # squares of 1e-30 and 1e30 neither underflow nor overflow
    maps = maps.to(y.dtype)
    peak = maps.abs().amax()
    maps = maps / torch.where(peak > 0, peak, 1)
    width = min(calibration_width(mask), WIDEST)
    if width < NARROWEST:
        return _residual(y.to(torch.complex128), mask, maps.to(torch.complex128))
    low = torch.zeros_like(y)
    index = [(torch.arange(width, device=y.device) - width // 2) % n for n in mask.shape]
    low[(..., *torch.meshgrid(*index, indexing="ij"))] = centre_of(y, width, dims)
    images = torch.fft.ifftn(low, dim=tuple(range(-dims, 0)), norm="ortho")
    size = maps.abs().square().sum(dim=0)
    common = (maps.conj() * images).sum(dim=-dims - 1) / torch.where(size > 0, size, 1)
    rest = images - maps * common.unsqueeze(-dims - 1)
    # One part in the number of coils of the noise looks like an image.
    noise, energy = width**dims * _noise(y, mask), _energy(images)
    left = max(_energy(rest) - (1 - 1 / len(maps)) * noise, 0.0)
    return min(left / max(energy - noise, 0.1 * energy), 1.0)


def _noise(y: Tensor, mask: Tensor) -> float:
    """Returns the energy of the noise at one frequency, all coils and items added; 0 if there are too few samples.

    It is estimated from the highest fifth of the frequencies of each axis. Signal there makes the estimate larger, but
    the median used here follows the smaller samples.
    """
    outer = torch.zeros_like(mask)
    for axis, n in enumerate(mask.shape):
        frequency = torch.fft.fftfreq(n, device=mask.device).abs()
        outer |= (frequency >= 0.4).view(-1, *(1,) * (mask.ndim - 1 - axis))
    samples = y[..., outer & mask].abs().double().square()
    if samples.shape[-1] < 32:
        return 0.0
    # The squared modulus of complex normal numbers has the median log 2 times its mean.
    return (samples.median(dim=-1).values.sum() / math.log(2)).item()


def _residual(y: Tensor, mask: Tensor, maps: Tensor) -> float:
    """Returns the relative least-squares residual, by conjugate gradients."""
    operator = MultiCoilFourier(mask, maps).compact()
    measured = operator.pack_measured(y).reshape(-1, *operator.out_shape)
    return _energy(least_squares(operator, measured, _ITERATIONS)[1]) / _energy(measured)


def _energy(x: Tensor) -> float:
    return x.abs().square().sum(dtype=torch.float64).item()


def judge_maps(kspace: Tensor, mask: Tensor, maps: Tensor, method: str) -> tuple[float, str | None]:
    r"""Returns the share of the energy that no image explains through the maps, and a warning about the maps,
    or None.

    Args:
        kspace: As in :func:`unexplained`.
        mask: As in :func:`unexplained`.
        maps: As in :func:`unexplained`.
        method: A description of where the maps are from.

    Raises:
        BadInput: If the maps hardly explain more than maps drawn at random.
    """
    share = unexplained(kspace, mask, maps)
    limit = DOUBTFUL if calibration_width(mask) >= NARROWEST else DOUBTFUL_WITHOUT_CENTRE
    if share <= limit:
        return share, None
    do = "Check the order of the coils, the orientation and the origin of the maps (--axes, --corner-dc)"
    said = f"{share:.1%} of the energy of the data is not explained by any image through the coil maps ({method})"
    if share > max(HOPELESS * (1 - 1 / len(maps)), limit):
        raise BadInput("Coil maps that explain the data", said, do)
    return share, f"{said}; correct maps leave less than {limit:.0%}. {do}."


@dataclass(frozen=True)
class MaskFindings:
    """Sentences about a mask, found from the data: ``notes`` inform, ``doubts`` say that something may be wrong."""

    notes: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()


def judge_mask(kspace: Tensor, mask: Tensor, stored: Tensor | None = None) -> MaskFindings:
    r"""Compares a given mask with the samples that are not zero; zero frequency may lie anywhere.

    A mask that leaves out measured samples is accepted with a note, since full scans are undersampled in this way. But
    it is refused if the same mask, shifted by half its sides, transposed or flipped, contains all measured samples, or
    if more than a tenth of the samples that it calls measured are zero.

    Args:
        kspace: Shape (..., \*image), before the mask is applied.
        mask: Shape of the image, in the order of ``kspace``.
        stored: The mask before :func:`without_padding`; this one is shifted, transposed and flipped.

    Raises:
        BadInput: If the mask contradicts the data.
    """
    size = kspace.abs().flatten(0, kspace.ndim - mask.ndim - 1) if kspace.ndim > mask.ndim else kspace.abs()[None]
    size = size.amax(dim=0)
    largest = size.amax()
    if largest == 0:
        return MaskFindings()
    # A sample that is zero up to the rounding of a Fourier transform was not measured.
    measured = size > 4 * torch.finfo(size.dtype).eps * largest
    outside, claimed = measured & ~mask, int(mask.sum())
    empty = int((mask & (size == 0)).sum())
    left, total = int(outside.sum()), int(measured.sum())
    zeros = f"{empty} of {claimed} samples that the mask calls measured are zero in all coils"
    if left:
        energy = ((size / largest).square() * outside).sum() / (size / largest).square().sum()
        out = f"{left} of {total} samples that are not zero ({energy.item():.2g} of the energy)"
        said = f"{out} where the mask has none"
        needed = "A mask that contains all measured samples"
        for how, other in _turned(mask if stored is None else stored):
            if not bool((measured & ~other).any()):
                do = f"The mask {how} fits: store it like k-space (--corner-dc if zero frequency lies in the corner)"
                raise BadInput(needed, said, do)
        if empty > ZEROS * claimed:
            raise BadInput(needed, f"{said}, and {zeros}", "Give the mask of this scan, on the grid of k-space")
        return MaskFindings(notes=(f"The mask leaves out {out}.",))
    if empty > ZEROS * claimed:
        return MaskFindings(doubts=(f"{zeros[0].upper()}{zeros[1:]}; is it the mask of this scan?",))
    return MaskFindings(notes=(f"{zeros[0].upper()}{zeros[1:]}.",) if empty else ())


def without_padding(
    kspace: Tensor, mask: Tensor, names: Sequence[str], along: Sequence[str], *, centred: bool = True
) -> tuple[Tensor, str | None]:
    r"""Removes from a mask what was never measured: the outermost lines, if they hold nothing but exact zeros.

    Scanners and converters pad k-space with zeros to reach round matrix sizes, or where a partial Fourier acquisition
    ends, and masks of whole scans often call these lines measured. Noise is never exactly zero in all slices and coils.

    Args:
        kspace: Shape (..., \*image).
        mask: Shape of the image.
        names: The names of the axes of the image.
        along: The names of the axes along which lines are removed.
        centred: Whether zero frequency lies in the middle. If not, it lies in the corner, and the highest frequencies
            lie in the middle.

    Returns:
        The mask, and a sentence about what was removed, or None.
    """
    nonzero = mask_of(kspace, mask.ndim)
    kept, said = mask.to(nonzero.device), []
    if not bool(nonzero.any()):
        return mask, None
    for axis, name in zip(range(-len(names), 0), names, strict=True):
        n = nonzero.shape[axis]
        if name not in along:
            continue
        lines = nonzero.movedim(axis, 0).flatten(1).any(dim=1)
        lines = lines if centred else torch.fft.fftshift(lines)
        filled = lines.nonzero()[:, 0]
        inside = torch.zeros(n, dtype=torch.bool, device=lines.device)
        inside[int(filled[0]) : int(filled[-1]) + 1] = True
        inside = inside if centred else torch.fft.ifftshift(inside)
        left = kept & inside.view(-1, *(1,) * (-axis - 1))
        if bool((left != kept).any()):
            said.append(f"{int(filled[0])} below and {n - 1 - int(filled[-1])} above along {name}")
        kept = left
    if not said:
        return mask, None
    what = "are zero in all slices and coils; they are padding, and count as not measured"
    return kept.to(mask.device), f"The outermost lines of k-space, {', '.join(said)}, {what}."


def _turned(mask: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Yields shifted, transposed and flipped copies of a mask, each with a description of the change."""
    axes = tuple(range(mask.ndim))
    yield "shifted by half its sides", torch.fft.fftshift(mask)
    yield "shifted by half its sides", torch.fft.ifftshift(mask)
    for first in axes:
        for second in axes[first + 1 :]:
            if mask.shape[first] == mask.shape[second]:
                yield f"with axes {first} and {second} swapped", mask.transpose(first, second)
    for axis in axes:
        yield f"flipped along axis {axis}", mask.flip(axis)
        yield f"flipped about zero frequency along axis {axis}", mask.flip(axis).roll(1, axis)


def judge_inferred(kspace: Tensor, mask: Tensor, coils: bool) -> MaskFindings:
    r"""Returns notes about a mask that was inferred from the zeros of the data.

    Args:
        kspace: One image, shape (coils, \*image) or (\*image), zero frequency in the corner.
        mask: Shape of the image, zero frequency in the corner.
        coils: Whether there is a coil axis.
    """
    notes = []
    if coils:
        nonzero = kspace != 0
        alive = nonzero.flatten(1).any(dim=1)
        partly = int((mask & ~nonzero[alive].all(dim=0)).sum()) if bool(alive.any()) else 0
        if partly:
            notes.append(f"{partly} samples are zero in some coils and not in others; they count as measured.")
        if not bool(alive.all()):
            dead = ", ".join(map(str, (~alive).nonzero()[:, 0].tolist()))
            notes.append(f"Coils without any signal: {dead}.")
    width = min(16, *mask.shape)
    holes = int((~centre_of(mask, width, mask.ndim)).sum())
    if 0 < holes <= 0.05 * width**mask.ndim:
        where = f"within the central {' x '.join([str(width)] * mask.ndim)}"
        notes.append(f"{holes} samples {where} are zero and count as not measured; give a mask if they are measured.")
    return MaskFindings(notes=tuple(notes))
