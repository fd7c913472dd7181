"""From k-space to an image with a certificate: what ``firenet recon`` calls.

Arrays as they come from files and scanners go in. Centred k-space is brought to the library's convention once, before
the network: shifted to put zero frequency in the corner and multiplied by the phase ramp that keeps the image centred,
so that no layer shifts anything and an object in the middle of the picture stays in one piece.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from firenet.certificate import Certificate, certify
from firenet.errors import BadInput, DoubtfulInput
from firenet.mri.evidence import (
    judge_maps,
)
from firenet.mri.kspace import Origin, to_usual_origin
from firenet.mri.scan import binary_mask, prepare
from firenet.network import Firenet
from firenet.numerics import norms, tensor_of
from firenet.operators.linear import LinearOperator
from firenet.reweighting import Round, reweighted
from firenet.sensing.fourier import MultiCoilFourier, SubsampledFourier
from firenet.solver.adaptive import AdaptiveRestarts
from firenet.solver.schedules import PaperSchedule, Schedule, Searched, searches
from firenet.solver.solution import Solution
from firenet.sparsity import SparsityLevels
from firenet.transforms.spec import transform

RESTARTS = 10
TOLERANCE = 1e-3
# Where fewer coefficients than this share of the samples stand out of the noise, reweighting is left out.
ENOUGH = 0.5
# The share of the residual that reweighting keeps where AA* = I. Coil maps are never exact: they keep all.
KEEP = 0.2


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
        budget: As in :func:`.certify`.
        progress: Likewise.
    """
    if not torch.isfinite(torch.view_as_real(image) if image.is_complex() else image).all():
        raise BadInput("A finite image", "NaN or infinity", "Check the file")
    with torch.no_grad():
        z = image if net.sparsify is None or net.form == "analysis" else net.sparsify(image)
    return certify(net.problem, z, y, budget=budget, progress=progress)
