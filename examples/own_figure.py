"""A figure of your own: numbers first, the picture second."""

from collections.abc import Sequence
from pathlib import Path

import torch

import firenet
from firenet.io.safely import replacing


def numbers(layers: Sequence[int] = (10, 20, 40, 80)) -> list[tuple[int, float]]:
    """Returns the proved relative gap after so many layers, for a small image."""
    x = torch.zeros(32, 32, dtype=torch.float64)
    x[8:20, 10:24] = 1
    sensing = firenet.SubsampledFourier(firenet.sensing.multilevel((32, 32), 0.4).samples)
    found = []
    for count in layers:
        schedule = firenet.AdaptiveRestarts(tolerance=1e-12, max_layers=count)
        net = firenet.Firenet(sensing, firenet.Wavelet((32, 32), "haar"), schedule=schedule)
        found.append((count, net.solve(sensing(x)).relative_gap.item()))
    return found


def draw(rows: Sequence[tuple[int, float]], path: Path) -> None:
    """Draws the gap against the layers; the file is put in place whole."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.semilogy(*zip(*rows, strict=True), marker="o")
    axes.set_xlabel("layers")
    axes.set_ylabel("relative duality gap")
    with replacing(path) as (temporary,):
        figure.savefig(temporary, dpi=100, format="png")


if __name__ == "__main__":
    print(*numbers(), sep="\n")
