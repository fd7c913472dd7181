"""Measurement operators of MRI: samples of the Fourier transform, of one channel or of several coils."""

from __future__ import annotations

import math

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from firenet.errors import BadInput
from firenet.numerics import UNIT, compiling, derived, fft_rounding, norms, power_of_two, reverse_only, tensor_of
from firenet.operators.algebra import Adjoint
from firenet.operators.compact import Compact
from firenet.operators.linear import LinearOperator
from firenet.operators.norm_bound import NormBound
from firenet.sensing.fourier_wavelet import FourierOfWavelet
from firenet.sensing.masked import FourierSampling, Sampled, as_mask, need_complex
from firenet.transforms.wavelet import Wavelet


class SubsampledFourier(FourierSampling):
    """The subsampled unitary Fourier transform :math:`P_\\Omega F` in 1-D to 3-D: norm exactly 1.

    Args:
        mask: Numbers 1 at the measured frequencies and 0 elsewhere; one to three axes. Images and measurements have its
            shape.
        centred: The origin of image, k-space and mask is in the middle (index n // 2 of each axis) instead of the
            corner, for sides of any parity. It costs two copies per application. A solve is faster with the origin in
            the corner: shift mask and measurements with ``torch.fft.ifftshift``, and the image back with ``fftshift``.
    """

    def __init__(self, mask: Tensor | ArrayLike, *, centred: bool = False) -> None:
        mask = as_mask(mask)
        norm = NormBound(1.0, "exact", "a unitary Fourier transform with a mask")
        super().__init__(mask, mask.shape, mask.shape, norm, centred)
        # Whether Ax is known to be entries of the spectrum in the order of torch.fft; a subclass may do something else.
        # It is asked here, since torch.export wraps modules in classes of its own.
        self.samples_spectrum = type(self) is SubsampledFourier and not centred

    @property
    def is_coisometry(self) -> bool:
        return True

    def _whole(self, x: Tensor) -> Tensor:
        return self._fft(x)

    def _whole_adjoint(self, y: Tensor) -> Tensor:
        return self._ifft(y)

    def constant_response(self) -> tuple[Tensor, float]:
        # The spectrum of a constant is zero except at zero frequency: exactly zero if that is not measured.
        at = tuple(n // 2 if self.centred else 0 for n in self.mask.shape)
        found = torch.zeros(self.mask.shape, dtype=torch.complex128, device=self.mask.device)
        found[at] = math.sqrt(self.mask.numel()) * self.mask[at]
        return found, 2 * UNIT * abs(found[at]).item()

    def __matmul__(self, other: LinearOperator) -> LinearOperator:
        wavelet = other.operator if isinstance(other, Adjoint) and other.out_shape == self.in_shape else None
        if isinstance(wavelet, Wavelet) and wavelet.is_orthonormal and not self.centred:
            return FourierOfWavelet(self.mask, wavelet)
        return super().__matmul__(other)


class MultiCoilFourier(FourierSampling):
    """Fourier measurements by several receive coils, :math:`y_c=P_\\Omega F(s_c\\cdot x)`.

    Norm: :math:`\\|A\\|\\le\\max_r(\\sum_c|s_c(r)|^2)^{1/2}`, the largest root sum of squares of the maps.

    Args:
        mask: Numbers 1 at the measured frequencies and 0 elsewhere; shape of the image, the same for all coils.
        maps: Complex coil sensitivities, shape (coils, \\*mask.shape).
        centred: As in :class:`SubsampledFourier`; the maps are then centred images, too.
    """

    maps: Tensor

    def __init__(self, mask: Tensor | ArrayLike, maps: Tensor | ArrayLike, *, centred: bool = False) -> None:
        mask = as_mask(mask)
        maps = as_maps(maps, tuple(mask.shape), "mask")
        super().__init__(mask, mask.shape, maps.shape, coils_norm(maps), centred)
        self.register_buffer("maps", maps)

    @property
    def gain(self) -> float:
        """The noise gain :math:`(\\sum|s|^2/(\\text{coils}\\cdot\\text{pixels}))^{1/2}`, over the pixels where some map
        is not zero; the :attr:`.LinearOperator.gain` of other operators is over all pixels."""
        maps = self.maps.detach()
        seen = int((maps != 0).any(dim=0).sum())
        return norms(maps, maps.ndim).item() / (max(seen, 1) * len(maps)) ** 0.5

    @property
    def rounding(self) -> float:
        return (fft_rounding(tuple(self.mask.shape)) + 2 * len(self.maps) + 8) * self.norm_bound.value

    def state_dtype(self, y: torch.dtype) -> torch.dtype:
        return torch.promote_types(super().state_dtype(y), self.maps.dtype)

    def renew(self) -> None:
        super().renew()
        self._norm_bound = coils_norm(self.maps)

    def compact(self) -> Compact:
        return Compact(self) if compiling() else _Coils(self)

    def _whole(self, x: Tensor) -> Tensor:
        return self._fft(x.unsqueeze(-self.mask.ndim - 1) * self.maps)

    def _whole_adjoint(self, y: Tensor) -> Tensor:
        z = self._ifft(y)
        if compiling() or not reverse_only(z):
            return (z * self.maps.conj()).sum(dim=-self.mask.ndim - 1)
        # The sum of z conj(s) as conj(sum of conj(z) s): conjugating z in place is cheaper than copying all the maps.
        z = z.conj_physical() if z.numel() == 0 or torch.is_grad_enabled() else z.conj_physical_()
        return (z * self.maps).sum(dim=-self.mask.ndim - 1).conj_physical()


def fourier_samples(
    mask: Tensor | ArrayLike, maps: Tensor | ArrayLike | None = None
) -> SubsampledFourier | MultiCoilFourier:
    """Returns the measurement operator of a mask: :class:`MultiCoilFourier` with these coil maps, or
    :class:`SubsampledFourier` if ``maps`` is None."""
    return SubsampledFourier(mask) if maps is None else MultiCoilFourier(mask, maps)


class _Coils(Sampled):
    """:class:`MultiCoilFourier` for an iteration: on the CPU coil by coil, so that the data of one coil stay in the
    cache."""

    def __init__(self, operator: MultiCoilFourier) -> None:
        super().__init__(operator)
        self._coils = operator

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled() or derived(x) or x.device.type != "cpu" or x.numel() == 0:
            return super().forward(x)
        return self._measure(x)

    def adjoint(self, y: Tensor, out: Tensor | None = None) -> Tensor:
        if torch.is_grad_enabled() or derived(y) or y.device.type != "cpu" or y.numel() == 0:
            return super().adjoint(y, out)
        return self._backproject(y)

    def _measure(self, x: Tensor) -> Tensor:
        maps = self._coils.maps
        out = torch.empty(len(x), *self.out_shape, dtype=torch.promote_types(x.dtype, maps.dtype))
        for coil, sensitivity in enumerate(maps):
            out[:, coil] = self.pack_measured(self._coils._fft(x * sensitivity))
        return out

    def _backproject(self, y: Tensor) -> Tensor:
        grid = torch.zeros(len(y), math.prod(self._grid), dtype=y.dtype)
        total = torch.zeros(len(y), *self._grid, dtype=torch.promote_types(y.dtype, self._coils.maps.dtype))
        for coil, sensitivity in enumerate(self._coils.maps):
            grid.index_copy_(1, self._where, y[:, coil])  # the same entries for each coil: the others stay zero
            image = self._coils._ifft(grid.view(-1, *self._grid))
            total.addcmul_(image.conj_physical_(), sensitivity)
        return total.conj_physical_()

    def scratch(self, batch: int) -> int:
        return 5 * batch * math.prod(self._grid)


def as_maps(maps: Tensor | ArrayLike, shape: tuple[int, ...], of: str = "image") -> Tensor:
    """Returns a copy of coil maps for images of a shape.

    Args:
        maps: Complex numbers, shape (coils, \\*shape).
        shape: The sides of the image.
        of: What has these sides, in errors.

    Raises:
        BadInput: For another shape, real numbers, NaN or infinity.
    """
    maps = tensor_of(maps, "coil maps").clone()
    if maps.ndim != len(shape) + 1 or tuple(maps.shape[1:]) != shape or maps.shape[0] == 0:
        needed = f"Coil maps of shape (coils, {', '.join(map(str, shape))})"
        raise BadInput(needed, f"shape {tuple(maps.shape)}", f"Give one map per coil, each of the shape of the {of}")
    need_complex(maps, "coil maps")
    if not torch.isfinite(torch.view_as_real(maps.resolve_conj())).all():
        raise BadInput("Finite coil maps", "NaN or infinity", "Set the maps to zero where they are unknown")
    return maps


def coil_levels(maps: Tensor) -> Tensor:
    """Returns the root mean square of each map over the pixels where some map is not zero, shape (coils,)."""
    maps = maps.detach()
    seen = int((maps != 0).any(dim=0).sum())
    return norms(maps, maps.ndim - 1) / max(seen, 1) ** 0.5


def coils_norm(maps: Tensor) -> NormBound:
    """Returns the largest root sum of squares of the maps, increased by a bound of its rounding error."""
    values = torch.view_as_real(maps.cpu()).to(torch.float64)
    scale = power_of_two(values.abs().max()).item()  # so that no square under- or overflows
    rss = torch.linalg.vector_norm(values / scale, dim=(0, -1)).max().item() * scale
    return NormBound(rss * (1 + 1e-14 * maps.shape[0]), "proven", "largest root sum of squares of the coil maps")
