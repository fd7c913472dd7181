"""The command line: ``firenet demo | recon | mask | certify | export | audit | train | barriers | bench | doctor``.

Commands read, call the library and write; what they compute stands elsewhere. Everything slow is imported inside the
command that needs it, so that ``--help`` answers at once.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from firenet import scans, terminal
from firenet.cli_audit import audits
from firenet.cli_barriers import barriers
from firenet.cli_train import train
from firenet.errors import BadInput, DoubtfulInput

if TYPE_CHECKING:
    import torch

    from firenet.recon import Prepared, ScanData

app = typer.Typer(
    name="firenet",
    help="Image reconstruction by networks whose weights are computed, not trained, each image with a duality gap.",
    # A line that begins with a backspace is the sign of click for lines that are to stay as they are.
    epilog="\b\nExit codes:\n" + "\n".join(terminal.exit_codes()),
    no_args_is_help=True,
    rich_markup_mode=None,  # help is text: module:factory has no emoji in it, and what is in brackets stays
    add_completion=False,
    pretty_exceptions_enable=False,
)


app.add_typer(audits)
app.command()(train)
app.add_typer(barriers)


def main() -> None:
    """The entry point."""
    terminal.prepare()
    app()


def _version(wanted: bool) -> None:
    if wanted:
        from firenet import __version__

        terminal.say(f"firenet {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    terminal.set_debug(debug)


# --- demo -------------------------------------------------------------------------------------------------------------

_DEMO_KEYS = (
    "sampling_rate",
    "psnr_zero_filled",
    "psnr",
    "objective",
    "gap",
    "relative_gap",
    "layers",
    "seconds",
    "status",
)


@app.command()
@terminal.reports
def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder for the picture, the images and the record.")] = Path(
        "firenet-demo"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    threads: Annotated[int | None, typer.Option(help="Threads of the CPU to use.")] = None,
) -> None:
    """Reconstruct two real data sets: an MRI slice at 25 % and a raw 2-coil scan, 3-fold undersampled."""
    _set_threads(threads)
    from firenet import demo as job
    from firenet.files import ours, write_image, write_json
    from firenet.safely import check_room, together

    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput("A folder for --out", f"{out}: {error.strerror}", "Name a folder") from None
    check_room(out / "demo.json")
    there = [name for name in ("demo.json", "demo.png", "slice.npy", "raw.npy") if (out / name).exists()]
    if there and not ours(out / "demo.json"):
        raise BadInput("A folder for the demo", f"{out}, with another {there[0]} in it", "Name another with --out")
    cases = {}
    with terminal.progress("MRI slice") as progress:
        cases["slice"] = job.slice_case(progress)
    with terminal.progress("raw scan") as progress:
        cases["raw"] = job.raw_case(progress)
    records = {name: case.record() for name, case in cases.items()}
    with together():
        job.draw(cases, out / "demo.png")
        for name, case in cases.items():
            write_image(out / f"{name}.npy", case.solution.image.numpy())
        write_json(out / "demo.json", {**records, "versions": terminal.versions()})
    shown: dict[str, Any] = {name: {key: r[key] for key in _DEMO_KEYS} for name, r in records.items()}
    if as_json:
        terminal.print_json(shown)
    else:
        rows = [
            [
                cases[name].title,
                f"{r['sampling_rate']:.1%}",
                f"{r['psnr_zero_filled']:.2f}",
                f"{r['psnr']:.2f}",
                f"{r['objective']:.4g}",
                f"{r['relative_gap']:.1e}",
                f"{r['layers']}",
                f"{r['seconds']:.{int(r['seconds'] < 10)}f}",
            ]
            for name, r in shown.items()
        ]
        columns = ["input", "rate", "zero-filled", "FIRENET", "objective", "rel. gap", "layers", "s"]
        terminal.table("PSNR in dB, and how far from optimal: relative duality gap", columns, rows)
        terminal.say(f"picture: {out / 'demo.png'}")


# --- recon and certify ------------------------------------------------------------------------------------------------

Data = Annotated[Path, typer.Argument(help="k-space: npy, npz, HDF5 (fastMRI), ISMRMRD, BART cfl.", show_default=False)]
MaskFile = Annotated[Path | None, typer.Option("--mask", help="Sampling mask; default: where the data are not zero.")]
Maps = Annotated[str | None, typer.Option("--maps", help="Coil maps: a file, or 'auto' to estimate them (ESPIRiT).")]
Sparsify = Annotated[
    str | None,
    typer.Option(
        "--sparsify",
        help="undecimated:WAVELET[:LEVELS], orthonormal:WAVELET[:LEVELS], tv, or a sum such as "
        "undecimated:sym4:3+tv. Default: undecimated:haar:1+sym4:3; volumes orthonormal:db4.",
    ),
]
WaveletName = Annotated[
    str | None, typer.Option("--wavelet", help="Short for orthonormal: haar, db1-db10, sym2-sym10, coif1-coif5.")
]
LAM = "Regularisation parameter, no unit. Default: 4/3 over the root of the number of coefficients; orthonormal 0.001."
Lam = Annotated[float | None, typer.Option("--lam", help=LAM)]
LamOrAuto = Annotated[
    str | None, typer.Option("--lam", help=LAM + " auto: by samples held out, with a plot beside the image.")
]
NoiseLevel = Annotated[
    str | None,
    typer.Option(
        "--noise-level",
        help="Fit the data up to this 2-norm of the noise, a number or a share of the data's such as 5%, instead of "
        "choosing lambda; exit code 3 if no such image is found.",
    ),
]
Slice = Annotated[
    int | None, typer.Option("--slice", help="Take the slice of this number, counted from 0; default: all, as a batch.")
]
Axes = Annotated[str | None, typer.Option("--axes", help="What the stored axes are, e.g. slice,coil,y,x.")]
Key = Annotated[str | None, typer.Option("--key", help="Name of the array in an npz or HDF5 file.")]
CornerDC = Annotated[
    bool,
    typer.Option(
        "--corner-dc",
        help="Zero frequency lies in the corner, not in the middle: k-space is fft2(image). "
        "Where centred data were only moved there, ifftshift(k-space), add --image-origin middle.",
    ),
]
ImageOrigin = Annotated[
    str | None,
    typer.Option(
        "--image-origin",
        help="Where the image comes out split: the pixel that has phase zero. middle, as scanners and BART have it, "
        "k-space = fftshift(fft2(ifftshift(image))); or corner, as numpy's plain fft2(image) has it. "
        "Default: middle, with --corner-dc corner.",
    ),
]
MaskCorner = Annotated[bool, typer.Option("--corner-dc", help="Write zero frequency in the corner, not in the middle.")]
Oversampling = Annotated[
    bool, typer.Option("--remove-oversampling", help="Crop readout oversampling (2x unless the file knows better).")
]
NoiseFile = Annotated[
    Path | None, typer.Option("--noise", help="Noise samples (coils, n) to prewhiten the coils with.")
]
Device = Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:1, ...")]
Dtype = Annotated[str, typer.Option("--dtype", help="complex64 or complex128.")]
Threads = Annotated[int | None, typer.Option("--threads", help="Threads of the CPU to use.")]
Json = Annotated[bool, typer.Option("--json", help="Print the record as JSON.")]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace what lies beside OUT also where firenet did not write it.")
]


@app.command()
@terminal.reports
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
    from firenet.files import check_beside, check_output, write_image, write_json
    from firenet.network import Solution
    from firenet.recon import TOLERANCE, rounds
    from firenet.restarts import Searched
    from firenet.safely import together
    from firenet.scans import Outcome, Source
    from firenet.selection import choose_lam, draw

    check_output(out)
    source = Source(
        data, mask, maps, slice_, axes, key, corner_dc, image_origin, remove_oversampling, noise, device, dtype
    )
    auto, value = _lam(lam)
    level = _level(noise_level, lam)
    plot = scans.beside(out).with_suffix(".lam.png")
    besides = [scans.beside(out), *([plot] if auto else [])]
    scans.check_overwriting([out, *besides], source.files)
    if not dry_run:
        for path in besides:
            check_beside(path, overwrite=overwrite)
    _set_threads(threads)
    transform = _check_problem(sparsify, wavelet, value)
    _check_limits(layers, tolerance, reweight)
    plan = _schedule(schedule, layers, tolerance)  # refuses before anything is read
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
        with terminal.progress(which) as progress:
            sweep = choose_lam(chosen.y, chosen.mask, chosen.maps, sparsify=transform, progress=progress)
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
        terminal.say(f"the tolerance {tolerance:g} was not reached. {missed[0]['advice']}{precision}", err=True)
    never = ("does not fit the data", "no image fits")
    unfit = noise_level is not None and any(r["status"] in never for r in record["results"])
    if unfit:
        terminal.say(
            "no image was found that fits the data up to the noise level; the image is the nearest seen", err=True
        )
    if unfit or (tolerance is not None and missed):
        raise typer.Exit(terminal.NOT_REACHED)
    scans.end(job)


@app.command()
@terminal.reports
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
    _set_threads(threads)
    transform, level = _check_problem(sparsify, wavelet, lam), _level(noise_level, lam)
    if budget < 0:
        raise BadInput("--layers: a number of layers, zero or more", f"{budget}", "500 is the default")
    import torch

    from firenet.files import read_image
    from firenet.recon import certify_image
    from firenet.scans import Outcome, Source

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
        terminal.say(f"no finite gap was found: {dtype} cannot compute with numbers of this size", err=True)
        raise typer.Exit(terminal.NOT_REACHED)
    scans.end(job)


@app.command()
@terminal.reports
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
    from firenet.export import check_export, export_onnx
    from firenet.files import check_beside, write_json
    from firenet.network import Status
    from firenet.restarts import Searched
    from firenet.safely import together
    from firenet.scans import Outcome, Source

    source = Source(data, mask, maps, slice_, axes, key, corner_dc, image_origin, remove_oversampling, noise)
    scans.check_overwriting([out, scans.beside(out)], source.files)
    check_export(out)  # refuses before anything is read
    check_beside(scans.beside(out), overwrite=overwrite)
    _set_threads(threads)
    transform = _check_problem(None, wavelet, lam)
    _check_limits(layers, tolerance)
    plan = _schedule("adaptive", layers, tolerance)
    scan, job = scans.read(source)
    if len(job.images) > 1:
        raise BadInput("One image", f"{len(job.images)} slices", "Choose one with --slice")
    scans.warn(job.warnings)
    told = len(job.warnings)
    image = job.images[0]
    net = scans.network(image, transform, lam, plan(image.y))
    with terminal.progress("finding the steps") as progress:
        solution = net.solve(image.y, progress=progress)
    assert isinstance(solution.schedule, Searched)
    frozen = solution.schedule.frozen()
    outcome = Outcome(image, solution.image, solution, net, net, int(solution.layers))
    record = scans.record(source, scan, job, [outcome])
    with together():
        with terminal.busy(f"exporting {frozen.layers} layers"):
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
        terminal.say(f"the tolerance {tolerance:g} was not reached: {gap}. {out} was written all the same.", err=True)
        raise typer.Exit(terminal.NOT_REACHED)
    scans.end(job)


def _schedule(name: str, layers: int, tolerance: float | None) -> Callable[[torch.Tensor], Any]:
    """What makes the schedule for given measurements."""
    from firenet.recon import default_schedule, paper_schedule
    from firenet.restarts import FixedSteps, RadialSearch

    adaptive = default_schedule(tolerance, layers)
    made: dict[str, Callable[[torch.Tensor], Any]] = {
        "adaptive": lambda y: adaptive,
        "radial": lambda y: RadialSearch(adaptive.tolerance, layers),
        "paper": lambda y: paper_schedule(layers, y),
        "fixed": lambda y: FixedSteps(layers),
    }
    if name not in made:
        raise BadInput(f"A schedule: {', '.join(made)}", name, "adaptive needs no choice of steps")
    return made[name]


def _dry_run(job: ScanData, transform: str | None, reweight: int | None, as_json: bool) -> None:
    from firenet.analysis import peak_bytes

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
        terminal.print_json(record)
        return
    rows = [
        [scans.name_of(i["slice"]), " x ".join(map(str, i["shape"])), f"{i['peak_bytes'] / 2**20:.0f} MiB"]
        for i in images
    ]
    terminal.table("one image after the other; memory beside the data, an estimate", ["slice", "data", "peak"], rows)
    terminal.say("nothing was computed")


def _set_threads(threads: int | None) -> None:
    if threads is None:
        return
    if threads < 1:
        raise BadInput("At least one thread", f"{threads}", "Leave --threads out for all of them")
    import torch

    torch.set_num_threads(threads)


def _level(noise_level: str | None, lam: float | str | None) -> scans.Level:
    """What makes the noise level for given measurements; refuses one beside a lambda."""
    if noise_level is not None and lam is not None:
        raise BadInput("One of --lam and --noise-level", "both", "With a noise level there is no lambda")
    return scans.noise_level(noise_level)


def _check_limits(layers: int, tolerance: float | None, reweight: int | None = None) -> None:
    """Refuses limits that mean nothing, before anything is read."""
    if layers < 1:
        raise BadInput("--layers: at least one layer", f"{layers}", "2000 are the default of recon; most need fewer")
    if tolerance is not None and not 0 < tolerance < 1:
        raise BadInput("--tolerance: a relative gap between 0 and 1", f"{tolerance}", "1e-2 is a picture, 1e-4 a proof")
    if reweight is not None and reweight < 0:
        raise BadInput("--reweight: a number of rounds, zero or more", f"{reweight}", "1 or 2 are usual")
    if reweight is not None and layers <= reweight:
        got = f"--layers {layers} for {reweight + 1} rounds, the first one among them"
        raise BadInput("At least one layer for every round", got, "Allow more layers, or fewer rounds")


def _lam(given: str | None) -> tuple[bool, float | None]:
    """Whether lambda is to be chosen, and the number where it is not."""
    if given is None or given == "auto":
        return given == "auto", None
    try:
        return False, float(given)
    except ValueError:
        raise BadInput("--lam: a number, or auto", repr(given), "For example --lam 1e-3") from None


def _check_problem(sparsify: str | None, wavelet: str | None, lam: float | None) -> str | None:
    """The transform, None for the default; refuses a problem that cannot be posed before anything is read."""
    from firenet.problems import check_lam
    from firenet.recon import transform

    if sparsify is not None and wavelet is not None:
        raise BadInput(
            "One of --sparsify and --wavelet", "both", "--wavelet db4 is short for --sparsify orthonormal:db4"
        )
    spec = f"orthonormal:{wavelet}" if wavelet is not None else sparsify
    transform(spec, (2**20,))
    check_lam(1.0 if lam is None else lam)
    return spec


# --- mask -------------------------------------------------------------------------------------------------------------


@app.command()
@terminal.reports
def mask(
    shape: Annotated[list[int], typer.Argument(help="Sides of the image, e.g. 256 256.", show_default=False)],
    out: Annotated[
        Path, typer.Option("-o", "--out", help="Mask, .npy; a .png and a .json are put beside it.", show_default=False)
    ],
    rate: Annotated[float, typer.Option("--rate", help="Share of the grid to sample.")] = 0.25,
    transform: Annotated[str, typer.Option("--transform", help="fourier or walsh.")] = "fourier",
    variable: Annotated[
        bool, typer.Option("--variable-density", help="Single frequencies, each by its own density, instead of bands.")
    ] = False,
    power: Annotated[
        float | None,
        typer.Option("--power", help="Density falls like |k|^-power; default: 2, with --variable-density 2.5."),
    ] = None,
    sparsities: Annotated[
        str | None,
        typer.Option("--sparsities", help="Local sparsities s1,s2,...: the theorem's density instead of a power law."),
    ] = None,
    vanishing_moments: Annotated[
        int, typer.Option("--vanishing-moments", help="Of the wavelet, for --sparsities; 1 is Haar.")
    ] = 1,
    full: Annotated[
        int, typer.Option("--full", help="Sample bands up to this one fully; band k ends at frequency 2^(k-1).")
    ] = 1,
    centre: Annotated[
        int | None, typer.Option("--centre", help="Central lines of --lines, all sampled; default: a third of them.")
    ] = None,
    lines: Annotated[
        float | None, typer.Option("--lines", help="Cartesian lines with this acceleration instead.")
    ] = None,
    axis: Annotated[int, typer.Option("--axis", help="Phase-encoding axis of --lines.")] = 0,
    seed: Annotated[int, typer.Option("--seed", help="Seed.")] = 0,
    corner_dc: MaskCorner = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Design a sampling mask with exactly the requested number of samples."""
    from firenet.files import check_beside, check_output, write_image, write_json
    from firenet.safely import together

    check_output(out, suffixes=(".npy",))
    for path in (out.with_suffix(".png"), scans.beside(out)):
        check_beside(path, overwrite=overwrite)
    from firenet import sampling

    if transform not in ("fourier", "walsh"):
        raise BadInput("A transform: fourier or walsh", transform, "Choose one")
    kind: sampling.Transform = "walsh" if transform == "walsh" else "fourier"
    if lines is not None:
        if full != 1 or power is not None or sparsities is not None or transform != "fourier" or variable:
            got = "one of --full, --power, --sparsities, --transform walsh, --variable-density"
            raise BadInput("Only --axis, --centre and --seed beside --lines", got, "Leave it out, or leave out --lines")
        made = sampling.lines(shape, lines, axis=axis, centre=centre, seed=seed)
    elif variable:
        if full != 1 or sparsities is not None:
            raise BadInput("No bands beside --variable-density", "--full or --sparsities", "Leave one of them out")
        made = sampling.variable_density(shape, rate, transform=kind, seed=seed, power=2.5 if power is None else power)
    else:
        try:
            local = None if sparsities is None else [float(s) for s in sparsities.split(",")]
        except ValueError:
            raise BadInput(
                "Numbers separated by commas", sparsities or "", "For example --sparsities 4,12,48,50,100"
            ) from None
        made = sampling.multilevel(
            shape,
            rate,
            transform=kind,
            sparsities=local,
            vanishing_moments=vanishing_moments,
            full=full,
            seed=seed,
            power=2.0 if power is None else power,
        )
    stored = (made.samples if corner_dc else made.centred()).numpy()
    bands = {",".join(map(str, k)): {"samples": m, "size": n} for k, (m, n) in made.bands.items()}
    record = {
        "count": made.count,
        "rate": made.rate,
        "recipe": dict(made.recipe),
        "centred": not corner_dc,
        "bands": bands,
        "versions": terminal.versions(),
    }
    with together():
        write_image(out, stored)
        if stored.ndim > 1:
            write_image(out.with_suffix(".png"), made.centred().float().numpy(), description="firenet: sampling mask")
        write_json(scans.beside(out), record)
    if as_json:
        terminal.print_json(record)
        return
    if made.bands and len(shape) == 2:
        down, across = (max(k[i] for k in made.bands) for i in (0, 1))
        rows = [[str(i), *(str(made.bands[i, j][0]) for j in range(1, across + 1))] for i in range(1, down + 1)]
        title = "samples in each box; bands of axis 0 down, of axis 1 across (sizes in the .json)"
        terminal.table(title, ["band", *map(str, range(1, across + 1))], rows)
    elif made.bands:
        largest = sorted({max(k) for k in made.bands})
        totals = [[sum(n[i] for k, n in made.bands.items() if max(k) == top) for i in (0, 1)] for top in largest]
        rows = [[str(top), *map(str, total)] for top, total in zip(largest, totals, strict=True)]
        terminal.table(
            "samples by the largest band of a box (each box is in the .json)", ["band", "samples", "size"], rows
        )
    terminal.say(f"{made.count} samples of {stored.size} ({made.rate:.2%}), seed {seed}; wrote {out}")


