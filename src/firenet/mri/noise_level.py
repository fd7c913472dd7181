"""An estimate of the noise of Cartesian k-space from its highest frequencies."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def noise_estimate(y: Tensor, mask: Tensor) -> float:
    """Returns an estimate of the 2-norm of the noise, from the samples of the highest frequencies.

    The tenth of the samples with the highest frequencies is taken to be only noise. For complex normal numbers, the
    root mean square is the median of the modulus divided by :math:`\\sqrt{\\log 2}`. If the image itself has such high
    frequencies, the estimate is too large.

    Args:
        y: Measurements of one image, zero frequency in the corner; the leading axes are coils.
        mask: The sampling mask, zero frequency in the corner.
    """
    far = torch.zeros((), dtype=torch.float64)
    for n in mask.shape:
        k = torch.fft.fftfreq(n, dtype=torch.float64)
        far = far[..., None] + k.square()
    taken = far.to(mask.device)[mask]
    outermost = taken >= torch.quantile(taken[:: max(1, len(taken) >> 20)], 0.9)
    values = y[..., mask]
    sigma = values[..., outermost].abs().double().median().item() / math.sqrt(math.log(2))
    return sigma * math.sqrt(values.numel())
