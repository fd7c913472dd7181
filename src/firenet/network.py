"""The network: a primal-dual iteration for the square-root LASSO, unrolled, with restarts.

A layer is :mod:`firenet.solver.iteration`'s; the network is what is done with many of them. The weights are the
operator and the schedule's steps, computed and not trained. With a fixed schedule the network is feed-forward; with a
searching one it looks at its duality gap every few layers, and what it did can be frozen into a feed-forward network.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Literal, Self, cast, final

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from firenet.errors import BadInput, DoubtfulInput
from firenet.numerics import full_precision, norms, real_view, tensor_of
from firenet.operators.check import conditions, trusted
from firenet.operators.compact import Compact
from firenet.operators.derivative import keep_kind
from firenet.operators.linear import LinearOperator
from firenet.problems.analysis import AnalysisProblem
from firenet.problems.fidelity import Ball, Fidelity, Norm, Squared
from firenet.problems.gap import Proof, working_floor
from firenet.problems.penalty import check_lam, default_lam
from firenet.problems.problem import Problem
from firenet.problems.synthesis import SynthesisProblem
from firenet.solver.adaptive import AdaptiveRestarts
from firenet.solver.adaptive_loop import Found, prove_at, run_adaptive
from firenet.solver.controller import SearchingSchedule
from firenet.solver.fixed_loop import BestSoFar, Iterate
from firenet.solver.iteration import Iteration, kernel_for
from firenet.solver.least_squares import least_squares
from firenet.solver.schedules import FixedSchedule, FixedSteps, FrozenSteps, Restart, Schedule, Searched, searches
from firenet.solver.solution import Progress, Solution, Status
from firenet.solver.stored_schedules import schedule_from, schedule_state
from firenet.sparsity import SparsityLevels
from firenet.transforms.analysis_operator import AnalysisOperator
from firenet.transforms.convolutions import Convolutions

Form = Literal["synthesis", "analysis"]

# In units of the noise gain. Without noise all of 2e-4 to 2e-3 give much the same image of 256 x 256.
DEFAULT_LAM = 1e-3


@final
class Firenet(nn.Module):
    """The network :math:`y\\mapsto W^*z`, z an approximate minimiser of
    :math:`\\lambda\\|z\\|_{l^1_w}+\\varphi(\\|AW^*z-y\\|_2)` (synthesis form), or :math:`y\\mapsto x`, x one of
    :math:`\\lambda\\|Wx\\|_{l^1_w}+\\varphi(\\|Ax-y\\|_2)` (analysis form). The fidelity :math:`\\varphi` is the norm
    itself (P3), its square (P2), or with ``noise`` the demand that it is at most that (P1).

    Args:
        sensing: A.
        sparsify: W; in synthesis form with W*W = I. None is the identity (plain matrices).
        weights: Positive weights that broadcast to the coefficients (to ``sparsify.penalty_shape``), or
            :class:`SparsityLevels` whose recommended weights are taken. None is all ones, in the analysis form of
            several bands their :meth:`.convolutions.Convolutions.band_noise`, in units in which their mean square is
            1.
        lam: :math:`\\lambda`, a number. None is 1e-3 times the noise gain of A, in the analysis form
            :func:`.penalty.default_lam`, which suits images with noise and without. The theorem's
            :math:`C_1/(C_2\\sqrt\\xi)` (:attr:`Guarantee.lam`) is some 1e-2 and oversmooths them.
            With ``noise`` it only scales the objective, and is 1; for (P2) it must be given.
        schedule: The steps. None is :class:`AdaptiveRestarts`, which finds its own and stops on a proof;
            :class:`PaperSchedule` and others are fixed. What is proven of the paper's schedule is proven for (P3).
        form: ``synthesis`` or ``analysis``; None is analysis for convolutions (undecimated wavelets, the gradient,
            unions) and synthesis for orthonormal and other tight frames. For an orthonormal W the two are the same
            problem.
        iterate: What a fixed schedule returns: the ``average`` of the last restart (what the theory speaks of), the
            ``last`` point, or the ``best`` of all averages and last points, by objective. A searching schedule and a
            frozen one choose themselves.
        noise: A bound of :math:`\\|Ax-y\\|_2`, in the unit of y: solves (P1).
        fidelity: ``norm`` (P3) or ``squared`` (P2), or one of :class:`Norm`, :class:`Squared`, :class:`Ball`.

    ``state_dict`` holds what defines the network beside its operators' buffers: weights, lambda, fidelity, form and
    schedule, as plain data.

    Raises:
        BadInput: Among others for an operator from outside whose adjoint fails :func:`firenet.check_adjoint`, and for a
            lambda, noise or weight that asks to be learned where it would be frozen.

    >>> import torch, firenet
    >>> A = firenet.Matrix(torch.eye(3, dtype=torch.float64)[:2])
    >>> net = firenet.Firenet(A, lam=0.1)
    >>> net(torch.tensor([1.0, 0.0], dtype=torch.float64)).round(decimals=3).tolist()
    [1.0, 0.0, 0.0]
    """

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
        for name, operator in (("sensing", sensing), ("sparsify", sparsify)):
            wanted, do = LinearOperator, "Wrap an array of numbers: firenet.Matrix(array)"
            if name == "sparsify":
                if operator is None:
                    continue
                wanted, do = AnalysisOperator, "For example firenet.Wavelet((256, 256), 'db4')"
            if not isinstance(operator, wanted):
                raise BadInput(f"{name}: an operator, a {wanted.__name__}", type(operator).__name__, do)
            trusted(operator)
        for name, number in (("lam", lam), ("noise", noise)):
            if isinstance(number, Tensor) and number.requires_grad:
                do = f"Pass a number: float({name}); learn the weights instead, as a tensor that requires gradients"
                raise BadInput(f"{name}: a number", "a tensor that requires gradients, which would be frozen", do)
        if isinstance(weights, nn.Parameter):
            do = "Pass a tensor made of it (w * 1.0 or softplus(w)) at each step; gradients reach the parameter"
            raise BadInput("weights: a tensor", "a Parameter, which would be frozen in a buffer", do)
        self.sensing = sensing
        self.sparsify = sparsify
        if form not in ("synthesis", "analysis", None) or (form == "analysis" and sparsify is None):
            needed = "form: synthesis, or analysis with a transform"
            raise BadInput(needed, f"{form!r} with sparsify={sparsify}", "Leave it to None")
        redundant = isinstance(sparsify, Convolutions)
        self.form: Form = form if form is not None else "analysis" if redundant else "synthesis"
        if self.form == "synthesis" and sparsify is not None and not sparsify.is_tight:
            do = "Leave form to None: the analysis form takes every operator"
            raise BadInput("A tight frame, W*W = I, for the synthesis form", type(sparsify).__name__, do)
        self.operator = sensing if sparsify is None or self.form == "analysis" else sensing @ sparsify.H
        named: dict[str, Fidelity] = {"norm": Norm(), "squared": Squared()}
        chosen = fidelity if isinstance(fidelity, Fidelity) else named.get(fidelity)
        if chosen is None or (noise is not None and not isinstance(chosen, Norm)):
            needed = "fidelity: norm, squared or a Fidelity, and noise only beside norm"
            raise BadInput(needed, f"{fidelity!r} with noise={noise}", "For (P1) give noise, for (P2) fidelity")
        if noise is not None:
            try:
                chosen = Ball(float(noise))
            except (TypeError, ValueError):
                do = "The 2-norm of the noise over all samples, in the unit of y"
                raise BadInput("A number for noise", repr(noise), do) from None
        self.fidelity: Fidelity = chosen
        if lam is None and isinstance(self.fidelity, Squared):
            raise BadInput(
                "lam for the squared fidelity, in the unit of y", "none", "Or use the norm, which has a default"
            )
        self.lam = self._default_lam() if lam is None else float(lam)
        self.schedule: Schedule = AdaptiveRestarts() if schedule is None else schedule
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
        elif weights is None and self.form == "analysis" and isinstance(sparsify, Convolutions):
            sizes = sparsify.band_noise()
            weights = sizes / sizes.square().mean().sqrt() if len(sizes) > 1 else None
        elif weights is not None:
            weights = tensor_of(weights, "weights")
        self.register_buffer("weights", weights)
        _ = self.problem  # refuses a bad lam or bad weights now, not at the first image

    def get_extra_state(self) -> Tensor:
        """Returns what defines the network beside tensors, as JSON in bytes: nothing is pickled."""
        noise = self.fidelity.noise if isinstance(self.fidelity, Ball) else None
        squared = isinstance(self.fidelity, Squared)
        state = {"form": self.form, "lam": self.lam, "noise": noise, "squared": squared, "iterate": self.iterate}
        text = json.dumps(state | {"schedule": schedule_state(self.schedule)})
        return torch.tensor(list(text.encode()), dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        """Takes lambda, fidelity and schedule from :meth:`get_extra_state`; the form must be this network's."""
        try:
            found = json.loads(bytes(tensor_of(state).to(torch.uint8).cpu().tolist()).decode())
            form, lam, noise, squared = (found[key] for key in ("form", "lam", "noise", "squared"))
            schedule = schedule_from(found["schedule"])
            fidelity: Fidelity = Squared() if squared else Norm() if noise is None else Ball(float(noise))
        except (KeyError, TypeError, ValueError) as error:
            do = "Load the state_dict of a Firenet of this version"
            raise BadInput("The state of a network", f"something else ({error})", do) from None
        if form != self.form:
            raise BadInput(f"The state of a network in {self.form} form", f"one in {form} form", "Make it in that form")
        check_lam(lam)
        self.lam, self.fidelity, self.schedule, self.iterate = float(lam), fidelity, schedule, found["iterate"]

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
            # Where the gain is zero, so is A, and any lambda will do.
            return DEFAULT_LAM * (self.sensing.gain or 1.0)
        frame = self.sparsify
        return default_lam(self.sensing, math.prod(frame.penalty_shape)) / (frame.scale or 1.0)

    @property
    def problem(self) -> SynthesisProblem | AnalysisProblem:
        """The problem, in the coefficients; in the analysis form in the image."""
        if self.form == "analysis":
            assert self.sparsify is not None
            return AnalysisProblem(self.sensing, self.sparsify, self._weights, self.lam, self.fidelity)
        return SynthesisProblem(self.operator, self._weights, self.lam, self.fidelity)

    @property
    def _weights(self) -> Tensor | None:
        return cast("Tensor | None", self.weights)

    def forward(
        self, y: Tensor | ArrayLike, x0: Tensor | ArrayLike | None = None, *, checkpoint: int | None = None
    ) -> Tensor:
        """The network: measurements (..., \\*sensing.out_shape) to images (..., \\*sensing.in_shape). Differentiable.

        With a searching schedule the steps that it finds for these y count as constants: the derivative is that of the
        frozen network.

        Args:
            y: Measurements, finite; what lies off the mask is ignored.
            x0: A first image (warm start), zero by default.
            checkpoint: For the backward pass, keep only the state after every so many layers and compute the others
                again: memory for some ``checkpoint + layers / checkpoint`` layers instead of all, at twice the time.

        Raises:
            BadInput: As :meth:`solve`.
        """
        if checkpoint is not None and checkpoint < 1:
            raise BadInput(
                "checkpoint of at least one layer", f"{checkpoint}", "The root of the number of layers is best"
            )
        with full_precision():
            first = None if x0 is None else tensor_of(x0, "a first image")
            return self._reconstructed(tensor_of(y, "measurements"), first, checkpoint)

    def _reconstructed(self, y: Tensor, x0: Tensor | None, checkpoint: int | None) -> Tensor:
        if not searches(self.schedule):
            return self._unrolled(y, x0, checkpoint)
        solution = self.solve(y, x0=x0)
        if not torch.is_grad_enabled() or not solution.statuses:
            return solution.image
        batch, shape = solution.gap.shape, self.sensing.in_shape
        starts = [None] * len(solution.statuses) if x0 is None else list(x0.expand(*batch, *shape).reshape(-1, *shape))
        did, items = cast(Searched, solution.schedule), y.reshape(-1, *self.sensing.out_shape)
        images = [
            self.following(did.frozen(k))._unrolled(item, start, checkpoint)
            for k, (item, start) in enumerate(zip(items, starts, strict=True))
        ]
        return torch.stack(images).view(*batch, *shape)

    def following(self, schedule: Schedule) -> Firenet:
        """The same network with another schedule: its operators and weights are shared, not copied."""
        return self._with(schedule, self._weights)

    def reweighted(self, weights: Tensor | None, noise: float | None = None) -> Firenet:
        """The same network with other weights, and where ``noise`` is given with this noise level."""
        return self._with(self.schedule, weights, noise)

    def _with(self, schedule: Schedule, weights: Tensor | None, noise: float | None = None) -> Firenet:
        fidelity, lam = self.fidelity, self.lam
        if noise is not None:
            fidelity, lam = Ball(noise), lam if isinstance(fidelity, Ball) else 1.0
        return Firenet(
            self.sensing,
            self.sparsify,
            weights=weights,
            lam=lam,
            schedule=schedule,
            iterate=self.iterate,
            form=self.form,
            fidelity=fidelity,
        )

    @torch.no_grad()
    def solve(
        self,
        y: Tensor | ArrayLike,
        *,
        x0: Tensor | ArrayLike | None = None,
        dual0: tuple[Tensor, Tensor | None] | None = None,
        tolerance: float | None = None,
        progress: Progress | None = None,
    ) -> Solution:
        """Reconstructs and certifies.

        Args:
            y: Measurements (..., \\*sensing.out_shape); what lies off the mask is ignored.
            x0: A first image (warm start).
            dual0: A first dual point, ``dual`` and ``dual_sparse`` of another solution in the unit of this problem.
            tolerance: Of a fixed schedule: stop at the end of a restart when the relative gap is at most this, each
                batch item on its own; None runs the whole schedule. A searching schedule has its own.
            progress: Called now and then with the layers done and the layers in all (at the most).

        Returns:
            The solution. Objective, lower bound and gap are computed in double precision from the image that is
            returned, whatever the precision of y. For (P1) the tolerance is reached only where the relative violation
            is at most that, too. With ``noise`` at least the norm of y the zero image is the exact answer; a warning
            says so.

        Raises:
            BadInput: For measurements of another shape, with NaN or infinity, or real where complex ones are needed.
        """
        if tolerance is not None and not tolerance > 0:
            raise BadInput("A tolerance above 0", f"{tolerance}", "1e-2 is a picture, 1e-4 a proof")
        if searches(self.schedule) and tolerance is not None:
            do = "Give it to the schedule: AdaptiveRestarts(tolerance=...)"
            raise BadInput("No tolerance beside that of a searching schedule", f"{tolerance}", do)
        with full_precision():
            first = None if x0 is None else tensor_of(x0, "a first image")
            return self._solved(tensor_of(y, "measurements"), first, dual0, tolerance, progress)

    def _solved(
        self,
        y: Tensor,
        x0: Tensor | None,
        dual0: tuple[Tensor, Tensor | None] | None,
        tolerance: float | None,
        progress: Progress | None,
    ) -> Solution:
        layers, batch = self._layers(y, x0, track=True)
        if dual0 is not None:
            layers.place_dual(self._dual(layers, dual0, batch))
        if isinstance(self.fidelity, Ball):
            sizes = [size for size in self._sizes(layers.y).tolist() if 0 < size <= self.fidelity.noise]
            if sizes:
                got = f"noise = {self.fidelity.noise:.4g} for data of norm {sizes[0]:.4g}"
                said = f"A noise level of at least the norm of the data leaves nothing to see: {got}"
                warnings.warn(said, DoubtfulInput, stacklevel=4)
        if searches(self.schedule):
            searching = cast(SearchingSchedule, self.schedule)
            sizes = norms(layers.y, layers.y.ndim - 1).tolist()
            factor = layers.problem.first_weight if isinstance(searching, AdaptiveRestarts) else 1.0
            controllers = [searching.controller(layers.operator.norm_bound, factor * size) for size in sizes]
            tolerances = [controller.tolerance for controller in controllers]
            packed = layers.y  # of all items: those that are done leave the layers
            found, problem = run_adaptive(layers, controllers, searching.layers, progress), layers.problem
            del layers  # its memory is for the image
            return self._searched(found, problem, packed, batch, tolerances)
        schedule = cast(FixedSchedule, self.schedule)
        best, done = BestSoFar(layers), 0
        for restart in self._runs(layers, schedule):
            layers.run(restart.layers)
            done += restart.layers
            if progress is not None:
                progress(done, schedule.layers, None)
            if best.update(layers, self._returned(restart), done, tolerance):
                break
        z, proof = prove_at(layers, best.z, best.dual, layers.y)
        problem, packed, count = layers.problem, layers.y, best.layers
        del layers
        ended = torch.isfinite(best.objective).tolist()
        verdicts = [Status.LAYER_LIMIT if finite else Status.NUMERICAL_ERROR for finite in ended]
        tolerances = [tolerance] * len(packed)
        return self._solution(problem, packed, batch, z, best.dual, proof, count, verdicts, tolerances, schedule)

    def _sizes(self, y: Tensor) -> Tensor:
        return norms(y, y.ndim - 1)

    def _searched(
        self, found: list[Found], problem: Problem, y: Tensor, batch: torch.Size, tolerances: list[float]
    ) -> Solution:
        if found:
            z, dual = torch.cat([f.z for f in found]), _batch([f.dual for f in found])
            parts = [vars(f.proof) for f in found]
            proof = Proof(**{name: torch.cat([part[name] for part in parts]) for name in parts[0]})
        else:
            dtype = self.operator.state_dtype(y.dtype)
            dual = problem.dual_of(torch.zeros_like(y, dtype=dtype))
            z = y.new_zeros((0, *self.operator.in_shape), dtype=dtype)
            none, no = y.new_zeros(0, dtype=torch.float64), y.new_zeros(0, dtype=torch.bool)
            proof = Proof(none, none, none, none, none, none, none, no, no, no)
        count = torch.tensor([f.layers for f in found], dtype=torch.int64, device=z.device)
        verdicts = [_STATUS[f.verdict] for f in found]
        did = Searched(tuple(f.runs for f in found))
        del found
        return self._solution(problem, y, batch, z, dual, proof, count, verdicts, tolerances, did)

    def _solution(
        self,
        problem: Problem,
        y: Tensor,
        batch: torch.Size,
        z: Tensor,
        dual: Tensor,
        proof: Proof,
        count: Tensor,
        verdicts: list[Status],
        tolerances: Sequence[float | None],
        schedule: FixedSchedule | Searched,
    ) -> Solution:
        asked = proof.gap.new_tensor([-1.0 if t is None else t for t in tolerances])
        proof = self._infeasible(problem, y, z, proof, asked.clamp(min=0))
        statuses = self._statuses(proof, verdicts, asked, y)
        q, sparse = problem.duals(problem.feasible(dual, y), batch)
        z = z.view(*batch, *self.operator.in_shape)
        return Solution(
            image=self._image(z),
            coefficients=z,
            dual=q,
            objective=proof.objective.view(batch),
            lower_bound=proof.lower_bound.view(batch),
            gap=proof.gap.view(batch),
            rounding=proof.rounding.view(batch),
            relative_gap=proof.relative_gap.view(batch),
            violation=proof.violation.view(batch),
            relative_violation=proof.relative_violation.view(batch),
            statuses=statuses,
            layers=count.view(batch),
            schedule=schedule,
            dual_sparse=sparse,
            conditions=conditions(self.sensing, self.sparsify),
        )

    def _infeasible(self, problem: Problem, y: Tensor, z: Tensor, proof: Proof, allowed: Tensor) -> Proof:
        """Returns the proof, for (P1) with what the least-squares problem says of images that do not fit.

        Where the nearest image x does not fit either, its residual is a dual ray: nothing but a huge image can fit.
        That is said where every image that fits has a penalty above 1e6 times that of x and that of z.
        """
        beyond = proof.relative_violation > allowed
        none = torch.zeros_like(proof.infeasible)
        if not isinstance(self.fidelity, Ball) or self.operator.has_minimum_norm or not bool(beyond.any()):
            return replace(proof, infeasible=none)
        plain = self.operator.compact()
        nearest, residual = least_squares(plain, self.operator.precisely(y).reshape(-1, *plain.out_shape))
        ray = problem.dual_of(residual.reshape(y.shape))
        near, here = problem.proof(plain.unpack(nearest), ray, y), problem.proof(z, ray, y)
        proved = near.infeasible & here.infeasible & beyond
        parts = {name: torch.where(proved, getattr(here, name), value) for name, value in vars(proof).items()}
        return replace(Proof(**parts), infeasible=proved)

    def _statuses(self, proof: Proof, verdicts: list[Status], asked: Tensor, y: Tensor) -> tuple[Status, ...]:
        """Returns how each batch item ended: what is proved decides, then what the loop saw.

        Args:
            proof: What is proved.
            verdicts: What the loop saw.
            asked: The tolerances, negative where none was asked for.
            y: Packed measurements.
        """
        reached = (proof.reached(asked) & (asked > 0)).tolist()
        misfit = (proof.relative_violation > asked.clamp(min=0)).tolist()
        size = self.fidelity.unit(proof.objective.abs(), self._sizes(y)).tolist()
        found = []
        for k, verdict in enumerate(verdicts):
            objective, gap = proof.objective[k].item(), proof.gap[k].item()
            # A few roundings of the working precision: there the loop goes round in circles.
            floor = max(8 * working_floor(torch.finfo(y.dtype).eps, objective, size[k]), proof.rounding[k].item())
            if not (objective < math.inf and gap < math.inf):
                found.append(Status.NUMERICAL_ERROR)
            elif bool(proof.contradiction[k]):
                found.append(Status.WRONG_ADJOINT)
            elif reached[k]:
                found.append(Status.TOLERANCE_REACHED)
            elif bool(proof.infeasible[k]):
                found.append(Status.NO_IMAGE_FITS)
            elif misfit[k]:
                found.append(Status.DOES_NOT_FIT)
            elif verdict in (Status.TOLERANCE_REACHED, Status.PRECISION_LIMIT) or gap <= floor:
                found.append(Status.PRECISION_LIMIT)
            else:
                found.append(verdict)
        return tuple(found)

    def _returned(self, restart: Restart) -> Iterate:
        """What a fixed schedule returns after this restart."""
        return restart.restart_point if isinstance(self.schedule, FrozenSteps) else self.iterate

    def _layers(
        self, y: Tensor, x0: Tensor | None, *, track: bool, average: bool = True
    ) -> tuple[Iteration, torch.Size]:
        """The state before the first layer, with one batch axis, and the batch axes of y."""
        _keep_freed_memory()
        y = self._measurements(y)
        batch = y.shape[: y.ndim - len(self.sensing.out_shape)]
        count = math.prod(batch)
        problem = self.problem.compact()
        compact = cast(Compact, problem.operator)
        dtype = self.operator.state_dtype(y.dtype)
        first = None
        if x0 is not None:
            first = compact.pack(self._start(x0, batch, dtype).reshape(count, *self.operator.in_shape))
        measured = compact.pack_measured(y.reshape(count, *self.sensing.out_shape))
        return Iteration(kernel_for(problem), measured, first, dtype, track=track, average=average), batch

    def _dual(self, layers: Iteration, dual0: tuple[Tensor, Tensor | None], batch: torch.Size) -> Tensor:
        """A first dual point as the loop has it."""
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

    def _runs(self, layers: Iteration, schedule: FixedSchedule) -> Iterator[Restart]:
        """The restarts of a fixed schedule, the state and the steps ready for each; the caller runs its layers."""
        size = norms(layers.y, layers.y.ndim - 1).cpu()
        before: Restart | None = None
        for restart in schedule.restarts(layers.operator.norm_bound, size):
            if before is not None:
                layers.place(before.restart_point, keep_dual=before.keep_dual)
                layers.forget()
            layers.set_steps(restart.tau, restart.sigma, torch.full_like(size.detach(), restart.relaxation))
            yield restart
            before = restart

    def _unrolled(self, y: Tensor, x0: Tensor | None, checkpoint: int | None) -> Tensor:
        """The image of a fixed schedule, differentiable."""
        schedule = cast(FixedSchedule, self.schedule)
        best_of_all = self.iterate == "best" and not isinstance(schedule, FrozenSteps)
        # One run of which only the last point is wanted needs no average.
        average = not (self.iterate == "last" and isinstance(schedule, FixedSteps))
        layers, batch = self._layers(y, x0, track=isinstance(schedule, FrozenSteps) or best_of_all, average=average)
        best, restart = BestSoFar(layers), None
        for restart in self._runs(layers, schedule):
            layers.run(restart.layers, checkpoint)
            if best_of_all:
                best.improve(layers)
        assert restart is not None
        which = self._returned(restart)
        z = {"average": layers.average, "last": lambda: layers.last, "best": lambda: best.z}[which]()
        if isinstance(self.fidelity, Ball):
            z = layers.problem.feasible_point(z, layers.operator(z) - layers.y)
        return self._image(self._unpacked(layers.operator, z, batch))

    def _unpacked(self, compact: Compact, z: Tensor, batch: torch.Size) -> Tensor:
        return compact.unpack(z).view(*batch, *self.operator.in_shape)

    def _measurements(self, y: Tensor) -> Tensor:
        shape = self.sensing.out_shape
        y = y.to(_EXACTLY.get(y.dtype, y.dtype))
        if y.ndim < len(shape) or tuple(y.shape[y.ndim - len(shape) :]) != shape:
            raise BadInput(
                f"Measurements with trailing shape {shape}",
                f"shape {tuple(y.shape)}",
                "Check the mask's shape and the order of the axes",
            )
        if y.dtype not in (torch.float32, torch.float64, torch.complex64, torch.complex128):
            needed = "Measurements of dtype float32, float64, complex64 or complex128"
            raise BadInput(needed, f"{y.dtype}", "Convert them first")
        # The extremes are NaN where one number is; isfinite(y) would take as much memory as two images.
        if y.numel() and not torch.isfinite(torch.stack(torch.aminmax(real_view(y)))).all():
            do = "Find out where they come from; missing samples are zeros off the mask"
            raise BadInput("Finite measurements", "NaN or infinity", do)
        state = self.operator.state_dtype(y.dtype)
        if state.is_complex and not y.is_complex():
            # A complex matrix takes real measurements. Fourier sensing refuses them here: the phase must be somewhere.
            self.operator.adjoint(torch.zeros(shape, dtype=y.dtype, device=y.device))
        return y.to(torch.promote_types(y.dtype, state))

    def _start(self, x0: Tensor, batch: torch.Size, dtype: torch.dtype) -> Tensor:
        """The coefficients of a first image, in the shape and dtype of the state."""
        shape = self.sensing.in_shape
        try:
            fits = torch.broadcast_shapes(tuple(x0.shape), (*batch, *shape)) == (*batch, *shape)
        except RuntimeError:
            fits = False
        if not fits or tuple(x0.shape[max(x0.ndim - len(shape), 0) :]) != shape:
            got = f"shape {tuple(x0.shape)}"
            raise BadInput(f"A first image of shape {(*batch, *shape)} or one for all of them", got, "Check its axes")
        if x0.is_complex() and not dtype.is_complex:
            raise BadInput("A real first image for a real problem", f"{x0.dtype}", "Pass its real part")
        if not torch.isfinite(real_view(x0)).all():
            raise BadInput("A finite first image", "NaN or infinity", "Start from zero instead: leave x0 out")
        x0 = x0.to(dtype)
        first = x0 if self.sparsify is None or self.form == "analysis" else self.sparsify(x0)
        return first.expand(*batch, *self.operator.in_shape)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        return super()._apply(keep_kind(fn), recurse)

    def _image(self, z: Tensor) -> Tensor:
        return z if self.sparsify is None or self.form == "analysis" else self.sparsify.adjoint(z)


def _keep_freed_memory() -> None:
    """Lets the C library keep the memory of freed tensors instead of fetching it anew, page by page.

    glibc hands freed blocks back above a limit that grows with the largest block freed so far, up to 32 MB. Freeing one
    block of that size, never touched, raises it once for all; without it a third of a layer's time is page faults.
    """
    torch.empty(2**25 - 2**13, dtype=torch.uint8)


def _batch(items: list[Tensor]) -> Tensor:
    return items[0][None] if len(items) == 1 else torch.stack(items)  # one volume is not copied


# Counts of a detector and numbers in half precision are taken, in a dtype that has them all.
_COUNTS = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
_EXACTLY = {
    torch.float16: torch.float32,
    torch.bfloat16: torch.float32,
    torch.complex32: torch.complex64,
    **dict.fromkeys(_COUNTS, torch.float64),
}

_STATUS: dict[str, Status] = {
    "tolerance": Status.TOLERANCE_REACHED,
    "precision": Status.PRECISION_LIMIT,
    "layers": Status.LAYER_LIMIT,
    "not finite": Status.NUMERICAL_ERROR,
}
