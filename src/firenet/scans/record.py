"""The record of a scan's images, for JSON: what was done, the results, and what is proved about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from firenet.certificate import Certificate
from firenet.io.files import sha256
from firenet.kinds import weakest
from firenet.network import Firenet
from firenet.numerics import norms
from firenet.problems.fidelity import Ball
from firenet.reconstruction.choice import Choice
from firenet.reconstruction.prepared import Prepared, ScanData
from firenet.reweighting import Reason
from firenet.scans.noise_level import noise_of
from firenet.solver.schedules import Searched
from firenet.solver.solution import Certified, Solution
from firenet.transforms.spec import describe
from firenet.versions import versions

EMPTY = "empty slice"
# An image whose misfit exceeds the noise level by more than this share of it does not fit the data.
FITS = 0.01


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """One image of a scan, with its solution or certificate.

    Attributes:
        scan: The scan, with its warnings.
        part: The data of the image.
        image: The image.
        found: The solution or the certificate; None for an empty slice. A solution keeps the image and the numbers, not
            the dual points, which are many times as large: here its ``coefficients`` are the image in either form, and
            its ``dual`` is empty.
        asked: The network of the first round, before any reweighting; None for an empty slice.
        posed: The network of the last round; the gap is that of its problem.
        layers: The number of layers of all rounds.
        rounds: The relative gap and the number of layers of each round.
        ended: Why there were fewer rounds than asked for, or None.
        seconds: The time that the image took.
        tolerance: The relative gap that was asked for, or None.
        choice: The choice of the setting, or None.
    """

    scan: ScanData
    part: Prepared
    image: Tensor
    found: Solution | Certificate | None = None
    asked: Firenet | None = None
    posed: Firenet | None = None
    layers: int = 0
    rounds: Sequence[tuple[float, int]] = ()
    ended: Reason | None = None
    seconds: float = 0.0
    tolerance: float | None = None
    choice: Choice | None = None

    def record(self) -> dict[str, Any]:
        """Returns the numbers of this image, for JSON."""
        part, found = self.part, self.found
        result: dict[str, Any] = {"slice": part.number, "sampling_rate": part.rate}
        if found is None or self.posed is None:  # zero is the minimiser for data of zero, exactly
            none = {"objective": 0.0, "lower_bound": 0.0, "gap": 0.0, "rounding": 0.0, "relative_gap": 0.0, "layers": 0}
            none["kind"] = "exact"
            none["status"] = EMPTY
            advice = "All its samples are zero, and so is its image."
            return result | none | {"advice": advice, "maps": part.maps_method, "undetermined_pixels": 0}
        result |= {
            "objective": _finite(found.objective.item()),
            "lower_bound": found.lower_bound.item(),
            "gap": _finite(found.gap.item()),
            "rounding": _finite(found.rounding.item()),
            "kind": found.kind,
            **relative_gap(found),
            "layers": self.layers,
        }
        if isinstance(self.posed.fidelity, Ball):
            result |= {
                "noise_level": self.posed.fidelity.noise,
                "violation": _finite(found.violation.item()),
                "relative_violation": _finite(found.relative_violation.item()),
            }
        if isinstance(found, Solution):
            status = found.statuses[0]
            result |= {"status": status.value, "advice": status.advice}
        else:
            result |= {"status": _verdict(found), "tightness": found.tightness.item()}
            if found.stability is not None:
                result["stability"] = found.stability[0].record()
        whitened = self.scan.source is not None and self.scan.source.noise is not None
        noise = noise_of(part, self.scan, whitened=whitened)
        if noise is not None:
            size = norms(part.measured, part.measured.ndim).item()
            result["noise_estimate"] = {"norm": noise[0], "share": noise[0] / size, "from": noise[1]}
        result |= {"maps": part.maps_method, "unexplained": part.unexplained}
        result |= {"undetermined_pixels": int(part.undetermined.sum())}
        if self.ended is not None:
            result["reweighting"] = self.ended
        if len(self.rounds) > 1:
            result["rounds"] = [{"relative_gap": _finite(gap), "layers": layers} for gap, layers in self.rounds]
        if isinstance(found, Solution) and isinstance(found.schedule, Searched):
            result["steps"] = [vars(run) for run in found.schedule.runs[0]]
        return result


def scan_record(found: Sequence[Reconstruction]) -> dict[str, Any]:
    """Returns the record of a scan, whose warnings are those of the scan and then those about the images.

    Args:
        found: What :func:`.reconstruct_scan` or :func:`.certify_scan` returned.
    """
    scan = found[0].scan
    warnings = [*scan.warnings]
    asked = next(o.asked for o in found if o.asked is not None)
    assert asked.sparsify is not None
    words = describe(asked.sparsify)
    if int(asked.sparsify.levels().max()) == 0:
        warnings.append(f"The image is too small for one level of {words.partition(',')[0]}: W is the identity.")
    results = [one.record() for one in found]
    for one in found:
        if one.ended in (Reason.BROKE_OFF, Reason.WRONG_ADJOINT):
            warnings.append(f"{one.part.called}: {one.ended}.")
        off = misfit(one)
        if off is not None:
            warnings.append(f"{one.part.called} fits the data only to {off}; is that too small for them?")
    choice = found[0].choice
    file, source = scan.file, scan.source
    return {
        "kind": scan.kind,
        "data": None if source is None else str(source.data),
        "array": None if file is None else file.source,
        "slices": [one.part.number for one in found],
        "sha256": None if source is None else sha256(source.data),
        "axes": None if file is None else list(file.axes),
        "voxel_size": None if file is None else file.voxel_size,
        "slice_thickness": None if file is None else file.slice_thickness,
        "problem": _problem(asked, words, max(len(one.rounds) for one in found)),
        "weighting": scan.weighting,
        "sparsify": words.partition(",")[0],
        "lam": asked.lam,
        "device": str(found[0].part.y.device),
        "dtype": str(found[0].part.y.dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "results": results,
        "conditions": next((list(o.found.conditions) for o in found if o.found is not None), []),
        "seconds": [one.seconds for one in found],
        "schedules": [None if one.asked is None else repr(one.asked.schedule) for one in found],
        "tolerance": next((one.tolerance for one in found if one.tolerance is not None), None),
        "warnings": warnings,
        "doubts": scan.doubts,
        "versions": versions(),
    } | ({} if choice is None else {"choice": choice.record()})


def _problem(asked: Firenet, words: str, rounds: int) -> str:
    """Returns the optimisation problem of all rounds as a formula, with a description of the transform."""
    problem = "min lam * |W x|_1 + |A x - y|_2"
    if isinstance(asked.fidelity, Ball):
        problem = "min |W x|_1 subject to |A x - y|_2 <= noise level"
    problem = f"{problem}, W = {words}"
    if rounds > 1:
        again = "min |w W x|_1 subject to |A x - y|_2 <= the result's noise level, w from the image before"
        problem = f"{problem}; then {rounds - 1} x {again}"
    return problem


def relative_gap(found: Certified) -> dict[str, Any]:
    """Returns the relative gap for a record; a gap that is not finite becomes None, with the reason."""
    value = found.relative_gap.item()
    if abs(value) < float("inf"):
        return {"relative_gap": value}
    if value != value:
        return {"relative_gap": None, "relative_gap_reason": "the gap is NaN"}
    zero = found.lower_bound.item() == 0
    reason = "the lower bound of the minimum is zero: nothing is proved" if zero else "the objective is not finite"
    return {"relative_gap": None, "relative_gap_reason": reason}


def _finite(number: float) -> float | None:
    """Returns a number for JSON, which has no infinity: None where it is not finite."""
    return number if abs(number) < float("inf") else None


def misfit(one: Reconstruction) -> str | None:
    """Returns a text that says by how much the misfit of an image exceeds the noise level of its problem.

    Returns None if the problem has no noise level, or if the excess is at most 1 % of that level.
    """
    if one.found is None or one.posed is None or not isinstance(one.posed.fidelity, Ball):
        return None
    if not one.found.relative_violation.item() > FITS:
        return None
    return f"{one.found.violation.item():.3g} beyond the noise level {one.posed.fidelity.noise:.3g}"


def _verdict(certificate: Certificate) -> str:
    """Returns a certificate in two or three words."""
    if not certificate.gap.item() < float("inf"):
        return "not finite"
    if certificate.gap <= certificate.rounding:
        return "precision limit"
    return f"<= {certificate.tightness.item():.2f} x true" if certificate.tightness <= 10 else "bound"


def description(scan: ScanData) -> str:
    """Returns where an image comes from, for the description in a file: file, array and slices."""
    if scan.source is None or scan.file is None:
        return "firenet"
    numbers = [image.number for image in scan.images if image.number is not None]
    array = scan.file.source.removeprefix(str(scan.source.data)).strip()
    slices = ""
    if numbers:
        slices = f"slice {numbers[0]}" if len(numbers) == 1 else f"slices {numbers[0]}-{numbers[-1]}"
    return " ".join(part for part in ("firenet:", scan.source.data.name, array, slices) if part)


def summary(found: Sequence[Reconstruction]) -> str:
    """Returns one line that says what was done and how close to optimal the result is proved to be."""
    scan = found[0].scan
    solved = [(one, one.found) for one in found if one.found is not None]
    what = "sparse reconstruction" if any(isinstance(s, Solution) for _, s in solved) else "certificate"
    words = [what if len(found) == 1 else f"{what} of {len(found)} slices"]
    rate = sum(one.part.rate for one in found) / len(found)
    if scan.kind in ("Cartesian k-space", "Walsh measurements"):
        words.append(f"{100 * rate:.3g} % of {'k-space' if scan.kind == 'Cartesian k-space' else 'the Walsh patterns'}")
    else:
        words.append(f"{scan.kind}, {found[0].part.operator.samples} numbers measured")
    worst = max((s.relative_gap.item() for _, s in solved), default=0.0)
    misses = any(misfit(one) is not None for one, _ in solved)
    if misses:
        words.append("does not fit the data")
    elif worst < 1:
        kind = weakest(*(s.kind for _, s in solved)) if solved else "exact"
        words.append(f"within {100 * worst:.2g} % of optimal ({kind})")
    else:  # NaN, too
        words.append("not proved to be close to optimal")
    asked = (one.posed for one, _ in solved if len(one.rounds) < 2)
    if not misses and any(posed is not None and isinstance(posed.fidelity, Ball) for posed in asked):
        words.append("fits the data up to the noise level")
    words.append(f"{sum(one.layers for one in found)} layers")
    words.append(f"{sum(one.seconds for one in found):.1f} s")
    return ", ".join(words)
