"""The command line, called in this process or as a user does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from typer.testing import CliRunner

from firenet.cli.app import app

SHARED = Path(os.environ.get("FIRENET_DATA", "not there"))


def shell(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs the command as a user does, in a process of its own."""
    command = [sys.executable, "-m", "firenet.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def call(*arguments: object):
    """Runs the command in this process, which is faster."""
    return CliRunner().invoke(app, [str(a) for a in arguments])


def files(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())
