"""Prints records, warnings and progress, and sets the exit code, for all commands about scans."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typer import Exit

from firenet.cli import console
from firenet.errors import BadInput

if TYPE_CHECKING:
    import torch

    from firenet.reconstruction.prepared import ScanData
    from firenet.scans.record import Reconstruction


def warn(sentence: str) -> None:
    """Prints a warning on stderr."""
    console.say(f"warning: {sentence}", err=True)


def end(scan: ScanData) -> None:
    """Ends with exit code 3 where mask or coil maps are doubtful: the result is there, and should not be trusted."""
    if scan.doubts:
        raise Exit(console.NOT_REACHED)


@contextmanager
def progress(quiet: bool) -> Iterator[Callable[[str, int, int, float | None], None]]:
    """Shows a progress bar, and yields a function to be called with what is being done, the amount done, the total
    amount, and the relative gap."""
    with console.progress("reading", quiet=quiet) as tell:
        yield lambda what, done, most, gap: tell(done, most, gap, what)


def record_of(found: Sequence[Reconstruction], **more: Any) -> dict[str, Any]:
    """Returns the record of a scan with further fields, and prints the warnings that come up while it is made."""
    from firenet.scans.record import scan_record

    record = scan_record(found) | more
    for sentence in record["warnings"][len(found[0].scan.warnings) :]:
        warn(sentence)
    return record


def report(
    found: Sequence[Reconstruction], record: dict[str, Any], last: str, *, as_json: bool, quiet: bool, formula: bool
) -> None:
    """Prints a record: as JSON if ``as_json``; else, unless ``quiet``, as a sentence, a table and a last line."""
    from firenet.scans.record import summary

    if as_json:
        console.print_json(record)
    elif not quiet:
        console.say(summary(found))
        if found[0].choice is not None:
            console.say(str(found[0].choice))
        _show(record, formula)
        console.say(last)


def shown(number: float | None, form: str) -> str:
    """Returns a number of a record as text; in a record, None stands for infinity."""
    return "infinite" if number is None else format(number, form)


def _show(record: dict[str, Any], formula: bool) -> None:
    """Prints the table of a record, and what is to be said below it."""
    # With a constraint, the violation matters as much as the gap. Objective and gap then stand in the record alone:
    # there is no room for all in 80 columns.
    constrained = any("relative_violation" in r for r in record["results"])
    middle = ["relative violation"] if constrained else ["objective", "gap"]
    rows = []
    for r in record["results"]:
        numbers = [shown(r.get("relative_violation", 0.0), ".1e")]
        if not constrained:
            numbers = [shown(r["objective"], ".5g"), shown(r["gap"], ".2e")]
        gap = shown(r["relative_gap"], ".1e")
        rows.append([name_of(r["slice"]), f"{100 * r['sampling_rate']:.1f}", *numbers, gap, str(r["layers"])])
        rows[-1].append(r["status"])
    console.table(None, ["slice", "sampled (%)", *middle, "relative gap", "layers", "status"], rows)
    if formula:
        lam = "" if record["problem"].startswith("min |") else f", lam = {record['lam']:.4g}"
        console.say(f"problem: {record['problem']}{lam}")
    noise = [r["noise_estimate"] for r in record["results"] if "noise_estimate" in r]
    if noise:
        shares = f"{100 * noise[0]['share']:.2g} % of the measurements"
        many = "" if len(noise) == 1 else " of the first slice"
        console.say(f"noise: an estimated {shares}{many}, from {noise[0]['from']}")
    maps = [r["maps"] for r in record["results"] if r["maps"] != "none"]
    if maps:
        console.say(f"coil maps: {maps[0]}")
    hidden = sum(r["undetermined_pixels"] for r in record["results"])
    if hidden:
        console.say(f"{hidden} pixels are undetermined: every coil map is zero there")


def stack(tensors: Sequence[torch.Tensor]) -> Any:
    """Returns one array, with an axis of slices if there are several."""
    import numpy

    arrays = [t.cpu().numpy() for t in tensors]
    return arrays[0] if len(arrays) == 1 else numpy.stack(arrays)


def name_of(number: int | None) -> str:
    """Returns the number of a slice for a table, and a dash for data without slices."""
    return "-" if number is None else str(number)


def beside(out: Path) -> Path:
    """Returns the path of the record of a run: that of the image with the suffix .json."""
    name = out.name.removesuffix(".gz")
    return out.with_name(name.rpartition(".")[0] + ".json")


def check_overwriting(outputs: Sequence[Path], inputs: Sequence[Path]) -> None:
    """Refuses outputs that are inputs.

    Raises:
        BadInput: If an output is an input.
    """
    overwritten = _files(outputs) & _files(inputs)
    if overwritten:
        raise BadInput("An output that is not an input", f"{overwritten.pop()}", "Choose another name")


def _files(paths: Sequence[Path]) -> set[Path]:
    """Returns the files that belong to these paths: for BART both the cfl and the hdr file."""
    found = set()
    for path in paths:
        pair = path.suffix.lower() in (".cfl", ".hdr")
        found |= {q.resolve() for q in ([path.with_suffix(s) for s in (".cfl", ".hdr")] if pair else [path])}
    return found
