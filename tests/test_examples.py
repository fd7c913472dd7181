"""The examples of CONTRIBUTING do what they say."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import firenet
from firenet import BadInput, Status

FOLDER = Path(__file__).parent.parent / "examples"
pytestmark = pytest.mark.skipif(not FOLDER.exists(), reason="an installed package has no examples")


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"own_{name}", FOLDER / f"own_{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_example_is_named_in_contributing() -> None:
    text = (FOLDER.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for path in FOLDER.glob("*.py"):
        assert path.read_text(encoding="utf-8").strip() in text, f"{path.name} is not in CONTRIBUTING.md as it is"


def test_the_operator_is_checked_and_inverted() -> None:
    solution = example("operator").main()
    assert solution.status is Status.TOLERANCE_REACHED
    x = torch.zeros(32, 32, dtype=torch.float64)
    x[10:22, 12:20] = 1
    assert firenet.psnr(solution.image, x) > 25
    blur = example("operator").Blur(torch.eye(5, dtype=torch.float64))
    assert blur.norm_bound.value == pytest.approx(torch.linalg.matrix_norm(blur.as_matrix(), 2).item(), rel=1e-12)


def test_the_transform_is_orthonormal() -> None:
    cosine = example("transform").Cosine(8)
    matrix = cosine.as_matrix(torch.float64)
    torch.testing.assert_close(matrix @ matrix.mT, torch.eye(64, dtype=torch.float64), rtol=0, atol=1e-14)
    assert cosine.levels().unique().tolist() == [0, 1, 2]
    assert example("transform").main().status is Status.TOLERANCE_REACHED


def test_the_schedule_has_admissible_steps_and_comes_near() -> None:
    module = example("schedule")
    runs = list(module.Halving(3, 5).restarts(firenet.operators.NormBound(2.0, "exact", "said"), torch.ones(1)))
    assert [r.layers for r in runs] == [5, 5, 5]
    assert all((r.tau * r.sigma * 4).item() == pytest.approx(1) for r in runs)
    solution = module.main()
    assert int(solution.layers) == 240
    assert solution.relative_gap.item() < 0.5


def test_the_fidelity_has_its_conjugate_and_its_gap_closes() -> None:
    huber = example("fidelity").Huber(0.3)
    r = torch.linspace(0, 3, 3001, dtype=torch.float64)
    for s in (0.0, 0.2, 0.7, 1.0):
        conjugate = (r * s - huber.value(r)).max().item()
        assert huber.conjugate(torch.tensor(s)).item() == pytest.approx(conjugate, abs=1e-6)
    grid = torch.linspace(0, 1, 100001, dtype=torch.float64)
    for size, sigma in ((0.4, 2.0), (3.0, 2.0), (1.1, 0.1)):
        best = grid[(0.5 * (grid - size) ** 2 + sigma * huber.conjugate(grid)).argmin()].item()
        factor = huber.factor(torch.tensor(size), torch.tensor(sigma)).item()
        assert factor * size == pytest.approx(best, abs=2e-5)
    assert example("fidelity").main().status is Status.TOLERANCE_REACHED


def test_a_fidelity_of_ones_own_survives_the_state_of_a_network() -> None:
    huber = example("fidelity").Huber(0.3)
    A = firenet.Matrix(torch.eye(3, dtype=torch.float64)[:2])
    plain, own = firenet.Firenet(A, lam=0.1), firenet.Firenet(A, lam=0.2, fidelity=huber)
    state = own.state_dict()
    other = firenet.Firenet(A, lam=0.1, fidelity=example("fidelity").Huber(0.3))
    other.load_state_dict(state)
    assert other.lam == 0.2
    assert type(other.fidelity).__name__ == "Huber"
    with pytest.raises(BadInput, match="state of a network"):
        plain.load_state_dict(state)
    own.load_state_dict(plain.state_dict())
    assert type(own.fidelity).__name__ == "Norm"


def test_the_attack_finds_the_largest_singular_value() -> None:
    found, norm = example("attack").main()
    assert 0.99 * norm <= found <= norm * (1 + 1e-12)


def test_the_audit_test_tells_what_moves_with_the_object() -> None:
    row = example("audit_test").main()
    assert row.failed is None
    assert row.numbers["relative error"] < 1e-5  # the adjoint does


def test_the_format_reads_what_it_writes_and_nothing_else(tmp_path: Path) -> None:
    module = example("format")
    assert np.array_equal(module.main(tmp_path).array, np.array([[1 + 2j, 0.5], [-1j, 3]], np.complex64))
    for text in ("", "2 x\n1\n1\n", "2 2\n1\n1\n1\n", "1000000 1000000\n1\n", "1\nnothing\n"):
        (tmp_path / "bad.txt").write_text(text)
        with pytest.raises(BadInput):
            module.read_text(tmp_path / "bad.txt", None, "kspace")


def test_the_command_answers_people_and_machines(tmp_path: Path) -> None:
    np.save(tmp_path / "mask.npy", np.eye(4, dtype=bool))
    app: Any = example("command").app
    run = CliRunner().invoke(app, [str(tmp_path / "mask.npy")])
    assert run.output.startswith("4 of 16 samples (25.0%)")
    assert json.loads(CliRunner().invoke(app, [str(tmp_path / "mask.npy"), "--json"]).output)["rate"] == pytest.approx(
        0.25
    )
    assert CliRunner().invoke(app, [str(tmp_path / "none.npy")]).exit_code == 2


def test_the_figure_has_numbers_and_a_picture(tmp_path: Path) -> None:
    module = example("figure")
    rows = module.numbers((20, 80))
    assert rows[0][1] > rows[1][1] > 0
    module.draw(rows, tmp_path / "gap.png")
    assert (tmp_path / "gap.png").read_bytes().startswith(b"\x89PNG")


def test_the_algorithm_is_played() -> None:
    statement, passed = example("algorithm").main()
    assert statement.startswith("Wrong:")
    assert isinstance(passed, bool)


def renew() -> None:
    """Writes the code of the examples into CONTRIBUTING.md."""
    page = FOLDER.parent / "CONTRIBUTING.md"

    def block(found: re.Match[str]) -> str:
        return f"```python {found[1]}\n{(FOLDER / found[1]).read_text(encoding='utf-8').strip()}\n```\n"

    text = page.read_text(encoding="utf-8")
    page.write_text(re.sub(r"```python (own_\w+\.py)\n.*?```\n", block, text, flags=re.DOTALL), encoding="utf-8")


if __name__ == "__main__":
    renew()
