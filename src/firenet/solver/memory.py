"""How much memory a solve takes."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from firenet.operators.linear import LinearOperator
from firenet.problems.analysis import AnalysisProblem
from firenet.problems.pair import OperatorPair
from firenet.problems.synthesis import SynthesisProblem


def peak_bytes(problem: SynthesisProblem | AnalysisProblem, y: Tensor, *, again: bool = False) -> int:
    """Returns how much memory a solve with these measurements takes beside them, an estimate: the sum of the tensors
    that are alive at once. The allocator's own losses are not in it.

    As large as the coefficients: x, its start, the last point, A*q (whose place the next takes), two sums; ten as large
    as the measurements that were made; what the operator needs for itself. Before it ends, instead of that the proof of
    one image in double precision: two as large as the coefficients, five as the measurements, and the operator's.

    In the analysis form the dual comes in: itself, its sum, the best so far and two in passing; and the responses of
    the bands; and of the proof two images more and three bands.

    Args:
        problem: The problem.
        y: Measurements (..., \\*out_shape).
        again: With reweighting there are also the dual of the round before, as it is and as the loop has it, and the
            weights with the limits made of them.
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
        return plain
    pair = OperatorPair(operator, problem.sparsify)
    dual = pair.measured + pair.bands * math.prod(pair.band_shape)
    plain += 2 * size * (2 * math.prod(pair.in_shape) + 3 * math.prod(pair.band_shape))
    return plain + int(size * ((9 if again else 5) * batch * dual + pair.scratch(batch)))
