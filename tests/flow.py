"""Measures how straight one reconstruction runs through the files of the library.

``python tests/flow.py [CHECKOUT]`` calls ``reconstruct`` on small k-space of several coils, once with its defaults and
once with total variation, and prints which files the calls enter, how often they go from file to file, how often they
turn back up the house (a file calls one that docs/architecture.md draws above it), and how often they return to a file
that they had left (A calls B, and B calls A again while A waits). Imports do not count.

Before the files were moved, at commit 8687bd0:

================================  ===============  ===============
measured                          defaults         total variation
================================  ===============  ===============
files entered                     17               17
calls from file to file (pairs)   16741 (65)       21159 (63)
turns back up (pairs)             1282 (7)         3136 (7)
returns to a waiting file (pairs) 1007 (8)         2475 (8)
================================  ===============  ===============

Most turns went from ``layer`` and ``operators`` up to ``analysis``, and from ``operators`` up to ``sensing``.

After the layout of departments, with files a third as long (in ten departments):

================================  ===============  ===============
measured                          defaults         total variation
================================  ===============  ===============
files entered                     41               39
calls from file to file (pairs)   29407 (132)      31823 (123)
turns back up (pairs)             381 (5)          930 (5)
returns to a waiting file (pairs) 420 (6)          1080 (6)
================================  ===============  ===============

Of the turns that are left, all but five to eight are an operator's own map, called by the node of autograd that has its
derivative.
"""

from __future__ import annotations

import argparse
import re
import sys
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any


def house(drawing: str, names: set[str]) -> dict[str, int]:
    """Returns the line of each module and package at the top, read from the first code block that numbers its lines.

    A package is a word with a slash behind; modules are alone in their column. A line without a number continues the
    one above it. Other words are what a package holds, or say what it is for.

    >>> drawing = "```\\n 2 solver/     gap | loops   network    the network\\n   nets/\\n 1 errors gap   basics\\n```"
    >>> house(drawing, {"solver", "network", "nets", "errors", "gap"})
    {'solver': 2, 'network': 2, 'nets': 2, 'errors': 1, 'gap': 1}
    """
    found: dict[str, int] = {}
    for block in re.findall(r"^```\w*\n(.*?)^```", drawing, re.MULTILINE | re.DOTALL):
        number = None
        for line in block.splitlines():
            start = re.match(r"\s*(\d+)\s", line)
            number = int(start[1]) if start else number
            if number is None:
                continue
            for column in re.split(r"\s{2,}", line[start.end() :].strip() if start else line.strip()):
                words = column.split()
                modules = words if all(word.rstrip("/") in names for word in words) else []
                for word in [w for w in words if w.endswith("/")] + modules:
                    if word.rstrip("/") in names:
                        found.setdefault(word.rstrip("/"), number)
        if found:
            break
    return found


@dataclass
class Flow:
    """Follows the calls between the files of a folder while it is the profiler.

    Attributes:
        root: The folder.
        files: The files entered, in the order in which they were.
        calls: How often one file calls another.
        back: How often B, called by A, calls A again, for each pair (A, B).
    """

    root: str
    files: list[str] = field(default_factory=list)
    calls: Counter[tuple[str, str]] = field(default_factory=Counter)
    back: Counter[tuple[str, str]] = field(default_factory=Counter)
    # The files that wait, the innermost last: of each run of calls inside one file one entry, with their number.
    _stack: list[tuple[str, int]] = field(default_factory=list)
    _importing: int = 0

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        # What is not of the folder, such as the forwarding of torch's modules, is passed through.
        name = frame.f_code.co_filename
        if event not in ("call", "return") or not name.startswith(self.root):
            return
        if frame.f_code.co_name == "<module>":
            self._importing += 1 if event == "call" else -1
        elif not self._importing:
            (self._enter if event == "call" else self._leave)(name[len(self.root) :])

    def _enter(self, file: str) -> None:
        if file not in self.files:
            self.files.append(file)
        if self._stack and self._stack[-1][0] == file:
            self._stack[-1] = (file, self._stack[-1][1] + 1)
            return
        if self._stack:
            caller = self._stack[-1][0]
            self.calls[caller, file] += 1
            if len(self._stack) > 1 and self._stack[-2][0] == file:
                self.back[file, caller] += 1
        self._stack.append((file, 1))

    def _leave(self, file: str) -> None:
        if not self._stack:  # was entered before the measurement
            return
        top, depth = self._stack.pop()
        assert top == file
        if depth > 1:
            self._stack.append((top, depth - 1))


def follow(call: Callable[[], object], root: Path) -> Flow:
    """Runs the call and follows it through the files of a folder."""
    flow = Flow(f"{root}/")
    sys.setprofile(flow)
    try:
        call()
    finally:
        sys.setprofile(None)
    return flow


def report(title: str, flow: Flow, lines: dict[str, int]) -> None:
    """Prints the counts, and where the flow turns."""

    def line(file: str) -> int | None:
        return lines.get(file.partition("/")[0].removesuffix(".py"))

    def said(pairs: Counter[tuple[str, str]], arrow: str) -> str:
        return "".join(f"\n    {count:6} x {a} {arrow} {b}" for (a, b), count in pairs.most_common())

    placed = {file: number for file in flow.files if (number := line(file)) is not None}
    up = Counter(
        {(a, b): n for (a, b), n in flow.calls.items() if a in placed and b in placed and placed[a] < placed[b]}
    )
    print(f"{title}:")
    print(f"  files entered: {len(flow.files)}")
    print("    " + " ".join(f"{placed.get(file, '?')}:{file}" for file in flow.files))
    if missing := [file for file in flow.files if file not in placed and file != "__init__.py"]:
        print(f"    not drawn in the house: {' '.join(missing)}")
    print(f"  calls from file to file: {flow.calls.total()}, between {len(flow.calls)} pairs of files")
    print(f"  turns back up: {up.total()}, in {len(up)} pairs of files{said(up, 'calls')}")
    back = said(flow.back, "and back from")
    print(f"  returns to a file that waits: {flow.back.total()}, in {len(flow.back)} pairs of files{back}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", nargs="?", type=Path, default=Path(__file__).resolve().parent.parent)
    checkout: Path = parser.parse_args().checkout.resolve()
    sys.path.insert(0, str(checkout / "src"))
    import firenet  # this checkout's, now that the path is set
    import golden

    root = Path(str(firenet.__file__)).parent
    if root != checkout / "src" / "firenet":
        raise SystemExit(f"not a checkout of firenet: {checkout} (found {root})")
    names = {path.stem for path in root.glob("*.py")} | {path.name for path in root.iterdir() if path.is_dir()}
    lines = house((checkout / "docs" / "architecture.md").read_text(encoding="utf-8"), names)
    warnings.simplefilter("ignore")
    cases: dict[str, dict[str, Any]] = {"defaults": {}, "total variation": {"sparsify": "tv"}}
    for title, options in cases.items():
        reconstruct, kspace = golden.named("reconstruct_kspace"), golden.scan_data(golden.torch.complex64)
        report(title, follow(lambda f=reconstruct, k=kspace, o=options: f(*k, **o), root), lines)


if __name__ == "__main__":
    main()
