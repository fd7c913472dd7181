"""The numbers of the patterns that a camera has shown."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from firenet.errors import BadInput
from firenet.numerics import tensor_of

_SAY = "Say counted_from=0 or counted_from=1"


def pattern_numbers(
    index: Tensor | ArrayLike, shape: Sequence[int], counted_from: int | None = None
) -> tuple[Tensor, list[str]]:
    """Returns the number of each pattern, counted from 0, and sentences about what was found.

    Args:
        index: One of: the numbers of the patterns, shape (m,), (m, 1) or (1, m), integers or floats that are whole; the
            numbers along each axis, shape (m, number of axes), for separable patterns, of which number
            :math:`(k_1,k_2)` is :math:`k_1n_2+k_2`; booleans of shape (N,) or of the image's, true for the patterns
            shown, in their order.
        shape: The sides of the image.
        counted_from: The number of the first pattern of an order, 0 or 1. None finds it: 1 if the largest number that
            0 .. N-1 does not have is listed and 0 is not, else 0.

    Raises:
        BadInput: For numbers that are not whole, negative or too large, and for other shapes.
    """
    numbers, sides = tensor_of(index, "the numbers of the patterns").cpu(), tuple(shape)
    size = math.prod(sides)
    if numbers.dtype == torch.bool:
        if numbers.numel() != size or not numbers.any():
            got = f"{numbers.numel()} booleans, {int(numbers.sum())} true"
            raise BadInput(f"Booleans for all {size} patterns, some true", got, "List the numbers of the patterns")
        return numbers.flatten().nonzero().squeeze(1), []
    if numbers.is_complex() or not bool(torch.isfinite(numbers).all()) or not bool((numbers == numbers.round()).all()):
        got = "complex numbers, NaN, infinity or fractions"
        raise BadInput("Whole numbers of the patterns", got, "List one number for each measurement")
    along = numbers.ndim == 2 and numbers.shape[1] == len(sides) > 1 and tuple(numbers.shape) != (1, numbers.numel())
    if numbers.numel() == 0 or not (along or numbers.numel() == max(numbers.shape, default=0)):
        needed = f"The numbers of the patterns, shape (m,) or (m, {len(sides)})"
        raise BadInput(needed, f"shape {tuple(numbers.shape)}", "List one number for each measurement")
    if not bool((numbers.abs() <= size).all()):
        got = f"numbers from {numbers.min().item():g} to {numbers.max().item():g}"
        raise BadInput(f"Numbers of patterns from 0 to {size - 1}", got, "Check the image's shape")
    limits = torch.tensor(sides if along else (size,))
    numbers = numbers.to(torch.int64).view(-1, len(limits))
    first, notes = _first(numbers, limits, counted_from)
    numbers = numbers - first
    if bool(((numbers < 0) | (numbers >= limits)).any()):
        got = f"numbers from {int(numbers.min()) + first} to {int(numbers.max()) + first}"
        needed = f"Numbers of patterns, counted from {first}, of {' x '.join(map(str, limits.tolist()))} patterns"
        raise BadInput(needed, got, "Check the image's shape and counted_from")
    place = torch.zeros(len(numbers), dtype=torch.int64)
    for axis, n in enumerate(limits.tolist()):
        place = place * n + numbers[:, axis]
    return place, notes


def _first(numbers: Tensor, limits: Tensor, counted_from: int | None) -> tuple[int, list[str]]:
    """Returns from which number the patterns are counted."""
    if counted_from is not None:
        if counted_from not in (0, 1):
            raise BadInput("Patterns counted from 0 or 1", f"{counted_from!r}", _SAY)
        return int(counted_from), []
    if not bool((numbers == limits).any()):
        return 0, []
    if bool((numbers == 0).any()):
        got = "both 0 and the number of all patterns"
        raise BadInput("Patterns counted from 0 or from 1", got, "Check the image's shape and the list of numbers")
    return 1, ["The patterns are counted from 1: the list has the number of all patterns, and not 0"]
