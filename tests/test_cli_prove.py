"""``firenet prove``: proofs, refutations, what is not decided, and input that is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from commands import call
from firenet.cli.console import BAD_INPUT, NOT_REACHED, UNDECIDED
from firenet.guarantees import checker
from null_space_cases import CASES


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    np.save("a.npy", CASES["real"][0])
    np.save("levels.npy", CASES["levels"][0])
    return tmp_path


def test_a_proof_is_printed_and_its_certificate_is_accepted(folder: Path) -> None:
    run = call("prove", "levels.npy", "--sizes", "4,10", "--sparsities", "2,1", "-o", "c.json")
    assert run.exit_code == 0, run.output
    assert "proved: the weighted robust null space property" in run.stdout
    assert "level 1: largest error" in run.stdout
    assert "certificate: c.json" in run.stdout
    assert "has the weighted null space property" in checker.main("c.json")
    record = json.loads(call("prove", "levels.npy", "--sizes", "4,10", "--sparsities", "2,1", "--json").stdout)
    assert (record["result"], record["sizes"], len(record["levels"])) == ("proved", [4, 10], 2)
    assert checker.main("c.json", "--matrix-sha256").startswith(record["matrix_sha256"])


def test_the_depth_of_the_network_for_an_accuracy(folder: Path) -> None:
    run = call("prove", "a.npy", "--sparsities", "1", "--accuracy", "1e-2", "--signal", "3", "--json")
    assert run.exit_code == 0, run.output
    found = json.loads(run.stdout)
    made = found["plan"]
    assert made["null_space_property"]["source"] == "verified"
    assert 0 < made["error"]["bound"] <= 1e-2
    assert made["network"]["layers"] == made["network"]["restarts"] * made["network"]["layers_per_restart"]
    assert f"{made['network']['layers']} layers" in found["network"]
    assert "null space property verified" in found["network"]


def test_a_claim_that_fails_is_refuted(folder: Path) -> None:
    asked = ("--accuracy", "1", "--signal", "1")
    run = call("prove", "a.npy", "--sparsities", "7", "-o", "c.json", *asked)
    assert "network: none, since nothing was proved" in run.stdout
    assert (run.exit_code, "refuted: the matrix has no" in run.stdout) == (NOT_REACHED, True), run.output
    assert "no weighted null space property" in checker.main("c.json")
    run = call("prove", "a.npy", "--sparsities", "1", "--rho", "0.1", "--gamma", "1", "--refute")
    assert (run.exit_code, "refuted" in run.stdout) == (0, True), run.output


def test_what_is_not_decided_comes_with_both_bounds(folder: Path) -> None:
    problem = ("prove", "levels.npy", "--sizes", "4,10", "--sparsities", "2,1")
    claim = ("--rho", "0.8", "--gamma", "5.3")  # rho = 0.922 is proved with this gamma, and 0.706 refuted
    run = call(*problem, *claim, "--json", "-o", "c.json")
    assert run.exit_code == UNDECIDED, run.output
    record = json.loads(run.stdout)
    assert 0 < record["refuted_instead"]["rho"] < record["proved_instead"]["rho"] < 1
    assert not (folder / "c.json").exists()
    run = call(*problem, "--refute", *claim)
    assert (run.exit_code, "not decided" in run.stdout) == (UNDECIDED, True), run.output


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--sparsities", "15"], "between 1 and its size 14"),
        (["--sparsities", "1", "--sizes", "4"], "add up to the 14 columns"),
        (["--sparsities", "1", "--sizes", "4,10"], "One sparsity for each level"),
        (["--sparsities", "x"], "--sparsities"),
        (["--sparsities", "1", "--weights", "0"], "One positive weight"),
        (["--sparsities", "1", "--rho", "0.5"], "Both --rho and --gamma"),
        (["--sparsities", "1", "--rho", "1", "--gamma", "1"], "0 < rho < 1"),
        (["--sparsities", "1", "--rho", "0.5", "--gamma", "0"], "gamma > 0"),
        (["--sparsities", "1", "--accuracy", "1"], "Both --accuracy and --signal"),
        (["--sparsities", "1", "--noise", "0"], "--noise"),
        (["--sparsities", "1", "--refute", "--accuracy", "1", "--signal", "1"], "with --refute"),
        (["--sparsities", "1", "-o", "c.txt"], ".json"),
    ],
)
def test_bad_input_is_refused(folder: Path, options: list[str], said: str) -> None:
    run = call("prove", "a.npy", *options)
    assert run.exit_code == BAD_INPUT, run.output
    assert said in run.stderr


def test_files_that_are_no_matrix_are_refused(folder: Path) -> None:
    np.save("nan.npy", np.full((2, 3), np.nan))
    np.save("cube.npy", np.ones((2, 3, 4)))
    (folder / "text.npy").write_text("no array", encoding="utf-8")
    for name in ("nan.npy", "cube.npy", "text.npy", "none.npy"):
        run = call("prove", name, "--sparsities", "1")
        assert (run.exit_code, run.stderr.startswith("needed: ")) == (BAD_INPUT, True), run.output
