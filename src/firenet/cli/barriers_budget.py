"""``firenet barriers budget``: how much of an error comes from inexact input, on three problems."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Option

from firenet.cli import console, options
from firenet.cli.budget import show
from firenet.versions import versions


@console.reports
def error_sources(
    out: Annotated[Path, Option("--out", "-o", help="The picture (.png).")] = Path("budget.png"),
    as_json: options.Json = False,
) -> None:
    """Divide the errors of three problems into their sources: a hard one, a random one, and an image.

    On the hard problem the whole error comes from inexact input: an exact solver has it, and no training removes it. On
    the random one almost none does. For the image this part is not known alone: it is contained in the model's.

    Examples:
      firenet barriers budget -o budget.png
    """
    from firenet.io.files import check_output
    from firenet.paper.error_sources import budgets, draw

    check_output(out, suffixes=(".png",))
    with console.busy("dividing errors"):
        found = list(budgets())
        draw(found, out)
    if as_json:
        records = [{"problem": name} | parts.record() for name, parts in found]
        console.print_json({"problems": records, "picture": str(out), "versions": versions()})
        return
    for name, parts in found:
        console.say(name)
        show(parts)
    console.say(f"picture: {out}")
