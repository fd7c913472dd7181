"""Iteration: the formula, written anew in NumPy; the way in place and the differentiable way; what lies between
layers."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cases import BATCH, PRECISIONS, draw, kinds, with_zero
from draws import uniform
from firenet import LinearOperator, Matrix, MultiCoilFourier, SubsampledFourier, SubsampledWalsh, Wavelet
from firenet.operators.compact import Compact
from firenet.problems.synthesis import SynthesisProblem
from firenet.solver.controller import RestartPoint
from firenet.solver.iteration import Iteration
from firenet.solver.synthesis_kernel import SynthesisKernel
from laws import ROUNDINGS, assert_each_near, assert_refuses, rounding_of_layers, units
from oracles import dual_bound, objective, soft

relaxations = pytest.mark.parametrize("rho", [1.0, 1.8, 0.4])


# Operators of every kind of compact coordinates, for a dtype of the measurements.
OPERATORS: dict[str, Callable[[torch.dtype], LinearOperator]] = {
    "matrix": lambda dtype: Matrix(draw((7, 12), dtype, 0) / 3),
    "Fourier": lambda _: SubsampledFourier(with_zero(9)),
    "folded": lambda _: SubsampledFourier(with_zero(32, 16)) @ Wavelet((32, 16), "haar", 2).H,
    "padded": lambda _: SubsampledFourier(with_zero(5, 7)) @ Wavelet((5, 7), "haar", 1).H,
    "Walsh": lambda _: SubsampledWalsh(with_zero(4, 4)) @ Wavelet((4, 4), "haar", 1).H,
    "coils": lambda dtype: MultiCoilFourier(with_zero(4, 5), draw((2, 4, 5), dtype, 1)),
}
SETUPS = [
    (name, dtype)
    for name in OPERATORS
    for dtype in PRECISIONS
    if name in ("matrix", "Walsh") or PRECISIONS[dtype].is_complex
]
setups = pytest.mark.parametrize(("name", "kind"), SETUPS)


@dataclass
class Setup:
    """A problem, measurements and a first point in the usual coordinates, with a batch axis; steps for each item."""

    problem: SynthesisProblem
    y: Tensor
    x: Tensor
    tau: Tensor
    sigma: Tensor
    rho: Tensor

    @property
    def dense(self) -> tuple[np.ndarray, np.ndarray]:
        """The matrix and the weights."""
        operator, weights = self.problem.operator, self.problem.weights
        assert isinstance(operator, Matrix)
        return operator.matrix.numpy(), np.ones(operator.in_shape) if weights is None else weights.numpy()

    def layers(self, *, first: bool = True, track: bool = True, gradients: bool = False) -> Iteration:
        problem = self.problem.compact()
        compact = problem.operator
        assert isinstance(compact, Compact)
        y = self.y.clone().requires_grad_(gradients)
        x = compact.pack(self.x) if first else None
        layers = Iteration(SynthesisKernel(problem), compact.pack_measured(y), x, self.x.dtype, track=track)
        layers.set_steps(self.tau, self.sigma, self.rho)
        return layers


def setup(name: str, kind: str, *, weighted: bool = True, rho: float = 1.8, lam: float = 0.05) -> Setup:
    dtype = PRECISIONS[kind]
    operator = OPERATORS[name](dtype)
    y = operator.restrict(draw((BATCH, *operator.out_shape), dtype, 2))
    y = y * torch.tensor([1.0, 1e-3, 1e2]).view(-1, *(1,) * len(operator.out_shape))
    state = operator.state_dtype(dtype)
    x = draw((BATCH, *operator.in_shape), state, 3)
    weights = uniform(operator.in_shape, seed=4) + 0.5 if weighted else None
    weights = None if weights is None else weights.to(dtype.to_real())
    norm = operator.norm_bound.value
    omega = torch.tensor([1.0, 0.1, 30.0], dtype=torch.float64)
    one = torch.ones(BATCH, dtype=torch.float64)
    tau, sigma = omega / norm, torch.tensor([1.0, 0.5, 0.9]) / (omega * norm)
    return Setup(SynthesisProblem(operator, weights, lam), y, x, tau, sigma, rho * one)


STATE = ("x", "q", "measured", "last", "last_measured", "back")


def rounding(s: Setup, a: Iteration, layers: int, items: list[int]) -> dict[str, Tensor]:
    """How far runs may be apart that were the same so many layers ago, and their values: one number a batch item."""
    operator, w = a.operator.operator, s.problem.weights
    size, tau, data = operator.norm_bound.value, s.tau[items], lengths(s.y[items])
    ways = torch.stack([lengths(s.x[items]), lengths(a.x.detach()), lengths(a.last.detach()), tau * size])
    x, q = ways.amax(dim=0), lengths(a.q.detach()).clamp(min=1)
    of = {"tau": tau, "sigma": s.sigma[items], "rho": s.rho[items]}
    allowed = rounding_of_layers(layers, operator, a.x.dtype, **of, x=x, q=q, y=data)
    # The objective is Lipschitz in x and Ax. The dual value is -<y, q>, divided by 1 or by what makes q feasible, of
    # which A*q / (lambda w) may be the largest. Both are sums of as many numbers as there are.
    weights = torch.ones(operator.in_shape) if w is None else w.expand(operator.in_shape).to(torch.float64)
    lam, unit = s.problem.lam, ROUNDINGS * units(operator, a.x.dtype) / size
    value = lam * torch.linalg.vector_norm(weights).item() * (allowed["x"] + unit * x)
    allowed["value"] = value + allowed["measured"] + unit * (size * x + data)
    worst = allowed["back"] / (lam * weights.min().item())
    return allowed | {"dual": data * (allowed["q"] + q * (worst + unit))}


def alike(s: Setup, a: Iteration, b: Iteration, layers: int, items: list[int] | None = None) -> None:
    """State, averages and values of two runs are those of the same run, but for rounding. ``items`` are those of the
    setup that the runs consist of."""
    allowed = rounding(s, a, layers, list(range(BATCH)) if items is None else items)
    pairs = [(getattr(a, field), getattr(b, field), field.removeprefix("last_")) for field in STATE]
    pairs += [(a.average(), b.average(), "x"), (a.average_dual(), b.average_dual(), "q")]
    one, other = a.evaluate(), b.evaluate()
    for field in ("last", "average", "dual_last", "dual_average"):
        kind = "dual" if field.startswith("dual") else "value"
        pairs.append((getattr(one, field), getattr(other, field), kind))
    for mine, yours, kind in pairs:
        assert mine.shape == yours.shape
        assert mine.dtype == yours.dtype
        off, most = lengths((mine - yours).detach().reshape(len(mine), -1)), allowed["x" if kind == "last" else kind]
        assert (off <= most).all(), f"{kind} off by {off.tolist()}, allowed {most.tolist()}"


def item(layers: Iteration, k: int) -> Iteration:
    """One of the batch, to be looked at."""
    one = copy.copy(layers)
    one.keep([k])
    return one


def lengths(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x.to(torch.complex128).flatten(1), dim=1)


# -------------------------------------------------------------------------------------------------------- the formula


@kinds
@relaxations
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("gradients", [False, True])
def test_a_layer_is_the_formula(kind: str, rho: float, weighted: bool, gradients: bool):
    """NumPy, with a dense matrix, item by item. The averages are those of the points before the relaxation and of the
    duals after it."""
    s = setup("matrix", kind, weighted=weighted, rho=rho)
    layers = s.layers(gradients=gradients)
    A, w = s.dense
    states = [(x, np.zeros(len(A), A.dtype), 0 * x, np.zeros(len(A), A.dtype)) for x in s.x.numpy()]
    for count in range(1, 13):
        layers.run(1)
        for k, (x, q, x_sum, q_sum) in enumerate(states):
            tau, sigma, y = s.tau[k].item(), s.sigma[k].item(), s.y[k].numpy()
            new = soft(x - tau * (A.conj().T @ q), tau * s.problem.lam * w)
            u = q + sigma * (A @ (2 * new - x) - y)
            u = u / max(1.0, float(np.linalg.norm(u)))
            x, q = x + rho * (new - x), q + rho * (u - q)
            states[k] = x, q, x_sum + new, q_sum + q
            for mine, other in (
                (layers.x, x),
                (layers.q, q),
                (layers.last, new),
                (layers.average(), (x_sum + new) / count),
                (layers.average_dual(), (q_sum + q) / count),
                (layers.measured, A @ x),
                (layers.last_measured, A @ new),
            ):
                size = max(np.abs(other).max(), 1e-2)
                np.testing.assert_allclose(mine[k].detach().numpy(), other, rtol=0, atol=1e-11 * size)


@setups
@pytest.mark.parametrize(("rho", "weighted"), [(1.0, True), (1.8, True), (0.4, False)])
def test_in_place_is_the_same_as_with_gradients(name: str, kind: str, rho: float, weighted: bool, engine: str):
    s = setup(name, kind, weighted=weighted, rho=rho)
    for first in (False, True):
        quiet, derived = s.layers(first=first), s.layers(first=first, gradients=True)
        done = 0
        for layers in (1, 1, 5):
            done += layers
            quiet.run(layers)
            derived.run(layers)
            assert not quiet.x.requires_grad
            assert derived.q.requires_grad
            alike(s, quiet, derived, done)


@setups
def test_items_with_relaxations_of_their_own(name: str, kind: str):
    """A batch of one relaxed item and others is each of them alone."""
    s = setup(name, kind)
    s.rho = torch.tensor([1.0, 1.8, 0.4], dtype=torch.float64)
    together = s.layers()
    together.run(7)
    for k in range(BATCH):
        alone = Setup(s.problem, *(t[k : k + 1] for t in (s.y, s.x, s.tau, s.sigma, s.rho))).layers()
        alone.run(7)
        alike(s, item(together, k), alone, 7, [k])


@setups
def test_what_is_given_stays_as_it_is(name: str, kind: str):
    s = setup(name, kind)
    problem = s.problem.compact()
    assert isinstance(problem.operator, Compact)
    y, x = problem.operator.pack_measured(s.y), problem.operator.pack(s.x)
    kept = y.clone(), x.clone()
    layers = Iteration(SynthesisKernel(problem), y, x, x.dtype, track=True)
    layers.set_steps(s.tau, s.sigma, s.rho)
    for _ in range(3):
        layers.run(3)
        layers.evaluate()
        layers.place("average", keep_dual=True)
        layers.forget()
    assert y.equal(kept[0])
    assert x.equal(kept[1])


# ----------------------------------------------------------------------------------------------------- between layers


@setups
@pytest.mark.parametrize(("rho", "gradients"), [(1.0, True), (1.8, False), (1.0, False)])
def test_values_are_those_of_the_problem(name: str, kind: str, rho: float, gradients: bool):
    """evaluate() needs no operator; the problem, asked in the usual coordinates, gives the same numbers."""
    s = setup(name, kind, rho=rho)
    layers = s.layers(gradients=gradients)
    compact, problem = layers.operator, s.problem
    for count in (1, 2, 10):
        layers.run(count)
        values = layers.evaluate()
        for z, value in ((layers.last, values.last), (layers.average(), values.average)):
            expected = problem.objective(compact.unpack(z.detach()), s.y)
            torch.testing.assert_close(value.detach(), expected, rtol=1e3 * torch.finfo(s.y.dtype).eps, atol=0)
        for q, value in ((layers.q, values.dual_last), (layers.average_dual(), values.dual_average)):
            feasible = problem.feasible(compact.unpack_measured(q.detach()), s.y)
            expected = problem.dual_value(feasible, s.y).clamp(min=0)  # the zero dual point is feasible too
            size = torch.linalg.vector_norm(s.y.flatten(1), dim=1).max().item()
            atol = 1e3 * torch.finfo(s.y.dtype).eps * size
            torch.testing.assert_close(value.detach(), expected, rtol=0, atol=atol)
        assert all(v.dtype == torch.float64 for v in vars(values).values())


@kinds
def test_values_are_those_of_numpy(kind: str):
    s = setup("matrix", kind)
    layers = s.layers()
    A, w = s.dense
    layers.run(9)
    values = layers.evaluate()
    for k, y in enumerate(s.y.numpy()):
        for z, value in ((layers.last, values.last), (layers.average(), values.average)):
            assert value[k].item() == pytest.approx(objective(A, y, w, s.problem.lam, z[k].numpy()), rel=1e-11)
        for q, value in ((layers.q, values.dual_last), (layers.average_dual(), values.dual_average)):
            expected = dual_bound(A, y, w, s.problem.lam, q[k].numpy())
            assert value[k].item() == pytest.approx(expected, rel=1e-11, abs=1e-11 * float(np.linalg.norm(y)))


def test_a_look_changes_nothing():
    s = setup("folded", "complex")
    looked, blind = s.layers(), s.layers()
    for _ in range(5):
        looked.run(2)
        looked.evaluate()
        _ = looked.average(), looked.average_dual(), looked.back
    blind.run(10)
    for field in STATE:
        assert getattr(looked, field).equal(getattr(blind, field))


WHERES: tuple[RestartPoint, ...] = ("average", "last")


@setups
@pytest.mark.parametrize("where", WHERES)
@pytest.mark.parametrize("keep_dual", [False, True])
@pytest.mark.parametrize("gradients", [False, True])
def test_place(name: str, kind: str, where: RestartPoint, keep_dual: bool, gradients: bool):
    """Where a run starts from, and that Ax and A*q belong to it."""
    s = setup(name, kind)
    layers = s.layers(gradients=gradients)
    layers.run(5)
    x = layers.average() if where == "average" else layers.x.clone()
    q = layers.average_dual() if where == "average" else layers.q.clone()
    q = q if keep_dual else torch.zeros_like(q)
    layers.place(where, keep_dual=keep_dual)
    assert_each_near(layers.x, x, 2)
    assert_each_near(layers.q, q, 2)
    assert_each_near(layers.measured, layers.operator(x), 1000)
    expected = layers.operator.adjoint(q)
    eps = torch.finfo(x.dtype).eps
    torch.testing.assert_close(
        layers.back, expected, rtol=0, atol=100 * eps * layers.operator.operator.norm_bound.value
    )


@setups
def test_place_at_given_points(name: str, kind: str):
    s = setup(name, kind)
    layers = s.layers()
    layers.run(5)
    points = draw(tuple(layers.x.shape), layers.x.dtype, 9)
    layers.place(points, keep_dual=False)
    assert layers.x.equal(points)
    assert not layers.q.abs().any()
    assert not layers.back.abs().any()
    assert_each_near(layers.measured, layers.operator(points))


@setups
@pytest.mark.parametrize("where", ["average", "last", "points"])
@pytest.mark.parametrize("keep_dual", [False, True])
def test_rows_are_placed_and_others_stay(name: str, kind: str, where: Any, keep_dual: bool):
    """Some items start anew; the others go on, and end where they would have ended without."""
    if where == "points":
        if keep_dual:
            return
        operator = OPERATORS[name](PRECISIONS[kind])
        where = (
            OPERATORS[name](PRECISIONS[kind])
            .compact()
            .pack(draw((BATCH, *operator.in_shape), operator.state_dtype(PRECISIONS[kind]), 9))
        )
    s = setup(name, kind)
    mixed, all_of_them, none = s.layers(), s.layers(), s.layers()
    for layers in (mixed, all_of_them, none):
        layers.run(4)
    rows = [0, 2]
    mixed.place(where, keep_dual=keep_dual, rows=rows)
    mixed.forget(rows)
    all_of_them.place(where, keep_dual=keep_dual)
    all_of_them.forget()
    for layers in (mixed, all_of_them, none):
        layers.run(4)
    assert mixed.count.tolist() == [4, 8, 4]
    for k in range(BATCH):
        # In single precision a restart measures all of them anew.
        alike(s, item(mixed, k), item(all_of_them if k in rows else none, k), 8, [k])


@setups
def test_forget_begins_the_averages_anew(name: str, kind: str):
    s = setup(name, kind)
    layers = s.layers()
    layers.run(3)
    layers.forget()
    points, duals = [], []
    for _ in range(4):
        layers.run(1)
        points.append(layers.last.clone())
        duals.append(layers.q.clone())
    assert_each_near(layers.average(), torch.stack(points).mean(0))
    assert_each_near(layers.average_dual(), torch.stack(duals).mean(0))


@setups
def test_moved_is_the_way_since_the_items_own_restart(name: str, kind: str):
    """Asked for some of them, the others lose nothing."""
    s = setup(name, kind)
    layers = s.layers()
    starts = [layers.x.clone(), layers.q.clone()]
    for rows, layers_more in (([1], 3), ([0, 2], 2), ([0, 1, 2], 4), ([2], 1), ([0, 1, 2], 5)):
        layers.run(layers_more)
        states = [layers.x.clone(), layers.q.clone()]
        for distance, end, start in zip(layers.moved(rows), states, starts, strict=True):
            assert distance.dtype == torch.float64
            expected = lengths(end - start)[rows]
            # A difference of numbers as large as the state, and a sum over as many.
            atol = 100 * torch.finfo(end.dtype).eps * lengths(end).max().item()
            torch.testing.assert_close(distance[rows], expected, rtol=0, atol=atol)
        layers.forget(rows)
        for start, state in zip(starts, states, strict=True):
            start[rows] = state[rows]


@setups
def test_keep(name: str, kind: str):
    """The items that stay go on as if they had been alone, and the operator sees only them."""
    s = setup(name, kind)
    kept, alone = s.layers(), Setup(s.problem, *(t[[2, 0]] for t in (s.y, s.x, s.tau, s.sigma, s.rho))).layers()
    kept.run(5)
    alone.run(5)
    kept.keep([2, 0])
    kept.set_steps(s.tau[[2, 0]], s.sigma[[2, 0]], s.rho[[2, 0]])
    for layers in (kept, alone):
        layers.run(5)
    assert all(len(getattr(kept, field)) == 2 for field in STATE)
    alike(s, kept, alone, 10, [2, 0])
    allowed = rounding(s, kept, 10, [2, 0])
    for mine, other, field in zip(kept.moved([0, 1]), alone.moved([0, 1]), "xq", strict=True):
        assert ((mine - other).abs() <= allowed[field]).all()


@setups
def test_in_single_precision_the_state_is_measured_anew(name: str, kind: str):
    """anchor() clears away what has gathered in Ax; in double precision there is nothing to clear."""
    s = setup(name, kind)
    layers = s.layers()
    layers.run(50)
    before = layers.measured
    layers.anchor()
    if torch.finfo(PRECISIONS[kind]).bits == 64:
        assert layers.measured is before
    else:
        assert layers.measured.equal(layers.operator(layers.x))
        assert layers.last_measured.equal(layers.operator(layers.last))
    off = lengths(layers.measured - before)
    assert (off <= rounding(s, layers, 50, list(range(BATCH)))["measured"]).all()


@pytest.mark.parametrize("kind", ["real, single", "single"])
def test_rounding_does_not_gather_in_single_precision(kind: str):
    """After two thousand layers, the measurements carried along are those of the point, and the dual has settled."""
    s = setup("matrix", kind, lam=0.3)
    s.y, s.x = s.y[:1], s.x[:1]
    s.tau, s.sigma, s.rho = s.tau[:1], s.sigma[:1], s.rho[:1]
    layers = s.layers()
    layers.run(2000)
    assert_each_near(layers.last_measured, layers.operator(layers.last), 200)
    q = layers.q.clone()
    layers.run(1)
    assert_each_near(layers.q, q, 20)


# --------------------------------------------------------------------------------------------------------------- steps


@pytest.mark.parametrize("product", [1.0001, 4.0, math.nan, math.inf])
def test_steps_that_are_too_long_are_refused(product: float):
    s = setup("matrix", "complex")
    layers = s.layers()
    s.sigma[1] = product / s.tau[1] / layers.operator.operator.norm_bound.value**2
    error = assert_refuses(lambda: layers.set_steps(s.tau, s.sigma, s.rho), "tau * sigma * norm^2 <= 1")
    assert f"{product:.6g}" in error.got


def test_new_steps_do_not_reach_back():
    """Gradients of layers that were run with other steps are those of their own steps, recomputed or not."""
    gradients = []
    for checkpoint in (None, 1, 3):
        s = setup("matrix", "complex")
        y = s.y.clone().requires_grad_()
        layers = Iteration(SynthesisKernel(s.problem.compact()), y, s.x, s.x.dtype, track=True)
        for factor in (1.0, 0.1, 0.7):
            layers.set_steps(factor * s.tau, 0.9 / factor * s.sigma, torch.full_like(s.rho, 2 * factor - factor**2))
            layers.run(5, checkpoint)
            layers.place("average", keep_dual=True)
            layers.forget()
        gradients.append(torch.autograd.grad(layers.x.abs().sum(), y)[0])
    for other in gradients[1:]:
        assert_each_near(other, gradients[0])


@setups
@pytest.mark.parametrize("rhos", [(1.0, 1.8, 1.0, 0.5), (1.8, 1.0, 1.8)], ids=str)
def test_the_relaxation_may_change_from_run_to_run(name: str, kind: str, rhos: tuple[float, ...]):
    """In the plain iteration the last point and the state are the same tensor; in the relaxed one they are not."""
    s = setup(name, kind, rho=1.8)  # the relaxation whose rounding is the largest
    quiet, derived = s.layers(), s.layers(gradients=True)
    done = 0
    for rho in rhos:
        for layers in (quiet, derived):
            layers.set_steps(s.tau, s.sigma, torch.full_like(s.rho, rho))
            layers.run(3)
        done += 3
        alike(s, quiet, derived, done)


def test_points_that_are_given_are_not_written_into():
    """place(points) with all rows, then relaxed layers."""
    s = setup("matrix", "complex")
    layers = s.layers()
    layers.run(2)
    points = draw(tuple(layers.x.shape), layers.x.dtype, 9)
    kept = points.clone()
    layers.place(points, keep_dual=False)
    layers.run(4)
    assert points.equal(kept)
