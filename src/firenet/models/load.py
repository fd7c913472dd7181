"""Reconstructions from elsewhere: a function, an ONNX file, weights, deepinv, a compiled file.

What becomes of all of them is a :class:`Model`: a name, and how to build R for given sensing. Files are data: none is
unpickled. TorchScript and ``.pt2`` files can run code while they are loaded; they are opened only with ``trust=True``,
in a process of their own (:mod:`firenet.models.process`), which keeps a crash from this one but is no sandbox.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import cast

from torch import nn

from firenet.audit.model import Model, Reconstruct, fingerprint
from firenet.errors import BadInput
from firenet.io.files import sha256
from firenet.io.safely import existing
from firenet.io.tensors import read_weights
from firenet.models.deepinv import deepinv_reconstruct, is_deepinv
from firenet.models.firenets import FRAME, adaptive_model, certified, firenet_model, stabilised_model
from firenet.models.onnx_files import from_onnx
from firenet.models.torch_files import from_torch
from firenet.models.weights import cascade_model, from_safetensors
from firenet.nets.training import SHIPPED, shipped
from firenet.operators.linear import LinearOperator
from firenet.optional import named

BUILT_IN = (*SHIPPED, "d5c5", "zero-filled", "firenet", "firenet:adaptive", *(f"stabilised:{name}" for name in SHIPPED))


def load_model(
    text: str,
    *,
    weights: Path | None = None,
    trust: bool = False,
    sparsify: str | None = FRAME,
    name: str | None = None,
) -> Model:
    """A model that a word, a file or a function stands for.

    Args:
        text: One of ``BUILT_IN``; ``module:factory``, a function of the sensing operator that returns R; a file
            ``.onnx``, ``.safetensors`` (of ``firenet train``), ``.pt``, ``.pth``, ``.pt2``.
        weights: For a factory: a file of safetensors, or of tensors that ``torch.save`` wrote, for the nn.Module that
            it returns.
        sparsify: The transform of FIRENETs, as :func:`.spec.transform` has it.
        trust: Open TorchScript and ``.pt2``, which can run code when they are loaded.
        name: What it is called; None is made of text.

    Raises:
        BadInput: For what is refused, and why.
        MissingExtra: Where a library is missing.
    """
    if weights is not None and (text in BUILT_IN or ":" not in text):
        raise BadInput("A factory, module:factory, for --weights", repr(text), "A file has its own weights")
    if text in SHIPPED:
        net, recipe = shipped(text)
        origin = {"kind": "trained by firenet", "recipe": vars(recipe), "sha256": fingerprint(net)}
        return Model(name or text, lambda sensing: shipped(text, sensing)[0], origin, fits=recipe.network == "unet")
    if text == "d5c5":
        return cascade_model(name=name or "D5-C5")
    if text == "zero-filled":
        return Model(name or text, lambda sensing: sensing.adjoint, {"kind": "adjoint"})
    if text == "firenet":
        return firenet_model(sparsify, name=name or "FIRENET")
    if text == "firenet:adaptive":
        return adaptive_model(sparsify, name=name or "FIRENET adaptive")
    if text.startswith("stabilised:") and text in BUILT_IN:
        return stabilised_model(load_model(text.partition(":")[2]), sparsify, name=name)
    path = Path(text)
    if path.suffix.lower() in _READERS and (path.exists() or ":" not in text):
        existing(path)
        return _READERS[path.suffix.lower()](path, name or path.name, trust)
    if ":" in text:
        return _from_factory(text, weights, name or text)
    needed = f"A model: {', '.join(BUILT_IN)}, module:factory, or a file {', '.join(_READERS)}"
    raise BadInput(needed, repr(text), "See firenet audit run --help")


# --- module:factory ---------------------------------------------------------------------------------------------------


def _from_factory(text: str, weights: Path | None, name: str) -> Model:
    factory = named(text, "factory")
    if not callable(factory):
        do = "A function of the sensing operator that returns a function of measurements"
        raise BadInput("A factory", f"{text!r} is a {type(factory).__name__}", do)
    stored = None if weights is None else read_weights(weights)

    def build(sensing: LinearOperator) -> Reconstruct:
        made = factory(sensing)
        if not callable(made):
            do = "Return a function of measurements"
            raise BadInput("A factory that returns a function", type(made).__name__, do)
        if stored is not None:
            if not isinstance(made, nn.Module):
                raise BadInput("A factory of an nn.Module for weights", type(made).__name__, "Leave --weights out")
            try:
                made.load_state_dict(stored)
            except RuntimeError as error:
                said = str(error).splitlines()[-1].strip()
                do = "Check that factory and weights belong together"
                raise BadInput("Weights that fit the module", said, do) from None
        if isinstance(made, nn.Module):
            made.eval().requires_grad_(False)
        return deepinv_reconstruct(made, sensing) if is_deepinv(made) else cast("Reconstruct", made)

    origin = {"kind": "factory", "factory": text}
    source = getattr(sys.modules.get(text.partition(":")[0]), "__file__", None)
    if source and Path(source).is_file():
        origin |= {"source sha256": sha256(source)}
    if weights is not None:
        origin |= {"weights": str(weights), "sha256": sha256(weights)}
    return Model(name, build, origin, certify=certified)


_READERS: dict[str, Callable[[Path, str, bool], Model]] = {
    ".onnx": from_onnx,
    ".safetensors": from_safetensors,
    ".pt": from_torch,
    ".pth": from_torch,
    ".pt2": from_torch,
}
