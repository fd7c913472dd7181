"""sampling: what each box of a mask needs by the sampling theorem, against the formula written a second time."""

from __future__ import annotations

import json
import math
from collections import Counter
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

from firenet.guarantees.sampling import band_samples, recalled_logarithms
from firenet.sensing.masks import Transform, local_coherences, multilevel, theory_density
from firenet.sparsity import SparsityLevels
from laws import assert_refuses
from oracles import boxes

NUMBERS: dict[str, float] = {"constant": 0.5, "logarithms": 3.0, "kappa": 2.0, "failure": 0.01}
FACTOR = 0.5 * 2.0 * (3.0 + math.log(100))
TRANSFORMS: tuple[Transform, ...] = ("fourier", "walsh")


def scales(d: int, sparsities: tuple[int, ...]) -> SparsityLevels:
    sizes = [2 ** (d * j) for j in range(1, len(sparsities) + 1)]
    return SparsityLevels(tuple(n - m for n, m in zip(sizes, [0, *sizes], strict=False)), sparsities)


def density(s: tuple[int, ...], k: tuple[int, ...], transform: Transform) -> float:
    """M(s, k) as theory.md 3.6 has it."""
    top = max(k)
    if transform == "walsh":
        return s[top - 1] * math.prod(2.0 ** -abs(ki - top) for ki in k)
    near = sum(s[j - 1] * math.prod(2.0 ** -abs(ki - j) for ki in k) for j in range(1, top + 1))
    far = range(top + 1, len(s) + 1)
    return near + sum(s[j - 1] * 2.0 ** (-2 * (j - top)) * math.prod(2.0 ** -abs(ki - j) for ki in k) for j in far)


# The sides are large enough for the formula's factors instead of the dense matrix, but for d = 1.
CASES = [(1, (2, 1, 3, 5)), (2, (4, 3, 20, 50, 60)), (3, (8, 30, 100, 20))]


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize(("d", "s"), CASES)
def test_samples_are_those_of_the_formula(d: int, s: tuple[int, ...], transform: Transform) -> None:
    shape = (2 ** len(s),) * d
    mask = multilevel(shape, 0.3, transform=transform, seed=1).samples
    found = band_samples(shape, scales(d, s), transform, mask=mask, **NUMBERS)
    grid = boxes(shape, transform)
    assert {box.box for box in found.boxes} == set(grid)
    taken = mask.numpy()
    for box in found.boxes:
        assert box.density == pytest.approx(density(s, box.box, transform), rel=1e-12)
        assert box.needed == pytest.approx(FACTOR * box.density, rel=1e-12)
        assert box.size == len(grid[box.box])
        assert box.samples == sum(bool(taken[place]) for place in grid[box.box])
        assert box.samples is not None
        assert box.enough == (box.samples >= box.needed or box.samples == box.size)
    assert found.density == pytest.approx(sum(density(s, k, transform) for k in grid))
    assert found.density <= (3 if transform == "fourier" else 2) ** d * sum(s)
    assert found.needed == pytest.approx(sum(min(box.needed, box.size) for box in found.boxes))
    assert set(found.lacking) == {box for box in found.boxes if not box.enough}
    assert found.rescaling == pytest.approx(
        max(math.sqrt(b.size / b.samples) if b.samples else math.inf for b in found.boxes)
    )


