"""The problems on which the barriers are tried."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import strategies as st

from firenet.barriers import Instance, Problem

HALF = Fraction(1, 2)
PROBLEMS = {
    "P1": Problem("P1", 3, Fraction(1, 3)),
    "P1, largest epsilon, R = 3": Problem("P1", 4, HALF, 3, 0, 3),
    "P2": Problem("P2", 3, Fraction(1)),
    "P2, small lambda": Problem("P2", 3, Fraction(1, 10**9), 2, 5),
    "P3": Problem("P3", 3, HALF),
    "P3, four columns, no tail": Problem("P3", 5, Fraction(1), 4, 0),
    "P3, 12 digits": Problem("P3", 12, Fraction(1, 7), 2, 1, 2),
}
problems = pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
kinds = pytest.mark.parametrize("kind", ["P1", "P2", "P3"])


fractions = st.fractions(min_value=-3, max_value=3, max_denominator=50)


def conditions(instance: Instance) -> dict[str, Fraction]:
    """Returns the exact condition numbers, for an irrational one its square. All are at most 1.

    * ``AA*``: :math:`\\|AA^*\\|\\|(AA^*)^{-1}\\|`, and AA* is a multiple of the identity.
    * ``minimiser to y``, ``minimiser to A``: the local condition numbers of the map to the minimisers. Near such a
      problem the support stays one competing column, for (P3) together with the lower block, so that
      :math:`dz=B^{-1}(dy-dA\\,z)` with B the square matrix of these columns: :math:`1/a_j` and
      :math:`v/a_j` (for (P2) :math:`|v/a_j-\\lambda/(2a_j^3)|`). At the tie the nearest minimiser is meant.
    * ``feasibility``, only for (P1), squared: :math:`\\|A\\|` over the distance to a problem that is infeasible for
      some y; this distance is the smallest singular value of A.
    """
    known = instance.problem
    a, v = max(instance.row), instance.minimisers(known.samples - 1).value
    to_matrix = v / a - known.parameter / (2 * a**3) if known.kind == "P2" else v / a
    found = {"AA*": Fraction(1), "minimiser to y": 1 / a, "minimiser to A": abs(to_matrix)}
    return found | ({"feasibility": Fraction(1)} if known.kind == "P1" else {})
