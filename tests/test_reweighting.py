"""Reweighting: the weights by their definition, every round's gap against Clarabel, and what it is for."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from draws import normal, permutation, uniform
from firenet import (
    AdaptiveRestarts,
    Firenet,
    Gradient,
    LinearOperator,
    Matrix,
    PaperSchedule,
    Status,
    SubsampledFourier,
    UndecimatedWavelet,
    Wavelet,
    certify,
    reweighted,
)
from firenet.errors import BadInput
from firenet.metrics import psnr
from firenet.mri import reconstruct_kspace
from firenet.operators import NormBound
from firenet.problems import Ball
from firenet.reconstruction import default_network, default_schedule, rounds
from firenet.reweighting import Reason, standing_out, weights_from
from firenet.scans.demo import load_slice
from firenet.sensing import multilevel
from firenet.sensing.fourier import fourier_samples
from firenet.solver import FixedSteps, RadialSearch
from firenet.solver.schedules import Schedule
from firenet.transforms import TightFrame, Union
from laws import assert_refuses
from oracles import Recovery

FRAMES = [Wavelet((8, 8), "haar", 2), UndecimatedWavelet((8, 8), "db2", 2), UndecimatedWavelet((5, 7), "haar", 1)]


def image(frame: TightFrame, seed: int = 0) -> torch.Tensor:
    x = normal(frame.in_shape, dtype=torch.complex128, seed=seed)
    return x.real.sign() + 0.1 * x


@pytest.mark.parametrize("frame", FRAMES)
def test_weights_are_the_formula(frame: TightFrame) -> None:
    x = image(frame)
    for floor in (0.1, 2.0):
        weights, size, levels = weights_from(x, frame, floor=floor), frame(x).abs().numpy(), frame.levels().numpy()
        for level in range(levels.max() + 1):
            here = levels == level
            expected = 1 / (size[here] + floor * size[here].mean()) if level else np.ones(here.sum())
            np.testing.assert_allclose(weights.numpy()[here], expected / expected.mean(), rtol=1e-12)
    # The scale of the image says nothing, and nothing comes from nothing.
    torch.testing.assert_close(weights_from(1e-6 * x, frame), weights_from(x, frame))
    assert torch.equal(weights_from(0 * x, frame), torch.ones(frame.out_shape, dtype=torch.float64))


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("frame", FRAMES)
def test_each_round_is_certified_for_its_own_weights(frame: TightFrame, own: bool) -> None:
    mask = uniform(frame.in_shape, seed=1) < 0.6
    sensing = SubsampledFourier(mask)
    y = sensing(image(frame))
    weights = torch.tensor(0.5, dtype=torch.float64).expand(frame.out_shape) if own else None
    net = Firenet(sensing, frame, weights=weights, lam=0.05, schedule=AdaptiveRestarts(1e-4, 5000))
    seen: list[tuple[int, int]] = []
    rounds = reweighted(net, y, 2, progress=lambda done, most, gap: seen.append((done, most)))
    assert len(rounds) == 3
    assert rounds[0].weights is net.problem.weights
    assert [d for d, _ in seen] == sorted(d for d, _ in seen)
    assert {most for _, most in seen} == {5000}
    A, W = sensing.as_matrix(torch.complex128).numpy(), frame.as_matrix(torch.complex128).numpy()
    y_ = y.numpy().ravel()
    first = rounds[0].solution.image.numpy().ravel()
    held = float(np.linalg.norm(A @ first - y_))
    for k, r in enumerate(rounds):
        if k < 2:  # a round that is not the last one is a draft, and proved if it is
            assert r.solution.status == Status.DRAFT
            assert (r.solution.lower_bound.item(), r.solution.gap.item()) == (0, math.inf)
            r = replace(r, solution=r.net.following(net.schedule).solve(y, x0=r.solution.image))
        assert r.solution.statuses == (Status.TOLERANCE_REACHED,)
        w = (
            np.ones(len(W))
            if r.net.problem.weights is None
            else r.net.problem.weights.expand(frame.out_shape).numpy().ravel()
        )
        known = Recovery(A, W, y_, w, 0.05)
        if k:  # the later rounds keep the residual of the first
            assert r.weights is not None
            base = torch.ones((), dtype=torch.float64) if net.problem.weights is None else net.problem.weights
            expected = weights_from(rounds[k - 1].solution.image, frame) * base
            torch.testing.assert_close(r.weights, expected)
            assert isinstance(r.net.fidelity, Ball)
            assert r.net.fidelity.noise == pytest.approx(held, rel=1e-9)
            known = Recovery(A, W, y_, w, 1.0, kind="ball", noise=r.net.fidelity.noise)
        x = r.solution.image.numpy().ravel()
        best, value = known.optimum(), known.objective(x)
        assert known.violation(x) <= 1e-12 * float(np.linalg.norm(y_))
        assert value == pytest.approx(r.solution.objective.item(), rel=1e-9)
        assert -1e-7 * value <= value - best.value <= r.solution.gap.item() + 1e-7 * value


def test_no_round_is_a_plain_solve() -> None:
    frame = FRAMES[1]
    sensing = SubsampledFourier(torch.ones(8, 8, dtype=torch.bool))
    net, y = Firenet(sensing, frame, schedule=FixedSteps(40)), sensing(image(frame))
    (only,) = reweighted(net, y, 0)
    assert torch.equal(only.solution.image, net.solve(y).image)
    loose, tight = (reweighted(net, y, 1, tolerance=t) for t in (1.0, 1e-12))
    assert [r.solution.statuses for r in loose] == [(Status.TOLERANCE_REACHED,)] * 2
    assert [r.solution.statuses for r in tight] == [(Status.LAYER_LIMIT,)] * 2


@pytest.mark.parametrize("rounds", [0, 1, 2])
@pytest.mark.parametrize(
    ("schedule", "used"),
    [
        (AdaptiveRestarts(1e-12, 31), 31),
        (RadialSearch(1e-12, 31), 31),
        (FixedSteps(31), 31),
        (PaperSchedule(outer=10, inner=3), 30),
        (PaperSchedule(outer=2, inner=2), 4),
    ],
)
def test_the_layers_of_the_schedule_are_those_of_all_rounds(schedule: Schedule, used: int, rounds: int) -> None:
    """Where nothing reaches the tolerance, a search and fixed steps use all layers, the paper's schedule restarts."""
    frame = FRAMES[1]
    sensing = SubsampledFourier(torch.rand(frame.in_shape, generator=torch.Generator().manual_seed(1)) < 0.6)
    net, y = Firenet(sensing, frame, lam=0.05, schedule=schedule), sensing(image(frame))
    seen: list[tuple[int, int]] = []
    found = reweighted(net, y, rounds, progress=lambda done, most, gap: seen.append((done, most)))
    layers = [int(r.solution.layers) for r in found]
    assert sum(layers) <= schedule.layers
    assert all(done <= most == schedule.layers for done, most in seen)
    if not found[0].solution.image.any():  # so few layers that nothing is explained: there is nothing to weigh by
        assert len(layers) == 1
        assert schedule.layers <= 30
        return
    assert len(layers) == rounds + 1
    if isinstance(schedule, PaperSchedule) and rounds:
        share = schedule.layers // (rounds + 1)
        assert min(layers) >= share - min(schedule.outer, share)  # less than one layer of each restart is left over
    else:
        assert sum(layers) == used


