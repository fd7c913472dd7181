"""Images side by side on the processor's cores, with one thread for each.

The transforms of one image are too small for many threads to share. An image that is computed side by side with others
is bit for bit the one that a single core computes, whatever the number of cores.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from threading import Event, Lock
from typing import TypeVar

import torch

from firenet.numerics import full_precision

T = TypeVar("T")
R = TypeVar("R")
Tell = Callable[..., None]  # called with the number of layers, the largest one, and the gap


class _Stopped(Exception):
    """Ends the work on the other images after an error or an interrupt."""


def side_by_side(
    work: Callable[[T, Tell | None], R], items: list[T], workers: int, progress: Callable[[int], Tell | None]
) -> list[R]:
    """Returns the results of a function for each item, in their order.

    The first error, or an interrupt of the caller, ends the work on every other item when that item next reports its
    progress.

    Args:
        work: Takes an item and its progress function.
        items: The items.
        workers: The number of items side by side; 1 does one after the other, with all threads of torch.
        progress: Returns the progress function of an item, from its number. With several workers, only the function of
            the first item that is not done yet is called.
    """
    if workers <= 1:
        return [work(item, progress(k)) for k, item in enumerate(items)]
    threads, stop, lock, done = torch.get_num_threads(), Event(), Lock(), set[int]()

    def one(k: int) -> R:
        torch.set_num_threads(1)  # of this thread
        given = progress(k)

        def tell(layers: int, most: int, gap: float | None = None) -> None:
            if stop.is_set():
                raise _Stopped
            with lock:
                if given is not None and min(set(range(len(items))) - done) == k:
                    given(layers, most, gap)

        if stop.is_set():
            raise _Stopped
        result = work(items[k], tell)
        with lock:
            done.add(k)
        return result

    # Settings of precision belong to the process, so no thread may change them.
    with full_precision(), ThreadPoolExecutor(workers) as pool:
        tasks = [pool.submit(one, k) for k in range(len(items))]
        try:
            failed = [t for t in wait(tasks, return_when=FIRST_EXCEPTION).done if t.exception() is not None]
            stop.set()
            for task in failed:
                error = task.exception()
                if error is not None and not isinstance(error, _Stopped):
                    raise error
        finally:
            stop.set()
            for task in tasks:
                task.cancel()
            torch.set_num_threads(threads)  # what threads that begin later find
    return [task.result() for task in tasks]
