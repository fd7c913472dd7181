"""Tests whether a reconstruction shows the details that the object has, and no others.

A small error in a norm can hide a lesion, so details are detected one by one. A change of the unit of the data, which
should have no effect, is tested as well.

A pair of images implies more (Gottschling, Antun, Hansen, Adcock, *The troublesome kernel*, 2025): if a
reconstruction R is accurate to within :math:`\\eta` on x and x', whose measurements differ by :math:`\\epsilon`, then

.. math:: \\|R(Ax)-R(Ax')\\|\\ge\\|x-x'\\|-2\\eta,

so its Lipschitz constant is at least :math:`(\\|x-x'\\|-2\\eta)/\\epsilon` somewhere between the two measurements. A
network that shows details which the measurement operator A almost annihilates cannot be stable.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from firenet.audit.model import Reconstruct
from firenet.errors import BadInput
from firenet.operators.linear import LinearOperator

ROSE = 3.0  # an observer sees what exceeds the noise by three to five standard deviations (Rose 1948)


@dataclass(frozen=True)
class Detection:
    """A measure of how well a reconstruction shows one detail.

    Attributes:
        contrast: The height of the detail in the object.
        recovered: The share of this height that the reconstruction shows, compared with the reconstruction of the
            object without the detail; 1 if it shows the whole height.
        index: The response of a matched filter to the difference of these two reconstructions, in standard deviations
            of the filter's responses to the errors elsewhere in the object. Below ``ROSE`` (3, Rose's criterion)
            the detail is lost: a false negative.
        empty: The index for the object without the detail; above ``ROSE`` the detail is invented: a false positive.
    """

    contrast: float
    recovered: float
    index: float
    empty: float


def detect(
    reconstruct: Reconstruct, sensing: LinearOperator, x: Tensor, shape: Tensor, contrasts: Sequence[float]
) -> tuple[list[Detection], list[Tensor]]:
    """Inserts a detail at falling contrast and detects it in the reconstruction.

    The matched filter is the detail minus its mean over its neighbourhood, so that it does not respond to a change of
    brightness. It is applied to the reconstruction minus x, so that it responds to the detail and not to the anatomy.
    Its responses to the errors elsewhere show how large random responses are.

    Args:
        reconstruct: R.
        sensing: The measurement operator A.
        x: The object without the detail, (rows, columns).
        shape: The detail at height one, zero elsewhere, of the shape of x.
        contrasts: Its heights, in the unit of x.

    Returns:
        One detection for each contrast, and the reconstructions.

    Raises:
        BadInput: If the detail is zero or has another shape than x.
    """
    if tuple(shape.shape) != tuple(x.shape) or not (shape != 0).any():
        got = f"{tuple(shape.shape)}" if tuple(shape.shape) != tuple(x.shape) else "zeros alone"
        needed = f"A detail of shape {tuple(x.shape)} that is not zero everywhere"
        raise BadInput(needed, got, "Make one with firenet.images.detail")
    x, shape = x.double(), shape.double()
    inside = shape != 0
    rows, columns = inside.any(1).nonzero().flatten(), inside.any(0).nonzero().flatten()
    near = torch.zeros_like(inside)
    near[max(int(rows[0]) - 2, 0) : int(rows[-1]) + 3, max(int(columns[0]) - 2, 0) : int(columns[-1]) + 3] = True
    template = (shape - shape[near].mean()) * near
    energy = (template * shape).sum()
    spectrum = torch.fft.fft2(template).conj()
    # Within half a detail of its place the filter still responds to the detail itself.
    away = torch.ones_like(inside)
    reach = [int(rows[-1] - rows[0]) // 2 + 3, int(columns[-1] - columns[0]) // 2 + 3]
    away[: reach[0] + 1, : reach[1] + 1] = away[-reach[0] :, : reach[1] + 1] = False
    away[: reach[0] + 1, -reach[1] :] = away[-reach[0] :, -reach[1] :] = False
    # Errors are larger in the object than in the air around it, so only responses inside the object are compared.
    middle = [int(rows[0] + rows[-1]) // 2, int(columns[0] + columns[-1]) // 2]
    within = away & torch.roll(x.abs() > 0.05 * x.abs().max(), [-m for m in middle], (0, 1))
    away = within if within.sum() >= 50 else away

    def answers(image: Tensor) -> tuple[float, float]:
        """Returns the filter's response at the detail, and the standard deviation of its responses elsewhere.

        For the responses elsewhere the detail is first subtracted from the image, with the contrast that it has there,
        since the filter also responds to a shifted detail.
        """
        error = (image.real if image.is_complex() else image).double() - x
        here = ((template * error).sum() / energy).item()
        every = torch.fft.ifft2(torch.fft.fft2(error - here * shape) * spectrum).real / energy
        return here, every[away].square().mean().sqrt().item()

    empty, elsewhere = answers(reconstruct(_measured(sensing, x)))
    found, images = [], []
    for contrast in contrasts:
        image = reconstruct(_measured(sensing, x + contrast * shape))
        here, deviation = answers(image)
        new = here - empty
        found.append(Detection(contrast, new / contrast, over(new, deviation), over(empty, elsewhere)))
        images.append(image)
    return found, images


def _measured(sensing: LinearOperator, x: Tensor) -> Tensor:
    return sensing(x.to(torch.float32))


def over(value: float, size: float) -> float:
    """Returns the quotient; for a size of 0 it is infinite, or 0 if the value is 0, too."""
    return value / size if size else math.copysign(math.inf, value) if value else 0.0


@dataclass(frozen=True)
class Kernel:
    """The bound of a Lipschitz constant that follows from a detail which A almost annihilates.

    The object without the detail is x, and with it x'. R is the reconstruction, A the measurement operator.

    Attributes:
        distance: The distance :math:`\\|x-x'\\|`.
        difference: The distance of the measurements, :math:`\\epsilon=\\|A(x-x')\\|`.
        accuracy: The larger of the errors of R on x and on x', :math:`\\eta`.
        lipschitz: :math:`(\\|x-x'\\|-2\\eta)/\\epsilon`, a lower bound of the local Lipschitz constant; 0 if this is
            negative, since nothing follows for a reconstruction that is not accurate on both images.
        measured: :math:`\\|R(Ax)-R(Ax')\\|/\\epsilon`, which is at least that bound.
    """

    distance: float
    difference: float
    accuracy: float
    lipschitz: float
    measured: float


def kernel(
    reconstruct: Reconstruct, sensing: LinearOperator, x: Tensor, shape: Tensor, budget: float
) -> tuple[Kernel, Tensor, Tensor]:
    """Reconstructs an object x and x' = x + d from their measurements, for a detail d that A almost annihilates.

    The detail d is ``shape``, moved towards the kernel of A until the norm of its measurements is within the budget,
    see :func:`hidden`.

    Args:
        reconstruct: R.
        sensing: The measurement operator A.
        x: The object.
        shape: The detail.
        budget: The largest allowed :math:`\\|Ad\\|`, relative to :math:`\\|Ax\\|`.

    Returns:
        The numbers, x' and R(Ax').
    """
    y = sensing(x)
    other = x + hidden(sensing, shape.to(x.dtype), budget * torch.linalg.vector_norm(y).item())
    images = [reconstruct(sensing(point)) for point in (x, other)]
    errors = [torch.linalg.vector_norm(i - p).item() for i, p in zip(images, (x, other), strict=True)]
    distance = torch.linalg.vector_norm(other - x).item()
    difference = torch.linalg.vector_norm(sensing(other) - y).item()
    measured = torch.linalg.vector_norm(images[1] - images[0]).item()
    bound = max(distance - 2 * max(errors), 0.0)
    lipschitz = over(bound, difference) if bound else 0.0
    return Kernel(distance, difference, max(errors), lipschitz, over(measured, difference)), other, images[1]


def described(image: Tensor) -> str:
    """Returns the type and shape of an image, and whether it has numbers that are not finite, for an error."""
    text = f"{image.dtype} of shape {tuple(image.shape)}"
    return text if torch.isfinite(image).all() else f"{text} with NaN or infinity"


@dataclass(frozen=True, eq=False)
class Pair:
    """Two images that no method can tell apart: :func:`firenet.guarantees.confusion.confuse` finds them, with proof.

    Attributes:
        difference: The difference d = x' - x of the two, real, of the shape of an image.
        noise: The noise :math:`\\epsilon`, in the unit of the data: :math:`\\|Ad\\|\\le2\\epsilon`.
        distance: A lower bound of :math:`\\|d\\|`.
    """

    difference: Tensor
    noise: float
    distance: float

    def check(self, sensing: LinearOperator) -> None:
        """Raises :class:`BadInput` if the operator can tell the two images apart, its images have another shape, or the
        distance is no lower bound."""
        d = self.difference
        if d.is_complex() or tuple(d.shape) != tuple(sensing.in_shape) or not torch.isfinite(d).all():
            needed = f"Real, finite images of shape {tuple(sensing.in_shape)}"
            raise BadInput(needed, described(d), "Make a pair for this mask")
        misfit, distance = (torch.linalg.vector_norm(t).item() for t in (sensing(d.double()), d.double()))
        # A pair of another operator misses by far; 1e-4 is for operators in single precision.
        if not misfit <= 2 * self.noise + 1e-4 * distance:
            got = f"measurements that differ by {misfit:.3g} with noise {self.noise:.3g}"
            raise BadInput("A pair that this operator cannot tell apart", got, "Make it for this mask")
        if not 0 < self.distance <= distance * (1 + 1e-4):
            got = f"a bound of {self.distance:.6g} for a pair {distance:.6g} apart"
            raise BadInput("A lower bound above 0 of the distance of a pair", got, "Make the pair with firenet confuse")


@dataclass(frozen=True)
class Undecidable:
    """What a reconstruction makes of data that two images explain equally well.

    Attributes:
        noise: The noise level: the data are within it of the measurements of both images.
        floor: Half the distance of the two: every method has at least this error on one of them.
        first: The error if the object is the first image.
        second: The error if it is the second image.
        sure: Whether the reconstruction is within half of ``floor`` of one of them, and so excludes the other one,
            although the data support both equally.
        claimed: The error that the model promises for these data; None if it promises nothing.
    """

    noise: float
    floor: float
    first: float
    second: float
    sure: bool
    claimed: float | None


def undecidable(
    reconstruct: Reconstruct, sensing: LinearOperator, x: Tensor, pair: Pair, claimed: float | None = None
) -> tuple[Undecidable, Tensor, Tensor]:
    """Reconstructs from the data halfway between those of x and of x + d.

    Args:
        reconstruct: R.
        sensing: The measurement operator A.
        x: The object.
        pair: The pair, of which the difference d is inserted.
        claimed: The error that the model promises for these data; None if it promises nothing.

    Returns:
        The numbers, x + d and the reconstruction.
    """
    other = x + pair.difference.to(x)
    image = reconstruct(halfway(sensing, x, pair))
    first, second = (torch.linalg.vector_norm(image - t).item() for t in (x, other))
    floor = pair.distance / 2
    return Undecidable(pair.noise, floor, first, second, min(first, second) <= floor / 2, claimed), other, image


def halfway(sensing: LinearOperator, x: Tensor, pair: Pair) -> Tensor:
    """Returns the data halfway between those of x and of x + d: within the noise of both."""
    return sensing(x + 0.5 * pair.difference.to(x))


def hidden(sensing: LinearOperator, d: Tensor, most: float) -> Tensor:
    """Returns a detail d moved towards the kernel of A until the norm of its measurements is at most ``most``."""
    size = torch.linalg.vector_norm(sensing(d)).item()
    return d if size <= most else d - (1 - most / size) * _visible(sensing, d)


def _visible(sensing: LinearOperator, d: Tensor, iterations: int = 30) -> Tensor:
    """Returns d minus its projection onto the kernel of A, by conjugate gradients on A*A u = A*A d.

    For a real image the real part of A*A is used. Its eigenvalues are 0, 1/2 and 1 if some samples have no mirror
    sample.
    """

    def normal(v: Tensor) -> Tensor:
        image = sensing.adjoint(sensing(v))
        return image if v.is_complex() else image.real if image.is_complex() else image

    u = torch.zeros_like(d)
    r = normal(d)
    p, energy = r, r.abs().square().sum()
    first = energy
    for _ in range(iterations):
        if not energy > 1e-12 * first:
            break
        q = normal(p)
        step = energy / (p.conj() * q).real.sum()
        u, r = u + step * p, r - step * q
        old, energy = energy, r.abs().square().sum()
        p = r + energy / old * p
    return u


def scaled(reconstruct: Reconstruct, y: Tensor, factors: Sequence[float]) -> list[float]:
    """Returns :math:`\\|R(cy)/c-R(y)\\|/\\|R(y)\\|` for each factor c.

    It is 0 if R is independent of the unit of the data.
    """
    image = reconstruct(y)
    size = torch.linalg.vector_norm(image).item()
    return [over(torch.linalg.vector_norm(reconstruct(c * y) / c - image).item(), size) for c in factors]
