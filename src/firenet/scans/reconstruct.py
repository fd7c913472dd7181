"""Reconstruction and certification of the images of a scan."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from firenet.errors import BadInput, DoubtfulInput
from firenet.guarantees.constants import Constants
from firenet.guarantees.guarantee import Guarantee
from firenet.io.safely import AnyPath
from firenet.numerics import real_view
from firenet.problems.penalty import check_lam
from firenet.reconstruction.choice import choose, more_bands
from firenet.reconstruction.defaults import TOLERANCE, default_network, rounds, schedule_named
from firenet.reconstruction.prepared import Prepared, ScanData
from firenet.reconstruction.reconstruct import certify_image
from firenet.scans.noise_level import check_noise_level, noise_level as noise_level_of
from firenet.scans.record import Reconstruction
from firenet.scans.side_by_side import side_by_side
from firenet.scans.source import Source
from firenet.solver.memory import available_bytes, peak_bytes
from firenet.solver.schedules import searches
from firenet.transforms.spec import transform

FEWEST = 100  # layers for which it pays to choose
# Tomograms: total variation without reweighting, the fastest on the measured one (docs/scans.md). A round of
# reweighting does not converge there within the usual layers, and drafts are too short to choose.
_TOMOGRAM = "tv"
# Called with what is being done, how much of it is done, how much there is at most, and the relative gap if known.
Progress = Callable[[str, int, int, "float | None"], None]


def reconstruct_scan(
    data: AnyPath | Source | ScanData,
    *,
    sparsify: str | None = None,
    lam: float | None = None,
    noise_level: str | float | None = None,
    schedule: str = "adaptive",
    layers: int | None = None,
    tolerance: float | None = None,
    reweight: int | None = None,
    fixed: bool = False,
    one: bool = False,
    progress: Progress | None = None,
    notify: Callable[[str], None] | None = None,
) -> list[Reconstruction]:
    """Reconstructs every image of a scan, each with a certificate, as ``firenet recon`` does.

    Args:
        data: A file of k-space with its options (:class:`.Source`), its path alone, or arrays that
            :func:`.prepare_scan` has made ready.
        sparsify: As in :func:`.transform`.
        lam: The regularisation parameter.
        noise_level: The 2-norm of the noise, up to which the data are fitted instead of choosing lambda: a number, or a
            share of the norm of the data such as ``5%``.
        schedule: ``adaptive``, ``radial``, ``paper`` or ``fixed``.
        layers: The largest number of layers for each image; None is 2000.
        tolerance: The relative gap to stop at. If None, it is 1e-3, except that a fixed schedule runs to its end.
        reweight: Rounds of reweighting.
        fixed: Whether the transform, lambda and rounds that are not given are the fixed defaults of
            :func:`.default_network` and :func:`.rounds`. If false, they are chosen by :func:`.choose`, on the middle
            slice for all, unless the schedule is a fixed one or has fewer than 100 layers, which are less than the
            choice takes. For tomograms they are always fixed: total variation, and no reweighting.
        one: Whether to refuse a scan of several slices.
        progress: Called with the name of the present step, how much of it is done, how much there is at most, and the
            relative gap if it is known.
        notify: Called with each warning about the data as soon as it is known; None issues a
            :class:`.DoubtfulInput` warning.

    Returns:
        One :class:`.Reconstruction` for each image, in the order of the slices; :func:`.scan_record` makes their
        record.

    Raises:
        BadInput: For files and options that cannot be used.
    """
    _check_problem(sparsify, lam, noise_level)
    _check_limits(schedule, layers, tolerance, reweight)
    level = noise_level_of(noise_level)
    scan = scan_of(data, progress)
    if one and len(scan.images) > 1:
        raise BadInput("One image", f"{len(scan.images)} slices", "Choose one with --slice")
    check_noise_level(level, scan, whitened=isinstance(data, Source) and data.noise is not None)
    tell_warnings(scan, notify)
    sparsify, reweight, fixed = _usual(scan, sparsify, reweight, fixed)
    given = sparsify is not None and (lam is not None or noise_level is not None) and reweight is not None
    full = [image for image in scan.images if not image.empty]
    few = layers is not None and layers < FEWEST
    choice = None
    if full and not (fixed or given or few or schedule not in ("adaptive", "radial")):
        middle = full[len(full) // 2]
        which = "choice of a setting" if len(scan.images) == 1 else f"choice of a setting, on slice {middle.number}"
        known = {"sparsify": sparsify, "lam": lam, "noise": level(middle.measured), "reweight": reweight}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DoubtfulInput)  # they will be told of the whole data
            choice = choose(middle.y, middle.operator, **known, progress=_named(progress, which))
    setting = None if choice is None else choice.best

    def solve(image: Prepared, progress: Callable[..., None] | None) -> Reconstruction:
        seen = image.measured
        plan = schedule_named(schedule, layers, tolerance, seen)
        posed: dict[str, Any] = {"lam": lam, "noise": level(seen), "schedule": plan}
        asked = None if searches(plan) else tolerance
        if setting is None:
            net = default_network(image.operator, sparsify=sparsify, **posed).to(image.y.device)
            found = rounds(net, image.y, reweight, tolerance=asked, progress=progress)
        else:
            net = setting.network(image.operator, **posed).to(image.y.device)
            found = setting.solve(net, image.y, progress=progress)
        each = [(r.solution.relative_gap.item(), int(r.solution.layers)) for r in found]
        last = found[-1].solution
        _check_finite(last.image, seen, net.lam)
        kept = replace(last, coefficients=last.image, dual=last.dual.new_empty(0), dual_sparse=None)
        made = Reconstruction(scan, image, last.image, kept, net, found[-1].net, sum(n for _, n in each), each)
        goal = TOLERANCE if tolerance is None and searches(plan) else tolerance
        return replace(made, ended=found[-1].ended, tolerance=goal, choice=choice)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DoubtfulInput)  # these were told before, with the name of the slice
        return _each(scan, "reconstruction", solve, progress, sparsify if setting is None else setting.sparsify)


def certify_scan(
    data: AnyPath | Source | ScanData,
    image: np.ndarray,
    *,
    sparsify: str | None = None,
    lam: float | None = None,
    noise_level: str | float | None = None,
    layers: int = 500,
    constants: Constants | None = None,
    perturbation: float | None = None,
    promised_gap: float | None = None,
    verified: bool = False,
    progress: Progress | None = None,
    notify: Callable[[str], None] | None = None,
) -> list[Reconstruction]:
    """Certifies an image from any source against the data of a scan, as ``firenet certify`` does.

    Args:
        data: As in :func:`reconstruct_scan`.
        image: The image, with an axis of slices where there are several.
        sparsify: The transform of the problem that the image is meant to solve.
        lam: The lambda of that problem.
        noise_level: The noise level of that problem.
        layers: The largest number of iterations that search for a dual point.
        constants: The constants of the null space property with weights of one; the operator of every image must have
            this property. They need the next two arguments and an orthonormal transform, and give the records bounds
            of the distance to other reconstructions.
        perturbation: As in :func:`.certify`, in the unit of the data.
        promised_gap: As in :func:`.certify`.
        verified: As in :func:`.certify`.
        progress: As in :func:`reconstruct_scan`.
        notify: As in :func:`reconstruct_scan`.

    Returns:
        One :class:`.Reconstruction` for each image, in the order of the slices.

    Raises:
        BadInput: For files and options that cannot be used, and for an image that does not belong to the data.
    """
    _check_problem(sparsify, lam, noise_level)
    if layers < 0:
        raise BadInput("--layers: zero layers or more", f"{layers}", "500 is the default")
    level, scan = noise_level_of(noise_level), scan_of(data, progress)
    several = len(scan.images) > 1
    shape = (len(scan.images), *scan.images[0].operator.in_shape)
    pixels = image if several else image[None]
    if pixels.shape != shape:
        needed = f"An image of shape {shape if several else shape[1:]}"
        raise BadInput(needed, f"{image.shape}", "Certify the image that belongs to these data")
    sparsify = _usual(scan, sparsify, None, True)[0]
    real = not scan.images[0].y.is_complex()
    if real and image.dtype.kind == "c":
        do = "Certify the real image that belongs to these data"
        raise BadInput(f"A real image, as the {scan.kind} are real", f"{image.dtype}", do)
    if not real and image.dtype.kind != "c":
        scan.warnings.append("The image is real: if its phase was lost, the gap is large for that reason alone.")
    check_noise_level(level, scan, whitened=isinstance(data, Source) and data.noise is not None)
    tell_warnings(scan, notify)
    given = {id(part): torch.from_numpy(x) for part, x in zip(scan.images, pixels, strict=True)}
    for part in scan.images:
        if part.empty and bool((given[id(part)] != 0).any()):
            needed = f"An image of zeros for slice {part.number}, whose data are zero"
            raise BadInput(needed, "another one", "Certify the image that belongs to these data")

    def solve(part: Prepared, progress: Callable[..., None] | None) -> Reconstruction:
        net = default_network(part.operator, sparsify=sparsify, lam=lam, noise=level(part.measured))
        x = given[id(part)].to(device=part.y.device, dtype=part.y.dtype)
        known = None if constants is None else Guarantee(part.operator, constants, net.sparsify)
        bounds: dict[str, Any] = {"perturbation": perturbation, "promised_gap": promised_gap, "guarantee": known}
        bounds["verified"] = verified
        found = certify_image(x, net.to(part.y.device), part.y, budget=layers, **bounds, progress=progress)
        return Reconstruction(scan, part, x, found, net, net, int(found.layers))

    return _each(scan, "certificate", solve, progress, sparsify)


def memory_of_scan(
    data: AnyPath | Source | ScanData,
    *,
    sparsify: str | None = None,
    reweight: int | None = None,
    fixed: bool = False,
) -> list[tuple[Prepared, int]]:
    """Returns the images of a scan, each with an estimate in bytes of the memory that its reconstruction takes.

    The memory of the data is not included. The estimate for an empty slice is 0. The arguments are those of
    :func:`reconstruct_scan`.
    """
    found = []
    scan = scan_of(data)
    sparsify, reweight, fixed = _usual(scan, sparsify, reweight, fixed)
    for image in scan.images:
        name = more_bands(image.operator) if sparsify is None and not fixed else sparsify
        problem = None if image.empty else default_network(image.operator, sparsify=name).problem
        found.append((image, 0 if problem is None else peak_bytes(problem, image.y, again=reweight != 0)))
    return found


def _usual(
    scan: ScanData, sparsify: str | None, reweight: int | None, fixed: bool
) -> tuple[str | None, int | None, bool]:
    """Returns the transform, the rounds and whether they are fixed, with what is usual for the kind of the scan."""
    if scan.kind != "sinogram":
        return sparsify, reweight, fixed
    return _TOMOGRAM if sparsify is None else sparsify, 0 if reweight is None else reweight, True


def scan_of(data: AnyPath | Source | ScanData, progress: Progress | None = None) -> ScanData:
    """Returns the scan, after reading it if it is a file."""
    if isinstance(data, ScanData):
        return data
    source = data if isinstance(data, Source) else Source(Path(data))
    if progress is not None:
        progress("reading and coil maps" if source.maps == "auto" else "reading", 0, 0, None)
    return source.read()


def tell_warnings(scan: ScanData, notify: Callable[[str], None] | None) -> None:
    """Issues the warnings of a scan."""
    for sentence in scan.warnings:
        if notify is None:
            warnings.warn(sentence, DoubtfulInput, stacklevel=3)
        else:
            notify(sentence)


def _each(
    scan: ScanData,
    what: str,
    solve: Callable[[Prepared, Callable[..., None] | None], Reconstruction],
    progress: Progress | None,
    sparsify: str | None,
) -> list[Reconstruction]:
    """Solves each image, as many side by side as torch has threads and half of the free memory allows.

    The image of an empty slice is zero.
    """
    images = scan.images

    def one(image: Prepared, tell: Callable[..., None] | None) -> Reconstruction:
        if image.empty:
            return Reconstruction(scan, image, torch.zeros(image.operator.in_shape, dtype=image.y.dtype))
        start = time.perf_counter()
        made = solve(image, tell)
        return replace(made, seconds=time.perf_counter() - start)

    def told(k: int) -> Callable[..., None] | None:
        name = f"slice {images[k].number}, {k + 1} of {len(images)}" if len(images) > 1 else what
        return _named(progress, name)

    on_cpu = all(image.y.device.type == "cpu" for image in images)
    workers = min(torch.get_num_threads(), sum(not image.empty for image in images)) if on_cpu else 1
    free = available_bytes() if workers > 1 else None
    if free is not None:
        largest = max((image for image in images if not image.empty), key=lambda image: image.y.numel())
        problem = default_network(largest.operator, sparsify=sparsify).problem
        workers = max(min(workers, free // (2 * peak_bytes(problem, largest.y, again=True))), 1)
    return side_by_side(one, images, workers, told)


def _named(progress: Progress | None, what: str) -> Callable[..., None] | None:
    """Returns a progress function for :class:`.Firenet`, which adds the name of the step."""
    if progress is None:
        return None
    return lambda done, most, gap=None: progress(what, done, most, gap)


def _check_problem(sparsify: str | None, lam: float | None, noise_level: str | float | None) -> None:
    """Refuses a problem that does not make sense, before anything is read."""
    if noise_level is not None and lam is not None:
        raise BadInput("One of --lam and --noise-level", "both", "With a noise level there is no lambda")
    transform(sparsify, (2**20,))
    check_lam(1.0 if lam is None else lam)


def _check_limits(schedule: str, layers: int | None, tolerance: float | None, reweight: int | None) -> None:
    """Refuses limits that do not make sense, before anything is read."""
    if layers is not None and layers < 1:
        raise BadInput("--layers: at least one layer", f"{layers}", "2000 are the default of recon; most need fewer")
    if tolerance is not None and not 0 < tolerance < 1:
        do = "1e-2 suffices to view the image, 1e-4 to prove optimality"
        raise BadInput("--tolerance: a relative gap between 0 and 1", f"{tolerance}", do)
    if reweight is not None and reweight < 0:
        raise BadInput("--reweight: a number of rounds, zero or more", f"{reweight}", "1 or 2 are usual")
    if reweight is not None and layers is not None and layers <= reweight:
        got = f"--layers {layers} for {reweight + 1} rounds, including the first"
        raise BadInput("At least one layer for every round", got, "Allow more layers, or fewer rounds")
    schedule_named(schedule, layers, tolerance, torch.ones(1))


def _check_finite(image: Tensor, y: Tensor, lam: float) -> None:
    """Refuses an image that is not finite. Since the data are finite, they or lambda must be too large or too small.

    Raises:
        BadInput: If the image is not finite.
    """
    if not torch.isfinite(real_view(image)).all():
        size, dtype = f"{y.abs().max().item():.2g}", str(y.dtype).removeprefix("torch.")
        do = "Scale the data, choose another lambda, or compute with --dtype complex128"
        raise BadInput(f"Numbers that {dtype} can compute with", f"samples of up to {size}, lambda = {lam:.2g}", do)
