"""The files of a scan, and the options with which they are read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import torch

from firenet.errors import BadInput
from firenet.io.files import read_array, read_scan
from firenet.mri.kspace import Origin, coil_axis_is_elsewhere
from firenet.mri.scan import prepare_scan
from firenet.reconstruction.prepared import ScanData

DTYPES = {"complex64": torch.complex64, "complex128": torch.complex128}


@dataclass(frozen=True)
class Source:
    """The files of a scan, and the options with which they are read.

    Attributes:
        data: The file of k-space.
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
        dtype: complex64 or complex128.
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

    @property
    def files(self) -> list[Path]:
        """All files that are read."""
        maps = None if self.maps in (None, "auto") else Path(str(self.maps))
        return [path for path in (self.data, self.mask, maps, self.noise) if path is not None]

    def read(self) -> ScanData:
        """Reads and prepares the scan.

        Raises:
            BadInput: For files that cannot be read or do not fit together, and for an axis of coils that looks like
                another axis.
        """
        self._check()
        names = None if self.axes is None else [a.strip() for a in self.axes.split(",")]
        scan = read_scan(self.data, axes=names, key=self.key, coils=self.maps is not None)
        elsewhere = coil_axis_is_elsewhere(scan.axes, scan.kspace.shape)
        if elsewhere is not None and names is None:
            given = ",".join(scan.axes)
            do = f"Name the stored axes: --axes y,x,coil, or --axes {given} if they are what they seem to be"
            raise BadInput("An axis of coils, which are few", f"{elsewhere}, if the axes are {given}", do)
        mask = scan.mask if self.mask is None else read_array(self.mask, purpose="mask")
        oversampling = 1.0
        if self.remove_oversampling:
            oversampling = 2.0 if scan.readout_oversampling is None else scan.readout_oversampling
        made = prepare_scan(
            scan.kspace,
            scan.axes,
            mask=mask,
            maps=self.maps if self.maps in (None, "auto") else read_array(cast(str, self.maps), purpose="maps"),
            only=self.only,
            oversampling=oversampling,
            readout=scan.readout,
            noise=None if self.noise is None else read_array(self.noise, purpose="noise"),
            centred=not self.corner_dc,
            origin=cast("Origin | None", self.origin),
            device=self.device,
            dtype=DTYPES[self.dtype],
        )
        made.warnings[:0] = scan.notes
        described = replace(scan, kspace=scan.kspace[:0].copy())  # the images have the numbers
        return replace(made, file=described, source=self)

    def _check(self) -> None:
        """Refuses options that have no meaning, and a device that this machine does not have."""
        if self.origin not in (None, "middle", "corner"):
            raise BadInput("--image-origin middle or corner", repr(self.origin), "Leave it out for the usual one")
        if self.dtype not in DTYPES:
            raise BadInput("A dtype of complex64 or complex128", self.dtype, "complex128 for gaps below 1e-5")
        try:
            if torch.device(self.device).type != "cpu":
                torch.empty(1, device=self.device)
        except (RuntimeError, AssertionError) as error:
            do = "Use cpu; `firenet doctor` lists the devices"
            raise BadInput("A device that this machine has", self.device, do) from error
