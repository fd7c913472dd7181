"""``firenet certify``: how far any image is from optimal."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Exit, Option

from firenet.cli import console, options, scans


@console.reports
def certify(
    data: options.Data,
    image: Annotated[Path, Argument(help="The image to certify, complex: .npy, .npz or .cfl.", show_default=False)],
    mask: options.MaskFile = None,
    maps: options.Maps = None,
    sparsify: options.Sparsify = None,
    wavelet: options.WaveletName = None,
    lam: options.Lam = None,
    noise_level: options.NoiseLevel = None,
    budget: Annotated[
        int, Option("--layers", help="The most layers to find a dual point with, started at the image.")
    ] = 500,
    slice_: options.Slice = None,
    axes: options.Axes = None,
    key: options.Key = None,
    corner_dc: options.CornerDC = False,
    image_origin: options.ImageOrigin = None,
    remove_oversampling: options.Oversampling = False,
    noise: options.NoiseFile = None,
    device: options.Device = "cpu",
    dtype: options.Dtype = "complex64",
    threads: options.Threads = None,
    formula: options.Formula = False,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Bound how far any image, from any source, is from optimal for given data: compute its duality gap.

    The problem (transform, lambda, maps) must be the one that the image is meant to solve: use the options of its
    `recon`, which must have had --reweight 0, as other weights are another problem.

    Examples:
      firenet certify scan.npz image.npy
      firenet certify scan.h5 image.npy --maps auto --lam 0.002 --formula
    """
    from firenet.io.files import read_image
    from firenet.mri.scan_reconstruction import certify_scan
    from firenet.mri.source import Source

    options.set_threads(threads)
    source = Source(
        data, mask, maps, slice_, axes, key, corner_dc, image_origin, remove_oversampling, noise, device, dtype
    )
    transform = options.transform_of(sparsify, wavelet)
    with scans.progress(quiet) as tell:
        found = certify_scan(
            source,
            read_image(image)[0],
            sparsify=transform,
            lam=lam,
            noise_level=noise_level,
            layers=budget,
            progress=tell,
            notify=scans.warn,
        )
    record = scans.record_of(found, image=str(image))
    last = "gap: an upper bound of objective(image) - minimum, valid for this image and these data"
    scans.report(found, record, last, as_json=as_json, quiet=quiet, formula=formula)
    if any(result["gap"] is None for result in record["results"]):
        console.say(f"no finite gap was found: {dtype} cannot compute with numbers of this size", err=True)
        raise Exit(console.NOT_REACHED)
    scans.end(found[0].scan)
