"""Iteration: the formula, written anew in NumPy; the way in place and the differentiable way; what lies between
layers."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from draws import uniform
from firenet import (
    BadInput,
    Firenet,
    LinearOperator,
    Matrix,
    MultiCoilFourier,
    PaperSchedule,
    SubsampledFourier,
    SubsampledWalsh,
    Wavelet,
)
from firenet.operators.compact import Compact
from firenet.problems.synthesis import SynthesisProblem
from firenet.solver import FixedSteps
from firenet.solver.controller import RestartPoint
from firenet.solver.iteration import Iteration
from firenet.solver.schedules import FrozenSteps, Run
from firenet.solver.synthesis_kernel import SynthesisKernel
from laws import ROUNDINGS, Probe, assert_refuses, rounding_of_layers, units
from oracles import dual_bound, objective, soft

kinds = pytest.mark.parametrize("kind", ["real", "complex"])
relaxations = pytest.mark.parametrize("rho", [1.0, 1.8, 0.4])
BATCH = 3


def random(shape: tuple[int, ...], dtype: torch.dtype, seed: int) -> Tensor:
    return Probe(dtype, seed=seed).draw(shape)


def some(*shape: int) -> Tensor:
    mask = uniform(shape, seed=sum(shape)) < 0.6
    mask.view(-1)[0] = True
    return mask


# Operators of every kind of compact coordinates, for a dtype of the measurements.
OPERATORS: dict[str, Callable[[torch.dtype], LinearOperator]] = {
    "matrix": lambda dtype: Matrix(random((7, 12), dtype, 0) / 3),
    "Fourier": lambda _: SubsampledFourier(some(9)),
    "folded": lambda _: SubsampledFourier(some(32, 16)) @ Wavelet((32, 16), "haar", 2).H,
    "padded": lambda _: SubsampledFourier(some(5, 7)) @ Wavelet((5, 7), "haar", 1).H,
    "Walsh": lambda _: SubsampledWalsh(some(4, 4)) @ Wavelet((4, 4), "haar", 1).H,
    "coils": lambda dtype: MultiCoilFourier(some(4, 5), random((2, 4, 5), dtype, 1)),
}
DTYPES = {"real": torch.float64, "complex": torch.complex128, "real, single": torch.float32, "single": torch.complex64}
SETUPS = [
    (name, dtype) for name in OPERATORS for dtype in DTYPES if name in ("matrix", "Walsh") or DTYPES[dtype].is_complex
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
    dtype = DTYPES[kind]
    operator = OPERATORS[name](dtype)
    y = operator.restrict(random((BATCH, *operator.out_shape), dtype, 2))
    y = y * torch.tensor([1.0, 1e-3, 1e2]).view(-1, *(1,) * len(operator.out_shape))
    state = operator.state_dtype(dtype)
    x = random((BATCH, *operator.in_shape), state, 3)
    weights = uniform(operator.in_shape, seed=4) + 0.5 if weighted else None
    weights = None if weights is None else weights.to(dtype.to_real())
    norm = operator.norm_bound.value
    omega = torch.tensor([1.0, 0.1, 30.0], dtype=torch.float64)
    one = torch.ones(BATCH, dtype=torch.float64)
    tau, sigma = omega / norm, torch.tensor([1.0, 0.5, 0.9]) / (omega * norm)
    return Setup(SynthesisProblem(operator, weights, lam), y, x, tau, sigma, rho * one)


def near(a: Tensor, b: Tensor, roundings: float = 100) -> None:
    """Item by item: a difference of so many roundings, relative to the size of the item."""
    assert a.shape == b.shape
    assert a.dtype == b.dtype
    for one, other in zip(a.detach(), b.detach(), strict=True):
        off = (one - other).abs().max().item() if one.numel() else 0.0
        allowed = roundings * torch.finfo(a.dtype).eps * other.abs().max().item() if other.numel() else 0.0
        assert off <= allowed, f"off by {off:.3g}, allowed {allowed:.3g}"


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
def test_in_place_is_the_same_as_with_gradients(name: str, kind: str, rho: float, weighted: bool):
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
    near(layers.x, x, 2)
    near(layers.q, q, 2)
    near(layers.measured, layers.operator(x), 1000)
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
    points = random(tuple(layers.x.shape), layers.x.dtype, 9)
    layers.place(points, keep_dual=False)
    assert layers.x.equal(points)
    assert not layers.q.abs().any()
    assert not layers.back.abs().any()
    near(layers.measured, layers.operator(points))


@setups
@pytest.mark.parametrize("where", ["average", "last", "points"])
@pytest.mark.parametrize("keep_dual", [False, True])
def test_rows_are_placed_and_others_stay(name: str, kind: str, where: Any, keep_dual: bool):
    """Some items start anew; the others go on, and end where they would have ended without."""
    if where == "points":
        if keep_dual:
            return
        operator = OPERATORS[name](DTYPES[kind])
        where = (
            OPERATORS[name](DTYPES[kind])
            .compact()
            .pack(random((BATCH, *operator.in_shape), operator.state_dtype(DTYPES[kind]), 9))
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
    near(layers.average(), torch.stack(points).mean(0))
    near(layers.average_dual(), torch.stack(duals).mean(0))


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
    if torch.finfo(DTYPES[kind]).bits == 64:
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
    near(layers.last_measured, layers.operator(layers.last), 200)
    q = layers.q.clone()
    layers.run(1)
    near(layers.q, q, 20)


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
        near(other, gradients[0])


# --------------------------------------------------------------------------------------------------------- checkpoints


FROZEN = FrozenSteps(
    (
        Run(0.3, 0.4, 5, 1.8, "average", True),
        Run(0.2, 0.7, 4, 1.8, "last", True),
        Run(0.5, 0.3, 6, 0.7, "average", False),
        Run(0.1, 0.9, 3, 1.0, "last", True),
    )
)
SCHEDULES = [PaperSchedule(3, 4), FixedSteps(11), FROZEN]


def unit_net(name: str, kind: str, schedule: Any) -> Firenet:
    """A network whose weights ask for gradients, its operator scaled to a norm of at most 1 (so that FROZEN fits)."""
    dtype = DTYPES[kind]
    operators: dict[str, Callable[[], tuple[LinearOperator, Wavelet | None]]] = {
        "matrix": lambda: (Matrix(random((7, 12), dtype, 0) / 12), None),
        "folded": lambda: (SubsampledFourier(some(32, 16)), Wavelet((32, 16), "haar", 2)),
        "padded": lambda: (SubsampledFourier(some(5, 7)), Wavelet((5, 7), "haar", 1)),
    }
    sensing, frame = operators[name]()
    shape = sensing.in_shape if frame is None else frame.out_shape
    weights = uniform(shape, seed=0).to(dtype.to_real()) + 0.5
    net = Firenet(sensing, frame, weights=weights, lam=0.05, schedule=schedule)
    assert net.operator.norm_bound.value <= 1 + 1e-6
    return net


def gradients(net: Firenet, y: Tensor, x0: Tensor, checkpoint: int | None) -> list[Tensor]:
    y, x0 = y.clone().requires_grad_(), x0.clone().requires_grad_()
    assert isinstance(net.weights, Tensor)
    weights = net.weights.clone().requires_grad_()
    net.weights = weights
    image = net(y, x0, checkpoint=checkpoint)
    value = (image.abs() ** 2).sum() + image.real.sum()
    return [image.detach(), *torch.autograd.grad(value, [y, x0, weights])]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize(
    ("name", "kind"), [("matrix", "real"), ("matrix", "complex"), ("folded", "complex"), ("padded", "single")]
)
def test_checkpoints_change_no_gradient(name: str, kind: str, schedule: Any):
    net = unit_net(name, kind, schedule)
    y = random((2, *net.sensing.out_shape), DTYPES[kind], 1)
    x0 = random(net.sensing.in_shape, net.operator.state_dtype(DTYPES[kind]), 2)
    plain = gradients(net, y, x0, None)
    assert all(g.abs().any() for g in plain)
    for checkpoint in (1, 3, 100):
        for a, b in zip(gradients(net, y, x0, checkpoint), plain, strict=True):
            assert a.dtype == b.dtype
            torch.testing.assert_close(a, b, rtol=0, atol=100 * torch.finfo(b.dtype).eps * b.abs().max().item())


def kept_numbers(net: Firenet, y: Tensor, checkpoint: int | None) -> int:
    """How many numbers wait for the backward pass."""
    storages: dict[int, int] = {}

    def pack(t: Tensor) -> Tensor:
        storages[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        net(y.clone().requires_grad_(), checkpoint=checkpoint)
    return sum(storages.values())


@pytest.mark.parametrize("name", ["matrix", "folded"])
def test_checkpoints_save_memory(name: str):
    net = unit_net(name, "complex", FixedSteps(64))
    y = random(net.sensing.out_shape, torch.complex128, 1)
    plain, checked = kept_numbers(net, y, None), kept_numbers(net, y, 8)
    assert checked < plain / 4
    # It grows with the number of checkpoints, not with that of the layers.
    longer = kept_numbers(net.following(FixedSteps(256)), y, 32)
    assert longer < 1.3 * checked


@pytest.mark.parametrize("checkpoint", [0, -1])
def test_checkpoints_of_no_layer_are_refused(checkpoint: int):
    net = unit_net("matrix", "real", FixedSteps(2))
    with pytest.raises(BadInput) as caught:
        net(torch.ones(7, dtype=torch.float64), checkpoint=checkpoint)
    assert "checkpoint" in caught.value.needed
    assert str(checkpoint) in caught.value.got


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
@kinds
def test_without_gradients_the_network_is_the_same(kind: str, schedule: Any):
    """The loop in place and the differentiable one, whole networks with their restarts."""
    net = unit_net("matrix", kind, schedule)
    y = random((2, 7), DTYPES[kind], 1)
    with torch.no_grad():
        quiet = net(y)
    derived = net(y.requires_grad_())
    assert derived.requires_grad
    assert not quiet.requires_grad
    near(quiet, derived)
    near(net.solve(y).image, quiet)


def test_checkpoints_without_gradients_change_nothing():
    net = unit_net("matrix", "complex", FROZEN)
    y = random((7,), torch.complex128, 1)
    assert net(y, checkpoint=2).equal(net(y))


# ------------------------------------------------------------------------------------- the ways of the problem in place


@kinds
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
@pytest.mark.parametrize("bits", [32, 64])
def test_shrink_in_place_is_shrink(kind: str, scale: float, bits: int):
    dtype = {("real", 32): torch.float32, ("complex", 32): torch.complex64}.get((kind, bits), DTYPES[kind])
    operator = Matrix(torch.ones(1, 50, dtype=dtype))
    weights = (uniform(50, seed=1) + 0.5).to(dtype.to_real())
    v = random((BATCH, 50), dtype, 0) * scale
    v[:, 0] = 0
    tau = torch.tensor([1.0, 0.3, 2.0], dtype=dtype.to_real()).view(-1, 1) * scale
    for w in (None, weights):
        problem = SynthesisProblem(operator, w, 0.7)
        kernel = SynthesisKernel(problem)
        expected, kept = kernel.primal(v, tau), v.clone()
        result = kernel.primal_(kept, kernel.threshold(tau, v))
        assert result.data_ptr() == kept.data_ptr()  # it is the argument, written over
        near(result, expected, 4)
        assert result.eq(0).equal(expected.eq(0))
        assert result[:, 0].eq(0).all()
        assert 0.1 < result.ne(0).double().mean().item() < 0.95


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


@pytest.mark.parametrize("kind", DTYPES)
def test_a_frozen_network_whose_relaxation_changes(kind: str):
    frozen = FrozenSteps((Run(0.3, 0.4, 5, 1.0, "last", True), Run(0.2, 0.7, 4, 1.8, "last", True)))
    net, y = unit_net("matrix", kind, frozen), random((2, 7), DTYPES[kind], 1)
    with torch.no_grad():
        quiet = net(y)
    near(quiet, net(y.requires_grad_()).detach(), 1000)


def test_points_that_are_given_are_not_written_into():
    """place(points) with all rows, then relaxed layers."""
    s = setup("matrix", "complex")
    layers = s.layers()
    layers.run(2)
    points = random(tuple(layers.x.shape), layers.x.dtype, 9)
    kept = points.clone()
    layers.place(points, keep_dual=False)
    layers.run(4)
    assert points.equal(kept)


@kinds
@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("weighted", [False, True])
def test_shrink_in_place_for_every_length_and_ratio(kind: str, bits: int, weighted: bool):
    """Numbers far above the threshold, in vectors that fill no register: no rounding may turn a phase, no square
    overflow."""
    dtype = {("real", 32): torch.float32, ("complex", 32): torch.complex64}.get((kind, bits), DTYPES[kind])
    for n, exponent in itertools.product((1, 2, 3, 5, 6, 7, 15, 16, 20, 33), (0, 2, 4, 6, 8, 12, 15, 18, 22, 30)):
        weights = (uniform(n, seed=1) + 0.5).to(dtype.to_real())
        problem = SynthesisProblem(Matrix(torch.ones(1, n, dtype=dtype)), weights if weighted else None, 0.7)
        v = random((7, n), dtype, exponent)
        tau = torch.full((7, 1), 10.0**-exponent, dtype=dtype.to_real())
        kernel = SynthesisKernel(problem)
        near(kernel.primal_(v.clone(), kernel.threshold(tau, v)), kernel.primal(v, tau), 4)


@kinds
def test_a_threshold_of_zero_is_no_division_by_zero(kind: str):
    dtype = DTYPES[kind].to_real()
    problem = SynthesisProblem(Matrix(torch.ones(1, 4, dtype=dtype)), None, 1e-300)
    v = random((1, 4), DTYPES[kind], 0)
    tau = torch.full((1, 1), 1e-300, dtype=dtype)
    kernel = SynthesisKernel(problem)
    near(kernel.primal_(v.clone(), kernel.threshold(tau, v)), v)
    near(kernel.primal(v, tau), v)
