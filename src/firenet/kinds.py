"""How sure a number is: one ladder for every number that the library prints."""

from __future__ import annotations

from typing import Literal, cast

Kind = Literal["verified", "exact", "proven", "conditional", "probable", "estimate"]

# From the surest to the least sure; the table of docs/notation.md.
LADDER: dict[Kind, str] = {
    "verified": "holds in exact arithmetic for the problem as it is stored: every rounding is bounded and counted",
    "exact": "equal to what a theorem says, up to the rounding of its computation",
    "proven": "a bound by a theorem; a stated bound of the rounding is to be added, or the rounding is stated",
    "conditional": "proven under assumptions, which stand beside it",
    "probable": "true with a stated probability, over a stated random choice",
    "estimate": "no proof: a measurement or a rule of thumb",
}


def weakest(*kinds: str) -> Kind:
    """Returns the least sure of the kinds, which is the kind of a number that is computed from numbers of these kinds.

    >>> weakest("exact", "conditional", "proven")
    'conditional'
    """
    order: list[str] = list(LADDER)
    return cast("Kind", max(kinds, key=order.index))
