"""Sparsifying transforms, and what all analysis operators have in common.

A transform is called on an image and gives coefficients; its adjoint goes back. They are linear maps, so autograd needs
no graph through them: the derivative of W is W and its vjp is W*, whatever happens inside.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import pywt
import torch
from numpy.typing import NDArray
from torch import Tensor

from firenet.errors import BadInput
from firenet.operators import LinearOperator, NormBound, differentiable

WAVELETS = (
    "haar",
    *(f"db{i}" for i in range(1, 11)),
    *(f"sym{i}" for i in range(2, 11)),
    *(f"coif{i}" for i in range(1, 6)),
)


@lru_cache(maxsize=64)
def filter_bank(wavelet: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The decomposition filters h (low-pass) and g (high-pass) of an orthonormal wavelet, from PyWavelets' table."""
    filters = pywt.Wavelet(wavelet)  # pyright: ignore[reportAttributeAccessIssue]  (compiled, without stubs)
    return np.array(filters.dec_lo), np.array(filters.dec_hi)


class AnalysisOperator(LinearOperator, ABC):
    """A linear map W with few large numbers in Wx: what the penalty looks at.

    A subclass defines ``_analyse`` (W) and ``_synthesise`` (W*).

    Attributes:
        is_tight: :math:`W^*W=I`, up to rounding and filter tables.
        moduli_shape: Shape of the moduli that are summed, of the weights, and of :meth:`levels`: that of the
            coefficients, but for a gradient, whose modulus is that of all its components.
        scale: The root of the mean of the diagonal of W*W, :math:`\\|W\\|_F/\\sqrt N`: 1 for tight frames.
        kills_constants: :math:`W1=0`: a dual point must then have :math:`\\langle A1,q\\rangle=0`.
        groups: For operators that ``convolves``, how many bands have a modulus together, one after the other.
    """

    is_tight = False
    scale = 1.0
    kills_constants = False
    groups: tuple[int, ...] = ()

    @property
    def convolves(self) -> bool:
        """Whether all bands are periodic convolutions, shape (bands, \\*image), as :mod:`firenet.frames` has them."""
        return bool(self.groups)

    @property
    def moduli_shape(self) -> tuple[int, ...]:
        return (len(self.groups), *self.in_shape) if self.convolves else self.out_shape

    @abstractmethod
    def _analyse(self, x: Tensor) -> Tensor: ...

    @abstractmethod
    def _synthesise(self, c: Tensor) -> Tensor: ...

    @abstractmethod
    def levels(self) -> Tensor:
        """The sparsity level (scale) of each modulus: int64, shape ``moduli_shape``, 0 the coarsest."""

    def moduli(self, c: Tensor) -> Tensor:
        """The moduli of coefficients (..., \\*out_shape): real, shape (..., \\*moduli_shape)."""
        if len(self.groups) == (self.out_shape[0] if self.convolves else 0):
            return c.abs()
        pieces = c.split(list(self.groups), dim=-len(self.out_shape))
        return torch.stack(
            [torch.linalg.vector_norm(p, dim=-len(self.out_shape)) for p in pieces], -len(self.out_shape)
        )

    def pseudo_rows(self) -> Tensor:
        """Returns for each group of bands (one for all where there are none) at least the largest 2-norm of the rows
        of :math:`W(W^*W)^\\dagger` that a modulus takes together: what an error of :math:`W^*p` costs an entry of p.

        For an operator from outside it is an estimate: :math:`W^*W` is taken for a multiple of the identity.
        """
        groups = max(len(self.groups), 1)
        norm = self.norm_bound.value
        return torch.full((groups,), norm if self.is_tight else norm / self.scale**2, dtype=torch.float64)

    def gram_solve(self, x: Tensor) -> Tensor:
        """:math:`(W^*W)^\\dagger x`."""
        if not self.is_tight:
            do = "Define gram_solve: the dual point is made feasible with it"
            raise BadInput("An analysis operator with W*W = I or with gram_solve", type(self).__name__, do)
        return x

    def _forward(self, x: Tensor) -> Tensor:
        return differentiable(x, self._analyse, self._synthesise)

    def _adjoint(self, y: Tensor) -> Tensor:
        return differentiable(y, self._synthesise, self._analyse)


