"""The finished parts of an audit, in memory and on disk."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from firenet.audit.records import Row
from firenet.formats import replacing
from firenet.numerics import real_view


class Parts:
    """What is done, in memory and, where there is a folder, on disk."""

    def __init__(self, folder: Path | None, retry: bool) -> None:
        self.folder, self.retry = folder, retry
        self.pictures: dict[str, np.ndarray] = {}
        self.resumed = 0
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)

    def keep(self, key: str, image: Tensor) -> str:
        """Puts a picture away: the real part where it is real, else the modulus."""
        array = (image.abs() if image.is_complex() else image).detach().cpu().to(torch.float32).numpy()
        self.pictures[key] = np.nan_to_num(array)
        return key

    def done(self, key: str) -> tuple[dict[str, Any], dict[str, np.ndarray]] | None:
        """The part of this key: its row and its arrays."""
        if self.folder is None:
            return None
        text, arrays, started = (self.folder / f"{key}{end}" for end in (".json", ".npz", ".started"))
        if text.exists():
            try:
                row, stored = json.loads(text.read_text(encoding="utf-8")), {}
                _ = row["failed"], row["numbers"]
                if arrays.exists():
                    with np.load(arrays, allow_pickle=False) as archive:
                        stored = {n: archive[n] for n in archive.files}
            except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile):
                return None  # damaged: it is measured again
            if row["failed"] is not None and self.retry:
                return None
            self.resumed += 1
            return row, stored
        if started.exists() and not self.retry:
            return {"failed": _ENDED}, {}
        return None

    def begin(self, key: str) -> None:
        if self.folder is not None:
            (self.folder / f"{key}.started").touch()

    def end(self, key: str, row: Row | None, arrays: Mapping[str, np.ndarray]) -> None:
        """Writes a part; without a row, forgets that it was begun."""
        if self.folder is None:
            return
        text, packed, started = (self.folder / f"{key}{end}" for end in (".json", ".npz", ".started"))
        if row is not None:
            if arrays:
                with replacing(packed) as (temporary,), temporary.open("wb") as file:
                    np.savez_compressed(file, allow_pickle=False, **arrays)
            with replacing(text) as (temporary,):
                # With NaN and infinity as they are: a row that is read again is the row that was measured.
                temporary.write_text(json.dumps(asdict(row), allow_nan=True), encoding="utf-8")
        started.unlink(missing_ok=True)


_ENDED = "the process ended in this part: a crash, or no memory left (--retry tries again)"


def clean(name: str) -> str:
    """A name that can be written: what is no text in a file's name is replaced."""
    return name.encode("utf-8", "replace").decode("utf-8")


def digest(*things: Any) -> str:
    digest = hashlib.sha256()
    for thing in things:
        if isinstance(thing, Tensor):
            t = thing.detach().cpu().contiguous()
            digest.update(f"{t.dtype} {tuple(t.shape)}".encode())
            digest.update(real_view(t).numpy().tobytes())
        else:
            digest.update(json.dumps(thing, sort_keys=True, default=str).encode())
    return digest.hexdigest()
