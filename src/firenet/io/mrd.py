"""ISMRMRD (MRD), version 1 in HDF5: the lines of a Cartesian scan, placed by the header and the lines' counters.

Lines with a trajectory of their own are in `mrd_readouts`.

Only what is needed is read of the header and of the lines, so that files of older versions and of other converters can
be read. What was not measured is zero; the notes of the result say what is left out or averaged.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import numpy as np

from firenet.errors import BadInput
from firenet.io.apart import allow
from firenet.io.mrd_readouts import BLOCK, PACE, Readouts, Space
from firenet.io.stored import MAX_HEADER, SPATIAL, Stored, check_claim, positive, shown

# Bits of the flags of a line, as ISMRMRD numbers them from 1.
_CALIBRATION, _CALIBRATION_AND_IMAGING, _REVERSE = 20, 21, 22
_COMPRESSED = (53, 54, 55, 56)
_NO_IMAGE = {19: "noise", 23: "navigator", 24: "phase correction", 26: "feedback", 27: "dummy", 28: "feedback"}
_NO_IMAGE |= {29: "surface coil correction", 30: "phase stabilisation", 31: "phase stabilisation"}
_EPI = "Correct the phase of its lines and grid the ramps first, with Gadgetron or BART for example"
_SAME_IN_HEAD = ("number_of_samples", "center_sample", "discard_pre", "discard_post", "active_channels")
_SAME_IN_COUNTERS = ("contrast", "phase", "repetition", "set")
_PLACES = ("kspace_encode_step_1", "kspace_encode_step_2", "slice")
_HEAD = ("flags", *_SAME_IN_HEAD, "encoding_space_ref", "idx")


# --- the header ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Encoding:
    """One encoding of a header: the spaces, the step of zero frequency along y and z (None where not known), and the
    kind of trajectory in lower case."""

    encoded: Space
    wanted: Space | None
    centres: tuple[int | None, int | None]
    trajectory: str = "cartesian"


def header_text(h5py: ModuleType, dataset: Any, where: str) -> str:
    """Returns the XML of a header.

    Raises:
        BadInput: If it is not one text of a plausible size, or declares a DOCTYPE or an ENTITY.
    """
    # A damaged description of text with a variable length makes libhdf5 write out of bounds.
    is_text = dataset.dtype.kind == "S" or h5py.check_string_dtype(dataset.dtype) is not None
    small = is_text and dataset.size == 1 and dataset.dtype.itemsize < MAX_HEADER
    text = np.ravel(dataset[()])[0] if small else b""
    text = text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
    text = text.strip("\0 \t\r\n\ufeff") if len(text) < MAX_HEADER else ""
    # Entities can expand without bound and name files; no ISMRMRD header needs them. A null character or an encoding
    # other than UTF-8 could hide them from this search, so nulls are refused and the XML declaration is removed.
    if not text or any(sign in text.upper() for sign in ("<!DOCTYPE", "<!ENTITY", "\0")):
        got = "one that is empty, huge, or declares a DOCTYPE or an ENTITY"
        raise BadInput(f"A plain ISMRMRD header below {MAX_HEADER >> 20} MiB in {where}", got, "Convert the scan again")
    return text.partition("?>")[2] if text.startswith("<?xml") else text


def encoding(text: str, number: int, where: str) -> Encoding:
    """Returns one of the encodings of a header.

    Raises:
        BadInput: If it is missing or damaged, of an echo-planar scan, or has a matrix without a positive size.
    """
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise BadInput(f"A header in XML in {where}", shown(error), "Convert the scan again") from error
    for node in root.iter():  # the namespace differs between versions and converters
        node.tag = str(node.tag).rpartition("}")[2]
    found = root.findall("encoding")
    if number >= len(found):
        got = f"lines of encoding number {number}, counted from 0, and a header of {len(found)} encodings"
        raise BadInput(f"A header that describes the encoding of the lines in {where}", got, "Convert the scan again")
    one = found[number]
    trajectory = (one.findtext("trajectory") or "cartesian").strip().lower()
    if trajectory == "epi":
        raise BadInput(f"A scan whose lines are read in one direction in {where}", "the trajectory epi", _EPI)
    encoded, wanted = (_space(one.find(name), where) for name in ("encodedSpace", "reconSpace"))
    if encoded is None:
        do = "Write encodedSpace with its matrixSize into the header"
        raise BadInput(f"The encoded matrix in the header of {where}", "a header without it", do)
    steps = [one.findtext(f"encodingLimits/kspace_encoding_step_{step}/center") for step in (1, 2)]
    y, z = (None if step is None else _whole(step, "center", where) for step in steps)
    return Encoding(encoded, wanted, (y, z), trajectory)


def _space(node: ElementTree.Element | None, where: str) -> Space | None:
    """Returns the matrix and the field of view of a node, None where it has no matrix."""
    if node is None or node.find("matrixSize") is None:
        return None
    z, y, x = (_whole(node.findtext(f"matrixSize/{axis}") or "1", "matrixSize", where) for axis in SPATIAL)
    if min(z, y, x) < 1:
        got = f"{node.tag} z={z}, y={y}, x={x}"
        raise BadInput(f"Matrices of positive size in the header of {where}", got, "Correct the header")
    view = [_length(node.findtext(f"fieldOfView_mm/{axis}")) for axis in SPATIAL]
    return Space((z, y, x), (view[0], view[1], view[2]))


def _whole(text: str, name: str, where: str) -> int:
    """Returns a count, also where a converter wrote it as 256.0."""
    try:
        value = float(text)
        if not value.is_integer() or abs(value) > 2**40:
            raise ValueError
    except ValueError:
        needed = f"Whole numbers for {name} in the header of {where}"
        raise BadInput(needed, shown(text), "Correct the header") from None
    return int(value)


def _length(text: str | None) -> float:
    """Returns a length in mm, zero where there is none: only the voxel size depends on it."""
    try:
        return float(text or 0)
    except ValueError:
        return 0.0


# --- the lines -------------------------------------------------------------------------------------------------------


def read_group(h5py: ModuleType, lines: Any, xml: Any, where: str, file_size: int) -> Stored:
    """Assembles (slice, coil[, z], y, x) from the lines of a Cartesian scan; others are left to `mrd_readouts`.

    Args:
        h5py: The library.
        lines: The dataset ``data`` of the group.
        xml: The dataset ``xml`` of the group.
        where: The name of the group, for errors.
        file_size: The size of the file in bytes.

    Raises:
        BadInput: For a scan that is damaged, echo-planar or compressed, or whose lines differ in kind.
    """
    heads = _heads(h5py, lines, where)
    imaging, notes = _imaging(heads, where)
    numbers = np.flatnonzero(imaging)
    heads = heads[imaging]
    one = _common(heads, where)
    found = encoding(header_text(h5py, xml, where), one["encoding_space_ref"], where)
    carried = "trajectory_dimensions" in (heads.dtype.names or ()) and bool(heads["trajectory_dimensions"].any())
    if found.trajectory != "cartesian":
        scan = Readouts(lines, heads, numbers, one, found.encoded, found.centres[1], found.trajectory, where)
        return scan.read(notes, file_size)
    if carried:
        notes.append("The trajectory that the lines carry is not used: the header says Cartesian.")
    size = found.encoded.size
    partitions = heads["idx"]["kspace_encode_step_2"]
    if size[0] > 1 and partitions.min() == partitions.max() < size[0]:
        notes.append(f"One partition of the {size[0]} that the header has was measured: the scan is read as slices.")
        size = (1, *size[1:])
    start, kept = _readout(one, size[2], notes)
    stop = start + kept.stop - kept.start
    y = _position(heads, 1, size[1], found.centres[0], notes)
    # In two dimensions the step and the limits of the partitions are often wrong, and are not used.
    flat = size[0] == 1 and partitions.min() == partitions.max()
    z = np.zeros(len(heads), int) if flat else _position(heads, 2, size[0], found.centres[1], notes)
    slices = heads["idx"]["slice"].astype(int)
    shape = (int(slices.max()) + 1, one["active_channels"], *size)
    allow(check_claim(shape, np.dtype(np.complex64), file_size, where), len(heads) / PACE)
    fits = 0 <= start < stop <= size[2] and min(y.min(), z.min()) >= 0 and y.max() < size[1] and z.max() < size[0]
    if not fits or len(np.unique(slices)) < shape[0]:
        matrix = f"(z {size[0]}, y {size[1]}, x {size[2]})"
        got = f"x {start} to {stop - 1}, y {y.min()} to {y.max()}, z {z.min()} to {z.max()}"
        got = f"{got}, {len(np.unique(slices))} of {shape[0]} slices"
        do = "Correct the header (matrix size, encoding limits) or center_sample of the lines"
        raise BadInput(f"Lines within the encoded matrix {matrix} and in every slice of {where}", got, do)
    kspace, count = np.zeros(shape, np.complex64), np.zeros((shape[0], *size[:2]), int)
    with np.errstate(invalid="ignore", over="ignore"):  # `checked` refuses what is not finite
        for place, line in zip(zip(slices, z, y, strict=True), _lines(lines, numbers, one), strict=True):
            s, k, j = place
            kspace[s, :, k, j, start:stop] += line[:, kept]
            count[place] += 1
        if count.max() > 1:
            kspace /= np.maximum(count, 1)[:, None, :, :, None].astype(np.float32)
            notes.append(f"Lines that were measured up to {count.max()} times are averaged.")
    return _stored(kspace, count, slice(start, stop), found, where, notes)


def _heads(h5py: ModuleType, lines: Any, where: str) -> np.ndarray:
    """Returns the headers of all lines, if the table has the needed fields, in any order and among others."""
    kinds = {name: lines.dtype[name] for name in lines.dtype.names or ()}
    head = kinds.get("head", np.dtype("V1"))
    # A damaged description of numbers with a variable length makes libhdf5 write out of bounds.
    sound = h5py.check_vlen_dtype(kinds.get("data", np.dtype("V1"))) == np.float32 and lines.ndim == 1
    sound &= set(_HEAD) <= set(head.names or ()) and {*_SAME_IN_COUNTERS, *_PLACES} <= set(head["idx"].names or ())
    parts = [head[name] for name in _HEAD[:-1]] if sound else []
    parts += [head["idx"][name] for name in (*_SAME_IN_COUNTERS, *_PLACES)] if sound else []
    if not parts or any(part.kind not in "ui" for part in parts):
        do = "Convert the scan again, to ISMRMRD 1"
        raise BadInput(f"Lines as ISMRMRD 1 defines them in {where}", "records of another kind", do)
    room, stored = lines.size * lines.dtype.itemsize, lines.id.get_storage_size()
    allow(check_claim((room,), np.dtype(np.uint8), stored, f"{where}, the table of its lines"))
    return lines.fields("head")[()]


def _imaging(heads: np.ndarray, where: str) -> tuple[np.ndarray, list[str]]:
    """Returns which lines belong to the image, and a note about the others."""
    flags = heads["flags"].astype(np.uint64)

    def flagged(bit: int) -> np.ndarray:
        return (flags >> np.uint64(bit - 1)) & np.uint64(1) == 1

    imaging = ~(flagged(_CALIBRATION) & ~flagged(_CALIBRATION_AND_IMAGING))
    left_out = {"calibration": int((~imaging).sum())}
    for bit, name in _NO_IMAGE.items():
        left_out[name] = left_out.get(name, 0) + int((imaging & flagged(bit)).sum())
        imaging &= ~flagged(bit)
    if not imaging.any():
        got = f"no imaging lines among {len(heads)}"
        do = "Convert the scan again, or the measurement that has the image"
        raise BadInput(f"Imaging lines in {where}", got, do)
    if (imaging & flagged(_REVERSE)).any():
        raise BadInput(f"Imaging lines read in one direction in {where}", "reversed (EPI) lines", _EPI)
    if any((imaging & flagged(bit)).any() for bit in _COMPRESSED):
        do = "Convert the scan again without compression"
        raise BadInput(f"Uncompressed lines in {where}", "compressed lines", do)
    named = ", ".join(f"{count} of {name}" for name, count in left_out.items() if count)
    return imaging, [f"Lines that are not part of the image were left out: {named}."] if named else []


def _common(heads: np.ndarray, where: str) -> dict[str, int]:
    """Returns the values that must be the same in all imaging lines."""
    one = {}
    for name in (*_SAME_IN_HEAD, *_SAME_IN_COUNTERS, "encoding_space_ref"):
        found = np.unique(heads["idx"][name] if name in _SAME_IN_COUNTERS else heads[name])
        if len(found) > 1:
            got = f"{len(found)} different ones, {found[0]} to {found[-1]}"
            do = f"Split the file by {name}: copy the lines of one into another ismrmrd.Dataset"
            raise BadInput(f"The same {name} in all imaging lines of {where}", got, do)
        one[name] = int(found[0])
    return one


def _readout(one: dict[str, int], side: int, notes: list[str]) -> tuple[int, slice]:
    """Returns where the first sample that is kept lies in the matrix, and which samples are kept."""
    kept = slice(one["discard_pre"], one["number_of_samples"] - one["discard_post"])
    centre = one["center_sample"]
    if centre == 0 and kept.stop - kept.start == side > 1:  # some converters leave the field empty
        notes.append("The lines do not say which sample is DC (center_sample 0); they fill the matrix from its start.")
        return 0, kept
    return side // 2 - centre + kept.start, kept


def _position(heads: np.ndarray, step: int, side: int, centre: int | None, notes: list[str]) -> np.ndarray:
    """Returns where the lines lie along y (step 1) or z (step 2)."""
    found = heads["idx"][f"kspace_encode_step_{step}"].astype(int)
    if centre is not None:
        return found + side // 2 - centre
    if found.max() + 1 < side:
        notes.append(f"The header does not say which step {step} is DC: {side // 2}, the middle of {side}, is taken.")
    return found


def _lines(lines: Any, numbers: np.ndarray, one: dict[str, int]) -> Iterator[np.ndarray]:
    """Yields the imaging lines, (coil, sample); several are read at a time, as many may share one stored block."""
    coils, samples, data = one["active_channels"], one["number_of_samples"], lines.fields("data")
    for first in range(0, len(numbers), BLOCK):
        wanted = numbers[first : first + BLOCK]
        block = data[int(wanted[0]) : int(wanted[-1]) + 1] if wanted[-1] - wanted[0] < 2 * BLOCK else None
        for number in wanted:
            line = data[int(number)] if block is None else block[number - wanted[0]]
            if line.size != 2 * coils * samples:
                got = f"{line.size} numbers in line {number}, not 2 x {coils} x {samples}"
                needed = f"Lines as long as their headers say in {lines.file.filename}"
                raise BadInput(needed, got, "Copy the file again")
            yield line.view(np.complex64).reshape(coils, samples)


def _stored(
    kspace: np.ndarray, count: np.ndarray, readout: slice, found: Encoding, where: str, notes: list[str]
) -> Stored:
    """Returns the assembled scan with its voxel size, and its mask if all slices have the same."""
    volume = kspace.shape[2] > 1
    mask = np.zeros(kspace.shape[2:], bool)
    mask[..., readout] = count[0][..., None] > 0
    same = bool(((count > 0) == (count[0] > 0)).all())
    plane = slice(None) if volume else 0
    spatial = SPATIAL[0 if volume else 1 :]
    size, view = kspace.shape[2:], found.encoded.view
    # The image of the encoded matrix has the encoded voxels; reconSpace may be interpolated. So the ratio of the fields
    # of view, not that of the matrices, says how much of the readout is to be kept.
    ratio = None
    if found.wanted is not None:
        known = positive([view[2], found.wanted.view[2]])
        ratio = max(1.0, known[0] / known[1] if known else size[2] / found.wanted.size[2])
    return Stored(
        array=kspace[:, :, plane],
        name=where,
        axes=("slice", "coil", *spatial),
        mask=mask[plane] if same else None,
        voxel_size=positive([view[k] / size[k] for k in range(0 if volume else 1, 3)]),
        oversampling=ratio,
        slice_thickness=found.encoded.thickness,
        notes=tuple(notes),
    )
