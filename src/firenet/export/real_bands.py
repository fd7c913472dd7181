"""The analysis operator of a network in real numbers: bands that are periodic convolutions, and their dual step."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from firenet.export.real_transforms import Dfts, Ffts
from firenet.problems.analysis import PairProblem
from firenet.transforms.convolutions import Convolutions


class Bands(nn.Module):
    """The bands of W in the coordinates of :class:`.OperatorPair`, with complex numbers as pairs on the last axis.

    A band is a product with its frequency response between two Fourier transforms; where the coordinates are those of
    the spectrum, one transform is left. For real images (Walsh samples) the imaginary parts are zero and left out.

    Args:
        problem: The problem in these coordinates; its analysis operator is one of :class:`.Convolutions`.
        transform: The Fourier transform of images.
        factor: The number that makes ``transform`` unitary.
        pairs: Whether images are complex.
    """

    def __init__(self, problem: PairProblem, transform: Ffts | Dfts, factor: float, *, pairs: bool) -> None:
        super().__init__()
        pair = problem.operator
        frame = cast(Convolutions, pair.sparsify)
        self.spectral, self.pairs, self._transform = pair.is_isometry, pairs, transform
        self.count = pair.bands
        responses = frame.responses(torch.complex128, torch.device("cpu")) * pair.band_scale
        scale = pair.scale
        scale = scale.cpu() if isinstance(scale, Tensor) else torch.tensor(scale, dtype=torch.float64)
        responses = responses * scale * factor if self.spectral else responses * factor**2
        for name, g in (("g", responses), ("conjugate", responses.conj())):
            # g and i g are the factors of the real and of the imaginary part.
            self.register_buffer(f"_{name}", torch.view_as_real(g.resolve_conj()).contiguous())
            self.register_buffer(f"_{name}_turned", torch.view_as_real((1j * g).resolve_conj()).contiguous())
        limit = torch.stack(torch.broadcast_tensors(*(limit.cpu() for limit in problem.every_limit())))
        limit = limit.reshape(len(limit), *(1,) * (len(frame.in_shape) + 1 - limit.ndim), *limit.shape[1:])
        self.register_buffer("_limit", limit.unsqueeze(-1).reciprocal() if pairs else limit)
        # Consecutive groups of one band are clipped together; the bands of another group have one magnitude.
        self._groups: list[tuple[slice, slice, bool]] = []
        for k, group in enumerate(pair.groups):
            joint = group.stop - group.start > 1
            if self._groups and not joint and not self._groups[-1][2]:
                bands, rows, _ = self._groups.pop()
                self._groups.append((slice(bands.start, group.stop), slice(rows.start, k + 1), False))
            else:
                self._groups.append((group, slice(k, k + 1), joint))

    def analyse(self, x: Tensor) -> Tensor:
        """Computes the bands of points (batch, \\*sides, 2): (batch, bands, \\*sides, 2)."""
        if not self.spectral:
            x = self._transform(self._paired(x))
        return self._unpaired(self._transform.adjoint(self._times(x.unsqueeze(1), "g")))

    def synthesise(self, p: Tensor) -> Tensor:
        """Applies the adjoint of :meth:`analyse`."""
        x = self._times(self._transform(self._paired(p)), "conjugate").sum(dim=1)
        return x if self.spectral else self._unpaired(self._transform.adjoint(x))

    def clip(self, p: Tensor) -> Tensor:
        """Projects every magnitude on numbers of at most :math:`\\lambda w`."""
        parts = []
        for bands, rows, joint in self._groups:
            part, limit = p[:, bands], cast(Tensor, self._limit)[rows]
            if self.pairs:
                u = part * limit  # which has the reciprocals
                square = (u * u).sum(dim=(1, -1) if joint else -1, keepdim=True)
                parts.append(part * square.clamp(min=1).rsqrt())
            elif joint:
                u = part / limit
                parts.append(part * (u * u).sum(dim=1, keepdim=True).clamp(min=1).rsqrt())
            else:
                parts.append(torch.minimum(torch.maximum(part, -limit), limit))
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    def _times(self, x: Tensor, name: str) -> Tensor:
        response, turned = cast(Tensor, getattr(self, f"_{name}")), cast(Tensor, getattr(self, f"_{name}_turned"))
        return x[..., :1] * response + x[..., 1:] * turned

    def _paired(self, x: Tensor) -> Tensor:
        return x if self.pairs else torch.stack([x, torch.zeros_like(x)], dim=-1)

    def _unpaired(self, x: Tensor) -> Tensor:
        return x if self.pairs else x[..., 0]
