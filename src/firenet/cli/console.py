"""What all commands do alike: errors in three lines, progress, tables, JSON.

Everything slow is imported inside the function that needs it, so that ``--help`` answers at once.
"""

from __future__ import annotations

import functools
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

INTERNAL_ERROR, BAD_INPUT, NOT_REACHED, NOTHING_MEASURED, NO_VERDICT, INVALID = 1, 2, 3, 4, 5, 6
HUNG_UP, INTERRUPTED, TERMINATED = 129, 130, 143

# The one place where they are documented: `firenet --help` ends with it, and the other pages point there.
EXIT_CODES = {
    0: "done.",
    INTERNAL_ERROR: "the computation broke off: memory, disk, a fault of firenet; `firenet --debug` shows more.",
    BAD_INPUT: "a file or an option that cannot be used as it is; nothing was written.",
    NOT_REACHED: "what was asked for was not reached, the outputs are written: a --tolerance, data fitted up to "
    "--noise-level, the gap of an exported network, a finite gap of certify, a test of audit --strict.",
    NOTHING_MEASURED: "every model that was to be audited failed, so nothing is known about any.",
    NO_VERDICT: "the algorithm that was to play ran out of time, so nothing is known about it.",
    INVALID: "the algorithm that was to play raised an error, crashed, gave no answer, asked for what no read grants, "
    "broke the protocol, or is no function of its reads and coins.",
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
    """Says that a signal ends this process: what cleans up after Ctrl-C cleans up after it too."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.code = 128 + number


def prepare() -> None:
    """Lets SIGTERM and SIGHUP end this process as Ctrl-C does, so that no temporary file stays; and streams that cannot
    show a character, as in the C locale, show an escape instead of failing."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        # Who started us may have it ignored: nohup does.
        if number is not None and signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, _stop)
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
    warnings.showwarning = _show_warning


def _stop(number: int, frame: object) -> NoReturn:
    # A second signal must not interrupt the cleaning up. Who cannot wait has SIGQUIT and SIGKILL.
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    raise Stopped(number)


def _show_warning(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
    kind = "warning" if issubclass(category, DoubtfulInput) else category.__name__
    say(f"{kind}: {message}", err=True)


def set_debug(wanted: bool) -> None:
    """Whether errors are shown with their traceback."""
    global _debug
    _debug = wanted


def reports(command: Callable[P, None]) -> Callable[P, None]:
    """Turns errors into three lines on stderr and an exit code."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except KeyboardInterrupt as error:
            say("interrupted; no file was left half written", err=True)
            raise typer.Exit(error.code if isinstance(error, Stopped) else INTERRUPTED) from None
        except BrokenPipeError:  # the reader of our output, `head` for example, has gone: nothing to complain about
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
    """Three lines on stderr, and out."""
    if _debug:
        raise error
    for line in (f"needed: {needed}", f"got:    {got}", f"do:     {do}"):
        say(line, err=True)
    raise typer.Exit(code) from None


def say(line: object, *, err: bool = False) -> None:
    """Prints one line. Names, titles and messages of files may be in it: what a terminal would obey is escaped."""
    typer.echo(plain(line), err=err)


@contextmanager
def progress(what: str, unit: str = "layers", *, quiet: bool = False) -> Iterator[Callable[..., None]]:
    """A progress bar on stderr where that is a terminal; told done, all, and if it changes what is done and the
    relative gap that is reached."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False),  # names may have brackets
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TextColumn("{task.fields[gap]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as bar:
        task, doing = bar.add_task(plain(what), total=None, gap=""), what

        def tell(done: int, total: int, gap: float | None = None, now: str | None = None) -> None:
            nonlocal doing
            if now is not None and now != doing:
                doing = now
                bar.reset(task, total=total or None, description=plain(now))
            reached = "" if gap is None else f"gap {100 * gap:.2g} %" if gap < float("inf") else "no gap yet"
            bar.update(task, completed=done, total=total or None, gap=reached)

        yield tell


@contextmanager
def training(what: str) -> Iterator[Callable[[int, int, float, float], None]]:
    """A progress bar with loss, steps a second and time left; where stderr is no terminal, a line now and then."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    numbers = TextColumn("loss {task.fields[loss]:.3g}, {task.fields[speed]:.1f} steps/s")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), numbers, TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=None, loss=float("nan"), speed=0.0)

        def tell(done: int, total: int, loss: float, speed: float) -> None:
            bar.update(task, completed=done, total=total, loss=loss, speed=speed)
            if not console.is_terminal and (done == total or done % max(total // 20, 1) == 0):
                left = f", {(total - done) / speed:.0f} s left" if speed else ""
                say(f"step {done} of {total}, loss {loss:.3g}, {speed:.1f} steps/s{left}", err=True)

        yield tell


@contextmanager
def busy(what: str) -> Iterator[None]:
    """A spinner on stderr where that is a terminal."""
    from rich.console import Console
    from rich.markup import escape

    console = Console(stderr=True)
    if console.is_terminal:
        with console.status(escape(plain(what))):
            yield
    else:
        yield


def table(title: str | None, columns: list[str], rows: Sequence[Sequence[str | tuple[str, ...]]]) -> None:
    """Prints a table; a cell of several lines is a tuple of them."""
    from rich.console import Console
    from rich.table import Table

    cells = [["\n".join(map(plain, (c,) if isinstance(c, str) else c)) for c in row] for row in rows]
    drawn = Table(title=None if title is None else plain(title), title_justify="left")
    # Where space is short the first column folds, but never below its words: without names numbers say nothing.
    words = [word for row in cells for word in row[0].split()]
    columns = [plain(name) for name in columns]
    drawn.add_column(columns[0], overflow="fold", min_width=min(max(map(len, words), default=0), 20))
    for name in columns[1:]:
        drawn.add_column("\n".join(textwrap.wrap(name, 12)), justify="right", overflow="fold", no_wrap=True)
    for row in cells:
        drawn.add_row(*row)
    Console(markup=False).print(drawn)  # what stands in brackets, as in firenet[mri], is text


def print_json(record: Mapping[str, Any]) -> None:
    """Prints a record for machines."""
    from firenet.io.files import to_json

    typer.echo(to_json(record, ascii=True))  # for every encoding that stdout may have
