"""Theorem 2 of Colbrook, Antun, Hansen (PNAS 2022) as a map: how many digits can be computed from how many data, with
the experiments that show it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from firenet.io.safely import replacing

if TYPE_CHECKING:
    from firenet.barriers import Problem
    from firenet.barriers.classify import Cell

# The mark, colour and label of an experiment, by whether it reached the digits.
_MARKS = {
    True: ("o", "#2e7d32", "reached the digits"),
    False: ("x", "#b71c1c", "was defeated"),
    None: ("s", "#757575", "no verdict"),
}
_COLOURS = {
    "impossible": "#f4c7c3",
    "computable, unbounded data": "#fdf0c4",
    "computable, few data": "#cfe8cf",
    "computable, stated bound": "#cfe8cf",
    "open": "#eeeeee",
}


def draw(cells: list[Cell], problem: Problem, path: Path) -> None:
    """Draws a band for every number of digits and a point for every experiment.

    Args:
        cells: The result of :func:`.classify`.
        problem: The class of problems, for the title.
        path: The PNG file, which is written whole or not at all.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 1.8 + 0.75 * len(cells)), layout="constrained")
    axes = figure.add_subplot()
    most = max([p.reads for c in cells for p in c.evidence] + [1000])
    labelled: set[bool | None] = set()
    for cell in cells:
        axes.axhspan(cell.digits - 0.5, cell.digits + 0.5, color=_COLOURS[cell.regime], lw=0)
        at: dict[tuple[int, bool | None], list[str]] = {}
        for p in cell.evidence:
            at.setdefault((p.reads, p.passed), []).append(p.algorithm)
        for height, ((reads, passed), names) in enumerate(sorted(at.items(), key=lambda e: (e[0][0], str(e[0][1])))):
            mark, colour, label = _MARKS[passed]
            label = None if passed in labelled else label
            labelled.add(passed)
            y = cell.digits - 0.05
            axes.plot(max(reads, 0.8), y, mark, color=colour, label=label)
            text = ", ".join(dict.fromkeys(names))
            text = text if len(text) < 34 else f"{names[0]} and {len(set(names)) - 1} others"
            shift = (4, 6) if height % 2 == 0 else (4, -11)
            axes.annotate(text, (max(reads, 0.8), y), xytext=shift, textcoords="offset points", fontsize=7)
        axes.text(most * 8, cell.digits + 0.36, cell.regime, ha="right", va="top", fontsize=9, weight="bold")
    axes.set_xscale("log")
    axes.set_xlim(0.6, most * 9)
    axes.set_ylim(cells[-1].digits - 0.5, cells[0].digits + 0.5)
    axes.set_yticks([c.digits for c in cells])
    axes.set_xlabel("training data read")
    axes.set_ylabel("correct digits")
    m, n = problem.shape
    title = f"({problem.kind}) for K = {problem.digits}, A of {m} x {n}: condition numbers at most 1"
    axes.set_title(title, fontsize=10)
    axes.legend(loc="lower right", fontsize=8)
    with replacing(path) as (temporary,):
        figure.savefig(temporary, dpi=110, format="png")
