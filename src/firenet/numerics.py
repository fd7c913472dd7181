"""Norms, inner products and sums that are accurate for data of every scale, and control of the arithmetic.

Inner products are :math:`\\langle a,b\\rangle=\\sum_ia_i\\bar b_i`; norms and inner products run over the trailing
axes, one value per batch item, and are summed in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.autograd import forward_ad

from firenet.errors import BadInput

# The unit roundoff of double precision.
UNIT = 2.0**-53


def check_seed(seed: int, below: int = 2**63) -> int:
    """Returns a seed after a check that random generators accept it.

    Raises:
        BadInput: If it is negative or too large.
    """
    if not 0 <= seed < below:
        raise BadInput(f"A seed from 0 to 2^{below.bit_length() - 1} - 1", f"{seed}", "0 is the default")
    return seed


def unit_roundoff(dtype: torch.dtype) -> float:
    """Returns the unit roundoff of a dtype, half its machine epsilon."""
    return torch.finfo(dtype).eps / 2


def broadcasts_to(shape: Sequence[int], wanted: Sequence[int]) -> bool:
    """Returns whether a tensor of a shape broadcasts to the wanted one.

    ``torch.broadcast_shapes`` says this, too, but its first call imports SymPy, which takes 0.4 s.

    >>> broadcasts_to((3, 1), (2, 3, 4)), broadcasts_to((3,), (2, 3, 1)), broadcasts_to((1, 1), (4,))
    (True, False, False)
    """
    axes = zip(reversed(shape), reversed(wanted), strict=False)
    return len(shape) <= len(wanted) and all(a in (1, b) for a, b in axes)


# --- derivatives ------------------------------------------------------------------------------------------------------


def compiling() -> bool:
    """Returns whether ``torch.compile`` or ``torch.export`` is tracing this call.

    Then no number of a tensor can be read, and nothing that is made may be kept for later calls: it would be a part of
    the graph.
    """
    return torch.compiler.is_compiling()


def readable(*tensors: Tensor) -> bool:
    """Returns whether the numbers of these tensors can be read by Python: not while :func:`compiling`, and not under
    ``torch.func.vmap``, where a tensor has the numbers of all items.

    This is the one decision about composed calls: checks that need numbers are made if they can be read and left out
    otherwise, also with dummy data, so that a graph has none.
    """
    return not compiling() and not any(map(_batched, tensors))


def _batched(x: Tensor) -> bool:
    """Returns whether x has an axis of ``torch.func.vmap`` at any level."""
    functorch: Any = torch._C._functorch  # pyright: ignore[reportAttributeAccessIssue]
    while functorch.is_functorch_wrapped_tensor(x):
        if functorch.is_batchedtensor(x):
            return True
        x = functorch.get_unwrapped(x)
    return False


def derived(x: Tensor) -> bool:
    """Returns whether x may only go through formulas that make new tensors: derivatives with respect to it are
    recorded, in reverse or in forward mode, or the call is a part of ``torch.func.vmap`` or :func:`compiling`."""
    return compiling() or (torch.is_grad_enabled() and x.requires_grad) or not reverse_only(x)


def reverse_only(*tensors: Tensor) -> bool:
    """Returns whether derivatives with respect to these tensors can only be of reverse mode: neither forward mode nor
    functorch is in use."""
    for x in tensors:
        if torch._C._functorch.is_functorch_wrapped_tensor(x):  # pyright: ignore[reportAttributeAccessIssue]
            return False
        level = forward_ad._current_level
        if level >= 0 and forward_ad.unpack_dual(x, level=level).tangent is not None:
            return False
    return True


# --- norms and sums ---------------------------------------------------------------------------------------------------


def real_view(x: Tensor) -> Tensor:
    """Returns a view of complex numbers as pairs of reals, whose norms and sums are many times faster on the CPU."""
    return torch.view_as_real(x.resolve_conj()) if x.is_complex() else x


# Sums in float64 are computed in pieces of this many numbers, so that the converted copies stay in the cache.
_PIECE = 2**17


def pieces(x: Tensor, trailing: int) -> tuple[Tensor, ...]:
    """Flattens the trailing axes and splits them into pieces."""
    return x.flatten(-trailing).split(_PIECE, dim=-1)


def modulus(z: Tensor) -> Tensor:
    """Computes \\|z\\|; that of complex64 numbers is computed and returned in float64.

    In float64 no square over- or underflows, and on the CPU this is several times faster than ``abs``.
    """
    if z.dtype != torch.complex64:
        return z.abs()
    re, im = (part.to(torch.float64) for part in torch.view_as_real(z.resolve_conj()).unbind(-1))
    return re.mul_(re).addcmul_(im, im).sqrt_()


def total(parts: list[Tensor]) -> Tensor:
    """Computes the sum of tensors of one shape."""
    return parts[0] if len(parts) == 1 else torch.stack(parts).sum(dim=0)


def power_of_two(size: Tensor) -> Tensor:
    """Returns the smallest power of two above a size, limited to 2**-1000 and 2**1000, in float64; 2 for zero, NaN and
    infinity.

    Dividing by it is exact, and squares of the quotient neither over- nor underflow.
    """
    size = size.detach().to(torch.float64)
    usable = torch.isfinite(size) & (size > 0)
    # From and to bits: torch.ldexp of old versions computes the power in single precision, and compilers do not know
    # torch.frexp. A denormal number has the exponent bits zero.
    exponent = (torch.where(usable, size, 1.0).view(torch.int64) >> 52) - 1022
    return ((exponent.clamp(-1000, 1000) + 1023) << 52).view(torch.float64)


def norms(x: Tensor, trailing: int) -> Tensor:
    """Computes the 2-norm over the trailing axes, summed in float64, for data of every scale."""
    # Converted first, since a reduction with dtype=torch.float64 is several times slower.
    flat, scale = real_view(x).flatten(-(trailing + x.is_complex())), None
    if flat.dtype == torch.float64 and flat.shape[-1]:  # squares of single precision are safe in double
        if flat.device.type == "cpu" and not derived(flat):
            size = _plain_norms(flat)
            if size.numel() and bool(((size > 1e-100) & (size < 1e100)).all()):
                return size
        scale = power_of_two(torch.linalg.vector_norm(flat.detach(), ord=math.inf, dim=-1))
    size = _plain_norms(flat, scale)
    return size if scale is None else scale * size


def _plain_norms(x: Tensor, scale: Tensor | None = None) -> Tensor:
    """Computes the 2-norm of x / scale over the last axis, summed in float64; squares must be representable."""
    converted = (p.to(torch.float64) if scale is None else p / scale.unsqueeze(-1) for p in x.split(_PIECE, dim=-1))
    parts = [torch.linalg.vector_norm(p, dim=-1) for p in converted]
    return parts[0] if len(parts) == 1 else torch.linalg.vector_norm(torch.stack(parts), dim=0)


def real_inner(x: Tensor, y: Tensor, trailing: int) -> Tensor:
    """Computes :math:`\\mathrm{Re}\\langle x,y\\rangle` over the trailing axes, summed in float64."""
    if x.is_complex() != y.is_complex():  # the imaginary part does not contribute
        x, y = (x.real, y) if x.is_complex() else (x, y.real)
    a, b = (pieces(real_view(t), trailing + t.is_complex()) for t in (x, y))
    return total([(p.to(torch.float64) * q).sum(dim=-1) for p, q in zip(a, b, strict=True)])


_BLOCK = 256


def blocked_sum(x: Tensor) -> Tensor:
    """Computes the sum over the last axis in float64, in blocks of 256 whose sums are again summed in blocks.

    For every order of the sums inside a block the error is at most ``sum_rounding(n)`` unit roundoffs times the sum of
    magnitudes, instead of n unit roundoffs.
    """
    x = x.to(torch.float64)
    while x.shape[-1] > _BLOCK:
        x = torch.nn.functional.pad(x, (0, -x.shape[-1] % _BLOCK)).unflatten(-1, (-1, _BLOCK)).sum(dim=-1)
    return x.sum(dim=-1)


def sum_rounding(n: int) -> float:
    """Returns k such that :func:`blocked_sum` of n numbers has an error of at most k unit roundoffs times the sum of
    magnitudes."""
    k = 0.0
    while n > _BLOCK:
        k, n = k + _BLOCK, -(-n // _BLOCK)
    return k + n


def blocked_norms(x: Tensor, trailing: int) -> Tensor:
    """Computes the 2-norm over the trailing axes, with a relative error of at most ``sum_rounding(2n) + 4`` unit
    roundoffs for n entries."""
    flat = real_view(x).flatten(-(trailing + x.is_complex())).to(torch.float64)
    if flat.shape[-1] == 0:
        return flat.new_zeros(flat.shape[:-1])
    scale = power_of_two(torch.linalg.vector_norm(flat, ord=math.inf, dim=-1))
    return scale * blocked_sum((flat / scale.unsqueeze(-1)).square()).sqrt()


def blocked_inner(x: Tensor, y: Tensor, trailing: int) -> Tensor:
    """Computes :math:`\\mathrm{Re}\\langle x,y\\rangle` with an error of at most ``sum_rounding(2n) + 2`` unit
    roundoffs times :math:`\\|x\\|\\,\\|y\\|` for n entries."""
    if x.is_complex() != y.is_complex():
        x, y = (x.real, y) if x.is_complex() else (x, y.real)
    a, b = (real_view(t).flatten(-(trailing + t.is_complex())).to(torch.float64) for t in (x, y))
    if a.shape[-1] == 0:
        return a.new_zeros(torch.broadcast_shapes(a.shape, b.shape)[:-1])
    # Each is scaled by its own power of two, so that only negligible products underflow.
    left, right = (power_of_two(torch.linalg.vector_norm(t, ord=math.inf, dim=-1)) for t in (a, b))
    return blocked_sum((a / left.unsqueeze(-1)) * (b / right.unsqueeze(-1))) * left * right


def per_item(number: Tensor | float, like: Tensor) -> Tensor:
    """Returns a step as float64, one number per batch item, in the shape of ``like``."""
    number = torch.as_tensor(number, dtype=torch.float64, device=like.device)
    return number.reshape(like.shape) if number.numel() == like.numel() else number.expand(like.shape)


def scaled(x: Tensor, factor: Tensor, trailing: int) -> Tensor:
    """Multiplies each batch item by its own real factor."""
    real = real_view(x) * factor.reshape(*factor.shape, *(1,) * (trailing + x.is_complex()))
    return torch.view_as_complex(real) if x.is_complex() else real


def doubled(x: Tensor) -> Tensor:
    """Returns x in double precision, exactly; complex numbers stay complex, real ones real."""
    return x.to(torch.complex128 if x.is_complex() else torch.float64)


def fft_rounding(shape: tuple[int, ...]) -> float:
    """Returns k such that a unitary FFT over these axes has an error of at most k unit roundoffs times the norm of its
    argument.

    A radix-2 stage with accurate twiddle factors has a rounding error of at most some 7 units (Higham, *Accuracy and
    Stability of Numerical Algorithms*, Theorem 24.2), stages of larger radix less per factor of two. A side with a
    large prime factor is transformed by a convolution, which takes three successive transforms of up to four times its
    length. The normalisation adds 8 units.
    """
    stages = 0.0
    for n in shape:
        rest = n
        for prime in (2, 3, 5, 7, 11, 13):
            while rest % prime == 0:
                rest //= prime
        stages += math.ceil(math.log2(max(n, 2))) if rest == 1 else 3 * (math.ceil(math.log2(n)) + 2)
    return 8 * stages + 8


# --- arithmetic as it is written --------------------------------------------------------------------------------------


@contextmanager
def full_precision() -> Iterator[None]:
    """Disables autocast, and TF32 and bfloat16 in matrix products, so that results have the precision of the tensors.

    The caller's settings are restored at the end. Those of matrix products are global in torch: until then, other
    threads multiply matrices in full precision, too. While :func:`compiling` they stay as they are, since a graph has
    those of the time when it runs.
    """
    devices = [d for d in ("cpu", "cuda") if torch.is_autocast_enabled(d)]
    reduced = [] if compiling() else _reduced()
    if not devices and not reduced:
        yield
        return
    with ExitStack() as settings:
        for device in devices:
            settings.enter_context(torch.autocast(device, enabled=False))
        for set_, before, plain in reduced:
            settings.callback(set_, before)
            set_(plain)
        yield


def _reduced() -> list[tuple[Callable[[str], None], str, str]]:
    """Returns for each setting that reduces the precision of matrix products a function that sets it, its present
    value, and its value for full precision.

    Since torch 2.9 each library has its own setting, which must not be mixed with the older common one.
    """
    matmuls: list[Any] = [getattr(library, "matmul", None) for library in (torch.backends.mkldnn, torch.backends.cuda)]
    matmuls = [matmul for matmul in matmuls if hasattr(matmul, "fp32_precision")]
    if not matmuls:
        before = torch.get_float32_matmul_precision()
        return [] if before == "highest" else [(torch.set_float32_matmul_precision, before, "highest")]
    found = []
    for matmul in matmuls:
        before = matmul.fp32_precision
        if before not in ("none", "ieee"):
            found.append((partial(setattr, matmul, "fp32_precision"), before, "ieee"))
    return found


# --- arrays from outside ----------------------------------------------------------------------------------------------


def tensor_of(array: Tensor | ArrayLike, what: str = "array") -> Tensor:
    """Converts an array of any library, stride, byte order and precision to a tensor.

    Dense tensors are returned unchanged. NumPy arrays are copied; extended precision becomes double, rounded, and
    uint64 becomes double, exactly.

    Args:
        array: A tensor, a NumPy array, a sparse matrix, nested lists, or an object with ``__array__`` or
            ``__dlpack__``.
        what: Its name in errors.

    Raises:
        BadInput: For arrays of objects, strings, or structures, for lists of unequal lengths, and for integers of
            uint64 that double precision cannot hold.
    """
    if isinstance(array, Tensor):
        return array.to_dense() if array.layout != torch.strided else array
    if hasattr(array, "toarray"):  # scipy.sparse
        array = array.toarray()  # pyright: ignore[reportAttributeAccessIssue]
    elif hasattr(array, "__dlpack__") and not hasattr(array, "__array__"):
        return torch.from_dlpack(array).clone()
    try:
        found: np.ndarray[Any, Any] = np.asarray(array)
    except ValueError as error:
        raise BadInput(f"Numbers for {what}", f"no array ({error})", "Make all its lists equally long") from None
    if found.dtype.kind not in "biufc":
        raise BadInput(f"Numbers for {what}", f"an array of {found.dtype}", "Convert it to an array of numbers first")
    kind = found.dtype.newbyteorder("=")
    if kind.kind in "fc" and kind.itemsize > 8 * (1 + (kind.kind == "c")):
        kind = np.dtype(np.complex128 if kind.kind == "c" else np.float64)
    if kind.kind == "u" and kind.itemsize > 1:  # not every operation of torch supports these unsigned dtypes
        near = found.astype(np.float64)
        # The largest ones are rounded to 2^64, which would not come back.
        if kind.itemsize == 8 and (np.where(near < 2.0**64, near, 0).astype(np.uint64) != found).any():
            do = "Convert it to float64 first if it may be rounded"
            raise BadInput(f"Integers that float64 holds for {what}", "some above 2^53 that it would round", do)
        kind = np.dtype(np.int64 if kind.itemsize < 8 else np.float64)
    return torch.from_numpy(np.array(found, dtype=kind, order="C", copy=True))
