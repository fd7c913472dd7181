"""Describes files of measurements: what is in them, and the command that reconstructs them."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from firenet.errors import BadInput
from firenet.io.files import Scan
from firenet.io.measured import Patterns, Readouts, Sinogram, read_measured
from firenet.io.safely import AnyPath
from firenet.mri.evidence import calibration_width
from firenet.mri.kspace import coil_axis_is_elsewhere, mask_of, peak_is_central
from firenet.numerics import tensor_of


@dataclass(frozen=True)
class Described:
    """Describes what a file of measurements has.

    Attributes:
        kind: What was measured, in words.
        facts: Names and values, as text, in the order in which they are shown.
        notes: Sentences about what the reader left out or assumed, and what looks odd.
        command: The command that reconstructs it.
        source: The path and the array's name.
    """

    kind: str
    facts: dict[str, str]
    notes: tuple[str, ...]
    command: str
    source: str

    def record(self) -> dict[str, Any]:
        """Returns the description for JSON."""
        return vars(self)


def describe_file(path: AnyPath, *, axes: Sequence[str] | None = None, key: str | None = None) -> Described:
    """Describes a file of measurements without reconstructing it: what was measured, the axes, where zero frequency
    lies, the mask or the trajectory, coils, voxel size, and the command that reconstructs it.

    Args:
        path: The file.
        axes: As in :func:`.read_measured`.
        key: As in :func:`.read_measured`.

    Raises:
        BadInput: For a file that cannot be read.
        MissingExtra: If the format needs a library that is not installed.
    """
    try:
        read = read_measured(path, axes=axes, key=key)
    except BadInput:  # arrays whose axes depend on whether there are coils
        read = read_measured(path, axes=axes, key=key, coils=True)
    words = ["firenet", "recon", str(path)]
    words += [] if key is None else ["--key", key]
    words += [] if axes is None else ["--axes", ",".join(axes)]
    if isinstance(read, Scan):
        return _grid(read, words)
    if isinstance(read, Readouts):
        return _readouts(read, words)
    if isinstance(read, Sinogram):
        return _projections(read, words)
    return _patterns(read, words)


def _command(words: list[str]) -> str:
    return shlex.join([*words, "-o", f"{Path(words[2]).stem}.png"])


def _by(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def _size(voxels: Sequence[float] | None, thickness: float | None) -> str:
    if voxels is None:
        return "not in the file"
    more = "" if thickness is None else f", slices of {thickness:.3g} mm"
    return f"{' x '.join(f'{v:.3g}' for v in voxels)} mm{more}"


def _grid(read: Scan, words: list[str]) -> Described:
    notes, k = list(read.notes), tensor_of(read.kspace, "k-space")
    dims = sum(a in ("z", "y", "x") for a in read.axes)
    sampled = mask_of(k, dims) if read.mask is None else torch.from_numpy(read.mask)
    central = peak_is_central(k, dims)
    width = calibration_width(torch.fft.ifftshift(sampled) if central else sampled)
    coils = k.shape[read.axes.index("coil")] if "coil" in read.axes else 1
    odd = coil_axis_is_elsewhere(read.axes, read.kspace.shape)
    if odd is not None:
        notes.append(f"{odd}; if the axes are stored in another order, name them: --axes y,x,coil.")
    slices = k.shape[0] if "slice" in read.axes else 1
    facts = {
        "axes": ", ".join(f"{a} {n}" for a, n in zip(read.axes, read.kspace.shape, strict=True)),
        "numbers": str(read.kspace.dtype),
        "zero frequency": "in the middle" if central else "in the corner",
        "mask": f"{'the samples that are not zero' if read.mask is None else 'in the file'}, "
        f"{100 * float(sampled.float().mean()):.3g} % sampled",
        "fully sampled centre": f"{width} wide" if width else "none",
        "coils": f"{coils}",
        "voxel size": _size(read.voxel_size, read.slice_thickness),
    }
    if read.readout_oversampling is not None:
        facts["readout oversampling"] = f"{read.readout_oversampling:.3g}"
    words = words + (["--maps", "auto"] if coils > 1 or "coil" in read.axes else [])
    words += [] if central else ["--corner-dc"]
    words += ["--remove-oversampling"] if (read.readout_oversampling or 1.0) > 1 else []
    words += ["--slice", str(slices // 2)] if slices > 1 else []
    if coils > 1 and width < 8:
        notes.append("The centre is too narrow to estimate coil maps: pass those of a calibration scan (--maps FILE).")
    return Described("k-space on a grid", facts, tuple(notes), _command(words), read.source)


def _readouts(read: Readouts, words: list[str]) -> Described:
    samples, notes = read.kspace.shape[2:], list(read.notes)
    largest = float(np.abs(read.trajectory).max())
    facts = {
        "slices": str(len(read.kspace)),
        "coils": str(read.kspace.shape[1]),
        "samples": _by(samples),
        "trajectory": f"{read.trajectory.shape[-1]} coordinates, up to {largest:.4g}",
        "image": "not in the file" if read.shape is None else _by(read.shape),
        "voxel size": _size(read.voxel_size, read.slice_thickness),
    }
    if largest > 0.5 * (1 + 1e-4):
        notes.append("The trajectory is not in cycles per pixel, from -1/2 to 1/2: divide it by its unit first.")
    words = words + (["--maps", "auto"] if read.kspace.shape[1] > 1 else [])
    words += ["--shape", "N,N"] if read.shape is None else []
    words += ["--slice", str(len(read.kspace) // 2)] if len(read.kspace) > 1 else []
    return Described("non-Cartesian k-space", facts, tuple(notes), _command(words), read.source)


def _projections(read: Sinogram, words: list[str]) -> Described:
    slices, views, cells = read.projections.shape
    facts = {
        "rows of the detector": str(slices),
        "views": f"{views}, from {read.theta.min():.4g} to {read.theta.max():.4g} degrees",
        "detector": f"{cells} cells",
        "white frames": "none: line integrals" if read.white is None else str(len(read.white)),
        "dark frames": "none" if read.dark is None else str(len(read.dark)),
    }
    words = words + (["--slice", str(slices // 2)] if slices > 1 else [])
    return Described("projections of a tomogram", facts, read.notes, _command(words), read.source)


def _patterns(read: Patterns, words: list[str]) -> Described:
    facts = {
        "measurements": _by(read.values.shape),
        "numbers of the patterns": "none: a grid, or all in their order"
        if read.index is None
        else f"{len(read.index)}",
        "image": "not in the file" if read.shape is None else _by(read.shape),
    }
    words = words + (["--shape", "N,N"] if read.shape is None and read.values.ndim == 1 else [])
    return Described("measurements of a single-pixel camera", facts, read.notes, _command(words), read.source)
