"""Verdicts on maps that are known: nothing is passed because it was not found, and nobody is convicted unjustly."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from audits import MASK, QUICK, SENSING, SIDE, X, adjoint, made
from draws import normal
from firenet import SubsampledFourier
from firenet.audit import Audit, audit
from firenet.audit.detail import Pair
from firenet.audit.model import Model, of
from firenet.errors import BadInput
from firenet.sensing import variable_density

NORM = torch.linalg.vector_norm(SENSING(X))
D = SENSING(SENSING.adjoint(normal(SIDE, SIDE, dtype=torch.complex64, seed=6)))
D = D / torch.linalg.vector_norm(D)
PATTERN = normal(SIDE, SIDE, dtype=torch.float32, seed=7)
PATTERN = PATTERN / torch.linalg.vector_norm(PATTERN)
SEARCH = replace(QUICK, budgets=(0.01,), tests=("worst",), steps=10)


def component(y: Tensor) -> Tensor:
    """Of the perturbation of the data of X along D, relative to the norm of the data."""
    return ((y - SENSING(X)) * D.conj()).real.sum() / NORM


def said(found: Audit, test: str = "worst") -> Any:
    return next(v for v in found.verdicts if v.test == test)


HIDDEN = {
    "quantised": lambda y: 60 * torch.round(component(y).detach() / 0.002) * 0.002,
    "saturated": lambda y: 0.6 * torch.sigmoid((component(y) / 0.006 - 1) * 60),
    "detached": lambda y: 60 * component(y).detach(),
    "not a number": lambda y: (
        torch.sqrt((60 * component(y) + 0 * y.real) ** 2)[0, 0] + 0 * torch.sqrt(0 * y.real)[0, 0]
    ),
}


@pytest.mark.parametrize("name", HIDDEN)
def test_a_network_that_hides_its_slope_is_not_let_through(name: str) -> None:
    """Within 1 % all of them change the image sixty times as much; their gradients do not show it."""
    found = made(of(name, lambda y: SENSING.adjoint(y).real + NORM * HIDDEN[name](y) * PATTERN), settings=SEARCH)
    verdict = said(found)
    assert verdict.outcome == "failed"
    assert verdict.again == pytest.approx(verdict.value, rel=1e-4)
    assert "Judged again after the model was built again" in verdict.text
    assert verdict.value > 30
    e = torch.from_numpy(found.witnesses[verdict.witness["key"]])  # what anybody can judge again

    def reconstruct(y: Tensor) -> Tensor:
        return SENSING.adjoint(y).real + NORM * HIDDEN[name](y) * PATTERN

    size = torch.linalg.vector_norm(e)
    assert size <= 0.01 * NORM * (1 + 1e-6)
    grown = torch.linalg.vector_norm(reconstruct(SENSING(X) + e) - reconstruct(SENSING(X))) / size
    assert grown.item() == pytest.approx(verdict.value, rel=1e-4)


def test_nothing_found_says_how_hard_it_looked_and_a_black_box_what_it_would_have_missed() -> None:
    verdict = said(made(adjoint(), settings=SEARCH))
    assert verdict.outcome == "nothing found"
    assert "1 start of 10 steps; its gradient agrees with 12 differences" in verdict.text
    black = of("black", lambda y: SENSING.adjoint(y).real.detach())
    verdict = said(made(black, settings=SEARCH))
    assert verdict.outcome == "nothing found"
    assert f"the whole Jacobian of {2 * int(MASK.sum())} dimensions" in verdict.text
    few = made(black, settings=replace(SEARCH, calls=100))
    assert said(few).outcome == "not decided"
    assert "it has no gradient" in said(few).text
    assert "would have missed a singular value of up to" in said(few).text
    assert few.rows[0].numbers["effort"]["missed"] > 1


def test_one_that_answers_differently_is_not_decided_and_is_convicted_if_it_is_bad_anyhow() -> None:
    """Chance, memory, another answer to another copy: nothing that was not found says anything."""
    rng = np.random.default_rng(0)
    times: list[int] = []

    def seldom(y: Tensor) -> Tensor:
        times.append(1)
        return SENSING.adjoint(y).real * (1.0 if len(times) != 13 else 1.1)

    def chance(y: Tensor) -> Tensor:
        return SENSING.adjoint(y).real + 0.02 * normal(SIDE, SIDE, dtype=torch.float32, seed=rng)

    class Remembers:
        def __init__(self) -> None:
            self.first: Tensor | None = None

        def __call__(self, y: Tensor) -> Tensor:
            """Always within 10 % of the image that it was asked for first."""
            image = SENSING.adjoint(y).real
            if self.first is None:
                self.first = image.clone()
            return self.first + 0.1 * (image - self.first)

    settings = replace(QUICK, budgets=(0.01,), tests=("worst", "noise"))
    for model in (of("seldom", seldom), of("chance", chance), Model("remembers", lambda sensing: Remembers())):
        found = made(model, settings=settings)
        assert found.models[model.name]["deterministic"] is False
        for test in ("worst", "noise"):
            assert said(found, test).outcome == "not decided", model.name
            assert "its answers to the same data differ" in said(found, test).text
    loud = made(of("loud chance", lambda y: 20 * chance(y)), settings=SEARCH)
    assert said(loud).outcome == "failed"


def test_a_witness_that_does_not_repeat_itself_convicts_nobody() -> None:
    asked: list[int] = []

    def tired(y: Tensor) -> Tensor:
        """Wild for two hundred calls, then tame."""
        asked.append(1)
        return SENSING.adjoint(y).real * (9.0 if len(asked) < 60 else 1.0)

    settings = replace(SEARCH, steps=30)
    found = made(of("tired", tired), settings=settings)
    assert said(found).outcome in ("not decided", "nothing found")
    if found.rows[0].numbers["amplification"][0] > 5:
        assert "does not repeat itself" in said(found).text
        assert said(found).again < 5


def test_no_map_is_convicted_in_one_place_of_what_it_does_not_do() -> None:
    """A map of norm 1 moves a pixel by at most the norm of the perturbation, however large the image is."""
    for side in (48, 96):
        image = torch.zeros(side, side)
        image[side // 4 : -side // 4, side // 4 : -side // 4] = 1
        mask = variable_density((side, side), 0.5).samples
        sensing = SubsampledFourier(mask)
        models = {"adjoint": sensing.adjoint, "constant": lambda y, image=image: image + 0 * y.abs().sum()}
        settings = replace(SEARCH, tests=("localised",), calls=0)
        found = audit(models, sensing, {"x": image}, settings=settings)
        # A row of A* has norm sqrt(m / N): no e moves a pixel by more.
        exact = math.sqrt(mask.float().mean().item())
        (row,) = found.of("adjoint", "localised")
        assert 0.98 * exact <= row.numbers["amplification"] <= exact * (1 + 1e-4)
        assert [v.outcome for v in found.verdicts] == ["nothing found", "not decided"]  # a constant has no slope
        (row,) = found.of("constant", "localised")
        assert row.numbers["amplification"] == 0


def test_the_kernel_test_makes_no_statement_without_a_pair_that_says_something() -> None:
    settings = replace(QUICK, tests=("kernel",))
    verdict = said(made(adjoint(), settings=settings), "kernel")
    assert verdict.outcome == "no statement"
    assert verdict.value is None
    # One that knows both images shows the hidden detail, and so cannot be stable.
    from firenet.audit.detail import hidden
    from firenet.audit.measures import _inserted

    shape = _inserted("text", X, 0.5 * X.max().item())
    other = X + hidden(SENSING, shape, 0.01 * NORM.item())

    def oracle(y: Tensor) -> Tensor:
        nearer = torch.linalg.vector_norm(y - SENSING(other)) < torch.linalg.vector_norm(y - SENSING(X))
        return other if nearer else X

    verdict = said(made(of("oracle", oracle), settings=settings), "kernel")
    assert verdict.outcome == "failed"
    size = torch.linalg.vector_norm(other - X).item() / torch.linalg.vector_norm(SENSING(other - X)).item()
    assert verdict.value == pytest.approx(size, rel=1e-4)


def test_a_promise_that_two_images_refute_is_a_failure() -> None:
    """A pair in the kernel of a mask: the promise of an error below half its distance is false for one of the two."""
    settings = replace(QUICK, tests=("kernel",))
    mirrored = MASK.flip(0, 1).roll((1, 1), (0, 1))
    at = (~MASK & ~mirrored).nonzero()[0]
    spectrum = torch.zeros(X.shape, dtype=torch.complex64)
    spectrum[tuple(at)] = 1e3
    d = torch.fft.ifft2(spectrum).real
    distance = torch.linalg.vector_norm(d).item()
    pair = Pair(d, 1e-3 * distance, distance * (1 - 1e-5))

    def constant(name: str, error: float | None) -> Model:
        claims = None if error is None else lambda reconstruct, y, e=error: e
        return of(name, lambda y: X + 0 * y.abs().sum(), name, claims=claims)

    between = of("between", lambda y: X + 0.5 * d + 0 * y.abs().sum(), "between")
    models = [constant("silent", None), constant("sure", 0.4 * distance), constant("careful", 1.01 * distance), between]
    found = made(*models, settings=settings, pair=pair)
    outcomes = {v.model: v.outcome for v in found.verdicts}
    # Who returns one of the two without a word is convicted, too; who stays between them or says how far off it may be
    # is not.
    assert outcomes == {"silent": "failed", "sure": "failed", "careful": "no statement", "between": "no statement"}
    (row,) = found.of("sure", "kernel")
    told = row.numbers["pair"]
    assert told["first"] <= 1e-3 * distance
    assert told["second"] == pytest.approx(distance, rel=1e-4)
    assert told["second"] >= told["floor"]
    texts = {v.model: v.text for v in found.verdicts}
    assert "is false for one of them" in texts["sure"]
    assert "as if the data excluded the other" in texts["silent"]
    with pytest.raises(BadInput, match="cannot tell apart"):
        made(*models, settings=settings, pair=replace(pair, difference=X))


def test_what_was_found_in_one_place_or_for_others_counts_against_it() -> None:
    """Two models with the same weak spot, one of which shows it to a gradient."""

    def plain(y: Tensor) -> Tensor:
        return SENSING.adjoint(y).real + NORM * 60 * component(y) * PATTERN

    def blind(y: Tensor) -> Tensor:
        return plain(y).detach()

    settings = replace(SEARCH, tests=("worst", "transfer"), calls=0)
    found = made(of("plain", plain), of("blind", blind), settings=settings)
    verdicts = {(v.model, v.test): v for v in found.verdicts}
    assert {v.outcome for v in verdicts.values()} == {"failed"}
    assert verdicts["blind", "worst"].value == pytest.approx(60, abs=2)  # it begins at what was found for the first
    turned = made(of("blind", blind), of("plain", plain), settings=settings)
    verdicts = {(v.model, v.test): v for v in turned.verdicts}
    assert verdicts["blind", "worst"].outcome == "failed"  # by transfer, though it came first
    assert verdicts["blind", "worst"].again == pytest.approx(60, abs=2)
