"""``firenet prove``: verified constants of a concrete matrix, or a vector that refutes them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Exit, Option

from firenet.cli import console, options
from firenet.errors import BadInput

if TYPE_CHECKING:
    from firenet.guarantees import NotDecided, NullSpaceProof, Violation
    from firenet.guarantees.concrete import NullSpaceProblem


@console.reports
def prove(
    matrix: Annotated[Path, Argument(help="The matrix, real or complex: npy, npz or HDF5.", show_default=False)],
    sparsities: Annotated[str, Option("--sparsities", help="The sparsity of each level, for example 1,2.")],
    sizes: Annotated[
        str | None, Option("--sizes", help="The number of columns of each level, as 4,12. Default: one level.")
    ] = None,
    weights: Annotated[
        str | None, Option("--weights", help="The weight of each level. Default: the recommended sqrt(s / s_k).")
    ] = None,
    rho: Annotated[float | None, Option("--rho", help="A claimed rho to prove or refute; it needs --gamma.")] = None,
    gamma: Annotated[
        float | None, Option("--gamma", help="A claimed gamma to prove or refute; it needs --rho.")
    ] = None,
    refute: Annotated[
        bool, Option("--refute", help="Only look for a violation: of the claim, or of every rho and gamma.")
    ] = False,
    accuracy: Annotated[
        float | None,
        Option("--accuracy", help="Also plan the network whose depth adds at most this to its error; needs --signal."),
    ] = None,
    signal: Annotated[float | None, Option("--signal", help="An upper bound of the 2-norm of the signals.")] = None,
    noise: Annotated[
        float | None, Option("--noise", help="An upper bound of the 2-norm of the noise, for --accuracy. Default: 0.")
    ] = None,
    key: options.Key = None,
    seed: options.Seed = 0,
    out: Annotated[Path | None, Option("--out", "-o", help="Write the certificate to this file (.json).")] = None,
    as_json: options.Json = False,
) -> None:
    """Prove constants of the recovery theorem for a concrete matrix, or refute them, in exact arithmetic.

    The theorem assumes the weighted robust null space property in levels. This command looks for the rho and gamma with
    the smallest C2, to which the part of the noise in the theorem's error bound is proportional, or for a proof of a
    claimed pair. With -o it writes a certificate that python checker.py FILE.json checks without this package: copy
    firenet/guarantees/checker.py (300 lines).

    Exit code 0 if the property was proved, or refuted with --refute; 3 if it was to be proved and is refuted; 7 if it
    is not decided: then the command prints what it could prove and refute instead.

    Examples:
      firenet prove matrix.npy --sparsities 2 -o certificate.json
      firenet prove matrix.npy --sizes 4,12 --sparsities 1,2 --accuracy 1e-3 --signal 10
      firenet prove matrix.npy --sparsities 2 --rho 0.5 --gamma 2 --refute
    """
    from firenet.guarantees import Guarantee, NotDecided, plan, prove_null_space, refute_null_space
    from firenet.guarantees.null_space import check_claim
    from firenet.io.files import check_output, read_array

    if (rho is None) != (gamma is None):
        raise BadInput("Both --rho and --gamma, or none of them", "one", "Claim a pair")
    if (accuracy is None) != (signal is None):
        raise BadInput("Both --accuracy and --signal, or none of them", "one", "Give both")
    if refute:
        options.refuse_unused("with --refute", {"--accuracy": accuracy, "--noise": noise})
    if accuracy is None:
        options.refuse_unused("without --accuracy", {"--noise": noise})
    claim = None if rho is None or gamma is None else (rho, gamma)
    if claim is not None:
        check_claim(*claim)
    if out is not None:
        check_output(out, suffixes=(".json",))
    problem = _problem(read_array(matrix, key=key, purpose="matrix"), sizes, sparsities, weights)
    given: dict[str, Any] = {"weights": problem.weights}
    began, found = time.monotonic(), None
    if not refute:
        with console.progress("searching for a proof", "factors") as tell:
            found = prove_null_space(problem.matrix, problem.levels, claim=claim, progress=tell, **given)
    violation = None
    if found is None or isinstance(found, NotDecided):
        with console.busy("searching for a violation"):
            violation = refute_null_space(problem.matrix, problem.levels, rho, gamma, seed=seed, **given)
    best = violation or found
    if out is not None and best is not None and not isinstance(best, NotDecided):
        _save(best.to_json(), out)
    record = _record(problem, found, violation, gamma, seed) | {"seconds": round(time.monotonic() - began, 1)}
    if accuracy is not None and signal is not None:
        made = None
        if found is not None and not isinstance(found, NotDecided):
            guarantee = Guarantee(found.problem.matrix.numbers, found.constants)
            made = plan(guarantee, accuracy=accuracy, noise=noise or 0.0, sparsity_defect=0.0, signal=signal)
        record["plan"] = None if made is None else made.record()
        record["network"] = "none, since nothing was proved" if made is None else made.summary
    if as_json:
        console.print_json(record)
    else:
        _tell(record, out if record["result"] != "not decided" else None)
    if record["result"] == "not decided":
        raise Exit(console.UNDECIDED)
    if violation is not None and not refute:
        raise Exit(console.NOT_REACHED)


def _problem(array: Any, sizes: str | None, sparsities: str, weights: str | None) -> NullSpaceProblem:
    """Returns the problem of the options."""
    from firenet.guarantees.concrete import ConcreteMatrix, NullSpaceProblem
    from firenet.sparsity import SparsityLevels

    exact = ConcreteMatrix.of(array)
    each = [exact.shape[1]] if sizes is None else _numbers(sizes, int, "--sizes")
    levels = SparsityLevels(tuple(each), tuple(_numbers(sparsities, int, "--sparsities")))
    return NullSpaceProblem.of(exact, levels, None if weights is None else _numbers(weights, float, "--weights"))


def _numbers(text: str, kind: type, option: str) -> list[Any]:
    try:
        return [kind(word) for word in text.split(",")]
    except ValueError:
        needed = f"Numbers separated by commas for {option}, one for each level"
        raise BadInput(needed, repr(text), "For example 4,12") from None


def _record(
    problem: NullSpaceProblem,
    found: NullSpaceProof | NotDecided | None,
    violation: Violation | None,
    gamma: float | None,
    seed: int,
) -> dict[str, Any]:
    """Returns what was found; where neither a proof nor a violation was, both bounds."""
    from firenet.guarantees import NotDecided
    from firenet.guarantees.checker import sha256
    from firenet.guarantees.violation import largest_refuted_rho
    from firenet.versions import versions

    record: dict[str, Any] = {"shape": problem.matrix.shape, "matrix_sha256": sha256(problem.matrix.as_json())}
    record |= {"sizes": problem.levels.sizes, "sparsities": problem.levels.sparsities}
    record |= {"weights": [str(w) for w in problem.weights], "versions": versions()}
    if violation is not None:
        return record | {"result": "refuted", "statement": violation.statement}
    if found is not None and not isinstance(found, NotDecided):
        return record | {"result": "proved"} | _proved(found)
    record |= {"result": "not decided", "a_sqrt_xi": None if found is None else found.product}
    if found is not None and found.proof is not None:
        record |= {"proved_instead": _proved(found.proof)}
    tried = gamma if gamma is not None else 1000 / float(problem.matrix.size)
    with console.busy("searching for the largest rho that is refuted"):
        largest = largest_refuted_rho(problem, tried, seed=seed)
    rho = None if largest is None or largest.rho is None else float(largest.rho)
    return record | {"refuted_instead": {"rho": rho, "gamma": tried}}


def _proved(proof: NullSpaceProof) -> dict[str, Any]:
    """Returns the constants of a proof."""
    constants = proof.constants
    shown = {"rho": float(proof.rho), "gamma": float(proof.gamma)}
    shown |= {"C1": constants.C1, "C2": constants.C2, "lambda": constants.lam}
    return shown | {"levels": [{"error": e, "gain": g} for e, g in zip(proof.errors, proof.gains, strict=True)]}


def _tell(record: dict[str, Any], out: Path | None) -> None:
    """Prints what was found."""
    rows, columns = record["shape"]
    console.say(f"{rows} x {columns} matrix, SHA-256 {record['matrix_sha256']}")
    console.say(f"levels of {record['sizes']} columns, sparsities {record['sparsities']}, {record['seconds']} s")
    if record["result"] == "refuted":
        console.say(f"refuted: {record['statement']}")
    elif record["result"] == "proved":
        console.say("proved: the weighted robust null space property in levels, with")
        _tell_constants(record)
    else:
        console.say("not decided")
        if record["a_sqrt_xi"] is not None:
            console.say(f"smallest a sqrt(xi): {record['a_sqrt_xi']:.4g}; a proof of any pair needs less than 1/2")
        if "proved_instead" in record:
            console.say("proved instead of the claim:")
            _tell_constants(record["proved_instead"])
        other = record["refuted_instead"]
        console.say(f"refuted for gamma = {other['gamma']:.6g}: rho = {other['rho'] or 'none'} and all below")
    if "network" in record:
        console.say(f"network: {record['network']}")
    if out is not None:
        console.say(f"certificate: {out}")


def _tell_constants(constants: dict[str, Any]) -> None:
    c = constants
    console.say(f"rho = {c['rho']:.6g}, gamma = {c['gamma']:.6g}")
    console.say(f"C1 = {c['C1']:.4g}, C2 = {c['C2']:.4g}, lambda = {c['lambda']:.4g}")
    for k, level in enumerate(c["levels"]):
        console.say(f"level {k}: largest error {level['error']:.4g} (times sqrt(xi)), noise gain {level['gain']:.4g}")


def _save(text: str, path: Path) -> None:
    from firenet.io.safely import replacing

    with replacing(path) as (temporary,):
        temporary.write_text(text + "\n", encoding="utf-8")
