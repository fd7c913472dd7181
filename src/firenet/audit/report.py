"""Writes audits as one self-contained HTML file: first the verdicts, then every test in plain words.

The file loads nothing from other files or addresses; a policy in it forbids loading. Every name and every text from
outside is escaped. Curves are SVG, each with a table of its numbers.
"""

from __future__ import annotations

import base64
import hashlib
import io
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from firenet.audit.ascent import severity
from firenet.audit.records import Audit, Outcome, Row, Verdict
from firenet.audit.report_curves import curve, finite
from firenet.audit.report_text import EXPLAINED
from firenet.errors import BadInput
from firenet.io.archives import write_arrays
from firenet.io.files import WITNESSES, check_output, to_json
from firenet.io.safely import replacing
from firenet.optional import optional

MOST_BYTES = 10_000_000


@dataclass
class _Part:
    """One test in the report."""

    test: str
    title: str
    words: str
    source: str
    columns: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)
    curves: list[dict[str, Any]] = field(default_factory=list)
    strips: list[list[dict[str, Any]]] = field(default_factory=list)


def write_report(path: Path, audits: Sequence[Audit], *, command: str, title: str = "Stability audit") -> int:
    """Writes the report, whole or not at all, and returns its size in bytes.

    If the file would be too large with pictures, it is written without them.

    Args:
        path: The file, which ends in ``.html``.
        audits: The audits, one section each.
        command: The command that makes the report again.
        title: The title of the page.

    Raises:
        MissingExtra: If Jinja2 is missing, or Pillow, which pictures need.
        BadInput: If the file cannot be written or would be too large.
    """
    check_output(path, suffixes=(".html",))
    for most in (1, 0):  # with pictures, and without if the file would be too large
        text = render(audits, command=command, title=title, pictured=most)
        if len(text.encode()) <= MOST_BYTES:
            break
    else:
        do = "Audit fewer models or images in one report"
        raise BadInput(f"A report of at most {MOST_BYTES} bytes", f"{len(text.encode())}", do)
    with replacing(path) as (temporary,):
        temporary.write_text(text, encoding="utf-8")
    return len(text.encode())


def write_witnesses(path: Path, found: Mapping[str, np.ndarray]) -> None:
    """Writes an npz file of the perturbations by which models failed.

    ``firenet_witnesses`` has their names, and ``e0``, ``e1``, ... are the perturbations in this order.
    """
    arrays = {f"e{k}": e for k, e in enumerate(found.values())}
    with replacing(path) as (temporary,), temporary.open("wb") as file:
        write_arrays(file, {WITNESSES: np.array(list(found)), **arrays})


