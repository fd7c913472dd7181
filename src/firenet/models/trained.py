"""The networks that ``firenet train`` makes, as models of an audit: those of firenet-models, and files."""

from __future__ import annotations

from pathlib import Path

from firenet.audit.model import Model, fingerprint
from firenet.io.files import sha256
from firenet.nets.training import load, shipped


def shipped_model(network: str, name: str) -> Model:
    """Returns the model of a network of firenet-models: ``unet``, ``unet-jitter``, ``automap`` or ``lista``."""
    net, recipe = shipped(network)
    origin = {"kind": "trained by firenet", "recipe": vars(recipe), "sha256": fingerprint(net)}
    return Model(name, lambda sensing: shipped(network, sensing)[0], origin, fits=recipe.network == "unet")


def from_safetensors(path: Path, name: str) -> Model:
    """Returns the model of a network that ``firenet train`` wrote to a file."""
    _, recipe = load(path)
    origin = {"kind": "trained by firenet", "recipe": vars(recipe), "sha256": sha256(path)}
    return Model(name, lambda sensing: load(path, sensing)[0], origin, fits=recipe.network == "unet")
