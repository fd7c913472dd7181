"""The network in real numbers and as an ONNX file: the same images, the same gradients, or a refusal."""

from __future__ import annotations

import ast
import json
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from cases import random_mask
from draws import normal, uniform
from extras import onnx, onnxruntime
from firenet import (
    AdaptiveRestarts,
    BadInput,
    Firenet,
    Gradient,
    LinearOperator,
    Matrix,
    MultiCoilFourier,
    PaperSchedule,
    SubsampledFourier,
    SubsampledWalsh,
    UndecimatedWavelet,
    Wavelet,
)
from firenet.export import onnx_file as exporting
from firenet.export.onnx_file import export_onnx
from firenet.export.real_valued import Fourier, RealPacked
from firenet.operators import VerticalStack
from firenet.solver import FixedSteps, FrozenSteps, RadialSearch
from firenet.solver.controller import RestartPoint
from firenet.solver.schedules import Run, Schedule, Searched
from firenet.transforms import AnalysisOperator, Union, WalshHadamard
from laws import ROUNDINGS, units

KINDS: tuple[Fourier, ...] = ("fft", "matrix")
kinds = pytest.mark.parametrize("fourier", KINDS)


def numbers(*shape: int, real: bool = False, seed: int = 0) -> Tensor:
    dtype = torch.float64 if real else torch.complex128
    return normal(shape, dtype=dtype, seed=seed)


def coils(*shape: int) -> MultiCoilFourier:
    return MultiCoilFourier(random_mask(*shape[1:]), numbers(*shape, seed=5))


def both_penalties(*shape: int) -> Union:
    return Union([UndecimatedWavelet(shape, "haar", 1), Gradient(shape), UndecimatedWavelet(shape, "db2", 1)])


CASES: dict[str, Callable[[], tuple[LinearOperator, AnalysisOperator | None]]] = {
    "1-D, odd, no transform": lambda: (SubsampledFourier(random_mask(31)), None),
    "1-D": lambda: (SubsampledFourier(random_mask(24)), Wavelet((24,), "db4", 3)),
    "1-D, long": lambda: (SubsampledFourier(random_mask(520)), Wavelet((520,), "sym3", 3)),
    "2-D": lambda: (SubsampledFourier(random_mask(16, 8)), Wavelet((16, 8), "db2", 2)),
    "2-D, two kinds of levels": lambda: (SubsampledFourier(random_mask(40, 24)), Wavelet((40, 24), "coif1", 3)),
    "2-D, all levels apart": lambda: (SubsampledFourier(random_mask(64, 48)), Wavelet((64, 48), "haar", 2)),
    "2-D, no level": lambda: (SubsampledFourier(random_mask(8, 6)), Wavelet((8, 6), "haar", 0)),
    "2-D, padded": lambda: (SubsampledFourier(random_mask(10, 7)), Wavelet((10, 7), "haar", 2)),
    "2-D, padded, two kinds of levels": lambda: (SubsampledFourier(random_mask(30, 23)), Wavelet((30, 23), "db3", 2)),
    "3-D": lambda: (SubsampledFourier(random_mask(4, 8, 6)), Wavelet((4, 8, 6), "haar", 1)),
    "3-D, two kinds of levels": lambda: (SubsampledFourier(random_mask(8, 12, 5)), Wavelet((8, 12, 5), "db2", 2)),
    "coils": lambda: (coils(3, 16, 12), Wavelet((16, 12), "sym4", 2)),
    "coils, 3-D, no transform": lambda: (coils(2, 4, 6, 8), None),
    "Walsh": lambda: (SubsampledWalsh(random_mask(8, 16)), Wavelet((8, 16), "db2", 2)),
    "Walsh, two kinds of levels": lambda: (SubsampledWalsh(random_mask(32, 16)), Wavelet((32, 16), "haar", 2)),
    "Walsh, 1-D, no transform": lambda: (SubsampledWalsh(random_mask(16)), None),
    "Walsh, 3-D": lambda: (SubsampledWalsh(random_mask(4, 8, 4)), Wavelet((4, 8, 4), "haar", 2)),
    "1-D, undecimated": lambda: (SubsampledFourier(random_mask(24)), UndecimatedWavelet((24,), "db2", 3)),
    "2-D, undecimated": lambda: (SubsampledFourier(random_mask(16, 12)), UndecimatedWavelet((16, 12), "haar", 2)),
    "2-D, total variation": lambda: (SubsampledFourier(random_mask(9, 16)), Gradient((9, 16))),
    "3-D, total variation": lambda: (SubsampledFourier(random_mask(4, 6, 5)), Gradient((4, 6, 5))),
    "2-D, both": lambda: (SubsampledFourier(random_mask(8, 6)), both_penalties(8, 6)),
    "coils, undecimated": lambda: (coils(3, 8, 10), UndecimatedWavelet((8, 10), "sym4", 2)),
    "coils, total variation": lambda: (coils(2, 8, 7), Gradient((8, 7))),
    "Walsh, undecimated": lambda: (SubsampledWalsh(random_mask(8, 16)), UndecimatedWavelet((8, 16), "haar", 2)),
    "Walsh, total variation": lambda: (SubsampledWalsh(random_mask(8, 8)), Gradient((8, 8))),
    "Walsh, both": lambda: (SubsampledWalsh(random_mask(8, 4)), both_penalties(8, 4)),
}


