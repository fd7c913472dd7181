"""``firenet recon``: an image from undersampled k-space, with its certificate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
    LamOrAuto,
    Maps,
    MaskFile,
    NoiseFile,
    NoiseLevel,
    Oversampling,
    Overwrite,
    Quiet,
    Slice,
    Sparsify,
    Threads,
    WaveletName,
    parse_lam,
    set_threads,
    transform_of,
)

if TYPE_CHECKING:
    from firenet.mri.source import Source


@console.reports
def recon(
    data: Data,
    out: Annotated[
        list[Path],
        typer.Option(
            "-o",
            "--out",
            help="Image: .npy (complex), .png, .nii, .nii.gz or .cfl; may be given several times.",
            show_default=False,
        ),
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
    formula: Formula = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Reconstruct an image from undersampled k-space, with its duality gap.

    Beside the image a JSON record of the run is written (OUT with the suffix .json). Exit code 3: the image is written,
    but a tolerance was not reached, or the data contradict mask or coil maps.
    """
    from firenet.io.files import check_beside, check_output, write_image, write_json
    from firenet.io.safely import together
    from firenet.mri.record import EMPTY, description, scan_record, summary
    from firenet.mri.scan_reconstruction import reconstruct_scan
    from firenet.mri.source import Source
    from firenet.reconstruction.choose_lambda import draw

    for path in out:
        check_output(path)
    source = Source(
        data, mask, maps, slice_, axes, key, corner_dc, image_origin, remove_oversampling, noise, device, dtype
    )
    value, transform = parse_lam(lam), transform_of(sparsify, wavelet)
    beside = scans.beside(out[0])
    plot = beside.with_suffix(".lam.png")
    besides = [beside, *([plot] if value == "auto" else [])]
    scans.check_overwriting([*out, *besides], source.files)
    set_threads(threads)
    if dry_run:
        _dry_run(source, transform, reweight, as_json)
        return
    for path in besides:
        check_beside(path, overwrite=overwrite)
    with console.progress("reading", quiet=quiet) as tell:
        found = reconstruct_scan(
            source,
            sparsify=transform,
            lam=value,
            noise_level=noise_level,
            schedule=schedule,
            layers=layers,
            tolerance=tolerance,
            reweight=reweight,
            progress=lambda what, done, most, gap: tell(done, most, gap, what),
            notify=scans.warn,
        )
    scan, told = found[0].scan, len(found[0].scan.warnings)
    record = scan_record(found) | {"image": str(out[0]), "images": [str(path) for path in out]}
    if value == "auto":
        record["lam_plot"] = str(plot)
    whole = scans.stack([one.image for one in found])
    # What is only looked at shows nothing where nothing is known.
    seen = abs(whole) * ~scans.stack([one.part.undetermined for one in found])
    with together():
        for path in out:
            image = whole if path.suffix.lower() in (".npy", ".cfl", ".hdr") else seen
            write_image(path, image, voxel_size=scan.voxel_size, axes=scan.axes, description=description(scan))
        if found[0].sweep is not None:
            draw(found[0].sweep, plot)
        write_json(beside, record)
    for sentence in scan.warnings[told:]:
        scans.warn(sentence)
    if as_json:
        console.print_json(record)
    elif not quiet:
        scans.show(record, summary(found), f"wrote {', '.join(map(str, out))}", formula=formula)
    missed = [r for r in record["results"] if r["status"] not in ("tolerance reached", EMPTY)]
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
    scans.end(scan)


def _dry_run(source: Source, transform: str | None, reweight: int | None, as_json: bool) -> None:
    from firenet.mri.scan_reconstruction import memory_of_scan, tell_warnings

    scan = source.read()
    tell_warnings(scan, scans.warn)
    found = memory_of_scan(scan, sparsify=transform, reweight=reweight)
    images = [{"slice": i.number, "shape": list(i.y.shape), "peak_bytes": peak} for i, peak in found]
    record = {"images": images, "peak_bytes": max(peak for _, peak in found), "estimate": True}
    if as_json:
        console.print_json(record)
        return
    rows = [[scans.name_of(i.number), " x ".join(map(str, i.y.shape)), f"{peak / 2**20:.0f}"] for i, peak in found]
    title = "one image after the other; memory beside the data, an estimate"
    console.table(title, ["slice", "data", "peak (MiB)"], rows)
    console.say("nothing was computed")
