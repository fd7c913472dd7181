"""Runs an algorithm in a process of its own, and trusts nothing that it sends.

A new process is started for each run, and has none of the memory of the referee's process. The two share one pipe, for
the lines of :mod:`firenet.barriers.wire`. The length and the time of every line are bounded, and a line that does not
belong to the protocol ends the run. An algorithm that speaks the protocol itself gains nothing by it: the log is kept
at this end.

This is no sandbox: see docs/barriers.md for what a process of the same user can do.
"""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import NoReturn

from firenet.barriers import wire
from firenet.barriers.given import Over
from firenet.barriers.instances import Vector
from firenet.barriers.outputs import MOST_BITS, NOTES, BadOutput, check_size
from firenet.barriers.referee import Halt, Referee, Run

# Time limits: for starting Python and importing the algorithm's module; for ending after the answer.
START_SECONDS, END_SECONDS = 60, 5
NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")
# The environment variables that are passed on: those by which libraries are found and threads are counted.
_KEPT = re.compile(r"PATH|HOME|USER|LANG|LC_\w+|TZ|TMPDIR|LD_LIBRARY_PATH|CUDA_\w+|\w+_NUM_THREADS|VIRTUAL_ENV")
_REASONS: dict[str, Halt] = {"raised": "raised", "refused": "bad output", "misread": "bad read"}


class BadAlgorithm(ValueError):
    """A program that cannot be run: there is no such module or function, or the system is not POSIX."""


class _Ended(Exception):
    """Reports why a run ended, if the algorithm did not end it itself."""

    def __init__(self, how: Halt, note: str) -> None:
        super().__init__(note)
        self.how: Halt = how
        self.note = note


