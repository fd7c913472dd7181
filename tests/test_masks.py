"""Masks: exact counts in every band, masks that can be made again, densities against the theory's own formulas."""

from __future__ import annotations

import itertools
import json
import math
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from cases import TRANSFORMS, Shape
from firenet.sensing.masks import (
    Mask,
    Transform,
    _allot,
    frequency_bands,
    lines,
    local_coherences,
    multilevel,
    nested,
    theory_density,
    variable_density,
)
from laws import assert_refuses, random_states
from oracles import band_of, boxes, frequencies

SHAPES: list[Shape] = [
    (1,),
    (2,),
    (7,),
    (64,),
    (101,),
    (16, 16),
    (13, 17),
    (1, 9),
    (64, 6),
    (230, 180),
    (5, 6, 7),
    (8, 8, 8),
    (2, 1, 3),
]


def m_fourier(s: Sequence[float], k: Sequence[int]) -> float:
    """Theorem 4, Fourier, as the theory has it."""
    r, top = len(s), max(k)
    low = sum(s[j - 1] * math.prod(2.0 ** -abs(ki - j) for ki in k) for j in range(1, top + 1) if j <= r)
    high = sum(
        s[j - 1] * 2.0 ** (-2 * (j - top)) * math.prod(2.0 ** -abs(ki - j) for ki in k) for j in range(top + 1, r + 1)
    )
    return low + high


def m_walsh(s: Sequence[float], k: Sequence[int]) -> float:
    top = max(k)
    return s[top - 1] * math.prod(2.0 ** -abs(ki - top) for ki in k)


Q = [0, 0.339, 0.636, 0.913, 1.177, 1.432, 1.682, 1.927, 2.168, 2.406]


def code_density(s: Sequence[float], k: Sequence[int], vm: int) -> float:
    """The two-dimensional Fourier density of the authors' code (theory.md 3.7), without the doubled boxes."""
    k1, k2 = sorted(k)
    q, total = Q[vm - 1], 0.0
    for level, sl in enumerate(s, start=1):
        if level <= k1:
            exponent = -(2 * q + 1) * (k1 - level) - (2 * q + 1) * (k2 - level)
        elif level <= k2:
            exponent = -(level - k1) - (2 * q + 1) * (k2 - level)
        else:
            exponent = -(level - k1) - (2 * vm + 1) * (level - k2)
        total += sl * 2.0**exponent
    return total


# --- bands


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7, 8, 13, 16, 64, 100, 101, 128, 255, 256, 257])
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_bands_are_the_sets_of_the_theory(transform: Transform, n: int) -> None:
    found = frequency_bands(n, transform)
    assert found.shape == (n,)
    assert found.tolist() == band_of(n, transform)
    assert set(found.tolist()) == set(range(1, found.max() + 1))  # none is empty


@pytest.mark.parametrize("r", [1, 2, 3, 5, 10, 16, 20])
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_bands_of_a_power_of_two_have_the_sizes_of_the_scales(transform: Transform, r: int) -> None:
    sizes = np.bincount(frequency_bands(2**r, transform))[1:]
    assert sizes.tolist() == [2] + [2 ** (k - 1) for k in range(2, r + 1)]


def test_bands_count_on_up_to_large_sides() -> None:
    # The logarithm must not slip at a power of two.
    n = 2**20
    f = np.array(frequencies(n))
    found = frequency_bands(n)
    for k in range(2, 21):
        assert found[f == 2 ** (k - 1)] == k
        assert found[f == -(2 ** (k - 1)) + 1] == k
        assert k == 20 or found[f == 2 ** (k - 1) + 1] == k + 1
        assert k == 20 or found[f == -(2 ** (k - 1))] == k + 1


# --- densities


S = st.lists(st.floats(0, 1000), min_size=1, max_size=9)


@given(s=S, data=st.data())
def test_density_is_that_of_theorem_4(s: list[float], data: st.DataObject) -> None:
    d = data.draw(st.integers(1, 3))
    k = data.draw(st.tuples(*[st.integers(1, len(s))] * d))
    assert theory_density(s, k) == pytest.approx(m_fourier(s, k), rel=1e-12, abs=1e-300)
    assert theory_density(s, k, "walsh") == pytest.approx(m_walsh(s, k), rel=1e-12, abs=1e-300)


