"""Sensing and analysis operator together: the coordinates of the pair against dense matrices."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from cases import COMPLEX, SETUPS, draw, setups
from firenet.problems.pair import OperatorPair
from laws import assert_near, norm

SPECTRAL = [
    *("Fourier", "Fourier, 1-D", "Fourier, 3-D", "no level", "union", "TV", "TV, 1-D", "TV, 3-D"),
    *("TV, no zero frequency", "wavelets and TV"),
]


def bands(stacked: OperatorPair, u: Tensor) -> Tensor:
    prepared = stacked.prepare(u)
    parts = [stacked.band(g, prepared) for g in stacked.groups]
    return torch.cat(parts, dim=1).reshape(len(u), *stacked.sparsify.out_shape)


@setups
def test_coordinates_are_those_of_the_dense_stack(name: str) -> None:
    setup = SETUPS[name]()
    sensing, frame = setup.sensing, setup.frame
    stacked = OperatorPair(sensing, frame)
    x = draw((2, *sensing.in_shape), setup.dtype)
    u = stacked.pack(x)
    assert_near(stacked.unpack(u), x, 1e-13 * norm(x))
    assert_near(stacked.unpack_measured(stacked(u)), sensing(x), 1e-12 * norm(sensing(x)))
    assert_near(bands(stacked, u), stacked.unit * frame(x), 1e-11 * stacked.unit * norm(x))
    balance = 1.0 if frame.is_tight else 1 / frame.norm_bound.value
    assert stacked.unit == pytest.approx(balance * (sensing.norm_bound.value or 1.0), rel=1e-15)
    # The adjoint is that of (A; W) in these coordinates: inner products agree.
    q, p = stacked.pack_measured(setup.data(2)), draw((2, *frame.out_shape), setup.dtype, 7)
    dual = torch.cat([q, p.flatten(1)], dim=1)
    first, second = stacked.split(dual)
    assert torch.equal(first, q)
    assert torch.equal(second.reshape(p.shape), p)
    back = stacked.adjoint(dual)
    v = draw(tuple(u.shape), setup.dtype, 8)
    left = (v.conj() * back).flatten(1).sum(dim=1)
    right = (stacked(v).conj() * q).sum(dim=1) + (bands(stacked, v).conj() * p).flatten(1).sum(dim=1)
    assert_near(left, right, 1e-11 * norm(dual) * norm(v) * max(1.0, stacked.norm_bound.value))
    out = torch.empty_like(back)
    assert_near(stacked.adjoint(dual, out), back, 1e-13 * norm(back))
    # W of A*q + W*p, as the repair of p needs it.
    image = sensing.adjoint(stacked.unpack_measured(q)) / stacked.unit + frame.adjoint(p)
    assert_near(bands(stacked, stacked.lifted(back)), frame(frame.apply_gram_inverse(image)), 1e-11 * norm(image))


@setups
def test_the_stack_has_norm_one(name: str) -> None:
    setup = SETUPS[name]()
    stacked = OperatorPair(setup.sensing, setup.frame)
    units = torch.eye(math.prod(stacked.in_shape), dtype=setup.dtype).view(-1, *stacked.in_shape)
    K = torch.cat([stacked(units), bands(stacked, units).flatten(1)], dim=1).mT
    largest = torch.linalg.matrix_norm(K, 2).item()
    assert largest <= stacked.norm_bound.value * (1 + 1e-12)
    assert stacked.norm_bound.value == pytest.approx(1, abs=1e-10)
    assert stacked.is_isometry == (name in SPECTRAL)
    if stacked.is_isometry:
        assert stacked.norm_bound.kind == "exact"
        eye = torch.eye(K.shape[1], dtype=COMPLEX)
        if name == "TV, no zero frequency":
            eye[0, 0] = 0  # a constant is neither measured nor penalised
        assert_near(K.mH @ K, eye, 1e-10)