class TightFrame(AnalysisOperator, ABC):
    """An analysis operator with :math:`W^*W=I`: what it takes apart, its adjoint puts together.

    Attributes:
        is_orthonormal: Also :math:`WW^*=I`, which the recovery theorems need.
    """

    is_tight = True
    is_orthonormal: bool

    @property
    def is_isometry(self) -> bool:
        return True

    @property
    def is_coisometry(self) -> bool:
        return self.is_orthonormal


class Wavelet(TightFrame):
    """The orthonormal periodised discrete wavelet transform in 1-D, 2-D or 3-D.

    One level maps each axis to its low-pass and high-pass half,
    :math:`a_k=\\sum_jh_jx_{2k+L/2-j}`, :math:`d_k=\\sum_jg_jx_{2k+L/2-j}` (indices modulo the side), and the next level
    takes the low-pass corner. This is PyWavelets' ``mode="periodization"``; the coefficients lie as
    ``pywt.coeffs_to_array`` lays them, the approximation in the first corner.

    A side that is not a multiple of 2**depth is zero-padded at its end, and the adjoint crops. Then W*W = I still
    holds and WW* = I does not: ``is_orthonormal`` is false. The coefficients have the padded shape ``out_shape``.

    Args:
        shape: Sides of the image (1 to 3 of them).
        wavelet: ``haar``, ``db1``..``db10``, ``sym2``..``sym10``, ``coif1``..``coif5``.
        levels: Number of levels, the ``depth``; None is ``pywt.dwtn_max_level`` of the shape.

    Raises:
        BadInput: For a wavelet that is not orthonormal or not known, or more levels than log2 of the smallest side.

    >>> W = Wavelet((230, 180), "db4")
    >>> W.depth, W.in_shape, W.out_shape, W.is_orthonormal
    (4, (230, 180), (240, 192), False)
    """

    def __init__(self, shape: Sequence[int], wavelet: str = "db4", levels: int | None = None) -> None:
        shape, deepest = image_shape(shape, wavelet)
        depth = min(pywt.dwtn_max_level(shape, wavelet), deepest) if levels is None else int(levels)
        check_depth(depth, deepest, shape, levels)
        padded = tuple(-(-n // 2**depth) * 2**depth for n in shape)
        norm = (1 + table_defect(wavelet)) ** (0.5 * depth * len(shape))
        super().__init__(shape, padded, NormBound(norm, "exact", f"{wavelet} is orthonormal up to its filter table"))
        self.wavelet = wavelet
        self.depth = depth
        self.is_orthonormal = padded == shape
        self._haar = wavelet in ("haar", "db1")
        # Haar is done with plain sums and differences; their factor 1/sqrt 2 an axis is put on once a level.
        self._scale = 2 ** (-0.5 * len(shape)) if self._haar else 1.0

    @property
    def rounding(self) -> float:
        # On each axis of each level sums of as many terms as the filter has taps, of norm at most sum |h|.
        taps, _ = filter_bank(self.wavelet)
        return self.depth * len(self.in_shape) * (len(taps) + 4) * float(np.abs(taps).sum()) + 4

    def levels(self) -> Tensor:
        """The level of each coefficient: 0 the approximation, 1 the coarsest details, ``depth`` the finest."""
        level = torch.full(self.out_shape, self.depth)
        for k in range(1, self.depth + 1):
            level[tuple(slice(n >> k) for n in self.out_shape)] = self.depth - k
        return level

    def _analyse(self, x: Tensor) -> Tensor:
        pad = [p for n, m in zip(reversed(self.in_shape), reversed(self.out_shape), strict=True) for p in (0, m - n)]
        x = torch.nn.functional.pad(x, pad) if any(pad) else x
        if self.depth == 0 or x.numel() == 0:
            return x.clone()
        out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
        source, target = self._grid(x), self._grid(out)
        for k in range(1, self.depth + 1):
            bands = [source]
            for axis in reversed(range(1, source.ndim - 1)):
                bands = [half for band in bands for half in self._split(band, axis)]
            corners = self.corners(target, k, behind=1)
            for band, corner in zip(bands[1:], corners[1:], strict=True):
                torch.mul(band, self._scale**k, out=corner)
            source = bands[0]
        torch.mul(source, self._scale**self.depth, out=self.corners(target, self.depth, behind=1)[0])
        return out

    def _synthesise(self, c: Tensor) -> Tensor:
        if self.depth and c.numel():
            source = self._grid(c)
            x = self.corners(source, self.depth, behind=1)[0]
            for k in range(self.depth, 0, -1):
                bands = [x, *self.corners(source, k, behind=1)[1:]]
                for axis in range(1, source.ndim - 1):
                    pairs = zip(bands[::2], bands[1::2], strict=True)
                    bands = [self._merge(low, high, axis) for low, high in pairs]
                x = bands[0].mul_(self._scale) if self._scale != 1 else bands[0]
            c = (torch.view_as_complex(x) if c.is_complex() else x).view(c.shape)
        else:
            c = c.clone()
        return c if self.is_orthonormal else c[(..., *(slice(n) for n in self.in_shape))].contiguous()

    def _grid(self, x: Tensor) -> Tensor:
        """A real view (batch, sides..., 1 or 2): what the filters act on. The last axis holds real and imaginary
        parts."""
        real = torch.view_as_real(x.resolve_conj()) if x.is_complex() else x.unsqueeze(-1)
        return real.reshape(-1, *x.shape[x.ndim - len(self.in_shape) :], real.shape[-1])

    def corners(self, c: Tensor, k: int, *, behind: int = 0) -> list[Tensor]:
        """The 2^d bands of the k-th level as views of the coefficients: approximation first, the first axis changing
        fastest.

        Level 0 is the image itself. ``behind`` is the number of axes of c behind those of the coefficients.
        """
        bands = [c]
        for axis, side in reversed(list(enumerate(self.out_shape))) if k else ():
            at, n = axis - len(self.out_shape) - behind, side >> k
            bands = [band.narrow(at, start, n) for band in bands for start in (0, n)]
        return bands

    def _split(self, x: Tensor, axis: int) -> tuple[Tensor, Tensor]:
        return _haar_split(x, axis) if self._haar else _split(x, axis, self.wavelet)

    def _merge(self, low: Tensor, high: Tensor, axis: int) -> Tensor:
        return _haar_merge(low, high, axis) if self._haar else _merge(low, high, axis, self.wavelet)


def image_shape(shape: Sequence[int], wavelet: str) -> tuple[tuple[int, ...], int]:
    """The shape as integers, and the most levels it has; refuses what is no image and no orthonormal wavelet."""
    sides = tuple(int(n) for n in shape)
    if not 1 <= len(sides) <= 3 or min(sides) < 1:
        raise BadInput("An image shape of one, two or three sides", repr(sides), "Pass the trailing axes only")
    if wavelet not in WAVELETS:
        needed = "An orthonormal wavelet: haar, db1..db10, sym2..sym10 or coif1..coif5"
        raise BadInput(needed, repr(wavelet), "Choose one, e.g. db4")
    return sides, int(math.log2(min(sides)))


def check_depth(depth: int, deepest: int, shape: tuple[int, ...], asked: int | None) -> None:
    if not 0 <= depth <= deepest:
        needed = f"Between 0 and {deepest} levels for an image of shape {shape}"
        raise BadInput(needed, f"{asked}", "Ask for fewer, or leave it to levels=None")


def table_defect(wavelet: str) -> float:
    """How far the filter table is from orthonormal (1e-16 for Daubechies, up to 5e-12 for symlets): by Gershgorin, the
    largest singular value of one level along one axis is at most sqrt(1 + defect)."""
    low, high = filter_bank(wavelet)
    pairs = [(low, low, 1.0), (high, high, 1.0), (low, high, 0.0)]
    return sum(
        2 * abs(_overlap(a, b, k) - (k == 0) * unit)
        for a, b, unit in pairs
        for k in range(-len(low) // 2, len(low) // 2)
    )


def _overlap(a: np.ndarray, b: np.ndarray, k: int) -> float:
    """The inner product of a with b shifted by 2k."""
    shift = abs(2 * k)
    first, second = (a, b) if k >= 0 else (b, a)
    return float(first[shift:] @ second[: len(second) - shift])


def _haar_split(x: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Sums and differences of neighbours along an axis (no factor 1/sqrt 2)."""
    even, odd = x.unflatten(axis, (-1, 2)).unbind(axis + 1)
    return even + odd, even - odd


def _haar_merge(low: Tensor, high: Tensor, axis: int) -> Tensor:
    """The transpose of ``_haar_split``."""
    shape = (*low.shape[:axis], low.shape[axis], 2, *low.shape[axis + 1 :])
    out = torch.empty(shape, dtype=low.dtype, device=low.device)
    even, odd = out.unbind(axis + 1)
    torch.add(low, high, out=even)
    torch.sub(low, high, out=odd)
    return out.flatten(axis, axis + 1)


# A filter bank along one axis is a banded circulant matrix. It is applied block by block: a block of outputs from the
# window of inputs that reaches it is a small dense product, and there the hardware is fastest (conv1d with stride 2 was
# measured and is slower). Short axes are one block, which also takes filters longer than the axis, wrapped.
_BLOCK = 16
_SHORT = 64


def _split(x: Tensor, axis: int, wavelet: str) -> tuple[Tensor, Tensor]:
    """The low-pass and the high-pass half along an axis of a real tensor."""
    n = x.shape[axis]
    block = n if n <= _SHORT else math.gcd(n, _BLOCK)
    reach = 0 if block == n else len(filter_bank(wavelet)[0]) // 2 - 1
    windows, inner = _windows(x, axis, block, reach)
    shape = (*x.shape[:axis], n // 2, *x.shape[axis + 1 :])
    low, high = _kernels(wavelet, block, reach, False, 1 if inner >= _WIDE else inner, x.dtype, x.device)
    if inner >= _WIDE:
        return low.expand(len(windows), *low.shape).bmm(windows).view(shape), high.expand(
            len(windows), *high.shape
        ).bmm(windows).view(shape)
    return (windows @ low.mT).view(shape), (windows @ high.mT).view(shape)


def _merge(low: Tensor, high: Tensor, axis: int, wavelet: str) -> Tensor:
    """The transpose of ``_split``, and its inverse."""
    n = 2 * low.shape[axis]
    block = n if n <= _SHORT else math.gcd(n, _BLOCK)
    reach = 0 if block == n else len(filter_bank(wavelet)[0]) // 4
    first, inner = _windows(low, axis, block // 2, reach)
    second, _ = _windows(high, axis, block // 2, reach)
    shape = (*low.shape[:axis], n, *low.shape[axis + 1 :])
    k, h = _kernels(wavelet, block, reach, True, 1 if inner >= _WIDE else inner, low.dtype, low.device)
    if inner >= _WIDE:
        return k.expand(len(first), *k.shape).bmm(first).baddbmm_(h.expand(len(first), *h.shape), second).view(shape)
    return (first @ k.mT).addmm_(second, h.mT).view(shape)


# From this many numbers behind the filtered axis on, a block is a matrix times a matrix and overlapping windows are
# used where they lie; below it the windows are copied and the block is a Kronecker product with the identity.
_WIDE = 16


def _windows(x: Tensor, axis: int, step: int, reach: int) -> tuple[Tensor, int]:
    """Windows of ``step + 2 reach`` entries every ``step`` along an axis, periodic, and the entries behind the axis.

    The windows have shape (windows, width, inner), or (windows, width * inner) if inner is small.
    """
    n, before, behind = x.shape[axis], x.shape[:axis], x.shape[axis + 1 :]
    outer, inner = math.prod(before), math.prod(behind)
    count, width = n // step, step + 2 * reach
    if reach:
        wide = torch.empty(*before, n + 2 * reach, *behind, dtype=x.dtype, device=x.device)
        wide.narrow(axis, reach, n).copy_(x)
        wide.narrow(axis, 0, reach).copy_(x.narrow(axis, n - reach, reach))
        wide.narrow(axis, reach + n, reach).copy_(x.narrow(axis, 0, reach))
        windows = wide.as_strided((outer, count, width, inner), ((n + 2 * reach) * inner, step * inner, inner, 1))
    else:
        windows = x
    return windows.reshape((outer * count, width, inner) if inner >= _WIDE else (outer * count, width * inner)), inner


@lru_cache(maxsize=512)
@torch.inference_mode(False)
def _kernels(
    wavelet: str, block: int, reach: int, inverse: bool, inner: int, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """The dense block of the low-pass and of the high-pass filter, each as Kronecker product with the identity of
    ``inner``.

    Analysis: (block/2, block + 2 reach), coefficients from samples. Synthesis: (block, block/2 + 2 reach), the other
    way.
    """
    pair = []
    for taps in filter_bank(wavelet):
        half = len(taps) // 2
        samples = block if inverse else block + 2 * reach
        coefficients = block // 2 + (2 * reach if inverse else 0)
        kernel = np.zeros((samples, coefficients))
        for k in range(coefficients):
            for j, tap in enumerate(taps):
                # The sample that meets tap j of the k-th coefficient. Both are counted from the start of the block.
                place = 2 * (k - reach) + half - j if inverse else 2 * k + half - j + reach
                place = place % block if reach == 0 else place
                if 0 <= place < samples:
                    kernel[place, k] += tap
        pair.append(
            torch.from_numpy(np.kron(kernel if inverse else kernel.T, np.eye(inner))).to(device=device, dtype=dtype)
        )
    return pair[0], pair[1]


class WalshHadamard(TightFrame):
    """The orthonormal Walsh-Hadamard transform in sequency order in 1-D, 2-D or 3-D.

    Row k of the matrix has k sign changes; the matrix is symmetric and its own inverse. Computed by butterflies in
    O(N log N).

    Args:
        shape: Sides of the image, powers of two.

    >>> WalshHadamard((4,))(torch.eye(4)).mul(2).int().tolist()
    [[1, 1, 1, 1], [1, 1, -1, -1], [1, -1, -1, 1], [1, -1, 1, -1]]
    """

    is_orthonormal = True

    def __init__(self, shape: Sequence[int]) -> None:
        shape = tuple(int(n) for n in shape)
        bad = [n for n in shape if n < 1 or n & (n - 1)]
        if bad or not 1 <= len(shape) <= 3:
            to = [1 << (max(n, 1) - 1).bit_length() for n in shape]
            raise BadInput(
                "A Walsh transform needs one to three sides that are powers of two",
                f"{shape}",
                f"Crop the image, or pad it to {tuple(to)}",
            )
        super().__init__(shape, shape, NormBound(1.0, "exact", "the Walsh transform is orthonormal"))
        for axis, n in enumerate(shape):
            self.register_buffer(f"_order{axis}", sequency_order(n), persistent=False)

    @property
    def rounding(self) -> float:
        return math.log2(math.prod(self.in_shape)) + 4  # a rounding a butterfly stage, and the scale

    def levels(self) -> Tensor:
        """The dyadic band of each coefficient, by its largest sequency: band 0 is {0, 1}, band j is {2**j .. 2**(j+1) -
        1}."""
        level = torch.zeros(self.out_shape, dtype=torch.int64)
        for k in range(1, max(self.out_shape).bit_length() - 1):
            inside = tuple(slice(2**k) for _ in self.out_shape)
            outside = torch.ones(self.out_shape, dtype=torch.bool)
            outside[inside] = False
            level[outside] = k
        return level

    def _analyse(self, x: Tensor) -> Tensor:
        d = len(self.in_shape)
        shape = x.shape
        for axis in range(d):
            n = self.in_shape[axis]
            if n == 1 or x.numel() == 0:
                continue
            outer, inner = math.prod(shape[: x.ndim - d + axis]), math.prod(self.in_shape[axis + 1 :])
            x = _butterfly(x.reshape(outer, n, inner)).index_select(1, getattr(self, f"_order{axis}")).view(shape)
        return x.mul(math.prod(self.in_shape) ** -0.5)

    def _synthesise(self, c: Tensor) -> Tensor:
        return self._analyse(c)


def sequency_order(n: int) -> Tensor:
    """For each number of sign changes k < n, which row of the Hadamard matrix (natural order) has it: bits of k's Gray
    code, reversed."""
    bits = n.bit_length() - 1
    return torch.tensor([int(f"{k ^ (k >> 1):0{bits}b}"[::-1], 2) if bits else 0 for k in range(n)])


def _butterfly(x: Tensor) -> Tensor:
    """The Hadamard transform (natural order, no scaling) along the middle axis of (outer, n, inner)."""
    outer, n, inner = x.shape
    for _ in range(n.bit_length() - 1):
        # Always the same geometry: halves in, neighbours out. After log2 n rounds the order is the natural one again.
        out = torch.empty(outer, n // 2, 2, inner, dtype=x.dtype, device=x.device)
        first, second = x.narrow(1, 0, n // 2), x.narrow(1, n // 2, n // 2)
        torch.add(first, second, out=out.select(2, 0))
        torch.sub(first, second, out=out.select(2, 1))
        x = out.view(outer, n, inner)
    return x
