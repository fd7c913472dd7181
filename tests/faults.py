"""What goes wrong around a run: kill -9, signals, full disks, closed folders, two runs at once, odd terminals.

``python tests/faults.py`` (``make faults``) runs the whole campaign, some half an hour, and prints a table of trials
and faults; `test_faults` runs a short one. Every trial is a process, as a user starts it. What must hold:

* after kill -9 at any moment outputs are whole or not there, and the next run, for audits and trainings one that goes
  on, gives what an undisturbed one gives;
* SIGTERM, SIGHUP and Ctrl-C leave no file, and the exit code says which it was;
* a full disk or a closed folder ends in three lines and a documented code, leaves no file, and is not held against a
  model;
* of two runs on one output one is refused, or both write whole results, of which one stays;
* terminals of 40 columns, dumb ones, the C locale, odd paths and a missing home change nothing but the looks.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

FIRENET = [sys.executable, "-m", "firenet.cli"]
SECONDS = 300
FACTORY = """
import os
import signal
def adjoint(sensing):
    return lambda y: sensing.adjoint(y).real
def crashes(sensing):
    return lambda y: os.kill(os.getpid(), signal.SIGSEGV)
def waits(sensing):
    import time
    def run(y):
        time.sleep(0.05)
        return sensing.adjoint(y).real
    return run
"""


@dataclass
class Trials:
    """How often something was tried, and what was wrong."""

    tried: int = 0
    wrong: list[str] = field(default_factory=list)

    def check(self, holds: bool, words: str) -> None:
        self.tried += 1
        if not holds:
            self.wrong.append(words)


@dataclass(frozen=True)
class Job:
    """A command, the output it writes, and what of that must not depend on what happened before.

    Attributes:
        arguments: Of the command, without ``-o``.
        output: The name of the output.
        content: The folder to what must be the same in every run.
        again: Added to go on.
        sign: A pattern of files that are there while it works; none where nothing shows.
    """

    arguments: tuple[str, ...]
    output: str
    content: Callable[[Path], Any]
    again: tuple[str, ...] = ()
    sign: str = ""


def _image(folder: Path) -> Any:
    return (folder / "x.npy").read_bytes(), json.loads((folder / "x.json").read_text())["results"]


def _weights(folder: Path) -> Any:
    return (folder / "net.safetensors").read_bytes()


def _rows(folder: Path) -> Any:
    (audit,) = json.loads((folder / "a.json").read_text())["audits"]
    assert (folder / "a.html").read_text().rstrip().endswith("</html>")
    return [{k: v for k, v in row.items() if k != "seconds"} for row in audit["rows"]], audit["verdicts"]


TRAIN = ("train", "unet", "--images", "ellipses", "--sides", "16", "--batch", "2", "--threads", "1")
AUDIT = (
    "audit",
    "run",
    "-m",
    "m=made_for_faults:waits",
    "-i",
    "s1045",
    "--side",
    "32",
    "--no-baseline",
    "--threads",
    "1",
)
JOBS = {
    "recon": Job(("recon", "scan.npz", "--fixed", "--layers", "300", "--threads", "1"), "x.npy", _image),
    "train": Job((*TRAIN, "--steps", "200"), "net.safetensors", _weights, sign="net.checkpoint"),
    "audit run": Job(
        (*AUDIT, "--tests", "accuracy,noise,scaling", "--steps", "2", "--starts", "1"),
        "a.html",
        _rows,
        ("--resume",),
        "a.parts/*.started",
    ),
}


def prepared(folder: Path) -> Path:
    """A folder with a scan and a factory."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    kspace = rng.normal(size=(32, 32)) + 1j * rng.normal(size=(32, 32))
    mask = rng.random((32, 32)) < 0.5
    mask[12:20, 12:20] = True
    weight = 1 / (1 + np.hypot(*np.mgrid[-16:16, -16:16]) ** 2)
    np.savez(folder / "scan.npz", kspace=(kspace * weight * mask).astype(np.complex64), mask=mask)
    (folder / "made_for_faults.py").write_text(FACTORY)
    return folder


def start(folder: Path, *arguments: str, env: Mapping[str, str] | None = None, file_size: int | None = None) -> Any:
    """A command as a process in a folder."""

    def limits() -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)  # a suite in the background ignores some
        if file_size is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))

    environment = {**os.environ, "OMP_NUM_THREADS": "1", **(env or {})}
    if "PYTHONPATH" in environment:
        environment["PYTHONPATH"] = os.path.abspath(environment["PYTHONPATH"])
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([*FIRENET, *arguments], cwd=folder, env=environment, preexec_fn=limits, **pipes)


