"""What the tests compare with: the problem solved by Clarabel, and the paper's algorithm written again in NumPy.

Nothing here imports the library. Measurements and signals are NumPy vectors, complex or real.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pywt
from numpy.typing import NDArray
from scipy.linalg import hadamard

from extras import cvxpy as cp

Array = NDArray[np.float64] | NDArray[np.complex128]


def objective(A: Array, y: Array, w: Array, lam: float, z: Array) -> float:
    """The square-root LASSO, summed by ``math.fsum``."""
    residual = A @ z - y
    penalty = math.fsum(float(a) * math.hypot(b.real, b.imag) for a, b in zip(w, z, strict=True))
    return lam * penalty + math.sqrt(math.fsum(r.real**2 + r.imag**2 for r in residual))


def dual_bound(A: Array, y: Array, w: Array, lam: float, q: Array) -> float:
    """The dual value of the best feasible multiple of q: at most the minimum."""
    scale = max(float(np.linalg.norm(q)), float((np.abs(A.conj().T @ q) / (lam * w)).max()))
    return max(0.0, -float((y * q.conj()).real.sum()) / scale) if scale else 0.0


@dataclass(frozen=True)
class Optimum:
    """A minimiser with the minimum in a bracket: ``lower`` from a feasible dual point, ``value`` the objective at x.

    ``dual`` is that point before it was made feasible, where it is told.
    """

    x: Array
    value: float
    lower: float
    dual: Array | None = None


def optimum(A: Array, y: Array, w: Array, lam: float) -> Optimum:
    """The minimiser of ``objective`` by Clarabel. Asserts that the bracket is narrow."""
    m, n = A.shape
    if np.iscomplexobj(A) or np.iscomplexobj(y):
        lifted = np.block([[A.real, -A.imag], [A.imag, A.real]])
        data = np.concatenate([y.real, y.imag])
        pair = cp.Variable((n, 2))
        x, modulus = cp.hstack([pair[:, 0], pair[:, 1]]), cp.norm(pair, 2, axis=1)
    else:
        lifted, data, pair = A, y, None
        x = cp.Variable(n)
        modulus = cp.abs(x)
    residual = cp.Variable(len(data))
    defines = residual == lifted @ x - data
    problem = cp.Problem(cp.Minimize(lam * (w @ modulus) + cp.norm(residual, 2)), [defines])
    with warnings.catch_warnings():
        # How accurate the solution is, the bracket says.
        warnings.filterwarnings("ignore", message="Solution may be inaccurate")
        problem.solve(solver=cp.CLARABEL, tol_gap_abs=1e-11, tol_gap_rel=1e-11, tol_feas=1e-11)
    dual = np.asarray(defines.dual_value)
    if pair is not None:
        values = np.asarray(pair.value)
        z, q = values[:, 0] + 1j * values[:, 1], dual[:m] + 1j * dual[m:]
    else:
        z, q = np.asarray(x.value), dual
    value = objective(A, y, w, lam, z)
    q = max(q, -q, key=lambda p: dual_bound(A, y, w, lam, p))
    lower = dual_bound(A, y, w, lam, q)
    narrow = 5e-8 * value + 1e-10 * float(np.linalg.norm(y))
    assert value - lower <= narrow, f"{problem.status}: the minimum lies between {lower} and {value}"
    return Optimum(z, value, lower, q)


@dataclass(frozen=True)
class Recovery:
    """Any of the problems: :math:`\\lambda\\sum_gw_g\\|(Wx)_g\\|_2` and the residual's norm, its square, or a ball.

    Attributes:
        groups: The rows of W whose modulus is taken together; None is each for itself.
        kind: ``norm`` (P3), ``squared`` (P2) or ``ball`` (P1), at most ``noise``.
    """

    A: Array
    W: Array
    y: Array
    w: Array
    lam: float
    groups: tuple[tuple[int, ...], ...] | None = None
    kind: str = "norm"
    noise: float = 0.0

    def _moduli(self, c: Array) -> NDArray[np.float64]:
        groups = self.groups or tuple((k,) for k in range(len(c)))
        return np.array([float(np.linalg.norm(c[list(g)])) for g in groups])

    def objective(self, x: Array) -> float:
        r = float(np.linalg.norm(self.A @ x - self.y))
        fidelity = {"norm": r, "squared": r * r, "ball": 0.0}[self.kind]
        return self.lam * math.fsum(self.w * self._moduli(self.W @ x)) + fidelity

    def violation(self, x: Array) -> float:
        return max(0.0, float(np.linalg.norm(self.A @ x - self.y)) - self.noise) if self.kind == "ball" else 0.0

    def bound(self, q: Array, p: Array) -> float:
        """The dual value of the best multiple of (q, p) that is feasible: at most the minimum."""
        A, W = self.A, self.W
        _, s, vh = np.linalg.svd(W)
        null = vh[(s > 1e-10 * s[0]).sum() :].conj().T
        if null.shape[1]:  # q must see nothing of what W does not see
            seen = A @ null
            seen = np.where(np.abs(seen) > 1e-12 * np.abs(A).max(), seen, 0)
            q = q - seen @ np.linalg.pinv(seen, rcond=1e-10) @ q
        p = p - W @ np.linalg.pinv(W.conj().T @ W, rcond=1e-10, hermitian=True) @ (W.conj().T @ p + A.conj().T @ q)
        inner, size = -float((self.y * q.conj()).real.sum()), float(np.linalg.norm(q))
        if size == 0:
            return 0.0
        most = 1 / float((self._moduli(p) / (self.lam * self.w)).max())
        if self.kind == "norm":
            return max(0.0, inner * min(most, 1 / size))
        if self.kind == "ball":
            return max(0.0, most * (inner - self.noise * size))
        t = min(most, 2 * max(inner, 0.0) / size**2)
        return t * inner - (t * size) ** 2 / 4

    def optimum(self) -> Optimum:
        """The minimiser by Clarabel. Asserts that the bracket is narrow."""
        W, k = self.W, len(self.W)
        a, b = (float(np.abs(v).max()) or 1.0 for v in (self.A, self.y))  # Clarabel is less accurate far from 1
        A, y, lam = self.A / a, self.y / b, self.lam / {"norm": a, "squared": a * b, "ball": 1.0}[self.kind]
        if any(map(np.iscomplexobj, (A, y, W))):
            sense, frame = (np.block([[B.real, -B.imag], [B.imag, B.real]]) for B in (A, W))
            data = np.concatenate([y.real, y.imag])
        else:
            sense, frame, data = A, W, y
        x, residual, c = (cp.Variable(size) for size in (sense.shape[1], len(data), len(frame)))
        rows = [[*g, *(i + k for i in g if len(frame) > k)] for g in self.groups or tuple((i,) for i in range(k))]
        if len({len(g) for g in rows}) == 1:
            modulus = cp.norm(cp.vstack([c[[g[i] for g in rows]] for i in range(len(rows[0]))]), 2, axis=0)
        else:
            modulus = cp.hstack([cp.norm(c[g], 2) for g in rows])
        defines, analyses = residual == sense @ x - data, c == frame @ x
        cost = {"norm": cp.norm(residual, 2), "squared": cp.sum_squares(residual), "ball": 0}[self.kind]
        limits = [cp.norm(residual, 2) <= self.noise / b] if self.kind == "ball" else []
        problem = cp.Problem(cp.Minimize(lam * (self.w @ modulus) + cost), [defines, analyses, *limits])
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Solution may be inaccurate")
            problem.solve(solver=cp.CLARABEL, tol_gap_abs=1e-11, tol_gap_rel=1e-11, tol_feas=1e-11)
        z, q, p = (np.asarray(v) for v in (x.value, defines.dual_value, analyses.dual_value))
        if len(frame) > k:
            z, q, p = (v[: len(v) // 2] + 1j * v[len(v) // 2 :] for v in (z, q, p))
        z, p = z * (b / a), p * a  # up to a common factor of q and p, which the bound does not see
        q, p = (q / a, p / a) if self.kind == "ball" else (q, p)
        value = self.objective(z)
        lower = max(self.bound(s * q, s * p) for s in (1, -1))
        narrow = (
            1e-7 * abs(value) + 1e-10 * float(np.linalg.norm(self.y)) + float(np.linalg.norm(q)) * self.violation(z)
        )
        assert value - lower <= narrow, f"{problem.status}: the minimum lies between {lower} and {value}"
        return Optimum(z, value, lower)


def null_space_gamma(A: Array, rho: float) -> float:
    """A gamma for which a real A has the robust null space property of order s = 1, one level, weights 1.

    For each i a vector u with :math:`(A^Tu)_i=1` and :math:`|(A^Tu)_j|\\le\\rho` elsewhere; then
    :math:`|x_i|\\le\\rho\\|x_{-i}\\|_1+\\|u\\|\\|Ax\\|`, and gamma is the largest :math:`\\|u\\|`. Clarabel finds u;
    the two conditions are checked (and met by a little scaling) here, so that gamma does not rest on it.
    """
    m, n = A.shape
    u, target = cp.Variable(m), cp.Parameter(n)
    free = cp.Parameter(n, nonneg=True)
    condition = cp.abs(A.T @ u - target) <= rho * (1 - 1e-6) * free
    problem = cp.Problem(cp.Minimize(cp.sum_squares(u)), [condition])
    gamma = 0.0
    for i in range(n):
        target.value = np.eye(n)[i]
        free.value = 1 - np.eye(n)[i]
        problem.solve(solver=cp.CLARABEL)
        back = A.T @ np.asarray(u.value)
        scaled = np.asarray(u.value) / back[i]
        assert np.delete(np.abs(back / back[i]), i).max() <= rho
        gamma = max(gamma, float(np.linalg.norm(scaled)))
    return gamma


def soft(v: Array, threshold: Array) -> Array:
    """The complex soft threshold."""
    modulus = np.abs(v)
    return np.where(modulus > threshold, v * (1 - threshold / np.where(modulus > 0, modulus, 1)), 0)


def paper_network(
    A: Array,
    y: Array,
    w: Array,
    lam: float,
    outer: int,
    inner: int,
    delta: float,
    nu: float,
    *,
    norm: float | None = None,
    steps: tuple[float, float] | None = None,
) -> Array:
    """The paper's algorithm as theory.md 3.5 has it: data rescaled at each restart, the steps (tau, sigma) fixed."""
    norm = float(np.linalg.norm(A, 2)) if norm is None else norm
    tau, sigma = steps or (1 / norm, 1 / norm)
    psi, eps = np.zeros(A.shape[1], np.result_type(A, y)), float(np.linalg.norm(y))
    for _ in range(outer):
        eps = nu * (delta + eps)
        a = 1 / (inner * eps / (2 * norm))
        psi = _inner_it(A, a * y, w, lam, a * psi, inner, tau, sigma) / a
    return psi


