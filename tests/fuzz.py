"""Thousands of damaged files through every reader: nothing may come of one but its content or a `BadInput`.

``python tests/fuzz.py`` runs 20,000 files a target (``--count``, ``--only NAME``, ``--seed``) and prints the table of
``docs/files.md``. `run` is what the tests call with a few hundred; ``--first NUMBER --count 1`` shows one file again.

A target is a name, the sound files to start from and a reader, in `TARGETS`. To add one, write a function that makes
the files in a folder and returns their paths, and one that takes a path and reads it as a user would; what it may raise
is a `FirenetError`. A file that lies beside another (hdr beside cfl) counts as a seed of its own where its reader finds
its partner.

Each file is read in a worker with limits of memory and computing, watched by a clock. What counts as a fault: an
exception other than a `FirenetError`, a warning, more than 10 s of computing, more than 1 GB, a crash, unescaped words
in an error. Files are damaged in these ways (`damaged`): bytes flipped, truncated, stretches zeroed, repeated or taken
from another file, numbers of 1 to 8 bytes replaced by extremes, digits in text by others, checksums put right or not,
members of archives damaged inside; and one in ten is changed while it is read.
"""

from __future__ import annotations

import argparse
import functools
import gc
import gzip
import io
import json
import os
import resource
import select
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

import fuzz_records

SECONDS, MEMORY = 10, 10**9
Seeds = Callable[[Path], list[Path]]
Reader = Callable[[Path], Any]

# --- targets ---------------------------------------------------------------------------------------------------------


def _seeds(kind: str, folder: Path) -> list[Path]:
    import file_seeds

    return file_seeds.fuzz_seeds(kind, folder)


def _read_scan(path: Path) -> None:
    from firenet.errors import BadInput
    from firenet.io.measured import read_measured

    try:
        read_measured(path)
    except BadInput as error:
        if not any(word in error.needed for word in ("axes", "axis", "coils")):
            raise
        read_measured(path, coils=True)


def _read_image(path: Path) -> None:
    from firenet.io.files import read_image

    read_image(path)


def _read_mask(path: Path) -> None:
    from firenet.io.files import read_array
    from firenet.mri.scan import binary_mask

    binary_mask(read_array(path, purpose="mask"))


def _read_both(path: Path) -> None:
    """As k-space and as an image: that one refuses says nothing about the other."""
    from firenet.errors import FirenetError

    try:
        _read_scan(path)
    except FirenetError:
        _read_image(path)


# Name: (sound files in a folder, reader).
READERS: dict[str, tuple[Seeds, Reader]] = {
    "npy": (functools.partial(_seeds, "npy"), _read_both),
    "npz": (functools.partial(_seeds, "npz"), _read_both),
    "hdf5": (functools.partial(_seeds, "hdf5"), _read_both),
    "ismrmrd": (functools.partial(_seeds, "ismrmrd"), _read_scan),
    "cfl": (functools.partial(_seeds, "cfl"), _read_both),
    "png": (functools.partial(_seeds, "png"), _read_image),
    "nifti": (functools.partial(_seeds, "nifti"), _read_image),
    "dicom": (functools.partial(_seeds, "dicom"), _read_image),
    "mask": (functools.partial(_seeds, "mask"), _read_mask),
}
TARGETS = {**READERS, **fuzz_records.TARGETS}


def _faults(folder: Path) -> list[Path]:
    paths = [folder / f"{number}" for number in range(7)]
    for number, path in enumerate(paths):
        path.write_bytes(bytes([number]))
    return paths


