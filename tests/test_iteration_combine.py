"""The combination of the last states: reduced rank extrapolation, held to NumPy's least squares."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor

from cases import BATCH, PRECISIONS
from firenet import AdaptiveRestarts, Firenet, Matrix
from firenet.problems.fidelity import Squared
from firenet.problems.synthesis import SynthesisProblem
from firenet.solver.iteration import Iteration
from firenet.solver.memory import recent_states
from firenet.solver.synthesis_kernel import SynthesisKernel
from test_iteration import Setup, lengths, setup, setups


def states_of(layers: Iteration, count: int) -> list[tuple[Tensor, Tensor]]:
    """The states after each of these layers, by a copy that runs one layer at a time."""
    walker, found = copy.deepcopy(layers), []
    for _ in range(count):
        walker.run(1)
        found.append((walker.x.clone(), walker.q.clone()))
    return found


def changes(s: Setup, states: list[tuple[Tensor, Tensor]], k: int) -> np.ndarray:
    """The differences of the states of an item, in the norm of the iteration, as columns of reals."""
    scaled = [
        torch.cat([x[k].flatten() / s.tau[k] ** 0.5, q[k].flatten() / s.sigma[k] ** 0.5]).to(torch.complex128)
        for x, q in states
    ]
    columns = torch.view_as_real(torch.stack(scaled)).flatten(1).numpy()
    return np.diff(columns, axis=0).T


@setups
def test_the_factors_make_the_change_as_small_as_least_squares(name: str, kind: str):
    s = setup(name, kind)
    layers = s.layers()
    layers.run(3)
    expected = states_of(layers, 7)[1:]
    layers.run(7, recent=6)
    layers.combine()
    factors = layers.factors
    assert factors is not None
    assert factors.shape == (BATCH, 5)
    torch.testing.assert_close(factors.sum(dim=1), torch.ones(BATCH, dtype=torch.float64), rtol=0, atol=1e-6)
    for k in range(BATCH):
        D = changes(s, expected, k)
        # Minimise |D g| over sum(g) = 1: g = (1, 0, ...) + B h, where the columns of B sum to zero.
        B = np.vstack([-np.ones((1, 4)), np.eye(4)])
        best = np.linalg.norm(D @ (B @ np.linalg.lstsq(D @ B, -D[:, 0], rcond=None)[0]) + D[:, 0])
        mine = np.linalg.norm(D @ factors[k].numpy())
        # The regularisation adds at most small |g|^2 times the sum of all squares to the square of the change.
        small = max(1e-7, 8 * torch.finfo(s.y.dtype).eps)
        g = B @ np.linalg.lstsq(D @ B, -D[:, 0], rcond=None)[0]
        g[0] += 1
        allowed = best**2 + small * np.linalg.norm(g) ** 2 * (D**2).sum()
        assert mine**2 <= allowed * (1 + 1e-4)
        assert mine <= 1.001 * np.linalg.norm(D, axis=0).min()
        for part, found in ((0, layers.combination()), (1, layers.dual("combination"))):
            sums = sum(factors[k, j].item() * expected[j + 1][part][k] for j in range(5))
            unit = 64 * torch.finfo(s.y.dtype).eps * factors[k].abs().sum().item()
            assert lengths((found[k] - sums)[None]).item() <= unit * max(
                lengths(state[part][k : k + 1]).item() for state in expected
            )
    # Ax and A*q of the combination are those of its points.
    combined = layers._combined
    assert combined is not None
    size = factors.abs().sum(dim=1).max().item() * 1e3 * torch.finfo(s.y.dtype).eps
    norm = s.problem.operator.norm_bound.value
    for found, made, of in (
        (combined.measured, layers.operator(combined.x), combined.x),
        (combined.back, layers.operator.adjoint(combined.q), combined.q),
    ):
        assert (lengths(found - made) <= size * norm * (lengths(of) + lengths(layers.x))).all()


@pytest.mark.parametrize("kind", PRECISIONS)
def test_factors_do_not_depend_on_the_unit_of_the_data(kind: str):
    """(P3) is homogeneous: in any unit the factors are the same, with the same bits if it is a power of two."""
    s, found = setup("matrix", kind), []
    single = torch.finfo(s.y.dtype).bits == 32
    for scale in (1.0, 2.0**-100 if single else 2.0**-660, 2.0**40 if single else 2.0**500):
        problem = s.problem.compact()
        layers = Iteration(SynthesisKernel(problem), s.y * scale, s.x * scale, s.x.dtype, track=True)
        layers.set_steps(s.tau * scale, s.sigma / scale, s.rho)
        layers.run(9, recent=6)
        layers.combine()
        assert layers.factors is not None
        found.append(layers.factors)
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=0, atol=0)


def test_states_before_an_items_restart_do_not_count():
    s = setup("matrix", "real")
    layers = s.layers()
    layers.run(5, recent=6)
    layers.place("last", keep_dual=True, rows=[1])
    layers.forget([1])
    layers.run(3, recent=6)
    layers.combine()
    factors = layers.factors
    assert factors is not None
    assert factors[1, :3].tolist() == [0, 0, 0]
    assert factors[1, 3:].count_nonzero() == 2
    assert factors[0].count_nonzero() == factors[2].count_nonzero() == 5
    # An item that has just begun has no combination.
    layers.place("last", keep_dual=True, rows=[0])
    layers.forget([0])
    layers.run(1, recent=6)
    values = layers.evaluate()
    assert not values.combination.isfinite()[0]
    assert values.combination.isfinite()[1:].all()


def test_an_affine_iteration_is_solved_by_its_combination():
    """Two unknowns and two data: as soon as no coefficient changes its sign, four changes span all that is wrong."""
    A = torch.tensor([[1.0, 0.3], [-0.2, 0.5]], dtype=torch.float64)
    y = torch.tensor([[1.0, 2.0]], dtype=torch.float64) @ A.mT
    problem = SynthesisProblem(Matrix(A), None, 1e-3, Squared())
    norm = problem.operator.norm_bound.value
    layers = Iteration(SynthesisKernel(problem.compact()), y, None, torch.float64, track=True)
    one = torch.ones(1, dtype=torch.float64)
    layers.set_steps(one / norm, one / norm, one)
    layers.run(12, recent=6)
    layers.combine()
    # The minimiser: 2 A^T (Ax - y) = -lambda sign(x).
    x = torch.linalg.solve(2 * A.mT @ A, 2 * A.mT @ y[0] - 1e-3 * torch.ones(2, dtype=torch.float64))
    assert (x > 0).all()
    last, combined = (float(torch.linalg.vector_norm(z[0] - x)) for z in (layers.last, layers.combination()))
    assert combined < 1e-3 * last


def test_large_volumes_keep_no_states():
    assert recent_states(2**20) == 6
    assert recent_states(2**20 + 1) == 0


def test_fewer_layers_with_combinations(monkeypatch: pytest.MonkeyPatch):
    A = Matrix(torch.from_numpy(np.random.default_rng(5).standard_normal((20, 40)) / 5))
    y = A(torch.from_numpy(np.eye(40)[3] + 2 * np.eye(40)[17]))
    net = Firenet(A, lam=0.05, schedule=AdaptiveRestarts(1e-8))
    with_, image = int(net.solve(y).layers), net.solve(y).image
    monkeypatch.setattr("firenet.solver.adaptive_loop.recent_states", lambda size: 0)
    without = net.solve(y)
    assert with_ < int(without.layers)
    torch.testing.assert_close(image, without.image, rtol=0, atol=1e-4)
