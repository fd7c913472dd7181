"""An upper bound of the norm of an operator, and its source."""

from __future__ import annotations

import math
from dataclasses import dataclass

from firenet import kinds
from firenet.errors import BadInput
from firenet.kinds import Kind


@dataclass(frozen=True)
class NormBound:
    """A number that bounds an operator norm from above, and its source.

    Attributes:
        value: The bound, at least :math:`\\|A\\|_2` (an ``estimate`` may be above or below it).
        kind: A word of :data:`.LADDER`: ``exact`` (equal to the norm, up to rounding), ``proven`` (at least the norm)
            or ``estimate``.
        why: The source of the number, a short text.
    """

    value: float
    kind: Kind
    why: str

    def __post_init__(self) -> None:
        if not (math.isfinite(self.value) and self.value >= 0):
            do = "Check the operator for NaN or infinity"
            raise BadInput("A finite norm bound, zero or more", repr(self.value), do)

    def __mul__(self, other: NormBound) -> NormBound:
        """Returns the bound :math:`\\|AB\\|\\le\\|A\\|\\,\\|B\\|` of a composition."""
        return NormBound(self.value * other.value, weakest(self, other), f"({self.why}) times ({other.why})")


def weakest(*bounds: NormBound) -> Kind:
    """Returns the kind of a bound composed of others: ``proven``, or the least sure of theirs if that is less sure."""
    return kinds.weakest("proven", *(b.kind for b in bounds))
