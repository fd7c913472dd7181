"""Compact operators: other coordinates, the same map. Every operator of the other files, wavelets of every depth."""

from __future__ import annotations

import copy
import itertools
import math
import pickle
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, strategies as st
from torch import Tensor

from algebra_cases import MORE
from cases import OPERATORS, SENSING, Shape, coil_maps, product_case, size, some, synthesis_case, walsh_case
from draws import normal, uniform
from firenet import Firenet
from firenet.operators.algebra import Composition
from firenet.operators.compact import Compact
from firenet.operators.linear import LinearOperator
from firenet.operators.matrix import Matrix
from firenet.operators.stack import VerticalStack
from firenet.problems.synthesis import SynthesisProblem
from firenet.sensing.fourier import MultiCoilFourier, SubsampledFourier
from firenet.sensing.fourier_wavelet import FourierOfWavelet
from firenet.sensing.walsh import SubsampledWalsh
from firenet.solver import FixedSteps
from firenet.transforms.wavelet import Wavelet
from laws import (
    COMPLEX,
    DTYPES,
    ROUNDINGS,
    Case,
    Probe,
    any_probe,
    assert_adjoint,
    assert_batch_is_loop,
    assert_jvp_is_forward,
    assert_linear,
    assert_matches_dense,
    assert_near,
    assert_pure,
    assert_vjp_is_adjoint,
    named,
    norm,
    units,
)

FOLDED = [
    synthesis_case((2,), "haar", 1),
    synthesis_case((16,), "db3", 3),
    synthesis_case((12, 4), "haar", 2),
    synthesis_case((8, 8), "db2", 3),
    synthesis_case((1, 8), "haar", 0),
    synthesis_case((8, 8, 8), "haar", 1),
    synthesis_case((4, 8, 8), "db2", 2),
    synthesis_case((8, 16), "coif1", 3),
    # Above the dense corner: with it and without.
    synthesis_case((512,), "haar", 1),
    synthesis_case((512,), "db2", 3),
    synthesis_case((32, 16), "sym3", 1),
    synthesis_case((24, 32), "haar", 2),
    product_case(synthesis_case((32, 16), "haar", 1), walsh_case((32, 16))),
]
CASES = [*SENSING, *OPERATORS, *MORE, *FOLDED]


class Packed(LinearOperator):
    """A compact operator with as many batch axes as one likes, so that the laws can be asked of it."""

    def __init__(self, operator: LinearOperator) -> None:
        self.compact_ = operator.compact()
        super().__init__(self.compact_.in_shape, self.compact_.out_shape, operator.norm_bound)

    def _forward(self, x: Tensor) -> Tensor:
        batch = x.shape[: x.ndim - len(self.in_shape)]
        return self.compact_(x.reshape(math.prod(batch), *self.in_shape)).view(*batch, *self.out_shape)

    def _adjoint(self, y: Tensor) -> Tensor:
        batch = y.shape[: y.ndim - len(self.out_shape)]
        return self.compact_.adjoint(y.reshape(math.prod(batch), *self.out_shape)).view(*batch, *self.in_shape)


def states(case: Case) -> list[tuple[torch.dtype, torch.dtype]]:
    """The dtypes of coefficients and measurements that a loop has, for each precision."""
    found = []
    for dtype in case.dtypes:
        operator = case.make(dtype)
        state = operator.state_dtype(dtype)
        measured = operator(torch.zeros(operator.in_shape, dtype=state)).dtype
        if operator.state_dtype(measured) == state and (state, measured) not in found:
            found.append((state, measured))
    return found


def order(pack: Callable[[Tensor], Tensor], shape: Shape) -> Tensor:
    """Which numbers of the usual coordinates the packed ones are."""
    numbers = torch.arange(math.prod(shape), dtype=torch.float64).view(1, *shape)
    return pack(numbers).flatten().long()


