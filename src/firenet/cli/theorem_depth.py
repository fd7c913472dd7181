"""``firenet theorem depth``: layers against accuracy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Option

from firenet.cli import console, options
from firenet.versions import versions


@console.reports
def depth(
    out: Annotated[Path, Option("--out", "-o", help="The picture (.png).")] = Path("depth.png"),
    as_json: options.Json = False,
) -> None:
    """Show how many layers the theorem's network needs for an accuracy, and how many the searching schedule needs.

    For three matrices and an image, the constants are verified, the networks are run, and their errors are measured.
    The number of layers is proved to grow by 2 e C2 |A| for each factor e = 2.718... of accuracy, where C2 is the
    constant to which the theorem's error bound is proportional. For the searching schedule (adaptive restarts), which
    chooses its steps as it runs, nothing is proved before it has run: the difference is the price of the proof. The
    command takes a minute.

    Examples:
      firenet theorem depth -o depth.png
      firenet theorem depth --json
    """
    from firenet.io.files import check_output
    from firenet.paper.rate import draw, rate

    check_output(out, suffixes=(".png",))
    with console.progress("proving constants", "restarts") as told:
        results = list(rate(lambda name, done, total: told(done, total, now=name)))
        draw(results, out)
    if as_json:
        cases = [
            {
                "case": name,
                "rho": float(proof.rho),
                "gamma": float(proof.gamma),
                "C2": proof.constants.C2,
                "layers_for_a_factor_e": found.slope,
                "measured_slope": found.measured_slope(),
                "measured_slope_of_enough": found.measured_slope(lambda line: line.enough),
                "measured_slope_of_the_search": found.measured_slope(lambda line: line.adaptive),
                "lines": [vars(line) for line in found.lines],
            }
            for name, proof, found in results
        ]
        console.print_json({"cases": cases, "picture": str(out), "versions": versions()})
        return
    for name, proof, found in results:
        console.say(f"{name}: rho = {float(proof.rho):.4g}, gamma = {float(proof.gamma):.4g} (verified)")
        columns = ["error at most", "layers, proved", "error, measured", "layers, measured", "searching schedule"]
        rows = [
            [f"{v.accuracy:.0e}", f"{v.layers}", f"{v.error:.1e}", f"{v.enough}", f"{v.adaptive or 'not reached'}"]
            for v in found.lines
        ]
        console.table(None, columns, rows)
        slopes = (found.measured_slope(), *map(found.measured_slope, (lambda v: v.enough, lambda v: v.adaptive)))
        console.say(
            f"layers for a factor e: 2 e C2 |A| = {found.slope:.1f} (theorem); least squares of the columns:"
            f" {slopes[0]:.1f}, {slopes[1]:.1f}, {slopes[2]:.1f}"
        )
    console.say(f"picture: {out}")