def ended(process: Any) -> tuple[int, str]:
    """Its exit code and all it said."""
    try:
        said, errors = process.communicate(timeout=SECONDS)
    finally:
        process.kill()
    return process.returncode, (said + errors).decode("utf-8", "replace")


def run(folder: Path, *arguments: str, **more: Any) -> tuple[int, str]:
    return ended(start(folder, *arguments, **more))


def left_behind(folder: Path) -> list[str]:
    """Temporary files and markers."""
    return [
        str(p.relative_to(folder))
        for p in folder.rglob("*")
        if p.name.startswith(".") or p.suffix in (".started", ".old")
    ]


@functools.cache
def undisturbed(job: Job) -> tuple[Any, float]:
    """What a run gives that nobody disturbs, and the seconds it takes."""
    with tempfile.TemporaryDirectory() as name:
        folder, begun = prepared(Path(name)), time.monotonic()
        code, said = run(folder, *job.arguments, "-o", job.output)
        assert code == 0, said
        return job.content(folder), time.monotonic() - begun


# --- the trials -------------------------------------------------------------------------------------------------------


def kills(job: Job, folder: Path, count: int, seed: int = 0) -> Trials:
    """Kill -9 at random moments; then the same command again."""
    wanted, seconds = undisturbed(job)
    found, r = Trials(), random.Random(seed)
    for k in range(count):
        here, moment = prepared(folder / f"kill{k}"), r.random() * seconds
        process = start(here, *job.arguments, "-o", job.output)
        time.sleep(moment)
        process.kill()
        process.communicate()
        if (here / job.output).exists():  # it was done, or had just put its files in place
            found.check(job.content(here) == wanted, f"kill after {moment:.2f} s: an output that differs")
        code, said = run(here, *job.arguments, "-o", job.output, *job.again)
        same = code == 0 and job.content(here) == wanted
        found.check(same, f"kill after {moment:.2f} s: the next run ends with {code}, other content: {said[-500:]}")
        shutil.rmtree(here)
    return found


def kills_in_a_row(job: Job, folder: Path, count: int, seed: int = 0) -> Trials:
    """Kill -9 again and again in one folder, each time a little later; then one run to the end."""
    wanted, seconds = undisturbed(job)
    found, r, here = Trials(), random.Random(seed), prepared(folder / "row")
    for _ in range(count):
        process = start(here, *job.arguments, "-o", job.output, *job.again)
        time.sleep(seconds * (0.5 + 0.5 * r.random()))
        process.kill()
        process.communicate()
    code, said = run(here, *job.arguments, "-o", job.output, *job.again)
    found.check(code == 0 and job.content(here) == wanted, f"after {count} kills in a row: {code}, {said[-500:]}")
    return found


POLITE = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


def signals(job: Job, folder: Path, share: float = 0.6, which: Sequence[signal.Signals] = POLITE) -> Trials:
    """The three signals that end a process politely."""
    wanted, seconds = undisturbed(job)
    found = Trials()
    for number in which:
        here = prepared(folder / number.name)
        process = start(here, *job.arguments, "-o", job.output)
        while job.sign and not [*here.glob(job.sign)] and process.poll() is None:
            time.sleep(0.01)
        time.sleep(0.05 if job.sign else share * seconds)
        process.send_signal(number)
        code, said = ended(process)
        if (here / job.output).exists():  # it was done before, or about to end
            found.check(job.content(here) == wanted, f"{number.name}: an output that differs")
            continue
        found.check(code == 128 + number, f"{number.name}: code {code}, {said[-300:]}")
        found.check(not left_behind(here), f"{number.name} leaves {left_behind(here)}")
        code, said = run(here, *job.arguments, "-o", job.output, *job.again)
        found.check(code == 0 and job.content(here) == wanted, f"after {number.name}: {code}, {said[-300:]}")
    return found


@contextmanager
def small_disk(folder: Path, options: str) -> Iterator[bool]:
    """A file system of its own, where this user may mount one."""
    folder.mkdir(parents=True, exist_ok=True)
    mounted = os.geteuid() == 0 and (
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True).returncode == 0
    )
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", folder], check=True)


def refused(found: Trials, what: str, code: int, said: str) -> None:
    """Three lines and a documented code."""
    found.check(code in (1, 2) and "needed:" in said and "Traceback" not in said, f"{what}: {code}, {said[-300:]}")