# --- bench ------------------------------------------------------------------------------------------------------------


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
@terminal.reports
def bench(
    context: typer.Context,
    quick: Annotated[bool, typer.Option("--quick", help="Small problems and few methods: minutes.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Compare with SigPy, deepinv, PyProximal, BART and cvxpy: time to a given accuracy. Needs a checkout.

    Further options go to benchmarks/run.py, e.g. --only exact-256 --cap 20. Peers live in an environment of their own,
    which `make bench` makes.
    """
    import subprocess

    script = Path(__file__).resolve().parents[2] / "benchmarks" / "run.py"
    if not script.exists():
        raise BadInput("A checkout of the repository", f"an installation without {script.name}", "Clone it; make bench")
    own = script.parent / ".venv" / "bin" / "python"
    options = [*(["--quick"] if quick else []), *(["--json"] if as_json else []), *context.args]
    run = subprocess.run([str(own if own.exists() else sys.executable), str(script), *options], check=False)
    if run.returncode:
        raise typer.Exit(run.returncode)


# --- doctor -----------------------------------------------------------------------------------------------------------

_EXTRAS = {
    "h5py": ("mri", "HDF5 files (fastMRI, ISMRMRD)"),
    "onnx": ("export", "ONNX files"),
    "onnxscript": ("export", "ONNX files"),
    "onnxruntime": ("export", "checking ONNX files"),
    "nibabel": ("images", "NIfTI files"),
    "pydicom": ("images", "DICOM files"),
    "safetensors": ("audit", "trained networks"),
    "jinja2": ("audit", "the audit's report"),
    "scikit-image": ("audit", "structural similarity"),
    "deepinv": ("deepinv", "models of deepinv"),
    "cvxpy": ("barriers", "solvers for the adversary"),
    "scikit-learn": ("barriers", "solvers for the adversary"),
}


@app.command()
@terminal.reports
def doctor(as_json: Json = False) -> None:
    """Show what is installed and what this machine can do."""
    from importlib import metadata

    import torch

    extras = {}
    for library, (extra, purpose) in _EXTRAS.items():
        try:
            version = metadata.version(library)
        except metadata.PackageNotFoundError:
            version = None
        extras[library] = {"version": version, "extra": extra, "for": purpose}
    gpus = (
        [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    )
    record = {
        "versions": terminal.versions(),
        "extras": extras,
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "gpus": gpus,
        "executable": sys.executable,
    }
    if as_json:
        terminal.print_json(record)
        return
    rows = [[name, version, "", ""] for name, version in record["versions"].items()]
    for library, e in extras.items():
        rows.append(
            [
                library,
                e["version"] or "missing",
                e["for"],
                "" if e["version"] else f"pip install 'firenet[{e['extra']}]'",
            ]
        )
    terminal.table("firenet doctor", ["library", "version", "for", "to install"], rows)
    terminal.say(f"threads: {record['threads']} of {record['cores']} cores; GPU: {', '.join(gpus) or 'none'}")


if __name__ == "__main__":
    main()