def render(audits: Sequence[Audit], *, command: str, title: str, pictured: int = 1) -> str:
    """Returns the report as text, with pictures of the first ``pictured`` images of every audit."""
    jinja = optional("jinja2", "audit", "The HTML report")
    markup = optional("markupsafe", "audit", "The HTML report").Markup
    files = (resources.files("firenet") / "data" / f"report.{end}" for end in ("css", "js", "html.j2"))
    style, script, template = (file.read_text(encoding="utf-8") for file in files)
    environment = jinja.Environment(autoescape=True, undefined=jinja.StrictUndefined, trim_blocks=False)
    benches = [_bench(a, k, pictured, markup) for k, a in enumerate(audits)]
    bad = sum(m["bad"] for b in benches for m in b["models"])
    models = sum(len(b["models"]) for b in benches)
    verdicts = [v for a in audits for v in a.verdicts]
    none = sum(v.outcome == Outcome.UNDECIDED for v in verdicts)
    unknown = f", {none} are not decided" if none else ""
    where = f" on {len(benches)} benches" if len(benches) > 1 else ""
    lead = f"{models} models{where}: of {len(verdicts)} tests {bad} failed{unknown}; in the others nothing was "
    lead += "found, which proves nothing. First the verdict, then each test in plain words with its numbers, "
    lead += "pictures and source."
    version = audits[0].versions["firenet"] if audits else ""
    shown = {"title": title, "lead": lead, "benches": benches, "command": command, "version": version}
    shown |= {"style": markup(style), "script": markup(script)}
    shown |= {"style_hash": _hash(style), "script_hash": _hash(script)}
    return environment.from_string(template).render(shown)


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _bench(audit: Audit, number: int, pictured: int, markup: Callable[[str], Any]) -> dict[str, Any]:
    settings = audit.settings
    tests = [t for t in settings.tests if any(v.test == t for v in audit.verdicts)]
    shown = {r.test for r in audit.rows if r.failed is None}
    judged = [{"test": t, "title": EXPLAINED[t][0], "shown": t in shown} for t in tests]
    models = []
    for name in audit.models:
        own: dict[str, Verdict] = {v.test: v for v in audit.verdicts if v.model == name}
        models.append({"name": name, "verdicts": own, "bad": sum(v.outcome == Outcome.FAILED for v in own.values())})
    images = [n for n, i in audit.images.items() if i["role"] == "audited"]
    parts = [_part(audit, test, images[:pictured], markup) for test in settings.tests]
    rate = audit.sensing.get("rate")
    sampled = f", {rate:.0%} of the measurements" if rate is not None else ""
    about = f"{audit.sensing['operator']}, images of {' x '.join(map(str, audit.sensing['image shape']))}{sampled}; "
    about += f"audited on {', '.join(images)}. Reference budget: {settings.reference:.1%} of the measurements' norm."
    provenance = [["seed", str(settings.seed)], *([f"version of {n}", v] for n, v in audit.versions.items())]
    provenance += [[f"SHA-256 of {n}", i["sha256"]] for n, i in audit.images.items()]
    if "mask sha256" in audit.sensing:
        provenance.append(["SHA-256 of the mask", audit.sensing["mask sha256"]])
    plain = audit.record()
    return {
        "id": f"bench{number}",
        "title": audit.title,
        "about": about,
        "judged": judged,
        "models": models,
        "failures": _failures(audit),
        "notes": _notes(audit),
        "sentences": compared(audit),
        "resumed": f"{audit.resumed} of {len(audit.rows)} parts" if audit.resumed else "",
        "parts": [p for p in parts if p is not None],
        "provenance": provenance,
        "settings": to_json({k: plain[k] for k in ("settings", "models", "images", "sensing")}),
    }


def compared(audit: Audit, baseline: str = "FIRENET") -> list[str]:
    """Returns the worst amplifications of the models as text, with their ratios to that of the FIRENET."""
    k = audit.settings.budgets.index(audit.settings.reference)

    def worst(name: str) -> float | None:
        values = [r.numbers["amplification"][k] for r in audit.of(name, "worst")]
        return max(map(severity, values), default=None)

    own = worst(baseline)
    if not own or not math.isfinite(own):
        return []
    others = {n: worst(n) for n in audit.models if n != baseline}
    said = [
        f"{n} {v:.2f} ({v / own:.2f} times FIRENET's)" if math.isfinite(v) else f"{n} breaks: its image is not finite"
        for n, v in others.items()
        if v is not None
    ]
    if not said:
        return []
    return [f"Worst amplification at {audit.settings.reference:.1%}: {baseline} {own:.2f}; {'; '.join(said)}."]


def _failures(audit: Audit) -> list[dict[str, str]]:
    """Returns for each model and reason the tests that could not be measured."""
    grouped: dict[tuple[str, str], list[str]] = {}
    for r in audit.rows:
        if r.failed is not None:
            grouped.setdefault((r.model, r.failed), []).append(f"{r.test} on {r.image}")
    return [{"model": m, "reason": reason, "tests": ", ".join(tests)} for (m, reason), tests in grouped.items()]


def _notes(audit: Audit) -> list[str]:
    notes = []
    for name, about in audit.models.items():
        if about.get("deterministic") is False:
            spread = about["spread"]
            notes.append(f"{name} is not deterministic (its answers differ by {spread:.1e}): attacked through a mean.")
        if about.get("gradient") is False and "failed" not in about:
            notes.append(f"{name}: {about['gradient problem']}, so it was attacked by differences, which find less.")
    return notes


