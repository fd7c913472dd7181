"""Preparation of a single-pixel camera's measurements for the network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from firenet.camera.measurements import place
from firenet.errors import BadInput
from firenet.numerics import tensor_of
from firenet.reconstruction.prepared import Prepared, ScanData, with_empty
from firenet.transforms.walsh import Order


def prepare_patterns(
    values: Tensor | NDArray[Any],
    shape: Sequence[int] | None = None,
    *,
    index: NDArray[Any] | None = None,
    order: str | None = None,
    readings: str | None = None,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> ScanData:
    """Prepares the measurements of one image by a single-pixel camera.

    Args:
        values: As in :func:`.place`.
        shape: The sides of the image, powers of two; None takes the shape of ``values`` if that is a grid.
        index: As in :func:`.place`.
        order: ``sequency``, ``natural`` or ``dyadic``, with ``:flattened`` if it is the order of the flattened image;
            None finds it.
        readings: As in :func:`.place`.
        device: The device to compute on.
        dtype: float32 or float64.

    Raises:
        BadInput: As :func:`.place`, and without a shape or for an unknown order.
    """
    given = tensor_of(values, "readings of a camera")
    if shape is None:
        if index is not None or given.ndim < 2:
            got = f"{given.numel()} readings without one"
            raise BadInput("The sides of the image, powers of two", got, "Give them: --shape 128,128")
        shape = tuple(given.shape)
    name, _, layout = (order or "").partition(":")
    if (name and name not in get_args(Order)) or layout not in ("", "flattened"):
        needed = f"An order of the patterns: {', '.join(get_args(Order))}, with :flattened for the flattened image"
        raise BadInput(needed, repr(order), "Leave it out to find it")
    flattened = layout == "flattened" if name else None
    told: dict[str, Any] = {"order": name or None, "flattened": flattened, "readings": cast(Any, readings)}
    placed = place(given, shape, index=None if index is None else np.asarray(index), **told)
    said = f"The patterns are numbered in {placed.order} order{' of the flattened image' if placed.flattened else ''}."
    notes = [*placed.notes, *([] if order is None and placed.notes else [said])]
    y = placed.y.to(device=device, dtype=dtype)
    nowhere = torch.zeros(y.shape, dtype=torch.bool)
    filled = Prepared(y, placed.operator.to(device), "none", nowhere) if bool((y != 0).any()) else None
    return ScanData(with_empty([filled], [None], None, notes), notes, kind="Walsh measurements")
