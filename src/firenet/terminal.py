"""What all commands do alike: errors in three lines, progress, tables, JSON.

Everything slow is imported inside the function that needs it, so that ``--help`` answers at once.
"""

from __future__ import annotations

import functools
import os
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn, ParamSpec

import typer

from firenet.errors import FirenetError

INTERNAL_ERROR, BAD_INPUT, NOT_REACHED, NOTHING_MEASURED, NO_VERDICT, INVALID, INTERRUPTED = 1, 2, 3, 4, 5, 6, 130

# The one place where they are documented: `firenet --help` ends with it, and the other pages point there.
EXIT_CODES = {
    0: "done.",
    INTERNAL_ERROR: "the computation broke off: memory, disk, a fault of firenet; `firenet --debug` shows more.",
    BAD_INPUT: "a file or an option that cannot be used as it is; nothing was written.",
    NOT_REACHED: "what was asked for was not reached, the outputs are written: a --tolerance, data fitted up to "
    "--noise-level, the gap of an exported network, a test of audit --strict.",
    NOTHING_MEASURED: "every model that was to be audited failed, so nothing is known about any.",
    NO_VERDICT: "the algorithm that was to play ran out of time, so nothing is known about it.",
    INVALID: "the algorithm that was to play raised an error, crashed, gave no answer, asked for what no read grants, "
    "broke the protocol, or is no function of its reads and coins.",
    INTERRUPTED: "interrupted from the keyboard; no file is left half written.",
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
        except KeyboardInterrupt:
            typer.echo("interrupted; no file was left half written", err=True)
            raise typer.Exit(INTERRUPTED) from None
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
    typer.echo(f"needed: {needed}\ngot:    {got}\ndo:     {do}", err=True)
    raise typer.Exit(code) from None


@contextmanager
def progress(what: str, unit: str = "layers") -> Iterator[Callable[..., None]]:
    """A progress bar on stderr where that is a terminal; told done, all and, if it changes, what is done."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False),  # names may have brackets
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total, now=what: bar.update(task, completed=done, total=total, description=now)


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
                typer.echo(f"step {done} of {total}, loss {loss:.3g}, {speed:.1f} steps/s{left}", err=True)

        yield tell


@contextmanager
def busy(what: str) -> Iterator[None]:
    """A spinner on stderr where that is a terminal."""
    from rich.console import Console

    console = Console(stderr=True)
    if console.is_terminal:
        with console.status(what):
            yield
    else:
        yield


def table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """Prints a table."""
    from rich.console import Console
    from rich.table import Table

    drawn = Table(title=title, title_justify="left")
    # Where space is short the first column folds, but never below its words: without names numbers say nothing.
    words = [word for row in rows for word in row[0].split()]
    drawn.add_column(columns[0], overflow="fold", min_width=min(max(map(len, words), default=0), 20))
    for name in columns[1:]:
        drawn.add_column("\n".join(textwrap.wrap(name, 12)), justify="right", overflow="fold", no_wrap=True)
    for row in rows:
        drawn.add_row(*row)
    Console(markup=False).print(drawn)  # what stands in brackets, as in firenet[mri], is text


def print_json(record: Mapping[str, Any]) -> None:
    """Prints a record for machines."""
    from firenet.files import to_json

    typer.echo(to_json(record))


def versions() -> dict[str, str]:
    """Returns those that a result depends on, as they were installed: what libraries say of themselves may be old."""
    import platform
    from importlib import metadata

    from firenet import __version__

    libraries = {name: metadata.version(name) for name in ("torch", "numpy", "pywavelets")}
    return {"firenet": __version__, **libraries, "python": platform.python_version()}
