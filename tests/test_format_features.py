"""Every feature of every format is read, refused or named, and the table in the docs says what the tests saw."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from format_features import BEGIN, DOCUMENT, END, ENTRIES, FEATURES, Feature, what_becomes

for _entries in ENTRIES:
    importlib.import_module(_entries)


@pytest.mark.parametrize("entry", FEATURES, ids=lambda entry: entry.name[:60])
def test_a_feature_is_read_refused_or_named_as_the_table_says(entry: Feature, tmp_path: Path) -> None:
    line = f"| {entry.format} | {entry.text} | {what_becomes(entry, tmp_path)} |"
    if DOCUMENT.exists():  # an installed package has no docs
        assert line in DOCUMENT.read_text(encoding="utf-8").splitlines()


def test_the_table_has_no_other_lines() -> None:
    if not DOCUMENT.exists():
        pytest.skip("an installed package has no docs")
    table = DOCUMENT.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]
    assert len([line for line in table.splitlines() if line.startswith("| ")]) == len(FEATURES) + 1
    assert len({entry.name for entry in FEATURES}) == len(FEATURES)
