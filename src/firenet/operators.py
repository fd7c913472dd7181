"""Linear operators with a bound of their norm.

An operator maps the *trailing* axes of a tensor; every leading axis is batch. It is complex-native: a complex number is
one complex number, never a pair of reals on an axis of its own. ``A(x)`` is :math:`Ax`, ``A.adjoint(y)`` is
:math:`A^*y`, ``A.H`` the adjoint as an operator, ``A @ B`` the composition, :class:`VerticalStack` the stack.

Step sizes of primal-dual methods stand or fall with :math:`\\tau\\sigma\\|A\\|^2\\le1`, so an operator carries a
:class:`NormBound`: a number that is *at least* :math:`\\|A\\|`, with where it comes from. A power iteration converges
from below and is therefore never used.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from firenet.errors import BadInput
from firenet.numerics import UNIT, derived, doubled, full_precision, norms, power_of_two, real_view, tensor_of

Kind = Literal["exact", "proven", "estimate"]
_TRUST: tuple[Kind, ...] = ("exact", "proven", "estimate")


@dataclass(frozen=True)
class NormBound:
    """A number that bounds an operator norm from above, and why.

    Attributes:
        value: The bound, at least :math:`\\|A\\|_2` (an ``estimate`` claims no side).
        kind: ``exact`` (equal to the norm, up to rounding), ``proven`` (at least the norm) or ``estimate``.
        why: Where the number comes from, in words.
    """

    value: float
    kind: Kind
    why: str

    def __post_init__(self) -> None:
        if not (math.isfinite(self.value) and self.value >= 0):
            raise BadInput(
                "A finite norm bound, zero or more", repr(self.value), "Check the operator for NaN or infinity"
            )

    def __mul__(self, other: NormBound) -> NormBound:
        """The bound :math:`\\|AB\\|\\le\\|A\\|\\,\\|B\\|` of a composition."""
        return NormBound(self.value * other.value, _weakest(self, other), f"({self.why}) times ({other.why})")


def _weakest(*bounds: NormBound) -> Kind:
    """The kind of a bound composed of others: never exact, an estimate as soon as one of them is."""
    kinds: list[Kind] = ["proven", *(b.kind for b in bounds)]
    return max(kinds, key=_TRUST.index)


class _Numbers:
    """Tensors and how often each had been written to: equal to another if nothing was changed or exchanged since.

    A copy of an operator has copies of its tensors. Its copied ``_Numbers`` is None, "as they are at the first look",
    unless they were changed already.
    """

    def __init__(self, tensors: list[Tensor]) -> None:
        self._tensors = tensors
        self._versions = [_version(t) for t in tensors]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Numbers) or len(self._tensors) != len(other._tensors):
            return False
        same = all(a is b for a, b in zip(self._tensors, other._tensors, strict=True))
        return same and self._versions == other._versions

    __hash__ = None  # pyright: ignore[reportAssignmentType]

    def __deepcopy__(self, memo: dict[int, Any]) -> _Numbers | None:
        return None if self._versions == [_version(t) for t in self._tensors] else _Numbers([])

    def __reduce__(self) -> tuple[Any, ...]:
        return (_as_they_are, ())


def _as_they_are() -> None:
    """Returns None, as which a pickled :class:`_Numbers` comes back."""


def _version(t: Tensor) -> int:
    return 0 if t.is_inference() else t._version


class LinearOperator(nn.Module, ABC):
    """A linear map between trailing axes, with its adjoint and a bound of its norm.

    A subclass defines ``_forward`` and ``_adjoint``; both get a tensor whose trailing axes have been checked.

    Attributes:
        in_shape: Trailing shape of what the operator takes.
        out_shape: Trailing shape of what it gives.
        norm_bound: At least the operator's norm.
    """

    def __init__(self, in_shape: Sequence[int], out_shape: Sequence[int], norm_bound: NormBound | None) -> None:
        super().__init__()
        self.in_shape = tuple(int(n) for n in in_shape)
        self.out_shape = tuple(int(n) for n in out_shape)
        self._norm_bound = norm_bound
        self._seen: _Numbers | None = None
        # What the check of the adjoint found, and for which numbers: firenet.check.
        self._checked_adjoint: tuple[_Numbers | None, Any] | None = None
        self._arithmetic: torch.dtype | None = None

    @property
    def norm_bound(self) -> NormBound:
        """A number that is at least the operator's norm.

        Raises:
            BadInput: Where the operator's buffers or parameters were changed in place since the bound was stated, and
                the operator does not :meth:`renew` it.
        """
        self.notice_changes()
        return self._composed_bound() if self._norm_bound is None else self._norm_bound

    @norm_bound.setter
    def norm_bound(self, bound: NormBound) -> None:
        self._norm_bound, self._seen = bound, self.numbers()

    def numbers(self, recurse: bool = False) -> _Numbers:
        """Returns the operator's buffers and parameters as they are now, to tell later whether they were changed."""
        return _Numbers([*self.parameters(recurse=recurse), *self.buffers(recurse=recurse)])

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        known = name in self._buffers  # then it is exchanged, which norm_bound is to notice
        super().register_buffer(name, tensor, persistent)
        if not known:
            self._seen = self.numbers()

    def register_parameter(self, name: str, param: nn.Parameter | None) -> None:
        known = name in self._parameters
        super().register_parameter(name, param)
        if not known:
            self._seen = self.numbers()

    def notice_changes(self) -> None:
        """Renews what was computed from the operator's numbers where these were changed in place or exchanged."""
        now = self.numbers()
        if self._seen is None or now == self._seen:
            self._seen = now
            return
        if self._norm_bound is not None and type(self).renew is LinearOperator.renew:
            got = f"{type(self).__name__}, whose numbers were changed since its bound was stated"
            raise BadInput("A norm bound that is true", got, "Set norm_bound anew, or define renew() to compute it")
        self._seen = now
        self.renew()

    def _composed_bound(self) -> NormBound:
        """The bound of an operator made of others, from theirs as they are now."""
        raise BadInput("A norm bound", f"none for {type(self).__name__}", "Pass norm_bound to LinearOperator.__init__")

    def renew(self) -> None:
        """Brings up to date what was computed from the operator's numbers, after they were moved, cast or loaded."""

    @abstractmethod
    def _forward(self, x: Tensor) -> Tensor: ...

    @abstractmethod
    def _adjoint(self, y: Tensor) -> Tensor: ...

    def forward(self, x: Tensor | ArrayLike) -> Tensor:
        """Computes :math:`Ax`: shape (..., \\*in_shape) to (..., \\*out_shape)."""
        with full_precision():
            return self._forward(_checked(x, self.in_shape, self))

    def adjoint(self, y: Tensor | ArrayLike) -> Tensor:
        """Computes :math:`A^*y`: shape (..., \\*out_shape) to (..., \\*in_shape)."""
        with full_precision():
            return self._adjoint(_checked(y, self.out_shape, self))

    def restrict(self, y: Tensor) -> Tensor:
        """Sets to zero the entries of y that the operator never fills (what was not measured)."""
        return y

    def state_dtype(self, y: torch.dtype) -> torch.dtype:
        """The dtype of :math:`A^*y` for y of the given dtype, and that of Ax for such an x."""
        return y

    def compact(self) -> Compact:
        """The same map in the coordinates of a loop, see :class:`Compact`. It holds work buffers: one for each loop."""
        return Compact(self)

    @property
    def is_own(self) -> bool:
        """True for operators made of this library's alone: their adjoint is one, their rounding is bounded."""
        return type(self).__module__.partition(".")[0] == "firenet"

    @property
    def samples(self) -> int:
        """The number of measurements: the entries of y that :meth:`restrict` keeps."""
        return math.prod(self.out_shape)

    @property
    def gain(self) -> float:
        """The noise gain, what A* makes of white noise: :math:`\\|A\\|_F/\\sqrt m` for m :attr:`samples`, in root mean
        square :math:`\\|A^*e\\|_2/\\|e\\|_2`. Exact where that is known; here Hutchinson's estimate from 8 seeded
        draws, as a rule within a few per cent."""
        dtype, device = self.arithmetic, self._device()
        rng = np.random.default_rng(0)
        ratios = []
        for _ in range(8):
            parts = rng.standard_normal((2, *self.out_shape))
            e = torch.from_numpy(parts[0] + 1j * parts[1] if dtype.is_complex else parts[0]).to(device, dtype)
            e = self.restrict(e)
            size = norms(e, e.ndim).item()
            ratios.append(norms(self.adjoint(e), len(self.in_shape)).item() / size if size else 0.0)
        return math.sqrt(math.fsum(r * r for r in ratios) / len(ratios))

    @property
    def arithmetic(self) -> torch.dtype:
        """The dtype of the highest precision that the operator takes measurements in: for this library's operators
        complex128; for others what its adjoint accepts, tried in turn on zeros."""
        if self.is_own:
            return torch.complex128
        if self._arithmetic is None:
            self._arithmetic = self._tried()
        return self._arithmetic

    def _tried(self) -> torch.dtype:
        for dtype in (torch.complex128, torch.float64, torch.complex64, torch.float32):
            try:
                back = self.adjoint(torch.zeros(self.out_shape, dtype=dtype, device=self._device()))
                measured = self(back.to(self.state_dtype(dtype)))
            except Exception:
                continue
            kinds = (back.dtype, self.state_dtype(dtype), measured.dtype)
            if all(torch.finfo(kind).bits >= torch.finfo(dtype).bits for kind in kinds):
                return dtype
        got = f"{type(self).__name__}, whose adjoint or forward fails on zeros of all of these"
        do = "Call A.adjoint(torch.zeros(A.out_shape)) and A(torch.zeros(A.in_shape)), and see what they say"
        raise BadInput("An operator that takes complex or real numbers in double or single precision", got, do)

    def precisely(self, t: Tensor) -> Tensor:
        """Returns a tensor in the highest precision that the operator computes in, exactly."""
        if self.is_own or torch.finfo(self.arithmetic).bits == 64:
            return doubled(t)
        return t.to(torch.complex64 if t.is_complex() else torch.float32)

    def _device(self) -> torch.device:
        own = next((t for t in (*self.buffers(), *self.parameters())), None)
        return torch.device("cpu") if own is None else own.device

    @property
    def rounding(self) -> float:
        """k such that the computed Ax and A*y are off by at most k unit roundoffs of the norms of x and y.

        A bound for this library's operators. For others an estimate: sums of as many terms as there are numbers, whose
        errors are independent.
        """
        return 4 * math.sqrt(max(math.prod(self.in_shape), math.prod(self.out_shape), 1)) * self.norm_bound.value

    def adjoint_roundings(self, y: Tensor) -> Tensor:
        """Returns a bound of the error of A*y in unit roundoffs: shape (batch,), of its 2-norm, or (batch,
        \\*in_shape), of each entry.

        Args:
            y: Shape (batch, \\*out_shape).
        """
        return self.rounding * norms(y, len(self.out_shape))

    def constant_response(self) -> tuple[Tensor, float]:
        """Returns A1 for the image that is one everywhere, in double precision, and a bound of its error's norm."""
        ones = torch.ones(self.in_shape, dtype=self.arithmetic, device=self._device())
        measured = doubled(self(ones))
        unit = torch.finfo(self.arithmetic).eps / 2
        return measured, self.rounding * unit * math.sqrt(math.prod(self.in_shape))

    @property
    def is_coisometry(self) -> bool:
        """Whether AA* = I on what is measured, up to rounding and filter tables."""
        return False

    @property
    def is_isometry(self) -> bool:
        """Whether A*A = I, up to rounding and filter tables."""
        return False

    @property
    def has_right_inverse(self) -> bool:
        """Whether AA* is diagonal, so that :meth:`right_inverse` costs one adjoint."""
        return self.is_coisometry

    def right_inverse(self, y: Tensor) -> Tensor | None:
        """The x of least norm with Ax = y: :math:`A^*(AA^*)^{-1}y`, where AA* is diagonal; else None."""
        return self.adjoint(y) if self.is_coisometry else None

    @property
    def H(self) -> LinearOperator:
        """The adjoint as an operator; ``A.H.H is A``."""
        return Adjoint(self)

    def __matmul__(self, other: LinearOperator) -> LinearOperator:
        if not isinstance(other, LinearOperator):
            return NotImplemented
        return Composition(self, other)

    def as_matrix(self, dtype: torch.dtype | None = None) -> Tensor:
        """The dense matrix, shape (prod(out_shape), prod(in_shape)). For small sizes: it applies A to every unit
        vector."""
        n = math.prod(self.in_shape)
        own = next(
            (b for b in self.buffers() if b.is_floating_point() or b.is_complex()), torch.ones((), dtype=torch.float64)
        )
        if dtype is None:
            dtype = torch.promote_types(own.dtype, torch.complex64)
        units = torch.eye(n, dtype=dtype, device=own.device).reshape(n, *self.in_shape)
        return self(units).reshape(n, math.prod(self.out_shape)).mT

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self.renew()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(keep_kind(fn), recurse)
        self.renew()
        self._seen = self.numbers()
        return self


