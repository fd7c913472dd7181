"""The options of numba, its cache on disk, and the notice that compiling takes a while.

Indices are unsigned where loops should become vector instructions: the compiler would test the sign of signed ones. The
flags permit the compiler to reorder sums, to contract products and to compute reciprocal roots by an approximation and
a step of Newton's iteration, but not to assume that numbers are finite: NaN spreads as in torch. That step makes NaN of
the root of infinity, hence :func:`factor_of`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from firenet.optional import optional

numba: Any = optional("numba", "fast", "The compiled engine")
_events: Any = optional("numba.core.event", "fast", "The compiled engine")

# The cache notices changes of the files of the functions, and not of these options.
_OPTIONS = {"nogil": True, "error_model": "numpy", "fastmath": {"reassoc", "contract", "nsz", "arcp", "afn"}}
# A function that only compiled functions call.
inner: Any = numba.njit(no_cpython_wrapper=True, no_cfunc_wrapper=True, **_OPTIONS)


@inner
def factor_of(square, one, most):
    """Returns :math:`1/\\max(|u|,1)` from the square of :math:`|u|`: NaN for NaN, and zero if the square is above
    ``most``, the largest number, which an overflow exceeds."""
    factor = one / np.sqrt(one if square <= one else square)
    return one - one if square > most else factor


class _Notice(_events.Listener):
    """Logs once that a function of firenet is compiled, and not loaded from the cache."""

    said = False

    def on_start(self, event: Any) -> None:
        if not self.said and event.data["dispatcher"].py_func.__module__.startswith("firenet."):
            self.said = True
            logging.getLogger(__name__).info(
                "compiling the functions of the layers: some ten seconds, once for each kind of data on this machine"
            )

    def on_end(self, event: Any) -> None:
        pass


_events.register("numba:compile", _Notice())


# Functions for which there is no place to keep them: every process compiles them anew.
not_kept: list[str] = []


def stored(function: Callable[..., None]) -> Callable[..., None]:
    """Compiles a function at its first call, or loads it from the cache of an earlier process.

    If the cache cannot be read or written, the function is compiled without it.
    """
    plain = numba.njit(**_OPTIONS)(function)
    try:
        cached = numba.njit(cache=True, **_OPTIONS)(function)
    except RuntimeError:  # there is no folder for a cache
        not_kept.append(function.__qualname__)
        return plain

    @wraps(function)  # for pickle, which stores the name
    def call(*arguments: Any) -> None:
        try:
            cached(*arguments)
        except Exception:  # a damaged file of the cache can raise anything; the function itself raises nothing
            plain(*arguments)

    return call
