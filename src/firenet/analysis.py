"""Analysis sparsity: the image has few large coefficients, instead of being made of few.

.. math:: (P_3^a)\\qquad\\min_x\\ \\lambda\\sum_iw_i|(Wx)_i|+\\|Ax-y\\|_2,\\qquad W^*W=I,

for frames with more coefficients than pixels (:class:`firenet.transforms.UndecimatedWavelet`). The dual is

.. math:: \\max\\{-\\mathrm{Re}\\langle y,q\\rangle:\\ \\|q\\|_2\\le1,\\ |p_i|\\le\\lambda w_i,\\ A^*q+W^*p=0\\}.

Since W*W = I, every pair (q, p) can be made feasible: :math:`p-W(W^*p+A^*q)` satisfies the equation, and a division
the bounds. So the duality gap is finite at every point, as in the synthesis form.

A layer has no threshold on the image and a second dual block in its stead:

.. math::
    \\tilde x=x-\\tau(A^*q+W^*p),\\qquad\\tilde q=\\mathrm{proj}_{B_2}\\big(q+\\sigma(A\\bar x-y)\\big),\\qquad
    \\tilde p=\\mathrm{clip}_{\\lambda w}(p+\\sigma W\\bar x),\\qquad\\bar x=2\\tilde x-x.

It is the loop of :mod:`firenet.layer`; here are the operator, the problem and the dual step. In the loop (q, p) is one
flat tensor.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from firenet.errors import BadInput
from firenet.layer import Layers
from firenet.layer import peak_bytes as layer_peak
from firenet.operators import Compact, LinearOperator, NormBound
from firenet.problems import SquareRootLasso, check_lam, check_weights, derived, modulus, norms, real_view
from firenet.sensing import SubsampledFourier
from firenet.transforms import TightFrame, UndecimatedWavelet


class Stacked(Compact):
    """A and W in coordinates in which :math:`(A;W)` has norm one.

    Unlike other compact operators it does not keep norms, and is not one map: ``forward`` is A alone, ``adjoint`` that
    of the pair, its argument flat, q and then p; ``norm_bound`` is the pair's. W is applied band by band, so that what
    a band needs stays in the cache.

    For a mask of Fourier samples and an undecimated wavelet the coordinates are the spectrum times
    :math:`(1+m)^{1/2}` with m the mask: there :math:`A^*A+W^*W` is diagonal, :math:`m+1`, and (A; W) becomes an
    isometry. A layer then costs one FFT a band each way, and its steps are the best possible. For all other operators
    the coordinates are the image times :math:`\\|A\\|(1+\\|W\\|^2)^{1/2}`.

    The operator pair is :math:`(A;\\|A\\|W)`, so that no scale of A favours one of the two: with p in units of
    :math:`\\|A\\|` and :math:`\\lambda/\\|A\\|` it is the same problem.

    Attributes:
        unit: :math:`\\|A\\|`, 1 for A = 0.
    """

    def __init__(self, sensing: LinearOperator, frame: TightFrame) -> None:
        super().__init__(sensing)
        self.frame, self._sensing = frame, sensing.compact()
        self._undecimated = frame if isinstance(frame, UndecimatedWavelet) else None
        self._axes = tuple(range(-len(frame.in_shape), 0))
        self.measured = math.prod(self._sensing.out_shape)
        self.out_shape = (self.measured,)
        self.bands = frame.out_shape[0] if self._undecimated else 1
        self.band_shape = frame.out_shape[1:] if self._undecimated else frame.out_shape
        self._spectral = self._undecimated is not None and type(sensing) is SubsampledFourier and not sensing.centred
        self.unit = sensing.norm_bound.value or 1.0
        self._relative = 1.0  # the scale of W in these coordinates, where it is a number
        if self._spectral:
            assert isinstance(sensing, SubsampledFourier)
            mask = sensing.mask
            self._where = mask.flatten().nonzero().squeeze(1)
            self._damp: Tensor | float = (1 + mask.to(torch.float64)).rsqrt()
            why = f"a mask of samples and a tight frame, weighted to an isometry ({frame.norm_bound.why})"
            self._bound = NormBound(frame.norm_bound.value, "exact", why)
        else:
            self._relative = 1 / math.hypot(1, frame.norm_bound.value) / (1 + 1e-15)
            self._damp = self._relative / self.unit
            why = f"scaled by the norms of A ({sensing.norm_bound.why}) and W"
            self._bound = NormBound(1.0, "estimate" if sensing.norm_bound.kind == "estimate" else "proven", why)
        self._responses: tuple[Tensor, Tensor] | None = None
        self._real = False  # whether what was prepared was real

    @property
    def norm_bound(self) -> NormBound:
        return self._bound

    def _damped(self, x: Tensor, power: int) -> Tensor:
        """x times the scale of the coordinates to a power."""
        if isinstance(self._damp, Tensor):
            return x * self._damp.to(x.real.dtype) ** power
        return x * self._damp**power

    def pack(self, x: Tensor) -> Tensor:
        return self._damped(_transformed(torch.fft.fftn, x, self._axes) if self._spectral else x, -1)

    def unpack(self, x: Tensor) -> Tensor:
        x = self._damped(x, 1)
        return _transformed(torch.fft.ifftn, x, self._axes) if self._spectral else x

    def pack_measured(self, y: Tensor) -> Tensor:
        return self._sensing.pack_measured(y).flatten(1)

    def unpack_measured(self, y: Tensor) -> Tensor:
        return self._sensing.unpack_measured(y.reshape(len(y), *self._sensing.out_shape))

    def forward(self, x: Tensor) -> Tensor:
        """Ax: (batch, \\*in_shape) to (batch, samples)."""
        if self._spectral:
            return x.flatten(1).index_select(1, self._where) * 0.5**0.5
        return self._sensing.forward(self._sensing.pack(self._damped(x, 1))).flatten(1)

    def adjoint(self, y: Tensor, out: Tensor | None = None) -> Tensor:
        """The adjoint of (A; unit W) for the flat dual; as in :class:`Compact`."""
        q, p = self.split(y)
        total = self.start(y, out)
        for b in range(self.bands):
            total = self.collect(b, p[:, b], total)
        return self.finish(total, q)

    def split(self, dual: Tensor) -> tuple[Tensor, Tensor]:
        """q (batch, samples), and p (batch, bands, \\*band_shape): views of the flat dual."""
        return dual[:, : self.measured], dual[:, self.measured :].unflatten(1, (self.bands, *self.band_shape))

    # W band by band: prepare once, then band(0), band(1), ...; W* the same way round: start, collect(0), ..., finish.

    def prepare(self, x: Tensor) -> Tensor:
        """What :meth:`band` needs of x, computed once for all bands."""
        if self._spectral:
            return x
        x = x * self._relative
        if self._undecimated is None:
            return x
        self._real = not x.is_complex()
        return _transformed(torch.fft.rfftn if self._real else torch.fft.fftn, x, self._axes)

    def band(self, b: int, prepared: Tensor) -> Tensor:
        """The b-th band of Wx, shape (batch, \\*band_shape): a new tensor."""
        if self._undecimated is None:
            return self.frame(prepared)
        product = prepared * self._response(prepared)[0][b]
        if self._real:
            return _transformed(torch.fft.irfftn, product, self._axes, self.in_shape)
        return _transformed(torch.fft.ifftn, product, self._axes)

    def start(self, like: Tensor, out: Tensor | None) -> Tensor:
        """An empty sum for :meth:`collect`; ``out`` is memory for it where it fits."""
        if self._undecimated is None:
            return torch.zeros(len(like), *self.in_shape, dtype=like.dtype, device=like.device)
        shape = (len(like), *self.in_shape)
        if not like.is_complex():
            shape, like = (*shape[:-1], shape[-1] // 2 + 1), torch.view_as_complex(like.new_zeros(1, 2))
        if out is not None and out.shape == shape and out.dtype == like.dtype:
            return out.zero_()
        return torch.zeros(shape, dtype=like.dtype, device=like.device)

    def collect(self, b: int, p: Tensor, total: Tensor) -> Tensor:
        """Adds W_b* p to the sum; with derivatives a new one."""
        if self._undecimated is None:
            return total + self.frame.adjoint(p)
        spectrum = _transformed(torch.fft.fftn if p.is_complex() else torch.fft.rfftn, p, self._axes)
        response = self._response(total)[1][b]
        if derived(p):
            return total + spectrum * response
        return total.addcmul_(spectrum, response)

    def finish(self, total: Tensor, q: Tensor) -> Tensor:
        """A*q plus the sum of the bands, in the shape of x."""
        if self._spectral:
            samples = q * 0.5**0.5
            if derived(q) or derived(total):
                return total.flatten(1).index_add(1, self._where, samples).view(total.shape)
            total.flatten(1).index_add_(1, self._where, samples)
            return total
        if self._undecimated is not None and not q.is_complex():
            total = _transformed(torch.fft.irfftn, total, self._axes, self.in_shape)
        elif self._undecimated is not None:
            total = _transformed(torch.fft.ifftn, total, self._axes)
        back = self._sensing.unpack(self._sensing.adjoint(q.reshape(len(q), *self._sensing.out_shape)))
        return total * self._relative + self._damped(back, 1)

    def lifted(self, back: Tensor) -> Tensor:
        """The point whose bands p must be rid of, given :meth:`adjoint` of (q, p)."""
        return self._damped(back, -2) if self._spectral else back * self._relative**-2

    def _response(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """The responses in these coordinates, and their conjugates."""
        if (
            self._responses is None
            or self._responses[0].dtype != like.dtype
            or self._responses[0].device != like.device
        ):
            assert self._undecimated is not None
            g = self._undecimated.responses(like.dtype, like.device)[..., : like.shape[-1]]
            g = self._damped(g, 1) if self._spectral else g
            self._responses = g.contiguous(), g.conj_physical()
        return self._responses

    def scratch(self, batch: int) -> int:
        size = math.prod(self.in_shape)
        return self._sensing.scratch(batch) + size * (4 * batch + 2 * self.bands)


def _transformed(
    transform: Callable[..., Tensor], x: Tensor, axes: tuple[int, ...], shape: tuple[int, ...] | None = None
) -> Tensor:
    """The unitary transform, of nothing too, which the FFT itself refuses."""
    if x.numel():
        return transform(x, dim=axes, norm="ortho", **({} if shape is None else {"s": shape}))
    if transform is torch.fft.rfftn:
        return torch.zeros(*x.shape[:-1], x.shape[-1] // 2 + 1, dtype=torch.promote_types(x.dtype, torch.complex64))
    return x if shape is None else x.real.new_zeros((*x.shape[: x.ndim - len(axes)], *shape))


@dataclass(frozen=True, eq=False)
class StackedProblem(SquareRootLasso):
    """The analysis problem in the coordinates of :class:`Stacked`, with flat duals: what the loop calls."""

    # The image is far nearer to what was measured than to zero, and the two duals live on different scales: balanced by
    # distances, the weight drifts to ever smaller values. 1/8 of the plain guess, kept, was best or nearly so for head
    # and photograph, with noise and without.
    first_weight: ClassVar[float] = 1 / 8
    rebalances: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """What it is made of has been checked by :class:`AnalysisSquareRootLasso`."""

    @property
    def _stacked(self) -> Stacked:
        assert isinstance(self.operator, Stacked)
        return self.operator

    def _bound(self, b: int) -> Tensor | float:
        """:math:`\\lambda w` of a band."""
        w, stacked = self.weights, self._stacked
        if w is None:
            return self.lam
        if stacked.bands > 1 and w.ndim == len(stacked.band_shape) + 1:
            w = w[b if len(w) > 1 else 0]
        return self.lam * (w if stacked.bands > 1 or w.ndim <= len(stacked.band_shape) else w[0])

    def shrink(self, v: Tensor, tau: Tensor) -> Tensor:
        """The image itself has no penalty."""
        return v

    def threshold(self, tau: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        return tau, tau

    def shrink_(self, v: Tensor, threshold: tuple[Tensor, Tensor], work: Tensor | None = None) -> Tensor:
        return v

    def clip(self, u: Tensor) -> Tensor:
        """The projection of q on the unit ball and of p on :math:`|p_i|\\le\\lambda w_i`."""
        q, p = self._stacked.split(u)
        q = q / norms(q, 1).clamp(min=1).to(q.real.dtype).view(-1, 1)
        clipped = [self.clip_band(b, p[:, b]).flatten(1) for b in range(self._stacked.bands)]
        return torch.cat([q, *clipped], dim=1)

    def clip_band(self, b: int, p: Tensor) -> Tensor:
        bound = torch.as_tensor(self._bound(b), dtype=p.real.dtype, device=p.device)
        if not p.is_complex():
            return p.clamp(-bound, bound)
        u = p / bound
        re, im = torch.view_as_real(u).unbind(-1)
        return p * (re * re).addcmul(im, im).clamp(min=1).rsqrt()

    def clip_band_(self, b: int, p: Tensor, work: Tensor) -> Tensor:
        """:meth:`clip_band` for a p that may be overwritten, without gradients; ``work`` is memory as large."""
        bound = torch.as_tensor(self._bound(b), dtype=p.real.dtype, device=p.device)
        if not p.is_complex():
            return p.clamp_(-bound, bound)
        p.mul_(bound.reciprocal())
        factor = torch.view_as_real(torch.conj_physical(p, out=work).mul_(p))
        factor.clamp_(min=1).rsqrt_()
        factor[..., 1].fill_(0)
        return p.mul_(work).mul_(bound)

    def penalty(self, z: Tensor) -> Tensor:
        stacked, total = self._stacked, torch.zeros(len(z), dtype=torch.float64, device=z.device)
        prepared = stacked.prepare(z)
        for b in range(stacked.bands):
            bound = self._bound(b)
            sizes = modulus(stacked.band(b, prepared))
            if isinstance(bound, Tensor):
                total = total + (sizes * bound).flatten(1).sum(dim=1, dtype=torch.float64)
            else:
                total = total + bound * sizes.flatten(1).sum(dim=1, dtype=torch.float64)
        return total

    def infeasibility(self, q: Tensor, back: Tensor) -> Tensor:
        """The number that the dual must be divided by once p is repaired, given A*q + W*p."""
        stacked = self._stacked
        first, p = stacked.split(q)
        largest = norms(first, 1).clamp(min=1)
        prepared = stacked.prepare(stacked.lifted(back))
        for b in range(stacked.bands):
            sizes = modulus(p[:, b] - stacked.band(b, prepared)) / self._bound(b)
            largest = torch.maximum(largest, sizes.flatten(1).amax(dim=1).to(torch.float64))
        return largest

    def feasible(self, q: Tensor) -> Tensor:
        """The pair, made feasible: p repaired, both divided."""
        stacked = self._stacked
        back = stacked.adjoint(q)
        scale = self.infeasibility(q, back).reciprocal().to(q.real.dtype)
        first, p = stacked.split(q)
        prepared = stacked.prepare(stacked.lifted(back))
        repaired = [(p[:, b] - stacked.band(b, prepared)).flatten(1) for b in range(stacked.bands)]
        return torch.cat([first, *repaired], dim=1) * scale.view(-1, 1)

    def dual_of(self, q: Tensor, p: Tensor | None = None) -> Tensor:
        """The flat dual of a packed q and of p, shape (batch, \\*coefficients), zero where there is none."""
        stacked = self._stacked
        if p is None:
            return torch.cat([q, q.new_zeros(len(q), stacked.bands * math.prod(stacked.band_shape))], dim=1)
        return torch.cat([q, p.flatten(1) / stacked.unit], dim=1)

    def dual_value(self, q: Tensor, y: Tensor) -> Tensor:
        return super().dual_value(q[:, : self._stacked.measured], y)


@dataclass(frozen=True, eq=False)
class AnalysisSquareRootLasso:
    """The analysis problem :math:`(P_3^a)`, see :mod:`firenet.analysis`.

    Attributes:
        operator: A.
        frame: W.
        weights: Positive weights that broadcast to the coefficients; None is all ones. The approximation too needs one:
            the dual rests on it.
        lam: :math:`\\lambda>0`.
    """

    operator: LinearOperator
    frame: TightFrame
    weights: Tensor | None
    lam: float

    def __post_init__(self) -> None:
        if self.operator.in_shape != self.frame.in_shape:
            needed = f"A frame for images of shape {self.operator.in_shape}"
            raise BadInput(needed, f"one for {self.frame.in_shape}", "Make both for the same image")
        check_lam(self.lam)
        check_weights(self.weights, self.frame.out_shape)

    def compact(self) -> StackedProblem:
        """The same problem in the coordinates of a loop."""
        stacked = Stacked(self.operator, self.frame)
        return StackedProblem(stacked, self.weights, self.lam / stacked.unit)

    def objective(self, x: Tensor, y: Tensor) -> Tensor:
        """F(x) for images (..., \\*in_shape), one float64 number a batch item."""
        batch = x.shape[: x.ndim - len(self.operator.in_shape)]
        coefficients = self.frame(x).abs().to(torch.float64)
        coefficients = coefficients if self.weights is None else coefficients * self.weights
        penalty = coefficients.reshape(*batch, -1).sum(dim=-1)
        return self.lam * penalty + norms(self.operator(x) - y, len(self.operator.out_shape))

    def feasible(self, q: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
        """The pair with p replaced by :math:`p-W(W^*p+A^*q)`, both divided by the smallest number that makes them
        feasible."""
        p = p - self.frame(self.frame.adjoint(p) + self.operator.adjoint(q))
        d, n = len(self.operator.out_shape), len(self.frame.out_shape)
        sizes = p.abs().to(torch.float64) / self.lam
        sizes = sizes if self.weights is None else sizes / self.weights
        scale = torch.maximum(norms(q, d), sizes.flatten(-n).amax(dim=-1)).clamp(min=1).reciprocal().to(q.real.dtype)
        return q * scale.view(*scale.shape, *(1,) * d), p * scale.view(*scale.shape, *(1,) * n)

    def gap(self, x: Tensor, q: Tensor, p: Tensor, y: Tensor) -> Tensor:
        """An upper bound of :math:`F(x)-\\min F`, finite for every x and every pair (q, p): the duality gap with the
        pair made feasible."""
        q, _ = self.feasible(q, p)
        inner = (real_view(q) * real_view(y)).to(torch.float64)
        batch = y.ndim - len(self.operator.out_shape)
        return self.objective(x, y) + inner.flatten(batch).sum(dim=-1)


def duals(compact: Compact, dual: Tensor, batch: torch.Size) -> tuple[Tensor, Tensor | None]:
    """From the dual of a loop to q, and p where there is one, in their own shapes."""
    sparse = None
    if isinstance(compact, Stacked):
        dual, sparse = compact.split(dual)
        sparse = compact.unit * sparse.reshape(*batch, *compact.frame.out_shape)
    return compact.unpack_measured(dual).view(*batch, *compact.operator.out_shape), sparse


class AnalysisLayers(Layers):
    """The loop's state for the analysis problem: only the dual step differs."""

    def _zero_dual(self) -> Tensor:
        stacked = self._stacked
        size = stacked.measured + stacked.bands * math.prod(stacked.band_shape)
        return torch.zeros(len(self.y), size, dtype=self.x.dtype, device=self.y.device)

    @property
    def _stacked(self) -> Stacked:
        assert isinstance(self.operator, Stacked)
        return self.operator

    def _ascended(self, new: Tensor, measured: Tensor) -> Tensor:
        stacked = self._stacked
        prepared = stacked.prepare(2 * new - self.x)
        bands = [stacked.band(b, prepared).flatten(1) for b in range(stacked.bands)]
        change = torch.cat([2 * measured - self.measured - self.y, *bands], dim=1)
        return self.problem.clip(self.q + self._sigma * change)

    def _measure_and_ascend(self, new: Tensor) -> None:
        # Before the last point is written over.
        self._overshoot = self._stacked.prepare(2 * new - self.x)
        super()._measure_and_ascend(new)

    def _ascended_in_place(self, measured: Tensor) -> Tensor:
        """In one sweep over the bands the dual step and W* of its result; the flat dual is written over."""
        problem, stacked = self.problem, self._stacked
        assert isinstance(problem, StackedProblem)
        q, p = stacked.split(self.q)
        change = (2 * measured).sub_(self.measured).sub_(self.y).mul_(self._sigma).add_(q)
        self._relax(q, change.div_(norms(change, 1).clamp_(min=1).to(change.real.dtype).view(-1, 1)))
        total = stacked.start(self.q, self.last)
        sigma = self._sigma.view(-1, *(1,) * len(stacked.band_shape))
        work = torch.empty(len(p), *stacked.band_shape, dtype=p.dtype, device=p.device)
        for b in range(stacked.bands):
            u = stacked.band(b, self._overshoot).mul_(sigma).add_(p[:, b])
            self._relax(p[:, b], problem.clip_band_(b, u, work))
            total = stacked.collect(b, p[:, b], total)
        self._back = stacked.finish(total, q)
        return self.q

    def _relax(self, old: Tensor, new: Tensor) -> None:
        if self._plain:
            old.copy_(new)
        else:
            rho = self._rho_y.view(-1, *(1,) * (old.ndim - 1 + old.is_complex()))
            real_view(old).lerp_(real_view(new), rho)


