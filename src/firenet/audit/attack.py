"""Searches for the worst small perturbation of a reconstruction's measurements.

A reconstruction is any callable R from measurements to an image: a network, a solver, a compiled file. The search is
for

.. math:: \\max_{\\|e\\|_2\\le\\epsilon\\|y\\|_2}\\|P\\,(R(y+e)-R(y))\\|,

where P is the identity, or restricts the image to a window (then the norm is the largest modulus). The result is a
*lower* bound of the maximum: a measured error, with the perturbation as its witness. The budget is imposed once more on
the result of every search, and its error is measured again. Random noise of the same size is always tried, so that an
attack is never weaker than noise. :mod:`firenet.audit.ascent` has a map of the search.

Only values and gradients of R are used. For an R without gradient there is the ascent ``spsa``, which estimates the
gradient from differences (Spall 1992). Before the ascents, differences along random directions are taken at the size of
one budget, the reference, and at larger sizes. The gradient is compared with the differences of the reference's size,
and an ascent may begin where differences are large (:mod:`firenet.audit.survey`). If the differences do not support the
gradient, or show a new effect at a larger size, the whole Jacobian is computed by differences, if there are few enough
dimensions. :class:`.Effort` says how thorough the search was.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from firenet.audit.ascent import Ascent, Domain, Perturbation, Search, Window, check_search, need_gradient
from firenet.audit.model import Reconstruct
from firenet.audit.survey import survey
from firenet.errors import BadInput
from firenet.numerics import real_view
from firenet.operators.linear import LinearOperator

CALLS = 4096  # the largest dimension for which the whole Jacobian is computed


def attack(
    reconstruct: Reconstruct,
    sensing: LinearOperator,
    y: Tensor,
    budgets: Sequence[float] | float,
    *,
    ascent: Ascent = "gradient",
    domain: Domain = "measurement",
    window: Window | None = None,
    steps: int = 20,
    starts: int = 3,
    seed: int = 0,
    reference: float | None = None,
    hints: Sequence[Tensor] = (),
    calls: int = CALLS,
    differences: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> list[Perturbation]:
    """Searches for the worst perturbation within each budget, small budgets first.

    One ascent begins at the worst point that differences, hints and smaller budgets have shown, the others at random.

    Args:
        reconstruct: R, from measurements (\\*sensing.out_shape) to an image.
        sensing: The measurement operator A. Only the samples that it measures are perturbed.
        y: The measurements.
        budgets: The budgets :math:`\\epsilon`, relative to :math:`\\|y\\|_2`.
        ascent: ``gradient``: steps along the gradient, projected onto the sphere. The last quarter of the steps goes
            straight to the maximum of the linear model on the ball, which for a linear R is power iteration.
            ``momentum``: the same with a momentum of 0.9. ``adam``: Adam, entry by entry, projected, as Genzel,
            Macdonald and Maerz (2020), except that steps are relative to the radius and gradients are projected onto
            the tangent space of the sphere. ``spsa``: no gradients, three evaluations for each step. In all four, the
            step sizes fall linearly from 20 / ``steps`` of the radius.
        domain: ``measurement``: e is free. ``image``: :math:`e=Av`, for a change v of the object.
        window: Slices of the image's axes: the largest modulus of the image's change there is maximised instead of the
            2-norm of the whole change.
        steps: The number of steps of each ascent.
        starts: The number of ascents. Those with a random start never begin at zero, where magnitudes have no gradient.
        seed: Seeds everything that is random.
        reference: The budget at whose size, and at larger sizes, differences are taken; None is the middle one of
            ``budgets``.
        hints: Perturbations of the measurements, of any size, that may cause large errors: for example one that was
            found for another reconstruction, or the measurements of a detail. Only for ``domain="measurement"``.
        calls: The largest number of dimensions of a perturbation for which the whole Jacobian is computed by
            differences. It is computed if the gradient is absent or does not agree with differences, or if differences
            of a larger size show an effect that those of the reference budget do not. A Jacobian of more than 1 GiB is
            never computed.
        differences: Whether to take differences; without them the ``effort`` of a perturbation is None.
        progress: Called with the number of evaluations done, and an estimate of their total number.

    Returns:
        One perturbation for each budget, in the order of ``budgets``.

    Raises:
        BadInput: If an argument is unknown or outside its range, measurements or hints have another shape, R(y) is not
            finite, or R has no gradient and the ascent needs one.
    """
    wanted = [float(budgets)] if isinstance(budgets, float | int) else [float(b) for b in budgets]
    if not wanted or not all(0 < b < math.inf for b in wanted):
        raise BadInput("Budgets above 0, relative to the norm of the measurements", f"{budgets}", "For example 0.01")
    if y.shape != sensing.out_shape:
        raise BadInput(f"Measurements of shape {sensing.out_shape}", f"{tuple(y.shape)}", "One image at a time")
    check_search(ascent, domain, steps, starts)
    each = sorted(set(wanted))
    reference = each[len(each) // 2] if reference is None else reference
    if not 0 < reference < math.inf:
        raise BadInput("A reference budget above 0, relative to the norm of y", f"{reference}", "For example 0.01")
    if any(tuple(hint.shape) != tuple(y.shape) for hint in hints) or (hints and domain == "image"):
        got = f"{[tuple(hint.shape) for hint in hints]} for domain={domain!r}"
        do = "Give perturbations of the measurements"
        raise BadInput(f"Hints of shape {tuple(y.shape)}, in the measurement domain", got, do)
    search = Search(reconstruct, sensing, y, ascent, domain, window, progress)
    search.most = len(each) * (20 + starts * (1 + steps * (3 if ascent == "spsa" else 1) + 1) + starts + 1)
    generator = torch.Generator().manual_seed(seed)
    looked = survey(search, reference, calls, generator) if differences else None
    search.rank(reference)
    # Hints are not ranked: one that shows nothing at the reference budget may matter at another.
    finite = [hint for hint in hints if 0 < torch.linalg.vector_norm(hint).item() < math.inf]
    search.known += [(hint.detach().to(y), "hint") for hint in finite]
    found: dict[float, Perturbation] = {}
    warm: tuple[Tensor, str] | None = None
    for budget in each:
        generator = torch.Generator().manual_seed(seed)
        found[budget], v = search.worst(budget, steps, starts, generator, warm)
        warm = v, found[budget].by
    effort = None if looked is None else replace(looked, evaluations=search.done, starts=starts, steps=steps)
    return [replace(found[b], effort=effort) for b in wanted]


def transferred(
    reconstruct: Reconstruct, sensing: LinearOperator, y: Tensor, found: Sequence[Perturbation], *, seed: int = 0
) -> list[Perturbation]:
    """Applies perturbations that were found for another reconstruction to this one, and measures their errors.

    Args:
        reconstruct: R, which may be a black box: nothing is searched.
        sensing: The measurement operator A.
        y: The measurements that were perturbed.
        found: The perturbations that :func:`attack` returned for the other reconstruction.
        seed: Seeds the noise that is the control.
    """
    search = Search(reconstruct, sensing, y, "spsa", "measurement", None, None)
    judged = []
    for other in found:
        before, generator = search.done, torch.Generator().manual_seed(seed)
        radius = other.budget * search.norm
        noise = search.value(search.within(search.draw(generator), radius, full=True))
        judged.append(search.judged(search.within(other.e, radius), other.budget, noise, "transfer", before))
    return judged


def antun(
    reconstruct: Reconstruct,
    sensing: LinearOperator,
    x: Tensor,
    *,
    snapshots: Sequence[int] = (12, 16, 20, 24),
    penalty: float = 0.1,
    rate: float = 0.001,
    momentum: float = 0.9,
    seed: int = 0,
) -> list[Perturbation]:
    """Runs the ascent of Antun, Renna, Poon, Adcock and Hansen (PNAS 2020), with their constants, in the image domain.

    .. math:: Q(r)=\\tfrac12\\|R(A(x+r))-x\\|^2-\\tfrac\\lambda2\\|r\\|^2,\\quad
        v\\leftarrow0.9\\,v+0.001\\,\\nabla Q,\\quad r\\leftarrow r+v,

    from :math:`r_0=10^{-5}u`, u uniform on [0, 1]. There is no budget: ``size`` says how large Ar has become.

    Args:
        reconstruct: R, differentiable.
        sensing: The measurement operator A.
        x: The image; its scale matters, since rate and penalty have units. In the paper, the images for the network
            AUTOMAP had norms of some thousands.
        snapshots: The numbers of steps after which a perturbation is returned.
        penalty: The penalty :math:`\\lambda`.
        rate: The learning rate.
        momentum: The share of the velocity that is kept.
        seed: Seeds the start.

    Returns:
        One perturbation for each snapshot, :math:`e=Ar`; ``budget`` is its size.

    Raises:
        BadInput: If there is no snapshot, or the gradient of R is missing or not finite.
    """
    if not snapshots or min(snapshots) < 1:
        raise BadInput("Snapshots after one step or more", f"{snapshots}", "(12, 16, 20, 24) are those of the paper")
    y = sensing(x).detach()
    search = Search(reconstruct, sensing, y, "momentum", "image", None, None)
    generator = torch.Generator().manual_seed(seed)
    start = torch.rand(sensing.in_shape, dtype=torch.float64, generator=generator)
    r = 1e-5 * start.to(device=x.device, dtype=x.dtype)
    velocity, found = torch.zeros_like(r), []
    for step in range(1, max(snapshots) + 1):
        with torch.enable_grad():
            at = r.detach().clone().requires_grad_()
            image = reconstruct(y + sensing(at))
            need_gradient(image)
            search.done += 1
            gain = 0.5 * (image - x).abs().square().sum() - 0.5 * penalty * at.abs().square().sum()
            (slope,) = torch.autograd.grad(gain, at)
        if not torch.isfinite(real_view(slope)).all():
            do = "Use firenet.audit.attack.attack, which can do without gradients"
            raise BadInput("A reconstruction whose gradient is finite", f"NaN or infinity in step {step}", do)
        velocity = momentum * velocity + rate * slope
        r = r + velocity
        if step in snapshots:
            size = torch.linalg.vector_norm(sensing(r)).item() / search.norm
            noise = search.within(search.draw(generator), size * search.norm, full=True)
            found.append(search.judged(r, size, search.value(noise), "antun", search.done, free=True))
    return found
