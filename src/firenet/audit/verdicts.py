"""What the rows of an audit say about a model: one verdict a test, against thresholds that the user can set."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from firenet.audit.ascent import severity
from firenet.audit.records import Outcome, Row, Settings, Verdict

# What the number of a verdict is, and how it is written.
UNITS = {
    "accuracy": ("dB gain", "{:+.1f}", 1),
    "worst": ("times", "{:.2f}", 1),
    "localised": ("times", "{:.2f}", 1),
    "details": ("band_noise", "{:.1f}", 1),
    "kernel": ("times", "{:.2f}", 1),
    "noise": ("times", "{:.2f}", 1),
    "scaling": ("% of image", "{:.1f}", 100),
    "samples": ("dB fall", "{:.1f}", 1),
    "anatomy": ("dB gain", "{:+.1f}", 1),
    "transfer": ("times", "{:.2f}", 1),
    "certificate": ("% of bound", "{:.0f}", 100),
}


def measured(test: str, value: float | None) -> str:
    """Returns the number of a verdict with its unit; nothing where there is none."""
    unit, form, factor = UNITS[test]
    return "" if value is None else f"{form.format(factor * value)} {unit}"


def judge(model: str, rows: Sequence[Row], settings: Settings, doubt: str = "") -> list[Verdict]:
    """Returns what the rows say about a model, one verdict a test.

    Args:
        model: Name.
        rows: Of all models.
        settings: With the thresholds.
        doubt: Why nothing that was not found can be believed of this model: it answers differently every time.
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
        said = _JUDGES[test](model, good, [r for r in every if r.failed is None], settings)
        if said.outcome == Outcome.NOTHING_FOUND:
            reasons = [doubt, *(_doubt(r) for r in good)]
            if failed:
                reasons.append(f"{len(failed)} of {len(own)} images could not be measured: {failed[0].failed}")
            said = _undecided(said, [r for r in reasons if r])
        verdicts.append(said)
    return verdicts


def judged_again(said: Verdict, again: Verdict | None, why: str = "") -> Verdict:
    """Returns a verdict of ``failed`` after its witnesses were judged again on a fresh copy of the model.

    Args:
        said: The verdict.
        again: What the same witnesses say now; None where they could not be judged.
        why: Why not.
    """
    if again is None:
        text = f"{said.text} Its witnesses could not be judged again: {why}."
        return replace(said, outcome=Outcome.UNDECIDED, text=text)
    number = measured(said.test, again.value)
    if again.outcome == Outcome.FAILED:
        text = f"{said.text} Judged again on a fresh copy of the model: {number}."
        return replace(said, text=text, again=again.value)
    text = f"{said.text} But on a fresh copy of the model the same witnesses give {number}: it does not repeat itself."
    return replace(said, outcome=Outcome.UNDECIDED, text=text, again=again.value)


def _undecided(said: Verdict, reasons: Sequence[str]) -> Verdict:
    """Nothing found, unless there are reasons why that says nothing."""
    if not reasons:
        return said
    each = list(dict.fromkeys(reasons))
    return replace(said, outcome=Outcome.UNDECIDED, text=f"{said.text} Not decided: {'; '.join(each)}.")


def _doubt(row: Row) -> str:
    said = row.numbers.get("doubt")  # of a test that searches: a number of `transfer` has the name of a model
    return said if isinstance(said, str) else ""


def _looked(rows: Sequence[Row]) -> str:
    """How hard an attack looked, on the image where it looked least."""
    searched = [r for r in rows if "looked" in r.numbers]
    if not searched:
        return ""
    least = min(searched, key=lambda r: r.numbers["effort"]["evaluations"])
    return f" Looked for with {least.numbers['looked']}."


def _most(values: Sequence[float | None]) -> float:
    """The largest, infinite where one is NaN."""
    return max((math.inf if v is None else severity(v) for v in values), default=0.0)


def _at(rows: Sequence[Row], key: str, settings: Settings) -> list[float | None]:
    k = settings.budgets.index(settings.reference)
    return [r.numbers[key][k] for r in rows]


def _beyond(test: str, model: str, value: float, limit: float, text: str) -> Verdict:
    """Failed above the limit."""
    return Verdict(model, test, Outcome.NOTHING_FOUND if value <= limit else Outcome.FAILED, value, limit, text)


