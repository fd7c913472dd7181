"""What the rows of an audit say about a model: one verdict a test, against thresholds that the user can set."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from firenet.audit.records import Row, Settings, Verdict


def judge(model: str, rows: Sequence[Row], settings: Settings) -> list[Verdict]:
    """What the rows say about a model, one verdict a test; where a row failed the test is not passed, and says so."""
    verdicts = []
    for test in settings.tests:
        own = [r for r in rows if (r.model, r.test) == (model, test)]
        if not own:
            continue
        failed = [r for r in own if r.failed is not None]
        if len(failed) == len(own):
            verdicts.append(Verdict(model, test, None, None, None, f"Not measured: {failed[0].failed}"))
            continue
        said = _JUDGES[test](model, [r for r in own if r.failed is None], settings)
        if failed:
            text = f"{said.text} {len(failed)} of {len(own)} images could not be measured: {failed[0].failed}"
            said = replace(said, passed=None if said.passed else said.passed, text=text)
        verdicts.append(said)
    return verdicts


def _most(values: Sequence[float | None]) -> float:
    """The largest, infinite where one is not a number."""
    return max((math.inf if v is None or math.isnan(v) else v for v in values), default=0.0)


def _at(rows: Sequence[Row], key: str, settings: Settings) -> list[float | None]:
    k = settings.budgets.index(settings.reference)
    return [r.numbers[key][k] for r in rows]


def _judge_worst(model: str, rows: Sequence[Row], s: Settings) -> Verdict:
    value, limit = _most(_at(rows, "amplification", s)), s.thresholds.amplification
    random = _most(_at(rows, "amplification random", s))
    text = f"A perturbation of {s.reference:.1%} comes out {value:.1f} times as large; noise of that size {random:.1f}."
    return Verdict(model, "worst", value <= limit, value, limit, text)


def _judge_localised(model: str, rows: Sequence[Row], s: Settings) -> Verdict:
    value, limit = _most([r.numbers["worst"] for r in rows]), s.thresholds.local
    random = _most([r.numbers["random"] for r in rows])
    text = (
        f"A pixel in a window can be moved by {value:.0%} of the image's maximum within {s.reference:.1%}; "
        f"noise moves one by {random:.0%}."
    )
    return Verdict(model, "localised", value <= limit, value, limit, text)


def _judge_details(model: str, rows: Sequence[Row], s: Settings) -> Verdict:
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
    passed = not lost and not invented if asked else None
    return Verdict(model, "details", passed, least if asked else None, limits.index, text)


def _judge_kernel(model: str, rows: Sequence[Row], s: Settings) -> Verdict:
    value, limit = _most([r.numbers["lipschitz"] for r in rows]), s.thresholds.lipschitz
    text = f"Its Lipschitz constant is at least {value:.1f} near the image."
    if value == 0:
        text = "It does not show a detail that is almost invisible to the measurement: no bound."
    return Verdict(model, "kernel", value <= limit, value, limit, text)


def _judge_transfer(model: str, rows: Sequence[Row], s: Settings) -> Verdict:
    found = [(n["amplification"], other) for r in rows for other, n in r.numbers.items()]
    value, limit = _most([v for v, _ in found]), s.thresholds.amplification
    text = f"What was found for other models comes out at most {value:.1f} times as large."
    return Verdict(model, "transfer", value <= limit, value, limit, text)


def _judge_noise(model: str, rows: Sequence[Row], s: Settings) -> Verdict:
    value, limit = _most([v for r in rows for v in r.numbers["amplification"]]), s.thresholds.noise
    text = f"Gaussian noise comes out at most {value:.1f} times as large."
    return Verdict(model, "noise", value <= limit, value, limit, text)


def _judge_scaling(model: str, rows: Sequence[Row], s: Settings) -> Verdict:
    value, limit = _most([v for r in rows for v in r.numbers["change"]]), s.thresholds.scaling
    factors = ", ".join(f"{f:g}" for f in s.factors)
    text = f"With the data times {factors} the image changes by up to {value:.1%} of itself."
    return Verdict(model, "scaling", value <= limit, value, limit, text)


def _judge_samples(model: str, rows: Sequence[Row], s: Settings) -> Verdict:
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
    text = worse if value > 0 else "More samples never make it worse."
    return Verdict(model, "samples", value <= limit, value, limit, text)


def _judge_gain(model: str, rows: Sequence[Row], s: Settings) -> Verdict:
    pairs = [(r.numbers["psnr"], r.numbers["psnr adjoint"]) for r in rows]
    # No number is worse than all; a perfect image beside a perfect adjoint gains nothing.
    gains = [-math.inf if math.isnan(a) else 0.0 if a == b else a - b for a, b in pairs]
    value, limit = min(gains), s.thresholds.gain
    mean = sum(a for a, _ in pairs) / len(pairs)
    text = f"{mean:.1f} dB on the mean, at least {value:+.1f} dB against the adjoint."
    return Verdict(model, rows[0].test, value >= limit, value, limit, text)


def _judge_certificate(model: str, rows: Sequence[Row], s: Settings) -> Verdict:
    beaten = any(r.numbers["beaten"] for r in rows)
    entries = [p for r in rows for p in r.numbers["perturbations"].values()]
    shares = [p["rise"] / p["bound"] if p["bound"] else 0.0 for p in entries]
    text = (
        "A certificate was beaten: this must never happen, please report it."
        if beaten
        else f"None of {len(entries)} perturbations beat the proven bound; the closest came to {max(shares):.0%} of it."
    )
    return Verdict(model, "certificate", not beaten, max(shares), 1.0, text)


_JUDGES: dict[str, Callable[[str, Sequence[Row], Settings], Verdict]] = {
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