def packed_dense(operator: LinearOperator, dense: Tensor) -> Tensor:
    compact = operator.compact()
    rows, columns = order(compact.pack_measured, operator.out_shape), order(compact.pack, operator.in_shape)
    return dense.to(torch.complex128)[rows][:, columns]


# -------------------------------------------------------------------------------------------------------- the laws


COMPACT_LAWS = (
    assert_adjoint,
    assert_linear,
    assert_vjp_is_adjoint,
    assert_jvp_is_forward,
    assert_pure,
    assert_batch_is_loop,
)


@pytest.mark.parametrize("case", CASES, ids=named)
def test_a_compact_operator_obeys_the_laws(case: Case) -> None:
    for k, (dtype, _) in enumerate(states(case)):
        for j, law in enumerate(COMPACT_LAWS):
            if torch.finfo(dtype).bits == 32 and j % 3:
                continue
            batch = ((3,), (), (1,), (2, 2))[(j + k) % 4]
            layout = ("contiguous", "lazy", "transposed", "stepped", "expanded")[(j + 2 * k) % 5]
            law(Packed(case.make(dtype)), Probe(dtype, batch, layout, seed=j))


@pytest.mark.parametrize("case", CASES, ids=named)
def test_a_compact_operator_is_the_matrix_in_other_coordinates(case: Case) -> None:
    for dtype, _ in states(case):
        operator = case.make(dtype)
        assert_matches_dense(Packed(operator), packed_dense(operator, case.dense(dtype)), Probe(dtype, (3,), seed=1))


@pytest.mark.parametrize("case", CASES, ids=named)
def test_there_and_back(case: Case) -> None:
    """pack and unpack are inverse isometries, and between them lies the operator itself."""
    for (dtype, measured), batch in itertools.product(states(case), (0, 1, 3)):
        operator = case.make(dtype)
        compact = operator.compact()
        probe = Probe(dtype, (batch,), seed=batch)
        x, other = probe.x(operator), probe.x(operator, 3)
        y, second = (operator.restrict(probe.draw(operator.out_shape, dtype=measured, salt=s)) for s in (4, 5))
        for full, partner, shape, pack, unpack in (
            (x, other, compact.in_shape, compact.pack, compact.unpack),
            (y, second, compact.out_shape, compact.pack_measured, compact.unpack_measured),
        ):
            packed = pack(full)
            assert packed.shape == (batch, *shape)
            assert packed.dtype == full.dtype
            assert unpack(packed).equal(full)
            # Inner products are kept, not only norms.
            left, right = (torch.vdot(a.flatten(), b.flatten()) for a, b in ((full, partner), (packed, pack(partner))))
            allowed = torch.finfo(dtype).eps * ROUNDINGS * norm(full) * norm(partner)
            assert (left - right).abs().item() <= allowed
            drawn = probe.draw(shape, dtype=full.dtype, salt=6)
            assert pack(unpack(drawn)).equal(drawn)
            assert abs(norm(unpack(drawn)) - norm(drawn)) <= 1e-12 * norm(drawn)
        unit = ROUNDINGS * units(operator, dtype)
        assert_near(compact.unpack_measured(compact(compact.pack(x))), operator(x), unit * norm(x))
        assert_near(compact.unpack(compact.adjoint(compact.pack_measured(y))), operator.adjoint(y), unit * norm(y))


@pytest.mark.parametrize("case", [case for case in CASES if "times 0" not in case.name], ids=named)
def test_packed_measurements_are_those_that_were_made(case: Case) -> None:
    """What a mask leaves out is no part of them: no column for it, and nothing comes back from it."""
    operator = case.make(torch.complex128)
    if not isinstance(operator, FourierOfWavelet | SubsampledFourier | SubsampledWalsh | MultiCoilFourier):
        return
    compact = operator.compact()
    samples = int(operator.mask.sum())
    assert compact.out_shape == (*operator.out_shape[: -operator.mask.ndim], samples)
    for dtype in DTYPES:  # measurements that hold something off the mask
        y = Probe(dtype, (2,)).draw(operator.out_shape)
        assert compact.unpack_measured(compact.pack_measured(y)).equal(operator.restrict(y))


