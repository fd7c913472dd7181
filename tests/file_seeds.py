"""Small sound files of every format, and how to ask for a refusal."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from extras import h5py, ismrmrd, nibabel, pydicom
from firenet.errors import BadInput
from firenet.io.files import write_image
from firenet.io.hdf5 import opened
from firenet.io.stored import Stored


def noise(*shape: int, dtype: Any = np.complex64) -> np.ndarray:
    r = np.random.default_rng(sum(shape))
    return (r.standard_normal(shape) + 1j * r.standard_normal(shape)).astype(dtype)


def refusal(call: Callable[..., Any], *args: Any, **kwargs: Any) -> BadInput:
    """The error of a call that has to be refused, its three parts being phrases without a full stop."""
    with pytest.raises(BadInput) as caught:
        call(*args, **kwargs)
    for part in (caught.value.needed, caught.value.got, caught.value.do):
        assert part
        assert not part.endswith(".")
    return caught.value


def read_here(path: Path, key: str | None, preferred: str) -> Stored:
    """Reads an HDF5 file like the library, but in this process."""
    with opened(path, key, preferred) as stored:
        mask = None if stored.mask is None else stored.mask[()]
        more = {name: array[()] for name, array in stored.more.items()}
        return replace(stored, array=stored.array[()], mask=mask, more=more)


def save(path: Path, array: np.ndarray) -> Path:
    np.save(path, array)
    return path


def hdf5(path: Path, **arrays: Any) -> Path:
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array
    return path


def cfl(path: Path, dims: str, numbers: int) -> Path:
    np.arange(1, numbers + 1).astype("<c8").tofile(path.with_suffix(".cfl"))
    path.with_suffix(".hdr").write_text(f"# Dimensions\n{dims}\n# Command\nphantom\n")
    return path.with_suffix(".cfl")


def nifti(path: Path, array: np.ndarray, zooms: tuple[float, ...] = (), unit: str = "mm") -> Path:
    image = nibabel.Nifti1Image(array, np.eye(4))
    if zooms:
        image.header.set_zooms(zooms)
    image.header.set_xyzt_units(unit)
    nibabel.save(image, path)
    return path


def dicom(path: Path, pixels: np.ndarray, **tags: Any) -> Path:
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    data.SOPClassUID, data.SOPInstanceUID = pydicom.uid.MRImageStorage, "1.2.3"
    data.Rows, data.Columns = pixels.shape[-2:]
    data.BitsAllocated = data.BitsStored = 16
    data.HighBit, data.PixelRepresentation, data.SamplesPerPixel = 15, 0, 1
    data.PhotometricInterpretation = "MONOCHROME2"
    data.PixelData = pixels.astype("<u2").tobytes()
    for name, value in tags.items():
        setattr(data, name, value)
    data.save_as(path, enforce_file_format=True)
    return path


def mrd_header(
    encoded: tuple[int, int, int], kept: int, trajectory: str = "cartesian", centre: int | None = None
) -> str:
    """The XML header of a scan, encoded (z, y, x) with voxels of 3, 2 and 1 mm, of which `kept` along x are wanted."""
    z, y, x = encoded
    middle = y // 2 if centre is None else centre
    spaces = "".join(
        f"<{name}><matrixSize><x>{n}</x><y>{y}</y><z>{z}</z></matrixSize>"
        f"<fieldOfView_mm><x>{n}</x><y>{2 * y}</y><z>{3 * z}</z></fieldOfView_mm></{name}>"
        for name, n in (("encodedSpace", x), ("reconSpace", kept))
    )
    limits = "".join(
        f"<kspace_encoding_step_{step}><minimum>0</minimum><maximum>{n - 1}</maximum><center>{c}</center>"
        f"</kspace_encoding_step_{step}>"
        for step, n, c in ((1, y, middle), (2, z, z // 2))
    )
    return (
        '<?xml version="1.0"?><ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD"><experimentalConditions>'
        "<H1resonanceFrequency_Hz>128000000</H1resonanceFrequency_Hz></experimentalConditions><encoding>"
        f"{spaces}<encodingLimits>{limits}</encodingLimits><trajectory>{trajectory}</trajectory></encoding>"
        "</ismrmrdHeader>"
    )


def mrd_line(data: np.ndarray, flag: int = 0, **head: int) -> Any:
    """One line (coil, x); `head` fills its header or its counters (y and z for the encoding steps)."""
    line = ismrmrd.Acquisition.from_array(np.ascontiguousarray(data), center_sample=data.shape[1] // 2)
    for name, value in head.items():
        name = {"y": "kspace_encode_step_1", "z": "kspace_encode_step_2"}.get(name, name)
        setattr(line.idx if hasattr(line.idx, name) else line, name, value)
    if flag:
        line.set_flag(flag)
    return line


def mrd(path: Path, header: str, lines: list[Any], group: str = "dataset") -> Path:
    dataset = ismrmrd.Dataset(path, group)
    dataset.write_xml_header(header)
    for line in lines:
        dataset.append_acquisition(line)
    dataset.close()
    return path


def npy_header(shape: str, descr: str = "'<c8'") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def sample(folder: Path, kind: str) -> Path:
    """A small sound file of a format."""
    path = folder / {"hdf5": "a.h5", "nifti": "a.nii", "nifti.gz": "a.nii.gz", "dicom": "a.dcm"}.get(kind, f"a.{kind}")
    if kind == "hdf5":
        return hdf5(path, kspace=noise(3, 4))
    if kind == "nifti":
        return nifti(path, np.ones((3, 4), np.float32))
    if kind == "dicom":
        return dicom(path, np.ones((3, 4)))
    if kind == "npy":
        return save(path, noise(3, 4))
    if kind == "npz":
        np.savez_compressed(path, kspace=noise(3, 4))
    else:
        write_image(path, np.arange(120.0).reshape(10, 12) if kind == "png" else np.abs(noise(5, 6)))
    return path


def fuzz_seeds(kind: str, folder: Path) -> list[Path]:
    """Sound files of a kind with many of its features, to damage."""
    k, grey = noise(2, 4, 6), np.arange(48, dtype=np.uint16).reshape(6, 8)
    mask = (np.arange(24).reshape(4, 6) % 3 == 0).astype(np.uint8)
    if kind == "npy":
        arrays = {"k": k[0], "f": np.asfortranarray(k), "big": k.astype(">c16"), "half": np.ones((3, 4), "f2")}
        return [save(folder / f"{name}.npy", array) for name, array in arrays.items()]
    if kind == "npz":
        np.savez(folder / "a.npz", kspace=k, mask=mask)
        np.savez_compressed(folder / "b.npz", kspace=k, other=grey)
        np.savez(folder / "c.npz", kspace=k, trajectory=np.zeros((4, 6, 2)), shape=np.array([8, 8]))
        np.savez(folder / "d.npz", sinogram=np.ones((4, 6)), theta=np.arange(4), white=np.ones((2, 6)))
        np.savez(folder / "e.npz", measurements=np.arange(5.0), index=np.arange(5), shape=np.array([4, 4]))
        return [folder / f"{name}.npz" for name in "abcde"]
    if kind == "hdf5":
        return _hdf5_seeds(folder, k, mask)
    if kind == "ismrmrd":
        lines = [mrd_line(k[:, y], y=y, slice=s, flag=19 * (y == 3 and s == 0)) for s in range(2) for y in range(4)]
        volume = [mrd_line(k[:, z], z=z, average=a) for z in range(4) for a in range(2)]
        path = np.stack([np.linspace(-0.5, 0.5, 6), np.zeros(6)], axis=-1).astype(np.float32)
        spokes = [ismrmrd.Acquisition.from_array(np.ascontiguousarray(k[:, y]), path) for y in range(4)]
        return [
            mrd(folder / "a.h5", mrd_header((1, 4, 6), kept=3), lines),
            mrd(folder / "b.h5", mrd_header((4, 1, 6), kept=6), volume),
            mrd(folder / "c.h5", mrd_header((1, 6, 6), kept=6, trajectory="radial"), spokes),
        ]
    if kind == "cfl":
        pairs = [cfl(folder / "a", "4 3 1 2", 24), cfl(folder / "b", "1 3 5 2 1 1 1 1 1 1 1 1 1 2", 60)]
        return [path for pair in pairs for path in (pair, pair.with_suffix(".hdr"))]
    if kind == "png":
        return _png_seeds(folder, grey)
    if kind == "nifti":
        return _nifti_seeds(folder, grey)
    if kind == "dicom":
        return _dicom_seeds(folder, grey)
    assert kind == "mask"
    np.savez(folder / "m.npz", mask=mask)
    Image.fromarray(mask * 255).save(folder / "m.png")
    return [save(folder / "m.npy", mask.astype(bool)), folder / "m.npz", folder / "m.png"]


def _hdf5_seeds(folder: Path, k: np.ndarray, mask: np.ndarray) -> list[Path]:
    header = mrd_header((1, 4, 6), kept=3)
    plain = hdf5(folder / "a.h5", kspace=k, mask=mask[0], ismrmrd_header=header, words="text")
    pairs = np.empty(k.shape, [("real", "f4"), ("imag", "f4")])
    pairs["real"], pairs["imag"] = np.real(k), np.imag(k)
    with h5py.File(folder / "b.h5", "w", libver="latest") as file:
        file.create_dataset("kspace", data=pairs, chunks=(1, 2, 6), compression="gzip", shuffle=True, fletcher32=True)
        file.create_group("g").create_dataset("deep", data=k[0])
        file.attrs["acquisition"] = "AXT2"
    with h5py.File(folder / "c.h5", "w") as file:
        file["exchange/data"], file["exchange/theta"] = np.ones((4, 2, 6), np.float32), np.arange(4)
        file["exchange/data_white"] = np.ones((3, 2, 6), np.float32)
    return [plain, folder / "b.h5", folder / "c.h5"]


def _png_seeds(folder: Path, grey: np.ndarray) -> list[Path]:
    for name, image in {
        "grey": Image.fromarray(grey.astype(np.uint8)),
        "deep": Image.fromarray(grey * 500),
        "bits": Image.fromarray(grey > 20),
    }.items():
        image.save(folder / f"{name}.png")
    return [folder / f"{name}.png" for name in ("grey", "deep", "bits")]


def _nifti_seeds(folder: Path, grey: np.ndarray) -> list[Path]:
    image = nibabel.Nifti1Image(grey.astype(np.int16), np.eye(4))
    image.header.set_slope_inter(0.5, 10)
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"words" * 10))
    two = nibabel.Nifti2Image(noise(3, 4, 2), np.eye(4))
    pair = nibabel.Nifti1Pair(grey.astype(np.float32), np.eye(4))
    for name, one in {"a.nii": image, "a.nii.gz": image, "two.nii": two, "pair.img": pair}.items():
        nibabel.save(one, folder / name)
    return [folder / name for name in ("a.nii", "a.nii.gz", "two.nii", "pair.img", "pair.hdr")]


def _dicom_seeds(folder: Path, grey: np.ndarray) -> list[Path]:
    tags = {"RescaleSlope": 2, "RescaleIntercept": -5, "PixelSpacing": [0.5, 0.25], "PixelPaddingValue": 0}
    frames = dicom(folder / "frames.dcm", np.stack([grey, grey]), NumberOfFrames=2)
    packed = pydicom.dcmread(dicom(folder / "rle.dcm", grey))
    packed.compress(pydicom.uid.RLELossless)
    packed.save_as(folder / "rle.dcm", enforce_file_format=True)
    return [dicom(folder / "a.dcm", grey, **tags), frames, folder / "rle.dcm"]