# --- the tests --------------------------------------------------------------------------------------------------------


def _part(audit: Audit, test: str, pictured: Sequence[str], markup: Callable[[str], Any]) -> _Part | None:
    rows = [r for r in audit.rows if r.test == test and r.failed is None]
    if not rows:
        return None
    part = _Part(test, *EXPLAINED[test])
    _FILL[test](part, audit, rows)
    for drawn in part.curves:
        drawn["svg"] = markup(drawn["svg"])  # escaped by report_curves
    part.strips = _strips(audit, test, [r for r in rows if r.image in pictured])
    return part


def _number(value: float | None, digits: str = ".2f") -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "not a number"
    return "infinite" if math.isinf(value) else format(value, digits)


def _fill_accuracy(part: _Part, audit: Audit, rows: Sequence[Row]) -> None:
    part.columns = ["model", "image", "PSNR in dB", "SSIM", "relative error", "PSNR of the adjoint"]
    for r in rows:
        n = r.numbers
        values = [_number(n["psnr"]), _number(n["ssim"], ".3f"), _number(n["relative error"], ".4f")]
        part.rows.append([r.model, r.image, *values, _number(n["psnr adjoint"])])


def _by_model(rows: Sequence[Row]) -> dict[str, list[Row]]:
    return {name: [r for r in rows if r.model == name] for name in dict.fromkeys(r.model for r in rows)}


def _fill_worst(part: _Part, audit: Audit, rows: Sequence[Row]) -> None:
    budgets = audit.settings.budgets
    series, table = [], []
    for name, own in _by_model(rows).items():
        for kind in ("worst", "random"):
            # NaN is worse than every number: it is shown, and not left out.
            each = [[severity(r.numbers[kind][k]) for r in own] for k in range(len(budgets))]
            middle = [statistics.median(v) for v in each]
            top = [max(v) for v in each]
            series.append((f"{name}, {kind}", middle, top if len(own) > 1 else None, kind == "random"))
            shares = zip(budgets, middle, top, strict=True)
            table += [[name, kind, f"{b:.2%}", _share(m), _share(t)] for b, m, t in shares]
    labels = "perturbation, share of the measurements", "change, share of the image"
    svg = curve(series, list(budgets), *labels, log=True)
    columns = ["model", "perturbation", "budget", "change, median of images", "change, worst image"]
    caption = "Stability curve: solid worst, dashed random; lines the median of the images, bars up to the worst."
    part.curves.append({"caption": caption, "svg": svg, "columns": columns, "rows": table})
    part.columns = ["model", "image", "found by", *(f"{b:.2%}" for b in budgets)]
    for r in rows:
        n, by = r.numbers, ", ".join(sorted(set(r.numbers["by"])))
        part.rows.append([f"{r.model}, amplification", r.image, by, *(_number(v) for v in n["amplification"])])
        part.rows.append([f"{r.model}, of noise", r.image, "", *(_number(v) for v in n["amplification random"])])
        part.rows.append([f"{r.model}, PSNR in dB", r.image, by, *(_number(v, ".1f") for v in n["psnr"])])
        part.rows.append([f"{r.model}, PSNR, noise", r.image, "", *(_number(v, ".1f") for v in n["psnr random"])])


def _share(value: float) -> str:
    return "not finite" if not math.isfinite(value) else f"{value:.2%}"


def _fill_localised(part: _Part, audit: Audit, rows: Sequence[Row]) -> None:
    part.columns = ["model", "image", "found by", "amplification", "largest change", "by noise", "PSNR in dB"]
    for r in rows:
        n = r.numbers
        values = [_number(n["amplification"]), _share(n["worst"]), _share(n["random"]), _number(n["psnr"], ".1f")]
        part.rows.append([r.model, r.image, n["by"], *values])


