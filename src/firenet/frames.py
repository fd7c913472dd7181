"""Redundant analysis operators: bands as large as the image, each a periodic convolution.

.. math:: Wx=\\big(\\mathcal F^{-1}(\\hat g_b\\cdot\\mathcal Fx)\\big)_b

They are linear in x and diagonal in the spectrum, :math:`W^*W=\\sum_b|\\hat g_b|^2`, so :math:`(W^*W)^\\dagger` costs
two FFTs, and with Fourier samples they share the spectrum (:mod:`firenet.analysis`).
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from firenet.errors import BadInput
from firenet.numerics import fft_rounding
from firenet.operators import NormBound
from firenet.transforms import AnalysisOperator, TightFrame, check_depth, filter_bank, image_shape, table_defect


class Convolutions(AnalysisOperator):
    """An analysis operator by its :meth:`responses`, through the FFT."""

    @abstractmethod
    def response(self, band: int, dtype: torch.dtype, device: torch.device) -> Tensor:
        """Returns the response of a band at the frequencies of ``torch.fft.fftn``: complex, shape of the image."""

    @abstractmethod
    def band_norms(self) -> Tensor:
        """Returns for each band a bound of the largest modulus of its response, float64."""

    @abstractmethod
    def response_roundings(self) -> Tensor:
        """Returns for each band a bound of the error of its response in double precision, in unit roundoffs."""

    def responses(self, dtype: torch.dtype, device: torch.device) -> Tensor:
        """Returns the responses of all bands: complex, shape (bands, \\*image); not to be written to."""
        return torch.stack([self.response(k, dtype, device) for k in range(self.out_shape[0])])

    @property
    def rounding(self) -> float:
        # Two transforms and a product a band.
        each = (2 * fft_rounding(self.in_shape) + 8) * self.band_norms() + self.response_roundings()
        return float(torch.linalg.vector_norm(each)) + self.out_shape[0]

    def pseudo_rows(self) -> Tensor:
        # The row of a band is the convolution with g_b over the gram; its energy, summed over a group.
        inverse = self._pseudo_inverse(torch.device("cpu"))
        device, dtype = inverse.device, torch.complex128
        energy = [(self.response(k, dtype, device) * inverse).abs().square().mean() for k in range(self.out_shape[0])]
        return torch.stack([e.sum() for e in torch.stack(energy).split(list(self.groups))]).sqrt() * (1 + 1e-9)

    def _pseudo_inverse(self, device: torch.device) -> Tensor:
        """One over :meth:`gram`, in double precision; zero at frequency zero where W annihilates constants, and
        nowhere else: whether a frequency is in the kernel is decided by what W is, not by how small a number is."""
        gram = self.gram(torch.complex128, device).clone()
        zero = (0,) * gram.ndim
        if self.kills_constants:
            gram[zero] = 1
        inverse = gram.reciprocal()
        if self.kills_constants:
            inverse[zero] = 0
        return inverse

    @property
    def _axes(self) -> tuple[int, ...]:
        return tuple(range(-len(self.in_shape), 0))

    def _analyse(self, x: Tensor) -> Tensor:
        axes = self._axes
        if x.numel() == 0:
            return x.new_zeros((*x.shape[: x.ndim - len(axes)], *self.out_shape))
        if x.is_complex():
            spectrum = torch.fft.fftn(x, dim=axes).unsqueeze(-len(axes) - 1)
            return torch.fft.ifftn(spectrum * self.responses(x.dtype, x.device), dim=axes)
        half = torch.fft.rfftn(x, dim=axes).unsqueeze(-len(axes) - 1)
        response = self.responses(half.dtype, x.device)[..., : half.shape[-1]]
        return torch.fft.irfftn(half * response, s=self.in_shape, dim=axes)

    def _synthesise(self, c: Tensor) -> Tensor:
        axes = self._axes
        if c.numel() == 0:
            return c.new_zeros((*c.shape[: c.ndim - len(self.out_shape)], *self.in_shape))
        if c.is_complex():
            response = self.responses(c.dtype, c.device)
            spectrum = (torch.fft.fftn(c, dim=axes) * response.conj()).sum(dim=-len(axes) - 1)
            return torch.fft.ifftn(spectrum, dim=axes)
        half = torch.fft.rfftn(c, dim=axes)
        response = self.responses(half.dtype, c.device)[..., : half.shape[-1]]
        return torch.fft.irfftn((half * response.conj()).sum(dim=-len(axes) - 1), s=self.in_shape, dim=axes)

    @abstractmethod
    def deviations(self) -> Tensor:
        """The root of the mean square of each modulus when the image is white noise of variance one: shape (groups,
        1, ..., 1), float64.

        As weights, they put the threshold of every band at the same multiple of its noise, and make of the undecimated
        l1 norm the mean of the orthonormal ones over all shifts of the image.
        """

    def gram(self, dtype: torch.dtype, device: torch.device) -> Tensor:
        """:math:`\\sum_b|\\hat g_b|^2`, real, shape of the image."""
        found = torch.zeros(self.in_shape, dtype=torch.empty(0, dtype=dtype).real.dtype, device=device)
        for k in range(self.out_shape[0]):
            found += torch.view_as_real(self.response(k, dtype, device)).square().sum(dim=-1)
        return found

    def gram_solve(self, x: Tensor) -> Tensor:
        if self.is_tight or x.numel() == 0:
            return x
        # In double precision: the lowest eigenvalue of a large image is below the rounding of the highest in single.
        inverse = self._pseudo_inverse(x.device).to(x.real.dtype)
        if x.is_complex():
            return torch.fft.ifftn(torch.fft.fftn(x, dim=self._axes) * inverse, dim=self._axes)
        half = torch.fft.rfftn(x, dim=self._axes)
        return torch.fft.irfftn(half * inverse[..., : half.shape[-1]], s=self.in_shape, dim=self._axes)


class UndecimatedWavelet(Convolutions, TightFrame):
    """The undecimated (stationary, a trous) wavelet transform in 1-D, 2-D or 3-D, periodic, for any image size.

    Level j filters what the level before has passed on with the low-pass and the high-pass filter, divided by
    :math:`\\sqrt2` and with :math:`2^j-1` zeros between their taps, along every axis, and keeps all the samples. Each
    band is a convolution,

    .. math:: Wx=\\big(\\mathcal F^{-1}(\\hat g_b\\cdot\\mathcal Fx)\\big)_b,\\qquad\\sum_b|\\hat g_b|^2=1,

    so W*W = I. The responses are evaluated at the frequencies :math:`2^j\\omega_k`: filters longer than the side wrap
    around, and stay tight. A shift of the image shifts its coefficients: no blocks, at the price of :math:`(2^d-1)J+1`
    coefficients a pixel in d dimensions.

    Coefficients have shape (bands, \\*shape): details from the finest level to the coarsest, the approximation last.

    Args:
        shape: Sides of the image (1 to 3 of them).
        wavelet: ``haar``, ``db1``..``db10``, ``sym2``..``sym10``, ``coif1``..``coif5``.
        levels: Number of levels J, the ``depth``; None is 5, or as many as halve the smallest side to one.

    Raises:
        BadInput: For a wavelet that is not orthonormal or not known, or more levels than log2 of the smallest side.

    >>> W = UndecimatedWavelet((230, 180))
    >>> W.wavelet, W.depth, W.out_shape, W.is_orthonormal
    ('sym4', 5, (16, 230, 180), False)
    """

    def __init__(self, shape: Sequence[int], wavelet: str = "sym4", levels: int | None = None) -> None:
        shape, deepest = image_shape(shape, wavelet)
        depth = min(5, deepest) if levels is None else int(levels)
        check_depth(depth, deepest, shape, levels)
        bands = (2 ** len(shape) - 1) * depth + 1
        why = f"undecimated {wavelet} is tight up to its filter table"
        norm = (1 + table_defect(wavelet)) ** (0.5 * depth * len(shape))
        super().__init__(shape, (bands, *shape), NormBound(norm, "exact", why))
        self.wavelet = wavelet
        self.depth = depth
        self.is_orthonormal = depth == 0
        self.groups = (1,) * bands
        self._made: Tensor | None = None

    def levels(self) -> Tensor:
        """The level of each coefficient: 0 the approximation, 1 the coarsest details, ``depth`` the finest."""
        each = 2 ** len(self.in_shape) - 1
        level = torch.cat([torch.arange(self.depth, 0, -1).repeat_interleave(each), torch.zeros(1, dtype=torch.int64)])
        return level.view(-1, *(1,) * len(self.in_shape)).expand(self.out_shape).clone()

    def deviations(self) -> Tensor:
        # The atoms of level j are those of the orthonormal transform, divided by the root of their number of shifts.
        d = len(self.in_shape)
        sizes = [2.0 ** (-0.5 * d * j) for j in range(1, self.depth + 1) for _ in range(2**d - 1)]
        return torch.tensor([*sizes, 2.0 ** (-0.5 * d * self.depth)], dtype=torch.float64).view(-1, *(1,) * d)

    def response(self, band: int, dtype: torch.dtype, device: torch.device) -> Tensor:
        d = len(self.in_shape)
        each = 2**d - 1
        level, kind = (self.depth - 1, 0) if band == each * self.depth else (band // each, band % each + 1)
        product = torch.ones((), dtype=torch.complex128)
        for axis in range(d):
            along = _along(self.wavelet, self.depth, self.in_shape[axis])[level, kind >> (d - 1 - axis) & 1]
            product = product[..., None] * torch.from_numpy(along)
        # Products of many small numbers become denormal, and arithmetic with them is many times slower. Below the
        # square of the rounding they count for nothing.
        product = torch.where(product.abs() < torch.finfo(dtype).eps ** 2, 0, product)
        return product.to(device=device, dtype=dtype)

    @torch.inference_mode(False)
    def responses(self, dtype: torch.dtype, device: torch.device) -> Tensor:
        if self._made is None or self._made.dtype != dtype or self._made.device != device:
            self._made = super().responses(dtype, device)
        return self._made

    def band_norms(self) -> Tensor:
        # Of a tight frame none exceeds one, but for the filter table's defect.
        return torch.full((self.out_shape[0],), self.norm_bound.value, dtype=torch.float64)

    def response_roundings(self) -> Tensor:
        # Sums of as many terms as there are taps, divided by sqrt 2, and a product for each axis and level before.
        taps = filter_bank(self.wavelet)[0]
        each = (2 * len(taps) + 8) * float(np.abs(taps).sum())
        return torch.full((self.out_shape[0],), each * max(self.depth, 1) * len(self.in_shape), dtype=torch.float64)


@lru_cache(maxsize=32)
def _along(wavelet: str, depth: int, n: int) -> NDArray[np.complex128]:
    """Returns along one axis the products of the low-pass responses of all levels before, times the low-pass and the
    high-pass response of each level: shape (depth, 2, n), and (1, 2, n) ones for no level."""
    low = np.ones(n, dtype=np.complex128)
    found = np.ones((max(depth, 1), 2, n), dtype=np.complex128)
    for j in range(depth):
        found[j] = low * _response(wavelet, n, 2**j)
        low = found[j, 0]
    return found


def _response(wavelet: str, n: int, stretch: int) -> NDArray[np.complex128]:
    """The responses of the low-pass and the high-pass filter over sqrt 2, at ``stretch`` times the n frequencies.

    The middle of the filter lies at 0: a band is not shifted against the image by more than half a tap.
    """
    filters = filter_bank(wavelet)
    place = np.arange(len(filters[0])) - len(filters[0]) // 2
    # Angles from integers modulo n, so that coarse levels lose no digits.
    phase = np.exp(-2j * np.pi * (np.outer(np.arange(n) * stretch, place) % n) / n)
    return np.stack([phase @ taps / np.sqrt(2) for taps in filters])


Boundary = Literal["periodic", "neumann"]


class Gradient(Convolutions):
    """Finite differences :math:`(\\nabla x)_{a,i}=x_{i+e_a}-x_i` along every axis: :math:`\\|\\nabla x\\|_1` with the
    modulus over all axes together is the isotropic total variation.

    Coefficients have shape (axes, \\*shape), moduli (1, \\*shape).

    Norm: exact, from the eigenvalues :math:`4\\sin^2(\\pi k/n)`, Neumann :math:`4\\sin^2(\\pi k/2n)`, an axis.

    Args:
        shape: Sides of the image (1 to 3 of them).
        boundary: ``periodic``, or ``neumann``: no difference across the last pixel of an axis.

    >>> Gradient((4,), "neumann")(torch.tensor([0.0, 1.0, 3.0, 3.0])).tolist()
    [[1.0, 2.0, 0.0, 0.0]]
    """

    kills_constants = True

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
    def moduli_shape(self) -> tuple[int, ...]:
        return (1, *self.in_shape)

    def levels(self) -> Tensor:
        """All differences are of one level, 1: there is no approximation."""
        return torch.ones(self.moduli_shape, dtype=torch.int64)

    def moduli(self, c: Tensor) -> Tensor:
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

    def deviations(self) -> Tensor:
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

    def gram_solve(self, x: Tensor) -> Tensor:
        if self.boundary == "periodic" or x.numel() == 0:
            return super().gram_solve(x)
        # Mirrored at its end along every axis, a Neumann image is a periodic one of twice the sides.
        wide = x
        for axis in self._axes:
            wide = torch.cat([wide, wide.flip(axis)], dim=axis)
        solved = Gradient([2 * n for n in self.in_shape]).gram_solve(wide)
        return solved[(..., *(slice(n) for n in self.in_shape))].contiguous()


def _eigenvalues(n: int, boundary: Boundary) -> NDArray[np.float64]:
    """Those of the negative Laplacian along an axis."""
    return 4 * np.sin(np.pi * np.arange(n) / (n if boundary == "periodic" else 2 * n)) ** 2


class Union(Convolutions):
    """Several operators side by side, :math:`Wx=(f_1W_1x,\\dots,f_kW_kx)`: the penalty is the sum of theirs.

    Undecimated wavelets with :math:`\\sum f_i^2=1` are together a tight frame. With a :class:`Gradient` it is the sum
    of two penalties, wavelets and total variation.

    Args:
        parts: Undecimated wavelets, periodic gradients or unions, all for one image.
        factors: Positive numbers :math:`f_i`; None is :math:`k^{-1/2}` each.

    >>> W = Union([UndecimatedWavelet((8, 8), "haar", 1), UndecimatedWavelet((8, 8), "sym4", 2)])
    >>> W.out_shape, W.is_tight
    ((11, 8, 8), True)
    """

    def __init__(self, parts: Sequence[AnalysisOperator], factors: Sequence[float] | None = None) -> None:
        parts = list(parts)
        if not parts or not all(isinstance(p, Convolutions) and p.convolves for p in parts):
            got = ", ".join(type(p).__name__ for p in parts) or "nothing"
            do = "Decimated wavelets and the Neumann gradient do not convolve; use UndecimatedWavelet, or periodic"
            raise BadInput("Operators whose bands are periodic convolutions", got, do)
        shapes = {p.in_shape for p in parts}
        if len(shapes) != 1:
            raise BadInput("Operators for one image", f"shapes {sorted(shapes)}", "Make all for the same shape")
        factors = [len(parts) ** -0.5] * len(parts) if factors is None else [float(f) for f in factors]
        if len(factors) != len(parts) or not all(0 < f < math.inf for f in factors):
            raise BadInput(f"{len(parts)} positive factors", f"{factors}", "One a part")
        if max(factors) > 1e100 * min(factors):
            raise BadInput("Factors within 1e100 of each other", f"{factors}", "Their squares under- or overflow")
        shape = shapes.pop()
        norm = math.hypot(*(f * p.norm_bound.value for f, p in zip(factors, parts, strict=True)))
        tight = all(p.is_tight for p in parts) and abs(sum(f * f for f in factors) - 1) < 1e-14
        why = "root of the sum of squares of the parts'"
        super().__init__(shape, (sum(p.out_shape[0] for p in parts), *shape), NormBound(norm, "proven", why))
        self.parts, self.factors = torch.nn.ModuleList(parts), tuple(factors)
        self.groups = tuple(g for p in parts for g in p.groups)
        self.is_tight = tight
        self.scale = 1.0 if tight else math.hypot(*(f * p.scale for f, p in zip(factors, parts, strict=True)))
        self.kills_constants = all(p.kills_constants for p in parts)
        self._cached: dict[tuple[torch.dtype, torch.device], Tensor] = {}

    def _operators(self) -> list[Convolutions]:
        return [p for p in self.parts if isinstance(p, Convolutions)]

    def levels(self) -> Tensor:
        """Those of the parts, counted on from one part to the next so that no two share a level; all approximations
        are level 0."""
        found, above = [], 0
        for part in self._operators():
            level = part.levels()
            found.append(torch.where(level > 0, level + above, 0))
            above += int(level.max())
        return torch.cat(found)

    def deviations(self) -> Tensor:
        return torch.cat([f * p.deviations() for f, p in zip(self.factors, self._operators(), strict=True)])

    def response(self, band: int, dtype: torch.dtype, device: torch.device) -> Tensor:
        for factor, part in zip(self.factors, self._operators(), strict=True):
            if band < part.out_shape[0]:
                return factor * part.response(band, dtype, device)
            band -= part.out_shape[0]
        raise IndexError(band)

    @torch.inference_mode(False)
    def responses(self, dtype: torch.dtype, device: torch.device) -> Tensor:
        key = (dtype, device)
        if key not in self._cached:
            self._cached = {key: super().responses(dtype, device)}  # one: they are large
        return self._cached[key]

    def band_norms(self) -> Tensor:
        return torch.cat([f * p.band_norms() for f, p in zip(self.factors, self._operators(), strict=True)])

    def response_roundings(self) -> Tensor:
        return torch.cat([f * p.response_roundings() for f, p in zip(self.factors, self._operators(), strict=True)])

    def gram(self, dtype: torch.dtype, device: torch.device) -> Tensor:
        parts = zip(self.factors, self._operators(), strict=True)
        return torch.stack([f * f * p.gram(dtype, device) for f, p in parts]).sum(dim=0)
