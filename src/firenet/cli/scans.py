"""What the commands about scans do alike: read one, solve its images, write down what came out, and show it.

A slice keeps the number it has in its file: in tables, warnings, records, and in what is written into images. Slices
that hold nothing are not solved: their image is zero, and so are objective and gap.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from firenet.cli import console
from firenet.errors import BadInput

if TYPE_CHECKING:
    import torch

    from firenet.certificate import Certificate
    from firenet.io.files import Scan
    from firenet.mri.kspace import Origin
    from firenet.mri.scan import Prepared, ScanData
    from firenet.network import Firenet
    from firenet.solver.solution import Solution, Status


Level = Callable[["torch.Tensor"], "float | None"]

EMPTY = "empty slice"
# An image that is further from the data than the noise level by this share of it does not fit.
FITS = 0.01
# Below this share of the estimated noise a noise level is likely a mistake.
FAR_BELOW = 1 / 3


@dataclass(frozen=True)
class Source:
    """Where a scan comes from and how it is to be read: the options that the commands share.

    Attributes:
        data: The file of k-space.
        mask: The file of the mask, or None.
        maps: The file of the coil maps, ``auto`` or None.
        only: The slice to take, or None for all.
        axes: Names with commas between, or None for what the file says.
        key: Name of the array.
        corner_dc: Zero frequency lies in the corner.
        origin: ``middle`` or ``corner``, or None for the usual one.
        remove_oversampling: Crop the readout.
        noise: The file of noise samples, or None.
        device: Where to compute.
        dtype: complex64 or complex128.
    """

    data: Path
    mask: Path | None = None
    maps: str | None = None
    only: int | None = None
    axes: str | None = None
    key: str | None = None
    corner_dc: bool = False
    origin: str | None = None
    remove_oversampling: bool = False
    noise: Path | None = None
    device: str = "cpu"
    dtype: str = "complex64"

    @property
    def files(self) -> list[Path]:
        """Everything that is read."""
        maps = None if self.maps in (None, "auto") else Path(str(self.maps))
        return [path for path in (self.data, self.mask, maps, self.noise) if path is not None]


def read(source: Source) -> tuple[Scan, ScanData]:
    """Reads and prepares a scan.

    Raises:
        BadInput: For what cannot be read or does not fit together, and for an axis of coils that looks like another.
    """
    import torch

    from firenet.io.files import read_array, read_scan
    from firenet.mri.kspace import coil_axis_is_elsewhere
    from firenet.mri.scan import prepare_scan

    dtypes = {"complex64": torch.complex64, "complex128": torch.complex128}
    if source.dtype not in dtypes:
        raise BadInput("A dtype of complex64 or complex128", source.dtype, "complex128 for gaps below 1e-5")
    try:
        usable = torch.device(source.device).type == "cpu" or bool(torch.empty(1, device=source.device).numel())
    except (RuntimeError, AssertionError) as error:
        do = "Use cpu; `firenet doctor` lists the devices"
        raise BadInput("A device that this machine has", source.device, do) from error
    assert usable
    names = None if source.axes is None else [a.strip() for a in source.axes.split(",")]
    maps = source.maps
    with console.busy("reading, coil maps" if maps == "auto" else "reading"):
        scan = read_scan(source.data, axes=names, key=source.key, coils=maps is not None)
        elsewhere = coil_axis_is_elsewhere(scan.axes, scan.kspace.shape)
        if elsewhere is not None and names is None:
            given = ",".join(scan.axes)
            do = f"Name the stored axes: --axes y,x,coil, or --axes {given} if they are what they seem to be"
            raise BadInput("An axis of coils, which are few", f"{elsewhere}, if the axes are {given}", do)
        given_mask = None if source.mask is None else read_array(source.mask, purpose="mask")
        oversampling = 1.0
        if source.remove_oversampling:
            oversampling = 2.0 if scan.readout_oversampling is None else scan.readout_oversampling
        job = prepare_scan(
            scan.kspace,
            scan.axes,
            mask=scan.mask if given_mask is None else given_mask,
            maps=maps if maps is None or maps == "auto" else read_array(maps, purpose="maps"),
            only=source.only,
            oversampling=oversampling,
            readout=scan.readout,
            noise=None if source.noise is None else read_array(source.noise, purpose="noise"),
            centred=not source.corner_dc,
            origin=_origin(source.origin),
            device=source.device,
            dtype=dtypes[source.dtype],
        )
    job.warnings[:0] = scan.notes
    return scan, job


def _origin(word: str | None) -> Origin | None:
    if word is None or word == "middle" or word == "corner":
        return word
    raise BadInput("--image-origin middle or corner", repr(word), "Leave it out for the usual one")


def network(
    image: Prepared,
    transform: str | None,
    lam: float | None = None,
    schedule: Any = None,
    noise: float | None = None,
) -> Firenet:
    """Returns the network of an image of a scan, on its device."""
    from firenet.mri.reconstruct import network as build

    net = build(image.mask, image.maps, sparsify=transform, lam=lam, noise=noise, schedule=schedule)
    return net.to(image.y.device)


def noise_level(given: str | None) -> Level:
    """Returns what makes the noise level for given measurements: a number, or a share of their norm."""
    if given is None:
        return lambda y: None
    share = given.endswith("%")
    try:
        value = float(given.removesuffix("%")) / (100 if share else 1)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise BadInput("--noise-level: a number or a percentage, zero or more", repr(given), "For example 5%")
    return (lambda y: value * _norm(y)) if share else (lambda y: value)


def check_noise_level(level: Level, job: ScanData, *, whitened: bool) -> None:
    """Refuses a noise level at which the zero image fits every image, and warns of one that is hardly the noise's.

    Args:
        level: The noise level for given measurements.
        job: The images; warnings are added to its own.
        whitened: The coils were whitened by samples of the noise, whose variance is one since.

    Raises:
        BadInput: The level is at least the norm of the data, in all images.
    """
    from firenet.mri.kspace import noise_estimate

    all_of_it = []
    for image in job.images:
        seen = image.y * image.mask
        asked, size = level(seen), _norm(seen)
        if image.empty or asked is None:
            continue
        if asked >= size:
            all_of_it.append((image, asked, size))
            continue
        samples = int(image.mask.sum()) * (image.y.numel() // image.mask.numel())
        estimate = samples**0.5 if whitened else noise_estimate(image.y, image.mask)
        if asked < FAR_BELOW * estimate:
            source = "the noise samples say" if whitened else "the outermost samples suggest, an estimate"
            job.warnings.append(
                f"{_called(image)} has a noise level of {asked:.3g}, far below {estimate:.3g}, which is what {source}; "
                "noise is then fitted as if it were image, which takes many layers."
            )
    if all_of_it and len(all_of_it) == sum(not image.empty for image in job.images):
        _, asked, size = all_of_it[0]
        do = "Give the 2-norm of the noise over all samples, a number or a share such as 5%; at this level zero fits"
        raise BadInput(f"A noise level below the norm of the data, {size:.4g}", f"{asked:.4g}", do)
    for image, asked, size in all_of_it:
        said = f"a noise level of {asked:.3g}, at least the norm of its data, {size:.3g}: its image is zero"
        job.warnings.append(f"{_called(image)} has {said}.")


def check_finite(image: torch.Tensor, y: torch.Tensor, lam: float) -> None:
    """Refuses an image that is not finite; the data are, so it is their size or lambda's that cannot be computed with.

    Raises:
        BadInput: It is not.
    """
    import torch

    from firenet.numerics import real_view

    if not torch.isfinite(real_view(image)).all():
        size, dtype = f"{y.abs().max().item():.2g}", str(y.dtype).removeprefix("torch.")
        do = "Scale the data, choose another lambda, or compute with --dtype complex128"
        raise BadInput(f"Numbers that {dtype} can compute with", f"samples of up to {size}, lambda = {lam:.2g}", do)


def _norm(y: torch.Tensor) -> float:
    return y.abs().double().square().sum().sqrt().item()


def _called(image: Prepared) -> str:
    """An image in a sentence, at its beginning."""
    return "The image" if image.number is None else f"Slice {image.number}"


# --- what came out ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of one image.

    Attributes:
        part: The image's data.
        image: The image.
        found: Its solution or certificate; None for an empty slice.
        asked: The network that was asked for; None for an empty slice.
        posed: The network of the last round, of which the gap speaks.
        layers: All that were run.
        rounds: Relative gap and layers of every round.
        ended: Why there were fewer rounds than asked for, or None.
        seconds: That it took.
    """

    part: Prepared
    image: torch.Tensor
    found: Solution | Certificate | None = None
    asked: Firenet | None = None
    posed: Firenet | None = None
    layers: int = 0
    rounds: Sequence[tuple[float, int]] = ()
    ended: str | None = None
    seconds: float = 0.0


