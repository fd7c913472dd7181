"""ODL, whose adjoints belong to weighted inner products."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from bridge_laws import assert_example_runs, assert_is_solved, assert_is_sound, disc
from firenet import BadInput
from firenet.interop import from_odl

odl: Any = pytest.importorskip("odl")

MATRIX = np.random.default_rng(0).standard_normal((3, 5))


def space(**more: Any) -> Any:
    return odl.uniform_discr([-1, -1], [1, 2], (6, 5), **more)


def gradient(**weighting: Any) -> Any:
    cells = space()
    return odl.Gradient(cells, range=odl.ProductSpace(cells, 2, **weighting))


MADE = {
    "constants": lambda: odl.SamplingOperator(space(), [[0, 1, 5], [0, 2, 4]]),
    "no weights": lambda: odl.MatrixOperator(MATRIX),
    "gradient": gradient,
    "complex": lambda: odl.MatrixOperator(MATRIX * (1 + 2j), domain=odl.cn(5), range=odl.cn(3)),
    "cells to cells": lambda: odl.PartialDerivative(space(), axis=0, pad_mode="constant", pad_const=0),
    "coarser cells": lambda: odl.ResizingOperator(space(), ran_shp=(8, 5)),
    "multiple": lambda: 2 * odl.IdentityOperator(space()),
    "wavelets": lambda: odl.trafos.WaveletTransform(odl.uniform_discr([0, 0], [1, 1], (8, 8)), "haar", nlevels=1),
}


@pytest.mark.parametrize("name", list(MADE))
def test_weights_are_undone(name: str) -> None:
    theirs = MADE[name]()
    operator = from_odl(theirs)
    assert operator.title == f"odl.{type(theirs).__name__}"
    assert (operator.in_shape, operator.out_shape) == (theirs.domain.shape, theirs.range.shape)
    assert_is_sound(operator)
    x = np.random.default_rng(1).standard_normal(operator.in_shape)
    x = x + 1j if theirs.domain.is_complex else x
    assert np.array_equal(operator(torch.from_numpy(x)).numpy(), np.asarray(theirs(theirs.domain.element(x)).asarray()))


def test_without_the_weights_it_is_no_adjoint() -> None:
    """The cells have a volume of 0.2, the samples have none: ODL's adjoint is five times the transpose."""
    theirs = MADE["constants"]()
    y = np.array([1.0, 2.0, 3.0])
    found = from_odl(theirs).adjoint(torch.from_numpy(y)).numpy()
    assert np.allclose(5 * found, np.asarray(theirs.adjoint(y).asarray()), rtol=1e-13)
    assert found[1, 2] == pytest.approx(2.0, rel=1e-13)


def test_an_adjoint_of_odl_that_knows_no_weights() -> None:
    """ODL's matrix has its transpose for an adjoint, also where the weights of the spaces ask for another map."""
    theirs = odl.MatrixOperator(MATRIX, domain=odl.rn(5, weighting=2.0), range=odl.rn(3, weighting=0.25))
    assert_is_sound(from_odl(theirs), MATRIX)


@pytest.mark.parametrize("name", ["FourierTransform", "DiscreteFourierTransform"])
def test_an_adjoint_that_is_none_is_refused_by_name(name: str) -> None:
    operator = from_odl(getattr(odl.trafos, name)(space(dtype=complex)))
    with pytest.raises(BadInput, match=rf"odl\.{name}"):
        _ = operator.norm_bound


class Sampled(odl.Operator):
    """A matrix between spaces whose inner products have any diagonal weights, with ODL's adjoint for these."""

    def __init__(self, domain: Any, range_: Any, w: np.ndarray, v: np.ndarray, matrix: np.ndarray) -> None:
        super().__init__(domain, range_, linear=True)
        self.w, self.v, self.matrix = w, v, matrix

    def _call(self, x: Any) -> Any:
        found = self.matrix @ np.asarray(x.asarray()).ravel()
        return self.range.element(found.reshape(self.range.shape))

    @property
    def adjoint(self) -> Any:
        back = self.matrix.T * self.v.ravel() / self.w.ravel()[:, None]
        return Sampled(self.range, self.domain, self.v, self.w, back)


def test_arrays_of_weights_also_of_products() -> None:
    w, v = np.arange(1.0, 6.0), np.array([[1.0] * 3, [7.0] * 3]) * np.array([0.5, 2.0, 4.0])
    domain = odl.rn(5, weighting=w)
    range_ = odl.ProductSpace(odl.rn(3, weighting=np.array([0.5, 2.0, 4.0])), 2, weighting=[1.0, 7.0])
    matrix = np.random.default_rng(0).standard_normal((6, 5))
    theirs = Sampled(domain, range_, w, v, matrix)
    # It is the adjoint that ODL means: inner products of its spaces agree.
    x, y = domain.element(np.ones(5)), range_.element(np.arange(6.0).reshape(2, 3))
    assert range_.inner(theirs(x), y) == pytest.approx(domain.inner(x, theirs.adjoint(y)), rel=1e-12)
    operator = from_odl(theirs)
    assert operator.out_shape == (2, 3)
    assert_is_sound(operator, matrix)


def test_single_precision_and_tensors() -> None:
    assert_is_sound(from_odl(odl.Gradient(space(dtype="float32"))), single=True)
    assert_is_sound(from_odl(odl.Gradient(space(impl="pytorch"))))


def test_a_certified_reconstruction() -> None:
    cells = odl.uniform_discr([-1, -1], [1, 1], (16, 16))
    rows = np.random.default_rng(0).standard_normal((180, 256))
    operator = from_odl(odl.MatrixOperator(rows) * odl.FlatteningOperator(cells))
    assert_is_sound(operator, rows)
    assert_is_solved(operator, disc(), psnr=40)


def test_what_is_refused() -> None:
    with pytest.raises(BadInput, match="linear operator of ODL"):
        from_odl(MATRIX)
    with pytest.raises(BadInput, match="not linear"):
        from_odl(odl.PowerOperator(odl.rn(3), 2))
    with pytest.raises(BadInput, match="exponent 1"):
        from_odl(gradient(exponent=1))
    with pytest.raises(BadInput, match="array of weights"):
        from_odl(odl.IdentityOperator(odl.rn(3, inner=lambda a, b: float(np.vdot(b.asarray(), a.asarray())))))
    different = odl.ProductSpace(odl.rn(3), odl.rn(2))
    with pytest.raises(BadInput, match="product of different spaces"):
        from_odl(odl.IdentityOperator(different))
    with pytest.raises(BadInput, match="RealNumbers"):
        from_odl(odl.InnerProductOperator(odl.rn(3).element([1, 2, 3])))
    with pytest.raises(BadInput, match="real numbers to one of complex"):
        from_odl(odl.ComplexEmbedding(odl.rn(3)))

    class Bare(odl.Operator):
        def __init__(self) -> None:
            super().__init__(odl.rn(3), odl.rn(3), linear=True)

        def _call(self, x: Any) -> Any:
            return x

    with pytest.raises(BadInput, match="with an adjoint"):
        from_odl(Bare())


def test_the_example_runs() -> None:
    assert_example_runs("ODL")
