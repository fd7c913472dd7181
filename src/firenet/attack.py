"""How wrong a reconstruction can get: searches for the worst small perturbation of its measurements.

A reconstruction is any callable R from measurements to an image; a network, a solver, a compiled file. Sought is

.. math:: \\max_{\\|e\\|_2\\le\\epsilon\\|y\\|_2}\\|P\\,(R(y+e)-R(y))\\|,

P all of the image, or a window of it (then the largest modulus counts). What is found is a *lower* bound of how bad it
can get: a measurement, with the perturbation as its witness. The budget is imposed again and the error measured again
on what comes back, whatever an ascent did to it, and random noise of the same size is always tried first, so that an
attack is never weaker than noise.

Nothing here knows a network. Where R has no gradient, the ascent estimates it from differences (SPSA, Spall 1992).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from firenet.errors import BadInput
from firenet.operators import LinearOperator

Reconstruct = Callable[[Tensor], Tensor]
Ascent = Literal["gradient", "momentum", "adam", "spsa"]
Domain = Literal["measurement", "image"]
Window = tuple[slice, ...]


@dataclass(frozen=True, eq=False)
class Perturbation:
    """The worst perturbation that was found within a budget.

    Attributes:
        e: In the measurements' shape; for the image domain :math:`Av`.
        budget: :math:`\\epsilon`, in parts of :math:`\\|y\\|`.
        size: :math:`\\|e\\|/\\|y\\|`, measured again: at most the budget.
        image: :math:`R(y+e)`.
        error: :math:`\\|R(y+e)-R(y)\\|`, or the largest modulus in the window.
        noise: The largest error of the random perturbations of the same size: the control.
        amplification: The error over :math:`\\|e\\|`.
        by: Which ascent found it, or ``noise``.
        evaluations: How often R was evaluated for this budget.
    """

    e: Tensor
    budget: float
    size: float
    image: Tensor
    error: float
    noise: float
    amplification: float
    by: str
    evaluations: int


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
    progress: Callable[[int, int], None] | None = None,
) -> list[Perturbation]:
    """Searches for the worst perturbation within each budget, small budgets first; the next starts from their best.

    Args:
        reconstruct: R: measurements (\\*sensing.out_shape) to an image.
        sensing: A. What it does not measure is not perturbed.
        y: Measurements.
        budgets: :math:`\\epsilon`, in parts of :math:`\\|y\\|_2`.
        ascent: ``gradient``: steps of a fixed length along the gradient, projected onto the ball. ``momentum``: the
            ascent of Antun et al. (PNAS 2020), velocity 0.9. ``adam``: projected Adam (Genzel, Macdonald, Maerz 2020).
            ``spsa``: without gradients, two evaluations a step.
        domain: ``measurement``: e is free. ``image``: :math:`e=Av`, what a change of the object can do.
        window: Slices of the image's axes: the largest modulus there is sought instead of the norm.
        steps: Of the ascent, for each start.
        starts: From so many random points, never from zero, where moduli have no gradient.
        seed: Of all that is random.
        progress: Called with evaluations done and the most there can be.

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
    if steps < 1 or starts < 1:
        raise BadInput("At least one step and one start", f"steps={steps}, starts={starts}", "20 and 3 are usual")
    search = _Search(reconstruct, sensing, y, ascent, domain, window, progress)
    search.most = len(wanted) * (starts * (1 + steps * (2 if ascent == "spsa" else 1)) + starts + 1)
    found: dict[float, Perturbation] = {}
    warm: Tensor | None = None
    for budget in sorted(set(wanted)):
        generator = torch.Generator().manual_seed(seed)
        found[budget], warm = search.worst(budget, steps, starts, generator, warm)
    return [found[b] for b in wanted]


