"""What the campaign of `soundness` is run on: random problems, their operators dense and in 80 bits."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pywt
import torch
from numpy.typing import NDArray
from torch import Tensor

import firenet
from firenet import AdaptiveRestarts, Firenet, Matrix

Long = NDArray[Any]
L, CL = np.longdouble, np.clongdouble
# The unit roundoff of the arithmetic in which claims are checked, and what its sums of some thousand terms lose.
EPS = float(np.finfo(L).eps)
LOSS = 1024 * EPS


# --- operators, once more, dense and in 80 bits -----------------------------------------------------------------------


def turns(k: Long, n: int) -> Long:
    """exp(-2 pi i k / n)."""
    angle = 2 * L("3.14159265358979323846264338327950288") * (np.asarray(k) % n).astype(L) / n
    return np.cos(angle).astype(CL) - 1j * np.sin(angle).astype(CL)


def fourier(shape: tuple[int, ...]) -> Long:
    """The unitary DFT over all axes, flattened."""
    found = np.ones((1, 1), CL)
    for n in shape:
        found = np.kron(found, turns(np.outer(np.arange(n), np.arange(n)), n) / np.sqrt(L(n)))
    return found


def walsh(shape: tuple[int, ...]) -> Long:
    """The Walsh transform in sequency order, from counted sign changes."""
    found = np.ones((1, 1), L)
    for n in shape:
        h = np.ones((1, 1), L)
        while len(h) < n:
            h = np.block([[h, h], [h, -h]])
        h = h[np.argsort((np.diff(h, axis=1) != 0).sum(axis=1))]
        found = np.kron(found, h / np.sqrt(L(n)))
    return found


def circulant(taps: list[tuple[int, Any]], n: int) -> Long:
    """Rows r: the sum of tap times x[(r + place) mod n]."""
    found = np.zeros((n, n), L)
    for place, tap in taps:
        found[np.arange(n), (np.arange(n) + place) % n] += tap
    return found


def undecimated(shape: tuple[int, ...], wavelet: str, depth: int) -> list[Long]:
    """The bands of the undecimated transform, details from the finest level on, the approximation last."""
    bank = pywt.Wavelet(wavelet)  # pyright: ignore[reportAttributeAccessIssue]  (compiled, without stubs)
    filters = [np.array(f, dtype=L) / np.sqrt(L(2)) for f in (bank.dec_lo, bank.dec_hi)]
    low, details = np.eye(math.prod(shape), dtype=L), []
    for j in range(depth):
        products = []
        for kind in np.ndindex(*(2,) * len(shape)):
            band = np.ones((1, 1), L)
            for n, k in zip(shape, kind, strict=True):
                middle = len(filters[k]) // 2
                taps = [(-(i - middle) * 2**j, tap) for i, tap in enumerate(filters[k])]
                band = np.kron(band, circulant(taps, n))
            products.append(band @ low)
        low = products[0]
        details += products[1:]
    return [*details, low]


def gradient(shape: tuple[int, ...], boundary: str = "periodic") -> Long:
    """Differences along each axis, one after the other."""
    blocks = []
    for axis, n in enumerate(shape):
        d = circulant([(1, 1), (0, -1)], n)
        if boundary == "neumann":
            d[-1] = 0
        before, behind = math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
        blocks.append(np.kron(np.kron(np.eye(before, dtype=L), d), np.eye(behind, dtype=L)))
    return np.concatenate(blocks)


# --- problems ---------------------------------------------------------------------------------------------------------


@dataclass
class Case:
    """A problem, as the library gets it and as the checks see it.

    Attributes:
        name: What kind it is.
        net: The network.
        y: Its data.
        A: Dense.
        W: Dense, or None for the identity.
        groups: Rows of W whose modulus is taken together.
        weights: One a group.
        points: Points whose objectives bound the minimum from above, flattened.
        x0: A warm start.
    """

    name: str
    net: Firenet
    y: Tensor
    A: Long
    W: Long | None
    groups: list[list[int]] | None
    weights: Long
    points: list[Long] = field(default_factory=list)
    x0: Tensor | None = None

    def residual(self, x: Long) -> Any:
        y = self.y.detach().numpy().astype(CL).ravel()
        return norm(self.A @ x.astype(CL) - y)

    def objective(self, x: Long) -> Any:
        """F in 80 bits; for (P1) the penalty."""
        c = x.astype(CL) if self.W is None else self.W @ x.astype(CL)
        sizes = np.abs(c) if self.groups is None else np.array([norm(c[g]) for g in self.groups])
        penalty = L(self.net.lam) * (sizes * self.weights).sum()
        fidelity = self.net.fidelity
        if isinstance(fidelity, firenet.problems.Ball):
            return penalty
        r = self.residual(x)
        return penalty + (r * r if isinstance(fidelity, firenet.problems.Squared) else r)

    def allowance(self, x: Long) -> Any:
        """How far :meth:`objective` may be off: sums of at most some hundred terms."""
        c = x.astype(CL) if self.W is None else np.abs(self.W) @ np.abs(x.astype(CL))
        sizes = np.abs(c) if self.groups is None else np.array([norm(c[g]) for g in self.groups])
        data = norm(np.abs(self.A) @ np.abs(x)) + norm(self.y.detach().numpy().astype(CL).ravel())
        size = L(self.net.lam) * (sizes * self.weights).sum() + data
        return LOSS * (size * data if isinstance(self.net.fidelity, firenet.problems.Squared) else size)

    def fits(self, x: Long) -> bool:
        fidelity = self.net.fidelity
        return not isinstance(fidelity, firenet.problems.Ball) or self.residual(x) <= fidelity.noise


def norm(v: Long) -> Any:
    big = np.abs(v).max(initial=L(0))
    return big * np.sqrt((np.abs(v / big) ** 2).sum()) if 0 < big < np.inf else big


def flat(x: Tensor) -> Long:
    return x.detach().numpy().ravel().astype(CL)


# --- what problems ----------------------------------------------------------------------------------------------------


def gaussian(rng: np.random.Generator, shape: tuple[int, ...], cplx: bool) -> NDArray[Any]:
    parts = rng.standard_normal((2, *shape))
    return parts[0] + 1j * parts[1] if cplx else parts[0]


def fidelities(rng: np.random.Generator, y: NDArray[Any], misfit: float, lam: float) -> dict[str, Any]:
    """The keywords of a problem: (P3), (P2) or (P1), which the true signal fits or just misses."""
    size = float(np.linalg.norm(y)) or 1.0
    kind = rng.integers(4)
    if kind == 0:
        return {"lam": min(lam * size, 1e300), "fidelity": "squared"}
    if kind == 1:
        return {"noise": float(max(misfit * rng.choice([1.0001, 2.0, 0.9]), 0.0))}
    return {"lam": lam}


def schedule(rng: np.random.Generator, tolerance: float) -> Any:
    if rng.random() < 0.15:
        return firenet.solver.RadialSearch(tolerance=tolerance, max_layers=300)
    layers = int(rng.choice([20, 100, 400]))
    return AdaptiveRestarts(tolerance=tolerance, max_layers=layers, safeguard=30 if tolerance < 1e-3 else 1000)


SCALES = (1.0, 1.0, 1.0, 1e-30, 1e20, 1e-8, 1e8)


def matrix_case(rng: np.random.Generator, tolerance: float) -> Case:
    """A dense matrix, real or complex, of either precision, with scales between columns, weights and data."""
    m, n = int(rng.integers(2, 9)), int(rng.integers(2, 13))
    cplx, single = rng.random() < 0.4, rng.random() < 0.5
    A = gaussian(rng, (m, n), cplx) / math.sqrt(m)
    if rng.random() < 0.3:  # mixed scales
        A = A * 10.0 ** rng.uniform(-4, 4, n)
    if rng.random() < 0.2 and n > 1:
        A[:, 1] = A[:, 0]
    scale = float(rng.choice(SCALES))
    kind = np.float32 if single else np.float64
    A = (A * scale).astype(np.result_type(kind, A.dtype) if not single else (np.complex64 if cplx else np.float32))
    x = gaussian(rng, (n,), cplx and rng.random() < 0.8) * (rng.random(n) < 0.4)
    y = A.astype(np.complex128 if cplx else np.float64) @ x
    y = y + gaussian(rng, (m,), cplx) * float(rng.choice([0, 1e-6, 0.1])) * (np.abs(y).max(initial=0) or 1)
    y = y.astype(A.dtype) if cplx or not np.iscomplexobj(y) else y.astype(np.complex64 if single else np.complex128)
    w = 10.0 ** rng.uniform(-3, 3, n) if rng.random() < 0.3 else None
    lam = float(10.0 ** rng.uniform(-4, 0)) * scale
    if w is not None and single and rng.random() < 0.7:
        w = w.astype(np.float32)
    weights = None if w is None else torch.from_numpy(w)
    misfit = float(np.linalg.norm(A.astype(np.complex128) @ x - y))
    keys = fidelities(rng, y, misfit, lam)
    net = Firenet(Matrix(A), weights=weights, schedule=schedule(rng, tolerance), **keys)
    x0 = None
    if rng.random() < 0.15:  # a warm start far away
        x0 = torch.full(
            (n,), float(rng.choice([1e8, 1e4, -1e8])), dtype=net.operator.state_dtype(torch.from_numpy(y).dtype)
        )
    sizes = np.ones(n, L) if w is None else w.astype(L)
    return Case("matrix", net, torch.from_numpy(y), A.astype(CL), None, None, sizes, [x.astype(CL)], x0)


def sensing_of(rng: np.random.Generator, shape: tuple[int, ...], cplx: type, allow: str) -> tuple[Any, Long]:
    """An operator for images of this shape, and its matrix."""
    n = math.prod(shape)
    mask = rng.random(shape) < rng.choice([0.3, 0.6, 1.0])
    mask.flat[int(rng.integers(n))] = True
    rows = mask.ravel()
    if allow == "walsh":
        return firenet.SubsampledWalsh(mask), np.where(rows[:, None], walsh(shape), 0).astype(CL)
    F = np.where(rows[:, None], fourier(shape), 0)
    if allow == "fourier":
        return firenet.SubsampledFourier(mask), F
    if allow == "matrix":
        A = gaussian(rng, (max(n // 2, 1), n), True) / math.sqrt(n)
        kind = rng.integers(4)
        if kind == 0:
            A = A - A.mean(axis=1, keepdims=True)  # A1 is rounding
        if kind == 1:
            A = A - A.mean(axis=1, keepdims=True) * (1 - 10.0 ** -rng.uniform(1, 14))  # or something small
        A = A.astype(cplx)
        return firenet.Matrix(A), A.astype(CL)
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, k) for k in shape), indexing="ij"))
    maps = np.stack(
        [np.exp(-((grid - rng.uniform(-1, 1, (len(shape), *(1,) * len(shape)))) ** 2).sum(0)) for _ in range(3)]
    ) * np.exp(1j * rng.uniform(0, 6, (3, *(1,) * len(shape))))
    maps = (maps * float(rng.choice([1.0, 1.0, 1e-20, 1e12]))).astype(cplx)
    dense = np.concatenate([F * m.astype(CL).ravel()[None, :] for m in maps])
    return firenet.MultiCoilFourier(mask, maps), dense


def frame_of(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[Any, Long, list[list[int]], NDArray[Any]]:
    """An analysis operator, its matrix, its groups, and the noise deviation of each."""
    n = math.prod(shape)
    kind = int(rng.integers(6))

    def wavelets(name: str, depth: int) -> tuple[Any, Long, list[list[int]]]:
        bands = undecimated(shape, name, depth)
        return (
            firenet.UndecimatedWavelet(shape, name, depth),
            np.concatenate(bands),
            [[k] for k in range(n * len(bands))],
        )

    def tv(boundary: Any) -> tuple[Any, Long, list[list[int]]]:
        d = len(shape)
        return (
            firenet.Gradient(shape, boundary),
            gradient(shape, boundary),
            [[i + a * n for a in range(d)] for i in range(n)],
        )

    if kind == 0:
        return (
            *wavelets(str(rng.choice(["haar", "db2", "sym4"])), int(rng.integers(1, 3)) if min(shape) > 3 else 1),
            np.ones(1),
        )
    if kind == 1:
        return (*tv("periodic"), np.ones(1))
    if kind == 2:
        return (*tv("neumann"), np.ones(1))
    parts = [tv("periodic"), wavelets("haar", 1)] if kind < 5 else [wavelets("haar", 1), wavelets("sym4", 1)]
    factors = [1.0, float(10.0 ** rng.uniform(-12, 12))] if rng.random() < 0.5 else [0.3, 1.0]
    rows, groups, at = [], [], 0
    for factor, (_, W, g) in zip(factors, parts, strict=True):
        rows.append(L(factor) * W)
        groups += [[i + at for i in one] for one in g]
        at += len(W)
    return firenet.transforms.Union([p[0] for p in parts], factors), np.concatenate(rows), groups, np.ones(1)


def analysis_case(rng: np.random.Generator, tolerance: float) -> Case:
    """An analysis problem with an operator of each kind, either precision, sums of parts of very different scale."""
    shape = ((4, 4), (8,), (4, 2, 2), (3, 5), (8, 4))[int(rng.integers(5))]
    single = rng.random() < 0.5
    cplx = np.complex64 if single else np.complex128
    powers = all(k & (k - 1) == 0 for k in shape)
    kinds = ["fourier", "coils", *(["matrix"] if len(shape) == 1 else []), *(["walsh"] if powers else [])]
    sensing, A = sensing_of(rng, shape, cplx, str(rng.choice(kinds)))
    frame, W, groups, _ = frame_of(rng, shape)
    n = math.prod(shape)
    x = (
        np.full(shape, complex(rng.standard_normal()))
        if rng.random() < 0.3
        else np.cumsum(gaussian(rng, (n,), True)).reshape(shape)
    )
    x = x * float(rng.choice(SCALES[:5] if not single else SCALES[:3]))
    y = (A @ x.ravel().astype(CL)).astype(np.complex128)
    y = y + gaussian(rng, y.shape, True) * (y != 0) * float(rng.choice([0, 1e-5, 0.05])) * np.abs(y).max(initial=0)
    data = torch.from_numpy(y.reshape(sensing.out_shape).astype(cplx))
    lam = float(10.0 ** rng.uniform(-4, -0.5)) * (sensing.norm_bound.value or 1.0)
    own = rng.random() < 0.6
    count = frame.penalty_shape
    w = 10.0 ** rng.uniform(-2, 2, count) if own else np.ones(count)
    if single and rng.random() < 0.7:  # products of weights in single precision would be another problem
        w = w.astype(np.float32)
    keys = fidelities(rng, y, float(norm(A @ x.ravel().astype(CL) - data.numpy().astype(CL).ravel())), lam)
    net = Firenet(sensing, frame, weights=torch.from_numpy(w), schedule=schedule(rng, tolerance), **keys)
    x0 = None
    if rng.random() < 0.1:
        x0 = torch.full(shape, float(rng.choice([1e8, 1e5])), dtype=data.dtype)
    points = [x.ravel().astype(CL), np.full(n, x.mean()).astype(CL)]
    return Case(f"analysis {type(sensing).__name__}", net, data, A, W, groups, w.ravel().astype(L), points, x0)


def synthesis_case(rng: np.random.Generator, tolerance: float) -> Case:
    """An orthonormal transform in synthesis form, with Fourier or Walsh samples."""
    shape = ((4, 4), (8,), (8, 8))[int(rng.integers(3))]
    n, single = math.prod(shape), rng.random() < 0.5
    cplx = np.complex64 if single else np.complex128
    sensing, A = sensing_of(rng, shape, cplx, str(rng.choice(["fourier", "walsh", "coils"])))
    depth = int(rng.integers(1, 3))
    W = np.zeros((n, n), L)  # Haar in 80 bits, a level at a time on the corner
    one = np.eye(n, dtype=L)
    for k, unit in enumerate(one):
        c = unit.reshape(shape).copy()
        for level in range(depth):
            corner = tuple(slice(s >> level) for s in shape)
            part = c[corner]
            for axis in range(len(shape)):
                even, odd = (
                    np.take(part, range(0, part.shape[axis], 2), axis),
                    np.take(part, range(1, part.shape[axis], 2), axis),
                )
                part = np.concatenate([(even + odd) / np.sqrt(L(2)), (even - odd) / np.sqrt(L(2))], axis)
            c[corner] = part
        W[:, k] = c.ravel()
    transform = firenet.Wavelet(shape, "haar", depth)
    z = gaussian(rng, (n,), True) * (rng.random(n) < 0.4)
    composed = A @ W.T.astype(CL)
    y = (composed @ z.astype(CL)).astype(np.complex128)
    y = y + gaussian(rng, y.shape, True) * (y != 0) * float(rng.choice([0, 0.05])) * np.abs(y).max(initial=0)
    data = torch.from_numpy(y.reshape(sensing.out_shape).astype(cplx))
    w = 10.0 ** rng.uniform(-3, 3, shape) if rng.random() < 0.4 else np.ones(shape)
    lam = float(10.0 ** rng.uniform(-4, -0.5)) * (sensing.norm_bound.value or 1.0)
    keys = fidelities(rng, y, float(norm(composed @ z.astype(CL) - data.numpy().astype(CL).ravel())), lam)
    net = Firenet(sensing, transform, weights=torch.from_numpy(w), schedule=schedule(rng, tolerance), **keys)
    return Case("synthesis", net, data, composed, None, None, w.ravel().astype(L), [z.astype(CL)])


def random_case(k: int, seed: int) -> tuple[Case, float]:
    """The k-th random problem, and the tolerance to which it is to be solved."""
    rng = np.random.default_rng([seed, k])
    tolerance = float(rng.choice([1e-2, 1e-4, 1e-7]))
    makers: list[Callable[[np.random.Generator, float], Case]] = [matrix_case, analysis_case, synthesis_case]
    return makers[k % 3](rng, tolerance), tolerance
