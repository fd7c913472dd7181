"""Sensing operators: what the scanner or the camera measures.

Measurements keep the shape of the mask and are zero where nothing was measured. Transforms are unitary, so a mask alone
has norm exactly 1. Inside, zero frequency lies in the corner (as ``torch.fft`` has it); ``centred=True`` is for k-space
and images with the origin in the middle, as files and scanners have them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from firenet.errors import BadInput
from firenet.operators import LinearOperator, NormBound
from firenet.transforms import WalshHadamard


def _as_mask(mask: Tensor | ArrayLike) -> Tensor:
    """A boolean mask of one to three axes with at least one sample."""
    tensor = torch.as_tensor(mask)
    if not 1 <= tensor.ndim <= 3 or 0 in tensor.shape:
        raise BadInput("A sampling mask with one to three axes, none empty", f"shape {tuple(tensor.shape)}", "Give the mask of one image")
    if tensor.is_complex() or not ((tensor == 0) | (tensor == 1)).all():
        raise BadInput("A sampling mask of zeros and ones (or booleans)", f"other numbers, dtype {tensor.dtype}", "Pass mask != 0")
    if not tensor.any():
        raise BadInput("A sampling mask with at least one sample", "a mask that is zero everywhere", "Check that the mask was read correctly")
    return tensor != 0


def _need_complex(y: Tensor, what: str) -> Tensor:
    if y.is_complex():
        return y
    packed = 2 in (y.shape[-1:] + y.shape[:1] + y.shape[1:2])
    raise BadInput(
        f"Complex {what}",
        f"{y.dtype} of shape {tuple(y.shape)}",
        "If an axis of length 2 holds real and imaginary parts, move it last and use torch.view_as_complex"
        if packed
        else "Convert with .to(torch.complex64), or check that the phase was not lost",
    )


class _Fourier(LinearOperator):
    """What the two Fourier operators share: the mask and the unitary FFT over the last axes."""

    mask: Tensor

    def __init__(
        self, mask: Tensor, in_shape: Sequence[int], out_shape: Sequence[int], norm_bound: NormBound, centred: bool
    ) -> None:
        super().__init__(in_shape, out_shape, norm_bound)
        self.register_buffer("mask", mask)
        self.centred = centred
        self._axes = tuple(range(-mask.ndim, 0))

    def _fft(self, x: Tensor) -> Tensor:
        if x.numel() == 0:
            return x.to(_complex(x.dtype))
        if self.centred:
            x = torch.fft.ifftshift(x, dim=self._axes)
        k = torch.fft.fftn(x, dim=self._axes, norm="ortho")
        return self.restrict(torch.fft.fftshift(k, dim=self._axes) if self.centred else k)

    def _ifft(self, y: Tensor) -> Tensor:
        _need_complex(y, "measurements")
        if y.numel() == 0:
            return y
        y = self.restrict(y)
        if self.centred:
            y = torch.fft.ifftshift(y, dim=self._axes)
        x = torch.fft.ifftn(y, dim=self._axes, norm="ortho")
        return torch.fft.fftshift(x, dim=self._axes) if self.centred else x

    def restrict(self, y: Tensor) -> Tensor:
        return y * self.mask

    def state_dtype(self, y: torch.dtype) -> torch.dtype:
        return _complex(y)


def _complex(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.complex64)


class SubsampledFourier(_Fourier):
    """The subsampled unitary Fourier transform :math:`P_\\Omega F` in 1-D to 3-D: norm exactly 1.

    Args:
        mask: Which frequencies are measured, zeros and ones, one to three axes. Images and measurements have its shape.
        centred: The origin of image, k-space and mask lies in the middle (index n // 2 of each axis) instead of the
            corner. Any parity of the sides is right; it costs two copies an application, so hot loops leave it off.
    """

    def __init__(self, mask: Tensor | ArrayLike, *, centred: bool = False) -> None:
        mask = _as_mask(mask)
        norm = NormBound(1.0, "exact", "a unitary Fourier transform with a mask")
        super().__init__(mask, mask.shape, mask.shape, norm, centred)

    def _forward(self, x: Tensor) -> Tensor:
        return self._fft(x)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self._ifft(y)


class MultiCoilFourier(_Fourier):
    """Fourier measurements by several receive coils, :math:`y_c=P_\\Omega F(s_c\\cdot x)`.

    Norm: :math:`\\|A\\|\\le\\max_r(\\sum_c|s_c(r)|^2)^{1/2}`, the largest root sum of squares of the maps.

    Args:
        mask: Which frequencies are measured, shape of the image, the same for all coils.
        maps: Complex coil sensitivities, shape (coils, \\*mask.shape).
        centred: As in :class:`SubsampledFourier`; the maps are images and are centred with it.
    """

    maps: Tensor

    def __init__(self, mask: Tensor | ArrayLike, maps: Tensor | ArrayLike, *, centred: bool = False) -> None:
        mask, maps = _as_mask(mask), torch.as_tensor(maps)
        if maps.ndim != mask.ndim + 1 or maps.shape[1:] != mask.shape or maps.shape[0] == 0:
            raise BadInput(
                f"Coil maps of shape (coils, {', '.join(map(str, mask.shape))})",
                f"shape {tuple(maps.shape)}",
                "Give one map a coil, each of the shape of the mask",
            )
        _need_complex(maps, "coil maps")
        if not torch.isfinite(torch.view_as_real(maps)).all():
            raise BadInput("Finite coil maps", "NaN or infinity", "Set the maps to zero where they are not known")
        rss = torch.view_as_real(maps.to(torch.complex128)).square().sum(dim=(0, -1)).max().sqrt().item()
        norm = NormBound(rss * (1 + 1e-14 * maps.shape[0]), "proven", "largest root sum of squares of the coil maps")
        super().__init__(mask, mask.shape, maps.shape, norm, centred)
        self.register_buffer("maps", maps)

    def _forward(self, x: Tensor) -> Tensor:
        return self._fft(x.unsqueeze(-self.mask.ndim - 1) * self.maps)

    def _adjoint(self, y: Tensor) -> Tensor:
        return (self._ifft(y) * self.maps.conj()).sum(dim=-self.mask.ndim - 1)


class SubsampledWalsh(LinearOperator):
    """The subsampled Walsh transform in sequency order, 1-D to 3-D: norm exactly 1. Real images stay real.

    Args:
        mask: Which sequencies are measured, zeros and ones; sides are powers of two.
    """

    mask: Tensor

    def __init__(self, mask: Tensor | ArrayLike) -> None:
        mask = _as_mask(mask)
        transform = WalshHadamard(mask.shape)
        super().__init__(mask.shape, mask.shape, NormBound(1.0, "exact", "an orthonormal Walsh transform with a mask"))
        self.transform = transform
        self.register_buffer("mask", mask)

    def _forward(self, x: Tensor) -> Tensor:
        return self.restrict(self.transform(x))

    def _adjoint(self, y: Tensor) -> Tensor:
        return self.transform.adjoint(self.restrict(y))

    def restrict(self, y: Tensor) -> Tensor:
        return y * self.mask
