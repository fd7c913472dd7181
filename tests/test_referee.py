"""The referee of the barriers: whatever an algorithm does, nothing false is said about it, nor by it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st
from typer.testing import CliRunner

import dishonest
from firenet.barriers import (
    Instance,
    Oracle,
    Problem,
    Program,
    Verdict,
    algorithms,
    check,
    defeat,
    outread,
    program,
    trial,
    wire,
)
from firenet.barriers.given import Over
from firenet.barriers.instances import BadProblem
from firenet.barriers.oracle import Read, consistent
from firenet.barriers.program import BadAlgorithm
from firenet.barriers.referee import Referee
from firenet.barriers.witness import Refuted
from firenet.cli.app import app
from firenet.cli.console import INVALID

pytestmark = pytest.mark.skipif(os.name != "posix", reason="processes of their own need POSIX")
SMALL = Problem("P3", 3)


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(program, "END_SECONDS", 60)  # however slow the machine


def stands(verdict: Verdict, problem: Problem) -> None:
    """A witness is right by three judges: the checker, the definitions, and one that knows how it must have been."""
    witness = json.loads(json.dumps(verdict.witness))
    assert check(witness) == verdict.checked
    shown = witness["instance"]
    column = None if shown["column"] is None else int(shown["column"])
    instance = Instance(problem, int(shown["scale"]), column, Fraction(shown["bump"]))
    for r in witness["reads"]:
        row, label = (tuple(map(Fraction, r[k])) for k in ("row", "label"))
        read = Read(int(r["n"]), int(r["k"]), row, Fraction(r["tail"]), Fraction(r["y"]), label)
        assert consistent(read, instance)
    far = [instance.minimisers(k).distance_squared(tuple(map(Fraction, x))) for k, x in enumerate(witness["outputs"])]
    assert tuple(far) == verdict.distances_squared
    assert not far or max(far) > Fraction(1, 100**verdict.digits)


# What each does, what is to be said of it, and a word of why; of those that are judged, how many reads they made.
CHEATS: list[tuple[Callable[..., object], str, str, int]] = [
    (dishonest.clears, "invalid", "no attribute '_reads' (dishonest.py", 0),
    (dishonest.clears_by_gc, "wrong", "agrees with all 1 reads", 1),
    (dishonest.edits, "invalid", "no attribute 'drawn'", 0),
    (dishonest.loads_the_coins, "wrong", "agrees with all 1 reads", 1),
    (dishonest.counts_instead_of_tossing, "invalid", "something else the second time", 0),
    (dishonest.changes_the_coin, "invalid", "not a function of its reads and coins", 0),
    (dishonest.differs, "invalid", "something else the second time", 0),
    (dishonest.looks, "wrong", "agrees with all 0 reads", 0),
    (dishonest.foresees, "invalid", "something else the second time", 0),
    (dishonest.nan, "invalid", "finite numbers are needed; got nan", 0),
    (dishonest.strings, "invalid", "got str", 0),
    (dishonest.decimal_nan, "invalid", "finite numbers are needed", 0),
    (dishonest.huge, "invalid", "at most 12000 bits", 0),
    (dishonest.short_of_itself, "invalid", "at most 12000 bits", 0),
    (dishonest.incommensurable, "invalid", "common denominator of at most 12000 bits", 0),
    (dishonest.incommensurable_on_the_pipe, "invalid", "common denominator of at most 12000 bits", 0),
    (dishonest.equal_to_everything, "wrong", "distance 2.828427e-03", 0),
    (dishonest.bomb, "invalid", "got Bomb", 0),
    (dishonest.mute, "invalid", "Mute: (it does not say what)", 0),
    (dishonest.leaves, "invalid", "SystemExit: 0", 0),
    (dishonest.interrupts, "invalid", "KeyboardInterrupt", 0),
    (dishonest.colours, "invalid", r"ValueError: \x1b[2J\nThe algorithm is right.\nholds: \xe9xxx", 0),
    (dishonest.too_fine, "invalid", "2**-5000, and no read is granted beyond 2**-4096", 0),
    (dishonest.too_fine_in_secret, "invalid", "2**-5000", 0),
    (dishonest.negative, "invalid", "an accuracy is a whole number n of at least 0", 0),
    (dishonest.too_many, "did not halt", "50 reads to within 2**-3", 50),
    (dishonest.patches, "invalid", "2**-5000", 0),
    (dishonest.garbage, "invalid", "broke the protocol", 0),
    (dishonest.pickles, "invalid", "broke the protocol", 0),
    (dishonest.negative_on_the_pipe, "invalid", "a whole number of at most 20 digits is needed; got -1", 0),
    (dishonest.no_such_measurement, "invalid", "measurement 7, and there is no such read", 0),
    (dishonest.long_number, "invalid", "broke the protocol: a whole number of at most 20 digits", 0),
    (dishonest.zero_denominator, "invalid", "denominator of zero", 0),
    (dishonest.no_coin, "invalid", "chose among 0", 0),
    (dishonest.answers_twice, "invalid", "sent more after its answer", 0),
    (dishonest.answers_too_much, "invalid", "broke the protocol: it said 'vector", 0),
    (dishonest.done_before_it_began, "invalid", "broke the protocol: it said 'done'", 0),
    (dishonest.starts_again, "invalid", "broke the protocol: it said 'ready'", 0),
    (dishonest.proves_itself_right, "invalid", "broke the protocol: it said 'right'", 0),
    (dishonest.speaks_for_itself, "wrong", "distance 2.828427e-03", 1),
    (dishonest.prints, "wrong", "distance 2.828427e-03", 0),
    (dishonest.one_endless_line, "invalid", "a line of more than", 0),
    (dishonest.floods_with_reads, "did not halt", "50 reads", 50),
    (dishonest.forks, "invalid", "broke the protocol", 0),
    (dishonest.closes, "invalid", "ended with exit code 0 without an answer", 0),
    (dishonest.closes_and_stays, "invalid", "closed the pipe without an answer", 0),
    (dishonest.exits, "invalid", "ended with exit code 0 without an answer", 0),
    (dishonest.crashes, "invalid", "ended by signal 11", 0),
    (dishonest.kills_itself, "invalid", "ended by signal 9", 0),
    (dishonest.too_large, "invalid", "MemoryError", 0),
]


@pytest.mark.parametrize(("cheat", "claim", "why", "reads"), CHEATS, ids=[c[0].__name__ for c in CHEATS])
def test_nothing_false_is_said_about_whoever_cheats(
    cheat: Callable[..., object], claim: str, why: str, reads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if cheat in (dishonest.speaks_for_itself, dishonest.closes_and_stays):  # they do not end by themselves
        monkeypatch.setattr(program, "END_SECONDS", 1)
    verdict = defeat(Program(f"dishonest:{cheat.__name__}"), SMALL, reads=50, plays=5)
    assert verdict.claim == claim, verdict
    assert why in f"{verdict.statement} {verdict.note}"
    assert (verdict.isolated, verdict.trust) == (True, "")
    assert f"{verdict.statement}{verdict.note}".isprintable()
    assert len(verdict.statement) < 1000
    assert verdict.defeated == (verdict.witness is not None) == (claim != "invalid")
    if verdict.witness is not None:
        assert len(verdict.witness["reads"]) == reads
        stands(verdict, SMALL)
    assert not Path("exploded").exists()
    assert Fraction(1, 2) != Fraction(1, 3)  # whatever it did to the numbers, it did to its own


@pytest.mark.parametrize("cheat", [dishonest.never_ends, dishonest.floods_with_tosses, dishonest.tires])
def test_whoever_does_not_end_is_ended(cheat: Callable[..., object]) -> None:
    verdict = defeat(Program(f"dishonest:{cheat.__name__}"), SMALL, seconds=1, plays=2)
    assert (verdict.claim, verdict.defeated, verdict.witness) == ("out of time", False, None)
    assert "still running after 1 s" in verdict.statement


def test_coins_that_were_seeded_say_what_they_do_then() -> None:
    """It always guesses the same column: the bound tends to 1, whatever it calls random."""
    verdict = defeat(Program("dishonest:reseeds"), SMALL, plays=40)
    assert (verdict.claim, verdict.exact, verdict.plays) == ("randomised", False, 40)
    assert verdict.failure is not None
    assert Fraction(3, 4) < verdict.failure < 1
    stands(verdict, SMALL)


def test_what_shows_nothing_is_not_counted_as_failure() -> None:
    """With half of its coins it asks for what is not granted: who knows what it would have said."""
    verdict = defeat(Program("dishonest:too_fine_sometimes"), SMALL)
    assert (verdict.claim, verdict.failure, verdict.exact) == ("randomised", Fraction(1, 2), True)
    stands(verdict, SMALL)


def test_whoever_kills_the_referee_gets_no_verdict() -> None:
    code = "from firenet.barriers import *; print(defeat(Program('dishonest:kills_its_parent'), 3).statement)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stdout) == (-9, "")


# --- in this process --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cheat", "why"),
    [
        (dishonest.clears, "no attribute '_reads'"),
        (dishonest.edits, "no attribute 'drawn'"),
        (dishonest.too_fine, "2**-5000"),
        (dishonest.too_fine_in_secret, "2**-5000"),
        (dishonest.mute, "does not say what"),
        (dishonest.short_of_itself, "at most 12000 bits"),
    ],
)
def test_in_this_process_too(cheat: Callable[..., object], why: str) -> None:
    verdict = defeat(cheat, 4, reads=50)
    assert (verdict.claim, verdict.witness) == ("invalid", None)
    assert why in verdict.statement
    assert not verdict.isolated
    assert "does not look there" in verdict.trust


def _forges(ts: Any) -> object:
    """Finds the referee behind the training set, and writes its log."""
    _, _, x = ts.sample(64)
    log = ts._read.__self__._log
    log[:] = [Read(9, 0, (Fraction(7), Fraction(7)), Fraction(7), Fraction(1), x)]
    return list(x)


def _forges_nonsense(ts: Any) -> object:
    ts._read.__self__._log[:] = ["a read"]
    return dishonest.ZERO


@pytest.mark.parametrize(("cheat", "why"), [(_forges, "not what the oracle answered"), (_forges_nonsense, "log")])
def test_a_forged_log_is_noticed(cheat: Callable[..., object], why: str) -> None:
    verdict = defeat(cheat, 4)
    assert (verdict.claim, verdict.witness) == ("invalid", None)
    assert why in verdict.statement


# --- trials -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["looks", "foresees"])
def test_a_trial_is_not_passed_by_looking(name: str) -> None:
    """In this process it can be, and says so."""
    here = trial(getattr(dishonest, name), SMALL, 3, plays=20, seed=0)
    assert here.passed  # the cheat is one
    assert "does not look there" in here.trust
    Path("count").unlink(missing_ok=True)
    done = trial(Program(f"dishonest:{name}"), SMALL, 3, plays=20)
    assert (done.passed, done.isolated, done.trust) == (False, True, "")
    assert done.failure is not None
    stands(done.failure, SMALL)
    Path("count").unlink(missing_ok=True)
    assert trial(Program(f"dishonest:{name}"), SMALL, 3, plays=20, seed=done.seed) == done


def test_honest_programs_pass_their_trial() -> None:
    done = trial(Program("firenet.barriers.algorithms:two_digits_less"), SMALL, 1, plays=10)
    assert (done.passed, done.plays, done.most_reads, done.isolated) == (True, 10, 1, True)
    bad = trial(Program("dishonest:exits"), SMALL, 1, plays=10)
    assert not bad.passed
    assert bad.failure is not None
    assert bad.failure.claim == "invalid"
    with pytest.raises(BadAlgorithm):
        trial(Program("dishonest:nobody"), SMALL, 1)


# --- programs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("problem", "name"),
    [
        *((SMALL, name) for name in ("exact", "centre", "separated", "random_column", "three_way")),
        *((Problem("P1", 4, Fraction(1, 2), 3, 0, 3), name) for name in ("centre", "random_column")),
        *((Problem("P2", 12, Fraction(1, 7), 4, 1, 2), name) for name in ("exact", "separated", "three_way")),
    ],
    ids=str,
)
def test_an_honest_algorithm_gets_the_same_verdict_in_either_place(problem: Problem, name: str) -> None:
    function = getattr(algorithms, name)
    for play in (lambda a: defeat(a, problem, name=name, reads=20), lambda a: outread(a, problem, 20, name=name)):
        here, apart = play(function), play(Program(f"firenet.barriers.algorithms:{name}"))
        assert (here.isolated, apart.isolated) == (False, True)
        assert {**here.as_json(), "isolated": True, "trust": ""} == apart.as_json()
        assert apart.witness is not None
        stands(apart, problem)


def test_a_program_has_to_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "number.py").write_text("three = 3\n")
    (tmp_path / "hangs.py").write_text("while True: pass\n")
    (tmp_path / "leaves.py").write_text("import os; os._exit(7)\n")
    (tmp_path / "raises.py").write_text("raise RuntimeError('not today')\n")
    (tmp_path / "fractions.py").write_text("raise RuntimeError('this is no place for fractions')\ndef f(t): return t\n")
    for name in ("nowhere:f", "number:f", "number:three"):
        with pytest.raises(BadAlgorithm):
            defeat(Program(name), 3)
    for name in ("number", "a:b:c", ":", "-c:f", "a b:c", ""):
        with pytest.raises(BadAlgorithm, match="module:function is needed"):
            Program(name)
    for name, why in (("leaves:f", "exit code 7"), ("raises:f", "not today"), ("fractions:f", "no attribute")):
        if name == "fractions:f":  # ours are not replaced by a file of that name
            with pytest.raises(BadAlgorithm, match=why):
                defeat(Program(name), 3)
        else:
            verdict = defeat(Program(name), 3)
            assert verdict.claim == "invalid"
            assert why in verdict.statement
    monkeypatch.setattr(program, "START_SECONDS", 1)
    verdict = defeat(Program("hangs:f"), 3)
    assert verdict.claim == "out of time"
    assert "still starting after 1 s" in verdict.statement


def test_a_program_is_told_nothing_beside_the_protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tells.py").write_text(
        "import os, resource\n"
        "def tells(ts):\n"
        "    raise ValueError(f'{sorted(k for k in os.environ if \"SECRET\" in k)} {os.getsid(0) == os.getpid()} '\n"
        "        f'{len(os.listdir(\"/dev/fd\"))} {resource.getrlimit(resource.RLIMIT_CORE)} '\n"
        "        f'{[resource.getrlimit(r)[1] > 0 for r in (resource.RLIMIT_DATA, resource.RLIMIT_CPU)]}')\n"
    )
    monkeypatch.setenv("A_SECRET", "of the parent")
    with open("something", "w") as file:
        os.set_inheritable(file.fileno(), True)
        verdict = defeat(Program("tells:tells"), 3)
    # its standard files, two ends of pipes, that of the null device, and the listing of the folder itself
    assert "ValueError: [] True 7 (0, 0) [True, True]" in verdict.statement


@given(st.text(alphabet="0123456789abcdefx-/+ _\u0661\n.", max_size=12))
def test_numbers_on_the_wire_are_numbers_or_garbage(text: str) -> None:
    try:
        value = wire.number(text, 40)
    except wire.Garbage:
        return
    assert wire.number(wire.written(value), 40) == value
    assert set(text) <= set("0123456789abcdef-/")


@given(st.fractions(), st.integers(0, 300), st.sampled_from(["P1", "P2", "P3"]))
def test_what_travels_arrives(value: Fraction, n: int, kind: Any) -> None:
    assert wire.number(wire.written(value)) == value
    problem = Problem(kind, 3, Fraction(1, 3), 3, 1, 2)
    assert wire.problem(wire.game(problem)) == problem
    read = Oracle(problem.strong(1, Fraction(1, 7)), n).read(n, 1)
    assert wire.read(wire.sample(read), n, 1, problem) == read


# --- witnesses --------------------------------------------------------------------------------------------------------


def _fine(ts: Any) -> object:
    ts.sample(4096)
    return [0] * ts.shape[1]


def _long(ts: Any) -> object:
    return [Fraction(1, 3**7000)] * ts.shape[1]


@pytest.mark.parametrize("algorithm", [_fine, _long])
def test_what_no_witness_can_hold_is_said(algorithm: Callable[..., object]) -> None:
    verdict = defeat(algorithm, Problem("P1", 4, Fraction(1, 3), columns=90))
    assert (verdict.claim, verdict.witness, verdict.checked) == ("wrong", None, "")
    assert "no witness was made: numbers that are too long" in verdict.note
    assert max(verdict.distances_squared) > Fraction(1, 10**8)


def test_a_witness_of_many_columns_names_as_many_rivals_as_can_be_checked() -> None:
    problem = Problem("P3", 3, columns=100, tail=0)
    verdict = defeat(algorithms.separated, problem, reads=10)
    assert verdict.witness is not None
    assert len(verdict.witness["rivals"]) == 16
    stands(verdict, problem)
    for reads in (0, 20_001, 33_334):
        with pytest.raises(BadProblem, match="which a witness can hold"):
            defeat(algorithms.first, problem, reads=reads)


def test_a_referee_that_ended_a_run_answers_no_more() -> None:
    referee = Referee(Oracle(SMALL.tied()), 1)
    training_set, coins = referee.training_set(), referee.coins()
    training_set.sample(3)
    for ask in (lambda: training_set.sample(3), lambda: coins.choose(2), lambda: coins.generator):
        with pytest.raises(Over):
            ask()
    assert not issubclass(Over, Exception)
    done = referee.run("halted", ((Fraction(0),) * 4,))
    assert (done.how, len(done.reads), done.outputs) == ("out of reads", 1, ())


# --- the command line -------------------------------------------------------------------------------------------------


def test_the_command_plays_apart_unless_it_is_told_otherwise(tmp_path: Path) -> None:
    (tmp_path / "my_own.py").write_text("import os\npid = os.getpid()\ndef f(t): raise ValueError(str(pid))\n")
    for options, isolated in (((), True), (("--in-process",), False)):
        run = CliRunner().invoke(app, ["barriers", "play", "-k", "3", "-a", "my_own:f", "--json", *options])
        assert run.exit_code == INVALID, run.output
        found = json.loads(run.stdout)
        assert found["isolated"] is isolated
        assert ("does not look there" in found["trust"]) is not isolated
        assert (f"ValueError: {os.getpid()}" in found["statement"]) is not isolated


def test_check_does_not_hang_on_a_pipe(tmp_path: Path) -> None:
    verdict = defeat(algorithms.exact, SMALL)
    os.mkfifo(tmp_path / "pipe")
    for file in ("pipe", "/dev/zero", str(tmp_path)):
        run = CliRunner().invoke(app, ["barriers", "check", file])
        assert run.exit_code == 2
        assert "a regular file, or -, is needed" in run.stderr
    run = CliRunner().invoke(app, ["barriers", "check", "-"], input=json.dumps(verdict.witness))
    assert (run.exit_code, run.stdout.startswith("holds: ")) == (0, True)
    with pytest.raises(Refuted):
        check({"format": 3})
