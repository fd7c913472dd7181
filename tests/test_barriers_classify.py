"""Which digits are possible: breakdown epsilons from both sides, the three regimes."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from barrier_cases import kinds
from firenet.barriers import Problem, classify as module
from firenet.barriers.classify import breakdown, classify, classify_bound, digits_of
from firenet.barriers.instances import BadProblem
from firenet.barriers.trials import Trial
from firenet.barriers.verdicts import Verdict
from firenet.paper.barrier_map import draw


def test_breakdown_epsilons_from_both_sides() -> None:
    found = breakdown(Problem("P3", 4))
    three = breakdown(Problem("P3", 4, samples=3))["strong"]
    assert float(three["below"]) <= float(three["limit"]) == pytest.approx(float(three["above"]), rel=1e-4)
    for name, size in (("strong", 1e-4), ("weak", 1e-3)):
        below, above, limit = (float(found[name][k]) for k in ("below", "above", "limit"))
        assert size < below <= limit * (1 + 1e-4)
        assert above == pytest.approx(limit, rel=1e-4)
        assert below == pytest.approx(above, rel=1e-4)
    both = found["probabilistic"]
    assert both["halting"]["proven"] == both["halting"]["attained"] == "1/2"
    assert both["may not halt"]["proven"] == both["may not halt"]["attained"] == "1/3"


@kinds
def test_three_regimes(kind: Any) -> None:
    cells = classify(kind, 3, plays=20)
    assert [(c.digits, c.regime.split(", ")[-1]) for c in cells] == [
        (4, "impossible"),
        (3, "impossible"),
        (2, "unbounded data"),
        (1, "few data"),
    ]
    for cell in cells[1:]:
        assert cell.evidence
        assert any(p.passed for p in cell.evidence) == (cell.regime != "impossible")
    json.dumps([c.as_json() for c in cells])


@pytest.mark.parametrize("claim", ["out of time", "invalid"])
def test_a_game_without_a_verdict_decides_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, claim: Any) -> None:
    """Games that end so, as on a slow machine, neither reach the digits nor contradict the theorem."""
    verdict = Verdict("slow", 1, claim, "No verdict: it was slow.")
    undecided = Trial(1, 3, False, Fraction(0), 5, 0, False, verdict)
    monkeypatch.setattr(module, "defeat", lambda *_, **__: verdict)
    monkeypatch.setattr(module, "outread", lambda *_, **__: verdict)
    monkeypatch.setattr(module, "trial", lambda *_, **__: undecided)
    cells = classify("P3", 3)
    points = [p for cell in cells for p in cell.evidence]
    assert {p.passed for p in points} == {None}
    assert all("No verdict: it was slow." in p.what for p in points)
    draw(cells, Problem("P3", 3), tmp_path / "map.png")
    wrong = replace(undecided, failure=replace(verdict, claim="wrong"))
    monkeypatch.setattr(module, "trial", lambda *_, **__: wrong)
    with pytest.raises(RuntimeError, match="contradict the theorem"):
        classify("P3", 3)


def test_a_proven_bound_is_counted_in_digits() -> None:
    assert [
        digits_of(b) for b in (Fraction(1, 100), Fraction(1, 99), Fraction(1), Fraction(11), Fraction(1, 10**40))
    ] == [
        2,
        1,
        0,
        -2,
        40,
    ]
    assert [(c.digits, c.regime) for c in classify_bound(Fraction(1, 350), layers=300)] == [
        (3, "open"),
        (2, "computable, stated bound"),
        (1, "computable, stated bound"),
    ]
    for bad in (0.1, Fraction(0)):
        with pytest.raises(BadProblem):
            digits_of(bad)  # type: ignore[arg-type]