@dataclass(frozen=True)
class Program:
    """An algorithm that runs in a process of its own, a new one for each run.

    Attributes:
        name: ``module:function``; the new process imports the module, from the current folder or from the installed
            packages.

    >>> Program("mine:train")
    Program(name='mine:train')
    """

    name: str

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise BadAlgorithm(f"module:function is needed, two names with a colon; got {self.name!r:.80}")
        if os.name != "posix":
            raise BadAlgorithm("a process of its own needs POSIX (Linux, macOS); play the function itself instead")

    def play(self, referee: Referee, seconds: int) -> Run:
        """Plays one run.

        Raises:
            BadAlgorithm: If there is no such module, or no such function in it.
        """
        size = referee.problem.shape[1]
        child = _Child(self.name, seconds, size * (MOST_BITS // 2 + 10) + wire.MOST_SAID)
        try:
            how, outputs, note = _converse(child, referee, seconds)
        except _Ended as ended:
            how, outputs, note = ended.how, (), ended.note
        except BadOutput as error:
            how, outputs, note = "bad output", (), str(error)
        except wire.Garbage as error:
            how, outputs, note = "garbage", (), f"it broke the protocol: {error}"
        except Over:
            how, outputs, note = "raised", (), ""  # the referee knows why
        finally:
            child.kill()
        return referee.run(how, outputs, note)


def _converse(child: _Child, referee: Referee, seconds: int) -> tuple[Halt, tuple[Vector, ...], str]:
    """Answers the child process until it is done."""
    problem = referee.problem
    vectors: list[Vector] = []
    child.allow(START_SECONDS, "starting")
    child.say(wire.game(problem))
    ready = False
    while True:
        match child.hear().split(" "):
            case ["ready"] if not ready:
                ready = True
                child.allow(seconds, "running")
            case ["missing", *words] if not ready:
                raise BadAlgorithm(" ".join(words))
            case ["read", n, k] if ready:
                child.say(wire.sample(referee.read(wire.whole(n), wire.whole(k))))
            case ["choose", n] if ready:
                child.say(f"chose {referee.toss(wire.whole(n))}")
            case ["seed"] if ready:
                child.say(f"seed {referee.seed():x}")
            case ["vector", *entries] if ready and len(entries) == problem.shape[1] and len(vectors) < problem.samples:
                vectors.append(tuple(wire.number(e, MOST_BITS) for e in entries))
                check_size(vectors[-1])
            case ["done", *notes] if len(vectors) == problem.samples and all(n in NOTES for n in notes):
                child.allow(END_SECONDS, "running")
                child.silence()
                return "halted", tuple(vectors), "; ".join(NOTES[n] for n in sorted(set(notes)))
            case [("raised" | "refused" | "misread") as what, *words]:
                return _REASONS[what], (), " ".join(words)[: wire.MOST_SAID]
            case words:
                raise wire.Garbage(f"it said {' '.join(words)!r:.60}")


class _Child:
    """A process and the pipe to it, with a time limit."""

    def __init__(self, name: str, seconds: int, longest: int) -> None:
        # Enough for all its threads: this limit is for processes that leave the group and are not killed with it.
        cpu = (START_SECONDS + seconds + END_SECONDS) * (os.cpu_count() or 1)
        path = os.pathsep.join(os.path.abspath(p) for p in sys.path if p)
        # The hash seed is fixed: sets of strings are iterated in the same order in every run.
        own = {"PYTHONPATH": path, "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-s", "-P", "-m", "firenet.barriers.child", name, str(cpu)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={k: v for k, v in os.environ.items() if _KEPT.fullmatch(k)} | own,
            start_new_session=True,
            bufsize=0,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in, self._out = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(self._in, False)
        self._buffer, self._longest = bytearray(), longest
        self._deadline, self._allowed = 0, ""

    def allow(self, seconds: int, doing: str) -> None:
        """Sets the deadline for everything that follows."""
        self._deadline = time.monotonic_ns() + seconds * 1_000_000_000
        self._allowed = f"it was still {doing} after {seconds} s"

    def _wait(self, file: int, event: int) -> None:
        """Waits until a pipe can be used."""
        left = self._deadline - time.monotonic_ns()
        poll = select.poll()
        poll.register(file, event)
        if left <= 0 or not poll.poll(left // 1_000_000 + 1):
            raise _Ended("out of time", self._allowed)

    def say(self, line: str) -> None:
        """Sends a line. If the child has ended, this raises no error; :meth:`hear` notices it."""
        rest = memoryview(line.encode("ascii") + b"\n")
        with suppress(BrokenPipeError):
            while rest:
                self._wait(self._in, select.POLLOUT)
                rest = rest[os.write(self._in, rest[: 1 << 12]) :]

    def hear(self) -> str:
        """Reads a line.

        Raises:
            Garbage: If it is too long, or not of printable ASCII characters.
        """
        searched = 0
        while (end := self._buffer.find(b"\n", searched)) < 0:
            searched = len(self._buffer)
            if searched > self._longest:
                raise wire.Garbage(f"a line of more than {self._longest} characters")
            self._wait(self._out, select.POLLIN)
            part = os.read(self._out, 1 << 16)
            if not part:
                self._gone()
            self._buffer += part
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        if end > self._longest or not line.isascii() or not (text := line.decode("ascii")).isprintable():
            raise wire.Garbage("a line that is too long, or not of printable ASCII characters")
        if time.monotonic_ns() > self._deadline:  # also if its lines always arrive without waiting
            raise _Ended("out of time", self._allowed)
        return text

    def silence(self) -> None:
        """Waits until the child process ends after its answer.

        Raises:
            Garbage: If it sends anything more.
        """
        with suppress(_Ended):  # a child that does not end in time is killed; its answer is complete
            if not self._buffer:
                self._wait(self._out, select.POLLIN)
                self._buffer += os.read(self._out, 1 << 16)
        if self._buffer:
            raise wire.Garbage("it sent more after its answer")

    def _gone(self) -> NoReturn:
        with suppress(subprocess.TimeoutExpired):
            code = self._process.wait(END_SECONDS)
            how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
            raise _Ended("died", f"its process {how} without an answer")
        raise _Ended("died", "it closed the pipe without an answer")

    def kill(self) -> None:
        """Kills the process and everything that it started in its group."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
