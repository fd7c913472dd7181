"""One run of an algorithm: whatever it does, it comes back, and what it returned is rational numbers."""

from __future__ import annotations

import ctypes
import inspect
import threading
import time
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from numbers import Rational
from typing import Any, Literal

from firenet.barriers.algorithms import Algorithm, Coins, Tossed
from firenet.barriers.instances import Vector
from firenet.barriers.oracle import BadRead, OutOfReads, Read, TrainingSet

Halt = Literal["halted", "out of reads", "out of time", "raised", "bad output", "bad read", "out of coins"]
SECONDS, MOST_BITS = 60, 12_000


class BadOutput(ValueError):
    """What an algorithm returned is no answer."""


@dataclass
class Run:
    """What an algorithm did with one training set.

    Attributes:
        how: How it ended.
        outputs: A vector a measurement.
        reads: All answers it got.
        note: Why it ended badly, or what was done to its output.
        coins: What it drew.
    """

    how: Halt
    reads: list[Read]
    outputs: tuple[Vector, ...] = ()
    note: str = ""
    coins: Coins = field(default_factory=Coins)

    @property
    def accuracy(self) -> int:
        """The largest n it read."""
        return max((r.n for r in self.reads), default=0)


class _Stop(BaseException):
    """Raised in a thread whose time is up."""


def run(algorithm: Algorithm, training_set: TrainingSet, coins: Coins, seconds: int = SECONDS) -> Run:
    """Runs an algorithm in a thread of its own.

    When its time is up, it gets no more answers and an exception; one that ignores both is left behind. Code that never
    yields the interpreter, a single long call into C, is waited for, and judged by the clock.
    """
    ended: list[tuple[Halt, tuple[Vector, ...], str]] = []

    def work() -> None:
        try:
            result = algorithm(training_set, coins) if takes_coins(algorithm) else algorithm(training_set)
            ended.append(("halted", *_outputs(result, training_set)))
        except (_Stop, OutOfReads):
            pass
        except Tossed:
            ended.append(("out of coins", (), "it drew too often"))
        except BadRead as error:
            ended.append(("bad read", (), str(error)))
        except BadOutput as error:
            ended.append(("bad output", (), str(error)))
        except BaseException as error:
            ended.append(("raised", (), f"{type(error).__name__}: {error}"[:500]))

    start = time.monotonic_ns()
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    late = thread.is_alive() or time.monotonic_ns() - start > (seconds + 1) * 1_000_000_000
    training_set.close()
    if thread.is_alive():
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(_Stop))
        thread.join(1)
    reads = list(training_set.reads)
    if late:
        return Run("out of time", reads, note=f"it was still running after {seconds} s", coins=coins)
    if training_set.spent:  # also where it caught that: after it, its reads are not what it asked for
        return Run("out of reads", reads, note=f"it asked for {training_set.spent}", coins=coins)
    how, outputs, note = ended[0]
    return Run(how, reads, outputs, note, coins)


def takes_coins(algorithm: Algorithm) -> bool:
    """Whether an algorithm has a second positional argument without default."""
    try:
        parameters = list(inspect.signature(algorithm).parameters.values())
    except (TypeError, ValueError):
        return False
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return len(positional) >= 2 and positional[1].default is inspect.Parameter.empty


def _outputs(result: object, training_set: TrainingSet) -> tuple[tuple[Vector, ...], str]:
    """One vector of rational numbers a measurement, and what was converted."""
    size, notes = training_set.shape[1], set[str]()
    if callable(result):
        zero = (Fraction(0),) * (training_set.shape[0] - 1)
        found = [result((s, *zero)) for s in training_set.problem.scales()]
    else:
        found = _listed(result)
        if len(training_set) == 1 and not (len(found) == 1 and _is_list(found[0])):
            found = [found]
    if len(found) != len(training_set):
        raise BadOutput(f"{len(training_set)} vectors are needed, one a measurement; got {len(found)}")
    vectors = []
    for vector in found:
        entries = _listed(vector)
        if len(entries) != size or any(_is_list(e) for e in entries):
            shape = f"{len(entries)}" + (" rows" if any(_is_list(e) for e in entries) else "")
            raise BadOutput(f"a vector of {size} numbers is needed; got {shape}")
        vectors.append(tuple(_fraction(e, notes) for e in entries))
    return tuple(vectors), "; ".join(sorted(notes))


def _is_list(value: object) -> bool:
    return isinstance(value, list | tuple) or (hasattr(value, "tolist") and isinstance(_plain(value), list))


def _plain(value: Any) -> object:
    """A tensor or array as lists of numbers, without importing what made it."""
    value = value.detach() if hasattr(value, "detach") else value
    return value.tolist() if hasattr(value, "tolist") else value


def _listed(value: object) -> list[Any]:
    value = _plain(value)
    if not isinstance(value, list | tuple):
        raise BadOutput(f"a list, tuple or array is needed, or a network; got {type(value).__name__}")
    return list(value)


def _fraction(entry: object, notes: set[str]) -> Fraction:
    entry = _plain(entry)
    if isinstance(entry, complex):
        # the minimisers are real: without its imaginary part an output is nearer to all of them
        notes.add("imaginary parts were left out, to the algorithm's advantage")
        entry = entry.real
    ratio: Any = getattr(entry, "as_integer_ratio", None)
    if isinstance(entry, Rational):
        exact = Fraction(int(entry.numerator), int(entry.denominator))
    elif isinstance(entry, Decimal) and entry.is_finite() and not -4000 < entry.adjusted() < 4000:
        raise BadOutput(f"numbers of at most {MOST_BITS} bits are needed; got {entry:.10E}")
    elif ratio is None:
        raise BadOutput(f"finite numbers are needed; got {type(entry).__name__}")
    else:
        try:
            numerator, denominator = ratio()
            exact = Fraction(numerator, denominator)
        except (TypeError, ValueError, OverflowError):
            raise BadOutput(f"finite numbers are needed; got {entry!r:.80}") from None
        notes.add("floating-point numbers were converted exactly")
    if max(exact.numerator.bit_length(), exact.denominator.bit_length()) > MOST_BITS:
        raise BadOutput(f"numbers of at most {MOST_BITS} bits are needed")
    return exact