def _judge_worst(model: str, rows: Sequence[Row], every: Sequence[Row], s: Settings) -> Verdict:
    value, limit = _most(_at(rows, "amplification", s)), s.thresholds.amplification
    random = _most(_at(rows, "amplification random", s))
    text = f"A perturbation of {s.reference:.1%} comes out {value:.1f} times as large; noise of that size {random:.1f}."
    # What an ascent from another model's perturbation found, this one could have found.
    carried = _most([n["amplification"] for r in every if r.test == "transfer" for n in r.numbers.values()])
    if carried > value:
        value, text = carried, f"{text} One that was found for another model, {carried:.1f} times."
    return _beyond("worst", model, value, limit, text + _looked(rows))


def _judge_localised(model: str, rows: Sequence[Row], every: Sequence[Row], s: Settings) -> Verdict:
    value, limit = _most([r.numbers["amplification"] for r in rows]), s.thresholds.local
    share, random = _most([r.numbers["worst"] for r in rows]), _most([r.numbers["random"] for r in rows])
    text = (
        f"A pixel in a window can be moved {value:.1f} times as much as by a map of norm 1, by {share:.0%} of the "
        f"image's maximum within {s.reference:.1%}; noise moves one by {random:.0%}."
    )
    return _beyond("localised", model, value, limit, text + _looked(rows))


def _judge_details(model: str, rows: Sequence[Row], every: Sequence[Row], s: Settings) -> Verdict:
    limits = s.thresholds
    seen = [d for r in rows for kind in s.details for d in r.numbers[kind]]
    empty = [r.numbers[kind][0] for r in rows for kind in s.details]
    asked = [d for d in seen if d["contrast"] >= limits.contrast]
    lost = [d for d in asked if not d["index"] >= limits.index]
    invented = [d for d in empty if not d["empty"] < limits.index]
    least = -_most([-d["index"] for d in asked])
    text = (
        f"{len(asked) - len(lost)} of {len(asked)} details of contrast {limits.contrast:.0%} or more are seen"
        f", {len(invented)} of {len(empty)} seen where there is none."
    )
    outcome = Outcome.FAILED if lost or invented else Outcome.NOTHING_FOUND
    if not asked:
        outcome, text = Outcome.UNDECIDED, f"{text} Not decided: no detail had that contrast."
    return Verdict(model, "details", outcome, least if asked else None, limits.index, text)


def _judge_kernel(model: str, rows: Sequence[Row], every: Sequence[Row], s: Settings) -> Verdict:
    value, limit = _most([r.numbers["lipschitz"] for r in rows]), s.thresholds.lipschitz
    if value == 0:
        text = "It does not show the detail that is almost invisible to the measurement, so nothing follows."
        return Verdict(model, "kernel", Outcome.NO_STATEMENT, None, limit, text)
    text = f"Its Lipschitz constant is at least {value:.1f} near the image."
    return _beyond("kernel", model, value, limit, text)


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
        worse = "With more samples the image is no image any more (not finite)."
    text = worse if value > 0 else f"More samples do not make it worse at {len(rows[0].numbers['psnr'])} rates."
    return _beyond("samples", model, value, limit, text)


def _judge_gain(model: str, rows: Sequence[Row], every: Sequence[Row], s: Settings) -> Verdict:
    pairs = [(r.numbers["psnr"], r.numbers["psnr adjoint"]) for r in rows]
    # NaN is worse than all numbers; a perfect image beside a perfect adjoint gains nothing.
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
    text = (
        "A certificate was beaten: this must never happen, please report it."
        if beaten
        else f"None of {len(entries)} perturbations beat the proven bound; the closest came to {max(shares):.0%} of it."
    )
    outcome = Outcome.FAILED if beaten else Outcome.NOTHING_FOUND
    return Verdict(model, "certificate", outcome, max(shares), 1.0, text)


_JUDGES: dict[str, Callable[[str, Sequence[Row], Sequence[Row], Settings], Verdict]] = {
    "accuracy": _judge_gain,
    "worst": _judge_worst,
    "localised": _judge_localised,
    "details": _judge_details,
    "kernel": _judge_kernel,
    "transfer": _judge_transfer,
    "noise": _judge_noise,
    "scaling": _judge_scaling,
    "samples": _judge_samples,
    "anatomy": _judge_gain,
    "certificate": _judge_certificate,
}
