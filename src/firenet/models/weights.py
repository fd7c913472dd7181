"""Networks of this package with weights from safetensors files."""

from __future__ import annotations

import io
from pathlib import Path

import torch

from firenet.audit.model import Model
from firenet.errors import BadInput
from firenet.io.archives import arrays_in, bytes_of
from firenet.io.files import sha256
from firenet.io.tensors import read_safetensors
from firenet.nets.cascade import Cascade
from firenet.nets.training import load, weights_of
from firenet.operators.linear import LinearOperator
from firenet.sensing.fourier import SubsampledFourier


def cascade_model(path: Path | None = None, name: str = "D5-C5") -> Model:
    """D5-C5, a network that others have trained (Schlemper et al. 2018).

    Args:
        path: Its fifty weights as safetensors, in the order of their names, or an npz of ``arr_0`` to ``arr_49``, as
            they were published; None is the file of the distribution firenet-models.
        name: What it is called.
    """
    path = weights_of("d5c5") if path is None else path
    if path.suffix == ".safetensors":
        tensors, about = read_safetensors(path)
        weights = [tensors[key] for key in sorted(tensors)]
    else:
        data, about = bytes_of(path), {}
        stored = arrays_in(io.BytesIO(data), len(data), str(path))
        names = [f"arr_{k}" for k in range(50)]
        if not set(names) <= stored.keys():
            raise BadInput("Fifty arrays, arr_0 to arr_49", f"{len(stored)} in {path}", "Take the weights of D5-C5")
        weights = [torch.from_numpy(stored[name]) for name in names]

    def build(sensing: LinearOperator) -> Cascade:
        if not isinstance(sensing, SubsampledFourier):
            raise BadInput("Fourier sensing of one channel", type(sensing).__name__, "Take one coil")
        return Cascade(sensing, weights)

    return Model(name, build, {"kind": "D5-C5", **about, "file": path.name, "sha256": sha256(path)})


# --- files ------------------------------------------------------------------------------------------------------------


def from_safetensors(path: Path, name: str, trust: bool) -> Model:
    _, recipe = load(path)
    origin = {"kind": "trained by firenet", "recipe": vars(recipe), "sha256": sha256(path)}
    return Model(name, lambda sensing: load(path, sensing)[0], origin, fits=recipe.network == "unet")
