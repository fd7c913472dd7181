"""``firenet barriers table1``: Table 1 of the paper."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

from typer import Option

from firenet.cli import console, options
from firenet.versions import versions


@console.reports
def table1(
    quick: Annotated[bool, Option("--quick", help="Train only for seconds, which gives rough numbers.")] = False,
    train: Annotated[bool, Option("--train/--no-train", help="Train LISTA.")] = True,
    folder: Annotated[
        Path, Option("--checkpoints", help="The folder of checkpoints, from which trainings continue.")
    ] = Path("table1"),
    as_json: options.Json = False,
) -> None:
    """Compute Table 1 of Colbrook, Antun, Hansen (PNAS 2022), as published and corrected, and by an exact solver.

    With training it takes about 3 minutes a row.

    Examples:
      firenet barriers table1 --no-train
      firenet barriers table1 --quick --checkpoints table1
    """
    from firenet.paper import table1 as paper

    if train:
        folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:

        def told(name: str) -> Any:
            stack.close()
            return stack.enter_context(console.progress(name, "epochs"))

        if not train:
            stack.enter_context(console.busy("solving"))
        rows = paper.make(train=train, quick=quick, folder=folder if train else None, progress=told if train else None)
    if as_json:
        console.print_json({"rows": rows, "quick": quick, "versions": versions()})
        return
    columns = list(rows[0])
    console.table("distance to the true minimiser", columns, [[_cell(c, r[c]) for c in columns] for r in rows])


def _cell(column: str, value: float | None) -> str:
    if value is None:
        return ""
    return str(value) if column in ("K", "n") else f"{value:.0e}" if column == "10**-K" else f"{value:.7f}"
