"""The order of Walsh patterns, found from their measurements."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from firenet.errors import BadInput
from firenet.numerics import tensor_of
from firenet.transforms.walsh import ORDERS, Order, WalshHadamard, sequency_positions

# How often the measurements are shuffled.
_SHUFFLES = 6
# The smoothness of white noise is off by up to 3 / sqrt m in all orders, and that of textures of bricks misleads by up
# to 0.14; the best order is clear if it is better than the second by this many / sqrt m, and by the least.
_CLEARLY, _LEAST = 5.0, 0.05
# Images such as stripes, nearly all of whose energy (the share) is in fewer measurements than this, are smooth in
# several orders. Photographs of 32 x 32 pixels had 17 or more.
_FEW, _SHARE = 8, 0.9
_SAY = "Say the order, and whether it is that of the flattened image"


@dataclass(frozen=True)
class OrderFound:
    """The order of patterns that the measurements show.

    Attributes:
        order: The order.
        flattened: Whether it is that of the flattened image.
        smoothness: The smoothness of the image in each order, by its description, see :func:`find_order`.
        evidence: A sentence with these numbers.
    """

    order: Order
    flattened: bool
    smoothness: dict[str, float]
    evidence: str


@torch.no_grad()
def find_order(
    values: Tensor | ArrayLike,
    index: Tensor | ArrayLike,
    shape: Sequence[int],
    *,
    flattened: bool | None = None,
    seed: int = 0,
) -> OrderFound:
    """Finds the order of the patterns: the one in which the measurements belong to the smoothest image.

    In each order the image :math:`x=H^Ty`, with zeros where nothing was measured, has a total variation (the sum of
    the absolute differences of neighbours), and so have images of the same measurements in random orders. The
    smoothness is the logarithm of the mean of the latter over the former: a wrong order of a photograph scrambles it,
    and for white noise all orders are alike. Pattern 0, which is the same in every order, is left out. Where the energy
    lies cannot tell sequency from dyadic order, whose bands of powers of two are the same.

    Images that differ by an exchange of their axes are equally smooth: so for equal sides the flattened dyadic order is
    not told from the separable one, and neither is an image that was flattened column by column.

    Args:
        values: Measurements with patterns of -1 and 1, shape (m,).
        index: The numbers of their patterns, counted from 0, shape (m,).
        shape: The sides of the image, powers of two.
        flattened: Whether the order is that of the flattened image; None finds it.
        seed: The seed of the random orders.

    Raises:
        BadInput: If no order is clearly the best; the error has the numbers. Also if 90 % of the energy is in fewer
            than 8 measurements.
    """
    y, numbers = tensor_of(values, "measurements"), tensor_of(index, "the numbers of the patterns")
    sides, size = tuple(shape), math.prod(shape)
    if y.is_complex() or y.ndim != 1 or y.shape != numbers.shape or not bool(torch.isfinite(y).all()):
        got = f"{y.dtype} of shape {tuple(y.shape)}, and {tuple(numbers.shape)} numbers"
        raise BadInput("Finite real measurements of shape (m,) and their m numbers", got, "Check both")
    if numbers.dtype.is_floating_point or not bool(((numbers >= 0) & (numbers < size)).all()):
        raise BadInput(f"Integer numbers of patterns from 0 to {size - 1}", f"{numbers.dtype}, or others", "Check them")
    keep = numbers.cpu() != 0
    y, numbers = y.cpu().double()[keep], numbers.cpu().long()[keep]
    largest = float(y.abs().max()) if len(y) else 0.0
    if not largest:
        raise BadInput("Measurements of other patterns than 0 to find the order", "none, or zeros", _SAY)
    energy = (y / largest).square().sort(descending=True).values.cumsum(0)
    carriers = 1 + int((energy < _SHARE * energy[-1]).sum())
    if carriers < _FEW:
        got = f"{carriers} with {_SHARE:.0%} of the energy, as those of stripes, which are smooth in several orders"
        raise BadInput(f"{_FEW} or more measurements that show the order of their patterns", got, _SAY)
    random = np.random.default_rng(seed)
    orders = [np.arange(len(y)), *(random.permutation(len(y)) for _ in range(_SHUFFLES))]
    trials = torch.stack([y[torch.from_numpy(o)] for o in orders]) / largest
    transform = WalshHadamard(sides)
    found = {
        candidate: _smoothness(
            trials, sequency_positions(sides, candidate[0], flattened=candidate[1])[numbers], transform
        )
        for candidate in _candidates(sides, flattened)
    }
    return _judged(found, sides, max(_CLEARLY / math.sqrt(len(y)), _LEAST))


def _candidates(shape: tuple[int, ...], flattened: bool | None) -> list[tuple[Order, bool]]:
    """Returns the orders to try, each with whether it is that of the flattened image; equal ones only once."""
    sides = [n for n in shape if n > 1]
    found: list[tuple[Order, bool]] = []
    for order in ORDERS:
        alike = order == "natural" or len(sides) < 2 or (order == "dyadic" and sides == sides[::-1])
        found.extend((order, flat) for flat in ([bool(flattened)] if flattened is not None or alike else [False, True]))
    return found


def _smoothness(trials: Tensor, places: Tensor, transform: WalshHadamard) -> float:
    """Returns the logarithm of the mean total variation of all trials but the first over that of the first."""
    shape = transform.in_shape
    variation = []
    for values in trials:
        image = transform(torch.zeros(math.prod(shape), dtype=values.dtype).index_add(0, places, values).view(shape))
        variation.append(float(sum(image.diff(dim=axis).abs().sum() for axis in range(len(shape)))))
    return math.log(sum(variation[1:]) / (len(variation) - 1) / variation[0]) if variation[0] and variation[1] else 0.0


def _judged(found: dict[tuple[Order, bool], float], shape: tuple[int, ...], needed: float) -> OrderFound:
    """Returns the smoothest order if it is the best by the needed difference."""
    names = {c: _name(c, shape) for c in found}
    ranked = sorted(found, key=lambda c: -found[c])
    smoothness = {names[c]: found[c] for c in ranked}
    listed = ", ".join(f"{name} {number:.3f}" for name, number in smoothness.items())
    best = found[ranked[0]]
    if best < needed or best - found[ranked[1]] < needed:
        got = f"a smoothness of {listed}, and differences below {needed:.3f} are not clear"
        raise BadInput("Measurements that show the order of their patterns", got, _SAY)
    order, flat = ranked[0]
    sentence = f"The order of the patterns is {names[ranked[0]]}, in which the image is smoothest: {listed}"
    if len([n for n in shape if n > 1]) > 1 and shape == shape[::-1]:
        sentence += "; an image with its axes exchanged is as smooth, so check by eye that it is not mirrored"
    return OrderFound(order, flat, smoothness, sentence)


def _name(candidate: tuple[Order, bool], shape: tuple[int, ...]) -> str:
    """Returns a description of an order."""
    order, flat = candidate
    if order == "natural" or len([n for n in shape if n > 1]) < 2:
        return order
    return f"{order} ({'flattened' if flat else 'along each axis'})"
