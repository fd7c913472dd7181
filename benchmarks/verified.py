"""Seconds and width of verified certificates beside the plain ones: python benchmarks/verified.py [--quick].

Each problem is solved by a few layers; then its point is certified without and with ``verified=True``, both from the
same dual point. Columns: the verified upper bound of the objective over the plain objective, less one; what the lower
bound loses; both over the rounding that the plain certificate states.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
import torch

import firenet
from firenet.problems import AnalysisProblem
from firenet.reconstruction.defaults import default_network
from firenet.verified import verify

DOUBLE = torch.complex128


def image(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """Ellipses and a smooth phase."""
    r = torch.meshgrid(*(torch.linspace(-1, 1, n, dtype=torch.float64) for n in shape), indexing="ij")
    x = ((r[0] / 0.9) ** 2 + (r[1] / 0.7) ** 2 < 1).double() - 0.5 * ((r[0] - 0.2) ** 2 + r[1] ** 2 < 0.1).double()
    return (x * torch.exp(0.5j * r[0]) if dtype.is_complex else x).to(dtype)


def sampled(shape: tuple[int, ...], rate: float) -> Any:
    """Random samples, densest in the corner, where zero frequency is."""
    rng = np.random.default_rng(0)
    k = np.meshgrid(*(np.minimum(np.arange(n), n - np.arange(n)) / n for n in shape), indexing="ij")
    keep = rng.random(shape) < np.minimum(1, rate / (0.05 + 4 * sum(v * v for v in k)))
    keep[(0,) * len(shape)] = True
    return keep


def problems(quick: bool) -> dict[str, Any]:
    """Returns networks with their data."""
    rng = np.random.default_rng(0)
    side = 64 if quick else 256
    shape, odd = (side, side), (46, 36) if quick else (230, 180)
    rules = firenet.AdaptiveRestarts(1e-3, 60)
    A = rng.standard_normal((60, 100)) / np.sqrt(60)
    r = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in odd), indexing="ij"))
    centres = rng.uniform(-1, 1, (8, 2, 1, 1))
    maps = np.exp(-((r - centres) ** 2).sum(axis=1) + 1j * rng.uniform(0, 6, (8, 1, 1)))
    fourier, coils = firenet.SubsampledFourier(sampled(shape, 0.1)), firenet.MultiCoilFourier(sampled(odd, 0.1), maps)
    walsh = firenet.SubsampledWalsh(np.roll(sampled(shape, 0.1), 0))
    nets = {
        "dense 60 x 100": (firenet.Firenet(firenet.Matrix(A), lam=0.05, schedule=rules), None),
        f"Walsh, Haar, {side} x {side}": (
            firenet.Firenet(walsh, firenet.Wavelet(shape, "haar"), lam=1e-3, schedule=rules),
            image(shape, torch.float64),
        ),
        f"Fourier, Haar, {side} x {side}": (
            firenet.Firenet(fourier, firenet.Wavelet(shape, "haar"), lam=1e-3, schedule=rules),
            image(shape, DOUBLE),
        ),
        f"Fourier, default analysis, {side} x {side}": (default_network(fourier, schedule=rules), image(shape, DOUBLE)),
        f"8 coils, default analysis, {odd[0]} x {odd[1]}": (default_network(coils, schedule=rules), image(odd, DOUBLE)),
    }
    found: dict[str, Any] = {}
    for name, (net, x) in nets.items():
        sensing = net.sensing
        y = sensing(image(shape, DOUBLE) if x is None else x) if x is not None else None
        if y is None:
            z = (rng.random(100) < 0.1) * rng.standard_normal(100)
            y = torch.from_numpy(A @ z + 0.01 * rng.standard_normal(60))
        found[name] = net, sensing.restrict(y)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="Small images.")
    quick = parser.parse_args().quick
    print("| problem | solve (s) | verify (s) | relative gap | objective: width | lower bound: loss | plain rounding |")
    print("|---|---|---|---|---|---|---|")
    for name, (net, y) in problems(quick).items():
        begin = time.perf_counter()
        s = net.solve(y)
        middle = time.perf_counter()
        problem = net.problem
        p = s.dual_sparse if isinstance(problem, AnalysisProblem) else None
        v = verify(problem, s.coefficients, y, s.dual, p)
        end = time.perf_counter()
        value, bound = s.objective.item(), s.lower_bound.item()
        width, loss = (v.objective - v.least_objective) / value, (bound - v.lower_bound) / value
        numbers = f"{v.relative_gap:.2e} | {width:.1e} | {loss:.1e} | {s.rounding.item() / value:.1e}"
        print(f"| {name} | {middle - begin:.1f} | {end - middle:.1f} | {numbers} |", flush=True)


if __name__ == "__main__":
    main()
