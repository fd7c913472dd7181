"""What is audited: a reconstruction as a function, and what is certified about it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import torch
from torch import Tensor, nn

from firenet.numerics import real_view
from firenet.operators.linear import LinearOperator

Reconstruct = Callable[[Tensor], Tensor]
# Takes R, measurements y and perturbations by name, and returns what is proved about R(y + e), or None.
Certify = Callable[[Reconstruct, Tensor, Mapping[str, Tensor]], "dict[str, Any] | None"]


@dataclass(frozen=True, eq=False)
class Model:
    """A reconstruction that can be audited.

    Attributes:
        name: What it is called in tables.
        build: Sensing to R, measurements to an image.
        origin: Where it comes from, for the record: a file and its SHA-256, a module, a library.
        fits: Whether R can be built for other samples than the first ones.
        certify: Checks what is proved about R under perturbation; None where nothing is.
    """

    name: str
    build: Callable[[LinearOperator], Reconstruct]
    origin: Mapping[str, Any] = field(default_factory=dict)
    fits: bool = True
    certify: Certify | None = None


def of(name: str, reconstruct: Reconstruct, identity: str | None = None, certify: Certify | None = None) -> Model:
    """Returns the model of a function as it is, for the samples it was made for.

    Args:
        name: What it is called.
        reconstruct: R.
        identity: What tells it from another one of this name, so that a later audit may take its finished parts; None
            is a new one for every call: a function does not show what it computes.
        certify: As in :class:`Model`.
    """
    origin: dict[str, Any] = {"kind": type(reconstruct).__name__, "identity": identity or uuid4().hex}
    if isinstance(reconstruct, nn.Module):
        origin["sha256"] = fingerprint(reconstruct)
    return Model(name, lambda sensing: reconstruct, origin, fits=False, certify=certify)


def fingerprint(module: nn.Module) -> str:
    """SHA-256 of a module's weights."""
    digest = hashlib.sha256()
    for name, t in module.state_dict().items():
        digest.update(f"{name} {t.dtype} {tuple(t.shape)}".encode())
        digest.update(real_view(t.detach().cpu()).reshape(-1).contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
