"""Real solvers and networks as algorithms for the adversary of :mod:`firenet.barriers`.

Each reads the data to within 2**-60, which is more than double precision holds, and solves or trains as its users
would. The matrix is first divided by its largest entry, so that no solver fails because of the units. The outputs are
judged exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from firenet.barriers import TrainingSet, algorithms
from firenet.nets.lista import train_lista
from firenet.network import Firenet
from firenet.operators.matrix import Matrix
from firenet.optional import optional
from firenet.solver.adaptive import AdaptiveRestarts
from firenet.solver.schedules import PaperSchedule, Schedule

ACCURACY = 60


@dataclass(frozen=True)
class _Posed:
    """A problem in double precision, in units in which the largest entry of its matrix is 1: x = z / unit."""

    kind: str
    parameter: float
    A: NDArray[np.float64]
    y: NDArray[np.float64]
    x: NDArray[np.float64]
    unit: float

    @property
    def lam(self) -> float:
        """The parameter lambda, for z."""
        return self.parameter / self.unit


def _posed(training_set: TrainingSet, k: int) -> _Posed:
    sample, problem = training_set.sample(ACCURACY, k), training_set.problem
    A = np.array([[float(e) for e in row] for row in sample.A])
    y, x = (np.array([float(e) for e in v]) for v in (sample.y, sample.x))
    unit = float(A.max())
    return _Posed(problem.kind, float(problem.parameter), A / unit, y, x, unit)


def _each(training_set: TrainingSet, solve: Any) -> list[NDArray[np.float64]]:
    posed = [_posed(training_set, k) for k in range(len(training_set))]
    return [np.asarray(solve(p), dtype=np.float64) / p.unit for p in posed]


def clarabel(training_set: TrainingSet) -> object:
    """Solves the problem with Clarabel, an interior point method, through cvxpy."""
    return _each(training_set, lambda p: _cvxpy(p, "CLARABEL"))


def scs(training_set: TrainingSet) -> object:
    """Solves the problem with SCS, an operator splitting method, through cvxpy."""
    return _each(training_set, lambda p: _cvxpy(p, "SCS"))


def _cvxpy(p: _Posed, solver: str) -> NDArray[np.float64]:
    cvxpy = optional("cvxpy", "barriers", "Clarabel or SCS as an algorithm")
    z = cvxpy.Variable(p.A.shape[1])
    residual, penalty = p.A @ z - p.y, cvxpy.norm1(z)
    if p.kind == "P1":
        task = cvxpy.Problem(cvxpy.Minimize(penalty), [cvxpy.norm(residual) <= p.parameter])
    else:
        misfit = cvxpy.sum_squares(residual) if p.kind == "P2" else cvxpy.norm(residual)
        task = cvxpy.Problem(cvxpy.Minimize(p.lam * penalty + misfit))
    task.solve(solver=solver)
    assert z.value is not None
    return z.value


def lasso(training_set: TrainingSet) -> object:
    """Solves (P2) by scikit-learn's coordinate descent.

    For (P1) and (P3) it solves (P2) with a very small lambda, whose minimisers are almost those of (P3); for (P1) they
    are then multiplied by 1 - epsilon / |y|.
    """
    Lasso = optional("sklearn.linear_model", "barriers", "Coordinate descent as an algorithm").Lasso

    def solve(p: _Posed) -> NDArray[np.float64]:
        lam = p.lam if p.kind == "P2" else 1e-9
        # The objective of scikit-learn is the squared residual over 2 m, plus alpha times the norm.
        model = Lasso(alpha=lam / (2 * len(p.y)), fit_intercept=False, tol=1e-12, max_iter=100_000)
        found = model.fit(p.A, p.y).coef_
        return found * (1 - p.parameter / np.linalg.norm(p.y)) if p.kind == "P1" else found

    return _each(training_set, solve)


def pseudo_inverse(training_set: TrainingSet) -> object:
    """Returns the minimum-norm solution."""
    return _each(training_set, lambda p: np.linalg.pinv(p.A) @ p.y)


def ridge(training_set: TrainingSet) -> object:
    """Returns the solution with Tikhonov regularisation of 1e-6."""
    return _each(training_set, lambda p: p.A.T @ np.linalg.solve(p.A @ p.A.T + 1e-6 * np.eye(len(p.A)), p.y))


def firenet_theorem(training_set: TrainingSet) -> object:
    """Returns the output of a FIRENET with the paper's schedule, computed from the matrix that was read."""
    return _firenet(training_set, PaperSchedule(30, 50, 1e-12))


def firenet_adaptive(training_set: TrainingSet) -> object:
    """Returns the output of a FIRENET with adaptive restarts, which stops at a proven relative gap of 1e-10."""
    return _firenet(training_set, AdaptiveRestarts(1e-10, 20_000))


def _firenet(training_set: TrainingSet, schedule: Schedule) -> object:
    def solve(p: _Posed) -> NDArray[np.float64]:
        A = Matrix(torch.from_numpy(p.A))
        if p.kind == "P1":
            net = Firenet(A, noise=p.parameter, schedule=schedule)
        else:
            net = Firenet(A, lam=p.lam, fidelity="squared" if p.kind == "P2" else "norm", schedule=schedule)
        return net.solve(torch.from_numpy(p.y)).coefficients.numpy()

    return _each(training_set, solve)


def lista(training_set: TrainingSet) -> object:
    """Trains a network on the data and returns it: LISTA on 500 multiples of each labelled pair, for 300 epochs."""
    first = _posed(training_set, 0)
    pairs = [(p.y, p.x * p.unit) for p in (first, *(_posed(training_set, k) for k in range(1, len(training_set))))]
    factors = 0.5 + torch.rand(500, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y, x = (torch.cat([factors * torch.from_numpy(pair[i]) for pair in pairs]) for i in (0, 1))
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(1))
    A = torch.from_numpy(first.A)
    net = train_lista(A, y[order], x[order], rate=1e-3, epochs=300, batch=100, validation=50)

    def network(measurements: Any) -> Tensor:
        return net(torch.tensor([float(e) for e in measurements], dtype=torch.float64)) / first.unit

    return network


@dataclass(frozen=True)
class Entry:
    """An algorithm and the packages that it needs.

    Attributes:
        algorithm: The callable.
        needs: The packages.
    """

    algorithm: algorithms.Algorithm
    needs: tuple[str, ...] = ()

    @property
    def missing(self) -> tuple[str, ...]:
        """The packages that are not installed."""
        return tuple(n for n in self.needs if find_spec(n) is None)


CONTESTANTS: dict[str, Entry] = {
    **{name: Entry(algorithm) for name, algorithm in algorithms.SHIPPED.items()},
    "clarabel": Entry(clarabel, ("cvxpy", "clarabel")),
    "scs": Entry(scs, ("cvxpy", "scs")),
    "lasso": Entry(lasso, ("sklearn",)),
    "pseudo-inverse": Entry(pseudo_inverse),
    "ridge": Entry(ridge),
    "firenet-theorem": Entry(firenet_theorem),
    "firenet-adaptive": Entry(firenet_adaptive),
    "lista": Entry(lista),
}
