"""The abstract analysis operator W, and the tight frame, for which W*W = I."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from firenet.errors import BadInput
from firenet.operators.derivative import differentiable
from firenet.operators.linear import LinearOperator
from firenet.transforms.filters import WAVELETS


class AnalysisOperator(LinearOperator, ABC):
    """A linear map W with few large numbers in Wx: what the penalty looks at.

    A subclass defines ``_analyse`` (W) and ``_synthesise`` (W*).

    Attributes:
        is_tight: :math:`W^*W=I`, up to rounding and filter tables.
        penalty_shape: Shape of the magnitudes that are summed, of the weights, and of :meth:`levels`: that of the
            coefficients, but for a gradient, whose modulus is that of all its components.
        scale: The root of the mean of the diagonal of W*W, :math:`\\|W\\|_F/\\sqrt N`: 1 for tight frames.
        annihilates_constants: :math:`W1=0`: a dual point must then have :math:`\\langle A1,q\\rangle=0`.
        groups: For operators that ``convolves``, how many bands have a modulus together, one after the other.
    """

    is_tight = False
    scale = 1.0
    annihilates_constants = False
    groups: tuple[int, ...] = ()

    @property
    def convolves(self) -> bool:
        """Whether all bands are periodic convolutions, shape (bands, \\*image): a :class:`.Convolutions`."""
        return bool(self.groups)

    @property
    def penalty_shape(self) -> tuple[int, ...]:
        return (len(self.groups), *self.in_shape) if self.convolves else self.out_shape

    @abstractmethod
    def _analyse(self, x: Tensor) -> Tensor: ...

    @abstractmethod
    def _synthesise(self, c: Tensor) -> Tensor: ...

    @abstractmethod
    def levels(self) -> Tensor:
        """The sparsity level (scale) of each modulus: int64, shape ``penalty_shape``, 0 the coarsest."""

    def magnitudes(self, c: Tensor) -> Tensor:
        """The magnitudes of coefficients (..., \\*out_shape): real, shape (..., \\*penalty_shape)."""
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

    def apply_gram_inverse(self, x: Tensor) -> Tensor:
        """:math:`(W^*W)^\\dagger x`."""
        if not self.is_tight:
            do = "Define apply_gram_inverse: the dual point is made feasible with it"
            raise BadInput("An analysis operator with W*W = I or with apply_gram_inverse", type(self).__name__, do)
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


def image_shape(shape: Sequence[int], wavelet: str) -> tuple[tuple[int, ...], int]:
    """The shape as integers, and the most levels it has; refuses what is no image and no orthonormal wavelet."""
    sides = tuple(int(n) for n in shape)
    if not 1 <= len(sides) <= 3 or min(sides) < 1:
        raise BadInput("An image shape of one, two or three sides", repr(sides), "Pass the trailing axes only")
    if wavelet not in WAVELETS:
        needed = "An orthonormal wavelet: haar, db1..db10, sym2..sym10 or coif1..coif5"
        raise BadInput(needed, repr(wavelet), "Choose one, e.g. db4")
    return sides, int(math.log2(min(sides)))
