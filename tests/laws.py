"""The laws that every operator obeys, each written once.

A law is a function ``assert_...(operator, probe)`` that raises AssertionError where the operator breaks it; a
:class:`Probe` says with what kind of tensors to try. A :class:`Case` is a named operator with a dense matrix that was
computed in another way. The test files list cases and the laws they obey, ``test_operators.py`` also operators that are
broken on purpose, one for each law.

Rounding is measured in units of :math:`\\epsilon\\sqrt n\\|A\\|\\|x\\|`, never in absolute numbers.
"""

from __future__ import annotations

import copy
import math
import os
import pickle
import random
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd import forward_ad

from draws import normal
from firenet.errors import BadInput
from firenet.operators.linear import LinearOperator

Layout = Literal["contiguous", "transposed", "stepped", "expanded", "lazy"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
REAL = (torch.float32, torch.float64)
COMPLEX = (torch.complex64, torch.complex128)
DTYPES = (*REAL, *COMPLEX)
# With FIRENET_DTYPE=float32 laws are tried in single precision alone; see conftest.py.
SINGLE = os.environ.get("FIRENET_DTYPE") == "float32"
BATCHES: tuple[tuple[int, ...], ...] = ((), (0,), (1,), (3,), (2, 2), (2, 0))

# How many units of rounding a law forgives. A stage that sums n products, in whatever order, is off by about sqrt(n) u
# of their size, u = eps / 2 (n u at the very worst); an operator has up to four stages, such as frame, coils, samples
# and the sum of parts, and each may be off by four standard deviations. The worst seen is about 2.
ROUNDINGS = 4 * 4 * 0.5
# PyWavelets' symlets are orthonormal to 5e-12 a level and axis.
FILTER_TABLE = 1e-10


@dataclass(frozen=True)
class Probe:
    """With what a law is tried: dtype, batch axes, memory layout and seed of the tensors."""

    dtype: torch.dtype = torch.complex64 if SINGLE else torch.complex128
    batch: tuple[int, ...] = ()
    layout: Layout = "contiguous"
    seed: int = 0

    def draw(self, shape: Sequence[int], *, dtype: torch.dtype | None = None, salt: int = 0) -> Tensor:
        """Normal numbers of shape (*batch, *shape), from a generator of their own."""
        rng = np.random.default_rng(1000 * self.seed + salt)
        full = (*self.batch, *shape)
        return lay_out(normal(full, dtype=dtype or self.dtype, seed=rng), self.layout)

    def x(self, operator: LinearOperator, salt: int = 0) -> Tensor:
        """What the operator takes."""
        return self.draw(operator.in_shape, salt=salt)

    def y(self, operator: LinearOperator, salt: int = 500) -> Tensor:
        """What its adjoint takes: numbers of the kind that the operator gives."""
        return self.draw(operator.out_shape, dtype=self.gives(operator), salt=salt)

    def gives(self, operator: LinearOperator) -> torch.dtype:
        """The dtype that the operator gives for this one."""
        return operator(torch.zeros(operator.in_shape, dtype=self.dtype)).dtype


@dataclass(frozen=True)
class Case:
    """A named operator for inputs of a dtype, and its matrix from another source (real or complex, double)."""

    name: str
    make: Callable[[torch.dtype], LinearOperator]
    dense: Callable[[torch.dtype], Tensor]
    dtypes: tuple[torch.dtype, ...] = DTYPES


def tried(dtypes: Sequence[torch.dtype]) -> list[torch.dtype]:
    """Those that are asked for in this run: all, or where there are any those of single precision."""
    single = [dtype for dtype in dtypes if torch.finfo(dtype).bits == 32]
    return single if SINGLE and single else list(dtypes)


def probes(dtypes: Sequence[torch.dtype] = DTYPES) -> Iterator[Probe]:
    """Each layout with a real and a complex dtype, each dtype with pending conjugations and signs, batches in turn.

    In single precision alone it is each layout with each dtype.
    """
    pairs: list[tuple[torch.dtype, Any]] = [
        (dtype, layout)
        for i, layout in enumerate(LAYOUTS)
        for j, dtype in enumerate(DTYPES)
        if (layout == "lazy" or SINGLE or (i + j) % 2 == 0) and dtype in tried(dtypes)
    ]
    for i, (dtype, layout) in enumerate(pairs):
        yield Probe(dtype, BATCHES[i % len(BATCHES)], layout, seed=i)


def any_probe(dtypes: Sequence[torch.dtype] = DTYPES) -> st.SearchStrategy[Probe]:
    """For hypothesis: a probe of any kind."""
    return st.builds(
        Probe,
        dtype=st.sampled_from(tried(dtypes)),
        batch=st.sampled_from(BATCHES),
        layout=st.sampled_from(LAYOUTS),
        seed=st.integers(0, 9),
    )


def any_shape(most: int = 3, side: int = 11, size: int = 150) -> st.SearchStrategy[tuple[int, ...]]:
    """One to ``most`` sides, odd and prime ones and 1 included, together at most ``size``."""
    sides = st.lists(st.integers(1, side), min_size=1, max_size=most).map(tuple)
    return sides.filter(lambda shape: math.prod(shape) <= size)


def named(case: Any) -> str:
    """The id of a case or a law in pytest's list."""
    return case.name if isinstance(case, Case) else getattr(case, "__name__", str(case)).removeprefix("assert_")


def lay_out(x: Tensor, layout: Layout) -> Tensor:
    """The same numbers, differently in memory (``expanded``: the first entry of the first axis, again and again)."""
    if layout == "transposed":
        axes = tuple(reversed(range(x.ndim)))
        return x.permute(axes).contiguous().permute(axes)
    if layout == "stepped":
        # NaN between the numbers: whoever reads past them shows it.
        around = torch.full(tuple(2 * n + 1 for n in x.shape), math.nan, dtype=x.dtype)
        inside = around[tuple(slice(1, None, 2) for _ in x.shape)]
        inside.copy_(x)
        return inside
    if layout == "expanded":
        return x[:1].expand(x.shape) if x.ndim else x
    if layout == "lazy":  # a pending conjugation, or for real numbers a pending minus sign
        return x.conj().resolve_conj().conj() if x.is_complex() else torch.complex(0 * x, -x).conj().imag
    return x


def double(x: Tensor) -> Tensor:
    return x.resolve_conj().resolve_neg().to(torch.complex128)


def norm(x: Tensor) -> float:
    return torch.linalg.vector_norm(double(x)).item()


def largest_singular_value(dense: Tensor) -> float:
    return torch.linalg.svdvals(dense.to(torch.complex128)).max().item()


def units(operator: LinearOperator, dtype: torch.dtype) -> float:
    """One unit of rounding for this operator, relative to the norm of what it is applied to."""
    n = math.prod(operator.in_shape) + math.prod(operator.out_shape)
    return torch.finfo(dtype).eps * math.sqrt(n) * operator.norm_bound.value


def assert_near(actual: Tensor, expected: Tensor, tolerance: float) -> None:
    """Same shape, same dtype, and a difference whose 2-norm is at most the tolerance."""
    assert actual.shape == expected.shape
    assert actual.dtype == expected.dtype
    difference = norm(actual - expected)
    assert difference <= tolerance, f"off by {difference:.3g}, allowed {tolerance:.3g}"


def assert_each_near(a: Tensor, b: Tensor, roundings: float = 100) -> None:
    """Item by item: a difference of so many roundings, relative to the size of the item."""
    assert a.shape == b.shape
    assert a.dtype == b.dtype
    for one, other in zip(a.detach(), b.detach(), strict=True):
        off = (one - other).abs().max().item() if one.numel() else 0.0
        allowed = roundings * torch.finfo(a.dtype).eps * other.abs().max().item() if other.numel() else 0.0
        assert off <= allowed, f"off by {off:.3g}, allowed {allowed:.3g}"


def assert_refuses(call: Callable[[], Any], *words: str) -> BadInput:
    """The call raises BadInput with three parts, phrases without a full stop, that hold the given words."""
    with pytest.raises(BadInput) as caught:
        call()
    error = caught.value
    for part in (error.needed, error.got, error.do):
        assert part
        assert not part.endswith(".")
        assert part in str(error)
    for word in words:
        assert word in str(error)
    return error


# --- algebra


def assert_adjoint(operator: LinearOperator, probe: Probe) -> None:
    r"""|<Ax, y> - <x, A*y>| is rounding, in units of ||A|| ||x|| ||y|| (so a scale cannot hide an error)."""
    x, y = probe.x(operator), probe.y(operator)
    forth, back = operator(x), operator.adjoint(y)
    assert forth.shape == y.shape
    assert back.shape == x.shape
    left = torch.vdot(double(y).flatten(), double(forth).flatten())
    right = torch.vdot(double(back).flatten(), double(x).flatten())
    allowed = ROUNDINGS * units(operator, probe.dtype) * norm(x) * norm(y)
    assert (left - right).abs().item() <= allowed
    # The adjoint as an operator is the same map.
    assert operator.H(y).equal(back)
    assert operator.H.adjoint(x).equal(forth)


def assert_linear(operator: LinearOperator, probe: Probe) -> None:
    """A(ax + by) = a Ax + b Ay, forth and back, complex factors where numbers are complex."""
    for apply, draw in ((operator, probe.x), (operator.adjoint, probe.y)):
        u, v = draw(operator, 1), draw(operator, 2)
        a, b = (0.6 - 0.8j, -1.5 + 0.5j) if u.is_complex() else (0.6, -1.5)
        size = norm(u) + norm(v)
        allowed = 4 * ROUNDINGS * units(operator, probe.dtype) * size
        assert_near(apply(a * u + b * v), a * apply(u) + b * apply(v), allowed)


def assert_matches_dense(operator: LinearOperator, dense: Tensor, probe: Probe) -> None:
    """A is this matrix, and A* its conjugate transpose."""
    dense = dense.to(torch.complex128)
    assert dense.shape == (math.prod(operator.out_shape), math.prod(operator.in_shape))
    x, y = probe.x(operator), probe.y(operator)
    d_in, d_out = len(operator.in_shape), len(operator.out_shape)
    unit = ROUNDINGS * units(operator, probe.dtype)
    wide = double(x).flatten(-d_in) @ dense.mT
    assert_near(double(operator(x)).flatten(-d_out), wide, unit * norm(x))
    narrow = double(y).flatten(-d_out) @ dense.conj()
    if not operator.adjoint(y).is_complex():
        narrow = narrow.real.to(torch.complex128)
    assert_near(double(operator.adjoint(y)).flatten(-d_in), narrow, unit * norm(y))


def assert_isometry(operator: LinearOperator, probe: Probe) -> None:
    """W*W = I: norms are kept and the adjoint undoes."""
    x = probe.x(operator)
    c = operator(x)
    allowed = ROUNDINGS * units(operator, probe.dtype) * norm(x) + FILTER_TABLE * norm(x)
    assert abs(norm(c) - norm(x)) <= allowed
    assert_near(operator.adjoint(c), x.to(c.dtype), allowed)


# --- norms


def assert_norm_bound(operator: LinearOperator, dense: Tensor) -> None:
    """The bound is at least the largest singular value; 1e-12 is for the rounding of the SVD itself, nothing else.

    An exact one is no larger either.
    """
    bound, size = operator.norm_bound, largest_singular_value(dense)
    assert bound.value >= size * (1 - 1e-12), f"{bound} is below the norm {size!r}"
    assert bound.why
    if bound.kind == "exact":
        assert bound.value <= size * (1 + 1e-10), f"{bound} is not the norm {size!r}"


# --- derivatives


def assert_vjp_is_adjoint(operator: LinearOperator, probe: Probe) -> None:
    """Backward through A is A*, for real x its real part; backward through that is A again."""
    x, y = probe.x(operator).requires_grad_(), probe.y(operator).requires_grad_()
    (gradient,) = torch.autograd.grad(operator(x), x, y, create_graph=True)
    back = operator.adjoint(y).detach()
    back = back.real if back.is_complex() and not x.is_complex() else back
    unit = ROUNDINGS * units(operator, probe.dtype)
    assert_near(gradient.detach(), back, unit * norm(y.detach()))
    u = probe.x(operator, 3)
    (again,) = torch.autograd.grad(gradient, y, u)
    forth = operator(u)
    assert_near(again, forth if again.is_complex() else forth.real, unit * norm(u))


def assert_jvp_is_forward(operator: LinearOperator, probe: Probe) -> None:
    """The directional derivative of A at x along t is At, in both of torch's forward modes."""
    x, t = probe.x(operator), probe.x(operator, 4)
    expected, allowed = operator(t), ROUNDINGS * units(operator, probe.dtype) * norm(t)
    with warnings.catch_warnings(), forward_ad.dual_level():
        warnings.filterwarnings("ignore", message=".*jit.script.*")  # torch's own, at the first use
        dual = forward_ad.unpack_dual(operator(forward_ad.make_dual(x, t)))
        assert dual.tangent is not None
        assert_near(dual.tangent, expected, allowed)
    pair: Any = torch.func.jvp(operator, (x,), (t,))
    value, tangent = pair
    assert_near(value, operator(x), ROUNDINGS * units(operator, probe.dtype) * norm(x))
    assert_near(tangent, expected, allowed)


# --- manners


def assert_pure(operator: LinearOperator, probe: Probe) -> None:
    """Inputs, buffers and the global random states are what they were, also when the caller writes into the result.

    The same question has the same answer.
    """
    x, y = probe.x(operator), probe.y(operator)
    kept = [t.clone() for t in (x, y)]
    versions = [t._version for t in (x, y)]
    buffers = {name: t.clone() for name, t in operator.named_buffers()}
    states = random_states()
    first = operator(x), operator.adjoint(y), operator.restrict(y)
    second = operator(x), operator.adjoint(y), operator.restrict(y)
    assert random_states() == states
    for t, before, version in zip((x, y), kept, versions, strict=True):
        assert t.equal(before)
        assert t._version == version
    for name, t in operator.named_buffers():
        assert t.equal(buffers[name])
    for a, b in zip(first, second, strict=True):
        assert a.equal(b)
    operator(x).fill_(7)
    operator.adjoint(y).fill_(7)
    for t, before in zip((x, y), kept, strict=True):
        assert t.equal(before)


def random_states() -> tuple[Any, ...]:
    """The global states of torch, numpy and Python, to be compared."""
    legacy: Any = np.random.get_state()  # noqa: NPY002  (it is the global state that must not move)
    return torch.get_rng_state().numpy().tobytes(), legacy[1].tobytes(), legacy[2:], random.getstate()


def assert_batch_is_loop(operator: LinearOperator, probe: Probe) -> None:
    """Every leading axis is batch: each item as if it came alone, also none at all, and the dtype no other."""
    for apply, draw, shape in (
        (operator, probe.x, operator.out_shape),
        (operator.adjoint, probe.y, operator.in_shape),
    ):
        many = draw(operator)
        result = apply(many)
        assert result.shape == (*probe.batch, *shape)
        single = Probe(probe.dtype, (), probe.layout, probe.seed)
        assert result.dtype == apply(single.x(operator) if apply is operator else single.y(operator)).dtype
        for index in np.ndindex(*probe.batch):
            alone = many[index]
            # Both are roundings of one exact result: kernels add in another order where there is more to do at once.
            allowed = 2 * ROUNDINGS * units(operator, probe.dtype) * norm(alone)
            assert_near(result[index], apply(alone), allowed)


def assert_restricts(operator: LinearOperator, probe: Probe) -> None:
    """What the operator gives survives ``restrict`` unchanged, and the adjoint does not see what restrict removes."""
    x, y = probe.x(operator), probe.y(operator)
    forth, inside = operator(x), operator.restrict(y)
    assert operator.restrict(forth).equal(forth)
    assert inside.shape == y.shape
    assert inside.dtype == y.dtype
    assert operator.restrict(inside).equal(inside)
    allowed = ROUNDINGS * units(operator, probe.dtype) * norm(y)
    assert_near(operator.adjoint(inside), operator.adjoint(y), allowed)


def assert_state_dtype(operator: LinearOperator, probe: Probe) -> None:
    """``state_dtype`` foretells the dtype of A*y for every y that A* takes, and of Ax."""
    assert operator.state_dtype(probe.dtype) == operator(probe.x(operator)).dtype
    taken = 0
    for dtype in DTYPES:
        try:
            back = operator.adjoint(probe.draw(operator.out_shape, dtype=dtype))
        except BadInput:
            continue
        assert operator.state_dtype(dtype) == back.dtype
        taken += 1
    assert taken


def assert_survives(operator: LinearOperator, probe: Probe) -> None:
    """A copy, a pickle and a state dict taken from the operator, used before or not, are the operator again."""
    x, y = probe.x(operator), probe.y(operator)
    forth, back = operator(x), operator.adjoint(y)
    fresh = copy.deepcopy(operator)
    missing = fresh.load_state_dict(operator.state_dict(), strict=True)
    assert not missing.missing_keys
    assert not missing.unexpected_keys
    for again in (fresh, copy.deepcopy(operator), pickle.loads(pickle.dumps(operator))):
        assert type(again) is type(operator)
        assert (again.in_shape, again.out_shape) == (operator.in_shape, operator.out_shape)
        assert again.norm_bound == operator.norm_bound
        assert again(x).equal(forth)
        assert again.adjoint(y).equal(back)


def assert_moves(operator: LinearOperator, dense: Tensor, probe: Probe) -> None:
    """Cast to any dtype, complex buffers stay complex and real ones real; entries are rounded; the bound still bounds.

    ``dense`` is the matrix before the cast.
    """
    for target in DTYPES:
        moved = _cast(operator, target)
        for (name, before), (_, after) in zip(_buffers(operator), _buffers(moved), strict=True):
            assert after.is_complex() == before.is_complex(), f"{name} lost or gained an imaginary part"
            if before.is_floating_point() or before.is_complex():
                assert after.dtype.to_real() == target.to_real()
            else:
                assert after.equal(before)
        there = Probe(target.to_complex(), probe.batch, probe.layout, probe.seed)
        x = there.x(moved)
        expected = double(x).flatten(-len(moved.in_shape)) @ dense.to(torch.complex128).mT
        rounding = torch.finfo(target).eps + max((torch.finfo(t.dtype).eps for t in _floats(operator)), default=0.0)
        allowed = ROUNDINGS * math.sqrt(math.prod(dense.shape)) * rounding * operator.norm_bound.value * norm(x)
        assert_near(double(moved(x)).flatten(-len(moved.out_shape)), expected, allowed)
        # Back in double precision the entries are exactly those of the moved operator.
        rounded = columns(_cast(moved, torch.complex128), torch.complex128)
        size = largest_singular_value(rounded)
        assert moved.norm_bound.value >= size * (1 - 1e-12), f"{moved.norm_bound} after a cast to {target}: {size!r}"


def assert_loads(operator: LinearOperator, other: LinearOperator, probe: Probe) -> None:
    """The state dict of one operator makes another of the same kind equal to it, also one that has been used."""
    target = copy.deepcopy(other)
    x, y = probe.x(operator), probe.y(operator)
    _ = target(x), target.adjoint(y), target.restrict(y)
    target.load_state_dict(operator.state_dict())
    assert target(x).equal(operator(x))
    assert target.adjoint(y).equal(operator.adjoint(y))
    assert target.restrict(y).equal(operator.restrict(y))
    size = largest_singular_value(columns(_cast(target, torch.complex128), torch.complex128))
    assert target.norm_bound.value >= size * (1 - 1e-12), f"{target.norm_bound} after loading a norm of {size!r}"


def _cast(operator: LinearOperator, dtype: torch.dtype) -> LinearOperator:
    """A copy in another dtype."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Complex modules")  # torch says that they are new
        return copy.deepcopy(operator).to(dtype)


def _buffers(operator: LinearOperator) -> list[tuple[str, Tensor]]:
    return list(operator.named_buffers(remove_duplicate=False))


def _floats(operator: LinearOperator) -> list[Tensor]:
    return [t for t in operator.buffers() if t.is_floating_point() or t.is_complex()]


def columns(operator: LinearOperator, dtype: torch.dtype) -> Tensor:
    """The matrix of an operator, column by column, with tensors of this dtype."""
    n = math.prod(operator.in_shape)
    return operator(torch.eye(n, dtype=dtype).reshape(n, *operator.in_shape)).reshape(n, -1).mT


def assert_modes(operator: LinearOperator, probe: Probe) -> None:
    """First used without gradients and in inference mode, it is the same map and differentiable all the same."""
    for quiet in (torch.no_grad, torch.inference_mode):
        used, other = copy.deepcopy(operator), copy.deepcopy(operator)
        x, y = probe.x(other), probe.y(other)
        with quiet():
            assert used(x).equal(other(x))
            assert used.adjoint(y).equal(other.adjoint(y))
        assert_vjp_is_adjoint(used, probe)


# --- references


def kron(*factors: NDArray[Any]) -> NDArray[Any]:
    """The matrix that acts on the flattened axes, one factor an axis."""
    result: NDArray[Any] = np.ones((1, 1))
    for factor in factors:
        result = np.kron(result, factor)
    return result


# What every operator obeys, whatever it is.
LAWS = (
    assert_adjoint,
    assert_linear,
    assert_vjp_is_adjoint,
    assert_jvp_is_forward,
    assert_pure,
    assert_batch_is_loop,
    assert_restricts,
    assert_state_dtype,
    assert_survives,
    assert_modes,
)


# Those that cost little, for examples by the hundred.
CHEAP_LAWS = (
    assert_adjoint,
    assert_linear,
    assert_batch_is_loop,
    assert_pure,
    assert_restricts,
    assert_state_dtype,
    assert_survives,
    assert_vjp_is_adjoint,
)


# --- layers


def rounding_of_layers(
    layers: int,
    operator: LinearOperator,
    dtype: torch.dtype,
    *,
    tau: Any,
    sigma: Any,
    x: Any,
    q: Any,
    y: Any,
    rho: Any = 1.0,
) -> dict[str, Any]:
    """How far two runs of the same layers may be apart, in the 2-norm: numbers, or one a batch item.

    A layer rounds :math:`x-\\tau A^*q` and :math:`q+\\sigma(A(2\\tilde x-x)-y)`, each to ``ROUNDINGS`` units of the
    terms that it adds. What it then does is nonexpansive, shrink and clip alone and, for
    :math:`\\tau\\sigma\\|A\\|^2\\le1`, all of it in the norm of :math:`\\|x\\|^2/\\tau-2\\langle
    Ax,q\\rangle+\\|q\\|^2/\\sigma`, which is at most twice, and in what the next layer makes of it at least half of,
    :math:`\\|x\\|^2/\\tau+\\|q\\|^2/\\sigma`. So errors add, and :math:`\\sqrt{\\tau/\\sigma}` turns those of q into
    those of x. Relaxed, those of all layers before come in with a geometric series of :math:`|1-\\rho|`.

    Args:
        layers: Since they were the same.
        operator: Its size and its norm.
        dtype: Of the state.
        tau: Steps, with ``sigma`` and the relaxation ``rho``.
        x: The largest 2-norm of x on the way, likewise of ``q`` and of the data ``y``.
    """
    size = operator.norm_bound.value
    unit = ROUNDINGS * units(operator, dtype) / size
    descent, ascent = unit * (x + tau * size * q), unit * (q + sigma * (3 * size * x + y))
    balance = (tau / sigma) ** 0.5
    series = rho / (1 - abs(1 - rho))
    of_x = 2 * 2 * layers * series * (descent + balance * ascent)
    of_q = 2 * 2 * layers * series * (ascent + descent / balance)
    # In single precision Ax is the sum of what A gave for the changes, one rounding a layer.
    return {
        "x": of_x,
        "q": of_q,
        "measured": size * (of_x + 2 * layers * unit * x),
        "back": size * (of_q + 2 * unit * q),
    }
