"""plan: the numbers of the theorem's network, the error bound in parts, and what they rest on.

Formulas are written here a second time; the head slice's numbers were found by hand before there was a plan.
"""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, strategies as st
from torch import Tensor

from firenet.guarantees import Constants, Guarantee, plan
from firenet.images import load_slice
from firenet.operators.linear import LinearOperator
from firenet.operators.norm_bound import NormBound
from firenet.sensing.fourier import SubsampledFourier
from firenet.sensing.masks import multilevel
from firenet.sensing.walsh import SubsampledWalsh
from firenet.sparsity import SparsityLevels, defect
from firenet.transforms.wavelet import Wavelet
from laws import assert_refuses

LEVELS = SparsityLevels((4, 12), (2, 3))
MATRIX = np.random.default_rng(0).standard_normal((9, 16))
NU = math.exp(-1)


def guarantee(matrix: Any = MATRIX, levels: SparsityLevels = LEVELS, **constants: Any) -> Guarantee:
    return Guarantee(matrix, Constants(levels, **{"rho": 0.4, "gamma": 0.7, **constants}))


def made(g: Guarantee | None = None, **changes: Any):
    numbers = {"accuracy": 1e-3, "noise": 0.01, "sparsity_defect": 0.1, "signal": 3.0}
    return plan(guarantee() if g is None else g, **{**numbers, **changes})


SIZES = st.floats(1e-6, 1e3)


@given(
    st.tuples(SIZES, SIZES, st.just(0.0) | SIZES, st.just(0.0) | SIZES, st.just(0.0) | SIZES),
    st.floats(0.05, 0.95),
    st.none() | st.floats(0.05, 1.2),
    st.none() | st.floats(0, 0.9),
    st.floats(0.05, 0.9),
)
def test_the_parts_are_the_bound_of_the_guarantee(
    sizes: tuple[float, ...], nu: float, part: float | None, more: float | None, rho: float
) -> None:
    accuracy, signal, noise, sigma, model = sizes
    g = guarantee(rho=rho)
    lam = None if part is None else part * g.constants.lam
    assume(lam is None or lam < 0.99 / (g.constants.gamma * math.sqrt(g.constants.xi)))
    bounds = {"noise": noise, "sparsity_defect": sigma}
    c, second = g.misfit(sigma, noise, lam=lam, model_error=model), g.constants.at(lam)[1]
    delta = None if more is None else c + more * accuracy * (1 - nu) / (nu * second)
    assume(delta is None or delta > 0)
    p = plan(g, accuracy=accuracy, signal=signal, lam=lam, delta=delta, nu=nu, model_error=model, **bounds)
    expected = g.error_bound(p.outer, size=p.size, delta=p.delta, nu=nu, lam=lam, model_error=model, **bounds)
    assert p.bound == pytest.approx(expected, rel=1e-12)
    assert p.error.model == pytest.approx(second / (1 - nu) * (2 * p.lam * sigma + 2 * model), rel=1e-12)
    assert p.error.noise == pytest.approx(2 * second / (1 - nu) * noise, rel=1e-12)
    # The subtraction of c from delta is the only one: its rounding is that of delta.
    slack = accuracy * 1e-12 + 4e-16 * second * nu / (1 - nu) * p.delta
    assert 0 <= p.error.depth <= accuracy + slack
    # One restart less would not be enough.
    surplus = second * nu / (1 - nu) * (p.delta - c)
    assert p.outer == 1 or surplus + second * nu ** (p.outer - 1) * p.size > accuracy - slack
    assert p.delta >= c
    assert p.inner == g.inner(nu, lam=lam)
    assert p.size == pytest.approx(g.norm * signal + noise + model)
    assert p.ratio == p.bound / signal


def test_without_noise_and_defect_the_schedule_still_has_a_delta() -> None:
    p = made(noise=0, sparsity_defect=0)
    assert p.delta > 0
    assert (p.error.model, p.error.noise) == (0, 0)
    # The delta takes half of the accuracy; the rest is for the restarts.
    assert p.error.depth == pytest.approx(5e-4 + p.second * NU**p.outer * p.size)
    assert 5e-4 < p.bound <= 1e-3


# --- size of the network


