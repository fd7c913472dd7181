"""``firenet norm``: what is known about the norm of an operator, and how sure it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Exit, Option

from firenet.cli import console, options
from firenet.cli.problem import operator_of
from firenet.errors import BadInput

if TYPE_CHECKING:
    from firenet.operators.linear import LinearOperator
    from firenet.operators.norm import NormReport


@console.reports
def norm(
    what: Annotated[
        str | None,
        Argument(help="The file of a matrix, or module:factory: a function that returns an operator."),
    ] = None,
    mask: Annotated[Path | None, Option(help="The file of a sampling mask.")] = None,
    coils: Annotated[Path | None, Option(help="The file of coil maps, shape (coils, N1, N2).")] = None,
    transform: options.Transform = None,
    corner_dc: Annotated[
        bool, Option("--corner-dc", help="Zero frequency of the mask lies in the corner, not in the middle.")
    ] = False,
    steps: Annotated[int, Option(min=2, help="The number of applications of the operator and of its adjoint.")] = 60,
    seed: Annotated[int, Option(help="The seed of all that is random.")] = 0,
    as_json: options.Json = False,
) -> None:
    """Show the bound of an operator's norm and how sure it is, beside a lower bound and a probable upper one.

    Step sizes of iterative methods rest on a bound of the norm, and a power iteration gives none: its numbers are below
    the norm. The dot test says whether the map given as the adjoint is the adjoint.

    Examples:
      firenet norm A.npy
      firenet norm --mask mask.npy --coils maps.npy
      firenet norm my_module:make_operator --json
    """
    operator = _operator(what, mask, coils, transform, corner_dc)
    from firenet.operators.norm import norm_report

    with console.busy("applying the operator", quiet=as_json):
        report = norm_report(operator, steps=steps, seed=seed)
    if as_json:
        console.print_json(report.record())
    else:
        _show(report)
    if report.contradicted or not report.adjoint.passed:
        raise Exit(console.NOT_REACHED)


def _show(report: NormReport) -> None:
    adjoint = report.adjoint
    passed = "passed" if adjoint.passed else "NOT PASSED: the map given as the adjoint is not the adjoint"
    rows: list[tuple[str, ...]] = [
        ("stated bound", f"{report.bound.value:.10g}", report.bound.kind, report.bound.why),
        ("at least", f"{report.at_least:.10g}", "proven", f"root of the largest Ritz value of {report.steps} steps"),
        ("at most", f"{report.probable.value:.10g}", report.probable.kind, report.probable.why),
    ]
    shapes = " to ".join(" x ".join(map(str, shape)) for shape in (report.in_shape, report.out_shape))
    console.table(f"the norm of {report.operator}, from {shapes}", ["", "number", "kind", "source"], rows)
    defect = f"defect {adjoint.defect:.1e}, at most {adjoint.threshold:g}"
    console.say(f"dot test: {passed} ({defect}); {report.seconds:.1f} s")
    if report.contradicted:
        console.say("The stated bound is WRONG: the norm is larger. Steps that rest on it may diverge.")


def _operator(
    what: str | None, mask: Path | None, coils: Path | None, transform: str | None, corner_dc: bool
) -> LinearOperator:
    """Returns the operator of a file, a module, or a mask."""
    from firenet.operators.linear import LinearOperator
    from firenet.optional import named

    if what is None or ":" not in what or Path(what).exists():
        matrix = None if what is None else Path(what)
        return operator_of(matrix, mask, None, None, 0, transform or "fourier", corner_dc, "haar", coils=coils)[0]
    unused: dict[str, Any] = {"--mask": mask, "--coils": coils, "--corner-dc": corner_dc or None}
    options.refuse_unused("with module:factory", unused)
    operator = named(what, "factory", "It returns a LinearOperator")()
    if not isinstance(operator, LinearOperator):
        do = "Make one of two functions: firenet.LinearOperator.from_functions"
        raise BadInput("A factory that returns a LinearOperator", type(operator).__name__, do)
    return operator
