"""Single-pixel cameras: orders of patterns, readings of the detector, and the doors."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import pywt
import torch
from numpy.typing import NDArray
from scipy.linalg import hadamard
from skimage import data
from sklearn.datasets import load_sample_images

import firenet
from firenet.camera import difference, find_order, place
from firenet.camera.numbers import pattern_numbers
from firenet.transforms.walsh import ORDERS, Order, WalshHadamard, sequency_positions
from laws import assert_refuses
from oracles import walsh

Array = NDArray[np.float64]
SHAPES = [(8, 8), (4, 16), (16,), (16, 1), (1, 8), (2, 4, 2), (1,)]


# --- the patterns, from their definitions -----------------------------------------------------------------------------


def changes(rows: Array) -> Array:
    return (np.diff(rows, axis=1) != 0).sum(axis=1)


def matrix(n: int, order: str) -> Array:
    """The Hadamard matrix in an order: scipy's, its rows by their sign changes, or Paley's products of Rademacher
    functions."""
    if order == "natural":
        return hadamard(n).astype(float)
    if order == "sequency":
        return hadamard(n).astype(float)[np.argsort(changes(hadamard(n)), kind="stable")]
    bits, pixel = n.bit_length() - 1, np.arange(n)
    rows = np.ones((n, n))
    for k, j in itertools.product(range(n), range(bits)):
        if k >> j & 1:  # the Rademacher function with 2^j periods
            rows[k] *= 1 - 2.0 * (pixel >> (bits - 1 - j) & 1)
    return rows


def patterns(shape: tuple[int, ...], order: str, flattened: bool) -> Array:
    """All patterns as rows over the image flattened row by row."""
    if flattened:
        return matrix(math.prod(shape), order)
    found: Any = np.ones((1, 1))
    for n in shape:
        found = np.kron(found, matrix(n, order))
    return found


def photograph(side: int, name: str = "camera") -> Array:
    pixels = getattr(pywt.data, name)().astype(float) / 255
    step = 512 // side
    return pixels[:512, :512].reshape(side, step, side, step).mean(axis=(1, 3))


def scene(shape: tuple[int, ...], seed: int = 0) -> Array:
    return np.random.default_rng(seed).random(shape) + 0.2


def agree(y: torch.Tensor, operator: firenet.LinearOperator, image: Array) -> None:
    """The measurements are those of the image: each is a sum of N products, whose rounding is below N u of the
    largest."""
    unit = float(torch.finfo(y.dtype).eps) * image.size * float(np.linalg.norm(image))
    torch.testing.assert_close(y.double(), operator(torch.from_numpy(image)), rtol=0, atol=unit)


@pytest.mark.parametrize("n", [1, 2, 4, 8, 64])
def test_the_matrices_are_what_their_names_say(n: int) -> None:
    assert np.array_equal(changes(matrix(n, "sequency")), np.arange(n))
    bits = n.bit_length() - 1
    reverse = [int(f"{k:0{bits}b}"[::-1], 2) if bits else 0 for k in range(n)]
    assert np.array_equal(matrix(n, "dyadic"), matrix(n, "natural")[reverse])


@pytest.mark.parametrize(("shape", "order", "flattened"), [*itertools.product(SHAPES, ORDERS, [False, True])])
def test_every_pattern_has_its_place(shape: tuple[int, ...], order: Order, flattened: bool) -> None:
    ours = np.ones((1, 1))
    for n in shape:
        ours = np.kron(ours, walsh(n) * math.sqrt(n))
    positions = sequency_positions(shape, order, flattened=flattened)
    # The entries of both are -1 and 1 up to the rounding of a square root.
    np.testing.assert_allclose(ours[positions.numpy()], patterns(shape, order, flattened), rtol=1e-14)
    assert positions.sort().values.tolist() == list(range(math.prod(shape)))


def test_natural_order_is_that_of_the_flattened_image_and_dyadic_order_has_its_axes_exchanged() -> None:
    for shape in [(8, 8), (4, 16), (2, 4, 8)]:
        flat = sequency_positions(shape, "natural", flattened=True)
        assert torch.equal(flat, sequency_positions(shape, "natural"))
        grid = sequency_positions(shape, "dyadic").view(shape)
        axes = tuple(range(len(shape)))[::-1]
        assert torch.equal(sequency_positions(shape, "dyadic", flattened=True), grid.permute(axes).flatten())


def test_orders_that_are_not_there() -> None:
    wrong: Any = "walsh"
    assert_refuses(lambda: sequency_positions((8, 8), wrong), "An order of Walsh patterns")
    for shape in [(8, 6), (0,), (), (2, 2, 2, 2)]:
        assert_refuses(lambda shape=shape: sequency_positions(shape, "natural"), "powers of two")


# --- readings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shape", "order", "flattened"), [*itertools.product(SHAPES[:3], ORDERS, [False, True])])
def test_lists_of_patterns_in_every_order_and_kind(shape: tuple[int, ...], order: Order, flattened: bool) -> None:
    image = scene(shape)
    rng = np.random.default_rng(1)
    index = np.append(0, 1 + rng.permutation(image.size - 1)[: image.size // 2])
    rng.shuffle(index)
    rows = patterns(shape, order, flattened)[index]
    signed, plus, minus = (r @ image.ravel() for r in (rows, (1 + rows) / 2, (1 - rows) / 2))
    kinds: list[tuple[Array, Any]] = [
        (signed, "signed"),
        (plus, "binary"),
        (np.stack([plus, minus], axis=1).ravel(), "interleaved"),
        (np.stack([plus, minus], axis=1), None),
        (np.concatenate([plus, minus]), "halves"),
        (np.stack([plus, minus]), None),
        (np.concatenate([plus, minus]), None),
    ]
    for values, readings in kinds:
        made = place(values, shape, index=index, order=order, flattened=flattened, readings=readings)
        assert made.operator.samples == len(index)
        assert not made.y.is_complex()
        agree(made.y, made.operator, image)
        assert (made.order, made.flattened) == (order, flattened)
    normal = place(signed / math.sqrt(image.size), shape, index=index, order=order, flattened=flattened,
                   normalisation="orthonormal", readings="signed")  # fmt: skip
    agree(normal.y, normal.operator, image)


@pytest.mark.parametrize("order", ORDERS)
def test_whole_grids_with_holes(order: Order) -> None:
    image = scene((4, 8))
    values = patterns((4, 8), order, flattened=False) @ image.ravel()
    holes = np.random.default_rng(2).random(32) < 0.4
    shown = np.flatnonzero(~holes)
    pairs = (image.sum() + values) / 2, (image.sum() - values) / 2
    for hole in (0.0, np.nan):
        given = np.where(holes, hole, values)
        halves = np.stack([np.where(holes, hole, p).reshape(4, 8) for p in pairs])
        columns = np.stack([h.ravel() for h in halves], axis=1)
        cases: list[tuple[Array, Any]] = [(given, "signed"), (given.reshape(4, 8), "signed"), (halves, None)]
        for grid, readings in [*cases, (columns, None), (halves.ravel(), "halves")]:
            made = place(grid, (4, 8), order=order, readings=readings)
            assert made.operator.samples == len(shown)
            assert any(f"{len(shown)} of 32" in note for note in made.notes)
            agree(made.y, made.operator, image)
    listed = place(values[shown], (4, 8), index=~holes, order=order, readings="signed")
    torch.testing.assert_close(listed.y, place(given, (4, 8), order=order, readings="signed").y, rtol=0, atol=0)
    complete = place(np.concatenate(pairs), (4, 8), order=order)
    assert complete.operator.samples == 32
    agree(complete.y, complete.operator, image)


def test_zeros_are_measurements_beside_nan_and_in_a_list() -> None:
    values = np.array([4.0, 0.0, np.nan, 1.0])
    assert place(values, (4,), readings="signed").operator.mask.tolist() == [True, True, False, True]
    assert place(values[:2], (4,), index=[0, 1]).operator.mask.tolist() == [True, True, False, False]


def test_numbers_of_axes_and_counted_from_one() -> None:
    image = scene((4, 8))
    values = patterns((4, 8), "dyadic", flattened=False) @ image.ravel()
    rows, columns = np.divmod(np.arange(32), 8)
    for index, notes in (
        (np.stack([rows, columns], axis=1), 0),
        (np.stack([rows, columns], axis=1) + 1, 1),
        (np.arange(32), 0),
        (np.arange(1, 33), 1),
        (np.arange(1.0, 33.0)[:, None], 1),  # as MATLAB stores them
        (np.arange(1, 33, dtype=np.uint16)[None], 1),
    ):
        made = place(values, (4, 8), index=index, order="dyadic")
        agree(made.y, made.operator, image)
        assert len(made.notes) == notes
        assert all("counted from 1" in note for note in made.notes)
    some = place(values[:20], (4, 8), index=np.arange(1, 21), order="dyadic", counted_from=1)
    agree(some.y, some.operator, image)


def test_repeated_patterns_are_averaged() -> None:
    made = place([8.0, 2.0, 4.0, 6.0], (4,), index=[0, 3, 3, 1], normalisation="orthonormal")
    assert made.y.tolist() == [8, 6, 0, 3]
    assert made.operator.samples == 3
    assert "1 patterns were measured more than once, up to 2 times" in made.notes[0]


def test_pairs_whose_numbers_are_listed_twice() -> None:
    image = scene((16,))
    rows = patterns((16,), "natural", flattened=False)
    plus, minus = (1 + rows) / 2 @ image, (1 - rows) / 2 @ image
    index = np.arange(16)
    for values, numbers in (
        (np.concatenate([plus, minus]), np.tile(index, 2)),
        (np.stack([plus, minus], axis=1).ravel(), np.repeat(index, 2)),
    ):
        made = place(values, (16,), index=numbers, order="natural", readings="complementary")
        agree(made.y, made.operator, image)
        assert_refuses(lambda v=values, n=numbers: place(v, (16,), index=n, order="natural"), "The kind of readings")
    once = np.concatenate([index, index[::-1]])
    assert_refuses(lambda: place(np.ones(32), (16,), index=once, readings="halves"), "Two readings for each")


def test_layouts_of_pairs_are_found_or_refused() -> None:
    rng = np.random.default_rng(3)
    plus = 100 + rng.standard_normal(50) * 10
    minus = 200 - plus + rng.standard_normal(50)
    for pairs, name in (
        (np.stack([plus, minus], 1).ravel(), "one after the other"),
        (np.r_[plus, minus], "two halves"),
    ):
        values, notes = difference(torch.from_numpy(pairs))
        np.testing.assert_array_equal(values.numpy(), plus - minus)
        assert name in notes[0]
    noise = torch.from_numpy(rng.standard_normal(100))
    assert_refuses(lambda: difference(noise), "whose pairs can be found")
    assert_refuses(lambda: difference(torch.zeros(100, dtype=torch.float64)), "whose pairs can be found")
    assert_refuses(lambda: difference(noise[:99]), "an even number")
    wrong: Any = "columns"
    assert_refuses(lambda: difference(noise, wrong), "A layout")
    assert difference(torch.tensor([3.0, 1.0]))[0].tolist() == [2]


def test_the_darker_pattern_first_is_found_by_pattern_0() -> None:
    image = scene((64,))
    rows = matrix(64, "sequency")
    plus, minus = (1 + rows) / 2 @ image, (1 - rows) / 2 @ image
    made = place(np.r_[minus, plus], (64,))
    agree(made.y, made.operator, image)
    assert "second reading" in made.notes[-1]
    kept = place(np.r_[minus, plus], (64,), readings="halves")
    agree(-kept.y, kept.operator, image)
    assert "negative" in kept.notes[-1]


def test_counts_of_unsigned_integers_are_subtracted() -> None:
    plus, minus = np.array([900, 10, 300], np.uint16), np.array([0, 890, 600], np.uint16)
    made = place(np.stack([plus, minus]), (4,), index=[0, 1, 2], readings="halves", normalisation="orthonormal")
    assert made.y.tolist() == [900, -880, -300, 0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_precision_and_scale(dtype: torch.dtype, scale: float) -> None:
    image = scene((8, 8))
    values = torch.from_numpy(patterns((8, 8), "natural", flattened=False) @ image.ravel())
    if dtype != torch.float16:
        values = values * scale
    made = place(values.to(dtype), (8, 8), order="natural")
    assert made.y.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    wanted = made.operator(torch.from_numpy(image)) * (1.0 if dtype == torch.float16 else scale)
    # Each value was rounded to its dtype, and the sums of the transform are of 64 products.
    unit = 64 * torch.finfo(dtype).eps * float(wanted.abs().max())
    torch.testing.assert_close(made.y.double(), wanted, rtol=0, atol=unit)


# --- doors ------------------------------------------------------------------------------------------------------------

GOOD: dict[str, Any] = {"values": np.arange(9.0) - 4, "shape": (4, 4), "index": np.arange(9)}
BINARY = (1 + hadamard(16)) / 2 @ scene((16,))


@pytest.mark.parametrize(
    ("change", "needed"),
    [
        ({"values": np.arange(9) + 1j}, "Real readings"),
        ({"values": np.append(np.arange(8.0), np.nan)}, "Finite readings"),
        ({"values": np.append(np.arange(8.0), np.inf)}, "Finite readings"),
        ({"values": np.arange(8.0)}, "9 readings, one for each number of a pattern, or two"),
        ({"values": np.arange(18.0).reshape(3, 6)}, "18 readings"),
        ({"values": np.zeros((9, 9))}, "9 readings"),
        ({"values": ["a"] * 9}, "Numbers for readings"),
        ({"values": [], "index": []}, "The numbers of the patterns"),
        ({"index": np.arange(9, 18)}, "from 0 to 15"),
        ({"index": np.arange(9) - 1}, "counted from 0"),
        ({"index": np.append(np.arange(8), 10**18)}, "from 0 to 15"),
        ({"index": np.append(np.arange(8), np.iinfo(np.int64).min)}, "counted from 0"),
        ({"index": np.append(np.arange(8), 16)}, "from 0 or from 1"),
        ({"index": np.arange(9) + 0.5}, "Whole numbers"),
        ({"index": np.append(np.arange(8.0), np.nan)}, "Whole numbers"),
        ({"index": np.zeros((3, 3), int)}, "The numbers of the patterns"),
        ({"index": np.ones(9, bool)}, "Booleans for all 16"),
        ({"index": np.zeros(16, bool)}, "some true"),
        ({"index": np.arange(9), "counted_from": 1}, "counted from 1"),
        ({"counted_from": 2}, "counted from 0 or 1"),
        ({"shape": (4, 5)}, "powers of two"),
        ({"order": "hadamard"}, "An order of Walsh patterns"),
        ({"readings": "pairs"}, "A kind of readings"),
        ({"normalisation": "none"}, "A normalisation"),
        ({"readings": "binary"}, "sums of light"),
        ({"readings": "binary", "index": np.arange(1, 10)}, "Pattern 0, all ones"),
        ({"readings": "halves", "values": np.arange(18.0).reshape(9, 2)}, "Readings of pairs: halves"),
        ({"readings": "interleaved"}, "Two readings for each"),
        ({"index": None}, "16 readings, of all patterns"),
        ({"index": None, "values": np.zeros(16)}, "At least one reading"),
        ({"index": None, "values": np.full(16, np.nan)}, "At least one reading"),
        ({"index": None, "values": np.append(np.arange(31.0), np.nan)}, "The layout of pairs"),
        ({"index": None, "values": BINARY, "order": "natural"}, "Signed readings"),
        ({"index": np.arange(1, 10), "values": np.append(40.0, np.arange(8.0))}, "Patterns counted from 0"),
        ({"values": (np.arange(9) - 4) * 1e38, "dtype": torch.float32}, "in the range of their dtype"),
    ],
)
def test_readings_that_are_refused(change: dict[str, Any], needed: str) -> None:
    given = GOOD | change
    if "dtype" in given:
        given["index"] = np.zeros(9, int)
        values = torch.full((9, 2), 3e38, dtype=given.pop("dtype")) * torch.tensor([1.0, -1.0])
        given |= {"values": values, "normalisation": "orthonormal"}
    assert_refuses(lambda: place(**given), needed)


def test_binary_patterns_that_are_said_to_be_signed_are_believed() -> None:
    made = place(BINARY, (16,), order="natural", readings="signed")
    assert made.y.abs().sum() * 4 == pytest.approx(BINARY.sum(), rel=1e-14)
    found = place(BINARY, (16,), order="natural", readings="binary")
    agree(found.y, found.operator, scene((16,)))


def test_columns_of_numbers_are_read_in_their_order() -> None:
    numbers, notes = pattern_numbers(torch.tensor([[1, 2], [0, 3]]), (2, 4))
    assert (numbers.tolist(), notes) == ([6, 3], [])
    assert pattern_numbers(torch.tensor([[5, 2]]), (2, 4))[0].tolist() == [5, 2]


# --- the order, found -------------------------------------------------------------------------------------------------

CANDIDATES: list[tuple[Order, bool]] = [("sequency", False), ("sequency", True), ("natural", False), ("dyadic", False)]


def photographs(side: int) -> dict[str, Array]:
    """Photographs and other images that come with libraries of the tests, reduced to a side."""
    samples = load_sample_images().images
    grey = {name: getattr(pywt.data, name)().astype(float) for name in ("camera", "ascent", "aero")}
    grey |= {n: np.asarray(getattr(data, n)()).astype(float) for n in ("coins", "moon", "chelsea", "coffee", "brick")}
    grey |= {f"sample {k}": image.astype(float) for k, image in enumerate(samples)}
    found = {}
    for name, image in grey.items():
        plane = image if image.ndim == 2 else image.mean(axis=2)
        step = min(plane.shape) // side
        found[name] = plane[: side * step, : side * step].reshape(side, step, side, step).mean(axis=(1, 3))
    return found


@pytest.mark.parametrize(("noise", "share", "least"), [(0.0, 1.0, 1.0), (0.05, 1.0, 0.9), (0.05, 0.25, 0.7)])
def test_the_order_of_photographs_is_found_or_said_to_be_unclear(noise: float, share: float, least: float) -> None:
    """Never another order; and how often one is found at all, at 64 x 64."""
    rng, tried, unclear = np.random.default_rng(4), 0, list[str]()
    for image in photographs(64).values():
        values = WalshHadamard((64, 64))(torch.from_numpy(image)).flatten()
        size = noise * float(values.norm()) / 64
        values = values + size * torch.from_numpy(rng.standard_normal(4096))
        for order, flattened in CANDIDATES:
            positions = sequency_positions((64, 64), order, flattened=flattened)
            low = np.argsort(positions.numpy() // 64 + positions.numpy() % 64, kind="stable")[: int(2048 * share)]
            rest = rng.permutation(np.setdiff1d(np.arange(4096), low))[: int(4096 * share) - len(low)]
            index = torch.from_numpy(rng.permutation(np.concatenate([low, rest])))
            tried += 1
            try:
                found = find_order(values[positions[index]], index, (64, 64))
            except firenet.BadInput as error:
                unclear.append(error.needed)
                continue
            assert (found.order, found.flattened) == (order, flattened)
            assert order in found.evidence
    assert all("show the order" in needed for needed in unclear)
    assert len(unclear) <= (1 - least) * tried


@pytest.mark.parametrize(
    ("shape", "m"), [((16, 16), 256), ((32, 32), 100), ((64, 64), 4096), ((64,), 64), ((8, 16), 40)]
)
def test_white_noise_has_no_order(shape: tuple[int, ...], m: int) -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        index = rng.permutation(math.prod(shape))[:m]
        values = rng.standard_normal(m)
        assert_refuses(lambda v=values, k=index: find_order(v, k, shape), "Measurements that show the order")


@pytest.mark.parametrize("order", ORDERS)
def test_stripes_and_ramps_are_refused(order: Order) -> None:
    """They have few coefficients, and are as smooth in other orders."""
    y, x = np.mgrid[:32, :32]
    for image in (x // 4 % 2, (x // 4 + y // 4) % 2, x + 2 * y, x // 7):
        values = patterns((32, 32), order, flattened=False) @ image.ravel()
        assert_refuses(lambda v=values: find_order(v, np.arange(1024), (32, 32)), "8 or more measurements")


def test_sides_that_differ_tell_flattened_dyadic_order() -> None:
    image = photograph(64)[:32]
    for order, flattened in [*CANDIDATES, ("dyadic", True)]:
        values = patterns((32, 64), order, flattened) @ image.ravel()
        made = place(values, (32, 64), order=None)
        assert (made.order, made.flattened) == (order, flattened)
        assert "not mirrored" not in made.notes[-1]
        agree(made.y, made.operator, image)
    assert (
        "not mirrored"
        in find_order(matrix(1024, "natural") @ photograph(32).ravel(), np.arange(1024), (32, 32)).evidence
    )


def test_the_answer_does_not_depend_on_unit_or_shuffle() -> None:
    values, index = matrix(1024, "natural") @ photograph(32).ravel(), np.arange(1024)
    found = find_order(values, index, (32, 32))
    assert found.order == "natural"
    other = np.random.default_rng(5).permutation(1024)
    for scale in (1e-200, 1e200):
        again = find_order(values[other] * scale, other, (32, 32))
        assert again.order == "natural"
    said = find_order(values, index, (32, 32), flattened=True)
    assert (said.order, said.flattened) == ("natural", True)
    assert set(said.smoothness) == {"sequency (flattened)", "natural", "dyadic (flattened)"}


@pytest.mark.parametrize(
    ("values", "index", "needed"),
    [
        (np.ones(4) * 1j, np.arange(4), "Finite real"),
        (np.array([1, np.nan]), np.arange(2), "Finite real"),
        (np.ones(4), np.arange(3), "Finite real"),
        (np.ones(4), np.arange(4.0), "Integer numbers"),
        (np.ones(2), np.array([0, 64]), "Integer numbers"),
        (np.ones(1), np.array([0]), "other patterns than 0"),
        (np.zeros(3), np.arange(3), "other patterns than 0"),
        (np.ones(2), np.array([0, 1]), "8 or more measurements that show"),
    ],
)
def test_values_without_an_order(values: Any, index: Any, needed: str) -> None:
    assert_refuses(lambda: find_order(values, index, (8, 8)), needed)


# --- reconstruction ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_real_readings_make_real_images(dtype: torch.dtype, noise: float) -> None:
    image = photograph(32)
    mask = firenet.sensing.multilevel((32, 32), 0.3, transform="walsh", seed=0)
    index = np.random.default_rng(6).permutation(np.flatnonzero(mask.samples.numpy().ravel()))
    readings = patterns((32, 32), "sequency", flattened=False)[index] @ image.ravel()
    size = noise * np.linalg.norm(readings) / math.sqrt(len(readings))
    readings = readings + size * np.random.default_rng(7).standard_normal(len(readings))
    made = place(torch.from_numpy(readings).to(dtype), (32, 32), index=index)
    assert torch.equal(made.operator.mask, mask.samples)
    solution = firenet.reconstruct(made.y, made.operator, tolerance=1e-2)
    assert solution.image.dtype == dtype
    assert float(solution.relative_gap) <= 1e-2
    plain = firenet.psnr(made.operator.adjoint(made.y), torch.from_numpy(image))
    assert firenet.psnr(solution.image, torch.from_numpy(image)) > plain
    chosen = firenet.choose(made.y, made.operator, sparsify="tv", reweight=0)
    assert chosen.held_out > 0
