"""Preparation of a scan: from its arrays to measurements, masks and coil maps, one image at a time."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from firenet.errors import BadInput, DoubtfulInput
from firenet.mri.coils import CoilMaps, estimate_maps
from firenet.mri.evidence import MaskFindings, judge_inferred, judge_maps, judge_mask, without_padding
from firenet.mri.kspace import (
    Origin,
    coil_axis_is_elsewhere,
    is_split,
    mask_of,
    peak_is_central,
    prewhiten,
    remove_oversampling,
    to_corner,
    to_usual_origin,
)
from firenet.numerics import tensor_of
from firenet.reconstruction.prepared import Prepared, ScanData, chosen_slices, with_empty
from firenet.sensing.fourier import MultiCoilFourier, SubsampledFourier, fourier_samples


def prepare(
    kspace: Tensor | NDArray[Any],
    mask: Tensor | NDArray[Any] | None = None,
    maps: Tensor | NDArray[Any] | None = None,
    *,
    dims: int = 2,
    centred: bool = True,
) -> tuple[Tensor, SubsampledFourier | MultiCoilFourier]:
    """Returns measurements and their operator in the library's convention: zero frequency in the corner.

    The middle of a centred image stays in the middle. The arguments are those of :func:`.reconstruct_kspace`, with one
    mask for all items.

    Raises:
        BadInput: For arrays that do not fit together, or a mask that contradicts the data (:func:`.judge_mask`).

    Warns:
        DoubtfulInput: If many of the samples that the mask calls measured are zero.
    """
    y = tensor_of(kspace, "k-space")
    if not y.is_complex():
        do = "If the last axis holds real and imaginary parts, use torch.view_as_complex"
        raise BadInput("Complex k-space", f"{y.dtype} of shape {tuple(y.shape)}", do)
    axes = dims + (maps is not None)
    if not 1 <= dims <= 3 or y.ndim < axes:
        raise BadInput(f"k-space with {axes} axes or more", f"shape {tuple(y.shape)}", "Check dims and the coil axis")
    if not torch.isfinite(torch.view_as_real(y.resolve_conj())).all():
        raise BadInput("Finite k-space", "NaN or infinity", "Set missing samples to zero and give the mask")
    shape = tuple(y.shape[y.ndim - dims :])
    m = mask_of(y, dims) if mask is None else binary_mask(mask).to(y.device)
    if tuple(m.shape) != shape:
        do = "Broadcast line masks to the full shape"
        raise BadInput(f"A mask of the image's shape {shape}", f"{tuple(m.shape)}", do)
    if not m.any():
        raise BadInput("At least one sample", "a mask that is zero everywhere", "Check that k-space was read correctly")
    if mask is not None:
        for doubt in judge_mask(y, m).doubts:
            warnings.warn(doubt, DoubtfulInput, stacklevel=2)
    s = None if maps is None else tensor_of(maps, "coil maps").to(y.device)
    grid = tuple(y.shape[y.ndim - axes :])
    if s is not None and tuple(s.shape) != grid:
        do = "Give one map for each coil, on the grid of the image"
        raise BadInput(f"Coil maps of shape {grid}", f"{tuple(s.shape)}", do)
    if s is not None and not torch.isfinite(s).all():
        raise BadInput("Finite coil maps", "NaN or infinity", "Set the maps to zero where they are not known")
    if centred:
        y, m = to_corner(y, dims), torch.fft.ifftshift(m)
    return y, fourier_samples(m, None if s is None else s.to(y.dtype))


def binary_mask(mask: Tensor | ArrayLike) -> Tensor:
    """Returns a boolean mask from zeros and one other number (1, or 255 in a picture) of any real or complex dtype.

    Raises:
        BadInput: For several other numbers, NaN or infinity.
    """
    values = tensor_of(mask, "a mask")
    if values.dtype == torch.bool:
        return values
    measured = values != 0  # with NaN, which is not equal to anything
    ones = values[measured]
    finite = bool(torch.isfinite(ones).all())
    if not finite or not bool((ones == ones[:1]).all()):
        got = f"{values.dtype} with other numbers" if finite else "NaN or infinity"
        raise BadInput("A mask of zeros and ones", got, "Save mask != 0")
    return measured


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
    r"""Prepares the images of a scan: choice of slices, oversampling, whitening, masks, coil maps.

    A slice whose samples are all zero is kept and marked as empty, and a warning names it.

    Args:
        kspace: Complex k-space.
        axes: The names of its axes, from slice, coil, z, y, x in this order.
        mask: The sampling mask, for all image axes or for the trailing ones; None finds the mask from the data.
        maps: Array (coils, \*image), the word ``auto`` (estimate them), or None for data without coils.
        only: The slice to take; None takes all.
        oversampling: The factor by which the image is cropped along the readout.
        readout: The readout axis, x or y.
        noise: Noise samples (coils, ...), with which the coils are whitened.
        centred: As in :func:`.reconstruct_kspace`.
        origin: As in :func:`.reconstruct_kspace`.
        device: The device to compute on.
        dtype: complex64 or complex128.

    Raises:
        BadInput: For arrays and options that do not fit together, and if all samples are zero.
    """
    data = tensor_of(kspace, "k-space").to(device=device, dtype=dtype)
    spatial = [a for a in axes if a in ("z", "y", "x")]
    dims, notes = len(spatial), list[str]()
    elsewhere = coil_axis_is_elsewhere(axes, np.shape(kspace))
    if elsewhere is not None:
        notes.append(f"{elsewhere}; if the axes are stored in another order, name them: --axes y,x,coil.")
    data, numbers = _chosen(data, axes, only)
    _check_coils(axes, maps, noise)
    if peak_is_central(data, dims) != centred:
        where, option = ("corner", "add --corner-dc") if centred else ("middle", "leave out --corner-dc")
        notes.append(f"The energy of k-space peaks in the {where}; if that is where zero frequency lies, {option}.")
    data = to_usual_origin(data, dims, centred=centred, origin=origin)
    stored = given = None if mask is None else _given_mask(mask, tuple(data.shape[data.ndim - dims :]))
    if given is not None:
        # To remove oversampling, readout lines must be whole.
        along = [axis for axis in spatial if oversampling == 1.0 or axis != readout]
        given, padding = without_padding(data, given, spatial, along, centred=centred)
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
    crop = None if oversampling == 1.0 else (oversampling, -1 if readout == "x" else -2)

    def ready(k: Tensor, number: int | None) -> Prepared | None:
        if not bool((k != 0).any()):
            return None
        # The mask is compared before the readout is cropped, which spreads rounding over samples that were zero.
        findings = MaskFindings() if given is None else judge_mask(k, given, stored)
        try:
            image = _prepare_image(k, given, maps if known is None else known, dims, centred, crop)
        except BadInput as error:
            # What is odd about the whole scan is the likelier reason, and so the better advice.
            raise BadInput(error.needed, error.got, " ".join([*notes, error.do])) from error
        notes_, doubts = findings.notes + image.notes, findings.doubts + image.doubts
        return replace(image, number=number, notes=notes_, doubts=doubts)

    filled = [ready(k, n) for n, k in zip(numbers, data, strict=True)]
    full = [image for image in filled if image is not None]
    if full:  # an empty slice has the samples of all others
        sampled = torch.stack([image.mask for image in full if image.mask is not None]).any(dim=0)
        images = with_empty(filled, numbers, fourier_samples(sampled, full[0].maps), notes)
    else:
        images = with_empty(filled, numbers, None, notes)
    # If zero frequency is not where it is said to be, the images say nothing.
    if peak_is_central(data, dims) == centred and is_split([image.measured for image in images], dims):
        usual = "middle" if centred else "corner"
        other = "corner" if (origin or usual) == "middle" else "middle"
        option = f"add --image-origin {other}" if other != usual else f"leave out --image-origin {origin}"
        said = "The object lies around the borders of the image, as if cut in four"
        notes.append(f"{said}; to put it together, {option}.")
    doubts = _once(images, lambda image: image.doubts)
    return ScanData(images, notes + _once(images, lambda image: image.notes) + doubts, doubts)


def _chosen(data: Tensor, axes: Sequence[str], only: int | None) -> tuple[Tensor, list[int | None]]:
    """Returns the slices that are asked for, and their numbers; data without slices become one without a number."""
    if "slice" not in axes:
        if only is not None:
            raise BadInput("A file with several slices for --slice", f"axes {', '.join(axes)}", "Leave --slice out")
        return data[None], [None]
    return chosen_slices(data, only)


def _check_coils(axes: Sequence[str], maps: object, noise: object) -> None:
    """Refuses several coils without coil maps, and coil maps or noise without several coils."""
    if "coil" in axes and maps is None:
        do = "Estimate them from the data with --maps auto, or pass a file"
        raise BadInput("Coil maps for multi-coil data", "none", do)
    if "coil" not in axes and (maps is not None or noise is not None):
        do = "Leave --maps and --noise out, or name the coil axis with --axes"
        raise BadInput("Multi-coil data for coil maps or noise", f"axes {', '.join(axes)}", do)


def _once(images: list[Prepared], of: Callable[[Prepared], tuple[str, ...]]) -> list[str]:
    """Returns each sentence once; if it does not hold for all slices, it says for how many it holds."""
    found, every = Counter(sentence for image in images for sentence in of(image)), len(images)
    return [s if n == every else f"{s} ({n} of {every} slices)" for s, n in found.items()]


def _given_mask(mask: NDArray[Any], grid: tuple[int, ...]) -> Tensor:
    """Returns a mask from a file (see :func:`binary_mask`) on the grid; it may have only the trailing axes of the grid.

    Axes of length 1 beyond those of the grid are dropped, first leading and then trailing ones, since patterns of BART
    have such axes.
    """
    found = binary_mask(mask)
    while found.ndim > len(grid) and 1 in (found.shape[0], found.shape[-1]):
        found = found[0] if found.shape[0] == 1 else found[..., 0]
    try:
        return found.expand(grid)
    except RuntimeError:
        do = "Give a mask on the grid of k-space"
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
    given: Tensor | None,
    maps: Tensor | NDArray[Any] | str | None,
    dims: int,
    centred: bool,
    crop: tuple[float, int] | None,
) -> Prepared:
    """Prepares one image; ``crop`` is the oversampling to remove, and the readout axis."""
    mask = given
    if crop is not None:
        k, mask = _crop_readout(k, given, *crop, dims, centred)
    if isinstance(maps, Tensor) and maps.shape != k.shape:
        do = "Give one map for each coil, on the grid of the image (after --remove-oversampling)"
        raise BadInput(f"Coil maps of shape {tuple(k.shape)}", f"{tuple(maps.shape)}", do)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DoubtfulInput)  # judge_mask has found the same
        y, operator = prepare(k, mask, dims=dims, centred=centred)
    m = operator.mask
    notes = judge_inferred(y, m, maps is not None).notes if given is None else ()
    if maps is None:
        return Prepared(y, operator, "none", torch.zeros(m.shape, dtype=torch.bool), notes=notes)
    found = CoilMaps(maps, "from a file") if isinstance(maps, Tensor) else estimate_maps(y * m, m)
    share, doubt = judge_maps(y, m, found.maps, found.method)
    nowhere = (found.maps == 0).all(dim=0).cpu()
    operator, doubts = fourier_samples(m, found.maps), () if doubt is None else (doubt,)
    return Prepared(y, operator, found.method, nowhere, share, notes, doubts, maps=found.maps)
