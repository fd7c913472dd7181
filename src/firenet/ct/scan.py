"""Preparation of a tomogram for the network: from the projections of each row to measurements and their operator."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from firenet.ct.axis import rotation_centre
from firenet.ct.sinogram import binned, line_integrals
from firenet.errors import BadInput
from firenet.numerics import tensor_of
from firenet.reconstruction.prepared import Prepared, ScanData, chosen_slices, with_empty
from firenet.sensing.projection import Projection


def prepare_projections(
    projections: NDArray[Any],
    theta: NDArray[Any],
    white: NDArray[Any] | None = None,
    dark: NDArray[Any] | None = None,
    *,
    rotation_axis: float | None = None,
    bin: int = 1,
    every: int = 1,
    only: int | None = None,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> ScanData:
    """Prepares the images of a tomogram of parallel beams, one for each row of the detector.

    Intensities become line integrals (:func:`.line_integrals`). An image has as many pixels a side as the detector has
    cells, of the same size, and the rotation axis in its middle; its unit is one over a cell's width.

    Args:
        projections: Intensities, or line integrals if ``white`` is None; shape (rows, views, cells).
        theta: The angles of the views in degrees.
        white: Intensities without the object, shape (frames, rows, cells), or None.
        dark: Intensities without the beam, of the same shape, or None.
        rotation_axis: The detector coordinate, in stored cells, onto which the rotation axis is projected; None finds
            it for each row by :func:`.rotation_centre`, and takes the median of all.
        bin: The number of neighbouring cells of which the mean is taken.
        every: One of so many views is used.
        only: The row to take; None takes all.
        device: The device to compute on.
        dtype: float32 or float64.

    Raises:
        BadInput: For arrays that do not fit together, and intensities that cannot be those of an absorbing object.
    """
    rows, views, cells = projections.shape
    if len(theta) != views:
        raise BadInput("One angle for each view", f"{len(theta)} angles, {views} views", "Check the axes")
    chosen, numbers = chosen_slices(torch.arange(rows), only)
    which = chosen.numpy()
    numbers = [None] if rows == 1 else numbers
    notes: list[str] = []
    counts = np.asarray(projections)[which].transpose(1, 0, 2)
    if white is None:
        integrals, repaired = tensor_of(counts, "line integrals"), ()
    else:
        integrals, repaired = line_integrals(counts, white[:, which], None if dark is None else dark[:, which])
    notes += [f"{said[0].upper()}{said[1:]}." for said in repaired]
    angles = np.deg2rad(np.asarray(theta, np.float64))
    if rotation_axis is None:
        rotation_axis = float(np.median([rotation_centre(one, angles) for one in integrals.transpose(0, 1)]))
        said = f"The rotation axis was found at detector cell {rotation_axis:.2f} of {cells}"
        notes.append(f"{said}; --rotation-axis sets it.")
    integrals = binned(integrals, bin).transpose(0, 1)[:, ::every]
    # The middle of a binned cell is the mean of the middles of its cells.
    centre = (rotation_axis - (bin - 1) / 2) / bin
    side = integrals.shape[-1]
    operator = Projection(angles[::every], side, (side, side), centre=centre).to(device)
    y = operator.restrict(integrals.to(device=device, dtype=dtype))
    nowhere = operator.adjoint(torch.ones(operator.out_shape, dtype=torch.float64, device=device)) == 0
    filled = [
        Prepared(one, operator, "none", nowhere.cpu(), number=number) if bool((one != 0).any()) else None
        for one, number in zip(y, numbers, strict=True)
    ]
    return ScanData(with_empty(filled, numbers, None, notes), notes, kind="sinogram")
