"""Parts of an audit on disk: it goes on where it ended, whatever ended it."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from audits import QUICK, SENSING, SIDE, SWEEP, Trouble, X, adjoint, made, verdict
from firenet.audit import Thresholds, audit
from firenet.audit.model import Model
from firenet.audit.parts import remove
from firenet.audit.subject import TRIES
from firenet.errors import BadInput, DoubtfulInput
from firenet.images import ellipses
from firenet.io import sealed


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


def test_only_a_folder_of_parts_is_removed(tmp_path: Path) -> None:
    folder, settings = tmp_path / "parts", replace(QUICK, tests=("accuracy",))
    made(adjoint(), folder=folder, settings=settings)
    kept = sorted(folder.iterdir())
    lock = next(p for p in kept if p.suffix != ".part")
    (folder / "letter.txt").write_text("mine")
    with pytest.raises(BadInput, match="with other files in it"):
        remove(folder)
    (folder / "letter.txt").unlink()
    lock.unlink()
    with pytest.raises(BadInput, match=f"without {lock.name}"):
        remove(folder)
    assert sorted(folder.iterdir()) == [p for p in kept if p != lock]
    with pytest.raises(BadInput, match="which is no folder"):
        remove(next(folder.glob("*.part")))
    lock.touch()
    remove(folder)
    assert not folder.exists()


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