class Compact:
    """An operator in the coordinates that are best for applying it again and again.

    Measurements without what was not measured, coefficients in another order: ``pack`` and ``unpack`` go there and
    back, keep norms and inner products, and are applied once before and once after a loop. Tensors have exactly one
    batch axis in front. A subclass may write into buffers of its own, never into what it returned, and is then not to
    be shared between threads.

    Attributes:
        in_shape: Shape of packed coefficients.
        out_shape: Shape of packed measurements.
    """

    def __init__(self, operator: LinearOperator) -> None:
        self.operator = operator
        self.in_shape, self.out_shape = operator.in_shape, operator.out_shape

    @property
    def norm_bound(self) -> NormBound:
        """At least the norm of the map in these coordinates."""
        return self.operator.norm_bound

    def __call__(self, x: Tensor) -> Tensor:
        """Ax for a packed x; a new tensor."""
        return self.forward(x)

    def forward(self, x: Tensor) -> Tensor:
        """Ax for a packed x; a new tensor."""
        return self.operator(x)

    def adjoint(self, y: Tensor, out: Tensor | None = None) -> Tensor:
        """A*y for a packed y; a new tensor, or written into ``out`` (then without derivatives) where that saves
        memory."""
        return self.operator.adjoint(y)

    def pack(self, x: Tensor) -> Tensor:
        """Coefficients to packed ones."""
        return x

    def unpack(self, x: Tensor) -> Tensor:
        """Packed coefficients to coefficients."""
        return x

    def pack_measured(self, y: Tensor) -> Tensor:
        """Measurements to packed ones; what was not measured is ignored."""
        return self.operator.restrict(y)

    def unpack_measured(self, y: Tensor) -> Tensor:
        """Packed measurements to measurements, zero where nothing was measured."""
        return y

    @property
    def has_right_inverse(self) -> bool:
        return self.operator.has_right_inverse

    def right_inverse(self, y: Tensor) -> Tensor | None:
        """As that of the operator, in these coordinates."""
        return self.adjoint(y) if self.operator.is_coisometry else self.operator.right_inverse(y)

    def spare(self, like: Tensor) -> Tensor | None:
        """Memory as large as these packed coefficients that is free between two applications, if there is some."""
        return None

    def scratch(self, batch: int) -> int:
        """How many numbers the operator holds beside its argument and its result while it is applied."""
        return 2 * batch * max(math.prod(self.operator.in_shape), math.prod(self.operator.out_shape))


