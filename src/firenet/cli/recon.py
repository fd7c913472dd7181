"""``firenet recon``: an image from undersampled k-space, with its certificate."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from firenet.cli import console, scans
from firenet.cli.options import (
    Axes,
    CornerDC,
    Data,
    Device,
    Dtype,
    ImageOrigin,
    Json,
    Key,
    LamOrAuto,
    Maps,
    MaskFile,
    NoiseFile,
    NoiseLevel,
    Oversampling,
    Overwrite,
    Slice,
    Sparsify,
    Threads,
    WaveletName,
    check_limits,
    check_problem,
    parse_lam,
    parse_noise_level,
    schedule_for,
    set_threads,
)
from firenet.errors import DoubtfulInput

if TYPE_CHECKING:
    from firenet.mri.scan import Prepared, ScanData


@console.reports
def recon(
    data: Data,
    out: Annotated[
        Path,
        typer.Option("-o", "--out", help="Image: .npy (complex), .png, .nii, .nii.gz or .cfl.", show_default=False),
    ],
    mask: MaskFile = None,
    maps: Maps = None,
    sparsify: Sparsify = None,
    wavelet: WaveletName = None,
    lam: LamOrAuto = None,
    noise_level: NoiseLevel = None,
    layers: Annotated[
        int,
        typer.Option(
            "--layers",
            help="The most layers in all, shared by the rounds of --reweight. --schedule fixed runs so many, "
            "paper so many rounded down to a multiple of ten.",
        ),
    ] = 2000,
    tolerance: Annotated[
        float | None,
        typer.Option(
            "--tolerance",
            help="Stop once the objective is proved to be at most this share above the minimum (the relative gap); "
            "exit code 3 if that is not reached. Default: 0.001.",
        ),
    ] = None,
    schedule: Annotated[
        str, typer.Option("--schedule", help="adaptive (finds its own steps), radial, paper or fixed.")
    ] = "adaptive",
    reweight: Annotated[
        int | None,
        typer.Option(
            "--reweight",
            help="Solve again so many times, weighted by the image before; slower, sharper. Default: 1, unless "
            "there is noise; orthonormal, fixed schedules 0.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be computed and the memory it takes, and stop.")
    ] = False,
    slice_: Slice = None,
    axes: Axes = None,
    key: Key = None,
    corner_dc: CornerDC = False,
    image_origin: ImageOrigin = None,
    remove_oversampling: Oversampling = False,
    noise: NoiseFile = None,
    device: Device = "cpu",
    dtype: Dtype = "complex64",
    threads: Threads = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Reconstruct an image from undersampled k-space, with its duality gap.

    Beside the image a JSON record of the run is written (OUT with the suffix .json). Exit code 3: the image is written,
    but a tolerance was not reached, or the data contradict mask or coil maps.
    """
    from firenet.cli.scans import Outcome, Source
    from firenet.io.files import check_beside, check_output, write_image, write_json
    from firenet.io.safely import together
    from firenet.mri.choose_lambda import choose_lambda, draw
    from firenet.mri.reconstruct import TOLERANCE, rounds
    from firenet.solver.schedules import Searched
    from firenet.solver.solution import Solution

    check_output(out)
    source = Source(
        data, mask, maps, slice_, axes, key, corner_dc, image_origin, remove_oversampling, noise, device, dtype
    )
    auto, value = parse_lam(lam)
    level = parse_noise_level(noise_level, lam)
    plot = scans.beside(out).with_suffix(".lam.png")
    besides = [scans.beside(out), *([plot] if auto else [])]
    scans.check_overwriting([out, *besides], source.files)
    if not dry_run:
        for path in besides:
            check_beside(path, overwrite=overwrite)
    set_threads(threads)
    transform = check_problem(sparsify, wavelet, value)
    check_limits(layers, tolerance, reweight)
    plan = schedule_for(schedule, layers, tolerance)  # refuses before anything is read
    scan, job = scans.read(source)
    if dry_run:
        _dry_run(job, transform, reweight, as_json)
        return
    scans.check_noise_level(level, job, whitened=noise is not None)
    scans.warn(job.warnings)  # now, for to solve may take long
    told = len(job.warnings)
    sweep = None
    if auto:
        full = [image for image in job.images if not image.empty]
        chosen = full[len(full) // 2]
        which = "lambda" if len(job.images) == 1 else f"lambda, on slice {chosen.number}"
        with console.progress(which) as progress:
            sweep = choose_lambda(chosen.y, chosen.mask, chosen.maps, sparsify=transform, progress=progress)
        value = sweep.best
    searching = schedule in ("adaptive", "radial")

    def solve(image: Prepared, progress: Callable[..., None]) -> Outcome:
        seen = image.y * image.mask
        net = scans.network(image, transform, value, plan(seen), level(seen))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DoubtfulInput)  # said before, in the words of this command
            found = rounds(net, image.y, reweight, tolerance=None if searching else tolerance, progress=progress)
        each = [(r.solution.relative_gap.item(), int(r.solution.layers)) for r in found]
        # Image and numbers: the duals of all slices would be ten times as large.
        last = found[-1].solution
        kept = replace(last, coefficients=last.image, dual=last.gap, dual_sparse=None)
        scans.check_finite(last.image, seen, net.lam)
        ended = found[-1].ended
        return Outcome(image, last.image, kept, net, found[-1].net, sum(layers for _, layers in each), each, ended)

    outcomes = scans.each(job, "reconstruction", solve)
    images = scans.stack([outcome.image for outcome in outcomes])
    hidden = scans.stack([image.undetermined for image in job.images])
    if out.suffix.lower() not in (".npy", ".cfl", ".hdr"):
        images = abs(images) * ~hidden  # what is only looked at shows nothing where nothing is known
    spatial = [a for a in scan.axes if a in ("z", "y", "x")]
    several = len(job.images) > 1
    voxels = scan.voxel_size
    if several and voxels is not None and scan.slice_thickness is not None and len(voxels) == 2:
        voxels = (scan.slice_thickness, *voxels)
    words = scans.description(source, scan, job)
    record = scans.record(source, scan, job, outcomes)
    for result, outcome in zip(record["results"], outcomes, strict=True):
        if isinstance(outcome.found, Solution) and isinstance(outcome.found.schedule, Searched):
            result["steps"] = [vars(run) for run in outcome.found.schedule.runs[0]]
    most = max(len(outcome.rounds) for outcome in outcomes)
    if most > 1:
        again = "min |w W x|_1 subject to |A x - y|_2 <= the result's noise level, w from the image before"
        record["problem"] = f"{record['problem']}; then {most - 1} x {again}"
    record |= {
        "seconds": [outcome.seconds for outcome in outcomes],
        "schedules": [None if outcome.asked is None else repr(outcome.asked.schedule) for outcome in outcomes],
        "tolerance": TOLERANCE if tolerance is None and searching else tolerance,
        "image": str(out),
    }
    if sweep is not None:
        if sweep.at_the_edge:
            record["warnings"].append(f"lambda {sweep.best:.2g} is an end of the grid: a better one may lie beyond.")
        record |= {"lam_sweep": vars(sweep), "lam_plot": str(plot)}
    named = [*(["slice"] if several else []), *spatial]
    with together():
        write_image(out, images, voxel_size=voxels, axes=named, description=words)
        if sweep is not None:
            draw(sweep, plot)
        write_json(scans.beside(out), record)
    scans.show(record, as_json, f"wrote {out}", told=told)
    missed = [r for r in record["results"] if r["status"] not in ("tolerance reached", scans.EMPTY)]
    if tolerance is not None and missed:
        precision = " (--dtype complex128)" if missed[0]["status"] == "precision limit" else ""
        console.say(f"the tolerance {tolerance:g} was not reached. {missed[0]['advice']}{precision}", err=True)
    never = ("does not fit the data", "no image fits")
    unfit = noise_level is not None and any(r["status"] in never for r in record["results"])
    if unfit:
        console.say(
            "no image was found that fits the data up to the noise level; the image is the nearest seen", err=True
        )
    if unfit or (tolerance is not None and missed):
        raise typer.Exit(console.NOT_REACHED)
    scans.end(job)


def _dry_run(job: ScanData, transform: str | None, reweight: int | None, as_json: bool) -> None:
    from firenet.solver.memory import peak_bytes

    scans.warn(job.warnings)
    images: list[dict[str, Any]] = []
    for image in job.images:
        peak = 0
        if not image.empty:
            net = scans.network(image, transform)
            peak = peak_bytes(net.problem, image.y, again=reweight != 0)
        images.append({"slice": image.number, "shape": list(image.y.shape), "peak_bytes": peak})
    record = {"images": images, "peak_bytes": max(i["peak_bytes"] for i in images), "estimate": True}
    if as_json:
        console.print_json(record)
        return
    rows = [
        [scans.name_of(i["slice"]), " x ".join(map(str, i["shape"])), f"{i['peak_bytes'] / 2**20:.0f} MiB"]
        for i in images
    ]
    console.table("one image after the other; memory beside the data, an estimate", ["slice", "data", "peak"], rows)
    console.say("nothing was computed")
