"""The engines of the analysis form, by the formula, with FFTs in place, and compiled: the same layers."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cases import coil_maps, draw, union
from draws import uniform
from extras import needs
from firenet import (
    AdaptiveRestarts,
    BadInput,
    Firenet,
    Gradient,
    MultiCoilFourier,
    SubsampledFourier,
    UndecimatedWavelet,
    engines,
)
from firenet.errors import MissingExtra
from firenet.operators import LinearOperator, NormBound
from firenet.solver import FixedSteps
from firenet.transforms import AnalysisOperator, Union, engine
from laws import ROUNDINGS, rounding_of_layers

SHAPES = [(8, 8), (7, 12), (33, 20), (64, 48)]
COMPLEX = [torch.complex64, torch.complex128]
KINDS = [
    *((kind, dtype) for kind in ("Fourier", "coils") for dtype in COMPLEX),
    *(("pixels", dtype) for dtype in (torch.float32, torch.float64, *COMPLEX)),
]


class Pixels(LinearOperator):
    """Every other pixel of an image, as an operator of anybody's would give them."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__(shape, shape, NormBound(1.0, "exact", "a projection"))
        self._kept = uniform(shape, seed=1) < 0.5

    def _forward(self, x: Tensor) -> Tensor:
        return x * self._kept

    def _adjoint(self, y: Tensor) -> Tensor:
        return y * self._kept


def sensing(kind: str, shape: tuple[int, ...], dtype: torch.dtype) -> LinearOperator:
    mask = uniform(shape, seed=2) < 0.6
    kinds: dict[str, Callable[[], LinearOperator]] = {
        "Fourier": lambda: SubsampledFourier(mask),
        "coils": lambda: MultiCoilFourier(mask, coil_maps(2, shape, dtype)),
        "pixels": lambda: Pixels(shape),
    }
    return kinds[kind]()


def default(shape: tuple[int, ...]) -> Union:
    return union(shape, ("haar", 1), ("sym4", min(3, int(np.log2(min(shape))))))


def with_gradient(shape: tuple[int, ...]) -> Union:
    return Union(
        [UndecimatedWavelet(shape, "haar", 1), Gradient(shape), UndecimatedWavelet(shape, "db2", 2)], [1, 2, 3]
    )


FRAMES: dict[str, Callable[[tuple[int, ...]], AnalysisOperator]] = {
    "default": default,
    "gradient": Gradient,
    "both": with_gradient,
}


def weights_of(frame: AnalysisOperator, each: bool) -> Tensor:
    """Weights for each coefficient, or for each band."""
    full = uniform(frame.penalty_shape, dtype=torch.float64, seed=3) + 0.5
    return full if each else full[:, :1, :1]


def run(net: Firenet, y: Tensor, rho: float, layers: int, *, formula: bool = False) -> Any:
    iteration, _ = net._layers(y, None, track=True)
    tau, sigma = torch.tensor([0.5, 2.0], dtype=torch.float64), torch.tensor([2.0, 0.4], dtype=torch.float64)
    iteration.set_steps(tau, sigma, torch.full((2,), rho, dtype=torch.float64))
    if formula:
        iteration._threshold = None
    iteration.run(layers)
    return iteration