def explicit(m: int, n: int, outer: int, inner: int) -> tuple[list[int], int]:
    """The widths of the network written out layer by layer, and the entries of its distinct matrices."""
    widths, shapes = [m], dict[object, tuple[int, int]]()

    def layer(name: object, width: int, skip: object = None) -> None:
        shapes[name] = (width, widths[-1])
        widths.append(width)
        if skip is not None:
            shapes[skip] = (width, m)

    for k in range(outer):
        for i in range(inner):
            if k == i == 0:
                layer("first", 2 * n + m)
            elif i == 0:
                layer(("restart", k), 2 * n + m, ("skip", k))
            else:
                layer("inside", 2 * n + m, ("skip", k))
            layer("squares", 2 * (n + m))
            layer("gate", 2 * n + m + 1)
    layer("last", n)
    return widths, sum(a * b for a, b in shapes.values())


@pytest.mark.parametrize("gamma", [0.02, 0.7])
def test_widths_and_parameters_are_those_of_the_network_written_out(gamma: float) -> None:
    p = made(guarantee(MATRIX / np.linalg.norm(MATRIX, 2), gamma=gamma))
    assert (p.inner == 1) == (gamma == 0.02)  # both ways of counting
    widths, entries = explicit(9, 16, p.outer, p.inner)
    assert p.widths == tuple(widths)
    assert len(p.widths) == p.affine_maps + 1 == 3 * p.layers + 2
    assert p.parameters == entries
    assert p.dense_bytes == 8 * entries
    # The matrix and the weights.
    assert p.operator_bytes == 8 * (9 * 16 + 16)


def test_sizes_of_masks() -> None:
    """The measurements are the samples, numbers are complex for Fourier samples and real for Walsh samples."""
    samples = multilevel((8, 8), 0.5).samples
    levels = SparsityLevels((4, 12, 48), (4, 4, 8))
    for sensing, size in ((SubsampledFourier(samples), 16), (SubsampledWalsh(samples), 8)):
        p = made(Guarantee(sensing, Constants(levels), Wavelet((8, 8), "haar")))
        assert (p.measurements, p.coefficients) == (32, 64)
        assert p.dense_bytes == size * p.parameters
        assert p.operator_bytes < 0.01 * p.dense_bytes


# --- the head slice


def test_the_head_slice() -> None:
    """theory.md: p = 69, n = 8, 552 layers, lambda = 1.4e-3, bound 23.9 for a norm of 80.5, from an accuracy of 1 %."""
    x, frame = load_slice().double(), Wavelet((256, 256), "haar")
    c, level = frame(x).numpy(), frame.levels().numpy()
    levels = SparsityLevels.from_coefficients(c, level, share=0.999, approximation="merged")
    sensing = SubsampledFourier(multilevel((256, 256), 0.25).samples)
    signal = float(np.linalg.norm(c))
    g = Guarantee(sensing, Constants(levels), frame)
    p = plan(g, accuracy=0.01 * signal, noise=0, sparsity_defect=defect(c, level, levels), signal=signal)
    assert (p.inner, p.outer, p.layers) == (69, 8, 552)
    found = (p.lam, p.bound, p.signal, p.ratio)
    assert [float(f"{v:.2g}") for v in found] == [0.0014, 24, 81, 0.3]
    assert (round(p.bound, 1), round(p.signal, 1)) == (23.9, 80.5)
    assert not p.vacuous
    # All of it but 0.34 is the sparsity defect: no depth helps.
    assert p.error.noise == 0
    assert p.error.depth == pytest.approx(p.second * NU**8 * signal)
    assert p.error.depth < 0.4


def test_a_bound_that_says_nothing_says_so() -> None:
    p = made(sparsity_defect=0, noise=0.01)
    assert not p.vacuous
    assert "vacuous" not in p.summary
    much = made(sparsity_defect=0, noise=0.01 / p.ratio * 1.01)
    assert much.vacuous
    assert "vacuous" in much.summary
    assert much.record()["error"]["vacuous"] is True


# --- what it rests on


class Foreign(LinearOperator):
    """A matrix from outside, with a norm bound that its author states."""

    def __init__(self, kind: Any = "proven") -> None:
        super().__init__(
            (16,), (9,), NormBound(float(np.linalg.norm(MATRIX, 2)) * 1.01, kind, "computed by its author")
        )

    def _forward(self, x: Tensor) -> Tensor:
        return x @ torch.from_numpy(MATRIX).to(x.dtype).mT

    def _adjoint(self, y: Tensor) -> Tensor:
        return y @ torch.from_numpy(MATRIX).to(y.dtype)


