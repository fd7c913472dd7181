"""A number that bounds the norm of an operator, and where it comes from."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from firenet.errors import BadInput

Kind = Literal["exact", "proven", "estimate"]
_TRUST: tuple[Kind, ...] = ("exact", "proven", "estimate")


@dataclass(frozen=True)
class NormBound:
    """A number that bounds an operator norm from above, and why.

    Attributes:
        value: The bound, at least :math:`\\|A\\|_2` (an ``estimate`` claims no side).
        kind: ``exact`` (equal to the norm, up to rounding), ``proven`` (at least the norm) or ``estimate``.
        why: Where the number comes from, in words.
    """

    value: float
    kind: Kind
    why: str

    def __post_init__(self) -> None:
        if not (math.isfinite(self.value) and self.value >= 0):
            raise BadInput(
                "A finite norm bound, zero or more", repr(self.value), "Check the operator for NaN or infinity"
            )

    def __mul__(self, other: NormBound) -> NormBound:
        """The bound :math:`\\|AB\\|\\le\\|A\\|\\,\\|B\\|` of a composition."""
        return NormBound(self.value * other.value, weakest(self, other), f"({self.why}) times ({other.why})")


def weakest(*bounds: NormBound) -> Kind:
    """The kind of a bound composed of others: never exact, an estimate as soon as one of them is."""
    kinds: list[Kind] = ["proven", *(b.kind for b in bounds)]
    return max(kinds, key=_TRUST.index)
