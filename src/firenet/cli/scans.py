"""What the commands about scans print and check alike."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from firenet.cli import console
from firenet.errors import BadInput

if TYPE_CHECKING:
    import torch

    from firenet.mri.scan import ScanData


def warn(sentence: str) -> None:
    """Prints a warning on stderr."""
    console.say(f"warning: {sentence}", err=True)


def end(scan: ScanData) -> None:
    """Ends with exit code 3 where mask or coil maps are doubtful: the result is there, and should not be trusted."""
    if scan.doubts:
        raise typer.Exit(console.NOT_REACHED)


def shown(number: float | None, form: str) -> str:
    return "infinite" if number is None else format(number, form)


def show(record: dict[str, Any], summary: str, last_line: str, *, formula: bool = False) -> None:
    """Prints a record as a sentence and a table.

    Args:
        record: Of :func:`.scan_record`.
        summary: The first line.
        last_line: Below the table.
        formula: Print the problem too.
    """
    # Where there is a constraint, how far from it the image is says as much as the gap.
    constrained = any("relative_violation" in r for r in record["results"])
    # Objective and gap then stand in the record alone: there is no room for all in 80 columns.
    middle = ["gap (share)", "violation (share)"] if constrained else ["objective", "gap", "gap (share)"]
    columns = ["slice", "sampled", *middle, "layers", "status"]
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
    console.say(summary)
    console.table(None, columns, rows)
    if formula:
        lam = "" if record["problem"].startswith("min |") else f", lam = {record['lam']:.4g}"
        console.say(f"problem: {record['problem']}{lam}")
    maps = [r["maps"] for r in record["results"] if r["maps"] != "none"]
    if maps:
        console.say(f"coil maps: {maps[0]}")
    hidden = sum(r["undetermined_pixels"] for r in record["results"])
    if hidden:
        console.say(f"{hidden} pixels are undetermined: every coil map is zero there")
    console.say(last_line)


def stack(tensors: Sequence[torch.Tensor]) -> Any:
    """Returns one array, with an axis of slices if there are several."""
    import numpy

    arrays = [t.cpu().numpy() for t in tensors]
    return arrays[0] if len(arrays) == 1 else numpy.stack(arrays)


def name_of(number: int | None) -> str:
    """Returns the number of a slice for a table, and a dash for data without slices."""
    return "-" if number is None else str(number)


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
