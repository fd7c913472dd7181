"""Depth against accuracy: how many layers a certified relative gap takes.

Run: python benchmarks/depth.py [--json] [--plot FILE.png]

20 % Fourier samples, 2 % noise, lambda = 2.5e-4, from a cold start. One run a tolerance, in double precision down to
1e-8; beside it single precision at the default tolerance 1e-4. The gap is computed again outside the network. Last,
the default of ``firenet recon``, without reweighting, on the head slice: 25 % variable density, no noise, single
precision: certified gap and PSNR after so many layers.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pywt
import torch

import firenet
from firenet.scans.demo import load_slice

TOLERANCES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8)
CASES = (("s1045", 256), ("camera", 256), ("camera", 512))


def image(name: str, side: int) -> torch.Tensor:
    if name == "s1045":
        return load_slice().double()
    stored = np.load(Path(pywt.__file__).parent / "data" / "camera.npz")["data"].astype(np.float64) / 255
    whole = torch.from_numpy(stored)
    k = whole.shape[0] // side
    return whole.view(side, k, side, k).mean(dim=(1, 3))


@torch.no_grad()
def measure(name: str, side: int, wavelet: str) -> dict[str, Any]:
    truth = image(name, side)
    sensing = firenet.SubsampledFourier(firenet.sensing.multilevel((side, side), 0.2, seed=0).samples)
    y = sensing(truth.to(torch.complex128))
    error = sensing.restrict(torch.randn(y.shape, dtype=y.dtype, generator=torch.Generator().manual_seed(1)))
    y = y + 0.02 * torch.linalg.vector_norm(y) / torch.linalg.vector_norm(error) * error
    frame = firenet.Wavelet((side, side), wavelet)

    def layers(tolerance: float, dtype: torch.dtype) -> int | str:
        net = firenet.Firenet(sensing, frame, lam=2.5e-4, schedule=firenet.AdaptiveRestarts(tolerance, 3000))
        solution = net.solve(y.to(dtype))
        if solution.statuses[0] != firenet.Status.TOLERANCE_REACHED:
            return f"{solution.statuses[0].value} at {solution.relative_gap.item():.1e} after {int(solution.layers)}"
        again = net.problem.gap(solution.coefficients, solution.dual, y.to(dtype)).item()
        size = 2 * solution.objective.item() - again
        assert again <= tolerance * size * (1 + 1e-9) + 8 * torch.finfo(dtype).eps * (size + y.norm().item())
        return int(solution.layers)

    depth = {f"{t:g}": layers(t, torch.complex128) for t in TOLERANCES}
    return {"image": name, "side": side, "wavelet": wavelet, "double": depth, "single": layers(1e-4, torch.complex64)}


@torch.no_grad()
def default() -> list[dict[str, float]]:
    """Gap and PSNR of the undecimated default after so many layers."""
    from firenet.metrics import psnr
    from firenet.reconstruction import default_network

    truth = load_slice()
    mask = firenet.sensing.variable_density(truth.shape, 0.25).samples
    y, rows = firenet.SubsampledFourier(mask)(truth.to(torch.complex64)), []
    for layers in (20, 50, 100, 150, 250, 400, 800):
        solution = default_network(
            firenet.SubsampledFourier(mask), schedule=firenet.AdaptiveRestarts(1e-12, layers)
        ).solve(y)
        gap = solution.relative_gap.item()
        rows.append({"layers": int(solution.layers), "relative_gap": gap, "psnr": psnr(solution.image, truth)})
    return rows


def draw(results: list[dict[str, Any]], path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for r in results:
        reached = {float(t): n for t, n in r["double"].items() if isinstance(n, int)}
        label = f"{r['image']} {r['side']}, {r['wavelet']}"
        axes.plot(list(reached.values()), list(reached), marker="o", markersize=3, label=label)
    axes.set_yscale("log")
    axes.set_xlabel("layers")
    axes.set_ylabel("certified relative gap")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    temporary = path.with_name(path.name + ".new")
    figure.savefig(temporary, dpi=110, format="png")
    temporary.replace(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    results = []
    for name, side in CASES:
        for wavelet in ("haar", "db4"):
            results.append(measure(name, side, wavelet))
            if not arguments.json:
                r = results[-1]
                counts = "  ".join(f"{t}: {n}" for t, n in r["double"].items())
                print(f"{name} {side} {wavelet}: double {counts};  single 1e-4: {r['single']}", flush=True)
    rows = default()
    if not arguments.json:
        print("default: " + "  ".join(f"{r['layers']}: {r['relative_gap']:.1e}, {r['psnr']:.2f} dB" for r in rows))
    if arguments.plot:
        draw(results, arguments.plot)
    if arguments.json:
        print(json.dumps({"torch": torch.__version__, "results": results, "default": rows}, indent=2))


if __name__ == "__main__":
    main()