def _fill_details(part: _Part, audit: Audit, rows: Sequence[Row]) -> None:
    contrasts, limit = audit.settings.contrasts, audit.settings.thresholds.index
    part.columns = ["model", "image", "detail", *(f"contrast {c:.0%}" for c in contrasts), "index where empty"]
    for r in rows:
        for kind, found in r.numbers.items():
            cells = []
            for d in found:
                lost = "" if d["index"] >= limit else ", lost"
                cells.append(f"{_number(d['recovered'], '.0%')}, index {_number(d['index'], '.1f')}{lost}")
            empty = found[0]["empty"]
            invented = "" if empty < limit else ", invented"
            part.rows.append([r.model, r.image, kind, *cells, _number(empty, ".1f") + invented])


def _fill_kernel(part: _Part, audit: Audit, rows: Sequence[Row]) -> None:
    part.columns = ["model", "image", "distance", "difference", "error", "Lipschitz constant at least", "measured"]
    part.columns += ["of noise of that size"]
    keys = ("distance", "difference", "accuracy", "lipschitz", "measured", "noise")
    part.rows = [[r.model, r.image, *(_number(r.numbers[k]) for k in keys)] for r in rows]
    if not all("pair" in r.numbers for r in rows):
        return
    part.columns += ["same data: error if the first", "if the second", "no method below", "promised"]
    for row, r in zip(part.rows, rows, strict=True):
        told = r.numbers["pair"]
        row += [_number(told[k]) for k in ("first", "second", "floor")]
        row.append("" if told["claimed"] is None else _number(told["claimed"]))


def _lines(part: _Part, rows: Sequence[Row], key: str, x_label: str) -> None:
    """Adds the curves of PSNR, one for each model with the medians of its images, and their table."""
    caption = "PSNR in dB, median of the images"
    series, table, at = [], [], list(rows[0].numbers[key])
    for name, own in _by_model(rows).items():
        each = [finite(r.numbers["psnr"][k] for r in own) for k in range(len(at))]
        series.append((name, [statistics.median(v) if v else None for v in each], None, False))
        table += [[name, r.image, *(_number(v, ".1f") for v in r.numbers["psnr"])] for r in own]
    columns = ["model", "image", *(f"{v:.0%}" for v in at)]
    svg = curve(series, at, x_label, "PSNR in dB")
    part.curves.append({"caption": caption, "svg": svg, "columns": columns, "rows": table})


def _fill_noise(part: _Part, audit: Audit, rows: Sequence[Row]) -> None:
    _lines(part, rows, "levels", "noise, share of the measurements")
    part.columns = ["model", "image", *(f"amplification of {v:.0%}" for v in rows[0].numbers["levels"][1:])]
    part.rows = [[r.model, r.image, *(_number(v) for v in r.numbers["amplification"])] for r in rows]


def _fill_samples(part: _Part, audit: Audit, rows: Sequence[Row]) -> None:
    _lines(part, rows, "rates", "share of the samples")


def _fill_scaling(part: _Part, audit: Audit, rows: Sequence[Row]) -> None:
    part.columns = ["model", "image", *(f"times {f:g}" for f in audit.settings.factors)]
    part.rows = [[r.model, r.image, *(_share(v) for v in r.numbers["change"])] for r in rows]


def _fill_transfer(part: _Part, audit: Audit, rows: Sequence[Row]) -> None:
    part.columns = ["model", "image", "found for", "amplification", "of noise"]
    for r in rows:
        for other, n in r.numbers.items():
            part.rows.append([r.model, r.image, other, _number(n["amplification"]), _number(n["random"])])


def _fill_certificate(part: _Part, audit: Audit, rows: Sequence[Row]) -> None:
    part.columns = ["model", "image", "perturbation found for", "objective rises by", "proven bound"]
    part.columns += ["moves by", "proven bound", "bound / found", "beaten"]
    for r in rows:
        for other, n in r.numbers["perturbations"].items():
            numbers = [_number(n["rise"], ".4g"), _number(n["bound"], ".4g")]
            distances = ["no statement"] * 3
            if "moved" in n:
                ratio = n["distance"] / n["moved"] if n["moved"] else math.inf
                distances = [_number(n["moved"], ".4g"), _number(n["distance"], ".4g"), _number(ratio, ".1f")]
            beaten = n["beaten"] or n.get("too far", False)
            part.rows.append([r.model, r.image, other, *numbers, *distances, "YES" if beaten else "no"])


