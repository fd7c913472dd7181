"""Networks of fixed and frozen steps inside torch.func, torch.export and torch.compile."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cases import coil_maps, draw, entries, with_zero
from draws import normal
from firenet import (
    BadInput,
    Firenet,
    Gradient,
    LinearOperator,
    Matrix,
    MultiCoilFourier,
    SubsampledFourier,
    SubsampledWalsh,
    UndecimatedWavelet,
    Wavelet,
)
from firenet.operators import VerticalStack
from firenet.problems.choices import Form
from firenet.solver.schedules import FixedSteps, FrozenSteps, PaperSchedule, Run, Schedule
from firenet.transforms import AnalysisOperator, Union, WalshHadamard

# torch.compile of older versions does not trace generators and other things that the layers use.
RECENT = tuple(int(n) for n in torch.__version__.split(".")[:2]) >= (2, 8)
recent = pytest.mark.skipif(not RECENT, reason="torch.compile and torch.export of this version trace too little")

# The order of sums is another one, and a layer maps a rounding to at most a few of its size.
NEAR = 1e-12
N = (8, 8)

SENSING: dict[str, Callable[[], LinearOperator]] = {
    "fourier": lambda: SubsampledFourier(with_zero(*N)),
    "centred": lambda: SubsampledFourier(with_zero(*N), centred=True),
    "coils": lambda: MultiCoilFourier(with_zero(*N), coil_maps(3, N)),
    "walsh": lambda: SubsampledWalsh(with_zero(*N)),
}
FRAMES: dict[str, tuple[Callable[[], AnalysisOperator], Form]] = {
    "none": (lambda: Wavelet(N, "haar", 0), "synthesis"),
    "wavelet": (lambda: Wavelet(N, "db2", 2), "synthesis"),
    "haar": (lambda: Wavelet(N, "haar", 2), "synthesis"),
    "wavelet, analysis": (lambda: Wavelet(N, "db2", 1), "analysis"),
    "undecimated": (lambda: UndecimatedWavelet(N, "db2", 2), "analysis"),
    "undecimated, synthesis": (lambda: UndecimatedWavelet(N, "haar", 2), "synthesis"),
    "gradient": (lambda: Gradient(N), "analysis"),
    "neumann": (lambda: Gradient(N, "neumann"), "analysis"),
    "union": (lambda: Union([UndecimatedWavelet(N, "haar", 1), Gradient(N)]), "analysis"),
}
FROZEN = FrozenSteps(
    (
        Run(0.5, 0.5, 2, 1.0, "average", False),
        Run(0.6, 0.5, 3, 1.5, "combination", True, (0.3, -0.2, 0.9)),
        Run(0.5, 0.4, 1, 1.2, "last", True),
    ),
    start="adjoint",
)
SCHEDULES: dict[str, Schedule] = {"fixed": FixedSteps(3), "paper": PaperSchedule(2, 2), "frozen": FROZEN}


def following(net: Firenet, name: str) -> Firenet:
    """The network with a schedule; frozen steps are those that its operator permits."""
    schedule = SCHEDULES[name]
    if isinstance(schedule, FrozenSteps):
        bound = net.operator.norm_bound.value
        schedule = replace(
            schedule, runs=tuple(replace(r, tau=r.tau / bound, sigma=r.sigma / bound) for r in FROZEN.runs)
        )
    return net.following(schedule)


def imaging(sensing: str, frame: str, schedule: str = "fixed", **options: Any) -> Firenet:
    make, form = FRAMES[frame]
    return following(Firenet(SENSING[sensing](), make(), form=form, schedule=FixedSteps(1), **options), schedule)


def small(name: str) -> Firenet:
    """Networks of matrices, and of operators made of others."""
    wide = Matrix(entries(5, 8))
    rows = Matrix(torch.linalg.qr(entries(8, 5))[0].mT)
    options: dict[str, Any] = {"lam": 0.1, "schedule": FixedSteps(3)}
    made: dict[str, Callable[[], Firenet]] = {
        "matrix": lambda: Firenet(wide, **options),
        "complex matrix": lambda: Firenet(Matrix(entries(5, 8, complex_=True)), **options),
        "sparse matrix": lambda: Firenet(Matrix(wide.matrix.to_sparse()), **options),
        "stack": lambda: Firenet(VerticalStack([wide, rows]), **options),
        "multiple": lambda: Firenet(-2.0 * wide, **options),
        "matrix of Walsh": lambda: Firenet(wide, WalshHadamard((8,)), **options),
        "matrix, undecimated": lambda: Firenet(wide, UndecimatedWavelet((8,), "haar", 2), **options),
        "weights": lambda: Firenet(wide, weights=torch.linspace(0.5, 2, 8, dtype=torch.float64), **options),
        "squared": lambda: Firenet(wide, fidelity="squared", **options),
        "ball": lambda: Firenet(wide, noise=0.5, schedule=FixedSteps(3)),
        "ball, projected": lambda: Firenet(rows, noise=0.5, schedule=FixedSteps(3)),
        "best": lambda: Firenet(wide, iterate="best", lam=0.1, schedule=PaperSchedule(2, 2)),
        "last": lambda: Firenet(wide, iterate="last", **options),
    }
    return made[name]()


SMALL = [
    *("matrix", "complex matrix", "sparse matrix", "stack", "multiple", "matrix of Walsh", "matrix, undecimated"),
    *("weights", "squared", "ball", "ball, projected", "best", "last"),
]


def measurements(net: Firenet, count: int = 3) -> Tensor:
    dtype = net.operator.state_dtype(torch.float64) if type(net.sensing) is not SubsampledWalsh else torch.float64
    return draw((count, *net.sensing.out_shape), dtype, seed=7)


def near(found: Tensor, wanted: Tensor) -> None:
    assert found.shape == wanted.shape
    assert found.dtype == wanted.dtype
    size = torch.linalg.vector_norm(wanted).item()
    assert size > 0
    assert torch.linalg.vector_norm(found - wanted).item() <= NEAR * size


@contextmanager
def quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        # They meet deprecated functions of their own.
        warnings.filterwarnings("ignore", category=FutureWarning, module=r"torch\..*")
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\).*", category=FutureWarning)
        warnings.filterwarnings("ignore", message=r".*does not support code generation for complex.*")
        yield


def exported(net: Firenet, y: Tensor) -> Any:
    with quiet():
        return torch.export.export(net, (y,))


def compiled(net: Firenet, y: Tensor, backend: str = "eager") -> Tensor:
    torch._dynamo.reset()
    with quiet():
        return torch.compile(net, fullgraph=True, backend=backend)(y)


# --- torch.func -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("sensing", SENSING)
def test_vmap_is_the_batch(sensing: str, frame: str, schedule: str) -> None:
    net = imaging(sensing, frame, schedule)
    y = measurements(net)
    near(torch.func.vmap(net)(y), net(y))


@pytest.mark.parametrize("name", SMALL)
def test_vmap_of_matrices_and_compositions(name: str) -> None:
    net = small(name)
    y = measurements(net)
    near(torch.func.vmap(net)(y), net(y))


@pytest.mark.parametrize("frame", ["wavelet", "undecimated", "gradient"])
def test_vmap_inside_a_batch_along_other_axes_and_twice(frame: str) -> None:
    net = imaging("fourier", frame)
    y = measurements(net, 6).view(3, 2, *N)
    near(torch.func.vmap(net)(y), net(y))
    near(torch.func.vmap(net, in_dims=1, out_dims=1)(y), net(y))
    near(torch.func.vmap(torch.func.vmap(net))(y), net(y))
    near(torch.func.vmap(net, in_dims=-1)(y.movedim(0, -1)), net(y))


@pytest.mark.parametrize("name", ["wavelet", "undecimated"])
def test_vmap_over_first_images(name: str) -> None:
    net = imaging("coils", name)
    y, x0 = measurements(net), draw((3, *N), torch.complex128, seed=8)
    run: Any = net
    near(torch.func.vmap(run)(y, x0), net(y, x0))
    near(torch.func.vmap(run, in_dims=(None, 0))(y[0], x0), net(y[:1].expand_as(y), x0))


def test_vmap_without_gradients_and_in_single_precision() -> None:
    for name in ("wavelet", "undecimated"):
        net = imaging("coils", name)
        net = net.to(torch.float32)
        y = measurements(net).to(torch.complex64)
        with torch.no_grad():
            found, wanted = torch.func.vmap(net)(y), net(y)
        # Three layers of some hundred roundings each.
        assert torch.linalg.vector_norm(found - wanted) <= 1e-4 * torch.linalg.vector_norm(wanted)


def test_functions_of_another_library_are_mapped_as_a_batch() -> None:
    matrix = entries(5, 8).numpy()
    functions: Any = (lambda x: matrix @ x, lambda y: matrix.T @ y)
    A = LinearOperator.from_functions(
        functions[0], functions[1], (8,), (5,), norm=float(np.linalg.norm(matrix)), numpy=True
    )
    net = Firenet(A, lam=0.1, schedule=FixedSteps(3))
    y = measurements(net)
    near(torch.func.vmap(net)(y), net(y))


@pytest.mark.parametrize("name", ["matrix", "matrix of Walsh", "matrix, undecimated", "ball", "best"])
def test_both_modes_give_one_jacobian(name: str) -> None:
    net = small(name)
    y = measurements(net)[0]
    with quiet():  # the first derivative in forward mode compiles a part of torch with torch.jit
        reverse, forward = torch.func.jacrev(net)(y), torch.func.jacfwd(net)(y)
    near(reverse, forward)
    near(reverse, torch.autograd.functional.jacobian(net, y))


@pytest.mark.parametrize("frame", ["wavelet", "undecimated", "neumann"])
@pytest.mark.parametrize("sensing", ["fourier", "coils"])
def test_gradients_of_each_item_are_those_of_a_loop(sensing: str, frame: str) -> None:
    net = imaging(sensing, frame)
    y = measurements(net)

    def loss(one: Tensor) -> Tensor:
        return net(one).abs().square().sum()

    each = torch.func.vmap(torch.func.grad(loss))(y)
    near(each, torch.stack([torch.func.grad(loss)(one) for one in y]))
    one = y[0].clone().requires_grad_()
    (plain,) = torch.autograd.grad(loss(one), one)
    near(each[0], plain)


def test_numbers_that_cannot_be_read_are_not_checked() -> None:
    net = imaging("fourier", "wavelet")
    y = measurements(net)
    y[1, 0, 0] = torch.nan
    with pytest.raises(BadInput, match="Finite measurements"):
        net(y)
    found = torch.func.vmap(net)(y)
    assert torch.isfinite(torch.view_as_real(found)).flatten(1).all(dim=1).tolist() == [True, False, True]


@pytest.mark.parametrize("wrong", ["shape", "dtype", "steps", "real"])
def test_what_can_be_seen_is_checked(wrong: str) -> None:
    net = imaging("fourier", "wavelet", "frozen")
    y = measurements(net)
    if wrong == "steps":
        net = net.following(FrozenSteps((Run(2.0, 1.0, 1, 1.0, "last"),)))
    changed: dict[str, Tensor] = {"shape": y[..., 1:], "dtype": y.real.to(torch.bfloat16), "steps": y, "real": y.real}
    with pytest.raises(BadInput):
        torch.func.vmap(net)(changed[wrong])


def test_a_search_is_refused() -> None:
    net = Firenet(Matrix(entries(5, 8)), lam=0.1)
    y = measurements(net)
    with pytest.raises(BadInput, match=r"solution|frozen"):
        torch.func.vmap(net)(y)
    with pytest.raises(BadInput, match="frozen"):
        torch.func.vmap(lambda one: net.solve(one).image)(y)


@recent
def test_a_search_in_a_compiled_function_runs_as_it_is() -> None:
    net = Firenet(Matrix(entries(5, 8)), lam=0.1)
    y = measurements(net)
    torch._dynamo.reset()
    with quiet():
        near(torch.compile(net, backend="eager")(y), net(y))
    with pytest.raises(BadInput, match="frozen"):
        exported(net, y)


# --- graphs -----------------------------------------------------------------------------------------------------------

GRAPHS = [
    *(("fourier", frame, "fixed") for frame in ("wavelet", "undecimated", "gradient")),
    ("coils", "neumann", "paper"),
    ("walsh", "haar", "frozen"),
]


@recent
@pytest.mark.parametrize(("sensing", "frame", "schedule"), GRAPHS)
def test_an_exported_program_is_the_network(sensing: str, frame: str, schedule: str) -> None:
    net = imaging(sensing, frame, schedule)
    y = measurements(net, 2)
    before = net(y)
    program = exported(net, y).module()
    near(program(y), before)
    near(program(2 * y.flip(0)), net(2 * y.flip(0)))
    # Nothing of the trace is left in the network.
    assert torch.equal(net(y), before)
    assert torch.equal(net.solve(y).image, before)


@recent
@pytest.mark.parametrize("name", ["sparse matrix", "ball, projected", "matrix, undecimated"])
def test_an_exported_program_of_matrices(name: str) -> None:
    net = small(name)
    y = measurements(net)
    near(exported(net, y).module()(y), net(y))


@recent
def test_an_exported_program_survives_a_file(tmp_path: Any) -> None:
    net = imaging("fourier", "union")
    y = measurements(net, 1)
    with quiet():
        torch.export.save(exported(net, y), tmp_path / "net.pt2")
        near(torch.export.load(tmp_path / "net.pt2").module()(y), net(y))


@recent
@pytest.mark.parametrize(
    ("sensing", "frame", "schedule"),
    [*GRAPHS, ("coils", "undecimated, synthesis", "frozen"), ("centred", "wavelet", "paper")],
)
def test_one_graph_without_a_break(sensing: str, frame: str, schedule: str) -> None:
    net = imaging(sensing, frame, schedule)
    y = measurements(net, 2)
    before = net(y)
    near(compiled(net, y), before)
    assert torch.equal(net(y), before)


@recent
@pytest.mark.parametrize("name", ["complex matrix", "sparse matrix", "stack", "weights", "squared", "ball", "best"])
def test_one_graph_of_matrices_and_compositions(name: str) -> None:
    net = small(name)
    y = measurements(net)
    near(compiled(net, y), net(y))


@recent
@pytest.mark.parametrize("frame", ["wavelet", "gradient"])
def test_the_gradient_of_a_graph(frame: str) -> None:
    net = imaging("fourier", frame)
    gradients = []
    for run in (net, lambda y: compiled(net, y, "aot_eager")):
        y = measurements(net, 2).requires_grad_()
        gradients.append(torch.autograd.grad(run(y).abs().square().sum(), y)[0])
    near(*gradients)


@recent
@pytest.mark.skipif(shutil.which("c++") is None, reason="the default backend needs a C++ compiler")
def test_the_default_backend() -> None:
    net = Firenet(Matrix(entries(5, 8)), lam=0.1, schedule=FixedSteps(2))
    y = measurements(net)
    near(compiled(net, y, "inductor"), net(y))


@recent
def test_a_graph_refuses_what_it_cannot_have() -> None:
    net = imaging("fourier", "gradient", iterate="best")
    with pytest.raises(BadInput, match="average"):
        exported(net, measurements(net, 1))
    sensing = Matrix(torch.linalg.qr(entries(8, 5))[0].mT)
    net = Firenet(sensing, noise=0.5, schedule=FixedSteps(1))
    sensing.matrix.mul_(2)
    sensing.renew()
    with pytest.raises(BadInput, match="has_minimum_norm"):
        exported(net, measurements(net))
    assert sensing.has_minimum_norm
    y = measurements(net)
    near(exported(net, y).module()(y), net(y))


@pytest.mark.parametrize("shape", [(16,), (12, 16), (4, 8, 4), (13, 9)], ids=str)
@pytest.mark.parametrize("wavelet", ["haar", "db2", "sym5", "db10"])
def test_the_formula_of_wavelets_for_compilers(
    shape: tuple[int, ...], wavelet: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    W = Wavelet(shape, wavelet, 2)
    x, c = draw((2, *W.in_shape), torch.complex128), draw((2, *W.out_shape), torch.float64, seed=1)
    wanted = W(x), W.adjoint(c)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    near(W(x), wanted[0])
    near(W.adjoint(c), wanted[1])


def test_a_normal_number_is_readable() -> None:
    from firenet.numerics import derived, readable

    x = normal(3)
    assert readable(x)
    assert not derived(x)
    seen: list[tuple[bool, bool]] = []

    def look(t: Tensor) -> Tensor:
        seen.append((readable(t), derived(t)))
        return t.sum()

    torch.func.vmap(look)(x)
    torch.func.grad(look)(x)
    torch.func.vmap(torch.func.grad(look))(x)
    assert seen == [(False, True), (True, True), (False, True)]
