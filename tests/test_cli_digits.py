"""`firenet digits`: what it prints, writes, and with which code it ends."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from firenet.cli.app import app


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    random = np.random.default_rng(0)
    A, x = random.standard_normal((6, 12)) / 6**0.5, np.zeros(12)
    x[[3, 11]] = (1, -2)
    np.save(tmp_path / "A.npy", A)
    np.save(tmp_path / "y.npy", A @ x + 0.05 * random.standard_normal(6))
    return [str(tmp_path / "A.npy"), str(tmp_path / "y.npy")]


def test_exact_data(files: list[str]) -> None:
    run = CliRunner().invoke(app, ["digits", *files, "--lam", "1/5"])
    assert run.exit_code == 0
    assert "Every digit is determined" in run.output
    assert run.output.startswith("P3 of a 6 x 12 matrix")


def test_inexact_data_and_what_is_written(files: list[str], tmp_path: Path) -> None:
    out = tmp_path / "digits.npz"
    run = CliRunner().invoke(app, ["digits", *files, "--problem", "p2", "--lam", "0.1", "--bits", "20", "-o", str(out)])
    assert run.exit_code in (0, 7), run.output
    assert "digits of the minimiser are determined" in run.output
    assert "verified: two problems that agree with the data have minimisers" in run.output
    with np.load(out) as saved:
        record = json.loads(str(saved["record"]))
        apart = np.linalg.norm(saved["first_minimiser"] - saved["second_minimiser"])
        assert np.linalg.norm(saved["first_matrix_change"]) <= 2.0**-20
        assert record["distance"] <= apart + float(saved["first_radius"] + saved["second_radius"])
        assert record["distance"] > 0.99 * apart
        assert float(saved["radius"]) == record["radius"]
    assert (run.exit_code == 0) == record["decided"]


def test_json_and_mistakes(files: list[str], tmp_path: Path) -> None:
    run = CliRunner().invoke(
        app, ["digits", *files, "--problem", "P1", "--epsilon", "0.1", "--data-within", "1e-4", "--json"]
    )
    assert json.loads(run.output)["kind"] == "P1"
    for more, said in ((["--lam", "x"], "Finite numbers for lambda"), (["--lam", "1", "-o", "a.txt"], ".npz")):
        run = CliRunner().invoke(app, ["digits", *files, *more])
        assert run.exit_code == 2
        assert said in run.output
