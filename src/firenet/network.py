"""The network: an unrolled primal-dual iteration with restarts, for the square-root LASSO and related problems.

Its layers are those of :mod:`firenet.solver.iteration`. Its weights are the operators and the steps of the schedule,
computed and not trained. With a fixed schedule the network is feed-forward; with a searching schedule it checks its
duality gap every few layers, and the steps that it chose can be frozen into a feed-forward network.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Literal, Self, cast, final, get_args

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from firenet.errors import BadInput, DoubtfulInput
from firenet.numerics import broadcasts_to, compiling, full_precision, norms, readable, real_view, tensor_of
from firenet.operators.check import conditions
from firenet.operators.compact import Compact
from firenet.operators.derivative import keep_kind
from firenet.operators.linear import LinearOperator
from firenet.problems.analysis import AnalysisProblem
from firenet.problems.choices import Form, check_operators, chosen_fidelity, chosen_form, chosen_weights
from firenet.problems.fidelity import Ball, Fidelity, Norm, Squared
from firenet.problems.penalty import check_lam, default_lam
from firenet.problems.problem import Problem
from firenet.problems.synthesis import SynthesisProblem
from firenet.solver.adaptive import AdaptiveRestarts
from firenet.solver.adaptive_loop import joined, run_adaptive
from firenet.solver.ending import Ended, drafts, statuses, with_infeasibility
from firenet.solver.fixed_loop import BestSoFar, Iterate, returned_point, run_fixed, run_layers, runs_of
from firenet.solver.iteration import Iteration, kernel_for
from firenet.solver.memory import keep_freed_memory
from firenet.solver.schedules import FixedSchedule, FixedSteps, FrozenSteps, Schedule, Searched, first_point, searches
from firenet.solver.solution import Progress, Solution
from firenet.solver.stored_schedules import schedule_from, schedule_state
from firenet.sparsity import SparsityLevels
from firenet.transforms.analysis_operator import AnalysisOperator

# Relative to the noise gain. Without noise all values from 2e-4 to 2e-3 give much the same image of 256 x 256.
DEFAULT_LAM = 1e-3


@final
class Firenet(nn.Module):
    """A network from measurements to images that approximately solves a sparse optimisation problem.

    In synthesis form it is :math:`y\\mapsto W^*z`, where z is an approximate minimiser of
    :math:`\\lambda\\|z\\|_{l^1_w}+\\varphi(\\|AW^*z-y\\|_2)`; in analysis form it is :math:`y\\mapsto x`, where x
    approximately minimises :math:`\\lambda\\|Wx\\|_{l^1_w}+\\varphi(\\|Ax-y\\|_2)`. The fidelity :math:`\\varphi` is
    the norm itself (P3), its square (P2), or with ``noise`` the constraint that the norm is at most ``noise`` (P1).

    Args:
        sensing: The measurement operator A.
        sparsify: The analysis operator W; in synthesis form with W*W = I. None is the identity (plain matrices).
        weights: Positive weights that broadcast to the coefficients (to ``sparsify.penalty_shape``), or
            :class:`SparsityLevels`, whose recommended weights are taken. None is all ones; in the analysis form with
            several bands it is the noise standard deviation of each band
            (:meth:`.convolutions.Convolutions.band_noise`), scaled to mean square 1.
        lam: The regularisation parameter :math:`\\lambda`, a number. None is 1e-3 times the noise gain of A in the
            synthesis form. In the analysis form it is :func:`.penalty.default_lam` over the ``scale`` of W, which suits
            images with and without noise. The theorem's :math:`C_1/(C_2\\sqrt\\xi)`
            (:attr:`.constants.Constants.lam`) is some 1e-2 and oversmooths images. With ``noise`` lambda only scales
            the objective, and None is 1; for (P2) lambda must be given.
        schedule: The steps. None is :class:`AdaptiveRestarts`, which finds its own steps and stops when the gap is
            proved small enough; :class:`PaperSchedule` and others are fixed. The guarantees of the paper's schedule
            hold for (P3).
        form: ``synthesis`` or ``analysis``; None is analysis for convolutions (undecimated wavelets, the gradient,
            unions) and synthesis for orthonormal and other tight frames. For an orthonormal W the two are the same
            problem.
        iterate: The point that a fixed schedule returns: the ``average`` since the last restart (to which the theory
            applies), the ``last`` point, or the ``best`` of all averages and last points, by objective. Searching and
            frozen schedules choose the point themselves.
        noise: A bound of :math:`\\|Ax-y\\|_2`, in the unit of y: solves (P1).
        fidelity: ``norm`` (P3) or ``squared`` (P2), or one of :class:`Norm`, :class:`Squared`, :class:`Ball`.

    Besides the buffers of its operators, ``state_dict`` has everything that defines the network: weights, lambda,
    fidelity, form and schedule, as plain data.

    Raises:
        BadInput: Among others for a user-defined operator whose adjoint fails :func:`firenet.check_adjoint`, and for a
            lambda or noise that requires gradients, or weights that are a Parameter, which the network would freeze.

    >>> import torch, firenet
    >>> A = firenet.Matrix(torch.eye(3, dtype=torch.float64)[:2])
    >>> net = firenet.Firenet(A, lam=0.1)
    >>> net(torch.tensor([1.0, 0.0], dtype=torch.float64)).round(decimals=3).tolist()
    [1.0, 0.0, 0.0]
    """

    weights: Tensor | None

    def __init__(
        self,
        sensing: LinearOperator,
        sparsify: AnalysisOperator | None = None,
        *,
        weights: Tensor | ArrayLike | SparsityLevels | None = None,
        lam: float | None = None,
        schedule: Schedule | None = None,
        iterate: Iterate = "average",
        form: Form | None = None,
        noise: float | None = None,
        fidelity: Literal["norm", "squared"] | Fidelity = "norm",
    ) -> None:
        super().__init__()
        check_operators(sensing, sparsify)
        for name, number in (("lam", lam), ("noise", noise)):
            if isinstance(number, Tensor) and number.requires_grad:
                do = f"Pass a number: float({name}); learn the weights instead, as a tensor that requires gradients"
                raise BadInput(f"{name}: a number", "a tensor that requires gradients, which would be frozen", do)
        self.sensing, self.sparsify = sensing, sparsify
        self.form: Form = chosen_form(form, sparsify)
        self.operator = sensing if sparsify is None or self.form == "analysis" else sensing @ sparsify.H
        self.fidelity: Fidelity = chosen_fidelity(fidelity, noise)
        if lam is None and isinstance(self.fidelity, Squared):
            do = "Give lam, or use fidelity='norm', which has a default"
            raise BadInput("lam for the squared fidelity, in the unit of y", "none", do)
        self.lam = self._default_lam() if lam is None else float(lam)
        self.schedule: Schedule = AdaptiveRestarts() if schedule is None else schedule
        if iterate not in get_args(Iterate):
            raise BadInput("iterate: average, last or best", repr(iterate), "Choose one")
        self.iterate: Iterate = iterate
        self.register_buffer("weights", chosen_weights(weights, sparsify, self.form))
        _ = self.problem  # raises BadInput for a wrong lam or wrong weights now, not at the first image
        if isinstance(self.fidelity, Ball):
            _ = self.operator.has_minimum_norm  # a matrix finds it out once, which a compiler cannot

    def get_extra_state(self) -> Tensor:
        """Returns everything that defines the network, except tensors, as JSON in bytes; nothing is pickled."""
        noise = self.fidelity.noise if isinstance(self.fidelity, Ball) else None
        state = {"form": self.form, "lam": self.lam, "noise": noise, "iterate": self.iterate}
        state |= {"fidelity": type(self.fidelity).__name__, "schedule": schedule_state(self.schedule)}
        text = json.dumps(state)
        return torch.tensor(list(text.encode()), dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        """Sets lambda, fidelity, schedule and ``iterate`` from the result of :meth:`get_extra_state`.

        A user-defined fidelity, whose numbers are not in the state, stays as it is.

        Raises:
            BadInput: For other data, the state of a network in the other form, or another user-defined fidelity.
        """
        try:
            found = json.loads(bytes(tensor_of(state).to(torch.uint8).cpu().tolist()).decode())
            form, lam, noise, name, iterate = (found[key] for key in ("form", "lam", "noise", "fidelity", "iterate"))
            if iterate not in get_args(Iterate):
                raise ValueError(f"iterate {iterate!r}")
            schedule = schedule_from(found["schedule"])
            own = self.fidelity
            known: dict[str, Fidelity] = {"Norm": Norm(), "Squared": Squared(), type(own).__name__: own}
            fidelity = Ball(float(noise)) if noise is not None else known[name]
        except (KeyError, TypeError, ValueError) as error:
            do = "Load the state_dict of a Firenet of this version"
            raise BadInput("The state of a network", f"something else ({error})", do) from None
        if form != self.form:
            do = f"Make this network with form={form!r}"
            raise BadInput(f"The state of a network in {self.form} form", f"one in {form} form", do)
        check_lam(lam)
        self.lam, self.fidelity, self.schedule, self.iterate = float(lam), fidelity, schedule, iterate

    def __repr__(self) -> str:
        problem = {Norm: "(P3)", Squared: "(P2)", Ball: "(P1)"}.get(type(self.fidelity), type(self.fidelity).__name__)
        size = " x ".join(map(str, self.sensing.in_shape))
        taken = f"{self.sensing.samples} of {math.prod(self.sensing.out_shape)} measurements"
        frame = "" if self.sparsify is None else f", {type(self.sparsify).__name__}"
        number = f"noise={self.fidelity.noise:.4g}" if isinstance(self.fidelity, Ball) else f"lam={self.lam:.4g}"
        what = f"{type(self.sensing).__name__} ({taken}) of {size}{frame}"
        return f"Firenet({problem}, {self.form} form: {what}, {number}, {self.schedule})"

    def _default_lam(self) -> float:
        if isinstance(self.fidelity, Ball):
            return 1.0
        if self.form == "synthesis" or self.sparsify is None:
            # If the gain is zero, A is zero, and the minimiser does not depend on lambda.
            return DEFAULT_LAM * (self.sensing.gain or 1.0)
        return default_lam(self.sensing, math.prod(self.sparsify.penalty_shape)) / (self.sparsify.scale or 1.0)

    @property
    def problem(self) -> SynthesisProblem | AnalysisProblem:
        """The optimisation problem: in the coefficients for the synthesis form, in the image for the analysis form."""
        if self.form == "analysis":
            assert self.sparsify is not None
            return AnalysisProblem(self.sensing, self.sparsify, self.weights, self.lam, self.fidelity)
        return SynthesisProblem(self.operator, self.weights, self.lam, self.fidelity)

    @full_precision()
    def forward(
        self, y: Tensor | ArrayLike, x0: Tensor | ArrayLike | None = None, *, checkpoint: int | None = None
    ) -> Tensor:
        """Computes images (..., \\*sensing.in_shape) from measurements (..., \\*sensing.out_shape); differentiable.

        The derivative for a searching schedule is that of the frozen network: it treats the steps that the schedule
        chooses for these y as constants.

        With fixed and frozen steps it composes with ``torch.func`` (``vmap``, ``grad``, ``jacrev``), ``torch.compile``
        with ``fullgraph=True`` and ``torch.export``. Where numbers cannot be read (:func:`.readable`), in ``vmap`` and
        in a graph, the layers are their formulas, and whatever depends on the numbers of tensors is not checked: that
        measurements and first image are finite, that learned or loaded weights are positive, and the ``size`` of a
        :class:`PaperSchedule`. The norm of the operator in a graph is that of the time when the graph was made.

        Args:
            y: Measurements, finite; entries outside the mask are ignored.
            x0: A first image (warm start); the default is that of the schedule.
            checkpoint: Keep for the backward pass only the state after every ``checkpoint`` layers, and recompute the
                others: memory for some ``checkpoint + layers / checkpoint`` layers instead of all, and every layer is
                computed twice.

        Raises:
            BadInput: As :meth:`solve`; in ``vmap`` or in a graph for a searching schedule, and in a graph for
                ``iterate="best"`` with a transform that maps constants to zero.
        """
        if checkpoint is not None and checkpoint < 1:
            do = "The root of the number of layers is best"
            raise BadInput("checkpoint of at least one layer", f"{checkpoint}", do)
        y, x0 = tensor_of(y, "measurements"), None if x0 is None else tensor_of(x0, "a first image")
        if not searches(self.schedule):
            return self._unrolled(y, x0, checkpoint)
        if torch.compiler.is_dynamo_compiling():  # a search is no graph: it runs as it is, and fullgraph refuses it
            apart: Any = torch.compiler.disable(self._searched)
            return apart(y, x0, checkpoint)
        return self._searched(y, x0, checkpoint)

    def _searched(self, y: Tensor, x0: Tensor | None, checkpoint: int | None) -> Tensor:
        """Computes the image of a searching schedule, differentiable."""
        solution = self.solve(y, x0=x0)
        if not torch.is_grad_enabled() or not solution.statuses:
            return solution.image
        batch, shape = solution.gap.shape, self.sensing.in_shape
        starts = [None] * len(solution.statuses) if x0 is None else list(x0.expand(*batch, *shape).reshape(-1, *shape))
        did, items = cast(Searched, solution.schedule), y.reshape(-1, *self.sensing.out_shape)
        pairs = enumerate(zip(items, starts, strict=True))
        images = [self.following(did.frozen(k))._unrolled(*pair, checkpoint) for k, pair in pairs]
        return torch.stack(images).view(*batch, *shape)

    def following(self, schedule: Schedule) -> Firenet:
        """Returns the same network with another schedule; its operators and weights are shared, not copied."""
        return self._with(schedule, self.weights)

    def reweighted(self, weights: Tensor | None, noise: float | None = None) -> Firenet:
        """Returns the same network with other weights and, if ``noise`` is given, with this noise level."""
        return self._with(self.schedule, weights, noise)

    def _with(self, schedule: Schedule, weights: Tensor | None, noise: float | None = None) -> Firenet:
        fidelity, lam = self.fidelity, self.lam
        if noise is not None:
            fidelity, lam = Ball(noise), lam if isinstance(fidelity, Ball) else 1.0
        same: dict[str, Any] = {"iterate": self.iterate, "form": self.form, "schedule": schedule, "weights": weights}
        return Firenet(self.sensing, self.sparsify, lam=lam, fidelity=fidelity, **same)

    @torch.no_grad()
    @full_precision()
    def solve(
        self,
        y: Tensor | ArrayLike,
        *,
        x0: Tensor | ArrayLike | None = None,
        dual0: tuple[Tensor, Tensor | None] | None = None,
        tolerance: float | None = None,
        prove: bool = True,
        progress: Progress | None = None,
    ) -> Solution:
        """Reconstructs images and certifies them.

        Args:
            y: Measurements (..., \\*sensing.out_shape); entries outside the mask are ignored.
            x0: A first image (warm start); the default is that of the schedule: :math:`A^*y/\\|A\\|^2` for
                :class:`AdaptiveRestarts` and for the steps frozen from it, zero for others.
            dual0: A first dual point: ``dual`` and ``dual_sparse`` of another solution, in the unit of this objective;
                for (P1) multiplied by its lambda over that of the other problem.
            tolerance: For a fixed schedule: stop before a restart if the relative gap is at most this, each batch
                item on its own; None runs the whole schedule. A searching schedule has its own tolerance.
            prove: False leaves out the proof after a searching schedule, which takes as long as some 20 layers, for an
                image that only gives weights or a first image. Its lower bound is zero, its gap infinite, and its dual
                point that of the iteration, which need not be feasible.
            progress: Called from time to time with the number of layers so far, the largest number of layers, and the
                relative gap, or None where it is not known.

        Returns:
            The solution. Objective, lower bound and gap are computed in double precision from the image that is
            returned, whatever the precision of y. For (P1) the tolerance is reached only if the relative violation is
            at most the tolerance, too. If ``noise`` is at least the norm of y, the zero image is the exact solution,
            and a warning is given.

        Raises:
            BadInput: For measurements of another shape, with NaN or infinity, or real where complex ones are needed.
        """
        if tolerance is not None and not tolerance > 0:
            raise BadInput("A tolerance above 0", f"{tolerance}", "1e-2 is enough for a preview, 1e-4 is usual")
        if searches(self.schedule) and tolerance is not None:
            do = "Give it to the schedule: AdaptiveRestarts(tolerance=...)"
            raise BadInput("No tolerance here, since the searching schedule has its own", f"{tolerance}", do)
        y, x0 = tensor_of(y, "measurements"), None if x0 is None else tensor_of(x0, "a first image")
        if not readable(y):
            do = "Freeze the steps of a solution: net.following(net.solve(y).schedule.frozen())(y)"
            raise BadInput("A network of fixed steps under vmap, torch.compile or torch.export", "one to solve", do)
        layers, batch = self._layers(y, x0, track=True)
        if dual0 is not None:
            layers.place_dual(self._dual(layers, dual0, batch))
        problem, packed, schedule = layers.problem, layers.y, self.schedule
        sizes: list[float] = norms(packed, packed.ndim - 1).tolist()
        if isinstance(self.fidelity, Ball):
            below = [size for size in sizes if 0 < size <= self.fidelity.noise]
            if below:
                got = f"noise = {self.fidelity.noise:.4g} for data of norm {below[0]:.4g}"
                said = f"If the noise level is at least the norm of the data, the image is zero: {got}"
                warnings.warn(said, DoubtfulInput, stacklevel=4)
        prove = prove or not searches(schedule)
        tolerances: Sequence[float | None] = [tolerance] * len(sizes)
        if searches(schedule):
            factor = problem.first_weight if isinstance(schedule, AdaptiveRestarts) else 1.0
            controllers = [schedule.controller(layers.operator.norm_bound, factor * size) for size in sizes]
            tolerances = [controller.tolerance for controller in controllers]
            found = run_adaptive(layers, controllers, schedule.layers, progress, prove=prove)
            del layers  # to free its memory for the image
            ended = joined(found, problem, packed, first_point(schedule))
            del found
        else:
            ended = run_fixed(layers, cast(FixedSchedule, schedule), self.iterate, tolerance, progress)
            del layers
        return self._solution(ended, problem, packed, batch, tolerances if prove else None)

    def _solution(
        self, ended: Ended, problem: Problem, y: Tensor, batch: torch.Size, tolerances: Sequence[float | None] | None
    ) -> Solution:
        """Returns the solution; without tolerances a draft."""
        proof, dual, states = ended.proof, ended.dual, drafts(ended)
        if tolerances is not None:
            asked = proof.gap.new_tensor([-1.0 if t is None else t for t in tolerances])
            proof = with_infeasibility(problem, y, ended.z, proof, asked.clamp(min=0))
            dual, states = problem.feasible(dual, y), statuses(problem, y, proof, ended.verdicts, asked)
        q, sparse = problem.duals(dual, batch)
        z = ended.z.view(*batch, *self.operator.in_shape)
        return Solution(
            image=self._image(z),
            coefficients=z,
            dual=q,
            dual_sparse=sparse,
            statuses=states,
            layers=ended.layers.view(batch),
            schedule=ended.schedule,
            conditions=conditions(self.sensing, self.sparsify),
            **proof.certified(batch),
        )

    def _layers(
        self, y: Tensor, x0: Tensor | None, *, track: bool, average: bool = True
    ) -> tuple[Iteration, torch.Size]:
        """Returns the state before the first layer, with one batch axis, and the batch axes of y."""
        if not compiling():
            keep_freed_memory()
        y = self._measurements(y)
        batch = y.shape[: y.ndim - len(self.sensing.out_shape)]
        count = math.prod(batch)
        problem = self.problem.compact()
        compact = cast(Compact, problem.operator)
        dtype = self.operator.state_dtype(y.dtype)
        measured = compact.pack_measured(y.reshape(count, *self.sensing.out_shape))
        first = None
        if x0 is None and first_point(self.schedule) == "adjoint":
            norm = self.operator.norm_bound.value or 1.0
            back = self.operator.adjoint(y / norm) / norm  # A*y itself may over- or underflow
            first = compact.pack(back.reshape(count, *self.operator.in_shape))
            if isinstance(self.fidelity, Ball):  # the image of data below the noise is zero
                above = norms(measured, measured.ndim - 1) > self.fidelity.noise
                first = torch.where(above.view(-1, *(1,) * (first.ndim - 1)), first, 0.0)
        elif x0 is not None:
            first = compact.pack(self._start(x0, batch, dtype).reshape(count, *self.operator.in_shape))
        return Iteration(kernel_for(problem), measured, first, dtype, track=track, average=average), batch

    def _dual(self, layers: Iteration, dual0: tuple[Tensor, Tensor | None], batch: torch.Size) -> Tensor:
        """Returns a first dual point as the packed dual variable of the iteration."""
        q, p = dual0
        frame = self.sparsify.out_shape if self.form == "analysis" and self.sparsify is not None else None
        wanted = ((*batch, *self.sensing.out_shape), None if frame is None else (*batch, *frame))
        got = (tuple(q.shape), None if p is None else tuple(p.shape))
        finite = all(bool(torch.isfinite(real_view(t)).all()) for t in (q, p) if t is not None)
        if got != wanted or not finite:
            needed = f"A finite dual point (q, p) of shapes {wanted}: p in the analysis form only"
            raise BadInput(needed, f"{got}", "Pass dual and dual_sparse of a solution for the same batch and form")
        compact, dtype = cast(Compact, layers.problem.operator), layers.x.dtype
        q = compact.pack_measured(q.to(layers.y.dtype).reshape(-1, *self.sensing.out_shape))
        if p is not None and self.sparsify is not None:
            p = p.to(dtype).reshape(-1, *self.sparsify.out_shape)
        return layers.problem.dual_of(q, p)

    def _unrolled(self, y: Tensor, x0: Tensor | None, checkpoint: int | None) -> Tensor:
        """Computes the image of a fixed schedule, differentiable."""
        schedule = cast(FixedSchedule, self.schedule)
        best_of_all = self.iterate == "best" and not isinstance(schedule, FrozenSteps)
        if best_of_all and compiling() and self.sparsify is not None and self.sparsify.annihilates_constants:
            do = "Choose iterate='average' or 'last'"
            raise BadInput("In a graph another iterate for a transform that maps constants to zero", "best", do)
        # A single run whose last point is returned needs no average.
        average = not (self.iterate == "last" and isinstance(schedule, FixedSteps))
        layers, batch = self._layers(y, x0, track=isinstance(schedule, FrozenSteps) or best_of_all, average=average)
        best, restart = BestSoFar(layers), None
        for restart in runs_of(schedule, layers):
            run_layers(layers, restart, checkpoint)
            if best_of_all:
                best.improve(layers)
        assert restart is not None
        which = returned_point(schedule, restart, self.iterate)
        z = best.z if which == "best" else layers.point(which)
        if isinstance(self.fidelity, Ball):
            z = layers.problem.feasible_point(z, layers.operator(z) - layers.y)
        return self._image(layers.operator.unpack(z).view(*batch, *self.operator.in_shape))

    def _measurements(self, y: Tensor) -> Tensor:
        """Returns measurements in the dtype of the problem, after checks of shape, dtype and finiteness."""
        shape = self.sensing.out_shape
        y = y.to(_EXACTLY.get(y.dtype, y.dtype))
        if y.ndim < len(shape) or tuple(y.shape[y.ndim - len(shape) :]) != shape:
            do = "Check the mask's shape and the order of the axes"
            raise BadInput(f"Measurements with trailing shape {shape}", f"shape {tuple(y.shape)}", do)
        if y.dtype not in (torch.float32, torch.float64, torch.complex64, torch.complex128):
            needed = "Measurements of dtype float32, float64, complex64 or complex128"
            raise BadInput(needed, f"{y.dtype}", "Convert them first")
        # The extremes are NaN if any number is NaN; isfinite(y) would take as much memory as two images.
        if readable(y) and y.numel() and not torch.isfinite(torch.stack(torch.aminmax(real_view(y)))).all():
            do = "Find out where they come from; set missing samples to zero and leave them out of the mask"
            raise BadInput("Finite measurements", "NaN or infinity", do)
        state = self.operator.state_dtype(y.dtype)
        if state.is_complex and not y.is_complex():
            # A complex matrix takes real measurements; a Fourier operator raises BadInput: real k-space has no phase.
            self.operator.adjoint(torch.zeros(shape, dtype=y.dtype, device=y.device))
        return y.to(self.operator.data_dtype(y.dtype))

    def _start(self, x0: Tensor, batch: torch.Size, dtype: torch.dtype) -> Tensor:
        """Returns the coefficients of a first image, in the shape and dtype of the state."""
        shape = self.sensing.in_shape
        if not broadcasts_to(x0.shape, (*batch, *shape)) or tuple(x0.shape[max(x0.ndim - len(shape), 0) :]) != shape:
            got = f"shape {tuple(x0.shape)}"
            raise BadInput(f"A first image of shape {(*batch, *shape)} or one for all of them", got, "Check its axes")
        if x0.is_complex() and not dtype.is_complex:
            raise BadInput("A real first image for a real problem", f"{x0.dtype}", "Pass its real part")
        if readable(x0) and not torch.isfinite(real_view(x0)).all():
            raise BadInput("A finite first image", "NaN or infinity", "Start from zero instead: leave x0 out")
        x0 = x0.to(dtype)
        first = x0 if self.sparsify is None or self.form == "analysis" else self.sparsify(x0)
        return first.expand(*batch, *self.operator.in_shape)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        return super()._apply(keep_kind(fn), recurse)

    def _image(self, z: Tensor) -> Tensor:
        return z if self.sparsify is None or self.form == "analysis" else self.sparsify.adjoint(z)


# Detector counts and numbers in half precision are converted to a dtype that represents all of them exactly.
_COUNTS = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
_EXACTLY = {
    torch.float16: torch.float32,
    torch.bfloat16: torch.float32,
    torch.complex32: torch.complex64,
    **dict.fromkeys(_COUNTS, torch.float64),
}
