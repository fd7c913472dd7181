"""Checks the options, and writes report, record and table, for all commands of ``firenet audit``."""

from __future__ import annotations

import shlex
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from typer import Exit

from firenet.cli import console, options
from firenet.errors import plain

if TYPE_CHECKING:
    from firenet.audit import Audit

_WITNESSES = ".witnesses.npz"
_NEEDED = {
    "jinja2": "The HTML report",
    "skimage.metrics": "SSIM",
    "safetensors": "Weights",
    "firenet_models": "Trained networks",
}


def prepare(threads: int | None) -> None:
    """Makes torch round denormal numbers to zero, and sets the number of its threads."""
    import torch

    # A gradient that fades over many layers ends in numbers so small that a CPU takes ten times as long for them.
    torch.set_flush_denormal(True)
    options.set_threads(threads)


def check(out: Path, overwrite: bool) -> None:
    """Checks before a long audit that its files can be written and that the libraries it needs are installed."""
    from firenet.io.files import check_beside, check_output
    from firenet.io.safely import check_room
    from firenet.optional import optional

    check_output(out, suffixes=(".html",))
    for end in (".json", _WITNESSES):
        check_beside(out.with_suffix(end), overwrite=overwrite)
    check_room(out.with_suffix(".room"))  # for the parts
    for module, purpose in _NEEDED.items():
        optional(module, "audit", purpose)


def parts(out: Path, resume: bool) -> Path:
    """Returns the folder of finished parts, which is emptied without --resume."""
    from firenet.audit.parts import remove

    folder = out.with_suffix(".parts")
    if not resume:
        remove(folder)
    return folder


def finish(
    made: Sequence[Audit],
    out: Path,
    title: str,
    as_json: bool,
    strict: bool,
    notes: Sequence[str],
    asked: Sequence[str] | None = None,
) -> None:
    """Writes report, record and witnesses, prints the tables, and ends with the exit code.

    Args:
        made: The audits.
        out: The report.
        title: The title of the report.
        as_json: Print the record instead of the tables.
        strict: Exit code 3 if a test failed or is undecided.
        notes: Further lines to print and to record.
        asked: The names of the models that were asked for; None is all.
    """
    from firenet.audit import Outcome

    _write(made, out, title, as_json, notes)
    for note in notes:
        console.say(note, err=True)
    failed = {name: reason for a in made for name, reason in _failed(a).items()}
    for name, reason in failed.items():
        console.say(f"{name} could not be audited: {reason}", err=True)
    if set(asked or [name for a in made for name in a.models]) <= set(failed):
        console.say("every model that was to be audited failed", err=True)
        raise Exit(console.NOTHING_MEASURED)
    verdicts = [v for a in made for v in a.verdicts]
    for v in verdicts:
        if v.outcome == Outcome.UNDECIDED:
            console.say(f"not decided: {v.model}, {v.test}: {v.text}", err=True)
    if strict and any(v.outcome in (Outcome.UNDECIDED, Outcome.FAILED) for v in verdicts):
        raise Exit(console.NOT_REACHED)


def _write(made: Sequence[Audit], out: Path, title: str, as_json: bool, notes: Sequence[str]) -> None:
    """Writes the files, all of them or none, and prints the record or the tables."""
    from firenet.audit.report import compared, write_report, write_witnesses
    from firenet.io.files import write_json
    from firenet.io.safely import together

    command = plain(shlex.join(["firenet", *sys.argv[1:]]))
    record = {"title": title, "command": command, "audits": [a.record() for a in made]}
    record |= {"notes": list(notes), "report": str(out)}
    found = {f"{k}: {key}": e for k, a in enumerate(made) for key, e in a.witnesses.items()}
    with console.busy("writing the report"), together():
        write_json(out.with_suffix(".json"), record)
        if found:
            write_witnesses(out.with_suffix(_WITNESSES), found)
        else:  # those of an earlier run would convict the models of this one
            out.with_suffix(_WITNESSES).unlink(missing_ok=True)
        size = write_report(out, made, command=command, title=title)
    if as_json:
        console.print_json(record)
        return
    for a in made:
        tests = [t for t in a.settings.tests if any(v.test == t for v in a.verdicts)]
        console.table(a.title, ["test", *a.models], [[t, *(_cell(a, name, t) for name in a.models)] for t in tests])
        for sentence in compared(a):
            console.say(sentence)
    console.say(f"report: {out} ({size / 1e6:.1f} MB), record: {out.with_suffix('.json')}")


def _failed(audit: Audit) -> dict[str, str]:
    """Returns the models of which nothing was measured, and why."""
    found = {}
    for name, about in audit.models.items():
        own = [row for row in audit.rows if row.model == name]
        if own and all(row.failed is not None for row in own):
            found[name] = str(about.get("failed") or own[0].failed)
    return found


def _cell(audit: Audit, model: str, test: str) -> tuple[str, ...]:
    """Returns the lines of a cell: the outcome, and its number with the unit."""
    from firenet.audit.verdicts import measured

    for v in audit.verdicts:
        if (v.model, v.test) == (model, test):
            return (*textwrap.wrap(v.outcome, 13), *textwrap.wrap(measured(test, v.value), 16))
    return ()
