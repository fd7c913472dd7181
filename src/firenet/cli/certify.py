"""``firenet certify``: how far any image is from optimal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Exit, Option

from firenet.cli import console, options, scans

if TYPE_CHECKING:
    from firenet.scans.source import Source


@console.reports
@options.with_source
def certify(
    source: Source,
    image: Annotated[Path, Argument(help="The image to certify, complex: .npy, .npz or .cfl.", show_default=False)],
    sparsify: options.Sparsify = None,
    wavelet: options.WaveletName = None,
    lam: options.Lam = None,
    noise_level: options.NoiseLevel = None,
    budget: Annotated[
        int,
        Option(
            "--layers", help="The largest number of iterations that search for a dual point, starting at the image."
        ),
    ] = 500,
    verified: Annotated[
        bool,
        Option(
            "--verified",
            help="Bound every rounding: objective, lower bound and gap then hold in exact arithmetic. It takes some "
            "seconds more for an image.",
        ),
    ] = False,
    threads: options.Threads = None,
    formula: options.Formula = False,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Bound how far any image, from any source, is from optimal for given data: compute its duality gap.

    The problem (transform, lambda, maps) must be the one that the image is meant to solve. For an image of `firenet
    recon`, use the options of that run, which must have had --reweight 0, since other weights make another problem.

    Examples:
      firenet certify scan.npz image.npy
      firenet certify scan.h5 image.npy --maps auto --lam 0.002 --formula
      firenet certify scan.npz image.npy --verified
    """
    from firenet.io.files import read_image
    from firenet.scans.reconstruct import certify_scan

    options.set_threads(threads)
    transform = options.transform_of(sparsify, wavelet)
    with scans.progress(quiet) as tell:
        found = certify_scan(
            source,
            read_image(image)[0],
            sparsify=transform,
            lam=lam,
            noise_level=noise_level,
            layers=budget,
            verified=verified,
            progress=tell,
            notify=scans.warn,
        )
    record = scans.record_of(found, image=str(image))
    last = f"gap ({_kind(record)}): an upper bound of objective(image) - minimum, valid for this image and these data"
    scans.report(found, record, last, as_json=as_json, quiet=quiet, formula=formula)
    if any(result["gap"] is None for result in record["results"]):
        console.say(f"no finite gap was found: {source.dtype} cannot compute with numbers of this size", err=True)
        raise Exit(console.NOT_REACHED)
    scans.end(found[0].scan)


def _kind(record: dict[str, Any]) -> str:
    """Returns in words how sure the gaps of a record are, from the least sure of them."""
    from firenet.kinds import weakest

    kind = weakest(*(result["kind"] for result in record["results"]))
    if kind == "verified":
        return "verified, every rounding is counted"
    more = "; ".join(record["conditions"])
    return f"{kind}, if {more}" if more else f"{kind}, rounding stated beside"
