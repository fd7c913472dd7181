"""The discrete gradient, whose penalty is isotropic total variation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from firenet.errors import BadInput
from firenet.operators.norm_bound import NormBound
from firenet.transforms.analysis_operator import image_shape
from firenet.transforms.convolutions import Convolutions

Boundary = Literal["periodic", "neumann"]


class Gradient(Convolutions):
    """Finite differences :math:`(\\nabla x)_{a,i}=x_{i+e_a}-x_i` along every axis: :math:`\\|\\nabla x\\|_1` with the
    modulus over all axes together is the isotropic total variation.

    Coefficients have shape (axes, \\*shape), magnitudes (1, \\*shape).

    Norm: exact, from the eigenvalues :math:`4\\sin^2(\\pi k/n)`, Neumann :math:`4\\sin^2(\\pi k/2n)`, an axis.

    Args:
        shape: Sides of the image (1 to 3 of them).
        boundary: ``periodic``, or ``neumann``: no difference across the last pixel of an axis.

    >>> Gradient((4,), "neumann")(torch.tensor([0.0, 1.0, 3.0, 3.0])).tolist()
    [[1.0, 2.0, 0.0, 0.0]]
    """

    annihilates_constants = True

    def __init__(self, shape: Sequence[int], boundary: Boundary = "periodic") -> None:
        sides, _ = image_shape(shape, "haar")
        if boundary not in ("periodic", "neumann"):
            raise BadInput("A boundary: periodic or neumann", repr(boundary), "Choose one")
        top = [_eigenvalues(n, boundary).max() for n in sides]
        norm = NormBound(
            math.sqrt(sum(top)) * (1 + 1e-15), "exact", f"the largest eigenvalue of the {boundary} Laplacian"
        )
        super().__init__(sides, (len(sides), *sides), norm)
        self.boundary: Boundary = boundary
        self.scale = math.sqrt(sum(_eigenvalues(n, boundary).mean() for n in sides))
        self.groups = (len(sides),) if boundary == "periodic" else ()

    @property
    def penalty_shape(self) -> tuple[int, ...]:
        return (1, *self.in_shape)

    def levels(self) -> Tensor:
        """All differences are of one level, 1: there is no approximation."""
        return torch.ones(self.penalty_shape, dtype=torch.int64)

    def magnitudes(self, c: Tensor) -> Tensor:
        axis = -len(self.out_shape)
        return torch.linalg.vector_norm(c, dim=axis, keepdim=True)

    def _analyse(self, x: Tensor) -> Tensor:
        differences = []
        for axis in self._axes:
            d = torch.roll(x, -1, dims=axis) - x
            if self.boundary == "neumann":
                d.narrow(axis, d.shape[axis] - 1, 1).zero_()
            differences.append(d)
        return torch.stack(differences, dim=-len(self.out_shape))

    def _synthesise(self, c: Tensor) -> Tensor:
        total = torch.zeros(*c.shape[: c.ndim - len(self.out_shape)], *self.in_shape, dtype=c.dtype, device=c.device)
        for axis, d in zip(self._axes, c.unbind(-len(self.out_shape)), strict=True):
            if self.boundary == "neumann":
                d = d.clone()
                d.narrow(axis, d.shape[axis] - 1, 1).zero_()
            total = total + torch.roll(d, 1, dims=axis) - d
        return total

    def band_noise(self) -> Tensor:
        return torch.full((1,) * (len(self.in_shape) + 1), self.scale, dtype=torch.float64)

    def response(self, band: int, dtype: torch.dtype, device: torch.device) -> Tensor:
        n = self.in_shape[band]
        along = np.exp(2j * np.pi * np.arange(n) / n) - 1
        along[0] = 0
        along = along.reshape(-1, *(1,) * (len(self.in_shape) - 1 - band))
        return torch.from_numpy(np.broadcast_to(along, self.in_shape).copy()).to(device=device, dtype=dtype)

    def band_norms(self) -> Tensor:
        return torch.full((self.out_shape[0],), 2.0, dtype=torch.float64)

    def response_roundings(self) -> Tensor:
        return torch.full((self.out_shape[0],), 8.0, dtype=torch.float64)

    def pseudo_rows(self) -> Tensor:
        if self.boundary == "periodic":
            return super().pseudo_rows()
        # In cosines: the difference along an axis of the k-th has entries of at most (2^d mu_k / N)^(1/2).
        sizes = self.in_shape
        parts = [
            _eigenvalues(n, "neumann").reshape(-1, *(1,) * (len(sizes) - 1 - axis)) for axis, n in enumerate(sizes)
        ]
        whole = np.array(np.broadcast_to(sum(parts), sizes))
        whole.flat[0] = np.inf
        energy = 2 ** len(sizes) * float((1 / whole).sum()) / whole.size
        return torch.tensor([math.sqrt(energy) * (1 + 1e-9)], dtype=torch.float64)

    def gram(self, dtype: torch.dtype, device: torch.device) -> Tensor:
        # From the eigenvalues: exactly zero at frequency zero.
        total = sum(
            _eigenvalues(n, "periodic").reshape(-1, *(1,) * (len(self.in_shape) - 1 - axis))
            for axis, n in enumerate(self.in_shape)
        )
        return torch.as_tensor(np.broadcast_to(total, self.in_shape).copy(), device=device).to(
            torch.empty(0, dtype=dtype).real.dtype
        )

    def apply_gram_inverse(self, x: Tensor) -> Tensor:
        if self.boundary == "periodic" or x.numel() == 0:
            return super().apply_gram_inverse(x)
        # Mirrored at its end along every axis, a Neumann image is a periodic one of twice the sides.
        wide = x
        for axis in self._axes:
            wide = torch.cat([wide, wide.flip(axis)], dim=axis)
        solved = Gradient([2 * n for n in self.in_shape]).apply_gram_inverse(wide)
        return solved[(..., *(slice(n) for n in self.in_shape))].contiguous()


def _eigenvalues(n: int, boundary: Boundary) -> NDArray[np.float64]:
    """Those of the negative Laplacian along an axis."""
    return 4 * np.sin(np.pi * np.arange(n) / (n if boundary == "periodic" else 2 * n)) ** 2
