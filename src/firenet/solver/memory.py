"""The memory of a solve: an estimate of its peak, and how freed memory is kept or returned."""

from __future__ import annotations

import ctypes
import math
import sys

import torch
from torch import Tensor

from firenet.operators.linear import LinearOperator
from firenet.problems.analysis import AnalysisProblem
from firenet.problems.pair import OperatorPair
from firenet.problems.synthesis import SynthesisProblem

# The number of last states that are combined at a check, one more than the number of changes. More gained nothing.
_RECENT = 6
# The states of points with more numbers than this are not kept.
_LARGE = 2**20


def recent_states(size: int) -> int:
    """Returns how many last states a searching schedule in synthesis form keeps for :meth:`.Iteration.combine`, for
    points of ``size`` numbers: six, and none for more than 2**20 numbers, since the states would then more than double
    the memory of the solve."""
    return _RECENT if size <= _LARGE else 0


def peak_bytes(problem: SynthesisProblem | AnalysisProblem, y: Tensor, *, again: bool = False) -> int:
    """Estimates the memory in bytes of a solve with these measurements: the sum of the tensors that exist at once.

    The losses of the allocator are not included. The iteration has six tensors as large as the coefficients (x, its
    value at the start of the run, the last point, A*q, whose memory the next point takes, and two sums), ten as large
    as the packed measurements, and the memory of the operator. At the end the proof of one image in double precision
    takes the place of the operator's memory, if it is larger: two tensors as large as the coefficients, five as large
    as the measurements, and the memory of the operator for one image. A searching schedule adds the states that it
    combines, their changes, and the combination (:func:`recent_states`).

    The analysis form adds five dual variables (the present one, its sum, the best so far and two temporary ones), the
    responses of the bands, and for the proof two images and three bands.

    Args:
        problem: The problem.
        y: Measurements (..., \\*out_shape).
        again: Whether this is a later round of reweighting, which also stores the dual point of the round before, in
            the user's and in packed coordinates, and the weights with their limits.
    """
    operator = problem.operator
    assert isinstance(operator, LinearOperator)
    batch = max(math.prod(y.shape[: y.ndim - len(operator.out_shape)]), 1)
    dtype = operator.state_dtype(y.dtype)
    size = torch.empty((), dtype=dtype).element_size()
    compact = operator.compact()
    inside, outside = math.prod(compact.in_shape), math.prod(compact.out_shape)
    twice = 1 if torch.finfo(dtype).bits == 64 else 2
    proof = twice * (2 * inside + 5 * outside + compact.scratch(1))
    plain = int(size * (batch * (6 * inside + 10 * outside) + max(compact.scratch(batch), proof)))
    if isinstance(problem, SynthesisProblem):
        kept = recent_states(inside)
        states = (kept + 1) * 2 * (inside + outside) + (kept - 1) * max(inside, outside) if kept else 0
        return plain + size * batch * states
    pair = OperatorPair(operator, problem.sparsify)
    dual = pair.measured + pair.bands * math.prod(pair.band_shape)
    plain += 2 * size * (2 * math.prod(pair.in_shape) + 3 * math.prod(pair.band_shape))
    return plain + int(size * ((9 if again else 5) * batch * dual + pair.scratch(batch)))


def available_bytes() -> int | None:
    """Returns the memory in bytes that programs can still get, from Linux's ``/proc/meminfo``; None on systems without
    it."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            found = [line.split() for line in file if line.startswith("MemAvailable:")]
        return 1024 * int(found[0][1])
    except (OSError, ValueError, IndexError):
        return None


def keep_freed_memory() -> None:
    """Makes the C library keep the memory of freed tensors instead of returning it to the system and fetching it again.

    glibc returns freed blocks above a limit that grows with the largest block freed so far, up to 32 MB. This function
    frees one block of that size, which is never written to, and so raises the limit permanently. Otherwise page faults
    take a third of a layer's time.
    """
    torch.empty(2**25 - 2**13, dtype=torch.uint8)


def return_freed_memory() -> None:
    """Returns freed memory to the system.

    In a long backward pass glibc would keep many times the memory in use, because the small parts of the graph lie
    between the large tensors that were freed.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
