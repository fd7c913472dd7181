"""The layers of the analysis form: with gradients the same numbers, and derivatives that are right."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cases import SETUPS, analysed, setups, weights_of
from draws import normal, uniform
from firenet import BadInput, PaperSchedule
from firenet.sensing.fourier import fourier_samples
from firenet.solver import FixedSteps
from firenet.solver.analysis_kernel import AnalysisKernel
from firenet.solver.schedules import Schedule
from laws import assert_near, norm


@setups
@pytest.mark.parametrize("schedule", [FixedSteps(7), PaperSchedule(3, 4)], ids=["fixed", "paper"])
def test_with_gradients_it_gives_the_same_numbers(name: str, schedule: Schedule) -> None:
    setup = SETUPS[name]()
    net, y = analysed(setup, schedule, weights_of(setup, "band")), setup.data(2)
    plain = net.solve(y).image
    for checkpoint in (None, 3):
        asked = y.clone().requires_grad_()
        image = net(asked, checkpoint=checkpoint)
        assert_near(image.detach(), net(y), 1e-11 * norm(plain))
        assert_near(image.detach(), plain, 1e-11 * norm(plain))
        (gradient,) = torch.autograd.grad(image.abs().square().sum(), asked)
        assert torch.isfinite(torch.view_as_real(gradient) if gradient.is_complex() else gradient).all()


@pytest.mark.parametrize("name", ["Fourier, 1-D", "coils", "Walsh", "orthonormal"])
def test_the_derivative_is_that_of_finite_differences(name: str) -> None:
    setup = SETUPS[name]()
    net = analysed(setup, FixedSteps(5))
    y = setup.data().requires_grad_()
    restrict = setup.sensing.restrict
    assert torch.autograd.gradcheck(lambda y: net(restrict(y)), (y,), eps=1e-7, atol=1e-5, rtol=1e-4)


def test_layers_hold_what_they_should() -> None:
    setup = SETUPS["Fourier"]()
    layers, _ = analysed(setup, FixedSteps(3))._layers(setup.data(2), None, track=True)
    assert isinstance(layers.kernel, AnalysisKernel)
    assert not hasattr(layers, "_q_start")  # as large as ten images, and nobody would look at it
    assert layers.q.shape == (2, setup.sensing.samples + 7 * 20)


@pytest.mark.parametrize("spec", ["undecimated:haar:1+sym4:2", "tv", "undecimated:sym4:2+tv"])
@pytest.mark.parametrize("schedule", ["frozen", "relaxed", "paper", "fixed"])
@pytest.mark.parametrize("coils", [0, 2])
def test_the_derivative_written_out_is_that_of_autograd(
    spec: str, schedule: str, coils: int, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from firenet import PaperSchedule
    from firenet.reconstruction import default_network
    from firenet.solver import FixedSteps
    from firenet.solver.analysis_kernel import AnalysisKernel, _CompiledSweep, _Sweep
    from firenet.solver.schedules import FrozenSteps, Run

    rng = np.random.default_rng(0)

    def draw(*shape: int) -> torch.Tensor:
        return normal(*shape, dtype=torch.complex128, seed=rng)

    mask = uniform(12, 14, seed=rng) < 0.5
    maps = draw(coils, 12, 14) if coils else None
    rho = 1.8 if schedule == "relaxed" else 1.0
    frozen = FrozenSteps((Run(0.7, 1.2, 7, rho, "average"), Run(0.5, 1.5, 5, rho, "last")))
    plans = {"paper": PaperSchedule(3, 4), "fixed": FixedSteps(9)}  # their steps depend on y
    net = default_network(fourier_samples(mask, maps), sparsify=spec, lam=0.2, schedule=plans.get(schedule, frozen))
    y, x0 = net.sensing(draw(2, 12, 14)), draw(12, 14)
    weight = uniform(12, 14, dtype=torch.float64, seed=rng)

    def derivatives(checkpoint: int | None) -> list[torch.Tensor]:
        at = [y.clone().requires_grad_(), x0.clone().requires_grad_()]
        image = net(*at, checkpoint=checkpoint)
        return [image.detach(), *torch.autograd.grad((image.abs().square() * weight).sum(), at)]

    used = {"torch": _Sweep, "compiled": _CompiledSweep}[engine]
    swept, apply = [], used.apply
    monkeypatch.setattr(used, "apply", lambda *inputs: swept.append(1) or apply(*inputs))
    found, again = derivatives(None), derivatives(3)
    assert len(swept) >= 2 * net.schedule.layers
    monkeypatch.setattr(AnalysisKernel, "_swept", lambda self, *state: False)
    wanted = derivatives(None)
    for a, b, c in zip(found, again, wanted, strict=True):
        assert torch.allclose(a, c, rtol=1e-9, atol=1e-12)
        assert torch.allclose(b, c, rtol=1e-9, atol=1e-12)
    assert all(t.abs().max() > 1e-6 for t in wanted)


def test_a_second_derivative_is_refused_or_right(engine: str) -> None:
    from firenet.reconstruction import default_network
    from firenet.solver import FixedSteps
    from firenet.solver.analysis_kernel import twice_differentiable

    rng = np.random.default_rng(0)
    mask = uniform(6, 8, seed=rng) < 0.7
    net = default_network(fourier_samples(mask), sparsify="tv", lam=0.2, schedule=FixedSteps(5, omega=1.0))
    y = net.sensing(normal(6, 8, dtype=torch.complex128, seed=rng))
    e = net.sensing(normal(6, 8, dtype=torch.complex128, seed=rng))

    def slope(at: torch.Tensor, create_graph: bool) -> torch.Tensor:
        value = net(at).abs().square().square().sum()
        return torch.autograd.grad(value, at, create_graph=create_graph)[0]

    with pytest.raises(BadInput, match="twice_differentiable"):
        slope(y.clone().requires_grad_(), True)
    with twice_differentiable():
        at = y.clone().requires_grad_()
        (product,) = torch.autograd.grad((slope(at, True).conj() * e).real.sum(), at)
    step = 1e-6
    ends = [slope((y + sign * step * e).requires_grad_(), False) for sign in (1, -1)]
    assert torch.allclose(product, (ends[0] - ends[1]) / (2 * step), rtol=1e-4, atol=1e-5)
