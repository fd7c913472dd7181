"""FIRENETs as models of an audit, with what is proven about them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor

from firenet.audit.model import Model, of
from firenet.certificate import certify
from firenet.errors import BadInput
from firenet.guarantees.distance import stability
from firenet.guarantees.guarantee import Guarantee
from firenet.network import Firenet
from firenet.numerics import norms
from firenet.operators.linear import LinearOperator
from firenet.problems.fidelity import Norm
from firenet.reconstruction.defaults import default_network, default_schedule
from firenet.solver.schedules import PaperSchedule, Schedule
from firenet.solver.solution import Solution
from firenet.stabilised import Stabilised

RESTARTS, LAYERS = 6, 10
# One level, four bands: an attack through sixty layers takes one minute instead of five. The default of `firenet
# recon`, 14 bands, is some 0.3 to 1 dB more accurate.
FRAME = "undecimated:db2:1"


def firenet_model(
    sparsify: str | None = FRAME, restarts: int = RESTARTS, layers: int = LAYERS, name: str = "FIRENET"
) -> Model:
    """Returns the FIRENET for comparisons, which has a transform of few bands and the paper's schedule.

    The schedule is fixed, so that one feed-forward network is attacked; its step sizes scale with the norm of
    the measurements.

    Args:
        sparsify: The transform; None is that of ``firenet recon``.
        restarts: The number of restarts.
        layers: The number of layers of each restart.
        name: The name in tables.
    """
    origin = {"kind": "FIRENET", "sparsify": sparsify, "restarts": restarts, "layers": layers}
    return _firenet(name, sparsify, PaperSchedule(outer=restarts, inner=layers), origin)


def adaptive_model(
    sparsify: str | None = FRAME, layers: int = RESTARTS * LAYERS, name: str = "FIRENET adaptive"
) -> Model:
    """Returns a FIRENET with the schedule of ``firenet recon``, which finds its step sizes for every image.

    Args:
        sparsify: As for :func:`firenet_model`.
        layers: The largest number of layers.
        name: The name in tables.
    """
    origin = {"kind": "FIRENET, adaptive", "sparsify": sparsify, "layers": layers}
    return _firenet(name, sparsify, default_schedule(None, layers), origin)


def _firenet(name: str, sparsify: str | None, schedule: Schedule, origin: dict[str, Any]) -> Model:
    def build(sensing: LinearOperator) -> Firenet:
        return default_network(sensing, sparsify=sparsify, schedule=schedule)

    return Model(name, build, origin, certify=certified)


def stabilised_model(
    inner: Model,
    sparsify: str | None = FRAME,
    restarts: int = RESTARTS,
    layers: int = LAYERS,
    name: str | None = None,
    *,
    floor: float | None = None,
) -> Model:
    """Returns :class:`Stabilised`: a :func:`firenet_model` that is initialised with the image of another model.

    Args:
        inner: The other model.
        sparsify: As for :func:`firenet_model`.
        restarts: As for :func:`firenet_model`.
        layers: As for :func:`firenet_model`.
        name: The name in tables; None derives it from that of ``inner``.
        floor: As for :class:`Stabilised`: the image of ``inner`` also gives the weights of the penalty.
    """
    outer = firenet_model(sparsify, restarts, layers)

    def build(sensing: LinearOperator) -> Stabilised:
        return Stabilised(inner.build(sensing), cast("Firenet", outer.build(sensing)), floor=floor)

    origin = {"kind": "Stabilised", "FIRENET": outer.origin, "floor": floor, "inner": inner.origin}
    return Model(name or f"Stabilised {inner.name}", build, origin, inner.fits, certified)


def guaranteed_model(net: Firenet, guarantee: Guarantee, name: str = "FIRENET") -> Model:
    """Returns a network as a model whose certificate also bounds how far a perturbation moves the coefficients.

    Args:
        net: A network of (P3) in synthesis form.
        guarantee: The guarantee of its operator and weights.
        name: The name in tables.

    Raises:
        BadInput: For a network of another problem or form, for a guarantee of another operator or of other weights, and
            for a lambda for which the guarantee proves nothing.
    """
    why = _without_statement(net, guarantee)
    if why:
        do = "Audit it without a guarantee: firenet.audit.model.of(name, net)"
        raise BadInput("A network of (P3) in synthesis form", f"another network: {why}", do)
    guarantee.check(net.operator, net.weights)
    guarantee.constants.at(net.lam)
    return of(name, net, certify=partial(certified, guarantee=guarantee))


def certified(
    reconstruct: Any, y: Tensor, perturbations: Mapping[str, Tensor], guarantee: Guarantee | None = None
) -> dict[str, Any] | None:
    """Checks what is proven about a FIRENET R under perturbation.

    Let :math:`F_y` be the objective for measurements y. For every e

    .. math:: F_y(R(y+e))-\\min F_y\\le\\mathrm{gap}(y+e)+2\\|e\\|_2,

    since data that differ by e change the objective (P3) of any point by at most :math:`\\|e\\|_2`. The left side is at
    least :math:`F_y(R(y+e))-F_y(R(y))`, which is computed; ``beaten`` says whether this exceeds the right side by more
    than the bounds of the rounding errors.

    With a guarantee it also computes the distance from the coefficients of R(y) to those of R(y + e), and its bound
    from :func:`firenet.guarantees.distance.stability` for the norm of this e and the gap of R(y + e).

    Args:
        reconstruct: A :class:`Firenet` of (P3), or :class:`Stabilised` with one and without a floor, which would make
            the objective depend on the measurements; for others None is returned.
        y: Measurements.
        perturbations: Perturbations e of the measurements, by name.
        guarantee: The guarantee of the network's operator, or None.
    """
    fixed = isinstance(reconstruct, Stabilised) and reconstruct.floor is None
    net = reconstruct.firenet if fixed else reconstruct
    if not isinstance(net, Firenet) or not isinstance(net.fidelity, Norm):
        return None

    def solved(data: Tensor) -> Solution:
        return net.solve(data, x0=reconstruct.network(data) if isinstance(reconstruct, Stabilised) else None)

    before, entries = solved(y), {}
    for name, e in perturbations.items():
        data = y + e
        after = solved(data)
        again = certify(net.problem, after.coefficients, y, budget=0)
        rise = again.objective.item() - before.objective.item()
        bound = after.gap.item() + 2 * norms(data.to(torch.complex128) - y, e.ndim).item()
        slack = (before.rounding + after.rounding + again.rounding).item()
        entries[name] = {"rise": rise, "bound": bound, "beaten": not rise <= bound + slack}
        if guarantee is not None:
            entries[name] |= _distance(guarantee, net, y, before, data, after)
    why = _without_statement(net, guarantee)
    return {
        "objective": before.objective.item(),
        "relative gap": before.relative_gap.item(),
        "layers": int(before.layers),
        "perturbations": entries,
        "beaten": any(entry["beaten"] or entry.get("too far", False) for entry in entries.values()),
        "no distance": why or None,
    }


def _without_statement(net: Firenet, guarantee: Guarantee | None) -> str:
    """Returns why no bound of the distance can be stated; an empty text if one can."""
    if net.form == "analysis":
        return "nothing is proven here for the analysis form"
    if not isinstance(net.fidelity, Norm):
        return "nothing is proven here for other fidelities than the norm"
    return "" if guarantee is not None else "no null space property of its operator is known"


def _distance(
    guarantee: Guarantee, net: Firenet, y: Tensor, before: Solution, data: Tensor, after: Solution
) -> dict[str, Any]:
    """Returns how far the coefficients moved, and the bound of this distance."""
    budget = norms(data.to(torch.complex128) - y, y.ndim).item()
    gap = (after.gap + after.rounding).item()
    said = stability(guarantee, before.coefficients, y, lam=net.lam, budget=budget, gap=gap, dual=before.dual)
    moved = norms(after.coefficients.to(torch.complex128) - before.coefficients, before.coefficients.ndim).item()
    bounds = {"from_reconstruction": said.from_reconstruction, "from_support": said.from_support}
    which = next(name for name, bound in bounds.items() if bound == said.smallest)
    return {
        "moved": moved,
        "distance": said.smallest.value,
        "distance by": which,
        "size": budget,
        "too far": not moved <= said.smallest.value,
    }
