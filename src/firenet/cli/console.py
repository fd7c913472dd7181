"""Prints errors in three lines, progress, tables and JSON, and handles signals, for all commands.

Everything slow is imported inside the function that needs it, so that ``--help`` answers at once.
"""

from __future__ import annotations

import functools
import logging
import os
import signal
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn, ParamSpec

import typer

from firenet.errors import DoubtfulInput, FirenetError, plain

INTERNAL_ERROR, BAD_INPUT, NOT_REACHED, NOTHING_MEASURED, NO_VERDICT, INVALID, UNDECIDED = 1, 2, 3, 4, 5, 6, 7
HUNG_UP, INTERRUPTED, TERMINATED = 129, 130, 143

# The one place where they are documented: `firenet --help` ends with it, and the other pages point there.
EXIT_CODES = {
    0: "done.",
    INTERNAL_ERROR: "the computation failed: memory, disk, or a fault of firenet; `firenet --debug` shows more.",
    BAD_INPUT: "a file or an option cannot be used as it is; nothing was written.",
    NOT_REACHED: "the outputs are written, but what was asked for was not reached: a --tolerance, data fitted up to "
    "--noise-level, the gap of an exported network, a finite gap of certify, a test of audit --strict, data that "
    "agree with the mask and the coil maps, the proof of a null space property that a vector refutes, a pair of "
    "images of confuse for the noise, or a bound of a norm that is one.",
    NOTHING_MEASURED: "every model that was to be audited failed, so nothing is known about any of them.",
    NO_VERDICT: "the algorithm ran out of time, so nothing is known about it.",
    INVALID: "the algorithm raised an error, crashed, gave no answer, asked for what no read grants, broke the "
    "protocol, or is not a function of its reads and coins.",
    UNDECIDED: "not decided: neither a proof nor a violation of the null space property was found, or the number of "
    "digits that the data determine is not known exactly.",
    HUNG_UP: "the terminal was closed (SIGHUP); no file is left half written.",
    INTERRUPTED: "interrupted from the keyboard; no file is left half written.",
    TERMINATED: "ended by SIGTERM; no file is left half written.",
}


def exit_codes(width: int = 78) -> list[str]:
    """Returns the exit codes as lines of text."""
    lines = []
    for code, meaning in EXIT_CODES.items():
        folded = textwrap.wrap(meaning, width - 7)
        lines += [f"{code:5}  {folded[0]}", *(f"{'':5}  {line}" for line in folded[1:])]
    return lines


P = ParamSpec("P")
_debug = False


class Stopped(KeyboardInterrupt):
    """Raised when a signal ends this process; code that cleans up after Ctrl-C does so after the signal, too."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.code = 128 + number


def prepare() -> None:
    """Prepares this process: signals, streams and warnings.

    SIGTERM and SIGHUP end it as Ctrl-C does, so that no temporary file stays. Streams that cannot show a character, as
    in the C locale, show an escape instead of failing. Warnings are printed on one line.
    """
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        # The parent process may have had it ignored, as nohup does.
        if number is not None and signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, _stop)
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
    warnings.showwarning = _show_warning
    notices = logging.getLogger("firenet")
    notices.setLevel(logging.INFO)
    notices.addHandler(_Notices())


class _Notices(logging.Handler):
    """Prints what the library logs on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        say(record.getMessage(), err=True)


def _stop(number: int, frame: object) -> NoReturn:
    # A second signal must not interrupt the cleaning up. SIGQUIT and SIGKILL still end the process at once.
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    raise Stopped(number)


