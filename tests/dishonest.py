"""Algorithms that cheat, crash or talk garbage: each does one thing that an honest one does not."""

from __future__ import annotations

import ctypes
import fractions
import gc
import os
import pickle
import signal
import stat
import sys
import time
from contextlib import suppress
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import Any

import firenet.barriers as game
from firenet.barriers import algorithms, oracle, referee, trials

ZERO = [0, 0, 0, 0]


def pipe() -> int:
    """The end of the pipe that the referee listens to."""
    for file in range(3, 64):
        with suppress(OSError):
            if stat.S_ISFIFO(os.fstat(file).st_mode):
                os.write(file, b"")
                return file
    raise LookupError


def count() -> int:
    """Counts its calls across processes."""
    file = Path("count")
    number = int(file.read_text()) if file.exists() else 0
    file.write_text(str(number + 1))
    return number


# --- the log and the coins --------------------------------------------------------------------------------------------


def clears(ts: Any) -> object:
    _, _, x = ts.sample(64)
    ts._reads.clear()
    return list(x)


def clears_by_gc(ts: Any) -> object:
    _, _, x = ts.sample(64)
    for found in gc.get_objects():
        if isinstance(found, list) and found and isinstance(found[0], oracle.Read):
            found.clear()
        if isinstance(found, referee.Referee):
            found._log.clear()
    return list(x)


def edits(ts: Any, coins: Any) -> object:
    k = coins.choose(2)
    if coins.drawn:
        coins.drawn[-1] = (0, 1)
    _, A, x = ts.sample(8)
    z: list[Any] = [0] * len(x)
    z[k] = 1 / A[0][k]
    return z


def loads_the_coins(ts: Any, coins: Any) -> object:
    coins._toss = lambda n: 1
    return algorithms.guess(ts, coins.choose(2))


def reseeds(ts: Any, coins: Any) -> object:
    coins.generator.seed(7)
    return algorithms.guess(ts, coins.generator.randrange(2))


def counts_instead_of_tossing(ts: Any, coins: Any) -> object:
    coins.choose(2)
    return algorithms.guess(ts, count() % 2)


def changes_the_coin(ts: Any, coins: Any) -> object:
    coins.choose(2 + count())
    return ZERO


def differs(ts: Any) -> object:
    return algorithms.guess(ts, count() % 2)


def tires(ts: Any) -> object:
    """Answers once, and never again."""
    while count():
        time.sleep(600)
    return ZERO


# --- the hidden instance ----------------------------------------------------------------------------------------------


def looks(ts: Any) -> object:
    """Looks for the instance in all frames and all objects, and else guesses."""
    seen, frame = list[Any](), sys._getframe()
    while frame is not None:
        seen += [v for f in (frame.f_locals, frame.f_globals) for v in f.values()]
        frame = frame.f_back
    for found in [*seen, *gc.get_objects()]:
        if isinstance(found, referee.Referee):
            return found._oracle.instance.minimisers().centre()
        if isinstance(found, oracle.Oracle):
            return found.instance.minimisers().centre()
    return ZERO


def foresees(ts: Any) -> object:
    """Knows how a trial draws its inputs, counts them, and supposes the seed 0."""
    random = Random(0)
    inputs = [trials._input(ts.problem, random, play) for play in range(count() + 1)]
    return inputs[-1][0].minimisers().centre()


# --- answers that are none --------------------------------------------------------------------------------------------


class Liar(Fraction):
    """A zero that says that it is equal to everything, and long."""

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0


class Number(int):
    """An int that says that it is short, and not negative."""

    def bit_length(self) -> int:
        return 1

    def __lt__(self, other: object) -> bool:
        return False


class Ratio:
    """Says what it is, each time otherwise."""

    def as_integer_ratio(self) -> Any:
        return Number(1 << 20_000), Number(1)


class Bomb:
    """Unpickled, it makes a file."""

    def __reduce__(self) -> Any:
        return (Path("exploded").touch, ())


class Mute(BaseException):
    """Does not say what it is."""

    def __str__(self) -> str:
        raise self


def nan(ts: Any) -> object:
    return [float("nan")] * 4


def strings(ts: Any) -> object:
    return ["0"] * 4


def decimal_nan(ts: Any) -> object:
    return [Decimal("sNaN")] * 4


def huge(ts: Any) -> object:
    return [1 << 20_000, 0, 0, 0]


def incommensurable(ts: Any) -> object:
    return [Fraction(1, p**2000) for p in (2, 3, 5, 7)]


def incommensurable_on_the_pipe(ts: Any) -> object:
    os.write(pipe(), f"vector {' '.join(f'1/{p**2000:x}' for p in (2, 3, 5, 7))}\ndone\n".encode())
    os._exit(0)


def short_of_itself(ts: Any) -> object:
    return [Ratio()] * 4


def equal_to_everything(ts: Any) -> object:
    return [Liar(1, 500), *[Liar(0)] * 3]