ANALYSIS = ["2-D, undecimated", "2-D, total variation", "coils, undecimated", "Walsh, total variation"]


def real(sensing: LinearOperator) -> bool:
    return isinstance(sensing, SubsampledWalsh)


def frozen(
    norm: float,
    restart_point: Sequence[RestartPoint] = ("last", "average", "last"),
    relaxation: Sequence[float] = (1.0, 1.8, 0.5),
    keep_dual: bool = True,
    layers: int = 4,
) -> FrozenSteps:
    """Runs of a few layers with steps of different ratios."""
    norm = norm * (1 + 1e-9)
    ratios = (0.7, 1.4, 3.0)
    return FrozenSteps(
        tuple(
            Run(ratio / norm, 1 / (ratio * norm), layers + k, rho, where, keep_dual)
            for k, (ratio, rho, where) in enumerate(zip(ratios, relaxation, restart_point, strict=True))
        )
    )


def network(name: str, weighted: bool = True, **runs: Any) -> Firenet:
    sensing, frame = CASES[name]()
    shape = sensing.in_shape if frame is None else frame.penalty_shape
    weights = uniform(shape, dtype=torch.float64, seed=9) + 0.3
    lam = 0.02 if frame is not None and frame.convolves else 0.1  # with more bands 0.1 makes images of zeros
    net = Firenet(sensing, frame, weights=weights if weighted else None, lam=lam)
    compact = net.problem.compact().operator
    return net.following(frozen(compact.norm_bound.value, **runs))


def packed(x: Tensor) -> Tensor:
    return torch.view_as_real(x.resolve_conj()) if x.is_complex() else x


def both(net: Firenet, y: Tensor, fourier: Fourier = "fft") -> tuple[Tensor, Tensor]:
    """The images of RealPacked and of the network, packed, the latter by its differentiable layers."""
    module = RealPacked(net, fourier=fourier, dtype=torch.float64)
    return module(packed(y)), packed(net(y.clone().requires_grad_()).detach())


def distance(a: Tensor, b: Tensor) -> float:
    return (torch.linalg.vector_norm(a - b) / torch.linalg.vector_norm(b)).item()


# --------------------------------------------------------------------------------------------------------- same images


@kinds
@pytest.mark.parametrize("name", CASES)
def test_the_images_are_those_of_the_network(name: str, fourier: Fourier):
    net = network(name)
    y = numbers(2, *net.sensing.out_shape, real=real(net.sensing))
    image, wanted = both(net, y, fourier)
    assert image.dtype == torch.float64
    assert wanted.abs().max() > 1e-3
    assert distance(image, wanted) <= 1e-12


