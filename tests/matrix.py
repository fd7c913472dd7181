"""Runs the test suite in environments of their own and prints a table: ``make check-matrix``, by hand.

One thing varies at a time: the version of Python, the versions of the dependencies (the lowest that ``pyproject.toml``
allows), the extras (none), the precision. Each environment lies under ``.matrix/`` and is kept for the next time.

    python tests/matrix.py                                  # everything
    python tests/matrix.py --list                           # the names
    python tests/matrix.py --only lowest --only bare        # some of them
    python tests/matrix.py --only lowest -- tests/test_operators.py    # a selection of the tests

Exit code 1 if any environment fails.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / ".matrix"
PYTHONS = ("3.11", "3.12", "3.13")
# What runs a test, as opposed to what firenet may need: an environment without extras has these and nothing more. SciPy
# is among them because the library never imports it: it is only what tests compare with, and without it many more skip.
RUNNERS = ("pytest", "pytest-xdist", "hypothesis", "scipy")


@dataclass(frozen=True)
class Environment:
    """One line of the table."""

    name: str
    python: str
    requirements: tuple[str, ...]
    constraints: Path
    variables: Mapping[str, str] = field(default_factory=dict)
    not_run: str = ""
    options: tuple[str, ...] = ()


def find_python(version: str) -> str | None:
    """Returns an interpreter of this version that starts, or None."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    kept = sorted(str(p) for p in root.glob(f"versions/{version}.*/bin/python{version}"))
    for name in [sys.executable, shutil.which(f"python{version}"), *reversed(kept)]:
        if name is None:
            continue
        code = "import sys; print('%d.%d' % sys.version_info[:2])"
        run = subprocess.run([name, "-c", code], capture_output=True, text=True, check=False)
        if run.returncode == 0 and run.stdout.strip() == version:
            return name
    return None


