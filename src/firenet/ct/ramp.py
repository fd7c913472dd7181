"""The ramp filter, and projections weighted by it."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from firenet.errors import BadInput
from firenet.numerics import UNIT, fft_rounding, tensor_of
from firenet.operators.lanczos import lanczos
from firenet.operators.linear import LinearOperator
from firenet.operators.norm_bound import NormBound
from firenet.operators.numbers_seen import Numbers
from firenet.sensing.projection import Projection


def padded_length(cells: int) -> int:
    """Returns the power of two to which views are padded with zeros, so that a filter does not wrap around."""
    return 1 << max(math.ceil(math.log2(2 * cells)), 2)


def ramp_response(length: int) -> NDArray[np.float64]:
    """Returns the response of the band-limited ramp filter at the non-negative frequencies of a discrete Fourier
    transform whose length is a multiple of 4.

    The filter has the coefficients of Kak and Slaney (1988, equation 61 of chapter 3) for cells of width 1: 1/4 at 0,
    :math:`-1/(\\pi k)^2` at odd k, and 0 elsewhere. Cut off at the given length, its response is about
    :math:`2/(\\pi^2\\,\\text{length})` at zero frequency, not zero, and positive at all others.
    """
    k = np.arange(length)
    k = np.minimum(k, length - k)
    odd = k % 2 == 1
    filter_ = np.where(odd, -1 / np.square(math.pi * np.where(odd, k, 1)), 0.0)
    filter_[0] = 0.25
    return np.fft.rfft(filter_).real


class RampWeighted(LinearOperator):
    """The operator :math:`M^{1/2}A` of a projection A, whose data are :math:`M^{1/2}y` (:meth:`weigh`).

    Here :math:`M^{1/2}` convolves each view with the filter whose response is the square root of that of the
    band-limited ramp (:func:`ramp_response`), divided by its maximum; views are padded with zeros to twice their length
    and cut again. It is symmetric and positive definite with norm at most 1: at zero frequency the response is small,
    but not zero. The residual is then :math:`\\|M^{1/2}(Ax-y)\\|`, in which the low frequencies, which the views have
    in common, count less. The iteration takes far fewer layers, for another problem: white noise of the data is no
    longer white in it.

    The norm bound is that of Lanczos' method, wrong with a probability of at most 1e-10; the proven bound
    :math:`\\|M^{1/2}A\\|\\le\\|A\\|` is several times too large, which would cost more layers than the weights save.
    The gap of a solution is proven with either of them.

    Args:
        operator: A, a projection with parallel rays or a fan beam.

    Raises:
        BadInput: For other operators.
    """

    response: Tensor

    def __init__(self, operator: Projection) -> None:
        if not isinstance(operator, Projection):
            do = "For diagonal weights of any operator there is Weighted"
            raise BadInput("A Projection to weigh with the ramp filter", type(operator).__name__, do)
        super().__init__(operator.in_shape, operator.out_shape, None)
        self.operator = operator
        response = ramp_response(padded_length(operator.out_shape[1]))
        self.register_buffer("response", torch.from_numpy(np.sqrt(response / response.max())))
        self._found: tuple[Numbers, NormBound] | None = None

    def weigh(self, y: Tensor | ArrayLike) -> Tensor:
        """Returns :math:`M^{1/2}y`, the data of the weighted problem, for data of shape (..., \\*out_shape); cells that
        no pixel reaches count as zero."""
        given = tensor_of(y, "measurements")
        if tuple(given.shape[-2:]) != self.out_shape or not (given.is_floating_point() or given.is_complex()):
            got = f"shape {tuple(given.shape)} and dtype {given.dtype}"
            raise BadInput(f"Measurements of trailing shape {self.out_shape}", got, "Pass line integrals")
        return self._filtered(self.operator.restrict(given))

    def _filtered(self, y: Tensor) -> Tensor:
        if y.is_complex():
            return torch.complex(self._filtered(y.real), self._filtered(y.imag))
        if y.numel() == 0:
            return y
        cells, length = y.shape[-1], 2 * (len(self.response) - 1)
        spectrum = torch.fft.rfft(y, length) * self.response.to(y.dtype)
        return torch.fft.irfft(spectrum, length)[..., :cells]

    def _forward(self, x: Tensor) -> Tensor:
        return self._filtered(self.operator(x))

    def _adjoint(self, y: Tensor) -> Tensor:
        return self.operator.adjoint(self._filtered(y))

    def _composed_bound(self) -> NormBound:
        now = self.numbers(recurse=True)
        if self._found is None or self._found[0] != now:
            found = lanczos(self, self.adjoint, self.in_shape, torch.float64, device=self.response.device)
            proven = self.operator.norm_bound
            self._found = now, found.bound if found.bound.value < proven.value else proven
        return self._found[1]

    def state_dtype(self, y: torch.dtype) -> torch.dtype:
        return self.operator.state_dtype(y)

    @property
    def is_own(self) -> bool:
        return self.operator.is_own

    @property
    def rounding(self) -> float:
        filter_ = 2 * fft_rounding((2 * (len(self.response) - 1),)) + 8
        parts = filter_ * self.operator.norm_bound.value + self.operator.rounding
        return parts * (1 + (filter_ + 4) * UNIT)
