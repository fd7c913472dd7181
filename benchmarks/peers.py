"""The methods: ours and the peers', each a black box from a number of iterations to an image.

Building a method (operators, masks, matrices) is outside the clock for everybody; what its own call computes (SigPy's
power iteration, cvxpy's translation to a cone program) is inside. Every method gets what makes it fast: FFTs without
shifts, single precision, no cost evaluated along the way, and the LASSO's lambda for free.

A method has variants, of which the best counts. ``default`` is what the library does by itself. ``tuned`` is the best
of four: for primal-dual methods the ratio omega of the steps (tau, sigma) = (omega, 1 / omega) / ||A||, for FISTA the
step alpha in units of 1 / ||A||^2, both without a power iteration.
"""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pywt
import torch
from problems import ADAPTIVE, FISTA, Minimiser, Problem, Skip

import firenet

Run = Callable[[int], np.ndarray]
Build = Callable[[Problem, Minimiser], Mapping[str, Run]]
Options = Mapping[str, Mapping[str, Any]]
OMEGAS = (1.0, 5.0, 25.0, 125.0)
# With the penalty ||W x||_1 and an exact fit the dual is about as large as x; smaller than 1 did best at 64 x 64.
EXACT_OMEGAS = (0.03, 0.1, 0.3, 1.0)
# FISTA is stable up to 4/3 where the eigenvalues of A*A are 0 and 1.
ALPHAS = (0.5, 1.0, 1.15, 1.3)


@dataclass(frozen=True)
class Method:
    """A method of a library.

    Attributes:
        name: In tables.
        package: The distribution whose version is recorded.
        build: Makes the variants for a problem; raises :class:`Skip` with the reason if it cannot.
        once: Whether the number of iterations means nothing (an interior-point solver runs to its own end).
    """

    name: str
    package: str
    build: Build
    once: bool = False

    @property
    def ours(self) -> bool:
        return self.package == "firenet"


