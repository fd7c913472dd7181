"""Non-Cartesian MRI: samples of the Fourier transform at any frequencies, of one channel or of several coils."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from firenet.errors import BadInput
from firenet.numerics import UNIT, norms, power_of_two
from firenet.operators.derivative import differentiable
from firenet.operators.linear import LinearOperator
from firenet.operators.norm_bound import NormBound
from firenet.sensing.fourier import as_maps, coil_levels, coils_norm
from firenet.sensing.masked import complex_dtype, need_complex
from firenet.sensing.plans import DOUBLE, SINGLE, Plans, Sums, entry_error
from firenet.sensing.toeplitz import largest_eigenvalue
from firenet.sensing.trajectories import as_shape, as_trajectory

_LARGEST_ACCURACY = 1e-2


class NonuniformFourier(LinearOperator):
    """Fourier measurements at the frequencies of a trajectory, in 1-D to 3-D, by finufft (the extra ``nufft``).

    .. math:: y_j=\\frac1{\\sqrt{\\textstyle\\prod_an_a}}\\sum_rx(r)\\,e^{-2\\pi ik_j\\cdot r}

    with r counted from the middle pixel n // 2 of each axis, so the rows of the matrix have norm 1; with coil maps
    :math:`y_{cj}` is that of :math:`s_c\\cdot x`. At the frequencies of the grid it is the Fourier transform of
    ``SubsampledFourier(..., centred=True)``.

    Norm: :math:`\\|A\\|` is bounded by :meth:`weighted_norm_bound`. The sums are computed on the CPU; tensors on other
    devices are copied there and back. A certified gap rests on finufft: its adjoint is checked by a dot test wherever
    the operator is used, and the error of its sums counts as rounding.

    Args:
        trajectory: k, real, shape (\\*samples, d) in cycles per pixel, from -1/2 to 1/2. The last axis has the order of
            the axes of the image, (y, x) or (z, y, x).
        shape: The d sides of the image.
        maps: Complex coil sensitivities, shape (coils, \\*shape); None is one channel without a map.
        accuracy: The relative accuracy that finufft is asked for; 1e-6 in single and 1e-12 in double precision if it is
            None. It is never finer in single precision. A coarse one is faster, and limits the gaps that can be proved.

    Raises:
        BadInput: For a trajectory in another unit or order of axes, and for maps of another shape.
        MissingExtra: Without finufft, when sums are computed first.
    """

    trajectory: Tensor
    maps: Tensor | None

    def __init__(
        self,
        trajectory: Tensor | ArrayLike,
        shape: Sequence[int],
        maps: Tensor | ArrayLike | None = None,
        *,
        accuracy: float | None = None,
    ) -> None:
        shape = as_shape(shape)
        trajectory = as_trajectory(trajectory, shape)
        if accuracy is not None and not 1e-14 <= accuracy <= _LARGEST_ACCURACY:
            raise BadInput("An accuracy from 1e-14 to 1e-2", f"{accuracy}", "Leave it out: 1e-6 in single precision")
        coils = None if maps is None else as_maps(maps, shape)
        samples = tuple(trajectory.shape[:-1])
        super().__init__(shape, samples if coils is None else (len(coils), *samples), None)
        self.accuracy = accuracy
        self._plans = Plans()
        self.register_buffer("trajectory", trajectory)
        self.register_buffer("maps", coils)

    @property
    def is_own(self) -> bool:
        return False

    def renew(self) -> None:
        self._norm_bound, self._plans = None, Plans()

    def state_dtype(self, y: torch.dtype) -> torch.dtype:
        dtype = complex_dtype(y)
        return dtype if self.maps is None else torch.promote_types(dtype, self.maps.dtype)

    # --- the sums

    def _accuracy(self, dtype: torch.dtype) -> float:
        if dtype == torch.complex64:
            return max(SINGLE, self.accuracy or 0.0)
        return self.accuracy or DOUBLE

    def _sums(self, dtype: torch.dtype) -> Sums:
        self.notice_changes()
        coils = 1 if self.maps is None else len(self.maps)
        points = self.trajectory.flatten(0, -2)
        return self._plans.get(dtype, lambda: Sums(points, self.in_shape, dtype, self._accuracy(dtype), coils))

    def _over(self, given: Tensor, inner: int, shape: tuple[int, ...], *, pixels: bool) -> Tensor:
        """Computes the sums over the last ``inner`` axes, which become ``shape``; the others are batch and coils."""
        numbers = given.detach().resolve_conj().resolve_neg().cpu()
        coils = 1 if self.maps is None else len(self.maps)
        batch, trailing = numbers.shape[: numbers.ndim - inner], numbers.shape[numbers.ndim - inner :]
        flat = numbers.reshape(math.prod(batch) // coils, coils, *(trailing if pixels else (math.prod(trailing),)))
        sums = self._sums(numbers.dtype)
        found = (sums.over_pixels if pixels else sums.over_samples)(flat.numpy())
        found *= 1 / math.sqrt(math.prod(self.in_shape))
        return torch.from_numpy(found).reshape(*batch, *shape).to(given.device)

    def _pixels(self, x: Tensor) -> Tensor:
        return self._over(x, len(self.in_shape), tuple(self.trajectory.shape[:-1]), pixels=True)

    def _samples(self, y: Tensor) -> Tensor:
        return self._over(y, self.trajectory.ndim - 1, self.in_shape, pixels=False)

    def _forward(self, x: Tensor) -> Tensor:
        x = x.to(complex_dtype(x.dtype))
        if self.maps is not None:
            x = x.unsqueeze(-len(self.in_shape) - 1) * self.maps
        return differentiable(x, self._pixels, self._samples)

    def _adjoint(self, y: Tensor) -> Tensor:
        y = need_complex(y, "measurements").to(self.state_dtype(y.dtype))
        x = differentiable(y, self._samples, self._pixels)
        return x if self.maps is None else (x * self.maps.conj()).sum(dim=-len(self.in_shape) - 1)

    # --- what is known about it

    def _composed_bound(self) -> NormBound:
        if self._norm_bound is None:
            self._norm_bound = self.weighted_norm_bound(torch.ones((), dtype=torch.float64))
        return self._norm_bound

    def weighted_norm_bound(self, weights: Tensor) -> NormBound:
        """Computes a bound of the norm of :math:`M^{1/2}A` from the Toeplitz kernel of the trajectory.

        For one channel it is the root of the largest eigenvalue of :math:`A^*MA`, whose entry (r, s) depends on
        r - s alone. So it is a part of any circulant matrix with this kernel, on a grid of at least 2n - 1 points an
        axis, and its largest eigenvalue is at most the largest value of the kernel's Fourier transform; the proof, and
        the choice of the entries that are free, are in :mod:`firenet.sensing.toeplitz`. Another bound is the Frobenius
        norm, :math:`(\\sum_jw_j)^{1/2}`; the smaller one is taken. With coils it is multiplied by the largest root sum
        of squares of the maps. The Frobenius norm of the error of the sums in single precision is added.

        Args:
            weights: M, zero or more, broadcasts to ``out_shape``. Where it is not the same for all coils, the largest
                weight of each frequency counts.
        """
        whole = weights.detach().cpu().double().broadcast_to(self.out_shape)
        points = self.trajectory.detach().flatten(0, -2)
        whole = (whole if self.maps is None else whole.amax(dim=0)).flatten()
        scale = power_of_two(whole.max()).item()
        whole = whole / scale
        total = float(whole.sum()) * (1 + len(whole) * UNIT)
        value = math.sqrt(min(largest_eigenvalue(points, whole, self.in_shape) / math.prod(self.in_shape), total))
        value += entry_error(self.in_shape, torch.complex64, self._accuracy(torch.complex64)) * math.sqrt(total)
        value *= math.sqrt(scale) * (1 + 16 * UNIT)
        value *= 1.0 if self.maps is None else coils_norm(self.maps).value
        return NormBound(value, "proven", "Toeplitz kernel of the trajectory, computed by finufft")

    def weighted_gain(self, weights: Tensor) -> float:
        whole = weights.detach().cpu().double().broadcast_to(self.out_shape)
        roots = whole.sqrt()
        if self.maps is not None:
            roots = roots * coil_levels(self.maps).cpu().reshape(-1, *(1,) * (self.trajectory.ndim - 1))
        return norms(roots, roots.ndim).item() / math.sqrt(max(int((whole > 0).sum()), 1))

    @property
    def gain(self) -> float:
        """The noise gain, exactly: 1 for one channel, and for coils that of :class:`.MultiCoilFourier`, over the pixels
        where some map is not zero."""
        return 1.0 if self.maps is None else self.weighted_gain(torch.ones((), dtype=torch.float64))

    @property
    def rounding(self) -> float:
        """An estimate, as for other libraries' operators, which includes the accuracy that finufft is asked for."""
        return super().rounding + self._accuracy(torch.complex128) / UNIT * self.norm_bound.value

    def holdout_candidates(self) -> Tensor:
        """Returns booleans that broadcast to ``out_shape``, one for each readout: its samples are neighbours and nearly
        determine each other, so that they are held out together. A trajectory with one axis of samples has one for each
        sample. All coils of a frequency are held out together."""
        samples = tuple(self.trajectory.shape[:-1])
        shape = (*samples[:-1], 1) if len(samples) > 1 else samples
        shape = shape if self.maps is None else (1, *shape)
        return torch.ones(shape, dtype=torch.bool, device=self.trajectory.device)
