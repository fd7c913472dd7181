"""Non-uniform Fourier operators of mri-nufft."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firenet.errors import BadInput
from firenet.interop.instances import need_instance
from firenet.operators.linear import LinearOperator
from firenet.operators.norm_bound import NormBound


@dataclass
class _Transform:
    """One direction of an operator of mri-nufft, from and to arrays of fixed shapes."""

    operator: Any
    function: Callable[[NDArray[Any]], Any]
    shape: tuple[int, ...]

    def __call__(self, x: NDArray[Any]) -> Any:
        need_no_density(self.operator)
        return self.function(x.astype(self.operator.cpx_dtype)).reshape(self.shape)


def from_mri_nufft(operator: Any, *, norm: NormBound | float | None = None) -> LinearOperator:
    """Returns a Fourier operator of mri-nufft, of any of its backends, as an operator of this library.

    It is :math:`y_k=(2^dn)^{-1/2}\\sum_rx_re^{-2\\pi i\\langle k,r\\rangle}` for an image with n pixels and d axes: the
    scale is that of mri-nufft, :math:`2^{-d/2}` times that of samples of the unitary Fourier transform.

    Images have the operator's ``shape``, and measurements the shape (samples,), or (coils, samples) with coil maps
    (``smaps``). With several coils and without maps there is an image for each coil, shape (coils, \\*shape).

    Args:
        operator: An operator from ``mrinufft.get_operator(...)(...)``, for one image (``n_batchs=1``), without density
            compensation. It must not be changed afterwards.
        norm: As in :meth:`.LinearOperator.from_functions`.

    Raises:
        BadInput: For other objects, for a density compensation, for batches, and for images of other axes.
    """
    needed, do = "A Fourier operator of mri-nufft", "Make one with mrinufft.get_operator"
    names = ("op", "adj_op", "shape", "n_coils", "n_batchs", "cpx_dtype", "uses_density", "uses_sense")
    need_instance(operator, "mrinufft.operators.base", "FourierOperatorBase", needed, do, *names)
    need_no_density(operator)
    name = f"mrinufft.{type(operator).__name__}"
    if operator.n_batchs != 1:
        do = "Make it with n_batchs=1; batches are leading axes here"
        raise BadInput("An operator of mri-nufft for one image", f"n_batchs={operator.n_batchs}", do)
    shape, coils = tuple(int(n) for n in operator.shape), int(operator.n_coils)
    in_shape = shape if coils == 1 or operator.uses_sense else (coils, *shape)
    try:
        data = operator.op(np.zeros(in_shape, operator.cpx_dtype))
        axes = 1 if coils == 1 else 2
        out_shape = tuple(int(n) for n in (1, *data.shape)[-axes:])
        forward = _Transform(operator, operator.op, out_shape)
        adjoint = _Transform(operator, operator.adj_op, in_shape)
        for function, given in ((forward, in_shape), (adjoint, out_shape)):
            function(np.zeros(given))
    except (ValueError, TypeError, IndexError) as error:
        got = f"{name}, which fails on zeros of that shape ({type(error).__name__})"
        do = "Make an operator from two functions: LinearOperator.from_functions"
        raise BadInput(f"A Fourier operator that takes one image of shape {in_shape}", got, do) from error
    return LinearOperator.from_functions(forward, adjoint, in_shape, out_shape, norm=norm, numpy=True, name=name)


def need_no_density(operator: Any) -> None:
    """Checks that an operator of mri-nufft has no density compensation.

    Raises:
        BadInput: If it has one.
    """
    if operator.uses_density:
        got = f"{type(operator).__name__} with a density compensation, which is in adj_op and not in op"
        do = "Leave density out; operators.Weighted(A, weights) takes square roots of the weights on both sides"
        raise BadInput("An operator of mri-nufft whose adj_op is the adjoint of its op", got, do)