@pytest.mark.parametrize("keep_dual", [True, False], ids=["dual kept", "dual dropped"])
@pytest.mark.parametrize(
    "restart_point", [("last",) * 3, ("average",) * 3, ("average", "last", "average")], ids="-".join
)
@pytest.mark.parametrize("relaxation", [(1.0,) * 3, (1.8,) * 3, (1.5, 1.0, 0.3)], ids=str)
@pytest.mark.parametrize(
    "name", ["2-D, padded", "coils", "Walsh", "2-D, undecimated", "coils, total variation", "Walsh, both"]
)
def test_whatever_is_handed_on(
    name: str, relaxation: Sequence[float], restart_point: Sequence[RestartPoint], keep_dual: bool
):
    net = network(name, relaxation=relaxation, restart_point=restart_point, keep_dual=keep_dual)
    y = numbers(1, *net.sensing.out_shape, real=real(net.sensing))
    image, wanted = both(net, y)
    assert distance(image, wanted) <= 1e-12
    if len(set(relaxation)) == 1:
        assert distance(image, packed(net(y))) <= 1e-12


@pytest.mark.parametrize("name", ["2-D", "coils", "Walsh"])
def test_without_weights_and_with_weights_that_broadcast(name: str):
    net = network(name, weighted=False)
    y = numbers(3, *net.sensing.out_shape, real=real(net.sensing))
    image, wanted = both(net, y)
    assert distance(image, wanted) <= 1e-12
    rows = Firenet(
        net.sensing,
        net.sparsify,
        weights=torch.tensor([0.5, 2.0], dtype=torch.float32).repeat(net.operator.in_shape[-1] // 2),
        lam=0.1,
        schedule=net.schedule,
    )
    weighted, wanted = both(rows, y)
    assert distance(weighted, wanted) <= 1e-12
    assert distance(weighted, image) > 1e-2


@kinds
@pytest.mark.parametrize("name", ["2-D", "coils", "Walsh", *ANALYSIS])
def test_single_precision_is_as_exact_as_the_network(name: str, fourier: Fourier):
    net = network(name, layers=40, relaxation=(1.8,) * 3)
    y = numbers(1, *net.sensing.out_shape, real=real(net.sensing))
    module = RealPacked(net, fourier=fourier)
    image = module(packed(y).float())
    assert image.dtype == torch.float32
    assert distance(image.double(), packed(net(y))) <= 2e-6


def test_items_of_a_batch_do_not_know_each_other():
    net = network("2-D")
    y = numbers(4, *net.sensing.out_shape)
    y[1] *= 1e6
    y[2] = 0
    module = RealPacked(net, dtype=torch.float64)
    together = module(packed(y))
    for k in range(4):
        torch.testing.assert_close(together[k : k + 1], module(packed(y[k : k + 1])), rtol=1e-12, atol=1e-12)
    assert not together[2].any()
    assert module(packed(y[:0])).shape == (0, 16, 8, 2)


@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1e12, 1e30], ids=str)
def test_no_scale_of_the_data_over_or_underflows(scale: float):
    """In single precision: the steps grow with the data, as those of a search do."""
    net = network("2-D", layers=10)
    runs = cast(FrozenSteps, net.schedule).runs
    scaled = net.following(FrozenSteps(tuple(replace(r, tau=r.tau * scale, sigma=r.sigma / scale) for r in runs)))
    y = packed(numbers(1, 16, 8)).float()
    image, expected = RealPacked(scaled)(y * scale), RealPacked(net)(y)
    assert image.isfinite().all()
    assert distance(image.double() / scale, expected.double()) <= 1e-5


def test_what_lies_off_the_mask_is_ignored():
    net = network("coils")
    y = numbers(1, *net.sensing.out_shape)
    module = RealPacked(net, dtype=torch.float64)
    assert torch.equal(module(packed(y)), module(packed(net.sensing.restrict(y))))


def test_the_network_is_not_touched_and_not_shared():
    sensing = coils(3, 16, 12)
    net = Firenet(sensing, weights=torch.ones(16, 12), schedule=frozen(sensing.norm_bound.value))
    maps, weights = sensing.maps.clone(), cast(Tensor, net.weights).clone()
    module = RealPacked(net, dtype=torch.float64)
    y = packed(numbers(1, *sensing.out_shape))
    before = module(y)
    module.to(torch.float32)
    assert torch.equal(sensing.maps, maps)
    assert sensing.mask.dtype == torch.bool
    assert torch.equal(cast(Tensor, net.weights), weights)
    sensing.maps.mul_(2)
    assert distance(module.to(torch.float64)(y), before) < 1e-6  # it went through single precision


