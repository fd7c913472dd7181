"""What an audit is asked and what it answers: settings, rows, verdicts, the record."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any

import numpy as np

from firenet.audit.ascent import Ascent, Domain, check_search
from firenet.audit.attack import CALLS
from firenet.audit.detail import ROSE
from firenet.errors import BadInput
from firenet.numerics import check_seed

SCHEMA = 2
TESTS = (
    "accuracy",
    "worst",
    "localised",
    "details",
    "kernel",
    "noise",
    "scaling",
    "samples",
    "anatomy",
    "transfer",
    "certificate",
)


@dataclass(frozen=True)
class Thresholds:
    """What a model must hold to pass.

    Attributes:
        amplification: At the reference budget, the largest amplification that an attack, or one for another model, may
            find.
        local: The largest change of one pixel in the window, relative to the norm of the perturbation: a map of norm 1
            can move a pixel by that norm, whatever the size of the image.
        contrast: Details of this contrast or more must be seen.
        index: A detail with this index or more is seen.
        lipschitz: The largest lower bound of the Lipschitz constant that a hidden detail may give.
        fall: By how many dB the PSNR may fall when samples are added.
        scaling: By what share the image may depend on the unit of the data.
        noise: The largest amplification of Gaussian noise.
        gain: By how many dB the PSNR must be above that of the adjoint, on every image.
    """

    amplification: float = 5.0
    local: float = 3.0
    contrast: float = 0.1
    index: float = ROSE
    lipschitz: float = 5.0
    fall: float = 0.5
    scaling: float = 0.01
    noise: float = 2.0
    gain: float = 0.0


@dataclass(frozen=True)
class Settings:
    """All that is chosen.

    Attributes:
        budgets: Of perturbations, in parts of the measurements' norm.
        reference: The budget that verdicts speak of; one of ``budgets``.
        ascent: As in :func:`.attack`; ``spsa`` is taken where there is no gradient.
        domain: ``measurement``: whatever is added to the measurements; ``image``: what a change of the object can do.
        steps: Of an ascent.
        starts: Of an ascent.
        details: Which are looked for.
        contrasts: Of the details, in parts of the image's maximum, falling.
        noise: Relative levels of Gaussian noise.
        factors: By which the data are multiplied.
        window: Side of the window of the localised attack, in parts of the image's.
        tests: Which are made.
        thresholds: For the verdicts.
        seed: Of all that is random.
        calls: What the whole Jacobian of a model may cost, where its gradient cannot be believed.
    """

    budgets: tuple[float, ...] = (0.002, 0.005, 0.01, 0.02, 0.05)
    reference: float = 0.01
    ascent: Ascent = "gradient"
    domain: Domain = "measurement"
    steps: int = 20
    starts: int = 2
    details: tuple[str, ...] = ("text", "disc", "lines")
    contrasts: tuple[float, ...] = (0.5, 0.2, 0.1, 0.05)
    noise: tuple[float, ...] = (0.01, 0.02, 0.05, 0.1)
    factors: tuple[float, ...] = (0.1, 0.5, 2.0, 10.0)
    window: float = 0.125
    tests: tuple[str, ...] = TESTS
    thresholds: Thresholds = field(default_factory=Thresholds)
    seed: int = 0
    calls: int = CALLS

    def __post_init__(self) -> None:
        for name in ("budgets", "details", "contrasts", "noise", "factors", "tests"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if self.reference not in self.budgets:
            raise BadInput("A reference that is one of the budgets", f"{self.reference}", f"Budgets: {self.budgets}")
        unknown = set(self.tests) - set(TESTS)
        if unknown or not self.tests:
            raise BadInput(f"Tests: {', '.join(TESTS)}", f"{sorted(unknown)}", "Choose some of them")
        check_search(self.ascent, self.domain, self.steps, self.starts)
        if not (self.budgets and self.contrasts and self.noise and self.factors and self.details):
            needed = "At least one budget, detail, contrast, level of noise and factor"
            raise BadInput(needed, f"{self}", "Or leave out tests")
        check_seed(self.seed)
        numbers = (*self.budgets, *self.contrasts, *self.noise, *self.factors, self.window)
        if not all(math.isfinite(n) and n > 0 for n in numbers) or self.window > 1:
            raise BadInput("Positive numbers, a window of at most 1", f"{self}", "The defaults are a start")


@dataclass(frozen=True)
class Row:
    """One test of one model on one image.

    Attributes:
        model: Name.
        image: Name.
        test: One of ``TESTS``.
        numbers: What was measured; None in it is not a number.
        pictures: Title to the key of an array in :attr:`Audit.pictures`.
        failed: Why there is nothing, or None.
        seconds: That it took.
    """

    model: str
    image: str
    test: str
    numbers: Mapping[str, Any] = field(default_factory=dict)
    pictures: Mapping[str, str] = field(default_factory=dict)
    failed: str | None = None
    seconds: float = 0.0


class Outcome(StrEnum):
    """What a test can say. None of them is "passed": that nothing bad was found proves nothing."""

    FAILED = "failed"
    NOTHING_FOUND = "nothing found"
    UNDECIDED = "not decided"
    NO_STATEMENT = "no statement"


@dataclass(frozen=True)
class Verdict:
    """What the rows of one test say about a model.

    Attributes:
        model: Name.
        test: Name.
        outcome: ``failed``: there is a witness, which was judged again; ``nothing found``: the text says how hard it
            was looked for; ``not decided``: the text says why; ``no statement``: the test had no pair of images that
            would say something (``kernel`` only).
        value: The worst number of all images.
        threshold: What it is compared to.
        text: In words.
        again: The worst number when the witnesses were judged again on a fresh copy of the model; None where that was
            not asked for, or could not be done.
        witness: Of a ``failed`` attack: the image, and the key of the perturbation in :attr:`Audit.witnesses`.
    """

    model: str
    test: str
    outcome: Outcome
    value: float | None
    threshold: float | None
    text: str
    again: float | None = None
    witness: Mapping[str, str] | None = None


@dataclass(frozen=True, eq=False)
class Audit:
    """The record of an audit.

    Attributes:
        title: Of the bench.
        sensing: What is measured: operator, shape, rate, SHA-256 of the mask.
        models: Name to origin, whether it has a gradient and is deterministic.
        images: Name to shape, SHA-256 and role.
        settings: What was chosen.
        rows: All that was measured, and what failed.
        verdicts: By model and test.
        versions: Of the libraries.
        pictures: Arrays by key; not in the JSON.
        witnesses: Perturbations of the measurements that convicted a model, by key; not in the JSON.
        resumed: How many rows were measured by an earlier run, with the same versions, inputs and settings.
        schema: Version of the record.
    """

    title: str
    sensing: Mapping[str, Any]
    models: Mapping[str, Mapping[str, Any]]
    images: Mapping[str, Mapping[str, Any]]
    settings: Settings
    rows: tuple[Row, ...]
    verdicts: tuple[Verdict, ...]
    versions: Mapping[str, str]
    pictures: Mapping[str, np.ndarray]
    witnesses: Mapping[str, np.ndarray] = field(default_factory=dict)
    resumed: int = 0
    schema: int = SCHEMA

    def record(self) -> dict[str, Any]:
        """Everything but the arrays, for JSON."""
        plain = {
            f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("pictures", "witnesses", "settings")
        }
        plain |= {"settings": asdict(self.settings)}
        plain |= {"rows": [asdict(r) for r in self.rows], "verdicts": [asdict(v) for v in self.verdicts]}
        return plain

    def of(self, model: str, test: str) -> list[Row]:
        """The rows of a model and a test that did not fail."""
        return [r for r in self.rows if (r.model, r.test, r.failed) == (model, test, None)]