def _faulty(path: Path) -> None:
    """A reader with every fault that is looked for: by the first byte of the file, which is not damaged."""
    from firenet.errors import BadInput

    kind = path.read_bytes()[0] if path.parent.name == "damaged" else 6
    if kind == 0:
        error = BadInput("A sound file", "another", "Copy it")
        error.args = ("\x1b[2J",)  # by itself it escapes what it is given
        raise error
    if kind == 1:
        raise KeyError
    if kind == 2:
        memory = bytearray(MEMORY * 3 // 2)
        memory[::4096] = b"x" * len(range(0, len(memory), 4096))
    if kind == 3:
        os.abort()
    if kind == 4:
        while True:
            pass
    if kind == 5:
        raise BadInput("A sound file", "another", "Copy it")


# To test the campaign itself.
_FAULTY = "faulty"


def _target(name: str) -> tuple[Seeds, Reader]:
    return (_faults, _faulty) if name == _FAULTY else TARGETS[name]


# Read in a process of their own by the library: in the worker they are read without it, under the same limits, and what
# ends the worker there is read again through the door, which has to make a BadInput of it.
APART = {"hdf5", "ismrmrd"}


# --- damage ----------------------------------------------------------------------------------------------------------

_EXTREMES = (0, 1, 2, 127, 128, 255, 256, 32767, 32768, 65535, 10**6, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1)


def damaged(whole: bytes, other: bytes, r: Random, depth: int = 0) -> bytes:
    """A sound file with one to four damages, some inside its compressed parts, with the checksums put right."""
    if depth == 0 and r.random() < 0.5:
        if whole.startswith(b"\x1f\x8b"):
            return gzip.compress(damaged(gzip.decompress(whole), other, r, 1), 1)
        if whole.startswith(b"PK"):
            return _archive(whole, other, r)
    raw = bytearray(whole)
    for _ in range(r.randint(1, 4)):
        _damage(raw, other, r)
    return _png(bytes(raw)) if raw.startswith(b"\x89PNG") and r.random() < 0.8 else bytes(raw)


def _damage(raw: bytearray, other: bytes, r: Random) -> None:
    if not raw:
        return
    # Headers are small and mostly at the beginning.
    place = r.randrange(min(len(raw), 600)) if r.random() < 0.6 else r.randrange(len(raw))
    length = min(r.choice((1, 2, 4, 8, 16, 64, 512)), len(raw) - place)
    kind = r.randrange(9)
    if kind == 0:
        for _ in range(r.randint(1, 8)):
            raw[r.randrange(len(raw))] = r.randrange(256)
    elif kind == 1:
        raw[place] ^= 1 << r.randrange(8)
    elif kind == 2:
        del raw[place:]
    elif kind == 3:
        raw[place : place + length] = bytes(length)
    elif kind == 4:
        raw[place:place] = raw[place : place + length] * r.choice((1, 1, 2, 50))
    elif kind == 5:
        del raw[place : place + length]
    elif kind == 6:
        size = r.choice((1, 2, 4, 8))
        number = (r.choice(_EXTREMES) * r.choice((1, 1, -1))) % 2 ** (8 * size)
        raw[place : place + size] = number.to_bytes(size, r.choice(("little", "big")))
    elif kind == 7 and other:
        start = r.randrange(len(other))
        raw[place : place + length] = other[start : start + length]
    else:
        digits = [k for k, byte in enumerate(raw[:4096]) if 48 <= byte < 58]
        if digits:
            at = r.choice(digits)
            raw[at : at + 1] = str(r.choice((*_EXTREMES, "-1", "1e9", "nan", "\x1b[31m", "'", "<", "(", ""))).encode()


def _archive(whole: bytes, other: bytes, r: Random) -> bytes:
    """An npz with damaged members, duplicates and odd names, and right checksums."""
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(whole)) as old, zipfile.ZipFile(packed, "w") as new, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of duplicates
        for name in old.namelist():
            if r.random() < 0.1:
                continue
            data = old.read(name)
            data = damaged(data, other, r, 1) if r.random() < 0.7 else data
            title = r.choice((name, name, name, "kspace.npy", "mask.npy", "../x.npy", "\x1b[2J.npy", "kspace.npy"))
            new.writestr(title, data, r.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)))
    return packed.getvalue()


def _png(raw: bytes) -> bytes:
    """The same chunks with right checksums, as far as their lengths make sense."""
    out, at = bytearray(raw[:8]), 8
    while at + 12 <= len(raw):
        (length,) = struct.unpack(">I", raw[at : at + 4])
        if at + 12 + length > len(raw):
            break
        body = raw[at + 4 : at + 8 + length]
        out += raw[at : at + 4] + body + struct.pack(">I", zlib.crc32(body))
        at += 12 + length
    return bytes(out + raw[at:])


@contextmanager
def _changing(path: Path, seed: int, number: int) -> Iterator[bool]:
    """Every tenth file is cut, grown and spoiled by a thread while it is read; yield whether this one is."""
    whole, r, stop = path.read_bytes() or b"x", Random(f"{seed} {number}"), threading.Event()

    def change() -> None:
        while not stop.is_set():
            kind = r.randrange(3)
            with path.open("r+b") as file:
                if kind == 0:
                    file.truncate(r.randrange(len(whole) + 1))
                elif kind == 1:
                    file.write(whole)
                else:
                    file.seek(r.randrange(len(whole)))
                    file.write(r.randbytes(8))

    thread = threading.Thread(target=change)
    if number % 10 == 9:
        thread.start()
    try:
        yield number % 10 == 9
    finally:
        stop.set()
        if thread.ident is not None:
            thread.join()


# --- the worker ------------------------------------------------------------------------------------------------------


