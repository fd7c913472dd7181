"""D5-C5: a cascade of convolutions and data consistency."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from firenet.errors import BadInput
from firenet.sensing.fourier import SubsampledFourier


def check_weights(weights: Sequence[Tensor], where: str) -> None:
    """Checks that weights are those of D5-C5: kernels of 3 x 3 whose channels fit, from two to two in each block.

    Raises:
        BadInput: If they are not.
    """
    do, channels = "Take the weights of D5-C5", 2
    if len(weights) != 50:
        raise BadInput("Fifty arrays of weights", f"{len(weights)} in {where}", do)
    for k in range(0, 50, 2):
        kernel, bias = (tuple(w.shape) for w in weights[k : k + 2])
        made = 2 if k % 10 == 8 else max(*kernel[:1], 1)
        if (kernel, bias) != ((made, channels, 3, 3), (made,)):
            needed = f"A kernel of shape {(made, channels, 3, 3)} and {made} biases, arrays {k} and {k + 1} of {where}"
            raise BadInput(needed, f"shapes {kernel} and {bias}", do)
        channels = made


class Cascade(nn.Module):
    """D5-C5 (Schlemper et al. 2018): five residual blocks of five convolutions, each followed by hard data consistency.

    Args:
        sensing: The measurement operator: Fourier samples of one channel, with zero frequency in the corner.
        weights: Fifty arrays, weight and bias of each convolution in turn.

    Raises:
        BadInput: For weights of other shapes, and for another operator.
    """

    def __init__(self, sensing: SubsampledFourier, weights: Sequence[Tensor]) -> None:
        super().__init__()
        check_weights(weights, "the weights")
        if len(sensing.in_shape) != 2 or sensing.centred:
            needed = "Fourier samples of images with two axes, zero frequency in the corner"
            got = f"images of {sensing.in_shape}, centred={sensing.centred}"
            raise BadInput(needed, got, "Take an operator without centred=True")
        self.sensing = sensing
        self.weights = nn.ParameterList(nn.Parameter(w.float(), requires_grad=False) for w in weights)

    def forward(self, y: Tensor) -> Tensor:
        """Maps measurements (..., \\*out_shape) to complex images (..., \\*in_shape)."""
        measured = self.sensing.restrict(y)
        x = torch.fft.ifft2(measured, norm="ortho")
        for cascade in range(5):
            pairs = torch.view_as_real(x).movedim(-1, -3)
            features = pairs.reshape(-1, *pairs.shape[-3:])
            for layer in range(5):
                weight, bias = self.weights[10 * cascade + 2 * layer : 10 * cascade + 2 * layer + 2]
                features = nn.functional.conv2d(features, weight, bias, padding=1)
                features = features.relu() if layer < 4 else features
            pairs = pairs + features.view(pairs.shape)
            k = torch.fft.fft2(torch.view_as_complex(pairs.movedim(-3, -1).contiguous()), norm="ortho")
            x = torch.fft.ifft2(torch.where(self.sensing.mask, measured, k), norm="ortho")
        return x