def test_buffers_move_and_survive_a_state_dict():
    net = network("coils")
    module, other = RealPacked(net, dtype=torch.float64), RealPacked(network("coils", False), dtype=torch.float64)
    assert all(b.dtype == torch.float64 and not b.is_complex() for b in module.buffers())
    assert not list(module.parameters())
    assert not module.training
    other.weights = torch.ones_like(cast(Tensor, module.weights))
    other.load_state_dict(module.state_dict())
    y = packed(numbers(1, *net.sensing.out_shape))
    assert torch.equal(other(y), module(y))


# ----------------------------------------------------------------------------------------------------------- gradients


@kinds
@pytest.mark.parametrize("name", ["2-D, padded, two kinds of levels", "3-D", "coils", "Walsh", *ANALYSIS])
def test_the_gradient_is_that_of_the_network(name: str, fourier: Fourier):
    net = network(name)
    y = numbers(2, *net.sensing.out_shape, real=real(net.sensing))
    cotangent = numbers(2, *net.sensing.in_shape, real=real(net.sensing), seed=3)
    native = y.clone().requires_grad_()
    (wanted,) = torch.autograd.grad(net(native), native, cotangent)
    leaf = packed(y).clone().requires_grad_()
    image = RealPacked(net, fourier=fourier, dtype=torch.float64)(leaf)
    (gradient,) = torch.autograd.grad(image, leaf, packed(cotangent))
    assert distance(gradient, packed(wanted)) <= 1e-11


@pytest.mark.parametrize("name", ["2-D", "Walsh", *ANALYSIS])
def test_the_gradient_at_zero_is_a_number(name: str):
    net = network(name)
    y = torch.zeros_like(packed(numbers(1, *net.sensing.out_shape, real=real(net.sensing)))).requires_grad_()
    (gradient,) = torch.autograd.grad(RealPacked(net, dtype=torch.float64)(y).sum(), y)
    assert gradient.isfinite().all()


def test_torch_export_takes_it():
    net = network("2-D", layers=1)
    module = RealPacked(net, dtype=torch.float64)
    y = packed(numbers(1, *net.sensing.out_shape))
    with warnings.catch_warnings():
        # torch.export meets its own deprecated function.
        warnings.filterwarnings("ignore", message=r".*LeafSpec.*", category=FutureWarning)
        program = torch.export.export(module, (y,))
    # The same layer by another road: two transforms, and a handful of sums and products.
    allowed = 4 * ROUNDINGS * units(net.operator, torch.float64) / net.operator.norm_bound.value
    assert distance(program.module()(y), module(y)) <= allowed


# ------------------------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize("schedule", [PaperSchedule(), FixedSteps(3), AdaptiveRestarts(), RadialSearch()], ids=str)
def test_steps_that_are_not_frozen_are_refused_with_the_way_to_freeze_them(schedule: Schedule):
    with pytest.raises(BadInput, match=r"net\.following\(solution\.schedule\.frozen\(\)\)") as caught:
        RealPacked(network("2-D").following(schedule))
    assert caught.value.got == type(schedule).__name__


class Other(SubsampledFourier):
    """A subclass may compute anything."""


