"""A network of fixed steps in real numbers.

Runtimes for trained networks have no complex tensors. :class:`RealPacked` is a :class:`.Firenet` of fixed steps whose
complex numbers are pairs of reals on the last axis. Every transform is a few products with small dense matrices, one
for each axis; only the Fourier transform can also be an FFT. In the analysis form W is products with frequency
responses between Fourier transforms (:mod:`firenet.export.real_bands`).
"""

from __future__ import annotations

import math
from typing import Literal, cast

import torch
from torch import Tensor, nn

from firenet.errors import BadInput
from firenet.export.real_bands import Bands
from firenet.export.real_transforms import Dfts, Ffts, Separable, Wavelets, walsh_matrices
from firenet.network import Firenet
from firenet.problems.analysis import PairProblem
from firenet.problems.fidelity import Norm
from firenet.sensing.fourier import MultiCoilFourier, SubsampledFourier
from firenet.sensing.walsh import SubsampledWalsh
from firenet.solver.schedules import FrozenSteps
from firenet.transforms.analysis_operator import AnalysisOperator
from firenet.transforms.convolutions import Convolutions
from firenet.transforms.gradient import Gradient
from firenet.transforms.undecimated import UndecimatedWavelet
from firenet.transforms.union import Union
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

    In the analysis form x is the image or, for Fourier samples of one coil, its spectrum, in the coordinates of
    :class:`.OperatorPair`, and the dual variable is the pair (q, p). An orthonormal wavelet level along an axis of n is
    a product with an n x n matrix, so that a transform of a complex n x n image costs some :math:`7n^3` multiplications
    instead of O(n^2). This is suitable for sides of some hundreds.

    Args:
        net: A network with the default fidelity (P3) and a :class:`FrozenSteps` schedule, Fourier samples (one coil or
            several, zero frequency in the corner) or Walsh samples, and a :class:`Wavelet` in the synthesis form, no
            transform, or in the analysis form an :class:`UndecimatedWavelet`, a periodic :class:`Gradient` or a
            :class:`Union` of these.
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
        problem = net.problem.compact() if net.form == "analysis" else None
        pair = problem.operator if isinstance(problem, PairProblem) else None
        bound = (net.operator if pair is None else pair).norm_bound.value
        for run in self.runs:
            product = run.tau * run.sigma * bound**2
            if not (run.tau > 0 and product <= 1 + 1e-9):
                got = f"{product:.6g} with the norm bound {bound:.6g} and tau = {run.tau:.6g}"
                raise BadInput("Steps with tau > 0 and tau * sigma * norm^2 <= 1", got, "Use smaller steps")
        self._state = (*net.operator.in_shape, *self._pair)
        self._frame = Wavelets(net.sparsify, self.pairs) if isinstance(net.sparsify, Wavelet) else None
        # The factor that is missing in _adjoint. In the synthesis form the primal step includes it, which saves a
        # product in each layer.
        factor = 1.0
        if isinstance(sensing, SubsampledWalsh):
            self._transform: Separable | Ffts | Dfts = walsh_matrices(self.in_shape)
        elif fourier == "matrix":
            self._transform = Dfts(self.in_shape)
        else:
            self._transform, factor = Ffts(self.in_shape), math.prod(self.in_shape) ** -0.5
        self.fourier: Fourier | None = fourier if self.pairs or pair is not None else None
        self._bands: Bands | None = None
        scale: Tensor | float = 1.0  # from points to images, or in the coordinates of the spectrum to spectra
        if isinstance(problem, PairProblem):
            transform, one = self._transform, factor
            if isinstance(transform, Separable):
                transform = Dfts(self.in_shape) if fourier == "matrix" else Ffts(self.in_shape)
                one = 1.0 if fourier == "matrix" else math.prod(self.in_shape) ** -0.5
            self._bands = Bands(problem, transform, one, pairs=self.pairs)
            scale = problem.operator.scale
            scale = scale.cpu().unsqueeze(-1) if isinstance(scale, Tensor) else scale
        mask = sensing.mask.cpu().double()
        mask = mask.unsqueeze(-1) if self.pairs else mask
        self.register_buffer("mask", mask)
        # A is a product with these numbers, in the coordinates of the spectrum alone, otherwise after a transform.
        self.register_buffer("_filled", mask * scale * (1.0 if self._in_spectrum else factor))
        # What makes an image of a point, and of A* with the transform as it is.
        self.register_buffer(
            "_image", torch.as_tensor(scale * factor if self._in_spectrum else scale, dtype=torch.float64)
        )
        if isinstance(scale, float):
            self.register_buffer("_after", torch.tensor(factor * scale, dtype=torch.float64))
        self._coils = isinstance(sensing, MultiCoilFourier)
        if isinstance(sensing, MultiCoilFourier):
            maps = torch.view_as_real(sensing.maps.detach().cpu().to(torch.complex128))
            # s and i s are the factors of the real and of the imaginary part of x.
            self.register_buffer("_maps", maps)
            self.register_buffer("_turned", torch.stack([-maps[..., 1], maps[..., 0]], dim=-1))
        weights = net.problem.weights if self._bands is None else None
        if weights is not None:
            weights = weights.detach().cpu().double().expand(net.operator.in_shape)
            weights = weights.unsqueeze(-1).contiguous().reciprocal() if self.pairs else weights.contiguous()
        self.register_buffer("weights", weights)
        for k, run in enumerate(self.runs):
            # Tensors, since the export to ONNX converts Python numbers to single precision.
            numbers = {
                "tau": run.tau * (factor if self._bands is None else 1.0),
                "sigma": run.sigma,
                "rho": run.relaxation,
            }
            numbers["threshold"] = 1 / (run.tau * net.lam) if self.pairs else run.tau * net.lam
            for name, number in numbers.items():
                self.register_buffer(f"_{name}{k}", torch.tensor(number, dtype=torch.float64))
            self.register_buffer(f"_factors{k}", torch.tensor(run.combination, dtype=torch.float64))
        # The first point is A*y over the square of the norm, divided before and after A*, or zero.
        own = net.operator.norm_bound.value or 1.0
        start = 1 / own if net.schedule.start == "adjoint" else 0.0
        self.register_buffer("_before", torch.tensor(start, dtype=torch.float64))
        # As A* has the scale of the coordinates in it, which maps points to images, it is divided by its square.
        behind = torch.as_tensor(start / (scale * scale), dtype=torch.float64)
        self.register_buffer("_behind", behind * factor if self._bands is None else behind)
        self.to(device=sensing.mask.device, dtype=dtype).eval()

    @property
    def layers(self) -> int:
        """The number of layers."""
        return sum(run.layers for run in self.runs)

    @property
    def _pair(self) -> tuple[int, ...]:
        return (2,) if self.pairs else ()

    @property
    def _in_spectrum(self) -> bool:
        """Whether points are spectra, see :attr:`.OperatorPair.is_isometry`."""
        return self._bands is not None and self._bands.spectral

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
        if self._bands is not None:
            z = z * cast(Tensor, self._image)
            return self._transform.adjoint(z) if self._in_spectrum else z
        return z if self._frame is None else self._frame.synthesise(z)

    def _iterate(self, y: Tensor) -> Tensor:
        """Computes the coefficients; names are as in :class:`.Iteration`."""
        single = y.dtype == torch.float32
        x = self._adjoint(y * cast(Tensor, self._before)) * cast(Tensor, self._behind)
        parts = [torch.zeros_like(y)]  # q, and in the analysis form p
        if self._bands is not None:
            parts.append(y.new_zeros(len(y), self._bands.count, *x.shape[1:]))
        dual = tuple(parts)
        measured = self._apply_operator(x)
        new, last, last_measured = x, x, measured
        back: Tensor | None = torch.zeros_like(x)  # A*q, or None
        for k, run in enumerate(self.runs):
            names = (f"_{name}{k}" for name in ("tau", "sigma", "rho", "threshold"))
            tau, sigma, rho, threshold = (cast(Tensor, getattr(self, name)) for name in names)
            average, duals = run.restart_point == "average", run.restart_point == "average" and run.keep_dual
            x_sum = measured_sum = None
            dual_sum: tuple[Tensor | None, ...] = (None,) * len(dual)
            recent: list[tuple[Tensor, ...]] = []
            for layer in range(run.layers):
                back = self._back(dual) if back is None else back
                new = x - tau * back if self._bands is not None else self._shrink(x - tau * back, threshold)
                new_measured = self._apply_operator(new - last) + last_measured if single else self._apply_operator(new)
                u = self._dual_step(dual, sigma, 2 * new_measured - measured - y, 2 * new - x)
                if run.relaxation == 1:
                    x, measured, dual = new, new_measured, u
                else:
                    x = x + rho * (new - x)
                    dual = tuple(q + rho * (v - q) for q, v in zip(dual, u, strict=True))
                    measured = measured + rho * (new_measured - measured)
                last, last_measured, back = new, new_measured, None
                x_sum = _plus(x_sum, new) if average else None
                measured_sum = _plus(measured_sum, new_measured) if average and not single else None
                if duals:
                    dual_sum = tuple(_plus(total, q) for total, q in zip(dual_sum, dual, strict=True))
                if run.layers - layer <= len(run.combination):
                    recent.append((x, *dual))
            if average:
                x = cast(Tensor, x_sum) / run.layers
            elif recent:
                factors = cast(Tensor, getattr(self, f"_factors{k}"))
                x, *rest = (torch.einsum("k,k...->...", factors, torch.stack(p)) for p in zip(*recent, strict=True))
                dual = tuple(rest)
                measured = measured if single else self._apply_operator(x)
            if k + 1 == len(self.runs):
                return new if run.restart_point == "last" else x
            if duals:
                dual = tuple(cast(Tensor, total) / run.layers for total in dual_sum)
            elif not run.keep_dual:
                dual, back = tuple(map(torch.zeros_like, dual)), torch.zeros_like(x)
            if single:  # Ax is computed again, which removes its accumulated rounding
                last, measured = x, self._apply_operator(x)
                last_measured = measured
            elif measured_sum is not None:
                measured = measured_sum / run.layers
        raise AssertionError("a schedule has at least one run")

    def _dual_step(self, dual: tuple[Tensor, ...], sigma: Tensor, off: Tensor, ahead: Tensor) -> tuple[Tensor, ...]:
        q = _clip(dual[0] + sigma * off)
        return (q,) if self._bands is None else (q, self._bands.clip(dual[1] + sigma * self._bands.analyse(ahead)))

    def _apply_operator(self, z: Tensor) -> Tensor:
        if self._in_spectrum:
            return z * cast(Tensor, self._filled)
        x = z if self._frame is None else self._frame.synthesise(z)
        if self._coils:
            maps, turned = cast(Tensor, self._maps), cast(Tensor, self._turned)
            x = x.unsqueeze(1)
            x = x[..., :1] * maps + x[..., 1:] * turned
        return self._transform(x) * cast(Tensor, self._filled)

    def _back(self, dual: tuple[Tensor, ...]) -> Tensor:
        """Computes A*q, as :meth:`_adjoint`, or in the analysis form A*q + W*p."""
        back = self._adjoint(dual[0])
        return back if self._bands is None else back + self._bands.synthesise(dual[1])

    def _adjoint(self, q: Tensor) -> Tensor:
        """Computes A*q, in the synthesis form except for the factor that the primal step includes."""
        if self._in_spectrum:
            return q * cast(Tensor, self._filled)
        if self._bands is not None:
            q = q * cast(Tensor, self._after)
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
    fits = frame is None or type(frame) is Wavelet
    if net.form == "analysis":
        fits = frame is not None and _convolves(frame)
    if not fits:
        got = f"{type(frame).__name__}, {net.form} form"
        needed = "The synthesis form with a Wavelet or no transform, or the analysis form with periodic convolutions"
        do = "Use firenet.Wavelet, firenet.UndecimatedWavelet or firenet.Gradient with periodic boundary"
        raise BadInput(needed, got, do)
    return cast("SubsampledFourier | MultiCoilFourier | SubsampledWalsh", sensing)


def _convolves(frame: AnalysisOperator) -> bool:
    """Returns whether the bands are those of undecimated wavelets and periodic gradients of this library."""
    if type(frame) is Union:
        return all(isinstance(part, Convolutions) and _convolves(part) for part in frame.parts)
    return type(frame) in (UndecimatedWavelet, Gradient) and frame.convolves


def check_dtype(dtype: torch.dtype) -> None:
    """Raises BadInput for other dtypes than float32 and float64."""
    if dtype not in (torch.float32, torch.float64):
        do = "Use float32 in place of complex64, and float64 in place of complex128"
        raise BadInput("dtype float32 or float64", f"{dtype}", do)
