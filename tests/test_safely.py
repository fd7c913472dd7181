"""Files whole or not at all, together or not at all, one run at a time; archives within bounds; files with a digest."""

from __future__ import annotations

import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from extras import safetensors
from firenet.errors import BadInput
from firenet.io import safely, sealed
from firenet.io.archives import arrays_in, bytes_of, stored_members
from firenet.io.files import check_beside, ours, write_image, write_json
from firenet.io.safely import check_room, existing, lock, locked, replacing, together
from firenet.io.tensors import read_safetensors, read_weights


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def both(folder: Path) -> None:
    with together():
        write_image(folder / "x.cfl", np.ones((5, 5)))
        write_json(folder / "x.json", {"old": False})


# --- put in place -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("existed", [True, False])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("failing", [0, 1, 2])
def test_together_or_not_at_all(
    existed: bool, error: BaseException, links: bool, failing: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The renaming of a cfl, its hdr or the record fails: all is as it was."""
    if existed:
        write_image(tmp_path / "x.cfl", np.eye(3))
        write_json(tmp_path / "x.json", {"old": True})
    before, replace, calls = contents(tmp_path), os.replace, []

    def fails(source: Any, target: Any) -> None:
        if Path(target).suffix != ".old" and Path(source).suffix != ".old":
            calls.append(target)
            if len(calls) == failing + 1:
                raise error
        replace(source, target)

    def no_links(*_: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(safely.os, "replace", fails)
    if not links:
        monkeypatch.setattr(safely.os, "link", no_links)
    with pytest.raises((BadInput, KeyboardInterrupt)):
        both(tmp_path)
    assert contents(tmp_path) == before
    both(tmp_path)
    assert sorted(contents(tmp_path)) == ["x.cfl", "x.hdr", "x.json"]
    assert contents(tmp_path) != before


def test_what_fails_inside_leaves_nothing(tmp_path: Path) -> None:
    def broken(error: Exception, *first: str) -> None:
        with together():
            for name in first:
                write_image(tmp_path / name, np.eye(3))
            raise error

    # An error of reading is no error of the first output.
    for error in (ZeroDivisionError(), FileNotFoundError(2, "No such file")):
        for first in ((), ("x.npy",)):
            with pytest.raises(type(error)):
                broken(error, *first)
    with pytest.raises(BadInput, match="No space"), replacing(tmp_path / "y"):
        raise OSError(28, "No space left on device")
    assert contents(tmp_path) == {}


def test_names_as_long_as_names_may_be(tmp_path: Path) -> None:
    name = "n" * 251 + ".npy"
    write_image(tmp_path / name, np.eye(3))
    assert list(contents(tmp_path)) == [name]
    with pytest.raises(BadInput, match="too long"):
        check_room(tmp_path / f"n{name}")
    with pytest.raises(BadInput, match="too long"):
        existing(tmp_path / f"n{name}")
    with pytest.raises(BadInput, match=r"null|does not exist"):
        existing("a\0b")


def test_what_lies_beside_is_replaced_only_if_it_is_ours(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"x": 1})
    write_image(tmp_path / "a.png", np.eye(4), description="firenet: sampling mask")
    for name in ("a.json", "a.png"):
        assert ours(tmp_path / name)
        check_beside(tmp_path / name)
    write_image(tmp_path / "b.png", np.eye(4), description="a holiday")
    (tmp_path / "b.json").write_text('{"firenet": "mine"}')
    (tmp_path / "c.json").symlink_to(tmp_path / "nowhere")
    for name in ("b.png", "b.json", "c.json"):
        with pytest.raises(BadInput, match="something else"):
            check_beside(tmp_path / name)
        check_beside(tmp_path / name, overwrite=True)
    check_beside(tmp_path / "new.json")


def test_locks(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locked(path), pytest.raises(BadInput, match="held by a run"):
        lock(path)
    assert contents(tmp_path) == {}
    held = lock(path)
    path.unlink()
    lock(path).close()  # another file of this name
    held.close()


# --- archives ---------------------------------------------------------------------------------------------------------


def packed(members: dict[str, bytes], kind: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", kind) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return stream.getvalue()


def header(shape: tuple[int, ...], dtype: str = "<f8") -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": dtype, "fortran_order": False, "shape": shape})
    return stream.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        packed({"a.npy": header((2**27,)) + bytes(2**30)}),  # a megabyte that claims a gigabyte
        packed({"a.npy": header((2**40,)) + bytes(80)}),
        packed({"a.npy": header((3,), "|O") + bytes(24)}),
        packed({"a.npy": b"\x93NUMPY\x02\x00" + (2**31).to_bytes(4, "little") + bytes(100)}),
        packed({"a.npy": b"nothing"}),
        packed({"a.npy": header((1,)) + bytes(8)})[:-10],
        b"nothing",
        b"",
    ],
    # Without names, pytest makes some of the bytes, which have the time: then two workers collect different tests.
    ids=["bomb", "claim", "objects", "long header", "no array", "cut", "nothing", "empty"],
)
def test_arrays_that_are_refused(data: bytes) -> None:
    with pytest.raises(BadInput):
        arrays_in(io.BytesIO(data), len(data), "x")


def test_a_whole_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"0123456789")
    assert bytes_of(tmp_path / "a", 10) == b"0123456789"
    with pytest.raises(BadInput, match=r"of 9.31e-09 GiB"):
        bytes_of(tmp_path / "a", 9)


def test_pt_files_are_not_inflated(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(2**20)}, tmp_path / "a.pt")
    with zipfile.ZipFile(tmp_path / "a.pt") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    assert torch.equal(read_weights(tmp_path / "a.pt")["a"], torch.zeros(2**20))
    (tmp_path / "b.pt").write_bytes(packed(members))
    with pytest.raises(BadInput, match="compresses nothing"):
        read_weights(tmp_path / "b.pt")
    with pytest.raises(BadInput, match="compresses nothing"):
        stored_members(tmp_path / "b.pt")
    torch.save({"a": torch.zeros(1).expand(2**40)}, tmp_path / "c.pt")  # a number, four terabytes of it
    with pytest.raises(BadInput, match="every number stored in the file"):
        read_weights(tmp_path / "c.pt")
    twice = 2 * (tmp_path / "c.pt").stat().st_size // 4  # numbers of four bytes, twice as many as the file has room for
    torch.save({"a": torch.zeros(1).expand(twice)}, tmp_path / "d.pt")
    with pytest.raises(BadInput, match="every number stored in the file"):
        read_weights(tmp_path / "d.pt")
    torch.save({"a": torch.zeros(1)}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(BadInput, match="only tensors are taken from one"):
        read_weights(tmp_path / "old.pt")


def test_safetensors_of_odd_types(tmp_path: Path) -> None:
    for name, size in (("F8_E4M3", 1), ("U16", 2)):  # not every version of the library writes these
        head = json.dumps({"a": {"dtype": name, "shape": [3], "data_offsets": [0, 3 * size]}}).encode()
        path = tmp_path / "odd.safetensors"
        path.write_bytes(len(head).to_bytes(8, "little") + head + bytes(3 * size))
        with pytest.raises(BadInput, match="16 bits or more"):
            read_safetensors(path)
    for dtype in (torch.bfloat16, torch.bool):
        saved = {"a": torch.ones(3).to(dtype), "empty": torch.zeros(0, 2)}
        safetensors.save_file(saved, tmp_path / "a.safetensors", {"k": "v"})
        tensors, about = read_safetensors(tmp_path / "a.safetensors")
        assert tensors["a"].dtype == dtype
        assert tensors["empty"].shape == (0, 2)
        assert about == {"k": "v"}


# --- files with a digest ----------------------------------------------------------------------------------------------


def test_a_sealed_file_is_what_was_written_or_refused(tmp_path: Path) -> None:
    path, arrays = tmp_path / "a", {"x": np.arange(6.0).reshape(2, 3), "n": np.array(3)}
    about = {"done": 3, "odd": [float("inf"), None, "ü"]}
    sealed.write(path, "kind", "me", arrays, about)
    again, said = sealed.read(path, "kind", "me")
    assert said == about
    assert again.keys() == arrays.keys()
    assert all(np.array_equal(again[name], array) for name, array in arrays.items())
    assert sealed.written(path, "kind")
    assert not sealed.written(path, "other")
    for kind, identity, words in (("other", "me", "something else"), ("kind", "you", "of other settings")):
        with pytest.raises(sealed.Damaged, match=words):
            sealed.read(path, kind, identity)
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        with pytest.raises(sealed.Damaged):
            sealed.read(path, "kind", "me")
        path.write_bytes(whole[:place])
        with pytest.raises(sealed.Damaged):
            sealed.read(path, "kind", "me")
    with pytest.raises(ValueError, match="objects are not stored: x"):
        sealed.write(path, "kind", "me", {"x": np.array([None])}, about)
    with pytest.raises(ValueError, match="about"):  # it would take the place of the values
        sealed.write(path, "kind", "me", {"about": np.arange(3.0)}, about)
