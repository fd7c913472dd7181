"""The algebra of operators: adjoints, compositions, multiples, sums, weights and choices of measurements, shapes."""

from __future__ import annotations

import cmath
import math
from collections.abc import Sequence
from dataclasses import replace
from numbers import Complex
from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from firenet.errors import BadInput
from firenet.numerics import UNIT, broadcasts_to, doubled, tensor_of
from firenet.operators.compact import Compact, CompactComposition
from firenet.operators.linear import LinearOperator
from firenet.operators.norm_bound import NormBound, weakest
from firenet.operators.numbers_seen import Numbers


class _Derived(LinearOperator):
    """An operator that computes with the dtypes and the rounding of another one."""

    def __init__(self, operator: LinearOperator, in_shape: Sequence[int], out_shape: Sequence[int]) -> None:
        super().__init__(in_shape, out_shape, None)
        self.operator = operator

    def state_dtype(self, y: torch.dtype) -> torch.dtype:
        return self.operator.state_dtype(y)

    @property
    def is_own(self) -> bool:
        return self.operator.is_own

    @property
    def rounding(self) -> float:
        return self.operator.rounding


class Adjoint(_Derived):
    """The adjoint of an operator."""

    def __init__(self, operator: LinearOperator) -> None:
        super().__init__(operator, operator.out_shape, operator.in_shape)

    def _composed_bound(self) -> NormBound:
        return self.operator.norm_bound

    def _forward(self, x: Tensor) -> Tensor:
        return self.operator.adjoint(x)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self.operator(y)

    @property
    def is_coisometry(self) -> bool:
        return self.operator.is_isometry

    @property
    def is_isometry(self) -> bool:
        return self.operator.is_coisometry

    @property
    def H(self) -> LinearOperator:
        return self.operator

    @property
    def gain(self) -> float:
        return self.operator.gain * math.sqrt(self.operator.samples / max(self.samples, 1))


class Composition(LinearOperator):
    """The composition AB, which applies B first. Its norm is bounded by the product of the two bounds."""

    def __init__(self, outer: LinearOperator, inner: LinearOperator) -> None:
        if outer.in_shape != inner.out_shape:
            needed = f"A @ B needs an A for the output of B, trailing shape {inner.out_shape}"
            got, do = f"an A that takes {outer.in_shape}", "Check the order and the shapes of the two operators"
            raise BadInput(needed, got, do)
        super().__init__(inner.in_shape, outer.out_shape, None)
        self.outer = outer
        self.inner = inner

    def _composed_bound(self) -> NormBound:
        return self.outer.norm_bound * self.inner.norm_bound

    @property
    def is_own(self) -> bool:
        return self.outer.is_own and self.inner.is_own

    @property
    def samples(self) -> int:
        return self.outer.samples

    def holdout_candidates(self) -> Tensor:
        return self.outer.holdout_candidates()

    @property
    def gain(self) -> float:
        return self.outer.gain if self.inner.is_coisometry else super().gain

    @property
    def rounding(self) -> float:
        first, second = self.inner, self.outer
        if not self.is_own:
            return super().rounding
        through = first.norm_bound.value * second.rounding + first.rounding * second.norm_bound.value
        return through + first.rounding * second.rounding * UNIT

    @property
    def is_coisometry(self) -> bool:
        return self.outer.is_coisometry and self.inner.is_coisometry

    @property
    def is_isometry(self) -> bool:
        return self.outer.is_isometry and self.inner.is_isometry

    def compact(self) -> Compact:
        return CompactComposition(self)

    def _forward(self, x: Tensor) -> Tensor:
        return self.outer(self.inner(x))

    def _adjoint(self, y: Tensor) -> Tensor:
        return self.inner.adjoint(self.outer.adjoint(y))

    def restrict(self, y: Tensor) -> Tensor:
        return self.outer.restrict(y)

    def state_dtype(self, y: torch.dtype) -> torch.dtype:
        return self.inner.state_dtype(self.outer.state_dtype(y))


