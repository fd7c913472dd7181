"""One layer, and many: the state of the primal-dual iteration and the loop over it.

A layer maps the state (x, q), coefficients and dual, and the measurements y to

.. math::
    \\tilde x=\\mathrm{shrink}_{\\tau\\lambda w}(x-\\tau A^*q),\\qquad
    \\tilde q=\\mathrm{clip}\\big(q+\\sigma(A(2\\tilde x-x)-y)\\big),\\qquad
    (x,q)\\leftarrow(x,q)+\\rho\\,(\\tilde x-x,\\ \\tilde q-q):

two affine maps (A and its adjoint, with y as a skip connection) and two scalar nonlinearities, a threshold and a gate.
The relaxation is :math:`0<\\rho<2`; 1 is the iteration of the paper. A is applied once, to :math:`\\tilde x`, and A*
once, to q. Since all else is affine, Ax is carried along, and the objective and the dual value of the last point and
of the average need no further operator.
"""

from __future__ import annotations

import copy
import ctypes
import math
import sys
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint as recompute

from firenet.errors import BadInput
from firenet.numerics import derived, norms, real_view
from firenet.operators.compact import Compact
from firenet.operators.linear import LinearOperator
from firenet.problems.fidelity import Ball
from firenet.problems.synthesis import SparseProblem
from firenet.solver.controller import RestartPoint

# What a layer hands to the next, and what it adds to.
_STATE = ("x", "measured", "q", "_back", "last", "last_measured", "_x_sum", "_measured_sum", "_q_sum", "_back_sum")


@dataclass(frozen=True)
class Values:
    """Objectives and dual values of a batch, float64, one a batch item.

    Attributes:
        last: F at the last :math:`\\tilde x`, as :meth:`.synthesis.SparseProblem.value_at` has it.
        average: F at the average of the :math:`\\tilde x` since the last restart.
        dual_last: The dual value of the last q, made feasible: at most min F.
        dual_average: The same for the average of the q.
    """

    last: Tensor
    average: Tensor
    dual_last: Tensor
    dual_average: Tensor


