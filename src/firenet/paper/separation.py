"""The two halves of the paper (Colbrook, Antun, Hansen, PNAS 2022) meet: as two columns become parallel, constants,
depth and digits go to their limits.

The matrix of the hard problems has two equal columns, with :math:`a` in the first row and zeros below; they compete,
and :math:`e_1/a-e_2/a` lies in the kernel: the null space property holds for no rho < 1, and no algorithm computes
K digits. Here the columns are separated by an angle :math:`\\theta`,

.. math:: A_\\theta=a\\begin{pmatrix}1&\\cos\\theta&0\\\\0&\\sin\\theta&0\\\\0&0&\\sqrt2\\,I\\end{pmatrix},\\qquad
    a=\\tfrac12\\,10^K .

For every :math:`\\theta>0` that is not too small, the constants are verified, the theorem's network is known, and so is
the number of digits that it computes from data within :math:`2^{-n}`. All three are worse the smaller the angle is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from firenet.errors import BadInput
from firenet.guarantees.constants import Constants
from firenet.guarantees.guarantee import Guarantee
from firenet.guarantees.null_space import NullSpaceProof, prove_null_space
from firenet.guarantees.violation import Violation, refute_null_space
from firenet.io.safely import replacing
from firenet.sparsity import SparsityLevels

ANGLES = tuple(10.0 ** (-k / 2) for k in range(21))
TAIL = 2


@dataclass(frozen=True)
class Separated:
    """Constants, depth and digits for one angle.

    Attributes:
        angle: In radians; 0 is the matrix of the hard problems.
        rho: A verified upper bound; None where the null space property is refuted.
        gamma: A verified upper bound, in the unit of 1/A; None where rho is.
        layers: Those of the theorem's network whose depth adds no more to its error than the inexact data do; None
            where the data are too inexact for the theorem, and where the property is refuted.
        digits: The digits that the network's error bound guarantees, at least 0: :math:`-\\log_{10}` of the bound.
    """

    angle: float
    rho: float | None
    gamma: float | None
    layers: int | None
    digits: float


def matrix(angle: float, digits: int) -> NDArray[np.float64]:
    """Returns the matrix :math:`A_\\theta` of this module's docstring, for an angle in radians and K digits."""
    A = np.zeros((2 + TAIL, 2 + TAIL))
    A[:2, :2] = [[1, math.cos(angle)], [0, math.sin(angle)]]
    A[2:, 2:] = math.sqrt(2) * np.eye(TAIL)
    return A * 10**digits / 2


def separated(digits: int, precision: int, angles: Sequence[float] = ANGLES) -> list[Separated]:
    """Computes constants, depth and guaranteed digits for each angle, and for the angle 0.

    Args:
        digits: K.
        precision: The accuracy :math:`2^{-n}` to which matrix and measurements are known, as n.
        angles: In radians, above 0.
    """
    levels, eta = SparsityLevels((2 + TAIL,), (1,)), 2.0**-precision
    found = []
    for angle in angles:
        A = matrix(angle, digits)
        proof = prove_null_space(A, levels)
        if not isinstance(proof, NullSpaceProof):
            raise BadInput("An angle at which the constants can be verified", f"{angle}", "Use larger angles")
        known = proof.constants
        size = 2 / 10**digits  # |x|
        # The network is built from an approximation within eta; Lemma C says when its constants are known.
        twice = known.gamma * eta
        if twice > 0.5 or twice * ((1 + known.rho) / 2 + math.sqrt(known.xi)) > (1 - known.rho) / 2:
            found.append(Separated(angle, known.rho, known.gamma, None, 0.0))
            continue
        inexact = Constants(levels, known.rho, known.gamma, exact=False, source="verified")
        guarantee = Guarantee(A, inexact)
        y = guarantee.norm * size + eta
        assumed = {"size": y, "sparsity_defect": 0.0, "noise": eta, "model_error": eta * size}
        # As deep as makes sense: the depth adds to the error no more than the data do.
        n = guarantee.outer(guarantee.error_bound(10**6, **assumed), y)
        digits_known = -math.log10(guarantee.error_bound(n, **assumed))
        found.append(Separated(angle, known.rho, known.gamma, n * guarantee.inner(), max(0.0, digits_known)))
    refuted = refute_null_space(matrix(0.0, digits), levels)
    assert isinstance(refuted, Violation)
    return [*found, Separated(0.0, None, None, None, 0.0)]


def draw(found: Sequence[Separated], digits: int, precision: int, path: Path) -> None:
    """Draws gamma, layers and digits against the angle.

    Args:
        found: The result of :func:`separated`.
        digits: K.
        precision: n.
        path: The PNG file, which is written whole or not at all.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.5, 7.5), layout="constrained")
    FigureCanvasAgg(figure)
    gamma, depth, known = figure.subplots(3, 1, sharex=True)
    above = [f for f in found if f.angle > 0]
    gamma.loglog([f.angle for f in above], [f.gamma or math.nan for f in above], "o-", color="#1a4e8a")
    gamma.set_ylabel("gamma, verified")
    gamma.set_title(f"K = {digits}: columns of norm 10^{digits}/2 at an angle, data within 2^-{precision}", fontsize=10)
    depth.loglog([f.angle for f in above], [f.layers or math.nan for f in above], "o-", color="#1a4e8a")
    depth.set_ylabel("layers of the theorem's network")
    known.semilogx([f.angle for f in above], [f.digits for f in above], "o-", color="#1a4e8a", label="guaranteed")
    known.axhline(digits, color="#b71c1c", ls="--", label="K: at angle 0 no algorithm computes so many")
    known.set_ylabel("digits")
    known.set_ylim(bottom=-0.3)
    known.set_xlabel("angle between the two columns")
    known.legend(fontsize=8)
    for axes in (gamma, depth, known):
        axes.grid(alpha=0.3)
    known.invert_xaxis()
    with replacing(path) as (temporary,):
        figure.savefig(temporary, format="png", dpi=110)