def each(job: ScanData, what: str, solve: Callable[[Prepared, Callable[..., None]], Outcome]) -> list[Outcome]:
    """Solves image after image, each with a bar of its own; an empty slice is zero.

    Args:
        job: The images.
        what: The name of the bar, where there is one image.
        solve: Takes an image and what is to be told the progress.
    """
    import torch

    outcomes = []
    for count, image in enumerate(job.images, 1):
        if image.empty:
            outcomes.append(Outcome(image, torch.zeros(image.mask.shape, dtype=image.y.dtype)))
            continue
        name = f"slice {image.number}, {count} of {len(job.images)}" if len(job.images) > 1 else what
        start = time.perf_counter()
        with console.progress(name) as progress:
            made = solve(image, progress)
        outcomes.append(replace(made, seconds=time.perf_counter() - start))
    return outcomes


def warn(warnings: Sequence[str]) -> None:
    """Prints warnings on stderr."""
    for warning in warnings:
        console.say(f"warning: {warning}", err=True)


def status_of(solution: Solution) -> Status:
    """Returns the status of the solution of one image."""
    return solution.statuses[0]


def end(job: ScanData) -> None:
    """Ends with exit code 3 where mask or coil maps are doubtful: the result is there, and should not be trusted."""
    if job.doubts:
        raise typer.Exit(console.NOT_REACHED)