@pytest.mark.parametrize("case", [*SENSING, *FOLDED, *OPERATORS[-6:]], ids=named)
def test_weights_are_packed_as_coefficients_are(case: Case) -> None:
    operator = case.make(torch.float64)
    weights = uniform(operator.in_shape, seed=0, dtype=torch.float64) + 0.1
    for w in (weights, weights.float(), weights[..., :1], weights.flatten()[0], None):
        problem = SynthesisProblem(operator, w, 0.1)
        compact = problem.compact()
        assert isinstance(compact.operator, Compact)
        assert compact.lam == 0.1
        if w is None:
            assert compact.weights is None
            continue
        assert compact.weights is not None
        assert compact.weights.dtype == w.dtype
        x = Probe(torch.complex128, (2,)).x(operator)
        torch.testing.assert_close(
            compact.penalty(compact.operator.pack(x)),
            problem.penalty(x),
            rtol=1e-6 if w.dtype == torch.float32 else 1e-13,
            atol=0,
        )


@pytest.mark.parametrize("case", CASES, ids=named)
def test_no_result_is_written_over(case: Case) -> None:
    """Work buffers may be used again, results not; and a result that the caller writes into harms no buffer."""
    for dtype, measured in states(case):
        compact = case.make(dtype).compact()
        probe = Probe(dtype, (2,))
        x, y = probe.draw(compact.in_shape), probe.draw(compact.out_shape, dtype=measured, salt=1)
        forth, back = compact(x), compact.adjoint(y)
        kept = forth.clone(), back.clone()
        _ = compact(2 * x), compact.adjoint(3 * y), compact(x[:1]), compact.adjoint(y[:1])
        assert forth.equal(kept[0])
        assert back.equal(kept[1])
        forth.fill_(math.nan)
        back.fill_(math.nan)
        assert compact(x).equal(kept[0])
        assert compact.adjoint(y).equal(kept[1])


@pytest.mark.parametrize("case", CASES, ids=named)
def test_a_derivative_sees_what_was_there_when_it_was_asked(case: Case) -> None:
    """Many applications in one graph, each through the same buffers: the backward pass mixes none of them up."""
    ((dtype, measured), *_) = [pair for pair in states(case) if torch.finfo(pair[0]).bits == 64]
    operator = case.make(dtype)
    compact = operator.compact()
    x = Probe(dtype, (2,)).draw(compact.in_shape).requires_grad_()
    y = Probe(dtype, (2,)).draw(compact.out_shape, dtype=measured, salt=1)

    def gram(v: Tensor) -> Tensor:
        return compact.adjoint(compact(v))

    (gradient,) = torch.autograd.grad(compact(gram(gram(x))), x, y)
    expected = gram(gram(compact.adjoint(y)))
    unit = 5 * ROUNDINGS * units(operator, dtype) * max(operator.norm_bound.value, 1e-300) ** 4
    assert_near(gradient, expected, unit * norm(y))


@pytest.mark.parametrize("case", [case for case in CASES if " of " in case.name], ids=named)
def test_made_without_gradients_the_caches_serve_with_them(case: Case) -> None:
    """What operators share (filters, dense corners) may have been made in inference mode."""
    for dtype, _ in states(case):
        for quiet in (torch.inference_mode, torch.no_grad):
            with quiet():
                first = Packed(case.make(dtype))
                first.adjoint(first(Probe(dtype, (2,)).x(first)))
            assert_vjp_is_adjoint(Packed(case.make(dtype)), Probe(dtype, (2,)))


def test_scratch_is_a_number_for_each_item() -> None:
    for case in CASES:
        compact = case.make(torch.complex128).compact()
        assert compact.scratch(0) == 0
        assert compact.scratch(3) == 3 * compact.scratch(1) > 0


