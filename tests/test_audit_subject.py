"""Models at the door of the audit: those that fail, answer by chance, have no gradient or bad manners."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from audits import MASK, QUICK, SENSING, SIDE, Trouble, X, adjoint, made, verdict
from draws import normal
from firenet.audit import audit
from firenet.audit.model import Model, of
from firenet.models.firenets import firenet_model


def raising(y: Tensor) -> Tensor:
    raise Trouble("no\n  luck")


BAD = {
    "nan": (lambda y: SENSING.adjoint(y).real * math.nan, "NaN or infinity"),
    "shape": (lambda y: y.abs()[None], r"image of shape \(32, 32\)"),
    "integers": (lambda y: y.abs().to(torch.int32), "floating point"),
    "a list": (lambda y: [y], "A tensor"),
    "raises": (raising, "Trouble: no luck"),
    "memory": (lambda y: torch.empty(10**15).sum() * y.real, "more memory than there is"),
}


@pytest.mark.parametrize("name", list(BAD))
def test_a_model_that_fails_is_a_row_with_its_reason(name: str) -> None:
    function, reason = BAD[name]
    found = made(of(name, function), adjoint(), settings=replace(QUICK, tests=("accuracy", "worst")))  # type: ignore[arg-type]
    failed = [r for r in found.rows if r.model == name]
    assert len(failed) == 2
    import re

    assert all(re.search(reason, str(r.failed)) for r in failed), failed[0].failed
    assert all(verdict(found, name, t) == "not decided" for t in ("accuracy", "worst"))
    assert verdict(found, "adjoint", "worst") == "nothing found"


def test_one_that_breaks_under_perturbation_is_infinitely_bad() -> None:
    def fragile(y: Tensor) -> Tensor:
        image = SENSING.adjoint(y).real
        return image if torch.equal(y, SENSING(X)) else image * math.nan

    found = made(of("fragile", fragile), firenet_model("tv", 2, 3), settings=replace(QUICK, tests=("worst",)))
    assert verdict(found, "fragile", "worst") == "failed"
    from firenet.audit.report import compared, render

    assert "fragile breaks" in compared(found)[0]
    assert "not finite" in render([found], command="", title="x")
    from firenet.io.files import to_json

    record = json.loads(to_json(found.record()))
    assert record["rows"][0]["numbers"]["amplification"] == [None, None]


def test_one_that_shows_nothing_at_all_is_measured() -> None:
    """A zero image, to which nothing is relative: it does not change, and once it does, by more than any share."""
    tests, size = (
        ("accuracy", "worst", "localised", "details", "noise", "scaling"),
        torch.linalg.vector_norm(SENSING(X)),
    )
    zero = of("zero", lambda y: torch.zeros(SIDE, SIDE))
    wakes = of("wakes", lambda y: SENSING.adjoint(y - SENSING(X)).real.detach() * (torch.linalg.vector_norm(y) > size))
    found = made(zero, wakes, settings=replace(QUICK, tests=tests, calls=0))
    assert [r.failed for r in found.rows] == [None] * 12
    assert [found.of(name, "worst")[0].numbers["worst"][0] for name in ("zero", "wakes")] == [0, math.inf]


def test_chance_is_noticed_and_attacked_through_a_mean() -> None:
    rng = np.random.default_rng(0)

    def lucky(y: Tensor) -> Tensor:
        return SENSING.adjoint(y).real + 1e-4 * normal(SIDE, SIDE, seed=rng)

    steps: list[int] = []

    def counted(y: Tensor) -> Tensor:
        steps.append(1)
        return lucky(y)

    found = made(of("lucky", counted), settings=replace(QUICK, tests=("worst",)))
    assert len(steps) > 4 * found.rows[0].numbers["evaluations"]
    assert found.models["lucky"]["deterministic"] is False
    assert found.models["lucky"]["spread"] > 0
    assert found.rows[0].failed is None


def test_without_a_gradient_it_is_attacked_without() -> None:
    for function in (
        lambda y: SENSING.adjoint(y).real.detach(),
        lambda y: torch.from_numpy(SENSING.adjoint(y).real.detach().numpy().round(1)),
    ):
        found = made(of("black box", function), settings=replace(QUICK, tests=("worst", "localised")))
        assert found.models["black box"]["gradient"] is False
        assert {r.numbers["ascent"] for r in found.rows} == {"spsa"}
        assert all(r.failed is None for r in found.rows)


def test_a_model_is_not_certified_by_its_buffer_nor_spoils_the_data() -> None:
    buffer = torch.zeros(SIDE, SIDE)

    def static(y: Tensor) -> Tensor:
        return torch.mul(SENSING.adjoint(y).real.detach(), 50, out=buffer)

    def spoiling(y: Tensor) -> Tensor:
        y *= 0.5
        return 2 * SENSING.adjoint(y).real

    found = made(of("static", static), of("spoiling", spoiling), settings=replace(QUICK, tests=("noise",)))
    assert found.of("static", "noise")[0].numbers["amplification"][0] > 20
    assert found.of("spoiling", "noise")[0].numbers["amplification"][0] < 1
    assert found.models["spoiling"]["deterministic"]


def test_functions_are_measured_anew_and_networks_known_by_their_weights(tmp_path: Path) -> None:
    settings = replace(QUICK, tests=("accuracy",))
    for factor in (1.0, 0.1):
        model = of("f", lambda y, c=factor: c * SENSING.adjoint(y).real)
        found = made(model, folder=tmp_path, settings=settings)
        assert found.resumed == 0
    again = [made(of("f", lambda y: y.real, "v1"), folder=tmp_path, settings=settings) for _ in range(2)]
    assert again[1].resumed == 1


def test_bad_manners_change_no_figures_and_nobodys_data() -> None:
    import random

    from firenet import SubsampledFourier as Fourier

    mine, before = Fourier(MASK.clone()), X.clone()

    def build(sensing: Any) -> Any:
        sensing.mask.zero_()  # of its own copy

        def rude(y: Tensor) -> Tensor:
            torch.manual_seed(0)
            np.random.seed(0)  # noqa: NPY002
            random.seed(0)
            torch.set_default_dtype(torch.float64)
            torch.set_grad_enabled(False)
            y += 8
            image = SENSING.adjoint(y - 8).real
            y.zero_()
            return image

        return rude

    states = torch.random.get_rng_state(), random.getstate()
    settings = replace(QUICK, budgets=(0.01,), tests=("accuracy", "noise"))
    found = audit([Model("rude", build), adjoint()], mine, {"s1045": X}, settings=settings)
    assert torch.get_default_dtype() == torch.float32
    assert torch.is_grad_enabled()
    assert torch.equal(states[0], torch.random.get_rng_state())
    assert states[1] == random.getstate()
    assert torch.equal(mine.mask, MASK)
    assert torch.equal(X, before)
    rude, polite = (found.of(name, "noise")[0].numbers["amplification"] for name in ("rude", "adjoint"))
    assert rude == pytest.approx(polite, rel=1e-4)  # in single precision 8 takes three digits away
