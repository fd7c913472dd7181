"""Sinograms from the counts of a detector: line integrals, and means over neighbouring cells."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from firenet.errors import BadInput
from firenet.numerics import tensor_of

# More defective cells, or counts without light, than this share are not repaired.
_MOST = 0.05
# A count without light is replaced by the smallest transmission that was seen, or by this one if that is smaller: the
# smallest that a detector with 16 bits tells from zero.
_DARKEST = 2.0**-16


def line_integrals(
    projections: Tensor | ArrayLike, white: Tensor | ArrayLike, dark: Tensor | ArrayLike | None = None
) -> tuple[Tensor, tuple[str, ...]]:
    """Computes line integrals of the attenuation from counts, by the law of Beer and Lambert.

    .. math:: p=-\\log\\frac{d-\\bar b}{\\bar w-\\bar b}

    with the means over frames of the white field w, without the object, and of the dark field b, without light.

    Cells whose white field is not brighter than their dark field are defective: in each view, their line integrals are
    interpolated linearly from the next cells that work. Counts at or below the dark field, where no light was seen, are
    replaced by the smallest positive transmission of the scan, at least 2^-16. Of both at most 5 per cent are repaired,
    and the notes say how many were.

    Args:
        projections: d, the counts with the object, shape (views, ..., cells).
        white: w, shape (frames, ..., cells), or of one frame (..., cells).
        dark: b, as ``white``; None is zero.

    Returns:
        p in the shape of the projections, single precision for counts that are integers or in single precision, and
        what was repaired, as short texts.

    Raises:
        BadInput: For arrays that do not fit, are complex or not finite, for white fields that are not brighter than the
            dark ones, and where more than 5 per cent of the cells or counts would have to be repaired.
    """
    counts = _real(projections, "projections")
    if counts.ndim < 2 or 0 in counts.shape:
        do = "The views are the first axis and the detector's cells the last one"
        raise BadInput("Projections of shape (views, ..., cells)", f"shape {tuple(counts.shape)}", do)
    single = not (counts.is_floating_point() and counts.dtype == torch.float64)
    data = counts.to(torch.float64).numpy()
    bright = _mean_frame(white, data.shape, "white fields")
    black = np.zeros_like(bright) if dark is None else _mean_frame(dark, data.shape, "dark fields")
    light = bright - black
    notes: list[str] = []
    works = light > 0
    broken = int((~works).sum())
    if broken > _MOST * works.size:
        do = "Check that white and dark fields were not exchanged"
        got = f"{broken} of {works.size} cells where they are not"
        raise BadInput("White fields that are brighter than the dark ones", got, do)
    seen = (data - black) / np.where(works, light, 1.0)
    lit = (seen > 0) | ~works
    dim = int((~lit).sum())
    if dim > _MOST * lit.size:
        got = f"{dim} of {lit.size} counts at or below it"
        raise BadInput("Counts above the dark field", got, "Check the dark field, or leave out opaque parts")
    least = max(float(seen[(seen > 0) & works].min()), _DARKEST)
    found = -np.log(np.where(lit & works, seen, least))
    if dim:
        notes.append(f"{dim} counts at or below the dark field were set to a transmission of {least:.3g}")
    if broken:
        _fill(found, works)
        notes.append(f"{broken} defective cells were interpolated from their neighbours")
    if float(np.median(found[..., works] if works.ndim else found)) < -0.05:
        notes.append("most transmissions are above 1: the white fields may be of another exposure")
    return torch.from_numpy(found.astype(np.float32 if single else np.float64)), tuple(notes)


def binned(array: Tensor | ArrayLike, factor: int) -> Tensor:
    """Returns the means over groups of neighbouring cells, the last axis; cells that fill no group are left out.

    A projection axis at the cell c is then at (c - (factor - 1)/2)/factor.

    Line integrals or counts? The weights of :class:`.Projection` are means of line integrals, so means of line
    integrals fit them exactly, while the logarithm of a mean transmission is too small by half of the variance of the
    line integrals within the group, which is seen at edges. But the logarithm of a count of N photons is too large by
    1/(2N) on average. So bin line integrals, and counts only where they are a few photons.

    Args:
        array: A sinogram or counts, shape (..., cells).
        factor: The number of cells in a group.

    Raises:
        BadInput: If the factor is no integer from 1 to the number of cells.
    """
    given = _real(array, "a sinogram")
    cells = given.shape[-1] if given.ndim else 0
    if isinstance(factor, bool) or not isinstance(factor, int | np.integer) or not 1 <= factor <= cells:
        raise BadInput(f"A number of cells in a group, from 1 to {cells}", f"{factor!r}", "2 or 4 are usual")
    groups = cells // int(factor)
    means = given[..., : groups * int(factor)].unflatten(-1, (groups, int(factor))).to(torch.float64).mean(dim=-1)
    return means.to(given.dtype if given.is_floating_point() else torch.float64)


def _real(array: Tensor | ArrayLike, what: str) -> Tensor:
    """Returns an array as a tensor of finite real numbers on the CPU."""
    found = tensor_of(array, what).detach().cpu()
    if found.is_complex():
        raise BadInput(
            f"Real numbers for {what}", f"dtype {found.dtype}", "Take the real part if the other one is zero"
        )
    if found.is_floating_point() and not bool(torch.isfinite(found).all()):
        raise BadInput(f"Finite numbers for {what}", "NaN or infinity", "Remove or repair these first")
    return found


def _mean_frame(frames: Tensor | ArrayLike, shape: tuple[int, ...], what: str) -> NDArray[np.float64]:
    """Returns the mean over the frames of a field, for projections of a shape."""
    given = _real(frames, what).to(torch.float64).numpy()
    one = given.shape == shape[1:]
    if not one and (given.ndim != len(shape) or given.shape[1:] != shape[1:] or len(given) == 0):
        got = f"shape {given.shape}"
        raise BadInput(f"Frames of {what}, shape (frames, {', '.join(map(str, shape[1:]))})", got, "Check the axes")
    return given if one else given.mean(axis=0)


def _fill(found: NDArray[np.float64], works: NDArray[np.bool_]) -> None:
    """Interpolates line integrals in the cells that do not work, in place."""
    cells = np.arange(found.shape[-1])
    rows, fine = found.reshape(len(found), -1, len(cells)), works.reshape(-1, len(cells))
    for row in np.nonzero(~fine.all(axis=1))[0]:
        if not fine[row].any():
            got = "a detector row without any"
            raise BadInput("Cells that work in each detector row", got, "Leave out the row")
        for view in rows:
            view[row, ~fine[row]] = np.interp(cells[~fine[row]], cells[fine[row]], view[row, fine[row]])
