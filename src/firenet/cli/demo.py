"""``firenet demo``: two real data sets reconstructed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from firenet.cli import console
from firenet.cli.options import set_threads
from firenet.errors import BadInput
from firenet.versions import versions

if TYPE_CHECKING:
    pass


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


@console.reports
def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder for the picture, the images and the record.")] = Path(
        "firenet-demo"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    threads: Annotated[int | None, typer.Option(help="Threads of the CPU to use.")] = None,
) -> None:
    """Reconstruct two real data sets: an MRI slice at 25 % and a raw 2-coil scan, 3-fold undersampled."""
    set_threads(threads)
    from firenet.io.files import ours, write_image, write_json
    from firenet.io.safely import check_room, together
    from firenet.mri import demo as job

    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput("A folder for --out", f"{out}: {error.strerror}", "Name a folder") from None
    check_room(out / "demo.json")
    there = [name for name in ("demo.json", "demo.png", "slice.npy", "raw.npy") if (out / name).exists()]
    if there and not ours(out / "demo.json"):
        raise BadInput("A folder for the demo", f"{out}, with another {there[0]} in it", "Name another with --out")
    cases = {}
    with console.progress("MRI slice") as progress:
        cases["slice"] = job.slice_case(progress)
    with console.progress("raw scan") as progress:
        cases["raw"] = job.raw_case(progress)
    records = {name: case.record() for name, case in cases.items()}
    with together():
        job.draw(cases, out / "demo.png")
        for name, case in cases.items():
            write_image(out / f"{name}.npy", case.solution.image.numpy())
        write_json(out / "demo.json", {**records, "versions": versions()})
    shown: dict[str, Any] = {name: {key: r[key] for key in _DEMO_KEYS} for name, r in records.items()}
    if as_json:
        console.print_json(shown)
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
        console.table("PSNR in dB, and how far from optimal: relative duality gap", columns, rows)
        console.say(f"picture: {out / 'demo.png'}")