def _show_warning(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
    kind = "warning" if issubclass(category, DoubtfulInput) else category.__name__
    say(f"{kind}: {message}", err=True)


def set_debug(wanted: bool) -> None:
    """Sets whether errors are shown with their traceback."""
    global _debug
    _debug = wanted


def reports(command: Callable[P, None]) -> Callable[P, None]:
    """Returns the command with its errors turned into three lines on stderr and an exit code."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except KeyboardInterrupt as error:
            say("interrupted; no file was left half written", err=True)
            raise typer.Exit(error.code if isinstance(error, Stopped) else INTERRUPTED) from None
        except BrokenPipeError:  # the reader of our output, `head` for example, has gone: that is no error
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except FirenetError as error:
            fail(error, BAD_INPUT, error.needed, error.got, error.do)
        except (typer.Exit, typer.Abort):
            raise
        except Exception as error:
            said = " ".join([type(error).__name__, *str(error).strip().splitlines()[:1]])
            do = "Check memory, disk and device; `firenet --debug ...` shows the traceback"
            fail(error, INTERNAL_ERROR, "To finish the computation", said, do)

    return run


def fail(error: BaseException, code: int, needed: str, got: str, do: str) -> NoReturn:
    """Prints an error in three lines on stderr and ends with an exit code; raises it again with ``--debug``."""
    if _debug:
        raise error
    for line in (f"needed: {needed}", f"got:    {got}", f"do:     {do}"):
        say(line, err=True)
    raise typer.Exit(code) from None


def say(line: object, *, err: bool = False) -> None:
    """Prints one line; control characters, which names and messages from files may hold, are escaped."""
    typer.echo(plain(line), err=err)


@contextmanager
def progress(
    what: str, unit: str = "layers", *, quiet: bool = False, log: bool = False
) -> Iterator[Callable[..., None]]:
    """Shows a progress bar on stderr if that is a terminal.

    It yields a function that is called with the amount done and the total amount, and optionally with the relative gap,
    what is being done now, and a note.

    Args:
        what: What is being done at first.
        unit: What is counted.
        quiet: Whether to show nothing.
        log: Whether to print a line at every twentieth of the work if stderr is not a terminal.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    title = TextColumn("{task.description}", markup=False)  # names may have brackets
    note = TextColumn("{task.fields[note]}", markup=False)
    columns = (title, BarColumn(), MofNCompleteColumn(), TextColumn(unit), note, TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as bar:
        task, doing = bar.add_task(plain(what), total=None, note=""), what

        def tell(done: int, total: int, gap: float | None = None, now: str | None = None, note: str = "") -> None:
            nonlocal doing
            if now is not None and now != doing:
                doing = now
                bar.reset(task, total=total or None, description=plain(now))
            if gap is not None:
                note = f"gap {100 * gap:.2g} %" if gap < float("inf") else "no gap yet"
            bar.update(task, completed=done, total=total or None, note=note)
            if log and not console.is_terminal and (done == total or done % max(total // 20, 1) == 0):
                say(f"{unit}: {done} of {total}, {note}", err=True)

        yield tell


@contextmanager
def busy(what: str, *, quiet: bool = False) -> Iterator[None]:
    """Shows a spinner on stderr if that is a terminal."""
    from rich.console import Console
    from rich.markup import escape

    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield
    else:
        with console.status(escape(plain(what))):
            yield


def table(title: str | None, columns: list[str], rows: Sequence[Sequence[str | tuple[str, ...]]]) -> None:
    """Prints a table; a cell of several lines is a tuple of them."""
    from rich.console import Console
    from rich.table import Table

    cells = [["\n".join(map(plain, (c,) if isinstance(c, str) else c)) for c in row] for row in rows]
    drawn = Table(title=None if title is None else plain(title), title_justify="left")
    # Where space is short the first column folds, but not within words: numbers without their names are useless.
    words = [word for row in cells for word in row[0].split()]
    columns = [plain(name) for name in columns]
    least = min(max(map(len, words), default=0), 20)
    drawn.add_column(columns[0], overflow="fold", min_width=least)
    console = Console(markup=False)  # what stands in brackets, as in firenet[mri], is text
    heads = ["\n".join(textwrap.wrap(name, 12)) for name in columns[1:]]
    # A number that is cut is wrong: where space is short heads become narrower, and cells of several words fold.
    below = zip(heads, *(row[1:] for row in cells), strict=True)
    widths = [max(map(len, "\n".join(column).split("\n"))) for column in below]
    short = least + sum(widths) + 3 * len(columns) + 1 > console.width
    for k, name in enumerate(columns[1:], 1):
        head = "\n".join(textwrap.wrap(name, 8, break_long_words=False)) if short else heads[k - 1]
        folds = short and any(" " in row[k] for row in cells)
        word = max(map(len, " ".join([head, *(row[k] for row in cells)]).split())) if folds else None
        drawn.add_column(head, justify="right", overflow="fold", no_wrap=not folds, min_width=word)
    for row in cells:
        drawn.add_row(*row)
    console.print(drawn)


def print_json(record: Mapping[str, Any]) -> None:
    """Prints a record as one JSON object."""
    from firenet.io.files import to_json

    typer.echo(to_json(record, ascii=True))  # for every encoding that stdout may have
