"""The doors of the library: arrays of other libraries, what is refused, what is said in short, what is saved."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch

import firenet
from firenet import (
    AdaptiveRestarts,
    BadInput,
    Firenet,
    Matrix,
    PaperSchedule,
    Status,
    SubsampledFourier,
    SubsampledWalsh,
    UndecimatedWavelet,
    certify,
)
from firenet.numerics import tensor_of
from firenet.solver import FixedSteps, FrozenSteps, RadialSearch
from firenet.solver.schedules import Run

RNG = np.random.default_rng(0)
PLAIN = RNG.standard_normal((12, 20))


def variants(array: np.ndarray[Any, Any]) -> dict[str, Any]:
    """The same numbers as other libraries and slices have them."""
    wide = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)
    wide[..., ::2] = array
    locked = array.copy()
    locked.flags.writeable = False
    flip = (slice(None, None, -1),) * array.ndim
    return {
        "as it is": array,
        "flipped": np.ascontiguousarray(array[flip])[flip],
        "every second": wide[..., ::2],
        "Fortran": np.asfortranarray(array),
        "big endian": array.astype(array.dtype.newbyteorder(">")),
        "long double": array.astype(np.clongdouble if np.iscomplexobj(array) else np.longdouble),
        "read-only": locked,
        "list": array.tolist(),
        "tensor": torch.from_numpy(array.copy()),
    }


@pytest.mark.parametrize("name", list(variants(PLAIN)))
def test_arrays_of_any_kind_are_the_same_numbers(name: str):
    matrix = variants(PLAIN)[name]
    y = variants(PLAIN[:, 0])[name]
    x = variants(PLAIN[0])[name]
    expected = Matrix(torch.from_numpy(PLAIN))
    A = Matrix(matrix)
    assert torch.equal(A.matrix, expected.matrix)
    assert torch.equal(A(x), expected(torch.from_numpy(PLAIN[0])))
    assert torch.equal(A.adjoint(y), expected.adjoint(torch.from_numpy(PLAIN[:, 0])))
    net, plain = (Firenet(a, lam=0.1, schedule=AdaptiveRestarts(1e-3)) for a in (A, expected))
    solution = net.solve(y, x0=x)
    assert torch.equal(solution.image, plain.solve(torch.from_numpy(PLAIN[:, 0]), x0=torch.from_numpy(PLAIN[0])).image)
    assert torch.equal(net(y), plain(torch.from_numpy(PLAIN[:, 0])))
    assert certify(net.problem, solution.image.numpy(), y).gap == certify(plain.problem, solution.image, y).gap
    mask = (PLAIN[:4, :8] > 0) if name != "list" else (PLAIN[:4, :8] > 0).tolist()
    assert SubsampledWalsh(mask).samples == int((PLAIN[:4, :8] > 0).sum())


def test_what_comes_in_is_copied():
    mine = PLAIN.copy()
    A = Matrix(mine)
    mine[:] = 0
    assert np.array_equal(A.matrix.numpy(), PLAIN)


def test_sparse_matrices():
    dense = PLAIN * (np.abs(PLAIN) > 1)
    made: list[Any] = [
        scipy.sparse.csr_matrix(dense),
        scipy.sparse.coo_array(dense),
        torch.from_numpy(dense).to_sparse(),
    ]
    for sparse in made:
        assert np.array_equal(Matrix(sparse).as_matrix(torch.float64).numpy(), dense)


def test_unsigned_and_boolean_numbers():
    assert tensor_of(np.array([1, 2], np.uint16)).tolist() == [1, 2]
    held = [0, 2**40, 2**53, 2**63 + 2**11, 2**64 - 2**11]
    assert [int(n) for n in tensor_of(np.array(held, np.uint64)).tolist()] == held
    for rounded in (2**53 + 1, 2**63 + 1, 2**64 - 1):
        for array in (np.array([1, rounded], np.uint64), np.array(rounded, ">u8")):
            with pytest.raises(BadInput, match="Integers that float64 holds"):
                tensor_of(array)
    assert tensor_of(np.array([True, False])).dtype == torch.bool
    for bad in (np.array(["a"]), np.array([None, 1], dtype=object), np.zeros(2, dtype=[("a", "f4")]), [[1, 2], [3]]):
        with pytest.raises(BadInput, match="Numbers for"):
            tensor_of(bad)


def test_data_in_double_for_a_matrix_in_single():
    """They meet in double, and the numbers of the matrix stay what they are."""
    A = Matrix(PLAIN.astype(np.float32))
    assert A(PLAIN[0]).dtype == torch.float64
    expected = PLAIN.astype(np.float32).astype(np.float64) @ PLAIN[0]
    np.testing.assert_allclose(A(PLAIN[0]).numpy(), expected, rtol=1e-13)
    solution = Firenet(A, lam=0.1).solve(PLAIN[:, 0])
    assert solution.image.dtype == torch.float64
    assert solution.status is Status.TOLERANCE_REACHED


WRONG: dict[str, Any] = {  # what a type checker would not let through either
    "tensor": torch.eye(3),
    "array": PLAIN,
    "word": "db4",
    "matrix": Matrix(PLAIN),
    "parameter": torch.nn.Parameter(torch.tensor(0.1)),
    "learned": torch.tensor(0.1, requires_grad=True),
    "number": torch.tensor(1e-3),
}


@pytest.mark.parametrize(
    ("make", "needed", "do"),
    [
        (lambda: Firenet(WRONG["tensor"]), "sensing: an operator", "firenet.Matrix"),
        (lambda: Firenet(WRONG["array"]), "sensing: an operator", "firenet.Matrix"),
        (lambda: Firenet(Matrix(PLAIN), WRONG["word"]), "sparsify: an operator", "firenet.Wavelet"),
        (lambda: Firenet(Matrix(PLAIN), WRONG["matrix"]), "sparsify: an operator", "firenet.Wavelet"),
        (lambda: Firenet(Matrix(PLAIN), lam=WRONG["parameter"]), "lam: a number", "float"),
        (lambda: Firenet(Matrix(PLAIN), noise=WRONG["learned"]), "noise: a number", "float"),
        (lambda: Firenet(Matrix(PLAIN), weights=torch.nn.Parameter(torch.ones(20))), "weights: a tensor", "gradients"),
        (lambda: FixedSteps(10, omega=WRONG["parameter"]), "A plain number for omega", "float"),
        (lambda: PaperSchedule(delta=WRONG["number"]), "A plain number for delta", "float"),
        (lambda: AdaptiveRestarts(tolerance=WRONG["number"]), "A plain number for tolerance", "float"),
    ],
)
def test_what_is_not_meant_is_refused_in_a_sentence(make: Any, needed: str, do: str):
    with pytest.raises(BadInput) as caught:
        make()
    assert caught.value.needed.startswith(needed)
    assert do in caught.value.do


def test_gradients_reach_weights_that_are_a_tensor():
    w = torch.ones(20, dtype=torch.float64, requires_grad=True)
    net = Firenet(Matrix(PLAIN), weights=w * 1.5, lam=0.1, schedule=FixedSteps(20))
    net(PLAIN[:, 0]).square().sum().backward()
    assert w.grad is not None
    assert w.grad.abs().sum() > 0


def test_defaults_solve_to_a_proof():
    solution = Firenet(Matrix(PLAIN)).solve(PLAIN[:, 0])
    assert solution.status is Status.TOLERANCE_REACHED
    assert solution.relative_gap.item() <= 1e-4
    true = np.zeros(20)
    true[0] = 1  # what fits exactly: nothing is better than the solution by more than it says
    lam = Firenet(Matrix(PLAIN)).lam
    assert solution.objective.item() <= (1 + 1e-4) * lam * np.abs(true).sum() * (1 + 1e-12)


def test_status_of_one_image_and_of_a_batch():
    net = Firenet(Matrix(PLAIN), lam=0.1)
    one = net.solve(PLAIN[:, 0])
    assert one.status == Status.TOLERANCE_REACHED
    assert one.statuses == (Status.TOLERANCE_REACHED,)
    some = net.solve(PLAIN[:, :2].T)
    assert some.status == (Status.TOLERANCE_REACHED,) * 2
    assert net.solve(PLAIN[:, :1].T).status == (Status.TOLERANCE_REACHED,)


def test_what_is_shown_of_networks_and_solutions():
    mask = firenet.sensing.multilevel((16, 16), 0.25).samples
    net = Firenet(SubsampledFourier(mask), UndecimatedWavelet((16, 16), "haar", 1), schedule=AdaptiveRestarts(1e-2))
    said = repr(net)
    for word in ("(P3)", "analysis", "SubsampledFourier", "64 of 256", "16 x 16", "UndecimatedWavelet", "lam=", "1e-2"):
        assert word in said.replace("0.01", "1e-2")
    assert len(said) < 400
    solution = net.solve(SubsampledFourier(mask)(torch.ones(16, 16, dtype=torch.complex64)))
    said = repr(solution)
    for word in ("16 x 16", "complex64", solution.statuses[0].value, "relative gap", f"{int(solution.layers)} layers"):
        assert word in said
    assert len(said) < 200
    assert "(P1)" in repr(Firenet(Matrix(PLAIN), noise=0.25))
    assert "noise=0.25" in repr(Firenet(Matrix(PLAIN), noise=0.25))
    assert "(P2)" in repr(Firenet(Matrix(PLAIN), lam=0.1, fidelity="squared"))


SCHEDULES = [
    AdaptiveRestarts(3e-3, 77),
    RadialSearch(1e-2, 88),
    PaperSchedule(3, 4, 1e-5, 0.5, 1e3),
    FixedSteps(9, 2.0),
    FrozenSteps((Run(0.1, 0.2, 3, 1.5, "last", False),)),
]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize(
    "keys", [{"lam": 0.3}, {"noise": 0.2}, {"lam": 0.1, "fidelity": "squared"}], ids=["norm", "ball", "squared"]
)
def test_state_dict_holds_what_defines_the_network(schedule: Any, keys: dict[str, Any], tmp_path: Any):
    weights = torch.from_numpy(np.random.default_rng(1).uniform(0.5, 2, 20))
    net = Firenet(Matrix(PLAIN), weights=weights, schedule=schedule, iterate="last", **keys)
    path = tmp_path / "net.pt"
    torch.save(net.state_dict(), path)
    other = Firenet(Matrix(np.zeros_like(PLAIN) + 1), weights=torch.ones(20, dtype=torch.float64), lam=1.0)
    other.load_state_dict(torch.load(path, weights_only=True))  # nothing in it is pickled code
    assert other.schedule == schedule
    assert (other.lam, other.fidelity, other.iterate) == (net.lam, net.fidelity, "last")
    assert torch.equal(other.weights, weights)  # pyright: ignore[reportArgumentType]
    assert other.operator.norm_bound.value == net.operator.norm_bound.value
    y = PLAIN[:, 3]
    if not isinstance(schedule, FrozenSteps):  # its steps are made for no operator in particular
        assert torch.equal(other.solve(y).image, net.solve(y).image)
    with pytest.raises(BadInput, match="The state of a network"):
        other.set_extra_state(torch.tensor([1, 2, 3], dtype=torch.uint8))
    state = json.loads(bytes(net.get_extra_state().tolist()))
    for changed in ({**state, "iterate": "first"}, {k: v for k, v in state.items() if k != "iterate"}):
        with pytest.raises(BadInput, match="iterate"):
            other.set_extra_state(torch.tensor(list(json.dumps(changed).encode()), dtype=torch.uint8))
    assert other.iterate == "last"


def test_copies_of_operators_keep_what_they_know():
    for A in (Matrix(PLAIN), SubsampledFourier(np.ones((4, 4)))):
        again = copy.deepcopy(A)
        assert again.norm_bound == A.norm_bound
        assert pickle.loads(pickle.dumps(A)).norm_bound == A.norm_bound
    A = Matrix(PLAIN)
    A.matrix.mul_(2)
    copies = [copy.deepcopy(A), pickle.loads(pickle.dumps(A))]  # changed and not yet noticed
    for again in copies:
        assert again.norm_bound.value == pytest.approx(2 * Matrix(PLAIN).norm_bound.value, rel=1e-12)
    assert A.norm_bound.value == copies[0].norm_bound.value
