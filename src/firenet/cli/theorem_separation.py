"""``firenet theorem separation``: where the theorem's network ends and the barrier begins."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Option

from firenet.cli import console, options
from firenet.versions import versions


@console.reports
def separation(
    out: Annotated[Path, Option("--out", "-o", help="The picture (.png).")] = Path("separation.png"),
    digits: Annotated[
        int, Option("--digits", "-k", min=1, max=12, help="The number K of digits; the two columns have norm 10^K / 2.")
    ] = 3,
    precision: Annotated[int, Option("--precision", "-n", min=1, max=200, help="The data are known within 2^-n.")] = 40,
    as_json: options.Json = False,
) -> None:
    """Show how constants, depth and digits change as two columns of a matrix become parallel.

    If the columns are parallel, no algorithm computes K digits of the minimiser. At larger angles the constants of the
    recovery theorem are verified: the smaller the angle, the deeper the network and the fewer the digits that it
    guarantees, until the data are too inexact for the theorem.

    Examples:
      firenet theorem separation -o separation.png
      firenet theorem separation --digits 6 --precision 60
    """
    from firenet.io.files import check_output
    from firenet.paper.separation import draw, separated

    check_output(out, suffixes=(".png",))
    with console.busy("verifying constants"):
        found = separated(digits, precision)
        draw(found, digits, precision, out)
    if as_json:
        record = {"digits": digits, "precision": precision, "angles": [vars(f) for f in found], "picture": str(out)}
        console.print_json({**record, "versions": versions()})
        return
    rows = [
        [
            f"{f.angle:.1e}" if f.angle else "0",
            "refuted" if f.gamma is None else f"{f.gamma:.3g}",
            "none" if f.layers is None else f"{f.layers:.2e}",
            f"{f.digits:.1f}",
        ]
        for f in found
    ]
    console.table(
        f"K = {digits}, data within 2^-{precision}",
        ["angle (radians)", "gamma, verified", "layers", "digits, guaranteed"],
        rows,
    )
    console.say(f"picture: {out}")
