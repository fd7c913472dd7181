"""``firenet train``: networks to compare with."""

from __future__ import annotations

import time
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from firenet.cli import console, options
from firenet.errors import BadInput
from firenet.versions import versions

if TYPE_CHECKING:
    from firenet.nets.training import Recipe


@console.reports
def train(
    network: Annotated[str, Argument(help="The network: unet, automap or lista.")],
    out: Annotated[Path, Option("--out", "-o", help="The weights (.safetensors).", show_default=False)],
    noise: Annotated[float, Option(help="Add noise of up to this share of |y| to the measurements (jitter).")] = 0.0,
    steps: Annotated[int | None, Option(min=1, help="The number of Adam steps. Default: the network's.")] = None,
    batch: Annotated[
        int | None, Option(min=1, help="The number of images a step, at the first side. Default: the network's.")
    ] = None,
    images: Annotated[str, Option(help="The images to train on: both, ellipses or colin27.")] = "both",
    sides: Annotated[str | None, Option(help="The sides of the images, for example 128,256 for a U-Net.")] = None,
    rate: options.Rate = 0.25,
    seed: options.Seed = 0,
    fresh: Annotated[
        bool, Option("--fresh", help="Start anew and remove the checkpoint, OUT with the suffix .checkpoint.")
    ] = False,
    as_json: options.Json = False,
    threads: options.Threads = None,
) -> None:
    """Train a network to compare with, reproducibly.

    A training that was killed continues from its checkpoint and ends with the same weights. The mask has variable
    density and seed 0.

    Examples:
      firenet train unet -o unet.safetensors
      firenet train unet --noise 0.1 --steps 500 -o jitter.safetensors
      firenet train lista --fresh --threads 1 -o lista.safetensors
    """
    from firenet.cli.audit import prepare
    from firenet.io.files import check_output
    from firenet.io.safely import check_room, locked
    from firenet.optional import optional

    check_output(out, suffixes=(".safetensors",))
    checkpoint, lock = out.with_suffix(".checkpoint"), out.with_name(f".{out.stem}.lock")
    for path in (checkpoint, lock):
        check_room(path)
    optional("safetensors.torch", "audit", "Weights in files")
    prepare(threads)
    recipe = _recipe(network, sides, {"noise": noise, "images": images, "rate": rate, "seed": seed}, steps, batch)
    with locked(lock):
        record = _trained(recipe, out, checkpoint, fresh)
    if as_json:
        console.print_json(record)
    else:
        last = "" if record["loss"] is None else f", loss {record['loss']:.3g}"
        console.say(f"wrote {out} ({record['bytes'] / 1e6:.1f} MB) in {record['seconds']:.0f} s{last}")


def _recipe(network: str, sides: str | None, given: dict[str, Any], steps: int | None, batch: int | None) -> Recipe:
    from firenet.nets.training import USUAL

    if network not in USUAL:
        raise BadInput(f"A network: {', '.join(USUAL)}", repr(network), "Choose one")
    chosen = given | {n: v for n, v in {"steps": steps, "batch": batch}.items() if v is not None}
    if sides is not None:
        each = options.parse_numbers(sides, "--sides")
        if not all(n.is_integer() for n in each):
            raise BadInput("Whole numbers for --sides", repr(sides), "For example 128,256")
        chosen["sides"] = tuple(int(n) for n in each)
    return replace(USUAL[network], **chosen)


def _trained(recipe: Recipe, out: Path, checkpoint: Path, fresh: bool) -> dict[str, Any]:
    """Trains, continuing from a checkpoint if there is one, writes the weights and returns the record."""
    from firenet.io import sealed
    from firenet.nets.training import CHECKPOINT, save, train as fit

    if fresh and checkpoint.exists():
        if not sealed.written(checkpoint, CHECKPOINT):
            raise BadInput("A checkpoint to remove", f"{checkpoint}, which firenet did not write", "Rename it")
        checkpoint.unlink()
    start, first, losses = time.perf_counter(), [0, 0.0], list[float]()
    with console.progress(f"{recipe.network}, {recipe.steps} steps", "steps", log=True) as tell:

        def progress(done: int, most: int, loss: float) -> None:
            if not losses:  # the speed is that since the first step, which prepares
                first[:] = done, time.perf_counter()
            losses.append(loss)
            elapsed = time.perf_counter() - first[1]
            speed = (done - first[0]) / elapsed if elapsed > 0 and done > first[0] else 0.0
            left = f", {(most - done) / speed:.0f} s left" if speed else ""
            tell(done, most, note=f"loss {loss:.3g}, {speed:.1f} steps/s{left}")

        net = fit(recipe, checkpoint=checkpoint, progress=progress)
    save(out, net, recipe, half=recipe.network != "unet")
    checkpoint.unlink(missing_ok=True)
    return {
        "weights": str(out),
        "recipe": {f.name: getattr(recipe, f.name) for f in fields(recipe)},
        "loss": losses[-1] if losses else None,
        "seconds": time.perf_counter() - start,
        "bytes": out.stat().st_size,
        "versions": versions(),
    }