def test_rounds_without_layers_are_refused_and_one_layer_is_one_round() -> None:
    frame = FRAMES[1]
    sensing = SubsampledFourier(torch.ones(8, 8, dtype=torch.bool))
    net, y = Firenet(sensing, frame, schedule=AdaptiveRestarts(1e-12, 2)), sensing(image(frame))
    assert_refuses(lambda: reweighted(net, y, 2), "2 layers for 3 rounds", "fewer rounds")
    (only,) = rounds(net.following(AdaptiveRestarts(1e-12, 1)), y)
    assert int(only.solution.layers) == 1


def test_noise_stops_the_reweighting() -> None:
    truth = load_slice()[::2, ::2].to(torch.complex64)
    sensing = SubsampledFourier(multilevel(truth.shape, 0.5).samples)
    clean = sensing(truth)
    error = sensing.restrict(normal(clean.shape, dtype=clean.dtype, seed=0))
    noisy = clean + 0.1 * torch.linalg.vector_norm(clean) / torch.linalg.vector_norm(error) * error
    net = default_network(fourier_samples(sensing.mask), schedule=default_schedule(1e-3))
    assert len(rounds(net, clean)) == 2
    (only,) = rounds(net, noisy)
    plain = net.solve(noisy)
    assert only.weights is net.problem.weights
    assert only.solution.statuses == (Status.TOLERANCE_REACHED,)
    assert only.solution.objective.item() == pytest.approx(plain.objective.item(), rel=2e-3)
    assert len(rounds(net, noisy, 1)) == 2  # asked for, it is done