class Scaled(_Derived):
    """The multiple :math:`cA`.

    Args:
        operator: A.
        factor: c, a finite number; for a complex one measurements and images are complex.
    """

    def __init__(self, operator: LinearOperator, factor: complex) -> None:
        super().__init__(operator, operator.in_shape, operator.out_shape)
        self.factor = factor

    def _composed_bound(self) -> NormBound:
        bound = self.operator.norm_bound
        value = abs(self.factor) * bound.value * (1 + 2 * UNIT)
        return NormBound(value, bound.kind, f"{abs(self.factor):g} times ({bound.why})")

    def _forward(self, x: Tensor) -> Tensor:
        return self.factor * self.operator(x)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self.factor.conjugate() * self.operator.adjoint(y)

    def state_dtype(self, y: torch.dtype) -> torch.dtype:
        dtype = self.operator.state_dtype(y)
        return dtype.to_complex() if isinstance(self.factor, complex) else dtype

    def restrict(self, y: Tensor) -> Tensor:
        return self.operator.restrict(y)

    def holdout_candidates(self) -> Tensor:
        return self.operator.holdout_candidates()

    @property
    def samples(self) -> int:
        return self.operator.samples

    @property
    def gain(self) -> float:
        return abs(self.factor) * self.operator.gain

    @property
    def rounding(self) -> float:
        return abs(self.factor) * (self.operator.rounding * (1 + 4 * UNIT) + 4 * self.operator.norm_bound.value)

    @property
    def is_coisometry(self) -> bool:
        return self.factor in (1, -1, 1j, -1j) and self.operator.is_coisometry

    @property
    def is_isometry(self) -> bool:
        return self.factor in (1, -1, 1j, -1j) and self.operator.is_isometry


def scaled(operator: LinearOperator, factor: Any) -> LinearOperator:
    """Returns :math:`cA` for a number c, which may be a scalar of NumPy or torch.

    Raises:
        BadInput: If c is not a finite number.
    """
    if isinstance(factor, Tensor) and factor.requires_grad:
        do = "Multiply the measurements by it instead"
        raise BadInput("A number times an operator", "a tensor that requires gradients", do)
    number = factor.item() if getattr(factor, "ndim", 1) == 0 else factor
    if not isinstance(number, Complex):
        do = "Pass a number; a composition is A @ B, and A(x) applies A"
        raise BadInput("A number times an operator", type(factor).__name__, do)
    number = number if isinstance(number, complex) else float(number.real)
    if not cmath.isfinite(number):
        raise BadInput("A finite number times an operator", f"{number}", "Check it")
    if isinstance(operator, Scaled):
        return Scaled(operator.operator, operator.factor * number)
    return Scaled(operator, number)


class Sum(LinearOperator):
    """The sum A + B. Its norm is bounded by the sum of the two bounds.

    An entry of the measurements is measured if A or B measures it.
    """

    def __init__(self, first: LinearOperator, second: LinearOperator) -> None:
        shapes = [(a.in_shape, a.out_shape) for a in (first, second)]
        if shapes[0] != shapes[1]:
            got = f"{shapes[0]} and {shapes[1]}"
            raise BadInput("A sum of operators of the same shapes", got, "Check the operators")
        super().__init__(*shapes[0], None)
        self.first = first
        self.second = second

    def _composed_bound(self) -> NormBound:
        a, b = self.first.norm_bound, self.second.norm_bound
        return NormBound((a.value + b.value) * (1 + 2 * UNIT), weakest(a, b), f"({a.why}) plus ({b.why})")

    def _forward(self, x: Tensor) -> Tensor:
        return self.first(x) + self.second(x)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self.first.adjoint(y) + self.second.adjoint(y)

    def _measured(self) -> Tensor:
        ones = torch.ones(self.out_shape, dtype=torch.float64, device=self._device())
        return (self.first.restrict(ones) != 0) | (self.second.restrict(ones) != 0)

    def restrict(self, y: Tensor) -> Tensor:
        return torch.where(self._measured(), y, 0.0)

    def holdout_candidates(self) -> Tensor:
        first, second = self.first.holdout_candidates(), self.second.holdout_candidates()
        return first & second  # what is outside the fully sampled centre of both

    @property
    def samples(self) -> int:
        return int(self._measured().sum())

    def state_dtype(self, y: torch.dtype) -> torch.dtype:
        return torch.promote_types(self.first.state_dtype(y), self.second.state_dtype(y))

    @property
    def is_own(self) -> bool:
        return self.first.is_own and self.second.is_own

    @property
    def rounding(self) -> float:
        if not self.is_own:
            return super().rounding
        parts = self.first.rounding + self.second.rounding
        return parts * (1 + 4 * UNIT) + 2 * (self.first.norm_bound.value + self.second.norm_bound.value)


