"""AUTOMAP: dense layers from measurements to the image."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from firenet.errors import BadInput
from firenet.nets.unet import seeded
from firenet.operators.linear import LinearOperator


class Automap(nn.Module):
    """Two dense layers and three convolutions, after AUTOMAP (Zhu et al., Nature 2018), which learns to invert A, too.

    The input is real and imaginary parts of the samples. The layers are dense with tanh, twice; convolution 5 x 5 with
    ReLU, twice; convolution 7 x 7.

    Args:
        sensing: The measurement operator A, of images with two axes. Only its set of samples is used.
        hidden: The width of the first dense layer.
        features: The number of features of the convolutions.
        seed: Seeds the initial weights.
    """

    def __init__(self, sensing: LinearOperator, hidden: int = 1024, features: int = 16, seed: int = 0) -> None:
        super().__init__()
        if len(sensing.in_shape) != 2:
            raise BadInput("Images of two axes", f"{sensing.in_shape}", "Take one slice")
        self.sensing = sensing
        self._compact = sensing.compact()
        rows, columns = sensing.in_shape
        with seeded(seed):
            self.first = nn.Linear(2 * math.prod(self._compact.out_shape), hidden)
            self.second = nn.Linear(hidden, rows * columns)
            first, second = (nn.Conv2d(inside, features, 5, padding=2) for inside in (1, features))
            self.image = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), nn.Conv2d(features, 1, 7, padding=3))

    def forward(self, y: Tensor) -> Tensor:
        """Maps measurements (..., \\*out_shape) to real images (..., \\*in_shape)."""
        batch = y.shape[: y.ndim - len(self.sensing.out_shape)]
        samples = self._compact.pack_measured(y.reshape(-1, *self.sensing.out_shape))
        x = torch.view_as_real(samples).flatten(1).to(self.first.weight.dtype)
        x = torch.tanh(self.second(torch.tanh(self.first(x))))
        x = self.image(x.view(-1, 1, *self.sensing.in_shape))
        return x.reshape(*batch, *self.sensing.in_shape)