OTHERS: dict[str, tuple[Callable[[], tuple[LinearOperator, AnalysisOperator | None]], str]] = {
    "matrix": (lambda: (Matrix(numbers(3, 4)), None), "Matrix"),
    "stack": (lambda: (VerticalStack([SubsampledFourier(random_mask(8))] * 2), None), "VerticalStack"),
    "centred": (lambda: (SubsampledFourier(random_mask(8), centred=True), None), "centred=True"),
    "centred coils": (lambda: (MultiCoilFourier(random_mask(8), numbers(2, 8), centred=True), None), "centred=True"),
    "subclass": (lambda: (Other(random_mask(8)), None), "Other"),
    "composition": (lambda: (SubsampledFourier(random_mask(8)) @ Wavelet((8,), "haar").H, None), "FourierOfWavelet"),
    "Walsh frame": (lambda: (SubsampledFourier(random_mask(8)), WalshHadamard((8,))), "WalshHadamard, synthesis form"),
    "Neumann": (lambda: (SubsampledFourier(random_mask(8)), Gradient((8,), "neumann")), "Gradient, analysis form"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_operators_it_does_not_know_are_refused(name: str):
    make, got = OTHERS[name]
    sensing, frame = make()
    with pytest.raises(BadInput) as caught:
        RealPacked(Firenet(sensing, frame, schedule=frozen(sensing.norm_bound.value)))
    assert caught.value.got == got


@pytest.mark.parametrize("factor", [1.001, math.nan, math.inf, 0.0, -1.0], ids=str)
def test_steps_that_are_too_long_or_none_are_refused(factor: float):
    net = network("coils")
    runs = cast(FrozenSteps, net.schedule).runs
    long = FrozenSteps((*runs[:2], replace(runs[2], tau=runs[2].tau * factor)))
    with pytest.raises(BadInput, match=r"tau \* sigma \* norm\^2 <= 1"):
        RealPacked(net.following(long))


@pytest.mark.parametrize(
    "y",
    [
        torch.zeros(16, 8, 2),
        torch.zeros(1, 8, 16, 2),
        torch.zeros(1, 2, 16, 8),
        torch.zeros(1, 1, 16, 8, 2),
        torch.zeros(1, 16, 8, dtype=torch.complex64),
        torch.zeros(1, 16, 8, 2, dtype=torch.float64),
        torch.zeros(1, 16, 8, 2, dtype=torch.float16),
        torch.zeros(1, 16, 8, 2, dtype=torch.int64),
    ],
    ids=lambda y: f"{tuple(y.shape)} {y.dtype}",
)
def test_measurements_of_another_shape_or_dtype_are_refused(y: Tensor):
    with pytest.raises(BadInput, match=r"shape \(batch, 16, 8, 2\) and dtype torch.float32"):
        RealPacked(network("2-D"))(y)


def test_other_kinds_are_refused():
    net = network("2-D")
    with pytest.raises(BadInput, match="float32 or float64"):
        RealPacked(net, dtype=torch.float16)
    with pytest.raises(BadInput, match="fft or matrix"):
        RealPacked(net, fourier=cast(Any, "dct"))


# ---------------------------------------------------------------------------------------------------------------- ONNX


def adapted(tolerance: float = 0.3) -> tuple[Firenet, Tensor, Tensor]:
    """A 16 x 16 image of blocks with a phase, measured; the network that a search for it found, y and its image."""
    side = torch.arange(16)
    blocks = torch.kron((side[:4, None] * side[:4] % 3).double(), torch.ones(4, 4, dtype=torch.float64))
    image = blocks * torch.exp(1j * side / 16)
    samples = random_mask(16, 16)
    samples[0, 0] = True
    sensing = SubsampledFourier(samples)
    net = Firenet(sensing, Wavelet((16, 16), "haar", 2), lam=0.02, schedule=AdaptiveRestarts(tolerance, check=2))
    y = sensing(image)
    solution = net.solve(y)
    assert not isinstance(solution.schedule, FrozenSteps)
    return net.following(cast(Any, solution.schedule).frozen()), y, solution.image


def run_file(path: Path, y: Tensor) -> Tensor:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(["image"], {"measurements": y.numpy()})[0])


def test_a_frozen_search_as_an_onnx_file(tmp_path: Path):
    net, y, image = adapted()
    schedule = cast(FrozenSteps, net.schedule)
    assert len({run.tau for run in schedule.runs}) > 1  # it did adapt
    path = tmp_path / "network.onnx"
    record = export_onnx(net, path, measurements=y, seed=3)
    assert [p.name for p in tmp_path.iterdir()] == ["network.onnx"]
    result = run_file(path, packed(y)[None].float())
    assert distance(torch.view_as_complex(result)[0].to(torch.complex128), image) <= 1e-6
    assert record["difference"]["given"] <= 1e-6
    assert record["difference"]["random"] <= 1e-6 + record["rounding"]["random"]
    assert record["difference"]["zero"] == record["rounding"]["zero"] == 0
    assert (record["layers"], record["runs"]) == (schedule.layers, len(schedule.runs))
    assert (record["fourier"], record["dtype"], record["seed"]) == ("fft", "float32", 3)
    assert record["input"] == record["output"] == [1, 16, 16, 2]
    assert record["bytes"] == path.stat().st_size
    assert set(record["versions"]) == {"torch", "onnx", "onnxscript", "onnxruntime"}
    json.dumps(record, allow_nan=False)

    model = onnx.load(str(path))
    assert [o.version for o in model.opset_import if o.domain in ("", "ai.onnx")] == [record["opset"]]
    assert {"DFT", "MatMul"} <= {node.op_type for node in model.graph.node}
    assert str(Path(exporting.__file__).parent) not in model.SerializeToString().decode("latin-1")


def test_a_file_in_double_precision_without_dft_and_with_coils(tmp_path: Path):
    """Sides that are no powers of two; a batch; an older opset."""
    sensing, frame = coils(2, 6, 10), Wavelet((6, 10), "haar", 1)
    net = Firenet(sensing, frame, lam=0.1, schedule=frozen(sensing.norm_bound.value, layers=1))
    path = tmp_path / "network.ONNX"
    record = export_onnx(net, path, dtype=torch.float64, batch=2, opset=18)
    assert record["fourier"] == "matrix"
    assert record["opset"] == 18
    assert record["difference"]["random"] <= 1e-13
    y = numbers(2, *sensing.out_shape, seed=8)
    assert distance(run_file(path, packed(y)), packed(net(y.clone().requires_grad_()).detach())) <= 1e-13
    assert b"DFT" not in path.read_bytes()


@pytest.mark.parametrize(
    ("frame", "fourier"), [(UndecimatedWavelet((8, 8), "haar", 1), "fft"), (Gradient((8, 8)), "matrix")], ids=str
)
def test_the_analysis_form_as_an_onnx_file(tmp_path: Path, frame: AnalysisOperator, fourier: Fourier):
    samples = random_mask(8, 8)
    samples[0, 0] = True
    runs = (Run(0.7, 1.4, 1, 1.5, "average"), Run(1.4, 0.7, 2, 1.0, "combination", True, (-0.5, 1.5)))
    net = Firenet(SubsampledFourier(samples), frame, lam=0.02, schedule=FrozenSteps(runs, "adjoint"))
    y = net.sensing(torch.kron(torch.tensor([[1.0, 0.0], [2.0, 1j]]), torch.ones(4, 4)).to(torch.complex128))
    record = export_onnx(net, tmp_path / "net.onnx", fourier=fourier, measurements=y)
    assert record["fourier"] == fourier
    assert record["input"] == record["output"] == [1, 8, 8, 2]
    assert all(record["difference"][k] <= 1e-6 + record["rounding"][k] for k in ("random", "zero", "given"))
    found = torch.view_as_complex(run_file(tmp_path / "net.onnx", packed(y)[None].float()))[0]
    # Layers do not expand, and the combination doubles; each rounds terms as large as the data.
    allowed = 4 * 2 * 3 * ROUNDINGS * units(net.operator, torch.float32) * torch.linalg.vector_norm(y)
    wanted = net(y)
    assert torch.linalg.vector_norm(wanted) > 1e3 * allowed
    assert torch.linalg.vector_norm(found - wanted) <= allowed


@pytest.fixture(scope="module")
def small() -> tuple[Firenet, Any]:
    """A small network and what torch makes of it."""
    sensing = SubsampledWalsh(random_mask(8))
    net = Firenet(sensing, lam=0.1, schedule=frozen(sensing.norm_bound.value, layers=1))
    return net, exporting._translate(RealPacked(net, dtype=torch.float64), 1, None)


@pytest.mark.parametrize(
    ("factor", "fault", "name"),
    [(1.0, 0.0, ""), (1.001, 0.0, "random"), (1.0, math.nan, "random"), (1.0, 1e-9, "zero")],
)
def test_a_file_whose_images_differ_is_not_written(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    small: tuple[Firenet, Any],
    factor: float,
    fault: float,
    name: str,
):
    net, program = small
    path = tmp_path / "network.onnx"
    path.write_bytes(b"what was there")
    session = exporting._session

    def wrong(model: bytes) -> Callable[[Tensor], Tensor]:
        run = session(model)
        return lambda y: run(y) * factor + (fault if name == "random" or not y.any() else 0.0)

    monkeypatch.setattr(exporting, "_translate", lambda *_: program)
    monkeypatch.setattr(exporting, "_session", wrong)
    if not name:
        assert export_onnx(net, path, dtype=torch.float64, tolerance=1e-10)["difference"]["random"] <= 1e-14
        assert path.read_bytes() != b"what was there"
    else:
        with pytest.raises(BadInput, match=rf"difference to the network of at most 1e-10\. Got .* for {name}"):
            export_onnx(net, path, dtype=torch.float64, tolerance=1e-10)
        assert path.read_bytes() == b"what was there"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_file_without_a_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: tuple[Firenet, Any]):
    net, program = small
    path = tmp_path / "network.onnx"
    monkeypatch.setattr(exporting, "_translate", lambda *_: program)
    monkeypatch.setattr(exporting, "_session", None)
    record = export_onnx(net, path, dtype=torch.float64, check=False)
    assert record["difference"] == record["rounding"] == {}
    assert record["input"] == [1, 8]
    assert record["fourier"] is None
    assert path.stat().st_size == record["bytes"]


