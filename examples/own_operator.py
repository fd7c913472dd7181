"""A measurement operator of your own: a periodic blur, for deconvolution."""

import torch
from torch import Tensor

import firenet
from firenet.operators import NormBound


class Blur(firenet.LinearOperator):
    """The convolution of images with a point spread function, :math:`Ax=F^{-1}(\\hat h\\cdot Fx)`.

    It takes real and complex images, and is linear over the complex numbers, as every operator must be that takes them.

    Args:
        spread: The point spread function, on the grid of the image, its centre in the corner.
    """

    response: Tensor

    def __init__(self, spread: Tensor) -> None:
        response = torch.fft.fft2(spread.to(torch.float64))
        norm = NormBound(response.abs().max().item(), "exact", "the largest frequency response")
        super().__init__(spread.shape, spread.shape, norm)
        self.register_buffer("response", response)

    def _forward(self, x: Tensor) -> Tensor:
        return self._filtered(x, self.response)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self._filtered(y, self.response.conj())

    def _filtered(self, x: Tensor, response: Tensor) -> Tensor:
        found = torch.fft.ifft2(response * torch.fft.fft2(x))
        return (found if x.is_complex() else found.real).to(x.dtype)


def main() -> firenet.Solution:
    """Blurs an image, reconstructs it, and returns the solution with its certificate."""
    x = torch.zeros(32, 32, dtype=torch.float64)
    x[10:22, 12:20] = 1
    spread = torch.zeros(32, 32, dtype=torch.float64)
    spread[:3, :3] = 1 / 9
    blur = Blur(spread)
    assert firenet.check_adjoint(blur).passed
    return firenet.reconstruct(blur(x), blur, sparsify="tv", tolerance=1e-2)


if __name__ == "__main__":
    print(main())
