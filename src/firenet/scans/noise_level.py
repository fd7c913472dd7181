"""The noise level of the data: estimated, or given by the user and checked."""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import Tensor

from firenet.errors import BadInput
from firenet.mri.noise_level import noise_estimate
from firenet.reconstruction.prepared import Prepared, ScanData

# A function that returns the noise level for given measurements, None if none was asked for.
Level = Callable[[Tensor], "float | None"]
# A noise level below this share of the estimated noise is likely a mistake.
FAR_BELOW = 1 / 3


def noise_level(given: str | float | None) -> Level:
    """Returns a function that gives the noise level for measurements: a number, or a share of their norm such as 5%.

    If ``given`` is None, the function returns None.

    Raises:
        BadInput: For a text that is neither, and for a negative number.
    """
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


def noise_of(image: Prepared, scan: ScanData, *, whitened: bool) -> tuple[float, str] | None:
    """Returns an estimate of the 2-norm of the noise in the measurements of one image, and its source.

    Returns None for measurements that are no Cartesian k-space, and for empty slices.

    Args:
        image: The image.
        scan: Its scan.
        whitened: As in :func:`check_noise_level`.
    """
    mask = image.mask
    if scan.kind != "Cartesian k-space" or mask is None or image.empty:
        return None
    if whitened:
        return (int(mask.sum()) * (image.y.numel() // mask.numel())) ** 0.5, "the noise samples"
    return noise_estimate(image.y, mask), "the highest frequencies"


def check_noise_level(level: Level, scan: ScanData, *, whitened: bool) -> None:
    """Refuses a noise level at which the zero image fits the data of every image.

    Warns if the zero image fits the data of some images, and if the level is far below the noise of Cartesian k-space,
    as estimated.

    Args:
        level: The noise level for given measurements.
        scan: The scan with its images; warnings are added to it.
        whitened: Whether the coils were whitened by samples of the noise, so that its variance is one.

    Raises:
        BadInput: If the level is at least the norm of the data, in all images.
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
        estimate = (noise_of(image, scan, whitened=whitened) or (0.0, ""))[0]
        if asked < FAR_BELOW * estimate:
            source = "the noise samples say" if whitened else "the outermost samples suggest, an estimate"
            said = f"a noise level of {asked:.3g}, far below {estimate:.3g}, which is what {source}"
            result = "noise is then fitted as if it were image, which takes many layers"
            scan.warnings.append(f"{image.called} has {said}; {result}.")
    if too_high and len(too_high) == sum(not image.empty for image in scan.images):
        _, asked, size = too_high[0]
        do = "Give the 2-norm of the noise over all samples, a number or a share such as 5%"
        raise BadInput(
            f"A noise level below the norm of the data, {size:.4g}, above which the zero image fits", f"{asked:.4g}", do
        )
    for image, asked, size in too_high:
        said = f"a noise level of {asked:.3g}, at least the norm of its data, {size:.3g}: its image is zero"
        scan.warnings.append(f"{image.called} has {said}.")
