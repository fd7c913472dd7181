"""Density compensation for non-Cartesian MRI: weights of samples with which A*MA is close to the identity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from firenet.errors import BadInput
from firenet.sensing.plans import SINGLE, Sums
from firenet.sensing.trajectories import as_shape, as_trajectory


def density_compensation(trajectory: Tensor | ArrayLike, shape: Sequence[int], *, iterations: int = 10) -> Tensor:
    """Computes weights M for :class:`.Weighted`, with which :math:`A^*MA` is close to the identity, where A is
    :class:`.NonuniformFourier` of one channel.

    The iteration is the one of Pipe and Menon (Magn. Reson. Med. 41, 1999),

    .. math:: w\\leftarrow w\\,/\\,Kw,

    with the kernel :math:`K_{jl}=|\\langle a_j,a_l\\rangle|^2` of the rows a of A, the Fejér kernel of the field of
    view. It has no negative entries, so the weights stay positive. As
    :math:`\\|A^*MA-I\\|_F^2=w^TKw-2\\sum_jw_j+N` for N pixels, the iteration is the multiplicative one of Lee and Seung
    (NIPS 13, 2000) for the least of these distances over all weights of zero or more; they prove that each of its
    steps makes the distance smaller. At the end the weights are multiplied by the best number. At the frequencies of
    the grid all weights are 1, and p samples at one frequency share its weight.

    Args:
        trajectory: As in :class:`.NonuniformFourier`, shape (\\*samples, d).
        shape: The d sides of the image.
        iterations: The number of steps; each takes two sums on a grid of twice the sides.

    Returns:
        M, zero or more, shape (\\*samples,), in double precision. A weight is at most 1 before the last multiplication,
        and the norm of :math:`M^{1/2}A` is about 1.

    Raises:
        BadInput: As :class:`.NonuniformFourier`, and without an iteration.
        MissingExtra: Without finufft.
    """
    sides = as_shape(shape)
    trajectory = as_trajectory(trajectory, sides)
    if iterations < 1:
        raise BadInput("One or more iterations", f"{iterations}", "10 is the default")
    convolve = _Kernel(trajectory.flatten(0, -2), sides)
    weights = np.ones(trajectory[..., 0].numel())
    for _ in range(iterations):
        weights = weights / convolve(weights)
    weights = weights * (weights.sum() / (weights @ convolve(weights)))
    return torch.from_numpy(weights).reshape(trajectory.shape[:-1]).to(trajectory.device)


class _Kernel:
    """The matrix :math:`K_{jl}=|\\langle a_j,a_l\\rangle|^2`, applied to positive weights by sums over a grid of 2n.

    The square is the Fourier series of the triangle :math:`\\prod_a(1-|d_a|/n_a)`, divided by the number of pixels.
    """

    def __init__(self, points: Tensor, shape: tuple[int, ...]) -> None:
        self._sums = Sums(points, tuple(2 * n for n in shape), torch.complex128, SINGLE)
        triangle: NDArray[Any] = np.ones(())
        for n in shape:
            triangle = np.multiply.outer(triangle, 1 - np.abs(np.arange(-n, n)) / n)
        self._triangle = triangle / np.prod(shape)

    def __call__(self, weights: NDArray[Any]) -> NDArray[Any]:
        found = self._sums.over_samples(weights[None, None])
        # The diagonal of K is one and nothing is negative, which the rounding must not change.
        return np.maximum(np.real(self._sums.over_pixels(found * self._triangle)[0, 0]), weights)
