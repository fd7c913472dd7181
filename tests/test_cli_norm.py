"""firenet norm: of a matrix, a mask, an operator of a module; a stated bound that is wrong; refusals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from cases import entries
from commands import call
from firenet.cli.console import BAD_INPUT, NOT_REACHED

MODULE = """
import numpy as np
import firenet


def sums(norm=None):
    def back(y):
        return np.cumsum(y[::-1])[::-1]

    return firenet.LinearOperator.from_functions(np.cumsum, back, (50,), (50,), norm=norm, numpy=True)


def wrong():
    return sums(20.0)


def no_adjoint():
    return firenet.LinearOperator.from_functions(np.cumsum, np.cumsum, (50,), (50,), numpy=True)


def number():
    return 3
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"module_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    return name


def test_of_a_matrix(tmp_path: Path) -> None:
    matrix = entries(9, 7).numpy()
    np.save(tmp_path / "A.npy", matrix)
    run = call("norm", tmp_path / "A.npy", "--json")
    assert run.exit_code == 0
    found, norm = json.loads(run.stdout), np.linalg.norm(matrix, 2)
    assert found["bound"]["kind"] == "exact"
    for number in (found["bound"]["value"], found["at_least"], found["probable"]["value"]):
        assert number == pytest.approx(norm, rel=1e-9)
    assert found["at_least"] <= found["bound"]["value"] * (1 + 1e-12)
    assert found["adjoint"]["passed"]


def test_of_a_mask(tmp_path: Path) -> None:
    np.save(tmp_path / "mask.npy", np.random.default_rng(0).random((16, 16)) < 0.5)
    np.save(tmp_path / "maps.npy", np.full((2, 16, 16), 3.0 + 4.0j))
    run = call("norm", "--mask", tmp_path / "mask.npy")
    assert run.exit_code == 0
    assert "stated bound" in run.stdout
    coils = json.loads(call("norm", "--mask", tmp_path / "mask.npy", "--coils", tmp_path / "maps.npy", "--json").stdout)
    assert coils["at_least"] == pytest.approx(50**0.5, rel=1e-10)
    assert coils["at_least"] <= coils["bound"]["value"]


def test_of_an_operator_of_a_module(module: str) -> None:
    # The norm of the cumulative sums of n numbers is 1 / (2 sin(pi / (4n + 2))).
    norm = 0.5 / np.sin(np.pi / 202)
    found = json.loads(call("norm", f"{module}:sums", "--json").stdout)
    assert found["at_least"] == pytest.approx(norm, rel=1e-9)
    assert norm <= found["bound"]["value"] <= 1.5 * norm
    assert found["bound"]["kind"] == "probable"


def test_a_stated_bound_that_is_none(module: str) -> None:
    run = call("norm", f"{module}:wrong")
    assert run.exit_code == NOT_REACHED
    assert "WRONG" in run.stdout


@pytest.mark.parametrize(
    ("arguments", "needed"),
    [
        (("MODULE:no_adjoint",), "An adjoint B of"),
        (("MODULE:number",), "returns a LinearOperator"),
        (("MODULE:absent",), "module:factory"),
        (("MODULE:sums", "--mask", "m.npy"), "--mask"),
        (("absent.npy",), "A file to read"),
        ((), "One of a matrix"),
    ],
)
def test_refusals(module: str, arguments: tuple[str, ...], needed: str) -> None:
    run = call("norm", *(a.replace("MODULE", module) for a in arguments))
    assert run.exit_code == BAD_INPUT
    assert needed in " ".join(run.stderr.split())
