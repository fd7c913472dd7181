"""The state of the primal-dual iteration, one layer, and the loop over layers.

A layer maps the state (x, q), coefficients and dual variable, and the measurements y to the next state. In the
synthesis form (for the analysis form see :mod:`firenet.solver.analysis_kernel`) it is

.. math::
    \\tilde x=\\mathrm{shrink}_{\\tau\\lambda w}(x-\\tau A^*q),\\qquad
    \\tilde q=\\mathrm{clip}\\big(q+\\sigma(A(2\\tilde x-x)-y)\\big),\\qquad
    (x,q)\\leftarrow(x,q)+\\rho\\,(\\tilde x-x,\\ \\tilde q-q):

two affine maps (A and its adjoint, with y as a skip connection) and two nonlinearities: shrink, the soft threshold, and
clip, the proximal map of :math:`\\sigma\\varphi^*`, which multiplies its argument by one number per image. The
relaxation is :math:`0<\\rho<2`; 1 is the iteration of the paper. A is applied once, to :math:`\\tilde x`, and A* once,
to q. All other operations on x are affine, so Ax is updated along with x, and the objective and the dual value of the
last point and of the average need no further operator.

The layer exists twice. ``_step`` is the formula, with new tensors, for derivatives. ``_step_in_place`` computes the
same numbers without derivatives, in few passes over memory, and a test compares the two. Its memory, in tensors as
large as x:

* ``x``, the relaxed point, is overwritten; ``last`` is :math:`\\tilde x` of the layer before, and without relaxation
  it is the same tensor as ``x``.
* ``_back`` is A*q, in the tensor ``_memory``. The primal step reads it for the last time and writes
  :math:`\\tilde x` into the same tensor.
* ``last`` is read once more in single precision, where A is applied to the change of :math:`\\tilde x`. Then it becomes
  the next ``_memory``, into which the adjoint writes A*q. So two tensors, ``last`` and ``_memory``, swap roles in every
  layer.
* ``_x_sum`` and ``_back_sum`` are the sums of the averages, ``_x_start`` is the point at which the run started.
* ``_recent`` has copies of the last states, for :meth:`Iteration.combine`.

``measured`` (Ax) and ``last_measured``, in the shape of the measurements, are new tensors in every layer.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, Literal, cast, final

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint as recompute

from firenet.errors import BadInput
from firenet.numerics import derived, norms, readable, real_view
from firenet.problems.analysis import PairProblem
from firenet.problems.fidelity import Ball
from firenet.problems.problem import Problem
from firenet.problems.synthesis import SynthesisProblem
from firenet.solver.analysis_kernel import AnalysisKernel
from firenet.solver.combination import State, combined, smallest_change
from firenet.solver.controller import RestartPoint
from firenet.solver.kernel import Kernel, Steps
from firenet.solver.memory import return_freed_memory
from firenet.solver.synthesis_kernel import SynthesisKernel, pairs

# The tensors that a layer changes.
_STATE = ("x", "measured", "q", "_back", "last", "last_measured", "_x_sum", "_measured_sum", "_q_sum", "_back_sum")


@dataclass(frozen=True)
class Values:
    """Objectives and dual values of a batch, float64, one per batch item.

    Attributes:
        last: F at the last :math:`\\tilde x`, see :meth:`.Problem.value_at`.
        average: F at the average of the :math:`\\tilde x` since the last restart.
        combination: F at the combination of the last x, see :meth:`Iteration.combine`; infinite without one.
        dual_last: The dual value of the feasible point made of the last q: a lower bound of min F.
        dual_average: The dual value of the feasible point made of the average of the q.
        dual_combination: The dual value of the combination of the last q; minus infinity without one.
    """

    last: Tensor
    average: Tensor
    combination: Tensor
    dual_last: Tensor
    dual_average: Tensor
    dual_combination: Tensor


@final
class Iteration:
    """The state of a batch in the iteration, and the loop over layers.

    Its tensors are in the coordinates of its kernel. Without gradients a layer overwrites its own state; with gradients
    the same formulas make new tensors.

    Args:
        kernel: The primal and the dual step, see :func:`kernel_for`.
        y: Packed measurements (batch, \\*out_shape).
        x: Packed first coefficients (batch, \\*in_shape), or None for zero.
        dtype: The dtype of the coefficients.
        track: Whether to store the input of :meth:`evaluate` and :meth:`moved`: all averages, and the start of a run.
        average: Whether to store the average of x, for :meth:`average` and restarts from it.
    """

    def __init__(
        self, kernel: Kernel, y: Tensor, x: Tensor | None, dtype: torch.dtype, *, track: bool, average: bool = True
    ) -> None:
        self._double = torch.finfo(dtype).bits == 64
        self.kernel, self.problem, self.operator, self.y = kernel, kernel.problem, kernel.operator, y
        self._track, self._average = track, average
        shape = (len(y), *self.operator.in_shape)
        zero = torch.zeros(shape, dtype=dtype, device=y.device)
        self.x = zero if x is None else x.clone(memory_format=torch.contiguous_format)
        self.measured = torch.zeros_like(y) if x is None else self.operator(self.x)  # Ax
        self.q = kernel.zero_dual(y, dtype)
        self._parts: Any = None  # the parts of this q, see Kernel.dual
        self.last, self.last_measured = self.x.clone(), self.measured
        self._counted = True  # whether A*q of this q is in _back_sum
        self._recent: list[State] = []  # the last states of a run
        self._combined: State | None = None
        self.factors: Tensor | None = None  # of the combination, see combine
        # Data whose norm overflows make steps that are not finite; they end as a numerical error, not as bad steps.
        self._finite: list[bool] | None = None  # numbers that cannot be read are not checked
        if readable(y):
            self._finite = torch.isfinite(norms(y.detach(), y.ndim - 1)).tolist()
        own = self.problem.measurement
        weights = [] if self.problem.weights is None else [self.problem.weights]
        self._derivatives = any(map(derived, (y, self.x, *weights, *own.parameters(), *own.buffers())))
        self._back: Tensor | None = torch.zeros_like(self.x)  # A*q, or None
        # Large tensors swap roles (the module's first lines) instead of being freed and allocated again, which would
        # fragment the memory.
        self._memory = None if self._derivatives else self._back
        self.forget()

    @property
    def back(self) -> Tensor:
        """A*q, computed if it is not known."""
        back = self._back
        if back is None:
            back = self._back = cast(Tensor, self.operator.adjoint(self.q, self._memory))
        return back

    def set_steps(self, tau: Tensor, sigma: Tensor, relaxation: Tensor | float) -> None:
        """Sets the steps and the relaxation of the next layers: float64, one per batch item, on the CPU, where they are
        checked without waiting for another device; one number is the relaxation of all items.

        Raises:
            BadInput: For steps that are too large for the operator's norm.
        """
        bound = self.operator.norm_bound.value
        self._check_steps((tau * bound) * (sigma * bound))  # the square of a bound may overflow
        if isinstance(relaxation, Tensor):
            plain = bool((relaxation == 1).all())
        else:
            plain, relaxation = relaxation == 1, torch.full_like(tau.detach(), relaxation)
        if not plain and self.x is self.last:  # after a run without relaxation; from now on x is overwritten
            self.x = self.x.clone()
        real = self.y.real.dtype
        tau, sigma, rho = (t.to(self.y.device).to(real) for t in (tau, sigma, relaxation))
        wide, flat = ((-1, *(1,) * len(shape)) for shape in (self.operator.in_shape, self.operator.out_shape))
        self._steps = Steps(tau.view(wide), sigma.view(flat), rho.view(wide), rho.view(flat), plain)
        self._threshold = None if self._derivatives else self.kernel.threshold(self._steps.tau, self.x)

    def _check_steps(self, products: Tensor) -> None:
        if self._finite is not None:
            products = products.detach()[self._finite]
            self.check_product(float(products.max()) if products.numel() else 0.0)

    def check_product(self, product: float) -> None:
        """Raises BadInput if :math:`\\tau\\sigma\\|A\\|^2` is above one."""
        if not product <= 1 + 1e-9:
            got = f"{product:.6g} with the norm bound {self.operator.norm_bound.value:.6g}"
            raise BadInput("Steps with tau * sigma * norm^2 <= 1", got, "Use smaller steps")

    def run(self, layers: int, checkpoint: int | None = None, *, recent: int = 0) -> None:
        """Runs a number of layers; with gradients, the backward pass recomputes ``checkpoint`` of them at a time.

        Args:
            layers: The number of layers.
            checkpoint: None keeps all states for the backward pass.
            recent: The number of last states that :meth:`combine` may use.
        """
        self._recent, self._combined, self.factors = self._recent[-recent:] if recent else [], None, None
        done = 0
        while done < layers:
            ahead = layers - recent - done if layers - recent > done else 1
            if self._threshold is not None:
                for _ in range(ahead):
                    self._step_in_place()
            elif checkpoint is None:
                for _ in range(ahead):
                    self._step()
            else:
                ahead = min(ahead, checkpoint)
                self._segment(ahead)
            done += ahead
            if done > layers - recent:
                state = State(self.x, self.measured, self.q, self.back)
                self._recent.append(state if self._threshold is None else state.copied())
        self._recent = self._recent[max(len(self._recent) - recent, 0) :]
        self.count += layers

    def _segment(self, layers: int) -> None:
        _ = self.back
        names = [name for name in _STATE if hasattr(self, name)]
        before = tuple(getattr(self, name) for name in names)
        plan = copy.copy(self)  # has these steps, which later calls of set_steps do not change, and no state
        vars(plan).update(dict.fromkeys([*names, "_parts"]))

        def walk(*state: Tensor) -> tuple[Tensor, ...]:
            return_freed_memory()
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
        """Computes one layer by its formula, with new tensors."""
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
        """Computes one layer in place, as the module's docstring describes."""
        assert self._threshold is not None
        assert self._memory is not None
        steps, kernel, new = self._steps, self.kernel, self._memory
        if self._track and not self._counted:
            _add(self._back_sum, self.back)
        ahead = self._advance(new)
        # In single precision A of the change of x: the rounding of A(new), relative to |y|, would be new noise in every
        # layer, and the dual point would not converge; the rounding of A of the change vanishes with it.
        measured = self.operator(new) if self._double else self.operator(self.last).add_(self.last_measured)
        self.q, self._back = kernel.dual_(self.q, self.y, ahead, measured, self.measured, steps, self.last)
        del ahead
        if steps.plain:
            self.x, self.measured = new, measured
        else:
            relaxed = torch.lerp(real_view(self.measured), real_view(measured), pairs(steps.rho_y, self.y))
            self.measured = torch.view_as_complex(relaxed) if self.y.is_complex() else relaxed
        self._memory, self.last, self.last_measured = self.last, new, measured
        self._counted = False
        if self._track or self._average:
            _add(self._measured_sum, self.last_measured)
        if self._track:
            _add(self._q_sum, self.q)

    def _advance(self, new: Tensor) -> Tensor | None:
        """Computes the primal step, written into ``new``, and what depends on it alone: the relaxed x, the sum of the
        run, and in single precision the change of :math:`\\tilde x`, written over ``last``. Returns what the dual step
        needs, see :meth:`.Kernel.overshoot`."""
        steps, kernel, back, total = self._steps, self.kernel, self.back, None
        self._back = None
        if self._track or self._average:
            total = self._x_sum
        if kernel.advance_(new, self.x, back, self.last, total, self._threshold, steps, not self._double):
            return None
        torch.addcmul(real_view(self.x), pairs(steps.tau.neg(), new), real_view(back), out=real_view(new))
        kernel.primal_(new, self._threshold, self.operator.spare(new))
        ahead = kernel.overshoot(new, self.x)  # before x is overwritten
        if total is not None:
            _add(total, new)
        if not self._double:
            _subtract_from(self.last, new)
        if not steps.plain:
            real_view(self.x).lerp_(real_view(new), pairs(steps.rho_x, self.x))
        return ahead

    # --------------------------------------------------------------------------------------------- between the layers

    def average(self) -> Tensor:
        """Returns the average of the :math:`\\tilde x` since the last restart."""
        return self._mean(self._x_sum)

    def combination(self) -> Tensor:
        """Returns the combination of the last x, see :meth:`combine`."""
        assert self._combined is not None
        return self._combined.x

    def combine(self, factors: Tensor | None = None) -> None:
        """Combines the last states of the run: the result is :meth:`combination`, and the restart point of this name.

        Ax and A*q are combined with the points, so no operator is applied. See :mod:`firenet.solver.combination`.

        Args:
            factors: The :math:`\\gamma_j` of the last states, (batch, number), float64; None computes them.
        """
        states = self._recent
        if factors is None:
            if len(states) < 2:
                return
            factors = smallest_change(states, self.count, self._steps)
            states = states[1:]
        self.factors = factors
        self._combined = combined(states[-factors.shape[1] :], factors)

    def point(self, which: RestartPoint) -> Tensor:
        """Returns a point: the last :math:`\\tilde x`, or :meth:`average`, or :meth:`combination`."""
        return self.last if which == "last" else self.average() if which == "average" else self.combination()

    def dual(self, which: RestartPoint) -> Tensor:
        """Returns the dual point of this kind."""
        if which == "combination":
            assert self._combined is not None
            return self._combined.q
        return self.q if which == "last" else self.average_dual()

    def average_dual(self, out: Tensor | None = None) -> Tensor:
        """Returns the average of the q since the last restart, written into ``out`` if that is given."""
        return self._mean(self._q_sum, out)

    def _mean(self, total: Tensor, out: Tensor | None = None) -> Tensor:
        count = self.count.to(total.real.dtype).view(-1, *(1,) * (total.ndim - 1))
        if out is None:
            return total / count
        torch.div(real_view(total), pairs(count, total), out=real_view(out))
        return out

    def evaluate(self) -> Values:
        """Computes objectives and dual values.

        In the synthesis form, for (P2) and (P3), it applies only A*, to q, and the next layer uses the result.
        """
        self._count_back()
        if self.factors is None:
            self.combine()
        dual_last, size_last = self.problem.bound(self.q, self.back, self.y)
        dual_average, size_average = self.problem.bound(self._q_sum, self._back_sum, self.y, self.count)
        residual = self._mean(self._measured_sum) - self.y
        if isinstance(self.problem.fidelity, Ball):
            average = self.problem.value_at(self._mean(self._x_sum), residual, size_average)
        else:
            # Norms are homogeneous: the norm of an average is that of the sum, divided by the count.
            fidelity = self.problem.fidelity.value(norms(residual, self.y.ndim - 1))
            average = self.problem.penalty(self._x_sum) / self.count + fidelity
        last = self.problem.value_at(self.last, self.last_measured - self.y, size_last)
        combination, dual_combination = torch.full_like(last, torch.inf), torch.full_like(last, -torch.inf)
        if self._combined is not None:
            x, measured, q, back = self._combined
            dual_combination, size = self.problem.bound(q, back, self.y)
            combination = self.problem.value_at(x, measured - self.y, size)
        return Values(last, average, combination, dual_last, dual_average, dual_combination)

    def _count_back(self) -> None:
        if not self._counted:
            self._back_sum = self._back_sum + self.back if self._derivatives else self._back_sum.add_(self.back)
            self._counted = True

    def place(
        self, where: RestartPoint | Literal["start"] | Tensor, *, keep_dual: bool, rows: list[int] | None = None
    ) -> None:
        """Sets the state from which the next run of some batch items starts.

        Args:
            where: The ``average``, the ``last`` state (unchanged), the ``combination``, the ``start`` of the run, or
                points x for the batch.
            keep_dual: Whether the dual point is kept, the one of the same kind as ``where``; if not, it is set to zero.
            rows: The batch items; None is all of them.
        """
        some = None if rows is None or len(rows) == len(self.y) else torch.tensor(rows, device=self.y.device)
        x, measured, q, back = self.x, self.measured, self.q, self.back
        if isinstance(where, Tensor):
            x, measured = where.clone(), self._measured_at(where, some)
        elif where == "average":
            whole = some is None and not self._derivatives
            over = self.x if whole and self.x is not self.last else None
            x, measured = self._mean(self._x_sum, over), self._mean(self._measured_sum)
            if keep_dual:
                self._count_back()
                q, back = self.average_dual(), self._mean(self._back_sum, self._memory if whole else None)
        elif where == "combination":
            assert self._combined is not None
            x, measured, q, back = self._combined
            if self._double:
                # The factors magnify the rounding that Ax has accumulated, and the next combination would again.
                measured = self._measured_at(x, some)
        elif where == "start":
            x, q = self._x_start.clone(), self._q_start.clone()
            measured, back = self._measured_at(x, some), self.operator.adjoint(q)
        if not keep_dual:
            q, back = torch.zeros_like(q), torch.zeros_like(back)
        if some is not None:
            x, measured, q, back = (
                old if new is old else old.index_copy(0, some, new[some])
                for old, new in zip((self.x, self.measured, self.q, self.back), (x, measured, q, back), strict=True)
            )
        self.x, self.measured, self.q, self._back, self._parts = x, measured, q, back, None
        if not self._derivatives:
            self.anchor()

    def _measured_at(self, x: Tensor, some: Tensor | None) -> Tensor:
        """Returns Ax for some batch items (None: all)."""
        return self.operator(x) if some is None else self.measured.index_copy(0, some, self.operator(x[some]))

    def anchor(self) -> None:
        """Computes Ax again if the state is in single precision; this removes the rounding that Ax has accumulated."""
        if not self._double:
            if self.last is not self.x:
                self.last.copy_(self.x)
            self.measured = self.last_measured = self.operator(self.x)

    def place_dual(self, q: Tensor) -> None:
        """Sets the dual points from which the first run starts."""
        self.q, self._back, self._parts = q.clone(), None, None  # a copy, since layers overwrite it
        self.forget()

    def moved(self, rows: list[int]) -> tuple[Tensor, Tensor]:
        """Computes the distances of x and q from the start of the run, float64, one per batch item.

        The caller must then call :meth:`forget` for these rows. This works only for problems with ``jumps``, since
        no start is stored for others.
        """
        # If all items restart, the old start is not needed any more and may be overwritten.
        start = self._x_start if len(rows) == len(self.y) else self._x_start.clone()
        move = _subtract_from(start, self.x)
        return norms(move, self.x.ndim - 1), norms(self.q - self._q_start, self.q.ndim - 1)

    def forget(self, rows: list[int] | None = None) -> None:
        """Starts new averages of some batch items (None: all) at the present state."""
        if self._derivatives or not hasattr(self, "count"):
            self.count = torch.zeros(len(self.y), dtype=torch.float64, device=self.y.device)
            self._x_sum, self._measured_sum = torch.zeros_like(self.x), torch.zeros_like(self.y)
            if self._track:
                self._q_sum, self._back_sum = torch.zeros_like(self.q), torch.zeros_like(self.x)
                if self.problem.jumps:
                    self._x_start, self._q_start = self.x.clone(), self.q.clone()
            self._counted = True  # A*q at the start of a run is not a part of its average
            return
        some = list(range(len(self.y))) if rows is None else rows
        at = torch.tensor(some, dtype=torch.int64, device=self.y.device)
        for total in (self.count, self._x_sum, self._measured_sum):
            total.index_fill_(0, at, 0)
        if self._track:
            if len(some) < len(self.y):
                self._count_back()  # for the items that go on
            self._counted = True
            for total in (self._q_sum, self._back_sum):
                total.index_fill_(0, at, 0)
            if not self.problem.jumps:
                return
            if len(some) == len(self.y):
                self._x_start.copy_(self.x)
                self._q_start.copy_(self.q)
            else:
                self._x_start.index_copy_(0, at, self.x[at])
                self._q_start.index_copy_(0, at, self.q[at])

    def keep(self, rows: list[int]) -> None:
        """Keeps only the given rows of the batch in the state. The caller must then set the steps again."""
        at = torch.tensor(rows, device=self.y.device)
        self._memory = self._parts = self._combined = self.factors = None
        self._recent = [State(*(part[at] for part in state)) for state in self._recent]
        self._finite = None if self._finite is None else [self._finite[k] for k in rows]
        for name, value in list(vars(self).items()):
            if isinstance(value, Tensor):
                setattr(self, name, value[at])
        self._memory = torch.empty_like(self.x)


def kernel_for(problem: Problem) -> Kernel:
    """Returns the kernel of a problem in the coordinates of an iteration."""
    if isinstance(problem, PairProblem):
        return AnalysisKernel(problem)
    assert isinstance(problem, SynthesisProblem)
    return SynthesisKernel(problem)


def _subtract_from(b: Tensor, a: Tensor) -> Tensor:
    """Computes a - b, written over b."""
    torch.sub(real_view(a), real_view(b), out=real_view(b))
    return b


def _add(total: Tensor, term: Tensor) -> None:
    real_view(total).add_(real_view(term))