def requirements() -> dict[str, list[Requirement]]:
    """Returns what ``pyproject.toml`` requires, by extra; what is always required under the empty name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = {"": project["dependencies"], **project["optional-dependencies"]}
    return {name: [Requirement(text) for text in group] for name, group in groups.items()}


def lower_bounds(extras: Sequence[str]) -> Iterator[str]:
    """Yields ``name==version`` for the lower bound of every direct dependency of these extras.

    >>> any(line.startswith("numpy==") for line in lower_bounds([""]))
    True
    """
    groups = requirements()
    pending, seen = list(extras), set()
    while pending:
        extra = pending.pop()
        if extra in seen:
            continue
        seen.add(extra)
        for requirement in groups[extra]:
            if requirement.name == "firenet":  # an extra that is made of others
                pending += requirement.extras
            for bound in requirement.specifier:
                if bound.operator in (">=", "=="):
                    yield f"{requirement.name}=={bound.version}"


def environments() -> list[Environment]:
    """Returns the lines of the table, in order."""
    HOME.mkdir(exist_ok=True)
    pins = ROOT / "constraints.txt"
    lowest = HOME / "lowest.txt"
    lowest.write_text("\n".join(sorted(set(lower_bounds(["", "test"])))) + "\n", encoding="utf-8")
    whole = ("-e", ".[test]", "-e", "./models")
    names = {version: find_python(version) or "" for version in PYTHONS}
    found = [Environment(f"python{v}", names[v], whole, pins, {}, "" if names[v] else "not found") for v in PYTHONS]
    here, missing = names[PYTHONS[0]], "" if names[PYTHONS[0]] else f"Python {PYTHONS[0]} not found"
    return [
        *found,
        # Old versions of what firenet requires meet new versions of what those require, and warn of each other.
        Environment("lowest", here, whole, lowest, {}, missing, ("-W", "ignore::DeprecationWarning")),
        # What the variables do, conftest.py says.
        Environment("bare", here, ("-e", ".", *RUNNERS), pins, {"FIRENET_EXTRAS": "none"}, missing, ("-rs",)),
        Environment("float32", here, whole, pins, {"FIRENET_DTYPE": "float32"}, missing),
    ]


def install(environment: Environment) -> Path:
    """Makes the environment, unless the same one is there, and returns its interpreter.

    Raises:
        subprocess.CalledProcessError: If pip finds no such versions.
    """
    wanted = "\n".join([environment.python, *environment.requirements])
    files = [environment.constraints, ROOT / "pyproject.toml", ROOT / "models" / "pyproject.toml"]
    digest = hashlib.sha256(b"\0".join([wanted.encode(), *(f.read_bytes() for f in files)])).hexdigest()
    # Environments that differ only in variables share one folder.
    folder = HOME / digest[:12]
    stamp, python = folder / ".made", folder / "bin" / "python"
    if not stamp.exists():
        subprocess.run([environment.python, "-m", "venv", "--clear", str(folder)], check=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--prefer-binary"]
        if index := os.environ.get("TORCH_INDEX"):
            pip += ["--extra-index-url", index]
        pip += ["-c", str(environment.constraints), *environment.requirements]
        subprocess.run(pip, check=True, cwd=ROOT)
        stamp.touch()
    return python


def run(environment: Environment, arguments: Sequence[str]) -> tuple[bool, str]:
    """Runs the tests and returns whether they passed, with pytest's last line."""
    if environment.not_run:
        return True, f"not run: {environment.not_run}"
    print(f"--- {environment.name}", flush=True)
    try:
        python = install(environment)
    except subprocess.CalledProcessError as error:
        return False, f"not installed: {' '.join(error.cmd[1:4])} ended with exit code {error.returncode}"
    options = [] if "-n" in arguments or "--collect-only" in arguments else ["-n", "auto", "--dist", "worksteal"]
    command = [str(python), "-m", "pytest", "-q", *environment.options, *options, *arguments]
    variables = {**os.environ, "OMP_NUM_THREADS": "1", **environment.variables}
    tests = subprocess.Popen(command, cwd=ROOT, env=variables, stdout=subprocess.PIPE, text=True)
    last = ""
    assert tests.stdout is not None
    for line in tests.stdout:
        print(line, end="", flush=True)
        if re.search(r"\d+ (passed|failed|skipped|error|tests? collected)", line):
            last = line.strip("= \n")
    return tests.wait() == 0, last or f"exit code {tests.returncode}"


def main(arguments: Sequence[str] | None = None) -> int:
    given = list(sys.argv[1:] if arguments is None else arguments)
    cut = given.index("--") if "--" in given else len(given)
    parser = argparse.ArgumentParser(description="The test suite in environments of their own.")
    parser.add_argument("--only", action="append", metavar="NAME", help="This environment alone; may be repeated.")
    parser.add_argument("--list", action="store_true", help="Print the names and what each is made of.")
    options = parser.parse_args(given[:cut])
    known = environments()
    if unknown := set(options.only or ()) - {e.name for e in known}:
        parser.error(f"no environment {', '.join(sorted(unknown))}; there are {', '.join(e.name for e in known)}")
    chosen = [e for e in known if not options.only or e.name in options.only]
    if options.list:
        for e in chosen:
            print(f"{e.name:<12}{e.not_run or e.python}  {' '.join(e.requirements)}  -c {e.constraints.name}")
        return 0
    rows = []
    for environment in chosen:
        start = time.perf_counter()
        passed, words = run(environment, given[cut + 1 :])
        result = "-" if environment.not_run else "passed" if passed else "FAILED"
        rows.append((environment.name, result, f"{time.perf_counter() - start:.0f} s", words))
    print(f"\n{'environment':<14}{'result':<9}{'time':>8}  pytest")
    for name, result, seconds, words in rows:
        print(f"{name:<14}{result:<9}{seconds:>8}  {words}")
    return int(any(result == "FAILED" for _, result, _, _ in rows))


if __name__ == "__main__":
    sys.exit(main())
