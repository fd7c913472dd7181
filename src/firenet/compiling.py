"""How functions are compiled: numba's options, the cache on disk, and the notice that compiling takes a while.

Indices are unsigned where loops should become vector instructions: the compiler would test the sign of signed ones. The
flags permit the compiler to reorder sums and to contract products, but not to assume that numbers are finite: NaN and
infinity spread as in torch.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from firenet.optional import optional

numba: Any = optional("numba", "fast", "The compiled engine")
_events: Any = optional("numba.core.event", "fast", "The compiled engine")

_OPTIONS = {"nogil": True, "error_model": "numpy", "fastmath": {"reassoc", "contract", "nsz", "arcp", "afn"}}
# A function that only compiled functions call.
inner: Any = numba.njit(no_cpython_wrapper=True, no_cfunc_wrapper=True, **_OPTIONS)


class _Notice(_events.Listener):
    """Logs once that a function of firenet is compiled, and not loaded from the cache."""

    said = False

    def on_start(self, event: Any) -> None:
        if not self.said and event.data["dispatcher"].py_func.__module__.startswith("firenet."):
            self.said = True
            logging.getLogger(__name__).info(
                "compiling the functions of the layers: some ten seconds, once on this machine"
            )

    def on_end(self, event: Any) -> None:
        pass


_events.register("numba:compile", _Notice())


def stored(function: Callable[..., None]) -> Callable[..., None]:
    """Compiles a function at its first call, or loads it from the cache of an earlier process.

    If the cache cannot be read or written, the function is compiled without it.
    """
    plain = numba.njit(**_OPTIONS)(function)
    try:
        cached = numba.njit(cache=True, **_OPTIONS)(function)
    except RuntimeError:  # there is no folder for a cache
        return plain

    def call(*arguments: Any) -> None:
        try:
            cached(*arguments)
        except Exception:  # a damaged file of the cache can raise anything; the function itself raises nothing
            plain(*arguments)

    return call
