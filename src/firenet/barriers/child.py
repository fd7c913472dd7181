"""The algorithm's end of the pipe: ``python -m firenet.barriers.child MODULE:FUNCTION CPU_SECONDS``.

It imports the module, calls the function with a training set and coins, and sends its answer. Every read of the
training set and every draw of a coin is a question through the pipe. The other end (:mod:`firenet.barriers.program`)
trusts nothing of this, because the algorithm can change all of it.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
import traceback
from contextlib import suppress
from typing import IO, Any, NoReturn

from firenet.barriers import wire
from firenet.barriers.given import BadRead, Coins, Over, TrainingSet
from firenet.barriers.outputs import BadOutput, described, message, outputs, takes_coins


class _Pipe:
    """The pipe to the referee, for one question at a time."""

    def __init__(self, answers: IO[str], questions: IO[str]) -> None:
        self._answers, self._questions, self._lock = answers, questions, threading.Lock()

    def say(self, line: str) -> None:
        self._questions.write(line + "\n")
        self._questions.flush()

    def hear(self) -> str:
        line = self._answers.readline()
        if not line:
            raise Over
        return line.rstrip("\n")

    def ask(self, line: str) -> str:
        with self._lock:
            self.say(line)
            return self.hear()


def _limit(cpu_seconds: int) -> None:
    """Limits processor time, and memory to half the machine's. The hard limits are lowered, too, which is final."""
    import resource

    half = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    for which, most in ((resource.RLIMIT_CPU, cpu_seconds), (resource.RLIMIT_DATA, half), (resource.RLIMIT_CORE, 0)):
        hard = resource.getrlimit(which)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        with suppress(ValueError, OSError):  # what a system does not offer
            resource.setrlimit(which, (most, most))


def _function(name: str) -> Any:
    """Returns the function, or a string that says why there is none."""
    module, _, attribute = name.partition(":")
    # The current folder is added only now: a user's file with the name of one of our modules must not replace it.
    sys.path.insert(0, os.getcwd())
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, SyntaxError, ValueError) as error:
        return f"{name}: {described(error)}"
    return found if callable(found) else f"{name} is of type {type(found).__name__}, which cannot be called"


def _play(name: str, pipe: _Pipe) -> None:
    problem = wire.problem(pipe.hear())
    function = _function(name)
    if isinstance(function, str):
        pipe.say(f"missing {wire.ascii_of(function)}")
        return
    training_set = TrainingSet(problem, lambda n, k: wire.read(pipe.ask(f"read {n} {k}"), n, k, problem))
    coins = Coins(
        lambda n: wire.whole(pipe.ask(f"choose {n}").removeprefix("chose ")),
        lambda: int(pipe.ask("seed").removeprefix("seed "), 16),
    )
    pipe.say("ready")
    result = function(training_set, coins) if takes_coins(function) else function(training_set)
    vectors, notes = outputs(result, problem)
    for vector in vectors:
        pipe.say(" ".join(["vector", *map(wire.written, vector)]))
    pipe.say(" ".join(["done", *notes]))


def _place(error: BaseException) -> str:
    """Returns the line of the algorithm's own code that raised an error."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = os.path.dirname(__file__)
    found = next((f for f in reversed(frames) if os.path.dirname(f.filename) != ours), None)
    return f" ({os.path.basename(found.filename)}, line {found.lineno})" if found else ""


def main(name: str, cpu_seconds: str) -> NoReturn:
    """Runs the algorithm once, and ends the process without waiting for threads that the algorithm left behind."""
    # The pipe gets new numbers and 0 and 1 become /dev/null: what the algorithm prints does not mix with the protocol,
    # and closing 0 or 1 does not close the pipe.
    answers, questions = (os.fdopen(os.dup(i), mode, encoding="ascii") for i, mode in ((0, "r"), (1, "w")))
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    pipe = _Pipe(answers, questions)
    _limit(int(cpu_seconds))
    said = ""
    try:
        _play(name, pipe)
    except Over:
        pass
    except BadRead as error:
        said = f"misread {message(error)}"
    except BadOutput as error:
        said = f"refused {message(error)}"
    except BaseException as error:
        said = f"raised {described(error)}{_place(error)}"
    with suppress(OSError, ValueError):  # the other end may be gone, or the algorithm closed the pipe
        if said:
            pipe.say(wire.ascii_of(said))
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
