"""Takes differences before an attack begins: they show where to search, and whether they support the gradient.

::

    for each of three sizes, from the reference budget up to one where the effect of a single component shows:
        D            the rows are central differences along random directions, the rows of E (differences.py)
        w            the image of norm one in which they are largest, for a window zero except at one pixel
        E^T D w      --> candidate                        where the ascent may begin (Search.known)
        grad <w, R>  --> candidate                        by autograd, unless the ascent is spsa
    at the reference budget:
        gradient     "agrees" if D is finite and | D w - E grad <w, R> | <= AGREES | D w |
        missed       an upper bound of the largest singular value of the Jacobian, if R is linear
    at a larger size:
        hidden       if (first / second singular value) > HIDDEN * (the same ratio at the reference budget)
    the whole Jacobian by differences --> candidates      at sizes with something hidden, and at the reference budget
                                                          unless the gradient agrees; only if it is affordable

A gradient is thus supported by measured differences, and not by itself. :attr:`.Effort.doubt` says why the search may
have missed a worse perturbation.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from firenet.audit.ascent import Search, need_gradient
from firenet.audit.differences import AGREES, HIDDEN, INCOMPARABLE, Effort, Sketch, largest_entry, sketch
from firenet.numerics import real_view

DIRECTIONS, BLIND_DIRECTIONS = 12, 64  # the numbers of random directions, with a gradient and without one
LARGEST = 0.5  # the largest size of a random perturbation, relative to the norm of the measurements
MOST_BYTES = 1 << 30  # the largest Jacobian


def survey(search: Search, reference: float, calls: int, generator: torch.Generator) -> Effort:
    """Takes differences at the reference budget and above, and adds the candidates that they show to ``search.known``.

    A perturbation of the budget's size along one direction d shows everything that depends on the component along d.
    A random perturbation has a component of that size along d only if it is larger by the square root of the dimension.
    So the largest size is the budget times this root, and the middle one is the geometric mean of the budget and the
    largest size, but both are at most half the norm of y. At larger sizes differences are taken around random points,
    since for an even function those around y vanish. The directions are the same at all sizes, so that a linear map has
    the same differences at all sizes.

    Args:
        search: The state of the attack, before its first ascent.
        reference: The budget, relative to the norm of y.
        calls: The largest dimension for which the whole Jacobian is computed.
        generator: Draws the directions.

    Returns:
        The effort so far: whether the differences support the gradient. Its numbers of starts and steps are still 0.
    """
    places = _coordinates(search)
    dimension, blind = len(places), search.ascent == "spsa"
    count = BLIND_DIRECTIONS if blind else DIRECTIONS
    # Until there are finite differences at the reference budget, nothing agrees with them or grows from them.
    state, mismatch, missed = "none" if blind else INCOMPARABLE, math.nan, math.inf
    first, concentration = math.inf, 1.0
    known: list[Tensor] = []
    parts = 2 if search.clean.is_complex() else 1
    directions, gaussian = _drawn(search, count, generator)
    around, _ = _drawn(search, count, generator)
    deep: list[tuple[float, Tensor | None]] = []  # the sizes of the differences of a Jacobian, and around which point
    for size in sorted({reference * max(1.0, min(dimension**p, LARGEST / reference)) for p in (0.0, 0.25, 0.5)}):
        made = sketch(search.change, directions, gaussian, size * search.norm, None if size == reference else around)
        if not made.finite:  # infinite changes have no singular vectors, but their directions are candidates
            known += list(made.directions[~torch.isfinite(made.changes).all(1)])
            continue
        w, ratio = made.leading()
        if search.window is not None:
            w = largest_entry(made.changes, parts)
        known.append(search.steepest(made.towards(w)))
        if size == reference:
            missed, first = made.missed(), ratio
        else:
            concentration = max(concentration, ratio / first)
        if not blind:
            gradient = _pulled(search, w)
            known.append(search.steepest(gradient.nan_to_num()))
            if size == reference:
                state, mismatch = _belief(made, w, gradient)
        if size > reference and ratio > HIDDEN * first:
            loudest = around[int(torch.linalg.vector_norm(made.changes, dim=1).argmax())]
            deep += [(size, None), (size, loudest * (size * search.norm))]
    if state != "agrees":
        deep.insert(0, (reference, None))
    entries = search.change(torch.zeros_like(search.draw(generator))).numel() * parts
    fits = dimension <= calls and 8 * dimension * entries <= MOST_BYTES
    taken = [_by_jacobian(search, places, size * search.norm, at) for size, at in (deep if fits else [])]
    known += [v for shown in taken for v in shown]
    search.known += [(v, "differences") for v in known if 0 < search.length(v) < math.inf]
    whole = bool(taken) and all(taken)  # none that is not finite
    return Effort(0, 0, 0, dimension, count, state, mismatch, whole, concentration, missed)


def _drawn(search: Search, count: int, generator: torch.Generator) -> tuple[list[Tensor], list[float]]:
    """Returns random directions of norm one, and the norms of the Gaussian vectors from which they were made.

    In these vectors of measurements every real number has variance one. For ``domain="image"`` they are projected onto
    the range of A: a Gaussian v would make those Av small on which A is small, whatever R makes of them.
    """
    y, sensing = search.y, search.sensing
    # In a complex number of torch.randn each part has variance 1/2.
    scale = math.sqrt(2) if y.is_complex() else 1.0
    directions, gaussian = [], []
    for _ in range(count):
        v = scale * sensing.restrict(torch.randn(y.shape, dtype=y.dtype, generator=generator).to(y.device))
        if search.domain == "image":
            least = sensing.minimum_norm(v)
            v = search.steepest(sensing.adjoint(v)) if least is None else least
        length = search.length(v)
        directions.append(v / length if length > 0 else v)
        gaussian.append(length)
    return directions, gaussian


def _belief(made: Sketch, w: Tensor, gradient: Tensor) -> tuple[str, float]:
    """Returns whether differences support a gradient, and the mismatch between them."""
    if not torch.isfinite(real_view(gradient)).all():
        return "is not finite", math.nan
    if not (gradient != 0).any():
        return "vanishes", 1.0
    mismatch = made.mismatch(w, gradient)
    return ("agrees" if mismatch <= AGREES else "disagrees"), mismatch


def _coordinates(search: Search) -> Tensor:
    """Returns the indices of the real numbers that can be perturbed, in the real view of v."""
    v = torch.ones(search.shape, dtype=search.y.dtype, device=search.y.device)
    v = v * (1 + 1j) if v.is_complex() else v
    v = v if search.domain == "image" else search.sensing.restrict(v)
    return (real_view(v).reshape(-1) != 0).nonzero().flatten()


def _pulled(search: Search, w: Tensor) -> Tensor:
    """Returns the gradient of <w, R(y + e)> at e = 0, with w in the real view of the image or the window."""
    with torch.enable_grad():
        at = torch.zeros(search.shape, dtype=search.y.dtype, device=search.y.device).requires_grad_()
        image = search.reconstruct(search.y + search.added(at))
        search.done += 1
        need_gradient(image)
        counted = real_view(image if search.window is None else image[search.window]).reshape(-1)
        (gradient,) = torch.autograd.grad((counted * w.to(counted)).sum(), at, allow_unused=True)
    return torch.zeros_like(at).detach() if gradient is None else gradient


def _by_jacobian(search: Search, places: Tensor, size: float, at: Tensor | None) -> list[Tensor]:
    """Returns the direction of the Jacobian's largest singular value; for a window, the direction of its largest row.

    The Jacobian consists of differences along every coordinate; if they are not finite, the list is empty.

    Args:
        search: The attack.
        places: The indices of the coordinates.
        size: The size of the differences.
        at: The perturbation around which they are taken; None is y itself.
    """
    like = torch.zeros(search.shape, dtype=search.y.dtype, device=search.y.device)

    def laid(numbers: Tensor) -> Tensor:
        flat = torch.zeros_like(real_view(like)).reshape(-1)
        flat[places] = numbers.to(flat)
        v = flat.reshape(real_view(like).shape)
        return torch.view_as_complex(v) if like.is_complex() else v

    point = like if at is None else at
    here = search.change(point)
    rows = []
    for k in range(len(places)):
        e = laid(torch.arange(len(places), device=like.device) == k)
        length = search.length(e)
        scale = size / length if length > 0 else 0.0
        difference = real_view(search.change(point + scale * e) - here).reshape(-1)
        rows.append(difference / scale if scale else difference)
    whole = torch.stack(rows)
    if not torch.isfinite(whole).all():
        return []
    if search.window is not None:
        w = largest_entry(whole, 2 if here.is_complex() else 1)
        return [search.steepest(laid(whole @ w))]
    numbers = whole @ (torch.linalg.vector_norm(whole, dim=1) @ whole)
    for _ in range(100):  # power iteration; any vector of a cluster of largest singular values will do
        v = search.steepest(laid(numbers / max(torch.linalg.vector_norm(numbers).item(), 1e-300)))
        numbers = whole @ (real_view(v).reshape(-1)[places].to(whole) @ whole)
    return [search.steepest(laid(numbers))]