class _CompactComposition(Compact):
    """A composition whose outer factor is compact."""

    def __init__(self, composition: Composition) -> None:
        super().__init__(composition)
        self._outer = composition.outer.compact()
        self._inner = composition.inner
        self.out_shape = self._outer.out_shape

    def forward(self, x: Tensor) -> Tensor:
        return self._outer.forward(self._outer.pack(self._inner(x)))

    def adjoint(self, y: Tensor, out: Tensor | None = None) -> Tensor:
        return self._inner.adjoint(self._outer.unpack(self._outer.adjoint(y)))

    def pack_measured(self, y: Tensor) -> Tensor:
        return self._outer.pack_measured(y)

    def unpack_measured(self, y: Tensor) -> Tensor:
        return self._outer.unpack_measured(y)

    def scratch(self, batch: int) -> int:
        return self._outer.scratch(batch) + 2 * batch * math.prod(self._inner.in_shape)


def keep_kind(fn: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """A move or a cast of buffers that changes their precision, but leaves complex ones complex and real ones real.

    ``module.to(torch.float64)`` would cast complex buffers to real ones and lose their imaginary parts, and
    ``module.to(torch.complex128)`` would make weights complex.
    """

    def move(t: Tensor) -> Tensor:
        if not t.is_complex():
            moved = fn(t)
            return moved.real.clone() if moved.is_complex() else moved
        moved = fn(torch.view_as_real(t.resolve_conj()))
        return fn(t) if moved.is_complex() else torch.view_as_complex(moved.contiguous())

    return move


class _Linear(torch.autograd.Function):
    """A linear map as one node of the graph: its vjp is the adjoint, its jvp the map itself."""

    @staticmethod
    def forward(x: Tensor, apply: Callable[[Tensor], Tensor], adjoint: Callable[[Tensor], Tensor]) -> Tensor:
        return apply(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, ctx.map, ctx.map_adjoint = inputs
        ctx.real = not x.is_complex()

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None]:
        grad = differentiable(grad_outputs[0], ctx.map_adjoint, ctx.map)
        return grad.real if ctx.real and grad.is_complex() else grad, None, None

    @staticmethod
    def jvp(ctx: Any, *grad_inputs: Any) -> Tensor:
        return differentiable(grad_inputs[0], ctx.map, ctx.map_adjoint)


def differentiable(x: Tensor, apply: Callable[[Tensor], Tensor], adjoint: Callable[[Tensor], Tensor]) -> Tensor:
    """``apply(x)`` for a linear map given with its adjoint, differentiable whatever happens inside (work buffers,
    views)."""
    result = _Linear.apply(x, apply, adjoint)
    assert isinstance(result, Tensor)
    return result


class Adjoint(LinearOperator):
    """The adjoint of an operator."""

    def __init__(self, operator: LinearOperator) -> None:
        super().__init__(operator.out_shape, operator.in_shape, None)
        self.operator = operator

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

    def state_dtype(self, y: torch.dtype) -> torch.dtype:
        return self.operator.state_dtype(y)

    @property
    def H(self) -> LinearOperator:
        return self.operator

    @property
    def is_own(self) -> bool:
        return self.operator.is_own

    @property
    def gain(self) -> float:
        return self.operator.gain * math.sqrt(self.operator.samples / max(self.samples, 1))

    @property
    def rounding(self) -> float:
        return self.operator.rounding


class Composition(LinearOperator):
    """The composition AB: first B, then A. Its norm is bounded by the product of the bounds."""

    def __init__(self, outer: LinearOperator, inner: LinearOperator) -> None:
        if outer.in_shape != inner.out_shape:
            raise BadInput(
                f"A @ B needs A to take what B gives, trailing shape {inner.out_shape}",
                f"an A that takes {outer.in_shape}",
                "Check the order and the shapes of the two operators",
            )
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
        return _CompactComposition(self)

    def _forward(self, x: Tensor) -> Tensor:
        return self.outer(self.inner(x))

    def _adjoint(self, y: Tensor) -> Tensor:
        return self.inner.adjoint(self.outer.adjoint(y))

    def restrict(self, y: Tensor) -> Tensor:
        return self.outer.restrict(y)

    def state_dtype(self, y: torch.dtype) -> torch.dtype:
        return self.inner.state_dtype(self.outer.state_dtype(y))


class VerticalStack(LinearOperator):
    """The stack :math:`x\\mapsto(A_1x,\\dots,A_kx)`, each part flattened and laid one after the other.

    Norm: :math:`\\|A\\|\\le(\\sum_i\\|A_i\\|^2)^{1/2}` (the largest of the norms would be wrong: (I; I) has norm sqrt
    2).
    """

    def __init__(self, operators: Sequence[LinearOperator]) -> None:
        operators = list(operators)
        shapes = {a.in_shape for a in operators}
        if len(shapes) != 1:
            raise BadInput(
                "A stack of operators that take the same shape", f"shapes {sorted(shapes)}", "Check the operators"
            )
        sizes = [math.prod(a.out_shape) for a in operators]
        super().__init__(shapes.pop(), (sum(sizes),), None)
        self._sizes = sizes
        self.operators = nn.ModuleList(operators)

    def _composed_bound(self) -> NormBound:
        bounds = [a.norm_bound for a in self._parts()]
        why = "root of the sum of squares of (" + "), (".join(b.why for b in bounds) + ")"
        return NormBound(math.hypot(*(b.value for b in bounds)) * (1 + 1e-15), _weakest(*bounds), why)

    def _parts(self) -> list[LinearOperator]:
        return [a for a in self.operators if isinstance(a, LinearOperator)]

    @property
    def is_own(self) -> bool:
        return all(a.is_own for a in self._parts())

    @property
    def samples(self) -> int:
        return sum(a.samples for a in self._parts())

    @property
    def gain(self) -> float:
        energy = math.fsum(a.gain**2 * a.samples for a in self._parts())
        return math.sqrt(energy / max(self.samples, 1))

    @property
    def rounding(self) -> float:
        parts = self._parts()
        return math.hypot(*(a.rounding + len(parts) * a.norm_bound.value for a in parts))

    def split(self, y: Tensor) -> list[Tensor]:
        """The parts of a stacked measurement, each in the shape its operator gives."""
        pieces = y.split(self._sizes, dim=-1)
        return [p.reshape(*y.shape[:-1], *a.out_shape) for p, a in zip(pieces, self._parts(), strict=True)]

    def _join(self, parts: Sequence[Tensor], batch: torch.Size) -> Tensor:
        dtype = torch.float32
        for p in parts:
            dtype = torch.promote_types(dtype, p.dtype)
        return torch.cat([p.reshape(*batch, n).to(dtype) for p, n in zip(parts, self._sizes, strict=True)], dim=-1)

    def _forward(self, x: Tensor) -> Tensor:
        batch = x.shape[: x.ndim - len(self.in_shape)]
        return self._join([a(x) for a in self._parts()], batch)

    def _adjoint(self, y: Tensor) -> Tensor:
        terms = [a.adjoint(p) for a, p in zip(self._parts(), self.split(y), strict=True)]
        return sum(terms[1:], start=terms[0])

    def restrict(self, y: Tensor) -> Tensor:
        parts = [a.restrict(p) for a, p in zip(self._parts(), self.split(y), strict=True)]
        return self._join(parts, y.shape[:-1])

    def state_dtype(self, y: torch.dtype) -> torch.dtype:
        for a in self._parts():
            y = a.state_dtype(y)
        return y


class Matrix(LinearOperator):
    """A dense matrix, shape (m, n), acting on the last axis.

    Norm: for matrices with a side of at most 2048 the largest singular value in float64, times
    :math:`1+4\\max(m,n)\\,u` (u = 2.2e-16) for the rounding of the SVD; for larger ones the smaller of the Frobenius
    norm and :math:`\\sqrt{\\|A\\|_1\\|A\\|_\\infty}`, which is proven but may be several times too large.
    """

    SVD_LIMIT = 2048

    matrix: Tensor

    def __init__(self, matrix: Tensor | ArrayLike) -> None:
        # A copy: what the caller does to the matrix later does not reach the operator and its norm bound.
        matrix = tensor_of(matrix, "a matrix").clone()
        if matrix.ndim != 2 or 0 in matrix.shape:
            raise BadInput(
                "A matrix with two axes, none of them empty", f"shape {tuple(matrix.shape)}", "Reshape it to (m, n)"
            )
        if not (matrix.is_floating_point() or matrix.is_complex()):
            raise BadInput(
                "A real or complex matrix", f"dtype {matrix.dtype}", "Convert it, e.g. matrix.to(torch.float64)"
            )
        if not torch.isfinite(matrix).all():
            raise BadInput("A finite matrix", "NaN or infinity", "Remove the entries that are not finite")
        m, n = matrix.shape
        super().__init__((n,), (m,), _matrix_norm(matrix.detach()))
        self.register_buffer("matrix", matrix)
        self._forget()

    def _forget(self) -> None:
        self._diagonal: Tensor | Literal["unknown"] | None = "unknown"
        self._double: Tensor | None = None
        self._frobenius: float | None = None

    def renew(self) -> None:
        self._norm_bound = _matrix_norm(self.matrix.detach())
        self._forget()

    @property
    def frobenius(self) -> float:
        """The Frobenius norm."""
        self.notice_changes()
        if self._frobenius is None:
            self._frobenius = norms(self.matrix.detach(), 2).item()
        return self._frobenius

    @property
    def gain(self) -> float:
        return self.frobenius / len(self.matrix) ** 0.5

    @property
    def rounding(self) -> float:
        # |fl(Ax) - Ax| <= gamma_{n+2} |A| |x| entrywise, complex products included; || |A| || <= ||A||_F.
        return 2 * (max(self.matrix.shape) + 4) * self.frobenius

    def adjoint_roundings(self, y: Tensor) -> Tensor:
        modulus = self.matrix.detach().abs().to(torch.float64)
        return 2 * (len(self.matrix) + 4) * (doubled(y).abs() @ modulus)

    def constant_response(self) -> tuple[Tensor, float]:
        # Each sum correctly rounded: whether the rows sum to zero is decided, not guessed.
        double = doubled(self.matrix.detach()).cpu()
        rows = torch.view_as_real(double).numpy() if double.is_complex() else double.unsqueeze(-1).numpy()
        sums = np.array([[math.fsum(row[:, k]) for k in range(rows.shape[-1])] for row in rows])
        exact = torch.from_numpy(sums[:, 0] + 1j * sums[:, 1] if self.matrix.is_complex() else sums[:, 0])
        return exact.to(self.matrix.device), 2 * UNIT * norms(exact, 1).item()

    @property
    def has_right_inverse(self) -> bool:
        return self._inverse_gram is not None

    def right_inverse(self, y: Tensor) -> Tensor | None:
        inverse = self._inverse_gram
        return None if inverse is None else self.adjoint(y * inverse.to(y.real.dtype))

    @property
    def _inverse_gram(self) -> Tensor | None:
        """The diagonal of :math:`(AA^*)^{-1}`, where AA* is diagonal."""
        self.notice_changes()
        if self._diagonal == "unknown":
            self._diagonal = _inverse_diagonal(self.matrix.detach())
        assert not isinstance(self._diagonal, str)
        return self._diagonal

    def _in(self, dtype: torch.dtype) -> Tensor:
        """Returns the matrix in the precision of x, or in its own if that is higher: double is kept once made."""
        if torch.finfo(dtype).bits <= torch.finfo(self.matrix.dtype).bits:
            return self.matrix
        self.notice_changes()
        if self._double is None or derived(self.matrix):
            self._double = doubled(self.matrix)
        return self._double

    @staticmethod
    def _times(matrix: Tensor, x: Tensor) -> Tensor:
        if torch.finfo(x.dtype).bits < torch.finfo(matrix.dtype).bits:
            x = doubled(x)
        if matrix.is_complex() and not x.is_complex():
            x = x.to(matrix.dtype)
        elif x.is_complex() and not matrix.is_complex():
            # Two real products instead of a complex copy of the matrix.
            return torch.view_as_complex((matrix @ torch.view_as_real(x.resolve_conj())).contiguous())
        return x @ matrix.mT

    def _forward(self, x: Tensor) -> Tensor:
        return self._times(self._in(x.dtype), x)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self._times(self._in(y.dtype).mH, y)

    def state_dtype(self, y: torch.dtype) -> torch.dtype:
        return torch.promote_types(y, self.matrix.dtype)


def _inverse_diagonal(matrix: Tensor) -> Tensor | None:
    if len(matrix) > matrix.shape[1]:
        return None
    gram = matrix @ matrix.mH
    diagonal = gram.diagonal().real.clone()
    gram.diagonal().zero_()
    slack = 4 * matrix.shape[1] * torch.finfo(matrix.dtype).eps
    scale = diagonal.sqrt()
    if not bool((diagonal > 0).all()) or bool((gram.abs() > slack * scale[:, None] * scale).any()):
        return None
    return diagonal.reciprocal()


def _matrix_norm(matrix: Tensor) -> NormBound:
    m, n = matrix.shape
    double = doubled(matrix.cpu())  # not every device has float64
    # In units in which the largest entry is about one: no square under- or overflows.
    scale = power_of_two(real_view(double).abs().max()).item()
    double = double / scale
    slack = (1 + 4 * max(m, n) * 2.3e-16) * scale
    if min(m, n) <= Matrix.SVD_LIMIT:
        return NormBound(torch.linalg.matrix_norm(double, 2).item() * slack, "exact", "largest singular value, float64")
    frobenius = torch.linalg.matrix_norm(double).item()
    mixed = math.sqrt(torch.linalg.matrix_norm(double, 1).item() * torch.linalg.matrix_norm(double, math.inf).item())
    return NormBound(
        min(frobenius, mixed) * slack, "proven", "Frobenius norm or root of the product of the 1- and inf-norm"
    )


def _checked(x: Tensor | ArrayLike, shape: tuple[int, ...], operator: LinearOperator) -> Tensor:
    """Returns x as a tensor, if its trailing axes have the shape and its numbers are real or complex floats."""
    x = tensor_of(x, f"what {type(operator).__name__} is applied to")
    if tuple(x.shape[x.ndim - len(shape) :]) != shape or x.ndim < len(shape):
        packed = tuple(x.shape) == (2, *shape) or (
            x.ndim > len(shape) and tuple(x.shape[-len(shape) - 1 :]) == (*shape, 2)
        )
        raise BadInput(
            f"{type(operator).__name__} needs a tensor with trailing shape {shape}",
            f"shape {tuple(x.shape)}",
            "Pack real and imaginary parts with torch.view_as_complex" if packed else "Check the order of the axes",
        )
    if not (x.is_floating_point() or x.is_complex()):
        raise BadInput(
            f"{type(operator).__name__} needs float or complex numbers", f"dtype {x.dtype}", "Convert the tensor first"
        )
    return x
