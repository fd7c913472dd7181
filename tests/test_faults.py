"""The short version of ``make faults``: a trial of each kind that takes seconds.

Closed folders, two runs at once and full disks under an audit or a training are in the whole campaign alone.
"""

from __future__ import annotations

import contextlib
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import faults
from commands import call
from extras import needs
from faults import JOBS, Job

AUDIT_NEEDS = ("firenet_models", "safetensors", "skimage")
SHORT = {
    "recon": JOBS["recon"],
    "audit run": replace(JOBS["audit run"], arguments=(*faults.AUDIT, "--tests", "accuracy")),
}


def in_this_process(folder: Path, *arguments: str) -> tuple[int, str]:
    with contextlib.chdir(folder):
        result = call(*arguments)
    return result.exit_code, result.output


@pytest.mark.parametrize("name", ["recon", "audit run"])
def test_kill_nine_at_any_moment(name: str, tmp_path: Path) -> None:
    needs(*(AUDIT_NEEDS if name == "audit run" else ()))
    found = faults.kills(SHORT[name], tmp_path, 1, seed=3)
    assert found.wrong == []
    assert found.tried >= 1


def test_signals_leave_nothing_and_say_which_they_were(tmp_path: Path) -> None:
    needs(*AUDIT_NEEDS)
    # A model that answers slowly, so that the signal meets it at work.
    found = faults.signals(SHORT["audit run"], tmp_path, which=(signal.SIGTERM,))
    assert found.wrong == []
    assert found.tried == 3


def test_a_full_disk(tmp_path: Path) -> None:
    found = faults.full_disk(SHORT["recon"], tmp_path, (0,))
    assert found.wrong == []
    assert found.tried >= 3


def test_foreign_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "run", in_this_process)  # a process of its own would behave as this one
    assert faults.foreign_files(tmp_path).wrong == []


def test_a_crash_is_held_against_the_model_alone(tmp_path: Path) -> None:
    needs(*AUDIT_NEEDS)
    assert faults.crashes(tmp_path).wrong == []


def test_odd_terminals_and_paths(tmp_path: Path) -> None:
    """All at once: 40 columns, dumb, the C locale, ASCII, no home; and the oddest folder."""
    everything = {"everything": {k: v for env in faults.TERMINALS.values() for k, v in env.items()}}
    oddest = {"colours": faults.FOLDERS["colours"]}
    found = faults.odd_surroundings(tmp_path, everything, {"recon": JOBS["recon"]}, oddest)
    assert found.wrong == []
    assert found.tried == 3


def test_the_campaign_finds_what_it_is_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outputs that differ from run to run, temporary files, a code that is not documented."""
    monkeypatch.setattr(faults, "FIRENET", [sys.executable, "-c", "import os; open('x', 'wb').write(os.urandom(4))"])
    changing = Job((), "x", lambda folder: (folder / "x").read_bytes())
    assert any("other content" in words for words in faults.kills(changing, tmp_path / "a", 1).wrong)
    found = faults.Trials()
    faults.refused(found, "a signal", -signal.SIGKILL, "needed: x")
    faults.refused(found, "a traceback", 1, "needed: x\nTraceback (most recent call last)")
    faults.refused(found, "no words", 2, "")
    assert len(found.wrong) == 3
    (tmp_path / ".abc.part").touch()
    assert faults.left_behind(tmp_path) == [".abc.part"]
