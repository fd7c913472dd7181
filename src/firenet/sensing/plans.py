"""Sums of exponentials over pixels and over samples at any frequencies, by the library finufft."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from firenet.errors import BadInput
from firenet.optional import optional

SINGLE, DOUBLE = 1e-6, 1e-12
# The error of an entry may be above the accuracy that was asked for: up to 6 times in two dimensions, as measured.
_ENTRY = 20


class Sums:
    """The sums of finufft for one trajectory, :math:`y_j=\\sum_rx(r)e^{-2\\pi ik_j\\cdot r}` and their adjoint
    :math:`x(r)=\\sum_jy_je^{2\\pi ik_j\\cdot r}`, with r counted from the pixel n // 2 of each axis.

    The two plans have the same kernel and the same fine grid, so the maps are adjoint to each other up to rounding,
    whatever their accuracy. An object must not be used by two threads at once, nor after a fork.

    Args:
        points: Frequencies k in cycles per pixel, shape (m, d).
        shape: The d sides n.
        dtype: complex64 or complex128.
        accuracy: The relative accuracy that finufft is asked for.
        count: The number of images of one call.

    Raises:
        BadInput: For frequencies that are not finite.
        MissingExtra: Without finufft.
    """

    def __init__(
        self, points: Tensor, shape: tuple[int, ...], dtype: torch.dtype, accuracy: float, count: int = 1
    ) -> None:
        finufft = optional("finufft", "nufft", "Non-Cartesian MRI")
        self._shape, self._count = shape, count
        self._numbers = np.dtype(np.complex64 if dtype == torch.complex64 else np.complex128)
        k = points.detach().cpu().double().numpy()
        if not np.isfinite(k).all():  # finufft would read outside its arrays
            raise BadInput("A finite trajectory", "NaN or infinity", "Check where it comes from")
        self._samples = len(k)
        # Sums over integers r have period 1 in k.
        angles = (2 * np.pi * (k - np.round(k))).astype(np.float32 if dtype == torch.complex64 else np.float64)
        how: dict[str, Any] = {"eps": accuracy, "dtype": self._numbers.name, "nthreads": 1, "showwarn": 0}
        self._plans = []
        for kind, sign in ((2, -1), (1, 1)):
            plan = finufft.Plan(kind, shape, count, isign=sign, upsampfac=2.0, **how)
            plan.setpts(*(np.ascontiguousarray(angle) for angle in angles.T))
            self._plans.append(plan)

    def over_pixels(self, x: NDArray[Any]) -> NDArray[Any]:
        """Computes y of shape (batch, count, m) for x of shape (batch, count, \\*shape)."""
        return self._each(self._plans[0], x, (self._samples,))

    def over_samples(self, y: NDArray[Any]) -> NDArray[Any]:
        """Computes x of shape (batch, count, \\*shape) for y of shape (batch, count, m)."""
        return self._each(self._plans[1], y, self._shape)

    def _each(self, plan: Any, given: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
        given = np.ascontiguousarray(given, dtype=self._numbers)
        found = np.empty((len(given), self._count, *shape), self._numbers)
        for one, result in zip(given, found, strict=True):
            plan.execute(*((one[0], result[0]) if self._count == 1 else (one, result)))
        return found


class Plans:
    """The plans of an operator, made when they are first needed: for each thread and each process its own.

    Copies, and what is read from a pickle, have none.
    """

    def __init__(self) -> None:
        self._here = threading.local()

    def __deepcopy__(self, memo: dict[int, Any]) -> Plans:
        return Plans()

    def __reduce__(self) -> tuple[Any, ...]:
        return (Plans, ())

    def get(self, dtype: torch.dtype, make: Callable[[], Sums]) -> Sums:
        """Returns the sums of a dtype, made by ``make`` where there are none."""
        here = self._here
        if getattr(here, "process", None) != os.getpid():
            here.process, here.plans = os.getpid(), {}
        if dtype not in here.plans:
            here.plans[dtype] = make()
        return here.plans[dtype]


def entry_error(shape: tuple[int, ...], dtype: torch.dtype, accuracy: float) -> float:
    """Returns a bound of the error of an entry of the matrix of :class:`Sums`, whose entries have modulus 1.

    It is a multiple of the accuracy, and the change of an angle by the rounding of the frequency: angles are up to
    :math:`\\pi` for each of n / 2 pixels, and are rounded a few times.
    """
    unit = torch.finfo(dtype).eps / 2
    return _ENTRY * accuracy + 2 * math.pi * (sum(shape) + 8) * unit
