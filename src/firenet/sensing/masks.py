"""Sampling masks: the frequencies or sequencies to measure.

Multilevel random sampling splits each frequency axis into dyadic bands and the grid into their products, the boxes
:math:`B_\\mathbf{k}=B_{k_1}\\times\\dots\\times B_{k_d}`, and draws :math:`m_\\mathbf{k}` samples uniformly at random
in each box. Every mask has exactly the requested number of samples, is drawn by its own generator (the global random
state is unchanged) and keeps its recipe. Zero frequency is in the corner; ``Mask.centred()`` moves it to the middle.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from firenet.errors import BadInput
from firenet.numerics import check_seed
from firenet.sensing.fourier import SubsampledFourier
from firenet.sensing.walsh import SubsampledWalsh
from firenet.transforms.wavelet import Wavelet

Transform = Literal["fourier", "walsh"]

# q_v for v = 1 to 10 vanishing moments: the Fourier transform of the Daubechies scaling function decays as
# |omega|^-(1 + q_v).
_DECAY = (0.0, 0.339, 0.636, 0.913, 1.177, 1.432, 1.682, 1.927, 2.168, 2.406)


@dataclass(frozen=True, eq=False)
class Mask:
    """A sampling mask and its recipe.

    Attributes:
        samples: Boolean, zero frequency in the corner.
        bands: For multilevel masks, the number of samples m and the size of each box, a product of frequency bands:
            ``{(k_1, ..., k_d): (m, size)}``, with the number of the band on each axis (:func:`frequency_bands`).
        recipe: Everything needed to draw the mask again: kind, shape, parameters, seed.
    """

    samples: Tensor
    bands: Mapping[tuple[int, ...], tuple[int, int]] = field(default_factory=dict)
    recipe: Mapping[str, Any] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """The number of samples."""
        return int(self.samples.sum())

    @property
    def rate(self) -> float:
        """The number of samples over the size of the grid."""
        return self.count / self.samples.numel()

    def centred(self) -> Tensor:
        """Returns the mask with zero frequency in the middle (index n // 2), the convention of files; a Walsh mask is
        unchanged."""
        walsh = self.recipe.get("transform", "fourier") != "fourier"
        return self.samples if walsh else torch.fft.fftshift(self.samples)


def frequency_bands(n: int, transform: Transform = "fourier") -> NDArray[np.int64]:
    """Returns the band 1, 2, ... of each index of an axis of n frequencies (``fftfreq`` order) or sequencies.

    Fourier: :math:`B_1=\\{0,1\\}`, :math:`B_k=\\{-2^{k-1}+1..-2^{k-2}\\}\\cup\\{2^{k-2}+1..2^{k-1}\\}`; for even n the
    frequency -n/2 counts as n/2; if n is not a power of two, the last band has fewer frequencies. Walsh:
    :math:`B_1=\\{0,1\\}`, :math:`B_k=\\{2^{k-1}..2^k-1\\}`.

    >>> frequency_bands(8).tolist(), frequency_bands(8, "walsh").tolist()
    ([1, 1, 2, 3, 3, 3, 3, 2], [1, 1, 2, 2, 3, 3, 3, 3])
    """
    i = np.arange(n)
    if transform == "walsh":
        return np.ceil(np.log2(np.maximum(i + 1, 2))).astype(np.int64)
    f = np.where(i <= n // 2, i, i - n)
    return 1 + np.ceil(np.log2(np.where(f >= 1, f, 1 - f))).astype(np.int64)


def theory_density(
    sparsities: Sequence[float], box: Sequence[int], transform: Transform = "fourier", vanishing_moments: int = 1
) -> float:
    """Computes the number of samples for box k, up to one factor common to all boxes.

    For Haar wavelets it is :math:`\\mathcal M_\\mathcal F(s,\\mathbf k)` (Fourier) or
    :math:`\\mathcal M_\\mathcal W(s,\\mathbf k)` (Walsh) of Theorem 4 of Colbrook, Antun, Hansen (PNAS 2022). For
    Daubechies wavelets with v > 1 vanishing moments and Fourier samples it is the density of the authors' code,

    .. math:: \\sum_ls_l\\prod_i2^{-a_{il}|k_i-l|}\\;2^{-2v\\max(0,l-\\|\\mathbf k\\|_\\infty)},\\qquad
        a_{il}=2q_v+1\\ (k_i\\ge l),\\ 1\\ (k_i<l),

    where the Fourier transform of the scaling function decays as :math:`|\\omega|^{-(1+q_v)}`. For v = 1 this formula
    is :math:`\\mathcal M_\\mathcal F`, since :math:`q_1=0`. For v > 1 and Walsh samples the density is
    :math:`\\sum_ls_l\\prod_i2^{-|l-k_i|}`, also from their code. (Their code also doubles the value for boxes with some
    :math:`k_i=1`; these hold few samples, and the value is not doubled here.)

    Args:
        sparsities: :math:`s_1,\\dots,s_r`, one for each wavelet scale from the coarsest, the approximation merged with
            the first.
        box: :math:`\\mathbf k`, the number of the band on each axis, from 1.
        transform: ``fourier`` or ``walsh``.
        vanishing_moments: 1 (Haar) to 10.
    """
    top = max(box)
    if transform == "walsh" and vanishing_moments == 1:
        return sparsities[min(top, len(sparsities)) - 1] * math.prod(2.0 ** -(top - k) for k in box)
    total = 0.0
    q = _DECAY[vanishing_moments - 1]
    for level, s in enumerate(sparsities, start=1):
        if transform == "walsh":
            total += s * math.prod(2.0 ** -abs(k - level) for k in box)
            continue
        decay = math.prod(2.0 ** -((2 * q + 1) * (k - level) if k >= level else level - k) for k in box)
        total += s * decay * 2.0 ** (-2 * vanishing_moments * max(0, level - top))
    return total


def multilevel(
    shape: Sequence[int],
    rate: float | None = None,
    *,
    count: int | None = None,
    transform: Transform = "fourier",
    sparsities: Sequence[float] | None = None,
    vanishing_moments: int = 1,
    power: float = 2.0,
    full: int = 1,
    seed: int | torch.Generator = 0,
) -> Mask:
    """Draws a multilevel random mask with exactly the number of samples asked for.

    Args:
        shape: One to three sides (Walsh: powers of two).
        rate: The fraction of the grid to sample; give either this or ``count``.
        count: The number of samples.
        transform: ``fourier`` or ``walsh``.
        sparsities: Local sparsities, one for each wavelet scale from the coarsest, the first together with the
            approximation (``merged`` in :class:`.SparsityLevels`); scale l belongs to band l. The number of samples of
            a box is then proportional to :func:`theory_density`. None means a power law, which needs no knowledge of
            the image.
        power: Without ``sparsities`` the number of samples of a box is proportional to the sum of
            :math:`\\max(1,|f|)^{-power}` over its frequencies f, with the length :math:`|f|` as in
            :func:`variable_density`.
        vanishing_moments: The vanishing moments of the wavelet, used with ``sparsities``; 1 is Haar.
        full: Boxes whose band number is at most this on every axis are sampled fully; 1 is {0, 1} on each axis, and
            band k reaches frequency 2**(k-1), or Walsh sequency 2**k - 1.
        seed: A number, or a generator on the CPU.

    Raises:
        BadInput: For a count outside 1..N or below the size of the fully sampled boxes.

    >>> mask = multilevel((64, 64), 0.25, seed=1)
    >>> mask.count, mask.bands[1, 1]
    (1024, (4, 4))
    """
    shape, wanted = _checked(shape, rate, count, transform, power)
    if not 1 <= vanishing_moments <= len(_DECAY):
        raise BadInput("Between 1 and 10 vanishing moments", f"{vanishing_moments}", "Use 1 for Haar, N for dbN")
    axes = [frequency_bands(n, transform) for n in shape]
    tops = [int(b.max()) for b in axes]
    boxes = list(product(*(range(1, top + 1) for top in tops)))
    box_of = np.ravel_multi_index(np.meshgrid(*(b - 1 for b in axes), indexing="ij"), tops).ravel()
    sizes = np.bincount(box_of, minlength=len(boxes))
    if sparsities is None:
        density, parameters = np.zeros(len(boxes)), {"power": power}
        np.add.at(density, box_of, _power_law(shape, transform, power).ravel())
    else:
        if not sparsities or min(sparsities) < 0 or not all(map(math.isfinite, sparsities)):
            do = "Count them with SparsityLevels.from_image"
            raise BadInput("Sparsities zero or more, one for each scale", f"{list(sparsities)}", do)
        density = np.array([theory_density(sparsities, k, transform, vanishing_moments) for k in boxes])
        parameters = {"sparsities": list(sparsities), "vanishing_moments": vanishing_moments}
    forced = np.array([max(k) <= full for k in boxes])
    held = int(sizes[forced].sum())
    if held > wanted:
        do = "Ask for more samples or a smaller `full`"
        raise BadInput(f"At least the {held} samples of the fully sampled boxes", f"{wanted}", do)
    counts = np.where(forced, sizes, 0)
    counts[~forced] = _allot(density[~forced], sizes[~forced], wanted - held)
    generator, recorded = _generator(seed)
    samples = _draw(box_of, counts, generator).reshape(shape)
    recipe = {"kind": "multilevel", "shape": list(shape), "count": wanted, "transform": transform, "full": full}
    bands = {k: (int(m), int(n)) for k, m, n in zip(boxes, counts, sizes, strict=True)}
    return Mask(samples, bands, {**recipe, "seed": recorded, **parameters})


def variable_density(
    shape: Sequence[int],
    rate: float | None = None,
    *,
    count: int | None = None,
    transform: Transform = "fourier",
    power: float = 2.5,
    radius: float | None = None,
    seed: int | torch.Generator = 0,
) -> Mask:
    """Draws exactly the requested number of single frequencies, with a density that decreases with the frequency.

    Args:
        shape: One to three sides (Walsh: powers of two).
        rate: The fraction of the grid to sample; give either this or ``count``.
        count: The number of samples.
        transform: ``fourier`` or ``walsh``.
        power: Frequencies k are drawn without replacement, with probability proportional to
            :math:`\\max(1,|k|)^{-power}`.
        radius: Frequencies with :math:`|k|` at most this are all taken; None means the disc (ball) that holds a sixth
            of the samples. In the length :math:`|k|` the frequency of each axis is scaled by the ratio of the longest
            side to the side of that axis; the frequency of a Walsh sample is half its sequency.
        seed: A number, or a generator on the CPU.

    >>> variable_density((64, 64), 0.25).count
    1024
    """
    shape, wanted = _checked(shape, rate, count, transform, power)
    # |k|: the density is constant for |k| below one, the radius is not limited to one.
    distance = _distance(shape, transform).ravel()
    order = np.argsort(distance, kind="stable")
    if radius is None:
        radius = float(distance[order[max(wanted // 6, 1) - 1]])
    central = distance <= radius
    if not (radius >= 0 and int(central.sum()) <= wanted):
        got = f"radius={radius} with {int(central.sum())} of {wanted} samples in it"
        raise BadInput(f"A radius of zero or more, with at most {wanted} samples in it", got, "Leave radius out")
    generator, recorded = _generator(seed)
    taken = _weighted(distance, power, central, wanted, generator)
    recipe = {"kind": "variable density", "shape": list(shape), "count": wanted, "transform": transform, "power": power}
    return Mask(torch.from_numpy(taken.reshape(shape)), {}, {**recipe, "radius": radius, "seed": recorded})


def lines(
    shape: Sequence[int],
    acceleration: float,
    *,
    axis: int = 0,
    centre: int | None = None,
    power: float = 1.5,
    seed: int | torch.Generator = 0,
) -> Mask:
    """Draws full lines, as a Cartesian scanner acquires them: round(n / acceleration) of the n phase encodings.

    Args:
        shape: Two or three sides.
        acceleration: R >= 1.
        axis: The phase-encoding axis; lines are parallel to the other axes.
        centre: The number of lowest frequencies that are all taken; None means a third of the drawn lines.
        power: The other lines, at frequencies k, are drawn without replacement, with probability proportional to
            :math:`\\max(1,|k|)^{-power}`.
        seed: A number, or a generator on the CPU.
    """
    shape = _sides(shape)
    if not -len(shape) <= axis < len(shape):
        raise BadInput(f"A phase-encoding axis of a {len(shape)}-D image", f"{axis}", "Axes are counted from 0")
    if not (math.isfinite(acceleration) and acceleration >= 1):
        raise BadInput("An acceleration of 1 or more", f"{acceleration}", "3 keeps every third line on average")
    _check_power(power)
    n = shape[axis]
    wanted = max(1, round(n / acceleration))
    low = wanted // 3 if centre is None else centre
    if not 0 <= low <= wanted:
        raise BadInput(f"Between 0 and {wanted} central lines", f"{low}", "Leave centre out to take a third")
    frequency = np.abs(np.fft.fftfreq(n, 1 / n))
    generator, recorded = _generator(seed)
    central = np.argsort(frequency, kind="stable")[:low]
    taken = _weighted(frequency, power, central, wanted, generator)
    along = [1] * len(shape)
    along[axis] = n
    samples = torch.from_numpy(np.broadcast_to(taken.reshape(along), shape).copy())
    recipe = {"kind": "lines", "shape": list(shape), "acceleration": acceleration, "axis": axis, "lines": wanted}
    return Mask(samples, {}, {**recipe, "centre": low, "power": power, "seed": recorded, "transform": "fourier"})


def nested(mask: Tensor, rates: Sequence[float], *, power: float = 2.5, seed: int = 0) -> dict[float, Tensor]:
    """Draws masks of other rates, each contained in the next: samples are added to a mask or removed from it at random,
    low frequencies more likely added and high ones more likely removed.

    Args:
        mask: The mask, zero frequency in the corner.
        rates: Fractions of the grid.
        power: The density of the draw at frequency k is proportional to :math:`\\max(1,|k|)^{-power}`, with the
            frequencies of each axis scaled by the ratio of the longest side to the side of that axis.
        seed: Seed of the draw.
    """
    shape = tuple(mask.shape)
    distance = torch.from_numpy(_distance(shape, "fourier")).float().clamp(min=1)
    generator = torch.Generator().manual_seed(check_seed(seed))
    # Draws without replacement in the order of independent exponential variables, whose rates are the densities.
    clock = -torch.log(torch.rand(shape, generator=generator).clamp(min=1e-12)) * distance**power
    order = torch.from_numpy(np.lexsort((clock.flatten().numpy(), ~mask.flatten().numpy())))
    found = {}
    for rate in sorted(set(rates)):
        count = round(rate * mask.numel()) if math.isfinite(rate) else 0
        if not 1 <= count <= mask.numel():
            raise BadInput("Rates above 0 and at most 1", f"{rate}", "For example 0.1, 0.2, 0.4")
        taken = torch.zeros(mask.numel(), dtype=torch.bool)
        taken[order[:count]] = True
        found[rate] = taken.view(shape)
    return found


def local_coherences(
    shape: Sequence[int], transform: Transform = "fourier", wavelet: str = "haar"
) -> dict[tuple[tuple[int, ...], int], float]:
    """Computes the local coherences :math:`|B_\\mathbf k|\\max|U|^2` of each box and wavelet scale, from the dense
    matrix :math:`U=V\\Psi^*` of the Fourier or Walsh transform V and the wavelet transform :math:`\\Psi`.

    They serve to check the densities, for small sides only: the dense matrix has prod(shape)**2 entries.

    Returns:
        ``{(k, j): coherence}`` for boxes k and scales j = 1, 2, ... (the approximation merged with scale 1).
    """
    shape = _sides(shape)
    if math.prod(shape) > 4096:
        raise BadInput("At most 4096 pixels for the dense matrix", f"{math.prod(shape)}", "Use a smaller shape")
    everything = torch.ones(shape, dtype=torch.bool)
    sensing = SubsampledFourier(everything) if transform == "fourier" else SubsampledWalsh(everything)
    frame = Wavelet(shape, wavelet)
    energy = (sensing @ frame.H).as_matrix().abs().square().numpy()
    scale = np.maximum(frame.levels().numpy().ravel(), 1)
    axes = [frequency_bands(n, transform) for n in shape]
    rows = np.stack([g.ravel() for g in np.meshgrid(*axes, indexing="ij")], axis=1)
    result = {}
    for k in product(*(range(1, int(b.max()) + 1) for b in axes)):
        inside = energy[(rows == np.array(k)).all(axis=1)]
        for j in range(1, int(scale.max()) + 1):
            result[k, j] = float(len(inside) * inside[:, scale == j].max())
    return result


def _sides(shape: Sequence[int]) -> tuple[int, ...]:
    sides = tuple(int(n) for n in shape)
    if not 1 <= len(sides) <= 3 or min(sides) < 1:
        raise BadInput("One to three positive sides", f"{sides}", "Pass the shape of one image, e.g. (256, 256)")
    return sides


def _check_power(power: float) -> None:
    if not math.isfinite(power):
        raise BadInput("A finite power", f"{power}", "1.5 is usual for lines, 2 to 2.5 for single frequencies")


def _checked(
    shape: Sequence[int], rate: float | None, count: int | None, transform: Transform, power: float
) -> tuple[tuple[int, ...], int]:
    """Returns the sides and the number of samples.

    Raises:
        BadInput: For sides that do not suit the transform, or a power, rate or count out of range.
    """
    shape = _sides(shape)
    if transform == "walsh" and any(n & (n - 1) for n in shape):
        raise BadInput("A Walsh mask needs sides that are powers of two", f"{shape}", "Crop or pad the image")
    _check_power(power)
    size = math.prod(shape)
    if (rate is None) == (count is None):
        raise BadInput("Either a rate or a count", f"rate={rate}, count={count}", "Pass one of the two")
    wanted = count if count is not None else round(rate * size) if rate is not None and math.isfinite(rate) else 0
    if not 1 <= wanted <= size:
        got = f"{wanted} (rate={rate}, count={count})"
        raise BadInput(f"Between 1 and {size} samples", got, "Ask for a rate between 0 and 1, e.g. 0.25")
    return shape, wanted


def _distance(shape: tuple[int, ...], transform: Transform) -> NDArray[np.float64]:
    """Computes :math:`|k|`, the frequencies of each axis scaled by the ratio of the longest side to that axis."""
    longest = max(shape)
    square = np.zeros(shape)
    for axis, n in enumerate(shape):
        f = np.arange(n) / 2 if transform == "walsh" else np.fft.fftfreq(n, 1 / n)
        along = [1] * len(shape)
        along[axis] = n
        square = square + (f * (longest / n)).reshape(along) ** 2
    return np.sqrt(square)


def _power_law(shape: tuple[int, ...], transform: Transform, power: float) -> NDArray[np.float64]:
    """Computes :math:`\\max(1,|k|)^{-power}`."""
    return np.maximum(1.0, _distance(shape, transform)) ** -power


def _allot(density: NDArray[np.float64], sizes: NDArray[np.int64], wanted: int) -> NDArray[np.int64]:
    """Returns integers :math:`m_k\\le` sizes with sum ``wanted``, close to :math:`\\min(c\\cdot density,size)`.

    Boxes of density zero are filled last, in proportion to their sizes.
    """
    some = density > 0
    room = int(sizes[some].sum())
    if wanted > room:
        counts = np.where(some, sizes, 0)
        if not some.all():
            counts[~some] = _allot(sizes[~some].astype(float), sizes[~some], wanted - room)
        return counts
    weight = density / density.max() if some.any() else density
    with np.errstate(divide="ignore", over="ignore"):
        order = np.argsort(
            np.where(some, sizes / weight, np.inf), kind="stable"
        )  # the order in which boxes become full as c grows
    filled, left, c = 0, float(weight.sum()), 0.0
    for place, k in enumerate(order[: int(some.sum())], start=1):
        c = (wanted - filled) / left
        if c * weight[k] <= sizes[k]:
            break
        filled += int(sizes[k])
        left = float(weight[order[place:]].sum())
    ideal = np.minimum(c * weight, sizes)
    counts = np.minimum(np.floor(ideal).astype(np.int64), sizes)
    while (missing := wanted - int(counts.sum())) > 0:
        open_ = np.flatnonzero((counts < sizes) & some)
        counts[open_[np.argsort(counts[open_] - ideal[open_], kind="stable")][:missing]] += 1
    return counts


def _generator(seed: int | torch.Generator) -> tuple[torch.Generator, int]:
    """Returns a new generator and its seed, which the recipe records; a given generator draws the seed."""
    if isinstance(seed, torch.Generator):
        seed = int(torch.randint(2**62, (), generator=seed))
    seed = check_seed(int(seed))
    return torch.Generator().manual_seed(seed), seed


def _weighted(
    distance: NDArray[np.float64], power: float, central: NDArray[Any], wanted: int, generator: torch.Generator
) -> NDArray[np.bool_]:
    """Draws the wanted number of frequencies: the central ones, then others without replacement, with probabilities
    proportional to :math:`\\max(1,|k|)^{-power}`."""
    keys = -torch.rand(len(distance), generator=generator, dtype=torch.float64).numpy()
    # The smallest of independent exponential variables with rates p are a draw without replacement of probabilities p.
    waiting = -np.log1p(keys) * np.maximum(distance, 1) ** power
    waiting[central] = -1
    taken = np.zeros(len(distance), dtype=bool)
    taken[np.argsort(waiting, kind="stable")[:wanted]] = True
    return taken


def _draw(box_of: NDArray[np.int64], counts: NDArray[np.int64], generator: torch.Generator) -> Tensor:
    """Draws counts[k] members of each box k uniformly at random: the ones with the smallest random keys."""
    keys = torch.rand(len(box_of), generator=generator, dtype=torch.float64).numpy()
    order = np.lexsort((keys, box_of))
    first = np.searchsorted(box_of[order], np.arange(len(counts)))
    rank = np.arange(len(box_of)) - first[box_of[order]]
    samples = np.zeros(len(box_of), dtype=bool)
    samples[order] = rank < counts[box_of[order]]
    return torch.from_numpy(samples)