def _load(module: str) -> Any:
    """A peer's module, or why it is left out."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise Skip(f"{module} is not installed: {error}") from None


def _lambdas(problem: Problem, answer: Minimiser) -> Mapping[str, float]:
    """The lambda of the LASSO with the same minimiser.

    A minimiser that fits the data exactly is only the limit of LASSO's as lambda falls to 0: fast and far, or slow and
    near. Then four values are tried and the first to come near enough counts.
    """
    if not problem.exact:
        return {"": problem.lam * answer.residual}
    largest = problem.wavelet()(problem.sensing().adjoint(problem.y_single)).abs().max().item()
    return {f"lambda {share:g} of largest": share * largest for share in (1e-3, 5e-5, 1e-5, 2e-6)}


def _steps(problem: Problem, tuned: bool, fista: bool, options: Callable[[float], dict[str, Any]]) -> Options:
    """The choices of steps: none by default, else the best of four."""
    if not tuned:
        return {"": {}}
    if fista:  # where lambda is tried out, too, the two best steps are enough
        return {f"alpha {a:g}": options(a) for a in (ALPHAS[1::2] if problem.exact else ALPHAS)}
    return {f"omega {w:g}": options(w) for w in (EXACT_OMEGAS if problem.exact else OMEGAS)}


def _variants(run: Callable[..., np.ndarray], *grids: Options) -> Mapping[str, Run]:
    """One run for each choice of options, the product of the grids."""
    variants = {}
    for choice in itertools.product(*(grid.items() for grid in grids)):
        label = ", ".join(name for name, _ in choice if name) or "default"
        options = {key: value for _, some in choice for key, value in some.items()}
        variants[label] = partial(run, **options)
    return variants


# Ours


def _ours(schedule: Callable[[int], Any]) -> Build:
    def build(problem: Problem, answer: Minimiser) -> Mapping[str, Run]:
        schedule(1)  # raises Skip where the schedule does not exist yet
        y = problem.y_single
        network = problem.network(schedule(1))

        def run(iterations: int) -> np.ndarray:
            network.schedule = schedule(iterations)
            return network.solve(y).image.numpy()

        return {"default": run}

    return build


def _paper(layers: int) -> Any:
    return firenet.PaperSchedule(outer=min(10, layers), inner=-(-layers // 10))


def _later(name: str, **options: Any) -> Callable[[int], Any]:
    """A schedule by name; it decides itself where to restart, and is cut off at a number of layers."""

    def make(layers: int) -> Any:
        schedule = getattr(firenet, name, None)
        if schedule is None:
            raise Skip(f"firenet has no {name}")
        return schedule(max_layers=layers, **options)

    return make


# SigPy


def _sigpy(solver: str, tuned: bool) -> Build:
    def build(problem: Problem, answer: Minimiser) -> Mapping[str, Run]:
        sp = _load("sigpy")
        y = problem.y_single.numpy()
        if problem.real:
            A = _sigpy_walsh(sp, problem)
        else:
            # center=False: zero frequency is in the corner already, and two shifts a transform are saved.
            A = sp.linop.FFT(y.shape, axes=(-2, -1), center=False)
            A = sp.linop.Multiply(y.shape, problem.mask.numpy().astype(np.float32)) * A
            if problem.maps is not None:
                A = A * sp.linop.Multiply(problem.shape, problem.maps.to(torch.complex64).numpy())
        # Haar never reaches over the edge of an even side, so SigPy's zero padding is our periodic transform.
        W = sp.linop.Wavelet(problem.shape, wave_name="haar", level=problem.wavelet().depth)
        constrained = problem.exact and solver == "PrimalDualHybridGradient"

        def run(iterations: int, lam: float, **steps: Any) -> np.ndarray:
            proxg = sp.prox.UnitaryTransform(sp.prox.L1Reg(W.oshape, lam), W)
            common = {"max_iter": iterations, "show_pbar": False, **steps}
            if constrained:
                return sp.app.L2ConstrainedMinimization(A, y, proxg, 0.0, **common).run()
            return sp.app.LinearLeastSquares(A, y, proxg=proxg, solver=solver, **common).run()

        lambdas = {"": 1.0} if constrained else _lambdas(problem, answer)
        fista = solver == "GradientMethod"
        steps = _steps(problem, tuned, fista, lambda s: {"alpha": s} if fista else {"tau": s, "sigma": 1 / s})
        return _variants(run, {k: {"lam": v} for k, v in lambdas.items()}, steps)

    return build


def _sigpy_walsh(sp: Any, problem: Problem) -> Any:
    """SigPy has no Walsh transform; it gets ours."""
    sensing = problem.sensing()

    class Walsh(sp.linop.Linop):
        def __init__(self, adjoint: bool = False) -> None:
            self.adjoint = adjoint
            super().__init__(problem.shape, problem.shape)

        def _apply(self, input: np.ndarray) -> np.ndarray:
            x = torch.from_numpy(input)
            return (sensing.adjoint(x) if self.adjoint else sensing(x)).numpy()

        def _adjoint_linop(self) -> Any:
            return Walsh(not self.adjoint)

    return Walsh()


# deepinv


_TORCHVISION: list[Any] = []


def _import_deepinv() -> Any:
    """deepinv beside a CPU build of torch.

    torchvision's wheel registers fake kernels for two operators that its CUDA library would define. Declaring them is
    enough for deepinv's physics and optimisers.
    """
    _load("ptwt")
    if not _TORCHVISION:
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _TORCHVISION.append(library)  # kept alive: the declarations go with it
    return _load("deepinv")


def _deepinv(solver: str, tuned: bool) -> Build:
    def build(problem: Problem, answer: Minimiser) -> Mapping[str, Run]:
        deepinv = _import_deepinv()
        sensing = problem.sensing()
        y = problem.y_single[(None,) * (2 if problem.maps is None else 1)]  # (batch, channel or coil, rows, columns)
        if problem.maps is None:
            A, A_adjoint = sensing, sensing.adjoint
        else:  # images have a channel where measurements have coils
            A, A_adjoint = (lambda x: sensing(x[:, 0])), (lambda v: sensing.adjoint(v)[:, None])
        physics = deepinv.physics.LinearPhysics(A=lambda x, **_: A(x), A_adjoint=lambda v, **_: A_adjoint(v))
        prior = _deepinv_prior(deepinv, problem)
        constrained = problem.exact and solver == "PDCP"
        common: dict[str, Any] = {"prior": prior}
        if solver == "FISTA":
            common |= {"data_fidelity": deepinv.optim.L2()}
        else:
            distance = deepinv.optim.distance
            fidelity = distance.IndicatorL2Distance(radius=0.0) if constrained else distance.L2Distance()
            common |= {"data_fidelity": fidelity, "K": A, "K_adjoint": A_adjoint}

        def run(iterations: int, **steps: Any) -> np.ndarray:
            model = getattr(deepinv.optim, solver)(max_iter=iterations, **common, **steps)
            return model(y, physics)[0, 0].numpy()

        def steps(s: float) -> dict[str, Any]:
            if solver == "FISTA":
                return {"stepsize": s}
            # The default starts the dual at y, many times as far from the optimum as 0, where tuned starts it.
            return {"stepsize": s, "stepsize_dual": 1 / s, "custom_init": _start_at_zero}

        lambdas = {"": 1.0} if constrained else _lambdas(problem, answer)
        grid = _steps(problem, tuned, solver == "FISTA", steps)
        return _variants(run, {k: {"lambda_reg": v} for k, v in lambdas.items()}, grid)

    return build


def _start_at_zero(y: torch.Tensor, physics: Any) -> dict[str, tuple[torch.Tensor, ...]]:
    x = physics.A_adjoint(y)
    return {"est": (x, x, torch.zeros_like(y))}


def _deepinv_prior(deepinv: Any, problem: Problem) -> Any:
    """deepinv's wavelet prior, thresholding the modulus, and the approximation, too.

    ``WaveletPrior`` thresholds real and imaginary parts apart and leaves the approximation out: another minimiser.
    Transform and inverse are deepinv's. It is not called explicit, so that no cost is evaluated at each iteration.
    """

    class ModulusWaveletPrior(deepinv.optim.WaveletPrior):
        def prox(self, x: torch.Tensor, *args: Any, gamma: float = 1.0, **kwargs: Any) -> torch.Tensor:
            approximation, *details = self.WaveletDenoiser.dwt(x)
            return self.WaveletDenoiser.iwt(
                [self._shrink(approximation, gamma), *([self._shrink(d, gamma) for d in level] for level in details)]
            )

        def _shrink(self, c: torch.Tensor, threshold: float) -> torch.Tensor:
            if not self.is_complex or c.is_complex():
                return c * (1 - threshold / c.abs().clamp(min=threshold))
            return c * (1 - threshold / torch.hypot(c[..., 0], c[..., 1]).clamp(min=threshold))[..., None]

    prior = ModulusWaveletPrior(level=problem.wavelet().depth, wv="haar", is_complex=not problem.real)
    prior.explicit_prior = False
    return prior


# PyProximal


def _pyproximal(tuned: bool) -> Build:
    def build(problem: Problem, answer: Minimiser) -> Mapping[str, Run]:
        pylops, pyproximal = _load("pylops"), _load("pyproximal")
        shape, y = problem.shape, problem.y_single.numpy()
        size, kept = y[0].size if problem.maps is not None else y.size, np.flatnonzero(problem.mask.numpy())
        options = {"dtype": y.dtype}
        if problem.real or problem.maps is not None:
            sensing = problem.sensing()

            def forward(x: np.ndarray) -> np.ndarray:
                return sensing(torch.from_numpy(x.reshape(shape))).numpy().ravel()

            def adjoint(v: np.ndarray) -> np.ndarray:
                return sensing.adjoint(torch.from_numpy(v.reshape(y.shape))).numpy().ravel()

            A, data = pylops.FunctionOperator(forward, adjoint, y.size, size, **options), y.ravel()
        else:
            F = pylops.signalprocessing.FFT2D(shape, norm="ortho", engine="scipy", **options)
            A, data = pylops.Restriction(size, kept, **options) @ F, y.ravel()[kept]
        depth = problem.wavelet().depth
        if all(n & (n - 1) == 0 for n in shape):
            W = pylops.signalprocessing.DWT2D(shape, wavelet="haar", level=depth, **options)
        else:  # DWT2D would pad to powers of two, and would no longer be orthonormal
            W = _pylops_haar(pylops, shape, depth, options)
        lam = 1.0 if problem.exact else problem.lam * answer.residual
        proxf = pyproximal.Orthogonal(pyproximal.L1(sigma=lam), W)
        proxg = _point(pyproximal, data) if problem.exact else pyproximal.L2(b=data)

        def run(iterations: int, omega: float = 1.0) -> np.ndarray:
            zero = np.zeros(size, y.dtype)
            x = pyproximal.optimization.primaldual.PrimalDual(
                proxf, proxg, A, zero, tau=omega, mu=1 / omega, niter=iterations
            )
            return x.reshape(shape)

        # Steps are the caller's to choose; equal ones are what its own examples take.
        return _variants(run, _steps(problem, tuned, False, lambda s: {"omega": s}))

    return build


def _pylops_haar(pylops: Any, shape: tuple[int, ...], depth: int, options: Mapping[str, Any]) -> Any:
    def analyse(x: np.ndarray) -> np.ndarray:
        return pywt.coeffs_to_array(pywt.wavedec2(x.reshape(shape), "haar", "periodization", depth))[0].ravel()

    slices = pywt.coeffs_to_array(pywt.wavedec2(np.zeros(shape), "haar", "periodization", depth))[1]

    def synthesise(c: np.ndarray) -> np.ndarray:
        coefficients = pywt.array_to_coeffs(c.reshape(shape), slices, "wavedec2")
        return pywt.waverec2(coefficients, "haar", "periodization").ravel()

    size = int(np.prod(shape))
    return pylops.FunctionOperator(analyse, synthesise, size, size, **options)


def _point(pyproximal: Any, data: np.ndarray) -> Any:
    """The indicator of {data}: its dual proximal map is a shift."""

    class Point(pyproximal.ProxOperator):
        def __call__(self, x: np.ndarray) -> float:
            return 0.0  # asked for once, before the first iteration, and not used

        def prox(self, x: np.ndarray, tau: float) -> np.ndarray:
            return data

        def proxdual(self, x: np.ndarray, tau: float) -> np.ndarray:
            return x - tau * data

    return Point(None, False)


# cvxpy


def _cvxpy(problem: Problem, answer: Minimiser) -> Mapping[str, Run]:
    if max(problem.shape) > 32 or problem.real or problem.maps is not None:
        raise Skip("a dense cone program: only up to 32 x 32")
    cp = _load("cvxpy")
    _load("clarabel")
    W = problem.wavelet()
    A = (problem.sensing() @ W.H).as_matrix(torch.complex128).numpy()[problem.mask.numpy().ravel()]
    y = problem.y.numpy()[problem.mask.numpy()]

    def run(iterations: int) -> np.ndarray:
        z = cp.Variable(A.shape[1], complex=True)
        cp.Problem(cp.Minimize(problem.lam * cp.norm1(z) + cp.norm2(A @ z - y))).solve(solver=cp.CLARABEL)
        return W.adjoint(torch.from_numpy(np.asarray(z.value)).reshape(problem.shape)).numpy()

    return {"default": run}


METHODS = (
    Method(ADAPTIVE, "firenet", _ours(_later("AdaptiveRestarts", tolerance=1e-12))),
    Method("radial search", "firenet", _ours(_later("RadialSearch"))),
    Method("paper schedule", "firenet", _ours(_paper)),
    Method("fixed step", "firenet", _ours(lambda layers: firenet.solver.FixedSteps(layers))),
    Method(FISTA, "sigpy", _sigpy("GradientMethod", False)),
    Method("SigPy FISTA, tuned", "sigpy", _sigpy("GradientMethod", True)),
    Method("SigPy PDHG", "sigpy", _sigpy("PrimalDualHybridGradient", False)),
    Method("SigPy PDHG, tuned", "sigpy", _sigpy("PrimalDualHybridGradient", True)),
    Method("deepinv FISTA", "deepinv", _deepinv("FISTA", False)),
    Method("deepinv FISTA, tuned", "deepinv", _deepinv("FISTA", True)),
    Method("deepinv PDCP", "deepinv", _deepinv("PDCP", False)),
    Method("deepinv PDCP, tuned", "deepinv", _deepinv("PDCP", True)),
    Method("PyProximal PrimalDual", "pyproximal", _pyproximal(False)),
    Method("PyProximal PrimalDual, tuned", "pyproximal", _pyproximal(True)),
    Method("cvxpy + Clarabel", "cvxpy", _cvxpy, once=True),
)