@pytest.mark.parametrize("vm", range(1, 11))
def test_density_for_more_vanishing_moments_is_that_of_the_code(vm: int) -> None:
    s = [4, 12, 48, 50, 100, 100]
    for k in itertools.product(range(1, 7), repeat=2):
        assert theory_density(s, k, vanishing_moments=vm) == pytest.approx(code_density(s, k, vm), rel=1e-12)
        if vm > 1:
            walsh = sum(sl * math.prod(2.0 ** -abs(level - ki) for ki in k) for level, sl in enumerate(s, 1))
            assert theory_density(s, k, "walsh", vm) == pytest.approx(walsh, rel=1e-12)


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("s", [[4, 12, 48, 50, 100, 100], [1], [0, 0, 7], [3, 1, 4, 1, 5, 9, 2, 6]])
def test_totals_of_the_densities(s: list[int], d: int) -> None:
    everywhere = list(itertools.product(range(1, len(s) + 1), repeat=d))
    for transform, factor in zip(TRANSFORMS, (3, 2), strict=True):
        total = math.fsum(theory_density(s, k, transform) for k in everywhere)
        assert total <= factor**d * sum(s)
        assert total >= sum(s) * 0.99  # the box (j, ..., j) alone has s_j


def test_density_is_linear_in_the_sparsities() -> None:
    for transform, vm in itertools.product(TRANSFORMS, (1, 4)):
        a, b = (theory_density(s, (2, 3), transform, vm) for s in ([1, 2, 3, 4], [4, 0, 1, 7]))
        both = theory_density([5, 2, 4, 11], (2, 3), transform, vm)
        assert both == pytest.approx(a + b, rel=1e-13)


def test_walsh_density_beyond_the_last_scale_uses_the_last() -> None:
    assert theory_density([2, 5], (4, 3), "walsh") == 5 / 2


# --- how samples are shared out


def ideal_shares(density: list[float], sizes: list[int], wanted: int) -> list[Fraction]:
    """min(c density, size) with sum ``wanted``, in exact arithmetic; boxes without density get what is left over."""
    exact, shares = [Fraction(v) for v in density], [Fraction(0)] * len(sizes)
    free = {i for i, v in enumerate(exact) if v > 0}
    left = Fraction(min(wanted, sum(sizes[i] for i in free)))
    while free:
        c = left / sum(exact[i] for i in free)
        full = {i for i in free if c * exact[i] >= sizes[i]}
        for i in full:
            shares[i] = Fraction(sizes[i])
            left -= sizes[i]
        free -= full
        if not full:
            for i in free:
                shares[i] = c * exact[i]
            break
    return shares


def assert_well_shared(counts: Sequence[int], density: list[float], sizes: list[int], wanted: int) -> None:
    assert sum(counts) == wanted
    assert all(0 <= m <= n for m, n in zip(counts, sizes, strict=True))
    positive = [i for i, v in enumerate(density) if v > 0]
    if wanted >= sum(sizes[i] for i in positive):
        assert all(counts[i] == sizes[i] for i in positive)
        rest = [i for i in range(len(sizes)) if i not in positive]
        if rest:  # boxes without density are filled last, in proportion to their sizes
            over = wanted - sum(sizes[i] for i in positive)
            members = [sizes[i] for i in rest]
            assert_well_shared([counts[i] for i in rest], [float(n) for n in members], members, over)
        return
    assert all(counts[i] == 0 for i in range(len(sizes)) if i not in positive)
    ideal = [float(v) for v in ideal_shares(density, sizes, wanted)]
    away = [m - v for m, v in zip(counts, ideal, strict=True)]
    assert all(abs(a) < 1 + 1e-9 * n for a, n in zip(away, sizes, strict=True))
    # No sample can be moved so that the sum of squares falls: (a - 1)^2 + (b + 1)^2 >= a^2 + b^2.
    more = [a for a, m in zip(away, counts, strict=True) if m > 0]
    less = [a for i, a in enumerate(away) if counts[i] < sizes[i] and density[i] > 0]
    if more and less:
        assert max(more) - min(less) <= 1 + 1e-9 * max(sizes)