def case(target: str, seed: int, number: int, seeds: Sequence[Path], folder: Path) -> Path:
    """The damaged file of that number, always the same one."""
    r = Random(f"{target} {seed} {number}")
    source = seeds[number % len(seeds)]
    raw = source.read_bytes()
    if target != _FAULTY:
        raw = damaged(raw, r.choice(seeds).read_bytes(), r)
    # It keeps its name where a partner lies beside it.
    path = folder / source.name
    for partner in seeds:
        if partner.stem == source.stem and partner != source:
            (folder / partner.name).write_bytes(partner.read_bytes())
    path.write_bytes(raw)
    return path


def work(target: str, seed: int, first: int, last: int, seconds: int) -> None:
    """Read the files of these numbers; one line of JSON before each and one after."""
    from firenet.errors import FirenetError

    make, read = _target(target)
    warnings.simplefilter("error")
    if target in APART:
        _read_together()
    with tempfile.TemporaryDirectory() as name:
        sound, folder = Path(name) / "sound", Path(name) / "damaged"
        sound.mkdir()
        folder.mkdir()
        seeds = sorted(make(sound))
        for path in seeds:
            read(path)  # sound they are; and what is imported now counts no memory later
        gc.freeze()
        pages = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        room = _room_apart() if target in APART else 2 * MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (pages + room, resource.RLIM_INFINITY))
        base = _peak()
        for number in range(first, last):
            _limit_computing(1 if target in APART else seconds)
            print(json.dumps({"begin": number}), flush=True)
            path = case(target, seed, number, seeds, folder)
            outcome, words = "read", ""
            try:
                with _changing(path, seed, number):
                    read(path)
            except FirenetError as error:
                outcome, words = "refused", str(error)
                if "MemoryError" in words and target not in APART:
                    outcome = "memory"
                elif not words.isprintable():
                    outcome = "raw words"
            except MemoryError:
                outcome, words = "memory", traceback.format_exc()
            except Exception:
                outcome, words = "exception", traceback.format_exc()
            if target in APART:
                gc.collect()  # what the library does when its objects go belongs to this file
            peak = _peak() - base
            if peak > MEMORY and outcome in ("read", "refused"):
                outcome, words = "memory", f"{peak / 1e9:.2f} GB: {words}"
            faulty = outcome not in ("read", "refused")
            print(json.dumps({"end": number, "outcome": outcome, "words": words if faulty else ""}), flush=True)
            if outcome == "memory":
                return  # the peak is that of the process: the next files need a new one
            for old in folder.iterdir():
                old.unlink()


def _peak() -> int:
    """The most memory that this program has held; getrusage would count what the one that started it held, too."""
    status = Path("/proc/self/status").read_text().split("VmHWM:")[1]
    return int(status.split()[0]) * 1024