def full_disk(job: Job, folder: Path, sizes: tuple[int, ...]) -> Trials:
    """A disk of so many bytes, and files that may not grow beyond so many; then room, and the same command again."""
    wanted, _ = undisturbed(job)
    found = Trials()
    for size in sizes:
        here = prepared(folder / f"limit{size}")
        code, said = run(here, *job.arguments, "-o", job.output, file_size=size)
        if code:
            refused(found, f"files of at most {size} bytes", code, said)
        found.check(not left_behind(here), f"files of at most {size} bytes leave {left_behind(here)}")
        code, said = run(here, *job.arguments, "-o", job.output, *job.again)
        found.check(code == 0 and job.content(here) == wanted, f"after a full disk: {code}, {said[-300:]}")
        with small_disk(folder / f"disk{size}", "size=64m") as mounted:
            if not mounted:
                continue
            here = prepared(folder / f"disk{size}")
            filling = here / "filling"
            with filling.open("wb") as file:
                file.write(bytes(max(shutil.disk_usage(here).free - size // 4096 * 4096, 0)))
            code, said = run(here, *job.arguments, "-o", job.output)
            if code:
                refused(found, f"a disk with {size} bytes", code, said)
            found.check(not left_behind(here), f"a disk with {size} bytes leaves {left_behind(here)}")
            filling.unlink()
            code, said = run(here, *job.arguments, "-o", job.output, *job.again)
            found.check(code == 0 and job.content(here) == wanted, f"after a full disk: {code}, {said[-300:]}")
    return found


def closed_folders(folder: Path) -> Trials:
    """Outputs where nothing can be written are refused before any work."""
    found, here = Trials(), prepared(folder)
    outputs = {"a folder that is missing": "none/", "names too long": "n" * 252, "a file for a folder": "scan.npz/"}
    (here / "closed").mkdir()
    with small_disk(here / "read-only", "ro") as mounted:
        if mounted:
            outputs["a read-only disk"] = "read-only/"
        if os.geteuid():
            (here / "closed").chmod(0o500)
            outputs["a folder without rights"] = "closed/"
        for what, where in outputs.items():
            for job in JOBS.values():
                suffix = Path(job.output).suffix
                code, said = run(here, *job.arguments, "-o", f"{where}x{suffix}")
                found.check(code == 2 and "needed:" in said, f"{what}, {job.output}: {code}, {said[-300:]}")
    found.check(not left_behind(here), f"closed folders leave {left_behind(here)}")
    return found


def foreign_files(folder: Path) -> Trials:
    """What lies beside an output and is not ours is not replaced."""
    found, here = Trials(), prepared(folder)
    (here / "x.json").write_text('{"my": "notes"}')
    (here / "a.json").write_text("mine")
    (here / "b.parts").mkdir()
    (here / "b.parts" / "thesis.npz").write_text("mine")
    (here / "net.checkpoint").write_text("mine")
    before = {p: p.read_bytes() for p in here.rglob("*") if p.is_file()}
    for job, output in (
        ("recon", "x.npy"),
        ("audit run", "a.html"),
        ("audit run", "b.html"),
        ("train", "net.safetensors"),
    ):
        code, said = run(here, *JOBS[job].arguments, "-o", output)
        found.check(code == 2 and "needed:" in said, f"{job}, {output}: {code}, {said[-300:]}")
    after = {p: p.read_bytes() for p in here.rglob("*") if p.is_file()}
    found.check(after == before, f"changed: {sorted(set(after.items()) ^ set(before.items()))}"[:500])
    code, said = run(here, *JOBS["recon"].arguments, "-o", "x.npy", "--overwrite")
    found.check(code == 0, f"--overwrite: {code}, {said[-300:]}")
    code, said = run(here, *JOBS["recon"].arguments, "-o", "x.npy")
    found.check(code == 0, f"over our own files: {code}, {said[-300:]}")
    return found


def two_at_once(folder: Path, count: int) -> Trials:
    """Two runs on one output."""
    found = Trials()
    for k in range(count):
        here = prepared(folder / f"{k}")
        with np.load(here / "scan.npz") as stored:
            np.savez(here / "other.npz", kspace=2 * stored["kspace"], mask=stored["mask"])
        same = [start(here, "recon", name, "--layers", "50", "-o", "x.npy") for name in ("scan.npz", "other.npz")]
        codes = [ended(process)[0] for process in same]
        record, image = json.loads((here / "x.json").read_text()), np.load(here / "x.npy")
        run(here, "recon", record["data"], "--layers", "50", "-o", "again.npy")
        together = codes == [0, 0] and np.array_equal(image, np.load(here / "again.npy"))
        found.check(together, f"two of recon: {codes}, an image and a record of different runs")
        for name in ("train", "audit run"):
            job = JOBS[name]
            ends = [ended(p) for p in [start(here, *job.arguments, "-o", job.output) for _ in range(2)]]
            codes = sorted(code for code, _ in ends)
            found.check(codes in ([0, 0], [0, 2]), f"two of {name}: {ends}")
            job.content(here)  # whole
        found.check(not left_behind(here), f"two at once leave {left_behind(here)}")
    return found


TERMINALS: dict[str, dict[str, str]] = {
    "40 columns": {"COLUMNS": "40"},
    "dumb": {"TERM": "dumb", "COLUMNS": "40"},
    "C locale": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "ASCII": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii:strict"},
    "no home": {"HOME": "/nonexistent", "XDG_CACHE_HOME": "", "XDG_CONFIG_HOME": "", "MPLCONFIGDIR": ""},
}
FOLDERS = {"umlauts": "Größe ä".encode(), "not UTF-8": b"k\xff\xfe", "colours": "\x1b[31m\ndo: x\u202e".encode()}


def odd_surroundings(
    folder: Path,
    terminals: Mapping[str, Mapping[str, str]],
    jobs: Mapping[str, Job],
    folders: Mapping[str, bytes] = FOLDERS,
) -> Trials:
    """Every terminal with every folder."""
    found = Trials()
    for title, env in terminals.items():
        for kind, name in folders.items():
            here = prepared(folder / title / os.fsdecode(name))
            where = str(here)
            commands = [(*job.arguments, "-o", f"{where}/{job.output}") for job in jobs.values()]
            commands += [("doctor",), ("recon", f"{where}/none.npz", "-o", f"{where}/y.npy")]
            for command in commands:
                code, said = run(here, *command, env=env)
                wanted = 2 if f"{where}/none.npz" in command else 0
                plain = all(c.isprintable() or c == "\n" for c in said)
                lines = [line for line in said.splitlines() if line.startswith("do: x")]
                sound = code == wanted and "Traceback" not in said and plain and not lines
                found.check(sound, f"{title}, {kind}: {command[0]} ends with {code}: {said[-400:]!r}")
    return found


def crashes(folder: Path) -> Trials:
    """A model that ends the process: held against it, once; and against nobody else."""
    found, here = Trials(), prepared(folder)
    command = ["audit", "run", "-m", "m=made_for_faults:crashes", "-m", "made_for_faults:adjoint", *AUDIT[4:]]
    command += ["--tests", "accuracy", "-o", "a.html"]
    code, said = run(here, *command)
    found.check(code == -signal.SIGSEGV, f"a segmentation fault ends with {code}: {said[-300:]}")
    code, said = run(here, *command, "--resume")
    found.check(code == 0 and "crashed in this part" in said, f"after it: {code}, {said[-300:]}")
    rows = {row["model"]: row["failed"] for row in json.loads((here / "a.json").read_text())["audits"][0]["rows"]}
    found.check("Segmentation fault" in str(rows["m"]) and rows["made_for_faults:adjoint"] is None, f"{rows}")
    return found


# --- the campaign -----------------------------------------------------------------------------------------------------


def main() -> int:
    """Run everything, print a table and what was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--only", help="trials whose name has this in it")
    options = parser.parse_args()
    trials: dict[str, Callable[[Path], Trials]] = {}
    for name, job in JOBS.items():
        trials[f"kill -9, {name}"] = lambda folder, job=job: kills(job, folder, options.kills)
        trials[f"signals, {name}"] = lambda folder, job=job: signals(job, folder)
        trials[f"full disk, {name}"] = lambda folder, job=job: full_disk(job, folder, (0, 4096, 20_000))
    trials["kill -9 in a row, audit run"] = lambda folder: kills_in_a_row(JOBS["audit run"], folder, 4)
    trials["kill -9 in a row, train"] = lambda folder: kills_in_a_row(JOBS["train"], folder, 4)
    trials["closed folders"] = closed_folders
    trials["foreign files"] = foreign_files
    trials["two at once"] = lambda folder: two_at_once(folder, 3)
    trials["terminals and paths"] = lambda folder: odd_surroundings(folder, TERMINALS, JOBS)
    trials["crashes"] = crashes
    bad = 0
    print("| trials | checks | faults |\n|---|---|---|", flush=True)
    for name, trial in trials.items():
        if options.only is not None and options.only not in name:
            continue
        with tempfile.TemporaryDirectory() as folder:
            found = trial(Path(folder))
        bad += len(found.wrong)
        print(f"| {name} | {found.tried} | {len(found.wrong)} |", flush=True)
        for words in found.wrong:
            print(f"{name}: {words}", file=sys.stderr, flush=True)
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
