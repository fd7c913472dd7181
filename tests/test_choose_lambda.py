"""The choice of lambda: its errors by their definition, and choices that are known to be right."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from draws import normal, uniform
from firenet import BadInput, MultiCoilFourier, SubsampledFourier, Wavelet, choose_lambda
from firenet.metrics import psnr
from firenet.mri.demo import load_slice
from firenet.operators import VerticalStack
from firenet.reconstruction import default_network, default_schedule
from firenet.sensing import multilevel
from firenet.sensing.fourier import fourier_samples
from laws import assert_refuses


def slice_data(
    noise: float = 0.0, coils: int = 0
) -> tuple[torch.Tensor, torch.Tensor, SubsampledFourier | MultiCoilFourier]:
    truth = load_slice()[::4, ::4].to(torch.complex64)
    mask = multilevel((64, 64), 0.4).samples
    rng = np.random.default_rng(0)
    maps = None
    if coils:
        maps = normal(coils, 64, 64, dtype=torch.complex64, seed=rng)
        maps = maps / maps.abs().square().sum(0).sqrt()
    sensing = fourier_samples(mask, maps)
    y = sensing(truth)
    error = sensing.restrict(normal(y.shape, dtype=y.dtype, seed=rng))
    return truth, y + noise * y.norm() / error.norm() * error, sensing


@pytest.mark.parametrize("coils", [0, 2])
@pytest.mark.parametrize("sparsify", ["undecimated:haar:2", "orthonormal:haar"])
def test_errors_are_those_on_the_samples_held_out(sparsify: str, coils: int) -> None:
    _, y, operator = slice_data(0.02, coils)
    mask = operator.mask
    told: list[tuple[int, int]] = []
    sweep = choose_lambda(y, operator, sparsify=sparsify, lams=[1e-3, 1e-2], seed=3, progress=lambda *n: told.append(n))
    assert told == [(1, 2), (2, 2)]
    assert sweep.lams == (1e-3, 1e-2)
    assert sweep.errors[sweep.lams.index(sweep.best)] <= 1.01 * min(sweep.errors)
    assert sweep.at_the_edge
    # Once more by hand, the largest lambda first.
    chance = uniform(mask.shape, seed=3)
    assert 0 < sweep.held_out < 0.1 * int(mask.sum())
    held = mask & (chance < 0.05)
    inner = torch.fft.fftshift(mask)
    width = max(k for k in range(65) if inner[32 - k // 2 : 32 - k // 2 + k, 32 - k // 2 : 32 - k // 2 + k].all())
    centre = torch.zeros_like(mask)
    centre[32 - width // 2 : 32 - width // 2 + width, 32 - width // 2 : 32 - width // 2 + width] = True
    held &= ~torch.fft.ifftshift(centre)
    assert int(held.sum()) == sweep.held_out
    maps = operator.maps if isinstance(operator, MultiCoilFourier) else None
    seen = fourier_samples(mask & ~held, maps)
    net = default_network(seen, sparsify=sparsify, lam=1e-2, schedule=default_schedule(3e-3, 250))
    predicted = fourier_samples(held, maps)(net.solve(y * ~held).image)
    expected = (predicted - y * held).norm() / (y * held).norm()
    assert sweep.errors[1] == pytest.approx(expected.item(), rel=1e-5)


def test_an_absurd_lambda_is_not_chosen() -> None:
    _, y, operator = slice_data()
    assert choose_lambda(y, operator, lams=[1e-3, 1.0]).best == 1e-3


def test_the_choice_is_nearly_the_best_there_is() -> None:
    truth, y, operator = slice_data(0.05)
    sweep = choose_lambda(y, operator)
    found = [
        psnr(default_network(operator, lam=lam, schedule=default_schedule(3e-3, 250)).solve(y).image, truth)
        for lam in sweep.lams
    ]
    assert found[sweep.lams.index(sweep.best)] >= max(found) - 0.5
    assert max(found) - min(found) > 1


def test_where_all_are_equal_the_nearest_to_the_default_is_taken() -> None:
    _, y, operator = slice_data()
    usual = default_network(operator).lam
    sweep = choose_lambda(y, operator, lams=[0.5 * usual, 0.501 * usual, 0.502 * usual])
    assert max(sweep.errors) <= 1.01 * min(sweep.errors)
    assert sweep.best == 0.502 * usual


def test_the_random_state_is_left_alone() -> None:
    _, y, operator = slice_data()
    before = torch.get_rng_state()
    first = choose_lambda(y, operator, lams=[1e-3], seed=1)
    assert torch.equal(before, torch.get_rng_state())
    assert first == choose_lambda(y, operator, lams=[1e-3], seed=1)
    assert first.errors != choose_lambda(y, operator, lams=[1e-3], seed=2).errors


def test_refusals() -> None:
    _, y, operator = slice_data()
    assert_refuses(lambda: choose_lambda(y, operator, fraction=1.5), "fraction=1.5")
    assert_refuses(lambda: choose_lambda(y, operator, lams=[]), "0 lambdas")
    full = SubsampledFourier(torch.ones_like(operator.mask))
    assert_refuses(lambda: choose_lambda(y, full), "0 held out, of 0")
    with pytest.raises(BadInput):
        choose_lambda(y, operator, lams=[-1.0])
    assert_refuses(lambda: choose_lambda(torch.stack([y, y]), operator), "(2, 64, 64)")
    # A mask of numbers is one too.
    numbers = SubsampledFourier(operator.mask.double())
    assert choose_lambda(y, numbers, lams=[1e-3]) == choose_lambda(y, operator, lams=[1e-3])


def test_compositions_and_stacks_never_hold_out_the_centre() -> None:
    _, _, operator = slice_data(coils=2)
    free = operator.holdout_candidates().expand(operator.out_shape)
    assert not free[0, 0, 0]
    assert operator.mask[0, 0]
    assert torch.equal((operator @ Wavelet((64, 64), "haar").H).holdout_candidates().expand(free.shape), free)
    other = SubsampledFourier(operator.mask)
    stack = VerticalStack([operator, other])
    both = stack.split(stack.holdout_candidates())
    assert torch.equal(both[0], free)
    assert torch.equal(both[1], other.holdout_candidates())
