"""Tensors from files of weights: safetensors, and files of ``torch.save`` that hold tensors and plain data.

Files are read whole, within bounds, and not mapped into memory. Code in a file never runs: files of ``torch.save`` are
read by torch's restricted unpickler (``weights_only=True``).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from firenet.errors import BadInput
from firenet.io.archives import bytes_of, stored_members
from firenet.io.safely import existing
from firenet.numerics import real_view
from firenet.optional import optional

# The types of weights. Floating types of eight and fewer bits are missing: they are codes of a quantised network.
_DTYPES = {
    **{
        "F64": torch.float64,
        "F32": torch.float32,
        "F16": torch.float16,
        "BF16": torch.bfloat16,
        "C64": torch.complex64,
    },
    **{"I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8},
    "BOOL": torch.bool,
}
_NO_PICKLES = (
    "A pickle runs whatever its author wrote while it is read, so only tensors are taken from one. If you trust the "
    "file, save its weights on the machine where it was made, with "
    "safetensors.torch.save_file(module.state_dict(), file)"
)


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Reads the tensors and the metadata of a file; nothing in it can run.

    Raises:
        BadInput: For a file that is missing, damaged or of another format, or that holds NaN, infinity, or numbers of a
            type that weights do not have, such as floating point of 8 bits.
        MissingExtra: If safetensors is not installed.
    """
    existing(path)
    library = optional("safetensors", "audit", "Weights in files")
    data = bytes_of(path)
    try:
        entries = library.deserialize(data)
        # The library has checked the header, but has no function that returns the metadata of bytes in memory.
        head = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        about = {str(name): str(text) for name, text in (head.get("__metadata__") or {}).items()}
    except (library.SafetensorError, OSError, ValueError, RecursionError, AttributeError) as error:
        do = "Write it with safetensors.torch.save_file"
        raise BadInput("A file of safetensors", f"{path}: {str(error)[:300]}", do) from None
    tensors = {}
    for name, entry in entries:
        if entry["dtype"] not in _DTYPES:
            got = f"{entry['dtype']} in {name} of {path}"
            raise BadInput("Weights in floating point of 16 bits or more", got, "Convert them: tensor.float()")
        tensors[name] = _tensor(entry["data"], _DTYPES[entry["dtype"]], entry["shape"])
    _check_finite(tensors, path)
    return tensors, about


def _tensor(data: bytearray, dtype: torch.dtype, shape: list[int]) -> Tensor:
    """Returns the tensor of these bytes; torch refuses an empty buffer."""
    if not math.prod(shape):
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(data, dtype=dtype).reshape(shape)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Reads tensors by name from safetensors, or from a file of ``torch.save``.

    The latter holds a mapping from names to tensors, or a mapping whose entry ``state_dict`` is one; its other entries
    are left out.

    Raises:
        BadInput: For a file that holds something else, or objects that could run code; for tensors that claim more
            numbers than the file holds; and for NaN or infinity.
        MissingExtra: If safetensors is needed and not installed.
    """
    existing(path)
    if path.suffix.lower() == ".safetensors":
        return read_safetensors(path)[0]
    with path.open("rb") as file:
        if file.read(2) != b"PK":
            raise BadInput("An archive of tensors and nothing else", f"{path}, a pickle or another file", _NO_PICKLES)
    archive = stored_members(path)
    size = len(archive.getbuffer())
    try:
        stored = torch.load(archive, map_location="cpu", weights_only=True)
    except Exception as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
        raise BadInput("A file of tensors and nothing else", f"{path}: {said}", _NO_PICKLES) from None
    if isinstance(stored, Mapping) and isinstance(stored.get("state_dict"), Mapping):
        stored = stored["state_dict"]
    if not isinstance(stored, Mapping) or not stored or not all(isinstance(t, Tensor) for t in stored.values()):
        do = "Save it with torch.save(module.state_dict(), file) or as safetensors"
        raise BadInput("A state_dict of tensors", f"{path}, a {type(stored).__name__} that is something else", do)
    tensors = dict(stored)
    plain = all(t.layout == torch.strided and t.device.type == "cpu" and not t.is_quantized for t in tensors.values())
    # A tensor may repeat one number over any shape (stride 0), which takes memory only when it is first used.
    if not plain or sum(t.numel() * t.element_size() for t in tensors.values()) > size:
        do = "Save module.state_dict() of a plain network"
        raise BadInput("Dense tensors, with every number stored in the file", f"other tensors in {path}", do)
    _check_finite(tensors, path)
    return tensors


def _check_finite(tensors: Mapping[str, Tensor], path: Path) -> None:
    for name, t in tensors.items():
        if (t.is_floating_point() or t.is_complex()) and not torch.isfinite(real_view(t)).all():
            raise BadInput("Finite weights", f"NaN or infinity in {name} of {path}", "Train again")
