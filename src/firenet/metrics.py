"""Measures of the difference between an image and a reference."""

from __future__ import annotations

import math

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from firenet.errors import BadInput
from firenet.numerics import tensor_of


def psnr(image: Tensor | ArrayLike, reference: Tensor | ArrayLike) -> float:
    """Computes the peak signal-to-noise ratio of magnitudes in dB; the peak is the maximum of the reference.

    Raises:
        BadInput: If the shapes differ, or the reference is empty or zero.
    """
    a = tensor_of(image, "an image").detach().abs().to("cpu", torch.float64)
    b = tensor_of(reference, "a reference").detach().abs().to("cpu", torch.float64)
    if a.shape != b.shape:
        needed = f"An image of the reference's shape {tuple(b.shape)}"
        raise BadInput(needed, f"{tuple(a.shape)}", "Crop or pad one of them")
    if not (b != 0).any():
        got = "zeros alone" if b.numel() else "an empty one"
        raise BadInput("A reference with a peak above 0", got, "Compare with an image that is not zero")
    error = (a - b).square().mean().item()
    if error in (0, math.inf):
        return math.inf if error == 0 else -math.inf
    # Not the logarithm of a quotient, in which the square of the peak could overflow or become zero.
    return 20 * math.log10(b.max().item()) - 10 * math.log10(error)