def _inner_it(A: Array, y: Array, w: Array, lam: float, x: Array, p: int, tau: float, sigma: float) -> Array:
    q, total = np.zeros_like(y, np.result_type(A, y)), np.zeros_like(x)
    for _ in range(p):
        x_new = soft(x - tau * (A.conj().T @ q), tau * lam * w)
        u = q + sigma * (A @ (2 * x_new - x)) - sigma * y
        q = u * min(1.0, 1 / max(float(np.linalg.norm(u)), 1e-300))
        total, x = total + x_new, x_new
    return total / p


def affine_layers(
    A: Array, y: Array, w: Array, lam: float, tau: float, sigma: float, x: Array, layers: int
) -> Iterator[tuple[Array, Array]]:
    """The block of theory.md, section 2, built literally: three affine maps of the state with y as a skip connection,
    and three scalar nonlinearities. Yields, after each block, the last point and the average.

    The state is (x, sum of the x, q); the affine maps are dense matrices of the widths 2N+m, 2(N+m) and 2N+m+1.
    """
    m, n = A.shape
    eye_n, eye_m, D = np.eye(n), np.eye(m), np.diag(w)
    zero_n, zero_nm, zero_mn = np.zeros((n, n)), np.zeros((n, m)), np.zeros((m, n))
    # 1. (x, S, q) -> (D^-1 (x - tau A* q), S, q - sigma A x - sigma y)
    first = np.block(
        [
            [np.linalg.inv(D), zero_n, -tau * np.linalg.inv(D) @ A.conj().T],
            [zero_n, eye_n, zero_nm],
            [-sigma * A, zero_mn, eye_m],
        ]
    )
    skip = np.vstack([zero_nm, zero_nm, -sigma * eye_m])
    # 2. (D^-1 x, S, q~) -> (x, S + x, u, u) with u = q~ + 2 sigma A x
    u = [2 * sigma * A @ D, zero_mn, eye_m]
    second = np.block([[D, zero_n, zero_nm], [D, eye_n, zero_nm], u, u])
    # 3. (x, S, u, |u|^2) -> (sum of the |u|^2, u, x, S)
    third = np.block(
        [
            [np.zeros((1, 2 * n + m)), np.ones((1, m))],
            [zero_mn, zero_mn, eye_m, np.zeros((m, m))],
            [np.eye(2 * n), np.zeros((2 * n, 2 * m))],
        ]
    )
    assert (len(first), len(second), len(third)) == (2 * n + m, 2 * (n + m), 2 * n + m + 1)
    back = np.roll(np.eye(2 * n + m), 2 * n, axis=0)  # (q, x, S) -> (x, S, q), part of the next block's first map
    state = np.concatenate([x, np.zeros(n), np.zeros(m)]).astype(np.complex128)
    for k in range(1, layers + 1):
        h = first @ state + skip @ y
        h[:n] = soft(h[:n], np.full(n, tau * lam))  # one scalar function for all entries
        h = second @ h
        h[-m:] = np.abs(h[-m:]) ** 2
        h = third @ h
        gate = min(1.0, 1 / math.sqrt(h[0].real)) if h[0].real > 0 else 1.0
        h[1 : m + 1] *= gate
        state = back @ h[1:]
        yield state[:n], state[n : 2 * n] / k


