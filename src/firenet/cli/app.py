"""The command line: ``firenet demo | recon | certify | prove | plan | digits | export | mask | audit | train | ...``.

Commands read files, call the library and write the results; they compute nothing themselves. Everything slow is
imported inside the command that needs it, so that ``--help`` answers at once.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from firenet.cli import console
from firenet.cli.audit_demo import demo as audit_demo
from firenet.cli.audit_run import run as audit_run
from firenet.cli.barriers_all import play_all
from firenet.cli.barriers_budget import error_sources
from firenet.cli.barriers_check import check
from firenet.cli.barriers_map import draw_map
from firenet.cli.barriers_play import play
from firenet.cli.barriers_table1 import table1
from firenet.cli.bench import bench
from firenet.cli.budget import budget
from firenet.cli.certify import certify
from firenet.cli.confuse import confuse
from firenet.cli.demo import demo
from firenet.cli.digits import digits
from firenet.cli.doctor import doctor
from firenet.cli.export import export
from firenet.cli.mask import mask
from firenet.cli.norm import norm
from firenet.cli.plan import plan
from firenet.cli.prove import prove
from firenet.cli.recon import recon
from firenet.cli.theorem_depth import depth
from firenet.cli.theorem_separation import separation
from firenet.cli.train import train

# Help is plain text: there is no emoji in module:factory, and what is in brackets is no markup.
_PLAIN: dict[str, Any] = {"no_args_is_help": True, "rich_markup_mode": None}
# A line that begins with a backspace tells click to keep the lines of its paragraph as they are.
_KEPT = "\b\n"

app = typer.Typer(
    name="firenet",
    help="Reconstruct images by networks whose weights are computed, not trained, each image with a duality gap.",
    epilog=f"{_KEPT}Exit codes:\n" + "\n".join(console.exit_codes()),
    add_completion=False,
    pretty_exceptions_enable=False,
    **_PLAIN,
)
_audit = typer.Typer(
    name="audit",
    help="Test how stable a reconstruction is: how wrong it can get, which details it loses, and which it invents.",
    **_PLAIN,
)
_theorem = typer.Typer(
    name="theorem",
    help="Show how deep the network of the recovery theorem is, and where the theorem no longer holds.",
    **_PLAIN,
)
_barriers = typer.Typer(
    name="barriers",
    help="Show what no algorithm can compute, by an adversary that defeats any algorithm that you bring.",
    **_PLAIN,
)


def _add(group: typer.Typer, command: Callable[..., None], name: str | None = None, **settings: Any) -> None:
    """Adds a command to a group. Its help is its docstring, whose section "Examples:" becomes the end of the help."""
    text, _, examples = (inspect.getdoc(command) or "").partition("\n\nExamples:\n")
    group.command(name, help=text, epilog=f"{_KEPT}Examples:\n{examples}", **settings)(command)


for _command in (demo, recon, certify, prove, plan, confuse, digits, budget, export, mask, norm):
    _add(app, _command)
_add(_audit, audit_demo)
_add(_audit, audit_run)
app.add_typer(_audit)
_add(app, train)
for _command in (depth, separation):
    _add(_theorem, _command)
app.add_typer(_theorem)
for _command in (play, check, table1):
    _add(_barriers, _command)
_add(_barriers, play_all, "all")
_add(_barriers, draw_map, "map")
_add(_barriers, error_sources, "budget")
app.add_typer(_barriers)
_add(app, bench, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
_add(app, doctor)


def main() -> None:
    """Runs the command line: the entry point ``firenet``."""
    console.prepare()
    app()


def _version(wanted: bool) -> None:
    if wanted:
        from firenet import __version__

        console.say(f"firenet {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    console.set_debug(debug)
