"""An operator that the library has never seen, in one class: every front door takes it."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import scipy.fft
import torch
from torch import Tensor

import firenet
from firenet.audit import Settings, audit
from firenet.images import load_slice
from firenet.models import firenet_model
from firenet.operators import NormBound
from firenet.reconstruction import certify_image, default_network


class MaskedCosine(firenet.LinearOperator):
    """Samples of the orthonormal discrete cosine transform, zero where none was taken."""

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__(mask.shape, mask.shape, NormBound(1.0, "exact", "an orthonormal transform with a mask"))
        self.register_buffer("mask", mask)

    def _forward(self, x: Tensor) -> Tensor:
        return _Transformed.apply(x, scipy.fft.dctn, scipy.fft.idctn) * self.mask  # pyright: ignore[reportReturnType]

    def _adjoint(self, y: Tensor) -> Tensor:
        return _Transformed.apply(y * self.mask, scipy.fft.idctn, scipy.fft.dctn)  # pyright: ignore[reportReturnType]

    def restrict(self, y: Tensor) -> Tensor:
        return y * self.mask

    @property
    def is_coisometry(self) -> bool:
        return True


class _Transformed(torch.autograd.Function):
    """A transform of SciPy, with its derivative."""

    @staticmethod
    def forward(ctx, x, forth, back):  # type: ignore[override]
        ctx.back = back
        forth = partial(forth, axes=(-2, -1), norm="ortho")
        a = x.detach().numpy()
        found = forth(a.real) + 1j * forth(a.imag) if x.is_complex() else forth(a)
        return torch.from_numpy(found.astype(a.dtype))

    @staticmethod
    def backward(ctx, *grads):  # type: ignore[override]
        return _Transformed.apply(grads[0], ctx.back, None), None, None


SIDE = 32


@pytest.fixture(scope="module")
def operator() -> MaskedCosine:
    distance = np.add.outer(np.arange(SIDE) ** 2, np.arange(SIDE) ** 2) ** 0.5
    chance = np.random.default_rng(7).random((SIDE, SIDE))
    return MaskedCosine(torch.from_numpy((distance < 10) | (chance < 0.25)))


@pytest.fixture(scope="module")
def image() -> Tensor:
    return load_slice()[::8, ::8].to(torch.float64)


def test_its_adjoint_is_checked(operator: MaskedCosine) -> None:
    assert firenet.check_adjoint(operator).passed
    assert not operator.is_own


def test_reconstruct(operator: MaskedCosine, image: Tensor) -> None:
    y = operator(image)
    solution = firenet.reconstruct(y, operator, tolerance=1e-3)
    assert solution.status is firenet.Status.TOLERANCE_REACHED
    assert firenet.psnr(solution.image, image) > firenet.psnr(operator.adjoint(y), image) + 1
    assert "MaskedCosine" in solution.conditions[0]


def test_what_is_no_operator_is_refused_with_what_to_pass(operator: MaskedCosine, image: Tensor) -> None:
    y = operator(image)
    for call in (firenet.reconstruct, firenet.choose):
        with pytest.raises(firenet.BadInput, match="Pass SubsampledFourier"):
            call(y, operator.mask)  # pyright: ignore[reportArgumentType]


def test_choose(operator: MaskedCosine, image: Tensor) -> None:
    choice = firenet.choose(operator(image), operator)
    assert len(choice.candidates) >= 5
    assert min(c.error for c in choice.candidates) < 0.9 * choice.candidates[0].error
    held = operator.holdout_candidates()
    assert torch.equal(held, operator.mask)
    assert 0 < choice.held_out < 0.4 * int(held.sum())


def test_a_subset_is_the_operator_with_fewer_samples(operator: MaskedCosine, image: Tensor) -> None:
    keep = torch.from_numpy(np.random.default_rng(1).random((SIDE, SIDE)) < 0.5)
    part = operator.subset(keep)
    assert torch.equal(part(image), operator(image) * keep)
    y = torch.ones(SIDE, SIDE, dtype=torch.float64)
    assert torch.equal(part.adjoint(y), operator.adjoint(y * keep))
    assert part.samples == int((operator.mask & keep).sum())
    assert not part.is_own
    assert firenet.check_adjoint(part).passed
    assert part.norm_bound.kind == "proven"


def test_certify(operator: MaskedCosine, image: Tensor) -> None:
    net, y = default_network(operator), operator(image)
    certificate = certify_image(image, net, y, budget=50)
    assert certificate.kind == "conditional"
    best = net.solve(y)
    assert certificate.gap.item() >= certificate.objective.item() - best.objective.item() - 1e-12
    assert certificate.lower_bound.item() <= best.objective.item() * (1 + 1e-12)


def test_audit(operator: MaskedCosine, image: Tensor) -> None:
    settings = replace(
        Settings(), tests=("accuracy", "worst", "certificate"), budgets=(0.05,), reference=0.05, steps=4, starts=1
    )
    record = audit([firenet_model("tv", 2, 3)], operator, {"s1045": image}, settings=settings)
    rows = {row.test: row for row in record.rows}
    assert not [row.failed for row in record.rows if row.failed]
    assert rows["worst"].numbers["amplification"][0] > 0
    assert math.isfinite(rows["certificate"].numbers["objective"])
