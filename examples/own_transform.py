"""A sparsifying transform of your own: the cosine transform, along both axes of an image."""

import math

import torch
from torch import Tensor

import firenet
from firenet.operators import NormBound
from firenet.transforms import TightFrame


class Cosine(TightFrame):
    """The orthonormal cosine transform (DCT-II) :math:`Wx=C x C^T` of n x n images, as products with the matrix
    :math:`C_{jk}=\\sqrt{2/n}\\cos(\\pi j(k+1/2)/n)`, its first row over :math:`\\sqrt2`.

    Args:
        side: n.
    """

    is_orthonormal = True
    matrix: Tensor

    def __init__(self, side: int) -> None:
        super().__init__((side, side), (side, side), NormBound(1.0, "exact", "an orthonormal matrix along each axis"))
        index = torch.arange(side, dtype=torch.float64)
        matrix = math.sqrt(2 / side) * torch.cos(math.pi * index[:, None] * (index + 0.5) / side)
        matrix[0] /= math.sqrt(2)
        self.register_buffer("matrix", matrix)

    def _analyse(self, x: Tensor) -> Tensor:
        c = self.matrix.to(x.dtype)
        return c @ x @ c.mT

    def _synthesise(self, c: Tensor) -> Tensor:
        m = self.matrix.to(c.dtype)
        return m.mT @ c @ m

    def levels(self) -> Tensor:
        """The octave of each frequency: 0 for the lowest."""
        index = torch.arange(self.in_shape[0])
        return torch.log2(torch.maximum(index[:, None], index).clamp(min=1).double()).long()


def main() -> firenet.Solution:
    """Reconstructs a smooth image from a quarter of its Walsh samples."""
    t = torch.linspace(0, 1, 32, dtype=torch.float64)
    x = torch.cos(3 * t[:, None]) * torch.exp(-t)
    camera = firenet.SubsampledWalsh(firenet.sensing.multilevel((32, 32), 0.25, transform="walsh").samples)
    return firenet.Firenet(camera, Cosine(32), lam=1e-3).solve(camera(x))


if __name__ == "__main__":
    print(main())
