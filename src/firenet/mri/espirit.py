r"""Coil maps from the fully sampled centre of k-space, by ESPIRiT (Uecker et al., Magn. Reson. Med. 71, 990, 2014).

Patches of k-space, all coils side by side, span few dimensions, because all coils see the same image. Projecting every
patch onto that space, and averaging where patches overlap, leaves the data unchanged. The average is a convolution over
k-space, so at each pixel r it is a small matrix G(r) between the coils, and the vector of the coil maps s(r) is its
eigenvector of eigenvalue 1.

G is computed without transforming every kernel into an image: summing the projector along its diagonals leaves one
small kernel for each pair of coils, and G is the Fourier series of these.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from firenet.errors import BadInput

# The narrowest calibration centre that gives correct maps, see kernel_for.
NARROWEST = 8
# Wider centres add little: twice the width takes four times the time in two dimensions.
WIDEST = 24
# The published defaults: singular values below the root of this share of the largest belong to the noise.
THRESHOLD = 1e-3
# Pixels whose largest eigenvalue is not above this are taken for background.
CROP = 0.8
# The size of one slab of small matrices: 4 MB, which fits into the cache.
_SLAB = 2**18


def kernel_for(width: int, dims: int) -> int:
    r"""Returns the side of the largest kernel that a calibration centre of this width supports.

    With d image axes and maps of s frequencies a side, a patch of side k depends on fewer than :math:`(k+s)^d` numbers,
    and the :math:`(w-k+1)^d` patches of a centre of side w must span them. The rule :math:`w-k+1\ge2k` leaves room for
    s = k: the side is :math:`\lfloor(w+1)/3\rfloor`, at most 6, and at most 5 in three dimensions, where the Gram
    matrix of the patches has :math:`\text{coils}\cdot k^3` rows. Kernels of side 3 are the smallest that give maps
    accurate to a few per cent, so 8 is the narrowest centre.

    Args:
        width: Side of the centre, in samples.
        dims: Number of image axes.

    >>> [kernel_for(w, 2) for w in (8, 12, 16, 24)]
    [3, 4, 5, 6]
    """
    return min((width + 1) // 3, 5 if dims == 3 else 6)


def centre_of(kspace: Tensor, width: int, dims: int) -> Tensor:
    """Returns the samples of the ``width`` lowest frequencies of each of the last ``dims`` axes, sorted by frequency.

    Args:
        kspace: k-space with zero frequency in the corner.
        width: Number of samples a side; frequency zero gets the index ``width // 2``.
        dims: Number of image axes.
    """
    for axis in range(-dims, 0):
        low = torch.arange(width, device=kspace.device) - width // 2
        kspace = kspace.index_select(axis, low % kspace.shape[axis])
    return kspace


@torch.no_grad()
def espirit(
    kspace: Tensor,
    *,
    dims: int = 2,
    width: int = WIDEST,
    kernel: int | None = None,
    threshold: float = THRESHOLD,
    crop: float = CROP,
) -> Tensor:
    r"""Returns coil maps :math:`s_c(r)`, :math:`\sum_c|s_c(r)|^2=1` on the object and 0 on the background.

    Only the centre of k-space is used. The common phase of the coils at a pixel is not determined; as in BART it is
    chosen so that the component of s(r) along the first principal component of the coils, which is computed from the
    centre, is real and not negative. The maps are computed in double precision whatever the dtype, on the device of the
    data. The unit of the data does not matter.

    Args:
        kspace: Complex, shape (..., coils, \*image), zero frequency in the corner, the centre fully sampled; leading
            axes are batch, and each item gets its own maps.
        dims: Number of image axes, 1 to 3.
        width: Side of the centre to use, in samples, at most the narrowest side of the image.
        kernel: Side of the kernels; None is :func:`kernel_for`.
        threshold: Singular values of the calibration matrix are treated as noise up to :math:`\sqrt{\text{threshold}}`
            times the largest, and if all are above that, up to twice the smallest.
        crop: Pixels where the largest eigenvalue of the matrix G(r) of ESPIRiT is not above this are background.

    Returns:
        Maps of the shape and dtype of ``kspace``, on the grid of ``ifftn(kspace)``.

    Raises:
        BadInput: For real data, a wrong number of axes, a centre that is zero, not finite or narrower than the kernel,
            or kernels too small to separate signal from noise.
    """
    if not kspace.is_complex() or not 1 <= dims <= 3 or kspace.ndim <= dims:
        needed = "Complex k-space of shape (..., coils, *image) with one to three image axes"
        got = f"{kspace.dtype} of shape {tuple(kspace.shape)} with dims={dims}"
        raise BadInput(needed, got, "Put the coils before the image axes")
    width = min(width, *kspace.shape[-dims:])
    side = kernel_for(width, dims) if kernel is None else kernel
    if not 1 <= side <= width:
        got = f"kernel {side}, width {width}"
        raise BadInput("A kernel between 1 and the width of the calibration centre", got, "Leave kernel out")
    items = kspace.reshape(-1, *kspace.shape[-dims - 1 :])
    maps = torch.empty_like(items)
    for item, out in zip(items, maps, strict=True):
        _estimate(item, out, dims, width, side, threshold, crop)
    return maps.view(kspace.shape)


def _estimate(kspace: Tensor, out: Tensor, dims: int, width: int, side: int, threshold: float, crop: float) -> None:
    """Writes the maps of one item to ``out``."""
    centre = centre_of(kspace, width, dims).to(torch.complex128)
    largest = centre.abs().amax()
    if not 0 < largest < math.inf:  # NaN too
        got = "zeros" if largest == 0 else "NaN or infinity"
        raise BadInput("A finite calibration centre that is not zero", got, "Check that k-space was read correctly")
    centre = centre / largest  # squares of 1e-30 and 1e30 neither underflow nor overflow
    coils = len(centre)
    projector = _projector(centre, side, dims, threshold)
    kernels = _pair_kernels(projector, side, dims)
    phase = _principal(centre)
    for rows, matrices in _slabs(kernels, kspace.shape[1:], side):
        # The Frobenius norm is at least the largest eigenvalue: matrices that it excludes need no decomposition.
        some = (_frobenius(matrices) > crop).nonzero()[:, 0]
        maps = matrices.new_zeros(len(matrices), coils)
        values, vectors = _largest(matrices[some])
        vectors = vectors * (values > crop)[:, None]
        along = vectors @ phase.conj()
        size = along.abs()
        turn = torch.where(size > 0, along.conj() / torch.where(size > 0, size, 1), torch.ones_like(along))
        maps[some] = vectors * turn[:, None]
        out[:, rows] = maps.mT.reshape(coils, -1, *kspace.shape[2:]).to(out.dtype)


def _projector(centre: Tensor, side: int, dims: int, threshold: float) -> Tensor:
    """Returns the projector onto the span of the patches of the centre, shape (coils, side, ..., coils, side, ...)."""
    patches = centre
    for axis in range(1, dims + 1):
        patches = patches.unfold(axis, side, 1)
    coils, rows = len(centre), centre.shape[1] - side + 1
    size = coils * side**dims
    order = [0, *range(dims + 1, 2 * dims + 1), *range(2, dims + 1)]
    # Right singular vectors by the Gram matrix. It squares the singular values, which double precision allows: noise is
    # cut off at a relative 1e-3 of their squares. The sum runs over the first axis of positions, so that the patches
    # are never in memory all at once.
    gram = centre.new_zeros(size, size)
    for row in range(rows):
        some = patches.select(1, row).permute([0 if i == 0 else i - 1 for i in order]).reshape(size, -1)
        gram.addmm_(some, some.mH)
    values, vectors = torch.linalg.eigh(gram)
    kept = vectors[:, values > threshold * values[-1]]
    if kept.shape[1] == size:
        # Noise above the threshold fills all dimensions. Its singular values are of similar size, so those within twice
        # the smallest are treated as noise instead.
        kept = vectors[:, values > 4 * values[0]]
    if kept.shape[1] in (0, size) and coils > 1:
        needed = "A calibration matrix with small singular values, to separate the coils' signal from noise"
        got = f"{size} singular values of similar size, with kernels of side {side}"
        do = "Use a wider calibration centre (larger kernels need one), or pass maps from a calibration scan"
        raise BadInput(needed, got, do)
    return (kept @ kept.mH).view(coils, *(side,) * dims, coils, *(side,) * dims)


def _pair_kernels(projector: Tensor, side: int, dims: int) -> Tensor:
    """Returns the kernels of the average of overlapping projected patches, shape (coils, coils, 2 side - 1, ...)."""
    kernels = projector.movedim(dims + 1, 1)
    for axis in range(dims):
        offsets = [kernels.diagonal(-d, 2, 2 + dims - axis).sum(-1) for d in range(1 - side, side)]
        kernels = torch.stack(offsets, dim=-1)
    return kernels / side**dims


def _slabs(kernels: Tensor, shape: torch.Size, side: int) -> Iterator[tuple[slice, Tensor]]:
    """Yields rows of the first image axis with their matrices G(r), shape (pixels, coils, coils)."""
    coils = len(kernels)
    offsets = torch.arange(1 - side, side, device=kernels.device)
    series = []
    for n in shape:
        turns = (torch.outer(torch.arange(n, device=kernels.device), offsets) % n).to(torch.float64) / n
        series.append(torch.polar(torch.ones_like(turns), 2 * math.pi * turns))
    step = max(1, _SLAB // (coils**2 * math.prod(shape[1:])))
    for start in range(0, shape[0], step):
        rows = slice(start, min(start + step, shape[0]))
        # The series is summed over one axis of offsets after the other; its pixels become the last axis.
        some = kernels
        for factors in (series[0][rows], *series[1:]):
            some = torch.einsum("ijd...,rd->ij...r", some, factors)
        yield rows, some.movedim((0, 1), (-2, -1)).reshape(-1, coils, coils)


def _largest(matrices: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the largest eigenvalue of each positive semidefinite matrix, and its eigenvector.

    If the second eigenvalue is below 0.8 of the first, squaring the matrix seven times gives the projector onto the
    eigenvector, up to a factor and 1e-12. This is three times faster than a decomposition; only the other matrices are
    decomposed.
    """
    power = matrices / _frobenius(matrices)[:, None, None]
    for _ in range(7):  # from at least coils^(-1/2), the largest eigenvalue falls to 1e-135 for 128 coils: no underflow
        power = power @ power
    diagonal = power.diagonal(dim1=-2, dim2=-1).real
    each = torch.arange(len(matrices), device=matrices.device)
    vectors = power[each, :, diagonal.argmax(-1)]
    vectors = vectors / torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    values = (vectors.conj() * (matrices @ vectors[..., None])[..., 0]).sum(-1).real
    # The trace and the Frobenius norm agree for matrices of rank one only.
    trace = diagonal.sum(-1)
    close = (trace - _frobenius(power) > 1e-12 * trace).nonzero()[:, 0]
    if len(close):
        spectrum, bases = torch.linalg.eigh(matrices[close])
        values[close], vectors[close] = spectrum[:, -1], bases[..., -1]
    return values, vectors


def _frobenius(matrices: Tensor) -> Tensor:
    """Returns the Frobenius norm of each matrix, over one real axis: torch is 50 times slower over two complex axes."""
    return torch.linalg.vector_norm(torch.view_as_real(matrices.contiguous()).flatten(-3), dim=-1)


def _principal(centre: Tensor) -> Tensor:
    """Returns the first principal component of the coils, its largest entry real and positive."""
    samples = centre.flatten(1)
    first = torch.linalg.eigh(samples @ samples.mH)[1][:, -1]
    largest = first[first.abs().argmax()]
    return first * largest.conj() / largest.abs()
