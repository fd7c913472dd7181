"""``firenet recon``: images from too few measurements, with their certificates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Exit, Option

from firenet.cli import console, options, scans

if TYPE_CHECKING:
    from firenet.scans.record import Reconstruction
    from firenet.scans.source import Source


@console.reports
@options.with_source
def recon(
    source: Source,
    out: Annotated[
        list[Path],
        Option(
            "-o",
            "--out",
            help="The image: .npy (complex), .png, .nii, .nii.gz or .cfl. Repeat the option for several files.",
            show_default=False,
        ),
    ],
    sparsify: options.Sparsify = None,
    wavelet: options.WaveletName = None,
    lam: options.Lam = None,
    noise_level: options.NoiseLevel = None,
    layers: Annotated[
        int,
        Option(
            help="The largest number of layers, shared by the rounds of --reweight. --schedule fixed runs exactly this "
            "many; --schedule paper rounds the number down to a multiple of ten.",
        ),
    ] = 2000,
    tolerance: Annotated[
        float | None,
        Option(
            help="Stop once the objective is proved to be at most this share above the minimum (the relative gap). "
            "Exit code 3 if a share that you give is not reached. Default: 0.001; fixed schedules run to their end.",
        ),
    ] = None,
    schedule: Annotated[
        str, Option(help="The step sizes: adaptive (needs no choice), radial, paper or fixed.")
    ] = "adaptive",
    reweight: Annotated[
        int | None,
        Option(
            help="How many times to solve again with weights computed from the previous image: slower and sharper. "
            "With --fixed the default is 1, or 0 with much noise, an orthonormal transform or a fixed schedule.",
        ),
    ] = None,
    fixed: Annotated[
        bool,
        Option(
            "--fixed",
            help="Take the defaults of --sparsify, --lam and --reweight. Without this option, those that are not given "
            "are chosen for each file by samples that are held out, on its middle slice; not for fixed schedules, and "
            "not if --layers is below 100, which is less than the choice takes.",
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        Option(
            "--dry-run",
            help="Print the shape of the data and an estimate of the memory that a reconstruction takes, and stop.",
        ),
    ] = False,
    threads: options.Threads = None,
    overwrite: options.Overwrite = False,
    formula: options.Formula = False,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Reconstruct images from k-space, projections or Walsh-Hadamard measurements, with their duality gaps.

    What was measured is found from the file; `firenet doctor --file` shows it. Transform, lambda and rounds of
    reweighting are chosen by measurements that are held out, unless they are given or it is a tomogram. A JSON
    record of the run is written beside the image (OUT with the suffix .json), and beside a PNG image a picture of the
    choice (.choice.png). Exit code 3: the image is written, but a --tolerance or --noise-level was not reached, or the
    data contradict the mask or the coil maps.

    Examples:
      firenet recon scan.h5 --maps auto -o image.npy -o image.png
      firenet recon scan.npz --tolerance 1e-4 --reweight 0 -o image.nii.gz
      firenet recon scan.cfl --noise-level 5% --dry-run -o image.cfl
      firenet recon tomogram.h5 --slice 0 --bin 4 -o slice.png
      firenet recon camera.npz --order natural --readings interleaved -o photograph.png
    """
    from firenet.io.files import check_beside, check_output
    from firenet.scans.reconstruct import reconstruct_scan

    for path in out:
        check_output(path)
    transform, beside = options.transform_of(sparsify, wavelet), scans.beside(out[0])
    pictures = [path for path in out if path.suffix.lower() == ".png"]
    plot = pictures[0].with_suffix(".choice.png") if pictures and not fixed else None
    besides = [beside] if plot is None else [beside, plot]
    scans.check_overwriting([*out, *besides], source.files)
    options.set_threads(threads)
    if dry_run:
        _dry_run(source, transform, reweight, fixed, as_json)
        return
    for path in besides:
        check_beside(path, overwrite=overwrite)
    with scans.progress(quiet) as tell:
        found = reconstruct_scan(
            source,
            sparsify=transform,
            lam=lam,
            noise_level=noise_level,
            schedule=schedule,
            layers=layers,
            tolerance=tolerance,
            reweight=reweight,
            fixed=fixed,
            progress=tell,
            notify=scans.warn,
        )
    record = scans.record_of(found, image=str(out[0]), images=[str(path) for path in out])
    if found[0].choice is None or found[0].choice.reason is not None:
        plot = None
    if plot is not None:
        record["choice_plot"] = str(plot)
    _write(found, out, beside, record, plot)
    last = f"wrote {', '.join(map(str, out))}"
    scans.report(found, record, last, as_json=as_json, quiet=quiet, formula=formula)
    _check_limits(record, tolerance, noise_level is not None)
    scans.end(found[0].scan)


