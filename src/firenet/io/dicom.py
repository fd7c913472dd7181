"""DICOM: grey images of scanners, their values rescaled by the file's slope and intercept."""

from __future__ import annotations

import io
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from firenet.errors import BadInput
from firenet.io.stored import Stored, as_float, check_claim, positive, shown
from firenet.optional import optional

_CONVERT = "Convert it to NIfTI, e.g. with dcm2niix"
_RAW = "Decompress it first: gdcmconv --raw IN OUT, or dcmdjpeg, dcmdjpls"


def read_dicom(path: Path, key: str | None, preferred: str) -> Stored:
    """Reads a grey DICOM image, rescaled by its slope and intercept.

    Pixels that the file calls padding were not measured; they get the smallest rescaled value of the others, which is
    shown black. Display windows, overlays and other ways to show the values are not applied.
    """
    pydicom = optional("pydicom", "images", "Reading DICOM")
    size = path.stat().st_size
    check_claim((size,), np.dtype(np.uint8), size, str(path))
    # From memory a parser cannot read more than there is, whatever length an element claims.
    raw = io.BytesIO(path.read_bytes())
    raw.seek(132)
    meta = pydicom.filereader.read_dataset(raw, False, True, stop_when=lambda tag, vr, length: tag.group != 2)
    syntax = meta.TransferSyntaxUID
    raw.seek(0)
    # A deflated file is inflated whole before a single claim in it can be checked.
    if syntax == pydicom.uid.DeflatedExplicitVRLittleEndian:
        raise BadInput(f"One grey DICOM image in {path}", "a deflated one", "Inflate it: dcmconv +te IN OUT, of DCMTK")
    data: Any = pydicom.dcmread(raw)
    _refuse(pydicom, data, syntax, path)
    shape = (int(data.get("NumberOfFrames", 1) or 1), data.Rows, data.Columns)
    check_claim(shape, np.dtype(f"u{max(1, data.BitsAllocated // 8)}"), len(data.PixelData), str(path))
    try:
        array = data.pixel_array
    except RuntimeError as error:  # a decoder that is installed may still not decode every file of its kind
        if not syntax.is_compressed:
            raise
        got = f"one that cannot be decoded ({shown(syntax.name)})"
        raise BadInput(f"One grey DICOM image in {path}", got, _RAW) from error
    slope, intercept = float(data.get("RescaleSlope", 1)), float(data.get("RescaleIntercept", 0))
    slope *= float(data.get("DoseGridScaling", 1))  # in radiotherapy
    padding = data.get("PixelPaddingValue")
    if padding is not None:
        low, high = sorted((int(padding), int(data.get("PixelPaddingRangeLimit", padding))))
        outside = (array >= low) & (array <= high)
        if outside.any() and not outside.all():
            others = array[~outside]
            array = np.where(outside, others.max() if slope < 0 else others.min(), array)
    if (slope, intercept) != (1.0, 0.0):
        array = as_float(array) * slope + intercept
    spacing = data.get("PixelSpacing")
    return Stored(array, str(path), voxel_size=positive(spacing) if spacing else None)


def _refuse(pydicom: ModuleType, data: Any, syntax: Any, path: Path) -> None:
    """Refuses images whose stored values are not the grey values themselves, and those that cannot be decoded here."""
    if "PixelData" not in data:
        got, do = "one without pixels in integers", _CONVERT
    elif "PerFrameFunctionalGroupsSequence" in data:
        got, do = "an enhanced one of several frames, each with its own scale and place", _CONVERT
    elif data.PhotometricInterpretation == "MONOCHROME1":
        do = "Invert it first: dcmj2pnm, or pixel_array.max() - pixel_array"
        got = "one in which zero is white (MONOCHROME1)"
    elif data.PhotometricInterpretation != "MONOCHROME2" or data.get("SamplesPerPixel", 1) != 1:
        got, do = f"one in colour ({shown(data.PhotometricInterpretation)})", _CONVERT
    elif "ModalityLUTSequence" in data:
        got, do = "one whose values stand in a table", "Apply it first: pydicom.pixels.apply_modality_lut"
    elif syntax.is_compressed and not pydicom.pixels.get_decoder(syntax).is_available:
        got, do = f"one compressed as {shown(syntax.name)}", _RAW
    else:
        return
    raise BadInput(f"One grey DICOM image in {path}", got, do)
