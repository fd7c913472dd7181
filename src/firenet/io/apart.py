"""Reads a file in a process of its own, for parsers in C that may hang, crash or take all memory.

libhdf5 is one: sixteen zero bytes in the right place of a file make it loop for ever, and it does not react to Ctrl-C.
A process of its own can be ended: by a limit of its computing time, which a slow disk does not use up, by a limit of
its memory, or by Ctrl-C. Both limits grow with what the file has been found to hold (`allow`). The process answers with
lines of JSON and the raw bytes of the arrays, piece by piece; nothing is unpickled, and what the lines claim is checked
again.

This is no sandbox: if a file makes the parser run code from the file, that code has the rights of the user. Windows has
no such limits; there only Ctrl-C ends the process. Memory is limited only on Linux.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np

from firenet.errors import BadInput, FirenetError
from firenet.io.stored import MAX_HEADER, Stored, check_claim, native, unreadable

try:
    import resource
except ImportError:  # Windows
    resource = None

SECONDS = 5  # of computing, before anything is known about the file
MEMORY = 2**28  # bytes before anything is known about the file, in addition to what the libraries take
RATE = 10 * 2**20  # bytes of arrays that are read in a second of computing, at the least
PIECE = 2**24  # bytes of an array that are sent at once; if a chunk of the file is larger, one chunk
_START = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from firenet.io import apart; apart.serve()"

_limited = False


def read_apart(format: str, title: str, path: Path, key: str | None, preferred: str) -> Stored:
    """Reads what ``opened(path, key, preferred)`` of the module of a format yields, in a process of its own.

    Args:
        format: The name of the module in `firenet.io`.
        title: The name of the format, for errors.
        path: The file.
        key: The key of the array, or None.
        preferred: The default key.

    Raises:
        BadInput: As the reader does, and where its process crashes, does not end or takes too much memory.
    """
    job = {"format": format, "title": title, "path": str(path), "key": key, "preferred": preferred, "seconds": SECONDS}
    command = [sys.executable, "-I", "-W", "ignore", "-c", _START, json.dumps(sys.path), json.dumps(job)]
    # One thread of BLAS is enough. The last setting keeps libhdf5 from loading plugins that a file asks for.
    surroundings = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "HDF5_PLUGIN_PRELOAD": "::"}
    pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, env=surroundings, **pipes) as process:
        assert process.stdout is not None
        try:
            return _received(process.stdout)
        except EOFError:
            with suppress(subprocess.TimeoutExpired):
                process.wait(2)  # it says by itself how it ended
            process.kill()
            do = "Copy or export the file again; if it should be sound, convert it where it was made"
            raise BadInput(f"A whole and sound {title} file", f"{path}, on which {_end(process.wait())}", do) from None
        finally:
            process.kill()  # after Ctrl-C, too; a process that has ended is not affected


def _end(code: int) -> str:
    """Returns how the process of the reader ended, as a clause."""
    if code == -getattr(signal, "SIGXCPU", 0):
        return f"the library finds no end: {SECONDS} s of computing and more"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"exit code {code}"
    return f"the library ends its process ({name})"


def _received(stream: IO[bytes]) -> Stored:
    """Returns the arrays that the other process sends: each is announced by a message, then its bytes follow."""
    arrays: list[np.ndarray] = []
    rest = memoryview(b"")
    while True:
        line = stream.readline(MAX_HEADER)
        if not line.endswith(b"\n"):
            raise EOFError
        message = json.loads(line)
        if "refused" in message:
            raise BadInput(*message["refused"])
        if "array" in message:
            dtype, shape = message["array"]
            check_claim(shape, np.dtype(dtype), sys.maxsize, "The reader's answer")
            arrays.append(np.empty(shape, dtype))
            rest = memoryview(arrays[-1].reshape(-1).view(np.uint8).data)
        elif "bytes" in message:
            end = int(message["bytes"])
            _fill(stream, rest[:end])
            rest = rest[end:]
        else:
            fields: dict[str, Any] = message["fields"]
            if len(rest) or not arrays:
                raise EOFError
            fields |= {name: tuple(value) for name, value in fields.items() if isinstance(value, list)}
            named: dict[str, Any] = dict(zip(message["names"], arrays, strict=True))
            array, mask = named.pop("array"), named.pop("mask", None)
            return Stored(array=array, mask=mask, more=named, **fields)


def _fill(stream: IO[bytes], room: memoryview) -> None:
    while len(room):
        count = stream.readinto(room)  # pyright: ignore[reportAttributeAccessIssue]
        if not count:
            raise EOFError
        room = room[count:]


# --- the other end ---------------------------------------------------------------------------------------------------


def serve() -> None:
    """Reads the file that the arguments of this process name, within limits of time and memory, and sends its data."""
    # Answers keep the standard output; what libraries print there goes to stderr.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    job = json.loads(sys.argv[2])
    path = Path(job["path"])
    try:
        reader = importlib.import_module(f"firenet.io.{job['format']}")
        reader.prepare()
        limit(job["seconds"])
        with reader.opened(path, job["key"], job["preferred"]) as stored:
            _answer(answers, stored)
    except FirenetError as error:
        _refuse(answers, error)
    except Exception as error:  # parsers of foreign bytes raise anything
        _refuse(answers, unreadable(job["title"], path, error))
    answers.flush()
    os._exit(0)  # without the cleanup of a library that a damaged file may have left in any state


def limit(seconds: int = SECONDS) -> None:
    """Limits the computing time and the memory of this process. Once sizes are known, `allow` raises the limits."""
    global _limited
    if resource is None:
        return
    _limited = True
    used = resource.getrusage(resource.RUSAGE_SELF)
    _set(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime) + 1 + seconds)
    _set(resource.RLIMIT_CORE, 0)
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except OSError:  # a system that does not tell the size of a process does not limit it either
        return
    _set(resource.RLIMIT_AS, pages * resource.getpagesize() + MEMORY)


def allow(claimed: int, seconds: float = 0.0) -> None:
    """Raises the limits of this process, where it has any, by what reading this number of bytes takes."""
    if resource is None or not _limited:
        return
    # An array, its copy in native order, and what the library buffers.
    for kind, more in ((resource.RLIMIT_AS, 4 * claimed), (resource.RLIMIT_CPU, claimed // RATE + int(seconds))):
        soft = resource.getrlimit(kind)[0]
        if soft != resource.RLIM_INFINITY:
            _set(kind, soft + more)


def _set(kind: int, soft: int) -> None:
    """Sets a soft limit, at most the hard one, which is not changed."""
    assert resource is not None
    hard = resource.getrlimit(kind)[1]
    resource.setrlimit(kind, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def _answer(stream: IO[bytes], stored: Stored) -> None:
    """Writes one array after the other, in pieces, since an array may not have been read from the file yet."""
    arrays = {"array": stored.array, "mask": stored.mask, **stored.more}
    arrays = {name: array for name, array in arrays.items() if array is not None}
    for array in arrays.values():
        kind = native(np.empty((1,) * array.ndim, array.dtype)).dtype
        _write(stream, {"array": [kind.str, array.shape]})
        # A piece is made of whole chunks, since libhdf5 decompresses a chunk as a whole.
        chunk = (getattr(array, "chunks", None) or (1,))[0]
        rows = max(chunk, PIECE // max(1, array.size // len(array) * kind.itemsize) // chunk * chunk)
        for first in range(0, len(array), rows):
            piece = native(array[first : first + rows])
            _write(stream, {"bytes": piece.nbytes})
            stream.write(piece.reshape(-1).view(np.uint8).data)
    fields = {name: value for name, value in vars(stored).items() if name not in ("array", "mask", "more")}
    _write(stream, {"fields": fields, "names": list(arrays)})


def _write(stream: IO[bytes], message: dict[str, Any]) -> None:
    stream.write(json.dumps(message).encode() + b"\n")


def _refuse(stream: IO[bytes], error: FirenetError) -> None:
    _write(stream, {"refused": [error.needed, error.got, error.do]})
