"""Transforms named by a word, as the command line and :func:`firenet.reconstruct` take them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from firenet.errors import BadInput
from firenet.transforms.analysis_operator import AnalysisOperator
from firenet.transforms.filters import WAVELETS
from firenet.transforms.gradient import Gradient
from firenet.transforms.undecimated import UndecimatedWavelet
from firenet.transforms.union import Union
from firenet.transforms.wavelet import Wavelet

# Undecimated Haar of one level beside three of sym4: fourteen bands, more accurate than sym4 alone on all images tried.
# A volume has 30 bands, and 5 duals of 30 volumes are too much to take without being asked.
DEFAULT_SPARSIFY, DEFAULT_SPARSIFY_VOLUME = "undecimated:haar:1+sym4:3", "orthonormal:db4"
# How much total variation is added to wavelets.
TV_SHARE = 0.25


def transform(spec: str | None, shape: Sequence[int]) -> AnalysisOperator:
    """The sparsifying transform that a word stands for.

    ``undecimated:sym4`` or ``orthonormal:db4``, with a number of levels ``undecimated:sym4:3``; ``tv``, total
    variation, with a boundary ``tv:neumann`` (default periodic); a sum of undecimated wavelets, and of them and tv,
    ``undecimated:haar:1+sym4:2`` and ``undecimated:sym4:3+tv``. A wavelet alone is orthonormal. None is
    ``undecimated:haar:1+sym4:3`` for images and ``orthonormal:db4`` for volumes, where undecimated takes some 220 times
    the memory of the volume (``--dry-run``).

    Raises:
        BadInput: For another word, an unknown wavelet or too many levels; the default takes fewer for a small image.
    """
    most = int(math.log2(max(min(shape), 1))) if spec is None else None
    if spec is None:
        spec = DEFAULT_SPARSIFY_VOLUME if len(shape) == 3 else DEFAULT_SPARSIFY
    shape = tuple(shape)
    kind, _, rest = f"orthonormal:{spec}".partition(":") if spec in WAVELETS else spec.partition(":")
    parts = [part.split(":") for part in rest.split("+")]
    if kind == "tv" and rest in ("", "periodic", "neumann"):
        return Gradient(shape, "neumann" if rest == "neumann" else "periodic")
    if kind == "orthonormal" and len(parts) == 1 and _is_wavelet(parts[0]):
        return Wavelet(shape, *_wavelet(parts[0], None))
    wavelets = sum(part != ["tv"] for part in parts)
    if kind == "undecimated" and wavelets and all(part == ["tv"] or _is_wavelet(part) for part in parts):
        made: list[AnalysisOperator] = []
        for part in parts:
            if part == ["tv"]:
                made.append(Gradient(shape))
            else:
                made.append(UndecimatedWavelet(shape, *_wavelet(part, most)))
        if len(made) == 1:
            return made[0]
        # The wavelets share one unit, so that lambda keeps its meaning; total variation comes on top.
        return Union(made, [TV_SHARE if part == ["tv"] else wavelets**-0.5 for part in parts])
    needed = (
        "A transform: undecimated:WAVELET or orthonormal:WAVELET, with a number of levels behind if you like; tv; "
        "undecimated ones and tv joined by +"
    )
    raise BadInput(needed, repr(spec), "For example undecimated:haar:1+sym4:2, orthonormal:db4 or undecimated:sym4+tv")


def _is_wavelet(part: list[str]) -> bool:
    return part[0] not in ("", "tv") and (len(part) == 1 or (len(part) == 2 and part[1].isdecimal()))


def _wavelet(part: list[str], most: int | None) -> tuple[str, int | None]:
    """Name and number of levels."""
    if len(part) == 1:
        return part[0], None
    return part[0], int(part[1]) if most is None else min(int(part[1]), most)


def describe(frame: AnalysisOperator) -> str:
    """A transform in words; :func:`transform` understands what stands before the comma."""
    if isinstance(frame, Wavelet):
        kind = "orthonormal" if frame.is_orthonormal else "zero-padded, W*W = I"
        return f"orthonormal:{frame.wavelet}:{frame.depth}, wavelets, {kind}"
    if isinstance(frame, UndecimatedWavelet):
        return f"undecimated:{frame.wavelet}:{frame.depth}, undecimated wavelets, a tight frame"
    if isinstance(frame, Gradient):
        return f"tv:{frame.boundary}, isotropic total variation"
    if isinstance(frame, Union):
        parts = [p for p in frame.parts if isinstance(p, AnalysisOperator)]
        words = ["tv" if isinstance(p, Gradient) else describe(p).partition(",")[0].partition(":")[2] for p in parts]
        kind = "a tight frame" if frame.is_tight else "and total variation" if "tv" in words else "scaled"
        return f"undecimated:{'+'.join(words)}, undecimated wavelets, {kind}"
    return type(frame).__name__
