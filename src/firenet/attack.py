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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from firenet.errors import BadInput
from firenet.numerics import real_view
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
        ascent: ``gradient``: steps along the gradient, projected onto the sphere; the last quarter of them, in the
            measurement domain, straight to the point of the sphere where the gradient points, which for a linear R is
            power iteration. ``momentum``: the same with a velocity of 0.9. ``adam``: Adam, entry by entry, projected,
            as Genzel, Macdonald and Maerz (2020), except that steps have the unit of the ball and slopes are those
            along the sphere. ``spsa``: no gradients, three evaluations a step. Steps shrink linearly, from
            20 / ``steps`` of the radius.
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
    if ascent not in get_args(Ascent) or domain not in get_args(Domain):
        needed = f"An ascent of {', '.join(get_args(Ascent))}, a domain of {', '.join(get_args(Domain))}"
        raise BadInput(needed, f"{ascent!r}, {domain!r}", "Choose one of each")
    if steps < 1 or starts < 1:
        raise BadInput("At least one step and one start", f"steps={steps}, starts={starts}", "20 and 3 are usual")
    search = _Search(reconstruct, sensing, y, ascent, domain, window, progress)
    search.most = len(set(wanted)) * (2 + starts * (1 + steps * (3 if ascent == "spsa" else 1) + 1) + starts + 1)
    found: dict[float, Perturbation] = {}
    warm: Tensor | None = None
    for budget in sorted(set(wanted)):
        generator = torch.Generator().manual_seed(seed)
        found[budget], warm = search.worst(budget, steps, starts, generator, warm)
    return [found[b] for b in wanted]


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
    search = _Search(reconstruct, sensing, y, "spsa", "measurement", None, None)
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
    search = _Search(reconstruct, sensing, y, "momentum", "image", None, None)
    generator = torch.Generator().manual_seed(seed)
    start = torch.rand(sensing.in_shape, dtype=torch.float64, generator=generator)
    r = 1e-5 * start.to(device=x.device, dtype=x.dtype)
    velocity, found = torch.zeros_like(r), []
    for step in range(1, max(snapshots) + 1):
        with torch.enable_grad():
            at = r.detach().clone().requires_grad_()
            image = reconstruct(y + sensing(at))
            _need_gradient(image)
            search.done += 1
            gain = 0.5 * (image - x).abs().square().sum() - 0.5 * penalty * at.abs().square().sum()
            (slope,) = torch.autograd.grad(gain, at)
        velocity = momentum * velocity + rate * slope
        r = r + velocity
        if step in snapshots:
            size = torch.linalg.vector_norm(sensing(r)).item() / search.norm
            noise = search.within(search.draw(generator), size * search.norm, full=True)
            with torch.no_grad():
                control = search.value(noise).item()
            found.append(search.judged(r, size, control, "antun", search.done))
    return found


def _need_gradient(value: Tensor) -> None:
    if not value.requires_grad:
        do = "Attack it with ascent='spsa', which needs no gradient"
        raise BadInput("A reconstruction with a gradient", "one that cuts it", do)


def _worse(tried: Sequence[tuple[Tensor, float, str]]) -> tuple[Tensor, float, str]:
    """The entry with the largest value; what is no number is worse than all that are."""
    return max(tried, key=lambda entry: math.inf if math.isnan(entry[1]) else entry[1])


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
        self.reconstruct, self.sensing, self.y = reconstruct, sensing, y
        self.ascent, self.domain, self.window = ascent, domain, window
        self.norm = torch.linalg.vector_norm(y).item()
        self.progress, self.most, self.done = progress, 1, 0
        with torch.no_grad():
            self.clean = reconstruct(y).detach().clone()
        if not torch.isfinite(real_view(self.clean)).all():
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
            _need_gradient(value)
            (gradient,) = torch.autograd.grad(value, at)
        return value.item(), gradient

    def draw(self, generator: torch.Generator) -> Tensor:
        shape = self.sensing.in_shape if self.domain == "image" else self.sensing.out_shape
        return torch.randn(shape, dtype=self.y.dtype, generator=generator).to(self.y.device)

    def worst(
        self, budget: float, steps: int, starts: int, generator: torch.Generator, warm: Tensor | None
    ) -> tuple[Perturbation, Tensor]:
        """The best of all starts within one budget."""
        radius, before = budget * self.norm, self.done
        tried: list[tuple[Tensor, float, str]] = []
        if warm is not None:  # what a smaller budget allowed is allowed: a larger one is never weaker
            for v in (warm, self.within(warm, radius, full=True)):
                with torch.no_grad():
                    tried.append((v, self.value(v).item(), self.ascent))
        noise = 0.0
        for start in range(starts):
            v = self.within(self.draw(generator), radius, full=True)
            with torch.no_grad():
                value = self.value(v).item()
            noise = max(noise, value if math.isfinite(value) else 0.0)
            tried.append((v, value, "noise"))
            if start == 0 and warm is not None:
                v = self.within(warm, radius, full=True)
            tried = [_worse(tried)]  # of all points one is kept
            for point, value in self._climb(v, radius, steps, generator):
                tried = [_worse([*tried, (point, value, self.ascent)])]
        best, _, by = _worse(tried)
        best = self.within(best, radius)
        return self.judged(best, budget, noise, by, before), best

    @torch.no_grad()
    def judged(self, v: Tensor, budget: float, noise: float, by: str, before: int) -> Perturbation:
        """What a perturbation does, measured again within its budget."""
        e = self.added(v).detach()
        size, radius = torch.linalg.vector_norm(e).item(), budget * self.norm
        if size > radius:  # by rounding
            e = e * (radius / size * (1 - 1e-6))
        image = self.reconstruct(self.y + e).detach()
        self.done += 1
        error, size = self.objective(image).item(), torch.linalg.vector_norm(e).item()
        amplification = error / size if size else 0.0
        relative = size / self.norm if self.norm else 0.0
        return Perturbation(e, budget, relative, image, error, noise, amplification, by, self.done - before)

    def _aligned(self, steps: int) -> int:
        """How many of the last steps go straight to where the slope points."""
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
