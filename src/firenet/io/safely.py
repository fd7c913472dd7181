"""Safe reading and writing of files: checked before the work, written whole or not at all, by one run at a time.

A file is written under a temporary name in its own folder and renamed when it is whole, so there is never half a file,
whatever interrupts the writing; files that belong together are put in place together. This module imports nothing but
the errors, so that mathematics and file formats may both use it without knowing each other.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import IO

from firenet.errors import BadInput

AnyPath = str | os.PathLike[str]


def existing(path: AnyPath) -> Path:
    """Returns the path, if it is a file that may be read.

    Raises:
        BadInput: If there is no such file, or it may not be read.
    """
    path = Path(path)
    try:
        there = path.is_file()
        what = "a folder" if path.is_dir() else "which may not be read" if there else "which is no regular file"
        what = what if path.exists() else "which does not exist"
    except (OSError, ValueError) as error:  # the name is too long or has a null character, or a folder is closed
        there, what = False, str(getattr(error, "strerror", None) or error)
    if not there or not os.access(path, os.R_OK):
        raise BadInput("A file to read", f"{path}, {what}", "Check the path and the rights")
    return path


@contextmanager
def replacing(*paths: Path) -> Iterator[list[Path]]:
    """Yields a temporary name for each path and puts the files in place together, or leaves all as it was.

    Inside a block of `together`, the files are put in place at its end, with all others that were written in the block.

    Raises:
        BadInput: If they cannot be written.
    """
    # Short enough for every file system, and with the ending that writers look at.
    temporaries = [path.with_name(f".{secrets.token_hex(4)}{suffix(path)[:9]}") for path in paths]
    pairs = list(zip(temporaries, paths, strict=True))
    waiting = _waiting.get()
    try:
        yield temporaries
        if waiting is None:
            _place(pairs)
        else:
            waiting.extend(pairs)
            pairs = []
    except OSError as error:
        raise _unwritable(paths[0], error) from error
    finally:
        for temporary, _ in pairs:
            temporary.unlink(missing_ok=True)


def _unwritable(path: Path, error: OSError) -> BadInput:
    do = "Check the folder, its rights and the free space"
    return BadInput("A file that can be written", f"{path}: {error.strerror or error}", do)


def suffix(path: Path) -> str:
    """Returns the suffix in lower case; ``.nii.gz`` is one suffix."""
    return ".nii.gz" if path.name.lower().endswith(".nii.gz") else path.suffix.lower()


@contextmanager
def together() -> Iterator[None]:
    """Puts the files written in a ``with`` block, such as an image and its record, in place at its end: all or none.

    After a signal or an error the earlier files are still there, unchanged. The files are renamed right after one
    another, while the folder is locked against other runs that do the same: if two runs write to the same names at
    once, all files are from the same run.

    Raises:
        BadInput: If they cannot be put in place. Other errors inside the block are passed on as they are.
    """
    pairs: list[tuple[Path, Path]] = []
    token = _waiting.set(pairs)
    try:
        yield
        try:
            _place(pairs)
        except OSError as error:
            raise _unwritable(pairs[0][1], error) from error
    finally:
        _waiting.reset(token)
        for temporary, _ in pairs:
            temporary.unlink(missing_ok=True)


_waiting: ContextVar[list[tuple[Path, Path]] | None] = ContextVar("waiting", default=None)


def _place(pairs: Sequence[tuple[Path, Path]]) -> None:
    """Renames all, or leaves all as it was: a file that is replaced keeps a second name until the last is in place."""
    if len(pairs) == 1:
        os.replace(*pairs[0])
        return
    with _locked({path.parent for _, path in pairs}):
        backups = {path: path.with_name(f".{secrets.token_hex(4)}.old") for _, path in pairs if path.is_file()}
        try:
            for temporary, path in pairs:
                if path in backups:
                    _keep(path, backups[path])
                os.replace(temporary, path)
        except BaseException:  # KeyboardInterrupt too
            for _, path in pairs:
                with suppress(OSError):
                    if path not in backups:
                        path.unlink(missing_ok=True)
                    elif backups[path].exists():
                        os.replace(backups[path], path)
            raise
        finally:
            for backup in backups.values():
                backup.unlink(missing_ok=True)


def _keep(path: Path, backup: Path) -> None:
    try:
        os.link(path, backup)
    except OSError:  # a file system without links
        os.replace(path, backup)


@contextmanager
def _locked(folders: set[Path]) -> Iterator[None]:
    """Locks folders against other runs that put several files in place; does nothing where there are no locks."""
    with ExitStack() as stack:
        for folder in sorted(folders):
            with suppress(ImportError, OSError):
                import fcntl

                handle = os.open(folder, os.O_RDONLY)
                stack.callback(os.close, handle)
                fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def check_room(path: Path) -> None:
    """Checks before any work that a file can be made here.

    The name must be short enough, and the folder must exist and take a file. The folder's permissions alone do not say
    whether it takes one.

    Raises:
        BadInput: If no file can be made.
    """
    try:
        if not path.parent.is_dir() or path.is_dir():
            do = "Create the folder first, or name a file in another"
            raise BadInput("A file in an existing folder", str(path), do)
        with suppress(FileNotFoundError):
            os.lstat(path)  # raises where the name is too long
        with tempfile.NamedTemporaryFile(prefix=".", dir=path.parent):
            pass
    except (OSError, ValueError) as error:
        if isinstance(error, BadInput):
            raise
        got = f"{path}: {getattr(error, 'strerror', None) or error}"
        raise BadInput("A folder that can be written to, and a name that it takes", got, "Choose another") from None


# --- locks ------------------------------------------------------------------------------------------------------------


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds a lock file while something is written beside it, so that two runs do not mix.

    The system releases the lock when this process ends, in whatever way.

    Raises:
        BadInput: If another process holds it.
    """
    file = lock(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        file.close()


def lock(path: Path) -> IO[str]:
    """Takes the lock of a file, which is made if it is missing. The lock is held until the returned file is closed.

    Raises:
        BadInput: If another process holds it, or the file cannot be made.
    """
    try:
        file = path.open("a")
    except OSError as error:
        raise BadInput("A folder that can be written to", f"{path.parent}: {error}", "Choose another folder") from None
    try:
        import fcntl
    except ImportError:  # on Windows two runs are not kept apart
        return file
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The previous holder may have removed it meanwhile: then another process may hold a new file of this name.
        same = os.fstat(file.fileno()).st_nlink > 0
    except BlockingIOError:
        same = False
    except OSError:  # a file system without locks
        return file
    if not same:
        file.close()
        do = "Wait until it is done, or name another output"
        raise BadInput("An output that no other run is writing", f"{path}, held by a run at work", do)
    return file
