"""Preparation of non-Cartesian scans: samples along a trajectory, density compensation, coil maps from the centre."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from firenet.errors import BadInput
from firenet.mri.coils import CoilMaps, estimate_maps
from firenet.mri.kspace import prewhiten
from firenet.numerics import tensor_of
from firenet.operators.algebra import Weighted
from firenet.reconstruction.prepared import Prepared, ScanData, chosen_slices, with_empty
from firenet.sensing.density import density_compensation
from firenet.sensing.nonuniform import NonuniformFourier

WEIGHTING = "density compensation M (Pipe and Menon 1999): the residual is |M^(1/2) (A x - y)|_2"


def prepare_readouts(
    kspace: Tensor | NDArray[Any],
    trajectory: Tensor | NDArray[Any],
    shape: Sequence[int],
    *,
    maps: NDArray[Any] | str | None = None,
    only: int | None = None,
    noise: NDArray[Any] | None = None,
    device: str = "cpu",
    dtype: torch.dtype = torch.complex64,
) -> ScanData:
    r"""Prepares the images of a non-Cartesian scan: choice of slices, whitening, density compensation, coil maps.

    The measurement operator of each image is :math:`M^{1/2}A` with :class:`.NonuniformFourier` and the weights of
    :func:`.density_compensation`, with which the iteration takes about half as many layers. The problem is then another
    one: white noise counts less where samples are dense.

    Args:
        kspace: Complex samples, shape (slices, coils, \*samples).
        trajectory: In cycles per pixel, from -1/2 to 1/2, shape (\*samples, d), or (slices, \*samples, d) if it differs
            between slices; the last axis in the order of the image axes.
        shape: The d sides of an image.
        maps: Array (coils, \*shape), the word ``auto`` (estimate them from the centre of k-space, put on a grid), or
            None for data of one channel.
        only: The slice to take; None takes all.
        noise: Noise samples (coils, ...), with which the coils are whitened.
        device: The device to compute on.
        dtype: complex64 or complex128.

    Raises:
        BadInput: For arrays that do not fit together, and if all samples are zero.
        MissingExtra: Without finufft.
    """
    data = tensor_of(kspace, "k-space").to(device=device, dtype=dtype)
    path = tensor_of(trajectory, "a trajectory")
    if data.ndim < 3 or tuple(data.shape[2:]) not in (tuple(path.shape[:-1]), tuple(path.shape[1:-1])):
        got = f"samples of shape {tuple(data.shape)}, a trajectory of shape {tuple(path.shape)}"
        raise BadInput("Samples (slices, coils, *samples) and a trajectory (*samples, d)", got, "Check the axes")
    paths = path[None].expand(len(data), *path.shape) if path.ndim == data.ndim - 1 else path
    if len(paths) != len(data):
        got = f"{len(paths)} trajectories, {len(data)} slices"
        raise BadInput("One trajectory, or one for each slice", got, "Check the axes")
    if data.shape[1] > 1 and maps is None:
        got = f"{data.shape[1]} coils"
        raise BadInput("Coil maps for multi-coil data", got, "Estimate them with --maps auto, or pass a file")
    data, numbers = chosen_slices(data, only)
    paths = paths if only is None else paths[only : only + 1]
    if numbers == [0] and len(paths) == 1 and only is None:
        numbers = [None]
    known = tensor_of(maps, "coil maps").to(device=device, dtype=dtype) if isinstance(maps, np.ndarray) else None
    if known is not None and tuple(known.shape) != (data.shape[1], *shape):
        do = "Give one map for each coil, on the grid of the image"
        raise BadInput(f"Coil maps of shape {(data.shape[1], *shape)}", f"{tuple(known.shape)}", do)
    if noise is not None:
        flat = [data.flatten(2)] if known is None else [data.flatten(2), known.flatten(1)[None]]
        mixed = prewhiten(flat, noise, coil_axis=-2)
        data = mixed[0].reshape(data.shape)
        known = None if known is None else mixed[1].reshape(known.shape)
    densities: dict[bytes, Tensor] = {}

    def ready(k: Tensor, path: Tensor, number: int | None) -> Prepared | None:
        if not bool((k != 0).any()):
            return None
        name = path.cpu().numpy().tobytes()
        if name not in densities:
            densities[name] = density_compensation(path, shape)
        density = densities[name].to(k.device)
        found = None if maps is None else CoilMaps(known, "from a file") if known is not None else None
        if maps is not None and found is None:
            found = _maps_of_centre(k, path, shape, density)
        channel = NonuniformFourier(path, shape, None if found is None else found.maps).to(k.device)
        operator = Weighted(channel, density)
        nowhere = torch.zeros(tuple(shape), dtype=torch.bool)
        if found is None:
            return Prepared(operator.weigh(k[0]), operator, "none", nowhere, number=number)
        nowhere = (found.maps == 0).all(dim=0).cpu()
        return Prepared(operator.weigh(k), operator, found.method, nowhere, number=number, maps=found.maps)

    notes: list[str] = []
    filled = [ready(k, path, number) for k, path, number in zip(data, paths, numbers, strict=True)]
    images = with_empty(filled, numbers, None, notes)
    return ScanData(images, notes, kind="non-Cartesian k-space", weighting=WEIGHTING)


def _maps_of_centre(k: Tensor, path: Tensor, shape: Sequence[int], density: Tensor) -> CoilMaps:
    """Estimates coil maps from the centre of k-space, put on a grid by the density-compensated adjoint.

    The centre is the cube of frequencies around zero of which each has a sample within half a cycle per field of view.
    """
    sides = torch.tensor(tuple(shape))
    cells = (path.cpu().double().flatten(0, -2) * sides).round().long() % sides
    mask = torch.zeros(tuple(shape), dtype=torch.bool)
    mask[tuple(cells.T)] = True
    dims = tuple(range(-len(shape), 0))
    images = NonuniformFourier(path, shape).to(k.device).adjoint(k * density.to(k.real.dtype))
    # The adjoint's images have their origin in the middle, and so have those of k-space with zero frequency in the
    # corner: fftn as it is.
    grid = torch.fft.fftn(images, dim=dims, norm="ortho")
    try:
        found = estimate_maps(grid, mask.to(k.device))
    except BadInput as error:
        do = "Pass maps from a calibration scan (--maps FILE), or measure more readouts"
        raise BadInput("A centre of k-space dense enough to estimate coil maps", error.got, do) from error
    return CoilMaps(found.maps, f"{found.method}, of the centre put on a grid")
