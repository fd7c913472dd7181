"""Signed measurements from the readings of a detector, whose patterns of mirrors are 0 and 1."""

from __future__ import annotations

import math
from typing import Literal, get_args

from torch import Tensor

from firenet.errors import BadInput

# Signed: readings of patterns of -1 and 1, already subtracted. Binary: of patterns of 0 and 1 alone. The others are
# complementary pairs: the pattern with ones where the signed one is 1, and the pattern with ones where it is -1.
Readings = Literal["signed", "binary", "complementary", "interleaved", "halves"]
READINGS: tuple[Readings, ...] = get_args(Readings)

# The sums of the true pairs are equal up to noise. Their logarithmic spread over that of other pairs is off by about
# 1 / sqrt m for noise alone; below five times this, and below a tenth, nothing is found.
_CLEARLY, _LEAST = 5.0, 0.1
_SAY = "Say readings='interleaved' (+, -, +, -, ...) or 'halves' (all +, then all -)"


def difference(readings: Tensor, layout: Readings = "complementary") -> tuple[Tensor, list[str]]:
    """Subtracts complementary pairs: :math:`p_k^+-p_k^-`, where :math:`p^\\pm=\\tfrac12(1\\pm H_k)`, is the
    measurement of the pattern :math:`H_k` of -1 and 1.

    The two readings of a pair add up to the sum of all pixels. So if the layout is not said, it is the one in which
    these sums vary less, if that is clear.

    Args:
        readings: Shape (2m,), float64.
        layout: ``interleaved`` (+, -, +, -, ...), ``halves`` (all +, then all -), or ``complementary``, which finds it.

    Returns:
        The differences, shape (m,), and sentences about what was found.

    Raises:
        BadInput: For an odd number of readings, another layout, or one that is not clear.
    """
    if readings.ndim != 1 or len(readings) % 2 or not len(readings):
        got = f"readings of shape {tuple(readings.shape)}"
        raise BadInput("Complementary pairs: an even number of readings", got, "Check for readings that are missing")
    if layout not in ("complementary", "interleaved", "halves"):
        raise BadInput("A layout: complementary, interleaved or halves", repr(layout), _SAY)
    pairs = {"interleaved": readings.view(-1, 2).mT, "halves": readings.view(2, -1)}
    notes: list[str] = []
    if layout == "complementary":
        layout, sentence = _layout(pairs)
        notes.append(sentence)
    plus, minus = pairs[layout]
    return plus - minus, notes


def _layout(pairs: dict[str, Tensor]) -> tuple[Literal["interleaved", "halves"], str]:
    """Returns the layout in which the sums of the pairs vary less, and a sentence about how sure that is."""
    m = pairs["halves"].shape[1]
    if m == 1:  # the two layouts are the same
        return "halves", "There is one pair"
    spread = {name: float((p / max(float(p.abs().max()), 1e-300)).sum(0).std()) for name, p in pairs.items()}
    inter, halves = spread["interleaved"], spread["halves"]
    low, high = min(inter, halves), max(inter, halves)
    if not high > low * math.exp(max(_CLEARLY / math.sqrt(m), _LEAST)):
        got = f"sums of pairs that vary by {inter:.3g} (interleaved) and {halves:.3g} (halves) of the largest reading"
        raise BadInput("Readings whose pairs can be found", got, _SAY)
    times = f"{high / low:.3g} times less" if low else "not at all"
    found: Literal["interleaved", "halves"] = "interleaved" if inter < halves else "halves"
    layout = "one after the other" if found == "interleaved" else "in two halves"
    other = "in two halves" if found == "interleaved" else "one after the other"
    return found, f"The pairs stand {layout}: their sums vary {times}" + (f" than those {other}" if low else "")


def signed_of_binary(readings: Tensor, numbers: Tensor) -> tuple[Tensor, list[str]]:
    """Returns the measurements of patterns of -1 and 1 from those of patterns of 0 and 1 alone.

    With :math:`b_k=\\tfrac12(1+H_k)` the measurements are :math:`H_kx=2\\,b_kx-\\sum_ix_i`, and the sum of all
    pixels is the reading of pattern 0, all of whose entries are 1 in every order. If it was read several times, the
    sum is the mean.

    Args:
        readings: Shape (m,), float64.
        numbers: The numbers of the patterns, counted from 0, shape (m,).

    Raises:
        BadInput: If pattern 0 is not among the numbers, or many readings are negative.
    """
    whole = numbers == 0
    if not bool(whole.any()):
        needed = "Pattern 0, all ones, among patterns of 0 and 1: H x = 2 b x - sum(x), and it reads sum(x)"
        got = "a list of numbers without it"
        do = "Append the sum of all pixels and the number 0, or say counted_from=1 if pattern 1 is all ones"
        raise BadInput(needed, got, do)
    if int((readings < 0).sum()) > len(readings) / 4:
        got = f"{int((readings < 0).sum())} negative ones of {len(readings)}"
        raise BadInput("Readings of patterns of 0 and 1, which are sums of light", got, "Say readings='signed'")
    total = readings[whole].mean()
    note = (
        f"The sum of all pixels, {float(total):.6g}, is the mean of {int(whole.sum())} reading(s) of pattern 0; its "
        "error is in every measurement, and makes the first pixel of the image too bright or too dark"
    )
    return 2 * readings - total, [note]


def looks_binary(values: Tensor, numbers: Tensor) -> bool:
    """Returns whether values that should be signed look like readings of patterns of 0 and 1: none is negative, and the
    middle one is between 0.3 and 0.7 of that of pattern 0."""
    whole, others = values[numbers == 0], values[numbers != 0]
    if not len(whole) or len(others) < 8 or bool((others < 0).any()):
        return False
    return bool(0.3 < others.median() / whole.mean() < 0.7)
