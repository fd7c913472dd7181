"""Non-Cartesian MRI: the operator against explicit sums, its norm against the SVD, and what is refused."""

from __future__ import annotations

import copy
import io
import math
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from draws import normal, uniform
from firenet import check_adjoint
from firenet.errors import MissingExtra
from firenet.operators import Weighted
from firenet.sensing import (
    MultiCoilFourier,
    NonuniformFourier,
    SubsampledFourier,
    density_compensation,
    radial,
    spiral,
)
from firenet.sensing.plans import entry_error
from laws import (
    Probe,
    assert_adjoint,
    assert_batch_is_loop,
    assert_jvp_is_forward,
    assert_linear,
    assert_loads,
    assert_moves,
    assert_pure,
    assert_refuses,
    assert_restricts,
    assert_state_dtype,
    assert_survives,
    assert_vjp_is_adjoint,
    largest_singular_value,
    norm,
    probes,
)

SHAPES = [(7,), (8,), (6, 5), (5, 8), (4, 5, 6), (3, 3, 2)]
shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)
coils = pytest.mark.parametrize("coils", [0, 1, 3])


def points(shape: tuple[int, ...], *samples: int, seed: int = 0) -> Tensor:
    """Frequencies at random, with the ends of the range and zero among them."""
    k = uniform(*samples, len(shape), dtype=torch.float64, seed=seed) - 0.5
    k.view(-1, len(shape))[0] = 0.5
    k.view(-1, len(shape))[-1] = -0.5
    k.view(-1, len(shape))[1] = 0
    return k


def coil_maps(shape: tuple[int, ...], coils: int, seed: int = 5) -> Tensor | None:
    return normal(coils, *shape, dtype=torch.complex128, seed=seed) if coils else None


def made(
    shape: tuple[int, ...], coils: int = 0, *samples: int, dtype: torch.dtype = torch.complex128, **more: Any
) -> NonuniformFourier:
    maps = coil_maps(shape, coils)
    maps = None if maps is None else maps.to(dtype.to_complex())
    return NonuniformFourier(points(shape, *(samples or (4, 6))), shape, maps, **more)


def dense(operator: NonuniformFourier, weights: Tensor | None = None) -> Tensor:
    """The matrix by explicit exponentials, with rows times the roots of weights."""
    shape = operator.in_shape
    places = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) - n // 2 for n in shape), indexing="ij")
    r = torch.stack([place.flatten() for place in places])
    k = operator.trajectory.double().flatten(0, -2)
    matrix = torch.exp(-2j * math.pi * (k @ r)) / math.sqrt(math.prod(shape))
    if operator.maps is not None:
        matrix = torch.cat([matrix * one.to(torch.complex128).flatten() for one in operator.maps])
    if weights is not None:
        matrix = matrix * weights.broadcast_to(operator.out_shape).flatten().sqrt()[:, None]
    return matrix


def allowed(operator: NonuniformFourier, dtype: torch.dtype) -> float:
    """The Frobenius norm of an error of each entry, and some roundings of sums."""
    accuracy = 1e-6 if dtype == torch.complex64 else 1e-12
    size = largest_singular_value(dense(operator))
    terms = math.sqrt(math.prod(operator.out_shape) + math.prod(operator.in_shape))
    level = 1.0 if operator.maps is None else operator.maps.abs().max().item()
    return entry_error(operator.in_shape, dtype, accuracy) * terms * level + 8 * torch.finfo(dtype).eps * terms * size


# --- the sums


