"""Sparsity in levels: the number of large coefficients in each scale of a wavelet transform.

Levels are numbered from the coarsest. For a transform with J wavelet levels two conventions are in use, which differ in
the number of sparsity levels:

* J + 1 levels (``approximation="separate"``): the first is the approximation band alone, the others the details.
* J levels (``approximation="merged"``): the first contains the approximation and the coarsest details together. The
  sampling theorems use this convention.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from firenet.errors import BadInput

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


Approximation = Literal["separate", "merged"]


@dataclass(frozen=True)
class SparsityLevels:
    """The sizes of the levels and their local sparsities :math:`(s_1,\\dots,s_r)`, :math:`0<s_k\\le` size of level k.

    Attributes:
        sizes: The number of coefficients in each level, coarsest first.
        sparsities: The number of large coefficients in each level.

    >>> SparsityLevels((4, 12), (4, 2)).weights().round(3).tolist()
    [1.225, 1.732]
    """

    sizes: tuple[int, ...]
    sparsities: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "sizes", tuple(int(n) for n in self.sizes))
        object.__setattr__(self, "sparsities", tuple(int(s) for s in self.sparsities))
        if len(self.sizes) != len(self.sparsities) or not self.sizes:
            got = f"{len(self.sizes)} sizes and {len(self.sparsities)} sparsities"
            raise BadInput("One sparsity for each level", got, "Give two lists of equal length, not empty")
        for k, (n, s) in enumerate(zip(self.sizes, self.sparsities, strict=True)):
            if not 0 < s <= n:
                do = "Use at least 1 and at most the size"
                raise BadInput(f"In level {k} a sparsity between 1 and its size {n}", f"{s}", do)

    @property
    def total(self) -> int:
        """The total sparsity :math:`s=\\sum_ks_k`."""
        return sum(self.sparsities)

    def weights(self) -> NDArray[np.float64]:
        """Returns the recommended weights :math:`w_{(k)}=\\sqrt{s/s_k}`, one per level: then :math:`w_{(k)}^2s_k=s` in
        each level, and :attr:`firenet.guarantees.Constants.kappa` is the number of levels."""
        return np.sqrt(self.total / np.array(self.sparsities, dtype=float))

    def spread(self, values: ArrayLike, level: ArrayLike) -> NDArray[np.float64]:
        """Returns for each coefficient the value of its level.

        Args:
            values: One number per level, for example ``weights()``.
            level: The level of each coefficient, from the ``levels()`` of an analysis operator (approximation
                separate). If this object has one level fewer, the approximation is merged with the coarsest details.
        """
        each = np.asarray(values, dtype=float)
        if each.shape != (len(self.sizes),):
            raise BadInput(f"{len(self.sizes)} values, one per level", f"{each.size}", "Give one number for each level")
        return each[self.index(level)]

    def index(self, level: ArrayLike) -> NDArray[np.int64]:
        """Returns the level of each coefficient in the convention of this object, separate or merged.

        Raises:
            BadInput: If the transform's levels have other sizes than these.
        """
        index = np.asarray(level)
        if index.size and int(index.max()) == len(self.sizes):
            index = _merged(index)
        counts = np.bincount(index.ravel(), minlength=len(self.sizes))
        if tuple(counts) != self.sizes:
            got = f"a transform with levels of sizes {tuple(counts.tolist())}"
            raise BadInput(f"Levels of sizes {self.sizes}", got, "Use the levels of this transform")
        return index

    @classmethod
    def from_image(
        cls, image: Any, frame: Any, *, share: float = 0.999, approximation: Approximation = "separate"
    ) -> SparsityLevels:
        """Counts in each level the largest coefficients of ``frame(image)`` that together have a share of the energy.

        The sparsity of a level is at least 1, because weights must be finite.

        Args:
            image: A tensor in the frame's domain (no batch axes).
            frame: A :class:`firenet.transforms.TightFrame`.
            share: The fraction of :math:`\\|Wx\\|_2^2`, over all levels together.
            approximation: ``separate`` or ``merged``, see :mod:`firenet.sparsity`.
        """
        c, level = frame(image).detach().cpu().numpy(), frame.levels().numpy()
        return cls.from_coefficients(c, level, share=share, approximation=approximation)

    @classmethod
    def from_coefficients(
        cls,
        coefficients: ArrayLike,
        level: ArrayLike,
        *,
        share: float = 0.999,
        approximation: Approximation = "separate",
    ) -> SparsityLevels:
        """Counts the largest coefficients as :meth:`from_image` does, given coefficients and the level of each."""
        if not 0 < share <= 1:
            raise BadInput("A share of the energy between 0 and 1", f"{share}", "0.999 is usual")
        size = np.abs(np.asarray(coefficients, dtype=complex)).ravel()
        index = np.asarray(level).ravel()
        if size.shape != index.shape:
            needed = f"Coefficients of one image, {index.size} of them"
            raise BadInput(needed, f"{size.size}", "Pass one image at a time")
        if not np.isfinite(size).all():
            raise BadInput("Finite coefficients", "NaN or infinity", "Clean the image first")
        if approximation == "merged":
            index = _merged(index)
        largest_first = np.argsort(-size, kind="stable")
        energy = np.cumsum(size[largest_first] ** 2)
        kept = int(np.searchsorted(energy, share * energy[-1])) + 1 if energy[-1] > 0 else 0
        sizes = np.bincount(index)
        counts = np.bincount(index[largest_first[:kept]], minlength=len(sizes))
        return cls(tuple(sizes.tolist()), tuple(np.maximum(counts, 1).tolist()))


def _merged(level: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.maximum(level - 1, 0)


def defect(
    coefficients: ArrayLike, level: ArrayLike, levels: SparsityLevels, weights: Sequence[float] | None = None
) -> float:
    """Computes the weighted defect :math:`\\sigma_{s,M}(x)_{l^1_w}`: the weighted l1 norm of all but the s_k largest
    coefficients of each level.

    Args:
        coefficients: One signal.
        level: The level of each coefficient.
        levels: The local sparsities.
        weights: One per level; None is ``levels.weights()``.

    Raises:
        BadInput: If the number of coefficients or of weights does not match the levels, or a coefficient is not finite.
    """
    size = np.abs(np.asarray(coefficients)).ravel()
    index = levels.index(level).ravel()
    w = levels.weights() if weights is None else np.asarray(weights, dtype=float)
    if size.shape != index.shape or w.shape != (len(levels.sizes),):
        needed, got = f"{index.size} coefficients and {len(levels.sizes)} weights", f"{size.size} and {w.size}"
        raise BadInput(needed, got, "Pass one image and one weight per level")
    if not np.isfinite(size).all():  # among the largest they would be left out
        raise BadInput("Finite coefficients", "NaN or infinity", "Clean the image first")
    return math.fsum(
        float(w[k]) * math.fsum(np.sort(size[index == k])[: max(0, n - s)].tolist())
        for k, (n, s) in enumerate(zip(levels.sizes, levels.sparsities, strict=True))
    )
