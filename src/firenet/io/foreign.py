"""Files in formats that are not read: what they are, as far as one can tell, and how to convert them."""

from __future__ import annotations

from pathlib import Path

from firenet.errors import BadInput
from firenet.io.safely import suffix
from firenet.io.stored import shown

_SCANNER = "Convert it to ISMRMRD with {}"
_BY_BYTES = (
    (b"MATLAB 5.0", "a MATLAB 5 file", "Save it with -v7.3, or numpy.save(..., scipy.io.loadmat(path)[name])"),
    (b"\xff\xd8\xff", "a JPEG picture", "Convert it to PNG, knowing that JPEG has changed its pixels"),
    (b"II*\0", "a TIFF picture", "Convert it to PNG or npy, e.g. numpy.save(..., tifffile.imread(path))"),
    (b"MM\0*", "a TIFF picture", "Convert it to PNG or npy, e.g. numpy.save(..., tifffile.imread(path))"),
    (b"NRRD", "an NRRD volume", "Convert it to NIfTI, e.g. with SimpleITK"),
    (b"ObjectType", "a MetaImage", "Convert it to NIfTI, e.g. with SimpleITK"),
    (b"CDF", "a netCDF 3 file", "Convert it to NIfTI or npy"),
    (b"rawarray", "an RA file", "Convert it with bart copy, to cfl"),
    (b"\x80", "a pickle", "Load it where it was made, and numpy.save the array"),
    (b"\x1f\x8b", "a gzipped file", "Decompress it: gunzip (only .nii.gz is read as it is)"),
    (b"\x28\xb5\x2f\xfd", "a zstd file", "Decompress it: unzstd"),
    (b"\x08\x00", "a DICOM file without its preamble, it seems", "Rewrite it: dcmconv +F IN OUT, of DCMTK"),
    (b"\x02\x00", "a DICOM file without its preamble, it seems", "Rewrite it: dcmconv +F IN OUT, of DCMTK"),
)
_BY_NAME = {
    ".dat": ("raw data of Siemens, it seems", _SCANNER.format("siemens_to_ismrmrd")),
    ".7": ("raw data of GE, it seems", _SCANNER.format("ge_to_ismrmrd")),
    ".lab": ("raw data of Philips, it seems", _SCANNER.format("philips_to_ismrmrd")),
    ".raw": ("raw data of Philips, it seems", _SCANNER.format("philips_to_ismrmrd")),
    ".sin": ("raw data of Philips, it seems", _SCANNER.format("philips_to_ismrmrd")),
    "fid": ("raw data of Bruker, it seems", _SCANNER.format("bruker_to_ismrmrd")),
    ".mgh": ("a volume of FreeSurfer, it seems", "Convert it to NIfTI: mri_convert"),
    ".mgz": ("a volume of FreeSurfer, it seems", "Convert it to NIfTI: mri_convert"),
    ".img": ("an image without its header", "Put the .hdr of the same name beside it"),
    ".ra": ("an RA file, it seems", "Convert it with bart copy, to cfl"),
}


def foreign(path: Path, head: bytes) -> BadInput:
    """Returns the error for a file in an unknown format, with the remedy if one is known.

    Args:
        path: The file.
        head: Its first bytes.
    """
    needed = "A file in a known format: npy, npz, HDF5 (fastMRI, ISMRMRD), cfl/hdr, PNG, NIfTI or DICOM"
    if not head:
        return BadInput(needed, f"{path}, which is empty", "Copy it again")
    what, do = _BY_NAME.get(path.name if path.name == "fid" else suffix(path), ("", ""))
    if not what:
        found = next((entry for entry in _BY_BYTES if head.startswith(entry[0])), None)
        what, do = found[1:] if found else ("", "Convert the file, or copy it again if it should be one of these")
    begins = f"which begins with {shown(head[:8])}"
    return BadInput(needed, f"{path}, {what}, {begins}" if what else f"{path}, {begins}", do)
