"""Redundant analysis operators: bands as large as the image, each a periodic convolution.

.. math:: Wx=\\big(\\mathcal F^{-1}(\\hat g_b\\cdot\\mathcal Fx)\\big)_b

The Fourier transform diagonalises W*W, whose eigenvalues are :math:`\\sum_b|\\hat g_b|^2`. So :math:`(W^*W)^\\dagger`
costs two FFTs, and for Fourier samples A*A is diagonal in the same coordinates (:mod:`firenet.problems.pair`).
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from firenet.numerics import fft_rounding
from firenet.transforms.analysis_operator import AnalysisOperator


class Convolutions(AnalysisOperator):
    """An analysis operator given by the frequency responses of its bands, and computed with the FFT."""

    @abstractmethod
    def response(self, band: int, dtype: torch.dtype, device: torch.device) -> Tensor:
        """Returns the frequency response of a band in the order of ``torch.fft.fftn``: complex, shape of the image."""

    @abstractmethod
    def band_norms(self) -> Tensor:
        """Returns for each band an upper bound of the largest modulus of its response, float64."""

    @abstractmethod
    def response_roundings(self) -> Tensor:
        """Returns for each band a bound of the error of its response in double precision, in unit roundoffs."""

    def responses(self, dtype: torch.dtype, device: torch.device) -> Tensor:
        """Returns the responses of all bands, complex, shape (bands, \\*image), which the caller must not overwrite."""
        return torch.stack([self.response(k, dtype, device) for k in range(self.out_shape[0])])

    @property
    def rounding(self) -> float:
        # Each band takes two transforms and a product.
        each = (2 * fft_rounding(self.in_shape) + 8) * self.band_norms() + self.response_roundings()
        return float(torch.linalg.vector_norm(each)) + self.out_shape[0]

    def pseudo_rows(self) -> Tensor:
        # The row of a band is the convolution with g_b divided by W*W; its energy is the mean over the frequencies.
        inverse = self._pseudo_inverse(torch.device("cpu"))
        device, dtype = inverse.device, torch.complex128
        energy = [(self.response(k, dtype, device) * inverse).abs().square().mean() for k in range(self.out_shape[0])]
        return torch.stack([e.sum() for e in torch.stack(energy).split(list(self.groups))]).sqrt() * (1 + 1e-9)

    def _pseudo_inverse(self, device: torch.device) -> Tensor:
        """Returns one over :meth:`gram`, in double precision, and zero at frequency zero if W annihilates constants.

        No other frequency is set to zero: the kernel of W is known, and not estimated from the size of numbers.
        """
        inverse = self.gram(torch.complex128, device).reciprocal()
        if self.annihilates_constants:
            inverse[(0,) * inverse.ndim] = 0
        return inverse

    @property
    def _axes(self) -> tuple[int, ...]:
        return tuple(range(-len(self.in_shape), 0))

    def _spectrum(self, x: Tensor) -> Tensor:
        """Returns the Fourier transform along the axes of the image; of real numbers the half that determines it."""
        return (torch.fft.fftn if x.is_complex() else torch.fft.rfftn)(x, dim=self._axes)

    def _inverse(self, spectrum: Tensor, like: Tensor) -> Tensor:
        """Returns the inverse of :meth:`_spectrum`: real numbers if ``like`` is real."""
        if like.is_complex():
            return torch.fft.ifftn(spectrum, dim=self._axes)
        return torch.fft.irfftn(spectrum, s=self.in_shape, dim=self._axes)

    def _responses_to(self, spectrum: Tensor) -> Tensor:
        return self.responses(spectrum.dtype, spectrum.device)[..., : spectrum.shape[-1]]

    def _analyse(self, x: Tensor) -> Tensor:
        if x.numel() == 0:
            return x.new_zeros((*x.shape[: x.ndim - len(self.in_shape)], *self.out_shape))
        spectrum = self._spectrum(x)
        return self._inverse(spectrum.unsqueeze(-len(self.out_shape)) * self._responses_to(spectrum), x)

    def _synthesise(self, c: Tensor) -> Tensor:
        if c.numel() == 0:
            return c.new_zeros((*c.shape[: c.ndim - len(self.out_shape)], *self.in_shape))
        spectrum = self._spectrum(c)
        return self._inverse((spectrum * self._responses_to(spectrum).conj()).sum(dim=-len(self.out_shape)), c)

    @abstractmethod
    def band_noise(self) -> Tensor:
        """Returns the noise standard deviation of each group of bands: the root mean square of its magnitudes if the
        image is white noise of variance one. Shape (groups, 1, ..., 1), float64.

        With these numbers as weights the threshold of every group is the same multiple of its noise, and the weighted
        l1 norm of undecimated wavelets is the mean of the orthonormal l1 norms over all shifts of the image.
        """

    def gram(self, dtype: torch.dtype, device: torch.device) -> Tensor:
        """Computes the eigenvalues :math:`\\sum_b|\\hat g_b|^2` of W*W: real, shape of the image."""
        found = torch.zeros(self.in_shape, dtype=torch.empty(0, dtype=dtype).real.dtype, device=device)
        for k in range(self.out_shape[0]):
            found += torch.view_as_real(self.response(k, dtype, device)).square().sum(dim=-1)
        return found

    def apply_gram_inverse(self, x: Tensor) -> Tensor:
        if self.is_tight or x.numel() == 0:
            return x
        # The inverse is made in double precision: in single precision the lowest eigenvalue of a large image would be
        # below the rounding of the highest.
        inverse = self._pseudo_inverse(x.device).to(x.real.dtype)
        spectrum = self._spectrum(x)
        return self._inverse(spectrum * inverse[..., : spectrum.shape[-1]], x)
