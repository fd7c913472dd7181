"""The code of README.md, CONTRIBUTING.md and docs/: Python runs, commands are parsed and, where they are quick, run.

The blocks of a page share one namespace, or one folder, and run in order. A Python block that cannot run stands behind
a comment that says why: ``<!-- not run: reason -->``.
"""

from __future__ import annotations

import importlib
import re
import shlex
import textwrap
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer.main
from typer.testing import CliRunner

from extras import h5py

ROOT = Path(__file__).parent.parent
PAGES = [p for p in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))) if p.exists()]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

# How many Python blocks of all pages do not run here. Whoever adds one changes this number, too. These need another
# library, and the tests of its bridge run them: make interop.
NOT_RUN = 9
# Commands that are parsed and not run, and why.
ONLY_PARSED = {
    "audit demo": "17 minutes",
    "audit run": "needs a model of the reader's",
    "barriers all": "half a minute",
    "barriers map": "half a minute",
    "bench": "hours",
    "barriers budget": "half a minute",
    "budget": "needs a truth of the reader's",
    "demo": "has tests of its own",
    "digits": "needs a matrix of the reader's",
    "export": "has tests of its own",
    "prove": "needs a matrix of the reader's",
    "theorem depth": "takes a minute",
    "train": "minutes",
}


@dataclass(frozen=True)
class Block:
    """A fenced block of code; ``reason`` says why it does not run, None that it does."""

    language: str
    line: int
    code: str
    reason: str | None


def blocks(text: str) -> Iterator[Block]:
    r"""Yields the fenced blocks of a page.

    >>> list(blocks("<!-- not run: slow -->\n```python\nx = 1\n```\n"))
    [Block(language='python', line=3, code='x = 1\n', reason='slow')]
    """
    pattern = r"(?:^ *<!-- not run:(.*?)-->\n+)?^ *```([a-z]+)[ \t]*\n(.*?)^ *```[ \t]*$"
    for found in re.finditer(pattern, text, re.DOTALL | re.MULTILINE):
        line = text.count("\n", 0, found.start(3)) + 1
        yield Block(found[2], line, textwrap.dedent(found[3]), None if found[1] is None else found[1].strip())


def read(page: Path, *languages: str) -> list[Block]:
    return [block for block in blocks(page.read_text(encoding="utf-8")) if block.language in languages]


def commands(page: Path) -> Iterator[list[str]]:
    """Yields the commands of a page's blocks for a shell, without prompts and comments."""
    for block in read(page, "sh", "console"):
        for line in block.code.replace("\\\n", " ").splitlines():
            if block.language == "console":
                if not line.startswith("$ "):
                    continue  # what it prints
                line = line[2:]
            words = shlex.split(line, comments=True)
            while words:
                end = words.index("&&") if "&&" in words else len(words)
                yield words[:end]
                words = words[end + 1 :]