def _write(
    found: Sequence[Reconstruction], out: Sequence[Path], beside: Path, record: dict[str, Any], plot: Path | None
) -> None:
    """Writes images, record and the picture of the choice, all of them or none."""
    from firenet.io.files import write_image, write_json
    from firenet.io.safely import together
    from firenet.reconstruction.choice import draw
    from firenet.scans.record import description

    scan = found[0].scan
    whole = scans.stack([one.image for one in found])
    # Pictures are only looked at, and show nothing where nothing is known, nor what is below zero in a real image.
    seen = abs(whole) if whole.dtype.kind == "c" else whole.clip(min=0)
    seen = seen * ~scans.stack([one.part.undetermined for one in found])
    with together():
        for path in out:
            image = whole if path.suffix.lower() in (".npy", ".cfl", ".hdr") else seen
            write_image(path, image, voxel_size=scan.voxel_size, axes=scan.axes, description=description(scan))
        if found[0].choice is not None and plot is not None:
            draw(found[0].choice, plot)
        write_json(beside, record)


def _check_limits(record: dict[str, Any], tolerance: float | None, constrained: bool) -> None:
    """Ends with exit code 3 if a tolerance that was asked for, or a fit up to the noise level, was not reached."""
    from firenet.scans.record import EMPTY

    statuses = [r["status"] for r in record["results"]]
    missed = [r for r in record["results"] if r["status"] not in ("tolerance reached", EMPTY)]
    missed = [] if tolerance is None else missed
    if missed:
        precision = " (--dtype complex128)" if missed[0]["status"] == "precision limit" else ""
        console.say(f"the tolerance {tolerance:g} was not reached. {missed[0]['advice']}{precision}", err=True)
    unfit = constrained and not {"does not fit the data", "no image fits"}.isdisjoint(statuses)
    if unfit:
        said = "no image was found that fits the data up to the noise level; the image written is the nearest one found"
        console.say(said, err=True)
    if unfit or missed:
        raise Exit(console.NOT_REACHED)


def _dry_run(source: Source, transform: str | None, reweight: int | None, fixed: bool, as_json: bool) -> None:
    """Prints the shapes of the data and the memory that a reconstruction takes."""
    from firenet.scans.reconstruct import memory_of_scan, tell_warnings

    with console.busy("reading"):
        scan = source.read()
    tell_warnings(scan, scans.warn)
    found = memory_of_scan(scan, sparsify=transform, reweight=reweight, fixed=fixed)
    images = [{"slice": i.number, "shape": list(i.y.shape), "peak_bytes": peak} for i, peak in found]
    if as_json:
        console.print_json({"images": images, "peak_bytes": max(peak for _, peak in found), "estimate": True})
        return
    rows = [[scans.name_of(i.number), " x ".join(map(str, i.y.shape)), f"{peak / 2**20:.0f}"] for i, peak in found]
    title = "one image after the other; memory in addition to the data, an estimate"
    console.table(title, ["slice", "data (samples)", "peak (MiB)"], rows)
    console.say("nothing was computed")
