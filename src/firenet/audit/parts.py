"""The finished parts of an audit, in memory and on disk.

A part on disk is named by its key, the digest of everything that it depends on (model, image, test, settings, versions,
for some tests the perturbations that were found before). When it is used again (:meth:`Parts.done`)::

    KEY.part      key in its header, digest of its content (firenet.io.sealed), fields of a row
                    all right            --> taken; one that failed is measured again with ``retry``
                    damaged or altered   --> a warning, and it is measured again
    KEY.started   no part, but a marker of the process that began to measure it
                    a message in it      --> that process crashed: the part has failed; again only with ``retry``
                    ATTEMPTS attempts    --> the part has failed: again only with ``retry``
                    otherwise            --> measured again, as one more attempt
    neither file                         --> measured

A model that crashes the process (a segmentation fault, an abort) leaves a message in the marker, written by Python's
fault handler. A process that ends without a message was killed from outside: by a person, a power failure, or the
system for lack of memory. These cannot be told apart afterwards, so the part is tried a few times. Ctrl-C removes
the marker; so do SIGTERM and SIGHUP under ``firenet audit``. The digest detects damage, not forgery.
"""

from __future__ import annotations

import faulthandler
import hashlib
import json
import re
import sys
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from firenet.audit.records import Row
from firenet.errors import BadInput, DoubtfulInput, plain
from firenet.io import sealed
from firenet.io.safely import lock
from firenet.numerics import real_view

ATTEMPTS = 3
_KIND, _LOCK = "audit-part", "firenet-audit-parts"
_OURS = re.compile(r"[0-9a-f]{32}\.(part|started)")
# A file of a process that was killed while it wrote a part.
_TEMPORARY = re.compile(r"\.[0-9a-f]{8}\.part")
_FIELDS = {"model": str, "image": str, "test": str, "numbers": dict, "pictures": dict, "seconds": float}


class Parts:
    """The store of finished parts on disk, and of all pictures in memory. One process at a time may use a folder.

    Args:
        folder: The folder, which is made if necessary; None stores no parts.
        retry: Whether to measure parts again that failed.

    Raises:
        BadInput: If the folder cannot be made, or another process uses it.
    """

    def __init__(self, folder: Path | None, retry: bool) -> None:
        self.folder, self.retry = folder, retry
        self.pictures: dict[str, np.ndarray] = {}
        self.resumed = 0
        self._attempts: dict[str, int] = {}
        self._marker: IO[bytes] | None = None
        self._watched = False
        self._lock: IO[str] | None = None
        if folder is not None:
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise BadInput("A folder for the parts of an audit", f"{folder}: {error}", "Name another") from None
            self._lock = lock(folder / _LOCK)
            for path in folder.iterdir():
                if _TEMPORARY.fullmatch(path.name):
                    path.unlink(missing_ok=True)

    def __enter__(self) -> Parts:
        return self

    def __exit__(self, *error: object) -> None:
        if self._lock is not None:
            self._lock.close()

    def keep(self, key: str, image: Tensor) -> str:
        """Stores a picture under a key and returns the key. Of a complex image the modulus is stored."""
        array = (image.abs() if image.is_complex() else image).detach().cpu().to(torch.float32).numpy()
        self.pictures[key] = np.nan_to_num(array)
        return key

    def done(self, key: str) -> tuple[dict[str, Any], dict[str, np.ndarray]] | None:
        """Returns the row and the arrays of a part that was measured or failed before; None if it must be measured."""
        if self.folder is None:
            return None
        part, started = self.folder / f"{key}.part", self.folder / f"{key}.started"
        if part.exists():
            try:
                arrays, row = sealed.read(part, _KIND, key)
                _check(row, part)
            except sealed.Damaged as error:
                warnings.warn(f"A part is measured again. {error.got}", DoubtfulInput, stacklevel=2)
                return None
            if row["failed"] is not None and self.retry:
                return None
            self.resumed += 1
            return row, arrays
        return None if self.retry else self._ended(key, started)

    def _ended(self, key: str, started: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]] | None:
        """Returns the failure that a marker shows; None if the part is to be tried again."""
        try:
            first, _, words = started.read_bytes()[:10_000].decode("ascii", "replace").partition("\n")
        except OSError:
            return None
        crash = words.strip().partition("\n")[0]
        attempts = int(first) if first.isdecimal() and len(first) < 4 else 1
        if crash:
            return {"failed": f"the process crashed in this part: {plain(crash)} (--retry tries again)"}, {}
        if attempts >= ATTEMPTS:
            why = "killed, perhaps for lack of memory; nothing is known about the model (--retry tries again)"
            return {"failed": f"the process was ended {attempts} times in this part: {why}"}, {}
        self._attempts[key] = attempts
        return None

    def begin(self, key: str) -> None:
        """Writes the marker of a part that is about to be measured, and directs the fault handler to it."""
        if self.folder is None:
            return
        try:
            self._marker = (self.folder / f"{key}.started").open("wb", buffering=0)
            self._marker.write(f"{self._attempts.get(key, 0) + 1}\n".encode())
        except OSError as error:
            self._forget(key)
            do = "Check the folder, its rights and the free space"
            raise BadInput("A folder of parts that can be written to", f"{self.folder}: {error}", do) from None
        self._watched = faulthandler.is_enabled()
        faulthandler.enable(self._marker, all_threads=False)

    def end(self, key: str, row: Row | None, arrays: Mapping[str, np.ndarray]) -> None:
        """Writes a part if there is a row, and removes its marker even if writing fails."""
        if self.folder is None:
            return
        try:
            if row is not None:
                sealed.write(self.folder / f"{key}.part", _KIND, key, arrays, asdict(row))
        finally:
            self._forget(key)

    def _forget(self, key: str) -> None:
        faulthandler.disable()
        if self._watched and sys.__stderr__ is not None:
            faulthandler.enable(sys.__stderr__)
        if self._marker is not None:
            self._marker.close()
            self._marker = None
        if self.folder is not None:
            with suppress(OSError):  # a marker that stays only means that the part is tried again
                (self.folder / f"{key}.started").unlink(missing_ok=True)


