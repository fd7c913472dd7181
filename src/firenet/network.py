"""The network: a primal-dual iteration for the square-root LASSO, unrolled, with restarts.

One layer maps the state (x, q), coefficients and dual, and the measurements y to

.. math::
    x^+=\\mathrm{shrink}_{\\tau\\lambda w}(x-\\tau A^*q),\\qquad q^+=\\mathrm{clip}\\big(q+\\sigma(A(2x^+-x)-y)\\big):

two affine maps (A and its adjoint, with y as a skip connection) and two scalar nonlinearities, a threshold and a gate.
The weights are the operator and the schedule's steps, computed and not trained. After a restart's layers the average of
the x is handed on and q starts again at 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Literal, Self, cast, final

import torch
from torch import Tensor, nn

from firenet.errors import BadInput
from firenet.levels import SparsityLevels
from firenet.operators import LinearOperator, keep_kind
from firenet.problems import SquareRootLasso, relative_gap
from firenet.restarts import PaperSchedule, Schedule
from firenet.transforms import TightFrame

Iterate = Literal["average", "last", "best"]

DEFAULT_LAM = 1e-3


class Status(Enum):
    """How a computation ended."""

    TOLERANCE_REACHED = "tolerance reached"
    LAYER_LIMIT = "layer limit"
    PRECISION_LIMIT = "precision limit"
    NUMERICAL_ERROR = "numerical error"

    @property
    def advice(self) -> str:
        """What to do about it."""
        return _ADVICE[self]


_ADVICE = {
    Status.TOLERANCE_REACHED: "The relative duality gap is at most the tolerance.",
    Status.LAYER_LIMIT: "The layers ended; the gap bounds the distance to the optimum. More layers make it smaller.",
    Status.PRECISION_LIMIT: "The gap is at the rounding error of this precision. Double precision makes it smaller.",
    Status.NUMERICAL_ERROR: "The result is not finite. Check the scale of data and operator, or use double precision.",
}


@dataclass(frozen=True, eq=False)
class Solution:
    """A reconstruction with its certificate; one entry a batch item.

    Attributes:
        image: :math:`W^*z`, shape (..., \\*image shape).
        coefficients: z, the point the numbers below speak of.
        dual: A feasible dual point q, shape of y.
        objective: F(z), float64.
        gap: :math:`F(z)+\\mathrm{Re}\\langle y,q\\rangle\\ge F(z)-\\min F`, float64.
        status: One :class:`Status` a batch item, in the order of the flattened batch (one without batch axes).
        layers: How many layers were run, int64.
    """

    image: Tensor
    coefficients: Tensor
    dual: Tensor
    objective: Tensor
    gap: Tensor
    status: tuple[Status, ...]
    layers: Tensor

    @property
    def relative_gap(self) -> Tensor:
        """:math:`(p-d)/(|p|+|d|)` with p the objective and d the dual value, 0 where both vanish."""
        return relative_gap(self.objective, self.gap)


@dataclass(eq=False)
class _State:
    """What the loop knows after a restart."""

    average: Tensor
    last: Tensor
    dual: Tensor
    average_dual: Tensor
    layers: int


@final
class Firenet(nn.Module):
    """The network :math:`y\\mapsto W^*z`, z an approximate minimiser of
    :math:`\\lambda\\|z\\|_{l^1_w}+\\|AW^*z-y\\|_2`.

    Args:
        sensing: A.
        sparsify: W, a frame with W*W = I; None is the identity (plain matrices).
        weights: Positive weights that broadcast to the coefficients, or :class:`SparsityLevels` whose recommended
            weights are taken; None is all ones.
        lam: :math:`\\lambda`. None is 1e-3, which suits images. The theorem's :math:`C_1/(C_2\\sqrt\\xi)`
            (:attr:`Guarantee.lam`) is some 1e-2 and oversmooths them.
        schedule: The steps, :class:`PaperSchedule` or another.
        iterate: What to return: the ``average`` of the last restart (what the theory speaks of), the ``last`` point, or
            the ``best`` of all averages and last points, by objective.

    >>> import torch, firenet
    >>> A = firenet.Matrix(torch.eye(3, dtype=torch.float64)[:2])
    >>> net = firenet.Firenet(A, lam=0.1)
    >>> net(torch.tensor([1.0, 0.0], dtype=torch.float64)).round(decimals=3).tolist()
    [1.0, 0.0, 0.0]
    """

    def __init__(
        self,
        sensing: LinearOperator,
        sparsify: TightFrame | None = None,
        *,
        weights: Tensor | SparsityLevels | None = None,
        lam: float | None = None,
        schedule: Schedule | None = None,
        iterate: Iterate = "average",
    ) -> None:
        super().__init__()
        self.sensing = sensing
        self.sparsify = sparsify
        self.operator = sensing if sparsify is None else sensing @ sparsify.H
        self.lam = DEFAULT_LAM if lam is None else float(lam)
        self.schedule: Schedule = PaperSchedule() if schedule is None else schedule
        if iterate not in ("average", "last", "best"):
            raise BadInput("iterate: average, last or best", repr(iterate), "Choose one")
        self.iterate: Iterate = iterate
        if isinstance(weights, SparsityLevels):
            if sparsify is None:
                raise BadInput(
                    "A transform to spread the weights of levels on",
                    "sparsify=None",
                    "Pass one weight a coefficient as a tensor",
                )
            weights = torch.from_numpy(weights.spread(weights.weights(), sparsify.levels().numpy()))
        self.register_buffer("weights", weights)
        _ = self.problem  # refuses a bad lam or bad weights now, not at the first image

    @property
    def problem(self) -> SquareRootLasso:
        """The problem, in the coefficients."""
        return SquareRootLasso(self.operator, cast("Tensor | None", self.weights), self.lam)

    def forward(self, y: Tensor, x0: Tensor | None = None) -> Tensor:
        """The network: measurements (..., \\*sensing.out_shape) to images (..., \\*sensing.in_shape). Differentiable.

        Args:
            y: Measurements, finite; what lies off the mask is ignored.
            x0: A first image (warm start), zero by default.

        Raises:
            BadInput: As :meth:`solve`.
        """
        y = self._measurements(y)
        problem = self.problem
        best: tuple[Tensor, Tensor] | None = None
        state = None
        for state in self._restarts(problem, y, x0):
            if self.iterate == "best":
                best = _better(best, [state.average, state.last], problem, y)
        assert state is not None
        z = best[0] if best else (state.average if self.iterate == "average" else state.last)
        return self._image(z)

    @torch.no_grad()
    def solve(
        self,
        y: Tensor,
        *,
        x0: Tensor | None = None,
        tolerance: float | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Solution:
        """Reconstructs and certifies.

        Args:
            y: Measurements (..., \\*sensing.out_shape); what lies off the mask is ignored.
            x0: A first image (warm start).
            tolerance: Stop at the end of a restart when the relative gap is at most this, each batch item on its own.
                None runs the whole schedule.
            progress: Called after each restart with the layers done and the layers in all.

        Returns:
            The solution. Its gap is computed in the precision of y; see ``Status.PRECISION_LIMIT``.

        Raises:
            BadInput: For measurements of another shape, with NaN or infinity, or real where complex ones are needed.
        """
        if tolerance is not None and not tolerance > 0:
            raise BadInput("A tolerance above 0", f"{tolerance}", "1e-2 is a picture, 1e-4 a proof")
        y = self._measurements(y)
        problem = self.problem
        batch = y.shape[: y.ndim - len(self.sensing.out_shape)]
        best: tuple[Tensor, Tensor] | None = None
        found: _Found | None = None
        for state in self._restarts(problem, y, x0, average_dual=True):
            if self.iterate == "best":
                best = _better(best, [state.average, state.last], problem, y)
            if progress is not None:
                progress(state.layers, self.schedule.layers)
            z = best[0] if best else (state.average if self.iterate == "average" else state.last)
            found = _Found.update(found, z, state, problem, y, tolerance)
            if bool(found.done.all()):
                break
        assert found is not None
        return Solution(
            image=self._image(found.z),
            coefficients=found.z,
            dual=found.dual,
            objective=found.objective,
            gap=found.gap,
            status=statuses(found.objective, found.gap, y, tolerance),
            layers=found.layers.expand(batch).clone(),
        )

    def _measurements(self, y: Tensor) -> Tensor:
        shape = self.sensing.out_shape
        if y.ndim < len(shape) or tuple(y.shape[y.ndim - len(shape) :]) != shape:
            raise BadInput(
                f"Measurements with trailing shape {shape}",
                f"shape {tuple(y.shape)}",
                "Check the mask's shape and the order of the axes",
            )
        if y.dtype not in (torch.float32, torch.float64, torch.complex64, torch.complex128):
            needed = "Measurements of dtype float32, float64, complex64 or complex128"
            raise BadInput(needed, f"{y.dtype}", "Convert them first")
        if not torch.isfinite(_reals(y)).all():
            do = "Find out where they come from; missing samples are zeros off the mask"
            raise BadInput("Finite measurements", "NaN or infinity", do)
        y = self.sensing.restrict(y)
        state = self.operator.state_dtype(y.dtype)
        if state.is_complex and not y.is_complex():
            # A complex matrix takes real measurements. Fourier sensing refuses them here: the phase must be somewhere.
            self.operator.adjoint(torch.zeros(shape, dtype=y.dtype, device=y.device))
        return y.to(torch.promote_types(y.dtype, state))

    def _start(self, x0: Tensor, zeros: Tensor) -> Tensor:
        """The coefficients of a first image, in the shape and dtype of the state."""
        shape = self.sensing.in_shape
        batch = zeros.shape[: zeros.ndim - len(self.operator.in_shape)]
        try:
            fits = torch.broadcast_shapes(tuple(x0.shape), (*batch, *shape)) == (*batch, *shape)
        except RuntimeError:
            fits = False
        if not fits or tuple(x0.shape[max(x0.ndim - len(shape), 0) :]) != shape:
            got = f"shape {tuple(x0.shape)}"
            raise BadInput(f"A first image of shape {(*batch, *shape)} or one for all of them", got, "Check its axes")
        if x0.is_complex() and not zeros.is_complex():
            raise BadInput("A real first image for a real problem", f"{x0.dtype}", "Pass its real part")
        if not torch.isfinite(_reals(x0)).all():
            raise BadInput("A finite first image", "NaN or infinity", "Start from zero instead: leave x0 out")
        x0 = x0.to(zeros.dtype)
        return (x0 if self.sparsify is None else self.sparsify(x0)).expand_as(zeros)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        return super()._apply(keep_kind(fn), recurse)

    def _image(self, z: Tensor) -> Tensor:
        return z if self.sparsify is None else self.sparsify.adjoint(z)

    def _restarts(
        self, problem: SquareRootLasso, y: Tensor, x0: Tensor | None, *, average_dual: bool = False
    ) -> Iterator[_State]:
        """The loop: yields after each restart."""
        _keep_freed_memory()
        operator = self.operator
        m, n = len(operator.out_shape), len(operator.in_shape)
        batch = y.shape[: y.ndim - m]
        dtype = operator.state_dtype(y.dtype)
        real = y.real.dtype
        x = torch.zeros(*batch, *operator.in_shape, dtype=dtype, device=y.device)
        if x0 is not None:
            x = self._start(x0, x)
        size = torch.linalg.vector_norm(_reals(y).flatten(len(batch)), dim=-1, dtype=torch.float64)
        done = 0
        for restart in self.schedule.restarts(operator.norm_bound, size):
            _check_steps(restart.tau, restart.sigma, operator, size)
            tau = restart.tau.to(real).reshape(*batch, *(1,) * n)
            sigma = restart.sigma.to(real).reshape(*batch, *(1,) * m)
            q = torch.zeros_like(y)
            x_sum, q_sum, x_new = torch.zeros_like(x), torch.zeros_like(q), x
            for _ in range(restart.layers):
                x_new = problem.shrink(_plus(x, -tau, operator.adjoint(q)), tau)
                q = problem.clip(_plus(q, sigma, operator(_extrapolate(x, x_new)) - y))
                x = x_new
                x_sum.add_(x)
                if average_dual:
                    q_sum.add_(q)
            done += restart.layers
            x = x_sum / restart.layers
            yield _State(x, x_new, q, q_sum / restart.layers, done)


@dataclass(eq=False)
class _Found:
    """The best dual so far, and for each batch item the point it ended with."""

    z: Tensor
    dual: Tensor
    objective: Tensor
    gap: Tensor
    layers: Tensor
    done: Tensor

    @staticmethod
    def update(
        old: _Found | None, z: Tensor, state: _State, problem: SquareRootLasso, y: Tensor, tolerance: float | None
    ) -> _Found:
        duals = [problem.feasible(state.dual), problem.feasible(state.average_dual)]
        if old is not None:
            duals.append(old.dual)
        value = torch.stack([problem.dual_value(q, y) for q in duals]).nan_to_num(nan=-torch.inf)
        dual = duals[0]
        for k, q in enumerate(duals[1:], start=1):
            dual = torch.where(_over(value.argmax(dim=0) == k, q), q, dual)
        objective = problem.objective(z, y)
        gap = (objective - value.amax(dim=0)).clamp(min=0)
        layers = torch.full_like(gap, state.layers, dtype=torch.int64)
        done = relative_gap(objective, gap) <= (-1.0 if tolerance is None else tolerance)
        new = _Found(z, dual, objective, gap, layers, done)
        return new if old is None else old._keep(new)

    def _keep(self, new: _Found) -> _Found:
        """Items that are done stay as they are."""
        d = self.done
        return _Found(
            torch.where(_over(d, self.z), self.z, new.z),
            torch.where(_over(d, self.dual), self.dual, new.dual),
            torch.where(d, self.objective, new.objective),
            torch.where(d, self.gap, new.gap),
            torch.where(d, self.layers, new.layers),
            d | new.done,
        )


def _keep_freed_memory() -> None:
    """Lets the C library keep the memory of freed tensors instead of fetching it anew, page by page.

    glibc hands freed blocks back above a limit that grows with the largest block freed so far, up to 32 MB. Freeing one
    block of that size, never touched, raises it once for all; without it a third of a layer's time is page faults.
    """
    torch.empty(2**25 - 2**13, dtype=torch.uint8)


def _plus(x: Tensor, step: Tensor, direction: Tensor) -> Tensor:
    """x + step * direction with a real step, in one pass over memory."""
    if x.is_complex():
        return torch.view_as_complex(torch.addcmul(_reals(x), step[..., None], _reals(direction)))
    return torch.addcmul(x, step, direction)


def _extrapolate(x: Tensor, x_new: Tensor) -> Tensor:
    """2 x_new - x, in one pass."""
    extrapolated = torch.lerp(_reals(x), _reals(x_new), 2.0)
    return torch.view_as_complex(extrapolated) if x.is_complex() else extrapolated


def _over(flags: Tensor, x: Tensor) -> Tensor:
    return flags.reshape(*flags.shape, *(1,) * (x.ndim - flags.ndim))


def _reals(x: Tensor) -> Tensor:
    return torch.view_as_real(x.resolve_conj()) if x.is_complex() else x


def _better(
    best: tuple[Tensor, Tensor] | None, points: list[Tensor], problem: SquareRootLasso, y: Tensor
) -> tuple[Tensor, Tensor]:
    """The point with the lowest objective so far, item by item, and its objective."""
    for z in points:
        value = problem.objective(z, y).nan_to_num(nan=torch.inf)
        if best is None:
            best = (z, value)
        else:
            lower = value < best[1]
            best = (torch.where(_over(lower, z), z, best[0]), torch.where(lower, value, best[1]))
    assert best is not None
    return best


def statuses(objective: Tensor, gap: Tensor, y: Tensor, tolerance: float | None) -> tuple[Status, ...]:
    """How each batch item ended, from its objective, its gap and the tolerance asked for, if any."""
    precision = torch.finfo(y.dtype).eps
    size = torch.linalg.vector_norm(_reals(y).flatten(gap.ndim), dim=-1, dtype=torch.float64)
    # Residual, inner product and scaling of the dual are each a few roundings of numbers as large as |y| and F.
    floor = 16 * precision * (2 * objective + size)
    reached = relative_gap(objective, gap) <= (-1.0 if tolerance is None else tolerance)
    found = []
    for p, g, limit, done in zip(*(t.flatten().tolist() for t in (objective, gap, floor, reached)), strict=True):
        if not (p < float("inf") and g < float("inf")):
            found.append(Status.NUMERICAL_ERROR)
        elif done and tolerance is not None and (g > limit or 2 * p * tolerance >= limit):
            found.append(Status.TOLERANCE_REACHED)
        else:
            found.append(Status.PRECISION_LIMIT if g <= limit else Status.LAYER_LIMIT)
    return tuple(found)


def _check_steps(tau: Tensor, sigma: Tensor, operator: LinearOperator, size: Tensor) -> None:
    # Data whose norm overflows make steps that are no numbers; they end as a numerical error, not here.
    products = (tau * sigma).detach()[torch.isfinite(size)]
    product = float(products.max()) * operator.norm_bound.value**2 if products.numel() else 0.0
    if not product <= 1 + 1e-9:
        got = f"{product:.6g} with the norm bound {operator.norm_bound.value:.6g}"
        raise BadInput("Steps with tau * sigma * norm^2 <= 1", got, "Use smaller steps")
