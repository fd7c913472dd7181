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
import sys
from dataclasses import dataclass
from typing import Any, cast, final

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint as recompute

from firenet.errors import BadInput
from firenet.numerics import derived, norms, real_view
from firenet.problems.analysis import PairProblem
from firenet.problems.fidelity import Ball
from firenet.problems.problem import Problem
from firenet.problems.synthesis import SynthesisProblem
from firenet.solver.analysis_kernel import AnalysisKernel
from firenet.solver.controller import RestartPoint
from firenet.solver.kernel import Kernel, Steps
from firenet.solver.synthesis_kernel import SynthesisKernel, pairs

# What a layer hands to the next, and what it adds to.
_STATE = ("x", "measured", "q", "_back", "last", "last_measured", "_x_sum", "_measured_sum", "_q_sum", "_back_sum")


@dataclass(frozen=True)
class Values:
    """Objectives and dual values of a batch, float64, one a batch item.

    Attributes:
        last: F at the last :math:`\\tilde x`, as :meth:`.synthesis.SynthesisProblem.value_at` has it.
        average: F at the average of the :math:`\\tilde x` since the last restart.
        dual_last: The dual value of the last q, made feasible: at most min F.
        dual_average: The same for the average of the q.
    """

    last: Tensor
    average: Tensor
    dual_last: Tensor
    dual_average: Tensor