def peak_bytes(problem: SquareRootLasso | AnalysisSquareRootLasso, y: Tensor) -> int:
    """How much memory a solve with these measurements takes beside them, an estimate: see
    :func:`firenet.layer.peak_bytes`.

    In the analysis form the dual comes in: itself, its sum, the best so far and two in passing; and the responses of
    the bands.
    """
    operator = problem.operator
    assert isinstance(operator, LinearOperator)
    plain = layer_peak(operator, y)
    if isinstance(problem, SquareRootLasso):
        return plain
    stacked = Stacked(operator, problem.frame)
    batch = max(math.prod(y.shape[: y.ndim - len(operator.out_shape)]), 1)
    size = torch.empty((), dtype=operator.state_dtype(y.dtype)).element_size()
    dual = stacked.measured + stacked.bands * math.prod(stacked.band_shape)
    return plain + int(size * (5 * batch * dual + stacked.scratch(batch)))


def layers_for(
    problem: SquareRootLasso,
    y: Tensor,
    x: Tensor | None,
    dtype: torch.dtype,
    *,
    track: bool = True,
    average: bool = True,
) -> Layers:
    """The state before the first layer, for a compact problem of either form."""
    state = AnalysisLayers if isinstance(problem, StackedProblem) else Layers
    return state(problem, y, x, dtype, track=track, average=average)