def lengths(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x.flatten(1).to(torch.complex128), dim=1)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("kind", "dtype"), KINDS, ids=str)
@pytest.mark.parametrize(
    ("each", "rho", "name"),
    [(False, 1.8, "default"), (True, 1.0, "default"), (False, 1.8, "gradient"), (True, 1.8, "both")],
)
def test_the_engines_take_the_same_layers(
    shape: tuple[int, int],
    kind: str,
    dtype: torch.dtype,
    each: bool,
    rho: float,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    needs("numba")
    operator, frame = sensing(kind, shape, dtype), FRAMES[name](shape)
    y = operator(draw((2, *shape), dtype))
    net = Firenet(operator, frame, weights=weights_of(frame, each), lam=0.02, schedule=FixedSteps(1), form="analysis")
    monkeypatch.setenv("FIRENET_ENGINE", "torch")
    formula, plain = run(net, y, rho, 6, formula=True), run(net, y, rho, 6)
    monkeypatch.setenv("FIRENET_ENGINE", "compiled")
    compiled = run(net, y, rho, 6)
    pair = compiled.operator
    assert plain.operator.engine(y) is None
    assert pair.engine(y) is not None
    whole: Any = SimpleNamespace(in_shape=pair.in_shape, out_shape=compiled.q.shape[1:], norm_bound=pair.norm_bound)
    sizes = {"x": torch.maximum(lengths(plain.x), lengths(plain.last)), "q": lengths(plain.q), "y": lengths(plain.y)}
    steps = {"tau": torch.tensor([0.5, 2.0]), "sigma": torch.tensor([2.0, 0.4]), "rho": rho}
    allowed = rounding_of_layers(6, whole, dtype, **steps, **sizes)
    for other in (formula, plain):
        for name in ("x", "q", "back", "measured"):
            off = lengths(getattr(compiled, name) - getattr(other, name))
            assert (off <= allowed[name]).all(), f"{name} is off by {off.tolist()}, allowed {allowed[name].tolist()}"
    # Values of one state, of which each band is off by some roundings of the image: a sum of magnitudes times limits is
    # off by at most the norm of the limits times that, a ratio by one over the smallest limit times that.
    problems = compiled.problem, plain.problem
    limits = torch.stack([limit.expand(shape) for limit in problems[0].every_limit()])
    unit = ROUNDINGS * torch.finfo(dtype).eps * np.sqrt(np.prod(shape))
    one, two = (problem.penalty(plain.last) for problem in problems)
    assert ((one - two).abs() <= unit * torch.linalg.vector_norm(limits) * sizes["x"] + unit * two).all()
    _, p = pair.split(plain.q)
    one, two = (problem._worst(p, plain.back) for problem in problems)
    assert ((one - two).abs() <= unit * (lengths(plain.back) + lengths(p) + 1) / limits.min()).all()


@pytest.mark.parametrize("kind", ["Fourier", "pixels"])
def test_a_solve_ends_at_the_same_objective(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    needs("numba")
    shape, found = (33, 20), []
    operator = sensing(kind, shape, torch.complex64)
    y = operator(draw(shape, torch.complex64).real.sign().to(torch.complex64))
    for asked in ("torch", "compiled"):
        monkeypatch.setenv("FIRENET_ENGINE", asked)
        net = Firenet(operator, default(shape), schedule=AdaptiveRestarts(tolerance=1e-3))
        found.append(net.solve(y))
        assert found[-1].gap <= 1e-3 * found[-1].objective
    one, two = found
    # Each objective is at most its gap above the minimum, which is the same.
    assert abs(one.objective - two.objective) <= max(one.gap, two.gap)


def made(frame: AnalysisOperator, monkeypatch: pytest.MonkeyPatch) -> engine.Engine:
    needs("numba")
    monkeypatch.setenv("FIRENET_ENGINE", "compiled")
    found = engine.engine_for(frame, 0.7)
    assert found is not None
    return found


@pytest.mark.parametrize("kind", ["Fourier", "coils", "pixels"])
def test_a_turned_start_is_the_start(kind: str, engine: str) -> None:
    """An array in column-major order, with and without derivatives."""
    shape = (16, 16)
    operator = sensing(kind, shape, torch.complex128)
    y, start = operator(draw(shape, torch.complex128)), draw(shape, torch.complex128, 1)
    net = Firenet(operator, default(shape), lam=0.02, schedule=FixedSteps(6), form="analysis")
    plain, turned = (net.solve(y, x0=x).image for x in (start, start.T.contiguous().T))
    assert torch.allclose(plain, turned, rtol=0, atol=1e-12)
    asked = y.clone().requires_grad_()
    assert torch.allclose(net(asked, start.T.contiguous().T), net(y, start), rtol=0, atol=1e-12)


def test_images_of_any_strides(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = made(with_gradient((8, 8)), monkeypatch)
    image, p = draw((1, 8, 8), torch.complex128), draw((1, 13, 8, 8), torch.complex128, 1)
    one, limits = torch.ones(1, dtype=torch.float64), [torch.tensor(1.0, dtype=torch.float64)] * 12
    found = [compiled.sweep_(p.clone(), x, limits, one, one) for x in (image, image.mT.contiguous().mT)]
    slopes = [compiled.slope(p, x, limits, one, one, p, x) for x in (image, image.mT.contiguous().mT)]
    assert torch.equal(*found)
    assert all(map(torch.equal, *slopes))


@pytest.mark.parametrize("specs", [(("db10", 2),), (("db2", 2), ("coif1", 1), ("haar", 3))], ids=str)
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
def test_filters_of_every_length(
    specs: tuple[tuple[str, int], ...], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = (9, 14)
    frame = union(shape, *specs)
    compiled = made(frame, monkeypatch)
    image, p = draw((2, *shape), dtype), draw((2, *frame.out_shape), dtype, 1)
    one = torch.ones(2, dtype=torch.float64)
    wide = torch.tensor(1e3 if not dtype.is_complex else 1e-3, dtype=torch.float64)  # nothing is clipped
    expected = p + 0.7 * frame(image)
    back = compiled.sweep_(p, image, [wide] * len(p[0]), one, one)
    assert torch.allclose(p, expected, rtol=0, atol=1e-13 * float(expected.abs().max()))
    assert torch.allclose(back, 0.7 * frame.adjoint(expected), rtol=0, atol=1e-12 * float(expected.abs().max()))


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_what_is_not_finite_spreads(dtype: torch.dtype, bad: float, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = made(with_gradient((16, 16)), monkeypatch)
    image, p = draw((1, 16, 16), dtype), draw((1, 13, 16, 16), dtype, 1)
    one, limits = torch.ones(1, dtype=torch.float64), [torch.tensor(1.0, dtype=torch.float64)] * 12
    image[0, 5, 5], clean = bad, p.clone()
    assert not torch.isfinite(compiled.penalty(image, limits)).any()
    assert not torch.isfinite(compiled.worst(clean, image, limits)).any()
    back = compiled.sweep_(p, image, limits, one, one)
    if bad != bad or dtype.is_complex:  # a real infinity is clipped
        assert torch.isnan(p[0, :, 5, 5].abs()).any()
        assert torch.isnan(back.abs()).any()
    clean[0, 4, 3, 3] = bad
    image[0, 5, 5] = 0
    assert not torch.isfinite(compiled.worst(clean, image, limits)).any()


@pytest.mark.parametrize("name", FRAMES)
@pytest.mark.parametrize("dtype", [torch.float32, *COMPLEX], ids=str)
@pytest.mark.parametrize("size", [1e-200, 1e-30, 1.0, 1e30, 1e160])
def test_numbers_of_every_size(name: str, dtype: torch.dtype, size: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits far below the numbers, whose squares overflow; sums of magnitudes that are tiny and huge."""
    bits = torch.finfo(dtype).bits
    if bits == 32 and not 1e-31 < size < 1e31:
        size = size**0.15
    shape = (16, 12)
    frame = FRAMES[name](shape)
    compiled = made(frame, monkeypatch)
    image, p = draw((2, *shape), dtype) * size, draw((2, *frame.out_shape), dtype, 1) * size
    groups, one = frame.penalty_shape[0], torch.ones(2, dtype=dtype.to_real())
    wide = [torch.tensor(2.0, dtype=torch.float64)] * groups
    unit = image[0, 0, 0].abs().to(torch.float64)  # with numbers near one nothing over- or underflows
    expected = compiled.penalty(image / unit, wide) * unit
    assert torch.allclose(compiled.penalty(image, wide), expected, rtol=1e-5 if bits == 32 else 1e-12, atol=0)
    limit = torch.tensor(size * 1e-25, dtype=dtype.to_real())
    limits = [limit.reciprocal() if dtype.is_complex else limit] * groups
    if torch.isfinite(limits[0]) and limits[0] > 0:
        back = compiled.sweep_(p, image, limits, one, one)
        assert torch.isfinite(torch.view_as_real(p) if dtype.is_complex else p).all()
        assert torch.isfinite(torch.view_as_real(back) if dtype.is_complex else back).all()
        assert frame.magnitudes(p).max() <= limit * (1 + 1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64], ids=str)
def test_the_number_of_threads_changes_no_bit(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = made(with_gradient((33, 20)), monkeypatch)
    monkeypatch.setattr(engines, "_SHARE", 1)
    image, dual = draw((2, 33, 20), dtype), draw((2, 13, 33, 20), dtype, 1)
    one, limits = torch.ones(2), [torch.tensor(1.0)] * 12
    found, before = [], torch.get_num_threads()
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            p = dual.clone()
            back = compiled.sweep_(p, image, limits, one, 1.8 * one)
            found.append((p, back, compiled.penalty(image, limits), compiled.worst(p, image, limits)))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(map(torch.equal, found[0], other))


def test_which_engine_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    needs("numba")
    small, large = UndecimatedWavelet((8, 8), "haar", 1), UndecimatedWavelet((1024, 1024), "haar", 1)
    monkeypatch.delenv("FIRENET_ENGINE", raising=False)
    assert engine.engine_for(small, 1.0) is None
    assert engine.engine_for(large, 1.0) is not None
    middle = UndecimatedWavelet((64, 64), "haar", 1)
    assert engine.engine_for(middle, 1.0) is not None
    monkeypatch.setenv("FIRENET_ENGINE", "torch")
    assert engine.engine_for(large, 1.0) is None
    monkeypatch.setenv("FIRENET_ENGINE", "compiled")
    for taken in (small, Gradient((8, 8)), Union([small, Gradient((8, 8))])):
        assert engine.engine_for(taken, 1.0) is not None
    for left in (
        Gradient((8, 8), "neumann"),
        Gradient((8, 8, 8)),
        UndecimatedWavelet((8,), "haar", 1),
        UndecimatedWavelet((8, 8, 8), "haar", 1),
        UndecimatedWavelet((8, 8), "haar", 0),
    ):
        assert engine.engine_for(left, 1.0) is None
    monkeypatch.setenv("FIRENET_ENGINE", "fast")
    with pytest.raises(BadInput, match="torch or compiled"):
        engine.engine_for(small, 1.0)


def test_without_numba_torch_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [name for name in sys.modules if name.partition(".")[0] == "numba"] or ["numba"]:
        monkeypatch.setitem(sys.modules, module, None)
    for name in ("compiling", "transforms.compiled", "transforms.compiled_gradient"):
        monkeypatch.delitem(sys.modules, f"firenet.{name}", raising=False)
        monkeypatch.delattr(f"firenet.{name}", raising=False)
    monkeypatch.delenv("FIRENET_ENGINE", raising=False)
    large = UndecimatedWavelet((1024, 1024), "haar", 1)
    assert engine.engine_for(large, 1.0) is None
    monkeypatch.setenv("FIRENET_ENGINE", "compiled")
    with pytest.raises(MissingExtra, match=r"firenet\[fast\]"):
        engine.engine_for(large, 1.0)


def test_a_cache_that_fails_breaks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    needs("numba")
    from firenet import compiling

    def broken(function: Any) -> Any:
        def call(*arguments: Any) -> None:
            raise OSError("No space left on device")

        return call

    def absent(function: Any) -> Any:
        raise RuntimeError("cannot cache function: no locator available")

    monkeypatch.setattr(compiling, "not_kept", [])
    for cached in (broken, absent):

        def njit(cache: bool = False, cached: Any = cached, **_: Any) -> Any:
            return cached if cache else lambda function: function

        monkeypatch.setattr(compiling, "numba", SimpleNamespace(njit=njit))
        seen: list[int] = []

        def function(number: int, seen: list[int] = seen) -> None:
            seen.append(number)

        compiling.stored(function)(3)
        assert seen == [3]


def test_where_nothing_is_kept_only_large_images_are_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    needs("numba")
    from firenet import compiling

    monkeypatch.delenv("FIRENET_ENGINE", raising=False)
    middle, large = (UndecimatedWavelet((side, side), "haar", 1) for side in (128, 1024))
    assert engine.engine_for(middle, 1.0) is not None
    monkeypatch.setattr(compiling, "not_kept", ["dual_step"])
    assert engine.engine_for(middle, 1.0) is None
    assert engine.engine_for(large, 1.0) is not None
    monkeypatch.setenv("FIRENET_ENGINE", "compiled")
    assert engine.engine_for(middle, 1.0) is not None
