"""``firenet bench``: how fast firenet is compared with other libraries."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from typer import Context, Exit, Option

from firenet.cli import console, options
from firenet.errors import BadInput


@console.reports
def bench(
    context: Context,
    quick: Annotated[bool, Option("--quick", help="Run small problems and few methods, which takes minutes.")] = False,
    as_json: options.Json = False,
) -> None:
    """Compare with SigPy, deepinv, PyProximal, BART and cvxpy: the time to a given accuracy.

    This needs a clone of the repository. Further options go to benchmarks/run.py. The other libraries live in an
    environment of their own, which `make bench` makes.

    Examples:
      firenet bench --quick
      firenet bench --only exact-256 --cap 20
    """
    import subprocess

    script = Path(__file__).resolve().parents[3] / "benchmarks" / "run.py"
    if not script.exists():
        raise BadInput("A checkout of the repository", f"an installation without {script.name}", "Clone it; make bench")
    own = script.parent / ".venv" / "bin" / "python"
    given = [*(["--quick"] if quick else []), *(["--json"] if as_json else []), *context.args]
    run = subprocess.run([str(own if own.exists() else sys.executable), str(script), *given], check=False)
    if run.returncode:
        raise Exit(run.returncode)