@given(st.integers(1, 3), st.data())
def test_totals_are_bounded_by_the_sparsities(d: int, data: st.DataObject) -> None:
    r = data.draw(st.integers(1, {1: 12, 2: 8, 3: 5}[d]))
    most = [min(2 ** (d * j) - (2 ** (d * (j - 1)) if j > 1 else 0), 1000) for j in range(1, r + 1)]
    s = tuple(data.draw(st.integers(1, m)) for m in most)
    grid = list(product(range(1, r + 1), repeat=d))
    assert sum(theory_density(s, k, "fourier") for k in grid) <= 3**d * sum(s)
    assert sum(theory_density(s, k, "walsh") for k in grid) <= 2**d * sum(s)


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("shape", [(16,), (8, 8), (4, 4, 4)])
def test_small_sides_have_the_local_coherences(shape: tuple[int, ...], transform: Transform) -> None:
    r = shape[0].bit_length() - 1
    found = band_samples(shape, scales(len(shape), (2,) * r), transform, **NUMBERS)
    assert found.coherences == "local coherences"
    known = local_coherences(shape, transform)
    for box in found.boxes:
        assert box.coherence == tuple(known[box.box, j] for j in range(1, r + 1))
        factors = [density(tuple(int(i == j) for i in range(r)), box.box, transform) for j in range(r)]
        for j, (true, factor) in enumerate(zip(box.coherence, factors, strict=True), start=1):
            if transform == "walsh" and j != max(box.box):
                assert true < 1e-28  # block-diagonal: a box sees its own scale alone
                assert factor == 0
            else:  # theory.md 3.6 measured 1 to 4 for Walsh, 0.17 to 9.8 for Fourier
                assert 0.1 * factor <= true <= 16 * factor * (1 + 1e-12)  # 16 is attained, up to rounding


def test_large_sides_have_the_factors_of_the_density() -> None:
    s = (4, 12, 30, 40, 50)
    found = band_samples((32, 32), scales(2, s), "fourier", **NUMBERS)
    assert found.coherences == "factors of the density"
    for box in found.boxes:
        assert math.fsum(f * n for f, n in zip(box.coherence, s, strict=True)) == pytest.approx(box.density)
        assert box.samples is None
        assert not box.enough
    assert found.rescaling == math.inf
    assert len(found.lacking) == len(found.boxes) == 25


def test_the_record_names_its_numbers_and_quotes_nothing() -> None:
    found = band_samples((16,), scales(1, (2, 1, 1, 1)), "walsh", **NUMBERS)
    record = json.loads(json.dumps(found.record(), allow_nan=False))
    assert {name: record[name] for name in NUMBERS} == NUMBERS
    assert "not quoted" in record["assumption"]
    assert "0.5 * 2 * M(s, k) * (3 + log(1 / 0.01))" in record["assumption"]
    assert record["rescaling"] is None
    assert Counter(len(box["local_coherences"]) for box in record["boxes"]) == {4: 4}


def test_recalled_logarithms() -> None:
    levels = scales(2, (4, 6, 10))
    expected = 2 * 9 * math.log(2 * 40) * math.log(20 * math.log(64)) ** 2
    assert recalled_logarithms((8, 8), levels, 40) == pytest.approx(expected)
    assert_refuses(lambda: recalled_logarithms((8, 8), levels, 0), "sample")


def test_refuses_what_the_theorem_is_not_about() -> None:
    levels = scales(2, (4, 6, 10))

    def call(shape: Any = (8, 8), given: SparsityLevels = levels, transform: Any = "fourier", **changes: Any) -> object:
        return band_samples(shape, given, transform, **{**NUMBERS, **changes})

    call()
    for shape in ((8, 4), (12, 12), (), (8,) * 4, (1, 1)):
        assert_refuses(lambda s=shape: call(s), "equal sides", str(shape))
    separate = SparsityLevels((1, 3, 12, 48), (1, 3, 6, 10))
    assert_refuses(lambda: call(given=separate), "merged", "(1, 3, 12, 48)")
    assert_refuses(lambda: call(transform="radon"), "radon")
    bad: list[tuple[str, float]] = [("constant", 0), ("logarithms", -1), ("kappa", 0.5), ("constant", math.inf)]
    for name, number in [*bad, ("kappa", math.nan)]:
        assert_refuses(lambda n=name, v=number: call((8, 8), levels, "fourier", **{n: v}), f"{name}={number}")
    for failure in (0, -0.1, 1.1, math.nan):
        assert_refuses(lambda f=failure: call(failure=f), "failure", str(failure))
    assert_refuses(lambda: call(mask=np.ones((8, 4))), "(8, 4)")
