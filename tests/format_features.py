"""What each format allows, and what becomes of it: the entries are tests, and make the table of ``docs/files.md``.

``python tests/format_features.py --write`` writes the table. An entry returns, for a folder to write in, what shows
that the feature is *read* (two arrays that have to be equal), *refused* (a call that has to raise `BadInput`, whose
remedy goes into the table) or *named* (the notes of a result, one of which goes into the table).
"""

from __future__ import annotations

import importlib
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DOCUMENT = Path(__file__).parent.parent / "docs" / "files.md"
BEGIN, END = "<!-- begin: written by tests/format_features.py -->\n", "<!-- end -->\n"


@dataclass(frozen=True)
class Feature:
    """A feature of a format, what becomes of it, and what shows that."""

    format: str
    text: str
    kind: str
    show: Callable[[Path], Any]
    detail: str = ""

    @property
    def name(self) -> str:
        return f"{self.format}: {self.text}"


ENTRIES = ("feature_scans", "feature_images", "feature_models")  # the modules, in the order of the table
FEATURES: list[Feature] = []


def feature(format: str, text: str, kind: str = "read", detail: str = "") -> Callable[[Any], Any]:
    """Add an entry."""

    def add(show: Callable[[Path], Any]) -> Callable[[Path], Any]:
        FEATURES.append(Feature(format, text, kind, show, detail))
        return show

    return add


def what_becomes(entry: Feature, folder: Path) -> str:
    """The verdict on a feature in words, if it holds; AssertionError if not."""
    import numpy as np
    import pytest

    from firenet.errors import BadInput

    shown = entry.show(folder)
    if entry.kind == "read":
        got, expected = shown
        np.testing.assert_array_equal(got, expected)
        assert np.asarray(got).dtype.isnative
        return entry.detail if entry.detail.startswith("not ") else ", ".join(filter(None, ("read", entry.detail)))
    if entry.kind == "named":
        assert len(shown) == 1, shown
        return f"read, and said: *{shown[0]}*"
    assert entry.kind == "refused"
    with pytest.raises(BadInput) as caught:
        shown()
    error = caught.value
    assert str(folder) not in error.do
    assert error.do.isprintable()
    words = error.do.replace("|", "\\|")
    return f"refused: *{words}*"


def table() -> Iterator[str]:
    """The lines of the table."""
    for entries in ENTRIES:
        importlib.import_module(entries)
    yield "| format | feature | what becomes of it |"
    yield "|---|---|---|"
    for entry in FEATURES:
        with tempfile.TemporaryDirectory() as folder:
            yield f"| {entry.format} | {entry.text} | {what_becomes(entry, Path(folder))} |"


def main() -> None:
    """Print the table, or write it into the document."""
    lines = "\n".join(table()) + "\n"
    if "--write" not in sys.argv:
        print(lines)
        return
    text = DOCUMENT.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    DOCUMENT.write_text(f"{before}{BEGIN}\n{lines}\n{END}{rest.partition(END)[2]}", encoding="utf-8")


if __name__ == "__main__":
    sys.modules["format_features"] = sys.modules["__main__"]  # the entries import this module by its name
    main()
