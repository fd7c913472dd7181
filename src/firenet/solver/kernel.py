"""The abstract kernel: the steps of one layer that differ between the synthesis form and the analysis form."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from firenet.problems.problem import Problem


@dataclass(frozen=True, eq=False)
class Steps:
    """Steps and relaxation of the next layers, one number per batch item.

    Attributes:
        tau: Primal step, in a shape that broadcasts to x.
        sigma: Dual step, in a shape that broadcasts to the measurements.
        rho_x: The relaxation, in the shape of ``tau``.
        rho_y: The relaxation, in the shape of ``sigma``.
        plain: Whether the relaxation is one everywhere.
    """

    tau: Tensor
    sigma: Tensor
    rho_x: Tensor
    rho_y: Tensor
    plain: bool


class Kernel(ABC):
    """The primal and the dual step of a layer for one form of the problem. It stores no state of a batch.

    :meth:`primal` and :meth:`dual` are the formulas, in plain torch: they make new tensors and have derivatives. The
    methods that end in an underscore compute the same in place, without derivatives; a test compares the two.

    Args:
        problem: The problem, in the coordinates of an iteration.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem, self.operator = problem, problem.operator

    @abstractmethod
    def zero_dual(self, y: Tensor, dtype: Any) -> Tensor:
        """Returns the dual point zero for packed measurements y."""

    @abstractmethod
    def primal(self, v: Tensor, tau: Tensor) -> Tensor:
        """Computes the proximal map of tau times the penalty of x; the identity in the analysis form."""

    @abstractmethod
    def dual(
        self, q: Tensor, y: Tensor, x: Tensor, new: Tensor, measured: Tensor, steps: Steps, parts: Any
    ) -> tuple[Tensor, Tensor | None, Any]:
        """Computes the dual step and its relaxation.

        Args:
            q: The dual variable.
            y: Measurements.
            x: The point before the layer.
            new: :math:`\\tilde x`.
            measured: :math:`2A\\tilde x-Ax`.
            steps: The steps.
            parts: The third result of the call that computed q, or None.

        Returns:
            The next dual variable; A* of it (in the analysis form A*q + W*p) if the step computed that, otherwise None;
            and the parts q and p of the dual variable, so that the next layer need not split it, or None.
        """

    @abstractmethod
    def threshold(self, tau: Tensor, like: Tensor) -> Any:
        """Returns the thresholds for :meth:`primal_` and :meth:`advance_`, for points of this dtype and shape."""

    @abstractmethod
    def primal_(self, v: Tensor, threshold: Any, work: Tensor | None = None) -> Tensor:
        """Computes :meth:`primal` in place; ``work`` is free memory as large as v, or None."""

    def advance_(
        self,
        new: Tensor,
        x: Tensor,
        back: Tensor,
        last: Tensor,
        total: Tensor | None,
        threshold: Any,
        steps: Steps,
        change: bool,
    ) -> bool:
        """Computes the primal step and what depends on it alone in one pass, if there is a compiled function for that.

        Args:
            new: The place for :math:`\\tilde x`, which may be the memory of ``back``.
            x: The point before the layer, which is relaxed; unchanged if all relaxations are one, except that it may
                then be the same tensor as ``last``.
            back: A*q.
            last: :math:`\\tilde x` of the layer before, overwritten by the change from it if ``change``.
            total: The sum to which :math:`\\tilde x` is added, or None.
            threshold: The result of :meth:`threshold`.
            steps: The steps.
            change: See ``last``.

        Returns:
            Whether it has been computed.
        """
        return False

    def overshoot(self, new: Tensor, x: Tensor) -> Tensor | None:
        """Computes the argument ``ahead`` of :meth:`dual_` from :math:`2\\tilde x-x`, before x is overwritten."""
        return None

    @abstractmethod
    def dual_(
        self, q: Tensor, y: Tensor, ahead: Tensor | None, measured: Tensor, before: Tensor, steps: Steps, work: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Computes the dual step and its relaxation as :meth:`dual`; the result may overwrite q.

        Args:
            q: The dual variable.
            y: Measurements.
            ahead: The result of :meth:`overshoot`.
            measured: :math:`A\\tilde x`.
            before: Ax.
            steps: The steps.
            work: Free memory as large as x.

        Returns:
            The next dual variable, and A* of it (in the analysis form A*q + W*p) if the step computed that, otherwise
            None.
        """
