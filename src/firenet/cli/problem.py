"""Reads the operator and the class of signals for the commands about guarantees: matrix or mask, levels, sparsities."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from firenet.cli import options
from firenet.errors import BadInput

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from firenet.operators.linear import LinearOperator
    from firenet.sparsity import SparsityLevels
    from firenet.transforms.wavelet import Wavelet


def operator_of(
    matrix: Path | None,
    mask: Path | None,
    shape: str | None,
    rate: float | None,
    seed: int,
    transform: str,
    corner_dc: bool,
    wavelet: str,
    depth: int | None = None,
    coils: Path | None = None,
) -> tuple[LinearOperator, Wavelet | None]:
    """Returns the measurement operator and, unless it is a matrix, the wavelet transform of its images.

    Raises:
        BadInput: Unless exactly one of matrix, mask and shape is given; for a transform other than fourier and walsh;
            for coil maps without Fourier samples; for a rate without a shape, and ``corner_dc`` without a mask.
    """
    import torch

    from firenet.io.files import read_array
    from firenet.operators.matrix import Matrix
    from firenet.sensing.fourier import fourier_samples
    from firenet.sensing.masked import as_mask
    from firenet.sensing.masks import multilevel
    from firenet.sensing.walsh import SubsampledWalsh
    from firenet.transforms.wavelet import Wavelet

    if sum(given is not None for given in (matrix, mask, shape)) != 1:
        raise BadInput("One of a matrix, --mask and --shape", "none or several", "For example --shape 256,256 ...")
    if transform not in ("fourier", "walsh"):
        raise BadInput("A transform: fourier or walsh", transform, "Choose one")
    if shape is None:
        options.refuse_unused("without --shape", {"--rate": rate})
    if mask is None:
        options.refuse_unused("without --mask", {"--corner-dc": corner_dc or None})
    if coils is not None and (matrix is not None or transform == "walsh"):
        raise BadInput("Fourier samples for --coils", "a matrix or Walsh samples", "Leave --coils out")
    if matrix is not None:
        return Matrix(read_array(matrix, purpose="matrix")), None
    if mask is None:
        assert shape is not None
        sides = whole(shape, "--shape")
        kind = "walsh" if transform == "walsh" else "fourier"
        samples = multilevel(sides, 0.25 if rate is None else rate, transform=kind, seed=seed).samples
    else:
        samples = as_mask(read_array(mask, purpose="mask"))
        if transform == "fourier" and not corner_dc:
            samples = torch.fft.ifftshift(samples)
    if transform == "walsh":
        sensing = SubsampledWalsh(samples)
    else:
        sensing = fourier_samples(samples, None if coils is None else read_array(coils, purpose="maps"))
    return sensing, Wavelet(tuple(samples.shape), wavelet, depth)


def level_of(sensing: LinearOperator, frame: Wavelet | None, sizes: str | None) -> NDArray[Any]:
    """Returns the level of each coefficient: the scale of a wavelet, or a block of a matrix's columns.

    Raises:
        BadInput: For sizes that do not add up, or sizes for a mask.
    """
    import numpy as np

    if sizes is not None and frame is not None:
        raise BadInput(
            "A matrix for --sizes", "a mask or --shape", "Leave --sizes out: the levels are the scales of the wavelet"
        )
    if frame is not None:
        return frame.levels().numpy()
    n = sensing.in_shape[-1]
    blocks = (n,) if sizes is None else whole(sizes, "--sizes")
    if sum(blocks) != n:
        raise BadInput(f"Sizes of levels that add up to the {n} columns", f"{sizes}", "Check --sizes")
    return np.repeat(np.arange(len(blocks)), blocks)


def coefficients_of(image: Path, sensing: LinearOperator, frame: Wavelet | None) -> NDArray[Any]:
    """Returns the coefficients of the image of a file in double precision.

    Raises:
        BadInput: For another shape than the operator's.
    """
    import numpy as np
    import torch

    from firenet.io.files import read_array

    x = torch.from_numpy(np.ascontiguousarray(read_array(image, purpose="image")))
    x = x.to(torch.complex128 if x.is_complex() else torch.float64)
    if tuple(x.shape) != sensing.in_shape:
        do = "Give an image of this shape"
        raise BadInput(f"An image of shape {sensing.in_shape}", f"{tuple(x.shape)}", do)
    return (x if frame is None else frame(x)).numpy()


def levels_of(
    level: NDArray[Any],
    frame: Wavelet | None,
    sparsities: str | None,
    coefficients: NDArray[Any] | None,
    share: float | None,
) -> SparsityLevels:
    """Returns the levels with sparsities that are given or counted from the coefficients of an image.

    Raises:
        BadInput: If there is neither, the sparsities do not fit, or a share is given that nothing is counted with.
    """
    import numpy as np

    from firenet.sparsity import SparsityLevels

    if sparsities is not None:
        options.refuse_unused("with --sparsities", {"--share": share})
        counts = np.bincount(level.ravel())
        given = whole(sparsities, "--sparsities")
        if frame is not None and len(given) == len(counts) - 1:  # the approximation merged with the first scale
            counts = np.array([counts[0] + counts[1], *counts[2:]])
        return SparsityLevels(tuple(counts.tolist()), given)
    if coefficients is None:
        raise BadInput("--sparsities, or an --image to count them from", "neither", "Give one of them")
    merged = "separate" if frame is None else "merged"
    share = 0.999 if share is None else share
    return SparsityLevels.from_coefficients(coefficients, level, share=share, approximation=merged)


def whole(text: str, option: str) -> tuple[int, ...]:
    """Returns whole numbers above 0 that are separated by commas.

    Raises:
        BadInput: For other text.
    """
    numbers = options.parse_numbers(text, option)
    if not numbers or not all(v >= 1 and v.is_integer() for v in numbers):
        raise BadInput(f"Whole numbers above 0, separated by commas, for {option}", repr(text), "For example 256,256")
    return tuple(int(v) for v in numbers)
