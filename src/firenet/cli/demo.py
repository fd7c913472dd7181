"""``firenet demo``: three real data sets reconstructed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Option

from firenet.cli import console, options
from firenet.errors import BadInput
from firenet.versions import versions

_KEYS = ("sampling_rate", "psnr_zero_filled", "psnr", "objective", "gap", "relative_gap", "layers", "seconds", "status")
_COLUMNS = ("sampled (%)", "without (dB)", "FIRENET (dB)", "relative gap", "layers", "time (s)")


@console.reports
def demo(
    out: Annotated[Path, Option("--out", "-o", help="The folder for the picture, the images and the record.")] = Path(
        "firenet-demo"
    ),
    as_json: options.Json = False,
    threads: options.Threads = None,
) -> None:
    """Reconstruct three real data sets: an MRI slice at 25 %, a raw 2-coil scan at 33 %, and a tooth from 37 views.

    Examples:
      firenet demo
      firenet demo --out results --json
    """
    options.set_threads(threads)
    from firenet.io.files import ours, write_image, write_json
    from firenet.io.safely import check_room, together
    from firenet.scans import demo as job

    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput("A folder for --out", f"{out}: {error.strerror}", "Name a folder") from None
    check_room(out / "demo.json")
    there = [name for name in ("demo.json", "demo.png", "slice.npy", "raw.npy", "tooth.npy") if (out / name).exists()]
    if there and not ours(out / "demo.json"):
        raise BadInput("A folder for the demo", f"{out}, with another {there[0]} in it", "Name another with --out")
    cases = {}
    jobs = ("slice", "MRI slice", job.slice_case), ("raw", "raw scan", job.raw_case), ("tooth", "tooth", job.tooth_case)
    for name, title, solve in jobs:
        with console.progress(title) as progress:
            cases[name] = solve(progress)
    records = {name: case.record() for name, case in cases.items()}
    with together():
        job.draw(cases, out / "demo.png")
        for name, case in cases.items():
            write_image(out / f"{name}.npy", case.solution.image.numpy())
        write_json(out / "demo.json", {**records, "versions": versions()})
    if as_json:
        console.print_json({name: {key: r[key] for key in _KEYS} for name, r in records.items()})
        return
    rows = []
    for name, r in records.items():
        quality = [f"{100 * r['sampling_rate']:.1f}", f"{r['psnr_zero_filled']:.2f}", f"{r['psnr']:.2f}"]
        proof = [f"{r['relative_gap']:.1e}", f"{r['layers']}"]
        rows.append([cases[name].title, *quality, *proof, f"{r['seconds']:.{int(r['seconds'] < 10)}f}"])
    console.table("PSNR, and how far from optimal: the relative duality gap", ["input", *_COLUMNS], rows)
    console.say(f"picture: {out / 'demo.png'}")
