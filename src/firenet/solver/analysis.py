"""Analysis sparsity: the image has few large coefficients, instead of being made of few.

.. math:: \\min_x\\ \\lambda\\sum_iw_i|(Wx)_i|+\\varphi(\\|Ax-y\\|_2)

for an analysis operator W with more coefficients than pixels: undecimated wavelets, the gradient, unions of them
(:mod:`firenet.transforms`). With the norm as fidelity it is :math:`(P_3^a)`. The magnitudes are those of single
coefficients, of a gradient those of all its components together. The dual is

.. math:: \\max\\{-\\mathrm{Re}\\langle y,q\\rangle-\\varphi^*(\\|q\\|_2):\\ |p_i|\\le\\lambda w_i,\\ A^*q+W^*p=0\\}.

Every pair (q, p) can be made feasible: :math:`p-W(W^*W)^\\dagger(W^*p+A^*q)` satisfies the equation, and a division
the bounds. Where W annihilates constants (total variation), q first loses its component along A1. So the duality gap
is finite at every point, as in the synthesis form.

A proof counts what rounding leaves of the equation (:meth:`StackedProblem.proof`): a remainder s of it, measured after
the repair and with a bound of its own rounding, is one more correction :math:`W(W^*W)^\\dagger s`, no entry of which is
larger than the row's norm times that of s. Nothing is set to zero because it is small.

A layer has no threshold on the image and a second dual block in its stead:

.. math::
    \\tilde x=x-\\tau(A^*q+W^*p),\\qquad\\bar x=2\\tilde x-x,\\qquad
    \\tilde q=\\mathrm{prox}_{\\sigma\\varphi^*}\\big(q+\\sigma(A\\bar x-y)\\big),\\qquad
    \\tilde p=\\mathrm{clip}_{\\lambda w}(p+\\sigma W\\bar x).

It is the loop of :mod:`firenet.solver.iteration`; here are the operator, the problem and the dual step. In the loop
(q, p) is one flat tensor.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from firenet.errors import BadInput
from firenet.numerics import (
    UNIT,
    blocked_norms,
    blocked_sum,
    derived,
    doubled,
    fft_rounding,
    modulus,
    norms,
    per_item,
    real_inner,
    real_view,
    reverse_only,
    sum_rounding,
    tensor_of,
    unit_roundoff,
)
from firenet.operators.compact import Compact
from firenet.operators.linear import LinearOperator
from firenet.operators.norm_bound import NormBound
from firenet.problems.fidelity import Ball, Fidelity, Norm
from firenet.problems.gap import Proof, dual_bound, prove
from firenet.problems.penalty import check_lam, check_weights, default_lam
from firenet.problems.synthesis import SparseProblem, inner_product
from firenet.sensing.fourier import SubsampledFourier
from firenet.solver.iteration import Layers
from firenet.solver.iteration import peak_bytes as layer_peak
from firenet.transforms.analysis_operator import AnalysisOperator
from firenet.transforms.convolutions import Convolutions


class Stacked(Compact):
    """A and W in coordinates in which :math:`(A;W)` has norm one.

    Unlike other compact operators it does not keep norms, and is not one map: ``forward`` is A alone, ``adjoint`` that
    of the pair, its argument flat, q and then p; ``norm_bound`` is the pair's. W is applied group by group (bands whose
    modulus is taken together), so that what a group needs stays in the cache.

    For a mask of Fourier samples and bands that are periodic convolutions the coordinates are the spectrum times
    :math:`(m+c^2g)^{1/2}` with m the mask and :math:`g=\\sum_b|\\hat g_b|^2`: there :math:`A^*A+c^2W^*W` is diagonal,
    and (A; cW) becomes an isometry. A layer then costs one FFT a band each way, and its steps are the best possible.
    For all other operators the coordinates are the image times :math:`\\|A\\|(1+c^2\\|W\\|^2)^{1/2}`.

    The operator pair is :math:`(A;\\|A\\|cW)`, so that no scale of A favours one of the two: with p in units of
    ``unit`` and :math:`\\lambda` over it it is the same problem. c is 1 for tight frames, else
    :math:`1/\\|W\\|`.

    Attributes:
        unit: :math:`c\\|A\\|`, c for A = 0.
    """

    def __init__(self, sensing: LinearOperator, frame: AnalysisOperator) -> None:
        super().__init__(sensing)
        self.frame, self._sensing = frame, sensing.compact()
        self._bands = frame if isinstance(frame, Convolutions) and frame.convolves else None
        self._axes = tuple(range(-len(frame.in_shape), 0))
        self.measured = math.prod(self._sensing.out_shape)
        self.out_shape = (self.measured,)
        # The dual's shape: bands of one shape, in groups. What is no stack of images is one band and one group; the
        # gradient that does not convolve is one group of its components.
        joint = frame.penalty_shape != frame.out_shape and not frame.convolves
        split = frame.convolves or joint
        self.bands = frame.out_shape[0] if split else 1
        self.band_shape = frame.out_shape[1:] if split else frame.out_shape
        sizes = frame.groups if frame.convolves else (self.bands,)
        self.groups = [slice(sum(sizes[:k]), sum(sizes[: k + 1])) for k in range(len(sizes))]
        self._spectral = self._bands is not None and type(sensing) is SubsampledFourier and not sensing.centred
        self._norm = sensing.norm_bound.value or 1.0
        self._balance = 1.0 if frame.is_tight else 1 / (frame.norm_bound.value or 1.0)
        self.unit = self._norm * self._balance
        self._relative = self._balance  # the scale of W in these coordinates, where it is a number
        if self._spectral:
            assert isinstance(sensing, SubsampledFourier)
            assert self._bands is not None
            mask = sensing.mask
            self._where = mask.flatten().nonzero().squeeze(1)
            gram: Tensor | float = 1.0
            if not frame.is_tight:
                gram = self._balance**2 * self._bands.gram(torch.complex128, mask.device)
            diagonal = mask.to(torch.float64) + gram
            self._damp: Tensor | float = torch.where(diagonal > 0, diagonal, 1.0).rsqrt()
            why = f"a mask of samples and periodic convolutions, weighted to an isometry ({frame.norm_bound.why})"
            self._bound = NormBound(max(frame.norm_bound.value if frame.is_tight else 1.0, 1.0), "exact", why)
        else:
            self._relative *= 1 / math.hypot(1, self._balance * frame.norm_bound.value) / (1 + 1e-15)
            self._damp = self._relative / self._balance / self._norm
            why = f"scaled by the norms of A ({sensing.norm_bound.why}) and W"
            self._bound = NormBound(1.0, "estimate" if sensing.norm_bound.kind == "estimate" else "proven", why)
        # The responses in the dtype of the loop; those of a proof in double precision are made one by one.
        self._responses: tuple[torch.dtype, torch.device, Tensor, Tensor] | None = None
        self._gram: Tensor | None = None
        self._ones: tuple[Tensor, float] | None = None
        self._constant: tuple[Tensor, Tensor] | None = None
        self._rows: Tensor | None = None
        self._real = False  # whether what was prepared was real

    @property
    def norm_bound(self) -> NormBound:
        return self._bound

    @property
    def convolves(self) -> bool:
        """Whether W is done in the spectrum."""
        return self._bands is not None

    @property
    def is_isometry(self) -> bool:
        """Whether the pair keeps norms in these coordinates: Fourier samples and convolutions."""
        return self._spectral

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
            return x.flatten(1).index_select(1, self._where) * self._at_samples(x)
        return self._sensing.forward(self._sensing.pack(self._damped(x, 1))).flatten(1)

    def _at_samples(self, like: Tensor) -> Tensor | float:
        """The scale of the coordinates where there are samples."""
        if self.frame.is_tight:
            return 0.5**0.5
        assert isinstance(self._damp, Tensor)
        return self._damp.flatten()[self._where].to(like.real.dtype)

    def minimum_norm(self, y: Tensor) -> Tensor | None:
        if self._spectral:
            grid = torch.zeros(len(y), math.prod(self.in_shape), dtype=y.dtype, device=y.device)
            return grid.index_copy(1, self._where, y / self._at_samples(y)).view(len(y), *self.in_shape)
        inner = y.reshape(len(y), *self._sensing.out_shape)
        x = self._sensing.minimum_norm(inner)
        return None if x is None else self._damped(self._sensing.unpack(x), -1)

    def adjoint(self, y: Tensor, out: Tensor | None = None) -> Tensor:
        """The adjoint of (A; unit W) for the flat dual; as in :class:`Compact`."""
        q, p = self.split(y)
        total = self.start(y, out)
        for group in self.groups:
            total = self.collect(group, p[:, group], total)
        return self.finish(total, q)

    def split(self, dual: Tensor) -> tuple[Tensor, Tensor]:
        """q (batch, samples), and p (batch, bands, \\*band_shape): views of the flat dual."""
        return dual[:, : self.measured], dual[:, self.measured :].unflatten(1, (self.bands, *self.band_shape))

    # W group by group: prepare once, then band(group) for each; W* the same way round: start, collect, ..., finish.

    def prepare(self, x: Tensor) -> Tensor:
        """What :meth:`band` needs of x, computed once for all bands."""
        if self._spectral:
            return x
        x = x * self._relative
        if self._bands is None:
            return x
        self._real = not x.is_complex()
        return _transformed(torch.fft.rfftn if self._real else torch.fft.fftn, x, self._axes)

    def band(self, group: slice, prepared: Tensor) -> Tensor:
        """A group of bands of Wx, shape (batch, bands of the group, \\*band_shape): a new tensor."""
        if self._bands is None:
            return self.frame(prepared).view(len(prepared), self.bands, *self.band_shape)
        product = prepared.unsqueeze(1) * self._response(prepared, group)[0]
        if self._real:
            return _transformed(torch.fft.irfftn, product, self._axes, self.in_shape)
        return _transformed(torch.fft.ifftn, product, self._axes)

    def start(self, like: Tensor, out: Tensor | None) -> Tensor:
        """An empty sum for :meth:`collect`; ``out`` is memory for it where it fits."""
        if self._bands is None:
            return torch.zeros(len(like), *self.in_shape, dtype=like.dtype, device=like.device)
        shape = (len(like), *self.in_shape)
        if not like.is_complex():
            shape, like = (*shape[:-1], shape[-1] // 2 + 1), torch.view_as_complex(like.new_zeros(1, 2))
        if out is not None and out.shape == shape and out.dtype == like.dtype:
            return out.zero_()
        return torch.zeros(shape, dtype=like.dtype, device=like.device)

    def collect(self, group: slice, p: Tensor, total: Tensor) -> Tensor:
        """Adds W* p of a group to the sum; with derivatives a new one."""
        if self._bands is None:
            return total + self.frame.adjoint(p.reshape(len(p), *self.frame.out_shape))
        spectra = _transformed(torch.fft.fftn if p.is_complex() else torch.fft.rfftn, p, self._axes)
        for spectrum, response in zip(spectra.unbind(1), self._response(total, group)[1], strict=True):
            total = total + spectrum * response if derived(p) else total.addcmul_(spectrum, response)
        return total

    def finish(self, total: Tensor, q: Tensor) -> Tensor:
        """A*q plus the sum of the bands, in the shape of x."""
        if self._spectral:
            samples = q * self._at_samples(q)
            if derived(q) or derived(total):
                return total.flatten(1).index_add(1, self._where, samples).view(total.shape)
            total.flatten(1).index_add_(1, self._where, samples)
            return total
        if self._bands is not None and not q.is_complex():
            total = _transformed(torch.fft.irfftn, total, self._axes, self.in_shape)
        elif self._bands is not None:
            total = _transformed(torch.fft.ifftn, total, self._axes)
        return total * self._relative + self._back(q)

    def _back(self, q: Tensor) -> Tensor:
        """A*q alone."""
        if self._spectral:
            grid = torch.zeros(len(q), math.prod(self.in_shape), dtype=q.dtype, device=q.device)
            return grid.index_copy(1, self._where, q * self._at_samples(q)).view(len(q), *self.in_shape)
        back = self._sensing.unpack(self._sensing.adjoint(q.reshape(len(q), *self._sensing.out_shape)))
        return self._damped(back, 1)

    def lifted(self, back: Tensor) -> Tensor:
        """The point whose bands p must be rid of, given :meth:`adjoint` of (q, p)."""
        if self._spectral:
            return self._damped(back, -2) if self.frame.is_tight else self._damped(back, -2) * self._inverse_gram(back)
        return self.frame.apply_gram_inverse(back) * self._relative**-2

    def _inverse_gram(self, like: Tensor) -> Tensor:
        """:math:`(c^2g)^\\dagger`."""
        if self._gram is None or self._gram.device != like.device:
            assert self._bands is not None
            self._gram = self._bands._pseudo_inverse(like.device) / self._balance**2
        return self._gram.to(like.real.dtype)

    def constant(self) -> tuple[Tensor, float]:
        """Returns the unit vector along A1 in packed measurements, double precision, and a bound of its error. Where A1
        is exactly zero both are zero; where it cannot be told from zero the error is infinite."""
        if self._ones is None:
            a, error = self.operator.constant_response()
            a = self.pack_measured(a[None])
            size = blocked_norms(a, 1).item()
            off = 0.0 if error == 0 == size else 2 * error / (size - error) if size > 2 * error else math.inf
            self._ones = (a / size if size > 0 else a, off)
        return self._ones

    def without_constant(self, q: Tensor, back: Tensor) -> tuple[Tensor, Tensor]:
        """Returns q without its component along A1 where W annihilates constants, and :meth:`adjoint` of the pair after
        that; in the precision of q, to steer by."""
        if not self.frame.annihilates_constants:
            return q, back
        if self._constant is None or self._constant[0].dtype != q.dtype or self._constant[0].device != q.device:
            a, error = self.constant()
            a = (a if error < math.inf else torch.zeros_like(a)).to(q.device)
            a = (a if q.is_complex() else a.real).to(q.dtype)
            self._constant = a, self._back(a)
        a, a_back = self._constant
        share = (q * a.conj()).sum(dim=1, keepdim=True)
        return q - share * a, back - share.view(-1, *(1,) * (back.ndim - 1)) * a_back

    def orthogonalised(self, q: Tensor) -> tuple[Tensor, Tensor]:
        """Returns q without its component along A1 where W annihilates constants, and a bound of how far from the
        result a q is that has no such component at all: its own rounding and what A1 is not known to. Infinite where
        A1 cannot be told from zero.

        Args:
            q: Packed dual points in double precision.
        """
        if not self.frame.annihilates_constants:
            return q, torch.zeros(len(q), dtype=torch.float64, device=q.device)
        a, error = self.constant()
        a = (a if q.is_complex() else a.real).to(q)  # where q is real so is A
        for _ in range(2):  # once leaves the rounding of the first
            q = q - (q * a.conj()).sum(dim=1, keepdim=True) * a
        left = (q * a.conj()).sum(dim=1).abs()
        size = blocked_norms(q, 1)
        return q, (left + ((2 * sum_rounding(2 * q.shape[1]) + 8) * UNIT * size if bool(a.any()) else 0)) + error * size

    def rows(self) -> Tensor:
        """Returns :meth:`AnalysisOperator.pseudo_rows` in these coordinates: for each group of bands, what a remainder
        of norm one costs an entry of p."""
        if self._rows is None and self._spectral:
            assert self._bands is not None
            damp = self._damp if isinstance(self._damp, Tensor) else torch.tensor(self._damp)
            weight = self._bands._pseudo_inverse(damp.device) / damp
            energy = torch.stack(
                [
                    (self._bands.response(k, torch.complex128, damp.device) * weight).abs().square().mean()
                    for k in range(self.bands)
                ]
            )
            rows = torch.stack([energy[group].sum() for group in self.groups]).sqrt()
            self._rows = rows * (1 + 1e-9) / self._balance
        elif self._rows is None:
            self._rows = self.frame.pseudo_rows() / self._relative
        return self._rows

    def forward_roundings(self) -> Tensor:
        """Returns for each group k such that the computed bands of Wx, in the unit of p, are off by at most k unit
        roundoffs of the norm of the image x."""
        if self._bands is None:
            return torch.tensor([(self.frame.rounding + 8 * self.frame.norm_bound.value) * self.unit])
        each = (2 * fft_rounding(self.in_shape) + 16) * self._bands.band_norms() + self._bands.response_roundings()
        return torch.stack([torch.linalg.vector_norm(each[group]) for group in self.groups]) * self.unit

    def adjoint_roundings(self) -> tuple[float, Tensor]:
        """Returns k such that the computed adjoint of (q, p) is off by at most k unit roundoffs of the norm of q, and
        for each group by at most so many of the norm of its bands."""
        if self._spectral:
            assert isinstance(self._damp, Tensor)
            assert self._bands is not None
            damp = float(self._damp.max())
            norms_ = (self._bands.band_norms() * self._balance * damp).clamp(max=1)
            each = (fft_rounding(self.in_shape) + 16 + self.bands) * norms_
            each = each + self._bands.response_roundings() * self._balance * damp
            return 8.0, torch.stack([torch.linalg.vector_norm(each[group]) for group in self.groups])
        assert not isinstance(self._damp, Tensor)
        of_q = (self.operator.rounding + 16 * self.operator.norm_bound.value) * self._damp
        if self._bands is None:
            whole = self._relative * (self.frame.rounding + 16 * self.frame.norm_bound.value)
            return of_q, torch.tensor([whole], dtype=torch.float64)
        each = (2 * fft_rounding(self.in_shape) + 16 + self.bands) * self._bands.band_norms()
        each = self._relative * (each + self._bands.response_roundings())
        return of_q, torch.stack([torch.linalg.vector_norm(each[group]) for group in self.groups])

    def _response(self, like: Tensor, group: slice) -> tuple[Tensor, Tensor]:
        """The responses of a group in these coordinates, and their conjugates, in the dtype and shape of a spectrum."""
        assert self._bands is not None
        if self._responses is None:
            g = self._bands.responses(like.dtype, like.device)[..., : like.shape[-1]]
            g = self._damped(g, 1) * self._balance if self._spectral else g
            self._responses = like.dtype, like.device, g.contiguous(), g.conj_physical()
        dtype, device, found, conjugate = self._responses
        if dtype == like.dtype and device == like.device and found.shape[-1] == like.shape[-1]:
            return found[group], conjugate[group]
        some = range(*group.indices(self.bands))
        g = torch.stack([self._bands.response(k, like.dtype, like.device) for k in some])[..., : like.shape[-1]]
        g = self._damped(g, 1) * self._balance if self._spectral else g
        return g, g.conj_physical()

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
        dtype = torch.promote_types(x.dtype, torch.complex64)
        return torch.zeros(*x.shape[:-1], x.shape[-1] // 2 + 1, dtype=dtype, device=x.device)
    return x if shape is None else x.real.new_zeros((*x.shape[: x.ndim - len(axes)], *shape))


@dataclass(frozen=True, eq=False)
class StackedProblem(SparseProblem):
    """The analysis problem in the coordinates of :class:`Stacked`, with flat duals: what the loop calls."""

    rebalances: ClassVar[bool] = False
    _made: dict[tuple[int, torch.dtype, torch.device], tuple[Tensor, Tensor]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        """What it is made of has been checked by :class:`AnalysisProblem`."""

    @property
    def first_weight(self) -> float:
        """The image is far nearer to what was measured than to zero, and the two duals live on different scales:
        balanced by distances, the weight drifts to ever smaller values. 1/8 of the plain guess where the stack is an
        isometry (1/24 for (P1)) and 1/2 elsewhere, kept, was best or nearly so for head, photograph and raw scans."""
        if not self._stacked.is_isometry:
            return self._dual_unit / 2
        return self._dual_unit / (24 if isinstance(self.fidelity, Ball) else 8)

    @property
    def _dual_unit(self) -> float:
        if isinstance(self.fidelity, Norm):
            return 1.0
        stacked = self._stacked
        frame = stacked.frame
        usual = default_lam(stacked.operator, math.prod(frame.penalty_shape)) / (frame.scale or 1.0) / stacked.unit
        return usual / self.lam

    @property
    def _stacked(self) -> Stacked:
        assert isinstance(self.operator, Stacked)
        return self.operator

    @property
    def _sensing(self) -> LinearOperator:
        return self._stacked.operator

    def _limit(self, k: int) -> Tensor | float:
        """:math:`\\lambda w` of a group, to meet its magnitudes (batch, 1, \\*band_shape); in double precision, since a
        product of weights in single precision would be another problem."""
        w, stacked = self.weights, self._stacked
        if w is None:
            return self.lam
        if len(stacked.groups) > 1 and w.ndim == len(stacked.band_shape) + 1:
            w = w[k if len(w) > 1 else 0]
        elif w.ndim > len(stacked.band_shape):
            w = w[0]
        return self.lam * w.to(torch.float64)

    def _limits(self, k: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """The same and its inverse in the precision of a layer, made once."""
        key = (k, like.dtype, like.device)
        found = self._made.get(key)
        if found is None:
            limit = torch.as_tensor(self._limit(k), dtype=torch.float64, device=like.device).to(like.real.dtype)
            found = limit, limit.reciprocal()
            if self.weights is None or not derived(self.weights):
                self._made[key] = found
        return found

    def shrink(self, v: Tensor, tau: Tensor) -> Tensor:
        """The image itself has no penalty."""
        return v

    def threshold(self, tau: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        return tau, tau

    def shrink_(self, v: Tensor, threshold: tuple[Tensor, Tensor], work: Tensor | None = None) -> Tensor:
        return v

    def clip(self, u: Tensor, sigma: Tensor | float = 1.0) -> Tensor:
        """The proximal map of q, and the projection of p on :math:`|p_i|\\le\\lambda w_i`."""
        q, p = self._stacked.split(u)
        size = norms(q, 1)
        q = q * self.fidelity.factor(size, per_item(sigma, size)).to(q.real.dtype).view(-1, 1)
        clipped = [self.clip_group(k, p[:, g]).flatten(1) for k, g in enumerate(self._stacked.groups)]
        return torch.cat([q, *clipped], dim=1)

    def clip_group(self, k: int, p: Tensor) -> Tensor:
        limit, _ = self._limits(k, p)
        if not p.is_complex() and p.shape[1] == 1:
            return p.clamp(-limit, limit)
        u = real_view(p / limit)
        square = u.square().sum(dim=(1, -1) if p.is_complex() else 1, keepdim=True)
        square = square.squeeze(-1) if p.is_complex() else square
        return p * square.clamp(min=1).rsqrt()

    def clip_slope(self, k: int, u: Tensor, v: Tensor) -> Tensor:
        """The derivative of :meth:`clip_group` at u applied to v, itself its adjoint: v where u is within the limit,
        else :math:`(v-u\\,\\mathrm{Re}\\langle u,v\\rangle/|u|^2)\\lambda w/|u|`."""
        limit, _ = self._limits(k, u)
        axes = (1, -1)
        square = real_view(u).square().sum(dim=axes, keepdim=True).squeeze(-1)
        inner = (real_view(u) * real_view(v)).sum(dim=axes, keepdim=True).squeeze(-1)
        beyond = square > limit * limit
        factor = torch.where(beyond, limit * square.rsqrt(), 1.0)
        along = torch.where(beyond, -factor * inner / square, 0.0)
        return torch.addcmul(v * factor, u, along.to(u.dtype))

    def clip_group_(self, k: int, p: Tensor, work: Tensor) -> Tensor:
        """:meth:`clip_group` for a p that may be overwritten, without gradients; ``work`` is memory as large as a
        band."""
        if p.shape[1] > 1:
            return self.clip_group(k, p)
        limit, inverse = self._limits(k, p)
        if not p.is_complex():
            return p.clamp_(-limit, limit)
        p.mul_(inverse)
        factor = torch.view_as_real(torch.conj_physical(p, out=work).mul_(p))
        factor.clamp_(min=1).rsqrt_()
        factor[..., 1].fill_(0)
        return p.mul_(work).mul_(limit)

    def penalty(self, z: Tensor) -> Tensor:
        stacked, total = self._stacked, torch.zeros(len(z), dtype=torch.float64, device=z.device)
        prepared = stacked.prepare(z)
        for k, group in enumerate(stacked.groups):
            limit = self._limit(k)
            sizes = _group_magnitudes(stacked.band(group, prepared))
            if isinstance(limit, Tensor):
                total = total + (sizes * limit).flatten(1).sum(dim=1, dtype=torch.float64)
            else:
                total = total + limit * sizes.flatten(1).sum(dim=1, dtype=torch.float64)
        return total

    def _repaired(self, p: Tensor, lifted: Tensor | None) -> Iterator[tuple[int, slice, Tensor]]:
        """Yields group by group :math:`p-W'(W'^*W')^\\dagger b`, given the lifted b (:meth:`Stacked.lifted`), in its
        precision. The only repair of a dual pair that there is."""
        stacked = self._stacked
        prepared = None if lifted is None else stacked.prepare(lifted)
        for k, group in enumerate(stacked.groups):
            part = p[:, group]
            if prepared is not None:
                band = stacked.band(group, prepared)
                part = part.to(band.dtype) - band
            yield k, group, part

    def _worst(self, p: Tensor, back: Tensor) -> Tensor:
        """The largest :math:`|p_i|/(\\lambda w_i)` once p is repaired, given A*q + W*p."""
        p, back = self._precisely(p, back)
        largest = torch.zeros(len(p), dtype=torch.float64, device=p.device)
        for k, _, part in self._repaired(p, self._stacked.lifted(back)):
            sizes = _group_magnitudes(part) / self._limit(k)
            largest = torch.maximum(largest, sizes.flatten(1).amax(dim=1).to(torch.float64))
        return largest

    def bound(self, q: Tensor, back: Tensor, y: Tensor, count: Tensor | float = 1.0) -> tuple[Tensor, Tensor]:
        first, p = self._stacked.split(q)
        first, back = self._stacked.without_constant(first, back)
        inner = -real_inner(y, first, 1) / count
        return self._bound(inner, norms(first, 1) / count, self._worst(p, back) / count)

    def feasible(self, q: Tensor, y: Tensor | None = None) -> Tensor:
        """The pair, made feasible: p repaired, both multiplied."""
        stacked = self._stacked
        back = stacked.adjoint(q)
        first, p = stacked.split(q)
        first, back = stacked.without_constant(first, back)
        scale = self._multiple(norms(first, 1), self._worst(p, back), first, y).to(q.real.dtype)
        p, back = self._precisely(p, back)
        repaired = [part.flatten(1).to(q.dtype) for _, _, part in self._repaired(p, stacked.lifted(back))]
        return torch.cat([first, *repaired], dim=1) * scale.view(-1, 1)

    @torch.no_grad()
    def proof(self, z: Tensor, q: Tensor, y: Tensor) -> Proof:
        """As :meth:`SparseProblem.proof`, for images z and flat duals.

        The pair is repaired; what rounding and filter tables leave of the equation is measured, and repaired once more
        where it is more than the rounding of the measurement; what is left then counts against every entry of p by
        :meth:`Stacked.rows`. So does what is left of the component of q along A1, by the norm of y.
        """
        stacked, own = self._stacked, self._sensing
        unit = unit_roundoff(y.dtype)
        first, p = stacked.split(q)
        x, first, y = (own.precisely(t) for t in (z, first, y))
        u, double = unit_roundoff(x.dtype), own.precisely(p[:, :0]).dtype
        parts = self._proved_objective(stacked.pack(x), blocked_norms(x, x.ndim - 1), y, u, unit)
        first, off = stacked.orthogonalised(first)
        worst, cost, left = self._remainder(first, p, u, double)
        left = left + off  # A has at most norm one in these coordinates
        worst = (worst + cost * left) * (1 + 4 * UNIT)
        inner, inner_error = inner_product(y, first, 1)
        inner_error = inner_error + torch.where(off > 0, blocked_norms(y, 1) * off, 0.0)
        size = blocked_norms(first, 1) * (1 + (sum_rounding(2 * first.shape[1]) + 4) * UNIT) + off
        bound, dual_norm, error = dual_bound(self.fidelity, inner, inner_error, size, worst)
        return prove(*parts[:2], bound, error, dual_norm, *parts[2:])

    def _remainder(self, q: Tensor, p: Tensor, u: float, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
        """Returns of a repaired pair the largest :math:`|p_i|/(\\lambda w_i)`, what a remainder of the equation of norm
        one adds to it at most, and a bound of the remainder's norm, in arithmetic of unit roundoff u."""
        stacked = self._stacked
        of_q, of_p = stacked.adjoint_roundings()
        size = blocked_norms(q, 1)
        lifted: Tensor | None = None
        sweep = 0
        while True:
            total = stacked.start(q.new_zeros(len(q), 1), None)
            error, worst, cost = of_q * u * size, torch.zeros_like(size), torch.zeros_like(size)
            for k, group, part in self._repaired(p, lifted):
                part = part.to(dtype)
                total = stacked.collect(group, part, total)
                error = error + float(of_p[k]) * u * blocked_norms(part, part.ndim - 1)
                if lifted is not None:
                    limit = torch.as_tensor(self._limit(k), dtype=torch.float64, device=part.device)
                    ratio = (_group_magnitudes(part).to(torch.float64) / limit).flatten(1).amax(dim=1)
                    worst = torch.maximum(worst, ratio * (1 + 8 * UNIT))
                    cost = torch.maximum(cost, float(stacked.rows()[k]) / limit.min())
            back = stacked.finish(total, q)
            left = blocked_norms(back, back.ndim - 1)
            if sweep == 3 or (sweep and bool((left <= 2 * error).all())):
                return worst, cost, (left + error) * (1 + 1e-9)
            more = stacked.lifted(doubled(back) if torch.finfo(dtype).bits == 64 else back)
            lifted, sweep = more if lifted is None else lifted + more, sweep + 1

    def _proved_penalty(self, z: Tensor, size: Tensor, u: float) -> tuple[Tensor, Tensor]:
        stacked = self._stacked
        penalty = error = torch.zeros(len(z), dtype=torch.float64, device=z.device)
        prepared, roundings = stacked.prepare(z), stacked.forward_roundings()
        for k, group in enumerate(stacked.groups):
            limit = torch.as_tensor(self._limit(k), dtype=torch.float64, device=z.device)
            sizes = _group_magnitudes(stacked.band(group, prepared)).to(torch.float64)
            part = blocked_sum((sizes * limit).flatten(1))
            penalty = penalty + part
            weight = torch.linalg.vector_norm(limit.expand(sizes.shape[1:])) * (1 + 1e-9)
            error = error + weight * float(roundings[k]) * u * size
            error = error + (sum_rounding(math.prod(sizes.shape[1:])) + 16 + len(stacked.groups)) * UNIT * part
        return penalty, error

    def _precisely(self, p: Tensor, back: Tensor) -> tuple[Tensor, Tensor]:
        """In double precision where W*W is not the identity: the inverse of a Laplacian has a condition of the size of
        the image."""
        if self._stacked.frame.is_tight:
            return p, back
        double = torch.complex128 if p.is_complex() else torch.float64
        return p.to(double), back.to(double)

    def dual_of(self, q: Tensor, p: Tensor | None = None) -> Tensor:
        """The flat dual of a packed q and of p, shape (batch, \\*coefficients), zero where there is none."""
        stacked = self._stacked
        if p is None:
            return torch.cat([q, q.new_zeros(len(q), stacked.bands * math.prod(stacked.band_shape))], dim=1)
        return torch.cat([q, p.flatten(1) / stacked.unit], dim=1)

    def dual_value(self, q: Tensor, y: Tensor) -> Tensor:
        first = q[:, : self._stacked.measured]
        return -real_inner(y, first, 1) - self.fidelity.conjugate(norms(first, 1))

    def dual_size(self, q: Tensor) -> Tensor:
        return norms(q[:, : self._stacked.measured], 1)


