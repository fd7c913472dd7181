"""The audit: every test is made and recorded, thresholds are the user's, bad input is refused."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from audits import MASK, QUICK, SENSING, SIDE, SWEEP, Trouble, X, adjoint, made, verdict
from firenet import Firenet, SubsampledFourier, SubsampledWalsh, UndecimatedWavelet
from firenet.audit import Audit, Row, Thresholds, audit, judge, measures
from firenet.audit.attack import attack
from firenet.audit.measures import CARRIED
from firenet.audit.model import Model
from firenet.audit.records import TESTS
from firenet.audit.report import render
from firenet.errors import BadInput
from firenet.images import ellipses
from firenet.models.firenets import firenet_model, guaranteed_model, stabilised_model
from firenet.sensing.masks import nested
from firenet.solver import FixedSteps
from known_matrices import of_image


@pytest.fixture(scope="module")
def whole() -> Audit:
    models = [
        adjoint(),
        adjoint("loud", 9.0),
        firenet_model("tv", 3, 5),
        stabilised_model(adjoint("loud inside", 9.0), "tv", 2, 5),
    ]
    others = {"ellipses": ellipses(SIDE, torch.Generator().manual_seed(0))}
    return made(*models, others=others, sweep=SWEEP)


def test_every_test_is_made_and_recorded(whole: Audit, tmp_path: Path) -> None:
    assert not [r for r in whole.rows if r.failed]
    for name in whole.models:
        wanted = set(TESTS) - ({"certificate"} if name in ("adjoint", "loud") else set())
        assert {r.test for r in whole.rows if r.model == name} == wanted
    from firenet.io.files import to_json

    record = json.loads(to_json(whole.record()))
    assert record["schema"] == 2
    assert record["settings"]["seed"] == 0
    assert len(record["images"]["s1045"]["sha256"]) == 64
    assert len(record["sensing"]["mask sha256"]) == 64
    assert record["sensing"]["rate"] == pytest.approx(0.4, abs=1e-3)
    assert set(record["versions"]) >= {"firenet", "torch", "python", "threads"}
    assert {v["test"] for v in record["verdicts"]} == set(TESTS)
    for row in whole.rows:
        assert set(row.pictures.values()) <= set(whole.pictures)


def test_the_numbers_of_a_linear_map_are_its_norm(whole: Audit) -> None:
    """The adjoint of a mask, real part: a perturbation is amplified at most by 1, and by 9 behind a factor of 9."""
    for name, norm in (("adjoint", 1.0), ("loud", 9.0)):
        (row,) = whole.of(name, "worst")
        assert max(row.numbers["amplification"]) <= norm * (1 + 1e-4)
        assert min(row.numbers["amplification"]) > 0.7 * norm
        assert row.numbers["random"] < row.numbers["worst"]
        (noise,) = whole.of(name, "noise")
        assert max(noise.numbers["amplification"]) < norm
    assert verdict(whole, "adjoint", "worst") == "nothing found"
    assert verdict(whole, "loud", "worst") == "failed"
    assert verdict(whole, "adjoint", "scaling") == "nothing found"
    assert verdict(whole, "adjoint", "samples") == "nothing found"
    assert verdict(whole, "loud", "accuracy") == "failed"


def test_no_attack_beats_the_certificate(whole: Audit) -> None:
    rows = [r for r in whole.rows if r.test == "certificate"]
    assert {r.model for r in rows} == {"FIRENET", "Stabilised loud inside"}
    for row in rows:
        which = {f"{name}, {e}" for name in whole.models for e in ("0.003", "0.01", "one place", CARRIED)}
        assert set(row.numbers["perturbations"]) == {"noise", *which}
        assert not row.numbers["beaten"]
        for entry in row.numbers["perturbations"].values():
            assert entry["rise"] <= entry["bound"]
            assert entry["bound"] > 0
    assert verdict(whole, "FIRENET", "certificate") == "nothing found"
    (said,) = [v for v in whole.verdicts if (v.model, v.test) == ("FIRENET", "certificate")]
    assert "no statement, since nothing is proven here for the analysis form" in said.text
    # and if it were, it would be said
    broken = replace(rows[0], numbers={**rows[0].numbers, "beaten": True})
    (said,) = [v for v in judge("FIRENET", [broken], QUICK) if v.test == "certificate"]
    assert said.outcome == "failed"
    assert "never" in said.text


def test_a_perturbation_is_named_by_where_it_is_from(whole: Audit) -> None:
    for name in whole.models:
        (row,) = whole.of(name, "transfer")
        others = set(whole.models) - {name}
        assert set(row.numbers) == {*others, *(f"{model}, one place" for model in whole.models), CARRIED}


def test_where_the_property_is_known_the_distance_is_bounded() -> None:
    """An 8 x 8 image with all but one of its samples, in synthesis form: no attack comes beyond the bound."""
    known = of_image(8, missing=True).guarantee
    sensing: Any = known.sensing
    net = Firenet(sensing, known.sparsify, lam=known.constants.lam, form="synthesis", schedule=FixedSteps(40))
    model = guaranteed_model(net, known)
    settings = replace(QUICK, budgets=(0.01,), tests=("worst", "certificate"))
    found = audit([model], sensing, {"square": X[8:16, 8:16] + 0.1}, settings=settings)
    (row,) = found.of("FIRENET", "certificate")
    for entry in row.numbers["perturbations"].values():
        assert 0 < entry["moved"] <= entry["distance"]
    (said,) = [v for v in found.verdicts if v.test == "certificate"]
    assert said.outcome == "nothing found"
    assert "bound / found = " in said.text
    assert "bound / found" in render([found], command="firenet", title="a square")
    far = {name: {**entry, "too far": True} for name, entry in row.numbers["perturbations"].items()}
    beaten = replace(row, numbers={**row.numbers, "beaten": True, "perturbations": far})
    assert next(v for v in judge("FIRENET", [beaten], settings) if v.test == "certificate").outcome == "failed"
    with pytest.raises(BadInput, match="the analysis form"):
        guaranteed_model(Firenet(sensing, UndecimatedWavelet((8, 8), "haar", 1)), known)
    with pytest.raises(BadInput, match="weights of the guarantee"):
        guaranteed_model(Firenet(sensing, known.sparsify, weights=2 * torch.from_numpy(known.weights)), known)


def test_the_mask_is_shown_with_zero_frequency_in_its_middle_if_it_is_one_of_fourier() -> None:
    middle, settings = torch.fft.fftshift(MASK), replace(QUICK, tests=("accuracy",))
    for sensing, shown in (
        (SENSING, middle),
        (SubsampledFourier(middle, centred=True), middle),
        (SubsampledWalsh(MASK), MASK),
    ):
        found = audit([adjoint()], sensing, {"s1045": X}, settings=settings)
        assert torch.equal(torch.from_numpy(found.pictures["mask"]), shown.float())


def test_thresholds_are_the_users(whole: Audit) -> None:
    loose = replace(QUICK, thresholds=Thresholds(amplification=10.0))
    (said,) = [v for v in judge("loud", whole.rows, loose) if v.test == "worst"]
    assert said.outcome == "nothing found"
    assert said.threshold == 10


def test_more_samples_that_make_it_worse_are_found() -> None:
    def build(sensing: Any) -> Any:
        rate = sensing.mask.float().mean().item()
        return lambda y: sensing.adjoint(y).real + (0.5 if rate > 0.5 else 0.0)

    settings = replace(QUICK, tests=("samples",))
    found = made(Model("worse", build), settings=settings, sweep=SWEEP)
    assert verdict(found, "worse", "samples") == "failed"
    assert made(adjoint(), settings=settings).rows == ()  # no other samples, no row
    for factor, outcome in ((math.nan, "failed"), (math.inf, "failed"), (1.0, "nothing found")):

        def breaking(sensing: Any, factor: float = factor) -> Any:
            rate = sensing.mask.float().mean().item()
            return lambda y: sensing.adjoint(y).real * (factor if rate > 0.5 else 1.0)

        assert verdict(made(Model("x", breaking), settings=settings, sweep=SWEEP), "x", "samples") == outcome
    full = {r: SubsampledFourier(torch.ones(SIDE, SIDE, dtype=torch.bool)) for r in (0.9, 1.0)}
    perfect = Model("perfect", lambda sensing: lambda y: X, {})
    assert verdict(made(perfect, settings=settings, sweep=full), "perfect", "samples") == "nothing found"
    stuck = made(Model("stuck", build, fits=False), settings=settings, sweep=SWEEP)
    assert "any number of samples" in str(stuck.rows[0].failed)
    assert verdict(stuck, "stuck", "samples") == "not decided"


def test_where_one_image_fails_the_test_is_not_passed() -> None:
    images = {"s1045": X, "ellipses": ellipses(SIDE, torch.Generator().manual_seed(3))}

    def build(sensing: Any) -> Any:
        def reconstruct(y: Tensor) -> Tensor:
            if not torch.allclose(y, SENSING(X), atol=1.0):
                raise Trouble("not this one")
            return sensing.adjoint(y).real

        return reconstruct

    found = audit([Model("picky", build, {})], SENSING, images, settings=replace(QUICK, tests=("accuracy", "noise")))
    for said in found.verdicts:
        assert said.outcome == "not decided"
        assert "1 of 2 images could not be measured" in said.text
        assert "not this one" in said.text


def test_names_that_are_no_text_can_be_written(tmp_path: Path) -> None:
    name = b"\xff.npy".decode("utf-8", "surrogateescape")
    found = audit([adjoint()], SENSING, {name: X}, settings=replace(QUICK, tests=("accuracy",)), folder=tmp_path)
    from firenet.audit.report import render

    assert render([found], command="", title="x").encode("utf-8")


# --- bad input --------------------------------------------------------------------------------------------------------


def test_bad_input() -> None:
    with pytest.raises(BadInput, match="different names"):
        made(adjoint(), adjoint())
    with pytest.raises(BadInput, match="images of shape"):
        audit([adjoint()], SENSING, {"small": X[:8, :8]})
    with pytest.raises(BadInput, match=r"images of shape.*nan: .*with NaN"):
        audit([adjoint()], SENSING, {"nan": X * math.nan})
    with pytest.raises(BadInput, match="not negative"):
        audit([adjoint()], SENSING, {"zero": 0 * X})
    with pytest.raises(BadInput, match="not negative"):
        audit([adjoint()], SENSING, {"negative": -X})
    with pytest.raises(BadInput, match="in images and others"):
        audit([adjoint()], SENSING, {"x": X}, others={"x": X})
    for wrong in (
        {"reference": 0.02},
        {"tests": ("nothing",)},
        {"details": ("nothing",)},
        {"details": ()},
        {"budgets": (0.01, -1.0)},
        {"window": 2.0},
        {"ascent": "luck"},
        {"domain": "dreams"},
        {"factors": ()},
        {"starts": 0},
    ):
        with pytest.raises(BadInput):
            replace(QUICK, **wrong)  # type: ignore[arg-type]
    for rate in (1.5, math.nan):
        with pytest.raises(BadInput, match="Rates"):
            nested(MASK, (rate,))


def test_every_ascent_without_a_gradient_has_five_times_the_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, int]] = []

    def attacked(*args: Any, **how: Any) -> Any:
        told.append((how["ascent"], how["steps"]))
        return attack(*args, **how)

    monkeypatch.setattr(measures, "attack", attacked)
    blind = Model("blind", lambda sensing: lambda y: sensing.adjoint(y).real.detach(), {})
    made(adjoint(), blind, settings=replace(QUICK, tests=("worst", "localised", "transfer"), calls=0))
    assert told == 2 * [("gradient", 3)] + 2 * [("spsa", 15)] + [("gradient", 3), ("spsa", 15)]


def test_names_and_functions_will_do() -> None:
    found = audit(
        {"f": lambda y: SENSING.adjoint(y).real}, SENSING, {"x": X}, settings=replace(QUICK, tests=("noise",))
    )
    assert [(r.model, r.image, r.test) for r in found.rows] == [("f", "x", "noise")]


@pytest.mark.parametrize("seed", [0, 1])
def test_masks_are_nested_and_keep_the_one_they_are_made_from(seed: int) -> None:
    masks = list(nested(MASK, (0.05, 0.4, 0.2, 1.0, 0.7), seed=seed).values())
    assert [m.float().mean().item() for m in masks] == pytest.approx([0.05, 0.2, 0.4, 0.7, 1.0], abs=1e-3)
    for small, large in pairwise(masks):
        assert (small & ~large).sum() == 0
    assert torch.equal(masks[2], MASK)


def test_an_empty_row_says_its_reason() -> None:
    rows = [Row("m", "i", "worst", failed="because")]
    (said,) = judge("m", rows, replace(QUICK, tests=("worst",)))
    assert said.outcome == "not decided"
    assert "because" in said.text


def test_stabilised_is_audited_as_one_network(whole: Audit) -> None:
    (row,) = whole.of("Stabilised loud inside", "worst")
    assert max(row.numbers["amplification"]) < 9


def test_details_that_nobody_asked_for_are_not_passed(whole: Audit) -> None:
    strict = replace(QUICK, thresholds=Thresholds(contrast=0.9))
    (said,) = [v for v in judge("adjoint", whole.rows, strict) if v.test == "details"]
    assert said.outcome == "not decided"
    blind = replace(QUICK, thresholds=Thresholds(index=1e9))
    (said,) = [v for v in judge("adjoint", whole.rows, blind) if v.test == "details"]
    assert said.outcome == "failed"
