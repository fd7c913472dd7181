"""How much noise the data have: estimated, or given by the user and checked."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from firenet.errors import BadInput
from firenet.mri.scan import Prepared, ScanData

# What makes the noise level for given measurements; None where none is asked for.
Level = Callable[[Tensor], "float | None"]
# Below this share of the estimated noise a noise level is likely a mistake.
FAR_BELOW = 1 / 3


def noise_level(given: str | float | None) -> Level:
    """Returns what makes the noise level for given measurements: a number, or a share of their norm such as ``5%``."""
    if given is None:
        return lambda y: None
    text = str(given)
    share = text.endswith("%")
    try:
        value = float(text.removesuffix("%")) / (100 if share else 1)
    except ValueError:
        value = -1.0
    if not 0 <= value < math.inf:
        raise BadInput("--noise-level: a number or a percentage, zero or more", repr(given), "For example 5%")
    return (lambda y: value * size_of(y)) if share else (lambda y: value)


def size_of(y: Tensor) -> float:
    """Returns the 2-norm of measurements, computed in double precision."""
    return y.abs().double().square().sum().sqrt().item()


def noise_estimate(y: Tensor, mask: Tensor) -> float:
    """Returns an estimate of the 2-norm of the noise: the samples farthest out are taken to be noise alone.

    Of a tenth of the samples, those of the highest frequencies, the median of the modulus is over :math:`\\sqrt{\\log
    2}` the root mean square of complex normal numbers. An image that reaches that far makes the estimate too large.

    Args:
        y: Measurements of one image, zero frequency in the corner, leading axes coils.
        mask: Zero frequency in the corner.
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


def check_noise_level(level: Level, scan: ScanData, *, whitened: bool) -> None:
    """Refuses a noise level at which the zero image fits every image, and warns of one that is hardly the noise's.

    Args:
        level: The noise level for given measurements.
        scan: The images; warnings are added to its own.
        whitened: The coils were whitened by samples of the noise, whose variance is one since.

    Raises:
        BadInput: The level is at least the norm of the data, in all images.
    """
    too_high: list[tuple[Prepared, float, float]] = []
    for image in scan.images:
        seen = image.measured
        asked, size = level(seen), size_of(seen)
        if image.empty or asked is None:
            continue
        if asked >= size:
            too_high.append((image, asked, size))
            continue
        mask = image.operator.mask
        samples = int(mask.sum()) * (image.y.numel() // mask.numel())
        estimate = samples**0.5 if whitened else noise_estimate(image.y, mask)
        if asked < FAR_BELOW * estimate:
            source = "the noise samples say" if whitened else "the outermost samples suggest, an estimate"
            scan.warnings.append(
                f"{image.called} has a noise level of {asked:.3g}, far below {estimate:.3g}, which is what {source}; "
                "noise is then fitted as if it were image, which takes many layers."
            )
    if too_high and len(too_high) == sum(not image.empty for image in scan.images):
        _, asked, size = too_high[0]
        do = "Give the 2-norm of the noise over all samples, a number or a share such as 5%; at this level zero fits"
        raise BadInput(f"A noise level below the norm of the data, {size:.4g}", f"{asked:.4g}", do)
    for image, asked, size in too_high:
        said = f"a noise level of {asked:.3g}, at least the norm of its data, {size:.3g}: its image is zero"
        scan.warnings.append(f"{image.called} has {said}.")
