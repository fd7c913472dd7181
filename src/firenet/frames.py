"""Redundant analysis operators: bands as large as the image, each a periodic convolution.

.. math:: Wx=\\big(\\mathcal F^{-1}(\\hat g_b\\cdot\\mathcal Fx)\\big)_b

They are linear in x and diagonal in the spectrum, :math:`W^*W=\\sum_b|\\hat g_b|^2`, so :math:`(W^*W)^\\dagger` costs
two FFTs, and with Fourier samples they share the spectrum (:mod:`firenet.analysis`).
"""

from __future__ import annotations

import itertools
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
from firenet.operators import NormBound
from firenet.transforms import AnalysisOperator, TightFrame, check_depth, filter_bank, image_shape, table_defect


class Convolutions(AnalysisOperator):
    """An analysis operator by its :meth:`responses`, through the FFT."""

    @abstractmethod
    def responses(self, dtype: torch.dtype, device: torch.device) -> Tensor:
        """The responses of the bands at the frequencies of ``torch.fft.fftn``: complex, shape (bands, \\*image); not to
        be written to."""

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
        return torch.view_as_real(self.responses(dtype, device)).square().sum(dim=(0, -1))

    def gram_solve(self, x: Tensor) -> Tensor:
        if self.is_tight or x.numel() == 0:
            return x
        # In double precision: the lowest eigenvalue of a large image is below the rounding of the highest in single.
        inverse = pseudo_inverse(self.gram(torch.complex128, x.device)).to(x.real.dtype)
        if x.is_complex():
            return torch.fft.ifftn(torch.fft.fftn(x, dim=self._axes) * inverse, dim=self._axes)
        half = torch.fft.rfftn(x, dim=self._axes)
        return torch.fft.irfftn(half * inverse[..., : half.shape[-1]], s=self.in_shape, dim=self._axes)


def pseudo_inverse(gram: Tensor) -> Tensor:
    """One over a spectrum in double precision, zero where that is zero."""
    zero = gram <= 1e-15 * gram.max()
    return torch.where(zero, 0, gram.where(~zero, torch.ones_like(gram)).reciprocal())


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

    def responses(self, dtype: torch.dtype, device: torch.device) -> Tensor:
        return _undecimated(self.wavelet, self.depth, self.in_shape, dtype, device)


@lru_cache(maxsize=2)  # they are large
@torch.inference_mode(False)
def _undecimated(wavelet: str, depth: int, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """The responses of all bands, shape (bands, *shape)."""
    low: NDArray[np.complex128] = np.ones(shape, dtype=np.complex128)
    details: list[NDArray[np.complex128]] = []
    for j in range(depth):
        pairs = [_response(wavelet, n, 2**j) for n in shape]
        products = []
        for kind in itertools.product((0, 1), repeat=len(shape)):
            band = low
            for axis, (pair, k) in enumerate(zip(pairs, kind, strict=True)):
                band = band * pair[k].reshape(-1, *(1,) * (len(shape) - 1 - axis))
            products.append(band)
        low = products[0]
        details += products[1:]
    responses = np.stack([*details, low])
    # Products of many small numbers become denormal, and arithmetic with them is many times slower. Below the square of
    # the rounding they count for nothing.
    responses[np.abs(responses) < torch.finfo(dtype).eps ** 2] = 0
    return torch.from_numpy(responses).to(device=device, dtype=dtype)


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

    def responses(self, dtype: torch.dtype, device: torch.device) -> Tensor:
        return _differences(self.in_shape, dtype, device)

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


@lru_cache(maxsize=4)
@torch.inference_mode(False)
def _differences(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    responses = []
    for axis, n in enumerate(shape):
        along = (np.exp(2j * np.pi * np.arange(n) / n) - 1).reshape(-1, *(1,) * (len(shape) - 1 - axis))
        along.ravel()[0] = 0
        responses.append(np.broadcast_to(along, shape))
    return torch.from_numpy(np.stack(responses)).to(device=device, dtype=dtype)


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

    @torch.inference_mode(False)
    def responses(self, dtype: torch.dtype, device: torch.device) -> Tensor:
        key = (dtype, device)
        if key not in self._cached:
            parts = zip(self.factors, self._operators(), strict=True)
            self._cached = {key: torch.cat([f * p.responses(dtype, device) for f, p in parts])}  # one: they are large
        return self._cached[key]

    def gram(self, dtype: torch.dtype, device: torch.device) -> Tensor:
        parts = zip(self.factors, self._operators(), strict=True)
        return torch.stack([f * f * p.gram(dtype, device) for f, p in parts]).sum(dim=0)
