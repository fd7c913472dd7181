"""Finds the model that a word, a file or ``module:factory`` stands for.

Every model becomes a :class:`Model`: a name, and a function that builds the map from measurements to an image for a
measurement operator. Files are read as data. Only TorchScript and ``.pt2`` files can run code while they are loaded;
they are opened only with ``trust=True``, in a process of their own (:mod:`firenet.models.process`). That protects this
process from a crash, but it is no sandbox.
"""

from __future__ import annotations

from pathlib import Path

from firenet.audit.model import Model
from firenet.errors import BadInput
from firenet.io.safely import existing
from firenet.models.cascade import cascade_model
from firenet.models.factories import from_factory
from firenet.models.firenets import FRAME, adaptive_model, firenet_model, stabilised_model
from firenet.models.onnx_files import from_onnx
from firenet.models.torch_files import from_torch
from firenet.models.trained import from_safetensors, shipped_model
from firenet.nets.training import SHIPPED

BUILT_IN = (*SHIPPED, "d5c5", "zero-filled", "firenet", "firenet:adaptive", *(f"stabilised:{name}" for name in SHIPPED))
_ENDINGS = (".onnx", ".safetensors", ".pt", ".pth", ".pt2")


def load_model(
    text: str,
    *,
    weights: Path | None = None,
    trust: bool = False,
    sparsify: str | None = FRAME,
    name: str | None = None,
) -> Model:
    """Returns the model that a word, a file or a function stands for.

    Args:
        text: A word: ``unet``, ``unet-jitter``, ``automap``, ``lista``, or ``stabilised:`` before one of these four;
            ``d5c5``, ``zero-filled``, ``firenet``, ``firenet:adaptive``. Or ``module:factory``, a function that takes
            the measurement operator and returns the map from measurements to an image. Or a file ``.onnx``,
            ``.safetensors`` (of ``firenet train``), ``.pt``, ``.pth``, ``.pt2``.
        weights: For a factory: a file of safetensors, or of tensors that ``torch.save`` wrote, for the nn.Module that
            it returns.
        sparsify: The transform of FIRENETs, as in :func:`.spec.transform`.
        trust: Whether to open TorchScript and ``.pt2``, which can run code when they are loaded.
        name: The name in tables; None derives it from ``text``.

    Raises:
        BadInput: If the model cannot be used; the error says why.
        MissingExtra: If a library is missing.
    """
    path = Path(text)
    ending = path.suffix.lower()
    if weights is not None and (text in BUILT_IN or ":" not in text):
        raise BadInput("A factory, module:factory, for --weights", repr(text), "Leave --weights out for other models")
    if text in SHIPPED:
        return shipped_model(text, name or text)
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
    if ending in _ENDINGS and (path.exists() or ":" not in text):
        existing(path)
        if ending == ".onnx":
            return from_onnx(path, name or path.name)
        if ending == ".safetensors":
            return from_safetensors(path, name or path.name)
        return from_torch(path, name or path.name, trust)
    if ":" in text:
        return from_factory(text, weights, name or text)
    needed = f"A model: {', '.join(BUILT_IN)}, module:factory, or a file {', '.join(_ENDINGS)}"
    raise BadInput(needed, repr(text), "See firenet audit run --help")
