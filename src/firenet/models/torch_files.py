"""Models from files of torch: TorchScript and exported programs, in a process of their own."""

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
    """TorchScript and exported programs; what is only weights needs a factory."""
    compiled = path.suffix.lower() == ".pt2" or _is_torchscript(path)
    if not compiled:
        read_weights(path)  # refuses a pickle with its reason
        do = f"Give its factory: --model module:factory --weights {path.name}"
        raise BadInput("A model", f"{path}, which holds weights and no network", do)
    if not trust:
        kind = "An exported program (.pt2)" if path.suffix.lower() == ".pt2" else "A TorchScript file"
        do = (
            "--trust-model opens it in a process of its own, which is no sandbox: only if you trust who made it. "
            "Or take its weights as safetensors and a factory, or ONNX"
        )
        raise BadInput("A file that cannot run code while it is loaded", f"{path}. {kind} can", do)
    outside = Outside(path)
    origin = {"kind": "trusted file, in a process of its own", "file": str(path), "sha256": sha256(path)}
    return Model(name, lambda sensing: _tried(outside, sensing, path), origin)


def _is_torchscript(path: Path) -> bool:
    """An archive with code in it."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except Exception:  # a damaged archive raises anything, UnicodeDecodeError and NotImplementedError included
        return False
    return any(n.endswith("constants.pkl") or "/code/" in n or n.endswith("archive_format") for n in names)


def _tried(outside: Outside, sensing: LinearOperator, path: Path) -> Reconstruct:
    """A compiled file does not say what it takes: the first layout that gives an image is the one."""
    image = tuple(sensing.in_shape)
    layouts: list[Callable[[Tensor], Tensor]] = [
        lambda y: y,
        lambda y: y[None],
        lambda y: torch.view_as_real(y.resolve_conj()),
        lambda y: torch.view_as_real(y.resolve_conj())[None],
        lambda y: torch.view_as_real(y.resolve_conj()).movedim(-1, 0).contiguous(),
        lambda y: torch.view_as_real(y.resolve_conj()).movedim(-1, 0)[None].contiguous(),
    ]
    said, y = [], torch.zeros(sensing.out_shape, dtype=torch.complex64)
    for layout in layouts:
        try:
            taken(outside(layout(y)), image)
        except FirenetError as error:
            said.append(str(error))
            continue
        return lambda y, layout=layout: taken(outside(layout(y)), image)
    do = "It must take measurements, complex or as pairs of reals, on the grid of the mask"
    raise BadInput(f"A model of measurements of shape {tuple(sensing.out_shape)}", f"{path}: {said[0]}", do)
