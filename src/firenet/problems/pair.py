"""The measurement operator A and the analysis operator W as one operator, in the coordinates of an iteration."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from firenet.numerics import UNIT, blocked_norms, compiling, derived, fft_rounding, real_view, sum_rounding
from firenet.operators.linear import LinearOperator
from firenet.operators.norm_bound import NormBound
from firenet.sensing.fourier import SubsampledFourier
from firenet.transforms.analysis_operator import AnalysisOperator
from firenet.transforms.convolutions import Convolutions
from firenet.transforms.engine import Engine, engine_for


class OperatorPair:
    """The pair (A; W) in coordinates in which its norm is at most one.

    ``forward`` applies A alone; ``adjoint`` is the adjoint of the pair, for a flat argument, q and then p;
    ``norm_bound`` is that of the pair. W is applied to one group of bands at a time, so that the data of a group stay
    in the cache.

    For :class:`.SubsampledFourier` that is not ``centred``, and bands that are periodic convolutions, the coordinates
    are the spectrum times :math:`(m+c^2g)^{1/2}` with m the mask and :math:`g=\\sum_b|\\hat g_b|^2` for the frequency
    responses :math:`\\hat g_b` of the bands: there :math:`A^*A+c^2W^*W` is diagonal, and (A; cW) is an isometry.
    An iteration then costs two FFTs per band, and the steps are as large as the theory allows. For all other operators
    the coordinates are the image times :math:`\\|A\\|(1+c^2\\|W\\|^2)^{1/2}`.

    The pair is :math:`(A;\\|A\\|cW)`, so that the balance of the two does not depend on the scale of A. With p and
    :math:`\\lambda` divided by ``unit`` the problem is the same. c is 1 for tight frames, else :math:`1/\\|W\\|`.

    Attributes:
        unit: :math:`c\\|A\\|`, or c for A = 0.
    """

    def __init__(self, sensing: LinearOperator, sparsify: AnalysisOperator) -> None:
        self.operator, self.in_shape = sensing, sensing.in_shape
        self._engines: list[Engine | None] = []  # the one that was found, once it was sought
        self.sparsify, self._sensing = sparsify, sensing.compact()
        self._bands = sparsify if isinstance(sparsify, Convolutions) and sparsify.convolves else None
        self._axes = tuple(range(-len(sparsify.in_shape), 0))
        self.measured = math.prod(self._sensing.out_shape)
        self.out_shape = (self.measured,)
        # p has bands of one shape, in groups. Coefficients that are not a stack of images are one band and one group;
        # the components of the Neumann gradient, which does not convolve, are one group.
        joint = sparsify.penalty_shape != sparsify.out_shape and not sparsify.convolves
        split = sparsify.convolves or joint
        self.bands = sparsify.out_shape[0] if split else 1
        self.band_shape = sparsify.out_shape[1:] if split else sparsify.out_shape
        sizes = sparsify.groups if sparsify.convolves else (self.bands,)
        self.groups = [slice(sum(sizes[:k]), sum(sizes[: k + 1])) for k in range(len(sizes))]
        self._spectral = self._bands is not None and getattr(sensing, "samples_spectrum", False)
        self._norm = sensing.norm_bound.value or 1.0
        self._balance = 1.0 if sparsify.is_tight else 1 / (sparsify.norm_bound.value or 1.0)
        self.unit = self._norm * self._balance
        self._relative = self._balance  # the scale of W in these coordinates, if that is a number
        if self._spectral:
            assert isinstance(sensing, SubsampledFourier)
            assert self._bands is not None
            mask = sensing.mask
            # In a graph the measurements are on the whole grid, since their number must not depend on numbers.
            self._where = None if compiling() else mask.flatten().nonzero().squeeze(1)
            self._mask = mask.flatten()
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
        self._scales: tuple[torch.dtype, Tensor] | None = None
        # The responses in the dtype of the iteration; a proof in double precision computes its own one by one.
        self._responses: tuple[torch.dtype, torch.device, Tensor, Tensor] | None = None
        self._gram: Tensor | None = None
        self._ones: tuple[Tensor, float] | None = None
        self._constant: tuple[Tensor, Tensor] | None = None
        self._rows: Tensor | None = None
        self._real = False  # whether the last image that was prepared was real

    @property
    def norm_bound(self) -> NormBound:
        """The upper bound of the norm of the pair in these coordinates."""
        return self._bound

    @property
    def convolves(self) -> bool:
        """Whether the bands of W are periodic convolutions, computed by FFTs unless a compiled engine is used."""
        return self._bands is not None

    @property
    def is_isometry(self) -> bool:
        """Whether the coordinates are those for Fourier samples and convolutions, in which the pair preserves norms."""
        return self._spectral

    @property
    def scale(self) -> Tensor | float:
        """The factor by which points in these coordinates become spectra, if the pair :attr:`is_isometry`, or else
        images."""
        return self._damp

    @property
    def band_scale(self) -> float:
        """The number by which W is multiplied: applied to images if the pair :attr:`is_isometry`, or else to points in
        these coordinates, it gives :meth:`band`."""
        return self._balance if self._spectral else self._relative

    def _damped(self, x: Tensor, power: int) -> Tensor:
        """Multiplies x by a power of the scale of the coordinates."""
        if isinstance(self._damp, Tensor):
            return x * self._damp.to(x.real.dtype) ** power
        return x * self._damp**power

    def __getstate__(self) -> dict[str, Any]:
        # An engine has modules, which cannot be copied; a copy makes its own.
        return {**vars(self), "_engines": []}

    def engine(self, *tensors: Tensor, derivatives: bool = False) -> Engine | None:
        """Returns the compiled engine if there is one and it takes these tensors: on the CPU, and unless the caller
        computes ``derivatives`` itself, without derivatives.

        It applies W to images in space: :meth:`to_space` and :meth:`from_space` convert.
        """
        if any(t.device.type != "cpu" or (derived(t) and not derivatives) for t in tensors):
            return None
        if not self._engines:
            scale = self._balance if self._spectral else self._relative
            self._engines.append(engine_for(self.sparsify, scale))
        return self._engines[0]

    def to_space(self, x: Tensor) -> Tensor:
        """Computes the image that the engine takes; without derivatives it may overwrite x."""
        return _transformed(torch.fft.ifftn, self._scaled_(x), self._axes) if self._spectral else x

    def from_space(self, image: Tensor, q: Tensor) -> Tensor:
        """Computes the adjoint of the pair from the engine's W*p, which may be overwritten without derivatives, and
        from q."""
        if self._spectral:
            return self.finish(self._scaled_(_transformed(torch.fft.fftn, image, self._axes)), q)
        back = self._back(q)
        return image + back if derived(image) or derived(back) else image.add_(back)

    def _scaled_(self, x: Tensor) -> Tensor:
        """Computes ``_damped(x, 1)`` of spectra, in place if x has no derivatives."""
        if derived(x):
            return self._damped(x, 1)
        if self._scales is None or self._scales[0] != x.dtype:
            assert isinstance(self._damp, Tensor)
            # Twice for each complex number: a product of real tensors of one shape is the fastest.
            self._scales = x.dtype, self._damp.to(x.real.dtype).unsqueeze(-1).expand(*self.in_shape, 2).contiguous()
        real_view(x).mul_(self._scales[1])
        return x

    def pack(self, x: Tensor) -> Tensor:
        """Converts images to these coordinates."""
        return self._damped(_transformed(torch.fft.fftn, x, self._axes) if self._spectral else x, -1)

    def unpack(self, x: Tensor) -> Tensor:
        """Converts points in these coordinates to images."""
        x = self._damped(x, 1)
        return _transformed(torch.fft.ifftn, x, self._axes) if self._spectral else x

    def pack_measured(self, y: Tensor) -> Tensor:
        """Converts measurements to packed measurements (batch, samples)."""
        return self._sensing.pack_measured(y).flatten(1)

    def unpack_measured(self, y: Tensor) -> Tensor:
        """Converts packed measurements to measurements."""
        return self._sensing.unpack_measured(y.reshape(len(y), *self._sensing.out_shape))

    def __call__(self, x: Tensor) -> Tensor:
        """Computes Ax."""
        return self.forward(x)

    def forward(self, x: Tensor) -> Tensor:
        """Computes Ax, from shape (batch, \\*in_shape) to (batch, samples)."""
        if self._spectral:
            return self._taken(x.flatten(1)) * self._at_samples(x)
        return self._sensing.forward(self._sensing.pack(self._damped(x, 1))).flatten(1)

    def _at_samples(self, like: Tensor) -> Tensor | float:
        """Returns the scale of the coordinates at the samples."""
        if self.sparsify.is_tight:
            return 0.5**0.5
        assert isinstance(self._damp, Tensor)
        damp = self._damp.flatten()
        return (damp if self._where is None else damp[self._where]).to(like.real.dtype)

    def _taken(self, grid: Tensor) -> Tensor:
        """Returns the samples of flat grids (batch, grid)."""
        return grid * self._mask.to(grid.dtype) if self._where is None else grid.index_select(1, self._where)

    def _put(self, samples: Tensor) -> Tensor:
        """Returns samples in their places on the grid, with zeros elsewhere."""
        if self._where is not None:
            grid = torch.zeros(len(samples), math.prod(self.in_shape), dtype=samples.dtype, device=samples.device)
            samples = grid.index_copy(1, self._where, samples)
        return samples.view(len(samples), *self.in_shape)

    def minimum_norm(self, y: Tensor) -> Tensor | None:
        """Computes the minimum-norm solution of Ax = y, as :meth:`LinearOperator.minimum_norm`."""
        if self._spectral:
            return self._put(y / self._at_samples(y))
        inner = y.reshape(len(y), *self._sensing.out_shape)
        x = self._sensing.minimum_norm(inner)
        return None if x is None else self._damped(self._sensing.unpack(x), -1)

    def adjoint(self, y: Tensor, out: Tensor | None = None) -> Tensor:
        """Applies the adjoint of (A; unit W) to a flat dual variable; ``out`` is as in :class:`.Compact`."""
        q, p = self.split(y)
        total = self.start(y, out)
        for group in self.groups:
            total = self.collect(group, p[:, group], total)
        return self.finish(total, q)

    def split(self, dual: Tensor) -> tuple[Tensor, Tensor]:
        """Returns views of the flat dual variable, q (batch, samples) and p (batch, bands, \\*band_shape)."""
        return dual[:, : self.measured], dual[:, self.measured :].unflatten(1, (self.bands, *self.band_shape))

    # W is computed group by group: prepare once, then band for each group. W* likewise: start, then collect for each
    # group, then finish.

    def prepare(self, x: Tensor) -> Tensor:
        """Computes the input of :meth:`band` from x, once for all bands."""
        if self._spectral:
            return x
        x = x * self._relative
        if self._bands is None:
            return x
        self._real = not x.is_complex()
        return _transformed(torch.fft.rfftn if self._real else torch.fft.fftn, x, self._axes)

    def band(self, group: slice, prepared: Tensor) -> Tensor:
        """Computes a group of bands of ``unit`` times Wx as a new tensor (batch, bands of the group, \\*band_shape)."""
        if self._bands is None:
            return self.sparsify(prepared).view(len(prepared), self.bands, *self.band_shape)
        return self._inverse(prepared.unsqueeze(1) * self._response(prepared, group)[0], real=self._real)

    def _inverse(self, spectrum: Tensor, *, real: bool) -> Tensor:
        """Applies the inverse Fourier transform, to a half spectrum for real images."""
        if real:
            return _transformed(torch.fft.irfftn, spectrum, self._axes, self.in_shape)
        return _transformed(torch.fft.ifftn, spectrum, self._axes)

    def start(self, like: Tensor, out: Tensor | None) -> Tensor:
        """Returns zeros, the initial sum for :meth:`collect`; they may be written into ``out`` if its shape and
        dtype fit."""
        if self._bands is None:
            return torch.zeros(len(like), *self.in_shape, dtype=like.dtype, device=like.device)
        shape = (len(like), *self.in_shape)
        if not like.is_complex():
            shape, like = (*shape[:-1], shape[-1] // 2 + 1), torch.view_as_complex(like.new_zeros(1, 2))
        if out is not None and out.shape == shape and out.dtype == like.dtype:
            return out.zero_()
        return torch.zeros(shape, dtype=like.dtype, device=like.device)

    def collect(self, group: slice, p: Tensor, total: Tensor) -> Tensor:
        """Adds a group's part of W*p to the sum, which :meth:`finish` converts, and returns the result; it may
        overwrite the sum, unless derivatives are recorded."""
        if self._bands is None:
            return total + self.sparsify.adjoint(p.reshape(len(p), *self.sparsify.out_shape))
        spectra = _transformed(torch.fft.fftn if p.is_complex() else torch.fft.rfftn, p, self._axes)
        for spectrum, response in zip(spectra.unbind(1), self._response(total, group)[1], strict=True):
            total = total + spectrum * response if derived(p) else total.addcmul_(spectrum, response)
        return total

    def finish(self, total: Tensor, q: Tensor) -> Tensor:
        """Computes the adjoint of the pair from q and the sum of all groups, in the shape of x."""
        if self._spectral:
            samples = q * self._at_samples(q)
            if self._where is None:
                return total + self._put(samples)
            if derived(q) or derived(total):
                return total.flatten(1).index_add(1, self._where, samples).view(total.shape)
            total.flatten(1).index_add_(1, self._where, samples)
            return total
        if self._bands is not None:
            total = self._inverse(total, real=not q.is_complex())
        return total * self._relative + self._back(q)

    def _back(self, q: Tensor) -> Tensor:
        """Computes A*q."""
        if self._spectral:
            return self._put(q * self._at_samples(q))
        back = self._sensing.unpack(self._sensing.adjoint(q.reshape(len(q), *self._sensing.out_shape)))
        return self._damped(back, 1)

    def lifted(self, back: Tensor) -> Tensor:
        """Applies the pseudo-inverse of W*W, in these coordinates, to b, the :meth:`adjoint` of (q, p).

        The repair of the pair subtracts W of the result from p.
        """
        if self._spectral:
            image = self._damped(back, -2)
            return image if self.sparsify.is_tight else image * self._inverse_gram(back)
        return self.sparsify.apply_gram_inverse(back) * self._relative**-2

    def _inverse_gram(self, like: Tensor) -> Tensor:
        """Returns :math:`(c^2g)^\\dagger` in the precision of ``like``."""
        if self._gram is None or self._gram.device != like.device:
            assert self._bands is not None
            self._gram = self._bands._pseudo_inverse(like.device) / self._balance**2
        return self._gram.to(like.real.dtype)

    def constant(self) -> tuple[Tensor, float]:
        """Returns the unit vector along A1 (the measurements of the image that is one everywhere), with a bound of the
        vector's error.

        The vector is packed and in double precision. If A1 is exactly zero, vector and bound are zero; if A1 is zero
        within its rounding, the bound is infinite.
        """
        if self._ones is None:
            a, error = self.operator.constant_response()
            a = self.pack_measured(a[None])
            size = blocked_norms(a, 1).item()
            off = 0.0 if error == 0 == size else 2 * error / (size - error) if size > 2 * error else math.inf
            self._ones = (a / size if size > 0 else a, off)
        return self._ones

    def without_constant(self, q: Tensor, back: Tensor) -> tuple[Tensor, Tensor]:
        """Removes from q its component along A1 if W annihilates constants, and from ``back``, the :meth:`adjoint` of
        the pair, the contribution of that component.

        The computation is in the precision of q, for the control of the iteration.
        """
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
        """Removes from q its component along A1, if W annihilates constants.

        Args:
            q: Packed dual points in double precision.

        Returns:
            The result, and a bound of its distance to a q that is exactly orthogonal to A1: the rounding of the
            computation and the error of A1. It is infinite if A1 is zero within its rounding.
        """
        if not self.sparsify.annihilates_constants:
            return q, torch.zeros(len(q), dtype=torch.float64, device=q.device)
        a, error = self.constant()
        a = (a if q.is_complex() else a.real).to(q)  # A is real if q is
        for _ in range(2):  # the second time removes the rounding of the first
            q = q - (q * a.conj()).sum(dim=1, keepdim=True) * a
        left = (q * a.conj()).sum(dim=1).abs()
        size = blocked_norms(q, 1)
        return q, (left + ((2 * sum_rounding(2 * q.shape[1]) + 8) * UNIT * size if bool(a.any()) else 0)) + error * size

    def rows(self) -> Tensor:
        """Returns :meth:`AnalysisOperator.pseudo_rows` in these coordinates: for each group of bands, the largest
        change of a magnitude of p that a remainder of norm one can cause."""
        if self._rows is None and self._spectral:
            assert self._bands is not None
            assert isinstance(self._damp, Tensor)
            device, weight = self._damp.device, self._bands._pseudo_inverse(self._damp.device) / self._damp
            responses = (self._bands.response(k, torch.complex128, device) for k in range(self.bands))
            energy = torch.stack([(response * weight).abs().square().mean() for response in responses])
            rows = torch.stack([energy[group].sum() for group in self.groups]).sqrt()
            self._rows = rows * (1 + 1e-9) / self._balance
        elif self._rows is None:
            self._rows = self.sparsify.pseudo_rows() / self._relative
        return self._rows

    def forward_roundings(self) -> Tensor:
        """Returns for each group a number k such that the computed bands of ``unit`` times Wx have an error of at
        most k unit roundoffs times the norm of the image x."""
        if self._bands is None:
            return torch.tensor([(self.sparsify.rounding + 8 * self.sparsify.norm_bound.value) * self.unit])
        each = (2 * fft_rounding(self.in_shape) + 16) * self._bands.band_norms() + self._bands.response_roundings()
        return self._of_groups(each) * self.unit

    def _of_groups(self, each: Tensor) -> Tensor:
        """Computes the 2-norm over the bands of each group."""
        return torch.stack([torch.linalg.vector_norm(each[group]) for group in self.groups])

    def adjoint_roundings(self) -> tuple[float, Tensor]:
        """Returns a number k, and a number for each group, such that the computed adjoint of (q, p) has an error of at
        most k unit roundoffs times the norm of q, plus for each group its number times the norm of its bands."""
        if self._spectral:
            assert isinstance(self._damp, Tensor)
            assert self._bands is not None
            damp = float(self._damp.max())
            norms_ = (self._bands.band_norms() * self._balance * damp).clamp(max=1)
            each = (fft_rounding(self.in_shape) + 16 + self.bands) * norms_
            each = each + self._bands.response_roundings() * self._balance * damp
            return 8.0, self._of_groups(each)
        assert not isinstance(self._damp, Tensor)
        of_q = (self.operator.rounding + 16 * self.operator.norm_bound.value) * self._damp
        if self._bands is None:
            whole = self._relative * (self.sparsify.rounding + 16 * self.sparsify.norm_bound.value)
            return of_q, torch.tensor([whole], dtype=torch.float64)
        each = (2 * fft_rounding(self.in_shape) + 16 + self.bands) * self._bands.band_norms()
        each = self._relative * (each + self._bands.response_roundings())
        return of_q, self._of_groups(each)

    def _response(self, like: Tensor, group: slice) -> tuple[Tensor, Tensor]:
        """Returns the responses of a group in these coordinates, and their conjugates, in the dtype and shape of a
        spectrum."""
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
        """Whether :meth:`minimum_norm` gives the minimum-norm solution."""
        return self.operator.has_minimum_norm

    def spare(self, like: Tensor) -> Tensor | None:
        """Returns None: there is no free memory, see :meth:`.Compact.spare`."""
        return None

    def scratch(self, batch: int) -> int:
        """Returns how many numbers the pair stores while it is applied."""
        size = math.prod(self.in_shape)
        return self._sensing.scratch(batch) + size * (4 * batch + 2 * self.bands)


def _transformed(
    transform: Callable[..., Tensor], x: Tensor, axes: tuple[int, ...], shape: tuple[int, ...] | None = None
) -> Tensor:
    """Applies a unitary transform, also to empty tensors, which the FFT refuses."""
    if x.numel():
        return transform(x, dim=axes, norm="ortho", **({} if shape is None else {"s": shape}))
    if transform is torch.fft.rfftn:
        dtype = torch.promote_types(x.dtype, torch.complex64)
        return torch.zeros(*x.shape[:-1], x.shape[-1] // 2 + 1, dtype=dtype, device=x.device)
    return x if shape is None else x.real.new_zeros((*x.shape[: x.ndim - len(axes)], *shape))
