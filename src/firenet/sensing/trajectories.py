"""Trajectories of non-Cartesian MRI: radial spokes and spirals, and the check of any trajectory."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from firenet.errors import BadInput
from firenet.numerics import doubled, tensor_of

# A frequency may be above 1/2 by this much, for rounding in single precision and in other units.
_ROUNDED = 1e-6
_UNIT = "cycles per pixel, from -1/2 to 1/2"


def radial(spokes: int, samples: int, *, golden: bool = True) -> Tensor:
    """Returns a radial trajectory: diameters of k-space, each read from one end to the other.

    Sample i is at :math:`(i-\\lfloor s/2\\rfloor)/s` cycles per pixel for s samples, so that one of them is at zero
    frequency.

    Args:
        spokes: The number of diameters.
        samples: The number of samples of each. For images of n x n pixels, 2n are usual (an oversampled readout).
        golden: The angle from one spoke to the next is 180 degrees over the golden ratio, 111.25 degrees (Winkelmann
            et al., IEEE Trans. Med. Imaging 26, 2007), instead of 180 degrees over the number of spokes.

    Returns:
        Shape (spokes, samples, 2), the last axis in the order (y, x), in cycles per pixel.

    Raises:
        BadInput: Without a spoke, or with fewer than two samples.
    """
    _need_counts(spokes, samples, "spokes")
    turn = math.pi * ((math.sqrt(5) - 1) / 2 if golden else 1 / spokes)
    radius = (torch.arange(samples, dtype=torch.float64) - samples // 2) / samples
    return _polar(radius, turn * torch.arange(spokes, dtype=torch.float64)[:, None])


def spiral(interleaves: int, samples: int, *, turns: float = 8.0) -> Tensor:
    """Returns a spiral trajectory: Archimedean spirals from zero frequency to 1/2 cycle per pixel.

    The spirals are rotations of each other by equal angles. Their arms are :math:`1/(2ti)` cycles per pixel apart for t
    turns and i interleaves; an image of n x n pixels is sampled fully where that is at most 1 / n.

    Args:
        interleaves: The number of spirals.
        samples: The number of samples of each, at equal distances in the angle.
        turns: The turns of each.

    Returns:
        Shape (interleaves, samples, 2), the last axis in the order (y, x), in cycles per pixel.

    Raises:
        BadInput: Without a spiral, with fewer than two samples, or for turns that are not finite.
    """
    _need_counts(interleaves, samples, "interleaves")
    if not math.isfinite(turns):
        raise BadInput("A finite number of turns", f"{turns}", "8 is the default")
    radius = torch.linspace(0, 0.5, samples, dtype=torch.float64)
    first = 2 * math.pi * torch.arange(interleaves, dtype=torch.float64)[:, None] / interleaves
    return _polar(radius, first + 4 * math.pi * turns * radius)


def _polar(radius: Tensor, angle: Tensor) -> Tensor:
    return torch.stack([radius * torch.sin(angle), radius * torch.cos(angle)], dim=-1)


def _need_counts(readouts: int, samples: int, name: str) -> None:
    if readouts < 1 or samples < 2:
        got, do = f"{readouts} {name} of {samples} samples", "Ask for more"
        raise BadInput(f"One or more {name} of two or more samples", got, do)


def as_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """Returns the sides of an image.

    Raises:
        BadInput: For other than one to three whole numbers of at least 2.
    """
    try:
        sides = tuple(shape)
    except TypeError:
        sides = ()
    if not 1 <= len(sides) <= 3 or not all(isinstance(n, int) and n >= 2 for n in sides):
        raise BadInput("The shape of an image, one to three sides of at least 2", f"{shape}", "For example (256, 256)")
    return sides


def as_trajectory(trajectory: Tensor | ArrayLike, shape: tuple[int, ...]) -> Tensor:
    """Returns a copy of a trajectory in double precision.

    Raises:
        BadInput: If it is no trajectory for images of this shape; the error recognises other units and other orders of
            the axes.
    """
    k, d = tensor_of(trajectory, "a trajectory"), len(shape)
    if k.is_complex():
        do = "Put the coordinates on a last axis: torch.stack([k.imag, k.real], dim=-1) for the order (y, x)"
        raise BadInput(f"A real trajectory of shape (*samples, {d}) in {_UNIT}", "complex numbers", do)
    if not k.is_floating_point():
        do = "Divide frequencies that are whole numbers of cycles per field of view by the sides of the image"
        raise BadInput(f"A trajectory of floating-point numbers in {_UNIT}", f"{k.dtype}", do)
    if k.ndim < 2 or k.shape[-1] != d or k.numel() == 0:
        needed = f"A trajectory of shape (*samples, {d}) for images of shape {shape}"
        raise BadInput(needed, f"shape {tuple(k.shape)}", _axes(k, d))
    k = doubled(k.detach()).clone()
    if not bool(torch.isfinite(k).all()):
        raise BadInput("A finite trajectory", "NaN or infinity", "Check where it comes from")
    largest = k.flatten(0, -2).abs().amax(dim=0).tolist()
    if max(largest) > 0.5 + _ROUNDED:
        raise BadInput(f"A trajectory in {_UNIT}", f"frequencies up to {max(largest):.6g}", _unit(k, largest, shape))
    if all(most * n < 0.5 for most, n in zip(largest, shape, strict=True)):
        got = f"frequencies up to {max(largest):.3g}" if max(largest) else "zeros everywhere"
        do = f"Check its unit: {_UNIT}"
        raise BadInput("A trajectory that leaves zero frequency by half a cycle per field of view or more", got, do)
    return k


def _axes(k: Tensor, d: int) -> str:
    """Returns what to do about the axes of an array that is not (\\*samples, d)."""
    if k.numel() == 0:
        return "Check that the trajectory was read correctly"
    if k.ndim == 1 and d == 1:
        return "Add the last axis: trajectory[:, None]"
    if k.ndim > 1 and k.shape[0] == d:
        return "Move the axis of the coordinates to the end: torch.movedim(trajectory, 0, -1)"
    return "Put the coordinates on the last axis, in the order of the axes of the image, for example (y, x)"


def _unit(k: Tensor, largest: list[float], shape: tuple[int, ...]) -> str:
    """Returns what to do about frequencies above 1/2, from their largest values on each axis."""
    most = max(largest)
    halves = [2 * a / n for a, n in zip(largest, shape, strict=True)]
    if 0.95 * math.pi < most <= math.pi * (1 + _ROUNDED) and not bool((k == k.round()).all()):
        return "These look like radians per pixel: divide by 2 pi"
    if 0.9 < max(halves) <= 1 + _ROUNDED:
        return "These look like cycles per field of view: divide each axis by the side n of the image"
    if bool((k >= 0).all()) and 0.9 < most <= 1 + _ROUNDED:
        return "These look like frequencies from 0 to 1: subtract 1 from those of 1/2 and more"
    other = "radians are divided by 2 pi, cycles per field of view by the side n"
    return f"Multiply frequencies in 1/mm by the size of a pixel in mm, those in 1/m by its size in m; {other}"
