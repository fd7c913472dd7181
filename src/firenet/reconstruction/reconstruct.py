"""Reconstruction and certification in one call, for any measurement operator."""

from __future__ import annotations

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from firenet.certificate import Certificate, certify
from firenet.errors import BadInput
from firenet.guarantees.guarantee import Guarantee
from firenet.network import Firenet
from firenet.numerics import real_view, tensor_of
from firenet.operators.linear import LinearOperator
from firenet.reconstruction.defaults import default_network, default_schedule, rounds
from firenet.solver.schedules import Schedule
from firenet.solver.solution import Progress, Solution
from firenet.sparsity import SparsityLevels


def reconstruct(
    y: Tensor | ArrayLike,
    operator: LinearOperator,
    *,
    sparsify: str | None = None,
    weights: Tensor | SparsityLevels | None = None,
    lam: float | None = None,
    noise: float | None = None,
    schedule: Schedule | None = None,
    tolerance: float | None = None,
    reweight: int | None = None,
    progress: Progress | None = None,
) -> Solution:
    """Reconstructs images from measurements, each with a duality gap.

    Args:
        y: Measurements (..., \\*operator.out_shape); leading axes are batch.
        operator: A, the measurement operator of one image.
        sparsify: The sparsifying transform by name, as in :func:`.transform`.
        weights: As in :class:`.Firenet`.
        lam: As in :class:`.Firenet`.
        noise: As in :class:`.Firenet`: a bound of the noise's 2-norm over all measurements of an image.
        schedule: None is :func:`.default_schedule`, which finds its own steps.
        tolerance: Stop once the relative gap is at most this. None is 1e-3 for the default schedule; a fixed schedule
            then runs to its end. If ``schedule`` is a searching one, ``tolerance`` must be None, since the schedule has
            its own.
        reweight: Rounds of reweighting (:func:`.reweighted`); objective and gap are those of the last round's problem.
            None is the default of :func:`.rounds` for one image, and 0 for a batch.
        progress: Called with the number of layers done, the largest number possible, and the relative gap, which is not
            yet proved (None for a fixed schedule).

    Raises:
        BadInput: As :meth:`.Firenet.solve`.
    """
    y = tensor_of(y, "measurements")
    if schedule is None:
        schedule, tolerance = default_schedule(tolerance), None
    net = default_network(operator, sparsify=sparsify, weights=weights, lam=lam, noise=noise, schedule=schedule)
    net = net.to(y.device)
    again = 0 if reweight is None and y.shape != net.sensing.out_shape else reweight
    if again != 0:
        return rounds(net, y, again, tolerance=tolerance, progress=progress)[-1].solution
    return net.solve(y, tolerance=tolerance, progress=progress)


def certify_image(
    image: Tensor,
    net: Firenet,
    y: Tensor,
    *,
    budget: int = 500,
    guarantee: Guarantee | None = None,
    perturbation: float | None = None,
    promised_gap: float | None = None,
    verified: bool = False,
    progress: Progress | None = None,
) -> Certificate:
    """Certifies any image against given data.

    The certificate is that of the image in the analysis form, and that of :math:`z=W\\,\\text{image}` in the synthesis
    form.

    Args:
        image: Shape (..., \\*image), on the pixel grid of the measurement operator of ``net``, with the origin where
            that operator has it.
        net: The network of the problem: measurement operator, transform, weights, lambda. Its schedule is not used.
        y: Measurements.
        budget: As in :func:`.certify`.
        guarantee: As in :func:`.certify`, for bounds of the distance to other reconstructions.
        perturbation: As in :func:`.certify`.
        promised_gap: As in :func:`.certify`.
        verified: As in :func:`.certify`. In the synthesis form the numbers are those of the computed coefficients.
        progress: As in :func:`.certify`.

    Raises:
        BadInput: For an image that is not finite, and as :func:`.certify`.
    """
    if not torch.isfinite(real_view(image)).all():
        raise BadInput("A finite image", "NaN or infinity", "Check where it comes from")
    with torch.no_grad():
        z = image if net.sparsify is None or net.form == "analysis" else net.sparsify(image)
    return certify(
        net.problem,
        z,
        y,
        budget=budget,
        guarantee=guarantee,
        perturbation=perturbation,
        promised_gap=promised_gap,
        verified=verified,
        progress=progress,
    )