def _finite(number: float) -> float | None:
    """JSON has no infinity."""
    return number if abs(number) < float("inf") else None


def relative_gap(found: Solution | Certificate) -> dict[str, Any]:
    """Returns the relative gap for a record: null, with the reason, where it is not finite."""
    value = found.relative_gap.item()
    if abs(value) < float("inf"):
        return {"relative_gap": value}
    if value != value:
        return {"relative_gap": None, "relative_gap_reason": "the gap is NaN"}
    zero = found.lower_bound.item() == 0
    reason = "the lower bound of the minimum is zero: nothing is proved" if zero else "the objective is not finite"
    return {"relative_gap": None, "relative_gap_reason": reason}


def record(source: Source, scan: Scan, job: ScanData, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Returns the record of a run, for JSON and for the table; what is odd about the outcomes joins the warnings."""
    import torch

    from firenet.io.files import sha256
    from firenet.problems.fidelity import Ball
    from firenet.transforms.spec import describe

    asked = next(o.asked for o in outcomes if o.asked is not None)
    assert asked.sparsify is not None
    words = describe(asked.sparsify)
    if int(asked.sparsify.levels().max()) == 0:
        job.warnings.append(f"The image is too small for one level of {words.partition(',')[0]}: W is the identity.")
    results = [_result(outcome) for outcome in outcomes]
    for outcome in outcomes:
        if outcome.ended is not None and "broke off" in outcome.ended:
            job.warnings.append(f"{_called(outcome.part)}: {outcome.ended}.")
        off = not_fitting(outcome)
        if off is not None:
            job.warnings.append(f"{_called(outcome.part)} fits the data only to {off}; is that too small for them?")
    known = isinstance(asked.fidelity, Ball)
    problem = "min |W x|_1 subject to |A x - y|_2 <= noise level" if known else "min lam * |W x|_1 + |A x - y|_2"
    return {
        "data": str(source.data),
        "array": scan.source,
        "slices": [outcome.part.number for outcome in outcomes],
        "sha256": sha256(source.data),
        "axes": list(scan.axes),
        "voxel_size": scan.voxel_size,
        "slice_thickness": scan.slice_thickness,
        "problem": f"{problem}, W = {words}",
        "sparsify": words.partition(",")[0],
        "lam": asked.lam,
        "device": source.device,
        "dtype": source.dtype,
        "threads": torch.get_num_threads(),
        "results": results,
        "conditions": next((list(o.found.conditions) for o in outcomes if o.found is not None), []),
        "warnings": job.warnings,
        "doubts": job.doubts,
        "versions": console.versions(),
    }


def _result(outcome: Outcome) -> dict[str, Any]:
    """One image's part of the record."""
    from firenet.problems.fidelity import Ball
    from firenet.solver.solution import Solution

    part, found = outcome.part, outcome.found
    result: dict[str, Any] = {"slice": part.number, "sampling_rate": int(part.mask.sum()) / part.mask.numel()}
    if found is None or outcome.posed is None:  # zero is the minimiser for data of zero, exactly
        none = {"objective": 0.0, "lower_bound": 0.0, "gap": 0.0, "rounding": 0.0, "relative_gap": 0.0, "layers": 0}
        none["status"] = EMPTY
        advice = "All its samples are zero, and so is its image."
        return result | none | {"advice": advice, "maps": part.maps_method, "undetermined_pixels": 0}
    result |= {
        "objective": _finite(found.objective.item()),
        "lower_bound": found.lower_bound.item(),
        "gap": _finite(found.gap.item()),
        "rounding": _finite(found.rounding.item()),
        **relative_gap(found),
        "layers": outcome.layers,
    }
    if isinstance(outcome.posed.fidelity, Ball):
        result |= {
            "noise_level": outcome.posed.fidelity.noise,
            "violation": _finite(found.violation.item()),
            "relative_violation": _finite(found.relative_violation.item()),
        }
    if isinstance(found, Solution):
        status = status_of(found)
        result |= {"status": status.value, "advice": status.advice}
    else:
        result |= {"status": _verdict(found), "tightness": found.tightness.item(), "kind": found.kind}
    result |= {"maps": part.maps_method, "unexplained": part.unexplained}
    result |= {"undetermined_pixels": int(part.undetermined.sum())}
    if outcome.ended is not None:
        result["reweighting"] = outcome.ended
    if len(outcome.rounds) > 1:
        result["rounds"] = [{"relative_gap": _finite(gap), "layers": layers} for gap, layers in outcome.rounds]
    return result


def not_fitting(outcome: Outcome) -> str | None:
    """Returns by how much an image misses the noise level that its problem has, in words, where that is not rounding;
    else None."""
    from firenet.problems.fidelity import Ball

    if outcome.found is None or outcome.posed is None or not isinstance(outcome.posed.fidelity, Ball):
        return None
    if not outcome.found.relative_violation.item() > FITS:
        return None
    return f"{outcome.found.violation.item():.3g} beyond the noise level {outcome.posed.fidelity.noise:.3g}"


def _verdict(certificate: Certificate) -> str:
    """A certificate in two or three words."""
    if not certificate.gap.item() < float("inf"):
        return "not finite"
    if certificate.gap <= certificate.rounding:
        return "precision limit"
    return f"<= {certificate.tightness.item():.2f} x true" if certificate.tightness <= 10 else "bound"


def shown(number: float | None, form: str) -> str:
    return "infinite" if number is None else format(number, form)


def show(record: dict[str, Any], as_json: bool, last_line: str, *, told: int = 0) -> None:
    """Prints a record.

    Args:
        record: As :func:`record` makes it.
        as_json: As JSON and not as a table.
        last_line: Below the table.
        told: How many of its warnings were printed before.
    """
    warn(record["warnings"][told:])
    if as_json:
        console.print_json(record)
        return
    # Where there is a constraint, how far from it the image is says as much as the gap.
    constrained = any("relative_violation" in r for r in record["results"])
    # Objective and gap then stand in the record alone: there is no room for all in 80 columns.
    middle = ["rel. gap", "violation"] if constrained else ["objective", "gap", "rel. gap"]
    columns = ["slice", "rate", *middle, "layers", "status"]
    rows = [
        [
            name_of(r["slice"]),
            f"{r['sampling_rate']:.1%}",
            *([] if constrained else [shown(r["objective"], ".5g"), shown(r["gap"], ".2e")]),
            shown(r["relative_gap"], ".1e"),
            *([shown(r.get("relative_violation", 0.0), ".1e")] if constrained else []),
            f"{r['layers']}",
            r["status"],
        ]
        for r in record["results"]
    ]
    lam = "" if record["problem"].startswith("min |") else f", lam = {record['lam']:.4g}"
    console.table(record["problem"] + lam, columns, rows)
    maps = [r["maps"] for r in record["results"] if r["maps"] != "none"]
    if maps:
        console.say(f"coil maps: {maps[0]}")
    hidden = sum(r["undetermined_pixels"] for r in record["results"])
    if hidden:
        console.say(f"{hidden} pixels are undetermined: every coil map is zero there")
    console.say(last_line)


def name_of(number: int | None) -> str:
    """Returns the number of a slice for a table, and a dash for data without slices."""
    return "-" if number is None else str(number)


# --- files ------------------------------------------------------------------------------------------------------------


def description(source: Source, scan: Scan, job: ScanData) -> str:
    """Returns where an image comes from, for the field of a file that says so: file, array and slices."""
    numbers = [image.number for image in job.images if image.number is not None]
    array = scan.source.removeprefix(str(source.data)).strip()
    slices = ""
    if numbers:
        slices = f"slice {numbers[0]}" if len(numbers) == 1 else f"slices {numbers[0]}-{numbers[-1]}"
    return " ".join(part for part in ("firenet:", source.data.name, array, slices) if part)


def beside(out: Path) -> Path:
    """Returns the path of the run record: the image's with the suffix .json."""
    name = out.name.removesuffix(".gz")
    return out.with_name(name.rpartition(".")[0] + ".json")


def check_overwriting(outputs: Sequence[Path], inputs: Sequence[Path]) -> None:
    """Refuses outputs that are inputs.

    Raises:
        BadInput: One is.
    """
    written = {q.resolve() for p in outputs for q in _pair(p)}
    overwritten = written & {q.resolve() for p in inputs for q in _pair(p)}
    if overwritten:
        raise BadInput("An output that is none of the inputs", f"{overwritten.pop()}", "Choose another name")


def _pair(path: Path) -> list[Path]:
    """The files behind a path: BART's cfl and hdr are two."""
    return [path.with_suffix(s) for s in (".cfl", ".hdr")] if path.suffix.lower() in (".cfl", ".hdr") else [path]


def stack(tensors: Sequence[torch.Tensor]) -> Any:
    """Returns one array, with an axis of slices if there are several."""
    arrays = [t.cpu().numpy() for t in tensors]
    if len(arrays) == 1:
        return arrays[0]
    import numpy

    return numpy.stack(arrays)