_FILL: dict[str, Callable[[_Part, Audit, Sequence[Row]], None]] = {
    "accuracy": _fill_accuracy,
    "worst": _fill_worst,
    "localised": _fill_localised,
    "details": _fill_details,
    "kernel": _fill_kernel,
    "noise": _fill_noise,
    "scaling": _fill_scaling,
    "samples": _fill_samples,
    "anatomy": _fill_accuracy,
    "transfer": _fill_transfer,
    "certificate": _fill_certificate,
}


# --- pictures ---------------------------------------------------------------------------------------------------------


def _strips(audit: Audit, test: str, rows: Sequence[Row]) -> list[list[dict[str, Any]]]:
    """Returns the figures of a test, one strip for each model, with images before and after above each other."""
    strips: list[list[dict[str, Any]]] = []
    if test not in ("worst", "localised", "details", "kernel"):
        return strips
    for row in rows:
        keys = [audit.images[row.image]["picture"], *row.pictures.values()]
        if any(k not in audit.pictures for k in keys):
            continue
        truth, name = audit.pictures[keys[0]], row.model
        top = float(truth.max()) or 1.0
        named = {title: audit.pictures[key] for title, key in row.pictures.items()}
        if test == "worst":
            caption = f"{name}: without and with the worst perturbation of {audit.settings.reference:.1%}"
            strip = [] if strips else [_figure(f"{row.image}, the truth", _png(truth, top), truth, row.image)]
            strip += [_compare(caption, named["clean"], named["attacked"], top, "without", "with perturbation")]
            for title, what in (("perturbation", "the perturbation, as an image"), ("change", "what it changes")):
                factor = _factor(named[title], top)
                words = f"{name}: {what}, times {factor:g}"
                strip.append(_figure(words, _png(factor * np.abs(named[title]), top), named[title], words))
        elif test == "localised":
            clean = audit.pictures.get(f"{name} {row.image} worst clean", truth)
            strip = [_compare(f"{name}: one place attacked", clean, named["attacked"], top, "without", "with")]
        elif test == "details":
            objects = {t: a for t, a in named.items() if t.startswith("object")}
            if not strips:
                strips.append([_figure(t, _png(a, top), a, t) for t, a in objects.items()])
            own = {f"{name}: {t}": a for t, a in named.items() if t not in objects}
            strip = [_figure(t, _png(a, top), a, t) for t, a in own.items()]
        else:
            first, second = list(named)[:2]
            strip = [_compare(f"{name}: {first}", named[first], named[second], top, "object", "reconstruction")]
        if test in ("localised", "kernel") and strips:
            strips[0] += strip  # one picture for each model, side by side
        else:
            strips.append(strip)
    return strips


def _factor(array: np.ndarray, top: float) -> float:
    """Returns a round number, at least 1, by which an array is multiplied for display."""
    peak = float(np.abs(array).max())
    if not peak > 0:
        return 1.0
    return float(f"{max(top / peak, 1.0):.1g}")


def _png(array: np.ndarray, top: float) -> str:
    """Returns an image as a data address, black at 0 and white at ``top``."""
    image = optional("PIL.Image", "images", "Pictures")
    grey = np.clip(np.abs(np.nan_to_num(array)) * (255 / top), 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    image.fromarray(grey).save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _figure(caption: str, source: str, array: np.ndarray, alt: str) -> dict[str, Any]:
    size = {"width": array.shape[1], "height": array.shape[0]}
    return {"caption": caption, "before": source, "before_alt": alt, "after": None, **size}


def _compare(
    caption: str, before: np.ndarray, after: np.ndarray, top: float, before_alt: str, after_alt: str
) -> dict[str, Any]:
    plain = _figure(caption, _png(before, top), before, before_alt)
    return {**plain, "after": _png(after, top), "after_alt": after_alt}
