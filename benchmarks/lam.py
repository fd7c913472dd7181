"""How far the best lambda moves with the noise: the square-root LASSO (P3) beside the LASSO (P2).

    python benchmarks/lam.py [--json]

The head slice s1045 with 25 % of its frequencies (variable density), 0, 1 and 5 % noise, the default transform, no
reweighting. (P3)'s lambda in units of the default, (P2)'s relative to the norm of the data. The picture goes into
docs/lambda.png; PSNR against the truth, which nobody has.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

import firenet
from firenet.metrics import psnr
from firenet.reconstruction import default_schedule
from firenet.scans.demo import load_slice
from firenet.transforms.spec import transform

DOCS = Path(__file__).parent.parent / "docs"
NOISE = (0.0, 0.01, 0.05)
SHARES = [float(s) for s in np.geomspace(1 / 8, 2, 17)]
LASSO = [float(s) for s in np.geomspace(1e-6, 1e-3, 13)]


@torch.no_grad()
def curves() -> list[dict[str, Any]]:
    truth = load_slice()
    sensing = firenet.SubsampledFourier(firenet.sensing.variable_density(truth.shape, 0.25).samples)
    frame, schedule = transform(None, truth.shape), default_schedule(1e-3, 400)
    found = []
    for noise in NOISE:
        y = sensing(truth.to(torch.complex64))
        error = sensing.restrict(torch.randn(y.shape, dtype=y.dtype, generator=torch.Generator().manual_seed(1)))
        size = torch.linalg.vector_norm(y).item()
        y = y + noise * size / torch.linalg.vector_norm(error) * error
        usual = firenet.Firenet(sensing, frame, schedule=schedule).lam
        for name, grid in (("P3", SHARES), ("P2", LASSO)):
            image, values = None, []
            for share in reversed(grid):
                if name == "P3":
                    net = firenet.Firenet(sensing, frame, lam=share * usual, schedule=schedule)
                else:
                    net = firenet.Firenet(sensing, frame, lam=share * size, fidelity="squared", schedule=schedule)
                image = net.solve(y, x0=image).image
                values.append(psnr(image, truth))
            found.append({"problem": name, "noise": noise, "lam": grid, "psnr": values[::-1]})
            best = int(np.argmax(found[-1]["psnr"]))
            print(f"{name}, {noise:.0%} noise: best {grid[best]:.3g}", file=sys.stderr, flush=True)
    return found


def draw(found: list[dict[str, Any]], path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    names = {"P3": "square-root LASSO (P3)", "P2": "LASSO (P2)"}
    labels = {"P3": "lambda / default", "P2": "lambda / norm of the data"}
    for k, name in enumerate(names):
        axes = figure.add_subplot(1, 2, k + 1)
        for curve in found:
            if curve["problem"] == name:
                axes.semilogx(curve["lam"], curve["psnr"], marker=".", label=f"{curve['noise']:.0%} noise")
        axes.set_title(names[name], fontsize=10)
        axes.set_xlabel(labels[name])
        axes.set_ylabel("PSNR, dB")
        axes.set_ylim(28, None)
        if name == "P3":
            ticks = [1 / 8, 1 / 4, 1 / 2, 1, 2]
            axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
            axes.set_xticks([], minor=True)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    figure.savefig(temporary, dpi=90, format="png")
    temporary.replace(path)


def table(found: list[dict[str, Any]]) -> str:
    """The best lambda of each curve, what the default lambda of (P3) loses, and how wide the best is."""
    lines = ["| problem | noise | best lambda | PSNR there | PSNR at the default |", "|---|---|---|---|---|"]
    for c in found:
        best = int(np.argmax(c["psnr"]))
        usual = "" if c["problem"] == "P2" else f"{np.interp(0.0, [math.log(x) for x in c['lam']], c['psnr']):.2f}"
        lines.append(f"| {c['problem']} | {c['noise']:.0%} | {c['lam'][best]:.3g} | {c['psnr'][best]:.2f} | {usual} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    found = curves()
    draw(found, DOCS / "lambda.png")
    print(json.dumps(found, indent=1) if arguments.json else table(found))


if __name__ == "__main__":
    main()
