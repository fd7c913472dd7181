"""Judges the rows of an audit: one verdict for each model and test, against thresholds that the user can set."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from firenet.audit.ascent import severity
from firenet.audit.records import Outcome, Row, Settings, Verdict


def measured(test: str, value: float | None) -> str:
    """Returns the number of a verdict with its unit; an empty text if there is no number."""
    _, unit, form, factor = _JUDGES[test]
    return "" if value is None else f"{form.format(factor * value)} {unit}"


def judge(model: str, rows: Sequence[Row], settings: Settings, doubt: str = "") -> list[Verdict]:
    """Returns the verdicts on a model, one for each test that was made.

    Args:
        model: The name of the model.
        rows: The rows of all models.
        settings: The settings, with the thresholds.
        doubt: Why a search of this model proves little, for example because it is not deterministic.
    """
    every = [r for r in rows if r.model == model]
    verdicts = []
    for test in settings.tests:
        own = [r for r in every if r.test == test]
        if not own:
            continue
        failed = [r for r in own if r.failed is not None]
        if len(failed) == len(own):
            text = f"Not measured: {failed[0].failed}"
            verdicts.append(Verdict(model, test, Outcome.UNDECIDED, None, None, text))
            continue
        good = [r for r in own if r.failed is None]
        said = _JUDGES[test][0](model, good, [r for r in every if r.failed is None], settings)
        reasons = [doubt, *(_doubt(r) for r in good)]
        if failed:
            reasons.append(f"{len(failed)} of {len(own)} images could not be measured: {failed[0].failed}")
        each = list(dict.fromkeys(r for r in reasons if r))
        if said.outcome == Outcome.NOTHING_FOUND and each:
            said = replace(said, outcome=Outcome.UNDECIDED, text=f"{said.text} Not decided: {'; '.join(each)}.")
        verdicts.append(said)
    return verdicts


def judged_again(said: Verdict, again: Verdict | None, why: str = "") -> Verdict:
    """Revises a verdict of ``failed`` after its witnesses were judged again on the model, which was built again.

    It remains if the model fails on them again; otherwise it becomes "not decided".

    Args:
        said: The verdict.
        again: The second verdict on the same witnesses; None if they could not be judged.
        why: Why they could not be judged.
    """
    if again is None:
        text = f"{said.text} Its witnesses could not be judged again: {why}."
        return replace(said, outcome=Outcome.UNDECIDED, text=text)
    number = measured(said.test, again.value)
    if again.outcome == Outcome.FAILED:
        text = f"{said.text} Judged again after the model was built again: {number}."
        return replace(said, text=text, again=again.value)
    text = (
        f"{said.text} But after the model was built again the same witnesses give {number}: it does not repeat itself."
    )
    return replace(said, outcome=Outcome.UNDECIDED, text=text, again=again.value)


def _doubt(row: Row) -> str:
    said = row.numbers.get("doubt")  # a text in tests that search; in `transfer` it may be the name of a model
    return said if isinstance(said, str) else ""


def _looked(rows: Sequence[Row]) -> str:
    """Returns how thorough an attack was, on the image with the fewest evaluations."""
    searched = [r for r in rows if "looked" in r.numbers]
    if not searched:
        return ""
    least = min(searched, key=lambda r: r.numbers["effort"]["evaluations"])
    return f" Looked for with {least.numbers['looked']}."


def _most(values: Sequence[float | None]) -> float:
    """Returns the largest number; infinity if one is NaN."""
    return max((math.inf if v is None else severity(v) for v in values), default=0.0)


def _at(rows: Sequence[Row], key: str, settings: Settings) -> list[float | None]:
    k = settings.budgets.index(settings.reference)
    return [r.numbers[key][k] for r in rows]


def _beyond(test: str, model: str, value: float, limit: float, text: str) -> Verdict:
    """Returns a verdict, ``failed`` if the value is above the limit."""
    return Verdict(model, test, Outcome.NOTHING_FOUND if value <= limit else Outcome.FAILED, value, limit, text)


def _judge_worst(model: str, rows: Sequence[Row], every: Sequence[Row], s: Settings) -> Verdict:
    value, limit = _most(_at(rows, "amplification", s)), s.thresholds.amplification
    random = _most(_at(rows, "amplification random", s))
    text = f"A perturbation of {s.reference:.1%} comes out {value:.1f} times as large; noise of that size {random:.1f}."
    # An ascent from another model's perturbation is an attack on this model, so it counts here.
    carried = _most([n["amplification"] for r in every if r.test == "transfer" for n in r.numbers.values()])
    if carried > value:
        value, text = carried, f"{text} One that was found for another model, {carried:.1f} times."
    return _beyond("worst", model, value, limit, text + _looked(rows))


def _judge_localised(model: str, rows: Sequence[Row], every: Sequence[Row], s: Settings) -> Verdict:
    value, limit = _most([r.numbers["amplification"] for r in rows]), s.thresholds.local
    share, random = _most([r.numbers["worst"] for r in rows]), _most([r.numbers["random"] for r in rows])
    text = f"A pixel in a window can be moved {value:.1f} times as much as by a map of norm 1, by {share:.0%} of the "
    text += f"image's maximum within {s.reference:.1%}; noise moves one by {random:.0%}."
    return _beyond("localised", model, value, limit, text + _looked(rows))


def _judge_details(model: str, rows: Sequence[Row], every: Sequence[Row], s: Settings) -> Verdict:
    limits = s.thresholds
    seen = [d for r in rows for kind in s.details for d in r.numbers[kind]]
    empty = [r.numbers[kind][0] for r in rows for kind in s.details]
    asked = [d for d in seen if d["contrast"] >= limits.contrast]
    lost = [d for d in asked if not d["index"] >= limits.index]
    invented = [d for d in empty if not d["empty"] < limits.index]
    least = -_most([-d["index"] for d in asked])
    text = f"{len(asked) - len(lost)} of {len(asked)} details of contrast {limits.contrast:.0%} or more are seen"
    text += f", {len(invented)} of {len(empty)} seen where there is none."
    outcome = Outcome.FAILED if lost or invented else Outcome.NOTHING_FOUND
    if not asked:
        outcome, text = Outcome.UNDECIDED, f"{text} Not decided: no detail had that contrast."
    return Verdict(model, "details", outcome, least if asked else None, limits.index, text)


def _judge_kernel(model: str, rows: Sequence[Row], every: Sequence[Row], s: Settings) -> Verdict:
    value, limit = _most([r.numbers["lipschitz"] for r in rows]), s.thresholds.lipschitz
    told, convicted = _undecidable(rows)
    if value == 0 and not convicted:
        text = f"It does not show the detail that is almost invisible to the measurement, so nothing follows.{told}"
        return Verdict(model, "kernel", Outcome.NO_STATEMENT, None, limit, text)
    said = _beyond(
        "kernel", model, value, limit, f"Its Lipschitz constant is at least {value:.1f} near the image.{told}"
    )
    return replace(said, outcome=Outcome.FAILED) if convicted else said


def _undecidable(rows: Sequence[Row]) -> tuple[str, bool]:
    """Returns a sentence on data that two images explain equally well, and whether the model is convicted.

    It is convicted of promising an error that is too small or, where it promises nothing, of returning one of the two.
    """
    pairs = [r.numbers["pair"] for r in rows if "pair" in r.numbers]
    if not pairs:
        return "", False
    # The promise that is broken by most, else the error that is largest compared with what no method can avoid.
    broken = [p for p in pairs if p["claimed"] is not None and not max(p["first"], p["second"]) <= p["claimed"]]
    certain = [p for p in pairs if p["claimed"] is None and p["sure"]]
    worst = max(broken or certain or pairs, key=lambda p: severity(max(p["first"], p["second"]) / p["floor"]))
    text = (
        f" From data that two images explain within {worst['noise']:.3g} it is {worst['first']:.3g} from the one and "
    )
    text += f"{worst['second']:.3g} from the other; every method misses one of them by at least {worst['floor']:.3g}."
    if broken:
        text += f" It promises an error of at most {worst['claimed']:.3g}, which is false for one of them."
    elif worst["sure"]:
        text += " It returns one of them as if the data excluded the other."
    return text, bool(broken or certain)


def _judge_transfer(model: str, rows: Sequence[Row], every: Sequence[Row], s: Settings) -> Verdict:
    found = [(n["amplification"], other) for r in rows for other, n in r.numbers.items()]
    value, limit = _most([v for v, _ in found]), s.thresholds.amplification
    text = f"What was found elsewhere ({len(found)} perturbations) comes out at most {value:.1f} times as large."
    return _beyond("transfer", model, value, limit, text)


def _judge_noise(model: str, rows: Sequence[Row], every: Sequence[Row], s: Settings) -> Verdict:
    value, limit = _most([v for r in rows for v in r.numbers["amplification"]]), s.thresholds.noise
    text = f"Gaussian noise of {', '.join(f'{n:.0%}' for n in s.noise)} comes out at most {value:.1f} times as large."
    return _beyond("noise", model, value, limit, text)


def _judge_scaling(model: str, rows: Sequence[Row], every: Sequence[Row], s: Settings) -> Verdict:
    value, limit = _most([v for r in rows for v in r.numbers["change"]]), s.thresholds.scaling
    factors = ", ".join(f"{f:g}" for f in s.factors)
    text = f"With the data times {factors} the image changes by up to {value:.1%} of itself."
    return _beyond("scaling", model, value, limit, text)


def _judge_samples(model: str, rows: Sequence[Row], every: Sequence[Row], s: Settings) -> Verdict:
    value, limit = 0.0, s.thresholds.fall
    for row in rows:
        best = -math.inf
        for number in row.numbers["psnr"]:
            number = -math.inf if math.isnan(number) else number
            if number < best:
                value = max(value, best - number)
            best = max(best, number)
    worse = f"With more samples the PSNR falls by up to {value:.1f} dB."
    if math.isinf(value):
        worse = "With more samples the image is not finite."
    text = worse if value > 0 else f"More samples do not make it worse at {len(rows[0].numbers['psnr'])} rates."
    return _beyond("samples", model, value, limit, text)


def _judge_gain(model: str, rows: Sequence[Row], every: Sequence[Row], s: Settings) -> Verdict:
    pairs = [(r.numbers["psnr"], r.numbers["psnr adjoint"]) for r in rows]
    # NaN is worse than every number; two infinite PSNRs (two perfect images) differ by 0.
    gains = [-math.inf if math.isnan(a) else 0.0 if a == b else a - b for a, b in pairs]
    value, limit = min(gains), s.thresholds.gain
    mean = sum(a for a, _ in pairs) / len(pairs)
    text = f"{mean:.1f} dB on the mean, at least {value:+.1f} dB against the adjoint."
    outcome = Outcome.NOTHING_FOUND if value >= limit else Outcome.FAILED
    return Verdict(model, rows[0].test, outcome, value, limit, text)


def _judge_certificate(model: str, rows: Sequence[Row], every: Sequence[Row], s: Settings) -> Verdict:
    beaten = any(r.numbers["beaten"] for r in rows)
    entries = [p for r in rows for p in r.numbers["perturbations"].values()]
    shares = [p["rise"] / p["bound"] if p["bound"] else 0.0 for p in entries]
    text = f"None of {len(entries)} perturbations beat the proven bound; the closest came to {max(shares):.0%} of it."
    text += _distances(rows, entries)
    text = "A certificate was beaten: this must never happen, please report it." if beaten else text
    outcome = Outcome.FAILED if beaten else Outcome.NOTHING_FOUND
    return Verdict(model, "certificate", outcome, max(shares), 1.0, text)


def _distances(rows: Sequence[Row], entries: Sequence[dict[str, Any]]) -> str:
    """Returns a sentence on the proven bound of the distance and the largest one that was found, if there is one."""
    why = next((r.numbers["no distance"] for r in rows if r.numbers.get("no distance")), None)
    if why:
        return f" On the distance between the images: no statement, since {why}."
    told = [p for p in entries if p.get("moved")]
    if not told:
        return ""
    far = max(told, key=lambda p: p["moved"])
    text = f" The coefficients moved by at most {far['moved']:.3g}, where at most {far['distance']:.3g} is proven"
    return f"{text}: bound / found = {far['distance'] / far['moved']:.1f}."


# Each test's judge; the unit of its number, how the number is written, and a factor.
_JUDGES: dict[str, tuple[Callable[[str, Sequence[Row], Sequence[Row], Settings], Verdict], str, str, int]] = {
    "accuracy": (_judge_gain, "dB gain", "{:+.1f}", 1),
    "worst": (_judge_worst, "times", "{:.2f}", 1),
    "localised": (_judge_localised, "times", "{:.2f}", 1),
    "details": (_judge_details, "standard deviations", "{:.1f}", 1),
    "kernel": (_judge_kernel, "times", "{:.2f}", 1),
    "noise": (_judge_noise, "times", "{:.2f}", 1),
    "scaling": (_judge_scaling, "% of image", "{:.1f}", 100),
    "samples": (_judge_samples, "dB fall", "{:.1f}", 1),
    "anatomy": (_judge_gain, "dB gain", "{:+.1f}", 1),
    "transfer": (_judge_transfer, "times", "{:.2f}", 1),
    "certificate": (_judge_certificate, "% of bound", "{:.0f}", 100),
}
