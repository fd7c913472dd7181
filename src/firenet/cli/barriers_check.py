"""``firenet barriers check``: whether a witness holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument

from firenet.cli import console, options
from firenet.errors import BadInput


@console.reports
def check(
    witness: Annotated[
        Path, Argument(help="A witness (.json) of firenet barriers play; - for the standard input.", allow_dash=True)
    ],
    as_json: options.Json = False,
) -> None:
    """Check a witness with nothing but exact arithmetic.

    Without this package, python witness.py FILE.json does the same: copy firenet/barriers/witness.py (200 lines).

    Examples:
      firenet barriers check witness.json
      firenet barriers check - --json
    """
    from firenet.barriers.witness import Refuted, main

    do = "firenet barriers play -o FILE writes one"
    try:
        with console.busy("checking"):
            said = main(str(witness))
    except Refuted as error:
        raise BadInput("A witness that holds", f"{witness}: {error}", do) from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput("A witness file", f"{witness}: {error}", do) from None
    if as_json:
        console.print_json({"witness": str(witness), "holds": True, "statement": said})
    else:
        console.say(f"holds: {said}")