def fourier_of_wavelet(mask: NDArray[np.bool_], wavelet: str, levels: int) -> Array:
    """The dense matrix of the measured rows of FW*: NumPy's FFT of PyWavelets' synthesis of each unit vector."""
    shape = mask.shape
    _, slices = pywt.coeffs_to_array(pywt.wavedec2(np.zeros(shape), wavelet, "periodization", levels))
    columns = []
    for unit in np.eye(mask.size):
        bands = pywt.array_to_coeffs(unit.reshape(shape), slices, "wavedec2")
        image = pywt.waverec2(bands, wavelet, "periodization")
        columns.append(np.fft.fft2(image, norm="ortho")[mask])
    return np.array(columns).T


def dft(n: int) -> NDArray[np.complex128]:
    """The unitary Fourier matrix, its angles from integers modulo n."""
    return np.exp(-2j * np.pi * (np.outer(np.arange(n), np.arange(n)) % n) / n) / np.sqrt(n)


def centred_dft(n: int) -> NDArray[np.complex128]:
    """The same with the origin at index n // 2, on both sides."""
    place = np.arange(n) - n // 2
    return np.exp(-2j * np.pi * (np.outer(place, place) % n) / n) / np.sqrt(n)


def walsh(n: int) -> NDArray[np.float64]:
    """The orthonormal Hadamard matrix, its rows in the order of their sign changes."""
    rows = hadamard(n)
    changes = (np.diff(rows, axis=1) != 0).sum(axis=1)
    assert sorted(changes) == list(range(n))
    return rows[np.argsort(changes)] / np.sqrt(n)