def named(pages: list[Path], *languages: str) -> list[Any]:
    return [pytest.param(page, id=page.name) for page in pages if read(page, *languages)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", named(PAGES, "python"))
def test_python_blocks_run(page: Path, folder: Path) -> None:
    namespace: dict[str, Any] = {"__name__": page.stem}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for block in read(page, "python"):
            if block.reason is None:
                # A traceback shows the line of the page.
                exec(compile("\n" * (block.line - 1) + block.code, str(page), "exec"), namespace)


def test_what_does_not_run_is_counted_and_says_why() -> None:
    reasons = [block.reason for page in PAGES for block in read(page, "python") if block.reason is not None]
    assert all(reasons), "<!-- not run: --> without a reason"
    assert len(reasons) == NOT_RUN


def application() -> typer.Typer:
    """The application behind the command ``firenet``."""
    module = PROJECT["scripts"]["firenet"].partition(":")[0]
    return importlib.import_module(module).app


def parsed(words: list[str]) -> str:
    """Parses the words behind ``firenet`` as the command line does and returns the name of the command.

    Raises:
        UsageError: Of typer, for a command, an option or a value that does not exist.
    """
    command: Any = typer.main.get_command(application())
    words = [word for word in words if word != "--help"]
    name, context = "firenet", None
    while hasattr(command, "commands") and words:
        context = command.make_context(name, list(words), parent=context)
        # What the group has not parsed is the name of a command and the words behind it.
        rest = [*context._protected_args, *context.args]
        name, command, words = command.resolve_command(context, rest)
        path = context.command_path
        if not hasattr(command, "commands"):
            if words:
                command.make_context(name, list(words), parent=context)
            return f"{path} {name}".removeprefix("firenet ")
    return name


@pytest.mark.parametrize("page", named(PAGES, "sh", "console"))
def test_commands_exist(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for words in commands(page):
        while words and "=" in words[0]:  # variables of the environment
            words = words[1:]
        tool = words[0] if words else ""
        if tool == "firenet":
            parsed(words[1:])
        elif tool == "make":
            for target in words[1:]:
                assert "=" in target or re.search(rf"^{re.escape(target)}:", makefile, re.MULTILINE), target
        elif tool.startswith("python") and len(words) > 1 and words[1].endswith(".py"):
            assert (ROOT / words[1]).exists() or list(ROOT.glob(f"src/**/{words[1]}")), words[1]
        elif tool == "pip":
            for extras in re.findall(r"\.\[(.*?)\]", " ".join(words)):
                assert set(extras.split(",")) <= set(PROJECT["optional-dependencies"]), extras


def write_scan(path: Path, side: int = 32) -> None:
    """Writes two coils' k-space of a smooth disc, half of it sampled, as fastMRI has it: (slice, coil, y, x).

    With noise of 3 % the networks need a few hundred layers, with hardly any the thousands that they are allowed.
    """
    import firenet

    y, x = np.mgrid[:side, :side] / side - 0.5
    image = (np.hypot(x, y) < 0.4) * (1 + 0.5 * np.cos(9 * x))
    maps = np.stack([np.exp(-((x - 0.3) ** 2) - y**2), np.exp(-((x + 0.3) ** 2) - y**2)])
    mask = firenet.sensing.multilevel((side, side), 0.5, full=4).centred().numpy()
    random = np.random.default_rng(0)
    noise = random.normal(size=(2, 2, side, side))
    axes = (-2, -1)
    kspace = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(maps * image, axes=axes), norm="ortho"), axes=axes)
    with h5py.File(path, "w") as file:
        file["kspace"] = (mask * (kspace + 0.03 * (noise[0] + 1j * noise[1])))[None].astype(np.complex64)


def write_tomogram(path: Path) -> None:
    """Writes transmissions of a disc by parallel rays, 24 views of two rows, in the Data Exchange layout."""
    cells = np.arange(128) - 61.5
    chords = 2 * np.sqrt(np.maximum(40.0**2 - cells**2, 0)) / 80
    data = np.exp(-chords) * (1 + 0.01 * np.random.default_rng(0).normal(size=(24, 2, 128)))
    with h5py.File(path, "w") as file:
        file["exchange/data"], file["exchange/theta"] = data.astype(np.float32), np.arange(24) * 7.5
        file["exchange/data_white"] = np.ones((3, 2, 128), np.float32)


def write_camera(path: Path, side: int = 32) -> None:
    """Writes half of the readings of a photograph, with noise."""
    from firenet.sensing import multilevel
    from firenet.transforms import WalshHadamard

    y, x = np.mgrid[:side, :side] / side - 0.5
    scene = torch.from_numpy((np.hypot(x, y) < 0.4) * (1 + 0.5 * np.cos(9 * x)))
    index = np.flatnonzero(multilevel((side, side), 0.5, transform="walsh").samples.numpy())
    readings = side * WalshHadamard((side, side))(scene).numpy().ravel()[index]
    noise = np.random.default_rng(0).normal(size=len(index))
    np.savez(path, measurements=readings + noise, index=index, shape=np.array([side, side]))


@pytest.mark.parametrize("page", named(PAGES, "sh", "console"))
def test_quick_commands_run(page: Path, folder: Path) -> None:
    """In order and in one folder, beside a scan and, as mine.py, the page's own Python."""
    called = [words[1:] for words in commands(page) if words[:1] == ["firenet"] and "slice.npy" not in words]
    quick = [words for words in called if parsed(words) not in ONLY_PARSED]  # slice.npy is the reader's
    if not quick:
        pytest.skip("no quick command")
    if any("scan.h5" in words for words in quick):
        write_scan(folder / "scan.h5")
    if any("tooth.h5" in words for words in quick):
        write_tomogram(folder / "tooth.h5")
    if any("camera.npz" in words for words in quick):
        write_camera(folder / "camera.npz")
    (folder / "mine.py").write_text("".join(b.code for b in read(page, "python") if b.reason is None), encoding="utf-8")
    for words in quick:
        result = CliRunner().invoke(application(), words)
        assert result.exit_code == 0, f"firenet {shlex.join(words)}\n{result.output}\n{result.exception!r}"
