"""``firenet digits``: how many digits of a minimiser the data determine."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Exit, Option

from firenet.cli import console, options

if TYPE_CHECKING:
    from firenet.digits import Digits


@console.reports
def digits(
    matrix: Annotated[Path, Argument(help="The matrix A: npy, npz or HDF5.", show_default=False)],
    data: Annotated[Path, Argument(help="The measurements y: npy, npz or HDF5.", show_default=False)],
    parameter: Annotated[
        str, Option("--lam", "--epsilon", help="lambda of P2 and P3, epsilon of P1: a number or a fraction.")
    ],
    problem: Annotated[str, Option("--problem", help="P1, P2 or P3.")] = "P3",
    bits: Annotated[
        int | None, Option("--bits", help="A (spectral norm) and y (2-norm) are known within 2**-BITS. Default: exact.")
    ] = None,
    matrix_within: Annotated[
        str | None, Option("--matrix-within", help="A is known within this, in the spectral norm. Default: by --bits.")
    ] = None,
    data_within: Annotated[
        str | None, Option("--data-within", help="y is known within this, in the 2-norm. Default: by --bits.")
    ] = None,
    weights: Annotated[Path | None, Option("--weights", help="The weights of the penalty. Default: 1.")] = None,
    out: Annotated[
        Path | None,
        Option("--out", "-o", help="Write the enclosure (centre, radius) and the two problems here (.npz)."),
    ] = None,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Find how many digits of the minimiser of a small problem its data determine, with proof.

    The matrix and the measurements are known exactly, or to a given accuracy. This command encloses the
    minimisers of all problems that agree with what is known, in exact arithmetic: the radius of the enclosure says how
    many digits the data determine. It also looks for two such problems whose minimisers are far apart: they prove that
    no algorithm gets more digits from these data. What lies between is not decided.

    Exit code 0 if the number of digits is known exactly, 7 if it is not decided.

    Examples:
      firenet digits matrix.npy data.npy --lam 1/10
      firenet digits matrix.npy data.npy --problem P2 --lam 0.02 --bits 20 -o digits.npz
      firenet digits matrix.npy data.npy --problem P1 --epsilon 0.1 --data-within 1e-4
    """
    from firenet.digits import determine
    from firenet.io.files import check_output, read_array

    if out is not None:
        check_output(out, suffixes=(".npz",))
    A, y = (read_array(path, key=None, purpose=what) for path, what in ((matrix, "matrix"), (data, "measurements")))
    w = None if weights is None else read_array(weights, key=None, purpose="weights")
    began, given = time.monotonic(), {"matrix_within": matrix_within, "data_within": data_within}
    kind: Any = problem.upper()
    with console.progress("enclosing the minimisers", "coordinates", quiet=quiet) as tell:
        found = determine(A, y, parameter, kind=kind, weights=w, bits=bits, progress=tell, **given)
    record = found.record() | {"shape": list(A.shape), "seconds": round(time.monotonic() - began, 2)}
    if out is not None:
        _save(found, record, out)
    if as_json:
        console.print_json(record)
    else:
        _tell(found, record, out)
    if not found.decided:
        raise Exit(console.UNDECIDED)


def _tell(found: Digits, record: dict[str, Any], out: Path | None) -> None:
    """Prints what was found."""
    rows, columns = record["shape"]
    console.say(f"{found.kind} of a {rows} x {columns} matrix, {record['seconds']} s")
    console.say(found.statement)
    if record["radius"] is not None:
        console.say(f"verified: every minimiser is within {found.radius:.4g} of the centre ({found.method})")
    if found.witness is not None:
        distance = found.witness.distance
        console.say(f"verified: two problems that agree with the data have minimisers {distance:.4g} apart")
    if found.note:
        console.say(f"not decided: {found.note}")
    if out is not None:
        console.say(f"centre, radius and problems: {out}")


def _save(found: Digits, record: dict[str, Any], path: Path) -> None:
    """Writes arrays and record as npz."""
    import json

    from firenet.io.archives import write_arrays
    from firenet.io.safely import replacing

    arrays: dict[str, Any] = {"centre": found.centre, "radius": found.radius, "record": json.dumps(record)}
    if found.witness is not None:
        for k, name in enumerate(("first", "second")):
            parts = {"minimiser": found.witness.minimisers[k], "radius": found.witness.radii[k]}
            changes = {"matrix_change": found.witness.matrices[k], "data_change": found.witness.data[k]}
            arrays |= {f"{name}_{key}": v for key, v in (parts | changes).items() if v is not None}
    with replacing(path) as (temporary,), open(temporary, "wb") as file:
        write_arrays(file, arrays)
