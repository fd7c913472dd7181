"""The campaign against the bounds of distances: attacks by the strongest search on operators of a known property.

Each problem has an operator whose null space property is known with proof, a signal, noise, lambda and a budget. Its
attacks begin at random, along the residual, and along the columns of the support that A hardly distinguishes; each goes
up the gradient of the distance through a feed-forward network. Every one is compared with the bounds for the gaps that
this network keeps; the worst is also solved to a small gap and compared with the bounds for that gap, whose ratios are
printed.

``python tests/distances.py --problems 63`` prints how far the bounds are above what was found.
"""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from firenet import AdaptiveRestarts, Firenet
from firenet.guarantees.distance import Stability, stability
from firenet.solver.schedules import Searched
from firenet.sparsity import defect
from known_matrices import Known, of_image, signal, with_kernel, without_kernel

KINDS = {
    "kernel, complex": lambda random: with_kernel(random, (4, 16)),
    "kernel, real": lambda random: with_kernel(random, (4, 16), real=True),
    "unitary, complex": lambda random: without_kernel(random, (4, 8)),
    "orthogonal, real": lambda random: without_kernel(random, (2, 4, 6), real=True),
    "image, all samples": lambda random: of_image(missing=False),
    "image, one sample missing": lambda random: of_image(missing=True),
}


@dataclass
class Attacked:
    """A problem after its attacks: distances over the budget, and every false claim."""

    kind: str
    attacks: int
    found: float
    bounds: dict[str, float]
    false: list[str]

    @property
    def smallest(self) -> float:
        return min(self.bounds.values())


def start_points(known: Known, solution: Any, residual: Tensor, count: int, random: np.random.Generator) -> Tensor:
    """Directions to begin at: those that A hardly distinguishes on the support, the residual, and random ones."""
    shape, real = residual.shape, not residual.is_complex()
    drawn = random.standard_normal((count, residual.numel(), 1 if real else 2))
    starts = torch.from_numpy(drawn[..., 0] if real else drawn[..., 0] + 1j * drawn[..., 1])
    z = solution.coefficients.flatten().numpy()
    support = np.abs(z) > 1e-6 * max(np.abs(z).max(), 1e-300)
    if support.any():
        left = np.linalg.svd(known.matrix[:, support], full_matrices=False)[0]
        for k, direction in enumerate((left[:, -1], -left[:, -1], left[:, 0])):
            starts[k] = torch.from_numpy(np.ascontiguousarray(direction)).to(starts.dtype)
    if residual.abs().max() > 0:
        starts[3], starts[4] = residual.flatten(), -residual.flatten()
    return starts.view(count, *shape)


def attacks(
    frozen: Firenet, known: Known, y: Tensor, solution: Any, budget: float, count: int, steps: int, seed: int
) -> Tensor:
    """The worst perturbation of every ascent, shape (count, *shape of y), each of norm ``budget``."""
    random, net = np.random.default_rng(seed), frozen
    axes = tuple(range(1, y.ndim + 1))

    def sized(e: Tensor) -> Tensor:
        e = net.sensing.restrict(e)
        size = torch.linalg.vector_norm(e, dim=axes, keepdim=True)
        return e * (budget * (1 - 1e-12) / torch.where(size > 0, size, 1.0))

    residual = known.guarantee.operator(solution.coefficients) - y
    e = sized(start_points(known, solution, residual, count, random).to(y.dtype))
    best, most = e, torch.full((count,), -1.0, dtype=torch.float64)
    for step in range(steps + 1):
        with torch.enable_grad():
            at = e.clone().requires_grad_()
            change = torch.linalg.vector_norm(frozen(y + at) - solution.image, dim=axes[: solution.image.ndim])
            (slope,) = torch.autograd.grad(change.sum(), at)
        better = change.detach() > most
        most = torch.where(better, change.detach(), most)
        best = torch.where(better.view(-1, *(1,) * y.ndim), e, best)
        slope = slope.nan_to_num()
        # First half: a step along the sphere. Second half: the maximum of the linear model on the ball.
        e = sized(slope) if step >= steps // 2 else sized(e + 0.5 * sized(slope))
    return best


