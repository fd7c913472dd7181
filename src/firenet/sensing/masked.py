"""Measurement operators that take samples of a transform on the grid of a mask.

A measurement operator (forward operator, encoding operator) maps an image to the data of the scanner or the camera.
Measurements have the shape of the mask (with several coils, one such array for each) and are zero in the entries that
are not measured. With a unitary transform the operator has norm exactly 1; coil maps change it. Zero frequency is in
the corner (as in ``torch.fft``); ``centred=True`` is for k-space and images with the origin in the middle, the
convention of files and scanners.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from firenet.errors import BadInput
from firenet.numerics import compiling, fft_rounding, tensor_of
from firenet.operators.compact import Compact
from firenet.operators.linear import LinearOperator
from firenet.operators.norm_bound import NormBound


def as_mask(mask: Tensor | ArrayLike) -> Tensor:
    """Returns a boolean mask of one to three axes with at least one sample.

    Raises:
        BadInput: For other shapes, numbers other than zero and one, or a mask without a sample.
    """
    # A copy: later changes of the caller's array must not reach an operator, whose norm bound would be wrong.
    tensor = tensor_of(mask, "a sampling mask").clone()
    if not 1 <= tensor.ndim <= 3 or 0 in tensor.shape:
        got = f"shape {tuple(tensor.shape)}"
        raise BadInput("A sampling mask with one to three axes, none empty", got, "Give the mask of one image")
    if not ((tensor == 0) | (tensor == 1)).all():
        got = f"other numbers, dtype {tensor.dtype}"
        raise BadInput("A sampling mask of zeros and ones (or booleans)", got, "Pass mask != 0")
    if not tensor.any():
        got, do = "a mask that is zero everywhere", "Check that the mask was read correctly"
        raise BadInput("A sampling mask with at least one sample", got, do)
    return tensor != 0


def calibration_width(mask: Tensor) -> int:
    """Returns the side of the largest fully sampled cube of frequencies around zero.

    Args:
        mask: The mask, zero frequency in the corner.
    """
    missing = (~mask).nonzero()
    # The window of width w holds the frequencies from -(w // 2) to (w - 1) // 2. A positive frequency f is outside it
    # if w is at most 2 f, a negative one if w is at most -2 f - 1.
    if len(missing) == 0:
        return min(mask.shape)
    sides = torch.tensor(mask.shape, device=mask.device)
    frequency = torch.where(missing < (sides + 1) // 2, missing, missing - sides)
    widest = torch.where(frequency >= 0, 2 * frequency, -2 * frequency - 1).amax(dim=1)
    return max(min(int(widest.min()), *mask.shape), 0)


_PACKED = "If an axis of length 2 holds real and imaginary parts, move it last and use torch.view_as_complex"


def need_complex(y: Tensor, what: str) -> Tensor:
    """Returns y, or raises BadInput if it is real."""
    if not y.is_complex():
        raise BadInput(f"Complex {what}", f"{y.dtype} of shape {tuple(y.shape)}", _PACKED)
    return y


class Masked(LinearOperator):
    """A measurement operator on the grid of a mask, with zeros in the entries that are not measured.

    A subclass defines ``_whole`` and ``_whole_adjoint``, the transform without the mask.
    """

    mask: Tensor

    def __init__(self, mask: Tensor, in_shape: Sequence[int], out_shape: Sequence[int], norm_bound: NormBound) -> None:
        super().__init__(in_shape, out_shape, norm_bound)
        self.register_buffer("mask", mask)
        self._factors: dict[tuple[torch.dtype, torch.device], Tensor] = {}

    def _whole(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def _whole_adjoint(self, y: Tensor) -> Tensor:
        raise NotImplementedError

    def _forward(self, x: Tensor) -> Tensor:
        return self.restrict(self._whole(x))

    def _adjoint(self, y: Tensor) -> Tensor:
        return self._whole_adjoint(self.restrict(y))

    def compact(self) -> Compact:
        return Compact(self) if compiling() else Sampled(self)

    def subset(self, keep: Tensor) -> Masked:
        """Returns the same operator with fewer samples.

        Args:
            keep: Booleans that broadcast to the mask, true for the samples to keep.
        """
        part = copy.deepcopy(self)
        part.register_buffer("mask", as_mask(self.mask & keep.to(self.mask.device)))
        part.renew()
        return part

    def holdout_candidates(self) -> Tensor:
        """Returns the mask of the samples that cross-validation may hold out, those outside the fully sampled centre.

        The centre is never held out, since its energy exceeds that of all other samples and every reconstruction
        predicts it well.
        """
        return self.mask & ~self._centre()

    def _centre(self) -> Tensor:
        """Returns the mask of the largest fully sampled cube of low frequencies, here the cube at the corner."""
        missing = (~self.mask).nonzero()
        width = min(self.mask.shape) if len(missing) == 0 else int(missing.amax(dim=1).min())
        centre = torch.zeros_like(self.mask)
        centre[tuple(slice(width) for _ in self.mask.shape)] = True
        return centre

    @property
    def samples(self) -> int:
        return int(self.mask.sum()) * math.prod(self.out_shape[: len(self.out_shape) - self.mask.ndim])

    def restrict(self, y: Tensor) -> Tensor:
        return y * (self.mask.to(y.dtype) if compiling() else self._factor(y))

    def renew(self) -> None:
        self._factors.clear()

    @property
    def gain(self) -> float:
        return 1.0 if self.is_coisometry else super().gain

    @torch.inference_mode(False)
    def _factor(self, y: Tensor) -> Tensor:
        """Returns the mask in the dtype of y, since a product of two dtypes would first convert one of the tensors."""
        key = (y.dtype, y.device)
        if key not in self._factors:
            self._factors[key] = self.mask.to(device=y.device, dtype=y.dtype)
        return self._factors[key]


class Sampled(Compact):
    """A masked operator with packed measurements, the measured entries alone: shape (..., samples)."""

    operator: Masked

    def __init__(self, operator: Masked) -> None:
        super().__init__(operator)
        self._where = operator.mask.flatten().nonzero().squeeze(1)
        self._grid = tuple(operator.mask.shape)
        self.out_shape = (*operator.out_shape[: -len(self._grid)], len(self._where))

    def forward(self, x: Tensor) -> Tensor:
        return self.pack_measured(self.operator._whole(x))

    def adjoint(self, y: Tensor, out: Tensor | None = None) -> Tensor:
        return self.operator._whole_adjoint(self.unpack_measured(y))

    def pack_measured(self, y: Tensor) -> Tensor:
        return y.flatten(-len(self._grid)).index_select(-1, self._where)

    def unpack_measured(self, y: Tensor) -> Tensor:
        grid = torch.zeros(*y.shape[:-1], math.prod(self._grid), dtype=y.dtype, device=y.device)
        return grid.index_copy(-1, self._where, y).unflatten(-1, self._grid)


def complex_dtype(dtype: torch.dtype) -> torch.dtype:
    """Returns the complex dtype of the same precision, at least single."""
    return torch.promote_types(dtype, torch.complex64)


class FourierSampling(Masked):
    """A masked operator with the unitary FFT over the last axes."""

    def __init__(
        self, mask: Tensor, in_shape: Sequence[int], out_shape: Sequence[int], norm_bound: NormBound, centred: bool
    ) -> None:
        super().__init__(mask, in_shape, out_shape, norm_bound)
        self.centred = centred
        self._axes = tuple(range(-mask.ndim, 0))

    def _fft(self, x: Tensor) -> Tensor:
        if x.numel() == 0:
            return x.to(complex_dtype(x.dtype))
        if self.centred:
            x = torch.fft.ifftshift(x, dim=self._axes)
        k = torch.fft.fftn(x, dim=self._axes, norm="ortho")
        return torch.fft.fftshift(k, dim=self._axes) if self.centred else k

    def _ifft(self, y: Tensor) -> Tensor:
        need_complex(y, "measurements")
        if y.numel() == 0:
            return y
        if self.centred:
            y = torch.fft.ifftshift(y, dim=self._axes)
        x = torch.fft.ifftn(y, dim=self._axes, norm="ortho")
        return torch.fft.fftshift(x, dim=self._axes) if self.centred else x

    def _centre(self) -> Tensor:
        mask = torch.fft.ifftshift(self.mask) if self.centred else self.mask
        width = calibration_width(mask)
        centre = torch.zeros_like(mask)
        centre[tuple(slice(n // 2 - width // 2, n // 2 - width // 2 + width) for n in mask.shape)] = True
        return centre if self.centred else torch.fft.ifftshift(centre)

    def state_dtype(self, y: torch.dtype) -> torch.dtype:
        return complex_dtype(y)

    @property
    def rounding(self) -> float:
        return fft_rounding(tuple(self.mask.shape))
