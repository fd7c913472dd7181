"""The files of a scan, and the options with which they are read."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch

from firenet.camera.scan import prepare_patterns
from firenet.ct.scan import prepare_projections
from firenet.errors import BadInput
from firenet.io.files import Scan, read_array
from firenet.io.measured import Patterns, Readouts, Sinogram, read_measured, without_numbers
from firenet.mri.kspace import Origin, coil_axis_is_elsewhere
from firenet.mri.readouts import prepare_readouts
from firenet.mri.scan import prepare_scan
from firenet.reconstruction.prepared import ScanData

DTYPES = {"complex64": torch.complex64, "complex128": torch.complex128}
# The options that have a meaning only for some kinds of measurements, and what these kinds are.
_ONLY = {
    "mask": (Scan,),
    "maps": (Scan, Readouts),
    "corner_dc": (Scan,),
    "origin": (Scan,),
    "remove_oversampling": (Scan,),
    "noise": (Scan, Readouts),
    "shape": (Readouts, Patterns),
    "rotation_axis": (Sinogram,),
    "bin": (Sinogram,),
    "every": (Sinogram,),
    "order": (Patterns,),
    "readings": (Patterns,),
}
_KINDS = {
    Scan: "k-space on a grid",
    Readouts: "non-Cartesian k-space",
    Sinogram: "projections of a tomogram",
    Patterns: "measurements of a single-pixel camera",
}


@dataclass(frozen=True)
class Source:
    """The files of a scan, and the options with which they are read.

    What was measured is found from the file (:func:`.read_measured`). Options that have no meaning for it are refused.

    Attributes:
        data: The file of measurements.
        mask: The file of the mask, or None.
        maps: The file of the coil maps, ``auto`` to estimate them, or None.
        only: The slice to take, or None for all.
        axes: Names of the stored axes, separated by commas, or None for what the file says.
        key: Name of the array in the file.
        corner_dc: Whether zero frequency lies in the corner.
        origin: The pixel that has phase zero at every frequency, ``middle`` or ``corner``, or None for the usual one.
        remove_oversampling: Whether to crop the readout.
        noise: The file of noise samples, or None.
        device: The device to compute on.
        dtype: complex64 or complex128; real measurements are float32 or float64.
        shape: The sides of the image, separated by commas, for non-Cartesian k-space and cameras whose file does not
            say.
        rotation_axis: For tomograms: the detector coordinate, in stored cells, onto which the rotation axis is
            projected; None finds it.
        bin: For tomograms: the number of neighbouring detector cells of which the mean is taken.
        every: For tomograms: one of so many views is used.
        order: For cameras: the order of the patterns, sequency, natural or dyadic, followed by ``:flattened`` if it is
            that of the flattened image; None finds it.
        readings: For cameras: the kind of readings, as in :func:`.place`; None finds it.
    """

    data: Path
    mask: Path | None = None
    maps: str | None = None
    only: int | None = None
    axes: str | None = None
    key: str | None = None
    corner_dc: bool = False
    origin: str | None = None
    remove_oversampling: bool = False
    noise: Path | None = None
    device: str = "cpu"
    dtype: str = "complex64"
    shape: str | None = None
    rotation_axis: float | None = None
    bin: int = 1
    every: int = 1
    order: str | None = None
    readings: str | None = None

    @property
    def files(self) -> list[Path]:
        """All files that are read."""
        maps = None if self.maps in (None, "auto") else Path(str(self.maps))
        return [path for path in (self.data, self.mask, maps, self.noise) if path is not None]

    def read(self) -> ScanData:
        """Reads and prepares the scan.

        Raises:
            BadInput: For files that cannot be read or do not fit together, options without a meaning for them, and an
                axis of coils that looks like another axis.
        """
        self._check()
        names = None if self.axes is None else [a.strip() for a in self.axes.split(",")]
        read = read_measured(self.data, axes=names, key=self.key, coils=self.maps is not None)
        self._check_kind(read)
        if isinstance(read, Scan):
            made = self._grid(read, names)
        elif isinstance(read, Readouts):
            made = self._readouts(read)
        elif isinstance(read, Sinogram):
            made = self._projections(read)
        else:
            made = self._patterns(read)
        made.warnings[:0] = read.notes
        return replace(made, file=without_numbers(read), source=self)  # the images have the numbers

    def _grid(self, scan: Scan, names: list[str] | None) -> ScanData:
        elsewhere = coil_axis_is_elsewhere(scan.axes, scan.kspace.shape)
        if elsewhere is not None and names is None:
            given = ",".join(scan.axes)
            do = f"Name the stored axes: --axes y,x,coil, or --axes {given} if they are what they seem to be"
            raise BadInput("An axis of coils, which are few", f"{elsewhere}, if the axes are {given}", do)
        mask = scan.mask if self.mask is None else read_array(self.mask, purpose="mask")
        oversampling = 1.0
        if self.remove_oversampling:
            oversampling = 2.0 if scan.readout_oversampling is None else scan.readout_oversampling
        return prepare_scan(
            scan.kspace,
            scan.axes,
            mask=mask,
            oversampling=oversampling,
            readout=scan.readout,
            centred=not self.corner_dc,
            origin=cast("Origin | None", self.origin),
            dtype=DTYPES[self.dtype],
            **self._common(),
        )

    def _readouts(self, scan: Readouts) -> ScanData:
        shape = self._shape() or scan.shape
        if shape is None:
            got = f"{scan.source} without an array shape"
            raise BadInput("The sides of the image", got, "Give them: --shape 256,256")
        return prepare_readouts(scan.kspace, scan.trajectory, shape, dtype=DTYPES[self.dtype], **self._common())

    def _common(self) -> dict[str, Any]:
        """Returns the arguments that all k-space has: coil maps, noise, the slice and the device."""
        maps = self.maps if self.maps in (None, "auto") else read_array(cast(str, self.maps), purpose="maps")
        noise = None if self.noise is None else read_array(self.noise, purpose="noise")
        return {"maps": maps, "noise": noise, "only": self.only, "device": self.device}

    def _projections(self, scan: Sinogram) -> ScanData:
        return prepare_projections(
            scan.projections,
            scan.theta,
            scan.white,
            scan.dark,
            rotation_axis=self.rotation_axis,
            bin=self.bin,
            every=self.every,
            only=self.only,
            device=self.device,
            dtype=DTYPES[self.dtype].to_real(),
        )

    def _patterns(self, scan: Patterns) -> ScanData:
        if self.only is not None:
            raise BadInput("A file with several slices for --slice", f"{scan.source}", "Leave --slice out")
        return prepare_patterns(
            scan.values,
            self._shape() or scan.shape,
            index=scan.index,
            order=self.order,
            readings=self.readings,
            device=self.device,
            dtype=DTYPES[self.dtype].to_real(),
        )

    def _shape(self) -> tuple[int, ...] | None:
        """Returns the sides of the image that were asked for."""
        if self.shape is None:
            return None
        try:
            sides = tuple(int(side) for side in self.shape.split(","))
        except ValueError:
            sides = ()
        if not 1 <= len(sides) <= 3 or min(sides) < 1:
            raise BadInput("--shape: one to three sides of the image", repr(self.shape), "For example --shape 256,256")
        return sides

    def _check_kind(self, read: Scan | Readouts | Sinogram | Patterns) -> None:
        """Refuses options that have no meaning for what was measured."""
        unused = [name for name, kinds in _ONLY.items() if getattr(self, name) != getattr(Source, name, None)]
        unused = [name for name in unused if not isinstance(read, _ONLY[name])]
        if unused:
            options = ", ".join(f"--{'image-origin' if n == 'origin' else n.replace('_', '-')}" for n in unused)
            got = f"{options}, which {'has' if len(unused) == 1 else 'have'} no meaning for them"
            needed = f"Only options for {_KINDS[type(read)]}, which {read.source} has"
            raise BadInput(needed, got, "Leave them out")

    def _check(self) -> None:
        """Refuses options that have no meaning, and a device that this machine does not have."""
        if self.origin not in (None, "middle", "corner"):
            raise BadInput("--image-origin middle or corner", repr(self.origin), "Leave it out for the usual one")
        if self.dtype not in DTYPES:
            raise BadInput("A dtype of complex64 or complex128", self.dtype, "complex128 for gaps below 1e-5")
        if self.rotation_axis is not None and not math.isfinite(self.rotation_axis):
            got = f"{self.rotation_axis}"
            raise BadInput("--rotation-axis: a detector coordinate in cells", got, "Leave it out to find it")
        if self.bin < 1 or self.every < 1:
            got = f"--bin {self.bin}, --every {self.every}"
            raise BadInput("--bin and --every: whole numbers, 1 or more", got, "1 leaves everything as it is")
        try:
            if torch.device(self.device).type != "cpu":
                torch.empty(1, device=self.device)
        except (RuntimeError, AssertionError) as error:
            do = "Use cpu; `firenet doctor` lists the devices"
            raise BadInput("A device that this machine has", self.device, do) from error
