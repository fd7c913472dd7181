"""Measurements of a single-pixel camera, placed on the grid of the Walsh transform in sequency order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from firenet.camera.numbers import pattern_numbers
from firenet.camera.order import find_order
from firenet.camera.pairs import READINGS, Readings, difference, looks_binary, signed_of_binary
from firenet.errors import BadInput
from firenet.numerics import tensor_of
from firenet.sensing.walsh import SubsampledWalsh
from firenet.transforms.walsh import Order, WalshHadamard, sequency_positions

# Pattern: readings with patterns of -1 and 1. Orthonormal: with these divided by sqrt N.
Normalisation = Literal["pattern", "orthonormal"]

_PAIRS: tuple[Readings, ...] = ("complementary", "interleaved", "halves")


@dataclass(frozen=True, eq=False)
class Placed:
    """Measurements and their operator, ready for :func:`firenet.reconstruct` and :func:`firenet.choose`.

    Attributes:
        y: Measurements on the grid of the Walsh transform in sequency order, shape of the image; zero where not
            measured.
        operator: The measurement operator.
        order: The order of the patterns' numbers.
        flattened: Whether it is that of the flattened image.
        readings: The kind of readings.
        notes: Sentences about what was found in the data, for information.
    """

    y: Tensor
    operator: SubsampledWalsh
    order: Order
    flattened: bool
    readings: Readings
    notes: tuple[str, ...]


@torch.no_grad()
def place(
    values: Tensor | ArrayLike,
    shape: Sequence[int],
    *,
    index: Tensor | ArrayLike | None = None,
    order: Order | None = "sequency",
    flattened: bool | None = None,
    readings: Readings | None = None,
    normalisation: Normalisation = "pattern",
    counted_from: int | None = None,
) -> Placed:
    """Returns the readings of a single-pixel camera as measurements :math:`y=PHx/\\sqrt N` and their operator.

    H has the N Walsh patterns of -1 and 1, and P takes those that were shown. Patterns may have any order of
    :func:`.sequency_positions`; the measurements are put in the library's order, sequency along each axis. Readings of
    the same pattern are averaged.

    Args:
        values: Real readings of one image. With an index m readings, or 2m of complementary pairs, also in the shapes
            (m, 2) of interleaved pairs and (2, m) of halves. Without an index those of all N patterns, shape (N,) or
            that of the image; of pairs (2N,), (N, 2), (2, N) or (2, \\*image). Then NaN stands for patterns not
            measured, or zero if there is no NaN (both readings of a pair).
        shape: The sides of the image, powers of two; the image is flattened row by row.
        index: The numbers of the patterns, see :func:`.pattern_numbers`; None is all in their order.
        order: ``sequency``, ``natural`` (Hadamard, Sylvester) or ``dyadic`` (Paley); None finds it
            (:func:`.find_order`).
        flattened: Whether the order is that of the rows of the N x N matrix over the flattened image, or, if false,
            that of each axis. None is false if an order is given, and else finds it.
        readings: ``signed`` (patterns of -1 and 1, already subtracted), ``binary`` (patterns of 0 and 1 alone,
            :func:`.signed_of_binary`), ``interleaved``, ``halves`` or ``complementary`` (pairs, :func:`.difference`).
            None is complementary if there are twice as many readings as numbers, and else signed.
        normalisation: ``pattern`` if the readings are sums over the pixels, or ``orthonormal`` if they are these
            divided by :math:`\\sqrt N`.
        counted_from: As in :func:`.pattern_numbers`.

    Returns:
        The measurements, in double precision unless the readings are in single or half precision.

    Raises:
        BadInput: For readings that are complex, not finite or not as many as needed; for numbers out of range; and
            where order or layout are to be found and are not clear.
    """
    sides = WalshHadamard(shape).in_shape  # refuses other sides
    if readings not in (None, *READINGS):
        raise BadInput(f"A kind of readings: {', '.join(READINGS)}", repr(readings), "Leave it out for signed ones")
    if normalisation not in get_args(Normalisation):
        do = "pattern if the readings are sums over the pixels"
        raise BadInput("A normalisation: pattern or orthonormal", repr(normalisation), do)
    given = tensor_of(values, "readings of a camera")
    if given.is_complex():
        do = "Pass the real part; samples of k-space go to reconstruct_kspace"
        raise BadInput("Real readings of a camera", f"{given.dtype} of shape {tuple(given.shape)}", do)
    single = given.dtype.is_floating_point and torch.finfo(given.dtype).bits < 64
    v, asked = given.detach().cpu().to(torch.float64), readings
    if index is None:
        v, numbers, kind = _whole(v, sides, readings)
        notes = (
            [] if len(numbers) == math.prod(sides) else [f"{len(numbers)} of {math.prod(sides)} patterns were shown"]
        )
    else:
        numbers, notes = pattern_numbers(index, sides, counted_from)
        v, numbers, kind = _listed(v, numbers, readings)
    if not bool(torch.isfinite(v).all()):
        raise BadInput("Finite readings of a camera", "NaN or infinity", "Leave them out, and their numbers")
    v, more = _signed(v, numbers, kind)
    v, numbers, repeated = _averaged(v, numbers)
    _refuse_doubtful(v, numbers, binary=asked is None and kind == "signed", first=counted_from is None)
    notes = [*notes, *more, *repeated]
    if order is None:
        found = find_order(v, numbers, sides, flattened=flattened)
        order, flattened = found.order, found.flattened
        notes.append(found.evidence)
    places = sequency_positions(sides, order, flattened=bool(flattened))[numbers]
    if normalisation == "pattern":
        v = v / math.sqrt(math.prod(sides))
    y = torch.zeros(math.prod(sides), dtype=torch.float64).index_copy(0, places, v)
    mask = torch.zeros(math.prod(sides), dtype=torch.bool).index_fill(0, places, True)
    y = y.to(torch.float32 if single else torch.float64)
    if not bool(torch.isfinite(y).all()):
        raise BadInput("Readings in the range of their dtype", "sums that overflow", "Scale them, or use float64")
    operator = SubsampledWalsh(mask.view(sides)).to(given.device)
    return Placed(y.view(sides).to(given.device), operator, order, bool(flattened), kind, tuple(notes))


def _whole(v: Tensor, sides: tuple[int, ...], readings: Readings | None) -> tuple[Tensor, Tensor, Readings]:
    """Returns the readings that were made of those of all patterns, the numbers of their patterns, and the kind."""
    size = math.prod(sides)
    kind: Readings = readings or ("complementary" if v.numel() == 2 * size else "signed")
    copies = 1 + (kind in _PAIRS)
    usual = {(copies * size,), (*(2,) * (copies - 1), *sides), (size, copies), (copies, size)}
    if tuple(v.shape) not in usual:
        needed = f"{copies * size} readings, of all patterns of an image {sides}, since there is no index"
        raise BadInput(needed, f"shape {tuple(v.shape)}", "Give the numbers of the patterns as index")
    kind = _by_shape(kind, "halves" if v.ndim > 1 and v.shape[0] == 2 and v[0].numel() == size else None)
    kind = _by_shape(kind, "interleaved" if v.shape == (size, 2) and size != 2 else None)
    missing = torch.isnan(v) if bool(torch.isnan(v).any()) else v == 0
    if kind == "complementary":
        if bool(torch.isnan(v).any()):
            got = "readings of pairs in a layout that is not said, with NaN"
            raise BadInput("The layout of pairs some of which were not measured", got, "Say interleaved or halves")
        return v.flatten(), torch.arange(size), kind
    if copies == 1:
        made = ~missing.flatten()
        v = v.flatten()[made]
    else:
        by_pair, axis = ((size, 2), 1) if kind == "interleaved" else ((2, size), 0)
        lost = missing.reshape(by_pair)
        made = ~(lost.any(axis) if bool(torch.isnan(v).any()) else lost.all(axis))
        v = v.reshape(by_pair).index_select(1 - axis, made.nonzero().squeeze(1)).flatten()
    if not bool(made.any()):
        raise BadInput("At least one reading", "NaN or zero for all patterns", "Check that the file was read correctly")
    return v, made.nonzero().squeeze(1), kind


def _listed(v: Tensor, numbers: Tensor, readings: Readings | None) -> tuple[Tensor, Tensor, Readings]:
    """Returns the readings, the numbers of their patterns (one for a pair), and the kind of readings."""
    m = len(numbers)
    kind: Readings = readings or ("complementary" if v.numel() == 2 * m else "signed")
    if kind not in _PAIRS or v.numel() == m:
        if v.numel() != m or v.numel() != max(v.shape, default=1):
            needed = f"{m} readings, one for each number of a pattern" + (", or two" if readings is None else "")
            raise BadInput(needed, f"shape {tuple(v.shape)}", "Check the list of numbers; one image at a time")
        layouts = _layouts(numbers)
        if kind not in _PAIRS and readings is None and layouts:
            got = "every number of a pattern twice, as in a list of complementary pairs"
            do = "Say readings='complementary', or 'signed' if every measurement was made twice"
            raise BadInput("The kind of readings", got, do)
        if kind in _PAIRS:
            if not layouts or (kind != "complementary" and kind not in layouts):
                got = f"{m} readings and as many numbers, which do not come in pairs of equal ones"
                raise BadInput("Two readings for each number of a pattern", got, "Give each number once, or in pairs")
            kind = layouts[0] if kind == "complementary" else kind
            numbers = numbers[::2] if kind == "interleaved" else numbers[: m // 2]
        return v.flatten(), numbers, kind
    if tuple(v.shape) not in {(2 * m,), (2 * m, 1), (1, 2 * m), (m, 2), (2, m)}:
        needed = f"{2 * m} readings, two for each number of a pattern, shape (m, 2), (2, m) or (2m,)"
        raise BadInput(needed, f"shape {tuple(v.shape)}", "Check the list of numbers; one image at a time")
    if m > 2 and v.shape in ((m, 2), (2, m)):
        kind = _by_shape(kind, "interleaved" if v.shape == (m, 2) else "halves")
    return v.flatten(), numbers, kind


def _layouts(numbers: Tensor) -> list[Readings]:
    """Returns the layouts of pairs in which the numbers of both members are equal, and no two pairs have the same."""
    m, found = len(numbers), list[Readings]()
    if m % 2 or len(numbers.unique()) != m // 2:
        return found
    if bool((numbers[::2] == numbers[1::2]).all()):
        found.append("interleaved")
    if bool((numbers[: m // 2] == numbers[m // 2 :]).all()):
        found.append("halves")
    return found


def _by_shape(kind: Readings, shown: Readings | None) -> Readings:
    """Returns the layout of pairs that the shape of the readings shows.

    Raises:
        BadInput: If another one is said.
    """
    if shown is None or kind not in _PAIRS or kind == shown:
        return kind
    if kind != "complementary":
        raise BadInput(
            f"Readings of pairs: {kind}", f"a shape of pairs: {shown}", "Flatten them, or leave readings out"
        )
    return shown


def _signed(v: Tensor, numbers: Tensor, kind: Readings) -> tuple[Tensor, list[str]]:
    """Returns measurements of patterns of -1 and 1."""
    if kind == "binary":
        return signed_of_binary(v, numbers)
    if kind not in _PAIRS:
        return v, []
    v, notes = difference(v, kind)
    whole = v[numbers == 0]
    if len(whole) and float(whole.mean()) < 0:
        if kind != "complementary":
            return v, [*notes, "Pattern 0, all ones, has a negative reading: the pairs may have the other order"]
        v, notes = -v, [*notes, "The second reading of each pair is that of the pattern itself: pattern 0 is brighter"]
    return v, notes


def _averaged(v: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor, list[str]]:
    """Returns the means of the measurements with equal numbers, and these numbers, each once."""
    once, where, count = numbers.unique(return_inverse=True, return_counts=True)
    if len(once) == len(numbers):
        return v, numbers, []
    mean = torch.zeros(len(once), dtype=v.dtype).index_add(0, where, v / count[where])
    note = f"{int((count > 1).sum())} patterns were measured more than once, up to {int(count.max())} times: averaged"
    return mean, once, [note]


def _refuse_doubtful(v: Tensor, numbers: Tensor, *, binary: bool, first: bool) -> None:
    """Refuses measurements that look like those of other patterns than the caller says or leaves to be found."""
    if binary and looks_binary(v, numbers):
        got = "no negative one, the middle one about half as large as that of pattern 0"
        do = "They look like readings of patterns of 0 and 1: say readings='binary', or 'signed' if they are not"
        raise BadInput("Signed readings, of patterns of -1 and 1", got, do)
    if not first or len(v) < 8 or bool((numbers == 0).any()) or not bool((numbers == 1).any()):
        return
    size = v.abs()
    if float(size[numbers == 1]) > 2 * float(size[numbers != 1].max()):
        got = "no pattern 0, and a measurement of pattern 1 more than twice as large as all others"
        do = "Say counted_from=1 if pattern 1 is the one of all ones, else counted_from=0"
        raise BadInput("Patterns counted from 0", got, do)
