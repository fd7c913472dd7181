"""``firenet mask``: a sampling mask."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from firenet.cli import console, options, scans
from firenet.errors import BadInput
from firenet.versions import versions

if TYPE_CHECKING:
    from firenet.sensing.masks import Mask


@console.reports
def mask(
    shape: Annotated[list[int], Argument(help="The sides of the image, for example 256 256.", show_default=False)],
    out: Annotated[
        Path, Option("-o", "--out", help="The mask (.npy). A .png and a .json are put beside it.", show_default=False)
    ],
    rate: options.DrawnRate = None,
    transform: Annotated[str, Option(help="The measurements: fourier or walsh.")] = "fourier",
    variable: Annotated[
        bool,
        Option(
            "--variable-density", help="Draw single frequencies with a density that falls with |k|, instead of bands."
        ),
    ] = False,
    power: Annotated[
        float | None, Option(help="The density falls like |k|^-power. Default: 2, or 2.5 with --variable-density.")
    ] = None,
    sparsities: Annotated[
        str | None, Option(help="Local sparsities s1,s2,...: use the sampling theorem's density, not a power law.")
    ] = None,
    vanishing_moments: Annotated[
        int | None, Option(help="The vanishing moments of the wavelet, for --sparsities. Default: 1.")
    ] = None,
    full: Annotated[
        int | None,
        Option(
            help="Sample all bands up to this one fully; band k ends at frequency 2^(k-1), or Walsh sequency 2^k - 1. "
            "Default: 1."
        ),
    ] = None,
    centre: Annotated[
        int | None,
        Option(help="The number of central lines that --lines always samples. Default: a third of the sampled lines."),
    ] = None,
    lines: Annotated[float | None, Option(help="Draw Cartesian lines with this acceleration instead.")] = None,
    axis: Annotated[int | None, Option(help="The phase-encoding axis of --lines. Default: 0.")] = None,
    seed: options.Seed = 0,
    corner_dc: Annotated[
        bool, Option("--corner-dc", help="Write zero frequency in the corner, not in the middle.")
    ] = False,
    overwrite: options.Overwrite = False,
    as_json: options.Json = False,
) -> None:
    """Design a sampling mask with exactly the requested number of samples.

    Examples:
      firenet mask 256 256 --rate 0.25 -o mask.npy
      firenet mask 256 256 --lines 4 --axis 1 -o lines.npy
      firenet mask 64 64 --sparsities 4,12,48,50,100,100 --vanishing-moments 4 -o theory.npy
    """
    from firenet.io.files import check_beside, check_output, write_image, write_json
    from firenet.io.safely import together
    from firenet.sensing import masks

    check_output(out, suffixes=(".npy",))
    for path in (out.with_suffix(".png"), scans.beside(out)):
        check_beside(path, overwrite=overwrite)
    if transform not in ("fourier", "walsh"):
        raise BadInput("A transform: fourier or walsh", transform, "Choose one")
    kind: masks.Transform = "walsh" if transform == "walsh" else "fourier"
    bands = {"--full": full, "--sparsities": sparsities, "--vanishing-moments": vanishing_moments}
    walsh, single = None if kind == "fourier" else kind, variable or None
    share = 0.25 if rate is None else rate
    with console.busy("drawing the mask"):
        if lines is not None:
            others = {"--rate": rate, "--power": power, "--transform": walsh, "--variable-density": single}
            options.refuse_unused("with --lines", others | bands)
            made = masks.lines(shape, lines, axis=axis or 0, centre=centre, seed=seed)
        elif variable:
            options.refuse_unused("with --variable-density", {"--axis": axis, "--centre": centre} | bands)
            made = masks.variable_density(
                shape, share, transform=kind, seed=seed, power=2.5 if power is None else power
            )
        else:
            options.refuse_unused("without --lines", {"--axis": axis, "--centre": centre})
            if sparsities is None:
                options.refuse_unused("without --sparsities", {"--vanishing-moments": vanishing_moments})
            else:
                options.refuse_unused("with --sparsities", {"--power": power})
            density: dict[str, Any] = {
                "sparsities": None if sparsities is None else options.parse_numbers(sparsities, "--sparsities"),
                "vanishing_moments": 1 if vanishing_moments is None else vanishing_moments,
                "full": 1 if full is None else full,
                "power": 2.0 if power is None else power,
            }
            made = masks.multilevel(shape, share, transform=kind, seed=seed, **density)
    stored = (made.samples if corner_dc else made.centred()).numpy()
    boxes = {",".join(map(str, k)): {"samples": m, "size": n} for k, (m, n) in made.bands.items()}
    record = {"count": made.count, "rate": made.rate, "recipe": dict(made.recipe), "centred": not corner_dc}
    record |= {"bands": boxes, "versions": versions()}
    with together():
        write_image(out, stored)
        if stored.ndim > 1:
            write_image(out.with_suffix(".png"), made.centred().float().numpy(), description="firenet: sampling mask")
        write_json(scans.beside(out), record)
    if as_json:
        console.print_json(record)
        return
    _show_bands(made, len(shape))
    console.say(f"{made.count} samples of {stored.size} ({made.rate:.2%}), seed {seed}; wrote {out}")


def _show_bands(made: Mask, dims: int) -> None:
    """Prints how many samples each band has.

    For a two-dimensional image this is a table of all boxes; otherwise boxes with the same largest band are added up.
    """
    if made.bands and dims == 2:
        down, across = (max(k[i] for k in made.bands) for i in (0, 1))
        rows = [[str(i), *(str(made.bands[i, j][0]) for j in range(1, across + 1))] for i in range(1, down + 1)]
        title = "samples in each box; bands of axis 0 down, of axis 1 across (sizes in the .json)"
        console.table(title, ["band", *map(str, range(1, across + 1))], rows)
    elif made.bands:
        rows = []
        for top in sorted({max(k) for k in made.bands}):
            samples, size = (sum(n[i] for k, n in made.bands.items() if max(k) == top) for i in (0, 1))
            rows.append([str(top), str(samples), str(size)])
        title = "samples by the largest band of a box (each box is in the .json)"
        console.table(title, ["band", "samples", "size (frequencies)"], rows)
