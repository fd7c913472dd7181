"""An audit from beginning to end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from firenet.audit.bench import Bench
from firenet.audit.measures import AGAIN, MEASURES, worst_witness
from firenet.audit.model import Model, of
from firenet.audit.parts import Parts, clean, digest
from firenet.audit.records import Audit, Outcome, Row, Settings, Verdict
from firenet.audit.subject import own_randomness
from firenet.audit.verdicts import judge, judged_again
from firenet.errors import BadInput
from firenet.operators.linear import LinearOperator
from firenet.versions import versions

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
    folder: Path | None = None,
    retry: bool = False,
    progress: Progress | None = None,
) -> Audit:
    """Puts every model to every test on every image.

    Args:
        models: Models, or names and functions of measurements.
        sensing: A, of images of two axes.
        images: Real, not negative, not all zero, (rows, columns), on the device of the sensing.
        title: Of the record.
        settings: None is :class:`Settings`.
        others: Images of another kind, for the test ``anatomy``.
        sweep: Sampling rate to sensing, for the test ``samples``; None leaves it out.
        folder: Where finished parts are kept, and looked for.
        retry: Try parts again that failed, or during which the process ended.
        progress: Called with parts done, parts in all and what comes now.
    """
    settings = Settings() if settings is None else settings
    listed = [of(n, f) for n, f in models.items()] if isinstance(models, Mapping) else list(models)
    listed = [replace(m, name=clean(m.name)) for m in listed]
    images = {clean(n): x for n, x in images.items()}
    others = {clean(n): x for n, x in (others or {}).items()}
    names = [m.name for m in listed]
    if images.keys() & others.keys():
        both = sorted(images.keys() & others.keys())
        raise BadInput("Other images that are not audited themselves", f"{both}", "Name them once")
    if not listed or len(set(names)) < len(names) or not images:
        raise BadInput("Models of different names, and an image", f"{names}, {len(images)} images", "Name them apart")
    for name, image in {**images, **others}.items():
        if image.is_complex() or tuple(image.shape) != tuple(sensing.in_shape) or not torch.isfinite(image).all():
            got = f"{name}: {image.dtype} of shape {tuple(image.shape)}"
            raise BadInput(f"Real, finite images of shape {tuple(sensing.in_shape)}", got, "Take the magnitude, crop")
        if image.min() < 0 or image.max() == 0:
            got = f"{name}: from {image.min().item():g} to {image.max().item():g}"
            raise BadInput("Images that are not negative and not all zero", got, "Take the magnitude")
    # What needs the perturbations that were found for all models comes last.
    last = [t for t in ("transfer", "certificate") if t in settings.tests]
    first = [t for t in settings.tests if t not in ("anatomy", *last)]
    todo = [(m, n, t) for m in listed for n in images for t in first]
    todo += [(m, n, "anatomy") for m in listed for n in others if "anatomy" in settings.tests]
    todo += [(m, n, t) for t in last for m in listed for n in images]
    with Parts(folder, retry) as parts, own_randomness():
        bench = Bench(sensing, images, others, sweep or {}, settings, parts, MEASURES)
        rows = _measured(bench, todo, progress)
        witnesses: dict[str, np.ndarray] = {}
        verdicts = tuple(v for m in listed for v in _verdicts(bench, m, rows, witnesses))
    about = {m.name: {**m.origin, **bench.known.get(m.name, {})} for m in listed}
    pictured = {n: (x, "audited") for n, x in images.items()} | {n: (x, "other") for n, x in others.items()}
    described = {
        n: {"shape": list(x.shape), "sha256": digest(x), "role": role, "picture": bench.parts.keep(f"image {n}", x)}
        for n, (x, role) in pictured.items()
    }
    return Audit(
        title,
        bench.described,
        about,
        described,
        settings,
        tuple(rows),
        verdicts,
        (versions() | {"threads": str(torch.get_num_threads())}),
        bench.parts.pictures,
        witnesses,
        bench.parts.resumed,
    )


def _measured(bench: Bench, todo: Sequence[tuple[Model, str, str]], progress: Progress | None) -> list[Row]:
    """Measures all parts, in this order; a test that says nothing about a model gives no row."""
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
    """What the rows say about a model; a witness is judged again on a fresh copy of it before anybody is convicted."""
    settings, verdicts = bench.settings, []
    own = [r for r in rows if r.model == model.name and r.failed is None]
    for said in judge(model.name, rows, settings, bench.doubt(model)):
        if said.outcome == Outcome.FAILED:
            # The worst perturbation may be one that was found elsewhere.
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
