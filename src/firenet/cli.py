"""The command line: ``firenet demo | recon | mask | certify | export | audit | train | barriers | bench | doctor``.

Commands read, call the library and write; what they compute stands elsewhere. Everything slow is imported inside the
command that needs it, so that ``--help`` answers at once.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from firenet import terminal
from firenet.cli_audit import audits, train
from firenet.cli_barriers import barriers
from firenet.errors import BadInput

if TYPE_CHECKING:
    import torch

    from firenet.certificate import Certificate
    from firenet.files import Scan
    from firenet.network import Firenet, Solution
    from firenet.recon import Prepared, ScanData

app = typer.Typer(
    name="firenet",
    help="Image reconstruction by networks whose weights are computed, not trained, each image with a duality gap.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


app.add_typer(audits)
app.command()(train)
app.add_typer(barriers)


def main() -> None:
    """The entry point."""
    app()


def _version(wanted: bool) -> None:
    if wanted:
        from firenet import __version__

        typer.echo(f"firenet {__version__}")
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
    from firenet.files import write_image, write_json

    if out.exists() and not out.is_dir():
        raise BadInput("A folder for --out", f"{out}, a file", "Name a folder")
    out.mkdir(parents=True, exist_ok=True)
    cases = {}
    with terminal.progress("MRI slice") as progress:
        cases["slice"] = job.slice_case(progress)
    with terminal.progress("raw scan") as progress:
        cases["raw"] = job.raw_case(progress)
    records = {name: case.record() for name, case in cases.items()}
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
                f"{r['seconds']:.1f}",
            ]
            for name, r in shown.items()
        ]
        columns = ["input", "rate", "zero-filled", "FIRENET", "objective", "rel. gap", "layers", "s"]
        terminal.table("PSNR in dB, and how far from optimal: relative duality gap", columns, rows)
        typer.echo(f"picture: {out / 'demo.png'}")


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
        help="Fit the data up to this 2-norm of the noise, a number or a share such as 5%, instead of choosing lambda.",
    ),
]
Slice = Annotated[int | None, typer.Option("--slice", help="Take one slice; default: all, as a batch.")]
Axes = Annotated[str | None, typer.Option("--axes", help="What the stored axes are, e.g. slice,coil,y,x.")]
Key = Annotated[str | None, typer.Option("--key", help="Name of the array in an npz or HDF5 file.")]
CornerDC = Annotated[bool, typer.Option("--corner-dc", help="Zero frequency lies in the corner, not in the middle.")]
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
    layers: Annotated[int, typer.Option("--layers", help="The most layers. With --schedule paper: so many.")] = 2000,
    tolerance: Annotated[
        float | None,
        typer.Option("--tolerance", help="Stop at this relative gap; exit code 3 if not reached. Default: 0.001."),
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
    remove_oversampling: Oversampling = False,
    noise: NoiseFile = None,
    device: Device = "cpu",
    dtype: Dtype = "complex64",
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Reconstruct an image from undersampled k-space, with its duality gap.

    Beside the image a JSON record of the run is written (OUT with the suffix .json). Exit code 3: the image is written,
    but a tolerance was not reached, or the data contradict mask or coil maps.
    """
    from firenet.files import check_output, write_image, write_json
    from firenet.recon import TOLERANCE
    from firenet.recon import rounds as solve
    from firenet.restarts import Searched
    from firenet.selection import choose_lam, draw

    check_output(out)
    inputs = [path for path in (data, mask, noise) if path is not None]
    inputs += [] if maps in (None, "auto") else [Path(str(maps))]
    auto, value = _lam(lam)
    level = _noise_level(noise_level)
    if noise_level is not None and lam is not None:
        raise BadInput("One of --lam and --noise-level", "both", "With a noise level there is no lambda")
    plot = _beside(out).with_suffix(".lam.png")
    outputs = [out, _beside(out), *([plot] if auto else [])]
    written = {q.resolve() for p in outputs for q in _pair(p)}
    overwritten = written & {q.resolve() for p in inputs for q in _pair(p)}
    if overwritten:
        raise BadInput("An output that is none of the inputs", f"{overwritten.pop()}", "Choose another name")
    _set_threads(threads)
    transform = _check_problem(sparsify, wavelet, value)
    if tolerance is not None and not tolerance > 0:
        raise BadInput("A tolerance above 0", f"{tolerance}", "1e-2 is a picture, 1e-4 a proof")
    if reweight is not None and reweight < 0:
        raise BadInput("A number of rounds, zero or more", f"{reweight}", "--reweight 1 or 2 are usual")
    plan = _schedule(schedule, layers, tolerance)  # refuses before anything is read
    with terminal.busy("reading, coil maps" if maps == "auto" else "reading"):
        scan, job = _read(data, mask, maps, slice_, axes, key, corner_dc, remove_oversampling, noise, device, dtype)
    if dry_run:
        _dry_run(job, transform, reweight, as_json)
        return
    sweep = None
    if auto:
        chosen = job.images[len(job.images) // 2]
        with terminal.progress("lambda" if len(job.images) == 1 else "lambda, on the middle slice") as progress:
            sweep = choose_lam(chosen.y, chosen.mask, chosen.maps, sparsify=transform, progress=progress)
        value = sweep.best
    solutions, seconds, schedules, rounds, nets, posed = [], [], [], [], [], []
    for number, image in enumerate(job.images):
        start = time.perf_counter()
        name = f"slice {number + 1} of {len(job.images)}" if len(job.images) > 1 else "reconstruction"
        with terminal.progress(name) as progress:
            seen = image.y * image.mask
            net = _network(image, transform, value, plan(seen), level(seen))
            nets.append(net)
            asked = None if schedule in ("adaptive", "radial") else tolerance
            found = solve(net, image.y, reweight, tolerance=asked, progress=progress)
            rounds.append([(r.solution.relative_gap.item(), int(r.solution.layers)) for r in found])
            # Image and numbers: the duals of all slices would be ten times as large.
            last = found[-1].solution
            posed.append(found[-1].net)
            total = sum(r.solution.layers for r in found)
            solutions.append(replace(last, coefficients=last.image, dual=last.gap, dual_sparse=None, layers=total))
            del found, last
            schedules.append(repr(net.schedule))
        seconds.append(time.perf_counter() - start)
    images = _stack([s.image for s in solutions])
    hidden = _stack([p.undetermined for p in job.images])
    if out.suffix.lower() not in (".npy", ".cfl", ".hdr"):
        images = abs(images) * ~hidden  # what is only looked at shows nothing where nothing is known
    spatial = [a for a in scan.axes if a in ("z", "y", "x")]
    write_image(out, images, voxel_size=scan.voxel_size, axes=[*(["slice"] if len(job.images) > 1 else []), *spatial])
    record = _record(data, scan, job, solutions, device, dtype, nets, posed)
    for result, solution, each in zip(record["results"], solutions, rounds, strict=True):
        if len(each) > 1:
            result["rounds"] = [{"relative_gap": gap, "layers": layers} for gap, layers in each]
        if isinstance(solution.schedule, Searched):
            result["steps"] = [vars(run) for run in solution.schedule.runs[0]]
    most = max(map(len, rounds))
    if most > 1:
        again = "min |w W x|_1 subject to |A x - y|_2 <= the result's noise level, w from the image before"
        record["problem"] = f"{record['problem']}; then {most - 1} x {again}"
    used = TOLERANCE if tolerance is None and schedule in ("adaptive", "radial") else tolerance
    record |= {"seconds": seconds, "schedules": schedules, "tolerance": used, "image": str(out)}
    if sweep is not None:
        draw(sweep, plot)
        if sweep.at_the_edge:
            record["warnings"].append(f"lambda {sweep.best:.2g} is an end of the grid: a better one may lie beyond.")
        record |= {"lam_sweep": vars(sweep), "lam_plot": str(plot)}
    write_json(_beside(out), record)
    _show(record, as_json, f"wrote {out}")
    if tolerance is not None and any(r["status"] != "tolerance reached" for r in record["results"]):
        missed = next(r for r in record["results"] if r["status"] != "tolerance reached")
        precision = " (--dtype complex128)" if missed["status"] == "precision limit" else ""
        typer.echo(f"the tolerance {tolerance:g} was not reached. {missed['advice']}{precision}", err=True)
        raise typer.Exit(terminal.NOT_REACHED)
    _end(job)


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
    transform, level = _check_problem(sparsify, wavelet, lam), _noise_level(noise_level)
    if noise_level is not None and lam is not None:
        raise BadInput("One of --lam and --noise-level", "both", "With a noise level there is no lambda")
    import torch

    from firenet.files import read_image
    from firenet.recon import certify_image

    with terminal.busy("reading, coil maps" if maps == "auto" else "reading"):
        scan, job = _read(data, mask, maps, slice_, axes, key, corner_dc, remove_oversampling, noise, device, dtype)
    values, _ = read_image(image)
    stack = values if len(job.images) > 1 else values[None]
    shape = (len(job.images), *job.images[0].mask.shape)
    if stack.shape != shape:
        raise BadInput(
            f"An image of shape {shape if shape[0] > 1 else shape[1:]}",
            f"{values.shape}",
            "Certify the image that belongs to these data",
        )
    if values.dtype.kind != "c":
        job.warnings.append("The image is real: if its phase was lost, the gap is large for that reason alone.")
    certificates, nets = [], []
    for number, (part, pixels) in enumerate(zip(job.images, stack, strict=True)):
        name = f"slice {number + 1} of {shape[0]}" if shape[0] > 1 else "certificate"
        with terminal.progress(name) as progress:
            net = _network(part, transform, lam, None, level(part.y * part.mask))
            nets.append(net)
            x = torch.from_numpy(pixels).to(device=part.y.device, dtype=part.y.dtype)
            certificates.append(certify_image(x, net, part.y, budget=budget, progress=progress))
    record = _record(data, scan, job, certificates, device, dtype, nets, nets) | {"image": str(image)}
    _show(record, as_json, "gap: an upper bound of objective(image) - minimum, valid for this image and these data")
    _end(job)


@app.command()
@terminal.reports
def export(
    data: Data,
    out: Annotated[Path, typer.Option("-o", "--out", help="The network, .onnx.", show_default=False)],
    mask: MaskFile = None,
    maps: Maps = None,
    wavelet: Annotated[str, typer.Option("--wavelet", help="Orthonormal, as in recon.")] = "db4",
    lam: Lam = None,
    layers: Annotated[int, typer.Option("--layers", help="The most layers; each takes about a second to write.")] = 200,
    tolerance: Annotated[float, typer.Option("--tolerance", help="Relative gap that the layers reach here.")] = 1e-2,
    slice_: Slice = None,
    axes: Axes = None,
    key: Key = None,
    corner_dc: CornerDC = False,
    remove_oversampling: Oversampling = False,
    noise: NoiseFile = None,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Find the steps for these data, freeze them, and write the feed-forward network as an ONNX file (extra export).

    The file takes measurements with zero frequency in the corner, complex numbers as pairs of reals on the last axis;
    it is compared with the network before it is put in place. One image at a time: --slice.
    """
    from firenet.export import check_export, export_onnx
    from firenet.files import write_json
    from firenet.restarts import Searched

    inputs = [data, mask, noise, None if maps in (None, "auto") else Path(str(maps))]
    if _beside(out).resolve() in {p.resolve() for p in inputs if p is not None}:
        raise BadInput("A record that is none of the inputs", str(_beside(out)), "Choose another name")
    check_export(out)  # refuses before anything is read
    _set_threads(threads)
    transform = _check_problem(None, wavelet, lam)
    plan = _schedule("adaptive", layers, tolerance)
    with terminal.busy("reading, coil maps" if maps == "auto" else "reading"):
        scan, job = _read(
            data, mask, maps, slice_, axes, key, corner_dc, remove_oversampling, noise, "cpu", "complex64"
        )
    if len(job.images) > 1:
        raise BadInput("One image", f"{len(job.images)} slices", "Choose one with --slice")
    image = job.images[0]
    net = _network(image, transform, lam, plan(image.y))
    with terminal.progress("finding the steps") as progress:
        solution = net.solve(image.y, progress=progress)
    assert isinstance(solution.schedule, Searched)
    frozen = solution.schedule.frozen()
    with terminal.busy(f"exporting {frozen.layers} layers"):
        made = export_onnx(net.following(frozen), out, measurements=image.y)
    record = _record(data, scan, job, [solution], "cpu", "complex64", [net], [net])
    record |= {"steps": [vars(run) for run in frozen.runs], "onnx": made}
    write_json(_beside(out), record)
    differs = ", ".join(f"{d:.1e} ({what})" for what, d in made["difference"].items())
    size = f"{frozen.layers} layers, {out.stat().st_size / 2**20:.1f} MiB"
    _show(record, as_json, f"wrote {out}: {size}; onnxruntime differs from the network by {differs}")
    _end(job)


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

    images = []
    for image in job.images:
        net = _network(image, transform)
        images.append(
            {"shape": list(image.y.shape), "peak_bytes": peak_bytes(net.problem, image.y, again=reweight != 0)}
        )
    record = {"images": images, "peak_bytes": max(i["peak_bytes"] for i in images), "estimate": True}
    if as_json:
        terminal.print_json(record)
        return
    rows = [
        [str(k), " x ".join(map(str, i["shape"])), f"{i['peak_bytes'] / 2**20:.0f} MiB"] for k, i in enumerate(images)
    ]
    terminal.table("one image after the other; memory beside the data, an estimate", ["slice", "data", "peak"], rows)
    typer.echo("nothing was computed")


def _set_threads(threads: int | None) -> None:
    if threads is None:
        return
    if threads < 1:
        raise BadInput("At least one thread", f"{threads}", "Leave --threads out for all of them")
    import torch

    torch.set_num_threads(threads)


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


def _pair(path: Path) -> list[Path]:
    """The files behind a path: BART's cfl and hdr are two."""
    return [path.with_suffix(s) for s in (".cfl", ".hdr")] if path.suffix.lower() in (".cfl", ".hdr") else [path]


def _stack(tensors: list[torch.Tensor]) -> Any:
    """One array: with a slice axis if there are several."""
    arrays = [t.cpu().numpy() for t in tensors]
    if len(arrays) == 1:
        return arrays[0]
    import numpy

    return numpy.stack(arrays)


def _read(
    data: Path,
    mask: Path | None,
    maps: str | None,
    slice_: int | None,
    axes: str | None,
    key: str | None,
    corner_dc: bool,
    remove_oversampling: bool,
    noise: Path | None,
    device: str,
    dtype: str,
) -> tuple[Scan, ScanData]:
    """Reads and prepares what recon and certify share."""
    import torch

    from firenet.files import read_array, read_scan
    from firenet.recon import prepare_scan

    dtypes = {"complex64": torch.complex64, "complex128": torch.complex128}
    if dtype not in dtypes:
        raise BadInput("A dtype of complex64 or complex128", dtype, "complex128 for gaps below 1e-5")
    try:
        usable = torch.device(device).type == "cpu" or bool(torch.empty(1, device=device).numel())
    except (RuntimeError, AssertionError) as error:
        raise BadInput(
            "A device that this machine has", device, "Use cpu; `firenet doctor` lists the devices"
        ) from error
    assert usable
    names = None if axes is None else [a.strip() for a in axes.split(",")]
    scan = read_scan(data, axes=names, key=key, coils=maps is not None)
    given = None if mask is None else read_array(mask, purpose="mask")
    oversampling = 1.0
    if remove_oversampling:
        oversampling = 2.0 if scan.readout_oversampling is None else scan.readout_oversampling
    job = prepare_scan(
        scan.kspace,
        scan.axes,
        mask=scan.mask if given is None else given,
        maps=maps if maps in (None, "auto") else read_array(maps, purpose="maps"),
        only=slice_,
        oversampling=oversampling,
        readout=scan.readout,
        noise=None if noise is None else read_array(noise, purpose="noise"),
        centred=not corner_dc,
        device=device,
        dtype=dtypes[dtype],
    )
    return scan, job


def _network(
    image: Prepared,
    transform: str | None,
    lam: float | None = None,
    schedule: Any = None,
    noise: float | None = None,
) -> Firenet:
    from firenet.recon import network

    net = network(image.mask, image.maps, sparsify=transform, lam=lam, noise=noise, schedule=schedule)
    return net.to(image.y.device)


def _noise_level(given: str | None) -> Callable[[torch.Tensor], float | None]:
    """What makes the noise level for given measurements."""
    if given is None:
        return lambda y: None
    share = given.endswith("%")
    try:
        value = float(given.removesuffix("%")) / (100 if share else 1)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise BadInput("--noise-level: a number or a percentage, zero or more", repr(given), "For example 5%")
    return (lambda y: value * y.abs().double().square().sum().sqrt().item()) if share else (lambda y: value)


def _record(
    data: Path,
    scan: Scan,
    job: ScanData,
    solutions: list[Solution] | list[Certificate],
    device: str,
    dtype: str,
    nets: list[Firenet],
    posed: list[Firenet],
) -> dict[str, Any]:
    """The record of a run, for JSON and for the table. ``nets`` are what was asked for, ``posed`` the networks of the
    last round, of which the gaps speak."""
    import torch

    from firenet.files import sha256
    from firenet.network import Solution
    from firenet.problems import Ball
    from firenet.recon import describe

    results = []
    for part, solution, net in zip(job.images, solutions, posed, strict=True):
        results.append(
            {
                "sampling_rate": part.mask.float().mean().item(),
                "objective": solution.objective.item(),
                "gap": solution.gap.item(),
                "relative_gap": solution.relative_gap.item(),
                "layers": int(solution.layers),
                **(
                    {
                        "noise_level": net.fidelity.noise,
                        "excess": solution.violation.item(),
                    }
                    if isinstance(net.fidelity, Ball)
                    else {}
                ),
                **(
                    {"status": solution.statuses[0].value, "advice": solution.statuses[0].advice}
                    if isinstance(solution, Solution)
                    else {"status": _verdict(solution), "tightness": solution.tightness.item(), "kind": solution.kind}
                ),
                "maps": part.maps_method,
                "unexplained": part.unexplained,
                "undetermined_pixels": int(part.undetermined.sum()),
            }
        )
    net = nets[0]
    assert net.sparsify is not None
    words = describe(net.sparsify)
    if int(net.sparsify.levels().max()) == 0:
        job.warnings.append(f"The image is too small for one level of {words.partition(',')[0]}: W is the identity.")
    for number, (result, one) in enumerate(zip(results, posed, strict=True)):
        if isinstance(one.fidelity, Ball) and result["excess"] > 0.01 * one.fidelity.noise:
            off = f"{result['excess']:.3g} beyond the noise level {one.fidelity.noise:.3g}"
            job.warnings.append(f"Image {number} fits the data only to {off}; is that too small for these data?")
    known = isinstance(net.fidelity, Ball)
    problem = "min |W x|_1 subject to |A x - y|_2 <= noise level" if known else "min lam * |W x|_1 + |A x - y|_2"
    return {
        "data": str(data),
        "array": scan.source,
        "sha256": sha256(data),
        "axes": list(scan.axes),
        "problem": f"{problem}, W = {words}",
        "sparsify": words.partition(",")[0],
        "lam": net.lam,
        "device": device,
        "dtype": dtype,
        "threads": torch.get_num_threads(),
        "results": results,
        "warnings": job.warnings,
        "doubts": job.doubts,
        "versions": terminal.versions(),
    }


def _verdict(certificate: Certificate) -> str:
    """A certificate in two or three words."""
    if not certificate.gap.item() < float("inf"):
        return "not finite"
    if certificate.gap <= certificate.rounding:
        return "precision limit"
    return f"<= {certificate.tightness.item():.2f} x true" if certificate.tightness <= 10 else "bound"


def _show(record: dict[str, Any], as_json: bool, last_line: str) -> None:
    for warning in record["warnings"]:
        typer.echo(f"warning: {warning}", err=True)
    if as_json:
        terminal.print_json(record)
        return
    columns = ["slice", "rate", "objective", "gap", "rel. gap", "layers", "status"]
    rows = [
        [
            str(number),
            f"{r['sampling_rate']:.1%}",
            f"{r['objective']:.5g}",
            f"{r['gap']:.2e}",
            f"{r['relative_gap']:.1e}",
            f"{r['layers']}",
            r["status"],
        ]
        for number, r in enumerate(record["results"])
    ]
    lam = "" if record["problem"].startswith("min |") else f", lam = {record['lam']:.4g}"
    terminal.table(record["problem"] + lam, columns, rows)
    for r in record["results"][:1]:
        if r["maps"] != "none":
            typer.echo(f"coil maps: {r['maps']}")
    hidden = sum(r["undetermined_pixels"] for r in record["results"])
    if hidden:
        typer.echo(f"{hidden} pixels are undetermined: every coil map is zero there")
    typer.echo(last_line)


def _end(job: ScanData) -> None:
    """Ends with exit code 3 where mask or coil maps are doubtful: the result is there, and should not be trusted."""
    if job.doubts:
        raise typer.Exit(terminal.NOT_REACHED)


def _beside(out: Path) -> Path:
    """The run record's path: the image's with the suffix .json."""
    name = out.name.removesuffix(".gz")
    return out.with_name(name.rpartition(".")[0] + ".json")


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
    corner_dc: CornerDC = False,
    as_json: Json = False,
) -> None:
    """Design a sampling mask with exactly the requested number of samples."""
    from firenet.files import check_output, write_image, write_json

    check_output(out, suffixes=(".npy",))
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
    write_image(out, stored)
    if stored.ndim > 1:
        write_image(out.with_suffix(".png"), made.centred().float().numpy())
    bands = {",".join(map(str, k)): {"samples": m, "size": n} for k, (m, n) in made.bands.items()}
    record = {
        "count": made.count,
        "rate": made.rate,
        "recipe": dict(made.recipe),
        "centred": not corner_dc,
        "bands": bands,
        "versions": terminal.versions(),
    }
    write_json(_beside(out), record)
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
    typer.echo(f"{made.count} samples of {stored.size} ({made.rate:.2%}), seed {seed}; wrote {out}")


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
    "h5py": ("mri", "HDF5 files (fastMRI)"),
    "ismrmrd": ("mri", "ISMRMRD files"),
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
    typer.echo(f"threads: {record['threads']} of {record['cores']} cores; GPU: {', '.join(gpus) or 'none'}")


if __name__ == "__main__":
    main()
