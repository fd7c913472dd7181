"""The pretrained network D5-C5 (Schlemper et al. 2018) as a model of an audit."""

from __future__ import annotations

import io
from pathlib import Path

import torch

from firenet.audit.model import Model
from firenet.errors import BadInput
from firenet.io.archives import arrays_in, bytes_of
from firenet.io.files import sha256
from firenet.io.tensors import read_safetensors
from firenet.nets.cascade import Cascade, check_weights
from firenet.nets.training import weights_of
from firenet.operators.linear import LinearOperator
from firenet.sensing.fourier import SubsampledFourier


def cascade_model(path: Path | None = None, name: str = "D5-C5") -> Model:
    """Returns D5-C5 with the weights that its authors trained (Schlemper et al. 2018).

    Args:
        path: A file with its fifty arrays of weights and biases: safetensors, in alphabetical order of the names, or
            the published npz of ``arr_0`` to ``arr_49``; None is the file of the distribution firenet-models.
        name: The name in tables.

    Raises:
        BadInput: If the file does not have fifty arrays of the shapes of D5-C5; from the model's ``build``, if the
            measurement operator is not single-channel Fourier sampling.
        MissingExtra: If firenet-models or safetensors is needed and not installed.
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
    check_weights(weights, str(path))

    def build(sensing: LinearOperator) -> Cascade:
        if not isinstance(sensing, SubsampledFourier):
            raise BadInput("Fourier samples of one channel", type(sensing).__name__, "Take one coil")
        return Cascade(sensing, weights)

    return Model(name, build, {"kind": "D5-C5", **about, "file": path.name, "sha256": sha256(path)})