DENSITY = st.one_of(st.just(0.0), st.floats(1e-6, 1e6), st.sampled_from([1.0, 2.0, 0.5]))


@settings(max_examples=300)
@given(
    shares=st.lists(st.tuples(DENSITY, st.integers(1, 10**6)), min_size=1, max_size=9),
    part=st.fractions(0, 1),
)
def test_samples_are_shared_as_near_to_the_density_as_can_be(shares: list[tuple[float, int]], part: Fraction) -> None:
    density, sizes = [d for d, _ in shares], [n for _, n in shares]
    wanted = round(part * sum(sizes))
    counts = _allot(np.array(density), np.array(sizes), wanted)
    assert_well_shared(counts.tolist(), density, sizes, wanted)


@pytest.mark.parametrize(
    ("density", "sizes", "wanted", "counts"),
    [
        ([1, 1, 1], [9, 9, 9], 6, [2, 2, 2]),
        ([1, 2, 3], [9, 9, 9], 12, [2, 4, 6]),
        ([3, 1, 1], [2, 9, 9], 10, [2, 4, 4]),
        ([1, 0, 1], [4, 9, 4], 8, [4, 0, 4]),
        ([1, 0], [4, 9], 13, [4, 9]),
        ([5, 1], [4, 4], 0, [0, 0]),
        ([0.3, 0.3, 0.4], [9, 9, 9], 1, [0, 0, 1]),
    ],
)
def test_shares_in_small_cases(density: list[float], sizes: list[int], wanted: int, counts: list[int]) -> None:
    assert _allot(np.array(density, dtype=float), np.array(sizes), wanted).tolist() == counts


@pytest.mark.parametrize("wanted", [0, 1, 5, 16])
def test_shares_where_nothing_has_density(wanted: int) -> None:
    counts = _allot(np.zeros(3), np.array([4, 4, 8]), wanted)
    assert_well_shared(counts.tolist(), [0.0, 0.0, 0.0], [4, 4, 8], wanted)


# --- multilevel masks


def check_mask(mask: Mask, shape: Shape, transform: Transform, wanted: int, full: int) -> None:
    """All that a multilevel mask promises."""
    assert mask.samples.shape == shape
    assert mask.samples.dtype == torch.bool
    assert mask.count == wanted == int(mask.samples.sum())
    assert mask.rate == wanted / math.prod(shape)
    expected = boxes(shape, transform)
    assert set(mask.bands) == set(expected)
    for k, members in expected.items():
        inside = sum(bool(mask.samples[index]) for index in members)
        assert mask.bands[k] == (inside, len(members))
        assert max(k) > full or inside == len(members)


@pytest.mark.parametrize("rate", [0.03, 0.2, 0.25, 0.5, 0.77, 0.999, 1.0])
@pytest.mark.parametrize("shape", [s for s in SHAPES if math.prod(s) < 2000])
def test_mask_has_the_samples_it_promises(shape: Shape, rate: float) -> None:
    size = math.prod(shape)
    wanted = round(rate * size)
    transforms = TRANSFORMS if all(n & (n - 1) == 0 for n in shape) else TRANSFORMS[:1]
    for transform, full in itertools.product(transforms, (0, 1, 2)):
        held = sum(len(v) for k, v in boxes(shape, transform).items() if max(k) <= full)
        for sparsities in (None, [4, 12, 48, 50], [1.5]):

            def make(t: Transform = transform, f: int = full, s: Any = sparsities) -> Mask:
                return multilevel(shape, rate, transform=t, full=f, sparsities=s, seed=3)

            if wanted < max(1, held):
                assert_refuses(make, str(wanted))
            else:
                check_mask(make(), shape, transform, wanted, full)


