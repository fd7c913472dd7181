"""The model of an audit: a reconstruction as a function, and what is certified about it."""

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
# Takes R, measurements y and perturbations by name, and returns what is proven about R(y + e), or None.
Certify = Callable[[Reconstruct, Tensor, Mapping[str, Tensor]], "dict[str, Any] | None"]
Claims = Callable[[Reconstruct, Tensor], float]


@dataclass(frozen=True, eq=False)
class Model:
    """A reconstruction that can be audited.

    Attributes:
        name: The name in tables.
        build: Takes the measurement operator A and returns R, from measurements to an image.
        origin: Where the model comes from, for the record: a file and its SHA-256, a module, a library.
        fits: Whether R can be built for other samples than those of the audit.
        certify: Takes R, measurements y and perturbations e by name, and checks what is proven about R(y + e); None if
            nothing is proven.
        claims: Takes R and measurements y and returns the error that the model promises, a bound of
            :math:`\\|R(y)-x\\|_2` for the object x; None if it promises nothing.
    """

    name: str
    build: Callable[[LinearOperator], Reconstruct]
    origin: Mapping[str, Any] = field(default_factory=dict)
    fits: bool = True
    certify: Certify | None = None
    claims: Claims | None = None


def of(
    name: str,
    reconstruct: Reconstruct,
    identity: str | None = None,
    certify: Certify | None = None,
    claims: Claims | None = None,
) -> Model:
    """Returns a model that consists of one function, which fits only the samples that it was made for.

    Every copy that is built of this model is the function itself: what it keeps from earlier calls is there in later
    ones. For a method with such a state, give :class:`Model` a ``build`` that makes a new one.

    Args:
        name: The name in tables.
        reconstruct: R.
        identity: Distinguishes this function from others of the same name, so that a later audit may use its finished
            parts. None makes a new identity at every call, since a function does not show what it computes.
        certify: As in :class:`Model`.
        claims: As in :class:`Model`.
    """
    origin: dict[str, Any] = {"kind": type(reconstruct).__name__, "identity": identity or uuid4().hex}
    if isinstance(reconstruct, nn.Module):
        origin["sha256"] = fingerprint(reconstruct)
    return Model(name, lambda sensing: reconstruct, origin, fits=False, certify=certify, claims=claims)


def fingerprint(module: nn.Module) -> str:
    """Returns the SHA-256 of a module's weights."""
    digest = hashlib.sha256()
    for name, t in module.state_dict().items():
        digest.update(f"{name} {t.dtype} {tuple(t.shape)}".encode())
        digest.update(real_view(t.detach().cpu()).reshape(-1).contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