class Layers:
    """The state of a batch, and the loop.

    It lives in the coordinates of :class:`.compact.Compact`. Without gradients a layer writes over its own
    state; with gradients the same formulas make new tensors.

    Args:
        problem: In compact coordinates: its operator is a :class:`Compact`, its weights are packed.
        y: Packed measurements (batch, \\*out_shape).
        x: Packed first coefficients (batch, \\*in_shape), or None for zero.
        dtype: Of the coefficients.
        track: Keep what :meth:`evaluate` and :meth:`moved` need: all averages, and the start of a run.
        average: Keep the average of x, which :meth:`average` and a run from it need.
    """

    def __init__(
        self,
        problem: SparseProblem,
        y: Tensor,
        x: Tensor | None,
        dtype: torch.dtype,
        *,
        track: bool,
        average: bool = True,
    ) -> None:
        assert isinstance(problem.operator, Compact)
        self._double = torch.finfo(dtype).bits == 64
        self.problem, self.operator, self.y = problem, problem.operator, y
        self._track, self._average = track, average
        shape = (len(y), *self.operator.in_shape)
        self.x = torch.zeros(shape, dtype=dtype, device=y.device) if x is None else x.clone()
        self.measured = torch.zeros_like(y) if x is None else self.operator(self.x)  # Ax
        self.q = self._zero_dual()
        self.last, self.last_measured = self.x.clone(), self.measured
        self._counted = True  # whether A*q is in its sum
        # Data whose norm overflows make steps that are no numbers; they end as a numerical error, not as bad steps.
        self._finite: list[bool] = torch.isfinite(norms(y.detach(), y.ndim - 1)).tolist()
        own = self.operator.operator
        weights = [] if problem.weights is None else [problem.weights]
        self._derivatives = any(map(derived, (y, self.x, *weights, *own.parameters(), *own.buffers())))
        self._back: Tensor | None = torch.zeros_like(self.x)  # A*q, where it is known
        # Large tensors change places instead of being freed and fetched again, which would leave holes in the memory:
        # here lies A*q, if the operator writes where it is told to; then the next point; then what was the last point.
        self._memory = None if self._derivatives else self._back
        self.forget()

    @property
    def back(self) -> Tensor:
        """A*q."""
        if self._back is None:
            self._back = self.operator.adjoint(self.q, self._memory)
        return self._back

    def _zero_dual(self) -> Tensor:
        return torch.zeros_like(self.y)

    def set_steps(self, tau: Tensor, sigma: Tensor, relaxation: Tensor) -> None:
        """The steps and the relaxation of the layers to come, float64, one a batch item, on the CPU: to check them
        there waits for no other device.

        Raises:
            BadInput: For steps that are too long for the operator's norm.
        """
        bound = self.operator.norm_bound.value
        self._check_steps((tau * bound) * (sigma * bound))  # the square of a bound may overflow
        self._plain = bool((relaxation == 1).all())
        if not self._plain and self.x is self.last:  # as a plain run leaves them; from now on x is written over
            self.x = self.x.clone()
        real = self.y.real.dtype
        tau, sigma, relaxation = (t.to(self.y.device) for t in (tau, sigma, relaxation))
        m, n = len(self.operator.out_shape), len(self.operator.in_shape)
        self._tau = tau.to(real).view(-1, *(1,) * n)
        self._sigma = sigma.to(real).view(-1, *(1,) * m)
        rho = relaxation.to(real)
        self._rho_x, self._rho_y = rho.view(-1, *(1,) * n), rho.view(-1, *(1,) * m)
        self._threshold = None if self._derivatives else self.problem.threshold(self._tau, self.x)

    def _check_steps(self, products: Tensor) -> None:
        products = products.detach()[self._finite]
        product = float(products.max()) if products.numel() else 0.0
        if not product <= 1 + 1e-9:
            got = f"{product:.6g} with the norm bound {self.operator.norm_bound.value:.6g}"
            raise BadInput("Steps with tau * sigma * norm^2 <= 1", got, "Use smaller steps")

    def run(self, layers: int, checkpoint: int | None = None) -> None:
        """So many layers; with gradients, ``checkpoint`` of them at a time are computed again in the backward pass."""
        if self._threshold is not None:
            step, checkpoint = self._step_in_place, None
        else:
            step = self._step
        if checkpoint is None:
            for _ in range(layers):
                step()
        else:
            for k in range(0, layers, checkpoint):
                self._segment(min(checkpoint, layers - k))
        self.count += layers

    def _segment(self, layers: int) -> None:
        _ = self.back
        names = [name for name in _STATE if hasattr(self, name)]
        before = tuple(getattr(self, name) for name in names)
        plan = copy.copy(self)  # keeps these steps, whatever is set later, and no state
        vars(plan).update(dict.fromkeys(names))

        def walk(*state: Tensor) -> tuple[Tensor, ...]:
            _give_back_memory()
            walker = copy.copy(plan)
            vars(walker).update(zip(names, state, strict=True))
            for _ in range(layers):
                walker._step()
            _ = walker.back
            return tuple(getattr(walker, name) for name in names)

        after = recompute(walk, *before, use_reentrant=False, preserve_rng_state=False)
        vars(self).update(zip(names, after, strict=True))
        self._counted = False

    def _step(self) -> None:
        back = self.back
        new = self.problem.shrink(self.x - self._tau * back, self._tau)
        measured = self.operator(new)
        u = self._ascended(new, measured)
        if self._plain:
            self.x, self.measured, self.q = new, measured, u
        else:
            self.x = self.x + self._rho_x * (new - self.x)
            self.measured = self.measured + self._rho_y * (measured - self.measured)
            self.q = self.q + self._rho_y * (u - self.q)
        self._x_sum, self._measured_sum = self._x_sum + new, self._measured_sum + measured
        if self._track:
            self._back_sum = self._back_sum if self._counted else self._back_sum + back
            self._q_sum = self._q_sum + self.q
        self.last, self.last_measured, self._back, self._counted = new, measured, None, False

    def _ascended(self, new: Tensor, measured: Tensor) -> Tensor:
        """:math:`\\tilde q`."""
        return self.problem.clip(self.q + self._sigma * (2 * measured - self.measured - self.y), self._sigma)

    def _step_in_place(self) -> None:
        """The same numbers in fewer passes over memory, and with as few tensors alive as can be."""
        assert self._threshold is not None
        assert self._memory is not None
        if self._track and not self._counted:
            _add(self._back_sum, self.back)
        new = self._memory
        torch.addcmul(real_view(self.x), _pairs(self._tau.neg(), new), real_view(self.back), out=real_view(new))
        self._back = None
        self.problem.shrink_(new, self._threshold, self.operator.spare(new))
        self._measure_and_ascend(new)
        self._counted = False
        if self._track or self._average:
            _add(self._x_sum, new)
            _add(self._measured_sum, self.last_measured)
        if self._track:
            _add(self._q_sum, self.q)

    def _measure_and_ascend(self, new: Tensor) -> None:
        """From the next point to the next dual and the relaxed state; the last point's memory is free afterwards."""
        if self._double:
            measured = self.operator(new)
        else:
            # A of what has changed. In single precision the rounding of A(new), as large as y, would be a new noise in
            # every layer, and keep the dual from settling; that of the change dies with it.
            measured = self.operator(_subtract_from(self.last, new)).add_(self.last_measured)
        self.q = self._ascended_in_place(measured)
        if self._plain:
            self.x, self.measured = new, measured
        else:
            real_view(self.x).lerp_(real_view(new), _pairs(self._rho_x, self.x))
            relaxed = torch.lerp(real_view(self.measured), real_view(measured), _pairs(self._rho_y, self.y))
            self.measured = torch.view_as_complex(relaxed) if self.y.is_complex() else relaxed
        self._memory, self.last, self.last_measured = self.last, new, measured

    def _ascended_in_place(self, measured: Tensor) -> Tensor:
        """q after the step, relaxed; a new tensor."""
        u = real_view(measured).mul(2).sub_(real_view(self.measured)).sub_(real_view(self.y))
        u = torch.addcmul(real_view(self.q), _pairs(self._sigma, self.y), u)
        factor = self.problem.fidelity.factor(norms(u, u.ndim - 1), self._sigma.flatten().to(torch.float64))
        u.mul_(_pairs(factor.to(u.dtype).view_as(self._sigma), self.y))
        if not self._plain:
            u = torch.lerp(real_view(self.q), u, _pairs(self._rho_y, self.y))
        return torch.view_as_complex(u) if self.y.is_complex() else u

    # --------------------------------------------------------------------------------------------- between the layers

    def average(self) -> Tensor:
        """The average of the :math:`\\tilde x` since the last restart."""
        return self._mean(self._x_sum)

    def average_dual(self, out: Tensor | None = None) -> Tensor:
        """The average of the q since the last restart; written into ``out`` where it is given."""
        return self._mean(self._q_sum, out)

    def _mean(self, total: Tensor, out: Tensor | None = None) -> Tensor:
        count = self.count.to(total.real.dtype).view(-1, *(1,) * (total.ndim - 1))
        if out is None:
            return total / count
        torch.div(real_view(total), _pairs(count, total), out=real_view(out))
        return out

    def evaluate(self) -> Values:
        """Objectives and dual values, with no operator but the A*q that the next layer needs anyway."""
        self._count_back()
        dual_last, size_last = self.problem.bound(self.q, self.back, self.y)
        dual_average, size_average = self.problem.bound(self._q_sum, self._back_sum, self.y, self.count)
        residual = self._mean(self._measured_sum) - self.y
        if isinstance(self.problem.fidelity, Ball):
            average = self.problem.value_at(self._mean(self._x_sum), residual, size_average)
        else:
            # Norms are homogeneous: those of an average are those of the sum, divided.
            fidelity = self.problem.fidelity.value(norms(residual, self.y.ndim - 1))
            average = self.problem.penalty(self._x_sum) / self.count + fidelity
        last = self.problem.value_at(self.last, self.last_measured - self.y, size_last)
        return Values(last, average, dual_last, dual_average)

    def _count_back(self) -> None:
        if not self._counted:
            self._back_sum = self._back_sum + self.back if self._derivatives else self._back_sum.add_(self.back)
            self._counted = True

    def place(self, where: RestartPoint | Tensor, *, keep_dual: bool, rows: list[int] | None = None) -> None:
        """Puts items where a run is to start from.

        Args:
            where: Their ``average``, the ``last`` state (they stay), or given points x of the batch.
            keep_dual: The dual of the same kind; else zero.
            rows: Which items; None is all of them.
        """
        q, back = self.q, self.back
        x, measured = self.x, self.measured
        if isinstance(where, Tensor):
            x, measured = where.clone(), self.operator(where)
        elif where == "average":
            whole = (rows is None or len(rows) == len(self.y)) and not self._derivatives
            over = self.x if whole and self.x is not self.last else None
            x, measured = self._mean(self._x_sum, over), self._mean(self._measured_sum)
            if keep_dual:
                self._count_back()
                q, back = self.average_dual(), self._mean(self._back_sum, self._memory if whole else None)
        if not keep_dual:
            q, back = torch.zeros_like(q), torch.zeros_like(back)
        if rows is not None and len(rows) < len(self.y):
            at = torch.tensor(rows, device=self.y.device)
            x, measured, q, back = (
                old if new is old else old.index_copy(0, at, new[at])
                for old, new in zip((self.x, self.measured, self.q, self.back), (x, measured, q, back), strict=True)
            )
        self.x, self.measured, self.q, self._back = x, measured, q, back
        if not self._derivatives:
            self.anchor()

    def anchor(self) -> None:
        """In single precision, measures the state anew: clears away the rounding that has gathered in Ax."""
        if not self._double:
            if self.last is not self.x:
                self.last.copy_(self.x)
            self.measured = self.last_measured = self.operator(self.x)

    def place_dual(self, q: Tensor) -> None:
        """Starts from these dual points."""
        self.q, self._back = q.clone(), None  # the loop may write over it
        self.forget()

    def moved(self, rows: list[int]) -> tuple[Tensor, Tensor]:
        """How far x and q are from where the run started, float64, one number a batch item; then comes
        :meth:`forget` of these rows. Only where the problem ``rebalances``: else nobody asks, and no start is kept."""
        # Where all of them restart, the old start is not needed any more.
        start = self._x_start if len(rows) == len(self.y) else self._x_start.clone()
        move = _subtract_from(start, self.x)
        return norms(move, self.x.ndim - 1), norms(self.q - self._q_start, self.q.ndim - 1)

    def forget(self, rows: list[int] | None = None) -> None:
        """Starts the averages of items (None: of all) anew, at the state as it is."""
        if self._derivatives or not hasattr(self, "count"):
            self.count = torch.zeros(len(self.y), dtype=torch.float64, device=self.y.device)
            self._x_sum, self._measured_sum = torch.zeros_like(self.x), torch.zeros_like(self.y)
            if self._track:
                self._q_sum, self._back_sum = torch.zeros_like(self.q), torch.zeros_like(self.x)
                if self.problem.rebalances:
                    self._x_start, self._q_start = self.x.clone(), self.q.clone()
            self._counted = True  # the A*q that a run starts from is not part of its average
            return
        some = list(range(len(self.y))) if rows is None else rows
        at = torch.tensor(some, dtype=torch.int64, device=self.y.device)
        for total in (self.count, self._x_sum, self._measured_sum):
            total.index_fill_(0, at, 0)
        if self._track:
            if len(some) < len(self.y):
                self._count_back()  # for those that go on
            self._counted = True
            for total in (self._q_sum, self._back_sum):
                total.index_fill_(0, at, 0)
            if not self.problem.rebalances:
                return
            if len(some) == len(self.y):
                self._x_start.copy_(self.x)
                self._q_start.copy_(self.q)
            else:
                self._x_start.index_copy_(0, at, self.x[at])
                self._q_start.index_copy_(0, at, self.q[at])

    def keep(self, rows: list[int]) -> None:
        """Goes on with these items only: the others cost nothing more. Steps must be set anew."""
        at = torch.tensor(rows, device=self.y.device)
        self._memory = None
        self._finite = [self._finite[k] for k in rows]
        for name, value in list(vars(self).items()):
            if isinstance(value, Tensor):
                setattr(self, name, value[at])
        self._memory = torch.empty_like(self.x)