class Weighted(_Derived):
    """The operator :math:`M^{1/2}A`, whose data are :math:`M^{1/2}y` (:meth:`weigh`).

    Its residual is :math:`\\|M^{1/2}(Ax-y)\\|`: where measurements are dense, for example in the centre of radial
    k-space, weights below one make up for their number. The iteration then takes fewer layers, for another problem:
    white noise counts less there, too. A density compensation belongs here, not inside the adjoint.

    Args:
        operator: A.
        weights: M, real numbers, zero or more, that broadcast to ``operator.out_shape``.
    """

    root: Tensor

    def __init__(self, operator: LinearOperator, weights: Tensor | ArrayLike) -> None:
        super().__init__(operator, operator.in_shape, operator.out_shape)
        given = tensor_of(weights, "weights")
        if given.is_complex() or not bool((torch.isfinite(given) & (given >= 0)).all()):
            got = "complex numbers, negative ones, NaN or infinity"
            raise BadInput("Real, finite weights of measurements, zero or more", got, "Check the density compensation")
        if not broadcasts_to(given.shape, self.out_shape):
            got = f"shape {tuple(given.shape)}"
            raise BadInput(f"Weights that broadcast to the measurements' shape {self.out_shape}", got, "Check the axes")
        self.register_buffer("root", doubled(given).sqrt())
        self._known: tuple[Numbers, NormBound | None] | None = None

    def weigh(self, y: Tensor | ArrayLike) -> Tensor:
        """Returns :math:`M^{1/2}y`, the data of the weighted problem."""
        y = tensor_of(y, "measurements")
        return torch.where(self.root > 0, self._times(y), 0.0)

    def _weights(self) -> Tensor:
        return doubled(self.root).square()

    def _times(self, y: Tensor) -> Tensor:
        return y * self.root.to(y.real.dtype)

    def _composed_bound(self) -> NormBound:
        numbers = self.numbers(recurse=True)
        if self._known is None or self._known[0] != numbers:
            self._known = (numbers, self.operator.weighted_norm_bound(self._weights()))
        if self._known[1] is not None:  # the weights are rounded, in their roots and in the squares of these
            return replace(self._known[1], value=self._known[1].value * (1 + 4 * UNIT))
        bound = self.operator.norm_bound
        value = self.root.max().item() * bound.value * (1 + 4 * UNIT)
        return NormBound(value, weakest(bound), f"the largest root of a weight times ({bound.why})")

    def _forward(self, x: Tensor) -> Tensor:
        return self._times(self.operator(x))

    def _adjoint(self, y: Tensor) -> Tensor:
        return self.operator.adjoint(self._times(y))

    def restrict(self, y: Tensor) -> Tensor:
        return torch.where(self.root > 0, self.operator.restrict(y), 0.0)

    def holdout_candidates(self) -> Tensor:
        return _some_kept(self.operator.holdout_candidates(), self.root > 0)

    def weighted_gain(self, weights: Tensor) -> float | None:
        return self.operator.weighted_gain(weights.to(self.root.device) * self._weights())

    @property
    def gain(self) -> float:
        known = self.operator.weighted_gain(self._weights())
        return super().gain if known is None else known

    @property
    def samples(self) -> int:
        ones = torch.ones(self.out_shape, dtype=self.root.dtype, device=self.root.device)
        return int((self.restrict(ones) != 0).sum())

    @property
    def rounding(self) -> float:
        return self.root.max().item() * (self.operator.rounding * (1 + 4 * UNIT) + 4 * self.operator.norm_bound.value)


class Subset(_Derived):
    """The operator :math:`P A`, where P keeps some of the measurements and sets the others to zero.

    Args:
        operator: A.
        keep: Booleans that broadcast to ``A.out_shape``, true for the measurements to keep.
    """

    keep: Tensor

    def __init__(self, operator: LinearOperator, keep: Tensor) -> None:
        try:
            kept = keep.to(torch.bool).expand(operator.out_shape)
        except RuntimeError:
            got = f"shape {tuple(keep.shape)}"
            raise BadInput(f"Booleans that broadcast to shape {operator.out_shape}", got, "Check the axes") from None
        super().__init__(operator, operator.in_shape, operator.out_shape)
        self.register_buffer("keep", kept.clone())

    def _composed_bound(self) -> NormBound:
        bound = self.operator.norm_bound
        return NormBound(bound.value, weakest(bound), f"part of: {bound.why}")

    def _forward(self, x: Tensor) -> Tensor:
        return self.operator(x) * self.keep

    def _adjoint(self, y: Tensor) -> Tensor:
        return self.operator.adjoint(y * self.keep)

    def restrict(self, y: Tensor) -> Tensor:
        return self.operator.restrict(y) * self.keep

    def holdout_candidates(self) -> Tensor:
        return _some_kept(self.operator.holdout_candidates(), self.keep)

    @property
    def gain(self) -> float:
        known = self.operator.weighted_gain(self.keep.double())
        return super().gain if known is None else known

    @property
    def samples(self) -> int:
        measured = self.operator.restrict(torch.ones(self.out_shape, dtype=torch.float64, device=self.keep.device))
        return int(((measured != 0) & self.keep).sum())


