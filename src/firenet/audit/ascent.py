"""The search for the worst perturbation of one image: what is varied, where ascents begin, and how the search ends.

::

    survey.survey    differences at the reference budget and above  --> candidates (Search.known)
    Search.rank      the candidates and their negatives, at the reference budget --> the worst KEPT of them
    attack.attack    the caller's hints                             --> further candidates
    Search.worst     for each budget, small ones first, evaluates
                       1. the worst perturbation of the next smaller budget, as it is and enlarged to this budget
                       2. the candidates, scaled to this budget
                       3. 1/4, 1/2 and 3/4 of the worst of these: an effect inside the ball may vanish on its sphere
                       4. random perturbations: the control
                       5. the points of ascents (Search._climb): the first ascent begins at the worst of 1 to 3, the
                          others at the random perturbations
                     and keeps the worst of all these points, not the last point of an ascent
    Search.judged    imposes the budget on the result and measures its error again
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from firenet.audit.differences import Effort
from firenet.audit.model import Reconstruct
from firenet.errors import BadInput
from firenet.numerics import real_view
from firenet.operators.linear import LinearOperator

Ascent = Literal["gradient", "momentum", "adam", "spsa"]
Domain = Literal["measurement", "image"]
Window = tuple[slice, ...]
KEPT = 4  # candidates from differences that are tried at every budget


@dataclass(frozen=True, eq=False)
class Perturbation:
    """The worst perturbation of measurements y that was found within a budget, for a reconstruction R.

    Attributes:
        e: The perturbation, in the shape of the measurements; for ``domain="image"`` it is :math:`Av`, where v is the
            change of the object.
        budget: The budget :math:`\\epsilon`, relative to :math:`\\|y\\|`.
        size: :math:`\\|e\\|/\\|y\\|`, measured again: at most the budget.
        image: The image :math:`R(y+e)`.
        error: :math:`\\|R(y+e)-R(y)\\|`, or, for an attack on a window, the largest modulus of this change there.
        noise: The largest error of the random perturbations, which are the control and have the size of the budget; NaN
            if one is NaN.
        amplification: The error over :math:`\\|e\\|`.
        by: What found it, for this budget or a smaller one: the name of an ascent, ``noise``, ``differences`` (a
            candidate from differences), ``hint``, ``transfer`` or ``antun``.
        evaluations: The number of evaluations of R for this budget.
        effort: How thorough the whole attack was; None if nothing was searched or no differences were taken.
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
    """Raises :class:`BadInput` if a value that R computed has no gradient."""
    if not value.requires_grad:
        do = "Attack it with ascent='spsa', which needs no gradient"
        raise BadInput("A reconstruction with a gradient", "one without", do)


def check_search(ascent: str, domain: str, steps: int, starts: int) -> None:
    """Raises :class:`BadInput` for an unknown ascent or domain, or fewer than one step or start."""
    if ascent not in get_args(Ascent) or domain not in get_args(Domain):
        needed = f"One of the ascents {', '.join(get_args(Ascent))}, one of the domains {', '.join(get_args(Domain))}"
        raise BadInput(needed, f"{ascent!r}, {domain!r}", "Choose one of each")
    if steps < 1 or starts < 1:
        raise BadInput("At least one step and one start", f"{steps}, {starts}", "20 and 2 are usual")


def severity(value: float) -> float:
    """Returns a number by which errors are compared: NaN is worse than every number."""
    return math.inf if math.isnan(value) else value


def _worse(tried: Sequence[tuple[Tensor, float, str]]) -> tuple[Tensor, float, str]:
    return max(tried, key=lambda entry: severity(entry[1]))


