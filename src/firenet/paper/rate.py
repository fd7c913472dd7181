"""The convergence rate on three matrices and an image: the layers of the recovery theorem's network against accuracy.

Beside these proven numbers stand measured ones: the layers that were enough, for the same network and for
:class:`.AdaptiveRestarts`.

Every constant is verified for the matrix at hand (:func:`.prove_null_space`), so that nothing is assumed but that the
signal is sparse in levels and the measurements have no noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from firenet.guarantees.guarantee import Guarantee
from firenet.guarantees.null_space import NullSpaceProof, prove_null_space
from firenet.io.safely import replacing
from firenet.sensing.walsh import SubsampledWalsh
from firenet.sparsity import SparsityLevels
from firenet.theorem.depth import Depth, measured_depth
from firenet.transforms.wavelet import Wavelet

Matrix = NDArray[np.float64] | NDArray[np.complex128]


def cases() -> Iterator[tuple[str, Matrix, SparsityLevels]]:
    """Yields name, matrix and levels of each case; the columns of a level stand side by side."""
    rng = np.random.default_rng(0)
    yield "Gaussian, 40 x 48", rng.standard_normal((40, 48)) / math.sqrt(40), SparsityLevels((48,), (1,))
    both = rng.standard_normal((2, 52, 60))
    yield "complex Gaussian, 52 x 60", (both[0] + 1j * both[1]) / math.sqrt(104), SparsityLevels((20, 40), (1, 1))
    rows = np.linalg.qr(rng.standard_normal((64, 64)))[0][:58]
    yield "orthonormal rows, 58 x 64", 3 * rows, SparsityLevels((16, 48), (1, 1))
    yield "Walsh and Haar, image of 16 x 16", *_image()


def _image() -> tuple[Matrix, SparsityLevels]:
    """Returns Walsh samples of an image in its Haar coefficients: all but every twelfth of the highest sequencies."""
    keep = torch.ones(16, 16, dtype=torch.bool)
    keep[8:].view(-1)[::12] = False
    frame = Wavelet((16, 16), "haar")
    order = np.argsort(np.maximum(frame.levels().numpy().ravel(), 1), kind="stable")
    matrix = (SubsampledWalsh(keep) @ frame.H).as_matrix().numpy()
    return matrix[keep.numpy().ravel()][:, order], SparsityLevels((4, 12, 48, 192), (1, 1, 1, 1))


def rate(progress: Callable[[str, int, int], None] | None = None) -> Iterator[tuple[str, NullSpaceProof, Depth]]:
    """Yields for each case its name, the proof of its constants, and layers against accuracy.

    Args:
        progress: Called with the name of the case, the number of restarts done and the number of all restarts.
    """
    for name, matrix, levels in cases():
        proof = prove_null_space(matrix, levels)
        assert isinstance(proof, NullSpaceProof)
        rng = np.random.default_rng(1)
        x = np.zeros(matrix.shape[1], matrix.dtype)
        for first, size, sparsity in zip(np.cumsum((0, *levels.sizes)), levels.sizes, levels.sparsities, strict=False):
            x[rng.choice(size, sparsity, replace=False) + first] = rng.uniform(1, 3, sparsity)

        def told(done: int, total: int, name: str = name) -> None:
            if progress is not None:
                progress(name, done, total)

        yield name, proof, measured_depth(Guarantee(matrix, proof.constants), x, progress=told)


def draw(results: list[tuple[str, NullSpaceProof, Depth]], path: Path) -> None:
    """Draws layers against accuracy: proven and measured for the theorem's network, measured for adaptive restarts.

    Args:
        results: Those of :func:`rate`.
        path: The PNG file, which is written whole or not at all.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6.2), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(2, 2, sharex=True).ravel()
    for axes, (name, _, found) in zip(panels, results, strict=True):
        accuracy = [line.accuracy for line in found.lines]
        axes.plot(accuracy, [line.layers for line in found.lines], "o-", color="#1a4e8a", label="the theorem's network")
        enough = [line.enough for line in found.lines]
        axes.plot(accuracy, enough, "s--", color="#6f9bd1", label="measured: enough of its layers")
        known = [(line.accuracy, line.adaptive) for line in found.lines if line.adaptive is not None]
        axes.plot(*zip(*known, strict=True), "^:", color="#b35900", label="measured: the searching schedule")
        axes.set_xscale("log")
        axes.set_title(f"{name}: {found.slope:.1f} layers a factor e", fontsize=9)
        axes.grid(alpha=0.3)
    panels[0].invert_xaxis()  # of all panels
    panels[0].legend(fontsize=8)
    for axes in panels[2:]:
        axes.set_xlabel("error of the coefficients, at most")
    for axes in panels[::2]:
        axes.set_ylabel("layers")
    with replacing(path) as (temporary,):
        figure.savefig(temporary, format="png", dpi=110)
