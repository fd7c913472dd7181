"""The short version of ``make fuzz``: some hundred damaged files a target; and the campaign finds what it is for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
import pytest

import fuzz
from file_seeds import read_here
from firenet.errors import BadInput
from firenet.io import hdf5
from firenet.io.stored import Stored, unreadable


@pytest.mark.parametrize("target", list(fuzz.READERS))
def test_a_damaged_file_is_read_or_refused(target: str, tmp_path: Path) -> None:
    fuzz.READERS[target][0](tmp_path)  # where a library is missing, it is missing here and not in a worker
    found = fuzz.run(target, 200)
    assert not found.faults
    assert found.files == 200
    assert found.outcomes["read"] > 0  # not every damage matters
    assert found.outcomes["refused"] > 50


def test_the_campaign_finds_what_it_is_for() -> None:
    found = fuzz.run("faulty", 7, seconds=3)
    faults = ["raw words", "exception", "memory", "crash", "hang"]
    assert [outcome for _, outcome, _ in found.faults] == faults
    assert found.outcomes == dict.fromkeys([*faults, "refused", "read"], 1)


def _outcome(read: Callable[[Path, None, str], Stored], path: Path) -> tuple[str, bytes]:
    try:
        stored = _read(read, path)
    except BadInput as error:
        return error.needed, b""
    return stored.name, np.asarray(stored.array).tobytes()


def _read(read: Callable[[Path, None, str], Stored], path: Path) -> Stored:
    try:
        return read(path, None, "kspace")
    except BadInput:
        raise
    except Exception as error:
        raise unreadable("HDF5", path, error) from error


@pytest.mark.parametrize("target", sorted(fuzz.APART))
def test_damaged_files_come_through_the_door_as_they_are_fuzzed(target: str, tmp_path: Path) -> None:
    """The campaign reads without the process apart, which must change nothing."""
    (tmp_path / "sound").mkdir()
    (tmp_path / "damaged").mkdir()
    seeds = sorted(fuzz.TARGETS[target][0](tmp_path / "sound"))
    seen = set()
    for number in range(12):
        path = fuzz.case(target, 1, number, seeds, tmp_path / "damaged")
        there, here = (_outcome(read, path) for read in (hdf5.read_hdf5, read_here))
        assert there == here
        seen.add(there[1] == b"")
    assert seen == {True, False}


def test_every_damage_leaves_something_different() -> None:
    whole = bytes(range(48, 58)) * 100
    made = {fuzz.damaged(whole, whole[::-1], Random(number)) for number in range(200)}
    assert len(made) > 190
    assert fuzz.damaged(whole, whole, Random(1)) == fuzz.damaged(whole, whole, Random(1))
