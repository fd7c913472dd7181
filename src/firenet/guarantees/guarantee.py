"""A priori guarantees of an operator: the accuracy and the number of layers of the network, known before any data.

The bounds follow from the :class:`.Constants` of the operator. They are proved for a network that is evaluated in exact
arithmetic: its rounding is not counted. The factors :math:`2` in the number of layers and :math:`\\nu/(1-\\nu)` in the
error bound are those of this library's own proof.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from firenet.errors import BadInput
from firenet.guarantees.constants import Constants
from firenet.numerics import UNIT, norms, tensor_of
from firenet.operators.linear import LinearOperator
from firenet.operators.matrix import Matrix
from firenet.transforms.analysis_operator import AnalysisOperator


@dataclass(frozen=True, eq=False)
class Guarantee:
    """Bounds of depth and error for networks of one operator :math:`A`, from coefficients to measurements.

    In the formulas :math:`C_1`, :math:`C_2` and :math:`\\xi` are those of :class:`.Constants`; where lambda is an
    optional argument, :math:`C_1` and :math:`C_2` belong to this lambda (:meth:`.Constants.at`).

    Attributes:
        sensing: The measurement operator, or a matrix. Its norm bound must be exact or proven.
        constants: The constants of the null space property of :math:`A`.
        sparsify: The analysis operator W with sparse coefficients, :math:`A=` ``sensing @ sparsify.H``; None is the
            identity.
        level: The level of each coefficient, 0, 1, ...; None: those of ``sparsify``, or where that is None consecutive
            blocks of the levels' sizes.
        operator: A itself.

    Raises:
        BadInput: For a norm bound that is an estimate or zero, and for levels that are not those of the coefficients.

    >>> from firenet.sparsity import SparsityLevels
    >>> g = Guarantee([[2.0, 0.0], [0.0, 2.0]], Constants(SparsityLevels((2,), (1,)), rho=0.5, gamma=0.5))
    >>> g.inner(), g.outer(1e-3, size=5.0)
    (36, 10)
    """

    sensing: LinearOperator | ArrayLike
    constants: Constants
    sparsify: AnalysisOperator | None = None
    level: ArrayLike | None = None
    operator: LinearOperator = field(init=False, repr=False)

    def __post_init__(self) -> None:
        sensing = self.sensing if isinstance(self.sensing, LinearOperator) else Matrix(tensor_of(self.sensing))
        operator = sensing if self.sparsify is None else sensing @ self.sparsify.H
        level, sizes = self.level, self.constants.levels.sizes
        if level is None and self.sparsify is not None:
            level = self.sparsify.levels().numpy()
        n = math.prod(operator.in_shape)
        if level is None and sum(sizes) != n:
            got = f"levels of sizes {sizes}, together {sum(sizes)}"
            raise BadInput(f"Levels of the operator's {n} coefficients", got, "Use the levels of this operator")
        index = np.repeat(np.arange(len(sizes)), sizes) if level is None else self.constants.levels.index(level)
        if index.size != n:
            do = "Give the level of each coefficient, or leave it out"
            raise BadInput(f"The levels of {n} coefficients", f"{index.size}", do)
        bound = operator.norm_bound
        if bound.kind == "estimate":
            got = f"an estimate ({bound.why})"
            raise BadInput("A norm bound that is exact or proven", got, "Set norm_bound to a proven one")
        if not bound.value > 0:
            raise BadInput("An operator with a norm above 0", f"{bound.value}", "Nothing is recovered from zeros")
        object.__setattr__(self, "sensing", sensing)
        object.__setattr__(self, "level", index.reshape(operator.in_shape))
        object.__setattr__(self, "operator", operator)

    @property
    def norm(self) -> float:
        """The proven upper bound of :math:`\\|A\\|` on which layers and errors depend."""
        return self.operator.norm_bound.value

    @property
    def weights(self) -> NDArray[np.float64]:
        """The weight of each coefficient, shape ``operator.in_shape``."""
        assert self.level is not None
        return np.asarray(self.constants.level_weights)[np.asarray(self.level)]

    def check(self, operator: LinearOperator, weights: Tensor | None) -> None:
        """Raises BadInput if a problem's operator or weights are not those of the guarantee.

        Two linear maps are compared at one vector, drawn at random with a fixed seed: with probability one different
        maps differ there. Weights may differ by the rounding of their dtype.
        """
        do = "Make the guarantee of the operator and weights of this problem"
        shapes = (operator.in_shape, operator.out_shape)
        if shapes != (self.operator.in_shape, self.operator.out_shape):
            raise BadInput("The operator of the guarantee", f"one from {shapes[0]} to {shapes[1]}", do)
        if operator is not self.operator:
            x = torch.from_numpy(np.random.default_rng(0).standard_normal(operator.in_shape))
            results = [
                map_(map_.precisely(x.to(map_.state_dtype(map_.arithmetic)))) for map_ in (operator, self.operator)
            ]
            allowed = (operator.rounding + self.operator.rounding) * UNIT * norms(x, x.ndim)
            if not norms(results[0] - results[1], results[0].ndim) <= allowed:
                raise BadInput("The operator of the guarantee", "another map of the same shapes", do)
        expected = torch.from_numpy(self.weights)
        own = torch.ones_like(expected) if weights is None else weights.detach().cpu().expand(expected.shape)
        slack = 4 * torch.finfo(own.dtype).eps
        if bool(((own.to(torch.float64) - expected).abs() > slack * expected).any()):
            needed = f"The weights of the guarantee, the same on a level: {self.constants.level_weights}"
            raise BadInput(needed, "others", do)

    def misfit(
        self, sparsity_defect: float, noise: float, *, lam: float | None = None, model_error: float = 0.0
    ) -> float:
        """Computes :math:`c(x,y)=2\\lambda\\sigma_{s,M}(x)_{l^1_w}+2\\|Ax-y\\|_2+2\\eta b_1`, the smallest delta of
        :class:`.PaperSchedule` to which the theorem applies.

        Args:
            sparsity_defect: An upper bound of :math:`\\sigma_{s,M}(x)_{l^1_w}`, which :func:`.defect` computes.
            noise: An upper bound of :math:`\\|Ax-y\\|_2`.
            lam: The lambda in use; None is that of the constants.
            model_error: :math:`\\eta b_1` for a network built from an approximation :math:`A_l` of A with
                :math:`\\|A_l-A\\|\\le\\eta`, where :math:`\\|x\\|_2\\le b_1`.
        """
        _bounds(sparsity_defect, noise, model_error)
        if lam is not None:
            _positive(lam)
        return 2 * (self.constants.lam if lam is None else lam) * sparsity_defect + 2 * noise + 2 * model_error

    def inner(self, nu: float = math.exp(-1), *, lam: float | None = None) -> int:
        """Computes the number of layers of a restart, :math:`p=\\lceil2C_2\\|A\\|/\\nu\\rceil`, for the factor
        :math:`\\nu` of :class:`.PaperSchedule`."""
        _nu(nu)
        p = 2 * self.constants.at(lam)[1] * self.norm / nu
        if not p < math.inf:
            raise BadInput("Constants, a norm and nu with a finite number of layers", f"nu={nu}", "Raise nu")
        return math.ceil(p)

    def outer(self, accuracy: float, size: float, nu: float = math.exp(-1), *, lam: float | None = None) -> int:
        """Computes the number n of restarts after which the algorithm's part of the error,
        :math:`C_2\\nu^n\\varepsilon_0`, is at most ``accuracy``.

        Args:
            accuracy: The accuracy, in the unit of x.
            size: :math:`\\varepsilon_0\\ge\\|y\\|_2`.
            nu: The factor :math:`\\nu` by which each restart reduces this part.
            lam: The lambda in use; None is that of the constants.
        """
        _nu(nu)
        second = self.constants.at(lam)[1]
        if not accuracy > 0 or not size >= 0 or not second * size / accuracy < math.inf:
            needed = "accuracy > 0 and size >= 0, whose ratio times C2 is finite"
            raise BadInput(needed, f"{accuracy}, {size}", "Both are norms")
        n = max(1, math.ceil(math.log(max(second * size / accuracy, 1)) / -math.log(nu)))
        return n if second * nu**n * size <= accuracy else n + 1  # the logarithms are rounded

    def layers(self, accuracy: float, size: float, nu: float = math.exp(-1), *, lam: float | None = None) -> int:
        """Computes the number of layers for an accuracy: :meth:`outer` times :meth:`inner`, about
        :math:`2eC_2\\|A\\|\\log(C_2\\varepsilon_0/a)` for the accuracy a, the size :math:`\\varepsilon_0` and
        :math:`\\nu=e^{-1}`."""
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
        """Computes a bound of :math:`\\|\\psi_n-x\\|_2`, the distance of the signal x from the network's result
        :math:`\\psi_n` after n restarts of :meth:`inner` layers.

        .. math:: C_2\\,c(x,y)+C_2\\Big(\\frac\\nu{1-\\nu}\\delta+\\nu^n\\varepsilon_0\\Big),

        with :math:`C_2c(x,y)=\\frac{2C_1}{\\sqrt\\xi}\\sigma+2C_2\\|Ax-y\\|` at the theorem's lambda and a model
        error of 0.

        Args:
            restarts: n.
            size: :math:`\\varepsilon_0\\ge\\|y\\|_2`.
            sparsity_defect: An upper bound of :math:`\\sigma_{s,M}(x)_{l^1_w}`.
            noise: An upper bound of :math:`\\|Ax-y\\|_2`.
            delta: The delta of :class:`.PaperSchedule`, at least c(x, y), which is :meth:`misfit`; None is c(x, y).
            nu: The factor :math:`\\nu` of :class:`.PaperSchedule`.
            lam: The lambda in use; None is that of the constants.
            model_error: As in :meth:`misfit`.

        Raises:
            BadInput: For a delta below c(x, y), to which the theorem does not apply, and numbers out of range.
        """
        _nu(nu)
        _bounds(size)
        if not restarts >= 0:
            raise BadInput("A number of restarts, zero or more", f"{restarts}", "outer computes one for an accuracy")
        c = self.misfit(sparsity_defect, noise, lam=lam, model_error=model_error)
        delta = c if delta is None else delta
        if not c <= delta < math.inf:
            raise BadInput(
                f"A finite delta of at least c(x, y) = {c:.6g}", f"{delta}", "Raise delta, or assume less noise"
            )
        return self.constants.at(lam)[1] * (c + nu / (1 - nu) * delta + nu**restarts * size)

    def error_from_gap(self, gap: float, residual: float, *, sparsity_defect: float, noise: float, lam: float) -> float:
        """Computes an a posteriori bound of :math:`\\|z-x\\|_2` for any z from its residual :math:`r=\\|Az-y\\|_2`
        and its duality gap in (P3) with the given lambda.

        .. math:: \\frac{C_1}{\\sqrt\\xi}\\Big(2\\bar\\sigma+\\frac{\\mathrm{gap}-r+\\bar e}\\lambda\\Big)
            +C_2(r+\\bar e).

        The assumed bounds are :math:`\\bar\\sigma` (``sparsity_defect``) and :math:`\\bar e` (``noise``). A negative
        number refutes the assumptions.
        """
        _positive(lam)
        if math.isnan(gap):
            raise BadInput("A duality gap", "NaN", "Check the point and the measurements")
        delta = (gap - residual + noise) / lam
        return self.error_from(delta, residual, sparsity_defect=sparsity_defect, noise=noise)

    def error_from(self, delta: float, residual: float, *, sparsity_defect: float, noise: float) -> float:
        """Computes an a posteriori bound of :math:`\\|z-x\\|_2` for any z with residual :math:`r=\\|Az-y\\|_2` and
        :math:`\\|z\\|_{l^1_w}-\\|x\\|_{l^1_w}\\le\\Delta` (``delta``).

        .. math:: \\frac{C_1}{\\sqrt\\xi}(2\\bar\\sigma+\\Delta)+C_2(r+\\bar e).

        The assumed bounds are :math:`\\bar\\sigma` (``sparsity_defect``) and :math:`\\bar e` (``noise``).
        """
        _bounds(sparsity_defect, noise, residual)
        first, second = self.constants.at()
        return first / math.sqrt(self.constants.xi) * (2 * sparsity_defect + delta) + second * (residual + noise)


def _bounds(*numbers: float) -> None:
    if not all(0 <= number < math.inf for number in numbers):
        raise BadInput("Finite bounds of norms, zero or more", ", ".join(map(str, numbers)), "Check the bounds")


def _positive(lam: float) -> None:
    if not 0 < lam < math.inf:
        raise BadInput("lambda > 0", f"{lam}", "Use the lambda of the network")


def _nu(nu: float) -> None:
    if not 0 < nu < 1:
        raise BadInput("nu between 0 and 1", f"{nu}", "exp(-1) needs the fewest layers")
