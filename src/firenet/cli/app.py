"""The command line: ``firenet demo | recon | mask | certify | export | audit | train | barriers | bench | doctor``.

Commands read, call the library and write; what they compute stands elsewhere. Everything slow is imported inside the
command that needs it, so that ``--help`` answers at once.
"""

from __future__ import annotations

from typing import Annotated

import typer

from firenet.cli import console
from firenet.cli.audit import audits
from firenet.cli.barriers import barriers
from firenet.cli.certify import certify
from firenet.cli.demo import demo
from firenet.cli.doctor import bench, doctor
from firenet.cli.export import export
from firenet.cli.mask import mask
from firenet.cli.recon import recon
from firenet.cli.train import train

app = typer.Typer(
    name="firenet",
    help="Image reconstruction by networks whose weights are computed, not trained, each image with a duality gap.",
    # A line that begins with a backspace is the sign of click for lines that are to stay as they are.
    epilog="\b\nExit codes:\n" + "\n".join(console.exit_codes()),
    no_args_is_help=True,
    rich_markup_mode=None,  # help is text: module:factory has no emoji in it, and what is in brackets stays
    add_completion=False,
    pretty_exceptions_enable=False,
)


for command in (demo, recon, certify, export, mask):
    app.command()(command)
app.add_typer(audits)
app.command()(train)
app.add_typer(barriers)
app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(bench)
app.command()(doctor)


def main() -> None:
    """The entry point."""
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