def attack(kind: str, seed: int, count: int = 16, steps: int = 6) -> Attacked:
    """Poses a problem, attacks it ``count`` times, and compares every attack with every bound."""
    random = np.random.default_rng([seed, list(KINDS).index(kind)])
    known: Known = KINDS[kind](random)
    guarantee = known.guarantee
    constants, operator = guarantee.constants, guarantee.operator
    limit = 1 / (constants.null_space[1] * math.sqrt(constants.xi))
    lam = [constants.lam, 0.3 * constants.lam, math.sqrt(constants.lam * limit)][seed % 3]
    x = torch.from_numpy(signal(random, known, float(random.choice([0.0, 1e-4])))).view(operator.in_shape)
    clean = operator(x)
    e = torch.from_numpy(random.standard_normal((2, *clean.shape)))
    e = torch.complex(e[0], e[1]) if clean.is_complex() else e[0]
    noise = float(random.choice([0.0, 1e-3, 1e-2, 1e-1])) * torch.linalg.vector_norm(clean).item()
    e = operator.restrict(e)
    y = clean + e * (noise / torch.linalg.vector_norm(e).item())
    budget = float(random.choice([1e-3, 1e-2, 1e-1])) * torch.linalg.vector_norm(y).item()
    weights = torch.from_numpy(guarantee.weights)
    sensing: Any = guarantee.sensing
    rough, exact = AdaptiveRestarts(1e-3, 100), AdaptiveRestarts(1e-7, 600)
    net = Firenet(sensing, guarantee.sparsify, weights=weights, lam=lam, form="synthesis", schedule=exact)
    feed_forward = net.following(cast(Searched, net.following(rough).solve(y).schedule).frozen(0))
    known_of_class = {"sparsity_defect": defect_of(known, x), "noise": noise * (1 + 1e-12)}
    false: list[str] = []

    def compared(before: Any, after: Any) -> tuple[float, dict[str, float]]:
        """The largest distance, and the bounds for the largest gap; notes false claims."""
        gap = max((s.gap + s.rounding).max().item() for s in (before, after))
        z, given = before.coefficients, {"lam": lam, "budget": budget, "gap": gap, "dual": before.dual}
        bounds = named(stability(guarantee, z, y, **given, **known_of_class))
        axes = tuple(range(-x.ndim, 0))
        found = torch.linalg.vector_norm(after.coefficients - z, dim=axes).max().item()
        claims = [f"{kind}, seed {seed}: moved by {found!r}, {n} {b!r}" for n, b in bounds.items() if not found <= b]
        false.extend(claims)
        return found, bounds

    start = feed_forward.solve(y)
    worst = attacks(feed_forward, known, y, start, budget, count, steps, seed)
    after = feed_forward.solve(y + worst)
    compared(start, after)
    moved = torch.linalg.vector_norm((after.coefficients - start.coefficients).flatten(1), dim=1)
    found, bounds = compared(net.solve(y), net.solve(y + worst[int(moved.argmax())]))
    return Attacked(kind, count, found / budget, {n: b / budget for n, b in bounds.items()}, false)


def defect_of(known: Known, x: Tensor) -> float:
    constants = known.guarantee.constants
    return defect(x.numpy(), known.level, constants.levels, constants.level_weights) * (1 + 1e-12)


def named(said: Stability) -> dict[str, float]:
    bounds = {"a priori": said.a_priori, "reconstruction": said.from_reconstruction, "support": said.from_support}
    return {name: math.inf if bound is None else bound.value for name, bound in bounds.items()}


def campaign(problems: int, seed: int = 0, show: bool = False) -> list[Attacked]:
    """Attacks so many problems of every kind in turn."""
    results = []
    for k in range(problems):
        kind = list(KINDS)[k % len(KINDS)]
        results.append(attack(kind, seed + k // len(KINDS)))
        if show:
            one = results[-1]
            bounds = ", ".join(f"{name} {bound:.3g}" for name, bound in one.bounds.items())
            print(f"{kind}: found {one.found:.3g} |e|, {bounds}", *one.false, sep="\n", file=sys.stderr)
    return results


def table(results: list[Attacked]) -> str:
    """How far every bound is above what was found: median, 5 % and 95 %."""
    lines = [f"{'bound / found':28s} {'5 %':>9s} {'median':>9s} {'95 %':>9s}"]
    for kind in ("", *KINDS):
        chosen = [one for one in results if one.kind == kind or not kind]
        for name in ("a priori", "reconstruction", "support", "smallest"):
            ratios = [(one.smallest if name == "smallest" else one.bounds[name]) / one.found for one in chosen]
            if ratios and (not kind or name == "smallest"):
                low, middle, high = np.quantile(ratios, [0.05, 0.5, 0.95], method="nearest")
                lines.append(f"{(kind or 'all') + ', ' + name:28s} {low:9.3g} {middle:9.3g} {high:9.3g}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problems", type=int, default=63)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    results = campaign(given.problems, given.seed, show=True)
    false = [claim for one in results for claim in one.false]
    print(table(results))
    print(f"{sum(one.attacks for one in results)} attacks on {len(results)} problems: {len(false)} false claims")
    print(*false, sep="\n")
    sys.exit(bool(false))


if __name__ == "__main__":
    main()
