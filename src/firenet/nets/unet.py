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
    """A U-Net behind the adjoint: :math:`y\\mapsto\\mathrm{Re}A^*y+U(\\mathrm{Re}A^*y,\\mathrm{Im}A^*y)`.

    Three-by-three convolutions, batch normalisation and ReLU twice a scale, maximum pooling, transposed convolutions
    (Ronneberger, Fischer, Brox 2015), residual as FBPConvNet (Jin et al. 2017). The images it makes are real.

    Args:
        sensing: A, with images of two axes; sides that 2**depth does not divide are padded with zeros inside.
        width: Features at the finest scale, doubled at each coarser one.
        depth: How often it is pooled.
        seed: Of the first weights.
    """

    def __init__(self, sensing: LinearOperator, width: int = 16, depth: int = 3, seed: int = 0) -> None:
        super().__init__()
        if len(sensing.in_shape) != 2 or width < 1 or depth < 1:
            got = f"{sensing.in_shape}, width {width}, depth {depth}"
            raise BadInput("Images of two axes, a width and a depth of one or more", got, "Take one slice")
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
        """The same weights, shared, behind another adjoint: convolutions fit every image."""
        other = copy.copy(self)
        other._modules = {**self._modules, "sensing": sensing}
        return other

    def forward(self, y: Tensor) -> Tensor:
        """Measurements (..., \\*out_shape) to real images (..., \\*in_shape)."""
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
    """Modules draw their first weights from the global generator: seeded inside, put back behind."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def _block(inside: int, outside: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in (inside, outside):
        convolution = nn.Conv2d(width, outside, 3, padding=1, bias=False)
        layers += [convolution, nn.BatchNorm2d(outside), nn.ReLU()]
    return nn.Sequential(*layers)