@dataclass(eq=False)
class Search:
    """The state of an attack on one image.

    The variable v is the perturbation e itself in the measurement domain, and a change of the object with e = Av in the
    image domain.
    """

    reconstruct: Reconstruct
    sensing: LinearOperator
    y: Tensor
    ascent: Ascent
    domain: Domain
    window: Window | None
    progress: Callable[[int, int], None] | None

    def __post_init__(self) -> None:
        self.norm = torch.linalg.vector_norm(self.y).item()
        self.most, self.done = 1, 0
        self.known: list[tuple[Tensor, str]] = []  # candidates, with their sign once they are ranked, and their origin
        with torch.no_grad():
            self.clean = self.reconstruct(self.y).detach().clone()
        if not torch.isfinite(real_view(self.clean)).all():
            raise BadInput("A finite reconstruction of the measurements", "NaN or infinity", "Try it without attack")

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of v."""
        return tuple(self.sensing.in_shape if self.domain == "image" else self.sensing.out_shape)

    def draw(self, generator: torch.Generator) -> Tensor:
        """Returns a random Gaussian v."""
        v = torch.randn(self.shape, dtype=self.y.dtype, generator=generator).to(self.y.device)
        return v if self.domain == "image" else self.sensing.restrict(v)

    def added(self, v: Tensor) -> Tensor:
        """Returns the perturbation e of the measurements for the variable v."""
        return self.sensing(v) if self.domain == "image" else self.sensing.restrict(v)

    def length(self, v: Tensor) -> float:
        """Returns the norm of e for v."""
        return torch.linalg.vector_norm(self.added(v)).item()

    def within(self, v: Tensor, radius: float, *, full: bool = False) -> Tensor:
        """Returns v, scaled so that the norm of its e is at most the radius, or with ``full`` equal to the radius."""
        size = self.length(v)
        return v * (radius / size) if size > radius or (full and size > 0) else v

    def _image(self, v: Tensor) -> Tensor:
        self.done += 1
        if self.progress is not None:
            self.progress(min(self.done, self.most), self.most)
        return self.reconstruct(self.y + self.added(v))

    def objective(self, image: Tensor) -> Tensor:
        """Returns what is maximised: the norm of the change of the image, or its largest modulus in the window."""
        change = image - self.clean
        return torch.linalg.vector_norm(change) if self.window is None else change[self.window].abs().max()

    @torch.no_grad()
    def value(self, v: Tensor) -> float:
        """Returns the objective at v."""
        return self.objective(self._image(v)).item()

    @torch.no_grad()
    def change(self, v: Tensor) -> Tensor:
        """Returns the change of the image, in the window if there is one."""
        change = (self._image(v) - self.clean).detach()
        return change if self.window is None else change[self.window]

    def slope(self, v: Tensor, radius: float, generator: torch.Generator) -> tuple[float, Tensor]:
        """Returns the objective at v and its gradient there; ``spsa`` estimates the gradient, up to a factor."""
        if self.ascent == "spsa":
            # A central difference along one random direction, a tenth of the radius to each side.
            shift = self.draw(generator)
            shift = shift * (0.1 * radius / self.length(shift))
            with torch.no_grad():
                change = self.objective(self._image(v + shift)) - self.objective(self._image(v - shift))
            return self.value(v), change.nan_to_num() * shift
        with torch.enable_grad():
            at = v.detach().clone().requires_grad_()
            value = self.objective(self._image(at))
            need_gradient(value)
            (gradient,) = torch.autograd.grad(value, at)
        return value.item(), gradient

    def rank(self, budget: float) -> None:
        """Keeps the worst ``KEPT`` of the candidates and their negatives, at this budget."""
        points = [(self.within(v, budget * self.norm, full=True), by) for v, by in self.known]
        tried = [(point, self.value(point), by) for v, by in points for point in (v, -v)]
        tried.sort(key=lambda entry: severity(entry[1]), reverse=True)
        self.known = [(point, by) for point, _, by in tried[:KEPT]]

    def worst(
        self, budget: float, steps: int, starts: int, generator: torch.Generator, warm: tuple[Tensor, str] | None
    ) -> tuple[Perturbation, Tensor]:
        """Searches within one budget and returns the worst perturbation, and its v.

        Args:
            budget: The budget, relative to the norm of y.
            steps: The number of steps of an ascent.
            starts: The number of ascents.
            generator: Draws the random perturbations.
            warm: The v of the worst perturbation within a smaller budget, and what found it. It is also tried
                unchanged, so that a larger budget never gives a smaller error.
        """
        radius, before = budget * self.norm, self.done
        points = [] if warm is None else [warm]
        points += [(self.within(v, radius, full=True), by) for v, by in (*points, *self.known)]
        tried: list[tuple[Tensor, float, str]] = []  # all points that were tried; only the worst is kept
        for point, by in points:
            tried = [_worse([*tried, (point, self.value(point), by)])]
        if tried:
            ((point, _, by),) = tried
            inside = [(share * point, self.value(share * point), by) for share in (0.25, 0.5, 0.75)]
            tried = [_worse([*tried, *inside])]
        known = tried[0][0] if tried else None
        noise = 0.0
        for start in range(starts):
            v = self.within(self.draw(generator), radius, full=True)
            value = self.value(v)
            noise = max(noise, value, key=severity)
            tried = [_worse([*tried, (v, value, "noise")])]
            if start == 0 and known is not None:
                v = self.within(known, radius, full=True)
            for point, value in self._climb(v, radius, steps, generator):
                tried = [_worse([*tried, (point, value, self.ascent)])]
        ((best, _, by),) = tried
        best = self.within(best, radius)
        return self.judged(best, budget, noise, by, before), best

    @torch.no_grad()
    def judged(
        self, v: Tensor, budget: float, noise: float, by: str, before: int, *, free: bool = False
    ) -> Perturbation:
        """Imposes the budget on a perturbation, measures its error again and returns it.

        Args:
            v: The variable of the perturbation.
            budget: The budget, relative to the norm of y.
            noise: The largest error of the random perturbations (the control).
            by: The method that found the perturbation.
            before: The number of evaluations before the search within this budget.
            free: Whether the perturbation may have any size.
        """
        e = self.added(v).detach()
        size, radius = torch.linalg.vector_norm(e).item(), budget * self.norm
        if size > radius and not free:  # by rounding, which the factor outweighs
            e = e * (radius / size * (1 - 1e-6))
        image = self.reconstruct(self.y + e).detach()
        self.done += 1
        error, size = self.objective(image).item(), torch.linalg.vector_norm(e).item()
        amplification = error / size if size else 0.0
        relative = size / self.norm if self.norm else 0.0
        return Perturbation(e, budget, relative, image, error, noise, amplification, by, self.done - before)

    def steepest(self, slope: Tensor) -> Tensor:
        """Returns the direction v that maximises the linear model of the objective among all whose e has the same norm.

        In the measurement domain this is the gradient itself. In the image domain it is :math:`(A^*A)^\\dagger` times
        the gradient, computed by conjugate gradients, which need one step if AA* = I.
        """
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
        """Yields every point of one ascent except the first, with the objective there."""
        velocity, first, second = torch.zeros_like(v), torch.zeros_like(v), torch.zeros_like(real_view(v))
        for k in range(steps):
            value, slope = self.slope(v, radius, generator)
            if k > 0:  # the objective at the start is known
                yield v, value
            size = torch.linalg.vector_norm(slope).item()
            if not 0 < size < math.inf:
                return
            if self.ascent == "momentum":
                step = velocity = 0.9 * velocity + 0.1 * slope / size
            elif self.ascent == "adam":
                # Only the part along the sphere: Adam's step depends on the sign of each entry, and would move v even
                # if the slope pointed straight out.
                out = self.sensing.adjoint(self.added(v)) if self.domain == "image" else self.added(v)
                slope = slope - out * (real_view(out) * real_view(slope)).sum() / real_view(out).square().sum()
                first = 0.9 * first + 0.1 * slope
                second = 0.999 * second + 0.001 * real_view(slope).square()
                scale = (second / (1 - 0.999 ** (k + 1))).sqrt().add(1e-8 * size)
                step = real_view(first).div(1 - 0.9 ** (k + 1)) / scale / math.sqrt(second.numel())
                step = torch.view_as_complex(step) if v.is_complex() else step
            else:
                step = slope / size
            # Converts a length of e into a length of v.
            unit = torch.linalg.vector_norm(v).item() / radius if self.domain == "image" else 1.0
            if k >= steps - (steps // 4 if self.ascent in ("gradient", "momentum") else 0):
                # The point of the ball where the linear model is largest: for a linear R this is power iteration.
                v = self.within(self.steepest(slope.detach()), radius, full=True).detach()
                continue
            # The steps are relative to the radius, whatever the unit of y, and long enough to cross the ball.
            length = 20 * radius / steps * (1 - k / steps)
            v = self.within(v + step * (length * unit), radius, full=True).detach()
        yield v, self.value(v)
