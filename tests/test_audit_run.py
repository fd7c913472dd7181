"""The audit: a record of every test, also of those that fail; parts on disk; verdicts on maps that are known."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from draws import normal
from firenet import SubsampledFourier
from firenet.audit import Audit, Row, Settings, Thresholds, audit, judge
from firenet.audit.measures import CARRIED
from firenet.audit.model import Model, of
from firenet.audit.records import TESTS
from firenet.audit.subject import TRIES
from firenet.errors import BadInput, DoubtfulInput
from firenet.images import ellipses, load_slice, resampled
from firenet.io import sealed
from firenet.models.firenets import firenet_model, stabilised_model
from firenet.sensing import variable_density
from firenet.sensing.masks import nested

SIDE = 32
MASK = variable_density((SIDE, SIDE), 0.4).samples
SENSING = SubsampledFourier(MASK)
X = resampled(load_slice()[None], SIDE)[0]
QUICK = Settings(budgets=(0.003, 0.01), steps=3, starts=1, contrasts=(0.5, 0.1), noise=(0.05,), factors=(0.5, 2.0))
SWEEP = {r: SubsampledFourier(m) for r, m in nested(MASK, (0.2, 0.4, 0.6)).items()}


def made(*models: Model, settings: Settings = QUICK, **options: Any) -> Audit:
    return audit(list(models), SENSING, {"s1045": X}, settings=settings, **options)


def adjoint(name: str = "adjoint", factor: float = 1.0) -> Model:
    return Model(name, lambda sensing: lambda y: factor * sensing.adjoint(y).real, {"kind": f"adjoint {factor}"})


def verdict(found: Audit, model: str, test: str) -> str:
    (v,) = [v for v in found.verdicts if (v.model, v.test) == (model, test)]
    return v.outcome


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
    # and if it were, it would be said
    broken = replace(rows[0], numbers={**rows[0].numbers, "beaten": True})
    (said,) = [v for v in judge("FIRENET", [broken], QUICK) if v.test == "certificate"]
    assert said.outcome == "failed"
    assert "never" in said.text


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
    assert "other samples" in str(stuck.rows[0].failed)
    assert verdict(stuck, "stuck", "samples") == "not decided"


# --- models that misbehave --------------------------------------------------------------------------------------------


class Trouble(Exception):
    pass


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


# --- parts ------------------------------------------------------------------------------------------------------------


def test_a_long_audit_goes_on_where_it_ended(tmp_path: Path) -> None:
    calls: list[int] = []

    def build(sensing: Any) -> Any:
        def reconstruct(y: Tensor) -> Tensor:
            calls.append(1)
            return sensing.adjoint(y).real

        return reconstruct

    counted = Model("counted", build)
    stopped: list[str] = []

    def stop(done: int, most: int, what: str) -> None:
        stopped.append(what)
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made(counted, folder=tmp_path, progress=stop)
    assert len(list(tmp_path.glob("*.part"))) == 4
    before = len(calls)
    found = made(counted, folder=tmp_path, sweep=SWEEP)
    assert len(calls) > before
    after = len(calls)
    # Nothing that fails, and so would be judged again.
    mild = Thresholds(math.inf, math.inf, 0.9, 0.0, math.inf, math.inf, math.inf, math.inf, -math.inf)
    again = made(counted, folder=tmp_path, sweep=SWEEP, settings=replace(QUICK, thresholds=mild))
    assert not [v for v in again.verdicts if v.outcome == "failed"], again.verdicts
    assert len(calls) == after + TRIES + 3  # tried once more, a second copy, and its gradient; nothing measured
    assert [replace(r, seconds=0) for r in again.rows] == [replace(r, seconds=0) for r in found.rows]
    assert set(again.pictures) == set(found.pictures)
    plain = made(counted, sweep=SWEEP)
    assert [(r.numbers, r.pictures) for r in plain.rows] == [(r.numbers, r.pictures) for r in found.rows]
    other = made(counted, folder=tmp_path, settings=replace(QUICK, steps=4))
    assert other.rows != found.rows  # other settings are other parts
    assert not list(tmp_path.glob("*.started"))


@pytest.mark.parametrize("odd", [math.inf, math.nan])
def test_odd_numbers_are_the_same_when_they_are_read_again(odd: float, tmp_path: Path) -> None:
    """Infinite for the exact image, no number on the second image."""
    images = {"s1045": X, "ellipses": ellipses(SIDE, torch.Generator().manual_seed(3))}
    first = SENSING(X)

    def build(sensing: Any) -> Any:
        def reconstruct(y: Tensor) -> Tensor:
            if torch.equal(y, first):
                return X.clone()
            return sensing.adjoint(y).real * (1.0 if math.isinf(odd) else odd)

        return reconstruct

    model, settings = Model("odd", build, {}), replace(QUICK, tests=("accuracy", "worst", "noise", "details"))
    runs = [audit([model], SENSING, images, settings=settings, folder=tmp_path) for _ in range(2)]
    assert repr(runs[0].verdicts) == repr(runs[1].verdicts)
    assert [repr(replace(r, seconds=0)) for r in runs[0].rows] == [repr(replace(r, seconds=0)) for r in runs[1].rows]
    assert (runs[0].resumed, runs[1].resumed) == (0, len(runs[1].rows))
    from firenet.audit.report import render

    assert "Taken from an earlier run" in render(runs[1:], command="", title="x")
    if math.isnan(odd):
        assert verdict(runs[0], "odd", "accuracy") == "failed"


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


def test_a_damaged_part_is_measured_again(tmp_path: Path) -> None:
    settings = replace(QUICK, tests=("accuracy", "noise"))
    wanted = made(adjoint(), folder=tmp_path, settings=settings)
    first, second = sorted(tmp_path.glob("*.part"))
    for damage in ("empty", "cut", "altered", "another's"):
        whole = second.read_bytes()
        cut = whole[:-1]
        first.write_bytes({"empty": b"", "cut": cut, "altered": cut + bytes([whole[-1] ^ 1])}.get(damage, whole))
        with pytest.warns(DoubtfulInput, match="measured again"):
            found = made(adjoint(), folder=tmp_path, settings=settings)
        assert [r.numbers for r in found.rows] == [r.numbers for r in wanted.rows]
        assert found.resumed == 1
    assert made(adjoint(), folder=tmp_path, settings=settings).resumed == 2


def test_a_model_that_ends_the_process_at_once_does_so_once(tmp_path: Path) -> None:
    settings = replace(QUICK, tests=("accuracy",))
    quits = Model("quits", lambda sensing: exit(3), {"kind": "quits"})
    assert "SystemExit" in str(made(quits, settings=settings).rows[0].failed)
    begun: list[str] = []

    def build(sensing: Any) -> Any:
        begun.extend(p.name for p in tmp_path.glob("*.started"))
        return lambda y: sensing.adjoint(y).real

    model = Model("dies", build, {"kind": "dies"})
    made(model, folder=tmp_path, settings=settings)
    assert len(set(begun)) == 1  # it was being tried
    for part in tmp_path.iterdir():
        part.unlink()
    marker = tmp_path / begun[0]
    for attempts in (1, 2):  # as if the process had been killed in it: that says nothing about the model
        marker.write_text(f"{attempts}\n")
        assert made(model, folder=tmp_path, settings=settings).rows[0].failed is None
        assert not marker.exists()
        for part in tmp_path.glob("*.part"):
            part.unlink()
    marker.write_text("3\n")
    found = made(model, folder=tmp_path, settings=settings)
    assert "ended 3 times" in str(found.rows[0].failed)
    assert "nothing is known about the model" in str(found.rows[0].failed)
    marker.write_text("1\nFatal Python error: Segmentation fault\n\nCurrent thread ...")
    found = made(model, folder=tmp_path, settings=settings)
    assert "crashed in this part: Fatal Python error: Segmentation fault" in str(found.rows[0].failed)
    assert made(model, folder=tmp_path, settings=settings, retry=True).rows[0].failed is None


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


def test_names_that_are_no_text_can_be_written(tmp_path: Path) -> None:
    name = b"\xff.npy".decode("utf-8", "surrogateescape")
    found = audit([adjoint()], SENSING, {name: X}, settings=replace(QUICK, tests=("accuracy",)), folder=tmp_path)
    from firenet.audit.report import render

    assert render([found], command="", title="x").encode("utf-8")


def test_a_crash_is_not_run_into_twice(tmp_path: Path) -> None:
    settings = replace(QUICK, tests=("accuracy", "worst"))
    made(adjoint(), folder=tmp_path, settings=settings)
    parts = tmp_path.glob("*.part")
    (part,) = [p for p in parts if sealed.read(p, "audit-part", p.stem)[1]["test"] == "worst"]
    part.unlink()
    part.with_suffix(".started").write_text("1\nFatal Python error: Aborted\n")  # as if the process had died in it
    found = made(adjoint(), folder=tmp_path, settings=settings)
    assert "the process crashed in this part" in str(found.rows[1].failed)
    assert found.rows[0].failed is None
    again = made(adjoint(), folder=tmp_path, settings=settings, retry=True)
    assert again.rows[1].failed is None
    assert [r.failed for r in made(adjoint(), folder=tmp_path, settings=settings).rows] == [None, None]


def test_what_failed_is_tried_again_only_if_asked(tmp_path: Path) -> None:
    fail = [True]

    def sometimes(y: Tensor) -> Tensor:
        if fail[0] and torch.is_grad_enabled():
            raise Trouble("a bad day")
        return SENSING.adjoint(y).real

    settings = replace(QUICK, tests=("accuracy", "scaling"))
    model = Model("moody", lambda sensing: sometimes, {"kind": "moody"})

    def details(y: Tensor) -> Tensor:
        raise Trouble("a bad day")

    broken = Model("moody", lambda sensing: lambda y: sometimes(y) if y.abs().max() < 1e9 else details(y), {})
    found = made(model, folder=tmp_path, settings=settings)
    assert [r.failed for r in found.rows] == [None, None]
    assert found.models["moody"]["gradient"] is False
    many = replace(settings, factors=(1e12,))
    failed = made(broken, folder=tmp_path, settings=many)
    assert "a bad day" in str(failed.rows[1].failed)
    assert "a bad day" in str(made(broken, folder=tmp_path, settings=many).rows[1].failed)
    mended = Model("moody", lambda sensing: sometimes, {})
    assert "a bad day" in str(made(mended, folder=tmp_path, settings=many).rows[1].failed)
    assert made(mended, folder=tmp_path, settings=many, retry=True).rows[1].failed is None


# --- bad input --------------------------------------------------------------------------------------------------------


def test_bad_input() -> None:
    with pytest.raises(BadInput, match="different names"):
        made(adjoint(), adjoint())
    with pytest.raises(BadInput, match="images of shape"):
        audit([adjoint()], SENSING, {"small": X[:8, :8]})
    with pytest.raises(BadInput, match="images of shape"):
        audit([adjoint()], SENSING, {"nan": X * math.nan})
    with pytest.raises(BadInput, match="not negative"):
        audit([adjoint()], SENSING, {"zero": 0 * X})
    with pytest.raises(BadInput, match="not negative"):
        audit([adjoint()], SENSING, {"negative": -X})
    with pytest.raises(BadInput, match="Name them once"):
        audit([adjoint()], SENSING, {"x": X}, others={"x": X})
    for wrong in (
        {"reference": 0.02},
        {"tests": ("nothing",)},
        {"budgets": (0.01, -1.0)},
        {"window": 2.0},
        {"ascent": "luck"},
        {"domain": "dreams"},
        {"factors": ()},
        {"starts": 0},
    ):
        with pytest.raises(BadInput):
            replace(QUICK, **wrong)  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="Rates"):
        nested(MASK, (1.5,))


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


# --- nothing is passed because it was not found -----------------------------------------------------------------------

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
    assert "Judged again on a fresh copy of the model" in verdict.text
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
