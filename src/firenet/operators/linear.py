"""The abstract linear operator: a linear map with its adjoint and an upper bound of its norm.

An operator maps the *trailing* axes of a tensor; every leading axis is batch. Complex numbers have a complex dtype;
they are never pairs of reals on a separate axis. ``A(x)`` is :math:`Ax`, ``A.adjoint(y)`` is :math:`A^*y`, ``A.H`` the
adjoint as an operator, ``A @ B`` the composition, ``A + B`` and ``c * A`` sums and multiples (:mod:`.algebra`),
:class:`VerticalStack` the stack. :meth:`LinearOperator.from_functions` makes an operator of two functions.

Primal-dual methods converge for steps with :math:`\\tau\\sigma\\|A\\|^2\\le1`, so an operator carries a
:class:`NormBound`: a number that is *at least* :math:`\\|A\\|`, and its source. A power iteration converges to the norm
from below, so it gives no such bound.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from firenet.errors import BadInput
from firenet.numerics import compiling, doubled, full_precision, norms, tensor_of
from firenet.operators.compact import Compact
from firenet.operators.derivative import keep_kind
from firenet.operators.norm_bound import NormBound
from firenet.operators.numbers_seen import Numbers


class LinearOperator(nn.Module, ABC):
    """A linear map between trailing axes, with its adjoint and an upper bound of its norm.

    A subclass defines ``_forward`` and ``_adjoint``; both get a tensor whose trailing axes have been checked.

    Attributes:
        in_shape: Trailing shape of the input.
        out_shape: Trailing shape of the output.
        norm_bound: An upper bound of the operator's norm.
    """

    def __init__(self, in_shape: Sequence[int], out_shape: Sequence[int], norm_bound: NormBound | None) -> None:
        super().__init__()
        self.in_shape = tuple(int(n) for n in in_shape)
        self.out_shape = tuple(int(n) for n in out_shape)
        self._norm_bound = norm_bound
        self._seen: Numbers | None = None
        # The result of the dot test, and the numbers it was computed for: firenet.operators.check.
        self._checked_adjoint: tuple[Numbers | None, Any] | None = None
        self._arithmetic: torch.dtype | None = None

    @property
    def title(self) -> str:
        """The name in errors and certificates: that of the class, or that of another library's operator."""
        return type(self).__name__

    @property
    def norm_bound(self) -> NormBound:
        """The upper bound of the operator's norm.

        Raises:
            BadInput: If the operator has no bound, or its buffers or parameters were changed or replaced after the
                bound was stated and the operator does not define :meth:`renew`.
        """
        if not compiling():  # a graph has the bound of the numbers that it was made with
            self.notice_changes()
        return self._composed_bound() if self._norm_bound is None else self._norm_bound

    @norm_bound.setter
    def norm_bound(self, bound: NormBound) -> None:
        self._norm_bound, self._seen = bound, self.numbers()

    def numbers(self, recurse: bool = False) -> Numbers:
        """Returns a record of the operator's buffers and parameters, to detect later changes."""
        return Numbers([*self.parameters(recurse=recurse), *self.buffers(recurse=recurse)])

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        known = name in self._buffers  # then it is replaced, and norm_bound must detect that
        super().register_buffer(name, tensor, persistent)
        if not known:
            self._seen = self.numbers()

    def register_parameter(self, name: str, param: nn.Parameter | None) -> None:
        known = name in self._parameters
        super().register_parameter(name, param)
        if not known:
            self._seen = self.numbers()

    def notice_changes(self) -> None:
        """Recomputes what depends on the operator's buffers and parameters if these were changed or replaced."""
        now = self.numbers()
        if self._seen is None or now == self._seen:
            self._seen = now
            return
        if self._norm_bound is not None and type(self).renew is LinearOperator.renew:
            got = f"{self.title}, whose buffers or parameters were changed after its bound was stated"
            raise BadInput("A valid norm bound", got, "Set norm_bound again, or define renew() to compute it")
        self._seen = now
        self.renew()

    def _composed_bound(self) -> NormBound:
        """Returns the bound of an operator composed of others, from their present bounds."""
        raise BadInput("A norm bound", f"none for {self.title}", "Pass norm_bound to LinearOperator.__init__")

    def renew(self) -> None:
        """Recomputes what depends on the operator's buffers and parameters, after these were moved, cast, loaded or
        changed; here it does nothing."""

    @abstractmethod
    def _forward(self, x: Tensor) -> Tensor: ...

    @abstractmethod
    def _adjoint(self, y: Tensor) -> Tensor: ...

    def forward(self, x: Tensor | ArrayLike) -> Tensor:
        """Computes :math:`Ax`, from shape (..., \\*in_shape) to (..., \\*out_shape)."""
        with full_precision():
            return self._forward(_checked(x, self.in_shape, self))

    def adjoint(self, y: Tensor | ArrayLike) -> Tensor:
        """Computes :math:`A^*y`, from shape (..., \\*out_shape) to (..., \\*in_shape)."""
        with full_precision():
            return self._adjoint(_checked(y, self.out_shape, self))

    def restrict(self, y: Tensor) -> Tensor:
        """Sets to zero the entries of y that are not measured, those in which Ax is zero for every x; here all are
        measured, and y is returned."""
        return y

    def state_dtype(self, y: torch.dtype) -> torch.dtype:
        """Returns the dtype of :math:`A^*y` for y of the given dtype; Ax has the same, for x of the given dtype."""
        return y

    def data_dtype(self, y: torch.dtype) -> torch.dtype:
        """Returns the dtype in which measurements of the given dtype are used: complex if A*y is, and in single
        precision if the operator, one of another library, computes only in that."""
        state = self.state_dtype(y)
        both = torch.promote_types(y, state)
        if torch.finfo(state).bits >= torch.finfo(both).bits:
            return both
        return state.to_complex() if both.is_complex else state

    def compact(self) -> Compact:
        """Returns the same map in the coordinates of an iteration, see :class:`Compact`.

        The result holds work buffers, so every iteration needs its own object.
        """
        return Compact(self)

    @property
    def is_own(self) -> bool:
        """Whether the operator consists of this library's operators alone: then its adjoint is correct and its rounding
        errors are bounded."""
        return type(self).__module__.partition(".")[0] == "firenet"

    @property
    def samples(self) -> int:
        """The number of measurements: the entries of y that :meth:`restrict` keeps."""
        return math.prod(self.out_shape)

    def subset(self, keep: Tensor) -> LinearOperator:
        """Returns the operator that makes some of the measurements; the others are zero.

        Args:
            keep: Booleans that broadcast to ``out_shape``, true for the measurements to keep.
        """
        from firenet.operators.algebra import Subset

        return Subset(self, keep)

    def reshaped(self, in_shape: Sequence[int], out_shape: Sequence[int] | None = None) -> LinearOperator:
        """Returns the operator between arrays of other shapes, with their entries in the order of C
        (:class:`.Reshaped`).

        Args:
            in_shape: The shape of an image.
            out_shape: The shape of its measurements; None leaves it as it is.
        """
        from firenet.operators.algebra import Reshaped

        return Reshaped(self, in_shape, out_shape)

    def holdout_candidates(self) -> Tensor:
        """Returns booleans that broadcast to ``out_shape``, true for the measurements that cross-validation may hold
        out: here all of them. Measurements along an axis of length 1 are held out together."""
        return self.restrict(torch.ones(self.out_shape, dtype=torch.float64, device=self._device())) != 0

    @property
    def gain(self) -> float:
        """The noise gain :math:`\\|A\\|_F/\\sqrt m` for m :attr:`samples`: for white noise e, the root mean square of
        :math:`\\|A^*e\\|_2/\\|e\\|_2`. Some operators know it exactly; here it is Hutchinson's estimate from 8 seeded
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

    def weighted_norm_bound(self, weights: Tensor) -> NormBound | None:
        """Returns a bound of the norm of :math:`M^{1/2}A` that is better than the largest root of a weight times that
        of A, if the operator knows one; here None.

        Args:
            weights: M, zero or more, broadcasts to ``out_shape``.
        """
        return None

    def weighted_gain(self, weights: Tensor) -> float | None:
        """Returns the noise gain of :math:`M^{1/2}A`, whose samples have weights above zero, if the operator knows it
        exactly; here None.

        Args:
            weights: M, zero or more, broadcasts to ``out_shape``.
        """
        return None

    @property
    def arithmetic(self) -> torch.dtype:
        """The dtype of the highest precision in which the operator takes measurements: complex128 for this library's
        operators; for others the first of complex128, float64, complex64 and float32 that works when the operator and
        its adjoint are applied to zeros."""
        if self.is_own:
            return torch.complex128
        if self._arithmetic is None:
            self._arithmetic = self._highest_accepted()
        return self._arithmetic

    def _highest_accepted(self) -> torch.dtype:
        for dtype in (torch.complex128, torch.float64, torch.complex64, torch.float32):
            try:
                back = self.adjoint(torch.zeros(self.out_shape, dtype=dtype, device=self._device()))
                measured = self(back.to(self.state_dtype(dtype)))
            except Exception:
                continue
            kinds = (back.dtype, self.state_dtype(dtype), measured.dtype)
            if all(torch.finfo(kind).bits >= torch.finfo(dtype).bits for kind in kinds):
                return dtype
        got = f"{self.title}, whose adjoint or forward fails on zeros of all of these"
        do = "Call A.adjoint(torch.zeros(A.out_shape)) and A(torch.zeros(A.in_shape)), and read their errors"
        raise BadInput("An operator that takes complex or real numbers in double or single precision", got, do)

    def precisely(self, t: Tensor) -> Tensor:
        """Converts a tensor to the highest precision in which the operator computes: exactly to double precision, or
        rounded to single precision for an operator that computes only in that."""
        if self.is_own or torch.finfo(self.arithmetic).bits == 64:
            return doubled(t)
        return t.to(torch.complex64 if t.is_complex() else torch.float32)

    def _device(self) -> torch.device:
        own = next((t for t in (*self.buffers(), *self.parameters())), None)
        return torch.device("cpu") if own is None else own.device

    @property
    def rounding(self) -> float:
        """The number k such that the computed Ax and A*y have errors of at most k unit roundoffs times the norms of x
        and y.

        It is a bound for this library's operators. For others it is an estimate, which assumes that each entry of the
        result is a sum over all entries of the argument, with independent rounding errors.
        """
        return 4 * math.sqrt(max(math.prod(self.in_shape), math.prod(self.out_shape), 1)) * self.norm_bound.value

    def adjoint_roundings(self, y: Tensor) -> Tensor:
        """Returns a bound of the error of A*y in unit roundoffs: of its 2-norm, shape (batch,), or of each entry, shape
        (batch, \\*in_shape).

        Args:
            y: Shape (batch, \\*out_shape).
        """
        return self.rounding * norms(y, len(self.out_shape))

    def constant_response(self) -> tuple[Tensor, float]:
        """Returns A1, the measurements of the image that is one everywhere, in double precision, and a bound of the
        norm of its error."""
        ones = torch.ones(self.in_shape, dtype=self.arithmetic, device=self._device())
        measured = doubled(self(ones))
        unit = torch.finfo(self.arithmetic).eps / 2
        return measured, self.rounding * unit * math.sqrt(math.prod(self.in_shape))

    @property
    def is_coisometry(self) -> bool:
        """Whether AA* is known to be I on the measured entries, up to rounding and the error of tabulated wavelet
        filters."""
        return False

    @property
    def is_isometry(self) -> bool:
        """Whether A*A is known to be I, up to rounding and the error of tabulated wavelet filters."""
        return False

    @property
    def has_minimum_norm(self) -> bool:
        """Whether AA* is known to be diagonal, so that :meth:`minimum_norm` costs one adjoint."""
        return self.is_coisometry

    def minimum_norm(self, y: Tensor) -> Tensor | None:
        """Computes the minimum-norm solution of Ax = y, :math:`A^*(AA^*)^{-1}y`, if AA* is known to be diagonal; else
        returns None."""
        return self.adjoint(y) if self.is_coisometry else None

    @property
    def H(self) -> LinearOperator:
        """The adjoint as an operator; ``A.H.H is A``."""
        from firenet.operators.algebra import Adjoint

        return Adjoint(self)

    # NumPy's scalars and arrays leave products and sums to the methods below.
    __array_ufunc__ = None

    def __matmul__(self, other: LinearOperator) -> LinearOperator:
        """Returns the composition AB, which applies B first."""
        from firenet.operators.algebra import Composition

        return Composition(self, other) if isinstance(other, LinearOperator) else NotImplemented

    def __mul__(self, factor: complex) -> LinearOperator:
        """Returns :math:`cA` for a number c."""
        from firenet.operators.algebra import scaled

        return scaled(self, factor)

    __rmul__ = __mul__

    def __add__(self, other: LinearOperator) -> LinearOperator:
        """Returns the sum A + B."""
        from firenet.operators.algebra import Sum

        return Sum(self, other) if isinstance(other, LinearOperator) else NotImplemented

    def __neg__(self) -> LinearOperator:
        return -1.0 * self

    def __sub__(self, other: LinearOperator) -> LinearOperator:
        return self + -other if isinstance(other, LinearOperator) else NotImplemented

    @staticmethod
    def from_functions(
        forward: Callable[[Any], Any],
        adjoint: Callable[[Any], Any],
        in_shape: Sequence[int],
        out_shape: Sequence[int],
        *,
        norm: NormBound | float | None = None,
        gain: float | None = None,
        batched: bool = False,
        numpy: bool = False,
        real: bool = False,
        seed: int = 0,
        name: str | None = None,
    ) -> LinearOperator:
        """Returns the operator that applies two functions, for example those of another library.

        Each function is one node of the graph of derivatives, whatever happens inside: the derivative is the other
        function. Whether they are adjoint to each other is tested (:func:`.check_adjoint`) wherever the operator is
        used, and everything that is certified with it says so.

        Args:
            forward: A, from an array of shape ``in_shape`` to one of shape ``out_shape``.
            adjoint: A*, from an array of shape ``out_shape`` to one of shape ``in_shape``.
            in_shape: The shape of an image.
            out_shape: The shape of its measurements.
            norm: A bound of the norm: a :class:`NormBound`, or a number, which counts as an estimate. None computes a
                bound by Lanczos' method when it is first needed, with 60 applications of both functions
                (:mod:`firenet.operators.lanczos`): it is wrong with probability at most 1e-10.
            gain: The noise gain, as :attr:`gain`; None estimates it.
            batched: Whether the functions take several items at once, with one leading axis. If not, they are called
                for one after the other.
            numpy: Whether the functions take NumPy arrays instead of tensors. They may return arrays of any library.
            real: Whether the functions take real numbers only. Complex images are then two items.
            seed: The seed of Lanczos' method.
            name: The name in errors and certificates.

        Raises:
            BadInput: If an argument is no function or no shape; when the operator is used, if the results have other
                shapes or are not numbers.

        >>> import firenet, numpy as np
        >>> back = lambda y: np.cumsum(y[::-1])[::-1]
        >>> A = firenet.LinearOperator.from_functions(np.cumsum, back, (5,), (5,), numpy=True)
        >>> A(np.ones(5)).tolist()
        [1.0, 2.0, 3.0, 4.0, 5.0]
        """
        from firenet.operators.functions import Functions

        settings: dict[str, Any] = {"norm": norm, "gain": gain, "seed": seed, "name": name}
        return Functions(forward, adjoint, in_shape, out_shape, batched=batched, numpy=numpy, real=real, **settings)

    def as_matrix(self, dtype: torch.dtype | None = None) -> Tensor:
        """Returns the dense matrix, shape (prod(out_shape), prod(in_shape)); for small sizes, since it applies A to
        every unit vector."""
        n = math.prod(self.in_shape)
        own = next((b for b in self.buffers() if b.is_floating_point() or b.is_complex()), torch.ones(()).double())
        dtype = torch.promote_types(own.dtype, torch.complex64) if dtype is None else dtype
        units = torch.eye(n, dtype=dtype, device=own.device).reshape(n, *self.in_shape)
        return self(units).reshape(n, math.prod(self.out_shape)).mT

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self.renew()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        before = self._digits()
        super()._apply(keep_kind(fn), recurse)
        self.renew()
        bound = self._norm_bound
        if bound and not self.is_own and self._digits() < before and type(self).renew is LinearOperator.renew:
            # The stated bound is one for the numbers as they were: those rounded to fewer digits may exceed it.
            self._norm_bound = NormBound(bound.value, "estimate", f"{bound.why}, before a cast to fewer digits")
        self._seen = self.numbers()
        return self

    def _digits(self) -> int:
        """Returns the smallest number of bits of the operator's own floating-point buffers and parameters, or 0."""
        own = (*self.parameters(recurse=False), *self.buffers(recurse=False))
        return min((torch.finfo(t.dtype).bits for t in own if t.is_floating_point() or t.is_complex()), default=0)


def _checked(x: Tensor | ArrayLike, shape: tuple[int, ...], operator: LinearOperator) -> Tensor:
    """Returns x as a tensor, if its trailing axes have the shape and its numbers are real or complex floats."""
    name = operator.title
    x = tensor_of(x, f"the input of {name}")
    got = tuple(x.shape)
    if got[x.ndim - len(shape) :] != shape or x.ndim < len(shape):
        packed = got == (2, *shape) or (x.ndim > len(shape) and got[-len(shape) - 1 :] == (*shape, 2))
        do = "Pack real and imaginary parts with torch.view_as_complex" if packed else "Check the order of the axes"
        raise BadInput(f"{name} needs a tensor with trailing shape {shape}", f"shape {got}", do)
    if not (x.is_floating_point() or x.is_complex()):
        raise BadInput(f"{name} needs float or complex numbers", f"dtype {x.dtype}", "Convert the tensor first")
    return x
