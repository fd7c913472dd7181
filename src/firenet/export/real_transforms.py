"""Transforms in real numbers: products with small dense matrices for each axis, and Fourier transforms of pairs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from firenet.transforms.walsh import WalshHadamard
from firenet.transforms.wavelet import Wavelet


class Separable(nn.Module):
    """A real linear map along each axis, from (batch, \\*sides) to (batch, \\*others).

    Args:
        matrices: One for each axis, (other, side).
        pairs: Whether the last axis holds pairs, (side * 2).
    """

    def __init__(self, matrices: Sequence[Tensor], *, pairs: bool) -> None:
        super().__init__()
        self._count = len(matrices)
        *others, last = matrices
        last = torch.kron(last.mT.contiguous(), torch.eye(2, dtype=last.dtype)) if pairs else last.mT.contiguous()
        for axis, matrix in enumerate([*others, last]):
            self.register_buffer(f"_matrix{axis}", matrix)

    def forward(self, x: Tensor) -> Tensor:
        matrices = [cast(Tensor, getattr(self, f"_matrix{axis}")) for axis in range(self._count)]
        x = x @ matrices[-1]
        if self._count > 1:
            x = matrices[-2] @ x
        if self._count > 2:
            x = (matrices[0] @ x.flatten(-2)).unflatten(-1, tuple(x.shape[-2:]))
        return x

    def adjoint(self, x: Tensor) -> Tensor:
        """Applies the same map, since only :func:`walsh_matrices` uses the adjoint, and its map is symmetric."""
        return self(x)


class Dense(nn.Module):
    """A real linear map as one matrix, from (batch, \\*sides), as in :class:`Separable`, to (batch, \\*to)."""

    def __init__(self, matrix: Tensor, to: Sequence[int], *, pairs: bool) -> None:
        super().__init__()
        self._pair, self._to = (2 if pairs else 1), (*to[:-1], to[-1] * (2 if pairs else 1))
        self.register_buffer("_matrix", matrix)

    def forward(self, x: Tensor) -> Tensor:
        x = cast(Tensor, self._matrix) @ x.reshape(len(x), -1, self._pair)
        return x.reshape(len(x), *self._to)


def walsh_matrices(shape: tuple[int, ...]) -> Separable:
    """Returns the Walsh-Hadamard transform as one matrix for each axis."""
    return Separable([WalshHadamard((n,))(torch.eye(n, dtype=torch.float64)) for n in shape], pairs=False)


# A corner of at most this many coefficients, of any number of levels, is transformed by one dense matrix.
_DENSE = 256


class Wavelets(nn.Module):
    """A :class:`Wavelet` and its adjoint: a level is one dense matrix for each axis, applied to its low-pass corner.

    The matrices are those of the one-level transform of an axis; those of the finest level also pad and crop. The
    coarsest levels together are one matrix if their corner is small.
    """

    def __init__(self, frame: Wavelet, pairs: bool) -> None:
        super().__init__()
        self.pairs, self.depth = pairs, frame.depth
        back, forth = nn.ModuleList(), nn.ModuleList()
        for k in range(frame.depth):
            corner = [padded >> k for padded in frame.out_shape]
            kept = corner if k else list(frame.in_shape)
            if math.prod(corner) <= _DENSE:
                coarse = Wavelet(corner, frame.wavelet, frame.depth - k)
                units = torch.eye(math.prod(corner), dtype=torch.float64).view(-1, *corner)
                matrix = coarse.adjoint(units)[(slice(None), *(slice(n) for n in kept))].flatten(1).mT.contiguous()
                back.append(Dense(matrix, kept, pairs=pairs))
                forth.append(Dense(matrix.mT.contiguous(), corner, pairs=pairs))
                break
            units = [torch.eye(n, dtype=torch.float64) for n in corner]
            steps = [Wavelet((len(unit),), frame.wavelet, 1).adjoint(unit).mT for unit in units]
            matrices = [step[:m].contiguous() for step, m in zip(steps, kept, strict=True)]
            back.append(Separable(matrices, pairs=pairs))
            forth.append(Separable([m.mT.contiguous() for m in matrices], pairs=pairs))
            details = torch.ones(corner, dtype=torch.float64)
            details[tuple(slice(n // 2) for n in corner)] = 0
            self.register_buffer(f"_details{k}", details.repeat_interleave(2, dim=-1) if pairs else details)
        self._back, self._forth = back, forth

    def synthesise(self, z: Tensor) -> Tensor:
        """Computes W*z for z of shape (batch, \\*sides), or (batch, \\*sides, 2)."""
        if not self.depth:
            return z
        levels = [z.flatten(-2) if self.pairs else z]
        for _ in self._back[1:]:
            levels.append(self._corner(levels[-1]))
        x = self._back[-1](levels[-1])
        for k in reversed(range(len(self._back) - 1)):
            x = self._back[k](self._joined(x, levels[k], k))
        return self._split(x)

    def analyse(self, x: Tensor) -> Tensor:
        """Computes Wx for x of the image's shape."""
        if not self.depth:
            return x
        levels = [self._forth[0](x.flatten(-2) if self.pairs else x)]
        for level in self._forth[1:]:
            levels.append(level(self._corner(levels[-1])))
        z = levels[-1]
        for k in reversed(range(len(self._forth) - 1)):
            z = self._joined(z, levels[k], k)
        return self._split(z)

    def _corner(self, z: Tensor) -> Tensor:
        return z[(slice(None), *(slice(n // 2) for n in z.shape[1:]))]

    def _joined(self, corner: Tensor, z: Tensor, level: int) -> Tensor:
        """Returns z with its low-pass corner replaced."""
        pad = [p for n, m in zip(reversed(corner.shape[1:]), reversed(z.shape[1:]), strict=True) for p in (0, m - n)]
        return z * cast(Tensor, getattr(self, f"_details{level}")) + nn.functional.pad(corner, pad)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (x.shape[-1] // 2, 2)) if self.pairs else x


class Ffts(nn.Module):
    """The Fourier transform of pairs (..., \\*sides, 2) by ``torch.fft``, and its adjoint, without the unitary
    factor."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self._axes = tuple(range(-len(shape), 0))

    def forward(self, x: Tensor) -> Tensor:
        return torch.view_as_real(torch.fft.fftn(_paired(x), dim=self._axes, norm="backward"))

    def adjoint(self, x: Tensor) -> Tensor:
        return torch.view_as_real(torch.fft.ifftn(_paired(x), dim=self._axes, norm="forward"))


def _paired(x: Tensor) -> Tensor:
    return torch.view_as_complex(x.contiguous())


class Dfts(nn.Module):
    """The unitary Fourier transform of pairs (..., \\*sides, 2), each axis as one real 2n x 2n matrix."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self._sides = len(shape)
        for axis, n in enumerate(shape):
            # The angles are computed from integers modulo n, so that large n lose no digits.
            index = torch.arange(n)
            angle = (torch.outer(index, index) % n).double() * (2 * math.pi / n)
            turn = torch.tensor([[0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64)  # multiplies a row (re, im) by i
            matrix = torch.kron(angle.cos(), torch.eye(2, dtype=torch.float64)) - torch.kron(angle.sin(), turn)
            matrix = matrix / math.sqrt(n)
            self.register_buffer(f"_forth{axis}", matrix)
            self.register_buffer(f"_back{axis}", matrix.mT.contiguous())

    def forward(self, x: Tensor) -> Tensor:
        return self._along_each(x, "_forth")

    def adjoint(self, x: Tensor) -> Tensor:
        return self._along_each(x, "_back")

    def _along_each(self, x: Tensor, name: str) -> Tensor:
        """Transforms the last axis and rotates the axes, once for each axis; then the axes are in order again."""
        for axis in reversed(range(self._sides)):
            x = (x.flatten(-2) @ cast(Tensor, getattr(self, f"{name}{axis}"))).unflatten(-1, (x.shape[-2], 2))
            x = x.movedim(-2, -1 - self._sides) if self._sides > 1 else x
        return x