def _group_magnitudes(p: Tensor) -> Tensor:
    """The modulus over the bands of a group (axis 1), which stays."""
    sizes = modulus(p)
    return sizes if p.shape[1] == 1 else torch.linalg.vector_norm(sizes, dim=1, keepdim=True)


@dataclass(frozen=True, eq=False)
class AnalysisProblem:
    """The analysis problem, see :mod:`firenet.solver.analysis`.

    Attributes:
        operator: A.
        frame: W.
        weights: Positive weights that broadcast to ``frame.penalty_shape``; None is all ones. The approximation too
            needs one: the dual rests on it.
        lam: :math:`\\lambda>0`. For (P1) it only scales the objective.
        fidelity: As in :class:`.synthesis.SparseProblem`.
    """

    operator: LinearOperator
    frame: AnalysisOperator
    weights: Tensor | None
    lam: float
    fidelity: Fidelity = Norm()  # noqa: RUF009  (it has no state)

    def __post_init__(self) -> None:
        if self.operator.in_shape != self.frame.in_shape:
            needed = f"A frame for images of shape {self.operator.in_shape}"
            raise BadInput(needed, f"one for {self.frame.in_shape}", "Make both for the same image")
        check_lam(self.lam)
        if self.weights is not None:
            object.__setattr__(self, "weights", tensor_of(self.weights, "weights"))
        check_weights(self.weights, self.frame.penalty_shape)

    def compact(self) -> StackedProblem:
        """The same problem in the coordinates of a loop."""
        stacked = Stacked(self.operator, self.frame)
        return StackedProblem(stacked, self.weights, self.lam / stacked.unit, self.fidelity)

    def _penalty(self, x: Tensor) -> Tensor:
        sizes = self.frame.magnitudes(self.frame(x)).to(torch.float64)
        sizes = sizes if self.weights is None else sizes * self.weights
        return self.lam * sizes.flatten(-len(self.frame.penalty_shape)).sum(dim=-1)

    def objective(self, x: Tensor, y: Tensor) -> Tensor:
        """Returns F(x) for images (..., \\*in_shape), one float64 number a batch item, computed in the precision of x.
        For (P1) the penalty alone."""
        return self._penalty(x) + self.fidelity.value(norms(self.operator(x) - y, len(self.operator.out_shape)))

    def violation(self, x: Tensor, y: Tensor) -> Tensor:
        """Returns for (P1) :math:`\\max\\{0,\\|Ax-y\\|_2-\\varepsilon\\}`, else 0."""
        return self.fidelity.violation(norms(self.operator(x) - y, len(self.operator.out_shape)))

    def feasible(self, q: Tensor, p: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Returns the pair with p replaced by :math:`p-W(W^*W)^\\dagger(W^*p+A^*q)`, both divided by the smallest
        number that makes them feasible, or if y is given times the best multiple. Where W annihilates constants q is
        first made orthogonal to A1."""
        packed = self.compact()
        batch = q.shape[: q.ndim - len(self.operator.out_shape)]
        return duals(packed._stacked, packed.feasible(self._flat(packed, q, p), self._packed(packed, y)), batch)

    def gap(self, x: Tensor, q: Tensor, p: Tensor, y: Tensor) -> Tensor:
        """Returns an upper bound of :math:`F(x)-\\min F`, finite for every x and every pair (q, p), up to its rounding:
        see :meth:`prove`."""
        return self.prove(x, q, p, y).gap

    def prove(self, x: Tensor, q: Tensor, p: Tensor, y: Tensor) -> Proof:
        """Returns what (x, q, p) proves, computed in double precision: objective, lower bound, gap, rounding.

        Args:
            x: Any image (..., \\*in_shape).
            q: Any dual point (..., \\*out_shape).
            p: And its part for the coefficients, (..., \\*coefficients): the pair is made feasible.
            y: Measurements, shape of q.
        """
        packed, d = self.compact(), len(self.operator.out_shape)
        x, q, p, y = (tensor_of(t) for t in (x, q, p, y))
        flat = self._flat(packed, q, p)
        found = packed.proof(x.reshape(-1, *self.operator.in_shape), flat, self._packed(packed, y))
        return Proof(**{name: value.view(y.shape[: y.ndim - d]) for name, value in vars(found).items()})

    def _flat(self, packed: StackedProblem, q: Tensor, p: Tensor) -> Tensor:
        dtype = torch.promote_types(q.dtype, p.dtype)
        q = packed._stacked.pack_measured(q.to(dtype).reshape(-1, *self.operator.out_shape))
        return packed.dual_of(q, p.to(dtype).reshape(-1, *self.frame.out_shape))

    def _packed(self, packed: StackedProblem, y: Tensor | None) -> Any:
        return None if y is None else packed._stacked.pack_measured(y.reshape(-1, *self.operator.out_shape))


def duals(compact: Compact, dual: Tensor, batch: torch.Size) -> tuple[Tensor, Any]:
    """Returns from the dual of a loop to q, and p where there is one, in their own shapes."""
    sparse = None
    if isinstance(compact, Stacked):
        dual, sparse = compact.split(dual)
        sparse = compact.unit * sparse.reshape(*batch, *compact.frame.out_shape)
    return compact.unpack_measured(dual).view(*batch, *compact.operator.out_shape), sparse


_once: ContextVar[bool] = ContextVar("_once", default=True)


@contextmanager
def twice_differentiable() -> Iterator[None]:
    """Inside, layers of the analysis form leave their derivative to autograd, which can take it again: for second
    derivatives (``create_graph=True``), at the price of time and memory."""
    token = _once.set(False)
    try:
        yield
    finally:
        _once.reset(token)


class _Sweep(torch.autograd.Function):
    """The dual step of all bands and W* of its result:

    .. math:: p^+=(1-\\rho)p+\\rho\\,\\mathrm{clip}(p+\\sigma Ws),\\qquad t=W^*p^+.

    Its derivative takes as many transforms again: W of the gradient of t, the clip's own derivative, W* of that. What
    autograd would make of the same takes more passes and memory. Kept is what was to be clipped, and p where sigma has
    a derivative, as with steps that depend on y.
    """

    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, p: Tensor, prepared: Tensor, sigma: Tensor, rho: Tensor, problem: StackedProblem
    ) -> tuple[Tensor, Tensor]:
        stacked = problem._stacked
        total = stacked.start(prepared, None)
        unclipped, after = torch.empty_like(p), torch.empty_like(p)
        for k, group in enumerate(stacked.groups):
            old, u, new = p[:, group], unclipped[:, group], after[:, group]
            torch.add(stacked.band(group, prepared).mul_(sigma), old, out=u)
            torch.add(problem.clip_group(k, u).sub_(old).mul_(rho), old, out=new)
            total = stacked.collect(group, new, total)
        ctx.problem = problem
        ctx.save_for_backward(unclipped, sigma, rho, p if ctx.needs_input_grad[2] else None)
        return after, total

    @staticmethod
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            do = "Take it inside `with firenet.solver.analysis.twice_differentiable():`, slower"
            raise BadInput("A first derivative of a FIRENET in analysis form", "a second one", do)
        unclipped, sigma, rho, p = ctx.saved_tensors
        of_sigma = None if p is None else torch.zeros_like(sigma)
        problem: StackedProblem = ctx.problem
        stacked = problem._stacked
        of_p, of_total = (g.resolve_conj() for g in grad_outputs)
        into_p, into_prepared = torch.empty_like(unclipped), stacked.start(of_total, None)
        for k, group in enumerate(stacked.groups):
            v = stacked.band(group, of_total).add_(of_p[:, group])
            w = problem.clip_slope(k, unclipped[:, group], v * rho)
            torch.add(v.mul_(1 - rho), w, out=into_p[:, group])
            if p is not None and of_sigma is not None:  # Re<w, Ws>, and sigma Ws is what was added to p
                added = real_view(unclipped[:, group] - p[:, group])
                of_sigma += (added * real_view(w)).flatten(1).sum(1).view_as(sigma) / sigma
            into_prepared = stacked.collect(group, w.mul_(sigma), into_prepared)
        return into_p, into_prepared, of_sigma, None, None


class AnalysisLayers(Layers):
    """The loop's state for the analysis problem: only the dual step differs."""

    _pair: tuple[Tensor, tuple[Tensor, Tensor]] | None = None

    def _zero_dual(self) -> Tensor:
        stacked = self._stacked
        size = stacked.measured + stacked.bands * math.prod(stacked.band_shape)
        return torch.zeros(len(self.y), size, dtype=self.x.dtype, device=self.y.device)

    @property
    def _stacked(self) -> Stacked:
        assert isinstance(self.operator, Stacked)
        return self.operator

    def _step(self) -> None:
        stacked, problem = self._stacked, self.problem
        if not self._swept():
            super()._step()
            return
        assert isinstance(problem, StackedProblem)
        back, before = self.back, self.x
        new = before - self._tau * back
        measured = self.operator(new)
        prepared = stacked.prepare(2 * new - before)
        q, p = self._pair[1] if self._pair is not None and self._pair[0] is self.q else stacked.split(self.q)
        u = q + self._sigma * (2 * measured - self.measured - self.y)
        factor = problem.fidelity.factor(norms(u, 1), self._sigma.flatten().to(torch.float64))
        q = q + self._rho_y * (u * factor.to(u.real.dtype).view(-1, 1) - q)
        wide = (-1, *(1,) * (1 + len(stacked.band_shape)))
        p, total = _Sweep.apply(p, prepared, self._sigma.view(wide), self._rho_y.view(wide), problem)
        self.x = new if self._plain else before + self._rho_x * (new - before)
        self.measured = measured if self._plain else self.measured + self._rho_y * (measured - self.measured)
        self._x_sum, self._measured_sum = self._x_sum + new, self._measured_sum + measured
        self.q = torch.cat([q, p.flatten(1)], dim=1)
        if self._track:
            self._back_sum = self._back_sum if self._counted else self._back_sum + back
            self._q_sum = self._q_sum + self.q
        # Slices of the flat dual would make as large a gradient each: the next layer takes the parts.
        self._pair = (self.q, (q, p))
        self.last, self.last_measured, self._back, self._counted = new, measured, stacked.finish(total, q), False

    def _swept(self) -> bool:
        """Whether the derivative that is written out will do: a first one, backward, not of the weights."""
        if not (self.x.is_complex() and self._stacked.convolves and _once.get()):
            return False
        weights = self.problem.weights
        return reverse_only(self.x, self.y, self.q, self._sigma) and (weights is None or not derived(weights))

    def _ascended(self, new: Tensor, measured: Tensor) -> Tensor:
        stacked = self._stacked
        prepared = stacked.prepare(2 * new - self.x)
        bands = [stacked.band(g, prepared).flatten(1) for g in stacked.groups]
        change = torch.cat([2 * measured - self.measured - self.y, *bands], dim=1)
        return self.problem.clip(self.q + self._sigma * change, self._sigma)

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
        factor = problem.fidelity.factor(norms(change, 1), self._sigma.flatten().to(torch.float64))
        self._relax(q, change.mul_(factor.to(change.real.dtype).view(-1, 1)))
        total = stacked.start(self.q, self.last)
        sigma = self._sigma.view(-1, *(1,) * (1 + len(stacked.band_shape)))
        work = torch.empty(len(p), 1, *stacked.band_shape, dtype=p.dtype, device=p.device)
        for k, group in enumerate(stacked.groups):
            u = stacked.band(group, self._overshoot).mul_(sigma).add_(p[:, group])
            self._relax(p[:, group], problem.clip_group_(k, u, work))
            total = stacked.collect(group, p[:, group], total)
        self._back = stacked.finish(total, q)
        return self.q

    def _relax(self, old: Tensor, new: Tensor) -> None:
        if self._plain:
            old.copy_(new)
        else:
            rho = self._rho_y.view(-1, *(1,) * (old.ndim - 1 + old.is_complex()))
            real_view(old).lerp_(real_view(new), rho)


def peak_bytes(problem: SparseProblem | AnalysisProblem, y: Tensor, *, again: bool = False) -> int:
    """How much memory a solve with these measurements takes beside them, an estimate: see
    :func:`.peak_bytes`.

    In the analysis form the dual comes in: itself, its sum, the best so far and two in passing; and the responses of
    the bands; and of the proof in double precision two images more and three bands. ``again``: with reweighting also
    the dual of the round before, as it is and as the loop has it, and the weights with the limits made of them.
    """
    operator = problem.operator
    assert isinstance(operator, LinearOperator)
    plain = layer_peak(operator, y)
    if isinstance(problem, SparseProblem):
        return plain
    stacked = Stacked(operator, problem.frame)
    batch = max(math.prod(y.shape[: y.ndim - len(operator.out_shape)]), 1)
    size = torch.empty((), dtype=operator.state_dtype(y.dtype)).element_size()
    dual = stacked.measured + stacked.bands * math.prod(stacked.band_shape)
    plain += 2 * size * (2 * math.prod(stacked.in_shape) + 3 * math.prod(stacked.band_shape))
    return plain + int(size * ((9 if again else 5) * batch * dual + stacked.scratch(batch)))


def layers_for(
    problem: SparseProblem,
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
