"""``firenet certify``: how far any image is from optimal."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from firenet.cli import console, scans
from firenet.cli.options import (
    Axes,
    CornerDC,
    Data,
    Device,
    Dtype,
    Formula,
    ImageOrigin,
    Json,
    Key,
    Lam,
    Maps,
    MaskFile,
    NoiseFile,
    NoiseLevel,
    Oversampling,
    Quiet,
    Slice,
    Sparsify,
    Threads,
    WaveletName,
    set_threads,
    transform_of,
)


@console.reports
def certify(
    data: Data,
    image: Annotated[Path, typer.Argument(help="Image to certify, complex: .npy, .npz, .cfl.", show_default=False)],
    mask: MaskFile = None,
    maps: Maps = None,
    sparsify: Sparsify = None,
    wavelet: WaveletName = None,
    lam: Lam = None,
    noise_level: NoiseLevel = None,
    budget: Annotated[
        int, typer.Option("--layers", help="The most layers to find the dual point with, started at the image.")
    ] = 500,
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
    formula: Formula = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Bound how far any image, from any source, is from optimal for given data: its duality gap.

    The problem (transform, lambda, maps) must be the one the image is meant to solve; use the options of its `recon`,
    which must have had --reweight 0: other weights are another problem.
    """
    from firenet.io.files import read_image
    from firenet.mri.record import scan_record, summary
    from firenet.mri.scan_reconstruction import certify_scan
    from firenet.mri.source import Source

    set_threads(threads)
    source = Source(
        data, mask, maps, slice_, axes, key, corner_dc, image_origin, remove_oversampling, noise, device, dtype
    )
    transform = transform_of(sparsify, wavelet)
    with console.progress("reading", quiet=quiet) as tell:
        found = certify_scan(
            source,
            read_image(image)[0],
            sparsify=transform,
            lam=lam,
            noise_level=noise_level,
            layers=budget,
            progress=lambda what, done, most, gap: tell(done, most, gap, what),
            notify=scans.warn,
        )
    scan, told = found[0].scan, len(found[0].scan.warnings)
    record = scan_record(found) | {"image": str(image)}
    for sentence in scan.warnings[told:]:
        scans.warn(sentence)
    if as_json:
        console.print_json(record)
    elif not quiet:
        last = "gap: an upper bound of objective(image) - minimum, valid for this image and these data"
        scans.show(record, summary(found), last, formula=formula)
    if any(one.record()["gap"] is None for one in found):
        console.say(f"no finite gap was found: {dtype} cannot compute with numbers of this size", err=True)
        raise typer.Exit(console.NOT_REACHED)
    scans.end(scan)
