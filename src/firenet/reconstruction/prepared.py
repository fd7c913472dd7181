"""Measurements that are ready for the network, one image each, whatever they were measured with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Protocol

import torch
from torch import Tensor

from firenet.errors import BadInput
from firenet.operators.linear import LinearOperator
from firenet.sensing.masked import Masked

# What is measured: the first two are of MRI, the third of tomography, the last of single-pixel cameras.
Kind = Literal["Cartesian k-space", "non-Cartesian k-space", "sinogram", "Walsh measurements"]


class File(Protocol):
    """What a record says of a file of measurements."""

    @property
    def source(self) -> str:
        """The path and the array's name."""
        ...

    @property
    def axes(self) -> tuple[str, ...]:
        """The names of the stored axes."""
        ...

    @property
    def voxel_size(self) -> tuple[float, ...] | None:
        """The sizes of a voxel in mm along the axes of an image, or None."""
        ...

    @property
    def slice_thickness(self) -> float | None:
        """The thickness of the slices of two-dimensional images in mm, or None."""
        ...


class Reading(Protocol):
    """What a record says of how a file was read."""

    @property
    def data(self) -> Path:
        """The file."""
        ...

    @property
    def noise(self) -> Path | None:
        """The file of noise samples with which the coils were whitened, or None."""
        ...


@dataclass(frozen=True, eq=False)
class Prepared:
    r"""One image's measurements, ready for the network.

    Attributes:
        y: Measurements, shape ``operator.out_shape``. Those of Cartesian k-space have zero frequency in the corner.
        operator: The measurement operator. That of an empty slice has the mask of all samples that any other slice has.
        maps_method: A description of where the coil maps come from.
        undetermined: True at the pixels that no measurement sees, for example where every coil map is zero.
        unexplained: The share of the energy that no image explains through the maps (:func:`.unexplained`), or None
            without maps.
        notes: Sentences about the data, for information.
        doubts: Sentences that say that mask, maps or geometry may be wrong.
        number: The number of the slice in its file, counted from 0; None for data without an axis of slices.
        empty: Whether every sample is zero: then the image is zero, and there is nothing to solve.
        maps: The coil maps, None for data of one channel.
    """

    y: Tensor
    operator: LinearOperator
    maps_method: str
    undetermined: Tensor
    unexplained: float | None = None
    notes: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    number: int | None = None
    empty: bool = False
    maps: Tensor | None = None

    @property
    def mask(self) -> Tensor | None:
        """The sampling mask, zero frequency in the corner; None for measurements that are not on a grid."""
        return self.operator.mask if isinstance(self.operator, Masked) else None

    @property
    def measured(self) -> Tensor:
        """The measurements, zero where nothing was sampled."""
        return self.operator.restrict(self.y)

    @property
    def called(self) -> str:
        """The name of the image at the beginning of a sentence."""
        return "The image" if self.number is None else f"Slice {self.number}"

    @property
    def rate(self) -> float:
        """The share of the grid that was sampled; for measurements that are not on a grid, their number for each pixel,
        with several coils that of one coil."""
        if self.mask is not None:
            return int(self.mask.sum()) / self.mask.numel()
        coils = 1 if self.maps is None else len(self.maps)
        return self.operator.samples / coils / math.prod(self.operator.in_shape)


@dataclass(frozen=True, eq=False)
class ScanData:
    """The images of a scan, one :class:`Prepared` each, and what the user should know about the data.

    Attributes:
        images: In the order of the slices.
        warnings: Sentences about the data, doubts included.
        doubts: The warnings that put the result into question; with any of them the commands end with exit code 3.
        file: What the file says in addition to the numbers; None for arrays.
        source: The files and how they were read; None for arrays.
        kind: What was measured.
        weighting: The weights of the measurements, in words, if the residual of the problem is weighted; else None.
    """

    images: list[Prepared]
    warnings: list[str]
    doubts: list[str] = field(default_factory=list)
    file: File | None = None
    source: Reading | None = None
    kind: Kind = "Cartesian k-space"
    weighting: str | None = None

    @property
    def axes(self) -> tuple[str, ...]:
        """The names of the axes of all images together: slices, if there are several, and those of an image."""
        dims = len(self.images[0].operator.in_shape)
        named = [a for a in self.file.axes if a in ("z", "y", "x")] if self.file else []
        spatial = named if len(named) == dims else ["z", "y", "x"][-dims:]
        return (*(["slice"] if len(self.images) > 1 else []), *spatial)

    @property
    def voxel_size(self) -> tuple[float, ...] | None:
        """The sizes of a voxel in mm, or None where the file does not say.

        They belong to the axes of :attr:`axes`; the size along the slices is missing if the file does not give it.
        """
        if self.file is None or self.file.voxel_size is None:
            return None
        sizes, thickness = self.file.voxel_size, self.file.slice_thickness
        if len(self.images) > 1 and thickness is not None and len(sizes) == 2:
            return (thickness, *sizes)
        return sizes


def with_empty(
    filled: Sequence[Prepared | None], numbers: Sequence[int | None], operator: LinearOperator | None, notes: list[str]
) -> list[Prepared]:
    """Returns the images of a scan, an empty image in place of each None, and adds a note about each empty one.

    Args:
        filled: The images; None where all samples are zero.
        numbers: The numbers of the slices.
        operator: The operator of the empty images; None takes that of the first image which is not empty.
        notes: Sentences about the data, to which those about empty slices are added.

    Raises:
        BadInput: If all images are empty.
    """
    like = next((image for image in filled if image is not None), None)
    if like is None:
        one = "zeros alone" if list(numbers) == [None] else f"zeros alone in slice {numbers[0]}"
        got = one if len(numbers) == 1 else f"zeros alone in all {len(numbers)} slices"
        raise BadInput("At least one sample that is not zero", got, "Check that the data were read correctly")
    empty = Prepared(
        torch.zeros_like(like.y), like.operator if operator is None else operator, "none", like.undetermined
    )
    nowhere = torch.zeros_like(like.undetermined)
    images = []
    for number, image in zip(numbers, filled, strict=True):
        if image is None:
            notes.append(f"Slice {number} holds nothing but zeros, and so does its image.")
            image = replace(empty, undetermined=nowhere, maps=like.maps, number=number, empty=True)
        images.append(image)
    return images


def chosen_slices(data: Tensor, only: int | None) -> tuple[Tensor, list[int | None]]:
    """Returns the slices that are asked for, shape (slices, ...), and their numbers.

    Args:
        data: Shape (slices, ...).
        only: The slice to take; None takes all.

    Raises:
        BadInput: If there is no such slice.
    """
    if only is None:
        return data, list(range(len(data)))
    if not 0 <= only < len(data):
        raise BadInput(f"A slice between 0 and {len(data) - 1}", f"{only}", "Slices are counted from 0")
    return data[only : only + 1], [only]
