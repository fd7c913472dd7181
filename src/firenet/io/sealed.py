"""Unfinished work on disk: checkpoints of trainings and finished parts of audits, each with a digest of itself.

A file is read again when the work is resumed, perhaps after a crash, a full disk or an edit. So its first line says
what it belongs to and has a SHA-256 of all else in the file, and nothing after that line is parsed before the digest
has been compared. The digest detects damage and careless edits. It is no signature: a file can be forged.

    firenet <kind> 1 <identity> <SHA-256 of this line up to here and of the rest>\\n
    an npz archive of arrays, with "about" as JSON among them
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from firenet.errors import BadInput
from firenet.io.archives import arrays_in, bytes_of, write_arrays
from firenet.io.safely import replacing

_MOST = 2**30  # bytes of such a file
_ABOUT = "about"


class Damaged(BadInput):
    """A file that was changed since it was written, or that belongs to something else."""


def write(path: Path, kind: str, identity: str, arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> None:
    """Writes arrays and values for JSON, whole or not at all; NaN and infinity are kept.

    Args:
        path: The file.
        kind: The kind of the file, one word.
        identity: A fingerprint (one word) of everything on which the content of the file depends.
        arrays: Arrays of numbers; none may be named ``about``.
        about: Numbers, texts, lists and mappings.

    Raises:
        ValueError: For an array named ``about``.
    """
    if _ABOUT in arrays:
        raise ValueError(f"no array may be named {_ABOUT}: that name is taken")
    said = np.frombuffer(json.dumps(about).encode(), dtype=np.uint8)
    buffer = io.BytesIO()
    write_arrays(buffer, {**arrays, _ABOUT: said})
    head, rest = f"firenet {kind} 1 {identity} ".encode(), buffer.getvalue()
    with replacing(path) as (temporary,):
        temporary.write_bytes(head + hashlib.sha256(head + rest).hexdigest().encode() + b"\n" + rest)


def read(path: Path, kind: str, identity: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Reads what :func:`write` has written.

    Raises:
        Damaged: If the file has another kind or identity, or its digest is not that of its content.
    """
    name = kind.replace("-", " ")
    needed, do = f"A {name} that firenet wrote, unchanged", "Remove the file, or name another"
    try:
        data = bytes_of(path, _MOST)
        line, _, rest = data.partition(b"\n")
        words = line[:4096].decode("ascii").split(" ")
    except (OSError, BadInput, UnicodeDecodeError) as error:
        raise Damaged(needed, f"{path}: {error}", do) from None
    if len(words) != 5 or words[:3] != ["firenet", kind, "1"]:
        raise Damaged(needed, f"{path}, which is something else", do)
    head = line[: -len(words[4])]
    if hashlib.sha256(head + rest).hexdigest() != words[4]:
        raise Damaged(needed, f"{path}, which is damaged or was altered", do)
    if words[3] != identity:
        raise Damaged(f"A {name} of these settings", f"{path}, of other settings", do)
    try:
        arrays = arrays_in(io.BytesIO(rest), len(rest), str(path))
        about = json.loads(arrays.pop(_ABOUT).tobytes())
        if not isinstance(about, dict):
            raise TypeError("about is no mapping")
    except (ValueError, KeyError, TypeError, RecursionError) as error:  # only for a forged file
        raise Damaged(needed, f"{path}: {type(error).__name__}", do) from None
    return arrays, about


def written(path: Path, kind: str) -> bool:
    """Returns whether a file begins like files of this kind. If so, firenet wrote the file and may remove it."""
    try:
        with path.open("rb") as file:
            return file.read(len(kind) + 11) == f"firenet {kind} 1 ".encode()
    except OSError:
        return False
