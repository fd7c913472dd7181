"""Makes transforms from their names, as the command line and :func:`firenet.reconstruct` take them."""

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

# One level of undecimated Haar and three of sym4: fourteen bands, more accurate than sym4 alone on all images tried.
# A volume would have 30 bands, and 5 dual variables of 30 volumes are too much memory for a default.
DEFAULT_SPARSIFY, DEFAULT_SPARSIFY_VOLUME = "undecimated:haar:1+sym4:3", "orthonormal:db4"
# The factor of total variation beside wavelets.
TV_SHARE = 0.25


def transform(spec: str | None, shape: Sequence[int]) -> AnalysisOperator:
    """Returns the sparsifying transform that a text names.

    The names are ``undecimated:sym4`` and ``orthonormal:db4``, or with a number of levels, ``undecimated:sym4:3``;
    ``tv`` for total variation, or with a boundary, ``tv:neumann`` (default periodic); and unions of undecimated
    wavelets and total variation, ``undecimated:haar:1+sym4:2`` and ``undecimated:sym4:3+tv``, in which each of k
    wavelets has the factor :math:`k^{-1/2}` and total variation the factor 1/4. The name of a wavelet
    alone means the orthonormal transform. None means ``undecimated:haar:1+sym4:3`` for images and ``orthonormal:db4``
    for volumes, where undecimated wavelets would take some 220 times the memory of the volume
    (``firenet recon --dry-run`` says how much a run takes).

    Raises:
        BadInput: For another name, an unknown wavelet or too many levels. The default takes fewer levels for a small
            image.
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
    if (
        kind == "undecimated"
        and parts != [["tv"]] * len(parts)
        and all(part == ["tv"] or _is_wavelet(part) for part in parts)
    ):
        made = [
            Gradient(shape) if part == ["tv"] else UndecimatedWavelet(shape, *_wavelet(part, most)) for part in parts
        ]
        return made[0] if len(made) == 1 else Union(made, _factors(made))
    needed = "A transform: undecimated:WAVELET or orthonormal:WAVELET, or with a number of levels WAVELET:LEVELS; tv; "
    do = "For example undecimated:haar:1+sym4:2, orthonormal:db4 or undecimated:sym4+tv"
    raise BadInput(f"{needed}undecimated wavelets and tv joined by +", repr(spec), do)


def _factors(parts: Sequence[object]) -> tuple[float, ...]:
    """Returns the factors of a named union: the squares of the wavelets' sum to one, so that lambda keeps its meaning;
    total variation is added."""
    wavelets = sum(not isinstance(part, Gradient) for part in parts)
    return tuple(TV_SHARE if isinstance(part, Gradient) else wavelets**-0.5 for part in parts)


def _is_wavelet(part: list[str]) -> bool:
    return part[0] not in ("", "tv") and (len(part) == 1 or (len(part) == 2 and part[1].isdecimal()))


def _wavelet(part: list[str], most: int | None) -> tuple[str, int | None]:
    """Returns the name and the number of levels, at most ``most``."""
    if len(part) == 1:
        return part[0], None
    return part[0], int(part[1]) if most is None else min(int(part[1]), most)


def describe(frame: AnalysisOperator) -> str:
    """Returns a description of a transform; if :func:`transform` made it, the part before the comma is a name that
    gives it again."""
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
        flat = {type(p) for p in parts} <= {UndecimatedWavelet, Gradient} and set(words) != {"tv"}
        if not flat or frame.factors != _factors(parts):
            factors = "+".join(f"{f:.4g}*({w})" for f, w in zip(frame.factors, words, strict=True))
            return f"union {factors}, {kind}"
        return f"undecimated:{'+'.join(words)}, undecimated wavelets, {kind}"
    return type(frame).__name__