def _check(row: Mapping[str, Any], part: Path) -> None:
    """Raises ``sealed.Damaged`` unless the content is a row: the digest only shows that it was not altered."""
    names = {*_FIELDS, "failed"}
    kinds = all(isinstance(row.get(name), kind) for name, kind in _FIELDS.items())
    if row.keys() != names or not kinds or not isinstance(row["failed"], str | None):
        raise sealed.Damaged("A row of an audit", f"{part}, which holds something else", "Remove the file")


def remove(folder: Path) -> None:
    """Removes a folder of parts, so that an audit starts again from the beginning.

    Raises:
        BadInput: If the folder was not made by an audit, has other files in it, or is used by another process; then
            nothing is removed.
    """
    if not folder.exists():
        return
    names = [p.name for p in folder.iterdir()] if folder.is_dir() else []
    foreign = [n for n in names if n != _LOCK and not _OURS.fullmatch(n) and not _TEMPORARY.fullmatch(n)]
    if foreign or not folder.is_dir() or (names and _LOCK not in names):
        what = "with other files in it" if foreign else f"without {_LOCK}" if names else "which is no folder"
        raise BadInput("A folder of an audit's parts", f"{folder}, {what}", "Rename it")
    with Parts(folder, retry=False):  # takes the lock: no other process uses the folder
        for name in names:
            (folder / name).unlink(missing_ok=True)
    (folder / _LOCK).unlink(missing_ok=True)
    folder.rmdir()


def digest(*things: Any) -> str:
    """Returns the SHA-256 of tensors and of values that JSON can hold."""
    digest = hashlib.sha256()
    for thing in things:
        if isinstance(thing, Tensor):
            t = thing.detach().cpu().contiguous()
            digest.update(f"{t.dtype} {tuple(t.shape)}".encode())
            digest.update(real_view(t).numpy().tobytes())
        else:
            digest.update(json.dumps(thing, sort_keys=True, default=str).encode())
    return digest.hexdigest()
