"""The short version of the fuzz campaign of `fuzz_records`: some damaged files a target, read here."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

import fuzz_records
from firenet.errors import BadInput, FirenetError

COUNT = 60
pytestmark = pytest.mark.usefixtures("few_images")


def damaged(whole: bytes, r: Random) -> bytes:
    """Flipped, cut, grown or with an extreme number in it; the campaign has more kinds of damage."""
    raw = bytearray(whole)
    place = r.randrange(min(len(raw), 600)) if r.random() < 0.6 else r.randrange(len(raw))
    kind = r.randrange(5)
    if kind == 0:
        raw[place] ^= 1 << r.randrange(8)
    elif kind == 1:
        del raw[place:]
    elif kind == 2:
        raw[place:place] = raw[place : place + 64] * 3
    elif kind == 3:
        raw[place : place + 8] = r.choice((0, 2**31 - 1, 2**40, 2**63)).to_bytes(8, "little")
    else:
        raw[place : place + 1] = r.choice((b"-", b"9", b'"', b"[", b"\x1b", b"\n"))
    return bytes(raw)


@pytest.mark.parametrize("target", list(fuzz_records.TARGETS))
def test_a_damaged_file_is_read_or_refused(target: str, tmp_path: Path) -> None:
    make, read = fuzz_records.TARGETS[target]
    sound = {path.name: path.read_bytes() for path in make(tmp_path)}
    for name, whole in sound.items():
        (tmp_path / name).write_bytes(whole)
        read(tmp_path / name)
    refusals: list[str] = []
    for number in range(COUNT):
        r = Random(f"{target} {number}")
        name = r.choice(sorted(sound))
        (tmp_path / name).write_bytes(damaged(sound[name], r))
        try:
            read(tmp_path / name)
        except FirenetError as error:
            refusals.append(str(error))
        (tmp_path / name).write_bytes(sound[name])
    assert all(words.isprintable() for words in refusals)
    # Of a record only the first bytes count. A digest refuses every damage.
    least = {"record": 5, "checkpoint": COUNT, "lista checkpoint": COUNT, "part": COUNT}
    assert len(refusals) >= least.get(target, COUNT // 3)


def test_resealed_is_sound_again(tmp_path: Path) -> None:
    make, read = fuzz_records.TARGETS["lista checkpoint"]
    (path,) = make(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(BadInput, match="damaged or was altered"):
        read(path)
    path.write_bytes(whole)
    assert fuzz_records.resealed(path).read_bytes() == whole