class Reshaped(_Derived):
    """An operator whose images and measurements have other shapes, with their entries in the order of C.

    A matrix acts on vectors. As an operator of images, which a wavelet transform or the gradient needs, it is
    ``Matrix(a).reshaped((rows, columns))``. All that is known about the operator stays known, for example that its
    norm bound is proven.

    Args:
        operator: A.
        in_shape: The shape of an image; None is ``operator.in_shape``.
        out_shape: The shape of its measurements; None is ``operator.out_shape``.

    Raises:
        BadInput: For a shape with another number of entries.
    """

    def __init__(
        self,
        operator: LinearOperator,
        in_shape: Sequence[int] | None = None,
        out_shape: Sequence[int] | None = None,
    ) -> None:
        shapes: list[tuple[int, ...]] = []
        for name, given, own in (
            ("in_shape", in_shape, operator.in_shape),
            ("out_shape", out_shape, operator.out_shape),
        ):
            shape = own if given is None else tuple(int(n) for n in given)
            if min(shape, default=1) < 1 or math.prod(shape) != math.prod(own):
                got, do = f"{shape}", "Check the axes, and which shape is which"
                raise BadInput(f"{name} of {math.prod(own)} numbers", got, do)
            shapes.append(shape)
        super().__init__(operator, shapes[0], shapes[1])

    def _of(self, x: Tensor, before: tuple[int, ...], after: tuple[int, ...]) -> Tensor:
        return x.reshape(*x.shape[: x.ndim - len(before)], *after)

    def _inner(self, y: Tensor) -> Tensor:
        return self._of(y, self.out_shape, self.operator.out_shape)

    def _composed_bound(self) -> NormBound:
        return self.operator.norm_bound

    def _forward(self, x: Tensor) -> Tensor:
        measured = self.operator(self._of(x, self.in_shape, self.operator.in_shape))
        return self._of(measured, self.operator.out_shape, self.out_shape)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self._of(self.operator.adjoint(self._inner(y)), self.operator.in_shape, self.in_shape)

    def restrict(self, y: Tensor) -> Tensor:
        return self._of(self.operator.restrict(self._inner(y)), self.operator.out_shape, self.out_shape)

    def holdout_candidates(self) -> Tensor:
        return self.operator.holdout_candidates().expand(self.operator.out_shape).reshape(self.out_shape)

    @property
    def title(self) -> str:
        return self.operator.title

    @property
    def samples(self) -> int:
        return self.operator.samples

    @property
    def gain(self) -> float:
        return self.operator.gain

    def adjoint_roundings(self, y: Tensor) -> Tensor:
        found = self.operator.adjoint_roundings(self._inner(y))
        return found if found.ndim <= 1 else found.reshape(len(found), *self.in_shape)

    def constant_response(self) -> tuple[Tensor, float]:
        measured, error = self.operator.constant_response()
        return measured.reshape(self.out_shape), error

    @property
    def is_coisometry(self) -> bool:
        return self.operator.is_coisometry

    @property
    def is_isometry(self) -> bool:
        return self.operator.is_isometry

    @property
    def has_minimum_norm(self) -> bool:
        return self.operator.has_minimum_norm

    def minimum_norm(self, y: Tensor) -> Tensor | None:
        found = self.operator.minimum_norm(self._inner(y))
        return None if found is None else self._of(found, self.operator.in_shape, self.in_shape)


def _some_kept(candidates: Tensor, kept: Tensor) -> Tensor:
    """Returns the candidates with a measurement that is kept; one candidate may stand for several measurements."""
    kept = kept.expand(torch.broadcast_shapes(candidates.shape, kept.shape))
    shared = [a for a in range(-candidates.ndim, 0) if candidates.shape[a] == 1 < kept.shape[a]]
    return candidates & (kept.any(dim=shared, keepdim=True) if shared else kept)
