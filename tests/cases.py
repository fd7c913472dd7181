"""The named cases that several test files share: masks, operators, problems, setups, small images.

What is tried in a law is in `laws`, what it is compared with in `oracles`; searching schedules have theirs in
`searching`, audits in `audits`, the barriers in `barrier_cases`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor

from draws import normal, uniform
from firenet import (
    Firenet,
    Gradient,
    LinearOperator,
    Matrix,
    MultiCoilFourier,
    SubsampledFourier,
    SubsampledWalsh,
    UndecimatedWavelet,
    Wavelet,
)
from firenet.images import load_slice, resampled
from firenet.operators import VerticalStack
from firenet.sensing import variable_density
from firenet.sensing.masks import Transform
from firenet.solver.schedules import Schedule
from firenet.transforms import AnalysisOperator, Union, WalshHadamard
from laws import SINGLE, Case, Probe, columns, kron
from oracles import Recovery, centred_dft, dft, objective, walsh

Shape = tuple[int, ...]
COMPLEX, REAL = torch.complex128, torch.float64
kinds = pytest.mark.parametrize("kind", ["real", "complex"])
BATCH = 3
PRECISIONS = {
    "real": torch.float64,
    "complex": torch.complex128,
    "real, single": torch.float32,
    "single": torch.complex64,
}
TRANSFORMS: tuple[Transform, ...] = ("fourier", "walsh")


# --- shapes, masks, numbers -------------------------------------------------------------------------------------------

WAVELETS = [
    "haar",
    *(f"db{i}" for i in range(1, 11)),
    *(f"sym{i}" for i in range(2, 11)),
    *(f"coif{i}" for i in range(1, 6)),
]


def size(shape: Shape) -> str:
    return "x".join(map(str, shape))


def some(shape: Shape, seed: int = 0, share: float = 0.5) -> Tensor:
    """A mask with about this share of samples, at least one."""
    rng = np.random.default_rng(seed)
    mask = uniform(shape, seed=rng) < share
    mask.view(-1)[seed % mask.numel()] = True
    return mask


def random_mask(*shape: int) -> Tensor:
    """Some 60 % of the samples."""
    return uniform(shape, seed=sum(shape)) < 0.6


def with_zero(*shape: int) -> Tensor:
    """Some 60 % of the samples, the zero frequency among them."""
    mask = random_mask(*shape)
    mask.view(-1)[0] = True
    return mask


def no_mean(*shape: int) -> Tensor:
    """The same without the zero frequency."""
    mask = with_zero(*shape)
    mask.view(-1)[0] = False
    return mask


def draw(shape: tuple[int, ...], dtype: torch.dtype, seed: int = 0) -> Tensor:
    return Probe(dtype, seed=seed).draw(shape)


# --- operators of matrices --------------------------------------------------------------------------------------------


def entries(m: int, n: int, *, complex_: bool = False, seed: int = 0, rank: int | None = None) -> Tensor:
    """Normal numbers in double precision, if wanted of a lower rank."""
    rng = np.random.default_rng(seed)
    dtype = torch.complex128 if complex_ else torch.float64
    if rank is None:
        return normal(m, n, dtype=dtype, seed=rng)
    left = normal(m, rank, dtype=dtype, seed=rng)
    return left @ normal(rank, n, dtype=dtype, seed=rng)


def rounded(matrix: Tensor, dtype: torch.dtype) -> Tensor:
    """The matrix in the precision of a dtype, real or complex as it was."""
    return matrix.to(dtype.to_complex() if matrix.is_complex() else dtype.to_real())


def dense_case(name: str, matrix: Tensor) -> Case:
    return Case(name, lambda dtype: Matrix(rounded(matrix, dtype)), lambda dtype: rounded(matrix, dtype))


def wide(case: Case, dtype: torch.dtype) -> Tensor:
    return case.dense(dtype).to(torch.complex128)


def adjoint_case(a: Case) -> Case:
    return Case(f"({a.name})*", lambda dtype: a.make(dtype).H, lambda dtype: wide(a, dtype).mH)


def product_case(a: Case, b: Case) -> Case:
    return Case(
        f"{a.name} @ {b.name}",
        lambda dtype: a.make(dtype) @ b.make(dtype),
        lambda dtype: wide(a, dtype) @ wide(b, dtype),
    )


def stack_case(*parts: Case) -> Case:
    return Case(
        f"({'; '.join(part.name for part in parts)})",
        lambda dtype: VerticalStack([part.make(dtype) for part in parts]),
        lambda dtype: torch.cat([wide(part, dtype) for part in parts]),
    )


TALL, WIDE = dense_case("tall", entries(7, 4)), dense_case("wide", entries(4, 7, seed=1))
C_TALL = dense_case("complex tall", entries(7, 4, complex_=True, seed=2))
C_WIDE = dense_case("complex wide", entries(4, 7, complex_=True, seed=3))
EYE = dense_case("I", torch.eye(4, dtype=torch.float64))
TINY, HUGE = dense_case("1e-6", 1e-6 * entries(5, 4, seed=4)), dense_case("1e6", 1e6 * entries(4, 5, seed=5))
ZERO = dense_case("zero", torch.zeros(3, 4, dtype=torch.float64))
MATRICES = [
    TALL,
    WIDE,
    C_TALL,
    C_WIDE,
    EYE,
    TINY,
    HUGE,
    ZERO,
    dense_case("complex zero", torch.zeros(4, 3, dtype=torch.complex128)),
    dense_case("1 x 1", entries(1, 1)),
    dense_case("complex 1 x 1", entries(1, 1, complex_=True)),
    dense_case("row", entries(1, 6)),
    dense_case("complex column", entries(6, 1, complex_=True)),
    dense_case("primes", entries(11, 13, complex_=True)),
    dense_case("rank 1", entries(6, 5, rank=1)),
    dense_case("duplicate rows", entries(3, 5).repeat(3, 1)),
    dense_case("duplicate columns", entries(5, 2, complex_=True).repeat(1, 3)),
    dense_case("graded", torch.diag(10.0 ** torch.linspace(-6, 6, 5, dtype=torch.float64))),
    dense_case("transposed view", entries(4, 6).mT),
    dense_case("strided view", entries(8, 6, complex_=True)[::2, 1::2]),
    dense_case("conjugated view", entries(4, 6, complex_=True, seed=9).mH),
    # Three singular values, the largest one belongs to a vector with a zero where power iterations like to start.
    dense_case("top vector hidden", torch.diag(torch.tensor([1.0, 1.0, 1.01, 0.0], dtype=torch.float64))),
]
BUILT = [
    adjoint_case(TALL),
    adjoint_case(C_WIDE),
    product_case(TALL, WIDE),
    product_case(C_TALL, WIDE),
    product_case(WIDE, C_TALL),
    product_case(adjoint_case(C_TALL), TALL),
    product_case(HUGE, TINY),
    product_case(product_case(C_TALL, WIDE), product_case(TALL, EYE)),
    product_case(ZERO, adjoint_case(TINY)),
    stack_case(EYE, EYE),
    stack_case(TALL),
    stack_case(TALL, C_TALL, ZERO),
    stack_case(TINY, EYE, adjoint_case(HUGE), adjoint_case(WIDE)),
    stack_case(stack_case(TALL, EYE), ZERO),
    product_case(stack_case(EYE, C_TALL), WIDE),
    adjoint_case(stack_case(TALL, C_TALL)),
    adjoint_case(product_case(C_TALL, WIDE)),
    product_case(adjoint_case(stack_case(TALL, EYE)), stack_case(TALL, EYE)),
    stack_case(product_case(WIDE, TALL), EYE),
]
OPERATORS = [*MATRICES, *BUILT]


class Sound(Matrix):
    """What the broken ones are made of: a complex matrix that is not Hermitian, in double precision."""

    def __init__(self) -> None:
        super().__init__(entries(4, 4, complex_=True, seed=8))


# --- measurements -----------------------------------------------------------------------------------------------------


def dense_fourier(mask: Tensor, centred: bool = False) -> Tensor:
    matrix = torch.from_numpy(kron(*map(centred_dft if centred else dft, mask.shape)))
    return mask.reshape(-1, 1) * matrix


def dense_walsh(mask: Tensor) -> Tensor:
    return mask.reshape(-1, 1) * torch.from_numpy(kron(*map(walsh, mask.shape)))


def wavelet_matrix(frame: Wavelet) -> Tensor:
    return columns(frame, torch.complex128)


def coil_maps(coils: int, shape: Shape, dtype: torch.dtype = torch.complex128, scale: float = 1.0) -> Tensor:
    return (scale * Probe(torch.complex128, (coils,), seed=3).draw(shape)).to(dtype.to_complex())


def fourier_case(shape: Shape, centred: bool = False, seed: int = 0) -> Case:
    mask = some(shape, seed)
    return Case(
        f"{'centred ' * centred}Fourier {size(shape)}",
        lambda _: SubsampledFourier(mask, centred=centred),
        lambda _: dense_fourier(mask, centred),
    )


def coil_case(coils: int, shape: Shape, centred: bool = False, scale: float = 1.0) -> Case:
    mask = some(shape)

    def dense(dtype: torch.dtype) -> Tensor:
        maps = coil_maps(coils, shape, dtype, scale).to(torch.complex128)
        return torch.cat([dense_fourier(mask, centred) * s.reshape(1, -1) for s in maps])

    return Case(
        f"{'centred ' * centred}{coils} coils {size(shape)} times {scale:g}",
        lambda dtype: MultiCoilFourier(mask, coil_maps(coils, shape, dtype, scale), centred=centred),
        dense,
    )


def walsh_case(shape: Shape) -> Case:
    mask = some(shape)
    return Case(f"Walsh {size(shape)}", lambda _: SubsampledWalsh(mask), lambda _: dense_walsh(mask))


def synthesis_case(shape: Shape, wavelet: str, levels: int | None = None, centred: bool = False) -> Case:
    mask = some(shape)

    def make(_: torch.dtype) -> LinearOperator:
        return SubsampledFourier(mask, centred=centred) @ Wavelet(shape, wavelet, levels).H

    return Case(
        f"{'centred ' * centred}Fourier of {wavelet} {size(shape)}",
        make,
        lambda _: dense_fourier(mask, centred) @ wavelet_matrix(Wavelet(shape, wavelet, levels)).mH,
    )


FOURIER = [
    fourier_case(shape, centred)
    for centred in (False, True)
    for shape in [(1,), (2,), (7,), (12,), (4, 6), (5, 7), (1, 8), (3, 4, 5)]
]
COILS = [
    coil_case(1, (6,)),
    coil_case(3, (4, 5)),
    coil_case(3, (4, 5), centred=True),
    coil_case(2, (3, 1, 4)),
    coil_case(2, (5,), scale=1e-6),
    coil_case(2, (5,), scale=1e6),
    coil_case(2, (5,), scale=0),
]
WALSH = [walsh_case(shape) for shape in [(1,), (2,), (16,), (4, 8), (2, 1, 4)]]
FOLDED = [
    synthesis_case((16,), "haar"),
    synthesis_case((8,), "db10", 3),
    synthesis_case((4, 8), "haar"),
    synthesis_case((12, 8), "db2", 2),
    synthesis_case((6, 10), "sym4", 1),
    synthesis_case((7, 3), "haar", 0),
    synthesis_case((4, 4, 8), "coif1", 1),
]
SENSING = [*FOURIER, *COILS, *WALSH, *FOLDED, synthesis_case((13,), "db2", 2), synthesis_case((8, 8), "haar", 2, True)]


# --- the square-root LASSO of a matrix --------------------------------------------------------------------------------

Iterate = Literal["average", "last", "best"]
ITERATES: tuple[Iterate, ...] = ("average", "last", "best")
iterates = pytest.mark.parametrize("iterate", ITERATES)


EPS = torch.finfo(torch.float64).eps


def numbers(rng: np.random.Generator, kind: str, *shape: int) -> np.ndarray:
    x = rng.standard_normal(shape)
    return x if kind == "real" else (x + 1j * rng.standard_normal(shape)) / math.sqrt(2)


def relative(a: Any, b: Any) -> float:
    """The distance of a from b, as a part of b."""
    return float(np.linalg.norm(np.asarray(a) - np.asarray(b)) / np.linalg.norm(np.asarray(b)))


@dataclass
class Data:
    """One small problem, in NumPy, and the precision of its tensors: the arrays are in double and hold such numbers."""

    A: np.ndarray
    y: np.ndarray
    w: np.ndarray
    lam: float
    precision: torch.dtype = field(default=REAL, kw_only=True)

    def asked(self) -> Data:
        """The same in the precision that is asked for, in which A and y are rounded; see conftest.py."""
        if not SINGLE:
            return self
        A, y = (v.astype("F" if np.iscomplexobj(v) else "f").astype(v.dtype) for v in (self.A, self.y))
        return Data(A, y, self.w, self.lam, precision=torch.float32)

    @property
    def eps(self) -> float:
        return torch.finfo(self.precision).eps

    def tensor(self, x: np.ndarray) -> Tensor:
        return torch.from_numpy(x).to(self.precision.to_complex() if np.iscomplexobj(x) else self.precision)

    def net(self, schedule: Schedule, iterate: Iterate = "average") -> Firenet:
        A, w = self.tensor(self.A), torch.from_numpy(self.w)
        return Firenet(Matrix(A), weights=w, lam=self.lam, schedule=schedule, iterate=iterate)

    @property
    def measured(self) -> Tensor:
        return self.tensor(self.y)

    def objective(self, z: Tensor) -> float:
        return objective(self.A, self.y, self.w, self.lam, z.detach().numpy())

    def infeasible(self, dual: np.ndarray) -> float:
        """How far above 1 a constraint of a feasible dual point may be computed: a sum of m products is off by m u of
        the magnitudes, there and here, and they may be far larger than a small lambda w. Eight for norm and scaling."""
        magnitudes = np.abs(self.A).T @ np.abs(dual) / (self.lam * self.w)
        return (len(self.A) + 8) * self.eps * max(1.0, float(magnitudes.max()))

    def rounding(self, dual: np.ndarray, value: float) -> float:
        """How far a computed gap may be off: the sums of F, and the dual value with what its point is infeasible."""
        data = float(np.linalg.norm(self.y))
        return sum(self.A.shape) * self.eps * (value + data) + self.infeasible(dual) * data


def problem(
    kind: str,
    m: int = 12,
    n: int = 24,
    *,
    lam: float = 0.3,
    spread: float = 0.3,
    noise: float = 0.1,
    scale: float = 1.0,
    seed: int = 0,
) -> Data:
    """A sparse signal measured by a Gaussian matrix. Weights between 10^-spread and 10^spread."""
    rng = np.random.default_rng(seed)
    A = numbers(rng, kind, m, n) / math.sqrt(m)
    x = np.zeros(n, A.dtype)
    s = max(n // 8, 1)
    x[rng.choice(n, s, replace=False)] = 1 + numbers(rng, kind, s)
    y = A @ x + noise * numbers(rng, kind, m) / math.sqrt(m)
    w = 10 ** rng.uniform(-spread, spread, n)
    w[0], w[-1] = 10**spread, 10**-spread
    return Data(A * scale, y * scale, w, lam * scale)


def rows_twice(kind: str) -> Data:
    data = problem(kind, 8, 20)
    return Data(np.vstack([data.A, data.A]), np.concatenate([data.y, data.y]), data.w, data.lam)


def columns_twice(kind: str) -> Data:
    data = problem(kind, 12, 10)
    return Data(np.hstack([data.A, data.A]), data.y, np.concatenate([data.w, data.w]), data.lam)


def rank_one(kind: str) -> Data:
    data = problem(kind, 12, 24)
    return Data(data.A[:, :1] @ data.A[:1], data.y, data.w, 0.03)


PROBLEMS: dict[str, Callable[[str], Data]] = {
    "12 x 24": problem,
    "20 x 40": lambda kind: problem(kind, 20, 40),
    "zero residual": lambda kind: problem(kind, 20, 40, noise=0, lam=1e-2, spread=0),
    "weights 1e-3 to 1e3": lambda kind: problem(kind, 20, 24, spread=3, lam=0.1),
    "more rows than columns": lambda kind: problem(kind, 30, 20),
    "rows twice": rows_twice,
    "columns twice": columns_twice,
    "rank one": rank_one,
    "one by one": lambda kind: problem(kind, 1, 1, lam=0.03),
}


# --- measurements with an analysis operator ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Setup:
    """Sensing and frame, and the dtype of the measurements."""

    sensing: LinearOperator
    frame: AnalysisOperator
    dtype: torch.dtype = torch.complex128

    def dense(self) -> tuple[np.ndarray, np.ndarray]:
        """A and W; a row of A for each number of the measurements."""
        kind = self.dtype
        return self.sensing.as_matrix(kind).numpy(), self.frame.as_matrix(kind).numpy()

    def data(self, *batch: int, seed: int = 0) -> Tensor:
        """Measurements of something with jumps, with noise."""
        x = draw((*batch, *self.sensing.in_shape), self.dtype, seed)
        x = x.sign() if not x.is_complex() else x.real.sign() + 0.3j * x.imag.sign()
        y = self.sensing(x)
        return self.sensing.restrict(y + 0.05 * draw(tuple(y.shape), self.dtype, seed + 1))


def union(shape: tuple[int, ...], *parts: tuple[str, int]) -> Union:
    return Union([UndecimatedWavelet(shape, *part) for part in parts])


SETUPS: dict[str, Callable[[], Setup]] = {
    "Fourier": lambda: Setup(SubsampledFourier(with_zero(4, 5)), UndecimatedWavelet((4, 5), "haar", 2)),
    "Fourier, 1-D": lambda: Setup(SubsampledFourier(with_zero(13)), UndecimatedWavelet((13,), "sym4", 2)),
    "Fourier, 3-D": lambda: Setup(SubsampledFourier(with_zero(2, 3, 4)), UndecimatedWavelet((2, 3, 4), "db2", 1)),
    "centred": lambda: Setup(SubsampledFourier(with_zero(4, 5), centred=True), UndecimatedWavelet((4, 5), "haar", 1)),
    "coils": lambda: Setup(
        MultiCoilFourier(with_zero(4, 5), draw((2, 4, 5), COMPLEX, 3)), UndecimatedWavelet((4, 5), "db2", 1)
    ),
    "Walsh": lambda: Setup(SubsampledWalsh(with_zero(4, 4)), UndecimatedWavelet((4, 4), "haar", 2), REAL),
    "Walsh, odd frame axis": lambda: Setup(SubsampledWalsh(with_zero(8)), UndecimatedWavelet((8,), "db3", 3), REAL),
    "Walsh, short last side": lambda: Setup(
        SubsampledWalsh(with_zero(4, 2)), UndecimatedWavelet((4, 2), "haar", 1), REAL
    ),
    "Walsh, no last side": lambda: Setup(SubsampledWalsh(with_zero(8, 1)), UndecimatedWavelet((8, 1), "haar", 0), REAL),
    "matrix": lambda: Setup(Matrix(draw((6, 9), REAL, 1) / 3), UndecimatedWavelet((9,), "haar", 3), REAL),
    "complex matrix": lambda: Setup(Matrix(draw((6, 9), COMPLEX, 1) / 3), UndecimatedWavelet((9,), "haar", 3)),
    "orthonormal": lambda: Setup(SubsampledFourier(with_zero(4, 4)), Wavelet((4, 4), "haar", 2)),
    "padded": lambda: Setup(SubsampledFourier(with_zero(5, 3)), Wavelet((5, 3), "haar", 1)),
    "Walsh frame": lambda: Setup(Matrix(draw((5, 8), REAL, 2)), WalshHadamard((8,)), REAL),
    "no level": lambda: Setup(SubsampledFourier(with_zero(6)), UndecimatedWavelet((6,), "haar", 0)),
    "union": lambda: Setup(SubsampledFourier(with_zero(4, 5)), union((4, 5), ("haar", 1), ("db2", 1))),
    "union, coils": lambda: Setup(
        MultiCoilFourier(with_zero(4, 5), draw((2, 4, 5), COMPLEX, 3)), union((4, 5), ("haar", 1), ("db2", 1))
    ),
    "TV": lambda: Setup(SubsampledFourier(with_zero(4, 5)), Gradient((4, 5))),
    "TV, 1-D": lambda: Setup(SubsampledFourier(with_zero(13)), Gradient((13,))),
    "TV, 3-D": lambda: Setup(SubsampledFourier(with_zero(2, 3, 4)), Gradient((2, 3, 4))),
    "TV, no zero frequency": lambda: Setup(SubsampledFourier(no_mean(4, 5)), Gradient((4, 5))),
    "TV, centred": lambda: Setup(SubsampledFourier(with_zero(4, 5), centred=True), Gradient((4, 5))),
    "TV, coils": lambda: Setup(MultiCoilFourier(with_zero(4, 5), draw((2, 4, 5), COMPLEX, 3)), Gradient((4, 5))),
    "TV, Walsh": lambda: Setup(SubsampledWalsh(with_zero(4, 4)), Gradient((4, 4)), REAL),
    "TV, matrix": lambda: Setup(Matrix(draw((6, 9), REAL, 1) / 3), Gradient((9,)), REAL),
    "TV, scaled": lambda: Setup(Matrix(1e6 * draw((6, 9), REAL, 1)), Gradient((9,)), REAL),
    "Neumann": lambda: Setup(SubsampledFourier(with_zero(4, 5)), Gradient((4, 5), "neumann")),
    "Neumann, Walsh": lambda: Setup(SubsampledWalsh(with_zero(4, 4)), Gradient((4, 4), "neumann"), REAL),
    "Neumann, 3-D": lambda: Setup(SubsampledFourier(with_zero(2, 3, 2)), Gradient((2, 3, 2), "neumann")),
    "wavelets and TV": lambda: Setup(
        SubsampledFourier(with_zero(4, 5)), Union([UndecimatedWavelet((4, 5), "haar", 1), Gradient((4, 5))], [1.0, 0.5])
    ),
    "wavelets and TV, Walsh": lambda: Setup(
        SubsampledWalsh(with_zero(4, 4)),
        Union([UndecimatedWavelet((4, 4), "haar", 1), Gradient((4, 4))], [1.0, 0.5]),
        REAL,
    ),
    "scaled": lambda: Setup(Matrix(1e6 * draw((6, 9), REAL, 1)), UndecimatedWavelet((9,), "haar", 2), REAL),
}
setups = pytest.mark.parametrize("name", SETUPS)


def recovery(
    setup: Setup, weights: Tensor | None, lam: float, y: Tensor, kind: str = "norm", noise: float = 0
) -> Recovery:
    A, W = setup.dense()
    frame = setup.frame
    w = torch.ones(frame.penalty_shape, dtype=REAL) if weights is None else weights.expand(frame.penalty_shape)
    groups = None
    if frame.penalty_shape != frame.out_shape:
        rows, at, found = torch.arange(len(W)).view(frame.out_shape), 0, []
        for size in frame.groups or (frame.out_shape[0],):
            found += rows[at : at + size].flatten(1).mT.tolist()
            at += size
        groups = tuple(map(tuple, found))
    return Recovery(A, W, y.numpy().ravel(), w.numpy().ravel(), lam, groups, kind, noise)


def weights_of(setup: Setup, kind: str) -> Tensor | None:
    """The usual ones, a number a band, or one for each coefficient."""
    shape = setup.frame.penalty_shape
    if kind == "none":
        return Firenet(setup.sensing, setup.frame, form="analysis").problem.weights
    full = 10 ** (2 * uniform(shape, dtype=REAL, seed=5) - 1)
    return full if kind == "each" else full[(slice(None), *(slice(0, 1),) * (len(shape) - 1))]


def analysed(setup: Setup, schedule: Schedule, weights: Tensor | None = None) -> Firenet:
    return Firenet(setup.sensing, setup.frame, weights=weights, lam=0.1, schedule=schedule, form="analysis")


# --- images and their k-space -----------------------------------------------------------------------------------------


def small_image(side: int = 32) -> Tensor:
    """A real slice, resampled."""
    return resampled(load_slice()[None], side)[0]


def small_mask(side: int = 32, rate: float = 0.4) -> Tensor:
    return variable_density((side, side), rate).samples


def three_coils(dtype: torch.dtype) -> tuple[MultiCoilFourier, Wavelet]:
    rng = np.random.default_rng(8)
    mask = uniform(8, 8, seed=rng) < 0.6
    return MultiCoilFourier(mask, normal(3, 8, 8, dtype=dtype, seed=rng)), Wavelet((8, 8), "haar")


def complex_normal(*shape: int, seed: int = 0) -> Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.standard_normal(shape) + 1j * rng.standard_normal(shape))


def spectrum(images: Tensor, dims: int) -> Tensor:
    return torch.fft.fftn(images, dim=tuple(range(-dims, 0)), norm="ortho")


def phantom(coils: int, shape: tuple[int, ...], noise: float = 0.01) -> tuple[Tensor, Tensor, Tensor]:
    """k-space of an ellipse before smooth coils with phases, the maps of norm one, and where the ellipse is."""
    dims = len(shape)
    axes = np.meshgrid(*((np.arange(n) - n // 2) / n for n in shape), indexing="ij")
    inside = sum((a / r) ** 2 for a, r in zip(axes, (0.38, 0.4, 0.36)[:dims], strict=True)) < 1
    rng = np.random.default_rng(0)
    places = rng.standard_normal((coils, dims))
    places *= 0.6 / np.linalg.norm(places, axis=1, keepdims=True)
    sensitivities = np.stack(
        [
            np.exp(-sum((a - p) ** 2 for a, p in zip(axes, place, strict=True)) / 0.5)
            * np.exp(1j * (c + 3 * axes[-1] * place[-1]))
            for c, place in enumerate(places)
        ]
    )
    k = spectrum(torch.from_numpy(sensitivities * inside), dims) + noise * complex_normal(coils, *shape, seed=2)
    maps = torch.from_numpy(sensitivities)
    return k, maps / torch.linalg.vector_norm(maps, dim=0), torch.from_numpy(inside)