@pytest.mark.parametrize("name", ["net.pt", "net", "net.onnx.gz", "missing/net.onnx", "folder.onnx"])
def test_paths_that_cannot_be_written_are_refused(tmp_path: Path, name: str):
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(BadInput) as caught:
        export_onnx(network("2-D"), tmp_path / name)
    assert caught.value.got == str(tmp_path / name)


def test_a_folder_that_may_not_be_written_to_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def read_only(*args: object, **kwargs: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("tempfile.NamedTemporaryFile", read_only)  # root may write everywhere
    with pytest.raises(BadInput, match="A folder that can be written to"):
        export_onnx(network("2-D"), tmp_path / "net.onnx")


def test_a_write_that_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(self: Path, data: bytes) -> int:
        with self.open("wb") as file:
            file.write(data[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(BadInput, match="No space left"):
        export_onnx(network("2-D"), tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "wrong",
    [{"batch": 0}, {"tolerance": 0.0}, {"tolerance": math.nan}, {"opset": 17}, {"opset": 99}, {"dtype": torch.float16}],
    ids=str,
)
def test_arguments_that_make_no_file_are_refused(tmp_path: Path, wrong: dict[str, Any]):
    with pytest.raises(BadInput):
        export_onnx(network("2-D"), tmp_path / "net.onnx", **wrong)


@pytest.mark.parametrize("y", [torch.zeros(8, 16, dtype=torch.complex64), torch.zeros(16, 8)], ids=["shape", "real"])
def test_given_measurements_of_another_kind_are_refused(tmp_path: Path, y: Tensor):
    with pytest.raises(BadInput, match=r"Measurements of shape \(16, 8\), complex"):
        export_onnx(network("2-D"), tmp_path / "net.onnx", measurements=y)


def test_a_frozen_solution_packs_itself():
    net = network("2-D")
    sensing = net.sensing
    y = sensing(normal(sensing.in_shape, dtype=torch.complex128, seed=0))
    solution = net.following(AdaptiveRestarts(1e-3)).solve(y)
    assert isinstance(solution.schedule, Searched)
    packed = RealPacked(net.following(solution.schedule.frozen()), dtype=torch.float64)
    assert isinstance(packed, RealPacked)
    image = torch.view_as_complex(packed(torch.view_as_real(y)[None])[0].contiguous())
    torch.testing.assert_close(image, solution.image, rtol=0, atol=1e-9)


def test_nothing_of_onnx_is_imported_with_the_module():
    tree = ast.parse(Path(exporting.__file__).read_text(encoding="utf-8"))
    names = {alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in tree.body if isinstance(node, ast.ImportFrom)}
    assert "firenet.network" in names
    assert not [name for name in names if name.startswith("onnx")]
