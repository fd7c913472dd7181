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
    """Finite differences :math:`(\\nabla x)_{a,i}=x_{i+e_a}-x_i` along every axis a.

    The sum of the group magnitudes, :math:`\\sum_i(\\sum_a|(\\nabla x)_{a,i}|^2)^{1/2}`, is the isotropic total
    variation. Coefficients have shape (axes, \\*shape), magnitudes (1, \\*shape).

    Norm: exact, from the eigenvalues :math:`4\\sin^2(\\pi k/n)` (Neumann: :math:`4\\sin^2(\\pi k/2n)`) of each axis.

    Args:
        shape: Sides of the image (1 to 3 of them).
        boundary: ``periodic``, or ``neumann``: the difference at the last pixel of an axis is zero.

    >>> Gradient((4,), "neumann")(torch.tensor([0.0, 1.0, 3.0, 3.0])).tolist()
    [[1.0, 2.0, 0.0, 0.0]]
    """

    annihilates_constants = True

    def __init__(self, shape: Sequence[int], boundary: Boundary = "periodic") -> None:
        sides, _ = image_shape(shape, "haar")
        if boundary not in ("periodic", "neumann"):
            raise BadInput("A boundary: periodic or neumann", repr(boundary), "Choose one")
        top = [_eigenvalues(n, boundary).max() for n in sides]
        why = f"the largest eigenvalue of the {boundary} Laplacian"
        norm = NormBound(math.sqrt(sum(top)) * (1 + 1e-15), "exact", why)
        super().__init__(sides, (len(sides), *sides), norm)
        self.boundary: Boundary = boundary
        self.scale = math.sqrt(sum(_eigenvalues(n, boundary).mean() for n in sides))
        self.groups = (len(sides),) if boundary == "periodic" else ()
        # Along each axis the responses of the periodic differences, and the eigenvalues of their Laplacian.
        self._axes_responses = [torch.from_numpy(_response(n)) for n in sides]
        self._axes_eigenvalues = [torch.from_numpy(_eigenvalues(n, "periodic")) for n in sides]

    @property
    def penalty_shape(self) -> tuple[int, ...]:
        return (1, *self.in_shape)

    def levels(self) -> Tensor:
        """Returns level 1 for all differences: there is no approximation band."""
        return torch.ones(self.penalty_shape, dtype=torch.int64)

    def magnitudes(self, c: Tensor) -> Tensor:
        return torch.linalg.vector_norm(c, dim=-len(self.out_shape), keepdim=True)

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
        along = self._axes_responses[band].view(-1, *(1,) * (len(self.in_shape) - 1 - band))
        return along.expand(self.in_shape).contiguous().to(device=device, dtype=dtype)

    def band_norms(self) -> Tensor:
        return torch.full((self.out_shape[0],), 2.0, dtype=torch.float64)

    def response_roundings(self) -> Tensor:
        return torch.full((self.out_shape[0],), 8.0, dtype=torch.float64)

    def pseudo_rows(self) -> Tensor:
        if self.boundary == "periodic":
            return super().pseudo_rows()
        # In the cosine basis: the differences of the k-th basis function have entries of at most (2^d mu_k / N)^(1/2).
        along = [_eigenvalues(n, "neumann") for n in self.in_shape]
        laplacian = np.array(sum(np.meshgrid(*along, indexing="ij", sparse=True)))
        laplacian.flat[0] = np.inf
        energy = 2 ** len(self.in_shape) * float((1 / laplacian).sum()) / laplacian.size
        return torch.tensor([math.sqrt(energy) * (1 + 1e-9)], dtype=torch.float64)

    def gram(self, dtype: torch.dtype, device: torch.device) -> Tensor:
        # From the eigenvalues, which are exactly zero at frequency zero.
        total, d = torch.zeros((), dtype=torch.float64), len(self.in_shape)
        for axis, along in enumerate(self._axes_eigenvalues):
            total = total + along.view(-1, *(1,) * (d - 1 - axis))
        return total.to(device, torch.empty(0, dtype=dtype).real.dtype)

    def apply_gram_inverse(self, x: Tensor) -> Tensor:
        if self.boundary == "periodic" or x.numel() == 0:
            return super().apply_gram_inverse(x)
        # An image with Neumann boundary, mirrored at the end of every axis, is a periodic image of twice the sides.
        wide = x
        for axis in self._axes:
            wide = torch.cat([wide, wide.flip(axis)], dim=axis)
        solved = Gradient([2 * n for n in self.in_shape]).apply_gram_inverse(wide)
        return solved[(..., *(slice(n) for n in self.in_shape))].contiguous()


def _response(n: int) -> NDArray[np.complex128]:
    """Returns the response of the periodic difference along an axis of n pixels, exactly zero at frequency zero."""
    along = np.exp(2j * np.pi * np.arange(n) / n) - 1
    along[0] = 0
    return along


def _eigenvalues(n: int, boundary: Boundary) -> NDArray[np.float64]:
    """Returns the eigenvalues of the negative Laplacian along an axis of n pixels."""
    return 4 * np.sin(np.pi * np.arange(n) / (n if boundary == "periodic" else 2 * n)) ** 2
