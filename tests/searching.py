"""Searching schedules: the problems that they are tried on, and what every solution of one must prove."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cases import PROBLEMS, Data, coil_maps, problem, some
from draws import normal
from firenet import Firenet, Solution, SubsampledFourier, Wavelet
from firenet.sensing.fourier import MultiCoilFourier
from firenet.sensing.walsh import SubsampledWalsh
from firenet.solver.adaptive import AdaptiveRestarts
from firenet.solver.radial import RadialSearch
from firenet.solver.schedules import FrozenSteps, Run, Searched
from oracles import Optimum, dual_bound, optimum

Searching = AdaptiveRestarts | RadialSearch
ADAPTIVE, RADIAL, RADIAL_BETA = AdaptiveRestarts(), RadialSearch(), RadialSearch(beta=None)
SCHEDULES: list[Searching] = [ADAPTIVE, RADIAL, RADIAL_BETA]


def named(schedule: Any) -> str:
    return f"{type(schedule).__name__} {getattr(schedule, 'beta', '')}".strip()


schedules = pytest.mark.parametrize("schedule", SCHEDULES, ids=named)


def largest_lambda(data: Data) -> float:
    return float((np.abs(data.A.conj().T @ data.y) / data.w).max() / np.linalg.norm(data.y))


@dataclass
class Scaled(Data):
    """A and lambda times a, y times b: the same problem in other units."""

    unit: Data
    a: float
    b: float

    def asked(self) -> Scaled:
        """For powers of two it is the same, whether it is rounded before or after."""
        return scaled(self.unit.asked(), self.a, self.b)


def scaled(data: Data, a: float = 1.0, b: float = 1.0) -> Scaled:
    return Scaled(data.A * a, data.y * b, data.w, data.lam * a, data, a, b, precision=data.precision)


def noiseless(kind: str) -> Data:
    return problem(kind, 20, 40, noise=0, lam=1e-2, spread=0)


def lambda_times(factor: float) -> Callable[[str], Data]:
    def make(kind: str) -> Data:
        data = problem(kind)
        data.lam = factor * largest_lambda(data)
        return data

    return make


MORE: dict[str, Callable[[str], Data]] = {
    **PROBLEMS,
    "y = Ax": noiseless,
    "lambda above the largest": lambda_times(1.5),
    "lambda just below the largest": lambda_times(0.98),
    "weights 1e-6 to 1e6": lambda kind: problem(kind, 20, 24, spread=6, lam=0.1),
    "norm 2^-20": lambda kind: scaled(problem(kind), 2.0**-20),
    "norm 2^20": lambda kind: scaled(problem(kind), 2.0**20),
}
problems = pytest.mark.parametrize("name", MORE)


def truth(data: Data) -> Optimum:
    """The optimum by Clarabel, in the units that suit it.

    A column whose norm is below its weight times lambda has the coefficient 0 (q has norm 1 at most); it is left out.
    """
    if isinstance(data, Scaled):
        best = truth(data.unit)
        return Optimum(best.x * (data.b / data.a), best.value * data.b, best.lower * data.b)
    x, size = np.zeros_like(data.A[0]), float(np.linalg.norm(data.y))
    keep = np.linalg.norm(data.A, axis=0) >= data.lam * data.w
    if not keep.any():
        return Optimum(x, size, size)
    unit = np.clip(data.w[keep], 0.01, 1)
    best = optimum(data.A[:, keep] / unit, data.y, data.w[keep] / unit, data.lam)
    x[keep] = best.x / unit
    return Optimum(x, best.value, best.lower)


def assert_proves(data: Data, solution: Solution) -> float:
    """The numbers of a solution, computed again in float64 without the solver; returns F - min F in units of F."""
    best = truth(data)
    value, size = data.objective(solution.coefficients), float(np.linalg.norm(data.y))
    eps = torch.finfo(solution.dual.dtype).eps
    # What is proved is computed in double precision whatever the dtype; NumPy's sums here lose as much again.
    floor = solution.rounding.item() + 1e-14 * (value + size)
    assert abs(solution.objective.item() - value) <= floor
    # The gap bounds the distance to the true optimum, which lies between best.lower and best.value.
    assert solution.gap.item() >= value - best.value - floor
    # And it is the gap of this point and this dual, which is feasible.
    q = solution.dual.numpy()
    bound = dual_bound(data.A, data.y, data.w, data.lam, q)
    # Where lambda and a weight are small, the rounding of A*q is large beside the limit that it must meet.
    relative_rounding = 10 * eps * np.linalg.norm(data.A, 2) / (data.lam * data.w.min())
    assert abs(value - bound - solution.gap.item()) <= floor + relative_rounding * value
    limit = 1 + 100 * eps
    assert np.linalg.norm(q) <= limit
    assert (np.abs(data.A.conj().T @ q) <= data.lam * data.w * limit + 10 * eps * np.linalg.norm(data.A, 2)).all()
    return (value - best.lower) / value


def runs(solution: Solution, item: int = 0) -> tuple[Run, ...]:
    assert isinstance(solution.schedule, Searched)
    return solution.schedule.runs[item]


def frozen(solution: Solution, item: int | None = None) -> FrozenSteps:
    assert isinstance(solution.schedule, Searched)
    return solution.schedule.frozen(item)


def easy_and_hard(kind: str) -> tuple[Data, Tensor]:
    """One item that is above the largest lambda's reach of a signal (noise only), one that is a sparse signal."""
    data = problem(kind, 20, 40)
    easy = torch.from_numpy(data.A[:, 0] + 0)
    return data, torch.stack([data.measured, easy, 1e-3 * data.measured.flip(0), 0 * easy])


