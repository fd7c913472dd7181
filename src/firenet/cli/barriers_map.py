"""``firenet barriers map``: digits against data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Exit, Option

from firenet.cli import barriers, console, options
from firenet.errors import BadInput


@console.reports
def draw_map(
    out: Annotated[Path, Option("--out", "-o", help="The picture (.png).")] = Path("map.png"),
    digits: options.Digits = 4,
    kind: options.Kind = "P3",
    parameter: options.Parameter = "1/2",
    columns: options.Columns = 2,
    tail: options.Tail = 2,
    as_json: options.Json = False,
) -> None:
    """Draw which numbers of correct digits are impossible, and how much data the others need.

    Exit code 5 if an algorithm ran out of time: the map shows its experiment as one without a result.

    Examples:
      firenet barriers map
      firenet barriers map -k 6 --problem P2 --parameter 1/10 -o lasso.png
    """
    from firenet.barriers.classify import classify
    from firenet.barriers.instances import BadProblem
    from firenet.io.files import check_output
    from firenet.paper.barrier_map import draw

    check_output(out, suffixes=(".png",))
    problem = barriers.problem_of(kind, digits, parameter, columns, tail)
    try:
        with console.busy("classifying"):
            cells = classify(problem.kind, digits, parameter=problem.parameter, columns=columns, tail=tail)
            draw(cells, problem, out)
    except BadProblem as error:
        raise BadInput("Digits K for which the map has three regimes", str(error), "Use a larger --digits") from None
    if as_json:
        console.print_json({"cells": [c.as_json() for c in cells], "picture": str(out)})
    else:
        for c in cells:
            console.say(f"{c.digits} digits: {c.regime}. {c.why}")
            for p in c.evidence:
                console.say(f"    {p.algorithm}: {p.what}")
        console.say(f"picture: {out}")
    if any(p.passed is None for c in cells for p in c.evidence):
        raise Exit(console.NO_VERDICT)
