"""The barriers' commands: play, check, all, map."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from firenet import barriers
from firenet.barriers import check, classify
from firenet.barriers.trials import Trial
from firenet.barriers.verdicts import Verdict
from firenet.cli.app import app
from firenet.cli.console import INVALID, NO_VERDICT
from firenet.nets.lista import train_lista
from firenet.paper import contestants
from firenet.paper.contestants import CONTESTANTS


def _firenet(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["barriers", *arguments])


def test_play_and_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "w.json"
    run = _firenet("play", "-k", "8", "-a", "exact", "-o", str(file))
    assert run.exit_code == 0, run.output
    assert "2.828427e-08 > 1e-08" in run.stdout
    run = _firenet("check", str(file))
    assert (run.exit_code, "holds" in run.stdout) == (0, True)
    file.write_text(file.read_text().replace('"digits": "8"', '"digits": "7"', 1))
    assert _firenet("check", str(file)).exit_code == 2
    assert _firenet("check", str(tmp_path / "none.json")).exit_code == 2

    (tmp_path / "mine.py").write_text("def guess(training_set):\n    return [0, 0.002, 0, 0]\nnumber = 3\n")
    monkeypatch.chdir(tmp_path)
    run = _firenet("play", "-k", "3", "-a", "mine:guess", "--json")
    assert run.exit_code == 0, run.output
    found = json.loads(run.stdout)
    assert (found["claim"], found["defeated"], found["algorithm"]) == ("wrong", True, "mine:guess")
    run = _firenet("play", "-k", "4", "-a", "one-digit-less", "--fewer", "--reads", "25")
    assert "Needs more than 25 reads" in run.stdout
    for bad in (
        ("-a", "nobody"),
        ("-a", "mine:none"),
        ("-a", "mine:number"),
        ("-a", "no_such_module:f"),
        ("-a", "exact", "-k", "0"),
        ("-a", "exact", "--parameter", "2"),
        ("-a", "exact", "--parameter", "x"),
        ("-a", "exact", "--columns", "1"),
        ("-a", "exact", "--problem", "P7"),
        ("-a", "exact", "-k", "1", "--fewer"),
    ):
        run = _firenet("play", *bad)
        assert run.exit_code == 2, bad
        assert run.stderr.startswith("needed: ")


@pytest.mark.parametrize(
    ("kind", "body", "said", "code"),
    [
        ("raises", "raise RuntimeError('no luck')", "RuntimeError: no luck (mine_that_raises.py, line 2)", INVALID),
        ("answers", "return 'an answer'", "got str", INVALID),
        ("crashes", "import os; os._exit(0)", "ended with exit code 0 without an answer", INVALID),
        ("asks", "return training_set.sample(5000).x", "2**-5000", INVALID),
        ("hangs", "while True: pass", "still running after 1 s", NO_VERDICT),
    ],
)
def test_play_without_a_verdict_has_its_own_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, body: str, said: str, code: int
) -> None:
    name = f"mine_that_{kind}"
    limit = ("--seconds", "1") if kind == "hangs" else ()  # the others end by themselves, however slow the machine
    (tmp_path / f"{name}.py").write_text(f"def bad(training_set):\n    {body}\n")
    monkeypatch.chdir(tmp_path)
    for options in ((), ("--json",)):
        run = _firenet("play", "-k", "3", "-a", f"{name}:bad", *limit, *options)
        assert run.exit_code == code, run.output
        assert f"no verdict about {name}:bad: " in run.stderr
        assert said in run.stderr
    assert json.loads(run.stdout)["defeated"] is False


def test_the_whole_gallery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def briefly(*data: Any, epochs: int, **rest: Any) -> Any:  # test_barriers_adversary plays against the trained one
        return train_lista(*data, epochs=3, **rest)

    monkeypatch.setattr(contestants, "train_lista", briefly)
    run = _firenet("all", "-k", "3", "-o", str(tmp_path), "--reads", "60")
    assert run.exit_code == 0, run.output
    rows = [line.split("│") for line in run.stdout.splitlines() if "│" in line]  # 80 characters wide
    assert [row[1].strip() for row in rows] == list(CONTESTANTS)
    assert {cell.strip() for cell in rows[0][2:5]} == {"2.828427e-03", "2.827013e-03"}  # times 1 - 1/2000 for (P2)
    found = json.loads((tmp_path / "barriers.json").read_text())
    assert len(found["defeats"]) == 3 * len(CONTESTANTS)
    assert all(p["defeated"] for p in found["defeats"])
    for p in found["defeats"]:
        check(json.loads((tmp_path / p["witness"]).read_text()))
    assert all(p["passed"] for p in found["positive"] if "passed" in p)
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")
    assert _firenet("all", "-k", "2", "-o", str(tmp_path)).exit_code == 2


@pytest.mark.parametrize(("claims", "code"), [(("out of time",), NO_VERDICT), (("invalid", "out of time"), INVALID)])
def test_a_gallery_without_a_verdict_has_the_exit_code_of_one_game(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, claims: tuple[Any, ...], code: int
) -> None:
    def ended(algorithm: Any, *_: Any, name: str = "", **__: Any) -> Verdict:
        return Verdict(name, 3, claims[name == "ridge" and -1], "No verdict.")

    monkeypatch.setattr(barriers, "defeat", ended)
    monkeypatch.setattr(contestants, "CONTESTANTS", {name: CONTESTANTS[name] for name in ("first", "ridge")})
    slow = Trial(2, 1, False, Fraction(0), 5, 0, False, Verdict("slow", 2, "out of time", "No verdict."))
    monkeypatch.setattr(barriers, "trial", lambda *_, **__: slow)
    run = _firenet("all", "-k", "3", "-o", str(tmp_path), "--reads", "10")
    assert run.exit_code == code, run.output
    assert "2 digits, 1 inputs out of time" in run.stdout


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_a_map_with_an_experiment_without_a_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: tuple[str, ...]
) -> None:
    made, picture = classify.classify("P3", 3), tmp_path / "map.png"
    slow = replace(made[-1], evidence=(replace(made[-1].evidence[0], passed=None, what="out of time"),))
    monkeypatch.setattr(classify, "classify", lambda *_, **__: [*made[:-1], slow])
    run = _firenet("map", "-k", "3", "-o", str(picture), *form)
    assert run.exit_code == NO_VERDICT
    assert "out of time" in run.stdout
    assert picture.exists()


def test_the_map(tmp_path: Path) -> None:
    picture = tmp_path / "map.png"
    run = _firenet("map", "-k", "3", "-o", str(picture))
    assert run.exit_code == 0, run.output
    assert "3 digits: impossible" in run.stdout
    assert picture.stat().st_size > 10_000
    assert _firenet("map", "-k", "2", "-o", str(picture)).exit_code == 2
