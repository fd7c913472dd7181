"""Measures how strong the tests are: makes single small changes of the code, and lists those that no test notices.

``python tests/mutants.py --count 300 --jobs 2`` (``make mutants``; hours) draws changes of the files of `src/firenet`,
all but those of `EXCLUDED`: an operator of arithmetic, comparison or logic swapped, a number or truth value replaced,
``not`` or a minus dropped. Each is made in a copy of the sources, where the doctests and the own tests of the changed
file run (`own_tests`), first those that execute the changed line; what takes too much time or memory counts as noticed.
``--resume FILE`` keeps a line of JSON for each result, and goes on where a run with the same file ended.
``--only solver,problems`` takes changes of these files or packages.

A change that nobody notices is a hint and not yet a fault: some compute the same (a larger buffer, ``<`` for ``<=`` of
real numbers), others say that a test is missing.
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import builtins
import contextlib
import fnmatch
import functools
import io
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
import tokenize
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parent
PROJECT = TESTS.parent
SOURCE = PROJECT / "src"
PACKAGES = {path.name for path in (SOURCE / "firenet").iterdir() if path.is_dir()}

# Commands, pictures and pages, networks to compare with: not the mathematics.
EXCLUDED = ("cli/*", "audit/report*", "scans/demo*", "models/audit_demo*", "paper/*", "nets/*", "__init__.py")
# The tests of files beside those that have their name.
OWN = {
    "test_analysis_kernel": "iteration kernel pair",
    "test_adaptive": "schedules controller",
    "test_adaptive_loop": "schedules adaptive radial controller solution",
    "test_attack": "ascent survey differences",
    "test_cli_recon": "scan_reconstruction source record memory",
    "test_cli_scans": "scan_reconstruction source noise_level record kspace",
    "test_compact": "sensing operators problems masked fourier_wavelet",
    "test_convolutions": "undecimated gradient union",
    "test_doors": "check numerics",
    "test_engines": "engine engines compiled compiled_gradient compiling",
    "test_export": "real_valued real_bands real_transforms onnx_file",
    "test_files": "stored bart png nifti dicom mrd numpy_files foreign",
    "test_fixed_loop": "kernel synthesis_kernel schedules solution",
    "test_format_features": "files bart png nifti dicom mrd hdf5 numpy_files",
    "test_formats": "stored bart numpy_files nifti dicom",
    "test_fourier_wavelet": "masked fourier compiled",
    "test_schedules_frozen": "adaptive_loop fixed_loop",
    "test_guarantees_confusion": "pair_checker pair_search",
    "test_hdf5": "mrd",
    "test_iteration": "synthesis synthesis_kernel kernel",
    "test_network": "fixed_loop solution least_squares memory stored_schedules",
    "test_network_checkpoints": "fixed_loop iteration",
    "test_operators": "check linear matrix norm_bound stack",
    "test_problems_analysis": "pair problem penalty convolutions undecimated gradient union analysis_kernel",
    "test_problems_fidelity": "gap adaptive_loop problem pair",
    "test_problems_pair": "analysis convolutions undecimated gradient union",
    "test_problems_synthesis": "numerics fidelity gap problem penalty synthesis_kernel",
    "test_radial": "controller",
    "test_recon": "kspace coils scan reconstruct spec metrics memory",
    "test_referee": "wire child program outputs runs",
    "test_safely": "sealed archives tensors files",
    "test_schedules": "adaptive radial",
    "test_sensing": "masked fourier fourier_wavelet walsh",
    "test_nonuniform": "nonuniform plans toeplitz",
    "test_trajectories": "trajectories density",
    "test_projection": "projection strips",
    "test_sinogram": "sinogram axis backprojection ramp",
    "test_camera": "measurements pairs order numbers",
    "test_measured": "measured mrd_readouts",
    "test_scan_kinds": "readouts describe",
    "test_soundness": "gap numerics",
    "test_synthesis_kernel": "compiled",
    "test_transforms": "analysis_operator wavelet undecimated walsh filters spec",
}
MOST_TESTS = 6  # files of tests for one change: of names that everybody imports, the smallest
SLACK, PATIENCE = 60.0, 3.0  # seconds a changed run may take beyond PATIENCE times the unchanged one
MEMORY = 12 << 30

# --- changes ---------------------------------------------------------------------------------------------------------

SWAPS = {
    **{"+": "-", "-": "+", "*": "/", "/": "*", "//": "/", "%": "//", "**": "*", "@": "*", "<<": ">>", ">>": "<<"},
    **{"&": "|", "|": "&", "^": "&", "<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "=="},
    **{"and": "or", "or": "and", "is": "is not", "is not": "is", "in": "not in", "not in": "in"},
    **{"True": "False", "False": "True"},
}
SWAPS |= {f"{op}=": f"{SWAPS[op]}=" for op in ("+", "-", "*", "/", "//", "%", "**", "@", "<<", ">>", "&", "|", "^")}
# Keywords of calls and class decorators that change no number.
NO_NUMBERS = {"strict", "frozen", "eq", "repr", "slots", "maxsize", "stacklevel"}


@dataclass(frozen=True)
class Change:
    """One change: in a file (relative to the sources) the text ``before`` at ``offset`` becomes ``after``."""

    file: str
    line: int
    offset: int
    before: str
    after: str

    @property
    def key(self) -> str:
        return f"{self} at {self.offset}"

    def made(self, source: str) -> str:
        """Returns the changed text.

        >>> Change("x.py", 1, 2, "+", "-").made("a + b")
        'a - b'
        """
        assert source.startswith(self.before, self.offset)
        return source[: self.offset] + self.after + source[self.offset + len(self.before) :]

    def __str__(self) -> str:
        return f"{self.file}:{self.line}  {self.before} -> {self.after or 'nothing'}"


class _Sites(ast.NodeVisitor):
    """Finds the spans that can be changed, each with what could stand there instead."""

    def __init__(self, source: str) -> None:
        self.found: list[tuple[int, int, str, list[str]]] = []  # line, offset, before, alternatives
        self._starts = [0]
        for text in source.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(text))
        self._lines = source.splitlines(keepends=True)
        reader = tokenize.generate_tokens(io.StringIO(source).readline)
        kinds = (tokenize.OP, tokenize.NAME)
        self._tokens = [(self._at(*t.start), t.string) for t in reader if t.type in kinds]
        self.visit(ast.parse(source))

    def _at(self, line: int, column: int) -> int:
        return self._starts[line - 1] + column

    def _span(self, node: ast.expr) -> tuple[int, int]:
        """Returns where a node begins and ends; ast counts bytes of UTF-8, the source is in characters."""
        assert node.end_lineno is not None
        assert node.end_col_offset is not None

        def place(line: int, column: int) -> int:
            return self._at(line, len(self._lines[line - 1].encode()[:column].decode()))

        return place(node.lineno, node.col_offset), place(node.end_lineno, node.end_col_offset)

    def _operator(self, node: ast.expr | ast.stmt, left: ast.expr, right: ast.expr) -> None:
        """Adds the operator that stands between two operands."""
        begin, end = self._span(left)[1], self._span(right)[0]
        between = [(at, word) for at, word in self._tokens if begin <= at < end and word not in ("(", ")")]
        before = " ".join(word for _, word in between)
        if before in SWAPS:
            self._add(node, between[0][0], before, [SWAPS[before]])

    def _add(self, node: ast.expr | ast.stmt, offset: int, before: str, after: list[str]) -> None:
        self.found.append((node.lineno, offset, before, after))

    def visit_BinOp(self, node: ast.BinOp) -> None:
        if not (isinstance(node.op, ast.BitOr) and _is_type(node.right)):
            self._operator(node, node.left, node.right)
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self._operator(node, node.target, node.value)
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        for left, right in zip(node.values, node.values[1:], strict=False):
            self._operator(left, left, right)
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        for left, right in zip([node.left, *node.comparators], node.comparators, strict=False):
            self._operator(left, left, right)
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        word = {ast.Not: "not", ast.USub: "-"}.get(type(node.op))
        if word is not None:
            self._add(node, self._span(node)[0], word, [""])
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        value, (begin, end) = node.value, self._span(node)
        text = "".join(self._lines)[begin:end]
        if isinstance(value, bool):
            self._add(node, begin, text, [SWAPS[text]])
        elif isinstance(value, int | float | complex):
            other = [value + 1, 2 * value, *([1 - value] if value in (0, 1) else [])]
            self._add(node, begin, text, sorted({repr(v).strip("()") for v in other if v != value and v == v}))

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_arg(self, node: ast.arg) -> None:
        """Passes over annotations."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        for child in (node.args, *node.body):
            self.visit(child)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for child in node.body:
            self.visit(child)

    def visit_If(self, node: ast.If) -> None:
        if not (isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"):
            self.generic_visit(node)

    def visit_keyword(self, node: ast.keyword) -> None:
        if node.arg not in NO_NUMBERS:
            self.generic_visit(node)

    def visit_Assert(self, node: ast.Assert) -> None:
        """Passes over what is said to type checkers."""

    def visit_Raise(self, node: ast.Raise) -> None:
        """Passes over what is said of errors."""

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """Passes over text."""


def _is_type(node: ast.expr) -> bool:
    """Says whether an alternative of types stands there, by the names of Python's style."""
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    none = isinstance(node, ast.Constant) and node.value is None
    return none or isinstance(node, ast.Subscript) or name[:1].isupper() or isinstance(getattr(builtins, name, 0), type)


def changes(source: str, file: str, rng: random.Random) -> list[Change]:
    """Returns one change for each place of a file that can be changed.

    >>> text = "def f(x: int = 1) -> int | None:\\n    return not (x) + 2 <= 3 if x is not None else -x"
    >>> [(c.before, c.after) for c in changes(text, "x.py", random.Random(0)) if not c.before.isdigit()]
    [('not', ''), ('+', '-'), ('<=', '<'), ('is not', 'is'), ('-', '')]
    """
    sites = sorted(_Sites(source).found, key=lambda site: site[1])
    return [Change(file, line, at, before, rng.choice(after)) for line, at, before, after in sites if after]


def drawn(count: int, seed: int, only: list[str]) -> list[Change]:
    """Draws changes of the core, those of one file together."""
    rng, every = random.Random(seed), []
    for path in sorted((SOURCE / "firenet").rglob("*.py")):
        inside = path.relative_to(SOURCE / "firenet")
        chosen = not only or any(name in (inside.stem, *inside.parts[:-1]) for name in only)
        if chosen and not any(fnmatch.fnmatch(inside.as_posix(), pattern) for pattern in EXCLUDED):
            every += changes(path.read_text(encoding="utf-8"), path.relative_to(SOURCE).as_posix(), rng)
    return sorted(rng.sample(every, min(count, len(every))), key=lambda change: (change.file, change.offset))


# --- tests -----------------------------------------------------------------------------------------------------------


@functools.cache
def imported(test: Path) -> frozenset[str]:
    """Returns the modules of firenet that a test imports, and the names, with a dot before each."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(test.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "firenet":
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
            found |= {f".{alias.name}" for alias in node.names}
    return frozenset(found)


@functools.cache
def own_tests(file: str) -> tuple[Path, ...]:
    """Returns the tests of a file: those that have its name, as ``test_package_file`` or ``test_file``, those of `OWN`,
    those that import the module, those that have its package's name, and the smallest of those that import something
    defined in it.

    >>> first = [own_tests(f"firenet/{package}/verdicts.py")[0].stem for package in ("audit", "barriers")]
    >>> [name.startswith("test_audit_verdicts") for name in first]
    [True, False]
    """
    path = Path(file)
    dotted = ".".join(path.with_suffix("").parts)
    package = path.parts[1] if len(path.parts) > 2 else ""
    tests = sorted(TESTS.glob("test_*.py"), key=lambda test: test.stat().st_size)
    # Convention means the commands' tests only for commands: they are slow, and there are better ones.
    usual = [test for test in tests if not test.stem.startswith("test_cli")]

    def have(name: str) -> list[Path]:
        return [test for test in usual if re.search(rf"_{name}(_|$)", test.stem)]

    found = have(f"{package}_{path.stem}") if package else []
    found += [test for test in have(path.stem) if test.stem.split("_")[1] not in PACKAGES - {package}]
    found += [test for test in tests if path.stem in OWN.get(test.stem, "").split()]
    found += [test for test in usual if dotted in imported(test)]
    found += have(package) if package else []
    body = ast.parse((SOURCE / file).read_text(encoding="utf-8")).body
    defined = {f".{node.name}" for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    found += [test for test in tests if imported(test) & defined]
    return tuple(dict.fromkeys(found))[:MOST_TESTS]


# Runs pytest after it has made sure of what is tested; torch maps much more memory than it takes, so the limit is wide.
# With a file for coverage, it is stored there which test executed which line.
_RUN = """
import os, resource, sys
source = os.path.join(os.environ["PYTHONPATH"], "firenet")
if sys.argv[2]:
    import coverage
    watched = coverage.Coverage(data_file=sys.argv[2], source=[source], config_file=False, messages=False)
    watched.set_option("run:dynamic_context", "test_function")
    watched.start()
import firenet, pytest
if os.path.dirname(firenet.__file__) != source:
    print("tests another firenet:", firenet.__file__)
    os._exit(97)
resource.setrlimit(resource.RLIMIT_DATA, (int(sys.argv[1]), resource.getrlimit(resource.RLIMIT_DATA)[1]))
code = pytest.main(sys.argv[3:])
if sys.argv[2]:
    watched.stop()
    watched.save()
sys.exit(code)
"""


async def outcome(
    copy: Path, run: list[str], limit: float | None = None, coverage: Path | None = None
) -> tuple[bool, float, str]:
    """Runs tests with the sources of a copy: whether they pass, the seconds it took, and the last words.

    Raises:
        RuntimeError: Where the tests did not run, or with other sources.
    """
    environment = {
        **os.environ,
        "PYTHONPATH": str(copy / "src"),
        "OMP_NUM_THREADS": "1",
        # A changed file of the same length and second would be taken for the one compiled before.
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    options = ["-x", "-q", "--no-header", "--tb=line", "-p", "no:cacheprovider", "-c", f"{PROJECT / 'pyproject.toml'}"]
    command = [sys.executable, "-c", _RUN, str(MEMORY), str(coverage or "")]
    command += [*options, f"--basetemp={copy / 'tmp'}", *run]
    began = time.monotonic()
    with (copy / "output").open("w+") as output:
        process = await asyncio.create_subprocess_exec(
            *command, cwd=copy, env=environment, stdout=output, stderr=output, start_new_session=True
        )
        try:
            code = await asyncio.wait_for(process.wait(), limit)
        except TimeoutError:
            return False, time.monotonic() - began, "timeout"
        finally:
            if process.returncode is None:  # out of time, or the campaign is stopped
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        output.seek(0)
        words = output.read().strip().splitlines()[-30:]
    if code in (4, 5, 97):  # pytest: wrong usage, no tests; see _RUN
        raise RuntimeError("\n".join([f"no tests ran: {' '.join(run)}", *words]))
    failed = [line for line in words if line.startswith(("FAILED", "ERROR"))]
    return code == 0, time.monotonic() - began, (failed or words or [""])[-1]


# --- the run ---------------------------------------------------------------------------------------------------------


class Record:
    """Results by key; with a file each is a line of JSON there, and those of an earlier run are read."""

    def __init__(self, path: Path | None) -> None:
        self._path, self.results = path, dict[str, dict[str, Any]]()
        if path is not None and path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    self.results |= {(result := json.loads(line))["key"]: result}
                except ValueError:  # the line at which a run broke off
                    continue

    def add(self, key: str, **result: Any) -> None:
        self.results[key] = result = {"key": key, **result}
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(result) + "\n")


def targets(file: str) -> list[str]:
    """Returns what is run for a file, seen from a copy: its doctests and its own tests, which are not copied."""
    doctests = re.search(r"^ +>>> ", (SOURCE / file).read_text(encoding="utf-8"), re.MULTILINE)
    return [*([f"src/{file}"] if doctests else []), *map(str, own_tests(file))]


@functools.cache
def functions(test: str) -> frozenset[str]:
    """Returns the functions of a test file; coverage also names those of libraries that look like tests."""
    body = ast.parse(Path(test).read_text(encoding="utf-8")).body
    return frozenset(node.name for node in body if isinstance(node, ast.FunctionDef))


def executing(data: Path, copy: Path, selected: list[Change]) -> dict[str, list[str]]:
    """Returns the names of the test functions that execute each changed line, by ``file:line``.

    A line that is executed outside tests (when a module is imported, by fixtures) is left out: each test may depend on
    it. So may, through caches, tests that do not execute a line; hence this list only says which tests to run first.
    """
    from coverage import CoverageData  # of the extra check; the doctests of this file run without it

    stored = CoverageData(str(data))
    stored.read()
    found: dict[str, list[str]] = {}
    for change in selected:
        contexts = stored.contexts_by_lineno(str(copy / "src" / change.file)).get(change.line, [])
        if contexts and "" not in contexts:
            found[f"{change.file}:{change.line}"] = sorted({name.rsplit(".", 1)[-1] for name in contexts})
    return found


async def each(jobs: int, folder: Path, work: list[Any], do: Callable[[Path, Any], Any]) -> None:
    """Does the work in so many copies of the sources at once."""
    waiting = iter(work)

    async def worker(number: int) -> None:
        copy = folder / str(number)
        if not copy.exists():
            shutil.copytree(SOURCE, copy / "src", ignore=shutil.ignore_patterns("__pycache__"))
        for item in waiting:
            await do(copy, item)

    async with asyncio.TaskGroup() as group:
        for number in range(jobs):
            group.create_task(worker(number))


async def campaign(selected: list[Change], jobs: int, record: Record) -> None:
    """Tries the changes that the record does not have."""
    todo = [change for change in selected if change.key not in record.results]
    print(f"{len(selected)} changes, {len(selected) - len(todo)} of them tried before", flush=True)

    async def unchanged(copy: Path, target: str) -> None:
        data = copy / "coverage"
        data.unlink(missing_ok=True)
        passed, seconds, words = await outcome(copy, [target], coverage=data)
        if not passed:
            raise RuntimeError(f"{target} fails without a change: {words}")
        lines = executing(data, copy, selected) if target.startswith(str(TESTS)) else {}
        record.add(target, seconds=seconds, lines=lines)
        print(f"  {seconds:6.1f} s  {target} unchanged", flush=True)

    async def changed(copy: Path, change: Change) -> None:
        path, run = copy / "src" / change.file, targets(change.file)
        source = path.read_text(encoding="utf-8")
        limit = SLACK + PATIENCE * sum(record.results[target]["seconds"] for target in run)
        place = f"{change.file}:{change.line}"
        executed = ((t, record.results[t].get("lines", {}).get(place, ())) for t in run)
        tests = [f"{t}::{name}" for t, names in executed for name in names if name in functions(t)]
        passed, seconds, words = True, 0.0, "no tests"
        path.write_text(change.made(source), encoding="utf-8")
        try:
            for chosen in (tests, run):
                if passed and chosen:  # pytest without targets would run everything
                    passed, took, words = await outcome(copy, chosen, limit)
                    seconds += took
        finally:
            path.write_text(source, encoding="utf-8")
        record.add(change.key, noticed=not passed, seconds=seconds, words=words)
        done = sum(c.key in record.results for c in selected)
        said = "NOT NOTICED" if passed else "noticed"
        print(f"{done}/{len(selected)} {said} {seconds:.0f} s  {change}", flush=True)

    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        needed = {target for change in todo for target in targets(change.file)}
        fresh = sorted(target for target in needed if target not in record.results)
        await each(jobs, Path(folder), fresh, unchanged)
        await each(jobs, Path(folder), todo, changed)


def summary(selected: list[Change], record: Record) -> Iterator[str]:
    """Yields how many changes of each file were noticed, and every change that was not."""
    missed = [change for change in selected if not record.results[change.key]["noticed"]]
    tried, unseen = Counter(change.file for change in selected), Counter(change.file for change in missed)
    for file, count in tried.items():
        tests = ", ".join(test.name for test in own_tests(file)) or "no tests"
        yield f"{count - unseen[file]:4} of {count:3} noticed  {file}  ({tests})"
    yield f"{len(selected) - len(missed)} of {len(selected)} noticed; not noticed:"
    yield from (f"  src/{change}" for change in missed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=300, help="how many changes (300)")
    parser.add_argument("--seed", type=int, default=1, help="of their choice (1)")
    parser.add_argument("--jobs", type=int, default=2, help="how many at once (2)")
    parser.add_argument("--only", default="", help="modules or packages, with commas between")
    parser.add_argument("--resume", type=Path, metavar="FILE", help="results as JSON lines; go on with those it has")
    parser.add_argument("--list", action="store_true", help="print the changes and the tests, and try nothing")
    options = parser.parse_args()
    selected = drawn(options.count, options.seed, [name for name in options.only.split(",") if name])
    if options.list:
        for change in selected:
            print(change, "  ", *(test.name for test in own_tests(change.file)))
        return
    record = Record(options.resume)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: the tests that run end, too
    try:
        asyncio.run(campaign(selected, options.jobs, record))
    except ExceptionGroup as group:
        if group.split(RuntimeError)[1]:
            raise
        raise SystemExit("\n".join(map(str, group.exceptions))) from None
    except KeyboardInterrupt:
        raise SystemExit("stopped; what was tried is kept with --resume FILE") from None
    print(*summary(selected, record), sep="\n")


if __name__ == "__main__":
    main()
