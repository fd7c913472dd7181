"""levels: counting large coefficients scale by scale, weights, and the defect against brute force."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from numpy.typing import NDArray
from torch import Tensor

from draws import normal, permutation
from firenet.sparsity import Approximation, SparsityLevels, defect
from firenet.transforms.analysis_operator import TightFrame
from firenet.transforms.walsh import WalshHadamard
from firenet.transforms.wavelet import Wavelet
from laws import Probe, assert_refuses, random_states


def image_with(frame: TightFrame, large: Sequence[int], *, dtype: torch.dtype = torch.float64) -> Tensor:
    """An image with exactly so many coefficients of modulus 1 in each level of the frame, the others zero."""
    level = frame.levels().flatten()
    c = torch.zeros(level.numel(), dtype=dtype)
    rng = np.random.default_rng(0)
    for k, s in enumerate(large):
        places = torch.nonzero(level == k).flatten()
        chosen = places[permutation(len(places), seed=rng)[:s]]
        sign = normal(s, dtype=dtype, seed=rng)
        c[chosen] = sign / sign.abs()
    return frame.adjoint(c.reshape(frame.out_shape))


# --- the record


def test_fields_become_tuples_of_integers() -> None:
    sizes: Any = np.array([4, 12])
    levels = SparsityLevels(sizes, [np.int64(2), 3])  # pyright: ignore[reportArgumentType]
    assert levels == SparsityLevels((4, 12), (2, 3))
    assert levels.sizes == (4, 12)
    assert all(type(n) is int for n in levels.sizes + levels.sparsities)
    assert levels.total == 5
    assert hash(levels) == hash(SparsityLevels((4, 12), (2, 3)))


@pytest.mark.parametrize(
    ("sizes", "sparsities", "word"),
    [
        ((), (), "0 sizes"),
        ((4,), (1, 1), "1 sizes and 2"),
        ((4, 4), (1,), "2 sizes and 1"),
        ((4, 4), (1, 0), "level 1"),
        ((4, 4), (5, 1), "level 0"),
        ((4, 4), (-1, 1), "-1"),
        ((0,), (0,), "level 0"),
    ],
)
def test_refuses_sparsities_that_do_not_fit(sizes: tuple[int, ...], sparsities: tuple[int, ...], word: str) -> None:
    assert_refuses(lambda: SparsityLevels(sizes, sparsities), word)


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 50)), min_size=1, max_size=9))
def test_recommended_weights_make_kappa_the_number_of_levels(pairs: list[tuple[int, int]]) -> None:
    s = [a for a, _ in pairs]
    levels = SparsityLevels(tuple(a + more for a, more in pairs), tuple(s))
    w = levels.weights()
    assert w.shape == (len(s),)
    assert w == pytest.approx([math.sqrt(sum(s) / sk) for sk in s], rel=1e-14)
    xi = sum(wk**2 * sk for wk, sk in zip(w, s, strict=True))
    zeta = min(wk**2 * sk for wk, sk in zip(w, s, strict=True))
    assert xi == pytest.approx(len(s) * sum(s), rel=1e-12)
    assert xi / zeta == pytest.approx(len(s), rel=1e-12)


# --- counting


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize(
    ("shape", "wavelet", "large"),
    [
        ((64,), "haar", [1, 1, 2, 3, 4, 5, 6]),
        ((16, 16), "db2", [2, 7, 31]),
        ((16, 16), "haar", [1, 3, 12, 48, 192]),  # everything is large
        ((8, 8, 8), "haar", [1, 2, 9, 40]),
    ],
)
def test_counts_the_large_coefficients(shape: tuple[int, ...], wavelet: str, large: list[int], dtype: Any) -> None:
    frame = Wavelet(shape, wavelet)
    image = image_with(frame, large, dtype=dtype)
    sizes = torch.bincount(frame.levels().flatten()).tolist()
    states = random_states()
    # A coefficient is 1 of sum(large): a share between the last but one and all needs every one of them.
    share = 1 - 0.5 / sum(large)
    separate = SparsityLevels.from_image(image, frame, share=share)
    assert separate == SparsityLevels(tuple(sizes), tuple(large))
    merged = SparsityLevels.from_image(image, frame, share=share, approximation="merged")
    assert merged.sizes == (sizes[0] + sizes[1], *sizes[2:])
    assert merged.sparsities == (large[0] + large[1], *large[2:])
    assert random_states() == states


def test_works_for_walsh_and_for_padded_frames() -> None:
    walsh = WalshHadamard((8, 8))
    found = SparsityLevels.from_image(image_with(walsh, [2, 3, 5]), walsh, share=0.99)
    assert found == SparsityLevels((4, 12, 48), (2, 3, 5))
    padded = Wavelet((13, 9), "haar", 2)
    found = SparsityLevels.from_image(torch.ones(13, 9), padded)
    assert sum(found.sizes) == 16 * 12
    flat = SparsityLevels.from_image(torch.ones(5), Wavelet((5,), "haar", 0), share=1.0)
    assert flat == SparsityLevels((5,), (5,))
    assert SparsityLevels.from_image(torch.ones(5), Wavelet((5,), "haar", 0), share=1.0, approximation="merged") == flat


def test_one_wavelet_level_is_two_levels_or_one() -> None:
    frame = Wavelet((16,), "haar", 1)
    image, level = image_with(frame, [2, 3]), frame.levels()
    assert SparsityLevels.from_image(image, frame) == SparsityLevels((8, 8), (2, 3))
    merged = SparsityLevels.from_image(image, frame, approximation="merged")
    assert merged == SparsityLevels((16,), (5,))
    assert np.array_equal(merged.spread([4.0], level), np.full(16, 4.0))
    assert defect(np.arange(16), level, merged) == sum(range(11))


def test_a_level_without_large_coefficients_counts_one() -> None:
    frame = Wavelet((64,), "haar", 3)
    found = SparsityLevels.from_image(image_with(frame, [4, 0, 3, 0]), frame)
    assert found.sparsities == (4, 1, 3, 1)
    assert np.isfinite(found.weights()).all()
    assert SparsityLevels.from_image(torch.zeros(64), frame).sparsities == (1, 1, 1, 1)


@given(
    exponents=st.lists(st.integers(-8, 0), min_size=8, max_size=8),
    share=st.sampled_from([1e-6, 0.1, 0.5, 0.9, 0.99, 0.999, 1.0]),
    approximation=st.sampled_from(["separate", "merged"]),
    scale=st.sampled_from([1e-20, 1.0, 1e20]),
)
def test_share_is_that_of_the_fewest_coefficients(
    exponents: list[int], share: float, approximation: Approximation, scale: float
) -> None:
    level = np.array([0, 0, 1, 1, 2, 2, 2, 2])
    c = scale * np.array([(-1) ** i * 2.0**e for i, e in enumerate(exponents)])
    found = SparsityLevels.from_coefficients(c, level, share=share, approximation=approximation)
    names = level if approximation == "separate" else np.maximum(level - 1, 0)
    order = sorted(range(8), key=lambda i: -abs(c[i]))
    energy = float((c**2).sum())
    kept = next(m for m in range(1, 9) if math.fsum(c[i] ** 2 for i in order[:m]) >= share * energy * (1 - 1e-15))
    expected = [max(1, sum(int(names[i]) == k for i in order[:kept])) for k in range(int(names.max()) + 1)]
    assert found.sparsities == tuple(expected)
    assert found.sizes == tuple(np.bincount(names))


def test_a_larger_share_never_counts_less() -> None:
    frame = Wavelet((32, 32), "db2")
    image = Probe(torch.float64).draw((32, 32)).cumsum(0).cumsum(1)
    shares = [0.1, 0.5, 0.9, 0.99, 0.999, 0.999999, 1.0]
    counts = [SparsityLevels.from_image(image, frame, share=share).sparsities for share in shares]
    for fewer, more in itertools.pairwise(counts):
        assert all(a <= b for a, b in zip(fewer, more, strict=True))
    assert sum(counts[0]) < sum(counts[-1])


def test_takes_images_with_gradients_and_in_single_precision() -> None:
    frame = Wavelet((16,), "haar")
    image = image_with(frame, [1, 1, 1, 2, 3])
    expected = SparsityLevels.from_image(image, frame)
    assert SparsityLevels.from_image(image.float().requires_grad_(), frame) == expected
    assert SparsityLevels.from_image(image.to(torch.complex64), frame) == expected


@pytest.mark.parametrize("share", [0.0, -0.1, 1.1, math.nan, math.inf])
def test_refuses_shares(share: float) -> None:
    assert_refuses(lambda: SparsityLevels.from_coefficients([1.0], [0], share=share), str(share))


def test_refuses_batches_and_numbers_that_are_not_finite() -> None:
    frame = Wavelet((8,), "haar")
    assert_refuses(lambda: SparsityLevels.from_image(torch.ones(2, 8), frame), "one image", "16")
    for bad in (math.nan, math.inf):
        assert_refuses(lambda v=bad: SparsityLevels.from_coefficients([1.0, v], [0, 0]), "NaN")


# --- spreading


def test_spread_writes_one_value_a_level() -> None:
    frame = Wavelet((8, 8), "haar", 2)
    level = frame.levels().numpy()
    separate = SparsityLevels((4, 12, 48), (1, 1, 1)).spread([10, 20, 30], level)
    assert separate.shape == (8, 8)
    assert separate.dtype == np.float64
    assert np.array_equal(separate, np.array([10.0, 20.0, 30.0])[level])
    merged = SparsityLevels((16, 48), (1, 1)).spread([10, 30], level)
    assert np.array_equal(merged, np.where(level == 2, 30.0, 10.0))
    assert np.array_equal(SparsityLevels((16, 48), (1, 1)).spread([10, 30], frame.levels()), merged)


def test_spread_of_the_weights_has_xi_as_its_weighted_count() -> None:
    frame = Wavelet((16, 16), "haar")
    image = Probe(torch.float64).draw((16, 16))
    conventions: tuple[Approximation, ...] = ("separate", "merged")
    for approximation in conventions:
        levels = SparsityLevels.from_image(image, frame, share=0.5, approximation=approximation)
        w = levels.spread(levels.weights(), frame.levels())
        assert len(levels.sizes) == 5 - (approximation == "merged")
        values, counts = np.unique(w, return_counts=True)
        expected: dict[float, int] = {}
        for value, n in zip(levels.weights(), levels.sizes, strict=True):
            expected[value] = expected.get(value, 0) + n
        assert dict(zip(values, counts, strict=True)) == expected


@pytest.mark.parametrize("sizes", [(4, 12, 47), (4, 12), (16,), (64,), (4, 12, 48, 192), (16, 47), (48, 16)])
def test_spread_refuses_the_levels_of_another_transform(sizes: tuple[int, ...]) -> None:
    levels = SparsityLevels(sizes, (1,) * len(sizes))
    level = Wavelet((8, 8), "haar", 2).levels()
    assert_refuses(lambda: levels.spread(np.ones(len(sizes)), level), str(sizes))


def test_index_counts_as_the_levels_do() -> None:
    level = Wavelet((8, 8), "haar", 2).levels()
    assert np.array_equal(SparsityLevels((4, 12, 48), (1, 1, 1)).index(level), level.numpy())
    assert np.array_equal(SparsityLevels((16, 48), (1, 1)).index(level), level.sub(1).clamp(min=0).numpy())
    assert_refuses(lambda: SparsityLevels((16, 47), (1, 1)).index(level), "(16, 47)", "(16, 48)")
    assert_refuses(lambda: SparsityLevels((4,), (1,)).index(np.zeros(0, dtype=np.int64)), "(4,)")


@pytest.mark.parametrize("values", [[1.0], [1.0, 2.0, 3.0], []])
def test_spread_refuses_another_number_of_values(values: list[float]) -> None:
    assert_refuses(lambda: SparsityLevels((2, 2), (1, 1)).spread(values, [0, 0, 1, 1]), str(len(values)))


# --- the defect


def smallest_rest(c: NDArray[Any], level: NDArray[Any], s: Sequence[int], w: Sequence[float]) -> float:
    """The infimum over all supports with at most s_k indices in level k, one by one."""
    per_level = []
    for k, sk in enumerate(s):
        places = [i for i in range(len(c)) if level[i] == k]
        subsets = itertools.chain.from_iterable(itertools.combinations(places, m) for m in range(sk + 1))
        per_level.append(min(sum(w[k] * abs(c[i]) for i in places if i not in subset) for subset in subsets))
    return sum(per_level)


@given(data=st.data(), complex_=st.booleans(), seed=st.integers(0, 99))
def test_defect_is_the_smallest_rest(data: st.DataObject, complex_: bool, seed: int) -> None:
    sizes = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    s = [data.draw(st.integers(1, n)) for n in sizes]
    weights = data.draw(st.none() | st.lists(st.floats(0.1, 9), min_size=len(sizes), max_size=len(sizes)))
    random = np.random.default_rng(seed)
    level = random.permutation(np.repeat(np.arange(len(sizes)), sizes))
    c = random.standard_normal(len(level)) + complex_ * 1j * random.standard_normal(len(level))
    levels = SparsityLevels(tuple(sizes), tuple(s))
    w = levels.weights().tolist() if weights is None else weights
    expected = smallest_rest(c, level, s, w)
    assert defect(c, level, levels, weights) == pytest.approx(expected, rel=1e-12, abs=1e-15)


def test_defect_of_a_sparse_signal_is_zero() -> None:
    frame = Wavelet((16, 16), "haar")
    large = [1, 2, 3, 9, 20]
    image = image_with(frame, large)
    level = frame.levels()
    levels = SparsityLevels((1, 3, 12, 48, 192), tuple(large))
    assert defect(frame(image), level, levels) < 1e-12
    fewer = SparsityLevels(levels.sizes, (1, 2, 3, 9, 19))
    assert defect(frame(image), level, fewer) == pytest.approx(math.sqrt(34 / 19), rel=1e-12)


def test_defect_merges_the_approximation_where_the_levels_do() -> None:
    level = Wavelet((8,), "haar").levels()  # 0, 1, 2, 2, 3, 3, 3, 3
    c = np.array([5.0, 4, 3, 2, 1, 1, 1, 1])
    assert defect(c, level, SparsityLevels((1, 1, 2, 4), (1, 1, 1, 1)), [1, 10, 100, 1000]) == 200 + 3000
    assert defect(c, level, SparsityLevels((2, 2, 4), (1, 1, 1)), [1, 10, 100]) == 4 + 20 + 300


def test_defect_takes_images_of_coefficients() -> None:
    frame = Wavelet((8, 8), "db2", 1)
    c = Probe(torch.complex128).draw((8, 8))
    levels = SparsityLevels((16, 48), (3, 5))
    found = defect(c, frame.levels(), levels)
    size, level = c.abs().numpy().ravel(), frame.levels().numpy().ravel()
    rest = [np.sort(size[level == k])[:-s].sum() for k, s in enumerate((3, 5))]
    assert found == pytest.approx(math.sqrt(8 / 3) * rest[0] + math.sqrt(8 / 5) * rest[1], rel=1e-12)


@pytest.mark.parametrize("sizes", [(4, 12, 47), (4, 12), (16,), (64,), (16, 47), (48, 16), (1, 1, 1)])
def test_defect_refuses_the_levels_of_another_transform(sizes: tuple[int, ...]) -> None:
    # Levels that are not there would be left out of the sum: a defect too small, a bound that does not hold.
    levels = SparsityLevels(sizes, (1,) * len(sizes))
    level = Wavelet((8, 8), "haar", 2).levels()
    assert_refuses(lambda: defect(torch.ones(8, 8), level, levels), str(sizes))


def test_defect_refuses_other_numbers_of_weights_and_coefficients() -> None:
    levels = SparsityLevels((2, 2), (1, 1))
    for weights in ([1.0], [1.0, 2.0, 3.0]):
        assert_refuses(lambda w=weights: defect([1, 2, 3, 4], [0, 0, 1, 1], levels, w), str(len(weights)))
    assert_refuses(lambda: defect([1, 2, 3], [0, 0, 1, 1], levels), "3")
    for bad in (math.nan, math.inf, complex(0, math.nan)):
        assert_refuses(lambda v=bad: defect([1, v, 3, 4], [0, 0, 1, 1], levels), "Finite coefficients", "NaN")
