"""Sensing operators: what the scanner or the camera measures.

Measurements keep the shape of the mask and are zero where nothing was measured. Transforms are unitary, so a mask alone
has norm exactly 1. Inside, zero frequency lies in the corner (as ``torch.fft`` has it); ``centred=True`` is for k-space
and images with the origin in the middle, as files and scanners have them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from firenet.errors import BadInput
from firenet.operators import Adjoint, LinearOperator, NormBound, differentiable
from firenet.transforms import WalshHadamard, Wavelet, filter_bank


def _own(array: Tensor | ArrayLike) -> Tensor:
    """A tensor of its own: what the caller does to the array later does not reach an operator and its norm bound."""
    if isinstance(array, Tensor):
        return array.clone()
    copy = np.array(array)
    return torch.from_numpy(copy.astype(copy.dtype.newbyteorder("="), copy=False))


def _as_mask(mask: Tensor | ArrayLike) -> Tensor:
    """A boolean mask of one to three axes with at least one sample."""
    tensor = _own(mask)
    if not 1 <= tensor.ndim <= 3 or 0 in tensor.shape:
        raise BadInput(
            "A sampling mask with one to three axes, none empty",
            f"shape {tuple(tensor.shape)}",
            "Give the mask of one image",
        )
    if tensor.is_complex() or not ((tensor == 0) | (tensor == 1)).all():
        raise BadInput(
            "A sampling mask of zeros and ones (or booleans)", f"other numbers, dtype {tensor.dtype}", "Pass mask != 0"
        )
    if not tensor.any():
        raise BadInput(
            "A sampling mask with at least one sample",
            "a mask that is zero everywhere",
            "Check that the mask was read correctly",
        )
    return tensor != 0


_PACKED = "If an axis of length 2 holds real and imaginary parts, move it last and use torch.view_as_complex"


def _need_complex(y: Tensor, what: str) -> Tensor:
    if not y.is_complex():
        raise BadInput(f"Complex {what}", f"{y.dtype} of shape {tuple(y.shape)}", _PACKED)
    return y


class _Masked(LinearOperator):
    """Measurements on the grid of a mask, zero where nothing was measured."""

    mask: Tensor

    def __init__(self, mask: Tensor, in_shape: Sequence[int], out_shape: Sequence[int], norm_bound: NormBound) -> None:
        super().__init__(in_shape, out_shape, norm_bound)
        self.register_buffer("mask", mask)
        self._factors: dict[tuple[torch.dtype, torch.device], Tensor] = {}

    def restrict(self, y: Tensor) -> Tensor:
        return y * self._factor(y)

    def renew(self) -> None:
        self._factors.clear()

    @torch.inference_mode(False)
    def _factor(self, y: Tensor) -> Tensor:
        """The mask in the dtype of y: a product of two dtypes would first copy one of them, as large as the image."""
        key = (y.dtype, y.device)
        if key not in self._factors:
            self._factors[key] = self.mask.to(device=y.device, dtype=y.dtype)
        return self._factors[key]


class _Fourier(_Masked):
    """What the Fourier operators share: the unitary FFT over the last axes."""

    def __init__(
        self, mask: Tensor, in_shape: Sequence[int], out_shape: Sequence[int], norm_bound: NormBound, centred: bool
    ) -> None:
        super().__init__(mask, in_shape, out_shape, norm_bound)
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

    def __matmul__(self, other: LinearOperator) -> LinearOperator:
        if (
            isinstance(other, Adjoint)
            and isinstance(other.operator, Wavelet)
            and other.operator.is_orthonormal
            and other.out_shape == self.in_shape
            and not self.centred
        ):
            return FourierOfWavelet(self.mask, other.operator)
        return super().__matmul__(other)


class FourierOfWavelet(_Fourier):
    """:math:`P_\\Omega FW^*` for an orthonormal wavelet transform W, without going through the image.

    The spectrum of one synthesis step is, axis by axis,
    :math:`\\hat x(\\omega)=\\hat h(\\omega)\\hat a(2\\omega)+\\hat g(\\omega)\\hat d(2\\omega)`: the spectra of the
    halves are repeated once and multiplied by the filters' responses. So the bands are transformed where they are,
    small FFTs of together one image, and a level costs a few products whatever the length of the filter.
    ``SubsampledFourier(mask) @ W.H`` gives this operator; it equals the composition up to rounding.

    Args:
        mask: As for :class:`SubsampledFourier`.
        wavelet: An orthonormal transform of the mask's shape.
    """

    def __init__(self, mask: Tensor, wavelet: Wavelet) -> None:
        unitary = NormBound(1.0, "exact", "a unitary Fourier transform with a mask")
        if wavelet.out_shape != tuple(mask.shape) or not wavelet.is_orthonormal:
            raise BadInput(
                f"An orthonormal wavelet transform of the mask's shape {tuple(mask.shape)}",
                f"{wavelet.in_shape}, padded to {wavelet.out_shape}",
                "Use SubsampledFourier(mask) @ W.H, which takes every shape",
            )
        super().__init__(mask, wavelet.out_shape, mask.shape, unitary * wavelet.norm_bound, False)
        self.wavelet = wavelet

    def _forward(self, x: Tensor) -> Tensor:
        return differentiable(x, self._measure, self._backproject)

    def _adjoint(self, y: Tensor) -> Tensor:
        return differentiable(_need_complex(y, "measurements"), self._backproject, self._measure)

    def _measure(self, c: Tensor) -> Tensor:
        spectrum = self._spectrum(c)
        return spectrum.mul_(self._factor(spectrum))

    def _backproject(self, y: Tensor) -> Tensor:
        return self._coefficients(self.restrict(y))

    def _spectrum(self, c: Tensor) -> Tensor:
        """The unitary Fourier transform of W*c."""
        if c.numel() == 0:
            return torch.zeros_like(c, dtype=_complex(c.dtype))
        fft = partial(torch.fft.fftn, dim=self._axes, norm="ortho")
        depth, d = self.wavelet.depth, len(self.in_shape)
        x = fft(self.wavelet.corners(c, depth)[0])
        for k in range(depth, 0, -1):
            bands = [x, *(fft(band) for band in self.wavelet.corners(c, k)[1:])]
            for axis in range(d):
                low, high = _responses(
                    self.wavelet.wavelet, self.in_shape[axis] >> (k - 1), d - axis - 1, False, x.dtype, x.device
                )
                at = axis - d
                bands = [
                    (a.unsqueeze(at - 1) * low).addcmul_(b.unsqueeze(at - 1), high).flatten(at - 1, at)
                    for a, b in zip(bands[::2], bands[1::2], strict=True)
                ]
            x = bands[0]
        return x

    def _coefficients(self, y: Tensor) -> Tensor:
        """W of the inverse unitary Fourier transform of y."""
        if y.numel() == 0:
            return y
        ifft = partial(torch.fft.ifftn, dim=self._axes, norm="ortho")
        depth, d = self.wavelet.depth, len(self.in_shape)
        out = torch.empty(y.shape, dtype=y.dtype, device=y.device)
        for k in range(1, depth + 1):
            bands = [y]
            for axis in reversed(range(d)):
                responses = _responses(
                    self.wavelet.wavelet, self.in_shape[axis] >> (k - 1), d - axis - 1, True, y.dtype, y.device
                )
                at = axis - d
                halves = [band.unflatten(at, (2, -1)).unbind(at - 1) for band in bands]
                bands = [(one * r[0]).addcmul_(two, r[1]) for one, two in halves for r in responses]
            for band, corner in zip(bands[1:], self.wavelet.corners(out, k)[1:], strict=True):
                corner.copy_(ifft(band))
            y = bands[0]
        self.wavelet.corners(out, depth)[0].copy_(ifft(y))
        return out


@lru_cache(maxsize=256)
@torch.inference_mode(False)
def _responses(
    wavelet: str, n: int, behind: int, conjugate: bool, dtype: torch.dtype, device: torch.device
) -> list[Tensor]:
    """Low-pass and high-pass response at n frequencies, shape (2, n / 2, 1, ..., 1): repetition, frequency, axes
    behind.

    :math:`\\hat h_m=2^{-1/2}\\sum_jh_je^{-2\\pi im(L/2-j)/n}`, or the conjugate.
    """
    filters = filter_bank(wavelet)
    place = len(filters[0]) // 2 - np.arange(len(filters[0]))
    # Angles from integers modulo n, so that long filters and large n lose no digits.
    phase = np.exp((2j if conjugate else -2j) * np.pi * (np.outer(np.arange(n), place) % n) / n)
    pair = [phase @ taps / np.sqrt(2) for taps in filters]
    return [torch.from_numpy(r).to(device=device, dtype=dtype).view(2, n // 2, *(1,) * behind) for r in pair]


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
        mask, maps = _as_mask(mask), _own(maps)
        if maps.ndim != mask.ndim + 1 or maps.shape[1:] != mask.shape or maps.shape[0] == 0:
            raise BadInput(
                f"Coil maps of shape (coils, {', '.join(map(str, mask.shape))})",
                f"shape {tuple(maps.shape)}",
                "Give one map a coil, each of the shape of the mask",
            )
        _need_complex(maps, "coil maps")
        if not torch.isfinite(torch.view_as_real(maps)).all():
            raise BadInput("Finite coil maps", "NaN or infinity", "Set the maps to zero where they are not known")
        super().__init__(mask, mask.shape, maps.shape, _coils_norm(maps), centred)
        self.register_buffer("maps", maps)

    def state_dtype(self, y: torch.dtype) -> torch.dtype:
        return torch.promote_types(super().state_dtype(y), self.maps.dtype)

    def renew(self) -> None:
        super().renew()
        self._norm_bound = _coils_norm(self.maps)

    def _forward(self, x: Tensor) -> Tensor:
        return self._fft(x.unsqueeze(-self.mask.ndim - 1) * self.maps)

    def _adjoint(self, y: Tensor) -> Tensor:
        return (self._ifft(y) * self.maps.conj()).sum(dim=-self.mask.ndim - 1)


def _coils_norm(maps: Tensor) -> NormBound:
    rss = torch.linalg.vector_norm(torch.view_as_real(maps.cpu()).to(torch.float64), dim=(0, -1)).max().item()
    return NormBound(rss * (1 + 1e-14 * maps.shape[0]), "proven", "largest root sum of squares of the coil maps")


class SubsampledWalsh(_Masked):
    """The subsampled Walsh transform in sequency order, 1-D to 3-D: norm exactly 1. Real images stay real.

    Args:
        mask: Which sequencies are measured, zeros and ones; sides are powers of two.
    """

    def __init__(self, mask: Tensor | ArrayLike) -> None:
        mask = _as_mask(mask)
        transform = WalshHadamard(mask.shape)
        super().__init__(
            mask, mask.shape, mask.shape, NormBound(1.0, "exact", "an orthonormal Walsh transform with a mask")
        )
        self.transform = transform

    def _forward(self, x: Tensor) -> Tensor:
        return self.restrict(self.transform(x))

    def _adjoint(self, y: Tensor) -> Tensor:
        return self.transform.adjoint(self.restrict(y))
