"""What a network returns: the image, its certificate, and how the computation ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from torch import Tensor

from firenet.solver.schedules import FixedSchedule, Searched

# Told the layers done, the most there can be, and the relative gap where one is known, which is not proved yet.
Progress = Callable[[int, int, "float | None"], None]


class Status(Enum):
    """How a computation ended."""

    TOLERANCE_REACHED = "tolerance reached"
    LAYER_LIMIT = "layer limit"
    PRECISION_LIMIT = "precision limit"
    DOES_NOT_FIT = "does not fit the data"
    NO_IMAGE_FITS = "no image fits"
    NUMERICAL_ERROR = "numerical error"
    WRONG_ADJOINT = "the adjoint is not the adjoint of A"

    @property
    def advice(self) -> str:
        """What to do about it."""
        return _ADVICE[self]


_ADVICE = {
    Status.TOLERANCE_REACHED: "The relative duality gap is at most the tolerance: that is proved, rounding included.",
    Status.LAYER_LIMIT: "The layers ended; the gap bounds the distance to the optimum. More layers make it smaller.",
    Status.PRECISION_LIMIT: "The gap is at the rounding error of this precision. Double precision makes it smaller.",
    Status.DOES_NOT_FIT: "The image is further from the data than the noise level. More layers may bring it there; "
    "whether any image fits is not decided.",
    Status.NO_IMAGE_FITS: "Every image that fits the data is proved to have a penalty above a million times this "
    "one's: raise the noise level.",
    Status.NUMERICAL_ERROR: "The result is not finite. Check the scale of data and operator, or use double precision.",
    Status.WRONG_ADJOINT: "The gap is negative beyond its rounding, which proves a numerical error: the adjoint is not "
    "the adjoint of A. check_adjoint(A) measures by how much.",
}


@dataclass(frozen=True, eq=False, repr=False)
class Solution:
    """A reconstruction with its certificate; one entry a batch item.

    Attributes:
        image: :math:`W^*z`, shape (..., \\*image shape).
        coefficients: z, the point the numbers below speak of; in the analysis form that is the image.
        dual: A feasible dual point q, shape of y, up to the rounding of its dtype.
        objective: F(z), float64, computed in double precision; for (P1) the penalty alone.
        lower_bound: At most :math:`\\min F`, float64.
        gap: At least :math:`F(z)-\\min F` up to ``rounding``, float64: the objective minus the lower bound, for (P1)
            plus :math:`\\|q\\|_2` times the violation.
        rounding: A bound of the rounding error in the gap, float64.
        relative_gap: The gap over the lower bound: 1e-3 says that F(z) is at most 0.1 % above the minimum. Infinite
            where the lower bound is zero; zero where F(z) is at most its own rounding.
        violation: For (P1) how far z is from fitting the data, :math:`\\max\\{0,\\|Az-y\\|_2-\\varepsilon\\}`, float64:
            zero up to rounding where AA* is diagonal, for z is projected there. Else zero.
        relative_violation: What of it exceeds rounding, over :math:`\\max(\\varepsilon,u\\|y\\|_2)`.
        statuses: One :class:`Status` a batch item, in the order of the flattened batch.
        layers: How many layers were run, int64.
        schedule: The schedule, or with a searching one what it did (:class:`.Searched`).
        dual_sparse: In the analysis form, the part p of the dual point, shape (..., \\*coefficients).
        conditions: What the gap rests on beside arithmetic: empty for operators of this library, for others the adjoint
            and the rounding of theirs, with the measured defect.
    """

    image: Tensor
    coefficients: Tensor
    dual: Tensor
    objective: Tensor
    lower_bound: Tensor
    gap: Tensor
    rounding: Tensor
    relative_gap: Tensor
    violation: Tensor
    relative_violation: Tensor
    statuses: tuple[Status, ...]
    layers: Tensor
    schedule: FixedSchedule | Searched
    dual_sparse: Tensor | None = None
    conditions: tuple[str, ...] = ()

    @property
    def status(self) -> Status | tuple[Status, ...]:
        """Returns how it ended: a :class:`Status` for one image, a tuple of them for a batch."""
        return self.statuses[0] if self.gap.ndim == 0 else self.statuses

    def __repr__(self) -> str:
        shape = " x ".join(map(str, self.image.shape))
        ended = ", ".join(sorted({s.value for s in self.statuses})) or "empty batch"
        worst = f"relative gap {self.relative_gap.max().item():.2g}, " if self.relative_gap.numel() else ""
        most = int(self.layers.max()) if self.layers.numel() else 0
        kind = str(self.image.dtype).removeprefix("torch.")
        return f"Solution({shape} {kind}: {ended}, {worst}{most} layers)"
