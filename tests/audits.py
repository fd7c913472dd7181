"""Small audits: a real slice of 32 x 32, a mask, few steps of attack, and a model that is known."""

from __future__ import annotations

from typing import Any

from cases import small_image, small_mask
from firenet import SubsampledFourier
from firenet.audit import Audit, Settings, audit
from firenet.audit.model import Model
from firenet.sensing.masks import nested

SIDE = 32
MASK = small_mask(SIDE)
SENSING = SubsampledFourier(MASK)
X = small_image(SIDE)
QUICK = Settings(budgets=(0.003, 0.01), steps=3, starts=1, contrasts=(0.5, 0.1), noise=(0.05,), factors=(0.5, 2.0))
SWEEP = {r: SubsampledFourier(m) for r, m in nested(MASK, (0.2, 0.4, 0.6)).items()}


class Trouble(Exception):
    pass


def made(*models: Model, settings: Settings = QUICK, **options: Any) -> Audit:
    return audit(list(models), SENSING, {"s1045": X}, settings=settings, **options)


def adjoint(name: str = "adjoint", factor: float = 1.0) -> Model:
    return Model(name, lambda sensing: lambda y: factor * sensing.adjoint(y).real, {"kind": f"adjoint {factor}"})


def verdict(found: Audit, model: str, test: str) -> str:
    (v,) = [v for v in found.verdicts if (v.model, v.test) == (model, test)]
    return v.outcome
