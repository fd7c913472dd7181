"""Differences of a reconstruction along many directions, which do not depend on its gradient.

A gradient can be absent, wrong (a rounding, a ``detach``, a custom derivative), not finite, or negligible (a saturated
function). So an attack also uses measured changes of the image,

.. math:: D_k=\\frac{R(y+s\\,e_k)-R(y-s\\,e_k)}{2s},

for random e_k, at the size s of the budget and at larger ones, which show effects that a random direction of the
budget's size does not reach. From them follow

* the image in which the changes are largest, the first right singular vector w of the matrix D with the rows
  :math:`D_k`, and the direction :math:`\\sum_k\\langle w,D_k\\rangle e_k`, at which an ascent may begin;
* whether the gradient is right: :math:`\\langle\\nabla\\langle w,R\\rangle,e_k\\rangle` must be
  :math:`\\langle w,D_k\\rangle`;
* which singular values of the Jacobian J cannot have been missed. Let the rows of :math:`\\Omega` be the Gaussian
  vectors from which the :math:`e_k` were made. If R is linear at that size, the rows of :math:`\\Omega J^T` are the
  :math:`D_k` times the norms of these vectors, and :math:`\\|\\Omega J^T\\|\\ge\\sigma\\|\\Omega d\\|` for every
  singular value :math:`\\sigma` of J with right singular vector d. And :math:`\\|\\Omega d\\|^2` is chi-squared with as
  many degrees of freedom as there are directions. Here d and :math:`\\Omega` are real, the two parts of a complex
  number are two of their entries, and every entry of :math:`\\Omega` has variance one. For ``domain="image"`` d is in
  the range of A, and so is :math:`\\Omega`; if AA* is not diagonal, that is as accurate as a projection by conjugate
  gradients.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from firenet.errors import BadInput
from firenet.numerics import real_view

AGREES = 0.5  # the largest mismatch between a gradient and the differences, relative to the differences
HIDDEN = 1.25  # the largest growth of the ratio of first to second singular value from the reference budget's size
CONFIDENCE = 0.999
INCOMPARABLE = "cannot be compared with differences of that size, which are not finite"


@dataclass(frozen=True, eq=False)
class Sketch:
    """Central differences along random directions of one size.

    Attributes:
        size: The norm s of the perturbations.
        directions: The directions :math:`e_k`, stacked: measurements of norm one, or for ``domain="image"`` images v
            whose Av has norm one.
        changes: The differences :math:`D_k` as real numbers, (directions, entries).
        gaussian: The norms of the Gaussian vectors from which the directions were made. In these vectors every real
            number has variance one, each part of a complex one too; those for ``domain="image"`` are Av.
    """

    size: float
    directions: Tensor
    changes: Tensor
    gaussian: Tensor

    @property
    def finite(self) -> bool:
        """Whether all differences are finite."""
        return bool(torch.isfinite(self.changes).all())

    def leading(self) -> tuple[Tensor, float]:
        """Returns the first singular vector of the changes, as an image, and its singular value over the second one."""
        if len(self.changes) < 2:
            raise BadInput("At least two directions", f"{len(self.changes)}", "12 are usual")
        # The Gram matrix is small: it has as many rows as there are directions.
        values, vectors = torch.linalg.eigh((self.changes @ self.changes.T).cpu())
        w = vectors[:, -1].to(self.changes.device) @ self.changes
        size = torch.linalg.vector_norm(w)
        first, second = values[-1].clamp(min=0).sqrt().item(), values[-2].clamp(min=0).sqrt().item()
        return (w / size if size > 0 else w), first / second if second > 0 else math.inf if first > 0 else 1.0

    def towards(self, w: Tensor) -> Tensor:
        """Returns the direction :math:`\\sum_k\\langle w,D_k\\rangle e_k`, along which <w, R> increases."""
        shares = self.changes @ w
        flat = real_view(self.directions).reshape(len(shares), -1)
        found = (shares.to(flat.dtype) @ flat).reshape(real_view(self.directions[0]).shape)
        return torch.view_as_complex(found) if self.directions.is_complex() else found

    def mismatch(self, w: Tensor, gradient: Tensor) -> float:
        """Returns the relative mismatch between the changes and the gradient of :math:`\\langle w,R\\rangle`."""
        measured = self.changes @ w
        flat = real_view(self.directions).reshape(len(measured), -1).to(measured.dtype)
        promised = flat @ real_view(gradient).reshape(-1).to(measured.dtype)
        size, off = torch.linalg.vector_norm(measured).item(), torch.linalg.vector_norm(measured - promised).item()
        return off / size if size > 0 else 0.0 if off == 0 else math.inf

    def missed(self) -> float:
        """Returns an upper bound of the largest singular value of the Jacobian, if R is linear at this size.

        For ``domain="image"`` this is the Jacobian on the range of A. The bound holds with probability ``CONFIDENCE``:
        a larger singular value would have made the differences larger.
        """
        scaled = self.changes * self.gaussian[:, None]
        top = torch.linalg.matrix_norm(scaled @ scaled.T, 2).sqrt().item()
        return top / math.sqrt(chi_squared_above(len(scaled), CONFIDENCE))


def chi_squared_above(freedom: int, probability: float) -> float:
    """Returns a number that a chi-squared variable exceeds with at least this probability.

    It follows from Chernoff's bound :math:`P(\\chi^2_k\\le kx)\\le(xe^{1-x})^{k/2}`, 0 < x < 1.
    """
    goal = 2 * math.log1p(-probability) / freedom
    low, high = 0.0, 1.0
    for _ in range(60):
        x = (low + high) / 2
        low, high = (x, high) if math.log(x) + 1 - x < goal else (low, x)
    return freedom * low


def sketch(
    change: Callable[[Tensor], Tensor],
    directions: Sequence[Tensor],
    gaussian: Sequence[float],
    size: float,
    around: Sequence[Tensor] | None = None,
) -> Sketch:
    """Takes central differences along directions.

    Args:
        change: The map from a perturbation to the change of the image, or of a window of it.
        directions: Perturbations of norm one.
        gaussian: The norms of the Gaussian vectors from which they were made, as in :class:`Sketch`.
        size: The norm s of the perturbations.
        around: For each difference a perturbation u of norm one: the difference is taken around y + su. None takes all
            around y.
    """
    changes = []
    for k, e in enumerate(directions):
        at = 0.0 if around is None else size * around[k]
        difference = change(at + size * e) - change(at - size * e)
        changes.append(real_view(difference).reshape(-1).double() / (2 * size))
    gaussians = torch.tensor(gaussian, dtype=torch.float64, device=changes[0].device)
    return Sketch(size, torch.stack(list(directions)), torch.stack(changes), gaussians)


def largest_entry(changes: Tensor, parts: int) -> Tensor:
    """Returns an image of norm one that is zero except at the pixel whose changes are largest.

    For complex images the pixel has the phase in which its changes are largest.

    Args:
        changes: Real numbers, (directions, pixels times parts).
        parts: 2 for complex images, 1 for real ones.
    """
    pixels = changes.reshape(len(changes), -1, parts)
    at = int(pixels.square().sum((0, 2)).argmax())
    phase = torch.linalg.eigh((pixels[:, at].T @ pixels[:, at]).double().cpu())[1][:, -1]
    w = torch.zeros(pixels.shape[1:], dtype=changes.dtype, device=changes.device)
    w[at] = phase.to(w)
    return w.reshape(-1)


@dataclass(frozen=True)
class Effort:
    """A record of how thorough an attack was, and of whether differences support the gradient that it followed.

    Attributes:
        evaluations: The number of calls of the reconstruction for all budgets together.
        starts: The number of ascents for each budget.
        steps: The number of steps of each ascent.
        dimension: The number of real numbers in a perturbation.
        directions: The number of random directions along which differences of the size of the reference budget were
            taken.
        gradient: ``agrees`` with these differences, ``disagrees``, ``is not finite``, ``vanishes``, ``none``, or
            ``INCOMPARABLE``.
        mismatch: The mismatch of gradient and differences, relative to the differences; NaN without one of them.
        jacobian: Whether the whole Jacobian was computed by differences, and is finite.
        concentration: By how much the ratio of the first to the second singular value of the differences grows: its
            largest value at larger sizes, divided by that at the reference budget; 1 if it does not grow.
        missed: An upper bound of the largest singular value of the Jacobian, see :meth:`Sketch.missed`; infinite if
            the differences are not finite.
    """

    evaluations: int
    starts: int
    steps: int
    dimension: int
    directions: int
    gradient: str
    mismatch: float
    jacobian: bool
    concentration: float
    missed: float

    @property
    def doubt(self) -> str:
        """The reason why a worse perturbation may have been missed; empty if there is none."""
        if self.concentration > HIDDEN:
            ratio = f"{self.concentration:.1f} times as much as perturbations of this size do"
            return f"larger random perturbations move the image mostly in one way, {ratio}"
        if self.jacobian:
            return ""
        seen = f"{self.dimension:,} numbers can be perturbed; {2 * self.directions} calls "
        seen += f"would have missed a singular value of up to {self.missed:.3g}"
        if self.gradient == "disagrees":
            return f"its gradient does not agree with differences of that size ({self.mismatch:.0%} off); {seen}"
        if self.gradient != "agrees":
            return f"its gradient {self.gradient}; {seen}" if self.gradient != "none" else f"it has no gradient; {seen}"
        return ""

    @property
    def text(self) -> str:
        """The effort as text."""
        if self.jacobian:
            how = f"the whole Jacobian of {self.dimension:,} dimensions was taken by differences"
        elif self.gradient == "agrees":
            how = f"its gradient agrees with {self.directions} differences of that size to {self.mismatch:.1%}"
        else:
            how = f"differences in {self.directions} random directions of {self.dimension:,} dimensions"
        starts = f"{self.starts} start{'s' if self.starts != 1 else ''} of {self.steps} steps"
        return f"{self.evaluations:,} calls, {starts}; {how}"