class _Search:
    """The state of an attack on one image: v is what is varied, e what is added to y."""

    def __init__(
        self,
        reconstruct: Reconstruct,
        sensing: LinearOperator,
        y: Tensor,
        ascent: Ascent,
        domain: Domain,
        window: Window | None,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self.reconstruct, self.sensing, self.ascent, self.domain, self.window = (
            reconstruct,
            sensing,
            ascent,
            domain,
            window,
        )
        self.y, self.norm = y, torch.linalg.vector_norm(y).item()
        self.progress, self.most, self.done = progress, 1, 0
        with torch.no_grad():
            self.clean = reconstruct(y).detach()
        if not torch.isfinite(torch.view_as_real(self.clean) if self.clean.is_complex() else self.clean).all():
            raise BadInput("A finite reconstruction of the measurements", "NaN or infinity", "Try it without attack")

    def added(self, v: Tensor) -> Tensor:
        """e of v."""
        return self.sensing(v) if self.domain == "image" else self.sensing.restrict(v)

    def within(self, v: Tensor, radius: float, *, full: bool = False) -> Tensor:
        """v scaled so that e is in the ball; full: onto its sphere."""
        size = torch.linalg.vector_norm(self.added(v)).item()
        return v * (radius / size) if size > radius or (full and size > 0) else v

    def objective(self, image: Tensor) -> Tensor:
        """What is made large."""
        change = image - self.clean
        if self.window is None:
            return torch.linalg.vector_norm(change)
        return change[self.window].abs().max()

    def value(self, v: Tensor) -> Tensor:
        self.done += 1
        if self.progress is not None:
            self.progress(min(self.done, self.most), self.most)
        return self.objective(self.reconstruct(self.y + self.added(v)))

    def slope(self, v: Tensor, radius: float, generator: torch.Generator) -> Tensor:
        """The gradient at v, or an estimate of it."""
        if self.ascent == "spsa":
            shift = self.draw(generator)
            shift = shift * (0.1 * radius / torch.linalg.vector_norm(self.added(shift)).item())
            with torch.no_grad():
                change = self.value(v + shift) - self.value(v - shift)
            return change.nan_to_num() * shift
        with torch.enable_grad():
            at = v.detach().clone().requires_grad_()
            value = self.value(at)
            if not value.requires_grad:
                do = "Attack it with ascent='spsa', which needs no gradient"
                raise BadInput("A reconstruction with a gradient", "one that cuts it", do)
            (gradient,) = torch.autograd.grad(value, at)
        return torch.nan_to_num(gradient) if not gradient.is_complex() else gradient

    def draw(self, generator: torch.Generator) -> Tensor:
        shape = self.sensing.in_shape if self.domain == "image" else self.sensing.out_shape
        return torch.randn(shape, dtype=self.y.dtype, generator=generator).to(self.y.device)

    def worst(
        self, budget: float, steps: int, starts: int, generator: torch.Generator, warm: Tensor | None
    ) -> tuple[Perturbation, Tensor]:
        """The best of all starts within one budget."""
        radius, before = budget * self.norm, self.done
        best, best_value, by, noise = self.draw(generator), -math.inf, "noise", 0.0
        for start in range(starts):
            v = self.within(self.draw(generator), radius, full=True)
            with torch.no_grad():
                value = self.value(v).item()
            noise = max(noise, value if math.isfinite(value) else 0.0)
            if not value <= best_value:
                best, best_value, by = v, value, "noise"
            if start == 0 and warm is not None:
                v = self.within(warm, radius, full=True)
            for point, value in self._climb(v, radius, steps, generator):
                if not value <= best_value:  # also where it is not a number
                    best, best_value, by = point, value, self.ascent
        best = self.within(best, radius)
        with torch.no_grad():
            e = self.added(best).detach()
            size = torch.linalg.vector_norm(e).item()
            if size > radius:  # by rounding
                e = e * (radius / size * (1 - 1e-6))
            image = self.reconstruct(self.y + e).detach()
            self.done += 1
            error = self.objective(image).item()
            size = torch.linalg.vector_norm(e).item()
        amplification = error / size if size else 0.0
        relative = size / self.norm if self.norm else 0.0
        found = Perturbation(e, budget, relative, image, error, noise, amplification, by, self.done - before)
        return found, best

    def _climb(self, v: Tensor, radius: float, steps: int, generator: torch.Generator) -> list[tuple[Tensor, float]]:
        """The points of one ascent with their values."""
        velocity, first, second, points = torch.zeros_like(v), torch.zeros_like(v), 0.0, []
        # An ascent crosses the ball in a few steps, whatever the unit of y is.
        length = 2.5 * radius / steps
        for k in range(steps):
            slope = self.slope(v, radius, generator)
            size = torch.linalg.vector_norm(slope).item()
            if not size > 0:
                break
            if self.ascent == "momentum":
                velocity = 0.9 * velocity + 0.1 * slope / size
                step = velocity
            elif self.ascent == "adam":
                # of the whole vector: the budget is one of its norm
                first = 0.9 * first + 0.1 * slope
                second = 0.999 * second + 0.001 * size**2
                step = first / (1 - 0.9 ** (k + 1)) / math.sqrt(second / (1 - 0.999 ** (k + 1)))
            else:
                step = slope / size
            moved = v + step * (4 * length * v.norm().item() / radius if self.domain == "image" else 4 * length)
            v = self.within(moved, radius, full=True).detach()
            with torch.no_grad():
                value = self.objective(self.reconstruct(self.y + self.added(v))).item()
            points.append((v, value))
        return points
