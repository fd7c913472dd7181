"""The short version of ``make fuzz``: some hundred damaged files a target; and the campaign finds what it is for."""

from __future__ import annotations

from random import Random

import pytest

import fuzz


@pytest.mark.parametrize("target", list(fuzz.TARGETS))
def test_a_damaged_file_is_read_or_refused(target: str) -> None:
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


def test_every_damage_leaves_something_different() -> None:
    whole = bytes(range(48, 58)) * 100
    made = {fuzz.damaged(whole, whole[::-1], Random(number)) for number in range(200)}
    assert len(made) > 190
    assert fuzz.damaged(whole, whole, Random(1)) == fuzz.damaged(whole, whole, Random(1))
