"""The U-Net."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import torch
from torch import Tensor, nn

from firenet.errors import BadInput
from firenet.operators.linear import LinearOperator


class UNet(nn.Module):
    """A U-Net after the adjoint: :math:`y\\mapsto\\mathrm{Re}A^*y+U(\\mathrm{Re}A^*y,\\mathrm{Im}A^*y)`.

    Each scale has two three-by-three convolutions with batch normalisation and ReLU. Maximum pooling leads to the next
    coarser scale and a transposed convolution back (Ronneberger, Fischer, Brox 2015). The network is residual like
    FBPConvNet (Jin et al. 2017), and its images are real.

    Args:
        sensing: The measurement operator A, of images with two axes. Sides that 2**depth does not divide are padded
            with zeros internally.
        width: The number of features at the finest scale; it doubles at each coarser one.
        depth: The number of poolings.
        seed: Seeds the initial weights.
    """

    def __init__(self, sensing: LinearOperator, width: int = 16, depth: int = 3, seed: int = 0) -> None:
        super().__init__()
        if len(sensing.in_shape) != 2 or width < 1 or depth < 1:
            got = f"{sensing.in_shape}, width {width}, depth {depth}"
            do = "Take one slice, and width and depth of at least 1"
            raise BadInput("Images of two axes, a width and a depth of one or more", got, do)
        self.sensing = sensing
        self.depth = depth
        widths = [width * 2**k for k in range(depth + 1)]
        steps = [*pairwise(widths)][::-1]
        with seeded(seed):
            self.down = nn.ModuleList(_block(a, b) for a, b in zip([2, *widths[:-1]], widths, strict=True))
            self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in steps)
            self.join = nn.ModuleList(_block(2 * a, a) for a, _ in steps)
            self.last = nn.Conv2d(width, 1, 1)

    def measuring(self, sensing: LinearOperator) -> UNet:
        """Returns a network that shares these weights, for another measurement operator.

        Convolutions fit images of any size.
        """
        other = copy.copy(self)
        other._modules = {**self._modules, "sensing": sensing}
        return other

    def forward(self, y: Tensor) -> Tensor:
        """Maps measurements (..., \\*out_shape) to real images (..., \\*in_shape)."""
        first = torch.view_as_real(self.sensing.adjoint(y)).to(self.last.weight.dtype)
        batch, (rows, columns) = first.shape[:-3], self.sensing.in_shape
        x = first.reshape(-1, rows, columns, 2).movedim(-1, 1)
        unit = 2**self.depth
        x = nn.functional.pad(x, (0, -columns % unit, 0, -rows % unit))
        residual, skipped = x[:, :1], []
        for k, block in enumerate(self.down):
            x = block(x if k == 0 else nn.functional.max_pool2d(x, 2))
            skipped.append(x)
        for up, join, skip in zip(self.up, self.join, reversed(skipped[:-1]), strict=True):
            x = join(torch.cat([skip, up(x)], dim=1))
        return (residual + self.last(x))[:, 0, :rows, :columns].reshape(*batch, rows, columns)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seeds the global random generator inside a block and restores it afterwards.

    Modules of torch draw their initial weights from it.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def _block(inside: int, outside: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in (inside, outside):
        convolution = nn.Conv2d(width, outside, 3, padding=1, bias=False)
        layers += [convolution, nn.BatchNorm2d(outside), nn.ReLU()]
    return nn.Sequential(*layers)