def peak_bytes(operator: LinearOperator, y: Tensor) -> int:
    """How much memory a solve with these measurements takes beside them, an estimate: the sum of the tensors alive at
    once.

    As large as the coefficients: x, its start, the last point, A*q (whose place the next takes), two sums; ten as large
    as the measurements that were made; what the operator needs for itself. Before it ends, instead of that the proof of
    one image in double precision: two as large as the coefficients, five as the measurements, and the operator's. The
    allocator's own losses are not in it.
    """
    compact = operator.compact()
    batch = max(math.prod(y.shape[: y.ndim - len(operator.out_shape)]), 1)
    dtype = operator.state_dtype(y.dtype)
    size = torch.empty((), dtype=dtype).element_size()
    inside, outside = math.prod(compact.in_shape), math.prod(compact.out_shape)
    twice = 1 if torch.finfo(dtype).bits == 64 else 2
    proof = twice * (2 * inside + 5 * outside + compact.scratch(1))
    return int(size * (batch * (6 * inside + 10 * outside) + max(compact.scratch(batch), proof)))


def _give_back_memory() -> None:
    """Returns freed memory to the system. Of a long backward pass glibc would keep many times what is in use: the small
    parts of the graph lie between the large tensors that were freed."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def _pairs(number: Tensor, like: Tensor) -> Tensor:
    """A real factor that broadcasts to ``real_view(like)``."""
    return number.unsqueeze(-1) if like.is_complex() else number


def _subtract_from(b: Tensor, a: Tensor) -> Tensor:
    """a - b, written over b."""
    torch.sub(real_view(a), real_view(b), out=real_view(b))
    return b


def _add(total: Tensor, term: Tensor) -> None:
    real_view(total).add_(real_view(term))
