"""``firenet export``: a network as an ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Exit, Option

from firenet.cli import console, options, scans

if TYPE_CHECKING:
    from firenet.scans.record import Reconstruction
    from firenet.scans.source import Source


@console.reports
@options.with_source
def export(
    source: Source,
    out: Annotated[Path, Option("-o", "--out", help="The network (.onnx).", show_default=False)],
    sparsify: Annotated[
        str | None,
        Option(
            help="The sparsifying transform, as in recon, but periodic: undecimated:WAVELET[:LEVELS], "
            "orthonormal:WAVELET[:LEVELS], tv, or a sum. Default: orthonormal:db4.",
        ),
    ] = None,
    wavelet: options.WaveletName = None,
    lam: options.Lam = None,
    layers: Annotated[int, Option(help="The largest number of layers; each takes about a second to write.")] = 200,
    tolerance: Annotated[
        float,
        Option(
            help="The relative gap (the share above the minimum) that the layers are to prove. Exit code 3 if they "
            "do not.",
        ),
    ] = 1e-2,
    threads: options.Threads = None,
    overwrite: options.Overwrite = False,
    formula: options.Formula = False,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Find the steps for these data, freeze them, and write the feed-forward network as an ONNX file.

    The network in the file takes measurements with zero frequency in the corner, complex numbers as pairs of reals on
    the last axis. The file is compared with the network before it is put in place. The network is made for one image:
    choose one with --slice. This command needs the extra firenet[export].

    Examples:
      firenet export scan.npz -o network.onnx
      firenet export scan.npz --sparsify undecimated:haar:3 -o network.onnx
      firenet export scan.h5 --maps auto --slice 3 --tolerance 0.05 -o network.onnx
    """
    from firenet.export.onnx_file import check_export
    from firenet.io.files import check_beside
    from firenet.scans.reconstruct import reconstruct_scan

    beside = scans.beside(out)
    scans.check_overwriting([out, beside], source.files)
    check_export(out)  # refuses before anything is read
    check_beside(beside, overwrite=overwrite)
    options.set_threads(threads)
    with scans.progress(quiet) as tell:
        (made,) = reconstruct_scan(
            source,
            sparsify=options.transform_of(sparsify, wavelet) or "orthonormal:db4",
            lam=lam,
            layers=layers,
            tolerance=tolerance,
            reweight=0,
            one=True,
            progress=tell,
            notify=scans.warn,
        )
    record = _write(made, out, beside, quiet)
    result, onnx = record["results"][0], record["onnx"]
    differs = ", ".join(f"{d:.1e} ({what})" for what, d in onnx["difference"].items())
    size = f"{result['layers']} layers, {out.stat().st_size / 2**20:.1f} MiB"
    last = f"wrote {out}: {size}; onnxruntime differs from the network by {differs}"
    scans.report([made], record, last, as_json=as_json, quiet=quiet, formula=formula)
    if result["status"] != "tolerance reached":
        gap = f"its relative gap is {scans.shown(result['relative_gap'], '.1e')} after {result['layers']} layers"
        console.say(f"the tolerance {tolerance:g} was not reached: {gap}. {out} was written all the same.", err=True)
        raise Exit(console.NOT_REACHED)
    scans.end(made.scan)


def _write(made: Reconstruction, out: Path, beside: Path, quiet: bool) -> dict[str, Any]:
    """Freezes the steps that were found, writes the network and its record, and returns the record."""
    from firenet.export.onnx_file import export_onnx
    from firenet.io.files import write_json
    from firenet.io.safely import together
    from firenet.solver.schedules import Searched
    from firenet.solver.solution import Solution

    assert made.asked is not None
    assert isinstance(made.found, Solution)
    assert isinstance(made.found.schedule, Searched)
    frozen = made.found.schedule.frozen()
    record = scans.record_of([made])
    with together():
        with console.busy(f"exporting {frozen.layers} layers", quiet=quiet):
            onnx = export_onnx(made.asked.following(frozen), out, measurements=made.part.y)
        record |= {"steps": [vars(run) for run in frozen.runs], "onnx": onnx}
        write_json(beside, record)
    return record