def bomb(ts: Any) -> object:
    return [Bomb()] * 4


def mute(ts: Any) -> object:
    raise Mute


def leaves(ts: Any) -> object:
    raise SystemExit(0)


def interrupts(ts: Any) -> object:
    raise KeyboardInterrupt


def colours(ts: Any) -> object:
    raise ValueError("\x1b[2J\nThe algorithm is right.\nholds: é" + "x" * 10**6)


# --- reads ------------------------------------------------------------------------------------------------------------


def too_fine(ts: Any) -> object:
    return [1 / ts.sample(5000).A[0][0], 0, 0, 0]


def too_fine_in_secret(ts: Any) -> object:
    with suppress(BaseException):
        ts.sample(5000)
    return ZERO


def too_fine_sometimes(ts: Any, coins: Any) -> object:
    if coins.choose(2):
        ts.sample(5000)
    return algorithms.guess(ts, 0)


def negative(ts: Any) -> object:
    return ts.sample(-3).x


def too_many(ts: Any) -> object:
    with suppress(BaseException):
        while True:
            ts.sample(3)
    return ZERO


def patches(ts: Any) -> object:
    oracle.MOST_ACCURATE = 10**9
    fractions.Fraction.__eq__ = lambda self, other: True  # type: ignore[method-assign]
    game.check = lambda witness: "it holds"  # type: ignore[assignment]
    return ts.sample(5000).x


# --- the pipe ---------------------------------------------------------------------------------------------------------


def garbage(ts: Any) -> object:
    os.write(pipe(), b"\xff\x00 nonsense\n")
    return ZERO


def pickles(ts: Any) -> object:
    os.write(pipe(), pickle.dumps(Bomb()) + b"\n")
    return ZERO


def negative_on_the_pipe(ts: Any) -> object:
    os.write(pipe(), b"read -1 0\n")
    return ZERO


def no_such_measurement(ts: Any) -> object:
    os.write(pipe(), b"read 3 7\n")
    return ZERO


def long_number(ts: Any) -> object:
    os.write(pipe(), b"read " + b"9" * 5000 + b" 0\n")
    return ZERO


def zero_denominator(ts: Any) -> object:
    os.write(pipe(), b"vector 1/0 0 0 0\ndone\n")
    return ZERO


def no_coin(ts: Any) -> object:
    os.write(pipe(), b"choose 0\n")
    return ZERO


def answers_twice(ts: Any) -> object:
    os.write(pipe(), b"vector 0 0 0 0\ndone\nvector 1/1f4 0 0 0\ndone\n")
    os._exit(0)


def answers_too_much(ts: Any) -> object:
    os.write(pipe(), b"vector 0 0 0 0\nvector 1/1f4 0 0 0\ndone\n")
    os._exit(0)


def done_before_it_began(ts: Any) -> object:
    os.write(pipe(), b"done\n")
    os._exit(0)


def starts_again(ts: Any) -> object:
    os.write(pipe(), b"ready\n")
    return ZERO


def proves_itself_right(ts: Any) -> object:
    os.write(pipe(), b"right\nholds: 3 digits\n")
    os._exit(0)


def speaks_for_itself(ts: Any) -> object:
    """The protocol, without what firenet wraps around it."""
    os.write(pipe(), b"read 40 0\nvector 1/1f4 0 0 0\ndone floats\n")
    time.sleep(600)
    return None


def prints(ts: Any) -> object:
    for line in range(20_000):
        print("vector 0 0 0 0\ndone", line, file=(sys.stdout, sys.stderr)[line % 2])
    os.write(1, b"vector 0 0 0 0\ndone\n")
    sys.stdin.read()
    return [Fraction(1, 500), 0, 0, 0]


def one_endless_line(ts: Any) -> object:
    while True:
        os.write(pipe(), b"f" * 65536)


def floods_with_reads(ts: Any) -> object:
    while True:
        os.write(pipe(), b"read 3 0\n")


def floods_with_tosses(ts: Any, coins: Any) -> object:
    while True:
        coins.choose(2)


def forks(ts: Any) -> object:
    os.fork()
    return ZERO


def closes(ts: Any) -> object:
    os.closerange(3, 64)
    return ZERO


def closes_and_stays(ts: Any) -> object:
    os.closerange(3, 64)
    time.sleep(600)
    return ZERO


def exits(ts: Any) -> object:
    os._exit(0)


def crashes(ts: Any) -> object:
    ctypes.string_at(0)
    return ZERO


def kills_itself(ts: Any) -> object:
    os.kill(os.getpid(), signal.SIGKILL)
    return ZERO


def never_ends(ts: Any) -> object:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        with suppress(BaseException):
            time.sleep(600)


def too_large(ts: Any) -> object:
    return bytearray(1 << 46)


def kills_its_parent(ts: Any) -> object:
    os.kill(os.getppid(), signal.SIGKILL)
    return ZERO
