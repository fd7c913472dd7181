"""``firenet mask``: a sampling mask."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from firenet.cli import console, scans
from firenet.cli.options import Json, MaskCorner, Overwrite
from firenet.errors import BadInput
from firenet.versions import versions

if TYPE_CHECKING:
    pass


# --- mask -------------------------------------------------------------------------------------------------------------


@console.reports
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
    from firenet.io.files import check_beside, check_output, write_image, write_json
    from firenet.io.safely import together

    check_output(out, suffixes=(".npy",))
    for path in (out.with_suffix(".png"), scans.beside(out)):
        check_beside(path, overwrite=overwrite)
    from firenet.sensing import masks

    if transform not in ("fourier", "walsh"):
        raise BadInput("A transform: fourier or walsh", transform, "Choose one")
    kind: masks.Transform = "walsh" if transform == "walsh" else "fourier"
    if lines is not None:
        if full != 1 or power is not None or sparsities is not None or transform != "fourier" or variable:
            got = "one of --full, --power, --sparsities, --transform walsh, --variable-density"
            raise BadInput("Only --axis, --centre and --seed beside --lines", got, "Leave it out, or leave out --lines")
        made = masks.lines(shape, lines, axis=axis, centre=centre, seed=seed)
    elif variable:
        if full != 1 or sparsities is not None:
            raise BadInput("No bands beside --variable-density", "--full or --sparsities", "Leave one of them out")
        made = masks.variable_density(shape, rate, transform=kind, seed=seed, power=2.5 if power is None else power)
    else:
        try:
            local = None if sparsities is None else [float(s) for s in sparsities.split(",")]
        except ValueError:
            raise BadInput(
                "Numbers separated by commas", sparsities or "", "For example --sparsities 4,12,48,50,100"
            ) from None
        made = masks.multilevel(
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
        "versions": versions(),
    }
    with together():
        write_image(out, stored)
        if stored.ndim > 1:
            write_image(out.with_suffix(".png"), made.centred().float().numpy(), description="firenet: sampling mask")
        write_json(scans.beside(out), record)
    if as_json:
        console.print_json(record)
        return
    if made.bands and len(shape) == 2:
        down, across = (max(k[i] for k in made.bands) for i in (0, 1))
        rows = [[str(i), *(str(made.bands[i, j][0]) for j in range(1, across + 1))] for i in range(1, down + 1)]
        title = "samples in each box; bands of axis 0 down, of axis 1 across (sizes in the .json)"
        console.table(title, ["band", *map(str, range(1, across + 1))], rows)
    elif made.bands:
        largest = sorted({max(k) for k in made.bands})
        totals = [[sum(n[i] for k, n in made.bands.items() if max(k) == top) for i in (0, 1)] for top in largest]
        rows = [[str(top), *map(str, total)] for top, total in zip(largest, totals, strict=True)]
        console.table(
            "samples by the largest band of a box (each box is in the .json)", ["band", "samples", "size"], rows
        )
    console.say(f"{made.count} samples of {stored.size} ({made.rate:.2%}), seed {seed}; wrote {out}")
