"""Models from TorchScript files and exported programs of torch, which run in a process of their own."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from firenet.audit.model import Model, Reconstruct
from firenet.errors import BadInput, FirenetError
from firenet.io.files import sha256
from firenet.io.tensors import read_weights
from firenet.models.onnx_files import taken
from firenet.models.process import Outside
from firenet.operators.linear import LinearOperator


def from_torch(path: Path, name: str, trust: bool) -> Model:
    """Returns the model of a TorchScript file or an exported program.

    Args:
        path: The file.
        name: The name in tables.
        trust: Whether its author is trusted: such a file can run code while it is loaded.

    Raises:
        BadInput: If the file is not trusted, holds weights without a network, or is damaged.
    """
    exported = path.suffix.lower() == ".pt2"
    if not exported and not _is_torchscript(path):
        read_weights(path)  # raises its own error for a pickle
        do = f"Give its factory: --model module:factory --weights {path.name}"
        raise BadInput("A model", f"{path}, which holds weights and no network", do)
    if not trust:
        kind = "an exported program (.pt2)" if exported else "a TorchScript file"
        do = "If you trust its author, --trust-model opens it in a process of its own, which is no sandbox. "
        do += "Or take its weights as safetensors and a factory, or ONNX"
        raise BadInput("A file that cannot run code while it is loaded", f"{path}, {kind}, which can", do)
    origin = {"kind": "trusted file, in a process of its own", "file": str(path), "sha256": sha256(path)}
    return Model(name, lambda sensing: _tried(Outside(path), sensing, path), origin)


def _is_torchscript(path: Path) -> bool:
    """Returns whether a file is an archive with code in it."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except Exception:  # a damaged archive raises anything, UnicodeDecodeError and NotImplementedError included
        return False
    return any(n.endswith("constants.pkl") or "/code/" in n or n.endswith("archive_format") for n in names)


def _tried(outside: Outside, sensing: LinearOperator, path: Path) -> Reconstruct:
    """Returns R of a compiled file, which is given measurements in the first layout for which it returns an image.

    A compiled file does not say which layout it takes: complex or pairs of real numbers, with or without a batch axis.
    """

    def last(y: Tensor) -> Tensor:
        return torch.view_as_real(y.resolve_conj())

    def first(y: Tensor) -> Tensor:
        return last(y).movedim(-1, 0).contiguous()

    image = tuple(sensing.in_shape)
    said: dict[str, str] = {}  # each error, and the first layout that led to it
    y = torch.zeros(sensing.out_shape, dtype=torch.complex64)
    layouts: dict[str, Callable[[Tensor], Tensor]] = {
        "complex": lambda y: y,
        "complex in a batch": lambda y: y[None],
        "pairs on the last axis": last,
        "pairs on the last axis in a batch": lambda y: last(y)[None],
        "pairs on the first axis": first,
        "pairs on the first axis in a batch": lambda y: first(y)[None],
    }
    for name, layout in layouts.items():
        try:
            taken(outside(layout(y)), image)
        except FirenetError as error:
            said.setdefault(error.got, name)
            continue
        return lambda y, layout=layout: taken(outside(layout(y)), image)
    do = "It must take measurements on the grid of the mask, complex or as pairs of real numbers"
    got = "; ".join(f"{why} (for {name})" for why, name in said.items())
    raise BadInput(f"A model of measurements of shape {tuple(sensing.out_shape)}", f"{path}: {got}", do)
