"""``firenet audit demo``: the stability of trained networks and of FIRENET."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Option

from firenet.cli import audit, console, options


@console.reports
def demo(
    out: options.Report = Path("firenet-audit.html"),
    picture: Annotated[Path | None, Option(help="Also draw a picture of the results (.png).")] = None,
    resume: options.Resume = False,
    retry: options.Retry = False,
    strict: options.Strict = False,
    overwrite: options.Overwrite = False,
    as_json: options.Json = False,
    threads: options.Threads = None,
) -> None:
    """Audit the trained networks that come with firenet, together with a FIRENET, on real slices.

    Examples:
      firenet audit demo
      firenet audit demo --resume --picture audit.png -o audit.html
    """
    from firenet.io.files import check_output
    from firenet.models.audit_demo import benches, draw

    audit.check(out, overwrite)
    if picture is not None:
        check_output(picture, suffixes=(".png",))
    audit.prepare(threads)
    folder = audit.parts(out, resume)
    with console.busy("loading networks and images"):
        made, notes = benches()
    found = []
    for bench in made:
        with console.progress(bench.title, "parts") as tell:
            found.append(bench.run(folder, retry=retry, progress=lambda done, most, now: tell(done, most, None, now)))
    if picture is not None:
        draw(found, picture)
    audit.finish(found, out, "Stability audit: trained networks and FIRENET", as_json, strict, notes)
