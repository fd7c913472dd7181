"""The records of an audit: settings, rows, verdicts, and the whole record."""

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
from firenet.images import DETAILS
from firenet.numerics import check_seed

SCHEMA = 2
TESTS = ("accuracy", "worst", "localised", "details", "kernel", "noise")
TESTS += ("scaling", "samples", "anatomy", "transfer", "certificate")


@dataclass(frozen=True)
class Thresholds:
    """The limits beyond which a test fails.

    Attributes:
        amplification: The largest allowed amplification (norm of the image's change over norm of the perturbation) at
            the reference budget, of perturbations that were found for this model or for another one.
        local: The largest allowed change of one pixel in the window, relative to the norm of the perturbation. A map of
            norm 1 can change one pixel by the whole norm of the perturbation, whatever the size of the image.
        contrast: Details of this contrast or more must be seen. It is relative to the image's maximum.
        index: A detail is seen if its index is at least this, see :class:`.Detection`.
        lipschitz: A detail that the measurement operator almost annihilates proves a lower bound of the Lipschitz
            constant; the test fails if the bound exceeds this.
        fall: The largest allowed fall of the PSNR in dB when samples are added.
        scaling: The largest allowed change of the image, relative to the image, when the unit of the data is changed.
        noise: The largest allowed amplification of Gaussian noise.
        gain: The smallest allowed gain over the PSNR of the adjoint, in dB, on every image.
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
    """The settings of an audit.

    Attributes:
        budgets: The budgets of perturbations, relative to the norm of the measurements.
        reference: The budget of the verdicts, one of ``budgets``.
        ascent: As in :func:`.attack`; ``spsa`` is used for a model without gradient.
        domain: ``measurement``: perturbations of the measurements; ``image``: those that a change of the object causes.
        steps: The number of steps of an ascent; five times as many for ``spsa``.
        starts: The number of ascents.
        details: The details that are inserted, some of :data:`firenet.images.DETAILS`.
        contrasts: The contrasts of the details, relative to the image's maximum, falling.
        noise: The norms of Gaussian noise, relative to the measurements.
        factors: The factors by which the data are multiplied.
        window: The side of the window of the localised attack, relative to the shorter side of the image.
        tests: The tests, some of ``TESTS``.
        thresholds: The limits for the verdicts.
        seed: Seeds everything that is random.
        calls: The largest dimension for which the whole Jacobian is computed, as in :func:`.attack`.

    Raises:
        BadInput: If an ascent, domain, test or detail is unknown, a number is outside its range, or a list is empty.
    """

    budgets: tuple[float, ...] = (0.002, 0.005, 0.01, 0.02, 0.05)
    reference: float = 0.01
    ascent: Ascent = "gradient"
    domain: Domain = "measurement"
    steps: int = 20
    starts: int = 2
    details: tuple[str, ...] = DETAILS
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
        for kind, names, known in (("Tests", self.tests, TESTS), ("Details", self.details, DETAILS)):
            unknown = set(names) - set(known)
            if unknown or not names:
                raise BadInput(f"{kind}: {', '.join(known)}", f"{sorted(unknown)}", "Choose some of them")
        check_search(self.ascent, self.domain, self.steps, self.starts)
        if not (self.budgets and self.contrasts and self.noise and self.factors):
            needed = "At least one budget, one contrast, one noise level and one factor of the data"
            raise BadInput(needed, f"{self}", "Add one, even if its test is left out")
        check_seed(self.seed)
        numbers = (*self.budgets, *self.contrasts, *self.noise, *self.factors, self.window)
        if not all(math.isfinite(n) and n > 0 for n in numbers) or self.window > 1:
            raise BadInput("Positive numbers, a window of at most 1", f"{self}", "Begin with the defaults")


@dataclass(frozen=True)
class Row:
    """One test of one model on one image.

    Attributes:
        model: The name of the model.
        image: The name of the image.
        test: The test, one of ``TESTS``.
        numbers: The results.
        pictures: Titles of pictures, each with the key of its array in :attr:`Audit.pictures`.
        failed: The reason why nothing was measured; None if the test was measured.
        seconds: The time that the test took.
    """

    model: str
    image: str
    test: str
    numbers: Mapping[str, Any] = field(default_factory=dict)
    pictures: Mapping[str, str] = field(default_factory=dict)
    failed: str | None = None
    seconds: float = 0.0


class Outcome(StrEnum):
    """The outcome of a test. There is no "passed", since a search that finds nothing bad proves nothing."""

    FAILED = "failed"
    NOTHING_FOUND = "nothing found"
    UNDECIDED = "not decided"
    NO_STATEMENT = "no statement"


@dataclass(frozen=True)
class Verdict:
    """The verdict of one test on a model.

    Attributes:
        model: The name of the model.
        test: The name of the test.
        outcome: ``failed``: there is a witness, which was judged again; ``nothing found``: the limit is kept, and if
            the test is a search, the text says how thorough it was; ``not decided``: the text says why;
            ``no statement``: nothing follows from the images (``kernel`` only).
        value: The worst number of all images.
        threshold: The limit of this number.
        text: The verdict as a sentence.
        again: The worst number when the witnesses were judged again on the model, built again; None if they were not.
        witness: If an attack led to ``failed``, the image and the key of the perturbation in :attr:`Audit.witnesses`.
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
        title: The title.
        sensing: The measurement operator: its class, shape, rate, and the SHA-256 of its mask.
        models: For each name the origin of the model, whether it has a gradient and whether it is deterministic.
        images: For each name the shape, SHA-256 and role of the image.
        settings: The settings.
        rows: The results of all tests, and why tests failed.
        verdicts: The verdicts by model and test.
        versions: The versions of the libraries.
        pictures: Arrays by key; not in the JSON.
        witnesses: The perturbations by which a model failed, by key; not in the JSON.
        resumed: The number of rows that an earlier run measured, with the same versions, inputs and settings.
        schema: The version of the record.
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
        """Returns everything except the arrays, for JSON."""
        plain = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("pictures", "witnesses")}
        rows, verdicts = ([asdict(each) for each in every] for every in (self.rows, self.verdicts))
        return plain | {"settings": asdict(self.settings), "rows": rows, "verdicts": verdicts}

    def of(self, model: str, test: str) -> list[Row]:
        """Returns the measured rows of a model and a test."""
        return [r for r in self.rows if (r.model, r.test, r.failed) == (model, test, None)]