# ------------------------------------------------------------------------------------------ Fourier of wavelet, folded


SHAPES: list[Shape] = [(2,), (16,), (24,), (8, 8), (4, 16), (12, 20), (8, 4, 4), (4, 12, 8)]


def deepest(shape: Shape) -> int:
    return min((n & -n).bit_length() - 1 for n in shape)


def assert_folds(mask: Tensor, frame: Wavelet, dtype: torch.dtype, batch: int) -> None:
    """The folded operator against the FFT of the wavelet synthesis."""
    plain, folded = Composition(SubsampledFourier(mask), frame.H), SubsampledFourier(mask) @ frame.H
    assert isinstance(folded, FourierOfWavelet)
    compact = folded.compact()
    probe = Probe(dtype, (batch,))
    x, y = probe.x(plain), plain.restrict(probe.draw(plain.out_shape, salt=1))
    unit = ROUNDINGS * units(plain, dtype)
    assert_near(compact.unpack_measured(compact(compact.pack(x))), plain(x), unit * norm(x))
    assert_near(compact.unpack(compact.adjoint(compact.pack_measured(y))), plain.adjoint(y), unit * norm(y))
    assert_near(folded(x), plain(x), unit * norm(x))
    assert_near(folded.adjoint(y), plain.adjoint(y), unit * norm(y))


