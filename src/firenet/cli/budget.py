"""``firenet budget``: where an error comes from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from firenet.cli import console, options
from firenet.errors import BadInput

if TYPE_CHECKING:
    from firenet.budget import Budget, Part


@console.reports
def budget(
    truth: Annotated[Path, Argument(help="The true signal or image: npy, npz or HDF5.", show_default=False)],
    reconstruction: Annotated[Path, Argument(help="The reconstruction, from any method.", show_default=False)],
    matrix: Annotated[Path | None, Option("--matrix", help="The matrix A of a small problem.")] = None,
    data: Annotated[Path | None, Option("--data", help="Its measurements y.")] = None,
    parameter: Annotated[
        str | None, Option("--lam", "--epsilon", help="lambda of P2 and P3, epsilon of P1; for a scan lambda.")
    ] = None,
    problem: Annotated[str, Option("--problem", help="P1, P2 or P3.")] = "P3",
    bits: Annotated[
        int | None, Option("--bits", help="A (spectral norm) and y (2-norm) are known within 2**-BITS. Default: exact.")
    ] = None,
    scan: Annotated[Path | None, Option("--scan", help="The k-space of an image, instead of --matrix, --data.")] = None,
    sparsify: options.Sparsify = None,
    pair: Annotated[
        Path | None, Option("--pair", help="The certificate (.json) of a pair that `firenet confuse` found.")
    ] = None,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Divide the error of a reconstruction of a known truth into its sources.

    The parts are the distance of the reconstruction to the minimiser (what was not computed, or not learned by a
    trained network), how far inexact input moves the minimiser, and what the model leaves: noise, missing samples,
    lambda. They add up to at least the error. For a small matrix all have verified lower and upper bounds; for a scan
    they are measured with a point near the minimiser. With --pair they stand beside what no method can avoid.

    Examples:
      firenet budget truth.npy image.npy --matrix matrix.npy --data data.npy --lam 0.3 --bits 40
      firenet budget truth.npy image.npy --scan scan.h5 --pair pair.json
    """
    from firenet.io.files import read_array, read_image

    files = {"--matrix": matrix, "--data": data, "--scan": scan}
    given = [name for name, path in files.items() if path is not None]
    if given not in (["--matrix", "--data"], ["--scan"]):
        do = "Say which problem the reconstruction belongs to"
        raise BadInput("Either --matrix and --data, or --scan", " and ".join(given) or "none of them", do)
    if scan is None:
        options.refuse_unused("without --scan", {"--sparsify": sparsify})
    else:
        options.refuse_unused(
            "with --scan", {"--bits": bits, "--problem": None if problem.upper() == "P3" else problem}
        )
    information = None if pair is None else _information(pair)
    if scan is not None:
        from firenet.scans.budget import scan_budget
        from firenet.scans.source import Source

        lam = None if parameter is None else _number(parameter)
        images = [read_image(path)[0] for path in (truth, reconstruction)]
        with console.progress("reference point", quiet=quiet) as told:
            found = scan_budget(
                Source(scan),
                images[0],
                images[1],
                sparsify=sparsify,
                lam=lam,
                information=information,
                progress=lambda what, done, most, gap: told(done, most, gap, now=what),
            )
    else:
        from firenet.budget import dense_budget

        if parameter is None:
            raise BadInput("--lam, or for P1 --epsilon", "none", "Give the parameter of the problem")
        assert matrix is not None
        assert data is not None
        arrays = [read_array(p, key=None, purpose=w) for p, w in ((matrix, "matrix"), (data, "measurements"))]
        points = [read_array(p, key=None, purpose=w) for p, w in ((truth, "truth"), (reconstruction, "reconstruction"))]
        kind: Any = problem.upper()
        with console.progress("enclosing the minimisers", "coordinates", quiet=quiet) as tell:
            more: dict[str, Any] = {"kind": kind, "bits": bits, "information": information, "progress": tell}
            found = dense_budget(arrays[0], arrays[1], parameter, points[0], points[1], **more)
    if as_json:
        console.print_json(found.record())
    else:
        show(found)


def show(found: Budget) -> None:
    """Prints a budget as a table."""
    console.say(found.statement)
    rows = [
        [p.name, f"{p.lower:.4g}", "not known" if p.upper == float("inf") else f"{p.upper:.4g}", p.kind]
        for p in found.parts
    ]
    if found.information is not None:
        rows.append([found.information.name, f"{found.information.lower:.4g}", "", found.information.kind])
    console.table(None, ["part", "at least", "at most", "kind"], rows)
    console.say(f"the parts add up to {found.total:.4g}, the error is {found.error:.4g} (2-norm)")
    for part in (*found.parts, found.information):
        if part is not None:
            console.say(f"{part.name}: {part.why}")


def _information(path: Path) -> Part:
    """Returns what a certificate of a pair proves, after checking it."""
    from fractions import Fraction

    from firenet.budget import unavoidable
    from firenet.guarantees import pair_checker

    try:
        pair_checker.main(str(path))
    except (ValueError, TypeError, IndexError, RecursionError, OSError) as error:  # as at the end of pair_checker
        raise BadInput(
            "A certificate that the checker accepts", str(error), "Make it with firenet confuse -o"
        ) from None
    found = json.loads(path.read_text(encoding="utf-8"))
    return unavoidable(float(Fraction(found["distance"])), float(Fraction(found["noise"])))


def _number(text: str) -> float:
    from fractions import Fraction

    try:
        return float(Fraction(text))
    except (ValueError, ZeroDivisionError):
        raise BadInput("A number for --lam", repr(text), "Write 0.002 or 1/500") from None