def test_a_plan_says_what_it_rests_on() -> None:
    p = made()
    said = " ".join(p.assumptions)
    for word in ("null space property", "rho = 0.4", "gamma = 0.7", "exact", "||A||", "defect at most 0.1", "0.01"):
        assert word in said
    assert p.conditions == (guarantee().constants.assumption,)
    assert p.summary.endswith("% of the signal; assumed: null space property")
    exactly = made(noise=0.0, sparsity_defect=0.0)
    assert exactly.summary.endswith("; assumed: null space property, signal exactly sparse, no noise")
    verified = made(guarantee(source="verified"))
    assert verified.conditions == ()
    assert "is verified to have" in verified.assumptions[0]
    assert verified.summary.endswith("% of the signal; null space property verified")
    foreign = made(Guarantee(Foreign(), Constants(LEVELS, rho=0.4, gamma=0.7, source="verified")))
    assert len(foreign.conditions) == 1
    assert "adjoint of Foreign" in foreign.conditions[0]
    assert set(foreign.conditions) < set(foreign.assumptions)
    assert "is verified to have" in foreign.assumptions[0]
    assert any("computed by its author" in text for text in foreign.assumptions)


def test_the_record_is_plain_and_has_the_numbers() -> None:
    p = made(model_error=0.01)
    record = json.loads(json.dumps(p.record(), allow_nan=False))
    assert (
        record["error"]["bound"]
        == p.bound
        == pytest.approx(sum(record["error"][part] for part in ("model", "noise", "depth")))
    )
    assert record["network"]["layers"] == p.layers
    assert record["network"]["epsilon_0"] == p.size
    widths = record["network"]["widths"]
    assert (widths["input"], *widths["repeated"] * p.layers, widths["output"]) == p.widths
    assert record["levels"]["weights"] == LEVELS.weights().tolist()
    assert record["conditions"] == list(p.conditions)
    assert "approximates" not in record["assumptions"][0]
    assert "it is A_l that has the null space property" in record["assumptions"][-1]


def test_an_approximation_must_be_close() -> None:
    """The null space property passes over where gamma eta is at most 1/2, and at most (1 - rho) / 2 over a factor."""
    w = LEVELS.weights()
    for rho, gamma in ((0.4, 0.7), (0.01, 5.0)):
        g = guarantee(rho=rho, gamma=gamma, exact=False)
        xi = float(np.sum(w**2 * LEVELS.sparsities))
        most = min(0.5, (1 - rho) / 2 / ((1 + rho) / 2 + math.sqrt(xi) / w.min())) / gamma
        p = made(g, model_error=0.999 * most * 3.0)
        assert "approximates" in p.assumptions[0]
        assert_refuses(lambda g=g, e=1.001 * most * 3.0: made(g, model_error=e), "approximation", "null space")


# --- refusals


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_refuses_numbers_that_are_no_bounds(bad: float) -> None:
    for name in ("accuracy", "signal"):
        assert_refuses(lambda n=name: made(None, **{n: bad}), name, str(bad))
    assert_refuses(lambda: made(measurements=bad), "measurements", str(bad))
    if bad:
        for name in ("noise", "sparsity_defect", "model_error"):
            assert_refuses(lambda n=name: made(None, **{n: bad}), str(bad))


def test_refuses_a_delta_that_the_theorem_or_the_accuracy_forbids() -> None:
    c = guarantee().misfit(0.1, 0.01)
    assert_refuses(lambda: made(delta=0.99 * c), "c(x, y)")
    most = c + 1e-3 * (1 - NU) / (NU * guarantee().constants.C2)
    assert made(delta=c + 0.99 * (most - c)).bound <= made().bound + 1e-3
    assert_refuses(lambda: made(delta=most * (1 + 1e-12)), "delta", "below")
    assert_refuses(lambda: made(delta=math.nan), "nan")
    assert_refuses(lambda: made(noise=0, sparsity_defect=0, delta=0.0), "delta above 0")


def test_each_hypothesis_that_fails_is_named() -> None:
    assert_refuses(lambda: made(guarantee(rho=1.0)), "rho")
    assert_refuses(lambda: made(guarantee(gamma=0.0)), "gamma")
    assert_refuses(lambda: SparsityLevels((4, 12), (5, 3)), "level 0", "5")
    assert_refuses(lambda: made(guarantee(levels=SparsityLevels((4, 11), (2, 3)))), "16 coefficients")
    assert_refuses(lambda: Guarantee(Foreign("estimate"), Constants(LEVELS)), "exact or proven")
    assert_refuses(lambda: made(lam=1 / (0.7 * math.sqrt(guarantee().constants.xi))), "lambda")
    assert_refuses(lambda: made(nu=1.0), "nu")
