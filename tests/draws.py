"""Random tensors for tests, drawn by NumPy: torch's own streams are not the same on every processor."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

Seed = int | np.random.Generator


def normal(*shape: Any, dtype: torch.dtype = torch.float32, seed: Seed = 0) -> Tensor:
    """Standard normal numbers as torch.randn has them: complex ones have variance 1, half of it in each part.

    A seed that is a generator goes on where it is.
    """
    rng, size = np.random.default_rng(seed), _size(shape)
    x = rng.normal(size=size)
    if dtype.is_complex:
        x = (x + 1j * rng.normal(size=size)) / math.sqrt(2)
    return torch.from_numpy(np.asarray(x)).to(dtype)


def uniform(*shape: Any, dtype: torch.dtype = torch.float32, seed: Seed = 0) -> Tensor:
    """Uniform numbers in [0, 1), as torch.rand has them."""
    return torch.from_numpy(np.asarray(np.random.default_rng(seed).random(size=_size(shape)))).to(dtype)


def permutation(n: int, seed: Seed = 0) -> Tensor:
    """The numbers below n in random order."""
    return torch.from_numpy(np.random.default_rng(seed).permutation(n))


def _size(shape: tuple[Any, ...]) -> tuple[int, ...]:
    """Sides one by one, or all in one sequence."""
    return tuple(shape[0]) if len(shape) == 1 and not isinstance(shape[0], int) else shape
