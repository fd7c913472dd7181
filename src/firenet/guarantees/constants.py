"""The constants of the recovery theorem, which follow from those of the null space property.

All results assume one property of the measurement matrix, the weighted robust null space property in levels of
order (s, M) with constants :math:`0<\\rho<1` and :math:`\\gamma>0`: for every set :math:`\\Delta` of :math:`s_k`
indices in each level and all x,

.. math:: \\|x_\\Delta\\|_2\\le\\rho\\,\\|x_{\\Delta^c}\\|_{l^1_w}/\\sqrt\\xi+\\gamma\\|Ax\\|_2 ,
    \\qquad\\xi=\\sum_kw_{(k)}^2s_k .

The constants are the standard ones of weighted sparsity in levels (Colbrook, Antun, Hansen, PNAS 2022, SI Appendix).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from firenet.errors import BadInput
from firenet.sparsity import SparsityLevels


@dataclass(frozen=True)
class Constants:
    """The constants of the null space property, and those of the recovery theorem.

    With :math:`\\xi=\\sum_kw_{(k)}^2s_k` and the sparsity defect :math:`\\sigma_{s,M}`, for all x and z

    .. math:: \\|z-x\\|_2\\le\\frac{C_1}{\\sqrt\\xi}
        \\big(2\\sigma_{s,M}(x)_{l^1_w}+\\|z\\|_{l^1_w}-\\|x\\|_{l^1_w}\\big)+C_2\\|A(z-x)\\|_2 .

    Attributes:
        levels: Levels and local sparsities.
        rho: :math:`\\rho` of the null space property, 0 < rho < 1. The sampling theorems give 1/2.
        gamma: :math:`\\gamma>0`. The sampling theorems give :math:`\\sqrt2`.
        weights: One per level; None is ``levels.weights()``.
        exact: Whether the network is built from A itself. If False, it is built from an approximation :math:`A_l`,
            close enough for its null space property to hold with :math:`((1+\\rho)/2,2\\gamma)`, where rho and gamma
            are those of A; the constants are then those of the paper (Colbrook, Antun, Hansen, PNAS 2022).
        source: Whether rho and gamma are ``assumed``, or ``verified`` for a concrete matrix.

    >>> c = Constants(SparsityLevels((2,) * 8, (1,) * 8))
    >>> round(c.C1, 1), round(c.C2, 1)
    (5.3, 12.6)
    >>> p = Constants(c.levels, exact=False)
    >>> round(p.C1, 1), round(p.C2, 1)
    (15.6, 55.5)
    """

    levels: SparsityLevels
    rho: float = 0.5
    gamma: float = math.sqrt(2)
    weights: Sequence[float] | None = None
    exact: bool = True
    source: Literal["assumed", "verified"] = "assumed"

    def __post_init__(self) -> None:
        if not 0 < self.rho < 1 or not 0 < self.gamma < math.inf:
            got = f"rho={self.rho}, gamma={self.gamma}"
            raise BadInput("0 < rho < 1 and gamma > 0", got, "Check the constants")
        w = self.level_weights
        if len(w) != len(self.levels.sizes) or not all(0 < v < math.inf for v in w):
            raise BadInput("One positive weight per level", f"{w}", "Leave weights out for the recommended ones")

    @property
    def level_weights(self) -> list[float]:
        """The weight of each level."""
        return [float(v) for v in (self.levels.weights() if self.weights is None else self.weights)]

    @property
    def xi(self) -> float:
        """The constant :math:`\\xi=\\sum_kw_{(k)}^2s_k`."""
        return math.fsum(w * w * s for w, s in zip(self.level_weights, self.levels.sparsities, strict=True))

    @property
    def zeta(self) -> float:
        """The constant :math:`\\zeta=\\min_kw_{(k)}^2s_k`."""
        return min(w * w * s for w, s in zip(self.level_weights, self.levels.sparsities, strict=True))

    @property
    def kappa(self) -> float:
        """The constant :math:`\\kappa=\\xi/\\zeta`; the number of levels for the recommended weights."""
        return self.xi / self.zeta

    @property
    def null_space(self) -> tuple[float, float]:
        """The constants rho and gamma of the matrix from which the network is built."""
        return (self.rho, self.gamma) if self.exact else ((1 + self.rho) / 2, 2 * self.gamma)

    @property
    def C1(self) -> float:
        """The constant :math:`C_1=\\big(\\rho+\\frac{(1+\\rho)\\kappa^{1/4}}2\\big)\\frac{1+\\rho}{1-\\rho}`, with the
        rho of the matrix from which the network is built."""
        rho, _ = self.null_space
        return (rho + (1 + rho) * self.kappa**0.25 / 2) * (1 + rho) / (1 - rho)

    @property
    def C2(self) -> float:
        """The constant
        :math:`C_2=\\big(\\frac{1+\\rho}{1-\\rho}+\\frac{3+\\rho}{1-\\rho}\\frac{\\kappa^{1/4}}2\\big)\\gamma`, with the
        rho and gamma of the matrix from which the network is built."""
        rho, gamma = self.null_space
        return ((1 + rho) / (1 - rho) + (3 + rho) / (1 - rho) * self.kappa**0.25 / 2) * gamma

    @property
    def lam(self) -> float:
        """The theorem's choice :math:`\\lambda=C_1/(C_2\\sqrt\\xi)`. For images it is too large (it oversmooths)."""
        return self.C1 / (self.C2 * math.sqrt(self.xi))

    def at(self, lam: float | None = None) -> tuple[float, float]:
        """Returns the pair :math:`(C_1,C_2)` for a given lambda.

        For :math:`\\lambda<C_1/(C_2\\sqrt\\xi)` the second constant becomes :math:`C_1/(\\lambda\\sqrt\\xi)`. For
        lambda between :math:`C_1/(C_2\\sqrt\\xi)` and :math:`1/(\\gamma\\sqrt\\xi)` the pair is
        :math:`(\\lambda\\sqrt\\xi\\,C_2',C_2')` with :math:`C_2'=(C_2-\\gamma C_1)/(1-\\gamma\\lambda\\sqrt\\xi)`.

        Raises:
            BadInput: For lambda at or above :math:`1/(\\gamma\\sqrt\\xi)`, where nothing is proved.
        """
        if lam is None:
            return self.C1, self.C2
        _, gamma = self.null_space
        root = math.sqrt(self.xi)
        if not 0 < lam * gamma * root < 1:
            needed = f"0 < lambda < 1/(gamma sqrt(xi)) = {1 / (gamma * root):.4g}"
            raise BadInput(needed, f"{lam}", f"The theorem's choice is {self.lam:.4g}")
        if lam <= self.lam:
            return self.C1, max(self.C2, self.C1 / (lam * root))
        second = (self.C2 - gamma * self.C1) / (1 - gamma * lam * root)
        return lam * root * second, second

    def fewer(self, sparsities: Sequence[int]) -> Constants:
        """Returns constants for fewer non-zeros per level, with the same weights, that follow from these constants.

        A set :math:`\\Delta'` with at most :math:`s'_k\\le s_k` indices in each level lies in one with :math:`s_k`. So
        the property of order (s, M) with :math:`(\\rho,\\gamma)` implies that of order (s', M) with
        :math:`(\\rho\\sqrt{\\xi'/\\xi},\\gamma)`, where :math:`\\xi'=\\sum_kw_{(k)}^2s'_k`.

        Raises:
            BadInput: For more non-zeros than those of these constants in some level.
        """
        levels = SparsityLevels(self.levels.sizes, tuple(sparsities))
        if any(few > s for few, s in zip(levels.sparsities, self.levels.sparsities, strict=True)):
            needed = f"At most {self.levels.sparsities} non-zeros per level"
            raise BadInput(needed, f"{levels.sparsities}", "More would need another null space property")
        (rho, gamma), weights = self.null_space, self.level_weights
        xi = math.fsum(w * w * s for w, s in zip(weights, levels.sparsities, strict=True))
        return Constants(levels, rho * math.sqrt(xi / self.xi), gamma, weights, source=self.source)

    @property
    def assumption(self) -> str:
        """The null space property in words, assumed or verified."""
        is_so = "is verified to have" if self.source == "verified" else "has"
        whose = "the sensing matrix" if self.exact else "the matrix that the network's one approximates"
        name = "the weighted robust null space property in levels"
        return f"{whose} {is_so} {name}, rho = {self.rho:g}, gamma = {self.gamma:g}"
