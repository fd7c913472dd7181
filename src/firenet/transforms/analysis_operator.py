"""The abstract analysis operator W, and the tight frame, an analysis operator with W*W = I."""

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
    """An analysis operator: a linear map W for which Wx has few large entries; the penalty is a norm of Wx.

    A subclass defines ``_analyse`` (W), ``_synthesise`` (W*) and :meth:`levels`, and :meth:`apply_gram_inverse` unless
    W*W = I.

    Attributes:
        is_tight: Whether :math:`W^*W=I`, up to rounding and the error of filter tables.
        penalty_shape: Shape of the group magnitudes that the penalty sums, of the weights, and of :meth:`levels`. It is
            the shape of the coefficients, except for a gradient, alone or in a union: all its components at a pixel
            form one group.
        scale: The root of the mean of the diagonal of W*W, :math:`\\|W\\|_F/\\sqrt N`: 1 for tight frames.
        annihilates_constants: Whether W maps constant images to zero: then feasible dual points satisfy
            :math:`\\langle A1,q\\rangle=0` for the image 1 of ones.
        groups: If ``convolves``, the number of consecutive bands in each group.
    """

    is_tight = False
    scale = 1.0
    annihilates_constants = False
    groups: tuple[int, ...] = ()

    @property
    def convolves(self) -> bool:
        """Whether all bands are periodic convolutions of shape (bands, \\*image), as in :class:`.Convolutions`."""
        return bool(self.groups)

    @property
    def penalty_shape(self) -> tuple[int, ...]:
        """The shape of the group magnitudes, of the weights and of :meth:`levels`."""
        return (len(self.groups), *self.in_shape) if self.convolves else self.out_shape

    @abstractmethod
    def _analyse(self, x: Tensor) -> Tensor: ...

    @abstractmethod
    def _synthesise(self, c: Tensor) -> Tensor: ...

    @abstractmethod
    def levels(self) -> Tensor:
        """Returns the sparsity level (scale) of each group: int64, shape ``penalty_shape``, 0 for the coarsest."""

    def magnitudes(self, c: Tensor) -> Tensor:
        """Computes the group magnitudes of coefficients (..., \\*out_shape): real, shape (..., \\*penalty_shape)."""
        if len(self.groups) == (self.out_shape[0] if self.convolves else 0):
            return c.abs()
        axis = -len(self.out_shape)
        return torch.stack([torch.linalg.vector_norm(p, dim=axis) for p in c.split(list(self.groups), axis)], axis)

    def pseudo_rows(self) -> Tensor:
        """Returns for each group of bands an upper bound of the largest 2-norm of its rows of :math:`W(W^*W)^\\dagger`:
        the largest change of a magnitude of p that an error of norm one in :math:`W^*p` can cause. An operator without
        bands has one group.

        For a user-defined operator it is an estimate that assumes :math:`W^*W` to be a multiple of the identity.
        """
        norm = self.norm_bound.value if self.is_tight else self.norm_bound.value / self.scale**2
        return torch.full((max(len(self.groups), 1),), norm, dtype=torch.float64)

    def apply_gram_inverse(self, x: Tensor) -> Tensor:
        """Applies the pseudo-inverse of W*W: computes :math:`(W^*W)^\\dagger x`."""
        if not self.is_tight:
            do = "Define apply_gram_inverse: the dual point is made feasible with it"
            raise BadInput("An analysis operator with W*W = I or with apply_gram_inverse", type(self).__name__, do)
        return x

    def _forward(self, x: Tensor) -> Tensor:
        return differentiable(x, self._analyse, self._synthesise)

    def _adjoint(self, y: Tensor) -> Tensor:
        return differentiable(y, self._synthesise, self._analyse)


class TightFrame(AnalysisOperator, ABC):
    """An analysis operator with :math:`W^*W=I`, so that its adjoint reconstructs the image from its coefficients.

    Attributes:
        is_orthonormal: Whether also :math:`WW^*=I`, which the recovery theorems assume.
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
    """Returns the shape as integers and its largest number of wavelet levels.

    Raises:
        BadInput: For a shape that is not that of an image, or a wavelet that is not orthonormal.
    """
    sides = tuple(int(n) for n in shape)
    if not 1 <= len(sides) <= 3 or min(sides) < 1:
        raise BadInput("An image shape of one, two or three positive sides", repr(sides), "Pass the trailing axes only")
    if wavelet not in WAVELETS:
        needed = "An orthonormal wavelet: haar, db1..db10, sym2..sym10 or coif1..coif5"
        raise BadInput(needed, repr(wavelet), "Choose one, e.g. db4")
    return sides, int(math.log2(min(sides)))
