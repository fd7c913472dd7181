"""``firenet certify``: how far any image is from optimal."""

from __future__ import annotations

from collections.abc import Callable
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
    Lam,
    Maps,
    MaskFile,
    NoiseFile,
    NoiseLevel,
    Oversampling,
    Slice,
    Sparsify,
    Threads,
    WaveletName,
    check_problem,
    parse_noise_level,
    set_threads,
)
from firenet.errors import BadInput

if TYPE_CHECKING:
    from firenet.mri.scan import Prepared


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
    as_json: Json = False,
) -> None:
    """Bound how far any image, from any source, is from optimal for given data: its duality gap.

    The problem (transform, lambda, maps) must be the one the image is meant to solve; use the options of its `recon`,
    which must have had --reweight 0: other weights are another problem.
    """
    set_threads(threads)
    transform, level = check_problem(sparsify, wavelet, lam), parse_noise_level(noise_level, lam)
    if budget < 0:
        raise BadInput("--layers: a number of layers, zero or more", f"{budget}", "500 is the default")
    import torch

    from firenet.cli.scans import Outcome, Source
    from firenet.io.files import read_image
    from firenet.mri.reconstruct import certify_image

    source = Source(
        data, mask, maps, slice_, axes, key, corner_dc, image_origin, remove_oversampling, noise, device, dtype
    )
    scan, job = scans.read(source)
    values, _ = read_image(image)
    several = len(job.images) > 1
    shape = (len(job.images), *job.images[0].mask.shape)
    if (values if several else values[None]).shape != shape:
        needed = f"An image of shape {shape if several else shape[1:]}"
        raise BadInput(needed, f"{values.shape}", "Certify the image that belongs to these data")
    if values.dtype.kind != "c":
        job.warnings.append("The image is real: if its phase was lost, the gap is large for that reason alone.")
    scans.check_noise_level(level, job, whitened=noise is not None)
    scans.warn(job.warnings)
    told = len(job.warnings)
    pixels = iter(values if several else values[None])
    given = [torch.from_numpy(p) for p in pixels]
    for part, pixel in zip(job.images, given, strict=True):
        if part.empty and bool((pixel != 0).any()):
            needed = f"An image of zeros for slice {part.number}, whose data are zero"
            raise BadInput(needed, "another one", "Certify the image that belongs to these data")
    images = {id(part): pixel for part, pixel in zip(job.images, given, strict=True)}

    def solve(part: Prepared, progress: Callable[..., None]) -> Outcome:
        net = scans.network(part, transform, lam, None, level(part.y * part.mask))
        x = images[id(part)].to(device=part.y.device, dtype=part.y.dtype)
        found = certify_image(x, net, part.y, budget=budget, progress=progress)
        return Outcome(part, x, found, net, net, int(found.layers))

    record: dict[str, Any] = scans.record(source, scan, job, scans.each(job, "certificate", solve))
    record["image"] = str(image)
    last = "gap: an upper bound of objective(image) - minimum, valid for this image and these data"
    scans.show(record, as_json, last, told=told)
    if any(result["gap"] is None for result in record["results"]):
        console.say(f"no finite gap was found: {dtype} cannot compute with numbers of this size", err=True)
        raise typer.Exit(console.NOT_REACHED)
    scans.end(job)