def _limit_computing(seconds: int) -> None:
    """End this process where the next file takes so many seconds of computing and more, whatever else the machine
    does meanwhile."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    limit = int(used.ru_utime + used.ru_stime) + 1 + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))


def _room_apart() -> int:
    """The memory that the process apart has for a file of this size: its own, and that for the most a claim is free."""
    from firenet.io.apart import MEMORY
    from firenet.io.stored import FREE_BYTES

    return MEMORY + 4 * FREE_BYTES


def _read_together() -> None:
    """Read in this process what the library reads in another."""
    from file_seeds import read_here
    from firenet.io import hdf5
    from firenet.io.stored import unreadable

    def here(format: str, title: str, path: Path, key: str | None, preferred: str) -> Any:
        from firenet.errors import FirenetError

        try:
            return read_here(path, key, preferred)
        except FirenetError:
            raise
        except Exception as error:
            raise unreadable(title, path, error) from error

    hdf5.read_apart = here


# --- the campaign ----------------------------------------------------------------------------------------------------


@dataclass
class Count:
    """What came of the files of one target."""

    outcomes: Counter[str] = field(default_factory=Counter)
    faults: list[tuple[int, str, str]] = field(default_factory=list)
    slowest: float = 0.0

    @property
    def files(self) -> int:
        return sum(self.outcomes.values())


def run(target: str, count: int, seed: int = 0, first: int = 0, seconds: int = SECONDS) -> Count:
    """Read `count` damaged files of a target in workers; a worker that ends or hangs is a fault, and replaced.

    What hangs is ended after so many `seconds` of computing, or after a dozen times as many if it waits for something.
    """
    found, next_ = Count(), first
    while next_ < first + count:
        next_ = _one_worker(target, seed, next_, min(next_ + 1000, first + count), found, seconds)
    return found


class _Lines:
    """The lines of a pipe, each waited for so long and no longer; a buffered file would hide what has come."""

    def __init__(self, pipe: int) -> None:
        self._pipe, self._rest = pipe, b""

    def next(self, seconds: float) -> bytes | None:
        """The next line; None at the end, and where none came in time."""
        while b"\n" not in self._rest:
            if not select.select([self._pipe], [], [], seconds)[0]:
                return None
            more = os.read(self._pipe, 65536)
            if not more:
                return None
            self._rest += more
        line, _, self._rest = self._rest.partition(b"\n")
        return line


def _one_worker(target: str, seed: int, first: int, last: int, found: Count, seconds: int) -> int:
    """Let one worker read files; return the number of the first that nobody has read."""
    command = [sys.executable, __file__, "--worker", target, *map(str, (seed, first, last, seconds))]
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **pipes) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        lines = _Lines(process.stdout.fileno())
        begun, started = None, time.monotonic()
        try:
            while True:
                # Starting takes its time, and files are read one after the other.
                line = lines.next(12 * SECONDS)
                if line is None:
                    break
                entry = json.loads(line)
                if "begin" in entry:
                    begun, started = entry["begin"], time.monotonic()
                    continue
                found.slowest = max(found.slowest, time.monotonic() - started)
                outcome = entry["outcome"]
                if outcome == "memory" and target in APART:
                    outcome = _through_the_door(target, seed, entry["end"], outcome)
                _count(found, entry["end"], outcome, entry["words"])
                begun, first = None, entry["end"] + 1
        finally:
            process.kill()
        code = process.wait()
        if begun is None:
            if first < last and code != 0:
                raise RuntimeError(
                    f"the worker of {target} ended with {code}: {process.stderr.read()[-2000:].decode()}"
                )
            return first
        outcome = "hang" if code in (-signal.SIGKILL, -signal.SIGXCPU) else "crash"
        if target in APART:
            outcome = _through_the_door(target, seed, begun, outcome)
        _count(found, begun, outcome, f"code {code}")
        return begun + 1


def _through_the_door(target: str, seed: int, number: int, outcome: str) -> str:
    """Read a file on which the library crashed or hung as a user would: the process apart has to contain that."""
    from firenet.errors import BadInput

    with tempfile.TemporaryDirectory() as name:
        sound, folder = Path(name) / "sound", Path(name) / "damaged"
        sound.mkdir()
        folder.mkdir()
        path = case(target, seed, number, sorted(TARGETS[target][0](sound)), folder)
        spent = os.times()
        # What takes more than a second would take more than five.
        with mock.patch("firenet.io.apart.SECONDS", 1), _changing(path, seed, number) as changes:
            try:
                TARGETS[target][1](path)
                sound = changes  # it may be another file by now
            except BadInput as error:
                sound = str(error).isprintable()
            except Exception:
                return f"{outcome}, and an exception"
        now = os.times()
        took = now.children_user + now.children_system - spent.children_user - spent.children_system
        # Some readers try a file twice.
        return f"{outcome} contained" if sound and took < SECONDS else outcome


def _count(found: Count, number: int, outcome: str, words: str) -> None:
    found.outcomes[outcome] += 1
    if outcome not in ("read", "refused") and not outcome.endswith("contained"):
        found.faults.append((number, outcome, words))


def table(found: dict[str, Count]) -> str:
    """The counts as a table of Markdown."""
    lines = ["| target | files | read | refused | hangs and crashes contained | faults | slowest |", "|---" * 7 + "|"]
    for name, c in found.items():
        contained = sum(n for outcome, n in c.outcomes.items() if outcome.endswith("contained"))
        kinds = f"{c.outcomes['read']} | {c.outcomes['refused']} | {contained} | {len(c.faults)}"
        lines.append(f"| {name} | {c.files} | {kinds} | {c.slowest:.2g} s |")
    return "\n".join(lines)


def main() -> int:
    """Run the campaign, print its table and every fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--only", action="append", choices=list(TARGETS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first file, to see one again")
    parser.add_argument("--worker", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        target, *numbers = options.worker
        work(target, *map(int, numbers))
        os._exit(0)  # what a damaged file left behind in a library is not cleared away
    found = {}
    for target in options.only or TARGETS:
        found[target] = run(target, options.count, options.seed, options.first)
        for number, outcome, words in found[target].faults:
            print(f"{target} {number}: {outcome}: {words}", file=sys.stderr, flush=True)
        print(table({target: found[target]}).splitlines()[-1], flush=True)
    print(table(found))
    return int(any(count.faults for count in found.values()))


if __name__ == "__main__":
    sys.exit(main())
