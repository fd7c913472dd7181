"""This library's operators once more, by elementwise operations alone, each with a bound of its rounding.

The mathematical operator is that of the stored numbers: filter taps, coil maps, factors and matrices are the floats
that they are; Fourier, Walsh and Haar coefficients are those of mathematics.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from fractions import Fraction
from typing import Any

import numpy as np
from torch import Tensor

from firenet.errors import BadInput
from firenet.operators.algebra import Adjoint, Composition, Subset
from firenet.operators.linear import LinearOperator
from firenet.operators.matrix import Matrix
from firenet.operators.stack import VerticalStack
from firenet.sensing.fourier import MultiCoilFourier, SubsampledFourier
from firenet.sensing.fourier_wavelet import FourierOfWavelet
from firenet.sensing.walsh import SubsampledWalsh
from firenet.transforms.gradient import Gradient
from firenet.transforms.undecimated import UndecimatedWavelet
from firenet.transforms.union import Union
from firenet.transforms.walsh import WalshHadamard
from firenet.transforms.wavelet import Wavelet
from firenet.verified import filterbanks, spectra
from firenet.verified.arithmetic import Arithmetic, Array
from firenet.verified.losses import PRODUCT, UNIT, Loss, gamma, stacked


class Map(ABC):
    """A linear map that is evaluated in a given arithmetic.

    Attributes:
        in_shape: Shape of the input.
        out_shape: Shape of the output.
        loss: Bounds of the norm and of the rounding errors in doubles, for the map divided by ``unit``.
        unit: A power of two, by which the result of :meth:`apply` and :meth:`adjoint` is to be multiplied. The largest
            factors inside the map are then about one, so that no product underflows unless it is negligible.
    """

    def __init__(self, in_shape: tuple[int, ...], out_shape: tuple[int, ...], loss: Loss, unit: Fraction) -> None:
        self.in_shape, self.out_shape, self.loss, self.unit = in_shape, out_shape, loss, unit

    @abstractmethod
    def apply(self, x: Array, k: Arithmetic) -> Array:
        """Applies the map, divided by ``unit``, to an array of shape ``in_shape``."""

    @abstractmethod
    def adjoint(self, y: Array, k: Arithmetic) -> Array:
        """Applies the adjoint, divided by ``unit``, to an array of shape ``out_shape``."""

    def constant(self) -> tuple[Array, float] | None:
        """Returns what the map, divided by ``unit``, makes of the image that is one everywhere, and a bound of the
        relative error; None if this is not known without evaluation."""
        return None


_ONE = Fraction(1)


class _Fourier(Map):
    def __init__(
        self, operator: SubsampledFourier | MultiCoilFourier | FourierOfWavelet, shape: tuple[int, ...]
    ) -> None:
        super().__init__(shape, shape, spectra.fourier_loss(shape), _ONE)
        self._mask, self._centred = operator.mask.cpu().numpy(), operator.centred

    def apply(self, x: Array, k: Arithmetic) -> Array:
        x = _shifted(x, -1) if self._centred else x
        y = spectra.fourier(x if x.dtype == object else x.astype(np.complex128), x.ndim, k)
        return np.where(self._mask, _shifted(y, 1) if self._centred else y, 0)

    def adjoint(self, y: Array, k: Arithmetic) -> Array:
        y = np.where(self._mask, y, 0)
        y = _shifted(y, -1) if self._centred else y
        x = k.conjugate(spectra.fourier(k.conjugate(y if y.dtype == object else y.astype(np.complex128)), y.ndim, k))
        return _shifted(x, 1) if self._centred else x

    def constant(self) -> tuple[Array, float]:
        found = np.zeros(self.out_shape, np.complex128)
        at = tuple(n // 2 if self._centred else 0 for n in self.out_shape)
        found[at] = math.sqrt(math.prod(self.out_shape)) * self._mask[at]
        return found, 2 * UNIT


def _shifted(x: Array, sign: int) -> Array:
    """Moves the origin from the corner to the middle (sign 1) or back (-1)."""
    return np.roll(x, [sign * (n // 2) for n in x.shape], range(x.ndim))


class _Coils(Map):
    def __init__(self, operator: MultiCoilFourier) -> None:
        self._maps, size = _double(operator.maps), operator.maps.shape[0]
        self._unit = _power_of_two(self._maps)
        self._each = _Fourier(operator, operator.in_shape)
        norm = _root_of_sum(_squares(self._maps * (1 / self._unit)).sum(axis=0).max(), 2 * size)
        maps = Loss(norm, PRODUCT * norm, (PRODUCT + gamma(size)) * (1 + 1e-9) * norm)
        super().__init__(operator.in_shape, operator.out_shape, maps.then(self._each.loss), Fraction(self._unit))

    def apply(self, x: Array, k: Arithmetic) -> Array:
        return np.stack([self._each.apply(x * k.constants(s, self._unit), k) for s in self._maps])

    def adjoint(self, y: Array, k: Arithmetic) -> Array:
        total: Any = 0
        for one, s in zip(y, self._maps, strict=True):
            total = total + self._each.adjoint(one, k) * k.conjugate(k.constants(s, self._unit))
        return total


class _Walsh(Map):
    def __init__(self, shape: tuple[int, ...], mask: Array | None) -> None:
        super().__init__(shape, shape, spectra.walsh_loss(shape), _ONE)
        self._mask = mask

    def apply(self, x: Array, k: Arithmetic) -> Array:
        y = spectra.walsh(x, x.ndim, k)
        return y if self._mask is None else np.where(self._mask, y, 0)

    def adjoint(self, y: Array, k: Arithmetic) -> Array:
        return spectra.walsh(y if self._mask is None else np.where(self._mask, y, 0), y.ndim, k)

    def constant(self) -> tuple[Array, float]:
        found, at = np.zeros(self.out_shape), (0,) * len(self.out_shape)
        found[at] = math.sqrt(found.size) * (1 if self._mask is None else self._mask[at])
        return found, 2 * UNIT


class _Matrix(Map):
    def __init__(self, operator: Matrix) -> None:
        self._matrix = _double(operator.matrix)
        self._unit = _power_of_two(self._matrix)
        m, n = self._matrix.shape
        size = _root_of_sum(_squares(self._matrix * (1 / self._unit)).sum(), 2 * m * n)
        loss = Loss(size, (PRODUCT + gamma(n)) * (1 + 1e-9) * size, (PRODUCT + gamma(m)) * (1 + 1e-9) * size)
        super().__init__((n,), (m,), loss, Fraction(self._unit))

    def apply(self, x: Array, k: Arithmetic) -> Array:
        return np.asarray((k.constants(self._matrix, self._unit) * x).sum(axis=1))

    def adjoint(self, y: Array, k: Arithmetic) -> Array:
        return np.asarray((k.conjugate(k.constants(self._matrix, self._unit)) * y[:, None]).sum(axis=0))

    def constant(self) -> tuple[Array, float] | None:
        # Sums that are rounded once are zero where the exact sums are. Quotients that could be denormal are not used.
        try:
            pairs = [(math.fsum(r.real.tolist()), math.fsum(r.imag.tolist())) for r in self._matrix]
        except OverflowError:
            return None
        scaled = np.array(pairs) * (1 / self._unit)
        if (np.abs(scaled)[np.array(pairs) != 0] < 2.0**-900).any():
            return None
        return scaled[:, 0] + 1j * scaled[:, 1], 2 * UNIT


class _Wavelet(Map):
    def __init__(self, operator: Wavelet) -> None:
        self._name, self._depth, self._haar = operator.wavelet, operator.depth, operator.wavelet in ("haar", "db1")
        loss = filterbanks.decimated_loss(self._name, len(operator.in_shape), self._depth, haar=self._haar)
        super().__init__(operator.in_shape, operator.out_shape, loss, _ONE)

    def apply(self, x: Array, k: Arithmetic) -> Array:
        return filterbanks.decimated(x, self.out_shape, self._name, self._depth, k, haar=self._haar)

    def adjoint(self, y: Array, k: Arithmetic) -> Array:
        return filterbanks.decimated_adjoint(y, self.in_shape, self._name, self._depth, k, haar=self._haar)


class _Undecimated(Map):
    def __init__(self, operator: UndecimatedWavelet) -> None:
        self._name, self._depth = operator.wavelet, operator.depth
        loss = filterbanks.undecimated_loss(self._name, len(operator.in_shape), self._depth)
        super().__init__(operator.in_shape, operator.out_shape, loss, _ONE)

    def apply(self, x: Array, k: Arithmetic) -> Array:
        return filterbanks.undecimated(x, self._name, self._depth, k)

    def adjoint(self, y: Array, k: Arithmetic) -> Array:
        return filterbanks.undecimated_adjoint(y, self._name, self._depth, k)


class _Gradient(Map):
    def __init__(self, operator: Gradient) -> None:
        self._boundary = operator.boundary
        loss = filterbanks.gradient_loss(len(operator.in_shape))
        super().__init__(operator.in_shape, operator.out_shape, loss, _ONE)

    def apply(self, x: Array, k: Arithmetic) -> Array:
        return filterbanks.gradient(x, self._boundary, k)

    def adjoint(self, y: Array, k: Arithmetic) -> Array:
        return filterbanks.gradient_adjoint(y, self._boundary, k)


class _Union(Map):
    def __init__(self, operator: Union) -> None:
        self._parts = [map_of(p) for p in operator.parts if isinstance(p, LinearOperator)]
        self._factors = np.array(operator.factors)
        # Units of unions inside this one are a part of the factors.
        self._units = [float(p.unit) for p in self._parts]
        self._unit = _power_of_two(self._factors * self._units)
        losses = []
        for p, f, u in zip(self._parts, self._factors.tolist(), self._units, strict=True):
            losses.append(p.loss.times(f * u / self._unit * (1 + 1e-12), UNIT * (1 + 1e-9)))
        super().__init__(operator.in_shape, operator.out_shape, stacked(*losses), Fraction(self._unit))

    def _scaled(self, part: int, x: Array, k: Arithmetic) -> Array:
        return x * k.constants(self._factors[part : part + 1] * self._units[part], self._unit)[0]

    def apply(self, x: Array, k: Arithmetic) -> Array:
        return np.concatenate([self._scaled(i, p.apply(x, k), k) for i, p in enumerate(self._parts)])

    def adjoint(self, y: Array, k: Arithmetic) -> Array:
        total, at = None, 0
        for i, p in enumerate(self._parts):
            bands = y[at : at + p.out_shape[0]]
            term, at = self._scaled(i, p.adjoint(bands, k), k), at + p.out_shape[0]
            total = term if total is None else total + term
        assert total is not None
        return total


class _Composed(Map):
    def __init__(self, first: Map, second: Map) -> None:
        self._first, self._second = first, second
        forward, back = first.loss, second.loss
        super().__init__(first.in_shape, second.out_shape, forward.then(back), first.unit * second.unit)

    def apply(self, x: Array, k: Arithmetic) -> Array:
        return self._second.apply(self._first.apply(x, k), k)

    def adjoint(self, y: Array, k: Arithmetic) -> Array:
        return self._first.adjoint(self._second.adjoint(y, k), k)


class _Transposed(Map):
    def __init__(self, of: Map) -> None:
        loss = Loss(of.loss.norm, of.loss.backward, of.loss.forward)
        super().__init__(of.out_shape, of.in_shape, loss, of.unit)
        self._of = of

    def apply(self, x: Array, k: Arithmetic) -> Array:
        return self._of.adjoint(x, k)

    def adjoint(self, y: Array, k: Arithmetic) -> Array:
        return self._of.apply(y, k)


class _Part(Map):
    def __init__(self, of: Map, keep: Array) -> None:
        super().__init__(of.in_shape, of.out_shape, of.loss, of.unit)
        self._of, self._keep = of, keep

    def apply(self, x: Array, k: Arithmetic) -> Array:
        return np.where(self._keep, self._of.apply(x, k), 0)

    def adjoint(self, y: Array, k: Arithmetic) -> Array:
        return self._of.adjoint(np.where(self._keep, y, 0), k)

    def constant(self) -> tuple[Array, float] | None:
        known = self._of.constant()
        return None if known is None else (np.where(self._keep, known[0], 0), known[1])


class _Stack(Map):
    def __init__(self, operator: VerticalStack) -> None:
        self._parts = [map_of(a) for a in operator.operators if isinstance(a, LinearOperator)]
        unit = max(p.unit for p in self._parts)
        self._ratios = [float(p.unit / unit) for p in self._parts]  # powers of two, or zero if negligible
        if not all(self._ratios):
            raise BadInput("Operators of similar size in a stack", "ratios below 1e-300", "Scale the operators")
        losses = [p.loss.times(r) for p, r in zip(self._parts, self._ratios, strict=True)]
        super().__init__(operator.in_shape, operator.out_shape, stacked(*losses), unit)

    def _scaled(self, part: int, x: Array, k: Arithmetic) -> Array:
        return x * k.constants(np.array(self._ratios[part : part + 1]))[0]

    def apply(self, x: Array, k: Arithmetic) -> Array:
        return np.concatenate([self._scaled(i, p.apply(x, k), k).reshape(-1) for i, p in enumerate(self._parts)])

    def adjoint(self, y: Array, k: Arithmetic) -> Array:
        total, at = None, 0
        for i, p in enumerate(self._parts):
            size = math.prod(p.out_shape)
            term = self._scaled(i, p.adjoint(y[at : at + size].reshape(p.out_shape), k), k)
            total, at = term if total is None else total + term, at + size
        assert total is not None
        return total


def _double(t: Tensor) -> Array:
    found = t.detach().cpu().resolve_conj().numpy()
    return found.astype(np.complex128 if np.iscomplexobj(found) else np.float64)


def _squares(a: Array) -> Array:
    return a.real * a.real + a.imag * a.imag if np.iscomplexobj(a) else a * a


def _root_of_sum(total: Any, terms: int) -> float:
    """Returns an upper bound of the root of a sum of so many squares, computed in whatever order; the last term is for
    squares that underflow."""
    return math.sqrt(float(total)) * (1 + (terms + 16) * UNIT) + 2.0**-500


def _power_of_two(array: Array) -> float:
    """Returns a power of two that is at least the largest part of a number, and at most twice that; 1 for zeros."""
    array = np.asarray(array)
    parts = np.maximum(np.abs(array.real), np.abs(array.imag)) if np.iscomplexobj(array) else np.abs(array)
    size = float(parts.max(initial=0.0))
    return math.ldexp(1.0, min(max(math.frexp(size)[1], -1000), 1000)) if size else 1.0


def map_of(operator: LinearOperator) -> Map:
    """Returns the map of an operator of this library.

    Raises:
        BadInput: For operators of other types, of which nothing can be verified.
    """
    kind = type(operator)
    if kind is SubsampledFourier:
        assert isinstance(operator, SubsampledFourier)
        return _Fourier(operator, operator.in_shape)
    if kind is FourierOfWavelet:
        assert isinstance(operator, FourierOfWavelet)
        return _Composed(_Transposed(_Wavelet(operator.wavelet)), _Fourier(operator, operator.out_shape))
    if kind is SubsampledWalsh:
        assert isinstance(operator, SubsampledWalsh)
        return _Walsh(operator.in_shape, operator.mask.cpu().numpy())
    if kind is WalshHadamard:
        return _Walsh(operator.in_shape, None)
    if isinstance(operator, Composition) and kind is Composition:
        return _Composed(map_of(operator.inner), map_of(operator.outer))
    if isinstance(operator, Adjoint) and kind is Adjoint:
        return _Transposed(map_of(operator.operator))
    if isinstance(operator, Subset) and kind is Subset:
        return _Part(map_of(operator.operator), operator.keep.cpu().numpy())
    makers: dict[Any, Any] = {MultiCoilFourier: _Coils, Matrix: _Matrix, VerticalStack: _Stack}
    makers |= {Wavelet: _Wavelet, UndecimatedWavelet: _Undecimated, Gradient: _Gradient, Union: _Union}
    if kind in makers:
        return makers[kind](operator)
    do = "Certify without verified: the certificate then says what it rests on"
    raise BadInput("An operator of this library, whose every rounding is bounded", kind.__name__, do)
