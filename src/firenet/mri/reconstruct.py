"""Reconstruction of arrays of k-space: images, each with a certificate.

Centred k-space is brought to the library's convention once, before the network: it is shifted so that zero frequency
lies in the corner, and multiplied by the phase ramp that keeps the image centred. So no layer shifts anything, and an
object in the middle of the picture stays in one piece.
"""

from __future__ import annotations

import warnings
from dataclasses import fields, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from firenet.errors import DoubtfulInput
from firenet.mri.evidence import judge_maps
from firenet.mri.kspace import Origin, to_usual_origin
from firenet.mri.scan import binary_mask, prepare
from firenet.numerics import tensor_of
from firenet.operators.linear import LinearOperator
from firenet.reconstruction.reconstruct import reconstruct
from firenet.sensing.fourier import MultiCoilFourier
from firenet.solver.schedules import Schedule, Searched
from firenet.solver.solution import Progress, Solution
from firenet.sparsity import SparsityLevels


def reconstruct_kspace(
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
    progress: Progress | None = None,
) -> Solution:
    """Reconstructs images from undersampled k-space, each with a duality gap.

    Args:
        kspace: Complex, shape (..., \\*image) or with maps (..., coils, \\*image); leading axes are batch.
        mask: The sampling mask, shape of the image, or one for each item of the batch, shape (..., \\*image). None
            finds that of each item from its data: a frequency counts as sampled if any coil is not zero there.
        maps: Coil maps, shape (coils, \\*image), centred like the image; None is one channel.
        dims: Number of image axes, 1 to 3.
        centred: Whether k-space, mask and image have their origin in the middle, as in files. If not, k-space and mask
            have zero frequency in the corner and the image is ``ifftn`` of k-space.
        origin: The pixel of the image that has phase zero at every frequency, ``middle`` or ``corner``. None is the one
            that ``centred`` implies. Pass it for k-space that was only shifted: ``ifftshift(kspace)`` of a centred file
            has zero frequency in the corner, but its origin is still the ``middle``.
        sparsify: As in :func:`.transform`.
        weights: As in :class:`.Firenet`.
        lam: As in :class:`.Firenet`.
        noise: As in :class:`.Firenet`: a bound of the noise's 2-norm over all samples of an image.
        schedule: None is :func:`.default_schedule`, which finds its own steps.
        tolerance: Stop once the relative gap is at most this. None is 1e-3 for the default schedule; a fixed schedule
            then runs to its end. A searching schedule that is given has its own tolerance, and this must be None.
        reweight: Rounds of reweighting (:func:`.reweighted`); objective and gap are those of the last round's problem.
            None is the default of :func:`.rounds` for one image, and 0 for a batch.
        progress: Called with the number of layers done, the largest number possible, and the relative gap, or None
            where it is not known.

    Returns:
        The solution; ``image`` has its origin in the middle if ``centred``; ``dual`` has zero frequency in the corner.

    Raises:
        BadInput: As :func:`.prepare` and :func:`.reconstruct`.
    """
    if origin is not None:
        kspace = to_usual_origin(tensor_of(kspace, "k-space"), dims, centred=centred, origin=origin)

    posed = partial(reconstruct, sparsify=sparsify, weights=weights, lam=lam, noise=noise)
    solve = partial(posed, schedule=schedule, tolerance=tolerance, reweight=reweight)
    axes = dims + (maps is not None)
    groups = _groups(kspace, mask, dims, axes)
    if groups is None:
        y, operator = prepare(kspace, mask, maps, dims=dims, centred=centred)
        _check_maps(y, operator)
        return solve(y, operator, progress=progress)
    data = tensor_of(kspace, "k-space")
    batch, items = data.shape[: data.ndim - axes], data.flatten(0, data.ndim - axes - 1)
    found = []
    for number, (own, which) in enumerate(groups):
        y, operator = prepare(items[which], own, maps, dims=dims, centred=centred)
        _check_maps(y, operator)
        found.append(solve(y, operator, progress=_shifted(progress, number, len(groups))))
    return _together(found, [which for _, which in groups], batch)


def _shifted(progress: Progress | None, number: int, count: int) -> Progress | None:
    """Returns a function that takes the progress of one of several equal parts and reports that of the whole."""
    return None if progress is None else lambda done, most, gap: progress(number * most + done, count * most, gap)


def _groups(
    kspace: Tensor | NDArray[Any], mask: Tensor | NDArray[Any] | None, dims: int, axes: int
) -> list[tuple[Tensor, list[int]]] | None:
    """Returns the different masks of a batch, each with the items that have it.

    Returns None if all items share one mask, and for arrays that :func:`prepare` refuses.
    """
    y = tensor_of(kspace, "k-space")
    if not 1 <= dims <= 3 or y.ndim <= axes or 0 in y.shape:
        return None
    if mask is None:
        own = (y != 0).flatten(0, y.ndim - axes - 1)
        own = own.any(dim=1) if axes > dims else own
        # An item without any sample gets the mask of the others: its image is zero.
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


def _check_maps(y: Tensor, operator: LinearOperator) -> None:
    """Warns of coil maps that explain the data badly, and refuses those that hardly explain them."""
    if not isinstance(operator, MultiCoilFourier):
        return
    _, doubt = judge_maps(y, operator.mask, operator.maps, "given")
    if doubt is not None:
        warnings.warn(doubt, DoubtfulInput, stacklevel=3)


def _together(parts: list[Solution], items: list[list[int]], batch: torch.Size) -> Solution:
    """Joins the solutions of the parts of a batch; ``items`` are the parts' positions in the flattened batch."""
    order = np.argsort(np.concatenate([np.asarray(which) for which in items]))

    def joined(values: list[Any]) -> Any:
        first = values[0]
        if isinstance(first, Tensor):
            together = torch.cat(values)
            return together[torch.from_numpy(order).to(together.device)].view(*batch, *together.shape[1:])
        if isinstance(first, Searched):
            return Searched(joined([v.runs for v in values]), first.start)
        if isinstance(first, tuple):
            every = [entry for value in values for entry in value]
            # There is one entry for each item, or the entries hold for all of them.
            return tuple(every[k] for k in order) if len(every) == len(order) else first
        return first  # a fixed schedule, or None

    return replace(parts[0], **{f.name: joined([getattr(p, f.name) for p in parts]) for f in fields(Solution)})
