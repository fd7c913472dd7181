"""``firenet export``: a network as an ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from firenet.cli import console, scans
from firenet.cli.options import (
    Axes,
    CornerDC,
    Data,
    ImageOrigin,
    Json,
    Key,
    Lam,
    Maps,
    MaskFile,
    NoiseFile,
    Oversampling,
    Overwrite,
    Slice,
    Threads,
    check_limits,
    check_problem,
    schedule_for,
    set_threads,
)
from firenet.errors import BadInput

if TYPE_CHECKING:
    pass


@console.reports
def export(
    data: Data,
    out: Annotated[Path, typer.Option("-o", "--out", help="The network, .onnx.", show_default=False)],
    mask: MaskFile = None,
    maps: Maps = None,
    wavelet: Annotated[str, typer.Option("--wavelet", help="Orthonormal, as in recon.")] = "db4",
    lam: Lam = None,
    layers: Annotated[
        int, typer.Option("--layers", help="The most layers, in all; each takes about a second to write.")
    ] = 200,
    tolerance: Annotated[
        float,
        typer.Option(
            "--tolerance", help="Relative gap, the share above the minimum, that the layers are to prove; exit code 3."
        ),
    ] = 1e-2,
    slice_: Slice = None,
    axes: Axes = None,
    key: Key = None,
    corner_dc: CornerDC = False,
    image_origin: ImageOrigin = None,
    remove_oversampling: Oversampling = False,
    noise: NoiseFile = None,
    threads: Threads = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Find the steps for these data, freeze them, and write the feed-forward network as an ONNX file (extra export).

    The file takes measurements with zero frequency in the corner, complex numbers as pairs of reals on the last axis;
    it is compared with the network before it is put in place. One image at a time: --slice.
    """
    from firenet.cli.scans import Outcome, Source
    from firenet.export.onnx_file import check_export, export_onnx
    from firenet.io.files import check_beside, write_json
    from firenet.io.safely import together
    from firenet.solver.schedules import Searched
    from firenet.solver.solution import Status

    source = Source(data, mask, maps, slice_, axes, key, corner_dc, image_origin, remove_oversampling, noise)
    scans.check_overwriting([out, scans.beside(out)], source.files)
    check_export(out)  # refuses before anything is read
    check_beside(scans.beside(out), overwrite=overwrite)
    set_threads(threads)
    transform = check_problem(None, wavelet, lam)
    check_limits(layers, tolerance)
    plan = schedule_for("adaptive", layers, tolerance)
    scan, job = scans.read(source)
    if len(job.images) > 1:
        raise BadInput("One image", f"{len(job.images)} slices", "Choose one with --slice")
    scans.warn(job.warnings)
    told = len(job.warnings)
    image = job.images[0]
    net = scans.network(image, transform, lam, plan(image.y))
    with console.progress("finding the steps") as progress:
        solution = net.solve(image.y, progress=progress)
    assert isinstance(solution.schedule, Searched)
    frozen = solution.schedule.frozen()
    outcome = Outcome(image, solution.image, solution, net, net, int(solution.layers))
    record = scans.record(source, scan, job, [outcome])
    with together():
        with console.busy(f"exporting {frozen.layers} layers"):
            made = export_onnx(net.following(frozen), out, measurements=image.y)
        record |= {"steps": [vars(run) for run in frozen.runs], "onnx": made}
        write_json(scans.beside(out), record)
    differs = ", ".join(f"{d:.1e} ({what})" for what, d in made["difference"].items())
    size = f"{frozen.layers} layers, {out.stat().st_size / 2**20:.1f} MiB"
    last = f"wrote {out}: {size}; onnxruntime differs from the network by {differs}"
    scans.show(record, as_json, last, told=told)
    status = scans.status_of(solution)
    if status is not Status.TOLERANCE_REACHED:
        relative = scans.shown(record["results"][0]["relative_gap"], ".1e")
        gap = f"its relative gap is {relative} after {frozen.layers} layers"
        console.say(f"the tolerance {tolerance:g} was not reached: {gap}. {out} was written all the same.", err=True)
        raise typer.Exit(console.NOT_REACHED)
    scans.end(job)