@pytest.mark.parametrize("shape", SHAPES)
def test_every_count_can_be_had(shape: Shape) -> None:
    size = math.prod(shape)
    for count in {1, 2, size // 3, size // 2 + 1, size - 1, size} - {0}:
        if count <= size:
            assert multilevel(shape, count=count, full=0).count == count
    assert multilevel(shape, count=size, full=0).samples.all()
    assert multilevel(shape, 1.0, full=99).samples.all()


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize(
    "sparsities", [[1, 0], [0, 1], [0, 0, 5], [0, 5, 0], [1, 0, 0, 0, 0], [0, 3, 0, 7, 0, 0], [0, 0, 0]]
)
def test_bands_without_density_are_filled_last(sparsities: list[int], transform: Transform, seed: int) -> None:
    shape = (32, 32)
    sizes = {k: len(v) for k, v in boxes(shape, transform).items()}
    free = [k for k in sizes if max(k) > 1]
    density = [theory_density(sparsities, k, transform) for k in free]
    for rate in (0.01, 0.3, 0.6, 0.8, 0.9, 0.99, 1.0):
        mask = multilevel(shape, rate, sparsities=sparsities, transform=transform, seed=seed)
        assert mask.count == round(rate * 1024)
        if any(density):
            counts = [mask.bands[k][0] for k in free]
            assert_well_shared(counts, density, [sizes[k] for k in free], mask.count - 4)


def test_count_of_a_large_mask_with_empty_bands() -> None:
    # Almost all samples are in bands without density: whatever stands for "none" there must not cost digits.
    for rate in (0.5, 0.8, 0.95):
        mask = multilevel((1024, 1024), rate, transform="walsh", sparsities=[0, 5, 0])
        assert mask.count == round(rate * 1024**2)


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("rate", [0.1, 0.3, 0.7])
def test_counts_follow_the_density(transform: Transform, rate: float) -> None:
    shape, s = (64, 64), [4, 12, 48, 50, 100, 100]
    reference = m_walsh if transform == "walsh" else m_fourier
    mask = multilevel(shape, rate, sparsities=s, transform=transform)
    free = [k for k in mask.bands if max(k) > 1]
    counts, sizes = [mask.bands[k][0] for k in free], [mask.bands[k][1] for k in free]
    assert_well_shared(counts, [reference(s, k) for k in free], sizes, mask.count - 4)


@pytest.mark.parametrize("power", [0.0, 1.0, 2.0, 3.5])
@pytest.mark.parametrize("shape", [(50,), (32, 32), (24, 12), (8, 8, 8)])
def test_counts_follow_the_power_law(shape: Shape, power: float) -> None:
    mask = multilevel(shape, 0.3, power=power)
    free = [k for k in mask.bands if max(k) > 1]
    stretch = [max(shape) / n for n in shape]
    density = []
    for k in free:
        members = boxes(shape, "fourier")[k]
        far = [
            math.hypot(*(np.fft.fftfreq(n, 1 / n)[i] * t for n, i, t in zip(shape, index, stretch, strict=True)))
            for index in members
        ]
        # Proportional to the mean over the box: so many samples as the sum.
        density.append(math.fsum(max(1.0, f) ** -power for f in far))
    held = sum(m for k, (m, _) in mask.bands.items() if max(k) <= 1)
    counts, sizes = [mask.bands[k][0] for k in free], [mask.bands[k][1] for k in free]
    assert_well_shared(counts, density, sizes, mask.count - held)


def test_no_power_is_uniform_and_a_large_one_is_low_pass() -> None:
    flat, steep = multilevel((64,), 0.5, power=0.0, full=0), multilevel((64,), 0.5, power=30.0, full=0)
    assert all(m == n / 2 for m, n in flat.bands.values())
    assert [m for m, _ in steep.bands.values()] == [2, 2, 4, 8, 16, 0]


def test_samples_are_uniform_in_each_box() -> None:
    shape, draws = (8, 8), 600
    hits = np.zeros(shape)
    for seed in range(draws):
        hits += multilevel(shape, 0.5, full=0, power=1.5, seed=seed).samples.numpy()
    mask = multilevel(shape, 0.5, full=0, power=1.5)
    inner = 0
    for k, members in boxes(shape, "fourier").items():
        m, n = mask.bands[k]
        p, found = m / n, np.array([hits[index] for index in members])
        inner += 0 < m < n
        assert np.abs(found - p * draws).max() <= 4.5 * math.sqrt(draws * p * (1 - p))
    assert inner >= 3


def test_samples_in_a_box_are_independent_of_each_other() -> None:
    # Two of four: each of the six pairs as often as any other.
    pairs = Counter(
        tuple(multilevel((8,), count=4, full=0, power=0.0, seed=seed).samples[[3, 4, 5, 6]].tolist())
        for seed in range(1200)
    )
    assert all(sum(pair) == 2 for pair in pairs)
    assert len(pairs) == 6
    assert all(abs(n - 200) < 4.5 * math.sqrt(1200 * 5 / 36) for n in pairs.values())


@pytest.mark.parametrize(
    "make",
    [
        lambda s: multilevel((32, 32), 0.3, seed=s),
        lambda s: variable_density((32, 32), 0.3, seed=s),
        lambda s: lines((64, 8), 4, seed=s),
    ],
)
def test_seeds(make: Any) -> None:
    states = random_states()
    masks = [make(seed) for seed in range(20)]
    assert random_states() == states
    for seed, mask in enumerate(masks):
        assert make(seed).samples.equal(mask.samples)
    assert len({mask.samples.numpy().tobytes() for mask in masks}) == 20
    torch.manual_seed(5)
    assert make(7).samples.equal(masks[7].samples)
    torch.manual_seed(6)
    assert make(7).samples.equal(masks[7].samples)


def test_a_generator_is_used_and_moves_on() -> None:
    one, two = torch.Generator().manual_seed(1), torch.Generator().manual_seed(1)
    states = random_states()
    first, second = multilevel((32, 32), 0.3, seed=one), multilevel((32, 32), 0.3, seed=one)
    assert random_states() == states
    assert not first.samples.equal(second.samples)
    assert multilevel((32, 32), 0.3, seed=two).samples.equal(first.samples)
    assert multilevel((32, 32), 0.3, seed=two).samples.equal(second.samples)


# --- recipes


def remade(recipe: Any) -> Mask:
    """A mask from its recipe, after a journey through JSON."""
    recipe = json.loads(json.dumps(dict(recipe)))
    kind = recipe.pop("kind")
    if kind == "multilevel":
        return multilevel(**recipe)
    if kind == "variable density":
        return variable_density(**recipe)
    assert kind == "lines"
    number, _ = recipe.pop("lines"), recipe.pop("transform")
    mask = lines(**recipe)
    assert mask.recipe["lines"] == number
    return mask


RECIPES: list[Any] = [
    lambda s: multilevel((33, 20), 0.3, seed=s),
    lambda s: multilevel((32, 16), 0.3, transform="walsh", power=1.0, full=2, seed=s),
    lambda s: multilevel((32, 32), 0.3, sparsities=(4, 12, 48, 50, 100), seed=s),
    lambda s: multilevel((32,), count=11, sparsities=[1.5, 2.5], vanishing_moments=4, seed=s),
    lambda s: multilevel((8, 8, 8), count=100, transform="walsh", sparsities=[1, 2, 3], full=0, seed=s),
    lambda s: variable_density((33, 20), 0.3, seed=s),
    lambda s: variable_density((16, 8), count=11, transform="walsh", power=1.0, radius=0, seed=s),
    lambda s: lines((64, 32), 4, seed=s),
    lambda s: lines((8, 64, 32), 3.5, axis=-2, centre=4, power=0.5, seed=s),
]


@pytest.mark.parametrize("make", RECIPES)
def test_recipe_makes_the_mask_again(make: Any) -> None:
    used = torch.Generator().manual_seed(4)
    torch.rand(3, generator=used)
    for seed in (0, 12345, torch.Generator().manual_seed(4), used):
        mask = make(seed)
        again = remade(mask.recipe)
        assert again.samples.equal(mask.samples)
        assert again.bands == mask.bands
        assert again.recipe == mask.recipe


# --- the record


def test_centred_moves_zero_frequency_to_the_middle() -> None:
    for shape in [(7,), (8,), (5, 6), (3, 4, 5)]:
        mask = multilevel(shape, 0.5, seed=1)
        assert mask.samples[(0,) * len(shape)]
        centred = mask.centred()
        assert centred[tuple(n // 2 for n in shape)]
        assert np.array_equal(centred.numpy(), np.fft.fftshift(mask.samples.numpy()))
        assert not centred.equal(mask.samples)


def test_sequencies_have_no_middle() -> None:
    mask = multilevel((8, 8), 0.5, transform="walsh")
    assert mask.centred().equal(mask.samples)


def test_a_mask_from_elsewhere_counts_too() -> None:
    mask = Mask(torch.tensor([True, False, False, True]))
    assert (mask.count, mask.rate) == (2, 0.5)
    assert mask.centred().tolist() == [False, True, True, False]


# --- refusals


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({}, "rate=None, count=None"),
        ({"rate": 0.5, "count": 9}, "count=9"),
        ({"rate": 0.0}, "rate=0.0"),
        ({"rate": -0.5}, "rate=-0.5"),
        ({"rate": 1.5}, "rate=1.5"),
        ({"rate": math.nan}, "rate=nan"),
        ({"rate": math.inf}, "rate=inf"),
        ({"rate": 0.0001}, "0 (rate"),
        ({"count": 0}, "count=0"),
        ({"count": -3}, "count=-3"),
        ({"count": 257}, "257"),
        ({"count": 3}, "4 samples"),
        ({"rate": 0.1, "full": 3}, "64 samples"),
        ({"rate": 0.5, "vanishing_moments": 0}, "vanishing moments"),
        ({"rate": 0.5, "vanishing_moments": 11}, "vanishing moments"),
        ({"rate": 0.5, "sparsities": []}, "Sparsities"),
        ({"rate": 0.5, "sparsities": [1, -1]}, "-1"),
        ({"rate": 0.5, "sparsities": [1, math.nan]}, "nan"),
        ({"rate": 0.5, "sparsities": [math.inf]}, "inf"),
        ({"rate": 0.5, "power": math.nan}, "nan"),
    ],
)
def test_multilevel_refuses(arguments: dict[str, Any], word: str) -> None:
    assert_refuses(lambda: multilevel((16, 16), **arguments), word)


@pytest.mark.parametrize("shape", [(32, 32), (8, 64), (64, 8), (4, 8, 32)])
def test_nested_masks_prefer_low_frequencies_on_every_axis(shape: Shape) -> None:
    # For so large a power the order is that of the frequencies but for a factor: times of n exponential variables are
    # within n^2 of each other but with probability 1 / n, and the root of order 20 of that is at most 2.
    mask = torch.zeros(shape, dtype=torch.bool)
    mask[tuple(n // 2 for n in shape)] = True  # its own time is the largest of all
    drawn = nested(mask, (0.3,), power=20.0)[0.3] & ~mask
    axes = [np.fft.fftfreq(n, 1 / n) * (max(shape) / n) for n in shape]
    distance = np.sqrt(sum(g**2 for g in np.meshgrid(*axes, indexing="ij")))
    assert distance[drawn.numpy()].max() <= 2 * distance[~(drawn | mask).numpy()].min()


@pytest.mark.parametrize("shape", [(), (0,), (4, -1), (2, 2, 2, 2)])
def test_masks_refuse_shapes(shape: Shape) -> None:
    assert_refuses(lambda: multilevel(shape, 0.5), "sides", str(shape))
    assert_refuses(lambda: variable_density(shape, 0.5), "sides", str(shape))
    assert_refuses(lambda: lines(shape, 2), "sides", str(shape))
    assert_refuses(lambda: local_coherences(shape), "sides", str(shape))


def test_walsh_masks_need_powers_of_two() -> None:
    assert_refuses(lambda: multilevel((16, 12), 0.5, transform="walsh"), "powers of two", "(16, 12)")
    assert_refuses(lambda: variable_density((16, 12), 0.5, transform="walsh"), "powers of two", "(16, 12)")
    multilevel((16, 12), 0.5)
    variable_density((16, 12), 0.5)