def imaging(kind: str) -> tuple[Firenet, Tensor]:
    rng = np.random.default_rng(1)
    mask = some((16, 16), share=0.5)
    image = torch.from_numpy(np.kron(rng.integers(0, 3, (4, 4)), np.ones((4, 4)))).to(torch.complex128)
    nets = {
        "Fourier": lambda: Firenet(SubsampledFourier(mask), Wavelet((16, 16), "haar", 2), lam=0.02),
        "padded": lambda: Firenet(SubsampledFourier(mask[:, :13]), Wavelet((16, 13), "db2", 2), lam=0.02),
        "coils": lambda: Firenet(
            MultiCoilFourier(mask, coil_maps(2, (16, 16))), Wavelet((16, 16), "haar", 2), lam=0.02
        ),
        "Walsh": lambda: Firenet(SubsampledWalsh(mask), Wavelet((16, 16), "haar", 2), lam=0.02),
    }
    net = nets[kind]()
    y = net.sensing(image[:, : net.sensing.in_shape[1]] if kind != "Walsh" else image.real)
    return net, y + 0.01 * net.sensing.restrict(normal(y.shape, dtype=y.dtype, seed=0))


def assert_freezes(net: Firenet, y: Tensor, solution: Solution, x0: Tensor | None = None) -> None:
    for k, item in enumerate(y.reshape(-1, *net.sensing.out_shape)):
        schedule = frozen(solution, k)
        image = solution.image.reshape(-1, *net.sensing.in_shape)[k]
        still = net.following(schedule)
        assert still.sensing is net.sensing
        size = image.abs().max().item() or 1.0
        assert (still(item, x0) - image).abs().max().item() <= 1e-6 * size
        again = still.solve(item, x0=x0)
        assert (again.image - image).abs().max().item() <= 1e-6 * size
        assert again.objective.item() == pytest.approx(solution.objective.flatten()[k].item(), rel=1e-6)
        assert again.layers.item() == schedule.layers <= solution.layers.flatten()[k].item()
        if k:
            continue
        with torch.enable_grad():
            derived = still(item.clone().requires_grad_(), x0).detach()
        assert (derived - image).abs().max().item() <= 1e-6 * size
