"""What differences say before an attack begins: where to look, and whether the gradient can be believed."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from firenet.audit.ascent import Search, need_gradient
from firenet.audit.differences import AGREES, HIDDEN, Effort, Sketch, largest_entry, sketch
from firenet.numerics import real_view

DIRECTIONS, BLIND_DIRECTIONS = 12, 64  # of differences, with a gradient and without one
LARGEST = 0.5  # size of a random perturbation, in parts of the measurements' norm
MOST_BYTES = 1 << 30  # of a Jacobian


def survey(search: Search, reference: float, calls: int, generator: torch.Generator) -> Effort:
    """Takes differences at the reference budget and above, and leaves where they point to in ``search.known``.

    A perturbation of the budget's size along one direction d reaches whatever depends on that component; random ones
    have a component of its size along d only if they are larger by the square root of the dimension. So that is the
    largest size, and the geometric mean of both lies between. There differences are taken around other random points:
    around y an even function has none. The directions are always the same ones, so that of a linear map all the
    differences are.

    Args:
        search: The attack that is to begin.
        reference: The budget, relative to the norm of y.
        calls: What the whole Jacobian may cost. It is taken by differences where the gradient is not believed, and at
            sizes at which the image moves mostly in one way.
        generator: Of the directions.

    Returns:
        What they say of the gradient; starts and steps are still to be filled in.
    """
    places = _coordinates(search)
    dimension, blind = len(places), search.ascent == "spsa"
    count = BLIND_DIRECTIONS if blind else DIRECTIONS
    state, mismatch, missed, first, concentration = "none" if blind else "agrees", math.nan, math.inf, 1.0, 1.0
    known: list[Tensor] = []
    directions, gaussian = _drawn(search, count, generator)
    around, _ = _drawn(search, count, generator)
    deep: list[tuple[float, Tensor | None]] = []  # sizes of a Jacobian, and where it is taken
    for size in sorted({reference * max(1.0, min(dimension**p, LARGEST / reference)) for p in (0.0, 0.25, 0.5)}):
        made = sketch(search.change, directions, gaussian, size * search.norm, None if size == reference else around)
        if not made.finite:  # nothing can be computed from infinite changes, but a direction that makes one is found
            known += list(made.directions[~torch.isfinite(made.changes).all(1)])
            continue
        w, ratio = made.leading()
        if search.window is not None:
            w = largest_entry(made.changes, 2 if search.clean.is_complex() else 1)
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
    entries = search.change(torch.zeros_like(search.draw(generator))).numel() * (2 if search.clean.is_complex() else 1)
    fits = dimension <= calls and 8 * dimension * entries <= MOST_BYTES
    for size, at in deep if fits else []:
        known += _by_jacobian(search, places, size * search.norm, at)
    search.known += [v for v in known if 0 < search.length(v) < math.inf]
    return Effort(0, 0, 0, dimension, count, state, mismatch, fits and bool(deep), concentration, missed)


def _drawn(search: Search, count: int, generator: torch.Generator) -> tuple[list[Tensor], list[float]]:
    """Random directions of norm one, and the norms of the Gaussian ones that they were made of."""
    drawn = [search.draw(generator) for _ in range(count)]
    lengths = [search.length(v) for v in drawn]
    return [v / length if length > 0 else v for v, length in zip(drawn, lengths, strict=True)], lengths


def _belief(made: Sketch, w: Tensor, gradient: Tensor) -> tuple[str, float]:
    """What differences say of a gradient, and how far it is off."""
    if not torch.isfinite(real_view(gradient)).all():
        return "is not finite", math.nan
    if not (gradient != 0).any():
        return "vanishes", 1.0
    mismatch = made.mismatch(w, gradient)
    return ("agrees" if mismatch <= AGREES else "disagrees"), mismatch


def _coordinates(search: Search) -> Tensor:
    """The places of the real numbers that can be perturbed, in the real view of v."""
    v = torch.ones(search.shape, dtype=search.y.dtype, device=search.y.device)
    v = v * (1 + 1j) if v.is_complex() else v
    v = v if search.domain == "image" else search.sensing.restrict(v)
    return (real_view(v).reshape(-1) != 0).nonzero().flatten()


def _pulled(search: Search, w: Tensor) -> Tensor:
    """The gradient of <w, R(y + e)> at e = 0; w is in the real view of what counts."""
    with torch.enable_grad():
        at = torch.zeros(search.shape, dtype=search.y.dtype, device=search.y.device).requires_grad_()
        image = search.reconstruct(search.y + search.added(at))
        search.done += 1
        need_gradient(image)
        counted = real_view(image if search.window is None else image[search.window]).reshape(-1)
        (gradient,) = torch.autograd.grad((counted * w.to(counted)).sum(), at, allow_unused=True)
    return torch.zeros_like(at).detach() if gradient is None else gradient


def _by_jacobian(search: Search, places: Tensor, size: float, at: Tensor | None) -> list[Tensor]:
    """The direction of the largest singular value (of the largest row, for a window) of the whole Jacobian, from
    differences along every coordinate; none where they are not finite.

    Args:
        search: The attack.
        places: Of the coordinates.
        size: Of the differences.
        at: Where they are taken, as a perturbation; None is at y.
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
    for _ in range(100):  # power iteration; which vector of a cluster of singular values it finds does not matter
        v = search.steepest(laid(numbers / max(torch.linalg.vector_norm(numbers).item(), 1e-300)))
        numbers = whole @ (real_view(v).reshape(-1)[places].to(whole) @ whole)
    return [search.steepest(laid(numbers))]
