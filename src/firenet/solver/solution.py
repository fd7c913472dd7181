"""The result of a network: the image, its certificate, and the status of the computation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from torch import Tensor

from firenet.kinds import Kind
from firenet.solver.schedules import FixedSchedule, Searched

# Called with the number of iterations so far, the largest number, and the relative gap if it is known, not yet proved.
Progress = Callable[[int, int, "float | None"], None]


class Status(Enum):
    """The status with which a computation ended."""

    TOLERANCE_REACHED = "tolerance reached"
    LAYER_LIMIT = "layer limit"
    PRECISION_LIMIT = "precision limit"
    DOES_NOT_FIT = "does not fit the data"
    NO_IMAGE_FITS = "no image fits"
    NUMERICAL_ERROR = "numerical error"
    WRONG_ADJOINT = "the adjoint is not the adjoint of A"
    DRAFT = "draft"

    @property
    def advice(self) -> str:
        """An explanation of the status, with advice."""
        return _ADVICE[self]


_ADVICE = {
    Status.TOLERANCE_REACHED: "The relative duality gap is at most the tolerance: this is proved, rounding included.",
    Status.LAYER_LIMIT: "All layers were run; the gap bounds the distance to the optimum. More layers make it smaller.",
    Status.PRECISION_LIMIT: "The gap is at the rounding error of this precision. Double precision makes it smaller.",
    Status.DOES_NOT_FIT: "The image is further from the data than the noise level. More layers may make it fit; "
    "whether any image fits is not decided.",
    Status.NO_IMAGE_FITS: "Every image that fits the data is proved to have a penalty above a million times that of "
    "this image: raise the noise level.",
    Status.NUMERICAL_ERROR: "The result is not finite. Check the scale of data and operator, or use double precision.",
    Status.WRONG_ADJOINT: "The gap is negative beyond its rounding, which proves a numerical error: the adjoint is not "
    "the adjoint of A. check_adjoint(A) measures by how much.",
    Status.DRAFT: "No proof was asked for: objective and gap are not known. Solve again from this image for a proof.",
}


@dataclass(frozen=True, eq=False, kw_only=True)
class Certified:
    """What is proved about a point z of a problem with objective F; one entry per batch item.

    Attributes:
        objective: F(z), float64, computed in double precision; for (P1) the penalty alone.
        lower_bound: A lower bound of :math:`\\min F`, float64.
        gap: An upper bound of :math:`F(z)-\\min F` up to ``rounding``, float64: the objective minus the lower bound,
            for (P1) plus :math:`\\|q\\|_2` times the violation.
        rounding: A bound of the rounding error of the gap, float64.
        relative_gap: The gap over the lower bound: 1e-3 says that F(z) is at most 0.1 % above the minimum. Infinite
            if the lower bound is zero; zero if F(z) is at most its own rounding. For (P1) it is at least
            ``relative_violation``.
        violation: For (P1) the constraint violation :math:`\\max\\{0,\\|Az-y\\|_2-\\varepsilon\\}`, float64. For (P2)
            and (P3) zero.
        relative_violation: The part of the violation that exceeds rounding, over
            :math:`\\max(\\varepsilon,u\\|y\\|_2)` with the unit roundoff u of y's dtype.
        dual: The dual point q with this lower bound, feasible up to the rounding of its dtype; shape of y. It is the
            iteration's where the bound is another one: if no image fits, or the adjoint is wrong.
        dual_sparse: In the analysis form, the part p of the dual point, shape (..., \\*coefficients); else None.
        layers: The number of layers (iterations) that were run, int64.
        conditions: The conditions under which the gap holds. Operators of this library have none. For user-defined
            operators the adjoint and the estimate of their rounding must be correct; the text gives the defect that a
            dot test of the adjoint found.
    """

    objective: Tensor
    lower_bound: Tensor
    gap: Tensor
    rounding: Tensor
    relative_gap: Tensor
    violation: Tensor
    relative_violation: Tensor
    dual: Tensor
    dual_sparse: Tensor | None = None
    layers: Tensor
    conditions: tuple[str, ...] = ()

    @property
    def kind(self) -> Kind:
        """How sure the gap and the bounds are: ``conditional`` if there are ``conditions``, else ``proven``."""
        return "conditional" if self.conditions else "proven"


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Solution(Certified):
    """A reconstruction with its certificate, the numbers of :class:`Certified`; one entry per batch item.

    Where AA* is diagonal, z is made feasible for (P1): its violation is zero up to rounding.

    Attributes:
        image: :math:`W^*z`, in the analysis form z itself; shape (..., \\*image shape).
        coefficients: z, the point that the numbers refer to; in the analysis form the image.
        statuses: One :class:`Status` per batch item, in the order of the flattened batch.
        schedule: The schedule; for a searching schedule the runs that it chose (:class:`.Searched`).
    """

    image: Tensor
    coefficients: Tensor
    statuses: tuple[Status, ...]
    schedule: FixedSchedule | Searched

    @property
    def status(self) -> Status | tuple[Status, ...]:
        """The :class:`Status` of one image, or a tuple of them for a batch."""
        return self.statuses[0] if self.gap.ndim == 0 else self.statuses

    def __repr__(self) -> str:
        shape = " x ".join(map(str, self.image.shape))
        ended = ", ".join(sorted({s.value for s in self.statuses})) or "empty batch"
        worst = f"relative gap {self.relative_gap.max().item():.2g}, " if self.relative_gap.numel() else ""
        most = int(self.layers.max()) if self.layers.numel() else 0
        kind = str(self.image.dtype).removeprefix("torch.")
        return f"Solution({shape} {kind}: {ended}, {worst}{most} layers)"
