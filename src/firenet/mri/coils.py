"""Coil maps: given, or estimated from the data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from firenet.errors import BadInput
from firenet.mri.espirit import NARROWEST, WIDEST, espirit
from firenet.mri.evidence import calibration_width

# Receive arrays have up to 128 channels; a longer axis of "coils" is an axis of the image.
LARGEST_ARRAY = 128


@dataclass(frozen=True, eq=False)
class CoilMaps:
    """Coil sensitivities and how they were found.

    Attributes:
        maps: Complex, shape (coils, \\*image).
        method: A description of how they were found, for the record.
    """

    maps: Tensor
    method: str


def estimate_maps(kspace: Tensor, mask: Tensor) -> CoilMaps:
    r"""Estimates coil maps from the fully sampled centre of k-space by :func:`.espirit`.

    Args:
        kspace: Shape (coils, \*image), zero frequency in the corner, as :func:`to_corner` gives it.
        mask: Shape of the image, zero frequency in the corner.

    Raises:
        BadInput: If the calibration centre is narrower than 8 samples, or the coil axis looks like an image axis.
    """
    coils, width = len(kspace), calibration_width(mask)
    if coils > LARGEST_ARRAY:
        do = "If the coils are on another axis, name the axes (--axes)"
        raise BadInput(f"At most {LARGEST_ARRAY} coils", f"{coils}, image {_by(mask.shape)}", do)
    if width < NARROWEST:
        elsewhere = calibration_width(torch.fft.fftshift(mask))
        if elsewhere >= NARROWEST:
            do = f"A region {elsewhere} wide is fully sampled half an image away: if zero frequency lies in the corner,"
            do = f"{do} add --corner-dc (centred=False); if it lies in the middle, leave that out"
        elif min(mask.shape) < NARROWEST:
            do = "If the axes are others, name them (--axes), or pass maps from a calibration scan (--maps FILE)"
        else:
            do = "Pass maps from a calibration scan (--maps FILE); if the axes are others, name them (--axes)"
        got = f"{width}, with {coils} coils and an image of {_by(mask.shape)}"
        needed = f"A fully sampled centre of k-space at least {NARROWEST} wide to estimate coil maps"
        raise BadInput(needed, got, do)
    width = min(width, WIDEST)
    return CoilMaps(espirit(kspace, dims=mask.ndim, width=width), f"ESPIRiT, calibration width {width}")


def _by(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))