@pytest.mark.parametrize("dense", [0, 16, 10**6])
@pytest.mark.parametrize("shape", SHAPES, ids=size)
def test_every_depth_with_every_corner(shape: Shape, dense: int, engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The corner that is one matrix: nothing, a part, or all of the coefficients."""
    monkeypatch.setattr("firenet.sensing.fourier_wavelet._DENSE", dense)
    for depth in range(deepest(shape) + 1):
        for k, wavelet in enumerate(("haar", "db2")):
            assert_folds(some(shape), Wavelet(shape, wavelet, depth), COMPLEX[k], batch=(3, 1)[k])


@pytest.mark.parametrize("shape", SHAPES, ids=size)
def test_large_bands_are_transformed_one_by_one(shape: Shape, engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("firenet.sensing.fourier_wavelet._LARGE", 0)
    monkeypatch.setattr("firenet.sensing.fourier_wavelet._DENSE", 0)
    for depth in range(deepest(shape) + 1):
        for k, wavelet in enumerate(("haar", "db2")):
            assert_folds(some(shape), Wavelet(shape, wavelet, depth), COMPLEX[k], batch=(3, 1)[k])


@pytest.mark.parametrize("dtype", COMPLEX)
def test_threads_and_copies_change_no_bit(engine: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what is computed with buffers: with one thread, with several, in a copy, in a copy that was stored."""
    monkeypatch.setattr("firenet.engines._SHARE", 1)
    monkeypatch.setattr("firenet.sensing.fourier_wavelet._DENSE", 0)  # matrix products depend on the threads
    shape, before = (24, 16), torch.get_num_threads()
    operator = (SubsampledFourier(some(shape)) @ Wavelet(shape, "db2", 3).H).compact()
    x, y = Probe(dtype, (2,)).draw(operator.in_shape), Probe(dtype, (2,)).draw(operator.out_shape, salt=1)
    wanted = [operator(x).clone(), operator.adjoint(y).clone()]
    found = []
    try:
        for threads in (2, 3):
            torch.set_num_threads(threads)
            found.append((operator(x).clone(), operator.adjoint(y).clone()))
    finally:
        torch.set_num_threads(before)
    copies = copy.deepcopy(operator), pickle.loads(pickle.dumps(operator))
    found += [(other(x), other.adjoint(y)) for other in copies]
    for mine in found:
        assert all(map(torch.equal, wanted, mine))


@pytest.mark.parametrize("dense", [0, 16, 256])
def test_corners_have_derivatives(dense: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("firenet.sensing.fourier_wavelet._DENSE", dense)
    for shape, depth in (((16,), 2), ((8, 8), 2), ((4, 4, 4), 1)):
        operator = SubsampledFourier(some(shape)) @ Wavelet(shape, "haar", depth).H
        for law in COMPACT_LAWS:
            law(Packed(operator), Probe(torch.complex128, (2,)))


@given(
    sides=st.lists(st.sampled_from([1, 2, 3, 4, 6, 8, 12, 16]), min_size=1, max_size=3),
    wavelet=st.sampled_from(["haar", "db2", "sym4", "coif1"]),
    depth=st.integers(0, 4),
    probe=any_probe(COMPLEX),
)
def test_wavelets_of_any_shape(sides: list[int], wavelet: str, depth: int, probe: Probe) -> None:
    shape = tuple(sides)
    depth = min(depth, min(shape).bit_length() - 1)
    mask = some(shape, probe.seed)
    operator = SubsampledFourier(mask) @ Wavelet(shape, wavelet, depth).H  # padded ones are a composition
    plain, packed = Composition(SubsampledFourier(mask), Wavelet(shape, wavelet, depth).H), Packed(operator)
    x = probe.x(plain)
    flat = x.reshape(-1, *plain.in_shape)
    forth = packed.compact_.unpack_measured(packed(packed.compact_.pack(flat)))
    assert_near(forth.view(*probe.batch, *plain.out_shape), plain(x), ROUNDINGS * units(plain, probe.dtype) * norm(x))
    for law in (assert_adjoint, assert_batch_is_loop, assert_vjp_is_adjoint):
        law(packed, probe)


# ---------------------------------------------------------------------------------------------------- where it is used


def nets() -> dict[str, Callable[[], Firenet]]:
    def net(sensing: LinearOperator, frame: Wavelet | None = None) -> Firenet:
        return Firenet(sensing, frame, lam=0.05, schedule=FixedSteps(12))

    mask = some((8, 8), share=0.6)
    return {
        "folded": lambda: net(SubsampledFourier(mask), Wavelet((8, 8), "haar", 2)),
        "padded": lambda: net(SubsampledFourier(some((7, 9))), Wavelet((7, 9), "haar", 2)),
        "coils": lambda: net(MultiCoilFourier(mask, coil_maps(3, (8, 8))), Wavelet((8, 8), "db2", 1)),
        "Walsh": lambda: net(SubsampledWalsh(mask), Wavelet((8, 8), "haar", 1)),
        "stack": lambda: net(VerticalStack([SubsampledFourier(mask), SubsampledFourier(mask.flip(0))])),
        "matrix of Fourier": lambda: net(
            Matrix(normal(5, 16, dtype=torch.complex128, seed=0)) @ SubsampledFourier(torch.ones(16)),
        ),
    }


@pytest.mark.parametrize("name", nets())
@pytest.mark.parametrize("dtype", COMPLEX, ids=str)
def test_a_network_is_the_same_in_other_coordinates(
    name: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images, objectives, gaps and gradients with the compact operator and with the operator as it is."""
    net = nets()[name]().to(dtype.to_real())
    y = net.sensing.restrict(Probe(dtype, (2,)).draw(net.sensing.out_shape)).requires_grad_()

    def answers() -> list[Tensor]:
        solution, image = net.solve(y.detach()), net(y)
        (gradient,) = torch.autograd.grad(image.abs().sum(), y)
        return [solution.image, solution.coefficients, solution.dual, solution.objective, solution.gap, image, gradient]

    compact = answers()
    monkeypatch.setattr(type(net.operator), "compact", lambda operator: Compact(operator))
    assert type(net.operator.compact()) is Compact
    for a, b in zip(compact, answers(), strict=True):
        assert_near(a.detach(), b.detach(), 1e3 * torch.finfo(dtype).eps * norm(b))
