"""The choice between torch and compiled functions, and the threads that share the work of one function.

What a layer computes stands once in plain torch, for every device and with derivatives. Files named ``compiled`` repeat
the parts that take most of the time, for the CPU; of the derivatives they have that of the dual step of the analysis
form. They need numba (``firenet[fast]``).
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import lru_cache
from types import ModuleType
from typing import Any

import torch

from firenet.errors import BadInput, MissingExtra

# A thread has at least this many numbers.
_SHARE = 2**13


def compiled_module(name: str, size: int, worth: int) -> ModuleType | None:
    """Returns a module of compiled functions, or None if the work is left to torch.

    The environment variable ``FIRENET_ENGINE`` says which one: ``torch`` or ``compiled``. Without it the module is used
    if numba is installed and the work is large enough: for less, a solve of some hundred layers saves less time than
    loading numba takes, half a second to a second. Where compiled functions cannot be kept on disk, every process needs
    several seconds more, so 16 times as much work is needed.

    Args:
        name: The full name of the module.
        size: How many numbers a layer works on.
        worth: The least such number for which the module is loaded.

    Raises:
        BadInput: For another value of the variable.
        MissingExtra: If the variable asks for compiled functions, and numba is not installed.
    """
    asked = asked_for()
    if asked == "torch" or (asked is None and size < worth):
        return None
    try:
        module = importlib.import_module(name)
    except MissingExtra:
        if asked is not None:
            raise
        return None
    kept = not importlib.import_module("firenet.compiling").not_kept
    return module if kept or asked is not None or size >= 16 * worth else None


def asked_for() -> str | None:
    """Returns the engine that ``FIRENET_ENGINE`` asks for.

    Raises:
        BadInput: If it asks for anything but ``torch`` or ``compiled``.
    """
    asked = os.environ.get("FIRENET_ENGINE") or None
    if asked not in (None, "torch", "compiled"):
        do = "Leave it out to have one chosen by the size of the image"
        raise BadInput("The environment variable FIRENET_ENGINE: torch or compiled", repr(asked), do)
    return asked


def share(function: Callable[..., None], rows: int, width: int, *arguments: Any) -> None:
    """Calls ``function(*arguments, start, stop)`` for all rows, with as many threads as torch has.

    Args:
        function: A compiled function, which computes the rows from ``start`` to ``stop - 1``.
        rows: The number of rows.
        width: How many numbers a row has; threads are used only where each has many.
        *arguments: The first arguments of the function.
    """
    most = torch.get_num_threads()
    count = min(most, rows * width // _SHARE)
    if count <= 1:
        function(*arguments, 0, rows)
        return
    edges = [rows * k // count for k in range(count + 1)]
    jobs = [_threads(most).submit(function, *arguments, *edges[k : k + 2]) for k in range(1, count)]
    try:
        function(*arguments, *edges[:2])
    finally:  # no thread goes on writing after an interrupt
        wait(jobs)
    for job in jobs:
        job.result()


@lru_cache(maxsize=1)
def _threads(most: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(most - 1, "firenet-engine")


if hasattr(os, "register_at_fork"):  # the child of a fork has none of the threads
    os.register_at_fork(after_in_child=_threads.cache_clear)
