"""Runs an audit from beginning to end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from firenet.audit.bench import Bench, environment
from firenet.audit.detail import Pair, described
from firenet.audit.measures import AGAIN, MEASURES, worst_witness
from firenet.audit.model import Model, of
from firenet.audit.parts import Parts, digest
from firenet.audit.records import Audit, Outcome, Row, Settings, Verdict
from firenet.audit.subject import own_randomness
from firenet.audit.verdicts import judge, judged_again
from firenet.errors import BadInput, plain
from firenet.operators.linear import LinearOperator

Progress = Callable[[int, int, str], None]


def audit(
    models: Sequence[Model] | Mapping[str, Callable[[Tensor], Tensor]],
    sensing: LinearOperator,
    images: Mapping[str, Tensor],
    *,
    title: str = "Stability audit",
    settings: Settings | None = None,
    others: Mapping[str, Tensor] | None = None,
    sweep: Mapping[float, LinearOperator] | None = None,
    pair: Pair | None = None,
    folder: Path | None = None,
    retry: bool = False,
    progress: Progress | None = None,
) -> Audit:
    """Runs every test of every model on every image.

    Args:
        models: The models: a list of :class:`Model`, or a mapping from names to functions of measurements.
        sensing: The measurement operator A, which maps an image with two axes to its measurements.
        images: Images by name: real, not negative, not all zero, (rows, columns), on the device of the operator.
        title: The title of the record.
        settings: The settings; None is :class:`Settings`.
        others: Images of another kind than ``images``, for the test ``anatomy``.
        sweep: Measurement operators by sampling rate, for the test ``samples``; None omits it.
        pair: Two images that no method can tell apart; the test ``kernel`` inserts their difference.
        folder: The folder where finished parts are stored, and from which they are taken.
        retry: Whether to measure parts again that failed, or during which the process ended.
        progress: Called with the number of finished parts, the number of all parts, and a text that names the current
            test.

    Raises:
        BadInput: If there is no model or no image, names are not unique, or an image does not fit.
    """
    settings = Settings() if settings is None else settings
    listed = [of(n, f) for n, f in models.items()] if isinstance(models, Mapping) else list(models)
    listed = [replace(m, name=plain(m.name)) for m in listed]
    images = {plain(n): x for n, x in images.items()}
    others = {plain(n): x for n, x in (others or {}).items()}
    _check(listed, sensing, images, others)
    if pair is not None:
        pair.check(sensing)
    every = {**images, **others}
    # The tests that need the perturbations that were found for all models come last.
    last = [t for t in ("transfer", "certificate") if t in settings.tests]
    first = [t for t in settings.tests if t not in ("anatomy", *last)]
    todo = [(m, n, t) for m in listed for n in images for t in first]
    todo += [(m, n, "anatomy") for m in listed for n in others if "anatomy" in settings.tests]
    todo += [(m, n, t) for t in last for m in listed for n in images]
    with Parts(folder, retry) as parts, own_randomness():
        bench = Bench(sensing, every, sweep or {}, settings, parts, MEASURES, pair)
        rows = _measured(bench, todo, progress)
        witnesses: dict[str, np.ndarray] = {}
        verdicts = tuple(v for m in listed for v in _verdicts(bench, m, rows, witnesses))
    about = {m.name: {**m.origin, **bench.about(m)} for m in listed}
    shown = {n: {"shape": list(x.shape), "sha256": digest(x)} for n, x in every.items()}
    for n, x in every.items():
        shown[n] |= {"role": "audited" if n in images else "other", "picture": parts.keep(f"image {n}", x)}
    stored = {"pictures": parts.pictures, "witnesses": witnesses, "resumed": parts.resumed}
    return Audit(title, bench.described, about, shown, settings, tuple(rows), verdicts, environment(), **stored)


def _check(
    models: Sequence[Model], sensing: LinearOperator, images: Mapping[str, Tensor], others: Mapping[str, Tensor]
) -> None:
    """Raises :class:`BadInput` unless names are unique and images fit the operator."""
    names, both = [m.name for m in models], sorted(images.keys() & others.keys())
    if both:
        raise BadInput("Different names in images and others", f"{both} in both", "Rename or remove them in one")
    if not models or len(set(names)) < len(names) or not images:
        raise BadInput("Models of different names, and an image", f"{names}, {len(images)} images", "Add or rename one")
    for name, image in {**images, **others}.items():
        if image.is_complex() or tuple(image.shape) != tuple(sensing.in_shape) or not torch.isfinite(image).all():
            needed = f"Real, finite images of shape {tuple(sensing.in_shape)}"
            raise BadInput(needed, f"{name}: {described(image)}", "Take the magnitude, crop")
        if image.min() < 0 or image.max() == 0:
            got = f"{name}: from {image.min().item():g} to {image.max().item():g}"
            raise BadInput("Images that are not negative and not all zero", got, "Take the magnitude")


def _measured(bench: Bench, todo: Sequence[tuple[Model, str, str]], progress: Progress | None) -> list[Row]:
    """Measures all parts, in this order; a test that does not apply to a model gives no row."""
    rows: list[Row] = []
    for k, (model, name, test) in enumerate(todo):
        if progress is not None:
            progress(k, len(todo), f"{model.name}: {test}")
        row = bench.row(model, name, test)
        if row is not None:
            rows.append(row)
    if progress is not None:
        progress(len(todo), len(todo), "done")
    return rows


def _verdicts(bench: Bench, model: Model, rows: Sequence[Row], witnesses: dict[str, np.ndarray]) -> list[Verdict]:
    """Returns the verdicts on a model; before one is ``failed``, its witnesses are judged again."""
    settings, verdicts = bench.settings, []
    own = [r for r in rows if r.model == model.name and r.failed is None]
    for said in judge(model.name, rows, settings, bench.doubt(model)):
        if said.outcome == Outcome.FAILED:
            # The worst perturbation may be one that was found for another model.
            needed = (said.test, "transfer") if said.test == "worst" else (said.test,)
            again = [bench.again(model, r, AGAIN) for r in own if r.test in needed]
            alone = replace(settings, tests=(said.test,))
            why = next((r.failed for r in again if r.failed is not None), None)
            said = judged_again(said, None if why else judge(model.name, again, alone)[0], why or "")
            convicting = None if why else worst_witness(again, settings.budgets.index(settings.reference))
            if said.outcome == Outcome.FAILED and convicting is not None:
                image, found = convicting
                key = f"{model.name}, {said.test}, {image}"
                witnesses[key] = bench.found[found].numpy()
                said = replace(said, witness={"image": image, "key": key, "sha256": digest(bench.found[found])})
        verdicts.append(said)
    return verdicts
