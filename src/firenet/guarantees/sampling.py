"""The samples that each band of a mask needs for the null space property, by the sampling theorem for Haar wavelets.

The theorem (Theorem 4 of Colbrook, Antun, Hansen, PNAS 2022) is about images of :math:`K^d` pixels, :math:`K=2^r`,
sparse in the scales 1 to r of the Haar wavelet, the approximation merged with scale 1, and samples drawn uniformly at
random in each box :math:`B_\\mathbf k` of a grid of Fourier or Walsh frequencies. It says that

.. math:: m_\\mathbf k\\ge C\\,\\kappa'\\,\\mathcal M(s,\\mathbf k)\\,\\big(L+\\log(1/\\epsilon)\\big)
    \\qquad\\text{for all }\\mathbf k

samples suffice, with probability at least :math:`1-\\epsilon`, for the weighted robust null space property with
:math:`\\rho=1/2` and :math:`\\gamma=\\sqrt2` of the matrix whose rows in box :math:`\\mathbf k` are multiplied by
:math:`\\sqrt{|B_\\mathbf k|/m_\\mathbf k}`.

:math:`\\mathcal M` is computed here. The constant C, the logarithms L and the factor :math:`\\kappa'` are **arguments
without defaults**: no number for them is quoted from the paper, so a count is worth what the caller's numbers are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from firenet.errors import BadInput
from firenet.sensing.masked import as_mask
from firenet.sensing.masks import Transform, frequency_bands, local_coherences, theory_density
from firenet.sparsity import SparsityLevels

# Up to so many pixels the local coherences are computed from the dense matrix, which takes some 2 seconds.
DENSE = 512


@dataclass(frozen=True)
class Box:
    """One box :math:`B_\\mathbf k` of the grid of frequencies.

    Attributes:
        box: The band of each axis, :math:`\\mathbf k`, from 1.
        size: The number of its frequencies, :math:`|B_\\mathbf k|`.
        density: :math:`\\mathcal M(s,\\mathbf k)`, which :func:`.theory_density` computes.
        needed: The number of samples that the theorem asks for, not rounded, and possibly more than ``size``.
        samples: The number of samples that the mask has; None without a mask.
        coherence: One number for each scale: what ``BandSamples.coherences`` says.
    """

    box: tuple[int, ...]
    size: int
    density: float
    needed: float
    samples: int | None
    coherence: tuple[float, ...]

    @property
    def enough(self) -> bool:
        """Whether the mask has the samples: as many as are needed, or the whole box."""
        return self.samples is not None and self.samples >= min(self.needed, self.size)


@dataclass(frozen=True)
class BandSamples:
    """The samples that the boxes of a grid need, beside those that a mask has.

    The symbols are those of :func:`.band_samples`.

    Attributes:
        transform: ``fourier`` or ``walsh``.
        shape: The sides of the grid.
        levels: The scales and their sparsities.
        constant: C.
        logarithms: L.
        kappa: :math:`\\kappa'`, a factor; 1 for the form of the theorem without it.
        failure: :math:`\\epsilon`, the probability with which the draw may fail.
        coherences: Whether the coherences of the boxes are the ``local coherences``
            :math:`|B_\\mathbf k|\\max|U|^2` of the matrix U from coefficients to samples, or the ``factors of the
            density``, their estimates :math:`f_j` in the formula :math:`\\mathcal M(s,\\mathbf k)=\\sum_js_jf_j`.
        boxes: The boxes.
    """

    transform: Transform
    shape: tuple[int, ...]
    levels: SparsityLevels
    constant: float
    logarithms: float
    kappa: float
    failure: float
    coherences: Literal["local coherences", "factors of the density"]
    boxes: tuple[Box, ...]

    @property
    def density(self) -> float:
        """The sum of all :math:`\\mathcal M(s,\\mathbf k)`, at most :math:`3^d\\sum_js_j` (Fourier) or
        :math:`2^d\\sum_js_j` (Walsh)."""
        return math.fsum(box.density for box in self.boxes)

    @property
    def needed(self) -> float:
        """The number of samples that all boxes need together; a box needs its size at most."""
        return math.fsum(min(box.needed, box.size) for box in self.boxes)

    @property
    def lacking(self) -> tuple[Box, ...]:
        """The boxes with fewer samples than they need; all of them without a mask."""
        return tuple(box for box in self.boxes if not box.enough)

    @property
    def rescaling(self) -> float:
        """The largest factor :math:`\\sqrt{|B_\\mathbf k|/m_\\mathbf k}` of the theorem's matrix, infinite
        without a mask or if a box has no samples.

        The theorem's :math:`\\gamma` belongs to the matrix with these factors. The mask's own operator, without them,
        then has the null space property with :math:`\\gamma` times this number.
        """
        return max(math.sqrt(box.size / box.samples) if box.samples else math.inf for box in self.boxes)

    @property
    def assumption(self) -> str:
        """The numbers that a count rests on, in words."""
        return (
            f"m_k = {self.constant:g} * {self.kappa:g} * M(s, k) * ({self.logarithms:g} + log(1 / {self.failure:g})); "
            "the constant, the factor kappa and the logarithms are arguments, not quoted from the paper"
        )

    def record(self) -> dict[str, Any]:
        """Returns the numbers as plain data for JSON."""
        return {
            "transform": self.transform,
            "shape": list(self.shape),
            "sparsities": list(self.levels.sparsities),
            "constant": self.constant,
            "logarithms": self.logarithms,
            "kappa": self.kappa,
            "failure": self.failure,
            "assumption": self.assumption,
            "needed": self.needed,
            "rescaling": self.rescaling if math.isfinite(self.rescaling) else None,
            "boxes": [
                {
                    "box": list(box.box),
                    "size": box.size,
                    "density": box.density,
                    "needed": box.needed,
                    "samples": box.samples,
                    self.coherences.replace(" ", "_"): list(box.coherence),
                }
                for box in self.boxes
            ],
        }


def band_samples(
    shape: Sequence[int],
    levels: SparsityLevels,
    transform: Transform,
    *,
    constant: float,
    logarithms: float,
    kappa: float,
    failure: float,
    mask: ArrayLike | None = None,
) -> BandSamples:
    """Computes the number of samples that the sampling theorem for Haar wavelets asks for in each box k of a grid,
    :math:`m_\\mathbf k=C\\,\\kappa'\\,\\mathcal M(s,\\mathbf k)\\,(L+\\log(1/\\epsilon))`.

    A box is a product of frequency bands, one on each axis (:func:`.frequency_bands`). :func:`.theory_density` computes
    :math:`\\mathcal M(s,\\mathbf k)`. The other numbers are the caller's: none of them is quoted from the paper of the
    theorem (Theorem 4 of Colbrook, Antun, Hansen, PNAS 2022).

    Args:
        shape: One to three equal sides, a power of two.
        levels: The Haar scales and their sparsities, the approximation ``merged`` with the first scale.
        transform: ``fourier`` or ``walsh``.
        constant: C > 0.
        logarithms: L, zero or more; :func:`recalled_logarithms` computes one form of it.
        kappa: A factor :math:`\\kappa'\\ge1`.
        failure: :math:`\\epsilon`, above 0, at most 1.
        mask: The mask whose samples are counted, zero frequency in the corner.

    Raises:
        BadInput: For sides or levels to which the theorem does not apply, and numbers out of range.

    >>> levels = SparsityLevels((2, 2, 4), (2, 1, 1))
    >>> found = band_samples((8,), levels, "walsh", constant=1, logarithms=1, kappa=1, failure=1)
    >>> [box.needed for box in found.boxes]
    [2.0, 1.0, 1.0]
    """
    sides = _checked(shape, levels, transform)
    if not all(0 <= v < math.inf for v in (constant, logarithms, kappa)) or not constant > 0 or not kappa >= 1:
        got = f"constant={constant}, logarithms={logarithms}, kappa={kappa}"
        raise BadInput("constant > 0, logarithms of 0 or more, kappa of 1 or more, all finite", got, "Check them")
    if not 0 < failure <= 1:
        raise BadInput("A probability of failure above 0, at most 1", f"{failure}", "For example 0.01")
    factor = constant * kappa * (logarithms + math.log(1 / failure))
    bands, scales = frequency_bands(sides[0], transform), range(1, len(levels.sizes) + 1)
    each = np.bincount(bands)
    counts = None if mask is None else _counts(mask, sides, bands)
    dense = math.prod(sides) <= DENSE
    known = local_coherences(sides, transform) if dense else {}
    boxes = []
    for k in product(scales, repeat=len(sides)):
        density = theory_density(levels.sparsities, k, transform)
        # M is linear in s: the factor of scale j is M of the j-th unit vector.
        units = ([float(i == j) for i in scales] for j in scales)
        coherence = (known[k, j] for j in scales) if dense else (theory_density(u, k, transform) for u in units)
        size = math.prod(int(each[i]) for i in k)
        samples = None if counts is None else int(counts[tuple(i - 1 for i in k)])
        boxes.append(Box(k, size, density, factor * density, samples, tuple(coherence)))
    name: Literal["local coherences", "factors of the density"] = (
        "local coherences" if dense else "factors of the density"
    )
    return BandSamples(transform, sides, levels, constant, logarithms, kappa, failure, name, tuple(boxes))


def recalled_logarithms(shape: Sequence[int], levels: SparsityLevels, samples: int) -> float:
    """Computes one form of the logarithms, :math:`L=d\\,r^2\\log(2m)\\log^2(s\\log N)`.

    This form is recalled from memory, not quoted from the theorem; another form has :math:`\\log^2(s\\kappa)` and a
    factor :math:`\\kappa` in front. It shows how the number of samples grows, not how large it must be.

    Args:
        shape: The d sides, of N pixels in all.
        levels: The r scales, with s non-zeros in all.
        samples: m, the number of samples of all boxes.
    """
    if samples < 1:
        raise BadInput("At least one sample", f"{samples}", "Give the number of samples of the mask")
    d, r, n = len(shape), len(levels.sizes), math.prod(shape)
    return d * r**2 * math.log(2 * samples) * math.log(max(levels.total * math.log(n), 1)) ** 2


def _checked(shape: Sequence[int], levels: SparsityLevels, transform: Transform) -> tuple[int, ...]:
    """Returns the sides, after checks that the theorem is about them."""
    sides = tuple(int(n) for n in shape)
    if transform not in ("fourier", "walsh"):
        raise BadInput("A transform: fourier or walsh", repr(transform), "Choose one")
    n = sides[0] if sides else 0
    if not 1 <= len(sides) <= 3 or set(sides) != {n} or n < 2 or n & (n - 1):
        needed = "One to three equal sides, a power of two, as the sampling theorem has them"
        raise BadInput(needed, f"{sides}", "Crop or pad the image")
    d, r = len(sides), n.bit_length() - 1
    scales = tuple(2 ** (j * d) - (2 ** ((j - 1) * d) if j > 1 else 0) for j in range(1, r + 1))
    if levels.sizes != scales:
        do = "Count them with approximation='merged' for Haar wavelets of full depth"
        raise BadInput(f"The {r} Haar scales of sizes {scales}", f"levels of sizes {levels.sizes}", do)
    return sides


def _counts(mask: ArrayLike, sides: tuple[int, ...], bands: np.ndarray) -> np.ndarray:
    """Returns the number of samples of a mask in each box."""
    samples = as_mask(mask).cpu().numpy()
    if samples.shape != sides:
        raise BadInput(f"A mask of shape {sides}", f"{samples.shape}", "Give the mask of this grid")
    counts = np.zeros((int(bands.max()),) * len(sides), dtype=np.int64)
    np.add.at(counts, tuple(bands[axis] - 1 for axis in samples.nonzero()), 1)
    return counts
