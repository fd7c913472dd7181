"""The choice of a setting: its errors by their definition, and choices that are known to be right."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from draws import normal, uniform
from firenet import BadInput, MultiCoilFourier, SubsampledFourier, Wavelet, choose
from firenet.metrics import psnr
from firenet.operators import VerticalStack
from firenet.problems import Ball
from firenet.reconstruction import Setting, default_network, default_schedule, rounds
from firenet.reconstruction.choice import Candidate, _Trial
from firenet.reweighting import Round, reweighted
from firenet.scans.demo import load_slice
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


def known(operator: SubsampledFourier | MultiCoilFourier, seed: int) -> torch.Tensor:
    """The samples held out, computed once more by their definition."""
    mask = operator.mask
    inner = torch.fft.fftshift(mask)
    width = max(k for k in range(65) if inner[32 - k // 2 : 32 - k // 2 + k, 32 - k // 2 : 32 - k // 2 + k].all())
    centre = torch.zeros_like(mask)
    centre[32 - width // 2 : 32 - width // 2 + width, 32 - width // 2 : 32 - width // 2 + width] = True
    return mask & (uniform(mask.shape, seed=seed) < 0.3) & ~torch.fft.ifftshift(centre)


@pytest.mark.parametrize("coils", [0, 2])
@pytest.mark.parametrize("sparsify", ["undecimated:haar:2", "orthonormal:haar"])
def test_errors_are_those_on_the_samples_held_out(sparsify: str, coils: int) -> None:
    _, y, operator = slice_data(0.02, coils)
    told: list[tuple[int, int]] = []
    given: dict[str, Any] = {"sparsify": sparsify, "lam": 1e-2, "reweight": 1, "fraction": 0.3, "seed": 3}
    choice = choose(y, operator, **given, progress=lambda *n: told.append(n))
    assert told[-1][0] == told[-1][1]
    assert [c.setting.rounds for c in choice.candidates] == [0, 1]
    assert choice.best == choice.candidates[1].setting == Setting(sparsify, rounds=1)
    held = known(operator, 3)
    assert int(held.sum()) == choice.held_out > 200  # enough for a single fold
    maps = operator.maps if isinstance(operator, MultiCoilFourier) else None
    seen, unseen = fourier_samples(operator.mask & ~held, maps), fourier_samples(held, maps)
    net = default_network(seen, sparsify=sparsify, lam=1e-2, schedule=default_schedule(3e-2, 30))
    first = net.solve(y * ~held, prove=False)
    more, before = net.following(default_schedule(3e-2, 60)), [Round(net, net.problem.weights, first)]
    rounds = reweighted(more, y * ~held, 1, floor=0.7, before=before, prove=False)
    for found, r in zip(choice.candidates, rounds, strict=True):
        expected = (unseen(r.solution.image) - y * held).norm() / (y * held).norm()
        assert found.error == pytest.approx(expected.item(), rel=1e-4)  # sums of single precision, two ways


def test_several_folds_where_few_can_be_held_out() -> None:
    _, y, operator = slice_data()
    free = int(operator.holdout_candidates().sum())
    choice = choose(y, operator, sparsify="orthonormal:haar", lam=1e-3, reweight=0)
    assert 0.12 * free < choice.held_out < 0.2 * free  # two folds of 8 %
    few = choose(y, operator, fraction=1e-9)
    assert (few.candidates, few.held_out) == ((), 0)
    assert few.reason == "only 0 measurements can be held out"
    assert "nothing was chosen" in str(few)


def test_the_choice_is_nearly_the_best_of_its_candidates() -> None:
    """The candidates are solved again from all samples, and compared with the truth."""
    for noise in (0.0, 0.05):
        truth, y, operator = slice_data(noise)
        choice = choose(y, operator)
        found = {
            c.setting: psnr(c.setting.solve(c.setting.network(operator), y)[-1].solution.image, truth)
            for c in choice.candidates
        }
        assert max(found.values()) - min(found.values()) > 1
        assert found[choice.best] >= max(found.values()) - 0.5


@pytest.mark.parametrize("noise", [0.0, 0.03])
def test_an_image_of_constant_pieces_takes_total_variation(noise: float) -> None:
    rows, columns = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    truth = ((rows - 30).square() + (columns - 25).square() < 300) + 0.5 * (rows + 2 * columns > 130)
    operator = SubsampledFourier(multilevel((64, 64), 0.1).samples)
    y = operator(truth.to(torch.complex128))
    error = operator.restrict(normal(64, 64, dtype=torch.complex128, seed=1))
    y = y + noise * y.norm() / error.norm() * error
    choice = choose(y, operator)
    assert choice.best.sparsify == "tv"
    schedule = default_schedule(1e-2, 200)
    fixed = rounds(default_network(operator, schedule=schedule), y)[-1].solution.image
    chosen = choice.best.solve(choice.best.network(operator, schedule=schedule), y)[-1].solution.image
    assert psnr(chosen, truth) > psnr(fixed, truth) + 2


def test_parts_that_are_given_are_kept() -> None:
    _, y, operator = slice_data(0.05)
    given: list[tuple[dict[str, Any], Callable[[Candidate], Any]]] = [
        ({"sparsify": "orthonormal:db2"}, lambda c: c.setting.sparsify),
        ({"lam": 1e-2}, lambda c: c.setting.network(operator, lam=1e-2).lam),
        ({"reweight": 1}, lambda c: c.setting.rounds),
    ]
    for fixed, part in given:
        choice = choose(y, operator, **fixed)
        some = [c for c in choice.candidates if "reweight" not in fixed or c.setting == choice.best]
        assert {part(c) for c in some} == set(fixed.values())
    level = 0.05 * float(y.norm())
    choice = choose(y, operator, noise=level)
    assert {c.setting.share for c in choice.candidates} == {1.0}
    network = choice.best.network(operator, noise=level)
    assert isinstance(network.fidelity, Ball)
    assert network.fidelity.noise == level


def test_a_candidate_must_be_clearly_better_than_those_before() -> None:
    """By two standard errors of the difference, here of 100 squared errors."""
    _, y, operator = slice_data()
    trial = _Trial(y, operator, 0.08, 0, None, None)
    chance = normal(100, dtype=torch.float64, seed=1)
    chance = (chance - chance.mean()) / chance.std()
    changes = {"a": 0 * chance, "b": chance - 0.19, "c": -chance - 0.21, "d": torch.full((100,), math.nan)}
    for name, change in changes.items():
        setting = Setting(name, rounds=int(name == "d"))
        trial.found.append(Candidate(setting, 1.0, 1))
        trial._squares[setting] = 5.0 + change
    first, second, third, fourth = trial.found
    assert trial.best(first) == third
    assert trial.best(second) == second  # the third is better by a little
    assert trial.best(first, rounds=1) == fourth
    trial.found = trial.found[:2]
    assert trial.best(first) == first


def test_the_random_state_is_left_alone() -> None:
    _, y, operator = slice_data()
    few: dict[str, Any] = {"sparsify": "orthonormal:haar", "lam": 1e-3, "reweight": 0}
    before = torch.get_rng_state()
    first = choose(y, operator, **few, seed=1)
    assert torch.equal(before, torch.get_rng_state())
    assert first == choose(y, operator, **few, seed=1)
    assert first.candidates[0].error != choose(y, operator, **few, seed=2).candidates[0].error
    # A mask of numbers is one too.
    assert choose(y, SubsampledFourier(operator.mask.double()), **few, seed=1) == first
    assert choose(y.numpy(), operator, **few, seed=1) == first


def test_the_scale_of_the_data_does_not_matter() -> None:
    _, y, operator = slice_data(0.02)
    first = choose(y, operator)
    for scale in (2.0**-100, 2.0**100):
        other = choose(scale * y, operator)
        assert other.best == first.best
        for a, b in zip(other.candidates, first.candidates, strict=True):
            assert a.error == pytest.approx(b.error, rel=1e-3)


def test_refusals() -> None:
    _, y, operator = slice_data()
    assert_refuses(lambda: choose(y, operator, fraction=1.5), "1.5")
    assert_refuses(lambda: choose(y, operator, reweight=-1), "-1")
    assert_refuses(lambda: choose(y, operator, lam=1e-3, noise=0.1), "both")
    assert_refuses(lambda: choose(torch.stack([y, y]), operator), "(2, 64, 64)")
    with pytest.raises(BadInput):
        choose(y, operator, lam=-1.0)
    assert_refuses(lambda: choose(torch.nan * y, operator), "NaN")
    full = SubsampledFourier(torch.ones_like(operator.mask))
    assert choose(y, full).reason is not None


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
