"""A priori guarantees: the accuracy and the number of layers of the network, known before any data.

The module computes with numbers only.

All results assume one property of the measurement matrix, the weighted robust null space property in levels of
order (s, M) with constants :math:`0<\\rho<1` and :math:`\\gamma>0`: for every set :math:`\\Delta` of :math:`s_k`
indices in each level and all x,

.. math:: \\|x_\\Delta\\|_2\\le\\rho\\,\\|x_{\\Delta^c}\\|_{l^1_w}/\\sqrt\\xi+\\gamma\\|Ax\\|_2 .

The constants are the standard ones of weighted sparsity in levels (Colbrook, Antun, Hansen, PNAS 2022, SI Appendix).
The bounds are proved in exact arithmetic with the iteration's own constants :math:`2` and :math:`\\nu/(1-\\nu)`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from firenet.errors import BadInput
from firenet.sparsity import SparsityLevels


@dataclass(frozen=True)
class Guarantee:
    """The constants of the recovery theorem and what follows from them.

    Attributes:
        levels: Levels and local sparsities.
        rho: :math:`\\rho` of the null space property, 0 < rho < 1. The sampling theorems give 1/2.
        gamma: :math:`\\gamma>0`. The sampling theorems give :math:`\\sqrt2`.
        norm: An upper bound of :math:`\\|A\\|`: a number, or the operator itself, whose ``norm_bound`` is exact or
            proven. Numbers of layers and error bounds of the network need it; the constants do not.
        exact: Whether the network is built from A itself. If False, it is built from an approximation :math:`A_l`,
            close enough for its null space property to hold with :math:`((1+\\rho)/2,2\\gamma)`, where rho and gamma
            are those of A; the constants are then those of the paper.
        weights: One per level; None is ``levels.weights()``.

    >>> g = Guarantee(SparsityLevels((2,) * 8, (1,) * 8))
    >>> round(g.C1, 1), round(g.C2, 1)
    (5.3, 12.6)
    >>> p = Guarantee(g.levels, exact=False)
    >>> round(p.C1, 1), round(p.C2, 1)
    (15.6, 55.5)
    """

    levels: SparsityLevels
    rho: float = 0.5
    gamma: float = math.sqrt(2)
    norm: Any = None
    exact: bool = True
    weights: Sequence[float] | None = None

    def __post_init__(self) -> None:
        if not 0 < self.rho < 1 or not 0 < self.gamma < math.inf:
            got = f"rho={self.rho}, gamma={self.gamma}"
            raise BadInput("0 < rho < 1 and gamma > 0", got, "Check the constants")
        if self.norm is not None:
            _ = self._norm
        w = self._weights
        if len(w) != len(self.levels.sizes) or not all(0 < v < math.inf for v in w):
            raise BadInput("One positive weight per level", f"{w}", "Leave weights out for the recommended ones")

    @property
    def _norm(self) -> float:
        """The norm bound as a number.

        Raises:
            BadInput: Without a norm, or if it is only an estimate.
        """
        if self.norm is None:
            do = "Guarantee(levels, norm=A) for the operator A of the network, or norm=1.0 where that is its norm"
            raise BadInput("The operator's norm, on which layers and errors depend", "none", do)
        bound = getattr(self.norm, "norm_bound", self.norm)
        if getattr(bound, "kind", "") == "estimate":
            raise BadInput("A norm bound that is exact or proven", f"an estimate ({bound.why})", "Pass a proven number")
        try:
            value = float(getattr(bound, "value", bound))
        except (TypeError, ValueError):
            value = math.nan
        if not 0 < value < math.inf:
            raise BadInput("A norm above 0, finite", f"{self.norm}", "Pass the operator or its norm")
        return value

    @property
    def _weights(self) -> list[float]:
        return [float(v) for v in (self.levels.weights() if self.weights is None else self.weights)]

    @property
    def xi(self) -> float:
        """The constant :math:`\\xi=\\sum_kw_{(k)}^2s_k`."""
        return math.fsum(w * w * s for w, s in zip(self._weights, self.levels.sparsities, strict=True))

    @property
    def zeta(self) -> float:
        """The constant :math:`\\zeta=\\min_kw_{(k)}^2s_k`."""
        return min(w * w * s for w, s in zip(self._weights, self.levels.sparsities, strict=True))

    @property
    def kappa(self) -> float:
        """The constant :math:`\\kappa=\\xi/\\zeta`; the number of levels for the recommended weights."""
        return self.xi / self.zeta

    @property
    def _null_space(self) -> tuple[float, float]:
        """The constants rho and gamma of the matrix from which the network is built."""
        return (self.rho, self.gamma) if self.exact else ((1 + self.rho) / 2, 2 * self.gamma)

    @property
    def C1(self) -> float:
        """The constant :math:`C_1=\\big(\\rho+\\frac{(1+\\rho)\\kappa^{1/4}}2\\big)\\frac{1+\\rho}{1-\\rho}`, with the
        rho of the matrix from which the network is built."""
        rho, _ = self._null_space
        return (rho + (1 + rho) * self.kappa**0.25 / 2) * (1 + rho) / (1 - rho)

    @property
    def C2(self) -> float:
        """The constant
        :math:`C_2=\\big(\\frac{1+\\rho}{1-\\rho}+\\frac{3+\\rho}{1-\\rho}\\frac{\\kappa^{1/4}}2\\big)\\gamma`, with the
        rho and gamma of the matrix from which the network is built."""
        rho, gamma = self._null_space
        return ((1 + rho) / (1 - rho) + (3 + rho) / (1 - rho) * self.kappa**0.25 / 2) * gamma

    @property
    def lam(self) -> float:
        """The theorem's choice :math:`\\lambda=C_1/(C_2\\sqrt\\xi)`. For images it is too large (it oversmooths)."""
        return self.C1 / (self.C2 * math.sqrt(self.xi))

    def constants(self, lam: float | None = None) -> tuple[float, float]:
        """Returns the pair :math:`(C_1,C_2)` for a given lambda.

        For :math:`\\lambda<C_1/(C_2\\sqrt\\xi)` the second constant becomes :math:`C_1/(\\lambda\\sqrt\\xi)`. For
        lambda between :math:`C_1/(C_2\\sqrt\\xi)` and :math:`1/(\\gamma\\sqrt\\xi)` the pair is
        :math:`(\\lambda\\sqrt\\xi\\,C_2',C_2')` with :math:`C_2'=(C_2-\\gamma C_1)/(1-\\gamma\\lambda\\sqrt\\xi)`.

        Raises:
            BadInput: For lambda at or above :math:`1/(\\gamma\\sqrt\\xi)`, where nothing is proved.
        """
        if lam is None:
            return self.C1, self.C2
        _, gamma = self._null_space
        root = math.sqrt(self.xi)
        if not 0 < lam * gamma * root < 1:
            needed = f"0 < lambda < 1/(gamma sqrt(xi)) = {1 / (gamma * root):.4g}"
            raise BadInput(needed, f"{lam}", f"The theorem's choice is {self.lam:.4g}")
        if lam <= self.lam:
            return self.C1, max(self.C2, self.C1 / (lam * root))
        second = (self.C2 - gamma * self.C1) / (1 - gamma * lam * root)
        return lam * root * second, second

    def misfit(
        self, sparsity_defect: float, noise: float, *, lam: float | None = None, model_error: float = 0.0
    ) -> float:
        """Computes :math:`c(x,y)=2\\lambda\\sigma_{s,M}(x)_{l^1_w}+2\\|Ax-y\\|_2+2\\eta b_1`, the smallest accuracy to
        aim at.

        Args:
            sparsity_defect: An upper bound of :math:`\\sigma_{s,M}(x)_{l^1_w}`, which :func:`.defect` computes.
            noise: An upper bound of :math:`\\|Ax-y\\|_2`.
            lam: The lambda in use; None is :attr:`lam`.
            model_error: :math:`\\eta b_1` for a network built from :math:`A_l`: :math:`\\|A_l-A\\|\\le\\eta`,
                :math:`\\|x\\|\\le b_1`.
        """
        _bounds(sparsity_defect, noise, model_error)
        if lam is not None:
            _positive(lam)
        return 2 * (self.lam if lam is None else lam) * sparsity_defect + 2 * noise + 2 * model_error

    def inner(self, nu: float = math.exp(-1), *, lam: float | None = None) -> int:
        """Computes the number of layers of a restart, :math:`p=\\lceil2C_2\\|A\\|/\\nu\\rceil`."""
        _nu(nu)
        return math.ceil(2 * self.constants(lam)[1] * self._norm / nu)

    def outer(self, accuracy: float, size: float, nu: float = math.exp(-1), *, lam: float | None = None) -> int:
        """Computes the number n of restarts after which the algorithm's part of the error,
        :math:`C_2\\nu^n\\varepsilon_0`, is at most ``accuracy``.

        Args:
            accuracy: The accuracy, in the unit of x.
            size: :math:`\\varepsilon_0\\ge\\|y\\|_2`.
            nu: The factor of the schedule.
            lam: The lambda in use.
        """
        _nu(nu)
        if not accuracy > 0 or not size >= 0:
            raise BadInput("accuracy > 0 and size >= 0", f"{accuracy}, {size}", "Both are norms")
        second = self.constants(lam)[1]
        n = max(1, math.ceil(math.log(max(second * size / accuracy, 1)) / -math.log(nu)))
        return n if second * nu**n * size <= accuracy else n + 1  # the logarithms are rounded

    def layers(self, accuracy: float, size: float, nu: float = math.exp(-1), *, lam: float | None = None) -> int:
        """Computes the number of layers for an accuracy: :meth:`outer` times :meth:`inner`, about
        :math:`2eC_2\\|A\\|\\log(1/\\epsilon)` for :math:`\\nu=e^{-1}`."""
        return self.outer(accuracy, size, nu, lam=lam) * self.inner(nu, lam=lam)

    def error_bound(
        self,
        restarts: int,
        *,
        size: float,
        sparsity_defect: float,
        noise: float,
        delta: float | None = None,
        nu: float = math.exp(-1),
        lam: float | None = None,
        model_error: float = 0.0,
    ) -> float:
        """Computes a bound of :math:`\\|\\psi_n-x\\|_2` after n restarts of :meth:`inner` layers.

        .. math:: C_2\\,c(x,y)+C_2\\Big(\\frac\\nu{1-\\nu}\\delta+\\nu^n\\varepsilon_0\\Big),

        with :math:`C_2c(x,y)=\\frac{2C_1}{\\sqrt\\xi}\\sigma+2C_2\\|Ax-y\\|` at the theorem's lambda.

        Args:
            restarts: n.
            size: :math:`\\varepsilon_0\\ge\\|y\\|_2`.
            sparsity_defect: An upper bound of :math:`\\sigma_{s,M}(x)_{l^1_w}`.
            noise: An upper bound of :math:`\\|Ax-y\\|_2`.
            delta: The schedule's delta, at least c(x, y); None is c(x, y).
            nu: The schedule's nu.
            lam: The lambda in use; None is :attr:`lam`.
            model_error: As in :meth:`misfit`.

        Raises:
            BadInput: For a delta below c(x, y), to which the theorem does not apply.
        """
        _nu(nu)
        _ = self._norm  # the bound depends on the layers of a restart, which depend on the norm
        c = self.misfit(sparsity_defect, noise, lam=lam, model_error=model_error)
        delta = c if delta is None else delta
        if delta < c:
            raise BadInput(f"A delta of at least c(x, y) = {c:.6g}", f"{delta}", "Raise delta, or assume less noise")
        return self.constants(lam)[1] * (c + nu / (1 - nu) * delta + nu**restarts * size)

    def error_from_gap(self, gap: float, residual: float, *, sparsity_defect: float, noise: float, lam: float) -> float:
        """Computes an a posteriori bound of :math:`\\|z-x\\|_2` for any z from its duality gap and residual
        :math:`r=\\|Az-y\\|_2`.

        .. math:: \\frac{C_1}{\\sqrt\\xi}\\Big(2\\bar\\sigma+\\frac{\\mathrm{gap}-r+\\bar e}\\lambda\\Big)
            +C_2(r+\\bar e).

        The assumed bounds are :math:`\\bar\\sigma` (``sparsity_defect``) and :math:`\\bar e` (``noise``). A negative
        number refutes the assumptions.
        """
        _positive(lam)
        delta = (gap - residual + noise) / lam
        return self.error_from(delta, residual, sparsity_defect=sparsity_defect, noise=noise)

    def error_from(self, delta: float, residual: float, *, sparsity_defect: float, noise: float) -> float:
        """Computes an a posteriori bound of :math:`\\|z-x\\|_2` for any z with residual r and
        :math:`\\|z\\|_{l^1_w}-\\|x\\|_{l^1_w}\\le\\Delta`.

        .. math:: \\frac{C_1}{\\sqrt\\xi}(2\\bar\\sigma+\\Delta)+C_2(r+\\bar e).
        """
        _bounds(sparsity_defect, noise, residual)
        return self.C1 / math.sqrt(self.xi) * (2 * sparsity_defect + delta) + self.C2 * (residual + noise)


def _bounds(*numbers: float) -> None:
    if not all(0 <= number < math.inf for number in numbers):
        raise BadInput("Finite bounds of norms, zero or more", ", ".join(map(str, numbers)), "Check the bounds")


def _positive(lam: float) -> None:
    if not 0 < lam < math.inf:
        raise BadInput("lambda > 0", f"{lam}", "Use the lambda of the network")


def _nu(nu: float) -> None:
    if not 0 < nu < 1:
        raise BadInput("nu between 0 and 1", f"{nu}", "exp(-1) needs the fewest layers")
