"""``firenet barriers play``: the adversary against one algorithm.

A module that is named on the command line, ``module:function``, is imported in a process of its own, or in this one if
that is asked for; nothing else is imported.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Exit, Option

from firenet.cli import barriers, console, options
from firenet.errors import BadInput
from firenet.versions import versions

if TYPE_CHECKING:
    from firenet.barriers import Verdict
    from firenet.barriers.runs import Player


@console.reports
def play(
    algorithm: Annotated[
        str,
        Option(
            "--algorithm",
            "-a",
            help="An algorithm that comes with firenet (an unknown name lists them), or module:function.",
        ),
    ],
    digits: options.Digits = 3,
    kind: options.Kind = "P3",
    parameter: options.Parameter = "1/2",
    columns: options.Columns = 2,
    tail: options.Tail = 2,
    samples: Annotated[int, Option(help="The number R of measurements.")] = 1,
    reads: options.Reads = 1000,
    seconds: Annotated[int, Option(min=1, help="The time that the algorithm is granted in each run, in seconds.")] = 60,
    plays: Annotated[
        int, Option(min=1, max=10_000, help="The number of plays if the coins cannot be enumerated.")
    ] = 400,
    fewer: Annotated[bool, Option("--fewer", help="Play for K-1 digits: --reads reads must suffice.")] = False,
    here: Annotated[
        bool,
        Option("--in-process", help="Play module:function in this process: faster, but it is trusted to be honest."),
    ] = False,
    out: Annotated[Path | None, Option("--out", "-o", help="Write the witness to this file (.json).")] = None,
    as_json: options.Json = False,
) -> None:
    """Let the adversary play against an algorithm for K digits.

    An algorithm is a function of a training set, whose sample(n, k=0) gives measurement k and matrix to within 2**-n as
    fractions, and a minimiser of the problem with these. The algorithm returns a vector, or a network: a function of a
    measurement. If it takes a second argument it gets coins, whose choose(n) draws one of n numbers.

    A module:function is played in processes of its own, whose output is discarded; add --in-process to see it.

    Exit code 5 if the algorithm ran out of time, 6 if it is invalid: it raised an error, crashed, gave no answer, broke
    the rules, or is not a function of its reads and coins.

    Examples:
      firenet barriers play -k 8 -a clarabel
      firenet barriers play -a exact -o witness.json
      firenet barriers play -k 4 -a one-digit-less --fewer --reads 25
    """
    from firenet.barriers import defeat, outread
    from firenet.barriers.instances import BadProblem
    from firenet.barriers.program import BadAlgorithm
    from firenet.io.files import check_output

    if out is not None:
        check_output(out, suffixes=(".json",))
    player = _algorithm(algorithm, here)
    problem = barriers.problem_of(kind, digits, parameter, columns, tail, samples)
    if fewer and digits < 2:
        raise BadInput("K of at least 2 for K - 1 digits", f"K = {digits}", "Use a larger --digits")
    try:
        with console.busy(f"playing {algorithm}"):
            if fewer:
                verdict = outread(player, problem, reads, name=algorithm, seconds=seconds, plays=plays)
            else:
                verdict = defeat(player, problem, name=algorithm, reads=reads, seconds=seconds, plays=plays)
    except BadAlgorithm as error:
        do = "It takes a training set (and coins), and is imported from the current folder or an installed package"
        raise BadInput("A function, as module:function", str(error), do) from None
    except BadProblem as error:
        raise BadInput("A game that a witness can hold", str(error), "Use fewer --reads or --columns") from None
    if out is not None and verdict.witness:
        barriers.save(verdict.witness, out)
    if as_json:
        console.print_json({**verdict.as_json(), "versions": versions()})
    else:
        _tell(verdict, out)
    if verdict.claim in barriers.WITHOUT:
        console.say(f"no verdict about {algorithm}: {verdict.note or verdict.statement}", err=True)
        raise Exit(barriers.WITHOUT[verdict.claim])


def _algorithm(name: str, here: bool) -> Player:
    """Returns a contestant, or a module:function, which by default runs in a process of its own."""
    from firenet.barriers import Program
    from firenet.barriers.program import BadAlgorithm
    from firenet.optional import named
    from firenet.paper.contestants import CONTESTANTS

    if ":" not in name:
        if name not in CONTESTANTS:
            raise BadInput(f"One of {', '.join(CONTESTANTS)}, or module:function", repr(name), "Choose one")
        entry = CONTESTANTS[name]
        if entry.missing:
            raise BadInput(f"The libraries of {name}", f"no {' '.join(entry.missing)}", barriers.INSTALL)
        return entry.algorithm
    if not here:
        try:
            return Program(name)
        except BadAlgorithm as error:
            raise BadInput("An algorithm", str(error), "Write it as module:function, or add --in-process") from None
    return named(name, "function", "It takes a training set (and coins) and returns a vector or a network")


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
