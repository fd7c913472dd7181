"""``firenet export``: a network as an ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from firenet.cli import console, scans
from firenet.cli.options import (
    Axes,
    CornerDC,
    Data,
    Formula,
    ImageOrigin,
    Json,
    Key,
    Lam,
    Maps,
    MaskFile,
    NoiseFile,
    Oversampling,
    Overwrite,
    Quiet,
    Slice,
    Threads,
    set_threads,
)


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
    formula: Formula = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Find the steps for these data, freeze them, and write the feed-forward network as an ONNX file (extra export).

    The file takes measurements with zero frequency in the corner, complex numbers as pairs of reals on the last axis;
    it is compared with the network before it is put in place. One image at a time: --slice.
    """
    from firenet.export.onnx_file import check_export, export_onnx
    from firenet.io.files import check_beside, write_json
    from firenet.io.safely import together
    from firenet.mri.record import scan_record, summary
    from firenet.mri.scan_reconstruction import reconstruct_scan
    from firenet.mri.source import Source
    from firenet.solver.schedules import Searched
    from firenet.solver.solution import Solution, Status

    source = Source(data, mask, maps, slice_, axes, key, corner_dc, image_origin, remove_oversampling, noise)
    beside = scans.beside(out)
    scans.check_overwriting([out, beside], source.files)
    check_export(out)  # refuses before anything is read
    check_beside(beside, overwrite=overwrite)
    set_threads(threads)
    with console.progress("reading", quiet=quiet) as tell:
        found = reconstruct_scan(
            source,
            sparsify=f"orthonormal:{wavelet}",
            lam=lam,
            layers=layers,
            tolerance=tolerance,
            reweight=0,
            one=True,
            progress=lambda what, done, most, gap: tell(done, most, gap, what),
            notify=scans.warn,
        )
    (made_of,) = found
    solution, net, scan, told = made_of.found, made_of.asked, made_of.scan, len(made_of.scan.warnings)
    assert isinstance(solution, Solution)
    assert isinstance(solution.schedule, Searched)
    assert net is not None
    frozen = solution.schedule.frozen()
    record = scan_record(found)
    with together():
        with console.busy(f"exporting {frozen.layers} layers"):
            made = export_onnx(net.following(frozen), out, measurements=made_of.part.y)
        record |= {"steps": [vars(run) for run in frozen.runs], "onnx": made}
        write_json(beside, record)
    for sentence in scan.warnings[told:]:
        scans.warn(sentence)
    if as_json:
        console.print_json(record)
    elif not quiet:
        differs = ", ".join(f"{d:.1e} ({what})" for what, d in made["difference"].items())
        size = f"{frozen.layers} layers, {out.stat().st_size / 2**20:.1f} MiB"
        last = f"wrote {out}: {size}; onnxruntime differs from the network by {differs}"
        scans.show(record, summary(found), last, formula=formula)
    if solution.statuses[0] is not Status.TOLERANCE_REACHED:
        relative = scans.shown(record["results"][0]["relative_gap"], ".1e")
        gap = f"its relative gap is {relative} after {frozen.layers} layers"
        console.say(f"the tolerance {tolerance:g} was not reached: {gap}. {out} was written all the same.", err=True)
        raise typer.Exit(console.NOT_REACHED)
    scans.end(scan)