@shapes
@coils
@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128], ids=str)
def test_sums_are_those_of_explicit_exponentials(shape: tuple[int, ...], coils: int, dtype: torch.dtype) -> None:
    a = made(shape, coils, dtype=dtype)
    matrix, limit = dense(a), allowed(a, dtype)
    x, y = normal(2, *shape, dtype=dtype, seed=1), normal(2, *a.out_shape, dtype=dtype, seed=2)
    forth, back = a(x), a.adjoint(y)
    assert forth.dtype == back.dtype == dtype
    assert forth.shape == (2, *a.out_shape)
    wide = x.to(torch.complex128).flatten(1) @ matrix.mT
    assert norm(forth.to(torch.complex128).flatten(1) - wide) <= limit * norm(x)
    narrow = y.to(torch.complex128).flatten(1) @ matrix.conj()
    assert norm(back.to(torch.complex128).flatten(1) - narrow) <= limit * norm(y)


@pytest.mark.parametrize("shape", [(9,), (6, 7)], ids=str)
@pytest.mark.parametrize("coils", [0, 2])
def test_on_the_grid_it_is_the_fourier_transform(shape: tuple[int, ...], coils: int) -> None:
    axes = [(torch.arange(n, dtype=torch.float64) - n // 2) / n for n in shape]
    k = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    maps, mask = coil_maps(shape, coils), torch.ones(shape)
    cartesian = SubsampledFourier(mask, centred=True) if maps is None else MultiCoilFourier(mask, maps, centred=True)
    a = NonuniformFourier(k, shape, maps)
    x = normal(*shape, dtype=torch.complex128, seed=3)
    assert norm(a(x) - cartesian(x)) <= allowed(a, torch.complex128) * norm(x)
    assert a.gain == pytest.approx(cartesian.gain, rel=1e-14)
    assert largest_singular_value(dense(a)) <= a.norm_bound.value


LAWS = [
    assert_adjoint,
    assert_batch_is_loop,
    assert_jvp_is_forward,
    assert_linear,
    assert_pure,
    assert_restricts,
    assert_state_dtype,
    assert_survives,
    assert_vjp_is_adjoint,
]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@coils
def test_laws(law: Any, coils: int) -> None:
    for probe in probes():
        law(made((5, 6), coils, dtype=probe.dtype), probe)


@coils
def test_casts_and_state_dicts(coils: int) -> None:
    # An accuracy of the order of rounding, which these laws allow for.
    for shape in ((7,), (4, 5)):
        a = made(shape, coils, accuracy=1e-14)
        assert_moves(a, dense(a), Probe())
        other = NonuniformFourier(points(shape, 4, 6, seed=9), shape, coil_maps(shape, coils, 8), accuracy=1e-14)
        assert_loads(a, other, Probe())


def test_second_derivatives_of_real_images() -> None:
    a = made((3, 4), 2)
    x = normal(3, 4, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(a, (x,))
    assert torch.autograd.gradgradcheck(lambda v: a(v).abs().pow(4).sum(), (x,))
    assert a(x).is_complex()


def test_maps_may_be_learned() -> None:
    a = made((4, 4), 2)
    assert a.maps is not None
    a.maps.requires_grad_()
    a(normal(4, 4, dtype=torch.complex128)).abs().square().sum().backward()
    assert a.maps.grad is not None
    assert a.maps.grad.abs().sum() > 0


def test_the_dot_test_passes_in_double_precision() -> None:
    for a in (made((8, 9)), made((8, 9), 3), made((8, 9), accuracy=1e-2)):
        check = check_adjoint(a)
        assert check.dtype == torch.complex128
        assert check.defect < 1e-14  # the two maps are adjoint whatever their accuracy
        assert not a.is_own
        assert a.title == "NonuniformFourier"


def test_a_coarse_accuracy_counts_as_rounding() -> None:
    fine, coarse = made((12, 12)), made((12, 12), accuracy=1e-3)
    x = normal(12, 12, dtype=torch.complex128)
    error = norm(fine(x) - coarse(x))
    assert 0 < error <= coarse.rounding * 2.0**-53 * norm(x)
    assert norm(fine(x).flatten() - dense(fine) @ x.flatten()) <= fine.rounding * 2.0**-53 * norm(x)


# --- plans


def test_copies_pickles_and_saved_operators_make_their_own_plans() -> None:
    a, x = made((6, 6), 2), normal(6, 6, dtype=torch.complex128)
    y = a(x)
    file = io.BytesIO()
    torch.save(a, file)
    file.seek(0)
    for again in (copy.deepcopy(a), pickle.loads(pickle.dumps(a)), torch.load(file, weights_only=False)):
        assert again(x).equal(y)
        assert again.norm_bound == a.norm_bound


def test_a_trajectory_that_changes_is_noticed() -> None:
    a, x = made((6, 6)), normal(6, 6, dtype=torch.complex128)
    bound = a.norm_bound.value
    a(x)
    a.trajectory.mul_(0.1)
    assert norm(a(x).flatten() - dense(a) @ x.flatten()) <= allowed(a, torch.complex128) * norm(x)
    assert largest_singular_value(dense(a)) <= a.norm_bound.value
    assert a.norm_bound.value != bound
    a.trajectory[0, 0, 0] = math.nan
    assert_refuses(lambda: a(x), "A finite trajectory")


def test_threads_may_share_an_operator() -> None:
    a = made((16, 16), 2, 8, 20)
    images = [normal(16, 16, dtype=torch.complex128, seed=s) for s in range(24)]
    expected = [a.adjoint(a(x)) for x in images]
    with ThreadPoolExecutor(4) as pool:
        for found, wanted in zip(pool.map(lambda x: a.adjoint(a(x)), images * 3), expected * 3, strict=True):
            assert found.equal(wanted)


FORKED = """
import os, torch
from firenet.sensing import NonuniformFourier, radial
a = NonuniformFourier(radial(5, 12), (6, 6))
x = torch.ones(6, 6, dtype=torch.complex128)
y = a(x)
before = a._sums(torch.complex128)
child = os.fork()
if child == 0:
    os._exit(0 if a(x).equal(y) and a._sums(torch.complex128) is not before else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert a._sums(torch.complex128) is before
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")
def test_a_forked_process_makes_its_own_plans() -> None:
    # In a process of its own with one thread, which is what a fork copies.
    subprocess.run([sys.executable, "-W", "ignore", "-c", FORKED], check=True, timeout=60)


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "finufft", None)
    a = made((6, 6))
    for call in (lambda: a(torch.ones(6, 6)), lambda: a.norm_bound, lambda: density_compensation(a.trajectory, (6, 6))):
        with pytest.raises(MissingExtra, match=r"Non-Cartesian MRI needs the library finufft.*firenet\[nufft\]"):
            call()


# --- norm and gain


def trajectory(seed: int) -> tuple[Tensor, tuple[int, ...]]:
    rng = np.random.default_rng(seed)
    if seed % 3 == 0:
        shape: tuple[int, ...] = (int(rng.integers(2, 40)),)
        k = torch.from_numpy(rng.random((int(rng.integers(1, 60)), 1)) - 0.5)
    else:
        shape = tuple(int(n) for n in rng.integers(2, 11, 2))
        kind = seed % 4
        if kind == 0:
            k = radial(int(rng.integers(1, 20)), int(rng.integers(2, 24)), golden=bool(rng.integers(2)))
        elif kind == 1:
            k = spiral(int(rng.integers(1, 6)), int(rng.integers(2, 60)), turns=float(rng.uniform(1, 6)))
        else:
            k = torch.from_numpy(rng.random((int(rng.integers(1, 150)), 2)) - 0.5)
        if kind == 2:  # clusters
            k = (k[:1] + 0.03 * k).clamp(-0.5, 0.5)
    k.view(-1)[0] = 0.5  # no trajectory is near zero everywhere
    return k, shape


def bound_over_norm(seed: int) -> float:
    k, shape = trajectory(seed)
    rng = np.random.default_rng(seed)
    a = NonuniformFourier(k, shape, coil_maps(shape, seed % 5 // 3 * 2))
    weights = None
    if seed % 2:
        weights = torch.from_numpy(rng.random(a.out_shape) ** 8 * 10.0 ** float(rng.integers(-30, 30)))
    bound = a.norm_bound if weights is None else Weighted(a, weights).norm_bound
    assert bound.kind == "proven"
    return bound.value / largest_singular_value(dense(a, weights))


@pytest.mark.parametrize("start", range(0, 240, 40))
def test_the_bound_of_the_norm_is_a_bound(start: int) -> None:
    ratios = [bound_over_norm(seed) for seed in range(start, start + 40)]
    assert min(ratios) >= 1 - 1e-12  # the rounding of the SVD
    assert np.median(ratios) < 1.4  # coil maps, which are random, make it larger


def test_a_bound_of_volumes() -> None:
    a = made((5, 4, 6), 0, 3, 40)
    assert 1 <= a.norm_bound.value / largest_singular_value(dense(a)) < 1.3


def test_the_choice_of_free_entries_makes_the_bound_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    k = radial(16, 64)
    size = largest_singular_value(dense(NonuniformFourier(k, (32, 32))))
    better = NonuniformFourier(k, (32, 32)).norm_bound.value
    monkeypatch.setattr("firenet.sensing.toeplitz._LARGEST_GRIDS", {4: 0})
    plain = NonuniformFourier(k, (32, 32)).norm_bound.value
    assert size <= better < 1.2 * size < 1.4 * size < plain


def test_the_weighted_bound_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    a = made((6, 6))
    calls = []
    whole = NonuniformFourier.weighted_norm_bound
    monkeypatch.setattr(NonuniformFourier, "weighted_norm_bound", lambda s, w: (calls.append(w), whole(s, w))[1])
    weighted = Weighted(a, torch.full((4, 6), 0.25))
    first = weighted.norm_bound
    assert weighted.norm_bound == first
    assert len(calls) == 1
    assert first.value == pytest.approx(a.norm_bound.value / 2, rel=1e-12)
    weighted.root.mul_(3)
    assert weighted.norm_bound.value == pytest.approx(3 * first.value, rel=1e-12)
    assert copy.deepcopy(weighted).norm_bound == weighted.norm_bound
    assert Weighted(a, 0.0).norm_bound.value == 0


@coils
def test_the_gain_is_that_of_the_entries(coils: int) -> None:
    a = made((6, 5), coils)
    if a.maps is not None:
        a.maps[:, :, 2] = 0  # pixels that no coil sees do not count
    weights = uniform(*a.out_shape, dtype=torch.float64, seed=4)
    weights[..., 1] = 0
    seen = 30 if a.maps is None else int((a.maps != 0).any(dim=0).sum())
    for operator, m in (
        (a, torch.ones(a.out_shape)),
        (Weighted(a, weights), weights),
        (Weighted(Weighted(a, 4.0), weights), 4 * weights),
        (a.subset(weights > 0.3), (weights > 0.3).double()),
    ):
        frobenius = norm(dense(a, m))
        assert operator.gain == pytest.approx(frobenius / math.sqrt(int((m > 0).sum()) * seen / 30), rel=1e-12)


def test_whole_readouts_are_held_out() -> None:
    assert made((6, 6)).holdout_candidates().shape == (4, 1)
    assert made((6, 6), 3).holdout_candidates().shape == (1, 4, 1)
    assert made((6, 6), 3, 9).holdout_candidates().shape == (1, 9)
    assert made((4, 4, 4), 0, 2, 3, 5).holdout_candidates().shape == (2, 3, 1)
    a = made((6, 6), 3)
    weights = torch.ones(4, 6)
    weights[2], weights[1, :3] = 0, 0
    assert Weighted(a, weights).holdout_candidates().flatten().tolist() == [True, True, False, True]
    assert a.subset(weights > 0).holdout_candidates().flatten().tolist() == [True, True, False, True]
