"""The union of several analysis operators whose bands are convolutions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from firenet.errors import BadInput
from firenet.numerics import compiling
from firenet.operators.norm_bound import NormBound
from firenet.transforms.analysis_operator import AnalysisOperator
from firenet.transforms.convolutions import Convolutions


class Union(Convolutions):
    """The union :math:`Wx=(f_1W_1x,\\dots,f_kW_kx)` of operators; its penalty is the sum of their scaled penalties.

    The union of undecimated wavelets with :math:`\\sum f_i^2=1` is a tight frame. The union with a :class:`Gradient`
    sums two penalties, wavelets and total variation.

    Args:
        parts: Undecimated wavelets, periodic gradients or unions, all for images of one shape.
        factors: Positive numbers :math:`f_i`; None is :math:`k^{-1/2}` for each.

    >>> from firenet.transforms.undecimated import UndecimatedWavelet
    >>> W = Union([UndecimatedWavelet((8, 8), "haar", 1), UndecimatedWavelet((8, 8), "sym4", 2)])
    >>> W.out_shape, W.is_tight
    ((11, 8, 8), True)
    """

    def __init__(self, parts: Sequence[AnalysisOperator], factors: Sequence[float] | None = None) -> None:
        parts = list(parts)
        if not parts or not all(isinstance(p, Convolutions) and p.convolves for p in parts):
            got = ", ".join(type(p).__name__ for p in parts) or "nothing"
            do = "Use UndecimatedWavelet or a periodic Gradient, not decimated wavelets or the Neumann gradient"
            raise BadInput("Operators whose bands are periodic convolutions", got, do)
        shapes = {p.in_shape for p in parts}
        if len(shapes) != 1:
            raise BadInput("Operators for one image", f"shapes {sorted(shapes)}", "Use the same shape for all")
        factors = [len(parts) ** -0.5] * len(parts) if factors is None else [float(f) for f in factors]
        if len(factors) != len(parts) or not all(0 < f < math.inf for f in factors):
            raise BadInput(f"{len(parts)} positive factors", f"{factors}", "Give one factor for each part")
        if max(factors) > 1e100 * min(factors):
            do = "Use factors of similar size, whose squares neither under- nor overflow"
            raise BadInput("Factors with ratios of at most 1e100", f"{factors}", do)
        shape = shapes.pop()
        norm = math.hypot(*(f * p.norm_bound.value for f, p in zip(factors, parts, strict=True)))
        tight = all(p.is_tight for p in parts) and abs(sum(f * f for f in factors) - 1) < 1e-14
        why = "root of the sum of squares of the parts' norms"
        super().__init__(shape, (sum(p.out_shape[0] for p in parts), *shape), NormBound(norm, "proven", why))
        self.parts, self.factors = torch.nn.ModuleList(parts), tuple(factors)
        self.groups = tuple(g for p in parts for g in p.groups)
        self.is_tight = tight
        self.scale = 1.0 if tight else math.hypot(*(f * p.scale for f, p in zip(factors, parts, strict=True)))
        self.annihilates_constants = all(p.annihilates_constants for p in parts)
        self._cached: dict[tuple[torch.dtype, torch.device], Tensor] = {}

    def operators(self) -> list[Convolutions]:
        """Returns the parts."""
        return [p for p in self.parts if isinstance(p, Convolutions)]

    def levels(self) -> Tensor:
        """Returns the levels of the parts, numbered consecutively so that no two parts share a level; all
        approximations have level 0."""
        found, above = [], 0
        for part in self.operators():
            level = part.levels()
            found.append(torch.where(level > 0, level + above, 0))
            above += int(level.max())
        return torch.cat(found)

    def band_noise(self) -> Tensor:
        return torch.cat([f * p.band_noise() for f, p in zip(self.factors, self.operators(), strict=True)])

    def response(self, band: int, dtype: torch.dtype, device: torch.device) -> Tensor:
        for factor, part in zip(self.factors, self.operators(), strict=True):
            if band < part.out_shape[0]:
                return factor * part.response(band, dtype, device)
            band -= part.out_shape[0]
        raise IndexError(band)

    def responses(self, dtype: torch.dtype, device: torch.device) -> Tensor:
        return super().responses(dtype, device) if compiling() else self._kept_responses(dtype, device)

    @torch.inference_mode(False)
    def _kept_responses(self, dtype: torch.dtype, device: torch.device) -> Tensor:
        key = (dtype, device)
        if key not in self._cached:
            self._cached = {key: super().responses(dtype, device)}  # only one entry: they are large
        return self._cached[key]

    def band_norms(self) -> Tensor:
        return torch.cat([f * p.band_norms() for f, p in zip(self.factors, self.operators(), strict=True)])

    def response_roundings(self) -> Tensor:
        return torch.cat([f * p.response_roundings() for f, p in zip(self.factors, self.operators(), strict=True)])

    def gram(self, dtype: torch.dtype, device: torch.device) -> Tensor:
        parts = zip(self.factors, self.operators(), strict=True)
        return torch.stack([f * f * p.gram(dtype, device) for f, p in parts]).sum(dim=0)
