"""A network of fixed steps in real numbers.

Runtimes for trained networks have no complex tensors. :class:`RealPacked` is a :class:`.Firenet` of fixed steps whose
complex numbers are pairs of reals on the last axis. Every transform is a few products with small dense matrices, one
for each axis; only the Fourier transform can also be an FFT.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, cast

import torch
from torch import Tensor, nn

from firenet.errors import BadInput
from firenet.network import Firenet
from firenet.problems.fidelity import Norm
from firenet.sensing.fourier import MultiCoilFourier, SubsampledFourier
from firenet.sensing.walsh import SubsampledWalsh
from firenet.solver.schedules import FrozenSteps
from firenet.transforms.walsh import WalshHadamard
from firenet.transforms.wavelet import Wavelet

Fourier = Literal["fft", "matrix"]


class RealPacked(nn.Module):
    """A network of fixed steps in real numbers, from y (batch, \\*sensing.out_shape, 2) to the image (batch,
    \\*sensing.in_shape, 2).

    The layers are those of :class:`.Iteration`, with complex numbers as pairs (real, imaginary) on the last
    axis; for a Walsh operator everything is real and there is no such axis. It is an ordinary module: differentiable,
    and suitable for ``torch.export`` and ``torch.onnx.export``, which do not support complex tensors. Unlike
    ``Firenet`` it does not check that the measurements are finite. In double precision it equals the network up to
    rounding; in single precision A is applied to the change since the layer before, so that its rounding vanishes with
    the change, as in ``Firenet`` where no gradients are asked for.

    A wavelet level along an axis of n is a product with an n x n matrix, so that a transform of a complex n x n image
    costs some :math:`7n^3` multiplications instead of O(n^2). This is suitable for sides of some hundreds.

    Args:
        net: A network with the default fidelity (P3) and a :class:`FrozenSteps` schedule, Fourier samples (one coil or
            several, zero frequency in the corner) or Walsh samples, and a :class:`Wavelet` in the synthesis form or no
            transform.
        fourier: ``fft`` uses complex numbers only for ``torch.fft``; ``matrix`` computes the transform of each axis as
            a product with a 2n x 2n matrix, without complex numbers.
        dtype: float32 or float64; move the module with ``.to`` to change it.

    Raises:
        BadInput: For another fidelity, schedule, operator or transform, and for steps too large for the operator's
            norm.
    """

    mask: Tensor
    weights: Tensor | None

    def __init__(self, net: Firenet, *, fourier: Fourier = "fft", dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        if not isinstance(net.schedule, FrozenSteps):
            needed, do = "A network with fixed steps", "Freeze a solution: net.following(solution.schedule.frozen())"
            raise BadInput(f"{needed}, the same for all measurements", type(net.schedule).__name__, do)
        if fourier not in ("fft", "matrix"):
            raise BadInput("fourier: fft or matrix", repr(fourier), "Choose one")
        check_dtype(dtype)
        sensing = supported(net)
        self.in_shape, self.out_shape = sensing.in_shape, sensing.out_shape
        self.pairs = not isinstance(sensing, SubsampledWalsh)  # whether numbers are complex
        self.runs = net.schedule.runs
        bound = net.operator.norm_bound.value
        for run in self.runs:
            product = run.tau * run.sigma * bound**2
            if not (run.tau > 0 and product <= 1 + 1e-9):
                got = f"{product:.6g} with the norm bound {bound:.6g} and tau = {run.tau:.6g}"
                raise BadInput("Steps with tau > 0 and tau * sigma * norm^2 <= 1", got, "Use smaller steps")
        self._state = (*net.operator.in_shape, *self._pair)
        self._frame = _Wavelets(net.sparsify, self.pairs) if isinstance(net.sparsify, Wavelet) else None
        # The factor that is missing in _adjoint. The primal step includes it, which saves a product in each layer.
        factor = 1.0
        if isinstance(sensing, SubsampledWalsh):
            self._transform: _Separable | _Ffts | _Dfts = _walsh(self.in_shape)
        elif fourier == "matrix":
            self._transform = _Dfts(self.in_shape)
        else:
            self._transform, factor = _Ffts(self.in_shape), math.prod(self.in_shape) ** -0.5
        mask = sensing.mask.cpu().double()
        mask = mask.unsqueeze(-1) if self.pairs else mask
        self.register_buffer("mask", mask)
        self.register_buffer("_filled", mask * factor)
        self._coils = isinstance(sensing, MultiCoilFourier)
        if isinstance(sensing, MultiCoilFourier):
            maps = torch.view_as_real(sensing.maps.detach().cpu().to(torch.complex128))
            # s and i s are the factors of the real and of the imaginary part of x.
            self.register_buffer("_maps", maps)
            self.register_buffer("_turned", torch.stack([-maps[..., 1], maps[..., 0]], dim=-1))
        weights = net.problem.weights
        if weights is not None:
            weights = weights.detach().cpu().double().expand(net.operator.in_shape)
            weights = weights.unsqueeze(-1).contiguous().reciprocal() if self.pairs else weights.contiguous()
        self.register_buffer("weights", weights)
        for k, run in enumerate(self.runs):
            # Tensors, since the export to ONNX converts Python numbers to single precision.
            numbers = {"tau": run.tau * factor, "sigma": run.sigma, "rho": run.relaxation}
            numbers["threshold"] = 1 / (run.tau * net.lam) if self.pairs else run.tau * net.lam
            for name, number in numbers.items():
                self.register_buffer(f"_{name}{k}", torch.tensor(number, dtype=torch.float64))
            self.register_buffer(f"_factors{k}", torch.tensor(run.combination, dtype=torch.float64))
        # The first point is A*y over the square of the norm, divided before and after A*, or zero.
        start = 1 / (bound or 1.0) if net.schedule.start == "adjoint" else 0.0
        self.register_buffer("_before", torch.tensor(start, dtype=torch.float64))
        self.register_buffer("_behind", torch.tensor(start * factor, dtype=torch.float64))
        self.to(device=sensing.mask.device, dtype=dtype).eval()

    @property
    def layers(self) -> int:
        """The number of layers."""
        return sum(run.layers for run in self.runs)

    @property
    def _pair(self) -> tuple[int, ...]:
        return (2,) if self.pairs else ()

    def forward(self, y: Tensor) -> Tensor:
        """Computes the images of measurements (batch, \\*sensing.out_shape, 2); entries outside the mask are ignored.

        Raises:
            BadInput: For measurements of another shape or dtype.
        """
        shape = (*self.out_shape, *self._pair)
        if y.ndim != 1 + len(shape) or tuple(y.shape[1:]) != shape or y.dtype != self.mask.dtype:
            what = "real and imaginary parts on the last axis" if self.pairs else "real numbers"
            needed = f"Measurements of shape (batch, {', '.join(map(str, shape))}) and dtype {self.mask.dtype}: {what}"
            do = "Use torch.view_as_real for complex ones, add a batch axis, move the module with .to(dtype)"
            raise BadInput(needed, f"{y.dtype} of shape {tuple(y.shape)}", do)
        if not len(y):
            return y.new_zeros(0, *self.in_shape, *self._pair)
        z = self._iterate(y * self.mask)
        return z if self._frame is None else self._frame.synthesise(z)

    def _iterate(self, y: Tensor) -> Tensor:
        """Computes the coefficients; names are as in :class:`.Iteration`."""
        single = y.dtype == torch.float32
        x, q = self._adjoint(y * cast(Tensor, self._before)) * cast(Tensor, self._behind), torch.zeros_like(y)
        measured = self._apply_operator(x)
        new, last, last_measured = x, x, measured
        back: Tensor | None = torch.zeros_like(x)  # A*q, or None
        for k, run in enumerate(self.runs):
            names = (f"_{name}{k}" for name in ("tau", "sigma", "rho", "threshold"))
            tau, sigma, rho, threshold = (cast(Tensor, getattr(self, name)) for name in names)
            average, duals = run.restart_point == "average", run.restart_point == "average" and run.keep_dual
            x_sum = measured_sum = q_sum = None
            recent: list[tuple[Tensor, Tensor]] = []
            for layer in range(run.layers):
                back = self._adjoint(q) if back is None else back
                new = self._shrink(x - tau * back, threshold)
                new_measured = self._apply_operator(new - last) + last_measured if single else self._apply_operator(new)
                u = _clip(q + sigma * (2 * new_measured - measured - y))
                if run.relaxation == 1:
                    x, measured, q = new, new_measured, u
                else:
                    x, q = x + rho * (new - x), q + rho * (u - q)
                    measured = measured + rho * (new_measured - measured)
                last, last_measured, back = new, new_measured, None
                x_sum = _plus(x_sum, new) if average else None
                measured_sum = _plus(measured_sum, new_measured) if average and not single else None
                q_sum = _plus(q_sum, q) if duals else None
                if run.layers - layer <= len(run.combination):
                    recent.append((x, q))
            if average:
                x = cast(Tensor, x_sum) / run.layers
            elif recent:
                factors = cast(Tensor, getattr(self, f"_factors{k}"))
                x, q = (torch.einsum("k,k...->...", factors, torch.stack(parts)) for parts in zip(*recent, strict=True))
                measured = measured if single else self._apply_operator(x)
            if k + 1 == len(self.runs):
                return new if run.restart_point == "last" else x
            if q_sum is not None:
                q = q_sum / run.layers
            elif not run.keep_dual:
                q, back = torch.zeros_like(q), torch.zeros_like(x)
            if single:  # Ax is computed again, which removes its accumulated rounding
                last, measured = x, self._apply_operator(x)
                last_measured = measured
            elif measured_sum is not None:
                measured = measured_sum / run.layers
        raise AssertionError("a schedule has at least one run")

    def _apply_operator(self, z: Tensor) -> Tensor:
        x = z if self._frame is None else self._frame.synthesise(z)
        if self._coils:
            maps, turned = cast(Tensor, self._maps), cast(Tensor, self._turned)
            x = x.unsqueeze(1)
            x = x[..., :1] * maps + x[..., 1:] * turned
        return self._transform(x) * cast(Tensor, self._filled)

    def _adjoint(self, q: Tensor) -> Tensor:
        """Computes A*q, except for the factor that the primal step includes."""
        x = self._transform.adjoint(q)
        if self._coils:
            maps, turned = cast(Tensor, self._maps), cast(Tensor, self._turned)
            x = torch.stack([(x * maps).sum(dim=(1, -1)), (x * turned).sum(dim=(1, -1))], dim=-1)
        return x if self._frame is None else self._frame.analyse(x)

    def _shrink(self, v: Tensor, threshold: Tensor) -> Tensor:
        """Computes the soft threshold. For pairs, ``threshold`` and ``weights`` hold the reciprocals."""
        t = threshold if self.weights is None else threshold * self.weights
        if not self.pairs:
            return v - torch.minimum(torch.maximum(v, -t), t)
        u = v * t
        return v * (1 - (u * u).sum(dim=-1, keepdim=True).clamp(min=1).rsqrt())


def _plus(total: Tensor | None, term: Tensor) -> Tensor:
    return term if total is None else total + term


def _clip(u: Tensor) -> Tensor:
    """Projects each batch item on the unit ball."""
    return u * (u * u).sum(dim=tuple(range(1, u.ndim)), keepdim=True).clamp(min=1).rsqrt()


def supported(net: Firenet) -> SubsampledFourier | MultiCoilFourier | SubsampledWalsh:
    """Returns the measurement operator of a network that can be computed in real numbers.

    Raises:
        BadInput: For other networks, also for subclasses of the operators, which may compute something else.
    """
    sensing, frame = net.sensing, net.sparsify
    if type(sensing) not in (SubsampledFourier, MultiCoilFourier, SubsampledWalsh):
        needed = "A measurement operator SubsampledFourier, MultiCoilFourier or SubsampledWalsh"
        raise BadInput(needed, type(sensing).__name__, "Export a network with one of these")
    if not isinstance(sensing, SubsampledWalsh) and cast(SubsampledFourier, sensing).centred:
        do = "Shift mask, maps and k-space with torch.fft.ifftshift and build the operator without centred=True"
        raise BadInput("A Fourier operator with zero frequency in the corner", "centred=True", do)
    if not isinstance(net.problem.fidelity, Norm):
        do = "Export a network without noise= or fidelity="
        raise BadInput("The square-root LASSO", type(net.problem.fidelity).__name__, do)
    if net.form == "analysis" or (frame is not None and type(frame) is not Wavelet):
        got = f"{type(frame).__name__}, {net.form} form"
        raise BadInput("The synthesis form with a Wavelet, or no transform", got, "Use firenet.Wavelet")
    return cast("SubsampledFourier | MultiCoilFourier | SubsampledWalsh", sensing)


def check_dtype(dtype: torch.dtype) -> None:
    """Raises BadInput for other dtypes than float32 and float64."""
    if dtype not in (torch.float32, torch.float64):
        do = "Use float32 in place of complex64, and float64 in place of complex128"
        raise BadInput("dtype float32 or float64", f"{dtype}", do)


# --- transforms as products with dense matrices -----------------------------------------------------------------------


class _Separable(nn.Module):
    """A real linear map along each axis, from (batch, \\*sides) to (batch, \\*others).

    Args:
        matrices: One for each axis, (other, side).
        pairs: Whether the last axis holds pairs, (side * 2).
    """

    def __init__(self, matrices: Sequence[Tensor], *, pairs: bool) -> None:
        super().__init__()
        self._count = len(matrices)
        *others, last = matrices
        last = torch.kron(last.mT.contiguous(), torch.eye(2, dtype=last.dtype)) if pairs else last.mT.contiguous()
        for axis, matrix in enumerate([*others, last]):
            self.register_buffer(f"_matrix{axis}", matrix)

    def forward(self, x: Tensor) -> Tensor:
        matrices = [cast(Tensor, getattr(self, f"_matrix{axis}")) for axis in range(self._count)]
        x = x @ matrices[-1]
        if self._count > 1:
            x = matrices[-2] @ x
        if self._count > 2:
            x = (matrices[0] @ x.flatten(-2)).unflatten(-1, tuple(x.shape[-2:]))
        return x

    def adjoint(self, x: Tensor) -> Tensor:
        """Applies the same map, since only :func:`_walsh` uses the adjoint, and its map is symmetric."""
        return self(x)


class _Dense(nn.Module):
    """A real linear map as one matrix, from (batch, \\*sides), as in :class:`_Separable`, to (batch, \\*to)."""

    def __init__(self, matrix: Tensor, to: Sequence[int], *, pairs: bool) -> None:
        super().__init__()
        self._pair, self._to = (2 if pairs else 1), (*to[:-1], to[-1] * (2 if pairs else 1))
        self.register_buffer("_matrix", matrix)

    def forward(self, x: Tensor) -> Tensor:
        x = cast(Tensor, self._matrix) @ x.reshape(len(x), -1, self._pair)
        return x.reshape(len(x), *self._to)


def _walsh(shape: tuple[int, ...]) -> _Separable:
    return _Separable([WalshHadamard((n,))(torch.eye(n, dtype=torch.float64)) for n in shape], pairs=False)


# A corner of at most this many coefficients, of any number of levels, is transformed by one dense matrix.
_DENSE = 256


class _Wavelets(nn.Module):
    """A :class:`Wavelet` and its adjoint: a level is one dense matrix for each axis, applied to its low-pass corner.

    The matrices are those of the one-level transform of an axis; those of the finest level also pad and crop. The
    coarsest levels together are one matrix if their corner is small.
    """

    def __init__(self, frame: Wavelet, pairs: bool) -> None:
        super().__init__()
        self.pairs, self.depth = pairs, frame.depth
        back, forth = nn.ModuleList(), nn.ModuleList()
        for k in range(frame.depth):
            corner = [padded >> k for padded in frame.out_shape]
            kept = corner if k else list(frame.in_shape)
            if math.prod(corner) <= _DENSE:
                coarse = Wavelet(corner, frame.wavelet, frame.depth - k)
                units = torch.eye(math.prod(corner), dtype=torch.float64).view(-1, *corner)
                matrix = coarse.adjoint(units)[(slice(None), *(slice(n) for n in kept))].flatten(1).mT.contiguous()
                back.append(_Dense(matrix, kept, pairs=pairs))
                forth.append(_Dense(matrix.mT.contiguous(), corner, pairs=pairs))
                break
            units = [torch.eye(n, dtype=torch.float64) for n in corner]
            steps = [Wavelet((len(unit),), frame.wavelet, 1).adjoint(unit).mT for unit in units]
            matrices = [step[:m].contiguous() for step, m in zip(steps, kept, strict=True)]
            back.append(_Separable(matrices, pairs=pairs))
            forth.append(_Separable([m.mT.contiguous() for m in matrices], pairs=pairs))
            details = torch.ones(corner, dtype=torch.float64)
            details[tuple(slice(n // 2) for n in corner)] = 0
            self.register_buffer(f"_details{k}", details.repeat_interleave(2, dim=-1) if pairs else details)
        self._back, self._forth = back, forth

    def synthesise(self, z: Tensor) -> Tensor:
        """Computes W*z for z of shape (batch, \\*sides), or (batch, \\*sides, 2)."""
        if not self.depth:
            return z
        levels = [z.flatten(-2) if self.pairs else z]
        for _ in self._back[1:]:
            levels.append(self._corner(levels[-1]))
        x = self._back[-1](levels[-1])
        for k in reversed(range(len(self._back) - 1)):
            x = self._back[k](self._joined(x, levels[k], k))
        return self._split(x)

    def analyse(self, x: Tensor) -> Tensor:
        """Computes Wx for x of the image's shape."""
        if not self.depth:
            return x
        levels = [self._forth[0](x.flatten(-2) if self.pairs else x)]
        for level in self._forth[1:]:
            levels.append(level(self._corner(levels[-1])))
        z = levels[-1]
        for k in reversed(range(len(self._forth) - 1)):
            z = self._joined(z, levels[k], k)
        return self._split(z)

    def _corner(self, z: Tensor) -> Tensor:
        return z[(slice(None), *(slice(n // 2) for n in z.shape[1:]))]

    def _joined(self, corner: Tensor, z: Tensor, level: int) -> Tensor:
        """Returns z with its low-pass corner replaced."""
        pad = [p for n, m in zip(reversed(corner.shape[1:]), reversed(z.shape[1:]), strict=True) for p in (0, m - n)]
        return z * cast(Tensor, getattr(self, f"_details{level}")) + nn.functional.pad(corner, pad)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (x.shape[-1] // 2, 2)) if self.pairs else x


class _Ffts(nn.Module):
    """The Fourier transform of pairs (..., \\*sides, 2) by ``torch.fft``, and its adjoint, without the unitary
    factor."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self._axes = tuple(range(-len(shape), 0))

    def forward(self, x: Tensor) -> Tensor:
        return torch.view_as_real(torch.fft.fftn(_paired(x), dim=self._axes, norm="backward"))

    def adjoint(self, x: Tensor) -> Tensor:
        return torch.view_as_real(torch.fft.ifftn(_paired(x), dim=self._axes, norm="forward"))


def _paired(x: Tensor) -> Tensor:
    return torch.view_as_complex(x.contiguous())


class _Dfts(nn.Module):
    """The unitary Fourier transform of pairs (..., \\*sides, 2), each axis as one real 2n x 2n matrix."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self._sides = len(shape)
        for axis, n in enumerate(shape):
            # The angles are computed from integers modulo n, so that large n lose no digits.
            index = torch.arange(n)
            angle = (torch.outer(index, index) % n).double() * (2 * math.pi / n)
            turn = torch.tensor([[0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64)  # multiplies a row (re, im) by i
            matrix = torch.kron(angle.cos(), torch.eye(2, dtype=torch.float64)) - torch.kron(angle.sin(), turn)
            matrix = matrix / math.sqrt(n)
            self.register_buffer(f"_forth{axis}", matrix)
            self.register_buffer(f"_back{axis}", matrix.mT.contiguous())

    def forward(self, x: Tensor) -> Tensor:
        return self._along_each(x, "_forth")

    def adjoint(self, x: Tensor) -> Tensor:
        return self._along_each(x, "_back")

    def _along_each(self, x: Tensor, name: str) -> Tensor:
        """Transforms the last axis and rotates the axes, once for each axis; then the axes are in order again."""
        for axis in reversed(range(self._sides)):
            x = (x.flatten(-2) @ cast(Tensor, getattr(self, f"{name}{axis}"))).unflatten(-1, (x.shape[-2], 2))
            x = x.movedim(-2, -1 - self._sides) if self._sides > 1 else x
        return x
