"""theorem.explicit and theorem.maps: the list of layers against the loop, a second implementation, and formulas."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from firenet.errors import BadInput
from firenet.network import Firenet
from firenet.operators.matrix import Matrix
from firenet.operators.norm_bound import NormBound
from firenet.sensing.fourier import SubsampledFourier
from firenet.sensing.walsh import SubsampledWalsh
from firenet.solver.adaptive import AdaptiveRestarts
from firenet.solver.schedules import FixedSteps, FrozenSteps, PaperSchedule, Run
from firenet.theorem.explicit import ExplicitNetwork, layers
from firenet.transforms.gradient import Gradient
from firenet.transforms.wavelet import Wavelet
from laws import assert_refuses
from oracles import paper_network

Array = NDArray[Any]

# Both sides do the same operations in another order, and errors of an iteration are added, never multiplied (the
# iteration is nonexpansive): 12 numbers, at most 90 iterations of some 50 roundings each are below 1e-12.
SAME = 1e-12


def gaussian(m: int, n: int, *, complex_too: bool = False, norm: float = 1.0, seed: int = 0) -> tuple[Array, Array]:
    """A matrix of the given size and a vector of measurements of norm 1."""
    rng = np.random.default_rng(seed)
    A, y = rng.standard_normal((m, n)), rng.standard_normal(m)
    if complex_too:
        A, y = A + 1j * rng.standard_normal((m, n)), y + 1j * rng.standard_normal(m)
    return norm * A, y / np.linalg.norm(y)


def paper_net(A: Array, *, lam: float = 0.1, weights: Array | None = None, **schedule: Any) -> Firenet:
    arguments = {"outer": 4, "inner": 6, "delta": 1e-6, "nu": 0.4, "size": 1.0 + 1e-13, **schedule}
    return Firenet(Matrix(A), weights=weights, lam=lam, schedule=PaperSchedule(**arguments))


WEIGHTS = np.random.default_rng(5).uniform(0.2, 5, 8)
CASES: dict[str, tuple[tuple[Array, Array], dict[str, Any]]] = {
    "real": (gaussian(5, 8), {}),
    "complex": (gaussian(5, 8, complex_too=True), {}),
    "weighted": (gaussian(5, 8), {"weights": WEIGHTS}),
    "complex and weighted": (gaussian(5, 8, complex_too=True), {"weights": WEIGHTS}),
    "real matrix, complex data": ((gaussian(5, 8)[0], gaussian(5, 8, complex_too=True)[1]), {}),
    "complex matrix, real data": ((gaussian(5, 8, complex_too=True)[0], gaussian(5, 8)[1]), {}),
    "small norm": (gaussian(5, 8, norm=1e-3), {"lam": 1e-4}),
    "large norm": (gaussian(5, 8, norm=1e3), {"lam": 30.0}),
    "a restart": (gaussian(5, 8), {"outer": 1, "inner": 20}),
    "short restarts": (gaussian(5, 8), {"outer": 9, "inner": 2}),
    "ten restarts": (gaussian(5, 8), {"outer": 10, "inner": 9}),
    "a large bound": (gaussian(5, 8), {"size": 30.0, "outer": 8}),
    "large lambda": (gaussian(5, 8), {"lam": 50.0}),
    "more rows than columns": (gaussian(8, 5), {}),
    "one by one": (gaussian(1, 1), {}),
}
cases = pytest.mark.parametrize(("data", "arguments"), CASES.values(), ids=CASES)


@cases
def test_equals_the_loop(data: tuple[Array, Array], arguments: dict[str, Any]):
    A, y = data
    net = paper_net(A, **arguments)
    image = net(y)
    assert (layers(net)(y) - image).norm() <= SAME * image.norm()
    assert layers(net)(y).dtype == image.dtype
    if arguments.get("lam") != 50.0:
        assert image.norm() > 0
    half = net(y / 2)  # the same network for data that are smaller than its bound
    assert (layers(net)(y / 2) - half).norm() <= SAME * image.norm()


@cases
def test_equals_the_paper(data: tuple[Array, Array], arguments: dict[str, Any]):
    """Against the algorithm as the paper has it, in another implementation: data are rescaled, norm of y known."""
    A, y = data
    net = paper_net(A, **{**arguments, "size": float(np.linalg.norm(y))})
    schedule = net.schedule
    assert isinstance(schedule, PaperSchedule)
    weights = np.ones(A.shape[1]) if net.weights is None else net.weights.numpy()
    expected = paper_network(
        A, y, weights, net.lam, schedule.outer, schedule.inner, schedule.delta, schedule.nu,
        norm=net.operator.norm_bound.value,
    )  # fmt: skip
    assert np.linalg.norm(layers(net)(y).numpy() - expected) <= SAME * max(float(np.linalg.norm(expected)), 1e-300)


@cases
def test_widths_and_counts_are_those_of_the_theorem(data: tuple[Array, Array], arguments: dict[str, Any]):
    A, _ = data
    net = paper_net(A, **arguments)
    schedule = net.schedule
    assert isinstance(schedule, PaperSchedule)
    network, (m, n), np_ = layers(net), A.shape, schedule.layers
    assert network.widths == (m, *(2 * n + m, 2 * (n + m), 2 * n + m + 1) * np_, n)
    assert len(network.blocks) == 3 * np_ + 1
    assert max(network.widths) <= 2 * (n + m) or n + m == 2
    first, second, third = network.nonlinearities
    assert (first.kind, first.first, first.last) == ("threshold", 0, n)
    assert (second.kind, second.first, second.last) == ("squares", 2 * n + m, 2 * (n + m))
    assert (third.kind, third.first, third.last) == ("gate", 1, m + 1)
    assert [block.nonlinearity for block in network.blocks] == [first, second, third] * np_ + [None]
    widths = network.widths
    entries = sum(after * (before + m + 1) for before, after in pairwise(widths))
    assert network.parameters == entries
    for block, (before, after) in zip(network.blocks, pairwise(widths), strict=True):
        assert block.affine.W.shape == (after, before)
        assert block.affine.R.shape == (after, m)
        assert block.affine.c.tolist() == [0.0] * after


def test_each_matrix_is_stored_once():
    """n + 4 matrices W and n + 4 matrices R, however many iterations there are."""
    A, _ = gaussian(5, 8)
    few, many = (layers(paper_net(A, outer=7, inner=inner)) for inner in (2, 40))
    assert len(few.matrices) == len(many.matrices)
    W = {id(block.affine.W) for block in many.blocks}
    R = {id(block.affine.R) for block in many.blocks}
    assert len(W) == 7 + 4
    assert len(R) == 7 + 4  # one for each restart, and zero for four widths
    assert len({id(block) for block in many.blocks}) == 7 + 6 + 4  # first maps, restarts but the first, and the others


def test_the_matrices_are_those_of_the_theorem():
    """A = (3, 4), weights 2 and 1/2, steps 1/5, two restarts of two iterations with scales 1.25 and 0.725."""
    operator = Matrix([[3.0, 4.0]])
    operator.norm_bound = NormBound(5.0, "exact", "by hand")
    schedule = PaperSchedule(2, 2, delta=1.0, nu=0.5, size=11.5)  # accuracies 6.25 and 3.625
    net = Firenet(operator, weights=[2.0, 0.5], lam=0.25, schedule=schedule)
    first, squares, gate, inside, _, _, restart, *_, last = (block.affine for block in layers(net).blocks)
    c, d = 6.25 / 5, 3.625 / 5
    assert first.W.tolist() == [[0], [0], [0], [0], [pytest.approx(-0.2 / c)]]
    assert not first.R.any()
    # h = (x, sum, v): D x, sum + D x, u, u with u = v + (2/5) (3, 4) D x
    expected = [[2, 0, 0, 0, 0], [0, 0.5, 0, 0, 0], [2, 0, 1, 0, 0], [0, 0.5, 0, 1, 0], *[[2.4, 0.8, 0, 0, 1]] * 2]
    np.testing.assert_allclose(squares.W, expected, rtol=1e-15)
    # h = (x, sum, u, squares): sum of the squares, u, x, sum
    assert gate.W.nonzero().tolist() == [[0, 5], [1, 4], [2, 0], [3, 1], [4, 2], [5, 3]]
    assert set(gate.W.flatten().tolist()) == {0.0, 1.0}
    # h = (0, q, x, sum): D^-1 (x - A* q / 5), sum, q - A x / 5
    expected = [
        [0, -0.3, 0.5, 0, 0, 0],
        [0, -1.6, 0, 2, 0, 0],
        [0, 0, 0, 0, 1, 0],
        [0, 0, 0, 0, 0, 1],
        [0, 1, -0.6, -0.8, 0, 0],
    ]
    np.testing.assert_allclose(inside.W, expected, rtol=1e-15)
    np.testing.assert_allclose(inside.R, [[0], [0], [0], [0], [-0.2 / c]], rtol=1e-15)
    # the average in the next scale, sum zero, q zero
    r = c / d / 2
    expected = np.zeros((5, 6))
    expected[0, 4], expected[1, 5], expected[4, 4:] = r / 2, 2 * r, (-0.6 * r, -0.8 * r)
    np.testing.assert_allclose(restart.W, expected, rtol=1e-15)
    np.testing.assert_allclose(restart.R, [[0], [0], [0], [0], [-0.2 / d]], rtol=1e-15)
    np.testing.assert_allclose(last.W, [[0, 0, 0, 0, d / 2, 0], [0, 0, 0, 0, 0, d / 2]], rtol=1e-15)
    assert [rho.threshold for rho in layers(net).nonlinearities] == [0.05, None, None]


def test_the_nonlinear_maps():
    threshold, squares, gate = layers(paper_net(gaussian(2, 2)[0], lam=1.0)).nonlinearities
    assert threshold.threshold is not None
    s = threshold.threshold
    h = torch.tensor([3j * s, 0.5 * s, 7, 7, 7, 7], dtype=torch.complex128)
    torch.testing.assert_close(threshold(h), torch.tensor([2j * s, 0, 7, 7, 7, 7], dtype=torch.complex128))
    h = torch.tensor([1, 2, 3, 4, 5, 6, 3 + 4j, -2j], dtype=torch.complex128)
    assert squares(h).tolist() == [1, 2, 3, 4, 5, 6, 25, 4]
    for size, factor in ((0.0, 1.0), (0.5, 1.0), (1.0, 1.0), (4.0, 0.5)):
        assert gate(torch.tensor([size, 2.0, -6.0, 1.0, 1.0])).tolist() == [0.0, 2 * factor, -6 * factor, 1.0, 1.0]


@pytest.mark.parametrize("omega", [0.05, 3.0])
def test_a_single_run_of_fixed_steps(omega: float):
    A, y = gaussian(5, 8, complex_too=True)
    net = Firenet(Matrix(A), lam=0.1, schedule=FixedSteps(30, omega))
    network = layers(net)
    assert len(network.blocks) == 91
    assert (network(y) - net(y)).norm() <= SAME * net(y).norm()


def test_images_and_batches():
    """Only the entries that are measured count, and the image of a network with a transform is W* of its output."""
    mask = torch.zeros(4, 4, dtype=torch.bool)
    mask[[0, 0, 1, 2, 3], [0, 1, 3, 2, 0]] = True
    for operator, wavelet in (
        (SubsampledFourier(mask), Wavelet((4, 4), "haar")),
        (SubsampledWalsh(mask), Wavelet((4, 4), "haar")),
        (SubsampledFourier(mask), None),
    ):
        net = Firenet(operator, wavelet, lam=0.02, form="synthesis", schedule=PaperSchedule(3, 5, size=8.0))
        images = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 3, 4, 4)))
        y = operator(images.to(torch.complex128) if isinstance(operator, SubsampledFourier) else images)
        network = layers(net)
        assert isinstance(network, ExplicitNetwork)
        assert network.widths[0] == 5
        assert network.widths[-1] == 16
        found = network(y + (~mask).to(y.dtype))  # what is not measured is ignored
        found = found if wavelet is None else wavelet.adjoint(found)
        assert found.shape == (2, 3, 4, 4)
        assert (found - net(y)).norm() <= SAME * net(y).norm()


def test_zero():
    A, y = gaussian(3, 4)
    assert layers(paper_net(A))(0 * y).tolist() == [0.0] * 4
    nothing = paper_net(0 * A)
    assert layers(nothing)(y).tolist() == nothing(y).tolist() == [0.0] * 4


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "the steps of each y": ({"schedule": PaperSchedule(2, 3)}, "depend on the norm of y"),
    "a step of each y": ({"schedule": FixedSteps(5)}, "depends on the norm of y"),
    "frozen steps": ({"schedule": FrozenSteps((Run(1.0, 1.0, 3),))}, "relaxed or keep the dual point"),
    "a search": ({"schedule": AdaptiveRestarts()}, "relaxed or keep the dual point"),
    "the last point": ({"iterate": "last"}, "iterate='last'"),
    "the best point": ({"iterate": "best"}, "iterate='best'"),
    "P2": ({"fidelity": "squared"}, "Squared, synthesis form"),
    "P1": ({"noise": 0.1}, "Ball, synthesis form"),
}


@pytest.mark.parametrize(("arguments", "words"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_network_of_the_theorem_is_refused(arguments: dict[str, Any], words: str):
    arguments = {"schedule": PaperSchedule(2, 3, size=1.0), "lam": 0.1, **arguments}
    assert_refuses(lambda: layers(Firenet(Matrix(gaussian(3, 4)[0]), **arguments)), words)


def test_the_analysis_form_and_large_matrices_are_refused():
    schedule = PaperSchedule(2, 3, size=1.0)
    mask = torch.ones(4, 4, dtype=torch.bool)
    analysis = Firenet(SubsampledFourier(mask), Gradient((4, 4)), lam=0.1, schedule=schedule)
    assert_refuses(lambda: layers(analysis), "Norm, analysis form")
    large = Firenet(Matrix(np.ones((1, 1024))), lam=0.1, schedule=schedule)
    assert_refuses(lambda: layers(large), "1025", "without matrices")


def test_measurements_of_another_shape_are_refused():
    network = layers(paper_net(gaussian(3, 4)[0]))
    with pytest.raises(BadInput, match=r"trailing shape \(3,\)"):
        network(np.ones(4))
    with pytest.raises(BadInput, match="trailing shape"):
        network(torch.tensor(math.pi))