def test_what_stands_out_of_the_noise_is_counted() -> None:
    """Of an orthonormal transform exactly; of a redundant one each counts as a part of one."""
    mask = uniform(32, 32, seed=3) < 0.5
    sensing = SubsampledFourier(mask)
    error = sensing.restrict(normal(32, 32, dtype=torch.complex128, seed=0))
    basis = Wavelet((32, 32), "haar")
    coefficients = torch.zeros(32, 32, dtype=torch.complex128)
    coefficients.view(-1)[permutation(1024, seed=1)[:50]] = 1
    x = basis.adjoint(coefficients)
    for sigma in (1e-3, 0.1):
        net, y = Firenet(sensing, basis), sensing(x) + sigma * error
        assert standing_out(net, x, y) == pytest.approx(50 / int(mask.sum()))
        exact = Firenet(sensing, basis, noise=sigma * torch.linalg.vector_norm(error).item())
        assert standing_out(exact, x, y) == pytest.approx(50 / int(mask.sum()))
    assert standing_out(Firenet(sensing, basis), x, sensing(x) + error) == 0  # three standard deviations are 3
    frame = UndecimatedWavelet((32, 32), "haar", 2)
    net, y = Firenet(sensing, frame), sensing(x) + 1e-9 * error
    dense = normal(32, 32, dtype=torch.complex128, seed=2)
    assert standing_out(net, dense, sensing(dense) + 1e-9 * error) == pytest.approx(1024 / int(mask.sum()), rel=1e-3)


def test_a_share_of_the_residual_is_kept() -> None:
    frame = FRAMES[1]
    mask = uniform(frame.in_shape, seed=1) < 0.6
    sensing = SubsampledFourier(mask)
    net, y = Firenet(sensing, frame, lam=0.3, schedule=AdaptiveRestarts(1e-4, 5000)), sensing(image(frame))
    first, second = reweighted(net, y, 1, keep=0.25)
    residual = torch.linalg.vector_norm(sensing(first.solution.image) - y).item()
    assert isinstance(second.net.fidelity, Ball)
    assert second.net.fidelity.noise == pytest.approx(residual / 4, rel=1e-9)
    for keep in (0.0, 1.5, math.nan):
        with pytest.raises(BadInput, match="fraction of the residual"):
            reweighted(net, y, 1, keep=keep)


def test_weights_put_every_band_at_the_same_multiple_of_its_noise() -> None:
    shape = (64, 48)
    noise = normal(40, *shape, dtype=torch.float64, seed=0)
    sym4, gradient = UndecimatedWavelet(shape, "sym4", 3), Gradient(shape)
    for frame in (sym4, UndecimatedWavelet(shape, "haar", 2), gradient, Union([sym4, gradient], [1.0, 0.25])):
        measured = frame.magnitudes(frame(noise)).square().mean(dim=(0, 2, 3)).sqrt()
        torch.testing.assert_close(frame.band_noise().flatten(), measured, rtol=0.03, atol=0)
    sensing = SubsampledFourier(torch.ones(shape, dtype=torch.bool))
    weights = Firenet(sensing, sym4).problem.weights
    assert weights is not None
    assert weights.square().mean().item() == pytest.approx(1)
    torch.testing.assert_close(weights / weights[0], sym4.band_noise() / sym4.band_noise()[0])
    assert Firenet(sensing, gradient).problem.weights is None
    assert Firenet(sensing, Wavelet(shape)).problem.weights is None


def test_a_round_that_fails_is_the_last() -> None:
    frame = FRAMES[1]
    sensing = SubsampledFourier(torch.ones(8, 8, dtype=torch.bool))
    net = Firenet(sensing, frame, schedule=FixedSteps(5))
    huge = torch.full((8, 8), 1e38, dtype=torch.complex64)
    rounds = reweighted(net, 3 * huge, 2)
    assert [r.solution.statuses for r in rounds] == [(Status.NUMERICAL_ERROR,)]
    assert "broke off" in str(rounds[0].ended)
    assert reweighted(net, huge / 1e38, 1)[-1].ended is None


@pytest.mark.parametrize("unit", [1.0, 1e-30, 1e36, 1e37])
def test_what_stands_out_of_the_noise_has_no_unit(unit: float) -> None:
    """In single precision 1e37 has no square, and neither has 1e-30."""
    x = load_slice()[::8, ::8].to(torch.complex64)
    sensing = SubsampledFourier(multilevel((32, 32), 0.4, seed=1).samples)
    net = Firenet(sensing, UndecimatedWavelet((32, 32), "haar", 1), schedule=AdaptiveRestarts(1e-2, 100))
    # With noise: without any, it is rounding that coefficients stand out of, another one on every processor.
    y = sensing(x + 0.05 * x.abs().max() * normal(32, 32, dtype=x.dtype, seed=2))
    plain = standing_out(net, x, y)
    assert 0.05 < plain < 1
    assert standing_out(net, unit * x, unit * y) == pytest.approx(plain, abs=2 / sensing.samples)
    rounds = reweighted(net, unit * y, 1, enough=0.01)
    assert [r.ended for r in rounds] == [None, None]
    assert rounds[-1].solution.status is Status.TOLERANCE_REACHED


