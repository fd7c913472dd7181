"""A and W as one operator, in the coordinates of a loop."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from firenet.numerics import UNIT, blocked_norms, derived, fft_rounding, sum_rounding
from firenet.operators.linear import LinearOperator
from firenet.operators.norm_bound import NormBound
from firenet.sensing.fourier import SubsampledFourier
from firenet.transforms.analysis_operator import AnalysisOperator
from firenet.transforms.convolutions import Convolutions


class OperatorPair:
    """A and W in coordinates in which :math:`(A;W)` has norm one.

    ``forward`` is A alone, ``adjoint`` that of the pair, its argument flat, q and then p; ``norm_bound`` is the pair's.
    W is applied group by group (bands whose modulus is taken together), so that what a group needs stays in the cache.

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

    def __init__(self, sensing: LinearOperator, sparsify: AnalysisOperator) -> None:
        self.operator, self.in_shape = sensing, sensing.in_shape
        self.sparsify, self._sensing = sparsify, sensing.compact()
        self._bands = sparsify if isinstance(sparsify, Convolutions) and sparsify.convolves else None
        self._axes = tuple(range(-len(sparsify.in_shape), 0))
        self.measured = math.prod(self._sensing.out_shape)
        self.out_shape = (self.measured,)
        # The dual's shape: bands of one shape, in groups. What is no stack of images is one band and one group; the
        # gradient that does not convolve is one group of its components.
        joint = sparsify.penalty_shape != sparsify.out_shape and not sparsify.convolves
        split = sparsify.convolves or joint
        self.bands = sparsify.out_shape[0] if split else 1
        self.band_shape = sparsify.out_shape[1:] if split else sparsify.out_shape
        sizes = sparsify.groups if sparsify.convolves else (self.bands,)
        self.groups = [slice(sum(sizes[:k]), sum(sizes[: k + 1])) for k in range(len(sizes))]
        self._spectral = self._bands is not None and type(sensing) is SubsampledFourier and not sensing.centred
        self._norm = sensing.norm_bound.value or 1.0
        self._balance = 1.0 if sparsify.is_tight else 1 / (sparsify.norm_bound.value or 1.0)
        self.unit = self._norm * self._balance
        self._relative = self._balance  # the scale of W in these coordinates, where it is a number
        if self._spectral:
            assert isinstance(sensing, SubsampledFourier)
            assert self._bands is not None
            mask = sensing.mask
            self._where = mask.flatten().nonzero().squeeze(1)
            gram: Tensor | float = 1.0
            if not sparsify.is_tight:
                gram = self._balance**2 * self._bands.gram(torch.complex128, mask.device)
            diagonal = mask.to(torch.float64) + gram
            self._damp: Tensor | float = torch.where(diagonal > 0, diagonal, 1.0).rsqrt()
            why = f"a mask of samples and periodic convolutions, weighted to an isometry ({sparsify.norm_bound.why})"
            self._bound = NormBound(max(sparsify.norm_bound.value if sparsify.is_tight else 1.0, 1.0), "exact", why)
        else:
            self._relative *= 1 / math.hypot(1, self._balance * sparsify.norm_bound.value) / (1 + 1e-15)
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
        """X times the scale of the coordinates to a power."""
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

    def __call__(self, x: Tensor) -> Tensor:
        """Computes Ax."""
        return self.forward(x)

    def forward(self, x: Tensor) -> Tensor:
        """Ax: (batch, \\*in_shape) to (batch, samples)."""
        if self._spectral:
            return x.flatten(1).index_select(1, self._where) * self._at_samples(x)
        return self._sensing.forward(self._sensing.pack(self._damped(x, 1))).flatten(1)

    def _at_samples(self, like: Tensor) -> Tensor | float:
        """The scale of the coordinates where there are samples."""
        if self.sparsify.is_tight:
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
        """The adjoint of (A; unit W) for the flat dual; as in :class:`.Compact`."""
        q, p = self.split(y)
        total = self.start(y, out)
        for group in self.groups:
            total = self.collect(group, p[:, group], total)
        return self.finish(total, q)

    def split(self, dual: Tensor) -> tuple[Tensor, Tensor]:
        """Q (batch, samples), and p (batch, bands, \\*band_shape): views of the flat dual."""
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
            return self.sparsify(prepared).view(len(prepared), self.bands, *self.band_shape)
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
            return total + self.sparsify.adjoint(p.reshape(len(p), *self.sparsify.out_shape))
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
            return (
                self._damped(back, -2) if self.sparsify.is_tight else self._damped(back, -2) * self._inverse_gram(back)
            )
        return self.sparsify.apply_gram_inverse(back) * self._relative**-2

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
        if not self.sparsify.annihilates_constants:
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
        if not self.sparsify.annihilates_constants:
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
            self._rows = self.sparsify.pseudo_rows() / self._relative
        return self._rows

    def forward_roundings(self) -> Tensor:
        """Returns for each group k such that the computed bands of Wx, in the unit of p, are off by at most k unit
        roundoffs of the norm of the image x."""
        if self._bands is None:
            return torch.tensor([(self.sparsify.rounding + 8 * self.sparsify.norm_bound.value) * self.unit])
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
            whole = self._relative * (self.sparsify.rounding + 16 * self.sparsify.norm_bound.value)
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

    @property
    def has_minimum_norm(self) -> bool:
        return self.operator.has_minimum_norm

    def spare(self, like: Tensor) -> Tensor | None:
        """As in :class:`.Compact`: none."""
        return None

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
