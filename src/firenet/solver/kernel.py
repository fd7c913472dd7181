"""The mathematics of one layer: what the two forms of the problem do differently."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from firenet.problems.problem import Problem


@dataclass(frozen=True, eq=False)
class Steps:
    """Steps and relaxation of the layers to come, one number a batch item.

    Attributes:
        tau: Primal step, in a shape that meets x.
        sigma: Dual step, in a shape that meets the measurements.
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
    """The steps of a layer for one form of the problem. It keeps nothing of a batch.

    :meth:`primal` and :meth:`dual` are the formulas, in plain torch: they make new tensors and have derivatives. The
    methods that end in an underscore compute the same in place, without derivatives; one test holds the two together.

    Args:
        problem: In the coordinates of a loop.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem, self.operator = problem, problem.operator

    @abstractmethod
    def zero_dual(self, y: Tensor, dtype: Any) -> Tensor:
        """Returns the dual point zero for packed measurements y."""

    @abstractmethod
    def primal(self, v: Tensor, tau: Tensor) -> Tensor:
        """Returns the proximal map of tau times the penalty that is on x itself."""

    @abstractmethod
    def dual(
        self, q: Tensor, y: Tensor, x: Tensor, new: Tensor, measured: Tensor, steps: Steps, parts: Any
    ) -> tuple[Tensor, Tensor | None, Any]:
        """Takes the dual step and relaxes it.

        Args:
            q: The dual.
            y: Measurements.
            x: The point that the layer began with.
            new: :math:`\\tilde x`.
            measured: :math:`2A\\tilde x-Ax`.
            steps: The steps.
            parts: The third result for this q, or None.

        Returns:
            The next dual; A* of it where that is known already, else None; and what the next layer may take instead of
            taking q apart.
        """

    @abstractmethod
    def threshold(self, tau: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """Returns what :meth:`primal_` needs of its step, for points like this one."""

    @abstractmethod
    def primal_(self, v: Tensor, threshold: tuple[Tensor, Tensor], work: Tensor | None = None) -> Tensor:
        """Computes :meth:`primal`, written over v; ``work`` is memory as large, if there is some."""

    def overshoot(self, new: Tensor, x: Tensor) -> Tensor | None:
        """Returns what :meth:`dual_` needs of :math:`2\\tilde x-x`, before x is written over."""
        return None

    @abstractmethod
    def dual_(
        self,
        q: Tensor,
        y: Tensor,
        overshoot: Tensor | None,
        measured: Tensor,
        before: Tensor,
        steps: Steps,
        work: Tensor,
    ) -> tuple[Tensor, Tensor | None]:
        """Computes :meth:`dual`, perhaps written over q.

        Args:
            q: The dual.
            y: Measurements.
            overshoot: Of :meth:`overshoot`.
            measured: :math:`A\\tilde x`.
            before: Ax.
            steps: The steps.
            work: Memory as large as x that is free.
        """
