"""Sparsity in levels: how many large coefficients each scale of a wavelet transform has.

Levels are counted from the coarsest. Two conventions are in use for J wavelet levels, and the length tells them apart:

* J + 1 levels (``approximation="separate"``): the first is the approximation band alone, the others the details.
* J levels (``approximation="merged"``): the first holds the approximation and the coarsest details together. The
  sampling theorems count like this.
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
    """Sizes and local sparsities :math:`(s_1,\\dots,s_r)`, :math:`0<s_k\\le` size of level k.

    Attributes:
        sizes: Number of coefficients in each level, coarsest first.
        sparsities: How many of them are large.

    >>> SparsityLevels((4, 12), (4, 2)).weights().round(3).tolist()
    [1.225, 1.732]
    """

    sizes: tuple[int, ...]
    sparsities: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "sizes", tuple(int(n) for n in self.sizes))
        object.__setattr__(self, "sparsities", tuple(int(s) for s in self.sparsities))
        if len(self.sizes) != len(self.sparsities) or not self.sizes:
            raise BadInput(
                "One sparsity for each level",
                f"{len(self.sizes)} sizes and {len(self.sparsities)} sparsities",
                "Give lists of one length",
            )
        for k, (n, s) in enumerate(zip(self.sizes, self.sparsities, strict=True)):
            if not 0 < s <= n:
                raise BadInput(
                    f"In level {k} a sparsity between 1 and its size {n}", f"{s}", "Use at least 1 and at most the size"
                )

    @property
    def total(self) -> int:
        """The total sparsity :math:`s=\\sum_ks_k`."""
        return sum(self.sparsities)

    def weights(self) -> NDArray[np.float64]:
        """The recommended weights :math:`w_{(k)}=\\sqrt{s/s_k}`, one a level; they make :math:`\\kappa=r`."""
        return np.sqrt(self.total / np.array(self.sparsities, dtype=float))

    def spread(self, values: ArrayLike, level: ArrayLike) -> NDArray[np.float64]:
        """One value a level, written to every coefficient.

        Args:
            values: One number a level, for example ``weights()``.
            level: The level of each coefficient, as a frame's ``levels()`` gives it (approximation separate). With one
                level less here than there, the approximation is merged with the coarsest details.
        """
        each = np.asarray(values, dtype=float)
        if each.shape != (len(self.sizes),):
            raise BadInput(f"{len(self.sizes)} values, one a level", f"{each.size}", "Give one number for each level")
        return each[self.index(level)]

    def index(self, level: ArrayLike) -> NDArray[np.int64]:
        """The level of each coefficient, counted as these levels are: separate as given, or merged.

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
        """Counts, in each level, the largest coefficients of ``frame(image)`` that together hold a share of the energy.

        Args:
            image: A tensor that the frame takes (no batch axes).
            frame: A :class:`firenet.transforms.TightFrame`.
            share: The share of :math:`\\|Wx\\|_2^2` to hold, over all levels together.
            approximation: See the module's first lines.

        A level without any of them counts 1, because weights must be finite.
        """
        return cls.from_coefficients(
            frame(image).detach().cpu().numpy(), frame.levels().numpy(), share=share, approximation=approximation
        )

    @classmethod
    def from_coefficients(
        cls,
        coefficients: ArrayLike,
        level: ArrayLike,
        *,
        share: float = 0.999,
        approximation: Approximation = "separate",
    ) -> SparsityLevels:
        """As :meth:`from_image`, from coefficients and the level of each."""
        if not 0 < share <= 1:
            raise BadInput("A share of the energy between 0 and 1", f"{share}", "0.999 is usual")
        size = np.abs(np.asarray(coefficients, dtype=complex)).ravel()
        index = np.asarray(level).ravel()
        if size.shape != index.shape:
            raise BadInput(
                f"Coefficients of one image, {index.size} of them", f"{size.size}", "Pass one image at a time"
            )
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
    """The weighted defect :math:`\\sigma_{s,M}(x)_{l^1_w}`: the weighted l1 norm of all but the s_k largest of each
    level.

    Args:
        coefficients: One signal.
        level: The level of each coefficient.
        levels: The local sparsities.
        weights: One a level; None is ``levels.weights()``.
    """
    size = np.abs(np.asarray(coefficients)).ravel()
    index = levels.index(level).ravel()
    w = levels.weights() if weights is None else np.asarray(weights, dtype=float)
    if size.shape != index.shape or w.shape != (len(levels.sizes),):
        needed = f"{index.size} coefficients and {len(levels.sizes)} weights"
        raise BadInput(
            needed, f"{size.size} coefficients and {w.size} weights", "Pass one image and one weight a level"
        )
    return math.fsum(
        float(w[k]) * math.fsum(np.sort(size[index == k])[: max(0, n - s)].tolist())
        for k, (n, s) in enumerate(zip(levels.sizes, levels.sparsities, strict=True))
    )
