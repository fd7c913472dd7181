"""Witnesses: those that were touched are refuted, and the checker stands alone."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from barrier_cases import kinds
from firenet.barriers import Problem, algorithms, check, defeat
from firenet.barriers.witness import Refuted, __file__ as CHECKER


def _edited(witness: dict[str, Any], *path: Any, to: Any) -> dict[str, Any]:
    changed = copy.deepcopy(witness)
    at = changed
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = to(at[path[-1]]) if callable(to) else to
    return changed


@kinds
def test_witnesses_that_were_touched_are_refuted(kind: Any) -> None:
    verdict = defeat(algorithms.exact, Problem(kind, 3))
    witness = verdict.witness
    assert witness is not None
    check(witness)

    def more(text: str) -> str:
        return str(Fraction(text) + Fraction(1, 1 << 60))

    read = ("reads", 0)
    moved = {"scale": "3", "column": "1", "bump": witness["instance"]["bump"]}
    right = ["0"] * 4
    right[int(witness["instance"]["column"])] = witness["outputs"][0][1 - int(witness["instance"]["column"])]
    deep: Any = "1"
    for _ in range(5000):
        deep = [deep]
    for changed in (
        _edited(witness, "outputs", 0, 0, to=deep),
        _edited(witness, "format", to="x"),
        _edited(witness, "version", to=2),
        _edited(witness, "claim", to="right"),
        _edited(witness, "version", to=True),
        _edited(witness, "digits", to="100000000"),
        _edited(witness, "digits", to="9" * 25),
        _edited(witness, "reads", to={}),
        _edited(witness, "rivals", to=[]),
        _edited(witness, "rivals", to=witness["rivals"] * 2000),
        _edited(witness, "rivals", 0, "bump", to="1/1048576"),
        _edited(witness, "problem", "columns", to="9998"),
        _edited(witness, "problem", "samples", to="10000"),
        _edited(witness, "outputs", 0, to=["1/" + "7" * 4100] * 4000),
        _edited(witness, "digits", to="2"),
        _edited(witness, "problem", "kind", to="P9"),
        _edited(witness, "problem", "parameter", to="2"),
        _edited(witness, "instance", "bump", to="1"),
        _edited(witness, "instance", "bump", to="0"),
        _edited(witness, "instance", "column", to=None),
        _edited(witness, "instance", "column", to="7"),
        _edited(witness, "instance", "scale", to="1"),
        _edited(witness, "rivals", to=[moved, moved]),
        _edited(witness, *read, "row", 0, to=lambda t: str(Fraction(t) + 1)),
        _edited(witness, *read, "row", 0, to="1/3"),
        _edited(witness, *read, "tail", to=lambda t: str(Fraction(t) + 1)),
        _edited(witness, *read, "y", to="2"),
        _edited(witness, *read, "label", 0, to=more),
        _edited(witness, *read, "label", to=[]),
        _edited(witness, *read, "n", to="9999"),
        _edited(witness, *read, "k", to="1"),
        _edited(witness, "outputs", to=[]),
        _edited(witness, "outputs", 0, to=right),
        _edited(witness, "outputs", 0, 0, to="1e9999999999"),
        _edited(witness, "outputs", 0, 0, to="1/0"),
        _edited(witness, "outputs", 0, 0, to=0.5),
        {k: v for k, v in witness.items() if k != "reads"},
        [witness],
        None,
    ):
        with pytest.raises(Refuted):
            check(changed)


def test_the_checker_stands_alone(tmp_path: Path) -> None:
    verdict = defeat(algorithms.exact, Problem("P3", 8))
    good, bad, nonsense = (tmp_path / f"{n}.json" for n in ("good", "bad", "nonsense"))
    assert verdict.witness is not None
    good.write_text(json.dumps(verdict.witness))
    bad.write_text(json.dumps(_edited(verdict.witness, "digits", to="7")))
    nonsense.write_text("[" * 100_000)
    script = Path(CHECKER)
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe")
    files = [[str(p)] for p in (good, bad, nonsense, binary, tmp_path / "none")] + [[]]
    runs = [
        subprocess.run([sys.executable, "-I", "-S", str(script), *f], capture_output=True, text=True, check=False)
        for f in files
    ]
    assert [r.returncode for r in runs] == [0, 1, 1, 1, 1, 1]
    assert "2.8284e-8 away" in runs[0].stdout
    assert all(r.stderr.startswith("refuted: ") for r in runs[1:])
    assert "python witness.py FILE.json" in runs[-1].stderr
