"""How wrong a reconstruction can get: searches for the worst small perturbation of its measurements.

A reconstruction is any callable R from measurements to an image; a network, a solver, a compiled file. Sought is

.. math:: \\max_{\\|e\\|_2\\le\\epsilon\\|y\\|_2}\\|P\\,(R(y+e)-R(y))\\|,

P all of the image, or a window of it (then the largest modulus counts). What is found is a *lower* bound of how bad it
can get: a measurement, with the perturbation as its witness. The budget is imposed again and the error measured again
on what comes back, whatever an ascent did to it, and random noise of the same size is always tried first, so that an
attack is never weaker than noise.

Nothing here knows a network. Where R has no gradient, the ascent estimates it from differences (SPSA, Spall 1992). No
gradient is believed for itself: differences along random directions, at the size of the budget and at larger ones,
begin ascents too, and say whether the gradient agrees with them (:mod:`firenet.audit.survey`); where there are few
enough dimensions the whole Jacobian is taken by differences. :class:`.Effort` says how hard it was.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import get_args

import torch
from torch import Tensor

from firenet.audit.ascent import Ascent, Domain, Perturbation, Reconstruct, Search, Window, need_gradient
from firenet.audit.survey import survey
from firenet.errors import BadInput
from firenet.numerics import real_view
from firenet.operators.linear import LinearOperator

CALLS = 4096  # that the whole Jacobian may cost

__all__ = [
    "CALLS",
    "Ascent",
    "Domain",
    "Perturbation",
    "Reconstruct",
    "Window",
    "antun",
    "attack",
    "transferred",
]


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
    """Searches for the worst perturbation within each budget, small budgets first; the next starts from their best.

    One ascent begins at the worst point that differences, hints and smaller budgets have shown, the others at random.

    Args:
        reconstruct: R: measurements (\\*sensing.out_shape) to an image.
        sensing: A. What it does not measure is not perturbed.
        y: Measurements.
        budgets: :math:`\\epsilon`, in parts of :math:`\\|y\\|_2`.
        ascent: ``gradient``: steps along the gradient, projected onto the sphere; the last quarter of them, in the
            measurement domain, straight to the point of the sphere where the gradient points, which for a linear R is
            power iteration. ``momentum``: the same with a velocity of 0.9. ``adam``: Adam, entry by entry, projected,
            as Genzel, Macdonald and Maerz (2020), except that steps have the unit of the ball and slopes are those
            along the sphere. ``spsa``: no gradients, three evaluations a step. Steps shrink linearly, from
            20 / ``steps`` of the radius.
        domain: ``measurement``: e is free. ``image``: :math:`e=Av`, what a change of the object can do.
        window: Slices of the image's axes: the largest modulus there is sought instead of the norm.
        steps: Of the ascent, for each start.
        starts: From so many random points, never from zero, where magnitudes have no gradient.
        seed: Of all that is random.
        reference: The budget at whose size differences are taken; None is the middle one of ``budgets``.
        hints: Perturbations of the measurements that may be bad ones, of any size: found for another reconstruction,
            the measurements of a detail. Only for ``domain="measurement"``.
        calls: What the whole Jacobian by differences may cost: it is taken where a perturbation has no more dimensions,
            and the gradient is absent or not believed, or larger differences show something hidden.
        differences: Whether differences are taken at all; without them nothing is known of how hard it looked.
        progress: Called with evaluations done and an estimate of all.

    Returns:
        One perturbation a budget, in the order of ``budgets``.

    Raises:
        BadInput: For budgets that are not positive, measurements of another shape, or a reconstruction of y that is not
            finite.
    """
    wanted = [float(budgets)] if isinstance(budgets, float | int) else [float(b) for b in budgets]
    if not wanted or not all(0 < b < math.inf for b in wanted):
        raise BadInput("Budgets above 0, in parts of the measurements' norm", f"{budgets}", "For example 0.01")
    if y.shape != sensing.out_shape:
        raise BadInput(f"Measurements of shape {sensing.out_shape}", f"{tuple(y.shape)}", "One image at a time")
    if ascent not in get_args(Ascent) or domain not in get_args(Domain):
        needed = f"An ascent of {', '.join(get_args(Ascent))}, a domain of {', '.join(get_args(Domain))}"
        raise BadInput(needed, f"{ascent!r}, {domain!r}", "Choose one of each")
    if steps < 1 or starts < 1:
        raise BadInput("At least one step and one start", f"steps={steps}, starts={starts}", "20 and 3 are usual")
    each = sorted(set(wanted))
    reference = each[len(each) // 2] if reference is None else reference
    if not 0 < reference < math.inf:
        raise BadInput("A reference above 0, in parts of the measurements' norm", f"{reference}", "For example 0.01")
    if any(tuple(hint.shape) != tuple(y.shape) for hint in hints) or (hints and domain == "image"):
        got = f"{[tuple(hint.shape) for hint in hints]} for domain={domain!r}"
        raise BadInput(f"Hints of shape {tuple(y.shape)}, in the measurement domain", got, "Give what is added to y")
    search = Search(reconstruct, sensing, y, ascent, domain, window, progress)
    search.most = len(each) * (20 + starts * (1 + steps * (3 if ascent == "spsa" else 1) + 1) + starts + 1)
    generator = torch.Generator().manual_seed(seed)
    looked = survey(search, reference, calls, generator) if differences else None
    search.known += [hint.detach().to(y) for hint in hints if 0 < torch.linalg.vector_norm(hint).item() < math.inf]
    search.rank(reference)
    found: dict[float, Perturbation] = {}
    warm: Tensor | None = None
    for budget in each:
        generator = torch.Generator().manual_seed(seed)
        found[budget], warm = search.worst(budget, steps, starts, generator, warm)
    effort = None if looked is None else replace(looked, evaluations=search.done, starts=starts, steps=steps)
    return [replace(found[b], effort=effort) for b in wanted]


def transferred(
    reconstruct: Reconstruct, sensing: LinearOperator, y: Tensor, found: Sequence[Perturbation], *, seed: int = 0
) -> list[Perturbation]:
    """What perturbations that were found for another reconstruction do to this one, each judged anew.

    Args:
        reconstruct: R, which may be a black box: nothing is searched.
        sensing: A.
        y: The measurements that were perturbed.
        found: What :func:`attack` returned for the other reconstruction.
        seed: Of the noise that is the control.
    """
    search = Search(reconstruct, sensing, y, "spsa", "measurement", None, None)
    judged = []
    for other in found:
        before, generator = search.done, torch.Generator().manual_seed(seed)
        radius = other.budget * search.norm
        with torch.no_grad():
            noise = search.value(search.within(search.draw(generator), radius, full=True)).item()
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
    """The ascent of Antun, Renna, Poon, Adcock and Hansen (PNAS 2020), with their constants, in the image domain:

    .. math:: Q(r)=\\tfrac12\\|R(A(x+r))-x\\|^2-\\tfrac\\lambda2\\|r\\|^2,\\quad
        v\\leftarrow0.9\\,v+0.001\\,\\nabla Q,\\quad r\\leftarrow r+v,

    from :math:`r_0=10^{-5}u`, u uniform on [0, 1]. There is no budget: how large r has become is in ``size``.

    Args:
        reconstruct: R, differentiable.
        sensing: A.
        x: The image; its scale matters, since rate and penalty have units. AUTOMAP's had norms of some thousands.
        snapshots: After so many steps in all.
        penalty: :math:`\\lambda`.
        rate: Of learning.
        momentum: The share of the velocity that is kept.
        seed: Of the start.

    Returns:
        One perturbation a snapshot, :math:`e=Ar`; ``budget`` is its size.
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
            do = "Use firenet.audit.attack.attack, which looks at differences too"
            raise BadInput("A reconstruction whose gradient is finite", f"NaN or infinity in step {step}", do)
        velocity = momentum * velocity + rate * slope
        r = r + velocity
        if step in snapshots:
            size = torch.linalg.vector_norm(sensing(r)).item() / search.norm
            noise = search.within(search.draw(generator), size * search.norm, full=True)
            with torch.no_grad():
                control = search.value(noise).item()
            # Its budget is its own size: nothing to cut.
            found.append(search.judged(r, size, control, "antun", search.done, free=True))
    return found
