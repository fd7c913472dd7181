"""Samples of the Walsh-Hadamard transform: single-pixel cameras, binary patterns."""

from __future__ import annotations

from numpy.typing import ArrayLike
from torch import Tensor

from firenet.operators.norm_bound import NormBound
from firenet.sensing.masked import Masked, as_mask
from firenet.transforms.walsh import WalshHadamard


class SubsampledWalsh(Masked):
    """The subsampled Walsh transform in sequency order, 1-D to 3-D: norm exactly 1. Real images have real measurements.

    Args:
        mask: Numbers 1 at the measured sequencies and 0 elsewhere; the sides are powers of two.
    """

    def __init__(self, mask: Tensor | ArrayLike) -> None:
        mask = as_mask(mask)
        transform = WalshHadamard(mask.shape)  # refuses other sides first
        norm = NormBound(1.0, "exact", "an orthonormal Walsh transform with a mask")
        super().__init__(mask, mask.shape, mask.shape, norm)
        self.transform = transform

    @property
    def is_coisometry(self) -> bool:
        return True

    @property
    def rounding(self) -> float:
        return self.transform.rounding

    def _whole(self, x: Tensor) -> Tensor:
        return self.transform(x)

    def _whole_adjoint(self, y: Tensor) -> Tensor:
        return self.transform.adjoint(y)
