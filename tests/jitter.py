"""Another processor, imitated: every sum comes out a little different.

FFTs, products of matrices and reductions add many numbers, each kernel in an order of its own: what AVX2, AVX-512, MKL
and OpenBLAS give differs in the last digits. :class:`Jitter` multiplies each such result, element by element, by
:math:`1+2u\\xi` with :math:`|\\xi|\\le1` and u the unit roundoff of the result's dtype (1.2e-7 or 2.2e-16). A test
that passes so for a few seeds does not hang on the order of one machine's sums.

A processor is not a die: it gives the same result for the same call, and the same digits when all numbers are doubled.
So the noise is drawn by the seed, the operation and the digits (not the exponents) that come out. The same operation on
the same numbers gives the same bits again; on a batch instead of its items, on numbers that differ in the last digit,
or in another layout of memory it gives others.
"""

from __future__ import annotations

import functools
import threading
import warnings
import zlib
from typing import Any

import numpy as np
import torch
from torch import Tensor

# Names in torch's own layer, where `@`, einsum, fftn, linalg.norm, backward passes and out= all end.
_NAMES = """
    _fft_c2c _fft_r2c _fft_c2r mm bmm addmm baddbmm addbmm mv addmv dot vdot convolution convolution_backward
    sum nansum mean prod cumsum cumprod logsumexp var std var_mean std_mean norm linalg_vector_norm trace
    _linalg_svd _linalg_eigh _linalg_eigvals linalg_eig linalg_qr linalg_lstsq linalg_inv_ex _linalg_solve_ex
    linalg_cholesky_ex _linalg_det linalg_solve_triangular cholesky_solve _cdist_forward
"""
_SUMS = frozenset(_NAMES.split())

# As which integers numbers are read, and their bits but those of the exponent.
_DIGITS = {
    torch.float64: (torch.int64, np.int64(~(0x7FF << 52))),
    torch.float32: (torch.int32, np.int32(~(0xFF << 23))),
    torch.float16: (torch.int16, np.int16(~(0x1F << 10))),
    torch.bfloat16: (torch.int16, np.int16(~(0xFF << 7))),
}


_active: list[Jitter] = []
_kept: list[Any] = []  # kernels go with the library that registered them
_inside = threading.local()  # a kernel may call others; what it gives is disturbed once


class Jitter:
    """While it is entered, what sums is off by at most 2u, relative, in each element.

    It takes the place of torch's kernels for the CPU, below autograd: derivatives are those of the exact operations,
    their own sums off as well. Integers, truth values and zeros stay as they are.
    """

    POOL = 1 << 20

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._noise = torch.from_numpy(np.random.default_rng(seed).uniform(-1, 1, self.POOL))
        self._factors: dict[torch.dtype, Tensor] = {}
        self._layouts: dict[Any, int] = {}

    def __enter__(self) -> Jitter:
        _replace_kernels()
        _active.append(self)
        return self

    def __exit__(self, *error: object) -> None:
        _active.remove(self)

    def disturb(self, tensor: Tensor, operation: str) -> None:
        """Changes the result of an operation, in place."""
        n = tensor.numel()
        parts = torch.view_as_real(tensor) if tensor.is_complex() else tensor.unsqueeze(-1)
        key = (operation, tensor.shape, tensor.stride())
        layout = self._layouts.get(key)
        if layout is None:
            layout = self._layouts[key] = zlib.crc32(repr((self._seed, *key)).encode())
        integer, mask = _DIGITS[parts.dtype]
        digits = np.ascontiguousarray(parts.view(integer).numpy() & mask)
        start = zlib.crc32(digits.data, layout) % self.POOL
        factors = self._factors_of(parts.dtype)
        if start + n > self.POOL:
            factors, start = factors.roll(-start).repeat(-(-n // self.POOL)), 0
        parts.mul_(factors[start : start + n].view(tensor.shape).unsqueeze(-1))

    def _factors_of(self, dtype: torch.dtype) -> Tensor:
        if dtype not in self._factors:
            self._factors[dtype] = (1 + 2 * torch.finfo(dtype).eps * self._noise).to(dtype)
        return self._factors[dtype]


@functools.cache
def _replace_kernels() -> None:
    """Puts kernels that disturb their results while a jitter is entered before those of torch, once for all."""
    library = torch.library.Library("aten", "IMPL")
    known = torch._C
    for name in known._dispatch_get_all_op_names():
        space, _, operation = name.partition("::")
        if space != "aten" or operation.partition(".")[0] not in _SUMS:
            continue
        # The others are taken apart before they come to a kernel.
        taken_apart = known._dispatch_has_kernel_for_dispatch_key(name, "CompositeImplicitAutograd")
        if known._dispatch_has_computed_kernel_for_dispatch_key(name, "CPU") and not taken_apart:
            kernel = torch.library.get_kernel(name, "CPU")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # it is meant to replace one
                library.impl(operation, _disturbing(kernel, operation), "CPU", with_keyset=True)
    _kept.append(library)


def _disturbing(kernel: Any, operation: str) -> Any:
    def call(keys: Any, *args: Any, **options: Any) -> Any:
        if not _active or getattr(_inside, "kernel", False):
            return kernel.call_boxed(keys, *args, **options)
        _inside.kernel = True
        try:
            result = kernel.call_boxed(keys, *args, **options)
            for tensor in result if isinstance(result, tuple | list) else (result,):
                if type(tensor) is Tensor and tensor.numel() and (tensor.is_floating_point() or tensor.is_complex()):
                    _active[-1].disturb(tensor, operation)
        finally:
            _inside.kernel = False
        return result

    return call
