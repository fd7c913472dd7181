"""Whether the laws can be trusted: operators that break a law, one or more for each. A law that they pass is no law."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cases import Sound, entries
from firenet.operators.derivative import differentiable
from firenet.operators.linear import LinearOperator
from firenet.operators.norm_bound import NormBound
from laws import (
    LAWS,
    Probe,
    assert_adjoint,
    assert_batch_is_loop,
    assert_isometry,
    assert_jvp_is_forward,
    assert_linear,
    assert_loads,
    assert_matches_dense,
    assert_modes,
    assert_moves,
    assert_norm_bound,
    assert_pure,
    assert_restricts,
    assert_state_dtype,
    assert_survives,
    assert_vjp_is_adjoint,
    largest_singular_value,
    named,
)


class NoConjugate(Sound):
    def _adjoint(self, y: Tensor) -> Tensor:
        return y @ self.matrix


class AdjointSlightlyOff(Sound):
    def _adjoint(self, y: Tensor) -> Tensor:
        return super()._adjoint(y) * (1 + 1e-11)


class Offset(Sound):
    def _forward(self, x: Tensor) -> Tensor:
        return super()._forward(x) + 1e-9


class OnlyHomogeneous(Sound):
    def _forward(self, x: Tensor) -> Tensor:
        return super()._forward(x) * (x.abs().sum(-1, keepdim=True) / x.abs().amax(-1, keepdim=True))


class Antilinear(Sound):
    def _forward(self, x: Tensor) -> Tensor:
        return super()._forward(x.conj())


class HalfDetached(Sound):
    def _forward(self, x: Tensor) -> Tensor:
        y = super()._forward(x)
        return (y + y.detach()) / 2


class WrongBackward(Sound):
    def _forward(self, x: Tensor) -> Tensor:
        return differentiable(x, super()._forward, lambda y: y @ self.matrix)


class InPlace(Sound):
    def _forward(self, x: Tensor) -> Tensor:
        return super()._forward(x.mul_(2)) / 2


class InPlaceAndBack(Sound):
    def _forward(self, x: Tensor) -> Tensor:
        return super()._forward(x.mul_(1))


class GivesItsInput(Sound):
    def _forward(self, x: Tensor) -> Tensor:
        return x


class RollsTheDice(Sound):
    def _forward(self, x: Tensor) -> Tensor:
        torch.rand(1)
        return super()._forward(x)


class Noisy(Sound):
    def _adjoint(self, y: Tensor) -> Tensor:
        self.generator = getattr(self, "generator", torch.Generator())
        return super()._adjoint(y) * (1 + 1e-15 * torch.rand(4, generator=self.generator, dtype=torch.float64))


class MixesTheBatch(Sound):
    def _forward(self, x: Tensor) -> Tensor:
        return super()._forward(x) + (1e-9 * x.sum(0) if x.ndim > 1 else 0)


class FlattensTheBatch(Sound):
    def _forward(self, x: Tensor) -> Tensor:
        return super()._forward(x.reshape(-1, 4)).squeeze(0)


class RestrictsTooMuch(Sound):
    def restrict(self, y: Tensor) -> Tensor:
        return y * torch.tensor([1, 1, 1, 0])


class WrongState(Sound):
    def state_dtype(self, y: torch.dtype) -> torch.dtype:
        return torch.float32


class Forgets(Sound):
    def __init__(self) -> None:
        super().__init__()
        self.factor = 2.0

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "factor": 1.0}

    def _forward(self, x: Tensor) -> Tensor:
        return super()._forward(x) * self.factor


class CachesTensors(Sound):
    def _forward(self, x: Tensor) -> Tensor:
        if not hasattr(self, "cache"):
            self.cache = torch.ones(4, dtype=x.dtype)
        return super()._forward(x * self.cache)


class CachesTheMatrix(Sound):
    def _forward(self, x: Tensor) -> Tensor:
        if not hasattr(self, "cache"):
            self.cache = self.matrix.clone()
        return x @ self.cache.mT


class LosesImaginaryParts(Sound):
    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> LosesImaginaryParts:
        nn.Module._apply(self, fn, recurse)
        return self


class PowerIteration(Sound):
    """The norm 0.5 % low: what 30 steps of a power iteration give on a bad day."""

    def __init__(self) -> None:
        super().__init__()
        self.estimate()

    def estimate(self) -> None:
        size = largest_singular_value(self.matrix)
        self.norm_bound = NormBound(0.995 * size, "proven", "a power iteration")

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> PowerIteration:
        super()._apply(fn, recurse)
        self.estimate()
        return self


class NotExact(Sound):
    def __init__(self) -> None:
        super().__init__()
        self.norm_bound = NormBound(1.001 * self.norm_bound.value, "exact", "a guess")


def matches_dense(operator: LinearOperator, probe: Probe) -> None:
    assert_matches_dense(operator, entries(4, 4, complex_=True, seed=8), probe)


def bounds_norm(operator: LinearOperator, probe: Probe) -> None:
    assert_norm_bound(operator, entries(4, 4, complex_=True, seed=8))


def moves(operator: LinearOperator, probe: Probe) -> None:
    assert_moves(operator, entries(4, 4, complex_=True, seed=8), probe)


def loads(operator: LinearOperator, probe: Probe) -> None:
    assert isinstance(operator, Sound)
    other = type(operator)()
    other.matrix.mul_(0.5)
    assert_loads(other, operator, probe)


def is_isometry(operator: LinearOperator, probe: Probe) -> None:
    assert_isometry(operator, probe)


BROKEN: list[tuple[Callable[[LinearOperator, Probe], None], type[Sound]]] = [
    (assert_adjoint, NoConjugate),
    (assert_adjoint, AdjointSlightlyOff),
    (assert_adjoint, Antilinear),
    (assert_linear, Offset),
    (assert_linear, OnlyHomogeneous),
    (assert_linear, Antilinear),
    (matches_dense, AdjointSlightlyOff),
    (matches_dense, Antilinear),
    (bounds_norm, PowerIteration),
    (bounds_norm, NotExact),
    (assert_vjp_is_adjoint, HalfDetached),
    (assert_vjp_is_adjoint, WrongBackward),
    (assert_jvp_is_forward, HalfDetached),
    (assert_pure, InPlace),
    (assert_pure, InPlaceAndBack),
    (assert_pure, GivesItsInput),
    (assert_pure, RollsTheDice),
    (assert_pure, Noisy),
    (assert_batch_is_loop, MixesTheBatch),
    (assert_batch_is_loop, FlattensTheBatch),
    (assert_restricts, RestrictsTooMuch),
    (assert_state_dtype, WrongState),
    (assert_survives, Forgets),
    (assert_modes, CachesTensors),
    (loads, CachesTheMatrix),
    (moves, LosesImaginaryParts),
    (moves, PowerIteration),
    (is_isometry, Sound),
]


@pytest.mark.parametrize(("law", "broken"), BROKEN, ids=named)
def test_law_bites(law: Callable[[LinearOperator, Probe], None], broken: type[Sound]) -> None:
    def everywhere(make: type[Sound]) -> None:
        for i, batch in enumerate([(), (1,), (3,)]):
            law(make(), Probe(torch.complex128, batch, seed=i))

    with pytest.raises((AssertionError, RuntimeError, UserWarning)):
        everywhere(broken)
    if broken is not Sound:  # and it is not the law that is broken
        everywhere(Sound)


def test_every_law_has_an_operator_that_breaks_it() -> None:
    assert set(LAWS) <= {law for law, _ in BROKEN}
