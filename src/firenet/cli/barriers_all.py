"""``firenet barriers all``: all contestants on all problems."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from typer import Exit, Option

from firenet.cli import barriers, console, options
from firenet.errors import BadInput
from firenet.versions import versions


@console.reports
def play_all(
    out: Annotated[Path, Option("--out", "-o", help="The folder for witnesses, map and record.")] = Path("barriers"),
    digits: options.Digits = 4,
    reads: options.Reads = 300,
    as_json: options.Json = False,
) -> None:
    """Let the adversary play against all algorithms that come with firenet, the contestants, on P1, P2 and P3.

    Every witness is checked, and the map of `firenet barriers map` is drawn.

    Exit code 5 if an algorithm ran out of time, 6 if one is invalid, as for `firenet barriers play`.

    Examples:
      firenet barriers all
      firenet barriers all -k 6 --reads 100 -o six-digits
    """
    from firenet.barriers import Problem
    from firenet.barriers.classify import breakdown, classify
    from firenet.paper.barrier_map import draw

    if digits <= 2:
        raise BadInput("K above 2: the regimes of K-1 and K-2 digits need it", f"K = {digits}", "Use a larger --digits")
    out.mkdir(parents=True, exist_ok=True)
    played, positive = _defeats(digits, reads, out), _positive(digits, reads)
    with console.busy("the map"):
        cells = classify("P3", digits)
        draw(cells, Problem("P3", digits), out / "map.png")
        breakdowns = {kind: breakdown(Problem(kind, digits)) for kind in barriers.KINDS}
    found = {"digits": digits, "defeats": played, "positive": positive, "breakdown": breakdowns}
    found |= {"cells": [c.as_json() for c in cells], "versions": versions()}
    barriers.save(found, out / "barriers.json")
    if as_json:
        console.print_json(found)
        return
    _tell(played, positive, digits)
    console.say(f"witnesses, barriers.json and map.png: {out}")
    if any(p.get("passed") is False for p in positive):  # this contradicts the theorem: it is a fault of firenet
        raise Exit(console.INTERNAL_ERROR)
    claims = {p.get("claim") for p in (*played, *positive)}
    without = [code for claim, code in barriers.WITHOUT.items() if claim in claims]
    if without:
        raise Exit(max(without))


def _defeats(digits: int, reads: int, out: Path) -> list[dict[str, Any]]:
    """Plays against all contestants on all problems, and writes the witnesses."""
    from firenet.barriers import Problem, defeat
    from firenet.paper.contestants import CONTESTANTS

    played: list[dict[str, Any]] = []
    with console.progress("games", "games") as tell:
        for kind in barriers.KINDS:
            for name, entry in CONTESTANTS.items():
                tell(len(played), len(barriers.KINDS) * len(CONTESTANTS))
                if entry.missing:
                    played.append({"algorithm": name, "problem": kind, "left_out": f"needs {', '.join(entry.missing)}"})
                    continue
                verdict = defeat(entry.algorithm, Problem(kind, digits), name=name, reads=reads)
                file = f"{kind}-{name}.json" if verdict.witness else None
                if file:
                    barriers.save(verdict.witness, out / file)
                shown = {k: v for k, v in verdict.as_json().items() if k != "witness"}
                played.append({**shown, "problem": kind, "witness": file})
    return played


def _positive(digits: int, reads: int) -> list[dict[str, Any]]:
    """Tries the algorithms for K-1 and K-2 digits on all problems."""
    from firenet.barriers import Problem, algorithms, outread, trial

    positive: list[dict[str, Any]] = []
    with console.busy("the algorithms for K-1 and K-2 digits"):
        for kind in barriers.KINDS:
            problem = Problem(kind, digits)
            for name, fewer in (("one-digit-less", 1), ("two-digits-less", 2)):
                done = trial(algorithms.SHIPPED[name], problem, digits - fewer, plays=200, seed=0)
                outcome = {"plays": done.plays, "passed": done.passed, "most_reads": done.most_reads}
                if done.failure is not None and not done.decided:
                    outcome |= {"passed": None, "claim": done.failure.claim}
                positive.append({"algorithm": name, "problem": kind, "digits": digits - fewer, **outcome})
            longer = outread(algorithms.one_digit_less, problem, reads)
            positive.append({"algorithm": "one-digit-less", "problem": kind, "more_reads": longer.statement})
    return positive


def _tell(played: list[dict[str, Any]], positive: list[dict[str, Any]], digits: int) -> None:
    """Prints the table of defeats, and what the algorithms for fewer digits did."""
    from firenet.barriers.verdicts import TRUST
    from firenet.paper.contestants import CONTESTANTS

    rows = [[name, *(_short(p) for p in played if p["algorithm"] == name)] for name in CONTESTANTS]
    title = f"distance to the minimiser, asked for 1e-{digits:02d}; or the probability of failure"
    console.table(title, ["", *barriers.KINDS], rows)
    for p in played[: len(CONTESTANTS)]:
        if "left_out" in p:
            console.say(f"{p['algorithm']} {p['left_out']}: {barriers.INSTALL}")
    for p in positive:
        if "passed" in p:
            outcome = {True: "passed", False: "FAILED", None: p.get("claim")}[p["passed"]]
            said = f"{p['plays']} inputs {outcome}, at most {p['most_reads']} reads"
            console.say(f"{p['problem']} {p['algorithm']}: {p['digits']} digits, {said}")
    console.say(TRUST)


def _short(p: dict[str, Any]) -> str:
    """Returns the table cell of one game."""
    from fractions import Fraction

    from firenet.barriers.instances import decimal

    if "left_out" in p:
        return "left out"
    if p["claim"] == "wrong":
        return decimal(Fraction(p["distances"][0]))
    return f"p >= {p['failure']}" if p["claim"] == "randomised" else p["claim"]