def fourier_band(k: int) -> set[int]:
    """The frequencies of a band as a set, as theory.md 3.6 writes it."""
    if k == 1:
        return {0, 1}
    return set(range(-(2 ** (k - 1)) + 1, -(2 ** (k - 2)) + 1)) | set(range(2 ** (k - 2) + 1, 2 ** (k - 1) + 1))


def walsh_band(k: int) -> set[int]:
    return {0, 1} if k == 1 else set(range(2 ** (k - 1), 2**k))


def frequencies(n: int) -> list[int]:
    """What each index stands for in ``fftfreq`` order, -n/2 read as n/2."""
    found = np.round(np.fft.fftfreq(n, 1 / n)).astype(int)
    return [n // 2 if 2 * f == -n else int(f) for f in found]


def band_of(n: int, transform: str) -> list[int]:
    """The band of each index, by looking it up in the sets."""
    members = range(n) if transform == "walsh" else frequencies(n)
    sets = walsh_band if transform == "walsh" else fourier_band
    return [next(k for k in itertools.count(1) if f in sets(k)) for f in members]


def boxes(shape: tuple[int, ...], transform: str) -> dict[tuple[int, ...], list[tuple[int, ...]]]:
    """The indices in each box."""
    axes = [band_of(n, transform) for n in shape]
    result: dict[tuple[int, ...], list[tuple[int, ...]]] = {}
    for index in itertools.product(*map(range, shape)):
        result.setdefault(tuple(axis[i] for axis, i in zip(axes, index, strict=True)), []).append(index)
    return result


def solved(kind: str, parameter: float, A: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    """The minimum of (P1), (P2) or (P3) with weights 1, and a minimiser, by Clarabel."""
    z = cp.Variable(A.shape[1])
    if kind == "P1":
        task = cp.Problem(cp.Minimize(cp.norm1(z)), [cp.norm(A @ z - y) <= parameter])
    elif kind == "P2":
        task = cp.Problem(cp.Minimize(parameter * cp.norm1(z) + cp.sum_squares(A @ z - y)))
    else:
        task = cp.Problem(cp.Minimize(parameter * cp.norm1(z) + cp.norm(A @ z - y)))
    tight = {"tol_gap_abs": 1e-13, "tol_gap_rel": 1e-13, "tol_feas": 1e-13}
    task.solve(solver="CLARABEL", **tight)
    assert isinstance(task.value, float)
    assert z.value is not None
    return task.value, z.value
