"""The search for the worst perturbation of one image: what is varied, the ascents, and where they begin."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from firenet.audit.differences import Effort
from firenet.errors import BadInput
from firenet.numerics import real_view
from firenet.operators.linear import LinearOperator

Reconstruct = Callable[[Tensor], Tensor]
Ascent = Literal["gradient", "momentum", "adam", "spsa"]
Domain = Literal["measurement", "image"]
Window = tuple[slice, ...]
KEPT = 4  # perturbations from differences and hints that are tried at every budget
DIRECTIONS, BLIND_DIRECTIONS = 12, 64  # of differences, with a gradient and without one


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
        by: Which ascent found it, or ``noise``, ``differences`` or ``hint``.
        evaluations: How often R was evaluated for this budget.
        effort: How hard the whole attack looked; None where nothing was searched.
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
    effort: Effort | None = None


def need_gradient(value: Tensor) -> None:
    if not value.requires_grad:
        do = "Attack it with ascent='spsa', which needs no gradient"
        raise BadInput("A reconstruction with a gradient", "one that cuts it", do)


def _worse(tried: Sequence[tuple[Tensor, float, str]]) -> tuple[Tensor, float, str]:
    """Returns the entry with the largest value; NaN is worse than every number."""
    return max(tried, key=lambda entry: _order(entry[1]))


def _order(value: float) -> float:
    return math.inf if math.isnan(value) else value


class Search:
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
        self.reconstruct, self.sensing, self.y = reconstruct, sensing, y
        self.ascent, self.domain, self.window = ascent, domain, window
        self.norm = torch.linalg.vector_norm(y).item()
        self.progress, self.most, self.done = progress, 1, 0
        self.known: list[Tensor] = []  # perturbations that may be bad ones, with their sign once they are ranked
        with torch.no_grad():
            self.clean = reconstruct(y).detach().clone()
        if not torch.isfinite(real_view(self.clean)).all():
            raise BadInput("A finite reconstruction of the measurements", "NaN or infinity", "Try it without attack")

    def added(self, v: Tensor) -> Tensor:
        """E of v."""
        return self.sensing(v) if self.domain == "image" else self.sensing.restrict(v)

    def within(self, v: Tensor, radius: float, *, full: bool = False) -> Tensor:
        """V scaled so that e is in the ball; full: onto its sphere."""
        size = torch.linalg.vector_norm(self.added(v)).item()
        return v * (radius / size) if size > radius or (full and size > 0) else v

    def objective(self, image: Tensor) -> Tensor:
        """Returns what is made large: the norm of the change, or its largest modulus in the window."""
        change = image - self.clean
        if self.window is None:
            return torch.linalg.vector_norm(change)
        return change[self.window].abs().max()

    def value(self, v: Tensor) -> Tensor:
        self.done += 1
        if self.progress is not None:
            self.progress(min(self.done, self.most), self.most)
        return self.objective(self.reconstruct(self.y + self.added(v)))

    def slope(self, v: Tensor, radius: float, generator: torch.Generator) -> tuple[float, Tensor]:
        """The value at v and its gradient there, or an estimate of it."""
        if self.ascent == "spsa":
            shift = self.draw(generator)
            shift = shift * (0.1 * radius / torch.linalg.vector_norm(self.added(shift)).item())
            with torch.no_grad():
                change = self.value(v + shift) - self.value(v - shift)
                return self.value(v).item(), change.nan_to_num() * shift
        with torch.enable_grad():
            at = v.detach().clone().requires_grad_()
            value = self.value(at)
            need_gradient(value)
            (gradient,) = torch.autograd.grad(value, at)
        return value.item(), gradient

    @property
    def shape(self) -> tuple[int, ...]:
        """Of v."""
        return tuple(self.sensing.in_shape if self.domain == "image" else self.sensing.out_shape)

    def draw(self, generator: torch.Generator) -> Tensor:
        v = torch.randn(self.shape, dtype=self.y.dtype, generator=generator).to(self.y.device)
        return v if self.domain == "image" else self.sensing.restrict(v)

    def length(self, v: Tensor) -> float:
        """The norm of e."""
        return torch.linalg.vector_norm(self.added(v)).item()

    @torch.no_grad()
    def change(self, v: Tensor) -> Tensor:
        """Returns the change of the image, in the window if there is one."""
        self.done += 1
        if self.progress is not None:
            self.progress(min(self.done, self.most), self.most)
        change = (self.reconstruct(self.y + self.added(v)) - self.clean).detach()
        return change if self.window is None else change[self.window]

    @torch.no_grad()
    def rank(self, budget: float) -> None:
        """Keeps the worst ``KEPT`` of the known perturbations and of their negatives, at this budget."""
        points = [self.within(v, budget * self.norm, full=True) for v in self.known]
        tried = [(point, self.value(point).item(), "") for v in points for point in (v, -v)]
        tried.sort(key=lambda entry: _order(entry[1]), reverse=True)
        self.known = [point for point, _, _ in tried[:KEPT]]

    def worst(
        self, budget: float, steps: int, starts: int, generator: torch.Generator, warm: Tensor | None
    ) -> tuple[Perturbation, Tensor]:
        """Returns the best of all starts within one budget."""
        radius, before = budget * self.norm, self.done
        tried: list[tuple[Tensor, float, str]] = []
        if warm is not None:  # what a smaller budget allowed is allowed: a larger one is never weaker
            for v in (warm, self.within(warm, radius, full=True)):
                with torch.no_grad():
                    tried.append((v, self.value(v).item(), self.ascent))
        for v in self.known:
            full = self.within(v, radius, full=True)
            with torch.no_grad():
                tried.append((full, self.value(full).item(), "differences"))
            tried = [_worse(tried)]
        if tried:
            point, _, by = tried[0] = _worse(tried)
            with torch.no_grad():  # what shows within the ball need not show on its sphere
                tried += [(share * point, self.value(share * point).item(), by) for share in (0.25, 0.5, 0.75)]
            tried = [_worse(tried)]
        known = tried[0][0] if tried else None
        noise = 0.0
        for start in range(starts):
            v = self.within(self.draw(generator), radius, full=True)
            with torch.no_grad():
                value = self.value(v).item()
            noise = max(noise, value if math.isfinite(value) else 0.0)
            tried.append((v, value, "noise"))
            if start == 0 and known is not None:
                v = self.within(known, radius, full=True)
            tried = [_worse(tried)]  # of all points one is kept
            for point, value in self._climb(v, radius, steps, generator):
                tried = [_worse([*tried, (point, value, self.ascent)])]
        best, _, by = _worse(tried)
        best = self.within(best, radius)
        return self.judged(best, budget, noise, by, before), best

    @torch.no_grad()
    def judged(
        self, v: Tensor, budget: float, noise: float, by: str, before: int, *, free: bool = False
    ) -> Perturbation:
        """Measures again what a perturbation does within its budget; free: of whatever size it is."""
        e = self.added(v).detach()
        size, radius = torch.linalg.vector_norm(e).item(), budget * self.norm
        if size > radius and not free:  # by rounding
            e = e * (radius / size * (1 - 1e-6))
        image = self.reconstruct(self.y + e).detach()
        self.done += 1
        error, size = self.objective(image).item(), torch.linalg.vector_norm(e).item()
        amplification = error / size if size else 0.0
        relative = size / self.norm if self.norm else 0.0
        return Perturbation(e, budget, relative, image, error, noise, amplification, by, self.done - before)

    def _aligned(self, steps: int) -> int:
        """Returns how many of the last steps go straight to where the slope points."""
        return steps // 4 if self.ascent in ("gradient", "momentum") else 0

    def steepest(self, slope: Tensor) -> Tensor:
        """The direction in which the slope's linear model is largest on the ball of e: the slope itself, for changes v
        of the image :math:`(A^*A)^\\dagger` of it, by conjugate gradients, one step where AA* = I."""
        if self.domain == "measurement":
            return slope
        found, residual = torch.zeros_like(slope), slope.clone()
        direction, energy = residual, real_view(residual).square().sum()
        first = energy
        for _ in range(30):
            if not energy > 1e-20 * first:
                break
            image = self.added(direction)
            curvature = real_view(image).square().sum()
            if not curvature > 0:
                break
            found = found + direction * (energy / curvature)
            residual = residual - self.sensing.adjoint(image) * (energy / curvature)
            before, energy = energy, real_view(residual).square().sum()
            direction = residual + direction * (energy / before)
        return found

    def _climb(
        self, v: Tensor, radius: float, steps: int, generator: torch.Generator
    ) -> Iterator[tuple[Tensor, float]]:
        """The points of one ascent with their values."""
        velocity, first, second = torch.zeros_like(v), torch.zeros_like(v), torch.zeros_like(real_view(v))
        for k in range(steps):
            value, slope = self.slope(v, radius, generator)
            if k > 0:  # the start was judged before
                yield v, value
            size = torch.linalg.vector_norm(slope).item()
            if not 0 < size < math.inf:
                return
            if self.ascent == "momentum":
                step = velocity = 0.9 * velocity + 0.1 * slope / size
            elif self.ascent == "adam":
                # Along the sphere: where the slope points straight out, its sign would still move v away.
                out = self.sensing.adjoint(self.added(v)) if self.domain == "image" else self.added(v)
                slope = slope - out * (real_view(out) * real_view(slope)).sum() / real_view(out).square().sum()
                first = 0.9 * first + 0.1 * slope
                second = 0.999 * second + 0.001 * real_view(slope).square()
                scale = (second / (1 - 0.999 ** (k + 1))).sqrt().add(1e-8 * size)
                step = real_view(first).div(1 - 0.9 ** (k + 1)) / scale / math.sqrt(second.numel())
                step = torch.view_as_complex(step) if v.is_complex() else step
            else:
                step = slope / size
            unit = torch.linalg.vector_norm(v).item() / radius if self.domain == "image" else 1.0
            if k >= steps - self._aligned(steps):
                # The point of the ball where the slope's linear model is largest: for linear R a power iteration.
                v = self.within(self.steepest(slope.detach()), radius, full=True).detach()
                continue
            # Whatever the unit of y is: the ball is crossed several times.
            length = 20 * radius / steps * (1 - k / steps)
            v = self.within(v + step * (length * unit), radius, full=True).detach()
        with torch.no_grad():
            yield v, self.value(v).item()
