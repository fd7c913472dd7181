"""npy and npz: arrays of numpy. Arrays that only unpickling could read are refused."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import IO

import numpy as np

from firenet.errors import BadInput
from firenet.io.safely import replacing
from firenet.io.stored import MAX_HEADER, Stored, check_claim, choose, companions, shown

# The limit of numpy for a header in bytes. In versions 2 and 3 it may claim 4 GiB, and numpy reads it before it checks.
_LONGEST = 10_000


def read_npy(path: Path, key: str | None, preferred: str) -> Stored:
    """Reads the array of an npy file."""
    size = path.stat().st_size
    with path.open("rb") as file:
        return Stored(_read(file, size, size, str(path)), str(path))


def read_npz(path: Path, key: str | None, preferred: str) -> Stored:
    """Reads one array of an npz file, and with measurements the arrays that belong to them."""
    listed = _directory(path)
    if listed > MAX_HEADER:
        got = f"a list of {listed / 2**20:.3g} MiB"
        raise BadInput(f"{path}: a list of arrays below {MAX_HEADER >> 20} MiB", got, "Save the array in its own file")
    with zipfile.ZipFile(path) as archive:
        inside = archive.infolist()
        members = [info.filename[:-4] for info in inside if info.filename.endswith(".npy")]
        if inside and not members:
            do = "Load it where it was made, e.g. torch.load, and numpy.save the array"
            raise BadInput(f"An npz file with arrays, NAME.npy, in {path}", "a zip archive of other things", do)

        def read(name: str) -> np.ndarray:
            where = f"{path} [{shown(name)}]"
            found = [info for info in inside if info.filename == f"{name}.npy"]
            if len(found) > 1:
                raise BadInput(f"{where}: one array of that name", f"{len(found)}", "Save the file again")
            (info,) = found
            if info.flag_bits & 1:
                raise BadInput(f"{where}: an array without a password", "an encrypted one", "Decrypt the archive first")
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # all that numpy writes
                got = f"compression method {info.compress_type}"
                raise BadInput(f"{where}: an array that is uncompressed or deflated", got, "Save it with numpy.savez")
            with archive.open(info) as member:
                return _read(member, info.file_size, info.compress_size, where)

        name = choose(path, key, preferred, members)
        measured, beside = companions(name, preferred, members)
        more = {one: read(one) for one in beside}
        mask = more.pop("mask", None)
        return Stored(read(name), f"{path} [{shown(name)}]", mask=mask, measured=measured, more=more)


def _directory(path: Path) -> int:
    """Returns the claimed size of an archive's list of members; zipfile takes 20 times as much memory for it."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 70_000))  # a comment of at most 64 KiB comes last
        tail = file.read(70_000)
    claims = [(at.end() + 8, 4) for at in re.finditer(b"PK\5\6", tail)]
    claims += [(at.end() + 36, 8) for at in re.finditer(b"PK\6\6", tail)]  # in archives beyond 4 GiB
    return max((int.from_bytes(tail[at : at + width], "little") for at, width in claims), default=0)


def _read(stream: IO[bytes], size: int, stored: int, where: str) -> np.ndarray:
    """Returns the array of a stream of `size` bytes that take `stored` bytes in the file."""
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0)):  # 3.0 only differs in the names of record fields, and records are refused
        got = f"version {version[0]}.{version[1]}"
        raise BadInput(f"{where}: npy version 1.0 or 2.0", got, "Save it again with numpy.save")
    width = 2 if version == (1, 0) else 4
    length = int.from_bytes(stream.read(width), "little")
    if length > _LONGEST:
        do = "Save it again with numpy.save"
        raise BadInput(f"{where}: an npy header of at most {_LONGEST} bytes", f"a claim of {length} bytes", do)
    stream.seek(8)
    read_header = np.lib.format.read_array_header_1_0 if width == 2 else np.lib.format.read_array_header_2_0
    shape, _, dtype = read_header(stream)
    claimed, present = check_claim(shape, dtype, stored, where), size - stream.tell()
    if claimed != present:
        raise BadInput(f"{where}: {claimed} bytes, as its header says", f"{present}", "Copy the file again")
    stream.seek(0)
    return np.lib.format.read_array(stream, allow_pickle=False)


def write_npy(path: Path, image: np.ndarray) -> None:
    """Writes the array itself."""
    with replacing(path) as (temporary,), temporary.open("wb") as file:
        np.save(file, image, allow_pickle=False)
