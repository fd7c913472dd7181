"""Small changes of the code that no test noticed when `make mutants` was first run: each is noticed here."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from draws import normal, uniform
from firenet import BadInput, Firenet, Matrix, MultiCoilFourier, SubsampledFourier, UndecimatedWavelet, Wavelet
from firenet.audit import Outcome, Row, Settings, Thresholds, judge
from firenet.barriers import witness
from firenet.mri import prepare, prepare_scan
from firenet.problems import Ball, SynthesisProblem
from firenet.problems.gap import duality_gap
from firenet.reweighting import standing_out
from firenet.transforms import Union

DOUBLE = torch.float64


def number(value: float) -> torch.Tensor:
    return torch.tensor([value], dtype=DOUBLE)


def test_a_violation_makes_the_gap_larger() -> None:
    """min |z| subject to |z - 2| <= 1/2 is 3/2, with q = -1. At z = 1 F is lower than that, by the violation."""
    problem = SynthesisProblem(Matrix(torch.ones(1, 1, dtype=DOUBLE)), None, 1.0, Ball(0.5))
    found = problem.prove(number(1.0)[None], -number(1.0)[None], number(2.0)[None])
    assert found.violation.item() == pytest.approx(0.5)
    assert found.lower_bound.item() == pytest.approx(1.5)
    assert abs(found.gap.item()) <= found.rounding.item()
    assert duality_gap(number(1), number(1.5), number(1), number(0.5)).item() == 0
    assert duality_gap(number(2), number(1.5), number(3), number(0.5)).item() == 2


def scaled_nets() -> list[Firenet]:
    sensing = SubsampledFourier(uniform((16, 16), seed=3) < 0.5)
    haar = UndecimatedWavelet((16, 16), "haar", 1)
    return [Firenet(sensing, Union([haar], [factor])) for factor in (1.0, 3.0)]


def test_the_default_lambda_undoes_the_scale_of_the_transform() -> None:
    """W and 3 W pose the same problem: lambda is a third."""
    plain, scaled = scaled_nets()
    assert scaled.lam == pytest.approx(plain.lam / 3, rel=1e-12)


def test_what_stands_out_has_no_scale() -> None:
    plain, scaled = scaled_nets()
    image = normal(16, 16, dtype=torch.complex128, seed=1)
    image[4:9, 5:10] += 20
    y = plain.sensing(image + normal(16, 16, dtype=torch.complex128, seed=2))
    share = standing_out(plain, image, y)
    assert 0 < share < 2
    assert standing_out(scaled, image, y) == pytest.approx(share, rel=1e-12)


@pytest.mark.parametrize("shape", [(2, 16, 15), (3, 16, 16), (16, 16), (1, 2, 16, 16)], ids=str)
def test_maps_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    k = normal(2, 16, 16, dtype=torch.complex64, seed=0)
    maps = torch.ones(shape, dtype=torch.complex64)
    with pytest.raises(BadInput, match="Coil maps of shape"):
        prepare(k, None, maps)
    with pytest.raises(BadInput, match="Coil maps of shape"):
        prepare_scan(k.numpy(), ("coil", "y", "x"), maps=maps.numpy())
    with pytest.raises(BadInput):
        MultiCoilFourier(torch.ones(16, 16, dtype=torch.bool), torch.ones(2, 16, 15, dtype=torch.complex64))


@pytest.mark.parametrize("shape", [(16,), (16, 8), (8, 4, 8)], ids=str)
def test_no_result_of_the_folded_product_lies_in_a_work_buffer(shape: tuple[int, ...]) -> None:
    """What was returned stays as it is while the operator works on."""
    operator = SubsampledFourier(uniform(shape, seed=5) < 0.6) @ Wavelet(shape, "db2", 2).H
    compact = operator.compact()
    x = [compact.pack(normal(2, *operator.in_shape, dtype=torch.complex128, seed=k)) for k in range(3)]
    measured = [compact.forward(v) for v in x]
    back = [compact.adjoint(v) for v in measured]
    for _ in range(2):
        for k, v in enumerate(x):
            assert torch.equal(compact.forward(v), measured[k])
            assert torch.equal(compact.adjoint(measured[k]), back[k])
    dense = operator.as_matrix(torch.complex128)
    for v, y in zip(x, measured, strict=True):
        expected = compact.unpack(v).reshape(2, -1) @ dense.mT
        torch.testing.assert_close(compact.unpack_measured(y).reshape(2, -1), expected, rtol=0, atol=1e-12)


def test_the_checker_of_witnesses_takes_numbers_up_to_its_limit() -> None:
    longest = "7" * witness.MOST_DIGITS
    assert witness.number(longest) == int(longest)
    assert witness.number(f"-1/{longest}") * int(longest) == -1
    for text in (longest + "7", f"1/{longest}7"):
        with pytest.raises(witness.TooLong):
            witness.number(text)
    assert witness.whole("3", 3, 3) == 3
    for text in ("2", "4", "7/2"):
        with pytest.raises(witness.Refuted):
            witness.whole(text, 3, 3)
    edge = [longest[:4000]] * 49
    assert len(witness.numbers(edge, 49)) == 49
    with pytest.raises(witness.TooLong):
        witness.numbers(["7" * 4000] * 50, 50)


def said(test: str, numbers: dict[str, Any], thresholds: Thresholds) -> Outcome:
    row = Row("model", "image", test, numbers)
    settings = replace(Settings(), tests=(test,), thresholds=thresholds)
    return next(v for v in judge("model", [row], settings) if v.test == test).outcome


def test_verdicts_at_their_boundaries() -> None:
    """What is exactly at a limit holds it; what is a little beyond does not."""
    limits = Thresholds()
    beyond = np.nextafter(limits.noise, np.inf)
    assert said("noise", {"amplification": [limits.noise]}, limits) is Outcome.NOTHING_FOUND
    assert said("noise", {"amplification": [beyond]}, limits) is Outcome.FAILED
    assert said("scaling", {"change": [limits.scaling]}, limits) is Outcome.NOTHING_FOUND
    assert said("scaling", {"change": [np.nextafter(limits.scaling, 1)]}, limits) is Outcome.FAILED
    assert said("samples", {"psnr": [30.0, 30.0 - limits.fall]}, limits) is Outcome.NOTHING_FOUND
    assert said("samples", {"psnr": [30.0, 29.0 - limits.fall]}, limits) is Outcome.FAILED
    gain = {"psnr": 20.0 + limits.gain, "psnr adjoint": 20.0}
    assert said("accuracy", gain, limits) is Outcome.NOTHING_FOUND
    assert said("accuracy", gain | {"psnr": np.nextafter(20.0 + limits.gain, 0)}, limits) is Outcome.FAILED
    seen = {"contrast": limits.contrast, "index": limits.index, "empty": np.nextafter(limits.index, 0)}
    details = {kind: [seen] for kind in Settings().details}
    assert said("details", details, limits) is Outcome.NOTHING_FOUND
    for change in ({"index": np.nextafter(limits.index, 0)}, {"empty": limits.index}):
        assert said("details", {kind: [seen | change] for kind in details}, limits) is Outcome.FAILED
    unasked = {kind: [seen | {"contrast": np.nextafter(limits.contrast, 0)}] for kind in details}
    assert said("details", unasked, limits) is Outcome.UNDECIDED
