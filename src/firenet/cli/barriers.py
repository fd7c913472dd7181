"""``firenet barriers play | all | check | map | table1``: what no algorithm can compute.

A module that is named on the command line, ``module:function``, is imported in a process of its own, unless it is asked
for in this one; nothing else is.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from firenet.cli import console
from firenet.errors import BadInput
from firenet.io.safely import replacing
from firenet.versions import versions

if TYPE_CHECKING:
    from firenet.barriers import Problem, Verdict
    from firenet.barriers.runs import Player


barriers = typer.Typer(
    name="barriers",
    help="What no algorithm can compute, shown by an adversary that beats any algorithm you bring.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_KINDS: tuple[Literal["P1", "P2", "P3"], ...] = ("P1", "P2", "P3")
# How it ends where nothing was shown of the algorithm.
_WITHOUT = {"invalid": console.INVALID, "out of time": console.NO_VERDICT}

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
Digits = Annotated[int, typer.Option("--digits", "-k", help="K: the number of correct digits.")]
Kind = Annotated[str, typer.Option("--problem", help="P1 (noise level), P2 (LASSO) or P3 (square-root LASSO).")]
Parameter = Annotated[
    str, typer.Option("--parameter", help="lambda in (0, 1], for P1 epsilon in (0, 1/2], as a fraction: 1/2.")
]
Columns = Annotated[int, typer.Option("--columns", help="Columns that compete, N - m + 1.")]
Tail = Annotated[int, typer.Option("--tail", help="Rows below, m - 1.")]
Reads = Annotated[int, typer.Option("--reads", min=1, help="Reads that are granted.")]
Seconds = Annotated[int, typer.Option("--seconds", min=1, help="Time that is granted, in seconds.")]


def _problem(kind: str, digits: int, parameter: str, columns: int, tail: int, samples: int = 1) -> Problem:
    from fractions import Fraction
    from typing import cast

    from firenet.barriers import Problem
    from firenet.barriers.instances import BadProblem

    try:
        value = Fraction(parameter)
    except (ValueError, ZeroDivisionError):
        raise BadInput("A fraction for --parameter, such as 1/2", repr(parameter), "Write it with integers") from None
    try:
        return Problem(cast("Any", kind.upper()), digits, value, columns, tail, samples)
    except BadProblem as error:
        raise BadInput("A problem of the class", str(error), "See firenet barriers play --help") from None


def _algorithm(name: str, here: bool) -> Player:
    """One of the gallery, or module:function, by default as a program of its own."""
    from firenet.barriers import Program
    from firenet.barriers.program import BadAlgorithm
    from firenet.optional import named
    from firenet.paper.contestants import CONTESTANTS

    if ":" not in name:
        if name not in CONTESTANTS:
            raise BadInput(f"One of {', '.join(CONTESTANTS)}, or module:function", repr(name), "Choose one")
        if CONTESTANTS[name].missing:
            missing = " ".join(CONTESTANTS[name].missing)
            raise BadInput(f"What {name} stands on", f"{missing} not installed", "pip install 'firenet[barriers]'")
        return CONTESTANTS[name].algorithm
    if not here:
        try:
            return Program(name)
        except BadAlgorithm as error:
            raise BadInput("An algorithm", str(error), "Write it as module:function, or add --in-process") from None
    found = named(name, "function")
    if not callable(found):
        do = "It takes a training set (and coins) and returns a vector or a network"
        raise BadInput("A function", f"{name!r} is a {type(found).__name__}", do)
    return found


def _save(record: Any, path: Path) -> None:
    with replacing(path) as (temporary,):
        temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


@barriers.command()
@console.reports
def play(
    algorithm: Annotated[str, typer.Option("--algorithm", "-a", help="A name of the gallery, or module:function.")],
    digits: Digits = 3,
    kind: Kind = "P3",
    parameter: Parameter = "1/2",
    columns: Columns = 2,
    tail: Tail = 2,
    samples: Annotated[int, typer.Option("--samples", help="R: the number of measurements.")] = 1,
    reads: Reads = 1000,
    seconds: Seconds = 60,
    plays: Annotated[
        int, typer.Option("--plays", min=1, max=10_000, help="Plays where the coins cannot be enumerated.")
    ] = 400,
    fewer: Annotated[bool, typer.Option("--fewer", help="Play for K-1 digits and at most --reads data.")] = False,
    here: Annotated[
        bool,
        typer.Option(
            "--in-process", help="Play module:function in this process: faster, and it is believed to be honest."
        ),
    ] = False,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write the witness (.json).")] = None,
    as_json: Json = False,
) -> None:
    """Let the adversary play an algorithm for K digits.

    An algorithm is a function of a training set, whose sample(n, k=0) gives measurement, matrix and label to within
    2**-n as fractions, and returns a vector, or a network: a function of a measurement. With a second argument it gets
    coins, whose choose(n) draws one of n numbers. Example: firenet barriers play -k 8 -a clarabel

    A module:function is played in processes of its own, whose output is discarded; add --in-process to see it.

    Exit code 5 where it ran out of time, 6 where it is invalid: it raised an error, crashed, gave no answer, broke the
    rules, or is no function of its reads and coins.
    """
    from firenet.barriers import defeat, outread
    from firenet.barriers.instances import BadProblem
    from firenet.barriers.program import BadAlgorithm

    player = _algorithm(algorithm, here)
    problem = _problem(kind, digits, parameter, columns, tail, samples)
    if fewer and digits < 2:
        raise BadInput("K of at least 2 for K - 1 digits", f"K = {digits}", "Use a larger --digits")
    try:
        with console.busy(f"playing {algorithm}"):
            if fewer:
                verdict = outread(player, problem, reads, name=algorithm, seconds=seconds, plays=plays)
            else:
                verdict = defeat(player, problem, name=algorithm, reads=reads, seconds=seconds, plays=plays)
    except BadAlgorithm as error:
        do = "It takes a training set (and coins), and is imported from the current folder or from what is installed"
        raise BadInput("A function, as module:function", str(error), do) from None
    except BadProblem as error:
        raise BadInput("A game that a witness can hold", str(error), "Use fewer --reads or --columns") from None
    if out is not None and verdict.witness:
        _save(verdict.witness, out)
    if as_json:
        console.print_json({**verdict.as_json(), "versions": versions()})
    else:
        _tell(verdict, out)
    if verdict.claim in _WITHOUT:
        console.say(f"no verdict about {algorithm}: {verdict.note or verdict.statement}", err=True)
        raise typer.Exit(_WITHOUT[verdict.claim])


def _tell(verdict: Verdict, out: Path | None) -> None:
    """Prints a verdict, what it rests on, and where its witness is."""
    lines = [f"{verdict.algorithm}, {verdict.digits} digits: {verdict.claim}", verdict.statement]
    lines += [verdict.note] if verdict.note not in verdict.statement else []
    lines += [f"Checked: {verdict.checked}"] if verdict.checked else []
    lines += [verdict.trust] if verdict.trust else []
    if out is not None:
        lines.append(f"witness: {out}" if verdict.witness else "no witness was made")
    for line in lines:
        console.say(line)


@barriers.command(name="check")
@console.reports
def check_command(
    witness: Annotated[
        Path,
        typer.Argument(help="A witness (.json) of firenet barriers play; - for the standard input.", allow_dash=True),
    ],
    as_json: Json = False,
) -> None:
    """Check a witness with nothing but exact arithmetic.

    The same without this package: python witness.py FILE.json, with firenet/barriers/witness.py, 200 lines.
    """
    from firenet.barriers.witness import Refuted, main

    try:
        said = main(str(witness))
    except Refuted as error:
        raise BadInput(
            "A witness that holds", f"{witness}: {error}", "firenet barriers play -o FILE writes one"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput("A witness file", f"{witness}: {error}", "firenet barriers play -o FILE writes one") from None
    if as_json:
        console.print_json({"witness": str(witness), "holds": True, "statement": said})
    else:
        console.say(f"holds: {said}")


@barriers.command(name="all")
@console.reports
def everything(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for witnesses, map and record.")] = Path("barriers"),
    digits: Digits = 4,
    reads: Reads = 300,
    as_json: Json = False,
) -> None:
    """Play the whole gallery on P1, P2 and P3, check every witness, and draw the map."""
    from firenet.barriers import Problem
    from firenet.barriers.classify import breakdown, classify
    from firenet.barriers.verdicts import TRUST
    from firenet.paper.barrier_map import draw
    from firenet.paper.contestants import CONTESTANTS

    if digits <= 2:
        raise BadInput("K above 2: the regimes of K-1 and K-2 digits need it", f"K = {digits}", "Use a larger --digits")
    out.mkdir(parents=True, exist_ok=True)
    played, positive = _defeats(digits, reads, out), _positive(digits, reads)
    problem, cells = Problem("P3", digits), classify("P3", digits)
    draw(cells, problem, out / "map.png")
    found = {
        "digits": digits,
        "defeats": played,
        "positive": positive,
        "breakdown": {kind: breakdown(Problem(kind, digits)) for kind in _KINDS},
        "cells": [c.as_json() for c in cells],
        "versions": versions(),
    }
    _save(found, out / "barriers.json")
    if as_json:
        console.print_json(found)
        return
    rows = []
    for name in CONTESTANTS:
        each = [p for p in played if p["algorithm"] == name]
        rows.append([name, *map(_short, each)])
    title = f"distance to the minimiser, asked for 1e-{digits:02d}; or how probable it is to fail"
    console.table(title, ["", *_KINDS], rows)
    for p in played[: len(CONTESTANTS)]:
        if "left_out" in p:
            console.say(f"{p['algorithm']} {p['left_out']}: pip install 'firenet[barriers]'")
    for p in positive:
        if "passed" in p:
            outcome = "passed" if p["passed"] else "FAILED"
            said = f"{p['plays']} inputs {outcome}, at most {p['most_reads']} reads"
            console.say(f"{p['problem']} {p['algorithm']}: {p['digits']} digits, {said}")
    console.say(TRUST)
    console.say(f"witnesses, barriers.json and map.png: {out}")
    if not all(p.get("passed", True) for p in positive):  # against the theorem: a fault of ours
        raise typer.Exit(console.INTERNAL_ERROR)
    if not all(p.get("defeated", True) for p in played):
        raise typer.Exit(console.NO_VERDICT)


def _defeats(digits: int, reads: int, out: Path) -> list[dict[str, Any]]:
    """Plays the gallery on all problems, and writes the witnesses."""
    from firenet.barriers import Problem, defeat
    from firenet.paper.contestants import CONTESTANTS

    played: list[dict[str, Any]] = []
    with console.progress("games", "games") as tell:
        for kind in _KINDS:
            for name, entry in CONTESTANTS.items():
                tell(len(played), len(_KINDS) * len(CONTESTANTS))
                if entry.missing:
                    played.append({"algorithm": name, "problem": kind, "left_out": f"needs {', '.join(entry.missing)}"})
                    continue
                verdict = defeat(entry.algorithm, Problem(kind, digits), name=name, reads=reads)
                file = f"{kind}-{name}.json" if verdict.witness else None
                if file:
                    _save(verdict.witness, out / file)
                shown = {k: v for k, v in verdict.as_json().items() if k != "witness"}
                played.append({**shown, "problem": kind, "witness": file})
    return played


def _positive(digits: int, reads: int) -> list[dict[str, Any]]:
    """Tries the algorithms for K-1 and K-2 digits on all problems."""
    from firenet.barriers import Problem, algorithms, outread, trial

    positive: list[dict[str, Any]] = []
    with console.busy("the algorithms for K-1 and K-2 digits"):
        for kind in _KINDS:
            problem = Problem(kind, digits)
            for name, fewer in (("one-digit-less", 1), ("two-digits-less", 2)):
                done = trial(algorithms.SHIPPED[name], problem, digits - fewer, plays=200, seed=0)
                positive.append(
                    {
                        "algorithm": name,
                        "problem": kind,
                        "digits": digits - fewer,
                        "plays": done.plays,
                        "passed": done.passed,
                        "most_reads": done.most_reads,
                    }
                )
            longer = outread(algorithms.one_digit_less, problem, reads)
            positive.append({"algorithm": "one-digit-less", "problem": kind, "more_reads": longer.statement})
    return positive


def _cell(column: str, value: float | None) -> str:
    if value is None:
        return ""
    return str(value) if column in ("K", "n") else f"{value:.0e}" if column == "10**-K" else f"{value:.7f}"


def _short(p: dict[str, Any]) -> str:
    from fractions import Fraction

    from firenet.barriers.instances import decimal

    if "left_out" in p:
        return "not here"
    if p["claim"] == "wrong":
        return decimal(Fraction(p["distances"][0]))
    return f"p >= {p['failure']}" if p["claim"] == "randomised" else p["claim"]


@barriers.command(name="map")
@console.reports
def map_command(
    out: Annotated[Path, typer.Option("--out", "-o", help="The picture (.png).")] = Path("map.png"),
    digits: Digits = 4,
    kind: Kind = "P3",
    parameter: Parameter = "1/2",
    columns: Columns = 2,
    tail: Tail = 2,
    as_json: Json = False,
) -> None:
    """Draw digits against data: what is impossible, and what costs how much."""
    from firenet.barriers.classify import classify
    from firenet.barriers.instances import BadProblem
    from firenet.paper.barrier_map import draw

    problem = _problem(kind, digits, parameter, columns, tail)
    try:
        cells = classify(problem.kind, digits, parameter=problem.parameter, columns=columns, tail=tail)
    except BadProblem as error:
        raise BadInput("Three regimes", str(error), "Use a larger --digits") from None
    draw(cells, problem, out)
    if as_json:
        console.print_json({"cells": [c.as_json() for c in cells], "picture": str(out)})
        return
    for c in cells:
        console.say(f"{c.digits} digits: {c.regime}. {c.why}")
        for p in c.evidence:
            console.say(f"    {p.algorithm}: {p.what}")
    console.say(f"picture: {out}")


@barriers.command()
@console.reports
def table1(
    quick: Annotated[bool, typer.Option("--quick", help="Short trainings: a look in seconds.")] = False,
    train: Annotated[bool, typer.Option("--train/--no-train", help="Train LISTA.")] = True,
    folder: Annotated[Path, typer.Option("--checkpoints", help="Trainings go on from here.")] = Path("table1"),
    as_json: Json = False,
) -> None:
    """Table 1 of the paper: published, corrected, with admissible steps, and an exact solver. Some 3 minutes a row."""
    from contextlib import ExitStack

    from firenet.paper import table1 as paper

    if train:
        folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:

        def told(name: str) -> Any:
            stack.close()
            return stack.enter_context(console.progress(name, "epochs"))

        rows = paper.make(train=train, quick=quick, folder=folder if train else None, progress=told if train else None)
    if as_json:
        console.print_json({"rows": rows, "quick": quick, "versions": versions()})
        return
    columns = list(rows[0])
    text = [[_cell(c, r[c]) for c in columns] for r in rows]
    console.table("distance to the true minimiser", columns, text)
