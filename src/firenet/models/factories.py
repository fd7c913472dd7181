"""A user's ``module:factory``, a function from a measurement operator to a reconstruction, as a model of an audit."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import cast

from torch import nn

from firenet.audit.model import Model, Reconstruct
from firenet.errors import BadInput
from firenet.io.files import sha256
from firenet.io.tensors import read_weights
from firenet.models.deepinv import deepinv_reconstruct, is_deepinv
from firenet.models.firenets import certified
from firenet.operators.linear import LinearOperator
from firenet.optional import named


def from_factory(text: str, weights: Path | None, name: str) -> Model:
    """Returns the model of ``module:factory``.

    Args:
        text: ``module:factory``. The factory takes the measurement operator and returns the map from measurements to an
            image: a function, an nn.Module or a ``Reconstructor`` of deepinv.
        weights: A file of tensors for the nn.Module that the factory returns.
        name: The name in tables.

    Raises:
        BadInput: If there is no such factory; from the model's ``build``, if the factory returns no function or the
            weights do not fit.
    """
    factory = named(text, "factory", "A function of the measurement operator that returns a function of measurements")
    stored = None if weights is None else read_weights(weights)

    def build(sensing: LinearOperator) -> Reconstruct:
        made = factory(sensing)
        got = type(made).__name__
        if not callable(made):
            raise BadInput("A factory that returns a function", got, "Return a function of measurements")
        if stored is not None and not isinstance(made, nn.Module):
            raise BadInput("A factory of an nn.Module for weights", got, "Leave --weights out")
        if isinstance(made, nn.Module):
            try:
                if stored is not None:
                    made.load_state_dict(stored)
            except RuntimeError as error:
                said = str(error).splitlines()[-1].strip()
                do = "Check that factory and weights belong together"
                raise BadInput("Weights that fit the module", said, do) from None
            made.eval().requires_grad_(False)
        return deepinv_reconstruct(made, sensing) if is_deepinv(made) else cast("Reconstruct", made)

    origin = {"kind": "factory", "factory": text}
    source = getattr(sys.modules.get(text.partition(":")[0]), "__file__", None)
    if source and Path(source).is_file():
        origin |= {"source sha256": sha256(source)}
    if weights is not None:
        origin |= {"weights": str(weights), "sha256": sha256(weights)}
    return Model(name, build, origin, certify=certified)