def test_a_later_round_that_fails_is_left_out_and_said() -> None:
    """At 1e-38 the plain round is solved in single precision, and the next one is not."""
    x = load_slice()[::8, ::8].to(torch.complex64)
    sensing = SubsampledFourier(multilevel((32, 32), 0.4, seed=1).samples)
    net = Firenet(sensing, UndecimatedWavelet((32, 32), "haar", 1), schedule=AdaptiveRestarts(1e-3, 300))
    rounds = reweighted(net, 1e-38 * sensing(x), 1, keep=0.2)
    assert len(rounds) == 1
    assert rounds[0].solution.status is Status.TOLERANCE_REACHED
    assert rounds[0].solution.relative_gap <= 1e-3  # and not the 3e-3 that make weights
    assert "broke off" in str(rounds[0].ended)


def test_an_adjoint_that_goes_wrong_is_the_reason_of_the_end() -> None:
    class Turning(LinearOperator):
        turned = False

        def _forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

        def _adjoint(self, y: torch.Tensor) -> torch.Tensor:
            return y / 2 if self.turned else y

    sensing = Turning((16,), (16,), NormBound(1.0, "exact", "identity"))
    net = Firenet(sensing, Wavelet((16,), "haar", 1), lam=0.1, schedule=AdaptiveRestarts(1e-6, 200))
    sensing.turned = True
    (only,) = reweighted(net, torch.ones(16, dtype=torch.float64), 1)
    assert only.solution.status is Status.WRONG_ADJOINT
    assert only.ended is Reason.WRONG_ADJOINT


def test_progress_goes_on_to_the_end() -> None:
    """Also where there is no further round, and the first one is solved more accurately."""
    x = load_slice()[::8, ::8].to(torch.complex128)
    sensing = SubsampledFourier(multilevel((32, 32), 0.4, seed=1).samples)
    net = Firenet(sensing, UndecimatedWavelet((32, 32), "haar", 1), schedule=AdaptiveRestarts(1e-4, 300))
    calls: list[tuple[int, int]] = []
    (only,) = reweighted(net, sensing(x), 1, enough=10.0, progress=lambda done, of, gap: calls.append((done, of)))
    assert only.ended is Reason.NOISE
    assert calls == sorted(calls)
    assert calls[-1] == (int(only.solution.layers), 300)


def test_a_real_slice_gains_a_decibel() -> None:
    truth = load_slice()
    mask = multilevel(truth.shape, 0.25).samples
    y = SubsampledFourier(mask)(truth)
    schedule = AdaptiveRestarts(1e-2, 150)
    plain = reconstruct_kspace(y, mask, centred=False, schedule=schedule, reweight=0)
    better = reconstruct_kspace(y, mask, centred=False, schedule=schedule)
    assert psnr(better.image, truth) >= psnr(plain.image, truth) + 1.0
    assert better.relative_gap.item() < 5e-2


def test_refusals() -> None:
    frame = FRAMES[0]
    sensing = SubsampledFourier(torch.ones(8, 8, dtype=torch.bool))
    net, y = Firenet(sensing, frame), torch.zeros(8, 8, dtype=torch.complex64)
    assert_refuses(lambda: reweighted(net, y, -1), "-1")
    assert_refuses(lambda: reweighted(net, torch.stack([y, y])), "(2, 8, 8)", "Loop over the batch")
    assert_refuses(lambda: reweighted(Firenet(Matrix(torch.eye(3))), torch.zeros(3)), "sparsify=None")
    for floor in (0, torch.inf, torch.nan):
        assert_refuses(lambda floor=floor: weights_from(y, frame, floor=floor), "floor")
        assert_refuses(lambda floor=floor: reweighted(net, y, 0, floor=floor), "floor")
    assert_refuses(lambda: weights_from(torch.stack([y, y]), frame), "(2, 8, 8)")


def test_certify_speaks_of_the_same_problem() -> None:
    frame = FRAMES[1]
    sensing = SubsampledFourier(multilevel((8, 8), 0.6).samples)
    net = Firenet(sensing, frame, lam=0.05, schedule=AdaptiveRestarts(1e-3))
    last = reweighted(net, sensing(image(frame)), 1)[-1]
    c = certify(last.net.problem, last.solution.image, sensing(image(frame)), budget=300)
    assert c.objective.item() == pytest.approx(last.solution.objective.item(), rel=1e-12)
    assert c.gap.item() <= last.solution.gap.item() * 1.05
