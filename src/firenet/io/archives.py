"""Zip archives from outside: npz and what ``torch.save`` writes, unpacked within bounds that are checked first.

An archive states how large its members are, and a few kilobytes can claim gigabytes. So what it claims is compared with
what it holds before anything is unpacked: npz may grow a hundredfold, and ``torch.save`` never compresses.
"""

from __future__ import annotations

import io
import math
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import ArrayLike

from firenet.errors import BadInput
from firenet.io.safely import existing
from firenet.io.stored import unreadable

MOST_BYTES = 2**32  # of a file of weights
_MOST_MEMBERS = 100_000
_MOST_GROWTH, _FREE_BYTES = 100, 2**26  # below that many bytes any growth is harmless
_MOST_HEADER = 10_000  # bytes of the header of an npy, the limit of numpy


def write_arrays(file: Path | IO[bytes], arrays: Mapping[str, ArrayLike]) -> None:
    """Writes arrays as a compressed npz archive.

    Raises:
        ValueError: For objects, which only pickling could store.
    """
    # The argument allow_pickle of savez is newer than the oldest NumPy, which takes it for an array.
    found = {name: np.asarray(array) for name, array in arrays.items()}
    objects = [name for name, array in found.items() if array.dtype.hasobject]
    if objects:
        raise ValueError(f"arrays of objects are not stored: {', '.join(objects)}")
    np.savez_compressed(file, **found)  # pyright: ignore[reportArgumentType]


def bytes_of(path: Path, most: int = MOST_BYTES) -> bytes:
    """Reads a whole file of at most ``most`` bytes.

    The file is not mapped into memory: a mapped file that shrinks meanwhile would end the process.

    Raises:
        BadInput: If the file is missing or larger.
    """
    with existing(path).open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            got = f"{path} of {size / 2**30:.3g} GiB"
            raise BadInput(f"A file of at most {most / 2**30:g} GiB", got, "Check where it comes from")
        return file.read(size)


def arrays_in(stream: IO[bytes], size: int, where: str) -> dict[str, np.ndarray]:
    """Reads all arrays of an npz archive; none is unpickled.

    Args:
        stream: The archive.
        size: Its size in bytes.
        where: Its name, for messages.

    Raises:
        BadInput: If it is damaged, grows too much, or holds something other than numbers.
    """
    try:
        with zipfile.ZipFile(stream) as archive:
            members = archive.infolist()
            _check_sizes(members, max(_FREE_BYTES, _MOST_GROWTH * size), where)
            read = [(m.filename, _array(archive.read(m), f"{where} [{m.filename}]")) for m in members]
            return {name.removesuffix(".npy"): array for name, array in read}
    except BadInput:
        raise
    # Parsers of foreign bytes raise anything: zlib.error, struct.error, SyntaxError of a header, NotImplementedError.
    except Exception as error:
        raise unreadable("npz", where, error, "Write it again with numpy.savez") from None


def _array(data: bytes, where: str) -> np.ndarray:
    """Returns the array of a member, whose header must claim exactly the bytes that are there."""
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    headers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in headers:
        raise ValueError(f"npy version {version}")
    shape, _, dtype = headers[version](stream, max_header_size=_MOST_HEADER)
    if dtype.kind not in "biufc":
        raise BadInput(f"{where}: an array of numbers", f"the type {dtype}", "Save it again as numbers")
    claimed, present = math.prod(shape) * dtype.itemsize, len(data) - stream.tell()
    if claimed != present:
        raise ValueError(f"{claimed} bytes claimed where {present} are")
    stream.seek(0)
    return np.lib.format.read_array(stream, allow_pickle=False)


def stored_members(path: Path) -> io.BytesIO:
    """Returns the archive that ``torch.save`` wrote, copied in memory: a parser then reads what was checked here.

    Raises:
        BadInput: If it is not an archive, is damaged, or holds compressed members, which ``torch.save`` never writes.
    """
    data, again = bytes_of(path), io.BytesIO()
    do = "Save it again with torch.save(module.state_dict(), file), or as safetensors"
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            if any(m.compress_type != zipfile.ZIP_STORED for m in members):
                raise BadInput("An archive of torch.save, which compresses nothing", f"compressed data in {path}", do)
            _check_sizes(members, len(data), str(path))
            with zipfile.ZipFile(again, "w") as copy:
                for member in members:
                    copy.writestr(member.filename, archive.read(member))
    except BadInput:
        raise
    except Exception as error:  # as above
        raise unreadable("torch.save", path, error, do) from None
    again.seek(0)
    return again


def _check_sizes(members: list[zipfile.ZipInfo], most: int, where: str) -> None:
    """Refuses members that claim too much together: they may overlap in the file, so the sum of their sizes counts."""
    claimed = sum(m.file_size for m in members)
    names = [m.filename for m in members]
    if claimed > most or len(names) > _MOST_MEMBERS or len(set(names)) < len(names):
        got = f"{len(names)} members of {claimed / 2**30:.3g} GiB in all in {where}"
        raise BadInput(f"At most {most / 2**30:.3g} GiB in members of different names", got, "Do not open it")