@final
class Iteration:
    """The state of a batch, and the loop.

    It lives in the coordinates of its kernel. Without gradients a layer writes over its own state; with gradients the
    same formulas make new tensors.


    Args:
        kernel: What a layer computes, see :func:`kernel_for`.
        y: Packed measurements (batch, \\*out_shape).
        x: Packed first coefficients (batch, \\*in_shape), or None for zero.
        dtype: Of the coefficients.
        track: Keep what :meth:`evaluate` and :meth:`moved` need: all averages, and the start of a run.
        average: Keep the average of x, which :meth:`average` and a run from it need.
    """

    def __init__(
        self, kernel: Kernel, y: Tensor, x: Tensor | None, dtype: torch.dtype, *, track: bool, average: bool = True
    ) -> None:
        self._double = torch.finfo(dtype).bits == 64
        self.kernel, self.problem, self.operator, self.y = kernel, kernel.problem, kernel.operator, y
        self._track, self._average = track, average
        shape = (len(y), *self.operator.in_shape)
        self.x = torch.zeros(shape, dtype=dtype, device=y.device) if x is None else x.clone()
        self.measured = torch.zeros_like(y) if x is None else self.operator(self.x)  # Ax
        self.q = kernel.zero_dual(y, dtype)
        self._parts: Any = None  # of this q, see Kernel.dual
        self.last, self.last_measured = self.x.clone(), self.measured
        self._counted = True  # whether A*q is in its sum
        # Data whose norm overflows make steps that are no numbers; they end as a numerical error, not as bad steps.
        self._finite: list[bool] = torch.isfinite(norms(y.detach(), y.ndim - 1)).tolist()
        own = self.problem.measurement
        weights = [] if self.problem.weights is None else [self.problem.weights]
        self._derivatives = any(map(derived, (y, self.x, *weights, *own.parameters(), *own.buffers())))
        self._back: Tensor | None = torch.zeros_like(self.x)  # A*q, where it is known
        # Large tensors change places instead of being freed and fetched again, which would leave holes in the memory:
        # here lies A*q, if the operator writes where it is told to; then the next point; then what was the last point.
        self._memory = None if self._derivatives else self._back
        self.forget()

    @property
    def back(self) -> Tensor:
        """A*q."""
        back = self._back
        if back is None:
            back = self._back = cast(Tensor, self.operator.adjoint(self.q, self._memory))
        return back

    def set_steps(self, tau: Tensor, sigma: Tensor, relaxation: Tensor) -> None:
        """The steps and the relaxation of the layers to come, float64, one a batch item, on the CPU: to check them
        there waits for no other device.

        Raises:
            BadInput: For steps that are too long for the operator's norm.
        """
        bound = self.operator.norm_bound.value
        self._check_steps((tau * bound) * (sigma * bound))  # the square of a bound may overflow
        plain = bool((relaxation == 1).all())
        if not plain and self.x is self.last:  # as a plain run leaves them; from now on x is written over
            self.x = self.x.clone()
        real = self.y.real.dtype
        tau, sigma, rho = (t.to(self.y.device).to(real) for t in (tau, sigma, relaxation))
        wide, flat = ((-1, *(1,) * len(shape)) for shape in (self.operator.in_shape, self.operator.out_shape))
        self._steps = Steps(tau.view(wide), sigma.view(flat), rho.view(wide), rho.view(flat), plain)
        self._threshold = None if self._derivatives else self.kernel.threshold(self._steps.tau, self.x)

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
        vars(plan).update(dict.fromkeys([*names, "_parts"]))

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
        self._parts, self._counted = None, False

    def _step(self) -> None:
        """One layer as the formula has it; makes new tensors."""
        steps, back = self._steps, self.back
        new = self.kernel.primal(self.x - steps.tau * back, steps.tau)
        measured = self.operator(new)
        around = 2 * measured - self.measured
        self.q, after, self._parts = self.kernel.dual(self.q, self.y, self.x, new, around, steps, self._parts)
        if steps.plain:
            self.x, self.measured = new, measured
        else:
            self.x = self.x + steps.rho_x * (new - self.x)
            self.measured = self.measured + steps.rho_y * (measured - self.measured)
        self._x_sum, self._measured_sum = self._x_sum + new, self._measured_sum + measured
        if self._track:
            self._back_sum = self._back_sum if self._counted else self._back_sum + back
            self._q_sum = self._q_sum + self.q
        self.last, self.last_measured, self._back, self._counted = new, measured, after, False

    def _step_in_place(self) -> None:
        """The same numbers in fewer passes over memory, and with as few tensors alive as can be.

        Three tensors as large as x take turns: where A*q lay comes the next point, and A*q where the last point was.
        """
        assert self._threshold is not None
        assert self._memory is not None
        steps, kernel = self._steps, self.kernel
        if self._track and not self._counted:
            _add(self._back_sum, self.back)
        new = self._memory
        torch.addcmul(real_view(self.x), pairs(steps.tau.neg(), new), real_view(self.back), out=real_view(new))
        self._back = None
        kernel.primal_(new, self._threshold, self.operator.spare(new))
        overshoot = kernel.overshoot(new, self.x)  # before the last point is written over
        if self._double:
            measured = self.operator(new)
        else:
            # A of what has changed. In single precision the rounding of A(new), as large as y, would be a new noise in
            # every layer, and keep the dual from settling; that of the change dies with it.
            measured = self.operator(_subtract_from(self.last, new)).add_(self.last_measured)
        self.q, self._back = kernel.dual_(self.q, self.y, overshoot, measured, self.measured, steps, self.last)
        del overshoot
        if steps.plain:
            self.x, self.measured = new, measured
        else:
            real_view(self.x).lerp_(real_view(new), pairs(steps.rho_x, self.x))
            relaxed = torch.lerp(real_view(self.measured), real_view(measured), pairs(steps.rho_y, self.y))
            self.measured = torch.view_as_complex(relaxed) if self.y.is_complex() else relaxed
        self._memory, self.last, self.last_measured = self.last, new, measured
        self._counted = False
        if self._track or self._average:
            _add(self._x_sum, new)
            _add(self._measured_sum, self.last_measured)
        if self._track:
            _add(self._q_sum, self.q)

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
        torch.div(real_view(total), pairs(count, total), out=real_view(out))
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
        self.x, self.measured, self.q, self._back, self._parts = x, measured, q, back, None
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
        self.q, self._back, self._parts = q.clone(), None, None  # the loop may write over it
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
        self._memory = self._parts = None
        self._finite = [self._finite[k] for k in rows]
        for name, value in list(vars(self).items()):
            if isinstance(value, Tensor):
                setattr(self, name, value[at])
        self._memory = torch.empty_like(self.x)


def kernel_for(problem: Problem) -> Kernel:
    """Returns the kernel of a problem in the coordinates of a loop."""
    if isinstance(problem, PairProblem):
        return AnalysisKernel(problem)
    assert isinstance(problem, SynthesisProblem)
    return SynthesisKernel(problem)


def _give_back_memory() -> None:
    """Returns freed memory to the system. Of a long backward pass glibc would keep many times what is in use: the small
    parts of the graph lie between the large tensors that were freed."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def _subtract_from(b: Tensor, a: Tensor) -> Tensor:
    """a - b, written over b."""
    torch.sub(real_view(a), real_view(b), out=real_view(b))
    return b


def _add(total: Tensor, term: Tensor) -> None:
    real_view(total).add_(real_view(term))
