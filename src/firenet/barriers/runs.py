"""Runs an algorithm once, and ends the run when its time is up."""

from __future__ import annotations

import ctypes
import threading
import time

from firenet.barriers.algorithms import Algorithm
from firenet.barriers.given import BadRead, Over
from firenet.barriers.instances import Vector
from firenet.barriers.outputs import NOTES, BadOutput, described, message, outputs, takes_coins
from firenet.barriers.program import Program
from firenet.barriers.referee import Halt, Referee, Run

Player = Algorithm | Program
SECONDS = 60


class _Stop(BaseException):
    """Stops a thread whose time is up."""


def run(player: Player, referee: Referee, seconds: int = SECONDS) -> Run:
    """Runs an algorithm once: a :class:`Program` in a process of its own, a callable in this process."""
    return player.play(referee, seconds) if isinstance(player, Program) else _run_here(player, referee, seconds)


def _run_here(algorithm: Algorithm, referee: Referee, seconds: int) -> Run:
    """Runs an algorithm in a thread of this process.

    When its time is up, it gets no more answers, and an exception is raised in its thread; a thread that ignores both
    is abandoned. A single long call into C, which never yields the interpreter, has to finish first; the run is out of
    time even so.
    """
    ended: list[tuple[Halt, tuple[Vector, ...], str]] = []

    def work() -> None:
        try:
            given = (referee.training_set(), referee.coins())
            result = algorithm(*given) if takes_coins(algorithm) else algorithm(given[0])
            vectors, notes = outputs(result, referee.problem)
            ended.append(("halted", vectors, "; ".join(NOTES[n] for n in notes)))
        except (_Stop, Over):
            pass
        except BadRead as error:
            ended.append(("bad read", (), message(error)))
        except BadOutput as error:
            ended.append(("bad output", (), message(error)))
        except BaseException as error:
            ended.append(("raised", (), described(error)))

    start = time.monotonic_ns()
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    late = thread.is_alive() or time.monotonic_ns() - start > (seconds + 1) * 1_000_000_000
    if late:
        referee.ended = ("out of time", f"it was still running after {seconds} s")
    if thread.is_alive():
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(_Stop))
        thread.join(1)
    return referee.run(*(ended[0] if ended else ("raised", (), "it ended without an answer")))
