"""Linear estimates of single coefficients: vectors h_i for which :math:`\\langle Ax,h_i\\rangle` is near :math:`x_i`.

For column i the best vector for a factor :math:`\\mu` minimises

.. math:: \\max_j|(e_i-A^*h)_j|/v_j+\\mu\\|h\\|_2,

that is, the largest error that a signal whose l1 norm with the weights :math:`v_j` is 1 can cause, plus :math:`\\mu`
times the gain of noise (Juditsky and Nemirovski, Math. Program. 127, 2011). The N cone programs share their matrix, so
that the alternating direction method of multipliers solves them together: each step takes three matrix products for all
of them. No proof rests on its accuracy: any vectors are valid, and the checker computes what they prove.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_RELAXATION = 1.6  # between 1.5 and 1.8 it saves a third of the steps


class LinearEstimates:
    """The vectors of all columns, improved step by step.

    The splitting is Z = E - A*H, Y = H with the identity E and the scaled multipliers U, V; each column has a penalty
    parameter of its own, which balances the two residuals (Boyd et al. 2011, section 3.4.1).

    Attributes:
        vectors: H, shape (m, N).
        errors: E - A*H, shape (N, N); column i belongs to the estimate of :math:`x_i`.
    """

    def __init__(self, matrix: NDArray[Any], weights: NDArray[np.float64]) -> None:
        m, n = matrix.shape
        self.matrix, self.adjoint, self.v = matrix, matrix.conj().T.copy(), weights[:, None]
        self.size = float(np.linalg.norm(matrix, axis=0).max()) or 1.0  # scales H to the size of Z
        self.inverse = np.linalg.inv(matrix @ self.adjoint + self.size**2 * np.eye(m))
        self.back = self.inverse @ matrix
        self.vectors = self.back.copy()
        self.errors = np.eye(n) - self.adjoint @ self.vectors
        self.Z, self.Y = self.errors.copy(), self.vectors.copy()
        self.U, self.V = np.zeros_like(self.Z), np.zeros_like(self.Y)
        self.penalty = 2 / self.v.min() * np.ones(n)
        self.level = np.zeros(n)

    def ridge(self, share: float) -> tuple[NDArray[Any], NDArray[Any]]:
        """Returns vectors and errors of regularised least squares, :math:`H=(AA^*+tI)^{-1}A` with t this share of
        :math:`\\|A\\|^2`; for a share of 0 the pseudo-inverse of :math:`A^*`."""
        u, s, vh = np.linalg.svd(self.matrix, full_matrices=False)
        kept = s > 1e-13 * s.max(initial=0)
        gains = np.where(kept, s, 0) / np.where(kept, s**2 + share * s.max(initial=0) ** 2, 1)
        found = (u * gains) @ vh
        return found, np.eye(self.matrix.shape[1]) - self.adjoint @ found

    def improve(self, factor: float, steps: int) -> float:
        """Takes steps for a factor :math:`\\mu` and returns the objective after the last, added up over all columns."""
        eye, old_z, old_y = np.eye(self.matrix.shape[1]), self.Z, self.Y
        for _ in range(steps):
            old_z, old_y = self.Z, self.Y
            self.vectors = self.back @ (eye - self.Z - self.U) + self.size**2 * (self.inverse @ (self.Y + self.V))
            self.errors = eye - self.adjoint @ self.vectors
            errors = _RELAXATION * self.errors + (1 - _RELAXATION) * self.Z
            vectors = _RELAXATION * self.vectors + (1 - _RELAXATION) * self.Y
            self.Z = self._clipped(errors - self.U)
            self.Y = self._shrunk(vectors - self.V, factor / (self.penalty * self.size**2))
            self.U += self.Z - errors
            self.V += self.Y - vectors
        self._balance(old_z, old_y)
        objective = (np.abs(self.errors) / self.v).max(0) + factor * np.linalg.norm(self.vectors, axis=0)
        return float(objective.sum())

    def _clipped(self, q: NDArray[Any]) -> NDArray[Any]:
        """The proximal map of the weighted maximum norm: moduli are clipped at a level times v.

        The level solves :math:`\\sum_jv_j(|q_j|-\\theta v_j)_+=1/\\text{penalty}`, by Newton's method from below, where
        the sum is convex and piecewise linear: it ends at the root after finitely many steps.
        """
        moduli, level, v = np.abs(q), np.zeros(q.shape[1]), self.v
        for _ in range(50):
            active = moduli > level * v
            slope = v[:, 0] ** 2 @ active
            reached = (v[:, 0] @ (moduli * active) - 1 / self.penalty) / np.maximum(slope, 1e-300)
            reached = np.maximum(reached, 0)
            done = bool((np.abs(reached - level) <= 1e-12 * level).all())
            level = reached
            if done:
                break
        return q * np.minimum(1, level * v / np.maximum(moduli, 1e-300))

    @staticmethod
    def _shrunk(q: NDArray[Any], by: NDArray[np.float64]) -> NDArray[Any]:
        """The proximal map of the Euclidean norm of each column."""
        return q * np.maximum(0, 1 - by / np.maximum(np.linalg.norm(q, axis=0), 1e-300))

    def _balance(self, old_z: NDArray[Any], old_y: NDArray[Any]) -> None:
        primal = _lengths(self.errors - self.Z, self.size * (self.vectors - self.Y))
        dual = _lengths(self.Z - old_z, self.size * (self.Y - old_y))
        factor = np.clip(np.sqrt((primal + 1e-12) / (dual + 1e-12)), 0.5, 2)
        self.penalty, self.U, self.V = self.penalty * factor, self.U / factor, self.V / factor


def _lengths(*parts: NDArray[Any]) -> NDArray[np.float64]:
    return np.sqrt(sum((np.abs(part) ** 2).sum(0) for part in parts))
