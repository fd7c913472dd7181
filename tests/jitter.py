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

import zlib
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

# Names in torch's own layer, where `@`, einsum, fftn, linalg.norm, backward passes and out= all end.
_NAMES = """
    _fft_c2c _fft_r2c _fft_c2r mm bmm addmm baddbmm addbmm mv addmv dot vdot convolution convolution_backward
    sum nansum mean prod cumsum cumprod logsumexp var std var_mean std_mean norm linalg_vector_norm trace
    _linalg_svd _linalg_eigh _linalg_eigvals linalg_eig linalg_qr linalg_lstsq linalg_inv_ex _linalg_solve_ex
    linalg_cholesky_ex _linalg_det linalg_solve_triangular cholesky_solve _cdist_forward
"""
_SUMS = frozenset(_NAMES.split())

# As which integers numbers are read, and the bits of their exponents.
_EXPONENTS = {
    torch.float64: (torch.int64, 0x7FF << 52),
    torch.float32: (torch.int32, 0xFF << 23),
    torch.float16: (torch.int16, 0x1F << 10),
    torch.bfloat16: (torch.int16, 0xFF << 7),
}


class Jitter(TorchDispatchMode):
    """While it is entered, what sums is off by at most 2u, relative, in each element.

    It works below autograd: derivatives are those of the exact operations, their own sums off as well. Integers,
    truth values, zeros and tensors without numbers (those of an export) stay as they are.
    """

    POOL = 1 << 20

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._seed = seed
        self._noise = torch.from_numpy(np.random.default_rng(seed).uniform(-1, 1, self.POOL))
        self._factors: dict[torch.dtype, Tensor] = {}
        self._calls: dict[Any, int] = {}  # 0: sums nothing

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        call = self._calls.get(func)
        if call is None:
            sums = func.overloadpacket.__name__ in _SUMS
            call = self._calls[func] = zlib.crc32(f"{self._seed} {func}".encode()) if sums else 0
        if not call:
            # In inference mode an operation comes here before it is taken apart.
            if torch.is_inference_mode_enabled() and func._can_decompose():
                with self:
                    return func.decompose(*args, **kwargs or {})
            return func(*args, **kwargs or {})
        result = func(*args, **kwargs or {})
        for tensor in result if isinstance(result, tuple | list) else (result,):
            if type(tensor) is Tensor and tensor.device.type == "cpu" and tensor.numel():
                self._disturb(tensor, call)
        return result

    def _disturb(self, tensor: Tensor, call: int) -> None:
        if not (tensor.is_floating_point() or tensor.is_complex()):
            return
        tensor, n = tensor.detach(), tensor.numel()
        parts = torch.view_as_real(tensor) if tensor.is_complex() else tensor.unsqueeze(-1)
        layout = zlib.crc32(repr((tensor.shape, tensor.stride())).encode(), call)
        integer, exponent = _EXPONENTS[parts.dtype]
        digits = parts.contiguous().view(integer) & ~exponent
        start = zlib.crc32(digits.numpy().tobytes(), layout) % self.POOL
        factors = self._factors_of(parts.dtype)
        if start + n > self.POOL:
            factors, start = factors.roll(-start).repeat(-(-n // self.POOL)), 0
        parts.mul_(factors[start : start + n].view(tensor.shape).unsqueeze(-1))

    def _factors_of(self, dtype: torch.dtype) -> Tensor:
        if dtype not in self._factors:
            self._factors[dtype] = (1 + 2 * torch.finfo(dtype).eps * self._noise).to(dtype)
        return self._factors[dtype]
