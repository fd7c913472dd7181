"""The tests of an audit: each measures one model on one image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from firenet.audit.ascent import Perturbation, severity
from firenet.audit.attack import attack, transferred
from firenet.audit.bench import Bench, Measure, Measured
from firenet.audit.detail import detect, halfway, hidden, kernel, over, scaled, undecidable
from firenet.audit.model import Model
from firenet.audit.records import Row, Settings
from firenet.audit.subject import Subject, built, guarded
from firenet.errors import BadInput
from firenet.images import detail
from firenet.metrics import psnr
from firenet.optional import optional

ONE_PLACE = "one place"


def _ssim(image: Tensor, x: Tensor) -> float | None:
    metrics = optional("skimage.metrics", "audit", "Structural similarity")
    a = image.detach().abs().double().cpu().numpy()
    b = x.double().cpu().numpy()
    return float(metrics.structural_similarity(a, b, data_range=float(b.max()))) if min(a.shape) >= 7 else None


def _norm(t: Tensor) -> float:
    return torch.linalg.vector_norm(t).item()


def _noise_like(bench: Bench, y: Tensor, level: float) -> Tensor:
    """Returns Gaussian noise on the samples; its norm is given relative to that of y."""
    generator = torch.Generator().manual_seed(bench.settings.seed)
    e = bench.sensing.restrict(torch.randn(y.shape, dtype=y.dtype, generator=generator).to(y.device))
    return e * (level * _norm(y) / _norm(e))


def _accuracy(bench: Bench, subject: Subject, model: Model, image: str) -> Measured:
    x, y = bench.truth(image)
    with torch.no_grad():
        found, plain = subject.reconstruct(y), bench.sensing.adjoint(y)
    numbers = {
        "psnr": psnr(found, x),
        "ssim": _ssim(found, x),
        "relative error": _norm(found - x) / _norm(x),
        "psnr adjoint": psnr(plain, x),
    }
    return numbers, {"reconstruction": found}


def _hints(bench: Bench, image: str) -> list[Tensor]:
    """Returns candidates for the worst perturbation.

    These are the perturbations that were found before, for this model and others, and the measurements of details, both
    unchanged and moved towards the kernel of A.
    """
    x, y = bench.truth(image)
    found = [e.to(y) for (_, at, _), e in bench.found.items() if at == image]
    for kind in bench.settings.details:
        shape = _inserted(kind, x, x.max().item())
        found.append(bench.sensing(shape))
        found.append(bench.sensing(hidden(bench.sensing, shape, bench.settings.reference * _norm(y))))
    return found


def _attacked(
    bench: Bench, subject: Subject, image: str, budgets: Sequence[float], window: tuple[slice, slice] | None = None
) -> list[Perturbation]:
    """Runs the attack of the settings."""
    s, y = bench.settings, bench.truth(image)[1]
    hints = _hints(bench, image) if s.domain == "measurement" else ()
    how = _ascent(subject, s) | {"domain": s.domain, "starts": s.starts, "reference": s.reference, "calls": s.calls}
    return attack(subject.attacked, bench.sensing, y, budgets, window=window, hints=hints, **how)


def _ascent(subject: Subject, settings: Settings) -> dict[str, Any]:
    """Returns how an ascent is made, with five times as many steps for a model without gradient."""
    steps = settings.steps * (5 if subject.ascent == "spsa" else 1)
    return {"ascent": subject.ascent, "steps": steps, "seed": settings.seed}


def _searched(subject: Subject, found: Perturbation) -> dict[str, Any]:
    """Returns how thorough an attack was and, if it proves little, why."""
    effort = found.effort
    if effort is None:
        return {}
    doubt = effort.doubt
    if doubt.startswith("it has no gradient") and subject.about["gradient problem"]:
        doubt = doubt.replace("it has no gradient", subject.about["gradient problem"], 1)
    return {"effort": asdict(effort), "looked": effort.text, "doubt": doubt}


def _worst(bench: Bench, subject: Subject, model: Model, image: str) -> Measured:
    x, y = bench.truth(image)
    s = bench.settings
    found = _attacked(bench, subject, image, s.budgets)
    with torch.no_grad():
        clean = subject.attacked(y)
        shaken = [psnr(subject.attacked(y + _noise_like(bench, y, p.budget)), x) for p in found]
    size = _norm(clean)
    numbers = {
        "budgets": list(s.budgets),
        "worst": [over(p.error, size) for p in found],
        "random": [over(p.noise, size) for p in found],
        "amplification": [p.amplification for p in found],
        "amplification random": [p.noise / (p.budget * _norm(y)) for p in found],
        "psnr": [psnr(p.image, x) for p in found],
        "psnr random": shaken,
        "by": [p.by for p in found],
        "evaluations": sum(p.evaluations for p in found),
        "ascent": subject.ascent,
        **_searched(subject, found[0]),
    }
    at = found[s.budgets.index(s.reference)]
    pictures = {
        "clean": clean,
        "attacked": at.image,
        "perturbation": bench.sensing.adjoint(at.e),
        "change": (at.image - clean).abs(),
        **{f"_e {p.budget:g}": p.e for p in found},
    }
    return numbers, pictures


def window_of(shape: Sequence[int], share: float) -> tuple[slice, slice]:
    """Returns the square in the middle of an image; its side is the given share of the image's shorter side."""
    rows, columns = shape
    half = max(round(share * min(rows, columns)) // 2, 1)
    return slice(rows // 2 - half, rows // 2 + half), slice(columns // 2 - half, columns // 2 + half)


def _localised(bench: Bench, subject: Subject, model: Model, image: str) -> Measured:
    x, _ = bench.truth(image)
    s = bench.settings
    window = window_of(x.shape, s.window)
    (found,) = _attacked(bench, subject, image, [s.reference], window)
    peak = x.max().item()
    numbers = {
        "amplification": found.amplification,
        "worst": found.error / peak,
        "random": found.noise / peak,
        "psnr": psnr(found.image, x),
        "window": [[w.start, w.stop] for w in window],
        "by": found.by,
        "ascent": subject.ascent,
        **_searched(subject, found),
    }
    return numbers, {"attacked": found.image, f"_e {ONE_PLACE}": found.e}


def _inserted(kind: str, x: Tensor, contrast: float) -> Tensor:
    """Returns a detail in the middle of an image that need not be square."""
    side = min(x.shape)
    top, left = (x.shape[0] - side) // 2, (x.shape[1] - side) // 2
    shape = torch.zeros_like(x)
    shape[top : top + side, left : left + side] = detail(kind, side, contrast).float()
    return shape


def _details(bench: Bench, subject: Subject, model: Model, image: str) -> Measured:
    x, _ = bench.truth(image)
    peak, middle = x.max().item(), window_of(x.shape, 0.5)
    numbers: dict[str, Any] = {}
    pictures: dict[str, Tensor] = {}
    for kind in bench.settings.details:
        shape = _inserted(kind, x, 1.0)
        with torch.no_grad():
            contrasts = [c * peak for c in bench.settings.contrasts]
            found, images = detect(subject.reconstruct, bench.sensing, x, shape, contrasts)
        numbers[kind] = [{**asdict(d), "contrast": c} for c, d in zip(bench.settings.contrasts, found, strict=True)]
        # Pictures of the middle of the image: of the text the first two contrasts, of other details the first.
        for k in range(min(2 if kind == "text" else 1, len(images))):
            title = f"{kind}, contrast {bench.settings.contrasts[k]:g}"
            pictures[f"object, {title}"] = (x + contrasts[k] * shape)[middle]
            pictures[title] = images[k][middle]
    return numbers, pictures


def _kernel(bench: Bench, subject: Subject, model: Model, image: str) -> Measured:
    x, y = bench.truth(image)
    shape = _inserted("text", x, 0.5 * x.max().item())
    with torch.no_grad():
        found, other, seen = kernel(subject.reconstruct, bench.sensing, x, shape, bench.settings.reference)
        e = _noise_like(bench, y, found.difference / _norm(y))
        change = subject.reconstruct(y + e) - subject.reconstruct(y)
    numbers = {**asdict(found), "noise": _norm(change) / found.difference if found.difference else 0.0}
    pictures = {"object with a hidden detail": other, "reconstruction of it": seen}
    if bench.pair is not None:
        with torch.no_grad():
            data = halfway(bench.sensing, x, bench.pair)
            claimed = None if model.claims is None else float(model.claims(subject.raw, data.clone()))
            told, other, seen = undecidable(subject.reconstruct, bench.sensing, x, bench.pair, claimed)
        numbers["pair"] = asdict(told)
        pictures |= {"object that the data do not exclude": other, "reconstruction from data of both": seen}
    return numbers, pictures


def _noise(bench: Bench, subject: Subject, model: Model, image: str) -> Measured:
    x, y = bench.truth(image)
    levels = bench.settings.noise
    with torch.no_grad():
        clean = subject.reconstruct(y)
        images = [subject.reconstruct(y + _noise_like(bench, y, level)) for level in levels]
    numbers = {
        "levels": [0.0, *levels],
        "psnr": [psnr(i, x) for i in (clean, *images)],
        "amplification": [_norm(i - clean) / (level * _norm(y)) for i, level in zip(images, levels, strict=True)],
    }
    return numbers, {f"noise of {levels[-1]:.0%}": images[-1]}


def _scaling(bench: Bench, subject: Subject, model: Model, image: str) -> Measured:
    _, y = bench.truth(image)
    with torch.no_grad():
        changes = scaled(subject.reconstruct, y, bench.settings.factors)
    return {"factors": list(bench.settings.factors), "change": changes}, {}


def _samples(bench: Bench, subject: Subject, model: Model, image: str) -> Measured:
    if not bench.sweep:
        return None
    if not model.fits:
        needed, got = "A model for any number of samples", f"{model.name}, made for a fixed number"
        raise BadInput(needed, got, "Train a model for each number of samples")
    x, _ = bench.truth(image)
    values = []
    for sensing in bench.sweep.values():
        reconstruct = guarded(built(model, sensing), tuple(sensing.in_shape))
        with torch.no_grad():
            values.append(psnr(reconstruct(sensing(x)), x))
    return {"rates": list(bench.sweep), "psnr": values}, {}


CARRIED = "an ascent from the worst of them"


def _foreign(bench: Bench, model: Model, image: str) -> dict[str, tuple[str, str, str]]:
    """Returns the keys in ``bench.found`` of perturbations for other models, and of those of all localised attacks."""
    which = (f"{bench.settings.reference:g}", ONE_PLACE)
    return {
        key[0] if key[2] == which[0] else f"{key[0]}, {key[2]}": key
        for key in bench.found
        if key[1] == image and key[2] in which and (key[0], key[2]) != (model.name, which[0])
    }


def _transfer(bench: Bench, subject: Subject, model: Model, image: str) -> Measured:
    foreign = _foreign(bench, model, image)
    if not foreign:
        return None
    y, s = bench.truth(image)[1], bench.settings
    numbers: dict[str, Any] = {name: _carried(bench, subject, y, bench.found[key]) for name, key in foreign.items()}
    if s.domain != "measurement":
        return numbers, {}
    # One more ascent begins at the worst of them.
    worst = max(numbers, key=lambda name: severity(numbers[name]["amplification"]))
    begun = [bench.found[foreign[worst]].to(y)]
    # It needs no differences, which the test ``worst`` has taken.
    how = _ascent(subject, s) | {"starts": 1, "hints": begun, "differences": False}
    (climbed,) = attack(subject.attacked, bench.sensing, y, [s.reference], **how)
    numbers[CARRIED] = _carried(bench, subject, y, climbed.e)
    return numbers, {f"_e {CARRIED}": climbed.e}


def _carried(bench: Bench, subject: Subject, y: Tensor, e: Tensor) -> dict[str, float]:
    """Returns the amplification of a perturbation that was found for another model, and that of noise."""
    s, e = bench.settings, e.to(y.device)
    empty = Perturbation(e, s.reference, 0, e, 0, 0, 0, "", 0)
    (found,) = transferred(subject.attacked, bench.sensing, y, [empty], seed=s.seed)
    return {"amplification": found.amplification, "random": found.noise / _norm(e)}


# --- witnesses, judged again ------------------------------------------------------------------------------------------


def _grown(bench: Bench, subject: Subject, image: str, e: Tensor, window: tuple[slice, slice] | None = None) -> float:
    """Returns the amplification of a perturbation; R is applied to the perturbed data first."""
    _, y = bench.truth(image)
    e = e.to(y)
    with torch.no_grad():
        change = subject.attacked(y + e) - subject.attacked(y)
    size = _norm(e)
    grown = _norm(change) if window is None else change[window].abs().max().item()
    return grown / size if size else 0.0


def _worst_again(bench: Bench, subject: Subject, model: Model, image: str) -> Measured:
    keys = [(model.name, image, f"{budget:g}") for budget in bench.settings.budgets]
    found = [_grown(bench, subject, image, bench.found[key]) for key in keys]
    return {"amplification": found, "amplification random": [0.0 for _ in found], "witness": keys}, {}


def _localised_again(bench: Bench, subject: Subject, model: Model, image: str) -> Measured:
    x = bench.images[image]
    key = (model.name, image, ONE_PLACE)
    value = _grown(bench, subject, image, bench.found[key], window_of(x.shape, bench.settings.window))
    share = value * _norm(bench.found[key]) / x.max().item()
    return {"amplification": value, "worst": share, "random": 0.0, "witness": key}, {}


def _transfer_again(bench: Bench, subject: Subject, model: Model, image: str) -> Measured:
    y = bench.truth(image)[1]
    every = _foreign(bench, model, image)
    if (model.name, image, CARRIED) in bench.found:
        every[CARRIED] = (model.name, image, CARRIED)
    return {n: {**_carried(bench, subject, y, bench.found[key]), "witness": key} for n, key in every.items()}, {}


def worst_witness(again: Sequence[Row], reference: int) -> tuple[str, tuple[str, str, str]] | None:
    """Returns the image and the key of the perturbation with the largest amplification.

    Args:
        again: Rows of ``worst``, ``localised`` or ``transfer`` that were judged again; for rows of other tests None is
            returned.
        reference: The index of the reference budget.
    """
    tried: list[tuple[float, str, tuple[str, str, str]]] = []
    for row in again:
        if row.test == "worst":
            tried.append((row.numbers["amplification"][reference], row.image, row.numbers["witness"][reference]))
        elif row.test == "localised":
            tried.append((row.numbers["amplification"], row.image, row.numbers["witness"]))
        elif row.test == "transfer":
            tried += [(n["amplification"], row.image, n["witness"]) for n in row.numbers.values()]
    return max(tried, key=lambda t: severity(t[0]))[1:] if tried else None


def _certificate(bench: Bench, subject: Subject, model: Model, image: str) -> Measured:
    """Checks the proven bound of the objective at noise and at every perturbation that was found."""
    _, y = bench.truth(image)
    tried = {"noise": _noise_like(bench, y, bench.settings.reference)}
    for (other, at, which), e in bench.found.items():
        if at == image:
            tried[f"{other}, {which}"] = e.to(y.device)
    numbers = None if model.certify is None else model.certify(subject.raw, y, tried)
    return None if numbers is None else (numbers, {})


AGAIN: dict[str, Measure] = {"worst": _worst_again, "localised": _localised_again, "transfer": _transfer_again}
MEASURES: dict[str, Measure] = {
    "accuracy": _accuracy,
    "worst": _worst,
    "localised": _localised,
    "details": _details,
    "kernel": _kernel,
    "noise": _noise,
    "scaling": _scaling,
    "samples": _samples,
    "anatomy": _accuracy,
    "transfer": _transfer,
    "certificate": _certificate,
}
