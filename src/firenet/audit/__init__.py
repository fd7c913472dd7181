"""The stability audit: any reconstruction on the bench, and what it does written down.

One audit is one sensing operator, some models and some images. Each test of a model on an image is a part: it is put on
disk when it is done, a long audit goes on where it ended, and what fails is a row of the record with its reason.
Everything is measured. What an attack finds is a lower bound of how bad it can get; that nothing worse was found proves
nothing, except for FIRENETs, whose objective is bounded for every perturbation (:func:`firenet.models.certified`).
"""

from __future__ import annotations

from firenet.audit.records import SCHEMA, TESTS, Audit, Outcome, Row, Settings, Thresholds, Verdict, versions
from firenet.audit.run import Progress, audit
from firenet.audit.verdicts import judge

__all__ = [
    "SCHEMA",
    "TESTS",
    "Audit",
    "Outcome",
    "Progress",
    "Row",
    "Settings",
    "Thresholds",
    "Verdict",
    "audit",
    "judge",
    "versions",
]
